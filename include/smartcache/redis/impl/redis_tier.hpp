#pragma once

// RedisTier: what reading and writing share, health and statistics.

#include <algorithm>
#include <exception>
#include <utility>

#include <smartcache/redis/redis_tier.hpp>

namespace smartcache::inline v0 {

/// Keys of one partition as Redis knows them, and the namespaces they belong to.
class RedisTier::Names {
  public:
    using Space = detail::RedisClient::Space;

    explicit Names(detail::Partition& partition) : partition_(&partition) {}
    /// One key.
    Names(detail::Partition& partition, std::string_view key) : Names(partition) { add(key, 0); }

    /// Before as many keys are added. @param bytes  that they have
    void expect(std::size_t keys, std::size_t bytes) {
        keys_.reserve(keys);
        names_.reserve(bytes + keys * partition_->record_prefix().size());
    }
    /// @param key  must outlive the names
    /// @param at  where it stands among all keys
    void add(std::string_view key, std::size_t at) {
        const std::size_t begin = names_.size();
        names_ += partition_->record_prefix();
        names_ += key;
        const std::string_view space = detail::namespace_of(key);
        // A cache has one namespace; a tier used by hand may see a few.
        std::size_t index = 0;
        while (index < spaces_.size() && spaces_[index].name != space) ++index;
        if (index == spaces_.size()) spaces_.push_back({partition_, space});
        keys_.push_back({begin, names_.size() - begin, at, index});
    }

    [[nodiscard]] detail::Partition& partition() const noexcept { return *partition_; }
    [[nodiscard]] std::size_t size() const noexcept { return keys_.size(); }
    /// Of all names together.
    [[nodiscard]] std::size_t bytes() const noexcept { return names_.size(); }
    /// Stays where it is once all keys are added.
    [[nodiscard]] std::string_view name(std::size_t key) const noexcept {
        return std::string_view(names_).substr(keys_[key].begin, keys_[key].size);
    }
    [[nodiscard]] std::size_t at(std::size_t key) const noexcept { return keys_[key].at; }
    [[nodiscard]] Space& space_of(std::size_t key) { return spaces_[keys_[key].space]; }
    [[nodiscard]] std::span<Space> spaces() noexcept { return spaces_; }

    /// A command about all keys.
    void add_all(detail::Pipeline& commands, std::string_view word) const {
        std::vector<std::string_view> words;
        words.reserve(keys_.size() + 1);
        words.push_back(word);
        for (std::size_t i = 0; i < keys_.size(); ++i) words.push_back(name(i));
        commands.command(words);
    }
    /// Asks for the epochs, behind whatever the pipeline asks before.
    void add_epochs(detail::Pipeline& commands) {
        for (Space& space : spaces_) space.ask_epoch(commands);
    }
    void take_epoch(std::size_t space, detail::Reply& reply) {
        if (space >= spaces_.size()) return;
        spaces_[space].untold = reply.is_error("EXECABORT");
        spaces_[space].answer = detail::take_epoch(reply);
    }

    /// The namespaces of those parts whose round trip did not fail.
    [[nodiscard]] static std::vector<Space*> spaces_of(std::span<Names> parts,
                                                       std::span<const detail::Leg> legs) {
        std::vector<Space*> spaces;
        for (std::size_t i = 0; i < parts.size(); ++i) {
            if (legs[i].trip.failure) continue;
            for (Space& space : parts[i].spaces_) spaces.push_back(&space);
        }
        return spaces;
    }

