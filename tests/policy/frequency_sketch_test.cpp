#include <smartcache/policy/frequency_sketch.hpp>

#include <cstdlib>

#include "model_cache.hpp"
#include "support/catch.hpp"

namespace policy = smartcache::policy;
using policy_test::hash_of;

TEST_CASE("a sketch never counts too few before it ages, and stops at fifteen", "[policy][sketch]") {
    policy::FrequencySketch sketch;
    sketch.reserve(1024);
    for (std::uint64_t key = 0; key < 20; ++key) {
        for (std::uint64_t i = 0; i < key; ++i) sketch.increment(hash_of(key));
    }
    for (std::uint64_t key = 0; key < 20; ++key) {
        CAPTURE(key);
        CHECK(sketch.frequency(hash_of(key)) >= std::min<std::uint64_t>(key, 15));
        CHECK(sketch.frequency(hash_of(key)) <= 15);
    }
}

TEST_CASE("a full sketch hardly ever confuses a rare key with a frequent one", "[policy][sketch]") {
    constexpr std::uint64_t entries = 4096;
    policy::FrequencySketch sketch;
    sketch.reserve(entries);
    for (std::uint64_t round = 0; round < 4; ++round) {
        for (std::uint64_t key = 0; key < entries; ++key) sketch.increment(hash_of(key));
    }
    std::size_t exact = 0;
    for (std::uint64_t key = 0; key < entries; ++key) exact += sketch.frequency(hash_of(key)) <= 4 ? 1U : 0U;
    CHECK(exact > entries * 95 / 100);
    std::size_t invented = 0;
    for (std::uint64_t key = entries; key < 2 * entries; ++key)
        invented += sketch.frequency(hash_of(key)) >= 4 ? 1U : 0U;
    CHECK(invented < entries / 20);
}

TEST_CASE("frequencies halve with every ten accesses per entry", "[policy][sketch]") {
    policy::FrequencySketch sketch;
    sketch.reserve(64);
    for (int i = 0; i < 12; ++i) sketch.increment(hash_of(1));
    REQUIRE(sketch.frequency(hash_of(1)) == 12);
    // Two keys whose counters stand at fifteen change nothing but the sketch's age.
    for (int i = 0; i < 15; ++i) sketch.increment(hash_of(2));
    for (int i = 0; i < 640; ++i) sketch.increment(hash_of(2));
    CHECK(sketch.frequency(hash_of(1)) == 6);
}

TEST_CASE("counting several at once is counting as often", "[policy][sketch]") {
    policy::FrequencySketch once;
    policy::FrequencySketch each;
    once.reserve(64);
    each.reserve(64);
    for (std::uint64_t i = 0; i < 3000; ++i) {
        const std::uint64_t hash = hash_of(i * 7 % 50);
        const auto times = static_cast<unsigned>(i % 4);
        once.increment(hash, times);
        for (unsigned k = 0; k < times; ++k) each.increment(hash);
        if (i % 100 != 99) continue;
        std::size_t differ = 0;  // where one was in the middle of its four when a block was halved
        for (std::uint64_t key = 0; key < 50; ++key) {
            const int off = static_cast<int>(once.frequency(hash_of(key))) -
                            static_cast<int>(each.frequency(hash_of(key)));
            CHECK(std::abs(off) <= 2);
            differ += off != 0 ? 1U : 0U;
        }
        CHECK(differ <= 10);
    }
}

TEST_CASE("growing keeps every count", "[policy][sketch]") {
    policy::FrequencySketch sketch;
    sketch.reserve(16);
    for (int i = 0; i < 9; ++i) sketch.increment(hash_of(5));
    for (const std::size_t entries : {17U, 1000U, 100'000U}) {
        sketch.reserve(entries);
        CHECK(sketch.frequency(hash_of(5)) == 9);
    }
}

TEST_CASE("a sketch that was not sized counts nothing and holds nothing", "[policy][sketch]") {
    policy::FrequencySketch sketch;
    sketch.increment(hash_of(1));
    CHECK(sketch.frequency(hash_of(1)) == 0);
    CHECK(sketch.memory_bytes() == 0);
}
