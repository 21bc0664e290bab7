#include <smartcache/policy/s3_fifo.hpp>

#include "model_cache.hpp"
#include "support/catch.hpp"

using namespace policy_test;

TEST_CASE("s3_fifo moves to the main queue what was hit twice in the small one", "[policy][s3_fifo]") {
    ModelCache cache(EvictionPolicy::s3_fifo, 10);
    for (std::uint64_t key = 0; key < 10; ++key) cache.put(key);
    cache.get(0);
    cache.get(1);
    cache.get(1);
    cache.put(10);  // 0 was hit only once
    CHECK(cache.evicted() == std::vector<std::uint64_t>{0});
    for (std::uint64_t key = 11; key < 60; ++key) cache.put(key);
    CHECK(cache.contains(1));
}

TEST_CASE("s3_fifo remembers what left the small queue and lets it into the main one when it returns",
          "[policy][s3_fifo]") {
    ModelCache cache(EvictionPolicy::s3_fifo, 100);
    for (std::uint64_t key = 0; key < 101; ++key) cache.put(key);
    REQUIRE_FALSE(cache.contains(0));
    cache.put(0);
    for (std::uint64_t key = 1000; key < 2000; ++key) cache.put(key);
    CHECK(cache.contains(0));
    CHECK_FALSE(cache.contains(50));
}

TEST_CASE("what was erased from s3_fifo leaves no ghost", "[policy][s3_fifo]") {
    ModelCache cache(EvictionPolicy::s3_fifo, 100);
    for (std::uint64_t key = 0; key < 101; ++key) cache.put(key);
    cache.put(0);  // from the ghost into main
    cache.erase(0);
    cache.put(0);  // a newcomer again
    for (std::uint64_t key = 1000; key < 1200; ++key) cache.put(key);
    CHECK_FALSE(cache.contains(0));
}

TEST_CASE("s3_fifo needs no reported hits", "[policy][s3_fifo]") {
    ModelCache told(EvictionPolicy::s3_fifo, 50);
    ModelCache untold(EvictionPolicy::s3_fifo, 50);
    untold.report_hits(false);
    Zipf keys(300, 0.9, 3);
    for (int i = 0; i < 5000; ++i) {
        const std::uint64_t key = keys();
        REQUIRE(told.request(key) == untold.request(key));
    }
}
