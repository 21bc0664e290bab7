#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/core/log.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/core/stats.hpp>
#include <smartcache/record/record.hpp>
#include <smartcache/record/tier_context.hpp>
#include <smartcache/redis/cluster.hpp>
#include <smartcache/redis/common.hpp>
#include <smartcache/redis/connection.hpp>
#include <smartcache/redis/epochs.hpp>
#include <smartcache/redis/options.hpp>
#include <smartcache/redis/partition.hpp>
#include <smartcache/redis/scripts.hpp>
#include <smartcache/redis/servers.hpp>
#include <smartcache/redis/slots.hpp>

namespace smartcache::inline v0::detail {

/// Redis as the tier sees it: partitions of keys, round trips to where they are, which first settle what is still
/// unacknowledged, and the namespaces' epochs. Knows nothing of records.
///
/// Thread safety: any thread.
class RedisClient {
  public:
    using OnReply = Connection::OnReply;

    /// @throws ConfigError when a file of `options.tls` is of no use
    RedisClient(const RedisOptions& options, const TierContext& context, RedisUrl url, std::size_t max_reply);

    /// How a connection that listens gets to the server.
    [[nodiscard]] const ConnectionSettings& settings() const noexcept { return settings_; }

    /// nullptr: there is one server, whoever that is.
    [[nodiscard]] Cluster* cluster() const noexcept { return cluster_; }

    /// Connects, for a constructor that wants to know.
    [[nodiscard]] Failure connect() { return servers_->connect(Deadline::in(connect_timeout_)); }

    /// The partition of a physical key: the only one, unless there is a cluster.
    [[nodiscard]] Partition& partition(std::string_view key) const noexcept {
        return *partitions_[partitions_.size() == 1 ? 0 : partition_of(key)];
    }
    [[nodiscard]] std::size_t partitions() const noexcept { return partitions_.size(); }

    /// Sends the commands and takes their answers, each leg's in one round trip unless it is redirected. Never waits past
    /// `deadline`, opening a connection included. Answers that say that a server cannot serve now make the whole trip fail.
    /// Throws: what `on_reply` throws, `std::bad_alloc`.
    void ask(std::span<Leg> legs, Deadline deadline, OnLegReply on_reply) {
        servers_->ask(legs, deadline, on_reply);
    }
    /// The same for one.
    Trip ask(Partition& partition, const Pipeline& commands, Deadline deadline, OnReply on_reply);

    /// One run of a script.
    struct Call {
        Partition* partition = nullptr;
        std::string key{};
        std::vector<std::string> arguments{};
        Trip trip{};
        Reply answer{};
    };
    /// Runs a script, each time on one key of another partition.
    void eval(const RedisScript& script, std::span<Call> calls, Deadline deadline);
    /// The same once.
    Trip eval(const RedisScript& script, Partition& partition, std::string_view key,
              std::initializer_list<std::string_view> arguments, Deadline deadline, Reply& answer);

    /// Tries to have servers acknowledge what is unacknowledged. Every trip does that for its partitions; this one does
    /// nothing else.
    void settle_now(Deadline deadline);
    /// The same for the partitions of those of the keys that are distrusted, with time left to ask for the others.
    void settle_for(std::span<const std::string_view> keys, Deadline deadline);
    /// Whether nothing is unacknowledged.
    [[nodiscard]] bool settled() const noexcept;
    /// Whether what Redis says about `key` may not be believed (R11).
    [[nodiscard]] bool distrusts(std::string_view key) const {
        return partition(key).unacknowledged.distrusts(key);
    }
    /// Whether it is known without asking that nobody is asked about `key` now.
    [[nodiscard]] bool refuses(std::string_view key, Deadline::Clock::time_point now) const {
        return servers_->refuses(partition(key), now);
    }
    /// The same about every key; of a cluster that is not said.
    [[nodiscard]] bool refuses_all() const noexcept {
        return partitions_.size() == 1 && servers_->breaker() != BreakerState::closed &&
               servers_->refuses(*partitions_.front(), Deadline::Clock::now());
    }
    /// Notes that a trip has changed `key`.
    void changed(std::string_view key, const Trip& trip) noexcept {
        partition(key).changes.note(key, trip.server);
    }
    /// Notes that `key` may hold anything after a trip that failed, or was refused (R3, R11).
    void distrust(std::string_view key, const Trip& trip) noexcept {
        if (trip.unanswered)
            partition(key).unacknowledged.add(key, trip.connection);
        else
            partition(key).unacknowledged.add(key);
    }
    void distrust(std::string_view key) noexcept { partition(key).unacknowledged.add(key); }
    void distrust_namespace(std::string_view name_space) noexcept {
        for (const auto& each : partitions_) each->unacknowledged.add_namespace(name_space);
    }

