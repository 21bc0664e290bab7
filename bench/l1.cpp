// L1 against the caches one would use instead, in one run: get, set, mixed and zipf read-through, as ratios.
//
//     build/release/bench/l1 [--benchmark_filter=regex] [--benchmark_repetitions=5]
//
// 24-byte keys, 100-byte values, copied out. Repetitions are interleaved at random; the table at the end
// shows medians.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "l1_rivals.hpp"

namespace {

constexpr std::size_t hot_keys = 1'000;
constexpr std::size_t many_keys = 100'000;
constexpr std::size_t zipf_keys = 1'000'000;
constexpr std::size_t zipf_capacity = 100'000;
constexpr std::size_t sequence_length = std::size_t{1} << 18U;  // of a measurement, unless its keys are few

/// The keys of a measurement in the order in which they are asked for, side by side in memory: fetching the next
/// one must not cost more than asking a cache for it.
class Sequence {
  public:
    template <class Next>
    Sequence(std::size_t length, Next next) : text_(length * key_size) {
        char key[key_size + 1];
        for (std::size_t i = 0; i < length; ++i) {
            write(key, next());
            std::memcpy(&text_[i * key_size], key, key_size);
        }
    }
    [[nodiscard]] std::size_t size() const noexcept { return text_.size() / key_size; }
    [[nodiscard]] std::string_view operator[](std::size_t index) const noexcept {
        return {&text_[index * key_size], key_size};
    }
    [[nodiscard]] static std::string key(std::size_t number) {
        char key[key_size + 1];
        write(key, number);
        return {key, key_size};
    }

