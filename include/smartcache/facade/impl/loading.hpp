#pragma once

// SmartCache: loads that many callers share.

#include <chrono>
#include <exception>
#include <functional>
#include <stdexcept>

#include <smartcache/core/error.hpp>
#include <smartcache/facade/smart_cache.hpp>

namespace smartcache::inline v0 {

template <class Codec>
template <class F>
Lookup<loaded_t<F>> SmartCache<Codec>::get_or_compute(std::string_view key, F&& load,
                                                      const EntryOptions& options) {
    using T = loaded_t<F>;
    const bool plain = check(options);
    if constexpr (!detail::OwnedLoader<F>)
        if (!plain && (options.soft_timeout || options.hard_timeout))
            throw std::logic_error(
                "smartcache: soft_timeout and hard_timeout need a loader that may go on after the call: "
                "sc::owned(f)");
    const std::uint64_t hash = hash_of(key);
    Ref entry;
    // As in `get`: a hit stays in this function.
    if (memory_ && contains(options.read, TierId::memory)) [[likely]] {
        std::int64_t now = 0;
        entry = memory_->find(hash, KeyIs{key}, true, now);
        if (entry && !stale(*entry, now) && !entry->tags_changed()) [[likely]] {
            if (plain || !refreshes_early(options)) [[likely]]
                if (auto value = in_place<T>(*entry)) [[likely]]
                    return memory_hit<T>(key, entry, value);
        } else if (entry) {
            if (entry->tagged) drop_ended(key, hash);
            entry = {};
        }
    }
    return use_or_load<T>(key, hash, load, options, std::move(entry));
}

/// What a call does that cannot be answered with L1's value as it lies.
/// @param entry  what L1 has that is live, or nothing
template <class Codec>
template <class T, class F>
Lookup<T> SmartCache<Codec>::use_or_load(std::string_view key, std::uint64_t hash, F& load,
                                         const EntryOptions& options, Ref entry) {
    if (key.size() > config_.max_key_size) count(Event::rejected);  // cannot be kept, can be loaded
    if (entry && entry->negative()) {
        if constexpr (detail::may_be_absent<F>) {
            count_hit(key, TierId::memory, false);
            return {};
        }
    } else if (entry) {
        if (refreshes_early(options)) {
            const detail::EarlyRefresh early(options);
            if (early.wants(*entry, now_ms()))
                if (Lookup<T> hit = present<T>({share(entry), TierId::memory, false}))
                    return refresh_early<T>(key, hash, load, options, std::move(hit), early);
        }
        if (Lookup<T> hit = present<T>({std::move(entry), TierId::memory, false})) {
            count_hit(key, TierId::memory, false);
            return hit;
        }
        count(Event::type_mismatches);
    }
    entry = {};  // a load may take long
    return load_shared<T>(key, hash, load, options);
}

template <class Codec>
template <class F>
Lookup<loaded_t<F>> SmartCache<Codec>::refresh(std::string_view key, F&& load, const EntryOptions& options) {
    check(options);
    const std::uint64_t hash = hash_of(key);
    detail::FillTicket ticket(fences_, key, hash);
    // Takes the place of what is there now, and of nothing that comes meanwhile (R7).
    std::vector<WriteCondition> seen;
    if (key.size() <= config_.max_key_size) see_unasked(key, TierSet::none, seen);
    Ref loaded = load_and_store(key, hash, load, options, *ticket, &seen);
    return present<loaded_t<F>>({std::move(loaded), TierId::none, false});
}

template <class Codec>
template <class Keys, class F>
std::size_t SmartCache<Codec>::warm(Keys&& keys, F&& load, const EntryOptions& options) {
    check(options);
    std::size_t loaded = 0;
    EntryOptions waiting = options;  // for as long as it takes
    waiting.soft_timeout.reset();
    waiting.hard_timeout.reset();
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
            if (get_or_compute(key, run, waiting) && ran) ++loaded;
        } catch (const std::exception& error) {
            log_(LogLevel::warning, std::string("smartcache: a load for warming failed: ") + error.what());
        } catch (...) {
            log_(LogLevel::warning, "smartcache: a load for warming failed");
        }
    }
    return loaded;
}

