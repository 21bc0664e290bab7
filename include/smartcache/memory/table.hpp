#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

#include <smartcache/memory/entry.hpp>

// The hash table of one shard: buckets of one cache line, read without a lock.
//
// A bucket is eight words. The first is its control word: seven tags of eight bits, one for each of the other
// words, 0 for a free one, and in the eighth byte how many entries found the bucket full and went on to a later
// one. The others hold each the 48-bit address of an entry under 16 more bits of its hash. So a lookup compares
// all tags at once in one register, reads one of the words, all in one line, and then the line of the one entry
// whose 23 bits agree.
//
// Writers hold the shard's lock. Within one table an entry never moves: it is stored into a free word, and only
// then its tag is set; replaced in its word; and its word is zeroed before its tag. Two facts make a reader that
// finds nothing right, without a sequence number: the control word it read did not show the key, so at that
// moment the key was not there (or not yet: its insert had not returned); or it did, but the word was another's
// by then, so the key has been taken out meanwhile.
//
// Growing and shrinking (R28): the new table is filled, opened and published, then every bucket of the old one is
// closed and emptied, all under the lock. A reader that is still in the old table either finds the entry by a
// control word from before (it is alive in the new table too, and protected like any other), or reads an emptied
// word (stored with release, loaded with acquire), then sees in the control word, which it reads again before it
// gives up, that the bucket is closed, and starts again in the new table.
//
// An old array stays allocated while the cache lives, for a reader may be in it at any time, and is used again
// when the table comes back to its size. Its buckets stay closed until it has been filled, so that such a reader
// cannot miss in a table half full; from then on it finds there what it would find in the other. A closed bucket
// is all zeros: so the memory behind a large old array goes back to the system, which gives zeros to whoever still
// reads there.
namespace smartcache::inline v0::detail {

class Table {
  public:
    static constexpr std::size_t words_per_bucket = 7;

    struct alignas(cache_line) Bucket {
        std::atomic<std::uint64_t> control{0};
        std::array<std::atomic<std::uint64_t>, words_per_bucket> words{};
    };
    // Of the control word: the bucket is in use, else look in the shard's table; how many entries passed it by. A count
    // that reaches its end stays there until the bucket is emptied: lookups then go on for nothing, and never stop too
    // early.
    static constexpr std::uint64_t open = std::uint64_t{1} << 63U;
    static constexpr std::uint64_t one_passed = std::uint64_t{1} << 56U;
    static constexpr std::uint64_t passed = std::uint64_t{127} << 56U;

    /// Closed. Throws: std::bad_alloc.
    explicit Table(std::size_t buckets)
        : count_(std::clamp<std::size_t>(buckets, 1, most_buckets)), buckets_(count_) {}

    /// Buckets for so many entries, two thirds full: then one in five is passed by somebody.
    [[nodiscard]] static std::size_t buckets_for(std::size_t entries) noexcept {
        return std::min(entries / 9 * 2 + entries % 9 * 2 / 9 + 1, most_buckets);
    }
    /// Entries after which it should grow.
    [[nodiscard]] std::size_t comfortable() const noexcept { return count_ * 9 / 2; }
    [[nodiscard]] std::size_t buckets() const noexcept { return count_; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return sizeof(*this) + (given_back_ ? 0 : count_ * sizeof(Bucket));
    }

    [[nodiscard]] Bucket& home(std::uint64_t hash) const noexcept {
        return buckets_.first()[home_index(hash)];
    }
    [[nodiscard]] Bucket& after(const Bucket& bucket) const noexcept {
        const auto index = static_cast<std::size_t>(&bucket - buckets_.first()) + 1;
        return buckets_.first()[index == count_ ? 0 : index];
    }
    [[nodiscard]] Bucket& at(std::size_t index) const noexcept { return buckets_.first()[index]; }

    // The low half of the hash chooses the bucket, the middle is the word's tag, the top chooses the shard and is
    // the control word's tag. No tag is 0, so a free word has nobody's.
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

    /// The words of a bucket whose tags in the control word agree, and now and then one more.
    class Matches {
      public:
        /// @param pattern  `pattern_of` the hash
        Matches(std::uint64_t control, std::uint64_t pattern) noexcept {
            // A byte of `other` is 0 where the tags agree. Subtracting 1 from each sets the highest bit of those, and
            // by its borrow perhaps of the next one above, for which the caller's look at the word is.
            const std::uint64_t other = control ^ pattern;
            bits_ = (other - each_byte) & ~other & highest_bits;
        }
        [[nodiscard]] explicit operator bool() const noexcept { return bits_ != 0; }
        [[nodiscard]] unsigned index() const noexcept {
            return static_cast<unsigned>(std::countr_zero(bits_)) / 8;
        }
        void next() noexcept { bits_ &= bits_ - 1; }

      private:
        static constexpr std::uint64_t highest_bits = 0x0080'8080'8080'8080U;
        std::uint64_t bits_;
    };
    [[nodiscard]] static std::uint64_t pattern_of(std::uint64_t hash) noexcept {
        return control_tag(hash) * each_byte;
    }

    // --- What follows needs the shard's lock.

