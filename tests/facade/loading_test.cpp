#include <smartcache/facade/smart_cache.hpp>

#include <atomic>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/testing.hpp>

#include "facade/support/cache_over_maps.hpp"
#include "support/catch.hpp"

namespace loading_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::CacheOverMaps;

TEST_CASE("a load runs once; its value is served until it expires", "[facade][load]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    int loads = 0;
    const auto load = [&] { return ++loads; };
    CHECK(*cache.get_or_compute("k", load, 1min) == 1);
    CHECK(*cache.get_or_compute("k", load, 1min) == 1);
    clock.advance(1min);
    CHECK(*cache.get_or_compute("k", load, {.ttl = 1min}) == 2);
    const sc::Stats stats = cache.stats();
    CHECK(stats.loads == 2);
    CHECK(stats.hits == 1);
    CHECK(stats.misses == 2);
}

TEST_CASE("concurrent misses of one key share one load", "[facade][load][threads]") {
    sc::SmartCache<> cache;
    constexpr int threads = 8;
    std::atomic<int> loads{0};
    std::atomic<int> right{0};
    std::promise<void> release;
    std::shared_future<void> released = release.get_future().share();
    std::vector<std::thread> pool;
    for (int i = 0; i < threads; ++i)
        pool.emplace_back([&] {
            const auto value = cache.get_or_compute("k", [&] {
                loads.fetch_add(1);
                released.wait();
                return std::string("value");
            });
            if (*value == "value") right.fetch_add(1);
        });
    // The load ends only when all others wait for it.
    while (sc::detail::WaitGraph::instance().waiting() < threads - 1) std::this_thread::yield();
    release.set_value();
    for (std::thread& thread : pool) thread.join();
    CHECK(loads.load() == 1);
    CHECK(right.load() == threads);
    CHECK(cache.stats().coalesced == threads - 1);
    CHECK(cache.stats().misses == threads);
}

TEST_CASE("a loader's exception reaches every waiter, and nothing is stored", "[facade][load][threads]") {
    sc::SmartCache<> cache;
    std::atomic<int> caught{0};
    std::promise<void> release;
    std::shared_future<void> released = release.get_future().share();
    std::vector<std::thread> pool;
    for (int i = 0; i < 4; ++i)
        pool.emplace_back([&] {
            try {
                (void)cache.get_or_compute("k", [&]() -> int {
                    released.wait();
                    throw std::out_of_range("origin");
                });
            } catch (const std::out_of_range&) {
                caught.fetch_add(1);
            }
        });
    while (sc::detail::WaitGraph::instance().waiting() < 3) std::this_thread::yield();
    release.set_value();
    for (std::thread& thread : pool) thread.join();
    CHECK(caught.load() == 4);
    CHECK_FALSE(cache.exists("k"));
    CHECK(cache.stats().load_failures == 1);
    CHECK(*cache.get_or_compute("k", [] { return 1; }) == 1);
}

TEST_CASE("an absence is remembered for its own TTL, and only where one is given",
          "[facade][load][negative]") {
    CacheOverMaps world(sc::TierSet::disk);
    sc::SmartCache<>& cache = *world.cache;
    int loads = 0;
    const auto absent = [&]() -> std::optional<int> {
        ++loads;
        return std::nullopt;
    };
    CHECK_FALSE(cache.get_or_compute("a", absent));
    CHECK_FALSE(cache.get_or_compute("a", absent));
    CHECK(loads == 2);
    CHECK_FALSE(cache.get_or_compute("b", absent, {.negative_ttl = 10s}));
    CHECK_FALSE(cache.get_or_compute("b", absent, {.negative_ttl = 10s}));
    CHECK(loads == 3);
    CHECK_FALSE(cache.get<int>("b"));
    CHECK_FALSE(cache.exists("b"));
    world.clock.advance(10s);
    CHECK(*cache.get_or_compute("b", []() -> std::optional<int> { return 4; }) == 4);
    CHECK(*cache.get<int>("b") == 4);
}

TEST_CASE("a remembered absence is found below too", "[facade][load][negative]") {
    CacheOverMaps world(sc::TierSet::disk, {.memory = {.enabled = false}});
    sc::SmartCache<>& cache = *world.cache;
    int loads = 0;
    const auto absent = [&]() -> std::optional<int> {
        ++loads;
        return std::nullopt;
    };
    (void)cache.get_or_compute("k", absent, {.negative_ttl = 10s});
    (void)cache.get_or_compute("k", absent, {.negative_ttl = 10s});
    CHECK(loads == 1);
    CHECK_FALSE(cache.exists("k"));
}

