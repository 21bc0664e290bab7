// What Redis keeps of what was told, for caches whose disks outlive the time in which they hear (R12).

#include <smartcache/facade/smart_cache.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/redis_server.hpp"
#include "support/temp_dir.hpp"

namespace history_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using sc::test::RedisServer;
using smartcache_test::eventually;
using smartcache_test::TempDir;

namespace {

const std::string stream = "sc:{invalidations}:0:0:";

sc::Config config_for(const std::string& url) {
    return {.redis = {.enabled = true, .url = url, .connect_timeout = 30s, .timeout = 30s, .lease = 30s}};
}

sc::CoherenceStats coherence(const sc::SmartCache<>& cache) {
    return cache.stats().redis.coherence;
}

/// One cache has a disk, and is away at times; another one has none, and is there.
struct World {
    RedisServer server;
    TempDir dir;
    sc::SmartCache<> other{config_for(server.url())};

    /// It hears, and writes how far it has heard, when it is maintained.
    [[nodiscard]] sc::Config config() const {
        sc::Config config = config_for(server.url());
        config.redis.coherence = sc::Coherence::publish;
        config.background_threads = 0;
        config.disk = {.enabled = true, .path = dir / "store"};
        return config;
    }
    /// Sets keys in a cache with the disk, which then ends.
    void fill(const std::vector<std::string>& keys) {
        sc::SmartCache<> cache(config());
        for (const std::string& key : keys) REQUIRE(cache.set(key, 1, {.tags = {"of " + key}}));
        keep_position(cache);
        CHECK(cache.stats().disk.sets == keys.size());
        CHECK(cache.stats().disk.entries == keys.size());
    }
    static void keep_position(sc::SmartCache<>& cache) {
        const std::uint64_t before = coherence(cache).positions;
        REQUIRE(eventually([&] {
            cache.run_maintenance();
            return coherence(cache).positions > before;
        }));
    }
    /// As Redis does when it needs room: nobody is told.
    void evict(const std::string& key) { REQUIRE(server.command({"DEL", "sc:0::" + key}).integer == 1); }
};

bool on_disk(sc::SmartCache<>& cache, const std::string& key) {
    const auto found = cache.get<int>(key);
    return found && found.tier() == sc::TierId::disk;
}

}  // namespace

TEST_CASE("what a disk has outlives the process, but for what others have changed meanwhile",
          "[coherence][disk][r12]") {
    World world;
    world.fill({"kept", "set", "erased", "tagged"});
    REQUIRE(world.other.set("set", 2));
    REQUIRE(world.other.erase("erased"));
    world.other.erase_tag("of tagged");
    for (const char* const key : {"kept", "set", "erased", "tagged"}) world.evict(key);

    sc::SmartCache<> back(world.config());
    CHECK(coherence(back).hears);
    CHECK(coherence(back).resumed == 1);
    CHECK(coherence(back).gaps == 0);
    CHECK(on_disk(back, "kept"));
    CHECK_FALSE(back.get<int>("set"));
    CHECK_FALSE(back.get<int>("erased"));
    CHECK_FALSE(back.get<int>("tagged"));
}

TEST_CASE("a batch of many keys is told in full to who was away", "[coherence][disk][batch][r12]") {
    World world;
    std::vector<std::string> keys;
    std::vector<std::pair<std::string, int>> pairs;
    for (int i = 0; i < 200; ++i) {
        keys.push_back("key:" + std::to_string(i));
        pairs.emplace_back(keys.back(), 2);
    }
    world.fill(keys);
    const long long before = world.server.command({"XLEN", stream}).integer;
    REQUIRE(world.other.set_many(pairs) == 200);
    CHECK(world.server.command({"XLEN", stream}).integer > before + 1);
    for (const std::string& key : keys) world.evict(key);
    sc::SmartCache<> back(world.config());
    CHECK(coherence(back).resumed == 1);
    for (const std::string& key : keys) CHECK_FALSE(back.get<int>(key));
}

