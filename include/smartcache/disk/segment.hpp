#pragma once

// A segment is one file of the log. Its frames lie first in memory, in chunks that wait for the writer, then
// in the file; `written()` is the border, and it only grows. Readers take the border, then either the mapping
// (or `pread`) or a chunk, never a lock that is held during I/O.
//
// A segment lives as long as somebody holds it: the table of segments, or a reader for the length of a call
// (R22). Its bytes count in `DiskSpace` until the last one has let go, because a file that is unlinked but
// mapped still takes its blocks.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/counters.hpp>
#include <smartcache/disk/footer.hpp>
#include <smartcache/disk/format.hpp>
#include <smartcache/disk/io.hpp>

namespace smartcache::inline v0::detail {

/// The bytes that files take. Thread safety: any thread.
class DiskSpace {
  public:
    [[nodiscard]] std::uint64_t used() const noexcept { return used_.load(std::memory_order_acquire); }
    void take(std::uint64_t bytes) noexcept { used_.fetch_add(bytes, std::memory_order_acq_rel); }
    void give_back(std::uint64_t bytes) noexcept {
        used_.fetch_sub(bytes, std::memory_order_acq_rel);
        { const std::lock_guard lock(mutex_); }  // a waiter is either before its check or asleep
        changed_.notify_all();
    }

    /// Waits until at most `bytes` are used. @return whether they are
    bool wait_for(std::uint64_t bytes, std::chrono::milliseconds timeout) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, timeout, [&] { return used() <= bytes; });
    }

  private:
    std::atomic<std::uint64_t> used_{0};
    std::mutex mutex_;
    std::condition_variable changed_;
};

/// Buffers of one size, kept for reuse: fresh pages cost more than what is copied into them.
class BufferPool {
  public:
    explicit BufferPool(std::size_t size) : size_(size) { spare_.reserve(keep); }

    using Buffer = std::unique_ptr<std::byte[]>;

    [[nodiscard]] Buffer get(std::size_t size) {
        {
            const std::lock_guard lock(mutex_);
            if (size <= size_ && !spare_.empty()) {
                Buffer buffer = std::move(spare_.back());
                spare_.pop_back();
                return buffer;
            }
        }
        return Buffer(new std::byte[std::max(size, size_)]);  // not zeroed
    }

    void put(Buffer buffer, std::size_t size) noexcept {
        const std::lock_guard lock(mutex_);
        if (size <= size_ && spare_.size() < keep) spare_.push_back(std::move(buffer));
    }

  private:
    static constexpr std::size_t keep = 4;
    const std::size_t size_;
    std::mutex mutex_;
    std::vector<Buffer> spare_;
};

class Segment;

/// A piece of the log that waits to be written: the bytes of `segment` from `begin` on. Frames do not
/// straddle chunks. Bytes below a published location never change, so readers look at them while the appender
/// adds more behind.
struct Chunk {
    Chunk(BufferPool& buffers, std::shared_ptr<Segment> owner, std::uint64_t offset, std::size_t room)
        : segment(std::move(owner)), begin(offset), capacity(room), data(buffers.get(room)), pool(buffers) {}
    ~Chunk() { pool.put(std::move(data), capacity); }
    Chunk(const Chunk&) = delete;
    Chunk& operator=(const Chunk&) = delete;

    [[nodiscard]] std::uint64_t end() const noexcept { return begin + size; }

    const std::shared_ptr<Segment> segment;
    const std::uint64_t begin;
    const std::size_t capacity;
    std::size_t size = 0;
    BufferPool::Buffer data;
    BufferPool& pool;
    /// Frames in here that kill something older: they must reach the log even when this chunk cannot be
    /// written.
    std::vector<FrameHeader> kills;
    /// Of the keys of the records in here, in their order.
    std::vector<std::uint64_t> hashes;
    std::uint64_t position = 0;  ///< of the whole log, behind the last frame
};

