#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <smartcache/codec/codec.hpp>
#include <smartcache/core/canonical_key.hpp>
#include <smartcache/core/clock.hpp>
#include <smartcache/core/counters.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/core/log.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/facade/async.hpp>
#include <smartcache/facade/config.hpp>
#include <smartcache/facade/detail/change.hpp>
#include <smartcache/facade/detail/early_refresh.hpp>
#include <smartcache/facade/detail/event_scope.hpp>
#include <smartcache/facade/detail/fences.hpp>
#include <smartcache/facade/detail/found.hpp>
#include <smartcache/facade/detail/live_settings.hpp>
#include <smartcache/facade/detail/load_deadlines.hpp>
#include <smartcache/facade/detail/load_lock.hpp>
#include <smartcache/facade/detail/lower_tier.hpp>
#include <smartcache/facade/detail/on_exception.hpp>
#include <smartcache/facade/detail/own_copies.hpp>
#include <smartcache/facade/detail/pauses.hpp>
#include <smartcache/facade/detail/prepared_value.hpp>
#include <smartcache/facade/detail/recent_rates.hpp>
#include <smartcache/facade/detail/tags.hpp>
#include <smartcache/facade/detail/workers.hpp>
#include <smartcache/facade/entry_options.hpp>
#include <smartcache/facade/events.hpp>
#include <smartcache/facade/explanation.hpp>
#include <smartcache/facade/fill.hpp>
#include <smartcache/facade/loader.hpp>
#include <smartcache/facade/lookup.hpp>
#include <smartcache/facade/stats.hpp>
#include <smartcache/facade/value_entry.hpp>
#include <smartcache/facade/value_traits.hpp>
#include <smartcache/fwd.hpp>
#include <smartcache/memory/store.hpp>
#include <smartcache/record/invalidation.hpp>
#include <smartcache/record/tier.hpp>

#if SMARTCACHE_HAS_JSON
#include <smartcache/codec/json.hpp>  // the default codec
#endif

namespace smartcache::inline v0 {

namespace detail {
enum class CacheEvent {
    memory_hits,
    redis_hits,
    disk_hits,
    other_hits,
    misses,
    memory_sets,
    invalidations,
    foreign_changes,
    positions,
    rejected,
    loads,
    load_failures,
    coalesced,
    stale_served,
    promotions,
    demotions,
    type_mismatches,
    encode_errors,
    corrupt,
    raw_bytes,
    packed_bytes,
    listener_errors,
    count_
};
}  // namespace detail

/// Three tiers behind one interface: memory, then Redis, then disk.
///
///     sc::SmartCache<sc::JsonCodec> cache{{.disk = {.enabled = true, .path = "/var/cache/app"}}};
///     cache.set("user:123", user, {.ttl = 5min});
///     if (auto hit = cache.get<User>("user:123")) greet(hit->name);
///     auto report = cache.get_or_compute("report:7", [&] { return build(7); }, {.ttl = 1h});
///
/// L1 keeps live objects of any type; the codec runs only when a value crosses into or out of a lower tier.
/// Text and bytes are kept and sent as they are, whatever the codec.
///
/// After construction no tier can make a call fail: a broken or late tier is a miss, a counter and a log
/// line.
///
/// Thread safety: every member from any thread at any time. Options are copied at the call. In a child after fork(2),
/// whatever other threads were doing in the cache then, L1 and Redis go on, without background work, the disk is off, and what
/// other processes change is not heard (R33).
/// Blocks: never on an L1 hit, which takes no lock; otherwise until the lower tiers' deadlines, and in
/// `get_or_compute` until the load ends.
template <class Codec>
class SmartCache {
  public:
    using codec_type = Codec;
    using default_type = typename Codec::default_type;

    /// @throws ConfigError when the configuration is impossible, or a tier cannot start and `tier_required`
    /// is set;
    ///         without it the cache starts without that tier, logs it, and `health_check()` says why
    explicit SmartCache(Config config = {}) : SmartCache(std::move(config), Codec{}) {}
    SmartCache(Config config, Codec codec);
    /// Brings its own lower tiers, nearest first; `config.redis` and `config.disk` must be off.
    SmartCache(Config config, std::vector<std::unique_ptr<Tier>> lower_tiers);
    /// Asks loads in the background to stop and waits for them, then for what the tiers have queued, at most five seconds each.
    /// Not in a thread that is the cache's own, as a listener may be called in: it would wait for itself.
    ~SmartCache();

    SmartCache(const SmartCache&) = delete;
    SmartCache& operator=(const SmartCache&) = delete;

    /// Stores `value` under `key` in every tier.
    ///
    /// Text (strings, character pointers and arrays, up to their first zero or the array's end) and bytes are stored as they
    /// are; any other type needs the codec, or `memory_only(value)`.
    /// @return whether at least one tier stored it. A lifetime of 0 stores nothing and erases what was there.
    /// Throws: what copying or moving the value throws, `std::bad_alloc`, and ConfigError for options that
    /// are
    ///         impossible or not in this version.
    template <class T = default_type>
    bool set(std::string_view key, T&& value, const EntryOptions& options = detail::default_entry_options());
    template <class T = default_type, class Rep, class Period>
    bool set(std::string_view key, T&& value, std::chrono::duration<Rep, Period> ttl) {
        return set(key, std::forward<T>(value), EntryOptions{.ttl = saturating_duration(ttl)});
    }

