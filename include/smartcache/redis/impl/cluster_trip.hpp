#pragma once

// Cluster: how what is asked of partitions gets to their nodes.

#include <smartcache/redis/cluster.hpp>

namespace smartcache::inline v0::detail {

/// All that is under way at one time: a visit for each node.
class Cluster::Round {
  public:
    Round(std::vector<Work>& works, std::span<Leg> legs, Deadline deadline, OnLegReply on_reply)
        : works_(works), deadline_(deadline), on_reply_(on_reply) {
        for (Work& work : works_)
            work.part.commands = work.places.empty() ? legs[work.leg].commands : &work.own;
        for (std::size_t i = 0; i < works_.size(); ++i) {
            const Work& work = works_[i];
            std::unique_ptr<Stop>& stop =
                stops_[{reinterpret_cast<std::uintptr_t>(work.node.get()), work.helps_out}];
            if (!stop) stop = std::make_unique<Stop>();
            stop->works.push_back(i);
            stop->legs.push_back(&works_[i].part);
        }
    }

    void run() {
        // Who must wait for a connection to one node does not keep others from theirs to another one: first comes what
        // can begin at once. Nor must a node that does not let us in use up the others' time, but what they leave.
        for (const auto& [node, stop] : stops_) {
            const Work& work = works_[stop->works.front()];
            stop->visit = std::make_unique<Visit>(*work.node, stop->legs, work.helps_out);
        }
        if (stops_.size() > 1) {
            begin_all(true);
            if (waiting() != 0) {
                const auto now = Deadline::Clock::now();
                exchange(Deadline(now + (deadline_.at() - now) / 2), false);
                begin_all(false);
            }
            exchange(deadline_, true);
        }
        for (const auto& [node, stop] : stops_) {
            if (stop->ended) continue;
            stop->visit->begin(deadline_, deadline_);
            go_on(*stop, deadline_, true);
            end_if_done(*stop);
        }
    }

  private:
    struct Stop {
        std::vector<std::size_t> works;
        std::vector<Leg*> legs;
        std::unique_ptr<Visit> visit;
        bool ended = false;
    };

    [[nodiscard]] std::size_t waiting() const {
        return static_cast<std::size_t>(std::count_if(stops_.begin(), stops_.end(),
                                                      [](const auto& each) { return waits(*each.second); }));
    }
    static bool waits(const Stop& stop) noexcept { return !stop.ended && !stop.visit->under_way(); }

    /// Sends what is for the nodes that were not begun with.
    /// @param at_once  only over connections that are there
    void begin_all(bool at_once) {
        std::size_t left = waiting();
        for (const auto& [node, stop] : stops_) {
            if (!waits(*stop)) continue;
            const auto now = Deadline::Clock::now();
            const Deadline share(now + (deadline_.at() - now) / static_cast<std::int64_t>(1 + left--));
            stop->visit->begin(share, at_once ? Deadline(now) : share);
            go_on(*stop, Deadline(now), false);
            if (!stop->visit->waits_to_begin()) end_if_done(*stop);
            // Before the next one makes us wait for a connection, this one's is given back.
            if (!at_once) exchange(share, false, stop.get());
        }
    }

    /// Takes answers as they come, from whichever node.
    /// @param last  whether nodes that have not answered by then are done with
    /// @param only  ends when this one is done with
    void exchange(Deadline until, bool last, const Stop* only = nullptr) {
        while (only == nullptr || only->visit->under_way()) {
            std::vector<pollfd> polls;
            std::vector<Stop*> open;
            for (const auto& [node, stop] : stops_) {
                if (!stop->visit->under_way()) continue;
                polls.push_back(stop->visit->waits_for());
                open.push_back(stop.get());
            }
            if (open.empty()) return;
            (void)::poll(polls.data(), polls.size(), until.poll_timeout());
            const bool over = until.passed();
            for (std::size_t i = 0; i < open.size(); ++i) {
                if (!over && polls[i].revents == 0) continue;
                go_on(*open[i], Deadline(Deadline::Clock::now()), over && last);
                end_if_done(*open[i]);
            }
            if (over) return;
        }
    }

