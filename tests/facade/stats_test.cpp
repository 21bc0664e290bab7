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

TEST_CASE("the hit ratio of the last interval, and where it goes", "[facade][stats]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.stats = {.interval = 10s}, .background_threads = 0, .clock = &clock}};
    cache.set("k", 1);
    const auto interval = [&](int hits, int misses) {
        for (int i = 0; i < hits; ++i) (void)cache.get<int>("k");
        for (int i = 0; i < misses; ++i) (void)cache.get<int>("none");
        clock.advance(10s);
        cache.run_maintenance();
        return cache.stats();
    };
    sc::Stats stats = interval(3, 1);
    CHECK(stats.recent_hit_ratio == Approx(0.75));
    CHECK(stats.hit_ratio_trend == Approx(0));
    stats = interval(1, 1);
    CHECK(stats.recent_hit_ratio == Approx(0.5));
    CHECK(stats.hit_ratio_trend == Approx(-0.25));
    CHECK(stats.hit_ratio == Approx(4.0 / 6));
    stats = interval(0, 0);  // says nothing about hits
    CHECK(stats.recent_hit_ratio == Approx(0.5));
    CHECK(stats.hit_ratio_trend == Approx(0));
    stats = interval(2, 0);
    CHECK(stats.recent_hit_ratio == Approx(1));
    CHECK(stats.hit_ratio_trend == Approx(0.5));
    cache.reset_stats();
    CHECK(cache.stats().recent_hit_ratio == Approx(0));
    CHECK(interval(1, 3).recent_hit_ratio == Approx(0.25));
    CHECK(cache.stats().hit_ratio_trend == Approx(0));
}

TEST_CASE("a low hit ratio is told once, and so is its recovery", "[facade][stats][events]") {
    sc::FakeClock clock;
    std::vector<std::pair<sc::EventKind, double>> told;
    std::vector<std::string> logged;
    sc::SmartCache<> cache{{.memory = {.capacity = 10, .shards = 1},
                            .stats = {.interval = 10s, .alert_below = 0.8},
                            .background_threads = 0,
                            .logger = [&](sc::LogLevel, std::string_view line) { logged.emplace_back(line); },
                            .clock = &clock,
                            .listener =
                                [&](const sc::Event& event) {
                                    if (event.kind == sc::EventKind::hit_ratio_low ||
                                        event.kind == sc::EventKind::hit_ratio_recovered)
                                        told.emplace_back(event.kind, event.ratio);
                                }}};
    const auto interval = [&](int hits, int misses) {
        cache.set("k", 1);
        for (int i = 0; i < hits; ++i) (void)cache.get<int>("k");
        for (int i = 0; i < misses; ++i) (void)cache.get<int>("none");
        clock.advance(10s);
        cache.run_maintenance();
    };
    interval(9, 90);  // too few to tell
    CHECK(told.empty());
    for (int i = 0; i < 15; ++i) cache.set("other" + std::to_string(i), 1);
    interval(70, 30);
    interval(60, 40);  // known
    interval(0, 0);
    using Told = std::vector<std::pair<sc::EventKind, double>>;
    CHECK(told == Told{{sc::EventKind::hit_ratio_low, 0.7}});
    REQUIRE(logged.size() == 1);
    CHECK(logged[0] ==
          "smartcache: 70 % of the last 100 lookups were hits; the alert is below 80 %; meanwhile L1 evicted "
          "7 entries "
          "for want of room and 0 expired");
    interval(80, 20);
    interval(100, 0);
    CHECK(told == Told{{sc::EventKind::hit_ratio_low, 0.7}, {sc::EventKind::hit_ratio_recovered, 0.8}});
    CHECK(logged.size() == 2);
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
