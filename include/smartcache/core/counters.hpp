#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include <smartcache/core/thread_index.hpp>

namespace smartcache::inline v0 {

namespace detail {
inline constexpr std::size_t cache_line = 64;
}  // namespace detail

/// Counters for the enumerators of `Event` (0 to `Event::count_` - 1), striped so that threads do not share
/// lines.
///
/// Thread safety: any thread. `add` is a plain addition on memory that only this thread writes (a locked one
/// for threads beyond the first `detail::exclusive_threads`); `sum` is O(stripes) and sees every addition that
/// happened before it.
template <class Event>
class Counters {
  public:
    [[gnu::always_inline]] void add(Event event, std::uint64_t amount = 1) noexcept {
        const std::size_t index = detail::thread_index();
        std::atomic<std::uint64_t>& value = stripes_[index].values[static_cast<std::size_t>(event)];
        // relaxed: counts are summed, they order nothing. Load and store suffice where one thread writes.
        if (index < detail::exclusive_threads)
            value.store(value.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
        else
            value.fetch_add(amount, std::memory_order_relaxed);
    }

    [[nodiscard]] std::uint64_t sum(Event event) const noexcept {
        const std::uint64_t total = raw_sum(event);
        // Counters only grow, but a sum that began before a reset may end up below what the reset has seen.
        const std::uint64_t before = before_[static_cast<std::size_t>(event)].load(std::memory_order_relaxed);
        return total > before ? total - before : 0;
    }

    /// Starts anew from what is counted now. Nobody else's counter is written, so no addition is lost.
    void reset() noexcept {
        for (std::size_t i = 0; i < before_.size(); ++i)
            before_[i].store(raw_sum(static_cast<Event>(i)), std::memory_order_relaxed);
    }

  private:
    static constexpr std::size_t event_count = static_cast<std::size_t>(Event::count_);
    struct alignas(detail::cache_line) Stripe {
        std::array<std::atomic<std::uint64_t>, event_count> values{};
    };

    [[nodiscard]] std::uint64_t raw_sum(Event event) const noexcept {
        std::uint64_t total = 0;
        for (const Stripe& stripe : stripes_)
            total += stripe.values[static_cast<std::size_t>(event)].load(std::memory_order_relaxed);
        return total;
    }

    std::array<Stripe, detail::exclusive_threads + 1> stripes_{};
    std::array<std::atomic<std::uint64_t>, event_count> before_{};
};

/// Latencies, as a summary of a `LatencyHistogram`.
struct Latency {
    std::uint64_t count = 0;
    std::chrono::nanoseconds p50{0};
    std::chrono::nanoseconds p99{0};
    std::chrono::nanoseconds max{0};
};

/// Histogram of durations from 1 ns to hours with at most 12.5 % error: 8 linear steps per power of two.
///
/// Thread safety: any thread. `record` is two or three relaxed atomic operations; used only off the L1 hit
/// path.
class LatencyHistogram {
  public:
    void record(std::chrono::nanoseconds latency) noexcept {
        const auto value = static_cast<std::uint64_t>(latency.count() < 0 ? 0 : latency.count());
        buckets_[bucket_of(value)].fetch_add(1, std::memory_order_relaxed);
        std::uint64_t seen = max_.load(std::memory_order_relaxed);
        while (value > seen && !max_.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
        }
    }

    [[nodiscard]] Latency summary() const noexcept {
        std::array<std::uint64_t, bucket_count> copy{};
        Latency result;
        for (std::size_t i = 0; i < bucket_count; ++i) {
            copy[i] = buckets_[i].load(std::memory_order_relaxed);
            result.count += copy[i];
        }
        if (result.count == 0) return result;
        result.max = std::chrono::nanoseconds(max_.load(std::memory_order_relaxed));
        result.p50 = percentile(copy, result.count, 50, result.max);
        result.p99 = percentile(copy, result.count, 99, result.max);
        return result;
    }

    void reset() noexcept {
        for (auto& bucket : buckets_) bucket.store(0, std::memory_order_relaxed);
        max_.store(0, std::memory_order_relaxed);
    }

  private:
    static constexpr std::size_t steps = 8;
    static constexpr std::size_t bucket_count = steps * 44;  // up to 2^46 ns, about 19 hours

    static std::size_t bucket_of(std::uint64_t value) noexcept {
        if (value < steps) return static_cast<std::size_t>(value);
        const auto exponent =
            static_cast<std::size_t>(std::bit_width(value)) - 4;  // value >> exponent is 8..15
        const std::size_t index =
            steps * (exponent + 1) + static_cast<std::size_t>((value >> exponent) - steps);
        return index < bucket_count ? index : bucket_count - 1;
    }

    static std::uint64_t upper_bound_of(std::size_t index) noexcept {
        if (index < steps) return index;
        const std::size_t exponent = index / steps - 1;
        return ((steps + index % steps + 1) << exponent) - 1;
    }

    static std::chrono::nanoseconds percentile(const std::array<std::uint64_t, bucket_count>& buckets,
                                               std::uint64_t total, std::uint64_t percent,
                                               std::chrono::nanoseconds max) noexcept {
        const std::uint64_t rank = (total * percent + 99) / 100;
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < bucket_count; ++i) {
            seen += buckets[i];
            if (seen >= rank) {
                const std::chrono::nanoseconds bound(upper_bound_of(i));
                return bound < max ? bound : max;
            }
        }
        return max;
    }

    std::array<std::atomic<std::uint64_t>, bucket_count> buckets_{};
    std::atomic<std::uint64_t> max_{0};
};

}  // namespace smartcache::inline v0