TEST_CASE("a loader that finds nothing ends the older value, for later failures too",
          "[facade][load][negative][grace]") {
    CacheOverMaps world(sc::TierSet::disk);
    sc::SmartCache<>& cache = *world.cache;
    const auto absent = [] { return std::optional<int>(); };
    const auto failing = []() -> std::optional<int> { throw std::runtime_error("down"); };
    for (const bool refreshes : {false, true}) {
        cache.set("k", 1, {.ttl = 10s, .grace = 1h});
        world.clock.advance(10s);
        CHECK(*cache.get_or_compute("k", failing, {.grace = 1h}) == 1);
        if (refreshes)
            CHECK_FALSE(cache.refresh("k", absent));
        else
            CHECK_FALSE(cache.get_or_compute("k", absent));
        CHECK_FALSE(cache.peek<int>("k"));
        CHECK_THROWS_AS(cache.get_or_compute("k", failing, {.grace = 1h}), std::runtime_error);
    }
}

TEST_CASE("what is written while a loader finds nothing stays", "[facade][load][negative][R1]") {
    CacheOverMaps world(sc::TierSet::disk);
    sc::SmartCache<>& cache = *world.cache;
    const auto overtaken = [&] {
        cache.set("k", 2);
        return std::optional<int>();
    };
    for (const bool refreshes : {false, true}) {
        cache.set("k", 1, {.ttl = 10s, .grace = 1h});
        world.clock.advance(10s);
        if (refreshes)
            CHECK_FALSE(cache.refresh("k", overtaken));
        else
            CHECK_FALSE(cache.get_or_compute("k", overtaken));
        CHECK(*cache.get<int>("k") == 2);
        CHECK(world.disk->holds("0::k"));
    }
}

TEST_CASE("another process's newer value outlives an absence that was loaded before it",
          "[facade][load][negative][R7]") {
    CacheOverMaps world(sc::TierSet::redis);
    sc::SmartCache<>& cache = *world.cache;
    cache.set("k", 1, {.ttl = 10s, .grace = 1h});
    world.clock.advance(10s);
    CHECK_FALSE(cache.get_or_compute("k", [&] {
        (void)rewrite(*world.redis, world.physical("k"), [&](sc::RecordView& newer) {
            ++newer.stamp;
            newer.created = world.clock.wall();
            newer.expires = world.clock.wall() + 1h;
        });
        return std::optional<int>();
    }));
    CHECK(*cache.get<int>("k") == 1);
}

TEST_CASE("a load leaves nothing older in the tiers that it does not write", "[facade][load][R3]") {
    CacheOverMaps world({.max_value_size = 1000});
    sc::SmartCache<>& cache = *world.cache;
    const auto two = [] { return 2; };
    const auto gone = [&](const char* what) {
        INFO(what);
        cache.clear_memory();
        CHECK_FALSE(cache.get<int>("k"));
        CHECK_FALSE(cache.peek<int>("k"));
    };
    const auto fresh = [&] { cache.set("k", 1, {.ttl = 1h, .grace = 1h}); };
    const auto stale = [&] {
        cache.set("k", 1, {.ttl = 1s, .grace = 1h});
        world.clock.advance(1s);
    };
    fresh();
    CHECK(*cache.refresh("k", two, {.write = sc::TierSet::memory}) == 2);
    CHECK(*cache.get<int>("k") == 2);
    gone("refresh into memory");
    fresh();
    CHECK(*cache.refresh("k", two, {.ttl = 0s}) == 2);
    gone("refresh for no time");
    fresh();
    CHECK(*cache.refresh("k", [] { return sc::memory_only(2); }) == 2);
    gone("refresh of what stays in memory");
    fresh();
    CHECK(cache.refresh("k", [] { return std::string(2000, 'x'); }).has_value());
    gone("refresh of what is too large");
    fresh();
    CHECK(*cache.refresh("k", two, {.redis_ttl = 0s}) == 2);
    cache.clear_memory();
    CHECK(cache.get<int>("k").tier() == sc::TierId::disk);
    CHECK(*cache.get<int>("k") == 2);
    stale();
    CHECK(*cache.get_or_compute("k", two, {.write = sc::TierSet::memory}) == 2);
    gone("load into memory");
    stale();
    CHECK(*cache.get_or_compute("k", [] { return sc::memory_only(2); }) == 2);
    gone("load of what stays in memory");
    fresh();
    CHECK(*cache.get_or_compute("k", two, {.read = sc::TierSet::none}) == 2);
    cache.clear_memory();
    CHECK(*cache.get<int>("k") == 2);
    fresh();
    CHECK(*cache.refresh("k", [](sc::LoadContext& context) {
        context.skip_store();
        return 2;
    }) == 2);
    CHECK(*cache.get<int>("k") == 1);
}

