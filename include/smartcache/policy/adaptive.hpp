#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <smartcache/policy/hit_objective.hpp>
#include <smartcache/policy/modal_queues.hpp>
#include <smartcache/policy/mode_selector.hpp>
#include <smartcache/policy/policy.hpp>
#include <smartcache/policy/weight_spread.hpp>

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
// Unequal weights. A victim is then worth its frequency by its weight: Ludmila Cherkasova, "Improving WWW
// Proxies Performance with Greedy-Dual-Size-Frequency Caching Policy", HP Laboratories, 1998; that an admission
// has to pay for the weight it displaces is what Gil Einziger, Ohad Eytan, Roy Friedman, Ben Manes,
// "Lightweight Robust Size Aware Cache Management", ACM TOS 2022, and Daniel Berger, Ramesh Sitaraman, Mor
// Harchol-Balter, "AdaptSize", NSDI 2017, teach. Ours: no priority queue and no inflation (the sketch ages),
// but the least of the eight oldest of the main queue, four of which are kept for next time; and
// frequency^2 / weight for hits, frequency^4 / weight for bytes, instead of frequency / weight and frequency:
// a frequency is an estimate, a weight is exact, and of two entries whose estimates are equal the lighter is
// the smaller loss in either case. Mean over the three developer traces with sizes at 1, 10, 25 % of the
// unique bytes, up to six seeds:
//
//                                  hits   bytes
//     for hits                     .406   .342
//     for bytes                    .394   .352
//     frequency / weight           .407   .321
//     GDSF itself                  .402   .337
//     frequency                    .365   .354
//     modes for equal weights      .351   .342
//     S3-FIFO                      .348   .347
//
// The ghost modes do not take part: their window lets heavy entries pass, and choosing among all five cost
// .006 to .009 of hits. Nor do weights count that hardly differ (`WeightSpread`).
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
/// 270 KiB of shadows per cache (not per shard, when the shards follow a leader); some 250 ns for a request
/// of the sample, which is 1 in 2^k for the largest k that leaves a shadow 256 entries: all requests of a
/// cache of 500, one in 4 of 1000 to 2000, one in 390 of 100 000.
class Adaptive final : public Policy {
  public:
    /// @param leader  another shard's policy of the same cache, whose choice this one follows instead of
    /// making its own; its
    ///                keys are a hash sample of the cache's. Must outlive the last call. nullptr: chooses for
    ///                itself.
    /// @param objective  what its modes are judged by once weights differ
    explicit Adaptive(std::uint64_t capacity, const Adaptive* leader = nullptr,
                      HitObjective objective = HitObjective::objects) noexcept
        : Policy(capacity, no_hit),
          queues_(capacity, modes.front(), links()),
          leader_(leader),
          objective_(objective) {}

    /// The mode that runs now.
    [[nodiscard]] const Mode& mode() const noexcept { return queues_.mode(); }

    /// The modes there are: those for equal weights, it begins with the first; those for unequal ones, first
    /// to hit most objects, then to hit most bytes.
    static constexpr std::array<Mode, 11> modes{{
        {.gate = Mode::Gate::ghost, .window = 0.20, .promote_at = 1, .late = true},
        {.gate = Mode::Gate::ghost, .window = 0.05, .promote_at = 2, .late = false},
        {.gate = Mode::Gate::filter, .window = 0.60},
        {.gate = Mode::Gate::filter, .window = 0.95},
        {.gate = Mode::Gate::filter, .window = 0.05},
        {.gate = Mode::Gate::filter, .window = 0.10, .power = 2},
        {.gate = Mode::Gate::filter, .window = 0.60, .power = 2},
        {.gate = Mode::Gate::filter, .window = 0.95, .power = 2},
        {.gate = Mode::Gate::filter, .window = 0.10, .power = 4},
        {.gate = Mode::Gate::filter, .window = 0.60, .power = 4},
        {.gate = Mode::Gate::filter, .window = 0.95, .power = 4},
    }};

  private:
    [[nodiscard]] std::size_t own_bytes() const noexcept override {
        return queues_.memory_bytes() + (selector_ ? selector_->memory_bytes() : 0);
    }

    static constexpr std::size_t shadow_entries = 256;  // a shadow has this many, or up to twice as many
    static constexpr unsigned sample_shift = 24;  // hash bits that neither shard nor bucket is chosen by

