#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <smartcache/policy/shadow_cache.hpp>

namespace smartcache::inline v0::policy {

/// Chooses among modes by replaying a sample of the requests under each of them. Periods are in requests of
/// the sample per entry of a shadow: "20" is twenty turns of the cache.
struct SelectorOptions {
    double half_life = 20;  ///< after so much the past counts half
    /// By how much another mode must be better before we change: this much of hit ratio, or this share of the
    /// misses, whichever is less. The share is what a sample gets right: whether it has caught some of the
    /// few hottest keys moves its hit ratio by tens of points, and any difference of hit ratios with it, but
    /// not the ratio of misses.
    double gain = 0.01;
    double fewer_misses = 0.03;
    /// By how many times the above the lead must be larger yet, per unit of the capacity by which the window
    /// would grow: growing it throws out of the main queue what that may take long to collect again.
    /// Shrinking it costs nothing.
    double window_growth = 5;
    double grace = 8;  ///< the cache's own hits are compared with its shadow's only this long after a change
    double doubt_half_life =
        200;                 ///< how long a mode is distrusted that did worse in the cache than in its shadow
    bool by_weight = false;  ///< a request counts by its weight: the best mode hits most bytes
};

/// The judge of `Adaptive`; see there.
/// Thread safety: none.
class ModeSelector {
  public:
    /// One shadow per mode, each of at most `entries` entries and `capacity` of weight. Starts with mode
    /// number `first`. Throws: std::bad_alloc.
    ModeSelector(std::span<const Mode> modes, std::size_t first, std::size_t entries, std::uint64_t capacity,
                 const SelectorOptions& options)
        : options_(options),
          entries_(static_cast<double>(entries)),
          round_length_(std::max<std::size_t>(16, entries / 2)),
          chosen_(first) {
        rivals_.reserve(modes.size());
        for (const Mode& mode : modes)
            rivals_.push_back(Rival{std::make_unique<ShadowCache>(entries, capacity, mode)});
    }

    [[nodiscard]] const Mode& chosen() const noexcept { return rivals_[chosen_].shadow->mode(); }
    [[nodiscard]] std::size_t chosen_index() const noexcept { return chosen_; }

    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        std::size_t bytes = 0;
        for (const Rival& rival : rivals_)
            bytes += sizeof(Rival) + sizeof(ShadowCache) + rival.shadow->memory_bytes();
        return bytes;
    }

    /// A request of the sample and whether the cache itself had it. True when the choice has changed.
    bool request(std::uint64_t hash, std::uint32_t weight, bool hit) noexcept {
        const double unit = options_.by_weight ? weight : 1;
        in_round_weight_ += unit;
        if (hit) own_.round += unit;
        for (Rival& rival : rivals_) {
            if (rival.shadow->request(hash, weight)) rival.hits.round += unit;
        }
        return ++in_round_ == round_length_ && judge();
    }

  private:
    struct Count {
        double round = 0;  // since the last verdict
        double sum = 0;    // decayed
        void close(double decay) noexcept {
            sum = sum * decay + round;
            round = 0;
        }
    };
    struct Rival {
        std::unique_ptr<ShadowCache> shadow;
        Count hits{};
        double doubt = 0;  // hit ratio by which the cache fell short of this shadow
    };

    [[nodiscard]] double decay(double half_life) const noexcept {
        return std::exp2(-static_cast<double>(round_length_) / (half_life * entries_));
    }
    [[nodiscard]] double merit(const Rival& rival) const noexcept {
        return rival.hits.sum / requests_ - rival.doubt;
    }

    // The rival most of whose lead is left when everything that speaks for staying is taken off; the chosen
    // one when no lead is.
    [[nodiscard]] std::size_t best_rival() const noexcept {
        const Rival& present = rivals_[chosen_];
        const double misses = 1 - present.hits.sum / requests_;
        const double threshold = std::min(options_.gain, options_.fewer_misses * misses);
        std::size_t best = chosen_;
        double best_lead = 0;
        for (std::size_t i = 0; i < rivals_.size(); ++i) {
            if (i == chosen_) continue;
            const double growth =
                std::max(0.0, rivals_[i].shadow->mode().window - present.shadow->mode().window);
            const double needed = threshold * (1 + options_.window_growth * growth);
            const double lead = merit(rivals_[i]) - merit(present) - needed;
            if (lead <= best_lead) continue;
            best = i;
            best_lead = lead;
        }
        return best;
    }

    bool judge() noexcept {
        const double keep = decay(options_.half_life);
        requests_ = requests_ * keep + in_round_weight_;
        promises_ = promises_ * keep + in_round_weight_;
        tenure_ = tenure_ * keep + static_cast<double>(round_length_);
        in_round_ = 0;
        in_round_weight_ = 0;
        promised_ = promised_ * keep + rivals_[chosen_].hits.round;
        own_.close(keep);
        for (Rival& rival : rivals_) {
            rival.hits.close(keep);
            rival.doubt *= decay(options_.doubt_half_life);
        }
        if (tenure_ > options_.grace * entries_) {
            rivals_[chosen_].doubt = std::max(0.0, (promised_ - own_.sum) / promises_);
        }
        const std::size_t best = best_rival();
        if (best == chosen_) return false;
        chosen_ = best;
        tenure_ = promises_ = promised_ = 0;
        own_ = Count{};
        return true;
    }

    SelectorOptions options_;
    double entries_;
    std::size_t round_length_;
    std::size_t chosen_;
    std::vector<Rival> rivals_;
    std::size_t in_round_ = 0;
    double in_round_weight_ = 0;
    double requests_ = 0;  // all five decayed, and all but the second by weight if so asked: requests seen
    double tenure_ = 0;    // number of those since the last change
    double promises_ = 0;  // the same
    double promised_ = 0;  // hits of the chosen mode's shadow since then
    Count own_;            // hits of the cache itself since then
};

}  // namespace smartcache::inline v0::policy
