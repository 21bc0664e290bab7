#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <smartcache/codec/bytes.hpp>
#include <smartcache/core/clock.hpp>
#include <smartcache/core/counters.hpp>
#include <smartcache/core/executor.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/facade/entry_options.hpp>
#include <smartcache/facade/fill.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/http/detail/middleware_helpers.hpp>
#include <smartcache/http/detail/middleware_waits.hpp>
#include <smartcache/http/flights.hpp>
#include <smartcache/http/key_generator.hpp>
#include <smartcache/http/message.hpp>
#include <smartcache/http/middleware_stats.hpp>
#include <smartcache/http/options.hpp>
#include <smartcache/http/semantics/cache_status.hpp>
#include <smartcache/http/semantics/conditional.hpp>
#include <smartcache/http/semantics/invalidation.hpp>
#include <smartcache/http/semantics/partial.hpp>
#include <smartcache/http/semantics/range.hpp>
#include <smartcache/http/semantics/reuse.hpp>
#include <smartcache/http/semantics/storability.hpp>
#include <smartcache/http/semantics/tags.hpp>
#include <smartcache/http/semantics/targeted.hpp>
#include <smartcache/http/semantics/vary.hpp>
#include <smartcache/http/stored_response.hpp>
#include <smartcache/http/transaction.hpp>

namespace smartcache::inline v0::http {

/// What a middleware needs from its cache; `SmartCache` with any codec is a model.
///
/// Model must: give a lookup that keeps its bytes alive and unchanged, moved or not; be callable from any
/// thread; not throw where the cache's own parts fail.
template <class C>
concept ResponseCache = requires(C& cache, std::string_view text, const EntryOptions& options) {
    { *cache.template get<std::string_view>(text) } -> std::convertible_to<std::string_view>;
    static_cast<bool>(cache.template get<std::string_view>(text));
    { cache.set(text, text, options) } -> std::convertible_to<bool>;
    { cache.erase(text) } -> std::convertible_to<bool>;
    cache.clear();
    cache.stats();
    cache.health_check();
    { cache.clock() } -> std::convertible_to<const Clock&>;
};

namespace detail {

/// A cache that others change too refuses what they have overtaken.
template <class C>
concept HasFills = requires(C& cache, std::string_view text, Fill& fill, const EntryOptions& options) {
    {
        cache.template begin_fill<std::string_view>(text, fill)
        } -> std::same_as<decltype(cache.template get<std::string_view>(text))>;
    { cache.begin_overwrite(text) } -> std::same_as<Fill>;
    { cache.commit_fill(std::move(fill), text, options) } -> std::same_as<FillResult>;
    { cache.tags_now() } -> std::same_as<TagSnapshot>;
};

/// Tags need a cache that knows them; with any other, rules that give some are refused at construction, and those of
/// responses are not looked at.
template <class C>
concept HasTags = requires(C& cache, std::string_view tag) {
    cache.erase_tag(tag);
};

/// Soft purges need a cache that can make what it holds stale, and gives it out then; any other erases.
template <class C>
concept HasStale = HasFills<C> && requires(C& cache, std::string_view text, const ReadOptions& options) {
    { cache.template get<std::string_view>(text, options).stale() } -> std::convertible_to<bool>;
    cache.expire_tag(text);
};

/// A cache with tiers below memory says what memory alone has, without blocking.
template <class C>
concept HasTryGet = requires(C& cache, std::string_view key) {
    {
        cache.template try_get<std::string_view>(key)
        } -> std::same_as<decltype(cache.template get<std::string_view>(key))>;
};

}  // namespace detail

/// How the owner of a transaction can forward it.
enum class Refresh {
    before_answer,  ///< only while the client waits
    after_answer,   ///< also once the client has its answer: stale-while-revalidate works
};

/// How a purge ends what is stored.
enum class Purge {
    hard,  ///< it is forgotten
    /// It is stale from now on: the origin is asked first, or in the background where the response may be served so
    /// (stale-while-revalidate), and it still stands in for an origin that fails, where that is allowed. What can be
    /// neither validated nor served stale is forgotten, and so is a resource while a tier of the cache does not answer.
    /// With a cache that cannot make its entries stale: `hard`.
    soft,
};

/// An HTTP cache in front of an application or an origin (RFC 9111), over any `ResponseCache`.
///
///     sc::http::Middleware web{cache, sc::http::api_cache(5min)};
///     Response res = web.handle(req, [&](const Request& r) { return app(r); });
///
/// Three ways in, one state machine: `handle` around a handler; `process_request` and `process_response` for
/// frameworks with hooks; `begin` for those that forward on their own.
///
/// Who may see what: RFC 9111 for a shared cache, with the safe side taken where it leaves a choice. A
/// response to a request with Authorization is stored only if it says that others may have it (section 3.5);
/// one with Set-Cookie only if it is `public`; one to a request with Cookie only if the origin says anything
/// about its freshness. Nothing that the client sends selects a response without being part of its key.
///
/// Thread safety: any member, any thread. Blocks: on the cache's tiers, and in `handle`, `process_request`
/// and `begin(request)` while another request for the same resource is on its way (`collapse_timeout`).
/// Throws: what the handler or a hook throws; the cache never fails a request. Must outlive its transactions.
template <ResponseCache Cache>
class Middleware final : private detail::TransactionOwner {
  public:
    /// Works with `cache`, which must outlive the middleware. @throws ConfigError for impossible options
    explicit Middleware(Cache& cache, MiddlewareOptions options = {})
        : Middleware(nullptr, &cache, std::move(options)) {}
    /// Makes a cache of its own. @throws ConfigError
    explicit Middleware(const Config& config,
                        MiddlewareOptions options = {}) requires std::constructible_from<Cache, Config>
        : Middleware((options.validate(), std::make_unique<Cache>(config)), nullptr, options) {}

