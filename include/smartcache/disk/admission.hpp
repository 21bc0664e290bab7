#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>

#include <smartcache/core/clock.hpp>
#include <smartcache/disk/options.hpp>
#include <smartcache/policy/ghost.hpp>

namespace smartcache::inline v0::detail {

/// Which writes are worth the disk: `DiskOptions::admission` and `DiskOptions::max_write_rate`.
///
/// Thread safety: any thread. Costs nothing where neither option is set.
class DiskGate {
  public:
    DiskGate(const DiskOptions& options, TimeSource time)
        : selective_(options.admission == DiskAdmission::second_sight),
          rate_(static_cast<double>(options.max_write_rate)),
          time_(time),
          allowance_(rate_),
          filled_(time.now()) {
        if (!selective_) return;
        const std::uint64_t keys =
            std::clamp<std::uint64_t>(options.max_size / 1024, 1024, std::uint64_t{1} << 24U);
        const auto sights = static_cast<std::size_t>(3 * keys);  // a key is seen in up to three ways
        seen_.reserve(sights);
        seen_.set_bound(sights);
    }

    /// A lookup found nothing under the key.
    void missed(std::uint64_t hash) {
        if (!selective_) return;
        const std::lock_guard lock(mutex_);
        seen_.push(seen_.take(once(hash)) ? twice(hash) : once(hash));
    }

    /// @param known  something is stored under the key
    /// @param bytes  that would be written
    [[nodiscard]] bool admits(std::uint64_t hash, bool known, std::uint64_t bytes) {
        if (!selective_ && rate_ == 0) return true;
        const std::lock_guard lock(mutex_);
        if (selective_ && !known && !seen_.take(twice(hash)) && !seen_.take(offered(hash))) {
            seen_.push(offered(hash));
            return false;
        }
        return rate_ == 0 || afford(static_cast<double>(bytes));
    }

  private:
    // Three kinds of sight of one key, in one queue.
    static std::uint64_t once(std::uint64_t hash) noexcept { return hash; }
    static std::uint64_t twice(std::uint64_t hash) noexcept { return hash ^ 0x5851F42D4C957F2DU; }
    static std::uint64_t offered(std::uint64_t hash) noexcept { return hash ^ 0x14057B7EF767814FU; }

    /// A token bucket of one second's worth. A record larger than that passes when the bucket is full, on credit.
    bool afford(double bytes) {
        const MonotonicTime now = time_.now();
        const std::chrono::duration<double> passed = now - filled_;
        filled_ = now;
        allowance_ = std::min(allowance_ + passed.count() * rate_, rate_);
        if (allowance_ < std::min(bytes, rate_)) return false;
        allowance_ -= bytes;
        return true;
    }

    const bool selective_;
    const double rate_;
    const TimeSource time_;
    std::mutex mutex_;
    policy::GhostQueue seen_;
    double allowance_;
    MonotonicTime filled_;
};

}  // namespace smartcache::inline v0::detail