    /// The live value under `key`, asking the tiers from the top down. A hit below L1 is promoted into every
    /// tier above it, with what remains of its lifetime, before this returns.
    /// @return empty on a miss, and when the value cannot be read as `T` (`type_mismatches` counts it)
    template <class T = default_type>
    [[nodiscard]] Lookup<T> get(std::string_view key, const ReadOptions& options = {});

    /// The live value under `key` if L1 has it. For threads that must not block, an event loop's above all: who
    /// gets nothing asks again with `get` where blocking is allowed. That is why only a hit is counted here.
    template <class T = default_type>
    [[nodiscard]] Lookup<T> try_get(std::string_view key);

    /// The value under `key`, or what `load` returns, which is then stored. Concurrent callers of one key
    /// share one load.
    ///
    /// `load` is callable as `T()`, `std::optional<T>()` (nullopt is an absence, remembered for `negative_ttl`), or with a
    /// `LoadContext&`. It runs in the calling thread and never outlives the call, unless it is `sc::owned(f)`: then a refresh
    /// ahead of time (`refresh_ahead`, `early_beta`) runs in the background, and calls may stop waiting for it (`soft_timeout`,
    /// `hard_timeout`). What it throws reaches every waiter, unless a value within the `grace` it was stored with can be
    /// served and the waiter's call has a `grace` of its own. Values larger than the limits are returned and not stored.
    /// Throws: what the loader throws; `LoadTimeout`; `std::logic_error` naming the key when the loader asks for its own key,
    /// and for timeouts with a loader that is not owned.
    template <class F>
    Lookup<loaded_t<F>> get_or_compute(std::string_view key, F&& load,
                                       const EntryOptions& options = detail::default_entry_options());
    template <class F, class Rep, class Period>
    Lookup<loaded_t<F>> get_or_compute(std::string_view key, F&& load,
                                       std::chrono::duration<Rep, Period> ttl) {
        return get_or_compute(key, std::forward<F>(load), EntryOptions{.ttl = saturating_duration(ttl)});
    }

    /// One `get_or_compute` per key, in order, with one round trip per tier for what is not in memory, and one call of `load` for
    /// all that is missing everywhere and that nobody else is loading.
    ///
    /// `load(std::span<const std::string_view> keys)` returns a range with one `T` or `std::optional<T>` for each of those
    /// keys, in their order; or a map from keys to `T`, in which a key that is missing is an absence. It runs in the calling
    /// thread and to its end; what it throws reaches the caller unless a stale value can be served for each key, as in
    /// `get_or_compute`. Nothing is refreshed ahead of its time. Throws also `std::logic_error` for a range of another length,
    /// for a loader that asks for one of its own keys, and for timeouts.
    template <class Keys, detail::BulkLoader F>
    std::vector<Lookup<detail::bulk_loaded_t<F>>> get_or_compute_many(
        Keys&& keys, F&& load, const EntryOptions& options = detail::default_entry_options());
    template <detail::BulkLoader F>
    std::vector<Lookup<detail::bulk_loaded_t<F>>> get_or_compute_many(
        std::initializer_list<std::string_view> keys, F&& load,
        const EntryOptions& options = detail::default_entry_options()) {
        return get_or_compute_many<std::initializer_list<std::string_view>&>(keys, std::forward<F>(load),
                                                                             options);
    }

    /// `get` for a coroutine: `auto hit = co_await cache.async_get<User>(key, sc::resume_on(pool));`, or with a callback:
    /// `cache.async_get<User>(key).then(...)`. See AsyncLookup.
    template <class T = default_type, class On = ResumeThere>
    [[nodiscard]] auto async_get(std::string_view key, On on = {}, const ReadOptions& options = {});

    /// The same for `get_or_compute`. The loader is kept with the operation, and runs on a thread of the cache.
    template <class F, class On = ResumeThere>
    [[nodiscard]] auto async_get_or_compute(std::string_view key, F load,
                                            const EntryOptions& options = detail::default_entry_options(),
                                            On on = {});

    /// Runs `load` now, in this thread and to its end, whatever is stored, and stores what it returns, unless the key is
    /// written or erased meanwhile. Throws: what the loader throws; the old value then stays.
    template <class F>
    Lookup<loaded_t<F>> refresh(std::string_view key, F&& load,
                                const EntryOptions& options = detail::default_entry_options());

