#pragma once

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include <smartcache/policy/node.hpp>
#include <smartcache/policy/node_list.hpp>

namespace smartcache::inline v0::policy {

/// Decides which entry of one shard leaves when the shard is full. A pure algorithm: no lock, no clock, no
/// I/O; the same calls in the same order give the same victims.
///
/// The shard tells it what comes and goes and asks for victims while it is over its bound:
///
///     policy.insert(entry);
///     while (policy.weight() > capacity) destroy(policy.evict());
///
/// A hit costs the reader `mark_hit` and nothing else, plus, where `wants_hit` says so, a call of `hit` that
/// may come late or not at all (lossy buffers). sieve and s3_fifo live on marks alone and adaptive nearly so:
/// it asks for the hits of a sample of the keys, by which it chooses its mode. lru and w_tinylfu want every
/// hit.
///
/// Thread safety: every call under the shard's lock, except `wants_hit` and the free function `mark_hit`.
/// Cost: every call O(1), evict amortised; a virtual call on the write path only. Nodes are owned by the
/// caller and must be given back (`erase` or `evict`) before they die.
class Policy {
  public:
    Policy(const Policy&) = delete;
    Policy& operator=(const Policy&) = delete;
    virtual ~Policy() = default;

    /// A new resident, in no policy so far. The caller evicts afterwards while it is over its bound.
    /// Throws: std::bad_alloc from a growing ghost or sketch, before anything has changed.
    void insert(Node& node) {
        assert(node.queue == 0);
        links_.reserve(size_ + 1);
        prepare(node);
        ++size_;
        weight_ += node.weight;
        if (node.weight > bound_) {
            refused_.push_front(node);
        } else {
            link(node);
        }
    }

    /// Forgets a node that left for another reason than capacity (erased, expired, cleared): no ghost
    /// remains.
    void erase(Node& node) noexcept {
        account_leave(node);
        if (refused_.contains(node)) {
            refused_.erase(node);
        } else {
            unlink(node);
        }
        if (size_ == 0) links_.trim();
    }

    /// Picks, unlinks and returns the next victim; nullptr when there is none. It may be the entry inserted
    /// last: then admission refused it. An entry heavier than the whole capacity is always the first to go.
    ///
    /// Asked while the weight is within its bound, it takes the number of entries for what has run out: what they
    /// weigh is then the capacity that it divides up, for room that is never used would mislead it.
    [[nodiscard]] Node* evict() noexcept {
        follow_bound();
        Node* victim = refused_.back();
        if (victim != nullptr) {
            refused_.erase(*victim);
        } else {
            victim = choose();
        }
        if (victim != nullptr) account_leave(*victim);
        if (size_ == 0) links_.trim();
        return victim;
    }

    /// Who will probably be the next victim, so that one can fetch what its eviction takes; nullptr: not known. A hint.
    [[nodiscard]] virtual const Node* next_victim() const noexcept { return nullptr; }

    /// `fresh` carries a new value for the key of `old` and takes over its place and its history; a write
    /// counts as an access. `old` is in no policy afterwards. The weights may differ: evict afterwards as
    /// after `insert`.
    void replace(Node& old, Node& fresh) noexcept {
        assert(fresh.queue == 0 && fresh.hash == old.hash);
        if (refused_.contains(old) || fresh.weight > bound_) {
            erase(old);
            ++size_;
            weight_ += fresh.weight;
            refused_.push_front(fresh);
            return;
        }
        weight_ += fresh.weight;
        weight_ -= old.weight;
        fresh.mark.store(old.mark.load(std::memory_order_relaxed), std::memory_order_relaxed);
        mark_hit(fresh);
        exchange(old, fresh);
    }

    /// A hit of a resident node. Meaningful where `wants_hit`, harmless elsewhere.
    void hit(Node& node) noexcept {
        if (!refused_.contains(node)) touch(node);
    }

    /// The node whose `Node::link` is `number`; nullptr when no node has it now.
    [[nodiscard]] Node* holder(std::uint32_t number) noexcept { return links_.holder(number); }

