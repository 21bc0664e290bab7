// One load at a time among several caches, each as if in a process of its own, over one redis-server.

#include <smartcache/facade/smart_cache.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <smartcache/codec/json.hpp>

#include "support/catch.hpp"
#include "support/redis_server.hpp"

namespace distributed_lock_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using sc::test::RedisServer;

namespace {

const std::string lock_name = "sc:lock:0::k";

sc::Config config_for(const std::string& url) {
    return {.redis = {.enabled = true, .url = url, .connect_timeout = 30s, .timeout = 30s, .lease = 30s}};
}
bool locked(RedisServer& server) {
    return server.command({"EXISTS", lock_name}).integer == 1;
}

}  // namespace

TEST_CASE("of many caches one loads, and the others take its value", "[coherence][lock]") {
    RedisServer server;
    constexpr int caches = 3;
    std::vector<std::unique_ptr<sc::SmartCache<>>> all;
    for (int i = 0; i < caches; ++i)
        all.push_back(std::make_unique<sc::SmartCache<>>(config_for(server.url())));
    std::atomic<int> loads{0};
    std::atomic<int> at_once{0};
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 2 * caches; ++t)
        threads.emplace_back([&, t] {
            sc::SmartCache<>& cache = *all[static_cast<std::size_t>(t % caches)];
            for (int round = 0; round < 20; ++round) {
                const std::string key = "key" + std::to_string(round);
                const auto value = cache.get_or_compute(
                    key,
                    [&] {
                        if (at_once.fetch_add(1) != 0) ++wrong;
                        std::this_thread::sleep_for(2ms);  // a load that takes a while, for others to come
                        --at_once;
                        return ++loads;
                    },
                    {.distributed_lock = true});
                if (!value) ++wrong;
            }
        });
    for (std::thread& thread : threads) thread.join();
    // Nobody goes on to the next key before this one is there.
    CHECK(wrong == 0);
    CHECK(loads == 20);
    for (int round = 0; round < 20; ++round)
        for (const auto& cache : all)
            CHECK(cache->get<int>("key" + std::to_string(round)).value_or(-1) == round + 1);
}

TEST_CASE("a lock is given back however the load ends", "[coherence][lock]") {
    RedisServer server;
    sc::SmartCache<> cache(config_for(server.url()));
    const sc::EntryOptions options{.distributed_lock = true};
    bool held = false;
    CHECK(*cache.get_or_compute(
              "k",
              [&] {
                  held = locked(server);
                  return 1;
              },
              options) == 1);
    CHECK(held);
    CHECK_FALSE(locked(server));
    REQUIRE(cache.erase("k"));
    CHECK_THROWS_AS(cache.get_or_compute(
                        "k", []() -> int { throw std::runtime_error("origin"); }, options),
                    std::runtime_error);
    CHECK_FALSE(locked(server));
    CHECK_FALSE(cache.get_or_compute(
        "k", [] { return std::optional<int>(); }, options));
    CHECK_FALSE(locked(server));
}

TEST_CASE("a holder that died costs the others the lock's time", "[coherence][lock]") {
    RedisServer server;
    sc::SmartCache<> cache(config_for(server.url()));
    REQUIRE(server.command({"SET", lock_name, "of somebody who died", "PX", "100"}).text == "OK");
    CHECK(*cache.get_or_compute("k", [] { return 1; }, {.distributed_lock = true}) == 1);
    CHECK(server.command({"GET", "sc:0::k"}).text.substr(0, 2) == "SC");
    CHECK_FALSE(locked(server));
}

TEST_CASE("who holds a lock too long overwrites nothing", "[coherence][lock][r7]") {
    RedisServer server;
    sc::SmartCache<> one(config_for(server.url()));
    sc::SmartCache<> two(config_for(server.url()));
    const sc::EntryOptions options{.distributed_lock = true};
    const auto late = one.get_or_compute(
        "k",
        [&] {
            REQUIRE(server.command({"DEL", lock_name}).integer == 1);  // its time is over
            CHECK(*two.get_or_compute(
                      "k", [] { return 2; }, options) == 2);
            REQUIRE(server.command({"SET", lock_name, "a third one's"}).text == "OK");
            return 1;
        },
        options);
    CHECK(*late == 1);
    CHECK(server.command({"GET", lock_name}).text == "a third one's");
    CHECK(one.get<int>("k").value_or(-1) == 2);
    CHECK(two.get<int>("k").value_or(-1) == 2);
}

TEST_CASE("without Redis everybody loads", "[coherence][lock]") {
    RedisServer server;
    sc::Config config = config_for(server.url());
    config.redis.timeout = 100ms;
    sc::SmartCache<> cache(config);
    server.kill();
    CHECK(*cache.get_or_compute("k", [] { return 1; }, {.distributed_lock = true}) == 1);
}

}  // namespace distributed_lock_test
