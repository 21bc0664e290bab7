#pragma once

// SmartCache: changes that depend on what is there (`update`, `increment`, `set_if_absent`, `take`).
//
// All four look, decide and change, and start over when somebody was faster. Inside the process the ticket of a fill
// tells that (fences.hpp): it is taken before looking, every change of the key marks it, and the last look at it is
// under the key's order. Between processes it is the version of the record in the tier that they share: only
// that version is replaced or ended (R7). What was sent to that tier and has no answer is never tried again (R10):
// the key is then dropped everywhere, and the caller told.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include <smartcache/facade/smart_cache.hpp>

namespace smartcache::inline v0 {

/// Whether no tier is to keep what is made: that says nothing of where what is there is kept.
template <class Codec>
bool SmartCache<Codec>::kept_nowhere(const EntryOptions& options) noexcept {
    const Duration none = Duration::zero();
    return options.ttl && *options.ttl <= none && options.memory_ttl.value_or(none) <= none &&
           options.redis_ttl.value_or(none) <= none && options.disk_ttl.value_or(none) <= none;
}

/// The nearest lower tier that other processes may write to as well, unless it is left out: any but the disk.
template <class Codec>
auto SmartCache<Codec>::shared_tier(const EntryOptions& options) const noexcept -> const LowerTier* {
    for (const LowerTier& lower : lower_)
        if (lower.id != TierId::disk && contains(options.write, lower.id) &&
            (lifetime_in(lower.id, options) > Duration::zero() || kept_nowhere(options)))
            return &lower;
    return nullptr;
}

/// Looks where the truth is: in the tier that others share, if it answers, and nowhere else, for what it does not have
/// another process may have erased; else in the lower tiers, whose records tell the whole lifetime, then in L1.
/// @tparam T  what to read it as; void: only whether a value is there
template <class Codec>
template <class T>
auto SmartCache<Codec>::find_base(std::string_view key, std::uint64_t hash, const EntryOptions& options) const
    -> Base<T> {
    Base<T> base;
    base.seen = see_tags();
    if constexpr (std::is_void_v<T> || readable_below<T>) {
        const std::string physical = lower_.empty() ? std::string() : physical_key(config_.key_prefix, key);
        const auto look = [&](std::size_t index) {
            LowerFound result;
            base.condition = WriteCondition::if_absent();
            const TierStatus status = lower_[index].tier->peek(physical, [&](const RecordView& record) {
                base.condition = WriteCondition::of(record);
                bool goes_up = true;
                if (!usable(record, time_.wall(), false) || !trusts(lower_[index], record, {}, goes_up))
                    return;
                base.decided = true;
                base.there = !record.negative;
                if (record.tags.size() <= max_tags) base.tags.assign(record.tags.begin(), record.tags.end());
                if constexpr (!std::is_void_v<T>) accept<T>(key, record, index, false, false, result);
            });
            if constexpr (!std::is_void_v<T>) {
                base.copies = result.copies;
                base.value = present<T>(std::move(result.found));
            }
            return status != TierStatus::unavailable;
        };
        const LowerTier* const shared = shared_tier(options);
        if (shared != nullptr) {
            base.unreachable = !look(static_cast<std::size_t>(shared - lower_.data()));
            if (!base.unreachable) {
                base.shared = shared;
                return base;
            }
        }
        for (std::size_t i = 0; i < lower_.size() && !base.decided; ++i)
            if (&lower_[i] != shared && contains(options.read, lower_[i].id)) (void)look(i);
    }
    if (base.decided || !contains(options.read, TierId::memory)) return base;
    Found found = find_memory(key, hash, false, !std::is_void_v<T>);
    if (!found.entry) return base;
    base.there = !found.entry->negative();
    if constexpr (!std::is_void_v<T>) {
        if (found.entry->idle_length() != 0) base.copies.idle = Duration(found.entry->idle_length());
        base.copies.weight = weight_of_found(key, hash, *found.entry);
        for (const detail::Tag* const tag : found.entry->tags()) base.tags.push_back(tag->name);
        base.value = present<T>(std::move(found));
        if (base.there && !base.value) count(Event::type_mismatches);
    }
    return base;
}

/// How a changed value is kept: as long as the old one would have been, and its copy in L1 as long as a promoted one.
template <class Codec>
template <class T>
auto SmartCache<Codec>::keeping_lifetime(const Base<T>& base, const EntryOptions& options) const -> Plan {
    const Entry& old = *base.value.entry_;
    Plan plan{options, old.fresh_until(), Duration::max(), base.copies};
    EntryOptions& own = plan.options;
    if (options.memory_ttl) plan.copies->memory_ttl = options.memory_ttl;
    if (plan.copies->memory_ttl)
        plan.most_in_memory = *plan.copies->memory_ttl;
    else if (base.value.tier() != TierId::memory)
        plan.most_in_memory = live_.ttl(TierId::memory);
    // Who leaves a tier out does so with what is there, too.
    const auto left_out = [&](TierId tier) {
        return lifetime_in(tier, options) <= Duration::zero() && !kept_nowhere(options);
    };
    if (left_out(TierId::memory)) plan.most_in_memory = Duration::zero();
    own.redis_ttl = left_out(TierId::redis) ? std::optional(Duration::zero()) : std::nullopt;
    own.disk_ttl = left_out(TierId::disk) ? std::optional(Duration::zero()) : std::nullopt;
    own.jitter = {};
    if (own.grace == Duration::zero() && old.grace != 0)
        own.grace = Duration(detail::ShortLength::millis(old.grace));
    if (!own.idle) own.idle = base.copies.idle;
    if (!own.weight) own.weight = base.copies.weight;
    plan.copies->idle = own.idle;
    plan.copies->weight = own.weight;
    return plan;
}

/// A change keeps the tags unless it names others.
template <class Codec>
auto SmartCache<Codec>::planned(Plan plan, const BaseState& base) -> Plan {
    if (plan.options.tags.empty()) plan.options.tags = base.tags;
    return plan;
}

/// An end that was fixed before, as a lifetime from now on. Asked anew before each tier is written: else each change
/// would prolong the life by what it took. @return false when nothing remains
template <class Codec>
bool SmartCache<Codec>::count_from_now(Plan& plan) const {
    if (!plan.ends) return true;
    plan.options.ttl = *plan.ends == Entry::never ? Duration::max() : Duration(*plan.ends - now_ms());
    plan.options.memory_ttl = std::min(*plan.options.ttl, plan.most_in_memory);
    return *plan.options.ttl > Duration::zero();
}

/// Ends what the shared tier had when it was looked at, and only that. Where it had nothing others may still have what it has
/// lost.
template <class Codec>
TierStatus SmartCache<Codec>::end_shared(const BaseState& base, std::string_view physical) {
    if (base.condition.kind != WriteCondition::Kind::if_stamp) return base.shared->tier->end_lost(physical);
    return base.shared->tier->end(physical, base.condition.stamp);
}

/// With the key's order: whether the value was on its way from L1 to the disk while both were looked at in vain.
template <class Codec>
bool SmartCache<Codec>::demoted_meanwhile(const BaseState& base, std::string_view key,
                                          std::string_view physical) {
    const LowerTier* const target = demotion_target();
    if (target == nullptr || base.shared != nullptr || base.decided || base.there) return false;
    {
        const std::lock_guard lock(demotions_mutex_);
        for (const auto& [entry, demotion] : demotions_)
            if (entry->key() == key) return true;
    }
    bool there = false;  // as `find_base` sees it, or it would be found in vain again
    (void)target->tier->peek(physical, [&](const RecordView& record) {
        bool goes_up = true;
        there = usable(record, time_.wall(), false) && trusts(*target, record, {}, goes_up);
    });
    return there;
}

/// With the key's order: nobody knows what the shared tier has now, so no tier keeps anything.
template <class Codec>
void SmartCache<Codec>::forget_everywhere(std::string_view key, std::uint64_t hash,
                                          std::string_view physical) {
    for (LowerTier& lower : lower_) (void)lower.tier->remove(physical);
    (void)end_memory(key, hash);
}

template <class Codec>
auto SmartCache<Codec>::commit_if(std::string_view key, std::uint64_t hash, detail::PreparedValue& value,
                                  Plan& plan, const BaseState& base, const detail::Ticket& ticket) -> Change {
    if (value.too_large) {
        count(Event::rejected);
        return Change::not_kept;
    }
    const std::string physical = lower_.empty() ? std::string() : physical_key(config_.key_prefix, key);
    value.record.key = physical;
    value.copies = plan.copies;
    const EntryOptions& options = plan.options;
    Ref again;  // ends when the order is released, as `later` does
    const Unlocked later;
    const auto order = fences_.order(hash);
    if (fences_.marked(ticket)) return Change::conflict;
    if (contains(options.read, TierId::disk) && demoted_meanwhile(base, key, physical))
        return Change::conflict;
    if (!count_from_now(plan)) return Change::conflict;
    const detail::OnException no_memory([&] { end_own_copies(key, hash, physical); });
    const WallTime now = lower_.empty() ? WallTime{} : time_.wall();
    bool stored = false;
    if (base.shared != nullptr) {
        TierStatus status = TierStatus::rejected;
        if (date_record(*base.shared, value, now, options)) {
            WriteCondition condition = base.condition;
            condition.change = true;
            status = base.shared->tier->write(value.record, condition);
            stored = status == TierStatus::ok;
        }
        if (status == TierStatus::rejected) status = end_shared(base, physical);  // not to be kept there
        if (status == TierStatus::unavailable) forget_everywhere(key, hash, physical);
        if (status != TierStatus::ok) return detail::failed_change(status);
    }
    for (LowerTier& lower : lower_) {
        if (&lower == base.shared) continue;
        if (date_record(lower, value, now, options))
            stored = write_below(lower, value.record, hash, {}, &ticket) == TierStatus::ok || stored;
        else
            (void)lower.tier->remove(physical);
    }
    again = Ref::share(value.entry.get());
    (void)count_from_now(plan);  // if nothing remains by now, L1 does not keep it
    const Kept kept = put_memory(key, hash, value, options, &ticket, true);
    if (kept == Kept::refused && stored) (void)end_memory(key, hash);
    if (kept == Kept::yes || stored) {
        tell({.kind = EventKind::set, .key = key});
        return Change::done;
    }
    if (kept == Kept::no) return Change::not_kept;
    value.entry = std::move(again);  // by a `set` without lower tiers, which needs no order
    return Change::conflict;
}

template <class Codec>
auto SmartCache<Codec>::erase_if(std::string_view key, std::uint64_t hash, const BaseState& base,
                                 const detail::Ticket& ticket) -> Change {
    const std::string physical = lower_.empty() ? std::string() : physical_key(config_.key_prefix, key);
    const Unlocked later;  // values end when the order is released
    const auto order = fences_.order(hash);
    if (fences_.marked(ticket)) return Change::conflict;
    if (base.shared != nullptr) {
        const TierStatus status = end_shared(base, physical);
        if (status == TierStatus::unavailable) forget_everywhere(key, hash, physical);
        if (status != TierStatus::ok) return detail::failed_change(status);
    }
    for (LowerTier& lower : lower_)
        if (&lower != base.shared) (void)lower.tier->remove(physical);
    // Marks that come without the order are of two kinds. A `set` in a cache that has L1 alone: somebody was faster. What
    // another process has changed: it was that process that was late, if the shared tier has ended this very version for us.
    bool conflict = false;
    if (memory_)
        (void)memory_->take_if(hash, KeyIs{key}, [&](Entry&) {
            conflict = base.shared == nullptr && fences_.marked(ticket);
            return !conflict;
        });
    if (conflict) return Change::conflict;
    count(Event::invalidations);
    fences_.mark(key, hash);
    return Change::done;
}

/// Whether a tier has told only since then how far its tags have got: what is seen of them counts from before the look.
template <class Codec>
bool SmartCache<Codec>::learnt_tags(const detail::TagsSeen& seen) const {
    for (std::size_t i = 0; i < lower_.size(); ++i)
        if (!lower_[i].own && lower_[i].tier->tag_seq(config_.key_prefix) != seen.below[i]) return true;
    return false;
}

/// Looks, lets `attempt(base, ticket)` change, and starts over on a conflict.
template <class Codec>
template <class T, class Attempt>
auto SmartCache<Codec>::change(std::string_view key, const EntryOptions& options, Attempt attempt) -> Change {
    check(options);
    if (key.size() > config_.max_key_size) {
        count(Event::rejected);
        return Change::not_kept;
    }
    const std::uint64_t hash = hash_of(key);
    // Whoever is late was overtaken by somebody who was not, so this ends; a tier that refuses for ever, or a
    // function that writes its own key, would not.
    constexpr int attempts = 10'000;
    bool looked = false;
    for (int i = 0; i < attempts; ++i) {
        detail::FillTicket ticket(fences_, key, hash);
        Base<T> base = find_base<T>(key, hash, options);
        // Once is enough: of what has changed before this call the first look has told.
        const bool tagged = !options.tags.empty() || !base.tags.empty();
        if (!std::exchange(looked, true) && tagged && learnt_tags(base.seen)) continue;
        const Change outcome = attempt(hash, base, *ticket);
        if (outcome != Change::conflict) return outcome;
        std::this_thread::yield();
    }
    log_(LogLevel::warning, "smartcache: a value changes too often, or its update changes it itself");
    return Change::unknown;
}

template <class Codec>
template <class T, class F>
bool SmartCache<Codec>::update(std::string_view key, F&& fn, const EntryOptions& options) {
    using Owned = detail::owning_t<T>;
    const Change outcome =
        change<T>(key, options, [&](std::uint64_t hash, const Base<T>& base, const detail::Ticket& ticket) {
            std::optional<Owned> old;
            if (base.value) old.emplace(*base.value);
            std::optional<Owned> next = std::invoke(fn, std::move(old));
            if (!next) return erase_if(key, hash, base, ticket);
            Plan plan =
                planned(base.value && !options.ttl ? keeping_lifetime(base, options) : Plan{options}, base);
            detail::PreparedValue prepared = prepare(key, std::move(*next), plan.options, base.seen);
            return commit_if(key, hash, prepared, plan, base, ticket);
        });
    return outcome == Change::done;
}

template <class Codec>
std::optional<std::int64_t> SmartCache<Codec>::increment(std::string_view key, std::int64_t by,
                                                         const EntryOptions& options) {
    std::int64_t sum = 0;
    const Change outcome = change<std::int64_t>(
        key, options, [&](std::uint64_t hash, const Base<std::int64_t>& base, const detail::Ticket& ticket) {
            if (base.unreachable || (base.there && !base.value)) return Change::not_kept;
            if (__builtin_add_overflow(base.value ? *base.value : 0, by, &sum)) return Change::not_kept;
            Plan plan = planned(base.value ? keeping_lifetime(base, options) : Plan{options}, base);
            detail::PreparedValue prepared = prepare(key, sum, plan.options, base.seen);
            return commit_if(key, hash, prepared, plan, base, ticket);
        });
    return outcome == Change::done ? std::optional(sum) : std::nullopt;
}

template <class Codec>
template <class T>
bool SmartCache<Codec>::set_if_absent(std::string_view key, T&& value, const EntryOptions& options) {
    if constexpr (detail::is_memory_only<std::decay_t<T>>)
        if (options.write != TierSet::memory) {
            EntryOptions here = options;  // no other tier can have it, so none decides
            here.write = TierSet::memory;
            return set_if_absent(key, std::forward<T>(value), here);
        }
    std::optional<detail::PreparedValue> prepared;
    const Change outcome = change<void>(
        key, options, [&](std::uint64_t hash, const Base<void>& base, const detail::Ticket& ticket) {
            if (base.unreachable || base.there) return Change::not_kept;
            if (!prepared) prepared.emplace(prepare(key, std::forward<T>(value), options, base.seen));
            Plan plan{options};
            return commit_if(key, hash, *prepared, plan, base, ticket);
        });
    return outcome == Change::done;
}

template <class Codec>
template <class T>
Lookup<T> SmartCache<Codec>::take(std::string_view key) {
    Lookup<T> taken;
    const Change outcome = change<T>(key, detail::default_entry_options(),
                                     [&](std::uint64_t hash, Base<T>& base, const detail::Ticket& ticket) {
                                         if (base.unreachable || !base.value) return Change::not_kept;
                                         taken = std::move(base.value);
                                         return erase_if(key, hash, base, ticket);
                                     });
    if (outcome != Change::done) taken = {};
    if (taken)
        count_hit(key, taken.tier(), false);
    else
        count_miss(key);
    return taken;
}

}  // namespace smartcache::inline v0
