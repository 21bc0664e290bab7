// What loads cost: `get_or_compute` and `cached<>` where the value is there, 64 threads that miss one key at once, and a
// loader that fails half the time.
//
//     build/release/bench/loads [--rounds 300] [--parts hits,cached,stampede,failures]
//
// Contestants take turns in slices of 0.4 ms; medians and quartiles over the rounds, ratios of slices of the
// same round. Exits with 1 when a stampede loads more than once or a caller gets an exception that a stale value should have
// spared it.

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include <smartcache/codec/binary.hpp>
#include <smartcache/facade/cached.hpp>
#include <smartcache/facade/smart_cache.hpp>

#include "contest.hpp"
#include "ticks.hpp"

namespace {

namespace sc = smartcache;
using namespace std::chrono_literals;
using bench::Contest, bench::keep, bench::Quartiles;
using Cache = sc::SmartCache<sc::BinaryCodec>;
using Clock = std::chrono::steady_clock;

constexpr std::size_t hot_keys = 1'000;

[[noreturn]] void stop(const char* what) {
    std::fprintf(stderr, "%s\n", what);
    std::exit(2);
}

/// What is asked for, at random, once for each of two threads.
template <class Key>
class Questions {
  public:
    template <class Make>
    explicit Questions(Make make) {
        std::mt19937 random(1);
        std::uniform_int_distribution<std::size_t> pick(0, hot_keys - 1);
        for (auto& own : asked_)
            for (std::size_t i = 0; i < length; ++i) own.push_back(make(pick(random)));
    }
    [[nodiscard]] const Key& operator()(std::size_t thread, std::size_t i) const noexcept {
        return asked_[thread][i % length];
    }

  private:
    static constexpr std::size_t length = 4096;
    std::vector<Key> asked_[2];
};

std::string key_of(std::size_t number) {
    char key[25];
    std::snprintf(key, sizeof(key), "key:%020zu", number);
    return key;
}

// --- hits of get_or_compute

template <class T>
void compare_hits(const char* what, const T& value, int threads, std::size_t rounds) {
    const sc::EntryOptions kept{.ttl = 1h};
    const sc::EntryOptions refreshing{.ttl = 1h, .refresh_ahead = 0.8};
    const sc::EntryOptions tagging{.ttl = 1h, .tags = {"tag"}};
    Cache plain;
    Cache tagged;
    Cache heard({.listener = [](const sc::Event&) {}});
    for (std::size_t i = 0; i < hot_keys; ++i) {
        plain.set(key_of(i), value, kept);
        tagged.set(key_of(i), value, tagging);
        heard.set(key_of(i), value, kept);
    }
    const Questions<std::string> keys(key_of);
    const auto load = []() -> T { stop("a hit was a miss"); };
    const auto read = [](const auto& hit) { keep(*hit); };
    const auto getting = [&](Cache& cache) {
        return [&](std::size_t thread, std::size_t i) { read(cache.get<T>(keys(thread, i))); };
    };
    const auto loading = [&](Cache& cache, const sc::EntryOptions& options) {
        return [&](std::size_t thread, std::size_t i) {
            read(cache.get_or_compute(keys(thread, i), load, options));
        };
    };

    Contest contest(std::string("hits, ") + what, threads, rounds);
    const std::size_t base = contest.add("get", getting(plain));
    contest.add(
        "get_or_compute",
        [&](std::size_t thread, std::size_t i) { read(plain.get_or_compute(keys(thread, i), load)); }, base,
        "1.2x");
    const std::size_t with_options =
        contest.add("get_or_compute, options kept", loading(plain, kept), base, "1.2x");
    contest.add(
        "get_or_compute, {.ttl = 1h} at the call",
        [&](std::size_t thread, std::size_t i) {
            read(plain.get_or_compute(keys(thread, i), load, {.ttl = 1h}));
        },
        base, "1.2x");
    contest.add("get_or_compute, refresh_ahead", loading(plain, refreshing), with_options);
    contest.add("get, one tag", getting(tagged), base, "10 ns more");
    contest.add("get_or_compute, one tag, not in its options", loading(tagged, kept), with_options,
                "10 ns more");
    contest.add("get_or_compute, one tag", loading(tagged, tagging), with_options, "10 ns more");
    contest.add("get, listener", getting(heard), base);
    contest.add("get_or_compute, listener", loading(heard, kept), with_options);
    contest.run();
}

// --- hits of cached<>

/// What one writes without a library.
class MutexMemoiser {
  public:
    template <class F>
    int operator()(int argument, F function) {
        const std::lock_guard lock(mutex_);
        const auto [found, missing] = results_.try_emplace(argument, 0);
        if (missing) found->second = function(argument);
        return found->second;
    }

