#pragma once

#include <charconv>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <smartcache/http/message.hpp>
#include <smartcache/http/transaction.hpp>

// What the adapters for servers that send responses on their own have in common: content that is made as it is sent, and
// heads that say how long it is.
namespace smartcache::inline v0::http {

/// A response whose content passes the cache by: `head.body`, then what `next` gives, up to an empty piece. Where its
/// head says no Content-Length it goes out in chunks. What `next` throws, and a length that is not kept, breaks the
/// connection off, so that the client knows.
struct Streamed {
    Response head{};
    std::function<Body()> next{};
};

namespace detail {

[[nodiscard]] inline bool never_has_content(int status) {
    return status < 200 || status == 204 || status == 304;
}

[[nodiscard]] inline Streamed made(Streamed from) {
    return from;
}
[[nodiscard]] inline Streamed made(Response from) {
    return {std::move(from), {}};
}

/// Gives the cache what the application made.
/// @return what is to be sent
[[nodiscard]] inline Streamed finish(Transaction& transaction, Streamed made, bool head_only) {
    if (made.next) {
        Body begun = std::exchange(made.head.body, {});
        made.head = transaction.finish_streamed(std::move(made.head));
        // Something else is served instead: the stream is not wanted any more.
        if (transaction.replaced() || made.head.status == 304)
            made.next = nullptr;
        else
            made.head.body = std::move(begun);
        return made;
    }
    // Stored with its length, the head needs no other when it is served. One that it has is compared with what came (an
    // origin's that was cut off).
    Response& response = made.head;
    if (!never_has_content(response.status) && !head_only && !response.headers.has("Content-Length") &&
        !response.headers.has("Transfer-Encoding"))
        response.headers.add("Content-Length", std::to_string(response.body.size()));
    return {transaction.finish(std::move(response)), {}};
}

/// Makes the head agree with the content, and drops content that must not be sent: RFC 9110 section 8.6.
/// @param head_only  it answers a HEAD
/// @return the length that the head gives to a stream
[[nodiscard]] inline std::optional<std::uint64_t> settle_length(Streamed& made, bool head_only) {
    Headers& headers = made.head.headers;
    headers.remove("Transfer-Encoding");
    const auto length = headers.get("Content-Length");
    const bool never = never_has_content(made.head.status);
    if (never || head_only) {
        // What a HEAD or a 304 says of the length is about what a GET would get.
        if (never && made.head.status != 304)
            headers.remove("Content-Length");
        else if (!never && !length && !made.next && !made.head.body.empty())
            headers.add("Content-Length", std::to_string(made.head.body.size()));
        made.head.body = {};
        made.next = nullptr;
        return std::nullopt;
    }
    if (made.next) {
        std::uint64_t n = 0;
        if (length && std::from_chars(length->data(), length->data() + length->size(), n).ec == std::errc())
            return n;
        headers.remove("Content-Length");
        return std::nullopt;
    }
    if (const std::string size = std::to_string(made.head.body.size()); length != size)
        headers.set("Content-Length", size);
    return std::nullopt;
}

}  // namespace detail

}  // namespace smartcache::inline v0::http
