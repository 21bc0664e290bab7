#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>

// How long single calls take: a clock that is cheap enough, and what adds its readings up.
namespace bench {

/// The cheapest clock whose readings keep to what is measured.
class Ticks {
  public:
    static std::uint64_t now() noexcept {
#if defined(__x86_64__)
        // The counter alone is read out of order: before the loads of the call that it should end have come back.
        __builtin_ia32_lfence();
        return __builtin_ia32_rdtsc();
#else
        return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
    }

    /// Nanoseconds of a tick, against steady_clock over 50 ms; measured once.
    static double length() {
        static const double measured = [] {
            const Pair begin = both();
            Pair end = both();
            while (end.time - begin.time < std::chrono::milliseconds(50)) end = both();
            return std::chrono::duration<double, std::nano>(end.time - begin.time).count() /
                   static_cast<double>(end.ticks - begin.ticks);
        }();
        return measured;
    }

  private:
    struct Pair {
        std::uint64_t ticks;
        std::chrono::steady_clock::time_point time;
    };
    /// Of several tries the one that was interrupted least between its two clocks.
    static Pair both() {
        Pair best{};
        std::uint64_t least = UINT64_MAX;
        for (int i = 0; i < 10; ++i) {
            const std::uint64_t before = now();
            const auto time = std::chrono::steady_clock::now();
            const std::uint64_t after = now();
            if (after - before >= least) continue;
            least = after - before;
            best = {before + least / 2, time};
        }
        return best;
    }
};

/// Durations in ticks: exact below 128, then 64 buckets per power of two (at most 1.6 % off). A fixed array of
/// which a measurement touches a few lines.
class alignas(64) Histogram {
  public:
    void clear() noexcept { counts_.fill(0); }
    void add(std::uint64_t ticks) noexcept { ++counts_[bucket(std::min(ticks, most))]; }
    void add(const Histogram& other) noexcept {
        for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    }

    /// What `share` of all durations do not exceed, in nanoseconds.
    [[nodiscard]] double percentile(double share) const { return percentile(share, counts_.size()); }
    /// The same of those that are shorter than `limit` nanoseconds.
    [[nodiscard]] double percentile_below(double limit, double share) const {
        return percentile(share, bucket_of(limit));
    }
    [[nodiscard]] double share_over(double limit) const {
        return 1 - count(bucket_of(limit)) / count(counts_.size());
    }

  private:
    static constexpr unsigned precision = 6;
    static constexpr unsigned longest = 40;  // bits: minutes
    static constexpr std::uint64_t most = (std::uint64_t{1} << longest) - 1;

    /// A duration of n bits: n decides the group, its `precision + 1` highest bits the place.
    static std::size_t bucket(std::uint64_t ticks) noexcept {
        const unsigned shift =
            static_cast<unsigned>(std::bit_width(ticks | (1U << precision))) - (precision + 1);
        return (std::size_t{shift} << precision) + (ticks >> shift);
    }
    static std::size_t bucket_of(double nanoseconds) {
        return bucket(static_cast<std::uint64_t>(nanoseconds / Ticks::length()));
    }
    /// In the first `buckets`.
    [[nodiscard]] double count(std::size_t buckets) const {
        return static_cast<double>(std::accumulate(
            counts_.begin(), counts_.begin() + static_cast<std::ptrdiff_t>(buckets), std::uint64_t{0}));
    }
    [[nodiscard]] double percentile(double share, std::size_t buckets) const {
        auto rank = static_cast<std::uint64_t>(std::ceil(share * count(buckets)));
        std::size_t at = 0;
        while (at + 1 < counts_.size() && rank > counts_[at]) rank -= counts_[at++];
        return middle(at) * Ticks::length();
    }
    static double middle(std::size_t bucket) noexcept {
        const std::size_t shift = std::max<std::size_t>(bucket >> precision, 1) - 1;
        const std::uint64_t first = (bucket - (shift << precision)) << shift;
        return static_cast<double>(first) + static_cast<double>((std::uint64_t{1} << shift) - 1) / 2;
    }

    std::array<std::uint64_t, std::size_t{longest - precision + 1} << precision> counts_{};
};

}  // namespace bench