    /// Puts an entry in; there is room somewhere, for the table grows in time.
    void insert(const EntryBase* entry) noexcept {
        Bucket* bucket = &home(entry->hash);
        for (;; bucket = &after(*bucket)) {
            const std::uint64_t control = bucket->control.load(std::memory_order_relaxed);
            const Matches free(control, 0);
            if (free) {
                // The lowest match is always a true one: nothing was borrowed yet. release, twice: publishes the entry to
                // readers, which load word and control word with acquire.
                bucket->words[free.index()].store(make_word(entry), std::memory_order_release);
                bucket->control.store(control | control_tag(entry->hash) << (8 * free.index()),
                                      std::memory_order_release);
                return;
            }
            if ((control & passed) != passed)
                bucket->control.store(control + one_passed, std::memory_order_release);
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

    /// Throws: what `accept` does.
    template <class Accept>
    [[nodiscard]] Place locate(std::uint64_t hash, Accept accept) const {
        const std::uint64_t tag = tag_of(hash);
        const std::uint64_t pattern = pattern_of(hash);
        Bucket* const first = &home(hash);
        Bucket* bucket = first;
        do {
            const std::uint64_t control = bucket->control.load(std::memory_order_relaxed);
            for (Matches at(control, pattern); at; at.next()) {
                auto& word = bucket->words[at.index()];
                const std::uint64_t value = word.load(std::memory_order_relaxed);
                if (has_tag(value, tag) && accept(*entry_in(value))) return {bucket, &word};
            }
            if ((control & passed) == 0) break;
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
        const auto index = static_cast<unsigned>(place.word - place.bucket->words.data());
        // relaxed: nothing is published, and a reader that still sees the tag looks at the word.
        const std::uint64_t control = place.bucket->control.load(std::memory_order_relaxed);
        place.bucket->control.store(control & ~(std::uint64_t{0xFF} << (8 * index)),
                                    std::memory_order_relaxed);
        for (Bucket* bucket = &home(entry->hash); bucket != place.bucket; bucket = &after(*bucket)) {
            const std::uint64_t before = bucket->control.load(std::memory_order_relaxed);
            if ((before & passed) != passed)
                bucket->control.store(before - one_passed, std::memory_order_relaxed);
        }
    }

    /// Calls `visit(place)` for every entry; it may erase that one.
    template <class Visit>
    void for_each(Visit visit) noexcept {
        for (Bucket& bucket : all())
            for (auto& word : bucket.words)
                if (word.load(std::memory_order_relaxed) != 0) visit(Place{&bucket, &word});
    }

    /// Sends readers away and empties itself; the new table has been published and opened.
    void close() noexcept {
        for (Bucket& bucket : all()) {
            bucket.control.store(0, std::memory_order_release);
            // seq_cst: from here on a protection that is based on this word fails, see hazard.hpp.
            for (auto& word : bucket.words)
                if (word.load(std::memory_order_relaxed) != 0) word.store(0, std::memory_order_seq_cst);
        }
        given_back_ = buckets_.give_back();
    }

    /// Makes it usable for readers, those too who are in it already. It is filled, and about to be published.
    void make_open() noexcept {
        for (Bucket& bucket : all())
            bucket.control.store(bucket.control.load(std::memory_order_relaxed) | open,
                                 std::memory_order_release);
        given_back_ = false;
    }

  private:
    /// An array of closed buckets: zeroed pages of the system's where it is large, so that they can be given back.
    class Array {
      public:
        explicit Array(std::size_t count) : bytes_(count * sizeof(Bucket)) {
            if (!mapped()) {
                first_ = new Bucket[count];
                return;
            }
            void* const pages =
                ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (pages == MAP_FAILED) throw std::bad_alloc();
            first_ = static_cast<Bucket*>(pages);
            // Pages of zeros are what these constructors would make of them, and compilers know it or not.
            for (std::size_t i = 0; i < count; ++i) std::construct_at(first_ + i);
        }
        Array(const Array&) = delete;
        Array& operator=(const Array&) = delete;
        ~Array() {
            if (mapped())
                (void)::munmap(first_, bytes_);
            else
                delete[] first_;
        }

        [[nodiscard]] Bucket* first() const noexcept { return first_; }
        /// The memory, not the addresses, of an array of zeros. @return whether the system took it
        [[nodiscard]] bool give_back() noexcept {
#if defined(__linux__)
            return mapped() && ::madvise(first_, bytes_, MADV_DONTNEED) == 0;
#else
            return false;  // elsewhere this call need not leave zeros
#endif
        }

      private:
        static constexpr std::size_t least_mapped = std::size_t{64} << 10U;
        [[nodiscard]] bool mapped() const noexcept {
            return bytes_ >= least_mapped;
        }

        std::size_t bytes_;
        Bucket* first_ = nullptr;
    };

    [[nodiscard]] std::span<Bucket> all() const noexcept {
        return {buckets_.first(), count_};
    }

    static constexpr std::size_t most_buckets = std::size_t{1} << 31U;
    static constexpr std::uint64_t each_byte = 0x0101'0101'0101'0101U;

    [[nodiscard]] static std::uint64_t control_tag(std::uint64_t hash) noexcept {
        return std::max<std::uint64_t>(hash >> 56U, 1);
    }

    [[nodiscard]] std::size_t home_index(std::uint64_t hash) const noexcept {
        return static_cast<std::size_t>(((hash & 0xFFFFFFFFU) * count_) >> 32U);
    }

    std::size_t count_;
    Array buckets_;
    bool given_back_ = false;
};

}  // namespace smartcache::inline v0::detail
