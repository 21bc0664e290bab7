#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/http/key_generator.hpp>
#include <smartcache/http/message.hpp>
#include <smartcache/http/options.hpp>
#include <smartcache/http/reason.hpp>
#include <smartcache/http/rules.hpp>

// What the middleware needs besides the semantics: small functions without state.
namespace smartcache::inline v0::http::detail {

template <class Range, class Value>
[[nodiscard]] bool holds(const Range& range, const Value& value) {
    for (const auto& member : range)
        if (member == value) return true;
    return false;
}

[[nodiscard]] inline bool any_path_matches(const std::vector<std::string>& patterns, std::string_view path) {
    for (const std::string& pattern : patterns)
        if (matches_path(pattern, path)) return true;
    return false;
}

[[nodiscard]] inline KeyOptions key_options(const MiddlewareOptions& options) {
    KeyOptions keys;
    keys.ignore_query_params = options.ignore_query_params;
    keys.headers = options.cache_headers;
    keys.headers.insert(keys.headers.end(), options.cache_vary_headers.begin(),
                        options.cache_vary_headers.end());
    keys.cookies = options.cache_cookies;
    keys.custom = options.custom_key_generator;
    return keys;
}

[[nodiscard]] inline Response short_response(int status, std::string_view text) {
    Response response{status, {{"Content-Type", "text/plain"}}, std::string(text) + "\n"};
    response.headers.add("Content-Length", std::to_string(response.body.size()));
    return response;
}

/// RFC 9111 section 4.3 lets only these wait for, or fetch for, others.
[[nodiscard]] inline bool asks_for_the_whole(const Request& request) {
    return !request.headers.has("Range") && !request.headers.has("Authorization");
}

/// Refusals that mean the request was none of the cache's business, known only from its response.
[[nodiscard]] constexpr bool is_skip(Reason reason) noexcept {
    return reason == Reason::authorization || reason == Reason::cookie;
}

[[nodiscard]] inline std::string whole_seconds(Duration length) {
    return std::to_string(std::chrono::floor<std::chrono::seconds>(length).count());
}

}  // namespace smartcache::inline v0::http::detail
