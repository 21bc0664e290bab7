#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/stats.hpp>
#include <smartcache/core/tier_id.hpp>

namespace smartcache::inline v0 {

/// What a cache counted since it started, or since `clear()` or `reset_stats()`. A snapshot: plain numbers.
///
/// Each lookup is one request and ends as a hit or a miss; an expired entry is a miss. `exists` and `peek`
/// count nothing.
struct Stats {
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
    std::uint64_t total_requests = 0;   ///< hits + misses
    double hit_ratio = 0;               ///< hits / total_requests, 0 before the first request
    std::uint64_t evictions = 0;        ///< L1 entries removed for capacity
    std::uint64_t expirations = 0;      ///< L1 entries removed because their time was over
    std::uint64_t invalidations = 0;    ///< keys erased by request
    std::uint64_t foreign_changes = 0;  ///< what other processes have told of and is dropped here
    std::uint64_t rejected = 0;         ///< keys or values refused because of a limit
    std::uint64_t loads = 0;            ///< loaders run, failed ones included
    std::uint64_t load_failures = 0;    ///< loaders that threw
    std::uint64_t coalesced = 0;        ///< callers that waited for somebody else's load
    std::uint64_t stale_served = 0;     ///< values given out within their grace
    std::uint64_t promotions = 0;       ///< values copied into L1 from below
    std::uint64_t demotions = 0;        ///< entries copied below when L1 evicted them
    std::uint64_t type_mismatches = 0;  ///< values that could not be read as the type asked for
    std::uint64_t encode_errors = 0;    ///< values that the codec could not encode
    std::uint64_t corrupt = 0;          ///< stored bytes that were damaged, in any tier
    std::uint64_t memory_usage = 0;     ///< bytes of L1's entries, now
    std::uint64_t size = 0;             ///< entries in L1, now
    std::uint64_t capacity = 0;         ///< bound on `size`; 0 without L1
    double ops_per_second = 0;     ///< requests per second over the last `stats.interval`, or since the start
    double recent_hit_ratio = 0;   ///< as `hit_ratio`, of the last `stats.interval` with requests
    double hit_ratio_trend = 0;    ///< by how much that is above the one before; 0 while there was none
    double compression_ratio = 1;  ///< bytes before / after compression of what was written below L1
    Duration uptime{0};
    std::uint64_t listener_errors = 0;  ///< exceptions of `Config::listener`

    TierStats memory;
    TierStats redis;
    TierStats disk;
};

/// Which tiers work. True: enabled and answering.
struct Health {
    bool memory = false;
    bool redis = false;
    bool disk = false;

    /// Every enabled tier answers.
    [[nodiscard]] bool ok() const noexcept { return ok_; }
    /// One line for an operator about a tier; "disabled" when it is off.
    [[nodiscard]] const std::string& detail(TierId tier) const noexcept {
        switch (tier) {
            case TierId::memory:
                return memory_detail_;
            case TierId::redis:
                return redis_detail_;
            case TierId::disk:
                return disk_detail_;
            case TierId::none:
            case TierId::other:
                break;
        }
        return other_detail_;
    }

    /// For whoever fills it in.
    void report(TierId tier, bool answering, std::string text) {
        if (!answering) ok_ = false;
        switch (tier) {
            case TierId::memory:
                memory = answering;
                memory_detail_ = std::move(text);
                return;
            case TierId::redis:
                redis = answering;
                redis_detail_ = std::move(text);
                return;
            case TierId::disk:
                disk = answering;
                disk_detail_ = std::move(text);
                return;
            case TierId::none:
            case TierId::other:
                other_detail_ = std::move(text);
                return;
        }
    }

  private:
    bool ok_ = true;
    std::string memory_detail_ = "disabled";
    std::string redis_detail_ = "disabled";
    std::string disk_detail_ = "disabled";
    std::string other_detail_ = "disabled";
};

}  // namespace smartcache::inline v0
