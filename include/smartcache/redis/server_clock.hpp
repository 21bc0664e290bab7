#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>

#include <smartcache/core/clock.hpp>

namespace smartcache::inline v0::detail {

/// What the server's clock said, and when that was on our steady clock.
struct ServerTime {
    std::int64_t milliseconds = 0;  ///< since the Unix epoch
    std::chrono::steady_clock::time_point at{};
    Duration within{0};  ///< how far `at` may be from when it was: half of the round trip

    /// Of an answer: somewhere between question and receipt the server looked at its clock.
    [[nodiscard]] static ServerTime between(std::int64_t milliseconds,
                                            std::chrono::steady_clock::time_point asked,
                                            std::chrono::steady_clock::time_point answered) noexcept {
        const auto half = (answered - asked) / 2;
        return {milliseconds, asked + half, std::chrono::ceil<Duration>(half)};
    }
};

/// How far the server's wall clock is from ours (R26): records carry the server's time, so that processes
/// whose clocks differ agree about their lifetimes.
///
/// The server's time is carried on by our steady clock from the last reading, so setting our wall clock
/// changes nothing. Thread safety: any thread.
class ServerClock {
  public:
    using Steady = std::chrono::steady_clock;

    /// A reading that took long, be it because its answer lay there before anybody read it, takes the place of none that was
    /// surer but for what the clocks may have drifted apart since, and is followed by another one soon.
    void observe(const ServerTime& reading) noexcept {
        const std::int64_t at = milliseconds(reading.at);
        const std::int64_t within = reading.within.count();
        // relaxed: two readings that mix differ by the length of a round trip.
        const std::int64_t before = read_at_.load(std::memory_order_relaxed);
        if (at <= before) return;
        if (before != unknown && within > little &&
            within > within_.load(std::memory_order_relaxed) + (at - before) / steady_for)
            return;
        read_at_.store(at, std::memory_order_relaxed);
        within_.store(within, std::memory_order_relaxed);
        ahead_of_steady_.store(reading.milliseconds - at, std::memory_order_relaxed);
        if (within > little) next_.store(at + soon, std::memory_order_relaxed);
    }

    /// The next reading is another server's, and may be from when its connection was made: a newer one is due.
    void forget(Steady::time_point now = Steady::now()) noexcept {
        read_at_.store(unknown, std::memory_order_relaxed);
        next_.store(milliseconds(now), std::memory_order_relaxed);
    }

    /// What to add to our wall clock, which says `wall` now, to get the server's. Zero before the first
    /// reading.
    ///
    /// Stays the same while the clocks differ by little from what it was, so that a time which goes to the
    /// server and comes back is the same millisecond.
    [[nodiscard]] Duration ahead(WallTime wall, Steady::time_point now = Steady::now()) noexcept {
        const std::int64_t ahead_of_steady = ahead_of_steady_.load(std::memory_order_relaxed);
        if (ahead_of_steady == unknown) return Duration::zero();
        const std::int64_t measured = ahead_of_steady + milliseconds(now) - wall.time_since_epoch().count();
        const std::int64_t last = ahead_.load(std::memory_order_relaxed);
        if (last != unknown && measured - last <= little && last - measured <= little) return Duration(last);
        ahead_.store(measured, std::memory_order_relaxed);
        return Duration(measured);
    }

    /// Whether the last reading is so old that the clocks may have drifted apart. True for one caller per
    /// period.
    [[nodiscard]] bool due(Steady::time_point now = Steady::now()) noexcept {
        std::int64_t next = next_.load(std::memory_order_relaxed);
        const std::int64_t at = milliseconds(now);
        if (at < next) return false;
        const bool first = next == unknown;
        return next_.compare_exchange_strong(next, at + period, std::memory_order_relaxed) && !first;
    }

  private:
    static constexpr std::int64_t unknown = std::numeric_limits<std::int64_t>::min();
    // Milliseconds.
    static constexpr std::int64_t little = 20;
    static constexpr std::int64_t period = 30'000;      // 3 ms of drift at 100 ppm
    static constexpr std::int64_t soon = 1'000;         // after a reading that is off by more than a little
    static constexpr std::int64_t steady_for = 10'000;  // clocks may drift apart by 1 in that time
    static std::int64_t milliseconds(Steady::time_point time) noexcept {
        return std::chrono::duration_cast<Duration>(time.time_since_epoch()).count();
    }
    std::atomic<std::int64_t> ahead_of_steady_{unknown};
    std::atomic<std::int64_t> ahead_{unknown};
    std::atomic<std::int64_t> read_at_{unknown};
    std::atomic<std::int64_t> within_{0};
    std::atomic<std::int64_t> next_{unknown};
};

}  // namespace smartcache::inline v0::detail
