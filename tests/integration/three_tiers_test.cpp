// The three real tiers together: memory, a redis-server of the test's own, a directory of its own.

#include <smartcache/facade/smart_cache.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <smartcache/codec/json.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/fork.hpp"
#include "support/redis_server.hpp"
#include "support/temp_dir.hpp"

namespace three_tiers_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::eventually;

namespace {

/// Each cache knows the server's clock but for the time that the answer took.
constexpr auto longest_trip = 1min;

sc::Config config_for(const std::string& url, const smartcache_test::TempDir& dir) {
    // Deadlines and a lease that a busy machine can keep: these tests are about what happens, not how quickly. Whoever loses
    // its lease forgets what it has in memory, and does not believe its disk.
    return {.redis = {.enabled = true, .url = url, .connect_timeout = 30s, .timeout = 30s, .lease = 30s},
            .disk = {.enabled = true, .path = dir / "store"}};
}

/// Calls that are expected to time out do so soon; what else is asked must bear being asked again.
sc::Config impatient(const std::string& url, const smartcache_test::TempDir& dir) {
    sc::Config config = config_for(url, dir);
    config.redis.timeout = 200ms;
    config.redis.breaker = {.failures = 1000, .open_for = 10ms};
    return config;
}

}  // namespace

TEST_CASE("a value goes through all three tiers and is found in each", "[integration]") {
    sc::test::RedisServer server;
    const smartcache_test::TempDir dir;
    const sc::Config config = config_for(server.url(), dir);
    sc::SmartCache<> cache(config);
    REQUIRE(cache.health_check().ok());
    REQUIRE(cache.set("k", std::vector<int>{1, 2, 3}, {.ttl = 1h}));
    CHECK(cache.get<std::vector<int>>("k").tier() == sc::TierId::memory);
    cache.clear_memory();
    CHECK(cache.get<std::vector<int>>("k").tier() == sc::TierId::redis);
    cache.clear_memory();
    CHECK(cache.get<std::vector<int>>("k", {.tiers = sc::TierSet::disk}).tier() == sc::TierId::disk);
    CHECK(cache.erase("k"));
    CHECK_FALSE(cache.exists("k"));
}

TEST_CASE("when Redis has lost everything the disk answers and fills it again", "[integration][promotion]") {
    sc::test::RedisServer server;
    const smartcache_test::TempDir dir;
    sc::Config config = config_for(server.url(), dir);
    config.redis.coherence = sc::Coherence::off;  // else it might have been changed unheard (R12)
    sc::SmartCache<> cache(config);
    REQUIRE(cache.set("k", std::string("kept"), {.ttl = 1h}));
    server.kill();
    server.start();
    cache.clear_memory();
    // The first commands may still meet the connection that died with the server.
    REQUIRE(eventually([&] { return cache.health_check().redis; }));
    CHECK(cache.get<std::string>("k").tier() == sc::TierId::disk);
    cache.clear_memory();
    const auto again = cache.get<std::string>("k");
    REQUIRE(again);
    CHECK(*again == "kept");
    CHECK(again.ttl() <= 1h + longest_trip);
}

TEST_CASE("two caches share values through Redis, and a clear by one is seen by the other below memory",
          "[integration]") {
    sc::test::RedisServer server;
    const smartcache_test::TempDir one_dir;
    const smartcache_test::TempDir two_dir;
    sc::SmartCache<> one(config_for(server.url(), one_dir));
    sc::SmartCache<> two(config_for(server.url(), two_dir));
    REQUIRE(one.set("k", 1));
    CHECK(two.get<int>("k", {.tiers = sc::TierSet::redis}).tier() == sc::TierId::redis);
    one.clear();
    CHECK_FALSE(two.get<int>("k", {.tiers = sc::TierSet::redis}));
    REQUIRE(one.set("k", 2));
    CHECK(two.get<int>("k", {.tiers = sc::TierSet::redis}).value_or(-1) == 2);
}

TEST_CASE("namespaces on one server do not touch each other", "[integration]") {
    sc::test::RedisServer server;
    const smartcache_test::TempDir one_dir;
    const smartcache_test::TempDir two_dir;
    sc::Config first = config_for(server.url(), one_dir);
    first.key_prefix = "a";
    sc::Config second = config_for(server.url(), two_dir);
    second.key_prefix = "b";
    sc::SmartCache<> one(first);
    sc::SmartCache<> two(second);
    REQUIRE(one.set("k", 1));
    REQUIRE(two.set("k", 2));
    one.clear();
    two.clear_memory();
    CHECK(two.get<int>("k", {.tiers = sc::TierSet::redis}).value_or(-1) == 2);
}

