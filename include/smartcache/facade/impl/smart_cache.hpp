#pragma once

// Bodies of SmartCache: set-up, small things, maintenance, statistics. Reading, writing and loading have
// files of their own.

#include <algorithm>
#include <cmath>
#include <string>

#include <smartcache/core/error.hpp>
#include <smartcache/core/own_thread.hpp>
#include <smartcache/facade/detail/prepared_value.hpp>
#include <smartcache/facade/impl/tiers.hpp>
#include <smartcache/facade/smart_cache.hpp>

#if !(defined(SMARTCACHE_SEPARATE_TIERS) && SMARTCACHE_SEPARATE_TIERS)
#include <smartcache/facade/impl/make_tiers.hpp>
#endif

namespace smartcache::inline v0 {

template <class Codec>
SmartCache<Codec>::SmartCache(Config config, Codec codec)
    : SmartCache(std::move(config), std::move(codec), ReadyTag{}) {
    start_lower_tiers();
    start_maintenance();
}

template <class Codec>
SmartCache<Codec>::SmartCache(Config config, std::vector<std::unique_ptr<Tier>> lower_tiers)
    : SmartCache(std::move(config), Codec{}, ReadyTag{}) {
    if (config_.redis.enabled) throw ConfigError("redis.enabled", "true", "false: the lower tiers are given");
    if (config_.disk.enabled) throw ConfigError("disk.enabled", "true", "false: the lower tiers are given");
    for (std::unique_ptr<Tier>& tier : lower_tiers) {
        if (tier == nullptr) throw ConfigError("lower_tiers", "nullptr", "tiers");
        const TierId id = tier->id();
        add_lower(std::move(tier), id);
    }
    start_maintenance();
}

template <class Codec>
SmartCache<Codec>::SmartCache(Config config, Codec codec, ReadyTag)
    : config_((config.validate(), std::move(config))),
      live_(config_),
      codec_(std::move(codec)),
      time_(config_.clock),
      log_(config_.logger),
      started_(time_.now()),
      rates_{started_},
      workers_(config_.background_threads) {
    if (config_.listener) listener_ = std::make_shared<Teller>(*this);
    if (config_.memory.enabled) {
        using Store = detail::Store<Entry>;
        typename Store::RemovalHook on_removal;
        typename Store::EvictionHook before_eviction;
        if (config_.disk.fill == DiskFill::on_evict) {
            before_eviction = [this](Entry& entry) { begin_demotion(entry); };
            on_removal = [this](Entry& entry, RemovalCause cause) {
                if (cause == RemovalCause::evicted) finish_demotion(entry);
                tell_removed(entry, cause);
            };
        } else if (listener_) {
            on_removal = [this](Entry& entry, RemovalCause cause) { tell_removed(entry, cause); };
        }
        memory_ =
            std::make_unique<Store>(config_.memory, time_, std::move(on_removal), std::move(before_eviction));
        arena_ = &memory_->arena();
    } else {
        arena_ = detail::Arena::create(config_.memory.jemalloc);
        owns_arena_ = true;
    }
}

template <class Codec>
SmartCache<Codec>::~SmartCache() {
    if (maintenance_.forked()) {  // locks in there may be held by threads that only the parent has (R33)
        (void)memory_.release();
        for (LowerTier& lower : lower_) (void)lower.tier.release();
        return;
    }
    workers_.stop();
    {
        const std::lock_guard lock(maintenance_->mutex);
        maintenance_->stopping = true;
    }
    maintenance_->wake.notify_all();
    if (maintenance_->thread.joinable()) maintenance_->thread.join();
    // What ends with the cache is no event. The pointer stays: the lower tiers' threads look at it until they end. A listener that
    // one of them is calling just now may still use all of the cache.
    if (listener_) {
        listener_->cache.store(nullptr);
        while (calls_from_below_.load() != 0) std::this_thread::yield();
    }
    for (LowerTier& lower : lower_) lower.tier.reset();  // their threads may call until then
    if (owns_arena_) arena_->release();
}

template <class Codec>
void SmartCache<Codec>::add_lower(std::unique_ptr<Tier> tier, TierId id) {
    const bool on_evict = id == TierId::disk && config_.disk.fill == DiskFill::on_evict;
    lower_.push_back({std::move(tier), id, on_evict, id == TierId::disk});
    (on_evict ? evicts_below_ : writes_below_) = true;
}

template <class Codec>
void SmartCache<Codec>::start_lower_tiers() {
    TierContext context{.limits = {.max_key_size = config_.max_key_size + config_.key_prefix.size() + 32,
                                   .max_value_size = config_.max_value_size},
                        .time = time_,
                        .logger = config_.logger,
                        .compression = config_.compression,
                        .background = config_.background_threads != 0,
                        .name_space = config_.key_prefix,
                        .on_invalidation = [this](const Invalidation& what) { take_invalidation(what); }};
    const auto start = [&](TierId id, auto make) {
        context.on_state = [this, id](bool up) {
            const CallFromBelow call(*this);
            if (id == TierId::redis) watch_redis(!up);
            tell({.kind = up ? EventKind::tier_up : EventKind::tier_down, .tier = id});
        };
        try {
            std::unique_ptr<Tier> tier = make();
            own_copies_.on = own_copies_.on || tier->tells_changes();
            own_copies_.set_parts(tier->parts());
            add_lower(std::move(tier), id);
        } catch (const Error& error) {
            if (config_.tier_required)
                throw ConfigError(std::string(to_string(id)), error.what(),
                                  "a tier that starts (tier_required is set)");
            log_.always(LogLevel::warning, "smartcache: starting without the " + std::string(to_string(id)) +
                                               " tier: " + error.what());
            start_failures_.push_back({id, error.what()});
        }
    };
    own_copies_.distrusts = config_.redis.lease_lost == LeaseLost::distrust;
    if (config_.redis.enabled)
        start(TierId::redis, [&] { return detail::make_redis_tier(config_, context); });
    context.keeps_intents = config_.redis.enabled;
    if (config_.disk.enabled) start(TierId::disk, [&] { return detail::make_disk_tier(config_, context); });
    for (const LowerTier& own : lower_)
        if (Intents* const intents = own.tier->intents())
            for (const LowerTier& shared : lower_)
                if (!shared.own) shared.tier->keep_intents(*intents);
    own_copies_.open.store(true, std::memory_order_release);
    if (!own_copies_.on) return;
    const std::string position = kept_position();
    const bool has_own =
        std::any_of(lower_.begin(), lower_.end(), [](const LowerTier& lower) { return lower.own; });
    for (LowerTier& lower : lower_) lower.tier->begin_to_listen(has_own, position);
}

template <class Codec>
void SmartCache<Codec>::start_maintenance() {
    if (config_.background_threads == 0) return;
    maintenance_->thread = std::thread([this] {
        detail::OwnThread::begin();
        maintain_until_stopped();
    });
}

template <class Codec>
void SmartCache<Codec>::maintain_until_stopped() {
    using Steady = std::chrono::steady_clock;
    const bool sweeps = config_.auto_expire_interval > Duration::zero();
    const auto later = [](Duration length) {  // a length near max() would overflow the clock
        return Steady::now() + std::min<Duration>(length, std::chrono::hours(24 * 365));
    };
    constexpr Duration between_tending = std::chrono::seconds(1);
    auto next_tending = later(between_tending);
    auto next_sweep = later(config_.auto_expire_interval);
    auto next_rate = later(config_.stats.interval);
    Maintenance& mine = *maintenance_;
    std::unique_lock lock(mine.mutex);
    bool watches = false;
    for (;;) {
        auto next = sweeps ? std::min(next_sweep, next_rate) : next_rate;
        if (!lower_.empty()) next = std::min(next, next_tending);
        if (watches) next = std::min(next, later(std::chrono::milliseconds(100)));
        mine.wake.wait_until(lock, next, [&] { return mine.stopping || mine.redis_fails != watches; });
        if (mine.stopping) return;
        watches = mine.redis_fails;
        lock.unlock();
        if (watches) tend([](const LowerTier& lower) { return lower.id == TierId::redis; });
        const auto now = Steady::now();
        if (now >= next_tending) {
            tend([](const LowerTier&) { return true; });
            next_tending = later(between_tending);
        }
        if (sweeps && now >= next_sweep) {
            try {
                if (memory_) (void)memory_->sweep();
                for (LowerTier& lower : lower_) (void)lower.tier->run_maintenance();
            } catch (const std::exception& error) {
                log_(LogLevel::error, std::string("smartcache: maintenance failed: ") + error.what());
            } catch (...) {  // the destructor of somebody's value, or a weigher, may throw anything
                log_(LogLevel::error, "smartcache: maintenance failed");
            }
            next_sweep = later(config_.auto_expire_interval);
        }
        if (now >= next_rate) {
            update_rates();
            next_rate = later(config_.stats.interval);
        }
        lock.lock();
    }
}

/// While Redis is not asked by callers, maintenance asks it whether it is back, so that none of them has to (R11).
template <class Codec>
void SmartCache<Codec>::watch_redis(bool fails) {
    if (maintenance_.forked()) return;  // there is no such thread, and its lock may be held for ever (R33)
    {
        const std::lock_guard lock(maintenance_->mutex);
        maintenance_->redis_fails = fails;
    }
    maintenance_->wake.notify_all();
}

template <class Codec>
template <class Which>
void SmartCache<Codec>::tend(Which which) {
    try {
        for (LowerTier& lower : lower_)
            if (which(lower)) lower.tier->tend();
    } catch (const std::exception& error) {
        log_(LogLevel::error, std::string("smartcache: tending a tier failed: ") + error.what());
    } catch (...) {
        log_(LogLevel::error, "smartcache: tending a tier failed");
    }
}

template <class Codec>
void SmartCache<Codec>::count_hit(std::string_view key, TierId tier, bool stale) const noexcept {
    switch (tier) {
        case TierId::memory:
            count(Event::memory_hits);
            break;
        case TierId::redis:
            count(Event::redis_hits);
            break;
        case TierId::disk:
            count(Event::disk_hits);
            break;
        case TierId::other:
        case TierId::none:
            count(Event::other_hits);
            break;
    }
    if (stale) count(Event::stale_served);
    tell({.kind = stale ? EventKind::stale_hit : EventKind::hit, .key = key, .tier = tier});
}

template <class Codec>
Duration SmartCache<Codec>::lifetime_in(TierId tier, const EntryOptions& options) const noexcept {
    std::optional<Duration> own;
    if (tier == TierId::memory) own = options.memory_ttl;
    if (tier == TierId::redis) own = options.redis_ttl;
    if (tier == TierId::disk) own = options.disk_ttl;
    return own ? *own : options.ttl.value_or(live_.ttl(tier));
}

template <class Codec>
void SmartCache<Codec>::check_all(const EntryOptions& options) {
    std::vector<ConfigProblem> problems;
    const auto wrong = [&problems](const char* field, const char* value, const char* allowed) {
        problems.push_back({field, value, allowed});
    };
    if (!options.jitter.valid())
        wrong("jitter", "negative, or above 1", "a length of time, or a fraction from 0 to 1");
    if (options.grace < Duration::zero()) wrong("grace", "negative", "0 or more");
    if (options.idle && *options.idle <= Duration::zero())
        wrong("idle", "0 or less", "more than 0, or absent");
    if (options.tags.size() > max_tags) wrong("tags", "more than 1024", "at most 1024");
    for (const std::string& tag : options.tags) {
        if (tag.empty()) wrong("tags", "an empty one", "names");
        if (tag.size() > max_tag_size) wrong("tags", "one of more than 64 KiB", "shorter ones");
    }
    // Written so that NaN is none of them.
    if (!(options.refresh_ahead >= 0 && options.refresh_ahead < 1))
        wrong("refresh_ahead", "negative, or 1 and more", "0, or a fraction below 1");
    if (!(options.early_beta >= 0 && options.early_beta <= 1000))
        wrong("early_beta", "negative, or more than 1000", "0 to 1000");
    if (options.soft_timeout && *options.soft_timeout < Duration::zero())
        wrong("soft_timeout", "negative", "0 or more, or absent");
    if (options.hard_timeout && *options.hard_timeout < Duration::zero())
        wrong("hard_timeout", "negative", "0 or more, or absent");
    if (options.retry_after < Duration::zero()) wrong("retry_after", "negative", "0 or more");
    if (!problems.empty()) throw ConfigError(std::move(problems));
}

template <class Codec>
std::size_t SmartCache<Codec>::run_maintenance() {
    (void)workers_.run_deferred();
    std::size_t removed = memory_ ? memory_->sweep() : 0;
    for (LowerTier& lower : lower_) removed += lower.tier->run_maintenance();
    update_rates();
    return removed;
}

template <class Codec>
bool SmartCache<Codec>::flush(Duration timeout) {
    using Steady = std::chrono::steady_clock;
    const auto end = Steady::now() + std::clamp<Duration>(timeout, Duration::zero(), std::chrono::hours(24));
    bool all = true;
    for (LowerTier& lower : lower_) {
        const auto left = std::chrono::duration_cast<Duration>(end - Steady::now());
        all = lower.tier->flush(std::max(left, Duration::zero())) && all;
    }
    return all;
}

template <class Codec>
void SmartCache<Codec>::resize(std::size_t capacity) {
    if (capacity == 0) throw ConfigError("memory.capacity", "0", "at least 1");
    if (memory_) memory_->resize(capacity);
}

template <class Codec>
void SmartCache<Codec>::reconfigure(const Config& wanted) {
    wanted.validate();
    std::vector<ConfigProblem> problems;
    detail::refuse_fixed_changes(config_, wanted, problems);
    if (!problems.empty()) throw ConfigError(std::move(problems));
    live_.take(wanted);
    resize(wanted.memory.capacity);
}

template <class Codec>
Config SmartCache<Codec>::current_config() const {
    Config config = config_;
    live_.give(config);
    if (memory_) config.memory.capacity = memory_->capacity();
    return config;
}

template <class Codec>
Health SmartCache<Codec>::health_check() {
    Health health;
    if (memory_) health.report(TierId::memory, true, "ok: entries in " + std::string(arena().name()));
    for (LowerTier& lower : lower_) {
        TierHealth answer = lower.tier->probe();
        health.report(lower.id, answer.ok, std::move(answer.detail));
    }
    for (const StartFailure& failure : start_failures_)
        health.report(failure.id, false, "did not start: " + failure.reason);
    return health;
}

template <class Codec>
auto SmartCache<Codec>::counts() const noexcept -> detail::RecentRates::Counts {
    detail::RecentRates::Counts now;
    for (const Event event : {Event::memory_hits, Event::redis_hits, Event::disk_hits, Event::other_hits})
        now.hits += counters_.sum(event);
    now.requests = now.hits + counters_.sum(Event::misses);
    if (memory_) {
        now.evictions = memory_->counters().sum(detail::RemovalEvent::evictions);
        now.expirations = memory_->counters().sum(detail::RemovalEvent::expirations);
    }
    return now;
}

template <class Codec>
void SmartCache<Codec>::update_rates() {
    std::optional<detail::RecentRates::Counts> recent;
    {
        const std::lock_guard lock(rates_mutex_);
        recent = rates_.update(time_.now(), counts(), config_.stats.interval);
    }
    if (recent && config_.stats.alert_below > 0) judge_hit_ratio(*recent);
}

/// Says once that the hit ratio is low, and once that it is not any more.
template <class Codec>
void SmartCache<Codec>::judge_hit_ratio(const detail::RecentRates::Counts& recent) {
    constexpr std::uint64_t telling = 100;  // requests: fewer say little
    if (recent.requests < telling) return;
    const double ratio = recent.hit_ratio();
    const bool low = ratio < config_.stats.alert_below;
    {
        const std::lock_guard lock(rates_mutex_);
        if (std::exchange(hit_ratio_low_, low) == low) return;
    }
    const auto percent = [](double part) { return std::to_string(std::lround(part * 100)) + " %"; };
    std::string text = "smartcache: " + percent(ratio) + " of the last " + std::to_string(recent.requests) +
                       " lookups were hits; " + (low ? "the alert is below " : "above the alert again, ") +
                       percent(config_.stats.alert_below);
    if (low)
        text += "; meanwhile L1 evicted " + std::to_string(recent.evictions) +
                " entries for want of room and " + std::to_string(recent.expirations) + " expired";
    log_.always(low ? LogLevel::warning : LogLevel::info, text);
    tell({.kind = low ? EventKind::hit_ratio_low : EventKind::hit_ratio_recovered, .ratio = ratio});
}

template <class Codec>
Stats SmartCache<Codec>::stats() const {
    Stats stats;
    const auto sum = [this](Event event) { return counters_.sum(event); };
    stats.memory.hits = sum(Event::memory_hits);
    stats.misses = sum(Event::misses);
    stats.hits = stats.memory.hits + sum(Event::redis_hits) + sum(Event::disk_hits) + sum(Event::other_hits);
    stats.total_requests = stats.hits + stats.misses;
    if (stats.total_requests != 0)
        stats.hit_ratio = static_cast<double>(stats.hits) / static_cast<double>(stats.total_requests);
    stats.memory.misses = stats.total_requests - stats.memory.hits;
    stats.memory.sets = sum(Event::memory_sets);
    stats.invalidations = sum(Event::invalidations);
    stats.foreign_changes = sum(Event::foreign_changes);
    stats.rejected = sum(Event::rejected);
    stats.loads = sum(Event::loads);
    stats.load_failures = sum(Event::load_failures);
    stats.coalesced = sum(Event::coalesced);
    stats.stale_served = sum(Event::stale_served);
    stats.promotions = sum(Event::promotions);
    stats.demotions = sum(Event::demotions);
    stats.type_mismatches = sum(Event::type_mismatches);
    stats.encode_errors = sum(Event::encode_errors);
    stats.corrupt = sum(Event::corrupt);
    stats.listener_errors = sum(Event::listener_errors);
    if (memory_) {
        using StoreEvent = detail::RemovalEvent;
        const auto usage = memory_->usage();
        stats.memory.entries = stats.size = usage.entries;
        stats.memory.bytes = stats.memory_usage = usage.bytes;
        stats.capacity = memory_->capacity();
        stats.memory.evictions = stats.evictions = memory_->counters().sum(StoreEvent::evictions);
        stats.memory.expirations = stats.expirations = memory_->counters().sum(StoreEvent::expirations);
    }
    stats.memory.allocator = arena().name();
    for (const LowerTier& lower : lower_) {
        TierStats tier = lower.tier->stats();
        if (lower.own) {  // what no caller has stored
            tier.sets -= std::min(tier.sets, sum(Event::positions));
            if (own_copies_.position.there.load(std::memory_order_relaxed) && tier.entries > 0)
                --tier.entries;
        }
        stats.corrupt += tier.corrupt;
        stats.rejected += tier.rejected;
        if (lower.id == TierId::redis) stats.redis = std::move(tier);
        if (lower.id == TierId::disk) stats.disk = std::move(tier);
    }
    stats.redis.coherence.positions = sum(Event::positions);
    const std::uint64_t raw = sum(Event::raw_bytes);
    const std::uint64_t packed = sum(Event::packed_bytes);
    if (packed != 0) stats.compression_ratio = static_cast<double>(raw) / static_cast<double>(packed);
    stats.uptime = time_.now() - started_;

    const std::lock_guard lock(rates_mutex_);
    rates_.report(stats, time_.now());
    return stats;
}

template <class Codec>
void SmartCache<Codec>::reset_stats() {
    counters_.reset();
    if (memory_) memory_->reset_counters();
    for (LowerTier& lower : lower_) lower.tier->reset_stats();
    const std::lock_guard lock(rates_mutex_);
    rates_ = detail::RecentRates(time_.now());
    hit_ratio_low_ = false;
}

}  // namespace smartcache::inline v0

#include <smartcache/facade/impl/atomics.hpp>       // IWYU pragma: export
#include <smartcache/facade/impl/awaiting.hpp>      // IWYU pragma: export
#include <smartcache/facade/impl/coherence.hpp>     // IWYU pragma: export
#include <smartcache/facade/impl/demotion.hpp>      // IWYU pragma: export
#include <smartcache/facade/impl/explaining.hpp>    // IWYU pragma: export
#include <smartcache/facade/impl/filling.hpp>       // IWYU pragma: export
#include <smartcache/facade/impl/load_locking.hpp>  // IWYU pragma: export
#include <smartcache/facade/impl/loading.hpp>       // IWYU pragma: export
#include <smartcache/facade/impl/loading_many.hpp>  // IWYU pragma: export
#include <smartcache/facade/impl/reading.hpp>       // IWYU pragma: export
#include <smartcache/facade/impl/writing.hpp>       // IWYU pragma: export
