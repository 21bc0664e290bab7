#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <Poco/Net/HTTPRequestHandler.h>
#include <Poco/Net/HTTPRequestHandlerFactory.h>
#include <Poco/Net/HTTPResponse.h>
#include <Poco/Net/HTTPServerRequest.h>
#include <Poco/Net/HTTPServerRequestImpl.h>
#include <Poco/Net/HTTPServerResponse.h>
#include <Poco/Net/HTTPServerSession.h>

#include <smartcache/http/adapters/detail/poco_body.hpp>
#include <smartcache/http/adapters/detail/streamed.hpp>
#include <smartcache/http/adapters/detail/target.hpp>
#include <smartcache/http/detail/middleware_helpers.hpp>
#include <smartcache/http/detail/text.hpp>
#include <smartcache/http/middleware.hpp>

// Poco 1.11 and newer, whose server has a thread for each connection. Either a whole server,
//
//     auto app = [](const http::Request& r) { return http::Response{200, {}, "slow " + r.path}; };
//     Poco::Net::HTTPServer server(http::poco::handlers(web, app), socket, params);
//
// or inside a handler of one's own: `http::poco::handle(web, request, response, app)` sends the response.
//
// `app` gives an `http::Response`, or an `http::poco::Streamed` for content that is made as it is sent.
namespace smartcache::inline v0::http::poco {

using http::Streamed;

/// The content of a request may be as long as this, unless `handle` is told otherwise.
inline constexpr std::size_t default_max_body = std::size_t{8} << 20U;

namespace detail {

using PocoRequest = Poco::Net::HTTPServerRequest;
using PocoResponse = Poco::Net::HTTPServerResponse;

[[nodiscard]] inline Request without_body(const PocoRequest& from) {
    Request request;
    request.method = from.getMethod();
    request.scheme = from.secure() ? "https" : "http";
    for (const auto& [name, value] : from) request.headers.add(name, value);
    request.host = request.headers.value("Host");
    http::detail::set_target(request, from.getURI());
    return request;
}

/// Ends the connection where it is, in the middle of a response: what Poco writes at its end must not reach the client.
inline void break_off(PocoRequest& request, PocoResponse& to) {
    to.setKeepAlive(false);
    if (auto* const own = dynamic_cast<Poco::Net::HTTPServerRequestImpl*>(&request)) own->session().abort();
}

/// Puts our fields over those that Poco has prepared (Date, Server).
inline void put_head(const Response& from, PocoResponse& to) {
    to.setStatusAndReason(static_cast<Poco::Net::HTTPResponse::HTTPStatus>(from.status));
    const bool keep = to.getKeepAlive();
    for (const auto field : from.headers) to.erase(std::string(field.name));
    for (const auto field : from.headers) to.add(std::string(field.name), std::string(field.value));
    to.erase("Transfer-Encoding");
    if (!keep) to.set("Connection", "close");
}

/// @return whether all pieces went out, as long as the head says
[[nodiscard]] inline bool write_pieces(std::ostream& out, const Streamed& made,
                                       std::optional<std::uint64_t> length) {
    std::uint64_t sent = 0;
    const auto write = [&](const Body& piece) {
        sent += piece.size();
        if (length && sent > *length) return false;
        return static_cast<bool>(
            out.write(piece.view().data(), static_cast<std::streamsize>(piece.size())).flush());
    };
    try {
        if (!made.head.body.empty() && !write(made.head.body)) return false;
        for (Body piece = made.next(); !piece.empty(); piece = made.next())
            if (!write(piece)) return false;
    } catch (...) {
        return false;
    }
    return !length || sent == *length;
}

/// Poco counts what it is given at once in an int.
inline constexpr std::size_t max_at_once = std::numeric_limits<int>::max();

inline void send(Streamed made, PocoRequest& request, PocoResponse& to) {
    auto length = http::detail::settle_length(made, request.getMethod() == "HEAD");
    if (const std::size_t size = made.head.body.size(); size > max_at_once && !made.next) {
        length = size;
        made.next = [] { return Body(); };
    }
    put_head(made.head, to);
    if (made.next) {
        if (!length && to.getVersion() == Poco::Net::HTTPMessage::HTTP_1_1)
            to.setChunkedTransferEncoding(true);
        else if (!length)
            to.setKeepAlive(false);
        if (!write_pieces(to.send(), made, length)) break_off(request, to);
    } else if (made.head.body.empty()) {
        to.send();
    } else {
        to.sendBuffer(made.head.body.view().data(), made.head.body.size());
    }
}

}  // namespace detail

/// Poco's request as the cache sees it, without its content: the target is split, fields keep their repeats.
[[nodiscard]] inline Request to_request(const Poco::Net::HTTPServerRequest& from) {
    return detail::without_body(from);
}

/// Answers from `web`'s store where it may, and else asks `app(const http::Request&)`, in this thread and at most once,
/// and sends the response. For a validation the request carries the stored validators, and 304 is a fine answer.
///
/// A request with more content than `max_body` gets a 413, one whose content is coded otherwise than in chunks a 501, and
/// one whose content breaks off no answer. Thread safety: any thread. Blocks: as `Middleware::handle`, and on the
/// connection.
/// Throws: what `app` throws, unless a stale response may be served instead; then nothing was sent.
template <class Cache, class App>
requires requires(App& app, const Request& request) {
    http::detail::made(app(request));
}
void handle(Middleware<Cache>& web, Poco::Net::HTTPServerRequest& from, Poco::Net::HTTPServerResponse& to,
            App&& app, std::size_t max_body = default_max_body) {
    Request request = detail::without_body(from);
    const detail::BodyState body = detail::read_body(from, request, max_body);
    if (body == detail::BodyState::broken) return detail::break_off(from, to);
    if (body != detail::BodyState::whole) {
        to.setKeepAlive(false);  // the rest of it would be taken for the next request
        const bool too_long = body == detail::BodyState::too_long;
        return detail::send({http::detail::short_response(too_long ? 413 : 501,
                                                          too_long ? "too much content" : "unknown coding"),
                             {}},
                            from, to);
    }
    // RFC 9112 section 6.1: whoever sent both may see the end of the content elsewhere.
    if (from.hasContentLength() && from.getChunkedTransferEncoding()) to.setKeepAlive(false);
    const bool head_only = request.method == "HEAD";
    Transaction transaction = web.begin(request);
    if (transaction.answered()) return detail::send({transaction.take_response(), {}}, from, to);
    Streamed made;
    try {
        made = http::detail::made(app(std::as_const(transaction.request())));
    } catch (...) {
        if (auto stale = transaction.fail()) return detail::send({std::move(*stale), {}}, from, to);
        throw;
    }
    detail::send(http::detail::finish(transaction, std::move(made), head_only), from, to);
}

/// The handlers of a server that has `web` in front of `app`. Where `app` throws the client gets a 500. `web` must outlive
/// the server; `app` is called from any of its threads.
template <class Cache, class App>
requires requires(App& app, const Request& request) {
    http::detail::made(app(request));
}
[[nodiscard]] Poco::Net::HTTPRequestHandlerFactory::Ptr handlers(Middleware<Cache>& web, App app,
                                                                 std::size_t max_body = default_max_body) {
    using Poco::Net::HTTPRequestHandler;
    struct Shared {
        Middleware<Cache>& web;
        App app;
        std::size_t max_body;
    };
    class Handler final : public HTTPRequestHandler {
      public:
        explicit Handler(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
        void handleRequest(Poco::Net::HTTPServerRequest& request,
                           Poco::Net::HTTPServerResponse& response) override {
            try {
                poco::handle(shared_->web, request, response, shared_->app, shared_->max_body);
            } catch (...) {
                if (response.sent()) return detail::break_off(request, response);
                response.setKeepAlive(false);
                detail::send({http::detail::short_response(500, "the application failed"), {}}, request,
                             response);
            }
        }

      private:
        std::shared_ptr<Shared> shared_;
    };
    class Factory final : public Poco::Net::HTTPRequestHandlerFactory {
      public:
        explicit Factory(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
        HTTPRequestHandler* createRequestHandler(const Poco::Net::HTTPServerRequest&) override {
            return new Handler(shared_);  // Poco deletes it
        }

      private:
        std::shared_ptr<Shared> shared_;
    };
    return new Factory(std::make_shared<Shared>(Shared{web, std::move(app), max_body}));
}

}  // namespace smartcache::inline v0::http::poco