    /// For values that no loader can bring, because they are made asynchronously or elsewhere: begins one, before anything is
    /// asked that it is made of.
    ///
    ///     auto fill = cache.begin_fill("user:7");
    ///     fetch("/users/7", [&cache, fill = std::move(fill)](User user) mutable {
    ///         if (cache.commit_fill(std::move(fill), user, {.ttl = 5min}) == sc::FillResult::overtaken) ...
    ///     });
    ///
    /// As a load's result (R1, R7) the value is stored only if nothing was written or erased under the key since then, by
    /// anybody in any process that shares the Redis tier, nor a tag erased or expired that the value turns out to have.
    /// Between processes that holds as long as Redis keeps the trace of an erase (a minute), and beyond that while changes are
    /// heard (`RedisOptions::coherence`). Nobody waits for a fill: two of one key are made twice, and one is stored.
    /// Blocks: until the lower tiers' deadlines, as `get` does on a miss.
    [[nodiscard]] Fill begin_fill(std::string_view key);
    /// The same, and what is there to be replaced, stale or not, from the tier that has the last word: the one that others
    /// share, where there is one and it answers, else memory. Promotes nothing and changes no statistics. What is committed
    /// takes the place of just that.
    template <class T = default_type>
    [[nodiscard]] Lookup<T> begin_fill(std::string_view key, Fill& fill);
    /// Begins one that takes the place of whatever is there by then, and is overtaken only by changes of its tags and by what
    /// this process hears of the key in between: for keys that are valid only together with another one. Without I/O.
    [[nodiscard]] Fill begin_overwrite(std::string_view key);
    /// Ends a fill. Throws: as `set`; `std::logic_error` for a `Fill` that was never begun.
    template <class T = default_type>
    FillResult commit_fill(Fill fill, T&& value,
                           const EntryOptions& options = detail::default_entry_options());
    /// How far tags have got, for `Fill::since`. Without I/O.
    [[nodiscard]] TagSnapshot tags_now() const;

    /// Removes `key` from every tier; not even a load or promotion that is under way brings it back.
    /// @return whether any tier had something under it, be it a remembered absence
    bool erase(std::string_view key);

    /// Whether a live value is stored. Promotes nothing and changes no statistics.
    [[nodiscard]] bool exists(std::string_view key) const;

    /// Ends every value that was stored with this tag (`EntryOptions::tags`), in every tier, and those that are being
    /// loaded or stored with it meanwhile. O(1), however many they are: each is dropped when it is next looked at.
    /// Processes that share the Redis tier read none of them from there any more, nor, once they have heard of it
    /// (`RedisOptions::coherence`), from their own memory and disks.
    /// @return whether every tier has acknowledged it. One that has not is told again before this process reads anything from
    ///         it (R11), which is when other processes hear of it
    bool erase_tag(std::string_view tag);

    /// The same, but the values are only stale from now on: until the grace that they were stored with ends.
    bool expire_tag(std::string_view tag);

    /// Removes everything of this cache's namespace (`Config::key_prefix`) and resets the statistics.
    void clear();

    /// Empties L1 alone: its memory is given back, the lower tiers keep everything and answer from then on.
    void clear_memory();

    /// Makes the value stale now; it is kept for its grace. What is being loaded is for those who wait for it, and is not
    /// kept. @return whether a live value was there
    bool expire(std::string_view key);

    /// Gives the value another lifetime in every tier, counted from now. @return whether a live value was
    /// there
    bool touch(std::string_view key, Duration ttl);

    /// One `get` per key, in order, with one round trip per tier.
    /// `keys`: a range, or an initializer list, of what converts to `std::string_view`.
    template <class T = default_type, class Keys>
    [[nodiscard]] std::vector<Lookup<T>> get_many(Keys&& keys);
    template <class T = default_type>
    [[nodiscard]] std::vector<Lookup<T>> get_many(std::initializer_list<std::string_view> keys) {
        return get_many<T, std::initializer_list<std::string_view>&>(keys);
    }

    /// One `set` per pair, with one round trip per tier. @return how many were stored
    template <class Pairs>
    std::size_t set_many(Pairs&& pairs, const EntryOptions& options = detail::default_entry_options());
    template <class T>
    std::size_t set_many(std::initializer_list<std::pair<std::string_view, T>> pairs,
                         const EntryOptions& options = detail::default_entry_options()) {
        return set_many<std::initializer_list<std::pair<std::string_view, T>>&>(pairs, options);
    }

    /// One `erase` per key, with one round trip per tier. @return how many were there
    template <class Keys>
    std::size_t erase_many(Keys&& keys);
    std::size_t erase_many(std::initializer_list<std::string_view> keys) {
        return erase_many<std::initializer_list<std::string_view>&>(keys);
    }

    /// Changes a value atomically: `fn` gets what is there, nullopt if nothing is (or nothing that reads as `T`), and
    /// returns what shall be there, as `std::optional<T>` or `T`; nullopt erases. It is called again when somebody
    /// else was faster, so it must not have effects of its own, nor change the key through the cache.
    ///
    /// Atomic among all threads, and among all processes while the shared tier (Redis) answers; without it among
    /// those of this process. Without a `ttl` in `options` the value keeps what remains of its lifetime.
    /// What the shared tier does not have is not there, be it in L1 alone.
    /// @return whether what `fn` wanted is done. False: it could not be stored, and nothing is changed; or somebody else was
    ///         faster ten thousand times; or the shared tier got the change and did not say whether it took place,
    ///         and then the key is dropped from every tier
    /// Throws: what `fn` throws, and as `set`.
    template <class T, class F>
    bool update(std::string_view key, F&& fn, const EntryOptions& options = detail::default_entry_options());

    /// Adds to an integer, atomically as `update`; one that is not there is 0. An existing one keeps its lifetime;
    /// `options` say what a new one gets: with `ttl = 0` none is made.
    /// @return the sum; nullopt when something else is stored there, when the sum overflows, or while the shared tier
    ///         (Redis) does not answer: never a count of this process alone (R10). Nothing is changed then, unless the
    ///         outcome is unknown, as for `update`
    std::optional<std::int64_t> increment(std::string_view key, std::int64_t by = 1,
                                          const EntryOptions& options = detail::default_entry_options());

