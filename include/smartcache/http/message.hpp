#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/http/headers.hpp>

namespace smartcache::inline v0::http {

/// The content of a message: bytes it owns, or a view of bytes that a shared owner keeps alive.
///
///     response.body = "hello";                                  // owned
///     response.body = Body::pinned(std::move(entry), bytes);    // not copied; lives as long as any copy of
///     the body
///
/// Copies share the bytes and cost one reference count. The bytes never change once they are in a Body.
class Body {
  public:
    Body() = default;
    Body(std::string text) {  // implicit, as the four below: `response.body = ...` is how bodies are given
        if (text.empty()) return;
        auto owner = std::make_shared<const std::string>(std::move(text));
        view_ = *owner;
        owner_ = std::move(owner);
    }
    Body(std::string_view text) : Body(std::string(text)) {}
    Body(const char* text) : Body(std::string(text)) {}
    Body(const std::vector<std::byte>& bytes)
        : Body(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())) {}

    /// A view of bytes that live, unchanged, as long as `owner`.
    [[nodiscard]] static Body pinned(std::shared_ptr<const void> owner, std::string_view view) noexcept {
        Body body;
        body.owner_ = std::move(owner);
        body.view_ = view;
        return body;
    }

    /// The bytes; valid while this body or a copy of it lives.
    [[nodiscard]] std::string_view view() const noexcept { return view_; }
    [[nodiscard]] std::string str() const { return std::string(view_); }
    [[nodiscard]] std::size_t size() const noexcept { return view_.size(); }
    [[nodiscard]] bool empty() const noexcept { return view_.empty(); }

    /// Bytes [offset, offset + count) of this body, sharing its owner; cut where the body ends.
    [[nodiscard]] Body slice(std::size_t offset, std::size_t count) const {
        return pinned(owner_, offset < view_.size() ? view_.substr(offset, count) : std::string_view{});
    }

    friend bool operator==(const Body& a, const Body& b) noexcept { return a.view_ == b.view_; }
    template <class Text>  // a template, because a string would convert to Body as well
    requires std::convertible_to<const Text&, std::string_view>
    friend bool operator==(const Body& a, const Text& b) noexcept { return a.view_ == std::string_view(b); }

  private:
    std::shared_ptr<const void> owner_;
    std::string_view view_;
};

/// A request as the cache sees it: the target is split, nothing in it is decoded.
struct Request {
    std::string method = "GET";  ///< case-sensitive (RFC 9110 section 9.1)
    std::string scheme = "http";
    std::string
        host{};  ///< with the port, as in the Host field; empty where the application has one host only
    std::string path = "/";  ///< as sent, percent-encoding included
    std::string query{};     ///< as sent, without the '?'
    Headers headers{};
    Body body{};
    std::shared_ptr<void> state{};  ///< carries the transaction from `process_request` to `process_response`
};

struct Response {
    int status = 200;
    Headers headers{};
    Body body{};
};

}  // namespace smartcache::inline v0::http
