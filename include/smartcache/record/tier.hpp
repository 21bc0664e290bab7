#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/clock.hpp>
#include <smartcache/core/function_ref.hpp>
#include <smartcache/core/stats.hpp>
#include <smartcache/core/tier_id.hpp>
#include <smartcache/record/compression.hpp>
#include <smartcache/record/intents.hpp>
#include <smartcache/record/key.hpp>
#include <smartcache/record/record.hpp>

namespace smartcache::inline v0 {

/// How one operation on a lower tier ended.
enum class TierStatus : std::uint8_t {
    ok,           ///< done; for reads: found, for `remove`: it was there
    miss,         ///< not there (or dead, corrupt, of another key: those are counted apart)
    refused,      ///< the write's condition did not hold
    rejected,     ///< refused because of a limit: too large, queue full; the tier now holds nothing under the
                  ///< key
    unavailable,  ///< error, deadline or open breaker; a write may or may not have happened
    untouched,  ///< of conditional writes and changes of lifetime: it surely did not happen, for another reason than
                ///< its condition; what was there is as it was
};

/// On what a write depends. Fills never overwrite a newer value (R7); only callers' writes are unconditional.
struct WriteCondition {
    enum class Kind : std::uint8_t { always, if_absent, if_stamp };
    Kind kind = Kind::always;
    std::uint64_t stamp = 0;  ///< for `if_stamp`: the record version that must be there
    std::uint64_t seq = 0;    ///< not 0: its `created_seq`; after another clear it is not there any more
    bool remade = false;      ///< of what was seen: the tier had lost its epochs
    bool change =
        false;  ///< a caller's, of which others are told even where nothing was: they may have what the tier has lost

    [[nodiscard]] static WriteCondition always() noexcept { return {}; }
    [[nodiscard]] static WriteCondition if_absent() noexcept { return {Kind::if_absent, 0, 0, false}; }
    [[nodiscard]] static WriteCondition if_stamp(std::uint64_t stamp, std::uint64_t seq = 0) noexcept {
        return {Kind::if_stamp, stamp, seq, false};
    }
    /// What a fill depends on that has seen `record`, or a trace (R7).
    [[nodiscard]] static WriteCondition of(const RecordView& record) noexcept {
        const bool nothing = record.tombstone && record.stamp == 0;
        return {nothing ? Kind::if_absent : Kind::if_stamp, record.stamp, record.created_seq,
                nothing && record.negative};
    }
};

/// A tier below L1: records under physical keys (`physical_key`).
///
/// Model must:
///  - be callable from any thread, any time; never throw from these functions; never block past its own
///  deadline;
///  - give out only records whose full key equals the one asked for and which are not dead
///  (`RecordView::dead_at`);
///    expired ones within their grace are given out, the caller decides;
///  - show its own pending writes to reads at once; after `remove` returns `ok` or `miss`, never give the
///  value again;
///  - if it `keeps_tags`: give out no record after `erase_tag` of one of its tags has returned, and none as fresh after
///  `expire_tag`, if its `tag_seq` is from before;
///  - when a `write` (unconditional) does not end in `ok`, never again give out the value that was there
///  before (R3).
///    Where it cannot reach its storage it remembers that on its side (R11) and answers `miss`.
///
/// `SmartCache` drives tiers through the virtual functions. Used alone, `set`, `get`, `erase`, `exists` and
/// `clear()` store plain bytes under plain keys.
class Tier {
  public:
    /// Receives a found record. Its views are valid during the call only (R22). Must not call back into the
    /// tier.
    ///
    /// Of a miss it may receive a trace: a record that is marked as a tombstone and is nobody's to have. It tells what a fill
    /// depends on (`WriteCondition::of`): what was written or erased under the key not long ago, or with a stamp of 0 that nothing
    /// was there; then `negative` says that the tier had lost its epochs, and with them what it held, without any clear.
    using Found = detail::FunctionRef<void(const RecordView&)>;
    using FoundAt = detail::FunctionRef<void(std::size_t, const RecordView&)>;

    virtual ~Tier() = default;

    [[nodiscard]] virtual TierId id() const noexcept { return TierId::other; }

    /// Looks `key` up and passes the record to `found`.
    /// @return ok (found was called once), miss (at most with a trace), unavailable
    virtual TierStatus read(std::string_view key, Found found) = 0;

    /// As `read`, but changes no statistics of hits and misses, and says `unavailable` where the tier only remembers that
    /// it could not write or erase the key (R11).
    virtual TierStatus peek(std::string_view key, Found found) { return read(key, found); }

