#pragma once

// How the facade gets its tiers. With SMARTCACHE_SEPARATE_TIERS=1 the Redis and the disk tier are compiled in one file of
// the program, which includes <smartcache/separate_tiers.hpp>, and in no other: they are half of what a file that includes
// the facade costs a compiler.

#include <memory>

#include <smartcache/facade/config.hpp>
#include <smartcache/record/tier.hpp>
#include <smartcache/record/tier_context.hpp>

#if defined(SMARTCACHE_SEPARATE_TIERS) && SMARTCACHE_SEPARATE_TIERS
#define SMARTCACHE_DETAIL_TIERS_INLINE
#else
#define SMARTCACHE_DETAIL_TIERS_INLINE inline
#endif

namespace smartcache::inline v0::detail {

/// A Redis tier that connects when it is first asked, unless the configuration insists on a server now.
[[nodiscard]] SMARTCACHE_DETAIL_TIERS_INLINE std::unique_ptr<Tier> make_redis_tier(
    const Config& config, const TierContext& context);
[[nodiscard]] SMARTCACHE_DETAIL_TIERS_INLINE std::unique_ptr<Tier> make_disk_tier(const Config& config,
                                                                                  const TierContext& context);

}  // namespace smartcache::inline v0::detail