    /// `set` if no live value of any type is there, atomically as `update`. A remembered absence is no value.
    /// @return whether it was stored; never while the shared tier (Redis) does not answer
    template <class T = default_type>
    bool set_if_absent(std::string_view key, T&& value,
                       const EntryOptions& options = detail::default_entry_options());

    /// Gives the value out and erases it, atomically as `update`: of many callers one gets it. What does not read as
    /// `T` stays.
    /// @return empty when nothing was there, and while the shared tier (Redis) does not answer; it stays then, unless the
    ///         outcome is unknown, as for `update`
    template <class T = default_type>
    [[nodiscard]] Lookup<T> take(std::string_view key);

    /// Loads what is not there: for each key without a live value `load(std::string_view key)`, which returns `T` or
    /// `std::optional<T>`, is called and its result stored, as by `get_or_compute`; not for a remembered absence. What it
    /// throws is logged and counted, and the next key is taken.
    /// @return how many keys have a value that this call has loaded
    template <class Keys, class F>
    std::size_t warm(Keys&& keys, F&& load, const EntryOptions& options = detail::default_entry_options());
    template <class F>
    std::size_t warm(std::initializer_list<std::string_view> keys, F&& load,
                     const EntryOptions& options = detail::default_entry_options()) {
        return warm<std::initializer_list<std::string_view>&>(keys, std::forward<F>(load), options);
    }

    /// Which tier holds the key, for how long, and why a lookup would miss. Asks every tier; changes nothing and does not
    /// count as a lookup. For people and tests, not for the hot path.
    [[nodiscard]] Explanation explain(std::string_view key) const;

    /// As `get` with stale values allowed, but without promotion and statistics: for looking, not for
    /// serving.
    template <class T = default_type>
    [[nodiscard]] Lookup<T> peek(std::string_view key) const;

    /// A readable key for a request: method, path, canonical query and headers; the same in every process.
    /// `GET` and `HEAD` share a key.
    [[nodiscard]] std::string generate_key(
        std::string_view method, std::string_view path, std::string_view query = {},
        std::initializer_list<std::pair<std::string_view, std::string_view>> headers = {}) const {
        return canonical_key(method, path, query, headers);
    }
    template <class Headers>
    [[nodiscard]] std::string generate_key(std::string_view method, std::string_view path,
                                           std::string_view query, const Headers& headers) const {
        return canonical_key(method, path, query, headers);
    }

    /// A consistent-enough snapshot: each number is exact, together they may be moments apart.
    [[nodiscard]] Stats stats() const;
    void reset_stats();

    /// Asks each tier for real. Blocks at most as long as one operation of each.
    [[nodiscard]] Health health_check();

    /// Sweeps expired entries in every tier now. @return how many entries were removed
    std::size_t run_maintenance();

    /// Waits until writes that were left for later have been done; erases that Redis has not acknowledged are tried once more,
    /// for at most `redis.timeout`. @return false when `timeout` passed first, or some of those are left
    bool flush(Duration timeout = std::chrono::seconds(5));

    /// Another bound on the entries of L1, at once. The shards stay as many as they are: with fewer entries than shards, some
    /// keys find no room. @throws ConfigError when it is 0
    void resize(std::size_t capacity);

    /// Goes on with another configuration, at once for what is stored or looked up from then on: `memory.capacity`, the tiers'
    /// `ttl`, `max_value_size` (lower than at the start) and `compression` may differ from what the cache was started with.
    ///
    ///     cache.reconfigure(sc::Config::from_json(read_file("cache.json")));
    ///
    /// Logger, clock and listener stay. @throws ConfigError for an impossible configuration, and naming whatever else differs;
    /// nothing is changed then
    void reconfigure(const Config& wanted);

    /// What the cache was started with.
    [[nodiscard]] const Config& config() const noexcept { return config_; }
    /// The same, as it has been changed since by `reconfigure` and `resize`.
    [[nodiscard]] Config current_config() const;
    /// The clock that governs lifetimes here.
    [[nodiscard]] const Clock& clock() const noexcept { return time_.clock(); }

  private:
    using Event = detail::CacheEvent;
    using Entry = detail::ValueEntry;
    using Ref = detail::ValueRef;

    using Found = detail::Found;
    using KeyIs = detail::KeyIs;
    using FenceTerms = detail::FenceTerms;
    using Unlocked = detail::Unlocked;
    using LowerTier = detail::LowerTier;
    using Demotion = detail::Demotion;
    using DemotedRecord = detail::DemotedRecord;
    using StartFailure = detail::StartFailure;
    using LowerFound = detail::LowerFound;
    using Wanted = detail::Wanted;
    using PauseUntil = detail::PauseUntil;

    // On a line of its own: read at every event, and its neighbours on the heap may be written at any time.
    struct alignas(detail::cache_line) Teller final : detail::EventScope::Teller {
        explicit Teller(SmartCache& owner) : cache(&owner) {}
        std::atomic<SmartCache*> cache;  // null: it has ended
        void tell(const smartcache::Event& event) const noexcept override {
            SmartCache* const told = cache.load();  // seq_cst: see CallFromBelow
            if (told == nullptr) return;
            try {
                told->config_.listener(event);
            } catch (...) {
                told->count(Event::listener_errors);
            }
        }
    };