    Middleware(const Middleware&) = delete;
    Middleware& operator=(const Middleware&) = delete;
    ~Middleware() = default;

    /// Answers from the store, or with what `next(request)` returns. `next` is called at most once, in this
    /// thread, with a `const Request&` that may carry the cache's conditions; what it throws passes through,
    /// unless a stale response may be served instead.
    template <class Next>
    requires std::is_invocable_r_v<Response, Next&, const Request&> Response handle(const Request& request,
                                                                                    Next&& next);

    /// First half of `handle`: the answer, or nullopt when the application is to make it. Then `request` may
    /// have got the cache's conditions, and its `state` carries the transaction.
    std::optional<Response> process_request(Request& request);
    /// Second half: stores, merges, invalidates; changes `response` into what is to be sent. Without a
    /// transaction in `request.state` it does nothing.
    void process_response(Request& request, Response& response);

    /// Starts a transaction. `request` is copied when it must be forwarded.
    [[nodiscard]] Transaction begin(const Request& request, Refresh refresh = Refresh::before_answer);
    /// The same for threads that must not block. `done(Transaction)` is called once: before this returns where
    /// no look into the store is needed or memory holds a fresh answer; else by a task of `executor`, which asks
    /// the tiers below, or when the wait for another request has ended. A cache that cannot say what
    /// memory alone has (one without `try_get`) is looked into here.
    ///
    /// Where the executor refuses a task it is done at once, in the thread that submits it: this one, or the one
    /// that ended the other request. Where it drops one, or what a look into the store throws (memory ran out)
    /// ends one, `done` is destroyed uncalled. `done` must not throw: it may be called by the thread that ended the other
    /// request, which drops what it throws. The executor must outlive the middleware's transactions; one
    /// without `submit_after` waits for as long as the other request takes, whatever `collapse_timeout` says.
    ///
    /// @param request  only moved from where it is not answered at once
    template <class Done>
    requires std::is_invocable_v<Done&, Transaction>
    void begin(Request&& request, Executor& executor, Done done, Refresh refresh = Refresh::before_answer);
    template <class Done>
    requires std::is_invocable_v<Done&, Transaction>
    void begin(const Request& request, Executor& executor, Done done,
               Refresh refresh = Refresh::before_answer) {
        begin(Request(request), executor, std::move(done), refresh);
    }

