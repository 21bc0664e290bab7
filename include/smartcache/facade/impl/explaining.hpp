#pragma once

// SmartCache: what is known about one key.

#include <algorithm>
#include <string>
#include <utility>

#include <smartcache/facade/smart_cache.hpp>

namespace smartcache::inline v0 {

template <class Codec>
Explanation SmartCache<Codec>::explain(std::string_view key) const {
    using State = Explanation::State;
    Explanation all;
    all.key = std::string(key);
    if (key.size() > config_.max_key_size) {
        all.reason = "never stored: the key is longer than max_key_size";
        return all;
    }
    if (memory_) {
        Explanation::TierEntry entry;
        entry.tier = TierId::memory;
        if (const Found found = find_memory(key, hash_of(key), true, false); found.entry) {
            const std::int64_t now = now_ms();
            const std::int64_t end = found.entry->fresh_until();
            entry.state = found.entry->negative() ? State::negative
                          : found.stale           ? State::stale
                                                  : State::live;
            entry.age = Duration(std::max<std::int64_t>(0, now - found.entry->created()));
            entry.ttl =
                end == Entry::never ? Duration::max() : Duration(std::max<std::int64_t>(0, end - now));
            entry.bytes = found.entry->bytes;
            for (const detail::Tag* const tag : found.entry->tags()) entry.tags.push_back(tag->name);
            if (found.entry->packed()) entry.detail = "compressed";
        }
        all.tiers.push_back(std::move(entry));
    }
    const std::string physical = physical_key(config_.key_prefix, key);
    std::vector<WriteCondition> seen;
    for (const LowerTier& lower : lower_) {
        Explanation::TierEntry entry;
        entry.tier = lower.id;
        WriteCondition here = WriteCondition::if_absent();
        const TierStatus status = lower.tier->peek(physical, [&](const RecordView& record) {
            const WallTime now = time_.wall();
            here = WriteCondition::of(record);
            if (record.tombstone || record.dead_at(now)) return;
            entry.state = record.negative         ? State::negative
                          : !record.fresh_at(now) ? State::stale
                                                  : State::live;
            if (record.kind == ValueKind::coded && !record.negative &&
                record.codec != static_cast<std::uint8_t>(Codec::id))
                entry.state = State::other_codec;
            if (record.raw_size > live_.max_value_size() || !unpackable(record))
                entry.state = State::unreadable;
            if (record.schema != config_.schema_version) entry.state = State::other_schema;
            if (bool goes_up = true; !trusts(lower, record, seen, goes_up)) entry.state = State::distrusted;
            entry.age = std::max(Duration::zero(), Duration(now - record.created));
            entry.ttl = lives_for_ever(record) ? Duration::max()
                                               : std::max(Duration::zero(), Duration(record.expires - now));
            entry.bytes = record.payload.size();
            entry.tags.assign(record.tags.begin(), record.tags.end());
            if (record.compressed) entry.detail = "compressed";
        });
        seen.push_back(here);
        if (status == TierStatus::unavailable) {
            entry.state = State::unavailable;
            const BreakerState breaker = lower.tier->stats().breaker;
            if (breaker == BreakerState::open || breaker == BreakerState::half_open)
                entry.detail = "its circuit breaker is open";
        }
        all.tiers.push_back(std::move(entry));
    }
    for (const StartFailure& failure : start_failures_) {
        Explanation::TierEntry entry;
        entry.tier = failure.id;
        entry.state = State::not_started;
        entry.detail = failure.reason;
        all.tiers.push_back(std::move(entry));
    }

    const auto first = [&](auto... states) {
        return std::find_if(all.tiers.begin(), all.tiers.end(), [&](const Explanation::TierEntry& entry) {
            return ((entry.state == states) || ...);
        });
    };
    const auto none = all.tiers.end();
    if (const auto at = first(State::live, State::negative); at != none) {
        all.answers = at->tier;
        all.hit = at->state == State::live;
        all.reason = all.hit ? "a hit in " : "an absence that is remembered in ";
        all.reason += to_string(at->tier);
    } else if (first(State::stale) != none) {
        all.reason = "a miss: expired (itself or one of its tags), and kept for its grace";
    } else if (first(State::distrusted) != none) {
        all.reason = "a miss: on the disk, but others may have changed it unheard, or have ended it in Redis";
    } else if (first(State::other_schema) != none) {
        all.reason = "a miss: stored under another schema_version";
    } else if (first(State::unreadable) != none) {
        all.reason = "a miss: larger than max_value_size, or packed in a way that this build cannot undo";
    } else if (first(State::other_codec) != none) {
        all.reason = "a miss: written by another codec";
    } else if (first(State::unavailable, State::not_started) != none) {
        all.reason = "a miss: nothing in the tiers that answer";
    } else {
        all.reason =
            "a miss: never stored, or evicted, erased (itself or one of its tags), or expired and gone";
    }
    return all;
}

}  // namespace smartcache::inline v0
