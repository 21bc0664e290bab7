#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <smartcache/core/counters.hpp>

namespace smartcache::inline v0 {

/// State of a tier's circuit breaker. `none`: the tier has no breaker.
enum class BreakerState { none, closed, open, half_open };

[[nodiscard]] constexpr std::string_view to_string(BreakerState state) noexcept {
    switch (state) {
        case BreakerState::none:
            return "none";
        case BreakerState::closed:
            return "closed";
        case BreakerState::open:
            return "open";
        case BreakerState::half_open:
            return "half_open";
    }
    return "?";
}

/// How far a cache hears what other processes change in the tier that they share.
struct CoherenceStats {
    bool on = false;               ///< whether it wants to
    bool hears = false;            ///< now: its lease holds
    std::uint64_t messages = 0;    ///< that others have sent
    std::uint64_t unreadable = 0;  ///< of them: after each of those everything was dropped
    std::uint64_t gaps = 0;        ///< how often it began to hear: what it had before was dropped
    std::uint64_t resumed = 0;     ///< how often it was told what it had missed instead
    std::uint64_t positions = 0;   ///< how often it was written to the disk how far it has heard
    Latency latency;               ///< of its own messages, from the change to hearing of it
};

/// What one tier counted since it started or was reset. A snapshot: plain numbers.
struct TierStats {
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
    std::uint64_t sets = 0;      ///< values stored, fills included
    std::uint64_t errors = 0;    ///< operations that failed for another reason than a deadline
    std::uint64_t timeouts = 0;  ///< operations that passed their deadline
    std::uint64_t corrupt = 0;   ///< stored bytes that were not a record, or another key's, and were dropped
    std::uint64_t rejected = 0;  ///< refused because of a limit: size, full queue
    std::uint64_t evictions = 0;
    std::uint64_t expirations = 0;
    std::uint64_t entries = 0;       ///< now; 0 where the tier cannot know (Redis)
    std::uint64_t bytes = 0;         ///< now: memory or disk in use; for Redis the bytes sent since the start
    std::uint64_t index_bytes = 0;   ///< now: memory of the index; disk only
    std::uint64_t queued_bytes = 0;  ///< now: waiting to be written; disk only
    /// Bytes written to files for each byte stored, since the start; 0 before the first write. Disk only.
    double write_amplification = 0;
    Latency latency;  ///< of reads, off the L1 hit path
    BreakerState breaker = BreakerState::none;
    CoherenceStats coherence;  ///< Redis only
    std::string allocator;     ///< L1 only: "jemalloc" or "malloc"
};

/// The answer to a health probe of one tier.
struct TierHealth {
    bool ok = false;
    std::string detail;  ///< one line for an operator: what was tried, what came back
};

}  // namespace smartcache::inline v0
