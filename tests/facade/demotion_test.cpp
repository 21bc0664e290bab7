#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/facade/smart_cache.hpp>

#include "facade/support/cache_over_maps.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace demotion_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::CacheOverMaps;

namespace {

/// Called when one is encoded, which demotion does outside all locks.
std::function<void()> when_encoded;
struct Observed {
    int number = 0;
    friend void to_json(nlohmann::json& json, const Observed& value) {
        if (when_encoded) when_encoded();
        json = value.number;
    }
    friend void from_json(const nlohmann::json& json, Observed& value) { value.number = json.get<int>(); }
};

/// L1 with room for one entry above a tier that takes what is evicted.
struct World : CacheOverMaps {
    explicit World(const sc::MemoryOptions& memory = {.capacity = 1})
        : CacheOverMaps(sc::TierSet::disk,
                        {.memory = memory, .disk = {.ttl = 1h, .fill = sc::DiskFill::on_evict}}) {}
    /// Makes L1 give up everything it holds.
    void evict() {
        for (int i = 0; i < 8; ++i) cache->set("filler", i, {.write = sc::TierSet::memory});
        for (int i = 0; i < 8; ++i)
            cache->set("filler" + std::to_string(i), i, {.write = sc::TierSet::memory});
    }
};

}  // namespace

TEST_CASE("what is set goes below when L1 evicts it, and not before", "[facade][demotion]") {
    World world;
    CHECK(world.cache->set("k", 7));
    CHECK(world.disk->size() == 0);
    world.evict();
    CHECK(world.disk->size() == 1);
    CHECK(world.cache->stats().demotions == 1);
    const auto hit = world.cache->get<int>("k");
    REQUIRE(hit);
    CHECK(*hit == 7);
    CHECK(hit.tier() == sc::TierId::disk);
}

TEST_CASE("demotion takes along the grace of what lives for ever", "[facade][demotion][grace]") {
    CacheOverMaps world(
        sc::TierSet::disk,
        {.memory = {.capacity = 1}, .disk = {.ttl = sc::Duration::max(), .fill = sc::DiskFill::on_evict}});
    world.cache->set("k", 7, {.ttl = sc::Duration::max(), .grace = 1h});
    for (int i = 0; i < 1000 && world.disk->size() == 0; ++i)
        world.cache->set("filler" + std::to_string(i), i, {.write = sc::TierSet::memory});
    world.cache->clear_memory();
    CHECK(world.cache->expire("k"));
    CHECK_FALSE(world.cache->get<int>("k"));
    CHECK(world.cache->get<int>("k", {.allow_stale = true}).stale());
}

TEST_CASE("demotion takes along what remains of a lifetime, capped by the tier's own",
          "[facade][demotion][I2]") {
    World world;
    world.cache->set("short", "text", {.ttl = 10min});
    world.clock.advance(4min);
    world.evict();
    world.cache->set("long", "text", {.ttl = 48h, .memory_ttl = 48h});
    world.evict();
    CHECK(world.cache->get<std::string>("short").ttl() == 6min);
    CHECK(world.cache->get<std::string>("long").ttl() == 1h);
    world.clock.advance(6min);
    CHECK_FALSE(world.cache->get<std::string>("short"));
}

