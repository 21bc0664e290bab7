#pragma once

// The engine of L1.
//
// A lookup waits for no lock, writes no line that another thread reads, allocates nothing and asks the kernel
// nothing. It hashes the key once; the top bits choose the shard, whose first line names the table; one line of
// the table (table.hpp) gives the addresses of entries with the right 16 bits of hash; each is protected by a
// hazard slot of the thread (hazard.hpp), and only then its key is compared. What it may write is
//   - its own hazard slot and its own counters;
//   - the entry's mark, if that is not yet at its highest (policy/node.hpp), so that a hot entry is written
//     three times and never again;
//   - with time-to-idle, the entry's time of access, once per millisecond;
//   - for the hits of which the policy wants to be told (of `adaptive` a sample), the shard's hit buffer; when
//     that is full, it passes the buffer on if the lock is free and, to a policy that samples, writes have paid
//     for it (hit_buffer.hpp). It never waits.
// The memory orders are argued where they are used: hazard.hpp for reclamation, table.hpp for misses and moves.
//
// Writers of one shard exclude each other by its mutex. Under it they change table and policy; outside it they
// build entries, and tell the listener of and free what was taken out: callers' code never runs under a lock.
// What is taken out is freed at once unless somebody pins it; then it is freed when the pin ends.

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <utility>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/counters.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/memory/entry.hpp>
#include <smartcache/memory/hazard.hpp>
#include <smartcache/memory/options.hpp>
#include <smartcache/memory/retirement.hpp>
#include <smartcache/memory/shard.hpp>
#include <smartcache/memory/table.hpp>
#include <smartcache/policy/make_policy.hpp>

namespace smartcache::inline v0::detail {

/// L1's shards: tables of entries, each with an eviction policy and a lock for writers.
///
/// Knows nothing of keys and values: callers bring the hash and an equality, and build the entries.
///
/// Thread safety: any thread, any time.
template <class Entry>
class Store {
    using Shard = detail::Shard<Entry>;

  public:
    using Ref = EntryRef<Entry>;
    using Later = typename Retirement<Entry>::Later;
    using RemovalHook = typename Retirement<Entry>::Hook;
    /// Told under the shard's lock of every entry that is about to be evicted, before it is unlinked. Short, throws
    /// nothing, and does not call the store.
    using EvictionHook = typename Shard::EvictionHook;

    struct Usage {
        std::uint64_t entries = 0;
        std::uint64_t bytes = 0;  ///< of live entries
    };

    Store(const MemoryOptions& options, TimeSource time, RemovalHook on_removal = {},
          EvictionHook before_eviction = {})
        : time_(time),
          before_eviction_(std::move(before_eviction)),
          by_bytes_(options.capacity_bytes.has_value()),
          domain_(HazardDomain::process()),
          retirement_(domain_, std::move(on_removal)),
          arena_(Arena::create(options.jemalloc)) {
        const std::size_t count = shard_count(options);
        shard_mask_ = count - 1;
        try {
            shards_ = std::make_unique<Shard[]>(count);
            for (std::size_t i = 0; i < count; ++i) {
                Shard& shard = shards_[i];
                shard.max_entries = part(options.capacity, i);
                shard.max_bytes = by_bytes_ ? part(*options.capacity_bytes, i) : Shard::no_bound;
                shard.timers = TimerWheel(now_ms());
                shard.retired.most_bytes = std::min(shard.retired.most_bytes, shard.max_bytes / 64);
                shard.policy =
                    policy::make_policy(options.policy, policy_capacity(shard), process_seed() + i,
                                        i == 0 ? nullptr : shards_[0].policy.get(), options.objective);
                shard.hit_mask = &shard.policy->hit_mask();
                const std::size_t wanted =
                    options.bucket_count != 0
                        ? std::min(options.bucket_count / count, shard.max_entries)
                        : Table::buckets_for(std::min<std::size_t>(shard.max_entries, initial_entries));
                shard.tables.push_back(std::make_unique<Table>(wanted));
                shard.tables.back()->make_open();
                shard.current.store(shard.tables.back().get(), std::memory_order_release);
            }
        } catch (...) {
            arena_->release();
            throw;
        }
        CoarseClock::synchronise();
    }

    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    ~Store() {
        (void)clear();
        flush_retired();
        domain_.sweep();
        arena_->release();
    }

