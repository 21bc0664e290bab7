#pragma once

// RedisTier: what reading and writing share, health and statistics.

#include <algorithm>
#include <exception>
#include <utility>

#include <smartcache/redis/redis_tier.hpp>

namespace smartcache::inline v0 {

/// The keys of one round trip as Redis knows them, and the namespaces they belong to.
class RedisTier::Names {
  public:
    struct Space {
        std::string_view name;
        std::string epoch_key;
        std::optional<detail::EpochFields> answer;
        std::optional<std::uint64_t> epoch;
    };

    /// @param keys  must outlive the names
    explicit Names(std::span<const std::string_view> keys) {
        names_.reserve(keys.size());
        space_of_.reserve(keys.size());
        for (const std::string_view key : keys) {
            names_.push_back("sc:" + std::string(key));
            const std::string_view space = detail::namespace_of(key);
            // A cache has one namespace; a tier used by hand may see a few.
            std::size_t index = 0;
            while (index < spaces_.size() && spaces_[index].name != space) ++index;
            if (index == spaces_.size()) spaces_.push_back({space, detail::epoch_key(space), {}, {}});
            space_of_.push_back(index);
        }
    }

    [[nodiscard]] const std::string& name(std::size_t key) const { return names_[key]; }
    [[nodiscard]] Space& space_of(std::size_t key) { return spaces_[space_of_[key]]; }
    [[nodiscard]] std::span<Space> spaces() noexcept { return spaces_; }

    /// Asks for the epochs, behind whatever the pipeline asks before.
    void add_epochs(detail::Pipeline& commands) const {
        for (const Space& space : spaces_) detail::RedisClient::add_epoch(commands, space.epoch_key);
    }
    void take_epoch(std::size_t space, detail::Reply& reply) {
        if (space < spaces_.size()) spaces_[space].answer = detail::RedisClient::take_epoch(reply);
    }

  private:
    std::vector<std::string> names_;
    std::vector<std::size_t> space_of_;
    std::vector<Space> spaces_;
};

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
inline Duration RedisTier::server_ahead(WallTime now) noexcept {
    return context_.time.injected() != nullptr ? Duration::zero() : client_.server_clock().ahead(now);
}

inline TierStatus RedisTier::failed(const detail::Failure& failure) noexcept {
    using Kind = detail::Failure::Kind;
    if (failure.timed_out())
        counters_.add(Event::timeouts);
    else if (failure.kind != Kind::breaker_open && failure.kind != Kind::backing_off)  // those were not asked
        counters_.add(Event::errors);
    return TierStatus::unavailable;
}

inline TierStatus RedisTier::failed(const detail::Reply& reply) noexcept {
    counters_.add(Event::errors);
    client_.report("Redis refused a command: " + reply.text);
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
        for (const std::string_view key : changed)
            client_.unacknowledged().add_namespace(detail::namespace_of(key));
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

inline bool RedisTier::flush(Duration timeout) {
    guarded({}, [&] { client_.maintain(detail::Deadline::in(std::min(timeout, options_.timeout))); });
    return client_.unacknowledged().empty();
}

inline std::size_t RedisTier::run_maintenance() {
    guarded({}, [&] { client_.maintain(deadline()); });
    return 0;
}

inline TierHealth RedisTier::probe() {
    TierHealth health{false, "out of memory"};
    guarded({}, [&] { health = client_.probe(deadline()); });
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
    return stats;
}

inline void RedisTier::reset_stats() {
    counters_.reset();
    latency_.reset();
    client_.forget_bytes_sent();
}

}  // namespace smartcache::inline v0
