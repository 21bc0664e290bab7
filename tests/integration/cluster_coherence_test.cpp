// Several caches, each as if in a process of its own, over one Redis Cluster: what one changes the others forget.

#include <smartcache/facade/smart_cache.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>

#include "redis/support/cluster_world.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/temp_dir.hpp"

namespace cluster_coherence_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using sc::test::cluster_name;
using sc::test::cluster_slot;
using sc::test::RedisAnswer;
using sc::test::RedisCluster;
using sc::test::cluster::three;
using smartcache_test::eventually;
using smartcache_test::TempDir;

namespace {

sc::Config config_for(const std::string& url) {
    return {.redis = {.enabled = true, .url = url, .connect_timeout = 30s, .timeout = 30s, .lease = 30s}};
}
sc::Config config_for(const std::string& url, const TempDir& dir) {
    sc::Config config = config_for(url);
    config.disk = {.enabled = true, .path = dir / "store"};
    return config;
}

sc::CoherenceStats coherence(const sc::SmartCache<>& cache) {
    return cache.stats().redis.coherence;
}
bool in_memory(sc::SmartCache<>& cache, std::string_view key) {
    return static_cast<bool>(cache.try_get<int>(key));
}
bool on_disk(sc::SmartCache<>& cache, std::string_view key) {
    cache.clear_memory();
    return static_cast<bool>(cache.get<int>(key, {.tiers = sc::TierSet::disk}));
}
std::string physical(std::string_view key) {
    return sc::physical_key("", key);
}
/// A key whose slot a master serves, of those of the beginning.
std::string key_at(const RedisCluster& cluster, std::size_t master, std::size_t nth = 0) {
    for (std::size_t i = 0;; ++i) {
        std::string key = "k" + std::to_string(i);
        if (cluster.first_master(cluster_slot(physical(key))) == master && nth-- == 0) return key;
    }
}
/// One at each of the first three masters.
std::vector<std::string> keys_at_all(const RedisCluster& cluster) {
    return {key_at(cluster, 0), key_at(cluster, 1), key_at(cluster, 2)};
}
long long subscribers(RedisCluster& cluster, std::size_t i) {
    const RedisAnswer answer =
        cluster.command(i, {"PUBSUB", "NUMSUB", sc::detail::invalidation_channel(0, "")});
    return answer.elements.at(1).integer;
}
/// How often the servers have run a command.
long long calls(RedisCluster& cluster, const std::string& command) {
    long long sum = 0;
    for (std::size_t i = 0; i < cluster.size(); ++i) {
        const std::string text = cluster.command(i, {"INFO", "commandstats"}).text;
        const std::string field = "cmdstat_" + command + ":calls=";
        const std::size_t at = text.find(field);
        if (at != std::string::npos) sum += std::stoll(text.substr(at + field.size()));
    }
    return sum;
}
/// Every node drops what comes over the bus of the kind that brings messages, or not any more.
void lose_on_bus(RedisCluster& cluster, bool lose) {
    for (std::size_t i = 0; i < cluster.size(); ++i)
        REQUIRE(cluster.command(i, {"DEBUG", "DROP-CLUSTER-PACKET-FILTER", lose ? "4" : "-1"}).text == "OK");
}

/// Changes what users may do.
void allow(RedisCluster& cluster, const std::string& rule) {
    for (std::size_t i = 0; i < cluster.size(); ++i)
        REQUIRE(cluster.command(i, {"ACL", "SETUSER", "default", rule}).text == "OK");
}

}  // namespace