    /// Finds a live entry and pins it. `equal(entry)` says whether the entry is that of the key; it is copied, and small.
    /// @param touch  whether this counts as an access for eviction and idle time
    /// @param now    0, or the time in ms; set to it if it was read
    template <class Equal>
    [[nodiscard, gnu::always_inline]] Ref find(std::uint64_t hash, Equal equal, bool touch,
                                               std::int64_t& now) {
        HazardSlot* const slot = domain_.slot_at_hand();
        if (slot == nullptr) [[unlikely]] {
            Found found = find_with_any_slot(hash, equal, touch);
            now = found.now;
            return std::move(found.entry);
        }
        return find_with(*slot, hash, equal, touch, now);
    }
    template <class Equal>
    [[nodiscard, gnu::always_inline]] Ref find(std::uint64_t hash, Equal equal, bool touch = true) {
        std::int64_t now = 0;
        return find(hash, equal, touch, now);
    }

    /// Brings what a `find` of these hashes will read nearer to the processor, in two rounds: the buckets of all,
    /// then the entries of all. For batches that miss the processor's caches; a hint, without effect otherwise.
    void prefetch(std::span<const std::uint64_t> hashes) const noexcept {
        for (const std::uint64_t hash : hashes) prefetch_bucket(hash);
        for (const std::uint64_t hash : hashes) prefetch_entry(hash);
    }
    void prefetch_bucket(std::uint64_t hash) const noexcept {
        __builtin_prefetch(&shard_of(hash).current.load(std::memory_order_acquire)->home(hash));
    }
    /// Waits for the bucket.
    void prefetch_entry(std::uint64_t hash) const noexcept {
        const Table::Bucket& bucket = shard_of(hash).current.load(std::memory_order_acquire)->home(hash);
        const Table::Matches at(bucket.control.load(std::memory_order_relaxed), Table::pattern_of(hash));
        if (!at) return;
        const std::uint64_t word = bucket.words[at.index()].load(std::memory_order_relaxed);
        // It may be gone by now, or the word be empty: prefetching any address is harmless, arithmetic with any pointer is not.
        const auto entry = reinterpret_cast<std::uintptr_t>(Table::entry_in(word));
        for (std::size_t line = 0; line < 3; ++line)
            __builtin_prefetch(reinterpret_cast<const void*>(entry + line * cache_line));
    }

    /// What `insert` asks and tells under the shard's lock.
    struct NoTerms {
        [[nodiscard]] static bool accept(const Entry* /*present*/) noexcept { return true; }
        static void done() noexcept {}
    };

    /// Puts `fresh` in, in the place of any entry of the same key. Consumes the reference; keep another to go
    /// on using it.
    /// @param terms  `accept(entry)` is asked before anything changes, with the live entry of the key or nullptr;
    ///               `done()` is told when it has; neither throws, and both are short
    /// @return false when it was not accepted
    /// Throws: std::bad_alloc, before anything has changed.
    template <class Equal, class Terms = NoTerms>
    bool insert(Ref fresh, Equal equal, Terms terms = {}) {
        Shard& shard = shard_of(fresh->hash);
        Removed removed(retirement_, shard.retired);
        const std::lock_guard lock(shard.mutex);
        shard.pass_hits_on();
        shard.hits.pay();
        Table::Place place = shard.locate(fresh->hash, equal);
        std::int64_t now = 0;
        if (place && place.entry()->can_expire() && expired(Shard::entry_at(place), false, now)) {
            shard.take_out(place, RemovalCause::expired, removed);
            place = {};
        }
        if (!terms.accept(place ? &Shard::entry_at(place) : nullptr)) return false;
        Entry& entry = *fresh;
        bool needs_timer = entry.can_expire();
        if (place) {
            Entry* const old = &Shard::entry_at(place);
            // A timer rings when its entry dies, or earlier. Where the fresh one lives longer, that is early enough.
            needs_timer = needs_timer && !(old->can_expire() && old->due() <= entry.due());
            if (needs_timer) shard.timers.prefetch(old->link);
            shard.policy->replace(*old, entry);
            if (entry.link != old->link) needs_timer = entry.can_expire();
            shard.bytes += entry.bytes;
            shard.bytes -= old->bytes;
            Table::replace(place, fresh.release());
            removed.add(old, RemovalCause::replaced);
        } else {
            shard.grow_if_full();
            shard.policy->insert(entry);
            shard.bytes += entry.bytes;
            shard.table().insert(fresh.release());
            ++shard.entries;
        }
        terms.done();
        if (needs_timer) set_timer(shard, entry);
        if (++shard.writes % writes_per_clock_check == 0) CoarseClock::synchronise();
        shard.evict_surplus(time_, before_eviction_, removed);
        return true;
    }