    // Part of `modes`.
    struct Family {
        std::size_t first = 0;
        std::size_t size = 5;
        friend bool operator==(const Family&, const Family&) = default;
    };
    [[nodiscard]] Family wanted_family() const noexcept {
        if (!spread_.unequal() || !weight_binds_) return {0, 5};
        return objective_ == HitObjective::objects ? Family{5, 3} : Family{8, 3};
    }

    void prepare(const Node& node) override {
        queues_.prepare(node);
        if (leader_ != nullptr) return;
        spread_.add(node.weight, size());
        // A cache that is nearly empty has nothing to choose. The number of entries it will hold is guessed
        // from their mean weight, and guessed anew when that turns out wrong by a factor of four.
        if (weight() < capacity() / 8) return;
        const std::uint64_t expected = expected_entries(node);
        const bool fits = selector_ && expected / 4 <= planned_entries_ && planned_entries_ / 4 <= expected;
        if (fits && family_ == wanted_family()) return;
        plan(expected, weight() == size() && node.weight == 1);
    }

    void plan(std::uint64_t entries, bool unit_weights) {
        unsigned rate = 0;
        while ((entries >> (rate + 1)) >= shadow_entries) ++rate;
        const std::size_t sampled = std::max<std::size_t>(1, static_cast<std::size_t>(entries >> rate));
        const Family family = wanted_family();
        const std::size_t first = selector_ && family == family_ ? selector_->chosen_index() : 0;
        // Entries of unequal weight: leave room for a stretch of light ones, more where those are preferred.
        std::size_t room = sampled;
        if (!unit_weights) room += family.first == 0 ? sampled / 2 : sampled;
        const std::uint64_t share_of_weight = std::max<std::uint64_t>(1, capacity() >> rate);
        SelectorOptions options;
        options.by_weight = family.first != 0 && objective_ == HitObjective::bytes;
        selector_ = std::make_unique<ModeSelector>(std::span(modes).subspan(family.first, family.size), first,
                                                   room, share_of_weight, options);
        family_ = family;
        planned_entries_ = entries;
        sample_mask_ = ((std::uint64_t{1} << rate) - 1) << sample_shift;
        report_hits(sample_mask_);
        adopt();
    }

    void adopt() noexcept {
        // relaxed: an index into a constant table; a change may be seen late.
        chosen_.store(static_cast<std::uint8_t>(family_.first + selector_->chosen_index()),
                      std::memory_order_relaxed);
        queues_.set_mode(selector_->chosen());
    }

    [[nodiscard]] std::uint64_t expected_entries(const Node& node) const noexcept {
        if (weight() == size() && node.weight == 1) return std::max<std::uint64_t>(1, capacity());
        const auto mean = static_cast<double>(weight() + node.weight) / static_cast<double>(size() + 1);
        return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(static_cast<double>(capacity()) / mean));
    }

    void request(const Node& node, bool hit) noexcept {
        if (!selector_ || (node.hash & sample_mask_) != 0) return;
        if (!selector_->request(node.hash, node.weight, hit)) return;
        adopt();
    }

    void link(Node& node) noexcept override {
        if (leader_ != nullptr) {
            const std::uint8_t chosen = leader_->chosen_.load(std::memory_order_relaxed);
            if (chosen != followed_) queues_.set_mode(modes[followed_ = chosen]);
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
    [[nodiscard]] const Node* next_victim() const noexcept override { return queues_.next(); }
    Node* choose() noexcept override {
        // Where the number of entries is what is short a heavy one takes no more of that than a light one. Believed
        // when it has happened often.
        pressure_ = std::clamp(pressure_ + (entries_bind() ? -1 : 1), -convinced, convinced);
        if (pressure_ == convinced) weight_binds_ = true;
        if (pressure_ == -convinced) weight_binds_ = false;
        return queues_.evict();
    }
    void resized() noexcept override { queues_.set_capacity(capacity()); }

    static constexpr int convinced = 256;

    ModalQueues queues_;
    const Adaptive* leader_;
    std::uint8_t followed_ = 0;  // the leader's choice when last seen
    HitObjective objective_;
    WeightSpread spread_;
    int pressure_ = 0;
    bool weight_binds_ = true;
    Family family_{};
    std::unique_ptr<ModeSelector> selector_;
    std::uint64_t planned_entries_ = 0;
    std::uint64_t sample_mask_ = no_hit;
    alignas(64) std::atomic<std::uint8_t> chosen_{
        0};  // read by the followers: a line of its own, that hardly ever changes
};

}  // namespace smartcache::inline v0::policy
