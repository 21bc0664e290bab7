#pragma once

// A shard of L1: what writers change, and what they do under its lock. Lookups, which need no lock, are the store's.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/counters.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/memory/entry.hpp>
#include <smartcache/memory/hit_buffer.hpp>
#include <smartcache/memory/retirement.hpp>
#include <smartcache/memory/table.hpp>
#include <smartcache/memory/timer_wheel.hpp>
#include <smartcache/policy/make_policy.hpp>

namespace smartcache::inline v0::detail {

/// Thread safety: functions are for who holds `mutex`, and so are the members, except for those that say otherwise.
template <class Entry>
struct alignas(cache_line) Shard {
    using Removed = typename Retirement<Entry>::Removed;
    using EvictionHook = std::function<void(Entry&)>;
    static constexpr std::uint64_t no_bound = std::numeric_limits<std::uint64_t>::max();

    // What readers read, without the lock, on a line that is written only when the table is replaced.
    std::atomic<Table*> current{nullptr};
    const std::atomic<std::uint64_t>* hit_mask = nullptr;

    alignas(cache_line) Mutex mutex;
    std::size_t entries = 0;
    std::uint64_t bytes = 0;
    std::uint64_t writes = 0;
    std::uint64_t max_entries = 0;
    std::uint64_t max_bytes = no_bound;
    std::unique_ptr<policy::Policy> policy;
    std::vector<std::unique_ptr<Table>> tables;  // every one there was, by size; see table.hpp

    TimerWheel timers;  // numbered by `Node::link`

    HitBuffer hits;  // any thread's, but for `drain`

    typename Retirement<Entry>::Waiting retired;  // has a lock of its own

    // Tables link `EntryBase`s, every one of which is an `Entry`.
    [[nodiscard]] static Entry& entry_at(const Table::Place& place) noexcept {
        return static_cast<Entry&>(*place.entry());
    }

    /// relaxed: under the lock under which it changes.
    [[nodiscard]] Table& table() const noexcept { return *current.load(std::memory_order_relaxed); }

    /// Throws: what `equal` does; it is callers' code.
    template <class Equal>
    [[nodiscard]] Table::Place locate(std::uint64_t hash, const Equal& equal) const {
        return table().locate(hash, [&](const EntryBase& entry) {
            return entry.hash == hash && equal(static_cast<const Entry&>(entry));
        });
    }
    [[nodiscard]] Table::Place place_of(const policy::Node& node) const noexcept {
        return table().locate(node.hash, [&node](const EntryBase& entry) { return &entry == &node; });
    }

    /// Tells the policy of the hits that have gathered.
    void pass_hits_on() noexcept {
        if (hits.empty()) return;
        hits.drain([this](std::uint64_t hash) {
            const Table::Place place =
                table().locate(hash, [hash](const EntryBase& entry) { return entry.hash == hash; });
            if (place) policy->hit(*place.entry());
        });
    }

    void take_out(const Table::Place& place, RemovalCause cause, Removed& removed) noexcept {
        policy->erase(*place.entry());
        unlink(place, cause, removed);
    }

    void set_timer(const Entry& entry) noexcept { timers.schedule(entry.link, entry.due()); }

    /// Takes out what is dead by now. @return how many
    std::size_t expire(std::int64_t now, Removed& removed) noexcept {
        std::size_t count = 0;
        if (timers.quiet(now)) return 0;
        timers.advance(now, [&](std::uint32_t number) {
            policy::Node* const node = policy->holder(number);
            if (node == nullptr) return TimerWheel::never;  // its entry has left another way
            Entry& entry = static_cast<Entry&>(*node);
            if (!entry.can_expire()) return TimerWheel::never;
            if (!entry.dead(now)) return entry.due();
            take_out(place_of(entry), RemovalCause::expired, removed);
            ++count;
            return TimerWheel::never;
        });
        if (entries == 0) timers.clear();
        return count;
    }

    /// What has expired goes before anything that is alive.
    void evict_surplus(const TimeSource& time, const EvictionHook& before_eviction,
                       Removed& removed) noexcept {
        if (!surplus()) return;
        (void)expire(time.coarse().time_since_epoch().count(), removed);
        while (surplus()) {
            policy::Node* const victim = policy->evict();
            if (victim == nullptr) return;
            if (before_eviction) before_eviction(static_cast<Entry&>(*victim));
            unlink(place_of(*victim), RemovalCause::evicted, removed);
        }
        if (const policy::Node* const next = policy->next_victim()) {
            __builtin_prefetch(&table().home(next->hash), 1);
            // The rest of what its end reads: key and value begin behind the header.
            __builtin_prefetch(reinterpret_cast<const std::byte*>(next) + cache_line);
        }
    }

    /// Throws: std::bad_alloc when there is neither memory nor room.
    void grow_if_full() {
        if (entries < table().comfortable()) return;
        // Doubles; the last step goes to what the shard can hold, and no farther.
        std::size_t wanted = table().buckets() * 2;
        const std::size_t enough = Table::buckets_for(max_entries + 1);
        if (enough > table().buckets() && enough < wanted) wanted = enough;
        try {
            move_to(wanted);
        } catch (const std::bad_alloc&) {  // longer ways are slower, not wrong, while there is a free word
            if (entries >= table().buckets() * Table::words_per_bucket) throw;
        }
    }

    /// Back to a smaller array that the shard still has: a new one would cost memory and give none back.
    void shrink_if_sparse() noexcept {
        if (entries * 8 > table().comfortable()) return;
        for (const auto& each : tables)
            if (each->comfortable() > entries * 2) {
                if (each->buckets() < table().buckets()) move_to(each->buckets());
                return;
            }
    }

  private:
    [[nodiscard]] bool surplus() const noexcept {
        return entries > max_entries || (max_bytes != no_bound && policy->weight() > max_bytes);
    }

    /// The policy has let go of it.
    void unlink(const Table::Place& place, RemovalCause cause, Removed& removed) noexcept {
        Entry* const entry = &entry_at(place);
        table().erase(place);
        --entries;
        bytes -= entry->bytes;
        removed.add(entry, cause);
    }

    void move_to(std::size_t buckets) {
        auto at = std::find_if(tables.begin(), tables.end(),
                               [&](const auto& each) { return each->buckets() >= buckets; });
        if (at == tables.end())
            at = tables.insert(at, std::make_unique<Table>(buckets));  // the largest so far
        Table& old = table();
        Table& fresh = **at;
        old.for_each([&](const Table::Place& place) { fresh.insert(place.entry()); });
        fresh.make_open();
        // release: readers who see the pointer see the table's contents.
        current.store(&fresh, std::memory_order_release);
        old.close();
    }
};

}  // namespace smartcache::inline v0::detail