TEST_CASE("what one cache changes in a cluster others drop from memory", "[coherence][cluster][r9][r16]") {
    RedisCluster& cluster = three();
    const std::vector<std::string> keys = keys_at_all(cluster);
    sc::Config config = config_for(cluster.url());
    config.redis.coherence = GENERATE(sc::Coherence::automatic, sc::Coherence::publish);
    sc::SmartCache<> one(config);
    sc::SmartCache<> two(config);
    REQUIRE(coherence(one).hears);
    REQUIRE(coherence(two).hears);
    for (std::size_t i = 0; i < 3; ++i) CHECK(subscribers(cluster, i) == 2);
    const auto all = [&](auto condition) {
        return eventually([&] { return std::all_of(keys.begin(), keys.end(), condition); });
    };
    const auto gone = [&] { return all([&](const std::string& key) { return !two.get<int>(key); }); };
    const auto is = [&](int value) {
        return all([&](const std::string& key) { return two.get<int>(key).value_or(-1) == value; });
    };
    const auto known_to_two = [&](int value) {
        for (const std::string& key : keys) REQUIRE(one.set(key, value, {.tags = {"t"}}));
        REQUIRE(all([&](const std::string& key) {
            return two.get<int>(key).value_or(-1) == value && in_memory(two, key);
        }));
    };
    known_to_two(1);
    for (const std::string& key : keys) REQUIRE(one.set(key, 2));
    CHECK(is(2));

    known_to_two(3);
    for (const std::string& key : keys) REQUIRE(one.erase(key));
    CHECK(gone());

    known_to_two(4);
    CHECK(one.set_many({std::pair<std::string_view, int>{keys[0], 5}, {keys[1], 5}, {keys[2], 5}}) == 3);
    CHECK(is(5));

    known_to_two(7);
    CHECK(one.erase_many(keys) == 3);
    CHECK(gone());

    known_to_two(8);
    for (const std::string& key : keys) CHECK(one.increment(key, 2) == 10);
    CHECK(is(10));

    known_to_two(11);
    for (const std::string& key : keys) CHECK(one.take<int>(key).value_or(-1) == 11);
    CHECK(gone());

    known_to_two(12);
    for (const std::string& key : keys) CHECK(one.touch(key, 1min));
    CHECK(all([&](const std::string& key) {
        const auto found = two.get<int>(key);
        return found && found.ttl() <= 2min;  // each estimates the server's clock
    }));

    known_to_two(13);
    for (const std::string& key : keys) CHECK(one.expire(key));
    CHECK(gone());

    known_to_two(14);
    one.erase_tag("t");
    CHECK(gone());

    known_to_two(15);
    one.expire_tag("t");
    CHECK(gone());

    known_to_two(16);
    for (const std::string& key : keys) CHECK(one.refresh(key, [] { return 17; }).value_or(-1) == 17);
    CHECK(is(17));

    known_to_two(18);
    CHECK(coherence(one).gaps == 1);
    one.clear();
    CHECK(gone());
    CHECK(coherence(two).unreadable == 0);
    CHECK(coherence(two).gaps == 1);
}

TEST_CASE("of the ways on which a message comes one counts, and none of one's own",
          "[coherence][cluster][r16]") {
    RedisCluster& cluster = three();
    sc::SmartCache<> one(config_for(cluster.url()));
    sc::SmartCache<> two(config_for(cluster.url()));
    constexpr std::uint64_t many = 100;
    for (std::uint64_t i = 0; i < many; ++i) REQUIRE(one.set(std::to_string(i), 1));
    REQUIRE(eventually([&] { return two.stats().foreign_changes >= many; }));
    // What came on a shorter way from the same masters later has overtaken nothing: then the rest is here as well.
    for (std::uint64_t i = 0; i < many; ++i) REQUIRE(two.set("mine" + std::to_string(i), 1));
    REQUIRE(eventually([&] { return one.stats().foreign_changes >= many; }));
    CHECK(two.stats().foreign_changes == many);
    CHECK(coherence(two).messages == many);
    CHECK(one.stats().foreign_changes == many);
    CHECK(eventually([&] { return coherence(one).latency.count == many; }));
    for (std::uint64_t i = 0; i < many; ++i) CHECK(in_memory(one, std::to_string(i)));
}

TEST_CASE("what the cluster's bus loses is heard", "[coherence][cluster][r16]") {
    RedisCluster cluster({.arguments = [](std::size_t) {
        return std::vector<std::string>{"--enable-debug-command", "yes"};
    }});
    const std::vector<std::string> keys = keys_at_all(cluster);
    sc::SmartCache<> one(config_for(cluster.url()));
    sc::SmartCache<> two(config_for(cluster.url()));
    lose_on_bus(cluster, true);
    for (const std::string& key : keys) {
        REQUIRE(one.set(key, 1, {.tags = {"t"}}));
        REQUIRE(eventually([&] { return two.get<int>(key) && in_memory(two, key); }));
        REQUIRE(one.erase(key));
        CHECK(eventually([&] { return !two.get<int>(key); }));
        REQUIRE(one.set(key, 2, {.tags = {"t"}}));
        REQUIRE(eventually([&] { return two.get<int>(key) && in_memory(two, key); }));
    }
    one.erase_tag("t");
    for (const std::string& key : keys) CHECK(eventually([&] { return !two.get<int>(key); }));
    CHECK(coherence(two).gaps == 1);
}

