#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>

#include <smartcache/core/executor.hpp>
#include <smartcache/http/adapters/detail/async_call.hpp>
#include <smartcache/http/adapters/detail/beast_convert.hpp>
#include <smartcache/http/middleware.hpp>

// One request on its way through the cache in an event loop.
namespace smartcache::inline v0::http::beast {

/// `http::Reply`, which also takes a response of Beast's. Where there is none the completion gets the reason of `fail`,
/// `operation_aborted` where that is none.
class Reply : public http::Reply {
  public:
    using http::Reply::Reply;

    /// An `http::Response`, a response of Beast's or `Streamed`.
    template <class Made>
    requires requires(Made made) { detail::made(std::move(made)); }
    void operator()(Made made) const { http::Reply::operator()(detail::made(std::move(made))); }
};

namespace detail {

/// Completes a call of `async_handle`.
template <class Handler, class HandlerExecutor>
class Completion {
  public:
    Completion(Handler handler, const HandlerExecutor& executor, const Client& client, bool inline_allowed)
        : handler_(std::move(handler)),
          executor_(executor),
          work_(executor),
          client_(client),
          inline_allowed_(inline_allowed) {}

    template <class Made>
    [[nodiscard]] static Streamed made(Made&& from) {
        return detail::made(std::forward<Made>(from));
    }
    template <class Task>
    void ask(Task task) {
        boost::asio::dispatch(executor_, std::move(task));
    }
    void complete(Streamed made) {
        Message message;
        try {
            message = to_message(std::move(made.head), client_, std::move(made.next));
        } catch (...) {
            return call(std::current_exception(), {});
        }
        call(nullptr, std::move(message));
    }
    void fail(std::exception_ptr why) {
        if (!why)
            why = std::make_exception_ptr(boost::system::system_error(
                boost::asio::error::make_error_code(boost::asio::error::operation_aborted)));
        call(std::move(why), {});
    }
    [[nodiscard]] bool completed() const noexcept { return !handler_; }
    void letting_go() noexcept { inline_allowed_ = false; }

  private:
    void call(std::exception_ptr failure, Message message) {
        auto call = [handler = std::move(*handler_), failure = std::move(failure),
                     message = std::move(message)]() mutable { handler(failure, std::move(message)); };
        handler_.reset();
        if (inline_allowed_)
            boost::asio::dispatch(executor_, std::move(call));
        else
            boost::asio::post(executor_, std::move(call));
        work_.reset();
    }

    std::optional<Handler> handler_;
    HandlerExecutor executor_;
    boost::asio::executor_work_guard<HandlerExecutor> work_;
    Client client_;
    bool inline_allowed_;
};

struct StartCall {
    template <class Handler, class Cache, class IoExecutor, class App, bool inline_allowed>
    void operator()(Handler&& handler, Middleware<Cache>* web, Request request, const Client& client,
                    Executor* pool, const IoExecutor& io, App app, std::bool_constant<inline_allowed>) const {
        const auto executor = boost::asio::get_associated_executor(handler, io);
        using Completes = Completion<std::decay_t<Handler>, std::remove_cv_t<decltype(executor)>>;
        const auto call = std::make_shared<http::detail::Call<Completes, App, Reply>>(
            Completes(std::forward<Handler>(handler), executor, client, inline_allowed), std::move(app),
            *pool, client.head);
        try {
            web->begin(
                std::move(request), *pool,
                [call](Transaction transaction) { call->begun(std::move(transaction)); },
                Refresh::after_answer);
        } catch (...) {
            if (call->completed()) throw;  // it is the completion's own
            call->fail(std::current_exception());
        }
    }
};

}  // namespace detail

}  // namespace smartcache::inline v0::http::beast
