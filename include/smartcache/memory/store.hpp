#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/counters.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/memory/entry.hpp>
#include <smartcache/memory/options.hpp>
#include <smartcache/policy/make_policy.hpp>

namespace smartcache::inline v0::detail {

/// The table of L1: shards, each a hash table with chains, an eviction policy and a lock.
///
/// Knows nothing of keys and values: callers bring the hash and an equality, and build the entries. Entries
/// leave the lock alive and are destroyed, or reported to the removal hook, outside it: user code never runs
/// under a lock.
///
/// Thread safety: any thread, any time.
template <class Entry>
class Store {
  public:
    using Ref = EntryRef<Entry>;
    /// Told of every entry that left, outside locks, before it is destroyed.
    using RemovalHook = std::function<void(Entry&, RemovalCause)>;

    struct Usage {
        std::uint64_t entries = 0;
        std::uint64_t bytes = 0;
    };

    enum class Event { evictions, expirations, replacements, count_ };

    Store(const MemoryOptions& options, TimeSource time, RemovalHook on_removal = {})
        : time_(time),
          on_removal_(std::move(on_removal)),
          by_bytes_(options.capacity_bytes.has_value()),
          arena_(Arena::create(options.jemalloc)) {
        const std::size_t count = shard_count(options);
        try {
            shards_ = std::vector<Shard>(count);
            for (std::size_t i = 0; i < count; ++i) {
                Shard& shard = shards_[i];
                shard.max_entries = part(options.capacity, i);
                shard.max_bytes = by_bytes_ ? part(*options.capacity_bytes, i) : no_bound;
                shard.policy = policy::make_policy(options.policy, policy_capacity(shard), process_seed() + i,
                                                   i == 0 ? nullptr : shards_.front().policy.get());
                const std::size_t buckets = options.bucket_count != 0
                                                ? options.bucket_count / count
                                                : std::min<std::size_t>(shard.max_entries, 1024);
                shard.buckets.resize(
                    std::bit_ceil(std::clamp<std::size_t>(buckets, 8, std::size_t{1} << 24U)));
            }
        } catch (...) {
            arena_->release();
            throw;
        }
    }

    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    ~Store() {
        (void)clear();
        arena_->release();
    }

    /// Finds a live entry and pins it.
    /// @param touch  whether this counts as an access for eviction and idle time
    template <class Equal>
    [[nodiscard]] Ref find(std::uint64_t hash, Equal equal, bool touch = true) {
        Shard& shard = shard_of(hash);
        Removed removed(*this);
        const std::lock_guard lock(shard.mutex);
        EntryBase** const slot = locate(shard, hash, equal);
        if (slot == nullptr) return {};
        Entry& entry = entry_at(slot);
        if (entry.can_expire()) {
            const std::int64_t now = now_ms();
            if (entry.dead(now)) {
                take_out(shard, slot, RemovalCause::expired, removed);
                return {};
            }
            if (touch && entry.idle != 0) entry.last_access.store(now, std::memory_order_relaxed);
        }
        if (touch) {
            policy::mark_hit(entry);
            if (shard.policy->wants_hit(hash)) shard.policy->hit(entry);
        }
        return Ref::share(&entry);
    }

    /// Puts `fresh` in, in the place of any entry of the same key. Consumes the reference; keep another to go
    /// on using it.
    /// @return false when `only_if_absent` and a live entry is there; then nothing changed
    /// Throws: std::bad_alloc, before anything has changed.
    template <class Equal>
    bool insert(Ref fresh, Equal equal, bool only_if_absent = false) {
        Shard& shard = shard_of(fresh->hash);
        Removed removed(*this);
        const std::lock_guard lock(shard.mutex);
        EntryBase** slot = locate(shard, fresh->hash, equal);
        if (slot != nullptr && (*slot)->can_expire() && (*slot)->dead(now_ms())) {
            take_out(shard, slot, RemovalCause::expired, removed);
            slot = nullptr;
        }
        if (slot != nullptr) {
            if (only_if_absent) return false;
            Entry* const old = &entry_at(slot);
            fresh->chain = old->chain;
            shard.policy->replace(*old, *fresh);
            *slot = fresh.get();
            shard.bytes += fresh->block_size;
            shard.bytes -= old->block_size;
            (void)fresh.release();
            removed.add(old, RemovalCause::replaced);
        } else {
            grow_if_full(shard);
            shard.policy->insert(*fresh);
            EntryBase*& head = shard.buckets[bucket_of(shard, fresh->hash)];
            fresh->chain = head;
            shard.bytes += fresh->block_size;
            head = fresh.release();
            ++shard.entries;
        }
        evict_surplus(shard, removed);
        return true;
    }

    /// Calls `accept(entry)` under the lock and takes the entry out when it says true. `accept` must be
    /// short.
    /// @return the entry, live or not; empty when there was none or it was not accepted
    template <class Equal, class Accept>
    Ref take_if(std::uint64_t hash, Equal equal, Accept accept, RemovalCause cause = RemovalCause::erased) {
        Shard& shard = shard_of(hash);
        Removed removed(*this);
        const std::lock_guard lock(shard.mutex);
        EntryBase** const slot = locate(shard, hash, equal);
        if (slot == nullptr || !accept(entry_at(slot))) return {};
        Ref result = Ref::share(&entry_at(slot));
        take_out(shard, slot, cause, removed);
        return result;
    }

