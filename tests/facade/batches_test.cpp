#include <smartcache/facade/smart_cache.hpp>

#include <map>
#include <memory>
#include <ranges>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/map_tier.hpp"

namespace sc = smartcache;
using smartcache_test::MapTier;

namespace {

struct World {
    MapTier* upper = nullptr;
    MapTier* lower = nullptr;
    std::unique_ptr<sc::SmartCache<>> cache;

    World() {
        std::vector<std::unique_ptr<sc::Tier>> tiers;
        tiers.push_back(std::make_unique<MapTier>(sc::TierId::redis));
        tiers.push_back(std::make_unique<MapTier>(sc::TierId::disk));
        upper = static_cast<MapTier*>(tiers[0].get());
        lower = static_cast<MapTier*>(tiers[1].get());
        cache = std::make_unique<sc::SmartCache<>>(sc::Config{}, std::move(tiers));
    }
};

}  // namespace

TEST_CASE("set_many writes each tier in one round trip", "[facade][batch]") {
    World world;
    const std::map<std::string, int> values{{"a", 1}, {"b", 2}, {"c", 3}};
    CHECK(world.cache->set_many(values) == 3);
    CHECK(world.upper->round_trips == 1);
    CHECK(world.lower->round_trips == 1);
    CHECK(*world.cache->get<int>("b") == 2);
}

TEST_CASE("batches take ranges that make their keys on the way", "[facade][batch]") {
    World world;
    const std::vector<int> numbers{1, 2, 3, 4, 5, 6, 7, 8, 9};
    // Long enough not to fit into the string object itself.
    const auto key = [](int number) { return "a key of more than a few letters: " + std::to_string(number); };
    CHECK(world.cache->set_many(numbers | std::views::transform([&](int number) {
                                    return std::pair(key(number), number * number);
                                })) == 9);
    auto odd =
        numbers | std::views::filter([](int number) { return number % 2 == 1; }) | std::views::transform(key);
    for (const bool in_memory : {true, false}) {
        if (!in_memory) world.cache->clear_memory();
        const auto found = world.cache->get_many<int>(odd);
        REQUIRE(found.size() == 5);
        for (std::size_t i = 0; i < found.size(); ++i) {
            const int number = 2 * static_cast<int>(i) + 1;
            CHECK(found[i].value_or(0) == number * number);
            CHECK(found[i].tier() == (in_memory ? sc::TierId::memory : sc::TierId::redis));
        }
    }
    CHECK(world.cache->get<int>(key(3)).tier() == sc::TierId::memory);
    std::istringstream words(key(1) + '\n' + key(2));
    CHECK(world.cache->get_many<int>(std::ranges::istream_view<std::string>(words)).size() == 18);
    CHECK(world.cache->erase_many(odd) == 5);
    CHECK_FALSE(world.cache->exists(key(3)));
    CHECK(world.cache->exists(key(4)));
}

TEST_CASE("get_many keeps the order of the keys and asks each tier once for what is still missing",
          "[facade][batch]") {
    World world;
    world.cache->set("memory", 1);
    world.cache->set("upper", 2, {.write = sc::TierSet::redis});
    world.cache->set("lower", 3, {.write = sc::TierSet::disk});
    world.upper->round_trips = world.lower->round_trips = 0;
    const std::vector<std::string> keys{"lower", "absent", "memory", "upper", "lower"};
    const auto found = world.cache->get_many<int>(keys);
    REQUIRE(found.size() == 5);
    CHECK(*found[0] == 3);
    CHECK_FALSE(found[1]);
    CHECK(found[2].tier() == sc::TierId::memory);
    CHECK(found[3].tier() == sc::TierId::redis);
    CHECK(*found[4] == 3);
    CHECK(world.lower->round_trips == 1);
    CHECK(world.cache->get<int>("lower").tier() == sc::TierId::memory);
    const sc::Stats stats = world.cache->stats();
    CHECK(stats.hits == 5);
    CHECK(stats.misses == 1);
}

TEST_CASE("erase_many removes from every tier in one round trip each and counts what was there",
          "[facade][batch]") {
    World world;
    world.cache->set_many<int>({{"a", 1}, {"b", 2}});
    world.upper->round_trips = 0;
    CHECK(world.cache->erase_many({"a", "b", "c"}) == 2);
    CHECK(world.upper->round_trips == 1);
    CHECK(world.cache->get_many<int>({"a", "b"})[0].has_value() == false);
}

TEST_CASE("a batch takes what is allowed and refuses the rest", "[facade][batch][limits]") {
    std::vector<std::unique_ptr<sc::Tier>> tiers;
    tiers.push_back(std::make_unique<MapTier>());
    sc::SmartCache<> cache({.max_value_size = 10, .max_key_size = 4}, std::move(tiers));
    const std::vector<std::pair<std::string, std::string>> pairs{
        {"ok", "small"}, {"big", std::string(11, 'x')}, {"longkey", "v"}};
    CHECK(cache.set_many(pairs) == 1);
    CHECK(cache.stats().rejected == 2);
    CHECK(cache.get_many<std::string>({"longkey", "ok"})[1]);
}

TEST_CASE("empty batches are no work", "[facade][batch]") {
    World world;
    CHECK(world.cache->get_many<int>(std::vector<std::string>{}).empty());
    CHECK(world.cache->set_many(std::map<std::string, int>{}) == 0);
    CHECK(world.cache->erase_many(std::vector<std::string>{}) == 0);
    CHECK(world.upper->round_trips == 0);
}