    /// Calls `accept(entry)` under the lock and takes the entry out when it says true. `accept` must be
    /// short.
    /// @return the entry, live or not; empty when there was none or it was not accepted
    template <class Equal, class Accept>
    Ref take_if(std::uint64_t hash, Equal equal, Accept accept, RemovalCause cause = RemovalCause::erased) {
        Shard& shard = shard_of(hash);
        Removed removed(retirement_, shard.retired);
        const std::lock_guard lock(shard.mutex);
        const Table::Place place = shard.locate(hash, equal);
        if (!place || !accept(Shard::entry_at(place))) return {};
        Ref result = Ref::share(&Shard::entry_at(place));
        shard.take_out(place, cause, removed);
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
        for (Shard& shard : shards()) {
            Removed removed(retirement_, shard.retired);
            const std::lock_guard lock(shard.mutex);
            count += shard.entries;
            shard.table().for_each(
                [&](const Table::Place& place) { shard.take_out(place, RemovalCause::cleared, removed); });
            shard.timers.clear();
            shard.shrink_if_sparse();
        }
        flush_retired();
        return count;
    }

    /// Calls `change(entry)` under the lock, if there is a live entry: for its times, which readers read meanwhile.
    /// @return whether there was one
    template <class Equal, class Change>
    bool change_times(std::uint64_t hash, Equal equal, Change change) {
        Shard& shard = shard_of(hash);
        const std::lock_guard lock(shard.mutex);
        const Table::Place place = shard.locate(hash, equal);
        if (!place || place.entry()->dead(now_ms())) return false;
        Entry& entry = Shard::entry_at(place);
        change(entry);
        if (entry.can_expire()) set_timer(shard, entry);
        return true;
    }

    /// Removes what has expired, one shard at a time. O(expired).
    std::size_t sweep() {
        CoarseClock::synchronise();
        std::size_t count = 0;
        const std::int64_t now = now_ms();
        for (Shard& shard : shards()) {
            Removed removed(retirement_, shard.retired);
            const std::lock_guard lock(shard.mutex);
            shard.pass_hits_on();
            count += shard.expire(now, removed);
            shard.shrink_if_sparse();
        }
        flush_retired();
        domain_.sweep();
        return count;
    }

    /// Another bound on the number of entries; evicts at once what is over it.
    void resize(std::size_t capacity) {
        for (std::size_t i = 0; i <= shard_mask_; ++i) {
            Shard& shard = shards_[i];
            Removed removed(retirement_, shard.retired);
            const std::lock_guard lock(shard.mutex);
            shard.max_entries = part(capacity, i);
            shard.policy->set_capacity(policy_capacity(shard));
            shard.evict_surplus(time_, before_eviction_, removed);
        }
    }

    /// Calls `fn(entry)` for every live entry, one shard locked at a time. For diagnostics.
    template <class F>
    void for_each(F fn) {
        const std::int64_t now = now_ms();
        for (Shard& shard : shards()) {
            const std::lock_guard lock(shard.mutex);
            shard.table().for_each([&](const Table::Place& place) {
                if (!place.entry()->dead(now)) fn(Shard::entry_at(place));
            });
        }
    }

    [[nodiscard]] Usage usage() const {
        Usage usage;
        for (Shard& shard : shards()) {
            const std::lock_guard lock(shard.mutex);
            usage.entries += shard.entries;
            usage.bytes += shard.bytes;
        }
        return usage;
    }

