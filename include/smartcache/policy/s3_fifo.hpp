#pragma once

#include <smartcache/policy/ghost.hpp>
#include <smartcache/policy/policy.hpp>

namespace smartcache::inline v0::policy {

// S3-FIFO: Juncheng Yang, Yazhuo Zhang, Ziyue Qiu, Yao Yue, K. V. Rashmi, "FIFO Queues are All You Need for
// Cache Eviction", SOSP 2023, section 4 and algorithm 1.
//
// Most keys of most caches are asked for once. They pass through a small FIFO queue (a tenth of the capacity)
// and are gone before they displace anything; what was hit there more than once moves to the main queue, a
// FIFO with second chances (two-bit counters). A ghost queue as long as the main queue remembers what left
// the small one, and what comes back from there goes straight to the main queue.
//
// Where we differ. Shares are of the weight, the ghost's bound is a number of entries. The ghost is the
// paper's own table of fingerprints (see ghost.hpp), so it is not exact. Eviction happens after the insert,
// not before.

/// S3-FIFO, on marks alone. Resists scans; a loop larger than the cache but within the ghost's reach is kept
/// in part.
class S3Fifo final : public Policy {
  public:
    explicit S3Fifo(std::uint64_t capacity) noexcept : Policy(capacity, no_hit) {}

  private:
    [[nodiscard]] std::size_t own_bytes() const noexcept override { return ghost_.memory_bytes(); }

    static constexpr double small_share = 0.1;
    static constexpr std::uint8_t promote_at = 2;  // algorithm 1: "freq > 1"

    void prepare(const Node& node) override {
        // A cache that has never been full needs no ghost, whatever its capacity.
        if (weight() + node.weight > capacity()) ghost_.reserve(size() + 1);
    }

    void link(Node& node) noexcept override {
        if (ghost_.take(node.hash)) {
            main_.push_front(node);
        } else {
            small_.push_front(node);
        }
    }

    void unlink(Node& node) noexcept override { (small_.contains(node) ? small_ : main_).erase(node); }

    void exchange(Node& old, Node& fresh) noexcept override {
        (small_.contains(old) ? small_ : main_).replace(old, fresh);
    }

    Node* choose() noexcept override {
        // Every step moves a node to the main queue or lowers a mark, so four rounds clear everything; the
        // bound only matters when readers set marks faster than we lower them.
        for (std::size_t steps = 4 * (small_.size() + main_.size()) + 1; steps > 0; --steps) {
            const bool from_small =
                !small_.empty() && (small_.weight() > share(small_share) || main_.empty());
            NodeList& queue = from_small ? small_ : main_;
            Node* node = queue.back();
            if (node == nullptr) return nullptr;
            const std::uint8_t mark = node->mark.load(std::memory_order_relaxed);
            if (from_small ? mark < promote_at : (mark == 0 || steps == 1)) {
                queue.erase(*node);
                if (from_small) remember(*node);
                return node;
            }
            node->mark.store(from_small ? std::uint8_t{0} : static_cast<std::uint8_t>(mark - 1),
                             std::memory_order_relaxed);
            queue.move_to(main_, *node);
        }
        return nullptr;
    }

    void remember(const Node& node) noexcept {
        ghost_.set_bound(size() - size() / 10);
        ghost_.push(node.hash);
    }

    NodeList small_{1, links()};
    NodeList main_{2, links()};
    GhostQueue ghost_;
};

}  // namespace smartcache::inline v0::policy
