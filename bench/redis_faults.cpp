// What callers notice when Redis stands still, dies, moves or is replaced.
//
//     build/release/bench/redis_faults [--seconds 8] [--parts pause,restart,cluster,sentinel]
//
// Starts servers of its own (redis-server in the PATH). Two threads read, and set what they miss, all the while; what fails, and for how long
// nothing came from Redis, is printed. "pause": SIGSTOP; "restart": kill -9 and a new server; "cluster": kill -9 of a master with
// a replica, then slots that move; "sentinel": kill -9 of the master.

#include <hiredis/hiredis.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <smartcache/codec/bytes.hpp>
#include <smartcache/facade/smart_cache.hpp>

#include "redis/support/redis_cluster.hpp"
#include "redis/support/sentinel_set.hpp"
#include "support/redis_server.hpp"

namespace {

namespace sc = smartcache;
using namespace std::chrono_literals;
using Cache = sc::SmartCache<sc::BytesCodec>;
using Steady = std::chrono::steady_clock;
using Micros = std::chrono::duration<double, std::micro>;

struct Settings {
    std::chrono::seconds length{8};
    std::string parts = "pause,restart,cluster,sentinel";
};

/// Everything as by default, but for memory: each read that Redis can answer is to be answered by it.
sc::Config config_for(const std::string& url) {
    sc::Config config{.redis = {.enabled = true, .url = url}, .key_prefix = "bench"};
    config.memory.enabled = false;
    return config;
}

constexpr std::size_t keys = 100;

std::string key_of(std::size_t i) {
    return "key:" + std::to_string(i % keys);
}

double at(const std::vector<double>& sorted, double part) {
    return sorted[static_cast<std::size_t>(static_cast<double>(sorted.size() - 1) * part)];
}
void print(const char* what, std::vector<double> micros) {
    if (micros.empty()) return;
    std::sort(micros.begin(), micros.end());
    std::printf("    %-44s %8zu calls   p50 %10.2f us   p99 %10.2f us   max %10.2f us\n", what, micros.size(),
                at(micros, 0.5), at(micros, 0.99), micros.back());
    std::fflush(stdout);
}

/// Calls of some threads, each with when it began, how long it took, and whether Redis answered.
class Load {
  public:
    struct Call {
        std::size_t key = 0;
        Steady::time_point begun;
        Micros took{};
        bool missed = false;
        bool answered = false;  ///< or a set after a miss
    };

    explicit Load(Cache& cache) {
        for (std::size_t t = 0; t < threads; ++t)
            running_.emplace_back([this, t, &cache] {
                for (std::size_t i = t * keys / threads; !ends_; ++i) {
                    const std::string key = key_of(i);
                    Call call{i % keys, Steady::now()};
                    try {
                        call.answered = static_cast<bool>(cache.get<std::string>(key));
                        call.took = Steady::now() - call.begun;
                        if (!call.answered) {
                            call.missed = true;
                            call.answered = cache.set(key, "value");
                        }
                    } catch (const std::exception&) {
                        ++exceptions_;
                    }
                    calls_[t].push_back(call);
                    if (call.answered) last_.store(Steady::now().time_since_epoch().count());
                    // As many as somebody who has other things to do makes, so that the two processors keep up.
                    std::this_thread::sleep_for(200us);
                }
            });
    }
    ~Load() { (void)end(); }
    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;

    /// @return reads by all threads, in the order of their beginning
    const std::vector<Call>& end() {
        ends_ = true;
        for (std::thread& each : running_) each.join();
        running_.clear();
        for (std::vector<Call>& each : calls_) {
            all_.insert(all_.end(), each.begin(), each.end());
            each.clear();
        }
        std::sort(all_.begin(), all_.end(), [](const Call& a, const Call& b) { return a.begun < b.begun; });
        return all_;
    }
    [[nodiscard]] std::size_t exceptions() const noexcept { return exceptions_; }
    /// Waits for an answer to a call that was made after now.
    void wait_for_answer() const {
        const auto now = Steady::now().time_since_epoch().count();
        while (last_.load() < now) std::this_thread::sleep_for(200us);
    }

