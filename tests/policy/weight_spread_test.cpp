#include <smartcache/policy/weight_spread.hpp>

#include <random>

#include "support/catch.hpp"

using smartcache::policy::WeightSpread;

TEST_CASE("equal weights are equal, whatever they are", "[policy][spread]") {
    for (const std::uint32_t weight : {0U, 1U, 3U, 1000U, ~0U}) {
        WeightSpread spread;
        for (int i = 0; i < 5000; ++i) {
            spread.add(weight, 500);
            REQUIRE_FALSE(spread.unequal());
        }
    }
}

TEST_CASE("weights between one and four times the least are unequal, those within a tenth are not",
          "[policy][spread]") {
    std::mt19937 random(1);
    WeightSpread wide;
    WeightSpread narrow;
    for (int i = 0; i < 2000; ++i) {
        wide.add(static_cast<std::uint32_t>(100 + random() % 300), 500);
        narrow.add(static_cast<std::uint32_t>(100 + random() % 10), 500);
        CHECK_FALSE(narrow.unequal());
    }
    CHECK(wide.unequal());
}

TEST_CASE("a giant among a thousand equals does not make weights unequal", "[policy][spread]") {
    WeightSpread spread;
    for (int i = 1; i < 10'000; ++i) {
        spread.add(i % 1000 == 0 ? 100'000U : 100U, 500);
        REQUIRE_FALSE(spread.unequal());
    }
}

TEST_CASE("weights that become equal are noticed, with hysteresis", "[policy][spread]") {
    std::mt19937 random(1);
    WeightSpread spread;
    for (int i = 0; i < 1000; ++i) spread.add(static_cast<std::uint32_t>(1 + random() % 1000), 500);
    REQUIRE(spread.unequal());
    // A deviation of 0.3 binary orders: not enough to begin with, too much to stop.
    for (int i = 0; i < 20'000; ++i) spread.add(i % 2 == 0 ? 1000U : 1516U, 500);
    CHECK(spread.unequal());
    for (int i = 0; i < 20'000; ++i) spread.add(1000, 500);
    CHECK_FALSE(spread.unequal());
    for (int i = 0; i < 20'000; ++i) spread.add(i % 2 == 0 ? 1000U : 1516U, 500);
    CHECK_FALSE(spread.unequal());
}

TEST_CASE("a large cache remembers for longer which weights it took in", "[policy][spread]") {
    std::mt19937 random(1);
    WeightSpread small;
    WeightSpread large;
    for (int i = 0; i < 20'000; ++i) {
        const std::uint32_t weight = i < 10'000 ? static_cast<std::uint32_t>(1 + random() % 1000) : 500;
        small.add(weight, 500);
        large.add(weight, 100'000);
    }
    CHECK_FALSE(small.unequal());
    CHECK(large.unequal());
}
