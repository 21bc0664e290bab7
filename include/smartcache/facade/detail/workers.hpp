#pragma once

#include <cstddef>
#include <stop_token>
#include <utility>

#include <smartcache/core/executor.hpp>

namespace smartcache::inline v0::detail {

/// What runs a cache's work outside its callers' threads. Threads start when they are first needed.
///
/// Thread safety: all but `stop` and the destructor from any thread, `stop` from one that is not of these.
class Workers {
  public:
    /// @param background_threads  0: what is left for later waits for `run_deferred`, and nothing runs at once
    explicit Workers(std::size_t background_threads)
        : has_threads_(background_threads != 0), background_(background_threads) {}
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    [[nodiscard]] bool has_threads() const noexcept { return has_threads_; }

    /// Work that nobody waits for. @return false when there is too much of it already
    [[nodiscard]] bool later(Executor::Task task) {
        return has_threads_ ? background_.submit(marked(std::move(task))) : deferred_.submit(std::move(task));
    }

    /// What becomes of work that somebody waits for.
    enum class Turn {
        taken,    ///< a thread begins with it at once
        queued,   ///< one will, when it has ended something else
        refused,  ///< the caller has to do it: too much is being done, or the caller is such work itself and could otherwise wait
                  ///< for a thread that waits for it (R32)
    };
    [[nodiscard]] Turn at_once(const Executor::Task& task) {
        if (!has_threads_) return Turn::refused;
        if (waited_for_.start(marked(task))) return Turn::taken;
        return !in_worker() && waited_for_.submit(marked(task)) ? Turn::queued : Turn::refused;
    }

    std::size_t run_deferred() { return deferred_.run(); }

    /// Asks loads to stop, drops what has not begun, and waits for what has. What still runs does for itself what it would
    /// have had done here.
    void stop() noexcept {
        stop_.request_stop();
        waited_for_.stop();
        background_.stop();
    }

    /// Asked for by the time the cache ends.
    [[nodiscard]] std::stop_token stop_token() const noexcept { return stop_.get_token(); }

  private:
    [[nodiscard]] static bool& in_worker() noexcept {
        thread_local bool yes = false;
        return yes;
    }
    [[nodiscard]] static Executor::Task marked(Executor::Task task) {
        return [task = std::move(task)] {
            in_worker() = true;
            task();
        };
    }

    /// Loads that take long are what these are for, and a hung origin must not keep those of another waiting.
    static constexpr std::size_t most_waited_for = 64;

    const bool has_threads_;
    std::stop_source stop_;
    DeferredExecutor deferred_;
    ThreadPool background_;
    ThreadPool waited_for_{most_waited_for};
};

}  // namespace smartcache::inline v0::detail
