#pragma once

// Which node of a cluster serves which slots, by what one of its nodes says (CLUSTER SLOTS).
//
// Nobody is believed for ever: a node can lag behind, lie, or be cut off. Its answer is only where to look, and who is asked
// for a slot that is not his says so (MOVED). One node is asked at a time, over a connection of its own, beginning with the
// one that got a slot last, or that answered last; a turn takes at most a quarter of `connect_timeout`, spent in as many calls as it takes, so that
// silence holds nobody up for long.

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/redis/connection.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/pipeline.hpp>
#include <smartcache/redis/reply.hpp>
#include <smartcache/redis/slots.hpp>
#include <smartcache/redis/url.hpp>

namespace smartcache::inline v0::detail {

/// The question to one node, which can be asked again over the same connection. Used by one thread at a time.
class SlotsQuestion {
  public:
    /// @param nodes  how connections to nodes are made
    SlotsQuestion(ConnectionSettings nodes, RedisUrl::Host node)
        : settings_(adapted(std::move(nodes), std::move(node))) {
        question_.command({"CLUSTER", "SLOTS"});
    }

    [[nodiscard]] const RedisUrl::Host& node() const { return settings_.url.hosts.front(); }
    /// Asks, or goes on with that.
    /// @return `Failure::connecting` when `deadline` passed first: call again. After any other failure it is of no use
    [[nodiscard]] Failure ask(Deadline deadline, std::vector<SlotRange>& ranges) {
        if (!connection_.ready())
            if (Failure failure = connection_.open(deadline)) return failure;
        std::string refusal;
        Failure failure = connection_.execute(
            question_, deadline,
            [&](std::size_t, Reply& reply) {
                ranges = take_slots(reply, node());
                refusal = reply.is_error() ? reply.text : "no slots";
            },
            progress_);
        if (failure.kind == Failure::Kind::timeout) failure.kind = Failure::Kind::connecting;
        if (failure) return failure;
        progress_ = {};
        if (!ranges.empty()) return {};
        return {Failure::Kind::not_ready, 0,
                "Redis at " + node().endpoint() + " answered CLUSTER SLOTS with " + refusal};
    }
    /// For poll(2), while it is under way.
    [[nodiscard]] pollfd waits_for() const noexcept {
        return connection_.ready() ? connection_.waits_for(question_, progress_)
                                   : connection_.waits_for_more();
    }

  private:
    static ConnectionSettings adapted(ConnectionSettings settings, RedisUrl::Host node) {
        settings.url.hosts = {std::move(node)};
        settings.numbers.reset();
        settings.max_elements = hash_slots;
        settings.max_reply = std::size_t{64} << 10U;  // INFO's text, at log-in, is some KiB
        return settings;
    }

    const ConnectionSettings settings_;
    Pipeline question_;
    Connection connection_{settings_};
    Connection::Progress progress_;
};

/// The question for a cluster's slots. Used by one thread at a time.
class Topology {
  public:
    /// @param nodes  how connections to nodes are made; the URL names some that may be asked. Must outlive it
    explicit Topology(const ConnectionSettings& nodes) : settings_(nodes) {}

    /// Asks one after the other, until one answers, or goes on with that.
    /// @param best  who should know best, if anybody
    /// @param known  who may be asked beside those of the URL
    /// @param avoid  is asked last
    /// @return `Failure::connecting` when `deadline` passed first: call again
    [[nodiscard]] Failure ask(const RedisUrl::Host& best, const std::vector<RedisUrl::Host>& known,
                              const RedisUrl::Host& avoid, Deadline deadline,
                              std::vector<SlotRange>& ranges) {
        if (attempt_ && candidates_.size() > 1 && candidates_.back() == avoid) attempt_.reset();
        if (!attempt_) candidates_ = candidates(best, known, avoid);
        for (;;) {
            if (!attempt_) begin_turn();
            const auto started = Deadline::Clock::now();
            Failure failure = attempt_->ask(earlier(deadline, Deadline(started + turn_)), ranges);
            turn_ -= std::min<std::chrono::nanoseconds>(turn_, Deadline::Clock::now() - started);
            if (!failure) {
                last_answered_ = candidates_.back();
                attempt_.reset();
                return {};
            }
            const bool slow = failure.kind == Failure::Kind::connecting;
            if (slow && turn_ != turn_.zero()) return failure;
            attempt_.reset();
            candidates_.pop_back();
            if (candidates_.empty()) {
                if (slow) failure.kind = Failure::Kind::timeout;
                return failure;
            }
            if (deadline.passed()) {
                begin_turn();
                failure.kind = Failure::Kind::connecting;
                return failure;
            }
        }
    }

  private:
    /// In reverse order.
    [[nodiscard]] std::vector<RedisUrl::Host> candidates(const RedisUrl::Host& best,
                                                         const std::vector<RedisUrl::Host>& known,
                                                         const RedisUrl::Host& avoid) const {
        std::vector<RedisUrl::Host> all{best, last_answered_};
        all.insert(all.end(), known.begin(), known.end());
        all.insert(all.end(), settings_.url.hosts.begin(), settings_.url.hosts.end());
        std::vector<RedisUrl::Host> once;
        const auto add = [&](const RedisUrl::Host& host) {
            if (!host.name.empty() && std::find(once.begin(), once.end(), host) == once.end())
                once.push_back(host);
        };
        for (const RedisUrl::Host& host : all)
            if (host != avoid) add(host);
        add(avoid);
        std::reverse(once.begin(), once.end());
        return once;
    }

    void begin_turn() {
        attempt_ = std::make_unique<SlotsQuestion>(settings_, candidates_.back());
        turn_ =
            std::max<std::chrono::nanoseconds>(settings_.connect_timeout / 4, std::chrono::milliseconds(1));
        if (candidates_.size() == 1) turn_ = settings_.connect_timeout;
    }

    const ConnectionSettings& settings_;
    RedisUrl::Host last_answered_{};
    std::vector<RedisUrl::Host> candidates_;  // the one whose turn it is last
    std::unique_ptr<SlotsQuestion> attempt_;
    std::chrono::nanoseconds turn_{};
};

}  // namespace smartcache::inline v0::detail