TEST_CASE("a set that Redis missed never shows its older value again", "[integration][R3]") {
    sc::test::RedisServer server;
    const smartcache_test::TempDir dir;
    sc::SmartCache<> cache(impatient(server.url(), dir));
    REQUIRE(eventually([&] { return cache.set("k", 1, {.write = sc::TierSet::redis}); }));
    server.pause();
    CHECK(cache.set("k", 2));  // memory and disk take it, Redis does not answer
    server.resume();
    cache.clear_memory();
    for (int i = 0; i < 20; ++i) {
        const auto hit = cache.get<int>("k", {.tiers = sc::TierSet::redis});
        if (hit) CHECK(*hit == 2);
    }
    CHECK(cache.get<int>("k").value_or(-1) == 2);
}

TEST_CASE("a server that is back is found by the cache itself, however long no caller may ask it",
          "[integration][breaker][R11]") {
    sc::test::RedisServer server;
    const smartcache_test::TempDir dir;
    sc::Config config = config_for(server.url(), dir);
    config.redis.breaker = {.failures = 1, .open_for = 24h};
    sc::SmartCache<> cache(config);
    for (int i = 0; i < 2; ++i) {
        REQUIRE(cache.set("k", i));
        server.kill();
        (void)cache.get<int>("another");
        CHECK(cache.stats().redis.breaker != sc::BreakerState::closed);
        server.start();
        CHECK(eventually([&] { return cache.stats().redis.breaker == sc::BreakerState::closed; }));
    }
}

TEST_CASE("batches reach every tier", "[integration][batch]") {
    sc::test::RedisServer server;
    const smartcache_test::TempDir dir;
    sc::SmartCache<> cache(config_for(server.url(), dir));
    std::vector<std::pair<std::string, int>> pairs;
    std::vector<std::string> keys;
    for (int i = 0; i < 1000; ++i) {
        pairs.emplace_back("k" + std::to_string(i), i);
        keys.push_back(pairs.back().first);
    }
    CHECK(cache.set_many(pairs) == 1000);
    cache.clear_memory();
    const auto found = cache.get_many<int>(keys);
    for (int i = 0; i < 1000; ++i) {
        REQUIRE(found[static_cast<std::size_t>(i)]);
        REQUIRE(*found[static_cast<std::size_t>(i)] == i);
    }
    CHECK(found[7].tier() == sc::TierId::redis);
    CHECK(cache.erase_many(keys) == 1000);
    CHECK_FALSE(cache.exists("k7"));
}

TEST_CASE("what several caches count on one server is all there", "[integration][atomics]") {
    sc::test::RedisServer server;
    const smartcache_test::TempDir one_dir;
    const smartcache_test::TempDir two_dir;
    sc::SmartCache<> one(config_for(server.url(), one_dir));
    sc::SmartCache<> two(config_for(server.url(), two_dir));
    constexpr int rounds = 200;
    std::atomic<int> takes{0};
    std::atomic<int> wins{0};
    std::vector<std::thread> workers;
    for (sc::SmartCache<>* cache : {&one, &two, &one, &two})
        workers.emplace_back([&, cache] {
            for (int i = 0; i < rounds; ++i) {
                (void)cache->increment("count", 1, {.ttl = 1h});
                (void)cache->update<int>("sum", [](std::optional<int> old) { return old.value_or(0) + 1; });
                if (cache->set_if_absent("token", i)) ++wins;
                if (cache->take<int>("token")) ++takes;
            }
        });
    for (std::thread& worker : workers) worker.join();
    CHECK(one.increment("count", 0) == 4 * rounds);
    CHECK(two.increment("count", 0) == 4 * rounds);
    CHECK(one.get<int>("sum", {.tiers = sc::TierSet::redis}).value_or(-1) == 4 * rounds);
    CHECK(wins == takes + (one.get<int>("token", {.tiers = sc::TierSet::redis}) ? 1 : 0));
    CHECK(two.get<int>("count").ttl() <= 1h + longest_trip);
}

TEST_CASE("a count that Redis did not answer is told, and never doubled", "[integration][atomics][R10]") {
    sc::test::RedisServer server;
    const smartcache_test::TempDir dir;
    sc::SmartCache<> cache(impatient(server.url(), dir));
    REQUIRE(eventually([&] {
        if (cache.increment("count") == 1) return true;
        cache.erase("count");
        return false;
    }));
    server.pause();
    CHECK_FALSE(cache.increment("count"));
    CHECK_FALSE(cache.set_if_absent("new", 1));
    CHECK_FALSE(cache.take<int>("count"));
    server.resume();
    REQUIRE(eventually([&] { return cache.health_check().redis; }));
    // It was never sent (the look was not answered), or it was dropped: it cannot be two counts.
    const std::optional<std::int64_t> next = cache.increment("count");
    if (next) CHECK(*next <= 2);
}