    struct ReadyTag {};
    SmartCache(Config config, Codec codec, ReadyTag);

    template <class T>
    static constexpr bool readable_below = detail::is_flat<T> || CodecFor<Codec, T>;

    // --- set-up, maintenance, counting
    void start_lower_tiers();
    void start_maintenance();
    void maintain_until_stopped();
    void watch_redis(bool fails);
    template <class Which>
    void tend(Which which);
    void update_rates();
    void judge_hit_ratio(const detail::RecentRates::Counts& recent);
    [[nodiscard]] detail::RecentRates::Counts counts() const noexcept;
    [[nodiscard]] std::uint64_t hash_of(std::string_view key) const noexcept { return key_hash_(key); }
    [[nodiscard]] std::int64_t now_ms() const noexcept { return time_.now().time_since_epoch().count(); }
    [[nodiscard]] detail::Arena& arena() const noexcept { return *arena_; }
    [[gnu::always_inline]] void count(Event event, std::uint64_t amount = 1) const noexcept {
        if (config_.stats.enabled) [[likely]]
            counters_.add(event, amount);
    }
    /// Ends a lookup.
    void count_hit(std::string_view key, TierId tier, bool stale) const noexcept;
    void count_miss(std::string_view key) const noexcept {
        count(Event::misses);
        tell({.kind = EventKind::miss, .key = key});
    }
    /// Apart, so that a hit of which nobody wants to hear makes no event.
    [[gnu::noinline]] void tell_memory_hit(std::string_view key) const noexcept {
        tell({.kind = EventKind::hit, .key = key, .tier = TierId::memory});
    }
    void tell_removed(const Entry& entry, RemovalCause cause) const noexcept {
        tell({.kind = EventKind::removed, .key = entry.key(), .tier = TierId::memory, .cause = cause});
    }
    void tell(const smartcache::Event& event) const noexcept {
        if (listener_) [[unlikely]]
            detail::EventScope::tell(listener_, event);
    }
    [[nodiscard]] Duration lifetime_in(TierId tier, const EntryOptions& options) const noexcept;
    /// @throws ConfigError for options that are impossible or not in this version
    /// @return whether they are plain
    static bool check(const EntryOptions& options) {
        if (plain(options)) [[likely]]
            return true;
        check_all(options);
        return false;
    }
    /// Whether what may be impossible is as it is by default, or cannot be wrong; nothing is then refreshed early. Without a
    /// branch for each, and so cheap enough for every hit.
    [[nodiscard, gnu::always_inline]] static bool plain(const EntryOptions& options) noexcept {
        const std::uint64_t numbers = std::bit_cast<std::uint64_t>(options.refresh_ahead) |
                                      std::bit_cast<std::uint64_t>(options.early_beta);
        const std::int64_t signs = options.grace.count() | options.retry_after.count();
        const auto given = [](const auto& option) { return static_cast<unsigned>(option.has_value()); };
        const unsigned set = given(options.idle) | given(options.soft_timeout) | given(options.hard_timeout);
        return numbers == 0 && signs >= 0 && set == 0 && options.jitter.zero() && options.tags.empty();
    }
    [[gnu::noinline]] static void check_all(const EntryOptions& options);
    /// Whether an entry of L1 that is stored with these options has an idle time.
    [[nodiscard]] bool idles(const EntryOptions& options) const noexcept {
        return options.idle.has_value() || config_.memory.idle.has_value();
    }
    [[nodiscard]] static CopyOptions copy_options(const EntryOptions& options) {
        return {options.memory_ttl, options.redis_ttl, options.idle, options.weight};
    }

