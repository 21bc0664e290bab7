#include <smartcache/policy/make_policy.hpp>
#include <smartcache/policy/policy.hpp>

#include <new>
#include <set>

#include "model_cache.hpp"
#include "support/catch.hpp"
#include "support/failing_new.hpp"

using namespace policy_test;
using smartcache_test::allocations_until_failure;

TEST_CASE("no policy loses an entry, evicts it twice or miscounts, whatever happens to it", "[policy]") {
    for (const EvictionPolicy which : all_policies) {
        for (const std::uint64_t capacity : {1U, 2U, 7U, 60U, 700U}) {
            for (const std::uint32_t heaviest : {1U, 9U, 900U}) {
                CAPTURE(to_string(which), capacity, heaviest);
                std::mt19937_64 random(capacity * 31 + heaviest);
                ModelCache cache(which, capacity);
                Zipf keys(3 * capacity + 5, 0.8, heaviest);
                std::set<std::uint64_t> resident;  // by the test's own books
                std::size_t seen = 0;
                for (int i = 0; i < 4000; ++i) {
                    const std::uint64_t key = keys();
                    const auto weight = static_cast<std::uint32_t>(1 + random() % heaviest);
                    switch (random() % 16) {
                        case 0:
                            REQUIRE(cache.erase(key) == (resident.erase(key) != 0));
                            break;
                        case 1:
                            cache.put(key, weight);
                            resident.insert(key);
                            break;
                        case 2:
                            (void)cache.evict_one();
                            break;
                        case 3:
                            if (random() % 50 == 0) cache.resize(1 + random() % (2 * capacity));
                            break;
                        default:
                            REQUIRE(cache.get(key) == resident.contains(key));
                            if (!resident.contains(key)) cache.put(key, weight);
                            resident.insert(key);
                    }
                    for (; seen < cache.evicted().size(); ++seen) resident.erase(cache.evicted()[seen]);
                    REQUIRE(cache.size() == resident.size());
                    REQUIRE(cache.policy().size() == resident.size());
                    REQUIRE(cache.policy().weight() == cache.weight());
                    REQUIRE(cache.policy().weight() <= cache.policy().bound());
                }
                while (cache.evict_one()) {
                }
                CHECK(cache.size() == 0);
                CHECK(cache.policy().weight() == 0);
            }
        }
    }
}

TEST_CASE("an empty policy has no victim", "[policy]") {
    for (const EvictionPolicy which : all_policies) {
        CAPTURE(to_string(which));
        CHECK(policy::make_policy(which, 10)->evict() == nullptr);
    }
}

TEST_CASE("an entry heavier than the whole capacity is refused and displaces nobody", "[policy]") {
    for (const EvictionPolicy which : all_policies) {
        CAPTURE(to_string(which));
        ModelCache cache(which, 100);
        for (std::uint64_t key = 0; key < 10; ++key) cache.put(key, 10);
        cache.put(50, 101);
        CHECK(cache.evicted() == std::vector<std::uint64_t>{50});
        CHECK(cache.size() == 10);
        cache.put(3, 101);  // the new value of a resident key is too heavy: both are gone
        CHECK_FALSE(cache.contains(3));
        CHECK(cache.size() == 9);
    }
}

TEST_CASE("an entry as heavy as the whole capacity may stay, and nothing beside it", "[policy]") {
    for (const EvictionPolicy which : all_policies) {
        CAPTURE(to_string(which));
        ModelCache cache(which, 100);
        cache.put(1, 100);
        CHECK(cache.contains(1));
        cache.put(2, 100);
        CHECK(cache.size() == 1);
    }
}

TEST_CASE("one hot entry in a cache of one is kept or taken in, and a full cache stays full", "[policy]") {
    for (const EvictionPolicy which : all_policies) {
        CAPTURE(to_string(which));
        ModelCache cache(which, 1);
        for (std::uint64_t key = 0; key < 100; ++key) cache.request(key);
        CHECK(cache.size() == 1);
        for (int i = 0; i < 20; ++i) cache.request(7);
        CHECK(cache.contains(7));
    }
}

TEST_CASE("an entry that was erased never comes back as a victim", "[policy]") {
    for (const EvictionPolicy which : all_policies) {
        CAPTURE(to_string(which));
        ModelCache cache(which, 50);
        for (std::uint64_t key = 0; key < 50; ++key) cache.put(key);
        for (std::uint64_t key = 0; key < 50; key += 2) CHECK(cache.erase(key));
        for (std::uint64_t key = 100; key < 200; ++key) cache.put(key);
        for (const std::uint64_t key : cache.evicted()) CHECK((key >= 100 || key % 2 == 1));
        CHECK(cache.size() == 50);
    }
}