    /// Ends every stored response of a resource. `url`: "https://host/path?query", or "/path?query" where
    /// requests carry no host. @return false when nothing was stored, or `url` is none
    ///
    /// Of this and the other purges: what was being fetched at the call is not stored, by this middleware or another one, in
    /// whatever process (`SmartCache::begin_fill`); but for what another process keeps of a POST for later GETs, which only a
    /// purge of its tags keeps out. Processes that share the Redis tier find the response purged there, and
    /// in their own memory and on their disks once they have heard of it (`RedisOptions::coherence`). Where a tier does not
    /// answer, `MiddlewareStats::purges_untold` counts it; over HTTP the answer is 202 then.
    bool purge(std::string_view url, Purge how = Purge::hard);
    /// Ends every response that was stored with this tag, by the origin (`tag_fields`) or by a rule. O(1).
    /// @return whether every tier has acknowledged it, as far as the cache tells
    bool purge_tag(std::string_view tag, Purge how = Purge::hard) requires detail::HasTags<Cache>;
    /// Ends every response at or below a path: "https://host/a/b/" is that of /a/b, whatever the query, of /a/b/c and so
    /// on, not that of /a/bc. A URL without a host as in `purge`. O(1).
    /// @return false when `url` is none, or lies deeper than `purge_depth`: then nothing was purged
    bool purge_prefix(std::string_view url, Purge how = Purge::hard) requires detail::HasTags<Cache>;
    /// Erases the cache, everything else in it included, and zeroes the counters.
    void clear_cache();
    /// Fetches each URL through the cache with `origin(const Request&)`. @return how many are now in the
    /// store
    template <class Urls, class Origin>
    std::size_t warm_cache(const Urls& urls, Origin&& origin);

    using Report = MiddlewareReport<decltype(std::declval<Cache&>().stats()),
                                    decltype(std::declval<Cache&>().health_check())>;
    /// Counters, the cache's statistics and a health probe of its tiers.
    [[nodiscard]] Report stats();
    /// The counters alone: cheap.
    [[nodiscard]] MiddlewareStats counters() const noexcept;

    [[nodiscard]] const MiddlewareOptions& options() const noexcept { return options_; }
    [[nodiscard]] const KeyGenerator& keys() const noexcept { return keys_; }
    [[nodiscard]] Cache& cache() noexcept { return *cache_; }

  private:
    using Pending = detail::Pending;
    using Found = detail::Found;
    using Flights = detail::Flights;

    enum class Event : std::uint8_t {
        hit,
        miss,
        skip,
        set,
        revalidated,
        stale_served,
        collapsed,
        not_modified,
        invalidation,
        purge,
        purge_untold,
        count_
    };
    /// A request's judgement before anything is looked up.
    struct Gate {
        Reason skip = Reason::none;
        const Rule* rule = nullptr;
        CacheControl control;
        std::string primary;
    };
    /// What the store holds for a request.
    struct Match {
        std::optional<Found> found;
        std::optional<Found> part;    ///< stored, but not what the request asks for
        bool resource_known = false;  ///< other variants, or ones that this client may not have
        std::optional<FieldNames>
            newest{};  ///< what the newest variant was selected by, where there are several
        detail::Base base{};
    };
    /// A `begin` between two looks at the store.
    struct Attempt {
        const Request& request;
        Refresh refresh;
        Gate gate;
        Flights::Ticket ticket;
        std::optional<Flights::Ending> woken;  ///< how the request that was waited for ended
        bool timed_out = false;
    };
    using MakeWake = std::function<Flights::Wake()>;
    enum class Tiers : std::uint8_t { all, memory };

