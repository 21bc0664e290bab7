#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <utility>

#include <smartcache/core/clock.hpp>
#include <smartcache/memory/arena.hpp>
#include <smartcache/memory/hazard.hpp>
#include <smartcache/policy/node.hpp>

namespace smartcache::inline v0 {

/// Why an entry left L1.
enum class RemovalCause : std::uint8_t {
    expired,   ///< its lifetime or idle time was over
    evicted,   ///< for capacity; also a newcomer that admission refused
    replaced,  ///< by a newer value of the same key
    erased,    ///< by request, or because it was invalidated
    cleared,   ///< with everything else
};

namespace detail {

/// The idle time of an entry that has one: lies right before the entry, in its block.
struct IdleTime {
    std::atomic<std::int64_t> accessed_at{0};  ///< ms on the monotonic clock
    std::int64_t length = 0;                   ///< ms; 0: no idle time after all
};

/// How long it took to make a value, in six bits: within a fifth, from 1 us to half an hour. 0: not known.
struct ShortCost {
    [[nodiscard]] static std::uint8_t pack(std::chrono::microseconds cost) noexcept {
        if (cost.count() <= 0) return 0;
        const double steps = 2 * std::log2(static_cast<double>(cost.count()));
        return static_cast<std::uint8_t>(std::min(1 + std::lround(steps), 63L)) & 63U;
    }
    [[nodiscard]] static std::chrono::microseconds unpack(std::uint8_t packed) noexcept {
        if (packed == 0) return {};
        return std::chrono::microseconds(std::llround(std::exp2((packed - 1) / 2.0)));
    }
};

/// What every entry of L1 has in common; key and value stand behind it in the same allocation.
///
/// Immutable once published (R6), but for the atomics and what the shard's lock protects (`Node`, `cause`).
struct EntryBase : policy::Node {
    static constexpr std::int64_t never = MonotonicTime::max().time_since_epoch().count();
    /// Times from here on are never reached.
    static constexpr std::int64_t out_of_reach = std::int64_t{1} << 62U;

    RemovalCause cause = RemovalCause::erased;
    bool idles : 1 = false;                    ///< an `IdleTime` lies before this entry
    bool demotes : 1 = false;                  ///< goes to a lower tier when it is evicted
    std::uint8_t load_cost : 6 = 0;            ///< of making the value, as `ShortCost`
    std::atomic<std::uint32_t> references{1};  ///< one for the table, one for each counted reference
    std::atomic<std::int64_t> dead_at{never};  ///< ms on the monotonic clock: not to be served from then on
    std::uint32_t bytes = 0;                   ///< of the allocation, and what it owns elsewhere
    std::uint16_t arena = 0;                   ///< `Arena::number()` of the block's

    /// Memory for an entry of `size` bytes, with room for an `IdleTime` before it if it is to have one.
    /// Throws: std::bad_alloc.
    [[nodiscard]] static void* allocate_block(Arena& arena, std::size_t size, std::size_t alignment,
                                              bool idles) {
        const std::size_t before = prefix(alignment, idles);
        std::byte* const entry = static_cast<std::byte*>(arena.allocate(before + size, alignment)) + before;
        if (idles) ::new (entry - sizeof(IdleTime)) IdleTime();
        return entry;
    }
    static void free_block(Arena& arena, void* entry, std::size_t size, std::size_t alignment,
                           bool idles) noexcept {
        const std::size_t before = prefix(alignment, idles);
        arena.deallocate(static_cast<std::byte*>(entry) - before, before + size, alignment);
    }

    /// Completes what `allocate_block` gave, after the constructor.
    void settle(Arena& home, std::size_t size, std::size_t alignment, bool has_idle_time) noexcept {
        arena = home.number();
        idles = has_idle_time;
        add_bytes(block_bytes(size, alignment, has_idle_time));
    }
    /// Of the block of an entry of `size` bytes.
    [[nodiscard]] static constexpr std::size_t block_bytes(std::size_t size, std::size_t alignment,
                                                           bool idles) noexcept {
        return prefix(alignment, idles) + size;
    }
    [[nodiscard]] Arena& home() const noexcept { return Arena::by_number(arena); }

    [[nodiscard]] bool can_expire() const noexcept {
        return idles || dead_at.load(std::memory_order_relaxed) < out_of_reach;
    }

    [[nodiscard, gnu::always_inline]] bool dead(std::int64_t now) const noexcept {
        if (now >= dead_at.load(std::memory_order_relaxed)) [[unlikely]]
            return true;
        return idles && idle_too_long(now);
    }

    /// When it will be dead if nobody reads it, in ms; `never` if it then lives on.
    [[nodiscard]] std::int64_t due() const noexcept {
        const std::int64_t end = dead_at.load(std::memory_order_relaxed);
        if (idles && idle_time().length != 0) {
            const std::int64_t read = idle_time().accessed_at.load(std::memory_order_relaxed);
            return std::min(end, idle_time().length < never - read ? read + idle_time().length : never);
        }
        return end < out_of_reach ? end : never;
    }

    /// Counts what the entry owns outside the allocation. Beyond 4 GiB all is one.
    void add_bytes(std::size_t more) noexcept {
        constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max();
        bytes = static_cast<std::uint32_t>(bytes + std::min(more, most - bytes));
    }

