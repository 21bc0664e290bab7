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
#include <type_traits>
#include <utility>

#include <smartcache/facade/smart_cache.hpp>

namespace smartcache::inline v0 {

/// The nearest lower tier that other processes may write to as well: any but the disk.
template <class Codec>
auto SmartCache<Codec>::shared_tier(const EntryOptions& options) const noexcept -> const LowerTier* {
    for (const LowerTier& lower : lower_)
        if (lower.id != TierId::disk && contains(options.write, lower.id)) return &lower;
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
    if constexpr (std::is_void_v<T> || readable_below<T>) {
        const std::string physical = lower_.empty() ? std::string() : physical_key(config_.key_prefix, key);
        const auto look = [&](std::size_t index) {
            LowerFound result;
            std::optional<std::uint64_t> stamp;
            const TierStatus status = lower_[index].tier->peek(physical, [&](const RecordView& record) {
                stamp = record.stamp;
                if (!usable(record, time_.wall(), false)) return;
                base.decided = true;
                base.there = !record.negative;
                if constexpr (!std::is_void_v<T>) accept<T>(key, record, index, false, false, result);
            });
            if constexpr (!std::is_void_v<T>) {
                base.copies = result.copies;
                base.value = present<T>(std::move(result.found));
            }
            base.condition = stamp ? WriteCondition::if_stamp(*stamp) : WriteCondition::if_absent();
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
    Found found = find_memory(key, hash, false);
    if (!found.entry) return base;
    base.there = !found.entry->negative();
    if constexpr (!std::is_void_v<T>) {
        if (found.entry->idle_length() != 0) base.copies.idle = Duration(found.entry->idle_length());
        base.value = present<T>(std::move(found));
        if (base.there && !base.value) count(Event::type_mismatches);
    }
    return base;
}

/// A changed value keeps what remains of the old one's lifetime; its copy in L1 stays as long as a promoted one.
/// @return nullopt when nothing remains
template <class Codec>
template <class T>
std::optional<EntryOptions> SmartCache<Codec>::keeping_lifetime(const Base<T>& base,
                                                                EntryOptions options) const {
    const Duration left = base.value.ttl();
    if (left <= Duration::zero()) return std::nullopt;
    const CopyOptions& copies = base.copies;
    const Entry& old = *base.value.entry_;
    options.ttl = left;
    options.disk_ttl.reset();
    options.redis_ttl.reset();
    Duration here = options.memory_ttl.value_or(copies.memory_ttl.value_or(Duration::max()));
    if (here == Duration::max() && base.value.tier() != TierId::memory) here = config_.memory.ttl;
    options.memory_ttl = std::min(left, here);
    options.jitter = {};
    if (options.grace == Duration::zero() && old.grace != 0)
        options.grace = Duration(detail::ShortLength::millis(old.grace));
    if (!options.idle) options.idle = copies.idle;
    if (!options.weight) options.weight = copies.weight;
    return options;
}

/// Ends what the shared tier had when it was looked at, and only that.
template <class Codec>
TierStatus SmartCache<Codec>::end_shared(const BaseState& base, std::string_view physical) {
    if (base.condition.kind != WriteCondition::Kind::if_stamp) return TierStatus::ok;
    const WallTime now = time_.wall();
    return base.shared->tier->change_lifetime(physical, base.condition.stamp, now, now);
}

/// With the key's order: nobody knows what the shared tier has now, so no tier keeps anything.
template <class Codec>
void SmartCache<Codec>::forget_everywhere(std::string_view key, std::uint64_t hash,
                                          std::string_view physical) {
    for (LowerTier& lower : lower_) (void)lower.tier->remove(physical);
    (void)forget_memory(key, hash);
    fences_.mark(key, hash);
}

template <class Codec>
auto SmartCache<Codec>::commit_if(std::string_view key, std::uint64_t hash, detail::PreparedValue& value,
                                  const EntryOptions& options, const BaseState& base,
                                  const detail::Ticket& ticket) -> Change {
    const std::string physical = lower_.empty() ? std::string() : physical_key(config_.key_prefix, key);
    value.record.key = physical;
    const typename detail::Store<Entry>::Later later;  // values end when the order is released
    const auto order = fences_.order(hash);
    if (fences_.marked(ticket)) return Change::conflict;
    const WallTime now = lower_.empty() ? WallTime{} : time_.wall();
    bool stored = false;
    if (base.shared != nullptr) {
        TierStatus status = TierStatus::rejected;
        if (date_record(*base.shared, value, now, options)) {
            status = base.shared->tier->write(value.record, base.condition);
            stored = status == TierStatus::ok;
        }
        if (status == TierStatus::rejected) status = end_shared(base, physical);  // not to be kept there
        if (status == TierStatus::unavailable) {
            forget_everywhere(key, hash, physical);
            return Change::unknown;
        }
        if (status != TierStatus::ok) return Change::conflict;
    }
    for (LowerTier& lower : lower_) {
        if (&lower == base.shared) continue;
        if (date_record(lower, value, now, options))
            stored = lower.tier->write(value.record) == TierStatus::ok || stored;
        else
            (void)lower.tier->remove(physical);
    }
    Ref again = Ref::share(value.entry.get());
    const Kept kept = put_memory(key, hash, value, options, &ticket, true);
    if (kept == Kept::yes || stored) return Change::done;
    if (kept == Kept::no) return Change::not_kept;
    value.entry = std::move(again);  // by a `set` without lower tiers, which needs no order
    return Change::conflict;
}

template <class Codec>
auto SmartCache<Codec>::erase_if(std::string_view key, std::uint64_t hash, const BaseState& base,
                                 const detail::Ticket& ticket) -> Change {
    const std::string physical = lower_.empty() ? std::string() : physical_key(config_.key_prefix, key);
    const typename detail::Store<Entry>::Later later;  // values end when the order is released
    const auto order = fences_.order(hash);
    if (fences_.marked(ticket)) return Change::conflict;
    if (base.shared != nullptr) {
        const TierStatus status = end_shared(base, physical);
        if (status == TierStatus::unavailable) {
            forget_everywhere(key, hash, physical);
            return Change::unknown;
        }
        if (status != TierStatus::ok) return Change::conflict;
    }
    for (LowerTier& lower : lower_)
        if (&lower != base.shared) (void)lower.tier->remove(physical);
    bool conflict = false;
    if (memory_)
        (void)memory_->take_if(hash, KeyIs{key}, [&](Entry&) {
            conflict = fences_.marked(ticket);
            return !conflict;
        });
    if (conflict) return Change::conflict;
    fences_.mark(key, hash);
    return Change::done;
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
    for (int i = 0; i < attempts; ++i) {
        detail::FillTicket ticket(fences_, key, hash);
        Base<T> base = find_base<T>(key, hash, options);
        const Change outcome = attempt(hash, base, *ticket);
        if (outcome != Change::conflict) return outcome;
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
            EntryOptions own = options;
            if (base.value && !options.ttl) {
                std::optional<EntryOptions> kept = keeping_lifetime(base, options);
                if (!kept) return Change::conflict;
                own = std::move(*kept);
            }
            detail::PreparedValue prepared = prepare(key, std::move(*next), idles(own));
            if (prepared.too_large) count(Event::rejected);
            return commit_if(key, hash, prepared, own, base, ticket);
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
            EntryOptions own = options;
            if (base.value) {
                std::optional<EntryOptions> kept = keeping_lifetime(base, options);
                if (!kept) return Change::conflict;
                own = std::move(*kept);
            }
            detail::PreparedValue prepared = prepare(key, sum, idles(own));
            return commit_if(key, hash, prepared, own, base, ticket);
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
            if (!prepared) prepared.emplace(prepare(key, std::forward<T>(value), idles(options)));
            return commit_if(key, hash, *prepared, options, base, ticket);
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
        count_hit(taken.tier(), false);
    else
        count(Event::misses);
    return taken;
}

}  // namespace smartcache::inline v0
