#pragma once

// The dropping part of DiskLog (disk/log.hpp): whole segments, clear; and what recovery needs.

#include <smartcache/disk/log.hpp>

namespace smartcache::inline v0::detail {

inline std::shared_ptr<Segment> DiskLog::oldest() const {
    const std::lock_guard lock(mutex_);
    return segments_.empty() ? nullptr : segments_.front();
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
            reporter.failed("unlink", error);
            return error;
        }
    }
    doomed_[victim->slot()] = 1;
    if (reclaim_.victim == victim) reclaim_ = {};  // what was moved out of it is in the queue all the same
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
    const auto count = [&](const Location& location) { ++(location.surely_dead(now) ? expired : evicted); };
    std::uint64_t records = 0;
    for (std::size_t slot = 0; slot < doomed_.size(); ++slot)
        if (doomed_[slot] != 0) records += table_[slot]->live();
    // Besides its value, `size` gives that whoever has put a frame into a doomed segment has counted it by now: it looks
    // into every shard with its lock, and the two are one step under that.
    // Through the whole index when most of it goes, or when a segment cannot say what is in it.
    bool walk = records > index.size() / 2;
    for (std::size_t slot = 0; slot < doomed_.size() && !walk; ++slot)
        if (doomed_[slot] != 0) walk = !unlist_frames(*table_[slot], count);
    if (walk)
        (void)index.erase_if([&](const Location& location) {
            if (doomed_[location.slot] == 0) return false;
            count(location);
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

/// Takes the segment's records out of the index, one by one. @return false: some may be left
template <class Count>
bool DiskLog::unlist_frames(const Segment& victim, Count count) noexcept {
    if (victim.live() == 0) return true;
    try {
        const auto unlist = [&](const FrameEntry& entry) {
            if (entry.kind != FrameKind::record || victim.live() == 0) return;
            IndexShard& shard = index.shard(entry.hash);
            const std::uint64_t tag = DiskIndex::tag(entry.hash);
            const std::lock_guard lock(shard.mutex);
            const auto known = shard.find(tag);
            if (!known || known->slot != victim.slot() || known->offset != entry.offset) return;
            count(*known);
            shard.erase(tag);
            table_[victim.slot()]->unlisted();
        };
        return (victim.written() == 0 || victim.for_each_frame(unlist)) && victim.live() == 0;
    } catch (const std::bad_alloc&) {
        return false;
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
    forget_ended();
    return 0;
}

/// With mutex_, released meanwhile: gives up the queue and drops every segment that has been begun so far. What is
/// appended meanwhile stays.
inline bool DiskLog::drop_everything(Lock& lock) noexcept {
    const std::uint64_t boundary = next_id_;
    const std::uint64_t sequence = next_sequence_;
    std::unordered_set<std::uint64_t> known;
    known.swap(namespaces_);
    abandon_queue();
    lock.unlock();
    move_back();  // should something not go, then it is the originals
    for (const auto& lost : lost_) forget_records(*lost);
    lost_.clear();
    int error = drop_before(boundary, false);
    if (error == 0 && settings.sync && io.sync(directory.descriptor()) != 0) error = errno;
    lock.lock();
    if (error != 0) {
        namespaces_.max_load_factor(1e6F);  // no larger table: there may be no memory for one
        namespaces_.merge(known);
        namespaces_.max_load_factor(1);
        return false;
    }
    std::erase_if(carry_, [&](const FrameHeader& carried) { return carried.sequence < sequence; });
    if (queue_.empty() && carry_.empty())
        journal.forget();
    else
        journal.moved_to(carry_.empty() ? position_ : KillJournal::unknown);
    return true;
}

inline bool DiskLog::clear(std::uint64_t name_space) {
    const std::lock_guard io_lock(io_mutex_);
    const auto no_room = [this] {
        const std::lock_guard lock(mutex_);
        return journal.full() || free_slots_.empty();
    };
    if (no_room() && !broken()) (void)write_queue(true, std::chrono::steady_clock::time_point::max());

    bool durable = false;
    bool dropped = false;
    {
        Lock lock(mutex_);
        if (!namespaces_.contains(name_space)) return true;  // nothing of it is stored
        const bool everything = namespaces_.size() == 1 || journal.full();
        const FrameHeader kill{FrameKind::clear, 0, next_sequence_, name_space};
        cleared_.set(name_space, kill.sequence);  // from here on readers see nothing of it
        // release, and after that: whoever sees the new count and looks at a record afterwards sees that it is cleared, so
        // no `change_lifetime` appends it again. Whoever saw the old one is refused when it appends, as that takes mutex_.
        clear_count_.fetch_add(1, std::memory_order_release);
        Placed placed;
        if (!everything && append_kill(FrameKind::clear, name_space, placed) == Appended::done)
            return lasts(placed);
        // The usual case: all of the directory goes. After a crash in between the journal's entry finishes the work.
        ++next_sequence_;
        durable = !journal.full() && remember(kill, KillJournal::unknown) && !settings.sync;
        dropped = drop_everything(lock);
        if (!dropped) {
            // Something could not be unlinked: the kill goes into the log like any other, with what was in the queue.
            carry_.push_back(kill);
            broken_ = true;
            retry_at_ = {};
        }
    }
    if (dropped) forget_ended();
    wake_.notify_all();
    return dropped || durable;
}

inline void DiskLog::forget_ended() {
    if (cleared_.empty() && ended_tags_.empty()) return;
    const std::uint64_t lowest = lowest_sequence();
    cleared_.forget_below(lowest);
    ended_tags_.forget_below(lowest);
}

inline bool DiskLog::end_tagged(std::uint64_t tag) {
    for (;;) {
        {
            const std::lock_guard lock(mutex_);
            ended_tags_.set(tag, next_sequence_);  // in the order of `clear`, for its reasons
            clear_count_.fetch_add(1, std::memory_order_release);
            Placed placed;
            if (append_kill(FrameKind::clear, tag, placed) == Appended::done) return lasts(placed);
        }
        if (!make_journal_room()) return false;
    }
}

inline bool DiskLog::invalidate() noexcept {
    const std::lock_guard io_lock(io_mutex_);
    Lock lock(mutex_);
    if (!broken_) return true;  // writing has recovered meanwhile, and with it what was carried is in the log
    ++given_up_;
    if (drop_everything(lock)) return true;
    broken_ = true;
    retry_at_ = {};
    return false;
}

// ---------------------------------------------------------------------------------------------------------------------
// Recovery

inline std::shared_ptr<Segment> DiskLog::adopt(const SegmentHeader& header, std::uint64_t capacity) {
    if (free_slots_.size() <= spare_slots) return nullptr;
    const std::uint16_t slot = free_slots_.back();
    auto segment = std::make_shared<Segment>(io, space, header, slot, capacity, settings.retry);
    segments_.push_back(segment);
    free_slots_.pop_back();
    table_[slot] = segment;
    return segment;
}

inline int DiskLog::drop_oldest() {
    const std::shared_ptr<Segment> victim = oldest();
    return victim ? drop(victim, true) : ENOENT;
}

inline void DiskLog::begin(std::uint64_t next_id, std::uint64_t next_sequence,
                           std::shared_ptr<Segment> last) {
    next_id_ = next_id;
    next_sequence_ = next_sequence;
    if (!last) return;
    active_ = last.get();
    append_offset_ = last->written();
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
