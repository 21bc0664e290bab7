#pragma once

#include <algorithm>
#include <iterator>

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
auto Middleware<Cache>::ask(std::string_view key, Tiers tiers) {
    if constexpr (detail::HasTryGet<Cache>)
        if (tiers == Tiers::memory) return cache_->template try_get<std::string_view>(key);
    if constexpr (detail::HasStale<Cache>)
        return cache_->template get<std::string_view>(key, ReadOptions{.allow_stale = true});
    else
        return cache_->template get<std::string_view>(key);
}

template <ResponseCache Cache>
std::optional<detail::Found> Middleware<Cache>::read(std::string key, Tiers tiers) {
    auto lookup = ask(key, tiers);
    if (!lookup) return std::nullopt;
    const TierId tier = detail::tier_of(lookup);
    const bool stale = detail::stale(lookup);
    using Pin = decltype(lookup);
    auto pin = std::make_shared<const Pin>(std::move(lookup));
    // Parsed behind the move: a lookup that owns its bytes may have moved them.
    const std::string_view bytes = **pin;
    auto response = parse_stored(bytes).response;
    if (!response) return std::nullopt;
    if (stale) detail::end_lifetime(response->meta, wall());
    return Found{std::move(key), *response, std::move(pin), tier};
}

/// RFC 9111 section 4.1. With `Tiers::memory` it finds nothing unless memory has all there is to choose from.
template <ResponseCache Cache>
auto Middleware<Cache>::look_up(const Request& request, const std::string& primary, const Rule* rule,
                                Tiers tiers) -> Match {
    Match result;
    const bool rule_selects = rule != nullptr && !rule->vary_headers.empty();
    const FieldNames by_rule = rule_selects ? selecting_names(rule) : FieldNames{};
    const FieldNames& required = rule_selects ? by_rule : keys_.selecting();
    const bool authorized = request.headers.has("Authorization");
    // The safe side of section 3.5, in both directions: who sends credentials gets what is for everybody, or
    // for them.
    const auto usable = [&](const StoredMeta& meta, const FieldNames& names) {
        if (authorized && !meta.is(StoredMeta::shared_with_users) &&
            !detail::holds(names, std::string_view("authorization")))
            return false;
        if (meta.is(StoredMeta::from_default_ttl) && !KeyGenerator::covers_cookies(names, request.headers))
            return false;
        // Stored under other options, by another run or process: it may lack what must select it now.
        return std::includes(names.begin(), names.end(), required.begin(), required.end());
    };

    auto first = ask(primary, tiers);
    if (!first) return result;
    result.resource_known = true;
    const TierId tier = detail::tier_of(first);
    const bool stale = detail::stale(first);
    using Pin = decltype(first);
    // Read behind the move: a lookup that owns its bytes may have moved them.
    auto pin = std::make_shared<const Pin>(std::move(first));
    ParsedStored record = parse_stored(**pin);
    if (record.response) {
        if (record.response->token == 0 && usable(record.response->meta, {})) {
            if (stale) detail::end_lifetime(record.response->meta, wall());
            result.found.emplace(Found{{}, *record.response, std::move(pin), tier});
        }
        return result;
    }
    if (!record.index) {  // not ours, or of another version: dropped (S106)
        result.resource_known = false;
        if (tiers == Tiers::all) cache_->erase(primary);
        return result;
    }
    bool found_without_vary = false;
    for (const FieldNames& names : record.index->entries) {
        auto candidate = read(KeyGenerator::variant(primary, request, names), tiers);
        if (!candidate && tiers == Tiers::memory) return {};
        if (!candidate) continue;
        StoredResponse& stored = candidate->stored;
        if (record.index->stale(stored.token)) {
            detail::end_lifetime(stored.meta, wall());
            stored.token = record.index->token;  // with which an update brings it back to life
        }
        if (stored.token != record.index->token || !usable(stored.meta, names)) continue;
        // Section 4.1: the most recent one, but rather one that says by what it varies.
        const bool better = !result.found || (found_without_vary && !names.empty()) ||
                            (!names.empty() && candidate->stored.meta.date > result.found->stored.meta.date);
        if (!better) continue;
        found_without_vary = names.empty();
        result.found = std::move(candidate);
    }
    if (!record.index->entries.empty()) result.newest = std::move(record.index->entries.front());
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
    policy.cookie_in_key = KeyGenerator::covers_cookies(names, pending.client.headers);
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
    const auto selects = [&names](std::string_view name) { return detail::selects_by(names, name); };
    if (decision.refused == Reason::none && detail::hides_field(pending.client.headers, selects))
        decision.refused = Reason::vary;
    return decision;
}

template <ResponseCache Cache>
bool Middleware<Cache>::wants_body(Pending& pending, const Response& head) {
    if (pending.as_get) {
        FieldNames names;
        return is_as_get(pending, head, wall()) &&
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
        // A later update could not tell the tags from fields that may not be stored.
        for (const std::string& field : options_.tag_fields)
            if (detail::HasTags<Cache> && headers.count(field) != response.headers.count(field))
                return Reason::tags;
        return put(pending, headers, response.body.view(), decision.meta, names, replaced);
    } catch (...) {  // out of memory, or a cache that throws: the client gets its response all the same
        return Reason::refused;
    }
}

