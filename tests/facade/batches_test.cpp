#include <smartcache/facade/smart_cache.hpp>

#include <cstddef>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>

#include "facade/support/cache_over_maps.hpp"
#include "support/catch.hpp"
#include "support/map_tier.hpp"

namespace batches_test {

namespace sc = smartcache;
using smartcache_test::MapTier;

namespace {

using World = smartcache_test::CacheOverMaps;

/// A forward range whose elements are made when they are asked for. (clang 14 cannot use libstdc++'s views.)
template <class Make>
class Made {
  public:
    Made(int first, int last, int step, Make make) : first_(first), last_(last), step_(step), make_(make) {}

    class iterator {
      public:
        using iterator_category = std::forward_iterator_tag;
        using value_type = std::invoke_result_t<Make, int>;
        using difference_type = std::ptrdiff_t;
        using pointer = void;
        using reference = value_type;
        iterator() = default;
        iterator(const Made* home, int at) : home_(home), at_(at) {}
        value_type operator*() const { return home_->make_(at_); }
        iterator& operator++() {
            at_ += home_->step_;
            return *this;
        }
        iterator operator++(int) {
            iterator before = *this;
            ++*this;
            return before;
        }
        friend bool operator==(const iterator& a, const iterator& b) { return a.at_ == b.at_; }

      private:
        const Made* home_ = nullptr;
        int at_ = 0;
    };
    [[nodiscard]] iterator begin() const { return {this, first_}; }
    [[nodiscard]] iterator end() const { return {this, last_ + step_ - (last_ - first_) % step_}; }

  private:
    int first_;
    int last_;
    int step_;
    Make make_;
};

/// The words of a stream: a range that can be read once.
struct Words {
    std::istream& stream;
    [[nodiscard]] std::istream_iterator<std::string> begin() const {
        return std::istream_iterator<std::string>(stream);
    }
    [[nodiscard]] std::istream_iterator<std::string> end() const { return {}; }
};

}  // namespace

TEST_CASE("set_many writes each tier in one round trip", "[facade][batch]") {
    World world;
    const std::map<std::string, int> values{{"a", 1}, {"b", 2}, {"c", 3}};
    CHECK(world.cache->set_many(values) == 3);
    CHECK(world.redis->round_trips == 1);
    CHECK(world.disk->round_trips == 1);
    CHECK(*world.cache->get<int>("b") == 2);
}

TEST_CASE("batches take ranges that make their keys on the way", "[facade][batch]") {
    World world;
    // Long enough not to fit into the string object itself.
    const auto key = [](int number) { return "a key of more than a few letters: " + std::to_string(number); };
    const auto pair = [&](int number) { return std::pair(key(number), number * number); };
    CHECK(world.cache->set_many(Made{1, 9, 1, pair}) == 9);
    for (const bool in_memory : {true, false}) {
        if (!in_memory) world.cache->clear_memory();
        const auto found = world.cache->get_many<int>(Made{1, 9, 2, key});
        REQUIRE(found.size() == 5);
        for (std::size_t i = 0; i < found.size(); ++i) {
            const int number = 2 * static_cast<int>(i) + 1;
            CHECK(found[i].value_or(0) == number * number);
            CHECK(found[i].tier() == (in_memory ? sc::TierId::memory : sc::TierId::redis));
        }
    }
    CHECK(world.cache->get<int>(key(3)).tier() == sc::TierId::memory);
    CHECK(world.cache->erase_many(Made{1, 9, 2, key}) == 5);
    CHECK_FALSE(world.cache->exists(key(3)));
    CHECK(world.cache->exists(key(4)));
}

TEST_CASE("a batch may be read only once", "[facade][batch]") {
    World world;
    world.cache->set("first", 1);
    world.cache->set("third", 3);
    std::istringstream words("first second third");
    const Words once{words};
    const auto found = world.cache->get_many<int>(once);
    REQUIRE(found.size() == 3);
    CHECK(found[0].value_or(0) == 1);
    CHECK_FALSE(found[1]);
    CHECK(found[2].value_or(0) == 3);
}

TEST_CASE("get_many keeps the order of the keys and asks each tier once for what is still missing",
          "[facade][batch]") {
    World world;
    world.cache->set("memory", 1);
    world.cache->set("upper", 2, {.write = sc::TierSet::redis});
    world.cache->set("lower", 3, {.write = sc::TierSet::disk});
    world.redis->round_trips = world.disk->round_trips = 0;
    const std::vector<std::string> keys{"lower", "absent", "memory", "upper", "lower"};
    const auto found = world.cache->get_many<int>(keys);
    REQUIRE(found.size() == 5);
    CHECK(*found[0] == 3);
    CHECK_FALSE(found[1]);
    CHECK(found[2].tier() == sc::TierId::memory);
    CHECK(found[3].tier() == sc::TierId::redis);
    CHECK(*found[4] == 3);
    CHECK(world.disk->round_trips == 1);
    CHECK(world.cache->get<int>("lower").tier() == sc::TierId::memory);
    const sc::Stats stats = world.cache->stats();
    CHECK(stats.hits == 5);
    CHECK(stats.misses == 1);
}

TEST_CASE("erase_many removes from every tier in one round trip each and counts what was there",
          "[facade][batch]") {
    World world;
    world.cache->set_many<int>({{"a", 1}, {"b", 2}});
    world.redis->round_trips = 0;
    CHECK(world.cache->erase_many({"a", "b", "c"}) == 2);
    CHECK(world.redis->round_trips == 1);
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
    CHECK(world.redis->round_trips == 0);
}

}  // namespace batches_test
