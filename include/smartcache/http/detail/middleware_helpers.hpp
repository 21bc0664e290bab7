#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/executor.hpp>
#include <smartcache/facade/entry_options.hpp>
#include <smartcache/http/detail/text.hpp>
#include <smartcache/http/key_generator.hpp>
#include <smartcache/http/message.hpp>
#include <smartcache/http/options.hpp>
#include <smartcache/http/reason.hpp>
#include <smartcache/http/rules.hpp>
#include <smartcache/http/semantics/conditional.hpp>
#include <smartcache/http/semantics/reuse.hpp>
#include <smartcache/http/semantics/storability.hpp>
#include <smartcache/http/semantics/vary.hpp>

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

/// The GET that its client would send instead of `request`: without conditions, and without what is about its content.
[[nodiscard]] inline Request get_like(const Request& request) {
    Request get = request;
    get.state.reset();
    get.method = "GET";
    get.body = {};
    remove_conditions(get.headers);
    for (const std::string_view about_content :
         {"Content-Length", "Transfer-Encoding", "Content-Type", "Content-Encoding", "Expect"})
        get.headers.remove(about_content);
    return get;
}

/// Whether a request names a field of its own in Connection that `selects(name)`. It is taken out on the way (RFC 9110
/// section 7.6.1), so what the origin answers was not made for it.
template <class Selects>
[[nodiscard]] bool hides_field(const Headers& request, Selects&& selects) {
    if (!request.has("Connection")) return false;
    const ConnectionOptions options(request);
    return std::any_of(request.begin(), request.end(), [&](const Headers::Field& field) {
        return !is_hop_by_hop(field.name) && options.nominate(field.name) && selects(field.name);
    });
}
[[nodiscard]] inline bool hides_field(const Headers& request) {
    return hides_field(request, [](std::string_view) { return true; });
}

/// Whether `name` is one of those that select a variant.
[[nodiscard]] inline bool selects_by(const FieldNames& names, std::string_view name) {
    return std::any_of(names.begin(), names.end(),
                       [name](std::string_view each) { return equal_ignoring_case(each, name); });
}

/// RFC 9111 section 4.3 lets only these wait for, or fetch for, others.
[[nodiscard]] inline bool asks_for_the_whole(const Request& request) {
    return !request.headers.has("Range") && !request.headers.has("Authorization") &&
           !hides_field(request.headers);
}

/// Refusals that mean the request was none of the cache's business, known only from its response.
[[nodiscard]] constexpr bool is_skip(Reason reason) noexcept {
    return reason == Reason::authorization || reason == Reason::cookie;
}

/// Two lengths of time, neither negative, one after the other.
[[nodiscard]] constexpr Duration sum(Duration a, Duration b) noexcept {
    return a > Duration::max() - b ? Duration::max() : a + b;
}

/// Whether a cache takes so many and so long tags.
[[nodiscard]] inline bool can_store(const std::vector<std::string>& tags) {
    return tags.size() <= max_tags && std::all_of(tags.begin(), tags.end(), [](const std::string& tag) {
               return tag.size() <= max_tag_size;
           });
}

/// Whether a PURGE request asks to make stale what it names, rather than to forget it.
[[nodiscard]] inline bool asks_for_soft_purge(const Headers& headers) {
    return headers.value("Soft-Purge") == "1" || headers.value("Fastly-Soft-Purge") == "1";
}

/// Whether the cache says that its lifetime has ended, of itself or by a soft purge.
template <class Lookup>
[[nodiscard]] bool stale(const Lookup& lookup) noexcept {
    if constexpr (requires { lookup.stale(); })
        return lookup.stale();
    else
        return false;
}

/// What the cache says is left of its lifetime, where it does.
template <class Lookup>
[[nodiscard]] Duration lifetime_left(const Lookup& lookup) noexcept {
    if constexpr (requires { lookup.ttl(); })
        return lookup.ttl();
    else
        return Duration::zero();
}

/// The response is not fresh from `now` on. For how long it has not been, a soft purge does not say.
inline void end_lifetime(StoredMeta& meta, WallTime now) noexcept {
    meta.lifetime = std::min(meta.lifetime, meta.age(now));
}

/// Has `task` done by `executor`; here, where that takes no more.
template <class Task>
void run_by(Executor& executor, const Task& task) {
    if (!executor.submit(task)) task();
}

[[nodiscard]] inline std::string whole_seconds(Duration length) {
    return std::to_string(std::chrono::floor<std::chrono::seconds>(length).count());
}

}  // namespace smartcache::inline v0::http::detail