template <ResponseCache Cache>
EntryOptions Middleware<Cache>::entry_for(const StoredMeta& meta, WallTime now,
                                          std::vector<std::string> tags) const {
    const Duration left = std::max(meta.remaining(now), Duration::zero());
    Duration stale = meta.is(StoredMeta::never_stale)
                         ? Duration::zero()
                         : std::max(meta.stale_while_revalidate, meta.stale_if_error);
    if (meta.is(StoredMeta::has_validator)) stale = std::max(stale, options_.keep_stale);
    EntryOptions entry;
    entry.tags = std::move(tags);
    if constexpr (detail::HasStale<Cache>) {
        entry.ttl = std::max(left, Duration(1));
        entry.grace = stale;
    } else {
        entry.ttl = std::max(detail::sum(left, stale), Duration(1));
    }
    return entry;
}

/// The index has no tags: its variants have theirs. It outlives what it lists: what it forgets is a miss.
template <ResponseCache Cache>
EntryOptions Middleware<Cache>::index_entry(Duration at_least) const {
    EntryOptions entry;
    entry.ttl = std::max({options_.keep_stale, Duration(std::chrono::hours(1)), at_least});
    return entry;
}

/// The tags of a response: its rule's, its origin's, and those of its path. More than can be stored is for `put` to see.
template <ResponseCache Cache>
std::vector<std::string> Middleware<Cache>::tags_of(const Pending& pending, const Headers& headers) const {
    std::vector<std::string> tags;
    if constexpr (detail::HasTags<Cache>) {
        if (pending.rule != nullptr) tags = pending.rule->tags;
        const auto add = [&tags](std::string_view tag) { tags.emplace_back(tag); };
        for_each_tag(headers, options_.tag_fields, add);
        if (options_.purge_depth) for_each_path_tag(url_of(pending.client), *options_.purge_depth, add);
        std::sort(tags.begin(), tags.end());
        tags.erase(std::unique(tags.begin(), tags.end()), tags.end());
    }
    return tags;
}

/// Whether one of the tags of a response that arrived, or of what it was asked about, was purged on its way.
template <ResponseCache Cache>
bool Middleware<Cache>::tags_purged(const Pending& pending, std::vector<std::string> tags) {
    for (const std::optional<Found>* old : {&pending.found, &pending.part})
        if (*old)
            std::ranges::move(tags_of(pending, Headers::from_wire((*old)->stored.head)),
                              std::back_inserter(tags));
    return tag_fences_.purged(tags, pending.tags_seen);
}

template <ResponseCache Cache>
Reason Middleware<Cache>::put(Pending& pending, const Headers& headers, std::string_view body,
                              const StoredMeta& meta, const FieldNames& names, const Found* replaced) {
    const StoredResponse stored{replaced != nullptr ? replaced->stored.token : 0, random_stamp(), meta,
                                headers.wire(), body};
    const EntryOptions entry = entry_for(meta, meta.response_time, tags_of(pending, headers));
    if (!detail::can_store(entry.tags)) return Reason::tags;
    Reason refused = Reason::none;
    const bool valid = pending.ticket.unless_invalidated([&] {
        if (tags_purged(pending, entry.tags)) {
            refused = Reason::invalidated;
            return;
        }
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
    const std::uint64_t tags_seen = tag_fences_.now();
    auto current = ask(pending.primary, Tiers::all);
    ParsedStored record;
    if (current) record = parse_stored(*current);
    if (!record.index && names.empty()) return set_record(pending.primary, write_record(stored), entry);

    Duration listed = detail::sum(*entry.ttl, entry.grace);
    VariantIndex index;
    if (record.index) {
        index = std::move(*record.index);
        listed = std::max(listed, detail::lifetime_left(current));
    }
    if (index.token == 0) {
        index.token = random_stamp() | 1U;
        // The resource did not vary so far: what was under its own key becomes the variant without Vary.
        if (record.response && selecting_names(pending.rule).empty()) {
            StoredResponse old = *record.response;
            old.token = index.token;
            if (detail::stale(current)) detail::end_lifetime(old.meta, wall());
            const EntryOptions old_entry =
                entry_for(old.meta, wall(), tags_of(pending, Headers::from_wire(old.head)));
            if (detail::can_store(old_entry.tags) && !tag_fences_.purged(old_entry.tags, tags_seen) &&
                set_record(KeyGenerator::variant(pending.primary, pending.client, {}), write_record(old),
                           old_entry)) {
                index.entries.emplace_back();
                listed = std::max(listed, detail::sum(*old_entry.ttl, old_entry.grace));
            }
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
           set_record(pending.primary, write_record(index), index_entry(listed));
}

template <ResponseCache Cache>
template <class Target>
std::string Middleware<Cache>::primary_of(const Target& target) const noexcept {
    try {
        return keys_.primary(target);
    } catch (...) {  // the custom generator's
        return {};
    }
}

}  // namespace smartcache::inline v0::http
