// fork(2) while other threads are inside a cache with all its tiers (R33).

#include <smartcache/facade/smart_cache.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <smartcache/codec/json.hpp>

#include "support/catch.hpp"
#include "support/fork.hpp"
#include "support/redis_server.hpp"
#include "support/sanitizers.hpp"
#include "support/temp_dir.hpp"

namespace fork_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using Cache = sc::SmartCache<>;

namespace {

constexpr int keys = 64;

/// A value says to which key it belongs.
int value_of(int key, int version) {
    return key + keys * version;
}

std::string name_of(int key) {
    return "key:" + std::to_string(key);
}

/// One call of some kind. @return false: a value of another key
bool do_something(Cache& cache, std::minstd_rand& random) {
    const int key = static_cast<int>(random() % keys);
    const int version = static_cast<int>(random() % 1000);
    const std::string name = name_of(key);
    switch (random() % 24) {
        case 0:
            cache.clear();
            return true;
        case 1:
            cache.clear_memory();
            return true;
        case 2:
            (void)cache.flush(10ms);
            return true;
        case 3:
            (void)cache.erase_tag("tag:" + std::to_string(key % 4));
            return true;
        case 4:
            (void)cache.erase(name);
            return true;
        case 5:
            (void)cache.increment("count");
            return true;
        case 6:
            return cache.stats().capacity != 0;
        case 7: {
            const auto many = cache.get_many<int>(std::vector<std::string>{name, name_of((key + 1) % keys)});
            return many.size() == 2;
        }
        case 8:
            (void)cache.run_maintenance();
            return true;
        case 9:
        case 10:
        case 11:
        case 12:
            (void)cache.set(name, value_of(key, version), {.tags = {"tag:" + std::to_string(key % 4)}});
            return true;
        case 13:
        case 14:
        case 15: {
            const auto hit = cache.get_or_compute(name, [&] { return value_of(key, version); });
            return hit && *hit % keys == key;
        }
        default: {
            const auto hit = cache.get<int>(name);
            return !hit || *hit % keys == key;
        }
    }
}

/// What a child asks of the cache of its parent.
bool child_works(Cache& cache, int number) {
    bool good = true;
    for (int key = 0; key < keys; key += 8) {
        const auto hit = cache.get<int>(name_of(key));
        good = good && (!hit || *hit % keys == key);
        const auto loaded = cache.get_or_compute(name_of(key + 1), [&] { return value_of(key + 1, 1); });
        good = good && loaded && *loaded % keys == key + 1;
    }
    const std::string own = "child:" + std::to_string(number);
    good =
        good && cache.set(own, number, {.tags = {"children"}}) && cache.get<int>(own).value_or(-1) == number;
    good = good && cache.erase(own) && !cache.get<int>(own);
    good = good && cache.get_or_compute(own, [&] { return number + 1; }).value_or(-1) == number + 1;
    (void)cache.increment("count");
    (void)cache.erase_tag("children");
    cache.clear_memory();
    (void)cache.stats();
    const sc::Health health = cache.health_check();
    return good && health.redis && !health.disk;
}

}  // namespace

// A child used to wait for ever for a lock that another thread of its parent held.
TEST_CASE("children of a process that is busy in the cache go on with it, and so does that process",
          "[integration][fork][R33]") {
    if (smartcache_test::under_thread_sanitizer) return;  // which wants no threads where there is a fork
    if (smartcache_test::under_address_sanitizer)
        return;  // whose allocator's locks are as other threads held them
    sc::test::RedisServer server;
    const smartcache_test::TempDir dir;
    Cache cache({.memory = {.capacity = keys / 2},
                 .redis = {.enabled = true,
                           .url = server.url(),
                           .max_connections = 3,
                           .connect_timeout = 30s,
                           .timeout = 30s,
                           .lease = 30s},
                 .disk = {.enabled = true, .path = dir / "store"}});
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (unsigned seed = 1; seed <= 5; ++seed)
        threads.emplace_back([&, seed] {
            std::minstd_rand random(seed);
            while (!stop)
                if (!do_something(cache, random)) ++wrong;
        });
    int ended_well = 0;
    constexpr int forks = 200;
    while (ended_well < forks && smartcache_test::in_child([&] { return child_works(cache, ended_well); }))
        ++ended_well;
    stop = true;
    for (std::thread& thread : threads) thread.join();
    CHECK(ended_well == forks);
    CHECK(wrong == 0);
    for (int key = 0; key < keys; ++key) REQUIRE(cache.set(name_of(key), value_of(key, 7)));
    for (const sc::TierSet tiers : {sc::TierSet::redis, sc::TierSet::disk})
        for (int key = 0; key < keys; ++key)
            CHECK(cache.get<int>(name_of(key), {.tiers = tiers}).value_or(-1) == value_of(key, 7));
    CHECK(cache.health_check().ok());
}

// A child used to wait for ever for the load of a thread that it does not have.
TEST_CASE("what a thread of the parent was loading is loaded by a child that wants it",
          "[integration][fork][R33]") {
    if (smartcache_test::under_thread_sanitizer) return;
    sc::test::RedisServer server;
    const smartcache_test::TempDir dir;
    Cache cache({.redis = {.enabled = true, .url = server.url(), .connect_timeout = 30s, .timeout = 30s},
                 .disk = {.enabled = true, .path = dir / "store"}});
    std::atomic<bool> loading{false};
    std::atomic<bool> go_on{false};
    std::thread loader([&] {
        (void)cache.get_or_compute("k", [&] {
            loading = true;
            while (!go_on) std::this_thread::yield();
            return 1;
        });
    });
    while (!loading) std::this_thread::yield();
    CHECK(smartcache_test::in_child([&] {
        // With threads of its own, who share the load again.
        std::atomic<int> loads{0};
        std::array<int, 2> found{};
        std::vector<std::thread> threads;
        for (int& each : found)
            threads.emplace_back(
                [&] { each = cache.get_or_compute("k", [&] { return ++loads, 2; }).value_or(-1); });
        for (std::thread& thread : threads) thread.join();
        return found == std::array{2, 2} && loads == 1;
    }));
    go_on = true;
    loader.join();
    CHECK(cache.health_check().ok());
}

}  // namespace fork_test