    /// Looks many keys up in as few round trips as the tier can; calls `found(i, record)` for each hit, in
    /// any order.
    virtual void read_many(std::span<const std::string_view> keys, FoundAt found) {
        for (std::size_t i = 0; i < keys.size(); ++i)
            (void)read(keys[i], [&](const RecordView& record) { found(i, record); });
    }

    /// Stores a record under `record.key`. The views are not kept after the call.
    /// @return ok, refused, rejected, unavailable
    virtual TierStatus write(const RecordView& record, WriteCondition condition = {}) = 0;

    /// Unconditional writes, in as few round trips as the tier can. `result[i]` is the status of
    /// `records[i]`.
    virtual std::vector<TierStatus> write_many(std::span<const RecordView> records) {
        std::vector<TierStatus> result;
        result.reserve(records.size());
        for (const RecordView& record : records) result.push_back(write(record));
        return result;
    }

    /// @return ok (a live record was there), miss, unavailable
    virtual TierStatus remove(std::string_view key) = 0;

    virtual std::vector<TierStatus> remove_many(std::span<const std::string_view> keys) {
        std::vector<TierStatus> result;
        result.reserve(keys.size());
        for (const std::string_view key : keys) result.push_back(remove(key));
        return result;
    }

    /// @return ok (a fresh record is there), miss, unavailable. Changes no statistics of hits and misses.
    [[nodiscard]] virtual TierStatus contains(std::string_view key) = 0;

    /// Gives the record that has this stamp another expiry; the value stays as it is (R4).
    /// @return ok, refused (another version or none is there), untouched, unavailable; rejected (no room for now: the old
    /// lifetime goes on where the new one is longer, else the record ends)
    virtual TierStatus change_lifetime(std::string_view key, std::uint64_t stamp, WallTime expires,
                                       WallTime stale_until) = 0;

    /// Ends the record that has this stamp. Of many who try, in all processes, one gets `ok`.
    /// @return ok, refused (another version or none is there), untouched, unavailable
    virtual TierStatus end(std::string_view key, std::uint64_t stamp) {
        const WallTime now = wall();
        return change_lifetime(key, stamp, now, now);
    }

    /// Ends what others may have of a key under which this tier has nothing any more, if that is still so: tells them.
    /// @return ok, refused (something is there by now), untouched, unavailable
    virtual TierStatus end_lost(std::string_view /*key*/) { return TierStatus::ok; }

    /// Forgets everything under `name_space` and nothing else. O(1) in records.
    /// @return ok, unavailable
    virtual TierStatus clear(std::string_view name_space) = 0;

    /// Whether the tier knows tags. To one that does not, values with tags are never written.
    [[nodiscard]] virtual bool keeps_tags() const noexcept { return false; }
    /// How far the tier's tags have got, for `RecordView::tag_seq` of a value that is being made from now on (R18). Without
    /// I/O; 0: not known yet. What a caller has already comes with `RecordView::tags_of_now`, unless the tier is the disk.
    [[nodiscard]] virtual std::uint64_t tag_seq(std::string_view /*name_space*/) noexcept { return 0; }
    /// Ends every record of the namespace that has the tag and a `tag_seq` from before. O(1) in records.
    /// @return ok, unavailable
    virtual TierStatus erase_tag(std::string_view /*name_space*/, std::string_view /*tag*/) {
        return TierStatus::ok;
    }
    /// The same, but they are only stale from now on: they end with the grace that they were stored with.
    virtual TierStatus expire_tag(std::string_view /*name_space*/, std::string_view /*tag*/) {
        return TierStatus::ok;
    }

    /// Takes the right to load `key` among all who share the tier, for at most `length`.
    /// @return ok; refused: somebody else has it; unavailable: nobody can tell
    [[nodiscard]] virtual TierStatus try_lock(std::string_view /*key*/, std::uint64_t /*token*/,
                                              Duration /*length*/) {
        return TierStatus::ok;
    }
    /// Gives it back, if it is still held with this token.
    virtual void unlock(std::string_view /*key*/, std::uint64_t /*token*/) {}

    /// Begins to tell its owner what others change in it (`TierContext::on_invalidation`), and returns when it does, or has
    /// failed to. Called once, at most, when the owner can take it.
    /// @param positions  whether the owner has copies that may outlive the time in which it is told, and so wants to hear
    ///                   positions
    /// @param known  the last one that it has heard; empty: none
    virtual void begin_to_listen(bool /*positions*/, std::string /*known*/) {}
    /// Where another tier may keep what it could not tell, on this tier's storage, which belongs to this process alone; nullptr:
    /// nowhere. See `TierContext::keeps_intents`.
    [[nodiscard]] virtual Intents* intents() noexcept { return nullptr; }
    /// From now on keeps there what it cannot tell, and begins with what an earlier process has left: until that is told, the
    /// tier gives out nothing of it. Called once, at most, before anything is asked of the tier, which `intents` outlives.
    virtual void keep_intents(Intents& /*intents*/) {}

