#include <smartcache/facade/smart_cache.hpp>

#include <atomic>
#include <cmath>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/facade/cached.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/map_tier.hpp"

namespace refresh_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::MapTier;

namespace {

/// A cache whose background work is done step by step: by `run_maintenance`.
struct Stepped {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.background_threads = 0, .clock = &clock}};
    std::atomic<int> loads{0};

    /// Counts its calls, and returns how many there were.
    auto counting() {
        return sc::owned([this] { return ++loads; });
    }
};

}  // namespace

TEST_CASE("a hit late in its life is refreshed in the background, once", "[facade][refresh]") {
    Stepped world;
    const sc::EntryOptions options{.ttl = 100s, .refresh_ahead = 0.8};
    CHECK(*world.cache.get_or_compute("k", world.counting(), options) == 1);
    world.clock.advance(79s);
    CHECK(*world.cache.get_or_compute("k", world.counting(), options) == 1);
    (void)world.cache.run_maintenance();
    CHECK(world.loads == 1);

    world.clock.advance(1s);
    for (int i = 0; i < 3; ++i) {
        const auto hit = world.cache.get_or_compute("k", world.counting(), options);
        CHECK(*hit == 1);
        CHECK(hit.tier() == sc::TierId::memory);
        CHECK_FALSE(hit.stale());
    }
    CHECK(world.loads == 1);
    (void)world.cache.run_maintenance();
    CHECK(world.loads == 2);
    const auto fresh = world.cache.get_or_compute("k", world.counting(), options);
    CHECK(*fresh == 2);
    CHECK(fresh.ttl() == 100s);
    (void)world.cache.run_maintenance();
    CHECK(world.loads == 2);
    CHECK(world.cache.stats().misses == 1);
    CHECK(world.cache.stats().hits == 5);
}

TEST_CASE("who gives a loader plainly runs the refresh, and gets what it loads", "[facade][refresh]") {
    Stepped world;
    const sc::EntryOptions options{.ttl = 10s, .refresh_ahead = 0.5};
    int loads = 0;
    const auto load = [&loads] { return ++loads; };
    CHECK(*world.cache.get_or_compute("k", load, options) == 1);
    world.clock.advance(5s);
    CHECK(*world.cache.get_or_compute("k", load, options) == 2);
    CHECK(*world.cache.get_or_compute("k", load, options) == 2);
    CHECK(world.cache.get<int>("k").ttl() == 10s);
}

TEST_CASE("a refresh that fails leaves the value, and is tried again later", "[facade][refresh]") {
    Stepped world;
    const bool owned = GENERATE(false, true);
    const sc::Duration retry_after = GENERATE(0ms, 3000ms);
    const sc::EntryOptions options{.ttl = 40s, .refresh_ahead = 0.8, .retry_after = retry_after};
    CHECK(*world.cache.get_or_compute(
              "k", [] { return 1; }, options) == 1);
    int tries = 0;
    const auto ask = [&] {
        const auto fail = [&tries]() -> int {
            ++tries;
            throw std::runtime_error("origin");
        };
        const int value = owned ? *world.cache.get_or_compute("k", sc::owned(fail), options)
                                : *world.cache.get_or_compute("k", fail, options);
        (void)world.cache.run_maintenance();
        return value;
    };
    world.clock.advance(32s);
    CHECK(ask() == 1);
    CHECK(ask() == 1);
    CHECK(tries == 1);
    const sc::Duration pause =
        std::max<sc::Duration>(retry_after, 2s);  // a quarter of the 8 s that were left
    world.clock.advance(pause - 1ms);
    CHECK(ask() == 1);
    CHECK(tries == 1);
    world.clock.advance(1ms);
    CHECK(ask() == 1);
    CHECK(tries == 2);
    CHECK(world.cache.stats().load_failures == 2);
}

TEST_CASE("a refresh that succeeds is followed by the next one in time", "[facade][refresh]") {
    Stepped world;
    const sc::EntryOptions options{.ttl = 10s, .refresh_ahead = 0.5, .retry_after = 10min};
    for (int expected = 1; expected <= 5; ++expected) {
        CHECK(*world.cache.get_or_compute("k", world.counting(), options) == expected);
        world.clock.advance(6s);
        CHECK(*world.cache.get_or_compute("k", world.counting(), options) == expected);
        (void)world.cache.run_maintenance();
    }
}

