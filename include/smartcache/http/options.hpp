#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/error.hpp>
#include <smartcache/core/log.hpp>
#include <smartcache/http/message.hpp>
#include <smartcache/http/rules.hpp>
#include <smartcache/http/semantics/storability.hpp>

namespace smartcache::inline v0::http {

/// What `on_request` decides: go on, keep the cache out of it, or answer at once.
///
///     .on_request = [](const Request& r) -> RequestVerdict {
///         if (r.headers.has("Bypass-Cache")) return RequestVerdict::bypass();
///         return RequestVerdict::proceed();
///     }
class RequestVerdict {
  public:
    enum class Kind { proceed, bypass, respond };

    RequestVerdict() = default;
    RequestVerdict(Response response)
        : kind_(Kind::respond), response_(std::move(response)) {}  // implicit: `return r;`
    [[nodiscard]] static RequestVerdict proceed() { return {}; }
    [[nodiscard]] static RequestVerdict bypass() {
        RequestVerdict verdict;
        verdict.kind_ = Kind::bypass;
        return verdict;
    }
    [[nodiscard]] Kind kind() const noexcept { return kind_; }
    [[nodiscard]] Response& response() noexcept { return response_; }

  private:
    Kind kind_ = Kind::proceed;
    Response response_;
};

/// What `on_response` is: `void(const Request&, Response&)` or `bool(const Request&, Response&)`, where false
/// means "do not store this one". It sees what the origin sent, before it is judged, and may change it.
class ResponseHook {
  public:
    ResponseHook() = default;
    template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, ResponseHook> &&
             std::is_invocable_v<F&, const Request&, Response&>)
        ResponseHook(F hook) {  // implicit: options are given lambdas
        if constexpr (std::is_convertible_v<std::invoke_result_t<F&, const Request&, Response&>, bool>) {
            hook_ = std::move(hook);
        } else {
            hook_ = [hook = std::move(hook)](const Request& request, Response& response) mutable {
                hook(request, response);
                return true;
            };
        }
    }
    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(hook_); }
    bool operator()(const Request& request, Response& response) const { return hook_(request, response); }

  private:
    std::function<bool(const Request&, Response&)> hook_;
};