/// A hit whose value is refreshed ahead of its time: by another thread if the loader may go there, else by this one if no other
/// does so already.
template <class Codec>
template <class T, class F>
Lookup<T> SmartCache<Codec>::refresh_early(std::string_view key, std::uint64_t hash, F& load,
                                           const EntryOptions& options, Lookup<T> hit,
                                           const detail::EarlyRefresh& early) {
    const std::int64_t now = now_ms();
    if (refreshes_.begin(hash, now)) {
        const std::int64_t soon = (hit.entry_->fresh_until() - now) / 4;
        PauseUntil pause{
            refreshes_, hash, now + soon,
            detail::Pauses::after(now, std::max<std::int64_t>(options.retry_after.count(), soon))};
        if constexpr (detail::OwnedLoader<F>) {
            refresh_later<T>(key, hash, load, options, early, std::move(pause));
        } else {
            const auto [flight, leads] = fences_.join(key, hash);
            if (leads) {
                try {
                    Lookup<T> fresh = present<T>(fly<T>(*flight, load, options, &early));
                    if (!fresh) {  // the loader says that there is nothing any more
                        count_miss(key);
                        return fresh;
                    }
                    hit = std::move(fresh);
                } catch (const std::exception& error) {
                    pause.failed();
                    log_(LogLevel::warning, std::string("smartcache: a refresh failed: ") + error.what());
                } catch (...) {
                    pause.failed();
                    log_(LogLevel::warning, "smartcache: a refresh failed");
                }
            }
        }
    }
    count_hit(key, hit.tier() == TierId::none ? TierId::memory : hit.tier(), false);
    return hit;
}

/// Leaves a load for the background.
/// @param early  absent: only if the value is not there by then
template <class Codec>
template <class T, class F>
void SmartCache<Codec>::refresh_later(std::string_view key, std::uint64_t hash, F& load,
                                      const EntryOptions& options,
                                      const std::optional<detail::EarlyRefresh>& early, PauseUntil pause) {
    using Handed = decltype(load.hand_over());
    struct Refresh {
        SmartCache& cache;
        std::string key;
        std::uint64_t hash;
        Handed load;
        EntryOptions options;
        std::optional<detail::EarlyRefresh> early;
        PauseUntil pause;
        detail::FillTicket ticket{cache.fences_, key, hash};

        void run() {
            // What was written or erased since then is not to be refreshed any more.
            if (cache.fences_.marked(*ticket)) return;
            // The flight begins here: nobody waits for what may still be waiting itself.
            const auto [flight, leads] = cache.fences_.join(key, hash);
            if (!leads) return;
            try {
                (void)cache.template fly<T>(*flight, load, options, early ? &*early : nullptr);
            } catch (const std::exception& error) {
                pause.failed();
                cache.log_(LogLevel::warning,
                           std::string("smartcache: a load in the background failed: ") + error.what());
            } catch (...) {
                pause.failed();
                cache.log_(LogLevel::warning, "smartcache: a load in the background failed");
            }
        }
    };
    try {
        std::shared_ptr<Refresh> refresh(
            new Refresh{*this, std::string(key), hash, load.hand_over(), options, early, std::move(pause)});
        (void)workers_.later([refresh] { refresh->run(); });
    } catch (const std::exception& error) {  // the caller has its value
        log_(LogLevel::warning, std::string("smartcache: a refresh could not begin: ") + error.what());
    } catch (...) {
        log_(LogLevel::warning, "smartcache: a refresh could not begin");
    }
}

