#pragma once

#include <smartcache/policy/policy.hpp>

namespace smartcache::inline v0::policy {

// SIEVE: Yazhuo Zhang, Juncheng Yang, Yao Yue, Ymir Vigfusson, K. V. Rashmi, "SIEVE is Simpler than LRU: an
// Efficient Turn-Key Eviction Algorithm for Web Caches", NSDI 2024, algorithm 1.
//
// One FIFO queue, one visited mark per entry, one hand. The hand moves from the oldest entry to the newest,
// clears the marks it meets and evicts the first unmarked entry; survivors keep their place. New entries
// enter at the front, so the part of the queue that the hand has passed holds what has proved itself, and a
// newcomer that is not asked for again is met early. Where we differ: our mark counts to three, any value
// above zero means visited; and since eviction follows the insert here, the hand turns back before the newest
// entry, which in the paper is not yet in the queue (letting the hand rest on it, so that it is the next one
// met, costs 0.9 points of mean regret on the developer traces).

/// SIEVE, on marks alone. Strong on skewed traffic, not resistant to loops and scans.
class Sieve final : public Policy {
  public:
    explicit Sieve(std::uint64_t capacity) noexcept : Policy(capacity, no_hit) {}

  private:
    void link(Node& node) noexcept override { list_.push_front(node); }

    void unlink(Node& node) noexcept override {
        if (hand_ == &node) hand_ = newer(node);
        list_.erase(node);
    }

    void exchange(Node& old, Node& fresh) noexcept override {
        if (hand_ == &old) hand_ = &fresh;
        list_.replace(old, fresh);
    }

    Node* choose() noexcept override {
        if (list_.empty()) return nullptr;
        Node* node = hand_ != nullptr ? hand_ : list_.back();
        // At most two rounds: the first may clear every mark. Readers that mark meanwhile cannot keep the
        // hand turning, because the steps are counted.
        for (std::size_t steps = 2 * list_.size(); steps > 0; --steps) {
            if (node->mark.load(std::memory_order_relaxed) == 0) break;
            node->mark.store(0, std::memory_order_relaxed);
            node = newer(*node) != nullptr ? newer(*node) : list_.back();
        }
        hand_ = newer(*node);
        list_.erase(*node);
        return node;
    }

    // Where the hand goes from here; nullptr: back to the oldest.
    [[nodiscard]] Node* newer(const Node& node) const noexcept {
        Node* const next = list_.newer(node);
        return next != list_.front() ? next : nullptr;
    }

    NodeList list_{1, links()};
    Node* hand_ = nullptr;
};

}  // namespace smartcache::inline v0::policy