/// What the HTTP cache does where RFC 9110 and RFC 9111 leave a choice. Start from `api_cache`,
/// `static_cache` or `page_cache` and change what you need. Callables must be callable from any thread.
struct MiddlewareOptions {
    /// Lifetime of responses about whose freshness the origin says nothing; 0: such responses are not stored.
    /// Never applied to a response to a request with a Cookie, unless all of its cookies are part of the key: by
    /// `cache_cookies`, or by a Vary, `cache_headers` or `cache_vary_headers` that name Cookie. What
    /// `custom_key_generator` makes does not count: nobody knows what it looks at.
    Duration default_ttl = std::chrono::hours(1);
    /// Methods answered from the store. Only GET and HEAD can be in it: RFC 9111 gives no other a meaning.
    std::vector<std::string> cache_methods{"GET", "HEAD"};
    /// Statuses to which `default_ttl` applies. Explicit freshness holds for every status. 302 is among them, though RFC
    /// 9110 section 15.1 lets nobody guess for it: leave it out where redirects depend on more than the address.
    std::vector<int> cache_status_codes{200, 301, 302, 404};
    /// Query parameters that do not change the answer: left out of the key, still forwarded. One that does all the same,
    /// be it that the page only repeats it (in a link, a form, a script), lets whoever sends it first decide what the
    /// others get: then take it out of this list. Parameters with a ';' in them stay in the key.
    std::vector<std::string> ignore_query_params{"_", "timestamp", "cache_buster"};
    /// Request fields that select a variant, whatever the response's Vary says; compared in normalised form.
    std::vector<std::string> cache_headers{"accept", "accept-encoding", "accept-language"};
    /// More of them.
    std::vector<std::string> cache_vary_headers{};
    /// Paths that are never cached: prefixes, and globs where there is a "*".
    std::vector<std::string> exclude_paths{};
    /// If not empty, only these paths are cached.
    std::vector<std::string> include_paths{};
    /// Store private responses too, each for the Authorization and Cookie it was made for; never one to a request with
    /// neither, nor, unless `set_cookie` says so, one that sets a cookie.
    bool cache_private = false;
    /// Store responses to requests with Authorization too, each for that Authorization, unless they are for
    /// everybody.
    bool cache_authenticated = false;
    /// Replaces the key of a resource. An empty key means "do not cache"; a throw means the same. Called with more than
    /// requests to be answered: with a GET that has the fields of an unsafe request, for what that one invalidates, and
    /// with an address alone, for `purge` and PURGE.
    std::function<std::string(const Request&)> custom_key_generator{};
    /// What holds for some paths only; a rule overrides what stands here.
    Rules rules{};
    /// How long a stale response may still be served when the origin fails, where it does not say so itself
    /// and nothing forbids it (RFC 9111 section 4.2.4). must-revalidate, proxy-revalidate and no-cache do, and so does
    /// s-maxage, which implies proxy-revalidate (section 5.2.2.10).
    Duration grace{0};
    /// What to do with responses that set cookies.
    SetCookie set_cookie = SetCookie::refuse_unless_public;
    /// Give a strong ETag to stored 200 responses that come without one. Costs a hash of the body.
    bool generate_etags = false;
    /// Send X-Cache, X-Cache-Time (age in seconds, on hits) and X-Cache-TTL (on responses just stored).
    bool debug_headers = true;
    /// The name in Cache-Status; empty: that field is not sent.
    std::string cache_name = "SmartCache";
    /// Who may send PURGE requests; without it they are forwarded like any other method. With a field "Soft-Purge: 1"
    /// or "Fastly-Soft-Purge: 1" what is stored turns stale instead of being forgotten.
    std::function<bool(const Request&)> purge{};
    /// Who may send PURGE requests that end more than the resource they are sent to: by the tags in one of
    /// `tag_fields`, whatever host they belong to, or by a path that ends in "/*". Absent: nobody (403).
    std::function<bool(const Request&)> purge_many{};
    std::function<RequestVerdict(const Request&)> on_request{};
    ResponseHook on_response{};
    /// One line per request.
    Logger log{};
    /// Cookies that select a variant.
    std::vector<std::string> cache_cookies{};
    /// Concurrent misses of one resource share one request to the origin.
    bool collapse = true;
    /// How long a request waits for another's before it goes to the origin alone. Real time.
    Duration collapse_timeout = std::chrono::seconds(10);
    /// Targeted fields (RFC 9213) that speak instead of Cache-Control and Expires: the first one that is
    /// valid and not empty. Empty this where the application's CDN-Cache-Control is for caches farther out
    /// only.
    std::vector<std::string> targeted_fields{"CDN-Cache-Control"};
    /// Let clients make the cache ask the origin, with no-cache, max-age=0 or Pragma. RFC 9111 section 5.2.1
    /// calls what requests say advice. Turn it off where reloading clients are more than the origin can bear;
    /// what is stored then answers them as long as it is fresh.
    bool obey_client_reload = true;
    /// Response fields in which the origin names tags of a response, for `purge_tag`; see `for_each_tag`. Needs a cache
    /// that has tags. A response with more than `max_tags` is not stored, lest a purge miss it.
    std::vector<std::string> tag_fields{"Cache-Tag", "Surrogate-Key", "xkey"};
    /// Keep those fields from clients. Not where a cache farther out, such as a CDN, takes its tags from them.
    bool hide_tags = false;
    /// For `purge_prefix`: as many folders of a path, from the host down (0), have a tag of their own in every response
    /// below them. Each costs a reference in memory and its text in the tiers below. At most 16.
    std::optional<std::size_t> purge_depth{};
    /// How long a stale response is kept for validation, when it has an ETag or Last-Modified.
    Duration keep_stale = std::chrono::hours(24);

    /// @throws ConfigError naming every wrong field
    void validate() const;
};

namespace detail {

template <class Change>
MiddlewareOptions changed(MiddlewareOptions options, Change&& change) {
    std::forward<Change>(change)(options);
    return options;
}

template <class F>
concept OptionsChange = std::is_invocable_v<F, MiddlewareOptions&>;

}  // namespace detail

/// For APIs: 200 and 404 of GET and HEAD, by Accept and Accept-Encoding.
///
/// BEWARE of API keys in fields of their own: an API that tells its callers apart by X-Api-Key or the like, and says neither
/// Vary nor Cache-Control, has one caller's answers served to all others for `ttl`. Name that field in `cache_headers`.
/// Authorization and Cookie are seen to.
[[nodiscard]] inline MiddlewareOptions api_cache(Duration ttl = std::chrono::seconds(300)) {
    MiddlewareOptions options;
    options.default_ttl = ttl;
    options.cache_status_codes = {200, 404};
    options.cache_headers = {"accept", "accept-encoding"};
    return options;
}

/// For files: /static, /assets, /images, /css and /js only, for logged-in users too.
[[nodiscard]] inline MiddlewareOptions static_cache(Duration ttl = std::chrono::hours(24)) {
    MiddlewareOptions options;
    options.default_ttl = ttl;
    options.include_paths = {"/static", "/assets", "/images", "/css", "/js"};
    options.cache_authenticated = true;
    return options;
}

/// For pages: 200 of GET, by Accept, Accept-Encoding and Accept-Language.
[[nodiscard]] inline MiddlewareOptions page_cache(Duration ttl = std::chrono::hours(1)) {
    MiddlewareOptions options;
    options.default_ttl = ttl;
    options.cache_methods = {"GET"};
    options.cache_status_codes = {200};
    options.cache_vary_headers = {"accept-language"};
    return options;
}

