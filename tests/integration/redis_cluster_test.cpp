// The facade over a real Redis Cluster.

#include <smartcache/facade/smart_cache.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>

#include "redis/support/redis_cluster.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

namespace redis_cluster_test {

namespace sc = smartcache;
using namespace std::chrono_literals;

namespace {

sc::Config config_for(const std::string& url) {
    // A deadline that a busy machine can keep: these tests are about what happens, not how quickly.
    sc::Config config{.memory = {.enabled = false},
                      .redis = {.enabled = true, .url = url, .connect_timeout = 30s, .timeout = 30s}};
    config.key_prefix = "app";
    return config;
}

std::vector<std::string> keys_for(const std::string& what, int count) {
    std::vector<std::string> keys;
    for (int i = 0; i < count; ++i) keys.push_back(what + std::to_string(i));
    return keys;
}

}  // namespace

TEST_CASE("caches share a cluster as they share a server", "[integration][cluster]") {
    sc::test::RedisCluster cluster;
    const sc::Config config = config_for(cluster.url());
    auto cache = std::make_unique<sc::SmartCache<>>(config);
    sc::SmartCache<> other(config);
    const auto restart = [&] { cache = std::make_unique<sc::SmartCache<>>(config); };
    REQUIRE(cache->health_check().redis);
    other.erase_tag("t");
    other.erase_tag("t");

    // Values and batches.
    const std::vector<std::string> keys = keys_for("k", 500);
    std::vector<std::pair<std::string, int>> pairs;
    for (std::size_t i = 0; i < keys.size(); ++i) pairs.emplace_back(keys[i], static_cast<int>(i));
    CHECK(cache->set_many(pairs, {.tags = {"t"}}) == keys.size());  // by a process that has just begun
    std::size_t found = 0;
    const auto all = other.get_many<int>(keys);
    for (std::size_t i = 0; i < keys.size(); ++i)
        if (all[i] && *all[i] == static_cast<int>(i)) ++found;
    CHECK(found == keys.size());
    CHECK(other.erase_many(keys) == keys.size());
    CHECK_FALSE(cache->get<int>("k0"));

    // Loads by a process that has just begun, which count from when they began.
    for (const std::string& key : keys_for("load", 50)) {
        restart();
        CHECK(*cache->get_or_compute(key, [] { return 1; }, {.tags = {"t"}}) == 1);
        CHECK(other.get<int>(key).value_or(0) == 1);
    }
    for (const std::string& key : keys_for("late", 10)) {
        restart();
        const auto load = [&] {
            other.erase_tag("t");
            return 1;
        };
        (void)cache->get_or_compute(key, load, {.tags = {"t"}});
        CHECK_FALSE(other.get<int>(key));
        CHECK_FALSE(other.get<int>("load0"));
        (void)cache->refresh(key, load, {.tags = {"t"}});
        CHECK_FALSE(other.get<int>(key));
        restart();
        (void)cache->refresh(key, [] { return 2; }, {.tags = {"t"}});
        CHECK(other.get<int>(key).value_or(0) == 2);
    }
    for (const std::string& key : keys_for("n", 20)) {
        CHECK(other.increment(key, 5, {.tags = {"t"}}) == 5);
        restart();
        CHECK(cache->increment(key) == 6);
        CHECK(other.get<int>(key).value_or(0) == 6);
    }
    other.erase_tag("t");
    for (const std::string& key : keys_for("n", 20)) CHECK_FALSE(cache->get<int>(key));

    // Nothing is lost between two who count.
    std::thread counter([&] {
        for (int i = 0; i < 200; ++i) (void)other.increment("sum" + std::to_string(i % 10));
    });
    for (int i = 0; i < 200; ++i) (void)cache->increment("sum" + std::to_string(i % 10));
    counter.join();
    for (const std::string& key : keys_for("sum", 10)) CHECK(cache->get<int>(key).value_or(0) == 40);
    CHECK(other.take<int>("sum0").value_or(0) == 40);
    CHECK_FALSE(cache->take<int>("sum0"));
    CHECK(cache->set_if_absent("sum0", 1));
    CHECK_FALSE(other.set_if_absent("sum0", 2));

    cache->clear();
    for (const std::string& key : keys_for("sum", 10)) CHECK_FALSE(other.get<int>(key));
}

TEST_CASE("a cluster that fails as a whole and works again is told once each",
          "[integration][cluster][events]") {
    sc::test::RedisCluster cluster;
    sc::Config config = config_for(cluster.url());
    config.redis.breaker = {.failures = 2, .open_for = 10ms};
    config.background_threads = 0;
    std::mutex mutex;
    std::vector<sc::EventKind> states;
    config.listener = [&](const sc::Event& event) {
        if (event.kind != sc::EventKind::tier_down && event.kind != sc::EventKind::tier_up) return;
        const std::lock_guard lock(mutex);
        states.push_back(event.kind);
    };
    const auto told = [&] {
        const std::lock_guard lock(mutex);
        return states;
    };
    sc::SmartCache<> cache(config);
    const std::vector<std::string> keys = keys_for("k", 50);
    for (const std::string& key : keys) REQUIRE(cache.set(key, 1));
    for (const std::size_t i : {1U, 2U}) cluster.server(i).kill();
    cluster.until("the last master notices that it is alone", [&] {
        return cluster.command(0, {"CLUSTER", "INFO"}).text.find("cluster_state:fail") != std::string::npos;
    });
    for (int i = 0; i < 3; ++i)
        for (const std::string& key : keys) CHECK_FALSE(cache.get<int>(key));
    CHECK_FALSE(cache.health_check().redis);
    CHECK(told() == std::vector<sc::EventKind>{sc::EventKind::tier_down});
    for (const std::size_t i : {1U, 2U}) cluster.server(i).start();
    CHECK(smartcache_test::eventually([&] {
        (void)cache.run_maintenance();
        return told().size() > 1;
    }));
    CHECK(told() == std::vector<sc::EventKind>{sc::EventKind::tier_down, sc::EventKind::tier_up});
    CHECK(cache.health_check().redis);
    for (const std::string& key : keys) CHECK(cache.set(key, 2));
}

}  // namespace redis_cluster_test