    [[nodiscard]] std::size_t capacity() const {
        std::size_t total = 0;
        for (Shard& shard : shards()) {
            const std::lock_guard lock(shard.mutex);
            total += shard.max_entries;
        }
        return total;
    }

    /// Hash buckets now, over all shards.
    [[nodiscard]] std::size_t buckets() const {
        std::size_t total = 0;
        for (Shard& shard : shards()) {
            const std::lock_guard lock(shard.mutex);
            total += shard.table().buckets();
        }
        return total;
    }

    /// Bytes beside the entries: tables, those kept for late readers included, and the policies' memory.
    [[nodiscard]] std::size_t overhead_bytes() const {
        std::size_t total = (shard_mask_ + 1) * sizeof(Shard);
        for (Shard& shard : shards()) {
            const std::lock_guard lock(shard.mutex);
            for (const auto& table : shard.tables) total += table->memory_bytes();
            total += shard.timers.memory_bytes();
            total += shard.policy->memory_bytes();
        }
        return total;
    }

    /// Whether a shard can hold an entry of this weight at all.
    [[nodiscard]] bool fits(std::uint64_t weight) const noexcept {
        return !by_bytes_ || weight <= shards_[shard_mask_].max_bytes;
    }

    [[nodiscard]] Arena& arena() const noexcept { return *arena_; }
    [[nodiscard]] bool by_bytes() const noexcept { return by_bytes_; }
    [[nodiscard]] const Counters<RemovalEvent>& counters() const noexcept { return retirement_.counters(); }
    void reset_counters() noexcept { retirement_.reset_counters(); }
    [[nodiscard]] const TimeSource& time() const noexcept { return time_; }
    [[nodiscard]] std::int64_t now_ms() const noexcept { return time_.now().time_since_epoch().count(); }

  private:
    static constexpr std::size_t initial_entries = 64;  // per shard, unless the options say otherwise
    static constexpr std::size_t writes_per_clock_check = 64;
    using Removed = typename Shard::Removed;

    void flush_retired() noexcept {
        for (Shard& shard : shards()) retirement_.flush(shard.retired);
    }

    static std::size_t shard_count(const MemoryOptions& options) {
        // In a shard without room its keys would never be found.
        const std::size_t filled = std::bit_floor(std::max<std::size_t>(1, options.capacity));
        if (options.shards)
            return std::min(std::bit_ceil(std::clamp<std::size_t>(*options.shards, 1, 1024)), filled);
        // A shard is worth a lock of its own only while it is large enough for its policy to see the traffic.
        const std::size_t threads = std::max<std::size_t>(1, std::thread::hardware_concurrency());
        const std::size_t wanted = std::bit_ceil(threads * 4);
        const std::size_t useful = std::bit_floor(std::max<std::size_t>(1, options.capacity / 1024));
        // An entry lies in one shard, whose part of the bytes bounds it.
        constexpr std::size_t least_bytes = std::size_t{1} << 20U;
        const std::size_t roomy = std::bit_floor(
            std::max<std::size_t>(1, options.capacity_bytes.value_or(~std::size_t{0}) / least_bytes));
        return std::min({wanted, useful, roomy});
    }

    [[nodiscard]] std::uint64_t part(std::uint64_t total, std::size_t index) const noexcept {
        const std::uint64_t count = shard_mask_ + 1;
        return total / count + (index < total % count ? 1 : 0);
    }

    [[nodiscard]] std::uint64_t policy_capacity(const Shard& shard) const noexcept {
        return by_bytes_ ? shard.max_bytes : shard.max_entries;
    }

    [[nodiscard]] std::span<Shard> shards() const noexcept { return {shards_.get(), shard_mask_ + 1}; }
    [[nodiscard]] Shard& shard_of(std::uint64_t hash) const noexcept {
        return shards_[(hash >> 48U) & shard_mask_];
    }

