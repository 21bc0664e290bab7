#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/core/stats.hpp>
#include <smartcache/redis/options.hpp>

namespace smartcache::inline v0 {

/// Circuit breaker: after `failures` failures in a row nobody is let through for `open_for`, then one at a
/// time as a probe, until one succeeds. Who has nothing else to do may probe sooner (`enter_to_probe`): each probe that fails
/// keeps the others out for another `open_for`, so that none of them has to find out.
///
///     Breaker::Pass pass = breaker.enter(now);
///     if (pass == Breaker::Pass::refused) return;
///     breaker.leave(pass, Breaker::Result::success, now);     // exactly once for every other pass
///
/// Thread safety: any thread. While closed and without failures `enter` and `leave` are one atomic load each.
class Breaker {
  public:
    using TimePoint = std::chrono::steady_clock::time_point;
    enum class Pass { refused, normal, probe };
    enum class Result { success, failure, neutral };  ///< neutral: nothing was learned about the server

    explicit Breaker(BreakerOptions options) noexcept : options_(options) {}

    [[nodiscard]] Pass enter(TimePoint now) {
        // acquire: pairs with the release in `change`; a pass after it sees what the state was changed for.
        if (state_.load(std::memory_order_acquire) == BreakerState::closed) return Pass::normal;
        const std::lock_guard lock(mutex_);
        if (state_.load(std::memory_order_relaxed) == BreakerState::closed) return Pass::normal;
        if (probing() || refuses(now)) return Pass::refused;
        return probe();
    }

    /// Whether `enter` would refuse, as far as that can be said without waiting for anybody: false may be wrong.
    [[nodiscard]] bool refuses(TimePoint now) const noexcept {
        // relaxed: who sees an old time goes in and is refused, or let through, there.
        return state() != BreakerState::closed &&
               now.time_since_epoch().count() < open_until_.load(std::memory_order_relaxed);
    }

    /// For a probe that nobody waits for: at most every 100 ms, whatever `open_for` is.
    [[nodiscard]] Pass enter_to_probe(TimePoint now) {
        if (state() == BreakerState::closed) return Pass::refused;
        const std::lock_guard lock(mutex_);
        if (state_.load(std::memory_order_relaxed) == BreakerState::closed || probing() || now < probe_at_)
            return Pass::refused;
        return probe();
    }

    /// @return whether the state is another one now than before `enter`, for the log
    bool leave(Pass pass, Result result, TimePoint now) {
        if (pass == Pass::refused) return false;
        if (pass == Pass::normal && result == Result::neutral) return false;
        // relaxed: a failure counted or forgotten a moment late changes when the breaker opens, nothing else.
        if (pass == Pass::normal && result == Result::success &&
            failed_in_a_row_.load(std::memory_order_relaxed) == 0)
            return false;
        const std::lock_guard lock(mutex_);
        if (pass == Pass::probe) {
            probing_ = false;
            if (result == Result::success) return close();
            if (result == Result::failure) open(now);
            probe_again_after(now);
            return false;
        }
        // Commands that began before the breaker opened decide nothing any more.
        if (state_.load(std::memory_order_relaxed) != BreakerState::closed) return false;
        if (result == Result::success) {
            failed_in_a_row_.store(0, std::memory_order_relaxed);
            return false;
        }
        if (failed_in_a_row_.fetch_add(1, std::memory_order_relaxed) + 1 < options_.failures) return false;
        open(now);
        probe_again_after(now);
        return true;
    }

    /// The server was found to be well by other means than a pass.
    /// @return whether that closed the breaker
    bool recovered() {
        if (state() == BreakerState::closed) return false;
        const std::lock_guard lock(mutex_);
        return state_.load(std::memory_order_relaxed) != BreakerState::closed && close();
    }

    [[nodiscard]] BreakerState state() const noexcept { return state_.load(std::memory_order_acquire); }

  private:
    /// A child process never hears of its parent's probe (R33).
    [[nodiscard]] bool probing() const noexcept { return probing_ && !prober_.forked(); }
    [[nodiscard]] Pass probe() noexcept {
        probing_ = true;
        prober_ = detail::ProcessMark();
        change(BreakerState::half_open);
        return Pass::probe;
    }
    void change(BreakerState state) noexcept { state_.store(state, std::memory_order_release); }
    bool close() noexcept {
        failed_in_a_row_.store(0, std::memory_order_relaxed);
        change(BreakerState::closed);
        return true;
    }
    void open(TimePoint now) noexcept {
        constexpr Duration longest = std::chrono::hours(24 * 365);  // beyond that the clock would overflow
        const TimePoint until = now + (options_.open_for < longest ? options_.open_for : longest);
        open_until_.store(until.time_since_epoch().count(), std::memory_order_relaxed);
        change(BreakerState::open);
    }
    void probe_again_after(TimePoint now) noexcept {
        probe_at_ = now + std::min<Duration>(options_.open_for, std::chrono::milliseconds(100));
    }

    const BreakerOptions options_;
    std::atomic<BreakerState> state_{BreakerState::closed};
    std::atomic<std::size_t> failed_in_a_row_{0};
    detail::Mutex mutex_;
    bool probing_ = false;
    detail::ProcessMark prober_;  // where
    std::atomic<TimePoint::rep> open_until_{0};
    TimePoint probe_at_{};  // the next one that nobody waits for, at the earliest
};

}  // namespace smartcache::inline v0
