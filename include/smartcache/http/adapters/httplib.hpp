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
#include <smartcache/http/semantics/range.hpp>

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
// Accept-Encoding). Responses that a handler streams pass by the cache.
//
// Ranges are cut here, out of whole responses, as RFC 9110 section 14 says: the server would not look at If-Range, and
// answer 206 where nothing of the range is there. Of what is streamed with its length known a single range is cut.
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

/// The server's own request, which handlers get a const reference of: what is in `ranges` the server cuts.
inline void set_server_ranges(const httplib::Request& request, httplib::Ranges ranges) {
    const_cast<httplib::Request&>(request).ranges = std::move(ranges);
}

[[nodiscard]] inline bool about_range(std::string_view name) {
    return equal_ignoring_case(name, "Range") || equal_ignoring_case(name, "If-Range");
}

/// @param whole  without a range, which is cut out of the whole response afterwards
[[nodiscard]] inline Request to_request(const httplib::Request& from, bool whole) {
    Request request;
    request.method = from.method;
#ifdef CPPHTTPLIB_OPENSSL_SUPPORT
    if (from.ssl != nullptr) request.scheme = "https";
#endif
    // `path` is decoded; the key needs what was sent.
    if (auto url = parse_url(from.target)) {
        request.path = std::move(url->path);
        request.query = std::move(url->query);
    } else {
        const std::size_t question = from.target.find('?');
        request.path = from.target.substr(0, question);
        if (question != std::string::npos) request.query = from.target.substr(question + 1);
    }
    std::size_t bytes = 0;
    for (const auto& [name, value] : from.headers) bytes += name.size() + value.size() + 4;
    request.headers.reserve(bytes);
    for (const auto& [name, value] : from.headers)
        if (!is_server_field(name) && !(whole && about_range(name))) request.headers.add(name, value);
    request.host = request.headers.value("Host");
    if (!from.body.empty()) request.body = from.body;
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

/// The part of a whole response that the client asks for.
[[nodiscard]] inline Response cut_range(const httplib::Request& asked, Response whole, WallTime now) {
    if (asked.headers.count("Range") == 0) return whole;
    return apply_range(to_request(asked, false), std::move(whole), now);
}

/// The same for a stream with a length. The server asks the stream for the part.
/// @param routed  the server has written the fields of the whole already
inline void cut_range_of_stream(const httplib::Request& asked, httplib::Response& to, WallTime now,
                                bool routed) {
    const std::size_t size = to.content_length_;
    if (size == 0 || asked.method != "GET" || (to.status != -1 && to.status != 200)) return;
    const Request request = to_request(asked, false);
    Headers fields;
    for (const auto& [name, value] : to.headers) fields.add(name, value);
    const auto wanted = request.headers.get("Range");
    if (!wanted || !if_range_holds(request.headers, fields, now)) return;
    const auto ranges = parse_range(*wanted, size);
    if (!ranges || ranges->size() > 1) return;
    to.headers.erase("Content-Length");
    if (ranges->empty()) {
        to.status = 416;
        to.content_provider_ = nullptr;
        to.content_length_ = 0;
        to.headers.erase("Content-Type");
        to.headers.emplace("Content-Range", "bytes */" + std::to_string(size));
        to.headers.emplace("Content-Length", "0");
        return;
    }
    const ByteRange range = ranges->front();
    to.status = 206;
    set_server_ranges(asked, {{static_cast<ssize_t>(range.first), static_cast<ssize_t>(range.last)}});
    if (!routed) return;
    to.headers.emplace("Content-Range", content_range(range, size));
    to.headers.emplace("Content-Length", std::to_string(range.size()));
}

/// Replaces everything but the fields of the connection.
inline void replace_headers(const Headers& from, httplib::Response& to, bool keep_connection) {
    httplib::Headers headers;
    if (keep_connection)
        for (const auto& field : to.headers)
            if (is_connection_field(field.first)) headers.insert(field);
    for (const auto [name, value] : from) headers.emplace(name, value);
    to.headers = std::move(headers);
}

/// Before routing has ended: the server still writes lengths.
inline void send_unrouted(Response response, httplib::Response& to) {
    to.status = response.status;
    to.body.clear();
    if (response.body.empty()) return replace_headers(response.headers, to, false);
    const std::size_t size = response.body.size();
    const std::string type(response.headers.value("Content-Type", "application/octet-stream"));
    to.headers.clear();
    for (const auto [name, value] : response.headers)  // the server writes these two
        if (!equal_ignoring_case(name, "Content-Length") && !equal_ignoring_case(name, "Content-Type"))
            to.headers.emplace(name, value);
    to.set_content_provider(
        size, type,
        [body = std::move(response.body)](std::size_t offset, std::size_t length, httplib::DataSink& sink) {
            const std::string_view part = body.view().substr(offset, length);
            return sink.write(part.data(), part.size());
        });
}

/// RFC 9110 section 8.6: a 204 has no Content-Length. The server gives one to everything that has neither content nor
/// a stream; so this one gets a stream, of nothing.
inline void send_no_length(httplib::Response& to) {
    if (to.status != 204) return;
    to.headers.erase("Content-Length");
    to.content_length_ = 0;
    to.is_chunked_content_provider_ = false;
    to.content_provider_ = [](std::size_t, std::size_t, httplib::DataSink& sink) {
        sink.done();
        return true;
    };
}

/// Takes the fields about ranges out of a request: whoever answers it answers whole.
[[nodiscard]] inline httplib::Headers take_range(httplib::Headers& from) {
    httplib::Headers taken;
    for (auto at = from.begin(); at != from.end();) {
        if (about_range(at->first)) {
            taken.insert(*at);
            at = from.erase(at);
        } else {
            ++at;
        }
    }
    return taken;
}

/// One request of this thread between the two hooks of `mount`: the server gives them nothing to carry it in,
/// but runs both in the same thread, one request at a time.
struct Underway {
    const void* middleware = nullptr;
    std::optional<Transaction> transaction;
    httplib::Headers range;  // what the client asked for, kept from the server's own handlers meanwhile
};
[[nodiscard]] inline Underway& underway() {
    thread_local Underway slot;
    return slot;
}

/// After routing: head and body are ready to go.
/// @param replaced  the server has written lengths of something else
inline void send_routed(const httplib::Request& asked, Response response, httplib::Response& to,
                        bool replaced) {
    to.status = response.status;
    if (replaced || response.status == 304) {
        to.content_provider_ = nullptr;
        to.headers.erase("Transfer-Encoding");
        if (response.status == 204 || response.status == 304)
            response.headers.remove("Content-Length");
        else if (asked.method != "HEAD" || !response.headers.has("Content-Length"))
            response.headers.set("Content-Length", std::to_string(response.body.size()));
    }
    to.body = response.body.str();
    replace_headers(response.headers, to, true);
}

}  // namespace detail::httplib_adapter

