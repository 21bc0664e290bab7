#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/redis/redis_tier.hpp>

#include "redis/support/redis_cluster.hpp"
#include "redis/support/tier_world.hpp"

namespace smartcache::test::cluster {

inline std::string key_of(std::size_t i) {
    return physical_key("app", "key " + std::to_string(i));
}
/// So many that every partition has some.
inline constexpr std::size_t many = 3000;

inline std::vector<std::string> many_keys() {
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < many; ++i) keys.push_back(key_of(i));
    return keys;
}
inline std::vector<std::string_view> views_of(const std::vector<std::string>& keys) {
    return {keys.begin(), keys.end()};
}

/// Writes the same value under all keys in one go. @return how many were stored
inline std::size_t put_all(Tier& tier, const std::vector<std::string>& keys, const std::string& value) {
    OwnedRecords owned;
    for (const std::string& key : keys) owned.add(key, value);
    const std::vector<TierStatus> statuses = tier.write_many(owned.records);
    return static_cast<std::size_t>(std::count(statuses.begin(), statuses.end(), TierStatus::ok));
}
/// How many of the keys have that value.
inline std::size_t count_of(Tier& tier, const std::vector<std::string>& keys, const std::string& value) {
    std::size_t found = 0;
    tier.read_many(views_of(keys), [&](std::size_t, const RecordView& record) {
        if (!record.tombstone && as_text_view(record.payload) == value) ++found;
    });
    return found;
}

/// A record with tags, of the namespace "app".
struct Tagged : OwnedRecord {
    ByteSink names;
    Tagged(RedisTier& tier, const std::string& physical, const std::vector<std::string>& tags)
        : OwnedRecord(physical, "tagged") {
        encode_tags(tags, names);
        record.tags = TagList(tags.size(), names.view());
        record.tag_seq = tier.tag_seq("app");
    }
};

/// Expects failures, and wants to go on soon after them.
inline RedisOptions hasty(const std::string& url) {
    return {.url = url,
            .connect_timeout = ample,
            .timeout = ample,
            .breaker = {.failures = 1'000'000, .open_for = std::chrono::milliseconds(10)}};
}

/// A key whose slot a master serves, of those of the beginning.
inline std::string key_at(const RedisCluster& cluster, std::size_t master, std::size_t nth = 0) {
    for (std::size_t i = 0;; ++i)
        if (cluster.first_master(cluster_slot(key_of(i))) == master && nth-- == 0) return key_of(i);
}

/// Three masters that several tests use one after the other, and leave as they were: each slot where it was. Empty.
inline RedisCluster& three() {
    static RedisCluster all;
    RedisCluster::until("all are back", [] { return all.whole(); });
    for (std::size_t i = 0; i < all.size(); ++i) (void)all.command(i, {"FLUSHALL"});
    return all;
}

}  // namespace smartcache::test::cluster