    /// See `Tier::keep_intents`. @param name_space  the one that stands for what is not known
    void keep_intents(Intents& intents, std::string_view name_space);
    /// When all is acknowledged, nothing need be kept.
    void forget_intents() noexcept {
        common_.untold.forget_if([this] { return settled(); });
    }

    // Epochs, see epochs.hpp.

    /// A namespace's part in a partition.
    struct Space {
        Partition* partition = nullptr;
        std::string_view name{};
        std::string epoch_name{};              ///< see `Partition::ask_epoch`
        std::optional<EpochFields> answer{};   ///< to that
        bool untold = false;                   ///< it was not run: what was known stays
        bool remade = false;                   ///< the hash was lost, and made anew just now
        std::optional<std::uint64_t> epoch{};  ///< nullopt: no answer
        Failure failure{};                     ///< why

        void ask_epoch(Pipeline& commands) { partition->ask_epoch(commands, name, epoch_name); }
    };
    /// What answers mean, with another round trip for those whose hash turns out to be lost.
    void understand(std::span<Space* const> spaces, Deadline deadline);
    /// The epochs to write into records; asks for those that this process has not seen.
    void epochs_for_writing(std::span<Space* const> spaces, Deadline deadline);

    /// For `Tier::tag_seq`: the count of changes, or in a cluster, where each partition counts for itself, the number of what
    /// this process has learnt of all of them; 0 before it has heard of each.
    [[nodiscard]] std::uint64_t tag_seq(std::string_view name_space) const;
    /// What that number says of the count in the key's partition.
    [[nodiscard]] std::uint64_t tags_seen(std::string_view key, std::uint64_t tag_seq) const;
    /// Sees to it that `tag_seq` has something to say. One round trip for each namespace, and none without a cluster.
    void learn(std::string_view name_space, Deadline deadline);
    /// Notes a change of a tag. @param field  of the hash @return whether all have acknowledged it
    bool change_tag(std::string_view name_space, const std::string& field, Deadline deadline);
    /// Gives the namespace a new epoch. @return whether all have acknowledged it
    bool clear(std::string_view name_space, Deadline deadline);

    /// See `RedisCommon`.
    [[nodiscard]] RedisCommon& common() noexcept { return common_; }
    void report(const std::string& problem) noexcept { common_.report(problem); }

    [[nodiscard]] TierHealth probe(Deadline deadline);
    void maintain(Deadline deadline) {
        servers_->maintain(deadline);
        if (!settled()) settle_now(deadline);
        visit_changed(deadline);
        forget_intents();
    }
    [[nodiscard]] BreakerState breaker() const { return servers_->breaker(); }
    [[nodiscard]] std::uint64_t bytes_sent() const noexcept {
        return common_.bytes_sent.load(std::memory_order_relaxed);
    }
    void forget_bytes_sent() noexcept { common_.bytes_sent.store(0, std::memory_order_relaxed); }

  private:
    static ConnectionSettings settings_of(const RedisOptions& options, const TierContext& context,
                                          RedisUrl url, std::size_t max_reply);
    void settle(std::span<Partition* const> partitions, Deadline deadline);
    void visit_changed(Deadline deadline);
    [[nodiscard]] bool cleared_without_scripts(std::string_view name_space, Deadline deadline);
    /// For what others wait for: a node that is silent must not take all the time from those that are not.
    [[nodiscard]] Deadline leaving_time(Deadline deadline) const noexcept {
        const auto now = Deadline::Clock::now();
        return partitions_.size() == 1 ? deadline : Deadline(now + (deadline.at() - now) / 2);
    }
    /// A run of the epoch script.
    [[nodiscard]] Call epoch_call(Partition& partition, std::string_view name_space, std::string_view what,
                                  const Epochs::Seen& seen, std::string_view field) const;

    const Duration connect_timeout_;
    const ConnectionSettings settings_;
    RedisCommon common_;
    std::atomic<std::uint64_t> learnt_tags_{0};
    std::vector<std::unique_ptr<Partition>> partitions_;
    std::unique_ptr<Servers> servers_;
    Cluster* cluster_ = nullptr;  // the same
    mutable Mutex learning_;
    std::set<std::string, std::less<>> known_everywhere_;  // namespaces; under learning_
    Deadline::Clock::time_point learn_again_{};            // under learning_
};

}  // namespace smartcache::inline v0::detail

#include <smartcache/redis/impl/client.hpp>  // IWYU pragma: export
