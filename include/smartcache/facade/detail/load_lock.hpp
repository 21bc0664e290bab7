#pragma once

#include <cstdint>
#include <string_view>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/record/tier.hpp>

namespace smartcache::inline v0::detail {

/// The right to load one key, among all processes that share a tier; given back when it ends. Who holds it longer than its
/// length loses it, and then stores nothing over what others have stored since: fills depend on what they saw (R7).
class LoadLock {
  public:
    LoadLock(Tier& tier, std::string_view physical_key, Duration length)
        : tier_(tier), key_(physical_key), length_(length) {}
    LoadLock(const LoadLock&) = delete;
    LoadLock& operator=(const LoadLock&) = delete;
    ~LoadLock() {
        if (held_) tier_.unlock(key_, token_);
    }

    /// @return ok; refused: somebody else has it; unavailable: nobody can tell, and it may be ours
    [[nodiscard]] TierStatus take() {
        const TierStatus status = tier_.try_lock(key_, token_, length_);
        held_ = status != TierStatus::refused;
        return status;
    }
    [[nodiscard]] Duration length() const noexcept { return length_; }

  private:
    Tier& tier_;
    const std::string_view key_;
    const Duration length_;
    const std::uint64_t token_ = random_stamp();
    bool held_ = false;
};

}  // namespace smartcache::inline v0::detail
