#include <smartcache/policy/lru.hpp>

#include <list>

#include "model_cache.hpp"
#include "support/catch.hpp"

using namespace policy_test;

TEST_CASE("lru evicts exactly what a naive list evicts", "[policy][lru]") {
    ModelCache cache(EvictionPolicy::lru, 50);
    std::list<std::uint64_t> naive;
    Zipf keys(300, 0.8, 11);
    for (int i = 0; i < 20'000; ++i) {
        const std::uint64_t key = keys();
        const auto found = std::find(naive.begin(), naive.end(), key);
        const bool expected = found != naive.end();
        if (expected) naive.erase(found);
        naive.push_front(key);
        if (naive.size() > 50) naive.pop_back();
        REQUIRE(cache.request(key) == expected);
    }
}

TEST_CASE("lru gets nothing from a loop one key larger than the cache", "[policy][lru]") {
    ModelCache cache(EvictionPolicy::lru, 100);
    CHECK(hit_ratio(cache, 2020, 2020, [](std::size_t i) { return i % 101; }) == 0.0);
}

TEST_CASE("a write refreshes an entry's place in lru", "[policy][lru]") {
    ModelCache cache(EvictionPolicy::lru, 2);
    cache.put(1);
    cache.put(2);
    cache.put(1);
    cache.put(3);
    CHECK(cache.contains(1));
    CHECK_FALSE(cache.contains(2));
}
