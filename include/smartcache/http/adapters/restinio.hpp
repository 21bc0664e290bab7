#pragma once

#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <restinio/exception.hpp>
#include <restinio/http_headers.hpp>
#include <restinio/request_handler.hpp>

#include <smartcache/core/executor.hpp>
#include <smartcache/http/adapters/detail/async_call.hpp>     // IWYU pragma: export
#include <smartcache/http/adapters/detail/restinio_send.hpp>  // IWYU pragma: export
#include <smartcache/http/adapters/detail/streamed.hpp>       // IWYU pragma: export
#include <smartcache/http/adapters/detail/target.hpp>
#include <smartcache/http/detail/middleware_helpers.hpp>
#include <smartcache/http/detail/text.hpp>
#include <smartcache/http/middleware.hpp>

// RESTinio 0.6.16, over Asio or Boost.Asio. Either a whole server,
//
//     ::restinio::run(::restinio::on_thread_pool(4).port(8080).request_handler(http::restinio::handler(web, pool, app)));
//
// or inside a handler of one's own, such as a router's: `return http::restinio::handle(web, request, pool, app);`.
//
// `app` is any of
//
//     http::Response app(const http::Request&);
//     http::restinio::Streamed app(const http::Request&);              // content that is made as it is sent
//     void app(const http::Request&, http::restinio::Reply reply);     // answers when it can
//
// A hit leaves as it lies in the cache: RESTinio gathers the stored head and the stored bytes into one write.
namespace smartcache::inline v0::http::restinio {

using http::Reply;
using http::Streamed;

namespace detail {

template <class App>
concept AppFor = std::is_invocable_v<App&, const Request&, Reply> ||
    requires(App& app, const Request& request) {
    http::detail::made(app(request));
};

}  // namespace detail

/// RESTinio's request as the cache sees it: the target is split, fields keep their order and repeats, the content is not
/// copied and keeps RESTinio's request alive. Of a target in absolute form the host counts, and replaces the Host field.
template <class Extra>
[[nodiscard]] Request to_request(const ::restinio::generic_request_handle_t<Extra>& from,
                                 std::string_view scheme = "http") {
    Request request;
    request.method = from->header().method().c_str();
    request.scheme = scheme;
    from->header().for_each_field(
        [&request](const auto& field) { request.headers.add(field.name(), field.value()); });
    request.host = request.headers.value("Host");
    http::detail::set_target(request, from->header().request_target());
    if (!from->body().empty()) request.body = Body::pinned(from, from->body());
    return request;
}

/// Answers from `web`'s store where it may, and else asks `app(const http::Request&)`, at most once. For a validation the
/// request carries the stored validators, and 304 is a fine answer.
///
/// Never blocks the calling thread: what is fresh in memory is answered inside this call, all else is done by `pool`: looking
/// into the tiers below, storing, invalidating. Requests that wait for another one's response hold no thread. Of `app`, a
/// function of the request alone runs in `pool` too and may block; one that takes a `Reply` is called by this thread or the
/// pool's, must not block, and may reply from any thread; its request is valid until it replies. A `Streamed`'s `next` runs
/// in `pool`. Where a stale response is served while it is refreshed (stale-while-revalidate), `app` is called after it
/// was sent.
///
/// Where `app` throws, or its reply is dropped, the client gets a stale response if that is allowed, else a 500. A request
/// with a method that RESTinio has no name for, or content coded otherwise than in chunks, gets a 501. A request to upgrade
/// is answered like any other, and its connection closed: look at such requests before. How long content may be is the
/// server's to say (`incoming_http_msg_limits`), and how long a response may take (`handle_request_timeout`, 10 s). A stream
/// of unknown length goes out in chunks to all but HTTP/1.0, and to HTTP/1.0 where it says "keep-alive": RESTinio does not
/// tell it from HTTP/1.1 there.
///
/// A task that `pool` refuses is done by the thread that submits it, which may be the event loop's: give the pool a queue as
/// long as the requests that are let in. `web` and `pool` must outlive the call, and the server's io_context what `pool`
/// still has to do: end the server, then the pool, then the io_context.
///
/// @return accepted
/// Throws: `::restinio::exception_t` where the request has been answered.
template <class Cache, class Extra, detail::AppFor App>
::restinio::request_handling_status_t handle(Middleware<Cache>& web,
                                             const ::restinio::generic_request_handle_t<Extra>& from,
                                             Executor& pool, App app, std::string_view scheme = "http") {
    Request request = to_request(from, scheme);
    const detail::Client client = detail::Client::of(from->header(), request);
    auto connection = std::move(::restinio::impl::access_req_connection(*from));
    if (!connection) throw ::restinio::exception_t("the request has been answered");
    detail::Answer answer(std::move(connection), from->request_id(), pool, client);
    const std::string coding = request.headers.combined("Transfer-Encoding");
    if (from->header().method() == ::restinio::http_method_unknown() ||
        (!coding.empty() && !http::detail::equal_ignoring_case(coding, "chunked"))) {
        answer.complete({http::detail::short_response(501, "unknown method or coding"), {}});
        return ::restinio::request_accepted();
    }
    const auto call = std::make_shared<http::detail::Call<detail::Answer, App, Reply>>(
        std::move(answer), std::move(app), pool, client.head);
    try {
        web.begin(
            std::move(request), pool,
            [call](Transaction transaction) { call->begun(std::move(transaction)); }, Refresh::after_answer);
    } catch (...) {
        call->fail(std::current_exception());
    }
    return ::restinio::request_accepted();
}

/// The request handler of a server that has `web` in front of `app`, which is copied for each request.
template <class Cache, detail::AppFor App>
[[nodiscard]] auto handler(Middleware<Cache>& web, Executor& pool, App app, std::string scheme = "http") {
    return [&web, &pool, app = std::move(app), scheme = std::move(scheme)](const auto& request) {
        return restinio::handle(web, request, pool, app, scheme);
    };
}

}  // namespace smartcache::inline v0::http::restinio