TEST_CASE("a waiter that must load another type for itself is one request",
          "[facade][load][stats][threads]") {
    sc::SmartCache<> cache;
    std::optional<int> number;
    std::thread other;
    CHECK(*cache.get_or_compute("k", [&] {
        other = std::thread([&] { number = *cache.get_or_compute("k", [] { return 5; }); });
        while (sc::detail::WaitGraph::instance().waiting() == 0) std::this_thread::yield();
        return std::string("text");
    }) == "text");
    other.join();
    CHECK(number == 5);
    const sc::Stats stats = cache.stats();
    CHECK(stats.misses == 2);
    CHECK(stats.total_requests == 2);
    CHECK(stats.loads == 2);
}

TEST_CASE("a loader that asks for its own key gets an error that names it, not a hang", "[facade][load]") {
    sc::SmartCache<> cache;
    const auto ask = [&] {
        return cache.get_or_compute(
            "report:7", [&]() -> int { return *cache.get_or_compute("report:7", [] { return 1; }); });
    };
    CHECK_THROWS_WITH(ask(), smartcache_test::has_text("report:7"));
    CHECK_THROWS_AS(ask(), std::logic_error);
}

TEST_CASE("recursion over other keys works at any depth", "[facade][load]") {
    sc::SmartCache<> cache;
    std::function<long(int)> fibonacci = [&](int n) -> long {
        return *cache.get_or_compute("fib:" + std::to_string(n), [&]() -> long {
            return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
        });
    };
    CHECK(fibonacci(80) == 23416728348467685L);
    CHECK(cache.stats().loads == 81);
}

TEST_CASE("two loads that need each other's key do not hang", "[facade][load][threads][R32]") {
    sc::SmartCache<> cache;
    std::latch both(2);
    const auto cross = [&](const char* mine, const char* other) {
        return *cache.get_or_compute(mine, [&]() -> int {
            both.arrive_and_wait();
            return 1 + *cache.get_or_compute(other, [] { return 10; });
        });
    };
    auto first = std::async(std::launch::async, [&] { return cross("a", "b"); });
    auto second = std::async(std::launch::async, [&] { return cross("b", "a"); });
    const int a = first.get();
    const int b = second.get();
    // One of them waits for the other; the other loads without sharing.
    CHECK(((a == 11 && b == 12) || (a == 12 && b == 11) || (a == 11 && b == 11)));
}

TEST_CASE("a stale value within its grace is served when the loader throws", "[facade][load][grace]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    const sc::EntryOptions options{.ttl = 1min, .grace = 1h};
    (void)cache.get_or_compute(
        "k", [] { return 1; }, options);
    clock.advance(2min);
    const auto failing = []() -> int { throw std::runtime_error("origin"); };
    const auto stale = cache.get_or_compute("k", failing, options);
    REQUIRE(stale);
    CHECK(*stale == 1);
    CHECK(stale.stale());
    CHECK(cache.stats().stale_served == 1);
    CHECK(cache.stats().load_failures == 1);
    CHECK(*cache.get_or_compute(
              "k", [] { return 2; }, options) == 2);
    cache.erase("k");
    CHECK_THROWS_AS(cache.get_or_compute("k", failing, options), std::runtime_error);
}

TEST_CASE("a loader may change how its value is stored, or have it not stored at all", "[facade][load]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    (void)cache.get_or_compute("k", [](sc::LoadContext& context) {
        CHECK(context.key() == "k");
        context.options.ttl = 5s;
        return 1;
    });
    CHECK(cache.get<int>("k").ttl() == 5s);
    CHECK(*cache.get_or_compute("n", [](sc::LoadContext& context) {
        context.skip_store();
        return 2;
    }) == 2);
    CHECK_FALSE(cache.exists("n"));
}

TEST_CASE("loaders may return text, views and memory-only values", "[facade][load]") {
    sc::SmartCache<> cache;
    const sc::Lookup<std::string> text = cache.get_or_compute("c", [] { return "literal"; });
    CHECK(*text == "literal");
    const auto pointer = cache.get_or_compute("m", [] { return sc::memory_only(std::make_unique<int>(3)); });
    CHECK(**pointer == 3);
    CHECK(**cache.get<std::unique_ptr<int>>("m") == 3);
}