    /// Of those that began in between.
    [[nodiscard]] std::vector<double> times(Steady::time_point from, Steady::time_point to) const {
        std::vector<double> micros;
        for (const Call& call : all_)
            if (call.begun >= from && call.begun < to) micros.push_back(call.took.count());
        return micros;
    }
    /// How many reads found nothing, and the longest time in which of a key nothing was found, nor could be set.
    void print_gaps(Steady::time_point from) const {
        std::size_t missed = 0;
        std::vector<Steady::time_point> last(keys, from);
        Steady::duration longest{};
        for (const Call& call : all_) {
            if (call.begun < from) continue;
            missed += call.missed ? 1U : 0U;
            if (!call.answered) continue;
            longest = std::max(longest, call.begun - last[call.key]);
            last[call.key] = call.begun;
        }
        std::printf(
            "    exceptions %zu; of %zu reads %zu misses; longest time without an answer about a key %.0f "
            "ms\n",
            exceptions_.load(), all_.size(), missed,
            std::chrono::duration<double, std::milli>(longest).count());
        std::fflush(stdout);
    }

  private:
    static constexpr std::size_t threads = 2;
    std::atomic<bool> ends_{false};
    std::atomic<std::size_t> exceptions_{0};
    std::atomic<Steady::rep> last_{0};
    std::vector<Call> calls_[threads];
    std::vector<Call> all_;
    std::vector<std::thread> running_;
};

void fill(Cache& cache) {
    const auto until = Steady::now() + 60s;
    for (std::size_t i = 0; i < keys; ++i)
        while (!cache.set(key_of(i), "value"))
            if (Steady::now() > until) throw std::runtime_error("the server takes nothing");
}
bool is_open(const Cache& cache) {
    return cache.stats().redis.breaker != sc::BreakerState::closed;
}

void measure_pause(const Settings& settings) {
    std::printf("\nSIGSTOP for %lld s, deadline 100 ms, breaker after 5 failures\n",
                static_cast<long long>(settings.length.count()));
    sc::test::RedisServer server;
    Cache cache(config_for(server.url()));
    fill(cache);
    Load load(cache);
    std::this_thread::sleep_for(1s);
    const auto stopped = Steady::now();
    server.pause();
    while (!is_open(cache)) std::this_thread::sleep_for(100us);
    const auto opened = Steady::now();
    std::this_thread::sleep_for(settings.length);
    const auto resumed = Steady::now();
    server.resume();
    load.wait_for_answer();
    const Micros back = Steady::now() - resumed;
    (void)load.end();
    print("get, before", load.times({}, stopped));
    print("get, until the breaker opens", load.times(stopped, opened));
    print("get, breaker open, asked by the load", load.times(opened, resumed));
    std::printf("    first answer after SIGCONT: %.0f ms; exceptions %zu\n", back.count() / 1000,
                load.exceptions());
}

/// One thread, as fast as it can, beside a cache that has no Redis.
void measure_open(const Settings&) {
    sc::test::RedisServer server;
    sc::Config config = config_for(server.url());
    config.memory.enabled = true;
    Cache cache(config);
    sc::Config alone;
    alone.key_prefix = "bench";
    Cache without(alone);
    server.pause();
    while (!is_open(cache)) (void)cache.get<std::string>("k");
    std::vector<double> with_it;
    std::vector<double> without_it;
    const auto timed = [](Cache& which, const std::string& key) {
        const auto begun = Steady::now();
        (void)which.get<std::string>(key);
        return Micros(Steady::now() - begun).count();
    };
    for (std::size_t i = 0; i < 200'000; ++i) {
        const std::string key = key_of(i);
        with_it.push_back(timed(cache, key));
        without_it.push_back(timed(without, key));
    }
    const bool still = is_open(cache);
    server.resume();
    std::printf("\nBreaker open: misses by turns%s\n", still ? "" : " (IT CLOSED)");
    print("get, Redis stands still", with_it);
    print("get, no Redis configured", without_it);
}

void measure_restart(const Settings& settings) {
    std::printf("\nkill -9, nothing for %lld s, a new server\n",
                static_cast<long long>(settings.length.count()));
    sc::test::RedisServer server;
    Cache cache(config_for(server.url()));
    fill(cache);
    Load load(cache);
    std::this_thread::sleep_for(1s);
    const auto killed = Steady::now();
    server.kill();
    std::this_thread::sleep_for(settings.length);
    // It accepts connections some time before `start` returns.
    std::atomic<Steady::rep> accepts{0};
    std::thread knocks([&] {
        for (;;) {
            redisContext* const context = ::redisConnect("127.0.0.1", server.port());
            const bool there = context != nullptr && context->err == 0;
            if (context != nullptr) ::redisFree(context);
            if (there) break;
            std::this_thread::sleep_for(1ms);
        }
        accepts = Steady::now().time_since_epoch().count();
    });
    server.start();
    knocks.join();
    load.wait_for_answer();
    const Micros back = Steady::now() - Steady::time_point(Steady::duration(accepts.load()));
    (void)load.end();
    print("get, from the kill on", load.times(killed, Steady::time_point::max()));
    std::printf("    first answer after it accepts connections: %.0f ms; exceptions %zu\n",
                back.count() / 1000, load.exceptions());
}

void measure_cluster(const Settings& settings) {
    std::printf(
        "\nCluster of three masters and three replicas, cluster-node-timeout 2 s: kill -9 of a master\n");
    sc::test::RedisCluster cluster({.masters = 3, .replicas = 3});
    Cache cache(config_for(cluster.url()));
    fill(cache);
    {
        Load load(cache);
        std::this_thread::sleep_for(1s);
        const auto killed = Steady::now();
        cluster.server(0).kill();
        cluster.until("a replica takes over",
                      [&] { return cluster.command(3, {"ROLE"}).elements.at(0).text == "master"; });
        const Micros taken = Steady::now() - killed;
        std::this_thread::sleep_for(settings.length);
        (void)load.end();
        std::printf("    the replica was the master after %.0f ms\n", taken.count() / 1000);
        print("get", load.times({}, Steady::time_point::max()));
        load.print_gaps(killed);
    }
    std::printf("\nThe same cluster: 20 slots with their keys move to another master and back\n");
    fill(cache);
    Load load(cache);
    const auto begun = Steady::now();
    for (std::size_t i = 0; i < 20; ++i) {
        const std::size_t slot = sc::test::cluster_slot(sc::physical_key("bench", key_of(i)));
        const std::size_t owner = cluster.first_master(slot);
        if (owner == 0) continue;  // which is dead
        cluster.move(slot, owner, 3 - owner);
        cluster.move(slot, 3 - owner, owner);
    }
    (void)load.end();
    print("get", load.times({}, Steady::time_point::max()));
    load.print_gaps(begun);
}

void measure_sentinel(const Settings& settings) {
    std::printf("\nThree sentinels, down-after-milliseconds 1500: kill -9 of the master\n");
    sc::test::SentinelSet set;
    sc::test::RedisCluster::until("all know each other", [&] { return set.complete(); });
    Cache cache(config_for(set.url()));
    fill(cache);
    Load load(cache);
    std::this_thread::sleep_for(1s);
    const auto killed = Steady::now();
    set.first.kill();
    sc::test::RedisCluster::until("the replica takes over",
                                  [&] { return sc::test::role(set.second) == "master"; });
    const Micros taken = Steady::now() - killed;
    std::this_thread::sleep_for(settings.length);
    (void)load.end();
    std::printf("    the replica was the master after %.0f ms\n", taken.count() / 1000);
    print("get", load.times({}, Steady::time_point::max()));
    load.print_gaps(killed);
}

}  // namespace

int main(int argc, char** argv) {
    Settings settings;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string_view name = argv[i];
        if (name == "--seconds") settings.length = std::chrono::seconds(std::atol(argv[i + 1]));
        if (name == "--parts") settings.parts = argv[i + 1];
    }
    const auto wanted = [&](const char* part) { return settings.parts.find(part) != std::string::npos; };
    try {
        if (wanted("pause")) measure_pause(settings);
        if (wanted("pause")) measure_open(settings);
        if (wanted("restart")) measure_restart(settings);
        if (wanted("cluster")) measure_cluster(settings);
        if (wanted("sentinel")) measure_sentinel(settings);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