TEST_CASE("what others change in a cluster is dropped from the disk as well", "[coherence][cluster][disk]") {
    RedisCluster& cluster = three();
    const TempDir dir;
    sc::SmartCache<> one(config_for(cluster.url()));
    sc::SmartCache<> two(config_for(cluster.url(), dir));
    for (const std::string& key : keys_at_all(cluster)) {
        const auto set_on_disk = [&](int value) {  // unless a message is still on its way to it
            return eventually([&] { return two.set(key, value, {.tags = {"t"}}) && on_disk(two, key); });
        };
        REQUIRE(set_on_disk(1));
        REQUIRE(one.erase(key));
        CHECK(eventually([&] { return !on_disk(two, key); }));
        REQUIRE(set_on_disk(2));
        one.erase_tag("t");
        CHECK(eventually([&] { return !on_disk(two, key); }));
        REQUIRE(set_on_disk(3));
        one.clear();
        CHECK(eventually([&] { return !on_disk(two, key); }));
    }
}

TEST_CASE("what a cluster has lost, and nobody has ended, the disk brings back into every partition",
          "[coherence][cluster][disk][promotion]") {
    RedisCluster& cluster = three();
    const TempDir dir;
    sc::SmartCache<> one(config_for(cluster.url()));
    sc::SmartCache<> two(config_for(cluster.url(), dir));
    for (int i = 0; i < 30; ++i) {
        const std::string key = std::to_string(i);
        // Nothing is kept on the disk before changes are heard.
        REQUIRE(eventually([&] { return two.set(key, i, {.ttl = 1h}) && on_disk(two, key); }));
    }
    two.clear_memory();
    for (int i = 0; i < 30; ++i) {
        const std::string key = std::to_string(i);
        const std::string name = cluster_name(physical(key));
        REQUIRE(cluster.command(cluster.first_master(cluster_slot(physical(key))), {"DEL", name}).integer ==
                1);
        CHECK(two.get<int>(key).tier() == sc::TierId::disk);
        CHECK(one.get<int>(key).value_or(-1) == i);
    }
}

TEST_CASE("a change and its message go where a slot goes, and are done there once",
          "[coherence][cluster][r9][r16]") {
    RedisCluster& cluster = three();
    sc::SmartCache<> one(config_for(cluster.url()));
    sc::SmartCache<> two(config_for(cluster.url()));
    // Of one partition: one that moves early, one that moves late, one that is not there yet.
    const std::string early = key_at(cluster, 0);
    const std::size_t slot = cluster_slot(physical(early));
    std::vector<std::string> same;
    for (std::size_t i = 0; same.size() < 2; ++i) {
        const std::string key = "k" + std::to_string(i);
        if (key != early && cluster_slot(physical(key)) == slot) same.push_back(key);
    }
    const std::vector<std::string> keys{early, same[0], same[1]};
    int value = 0;
    const auto change_all = [&] {
        for (const std::string& key : keys) {
            INFO(key << " " << value);
            const long long published = calls(cluster, "publish");
            REQUIRE(one.set(key, ++value));
            CHECK(calls(cluster, "publish") == published + 1);
            CHECK(eventually([&] {
                const auto found = two.get<int>(key);
                return found && *found == value && in_memory(two, key);
            }));
        }
        const long long published = calls(cluster, "publish");
        CHECK(one.erase_many(keys) == keys.size());
        CHECK(calls(cluster, "publish") == published + 3);
        for (const std::string& key : keys) CHECK(eventually([&] { return !two.get<int>(key); }));
        std::vector<std::pair<std::string_view, int>> pairs;
        for (const std::string& key : keys) pairs.emplace_back(key, value);
        CHECK(one.set_many(pairs) == keys.size());
        for (const std::string& key : keys)
            CHECK(eventually([&] { return two.get<int>(key).value_or(-1) == value && in_memory(two, key); }));
        CHECK(one.increment(keys[0]) == value + 1);
        CHECK(eventually([&] { return two.get<int>(keys[0]).value_or(-1) == value + 1; }));
    };
    change_all();
    REQUIRE(one.erase(same[1]));
    const std::string fresh = cluster_name(physical(same[1]));
    cluster.command(0, {"DEL", fresh});
    cluster.begin_move(slot, 0, 1);
    REQUIRE(cluster
                .command(0, {"MIGRATE", "127.0.0.1", std::to_string(cluster.server(1).port()),
                             cluster_name(physical(early)), "0", "30000"})
                .text == "OK");
    change_all();  // sent on by ASK: two at the new node, one at the old one
    cluster.move_keys(slot, 0, 1);
    change_all();  // all by ASK
    cluster.end_move(slot, 0, 1);
    REQUIRE(one.set(early, 0));  // MOVED; and what was changed lately is erased there, and told
    REQUIRE(eventually([&] { return two.get<int>(early).value_or(-1) == 0; }));
    change_all();
    cluster.move(slot, 1, 0);
    REQUIRE(one.set(early, 0));
    REQUIRE(eventually([&] { return two.get<int>(early).value_or(-1) == 0; }));
    change_all();
    CHECK(coherence(one).gaps == 1);  // all masters were heard all the time
    CHECK(coherence(two).gaps == 1);
}

