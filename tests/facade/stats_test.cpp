#include <smartcache/facade/stats.hpp>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/map_tier.hpp"

namespace stats_test {

namespace sc = smartcache;
using namespace std::chrono_literals;

TEST_CASE("hits and misses add up to the requests, an expired read is a miss", "[facade][stats]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    cache.set("k", 1, 1s);
    (void)cache.get<int>("k");
    (void)cache.get<int>("absent");
    clock.advance(1s);
    (void)cache.get<int>("k");
    const sc::Stats stats = cache.stats();
    CHECK(stats.hits == 1);
    CHECK(stats.misses == 2);
    CHECK(stats.total_requests == 3);
    CHECK(stats.hit_ratio == Approx(1.0 / 3));
}

TEST_CASE("memory usage falls on erase, eviction, expiry, replacement and clear", "[facade][stats]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.memory = {.capacity = 100, .shards = 1}, .clock = &clock}};
    CHECK(cache.stats().memory_usage == 0);
    cache.set("k", std::string(1000, 'x'), 1s);
    const auto one = cache.stats().memory_usage;
    CHECK(one > 1000);
    cache.set("k", std::string(10, 'x'), 1s);
    CHECK(cache.stats().memory_usage == one - 990);
    cache.erase("k");
    CHECK(cache.stats().memory_usage == 0);
    cache.set("k", 1, 1s);
    clock.advance(1s);
    (void)cache.get<int>("k");
    CHECK(cache.stats().memory_usage == 0);
    for (int i = 0; i < 1000; ++i) cache.set("k" + std::to_string(i), 1);
    CHECK(cache.stats().size == 100);
    CHECK(cache.stats().evictions == 900);
    CHECK(cache.stats().memory_usage < 100 * 400);
    cache.clear();
    CHECK(cache.stats().memory_usage == 0);
    CHECK(cache.stats().evictions == 0);
}

TEST_CASE("the rate looks back over the interval", "[facade][stats]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.stats = {.interval = 10s}, .background_threads = 0, .clock = &clock}};
    for (int i = 0; i < 100; ++i) (void)cache.get<int>("k");
    clock.advance(10s);
    CHECK(cache.stats().ops_per_second == Approx(10));
    cache.run_maintenance();
    CHECK(cache.stats().ops_per_second == Approx(10));
    clock.advance(10s);
    cache.run_maintenance();
    CHECK(cache.stats().ops_per_second == Approx(0));
    CHECK(cache.stats().uptime == 20s);
}

TEST_CASE("switched off, nothing is counted", "[facade][stats]") {
    sc::SmartCache<> cache{{.stats = {.enabled = false}}};
    cache.set("k", 1);
    (void)cache.get<int>("k");
    CHECK(cache.stats().total_requests == 0);
    CHECK(cache.stats().size == 1);
}

TEST_CASE("the allocator in use is named", "[facade][stats]") {
    sc::SmartCache<> plain{{.memory = {.jemalloc = false}}};
    CHECK(plain.stats().memory.allocator == "malloc");
    sc::SmartCache<> wanted;
    CHECK((wanted.stats().memory.allocator == "malloc" || wanted.stats().memory.allocator == "jemalloc"));
}

TEST_CASE("counters lose nothing under many threads", "[facade][stats][threads]") {
    sc::SmartCache<> cache;
    cache.set("k", 1);
    std::vector<std::thread> pool;
    for (int t = 0; t < 4; ++t)
        pool.emplace_back([&] {
            for (int i = 0; i < 5000; ++i) (void)cache.get<int>(i % 2 == 0 ? "k" : "absent");
        });
    for (std::thread& thread : pool) thread.join();
    CHECK(cache.stats().hits == 10'000);
    CHECK(cache.stats().misses == 10'000);
}

}  // namespace stats_test