    Middleware(std::unique_ptr<Cache> own, Cache* cache, MiddlewareOptions options);

    // impl/middleware_begin.hpp
    [[nodiscard]] Gate judge(const Request& request) const;
    [[nodiscard]] Reason refuse(const Request& request, Gate& gate) const;
    [[nodiscard]] std::optional<Transaction> answer_at_once(const Request& request, Gate& gate);
    [[nodiscard]] std::optional<Transaction> attempt(Attempt& state, bool blocking,
                                                     const MakeWake& make_wake);
    [[nodiscard]] std::optional<Transaction> serve(Attempt& state, Match& match, Reuse reuse, WallTime now);
    [[nodiscard]] std::unique_ptr<Pending> forward(Attempt& state, Match match, std::string variant,
                                                   bool background = false);
    [[nodiscard]] std::optional<Transaction> from_memory(Attempt& state);
    [[nodiscard]] std::optional<Transaction> from_store(Attempt& state, Match& match, WallTime now);
    [[nodiscard]] Transaction not_cached(std::string_view x_cache);
    [[nodiscard]] Transaction forward_untouched(const Request& request, Gate gate);
    static void ask_for_the_rest(Pending& pending, WallTime now);
    [[nodiscard]] std::unique_ptr<Pending> as_get(const Request& post);
    template <class Done>
    void resume(std::shared_ptr<Request> request, std::shared_ptr<Attempt> state, Executor& executor,
                std::shared_ptr<Done> done);

    // impl/middleware_store.hpp
    [[nodiscard]] Match look_up(const Request& request, const std::string& primary, const Rule* rule,
                                Tiers tiers = Tiers::all, bool to_fill = false);
    [[nodiscard]] auto ask(std::string_view key, Tiers tiers);
    [[nodiscard]] auto ask_to_fill(std::string_view key, Fill& fill);
    [[nodiscard]] Fill overwriting(std::string_view key);
    [[nodiscard]] TagSnapshot tags_now() const;
    [[nodiscard]] static std::uint64_t version_of(const ParsedStored& record, const Fill& fill);
    [[nodiscard]] std::optional<Found> read(std::string key, Tiers tiers = Tiers::all);
    [[nodiscard]] FieldNames selecting_names(const Rule* rule) const;
    [[nodiscard]] StorePolicy policy_for(const Pending& pending, int status, const CacheControl& control,
                                         const FieldNames& names) const;
    [[nodiscard]] StoreDecision judge_response(const Pending& pending, const Response& response, WallTime now,
                                               FieldNames& names, bool complete) const;
    Reason store(Pending& pending, Response& response, WallTime now, const Found* replaced);
    Reason put(Pending& pending, const Headers& headers, std::string_view body, const StoredMeta& meta,
               const FieldNames& names, const Found* replaced);
    [[nodiscard]] bool is_there(const Found& found);
    [[nodiscard]] FillResult put_update(Pending& pending, const StoredResponse& stored, const Found& replaced,
                                        const EntryOptions& entry);
    [[nodiscard]] FillResult put_new(Pending& pending, StoredResponse stored, const FieldNames& names,
                                     const EntryOptions& entry);
    [[nodiscard]] FillResult put_over(Pending& pending, StoredResponse& stored, const FieldNames& names,
                                      const EntryOptions& entry, std::uint64_t version);
    [[nodiscard]] FillResult commit(Fill fill, const std::string& key, const std::string& record,
                                    const EntryOptions& entry, const TagSnapshot& tags);
    [[nodiscard]] EntryOptions entry_for(const StoredMeta& meta, WallTime now,
                                         std::vector<std::string> tags) const;
    [[nodiscard]] EntryOptions index_entry(Duration at_least) const;
    [[nodiscard]] std::vector<std::string> tags_of(const Pending& pending, const Headers& headers) const;
    [[nodiscard]] bool may_stand_in(const Pending& pending, WallTime now);
    template <class Target>  // an address or a request
    [[nodiscard]] std::string primary_of(const Target& target) const noexcept;

