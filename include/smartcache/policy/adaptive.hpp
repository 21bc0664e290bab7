#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <smartcache/policy/modal_queues.hpp>
#include <smartcache/policy/mode_selector.hpp>
#include <smartcache/policy/policy.hpp>

namespace smartcache::inline v0::policy {

// The default policy.
//
// No single rule wins on every traffic. A loop a little larger than the cache gives nothing to LRU, CLOCK and
// SIEVE, and much to a frequency filter with a tiny window; traffic whose keys return soon or never wants a
// window of more than half the cache, where that filter does worst; and between them S3-FIFO's small queue
// with a ghost is best on most. A window that drifts from one to the other (the climber of w_tinylfu.hpp) is
// worse on the developer traces than plain S3-FIFO. So there is one structure,
//
//     insert --> window: young | old -- hits, or frequency --> main queue -- CLOCK --> out
//                               |                                  ^
//                               +--> out, leaves a ghost ----------+ comes back
//
// that can be run in several modes (`Mode`): how large the window is, and whether its end is guarded by a
// ghost queue or by a frequency sketch. Which mode runs is decided by experiment. A fixed sample of the keys,
// by hash, is replayed through one small shadow cache per mode (see shadow_cache.hpp), and the mode whose
// shadow hits most is adopted once it is ahead of the present one by enough (see SelectorOptions); the past
// is forgotten with a half-life of twenty turns of the cache. Of several shards only the first keeps shadows,
// the others follow it: its keys are a hash sample of the cache's already.
//
// A shadow shows how a mode would do had it always run. The cache itself comes from another mode and may not
// get there: a ghost mode that inherits a main queue full of dead entries which nothing displaces stays at no
// hits while its shadow, which started empty, keeps a third (the trace shift_corda_loop does this). So the
// selector compares the cache's own hits on the sample with those of the shadow it follows and doubts the
// mode by the difference; doubt fades ten times slower than scores. And growing the window is not free: a
// short stretch under a window of 95 % empties the main queue, which a traffic of scans takes long to fill
// again. So the lead has to be larger the more the window would grow.
//
// Mean regret to Belady's optimum over the 62 pairs of developer trace and capacity, in points, by
// bench/replay with default shards, and how far the worst pair is behind the best of thirteen published
// policies (three runs, seeds differ):
//
//     all of it                    6.7 - 6.8     2.4
//     without doubt                7.0 - 7.1    15.8
//     growing the window is free   6.8 - 6.9     2.9
//     shadows half as large        6.8 - 6.9     4.2
//     S3-FIFO                      7.5          10.6
//     the best of its modes alone  7.5          12.1 (one shard)
//
// Sources. Window and sketch filter: Einziger, Friedman, Manes, "TinyLFU" (ACM TOS 2017, see w_tinylfu.hpp);
// small queue, ghost and lazy promotion: Yang et al., "FIFO Queues are All You Need for Cache Eviction" (SOSP
// 2023, see s3_fifo.hpp); CLOCK: F. J. Corbato, "A Paging Experiment with the Multics System", 1968; hits
// soon after the insert count for nothing: the correlated references of Elizabeth O'Neil, Patrick O'Neil,
// Gerhard Weikum, "The LRU-K Page Replacement Algorithm For Database Disk Buffering", SIGMOD 1993, and of
// Theodore Johnson, Dennis Shasha, "2Q", VLDB 1994; following the best of several simulated policies: Ismail
// Ari, Ahmed Amer, Robert Gramacy, Ethan Miller, Scott Brandt, Darrell Long, "ACME: Adaptive Caching Using
// Multiple Experts", 2002. Ours: the choice of modes, FIFO windows on marks alone, and doubt.

/// Watches the traffic and runs in the mode that suits it. Works on marks; wants the hits of a sample of the
/// keys (`wants_hit`); where those are lost it judges by misses alone, and may choose a mode that is worse
/// than the first. Cost: besides the node and its link 8 to 16 bytes of sketch and 5 to 10 of ghost per entry, and at most
/// 200 KiB of shadows per cache (not per shard, when the shards follow a leader); some 250 ns for a request
/// of the sample, which is 1 in 2^k for the largest k that leaves a shadow 256 entries: all requests of a
/// cache of 500, one in 4 of 1000 to 2000, one in 390 of 100 000.
class Adaptive final : public Policy {
  public:
    /// @param leader  another shard's policy of the same cache, whose choice this one follows instead of
    /// making its own; its
    ///                keys are a hash sample of the cache's. Must outlive the last call. nullptr: chooses for
    ///                itself.
    explicit Adaptive(std::uint64_t capacity, const Adaptive* leader = nullptr) noexcept
        : Policy(capacity, no_hit), queues_(capacity, modes.front(), links()), leader_(leader) {}

