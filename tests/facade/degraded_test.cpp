#include <smartcache/facade/smart_cache.hpp>

#include <unistd.h>

#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/map_tier.hpp"
#include "support/temp_dir.hpp"

namespace degraded_test {

namespace sc = smartcache;
using namespace std::chrono_literals;

namespace {

struct Messages {
    std::mutex mutex;
    std::vector<std::string> list;
    sc::Logger logger() {
        return [this](sc::LogLevel, std::string_view text) {
            const std::lock_guard lock(mutex);
            list.emplace_back(text);
        };
    }
    bool mention(std::string_view word) {
        const std::lock_guard lock(mutex);
        for (const std::string& text : list)
            if (text.find(word) != std::string::npos) return true;
        return false;
    }
};

/// Nobody listens on port 1 of loopback.
constexpr const char* nobody = "redis://127.0.0.1:1/0";

}  // namespace

TEST_CASE("with Redis unreachable the cache starts, works from memory and says so", "[facade][degraded]") {
    Messages messages;
    sc::SmartCache<> cache{{.redis = {.enabled = true, .url = nobody}, .logger = messages.logger()}};
    CHECK(cache.set("k", 1));
    CHECK(*cache.get<int>("k") == 1);
    CHECK_FALSE(cache.get<int>("absent"));
    const sc::Health health = cache.health_check();
    CHECK(health.memory);
    CHECK_FALSE(health.redis);
    CHECK_FALSE(health.ok());
    CHECK(health.detail(sc::TierId::redis).find("127.0.0.1:1") != std::string::npos);
    CHECK(health.detail(sc::TierId::disk) == "disabled");
    CHECK(messages.mention("127.0.0.1:1"));
    CHECK(cache.stats().redis.errors > 0);
}

TEST_CASE("lower tiers are tended in the background, however rarely the cache is swept",
          "[facade][degraded]") {
    auto owned = std::make_unique<smartcache_test::MapTier>();
    const smartcache_test::MapTier& tier = *owned;
    std::vector<std::unique_ptr<sc::Tier>> tiers;
    tiers.push_back(std::move(owned));
    sc::SmartCache<> cache({.auto_expire_interval = sc::Duration::zero()}, std::move(tiers));
    CHECK(smartcache_test::eventually([&] { return tier.tended > 1; }));
}

TEST_CASE("tier_required turns an unreachable Redis into a ConfigError", "[facade][degraded]") {
    CHECK_THROWS_AS(sc::SmartCache<>({.redis = {.enabled = true, .url = nobody}, .tier_required = true}),
                    sc::ConfigError);
}

TEST_CASE("a second cache on the same directory starts without it and names the owner",
          "[facade][degraded]") {
    const smartcache_test::TempDir dir;
    Messages messages;
    const sc::Config config{.disk = {.enabled = true, .path = dir.path() / "store"}};
    sc::SmartCache<> first{config};
    sc::Config again = config;
    again.logger = messages.logger();
    sc::SmartCache<> second{again};
    CHECK(second.set("k", 1));
    CHECK_FALSE(second.health_check().disk);
    CHECK(second.health_check().detail(sc::TierId::disk).find(std::to_string(::getpid())) !=
          std::string::npos);
    CHECK(messages.mention("disk"));
    CHECK(first.health_check().ok());
    again.tier_required = true;
    CHECK_THROWS_AS(sc::SmartCache<>(again), sc::ConfigError);
}

TEST_CASE("a path that is no directory is a degraded start", "[facade][degraded]") {
    const smartcache_test::TempDir dir;
    std::ofstream(dir.path() / "file") << "x";
    sc::SmartCache<> cache{{.disk = {.enabled = true, .path = dir.path() / "file"}}};
    CHECK(cache.set("k", 1));
    CHECK_FALSE(cache.health_check().disk);
}

TEST_CASE("values survive a restart of the cache on disk", "[facade][disk]") {
    const smartcache_test::TempDir dir;
    const sc::Config config{.disk = {.enabled = true, .path = dir.path() / "store"}};
    {
        sc::SmartCache<> cache{config};
        CHECK(cache.set("k", std::string("kept")));
        CHECK(cache.set("gone", 1));
        cache.erase("gone");
        CHECK(cache.flush());
    }
    sc::SmartCache<> cache{config};
    const auto hit = cache.get<std::string>("k");
    REQUIRE(hit);
    CHECK(*hit == "kept");
    CHECK(hit.tier() == sc::TierId::disk);
    CHECK_FALSE(cache.get<int>("gone"));
    CHECK(cache.stats().disk.hits == 1);
    cache.clear();
    CHECK_FALSE(cache.exists("k"));
}

}  // namespace degraded_test
