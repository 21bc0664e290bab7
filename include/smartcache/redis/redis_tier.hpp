#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/counters.hpp>
#include <smartcache/core/error.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/record/record.hpp>
#include <smartcache/record/tier.hpp>
#include <smartcache/record/tier_context.hpp>
#include <smartcache/redis/client.hpp>
#include <smartcache/redis/cluster_listener.hpp>
#include <smartcache/redis/hearing.hpp>
#include <smartcache/redis/integrity.hpp>
#include <smartcache/redis/listener.hpp>
#include <smartcache/redis/options.hpp>
#include <smartcache/redis/record_head.hpp>
#include <smartcache/redis/renewals.hpp>
#include <smartcache/redis/validate.hpp>

namespace smartcache::inline v0 {

/// Asks a constructor not to touch the network: the tier connects when it is first used.
struct defer_connect_t {
    explicit defer_connect_t() = default;
};
inline constexpr defer_connect_t defer_connect{};

/// L2: records in a Redis server (5.0 or newer), or a Redis Cluster, that many processes share.
///
///     sc::RedisTier tier({.url = "redis://localhost:6379/0"});
///     tier.set("k", "value", 10min);
///     auto bytes = tier.get("k");
///
/// Each record is a string under "sc:" + its physical key, readable with any client. It expires in Redis when
/// it is of no use any more, grace included. A record without an expiry stays there for 30 days, and longer if it is read every two
/// weeks (see renewals.hpp): what was cleared does not stay for good. A namespace has one more key, "sc:{epochs}:<namespace>", by
/// which `clear` works (see epochs.hpp). Nothing scans, flushes, or touches other keys. In a cluster a record's name is
/// "sc:{<tag>}:" + its physical key, where the tag is that of one of 256 partitions, each with such a hash of its own (see
/// slots.hpp): `clear` and changes of tags are a script for each partition, in one round trip to every master.
///
/// Time: every call returns within `timeout`, waiting for a connection or opening one included (opening one
/// goes on in the next calls, `connect_timeout` in all); a batch within `timeout` for each round trip of 512
/// keys or 4 MiB. While the circuit breaker is open calls return at once.
///
/// Trust: what lies under a key is parsed as if an enemy had written it. What is not a record of that key is
/// a miss, is counted as corrupt and deleted. A write or erase that failed, or whose outcome is unknown,
/// makes this tier answer nothing for its key until the server has acknowledged an erase (see
/// unacknowledged.hpp), be it in the next process, if its owner has intents. Where the server forbids its user CLIENT ID, CLIENT KILL or INFO, a write without an
/// answer costs the whole namespace instead. With `integrity_key` only records that carry its signature
/// count; whether there was something to erase is then still told by what anybody could have put there.
///
/// Other processes: unless `coherence` is off, whatever changes a record tells so in the same transaction (announcer.hpp),
/// and erased and ended records leave a trace for a minute, so that no fill which began before comes in after it (R7). An
/// owner that gives `on_invalidation` hears what others change (listener.hpp), in a cluster at every master
/// (cluster_listener.hpp), of which none may be missing; what was told while it did not hear is not kept there.
///
/// Thread safety: any thread, any time. Throws: the constructors only.
class RedisTier final : public Tier {
  public:
    /// Connects.
    /// @throws ConfigError when the options are impossible, before anything else
    /// @throws TierUnavailable naming host, port and reason, when no connection was made within
    /// `connect_timeout`
    explicit RedisTier(RedisOptions options, TierContext context = {})
        : RedisTier(std::move(options), std::move(context), defer_connect) {
        if (const detail::Failure failure = client_.connect())
            throw TierUnavailable("smartcache: " + failure.message());
    }
    /// Connects when first used, and whenever there is no connection.
    /// @throws ConfigError when the options are impossible
    RedisTier(RedisOptions options, TierContext context, defer_connect_t)
        : options_(checked(std::move(options))),
          context_(std::move(context)),
          max_record_(longest_record(context_.limits)),
          client_(options_, context_, url_of(options_), max_record_ + 64 * 1024) {
        if (!options_.integrity_key.empty()) integrity_.emplace(options_.integrity_key);
        if (coherent())
            client_.common().tombstone = [this](std::string_view key) {
                return tombstone(key, Trace::made_up);
            };
        prepare_to_listen();
    }

    /// What is not settled by then is kept where there are intents.
    ~RedisTier() override { client_.forget_intents(); }

    [[nodiscard]] TierId id() const noexcept override { return TierId::redis; }

