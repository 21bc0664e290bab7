#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <smartcache/core/error.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/disk/admission.hpp>
#include <smartcache/disk/directory.hpp>
#include <smartcache/disk/index.hpp>
#include <smartcache/disk/intents.hpp>
#include <smartcache/disk/io.hpp>
#include <smartcache/disk/log.hpp>
#include <smartcache/disk/options.hpp>
#include <smartcache/disk/recovery.hpp>
#include <smartcache/disk/reporter.hpp>
#include <smartcache/disk/validate.hpp>
#include <smartcache/record/tier.hpp>
#include <smartcache/record/tier_context.hpp>

namespace smartcache::inline v0 {

namespace detail {

/// What tests change in the disk tier; the defaults are what everybody gets.
struct DiskTuning {
    Io* io = nullptr;  ///< not owned; nullptr is the operating system
    std::uint64_t queue_bytes =
        std::numeric_limits<std::uint64_t>::max();  ///< if less than DiskOptions::queue_size
    std::size_t chunk_bytes = std::size_t{1} << 20U;
    Duration window{10};
    Duration retry{1000};
    std::uint64_t hash_mask = std::numeric_limits<std::uint64_t>::max();
};

}  // namespace detail

/// L3: records in a log of segment files in one directory, with an index in memory.
///
///     sc::DiskTier disk{{.path = "/var/cache/app", .max_size = 256 << 20}};
///     disk.set("k", "value", 1h);
///     if (auto bytes = disk.get("k")) use(*bytes);
///
/// - A miss costs no I/O. A hit reads the page cache through a mapping (`DiskIo::mmap`) or by `pread`,
/// verifies the
///   record's checksum and compares the full key.
/// - A write costs a copy into the queue, which a thread of the tier writes within 10 ms or when it has grown to 1 MiB,
///   whichever is first: a crash loses at most what came in those 10 ms and the time of one write, and never more than
///   `queue_size`. When the queue is full, writes are rejected, or wait (`on_full`); the old value of a key whose write is
///   rejected is gone. `WriteMode::through`, or a context without `background`: written in the call.
/// - `max_size` bounds all files in the directory at all times. Segments (1/64 of it each) make room: those that have
///   expired first, then those in which at most a fifth lives, then the oldest; records that were read since they were
///   written are moved on, as far as a write amplification of 1.35 allows. The largest record is a little less than half
///   of `max_size`.
/// - After a crash of the process the store opens, serves intact records only, and nothing that was erased or
///   overwritten comes back once that call had returned; what was still in the queue is lost. A power failure
///   may undo more, unless `Durability::power_loss`. A flipped bit costs the record that it is in; larger damage where it
///   may have hit a kill costs what is older than it.
/// - A full disk, I/O errors, a removed directory: writes are `unavailable` until a new attempt, once a
/// second,
///   succeeds; reads go on as far as they can.
/// - In a child after fork(2) every call is `unavailable` and no file is touched: the store is the parent's (R33). It keeps
///   neither the lock nor mappings; but open files, of which there are many with `DiskIo::pread`, and so their blocks.
///
/// Memory: 20 to 24 bytes per record, the queue, and the footer of the segment that is being filled (ten bytes per record).
/// Thread safety: any thread, any time. Reads hold no lock while they verify and hand out a record.
class DiskTier final : public Tier {
  public:
    /// Opens or creates the store. Reads the segments' footers, some ten bytes per record, to build the index; after a
    /// crash also what was written last.
    /// @throws ConfigError for impossible options, and for a directory that cannot be used: not ours, in use
    /// by another
    ///         cache (its process id is in the message), another format version, no permission
    explicit DiskTier(DiskOptions options, TierContext context = {})
        : DiskTier(std::move(options), std::move(context), detail::DiskTuning{}) {}
    DiskTier(DiskOptions options, TierContext context, const detail::DiskTuning& tuning);

    /// Writes what is queued, for at most five seconds.
    inline ~DiskTier() override;

    [[nodiscard]] TierId id() const noexcept override { return TierId::disk; }

    using Tier::clear;
    inline TierStatus read(std::string_view key, Found found) override;
    inline TierStatus write(const RecordView& record, WriteCondition condition = {}) override;
    inline std::vector<TierStatus> write_many(std::span<const RecordView> records) override;
    inline TierStatus remove(std::string_view key) override;
    inline TierStatus peek(std::string_view key, Found found) override;
    [[nodiscard]] inline TierStatus contains(std::string_view key) override;
    inline TierStatus change_lifetime(std::string_view key, std::uint64_t stamp, WallTime expires,
                                      WallTime stale_until) override;
    /// Frees the space at once when the directory holds nothing but this namespace; else the records are dead
    /// at once and their space comes back by maintenance and eviction.
    inline TierStatus clear(std::string_view name_space) override;
    [[nodiscard]] bool keeps_tags() const noexcept override { return true; }
    [[nodiscard]] inline std::uint64_t tag_seq(std::string_view name_space) noexcept override;
    inline TierStatus erase_tag(std::string_view name_space, std::string_view tag) override;
    inline TierStatus expire_tag(std::string_view name_space, std::string_view tag) override;
    /// Only if the context asks for them.
    [[nodiscard]] Intents* intents() noexcept override { return intents_ ? &*intents_ : nullptr; }
    /// @return false: not within `timeout`, or records were given up, after an error, since the last call
    inline bool flush(Duration timeout) override;
    /// Writes the queue, removes expired and cleared records from the index and drops segments in which nothing is alive.
    inline std::size_t run_maintenance() override;
    /// Writes, reads and removes a file in the directory.
    [[nodiscard]] inline TierHealth probe() override;
    [[nodiscard]] inline TierStats stats() const override;
    inline void reset_stats() override;

