#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/record/key.hpp>
#include <smartcache/redis/redis_tier.hpp>

#include "support/redis_server.hpp"

namespace smartcache::test {

/// So long that it never passes in a test that expects an answer, however slow the machine.
inline constexpr Duration ample = std::chrono::seconds(30);

/// Options for tests that expect answers.
[[nodiscard]] inline RedisOptions patient(const std::string& url) {
    return {.url = url, .connect_timeout = ample, .timeout = ample};
}

/// A record whose views are of things that live in it.
struct OwnedRecord {
    std::string key;
    std::string value;
    RecordView record;

    OwnedRecord(std::string physical, std::string text, Duration ttl = std::chrono::hours(1),
                WallTime now = SystemClock::instance().wall())
        : key(std::move(physical)), value(std::move(text)) {
        record.key = key;
        record.payload = as_byte_view(value);
        record.raw_size = value.size();
        record.kind = ValueKind::text;
        record.stamp = random_stamp();
        record.created = now;
        record.expires = saturating_add(now, ttl);
    }
    OwnedRecord(const OwnedRecord&) = delete;
    OwnedRecord& operator=(const OwnedRecord&) = delete;
};

/// What a read gave.
struct ReadResult {
    TierStatus status = TierStatus::unavailable;
    std::optional<std::string> value{};
    std::uint64_t stamp = 0;
    WallTime created{};
    WallTime expires{};
    WallTime stale_until{};
};

inline ReadResult read(Tier& tier, std::string_view key) {
    ReadResult result;
    result.status = tier.read(key, [&](const RecordView& record) {
        result.value = std::string(as_text_view(record.payload));
        result.stamp = record.stamp;
        result.created = record.created;
        result.expires = record.expires;
        result.stale_until = record.stale_until;
    });
    return result;
}

/// The name of a physical key's record in Redis.
inline std::string redis_name(std::string_view physical) {
    return "sc:" + std::string(physical);
}

}  // namespace smartcache::test
