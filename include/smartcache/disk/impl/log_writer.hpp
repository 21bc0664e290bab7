#pragma once

// The writing half of DiskLog (disk/log.hpp): the queue into files, and what happens when that fails.

#include <smartcache/core/own_thread.hpp>
#include <smartcache/disk/log.hpp>

namespace smartcache::inline v0::detail {

inline void DiskLog::start() {
    writer_ = std::thread([this] {
        OwnThread::begin();
        run();
    });
}

inline void DiskLog::run() noexcept {
    constexpr auto no_deadline = std::chrono::steady_clock::time_point::max();
    Lock lock(mutex_);
    while (!stopping_) {
        bool all = true;
        if (broken_) {
            wake_.wait_until(lock, retry_at_, [this] { return stopping_; });
        } else {
            idle_ = true;
            wake_.wait(lock, [this] { return stopping_ || broken_ || !queue_.empty(); });
            idle_ = false;
            // Lets a chunk fill up, for one large write instead of many small ones.
            wake_.wait_for(lock, settings.window,
                           [this] { return stopping_ || hurry_ || queue_.size() > 1; });
            all = std::exchange(hurry_, false) || queue_.size() <= 1;
        }
        if (stopping_) break;
        lock.unlock();
        service(all, no_deadline);
        lock.lock();
    }
}

inline void DiskLog::stop() noexcept {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    if (writer_.joinable()) writer_.join();
}

inline void DiskLog::close(Duration timeout) noexcept {
    stop();
    service(true, std::chrono::steady_clock::now() + timeout);
    const std::lock_guard io_lock(io_mutex_);
    (void)seal_writing();
}

inline void DiskLog::write_now() noexcept {
    service(true, std::chrono::steady_clock::time_point::max());
}

inline bool DiskLog::make_journal_room() noexcept {
    service(true, std::chrono::steady_clock::time_point::max(), true);
    {
        const std::lock_guard lock(mutex_);
        if (!broken_ || !journal.full()) return true;
    }
    reporter.failed("the store is dropped", "an erase could be recorded nowhere, and nothing can be written");
    return invalidate();
}

inline bool DiskLog::wait_for_queue(std::uint64_t record_bytes, Duration timeout) {
    const std::uint64_t size = frame_size(FrameKind::record, record_bytes);
    Lock lock(mutex_);
    hurry_ = true;
    wake_.notify_all();
    return progress_.wait_for(lock, std::min(timeout, longest_wait),
                              [&] { return broken_ || queued_bytes_ + size <= settings.queue_bytes; });
}

inline bool DiskLog::flush(Duration timeout) {
    Lock lock(mutex_);
    const std::uint64_t target = position_;
    const auto lost = [this] { return given_up_ != lost_reported_; };
    const auto written = [&] { return written_ >= target && carry_.empty(); };
    if (!writer_.joinable()) {
        lock.unlock();
        write_now();
        lock.lock();
    } else if (!written()) {
        hurry_ = true;
        wake_.notify_all();
        (void)progress_.wait_for(lock, std::clamp(timeout, Duration::zero(), longest_wait),
                                 [&] { return lost() || written(); });
    }
    const bool done = written() && !lost();
    lost_reported_ = given_up_;
    return done;
}

/// Everything that takes the writer's role comes through here.
/// @param recover  try to write again after a failure, whether it is time or not
inline void DiskLog::service(bool all, std::chrono::steady_clock::time_point deadline,
                             bool recover) noexcept {
    {
        const std::lock_guard io_lock(io_mutex_);
        try {
            if (broken())
                try_recover(recover);
            else
                (void)write_queue(all, deadline);
        } catch (...) {  // no memory: what is queued stays queued, what is carried stays carried
            reporter.failed("writing", "out of memory");
        }
    }
    progress_.notify_all();
    reporter.deliver();
}

/// @return false when a write failed
inline bool DiskLog::write_queue(bool all, std::chrono::steady_clock::time_point deadline) noexcept {
    std::uint64_t target = 0;
    {
        const std::lock_guard lock(mutex_);
        target = position_;  // what comes later is for the next time: others wait for their turn
    }
    for (;;) {
        std::shared_ptr<Chunk> chunk;
        {
            const std::lock_guard lock(mutex_);
            if (written_ >= target || queue_.empty() || (!all && queue_.front().get() == open_)) return true;
            chunk = std::move(queue_.front());
            queue_.pop_front();
            if (chunk.get() == open_) open_ = nullptr;
        }
        int error = ETIMEDOUT;
        try {
            if (std::chrono::steady_clock::now() < deadline) error = write_chunk(*chunk);
        } catch (const std::bad_alloc&) {
            error = ENOMEM;
        }
        if (error != 0) {
            fail(error, *chunk);
            return false;
        }
        {
            const std::lock_guard lock(mutex_);
            queued_bytes_ -= chunk->size;
            written_ = chunk->position;
            journal.written(written_);
        }
        progress_.notify_all();
        reclaim_ahead();
    }
}

inline int DiskLog::write_chunk(Chunk& chunk) {
    Segment& segment = *chunk.segment;
    if (directory.removed()) return ENOENT;  // its open files take what nobody will find again
    if (chunk.begin == 0) {
        (void)seal_writing();  // at worst the file keeps blocks that it does not need
        if (const int error = create_file(segment)) return error;
        writing_ = chunk.segment;
    }
    const int error = with_space(segment.id(), [&] {
        return write_fully(io, segment.descriptor(), {chunk.data.get(), chunk.size}, chunk.begin);
    });
    if (error != 0) return error;
    // After a failed fdatasync nobody knows what is on the disk, and a second one would say that all is well.
    if (settings.sync && io.sync(segment.descriptor()) != 0) return errno;
    count_written(chunk.size);
    segment.advance(chunk.end());
    segment.remove_pending(&chunk);
    return 0;
}

inline int DiskLog::create_file(Segment& segment) {
    if (const int error = make_room(segment.capacity(), segment.id())) return error;
    space.take(segment.capacity());
    const std::string name = segment_name(segment.id());
    File file;
    int error = with_space(segment.id(), [&] {
        file = directory.open_file(name, O_RDWR | O_CREAT | O_EXCL);
        return file ? 0 : errno;
    });
    if (error == 0) {
        error = with_space(segment.id(),
                           [&] { return io.allocate(file.get(), segment.capacity()) == 0 ? 0 : errno; });
        // Without reserved blocks the store works too; it learns of a full disk later.
        if (!no_room(error)) error = 0;
        if (error == 0 && settings.sync && io.sync(directory.descriptor()) != 0) error = errno;
        if (error != 0) (void)directory.unlink(name);
    }
    if (error != 0) {
        space.give_back(segment.capacity());
        return error;
    }
    segment.attach(std::move(file), segment.capacity(), settings.map);
    return 0;
}

/// Calls again where there was no room, once the oldest segment has made place.
/// @param before  only older segments than this one may be dropped
template <class Call>
int DiskLog::with_space(std::uint64_t before, Call call) {
    const int error = call();
    if (!no_room(error)) return error;
    reporter.failed("the file system is full, the oldest segment is dropped", error);
    const std::shared_ptr<Segment> victim = oldest();
    if (!victim || victim->id() >= before || drop(victim, true) != 0) return error;
    return call();
}

/// @return the error's number or 0
inline int DiskLog::seal_writing() noexcept {
    if (!writing_) return 0;
    const std::shared_ptr<Segment> segment = std::exchange(writing_, nullptr);
    ByteView footer;
    try {
        const std::lock_guard lock(mutex_);
        if (active_ == segment.get()) {  // at the end, or after a failure: nothing more goes in here
            active_ = nullptr;
            open_ = nullptr;
        }
        if (segment->footer.end() == segment->written())
            footer = segment->footer.finish(segment->generation());
    } catch (const std::bad_alloc&) {  // then without
    }
    const int error = segment->seal(footer, settings.sync);
    if (error != 0) reporter.failed("ftruncate", error);
    count_written(segment->footer_size());
    const std::lock_guard lock(mutex_);
    segment->footer.release();
    return error;
}

inline void DiskLog::count_written(std::uint64_t bytes) noexcept {
    written_bytes_.store(written_bytes_.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
}

// ---------------------------------------------------------------------------------------------------------------------
// Failure and recovery

/// With mutex_: takes the queue away; its kills are carried.
inline void DiskLog::abandon_queue() noexcept {
    lost_.swap(queue_);
    for (const std::shared_ptr<Chunk>& chunk : lost_)
        carry_.insert(carry_.end(), chunk->kills.begin(), chunk->kills.end());
    open_ = nullptr;
    active_ = nullptr;
    queued_bytes_ = 0;
    written_ = position_;
}

inline void DiskLog::fail(int error, Chunk& chunk) noexcept {
    reporter.failed("writing failed, records are not stored for now", error);
    {
        const std::lock_guard lock(mutex_);
        carry_.insert(carry_.end(), chunk.kills.begin(), chunk.kills.end());
        abandon_queue();
        ++given_up_;
        broken_ = true;
        retry_at_ = std::chrono::steady_clock::now() + settings.retry;
    }
    // Half a chunk may have reached the file: intact records that nobody will know, which would be found after a
    // restart. They go before the index forgets them, while an erase still leaves a kill.
    const int left = seal_writing();
    move_back();
    forget_records(chunk);
    for (const std::shared_ptr<Chunk>& lost : lost_) forget_records(*lost);
    lost_.clear();
    forget_unwritten();
    if (left == 0) return;
    reporter.failed("ftruncate after a failed write, the store is dropped", left);
    Lock lock(mutex_);
    stranded_ = !drop_everything(lock);
}

/// Segments that never got a byte into a file; nothing points to them any more.
inline void DiskLog::forget_unwritten() noexcept {
    const std::lock_guard lock(mutex_);
    while (!segments_.empty() && segments_.back()->written() == 0) {
        const Segment& segment = *segments_.back();
        if (segment.on_disk() && directory.unlink(segment_name(segment.id())) != 0) break;
        table_[segment.slot()].reset();
        free_slots_.push_back(segment.slot());  // never more than it once held: no allocation
        segments_.pop_back();
    }
}

/// Takes the records of a chunk that will never be written out of the index.
inline void DiskLog::forget_records(const Chunk& chunk) noexcept {
    const Segment& segment = *chunk.segment;
    std::size_t at = chunk.begin == 0 ? segment_header_size : 0;
    std::size_t records = 0;
    while (at < chunk.size) {
        const auto header = parse_frame_header({chunk.data.get() + at, chunk.size - at}, segment.header());
        if (!header) break;
        const Location here{segment.slot(), static_cast<std::uint32_t>(chunk.begin + at)};
        at += static_cast<std::size_t>(frame_size(header->kind, header->length));
        if (header->kind != FrameKind::record) continue;
        const std::uint64_t hash = chunk.hashes[records++];
        IndexShard& shard = index.shard(hash);
        const std::uint64_t tag = DiskIndex::tag(hash);
        const std::lock_guard lock(shard.mutex);
        const auto known = shard.find(tag);
        if (!known || !known->same_place(here)) continue;
        shard.erase(tag);
        chunk.segment->unlisted();
    }
    chunk.segment->remove_pending(&chunk);
}

inline void DiskLog::try_recover(bool at_once) {
    {
        const std::lock_guard lock(mutex_);
        const auto now = std::chrono::steady_clock::now();
        if (!at_once && now < retry_at_) return;
        retry_at_ = now + settings.retry;
    }
    if (directory.removed()) {
        std::vector<FrameHeader> none;
        if (!directory.reopen()) return;
        Lock lock(mutex_);
        (void)drop_everything(lock);  // the files are gone already
        if (journal.open(directory, settings.map, none) != 0) return;
        carry_.clear();
    }
    if (stranded_) {
        Lock lock(mutex_);
        stranded_ = !drop_everything(lock);
        if (stranded_) return;
    }
    if (const int error = make_room(settings.segment_size, std::numeric_limits<std::uint64_t>::max())) {
        reporter.failed("making room", error);
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        begin_segment(kill_frame_size);
        active_->footer.prepare();
        open_chunk(kill_frame_size);
        if (!queue_carried()) return;
    }
    if (!write_queue(true, std::chrono::steady_clock::time_point::max())) return;
    {
        // What was killed meanwhile goes the ordinary way: it is in the journal, and if it cannot be written it is
        // carried again.
        const std::lock_guard lock(mutex_);
        if (!queue_carried()) return;
        broken_ = false;
    }
    reporter.say(LogLevel::info, "writing works again");
}

/// With mutex_. @return false: there is not room for all of them
inline bool DiskLog::queue_carried() {
    while (!carry_.empty()) {
        Chunk* const chunk = room_for(kill_frame_size);
        if (chunk == nullptr) return false;
        chunk->kills.push_back(carry_.back());
        (void)put_frame(*chunk, carry_.back(), {});
        carry_.pop_back();
    }
    journal.moved_to(position_);
    return true;
}

}  // namespace smartcache::inline v0::detail
