#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>

#include "l1_rivals.hpp"
#include "l1_workload.hpp"

// How long single gets take while a second thread asks too: each call between two readings of the clock.
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

/// Longer than a hit that waits for nothing: the thread slept, or the machine did something else. The timer of a
/// virtual machine does that for 20 us up to a thousand times a second, and then is the p99.9 of calls that take
/// 1 us each: hence also a p99.9 of the others.
inline constexpr double interruption_ns = 5'000;

template <class Cache>
[[nodiscard]] bool timed_get(Cache& cache, std::string_view key, char* out, Histogram& durations) {
    benchmark::DoNotOptimize(out);
    const std::uint64_t begin = Ticks::now();
    benchmark::ClobberMemory();  // the key is not read before the clock; below: nor the clock before the copy
    const bool hit = cache.get(key, out);
    benchmark::ClobberMemory();
    durations.add(Ticks::now() - begin);
    return hit;
}

/// What the measurement itself costs, in nanoseconds, and how often the machine interrupts it.
struct Overhead {
    double p50, p99, p999;
    double interruptions_per_second;
};

/// The same loop, asking nothing.
inline Overhead empty_loop() {
    struct Nothing {
        bool get(std::string_view key, char* /*out*/) {
            benchmark::DoNotOptimize(key);
            return true;
        }
    } nothing;
    auto durations = std::make_unique<Histogram>();
    const Sequence& sequence = uniform_for(many_keys, 0);
    char out[value_size];
    constexpr std::size_t rounds = 20;
    const auto begin = std::chrono::steady_clock::now();
    for (std::size_t round = 0; round < rounds; ++round)
        for (std::size_t i = 0; i < sequence.size(); ++i)
            (void)timed_get(nothing, sequence[i], out, *durations);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const double interruptions =
        durations->share_over(interruption_ns) * static_cast<double>(rounds * sequence.size());
    return {durations->percentile(.5), durations->percentile(.99), durations->percentile(.999),
            interruptions / took.count()};
}

/// Calls per thread that do not count. The keys were set by one processor core and lie in its caches alone: among
/// the first calls of the other one more than one in a thousand would be that core's first look at its key.
inline constexpr std::size_t warm_up = std::size_t{1} << 16U;

template <class Cache>
void run_latency(benchmark::State& state, std::size_t range, std::size_t capacity) {
    static std::unique_ptr<Cache> cache;
    static std::array<Histogram, 2> durations;
    if (state.thread_index() == 0) cache = filled<Cache>(capacity, range);
    Histogram& own = durations[static_cast<std::size_t>(state.thread_index())];
    const Sequence& sequence = uniform_for(range, state.thread_index());
    char out[value_size] = {};
    std::size_t at = 0;
    std::size_t asked = 0;
    std::size_t misses = 0;
    for (auto _ : state) {
        if (asked++ == warm_up) own.clear();
        const std::string_view key = sequence[at];
        if (++at == sequence.size()) at = 0;
        if (!timed_get(*cache, key, out, own)) ++misses;
    }
    require(misses == 0, Cache::name, "a get that was timed was a miss");
    require(std::string_view(out, value_size) == value, Cache::name,
            "a get that was timed copied nothing out");
    state.SetItemsProcessed(state.iterations());
    if (state.thread_index() != 0) return;
    // All threads have left the loop.
    durations[0].add(durations[1]);
    state.counters["p50_ns"] = durations[0].percentile(.5);
    state.counters["p99_ns"] = durations[0].percentile(.99);
    state.counters["p99.9_ns"] = durations[0].percentile(.999);
    state.counters["p99.9_below_5us"] = durations[0].percentile_below(interruption_ns, .999);
    state.counters["over_5us"] = durations[0].share_over(interruption_ns);
    cache.reset();
}

template <class Cache>
void add_latency() {
    const auto one = [](const char* workload, std::size_t range, std::size_t capacity) {
        benchmark::RegisterBenchmark(
            (std::string(workload) + "|" + Cache::name + "|").c_str(),
            [=](benchmark::State& state) { run_latency<Cache>(state, range, capacity); })
            // Not by time: a p99.9 of as many calls for every cache.
            ->Iterations(warm_up + sequence_length)
            ->Threads(2)
            ->UseRealTime();
    };
    one("latency of get, 1k hot keys", hot_keys, many_keys);
    one("latency of get, 100k keys", many_keys, many_keys * 2);
}

}  // namespace bench
