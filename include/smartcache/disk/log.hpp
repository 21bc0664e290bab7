#pragma once

// The log: all segments in the order of their ids, the queue of chunks that wait to be written, and the rules
// about what may be dropped when.
//
// Order. `append` gives every frame its place and its sequence under one mutex, while the caller holds the
// lock of the key's shard. So for one key the order of sequences, of places in the log and of index updates
// is the same, and so is the order in which frames reach the file.
//
// Why an erase stays erased (R20). A kill (tombstone, clear, or a newer record of the key) lies behind everything it
// kills, so nothing is left to kill for what the oldest segment holds. Where another one is dropped, its kills are
// appended again first, with their sequences, if an older segment could still hold something for them. A record that
// is moved to the log's end keeps its sequence too, and is moved only if, under the lock of its shard, the index points
// to it: so every kill of it, also a later one, is known there or lies behind it. Files are unlinked oldest first when
// all are dropped, so that a crash in between leaves a suffix of the log. Between the return of a call and the write of
// its frame the kill is in the journal (journal.hpp).
//
// Making room (impl/log_reclaim.hpp). One segment's worth of budget is freed ahead of need: segments that have expired
// go first, then those of which at most a fifth is alive, whose living records are moved, then the oldest, where those
// records are moved that were read since they were written (the second chance). Moving is paid for by `credit_`, a
// quarter of what callers append, which bounds the write amplification; what cannot be paid is evicted. A segment is
// unlinked when what was moved out of it has been written. If there is no room when a file must be created, the oldest
// segment goes at once.
//
// When writing fails. What was moved and not yet written moves back. The rest of the queue is given up as a whole: its
// records leave the index, its kills go to `carry_` (and stay in the journal), the tier refuses writes. Every `retry` a
// fresh segment is tried, with the carried kills as its first frames; when it is written the log is whole again. Want of
// room drops the oldest segment and tries once more first.
//
// Bound. A segment that is being filled counts with its whole capacity, which has room for its footer, a sealed one
// with its length, an unlinked one until its last reader is gone. Room is made before a file is created, so the sum
// never passes the budget.
//
// Locks, in the order in which they may be taken: `io_mutex_` (one writer at a time), a shard of the index,
// `mutex_` (appending; never held during I/O other than a journal entry), the small ones of segments and
// counters.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/disk/clears.hpp>
#include <smartcache/disk/directory.hpp>
#include <smartcache/disk/format.hpp>
#include <smartcache/disk/index.hpp>
#include <smartcache/disk/io.hpp>
#include <smartcache/disk/journal.hpp>
#include <smartcache/disk/reporter.hpp>
#include <smartcache/disk/segment.hpp>

namespace smartcache::inline v0::detail {

/// How a log is laid out and driven; computed by the tier from `DiskOptions`.
struct DiskLogSettings {
    std::uint64_t budget = 0;  ///< bytes that all segments together may take
    std::uint64_t segment_size =
        0;  ///< of an ordinary segment; a record that does not fit gets one of its own
    std::uint64_t queue_bytes = 0;  ///< most bytes that wait for the writer
    std::size_t chunk_bytes = 0;    ///< written with one call
    Duration window{0};             ///< how long the writer waits for a chunk to fill up
    Duration retry{0};          ///< between attempts to write, or to read a segment, again after a failure
    bool map = true;            ///< read through a mapping
    bool durable_kills = true;  ///< kills survive kill -9
    bool sync = false;          ///< fdatasync after each write
    std::uint64_t hash_mask = std::numeric_limits<std::uint64_t>::max();  ///< tests let keys collide
    bool bounded = true;  ///< refuse records when the queue is full; false: callers write themselves

    [[nodiscard]] std::uint64_t largest_record() const noexcept {
        return std::min<std::uint64_t>(budget / 2 - segment_header_size - record_header_size - 2 * 4096,
                                       max_frame_body);
    }
};

/// A mutex that whoever waits for it gets before its last owner does: the writer of a queue that never empties must not
/// keep everybody else out.
class FairMutex {
  public:
    void lock() {
        const std::lock_guard turn(next_);
        mutex_.lock();
    }
    void unlock() noexcept { mutex_.unlock(); }

  private:
    std::mutex next_;
    std::mutex mutex_;
};

class DiskLog {
  public:
    enum class Appended { done, queue_full, journal_full, unavailable, stale, ended };

