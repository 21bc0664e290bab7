#pragma once

#include <smartcache/http/middleware.hpp>

// Between the middleware and its cache: records under keys.
namespace smartcache::inline v0::http {

namespace detail {

/// The tier that answered, where the cache's lookups tell.
template <class Lookup>
[[nodiscard]] TierId tier_of(const Lookup& lookup) noexcept {
    if constexpr (requires { lookup.tier(); })
        return lookup.tier();
    else
        return TierId::none;
}

}  // namespace detail

template <ResponseCache Cache>
std::optional<detail::Found> Middleware<Cache>::read(std::string key) {
    auto lookup = cache_->template get<std::string_view>(key);
    if (!lookup) return std::nullopt;
    const TierId tier = detail::tier_of(lookup);
    using Pin = decltype(lookup);
    auto pin = std::make_shared<const Pin>(std::move(lookup));
    // Parsed behind the move: a lookup that owns its bytes may have moved them.
    const std::string_view bytes = **pin;
    auto response = parse_stored(bytes).response;
    if (!response) return std::nullopt;
    return Found{std::move(key), *response, std::move(pin), tier};
}

// RFC 9111 section 4.1.
template <ResponseCache Cache>
auto Middleware<Cache>::look_up(const Request& request, const std::string& primary, const Rule* rule)
    -> Match {
    Match result;
    result.names = selecting_names(rule);
    const FieldNames required = result.names;
    const bool authorized = request.headers.has("Authorization");
    const bool has_cookie = request.headers.has("Cookie");
    // The safe side of section 3.5, in both directions: who sends credentials gets what is for everybody, or
    // for them.
    const auto usable = [&](const StoredMeta& meta, const FieldNames& names) {
        if (authorized && !meta.is(StoredMeta::shared_with_users) &&
            !detail::holds(names, std::string_view("authorization")))
            return false;
        if (has_cookie && meta.is(StoredMeta::from_default_ttl) &&
            !detail::holds(names, std::string_view("cookie")))
            return false;
        // Stored under other options, by another run or process: it may lack what must select it now.
        return std::includes(names.begin(), names.end(), required.begin(), required.end());
    };

    auto first = cache_->template get<std::string_view>(primary);
    if (!first) return result;
    result.resource_known = true;
    const std::string_view bytes = *first;
    const ParsedStored record = parse_stored(bytes);
    if (record.response) {
        const TierId tier = detail::tier_of(first);
        using Pin = decltype(first);
        auto pin = std::make_shared<const Pin>(std::move(first));
        const std::string_view pinned = **pin;
        if (auto response = parse_stored(pinned).response; response && usable(response->meta, {}))
            result.found = Found{primary, *response, std::move(pin), tier};
        return result;
    }
    if (!record.index) {  // not ours, or of another version: dropped (S106)
        result.resource_known = false;
        cache_->erase(primary);
        return result;
    }
    if (!record.index->entries.empty()) result.names = record.index->entries.front();
    bool found_without_vary = false;
    for (const FieldNames& names : record.index->entries) {
        auto candidate = read(KeyGenerator::variant(primary, request, names));
        if (!candidate || candidate->stored.token != record.index->token ||
            !usable(candidate->stored.meta, names))
            continue;
        // Section 4.1: the most recent one, but rather one that says by what it varies.
        const bool better = !result.found || (found_without_vary && !names.empty()) ||
                            (!names.empty() && candidate->stored.meta.date > result.found->stored.meta.date);
        if (!better) continue;
        found_without_vary = names.empty();
        result.found = std::move(candidate);
    }
    return result;
}

template <ResponseCache Cache>
FieldNames Middleware<Cache>::selecting_names(const Rule* rule) const {
    FieldNames names = keys_.selecting();
    if (rule != nullptr)
        for (const std::string& name : rule->vary_headers) add_field_name(names, name);
    return names;
}

template <ResponseCache Cache>
StorePolicy Middleware<Cache>::policy_for(const Pending& pending, int status, const CacheControl& control,
                                          const FieldNames& names) const {
    const Rule* rule = pending.rule;
    StorePolicy policy;
    policy.cache_private = options_.cache_private;
    policy.cache_authenticated = options_.cache_authenticated;
    policy.set_cookie = options_.set_cookie;
    policy.grace = rule != nullptr && rule->grace ? *rule->grace : options_.grace;
    policy.cookie_in_key = static_cast<bool>(options_.custom_key_generator) ||
                           !options_.cache_cookies.empty() ||
                           detail::holds(names, std::string_view("cookie"));
    const bool own_statuses = rule != nullptr && rule->status_codes.has_value();
    // RFC 9111 section 4.2.2: public makes any status one for which a lifetime may be guessed.
    const bool by_default =
        detail::holds(own_statuses ? *rule->status_codes : options_.cache_status_codes, status) ||
        control.public_;
    if (rule != nullptr) policy.force_ttl = rule->force_ttl;
    if (by_default) {
        const Duration ttl = rule != nullptr && rule->ttl ? *rule->ttl : options_.default_ttl;
        if (ttl > Duration::zero()) policy.default_ttl = ttl;
    } else {
        policy.force_ttl.reset();
    }
    return policy;
}

/// May it be stored, and under which selecting fields?
template <ResponseCache Cache>
StoreDecision Middleware<Cache>::judge_response(const Pending& pending, const Response& response,
                                                WallTime now, FieldNames& names, bool complete) const {
    StoreDecision decision;
    const Rule* rule = pending.rule;
    const int status = response.status == 206 ? 200 : response.status;  // a part of what would be a 200
    if (rule != nullptr && rule->status_codes && !detail::holds(*rule->status_codes, status)) {
        decision.refused = Reason::status;
        return decision;
    }
    if ((response.status == 412 || response.status == 416) &&
        (is_conditional(pending.client.headers) || pending.client.headers.has("Range"))) {
        decision.refused = Reason::conditional;
        return decision;
    }
    const CacheControl control = response_control(response.headers, options_.targeted_fields);
    names = vary_names(response.headers);
    for (const std::string& name : selecting_names(rule)) detail::add_sorted(names, name);
    decision = may_store(pending.client, response, control, pending.request_time, now,
                         policy_for(pending, status, control, names), complete);
    if (decision.refused == Reason::none && names.size() > detail::max_selecting_fields)
        decision.refused = Reason::vary;
    if (decision.per_user)
        for (const std::string_view name : {"authorization", "cookie"}) add_field_name(names, name);
    return decision;
}

template <ResponseCache Cache>
bool Middleware<Cache>::wants_body(Pending& pending, const Response& head) {
    if (pending.as_get) {
        FieldNames names;
        return answers_get(pending.client, head, response_control(head.headers, options_.targeted_fields),
                           wall()) &&
               judge_response(*pending.as_get, head, wall(), names, false).refused == Reason::none;
    }
    if (pending.skip != Reason::none || pending.client.method != "GET") return false;
    // A client's own condition may have to be answered from it, and a stale response may have to stand in for
    // it.
    if (pending.completing && head.status == 206) return true;
    if (pending.validating || (pending.found && detail::is_origin_error(head.status))) return true;
    FieldNames names;
    return judge_response(pending, head, wall(), names, false).refused == Reason::none;
}

/// Judges a response to a GET and stores it; may give it an ETag. `replaced`: what it is an update of.
template <ResponseCache Cache>
Reason Middleware<Cache>::store(Pending& pending, Response& response, WallTime now, const Found* replaced) {
    try {
        FieldNames names;
        StoreDecision decision = judge_response(pending, response, now, names, true);
        if (decision.refused != Reason::none) return decision.refused;

        if (options_.generate_etags && replaced == nullptr && response.status == 200 &&
            !response.headers.has("ETag")) {
            response.headers.add("ETag", '"' + digest128(as_byte_view(response.body.view())).hex() + '"');
            decision.meta.flags = static_cast<std::uint16_t>(decision.meta.flags | StoredMeta::has_validator);
        }
        Headers headers = response.headers;
        remove_unstorable(headers, response_control(headers, options_.targeted_fields),
                          decision.strip_cookie);
        headers.remove("Age");  // it is in the record, and made anew when it is sent
        return put(pending, headers, response.body.view(), decision.meta, names, replaced);
    } catch (...) {  // out of memory, or a cache that throws: the client gets its response all the same
        return Reason::refused;
    }
}

template <ResponseCache Cache>
Duration Middleware<Cache>::retention(const StoredMeta& meta, WallTime now) const {
    const Duration left = std::max(meta.remaining(now), Duration::zero());
    Duration stale = meta.is(StoredMeta::never_stale)
                         ? Duration::zero()
                         : std::max(meta.stale_while_revalidate, meta.stale_if_error);
    if (meta.is(StoredMeta::has_validator)) stale = std::max(stale, options_.keep_stale);
    return std::max(left + stale, Duration(1));
}

template <ResponseCache Cache>
Reason Middleware<Cache>::put(Pending& pending, const Headers& headers, std::string_view body,
                              const StoredMeta& meta, const FieldNames& names, const Found* replaced) {
    const StoredResponse stored{replaced != nullptr ? replaced->stored.token : 0, random_stamp(), meta,
                                headers.wire(), body};
    EntryOptions entry;
    entry.ttl = retention(meta, meta.response_time);
    if (pending.rule != nullptr) entry.tags = pending.rule->tags;
    Reason refused = Reason::none;
    const bool valid = pending.ticket.unless_invalidated([&] {
        // An update keeps its place as long as it still varies by the same fields.
        const bool in_place =
            replaced != nullptr &&
            (replaced->stored.token == 0
                 ? names.empty()
                 : replaced->key == KeyGenerator::variant(pending.primary, pending.client, names));
        if (in_place) {
            // R24: compare-and-set on the version that was validated.
            const auto current = read(replaced->key);
            if (!current || current->stored.stamp != replaced->stored.stamp) {
                refused = Reason::invalidated;
            } else if (!set_record(replaced->key, write_record(stored), entry)) {
                refused = Reason::refused;
            }
        } else if (!put_new(pending, stored, names, entry)) {
            refused = Reason::refused;
        }
    });
    if (!valid) return Reason::invalidated;
    if (refused == Reason::none) {
        pending.stored_meta = meta;
        events_.add(Event::set);
    }
    return refused;
}

template <ResponseCache Cache>
bool Middleware<Cache>::set_record(const std::string& key, const std::string& record,
                                   const EntryOptions& entry) {
    return cache_->set(key, std::string_view(record), entry);
}

// Inside the flight's lock: nobody else in this process changes the records of this resource.
template <ResponseCache Cache>
bool Middleware<Cache>::put_new(Pending& pending, StoredResponse stored, const FieldNames& names,
                                const EntryOptions& entry) {
    auto current = cache_->template get<std::string_view>(pending.primary);
    ParsedStored record;
    if (current) record = parse_stored(*current);
    if (!record.index && names.empty()) return set_record(pending.primary, write_record(stored), entry);

    // The index outlives what it lists, or nearly: what it forgets is a miss.
    EntryOptions index_entry = entry;
    index_entry.ttl = std::max(*entry.ttl, std::max(options_.keep_stale, Duration(std::chrono::hours(1))));
    VariantIndex index;
    if (record.index) index = std::move(*record.index);
    if (index.token == 0) {
        index.token = random_stamp() | 1U;
        // The resource did not vary so far: what was under its own key becomes the variant without Vary.
        if (record.response && selecting_names(pending.rule).empty()) {
            StoredResponse old = *record.response;
            old.token = index.token;
            EntryOptions old_entry = entry;
            old_entry.ttl = retention(old.meta, wall());
            if (set_record(KeyGenerator::variant(pending.primary, pending.client, {}), write_record(old),
                           old_entry))
                index.entries.emplace_back();
        }
    }
    const auto place = std::find(index.entries.begin(), index.entries.end(), names);
    if (place != index.entries.end()) {
        std::rotate(index.entries.begin(), place, place + 1);
    } else {
        index.entries.insert(index.entries.begin(), names);
        if (index.entries.size() > detail::max_index_entries) index.entries.pop_back();
    }
    stored.token = index.token;
    return set_record(KeyGenerator::variant(pending.primary, pending.client, names), write_record(stored),
                      entry) &&
           set_record(pending.primary, write_record(index), index_entry);
}

template <ResponseCache Cache>
bool Middleware<Cache>::erase_resource(const std::string& primary, Flights::Ticket* own) {
    bool found = false;
    // R24: without its primary record no variant is valid, whatever tier still holds it.
    flights_.invalidate(
        primary, [&] { found = cache_->erase(primary); }, own);
    return found;
}

template <ResponseCache Cache>
std::string Middleware<Cache>::primary_of(const Url& url) const noexcept {
    try {
        return keys_.primary(url);
    } catch (...) {  // the custom generator's
        return {};
    }
}

template <ResponseCache Cache>
bool Middleware<Cache>::purge(std::string_view url) {
    const auto parsed = parse_url(url);
    if (!parsed) return false;
    const std::string primary = primary_of(*parsed);
    if (primary.empty() || !erase_resource(primary)) return false;
    events_.add(Event::purge);
    return true;
}

template <ResponseCache Cache>
void Middleware<Cache>::clear_cache() {
    flights_.invalidate_all([this] { cache_->clear(); });
    events_.reset();
    reasons_.reset();
}

}  // namespace smartcache::inline v0::http
