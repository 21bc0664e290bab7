#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <smartcache/facade/entry_options.hpp>

namespace smartcache::inline v0 {

/// Options of a cached function: the members of `EntryOptions`, then those of its keys; flat, so that one
/// designated initialiser says all: `{.ttl = 1h, .key_prefix = "geo:"}`.
struct CachedOptions {
    std::optional<Duration> ttl{};
    std::optional<Duration> memory_ttl{};
    std::optional<Duration> redis_ttl{};
    std::optional<Duration> disk_ttl{};
    std::optional<Duration> idle{};
    Jitter jitter{};
    Duration grace{0};
    std::optional<Duration> negative_ttl{};
    double refresh_ahead = 0;
    double early_beta = 0;
    std::optional<Duration> soft_timeout{};
    std::optional<Duration> hard_timeout{};
    std::vector<std::string> tags{};
    std::optional<std::size_t> weight{};
    TierSet read = TierSet::all;
    TierSet write = TierSet::all;
    bool distributed_lock = false;
    Duration retry_after{0};
    /// Stands before the function's name in every key; needed where the name alone does not tell functions
    /// apart.
    std::string key_prefix{};

    [[nodiscard]] EntryOptions entry_options() const {
        return {.ttl = ttl,
                .memory_ttl = memory_ttl,
                .redis_ttl = redis_ttl,
                .disk_ttl = disk_ttl,
                .idle = idle,
                .jitter = jitter,
                .grace = grace,
                .negative_ttl = negative_ttl,
                .refresh_ahead = refresh_ahead,
                .early_beta = early_beta,
                .soft_timeout = soft_timeout,
                .hard_timeout = hard_timeout,
                .tags = tags,
                .weight = weight,
                .read = read,
                .write = write,
                .distributed_lock = distributed_lock,
                .retry_after = retry_after};
    }
};

}  // namespace smartcache::inline v0