    /// Where an appended record went. `segment` is valid while the shard's lock is held.
    struct Placed {
        Segment* segment = nullptr;
        Location location;
        std::uint64_t end = 0;  ///< in the segment
        bool durable = true;    ///< whether what it kills stays killed, should the process die now
    };

    DiskLog(Io& io, StoreDirectory& directory, DiskIndex& index, DiskReporter& reporter, TimeSource time,
            const DiskLogSettings& settings);
    ~DiskLog() {
        stop();
        for (const auto& chunk : queue_) chunk->segment->remove_pending(chunk.get());  // they hold each other
    }
    DiskLog(const DiskLog&) = delete;
    DiskLog& operator=(const DiskLog&) = delete;

    [[nodiscard]] std::uint64_t hash_of(std::string_view key) const noexcept {
        return stable_hash(as_byte_view(key), directory.token()) & settings.hash_mask;
    }

    // Appending. The caller holds the lock of the key's shard, and enters the place into the index before it
    // lets go.

    /// What the log must know of a record besides its bytes.
    struct Appendix {
        std::uint64_t hash = 0;
        std::uint64_t name_space = 0;
        std::uint32_t dead_at = 0;  ///< see Location::dead_at
        bool replaces = false;      ///< the index knows a record under this hash
        bool urgent = false;        ///< do not look at the queue's bound: the caller writes the queue at once
        std::optional<std::uint64_t> clears;    ///< `stale` when there have been more than these
        std::span<const std::uint64_t> tags{};  ///< hashes under which it may end; `ended` when one has,
        std::uint64_t tag_seq = 0;              ///< at this sequence or later
    };

    /// @param record  encoded under `seed`; gets another checksum when the segment has changed meanwhile
    /// @throws std::bad_alloc, with nothing changed
    [[nodiscard]] Appended append_record(const Appendix& what, std::span<std::byte> record,
                                         std::uint64_t seed, Placed& placed);
    /// A tombstone for `hash`. Never refused because of the queue (R21).
    [[nodiscard]] Appended append_tombstone(std::uint64_t hash, Placed& placed);
    /// Clears so far, of any namespace, and ends of tags.
    [[nodiscard]] std::uint64_t clears() const noexcept {
        return clear_count_.load(std::memory_order_acquire);
    }
    /// The checksum seed that the next record will probably need.
    [[nodiscard]] std::uint64_t generation() const noexcept {
        return generation_.load(std::memory_order_relaxed);
    }

    /// The segment of a location that the index holds; the caller has the lock under which it found it there.
    /// The table needs no lock of its own: a slot is filled before the first location names it, and emptied
    /// after the last location has been removed, each under the lock of the location's shard.
    [[nodiscard]] const std::shared_ptr<Segment>& segment(std::uint16_t slot) const noexcept {
        return table_[slot];
    }

    // Writing. Without locks.

    /// Starts the writer thread.
    void start();
    /// Writes what is queued, in the calling thread; first tries to recover after a failure, when it is time.
    void write_now() noexcept;
    /// After `journal_full`: writes the log, which frees the journal. Where that fails, and a recovery fails as well,
    /// kills can be recorded nowhere: everything is dropped (R21). @return false: not even that
    [[nodiscard]] bool make_journal_room() noexcept;
    /// Waits until a record of that size can be queued. @return false: not within `timeout`
    [[nodiscard]] bool wait_for_queue(std::uint64_t record_bytes, Duration timeout);
    /// Waits until everything appended before has been written.
    /// @return false: not within `timeout`, or something was given up since the last time
    [[nodiscard]] bool flush(Duration timeout);
    /// Ends the writer thread and writes the rest, for at most `timeout`.
    void close(Duration timeout) noexcept;

    /// Forgets what was stored under the namespace. @return false when that does not last before the log is written
    [[nodiscard]] bool clear(std::uint64_t name_space);
    /// Ends what was stored with a tag. @return false when that does not last before the log is written
    [[nodiscard]] bool end_tagged(std::uint64_t tag);
    /// The sequence that the next frame will have.
    [[nodiscard]] std::uint64_t next_sequence() const {
        const std::lock_guard lock(mutex_);
        return next_sequence_;
    }
    /// Drops everything: the last resort when a kill can be recorded nowhere because writing fails (R21).
    /// @return false: not even that
    [[nodiscard]] bool invalidate() noexcept;
    /// Writes the queue, then drops segments in which nothing is alive.
    void drop_dead_segments();

