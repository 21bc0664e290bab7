#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include <smartcache/http/middleware.hpp>

// Ending what is stored, on request of the application or by PURGE.
namespace smartcache::inline v0::http {

template <ResponseCache Cache>
bool Middleware<Cache>::purge_resource(const std::string& primary, Purge how, Flights::Ticket* own) {
    bool found = false;
    // R24: without its primary record no variant is valid, whatever tier still holds it.
    flights_.invalidate(
        primary, [&] { found = how == Purge::soft ? soften(primary) : cache_->erase(primary); }, own);
    return found;
}

/// Makes a resource stale, all its variants included. Inside the flight's lock.
template <ResponseCache Cache>
bool Middleware<Cache>::soften(const std::string& primary) {
    if constexpr (detail::HasStale<Cache>) {
        if (const auto current = ask(primary, Tiers::all)) {
            ParsedStored record = parse_stored(*current);
            if (record.index) {
                record.index->soften(random_stamp() | 1U);
                const EntryOptions entry = index_entry(detail::lifetime_left(current));
                if (set_record(primary, write_record(*record.index), entry)) return true;
            } else if (record.response) {
                const bool ended = cache_->expire(primary);
                if ((ended || detail::stale(current)) && nowhere_fresh(primary)) return true;
            }
        }
    }
    // What cannot be made stale must not stay fresh, least of all in a tier that does not answer now: it is told to
    // forget when it does again.
    return cache_->erase(primary);
}

/// Whether no tier has the entry fresh, as far as the cache can tell. One that does not answer may.
template <ResponseCache Cache>
bool Middleware<Cache>::nowhere_fresh(const std::string& key) const {
    if constexpr (requires { cache_->explain(key).tiers; }) {
        using State = Explanation::State;
        const auto tiers = cache_->explain(key).tiers;
        return std::ranges::none_of(tiers, [](const auto& tier) {
            return tier.state == State::live || tier.state == State::unavailable;
        });
    }
    return true;
}

template <ResponseCache Cache>
bool Middleware<Cache>::purge(std::string_view url, Purge how) {
    const auto parsed = parse_url(url);
    if (!parsed) return false;
    const std::string primary = primary_of(*parsed);
    if (primary.empty() || !purge_resource(primary, how)) return false;
    events_.add(Event::purge);
    return true;
}

template <ResponseCache Cache>
void Middleware<Cache>::purge_tag(std::string_view tag, Purge how) requires detail::HasTags<Cache> {
    tag_fences_.purge(
        tag, [this] { flights_.settle(); },
        [&] {
            if constexpr (detail::HasStale<Cache>)
                if (how == Purge::soft) return cache_->expire_tag(tag);
            cache_->erase_tag(tag);
        });
    events_.add(Event::purge);
}

template <ResponseCache Cache>
bool Middleware<Cache>::purge_prefix(std::string_view url, Purge how) requires detail::HasTags<Cache> {
    const auto parsed = parse_url(url);
    return parsed && purge_below(*parsed, how);
}

template <ResponseCache Cache>
bool Middleware<Cache>::purge_below(const Url& url, Purge how) requires detail::HasTags<Cache> {
    if (!options_.purge_depth) return false;
    const std::string tag = path_tag(url);
    bool known = false;  // deeper paths are nobody's tag
    for_each_path_tag(url, *options_.purge_depth,
                      [&](std::string_view above) { known = known || above == tag; });
    if (known) purge_tag(tag, how);
    return known;
}

template <ResponseCache Cache>
Response Middleware<Cache>::answer_purge(const Request& request) {
    const bool by_tag = std::ranges::any_of(
        options_.tag_fields, [&](const std::string& field) { return request.headers.has(field); });
    const bool many = by_tag || (options_.purge_depth && request.path.ends_with("/*"));
    const auto& allowed = many ? options_.purge_many : options_.purge;
    if (!allowed || !allowed(request)) return detail::short_response(403, "purge refused");
    const Purge how = detail::asks_for_soft_purge(request.headers) ? Purge::soft : Purge::hard;
    if (many) return answer_purge_many(request, how);
    const std::string primary = primary_of(url_of(request));
    const bool found = !primary.empty() && purge_resource(primary, how);
    if (found) events_.add(Event::purge);
    return detail::short_response(found ? 200 : 404, found ? "purged" : "not stored");
}

template <ResponseCache Cache>
Response Middleware<Cache>::answer_purge_many(const Request& request, Purge how) {
    if constexpr (detail::HasTags<Cache>) {
        std::size_t tags = 0;
        for_each_tag(request.headers, options_.tag_fields, [&](std::string_view tag) {
            purge_tag(tag, how);
            ++tags;
        });
        if (tags > 0) return detail::short_response(200, "purged");
        Url url = url_of(request);
        if (!options_.purge_depth || !url.path.ends_with("/*")) return detail::short_response(400, "no tags");
        url.path.pop_back();
        const bool purged = purge_below(url, how);
        return detail::short_response(purged ? 200 : 400, purged ? "purged" : "deeper than purge_depth");
    } else {
        return detail::short_response(501, "this cache has no tags");
    }
}

template <ResponseCache Cache>
void Middleware<Cache>::clear_cache() {
    flights_.invalidate_all([this] { cache_->clear(); });
    events_.reset();
    reasons_.reset();
}

}  // namespace smartcache::inline v0::http
