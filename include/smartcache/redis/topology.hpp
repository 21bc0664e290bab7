#pragma once

// Which node of a cluster serves which slots, by what one of its nodes says (CLUSTER SLOTS).
//
// Nobody is believed for ever: a node can lag behind, lie, or be cut off. Its answer is only where to look, and who is asked
// for a slot that is not his says so (MOVED). One node is asked at a time, over a connection of its own, beginning with the
// one that got a slot last, or that answered last; a turn takes at most a quarter of `connect_timeout`, spent in as many calls as it takes, so that
// silence holds nobody up for long.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/core/fork.hpp>
#include <smartcache/redis/connection.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/pipeline.hpp>
#include <smartcache/redis/reply.hpp>
#include <smartcache/redis/slots.hpp>
#include <smartcache/redis/url.hpp>

namespace smartcache::inline v0::detail {

/// The question for a cluster's slots. Used by one thread at a time.
class Topology {
  public:
    /// @param nodes  how connections to nodes are made; the URL names some that may be asked
    explicit Topology(const ConnectionSettings& nodes) : settings_(nodes) {
        settings_.numbers.reset();
        settings_.max_elements = hash_slots;
        settings_.max_reply = longest_text;
        question_.command({"CLUSTER", "SLOTS"});
    }

    /// Asks one after the other, until one answers, or goes on with that.
    /// @param best  who should know best, if anybody
    /// @param known  who may be asked beside those of the URL
    /// @param avoid  is asked last
    /// @return `Failure::connecting` when `deadline` passed first: call again
    [[nodiscard]] Failure ask(const RedisUrl::Host& best, const std::vector<RedisUrl::Host>& known,
                              const RedisUrl::Host& avoid, Deadline deadline,
                              std::vector<SlotRange>& ranges) {
        if (owner_.forked()) {
            owner_ = ProcessMark();
            attempt_.reset();
        }
        if (attempt_ && candidates_.size() > 1 && candidates_.back() == avoid) attempt_.reset();
        if (!attempt_) candidates_ = candidates(best, known, avoid);
        for (;;) {
            if (!attempt_) begin_turn();
            const auto started = Deadline::Clock::now();
            Failure failure = ask_one(earlier(deadline, Deadline(started + turn_)), ranges);
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
    struct Attempt {
        explicit Attempt(ConnectionSettings node) : settings(std::move(node)) {}
        const ConnectionSettings settings;
        Connection connection{settings};
        Connection::Progress progress{};
    };

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
        ConnectionSettings settings = settings_;
        settings.url.hosts = {candidates_.back()};
        attempt_ = std::make_unique<Attempt>(std::move(settings));
        turn_ =
            std::max<std::chrono::nanoseconds>(settings_.connect_timeout / 4, std::chrono::milliseconds(1));
        if (candidates_.size() == 1) turn_ = settings_.connect_timeout;
    }

    [[nodiscard]] Failure ask_one(Deadline deadline, std::vector<SlotRange>& ranges) {
        Connection& connection = attempt_->connection;
        if (!connection.ready())
            if (Failure failure = connection.open(deadline)) return failure;
        const RedisUrl::Host& host = candidates_.back();
        std::string refusal;
        Failure failure = connection.execute(
            question_, deadline,
            [&](std::size_t, Reply& reply) {
                ranges = take_slots(reply, host);
                refusal = reply.is_error() ? reply.text : "no slots";
            },
            attempt_->progress);
        if (failure.kind == Failure::Kind::timeout) failure.kind = Failure::Kind::connecting;
        if (!failure && ranges.empty())
            failure = {Failure::Kind::not_ready, 0,
                       "Redis at " + host.endpoint() + " answered CLUSTER SLOTS with " + refusal};
        return failure;
    }

    static constexpr std::size_t longest_text = 64 * 1024;  // INFO's, at log-in, is some KiB

    ConnectionSettings settings_;
    Pipeline question_;
    RedisUrl::Host last_answered_{};
    std::vector<RedisUrl::Host> candidates_;  // the one whose turn it is last
    std::unique_ptr<Attempt> attempt_;
    std::chrono::nanoseconds turn_{};
    ProcessMark owner_;
};

}  // namespace smartcache::inline v0::detail
