#pragma once

#include <atomic>
#include <cstdint>

#include <smartcache/core/clock.hpp>

namespace smartcache::inline v0 {

/// A clock that stands still until it is told to move; for tests of code that uses a cache.
///
///     sc::FakeClock clock;
///     sc::SmartCache<> cache{{.clock = &clock}};
///     cache.set("k", 1, {.ttl = 10s});
///     clock.advance(10s);                       // "k" has expired
///
/// Monotonic and wall time move together. Thread safety: any thread, any time.
class FakeClock final : public Clock {
  public:
    /// Starts at an arbitrary but fixed instant: 2001-09-09 01:46:40 UTC, an hour after the machine
    /// "started".
    FakeClock() = default;
    explicit FakeClock(WallTime start) noexcept
        : wall_offset_ms_(start.time_since_epoch().count() - start_ms) {}

    FakeClock(const FakeClock&) = delete;
    FakeClock& operator=(const FakeClock&) = delete;

    [[nodiscard]] MonotonicTime now() const noexcept override {
        return MonotonicTime(Duration(now_ms_.load(std::memory_order_acquire)));
    }
    [[nodiscard]] WallTime wall() const noexcept override {
        return WallTime(Duration(now_ms_.load(std::memory_order_acquire) +
                                 wall_offset_ms_.load(std::memory_order_acquire)));
    }

    /// Moves both clocks forward. Negative lengths are ignored: monotonic time never goes back.
    void advance(Duration length) noexcept {
        if (length > Duration::zero()) now_ms_.fetch_add(length.count(), std::memory_order_acq_rel);
    }

    /// Sets the wall clock alone, as an administrator or NTP would; monotonic time is not touched.
    void set_wall(WallTime time) noexcept {
        wall_offset_ms_.store(time.time_since_epoch().count() - now_ms_.load(std::memory_order_acquire),
                              std::memory_order_release);
    }

  private:
    static constexpr std::int64_t start_ms = 3'600'000;
    std::atomic<std::int64_t> now_ms_{start_ms};
    std::atomic<std::int64_t> wall_offset_ms_{1'000'000'000'000 - start_ms};
};

}  // namespace smartcache::inline v0
