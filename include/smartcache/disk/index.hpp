#pragma once

// Where each record lies: 16 bytes per slot, at most four fifths full and never less than two thirds once a
// shard has grown beyond its first table, so that a record costs 20 to 24 bytes.
//
// A key is known here by 61 bits of its hash: 6 choose the shard, 55 are kept in the slot, beside the mark of a
// record that was read. Two keys with equal bits share one slot: the later write takes it over and the earlier
// key becomes a miss. That is safe because readers compare the full key on disk (I1), and rare: with 10^9
// records the expected number of such pairs is below one.
//
// Linear probing. A slot's home is (tag * capacity) >> 56, not tag mod capacity: capacity can then grow by a
// fifth instead of doubling, and growing walks both tables in order, which the cache likes. Removal shifts
// back, so there are no grave markers.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/counters.hpp>

namespace smartcache::inline v0::detail {

/// Where a record lies and until when it is worth looking at.
struct Location {
    std::uint16_t slot = 0;    ///< of the table of segments
    std::uint32_t offset = 0;  ///< of the frame in the segment; a multiple of 4, never 0, below 64 MiB
    /// Seconds since the Unix epoch, rounded up, from which on the record is dead; `never` for ever.
    std::uint32_t dead_at = never;
    bool was_read = false;  ///< since it was put here

    static constexpr std::uint64_t offset_limit = std::uint64_t{1}
                                                  << 26U;  ///< no frame begins there or behind
    static constexpr std::uint32_t never = std::numeric_limits<std::uint32_t>::max();

    /// @param end  when the record may not even be served stale any more
    [[nodiscard]] static std::uint32_t coarse(WallTime end) noexcept {
        if (end == WallTime::max()) return never;
        const auto seconds = std::chrono::ceil<std::chrono::seconds>(end).time_since_epoch().count();
        return static_cast<std::uint32_t>(std::clamp<std::int64_t>(seconds, 0, std::int64_t{never} - 1));
    }
    [[nodiscard]] bool surely_dead(WallTime now) const noexcept {
        return dead_at != never && now.time_since_epoch().count() / 1000 >= std::int64_t{dead_at};
    }
    [[nodiscard]] bool same_place(const Location& other) const noexcept {
        return slot == other.slot && offset == other.offset;
    }
};

/// One independently locked part of the index. The caller holds `mutex` for every function.
class alignas(cache_line) IndexShard {
  public:
    std::mutex mutex;

    [[nodiscard]] std::optional<Location> find(std::uint64_t tag) const noexcept {
        const std::size_t at = position(tag);
        return at == none ? std::nullopt : std::optional(slots_[at].location());
    }

    /// As `find`, and remembers that the record is wanted.
    [[nodiscard]] std::optional<Location> find_and_mark(std::uint64_t tag) noexcept {
        const std::size_t at = position(tag);
        if (at == none) return std::nullopt;
        slots_[at].mark();
        return slots_[at].location();
    }

    /// Makes room for that many in one step. @throws std::bad_alloc, with nothing changed
    void reserve(std::size_t records) {
        if (const std::size_t slots = records + records / 3 + 16; slots > slots_.size()) rebuild(slots);
    }
    /// Has the line where `tag` would be fetched, for a `put` or `find` that comes soon.
    void prefetch(std::uint64_t tag) const noexcept {
        if (!slots_.empty()) __builtin_prefetch(&slots_[home(tag, slots_.size())], 1);
    }

    /// Makes the next `put` succeed without allocating. @throws std::bad_alloc, with nothing changed
    void prepare() {
        if ((used_ + 1) * 5 > slots_.size() * 4)
            rebuild(std::max<std::size_t>(slots_.size() + slots_.size() / 5, 16));
    }

    /// Puts `location` under `tag`, over what was there. `prepare` must have been called.
    void put(std::uint64_t tag, const Location& location) noexcept {
        const std::size_t at = position(tag);
        if (at != none) {
            slots_[at] = Slot(tag, location);
            return;
        }
        insert(slots_, Slot(tag, location));
        ++used_;
    }

    bool erase(std::uint64_t tag) noexcept {
        const std::size_t at = position(tag);
        if (at == none) return false;
        erase_at(at);
        return true;
    }

    /// Removes every location for which `dead(location)` holds. @return how many
    template <class Dead>
    std::size_t erase_if(Dead dead) {
        const std::size_t before = used_;
        // Shifting back moves later slots into the hole, so a slot is looked at again after each removal. A
        // slot that wraps around was seen already and is kept again.
        for (std::size_t i = 0; i < slots_.size(); ++i)
            while (slots_[i].used() && dead(slots_[i].location())) erase_at(i);
        return before - used_;
    }

    template <class Visit>
    void for_each(Visit visit) const {
        for (const Slot& slot : slots_)
            if (slot.used()) visit(slot.tag(), slot.location());
    }

    /// After more was reserved than was needed.
    void fit() {
        if (slots_.size() > used_ + used_ / 2 + 64) rebuild(used_ + used_ / 3 + 16);
    }

    /// Gives memory back when most of the table is empty. Keeps the table when there is no memory for a
    /// smaller one.
    void shrink() noexcept {
        if (slots_.size() <= 64 || used_ * 4 > slots_.size()) return;
        try {
            rebuild(std::max<std::size_t>(used_ + used_ / 2, 16));
        } catch (const std::bad_alloc&) {
        }
    }

