#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <smartcache/policy/modal_queues.hpp>

namespace smartcache::inline v0::policy {

/// A cache without values: what would have been a hit, had this mode run all along on this capacity?
///
/// It is fed the requests of a hash sample of the keys and has the same sample's share of the capacity, which
/// keeps hit ratios: Carl Waldspurger, Nohhyun Park, Alexander Garthwaite, Irfan Ahmad, "Efficient MRC
/// Construction with SHARDS", FAST 2015, and for policies other than LRU Carl Waldspurger, Trausti
/// Saemundsson, Irfan Ahmad, Nohhyun Park, "Cache Modeling and Optimization using Miniature Simulations",
/// USENIX ATC 2017. Keys are told apart by their full hash. Thread safety: none. Cost: about 30 ns per
/// request and 50 bytes per entry, allocated once.
class ShadowCache {
  public:
    /// At most `entries` entries, at most `capacity` of weight. Throws: std::bad_alloc.
    ShadowCache(std::size_t entries, std::uint64_t capacity, Mode mode)
        : capacity_(capacity),
          queues_(capacity, mode, links_, ModalQueues::Keeps::its_mode),
          pool_(entries + 1),
          slots_(std::bit_ceil(2 * (entries + 1)), none) {
        queues_.reserve(entries);
        links_.reserve(entries + 1);
        free_.reserve(pool_.size());
        for (std::size_t i = pool_.size(); i > 0; --i) free_.push_back(static_cast<std::uint32_t>(i - 1));
    }

    [[nodiscard]] const Mode& mode() const noexcept { return queues_.mode(); }
    [[nodiscard]] std::size_t size() const noexcept { return queues_.size(); }

    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return queues_.memory_bytes() + links_.memory_bytes() + pool_.capacity() * sizeof(Node) +
               (slots_.capacity() + free_.capacity()) * sizeof(std::uint32_t);
    }

    /// "get; on a miss, put". Returns whether it was a hit.
    bool request(std::uint64_t hash, std::uint32_t weight) noexcept {
        for (std::size_t slot = home(hash); slots_[slot] != none; slot = next(slot)) {
            Node& node = pool_[slots_[slot]];
            if (node.hash == hash) {
                mark_hit(node);
                return true;
            }
        }
        if (weight > capacity_) return false;
        Node& node = pool_[free_.back()];
        node.hash = hash;
        node.weight = weight;
        node.mark.store(0, std::memory_order_relaxed);
        queues_.insert(node);
        enter(hash, free_.back());
        free_.pop_back();
        while (queues_.weight() > capacity_ || free_.empty()) leave(*queues_.evict());
        return false;
    }

  private:
    static constexpr std::uint32_t none = ~std::uint32_t{0};

    [[nodiscard]] std::size_t home(std::uint64_t hash) const noexcept {
        return static_cast<std::size_t>((hash * 0x9E3779B97F4A7C15U) >> 32U) & (slots_.size() - 1);
    }
    [[nodiscard]] std::size_t next(std::size_t slot) const noexcept {
        return (slot + 1) & (slots_.size() - 1);
    }

    void enter(std::uint64_t hash, std::uint32_t index) noexcept {
        std::size_t slot = home(hash);
        while (slots_[slot] != none) slot = next(slot);
        slots_[slot] = index;
    }

    // Linear probing without tombstones: later entries of the run move up into the hole where their home
    // allows it.
    void leave(Node& node) noexcept {
        std::size_t hole = home(node.hash);
        while (&pool_[slots_[hole]] != &node) hole = next(hole);
        free_.push_back(slots_[hole]);
        const std::size_t mask = slots_.size() - 1;
        for (std::size_t slot = next(hole); slots_[slot] != none; slot = next(slot)) {
            const std::size_t wanted = home(pool_[slots_[slot]].hash);
            if (((slot - wanted) & mask) < ((slot - hole) & mask)) continue;
            slots_[hole] = slots_[slot];
            hole = slot;
        }
        slots_[hole] = none;
    }

    std::uint64_t capacity_;
    NodeLinks links_;
    ModalQueues queues_;
    std::vector<Node> pool_;
    std::vector<std::uint32_t> slots_;
    std::vector<std::uint32_t> free_;
};

}  // namespace smartcache::inline v0::policy
