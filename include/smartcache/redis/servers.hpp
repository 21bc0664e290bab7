#pragma once

#include <array>
#include <cstddef>
#include <span>

#include <smartcache/core/stats.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/node.hpp>

namespace smartcache::inline v0::detail {

/// Where the partitions are: brings what is asked of them to their servers. Thread safety: any thread.
class Servers {
  public:
    Servers() = default;
    Servers(const Servers&) = delete;
    Servers& operator=(const Servers&) = delete;
    virtual ~Servers() = default;

    /// Sees whether anybody answers, for a constructor that wants to know.
    [[nodiscard]] virtual Failure connect(Deadline deadline) = 0;
    /// Asks all legs, each of another partition, and sees to what is unacknowledged in those before. Returns when `deadline`
    /// passes at the latest, opening connections included. A leg's answers may come in any order.
    /// Throws: what `on_reply` throws, `std::bad_alloc`.
    virtual void ask(std::span<Leg> legs, Deadline deadline, OnLegReply on_reply) = 0;
    /// Asks all for a sign of life.
    [[nodiscard]] virtual TierHealth probe(Deadline deadline) = 0;
    /// Housekeeping: what is broken is dropped, and who is not asked is tried when the time has come.
    virtual void maintain(Deadline deadline) = 0;
    /// Whether it is known without asking that a partition is not asked for now.
    [[nodiscard]] virtual bool refuses(const Partition& partition, Deadline::Clock::time_point now) const = 0;
    /// Of several breakers the one that is farthest from closed.
    [[nodiscard]] virtual BreakerState breaker() const = 0;
};

/// The one server of a URL, or the one that a finder finds, with the only partition there is.
class OneServer final : public Servers {
  public:
    OneServer(ConnectionSettings settings, const RedisOptions& options, RedisCommon& common,
              Partition& partition)
        : node_(std::move(settings), options, common), partition_(partition) {}

    [[nodiscard]] Failure connect(Deadline deadline) override { return node_.connect(deadline, partition_); }
    void ask(std::span<Leg> legs, Deadline deadline, OnLegReply on_reply) override {
        for (std::size_t i = 0; i < legs.size(); ++i) {
            const std::array<Leg*, 1> only{&legs[i]};
            Visit visit(node_, only);
            visit.begin(deadline, deadline);
            if (visit.under_way())
                visit.go_on(deadline, true, [&](std::size_t, std::size_t command, Reply& reply) {
                    on_reply(i, command, reply);
                });
            visit.end();
            if (!visit.moved(0).empty())
                legs[i].trip.failure = {
                    Failure::Kind::not_ready, 0,
                    "a node of a cluster, which is not where redis:// leads: " + std::string(visit.moved(0))};
        }
    }
    [[nodiscard]] TierHealth probe(Deadline deadline) override { return node_.probe(deadline, partition_); }
    void maintain(Deadline deadline) override { node_.maintain(deadline, partition_); }
    [[nodiscard]] bool refuses(const Partition&, Deadline::Clock::time_point now) const override {
        return node_.refuses(now);
    }
    [[nodiscard]] BreakerState breaker() const override { return node_.breaker(); }

  private:
    Node node_;
    Partition& partition_;
};

}  // namespace smartcache::inline v0::detail
