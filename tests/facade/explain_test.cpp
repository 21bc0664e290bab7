#include <smartcache/facade/explanation.hpp>

#include <optional>
#include <string>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/facade/smart_cache.hpp>

#include "facade/support/cache_over_maps.hpp"
#include "support/catch.hpp"
#include "support/map_tier.hpp"

namespace explain_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::MapTier;
using State = sc::Explanation::State;

namespace {

struct World : smartcache_test::CacheOverMaps {
    [[nodiscard]] std::vector<State> states(std::string_view key) const {
        std::vector<State> all;
        for (const auto& entry : cache->explain(key).tiers) all.push_back(entry.state);
        return all;
    }
    void change(std::string_view key, void (*how)(sc::RecordView&)) {
        for (MapTier* tier : {redis, disk})
            REQUIRE(smartcache_test::rewrite(*tier, physical(key), how) == sc::TierStatus::ok);
    }
};

}  // namespace

TEST_CASE("explain says which tier answers and how long it will", "[facade][explain]") {
    World world;
    REQUIRE(world.cache->set("k", 1, {.ttl = 10min, .disk_ttl = 1h}));
    world.clock.advance(1min);
    sc::Explanation told = world.cache->explain("k");
    CHECK(told.hit);
    CHECK(told.answers == sc::TierId::memory);
    REQUIRE(told.tiers.size() == 3);
    CHECK(told.tiers[0].ttl == 9min);
    CHECK(told.tiers[1].ttl == 9min);
    CHECK(told.tiers[2].ttl == 59min);
    CHECK(told.tiers[2].age == 1min);
    CHECK(told.tiers[1].bytes == 1);
    CHECK(told.text() == std::string("\"k\": a hit in memory\n") +
                             "  memory: live, age 60000 ms, ttl 540000 ms, " +
                             std::to_string(told.tiers[0].bytes) +
                             " bytes\n"
                             "  redis: live, age 60000 ms, ttl 540000 ms, 1 bytes\n"
                             "  disk: live, age 60000 ms, ttl 3540000 ms, 1 bytes\n");
    world.cache->clear_memory();
    CHECK(world.cache->explain("k").answers == sc::TierId::redis);
    world.clock.advance(9min);
    told = world.cache->explain("k");
    CHECK(told.answers == sc::TierId::disk);
    CHECK(world.cache->get<int>("k").tier() == sc::TierId::disk);
}

TEST_CASE("explain says why a lookup would miss", "[facade][explain]") {
    World world;
    sc::SmartCache<>& cache = *world.cache;
    CHECK(cache.explain("k").reason ==
          "a miss: never stored, or evicted, erased (itself or one of its tags), or expired and gone");
    CHECK(world.states("k") == std::vector<State>{State::absent, State::absent, State::absent});

    REQUIRE(cache.set("k", 1, {.ttl = 1min, .grace = 1h}));
    world.clock.advance(1min);
    CHECK(cache.explain("k").reason == "a miss: expired (itself or one of its tags), and kept for its grace");
    CHECK(world.states("k") == std::vector<State>{State::stale, State::stale, State::stale});
    CHECK_FALSE(cache.explain("k").hit);

    (void)cache.get_or_compute("nothing", [] { return std::optional<int>(); }, {.negative_ttl = 1h});
    CHECK(cache.explain("nothing").reason == "an absence that is remembered in memory");
    CHECK_FALSE(cache.explain("nothing").hit);

    REQUIRE(cache.set("codec", 1));
    cache.clear_memory();
    world.change("codec", [](sc::RecordView& record) { record.codec = 200; });
    CHECK(cache.explain("codec").reason == "a miss: written by another codec");
    REQUIRE(cache.set("schema", 1));
    cache.clear_memory();
    world.change("schema", [](sc::RecordView& record) { record.schema = 99; });
    CHECK(cache.explain("schema").reason == "a miss: stored under another schema_version");

    CHECK(cache.explain(std::string(100'000, 'x')).reason ==
          "never stored: the key is longer than max_key_size");

    world.redis->unavailable = true;
    CHECK(cache.explain("none").reason == "a miss: nothing in the tiers that answer");
    CHECK(world.states("none") == std::vector<State>{State::absent, State::unavailable, State::absent});
}

TEST_CASE("explain changes nothing", "[facade][explain]") {
    World world;
    REQUIRE(world.cache->set("k", 1));
    world.cache->clear_memory();
    world.cache->reset_stats();
    (void)world.cache->explain("k");
    (void)world.cache->explain("none");
    CHECK(world.cache->stats().hits == 0);
    CHECK(world.cache->stats().misses == 0);
    CHECK(world.redis->counted_reads == 0);
    CHECK(world.states("k")[0] == State::absent);  // not promoted
}

}  // namespace explain_test
