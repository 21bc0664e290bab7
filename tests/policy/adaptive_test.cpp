#include <smartcache/policy/adaptive.hpp>

#include "model_cache.hpp"
#include "support/catch.hpp"

using namespace policy_test;
using smartcache::HitObjective;

namespace {
struct AdaptiveBed {
    explicit AdaptiveBed(std::uint64_t capacity, HitObjective objective = HitObjective::objects)
        : owned(std::make_unique<policy::Adaptive>(capacity, nullptr, objective)),
          adaptive(*owned),
          cache(std::move(owned), capacity) {}
    std::unique_ptr<policy::Adaptive> owned;
    const policy::Adaptive& adaptive;
    ModelCache cache;
};

struct Ratios {
    double objects = 0;
    double bytes = 0;
};

// Four requests of five go to a thousand light keys, all of which would fit; the fifth to forty heavy ones,
// each six times as popular as a light one, of which a quarter would fit instead.
Ratios light_and_heavy(ModelCache& cache) {
    constexpr std::size_t requests = 200'000;
    std::mt19937_64 random(11);
    Ratios sums;
    double all_bytes = 0;
    for (std::size_t i = 0; i < requests; ++i) {
        const bool heavy = random() % 5 == 0;
        const std::uint64_t key = heavy ? 10'000 + random() % 40 : random() % 1000;
        const std::uint32_t weight = heavy ? 5000 : 30 + static_cast<std::uint32_t>(key % 20);
        const bool hit = cache.request(key, weight);
        if (i < requests / 2) continue;
        all_bytes += weight;
        if (hit) sums.objects += 1;
        if (hit) sums.bytes += weight;
    }
    return {sums.objects / (requests / 2), sums.bytes / all_bytes};
}
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

TEST_CASE("with unequal weights adaptive hits most objects or, when asked to, most bytes",
          "[policy][adaptive]") {
    constexpr std::uint64_t capacity = 50'000;
    AdaptiveBed objects(capacity, HitObjective::objects);
    AdaptiveBed bytes(capacity, HitObjective::bytes);
    const Ratios most_objects = light_and_heavy(objects.cache);
    const Ratios most_bytes = light_and_heavy(bytes.cache);
    CHECK(objects.adaptive.mode().power == 2);
    CHECK(bytes.adaptive.mode().power == 4);
    CHECK(most_objects.objects > 0.7);
    CHECK(most_objects.objects > most_bytes.objects + 0.1);
    CHECK(most_bytes.bytes > most_objects.bytes + 0.05);
    for (const EvictionPolicy which :
         {EvictionPolicy::lru, EvictionPolicy::s3_fifo, EvictionPolicy::w_tinylfu}) {
        CAPTURE(to_string(which));
        ModelCache rival(which, capacity);
        CHECK(most_objects.objects > light_and_heavy(rival).objects + 0.1);
    }
}

TEST_CASE("equal weights: the objective changes no victim", "[policy][adaptive]") {
    for (const std::uint32_t weight : {1U, 9U}) {
        CAPTURE(weight);
        AdaptiveBed objects(500 * weight, HitObjective::objects);
        AdaptiveBed bytes(500 * weight, HitObjective::bytes);
        Zipf keys(5000, 0.8, 4);
        for (int i = 0; i < 100'000; ++i) {
            const std::uint64_t key = i % 3 == 0 ? 100'000 + static_cast<std::uint64_t>(i) : keys();
            objects.cache.request(key, weight);
            bytes.cache.request(key, weight);
            REQUIRE(objects.adaptive.mode().power == 0);
        }
        REQUIRE(objects.cache.evicted().size() > 50'000);
        CHECK(objects.cache.evicted() == bytes.cache.evicted());
    }
}

TEST_CASE("weights do not choose the victim where the number of entries is what is short",
          "[policy][adaptive]") {
    AdaptiveBed bed(1'000'000);
    bed.cache.most_entries(300);
    Zipf keys(3000, 0.9, 2);
    const auto run = [&](int requests) {
        for (int i = 0; i < requests; ++i) {
            const std::uint64_t key = keys();
            bed.cache.request(key, static_cast<std::uint32_t>(100 + 1000 * (key % 4)));
        }
    };
    run(20'000);
    CHECK(bed.cache.weight() < 700'000);
    CHECK(bed.adaptive.mode().power == 0);
    // More entries than the weights allow: now these bind.
    bed.cache.most_entries(3000);
    run(20'000);
    CHECK(bed.adaptive.mode().power == 2);
}

TEST_CASE("followers run the leader's modes for unequal weights", "[policy][adaptive]") {
    auto owned = policy::make_policy(EvictionPolicy::adaptive, 50'000, 0, nullptr, HitObjective::bytes);
    auto following =
        policy::make_policy(EvictionPolicy::adaptive, 50'000, 0, owned.get(), HitObjective::bytes);
    const auto& follower = dynamic_cast<const policy::Adaptive&>(*following);
    ModelCache first(std::move(owned), 50'000);
    ModelCache second(std::move(following), 50'000);
    light_and_heavy(first);
    REQUIRE(follower.mode().power == 0);
    second.put(1, 10);
    CHECK(follower.mode().power == 4);
}