    using Tier::clear;
    inline TierStatus read(std::string_view key, Found found) override;
    inline void read_many(std::span<const std::string_view> keys, FoundAt found) override;
    inline TierStatus write(const RecordView& record, WriteCondition condition = {}) override;
    inline std::vector<TierStatus> write_many(std::span<const RecordView> records) override;
    inline TierStatus remove(std::string_view key) override;
    inline std::vector<TierStatus> remove_many(std::span<const std::string_view> keys) override;
    inline TierStatus peek(std::string_view key, Found found) override;
    [[nodiscard]] inline TierStatus contains(std::string_view key) override;
    inline TierStatus change_lifetime(std::string_view key, std::uint64_t stamp, WallTime expires,
                                      WallTime stale_until) override;
    inline TierStatus end(std::string_view key, std::uint64_t stamp) override;
    inline TierStatus end_lost(std::string_view key) override;
    inline TierStatus clear(std::string_view name_space) override;
    [[nodiscard]] bool keeps_tags() const noexcept override { return true; }
    [[nodiscard]] std::uint64_t tag_seq(std::string_view name_space) noexcept override {
        try {
            return client_.tag_seq(name_space);
        } catch (const std::exception&) {  // a mutex that cannot be locked
            return 0;
        }
    }
    void keep_intents(Intents& intents) override {
        const std::string any = physical_key(context_.name_space, {});
        const std::string_view changed = any;
        guarded({&changed, 1}, [&] { client_.keep_intents(intents, context_.name_space); });
    }
    /// Waits for the first subscription, at most for `connect_timeout`.
    inline void begin_to_listen(bool positions, std::string known) override;
    [[nodiscard]] bool tells_changes() const noexcept override { return hearing_ != nullptr; }
    [[nodiscard]] std::uint64_t epoch(std::string_view key) noexcept override {
        try {
            return client_.partition(key).epochs.known(detail::namespace_of(key)).value_or(0);
        } catch (const std::exception&) {  // a mutex that cannot be locked
            return 0;
        }
    }
    [[nodiscard]] std::size_t parts() const noexcept override { return client_.partitions(); }
    [[nodiscard]] std::size_t part(std::string_view key) const noexcept override {
        return client_.partition(key).number();
    }
    [[nodiscard]] Trace trace(std::uint64_t stamp) const noexcept override {
        if (stamp >> 32U != own_stamps_ || process_.forked()) return Trace::foreign;
        return (stamp & 1U) != 0 ? Trace::own : Trace::made_up;
    }
    [[nodiscard]] inline TierStatus try_lock(std::string_view key, std::uint64_t token,
                                             Duration length) override;
    inline void unlock(std::string_view key, std::uint64_t token) override;
    inline TierStatus erase_tag(std::string_view name_space, std::string_view tag) override;
    inline TierStatus expire_tag(std::string_view name_space, std::string_view tag) override;

    [[nodiscard]] bool turns_away() noexcept override {
        if (!client_.refuses_all()) return false;
        counters_.add(Event::misses);
        return true;
    }

    /// Tries to settle what is unacknowledged. @return whether nothing is left
    inline bool flush(Duration timeout) override;
    inline std::size_t run_maintenance() override;
    /// Reconnects, and tells servers, new ones too, what they have to be told.
    inline void tend() override;
    [[nodiscard]] inline TierHealth probe() override;
    [[nodiscard]] inline TierStats stats() const override;
    inline void reset_stats() override;

  protected:
    [[nodiscard]] WallTime wall() const noexcept override { return context_.time.wall(); }
    [[nodiscard]] CompressionOptions compression() const noexcept override { return context_.compression; }

  private:
    enum class Event { hits, misses, sets, errors, timeouts, corrupt, rejected, expirations, count_ };
    /// What lies under a key.
    enum class Verdict {
        absent,
        live,
        trace,    ///< of what was erased or has expired
        dead,     ///< cleared, or ended by a tag: a record that nobody may have any more
        corrupt,  ///< not a record of this key
        unknown,  ///< the server did not say
    };
    struct Fetched {
        Verdict verdict = Verdict::unknown;
        bool is_string = true;
        std::string bytes;
        RecordView record;  ///< in our time; views of `bytes`

        /// Whether a caller gets to see it: as a record, or as a trace.
        [[nodiscard]] bool told() const noexcept { return verdict == Verdict::live || record.tombstone; }
        /// Nobody may have the record any more.
        void end() noexcept {
            verdict = Verdict::dead;
            record.tombstone = true;
        }
        void distrust() noexcept {
            verdict = Verdict::absent;
            record = {};
        }
    };
    class Names;
    class Telling;
    struct Encoded;

    void prepare_to_listen();

    static RedisOptions checked(RedisOptions options);
    static RedisUrl url_of(const RedisOptions& options);
    static std::size_t longest_record(const RecordLimits& limits) noexcept;

