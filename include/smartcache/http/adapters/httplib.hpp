#pragma once

#include <httplib.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <smartcache/http/detail/text.hpp>
#include <smartcache/http/middleware.hpp>

// cpp-httplib 0.11 and newer. Two ways in:
//
//     server.Get("/report", http::wrap(web, handler));    // one handler
//     http::mount(web, server);                           // the whole server, files included
//
// `wrap` sees what the handler made, before the server compresses it or cuts ranges out of it, and can pass
// the cache's conditions on to the handler: prefer it. `mount` takes the server's pre- and post-routing
// handlers and sees what the server would send.
//
// What went through the cache goes out by a content provider, straight from the pinned bytes: not copied, and
// not compressed by the server (a handler that wants gzip stored makes it itself and says Vary:
// Accept-Encoding); the server cuts ranges out of it. Responses that a handler streams pass by the cache.
namespace smartcache::inline v0::http {

namespace detail::httplib_adapter {

/// What the server adds to a request's fields on its own.
[[nodiscard]] inline bool is_server_field(std::string_view name) {
    return name == "REMOTE_ADDR" || name == "REMOTE_PORT" || name == "LOCAL_ADDR" || name == "LOCAL_PORT";
}

/// Fields of the connection, which the server wrote and the cache takes no part in.
[[nodiscard]] inline bool is_connection_field(std::string_view name) {
    return equal_ignoring_case(name, "Connection") || equal_ignoring_case(name, "Keep-Alive") ||
           equal_ignoring_case(name, "Transfer-Encoding");
}

/// The server knows nothing of If-Range: where there is one, ranges are the cache's business, and the server
/// must not cut what has been cut already. Its own request is what handlers get a const reference of.
inline void take_over_ranges(const httplib::Request& request) {
    if (request.headers.count("If-Range") != 0) const_cast<httplib::Request&>(request).ranges.clear();
}

/// @param whole  leave ranges to the server, which cuts them out of the whole response
[[nodiscard]] inline Request to_request(const httplib::Request& from, bool whole) {
    Request request;
    request.method = from.method;
#ifdef CPPHTTPLIB_OPENSSL_SUPPORT
    if (from.ssl != nullptr) request.scheme = "https";
#endif
    // `path` is decoded; the key needs what was sent.
    if (const auto url = parse_url(from.target)) {
        request.path = url->path;
        request.query = url->query;
    } else {
        request.path = from.target;
    }
    request.host = from.get_header_value("Host");
    const bool drop_range = whole && from.headers.count("If-Range") == 0;
    for (const auto& [name, value] : from.headers)
        if (!is_server_field(name) && !(drop_range && equal_ignoring_case(name, "Range")))
            request.headers.add(name, value);
    request.body = from.body;
    return request;
}

[[nodiscard]] inline Response to_response(httplib::Response& from) {
    Response response;
    response.status = from.status == -1 ? 200 : from.status;
    for (const auto& [name, value] : from.headers) response.headers.add(name, value);
    response.body = std::move(from.body);
    from.body.clear();
    return response;
}

[[nodiscard]] inline bool is_streamed(const httplib::Response& response) {
    return static_cast<bool>(response.content_provider_);
}

/// Replaces everything but the fields of the connection.
inline void replace_headers(const Headers& from, httplib::Response& to, bool keep_connection) {
    httplib::Headers headers;
    if (keep_connection)
        for (const auto& field : to.headers)
            if (is_connection_field(field.first)) headers.insert(field);
    for (const auto [name, value] : from) headers.emplace(std::string(name), std::string(value));
    to.headers = std::move(headers);
}

/// Before routing has ended: the server still writes lengths and cuts ranges.
inline void send_unrouted(Response response, httplib::Response& to) {
    // -1 lets the server decide between 200 and 206.
    to.status = response.status == 200 ? -1 : response.status;
    const std::string type(response.headers.value("Content-Type", "application/octet-stream"));
    if (!response.body.empty())
        response.headers.remove("Content-Length");  // the server writes the one of the range
    replace_headers(response.headers, to, false);
    to.body.clear();
    if (response.body.empty()) return;
    const std::size_t size = response.body.size();
    to.headers.erase("Content-Type");  // set again by the provider
    to.set_content_provider(
        size, type,
        [body = std::move(response.body)](std::size_t offset, std::size_t length, httplib::DataSink& sink) {
            const std::string_view part = body.view().substr(offset, length);
            return sink.write(part.data(), part.size());
        });
}

/// One request of this thread between the two hooks of `mount`: the server gives them nothing to carry it in,
/// but runs both in the same thread, one request at a time.
struct Underway {
    const void* middleware = nullptr;
    std::optional<Transaction> transaction;
};
[[nodiscard]] inline Underway& underway() {
    thread_local Underway slot;
    return slot;
}

/// After routing: head and body are ready to go.
inline void send_routed(Response response, httplib::Response& to, bool body_came_from_cache) {
    to.status = response.status;
    if (body_came_from_cache || response.status == 304) {
        to.content_provider_ = nullptr;
        response.headers.remove("Content-Length");
        if (response.status != 304)
            response.headers.set("Content-Length", std::to_string(response.body.size()));
    }
    to.body = response.body.str();
    replace_headers(response.headers, to, !body_came_from_cache);
}

}  // namespace detail::httplib_adapter

/// A handler that answers from `web`'s store where it may, and else asks `next`. For a validation `next` gets
/// a request that carries the stored validators and may answer it with 304. `web` must outlive the server.
template <class Cache>
[[nodiscard]] httplib::Server::Handler wrap(Middleware<Cache>& web, httplib::Server::Handler next) {
    return [&web, next = std::move(next)](const httplib::Request& request, httplib::Response& response) {
        namespace adapter = detail::httplib_adapter;
        adapter::take_over_ranges(request);
        Transaction transaction = web.begin(adapter::to_request(request, true));
        if (transaction.answered()) return adapter::send_unrouted(transaction.take_response(), response);
        try {
            const Headers& wanted = transaction.request().headers;
            if (wanted.has("If-None-Match") || wanted.has("If-Modified-Since")) {
                httplib::Request conditional = request;
                for (const char* name : {"If-None-Match", "If-Modified-Since"}) {
                    conditional.headers.erase(name);
                    wanted.for_each(name, [&](std::string_view value) {
                        conditional.set_header(name, std::string(value));
                    });
                }
                next(conditional, response);
            } else {
                next(request, response);
            }
        } catch (...) {
            if (auto stale = transaction.fail()) return adapter::send_unrouted(std::move(*stale), response);
            throw;
        }
        if (!adapter::is_streamed(response))
            return adapter::send_unrouted(transaction.finish(adapter::to_response(response)), response);
        Response head = transaction.finish_streamed(adapter::to_response(response));
        if (!head.body.empty() || head.status == 304) {
            response.content_provider_ = nullptr;
            response.content_length_ = 0;
            return adapter::send_unrouted(std::move(head), response);
        }
        adapter::replace_headers(head.headers, response, true);
    };
}

/// Puts `web` in front of everything `server` serves. Uses the server's pre-routing and post-routing
/// handlers; call it before `listen`. `web` must outlive the server. Range requests that miss are not stored
/// (the server has cut them).
template <class Cache>
void mount(Middleware<Cache>& web, httplib::Server& server) {
    namespace adapter = detail::httplib_adapter;
    server.set_pre_routing_handler([&web](const httplib::Request& request, httplib::Response& response) {
        adapter::Underway& slot = adapter::underway();
        slot.transaction.reset();
        adapter::take_over_ranges(request);
        Transaction transaction = web.begin(adapter::to_request(request, true));
        if (transaction.answered()) {
            adapter::send_unrouted(transaction.take_response(), response);
            return httplib::Server::HandlerResponse::Handled;
        }
        slot.middleware = &web;
        slot.transaction = std::move(transaction);
        return httplib::Server::HandlerResponse::Unhandled;
    });
    server.set_post_routing_handler([&web](const httplib::Request&, httplib::Response& response) {
        adapter::Underway& slot = adapter::underway();
        if (!slot.transaction || slot.middleware != &web) return;
        Transaction transaction = std::move(*slot.transaction);
        slot.transaction.reset();
        if (adapter::is_streamed(response)) {
            Response head = transaction.finish_streamed(adapter::to_response(response));
            const bool replaced = !head.body.empty() || head.status == 304;
            return adapter::send_routed(std::move(head), response, replaced);
        }
        Response made = adapter::to_response(response);
        // The server compresses by Accept-Encoding without saying so.
        if (made.headers.has("Content-Encoding")) made.headers.add("Vary", "Accept-Encoding");
        const std::string_view before = made.body.view();
        const char* const bytes = before.data();
        Response result = transaction.finish(std::move(made));
        const bool replaced = result.body.view().data() != bytes;
        adapter::send_routed(std::move(result), response, replaced);
    });
}

}  // namespace smartcache::inline v0::http