  private:
    static constexpr std::size_t key_size = 24;
    static void write(char (&key)[key_size + 1], std::size_t number) {
        std::snprintf(key, sizeof(key), "key:%020zu", number);
    }
    std::vector<char> text_;
};

Sequence uniform(std::size_t range, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_int_distribution<std::size_t> pick(0, range - 1);
    // Few keys: a sequence that leaves the processor's caches to them.
    return {std::min(sequence_length, 4 * range), [&] { return pick(random); }};
}

/// Zipf with exponent 0.99 over all keys, in an order that is not the keys' own.
Sequence make_zipf(unsigned seed) {
    static const std::vector<double> sums = [] {
        std::vector<double> list(zipf_keys);
        double sum = 0;
        for (std::size_t i = 0; i < zipf_keys; ++i)
            list[i] = sum += std::pow(static_cast<double>(i + 1), -0.99);
        return list;
    }();
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> pick(0, sums.back());
    return {sequence_length * 8, [&] {
                const auto rank = static_cast<std::uint64_t>(
                    std::lower_bound(sums.begin(), sums.end(), pick(random)) - sums.begin());
                return static_cast<std::size_t>(rank * 2654435761U % zipf_keys);
            }};
}

/// One sequence for each of two threads, made once: making one takes longer than a measurement.
const Sequence& zipf(int thread) {
    static const std::array<Sequence, 2> made{make_zipf(1), make_zipf(2)};
    return made[static_cast<std::size_t>(thread) % made.size()];
}

const Sequence& uniform_for(std::size_t range, int thread) {
    static std::map<std::pair<std::size_t, int>, Sequence> made;
    static std::mutex mutex;
    const std::lock_guard lock(mutex);
    const auto found = made.find({range, thread});
    if (found != made.end()) return found->second;
    return made.emplace(std::pair(range, thread), uniform(range, static_cast<unsigned>(thread + 1)))
        .first->second;
}

const std::string value(bench::value_size, 'v');

enum class Work { get, set, mixed, read_through };

/// One cache, filled once per run of all threads.
template <class Cache>
void run(benchmark::State& state, Work work, std::size_t range, std::size_t capacity) {
    static std::unique_ptr<Cache> cache;
    if (state.thread_index() == 0) {
        cache = std::make_unique<Cache>(capacity);
        const std::size_t fill = work == Work::read_through ? 0 : range;
        for (std::size_t i = 0; i < fill; ++i) cache->set(Sequence::key(i), value);
    }
    const Sequence& sequence =
        work == Work::read_through ? zipf(state.thread_index()) : uniform_for(range, state.thread_index());
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
    state.SetItemsProcessed(state.iterations());
    if (gets != 0)
        state.counters["hit_ratio"] = benchmark::Counter(
            static_cast<double>(hits) / static_cast<double>(gets), benchmark::Counter::kAvgThreads);
    if (state.thread_index() == 0) cache.reset();
}

template <class Cache>
void add() {
    const auto one = [](const std::string& workload, Work work, std::size_t range, std::size_t capacity) {
        for (const int threads : {1, 2})
            benchmark::RegisterBenchmark(
                (workload + "|" + Cache::name + "|").c_str(),
                [=](benchmark::State& state) { run<Cache>(state, work, range, capacity); })
                ->Threads(threads)
                ->UseRealTime();
    };
    one("get, 1k hot keys", Work::get, hot_keys, many_keys);
    one("get, 100k keys", Work::get, many_keys, many_keys * 2);
    if (Cache::has_set) {
        one("set, 100k keys", Work::set, many_keys, many_keys * 2);
        one("95 % get, 5 % set", Work::mixed, many_keys, many_keys * 2);
    }
    one("zipf 0.99 read-through", Work::read_through, zipf_keys, zipf_capacity);
}

/// Prints the usual lines and, at the end, one table of medians as ratios.
class RatioReporter : public benchmark::ConsoleReporter {
  public:
    void ReportRuns(const std::vector<Run>& runs) override {
        ConsoleReporter::ReportRuns(runs);
        for (const Run& each : runs) {
            if (each.run_type != Run::RT_Iteration) continue;
            const std::string name = each.run_name.function_name;
            const std::size_t first = name.find('|');
            const std::size_t second = name.find('|', first + 1);
            Cell& cell = rows_[name.substr(0, first) + ", " + std::to_string(each.threads) + " thread(s)"]
                              [name.substr(first + 1, second - first - 1)];
            cell.rates.push_back(each.counters.at("items_per_second"));
            const auto ratio = each.counters.find("hit_ratio");
            if (ratio != each.counters.end()) cell.hit_ratio = ratio->second;
        }
    }

    void Finalize() override {
        ConsoleReporter::Finalize();
        std::printf(
            "\nMedian operations per second (millions), and how often a rival's speed the first column "
            "is\n\n");
        for (auto& [workload, cells] : rows_) {
            std::printf("%s\n", workload.c_str());
            const auto base = cells.find(bench::Memory::name);
            for (auto& [cache, cell] : cells) {
                const double rate = median(cell.rates);
                std::printf("    %-26s %8.2f M/s  spread %4.1f %%", cache.c_str(), rate / 1e6,
                            spread(cell.rates));
                if (cell.hit_ratio >= 0) std::printf("  hits %.4f", cell.hit_ratio);
                if (base != cells.end() && cache != bench::Memory::name)
                    std::printf("  MemoryCache is %5.2fx", median(base->second.rates) / rate);
                std::printf("\n");
            }
        }
    }

  private:
    struct Cell {
        std::vector<double> rates;
        double hit_ratio = -1;
    };
    static double median(std::vector<double>& values) {
        std::sort(values.begin(), values.end());
        return values[values.size() / 2];
    }
    static double spread(std::vector<double>& values) {
        return 100 * (*std::max_element(values.begin(), values.end()) /
                          *std::min_element(values.begin(), values.end()) -
                      1);
    }
    std::map<std::string, std::map<std::string, Cell>> rows_;
};

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
    RatioReporter reporter;
    benchmark::RunSpecifiedBenchmarks(&reporter);
    benchmark::Shutdown();
    return 0;
}
