#pragma once

// Hears what other processes change in a namespace of a Redis Cluster: at every master that serves a part of it.
//
// A message is published by who makes a change, at the master that serves the key, in one step with the change. That master
// tells its own subscribers as a server that is alone does: without loss, for as long as their leases hold (listener.hpp). The
// others it tells over the cluster's bus, which loses messages silently (R16). So there is a listener for each master, and what
// is promised rests on the direct way alone: the cache hears if it knows who serves which partition, and hears every one of
// those. What comes over the bus as well is told once: the first that arrives counts, and a change is in its server before anybody
// is told of it.
//
// Who serves what changes, and is not believed for longer than a lease. A master is asked for the map (CLUSTER SLOTS) twice
// per lease, each time the next one, so that the opinion of one that is cut off from the others does not last; trips go by what is
// heard that way, and what they learn themselves (MOVED) counts here: what is read is read where it is listened. Then
//
//   - a master that is new in the map is listened to, and until it is heard the cache does not hear; when it hears again that
//     is a gap: what was changed there before is dropped. So a change at a master that this process does not know yet, which
//     the bus may not have brought, stays unheard for half a lease and what connecting takes.
//   - a master that has left the map is not listened to any more, which is no gap: whatever it still serves nobody goes there for.
//   - a slot that moves between two masters that are both heard is no gap: each tells what is changed while it serves.
//   - a master that was restarted, or is silent, loses its connection or its lease: a gap when it is back.
//   - without a map that is younger than a lease, or with one in which nobody serves some partition, the cache does not hear:
//     somebody unknown may serve it.
//
// What remains: while a slot is on its way to a node that serves no partition yet, changes of keys that have arrived there are
// heard over the bus alone, until it serves the slot, which is a gap.
//
// One thread does all of it: it looks after all listeners without waiting, and then waits for all their sockets at once. There is
// no history (history.hpp), so a gap makes all copies from before worthless, on the disk as well.

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include <smartcache/core/hash.hpp>
#include <smartcache/record/invalidation.hpp>
#include <smartcache/redis/cluster.hpp>
#include <smartcache/redis/common.hpp>
#include <smartcache/redis/connection.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/hearing.hpp>
#include <smartcache/redis/listener.hpp>
#include <smartcache/redis/slots.hpp>
#include <smartcache/redis/topology.hpp>
#include <smartcache/redis/url.hpp>

namespace smartcache::inline v0::detail {

/// The messages of the last moments, by their hashes. No two that are published are the same (announcer.hpp), and the hashes are
/// seeded, so that nobody can make up a message that passes for another one. Used by one thread.
class RecentMessages {
  public:
    /// @return whether it is new, or so old that it is forgotten
    bool add(std::string_view message) {
        const std::uint64_t hash = hash_(message);
        if (!known_.insert(hash).second) return false;
        order_.push_back(hash);
        if (order_.size() > most) {
            known_.erase(order_.front());
            order_.pop_front();
        }
        return true;
    }

  private:
    static constexpr std::size_t most = 4096;

    const KeyHash hash_{random_stamp()};
    std::unordered_set<std::uint64_t> known_;
    std::deque<std::uint64_t> order_;  // the oldest first
};

/// Thread safety: see Hearing.
class ClusterListener final : public Hearing {
  public:
    using Clock = Deadline::Clock;

    /// @param cluster  whose map is kept new; must outlive it
    ClusterListener(Cluster& cluster, Listener::Options options, RedisCommon& common,
                    HearingCounters& counters, std::function<void(const Invalidation&)> told)
        : cluster_(cluster),
          options_(std::move(options)),
          common_(common),
          counters_(counters),
          told_(std::move(told)) {}

    inline void step(Deadline wake, int waker) override;

  protected:
    [[nodiscard]] inline std::uint64_t failures() const noexcept override;

  private:
    /// A master that is listened to.
    struct Ear {
        RedisUrl::Host master;
        std::unique_ptr<Listener> listener;
    };
    /// Many times the same in one go: of a clear, or a change of a tag, every partition tells.
    struct Repeated {
        Invalidation::Kind kind;
        std::string name;
    };

    [[nodiscard]] Clock::time_point keep_map();
    void begin_question(Clock::time_point now);
    void take_answer(const std::vector<SlotRange>& ranges);
    void end_question(const Failure& failure);
    [[nodiscard]] std::vector<RedisUrl::Host> candidates() const;
    [[nodiscard]] ConnectionSettings settings_of(const RedisUrl::Host& node) const;
    void follow_map();
    void take(const Invalidation& what);
    void tell_repeated();
    void look();
    void stop_hearing() noexcept;
    void begin_anew(const std::string& why) noexcept;
    [[nodiscard]] std::string why_not() const;
    [[nodiscard]] Clock::time_point question_due() const noexcept;

    Cluster& cluster_;
    const Listener::Options options_;
    RedisCommon& common_;
    HearingCounters& counters_;
    const std::function<void(const Invalidation&)> told_;

    // Of the thread that steps.
    std::vector<Ear> ears_;
    std::uint64_t ended_failures_ = 0;  // of those that have ended, and of questions
    bool all_served_ = false;           // by the map as it was followed last
    std::uint64_t version_ = 0;         // of that map
    RecentMessages recent_;
    std::vector<Repeated> repeated_;
    std::vector<pollfd> polls_;

    // Questions for the map.
    std::map<std::string, std::unique_ptr<SlotsQuestion>>
        questions_;                           // by endpoint: connections that are kept
    SlotsQuestion* question_ = nullptr;       // under way
    std::vector<RedisUrl::Host> candidates_;  // the one that is asked last
    std::size_t turn_ = 0;
    std::uint64_t version_asked_ = 0;  // of the map that trips went by then
    bool overtaken_ = false;           // the last answer was not taken, for a trip had learnt more meanwhile
    bool ask_now_ = true;
    Clock::time_point asked_{};
    Clock::time_point give_up_{};
    Clock::time_point map_until_{};
    std::string map_problem_{"no node has said yet who serves which slots"};
};

}  // namespace smartcache::inline v0::detail

#include <smartcache/redis/impl/cluster_listener.hpp>  // IWYU pragma: export