TEST_CASE("the early refresh takes the load's time into account", "[facade][refresh]") {
    Stepped world;
    const sc::EntryOptions options{.ttl = 100s, .early_beta = 1};
    const auto slow = [&] {
        world.clock.advance(10s);
        return ++world.loads;
    };
    const auto quick = [&] { return ++world.loads; };
    // XFetch with beta 1: with a load of 10 s and 10 s left, a hit refreshes with a chance of 1/e.
    int refreshed = 0;
    int refreshed_early = 0;
    constexpr int tries = 8000;
    for (int i = 0; i < tries; ++i) {
        world.cache.clear();
        (void)world.cache.get_or_compute("k", slow, options);
        const int before = world.loads;
        world.clock.advance(40s);
        (void)world.cache.get_or_compute("k", sc::owned(quick), options);
        if (world.cache.run_maintenance(); world.loads != before) {
            ++refreshed_early;
            continue;
        }
        world.clock.advance(50s);
        (void)world.cache.get_or_compute("k", sc::owned(quick), options);
        if (world.cache.run_maintenance(); world.loads != before) ++refreshed;
    }
    // The cost is kept within a fifth, and six standard deviations are left to chance.
    const double chance = 6 * std::sqrt(tries) / 2;
    CHECK(refreshed > tries * std::exp(-1.2) - chance);
    CHECK(refreshed < tries * std::exp(-1 / 1.2) + chance);
    CHECK(refreshed_early < tries / 50);  // a chance of e^-6
}

TEST_CASE("what has cost nothing is not refreshed at random", "[facade][refresh]") {
    Stepped world;
    const sc::EntryOptions options{.ttl = 100s, .early_beta = 1000};
    world.cache.set("k", 0, {.ttl = 100s});
    world.clock.advance(99s);
    for (int i = 0; i < 100; ++i) (void)world.cache.get_or_compute("k", world.counting(), options);
    (void)world.cache.run_maintenance();
    CHECK(world.loads == 0);
}

TEST_CASE("a refresh begun before a write is not stored after it", "[facade][refresh][R1]") {
    Stepped world;
    const int what = GENERATE(0, 1, 2, 3);
    const auto change = [&] {
        if (what == 0) world.cache.set("k", 100);
        if (what == 1) (void)world.cache.erase("k");
        if (what == 2) world.cache.clear();
        if (what == 3) world.cache.erase_tag("t");
    };
    const sc::EntryOptions options{.ttl = 10s, .refresh_ahead = 0.5, .tags = {"t"}};
    (void)world.cache.get_or_compute(
        "k", [] { return 1; }, options);
    world.clock.advance(6s);
    CHECK(*world.cache.get_or_compute("k", sc::owned([&] {
                                          change();
                                          return 2;
                                      }),
                                      options) == 1);
    (void)world.cache.run_maintenance();
    CHECK(world.cache.get<int>("k").value_or(-1) == (what == 0 ? 100 : -1));
}

TEST_CASE("what is written or erased before its refresh has begun is not refreshed",
          "[facade][refresh][R1]") {
    Stepped world;
    const bool erased = GENERATE(false, true);
    const sc::EntryOptions options{.ttl = 10s, .refresh_ahead = 0.5};
    (void)world.cache.get_or_compute("k", world.counting(), options);
    world.clock.advance(6s);
    (void)world.cache.get_or_compute("k", world.counting(), options);
    if (erased)
        (void)world.cache.erase("k");
    else
        world.cache.set("k", 100);
    (void)world.cache.run_maintenance();
    CHECK(world.loads == 1);
    CHECK(world.cache.get<int>("k").value_or(-1) == (erased ? -1 : 100));
}

TEST_CASE("a loader that cannot be copied just then costs no hit", "[facade][refresh]") {
    struct Stubborn {
        Stubborn() = default;
        Stubborn(const Stubborn& other) : throws(other.throws) {
            if (*throws && *throws != 2) throw std::runtime_error("copy");
            if (*throws) throw *throws;
        }
        std::shared_ptr<int> throws = std::make_shared<int>(0);  // 1: an exception, 2: something else
        int operator()() const { return 2; }
    };
    Stepped world;
    const sc::EntryOptions options{.ttl = 10s, .refresh_ahead = 0.5};
    world.cache.set("k", 1, 10s);
    world.clock.advance(6s);
    Stubborn load;
    const auto loader = sc::owned(load);
    for (*load.throws = 1; *load.throws <= 2; ++*load.throws)
        CHECK(*world.cache.get_or_compute("k", loader, options) == 1);
    *load.throws = 0;
    world.clock.advance(1s);
    CHECK(*world.cache.get_or_compute("k", loader, options) == 1);
    (void)world.cache.run_maintenance();
    CHECK(*world.cache.get_or_compute("k", loader, options) == 2);
}

