#pragma once

#include <cstdint>
#include <string_view>

namespace smartcache::inline v0::http {

/// Why a request was not answered from the store, or a response not put into it. Each has its own counter,
/// and its name is the `detail` of Cache-Status.
enum class Reason : std::uint8_t {
    none,
    // The request is not the cache's business; it is forwarded as it is.
    bypass,            ///< a rule or `on_request` said so
    method,            ///< not in `cache_methods`, or neither GET nor HEAD
    not_included,      ///< no pattern of `include_paths` matches
    excluded,          ///< a pattern of `exclude_paths` matches
    authorization,     ///< Authorization, and the response does not say that others may have it (RFC 9111
                       ///< section 3.5)
    request_no_store,  ///< request directive no-store (RFC 9111 section 5.2.1.5)
    request_body,      ///< a GET with content: its meaning is not the target's alone (RFC 9110 section 9.3.1)
    key,               ///< the custom key generator gave no key, threw, or may look at what Connection hides
    // The response may not be stored, or there is no use in it.
    status,        ///< not one the rule allows, or not one this cache understands
    partial,       ///< a 206 of no use to others, a 304 that belongs to the client's own condition, or the
                   ///< answer to a HEAD
    no_store,      ///< response directive no-store
    no_cache,      ///< no-cache without a validator: it could never be reused
    private_,      ///< private, and `cache_private` is off
    vary,          ///< Vary contains "*", or names too many fields or one that Connection hides
    set_cookie,    ///< Set-Cookie without public, see `SetCookie`
    cookie,        ///< Cookie in the request, and the origin says nothing about who may have the response
    no_freshness,  ///< the origin says nothing, and neither `default_ttl` nor a rule applies to this status
    expired,       ///< stale on arrival, without a validator
    tags,          ///< more or longer tags than can be stored, or tags that may not be: a purge would miss it
    streamed,      ///< its content went past the cache
    incomplete,    ///< the content is not as long as Content-Length says
    conditional,   ///< a refusal of the request's own condition or range (412, 416)
    invalidated,  ///< the target was invalidated while the response was on its way (R1), or is stored anew by another process
    refused,    ///< the cache did not take it: too large, or no tier answered
    abandoned,  ///< the transaction ended without a response
    count_
};

[[nodiscard]] constexpr std::string_view to_string(Reason reason) noexcept {
    switch (reason) {
        case Reason::none:
            return "none";
        case Reason::bypass:
            return "bypass";
        case Reason::method:
            return "method";
        case Reason::not_included:
            return "not_included";
        case Reason::excluded:
            return "excluded";
        case Reason::authorization:
            return "authorization";
        case Reason::request_no_store:
            return "request_no_store";
        case Reason::request_body:
            return "request_body";
        case Reason::key:
            return "key";
        case Reason::status:
            return "status";
        case Reason::partial:
            return "partial";
        case Reason::no_store:
            return "no_store";
        case Reason::no_cache:
            return "no_cache";
        case Reason::private_:
            return "private";
        case Reason::vary:
            return "vary";
        case Reason::set_cookie:
            return "set_cookie";
        case Reason::cookie:
            return "cookie";
        case Reason::no_freshness:
            return "no_freshness";
        case Reason::expired:
            return "expired";
        case Reason::tags:
            return "tags";
        case Reason::streamed:
            return "streamed";
        case Reason::incomplete:
            return "incomplete";
        case Reason::conditional:
            return "conditional";
        case Reason::invalidated:
            return "invalidated";
        case Reason::refused:
            return "refused";
        case Reason::abandoned:
            return "abandoned";
        case Reason::count_:
            break;
    }
    return "?";
}

}  // namespace smartcache::inline v0::http
