#include <smartcache/facade/events.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/map_tier.hpp"
#include "support/redis_server.hpp"

namespace events_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::MapTier;

namespace {

std::string words(const sc::Event& event) {
    constexpr const char* kinds[] = {"hit",     "stale_hit", "miss",   "set",       "removed", "promoted",
                                     "demoted", "loaded",    "failed", "tier_down", "tier_up"};
    constexpr const char* causes[] = {"expired", "evicted", "replaced", "erased", "cleared"};
    std::string text = kinds[static_cast<std::size_t>(event.kind)];
    text += ' ' + std::string(event.key);
    if (event.tier != sc::TierId::none) text += " " + std::string(sc::to_string(event.tier));
    if (event.kind == sc::EventKind::removed)
        text += std::string(" ") + causes[static_cast<std::size_t>(event.cause)];
    return text;
}

/// A cache over one map, whose listener writes down what it is told.
struct World {
    explicit World(sc::Config config = {}) {
        config.clock = &clock;
        config.background_threads = 0;
        config.listener = [this](const sc::Event& event) {
            told.push_back(words(event));
            if (also) also(event);
        };
        auto owned = std::make_unique<MapTier>(sc::TierId::disk, &clock);
        below = owned.get();
        std::vector<std::unique_ptr<sc::Tier>> tiers;
        tiers.push_back(std::move(owned));
        cache = std::make_unique<sc::SmartCache<>>(config, std::move(tiers));
    }
    /// What was told since the last time.
    std::vector<std::string> news() { return std::exchange(told, {}); }

    sc::FakeClock clock;
    std::vector<std::string> told;
    std::function<void(const sc::Event&)> also;
    MapTier* below = nullptr;
    std::unique_ptr<sc::SmartCache<>> cache;
};

using Told = std::vector<std::string>;

}  // namespace

TEST_CASE("lookups, writes and removals are told", "[facade][events]") {
    World world;
    sc::SmartCache<>& cache = *world.cache;
    CHECK_FALSE(cache.get<int>("k"));
    CHECK(world.news() == Told{"miss k"});
    cache.set("k", 1, {.ttl = 1min, .grace = 1h});
    CHECK(world.news() == Told{"set k"});
    CHECK(cache.get<int>("k"));
    CHECK(cache.get<std::string>("k").has_value() == false);
    CHECK(world.news() == Told{"hit k memory", "miss k"});
    cache.set("k", 2, {.ttl = 1min, .grace = 1h});
    CHECK(world.news() == Told{"removed k memory replaced", "set k"});
    world.clock.advance(2min);
    CHECK(cache.get<int>("k", {.allow_stale = true}).stale());
    CHECK(world.news() == Told{"stale_hit k memory"});
    (void)cache.erase("k");
    CHECK(world.news() == Told{"removed k memory erased"});
    (void)cache.exists("k");
    (void)cache.peek<int>("k");
    CHECK(world.news().empty());
    CHECK(cache.set_many<int>({{"a", 1}, {"b", 2}}) == 2);
    CHECK(world.news() == Told{"set a", "set b"});
    (void)cache.get_many<int>({"a", "c"});
    CHECK(world.news() == Told{"hit a memory", "miss c"});
    CHECK(cache.increment("a") == 2);
    CHECK(world.news() == Told{"set a", "removed a memory replaced"});
    CHECK(cache.take<int>("a"));
    CHECK(world.news() == Told{"removed a memory erased", "hit a disk"});
    cache.clear();
    CHECK(world.news() == Told{"removed b memory cleared"});
    cache.set("short", 1, 1s);
    world.clock.advance(1min);
    (void)cache.run_maintenance();
    CHECK(world.news() == Told{"set short", "removed short memory expired"});
    cache.set("last", 1);
    world.cache.reset();
    CHECK(world.news() == Told{"set last"});
}

TEST_CASE("loads and promotions are told", "[facade][events]") {
    World world;
    sc::SmartCache<>& cache = *world.cache;
    (void)cache.get_or_compute("k", [] { return 1; });
    CHECK(world.news() == Told{"loaded k", "miss k"});
    (void)cache.get_or_compute("k", [] { return 2; });
    CHECK(world.news() == Told{"hit k memory"});
    cache.clear_memory();
    (void)cache.get<int>("k");
    CHECK(world.news() == Told{"removed k memory cleared", "promoted k disk", "hit k disk"});
    std::exception_ptr error;
    world.also = [&error](const sc::Event& event) {
        if (event.error) error = event.error;
    };
    CHECK_THROWS_AS(cache.get_or_compute("e", []() -> int { throw std::out_of_range("x"); }),
                    std::out_of_range);
    CHECK(world.news() == Told{"failed e", "miss e"});
    CHECK_THROWS_AS(std::rethrow_exception(error), std::out_of_range);
    const auto load = [](std::span<const std::string_view> keys) { return std::vector<int>(keys.size(), 5); };
    (void)cache.get_or_compute_many({"x", "k", "y"}, load);
    CHECK(world.news() == Told{"hit k memory", "loaded x", "loaded y", "miss x", "miss y"});
    std::chrono::microseconds took{0};
    world.also = [&took](const sc::Event& event) {
        if (event.kind == sc::EventKind::loaded) took = event.took;
    };
    (void)cache.refresh("k", [&world] {
        world.clock.advance(3s);
        return 7;
    });
    CHECK(took >= 3s);
}

