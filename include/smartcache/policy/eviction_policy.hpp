#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace smartcache::inline v0 {

/// Which entry leaves a full memory tier. `adaptive` is right unless you have measured your own traffic.
enum class EvictionPolicy : std::uint8_t {
    adaptive,  ///< watches the traffic and switches between window, filter and ghost; scan and loop resistant
    lru,       ///< least recently used: predictable, loses to scans and to loops larger than the cache
    s3_fifo,   ///< three FIFO queues: strong on traffic with many keys that are asked for once
    sieve,     ///< one FIFO queue with a sweeping hand: least bookkeeping, for skewed web-like traffic
    w_tinylfu,  ///< frequency filter behind a small recency window that resizes itself
};

namespace detail {
inline constexpr std::array<std::pair<EvictionPolicy, std::string_view>, 5> eviction_policy_names{{
    {EvictionPolicy::adaptive, "adaptive"},
    {EvictionPolicy::lru, "lru"},
    {EvictionPolicy::s3_fifo, "s3_fifo"},
    {EvictionPolicy::sieve, "sieve"},
    {EvictionPolicy::w_tinylfu, "w_tinylfu"},
}};
}  // namespace detail

/// The enumerator's own name; "unknown" for a value that is none of them.
[[nodiscard]] constexpr std::string_view to_string(EvictionPolicy policy) noexcept {
    for (const auto& [value, name] : detail::eviction_policy_names) {
        if (value == policy) return name;
    }
    return "unknown";
}

/// The policy of that exact name, or nullopt.
[[nodiscard]] constexpr std::optional<EvictionPolicy> parse_eviction_policy(std::string_view text) noexcept {
    for (const auto& [value, name] : detail::eviction_policy_names) {
        if (name == text) return value;
    }
    return std::nullopt;
}

}  // namespace smartcache::inline v0
