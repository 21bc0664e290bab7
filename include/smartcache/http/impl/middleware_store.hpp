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

/// The same from where the last word is, and what is stored with `fill` takes the place of just that.
template <ResponseCache Cache>
auto Middleware<Cache>::ask_to_fill(std::string_view key, [[maybe_unused]] Fill& fill) {
    if constexpr (detail::HasFills<Cache>)
        return cache_->template begin_fill<std::string_view>(key, fill);
    else
        return ask(key, Tiers::all);
}

/// For variants: their index tells whether they are valid.
template <ResponseCache Cache>
Fill Middleware<Cache>::overwriting([[maybe_unused]] std::string_view key) {
    if constexpr (detail::HasFills<Cache>)
        return cache_->begin_overwrite(key);
    else
        return {};
}

template <ResponseCache Cache>
TagSnapshot Middleware<Cache>::tags_now() const {
    if constexpr (detail::HasFills<Cache>)
        return cache_->tags_now();
    else
        return {};
}

template <ResponseCache Cache>
FillResult Middleware<Cache>::commit(Fill fill, const std::string& key, const std::string& record,
                                     const EntryOptions& entry, const TagSnapshot& tags) {
    if constexpr (detail::HasFills<Cache>)
        return cache_->commit_fill(std::move(fill.since(tags)), std::string_view(record), entry);
    else
        return cache_->set(key, std::string_view(record), entry) ? FillResult::stored : FillResult::rejected;
}

