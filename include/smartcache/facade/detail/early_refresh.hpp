#pragma once

#include <cmath>
#include <cstdint>

#include <smartcache/core/hash.hpp>
#include <smartcache/facade/entry_options.hpp>
#include <smartcache/facade/value_entry.hpp>

namespace smartcache::inline v0::detail {

/// Whether a call that meets a live value is to refresh it ahead of its time. Says the same about every copy of it: the dice are
/// thrown once.
class EarlyRefresh {
  public:
    explicit EarlyRefresh(const EntryOptions& options)
        : share_(options.refresh_ahead),
          spread_(options.early_beta > 0 ? -options.early_beta * std::log(dice()) : 0) {}

    /// @param now  ms on the monotonic clock
    [[nodiscard]] bool wants(const ValueEntry& entry, std::int64_t now) const noexcept {
        const std::int64_t end = entry.fresh_until();
        if (end == ValueEntry::never) return false;
        const std::int64_t created = entry.created();
        if (share_ > 0 && static_cast<double>(now - created) >= share_ * static_cast<double>(end - created))
            return true;
        if (spread_ <= 0 || entry.load_cost == 0) return false;
        const std::chrono::duration<double, std::milli> cost = ShortCost::unpack(entry.load_cost);
        return static_cast<double>(end - now) <= spread_ * cost.count();
    }

  private:
    /// Between 0 and 1, neither of them.
    [[nodiscard]] static double dice() {
        return (static_cast<double>(random_stamp() >> 11U) + 0.5) * 0x1p-53;
    }

    double share_;
    double spread_;  // of the time that the load took
};

}  // namespace smartcache::inline v0::detail
