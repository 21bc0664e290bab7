#pragma once

// SmartCache: what other processes change in a tier that they share with this one. See own_copies.hpp.

#include <chrono>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <smartcache/core/hash.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/record/varint.hpp>

namespace smartcache::inline v0 {

/// From the thread of the tier that tells.
template <class Codec>
void SmartCache<Codec>::take_invalidation(const Invalidation& what) {
    using Kind = Invalidation::Kind;
    const CallFromBelow call(*this);
    if (what.kind == Kind::position) return keep_position(what.name);
    if (what.kind == Kind::lost) own_copies_.set_heard(false);
    if (own_copies_.open.load(std::memory_order_acquire)) {
        switch (what.kind) {
            case Kind::key:
                drop_copies(what.name);
                break;
            case Kind::tag_erased:
                drop_tagged(what.name, detail::TagChange::erase);
                break;
            case Kind::tag_expired:
                drop_tagged(what.name, detail::TagChange::expire);
                break;
            case Kind::cleared:
                drop_all_copies(true);
                break;
            case Kind::heard:
                drop_all_copies(false);
                break;
            case Kind::lost:  // what is on the disk may count again
                if (own_copies_.distrusts) drop_memory();
                break;
            case Kind::resumed:
            case Kind::position:
                break;
        }
    }
    if (what.kind == Kind::heard || what.kind == Kind::resumed) own_copies_.set_heard(true);
}

/// First the disk, then fills, then L1: whoever takes a ticket after the mark asks a server that has the change, and does
/// not find an older copy on the disk; whoever has one from before stores nothing (R1, R2).
template <class Codec>
void SmartCache<Codec>::drop_copies(std::string_view key) {
    if (key.size() > config_.max_key_size) return;
    const std::uint64_t hash = hash_of(key);
    const Unlocked later;  // values end, and events are told, when the gate is open again
    {
        const auto gate = own_copies_.gate(hash);
        const std::string physical = physical_key(config_.key_prefix, key);
        for (LowerTier& lower : lower_)
            if (lower.own) (void)lower.tier->remove(physical);
        fences_.mark(key, hash);
    }
    (void)forget_memory(key, hash);
    count(Event::foreign_changes);
}

/// What was begun before has seen less of the tags, so no ticket needs to be marked.
template <class Codec>
void SmartCache<Codec>::drop_tagged(std::string_view tag, detail::TagChange how) {
    if (tag.empty() || tag.size() > max_tag_size) return;
    for (LowerTier& lower : lower_)
        if (lower.own)
            (void)(how == detail::TagChange::erase ? lower.tier->erase_tag(config_.key_prefix, tag)
                                                   : lower.tier->expire_tag(config_.key_prefix, tag));
    const Unlocked later;
    tags_.change(tag, how);
    count(Event::foreign_changes);
}

/// @param cleared  the namespace was; else what is here may be out of date, which the disk's records show by their period
template <class Codec>
void SmartCache<Codec>::drop_all_copies(bool cleared) {
    const Unlocked later;
    {
        const auto gates = own_copies_.all_gates();
        for (LowerTier& lower : lower_)
            if (cleared && lower.own) (void)lower.tier->clear(config_.key_prefix);
        // Marked before the period changes: who reads the new one and has no mark has begun after this.
        fences_.mark_all();
        if (!cleared) own_copies_.begin_period();
        own_copies_.forget_epochs();
    }
    if (memory_) (void)memory_->clear();
    if (cleared) count(Event::foreign_changes);
}

template <class Codec>
void SmartCache<Codec>::drop_memory() {
    const Unlocked later;
    fences_.mark_all();
    if (memory_) (void)memory_->clear();
}

/// Under a name of its own, which is in no user's namespace: a directory has one cache, with one prefix.
template <class Codec>
std::string SmartCache<Codec>::position_key() const {
    return physical_key(config_.key_prefix + "\nposition", {});
}

/// See own_copies.hpp.
template <class Codec>
void SmartCache<Codec>::keep_position(std::string_view position) {
    detail::OwnCopies::Position& mine = own_copies_.position;
    if (!mine.passage) {
        if (position == mine.kept) return;
        mine.next = position;
        mine.passage.emplace();
    }
    // Most changes take a fraction of a millisecond, and messages can wait that long; else it is tried again next time.
    const auto patience = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
    while (!mine.passage->passed(fences_)) {
        if (std::chrono::steady_clock::now() > patience) return;
        std::this_thread::yield();
    }
    if (!std::unique_lock(tag_changes_, std::try_to_lock)) return;
    ByteSink payload;
    detail::put_fixed(payload, own_copies_.period());
    payload.append(as_byte_view(mine.next));
    const std::string key = position_key();
    RecordView record;
    record.key = key;
    record.payload = payload.view();
    record.raw_size = record.payload.size();
    record.kind = ValueKind::bytes;
    record.stamp = random_stamp();
    record.created = time_.wall();
    bool kept = true;
    for (const LowerTier& lower : lower_)
        if (lower.own) kept = lower.tier->write(record, {}) == TierStatus::ok && kept;
    mine.passage.reset();
    if (!kept) return;
    mine.kept = std::move(mine.next);
    mine.there.store(true, std::memory_order_relaxed);  // a number for statistics
    count(Event::positions);
}

/// What an earlier process has kept, whose period goes on; empty: nothing. Before anything is told.
template <class Codec>
std::string SmartCache<Codec>::kept_position() {
    std::string position;
    const std::string key = position_key();
    for (const LowerTier& lower : lower_) {
        if (!lower.own) continue;
        (void)lower.tier->peek(key, [&](const RecordView& record) {
            detail::ByteReader reader(record.payload);
            const auto period = reader.fixed<std::uint64_t>();
            const std::string_view text = reader.text(reader.remaining());
            if (!reader.ok() || period == 0 || text.empty()) return;
            own_copies_.go_on_with(period);
            own_copies_.position.there.store(true, std::memory_order_relaxed);
            position = text;
        });
    }
    return position;
}

/// Writes to a lower tier. To one that is this process' own: only while nobody else has changed the key since the ticket was
/// taken.
template <class Codec>
TierStatus SmartCache<Codec>::write_below(const LowerTier& lower, const RecordView& record,
                                          std::uint64_t hash, WriteCondition condition,
                                          const detail::Ticket* ticket) const {
    if (!own_copies_.on || !lower.own) return lower.tier->write(record, condition);
    if (!own_copies_.usable()) return TierStatus::rejected;
    RecordView copy = record;
    for (const LowerTier& shared : lower_)
        if (!shared.own)
            own_copies_.note_epoch(shared.tier->part(record.key), shared.tier->epoch(record.key));
    const auto gate = own_copies_.gate(hash);
    copy.created_seq = own_copies_.period();
    if (ticket != nullptr && fences_.marked(*ticket)) return TierStatus::refused;
    return lower.tier->write(copy, condition);
}

/// Whether a record of one of this process' own tiers may be used.
/// @param seen  what the tiers above have answered
/// @param goes_up  whether it may be copied into them
template <class Codec>
bool SmartCache<Codec>::trusts(const LowerTier& lower, const RecordView& record,
                               std::span<const WriteCondition> seen, bool& goes_up) const {
    if (!own_copies_.on || !lower.own) return true;
    goes_up = false;
    if (!own_copies_.usable()) return false;
    const bool heard = own_copies_.heard();
    const bool heard_since = record.created_seq == own_copies_.period();
    goes_up = heard && heard_since;
    for (std::size_t i = 0; i < seen.size() && i < lower_.size(); ++i) {
        if (lower_[i].own) continue;
        const WriteCondition& above = seen[i];
        if (above.kind != WriteCondition::Kind::if_stamp) {
            // What is not there any more is lost, not cleared.
            goes_up =
                own_copies_.follows(lower_[i].tier->part(record.key), above.seq, above.remade) && goes_up;
        } else if (const Tier::Trace trace = lower_[i].tier->trace(above.stamp);
                   trace == Tier::Trace::foreign) {
            // What it has and does not give out, be it the trace of an erase, is newer, unless it is the same version and
            // whatever has changed its lifetime was heard.
            goes_up = false;
            return above.stamp == record.stamp && heard_since;
        } else if (trace == Tier::Trace::made_up) {  // our own erases were done here as well
            goes_up = false;
        } else {  // what we have left out there on purpose, unless that was cleared since
            goes_up =
                own_copies_.follows(lower_[i].tier->part(record.key), above.seq, above.remade) && goes_up;
        }
    }
    return heard_since || !heard;
}

}  // namespace smartcache::inline v0