TEST_CASE("a cache that does not hear one master hears nothing, and afterwards trusts nothing from before",
          "[coherence][cluster][r12][r13]") {
    RedisCluster& cluster = three();
    const std::vector<std::string> keys = keys_at_all(cluster);
    const std::size_t silent = GENERATE(0U, 2U);
    sc::SmartCache<> one(config_for(cluster.url()));
    sc::Config config = config_for(cluster.url());
    config.redis.lease = 2s;
    config.redis.lease_lost = GENERATE(sc::LeaseLost::serve_stale, sc::LeaseLost::distrust);
    const bool distrusts = config.redis.lease_lost == sc::LeaseLost::distrust;
    sc::SmartCache<> two(config);
    REQUIRE(eventually([&] { return coherence(two).hears; }));
    for (const std::string& key : keys) REQUIRE(one.set(key, 1));
    REQUIRE(
        eventually([&] { return two.stats().foreign_changes >= keys.size() || coherence(two).gaps > 1; }));
    // Again, should a busy machine keep its thread from hearing for longer than the lease just then.
    std::uint64_t before = 0;
    REQUIRE(eventually([&] {
        before = coherence(two).gaps;
        for (const std::string& key : keys)
            if (!two.get<int>(key) || !in_memory(two, key)) return false;
        cluster.server(silent).pause();
        CHECK(eventually([&] { return !coherence(two).hears; }));
        std::size_t there = 0;
        for (const std::string& key : keys) there += in_memory(two, key) ? 1U : 0U;
        if (there == (distrusts ? 0U : keys.size()) && coherence(two).gaps == before) return true;
        cluster.server(silent).resume();
        return false;
    }));
    cluster.server(silent).resume();
    CHECK(eventually([&] { return coherence(two).hears; }));
    CHECK(coherence(two).gaps > before);
    for (const std::string& key : keys) CHECK(eventually([&] { return !in_memory(two, key); }));
    for (const std::string& key : keys) {
        (void)two.get<int>(key);
        REQUIRE(eventually([&] { return one.erase(key) || !one.exists(key); }));
        CHECK(eventually([&] { return !two.get<int>(key); }));
    }
}

TEST_CASE("a replica that takes over is a gap, and nothing that was erased comes back",
          "[coherence][cluster][disk][r12][r14]") {
    RedisCluster cluster({.masters = 3, .replicas = 3});
    const TempDir dir;
    const std::vector<std::string> keys = keys_at_all(cluster);
    sc::SmartCache<> one(config_for(cluster.url()));
    sc::Config config = config_for(cluster.url(), dir);
    config.redis.lease = 5s;
    sc::SmartCache<> two(config);
    for (const std::string& key : keys) REQUIRE(two.set(key, 1));
    for (const std::string& key : keys) REQUIRE(in_memory(two, key));
    const std::uint64_t before = coherence(two).gaps;
    const std::string port = std::to_string(cluster.server(0).port());
    cluster.server(0).kill();
    CHECK(eventually([&] { return !coherence(two).hears; }));
    CHECK(in_memory(two, keys[0]));  // better than nothing
    CHECK(two.health_check().detail(sc::TierId::redis).find(port) != std::string::npos);
    CHECK(eventually([&] { return coherence(two).hears; }));
    CHECK(coherence(two).gaps > before);
    CHECK(coherence(two).gaps <= before + 2);  // not one for each master
    CHECK(eventually([&] { return !in_memory(two, keys[0]); }));
    for (const std::string& key : keys) {
        CHECK(eventually([&] { return one.erase(key) || !one.exists(key); }));
        CHECK(eventually([&] { return !two.get<int>(key); }));
        CHECK_FALSE(on_disk(two, key));
        CHECK(eventually([&] { return one.set(key, 2); }));
        CHECK(eventually([&] { return two.get<int>(key).value_or(-1) == 2 && in_memory(two, key); }));
        CHECK(one.erase(key));
        CHECK(eventually([&] { return !two.get<int>(key); }));
    }
    CHECK(eventually([&] { return coherence(one).hears; }));
    // The old master comes back as a replica, where nobody listens.
    cluster.server(0).start();
    CHECK(two.health_check().redis);
}

