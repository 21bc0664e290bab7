#pragma once

// Redis Cluster (redis+cluster://, rediss+cluster://): each partition of slots.hpp is at the master that serves its slot.
//
// A trip is split by nodes, and all nodes work at the same time: one that is dead costs the others nothing. Each has its
// own connections and its own breaker. An answer that redirects (MOVED, ASK) was not run where it was sent; the command
// follows it, at most five times, always within the deadline. TRYAGAIN and CLUSTERDOWN are tried again twice after a short
// pause. A node that then still takes the whole cluster for failed has failed itself, as far as its breaker is concerned; one
// that says so of a slot, or of writes only, has not. A command that was sent and not answered is never sent again (R10).
//
// MOVED changes the map for that partition at once. It, and a node that fails, also make the map doubtful: the next trip
// asks for a new one, at most every 100 ms and with half of the time it has, while the others go on with the old one. A
// trip that found no way to a node, and sent nothing, goes on at the node that a new map names. Where other processes'
// changes are to be heard, whoever listens asks for maps all the time (cluster_listener.hpp), and trips go by those, too.
// The question for a map has a breaker of its own: where no node answers it, as before the first map when all that the URL
// names are dead, calls do not wait for that one by one.
//
// A change of a record is one step with the message that tells others (MULTI), so a node that sends one of its commands
// elsewhere has run none of it, and the step follows as a whole.
//
// The map may be wrong in any way: then nodes redirect, and a lie costs a few round trips. (Whoever can lie about it gets to
// see the password, as from any client; over TLS, whoever has a certificate for the name or address that the lie gives.)
// To a partition another node, and a restarted one, is another server (see partition.hpp). Where ASK leads is not: what is
// sent there and not answered costs the namespace's part in that partition, which gets a new epoch when the slot has
// arrived.

#include <poll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/core/fork.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/core/stats.hpp>
#include <smartcache/redis/common.hpp>
#include <smartcache/redis/connection.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/node.hpp>
#include <smartcache/redis/options.hpp>
#include <smartcache/redis/partition.hpp>
#include <smartcache/redis/pipeline.hpp>
#include <smartcache/redis/reply.hpp>
#include <smartcache/redis/servers.hpp>
#include <smartcache/redis/slots.hpp>
#include <smartcache/redis/topology.hpp>
#include <smartcache/redis/url.hpp>

namespace smartcache::inline v0::detail {

/// Thread safety: any thread.
class Cluster final : public Servers {
  public:
    /// @param settings  how to connect; the URL names some of the nodes
    /// @param partitions  in the order of their numbers; must outlive the cluster
    Cluster(ConnectionSettings settings, const RedisOptions& options, RedisCommon& common,
            std::span<const std::unique_ptr<Partition>> partitions);

    [[nodiscard]] Failure connect(Deadline deadline) override {
        bool asked = false;
        return refresh(deadline, asked);
    }
    inline void ask(std::span<Leg> legs, Deadline deadline, OnLegReply on_reply) override;
    [[nodiscard]] inline TierHealth probe(Deadline deadline) override;
    inline void maintain(Deadline deadline) override;
    [[nodiscard]] bool refuses(const Partition& partition, Deadline::Clock::time_point now) const override {
        if (!mapped_) return map_breaker_.refuses(now);
        // Who is asked next may be another one, once there is a new map.
        const NodePointer node = doubtful_ && !map_breaker_.refuses(now) ? nullptr : owner(partition);
        return node && node->refuses(now);
    }
    [[nodiscard]] inline BreakerState breaker() const override;

    // For who listens to all masters.

    /// The masters that serve partitions, by what trips go by now.
    struct Serving {
        std::vector<RedisUrl::Host> masters{};
        bool all = false;  ///< whether that is all partitions
    };
    [[nodiscard]] Serving serving() const;
    /// Another number after every change of that.
    [[nodiscard]] std::uint64_t version() const noexcept { return version_.load(std::memory_order_acquire); }
    /// Takes what a node has said.
    void learn(const std::vector<SlotRange>& ranges);
    /// How connections to nodes are made; the URL names some.
    [[nodiscard]] const ConnectionSettings& settings() const noexcept { return settings_; }

  private:
    using NodePointer = std::shared_ptr<Node>;
    class Round;
    /// A leg, or some commands of it, on the way to a node.
    struct Work {
        std::size_t leg = 0;  ///< which of all
        NodePointer node{};
        Leg part{};
        bool helps_out = false;             ///< the node was named by ASK
        Pipeline own{};                     ///< the commands, if these are not all of the leg's
        std::vector<std::size_t> places{};  ///< of own commands in the leg
        unsigned hops = 0;
        unsigned pauses = 0;
        struct Redirected {
            std::size_t command;  ///< of the leg
            Redirection to;
        };
        std::vector<Redirected> redirected{};
        bool ran = false;  ///< some commands were answered
    };
    /// What comes of a round.
    struct Onward {
        std::vector<Work> works{};  ///< for the next one
        bool pause = false;         ///< before that
        bool looked = false;        ///< whether the map is as new as it gets
    };
    static constexpr unsigned most_hops = 5;
    static constexpr unsigned most_pauses = 2;
    static constexpr std::size_t most_nodes = 1024;

    [[nodiscard]] Failure refresh(Deadline deadline, bool& asked);
    [[nodiscard]] Failure refresh_if_doubtful(Deadline deadline, bool background = false);
    void take_map(const std::vector<SlotRange>& ranges);
    void note_answer();
    [[nodiscard]] std::string name() const { return "the cluster at " + settings_.url.endpoint(); }
    [[nodiscard]] NodePointer owner(const Partition& partition) const;
    /// Under the lock. nullptr: there are too many.
    [[nodiscard]] NodePointer node_at(const RedisUrl::Host& host);
    [[nodiscard]] std::vector<NodePointer> masters() const;
    [[nodiscard]] std::size_t first_of(const Node& node) const;

    void after(Work& work, std::span<Leg> legs, Onward& onward, Deadline deadline);
    void fail(Work& work, Leg& leg);
    [[nodiscard]] bool another_way(Work& work, Onward& onward, Deadline deadline);
    void follow(Work& work, Leg& leg, Onward& onward);
    [[nodiscard]] Failure turn_to(const Redirection& to, const Work& from, Work& work);
    static void restrict_to(Work& work, const Leg& leg, const std::vector<std::size_t>& commands);

    const ConnectionSettings settings_;
    const RedisOptions options_;
    RedisCommon& common_;
    const std::span<const std::unique_ptr<Partition>> partitions_;

    mutable Mutex mutex_;                       // of the map
    std::map<std::string, NodePointer> nodes_;  // by endpoint
    std::vector<NodePointer> owners_;           // of each partition; nullptr: nobody known
    RedisUrl::Host moved_to_{};                 // who got a slot last, and knows that
    RedisUrl::Host suspect_{};                  // who failed last, and is asked last
    std::atomic<std::uint64_t> version_{0};     // changed under the lock
    std::atomic<bool> mapped_{false};
    std::atomic<bool> doubtful_{true};
    Breaker map_breaker_;  // of the question for the map
    ProcessMutex refreshing_;
    std::unique_ptr<Topology> topology_;           // under refreshing_
    ProcessMark asker_;                            // under refreshing_: whose topology_ that is
    Deadline::Clock::time_point refresh_again_{};  // under refreshing_
};

}  // namespace smartcache::inline v0::detail

#include <smartcache/redis/impl/cluster.hpp>       // IWYU pragma: export
#include <smartcache/redis/impl/cluster_trip.hpp>  // IWYU pragma: export