    [[nodiscard]] std::size_t size() const noexcept { return used_; }
    [[nodiscard]] std::size_t bytes() const noexcept { return slots_.capacity() * sizeof(Slot); }

  private:
    // 24 bits of offset / 4, 16 of segment, 56 of tag whose lowest is 0 and holds the mark instead, 32 of time. An
    // offset of 0 is a segment's header: slot unused.
    class Slot {
      public:
        Slot() = default;
        Slot(std::uint64_t tag, const Location& location) noexcept
            : place_(std::uint64_t{location.offset / 4} | (std::uint64_t{location.slot} << 24U) |
                     (tag >> 32U << 40U)),
              tag_low_(static_cast<std::uint32_t>(tag) | (location.was_read ? 1U : 0U)),
              dead_at_(location.dead_at) {}

        [[nodiscard]] bool used() const noexcept { return (place_ & 0xFFFFFFU) != 0; }
        [[nodiscard]] std::uint64_t tag() const noexcept { return (place_ >> 40U << 32U) | (tag_low_ & ~1U); }
        [[nodiscard]] Location location() const noexcept {
            return {static_cast<std::uint16_t>(place_ >> 24U),
                    static_cast<std::uint32_t>(place_ & 0xFFFFFFU) * 4, dead_at_, (tag_low_ & 1U) != 0};
        }
        void mark() noexcept { tag_low_ |= 1U; }

      private:
        std::uint64_t place_ = 0;
        std::uint32_t tag_low_ = 0;
        std::uint32_t dead_at_ = 0;
    };
    static_assert(sizeof(Slot) == 16);

    static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

    [[nodiscard]] static std::size_t home(std::uint64_t tag, std::size_t capacity) noexcept {
        // The upper 32 bits of the tag decide: a shard never has more slots than that.
        return static_cast<std::size_t>(((tag >> 24U) * capacity) >> 32U);
    }
    [[nodiscard]] std::size_t next(std::size_t at) const noexcept {
        return at + 1 == slots_.size() ? 0 : at + 1;
    }

    [[nodiscard]] std::size_t position(std::uint64_t tag) const noexcept {
        if (slots_.empty()) return none;
        std::size_t at = home(tag, slots_.size());
        while (slots_[at].used()) {
            if (slots_[at].tag() == tag) return at;
            at = next(at);
        }
        return none;
    }

    static void insert(std::vector<Slot>& slots, const Slot& slot) noexcept {
        std::size_t at = home(slot.tag(), slots.size());
        while (slots[at].used()) at = at + 1 == slots.size() ? 0 : at + 1;
        slots[at] = slot;
    }

    void erase_at(std::size_t hole) noexcept {
        for (std::size_t at = next(hole); slots_[at].used(); at = next(at)) {
            const std::size_t wanted = home(slots_[at].tag(), slots_.size());
            // A slot may move into the hole unless its home lies behind the hole (cyclically).
            const bool stays = hole <= at ? hole < wanted && wanted <= at : hole < wanted || wanted <= at;
            if (stays) continue;
            slots_[hole] = slots_[at];
            hole = at;
        }
        slots_[hole] = Slot();
        --used_;
    }

    void rebuild(std::size_t capacity) {
        std::vector<Slot> fresh(capacity);
        for (const Slot& slot : slots_)
            if (slot.used()) insert(fresh, slot);
        slots_.swap(fresh);
    }

    std::vector<Slot> slots_;
    std::size_t used_ = 0;
};

/// All shards. Thread safety: each shard by its own mutex.
class DiskIndex {
  public:
    static constexpr std::size_t shard_count = 64;

    [[nodiscard]] IndexShard& shard(std::uint64_t hash) noexcept { return shards_[hash >> 58U]; }
    [[nodiscard]] static std::uint64_t tag(std::uint64_t hash) noexcept {
        return hash & ((std::uint64_t{1} << 56U) - 2);
    }
    [[nodiscard]] std::array<IndexShard, shard_count>& shards() noexcept { return shards_; }

    /// Removes every location for which `dead(location)` holds, one shard at a time. @return how many
    template <class Dead>
    std::size_t erase_if(Dead dead) {
        std::size_t removed = 0;
        for (IndexShard& shard : shards_) {
            const std::lock_guard lock(shard.mutex);
            removed += shard.erase_if(dead);
            shard.shrink();
        }
        return removed;
    }

    [[nodiscard]] std::size_t size() const noexcept {
        return total([](const IndexShard& shard) { return shard.size(); });
    }
    /// Memory of the tables.
    [[nodiscard]] std::size_t bytes() const noexcept {
        return total([](const IndexShard& shard) { return shard.bytes(); });
    }

  private:
    template <class Get>
    [[nodiscard]] std::size_t total(Get get) const noexcept {
        std::size_t sum = 0;
        for (IndexShard& shard : shards_) {
            const std::lock_guard lock(shard.mutex);
            sum += get(shard);
        }
        return sum;
    }

    mutable std::array<IndexShard, shard_count> shards_;
};

}  // namespace smartcache::inline v0::detail