    /// Whether this policy wants to be told of hits of keys with this hash. Any thread, no lock: one load and
    /// a mask.
    [[nodiscard]] bool wants_hit(std::uint64_t hash) const noexcept {
        // relaxed: which hits are reported is a matter of quality, never of correctness.
        return (hash & hit_mask_.load(std::memory_order_relaxed)) == 0;
    }

    /// What `wants_hit` masks with, for readers that keep the address instead of following this object's.
    [[nodiscard]] const std::atomic<std::uint64_t>& hit_mask() const noexcept { return hit_mask_; }

    /// New bound on the weight; live. When it shrinks, the caller evicts until it is under it.
    /// Throws nothing; tables follow at the next `insert`.
    void set_capacity(std::uint64_t capacity) noexcept {
        bound_ = capacity_ = capacity;
        resized();
    }

    [[nodiscard]] std::uint64_t bound() const noexcept { return bound_; }  ///< on the weight
    /// What it divides up: the bound on the weight, or what the entries weigh where their number is bound.
    [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::uint64_t weight() const noexcept { return weight_; }

    /// Bytes held besides the nodes: links, ghosts, sketches, shadows.
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return sizeof(Policy) + links_.memory_bytes() + own_bytes();
    }

  protected:
    static constexpr std::uint64_t every_hit = 0;
    static constexpr std::uint64_t no_hit =
        ~std::uint64_t{0};  // wants_hit is then true for hash 0 alone: harmless

    explicit Policy(std::uint64_t capacity, std::uint64_t hit_mask) noexcept
        : bound_(capacity), capacity_(capacity), hit_mask_(hit_mask) {}

    /// Whether it was the number of entries that asked for the last victim.
    [[nodiscard]] bool entries_bind() const noexcept { return entries_bind_; }

    void report_hits(std::uint64_t mask) noexcept { hit_mask_.store(mask, std::memory_order_relaxed); }

    /// For the lists of one policy.
    [[nodiscard]] NodeLinks& links() noexcept { return links_; }

    /// A share of the capacity, at least one unit: a queue may be small, but not absent.
    [[nodiscard]] std::uint64_t share(double part) const noexcept {
        const auto units = static_cast<std::uint64_t>(static_cast<double>(capacity_) * part);
        return units == 0 ? 1 : units;
    }

  private:
    virtual void prepare(const Node& /*node*/) {}  // all that may throw
    virtual void link(Node& node) noexcept = 0;    // already counted in weight()
    virtual void unlink(Node& node) noexcept = 0;
    virtual Node* choose() noexcept = 0;  // unlinks what it returns, leaves the ghost
    virtual void exchange(Node& old, Node& fresh) noexcept = 0;
    virtual void touch(Node& /*node*/) noexcept {}
    virtual void resized() noexcept {}
    [[nodiscard]] virtual std::size_t own_bytes() const noexcept { return 0; }

    void follow_bound() noexcept {
        entries_bind_ = size_ != 0 && weight_ <= bound_;
        std::uint64_t wanted = bound_;
        if (entries_bind_) {
            // Of one entry less. Small differences are let be.
            wanted = std::max<std::uint64_t>(1, weight_ - weight_ / size_);
            const std::uint64_t slack = wanted / 64;
            if (capacity_ + slack >= wanted && capacity_ <= wanted + slack) return;
        }
        if (capacity_ == wanted) return;
        capacity_ = wanted;
        resized();
    }

    void account_leave(const Node& node) noexcept {
        assert(size_ > 0 && weight_ >= node.weight);
        --size_;
        weight_ -= node.weight;
    }

    std::uint64_t bound_;
    std::uint64_t capacity_;
    bool entries_bind_ = false;
    std::uint64_t weight_ = 0;
    std::size_t size_ = 0;
    // Read on every hit, written hardly ever: on a line of its own.
    alignas(64) std::atomic<std::uint64_t> hit_mask_;
    alignas(64) NodeLinks links_;
    NodeList refused_{255, links_};  // heavier than the capacity: kept apart so that they displace nobody
};

}  // namespace smartcache::inline v0::policy