    /// @return whether a live entry was removed
    template <class Equal>
    bool erase(std::uint64_t hash, Equal equal) {
        const std::int64_t now = now_ms();
        bool live = false;
        (void)take_if(hash, equal, [&](Entry& entry) {
            live = !entry.dead(now);
            return true;
        });
        return live;
    }

    /// @return how many entries there were
    std::size_t clear() {
        std::size_t count = 0;
        for (Shard& shard : shards_) {
            Removed removed(*this);
            const std::lock_guard lock(shard.mutex);
            for (EntryBase*& head : shard.buckets)
                while (head != nullptr) {
                    take_out(shard, &head, RemovalCause::cleared, removed);
                    ++count;
                }
        }
        return count;
    }

    /// Removes what has expired. O(entries), one shard at a time.
    std::size_t sweep() {
        std::size_t count = 0;
        const std::int64_t now = now_ms();
        for (Shard& shard : shards_) {
            Removed removed(*this);
            const std::lock_guard lock(shard.mutex);
            for (EntryBase*& head : shard.buckets) {
                EntryBase** slot = &head;
                while (*slot != nullptr) {
                    if ((*slot)->dead(now)) {
                        take_out(shard, slot, RemovalCause::expired, removed);
                        ++count;
                    } else {
                        slot = &(*slot)->chain;
                    }
                }
            }
            shrink_if_sparse(shard);
        }
        return count;
    }

    /// Another bound on the number of entries; evicts at once what is over it.
    void resize(std::size_t capacity) {
        for (std::size_t i = 0; i < shards_.size(); ++i) {
            Shard& shard = shards_[i];
            Removed removed(*this);
            const std::lock_guard lock(shard.mutex);
            shard.max_entries = part(capacity, i);
            shard.policy->set_capacity(policy_capacity(shard));
            evict_surplus(shard, removed);
        }
    }

    /// Calls `fn(entry)` for every live entry, one shard locked at a time. For diagnostics.
    template <class F>
    void for_each(F fn) {
        const std::int64_t now = now_ms();
        for (Shard& shard : shards_) {
            const std::lock_guard lock(shard.mutex);
            for (EntryBase* entry : shard.buckets)
                for (; entry != nullptr; entry = entry->chain)
                    if (!entry->dead(now)) fn(static_cast<Entry&>(*entry));
        }
    }

    [[nodiscard]] Usage usage() const {
        Usage usage;
        for (Shard& shard : shards_) {
            const std::lock_guard lock(shard.mutex);
            usage.entries += shard.entries;
            usage.bytes += shard.bytes;
        }
        return usage;
    }

    [[nodiscard]] std::size_t capacity() const {
        std::size_t total = 0;
        for (Shard& shard : shards_) {
            const std::lock_guard lock(shard.mutex);
            total += shard.max_entries;
        }
        return total;
    }

    /// Hash buckets now, over all shards.
    [[nodiscard]] std::size_t buckets() const {
        std::size_t total = 0;
        for (Shard& shard : shards_) {
            const std::lock_guard lock(shard.mutex);
            total += shard.buckets.size();
        }
        return total;
    }

    [[nodiscard]] Arena& arena() const noexcept { return *arena_; }
    [[nodiscard]] bool by_bytes() const noexcept { return by_bytes_; }
    [[nodiscard]] const Counters<Event>& counters() const noexcept { return counters_; }
    void reset_counters() noexcept { counters_.reset(); }
    [[nodiscard]] const TimeSource& time() const noexcept { return time_; }
    [[nodiscard]] std::int64_t now_ms() const noexcept { return time_.now().time_since_epoch().count(); }

  private:
    static constexpr std::uint64_t no_bound = std::numeric_limits<std::uint64_t>::max();

    struct alignas(cache_line) Shard {
        std::mutex mutex;
        std::vector<EntryBase*> buckets;  // a power of two, each the head of a chain
        std::size_t entries = 0;
        std::uint64_t bytes = 0;
        std::uint64_t max_entries = 0;
        std::uint64_t max_bytes = no_bound;
        std::unique_ptr<policy::Policy> policy;
    };

    /// Collects what was taken out under a lock; its destructor runs after the lock's, and lets it go.
    class Removed {
      public:
        explicit Removed(Store& store) noexcept : store_(store) {}
        Removed(const Removed&) = delete;
        Removed& operator=(const Removed&) = delete;

        void add(Entry* entry, RemovalCause cause) noexcept {
            entry->cause = cause;
            entry->chain = head_;
            head_ = entry;
        }