TEST_CASE("evictions and demotions are told", "[facade][events]") {
    World world({.memory = {.capacity = 1}, .disk = {.fill = sc::DiskFill::on_evict}});
    sc::SmartCache<>& cache = *world.cache;
    cache.set("a", 1);
    cache.set("b", 2);
    const std::vector<std::string> news = world.news();
    CHECK(std::count(news.begin(), news.end(), "removed a memory evicted") +
              std::count(news.begin(), news.end(), "removed b memory evicted") ==
          1);
    CHECK(std::count(news.begin(), news.end(), "demoted a disk") +
              std::count(news.begin(), news.end(), "demoted b disk") ==
          1);
}

TEST_CASE("a listener may use the cache, whatever it is told of", "[facade][events]") {
    World world({.memory = {.capacity = 4}, .disk = {.fill = sc::DiskFill::on_evict}});
    sc::SmartCache<>& cache = *world.cache;
    int depth = 0;
    std::size_t most = 0;
    world.also = [&](const sc::Event& event) {
        if (depth > 0) return;
        ++depth;
        ++most;
        // The same key, of which a lock may be held just then.
        (void)cache.get<int>(event.key);
        cache.set(event.key.empty() ? "none" : std::string(event.key), 1);
        (void)cache.erase("other");
        if (most % 10 == 0) cache.clear();
        --depth;
    };
    for (int i = 0; i < 50; ++i) {
        const std::string key = std::to_string(i % 7);
        (void)cache.get_or_compute(key, [i] { return i; });
        (void)cache.increment(key);
        (void)cache.update<int>(key, [](std::optional<int> n) { return n.value_or(0) + 1; });
        (void)cache.erase(key);
        (void)cache.set_many<int>({{"x", 1}, {"y", 2}});
        cache.clear_memory();
    }
    CHECK(most > 100);
}

TEST_CASE("a cache that ends inside another one's value tells nothing any more", "[facade][events]") {
    struct Owner {
        std::unique_ptr<sc::SmartCache<>> inner;
        ~Owner() {
            if (inner) (void)inner->erase("x");
        }
        explicit Owner(std::unique_ptr<sc::SmartCache<>> its) : inner(std::move(its)) {}
        Owner(Owner&&) = default;
        Owner& operator=(Owner&&) = delete;
    };
    int inner_events = 0;
    auto inner =
        std::make_unique<sc::SmartCache<>>(sc::Config{.listener = [&](const sc::Event&) { ++inner_events; }});
    inner->set("x", 1);
    World world;
    world.cache->set("k", sc::memory_only(Owner(std::move(inner))));
    (void)world.cache->erase("k");
    CHECK(inner_events == 2);
}

TEST_CASE("what a listener throws is counted and goes no further", "[facade][events]") {
    World world;
    world.also = [](const sc::Event&) { throw std::runtime_error("listener"); };
    CHECK(world.cache->set("k", 1));
    CHECK(world.cache->get<int>("k"));
    CHECK(*world.cache->get_or_compute("l", [] { return 2; }) == 2);
    CHECK(world.cache->stats().listener_errors == 4);
    world.also = {};
}

TEST_CASE("a Redis that fails and comes back is told", "[facade][events][redis]") {
    smartcache::test::RedisServer server;
    std::mutex mutex;
    std::vector<std::string> states;
    sc::SmartCache<> cache{{.redis = {.enabled = true,
                                      .url = server.url(),
                                      .connect_timeout = 30s,
                                      .timeout = 30s,
                                      .breaker = {.failures = 1, .open_for = 1ms}},
                            .background_threads = 0,
                            .listener = [&](const sc::Event& event) {
                                if (event.kind != sc::EventKind::tier_down &&
                                    event.kind != sc::EventKind::tier_up)
                                    return;
                                const std::lock_guard lock(mutex);
                                states.push_back(words(event));
                            }}};
    cache.set("k", 1);
    CHECK(states.empty());
    server.stop();
    REQUIRE(smartcache_test::eventually([&] {
        cache.set("k", 2);
        return !states.empty();
    }));
    CHECK(states == Told{"tier_down  redis"});
    server.start();
    REQUIRE(smartcache_test::eventually([&] {
        cache.set("k", 3);
        return states.size() > 1;
    }));
    CHECK(states.back() == "tier_up  redis");
}

TEST_CASE("several threads are told of what each of them does", "[facade][events][threads]") {
    std::atomic<int> hits{0};
    std::atomic<int> misses{0};
    std::atomic<int> foreign{0};
    thread_local const void* mine = nullptr;
    sc::SmartCache<> cache{{.listener = [&](const sc::Event& event) {
        if (event.kind == sc::EventKind::hit) ++hits;
        if (event.kind == sc::EventKind::miss) ++misses;
        if (mine == nullptr) ++foreign;
    }}};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&] {
            mine = &cache;
            for (int i = 0; i < 1000; ++i) (void)cache.get_or_compute(std::to_string(i), [i] { return i; });
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(hits + misses == 4000);
    CHECK(foreign == 0);
    const sc::Stats stats = cache.stats();
    CHECK(stats.hits == static_cast<std::uint64_t>(hits));
    CHECK(stats.misses == static_cast<std::uint64_t>(misses));
}

}  // namespace events_test