  private:
    std::mutex mutex_;
    std::unordered_map<int, int> results_;
};

int twice(int x) {
    return 2 * x;
}

void compare_cached(int threads, std::size_t rounds) {
    Cache cache;
    const auto cached = sc::cached(cache, "twice", twice, {.ttl = 1h});
    MutexMemoiser memoiser;
    for (int i = 0; i < static_cast<int>(hot_keys); ++i) {
        if (cached(i) != memoiser(i, twice)) stop("a cached function returned something else");
    }
    const Questions<int> arguments([](std::size_t number) { return static_cast<int>(number); });
    Contest contest("int(int)", threads, rounds, threads > 1 ? 20ms : std::chrono::microseconds(400));
    const std::size_t base = contest.add(
        "cached<>", [&](std::size_t thread, std::size_t i) { keep(cached(arguments(thread, i))); },
        Contest::none, "60 ns");
    contest.add(
        "its key alone",
        [&](std::size_t thread, std::size_t i) {
            const std::string key = cached.key(arguments(thread, i));
            keep(key.data());
        },
        base);
    contest.add(
        "mutex and std::unordered_map",
        [&](std::size_t thread, std::size_t i) { keep(memoiser(arguments(thread, i), twice)); }, base,
        threads > 1 ? "3x" : "");
    contest.run();
    if (cache.stats().loads != hot_keys) stop("a hit was a miss");
}

// --- 64 threads, one key

void sleep_1ms() {
    std::this_thread::sleep_for(1ms);
}

/// Of this thread's own time: elsewhere 64 threads would all be waiting for a processor and count that.
void compute_1ms() {
    const auto own_time = [] {
        timespec time{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
    };
    const auto end = own_time() + 1ms;
    while (own_time() < end) {
    }
}

/// @return whether every round of the shared loads had one
bool compare_stampedes(const char* what, void (*work)(), std::size_t rounds) {
    constexpr int threads = 64;
    Cache cache({.memory = {.capacity = 100'000}});
    std::atomic<int> loads = 0;
    const auto load = [&] {
        loads.fetch_add(1, std::memory_order_relaxed);
        work();
        return 7;
    };
    std::barrier<> together(threads + 1);
    std::vector<std::thread> callers;
    for (int thread = 0; thread < threads; ++thread)
        callers.emplace_back([&] {
            for (std::size_t round = 0; round < rounds; ++round) {
                const std::string key = key_of(round);
                together.arrive_and_wait();
                keep(*cache.get_or_compute(key, load));
                together.arrive_and_wait();
                together.arrive_and_wait();
                keep(load());
                together.arrive_and_wait();
            }
        });
    std::vector<double> times[2];
    std::vector<double> counts[2];
    int most = 0;
    int least = threads;
    for (std::size_t round = 0; round < rounds; ++round)
        for (std::size_t way = 0; way < 2; ++way) {
            loads = 0;
            const auto begin = Clock::now();  // before: who comes last at the barrier need not be this thread
            together.arrive_and_wait();
            together.arrive_and_wait();
            const std::chrono::duration<double, std::milli> took = Clock::now() - begin;
            times[way].push_back(took.count());
            counts[way].push_back(loads);
            if (way == 0) {
                most = std::max(most, loads.load());
                least = std::min(least, loads.load());
            }
        }
    for (std::thread& caller : callers) caller.join();
    std::printf("\n64 threads, one key, %s, %zu rounds\n", what, rounds);
    const char* const names[] = {"get_or_compute", "each loads for itself"};
    for (std::size_t way = 0; way < 2; ++way) {
        const Quartiles ms(times[way]);
        std::printf("    %-24s loads a round: %2.0f   ms a round: %6.2f (quartiles %.2f %.2f)\n", names[way],
                    Quartiles(counts[way]).median, ms.median, ms.low, ms.high);
    }
    std::printf("    loads a round of get_or_compute, least and most: %d %d (must be 1 1)\n", least, most);
    std::fflush(stdout);
    return least == 1 && most == 1;
}

// --- a loader that fails

struct Failing {
    const char* name;
    bool fails;
    sc::EntryOptions options;
    std::unique_ptr<Cache> cache = std::make_unique<Cache>();
    std::atomic<std::uint64_t> loads = 0, failures = 0;
    std::atomic<std::uint64_t> exceptions = 0;  // that reached a caller
    std::atomic<std::uint64_t> calls = 0;
    bench::Histogram hits, stale, loading;  // durations, by how the call was answered
    std::vector<double> rates;
    std::mutex mutex;

    Failing(const char* called, bool half, std::chrono::milliseconds retry_after)
        : name(called), fails(half), options{.ttl = 1ms, .grace = 1h, .retry_after = retry_after} {
        for (std::size_t i = 0; i < keys; ++i) cache->set(key_of(i), 7, options);
    }
    static constexpr std::size_t keys = 100;

    void ask(const Questions<std::string>& asked, std::size_t thread, Clock::time_point end) {
        auto own = std::make_unique<bench::Histogram[]>(3);
        std::uint64_t count = 0;
        std::uint64_t thrown = 0;
        const auto load = [this] {
            if (loads.fetch_add(1, std::memory_order_relaxed) % 2 == 1 && fails) {
                failures.fetch_add(1, std::memory_order_relaxed);
                throw std::runtime_error("no answer");
            }
            return 7;
        };
        for (; count % 64 != 0 || Clock::now() < end; ++count) {
            const std::string& key = asked(thread, count);
            try {
                const std::uint64_t begin = bench::Ticks::now();
                const auto value = cache->get_or_compute(key, load, options);
                keep(*value);
                const std::uint64_t took = bench::Ticks::now() - begin;
                own[value.stale() ? 1 : value.tier() == sc::TierId::memory ? 0 : 2].add(took);
            } catch (const std::exception&) {
                ++thrown;
            }
        }
        calls += count;
        exceptions += thrown;
        const std::lock_guard lock(mutex);
        hits.add(own[0]);
        stale.add(own[1]);
        loading.add(own[2]);
    }
};

void print_latency(const char* name, const bench::Histogram& durations) {
    std::printf("   %s %5.0f %6.0f", name, durations.percentile(.5), durations.percentile(.99));
}

/// @return whether no exception reached a caller
bool compare_failures(std::size_t rounds) {
    constexpr int threads = 2;
    const Questions<std::string> asked([](std::size_t number) { return key_of(number % Failing::keys); });
    Failing ways[] = {{"never fails", false, 0ms},
                      {"fails half the time", true, 0ms},
                      {"the same, retry_after = 10ms", true, 10ms}};
    for (std::size_t round = 0; round < rounds; ++round)
        for (std::size_t turn = 0; turn < std::size(ways); ++turn) {
            Failing& way = ways[(round + turn) % std::size(ways)];
            const std::uint64_t before = way.calls;
            const auto begin = Clock::now();
            std::thread other([&] { way.ask(asked, 1, begin + 20ms); });
            way.ask(asked, 0, begin + 20ms);
            other.join();
            const std::chrono::duration<double> took = Clock::now() - begin;
            way.rates.push_back(static_cast<double>(way.calls - before) / took.count());
        }
    std::printf(
        "\na loader that fails, ttl 1 ms, grace 1 h, 100 keys, %d threads, %zu rounds of 20 ms\n"
        "    ns, p50 and p99: of hits, of stale values served, of loads\n",
        threads, rounds);
    bool spared = true;
    for (const Failing& way : ways) {
        const Quartiles rate(way.rates);
        std::printf("    %-30s %6.2f M calls/s (quartiles %.2f %.2f)", way.name, rate.median / 1e6,
                    rate.low / 1e6, rate.high / 1e6);
        print_latency("hits", way.hits);
        if (way.fails) print_latency("stale", way.stale);
        print_latency("loads", way.loading);
        std::printf("   calls %llu loads %llu failed %llu exceptions %llu\n",
                    static_cast<unsigned long long>(way.calls), static_cast<unsigned long long>(way.loads),
                    static_cast<unsigned long long>(way.failures),
                    static_cast<unsigned long long>(way.exceptions));
        spared = spared && way.exceptions == 0;
    }
    return spared;
}

}  // namespace

int main(int argc, char** argv) {
    std::size_t rounds = 300;
    std::string parts = "hits,cached,stampede,failures";
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string_view option = argv[i];
        if (option == "--rounds")
            rounds = std::max(1UL, std::strtoul(argv[i + 1], nullptr, 10));
        else if (option == "--parts")
            parts = argv[i + 1];
        else
            stop("options: --rounds 300 --parts hits,cached,stampede,failures");
    }
    const auto wanted = [&](const char* part) { return parts.find(part) != std::string::npos; };
    if (wanted("hits"))
        for (const int threads : {1, 2}) {
            compare_hits("int", 7, threads, rounds);
            compare_hits("text of 100 bytes, copied out", std::string(100, 'v'), threads, rounds);
        }
    if (wanted("cached"))
        for (const int threads : {1, 2}) compare_cached(threads, rounds);
    bool held = true;
    if (wanted("stampede")) {
        held = compare_stampedes("a load sleeps for 1 ms", sleep_1ms, std::min<std::size_t>(rounds, 200));
        held =
            compare_stampedes("a load computes for 1 ms", compute_1ms, std::min<std::size_t>(rounds, 50)) &&
            held;
    }
    if (wanted("failures")) held = compare_failures(rounds) && held;
    return held ? 0 : 1;
}
