#pragma once

#include <smartcache/http/middleware.hpp>

// From what the origin said to what the client gets, and to what is stored.
namespace smartcache::inline v0::http {

/// A stored response as it goes out: with its age, in answer to the client's own conditions, its body pinned.
template <ResponseCache Cache>
Response Middleware<Cache>::answer(const Request& request, const Found& found, WallTime now,
                                   std::string_view x_cache, const CacheStatus& status) {
    const StoredMeta& meta = found.stored.meta;
    // With room for what comes on top: Age, Cache-Status, X-Cache and X-Cache-Time.
    Response response{meta.status, Headers::from_wire(found.stored.head, 192), {}};
    if (http::not_modified(request.headers, response.headers, meta.status, meta.response_time, now)) {
        response = make_not_modified(std::move(response.headers));
        events_.add(Event::not_modified);
    } else {
        if (request.method == "HEAD") {
            // RFC 9110 section 9.3.2: the fields of a GET. Without a body the length cannot be found out
            // later.
            if (!found.stored.body.empty() && !response.headers.has("Content-Length"))
                response.headers.add("Content-Length", std::to_string(found.stored.body.size()));
        } else {
            response.body = Body::pinned(found.pin, found.stored.body);
            if (request.headers.has("Range")) {
                const auto wanted = meta.status == 206
                                        ? wanted_of(request, response.headers, response.body.size(), now)
                                        : std::nullopt;
                response = wanted ? cut_part(std::move(response), *wanted)
                                  : apply_range(request, std::move(response), now);
            }
        }
    }
    const std::string age = detail::whole_seconds(meta.age(now));
    response.headers.add("Age", age);  // RFC 9111 section 5.1
    if (options_.debug_headers) response.headers.set("X-Cache-Time", age);
    annotate(response, x_cache, status);
    return response;
}

template <ResponseCache Cache>
void Middleware<Cache>::annotate(Response& response, std::string_view x_cache,
                                 const CacheStatus& status) const {
    if (options_.hide_tags)
        for (const std::string& field : options_.tag_fields) response.headers.remove(field);
    if (options_.debug_headers) response.headers.set("X-Cache", x_cache);
    if (!options_.cache_name.empty())
        response.headers.add("Cache-Status", format_cache_status(options_.cache_name, status));
}

template <ResponseCache Cache>
void Middleware<Cache>::count_outcome(const Pending& pending, Reason refused) noexcept {
    if (refused != Reason::none) reasons_.add(refused);
    if (pending.background) return;  // its request was counted as a hit
    events_.add(pending.skip != Reason::none || detail::is_skip(refused) ? Event::skip : Event::miss);
}

template <ResponseCache Cache>
void Middleware<Cache>::invalidate(const Request& request, const Response& response, Flights::Ticket* own) {
    const std::vector<Url> urls = invalidated_by(request, response);
    if (urls.empty()) return;
    // A custom key generator may look at more than the address: at what says whose resource it is.
    Request get = detail::get_like(request);
    for (const Url& url : urls) {
        get.scheme = url.scheme;
        get.host = url.host;
        get.path = url.path;
        get.query = url.query;
        const std::string primary = primary_of(get);
        if (!primary.empty() && purge_resource(primary, Purge::hard, own)) events_.add(Event::invalidation);
    }
}

/// Whether the response to a POST is also that to the GET made of it (RFC 9110 section 9.3.3). Not where it was selected
/// by a field that only the POST has: a GET without it would get another one (RFC 9111 section 4.1).
template <ResponseCache Cache>
bool Middleware<Cache>::is_as_get(const Pending& post, const Response& response, WallTime now) const {
    if (!post.as_get || !answers_get(post.client, response,
                                     response_control(response.headers, options_.targeted_fields), now))
        return false;
    FieldNames names = vary_names(response.headers);
    for (const std::string& name : selecting_names(post.as_get->rule)) detail::add_sorted(names, name);
    return std::none_of(names.begin(), names.end(), [&](const std::string& name) {
        return post.client.headers.has(name) && !post.as_get->client.headers.has(name);
    });
}

/// RFC 9110 section 9.3.3. @return whether the response to a POST was stored for later GETs
template <ResponseCache Cache>
bool Middleware<Cache>::store_as_get(Pending& post, Response& response, WallTime now) {
    if (post.streamed || !is_as_get(post, response, now) ||
        store(*post.as_get, response, now, nullptr) != Reason::none)
        return false;
    post.stored_meta = post.as_get->stored_meta;
    return true;
}

template <ResponseCache Cache>
Response Middleware<Cache>::finish(Pending& pending, Response response) {
    const WallTime now = wall();
    remove_hop_by_hop(response.headers);
    // RFC 9110 section 6.6.1: who stores or forwards a response without a Date adds one. One that is there
    // stays.
    if (response.status >= 200 && !response.headers.has("Date"))
        response.headers.add("Date", format_date(now));
    const bool allowed = !options_.on_response || options_.on_response(pending.client, response);
    invalidate(pending.client, response, pending.as_get ? &pending.as_get->ticket : nullptr);
    Response result;
    if (pending.skip == Reason::none) {
        result = conclude(pending, std::move(response), allowed, now);
    } else {
        const bool stored = allowed && store_as_get(pending, response, now);
        result = forwarded(pending, std::move(response), stored ? Reason::none : pending.skip, now);
    }
    pending.ticket = {};
    pending.as_get.reset();
    return result;
}

/// Whether what was found may be served in the place of an origin that fails (RFC 5861 section 4): not what was purged since.
template <ResponseCache Cache>
bool Middleware<Cache>::may_stand_in(const Pending& pending, WallTime now) {
    if (!may_serve_on_error(pending.found->stored.meta, pending.control, now) ||
        (pending.ticket && !pending.ticket.valid()))
        return false;
    const auto there = look_up(pending.client, pending.primary, pending.rule).found;
    return there && there->stored.stamp == pending.found->stored.stamp;
}

template <ResponseCache Cache>
Response Middleware<Cache>::conclude(Pending& pending, Response response, bool allowed, WallTime now) {
    const std::optional<Found>& found = pending.found;
    if (pending.completing) make_whole(pending, response, now);
    if (found && pending.validating && response.status == 304)
        return revalidated(pending, std::move(response), now);
    if (found && detail::is_origin_error(response.status) && may_stand_in(pending, now)) {
        pending.ticket.end(Flights::Ending::not_shared);
        return serve_stale(pending, response.status, now);
    }
    if (pending.client.method != "GET") {
        if (found && response.status == 200) update_by_head(pending, response, now);
        return forwarded(pending, std::move(response), Reason::partial, now);
    }

    const Reason refused = pending.streamed ? Reason::streamed
                           : allowed        ? store_or_combine(pending, response, now)
                                            : Reason::bypass;
    return forwarded(pending, std::move(response), refused, now);
}

/// What came is the rest of a stored part, and becomes the whole (RFC 9111 section 3.4). Where the two do not
/// fit the origin contradicts its own If-Range: there is nothing right to send, and the part goes.
template <ResponseCache Cache>
void Middleware<Cache>::make_whole(Pending& pending, Response& response, WallTime now) {
    if (response.status != 206 && response.status != 416) return;
    pending.replaced = true;
    const StoredResponse& stored = pending.part->stored;
    std::optional<Response> whole;
    if (!pending.streamed) whole = combine(Headers::from_wire(stored.head), stored.body, response, true, now);
    if (whole && whole->status == 200) {
        response = std::move(*whole);
        return;
    }
    cache_->erase(pending.part->key);
    response = detail::short_response(502, "the parts of the response do not fit together");
}

/// Stores a response; a part together with the part that was there, or the larger of the two where both would be too
/// much. A complete response is worth more than a part of a newer one, which only its own client asked for.
template <ResponseCache Cache>
Reason Middleware<Cache>::store_or_combine(Pending& pending, Response& response, WallTime now) {
    if (auto whole = as_whole(response)) return store(pending, *whole, now, nullptr);
    if (response.status == 206 && pending.found && pending.found->stored.meta.status != 206)
        return Reason::partial;
    if (response.status == 206 && pending.part) {
        const StoredResponse& stored = pending.part->stored;
        const Headers head = Headers::from_wire(stored.head);
        if (const auto bytes = together(head, stored.body.size(), response, false, now)) {
            if (bytes->range.size() <= max_completed_bytes) {
                if (auto both = combine(head, stored.body, response, false, now))
                    return store(pending, *both, now, nullptr);
            } else if (stored.body.size() >= response.body.size()) {
                return Reason::partial;
            }
        }
    }
    return store(pending, response, now, nullptr);
}

/// The origin's response goes to the client.
template <ResponseCache Cache>
Response Middleware<Cache>::forwarded(Pending& pending, Response response, Reason refused, WallTime now) {
    const bool skipped = pending.skip != Reason::none;
    count_outcome(pending, refused);
    log(skipped ? "SKIP" : "MISS", pending.client, refused == Reason::none ? "" : to_string(refused));
    CacheStatus status;
    status.fwd = pending.why;
    status.stored = refused == Reason::none;
    if (!status.stored) status.detail = to_string(refused);
    if (status.stored) {
        status.ttl = pending.stored_meta.remaining(now);
        if (options_.debug_headers)
            response.headers.set("X-Cache-TTL",
                                 detail::whole_seconds(std::max(*status.ttl, Duration::zero())));
    }
    if (!skipped) {
        // Worth waiting for only if the next one could have used it.
        const bool shared = status.stored && pending.stored_meta.fresh(now) &&
                            !pending.stored_meta.is(StoredMeta::always_validate);
        // What was purged on its way says nothing about the next one: another one leads.
        const bool purged = refused == Reason::invalidated;
        if (pending.ticket.leads() && !purged) {
            if (shared) {
                uncacheable_.forget(pending.variant);
            } else {
                uncacheable_.remember(pending.variant, ticks());
            }
        }
        pending.ticket.end(shared   ? Flights::Ending::stored
                           : purged ? Flights::Ending::abandoned
                                    : Flights::Ending::not_shared);
    }
    // The client's conditions and ranges did not reach the origin: they are answered here.
    if (pending.validating && response.status == 200) {
        if (http::not_modified(pending.client.headers, response.headers, response.status, now, now)) {
            response = make_not_modified(std::move(response.headers));
            pending.replaced = true;
            events_.add(Event::not_modified);
        } else if (!pending.streamed) {
            response = apply_range(pending.client, std::move(response), now);
            if (response.status != 200) pending.replaced = true;
        }
    }
    annotate(response, skipped ? "BYPASS" : "MISS", status);
    return response;
}

template <ResponseCache Cache>
Response Middleware<Cache>::serve_stale(Pending& pending, int origin_status, WallTime now) {
    pending.replaced = true;
    count_outcome(pending, Reason::none);
    events_.add(Event::stale_served);
    log("STALE", pending.client, {});
    CacheStatus status;
    status.fwd = pending.why;
    status.fwd_status = origin_status;
    status.ttl = pending.found->stored.meta.remaining(now);
    return answer(pending.client, *pending.found, now, "STALE", status);
}

/// A 304 that speaks of another version than the stored one (RFC 9111 section 4.3.4) is no leave to go on using that: it
/// goes. The client is told so if that version is its own; there is nothing else to send but an error, unless what is
/// stored may stand in for one.
template <ResponseCache Cache>
Response Middleware<Cache>::refuted(Pending& pending, Response response, WallTime now) {
    const bool stand_in = may_stand_in(pending, now);
    cache_->erase(pending.found->key);
    pending.ticket.end(Flights::Ending::abandoned);
    pending.replaced = true;
    const Headers& client = pending.client.headers;
    const bool own = response.headers.has(client.has("If-None-Match") ? "ETag" : "Last-Modified") &&
                     http::not_modified(client, response.headers, 200, now, now);
    if (!own && stand_in) return serve_stale(pending, response.status, now);
    count_outcome(pending, Reason::partial);
    log("MISS", pending.client, to_string(Reason::partial));
    CacheStatus status;
    status.fwd = pending.why;
    status.fwd_status = response.status;
    status.detail = to_string(Reason::partial);
    response =
        own ? make_not_modified(std::move(response.headers))
            : detail::short_response(502, "the origin vouches for another version than it was asked about");
    annotate(response, "MISS", status);
    return response;
}

/// The origin says that what is stored is still right (RFC 9111 sections 4.3.3 and 4.3.4).
template <ResponseCache Cache>
Response Middleware<Cache>::revalidated(Pending& pending, Response response, WallTime now) {
    Found& found = *pending.found;
    Headers merged = Headers::from_wire(found.stored.head);
    if (!selects(response.headers, merged)) return refuted(pending, std::move(response), now);
    pending.replaced = true;
    events_.add(Event::revalidated);
    log("REVALIDATED", pending.client, {});
    found.stored.meta.response_time = now;
    found.stored.meta.initial_age = initial_age(response.headers, pending.request_time, now);
    const Headers personal = merge(merged, response.headers, found.stored.meta.status == 206);
    const Reason refused = update(pending, merged, now);
    if (refused == Reason::none) found.stored.meta = pending.stored_meta;
    merged.remove("Age");  // it is counted by now, and made anew by `answer`
    found.stored.head = merged.wire();
    // What must not be kept, or is in doubt, goes: the next request starts afresh.
    if (refused != Reason::none && refused != Reason::invalidated) cache_->erase(found.key);
    count_outcome(pending, refused);
    const bool shared = refused == Reason::none && found.stored.meta.fresh(now) &&
                        !found.stored.meta.is(StoredMeta::always_validate);
    pending.ticket.end(shared                           ? Flights::Ending::stored
                       : refused == Reason::invalidated ? Flights::Ending::abandoned
                                                        : Flights::Ending::not_shared);

    CacheStatus status;
    status.fwd = pending.why;
    status.fwd_status = 304;
    status.stored = refused == Reason::none;
    status.ttl = found.stored.meta.remaining(now);
    if (!status.stored) status.detail = to_string(refused);
    Response result = answer(pending.client, found, now, "REVALIDATED", status);
    for (const auto [name, value] : personal) result.headers.remove(name);
    for (const auto [name, value] : personal) result.headers.add(name, value);
    return result;
}

/// Puts the storable fields of a 304 or HEAD response over stored ones. A cookie in an update is for the
/// client that asked: storing it would hand it to all others.
/// @return the other fields: for that client alone
template <ResponseCache Cache>
Headers Middleware<Cache>::merge(Headers& stored, const Headers& fields, bool part) const {
    const CacheControl control = response_control(fields, options_.targeted_fields);
    Headers storable = fields;
    remove_unstorable(storable, control, options_.set_cookie != SetCookie::rfc);
    freshen(stored, storable, part);
    Headers others = fields;
    others.remove_if([&storable](std::string_view name, std::string_view) {
        // How long what is sent is, and which part, is said by who sends it.
        return storable.has(name) || detail::equal_ignoring_case(name, "Content-Length") ||
               detail::equal_ignoring_case(name, "Content-Range");
    });
    return others;
}

/// Stores merged fields over the body they were merged for.
template <ResponseCache Cache>
Reason Middleware<Cache>::update(Pending& pending, const Headers& merged, WallTime now) {
    const Found& found = *pending.found;
    Response whole{found.stored.meta.status, merged, Body::pinned(found.pin, found.stored.body)};
    return store(pending, whole, now, &found);
}

/// RFC 9111 section 4.3.5: a HEAD response updates the stored GET response that it provably speaks of, and ends one
/// that it contradicts. One that says nothing to tell by leaves what is stored as it is: fresh without end
/// otherwise, whatever became of the content.
template <ResponseCache Cache>
void Middleware<Cache>::update_by_head(Pending& pending, const Response& response, WallTime now) {
    const Found& found = *pending.found;
    Headers merged = Headers::from_wire(found.stored.head);
    bool proven = false;
    bool contradicted = found.stored.meta.status != 200;
    const auto compare = [&](bool equal) {
        proven = proven || equal;
        contradicted = contradicted || !equal;
    };
    for (const std::string_view validator : {"ETag", "Last-Modified"})
        if (const auto theirs = response.headers.get(validator)) compare(theirs == merged.get(validator));
    // To a condition that holds the answer is 304: a 200 has to name the version itself.
    if (pending.validating) contradicted = contradicted || !proven;
    if (const auto length = response.headers.get("Content-Length"))
        compare(*length == std::to_string(found.stored.body.size()));
    // Applications that answer HEAD as they do GET.
    if (!response.body.empty()) compare(response.body == found.stored.body);
    if (contradicted) {
        cache_->erase(found.key);
        return;
    }
    if (!proven) return;
    (void)merge(merged, response.headers, false);
    const Reason refused = update(pending, merged, now);
    if (refused != Reason::none && refused != Reason::invalidated) cache_->erase(found.key);
}

template <ResponseCache Cache>
std::optional<Response> Middleware<Cache>::fail(Pending& pending) {
    const WallTime now = wall();
    std::optional<Response> stale;
    if (pending.skip == Reason::none && pending.found && may_stand_in(pending, now)) {
        stale = serve_stale(pending, 0, now);
    } else {
        count_outcome(pending, pending.skip != Reason::none ? pending.skip : Reason::abandoned);
        log("FAIL", pending.client, {});
    }
    pending.ticket = {};
    return stale;
}

template <ResponseCache Cache>
void Middleware<Cache>::abandon(Pending& pending) noexcept {
    count_outcome(pending, pending.skip != Reason::none ? pending.skip : Reason::abandoned);
    pending.ticket = {};
}

template <ResponseCache Cache>
MiddlewareStats Middleware<Cache>::counters() const noexcept {
    MiddlewareStats stats;
    stats.cache_hits = events_.sum(Event::hit);
    stats.cache_misses = events_.sum(Event::miss);
    stats.cache_skips = events_.sum(Event::skip);
    stats.cache_sets = events_.sum(Event::set);
    stats.total_requests = stats.cache_hits + stats.cache_misses + stats.cache_skips;
    stats.revalidated = events_.sum(Event::revalidated);
    stats.stale_served = events_.sum(Event::stale_served);
    stats.collapsed = events_.sum(Event::collapsed);
    stats.not_modified = events_.sum(Event::not_modified);
    stats.invalidations = events_.sum(Event::invalidation);
    stats.purges = events_.sum(Event::purge);
    stats.purges_untold = events_.sum(Event::purge_untold);
    for (std::size_t i = 0; i < stats.reasons.size(); ++i)
        stats.reasons[i] = reasons_.sum(static_cast<Reason>(i));
    return stats;
}

template <ResponseCache Cache>
auto Middleware<Cache>::stats() -> Report {
    const MiddlewareStats counted = counters();
    const auto ratio = [](std::uint64_t part, std::uint64_t whole) {
        return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
    };
    return {counted,
            counted,
            cache_->stats(),
            ratio(counted.cache_hits, counted.total_requests),
            ratio(counted.cache_hits, counted.cache_hits + counted.cache_misses),
            cache_->health_check()};
}

}  // namespace smartcache::inline v0::http
