#include <smartcache/facade/smart_cache.hpp>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/testing.hpp>

#include "facade/support/cache_over_maps.hpp"
#include "support/catch.hpp"

namespace lifetimes_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::CacheOverMaps;

namespace {

struct World : CacheOverMaps {
    explicit World(sc::Config config = {}) : CacheOverMaps(sc::TierSet::disk, std::move(config)) {}
};

}  // namespace

TEST_CASE("an entry expires exactly at its TTL and counts as expired, not evicted", "[facade][ttl]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    cache.set("k", 1, {.ttl = 10s});
    clock.advance(9'999ms);
    CHECK(cache.get<int>("k"));
    clock.advance(1ms);
    CHECK_FALSE(cache.get<int>("k"));
    CHECK_FALSE(cache.exists("k"));
    CHECK(cache.stats().expirations == 1);
    CHECK(cache.stats().evictions == 0);
}

TEST_CASE("what is written below between the call and the look is there, whatever time the call began",
          "[facade][R26]") {
    World world;
    sc::SmartCache<>& cache = *world.cache;
    REQUIRE(cache.set("k", 1, {.write = sc::TierSet::disk}));
    world.disk->before_look = [&] {  // another process writes the same value again
        world.clock.advance(1ms);
        REQUIRE(rewrite(*world.disk, world.physical("k"), [&](sc::RecordView& record) {
                    record.created = world.clock.wall();
                }) == sc::TierStatus::ok);
    };
    CHECK(cache.exists("k"));
    CHECK(cache.touch("k", 2h));
    CHECK(cache.peek<int>("k"));
    CHECK(cache.get_many<int>(std::vector<std::string>{"k"})[0]);
    cache.clear_memory();
    CHECK(cache.get<int>("k").age() == 0ms);
}

TEST_CASE("without a TTL of its own an entry lives as long as each tier says", "[facade][ttl]") {
    World world({.memory = {.ttl = 1min}, .disk = {.ttl = 1h}});
    world.cache->set("k", 1);
    world.clock.advance(1min);
    CHECK(world.cache->get<int>("k").tier() == sc::TierId::disk);
    world.clock.advance(59min);
    CHECK_FALSE(world.cache->get<int>("k"));
}

TEST_CASE("an explicit TTL goes to every tier and is never renewed by promotion", "[facade][ttl][I2]") {
    World world({.memory = {.ttl = 1min}});
    world.cache->set("k", 1, {.ttl = 2h, .memory_ttl = 1s});
    for (int step = 0; step < 119; ++step) {
        world.clock.advance(1min);
        REQUIRE(world.cache->get<int>("k"));
    }
    CHECK(world.cache->get<int>("k").ttl() <= 1min);
    world.clock.advance(1min);
    CHECK_FALSE(world.cache->get<int>("k"));
}

TEST_CASE("a copy in memory keeps the lifetime, idle time and weight that its writer gave it",
          "[facade][ttl][promotion]") {
    World world({.memory = {.capacity_bytes = 100'000}});
    world.cache->set("ttl", 1, {.ttl = 1h, .memory_ttl = 10s});
    world.cache->set("none", 1, {.ttl = 1h, .memory_ttl = 0s});
    world.cache->set("idle", 1, {.ttl = 1h, .idle = 5s});
    world.cache->set("heavy", 1, {.ttl = 1h, .weight = 400'000});
    for (const char* key : {"ttl", "none", "idle", "heavy"}) REQUIRE(world.cache->get<int>(key));

    world.cache->clear_memory();
    for (const char* key : {"ttl", "none", "idle", "heavy"}) {
        INFO(key);
        const auto hit = world.cache->get<int>(key);
        CHECK(hit.tier() == sc::TierId::disk);
        CHECK_FALSE(hit.stale());
    }
    CHECK(world.cache->get<int>("ttl").tier() == sc::TierId::memory);
    CHECK(world.cache->get<int>("none").tier() == sc::TierId::disk);
    CHECK(world.cache->get<int>("heavy").tier() == sc::TierId::disk);  // more than memory holds
    world.clock.advance(5s);
    CHECK(world.cache->get<int>("idle").tier() == sc::TierId::disk);
    CHECK(world.cache->get<int>("ttl").tier() == sc::TierId::memory);
    world.clock.advance(5s);
    CHECK(world.cache->get<int>("ttl").tier() == sc::TierId::disk);
}

TEST_CASE("a stale value is given out only where nothing fresh is", "[facade][grace]") {
    World world;
    world.cache->set("k", 1, {.ttl = 1h, .memory_ttl = 1s, .grace = 1h});
    world.clock.advance(2s);
    const auto peeked = world.cache->peek<int>("k");
    CHECK(peeked.tier() == sc::TierId::disk);
    CHECK_FALSE(peeked.stale());
    const auto hit = world.cache->get<int>("k", {.allow_stale = true});
    CHECK(hit.tier() == sc::TierId::disk);
    CHECK_FALSE(hit.stale());
    world.clock.advance(1h);
    CHECK_FALSE(world.cache->get<int>("k"));
    CHECK(world.cache->get<int>("k", {.allow_stale = true}).stale());
    CHECK(world.cache->stats().stale_served == 1);
}

TEST_CASE("a value that no copy is made of has its whole lifetime", "[facade][ttl]") {
    World world({.memory = {.enabled = false, .ttl = 1min}});
    world.cache->set("k", 1, {.ttl = sc::Duration::max()});
    CHECK(world.cache->get<int>("k").ttl() == sc::Duration::max());
}

TEST_CASE("a promotion may keep its copy longer than the tier's own lifetime", "[facade][ttl][promotion]") {
    World world({.memory = {.ttl = 1min}});
    world.cache->set("k", 1, {.ttl = 24h, .write = sc::TierSet::disk});
    CHECK(*world.cache->get_or_compute("k", [] { return 2; }, {.memory_ttl = 10h}) == 1);
    world.clock.advance(9h);
    CHECK(world.cache->get<int>("k").tier() == sc::TierId::memory);
}

TEST_CASE("idle time has no upper bound, and idleness no end", "[facade][idle]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{
        {.memory = {.ttl = sc::Duration::max()}, .background_threads = 0, .clock = &clock}};
    cache.set("short", 1, {.idle = 5s});
    cache.set("long", 1, {.idle = 24h * 60});
    cache.set("for ever", 1, {.idle = sc::Duration::max()});
    clock.advance(24h * 30);
    CHECK_FALSE(cache.get<int>("short"));
    clock.advance(24h * 29);
    CHECK(cache.get<int>("long"));
    clock.advance(24h * 59);
    CHECK(cache.exists("long"));
    clock.advance(24h);
    CHECK(cache.run_maintenance() == 1);
    CHECK_FALSE(cache.exists("long"));
    CHECK(cache.get<int>("for ever"));
}

TEST_CASE("a copy in a tier between keeps the lifetime that its writer gave it there",
          "[facade][ttl][promotion]") {
    CacheOverMaps world;
    sc::SmartCache<>& cache = *world.cache;
    cache.set("short", 1, {.ttl = 1h, .redis_ttl = 10s});
    cache.set("none", 1, {.ttl = 1h, .redis_ttl = 0s});
    CHECK_FALSE(world.redis->holds("0::none"));
    cache.clear_memory();
    (void)world.redis->clear("");
    CHECK(cache.get<int>("short").tier() == sc::TierId::disk);
    CHECK(cache.get<int>("none").tier() == sc::TierId::disk);
    CHECK_FALSE(world.redis->holds("0::none"));
    CHECK(sc::parse_record(world.redis->bytes("0::short")).record.expires == world.clock.wall() + 10s);
}

TEST_CASE("a call's own lifetime, idle time and weight hold for the copy that it promotes",
          "[facade][ttl][promotion]") {
    World world({.memory = {.capacity_bytes = 100'000}});
    const auto promote = [&](const char* key, const sc::EntryOptions& options) {
        world.cache->set(key, 1, {.ttl = 1h, .write = sc::TierSet::disk});
        CHECK(*world.cache->get_or_compute(
                  key, [] { return 2; }, options) == 1);
    };
    promote("ttl", {.memory_ttl = 10s});
    promote("none", {.memory_ttl = 0s});
    promote("idle", {.idle = 5s});
    promote("heavy", {.weight = 400'000});
    CHECK(world.cache->get<int>("heavy").tier() == sc::TierId::disk);  // more than memory holds
    CHECK(world.cache->get<int>("none").tier() == sc::TierId::disk);
    world.clock.advance(5s);
    CHECK(world.cache->get<int>("idle").tier() == sc::TierId::disk);
    CHECK(world.cache->get<int>("ttl").tier() == sc::TierId::memory);
    world.clock.advance(5s);
    CHECK(world.cache->get<int>("ttl").tier() == sc::TierId::disk);
}

TEST_CASE("age counts from when the value was stored, through promotion too", "[facade][ttl]") {
    World world;
    world.cache->set("k", 1, {.ttl = 1h, .write = sc::TierSet::disk});
    world.clock.advance(10min);
    const auto hit = world.cache->get<int>("k");
    CHECK(hit.tier() == sc::TierId::disk);
    CHECK(hit.age() == 10min);
    CHECK(hit.ttl() == 50min);
    CHECK(world.cache->get<int>("k").age() == 10min);
}

TEST_CASE("a TTL of zero keeps nothing and erases what was there", "[facade][ttl][R3]") {
    World world;
    world.cache->set("k", 1);
    CHECK_FALSE(world.cache->set("k", 2, {.ttl = 0ms}));
    CHECK_FALSE(world.cache->get<int>("k"));
    CHECK_FALSE(world.disk->holds("0::k"));
    CHECK_FALSE(world.cache->set("k", 2, -1s));
    CHECK(*world.cache->get_or_compute("k", [] { return 5; }, {.ttl = 0ms}) == 5);
    CHECK_FALSE(world.cache->exists("k"));
}

TEST_CASE("a lifetime of max() is for ever", "[facade][ttl]") {
    World world;
    world.cache->set("k", 1, {.ttl = sc::Duration::max()});
    world.clock.advance(24h * 365 * 100);
    const auto hit = world.cache->get<int>("k");
    REQUIRE(hit);
    CHECK(hit.ttl() == sc::Duration::max());
    CHECK(sc::parse_record(world.disk->bytes("0::k")).record.expires == sc::WallTime::max());
}

TEST_CASE("an idle entry expires although its lifetime is not over, a read one does not", "[facade][idle]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    cache.set("read", 1, {.ttl = 1h, .idle = 10s});
    cache.set("left", 1, {.ttl = 1h, .idle = 10s});
    for (int step = 0; step < 5; ++step) {
        clock.advance(9s);
        CHECK(cache.get<int>("read"));
    }
    CHECK_FALSE(cache.get<int>("left"));
    clock.advance(10s);
    CHECK_FALSE(cache.get<int>("read"));
}

TEST_CASE("jitter only ever shortens, within what was asked", "[facade][ttl]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    bool differ = false;
    sc::Duration first{};
    for (int i = 0; i < 50; ++i) {
        const std::string key = "k" + std::to_string(i);
        cache.set(key, i, {.ttl = 100s, .jitter = 10s});
        const sc::Duration ttl = cache.get<int>(key).ttl();
        CHECK(ttl > 90s);
        CHECK(ttl <= 100s);
        if (i == 0) first = ttl;
        differ = differ || ttl != first;
    }
    CHECK(differ);
    cache.set("f", 1, {.ttl = 100s, .jitter = 0.5});
    CHECK(cache.get<int>("f").ttl() > 50s - 1ms);
    // One too long for milliseconds used to overflow.
    cache.set("any", 1, {.ttl = 100s, .jitter = std::chrono::hours::max()});
    CHECK(cache.get<int>("any").ttl() <= 100s);
    CHECK_THROWS_AS(cache.set("none", 1, {.jitter = std::chrono::hours::min()}), sc::ConfigError);
}

TEST_CASE("touch gives the value another lifetime in every tier, and nothing else", "[facade][touch][R4]") {
    World world;
    world.cache->set("k", 1, {.ttl = 1min});
    CHECK(world.cache->touch("k", 1h));
    world.clock.advance(59min);
    CHECK(*world.cache->get<int>("k") == 1);
    world.cache->set("other", 2);
    CHECK(world.cache->touch("k", 1s));
    world.clock.advance(1s);
    CHECK_FALSE(world.cache->get<int>("k"));
    CHECK_FALSE(world.cache->touch("k", 1h));
    CHECK_FALSE(world.cache->touch("never", 1h));
}

TEST_CASE("touch reaches a value that is only below", "[facade][touch]") {
    World world;
    world.cache->set("k", 1, {.ttl = 1min, .write = sc::TierSet::disk});
    CHECK(world.cache->touch("k", 1h));
    world.clock.advance(30min);
    CHECK(world.cache->get<int>("k").tier() == sc::TierId::disk);
    CHECK(world.cache->get<int>("k").ttl() == 30min);
}

TEST_CASE("an expired value is kept for its grace: not served, unless asked for", "[facade][grace]") {
    World world;
    world.cache->set("k", 1, {.ttl = 1min, .grace = 1h});
    CHECK(world.cache->expire("k"));
    CHECK_FALSE(world.cache->get<int>("k"));
    CHECK_FALSE(world.cache->exists("k"));
    const auto stale = world.cache->get<int>("k", {.allow_stale = true});
    REQUIRE(stale);
    CHECK(stale.stale());
    CHECK(world.cache->stats().stale_served == 1);
    world.clock.advance(2h);
    CHECK_FALSE(world.cache->get<int>("k", {.allow_stale = true}));
    CHECK_FALSE(world.cache->expire("k"));
}

TEST_CASE("maintenance sweeps what nobody asks for any more", "[facade][maintenance]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.background_threads = 0, .clock = &clock}};
    for (int i = 0; i < 100; ++i) cache.set("k" + std::to_string(i), i, {.ttl = i < 60 ? 1s : 1h});
    CHECK(cache.stats().size == 100);
    clock.advance(2s);
    CHECK(cache.run_maintenance() == 60);
    CHECK(cache.stats().size == 40);
    CHECK(cache.stats().expirations == 60);
}

TEST_CASE("a record written by a clock that is ahead is not served", "[facade][R26]") {
    World world;
    world.cache->set("k", 1, {.ttl = 1h, .write = sc::TierSet::disk});
    world.clock.set_wall(world.clock.wall() - 10min);
    CHECK_FALSE(world.cache->get<int>("k"));
}

// It used to be kept until its old expiry, and one without an expiry for ever.
TEST_CASE("expire ends a value that has no grace, in every tier", "[facade][ttl][grace]") {
    World world;
    world.cache->set("hour", 1, 1h);
    world.cache->set("ever", 1, {.ttl = sc::Duration::max()});
    world.cache->set("graced", 1, {.ttl = 1h, .grace = 1h});
    for (const char* key : {"hour", "ever", "graced"}) CHECK(world.cache->expire(key));
    for (const bool memory_cleared : {false, true}) {
        if (memory_cleared) world.cache->clear_memory();
        CHECK_FALSE(world.cache->get<int>("hour", {.allow_stale = true}));
        CHECK_FALSE(world.cache->get<int>("ever", {.allow_stale = true}));
        CHECK(world.cache->get<int>("graced", {.allow_stale = true}).stale());
    }
    world.clock.advance(1h);
    CHECK_FALSE(world.cache->get<int>("graced", {.allow_stale = true}));
}

TEST_CASE("what lives for ever keeps its grace for when it is made stale", "[facade][ttl][grace]") {
    World world;
    sc::SmartCache<>& cache = *world.cache;
    cache.set("k", 1, {.ttl = sc::Duration::max(), .grace = 1h});
    cache.set("touched", 1, {.ttl = 1min, .grace = 1h});
    CHECK(cache.touch("touched", sc::Duration::max()));
    cache.set("both", 1, {.ttl = sc::Duration::max(), .grace = sc::Duration::max()});
    cache.set("changed", 0, {.ttl = sc::Duration::max(), .grace = 1h});
    CHECK(cache.increment("changed") == 1);
    CHECK(cache.get<int>("k").ttl() == sc::Duration::max());
    const bool from_below = GENERATE(false, true);
    if (from_below) cache.clear_memory();
    world.clock.advance(std::chrono::hours(24 * 365 * 50));
    for (const char* key : {"k", "touched", "both", "changed"}) {
        INFO(key);
        for (const auto& tier : cache.explain(key).tiers)
            if (tier.state == sc::Explanation::State::live) CHECK(tier.ttl == sc::Duration::max());
        const auto hit = cache.get<int>(key);
        REQUIRE(hit);
        if (hit.tier() != sc::TierId::memory)
            CHECK(hit.ttl() == cache.config().memory.ttl);  // of its copy there
        CHECK(cache.expire(key));
        if (from_below) cache.clear_memory();
        CHECK_FALSE(cache.get<int>(key));
        CHECK(cache.get<int>(key, {.allow_stale = true}).stale());
        CHECK(*cache.get_or_compute(key, []() -> int { throw std::runtime_error("origin"); },
                                    {.grace = 1h}) == 1);
    }
    world.clock.advance(1h);
    CHECK_FALSE(cache.get<int>("k", {.allow_stale = true}));
    CHECK(cache.get<int>("both", {.allow_stale = true}));
}

TEST_CASE("a lifetime too long for milliseconds is for ever", "[facade][ttl]") {
    World world;
    CHECK(world.cache->set("k", 1, std::chrono::hours::max()));
    CHECK(world.cache->get<int>("k").ttl() == sc::Duration::max());
    CHECK(*world.cache->get_or_compute(
              "l", [] { return 2; }, std::chrono::hours::max()) == 2);
    CHECK(world.cache->get<int>("l").ttl() == sc::Duration::max());
}

}  // namespace lifetimes_test