    /// Memory of the index.
    [[nodiscard]] std::size_t index_bytes() const noexcept { return index_.bytes(); }

  protected:
    [[nodiscard]] WallTime wall() const noexcept override { return context_.time.wall(); }
    [[nodiscard]] CompressionOptions compression() const noexcept override { return context_.compression; }

  private:
    using Appended = detail::DiskLog::Appended;

    /// What the index knew about a hash, with the segment pinned.
    struct Seen {
        std::uint64_t clears = 0;   // before looking
        std::uint64_t cleared = 0;  // up to which sequence the namespace was, before looking
        std::optional<detail::Location> location;
        std::shared_ptr<detail::Segment> segment;
        std::uint64_t forgotten_tags = 0;  // before looking
    };
    enum class Verdict {
        absent,
        foreign,
        early,
        expired,
        too_large,  // for limits that are lower than those it was written under; they may be raised again
        cleared,
        damaged,
        failed,
        live,
        again,  // what its tags have come to was forgotten meanwhile
    };
    struct Examined {
        Verdict verdict = Verdict::absent;
        detail::FrameRead frame;
        RecordView record;
        bool stale_by_tag = false;
    };
    /// What still has to happen after the locks were released.
    struct Aftermath {
        bool write = false;  // the queue, in this call
        std::shared_ptr<detail::Segment>
            segment;  // must have been written up to `end`, or the record is not stored
        std::uint64_t end = 0;
        bool killed = false;
        bool durable = true;
    };

    static detail::DiskLogSettings layout(const DiskOptions& options, const TierContext& context,
                                          const detail::DiskTuning& tuning, std::uint64_t fixed_bytes);
    static DiskOptions checked(DiskOptions options);

    [[nodiscard]] Seen look(std::string_view key, std::uint64_t hash, bool wanted);
    [[nodiscard]] bool unchanged(const detail::IndexShard& shard, std::uint64_t tag, const Seen& seen) const;
    [[nodiscard]] Examined examine(const Seen& seen, std::string_view key, WallTime now) const;
    void judge_tags(const Seen& seen, Examined& examined) const;
    TierStatus end_tagged(std::string_view name_space, std::string_view tag,
                          std::uint64_t detail::TagHashes::*how);
    Examined look_closely(std::string_view key, std::uint64_t hash, bool wanted, Seen& seen);
    Examined find(std::string_view key, std::uint64_t hash, bool wanted);
    TierStatus give(std::string_view key, std::uint64_t hash, Found found, bool wanted);
    void forget(std::uint64_t hash, const Seen& seen, Verdict why);
    void unlist(detail::IndexShard& shard, std::uint64_t tag, const detail::Location& known) noexcept;

    /// What is known of a write from earlier attempts.
    struct Attempt {
        bool storable = true;
        bool admitted = false;  // by the gate
        bool keeps = false;     // what is there stays where the queue is full
        std::optional<std::chrono::steady_clock::time_point> deadline;  // of waiting for room in the queue
    };
    std::optional<TierStatus> store(const RecordView& record, const Seen* expected, Aftermath& after,
                                    Attempt attempt);
    Appended append(const RecordView& record, std::uint64_t hash, const Seen* expected, Attempt& attempt,
                    Aftermath& after);
    TierStatus store_when(const RecordView& record, WriteCondition condition, Aftermath& after);
    [[nodiscard]] TierStatus finish(TierStatus status, const Aftermath& after);
    std::size_t sweep_cleared();
    std::string probe_once();
    template <class Body>
    TierStatus guarded(std::string_view key, bool writing, Body body) noexcept;

    const DiskOptions options_;
    const TierContext context_;
    detail::Io& io_;
    detail::DiskReporter reporter_;
    mutable detail::DiskIndex index_;
    detail::StoreDirectory directory_;
    std::optional<detail::DiskIntents> intents_;  // set by the constructor only
    const std::uint64_t fixed_bytes_;             // of files that are not segments
    detail::ProcessOwned<detail::DiskLog> own_log_;
    detail::DiskLog& log_;
    detail::DiskGate gate_;
    const bool through_;
    LatencyHistogram latency_;
    std::mutex probe_mutex_;
};

}  // namespace smartcache::inline v0

#include <smartcache/disk/impl/disk_tier.hpp>       // IWYU pragma: keep
#include <smartcache/disk/impl/disk_tier_tags.hpp>  // IWYU pragma: keep
