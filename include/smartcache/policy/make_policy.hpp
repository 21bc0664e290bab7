#pragma once

#include <cstdint>
#include <memory>

#include <smartcache/policy/adaptive.hpp>
#include <smartcache/policy/eviction_policy.hpp>
#include <smartcache/policy/hit_objective.hpp>
#include <smartcache/policy/lru.hpp>
#include <smartcache/policy/policy.hpp>
#include <smartcache/policy/s3_fifo.hpp>
#include <smartcache/policy/sieve.hpp>
#include <smartcache/policy/w_tinylfu.hpp>

namespace smartcache::inline v0::policy {

/// The policy of that name for one shard of that capacity.
///
/// @param seed    feeds what is random in it (w_tinylfu only)
/// @param leader  the policy of the same cache's first shard, made by this function with the same name: an
/// adaptive policy
///                then follows its choices, which saves shadows and the work on them. Must outlive the last
///                call of the new one. nullptr: on its own.
/// @param objective  what counts when weights differ (adaptive only; the others do not look at weights)
/// Throws: std::bad_alloc.
[[nodiscard]] inline std::unique_ptr<Policy> make_policy(EvictionPolicy which, std::uint64_t capacity,
                                                         std::uint64_t seed = 0,
                                                         const Policy* leader = nullptr,
                                                         HitObjective objective = HitObjective::objects) {
    switch (which) {
        case EvictionPolicy::lru:
            return std::make_unique<Lru>(capacity);
        case EvictionPolicy::s3_fifo:
            return std::make_unique<S3Fifo>(capacity);
        case EvictionPolicy::sieve:
            return std::make_unique<Sieve>(capacity);
        case EvictionPolicy::w_tinylfu:
            return std::make_unique<WTinyLfu>(capacity, seed);
        case EvictionPolicy::adaptive:
            break;
    }
    return std::make_unique<Adaptive>(capacity, dynamic_cast<const Adaptive*>(leader), objective);
}

}  // namespace smartcache::inline v0::policy
