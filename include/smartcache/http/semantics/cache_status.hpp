#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include <smartcache/core/clock.hpp>
#include <smartcache/http/detail/text.hpp>
#include <smartcache/http/headers.hpp>

namespace smartcache::inline v0::http {

/// What one cache did with one request: a member of Cache-Status (RFC 9211 section 2).
struct CacheStatus {
    /// Why the request went to the origin (section 2.2).
    enum class Forward { none, bypass, method, uri_miss, vary_miss, miss, request, stale, partial };

    bool hit = false;
    Forward fwd = Forward::none;
    int fwd_status = 0;           ///< the origin's status where it differs from the response's; 0: left out
    std::optional<Duration> ttl;  ///< freshness that remains; negative when stale
    bool stored = false;
    bool collapsed = false;
    std::string_view detail;  ///< here the tier that answered, or the name of a `Reason`
};

[[nodiscard]] constexpr std::string_view to_string(CacheStatus::Forward forward) noexcept {
    switch (forward) {
        case CacheStatus::Forward::none:
            return "";
        case CacheStatus::Forward::bypass:
            return "bypass";
        case CacheStatus::Forward::method:
            return "method";
        case CacheStatus::Forward::uri_miss:
            return "uri-miss";
        case CacheStatus::Forward::vary_miss:
            return "vary-miss";
        case CacheStatus::Forward::miss:
            return "miss";
        case CacheStatus::Forward::request:
            return "request";
        case CacheStatus::Forward::stale:
            return "stale";
        case CacheStatus::Forward::partial:
            return "partial";
    }
    return "";
}

/// Writes the member: `SmartCache; fwd=uri-miss; stored`. A name that is no token is written as a string.
[[nodiscard]] inline std::string format_cache_status(std::string_view cache_name, const CacheStatus& status) {
    using namespace std::string_view_literals;
    std::string text;
    text.reserve(cache_name.size() + 64);
    // RFC 8941 section 3.3.4: a token starts with a letter or "*".
    if (detail::is_token(cache_name) && !detail::is_digit(cache_name.front())) {
        text = cache_name;
    } else {
        text += '"';
        for (const char c : cache_name) {
            if (c < ' ' || c > '~') continue;
            if (c == '"' || c == '\\') text += '\\';
            text += c;
        }
        text += '"';
    }
    if (status.hit) text += "; hit"sv;
    if (status.fwd != CacheStatus::Forward::none) text.append("; fwd="sv).append(to_string(status.fwd));
    if (status.fwd_status != 0) text.append("; fwd-status="sv).append(std::to_string(status.fwd_status));
    if (status.ttl)
        text.append("; ttl="sv)
            .append(std::to_string(std::chrono::floor<std::chrono::seconds>(*status.ttl).count()));
    if (status.stored) text += "; stored"sv;
    if (status.collapsed) text += "; collapsed"sv;
    if (!status.detail.empty()) text.append("; detail="sv).append(status.detail);
    return text;
}

}  // namespace smartcache::inline v0::http