TEST_CASE("a value too large to be kept is still returned", "[facade][load][limits]") {
    sc::SmartCache<> cache{{.max_value_size = 10}};
    CHECK(cache.get_or_compute("k", [] { return std::string(100, 'x'); })->size() == 100);
    CHECK_FALSE(cache.exists("k"));
    CHECK(cache.stats().rejected == 1);
    CHECK(*cache.get_or_compute(std::string(100'000, 'k'), [] { return 1; }) == 1);
}

TEST_CASE("a load asks the lower tiers before the loader", "[facade][load]") {
    CacheOverMaps world(sc::TierSet::disk);
    sc::SmartCache<>& cache = *world.cache;
    cache.set("k", 1, {.write = sc::TierSet::disk});
    const auto hit = cache.get_or_compute("k", []() -> int { throw std::logic_error("not wanted"); });
    CHECK(*hit == 1);
    CHECK(hit.tier() == sc::TierId::disk);
    CHECK(cache.get<int>("k").tier() == sc::TierId::memory);
    CHECK(cache.stats().loads == 0);
}

TEST_CASE("what a load finds below goes into the tiers that it writes", "[facade][load][promotion]") {
    using Tiers = sc::TierSet;
    const Tiers written = GENERATE(Tiers::memory, Tiers::redis | Tiers::disk, Tiers::all, Tiers::none);
    const bool many = GENERATE(false, true);
    CacheOverMaps world;
    world.cache->set("k", 1, {.write = Tiers::disk});
    const sc::EntryOptions options{.write = written};
    if (many)
        CHECK(*world.cache
                   ->get_or_compute_many(
                       {"k"}, [](std::span<const std::string_view>) { return std::vector{2}; }, options)
                   .front() == 1);
    else
        CHECK(*world.cache->get_or_compute(
                  "k", [] { return 2; }, options) == 1);
    CHECK(world.redis->holds(world.physical("k")) == contains(written, sc::TierId::redis));
    CHECK(static_cast<bool>(world.cache->try_get<int>("k")) == contains(written, sc::TierId::memory));
}

TEST_CASE("refresh loads whatever is stored and replaces it; a failed refresh keeps the old value",
          "[facade][load]") {
    sc::SmartCache<> cache;
    cache.set("k", 1);
    CHECK(*cache.refresh("k", [] { return 2; }) == 2);
    CHECK(*cache.get<int>("k") == 2);
    CHECK_THROWS_AS(cache.refresh("k", []() -> int { throw std::runtime_error("origin"); }),
                    std::runtime_error);
    CHECK(*cache.get<int>("k") == 2);
    CHECK_FALSE(cache.refresh("k", []() -> std::optional<int> { return std::nullopt; }));
    CHECK_FALSE(cache.exists("k"));
}

TEST_CASE("impossible options are refused, not ignored", "[facade][load][options]") {
    sc::SmartCache<> cache;
    CHECK(*cache.get_or_compute("alone", [] { return 1; }, {.distributed_lock = true}) ==
          1);  // nobody to share with
    CHECK_THROWS_AS(cache.set("k", 1, {.jitter = 1.5}), sc::ConfigError);
    CHECK_FALSE(cache.exists("k"));
}

// It used to be an empty lookup, which who writes `*cache.get_or_compute(...)` does not expect.
TEST_CASE("a remembered absence is a miss for a loader that always has a value", "[facade][negative]") {
    sc::SmartCache<> cache;
    const auto absent = [] { return std::optional<int>(); };
    CHECK_FALSE(cache.get_or_compute("k", absent, {.negative_ttl = 1h}));
    CHECK_FALSE(cache.get_or_compute("k", [] { return std::optional<int>(1); }));
    CHECK(*cache.get_or_compute("k", [] { return 5; }) == 5);
    CHECK(*cache.get_or_compute("k", absent) == 5);
}

TEST_CASE("warm loads what is not there, and only that", "[facade][warm]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    REQUIRE(cache.set("b", 20));
    std::vector<std::string> asked;
    const auto load = [&](std::string_view key) -> std::optional<int> {
        asked.emplace_back(key);
        if (key == "bad") throw std::runtime_error("no");
        if (key == "none") return std::nullopt;
        return 1;
    };
    CHECK(cache.warm({"a", "b", "bad", "none", "c"}, load, {.ttl = 1h}) == 2);
    CHECK(asked == std::vector<std::string>{"a", "bad", "none", "c"});
    CHECK(*cache.get<int>("a") == 1);
    CHECK(cache.get<int>("a").ttl() == 1h);
    CHECK(*cache.get<int>("b") == 20);
    CHECK_FALSE(cache.exists("none"));
    const std::vector<std::string> keys{"a", "c"};
    CHECK(cache.warm(keys, [](std::string_view) { return 5; }) == 0);
    CHECK(*cache.get<int>("c") == 1);
}

TEST_CASE("warm counts what it has loaded, whatever is thrown and whatever is stale", "[facade][warm]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    REQUIRE(cache.set("old", 1, {.ttl = 1min, .grace = 1h}));
    clock.advance(1min);
    const auto load = [](std::string_view key) -> int {
        if (key == "old") throw std::runtime_error("no");
        if (key == "odd") throw 42;
        return 1;
    };
    CHECK(cache.warm({"old", "odd", "new"}, load, {.grace = 1h}) == 1);
    CHECK(cache.exists("new"));
}

}  // namespace loading_test
