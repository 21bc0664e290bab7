#include <string>

#include "facade/support/cache_over_maps.hpp"
#include "support/catch.hpp"

namespace reconfigure_test {

using namespace smartcache_test;
using namespace std::chrono_literals;

TEST_CASE("reconfigure: lifetimes in every tier", "[reconfigure]") {
    CacheOverMaps over({.memory = {.ttl = 1h}});
    auto& cache = *over.cache;
    cache.set("before", "x");
    Config config = cache.current_config();
    config.memory.ttl = 1min;
    config.redis.ttl = 2min;
    config.disk.ttl = 3min;
    cache.reconfigure(config);
    cache.set("after", "x");
    CHECK(cache.get<std::string>("after").ttl() == 1min);
    over.clock.advance(1min);
    CHECK(cache.get<std::string>("before").tier() == TierId::memory);
    CHECK(cache.get<std::string>("after").tier() == TierId::redis);
    CHECK(cache.get<std::string>("after").ttl() == 1min);  // of two minutes
    over.clock.advance(1min);
    CHECK(cache.get<std::string>("after").tier() == TierId::disk);
    over.clock.advance(1min);
    CHECK_FALSE(cache.get<std::string>("after"));
    CHECK(cache.config().memory.ttl == 1h);
    CHECK(cache.current_config().memory.ttl == 1min);
}

TEST_CASE("reconfigure: size and capacity", "[reconfigure]") {
    CacheOverMaps over({.memory = {.capacity = 100, .shards = 1}, .max_value_size = 1000});
    auto& cache = *over.cache;
    for (int i = 0; i < 100; ++i) cache.set(std::to_string(i), "x");
    cache.set("large", std::string(1000, 'x'), {.write = TierSet::redis});
    Config config = cache.current_config();
    config.memory.capacity = 10;
    config.max_value_size = 999;
    cache.reconfigure(config);
    CHECK(cache.stats().size == 10);
    CHECK(cache.stats().capacity == 10);
    CHECK_FALSE(cache.get<std::string>("large"));
    CHECK_FALSE(cache.set("larger", std::string(1000, 'x')));
    CHECK(cache.set("large", std::string(999, 'x')));
    cache.resize(20);
    CHECK(cache.current_config().memory.capacity == 20);
    config.max_value_size = 1000;
    cache.reconfigure(config);
    CHECK(cache.set("larger", std::string(1000, 'x')));
}

#if SMARTCACHE_HAS_LZ4
TEST_CASE("reconfigure: compression", "[reconfigure]") {
    CacheOverMaps over;
    auto& cache = *over.cache;
    const auto stored = [&] {
        cache.set("k", std::string(4000, 'x'));
        return over.redis->bytes(over.physical("k")).size();
    };
    CHECK(stored() < 1000);
    Config config = cache.current_config();
    config.compression.threshold = 5000;
    cache.reconfigure(config);
    CHECK(stored() > 4000);
    config.compression.threshold = 100;
    cache.reconfigure(config);
    CHECK(stored() < 1000);
    config.compression.enabled = false;
    cache.reconfigure(config);
    CHECK(stored() > 4000);
    CHECK(cache.get<std::string>("k").value_or("") == std::string(4000, 'x'));
}
#endif

TEST_CASE("reconfigure: what is impossible or fixed is named, and nothing changes", "[reconfigure]") {
    CacheOverMaps over({.max_value_size = 1000});
    auto& cache = *over.cache;
    const std::string before = cache.current_config().to_json();
    Config config = cache.current_config();
    config.memory.ttl = 1min;
    config.memory.policy = EvictionPolicy::lru;
    config.key_prefix = "other";
    config.redis.integrity_key = "secret";
    config.max_value_size = 1001;
    try {
        cache.reconfigure(config);
        FAIL("accepted");
    } catch (const ConfigError& error) {
        const std::string text = error.what();
        CAPTURE(text);
        for (const char* const field :
             {"memory.policy", "key_prefix", "redis.integrity_key", "max_value_size"})
            CHECK(text.find(field) != std::string::npos);
        CHECK(text.find("memory.ttl") == std::string::npos);
        CHECK(text.find("secret") == std::string::npos);
    }
    CHECK(cache.current_config().to_json() == before);
    config = cache.current_config();
    config.memory.capacity = 0;
    CHECK_THROWS_AS(cache.reconfigure(config), ConfigError);
    config = cache.current_config();
    config.memory.ttl = -1s;
    CHECK_THROWS_AS(cache.reconfigure(config), ConfigError);
    CHECK(cache.current_config().to_json() == before);
}

}  // namespace reconfigure_test
