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
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <smartcache/core/counters.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/core/stats.hpp>
#include <smartcache/record/invalidation.hpp>
#include <smartcache/record/key.hpp>
#include <smartcache/redis/common.hpp>
#include <smartcache/redis/connection.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/history.hpp>
#include <smartcache/redis/pipeline.hpp>
#include <smartcache/redis/reply.hpp>

namespace smartcache::inline v0::detail {

/// Thread safety: any thread, but `step` one at a time. `told` is called by the thread that steps.
class Listener {
  public:
    using Clock = Deadline::Clock;
    struct Options {
        std::string name_space{};
        Duration lease{};
        bool tracking = false;
    };

    Listener(ConnectionSettings settings, Options options, RedisCommon& common,
             std::function<void(const Invalidation&)> told)
        : settings_(adapted(settings)),
          options_(std::move(options)),
          common_(common),
          told_(std::move(told)),
          channel_(common.announcer.channel(options_.name_space)),
          prefix_("sc:" + physical_key(options_.name_space, {})),
          history_settings_(std::move(settings)) {}
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    /// Tells positions, too. Before anything else. @param known  the last one that was told to a listener before
    void keep_positions(std::string known) {
        position_ = std::move(known);
        history_ = std::make_unique<History>(history_settings_, channel_, common_);
    }

    /// Does what is to be done, and waits for more until `wake` or until `waker` is readable.
    /// @param waker  a descriptor; -1: none
    void step(Deadline wake, int waker);
    /// The same until it hears, or has failed to, or the deadline passes.
    void begin(Deadline deadline) {
        const std::uint64_t failures = failures_;
        while (!hears() && failures_ == failures && !deadline.passed()) step(deadline, -1);
    }

    // acquire: pairs with the release when it changes; who sees that it hears comes after `told` was told so.
    // In a child of fork(2) there is no thread that would listen.
    [[nodiscard]] bool hears() const noexcept {
        return hears_.load(std::memory_order_acquire) && !process_.forked();
    }
    [[nodiscard]] CoherenceStats stats() const;
    void reset_stats() noexcept;
    /// Why it does not hear; empty when it does.
    [[nodiscard]] std::string problem() const {
        const std::lock_guard lock(problem_mutex_);
        return problem_;
    }

  private:
    static constexpr std::string_view tracking_channel = "__redis__:invalidate";

    static ConnectionSettings adapted(ConnectionSettings settings) {
        settings.max_elements = 64;
        settings.max_nested = 65'536;  // names in one message of the server's; a longer one is a gap
        settings.max_reply = std::size_t{64} << 20U;
        return settings;
    }
    void open(Deadline wake, int waker);
    void subscribe();
    void take(Reply& message);
    void take_pushed(Reply& message);
    void take_tracked(Reply& message);
    [[nodiscard]] bool left_behind();
    void keep_alive();
    void become_heard();
    void lose(const std::string& why);
    void set_problem(std::string text) {
        const std::lock_guard lock(problem_mutex_);
        problem_ = std::move(text);
    }
    void wait(Clock::time_point until, int waker, int socket) const;
    [[nodiscard]] Clock::time_point next_question() const {
        const Clock::time_point due = asked_ + options_.lease / 3;
        return history_ ? std::min(due, next_look_) : due;
    }

    const ConnectionSettings settings_;
    const Options options_;
    RedisCommon& common_;
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
    Clock::time_point retry_at_{};
    unsigned failures_in_a_row_ = 0;
    std::uint64_t failures_ = 0;
    std::unique_ptr<History> history_;         // null: no positions are wanted
    std::string position_;                     // up to here everything has been told
    std::optional<std::string> position_run_;  // of the server that said so; nullopt: to another process
    std::string next_position_;                // to be that, when the server gives a sign of life
    Clock::time_point next_look_{};            // into the history

    const ProcessMark process_{};
    std::atomic<bool> hears_{false};
    std::atomic<std::uint64_t> messages_{0};
    std::atomic<std::uint64_t> unreadable_{0};
    std::atomic<std::uint64_t> gaps_{0};
    std::atomic<std::uint64_t> resumed_{0};
    LatencyHistogram latency_;
    mutable std::mutex problem_mutex_;
    std::string problem_{"not connected yet"};
};

/// A thread that steps a listener for as long as it lives.
class ListeningThread {
  public:
    explicit ListeningThread(Listener& listener)
        : listener_(listener), waker_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        thread_ = std::thread([this] {
            while (!stopping_.load(std::memory_order_acquire))
                listener_.step(Deadline::in(std::chrono::seconds(60)), waker_);
        });
    }
    ListeningThread(const ListeningThread&) = delete;
    ListeningThread& operator=(const ListeningThread&) = delete;
    ~ListeningThread() {
        stopping_.store(true, std::memory_order_release);
        const std::uint64_t one = 1;
        while (::write(waker_, &one, sizeof one) < 0 && errno == EINTR) {
        }
        thread_.join();
        if (waker_ >= 0) ::close(waker_);
    }

  private:
    Listener& listener_;
    const int waker_;
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

}  // namespace smartcache::inline v0::detail

#include <smartcache/redis/impl/listener.hpp>  // IWYU pragma: export
