#pragma once

// The space-making part of DiskLog (disk/log.hpp): which segment goes next, and what is saved from it.

#include <smartcache/disk/log.hpp>

namespace smartcache::inline v0::detail {

/// Keeps one segment's worth of budget free. Does one step at a time; called after each chunk that is written.
inline void DiskLog::reclaim_ahead() noexcept {
    try {
        if (!finish_reclaim()) return;
        if (space.used() + settings.segment_size > settings.budget) begin_next_reclaim();
    } catch (const std::bad_alloc&) {  // the next time
    }
}

inline void DiskLog::begin_next_reclaim() {
    const WallTime now = time.wall();
    const std::vector<Victim> victims = droppable(now);
    if (victims.empty()) return;
    // One attempt each: looking at a segment costs as much as it has records.
    for (const Keep keep : {Keep::nothing, Keep::all}) {
        const Victim* best = nullptr;
        for (const Victim& victim : victims)
            if (victim.keep == keep && (best == nullptr || victim.cost < best->cost)) best = &victim;
        if (best != nullptr && (begin_reclaim(*best, now) || reclaim_.victim)) return;
    }
    Victim oldest_one = victims.front();
    if (oldest_one.keep == Keep::all) oldest_one.keep = Keep::read;  // saving all of it is too dear
    (void)begin_reclaim(oldest_one, now);
}

/// The segments that take no more frames, oldest first, with what is worth keeping of each.
inline std::vector<DiskLog::Victim> DiskLog::droppable(WallTime now) const {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
    std::vector<Victim> victims;
    std::uint64_t lowest_older = std::numeric_limits<std::uint64_t>::max();
    const std::lock_guard lock(mutex_);
    for (const auto& segment : segments_) {
        if (segment == writing_ || segment.get() == active_ || !segment->on_disk()) break;
        const std::uint64_t live = segment->live();
        const bool expired = segment->dead_at != Location::never && seconds >= std::int64_t{segment->dead_at};
        const std::uint64_t cost =
            segment->written() / (segment->records + 1) * live;  // of moving them, about
        Keep keep = Keep::read;
        if (live * 5 <= segment->records && static_cast<std::int64_t>(cost) <= credit_) keep = Keep::all;
        if (live == 0 || expired) keep = Keep::nothing;
        if (segment->stays && !victims.empty()) keep = Keep::read;
        victims.push_back({segment, keep, lowest_older, cost});
        lowest_older = std::min(lowest_older, segment->lowest_sequence);
    }
    return victims;
}

/// Appends what must survive `chosen` and arranges that it is dropped once that is written.
/// @return false: it must stay for now
inline bool DiskLog::begin_reclaim(const Victim& chosen, WallTime now) {
    const std::shared_ptr<Segment> held = chosen.segment.lock();
    if (!held || table_[held->slot()] != held) return false;  // gone meanwhile
    Segment& segment = *held;
    const bool is_oldest = chosen.lowest_older == std::numeric_limits<std::uint64_t>::max();
    std::vector<std::pair<FrameEntry, Location>> saved;
    std::vector<FrameHeader> kills;
    std::uint64_t cost = 0;
    const auto look = [&](const FrameEntry& entry) {
        if (entry.kind == FrameKind::record && chosen.keep != Keep::nothing) {
            IndexShard& shard = index.shard(entry.hash);
            const std::lock_guard lock(shard.mutex);
            const auto known = shard.find(DiskIndex::tag(entry.hash));
            const bool here = known && known->slot == segment.slot() && known->offset == entry.offset;
            if (here && !known->surely_dead(now)) {  // what has expired still kills what is older
                if (chosen.keep == Keep::read && !known->was_read) return;
                saved.emplace_back(entry, *known);
                cost += entry.size;
                return;
            }
        }
        if (entry.sequence <= chosen.lowest_older || kills_nothing(entry, segment)) return;
        const FrameKind kind = entry.kind == FrameKind::clear ? FrameKind::clear : FrameKind::tombstone;
        kills.push_back({kind, 0, entry.sequence, entry.hash});
    };
    const bool complete = segment.for_each_frame(look);
    segment.stays = !complete || kills.size() * kill_frame_size > segment.written() / 2;
    if (segment.stays && !is_oldest) return false;
    if (chosen.keep == Keep::all) {
        const std::lock_guard lock(mutex_);
        if (credit_ < static_cast<std::int64_t>(cost)) return false;
    }

    reclaim_ = Reclaim{held, {}, std::numeric_limits<std::uint64_t>::max(), false};
    bool all = true;
    try {
        reclaim_.moves.reserve(saved.size());
        for (const auto& [entry, from] : saved) {
            if (!all && !is_oldest) break;
            const Moved moved = move_record(entry, segment, from);
            if (moved == Moved::refused || moved == Moved::unreadable) all = false;
            if (moved == Moved::unreadable) segment.stays = true;
            if (moved == Moved::gone && entry.sequence > chosen.lowest_older &&
                !kills_nothing(entry, segment))
                kills.push_back({FrameKind::tombstone, 0, entry.sequence, entry.hash});
        }
        for (const FrameHeader& kill : kills) all = all && append_again(kill);
    } catch (...) {
        const std::lock_guard lock(mutex_);
        reclaim_.until = position_;  // nothing is dropped; what was moved stays so once it is written
        throw;
    }
    const bool drops = all || is_oldest;
    {
        const std::lock_guard lock(mutex_);
        reclaim_.until = position_;
        reclaim_.drop = drops;
    }
    (void)finish_reclaim();
    return drops;
}

/// A newer record of the key, already in its file, kills the same.
inline bool DiskLog::kills_nothing(const FrameEntry& entry, const Segment& victim) {
    if (entry.kind == FrameKind::clear) return false;
    IndexShard& shard = index.shard(entry.hash);
    const std::lock_guard lock(shard.mutex);
    const auto known = shard.find(DiskIndex::tag(entry.hash));
    return known && known->slot != victim.slot() && known->offset < table_[known->slot]->written();
}

inline DiskLog::Moved DiskLog::move_record(const FrameEntry& entry, Segment& victim, const Location& from) {
    const FrameRead frame = victim.read(entry.offset);
    if (frame.outcome != FrameRead::Outcome::ok) return Moved::unreadable;
    const ParsedRecord parsed = parse_record(frame.body, {}, victim.generation());
    if (!parsed) return Moved::unreadable;  // a new checksum would make the damage valid
    const std::uint64_t name_space = namespace_hash(parsed.record.key, directory.token());
    std::vector<std::uint64_t> tags;
    append_tag_hashes(parsed.record, directory.token(), tags);
    moving_.assign(frame.body.begin(), frame.body.end());

    IndexShard& shard = index.shard(entry.hash);
    const std::uint64_t tag = DiskIndex::tag(entry.hash);
    const std::lock_guard shard_lock(shard.mutex);
    const auto known = shard.find(tag);
    if (!known || !known->same_place(from)) return Moved::gone;
    Location to = from;
    {
        const std::lock_guard lock(mutex_);
        const auto size = static_cast<std::int64_t>(entry.size);
        if (broken_ || credit_ < size) return Moved::refused;
        if (entry.sequence < cleared_.before(name_space)) return Moved::gone;
        // Its kill may lie before it then, and be dropped.
        for (const std::uint64_t each : tags)
            if (entry.sequence < ended_tags_.before(each)) return Moved::gone;
        Chunk* const chunk = room_for(entry.size);
        if (chunk == nullptr || !sequence_fits(entry.sequence, chunk->segment->header().first_sequence))
            return Moved::refused;
        reseed_record(moving_, chunk->segment->generation());
        to.slot = chunk->segment->slot();
        to.was_read = false;
        to.offset = static_cast<std::uint32_t>(put_frame(
            *chunk,
            {FrameKind::record, static_cast<std::uint32_t>(moving_.size()), entry.sequence, entry.hash},
            moving_, name_space, from.dead_at));
        credit_ -= size;
    }
    shard.put(tag, to);
    victim.unlisted();
    table_[to.slot]->listed();
    reclaim_.moves.push_back({entry.hash, *known, to});
    return Moved::moved;
}

/// A kill costs little and must be saved: it may overdraw the credit.
inline bool DiskLog::append_again(const FrameHeader& kill) {
    const std::lock_guard lock(mutex_);
    if (broken_) return false;
    Chunk* const chunk = room_for(kill_frame_size);
    if (chunk == nullptr || !sequence_fits(kill.sequence, chunk->segment->header().first_sequence))
        return false;
    (void)put_frame(*chunk, kill, {});
    credit_ = std::max(credit_ - static_cast<std::int64_t>(kill_frame_size),
                       -static_cast<std::int64_t>(settings.segment_size));
    return true;
}

/// @return false: what was saved is not written yet
inline bool DiskLog::finish_reclaim() noexcept {
    if (!reclaim_.victim) return true;
    {
        const std::lock_guard lock(mutex_);
        if (written_ < reclaim_.until) return false;
    }
    const Reclaim done = std::exchange(reclaim_, {});
    if (done.drop && drop(done.victim, true) == 0) forget_ended();
    return true;
}

/// After a failed write: the index points to the places again from which records were moved in vain.
inline void DiskLog::move_back() noexcept {
    const Reclaim failed = std::exchange(reclaim_, {});
    for (const Move& move : failed.moves) {
        IndexShard& shard = index.shard(move.hash);
        const std::uint64_t tag = DiskIndex::tag(move.hash);
        const std::lock_guard lock(shard.mutex);
        const auto known = shard.find(tag);
        if (!known || !known->same_place(move.to) || move.to.offset < table_[move.to.slot]->written())
            continue;
        shard.put(tag, move.from);
        table_[move.to.slot]->unlisted();
        failed.victim->listed();
    }
}

inline void DiskLog::drop_dead_segments() {
    const std::lock_guard io_lock(io_mutex_);
    if (broken()) return;
    constexpr auto no_deadline = std::chrono::steady_clock::time_point::max();
    if (!write_queue(true, no_deadline)) return;
    (void)finish_reclaim();
    const WallTime now = time.wall();
    for (const Victim& victim : droppable(now)) {
        if (victim.keep != Keep::nothing) continue;
        if (begin_reclaim(victim, now) && !write_queue(true, no_deadline)) return;
    }
    forget_ended();
}

}  // namespace smartcache::inline v0::detail