    // --- reading
    template <class T>
    [[nodiscard, gnu::noinline]] Lookup<T> get_below(std::string_view key, std::uint64_t hash,
                                                     const ReadOptions& options);
    template <class T>
    [[nodiscard]] Found find_stale(std::string_view key, std::uint64_t hash, TierSet tiers) const;
    [[nodiscard]] Found find_memory(std::string_view key, std::uint64_t hash, bool allow_stale,
                                    bool touch = true) const;
    /// @param now  as `Store::find` read it: it may be a little ahead, so what is stale by it needs the exact time
    [[nodiscard]] bool stale(const Entry& entry, std::int64_t now) const noexcept {
        return entry.grace != 0 && !entry.fresh(now) && !entry.fresh(now_ms());
    }
    template <class T>
    [[nodiscard]] LowerFound find_lower(std::string_view key, const ReadOptions& options, bool counted = true,
                                        bool idles = false) const;
    [[nodiscard]] Wanted want(std::string_view key, std::uint64_t hash, std::size_t at) const {
        Wanted wanted{physical_key(config_.key_prefix, key), key.size(), hash, at, {}};
        wanted.result.tags.here = tags_.sequence();
        return wanted;
    }
    template <class T>
    void find_lower_many(std::vector<Wanted>& wanted, TierSet tiers, bool idles) const;
    /// Whether there is anything above that a value from below can be copied into.
    [[nodiscard]] bool promotes() const noexcept { return memory_ || lower_.size() > 1; }
    template <class T>
    void accept(std::string_view key, const RecordView& record, std::size_t index, bool allow_stale,
                bool idles, LowerFound& result) const;
    template <class T>
    [[nodiscard]] Ref decode_record(std::string_view key, const RecordView& record,
                                    detail::EntryExtras extras) const;
    template <class T>
    [[nodiscard]] std::optional<T> decode(ByteView bytes) const;
    [[nodiscard]] Ref flat_entry(std::string_view key, ValueKind kind, ByteView bytes,
                                 detail::EntryExtras extras) const;
    void date_entry(Entry& entry, const RecordView& record, WallTime wall) const noexcept;
    void promote(std::string_view key, std::uint64_t hash, LowerFound& result, const detail::Ticket& ticket,
                 TierSet into = TierSet::all, const CopyOptions& own = {}) const;
    [[nodiscard]] bool usable(const RecordView& record, WallTime now, bool allow_stale) const noexcept;
    template <class T>
    [[nodiscard, gnu::noinline]] Ref convert(const Entry& entry) const;
    [[nodiscard, gnu::noinline]] Ref unpacked(const Entry& entry) const;
    template <class T>
    [[nodiscard, gnu::always_inline]] static auto in_place(const Entry& entry);
    template <class T, class V>
    [[nodiscard, gnu::always_inline]] Lookup<T> memory_hit(std::string_view key, Ref& entry, V& value) const;
    template <class T>
    [[nodiscard]] Lookup<T> present(Found found) const;
    template <class T>
    [[nodiscard, gnu::noinline]] Lookup<T> answer(std::string_view key, Found found) const;

    // --- writing
    template <class T>
    [[nodiscard]] detail::PreparedValue prepare(std::string_view key, T&& value, const EntryOptions& options,
                                                const detail::TagsSeen& seen) const;
    [[nodiscard]] detail::PreparedValue prepare_negative(std::string_view key, const EntryOptions& options,
                                                         const detail::TagsSeen& seen) const;
    void finish_record(detail::PreparedValue& value, const EntryOptions& options,
                       const detail::TagsSeen& seen) const;
    [[nodiscard]] detail::EntryExtras extras(const EntryOptions& options) const noexcept {
        return {idles(options), options.tags.size()};
    }
    /// What a value that begins to be made now has seen of the tags.
    [[nodiscard]] detail::TagsSeen see_tags() const;
    /// The same for a value that the caller has already: where others change tags, too, it counts from when it gets there.
    [[nodiscard]] detail::TagsSeen see_tags(const EntryOptions& options) const {
        if (options.tags.empty()) return {};
        detail::TagsSeen seen = see_tags();
        for (std::size_t i = 0; i < lower_.size(); ++i)
            if (!lower_[i].own) seen.below[i] = RecordView::tags_of_now;
        return seen;
    }
    [[nodiscard]] bool learnt_tags(const detail::TagsSeen& seen) const;
    bool change_tag(std::string_view tag, detail::TagChange how);
    /// Times in one tier. @return false when the tier is not to keep the value
    [[nodiscard]] bool date_record(const LowerTier& lower, detail::PreparedValue& value, WallTime now,
                                   const EntryOptions& options) const;
    /// What L1 did with a value: `refused` because its ticket was marked.
    enum class Kept { no, yes, refused };
    Kept put_memory(std::string_view key, std::uint64_t hash, detail::PreparedValue& value,
                    const EntryOptions& options, const detail::Ticket* ticket, bool ordered);
    [[nodiscard]] Ref packed_for_memory(Ref entry) const;
    /// @param weight  the caller's own, which counts instead
    bool insert_memory(std::string_view key, std::uint64_t hash, Ref entry, std::optional<std::size_t> weight,
                       const FenceTerms& terms) const;
    [[nodiscard]] static std::uint32_t weight_of(const Entry& entry,
                                                 std::optional<std::size_t> weight) noexcept {
        constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max();
        return static_cast<std::uint32_t>(std::min(weight.value_or(entry.bytes), most));
    }
    /// The weight that its writer gave an entry of L1, if any. With the shard's lock, and before L1 lets go of it: then the field
    /// is used for something else.
    [[nodiscard]] std::optional<std::size_t> own_weight(const Entry& entry) const noexcept {
        const bool own = memory_->by_bytes() && entry.weight != weight_of(entry, std::nullopt);
        return own ? std::optional<std::size_t>(entry.weight) : std::nullopt;
    }
    /// The same of one that was found; nullopt also when it has left L1 since.
    [[nodiscard]] std::optional<std::size_t> weight_of_found(std::string_view key, std::uint64_t hash,
                                                             const Entry& found) const {
        std::optional<std::size_t> weight;
        if (memory_->by_bytes())
            (void)memory_->take_if(hash, KeyIs{key}, [&](Entry& entry) {
                if (&entry == &found) weight = own_weight(entry);
                return false;
            });
        return weight;
    }
    bool forget_memory(std::string_view key, std::uint64_t hash) const;
    bool end_memory(std::string_view key, std::uint64_t hash);
    void end_own_copies(std::string_view key, std::uint64_t hash, std::string_view physical);
    void drop_ended(std::string_view key, std::uint64_t hash) const;
    bool commit(std::string_view key, std::uint64_t hash, detail::PreparedValue& value,
                const EntryOptions& options);
    FillResult commit_fill(std::string_view key, std::uint64_t hash, detail::PreparedValue& value,
                           const EntryOptions& options, const detail::Ticket& ticket,
                           const std::vector<WriteCondition>* seen);
    bool change_lifetime(std::string_view key, std::optional<Duration> ttl);
    TierStatus change_lifetime_below(const LowerTier& lower, std::string_view physical,
                                     std::optional<Duration> ttl, bool& changed);