TEST_CASE("another process's refresh is taken from below instead of loading again", "[facade][refresh]") {
    sc::FakeClock clock;
    const auto make = [&clock](MapTier*& tier) {
        auto owned = std::make_unique<MapTier>(sc::TierId::redis, &clock);
        tier = owned.get();
        std::vector<std::unique_ptr<sc::Tier>> tiers;
        tiers.push_back(std::move(owned));
        return std::make_unique<sc::SmartCache<>>(sc::Config{.background_threads = 0, .clock = &clock},
                                                  std::move(tiers));
    };
    MapTier* below = nullptr;
    MapTier* below_other = nullptr;
    const auto cache = make(below);
    const auto other = make(below_other);
    int loads = 0;
    const auto ask = [&] {
        const int value = *cache->get_or_compute("k", sc::owned([&loads] { return ++loads; }),
                                                 {.ttl = 10s, .refresh_ahead = 0.5});
        (void)cache->run_maintenance();
        return value;
    };
    CHECK(ask() == 1);
    clock.advance(5s);
    other->set("k", 100, 10s);
    (void)below_other->peek(sc::physical_key("", "k"),
                            [&](const sc::RecordView& record) { (void)below->write(record, {}); });
    CHECK(ask() == 1);
    CHECK(ask() == 100);
    CHECK(loads == 1);
    clock.advance(6s);
    CHECK(ask() == 100);  // old by now, there as well
    CHECK(ask() == 2);
}

TEST_CASE("a refresh that waits for another process gives nothing stale to who has no grace",
          "[facade][refresh][lock]") {
    sc::FakeClock clock;
    auto owned = std::make_unique<MapTier>(sc::TierId::redis, &clock);
    MapTier* const redis = owned.get();
    std::vector<std::unique_ptr<sc::Tier>> tiers;
    tiers.push_back(std::move(owned));
    sc::SmartCache<> cache({.background_threads = 0, .clock = &clock}, std::move(tiers));
    cache.set("k", 1, {.ttl = 10s, .grace = 1h});
    clock.advance(9s);
    int asked = 0;
    redis->on_lock = [&] {  // another process has it at first, and meanwhile the value expires
        clock.advance(1s);
        return asked++ == 0 ? sc::TierStatus::refused : sc::TierStatus::ok;
    };
    const auto hit = cache.get_or_compute("k", [] { return 2; },
                                          {.ttl = 10s, .refresh_ahead = 0.5, .distributed_lock = true});
    CHECK(*hit == 2);
    CHECK_FALSE(hit.stale());
    CHECK(asked == 2);
}

TEST_CASE("a value found below that is late in its life is refreshed", "[facade][refresh]") {
    sc::FakeClock clock;
    std::vector<std::unique_ptr<sc::Tier>> tiers;
    tiers.push_back(std::make_unique<MapTier>(sc::TierId::disk, &clock));
    sc::SmartCache<> cache({.background_threads = 0, .clock = &clock}, std::move(tiers));
    cache.set("k", 1, 10s);
    clock.advance(9s);
    cache.clear_memory();
    const sc::EntryOptions options{.ttl = 10s, .refresh_ahead = 0.8};
    const auto load = sc::owned([] { return 2; });
    const auto hit = cache.get_or_compute("k", load, options);
    CHECK(*hit == 1);
    CHECK(hit.tier() == sc::TierId::disk);
    (void)cache.run_maintenance();
    CHECK(*cache.get_or_compute("k", load, options) == 2);
}