    [[nodiscard]] detail::Deadline deadline() const noexcept {
        return detail::Deadline::in(options_.timeout);
    }
    /// What our clock says, and how far that of a partition's server is ahead of it then.
    struct Moment {
        WallTime wall{};
        Duration ahead{};
    };
    [[nodiscard]] Duration server_ahead(detail::Partition& partition, WallTime now) noexcept;
    [[nodiscard]] Duration server_ahead(std::string_view key, WallTime now) noexcept {
        return server_ahead(client_.partition(key), now);
    }
    [[nodiscard]] std::vector<Names> names_of(std::span<const std::string_view> keys) const;
    TierStatus failed(const detail::Failure& failure) noexcept;
    TierStatus failed(const detail::Reply& reply) noexcept { return refused(reply.text); }
    TierStatus refused(const std::string& answer) noexcept;
    template <class Body>
    void guarded(std::span<const std::string_view> changed, Body body) noexcept;
    template <class Sizes, class Body>
    static void in_chunks(std::size_t count, Sizes size_of, Body body);

    TierStatus look_at(std::string_view key, Found found);
    [[nodiscard]] detail::Failure look(std::span<const std::string_view> keys, std::span<Fetched> results,
                                       detail::Deadline deadline);
    [[nodiscard]] detail::Failure fetch(std::span<const std::string_view> keys,
                                        std::span<Fetched* const> results, detail::Deadline deadline);
    void to_our_time(RecordView& record, Moment now) const noexcept;
    void take_value(detail::Reply& reply, Fetched& fetched);
    void judge(std::string_view key, const detail::RedisClient::Space& space, Moment now, Fetched& fetched);
    [[nodiscard]] static RecordView nothing_since(std::uint64_t epoch, bool remade) noexcept;
    void judge_tags(std::span<const std::string_view> keys, std::span<Fetched* const> results,
                    detail::Deadline deadline);
    TierStatus change_tag(std::string_view name_space, std::string_view tag, std::string_view how);
    void drop(std::string_view key, const Fetched& fetched, detail::Deadline deadline);
    void keep_on(const Fetched& fetched) noexcept;
    void renew(detail::Deadline deadline);
    [[nodiscard]] TierStatus count_read(const Fetched& fetched) noexcept;

    [[nodiscard]] bool storable(const RecordView& record) noexcept;
    [[nodiscard]] Encoded encode(const RecordView& record, std::uint64_t epoch);
    [[nodiscard]] std::string tombstone(std::string_view key, Trace trace);
    [[nodiscard]] bool coherent() const noexcept { return options_.coherence != Coherence::off; }
    void store(std::span<const RecordView> records, std::span<TierStatus> statuses);
    [[nodiscard]] std::vector<std::size_t> store_once(std::span<const RecordView> records,
                                                      std::span<const std::size_t> chosen,
                                                      std::span<TierStatus> statuses,
                                                      detail::Deadline deadline, bool first);
    [[nodiscard]] TierStatus fill(const RecordView& value, WriteCondition condition);
    [[nodiscard]] TierStatus fill_once(const RecordView& record, WriteCondition condition,
                                       detail::Deadline deadline, bool& outdated);
    [[nodiscard]] TierStatus end_once(std::string_view key, std::optional<std::uint64_t> stamp,
                                      detail::Deadline deadline);
    void tell_apart(const Telling& telling, std::span<const std::string_view> keys,
                    std::span<const Names> parts, const std::vector<bool>& changed,
                    detail::Deadline deadline);
    void erase_all(std::span<const std::string_view> keys, std::span<TierStatus> statuses);
    [[nodiscard]] bool was_live(std::string_view key, std::string_view bytes,
                                std::optional<std::uint64_t> epoch, WallTime now) noexcept;

    const RedisOptions options_;
    const TierContext context_;
    const std::size_t max_record_;
    const std::string last_byte_ = std::to_string(max_record_ - 1);  // that a record may have
    std::optional<detail::IntegrityKey> integrity_;                  // set by the constructor only
    std::atomic<bool> one_by_one_{false};                            // values are asked for, of several, too
    const std::uint64_t own_stamps_ = random_stamp() >> 32U;         // what those of our erases begin with
    const detail::ProcessMark process_{};
    detail::RedisClient client_;
    Counters<Event> counters_;
    LatencyHistogram latency_;
    detail::Renewals renewals_;
    detail::HearingCounters heard_;
    std::unique_ptr<detail::Hearing> hearing_;  // set by the constructor only
    std::unique_ptr<detail::ProcessOwned<detail::ListeningThread>> listening_;
    std::mutex stepping_;  // what hears, without a thread
};

}  // namespace smartcache::inline v0

#include <smartcache/redis/impl/redis_tier.hpp>          // IWYU pragma: export
#include <smartcache/redis/impl/redis_tier_reading.hpp>  // IWYU pragma: export
#include <smartcache/redis/impl/redis_tier_writing.hpp>  // IWYU pragma: export
