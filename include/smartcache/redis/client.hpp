#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include <smartcache/core/log.hpp>
#include <smartcache/core/stats.hpp>
#include <smartcache/record/tier_context.hpp>
#include <smartcache/redis/breaker.hpp>
#include <smartcache/redis/connection.hpp>
#include <smartcache/redis/epochs.hpp>
#include <smartcache/redis/options.hpp>
#include <smartcache/redis/pool.hpp>
#include <smartcache/redis/scripts.hpp>
#include <smartcache/redis/server_clock.hpp>
#include <smartcache/redis/unacknowledged.hpp>

namespace smartcache::inline v0::detail {

/// One Redis server as the tier sees it: round trips that go through breaker and pool, and that first settle
/// what is still unacknowledged. Knows nothing of records.
///
/// Thread safety: any thread.
class RedisClient {
  public:
    using OnReply = Connection::OnReply;

    /// @throws ConfigError when a file of `options.tls` is of no use
    RedisClient(const RedisOptions& options, const TierContext& context, RedisUrl url, std::size_t max_reply);

    /// How a round trip ended.
    struct Trip {
        Failure failure;
        bool sent = false;              ///< the server may have seen commands that it has not answered
        ConnectionIdentity connection;  ///< over which they went
    };

    /// Connects, for a constructor that wants to know.
    [[nodiscard]] Failure connect();

    /// Sends the commands and takes their answers in one round trip. Never waits past `deadline`, opening a
    /// connection included. Answers that say that the server cannot serve now make the whole trip fail.
    /// Throws: what `on_reply` throws, `std::bad_alloc`.
    Trip ask(const Pipeline& commands, Deadline deadline, OnReply on_reply);

    /// Runs a script on one key.
    Trip eval(const RedisScript& script, std::string_view key,
              std::initializer_list<std::string_view> arguments, Deadline deadline, Reply& answer);
    /// The same as a part of a pipeline. @param by_name  false after the answer NOSCRIPT
    static void add_script(Pipeline& commands, const RedisScript& script, bool by_name, std::string_view key,
                           std::initializer_list<std::string_view> arguments);

    /// Tries to have the server acknowledge what is unacknowledged. Every trip does that; this one does
    /// nothing else.
    void settle_now(Deadline deadline) {
        (void)ask({}, deadline, [](std::size_t, Reply&) {});
    }
    [[nodiscard]] Unacknowledged& unacknowledged() noexcept { return unacknowledged_; }
    [[nodiscard]] const Unacknowledged& unacknowledged() const noexcept { return unacknowledged_; }
    /// Notes that `key` may hold anything after a trip that failed (R3, R11).
    void distrust(std::string_view key, const Trip& trip) noexcept {
        if (trip.sent)
            unacknowledged_.add(key, trip.connection);
        else
            unacknowledged_.add(key);
    }

    // Epochs, see epochs.hpp.

    /// Adds the question for a namespace's epoch; `take_epoch` reads the answer.
    static void add_epoch(Pipeline& commands, const std::string& epoch_key) {
        commands.command({"HMGET", epoch_key, "clear", "token"});
    }
    [[nodiscard]] static std::optional<EpochFields> take_epoch(Reply& reply);
    /// What an answer means, with another round trip when the hash turns out to be lost. @return nullopt: no
    /// answer
    [[nodiscard]] std::optional<std::uint64_t> epoch_after(std::string_view name_space,
                                                           const std::optional<EpochFields>& answer,
                                                           Deadline deadline);
    /// The epoch to write into records; asks the server when this process has not seen one.
    [[nodiscard]] std::optional<std::uint64_t> epoch_for_writing(std::string_view name_space,
                                                                 Deadline deadline, Failure& failure);
    /// Gives the namespace a new epoch. @return whether the server has acknowledged it
    bool clear(std::string_view name_space, Deadline deadline);

    [[nodiscard]] ServerClock& server_clock() noexcept { return server_clock_; }
    /// The command that deletes keys: UNLINK, or DEL where the server does not know that.
    [[nodiscard]] std::string_view erase_command() const noexcept {
        return no_unlink_.load(std::memory_order_relaxed) ? "DEL" : "UNLINK";
    }
    /// @return whether an erase has to be tried again with the other command
    bool learn_erase_command(const Reply& reply) noexcept {
        if (!reply.is_error("ERR unknown command")) return false;
        return !no_unlink_.exchange(true, std::memory_order_relaxed);
    }

    [[nodiscard]] TierHealth probe(Deadline deadline);
    void maintain(Deadline deadline);

    [[nodiscard]] BreakerState breaker() const noexcept { return breaker_.state(); }
    [[nodiscard]] std::uint64_t bytes_sent() const noexcept {
        return bytes_sent_.load(std::memory_order_relaxed);
    }
    void forget_bytes_sent() noexcept { bytes_sent_.store(0, std::memory_order_relaxed); }
    [[nodiscard]] std::size_t open_connections() const { return pool_.open_connections(); }
    /// At most one a second.
    void report(const std::string& problem) noexcept { log_(LogLevel::warning, "smartcache: " + problem); }

  private:
    class Passage;

    [[nodiscard]] Failure execute(Connection& connection, const Pipeline& commands, Deadline deadline,
                                  OnReply on_reply, std::size_t& sent);
    [[nodiscard]] Failure settle(Connection& connection, Deadline deadline);
    [[nodiscard]] Failure settle_batch(Connection& connection, const Unacknowledged::Batch& batch,
                                       Deadline deadline, bool& stuck);
    template <class Ask>
    static Failure eval_with(Ask ask, const RedisScript& script, std::string_view key,
                             std::initializer_list<std::string_view> arguments, Reply& answer);
    /// Understands what the epoch script answered.
    std::optional<std::uint64_t> take_new_epoch(std::string_view name_space, Reply& answer);
    static ConnectionSettings settings_of(const RedisOptions& options, const TierContext& context,
                                          RedisUrl url, std::size_t max_reply);
    static bool cannot_serve(const Reply& reply) noexcept;

    const ConnectionSettings settings_;
    RateLimitedLog log_;
    Breaker breaker_;
    Pool pool_;
    Unacknowledged unacknowledged_;
    Epochs epochs_;
    ServerClock server_clock_;
    std::mutex settling_;
    Deadline::Clock::time_point settle_again_{};  // under settling_
    std::atomic<bool> no_unlink_{false};
    std::atomic<std::uint64_t> bytes_sent_{0};
};

}  // namespace smartcache::inline v0::detail

#include <smartcache/redis/impl/client.hpp>  // IWYU pragma: export
