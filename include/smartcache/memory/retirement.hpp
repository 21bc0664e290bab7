#pragma once

// What becomes of entries that were taken out of L1: they are counted, the listener is told, and they end when
// nobody reads them any more. All of that outside the shards' locks, for it runs callers' code.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include <smartcache/core/counters.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/memory/entry.hpp>
#include <smartcache/memory/hazard.hpp>

namespace smartcache::inline v0::detail {

enum class RemovalEvent { evictions, expirations, replacements, count_ };

/// Lets entries go that a store has taken out.
///
/// Thread safety: any thread.
template <class Entry>
class Retirement {
  public:
    /// Told of every entry that left, outside locks, before it is destroyed.
    using Hook = std::function<void(Entry&, RemovalCause)>;

    /// Entries of one shard that were taken out and wait for a scan of the hazard slots that serves many of them.
    struct alignas(cache_line) Waiting {
        Mutex mutex;
        std::vector<Entry*> entries;
        std::size_t bytes = 0;
        /// Retired bytes count towards the bound on bytes (R27): with one, they are few.
        std::uint64_t most_bytes = std::uint64_t{256} << 10U;
    };

    Retirement(HazardDomain& domain, Hook on_removal) : domain_(domain), on_removal_(std::move(on_removal)) {}
    Retirement(const Retirement&) = delete;
    Retirement& operator=(const Retirement&) = delete;

    /// While one exists, what this thread takes out of any store of this type waits; its end lets it go.
    ///
    /// For callers with locks of their own: made before they lock and so ended after they unlock, it keeps
    /// listeners and destructors of values, which are callers' code, out of those locks.
    class Later {
      public:
        Later() noexcept : outer_(std::exchange(current_, this)) {}
        Later(const Later&) = delete;
        Later& operator=(const Later&) = delete;
        ~Later() {
            current_ = outer_;
            if (first_.head != nullptr) first_.retirement->let_go(*first_.waiting, first_.head);
            for (const Batch& batch : more_) batch.retirement->let_go(*batch.waiting, batch.head);
        }

      private:
        friend class Retirement;
        struct Batch {
            Retirement* retirement = nullptr;
            Waiting* waiting = nullptr;
            Entry* head = nullptr;
        };
        static inline constinit thread_local Later* current_ = nullptr;
        Later* outer_;
        Batch first_;  // most often the only one
        std::vector<Batch> more_;
    };

    /// Collects what was taken out under a lock; its destructor runs after the lock's, and lets it go.
    class Removed {
      public:
        Removed(Retirement& retirement, Waiting& waiting) noexcept
            : retirement_(retirement), waiting_(waiting) {}
        Removed(const Removed&) = delete;
        Removed& operator=(const Removed&) = delete;

        /// The policy has let go of the entry.
        void add(Entry* entry, RemovalCause cause) noexcept {
            entry->cause = cause;
            entry->chain(head_);
            head_ = entry;
        }

        ~Removed() {
            if (head_ == nullptr) return;
            if (Later* const later = Later::current_) {
                if (later->first_.head == nullptr) {
                    later->first_ = {&retirement_, &waiting_, head_};
                    return;
                }
                try {
                    later->more_.push_back({&retirement_, &waiting_, head_});
                    return;
                } catch (...) {  // no memory to wait with
                }
            }
            retirement_.let_go(waiting_, head_);
        }

      private:
        Retirement& retirement_;
        Waiting& waiting_;
        Entry* head_ = nullptr;
    };

    /// Ends what waits for a scan.
    void flush(Waiting& waiting) noexcept {
        std::vector<Entry*> batch;
        {
            const std::lock_guard lock(waiting.mutex);
            batch.swap(waiting.entries);
            waiting.bytes = 0;
        }
        if (!batch.empty()) domain_.retire_all(batch, &drop);
    }

    [[nodiscard]] const Counters<RemovalEvent>& counters() const noexcept { return counters_; }
    void reset_counters() noexcept { counters_.reset(); }

  private:
    static constexpr std::size_t few_threads = 4;

    /// Counts and reports what was taken out, and gives up the table's references.
    void let_go(Waiting& waiting, Entry* head) noexcept {
        while (head != nullptr) {
            Entry* const entry = std::exchange(head, static_cast<Entry*>(head->chained()));
            switch (entry->cause) {
                case RemovalCause::evicted:
                    counters_.add(RemovalEvent::evictions);
                    break;
                case RemovalCause::expired:
                    counters_.add(RemovalEvent::expirations);
                    break;
                case RemovalCause::replaced:
                    counters_.add(RemovalEvent::replacements);
                    break;
                case RemovalCause::erased:
                case RemovalCause::cleared:
                    break;
            }
            if (on_removal_) {
                try {
                    on_removal_(*entry, entry->cause);
                } catch (...) {  // a listener's exception has nobody to go to
                }
            }
            retire(waiting, entry);
        }
    }

    static void drop(void* entry) noexcept { EntryRef<Entry>::drop_reference(static_cast<Entry*>(entry)); }

    /// Gives up the table's reference to an entry, once no reader can be about to take one of its own.
    /// At once where the caller asked for the removal, or threads are few. A scan costs a cache miss or two for
    /// each thread, so with many threads one scan serves many entries that were evicted or replaced.
    void retire(Waiting& waiting, Entry* entry) noexcept {
        const std::size_t blocks = domain_.blocks();
        if (blocks <= few_threads || entry->cause == RemovalCause::erased) {
            domain_.retire(entry, &drop);
            return;
        }
        std::vector<Entry*> batch;
        {
            const std::lock_guard lock(waiting.mutex);
            try {
                waiting.entries.push_back(entry);
            } catch (...) {
                domain_.retire(entry, &drop);
                return;
            }
            waiting.bytes += entry->bytes;
            if (waiting.entries.size() < blocks * 8 && waiting.bytes <= waiting.most_bytes) return;
            batch.swap(waiting.entries);
            waiting.bytes = 0;
        }
        domain_.retire_all(batch, &drop);
    }

    HazardDomain& domain_;
    Hook on_removal_;
    Counters<RemovalEvent> counters_;
};

}  // namespace smartcache::inline v0::detail
