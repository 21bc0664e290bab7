#pragma once

// Hazard pointers: how a reader without a lock keeps the entry it reads from being freed.
//
// Maged M. Michael, "Hazard Pointers: Safe Memory Reclamation for Lock-Free Objects", IEEE Transactions on
// Parallel and Distributed Systems 15(6), 2004. Every thread owns slots. A reader writes the address it is about
// to follow into one of them and then looks whether the address is still reachable; whoever takes an entry out
// looks through all slots before it frees. In the words of R27:
//
//     reader    w = word.load(acquire)            writer    word.store(other, seq_cst)     [unlink]
//        (1)    slot.store(w, seq_cst)               (3)    slot.load(seq_cst), all slots  [scan]
//        (2)    word.load(seq_cst) == w ?
//
// All four are in the one order of seq_cst operations. If (2) still sees w, it comes before the unlink, so (1)
// comes before (3): the scan sees the slot and the entry stays. If the slot is written too late for the scan,
// (2) sees another word and the reader touches nothing. An address that was freed and reused in between is no
// danger: (2) then finds the new entry under it, and it is the new entry that the slot protects.
// When a reader is done it clears its slot with release; the scan that reads that, or anything the thread wrote
// there later, synchronises with it, so the reader's last access happens before the free.
//
// A slot may stay occupied long after the lookup: that is how a `Lookup` pins its value. Then any thread may
// clear it, and the pinned entry, once taken out, waits in the domain's list. The scan that finds it occupied
// sets the lowest bit of the slot, by which the one who clears it knows that somebody waits. (Between his look
// at the bit and his clearing it the mark can get lost; the entry then waits for the next scan of the list,
// which every further pinned entry, every maintenance and every end of a cache runs.)
//
// The domain belongs to the process and outlives every cache; caches hold a reference to it, so that a cache
// which crosses the border of a shared library stays with the domain it was made with (R29). Blocks of threads
// that have ended are taken over by new threads with occupied slots intact.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include <smartcache/core/counters.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/core/singletons.hpp>

namespace smartcache::inline v0::detail {

/// One hazard slot: null when free, otherwise the address of a protected object, plus 1 when somebody waits.
using HazardSlot = std::atomic<std::uintptr_t>;

class HazardDomain {
  public:
    /// Calls for an object that nobody protects any more.
    using Drop = void (*)(void*) noexcept;

    HazardDomain(const HazardDomain&) = delete;
    HazardDomain& operator=(const HazardDomain&) = delete;

    [[nodiscard]] static HazardDomain& process() noexcept {
        static constinit Eternal<HazardDomain> domain;  // pins may outlive static destructors
        return domain.get();
    }

    /// The slot that this thread took last, if it is free; else nullptr, and `free_slot` has to look.
    [[nodiscard, gnu::always_inline]] HazardSlot* slot_at_hand() noexcept {
        if (thread_.domain != this) [[unlikely]]
            return nullptr;
        HazardSlot* const last = thread_.last;
        // relaxed: only this thread occupies its slots. Others clear them, and what they did before that is
        // theirs: a new pin reads nothing of it.
        return last->load(std::memory_order_relaxed) == 0 ? last : nullptr;
    }

    /// A free slot of this thread, or nullptr when its slots are all occupied.
    [[nodiscard]] HazardSlot* free_slot() noexcept {
        if (thread_.domain != this) [[unlikely]]
            return slow_slot();
        HazardSlot* const slot = slot_at_hand();
        return slot != nullptr ? slot : next_slot(thread_);
    }

    /// Ends a protection. @param slot  one that a `free_slot` gave and the caller has occupied
    [[gnu::always_inline]] static void clear(HazardSlot& slot) noexcept {
        const bool awaited = (slot.load(std::memory_order_relaxed) & 1U) != 0;
        slot.store(0, std::memory_order_release);
        if (awaited) [[unlikely]]
            sweep_domain_of(slot);
    }

