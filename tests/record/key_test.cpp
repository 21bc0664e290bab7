#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include <smartcache/record/key.hpp>

#include "support/catch.hpp"

namespace sc = smartcache;
using namespace std::literals;

TEST_CASE("a physical key is the framed namespace and the key", "[key]") {
    CHECK(sc::physical_key("app", "user:1") == "3:app:user:1");
    CHECK(sc::physical_key("", "user:1") == "0::user:1");
    CHECK(sc::physical_key("", "") == "0::");
    CHECK(sc::physical_key("a:b", "\0:"s) == "3:a:b:\0:"s);
}

TEST_CASE("a physical key splits into what it was made of; different pairs never share one",
          "[key][property]") {
    std::mt19937 random(11);
    const auto text = [&random] {
        constexpr std::string_view letters = ":01\0"sv;
        std::string result(random() % 5, ' ');
        for (char& c : result) c = letters[random() % letters.size()];
        return result;
    };
    std::map<std::string, std::pair<std::string, std::string>> seen;
    for (int i = 0; i < 20'000; ++i) {
        const std::string name_space = text();
        const std::string key = text();
        const std::string physical = sc::physical_key(name_space, key);
        const auto parts = sc::split_physical_key(physical);
        REQUIRE(parts);
        REQUIRE(parts->name_space == name_space);
        REQUIRE(parts->key == key);
        const auto at = seen.emplace(physical, std::pair(name_space, key)).first;
        REQUIRE(at->second == std::pair(name_space, key));
    }
    CHECK(seen.size() > 1000);
}

TEST_CASE("what is not a physical key does not split", "[key]") {
    for (const std::string_view wrong :
         {""sv, ":"sv, "0"sv, "0:"sv, "a"sv, "3:app"sv, "3:app user"sv, "4:app:"sv, "03:app:x"sv, "00::"sv,
          "-1::"sv, "+0::"sv, " 0::"sv, "0x1:a:"sv, "18446744073709551615:a:b"sv,
          "18446744073709551616:a:b"sv, "99999999999999999999999999:a:"sv, "\0::"sv}) {
        INFO(wrong);
        CHECK_FALSE(sc::split_physical_key(wrong));
    }
}

TEST_CASE("splitting is total, and whatever splits is the key of its parts", "[key][fuzz]") {
    std::mt19937 random(12);
    int split = 0;
    for (int i = 0; i < 100'000; ++i) {
        constexpr std::string_view letters = "0123:::a"sv;
        std::string text(random() % 8, ' ');
        for (char& c : text) c = letters[random() % letters.size()];
        if (const auto parts = sc::split_physical_key(text)) {
            ++split;
            REQUIRE(sc::physical_key(parts->name_space, parts->key) == text);
        }
    }
    CHECK(split > 100);
}
