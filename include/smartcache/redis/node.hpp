#pragma once

// One server, and one round trip to it on behalf of one or several partitions.

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/core/function_ref.hpp>
#include <smartcache/core/stats.hpp>
#include <smartcache/redis/breaker.hpp>
#include <smartcache/redis/common.hpp>
#include <smartcache/redis/connection.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/identity.hpp>
#include <smartcache/redis/options.hpp>
#include <smartcache/redis/partition.hpp>
#include <smartcache/redis/pipeline.hpp>
#include <smartcache/redis/pool.hpp>
#include <smartcache/redis/reply.hpp>

namespace smartcache::inline v0::detail {

/// How a round trip ended.
struct Trip {
    Failure failure{};
    bool sent = false;  ///< of one that failed: some of its commands may have been run
    bool unanswered =
        false;  ///< of one that failed: some may be run even later, if `connection` is not closed
    std::uint64_t server = 0;         ///< see `Partition::arrive`
    ConnectionIdentity connection{};  ///< if unanswered: over which they went
};

/// The commands that a pipeline begins with, several at a time, are done all or none, as one step (MULTI): `count` times `size`
/// of them. Those behind are on their own.
struct Steps {
    std::size_t size = 0;  ///< of each
    std::size_t count = 0;

    [[nodiscard]] std::size_t commands() const noexcept { return size * count; }
    [[nodiscard]] bool begin_at(std::size_t command) const noexcept {
        return command < commands() && command % size == 0;
    }
    [[nodiscard]] bool end_with(std::size_t command) const noexcept {
        return command < commands() && command % size == size - 1;
    }
};

/// What is to be asked of one partition, and how that ended.
struct Leg {
    Partition* partition = nullptr;
    const Pipeline* commands = nullptr;
    Trip trip{};
    /// Who asks gets the commands' own answers. Of a step that was not done each command has an error: its own, or
    /// "EXECABORT" where the server does not do steps, or where that has sent the step elsewhere in a cluster, the same one each.
    Steps steps{};

    [[nodiscard]] bool atomic() const noexcept { return steps.count != 0; }
};
/// Receives the answer to a leg's command.
using OnLegReply = FunctionRef<void(std::size_t leg, std::size_t command, Reply& reply)>;

/// One command's way through a breaker, left exactly once.
class Passage {
  public:
    /// @param background  whether that is a probe that nobody waits for
    explicit Passage(Breaker& breaker, bool background = false)
        : breaker_(breaker),
          pass_(background ? breaker.enter_to_probe(Deadline::Clock::now())
                           : breaker.enter(Deadline::Clock::now())) {}
    Passage(const Passage&) = delete;
    Passage& operator=(const Passage&) = delete;
    ~Passage() { breaker_.leave(pass_, result_, Deadline::Clock::now()); }

    [[nodiscard]] bool refused() const noexcept { return pass_ == Breaker::Pass::refused; }
    /// @param undecided  nothing is known of who was asked yet; of a probe only that it is not well
    /// @param who  was asked, for the log
    void finish(const Failure& failure, bool undecided, RedisCommon& common, FunctionRef<std::string()> who);

  private:
    Breaker& breaker_;
    Breaker::Pass pass_;
    Breaker::Result result_ = Breaker::Result::neutral;
};

/// Connections to one server, and a breaker that keeps them from being tried in vain.
///
/// Thread safety: any thread.
class Node {
  public:
    Node(ConnectionSettings settings, const RedisOptions& options, RedisCommon& common)
        : settings_(std::move(settings)),
          common_(common),
          breaker_(options.breaker),
          pool_(settings_, options.max_connections) {}

    /// Connects, for a constructor that wants to know.
    [[nodiscard]] Failure connect(Deadline deadline, Partition& partition);
    /// Asks for a sign of life, whatever the breaker says. @param partition  to be settled first, or of a cluster's node one
    /// that it serves: whether it does, it is asked, too
    [[nodiscard]] TierHealth probe(Deadline deadline, Partition& partition);
    /// Housekeeping; while the breaker is open it asks the same when the time has come, so that no caller has to.
    void maintain(Deadline deadline, Partition& partition);

    [[nodiscard]] BreakerState breaker() const noexcept { return breaker_.state(); }
    [[nodiscard]] bool refuses(Breaker::TimePoint now) const noexcept { return breaker_.refuses(now); }
    /// Where it is; for a node of a cluster.
    [[nodiscard]] const RedisUrl::Host& host() const { return settings_.url.hosts.front(); }