    /// Whether it tells, or will.
    [[nodiscard]] virtual bool tells_changes() const noexcept { return false; }
    /// The epoch in which what is written now under `key` would be, without I/O; 0: none, or not known yet.
    [[nodiscard]] virtual std::uint64_t epoch(std::string_view /*key*/) noexcept { return 0; }
    /// How many parts with epochs of their own it has, and which of them has the key.
    [[nodiscard]] virtual std::size_t parts() const noexcept { return 1; }
    [[nodiscard]] virtual std::size_t part(std::string_view /*key*/) const noexcept { return 0; }
    /// Whose trace it is: of somebody else; of an erase that was asked for through this very tier object; or of one by which that
    /// has made up for a change whose outcome it did not know (R11), and which may have ended what others had written since.
    enum class Trace : std::uint8_t { foreign, own, made_up };
    [[nodiscard]] virtual Trace trace(std::uint64_t /*stamp*/) const noexcept { return Trace::foreign; }

    /// Whether reads are of no use now, which is known without asking anybody: then it has counted one as a miss.
    [[nodiscard]] virtual bool turns_away() noexcept { return false; }

    /// Waits until pending writes have left the tier's queue. @return false when `timeout` passed first, or some are left
    virtual bool flush(Duration /*timeout*/) { return true; }

    /// Housekeeping that may be done now: expiry, compaction, reconnecting. @return entries removed
    virtual std::size_t run_maintenance() { return 0; }

    /// The part of it that should not wait long: an owner with threads calls it every second.
    virtual void tend() {}

    /// Asks the storage itself. Blocks at most as long as one operation.
    [[nodiscard]] virtual TierHealth probe() = 0;

    [[nodiscard]] virtual TierStats stats() const = 0;
    virtual void reset_stats() = 0;

    // Used alone: bytes under plain keys, in the empty namespace.

    /// @param ttl  `Duration::max()` is for ever; zero or less stores nothing and forgets the old value
    /// @return whether it was stored
    bool set(std::string_view key, ByteView value, Duration ttl = Duration::max());
    bool set(std::string_view key, std::string_view value, Duration ttl = Duration::max()) {
        return set(key, as_byte_view(value), ttl);
    }
    /// @return a copy of the bytes, or nullopt on a miss
    [[nodiscard]] std::optional<std::vector<std::byte>> get(std::string_view key);
    bool erase(std::string_view key) { return remove(physical_key({}, key)) == TierStatus::ok; }
    [[nodiscard]] bool exists(std::string_view key) {
        return contains(physical_key({}, key)) == TierStatus::ok;
    }
    bool clear() { return clear(std::string_view{}) == TierStatus::ok; }

  protected:
    Tier() = default;
    Tier(const Tier&) = delete;
    Tier& operator=(const Tier&) = delete;

    /// The wall clock by which this tier judges lifetimes.
    [[nodiscard]] virtual WallTime wall() const noexcept { return SystemClock::instance().wall(); }
    /// Used by `set`; `SmartCache` compresses before it calls `write`.
    [[nodiscard]] virtual CompressionOptions compression() const noexcept { return {}; }
};

inline bool Tier::set(std::string_view key, ByteView value, Duration ttl) {
    const std::string physical = physical_key({}, key);
    if (ttl <= Duration::zero()) {
        (void)remove(physical);
        return false;
    }
    RecordView record;
    record.key = physical;
    record.payload = value;
    record.raw_size = value.size();
    record.kind = ValueKind::bytes;
    record.stamp = random_stamp();
    record.created = wall();
    record.expires = saturating_add(record.created, ttl);
    ByteSink scratch;
    (void)compress_payload(record, compression(), scratch);
    return write(record) == TierStatus::ok;
}

inline std::optional<std::vector<std::byte>> Tier::get(std::string_view key) {
    std::optional<std::vector<std::byte>> result;
    (void)read(physical_key({}, key), [&](const RecordView& record) {
        if (record.tombstone || !record.fresh_at(wall()) || record.negative || !unpackable(record)) return;
        std::vector<std::byte> value(static_cast<std::size_t>(record.raw_size));
        if (unpack_payload(record, value.data())) result = std::move(value);
    });
    return result;
}

}  // namespace smartcache::inline v0