  private:
    struct Key {
        std::size_t begin;  // of its name in `names_`
        std::size_t size;
        std::size_t at;
        std::size_t space;
    };
    detail::Partition* partition_;
    std::string names_;  // one behind the other
    std::vector<Key> keys_;
    std::vector<Space> spaces_;
};

/// The keys by their partitions.
inline auto RedisTier::names_of(std::span<const std::string_view> keys) const -> std::vector<Names> {
    std::vector<Names> parts;
    if (client_.partitions() == 1) {
        std::size_t bytes = 0;
        for (const std::string_view key : keys) bytes += key.size();
        Names& all = parts.emplace_back(client_.partition({}));
        all.expect(keys.size(), bytes);
        for (std::size_t i = 0; i < keys.size(); ++i) all.add(keys[i], i);
        return parts;
    }
    std::vector<std::size_t> part_of(client_.partitions(), keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
        detail::Partition& partition = client_.partition(keys[i]);
        std::size_t& part = part_of[partition.number()];
        if (part == keys.size()) {
            part = parts.size();
            parts.emplace_back(partition);
        }
        parts[part].add(keys[i], i);
    }
    return parts;
}

inline void RedisTier::prepare_to_listen() {
    if (!client_.common().announcer.on() || !context_.on_invalidation) return;
    if (!context_.background && options_.coherence == Coherence::automatic) return;
    const auto told = [this](const Invalidation& what) {
        heard_.add(what.kind);
        context_.on_invalidation(what);
    };
    detail::Listener::Options options{context_.name_space, options_.lease,
                                      options_.coherence == Coherence::tracking};
    if (detail::Cluster* const cluster = client_.cluster())
        hearing_ = std::make_unique<detail::ClusterListener>(*cluster, std::move(options), client_.common(),
                                                             heard_, told);
    else
        hearing_ = std::make_unique<detail::Listener>(client_.settings(), std::move(options),
                                                      client_.common(), heard_, told);
}

/// The first subscription is waited for: what an owner stores before that would be dropped when it comes.
inline void RedisTier::begin_to_listen(bool positions, std::string known) {
    if (hearing_ == nullptr) return;
    // The server itself tells of what other programs change, and keeps nothing of that.
    if (positions && options_.coherence != Coherence::tracking) hearing_->keep_positions(std::move(known));
    hearing_->begin(detail::Deadline::in(options_.connect_timeout));
    if (context_.background)
        listening_ = std::make_unique<detail::ProcessOwned<detail::ListeningThread>>(*hearing_);
}

inline RedisOptions RedisTier::checked(RedisOptions options) {
    std::vector<ConfigProblem> problems;
    validate(options, true, problems);
    if (!problems.empty()) throw ConfigError(std::move(problems));
    return options;
}

inline RedisUrl RedisTier::url_of(const RedisOptions& options) {
    std::string problem;
    std::optional<RedisUrl> url = parse_redis_url(options.url, problem);
    return url ? std::move(*url) : RedisUrl{};  // `checked` has parsed the same text
}

/// Longer records are neither written nor read. Redis itself ends at 512 MiB, and closes the connection
/// beyond that.
inline std::size_t RedisTier::longest_record(const RecordLimits& limits) noexcept {
    constexpr std::uint64_t redis_limit = (std::uint64_t{512} << 20U) - (std::uint64_t{1} << 20U);
    constexpr std::uint64_t head_and_tags = std::uint64_t{1} << 20U;
    const std::uint64_t key = std::min(limits.max_key_size, redis_limit);
    const std::uint64_t value = std::min(limits.max_value_size, redis_limit);
    return static_cast<std::size_t>(std::min(key + value + head_and_tags, redis_limit));
}

/// Records carry the server's time. With an injected clock, which governs all lifetimes, they carry that
/// clock's.
inline Duration RedisTier::server_ahead(detail::Partition& partition, WallTime now) noexcept {
    return context_.time.injected() != nullptr ? Duration::zero() : partition.clock.ahead(now);
}

inline TierStatus RedisTier::failed(const detail::Failure& failure) noexcept {
    using Kind = detail::Failure::Kind;
    if (failure.timed_out())
        counters_.add(Event::timeouts);
    else if (failure.kind != Kind::breaker_open && failure.kind != Kind::backing_off)  // those were not asked
        counters_.add(Event::errors);
    return TierStatus::unavailable;
}

inline TierStatus RedisTier::refused(const std::string& answer) noexcept {
    counters_.add(Event::errors);
    client_.report("Redis refused a command: " + answer);
    return TierStatus::unavailable;
}

/// Runs `body`; when it runs out of memory the tier has failed, and whatever was to be changed may be half
/// done.
template <class Body>
void RedisTier::guarded(std::span<const std::string_view> changed, Body body) noexcept {
    try {
        body();
    } catch (const std::exception&) {
        counters_.add(Event::errors);
        for (const std::string_view key : changed) client_.distrust_namespace(detail::namespace_of(key));
    }
}

/// Calls `body(first, count)` for stretches of at most 512 commands and 4 MiB.
template <class Sizes, class Body>
void RedisTier::in_chunks(std::size_t count, Sizes size_of, Body body) {
    constexpr std::size_t most = 512;
    constexpr std::size_t most_bytes = std::size_t{4} << 20U;
    for (std::size_t first = 0; first < count;) {
        std::size_t bytes = size_of(first);
        std::size_t end = first + 1;
        while (end < count && end - first < most && bytes + size_of(end) <= most_bytes)
            bytes += size_of(end++);
        if (!body(first, end - first)) return;
        first = end;
    }
}

inline TierStatus RedisTier::clear(std::string_view name_space) {
    TierStatus status = TierStatus::unavailable;
    const std::string any = physical_key(name_space, {});
    const std::string_view changed = any;
    guarded({&changed, 1}, [&] {
        if (client_.clear(name_space, deadline()))
            status = TierStatus::ok;
        else
            counters_.add(Event::errors);
    });
    return status;
}

inline TierStatus RedisTier::change_tag(std::string_view name_space, std::string_view tag,
                                        std::string_view how) {
    TierStatus status = TierStatus::unavailable;
    const std::string any = physical_key(name_space, {});
    const std::string_view changed = any;
    guarded({&changed, 1}, [&] {
        if (client_.change_tag(name_space, std::string(how) + std::string(tag), deadline()))
            status = TierStatus::ok;
        else
            counters_.add(Event::errors);
    });
    return status;
}

inline TierStatus RedisTier::erase_tag(std::string_view name_space, std::string_view tag) {
    return change_tag(name_space, tag, "e:");
}

inline TierStatus RedisTier::expire_tag(std::string_view name_space, std::string_view tag) {
    return change_tag(name_space, tag, "x:");
}

inline bool RedisTier::flush(Duration timeout) {
    guarded({}, [&] { client_.maintain(detail::Deadline::in(std::min(timeout, options_.timeout))); });
    return client_.settled();
}

inline void RedisTier::tend() {
    // Nobody waits for the answer, but perhaps for the thread that asks.
    constexpr Duration longest = std::chrono::seconds(1);
    const detail::Deadline until = detail::Deadline::in(std::min<Duration>(options_.timeout, longest));
    guarded({}, [&] {
        client_.maintain(until);
        renew(until);
    });
}

/// What lies there by now may be something else, which then stays longer than it is of use, and that is all.
inline void RedisTier::renew(detail::Deadline deadline) {
    std::vector<std::string> keys = renewals_.take();
    if (keys.empty()) return;
    std::vector<Names> parts = names_of(std::vector<std::string_view>(keys.begin(), keys.end()));
    std::vector<detail::Pipeline> commands(parts.size());
    std::vector<detail::Leg> legs;
    for (std::size_t part = 0; part < parts.size(); ++part) {
        for (std::size_t i = 0; i < parts[part].size(); ++i)
            commands[part].command({"PEXPIRE", parts[part].name(i), detail::Renewals::lifetime});
        legs.push_back({&parts[part].partition(), &commands[part]});
    }
    client_.ask(legs, deadline, [&](std::size_t, std::size_t, detail::Reply& reply) {
        if (reply.is_error()) client_.report("a record without an end could not be kept on: " + reply.text);
    });
    for (std::size_t part = 0; part < parts.size(); ++part)
        for (std::size_t i = 0; i < parts[part].size() && legs[part].trip.failure; ++i)
            renewals_.put_back(std::move(keys[parts[part].at(i)]));
}

inline std::size_t RedisTier::run_maintenance() {
    tend();
    const std::unique_lock stepping(stepping_, std::try_to_lock);
    if (hearing_ != nullptr && listening_ == nullptr && stepping.owns_lock() && !process_.forked()) {
        if (!hearing_->hears()) hearing_->begin(deadline());
        hearing_->step(detail::Deadline::in(Duration::zero()), -1);
    }
    return 0;
}

inline TierHealth RedisTier::probe() {
    TierHealth health{false, "out of memory"};
    guarded({}, [&] {
        health = client_.probe(deadline());
        if (!health.ok || !coherent()) return;
        if (hearing_ != nullptr && !hearing_->hears())
            health.detail += "; changes by other processes are not heard: " + hearing_->problem();
        if (client_.common().announcer.forbidden())
            health.detail += "; other processes are not told of changes: PUBLISH is not permitted";
    });
    return health;
}

inline TierStats RedisTier::stats() const {
    TierStats stats;
    stats.hits = counters_.sum(Event::hits);
    stats.misses = counters_.sum(Event::misses);
    stats.sets = counters_.sum(Event::sets);
    stats.errors = counters_.sum(Event::errors);
    stats.timeouts = counters_.sum(Event::timeouts);
    stats.corrupt = counters_.sum(Event::corrupt);
    stats.rejected = counters_.sum(Event::rejected);
    stats.expirations = counters_.sum(Event::expirations);
    stats.bytes = client_.bytes_sent();
    stats.latency = latency_.summary();
    stats.breaker = client_.breaker();
    if (hearing_ != nullptr) stats.coherence = heard_.stats(hearing_->hears());
    return stats;
}

inline void RedisTier::reset_stats() {
    counters_.reset();
    latency_.reset();
    client_.forget_bytes_sent();
    heard_.reset();
}

}  // namespace smartcache::inline v0
