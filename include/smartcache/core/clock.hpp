#pragma once

#include <ctime>

#include <atomic>
#include <chrono>
#include <cstdint>

namespace smartcache::inline v0 {

/// Every length of time in the library's interface. A `Duration` of `max()` means "for ever".
using Duration = std::chrono::milliseconds;

/// Time since the machine started, time asleep included; never jumps. Lifetimes in memory are measured on it.
struct MonotonicClock {
    using rep = std::int64_t;
    using period = std::milli;
    using duration = Duration;
    using time_point = std::chrono::time_point<MonotonicClock>;
    static constexpr bool is_steady = true;

    /// Reads the operating system's clock. Counts suspend (R26), which `std::chrono::steady_clock` does not.
    [[nodiscard]] static time_point now() noexcept {
        timespec value{};
#if defined(CLOCK_BOOTTIME)
        ::clock_gettime(CLOCK_BOOTTIME, &value);
#else
        ::clock_gettime(CLOCK_MONOTONIC, &value);
#endif
        return time_point(std::chrono::duration_cast<Duration>(std::chrono::seconds(value.tv_sec) +
                                                               std::chrono::nanoseconds(value.tv_nsec)));
    }
};

using MonotonicTime = MonotonicClock::time_point;
/// Milliseconds since the Unix epoch: what is written into records and HTTP dates.
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

/// The same time axis, read without a system call in a few nanoseconds: an upper bound, at most one tick of
/// the kernel and 2 ms ahead once somebody has called `synchronise`, far ahead before. What ends later than this has
/// not ended; only near its end the exact clock has to be asked.
///
/// The kernel keeps no coarse form of the clock that counts suspend. Its coarse monotonic clock is taken, and
/// the time slept is added; `synchronise`, which every cache runs when it is made, and writes and maintenance now and
/// then, measures it anew.
class CoarseClock {
  public:
    [[nodiscard, gnu::always_inline]] static MonotonicTime now() noexcept {
        return MonotonicTime(Duration(coarse_ms() + ahead_ms_.load(std::memory_order_relaxed)));
    }

    /// Measures how far the two clocks are apart. About 50 ns.
    static void synchronise() noexcept {
        const std::int64_t ahead = measure();
        // relaxed: a number on its own; readers that see the old one are where they were before.
        if (ahead_ms_.load(std::memory_order_relaxed) != ahead)
            ahead_ms_.store(ahead, std::memory_order_relaxed);
    }

  private:
    static constexpr std::int64_t ms_per_s = 1000;
    static constexpr std::uint32_t ns_per_ms = 1'000'000;

    [[nodiscard, gnu::always_inline]] static std::int64_t read_ms(clockid_t clock) noexcept {
        timespec value;  // NOLINT: filled by the call, which cannot fail for the clocks used here
        ::clock_gettime(clock, &value);
        // Below 2^30 it is, and 32 bits are divided faster.
        return value.tv_sec * ms_per_s + static_cast<std::uint32_t>(value.tv_nsec) / ns_per_ms;
    }
#if defined(CLOCK_MONOTONIC_COARSE) && defined(CLOCK_BOOTTIME)
    [[nodiscard, gnu::always_inline]] static std::int64_t coarse_ms() noexcept {
        return read_ms(CLOCK_MONOTONIC_COARSE);
    }
    [[nodiscard]] static std::int64_t measure() noexcept {
        timespec tick{};
        ::clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
        // Read in this order the difference is never too small; the tick covers the coarse clock's lag, and
        // two ms what the truncations cut off.
        const std::int64_t monotonic = read_ms(CLOCK_MONOTONIC);
        const std::int64_t slept = read_ms(CLOCK_BOOTTIME) - monotonic;
        // A difference of one is the truncation's: without this it would flicker.
        return (slept <= 1 ? 0 : slept) + tick.tv_nsec / ns_per_ms + 2;
    }
#else
    [[nodiscard]] static std::int64_t coarse_ms() noexcept {
        return MonotonicClock::now().time_since_epoch().count();
    }
    [[nodiscard]] static std::int64_t measure() noexcept {
        return 0;
    }
#endif
    static constexpr std::int64_t unmeasured = std::int64_t{1} << 50U;  // an upper bound, too
    static inline constinit std::atomic<std::int64_t> ahead_ms_{unmeasured};
};

/// Where a cache gets the time that governs lifetimes and ages. Waits and deadlines use real time.
///
/// Model must: be callable from any thread; `now()` never goes back.
class Clock {
  public:
    virtual ~Clock() = default;
    [[nodiscard]] virtual MonotonicTime now() const noexcept = 0;
    [[nodiscard]] virtual WallTime wall() const noexcept = 0;

