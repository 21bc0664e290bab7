#pragma once

#include <atomic>
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
#include <smartcache/http/adapters/detail/beast_convert.hpp>
#include <smartcache/http/detail/middleware_helpers.hpp>
#include <smartcache/http/middleware.hpp>

// One request on its way through the cache in an event loop.
namespace smartcache::inline v0::http::beast {

namespace detail {

/// What a `Reply` speaks to.
class Exchange {
  public:
    virtual ~Exchange() = default;
    virtual void answer(Streamed made) = 0;
    virtual void fail(std::exception_ptr why) = 0;

  protected:
    Exchange() = default;
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;
};

[[nodiscard]] inline std::exception_ptr aborted() {
    return std::make_exception_ptr(boost::system::system_error(
        boost::asio::error::make_error_code(boost::asio::error::operation_aborted)));
}

}  // namespace detail

/// Where an asynchronous application leaves its response, once; later calls do nothing. Copies are the same
/// reply. When the last one goes without an answer, because the application gave up, that is a failure:
/// others who wait for the response are not left waiting.
///
/// Thread safety: one thread at a time for each copy; any thread.
class Reply {
  public:
    explicit Reply(std::shared_ptr<detail::Exchange> exchange) : exchange_(std::move(exchange)) {}

    /// An `http::Response`, a response of Beast's or `Streamed`.
    template <class Made>
    requires requires(Made made) { detail::made(std::move(made)); }
    void operator()(Made made) const { exchange_->answer(detail::made(std::move(made))); }
    /// There is no response. The client gets a stale one where that is allowed, else the completion gets `why`.
    void fail(std::exception_ptr why = detail::aborted()) const { exchange_->fail(std::move(why)); }

  private:
    std::shared_ptr<detail::Exchange> exchange_;
};

namespace detail {

/// One request on its way through `async_handle`. Owned by whoever is to take the next step, so that its
/// destructor knows that nobody will.
template <class Handler, class HandlerExecutor, class App>
class Call final : public Exchange, public std::enable_shared_from_this<Call<Handler, HandlerExecutor, App>> {
  public:
    static constexpr bool blocking = !std::is_invocable_v<App&, const Request&, Reply>;

    Call(Handler handler, const HandlerExecutor& executor, App app, Executor& pool, const Client& client,
         bool inline_allowed)
        : handler_(std::move(handler)),
          executor_(executor),
          work_(executor),
          app_(std::move(app)),
          pool_(&pool),
          client_(client),
          inline_allowed_(inline_allowed) {}

    ~Call() override {
        inline_allowed_ = false;  // whoever lets go of a reply does not expect to be called back
        try {
            give_up(aborted());
        } catch (...) {  // nobody is left to hear of it
        }
    }

    void begun(Transaction transaction) {
        const bool answered = transaction.answered();
        Response answer;
        if (answered) answer = transaction.take_response();
        const bool asks = !answered || transaction.wants_refresh();
        transaction_.emplace(std::move(transaction));
        if (answered) complete(nullptr, to_message(std::move(answer), client_));
        if (asks) ask();
    }

    void answer(Streamed made) override {
        if (replied_.exchange(true)) return;
        made_ = std::move(made);
        http::detail::run_by(*pool_, [self = this->shared_from_this()] { self->finish(); });
    }

    void fail(std::exception_ptr why) override {
        if (replied_.exchange(true)) return;
        give_up(std::move(why));
    }

    [[nodiscard]] bool completed() const noexcept { return !handler_; }

  private:
    void ask() {
        auto self = this->shared_from_this();
        if constexpr (blocking)
            http::detail::run_by(*pool_, [self] { self->ask_here(); });
        else
            boost::asio::dispatch(executor_, [self] { self->ask_here(); });
    }

    void ask_here() {
        const Request& request = transaction_->request();
        try {
            if constexpr (blocking)
                made_ = detail::made(app_(request));
            else
                app_(request, Reply(this->shared_from_this()));
        } catch (...) {
            return fail(std::current_exception());
        }
        if constexpr (blocking) {
            replied_ = true;
            finish();
        }
    }

    /// In the pool: what is stored or invalidated reaches tiers that take time.
    void finish() {
        finished_ = true;
        Message message;
        std::exception_ptr failure;
        try {
            message = detail::finish(*transaction_, std::move(made_), client_);
        } catch (...) {  // a hook's
            failure = std::current_exception();
        }
        complete(std::move(failure), std::move(message));
    }

    void give_up(std::exception_ptr why) {
        std::optional<Response> stale;
        if (transaction_ && !transaction_->answered() && !finished_) {
            finished_ = true;
            stale = transaction_->fail();
        }
        if (stale)
            complete(nullptr, to_message(std::move(*stale), client_));
        else
            complete(std::move(why), {});
    }

    void complete(std::exception_ptr failure, Message message) {
        if (!handler_) return;  // a refresh: the client has its answer
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
    App app_;
    Executor* pool_;
    Client client_;
    bool inline_allowed_;
    bool finished_ = false;
    std::atomic<bool> replied_{false};
    std::optional<Transaction> transaction_;
    Streamed made_;
};

struct StartCall {
    template <class Handler, class Cache, class IoExecutor, class App, bool inline_allowed>
    void operator()(Handler&& handler, Middleware<Cache>* web, Request request, const Client& client,
                    Executor* pool, const IoExecutor& io, App app, std::bool_constant<inline_allowed>) const {
        const auto executor = boost::asio::get_associated_executor(handler, io);
        using Started = Call<std::decay_t<Handler>, std::remove_cv_t<decltype(executor)>, App>;
        const auto call = std::make_shared<Started>(std::forward<Handler>(handler), executor, std::move(app),
                                                    *pool, client, inline_allowed);
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
