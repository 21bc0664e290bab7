#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/http/cache_control.hpp>
#include <smartcache/http/headers.hpp>
#include <smartcache/http/message.hpp>
#include <smartcache/http/reason.hpp>
#include <smartcache/http/semantics/age.hpp>
#include <smartcache/http/semantics/freshness.hpp>
#include <smartcache/http/semantics/partial.hpp>
#include <smartcache/http/semantics/reuse.hpp>

namespace smartcache::inline v0::http {

/// What a shared cache does with a response that sets a cookie. RFC 9111 section 7.3 leaves it to the origin
/// to forbid storing; in practice few do, and the cookie of one user would be handed to all others.
enum class SetCookie {
    refuse_unless_public,  ///< stored only where Cache-Control says public
    rfc,                   ///< stored like any other response, cookie included
    strip,                 ///< stored without the cookie; the client that caused it still gets it
};

/// What the operator decides; everything else is RFC 9111's. The defaults are those of a plain shared cache.
struct StorePolicy {
    bool cache_private = false;        ///< store private responses too (the key tells the users apart)
    bool cache_authenticated = false;  ///< store responses to requests with Authorization (likewise)
    SetCookie set_cookie = SetCookie::refuse_unless_public;
    std::optional<Duration>
        default_ttl;  ///< for this status, where the origin says nothing; nullopt: do not store
    std::optional<Duration> force_ttl;  ///< instead of whatever the origin says about freshness
    bool cookie_in_key = false;         ///< requests with different cookies cannot share the response
    Duration grace{0};                  ///< stale-if-error where the origin is silent
};

/// The answer to "may this be stored?": a reason against it, or what to store it with.
struct StoreDecision {
    Reason refused = Reason::none;
    StoredMeta meta;
    FreshnessSource source = FreshnessSource::none;
    bool per_user = false;  ///< Authorization and Cookie must become part of the key
    bool strip_cookie = false;
};

namespace detail {

/// The final statuses whose caching requirements this cache implements: with must-understand, only these are
/// stored (RFC 9111 section 5.2.2.3). 304 never gets here.
[[nodiscard]] constexpr bool understood_status(int status) noexcept {
    switch (status) {
        case 302:
        case 303:
        case 307:
            return true;
        default:
            return heuristically_cacheable(status);
    }
}

/// RFC 9111 section 3.5: what lets a response to a request with Authorization be reused for others.
[[nodiscard]] inline bool shared_with_users(const CacheControl& response) noexcept {
    return response.public_ || response.must_revalidate || response.s_maxage.present;
}

[[nodiscard]] inline bool has_validator(const Headers& headers) noexcept {
    return headers.has("ETag") || headers.has("Last-Modified");
}

/// Is the content as long as the response says? Several lengths that differ are a broken message (RFC
/// 9110 8.6).
[[nodiscard]] inline bool length_verified(const Response& response) {
    bool ok = true;
    response.headers.for_each_member("Content-Length", [&](std::string_view member) {
        const auto length = parse_digits(member, INT64_MAX);
        ok = ok && length && static_cast<std::uint64_t>(*length) == response.body.size();
    });
    return ok;
}

}  // namespace detail

/// May a shared cache store this complete or partial (206) response to a GET, and for how long? (RFC 9111
/// section 3)
///
/// @param control   the response's Cache-Control, or what a targeted field says instead
/// @param complete  the content is there, so that its length can be compared
[[nodiscard]] inline StoreDecision may_store(const Request& request, const Response& response,
                                             const CacheControl& control, WallTime request_time,
                                             WallTime response_time, const StorePolicy& policy,
                                             bool complete = true) {
    StoreDecision decision;
    const auto refuse = [&decision](Reason reason) {
        decision.refused = reason;
        return decision;
    };

    if (response.status < 200 || response.status > 999) return refuse(Reason::status);
    // A 304 is an update, never a response to store. Section 3.3: a part is stored if it was asked for, and
    // says which bytes of how many it holds; several parts in one response are not.
    if (response.status == 304) return refuse(Reason::partial);
    if (response.status == 206) {
        const auto held = complete ? part_of(response.headers, response.body.size())
                                   : parse_content_range(response.headers.value("Content-Range"));
        if (!request.headers.has("Range") || !held) return refuse(Reason::partial);
    }
    // Section 5.2.2.3: must-understand overrides no-store where the status is understood, and forbids all
    // others.
    if (control.must_understand && !detail::understood_status(response.status)) return refuse(Reason::status);
    if (control.no_store && !control.must_understand) return refuse(Reason::no_store);  // section 5.2.2.5

    if (control.private_.whole && !policy.cache_private) return refuse(Reason::private_);  // section 5.2.2.7
    decision.per_user = control.private_.whole;
    if (request.headers.has("Authorization") && !detail::shared_with_users(control)) {  // section 3.5
        if (!policy.cache_authenticated) return refuse(Reason::authorization);
        decision.per_user = true;
    }
    // Without credentials the key would be that of every other anonymous client.
    if (decision.per_user && !request.headers.has("Authorization") && !request.headers.has("Cookie"))
        return refuse(Reason::private_);

    bool vary_any = false;  // section 4.1: a member "*" never matches, so storing it is of no use
    response.headers.for_each_member("Vary",
                                     [&](std::string_view member) { vary_any = vary_any || member == "*"; });
    if (vary_any) return refuse(Reason::vary);

    if (response.headers.has("Set-Cookie")) {
        if (policy.set_cookie == SetCookie::strip) decision.strip_cookie = true;
        if (policy.set_cookie == SetCookie::refuse_unless_public && !control.public_)
            return refuse(Reason::set_cookie);
    }
    if (complete && !detail::length_verified(response)) return refuse(Reason::incomplete);

    Freshness fresh = explicit_freshness(control, response.headers, response_time);
    const bool silent = fresh.source == FreshnessSource::none;
    if (policy.force_ttl) {
        fresh = {*policy.force_ttl, FreshnessSource::rule};
    } else if (silent && !control.no_cache.whole) {
        if (!policy.default_ttl) return refuse(Reason::no_freshness);
        // RFC 9111 section 5.4 gives Pragma no meaning in a response, but who sends it alone does not want guesses.
        if (!control.present && detail::says_no_cache(response.headers)) return refuse(Reason::no_cache);
        // Section 4.2.2 lets a cache guess. What was made for a cookie is probably made for its owner: no
        // guessing, unless the cookie is part of the key or the origin says that everybody may have it.
        if (request.headers.has("Cookie") && !control.public_ && !policy.cookie_in_key && !decision.per_user)
            return refuse(Reason::cookie);
        fresh = {*policy.default_ttl, FreshnessSource::default_ttl};
    } else if (silent && !control.public_ && !control.private_.whole &&
               !heuristically_cacheable(response.status)) {
        return refuse(
            Reason::no_freshness);  // section 3: no-cache alone does not allow to store every status
    }
    decision.source = fresh.source;

    StoredMeta& meta = decision.meta;
    meta.status = static_cast<std::uint16_t>(response.status);
    meta.response_time = response_time;
    meta.date = date_value(response.headers, response_time).value_or(response_time);
    meta.initial_age =
        std::min<Duration>(initial_age(response.headers, request_time, response_time), max_delta_seconds);
    meta.lifetime = std::min<Duration>(fresh.lifetime, max_delta_seconds);
    // What a rule or default_ttl gives counts from now, not from a Date that the origin wrote for other
    // reasons.
    if (fresh.source == FreshnessSource::default_ttl || fresh.source == FreshnessSource::rule)
        meta.lifetime += meta.initial_age;
    meta.stale_while_revalidate = control.stale_while_revalidate.seconds();
    meta.stale_if_error = control.stale_if_error ? Duration(control.stale_if_error.seconds()) : policy.grace;
    const auto flag = [&meta](bool on, StoredMeta::Flag f) {
        if (on) meta.flags = static_cast<std::uint16_t>(meta.flags | f);
    };
    flag(control.no_cache.whole && !policy.force_ttl, StoredMeta::always_validate);
    // Section 5.2.2.10: s-maxage implies proxy-revalidate.
    flag(control.must_revalidate || control.proxy_revalidate || control.s_maxage.present,
         StoredMeta::never_stale);
    flag(detail::shared_with_users(control), StoredMeta::shared_with_users);
    flag(fresh.source == FreshnessSource::default_ttl && !control.public_, StoredMeta::from_default_ttl);
    flag(detail::has_validator(response.headers), StoredMeta::has_validator);

    if (!meta.is(StoredMeta::has_validator)) {
        if (meta.is(StoredMeta::always_validate)) return refuse(Reason::no_cache);
        // A stale response that can neither be validated nor served stale is of no use. max-stale alone does
        // not pay.
        const Duration stale_use =
            meta.is(StoredMeta::never_stale) ? meta.remaining(response_time) : meta.useful_for(response_time);
        if (stale_use <= Duration::zero()) return refuse(Reason::expired);
    }
    return decision;
}

/// Fields that are about one connection whether Connection names them or not (RFC 9110 section 7.6.1).
[[nodiscard]] inline bool is_hop_by_hop(std::string_view name) noexcept {
    for (const std::string_view known :
         {"Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade"})
        if (detail::equal_ignoring_case(name, known)) return true;
    return false;
}

namespace detail {

/// Fields for everybody on the way, whatever Connection says of them: RFC 9110 section 7.6.1 forbids to nominate them,
/// and whoever does could have a cache forget who the origin is, or what it may not share.
[[nodiscard]] inline bool is_end_to_end(std::string_view name) noexcept {
    constexpr std::string_view content = "Content-";
    constexpr std::string_view control =
        "Cache-Control";  // and the targeted fields named after it (RFC 9213)
    if (name.size() >= content.size() && equal_ignoring_case(name.substr(0, content.size()), content))
        return true;
    if (name.size() >= control.size() &&
        equal_ignoring_case(name.substr(name.size() - control.size()), control))
        return true;
    for (const std::string_view known :
         {"Host", "Vary", "Date", "Expires", "Pragma", "Age", "ETag", "Last-Modified", "Location",
          "Authorization", "WWW-Authenticate", "Cookie", "Set-Cookie"})
        if (equal_ignoring_case(name, known)) return true;
    return false;
}

/// What a message's Connection nominates (RFC 9110 section 7.6.1).
class ConnectionOptions {
  public:
    explicit ConnectionOptions(const Headers& headers) {
        headers.for_each_member("Connection",
                                [this](std::string_view name) { names_.push_back(to_lower(name)); });
        std::sort(names_.begin(), names_.end());
    }
    /// Whether it makes a field one of this connection only.
    [[nodiscard]] bool nominate(std::string_view name) const {
        return !names_.empty() && !is_end_to_end(name) &&
               std::binary_search(names_.begin(), names_.end(), to_lower(name));
    }