/// Joins the key's running load, or leads a new one.
template <class Codec>
template <class T, class F>
Lookup<T> SmartCache<Codec>::load_shared(std::string_view key, std::uint64_t hash, F& load,
                                         const EntryOptions& options) {
    const detail::LoadDeadlines deadlines(options);
    for (;;) {
        const std::uint64_t tags_seen = tags_.sequence();
        const bool elsewhere = deadlines.any() && workers_.has_threads();
        const auto [flight, leads] = fences_.join(key, hash, elsewhere);
        bool ended = false;
        bool begins = false;  // for certain
        if (leads) {
            if (!elsewhere) return lead_flight<T>(*flight, load, options);
            if constexpr (detail::OwnedLoader<F>) {
                const auto turn = fly_elsewhere<T>(flight, load, options);
                ended = turn == detail::Workers::Turn::refused;
                begins = turn == detail::Workers::Turn::taken;
            }
        }
        bool looked = false;
        while (!ended) {
            auto end = looked ? deadlines.hard : deadlines.first();
            // R32: a load that does not begin may be waiting behind others that wait for this thread.
            const bool patient = !end && !begins && !flight->begun();
            if (patient) end = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
            detail::WaitGraph& waits = detail::WaitGraph::instance();
            switch (waits.begin(*flight)) {
                case detail::WaitGraph::Verdict::own_key:
                    throw std::logic_error("smartcache: the load of \"" + std::string(key) +
                                           "\" asks for its own key");
                case detail::WaitGraph::Verdict::circle:
                    count_miss(key);
                    return load_alone<T>(key, hash, load, options);
                case detail::WaitGraph::Verdict::may_wait:
                    break;
            }
            {
                const detail::WaitGraph::Waiting registered(waits);
                ended = flight->wait(end);
            }
            if (ended) break;
            if (patient) {
                ended = flight->begin();
                continue;
            }
            if (looked) break;
            if (Found old = find_servable<T>(key, hash, options))
                return answer_loaded<T>(key, std::move(old));
            if (!deadlines.soft) break;
            looked = true;
        }
        if (!ended) {
            count_miss(key);
            throw LoadTimeout(key);
        }
        const detail::Flight::Outcome& result = flight->result;
        const bool tags_changed = result.value && result.value->tags_changed();
        // R2: what began before a tag was erased is not for those who came after that. A stale value that is served because a
        // load has failed is old by its nature, and nobody needs to see the next one fail.
        if (!leads && tags_changed && result.value->tag_sequence() < tags_seen &&
            (!result.stale || result.value->ended_by_tag()))
            continue;
        if (!leads) count(Event::coalesced);  // whatever follows: it has waited instead of loading
        if (result.error) {
            // The leader's call may have had no grace.
            if (Found old = leads ? Found() : find_servable<T>(key, hash, options))
                return answer_loaded<T>(key, std::move(old));
            count_miss(key);
            std::rethrow_exception(result.error);
        }
        if (!result.value) {
            count_miss(key);
            return {};
        }
        if (result.value->negative()
                ? detail::may_be_absent<F>
                : static_cast<bool>(present<T>({share(result.value), result.tier, false})))
            return answer_loaded<T>(
                key, {share(result.value), result.tier,
                      result.stale || tags_changed ||
                          (result.tier == TierId::none && !leads && !result.value->fresh(now_ms()))});
        // The others load another type under this key, or may say that there is nothing.
        if (!result.value->negative()) count(Event::type_mismatches);
        if (elsewhere && !leads) continue;  // only a flight of its own keeps the deadlines
        count_miss(key);
        return load_alone<T>(key, hash, load, options);
    }
}

/// Leads a flight in this thread.
template <class Codec>
template <class T, class F>
Lookup<T> SmartCache<Codec>::lead_flight(detail::Flight& flight, F& load, const EntryOptions& options) {
    Found found;
    try {
        found = fly<T>(flight, load, options, nullptr);
    } catch (...) {
        count_miss(flight.key);
        throw;
    }
    if (refreshes_early(options) && found.tier != TierId::none && !found.stale) {
        const detail::EarlyRefresh early(options);
        if (early.wants(*found.entry, now_ms()))
            if (Lookup<T> hit = present<T>({share(found.entry), found.tier, false}))
                return refresh_early<T>(flight.key, flight.hash, load, options, std::move(hit), early);
    }
    return answer_loaded<T>(flight.key, std::move(found));
}

