#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <smartcache/memory/entry.hpp>

// The hash table of one shard: buckets of one cache line, read without a lock.
//
// A bucket holds seven words, each a 48-bit address of an entry under 16 bits of its hash, and one word that
// says how many entries found their bucket full and went on to a later one. A lookup so reads one line, then
// the line of the one entry whose 16 bits agree.
//
// Writers hold the shard's lock. Within one table an entry never moves: it is stored into a free word, replaced
// in its word, and its word is zeroed. So a reader that finds nothing has met, for every key, a moment at which
// it was not there, and needs no sequence number.
//
// Growing and shrinking (R28): the new table is filled and published, then every bucket of the old one is
// marked moved, then emptied, all under the lock. A reader that is still in the old table either reads a word
// from before (the entry is alive in the new table too, and protected like any other), or reads an emptied word
// (stored with release, loaded with acquire), then sees the mark and starts again in the new table.
//
// An old array stays allocated while the cache lives, for a reader may be in it at any time, and is used again
// when the table comes back to its size. Until it has been filled and published again its buckets stay marked,
// so that such a reader cannot miss in a table half full. Sizes double, so all arrays together are smaller
// than twice the largest.
namespace smartcache::inline v0::detail {

class Table {
  public:
    static constexpr std::size_t words_per_bucket = 7;

    struct alignas(cache_line) Bucket {
        std::array<std::atomic<std::uint64_t>, words_per_bucket> words{};
        /// Entries that passed this bucket by because it was full; with `moved` set, look in the shard's table.
        std::atomic<std::uint64_t> passed{0};
    };
    static constexpr std::uint64_t moved = std::uint64_t{1} << 63U;

    /// Throws: std::bad_alloc.
    explicit Table(std::size_t buckets)
        : count_(std::clamp<std::size_t>(buckets, 1, most_buckets)), buckets_(new Bucket[count_]) {}

    /// Buckets for so many entries, two thirds full: then one in five is passed by somebody.
    [[nodiscard]] static std::size_t buckets_for(std::size_t entries) noexcept {
        return std::min(entries / 9 * 2 + entries % 9 * 2 / 9 + 1, most_buckets);
    }
    /// Entries after which it should grow.
    [[nodiscard]] std::size_t comfortable() const noexcept { return count_ * 9 / 2; }
    [[nodiscard]] std::size_t buckets() const noexcept { return count_; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return sizeof(*this) + count_ * sizeof(Bucket);
    }

    [[nodiscard]] Bucket& home(std::uint64_t hash) const noexcept { return buckets_[home_index(hash)]; }
    [[nodiscard]] Bucket& after(const Bucket& bucket) const noexcept {
        const auto index = static_cast<std::size_t>(&bucket - buckets_.get()) + 1;
        return buckets_[index == count_ ? 0 : index];
    }
    [[nodiscard]] Bucket& at(std::size_t index) const noexcept { return buckets_[index]; }

    // The low half of the hash chooses the bucket, the middle the tag, the top the shard.
    // A tag is never 0, which is that of a free word.
    [[nodiscard]] static std::uint64_t tag_of(std::uint64_t hash) noexcept {
        return ((hash >> 32U) & 0xFFFFU) | 1U;
    }
    [[nodiscard]] static std::uint64_t make_word(const EntryBase* entry) noexcept {
        const auto address = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(entry));
        assert(address >> 48U == 0);  // user space of x86-64 and AArch64 with 48-bit addresses
        return tag_of(entry->hash) << 48U | address;
    }
    [[nodiscard]] static bool has_tag(std::uint64_t word, std::uint64_t tag) noexcept {
        return word >> 48U == tag;
    }
    [[nodiscard]] static EntryBase* entry_in(std::uint64_t word) noexcept {
        return reinterpret_cast<EntryBase*>(static_cast<std::uintptr_t>(word << 16U >> 16U));
    }

    /// Which words of the bucket have this tag, one bit each. Free of branches: where in its bucket an entry
    /// stands cannot be predicted.
    [[nodiscard]] static unsigned matches(const Bucket& bucket, std::uint64_t tag) noexcept {
        unsigned mask = 0;
#pragma GCC unroll 7
        for (unsigned i = 0; i < words_per_bucket; ++i)
            // acquire: an emptied word must come before the mark that sends readers away.
            mask |= static_cast<unsigned>(bucket.words[i].load(std::memory_order_acquire) >> 48U == tag) << i;
        return mask;
    }

