#include <smartcache/policy/eviction_policy.hpp>

#include "support/catch.hpp"

using smartcache::EvictionPolicy;
using smartcache::parse_eviction_policy;
using smartcache::to_string;

TEST_CASE("every eviction policy is parsed from its own name", "[policy]") {
    for (const auto policy : {EvictionPolicy::adaptive, EvictionPolicy::lru, EvictionPolicy::s3_fifo,
                              EvictionPolicy::sieve, EvictionPolicy::w_tinylfu}) {
        CHECK(parse_eviction_policy(to_string(policy)) == policy);
    }
    CHECK(to_string(EvictionPolicy::s3_fifo) == "s3_fifo");
}

TEST_CASE("a name that differs in case, length or blanks is no eviction policy", "[policy]") {
    for (const char* text : {"", "LRU", "lru ", "s3-fifo", "adaptiv", "adaptive2", "unknown"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_eviction_policy(text));
    }
    CHECK(to_string(static_cast<EvictionPolicy>(99)) == "unknown");
}
