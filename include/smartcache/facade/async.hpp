#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <smartcache/core/executor.hpp>
#include <smartcache/facade/detail/workers.hpp>
#include <smartcache/facade/lookup.hpp>

namespace smartcache::inline v0 {

/// Goes on in whatever thread has the result.
struct ResumeThere {
    template <class Go>
    void operator()(Go&& go) const {
        std::invoke(std::forward<Go>(go));
    }
};

/// Goes on in an executor, or in the thread that has the result if that takes nothing more. Made by `resume_on`.
class ResumeOn {
  public:
    explicit ResumeOn(Executor& executor) noexcept : executor_(&executor) {}
    template <class Go>
    void operator()(const Go& go) const {
        if (!executor_->submit(go)) std::invoke(go);
    }

  private:
    Executor* executor_;
};

/// `co_await cache.async_get<T>(key, sc::resume_on(pool))`. @param executor  must outlive the operation
[[nodiscard]] inline ResumeOn resume_on(Executor& executor) noexcept {
    return ResumeOn(executor);
}

/// A lookup that does not block the thread that waits for it: await it in a coroutine, or say what to do `then`. Once.
///
/// What L1 has is there at once: no thread changes, nothing is allocated. Anything else runs on a thread of the cache, and goes
/// on where `On` says: a callable that gets something to call, `[&io](auto go) { asio::post(io, go); }` for instance. Without
/// `background_threads`, and when too much is waiting already, it runs in the thread that awaits it.
///
/// Thread safety: one thread at a time. The cache must outlive the operation.
template <class T, class Work, class On>
class AsyncLookup {
  public:
    /// One that has ended.
    AsyncLookup(Lookup<T> result, On on) : ready_(true), result_(std::move(result)), on_(std::move(on)) {}
    /// One that is to run.
    AsyncLookup(detail::Workers& workers, Work work, On on)
        : workers_(&workers), work_(std::move(work)), on_(std::move(on)) {}

    [[nodiscard]] bool await_ready() const noexcept { return ready_; }
    /// `Handle`: any coroutine handle. @return false when it has ended by now
    template <class Handle>
    [[nodiscard]] bool await_suspend(Handle waiting) {
        // Once the coroutine goes on, in another thread maybe before this returns, `this` may be gone.
        if (workers_->at_once([this, waiting] {
                run();
                go_on(on_, waiting);
            }) != detail::Workers::Turn::refused)
            return true;
        run();
        return false;
    }
    /// Throws: what the lookup throws.
    [[nodiscard]] Lookup<T> await_resume() {
        if (error_) std::rethrow_exception(error_);
        return std::move(result_);
    }

    /// Calls `done(std::exception_ptr, Lookup<T>)` with the result: at once if it is there, else where `On` says.
    /// `done` may be move-only. What it throws then is lost.
    template <class F>
    void then(F done) && {
        if (ready_) {
            std::invoke(done, std::exception_ptr(), std::move(result_));
            return;
        }
        struct Operation {
            AsyncLookup lookup;
            F done;
            void finish() { std::invoke(done, lookup.error_, std::move(lookup.result_)); }
        };
        auto operation = std::make_shared<Operation>(Operation{std::move(*this), std::move(done)});
        AsyncLookup& lookup = operation->lookup;
        if (lookup.workers_->at_once([operation] {
                operation->lookup.run();
                go_on(operation->lookup.on_, [operation] { operation->finish(); });
            }) != detail::Workers::Turn::refused)
            return;
        lookup.run();
        operation->finish();
    }

  private:
    void run() noexcept {
        try {
            result_ = (*work_)();
        } catch (...) {
            error_ = std::current_exception();
        }
    }
    /// A coroutine that cannot go on where it should goes on here.
    template <class Go>
    static void go_on(On on, Go go) {
        const auto begun = std::make_shared<std::atomic<bool>>(false);
        try {
            on([begun, go] {
                *begun = true;
                go();
            });
        } catch (...) {
            if (!*begun) go();
        }
    }

    bool ready_ = false;
    detail::Workers* workers_ = nullptr;
    std::optional<Work> work_;
    Lookup<T> result_;
    std::exception_ptr error_;
    On on_;
};

}  // namespace smartcache::inline v0
