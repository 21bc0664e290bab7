#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include <smartcache/core/clock.hpp>
#include <smartcache/http/cache_control.hpp>
#include <smartcache/http/headers.hpp>

namespace smartcache::inline v0::http {

/// What a stored response needs to know about itself to be judged later without reading its fields again.
struct StoredMeta {
    enum Flag : std::uint16_t {
        always_validate = 1,  ///< no-cache
        never_stale =
            2,  ///< must-revalidate, proxy-revalidate, s-maxage: not served stale, not even on errors
        shared_with_users =
            4,                 ///< public, s-maxage, must-revalidate: may answer a request with Authorization
        from_default_ttl = 8,  ///< the origin said nothing about freshness, nor that it is for everybody
        has_validator = 16,    ///< ETag or Last-Modified
    };

    WallTime response_time{};  ///< when it arrived, or was last validated
    WallTime date{};           ///< its Date: the most recent of several matching responses is chosen
    Duration initial_age{0};   ///< RFC 9111 section 4.2.3
    Duration lifetime{0};      ///< RFC 9111 section 4.2.1
    Duration stale_while_revalidate{0};  ///< RFC 5861 section 3
    Duration stale_if_error{0};          ///< RFC 5861 section 4; `grace` where the origin is silent
    std::uint16_t flags = 0;
    std::uint16_t status = 200;

    [[nodiscard]] bool is(Flag flag) const noexcept { return (flags & flag) != 0; }

    /// RFC 9111 section 4.2.3: current_age. A clock that was set back does not make it younger.
    [[nodiscard]] Duration age(WallTime now) const noexcept {
        return initial_age + std::max<Duration>(Duration::zero(), now - response_time);
    }
    /// What remains of the lifetime; negative: how long it has been stale.
    [[nodiscard]] Duration remaining(WallTime now) const noexcept { return lifetime - age(now); }
    /// RFC 9111 section 4.2: fresh while the lifetime is greater than the age.
    [[nodiscard]] bool fresh(WallTime now) const noexcept { return remaining(now) > Duration::zero(); }
    /// How long keeping it can be of use: while fresh, then while it may be served stale.
    [[nodiscard]] Duration useful_for(WallTime now) const noexcept {
        return remaining(now) + std::max(stale_while_revalidate, stale_if_error);
    }
};

namespace detail {

/// Whether Pragma says no-cache.
[[nodiscard]] inline bool says_no_cache(const Headers& headers) {
    bool says = false;
    headers.for_each_member("Pragma", [&says](std::string_view member) {
        says = says || equal_ignoring_case(member, "no-cache");
    });
    return says;
}

}  // namespace detail

/// What a request says about reuse (RFC 9111 section 5.2.1).
[[nodiscard]] inline CacheControl request_control(const Headers& headers) {
    CacheControl control = CacheControl::parse(headers);
    // RFC 9111 section 5.4: Pragma is deprecated and speaks only where Cache-Control is absent.
    if (!control.present && detail::says_no_cache(headers)) control.no_cache.whole = true;
    return control;
}

enum class Reuse {
    fresh,       ///< serve it
    stale,       ///< serve it: the client accepts stale responses (max-stale)
    background,  ///< serve it and validate it in the background (stale-while-revalidate)
    validate,    ///< ask the origin first
};

/// May a stored response that matches be used for this request without asking the origin? (RFC 9111 section
/// 4)
[[nodiscard]] inline Reuse may_reuse(const StoredMeta& stored, const CacheControl& request,
                                     WallTime now) noexcept {
    if (request.no_cache) return Reuse::validate;                        // section 5.2.1.4
    if (stored.is(StoredMeta::always_validate)) return Reuse::validate;  // section 5.2.2.4
    const Duration age = stored.age(now);
    // Section 5.2.1.1; max-age=0 is how clients ask for validation, however young the response is.
    if (request.max_age && (age > request.max_age.seconds() || request.max_age.seconds() == Seconds::zero()))
        return Reuse::validate;
    const Duration left = stored.remaining(now);
    if (request.min_fresh)
        return left >= request.min_fresh.seconds() && left > Duration::zero()
                   ? Reuse::fresh
                   : Reuse::validate;  // section 5.2.1.3
    if (left > Duration::zero()) return Reuse::fresh;
    // Section 4.2.4: stale responses only where nothing forbids them and somebody allows them.
    if (stored.is(StoredMeta::never_stale)) return Reuse::validate;
    if (request.max_stale && (!request.max_stale.value || -left <= *request.max_stale.value))
        return Reuse::stale;
    if (-left < stored.stale_while_revalidate) return Reuse::background;
    return Reuse::validate;
}

namespace detail {

/// RFC 5861 section 4: the statuses that count as an error of the origin.
[[nodiscard]] constexpr bool is_origin_error(int status) noexcept {
    return status == 500 || status == 502 || status == 503 || status == 504;
}

}  // namespace detail

/// May it be served because the origin failed or could not be reached? (RFC 9111 section 4.2.4, RFC 5861
/// section 4) A stored error helps nobody then: the new one at least is true now.
[[nodiscard]] inline bool may_serve_on_error(const StoredMeta& stored, const CacheControl& request,
                                             WallTime now) noexcept {
    if (stored.is(StoredMeta::always_validate) || stored.is(StoredMeta::never_stale) || request.no_cache)
        return false;
    if (detail::is_origin_error(stored.status)) return false;
    const Duration stale_for = -stored.remaining(now);
    const Duration allowed = std::max<Duration>(stored.stale_if_error, request.stale_if_error.seconds());
    return stale_for < allowed;
}

}  // namespace smartcache::inline v0::http