    /// A call by a lower tier, which may tell the listener. It keeps the cache until it ends.
    class CallFromBelow {
      public:
        // seq_cst, as in the destructor and in `tell`: either that waits for this call, or this call tells nothing.
        explicit CallFromBelow(SmartCache& cache) noexcept
            : cache_(cache), counted_(cache.listener_ && cache.listener_->cache.load() != nullptr) {
            if (counted_) cache_.calls_from_below_.fetch_add(1);
        }
        CallFromBelow(const CallFromBelow&) = delete;
        CallFromBelow& operator=(const CallFromBelow&) = delete;
        ~CallFromBelow() {
            if (counted_) cache_.calls_from_below_.fetch_sub(1);
        }

      private:
        SmartCache& cache_;
        const bool counted_;
    };

    // --- what other processes change
    void take_invalidation(const Invalidation& what);
    void drop_copies(std::string_view key);
    void drop_tagged(std::string_view tag, detail::TagChange how);
    void drop_all_copies(bool cleared);
    void drop_memory();
    [[nodiscard]] std::string position_key() const;
    void keep_position(std::string_view position);
    [[nodiscard]] std::string kept_position();
    TierStatus write_below(const LowerTier& lower, const RecordView& record, std::uint64_t hash,
                           WriteCondition condition = {}, const detail::Ticket* ticket = nullptr) const;
    [[nodiscard]] bool trusts(const LowerTier& lower, const RecordView& record,
                              std::span<const WriteCondition> seen, bool& goes_up) const;
    /// Of a caller's write, where that can be overtaken by another process.
    class WriteTicket {
      public:
        WriteTicket(const SmartCache& cache, std::string_view key, std::uint64_t hash) {
            if (cache.own_copies_.on) ticket_.emplace(cache.fences_, key, hash);
        }
        [[nodiscard]] const detail::Ticket* get() noexcept { return ticket_ ? &**ticket_ : nullptr; }

      private:
        std::optional<detail::FillTicket> ticket_;
    };

    // --- changes that depend on what is there
    using BaseState = detail::ChangeBase;
    template <class T>
    using Base = detail::TypedChangeBase<T>;
    using Change = detail::Change;
    using Plan = detail::ChangePlan;
    [[nodiscard]] static bool kept_nowhere(const EntryOptions& options) noexcept;
    [[nodiscard]] const LowerTier* shared_tier(const EntryOptions& options) const noexcept;
    template <class T>
    [[nodiscard]] Base<T> find_base(std::string_view key, std::uint64_t hash,
                                    const EntryOptions& options) const;
    template <class T>
    [[nodiscard]] Plan keeping_lifetime(const Base<T>& base, const EntryOptions& options) const;
    [[nodiscard]] static Plan planned(Plan plan, const BaseState& base);
    [[nodiscard]] bool count_from_now(Plan& plan) const;
    [[nodiscard]] bool demoted_meanwhile(const BaseState& base, std::string_view key,
                                         std::string_view physical);
    [[nodiscard]] TierStatus end_shared(const BaseState& base, std::string_view physical);
    void forget_everywhere(std::string_view key, std::uint64_t hash, std::string_view physical);
    [[nodiscard]] Change commit_if(std::string_view key, std::uint64_t hash, detail::PreparedValue& value,
                                   Plan& plan, const BaseState& base, const detail::Ticket& ticket);
    [[nodiscard]] Change erase_if(std::string_view key, std::uint64_t hash, const BaseState& base,
                                  const detail::Ticket& ticket);
    template <class T, class Attempt>
    Change change(std::string_view key, const EntryOptions& options, Attempt attempt);

    // --- demotion
    void add_lower(std::unique_ptr<Tier> tier, TierId id);
    void begin_demotion(Entry& entry) noexcept;
    void finish_demotion(Entry& entry);
    void copy_below(const Entry& entry, const Demotion& demotion);
    bool demote(const Entry& entry, std::uint64_t hash, std::optional<std::size_t> weight,
                const detail::Ticket* ticket);
    [[nodiscard]] const LowerTier* demotion_target() const noexcept;
    [[nodiscard]] bool make_demoted(const Entry& entry, std::optional<std::size_t> weight,
                                    const LowerTier& lower, DemotedRecord& out) const;