    /// Protects the entry that the word names, if it has the tag. @return nullptr when it has not (any more)
    [[nodiscard, gnu::always_inline]] static Entry* protect(HazardSlot& slot,
                                                            const std::atomic<std::uint64_t>& word,
                                                            std::uint64_t tag) noexcept {
        std::uint64_t value = word.load(std::memory_order_acquire);
        while (Table::has_tag(value, tag)) {
            auto* const entry = static_cast<Entry*>(Table::entry_in(value));
            slot.store(reinterpret_cast<std::uintptr_t>(entry), std::memory_order_seq_cst);
            const std::uint64_t again = word.load(std::memory_order_seq_cst);
            if (again == value) return entry;
            value = again;  // taken out or replaced just now: what is there instead?
        }
        return nullptr;
    }

    /// `find` with a slot of this thread's that is free.
    template <class Equal>
    [[nodiscard, gnu::always_inline]] Ref find_with(HazardSlot& slot, std::uint64_t hash, Equal equal,
                                                    bool touch, std::int64_t& now) {
        Shard& shard = shard_of(hash);
        // Nearly always the entry is in its home bucket, or nowhere.
        Table::Bucket& bucket = shard.current.load(std::memory_order_acquire)->home(hash);
        // The clock is read while the bucket is on its way, and not when the entry is: what stands between that and
        // the next lookup's bucket decides whether a processor that looks a few hundred instructions ahead fetches
        // from memory for two lookups at once.
        __builtin_prefetch(&bucket);
        // relaxed: who does not see it yet reads the clock later.
        if (lifetimes_.load(std::memory_order_relaxed)) [[likely]]
            now = time_.coarse().time_since_epoch().count();
        Entry* entry = find_in(bucket, hash, equal, slot);
        if (entry == nullptr) [[unlikely]] {
            // After the words: one that was empty may have been emptied by a move.
            if ((bucket.control.load(std::memory_order_acquire) & (Table::passed | Table::open)) !=
                Table::open)
                entry = find_farther(shard, hash, equal, slot);
            if (entry == nullptr) {
                // A slot left over from an entry of another key protects it for nothing.
                HazardDomain::clear(slot);
                return {};
            }
        }
        if (entry->can_expire()) {
            if (now == 0) [[unlikely]]
                now = time_.coarse().time_since_epoch().count();
            if (entry->dead(now)) [[unlikely]] {  // near its end: exactly
                now = now_ms();
                if (entry->dead(now)) {
                    HazardDomain::clear(slot);
                    remove_expired(shard, hash, equal);
                    return {};
                }
            }
            if (touch && entry->idles) [[unlikely]]
                entry->accessed(now);
        }
        if (touch) {
            policy::mark_hit(*entry);
            // relaxed, as in Policy::wants_hit.
            if ((hash & shard.hit_mask->load(std::memory_order_relaxed)) == 0) [[unlikely]]
                report_hit(shard, hash);
        }
        return Ref::pinned(entry, slot);
    }

    /// By value, so that what a hit needs can stay in registers.
    struct Found {
        Ref entry;
        std::int64_t now = 0;
    };
    /// `find` when the slot at hand is occupied: another one, or none and a counted reference.
    template <class Equal>
    [[nodiscard, gnu::noinline]] Found find_with_any_slot(std::uint64_t hash, Equal equal, bool touch) {
        Found found;
        HazardSlot* const slot = domain_.free_slot();
        found.entry = slot != nullptr ? find_with(*slot, hash, equal, touch, found.now)
                                      : find_counted(shard_of(hash), hash, equal, touch, found.now);
        return found;
    }

    /// Asks callers' code. What it throws leaves nothing protected.
    template <class Equal>
    [[nodiscard, gnu::always_inline]] static bool is_equal(const Equal& equal, const Entry& entry,
                                                           HazardSlot& slot) {
        try {
            return equal(entry);
        } catch (...) {
            HazardDomain::clear(slot);
            throw;
        }
    }

