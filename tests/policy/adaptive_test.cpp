#include <smartcache/policy/adaptive.hpp>

#include "model_cache.hpp"
#include "support/catch.hpp"

using namespace policy_test;

namespace {
struct AdaptiveBed {
    explicit AdaptiveBed(std::uint64_t capacity)
        : owned(std::make_unique<policy::Adaptive>(capacity)),
          adaptive(*owned),
          cache(std::move(owned), capacity) {}
    std::unique_ptr<policy::Adaptive> owned;
    const policy::Adaptive& adaptive;
    ModelCache cache;
};
}  // namespace

TEST_CASE("adaptive keeps most of a loop ten percent larger than the cache, where lru gets nothing",
          "[policy][adaptive]") {
    for (const std::size_t capacity : {50U, 500U, 5000U}) {
        CAPTURE(capacity);
        const auto loop = [&](std::size_t i) { return i % (capacity + capacity / 10); };
        ModelCache lru(EvictionPolicy::lru, capacity);
        CHECK(hit_ratio(lru, 100 * capacity, 20 * capacity, loop) == 0.0);
        AdaptiveBed bed(capacity);
        CHECK(hit_ratio(bed.cache, 100 * capacity, 20 * capacity, loop) > 0.5);
    }
}

TEST_CASE("adaptive widens its window when keys return soon or never", "[policy][adaptive]") {
    for (const std::size_t capacity : {100U, 2000U}) {
        CAPTURE(capacity);
        AdaptiveBed bed(capacity);
        // Every key twice, half a cache of requests apart, and never again; 0.5 is all there is to get.
        const std::size_t distance = capacity / 2 + 1;
        const auto key = [&](std::size_t i) { return i % 2 == 0 || i < distance ? i : i - distance; };
        CHECK(hit_ratio(bed.cache, 400 * capacity, 50 * capacity, key) > 0.4);
        CHECK(bed.adaptive.mode().window >= 0.6);
    }
}

TEST_CASE("adaptive follows the traffic from recency to a loop and back", "[policy][adaptive]") {
    constexpr std::size_t capacity = 300;
    AdaptiveBed bed(capacity);
    const auto soon = [&](std::size_t i) { return i % 2 == 0 || i < 151 ? i : i - 151; };
    const auto loop = [&](std::size_t i) { return 10'000'000 + i % 400; };
    CHECK(hit_ratio(bed.cache, 100'000, 10'000, soon) > 0.4);
    CHECK(hit_ratio(bed.cache, 100'000, 10'000, loop) > 0.4);
    CHECK(hit_ratio(bed.cache, 100'000, 10'000, [&](std::size_t i) { return 20'000'000 + soon(i); }) > 0.4);
}

TEST_CASE("the shards of a cache follow the choice of their leader and keep no shadows",
          "[policy][adaptive]") {
    constexpr std::size_t capacity = 300;
    auto owned = policy::make_policy(EvictionPolicy::adaptive, capacity);
    auto following = policy::make_policy(EvictionPolicy::adaptive, capacity, 0, owned.get());
    const auto& leader = dynamic_cast<const policy::Adaptive&>(*owned);
    const auto& follower = dynamic_cast<const policy::Adaptive&>(*following);
    ModelCache first(std::move(owned), capacity);
    ModelCache second(std::move(following), capacity);
    const policy::Mode before = follower.mode();
    for (std::size_t i = 0; i < 100'000; ++i) first.request(i % 400);
    REQUIRE_FALSE(leader.mode() == before);
    CHECK(follower.mode() == before);
    CHECK(hit_ratio(second, 40'000, 10'000, [](std::size_t i) { return i % 400; }) > 0.4);
    CHECK(follower.mode() == leader.mode());
    CHECK(follower.memory_bytes() < leader.memory_bytes() / 5);
    std::size_t wanted = 0;
    for (std::uint64_t key = 0; key < 1000; ++key) wanted += follower.wants_hit(hash_of(key)) ? 1U : 0U;
    CHECK(wanted == 0);
}

TEST_CASE("adaptive asks for the hits of a sample of the keys that shrinks as the cache grows",
          "[policy][adaptive]") {
    const auto wanted = [](std::uint64_t capacity) {
        ModelCache cache(EvictionPolicy::adaptive, capacity);
        for (std::uint64_t key = 0; key < 2 * capacity; ++key) cache.put(key);
        double count = 0;
        for (std::uint64_t key = 0; key < 20'000; ++key)
            count += cache.policy().wants_hit(hash_of(key)) ? 1 : 0;
        return count / 20'000;
    };
    CHECK(wanted(256) == 1.0);
    CHECK(wanted(4096) == Approx(1.0 / 16).margin(0.01));
    CHECK(wanted(65'536) == Approx(1.0 / 256).margin(0.003));
}

TEST_CASE("adaptive loses a little without reported hits, but keeps what its marks tell",
          "[policy][adaptive]") {
    const auto ratio = [](EvictionPolicy which, bool report) {
        ModelCache cache(which, 1000);
        cache.report_hits(report);
        Zipf keys(50'000, 0.9, 8);
        return hit_ratio(cache, 300'000, 200'000, [&](std::size_t) { return keys(); });
    };
    const double untold = ratio(EvictionPolicy::adaptive, false);
    CHECK(untold > ratio(EvictionPolicy::adaptive, true) - 0.04);
    CHECK(untold > ratio(EvictionPolicy::lru, true) + 0.05);
}

TEST_CASE("adaptive plans its shadows anew when the mean weight turns out otherwise", "[policy][adaptive]") {
    ModelCache cache(EvictionPolicy::adaptive, 1'000'000);
    for (std::uint64_t key = 0; key < 5000; ++key) cache.put(key, 1000);
    const auto sampled = [&] {
        std::size_t count = 0;
        for (std::uint64_t key = 0; key < 10'000; ++key)
            count += cache.policy().wants_hit(hash_of(key)) ? 1U : 0U;
        return count;
    };
    const std::size_t heavy = sampled();
    for (std::uint64_t key = 10'000; key < 210'000; ++key) cache.put(key, 10);
    CHECK(sampled() < heavy / 8);
    CHECK(cache.policy().memory_bytes() < (16 + 20) * cache.size());
}