TEST_CASE("a clear reaches the disk of a cache that was away", "[coherence][disk][r12][r17]") {
    World world;
    world.fill({"k"});
    world.other.clear();
    (void)world.server.command({"DEL", "sc:0::k"});
    sc::SmartCache<> back(world.config());
    CHECK(coherence(back).resumed == 1);
    CHECK_FALSE(back.get<int>("k"));
}

TEST_CASE("where the history has a hole nothing from before counts", "[coherence][disk][r12]") {
    World world;
    world.fill({"k"});
    SECTION("it was lost") {
        REQUIRE(world.server.command({"DEL", stream}).integer == 1);
    }
    SECTION("it was lost, and goes on") {
        REQUIRE(world.server.command({"DEL", stream}).integer == 1);
        REQUIRE(world.server.command({"XADD", stream, "*", "m", "SCi1"}).kind ==
                sc::test::RedisAnswer::Kind::text);
    }
    SECTION("there was too much") {
        REQUIRE(world.other.set("another", 1));
        REQUIRE(world.server.command({"XTRIM", stream, "MAXLEN", "1"}).integer > 0);
    }
    SECTION("somebody may change, but not tell those that are away") {
        (void)world.server.command({"ACL", "SETUSER", "u", "on", ">pw", "~*", "&*", "+@all", "-xadd"});
        sc::SmartCache<> mute(config_for("redis://u:pw@127.0.0.1:" + std::to_string(world.server.port())));
        REQUIRE(mute.set("another", 1));
        CHECK(world.server.command({"EXISTS", stream}).integer == 0);
        REQUIRE(mute.erase("another"));
        REQUIRE(mute.increment("count") == 1);
    }
    SECTION("the server was full") {
        REQUIRE(world.other.set("another", 1));
        REQUIRE(world.server.command({"CONFIG", "SET", "maxmemory", "1"}).text == "OK");
        REQUIRE(world.other.erase("another"));
        CHECK(world.server.command({"EXISTS", stream}).integer == 0);
        REQUIRE(world.server.command({"CONFIG", "SET", "maxmemory", "0"}).text == "OK");
    }
    world.evict("k");
    sc::SmartCache<> back(world.config());
    CHECK(coherence(back).hears);
    CHECK(coherence(back).gaps == 1);
    CHECK_FALSE(back.get<int>("k"));
}

TEST_CASE("a server that has lost everything has lost the history, too", "[coherence][disk][r12]") {
    World world;
    world.fill({"k"});
    world.server.kill();
    world.server.start();
    sc::SmartCache<> back(world.config());
    CHECK(coherence(back).gaps == 1);
    CHECK_FALSE(back.get<int>("k"));
}

TEST_CASE("who only lost the connection is told what it has missed", "[coherence][disk][r12]") {
    World world;
    sc::SmartCache<> cache(world.config());
    REQUIRE(cache.set("kept", 1));
    REQUIRE(cache.set("changed", 1));
    World::keep_position(cache);
    REQUIRE(world.server.command({"CLIENT", "KILL", "TYPE", "pubsub"}).integer > 0);
    REQUIRE(eventually([&] {
        cache.run_maintenance();
        return !coherence(cache).hears || coherence(cache).resumed == 1;
    }));
    REQUIRE(world.other.set("changed", 2));
    REQUIRE(eventually([&] {
        cache.run_maintenance();
        return coherence(cache).hears && coherence(cache).resumed > 0;
    }));
    CHECK(coherence(cache).gaps == 1);  // the first
    CHECK(cache.try_get<int>("kept"));
    CHECK(eventually([&] {
        cache.run_maintenance();
        return !cache.try_get<int>("changed");
    }));
    world.evict("kept");
    cache.clear_memory();
    CHECK(on_disk(cache, "kept"));
    CHECK(cache.get<int>("changed").value_or(-1) == 2);
}

TEST_CASE("without a disk nobody makes a history", "[coherence][r12]") {
    RedisServer server;
    sc::SmartCache<> cache(config_for(server.url()));
    REQUIRE(cache.set("k", 1));
    REQUIRE(cache.erase("k"));
    CHECK(server.command({"EXISTS", stream}).integer == 0);
}

}  // namespace history_test