/// The same, changed by `change(MiddlewareOptions&)`: `static_cache(1h, [](auto& o) { o.include_paths =
/// {"/x"}; })`.
template <detail::OptionsChange Change>
[[nodiscard]] MiddlewareOptions api_cache(Duration ttl, Change&& change) {
    return detail::changed(api_cache(ttl), std::forward<Change>(change));
}
template <detail::OptionsChange Change>
[[nodiscard]] MiddlewareOptions api_cache(Change&& change) {
    return detail::changed(api_cache(), std::forward<Change>(change));
}
template <detail::OptionsChange Change>
[[nodiscard]] MiddlewareOptions static_cache(Duration ttl, Change&& change) {
    return detail::changed(static_cache(ttl), std::forward<Change>(change));
}
template <detail::OptionsChange Change>
[[nodiscard]] MiddlewareOptions static_cache(Change&& change) {
    return detail::changed(static_cache(), std::forward<Change>(change));
}
template <detail::OptionsChange Change>
[[nodiscard]] MiddlewareOptions page_cache(Duration ttl, Change&& change) {
    return detail::changed(page_cache(ttl), std::forward<Change>(change));
}
template <detail::OptionsChange Change>
[[nodiscard]] MiddlewareOptions page_cache(Change&& change) {
    return detail::changed(page_cache(), std::forward<Change>(change));
}

namespace detail {

class OptionsChecker {
  public:
    void length(std::string field, Duration value) {
        if (value < Duration::zero())
            problems_.push_back({std::move(field), std::to_string(value.count()) + " ms", "0 or more"});
    }
    void names(const std::string& field, const std::vector<std::string>& names, std::string_view what) {
        for (const std::string& name : names)
            if (!is_token(name)) problems_.push_back({field, '"' + name + '"', std::string(what)});
    }
    void methods(const std::string& field, const std::vector<std::string>& methods) {
        for (const std::string& method : methods)
            if (method != "GET" && method != "HEAD")
                problems_.push_back({field, '"' + method + '"', "GET, HEAD"});
    }
    void statuses(const std::string& field, const std::vector<int>& statuses) {
        for (const int status : statuses)
            if (status < 200 || status > 999 || status == 206 || status == 304)
                problems_.push_back({field, std::to_string(status), "200 to 999 without 206 and 304"});
    }
    void patterns(const std::string& field, const std::vector<std::string>& patterns) {
        for (const std::string& pattern : patterns) this->pattern(field, pattern);
    }
    void pattern(const std::string& field, const std::string& pattern) {
        if (!pattern.starts_with('/') && !pattern.starts_with('*'))
            problems_.push_back({field, '"' + pattern + '"', "a path or glob that starts with / or *"});
    }
    void wrong(std::string field, std::string value, std::string allowed) {
        problems_.push_back({std::move(field), std::move(value), std::move(allowed)});
    }
    void finish() {
        if (!problems_.empty()) throw ConfigError(std::move(problems_));
    }

  private:
    std::vector<ConfigProblem> problems_;
};

}  // namespace detail

inline void MiddlewareOptions::validate() const {
    detail::OptionsChecker check;
    check.length("default_ttl", default_ttl);
    check.methods("cache_methods", cache_methods);
    check.statuses("cache_status_codes", cache_status_codes);
    check.names("cache_headers", cache_headers, "names of header fields");
    check.names("cache_vary_headers", cache_vary_headers, "names of header fields");
    check.patterns("exclude_paths", exclude_paths);
    check.patterns("include_paths", include_paths);
    std::size_t i = 0;
    for (const Rule& rule : rules) {
        const std::string field = "rules[" + std::to_string(i++) + "].";
        check.pattern(field + "pattern", rule.pattern);
        check.length(field + "ttl", rule.ttl.value_or(Duration::zero()));
        check.length(field + "force_ttl", rule.force_ttl.value_or(Duration::zero()));
        check.length(field + "grace", rule.grace.value_or(Duration::zero()));
        if (rule.methods) check.methods(field + "methods", *rule.methods);
        if (rule.status_codes) check.statuses(field + "status_codes", *rule.status_codes);
        check.names(field + "vary_headers", rule.vary_headers, "names of header fields");
    }
    check.length("grace", grace);
    check.names("cache_cookies", cache_cookies, "names of cookies");
    check.length("collapse_timeout", collapse_timeout);
    check.names("targeted_fields", targeted_fields, "names of header fields");
    check.names("tag_fields", tag_fields, "names of header fields");
    check.length("keep_stale", keep_stale);
    if (purge_depth && *purge_depth > 16) check.wrong("purge_depth", std::to_string(*purge_depth), "0 to 16");
    if (purge_many && !purge) check.wrong("purge_many", "given", "absent, as long as purge is");
    check.finish();
}

}  // namespace smartcache::inline v0::http