  private:
    friend class Visit;

    /// What a server has answered on a trip, as far as its breaker is concerned.
    struct Heard {
        bool anything = false;  ///< answers at all
        Failure down{};         ///< a cluster's node takes the cluster for failed
    };

    [[nodiscard]] bool in_cluster() const noexcept { return settings_.numbers != nullptr; }
    [[nodiscard]] bool cannot_serve(const Reply& reply) const noexcept;
    /// Looks out for answers by which the whole trip fails.
    void notice(const Reply& reply, Failure& refusal, Heard& heard) const;
    [[nodiscard]] Failure execute(Connection& connection, const Pipeline& commands, Deadline deadline,
                                  Heard& heard, Connection::OnReply on_reply);
    [[nodiscard]] Failure settle(Partition& partition, const Pool::Lease& lease, std::uint64_t server,
                                 Deadline deadline, Heard& heard);
    [[nodiscard]] Failure greet(Deadline deadline, Partition& partition);
    [[nodiscard]] std::string name() const { return "Redis at " + settings_.url.endpoint(); }
    void doubt_server(const Pool::Lease& lease, const Failure& failure);

    const ConnectionSettings settings_;
    RedisCommon& common_;
    Breaker breaker_;
    Pool pool_;
};

/// A round trip to a node: `begin`, `go_on` until it is no longer `under_way`, `end`. Used by one thread.
///
/// What is unacknowledged is settled first, and answers that say that the server cannot serve now make the whole trip fail.
class Visit {
  public:
    /// @param legs  where `end` puts the results; they and their commands must outlive the visit. A node that only helps out
    /// (ASK) is told so before each command or step (ASKING), and nothing is learnt of it about their partitions
    Visit(Node& node, std::span<Leg* const> legs, bool helps_out = false);

    /// Gets a connection, until `connected_by`, and settles.
    void begin(Deadline deadline, Deadline connected_by);
    /// Whether it had too little time for that, and may be called again.
    [[nodiscard]] bool waits_to_begin() const noexcept {
        return failure_.kind == Failure::Kind::connecting || failure_.kind == Failure::Kind::busy;
    }
    [[nodiscard]] bool under_way() const noexcept { return under_way_; }
    /// Sends and receives until all is done, or `until` passes.
    /// @param last  whether that is the end of it
    void go_on(Deadline until, bool last, OnLegReply on_reply);
    [[nodiscard]] pollfd waits_for() const { return lease_->waits_for(*commands_, progress_); }
    /// @param asked_again  whether a node of a cluster that takes it for failed will be asked again: until then it has not
    /// failed
    void end(bool asked_again = false);

    [[nodiscard]] const Node& node() const noexcept { return node_; }
    /// After `end`: the answer that a leg's partition is elsewhere, which was learnt before its commands were sent; else
    /// empty.
    [[nodiscard]] std::string_view moved(std::size_t leg) const noexcept {
        return moved_.empty() ? std::string_view() : moved_[leg];
    }

  private:
    /// A command as it is sent: one of a leg's, or what is put before and behind those.
    struct Sent {
        enum class What : std::uint8_t { command, asking, multi, queued, exec };
        What what = What::command;
        std::size_t leg = 0;
        std::size_t command = 0;  ///< of the leg; for `multi` and `exec` the step's first
    };

    [[nodiscard]] Failure prepare(Deadline deadline);
    void add(std::size_t leg);
    void deliver(std::size_t i, Reply& reply, OnLegReply on_reply);
    void end_step(const Sent& sent, Reply& reply, OnLegReply on_reply);

    Node& node_;
    const std::span<Leg* const> legs_;
    const bool helps_out_;
    Passage passage_;
    Pool::Lease lease_;
    const Pipeline* commands_ = nullptr;
    Pipeline all_;            // unless that is one leg's commands, as they are
    std::vector<Sent> sent_;  // what that consists of
    std::vector<std::pair<std::size_t, std::string>> not_queued_;  // of the step: commands, and why
    bool no_transaction_ = false;                                  // it cannot be one step here
    bool stuck_ = false;              // the connection may still be in a transaction
    std::vector<std::string> moved_;  // of all legs, if of any
    Connection::Progress progress_;
    Failure failure_;
    Failure refusal_;
    Node::Heard heard_;
    bool under_way_ = false;
};

}  // namespace smartcache::inline v0::detail

#include <smartcache/redis/impl/node.hpp>  // IWYU pragma: export