/// Offers a flight to the threads of the cache. @return what became of it; `refused`: this one has led it
template <class Codec>
template <class T, class F>
detail::Workers::Turn SmartCache<Codec>::fly_elsewhere(const std::shared_ptr<detail::Flight>& flight, F& load,
                                                       const EntryOptions& options) {
    using Taken = detail::Workers::Turn;
    using Handed = decltype(load.hand_over());
    struct Load {
        Handed load;
        EntryOptions options;
    };
    /// Of one of those threads.
    struct Turn {
        SmartCache& cache;
        std::shared_ptr<detail::Flight> flight;
        // Dropped because the cache ends: other loads may be waiting for this one.
        ~Turn() {
            if (!flight->withdraw()) return;
            std::exception_ptr error;
            try {
                error = std::make_exception_ptr(LoadTimeout(flight->name));
            } catch (...) {  // no memory for its text
                error = std::current_exception();
            }
            cache.end_flight(*flight, {.error = error});
        }
    };
    bool offered = false;
    try {
        const auto kept = std::make_shared<Load>(Load{load.hand_over(), options});
        flight->offer([this, kept, led = flight.get()] {
            try {
                (void)fly<T>(*led, kept->load, kept->options, nullptr);
            } catch (...) {  // those who wait for it get that
            }
        });
        offered = true;
        const std::shared_ptr<Turn> turn(new Turn{*this, flight});
        const Taken taken = workers_.at_once([turn] { (void)turn->flight->begin(); });
        if (taken != Taken::refused) return taken;
        return flight->begin() ? Taken::refused : Taken::taken;  // unless somebody else was quicker
    } catch (...) {
        if (!offered || flight->withdraw()) end_flight(*flight, {.error = std::current_exception()});
        throw;
    }
}

/// Leads a flight to its end.
template <class Codec>
template <class T, class F>
auto SmartCache<Codec>::fly(detail::Flight& flight, F& load, const EntryOptions& options,
                            const detail::EarlyRefresh* early) -> Found {
    Found found;
    try {
        found = lead<T>(flight.key, flight.hash, load, options, flight, early);
    } catch (...) {
        end_flight(flight, {.error = std::current_exception()});
        throw;
    }
    end_flight(flight, {share(found.entry), found.tier, found.stale, {}});
    return found;
}

template <class Codec>
void SmartCache<Codec>::end_flight(detail::Flight& flight, detail::Flight::Outcome outcome) {
    // Left first: who comes after this finds the stored value, or starts anew.
    fences_.leave(flight);
    flight.complete(std::move(outcome));
}

/// Ends a call that has led a load.
template <class Codec>
template <class T>
Lookup<T> SmartCache<Codec>::answer_loaded(std::string_view key, Found found) const {
    if (found.tier == TierId::none)
        count_miss(key);
    else
        count_hit(key, found.tier, found.stale);
    return present<T>(std::move(found));
}

/// What may be served although it has expired, because a load fails or takes long; not what is erased while it looks (R5).
template <class Codec>
template <class T>
auto SmartCache<Codec>::find_servable(std::string_view key, std::uint64_t hash,
                                      const EntryOptions& options) const -> Found {
    if (options.grace <= Duration::zero() || key.size() > config_.max_key_size) return {};
    detail::FillTicket ticket(fences_, key, hash);
    Found old = find_stale<T>(key, hash, options.read | TierSet::memory);
    if (!old.entry || old.entry->negative() || fences_.ended(*ticket) ||
        !present<T>({share(old.entry), old.tier, old.stale}))
        return {};
    return old;
}

/// Loads for this caller alone; stores only what nobody has written meanwhile.
template <class Codec>
template <class T, class F>
Lookup<T> SmartCache<Codec>::load_alone(std::string_view key, std::uint64_t hash, F& load,
                                        const EntryOptions& options) {
    detail::FillTicket ticket(fences_, key, hash);
    std::vector<WriteCondition> seen;
    if (key.size() <= config_.max_key_size) see_unasked(key, TierSet::none, seen);
    return present<T>({load_and_store(key, hash, load, options, *ticket, &seen), TierId::none, false});
}