TEST_CASE("a master that joins is a gap, and heard from then on", "[coherence][cluster][r12][r16]") {
    RedisCluster cluster;
    const std::string key = key_at(cluster, 0);
    sc::Config config = config_for(cluster.url());
    sc::SmartCache<> one(config);
    config.redis.lease = 2s;  // so it asks for a new map once a second
    sc::SmartCache<> two(config);
    REQUIRE(one.set(key, 1));
    REQUIRE(eventually([&] { return two.get<int>(key) && in_memory(two, key); }));
    const std::uint64_t before = coherence(two).gaps;
    const std::size_t joined = cluster.add_master();
    const std::size_t slot = cluster_slot(physical(key));
    cluster.move(slot, 0, joined);
    // Though it asks nobody for the key: maps are asked for all the time.
    CHECK(eventually([&] { return coherence(two).gaps > before && coherence(two).hears; }));
    CHECK(eventually([&] { return subscribers(cluster, joined) >= 1; }));
    CHECK(eventually([&] { return !in_memory(two, key); }));
    // The other one asks for it, is sent there, and listens there.
    CHECK(one.set(key, 2));
    CHECK(eventually([&] { return subscribers(cluster, joined) == 2 && coherence(one).hears; }));
    CHECK(eventually([&] { return two.get<int>(key).value_or(-1) == 2 && in_memory(two, key); }));
    CHECK(one.erase(key));
    CHECK(eventually([&] { return !two.get<int>(key); }));
    // One that serves nothing any more is left alone, and that is no gap.
    const std::uint64_t gaps = coherence(one).gaps;
    cluster.move(slot, joined, 0);
    CHECK(one.set(key, 3));
    CHECK(eventually([&] { return subscribers(cluster, joined) == 0; }));
    CHECK(eventually([&] { return two.get<int>(key).value_or(-1) == 3; }));
    CHECK(coherence(one).gaps == gaps);
}

TEST_CASE("a cache that nobody tells who serves what hears nothing", "[coherence][cluster][r13]") {
    RedisCluster& cluster = three();
    const std::vector<std::string> keys = keys_at_all(cluster);
    sc::Config config = config_for(cluster.url());
    config.redis.lease = 2s;
    sc::SmartCache<> cache(config);
    for (const std::string& key : keys) REQUIRE(cache.set(key, 1));
    REQUIRE(eventually([&] { return coherence(cache).hears; }));
    allow(cluster, "-cluster|slots");
    CHECK(eventually([&] { return !coherence(cache).hears; }));
    const std::uint64_t before = coherence(cache).gaps;
    CHECK(eventually([&] {
        const std::string detail = cache.health_check().detail(sc::TierId::redis);
        return detail.find("it is not known who serves which slots: ") != std::string::npos;
    }));
    for (std::size_t i = 0; i < 3; ++i) CHECK(subscribers(cluster, i) == 1);  // for what can be heard
    allow(cluster, "+cluster|slots");
    CHECK(eventually([&] { return coherence(cache).hears; }));
    CHECK(coherence(cache).gaps > before);
    for (const std::string& key : keys) CHECK(eventually([&] { return !in_memory(cache, key); }));
}

TEST_CASE("a cluster that has no MULTI for us is told without", "[coherence][cluster][r9]") {
    RedisCluster& cluster = three();
    sc::SmartCache<> two(config_for(cluster.url()));
    allow(cluster, "-multi");
    {
        sc::SmartCache<> one(config_for(cluster.url()));
        for (const std::string& key : keys_at_all(cluster)) {
            for (int i = 0; i < 3; ++i) {
                REQUIRE(one.set(key, i));
                one.clear_memory();
                CHECK(one.get<int>(key).tier() == sc::TierId::redis);
                CHECK(eventually([&] { return two.get<int>(key).value_or(-1) == i && in_memory(two, key); }));
            }
            CHECK(one.erase(key));
            CHECK(eventually([&] { return !two.get<int>(key); }));
        }
    }
    allow(cluster, "+multi");
}

