#pragma once

// SmartCache: demotion, which copies what L1 evicts into the tier below that is filled by eviction alone
// (`disk.fill = on_evict`).
//
// An entry leaves L1 under the shard's lock and is written below after it, when anybody may have changed the
// key. So demotion is a fill like any other (R1): its ticket is taken under the shard's lock, before the entry
// is unlinked, and the write happens under the key's order, if nobody has marked the ticket since.

#include <array>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/record/compression.hpp>

namespace smartcache::inline v0 {

/// Under the lock of the shard, before `entry` leaves L1 for want of room.
template <class Codec>
void SmartCache<Codec>::begin_demotion(Entry& entry) noexcept {
    if (!entry.demotes) return;
    try {
        auto ticket = std::make_unique<detail::FillTicket>(fences_, entry.key(), entry.hash);
        const std::lock_guard lock(demotions_mutex_);
        demotions_.insert_or_assign(&entry, Demotion{std::move(ticket), own_weight(entry)});
    } catch (...) {  // no memory: not copied
    }
}

/// Outside all locks, before an entry that left L1 ends.
template <class Codec>
void SmartCache<Codec>::finish_demotion(Entry& entry) {
    if (!entry.demotes) return;
    Demotion* demotion = nullptr;
    {
        const std::lock_guard lock(demotions_mutex_);
        const auto found = demotions_.find(&entry);
        if (found == demotions_.end()) return;
        demotion = &found->second;  // stays where it is: only this call ends it
    }
    try {
        copy_below(entry, *demotion);
    } catch (const std::bad_alloc&) {  // not copied
    }
    std::optional<Demotion> ended;  // without the lock
    const std::lock_guard lock(demotions_mutex_);
    const auto found = demotions_.find(&entry);
    ended.emplace(std::move(found->second));
    demotions_.erase(found);
}

template <class Codec>
void SmartCache<Codec>::copy_below(const Entry& entry, const Demotion& demotion) {
    const LowerTier* const target = demotion_target();
    if (target == nullptr) return;
    DemotedRecord demoted;
    // What lies there may be from before this process heard other processes' changes: then it is replaced.
    const bool replaces = own_copies_.on;
    if ((!replaces &&
         target->tier->contains(physical_key(config_.key_prefix, entry.key())) == TierStatus::ok) ||
        !make_demoted(entry, demotion.weight, *target, demoted))
        return;
    const detail::EventScope events;
    const auto order = fences_.order(entry.hash);
    if (fences_.marked(**demotion.ticket)) return;
    const WriteCondition condition = replaces ? WriteCondition::always() : WriteCondition::if_absent();
    if (write_below(*target, demoted.record, entry.hash, condition, &**demotion.ticket) == TierStatus::ok) {
        count(Event::demotions);
        tell({.kind = EventKind::demoted, .key = entry.key(), .tier = target->id});
    }
}

/// The caller holds the key's order. @return whether it is below now
template <class Codec>
bool SmartCache<Codec>::demote(const Entry& entry, std::uint64_t hash, std::optional<std::size_t> weight,
                               const detail::Ticket* ticket) {
    const LowerTier* const target = demotion_target();
    DemotedRecord demoted;
    if (target == nullptr || !make_demoted(entry, weight, *target, demoted)) return false;
    if (write_below(*target, demoted.record, hash, {}, ticket) != TierStatus::ok) return false;
    count(Event::demotions);
    tell({.kind = EventKind::demoted, .key = entry.key(), .tier = target->id});
    return true;
}

template <class Codec>
auto SmartCache<Codec>::demotion_target() const noexcept -> const LowerTier* {
    for (const LowerTier& lower : lower_)
        if (lower.on_evict) return &lower;
    return nullptr;
}

/// What remains of an entry, as a record for the tier. @return false when that is nothing
template <class Codec>
bool SmartCache<Codec>::make_demoted(const Entry& entry, std::optional<std::size_t> weight,
                                     const LowerTier& lower, DemotedRecord& out) const {
    const MonotonicTime now = time_.now();
    const std::int64_t now_count = now.time_since_epoch().count();
    if (!entry.fresh(now_count)) return false;
    RecordView& record = out.record;
    if (entry.tagged) {
        if (!lower.tier->keeps_tags()) return false;
        record.tag_seq = lower.tier->tag_seq(config_.key_prefix);
        if (entry.tags_changed()) return false;  // after that: see change_tag
        for (const detail::Tag* const tag : entry.tags())
            encode_tags(std::array{std::string_view(tag->name)}, out.tag_names);
        record.tags = TagList(entry.tags().size(), out.tag_names.view());
    }
    out.key = physical_key(config_.key_prefix, entry.key());
    record.key = out.key;
    record.schema = config_.schema_version;
    record.stamp = random_stamp();
    record.negative = entry.negative();
    record.load_cost = detail::ShortCost::unpack(entry.load_cost);
    record.kind = entry.kind();
    if (entry.object()) {
        if (entry.ops->encode == nullptr) return false;
        try {
            entry.ops->encode(&codec_, entry.value(), out.encoded);
        } catch (const std::bad_alloc&) {
            throw;
        } catch (...) {  // the type's own code may throw anything
            count(Event::encode_errors);
            return false;
        }
        record.codec = static_cast<std::uint8_t>(Codec::id);
        record.payload = out.encoded.view();
        record.raw_size = record.payload.size();
    } else {
        record.compressed = entry.packed();
        record.payload = entry.stored_bytes();
        record.raw_size = entry.raw_size();
    }
    if (record.raw_size > live_.max_value_size()) return false;
    (void)compress_payload(record, live_.compression(), out.packed);
    // I2: what remains of its life, capped by the tier's own lifetime; a copy that ends there has no grace.
    const WallTime wall = time_.wall();
    record.created = wall - Duration(now_count - entry.created());
    const std::int64_t fresh_until = entry.fresh_until();
    const Duration grace(detail::ShortLength::millis(entry.grace));
    record.expires = fresh_until == Entry::never ? end_before_grace(wall, WallTime::max(), grace)
                                                 : saturating_add(wall, Duration(fresh_until - now_count));
    record.stale_until = saturating_add(record.expires, grace);
    const WallTime cap = saturating_add(wall, live_.ttl(lower.id));
    if (cap < record.expires) {
        record.expires = cap;
        record.stale_until = {};
    }
    if (entry.idles && entry.idle_length() != 0) record.copies.idle = Duration(entry.idle_length());
    record.copies.weight = weight;
    return record.expires > wall;
}

}  // namespace smartcache::inline v0