    // impl/middleware_purge.hpp
    [[nodiscard]] Response answer_purge(const Request& request);
    [[nodiscard]] Response answer_purge_many(const Request& request, Purge how);
    /// What a purge of all below a URL came to: `none`, nothing can be stored with its tag.
    enum class Below : std::uint8_t { none, told, untold };
    Below purge_below(const Url& url, Purge how) requires detail::HasTags<Cache>;
    bool purge_resource(const std::string& primary, Purge how, Flights::Ticket* own = nullptr);
    [[nodiscard]] bool soften(const std::string& primary);
    [[nodiscard]] bool everywhere_told(const std::string& key) const;
    [[nodiscard]] bool note_purge(const std::string& primary, bool found);
    [[nodiscard]] static Response purged(bool told);

    // impl/middleware_finish.hpp
    Response finish(Pending& pending, Response response) override;
    std::optional<Response> fail(Pending& pending) override;
    [[nodiscard]] bool wants_body(Pending& pending, const Response& head) override;
    void abandon(Pending& pending) noexcept override;
    Response conclude(Pending& pending, Response response, bool allowed, WallTime now);
    void make_whole(Pending& pending, Response& response, WallTime now);
    Reason store_or_combine(Pending& pending, Response& response, WallTime now);
    Response revalidated(Pending& pending, Response response, WallTime now);
    Response refuted(Pending& pending, Response response, WallTime now);
    Response forwarded(Pending& pending, Response response, Reason refused, WallTime now);
    Response serve_stale(Pending& pending, int origin_status, WallTime now);
    [[nodiscard]] Headers merge(Headers& stored, const Headers& fields, bool part) const;
    Reason update(Pending& pending, const Headers& merged, WallTime now);
    void update_by_head(Pending& pending, const Response& response, WallTime now);
    void invalidate(const Request& request, const Response& response, Flights::Ticket* own);
    [[nodiscard]] bool is_as_get(const Pending& post, const Response& response, WallTime now) const;
    [[nodiscard]] bool store_as_get(Pending& post, Response& response, WallTime now);
    [[nodiscard]] Response answer(const Request& request, const Found& found, WallTime now,
                                  std::string_view x_cache, const CacheStatus& status);
    void annotate(Response& response, std::string_view x_cache, const CacheStatus& status) const;
    void count_outcome(const Pending& pending, Reason refused) noexcept;
    void log(std::string_view what, const Request& request, std::string_view detail) const;

    [[nodiscard]] WallTime wall() const { return cache_->clock().wall(); }
    [[nodiscard]] MonotonicTime ticks() const { return cache_->clock().now(); }

    std::unique_ptr<Cache> own_;
    Cache* cache_;
    const MiddlewareOptions options_;
    const KeyGenerator keys_;
    Flights flights_;
    detail::Waits waits_;
    detail::UncacheableMemory uncacheable_;
    Counters<Event> events_;
    Counters<Reason> reasons_;
};

template <class Cache>
Middleware(Cache&, MiddlewareOptions) -> Middleware<Cache>;
template <class Cache>
Middleware(Cache&) -> Middleware<Cache>;
Middleware(Config, MiddlewareOptions)->Middleware<SmartCache<BytesCodec>>;
Middleware(Config)->Middleware<SmartCache<BytesCodec>>;

}  // namespace smartcache::inline v0::http

#include <smartcache/http/impl/middleware_begin.hpp>   // IWYU pragma: export
#include <smartcache/http/impl/middleware_finish.hpp>  // IWYU pragma: export
#include <smartcache/http/impl/middleware_purge.hpp>   // IWYU pragma: export
#include <smartcache/http/impl/middleware_store.hpp>   // IWYU pragma: export
