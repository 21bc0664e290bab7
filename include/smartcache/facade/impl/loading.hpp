#pragma once

// SmartCache: loads that many callers share.

#include <chrono>
#include <exception>
#include <functional>
#include <stdexcept>

#include <smartcache/facade/smart_cache.hpp>

namespace smartcache::inline v0 {

template <class Codec>
template <class F>
Lookup<loaded_t<F>> SmartCache<Codec>::get_or_compute(std::string_view key, F&& load,
                                                      const EntryOptions& options) {
    using T = loaded_t<F>;
    check(options);
    const std::uint64_t hash = hash_of(key);
    if (key.size() > config_.max_key_size) {  // cannot be kept, can be loaded
        count(Event::rejected);
        count(Event::misses);
        return load_alone<T>(key, hash, load, options);
    }
    if (contains(options.read, TierId::memory)) {
        Found found = find_memory(key, hash, false);
        if (found.entry && found.entry->negative()) {
            if constexpr (detail::may_be_absent<F>) {
                count_hit(TierId::memory, false);
                return {};
            }
        } else if (found.entry) {
            if (Lookup<T> hit = present<T>(std::move(found))) {
                count_hit(TierId::memory, false);
                return hit;
            }
            count(Event::type_mismatches);
        }
    }
    return load_shared<T>(key, hash, load, options);
}

template <class Codec>
template <class F>
Lookup<loaded_t<F>> SmartCache<Codec>::refresh(std::string_view key, F&& load, const EntryOptions& options) {
    check(options);
    const std::uint64_t hash = hash_of(key);
    detail::FillTicket ticket(fences_, key, hash);
    // The caller wants the new value in the place of whatever is there.
    const std::vector<WriteCondition> overwrite(lower_.size(), WriteCondition::always());
    Ref loaded = load_and_store(key, hash, load, options, *ticket, &overwrite);
    return present<loaded_t<F>>({std::move(loaded), TierId::none, false});
}

template <class Codec>
template <class Keys, class F>
std::size_t SmartCache<Codec>::warm(Keys&& keys, F&& load, const EntryOptions& options) {
    check(options);
    std::size_t loaded = 0;
    for (auto&& each : keys) {
        const std::string_view key(each);
        if (exists(key)) continue;
        bool ran = false;
        try {
            const auto run = [&] {
                auto value = std::invoke(load, key);
                ran = true;
                return value;
            };
            if (get_or_compute(key, run, options) && ran) ++loaded;
        } catch (const std::exception& error) {
            log_(LogLevel::warning, std::string("smartcache: a load for warming failed: ") + error.what());
        } catch (...) {
            log_(LogLevel::warning, "smartcache: a load for warming failed");
        }
    }
    return loaded;
}

/// Joins the key's running load, or leads a new one.
template <class Codec>
template <class T, class F>
Lookup<T> SmartCache<Codec>::load_shared(std::string_view key, std::uint64_t hash, F& load,
                                         const EntryOptions& options) {
    const auto [flight, leads] = fences_.join(key, hash);
    if (leads) {
        Found found;
        std::exception_ptr failure;
        try {
            found = lead<T>(key, hash, load, options, *flight);
        } catch (...) {
            failure = std::current_exception();
        }
        // Left first: who comes after this finds the stored value, or starts anew.
        fences_.leave(*flight);
        flight->complete(found.entry ? Ref::share(found.entry.get()) : Ref(), failure);
        if (failure) {
            count(Event::misses);
            std::rethrow_exception(failure);
        }
        if (found.tier == TierId::none) {
            count(Event::misses);
            return present<T>(std::move(found));
        }
        count_hit(found.tier, found.stale);
        return present<T>(std::move(found));
    }

    detail::WaitGraph& waits = detail::WaitGraph::instance();
    switch (waits.begin(*flight)) {
        case detail::WaitGraph::Verdict::own_key:
            throw std::logic_error("smartcache: the load of \"" + std::string(key) +
                                   "\" asks for its own key");
        case detail::WaitGraph::Verdict::circle:
            count(Event::misses);
            return load_alone<T>(key, hash, load, options);
        case detail::WaitGraph::Verdict::may_wait:
            break;
    }
    {
        std::unique_lock lock(flight->mutex);
        flight->ended.wait(lock, [&flight = *flight] { return flight.done; });
    }
    waits.end();
    count(Event::misses);
    count(Event::coalesced);  // whatever follows: it has waited instead of loading
    if (flight->error) std::rethrow_exception(flight->error);
    if (!flight->result) return {};
    const bool stale = !flight->result->fresh(now_ms());
    if (flight->result->negative()) {
        if constexpr (detail::may_be_absent<F>) return {};
        return load_alone<T>(key, hash, load, options);
    }
    if (Lookup<T> shared = present<T>({Ref::share(flight->result.get()), TierId::none, stale})) return shared;
    count(Event::type_mismatches);  // the others load another type under this key
    return load_alone<T>(key, hash, load, options);
}

/// Loads for this caller alone; stores only what nobody has written meanwhile.
template <class Codec>
template <class T, class F>
Lookup<T> SmartCache<Codec>::load_alone(std::string_view key, std::uint64_t hash, F& load,
                                        const EntryOptions& options) {
    detail::FillTicket ticket(fences_, key, hash);
    return present<T>({load_and_store(key, hash, load, options, *ticket, nullptr), TierId::none, false});
}

/// What the leader of a flight does: looks again, asks below, loads; on a failure serves what is within its
/// grace.
template <class Codec>
template <class T, class F>
auto SmartCache<Codec>::lead(std::string_view key, std::uint64_t hash, F& load, const EntryOptions& options,
                             const detail::Ticket& ticket) -> Found {
    // A remembered absence is no answer for a loader that always has a value.
    const auto answers = [this](const Found& found) {
        if (found.entry->negative()) return detail::may_be_absent<F>;
        return static_cast<bool>(present<T>({Ref::share(found.entry.get()), found.tier, found.stale}));
    };
    if (contains(options.read, TierId::memory)) {
        Found found = find_memory(key, hash, false);  // another load may have ended just now
        if (found.entry && answers(found)) return found;
    }
    std::vector<WriteCondition> seen;
    if constexpr (readable_below<T>) {
        if (!lower_.empty()) {
            LowerFound below = find_lower<T>(key, {.tiers = options.read}, true, options.idle.has_value());
            if (below.found.entry && (detail::may_be_absent<F> || !below.found.entry->negative())) {
                if (contains(options.write, TierId::memory))
                    promote(key, hash, below, ticket, copy_options(options));
                return std::move(below.found);
            }
            seen = std::move(below.seen);
        }
    }
    // What is there in the tiers that were not asked is replaced all the same.
    const std::size_t asked = seen.size();
    seen.resize(lower_.size(), WriteCondition::if_absent());
    for (std::size_t i = 0; i < lower_.size(); ++i)
        if (i >= asked || !contains(options.read, lower_[i].id))
            (void)lower_[i].tier->peek(physical_key(config_.key_prefix, key), [&](const RecordView& record) {
                seen[i] = WriteCondition::if_stamp(record.stamp, record.created_seq);
            });
    try {
        return {load_and_store(key, hash, load, options, ticket, &seen), TierId::none, false};
    } catch (...) {
        // R5: an erase since then has killed the grace copy too.
        if (options.grace <= Duration::zero() || fences_.marked(ticket)) throw;
        Found stale = find_stale<T>(key, hash, options.read | TierSet::memory);
        if (!stale.entry || stale.entry->negative() || !answers(stale) || fences_.marked(ticket)) throw;
        return stale;
    }
}

template <class Codec>
template <class F>
auto SmartCache<Codec>::load_and_store(std::string_view key, std::uint64_t hash, F& load,
                                       const EntryOptions& options, const detail::Ticket& ticket,
                                       const std::vector<WriteCondition>* seen) -> Ref {
    using Result = typename detail::loader_result<std::remove_cvref_t<F>>::type;
    LoadContext context(key, options);
    count(Event::loads);
    const auto start = std::chrono::steady_clock::now();
    std::optional<Result> loaded;
    try {
        loaded.emplace(detail::run_loader(load, context));
    } catch (...) {
        count(Event::load_failures);
        throw;
    }
    const auto cost =
        std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
    check(context.options);

    const auto keep = [&](detail::PreparedValue& prepared) {
        prepared.record.load_cost = cost;
        if (prepared.too_large) count(Event::rejected);
        const bool wanted = !prepared.record.negative ||
                            context.options.negative_ttl.value_or(Duration::zero()) > Duration::zero();
        Ref entry = Ref::share(prepared.entry.get());
        if (!context.stores() || key.size() > config_.max_key_size) return entry;
        if (!wanted && seen != nullptr)
            end_older(key, hash, ticket, *seen);
        else if (wanted)
            commit_fill(key, hash, prepared, context.options, ticket, seen);
        return entry;
    };
    if constexpr (detail::is_optional<Result>) {
        if (!loaded->has_value()) {
            detail::PreparedValue prepared = prepare_negative(key, idles(context.options));
            return keep(prepared);
        }
        detail::PreparedValue prepared = prepare(key, std::move(**loaded), idles(context.options));
        return keep(prepared);
    } else {
        detail::PreparedValue prepared = prepare(key, std::move(*loaded), idles(context.options));
        return keep(prepared);
    }
}

}  // namespace smartcache::inline v0