    /// Frees what nobody protects, now or when the last slot that does is cleared.
    /// The caller has unlinked `object` with a seq_cst store, and no new protection of it can begin.
    void retire(void* object, Drop drop) noexcept {
        if (!is_protected(object)) {
            drop(object);
            return;
        }
        {
            const std::lock_guard lock(mutex_);
            try {
                waiting_.push_back({reinterpret_cast<std::uintptr_t>(object), drop});
            } catch (...) {
                // Out of memory for a note of 16 bytes: the object is never freed. Nothing else is safe.
                return;
            }
        }
        sweep();
    }

    /// Blocks of slots that a scan looks through: about one per thread.
    [[nodiscard]] std::size_t blocks() const noexcept { return block_count_.load(std::memory_order_relaxed); }

    /// As `retire` for each of `objects`, with one scan for all of them; empties the vector.
    template <class Object>
    void retire_all(std::vector<Object*>& objects, Drop drop) noexcept {
        std::vector<std::uintptr_t> taken;
        bool complete = true;
        for_each_slot([&](HazardSlot& slot) {
            const std::uintptr_t value = slot.load(std::memory_order_seq_cst);
            if (value == 0 || !complete) return;
            try {
                taken.push_back(value & ~std::uintptr_t{1});
            } catch (...) {
                complete = false;
            }
        });
        std::sort(taken.begin(), taken.end());
        for (Object* const object : objects) {
            void* const address = object;
            if (complete &&
                !std::binary_search(taken.begin(), taken.end(), reinterpret_cast<std::uintptr_t>(address)))
                drop(address);
            else
                retire(address, drop);
        }
        objects.clear();
    }

    /// Frees of the waiting objects those that are no longer protected. O((slots + waiting) log waiting).
    void sweep() noexcept {
        std::vector<Waiting> ready;
        {
            const std::lock_guard lock(mutex_);
            try {
                ready.reserve(waiting_.size());
            } catch (...) {
                return;
            }
            mark_waiting();
            std::erase_if(waiting_, [&](const Waiting& each) {
                if (each.is_protected) return false;
                ready.push_back(each);
                return true;
            });
        }
        // Outside the lock: destructors of values are callers' code.
        for (const Waiting& each : ready) each.drop(reinterpret_cast<void*>(each.object));
    }

    /// Objects that were taken out and are still pinned.
    [[nodiscard]] std::size_t waiting() const {
        const std::lock_guard lock(mutex_);
        return waiting_.size();
    }

    /// Slots that one thread has before it must count references instead.
    static constexpr std::size_t slots_per_thread = 104;

  private:
    friend class Eternal<HazardDomain>;
    static constexpr std::size_t slots_per_block = 13;
    static constexpr std::size_t blocks_per_thread = slots_per_thread / slots_per_block;
    static constexpr std::size_t block_bytes = 128;

    struct alignas(block_bytes) Block {
        explicit Block(HazardDomain& home) noexcept : domain(home) {}

        [[nodiscard]] static Block& of(HazardSlot& slot) noexcept {
            const auto address = reinterpret_cast<std::uintptr_t>(&slot);
            return *reinterpret_cast<Block*>(address & ~std::uintptr_t{block_bytes - 1});
        }

        std::array<HazardSlot, slots_per_block> slots{};
        HazardDomain& domain;
        Block* next = nullptr;  // constant once published
        bool owned = true;      // under the domain's mutex
    };
    static_assert(sizeof(Block) == block_bytes);

    struct Waiting {
        std::uintptr_t object;
        Drop drop;
        bool is_protected = false;  // as of the last look at the slots
    };

    /// The slots this thread owns in the domain it used last.
    struct Thread {
        HazardDomain* domain;
        HazardSlot* last;  // the one taken last: most pins end before the next begins
        std::size_t blocks;
        std::array<Block*, blocks_per_thread> own;
    };
    static inline constinit thread_local Thread thread_{};

    HazardDomain() = default;
    ~HazardDomain() = default;

    [[gnu::noinline, gnu::cold]] static void sweep_domain_of(HazardSlot& slot) noexcept {
        Block::of(slot).domain.sweep();
    }

