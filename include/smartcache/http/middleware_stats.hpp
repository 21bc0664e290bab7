#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <smartcache/http/reason.hpp>

namespace smartcache::inline v0::http {

/// What a middleware counted since it started or was cleared. Every request has one outcome:
/// cache_hits + cache_misses + cache_skips == total_requests.
struct MiddlewareStats {
    std::uint64_t cache_hits = 0;  ///< answered from the store without asking the origin
    std::uint64_t cache_misses =
        0;  ///< the cache's business, but the origin was asked (or `only-if-cached` failed)
    std::uint64_t cache_sets = 0;   ///< responses stored, updates by 304 included
    std::uint64_t cache_skips = 0;  ///< not the cache's business; why is in `reasons`
    std::uint64_t total_requests = 0;

    std::uint64_t revalidated = 0;  ///< misses that the origin answered with 304
    std::uint64_t stale_served =
        0;  ///< answers given stale: accepted by the client, or because the origin failed
    std::uint64_t collapsed = 0;      ///< hits that waited for another request's response
    std::uint64_t not_modified = 0;   ///< answers to a client's condition with 304
    std::uint64_t invalidations = 0;  ///< resources invalidated by unsafe methods
    std::uint64_t purges = 0;         ///< resources, tags and prefixes purged
    /// Purges that a tier has not acknowledged at once. It is told again before anything is read from it; until then other
    /// processes that share it may go on with what was purged.
    std::uint64_t purges_untold = 0;

    /// Why requests were skipped and responses not stored, by `Reason`.
    std::array<std::uint64_t, static_cast<std::size_t>(Reason::count_)> reasons{};
    [[nodiscard]] std::uint64_t reason(Reason r) const noexcept {
        return reasons[static_cast<std::size_t>(r)];
    }
};

/// The whole picture: the middleware's counters (also as members of this struct) and its cache's.
template <class CacheStats, class CacheHealth>
struct MiddlewareReport : MiddlewareStats {
    MiddlewareStats middleware_stats;
    CacheStats cache_stats;
    double overall_hit_ratio = 0;    ///< hits / all requests, skips included
    double cacheable_hit_ratio = 0;  ///< hits / (hits + misses)
    CacheHealth cache_health;
};

}  // namespace smartcache::inline v0::http
