#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include <smartcache/core/clock.hpp>
#include <smartcache/facade/stats.hpp>

namespace smartcache::inline v0::detail {

/// What a cache did in its last interval, and in the one before. Thread safety: none.
class RecentRates {
  public:
    /// Numbers that only grow, until all begin again.
    struct Counts {
        std::uint64_t requests = 0;
        std::uint64_t hits = 0;
        std::uint64_t evictions = 0;
        std::uint64_t expirations = 0;

        [[nodiscard]] double hit_ratio() const noexcept {
            return requests == 0 ? 0 : static_cast<double>(hits) / static_cast<double>(requests);
        }
    };

    explicit RecentRates(MonotonicTime now) noexcept : since_(now) {}

    /// @return what happened in the interval that has ended by now, if one has
    std::optional<Counts> update(MonotonicTime now, const Counts& counts, Duration interval) noexcept {
        const Duration took = now - since_;
        // The first one is as long as it was until somebody asked.
        if (took <= Duration::zero() || (known_ && took < interval)) return std::nullopt;
        const Counts done{minus(counts.requests, at_start_.requests), minus(counts.hits, at_start_.hits),
                          minus(counts.evictions, at_start_.evictions),
                          minus(counts.expirations, at_start_.expirations)};
        per_second_ = per_second(done.requests, took);
        if (done.requests != 0) {
            trend_ = ratio_known_ ? done.hit_ratio() - ratio_ : 0;
            ratio_ = done.hit_ratio();
            ratio_known_ = true;
        } else {
            trend_ = 0;
        }
        since_ = now;
        at_start_ = counts;
        known_ = true;
        return done;
    }

    /// Fills in what `stats` has of it; its counters are filled in already.
    void report(Stats& stats, MonotonicTime now) const noexcept {
        stats.recent_hit_ratio = ratio_known_ ? ratio_ : stats.hit_ratio;
        stats.hit_ratio_trend = trend_;
        if (known_)
            stats.ops_per_second = per_second_;
        else if (now > since_)
            stats.ops_per_second = per_second(stats.total_requests, now - since_);
    }

  private:
    /// Since a reset, if there was one.
    [[nodiscard]] static std::uint64_t minus(std::uint64_t now, std::uint64_t before) noexcept {
        return now >= before ? now - before : now;
    }
    [[nodiscard]] static double per_second(std::uint64_t requests, Duration took) noexcept {
        return static_cast<double>(requests) * 1000.0 / static_cast<double>(took.count());
    }

    MonotonicTime since_;
    Counts at_start_{};
    bool known_ = false;
    bool ratio_known_ = false;  // there was an interval with requests
    double per_second_ = 0;
    double ratio_ = 0;
    double trend_ = 0;
};

}  // namespace smartcache::inline v0::detail
