#pragma once

#include <smartcache/redis/node.hpp>
#include <smartcache/redis/slots.hpp>

namespace smartcache::inline v0::detail {

inline void Passage::finish(const Failure& failure, bool undecided, RedisCommon& common,
                            FunctionRef<std::string()> who) {
    const bool probe_failed = pass_ == Breaker::Pass::probe && failure;
    if (undecided && !probe_failed)
        result_ = Breaker::Result::neutral;
    else if (!failure)
        result_ = Breaker::Result::success;
    else
        result_ = failure.blames_server() ? Breaker::Result::failure : Breaker::Result::neutral;
    const bool changed = breaker_.leave(pass_, result_, Deadline::Clock::now());
    pass_ = Breaker::Pass::refused;  // left
    if (!changed) return;
    common.breaker_changed(!failure, failure ? "Redis is not asked for a while: " + failure.message()
                                             : who() + " answers again");
}

inline Failure Node::connect(Deadline deadline, Partition& partition) {
    Pool::Lease lease;
    Failure failure = pool_.acquire(deadline, lease);
    if (failure) return failure;
    if (lease->time_at_log_in()) partition.clock.observe(*lease->time_at_log_in());
    lease.give_back();
    return {};
}

/// Answers of a server that is there and of no use: starting, stuck in a script, cut off from its master, or
/// closed to us. Where there are sentinels a read-only server is another's replica by now; elsewhere it may be
/// what the caller wants.
inline bool Node::cannot_serve(const Reply& reply) const noexcept {
    if (!reply.is_error()) return false;
    // In a cluster it is asked again, there or elsewhere: see Cluster.
    if (in_cluster() && reply.is_error("CLUSTERDOWN")) return false;
    // Before version 7 a script's answer says it after its own name.
    if (settings_.finder &&
        (reply.is_error("READONLY") || reply.text.find("-READONLY ") != std::string::npos))
        return true;
    for (const std::string_view code : {"LOADING", "BUSY ", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH"})
        if (reply.is_error(code)) return true;
    return false;
}

inline void Node::notice(const Reply& reply, Failure& refusal, Heard& heard) const {
    heard.anything = true;
    Failure* const why = cannot_serve(reply)              ? &refusal
                         : in_cluster() && is_down(reply) ? &heard.down
                                                          : nullptr;
    if (why != nullptr && !*why)
        *why = {Failure::Kind::not_ready, 0,
                "Redis at " + settings_.url.endpoint() + " cannot serve: " + reply.text};
}

inline Failure Node::execute(Connection& connection, const Pipeline& commands, Deadline deadline,
                             Heard& heard, Connection::OnReply on_reply) {
    Connection::Progress progress;
    Failure refusal;
    Failure failure = connection.execute(
        commands, deadline,
        [&](std::size_t i, Reply& reply) {
            notice(reply, refusal, heard);
            on_reply(i, reply);
        },
        progress);
    common_.bytes_sent.fetch_add(progress.sent, std::memory_order_relaxed);
    return failure ? failure : refusal;
}

inline Failure Node::settle(Partition& partition, const Pool::Lease& lease, std::uint64_t server,
                            Deadline deadline, Heard& heard) {
    return partition.settle(*lease, server, deadline,
                            [&](const Pipeline& commands, Connection::OnReply on_reply) {
                                return execute(*lease, commands, deadline, heard, on_reply);
                            });
}

/// After a trip that failed: whether another server is the master by now is for the sentinels to say. One
/// answer that did not come in time is no reason to open all connections anew; when the breaker opens, it is.
inline void Node::doubt_server(const Pool::Lease& lease, const Failure& failure) {
    if (!lease || !failure.blames_server()) return;
    if (!failure.timed_out() || breaker_.state() != BreakerState::closed) pool_.leave_server(lease);
}

inline Failure Node::greet(Deadline deadline, Partition& partition) {
    Pool::Lease lease;
    Heard heard;
    Failure failure = pool_.acquire(deadline, lease);
    if (!failure && !in_cluster())
        failure = settle(partition, lease, partition.arrive(lease), deadline, heard);
    if (!failure) {
        Pipeline commands;
        commands.command({"PING"});
        // PING is answered by whoever lives, a key only by who serves it, or says why not.
        if (in_cluster()) commands.command({"GETRANGE", partition.record_name({}), "0", "0"});
        Failure answer;
        failure = execute(*lease, commands, deadline, heard, [&](std::size_t i, Reply& reply) {
            if (i == 0 && !reply.is_status("PONG"))
                answer = {Failure::Kind::protocol, 0,
                          "Redis at " + settings_.url.endpoint() + " answered PING with " + reply.text};
        });
        if (!failure) failure = answer;
        if (!failure) failure = heard.down;
    }
    if (failure)
        doubt_server(lease, failure);
    else
        lease.give_back();
    return failure;
}

inline TierHealth Node::probe(Deadline deadline, Partition& partition) {
    const auto started = Deadline::Clock::now();
    if (const Failure failure = greet(deadline, partition)) return {false, failure.message()};
    if (breaker_.recovered()) common_.breaker_changed(true, name() + " answers again");
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Deadline::Clock::now() - started);
    return {true, "ok: Redis at " + settings_.url.endpoint() + " answered PING in " +
                      std::to_string(took.count()) + " us"};
}

inline void Node::maintain(Deadline deadline, Partition& partition) {
    pool_.drop_broken();
    if (breaker() == BreakerState::closed) return;
    Passage passage(breaker_, true);
    if (passage.refused()) return;
    pool_.try_again();  // a probe is rare enough by itself
    passage.finish(greet(deadline, partition), false, common_, [this] { return name(); });
}

inline Visit::Visit(Node& node, std::span<Leg* const> legs, bool helps_out)
    : node_(node), legs_(legs), helps_out_(helps_out), passage_(node.breaker_) {}

inline void Visit::begin(Deadline deadline, Deadline connected_by) {
    failure_ = {};
    if (passage_.refused())
        failure_ = {Failure::Kind::breaker_open, 0, "the circuit breaker is open"};
    else if (!lease_)
        failure_ = node_.pool_.acquire(connected_by, lease_);
    if (!failure_) failure_ = prepare(deadline);
    under_way_ = !failure_;
}

inline Failure Visit::prepare(Deadline deadline) {
    for (std::size_t i = 0; i < legs_.size() && !helps_out_; ++i) {
        Leg& leg = *legs_[i];
        leg.trip.server = leg.partition->arrive(lease_);
        Failure failure = node_.settle(*leg.partition, lease_, leg.trip.server, deadline, heard_);
        if (failure.kind == Failure::Kind::redirected) {
            moved_.resize(legs_.size());
            moved_[i] = std::move(failure.text);
        } else if (failure) {
            return failure;
        }
    }
    if (legs_.size() == 1 && moved_.empty() && !legs_.front()->atomic() && !helps_out_) {
        commands_ = legs_.front()->commands;
        return {};
    }
    for (std::size_t i = 0; i < legs_.size(); ++i)
        if (moved(i).empty()) add(i);
    commands_ = &all_;
    return {};
}

/// A node that helps out is asked once before a step: it keeps that in mind until the step ends.
inline void Visit::add(std::size_t leg) {
    using What = Sent::What;
    const Pipeline& commands = *legs_[leg]->commands;
    const Steps steps = legs_[leg]->steps;
    const auto say = [&](What what, std::string_view word, std::size_t command) {
        all_.command({word});
        sent_.push_back({what, leg, command});
    };
    const auto end_step_before = [&](std::size_t command) {
        if (command > 0 && steps.end_with(command - 1)) say(What::exec, "EXEC", command - steps.size);
    };
    all_.append_if(commands, [&](std::size_t i) {
        const bool queued = i < steps.commands();
        end_step_before(i);
        if (helps_out_ && (!queued || steps.begin_at(i))) say(What::asking, "ASKING", i);
        if (steps.begin_at(i)) say(What::multi, "MULTI", i);
        sent_.push_back({queued ? What::queued : What::command, leg, i});
        return true;
    });
    end_step_before(commands.commands());
}

inline void Visit::go_on(Deadline until, bool last, OnLegReply on_reply) {
    Failure failure = lease_->execute(
        *commands_, until, [&](std::size_t i, Reply& reply) { deliver(i, reply, on_reply); }, progress_);
    if (failure.kind == Failure::Kind::timeout && !last) return;
    failure_ = failure ? std::move(failure) : std::move(refusal_);
    under_way_ = false;
}

inline void Visit::deliver(std::size_t i, Reply& reply, OnLegReply on_reply) {
    node_.notice(reply, refusal_, heard_);
    if (commands_ != &all_) return on_reply(0, i, reply);
    const Sent& sent = sent_[i];
    switch (sent.what) {
        case Sent::What::command:
            return on_reply(sent.leg, sent.command, reply);
        case Sent::What::asking:
            return;
        case Sent::What::multi:
            not_queued_.clear();
            no_transaction_ = reply.is_error() && !node_.cannot_serve(reply);
            return;
        case Sent::What::queued:
            // The keys are of different slots of a cluster that was taken for a server.
            if (reply.is_error("CROSSSLOT")) no_transaction_ = true;
            if (reply.is_error()) not_queued_.emplace_back(sent.command, std::move(reply.text));
            return;
        case Sent::What::exec:
            return end_step(sent, reply, on_reply);
    }
}

/// EXEC's answer, with those of the commands.
inline void Visit::end_step(const Sent& sent, Reply& reply, OnLegReply on_reply) {
    const std::size_t commands = legs_[sent.leg]->steps.size;
    // Who may say MULTI and not EXEC is told so with another word than elsewhere.
    if (reply.is_error("NOPERM") || reply.is_error("EXECABORT Transaction discarded because of: NOPERM") ||
        reply.is_error("ERR unknown command") || reply.is_error("CROSSSLOT"))
        no_transaction_ = true;
    if (no_transaction_) node_.common_.learn_no_transactions(reply.text);
    // A step of which one command is sent elsewhere is sent there as a whole: none of it was run. (What was queued may have
    // been on its way elsewhere by the time of EXEC, which then says so itself, and forgets the rest.)
    std::string elsewhere;
    if (node_.in_cluster() && !no_transaction_) {
        const auto look = [&](const std::string& text) {
            Reply answer;
            answer.kind = Reply::Kind::error;
            answer.text = text;
            if (elsewhere.empty() && redirection_of(answer, node_.host())) elsewhere = text;
        };
        for (const auto& [command, text] : not_queued_) look(text);
        if (reply.is_error()) look(reply.text);
    }
    // Before version 6.2 a server that cannot serve does not end the transaction.
    stuck_ = stuck_ || (reply.is_error() && elsewhere.empty() && !reply.is_error("EXECABORT"));
    const bool ran = reply.kind == Reply::Kind::array && reply.elements.size() == commands;
    auto why = not_queued_.begin();
    for (std::size_t i = 0; i < commands; ++i) {
        const std::size_t command = sent.command + i;
        Reply answer;
        if (ran) {
            answer = std::move(reply.elements[i]);
            node_.notice(answer, refusal_, heard_);
        } else {
            answer.kind = Reply::Kind::error;
            const bool own = why != not_queued_.end() && why->first == command;
            answer.text = no_transaction_      ? std::string("EXECABORT")
                          : !elsewhere.empty() ? elsewhere
                          : own                ? std::move((why++)->second)
                          : reply.is_error()   ? reply.text
                                               : "EXEC was answered with something else";
        }
        on_reply(sent.leg, command, answer);
    }
}

inline void Visit::end(bool asked_again) {
    node_.common_.bytes_sent.fetch_add(progress_.sent, std::memory_order_relaxed);
    const bool not_ready = failure_.kind == Failure::Kind::not_ready;
    const bool lost = progress_.sent != 0 && failure_ && !not_ready;
    for (Leg* const leg : legs_) {
        leg->trip.failure = failure_;
        leg->trip.sent = leg->trip.unanswered = lost;
        leg->trip.connection = lost && !helps_out_ ? lease_->identity() : ConnectionIdentity{};
    }
    if (!failure_ && heard_.anything)
        for (Leg* const leg : legs_)
            if (leg->trip.server != 0) leg->partition->changes.seen(leg->trip.server);
    if (!failure_ && !stuck_) lease_.give_back();
    const Failure& why = failure_ ? failure_ : heard_.down;
    // Over a connection that was there nothing may have been said at all, when there was nothing but what cannot be settled.
    passage_.finish(why, !failure_ && (why ? asked_again : !heard_.anything), node_.common_,
                    [this] { return node_.name(); });
    node_.doubt_server(lease_, failure_);
    if (not_ready && lease_ && !stuck_) lease_.give_back();
    if (failure_ && failure_.kind != Failure::Kind::backing_off &&
        failure_.kind != Failure::Kind::breaker_open)
        node_.common_.report(failure_.message());
}

}  // namespace smartcache::inline v0::detail