    [[nodiscard]] std::uint64_t queued_bytes() const {
        const std::lock_guard lock(mutex_);
        return queued_bytes_;
    }
    /// Bytes of records and kills that callers have appended, and bytes written to files for all purposes.
    [[nodiscard]] std::uint64_t appended_bytes() const noexcept {
        return appended_bytes_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t written_bytes() const noexcept {
        return written_bytes_.load(std::memory_order_relaxed);
    }

    [[nodiscard]] bool broken() const {
        const std::lock_guard lock(mutex_);
        return broken_;
    }
    /// A failed write has left records in a file that the index does not know, and neither they nor the file could be
    /// removed: nothing can be called erased.
    [[nodiscard]] bool stranded() const noexcept { return stranded_.load(std::memory_order_relaxed); }
    [[nodiscard]] const EndedGroups& cleared() const noexcept { return cleared_; }
    [[nodiscard]] const EndedGroups& ended_tags() const noexcept { return ended_tags_; }

    // Recovery: before the first append, one thread.

    /// Makes an existing segment part of the log; in the order of ids. @return nullptr when the table is full, but for
    /// the slots that writing needs
    [[nodiscard]] std::shared_ptr<Segment> adopt(const SegmentHeader& header, std::uint64_t capacity);
    /// Drops the oldest segment. @return the error's number or 0
    [[nodiscard]] int drop_oldest();
    /// Ends recovery.
    /// @param last  continue to append here; may be null
    void begin(std::uint64_t next_id, std::uint64_t next_sequence, std::shared_ptr<Segment> last);
    void know_namespace(std::uint64_t name_space) { namespaces_.insert(name_space); }
    [[nodiscard]] bool knows_namespace(std::uint64_t name_space) const {
        return namespaces_.contains(name_space);
    }
    void know_end(std::uint64_t tag, std::uint64_t sequence) { ended_tags_.set(tag, sequence); }
    /// Appends kills that were found in the journal alone, and writes them.
    void restore(const std::vector<FrameHeader>& kills);

    Io& io;
    StoreDirectory& directory;
    DiskIndex& index;
    DiskReporter& reporter;
    const TimeSource time;
    const DiskLogSettings settings;
    DiskSpace space;
    KillJournal journal;  // guarded by mutex_

  private:
    using Lock = std::unique_lock<std::mutex>;
    static constexpr std::uint64_t max_offset = Location::offset_limit;
    /// Slots of the table that are free when a file is created, for the segments that are begun before the next one is.
    static constexpr std::size_t spare_slots = 4;
    static constexpr Duration longest_wait =
        std::chrono::hours(24);  // a condition variable's clock can overflow

    // With mutex_.
    Chunk* room_for(std::uint64_t size);
    void begin_segment(std::uint64_t size);
    void open_chunk(std::uint64_t size);
    std::uint64_t put_frame(Chunk& chunk, const FrameHeader& header, ByteView body,
                            std::uint64_t name_space = 0, std::uint32_t dead_at = 0) noexcept;
    void earn(std::uint64_t bytes) noexcept;
    bool remember(const FrameHeader& kill, std::uint64_t position) noexcept;
    Appended append_kill(FrameKind kind, std::uint64_t hash, Placed& placed);
    /// Whether a kill needs no more: no power failure asks what the journal holds.
    [[nodiscard]] bool lasts(const Placed& kill) const noexcept { return kill.durable && !settings.sync; }
    void abandon_queue() noexcept;
    void wake_writer() noexcept;
    bool queue_carried();

    // With io_mutex_.
    bool write_queue(bool all, std::chrono::steady_clock::time_point deadline) noexcept;
    int write_chunk(Chunk& chunk);
    int create_file(Segment& segment);
    int make_room(std::uint64_t bytes, std::uint64_t before);
    template <class Call>
    int with_space(std::uint64_t before, Call call);
    int seal_writing() noexcept;
    void fail(int error, Chunk& chunk) noexcept;
    void forget_records(const Chunk& chunk) noexcept;
    void forget_unwritten() noexcept;
    void try_recover(bool at_once);
    void count_written(std::uint64_t bytes) noexcept;
    [[nodiscard]] bool drop_everything(Lock& lock) noexcept;
    int drop_before(std::uint64_t id, bool evicting) noexcept;
    int drop(const std::shared_ptr<Segment>& victim, bool evicting) noexcept;
    int unlink_doomed(const std::shared_ptr<Segment>& victim) noexcept;
    void purge(bool evicting) noexcept;
    template <class Count>
    bool unlist_frames(const Segment& victim, Count count) noexcept;

    // With io_mutex_: making room ahead of need.
    enum class Keep { nothing, read, all };
    struct Victim {
        std::weak_ptr<Segment> segment;  // whoever holds it keeps its space taken
        Keep keep = Keep::nothing;
        std::uint64_t lowest_older = 0;  ///< lowest sequence in the segments before it
        std::uint64_t cost = 0;          ///< bytes of the living, estimated
    };
    struct Move {
        std::uint64_t hash = 0;
        Location from;
        Location to;
    };
    /// A segment whose survivors are in the queue; it is unlinked when `until` has been written.
    struct Reclaim {
        std::shared_ptr<Segment> victim;
        std::vector<Move> moves;
        std::uint64_t until = 0;
        bool drop = false;  ///< false: something could not be saved
    };
    void reclaim_ahead() noexcept;
    void begin_next_reclaim();
    [[nodiscard]] std::vector<Victim> droppable(WallTime now) const;
    bool begin_reclaim(const Victim& chosen, WallTime now);
    bool finish_reclaim() noexcept;
    enum class Moved {
        moved,
        gone,        // somebody has overwritten, erased or cleared it meanwhile
        refused,     // no credit or no room
        unreadable,  // damaged
    };
    Moved move_record(const FrameEntry& entry, Segment& victim, const Location& from);
    bool append_again(const FrameHeader& kill);
    [[nodiscard]] bool kills_nothing(const FrameEntry& entry, const Segment& victim);
    void move_back() noexcept;

    [[nodiscard]] std::shared_ptr<Segment> oldest() const;
    [[nodiscard]] std::uint64_t lowest_sequence() const;
    void forget_ended();

    void service(bool all, std::chrono::steady_clock::time_point deadline, bool recover = false) noexcept;
    void run() noexcept;
    void stop() noexcept;

    EndedGroups cleared_;                        // by namespace
    EndedGroups ended_tags_;                     // by tag_hashes and tagged_hash; grows under mutex_
    std::atomic<std::uint64_t> clear_count_{0};  // changed under mutex_
    BufferPool buffers_;
    std::vector<std::shared_ptr<Segment>> table_;  // see segment()

    mutable std::mutex mutex_;
    std::deque<std::shared_ptr<Segment>> segments_;  // by id
    std::vector<std::uint16_t> free_slots_;
    std::deque<std::shared_ptr<Chunk>> queue_;
    Chunk* open_ = nullptr;      // the last of queue_, when it still takes frames
    Segment* active_ = nullptr;  // the last of segments_, when it still takes frames
    std::uint64_t append_offset_ = 0;
    std::atomic<std::uint64_t> generation_{0};
    std::uint64_t next_id_ = 1;
    std::uint64_t next_sequence_ = 1;
    std::uint64_t position_ = 0;  // bytes appended since the start
    std::uint64_t written_ = 0;   // of those, written or given up
    std::uint64_t queued_bytes_ = 0;
    std::unordered_set<std::uint64_t> namespaces_;  // that may have records
    std::uint64_t last_namespace_ = 0;
    bool broken_ = false;
    std::chrono::steady_clock::time_point retry_at_{};
    std::vector<FrameHeader> carry_;   // kills to be written when the log works again; at most kill_slots
    std::uint64_t given_up_ = 0;       // how often a queue was
    std::uint64_t lost_reported_ = 0;  // of those, what flush has told
    std::int64_t credit_ = 0;          // bytes that may be appended to move and carry
    bool stopping_ = false;
    bool idle_ = false;   // the writer waits for anything to do
    bool hurry_ = false;  // do not wait for a chunk to fill up, write all
    std::condition_variable wake_;
    std::condition_variable progress_;

    mutable FairMutex io_mutex_;
    std::shared_ptr<Segment> writing_;         // the file that takes the next chunk
    std::vector<char> doomed_;                 // by slot: being dropped
    std::deque<std::shared_ptr<Chunk>> lost_;  // room for a queue that is given up
    Reclaim reclaim_;
    std::vector<std::byte> moving_;  // a record on its way
    std::atomic<bool> stranded_{false};
    std::atomic<std::uint64_t> appended_bytes_{0};  // under mutex_
    std::atomic<std::uint64_t> written_bytes_{0};   // under io_mutex_
    std::thread writer_;
};

// ---------------------------------------------------------------------------------------------------------------------
// Appending

inline DiskLog::DiskLog(Io& io_seam, StoreDirectory& store, DiskIndex& keys, DiskReporter& report,
                        TimeSource source, const DiskLogSettings& layout)
    : io(io_seam),
      directory(store),
      index(keys),
      reporter(report),
      time(source),
      settings(layout),
      journal(io_seam),
      buffers_(layout.chunk_bytes) {
    // Segments shorter than half of the ordinary size are rare (a restart continues in them), so this is
    // ample; when it is not, `make_room` drops the oldest.
    const std::uint64_t slots =
        std::min<std::uint64_t>(4 * (settings.budget / settings.segment_size + 1) + 64, 1U << 16U);
    table_.resize(static_cast<std::size_t>(slots));
    doomed_.resize(table_.size());
    for (std::size_t slot = table_.size(); slot-- > 0;)
        free_slots_.push_back(static_cast<std::uint16_t>(slot));
    carry_.reserve(kill_slots + 1);
}

inline DiskLog::Appended DiskLog::append_record(const Appendix& what, std::span<std::byte> record,
                                                std::uint64_t seed, Placed& placed) {
    const std::lock_guard lock(mutex_);
    if (what.clears && *what.clears != clear_count_.load(std::memory_order_relaxed)) return Appended::stale;
    for (const std::uint64_t tag : what.tags)
        if (what.tag_seq <= std::max(ended_tags_.before(tag), ended_tags_.forgotten()))
            return Appended::ended;
    if (broken_) return Appended::unavailable;
    if (what.replaces && journal.full()) return Appended::journal_full;
    const std::uint64_t size = frame_size(FrameKind::record, record.size());
    if (settings.bounded && !what.urgent && queued_bytes_ + size > settings.queue_bytes)
        return Appended::queue_full;
    if (what.name_space != last_namespace_ || namespaces_.empty()) {
        namespaces_.insert(what.name_space);
        last_namespace_ = what.name_space;
    }
    Chunk* const chunk = room_for(size);
    if (chunk == nullptr) return Appended::queue_full;
    const FrameHeader kill{FrameKind::tombstone, 0, next_sequence_, what.hash};
    if (what.replaces) chunk->kills.push_back(kill);

    const std::uint64_t current = chunk->segment->generation();
    if (seed != current) reseed_record(record, current);
    const FrameHeader header{FrameKind::record, static_cast<std::uint32_t>(record.size()), next_sequence_++,
                             what.hash};
    placed.location.offset =
        static_cast<std::uint32_t>(put_frame(*chunk, header, record, what.name_space, what.dead_at));
    placed.location.slot = chunk->segment->slot();
    placed.location.dead_at = what.dead_at;
    placed.segment = chunk->segment.get();
    placed.end = append_offset_;
    placed.durable = !what.replaces || remember(kill, position_);
    earn(size);
    wake_writer();
    return Appended::done;
}

inline DiskLog::Appended DiskLog::append_tombstone(std::uint64_t hash, Placed& placed) {
    const std::lock_guard lock(mutex_);
    return append_kill(FrameKind::tombstone, hash, placed);
}

inline DiskLog::Appended DiskLog::append_kill(FrameKind kind, std::uint64_t hash, Placed& placed) {
    if (journal.full()) return Appended::journal_full;
    FrameHeader kill{kind, 0, next_sequence_, hash};
    if (broken_) {
        ++next_sequence_;
        carry_.push_back(kill);  // reserved: there are at most as many as journal entries
        placed.durable = remember(kill, KillJournal::unknown);
        return Appended::done;
    }
    Chunk* const chunk = room_for(kill_frame_size);
    if (chunk == nullptr) return Appended::journal_full;  // writing the queue frees slots as well
    chunk->kills.push_back(kill);
    ++next_sequence_;
    (void)put_frame(*chunk, kill, {});
    placed.durable = remember(kill, position_);
    earn(kill_frame_size);
    wake_writer();
    return Appended::done;
}

/// Callers have appended so much: a quarter of it may be spent on moving. What is saved up is bounded, because what is
/// moved goes through the queue.
inline void DiskLog::earn(std::uint64_t bytes) noexcept {
    appended_bytes_.store(appended_bytes_.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
    const std::uint64_t most = std::min(settings.segment_size, settings.queue_bytes / 2);
    credit_ = std::min(credit_ + static_cast<std::int64_t>(bytes / 4), static_cast<std::int64_t>(most));
}

inline bool DiskLog::remember(const FrameHeader& kill, std::uint64_t position) noexcept {
    return journal.add(kill, position, settings.durable_kills);
}

// @return nullptr when there are more segments than can be named
inline Chunk* DiskLog::room_for(std::uint64_t size) {
    const auto full = [&] { return append_offset_ + size + active_->footer.size(1) > active_->capacity(); };
    if (active_ == nullptr || append_offset_ >= max_offset || full()) {
        if (free_slots_.empty()) return nullptr;
        begin_segment(size);
    }
    active_->footer.prepare();
    if (open_ == nullptr || open_->capacity - open_->size < size) open_chunk(size);
    if (open_->hashes.size() == open_->hashes.capacity())
        open_->hashes.reserve(2 * open_->hashes.size() + 64);
    return open_;
}

inline void DiskLog::begin_segment(std::uint64_t size) {
    const std::uint64_t capacity =
        std::max(settings.segment_size,
                 round_up(segment_header_size + size + footer_entry_max + footer_trailer_size, 4096));
    const SegmentHeader header{next_id_, random_stamp() | 1U, next_sequence_};
    const std::uint16_t slot = free_slots_.back();
    auto segment = std::make_shared<Segment>(io, space, header, slot, capacity, settings.retry);
    segments_.push_back(segment);
    free_slots_.pop_back();
    ++next_id_;
    open_ = nullptr;
    active_ = segment.get();
    append_offset_ = 0;
    // relaxed: only a guess for the encoder, checked under the lock.
    generation_.store(header.generation, std::memory_order_relaxed);
    table_[slot] = std::move(segment);
}

inline void DiskLog::open_chunk(std::uint64_t size) {
    const bool first = append_offset_ == 0;
    if (first) size += segment_header_size;
    const std::uint64_t room =
        std::max(size, std::min<std::uint64_t>(settings.chunk_bytes, active_->capacity() - append_offset_));
    open_ = nullptr;  // whatever was open is full
    auto chunk = std::make_shared<Chunk>(buffers_, active_->shared_from_this(), append_offset_,
                                         static_cast<std::size_t>(room));
    queue_.push_back(chunk);
    try {
        active_->add_pending(chunk);
    } catch (...) {
        queue_.pop_back();
        throw;
    }
    open_ = chunk.get();
    open_->position = position_;
    if (!first) return;
    put_segment_header(open_->data.get(), active_->header(), directory.token());
    open_->size = segment_header_size;
    append_offset_ = segment_header_size;
    position_ += segment_header_size;
    queued_bytes_ += segment_header_size;
}

// The caller has got `chunk` from `room_for`. @return the frame's offset in the segment
inline std::uint64_t DiskLog::put_frame(Chunk& chunk, const FrameHeader& header, ByteView body,
                                        std::uint64_t name_space, std::uint32_t dead_at) noexcept {
    Segment& segment = *chunk.segment;
    std::byte* const to = chunk.data.get() + chunk.size;
    const std::uint64_t size = frame_size(header.kind, body.size());
    put_frame_header(to, header, segment.header());
    if (header.kind == FrameKind::record) {
        std::memcpy(to + record_header_size, body.data(), body.size());
        const std::size_t filled = record_header_size + body.size();
        std::memset(to + filled, 0, static_cast<std::size_t>(size) - filled);
        chunk.hashes.push_back(header.hash);
    }
    const FrameEntry entry{header.kind, header.hash, header.sequence, append_offset_,
                           size,        name_space,  dead_at};
    segment.note(entry);
    segment.footer.add(entry);
    chunk.size += static_cast<std::size_t>(size);
    position_ += size;
    chunk.position = position_;
    queued_bytes_ += size;
    return std::exchange(append_offset_, append_offset_ + size);
}

inline void DiskLog::wake_writer() noexcept {
    // When it sleeps, and when a chunk is full; not for each record.
    const bool hurry = !hurry_ && journal.half_full();
    hurry_ = hurry_ || hurry;
    if (idle_ || hurry || queue_.size() > 1) wake_.notify_one();
    idle_ = false;
}

}  // namespace smartcache::inline v0::detail

#include <smartcache/disk/impl/log_drop.hpp>     // IWYU pragma: keep
#include <smartcache/disk/impl/log_reclaim.hpp>  // IWYU pragma: keep
#include <smartcache/disk/impl/log_writer.hpp>   // IWYU pragma: keep
