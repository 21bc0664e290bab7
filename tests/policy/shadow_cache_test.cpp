#include <smartcache/policy/shadow_cache.hpp>

#include "model_cache.hpp"
#include "support/catch.hpp"

namespace policy = smartcache::policy;
using policy::Mode;
using policy_test::hash_of;

namespace {
constexpr Mode mode{.gate = Mode::Gate::ghost, .window = 0.1, .promote_at = 2, .late = false};
}

TEST_CASE("a shadow hits what is in it and never holds more than it may", "[policy][shadow]") {
    policy::ShadowCache shadow(50, 50, mode);
    for (std::uint64_t key = 0; key < 50; ++key) CHECK_FALSE(shadow.request(hash_of(key), 1));
    for (std::uint64_t key = 0; key < 50; ++key) CHECK(shadow.request(hash_of(key), 1));
    policy_test::Zipf keys(1000, 0.6, 1);
    for (int i = 0; i < 50'000; ++i) {
        (void)shadow.request(hash_of(keys()), 1);
        REQUIRE(shadow.size() <= 50);
    }
    CHECK(shadow.size() == 50);
}

TEST_CASE("a shadow is bound by weight as well as by entries", "[policy][shadow]") {
    policy::ShadowCache shadow(50, 100, mode);
    for (std::uint64_t key = 0; key < 1000; ++key) (void)shadow.request(hash_of(key), 25);
    CHECK(shadow.size() == 4);
    CHECK_FALSE(shadow.request(hash_of(5000), 101));
    CHECK_FALSE(shadow.request(hash_of(5000), 101));  // heavier than all of it: never kept
}

TEST_CASE("a shadow of a sample of the keys has the hit ratio of the whole cache", "[policy][shadow]") {
    policy::ShadowCache whole(4000, 4000, mode);
    policy::ShadowCache sample(500, 500, mode);
    policy_test::Zipf keys(40'000, 0.8, 6);
    double whole_hits = 0;
    double whole_requests = 0;
    double sample_hits = 0;
    double sample_requests = 0;
    for (int i = 0; i < 400'000; ++i) {
        const std::uint64_t hash = hash_of(keys());
        whole_requests += 1;
        whole_hits += whole.request(hash, 1) ? 1 : 0;
        if ((hash >> 24U) % 8 != 0) continue;
        sample_requests += 1;
        sample_hits += sample.request(hash, 1) ? 1 : 0;
    }
    CHECK(sample_hits / sample_requests == Approx(whole_hits / whole_requests).margin(0.06));
}

TEST_CASE("a shadow allocates when it is made and then no more", "[policy][shadow]") {
    policy::ShadowCache shadow(300, 300, mode);
    const std::size_t before = shadow.memory_bytes();
    for (std::uint64_t key = 0; key < 10'000; ++key) (void)shadow.request(hash_of(key), 1);
    CHECK(shadow.memory_bytes() == before);
    CHECK(before < 300 * 80 + 1000);
}