TEST_CASE("an erase gets through to a master that is full", "[coherence][cluster][r3]") {
    RedisCluster& cluster = three();
    sc::SmartCache<> one(config_for(cluster.url()));
    sc::SmartCache<> two(config_for(cluster.url()));
    const std::vector<std::string> keys = keys_at_all(cluster);
    for (const std::string& key : keys) {
        REQUIRE(one.set(key, 1));
        REQUIRE(eventually([&] { return two.get<int>(key) && in_memory(two, key); }));
    }
    REQUIRE(cluster.command(1, {"CONFIG", "SET", "maxmemory", "1"}).text == "OK");
    CHECK(one.erase_many(keys) == 3);
    CHECK(cluster.command(1, {"CONFIG", "SET", "maxmemory", "0"}).text == "OK");
    CHECK_FALSE(cluster.holds(1, cluster_name(physical(keys[1]))));
    for (const std::string& key : keys) CHECK(eventually([&] { return !two.get<int>(key); }));
}

TEST_CASE("a clear and the end of a tag get through to a master that is full", "[coherence][cluster][r17]") {
    RedisCluster& cluster = three();
    sc::SmartCache<> one(config_for(cluster.url()));
    sc::SmartCache<> two(config_for(cluster.url()));
    const std::vector<std::string> keys = keys_at_all(cluster);
    for (const bool clear : {true, false}) {
        for (const std::string& key : keys) {
            REQUIRE(one.set(key, 1, {.tags = {"t"}}));
            REQUIRE(eventually([&] { return two.get<int>(key) && in_memory(two, key); }));
        }
        REQUIRE(cluster.command(1, {"CONFIG", "SET", "maxmemory", "1"}).text == "OK");
        if (clear)
            one.clear();
        else
            one.erase_tag("t");
        CHECK(eventually([&] { return !in_memory(two, keys[1]); }));
        for (const std::string& key : keys) CHECK_FALSE(two.get<int>(key));
        CHECK(cluster.command(1, {"CONFIG", "SET", "maxmemory", "0"}).text == "OK");
        for (const std::string& key : keys) CHECK_FALSE(two.get<int>(key));
    }
}

TEST_CASE("of many caches over a cluster one loads, and the others take its value",
          "[coherence][cluster][lock]") {
    RedisCluster& cluster = three();
    constexpr int caches = 3;
    std::vector<std::unique_ptr<sc::SmartCache<>>> all;
    for (int i = 0; i < caches; ++i)
        all.push_back(std::make_unique<sc::SmartCache<>>(config_for(cluster.url())));
    constexpr int keys = 12;
    std::atomic<int> loads{0};
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 2 * caches; ++t)
        threads.emplace_back([&, t] {
            sc::SmartCache<>& cache = *all[static_cast<std::size_t>(t % caches)];
            for (int i = 0; i < keys; ++i) {
                const auto found = cache.get_or_compute(
                    std::to_string(i),
                    [&] {
                        ++loads;
                        std::this_thread::sleep_for(2ms);  // a load that takes a while, for others to come
                        return i;
                    },
                    {.ttl = 1h, .distributed_lock = true});
                if (!found || *found != i) ++wrong;
            }
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(loads == keys);
    CHECK(wrong == 0);
}

TEST_CASE("without background threads a cache listens to a cluster when it is maintained",
          "[coherence][cluster]") {
    RedisCluster& cluster = three();
    sc::Config config = config_for(cluster.url());
    sc::SmartCache<> one(config);
    config.background_threads = 0;
    config.redis.coherence = sc::Coherence::publish;
    sc::SmartCache<> two(config);
    for (const std::string& key : keys_at_all(cluster)) {
        REQUIRE(two.set(key, 1));
        REQUIRE(one.erase(key));
        CHECK(in_memory(two, key));
        CHECK(eventually([&] {
            (void)two.run_maintenance();
            return !in_memory(two, key);
        }));
    }
    CHECK(coherence(two).gaps == 1);
}

}  // namespace cluster_coherence_test
