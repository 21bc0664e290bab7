#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

#include <smartcache/core/clock.hpp>
#include <smartcache/facade/entry_options.hpp>

namespace smartcache::inline v0::detail {

/// Until when a call waits for a load.
struct LoadDeadlines {
    using Time = std::chrono::steady_clock::time_point;

    explicit LoadDeadlines(const EntryOptions& options) {
        if (!options.soft_timeout && !options.hard_timeout) return;
        const Time now = std::chrono::steady_clock::now();
        // A length near max() would overflow the clock.
        const auto later = [now](Duration length) {
            return now + std::min<Duration>(length, std::chrono::hours(24 * 365));
        };
        if (options.soft_timeout) soft = later(*options.soft_timeout);
        if (options.hard_timeout) hard = later(*options.hard_timeout);
        if (soft && hard && *hard <= *soft) soft.reset();
    }

    [[nodiscard]] bool any() const noexcept { return soft || hard; }
    [[nodiscard]] const std::optional<Time>& first() const noexcept { return soft ? soft : hard; }

    std::optional<Time> soft;
    std::optional<Time> hard;
};

}  // namespace smartcache::inline v0::detail
