#pragma once

#include <algorithm>
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
        bound_ = std::min(bound_, reserved_);
    }

    /// How many pushes a ghost survives; never more than what was reserved.
    void set_bound(std::size_t entries) noexcept { bound_ = std::min(entries, reserved_); }

    [[nodiscard]] std::size_t bound() const noexcept { return bound_; }
    [[nodiscard]] std::size_t reserved() const noexcept { return reserved_; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return buckets_.capacity() * sizeof(Bucket); }

    void push(std::uint64_t hash) noexcept {
        if (buckets_.empty()) return;
        ++pushes_;
        const std::uint64_t mixed = mix(hash);
        const std::uint16_t print = fingerprint(mixed);
        Bucket& bucket = bucket_of(mixed);
        Slot* place = &bucket.slots[0];
        for (Slot& slot : bucket.slots) {
            if (slot.print == print || slot.print == 0) {
                place = &slot;
                break;
            }
            if (age(slot) > age(*place)) place = &slot;
        }
        *place = Slot{print, tick()};
    }

    /// True when the key was pushed less than `bound` pushes ago; takes it out.
    [[nodiscard]] bool take(std::uint64_t hash) noexcept {
        Slot* slot = find(hash);
        if (slot == nullptr) return false;
        const bool live = std::size_t{age(*slot)} * granule_ < bound_;
        *slot = Slot{};
        return live;
    }

    void clear() noexcept { std::fill(buckets_.begin(), buckets_.end(), Bucket{}); }

  private:
    struct Slot {
        std::uint16_t print = 0;  // 0: empty
        std::uint16_t time = 0;
    };
    struct Bucket {
        Slot slots[8];
    };

    static std::uint64_t mix(std::uint64_t hash) noexcept {
        hash = (hash ^ (hash >> 32)) * 0x9E3779B97F4A7C15U;
        return hash ^ (hash >> 29);
    }
    static std::uint16_t fingerprint(std::uint64_t mixed) noexcept {
        const auto print = static_cast<std::uint16_t>(mixed);
        return print == 0 ? std::uint16_t{1} : print;
    }
    Bucket& bucket_of(std::uint64_t mixed) noexcept {
        return buckets_[static_cast<std::size_t>(((mixed >> 32) * buckets_.size()) >> 32)];
    }
    [[nodiscard]] std::uint16_t tick() const noexcept {
        return static_cast<std::uint16_t>(pushes_ / granule_);
    }
    [[nodiscard]] std::uint16_t age(const Slot& slot) const noexcept {
        return static_cast<std::uint16_t>(tick() - slot.time);
    }

    Slot* find(std::uint64_t hash) noexcept {
        if (buckets_.empty()) return nullptr;
        const std::uint64_t mixed = mix(hash);
        const std::uint16_t print = fingerprint(mixed);
        for (Slot& slot : bucket_of(mixed).slots) {
            if (slot.print == print) return &slot;
        }
        return nullptr;
    }

    std::vector<Bucket> buckets_;
    std::size_t reserved_ = 0;
    std::size_t bound_ = 0;
    std::size_t granule_ = 1;
    std::uint64_t pushes_ = 0;
};

}  // namespace smartcache::inline v0::policy
