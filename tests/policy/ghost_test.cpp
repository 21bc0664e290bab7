#include <smartcache/policy/ghost.hpp>

#include "model_cache.hpp"
#include "support/catch.hpp"

namespace policy = smartcache::policy;
using policy_test::hash_of;

namespace {
policy::GhostQueue ghosts(std::size_t bound) {
    policy::GhostQueue queue;
    queue.reserve(bound);
    queue.set_bound(bound);
    return queue;
}
}  // namespace

TEST_CASE("a ghost is taken once", "[policy][ghost]") {
    auto queue = ghosts(100);
    queue.push(hash_of(1));
    CHECK(queue.take(hash_of(1)));
    CHECK_FALSE(queue.take(hash_of(1)));
}

TEST_CASE("a ghost is out after as many pushes as the bound allows", "[policy][ghost]") {
    auto queue = ghosts(1000);
    queue.push(hash_of(0));
    SECTION("one fewer: still there") {
        for (int i = 0; i < 999; ++i) queue.push(hash_of(1));  // one other slot: no bucket overflows
        CHECK(queue.take(hash_of(0)));
    }
    SECTION("as many: gone") {
        for (int i = 0; i < 1000; ++i) queue.push(hash_of(1));
        CHECK_FALSE(queue.take(hash_of(0)));
    }
}

TEST_CASE("nearly all ghosts within the bound are remembered, whatever the size of the table",
          "[policy][ghost]") {
    for (const std::size_t bound : {16U, 1000U, 50'000U}) {
        CAPTURE(bound);
        auto queue = ghosts(bound);
        for (std::uint64_t key = 0; key < 5 * bound; ++key) queue.push(hash_of(key));
        std::size_t kept = 0;
        for (std::uint64_t key = 4 * bound; key < 5 * bound; ++key)
            kept += queue.take(hash_of(key)) ? 1U : 0U;
        CHECK(kept >= bound * 8 / 10);
        std::size_t older = 0;
        for (std::uint64_t key = 0; key < 4 * bound; ++key) older += queue.take(hash_of(key)) ? 1U : 0U;
        CHECK(older <= bound / 100 + 2);
    }
}

TEST_CASE("keys that were never pushed are hardly ever taken for ghosts", "[policy][ghost]") {
    auto queue = ghosts(10'000);
    for (std::uint64_t key = 0; key < 10'000; ++key) queue.push(hash_of(key));
    std::size_t wrong = 0;
    for (std::uint64_t key = 1'000'000; key < 1'100'000; ++key) wrong += queue.take(hash_of(key)) ? 1U : 0U;
    CHECK(wrong < 50);  // expected: 100'000 * 8 slots / 65536 fingerprints = 12
}

TEST_CASE("a ghost queue holds no memory until it is reserved, and never more than that allows",
          "[policy][ghost]") {
    policy::GhostQueue queue;
    queue.push(hash_of(1));
    CHECK_FALSE(queue.take(hash_of(1)));
    CHECK(queue.memory_bytes() == 0);
    queue.reserve(10'000);
    queue.set_bound(1'000'000);
    CHECK(queue.bound() == 10'000);
    for (std::uint64_t key = 0; key < 100'000; ++key) queue.push(hash_of(key));
    CHECK(queue.memory_bytes() <= 6 * 10'000);
}
