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

/// Makes a resource stale, all its variants included. Inside the flight's lock. As another version, so that nobody who asked
/// the origin before brings back what is fresh.
template <ResponseCache Cache>
bool Middleware<Cache>::soften(const std::string& primary) {
    if constexpr (detail::HasStale<Cache>) {
        const TagSnapshot tags = tags_now();
        Fill fill;
        if (const auto current = ask_to_fill(primary, fill)) {
            ParsedStored record = parse_stored(*current);
            FillResult result = FillResult::rejected;
            if (record.index) {
                record.index->soften(random_stamp() | 1U);
                const EntryOptions entry = index_entry(detail::lifetime_left(current));
                result = commit(std::move(fill), primary, write_record(*record.index), entry, tags);
            } else if (record.response) {
                StoredResponse old = *record.response;
                old.stamp = random_stamp();
                detail::end_lifetime(old.meta, wall());
                const EntryOptions entry = entry_for(old.meta, wall(), fill.tags_there());
                if (entry.grace > Duration::zero())
                    result = commit(std::move(fill), primary, write_record(old), entry, tags);
            }
            if (result == FillResult::stored && everywhere_told(primary)) return true;
        }
    }
    // What cannot be made stale must not stay fresh, least of all in a tier that does not answer now: it is told to
    // forget when it does again.
    return cache_->erase(primary);
}

/// Whether every tier could be told what became of the entry, as far as the cache can tell.
template <ResponseCache Cache>
bool Middleware<Cache>::everywhere_told(const std::string& key) const {
    if constexpr (requires { cache_->explain(key).tiers; })
        return std::ranges::none_of(cache_->explain(key).tiers, [](const auto& tier) {
            return tier.state == Explanation::State::unavailable;
        });
    return true;
}

template <ResponseCache Cache>
bool Middleware<Cache>::purge(std::string_view url, Purge how) {
    const auto parsed = parse_url(url);
    if (!parsed) return false;
    const std::string primary = primary_of(*parsed);
    if (primary.empty()) return false;
    const bool found = purge_resource(primary, how);
    (void)note_purge(primary, found);
    return found;
}

/// Counts a purge of a resource. @return whether every tier was told
template <ResponseCache Cache>
bool Middleware<Cache>::note_purge(const std::string& primary, bool found) {
    if (found) events_.add(Event::purge);
    const bool told = everywhere_told(primary);
    if (!told) events_.add(Event::purge_untold);
    return told;
}

template <ResponseCache Cache>
bool Middleware<Cache>::purge_tag(std::string_view tag, Purge how) requires detail::HasTags<Cache> {
    const auto change = [&] {
        if constexpr (detail::HasStale<Cache>)
            if (how == Purge::soft) return cache_->expire_tag(tag);
        if constexpr (std::convertible_to<decltype(cache_->erase_tag(tag)), bool>) {
            return static_cast<bool>(cache_->erase_tag(tag));
        } else {
            cache_->erase_tag(tag);
            return true;
        }
    };
    bool told = true;
    if constexpr (detail::HasFills<Cache>)
        told = change();
    else  // which cannot tell what began before: nothing that is on its way is stored
        flights_.invalidate_all([&] { told = change(); });
    events_.add(Event::purge);
    if (!told) events_.add(Event::purge_untold);
    return told;
}

template <ResponseCache Cache>
bool Middleware<Cache>::purge_prefix(std::string_view url, Purge how) requires detail::HasTags<Cache> {
    const auto parsed = parse_url(url);
    return parsed && purge_below(*parsed, how) != Below::none;
}

template <ResponseCache Cache>
auto Middleware<Cache>::purge_below(const Url& url, Purge how) -> Below requires detail::HasTags<Cache> {
    if (!options_.purge_depth) return Below::none;
    const std::string tag = path_tag(url);
    bool known = false;  // deeper paths are nobody's tag
    for_each_path_tag(url, *options_.purge_depth,
                      [&](std::string_view above) { known = known || above == tag; });
    if (!known) return Below::none;
    return purge_tag(tag, how) ? Below::told : Below::untold;
}

/// RFC 9110 section 15.3.3: what others may not know yet is accepted, not done.
template <ResponseCache Cache>
Response Middleware<Cache>::purged(bool told) {
    return told ? detail::short_response(200, "purged")
                : detail::short_response(202, "purged here; a tier does not answer and will be told");
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
    if (primary.empty()) return detail::short_response(404, "not stored");
    const bool found = purge_resource(primary, how);
    const bool told = note_purge(primary, found);
    return found || !told ? purged(told) : detail::short_response(404, "not stored");
}

template <ResponseCache Cache>
Response Middleware<Cache>::answer_purge_many(const Request& request, Purge how) {
    if constexpr (detail::HasTags<Cache>) {
        std::size_t tags = 0;
        bool told = true;
        for_each_tag(request.headers, options_.tag_fields, [&](std::string_view tag) {
            told = purge_tag(tag, how) && told;
            ++tags;
        });
        if (tags > 0) return purged(told);
        Url url = url_of(request);
        if (!options_.purge_depth || !url.path.ends_with("/*")) return detail::short_response(400, "no tags");
        url.path.pop_back();
        const Below below = purge_below(url, how);
        return below == Below::none ? detail::short_response(400, "deeper than purge_depth")
                                    : purged(below == Below::told);
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