    /// The mode that runs now.
    [[nodiscard]] const Mode& mode() const noexcept { return queues_.mode(); }

    /// The modes there are; it begins with the first.
    static constexpr std::array<Mode, 5> modes{{
        {.gate = Mode::Gate::ghost, .window = 0.20, .promote_at = 1, .late = true},
        {.gate = Mode::Gate::ghost, .window = 0.05, .promote_at = 2, .late = false},
        {.gate = Mode::Gate::filter, .window = 0.60},
        {.gate = Mode::Gate::filter, .window = 0.95},
        {.gate = Mode::Gate::filter, .window = 0.05},
    }};

  private:
    [[nodiscard]] std::size_t own_bytes() const noexcept override {
        return queues_.memory_bytes() + (selector_ ? selector_->memory_bytes() : 0);
    }

    static constexpr std::size_t shadow_entries = 256;  // a shadow has this many, or up to twice as many
    static constexpr unsigned sample_shift = 24;  // hash bits that neither shard nor bucket is chosen by

    void prepare(const Node& node) override {
        queues_.prepare(node);
        // A cache that is nearly empty has nothing to choose. The number of entries it will hold is guessed
        // from their mean weight, and guessed anew when that turns out wrong by a factor of four.
        if (leader_ != nullptr || weight() < capacity() / 8) return;
        const std::uint64_t expected = expected_entries(node);
        if (selector_ && expected / 4 <= planned_entries_ && planned_entries_ / 4 <= expected) return;
        plan(expected, weight() == size() && node.weight == 1);
    }

    void plan(std::uint64_t entries, bool unit_weights) {
        unsigned rate = 0;
        while ((entries >> (rate + 1)) >= shadow_entries) ++rate;
        const std::size_t sampled = std::max<std::size_t>(1, static_cast<std::size_t>(entries >> rate));
        const std::size_t first = selector_ ? selector_->chosen_index() : 0;
        // Entries of unequal weight: leave room for a stretch of light ones.
        const std::size_t room = unit_weights ? sampled : sampled + sampled / 2;
        const std::uint64_t share_of_weight = std::max<std::uint64_t>(1, capacity() >> rate);
        selector_ = std::make_unique<ModeSelector>(modes, first, room, share_of_weight, SelectorOptions{});
        planned_entries_ = entries;
        sample_mask_ = ((std::uint64_t{1} << rate) - 1) << sample_shift;
        report_hits(sample_mask_);
    }

    [[nodiscard]] std::uint64_t expected_entries(const Node& node) const noexcept {
        const auto mean = static_cast<double>(weight() + node.weight) / static_cast<double>(size() + 1);
        return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(static_cast<double>(capacity()) / mean));
    }

    void request(const Node& node, bool hit) noexcept {
        if (!selector_ || (node.hash & sample_mask_) != 0) return;
        if (!selector_->request(node.hash, node.weight, hit)) return;
        chosen_.store(static_cast<std::uint8_t>(selector_->chosen_index()), std::memory_order_relaxed);
        queues_.set_mode(selector_->chosen());
    }

    void link(Node& node) noexcept override {
        if (leader_ != nullptr) {
            // relaxed: an index into a constant table; a change may be seen late.
            queues_.set_mode(modes[leader_->chosen_.load(std::memory_order_relaxed)]);
        } else {
            request(node, false);
        }
        queues_.insert(node);
    }

    void exchange(Node& old, Node& fresh) noexcept override {
        request(fresh, true);
        queues_.replace(old, fresh);
    }

    void unlink(Node& node) noexcept override { queues_.erase(node); }
    void touch(Node& node) noexcept override { request(node, true); }
    Node* choose() noexcept override { return queues_.evict(); }
    void resized() noexcept override { queues_.set_capacity(capacity()); }

    ModalQueues queues_;
    const Adaptive* leader_;
    std::unique_ptr<ModeSelector> selector_;
    std::uint64_t planned_entries_ = 0;
    std::uint64_t sample_mask_ = no_hit;
    alignas(64) std::atomic<std::uint8_t> chosen_{
        0};  // read by the followers: a line of its own, that hardly ever changes
};

}  // namespace smartcache::inline v0::policy