TEST_CASE(
    "a child process goes on with memory and Redis, and ends without waiting for threads it does not have",
    "[integration][fork][R33]") {
    sc::test::RedisServer server;
    const smartcache_test::TempDir dir;
    auto cache = std::make_unique<sc::SmartCache<>>(config_for(server.url(), dir));
    REQUIRE(cache->set("k", 1));
    CHECK(smartcache_test::in_child([&] {
        bool good = cache->get<int>("k").value_or(-1) == 1 && cache->set("k", 2);
        cache->clear_memory();
        const auto hit = cache->get<int>("k");
        good = good && hit.value_or(-1) == 2 && hit.tier() == sc::TierId::redis;
        const sc::Health health = cache->health_check();
        good = good && health.redis && !health.disk;
        cache.reset();
        return good;
    }));
    cache->clear_memory();
    CHECK(cache->get<int>("k", {.tiers = sc::TierSet::redis}).value_or(-1) == 2);
    CHECK(cache->health_check().ok());
}

TEST_CASE("while Redis is down an update goes on among the threads of this process",
          "[integration][atomics][R10]") {
    sc::test::RedisServer server;
    const smartcache_test::TempDir dir;
    sc::SmartCache<> cache(config_for(server.url(), dir));
    const auto add_one = [](std::optional<int> old) { return old.value_or(0) + 1; };
    REQUIRE(cache.set("k", 5));
    server.kill();
    for (int i = 6; i < 10; ++i) {
        CHECK(cache.update<int>("k", add_one));
        CHECK(cache.get<int>("k").value_or(-1) == i);
    }
    CHECK_FALSE(cache.increment("k"));
    CHECK(cache.get<int>("k").value_or(-1) == 9);
}

TEST_CASE("a change that Redis refuses changes nothing", "[integration][atomics][R10]") {
    sc::test::RedisServer server;
    const smartcache_test::TempDir dir;
    sc::SmartCache<> cache(config_for(server.url(), dir));
    REQUIRE(cache.increment("count", 3) == 3);
    REQUIRE(cache.set("job", std::string("once")));
    REQUIRE(server.command({"CONFIG", "SET", "maxmemory", "1"}).text == "OK");
    CHECK_FALSE(cache.increment("count"));
    CHECK_FALSE(cache.set_if_absent("new", 1));
    CHECK(cache.take<std::string>("job").value_or("none") == "once");  // ending takes no memory
    CHECK_FALSE(cache.take<std::string>("job"));
    REQUIRE(server.command({"CONFIG", "SET", "maxmemory", "0"}).text == "OK");
    CHECK(cache.increment("count") == 4);
}

TEST_CASE("what another process has cleared meanwhile is no base for a change",
          "[integration][atomics][R18]") {
    sc::test::RedisServer server;
    const smartcache_test::TempDir one_dir;
    const smartcache_test::TempDir two_dir;
    sc::Config config = config_for(server.url(), one_dir);
    const bool hears = GENERATE(false, true);
    if (!hears) config.redis.coherence = sc::Coherence::off;
    sc::SmartCache<> one(config);
    sc::SmartCache<> two(config_for(server.url(), two_dir));
    REQUIRE(one.set("k", 5));
    int calls = 0;
    CHECK(one.update<int>("k", [&](std::optional<int> old) {
        if (++calls == 1) {
            two.clear();
            // One knows of it by now: from Redis, or by the message, which would be one more reason to begin again if it came
            // later.
            (void)one.get<int>("another", {.tiers = sc::TierSet::redis});
            if (hears) CHECK(eventually([&] { return one.stats().foreign_changes == 1; }));
        }
        return old.value_or(0) + 1;
    }));
    CHECK(calls == 2);
    CHECK(two.get<int>("k", {.tiers = sc::TierSet::redis}).value_or(-1) == 1);
}

TEST_CASE("a cache on disk alone keeps values of its codec over a restart", "[integration]") {
    const smartcache_test::TempDir dir;
    const sc::Config config{.memory = {.enabled = false}, .disk = {.enabled = true, .path = dir / "store"}};
    const std::vector<std::string> words{"one", "two"};
    {
        sc::SmartCache<> cache(config);
        REQUIRE(cache.set("words", words, {.ttl = 1h}));
        REQUIRE(cache.set("ended", words, {.ttl = 1h}));
        REQUIRE(cache.erase("ended"));
        CHECK(cache.get<std::vector<std::string>>("words").tier() == sc::TierId::disk);
    }
    sc::SmartCache<> cache(config);
    const auto found = cache.get<std::vector<std::string>>("words");
    REQUIRE(found);
    CHECK(*found == words);
    CHECK(found.tier() == sc::TierId::disk);
    CHECK_FALSE(cache.exists("ended"));
    int loads = 0;
    const auto again = cache.get_or_compute("words", [&] { return ++loads, std::vector<std::string>{}; });
    REQUIRE(again);
    CHECK(*again == words);
    CHECK(loads == 0);
}

}  // namespace three_tiers_test