    // --- What follows needs the shard's lock.

    /// Puts an entry in; there is room somewhere, for the table grows in time.
    void insert(const EntryBase* entry) noexcept {
        Bucket* bucket = &home(entry->hash);
        for (;;) {
            for (auto& word : bucket->words)
                if (word.load(std::memory_order_relaxed) == 0) {
                    // release: publishes the entry to readers, which load the word with acquire.
                    word.store(make_word(entry), std::memory_order_release);
                    return;
                }
            bucket->passed.store(bucket->passed.load(std::memory_order_relaxed) + 1,
                                 std::memory_order_release);
            bucket = &after(*bucket);
        }
    }

    /// Where an entry stands.
    struct Place {
        Bucket* bucket = nullptr;
        std::atomic<std::uint64_t>* word = nullptr;
        [[nodiscard]] explicit operator bool() const noexcept { return word != nullptr; }
        [[nodiscard]] EntryBase* entry() const noexcept {
            return entry_in(word->load(std::memory_order_relaxed));
        }
    };

    template <class Accept>
    [[nodiscard]] Place locate(std::uint64_t hash, Accept accept) const noexcept {
        const std::uint64_t tag = tag_of(hash);
        Bucket* const first = &home(hash);
        Bucket* bucket = first;
        do {
            for (auto& word : bucket->words) {
                const std::uint64_t value = word.load(std::memory_order_relaxed);
                if (has_tag(value, tag) && accept(*entry_in(value))) return {bucket, &word};
            }
            if (bucket->passed.load(std::memory_order_relaxed) == 0) break;
            bucket = &after(*bucket);
        } while (bucket != first);  // in a small table every bucket may have been passed
        return {};
    }

    /// Another entry of the same hash in the place of one.
    static void replace(const Place& place, const EntryBase* fresh) noexcept {
        // seq_cst: the unlink of the old one, see hazard.hpp; as a release it publishes the fresh one.
        place.word->store(make_word(fresh), std::memory_order_seq_cst);
    }

    void erase(const Place& place) noexcept {
        const EntryBase* const entry = place.entry();
        place.word->store(0, std::memory_order_seq_cst);  // the unlink, see hazard.hpp
        for (Bucket* bucket = &home(entry->hash); bucket != place.bucket; bucket = &after(*bucket))
            bucket->passed.store(bucket->passed.load(std::memory_order_relaxed) - 1,
                                 std::memory_order_relaxed);
    }

    /// Calls `visit(place)` for every entry; it may erase that one.
    template <class Visit>
    void for_each(Visit visit) noexcept {
        for (std::size_t i = 0; i < count_; ++i)
            for (auto& word : buckets_[i].words)
                if (word.load(std::memory_order_relaxed) != 0) visit(Place{&buckets_[i], &word});
    }

    /// Sends readers away and empties itself; the new table has been published.
    void mark_moved() noexcept {
        for (std::size_t i = 0; i < count_; ++i) {
            buckets_[i].passed.store(moved, std::memory_order_release);
            // seq_cst: from here on a protection that is based on this word fails, see hazard.hpp.
            for (auto& word : buckets_[i].words)
                if (word.load(std::memory_order_relaxed) != 0) word.store(0, std::memory_order_seq_cst);
        }
    }

    /// Ends that state; the table is filled and published again.
    void mark_open() noexcept {
        for (std::size_t i = 0; i < count_; ++i)
            buckets_[i].passed.store(buckets_[i].passed.load(std::memory_order_relaxed) & ~moved,
                                     std::memory_order_release);
    }

  private:
    static constexpr std::size_t most_buckets = std::size_t{1} << 31U;

    [[nodiscard]] std::size_t home_index(std::uint64_t hash) const noexcept {
        return static_cast<std::size_t>(((hash & 0xFFFFFFFFU) * count_) >> 32U);
    }

    std::size_t count_;
    std::unique_ptr<Bucket[]> buckets_;
};

}  // namespace smartcache::inline v0::detail
