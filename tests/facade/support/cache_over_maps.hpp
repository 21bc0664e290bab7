#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/record/key.hpp>
#include <smartcache/testing.hpp>

#include "support/map_tier.hpp"

namespace smartcache_test {

/// A cache whose clock moves when the test says so, over maps that stand for Redis and the disk.
struct CacheOverMaps {
    FakeClock clock;
    MapTier* redis = nullptr;  ///< the cache's; null where the test wants none
    MapTier* disk = nullptr;
    std::unique_ptr<SmartCache<>> cache;

    explicit CacheOverMaps(TierSet below, Config config = {}) {
        std::vector<std::unique_ptr<Tier>> tiers;
        const auto add = [&](TierId id) {
            auto tier = std::make_unique<MapTier>(id, &clock);
            MapTier* const map = tier.get();
            tiers.push_back(std::move(tier));
            return map;
        };
        if (contains(below, TierId::redis)) redis = add(TierId::redis);
        if (contains(below, TierId::disk)) disk = add(TierId::disk);
        config.clock = &clock;
        cache = std::make_unique<SmartCache<>>(std::move(config), std::move(tiers));
    }
    explicit CacheOverMaps(Config config = {})
        : CacheOverMaps(TierSet::redis | TierSet::disk, std::move(config)) {}

    /// The key by which a lower tier knows `key`.
    [[nodiscard]] std::string physical(std::string_view key) const {
        return physical_key(cache->config().key_prefix, key);
    }
};

/// Writes a record again, with a change.
template <class Change>
TierStatus rewrite(MapTier& tier, const std::string& physical, Change change) {
    const std::vector<std::byte> bytes = tier.bytes(physical);
    RecordView record = parse_record(bytes).record;
    change(record);
    return tier.write(record, {});
}

}  // namespace smartcache_test
