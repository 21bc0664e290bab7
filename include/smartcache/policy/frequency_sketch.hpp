#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace smartcache::inline v0::policy {

// Count-min sketch of 4-bit counters with aging: Gil Einziger, Roy Friedman, Ben Manes, "TinyLFU: A Highly
// Efficient Cache Admission Policy", ACM Transactions on Storage 13(4), 2017, section 3. Blocked as in
// Caffeine's FrequencySketch: the four counters of a key lie in one 64-byte line, one in each quarter.
//
// Where we differ. (1) Only the counters that hold the minimum are raised ("conservative update": Cristian
// Estan, George Varghese, "New Directions in Traffic Measurement and Accounting", SIGCOMM 2002), which halves
// the error at no cost. (2) Aging does not stop the world: instead of halving every counter at the end of a
// period, each period's halving is spread over its increments, block by block, so no write pays for a table
// of megabytes. (3) The table doubles when the cache grows, each block being copied to the two blocks its
// keys move to, so no count is lost.

/// How often keys were seen lately, 0 to 15. Never too small but for aging; too large by collisions.
/// Thread safety: none. Cost: one cache line per call; 8 bytes per entry it was sized for.
class FrequencySketch {
  public:
    /// Sizes the table for a cache of that many entries. Only grows. Strong exception guarantee.
    void reserve(std::size_t entries) {
        if (entries <= reserved_) return;
        const std::size_t target = std::bit_ceil(std::max<std::size_t>(entries, entries_per_block));
        std::vector<Block> fresh(target / entries_per_block);
        for (std::size_t i = 0; !blocks_.empty() && i < fresh.size(); ++i) {
            fresh[i] = blocks_[i & (blocks_.size() - 1)];
        }
        blocks_.swap(fresh);
        reserved_ = target;
    }

    [[nodiscard]] std::size_t reserved() const noexcept { return reserved_; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return blocks_.capacity() * sizeof(Block); }

    /// Counts so many accesses.
    void increment(std::uint64_t hash, unsigned times = 1) noexcept {
        if (blocks_.empty()) return;
        const std::uint64_t mixed = mix(hash);
        const CountersIn counters(blocks_[index(mixed)], mixed);
        counters.raise(std::min(counters.least() + times, 15U));
        age(times);
    }

    /// Brings the counters of a key nearer to the processor. A hint.
    void prefetch(std::uint64_t hash) const noexcept {
        if (!blocks_.empty()) __builtin_prefetch(&blocks_[index(mix(hash))], 1);
    }

    [[nodiscard]] unsigned frequency(std::uint64_t hash) const noexcept {
        if (blocks_.empty()) return 0;
        const std::uint64_t mixed = mix(hash);
        return CountersIn(blocks_[index(mixed)], mixed).least();
    }

  private:
    static constexpr std::size_t entries_per_block = 8;
    static constexpr std::size_t period_per_entry =
        10;  // increments per entry in which every counter halves once

    struct alignas(64) Block {
        std::uint64_t words[8] = {};  // two per row, 32 counters
    };

    static std::uint64_t mix(std::uint64_t hash) noexcept {
        hash = (hash ^ (hash >> 31)) * 0xD6E8FEB86659FD93U;
        return hash ^ (hash >> 32);
    }
    [[nodiscard]] std::size_t index(std::uint64_t mixed) const noexcept {
        return static_cast<std::size_t>(mixed >> 20) & (blocks_.size() - 1);
    }

    /// The four counters of a key, in a block of either constness. Written out: a loop over them takes twice the instructions.
    template <class Word>
    struct CountersIn {
        template <class AnyBlock>
        CountersIn(AnyBlock& block, std::uint64_t mixed) noexcept
            : a(block, mixed, 0), b(block, mixed, 1), c(block, mixed, 2), d(block, mixed, 3) {}

        struct One {
            template <class AnyBlock>
            One(AnyBlock& block, std::uint64_t mixed, unsigned row) noexcept
                : word(block.words[2 * row + (mixed >> (5 * row + 4) & 1U)]),
                  shift(4 * static_cast<unsigned>(mixed >> (5 * row) & 15U)),
                  value(static_cast<unsigned>(word >> shift) & 15U) {}
            void raise(unsigned to) const noexcept {
                word += std::uint64_t{std::max(value, to) - value} << shift;
            }
            Word& word;
            unsigned shift;
            unsigned value;
        };

        [[nodiscard]] unsigned least() const noexcept {
            return std::min(std::min(a.value, b.value), std::min(c.value, d.value));
        }
        void raise(unsigned to) const noexcept {
            a.raise(to);
            b.raise(to);
            c.raise(to);
            d.raise(to);
        }

        One a, b, c, d;
    };
    template <class AnyBlock>
    CountersIn(AnyBlock&, std::uint64_t)
        -> CountersIn<std::conditional_t<std::is_const_v<AnyBlock>, const std::uint64_t, std::uint64_t>>;

    void age(unsigned increments) noexcept {
        since_aged_ += increments;
        if (since_aged_ < entries_per_block * period_per_entry) return;
        since_aged_ -= entries_per_block * period_per_entry;
        for (std::uint64_t& word : blocks_[cursor_].words) word = (word >> 1U) & 0x7777777777777777U;
        cursor_ = (cursor_ + 1) & (blocks_.size() - 1);
    }

    std::vector<Block> blocks_;
    std::size_t reserved_ = 0;
    std::size_t since_aged_ = 0;
    std::size_t cursor_ = 0;
};

}  // namespace smartcache::inline v0::policy