/// What the leader of a flight does: looks again, asks below, loads; on a failure serves what is within its
/// grace.
/// @param early  of a refresh: what is there is only good enough if that does not want to refresh it as well, for instance
///               because another process has done so
template <class Codec>
template <class T, class F>
auto SmartCache<Codec>::lead(std::string_view key, std::uint64_t hash, F& load, const EntryOptions& options,
                             const detail::Ticket& ticket, const detail::EarlyRefresh* early) -> Found {
    if (key.size() > config_.max_key_size)  // no tier has it
        return {load_and_store(key, hash, load, options, ticket, nullptr), TierId::none, false};
    // A remembered absence is no answer for a loader that always has a value.
    const auto answers = [this](const Found& found) {
        if (found.entry->negative()) return detail::may_be_absent<F>;
        return static_cast<bool>(present<T>({share(found.entry), found.tier, found.stale}));
    };
    if (early == nullptr && contains(options.read, TierId::memory)) {
        Found found = find_memory(key, hash, false);  // another load may have ended just now
        if (found.entry && answers(found)) return found;
    }
    std::vector<WriteCondition> seen;
    if constexpr (readable_below<T>) {
        if (!lower_.empty()) {
            LowerFound below = find_lower<T>(key, {.tiers = options.read}, true, options.idle.has_value());
            const bool answered = below.found && answers(below.found);
            if (below.found && !answered && !below.found.entry->negative()) count(Event::type_mismatches);
            if (answered && (early == nullptr || !early->wants(*below.found.entry, now_ms()))) {
                promote(key, hash, below, ticket, options.write, copy_options(options));
                return std::move(below.found);
            }
            seen = std::move(below.seen);
        }
    }
    if (options.retry_after > Duration::zero() && failures_.paused(hash, now_ms())) {
        if (Found old = find_servable<T>(key, hash, options); old && !fences_.ended(ticket)) return old;
    }
    if constexpr (detail::OwnedLoader<F>) {
        // Nobody waits for a load that nobody else would run meanwhile.
        if (options.soft_timeout && !workers_.has_threads()) {
            Found old = find_servable<T>(key, hash, options);
            if (old && !fences_.ended(ticket)) {
                if (const std::int64_t now = now_ms(); refreshes_.begin(hash, now))
                    refresh_later<T>(
                        key, hash, load, options, std::nullopt,
                        {refreshes_, hash, now, detail::Pauses::after(now, options.retry_after.count())});
                return old;
            }
        }
    }
    std::string physical;
    std::optional<detail::LoadLock> lock;
    if constexpr (readable_below<T>) {
        const LowerTier* const shared = options.distributed_lock ? shared_tier(options) : nullptr;
        if (shared != nullptr) {
            physical = physical_key(config_.key_prefix, key);
            lock.emplace(*shared->tier, physical, lock_length(options));
            const auto good = [&](const Found& found) {
                return answers(found) && (early == nullptr || !early->wants(*found.entry, now_ms()));
            };
            if (Found theirs = lock_load<T>(*lock, key, hash, options, ticket, early != nullptr, seen, good))
                return theirs;
        }
    }
    see_unasked(key, options.read, seen);
    try {
        Found loaded{load_and_store(key, hash, load, options, ticket, &seen), TierId::none, false};
        if (options.retry_after > Duration::zero()) failures_.end(hash);
        return loaded;
    } catch (...) {
        if (fences_.ended(ticket)) throw;
        Found old = find_servable<T>(key, hash, options);
        // R5: an erase since then has killed the grace copy too.
        if (!old || fences_.ended(ticket)) throw;
        if (options.retry_after > Duration::zero())
            failures_.pause(hash, detail::Pauses::after(now_ms(), options.retry_after.count()));
        return old;
    }
}

