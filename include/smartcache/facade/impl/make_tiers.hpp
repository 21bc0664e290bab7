#pragma once

// Bodies of tiers.hpp.

#include <memory>

#include <smartcache/core/error.hpp>
#include <smartcache/core/features.hpp>
#include <smartcache/facade/impl/tiers.hpp>

#if SMARTCACHE_HAS_REDIS
#include <smartcache/redis/redis_tier.hpp>
#endif
#if SMARTCACHE_HAS_DISK
#include <smartcache/disk/disk_tier.hpp>
#endif

namespace smartcache::inline v0::detail {

SMARTCACHE_DETAIL_TIERS_INLINE std::unique_ptr<Tier> make_redis_tier(
    [[maybe_unused]] const Config& config, [[maybe_unused]] const TierContext& context) {
#if SMARTCACHE_HAS_REDIS
    if (config.tier_required) return std::make_unique<RedisTier>(config.redis, context);
    return std::make_unique<RedisTier>(config.redis, context, defer_connect);
#else
    throw ConfigError("redis.enabled", "true",
                      "false: this build has no Redis tier");  // validate() said so before
#endif
}

SMARTCACHE_DETAIL_TIERS_INLINE std::unique_ptr<Tier> make_disk_tier(
    [[maybe_unused]] const Config& config, [[maybe_unused]] const TierContext& context) {
#if SMARTCACHE_HAS_DISK
    return std::make_unique<DiskTier>(config.disk, context);
#else
    throw ConfigError("disk.enabled", "true", "false: this build has no disk tier");
#endif
}

}  // namespace smartcache::inline v0::detail