TEST_CASE("every form of value survives demotion", "[facade][demotion]") {
    World world({.capacity = 1, .compression = true});
    const std::string large(100'000, 'x');
    world.cache->set("object", Observed{5});
    world.cache->set("text", "short");
    world.cache->set("packed", large);
    (void)world.cache->get_or_compute("absent", [] { return std::optional<int>(); }, {.negative_ttl = 1h});
    world.evict();
    CHECK(world.disk->size() == 4);
    CHECK(world.cache->get<Observed>("object")->number == 5);
    CHECK(world.cache->get<std::string>("text").value() == "short");
    CHECK(world.cache->get<std::string>("packed").value() == large);
    int loads = 0;
    const auto absent = [&] {
        ++loads;
        return std::optional<int>(1);
    };
    CHECK_FALSE(world.cache->get_or_compute("absent", absent, {.negative_ttl = 1h}));
    CHECK(loads == 0);
}

TEST_CASE("what may not go below does not", "[facade][demotion]") {
    World world;
    world.cache->set("memory only", sc::memory_only(std::string("v")));
    world.cache->set("other tiers", "v", {.write = sc::TierSet::memory});
    world.cache->set("expired", "v", {.ttl = 1min});
    world.clock.advance(2min);
    world.evict();
    world.cache->set("erased", "v");
    world.cache->erase("erased");
    world.cache->set("cleared", "v");
    world.cache->clear_memory();
    CHECK(world.disk->size() == 0);
}

TEST_CASE("a set takes away what an older value left below", "[facade][demotion][R3]") {
    World world;
    world.cache->set("k", 1);
    world.evict();
    CHECK(world.disk->size() == 1);
    world.cache->set("k", 2);
    CHECK(world.disk->size() == 0);
    world.evict();
    CHECK(*world.cache->get<int>("k") == 2);
    CHECK(world.cache->stats().demotions == 2);
}

TEST_CASE("what is below already is not written again", "[facade][demotion]") {
    World world;
    world.cache->set("k", 1);
    world.evict();
    CHECK(*world.cache->get<int>("k") == 1);  // promoted
    world.evict();
    CHECK(world.cache->stats().demotions == 1);
}

TEST_CASE("what L1 refuses as too heavy goes below at once", "[facade][demotion]") {
    World world({.capacity = 100, .capacity_bytes = 4096});
    const std::string heavy(5000, 'x');
    CHECK(world.cache->set("k", heavy));
    CHECK(world.cache->get<std::string>("k").value() == heavy);
    CHECK(world.cache->stats().demotions == 1);
}

TEST_CASE("whatever an encoder throws, an eviction goes on and is counted", "[facade][demotion]") {
    // What is no std::exception used to leave the call that evicted, and the demotion was never ended.
    World world;
    world.cache->set("k", Observed{1});
    when_encoded = [] { throw 1; };
    CHECK_NOTHROW(world.evict());
    when_encoded = nullptr;
    CHECK(world.cache->stats().encode_errors == 1);
    CHECK_FALSE(world.cache->get<Observed>("k"));
    world.cache->set("k", Observed{2});
    world.evict();
    CHECK(world.cache->get<Observed>("k")->number == 2);
}

TEST_CASE("a change between eviction and demotion wins", "[facade][demotion][R1]") {
    const std::vector<std::function<void(sc::SmartCache<>&)>> changes{
        [](auto& cache) { cache.erase("k"); }, [](auto& cache) { cache.clear(); },
        [](auto& cache) { cache.set("k", 2, {.ttl = 0ms}); }};
    for (const auto& change : changes) {
        World world;
        world.cache->set("k", Observed{1});
        when_encoded = [&] {
            when_encoded = nullptr;
            change(*world.cache);
        };
        world.evict();
        CHECK_FALSE(when_encoded);
        when_encoded = nullptr;
        CHECK(world.disk->size() == 0);
        CHECK_FALSE(world.cache->get<Observed>("k"));
    }
}

TEST_CASE("a tier that fails makes demotion a loss, not an error", "[facade][demotion]") {
    World world;
    world.cache->set("k", 1);
    world.disk->unavailable = true;
    world.evict();
    world.disk->unavailable = false;
    CHECK(world.cache->stats().demotions == 0);
    CHECK_FALSE(world.cache->get<int>("k"));
}

TEST_CASE("demotion reaches the disk tier", "[facade][demotion]") {
    const smartcache_test::TempDir directory;
    sc::SmartCache<> cache(
        {.memory = {.capacity = 4},
         .disk = {.enabled = true, .path = directory.path() / "store", .fill = sc::DiskFill::on_evict}});
    for (int i = 0; i < 100; ++i) cache.set("k" + std::to_string(i), i);
    CHECK(cache.stats().demotions >= 96);
    int found = 0;
    for (int i = 0; i < 100; ++i)
        if (const auto hit = cache.get<int>("k" + std::to_string(i)); hit && *hit == i) ++found;
    CHECK(found == 100);
}

TEST_CASE("under load no erased or overwritten value comes back from below",
          "[facade][demotion][stress][R1]") {
    // Oracle: values of a key only grow; a reader never gets less than what was published before it asked.
    World world({.capacity = 2});
    constexpr int keys = 6;
    constexpr int rounds = 6000;
    std::vector<std::atomic<int>> floor(keys);
    std::atomic<int> violations{0};
    std::atomic<bool> stop{false};
    std::vector<std::thread> readers;
    for (int r = 0; r < 3; ++r)
        readers.emplace_back([&, r] {
            for (int i = r; !stop.load(); ++i) {
                const auto key = static_cast<std::size_t>(i % keys);
                const int least = floor[key].load();
                const auto hit = world.cache->get<int>("k" + std::to_string(key));
                if (hit && *hit < least) violations.fetch_add(1);
            }
        });
    for (int i = 1; i <= rounds; ++i) {
        const int key = i % keys;
        if ((i / keys) % 3 != 0)
            world.cache->set("k" + std::to_string(key), i);
        else
            world.cache->erase("k" + std::to_string(key));
        floor[static_cast<std::size_t>(key)].store(i);
    }
    stop.store(true);
    for (std::thread& reader : readers) reader.join();
    CHECK(violations.load() == 0);
    CHECK(world.cache->stats().demotions > 0);
}

}  // namespace demotion_test