    [[gnu::noinline]] HazardSlot* next_slot(Thread& thread) noexcept {
        for (std::size_t i = 0; i < thread.blocks; ++i)
            for (HazardSlot& slot : thread.own[i]->slots)
                if (slot.load(std::memory_order_relaxed) == 0) {
                    thread.last = &slot;
                    return &slot;
                }
        if (thread.blocks == blocks_per_thread) return nullptr;
        Block* const block = acquire_block();
        if (block == nullptr) return nullptr;
        thread.own[thread.blocks++] = block;
        return next_slot(thread);  // a block taken over may have occupied slots: look again
    }

    /// First use by this thread, or first after it used another library's domain.
    [[gnu::noinline, gnu::cold]] HazardSlot* slow_slot() noexcept {
        struct Holder {
            Holder() = default;
            Holder(const Holder&) = delete;
            Holder& operator=(const Holder&) = delete;
            ~Holder() { give_back(); }
            static void give_back() noexcept {
                Thread& thread = thread_;
                if (thread.domain == nullptr) return;
                const std::lock_guard lock(thread.domain->mutex_);
                for (std::size_t i = 0; i < thread.blocks; ++i) thread.own[i]->owned = false;
                thread = Thread{};
            }
        };
        thread_local bool ended = false;
        struct End {
            ~End() { ended = true; }
        };
        thread_local const End end;
        // Destructors of other thread-local objects may still look things up: they count references.
        if (ended) return nullptr;
        thread_local Holder holder;
        if (thread_.domain != this) holder.give_back();
        Block* const block = acquire_block();
        if (block == nullptr) return nullptr;
        thread_.domain = this;
        thread_.own[0] = block;
        thread_.blocks = 1;
        thread_.last = &block->slots[0];
        return next_slot(thread_);
    }

    /// A block that nobody owns, or a new one; nullptr when there is no memory.
    Block* acquire_block() noexcept {
        const std::lock_guard lock(mutex_);
        for (Block* block = blocks_.load(std::memory_order_relaxed); block != nullptr; block = block->next)
            if (!block->owned) {
                block->owned = true;
                return block;
            }
        auto* const block = new (std::nothrow) Block(*this);
        if (block == nullptr) return nullptr;
        block->next = blocks_.load(std::memory_order_relaxed);
        // seq_cst: a scan that does not see the block comes before it in the one order, so before any
        // protection in it; the look at the word that follows such a protection then sees the unlink.
        blocks_.store(block, std::memory_order_seq_cst);
        block_count_.fetch_add(1, std::memory_order_relaxed);
        return block;
    }

    template <class Visit>
    void for_each_slot(Visit visit) noexcept {
        for (Block* block = blocks_.load(std::memory_order_seq_cst); block != nullptr; block = block->next)
            for (HazardSlot& slot : block->slots) visit(slot);
    }

    [[nodiscard]] bool is_protected(const void* object) noexcept {
        const auto address = reinterpret_cast<std::uintptr_t>(object);
        bool found = false;
        for_each_slot([&](HazardSlot& slot) {
            found = (slot.load(std::memory_order_seq_cst) & ~std::uintptr_t{1}) == address || found;
        });
        return found;
    }

    /// Finds out which of the waiting objects are protected, and asks those who do to sweep when they are done. The
    /// caller holds the mutex.
    void mark_waiting() noexcept {
        std::sort(waiting_.begin(), waiting_.end(),
                  [](const Waiting& a, const Waiting& b) { return a.object < b.object; });
        for (Waiting& each : waiting_) each.is_protected = false;
        for_each_slot([&](HazardSlot& slot) {
            std::uintptr_t value = slot.load(std::memory_order_seq_cst);
            const std::uintptr_t object = value & ~std::uintptr_t{1};
            if (object == 0) return;
            const auto found = std::lower_bound(
                waiting_.begin(), waiting_.end(), object,
                [](const Waiting& each, std::uintptr_t wanted) { return each.object < wanted; });
            if (found == waiting_.end() || found->object != object) return;
            // A failed exchange: it was cleared just now, and nobody can protect the object anew.
            if (value != object || slot.compare_exchange_strong(value, object | 1U))
                found->is_protected = true;
        });
    }

    std::atomic<Block*> blocks_{nullptr};
    std::atomic<std::size_t> block_count_{0};
    mutable Mutex mutex_;
    std::vector<Waiting> waiting_;
};

}  // namespace smartcache::inline v0::detail
