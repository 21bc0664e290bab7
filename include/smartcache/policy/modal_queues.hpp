#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <smartcache/policy/frequency_sketch.hpp>
#include <smartcache/policy/ghost.hpp>
#include <smartcache/policy/node_list.hpp>

namespace smartcache::inline v0::policy {

/// One way to run `ModalQueues`: how large the window is and who may pass from it to the main queue.
struct Mode {
    /// What decides about an entry that reaches the window's end.
    enum class Gate : std::uint8_t {
        ghost,   ///< hits in the window; the others leave a ghost, and who comes back from there goes to main
        filter,  ///< recent frequency: it must beat main's next victim
    };
    Gate gate = Gate::ghost;
    double window = 0.1;          ///< the window's share of the capacity
    std::uint8_t promote_at = 2;  ///< gate ghost: hits that open it
    bool late = false;            ///< only hits in the older half of the window count
    /// 0: weights do not matter. Else an entry is worth frequency^power / weight, and both filter and main
    /// queue give up what is worth least: 2 for hits, 4 for bytes (why, tells adaptive.hpp).
    std::uint8_t power = 0;
    friend bool operator==(const Mode&, const Mode&) = default;
};

/// The structure under `Adaptive`: a FIFO window, a CLOCK main queue, a ghost queue and a frequency sketch.
/// `adaptive.hpp` tells the story. Works on marks alone. The mode may change at any time: entries stay where
/// they are, and the new rules meet them at the queues' ends. Thread safety: none. Cost: O(1) amortised; two
/// queue moves for an entry that is never asked for; where weights matter, a look at eight entries and four
/// moves for each victim.
class ModalQueues {
  public:
    enum class Keeps : std::uint8_t {
        all,       ///< what any mode may ask for, which a change of mode then finds
        its_mode,  ///< what the first one asks for: its mode stays
    };

    /// @param links  has room for every node that will be here; outlives this object
    ModalQueues(std::uint64_t capacity, Mode mode, NodeLinks& links, Keeps keeps = Keeps::all) noexcept
        : capacity_(capacity),
          mode_(mode),
          keeps_ghost_(keeps == Keeps::all || mode.gate == Mode::Gate::ghost),
          keeps_sketch_(keeps == Keeps::all || mode.gate == Mode::Gate::filter),
          young_{1, links},
          old_{2, links},
          main_{3, links} {
        divide();
    }

    [[nodiscard]] const Mode& mode() const noexcept { return mode_; }
    void set_mode(const Mode& mode) noexcept {
        mode_ = mode;
        divide();
    }
    void set_capacity(std::uint64_t capacity) noexcept {
        if (capacity == capacity_) return;
        capacity_ = capacity;
        divide();
    }

    [[nodiscard]] std::size_t size() const noexcept { return window_size() + main_.size(); }
    [[nodiscard]] std::uint64_t weight() const noexcept { return window_weight() + main_.weight(); }
    [[nodiscard]] std::size_t window_size() const noexcept { return young_.size() + old_.size(); }
    [[nodiscard]] std::uint64_t window_weight() const noexcept { return young_.weight() + old_.weight(); }
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return ghost_.memory_bytes() + sketch_.memory_bytes();
    }

    /// Sizes sketch and, once evictions are near, ghost for one more entry. All that may throw:
    /// std::bad_alloc.
    void prepare(const Node& node) {
        sketch_.prefetch(node.hash);
        ghost_.prefetch(node.hash);
        sketch_.reserve(std::max<std::size_t>(size(), 1));
        if (weight() + node.weight > capacity_) ghost_.reserve(size() + 1);
    }

    /// The same for that many entries at once.
    void reserve(std::size_t entries) {
        if (keeps_sketch_) sketch_.reserve(entries);
        if (keeps_ghost_) ghost_.reserve(entries + 1);
    }

    void insert(Node& node) noexcept {
        count(node);
        const bool returned = keeps_ghost_ && ghost_.take(node.hash);
        if (returned && mode_.gate == Mode::Gate::ghost) {
            main_.push_front(node);
            return;
        }
        young_.push_front(node);
        while (2 * young_.weight() > window_bound_ && young_.back() != &node) grow_old(*young_.back());
    }

    void erase(Node& node) noexcept { queue_of(node).erase(node); }
    void replace(Node& old, Node& fresh) noexcept { queue_of(old).replace(old, fresh); }

    /// Unlinks and returns the next victim; nullptr when empty.
    [[nodiscard]] Node* evict() noexcept {
        Node* const victim = next_victim();
        fetch_ahead();
        return victim;
    }

    /// Who will probably be evicted next; nullptr: cannot be said.
    [[nodiscard]] const Node* next() const noexcept {
        return from_window_next() ? window_end().back() : main_.back();
    }

  private:
    static constexpr std::size_t looked_at = 8;

    // What the next evictions will look at is seldom in the processor's caches; until then there is time to fetch it.
    void fetch_ahead() const noexcept {
        if (!old_.empty()) __builtin_prefetch(young_.back(), 1);
        const bool by_ghost = mode_.gate == Mode::Gate::ghost;
        if (const Node* const next = fetch_ahead(window_end(), !by_ghost); next != nullptr && by_ghost)
            ghost_.prefetch(next->hash);
        if (!by_ghost || !from_window_next()) (void)fetch_ahead(main_, true);
    }
    // Of one queue: the entry after its next one, and the counters of that, whose entry is here since the last time.
    const Node* fetch_ahead(const NodeList& queue, bool counters) const noexcept {
        const Node* const next = queue.back();
        if (next == nullptr) return nullptr;
        __builtin_prefetch(queue.newer(*next), 1);
        if (counters || next->mark.load(std::memory_order_relaxed) != 0) sketch_.prefetch(next->hash);
        return next;
    }

