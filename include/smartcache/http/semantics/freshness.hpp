#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string_view>

#include <smartcache/core/clock.hpp>
#include <smartcache/http/cache_control.hpp>
#include <smartcache/http/date.hpp>
#include <smartcache/http/headers.hpp>
#include <smartcache/http/semantics/age.hpp>

namespace smartcache::inline v0::http {

/// Where a freshness lifetime comes from.
enum class FreshnessSource { none, s_maxage, max_age, expires, default_ttl, rule };

/// How long a response is fresh, counted from its making at the origin.
struct Freshness {
    Duration lifetime{0};
    FreshnessSource source = FreshnessSource::none;
};

/// What the origin itself says (RFC 9111 section 4.2.1): s-maxage, then max-age, then Expires minus Date.
///
/// Anything that cannot be read says "stale": a directive whose argument is no number, an Expires that is no
/// date (section 5.3: "in particular the value 0"). `source` is none when nothing is said.
///
/// @param response_time  stands in for a missing Date
[[nodiscard]] inline Freshness explicit_freshness(const CacheControl& control, const Headers& headers,
                                                  WallTime response_time) {
    if (control.s_maxage) return {control.s_maxage.seconds(), FreshnessSource::s_maxage};
    if (control.max_age) return {control.max_age.seconds(), FreshnessSource::max_age};
    const auto expires = headers.get("Expires");
    if (!expires || control.targeted) return {};
    // Several Expires lines: the first counts, as with directives.
    const auto end = parse_date(*expires, response_time);
    if (!end) return {Duration::zero(), FreshnessSource::expires};
    const WallTime date =
        date_value(headers, response_time).value_or(std::chrono::floor<std::chrono::seconds>(response_time));
    return {std::max<Duration>(Duration::zero(), *end - date), FreshnessSource::expires};
}

/// RFC 9110 section 15.1: statuses that may be stored without explicit freshness.
[[nodiscard]] constexpr bool heuristically_cacheable(int status) noexcept {
    switch (status) {
        case 200:
        case 203:
        case 204:
        case 206:
        case 300:
        case 301:
        case 308:
        case 404:
        case 405:
        case 410:
        case 414:
        case 501:
            return true;
        default:
            return false;
    }
}

}  // namespace smartcache::inline v0::http