    /// The entry of this hash and key in the bucket, protected by the slot; nullptr when it is not there.
    template <class Equal>
    [[nodiscard, gnu::always_inline]] static Entry* find_in(Table::Bucket& bucket, std::uint64_t hash,
                                                            const Equal& equal, HazardSlot& slot) {
        const std::uint64_t control = bucket.control.load(std::memory_order_acquire);
        for (Table::Matches at(control, Table::pattern_of(hash)); at; at.next()) {
            Entry* const entry = protect(slot, bucket.words[at.index()], Table::tag_of(hash));
            if (entry != nullptr && entry->hash == hash && is_equal(equal, *entry, slot)) return entry;
        }
        return nullptr;
    }

    /// Beyond the home bucket, or in a table that took this one's place.
    template <class Equal>
    [[nodiscard, gnu::noinline]] static Entry* find_farther(Shard& shard, std::uint64_t hash, Equal equal,
                                                            HazardSlot& slot) {
        for (;;) {
            const Table& table = *shard.current.load(std::memory_order_acquire);
            Table::Bucket* const first = &table.home(hash);
            Table::Bucket* bucket = first;
            for (;;) {
                if (Entry* const entry = find_in(*bucket, hash, equal, slot)) return entry;
                const std::uint64_t control = bucket->control.load(std::memory_order_acquire);
                if ((control & Table::open) == 0) break;
                if ((control & Table::passed) == 0) return nullptr;
                bucket = &table.after(*bucket);
                if (bucket == first) return nullptr;
            }
        }
    }

    /// Whether the entry is dead, by the coarse clock where that can tell; brings its time of access up to date.
    [[nodiscard]] bool expired(Entry& entry, bool touch, std::int64_t& now) const noexcept {
        now = time_.coarse().time_since_epoch().count();
        if (entry.dead(now)) {  // near its end: exactly
            now = now_ms();
            if (entry.dead(now)) return true;
        }
        if (touch) entry.accessed(now);
        return false;
    }

    template <class Equal>
    [[gnu::noinline, gnu::cold]] void remove_expired(Shard& shard, std::uint64_t hash, Equal equal) {
        Removed removed(retirement_, shard.retired);
        const std::lock_guard lock(shard.mutex);
        const Table::Place place = shard.locate(hash, equal);
        if (place && place.entry()->dead(now_ms())) shard.take_out(place, RemovalCause::expired, removed);
    }

    /// When this thread pins as many values as it has slots.
    template <class Equal>
    [[nodiscard]] Ref find_counted(Shard& shard, std::uint64_t hash, Equal equal, bool touch,
                                   std::int64_t& now) {
        Removed removed(retirement_, shard.retired);
        const std::lock_guard lock(shard.mutex);
        const Table::Place place = shard.locate(hash, equal);
        if (!place) return {};
        Entry& entry = Shard::entry_at(place);
        if (entry.can_expire() && expired(entry, touch, now)) {
            shard.take_out(place, RemovalCause::expired, removed);
            return {};
        }
        if (touch) {
            policy::mark_hit(entry);
            if (shard.policy->wants_hit(hash)) shard.policy->hit(entry);
        }
        return Ref::share(&entry);
    }

    [[gnu::noinline]] void report_hit(Shard& shard, std::uint64_t hash) noexcept {
        if (shard.hits.push(hash)) return;
        // Full. A policy that lives on its hits gets them now, if the lock is free; one that samples gets what
        // writes have paid for.
        if (shard.hit_mask->load(std::memory_order_relaxed) != 0 && !shard.hits.paid()) return;
        const std::unique_lock lock(shard.mutex, std::try_to_lock);
        if (!lock) return;
        shard.hits.spend();
        shard.pass_hits_on();
        (void)shard.hits.push(hash);
    }

    void set_timer(Shard& shard, const Entry& entry) noexcept {
        if (!lifetimes_.load(std::memory_order_relaxed)) lifetimes_.store(true, std::memory_order_relaxed);
        shard.set_timer(entry);
    }

    TimeSource time_;
    EvictionHook before_eviction_;
    bool by_bytes_;
    std::atomic<bool> lifetimes_{false};  // whether there ever was an entry that can expire
    HazardDomain& domain_;
    Retirement<Entry> retirement_;
    Arena* arena_;
    std::size_t shard_mask_ = 0;
    std::unique_ptr<Shard[]> shards_;
};

}  // namespace smartcache::inline v0::detail