    // A newcomer comes first, most often into the window.
    [[nodiscard]] bool from_window_next() const noexcept {
        return window_size() != 0 && (window_weight() >= window_bound_ || main_.empty());
    }

    [[nodiscard]] const NodeList& window_end() const noexcept { return old_.empty() ? young_ : old_; }

    Node* next_victim() noexcept {
        while (window_size() != 0 && (window_weight() > window_bound_ || main_.empty())) {
            Node& candidate = *window_end().back();
            Node* victim =
                mode_.gate == Mode::Gate::ghost ? leave_by_ghost(candidate) : leave_by_filter(candidate);
            if (victim != nullptr) return victim;
        }
        Node* victim = main_victim();
        if (victim != nullptr) main_.erase(*victim);
        return victim;
    }

    void divide() noexcept {
        const auto units = static_cast<std::uint64_t>(static_cast<double>(capacity_) * mode_.window);
        window_bound_ = units == 0 ? 1 : units;
        main_bound_ = capacity_ - std::min(capacity_, window_bound_);
    }

    // Into the older half of the window. A hit so soon after the insert says little about the future (the
    // same request repeated, a page and its parts), so it does not count as a reason to keep the entry.
    void grow_old(Node& node) noexcept {
        if (mode_.late) count_hits(node);
        young_.move_to(old_, node);
    }

    void count(const Node& node, unsigned times = 1) noexcept {
        if (keeps_sketch_) sketch_.increment(node.hash, times);
    }

    // Takes the mark off the node and into the sketch: hits themselves never touch it.
    std::uint8_t count_hits(Node& node) noexcept {
        const std::uint8_t mark = node.mark.load(std::memory_order_relaxed);
        if (mark == 0) return 0;
        node.mark.store(0, std::memory_order_relaxed);
        count(node, mark);
        return mark;
    }

    void promote(Node& node) noexcept { queue_of(node).move_to(main_, node); }

    // nullptr: the candidate was promoted.
    Node* leave_by_ghost(Node& candidate) noexcept {
        if (count_hits(candidate) >= mode_.promote_at) {
            promote(candidate);
            return nullptr;
        }
        queue_of(candidate).erase(candidate);
        remember(candidate);
        return &candidate;
    }

    // nullptr: there was room for it.
    Node* leave_by_filter(Node& candidate) noexcept {
        count_hits(candidate);
        if (main_.weight() + candidate.weight <= main_bound_) {
            promote(candidate);
            return nullptr;
        }
        Node* victim = main_victim();
        if (victim == nullptr || !(worth(candidate) > worth(*victim))) {
            queue_of(candidate).erase(candidate);
            return &candidate;
        }
        main_.erase(*victim);
        // A heavy candidate waits at the window's end and has to beat every further victim it displaces.
        if (main_.weight() + candidate.weight <= main_bound_) promote(candidate);
        return victim;
    }

    // What filter and main queue go by. Powers of small numbers, exact in a double; counters that age has
    // emptied are worth next to nothing, but a light one's more than a heavy one's.
    [[nodiscard]] double worth(const Node& node) const noexcept {
        const unsigned frequency = sketch_.frequency(node.hash);
        if (mode_.power == 0) return frequency;
        const double base = frequency == 0 ? 0.01 : frequency;
        double result = 1;
        for (unsigned i = 0; i < mode_.power; ++i) result *= base;
        return result / std::max<std::uint32_t>(1, node.weight);
    }

    // Still linked.
    Node* main_victim() noexcept { return mode_.power == 0 ? clock_victim() : least_worth(); }

    // The entry of least worth among the oldest few. The next ones stay where they are to be looked at again,
    // the better half gets another round.
    Node* least_worth() noexcept {
        struct Place {
            double worth = 0;
            Node* node = nullptr;
        };
        std::array<Place, looked_at> places;  // least worth first; the older of equals first
        std::size_t count = 0;
        for (Node* node = main_.back(); node != nullptr && count < looked_at; node = main_.newer(*node)) {
            count_hits(*node);
            const Place place{worth(*node), node};
            std::size_t at = count++;
            for (; at > 0 && places[at - 1].worth > place.worth; --at) places[at] = places[at - 1];
            places[at] = place;
        }
        for (std::size_t i = looked_at / 2; i < count; ++i) main_.move_to_front(*places[i].node);
        return places[0].node;
    }

    // The entry the clock's hand stops at. Each step lowers a mark, so four rounds suffice; the
    // bound matters only when readers set marks faster than we lower them.
    Node* clock_victim() noexcept {
        for (std::size_t steps = 4 * main_.size(); steps > 0; --steps) {
            Node& node = *main_.back();
            const std::uint8_t mark = node.mark.load(std::memory_order_relaxed);
            if (mark == 0) return &node;
            node.mark.store(static_cast<std::uint8_t>(mark - 1), std::memory_order_relaxed);
            count(node);
            main_.move_to_front(node);
        }
        return main_.back();
    }

    void remember(const Node& node) noexcept {
        ghost_.set_bound(size() - size() / 10);
        ghost_.push(node.hash);
    }

    NodeList& queue_of(const Node& node) noexcept {
        if (main_.contains(node)) return main_;
        return old_.contains(node) ? old_ : young_;
    }

    std::uint64_t capacity_;
    Mode mode_;
    const bool keeps_ghost_;
    const bool keeps_sketch_;
    std::uint64_t window_bound_ = 1;  // of the capacity
    std::uint64_t main_bound_ = 0;    // what is left
    NodeList young_;
    NodeList old_;
    NodeList main_;
    GhostQueue ghost_;
    FrequencySketch sketch_;
};

}  // namespace smartcache::inline v0::policy
