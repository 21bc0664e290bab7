#pragma once

// Hears what other processes change in a namespace (announcer.hpp), over a connection of its own.
//
// What a cache has in its memory or on its disk is good as long as it hears. So the state has two sides: it hears, or it
// does not. It begins to hear when the server has acknowledged the subscription: whatever the cache has from before may
// have been changed unheard, and it is told so (`heard`, R12). It stops (`lost`) when the connection breaks, or when the
// lease ends: a connection can be dead without an error, so the server is asked for a sign of life (PING) three times per
// lease, and the lease lasts from when the last question that was answered was sent (R13). Messages and answers come in
// order, so an answer proves that all messages from before the question are here (those of tracking within the same turn of
// the server's event loop).
//
// With `Coherence::tracking` the server itself tells of every change of a record, by whatever program (CLIENT TRACKING in
// broadcast mode, redirected to this very connection, which RESP2 allows). That includes this process' own changes: what it
// sets is read back from Redis once.
//
// What a cache has on its disk outlives all that. For those that have one, the listener asks now and then up to which message
// the namespace's history (history.hpp) has got, and when the next sign of life proves that all of that is here, it tells so
// (`position`). When it begins to hear again, and finds that message still there, it tells what came after it; then nothing was
// missed (`resumed`). In the life of one process that must be the same run of the server: what another run has lost, this
// process may have in memory.
//
// Where the data goes to a server that was found (sentinels), the listener must sit at the same one: when connections of
// the pool arrive at another run, it leaves.

#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <smartcache/core/hash.hpp>
#include <smartcache/record/invalidation.hpp>
#include <smartcache/record/key.hpp>
#include <smartcache/redis/common.hpp>
#include <smartcache/redis/connection.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/hearing.hpp>
#include <smartcache/redis/history.hpp>
#include <smartcache/redis/pipeline.hpp>
#include <smartcache/redis/reply.hpp>

namespace smartcache::inline v0::detail {

/// Thread safety: see Hearing.
class Listener final : public Hearing {
  public:
    using Clock = Deadline::Clock;
    struct Options {
        std::string name_space{};
        Duration lease{};
        bool tracking = false;
        /// Whether a message has not been told by another listener already; empty: there is no other.
        std::function<bool(std::string_view message)> is_news{};
    };

    Listener(ConnectionSettings settings, Options options, RedisCommon& common, HearingCounters& counters,
             std::function<void(const Invalidation&)> told)
        : settings_(adapted(settings)),
          options_(std::move(options)),
          common_(common),
          counters_(counters),
          told_(std::move(told)),
          channel_(common.announcer.channel(options_.name_space)),
          prefix_("sc:" + physical_key(options_.name_space, {})),
          history_settings_(std::move(settings)) {}

    void keep_positions(std::string known) override {
        position_ = std::move(known);
        history_ = std::make_unique<History>(history_settings_, channel_, common_);
    }

    inline void step(Deadline wake, int waker) override;

    // For who waits for several of them:

    /// Does what is to be done, without waiting, unless for a connection to be open until `opened_by`.
    /// @return when it is to be called again, unless something happens to `waits_for` before; long past: at once
    [[nodiscard]] Clock::time_point work(Deadline opened_by);
    /// For poll(2), which takes no notice of a descriptor of -1.
    [[nodiscard]] pollfd waits_for() const noexcept {
        return connection_ ? connection_->waits_for_more() : pollfd{-1, 0, 0};
    }
    [[nodiscard]] std::uint64_t failures() const noexcept override { return failures_; }

  private:
    static constexpr std::string_view tracking_channel = "__redis__:invalidate";

    static ConnectionSettings adapted(ConnectionSettings settings) {
        settings.max_elements = 64;
        settings.max_nested = 65'536;  // names in one message of the server's; a longer one is a gap
        settings.max_reply = std::size_t{64} << 20U;
        return settings;
    }
    [[nodiscard]] Clock::time_point open(Deadline opened_by);
    void subscribe();
    void take(Reply& message);
    void take_pushed(Reply& message);
    void take_tracked(Reply& message);
    [[nodiscard]] bool left_behind();
    void keep_alive();
    void become_heard();
    void lose(const std::string& why);
    [[nodiscard]] Clock::time_point next_question() const {
        const Clock::time_point due = asked_ + options_.lease / 3;
        return history_ ? std::min(due, next_look_) : due;
    }

    const ConnectionSettings settings_;
    const Options options_;
    RedisCommon& common_;
    HearingCounters& counters_;
    const std::function<void(const Invalidation&)> told_;
    const std::string channel_;
    const std::string prefix_;  // of the records' names
    const ConnectionSettings history_settings_;

    // Of the thread that steps.
    std::unique_ptr<Connection> connection_;
    std::uint64_t moves_ = 0;       // of the data to other servers, when it connected
    bool subscribed_ = false;       // the commands are sent
    std::size_t acknowledged_ = 0;  // subscriptions
    std::string refused_;           // the server does not let us
    Clock::time_point asked_{};     // when the last question was sent
    bool answered_ = true;
    Clock::time_point lease_until_{};
    Clock::time_point opening_until_{};
    Clock::time_point retry_at_{};
    unsigned failures_in_a_row_ = 0;
    std::uint64_t failures_ = 0;
    std::unique_ptr<History> history_;         // null: no positions are wanted
    std::string position_;                     // up to here everything has been told
    std::optional<std::string> position_run_;  // of the server that said so; nullopt: to another process
    std::string next_position_;                // to be that, when the server gives a sign of life
    Clock::time_point next_look_{};            // into the history
};

}  // namespace smartcache::inline v0::detail

#include <smartcache/redis/impl/listener.hpp>  // IWYU pragma: export