        ~Removed() {
            while (head_ != nullptr) {
                const Ref entry = Ref::adopt(std::exchange(head_, static_cast<Entry*>(head_->chain)));
                switch (entry->cause) {
                    case RemovalCause::evicted:
                        store_.counters_.add(Event::evictions);
                        break;
                    case RemovalCause::expired:
                        store_.counters_.add(Event::expirations);
                        break;
                    case RemovalCause::replaced:
                        store_.counters_.add(Event::replacements);
                        break;
                    case RemovalCause::erased:
                    case RemovalCause::cleared:
                        break;
                }
                if (!store_.on_removal_) continue;
                try {
                    store_.on_removal_(*entry, entry->cause);
                } catch (...) {  // a listener's exception has nobody to go to
                }
            }
        }

      private:
        Store& store_;
        Entry* head_ = nullptr;
    };

    static std::size_t shard_count(const MemoryOptions& options) {
        if (options.shards) return std::bit_ceil(std::clamp<std::size_t>(*options.shards, 1, 1024));
        // A shard is worth a lock of its own only while it is large enough for its policy to see the traffic.
        const std::size_t threads = std::max<std::size_t>(1, std::thread::hardware_concurrency());
        const std::size_t wanted = std::bit_ceil(threads * 4);
        const std::size_t useful = std::bit_floor(std::max<std::size_t>(1, options.capacity / 1024));
        return std::min(wanted, useful);
    }

    [[nodiscard]] std::uint64_t part(std::uint64_t total, std::size_t index) const noexcept {
        const std::uint64_t count = shards_.size();
        return total / count + (index < total % count ? 1 : 0);
    }

    [[nodiscard]] std::uint64_t policy_capacity(const Shard& shard) const noexcept {
        return by_bytes_ ? shard.max_bytes : shard.max_entries;
    }

    // The top bits choose the shard, the low bits the bucket, so that a shard's buckets all fill.
    [[nodiscard]] Shard& shard_of(std::uint64_t hash) noexcept {
        return shards_[(hash >> 48U) & (shards_.size() - 1)];
    }
    [[nodiscard]] static std::size_t bucket_of(const Shard& shard, std::uint64_t hash) noexcept {
        return static_cast<std::size_t>(hash) & (shard.buckets.size() - 1);
    }

    // Chains and buckets link `EntryBase`s, every one of which is an `Entry`.
    [[nodiscard]] static Entry& entry_at(EntryBase** slot) noexcept { return static_cast<Entry&>(**slot); }

    template <class Equal>
    [[nodiscard]] EntryBase** locate(Shard& shard, std::uint64_t hash, Equal& equal) noexcept {
        EntryBase** slot = &shard.buckets[bucket_of(shard, hash)];
        while (*slot != nullptr) {
            if ((*slot)->hash == hash && equal(static_cast<const Entry&>(entry_at(slot)))) return slot;
            slot = &(*slot)->chain;
        }
        return nullptr;
    }

    void unlink(Shard& shard, EntryBase** slot, RemovalCause cause, Removed& removed) noexcept {
        Entry* const entry = &entry_at(slot);
        *slot = entry->chain;
        --shard.entries;
        shard.bytes -= entry->block_size;
        removed.add(entry, cause);
    }

    void take_out(Shard& shard, EntryBase** slot, RemovalCause cause, Removed& removed) noexcept {
        shard.policy->erase(**slot);
        unlink(shard, slot, cause, removed);
    }

    void evict_surplus(Shard& shard, Removed& removed) noexcept {
        while (shard.entries > shard.max_entries || (by_bytes_ && shard.policy->weight() > shard.max_bytes)) {
            policy::Node* const victim = shard.policy->evict();
            if (victim == nullptr) return;
            EntryBase** slot = &shard.buckets[bucket_of(shard, victim->hash)];
            while (*slot != victim) slot = &(*slot)->chain;
            unlink(shard, slot, RemovalCause::evicted, removed);
        }
    }

    void grow_if_full(Shard& shard) {
        if (shard.entries < shard.buckets.size()) return;
        try {
            rehash(shard, shard.buckets.size() * 2);
        } catch (const std::bad_alloc&) {  // longer chains are slower, not wrong
        }
    }

    void shrink_if_sparse(Shard& shard) {
        constexpr std::size_t smallest = 1024;
        if (shard.buckets.size() <= smallest || shard.entries * 8 > shard.buckets.size()) return;
        try {
            rehash(shard, std::max(smallest, std::bit_ceil(shard.entries * 2 + 1)));
        } catch (const std::bad_alloc&) {
        }
    }

    static void rehash(Shard& shard, std::size_t count) {
        std::vector<EntryBase*> old(count);
        old.swap(shard.buckets);
        for (EntryBase* entry : old)
            while (entry != nullptr) {
                EntryBase* const next = entry->chain;
                EntryBase*& head = shard.buckets[bucket_of(shard, entry->hash)];
                entry->chain = head;
                head = entry;
                entry = next;
            }
    }

    TimeSource time_;
    RemovalHook on_removal_;
    bool by_bytes_;
    Arena* arena_;
    mutable std::vector<Shard> shards_;
    Counters<Event> counters_;
};

}  // namespace smartcache::inline v0::detail