TEST_CASE("the load's time goes down with the value and comes back with it", "[facade][refresh]") {
    sc::FakeClock clock;
    std::vector<std::unique_ptr<sc::Tier>> tiers;
    tiers.push_back(std::make_unique<MapTier>(sc::TierId::disk, &clock));
    sc::SmartCache<> cache({.background_threads = 0, .clock = &clock}, std::move(tiers));
    (void)cache.get_or_compute(
        "k",
        [&clock] {
            clock.advance(10min);
            return 1;
        },
        1h);
    cache.clear_memory();
    CHECK(*cache.get<int>("k") == 1);
    // 50 min are left, and the load took 10: with beta 1000 a hit stays without refresh once in e^200 times.
    clock.advance(10min);
    CHECK(*cache.get_or_compute("k", [] { return 2; }, {.early_beta = 1000}) == 2);
}

TEST_CASE("an absence is not refreshed, and a refresh that finds nothing ends the value",
          "[facade][refresh]") {
    Stepped world;
    const sc::EntryOptions options{.ttl = 10s, .negative_ttl = 10s, .refresh_ahead = 0.5};
    std::optional<int> there = 1;
    int loads = 0;
    const auto ask = [&] {
        const auto load = [&there, &loads] {
            ++loads;
            return there;
        };
        return world.cache.get_or_compute("k", load, options).value_or(0);
    };
    CHECK(ask() == 1);
    world.clock.advance(6s);
    there.reset();
    CHECK(ask() == 0);
    CHECK(loads == 2);
    world.clock.advance(6s);
    CHECK(ask() == 0);
    CHECK(loads == 2);
    world.clock.advance(4s);
    there = 3;
    CHECK(ask() == 3);
}

TEST_CASE("many threads that meet a value late in its life run one refresh", "[facade][refresh][threads]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    const bool owned = GENERATE(false, true);
    const sc::EntryOptions options{.ttl = 10s, .refresh_ahead = 0.5};
    (void)cache.get_or_compute(
        "k", [] { return 1; }, options);
    clock.advance(6s);
    std::atomic<int> loads{0};
    std::promise<void> release;
    std::shared_future<void> released = release.get_future().share();
    std::atomic<int> old_values{0};
    const auto load = [&loads, released] {
        ++loads;
        released.wait();
        return 2;
    };
    const auto ask = [&] {
        return *(owned ? cache.get_or_compute("k", sc::owned(load), options)
                       : cache.get_or_compute("k", load, options));
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            for (int n = 0; n < 100; ++n)
                if (ask() == 1) ++old_values;
        });
    // Of a plain loader, one thread is in the load until it is released; none waits for it.
    while (old_values < (owned ? 400 : 300)) std::this_thread::yield();
    release.set_value();
    for (std::thread& thread : threads) thread.join();
    while (cache.get<int>("k").value_or(0) != 2) std::this_thread::yield();
    CHECK(loads == 1);
    CHECK(cache.stats().misses == 1);
}

TEST_CASE("a cached function is refreshed with copies of its arguments", "[facade][refresh][cached]") {
    Stepped world;
    std::vector<std::string> seen;
    auto join = sc::cached(world.cache, "join",
                           [&seen](std::string_view a, const std::string& b, const char* c, int n) {
                               seen.push_back(std::string(a) + b + c);
                               return static_cast<int>(seen.size()) * n;
                           },
                           {.ttl = 10s, .refresh_ahead = 0.5});
    const auto call = [&join] {
        const std::string a(100, 'a');
        const std::string b(100, 'b');
        const std::string c(100, 'c');
        return join(a, b, c.c_str(), 10);
    };
    CHECK(call() == 10);
    world.clock.advance(5s);
    CHECK(call() == 10);
    (void)world.cache.run_maintenance();
    CHECK(call() == 20);
    REQUIRE(seen.size() == 2);
    CHECK(seen[0] == seen[1]);
}

TEST_CASE("a cached function may end before its refresh", "[facade][refresh][cached]") {
    Stepped world;
    const auto made = std::make_shared<int>(7);
    {
        const auto get = sc::cached(world.cache, "get", [made](int n) { return *made + n; },
                                    {.ttl = 10s, .refresh_ahead = 0.5});
        CHECK(get(1) == 8);
        world.clock.advance(6s);
        *made = 70;
        CHECK(get(1) == 8);
    }
    CHECK(made.use_count() == 2);
    (void)world.cache.run_maintenance();
    CHECK(made.use_count() == 1);
    const auto get = sc::cached(world.cache, "get", [](int) { return 0; });
    CHECK(get(1) == 71);
}

}  // namespace refresh_test