/// A frame, and whatever keeps its bytes in place.
struct FrameRead {
    enum class Outcome { ok, gone, damaged, failed };
    Outcome outcome = Outcome::gone;
    int error = 0;  ///< why it failed
    FrameHeader header;
    ByteView body;
    std::shared_ptr<const Segment> segment;
    std::shared_ptr<const Chunk> chunk;
    std::vector<std::byte> copy;
};

/// Thread safety: `read`, `live` from any thread. The file is opened, written and sealed by one thread at a
/// time.
class Segment : public std::enable_shared_from_this<Segment> {
  public:
    Segment(Io& io, DiskSpace& space, const SegmentHeader& header, std::uint16_t slot, std::uint64_t capacity,
            Duration retry)
        : lowest_sequence(header.first_sequence),
          footer(header),
          header_(header),
          slot_(slot),
          capacity_(capacity),
          retry_(retry),
          io_(io),
          space_(space) {}

    ~Segment() {
        if (mapping_ != nullptr) (void)io_.unmap(mapping_, mapped_);
        file_.close();
        space_.give_back(taken_);
    }
    Segment(const Segment&) = delete;
    Segment& operator=(const Segment&) = delete;

    [[nodiscard]] std::uint64_t id() const noexcept { return header_.id; }
    [[nodiscard]] std::uint64_t generation() const noexcept { return header_.generation; }
    [[nodiscard]] const SegmentHeader& header() const noexcept { return header_; }
    [[nodiscard]] std::uint16_t slot() const noexcept { return slot_; }
    [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }

    /// Bytes that are in the file.
    // acquire: pairs with the release in `advance`; publishes the mapping, the descriptor and the bytes.
    [[nodiscard]] std::uint64_t written() const noexcept { return written_.load(std::memory_order_acquire); }

    /// Takes the open file over. @param map  read it through a mapping of the whole capacity where that works
    void attach(File file, std::uint64_t taken, bool map) {
        file_ = std::move(file);
        taken_ = taken;  // the caller has taken them from `DiskSpace`
        created_ = true;
        if (!map) return;
        void* const address = io_.map(file_.get(), capacity_, false);
        if (address == MAP_FAILED) return;  // then by pread
        mapping_ = static_cast<std::byte*>(address);
        mapped_ = capacity_;
    }
    [[nodiscard]] bool on_disk() const noexcept { return created_; }
    [[nodiscard]] int descriptor() const noexcept { return file_.get(); }

    void advance(std::uint64_t written) noexcept { written_.store(written, std::memory_order_release); }

    /// No frame will be written any more: writes the footer; the reserved blocks behind it, and what a failed write
    /// may have left there, go back. Nobody reads behind `written()`, so no mapped byte that somebody looks at is cut
    /// off. Without its footer a segment is as good, only slower to open.
    /// @param footer_bytes  may be empty; there is room for them in the capacity
    /// @return the error's number or 0
    int seal(ByteView footer_bytes, bool sync) {
        if (!file_ || sealed_) return 0;
        sealed_ = true;
        if (!footer_bytes.empty() && write_fully(io_, file_.get(), footer_bytes, written()) == 0)
            footer_size_ = footer_bytes.size();
        if (io_.truncate(file_.get(), written() + footer_size_) != 0) return errno;
        // If not: the frames are safe, and scanned. Without a footer it is for what was cut off: after a failed write that
        // are records which nobody knows any more, and of which an erase leaves no kill.
        if (sync) (void)io_.sync(file_.get());
        keep_only(written() + footer_size_);
        return 0;
    }
    /// As found at opening: sealed long ago, the file ends behind its frames and a footer of this size.
    void sealed(std::uint64_t footer_bytes) {
        sealed_ = true;
        footer_size_ = footer_bytes;
        keep_only(written() + footer_size_);
    }
    [[nodiscard]] std::uint64_t footer_size() const noexcept { return footer_size_; }

    /// Visits all frames in their order, as the footer tells of them: `visit(const FrameEntry&)`. Callers: whoever seals.
    /// @return false: there is no footer, or it cannot be read
    template <class Visit>
    [[nodiscard]] bool for_each_frame(Visit visit) const;