    /// Only for an entry that `idles`. @param length  ms; 0 or less: no idle time
    void set_idle(std::int64_t length, std::int64_t now) noexcept {
        idle_time().length = std::max<std::int64_t>(length, 0);
        idle_time().accessed_at.store(now, std::memory_order_relaxed);
    }
    [[nodiscard]] std::int64_t idle_length() const noexcept { return idles ? idle_time().length : 0; }

    /// Writes only when that changes something.
    void accessed(std::int64_t now) noexcept {
        if (idles && idle_time().accessed_at.load(std::memory_order_relaxed) != now)
            idle_time().accessed_at.store(now, std::memory_order_relaxed);
    }

    /// Chains entries that no policy holds any more, through fields that only policies use.
    void chain(EntryBase* next) noexcept {
        const auto bits = reinterpret_cast<std::uintptr_t>(next);
        weight = static_cast<std::uint32_t>(bits);
        link = static_cast<std::uint32_t>(std::uint64_t{bits} >> 32U);
    }
    [[nodiscard]] EntryBase* chained() const noexcept {
        return reinterpret_cast<EntryBase*>(static_cast<std::uintptr_t>(std::uint64_t{link} << 32U | weight));
    }

  private:
    [[nodiscard]] static constexpr std::size_t prefix(std::size_t alignment, bool idles) noexcept {
        return idles ? std::max(sizeof(IdleTime), alignment) : 0;
    }
    [[nodiscard]] bool idle_too_long(std::int64_t now) const noexcept {
        const IdleTime& idle = idle_time();
        return idle.length != 0 && now - idle.accessed_at.load(std::memory_order_relaxed) >= idle.length;
    }
    [[nodiscard]] IdleTime& idle_time() noexcept { return *(reinterpret_cast<IdleTime*>(this) - 1); }
    [[nodiscard]] const IdleTime& idle_time() const noexcept {
        return *(reinterpret_cast<const IdleTime*>(this) - 1);
    }
};

/// Keeps an entry where it is as long as it exists: by a hazard slot, which costs no write to the entry, or by a
/// counted reference.
///
/// `Entry` derives from `EntryBase` and has `static void destroy(Entry*) noexcept`, which ends and frees it.
/// Thread safety: one thread at a time; may be moved to and end in another one.
template <class Entry>
class EntryRef {
  public:
    EntryRef() = default;
    /// Takes over a reference that was already counted.
    [[nodiscard]] static EntryRef adopt(Entry* entry) noexcept { return EntryRef(entry, nullptr); }
    /// Counts another reference. The caller holds one, or the shard's lock.
    [[nodiscard]] static EntryRef share(Entry* entry) noexcept {
        // relaxed: a new reference is only made while another one, a pin or the table's, keeps the entry.
        entry->references.fetch_add(1, std::memory_order_relaxed);
        return adopt(entry);
    }
    /// Takes over a hazard slot that protects the entry.
    [[nodiscard]] static EntryRef pinned(Entry* entry, HazardSlot& slot) noexcept {
        return EntryRef(entry, &slot);
    }

    // Inlined everywhere: on the hit path what was moved from is known to be empty, and nothing is left of it.
    [[gnu::always_inline]] EntryRef(EntryRef&& other) noexcept
        : entry_(std::exchange(other.entry_, nullptr)), slot_(std::exchange(other.slot_, nullptr)) {}
    EntryRef& operator=(EntryRef&& other) noexcept {
        EntryRef(std::move(other)).swap(*this);
        return *this;
    }
    EntryRef(const EntryRef&) = delete;
    EntryRef& operator=(const EntryRef&) = delete;
    [[gnu::always_inline]] ~EntryRef() { release_pin(); }

    void reset() noexcept {
        release_pin();
        entry_ = nullptr;
        slot_ = nullptr;
    }

    void swap(EntryRef& other) noexcept {
        std::swap(entry_, other.entry_);
        std::swap(slot_, other.slot_);
    }
    /// Hands over a counted reference.
    [[nodiscard]] Entry* release() noexcept { return std::exchange(entry_, nullptr); }
    [[nodiscard]] Entry* get() const noexcept { return entry_; }
    [[nodiscard]] Entry* operator->() const noexcept { return entry_; }
    [[nodiscard]] Entry& operator*() const noexcept { return *entry_; }
    [[nodiscard]] explicit operator bool() const noexcept { return entry_ != nullptr; }

    /// Ends one counted reference; the last one ends the entry.
    [[gnu::noinline]] static void drop_reference(Entry* entry) noexcept {
        // acquire and acq_rel: the destroyer sees everything that others did with the entry before they let go. The
        // only reference needs no read-modify-write: new ones come from others alone.
        if (entry->references.load(std::memory_order_acquire) == 1 ||
            entry->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
            Entry::destroy(entry);
    }

  private:
    EntryRef(Entry* entry, HazardSlot* slot) noexcept : entry_(entry), slot_(slot) {}

    [[gnu::always_inline]] void release_pin() noexcept {
        if (slot_ != nullptr)
            HazardDomain::clear(*slot_);
        else if (entry_ != nullptr)
            drop_reference(entry_);
    }

    Entry* entry_ = nullptr;
    HazardSlot* slot_ = nullptr;  // null: the reference is counted
};

}  // namespace detail
}  // namespace smartcache::inline v0