  private:
    std::vector<std::string> names_;
};

}  // namespace detail

/// Takes out the fields that are about this connection only (RFC 9110 section 7.6.1): those nominated in
/// Connection, and the known ones. For requests and responses, before forwarding as before storing.
inline void remove_hop_by_hop(Headers& headers) {
    const detail::ConnectionOptions options(headers);
    headers.remove_if([&options](std::string_view name, std::string_view) {
        return is_hop_by_hop(name) || options.nominate(name);
    });
}

/// Takes out of a response what must not be stored (RFC 9111 section 3.1): fields between two hops, fields
/// about the proxy, and those that `private="..."` and `no-cache="..."` name.
inline void remove_unstorable(Headers& headers, const CacheControl& control, bool strip_cookie) {
    remove_hop_by_hop(headers);
    headers.remove_if([&](std::string_view name, std::string_view) {
        using detail::equal_ignoring_case;
        if (equal_ignoring_case(name, "Proxy-Authenticate") ||
            equal_ignoring_case(name, "Proxy-Authentication-Info") ||
            equal_ignoring_case(name, "Proxy-Authorization"))
            return true;
        if (strip_cookie && equal_ignoring_case(name, "Set-Cookie")) return true;
        const auto named_by = [name](const FieldsDirective& directive) {
            return std::any_of(directive.fields.begin(), directive.fields.end(),
                               [name](const std::string& field) { return equal_ignoring_case(field, name); });
        };
        return named_by(control.private_) || named_by(control.no_cache);
    });
}

}  // namespace smartcache::inline v0::http
