#include <smartcache/facade/smart_cache.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/codec/bytes.hpp>
#include <smartcache/codec/json.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/map_tier.hpp"

namespace values_test {

namespace sc = smartcache;
using smartcache_test::MapTier;

namespace values_test_app {

struct User {
    std::string name;
    int age = 0;
    friend bool operator==(const User&, const User&) = default;
};
void to_json(nlohmann::json& json, const User& user) {
    json = {{"name", user.name}, {"age", user.age}};
}
void from_json(const nlohmann::json& json, User& user) {
    json.at("name").get_to(user.name);
    json.at("age").get_to(user.age);
}

}  // namespace values_test_app

namespace {

/// A cache over one lower tier; `below` makes the next lookup come from there.
template <class Codec = sc::JsonCodec>
struct Two {
    sc::SmartCache<Codec> cache{sc::Config{}, tiers()};
    void below() { cache.clear_memory(); }
    static std::vector<std::unique_ptr<sc::Tier>> tiers() {
        std::vector<std::unique_ptr<sc::Tier>> list;
        list.push_back(std::make_unique<MapTier>());
        return list;
    }
};

/// Speaks up about bytes that it does not like.
struct ThrowingCodec {
    static constexpr std::uint8_t id = 200;
    using default_type = int;
    void encode(const int& value, sc::ByteSink& out) const {
        out.append(std::span(reinterpret_cast<const std::byte*>(&value), sizeof(value)));
    }
    template <class T>
    [[nodiscard]] std::optional<T> decode(sc::ByteView /*bytes*/) const {
        throw std::runtime_error("what is this?");
    }
};

template <class T>
std::optional<T> read(sc::SmartCache<>& cache, std::string_view key) {
    const auto hit = cache.get<T>(key);
    if (!hit) return std::nullopt;
    return *hit;
}

}  // namespace

TEST_CASE("a hit in memory hands out the live object itself", "[facade][values]") {
    sc::SmartCache<> cache;
    cache.set("u", values_test_app::User{"Ann", 30});
    const auto first = cache.get<values_test_app::User>("u");
    const auto second = cache.get<values_test_app::User>("u");
    REQUIRE(first);
    CHECK(&*first == &*second);
    CHECK(first->name == "Ann");
}

TEST_CASE("values of every kind survive the trip below and back", "[facade][values]") {
    Two<> two;
    two.cache.set("int", -7);
    two.cache.set("double", 2.5);
    two.cache.set("bool", true);
    two.cache.set("text", "gr\xC3\xBC\xC3\x9F");
    two.cache.set("vector", std::vector<int>{1, 2, 3});
    two.cache.set("map", std::map<std::string, int>{{"a", 1}});
    two.cache.set("user", values_test_app::User{"Bob", 4});
    two.cache.set("json", nlohmann::json{{"x", {1, 2}}});
    const std::vector<std::byte> bytes{std::byte{0}, std::byte{255}};
    two.cache.set("bytes", bytes);
    for (int round = 0; round < 2; ++round) {
        CHECK(read<int>(two.cache, "int") == -7);
        CHECK(read<double>(two.cache, "double") == 2.5);
        CHECK(read<bool>(two.cache, "bool") == true);
        CHECK(read<std::string>(two.cache, "text") == "gr\xC3\xBC\xC3\x9F");
        CHECK(read<std::vector<int>>(two.cache, "vector") == std::vector<int>{1, 2, 3});
        CHECK(read<std::map<std::string, int>>(two.cache, "map") == std::map<std::string, int>{{"a", 1}});
        CHECK(read<values_test_app::User>(two.cache, "user") == values_test_app::User{"Bob", 4});
        CHECK(read<nlohmann::json>(two.cache, "json") == nlohmann::json{{"x", {1, 2}}});
        CHECK(read<std::vector<std::byte>>(two.cache, "bytes") == bytes);
        two.below();
    }
}

TEST_CASE("a std::optional value is told apart from nothing stored", "[facade][values]") {
    Two<> two;
    two.cache.set("empty", std::optional<int>{});
    two.cache.set("full", std::optional<int>{3});
    for (int round = 0; round < 2; ++round) {
        const auto empty = two.cache.get<std::optional<int>>("empty");
        REQUIRE(empty);
        CHECK_FALSE(empty->has_value());
        CHECK(**two.cache.get<std::optional<int>>("full") == 3);
        CHECK_FALSE(two.cache.get<std::optional<int>>("absent"));
        two.below();
    }
}

TEST_CASE("text and bytes read as any text or byte type, without a copy as a view", "[facade][values]") {
    sc::SmartCache<> cache;
    cache.set("k", "hello");
    const auto view = cache.get<std::string_view>("k");
    const auto again = cache.get<std::string_view>("k");
    REQUIRE(view);
    CHECK(*view == "hello");
    CHECK(view->data() == again->data());
    CHECK(cache.get<std::span<const std::byte>>("k")->size() == 5);
    CHECK(*cache.get<std::string>("k") == "hello");
    CHECK((*cache.get<std::vector<char>>("k")).size() == 5);
    CHECK((*cache.get<std::vector<unsigned char>>("k"))[0] == 'h');
    CHECK((*cache.get<std::array<char, 5>>("k"))[4] == 'o');
    CHECK_FALSE(cache.get<std::array<char, 4>>("k"));
}

TEST_CASE("a char array is a C string, a string_view keeps its zero bytes", "[facade][values]") {
    sc::SmartCache<> cache;
    cache.set("array", "ab\0cd");
    cache.set("view", std::string_view("ab\0cd", 5));
    CHECK(*cache.get<std::string>("array") == "ab");
    CHECK(cache.get<std::string>("view")->size() == 5);
}

TEST_CASE("a char array without a zero in it ends where the array ends", "[facade][values]") {
    // What lay behind it used to be stored with it.
    struct Field {
        char name[4];  // as in a format with fields of one length
        char after[4];
    };
    const Field field{{'a', 'b', 'c', 'd'}, {'x', 'y', 'z', '\0'}};
    sc::SmartCache<> cache;
    REQUIRE(cache.set("k", field.name));
    CHECK(*cache.get<std::string_view>("k") == "abcd");
    REQUIRE(cache.set_if_absent("l", field.name));
    CHECK(*cache.get<std::string_view>("l") == "abcd");
}

TEST_CASE("text reads as the codec's own type, and never as a number or an object", "[facade][values]") {
    Two<> two;
    two.cache.set("k", "42");
    for (int round = 0; round < 2; ++round) {
        CHECK(read<nlohmann::json>(two.cache, "k") == nlohmann::json("42"));
        CHECK_FALSE(two.cache.get<int>("k"));
        CHECK_FALSE(two.cache.get<values_test_app::User>("k"));
        CHECK_FALSE(two.cache.get<std::vector<int>>("k"));
        two.below();
    }
}

TEST_CASE(
    "reading under another type goes through the codec, and is a counted miss when that would change the "
    "value",
    "[facade][values][types]") {
    Two<> two;
    two.cache.set("300", 300);
    two.cache.set("2.7", 2.7);
    two.cache.set("true", true);
    two.cache.set("user", values_test_app::User{"Ann", 1});
    for (int round = 0; round < 2; ++round) {
        two.cache.reset_stats();
        CHECK(read<long>(two.cache, "300") == 300);
        CHECK(read<nlohmann::json>(two.cache, "user")->at("name") == "Ann");
        CHECK(two.cache.stats().type_mismatches == 0);
        CHECK_FALSE(two.cache.get<std::uint8_t>("300"));
        CHECK_FALSE(two.cache.get<int>("2.7"));
        CHECK_FALSE(two.cache.get<int>("true"));
        CHECK_FALSE(two.cache.get<std::string>("300"));
        CHECK(two.cache.stats().type_mismatches == 4);
        CHECK(two.cache.stats().misses == 4);
        two.below();
    }
}

TEST_CASE("memory_only keeps move-only values, in memory alone", "[facade][values]") {
    Two<> two;
    two.cache.set("k", 1);
    REQUIRE(two.cache.set("k", sc::memory_only(std::make_unique<int>(5))));
    const auto hit = two.cache.get<std::unique_ptr<int>>("k");
    REQUIRE(hit);
    CHECK(**hit == 5);
    two.below();
    CHECK_FALSE(two.cache.get<std::unique_ptr<int>>("k"));
    CHECK_FALSE(two.cache.get<int>("k"));
}

TEST_CASE("a Lookup behaves like an optional", "[facade][lookup]") {
    sc::SmartCache<> cache;
    cache.set("k", std::string("value"));
    sc::Lookup<std::string_view> none = cache.get<std::string_view>("absent");
    CHECK_FALSE(none.has_value());
    CHECK(none.tier() == sc::TierId::none);
    CHECK(none.ttl() == sc::Duration::zero());
    CHECK_THROWS_AS(none.value(), std::bad_optional_access);
    CHECK(none.value_or("other") == "other");

    const std::string owned = *cache.get<std::string_view>("k");  // an rvalue gives an owning copy
    CHECK(owned == "value");
    static_assert(std::is_same_v<decltype(*cache.get<std::string_view>("k")), std::string>);
    static_assert(std::is_same_v<decltype(cache.get<std::string_view>("k").value_or("")), std::string>);
    static_assert(!std::is_copy_constructible_v<sc::Lookup<int>>);

    sc::Lookup<std::string_view> hit = cache.get<std::string_view>("k");
    sc::Lookup<std::string_view> moved = std::move(hit);
    CHECK_FALSE(hit);  // NOLINT(bugprone-use-after-move): a moved-from lookup is empty
    CHECK(*moved == "value");
}

TEST_CASE("large values are compressed below and come back whole", "[facade][values][compression]") {
    Two<> two;
    const std::string page(100'000, 'p');
    two.cache.set("k", page);
    CHECK(two.cache.stats().compression_ratio > 10);
    two.below();
    CHECK(*two.cache.get<std::string_view>("k") == page);
    two.cache.set("j", std::vector<std::string>(1000, "same"));
    two.below();
    CHECK(two.cache.get<std::vector<std::string>>("j")->size() == 1000);
}

TEST_CASE("memory.compression keeps values compressed in memory and gives them out whole",
          "[facade][compression]") {
    sc::SmartCache<> cache{{.memory = {.compression = true}}};
    const std::string page(100'000, 'p');
    cache.set("k", page);
    CHECK(cache.stats().memory_usage < 10'000);
    CHECK(*cache.get<std::string_view>("k") == page);
    CHECK(*cache.get<std::string>("k") == page);
    CHECK(*cache.get<nlohmann::json>("k") == nlohmann::json(page));
}

TEST_CASE("a cache of bytes needs no codec library", "[facade][values]") {
    Two<sc::BytesCodec> two;
    two.cache.set("k", std::string_view("raw"));
    for (int round = 0; round < 2; ++round) {
        CHECK(*two.cache.get<std::string_view>("k") == "raw");
        CHECK(*two.cache.get("k") == "raw");
        two.below();
    }
}

TEST_CASE("what a decoder throws stays inside", "[facade][values]") {
    Two<ThrowingCodec> two;
    two.cache.set("k", 1);
    CHECK(*two.cache.get<int>("k") == 1);
    two.below();
    CHECK_FALSE(two.cache.get<int>("k"));
    CHECK_FALSE(two.cache.get_many<int>({"k"}).front());
    CHECK(*two.cache.get_or_compute("k", [] { return 2; }) == 2);
    CHECK(two.cache.stats().type_mismatches >= 2);
}

TEST_CASE("a value that throws while it is copied in leaves the old one in place", "[facade][values]") {
    struct Bomb {
        int value = 0;
        bool armed = false;
        Bomb(int v, bool a) : value(v), armed(a) {}
        Bomb(const Bomb& other) : value(other.value), armed(other.armed) {
            if (armed) throw std::runtime_error("copy");
        }
        Bomb(Bomb&&) = default;
    };
    sc::SmartCache<> cache;
    cache.set("k", sc::memory_only(Bomb(1, false)));
    const sc::MemoryOnly<Bomb> armed{Bomb(2, true)};
    CHECK_THROWS_AS(cache.set("k", armed), std::runtime_error);
    CHECK(cache.get<Bomb>("k")->value == 1);
}

}  // namespace values_test
