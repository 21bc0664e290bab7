#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace smartcache::inline v0::policy {

// A ghost remembers that a key was evicted lately, without the key. S3-FIFO (see s3_fifo.hpp, section 4.2 of
// its paper) proposes a table of fingerprints with insertion times instead of a real queue: a ghost is out
// when more than `bound` others have come after it, which is known from its time alone. A full bucket gives
// up its oldest one.
//
// Ours packs both into 32 bits: 16 of fingerprint and 16 of time. Eight slots to a bucket and 5/4 slots per
// ghost, so a ghost costs 5 bytes. A key that was never here is taken for a ghost with probability 8 / 65536
// at most. Time counts in ticks of `granule` pushes, so that the bound is at most 16384 ticks: a slot that
// nobody overwrites for three bounds and more may look fresh again, which is harmless and, with eight slots
// to choose the oldest from, rare.

/// Bounded FIFO of fingerprints. Not exact: may forget early (a full bucket), and take one key for another.
/// Thread safety: none. Cost: one cache line per operation, 5 bytes per ghost.
class GhostQueue {
  public:
    /// Makes room for `entries` ghosts; forgets all when the table has to be built anew. Strong exception
    /// guarantee.
    void reserve(std::size_t entries) {
        if (entries <= reserved_) return;
        const std::size_t target = std::max<std::size_t>({entries, 2 * reserved_, 16});
        std::vector<Bucket> fresh(target * 5 / 32 + 1);
        buckets_.swap(fresh);
        reserved_ = target;
        granule_ = target / 16384 + 1;
        pushes_ = 0;
        bound_ = std::min(bound_, reserved_);
    }

    /// How many pushes a ghost survives; never more than what was reserved.
    void set_bound(std::size_t entries) noexcept { bound_ = std::min(entries, reserved_); }

    [[nodiscard]] std::size_t bound() const noexcept { return bound_; }
    [[nodiscard]] std::size_t reserved() const noexcept { return reserved_; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return buckets_.capacity() * sizeof(Bucket); }

    void push(std::uint64_t hash) noexcept {
        if (buckets_.empty()) return;
        if (++pushes_ == granule_) {
            pushes_ = 0;
            ++now_;
        }
        const std::uint64_t mixed = mix(hash);
        const std::uint16_t print = fingerprint(mixed);
        Bucket& bucket = bucket_of(mixed);
        std::size_t slot = bucket.first_of(print, 0);
        if (slot == slots) slot = oldest(bucket);
        bucket.set(slot, print, now_);
    }

    /// True when the key was pushed less than `bound` pushes ago; takes it out.
    [[nodiscard]] bool take(std::uint64_t hash) noexcept {
        if (buckets_.empty()) return false;
        const std::uint64_t mixed = mix(hash);
        Bucket& bucket = bucket_of(mixed);
        const std::uint16_t print = fingerprint(mixed);
        const std::size_t slot = bucket.first_of(print, print);
        if (slot == slots) return false;
        const bool live = std::size_t{age(bucket, slot)} * granule_ < bound_;
        bucket.set(slot, 0, 0);
        return live;
    }

    /// Brings the place of a key nearer to the processor. A hint.
    void prefetch(std::uint64_t hash) const noexcept {
        if (!buckets_.empty()) __builtin_prefetch(&buckets_[index(mix(hash))], 1);
    }

    void clear() noexcept { std::fill(buckets_.begin(), buckets_.end(), Bucket{}); }

  private:
    static constexpr std::size_t slots = 8;

    // Fingerprints lie four to a word, to be compared at once.
    struct Bucket {
        std::array<std::uint64_t, slots / 4> prints{};  // of 16 bits each; 0: empty
        std::array<std::uint16_t, slots> times{};

        /// @return the first slot that has one of the two fingerprints; `slots`: none
        [[nodiscard]] std::size_t first_of(std::uint16_t one, std::uint16_t other) const noexcept {
            for (std::size_t i = 0; i < prints.size(); ++i) {
                const std::uint64_t equal = zeros(prints[i] ^ one * each) | zeros(prints[i] ^ other * each);
                if (equal != 0) return 4 * i + static_cast<std::size_t>(std::countr_zero(equal)) / 16;
            }
            return slots;
        }
        void set(std::size_t slot, std::uint16_t print, std::uint16_t time) noexcept {
            const std::size_t shift = slot % 4 * 16;
            std::uint64_t& word = prints[slot / 4];
            word = (word & ~(std::uint64_t{0xFFFF} << shift)) | std::uint64_t{print} << shift;
            times[slot] = time;
        }

      private:
        static constexpr std::uint64_t each = 0x0001'0001'0001'0001U;
        // The highest bit of each part that is 0, and perhaps, by its borrow, of the one above: the lowest is right.
        [[nodiscard]] static std::uint64_t zeros(std::uint64_t word) noexcept {
            return (word - each) & ~word & (each << 15U);
        }
    };

    static std::uint64_t mix(std::uint64_t hash) noexcept {
        hash = (hash ^ (hash >> 32)) * 0x9E3779B97F4A7C15U;
        return hash ^ (hash >> 29);
    }
    static std::uint16_t fingerprint(std::uint64_t mixed) noexcept {
        const auto print = static_cast<std::uint16_t>(mixed);
        return print == 0 ? std::uint16_t{1} : print;
    }
    [[nodiscard]] std::size_t index(std::uint64_t mixed) const noexcept {
        return static_cast<std::size_t>(((mixed >> 32) * buckets_.size()) >> 32);
    }
    Bucket& bucket_of(std::uint64_t mixed) noexcept { return buckets_[index(mixed)]; }
    [[nodiscard]] std::uint16_t age(const Bucket& bucket, std::size_t slot) const noexcept {
        return static_cast<std::uint16_t>(now_ - bucket.times[slot]);
    }
    // The first of the oldest, without a branch for each.
    [[nodiscard]] std::size_t oldest(const Bucket& bucket) const noexcept {
        std::uint32_t best = 0;
        for (std::uint32_t slot = 0; slot < slots; ++slot)
            best =
                std::max(best, age(bucket, slot) * std::uint32_t{slots} + (std::uint32_t{slots} - 1 - slot));
        return slots - 1 - best % slots;
    }

    std::vector<Bucket> buckets_;
    std::size_t reserved_ = 0;
    std::size_t bound_ = 0;
    std::size_t granule_ = 1;
    std::size_t pushes_ = 0;  // of the present tick
    std::uint16_t now_ = 0;   // in ticks
};

}  // namespace smartcache::inline v0::policy
