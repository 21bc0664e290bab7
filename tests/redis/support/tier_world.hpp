#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/record/key.hpp>
#include <smartcache/redis/record_head.hpp>
#include <smartcache/redis/redis_tier.hpp>

#include "support/eventually.hpp"
#include "support/redis_server.hpp"

namespace smartcache::test {

using smartcache_test::eventually;

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

/// Records for calls that take many at a time; the views are of things that live in it.
class OwnedRecords {
  public:
    void add(std::string physical, std::string text) {
        const OwnedRecord& added = owned_.emplace_back(std::move(physical), std::move(text));
        records.push_back(added.record);
        keys.emplace_back(added.key);
    }
    [[nodiscard]] const OwnedRecord& operator[](std::size_t i) const { return owned_[i]; }
    [[nodiscard]] std::size_t size() const { return owned_.size(); }

    std::vector<RecordView> records;
    std::vector<std::string_view> keys;

  private:
    std::deque<OwnedRecord> owned_;
};

/// What a tier tells of its state.
class ToldStates {
  public:
    [[nodiscard]] std::function<void(bool)> listener() {
        return [this](bool up) {
            const std::lock_guard lock(mutex_);
            told_.push_back(up);
        };
    }
    [[nodiscard]] std::vector<bool> all() const {
        const std::lock_guard lock(mutex_);
        return told_;
    }

  private:
    mutable std::mutex mutex_;
    std::vector<bool> told_;
};
inline const std::vector<bool> down{false};
inline const std::vector<bool> down_and_up{false, true};

inline TierStatus put(Tier& tier, const std::string& key, const std::string& value,
                      WriteCondition condition = {}) {
    const OwnedRecord owned(key, value);
    return tier.write(owned.record, condition);
}

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
        if (!record.tombstone) result.value = std::string(as_text_view(record.payload));
        result.stamp = record.stamp;
        result.created = record.created;
        result.expires = record.expires;
        result.stale_until = record.stale_until;
    });
    return result;
}

/// A fill, as a cache makes it: it depends on what was there when it was looked for (R7).
inline TierStatus fill(Tier& tier, const std::string& key, const std::string& value) {
    WriteCondition seen = WriteCondition::if_absent();
    (void)tier.peek(key, [&](const RecordView& record) { seen = WriteCondition::of(record); });
    return put(tier, key, value, seen);
}

inline bool settles(Tier& tier) {
    return eventually([&] { return tier.flush(ample); });
}

/// How many of these records a batch of reads gives as they are.
inline std::size_t intact(Tier& tier, const OwnedRecords& many) {
    std::size_t count = 0;
    tier.read_many(many.keys, [&](std::size_t i, const RecordView& record) {
        count += as_text_view(record.payload) == many[i].value ? 1U : 0U;
    });
    return count;
}

/// Whether what a server answers to GET is more than the trace of an erase.
inline bool is_value(const RedisAnswer& answer) {
    if (answer.kind == RedisAnswer::Kind::nil) return false;
    const auto head = detail::RecordHead::parse(
        as_byte_view(std::string_view(answer.text).substr(0, detail::RecordHead::max_size)));
    return !head || !head->record.tombstone;
}

/// The name of a physical key's record in Redis.
inline std::string redis_name(std::string_view physical) {
    return "sc:" + std::string(physical);
}

}  // namespace smartcache::test
