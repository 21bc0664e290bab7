#pragma once

// SmartCache: values that are made outside of it, by whoever cannot do so in a loader.

#include <algorithm>
#include <stdexcept>
#include <utility>

#include <smartcache/facade/smart_cache.hpp>

namespace smartcache::inline v0 {

template <class Codec>
TagSnapshot SmartCache<Codec>::tags_now() const {
    return TagSnapshot(see_tags());
}

template <class Codec>
Fill SmartCache<Codec>::begin_fill(std::string_view key) {
    Fill fill(fences_, key, hash_of(key));
    if (key.size() <= config_.max_key_size) see_unasked(key, TierSet::none, fill.state_->seen);
    fill.state_->tags = tags_now();  // behind the tiers' answers, which may be the first that tell
    return fill;
}

template <class Codec>
template <class T>
Lookup<T> SmartCache<Codec>::begin_fill(std::string_view key, Fill& fill) {
    static_assert(readable_below<T>, "smartcache: no tier below memory could have a value of this type");
    const std::uint64_t hash = hash_of(key);
    fill = Fill(fences_, key, hash);  // before anybody is asked
    Fill::State& state = *fill.state_;
    Found found;
    if (key.size() <= config_.max_key_size) {
        // What others can change memory may not have heard of yet: it has the say only where nobody else has one.
        const bool shared =
            std::any_of(lower_.begin(), lower_.end(), [](const LowerTier& lower) { return !lower.own; });
        if (!shared) found = find_memory(key, hash, true, false);
        LowerFound below = find_lower<T>(key, {.allow_stale = true}, false);
        state.seen = std::move(below.seen);
        see_unasked(key, TierSet::all, state.seen);
        if (!found) found = std::move(below.found);
        if (!found && below.silent) found = find_memory(key, hash, true, false);
    }
    state.tags = tags_now();
    if (!found) return {};
    for (const detail::Tag* const tag : found.entry->tags()) state.tags_there.emplace_back(tag->name);
    return present<T>(std::move(found));
}

template <class Codec>
Fill SmartCache<Codec>::begin_overwrite(std::string_view key) {
    Fill fill(fences_, key, hash_of(key));
    fill.state_->seen.resize(lower_.size(), WriteCondition::always());
    fill.state_->tags = tags_now();
    return fill;
}

template <class Codec>
template <class T>
FillResult SmartCache<Codec>::commit_fill(Fill fill, T&& value, const EntryOptions& options) {
    check(options);
    if (!fill) throw std::logic_error("smartcache: commit_fill() of a Fill that nobody has begun");
    Fill::State& state = *fill.state_;
    detail::TagsSeen tags = state.tags.seen_;
    tags.below.resize(lower_.size());
    detail::PreparedValue prepared = prepare(state.key, std::forward<T>(value), options, tags);
    const bool too_long = state.key.size() > config_.max_key_size;
    if (prepared.too_large || too_long) count(Event::rejected);
    if (too_long) return FillResult::rejected;
    if (prepared.entry->tags_changed()) return FillResult::overtaken;
    const FillResult result =
        commit_fill(state.key, state.hash, prepared, options, *state.ticket, &state.seen);
    if (result == FillResult::stored) tell({.kind = EventKind::set, .key = state.key});
    return result;
}

}  // namespace smartcache::inline v0