template <class Codec>
template <class F>
auto SmartCache<Codec>::load_and_store(std::string_view key, std::uint64_t hash, F& load,
                                       const EntryOptions& options, const detail::Ticket& ticket,
                                       const std::vector<WriteCondition>* seen) -> Ref {
    using Result = typename detail::loader_result<std::remove_cvref_t<F>>::type;
    using T = loaded_t<F>;
    const auto find_old = [&] { return find_old_value<T>(key, hash, options); };
    LoadContext context(key, options, find_old, time_, workers_.stop_token());
    count(Event::loads);
    const detail::TagsSeen tags_seen = see_tags();
    const auto start = std::chrono::steady_clock::now();
    const MonotonicTime start_here = time_.now();
    const auto took = [&] {  // the finer of two clocks, unless the cache's is set by hand and says more
        return std::max<std::chrono::microseconds>(
            std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start),
            time_.now() - start_here);
    };
    std::optional<Result> loaded;
    try {
        loaded.emplace(detail::run_loader(load, context));
    } catch (...) {
        count(Event::load_failures);
        tell({.kind = EventKind::load_failed, .key = key, .took = took(), .error = std::current_exception()});
        throw;
    }
    const std::chrono::microseconds cost = took();
    tell({.kind = EventKind::loaded, .key = key, .took = cost});
    check(context.options);

    const auto keep = [&](detail::PreparedValue& prepared) {
        if (!context.stores()) return share(prepared.entry);
        return store_loaded(key, hash, prepared, cost, context.options, ticket, seen);
    };
    if (context.keeps_stale()) {
        Lookup<T> old = context.template stale<T>();
        if constexpr (std::copy_constructible<T>) {
            if (context.options.tags.empty()) context.options.tags = context.stale_tags();
            using Inner = typename detail::strip_optional<Result>::type;
            detail::PreparedValue prepared = [&] {
                if constexpr (detail::is_memory_only<Inner>)
                    return prepare(key, memory_only(T(*std::as_const(old))), context.options, tags_seen);
                else
                    return prepare(key, T(*std::as_const(old)), context.options, tags_seen);
            }();
            return keep(prepared);
        } else {
            return std::move(old.entry_);
        }
    }
    if constexpr (detail::is_optional<Result>) {
        if (!loaded->has_value()) {
            detail::PreparedValue prepared = prepare_negative(key, context.options, tags_seen);
            return keep(prepared);
        }
        detail::PreparedValue prepared = prepare(key, std::move(**loaded), context.options, tags_seen);
        return keep(prepared);
    } else {
        detail::PreparedValue prepared = prepare(key, std::move(*loaded), context.options, tags_seen);
        return keep(prepared);
    }
}

/// What is there in tiers that a load has not asked is replaced all the same: sees it.
/// @param seen  of the tiers that were asked, from the first one on
template <class Codec>
void SmartCache<Codec>::see_unasked(std::string_view key, TierSet asked,
                                    std::vector<WriteCondition>& seen) const {
    const std::size_t known = seen.size();
    seen.resize(lower_.size(), WriteCondition::if_absent());
    for (std::size_t i = 0; i < lower_.size(); ++i)
        if (i >= known || !contains(asked, lower_[i].id))
            (void)lower_[i].tier->peek(physical_key(config_.key_prefix, key), [&](const RecordView& record) {
                seen[i] = WriteCondition::of(record);
            });
}

/// Stores what a load has brought, or ends what is there, if that is what the options say of it.
/// @return the value, for those who wait
template <class Codec>
auto SmartCache<Codec>::store_loaded(std::string_view key, std::uint64_t hash,
                                     detail::PreparedValue& prepared, std::chrono::microseconds cost,
                                     const EntryOptions& options, const detail::Ticket& ticket,
                                     const std::vector<WriteCondition>* seen) -> Ref {
    prepared.record.load_cost = cost;
    prepared.entry->load_cost = detail::ShortCost::pack(cost) & 63U;
    if (prepared.too_large) count(Event::rejected);
    Ref entry = share(prepared.entry);
    if (key.size() > config_.max_key_size) return entry;
    const bool wanted =
        !prepared.record.negative || options.negative_ttl.value_or(Duration::zero()) > Duration::zero();
    if (wanted)
        (void)commit_fill(key, hash, prepared, options, ticket, seen);
    else if (seen != nullptr)
        end_older(key, hash, ticket, *seen);
    return entry;
}

/// What a loader may see of the value that it replaces, in the form of what it loads.
template <class Codec>
template <class T>
detail::OldValue SmartCache<Codec>::find_old_value(std::string_view key, std::uint64_t hash,
                                                   const EntryOptions& options) const {
    if (key.size() > config_.max_key_size) return {};
    Found old = find_stale<T>(key, hash, options.read | TierSet::memory);
    if (!old.entry || old.entry->negative()) return {};
    detail::OldValue value{{}, old.tier, old.stale, {}};
    for (const detail::Tag* const tag : old.entry->tags()) value.tags.emplace_back(tag->name);
    value.entry = std::move(present<T>(std::move(old)).entry_);
    return value;
}

}  // namespace smartcache::inline v0