/// A handler that answers from `web`'s store where it may, and else asks `next`. For a validation `next` gets
/// a request that carries the stored validators and may answer it with 304. `web` must outlive the server.
template <class Cache>
[[nodiscard]] httplib::Server::Handler wrap(Middleware<Cache>& web, httplib::Server::Handler next) {
    return [&web, next = std::move(next)](const httplib::Request& request, httplib::Response& response) {
        namespace adapter = detail::httplib_adapter;
        adapter::set_server_ranges(request, {});
        const auto now = [&web] { return web.cache().clock().wall(); };
        const auto send = [&](Response whole) {
            adapter::send_unrouted(adapter::cut_range(request, std::move(whole), now()), response);
            adapter::send_no_length(response);
        };
        Transaction transaction = web.begin(adapter::to_request(request, true));
        if (transaction.answered()) return send(transaction.take_response());
        try {
            const Headers& wanted = transaction.request().headers;
            if (wanted.has("If-None-Match") || wanted.has("If-Modified-Since") ||
                request.has_header("Range")) {
                httplib::Request conditional = request;
                (void)adapter::take_range(conditional.headers);
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
            if (auto stale = transaction.fail()) return send(std::move(*stale));
            throw;
        }
        if (!adapter::is_streamed(response)) return send(transaction.finish(adapter::to_response(response)));
        Response head = transaction.finish_streamed(adapter::to_response(response));
        if (transaction.replaced() || head.status == 304) {
            response.content_provider_ = nullptr;
            response.content_length_ = 0;
            return send(std::move(head));
        }
        adapter::replace_headers(head.headers, response, true);
        adapter::cut_range_of_stream(request, response, now(), false);
    };
}

/// Puts `web` in front of everything `server` serves. Uses the server's pre-routing and post-routing
/// handlers; call it before `listen`. `web` must outlive the server.
template <class Cache>
void mount(Middleware<Cache>& web, httplib::Server& server) {
    namespace adapter = detail::httplib_adapter;
    server.set_pre_routing_handler([&web](const httplib::Request& request, httplib::Response& response) {
        adapter::Underway& slot = adapter::underway();
        slot.transaction.reset();
        adapter::set_server_ranges(request, {});
        Transaction transaction = web.begin(adapter::to_request(request, true));
        if (transaction.answered()) {
            adapter::send_unrouted(
                adapter::cut_range(request, transaction.take_response(), web.cache().clock().wall()),
                response);
            return httplib::Server::HandlerResponse::Handled;
        }
        slot.middleware = &web;
        slot.transaction = std::move(transaction);
        slot.range = adapter::take_range(const_cast<httplib::Request&>(request).headers);
        return httplib::Server::HandlerResponse::Unhandled;
    });
    server.set_post_routing_handler([&web](const httplib::Request& request, httplib::Response& response) {
        adapter::Underway& slot = adapter::underway();
        if (response.status == 204) response.headers.erase("Content-Length");  // RFC 9110 section 8.6
        if (!slot.transaction || slot.middleware != &web) return;
        Transaction transaction = std::move(*slot.transaction);
        slot.transaction.reset();
        const_cast<httplib::Request&>(request).headers.merge(slot.range);
        const WallTime now = web.cache().clock().wall();
        if (adapter::is_streamed(response)) {
            Response head = transaction.finish_streamed(adapter::to_response(response));
            const bool replaced = transaction.replaced() || head.status == 304;
            if (replaced) head = adapter::cut_range(request, std::move(head), now);
            adapter::send_routed(request, std::move(head), response, replaced);
            if (!replaced) adapter::cut_range_of_stream(request, response, now, true);
            return;
        }
        Response made = adapter::to_response(response);
        // The server compresses by Accept-Encoding without saying so.
        if (made.headers.has("Content-Encoding")) made.headers.add("Vary", "Accept-Encoding");
        const std::string_view before = made.body.view();
        const char* const bytes = before.data();
        Response result = transaction.finish(std::move(made));
        const bool replaced = transaction.replaced() || result.body.view().data() != bytes;
        adapter::send_routed(request, adapter::cut_range(request, std::move(result), now), response,
                             replaced);
    });
}

}  // namespace smartcache::inline v0::http