    // --- loading
    [[nodiscard]] static bool refreshes_early(const EntryOptions& options) noexcept {
        return options.refresh_ahead > 0 || options.early_beta > 0;
    }
    [[nodiscard]] static Ref share(const Ref& entry) noexcept {
        return entry ? Ref::share(entry.get()) : Ref();
    }
    template <class T, class F>
    [[nodiscard, gnu::noinline]] Lookup<T> refresh_early(std::string_view key, std::uint64_t hash, F& load,
                                                         const EntryOptions& options, Lookup<T> hit,
                                                         const detail::EarlyRefresh& early);
    template <class T, class F>
    void refresh_later(std::string_view key, std::uint64_t hash, F& load, const EntryOptions& options,
                       const std::optional<detail::EarlyRefresh>& early, PauseUntil pause);
    template <class T, class F>
    [[nodiscard, gnu::noinline]] Lookup<T> use_or_load(std::string_view key, std::uint64_t hash, F& load,
                                                       const EntryOptions& options, Ref entry);
    template <class T, class F>
    [[nodiscard, gnu::noinline]] Lookup<T> load_shared(std::string_view key, std::uint64_t hash, F& load,
                                                       const EntryOptions& options);
    template <class T, class F>
    Lookup<T> load_alone(std::string_view key, std::uint64_t hash, F& load, const EntryOptions& options);
    template <class T, class F>
    Lookup<T> lead_flight(detail::Flight& flight, F& load, const EntryOptions& options);
    template <class T, class F>
    [[nodiscard]] detail::Workers::Turn fly_elsewhere(const std::shared_ptr<detail::Flight>& flight, F& load,
                                                      const EntryOptions& options);
    template <class T, class F>
    Found fly(detail::Flight& flight, F& load, const EntryOptions& options,
              const detail::EarlyRefresh* early);
    void end_flight(detail::Flight& flight, detail::Flight::Outcome outcome);
    template <class T>
    Lookup<T> answer_loaded(std::string_view key, Found found) const;
    template <class T>
    [[nodiscard]] Found find_servable(std::string_view key, std::uint64_t hash,
                                      const EntryOptions& options) const;
    template <class T>
    [[nodiscard]] detail::OldValue find_old_value(std::string_view key, std::uint64_t hash,
                                                  const EntryOptions& options) const;
    template <class T, class F>
    [[nodiscard]] Found lead(std::string_view key, std::uint64_t hash, F& load, const EntryOptions& options,
                             const detail::Ticket& ticket, const detail::EarlyRefresh* early);
    template <class F>
    [[nodiscard]] Ref load_and_store(std::string_view key, std::uint64_t hash, F& load,
                                     const EntryOptions& options, const detail::Ticket& ticket,
                                     const std::vector<WriteCondition>* seen);
    [[nodiscard]] Ref store_loaded(std::string_view key, std::uint64_t hash, detail::PreparedValue& prepared,
                                   std::chrono::microseconds cost, const EntryOptions& options,
                                   const detail::Ticket& ticket, const std::vector<WriteCondition>* seen);
    [[nodiscard]] static Duration lock_length(const EntryOptions& options) noexcept;
    template <class T, class Good>
    [[nodiscard]] Found lock_load(detail::LoadLock& lock, std::string_view key, std::uint64_t hash,
                                  const EntryOptions& options, const detail::Ticket& ticket,
                                  bool in_background, std::vector<WriteCondition>& seen, Good good);
    void see_unasked(std::string_view key, TierSet asked, std::vector<WriteCondition>& seen) const;
    template <class T, class F>
    class BulkLoad;
    void end_older(std::string_view key, std::uint64_t hash, const detail::Ticket& ticket,
                   const std::vector<WriteCondition>& seen);
    void end_older_below(std::size_t index, std::string_view physical, WallTime now,
                         const std::vector<WriteCondition>* seen);

    const Config config_;
    detail::LiveSettings live_;
    Codec codec_;
    TimeSource time_;
    KeyHash key_hash_;
    mutable detail::RateLimitedLog log_;
    std::vector<StartFailure> start_failures_;
    std::shared_ptr<Teller> listener_;  // nobody listens, most often
    std::atomic<std::uint32_t> calls_from_below_{0};
    std::unique_ptr<detail::Store<Entry>> memory_;
    detail::Arena* arena_ = nullptr;  // memory_'s, or one of its own reference
    bool owns_arena_ = false;
    std::vector<LowerTier> lower_;
    bool writes_below_ = false;  // a lower tier takes what is set
    bool evicts_below_ = false;  // one takes what L1 evicts
    mutable detail::Fences fences_;
    mutable detail::TagTable tags_;
    mutable detail::OwnCopies own_copies_;
    detail::ProcessMutex tag_changes_;  // one at a time
    detail::Pauses refreshes_;          // of live values, running or tried not long ago
    detail::Pauses failures_;           // of loads
    detail::Mutex demotions_mutex_;
    std::unordered_map<const Entry*, Demotion> demotions_;  // begun, not finished
    mutable Counters<Event> counters_;
    MonotonicTime started_;

    mutable detail::Mutex rates_mutex_;
    detail::RecentRates rates_;
    bool hit_ratio_low_ = false;  // and said so

    struct Maintenance {
        std::mutex mutex;
        std::condition_variable wake;
        bool stopping = false;
        bool redis_fails = false;  ///< and is not asked by callers
        std::thread thread;
    };
    detail::ProcessOwned<Maintenance> maintenance_;
    detail::Workers workers_;
};

}  // namespace smartcache::inline v0

#include <smartcache/facade/impl/smart_cache.hpp>  // IWYU pragma: export