/// Another number for everything that may be under a primary key: an index keeps its own while it only learns of more
/// variants, and changes it with each purge. Of nothing: what shows that it is still the same nothing.
template <ResponseCache Cache>
std::uint64_t Middleware<Cache>::version_of(const ParsedStored& record, const Fill& fill) {
    if (record.response) return record.response->stamp;
    if (record.index) return record.index->token;
    return fill ? fill.seen() : 0;
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
/// @param to_fill  what was found, or that nothing was, is what a response will replace: `Match::base` is known
template <ResponseCache Cache>
auto Middleware<Cache>::look_up(const Request& request, const std::string& primary, const Rule* rule,
                                Tiers tiers, bool to_fill) -> Match {
    Match result;
    detail::Base& base = result.base;
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

    auto first = to_fill ? ask_to_fill(primary, base.fill) : ask(primary, tiers);
    using Pin = decltype(first);
    const TierId tier = detail::tier_of(first);
    const bool stale = detail::stale(first);
    std::shared_ptr<const Pin> pin;
    ParsedStored record;
    if (first) {
        // Read behind the move: a lookup that owns its bytes may have moved them.
        pin = std::make_shared<const Pin>(std::move(first));
        record = parse_stored(**pin);
        if (!record.response && !record.index && tiers == Tiers::all) {
            // Not ours, or of another version: dropped (S106).
            cache_->erase(primary);
            if (to_fill) (void)ask_to_fill(primary, base.fill);
        }
    }
    const bool nothing = !record.response && !record.index;
    base.known = to_fill || !nothing;
    base.version = version_of(record, base.fill);
    if (nothing) return result;
    base.fill = {};  // its version says it all
    result.resource_known = true;
    if (record.response) {
        if (record.response->token == 0 && usable(record.response->meta, {})) {
            if (stale) detail::end_lifetime(record.response->meta, wall());
            result.found.emplace(Found{{}, *record.response, std::move(pin), tier});
        }
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

template <ResponseCache Cache>
Reason Middleware<Cache>::put(Pending& pending, const Headers& headers, std::string_view body,
                              const StoredMeta& meta, const FieldNames& names, const Found* replaced) {
    const StoredResponse stored{replaced != nullptr ? replaced->stored.token : 0, random_stamp(), meta,
                                headers.wire(), body};
    const EntryOptions entry = entry_for(meta, meta.response_time, tags_of(pending, headers));
    if (!detail::can_store(entry.tags)) return Reason::tags;
    // An update keeps its place as long as it still varies by the same fields.
    const bool in_place =
        replaced != nullptr &&
        (replaced->stored.token == 0
             ? names.empty()
             : replaced->key == KeyGenerator::variant(pending.primary, pending.client, names));
    const Found* const made_of = replaced == nullptr && pending.part ? &*pending.part : replaced;
    FillResult result = FillResult::overtaken;
    (void)pending.ticket.unless_invalidated([&] {
        if (in_place)
            result = put_update(pending, stored, *replaced, entry);
        else if (made_of == nullptr || is_there(*made_of))
            result = put_new(pending, stored, names, entry);
    });
    if (result == FillResult::overtaken) return Reason::invalidated;
    if (result == FillResult::rejected) return Reason::refused;
    pending.stored_meta = meta;
    events_.add(Event::set);
    return Reason::none;
}

// Inside the flight's lock, as what follows: nobody else in this process changes the records of this resource.

/// Whether the very same version is still stored.
template <ResponseCache Cache>
bool Middleware<Cache>::is_there(const Found& found) {
    Fill fill;
    const auto current = ask_to_fill(found.key, fill);
    if (!current) return false;
    const auto version = parse_stored(*current).response;
    return version && version->stamp == found.stored.stamp;
}

/// R24: compare-and-set on the version that was validated.
template <ResponseCache Cache>
FillResult Middleware<Cache>::put_update(Pending& pending, const StoredResponse& stored,
                                         const Found& replaced, const EntryOptions& entry) {
    Fill fill;
    const auto current = ask_to_fill(replaced.key, fill);
    if (!current) {  // purged; or memory alone still has it, which nobody could update then
        cache_->erase(replaced.key);
        return FillResult::overtaken;
    }
    const auto version = parse_stored(*current).response;
    if (!version || version->stamp != replaced.stored.stamp) return FillResult::overtaken;
    const FillResult result =
        commit(std::move(fill), replaced.key, write_record(stored), entry, pending.base.tags);
    if (result == FillResult::stored && replaced.stored.token == 0)
        pending.ticket.replace(replaced.stored.stamp, stored.stamp);
    return result;
}

/// Over what was there before the origin was asked, and what this process has made of it since.
template <ResponseCache Cache>
FillResult Middleware<Cache>::put_new(Pending& pending, StoredResponse stored, const FieldNames& names,
                                      const EntryOptions& entry) {
    for (int attempt = 0; attempt < 4; ++attempt) {  // others may be adding variants as well
        const detail::Base& base = pending.base;
        const bool first = static_cast<bool>(base.fill);
        const std::uint64_t version = first ? base.version : pending.ticket.follow(base.version);
        const FillResult result = put_over(pending, stored, names, entry, version);
        if (result != FillResult::overtaken) return result;
        // Of nothing there is no other proof that it was still there than the fill.
        if (first && pending.ticket.follow(base.version) == base.version) return result;
    }
    return FillResult::overtaken;
}

/// @param version  of what must be there, if it is known
template <ResponseCache Cache>
FillResult Middleware<Cache>::put_over(Pending& pending, StoredResponse& stored, const FieldNames& names,
                                       const EntryOptions& entry, std::uint64_t version) {
    detail::Base& base = pending.base;
    const TagSnapshot tags = tags_now();
    Fill fill;
    decltype(ask_to_fill(pending.primary, fill)) current;
    if (base.fill)
        fill = std::move(base.fill);
    else
        current = ask_to_fill(pending.primary, fill);
    ParsedStored record;
    if (current) record = parse_stored(*current);
    const std::uint64_t there = version_of(record, fill);
    if (base.known && there != version) {
        if (!current) cache_->erase(pending.primary);  // memory may still have what was lost elsewhere
        return FillResult::overtaken;
    }

    std::string text;
    EntryOptions text_entry;
    std::uint64_t now = stored.stamp;
    if (!record.index && names.empty()) {
        text = write_record(stored);
        text_entry = entry;
    } else {
        Duration listed = detail::sum(*entry.ttl, entry.grace);
        Duration left{0};
        VariantIndex index;
        bool changed = true;
        if (record.index) {
            index = std::move(*record.index);
            const auto place = std::find(index.entries.begin(), index.entries.end(), names);
            left = detail::lifetime_left(current);
            changed = place != index.entries.begin() || place == index.entries.end() || left < listed;
            if (place != index.entries.end())
                std::rotate(index.entries.begin(), place, place + 1);
            else
                index.entries.insert(index.entries.begin(), names);
        } else {
            index.token = random_stamp() | 1U;
            index.entries.push_back(names);
            // The resource did not vary so far: what was under its own key becomes the variant without Vary.
            if (record.response && selecting_names(pending.rule).empty()) {
                StoredResponse old = *record.response;
                old.token = index.token;
                if (detail::stale(current)) detail::end_lifetime(old.meta, wall());
                const EntryOptions old_entry =
                    entry_for(old.meta, wall(), tags_of(pending, Headers::from_wire(old.head)));
                const std::string old_key = KeyGenerator::variant(pending.primary, pending.client, {});
                if (detail::can_store(old_entry.tags) &&
                    commit(overwriting(old_key), old_key, write_record(old), old_entry, tags) ==
                        FillResult::stored) {
                    index.entries.emplace_back();
                    listed = std::max(listed, detail::sum(*old_entry.ttl, old_entry.grace));
                }
            }
        }
        if (index.entries.size() > detail::max_index_entries) index.entries.pop_back();
        stored.token = now = index.token;
        const std::string key = KeyGenerator::variant(pending.primary, pending.client, names);
        const FillResult result = commit(overwriting(key), key, write_record(stored), entry, base.tags);
        if (result != FillResult::stored || !changed) return result;
        text = write_record(index);
        // Longer than needed now, so that it is seldom written: that is what others who store variants have to wait for. What it
        // has left is not doubled, or variants that take turns would make it last for ever.
        text_entry = index_entry(std::max(detail::sum(listed, listed), left));
    }
    const FillResult result = commit(std::move(fill), pending.primary, text, text_entry, base.tags);
    if (result == FillResult::stored && there != now) pending.ticket.replace(there, now);
    return result;
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