    void go_on(Stop& stop, Deadline until, bool last) {
        if (!stop.visit->under_way()) return;
        stop.visit->go_on(until, last, [&](std::size_t leg, std::size_t command, Reply& reply) {
            Work& work = works_[stop.works[leg]];
            const std::size_t place = work.places.empty() ? command : work.places[command];
            if (std::optional<Redirection> to = redirection_of(reply, work.node->host())) {
                work.redirected.push_back({place, std::move(*to)});
                return;
            }
            work.ran = true;
            on_reply_(work.leg, place, reply);
        });
    }

    /// At once, so that others get the connection while we wait for another node.
    void end_if_done(Stop& stop) {
        if (stop.ended || stop.visit->under_way()) return;
        stop.ended = true;
        const bool asked_again =
            !deadline_.passed() && std::all_of(stop.works.begin(), stop.works.end(), [this](std::size_t i) {
                return works_[i].pauses < most_pauses;
            });
        stop.visit->end(asked_again);
        for (std::size_t i = 0; i < stop.works.size(); ++i) {
            if (stop.visit->moved(i).empty()) continue;
            Work& work = works_[stop.works[i]];
            Reply reply;
            reply.kind = Reply::Kind::error;
            reply.text = stop.visit->moved(i);
            const Redirection to = redirection_of(reply, work.node->host()).value_or(Redirection{});
            const std::size_t count = work.part.commands->commands();
            for (std::size_t command = 0; command < std::max<std::size_t>(count, 1); ++command)
                work.redirected.push_back({work.places.empty() ? command : work.places[command], to});
        }
    }