  protected:
    Clock() = default;
    Clock(const Clock&) = default;
    Clock& operator=(const Clock&) = default;
};

/// The operating system's clocks.
class SystemClock final : public Clock {
  public:
    [[nodiscard]] MonotonicTime now() const noexcept override { return MonotonicClock::now(); }
    [[nodiscard]] WallTime wall() const noexcept override {
        return std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now());
    }
    [[nodiscard]] static const SystemClock& instance() noexcept {
        static constinit const SystemClock clock;
        return clock;
    }
};

/// A clock as the tiers hold it: the system's without a virtual call, or the one that was injected.
class TimeSource {
  public:
    TimeSource() = default;
    /// @param clock  not owned, must outlive every user; nullptr is the system's
    explicit TimeSource(const Clock* clock) noexcept : clock_(clock) {}

    [[nodiscard]] MonotonicTime now() const noexcept {
        return clock_ == nullptr ? MonotonicClock::now() : clock_->now();
    }
    /// Not before `now()`, and with the system's clock at most a few ms after it: for the hit path.
    [[nodiscard, gnu::always_inline]] MonotonicTime coarse() const noexcept {
        if (clock_ == nullptr) [[likely]]
            return CoarseClock::now();
        return injected_now();
    }
    [[nodiscard]] WallTime wall() const noexcept { return clock().wall(); }
    [[nodiscard]] const Clock& clock() const noexcept {
        return clock_ == nullptr ? static_cast<const Clock&>(SystemClock::instance()) : *clock_;
    }
    [[nodiscard]] const Clock* injected() const noexcept { return clock_; }

  private:
    /// Apart: compilers would try the system's clock here before they call, in the middle of every hit.
    [[nodiscard, gnu::noinline]] MonotonicTime injected_now() const noexcept { return clock_->now(); }

    const Clock* clock_ = nullptr;
};

/// Any length of time in ours; what is too long is for ever, and what is no number is as short as
/// can be.
template <class Rep, class Period>
[[nodiscard]] constexpr Duration saturating_duration(std::chrono::duration<Rep, Period> length) noexcept {
    using Wide = std::chrono::duration<long double, std::milli>;
    const Wide wide(length);
    if (wide >= Wide(Duration::max())) return Duration::max();
    if (!(wide > Wide(Duration::min()))) return Duration::min();  // NaN, too
    return std::chrono::duration_cast<Duration>(length);
}

/// `start + length` without overflow: for ever stays for ever.
template <class TimePoint>
[[nodiscard]] constexpr TimePoint saturating_add(TimePoint start, Duration length) noexcept {
    if (length == Duration::max()) return TimePoint::max();
    // Before the epoch nothing can overflow upwards, but the difference itself would.
    if (start > TimePoint{} && length >= TimePoint::max() - start) return TimePoint::max();
    return start + length;
}

/// `end - now`, where an end of `max()` stays for ever.
template <class TimePoint>
[[nodiscard]] constexpr Duration remaining(TimePoint end, TimePoint now) noexcept {
    return end == TimePoint::max() ? Duration::max() : Duration(end - now);
}

}  // namespace smartcache::inline v0
