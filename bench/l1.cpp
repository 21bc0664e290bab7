// L1 against the caches one would use instead, in one run: get, set, mixed and zipf read-through, as ratios;
// get_many against single gets; how long single gets take at p50, p99 and p99.9.
//
//     build/release/bench/l1 [--benchmark_filter=regex] [--benchmark_repetitions=5]
//
// 24-byte keys, 100-byte values, copied out. Repetitions are interleaved at random; the tables at the end
// show medians.

#include <benchmark/benchmark.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "l1_latency.hpp"
#include "l1_report.hpp"
#include "l1_rivals.hpp"
#include "l1_workload.hpp"

namespace {

using bench::hot_keys, bench::many_keys, bench::zipf_capacity, bench::zipf_keys;
using bench::require, bench::Sequence, bench::value;

enum class Work { get, set, mixed, read_through };

/// One cache, filled once per run of all threads.
template <class Cache>
void run(benchmark::State& state, Work work, std::size_t range, std::size_t capacity) {
    static std::unique_ptr<Cache> cache;
    if (state.thread_index() == 0)
        cache = bench::filled<Cache>(capacity, work == Work::read_through ? 0 : range);
    const Sequence& sequence = work == Work::read_through ? bench::zipf(state.thread_index())
                                                          : bench::uniform_for(range, state.thread_index());
    if (work == Work::read_through && state.thread_index() == 0) {
        char out[bench::value_size];
        // Warm: the figures are those of the steady state.
        for (std::size_t i = 0; i < sequence.size() / 2; ++i)
            if (!cache->get(sequence[i], out)) cache->set(sequence[i], value);
    }
    char out[bench::value_size];
    std::size_t at = 0;
    std::uint64_t hits = 0;
    std::uint64_t gets = 0;
    for (auto _ : state) {
        const std::string_view key = sequence[at];
        if (++at == sequence.size()) at = 0;
        if (work == Work::set || (work == Work::mixed && at % 20 == 0)) {
            cache->set(key, value);
            continue;
        }
        ++gets;
        if (cache->get(key, out)) {
            ++hits;
            benchmark::DoNotOptimize(out);
        } else if (work == Work::read_through) {
            cache->set(key, value);
        }
    }
    require(work != Work::get || hits == gets, Cache::name, "a get was a miss");
    state.SetItemsProcessed(state.iterations());
    if (gets != 0)
        state.counters["hit_ratio"] = benchmark::Counter(
            static_cast<double>(hits) / static_cast<double>(gets), benchmark::Counter::kAvgThreads);
    if (state.thread_index() == 0) cache.reset();
}

/// The keys of `Work::get` in their order, sixteen a call; an item is a key.
template <class Cache>
void run_get_many(benchmark::State& state) {
    constexpr std::size_t batch = 16;
    static std::unique_ptr<Cache> cache;
    if (state.thread_index() == 0) cache = bench::filled<Cache>(many_keys * 2, many_keys);
    const Sequence& sequence = bench::uniform_for(many_keys, state.thread_index());
    require(sequence.size() % batch == 0, Cache::name, "the keys are no whole number of batches");
    std::array<std::string_view, batch> keys;
    char out[batch * bench::value_size] = {};
    std::size_t at = 0;
    std::size_t hits = 0;
    for (auto _ : state) {
        for (std::string_view& key : keys) key = sequence[at++];
        if (at == sequence.size()) at = 0;
        hits += cache->get_many(keys, out);
        benchmark::DoNotOptimize(out);
    }
    const auto asked = state.iterations() * static_cast<benchmark::IterationCount>(batch);
    require(hits == static_cast<std::size_t>(asked), Cache::name, "a key of get_many was a miss");
    for (std::size_t i = 0; i < batch; ++i)
        require(std::string_view(out + i * bench::value_size, bench::value_size) == value, Cache::name,
                "get_many copied nothing out");
    state.SetItemsProcessed(asked);
    if (state.thread_index() == 0) cache.reset();
}

template <class Run>
void add_workload(const std::string& workload, const char* cache, int threads, Run run) {
    benchmark::RegisterBenchmark((workload + "|" + cache + "|").c_str(), run)
        ->Threads(threads)
        ->UseRealTime();
}

template <class Cache>
void add_gets(int threads) {
    add_workload(bench::get_hot, Cache::name, threads,
                 [](benchmark::State& state) { run<Cache>(state, Work::get, hot_keys, many_keys); });
    add_workload(bench::get_all, Cache::name, threads,
                 [](benchmark::State& state) { run<Cache>(state, Work::get, many_keys, many_keys * 2); });
}

template <class Cache>
void add_get_many() {
    for (const int threads : {1, 2})
        add_workload(bench::get_many, Cache::name, threads, &run_get_many<Cache>);
}

template <class Cache>
void add() {
    for (const int threads : {1, 2}) {
        add_gets<Cache>(threads);
        const auto one = [=](const char* workload, Work work, std::size_t range, std::size_t capacity) {
            add_workload(workload, Cache::name, threads,
                         [=](benchmark::State& state) { run<Cache>(state, work, range, capacity); });
        };
        if (Cache::has_set) {
            one("set, 100k keys", Work::set, many_keys, many_keys * 2);
            one("95 % get, 5 % set", Work::mixed, many_keys, many_keys * 2);
        }
        one("zipf 0.99 read-through", Work::read_through, zipf_keys, zipf_capacity);
    }
    bench::add_latency<Cache>();
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<char*> args(argv, argv + argc);
    std::string repetitions = "--benchmark_repetitions=5";
    std::string interleaving = "--benchmark_enable_random_interleaving=true";
    args.insert(args.begin() + 1, {repetitions.data(), interleaving.data()});
    int count = static_cast<int>(args.size());
    benchmark::Initialize(&count, args.data());
    if (benchmark::ReportUnrecognizedArguments(count, args.data())) return 1;

    add<bench::Memory>();
    add<bench::Facade>();
    add_get_many<bench::Memory>();
    add_get_many<bench::Facade>();
    add<bench::MutexLru>();
#if SMARTCACHE_BENCH_HAS_TBB
    add<bench::Tbb>();
#else
    std::puts("without TBB: not installed (Debian: libtbb-dev)");
#endif
#if SMARTCACHE_BENCH_HAS_LEVELDB
    add<bench::LevelDb>();
#else
    std::puts("without LevelDB: not installed (Debian: libleveldb-dev)");
#endif
#if SMARTCACHE_BENCH_HAS_ROCKSDB
    add<bench::RocksDb<true>>();
    add<bench::RocksDb<false>>();
#else
    std::puts("without RocksDB: not installed (Debian: librocksdb-dev)");
#endif
#if SMARTCACHE_BENCH_HAS_ABSL
    add_gets<bench::AbslMap>(1);
#else
    std::puts("without absl: not installed (Debian: libabsl-dev)");
#endif
    bench::RatioReporter reporter;
    benchmark::RunSpecifiedBenchmarks(&reporter);
    benchmark::Shutdown();
    return 0;
}