    std::vector<Work>& works_;
    const Deadline deadline_;
    const OnLegReply on_reply_;
    // By the nodes' addresses: who needs connections to several nodes takes them in the same order as everybody else.
    std::map<std::pair<std::uintptr_t, bool>, std::unique_ptr<Stop>> stops_;
};

inline void Cluster::ask(std::span<Leg> legs, Deadline deadline, OnLegReply on_reply) {
    const Failure no_map = refresh_if_doubtful(deadline);
    std::vector<Work> works;
    works.reserve(legs.size());
    for (std::size_t i = 0; i < legs.size(); ++i) {
        legs[i].trip = {};
        Work work;
        work.leg = i;
        work.part.partition = legs[i].partition;
        work.part.steps = legs[i].steps;
        work.node = owner(*legs[i].partition);
        if (work.node) {
            works.push_back(std::move(work));
            continue;
        }
        doubtful_ = true;
        if (no_map.kind == Failure::Kind::breaker_open) {
            legs[i].trip.failure = no_map;
            continue;
        }
        legs[i].trip.failure = {Failure::Kind::not_ready, 0,
                                settings_.url.endpoint() + ": no node is known that serves slot " +
                                    std::to_string(legs[i].partition->slot())};
        common_.report(legs[i].trip.failure.message());
    }
    for (unsigned round = 1; !works.empty(); ++round) {
        Round(works, legs, deadline, on_reply).run();
        Onward onward;
        for (Work& work : works) after(work, legs, onward, deadline);
        works = std::move(onward.works);
        const auto longest = std::chrono::milliseconds(5 * round);
        if (onward.pause)
            ::poll(nullptr, 0, std::min(deadline.poll_timeout(), static_cast<int>(longest.count())));
    }
}

/// What a visit has brought: it is done, it failed, or there is a way to go on.
inline void Cluster::after(Work& work, std::span<Leg> legs, Onward& onward, Deadline deadline) {
    Leg& leg = legs[work.leg];
    Trip& trip = leg.trip;
    if (work.part.trip.failure) {
        if (work.part.trip.failure.blames_server() || !work.part.trip.failure.timed_out()) {
            const std::lock_guard lock(mutex_);
            suspect_ = work.node->host();
            doubtful_ = true;
        }
        if (!another_way(work, onward, deadline)) fail(work, leg);
        return;
    }
    if (!work.helps_out) {
        // Of several, the oldest at which something ran: what it acknowledged may be what its successor has not heard of (R14).
        trip.server = trip.sent ? std::min(trip.server, work.part.trip.server) : work.part.trip.server;
    }
    trip.sent = trip.sent || work.ran;
    if (work.redirected.empty()) return;
    if (deadline.passed()) {
        work.part.trip.failure = {Failure::Kind::timeout, 0,
                                  settings_.url.endpoint() + ": no time left to follow a redirection"};
        return fail(work, leg);
    }
    follow(work, leg, onward);
}

inline void Cluster::fail(Work& work, Leg& leg) {
    Trip& trip = leg.trip;
    const Trip& part = work.part.trip;
    if (part.unanswered) {
        // Over two connections: which of them would have to be closed, cannot be said any more.
        trip.connection = trip.unanswered ? ConnectionIdentity{} : part.connection;
        trip.unanswered = true;
    }
    trip.sent = trip.sent || part.sent || work.ran;
    if (!trip.failure) trip.failure = part.failure;
}

/// Nothing was sent to a node that cannot be reached: perhaps another one has its slots by now.
inline bool Cluster::another_way(Work& work, Onward& onward, Deadline deadline) {
    if (work.part.trip.sent || work.ran || work.helps_out || work.hops >= most_hops || deadline.passed())
        return false;
    if (!std::exchange(onward.looked, true)) (void)refresh_if_doubtful(deadline);
    NodePointer now = owner(*work.part.partition);
    if (!now || now == work.node || deadline.passed()) return false;
    work.node = std::move(now);
    ++work.hops;
    work.part.trip = {};
    work.redirected.clear();
    onward.works.push_back(std::move(work));
    return true;
}

inline void Cluster::follow(Work& work, Leg& leg, Onward& onward) {
    std::vector<Work::Redirected> open = std::move(work.redirected);
    while (!open.empty()) {
        const Redirection to = open.front().to;
        std::vector<std::size_t> commands;
        std::vector<Work::Redirected> others;
        for (Work::Redirected& each : open) {
            if (each.to == to)
                commands.push_back(each.command);
            else
                others.push_back(std::move(each));
        }
        open = std::move(others);
        Work again;
        again.leg = work.leg;
        again.part.partition = work.part.partition;
        again.part.steps = leg.steps;
        if (Failure failure = turn_to(to, work, again)) {
            common_.report(failure.message());
            work.part.trip.failure = std::move(failure);
            fail(work, leg);
            continue;
        }
        onward.pause = onward.pause || again.pauses > work.pauses;
        restrict_to(again, leg, commands);
        onward.works.push_back(std::move(again));
    }
}

/// Where commands go next that were redirected.
inline Failure Cluster::turn_to(const Redirection& to, const Work& from, Work& work) {
    using Kind = Redirection::Kind;
    work.hops = from.hops;
    work.pauses = from.pauses;
    if (to.kind != Kind::ask) doubtful_ = true;
    const std::string asked = "Redis at " + from.node->host().endpoint();
    if (to.kind == Kind::nowhere)
        return {Failure::Kind::protocol, 0, asked + ": a redirection that names no address"};
    if (to.kind == Kind::try_again || to.kind == Kind::unserved || to.kind == Kind::down) {
        if (++work.pauses > most_pauses)
            return {Failure::Kind::not_ready, 0,
                    asked + " cannot serve: the cluster is down, or moves slots"};
        if (to.kind != Kind::try_again) {  // a master that was cut off from the others knows an old map only
            const std::lock_guard lock(mutex_);
            suspect_ = from.node->host();
        }
        const NodePointer now = owner(*from.part.partition);
        work.node = now ? now : from.node;
        return {};
    }
    if (++work.hops > most_hops) return {Failure::Kind::not_ready, 0, asked + ": redirected too often"};
    {
        const std::lock_guard lock(mutex_);
        work.node = node_at(to.host);
        if (!work.node) return {Failure::Kind::protocol, 0, asked + ": redirected to ever more nodes"};
        work.helps_out = to.kind == Kind::ask;
        if (work.helps_out) return {};
        owners_[from.part.partition->number()] = work.node;
        version_.fetch_add(1, std::memory_order_release);
        moved_to_ = to.host;
    }
    common_.state.look();
    return {};
}

/// @param commands  of the leg, in their order; of a step all or none
inline void Cluster::restrict_to(Work& work, const Leg& leg, const std::vector<std::size_t>& commands) {
    if (commands.size() >= leg.commands->commands()) return;
    std::size_t next = 0;
    work.own.append_if(*leg.commands, [&](std::size_t command) {
        if (next == commands.size() || commands[next] != command) return false;
        ++next;
        work.places.push_back(command);
        return true;
    });
    if (leg.atomic()) {
        const auto behind = std::lower_bound(commands.begin(), commands.end(), leg.steps.commands());
        work.part.steps.count = static_cast<std::size_t>(behind - commands.begin()) / leg.steps.size;
    }
}

}  // namespace smartcache::inline v0::detail
