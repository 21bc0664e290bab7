#pragma once

#include <exception>
#include <string_view>
#include <type_traits>
#include <utility>

#include <boost/asio/async_result.hpp>

#include <smartcache/core/executor.hpp>
#include <smartcache/http/adapters/detail/beast_body.hpp>     // IWYU pragma: export
#include <smartcache/http/adapters/detail/beast_call.hpp>     // IWYU pragma: export
#include <smartcache/http/adapters/detail/beast_convert.hpp>  // IWYU pragma: export
#include <smartcache/http/middleware.hpp>

// Boost.Beast 1.74 and newer. One line in a session, where the response used to be made; what comes out is a
// Beast message like any other.
//
//     // a thread for each connection
//     boost::beast::http::write(stream, http::beast::handle(web, request, app));
//
//     // an event loop, which is never blocked
//     http::beast::async_handle(web, request, pool, stream.get_executor(), app,
//                               [self](std::exception_ptr failure, http::beast::Message response) {
//                                   self->send(failure ? self->bad_gateway() : std::move(response));
//                               });
//
// `app` is any of
//
//     http::Response app(const http::Request&);                     // or a boost::beast::http::response<...>
//     http::beast::Streamed app(const http::Request&);              // content that is made as it is sent
//     void app(const http::Request&, http::beast::Reply reply);     // async_handle: answers when it can
//
// The sender of a message must keep it until it is sent, and must hang up where `message.need_eof()` says so.
//
// A hit leaves as it lies in the cache: `Fields` holds the stored head as it goes over the wire, `PinnedBody` a
// view of the stored bytes, and Beast gathers both into one write. Of HEAD and 304 the body is not looked at.
namespace smartcache::inline v0::http::beast {

/// Answers from `web`'s store where it may, and else asks `app(const http::Request&)`, in this thread and at
/// most once. For a validation the request carries the stored validators, and 304 is a fine answer.
///
/// `scheme`: "https" behind TLS. Thread safety: any thread. Blocks: as `Middleware::handle`.
/// Throws: what `app` throws, unless a stale response may be served instead.
template <class Cache, AnyRequest BeastRequest, class App>
requires requires(App& app, const Request& request) {
    detail::made(app(request));
}
[[nodiscard]] Message handle(Middleware<Cache>& web, BeastRequest&& request, App&& app,
                             std::string_view scheme = "http") {
    const Client client = Client::of(request);
    Transaction transaction = web.begin(to_request(std::forward<BeastRequest>(request), scheme));
    if (transaction.answered()) return to_message(transaction.take_response(), client);
    Streamed made;
    try {
        made = detail::made(app(std::as_const(transaction.request())));
    } catch (...) {
        if (auto stale = transaction.fail()) return to_message(std::move(*stale), client);
        throw;
    }
    made = http::detail::finish(transaction, std::move(made), client.head);
    return to_message(std::move(made.head), client, std::move(made.next));
}

/// The same for threads that must not block. Completes with `void(std::exception_ptr, Message)`: a failure, or
/// what is to be sent.
///
/// What is fresh in memory is answered at once. All else that may take time is done by `pool`: looking into the tiers
/// below, storing, invalidating. Requests that wait for another one's response hold no thread. Of `app`, a
/// function of the request alone runs in `pool` too and may block; one that takes a `Reply` runs by the
/// completion's executor, must not block, and may reply from any thread. Its request is valid until it replies.
/// Where a stale response is served while it is refreshed (stale-while-revalidate), `app` is called after the
/// completion.
///
/// The completion is called exactly once, by its associated executor, else by `io`: inside this call where that
/// is allowed here (a hit in memory, in a thread of that executor; never for tokens that are not callable
/// themselves, such as `use_awaitable`), else posted. It gets what `app` or a hook throws, or
/// `operation_aborted` where the reply or the pool's task was dropped; never a failure of the cache. A client
/// that goes away changes nothing here, unless the application drops its reply: then the next request that
/// waited asks in its place.
///
/// A task that `pool` refuses is done by the thread that submits it, which may be the event loop's: give the
/// pool a queue as long as the requests that are let in. Over a cache of memory alone, with an `app` that does
/// not block, an `InlineExecutor` will do. `web`, `pool` and `io`'s context must all outlive the call: a call
/// under way counts as work of the context, so that its `run` returns when none is left.
template <class Cache, AnyRequest BeastRequest, class IoExecutor, class App, class Token>
requires std::is_invocable_v<App&, const Request&, Reply> || requires(App& app, const Request& request) {
    detail::made(app(request));
}
auto async_handle(Middleware<Cache>& web, BeastRequest&& request, Executor& pool, const IoExecutor& io,
                  App app, Token&& token, std::string_view scheme = "http") {
    const Client client = Client::of(request);
    return boost::asio::async_initiate<Token, void(std::exception_ptr, Message)>(
        detail::StartCall{}, token, &web, to_request(std::forward<BeastRequest>(request), scheme), client,
        &pool, io, std::move(app),
        std::bool_constant<std::is_invocable_v<std::decay_t<Token>&, std::exception_ptr, Message>>{});
}

}  // namespace smartcache::inline v0::http::beast
