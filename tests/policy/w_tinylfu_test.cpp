#include <smartcache/policy/w_tinylfu.hpp>

#include "model_cache.hpp"
#include "support/catch.hpp"

using namespace policy_test;

TEST_CASE("w_tinylfu refuses newcomers that are asked for less often than the entry they would displace",
          "[policy][w_tinylfu]") {
    ModelCache cache(EvictionPolicy::w_tinylfu, 100);
    for (int round = 0; round < 5; ++round) {
        for (std::uint64_t key = 0; key < 100; ++key) cache.request(key);
    }
    for (std::uint64_t key = 1000; key < 1300; ++key) cache.request(key);
    std::size_t kept = 0;
    for (std::uint64_t key = 0; key < 100; ++key) kept += cache.contains(key) ? 1U : 0U;
    CHECK(kept >= 90);
}

TEST_CASE("w_tinylfu keeps its share of a loop larger than the cache", "[policy][w_tinylfu]") {
    ModelCache cache(EvictionPolicy::w_tinylfu, 100);
    CHECK(hit_ratio(cache, 30'000, 10'000, [](std::size_t i) { return i % 110; }) > 0.5);
}

TEST_CASE("the climber enlarges the window when keys return soon or never", "[policy][w_tinylfu]") {
    auto owned = std::make_unique<policy::WTinyLfu>(1000, 1);
    const policy::WTinyLfu& w_tinylfu = *owned;
    ModelCache cache(std::move(owned), 1000);
    const double before = w_tinylfu.window_share();
    // Each key is asked for twice, 100 requests apart, and never again: frequency knows nothing, a window of
    // 10 % all.
    const auto key = [](std::size_t i) { return i % 2 == 0 ? i : (i >= 101 ? i - 101 : i); };
    const double ratio = hit_ratio(cache, 600'000, 100'000, key);
    CHECK(w_tinylfu.window_share() > before + 0.04);
    CHECK(ratio > 0.3);
}
