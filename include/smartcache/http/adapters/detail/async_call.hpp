#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <smartcache/core/executor.hpp>
#include <smartcache/http/adapters/detail/streamed.hpp>
#include <smartcache/http/detail/middleware_helpers.hpp>
#include <smartcache/http/middleware.hpp>

// One request on its way through the cache in an event loop.
namespace smartcache::inline v0::http {

namespace detail {

/// What a `Reply` speaks to.
class Exchange {
  public:
    virtual ~Exchange() = default;
    virtual void answer(Streamed made) = 0;
    /// @param why  null: nobody gave a reason
    virtual void fail(std::exception_ptr why) = 0;

  protected:
    Exchange() = default;
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;
};

}  // namespace detail

/// Where an asynchronous application leaves its response, once; later calls do nothing. Copies are the same
/// reply. When the last one goes without an answer, because the application gave up, that is a failure:
/// others who wait for the response are not left waiting.
///
/// Thread safety: one thread at a time for each copy; any thread.
class Reply {
  public:
    explicit Reply(std::shared_ptr<detail::Exchange> exchange) : exchange_(std::move(exchange)) {}

    /// A `Response` or `Streamed`.
    template <class Made>
    requires requires(Made made) { detail::made(std::move(made)); }
    void operator()(Made made) const { exchange_->answer(detail::made(std::move(made))); }
    /// There is no response. The client gets a stale one where that is allowed, else an error.
    void fail(std::exception_ptr why = nullptr) const { exchange_->fail(std::move(why)); }

  private:
    std::shared_ptr<detail::Exchange> exchange_;
};

namespace detail {

/// One request on its way, in the hands of whoever is to take the next step, so that its destructor knows that
/// nobody will. `Port` is its way back into the framework, and used by one thread at a time:
///
///     static Streamed made(x);      // of what applications may return or reply
///     void ask(task);               // runs `task`, which asks an application that replies
///     void complete(Streamed);      // sends it: this or the next, once
///     void fail(exception_ptr);     // null: nobody gave a reason
///     bool completed() const;
///     void letting_go();            // whoever calls from now on does not expect to be called back
///
/// `AppReply`: what such an application is given; one that does not take it blocks, and runs in the pool.
template <class Port, class App, class AppReply>
class Call final : public Exchange, public std::enable_shared_from_this<Call<Port, App, AppReply>> {
  public:
    static constexpr bool blocking = !std::is_invocable_v<App&, const Request&, AppReply>;

    Call(Port port, App app, Executor& pool, bool head_only)
        : port_(std::move(port)), app_(std::move(app)), pool_(&pool), head_only_(head_only) {}

    ~Call() override {
        port_.letting_go();
        try {
            give_up(nullptr);
        } catch (...) {  // nobody is left to hear of it
        }
    }

    void begun(Transaction transaction) {
        const bool answered = transaction.answered();
        Response answer;
        if (answered) answer = transaction.take_response();
        const bool asks = !answered || transaction.wants_refresh();
        transaction_.emplace(std::move(transaction));
        if (answered) complete({std::move(answer), {}});
        if (asks) ask();
    }

    void answer(Streamed made) override {
        if (replied_.exchange(true)) return;
        made_ = std::move(made);
        run_by(*pool_, [self = this->shared_from_this()] { self->finish_here(); });
    }

    void fail(std::exception_ptr why) override {
        if (replied_.exchange(true)) return;
        give_up(std::move(why));
    }

    [[nodiscard]] bool completed() const noexcept { return port_.completed(); }

  private:
    void ask() {
        auto self = this->shared_from_this();
        if constexpr (blocking)
            run_by(*pool_, [self] { self->ask_here(); });
        else
            port_.ask([self] { self->ask_here(); });
    }

    void ask_here() {
        const Request& request = transaction_->request();
        try {
            if constexpr (blocking)
                made_ = Port::made(app_(request));
            else
                app_(request, AppReply(this->shared_from_this()));
        } catch (...) {
            return fail(std::current_exception());
        }
        if constexpr (blocking) {
            replied_ = true;
            finish_here();
        }
    }

    /// In the pool: what is stored or invalidated reaches tiers that take time.
    void finish_here() {
        finished_ = true;
        Streamed made;
        try {
            made = finish(*transaction_, std::move(made_), head_only_);
        } catch (...) {  // a hook's
            return complete_with(std::current_exception());
        }
        complete(std::move(made));
    }

    void give_up(std::exception_ptr why) {
        std::optional<Response> stale;
        if (transaction_ && !transaction_->answered() && !finished_) {
            finished_ = true;
            stale = transaction_->fail();
        }
        if (stale)
            complete({std::move(*stale), {}});
        else
            complete_with(std::move(why));
    }

    // Completed already where the client has its answer and this is a refresh.
    void complete(Streamed made) {
        if (!port_.completed()) port_.complete(std::move(made));
    }
    void complete_with(std::exception_ptr failure) {
        if (!port_.completed()) port_.fail(std::move(failure));
    }

    Port port_;
    App app_;
    Executor* pool_;
    bool head_only_;
    bool finished_ = false;
    std::atomic<bool> replied_{false};
    std::optional<Transaction> transaction_;
    Streamed made_;
};

}  // namespace detail

}  // namespace smartcache::inline v0::http
