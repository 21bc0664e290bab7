#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace smartcache::inline v0::policy {

/// Do the weights of the newcomers differ enough to matter? By the standard deviation of their binary
/// logarithms over about the last turn of the cache, which one giant among many equals does not move; with
/// hysteresis. Equal weights never do, exactly. Thread safety: none.
class WeightSpread {
  public:
    /// A factor of 2^0.5 between weights is where looking at them begins to pay (bench/README.md).
    static constexpr double wide = 0.5;
    static constexpr double narrow = 0.25;  ///< back below this

    /// @param entries  how many there are in the cache
    void add(std::uint32_t weight, std::size_t entries) noexcept {
        if (weight != last_) {
            last_ = weight;
            log_ = std::log2(static_cast<double>(std::max<std::uint32_t>(1, weight)));
        }
        count_ = std::min(count_ + 1, static_cast<double>(std::max(shortest, entries)));
        const double off = log_ - mean_;
        if (off == 0 && variance_ == 0) return;  // all alike so far, and no division for each
        mean_ += off / count_;
        variance_ = (1 - 1 / count_) * (variance_ + off * off / count_);
        if (count_ < enough) return;
        const double bound = unequal_ ? narrow : wide;
        unequal_ = variance_ > bound * bound;
    }

    [[nodiscard]] bool unequal() const noexcept { return unequal_; }

  private:
    static constexpr std::size_t shortest = 1024;
    static constexpr double enough = 16;

    std::uint32_t last_ = 1;
    double log_ = 0;  // of `last_`
    double count_ = 0;
    double mean_ = 0;
    double variance_ = 0;
    bool unequal_ = false;
};

}  // namespace smartcache::inline v0::policy
