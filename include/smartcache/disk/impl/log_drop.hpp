#pragma once

// The dropping half of DiskLog (disk/log.hpp): eviction, clear, dead segments; and what recovery needs.

#include <smartcache/disk/log.hpp>

namespace smartcache::inline v0::detail {

inline std::shared_ptr<Segment> DiskLog::oldest() const {
    const std::lock_guard lock(mutex_);
    return segments_.empty() ? nullptr : segments_.front();
}

inline bool DiskLog::holds(const std::shared_ptr<Segment>& segment) const {
    const std::lock_guard lock(mutex_);
    return table_[segment->slot()] == segment;
}

inline std::uint64_t DiskLog::lowest_sequence() const {
    const std::lock_guard lock(mutex_);
    std::uint64_t lowest = next_sequence_;
    for (const auto& segment : segments_) lowest = std::min(lowest, segment->lowest_sequence);
    return lowest;
}

/// First half of dropping: the file is gone, the segment is no longer part of the log.
inline int DiskLog::unlink_doomed(const std::shared_ptr<Segment>& victim) noexcept {
    if (victim->on_disk()) {
        const int error = directory.unlink(segment_name(victim->id()));
        if (error != 0) {
            reporter.failed("unlink", errno_text(error));
            return error;
        }
    }
    doomed_[victim->slot()] = 1;
    const std::lock_guard lock(mutex_);
    std::erase(segments_, victim);
    if (active_ == victim.get()) {
        active_ = nullptr;
        open_ = nullptr;
    }
    return 0;
}

/// Second half: the index lets go of all doomed segments, then their slots are free. A reader that has found
/// a location before holds the segment itself.
inline void DiskLog::purge(bool evicting) noexcept {
    std::uint64_t evicted = 0;
    std::uint64_t expired = 0;
    const WallTime now = time.wall();
    (void)index.erase_if([&](const Location& location) {
        if (doomed_[location.slot] == 0) return false;
        ++(location.surely_dead(now) ? expired : evicted);
        return true;
    });
    if (evicting) {
        reporter.count(DiskEvent::evictions, evicted);
        reporter.count(DiskEvent::expirations, expired);
    }
    for (std::size_t slot = 0; slot < doomed_.size(); ++slot) {
        if (doomed_[slot] == 0) continue;
        doomed_[slot] = 0;
        std::shared_ptr<Segment> last;  // unmapped and closed without the lock
        const std::lock_guard lock(mutex_);
        last.swap(table_[slot]);
        free_slots_.push_back(static_cast<std::uint16_t>(slot));
        if (last == writing_) writing_.reset();
    }
}

inline int DiskLog::drop(const std::shared_ptr<Segment>& victim, bool evicting) noexcept {
    const int error = unlink_doomed(victim);
    if (error == 0) purge(evicting);
    return error;
}

inline int DiskLog::drop_before(std::uint64_t id, bool evicting) noexcept {
    int error = 0;
    for (std::shared_ptr<Segment> victim = oldest(); victim && victim->id() < id; victim = oldest()) {
        error = unlink_doomed(victim);
        if (error != 0) break;  // oldest first: nothing younger may go before it
    }
    purge(evicting);
    return error;
}

/// @param before  only segments with lower ids may be dropped
/// @return 0, or why there is not enough room
inline int DiskLog::make_room(std::uint64_t bytes, std::uint64_t before) {
    constexpr std::size_t spare_slots = 4;
    constexpr std::chrono::milliseconds patience{100};  // for readers that still hold a dropped segment
    const auto enough_slots = [this] {
        const std::lock_guard lock(mutex_);
        return free_slots_.size() >= spare_slots;
    };
    while (space.used() + bytes > settings.budget || !enough_slots()) {
        std::shared_ptr<Segment> victim = oldest();
        if (!victim || victim->id() >= before)
            return space.wait_for(settings.budget - std::min(bytes, settings.budget), patience) ? 0 : ENOSPC;
        if (const int error = drop(victim, true)) return error;
        const std::weak_ptr<Segment> held = victim;
        victim.reset();
        if (!held.expired())
            (void)space.wait_for(settings.budget - std::min(bytes, settings.budget), patience);
    }
    if (!cleared_.empty()) cleared_.forget_below(lowest_sequence());
    return 0;
}

inline bool DiskLog::clear(std::uint64_t name_space) {
    const std::lock_guard io_lock(io_mutex_);
    const auto journal_full = [this] {
        const std::lock_guard lock(mutex_);
        return journal.full();
    };
    if (journal_full() && !broken()) (void)write_queue(true, std::chrono::steady_clock::time_point::max());

    FrameHeader kill{FrameKind::clear, 0, 0, name_space};
    std::uint64_t boundary = 0;
    bool durable = false;
    {
        const std::lock_guard lock(mutex_);
        if (!namespaces_.contains(name_space)) return true;  // nothing of it is stored
        const bool everything = namespaces_.size() == 1 || journal.full();
        Placed placed;
        kill.sequence = next_sequence_;
        clear_count_.fetch_add(1, std::memory_order_release);
        cleared_.set(name_space, kill.sequence);  // from here on readers see nothing of it
        if (!everything) {
            if (append_kill(FrameKind::clear, name_space, placed) == Appended::done) return placed.durable;
            return false;
        }
        ++next_sequence_;
        boundary = next_id_;
        durable = !journal.full() && remember(kill, KillJournal::unknown);
        abandon_queue();
        namespaces_.clear();
    }
    // The usual case: all of the directory goes. After a crash in between the journal's entry finishes the
    // work.
    for (const auto& lost : lost_) forget_records(*lost);
    lost_.clear();
    const int error = drop_before(boundary, false);
    {
        const std::lock_guard lock(mutex_);
        if (error == 0) {
            std::erase_if(carry_,
                          [&](const FrameHeader& carried) { return carried.sequence <= kill.sequence; });
            if (queue_.empty() && carry_.empty())
                journal.forget();
            else
                journal.moved_to(position_);
        } else {
            // Something could not be unlinked: the kill goes into the log like any other, with what was in
            // the queue.
            carry_.push_back(kill);
            namespaces_.insert(name_space);
            broken_ = true;
            retry_at_ = {};
        }
    }
    if (error == 0) cleared_.forget_below(lowest_sequence());
    wake_.notify_all();
    return error == 0 || durable;
}

inline bool DiskLog::invalidate() noexcept {
    const std::lock_guard io_lock(io_mutex_);
    {
        const std::lock_guard lock(mutex_);
        abandon_queue();
    }
    for (const auto& lost : lost_) forget_records(*lost);
    lost_.clear();
    if (drop_before(std::numeric_limits<std::uint64_t>::max(), false) != 0) return false;
    const std::lock_guard lock(mutex_);
    carry_.clear();
    journal.forget();
    namespaces_.clear();
    return true;
}

// ---------------------------------------------------------------------------------------------------------------------
// Dead segments

inline void DiskLog::drop_dead_segments() {
    const std::lock_guard io_lock(io_mutex_);
    std::vector<std::shared_ptr<Segment>> sealed;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& segment : segments_) {
            if (segment == writing_ || segment.get() == active_ || !segment->on_disk()) break;
            sealed.push_back(segment);
        }
    }
    std::uint64_t lowest_older = std::numeric_limits<std::uint64_t>::max();
    for (auto& segment : sealed) {
        if (!holds(segment)) continue;  // carrying the kills of another one has evicted it
        const bool dead = segment->live.load(std::memory_order_relaxed) == 0;
        if (dead && carry_kills(*segment, lowest_older) && holds(segment) && drop(segment, true) == 0) {
            segment.reset();
            continue;
        }
        const std::lock_guard lock(mutex_);
        lowest_older = std::min(lowest_older, segment->lowest_sequence);
    }
    cleared_.forget_below(lowest_sequence());
}