TEST_CASE("a live resize evicts down to the new bound and uses the new room", "[policy]") {
    for (const EvictionPolicy which : all_policies) {
        CAPTURE(to_string(which));
        ModelCache cache(which, 1000);
        Zipf keys(5000, 0.7, 1);
        for (int i = 0; i < 20'000; ++i) cache.request(keys());
        cache.resize(100);
        CHECK(cache.size() == 100);
        for (int i = 0; i < 20'000; ++i) cache.request(keys());
        CHECK(cache.size() == 100);
        cache.resize(2000);
        for (int i = 0; i < 40'000; ++i) cache.request(keys());
        CHECK(cache.size() == 2000);
    }
}

TEST_CASE("the same calls with the same seed give the same victims", "[policy]") {
    for (const EvictionPolicy which : all_policies) {
        CAPTURE(to_string(which));
        std::vector<std::uint64_t> victims[2];
        for (auto& list : victims) {
            ModelCache cache(which, 200, 42);
            Zipf keys(2000, 0.9, 9);
            for (int i = 0; i < 30'000; ++i) cache.request(keys());
            list = cache.evicted();
        }
        CHECK(victims[0] == victims[1]);
        CHECK(victims[0].size() > 1000);
    }
}

TEST_CASE("replacing an entry keeps its place and history, the old node is free", "[policy]") {
    for (const EvictionPolicy which : all_policies) {
        CAPTURE(to_string(which));
        ModelCache cache(which, 100);
        Zipf keys(400, 0.9, 2);
        for (int i = 0; i < 5000; ++i) cache.request(keys());
        // A key that is only ever written, often, is as hot as one that is read.
        for (int i = 0; i < 5000; ++i) {
            cache.put(9999);
            cache.request(keys());
        }
        std::size_t evicted_while_hot = 0;
        const std::size_t before = cache.evicted().size();
        for (int i = 0; i < 1000; ++i) {
            cache.put(9999);
            cache.request(keys());
        }
        for (std::size_t i = before; i < cache.evicted().size(); ++i) {
            evicted_while_hot += cache.evicted()[i] == 9999 ? 1U : 0U;
        }
        CHECK(evicted_while_hot <= 2);
    }
}

TEST_CASE("an allocation that fails in insert leaves the policy as it was", "[policy]") {
    for (const EvictionPolicy which : all_policies) {
        CAPTURE(to_string(which));
        const auto under_test = policy::make_policy(which, 300);
        std::vector<policy::Node> nodes(2000);
        std::size_t failures = 0;
        for (std::size_t i = 0; i < nodes.size(); ++i) {
            nodes[i].hash = hash_of(i);
            for (int nth = 0;; ++nth) {
                const std::size_t size = under_test->size();
                allocations_until_failure = nth;
                try {
                    under_test->insert(nodes[i]);
                    allocations_until_failure = -1;
                    break;
                } catch (const std::bad_alloc&) {
                    allocations_until_failure = -1;
                    ++failures;
                    REQUIRE(under_test->size() == size);
                    REQUIRE(under_test->weight() == size);
                    REQUIRE(int{nodes[i].queue} == 0);
                }
            }
            while (under_test->weight() > 300) REQUIRE(under_test->evict() != nullptr);
        }
        CHECK(under_test->size() == 300);
        CHECK(failures > 0);
        while (under_test->evict() != nullptr) {
        }
    }
}

TEST_CASE("a large capacity that is hardly used costs next to nothing", "[policy]") {
    for (const EvictionPolicy which : all_policies) {
        CAPTURE(to_string(which));
        ModelCache cache(which, 50'000'000);
        for (std::uint64_t key = 0; key < 10; ++key) cache.put(key);
        CHECK(cache.policy().memory_bytes() < 4096);
    }
}

TEST_CASE("links, ghosts, sketches and shadows stay within 36 bytes per entry of a large cache", "[policy]") {
    for (const EvictionPolicy which : all_policies) {
        CAPTURE(to_string(which));
        ModelCache cache(which, 65'536);
        for (std::uint64_t key = 0; key < 500'000; ++key) cache.put(key);
        CHECK(cache.policy().memory_bytes() < (16 + 20) * 65'536);
        while (cache.policy().evict() != nullptr) {
        }
        CHECK(cache.policy().memory_bytes() < 20 * 65'536);  // the links are gone
    }
}

TEST_CASE("a scan does not flush the hot set", "[policy]") {
    for (const EvictionPolicy which :
         {EvictionPolicy::adaptive, EvictionPolicy::s3_fifo, EvictionPolicy::w_tinylfu}) {
        CAPTURE(to_string(which));
        ModelCache cache(which, 500);
        Zipf hot(300, 0.5, 4);
        for (int i = 0; i < 20'000; ++i) cache.request(hot());
        for (std::uint64_t key = 100'000; key < 105'000; ++key) cache.request(key);
        std::size_t kept = 0;
        for (std::uint64_t key = 0; key < 300; ++key) kept += cache.contains(key) ? 1U : 0U;
        CHECK(kept >= 250);
    }
    ModelCache lru(EvictionPolicy::lru, 500);
    Zipf hot(300, 0.5, 4);
    for (int i = 0; i < 20'000; ++i) lru.request(hot());
    for (std::uint64_t key = 100'000; key < 105'000; ++key) lru.request(key);
    for (std::uint64_t key = 0; key < 300; ++key) REQUIRE_FALSE(lru.contains(key));
}

TEST_CASE("on skewed traffic the default is better than lru", "[policy]") {
    const auto ratio = [](EvictionPolicy which) {
        ModelCache cache(which, 1000);
        Zipf keys(100'000, 0.9, 8);
        return hit_ratio(cache, 300'000, 200'000, [&](std::size_t) { return keys(); });
    };
    const double lru = ratio(EvictionPolicy::lru);
    CHECK(ratio(EvictionPolicy::adaptive) > lru + 0.05);
    CHECK(ratio(EvictionPolicy::s3_fifo) > lru + 0.05);
    CHECK(ratio(EvictionPolicy::sieve) > lru + 0.05);
    CHECK(ratio(EvictionPolicy::w_tinylfu) > lru + 0.05);
}
