#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/http/cache_control.hpp>
#include <smartcache/http/message.hpp>
#include <smartcache/http/semantics/freshness.hpp>
#include <smartcache/http/url.hpp>

namespace smartcache::inline v0::http {

/// RFC 9110 section 9.2.1. A method this cache does not know is not safe (RFC 9111 section 4.4).
[[nodiscard]] constexpr bool is_safe(std::string_view method) noexcept {
    return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "TRACE";
}

[[nodiscard]] inline Url url_of(const Request& request) {
    return {request.scheme, request.host, request.path, request.query};
}

/// Whose stored responses this exchange makes invalid (RFC 9111 section 4.4): after a success of an unsafe
/// method the target, and what Location and Content-Location name on the same origin (nobody may invalidate
/// other sites' pages).
[[nodiscard]] inline std::vector<Url> invalidated_by(const Request& request, const Response& response) {
    std::vector<Url> urls;
    if (is_safe(request.method) || response.status < 200 || response.status > 399) return urls;
    const Url target = url_of(request);
    urls.push_back(target);
    for (const std::string_view name : {"Location", "Content-Location"}) {
        const auto value = response.headers.get(name);
        if (!value) continue;
        auto url = resolve(target, *value);
        if (url && same_origin(*url, target) && *url != target) urls.push_back(std::move(*url));
    }
    return urls;
}

/// Does the response to this POST hold what a GET of its target would get? Only with explicit freshness and a
/// Content-Location that is the target (RFC 9110 section 9.3.3).
///
/// @param control  the response's
[[nodiscard]] inline bool answers_get(const Request& post, const Response& response,
                                      const CacheControl& control, WallTime now) {
    if (post.method != "POST" || response.status != 200 || response.headers.count("Content-Location") != 1)
        return false;
    const Url target = url_of(post);
    const auto url = resolve(target, response.headers.value("Content-Location"));
    return url && same_origin(*url, target) && url->path == target.path && url->query == target.query &&
           explicit_freshness(control, response.headers, now).source != FreshnessSource::none;
}

}  // namespace smartcache::inline v0::http