    /// Makes `chunk` readable until `remove_pending`.
    void add_pending(std::shared_ptr<const Chunk> chunk) {
        const std::lock_guard lock(pending_mutex_);
        pending_.push_back(std::move(chunk));
    }
    void remove_pending(const Chunk* chunk) noexcept {
        const std::lock_guard lock(pending_mutex_);
        std::erase_if(pending_, [chunk](const auto& held) { return held.get() == chunk; });
    }

    /// Brings the beginning of the frame at `offset` nearer to the processor, where it lies in the mapping. A hint.
    void prefetch(std::uint64_t offset) const noexcept {
        if (offset < written() && mapping_ != nullptr) prefetch_lines(mapping_ + offset, 0, begins);
    }

    /// The frame at `offset`, header checked, record not. @throws std::bad_alloc
    [[nodiscard]] FrameRead read(std::uint64_t offset) const;

    /// Records in here that the index points to. Any thread.
    // acquire: who reads 0 takes the slot away from all who had found a location in here. Each of them did so under the
    // lock of the key's shard, before the location left the index under that lock; the release there hands it on, also
    // through the counts that came after it (a release sequence).
    [[nodiscard]] std::uint32_t live() const noexcept { return live_.load(std::memory_order_acquire); }
    /// The index points to one more, or less. With the lock of the key's shard.
    void listed() noexcept { live_.fetch_add(1, std::memory_order_relaxed); }
    void unlisted() noexcept { live_.fetch_sub(1, std::memory_order_release); }

    /// A frame was appended, or found at opening. With the log's mutex.
    void note(const FrameEntry& entry) noexcept {
        lowest_sequence = std::min(lowest_sequence, entry.sequence);
        if (entry.kind != FrameKind::record) return;
        ++records;
        dead_at = std::max(dead_at, entry.dead_at);
    }

    // Guarded by the log's mutex.
    std::uint64_t lowest_sequence;  ///< of any frame in here
    std::uint32_t records = 0;      ///< ever appended
    std::uint32_t dead_at = 0;      ///< when the last of them expires, see Location::dead_at
    FooterWriter footer;            ///< until sealed

    /// Kept by whoever seals: it goes as the oldest or not at all, because too many kills would have to be carried.
    bool stays = false;

  private:
    // A record is looked at bit by bit: its frame's header, its own, the key, and then all of it for the checksum. Each
    // would wait for memory after the one before. From a little more than its beginning on processors run ahead by
    // themselves.
    static constexpr std::size_t begins = 256;
    static constexpr std::size_t runs = 2048;
    static void prefetch_lines(const std::byte* bytes, std::size_t from, std::size_t to) noexcept {
        for (; from < to; from += cache_line) __builtin_prefetch(bytes + from);
    }

    /// @param bytes  from the frame's first on, as many as there are
    [[nodiscard]] FrameRead parse(ByteView bytes) const {
        FrameRead frame;
        frame.outcome = FrameRead::Outcome::damaged;
        const auto header = parse_frame_header(bytes, header_);
        if (!header) return frame;
        frame.header = *header;
        frame.outcome = FrameRead::Outcome::ok;
        if (header->kind != FrameKind::record) return frame;
        if (header->length <= bytes.size() - record_header_size) {
            frame.body = bytes.subspan(record_header_size, header->length);
            prefetch_lines(bytes.data(), begins,
                           std::min<std::size_t>(record_header_size + header->length, runs));
        } else
            frame.outcome = FrameRead::Outcome::damaged;
        return frame;
    }
    [[nodiscard]] FrameRead read_file(std::uint64_t offset, std::uint64_t end) const;
    void keep_only(std::uint64_t size) {
        const std::uint64_t keeps = round_up(size, 4096);
        if (keeps < taken_) space_.give_back(std::exchange(taken_, keeps) - keeps);
        if (mapping_ != nullptr) file_.close();
    }

    const SegmentHeader header_;
    const std::uint16_t slot_;
    const std::uint64_t capacity_;
    const Duration retry_;