/// Appends again what in a dead segment may still kill something older, and writes it.
/// @param lowest_older  lowest sequence in the older segments
/// @return whether the segment may be dropped
inline bool DiskLog::carry_kills(const Segment& dead, std::uint64_t lowest_older) {
    std::vector<FrameHeader> kills;
    std::uint64_t offset = segment_header_size;
    while (offset < dead.written()) {
        const FrameRead frame = dead.read(offset);
        if (frame.outcome == FrameRead::Outcome::failed) return false;
        if (frame.outcome != FrameRead::Outcome::ok) {  // damage; recovery would look behind it as well
            if (lowest_older != std::numeric_limits<std::uint64_t>::max()) return false;
            break;
        }
        offset += frame_size(frame.header.length);
        if (frame.header.sequence <= lowest_older) continue;
        FrameHeader kill = frame.header;
        if (kill.kind == FrameKind::record) kill.kind = FrameKind::tombstone;
        kill.length = 0;
        if (kill.kind == FrameKind::tombstone) {
            IndexShard& shard = index.shard(kill.hash);
            const std::lock_guard lock(shard.mutex);
            if (shard.find(DiskIndex::tag(kill.hash))) continue;  // a newer record of the key kills as well
        }
        kills.push_back(kill);
    }
    if (kills.size() * frame_header_size > dead.written() / 2)
        return false;  // not worth it: it will be evicted
    if (kills.empty()) return true;
    {
        const std::lock_guard lock(mutex_);
        if (broken_) return false;
        for (const FrameHeader& kill : kills) {
            Chunk* const chunk = room_for(frame_header_size);
            if (chunk == nullptr) return false;
            (void)put_frame(*chunk, kill, {});
        }
    }
    return write_queue(true, std::chrono::steady_clock::time_point::max());
}

// ---------------------------------------------------------------------------------------------------------------------
// Recovery

inline std::shared_ptr<Segment> DiskLog::adopt(const SegmentHeader& header, std::uint64_t capacity) {
    if (free_slots_.empty()) return nullptr;
    const std::uint16_t slot = free_slots_.back();
    auto segment = std::make_shared<Segment>(io, space, header, slot, capacity);
    segments_.push_back(segment);
    free_slots_.pop_back();
    table_[slot] = segment;
    return segment;
}

inline int DiskLog::drop_oldest() {
    const std::shared_ptr<Segment> victim = oldest();
    return victim ? drop(victim, true) : ENOENT;
}

inline void DiskLog::begin(std::uint64_t next_id, std::uint64_t next_sequence, std::shared_ptr<Segment> last,
                           std::uint64_t used) {
    next_id_ = next_id;
    next_sequence_ = next_sequence;
    if (!last) return;
    active_ = last.get();
    append_offset_ = used;
    generation_.store(last->generation(), std::memory_order_relaxed);
    writing_ = std::move(last);
}

inline void DiskLog::restore(const std::vector<FrameHeader>& kills) {
    if (kills.empty()) return;
    {
        const std::lock_guard lock(mutex_);
        carry_.insert(carry_.end(), kills.begin(), kills.end());
        for (const FrameHeader& kill : kills)
            (void)journal.add(kill, KillJournal::unknown, settings.durable_kills);
        broken_ = true;  // the way by which kills get into the log after a failure is the one to take here
        retry_at_ = {};
    }
    write_now();
}

}  // namespace smartcache::inline v0::detail
