#pragma once

#include <benchmark/benchmark.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "l1_rivals.hpp"
#include "l1_workload.hpp"
#include "ticks.hpp"

// How long single gets take while a second thread asks too: each call between two readings of the clock.
namespace bench {

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