    Io& io_;
    DiskSpace& space_;
    File file_;
    std::byte* mapping_ = nullptr;
    std::size_t mapped_ = 0;
    std::uint64_t taken_ = 0;
    bool created_ = false;
    bool sealed_ = false;
    std::uint64_t footer_size_ = 0;
    /// The device could not give a piece of it, and is not asked again before: each attempt may take seconds. 0: it could.
    mutable std::atomic<std::chrono::steady_clock::rep> unreadable_until_{0};
    std::atomic<std::uint64_t> written_{0};
    std::atomic<std::uint32_t> live_{0};
    mutable std::mutex pending_mutex_;
    std::vector<std::shared_ptr<const Chunk>> pending_;
};

inline FrameRead Segment::read(std::uint64_t offset) const {
    std::uint64_t end = written();
    if (offset >= end) {
        std::shared_ptr<const Chunk> chunk;
        {
            const std::lock_guard lock(pending_mutex_);
            for (const auto& held : pending_)
                if (held->begin <= offset && offset - held->begin < held->capacity) chunk = held;
        }
        if (chunk) {
            const std::uint64_t skip = offset - chunk->begin;
            FrameRead frame = parse({chunk->data.get() + skip, chunk->capacity - skip});
            frame.chunk = std::move(chunk);
            return frame;
        }
        end = written();  // it was written between the two looks, or its write failed
        if (offset >= end) return {};
    }
    // relaxed: a time that orders nothing.
    if (const auto until = unreadable_until_.load(std::memory_order_relaxed);
        until != 0 && std::chrono::steady_clock::now().time_since_epoch().count() < until) {
        FrameRead frame;
        frame.outcome = FrameRead::Outcome::failed;
        frame.error = EIO;
        return frame;
    }
    FrameRead frame = mapping_ != nullptr
                          ? parse({mapping_ + offset,
                                   static_cast<std::size_t>(std::min(end, std::uint64_t{mapped_}) - offset)})
                          : read_file(offset, end);
    frame.segment = shared_from_this();
    return frame;
}

inline FrameRead Segment::read_file(std::uint64_t offset, std::uint64_t end) const {
    constexpr std::uint64_t first_guess = 4096;  // most records come with one call
    std::vector<std::byte> bytes(static_cast<std::size_t>(std::min(end - offset, first_guess)));
    std::size_t got = 0;
    FrameRead frame;
    frame.outcome = FrameRead::Outcome::failed;
    if (const int error = read_fully(io_, file_.get(), bytes, offset, got)) {
        frame.error = error;
        if (error == EIO)
            unreadable_until_.store((std::chrono::steady_clock::now() + retry_).time_since_epoch().count(),
                                    std::memory_order_relaxed);
        return frame;
    }
    frame.outcome = FrameRead::Outcome::damaged;
    const auto header = parse_frame_header(ByteView(bytes).first(got), header_);
    if (!header || (header->kind == FrameKind::record && header->length > end - offset - record_header_size))
        return frame;
    const auto whole = static_cast<std::size_t>(
        header->kind == FrameKind::record ? record_header_size + header->length : kill_frame_size);
    if (whole > bytes.size()) {
        const std::size_t have = bytes.size();
        bytes.resize(whole);
        std::size_t more = 0;
        frame.error = read_fully(io_, file_.get(), std::span(bytes).subspan(have), offset + have, more);
        if (frame.error != 0) {
            frame.outcome = FrameRead::Outcome::failed;
            return frame;
        }
        got = have + more;
    }
    if (got < whole) return frame;  // the file was cut short by somebody
    frame = parse(bytes);
    frame.copy = std::move(bytes);
    return frame;
}

template <class Visit>
bool Segment::for_each_frame(Visit visit) const {
    const std::uint64_t end = written();
    std::vector<std::byte> bytes(static_cast<std::size_t>(footer_size_));
    if (mapping_ != nullptr && footer_size_ != 0) {
        std::memcpy(bytes.data(), mapping_ + end, bytes.size());
    } else {
        std::size_t got = 0;
        if (read_fully(io_, file_.get(), bytes, end, got) != 0 || got < bytes.size()) return false;
    }
    return footer_intact(bytes, generation()) && read_footer(bytes, header_, end, visit);
}

}  // namespace smartcache::inline v0::detail
