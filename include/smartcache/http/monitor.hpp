#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <smartcache/facade/monitor.hpp>
#include <smartcache/http/middleware_stats.hpp>
#include <smartcache/http/reason.hpp>

// A middleware's counters for those who watch it; the cache's own are in facade/monitor.hpp.
namespace smartcache::inline v0::http {

namespace detail {

/// The counters by name, in the order of `MiddlewareStats`; without the reasons and the total.
[[nodiscard]] inline std::array<std::pair<std::string_view, std::uint64_t>, 11> named_counters(
    const MiddlewareStats& stats) {
    return {{{"hits", stats.cache_hits},
             {"misses", stats.cache_misses},
             {"stores", stats.cache_sets},
             {"skips", stats.cache_skips},
             {"revalidated", stats.revalidated},
             {"stale_served", stats.stale_served},
             {"collapsed", stats.collapsed},
             {"not_modified", stats.not_modified},
             {"invalidations", stats.invalidations},
             {"purges", stats.purges},
             {"purges_untold", stats.purges_untold}}};
}

}  // namespace detail

/// The counters as a JSON object; "reasons" holds those that are not 0.
[[nodiscard]] inline std::string to_json(const MiddlewareStats& stats) {
    smartcache::detail::JsonObject json;
    json.number("requests", stats.total_requests);
    for (const auto& [name, value] : detail::named_counters(stats)) json.number(name, value);
    smartcache::detail::JsonObject reasons;
    for (std::size_t i = 0; i < stats.reasons.size(); ++i)
        if (stats.reasons[i] != 0) reasons.number(to_string(static_cast<Reason>(i)), stats.reasons[i]);
    json.raw("reasons", reasons.close());
    return json.close();
}

/// The counters in Prometheus' text exposition format, to stand beside those of the cache (`prometheus_text`).
[[nodiscard]] inline std::string prometheus_text(const MiddlewareStats& stats) {
    smartcache::detail::PrometheusText out;
    out.family("smartcache_http_requests_total", "counter", "Requests that came to the middleware.")
        .sample("", stats.total_requests);
    out.family("smartcache_http_events_total", "counter",
               "Outcomes of requests (hits, misses and skips are all of them) and what came with them.");
    for (const auto& [name, value] : detail::named_counters(stats))
        out.sample("event=\"" + std::string(name) + '"', value);
    out.family("smartcache_http_reasons_total", "counter",
               "Why requests were skipped and responses not stored.");
    for (std::size_t i = 1; i < stats.reasons.size(); ++i)
        out.sample("reason=\"" + std::string(to_string(static_cast<Reason>(i))) + '"', stats.reasons[i]);
    return out.take();
}

}  // namespace smartcache::inline v0::http
