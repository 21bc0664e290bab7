#pragma once

#include <algorithm>
#include <cmath>

#include <smartcache/policy/frequency_sketch.hpp>
#include <smartcache/policy/policy.hpp>

namespace smartcache::inline v0::policy {

// W-TinyLFU: Gil Einziger, Roy Friedman, Ben Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM
// Transactions on Storage 13(4), 2017, section 4; the window resizes itself by hill climbing as in Gil
// Einziger, Ohad Eytan, Roy Friedman, Ben Manes, "Adaptive Software Cache Management", Middleware 2018,
// section 4.1, with the constants of Caffeine.
//
// A newcomer enters a small LRU window. What falls out of it is a candidate for the main space (segmented
// LRU: 20 % probation, 80 % protected) and has to be asked for more often, by a sketch of recent frequencies,
// than the entry that would have to go. A window of 1 % suits skewed traffic, a large one recency: the
// climber grows or shrinks it by steps for as long as the hit ratio improves, with ever smaller steps until
// the traffic changes.
//
// Where we differ. A candidate that loses is evicted at once. Counting is of hits and inserts, so a lookup
// that finds nothing and stores nothing leaves no trace. The sketch ages smoothly (see frequency_sketch.hpp).

/// W-TinyLFU. Wants every hit: the order of its lists and its sketch are made of them.
class WTinyLfu final : public Policy {
  public:
    WTinyLfu(std::uint64_t capacity, std::uint64_t seed) noexcept
        : Policy(capacity, every_hit), random_(seed | 1U) {}

    /// The window's present share of the capacity.
    [[nodiscard]] double window_share() const noexcept { return window_share_; }

  private:
    [[nodiscard]] std::size_t own_bytes() const noexcept override { return sketch_.memory_bytes(); }

    static constexpr double first_window = 0.01;
    static constexpr double protected_share = 0.8;  // of the main space
    static constexpr double largest_window = 0.8;
    static constexpr double first_step = 0.0625;
    static constexpr double step_decay = 0.98;
    static constexpr double restart_at = 0.05;  // a change of the hit ratio that calls for a large step again
    static constexpr std::uint64_t sample_per_entry = 10;
    static constexpr unsigned warm = 6;  // a losing candidate at least this frequent is let in now and then

    void prepare(const Node& /*node*/) override { sketch_.reserve(std::max<std::size_t>(size(), 1)); }

    void link(Node& node) noexcept override {
        sketch_.increment(node.hash);
        window_.push_front(node);
        ++requests_;
        if (requests_ >= sample_per_entry * std::max<std::uint64_t>(size(), 16)) climb();
    }

    void unlink(Node& node) noexcept override { queue_of(node).erase(node); }

    void exchange(Node& old, Node& fresh) noexcept override {
        queue_of(old).replace(old, fresh);
        use(fresh);
    }

    void touch(Node& node) noexcept override {
        ++requests_;
        ++hits_;
        use(node);
    }

    void use(Node& node) noexcept {
        sketch_.increment(node.hash);
        NodeList& queue = queue_of(node);
        if (&queue != &probation_) {
            queue.move_to_front(node);
            return;
        }
        probation_.move_to(protected_, node);
        while (protected_.weight() > protected_bound() && protected_.back() != &node) {
            Node& oldest = *protected_.back();
            protected_.move_to(probation_, oldest);
        }
    }

    Node* choose() noexcept override {
        while (window_.weight() > share(window_share_) && window_.back() != nullptr) {
            Node* candidate = window_.back();
            NodeList& last = probation_.empty() ? protected_ : probation_;
            Node* victim = last.back();
            const std::uint64_t main_bound = capacity() - std::min(capacity(), share(window_share_));
            if (victim == nullptr || main_weight() + candidate->weight <= main_bound) {
                if (weight() > capacity() && main_bound < candidate->weight) {
                    window_.erase(*candidate);
                    return candidate;
                }
                window_.move_to(probation_, *candidate);
                continue;
            }
            if (admit(*candidate, *victim)) {
                last.erase(*victim);
                return victim;
            }
            window_.erase(*candidate);
            return candidate;
        }
        for (NodeList* queue : {&probation_, &protected_, &window_}) {
            if (Node* victim = queue->back(); victim != nullptr) {
                queue->erase(*victim);
                return victim;
            }
        }
        return nullptr;
    }

    bool admit(const Node& candidate, const Node& victim) noexcept {
        const unsigned challenger = sketch_.frequency(candidate.hash);
        const unsigned holder = sketch_.frequency(victim.hash);
        if (challenger > holder) return true;
        // Caffeine's defence against an attacker who keeps the victims' counters high by colliding keys.
        return challenger >= warm && (next_random() & 127U) == 0;
    }

    // One step of the climber: on in the same direction while the hit ratio rises, back when it falls.
    void climb() noexcept {
        const double ratio = static_cast<double>(hits_) / static_cast<double>(requests_);
        hits_ = requests_ = 0;
        const double change = ratio - last_ratio_;
        last_ratio_ = ratio;
        const double move = change >= 0 ? step_ : -step_;
        window_share_ = std::clamp(window_share_ + move, first_window, largest_window);
        step_ = std::abs(change) >= restart_at ? std::copysign(first_step, move) : move * step_decay;
        while (protected_.weight() > protected_bound()) {
            Node& oldest = *protected_.back();
            protected_.move_to(probation_, oldest);
        }
    }

    NodeList& queue_of(const Node& node) noexcept {
        if (window_.contains(node)) return window_;
        return probation_.contains(node) ? probation_ : protected_;
    }
    [[nodiscard]] std::uint64_t main_weight() const noexcept {
        return probation_.weight() + protected_.weight();
    }
    [[nodiscard]] std::uint64_t protected_bound() const noexcept {
        return share((1.0 - window_share_) * protected_share);
    }
    std::uint64_t next_random() noexcept {
        random_ ^= random_ << 13U;
        random_ ^= random_ >> 7U;
        random_ ^= random_ << 17U;
        return random_;
    }

    NodeList window_{1, links()};
    NodeList probation_{2, links()};
    NodeList protected_{3, links()};
    FrequencySketch sketch_;
    double window_share_ = first_window;
    double step_ = first_step;
    double last_ratio_ = 0;
    std::uint64_t hits_ = 0;
    std::uint64_t requests_ = 0;
    std::uint64_t random_;
};

}  // namespace smartcache::inline v0::policy
