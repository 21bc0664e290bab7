#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/core/hash.hpp>
#include <smartcache/core/log.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/record/invalidation.hpp>
#include <smartcache/record/tier_context.hpp>
#include <smartcache/redis/announcer.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/pipeline.hpp>
#include <smartcache/redis/reply.hpp>
#include <smartcache/redis/tier_state.hpp>
#include <smartcache/redis/untold.hpp>

namespace smartcache::inline v0::detail {

/// What the parts of one tier's way to Redis have in common. Thread safety: any thread.
struct RedisCommon {
    const std::string own_space;  ///< the namespace that most keys are of
    RateLimitedLog log;
    std::atomic<std::uint64_t> bytes_sent{0};
    std::atomic<bool> no_unlink{false};

    TierState state;
    Announcer announcer;
    UntoldKeeper untold;
    /// A record that says that its key was erased, as it goes to Redis; empty: erased keys leave nothing (R7).
    std::function<std::string(std::string_view key)> tombstone{};

    /// @param announces  whether other processes are told of changes @param db  on which channels
    /// @param in_cluster  then it is not kept what they are told
    /// @param works  whether all breakers are closed
    RedisCommon(const TierContext& context, bool announces, unsigned db, bool in_cluster,
                std::function<bool()> works)
        : own_space(context.name_space),
          log(context.logger),
          state(context.on_state, std::move(works)),
          announcer(announces, db, !in_cluster) {}

    /// The data goes to a server that was found: to its `server`-th, in this run of it.
    void move_to(std::uint64_t server, const std::string& run) {
        // relaxed: a first look, the lock decides.
        if (moves_.load(std::memory_order_relaxed) >= server) return;
        const std::lock_guard lock(moving_);
        if (moves_.load(std::memory_order_relaxed) >= server) return;
        run_ = run;
        moves_.store(server, std::memory_order_release);
    }
    [[nodiscard]] std::uint64_t moves() const noexcept { return moves_.load(std::memory_order_acquire); }
    [[nodiscard]] bool is_at(const std::string& run) const {
        const std::lock_guard lock(moving_);
        return run_ == run;
    }

    /// A breaker has opened or closed.
    void breaker_changed(bool closed, const std::string& text) {
        log.always(closed ? LogLevel::info : LogLevel::warning, "smartcache: " + text);
        state.look();
    }

    /// At most one a second.
    void report(const std::string& problem) noexcept {
        log(LogLevel::warning, "smartcache: " + one_line(problem));
    }

    /// The command that deletes keys: UNLINK, or DEL where the server does not know that.
    [[nodiscard]] std::string_view erase_command() const noexcept {
        return no_unlink.load(std::memory_order_relaxed) ? "DEL" : "UNLINK";
    }
    /// How long what was erased or has ended leaves a trace in Redis, for fills that began before (R7).
    static constexpr std::chrono::seconds trace_length{60};
    static constexpr std::string_view trace_lifetime = "60000";  // the same in milliseconds
    /// How long what was told is kept for those that were away after the last of them has asked (history.hpp).
    static constexpr std::string_view history_lifetime = "604800000";
    [[nodiscard]] bool keeps_history() const noexcept {
        return !no_history_.load(std::memory_order_relaxed) && !lacks_transactions();
    }
    /// How many messages like this one are kept: some 16 MiB, at most 65 536. The scripts know that, too.
    [[nodiscard]] static std::string history_length(std::string_view message) {
        constexpr std::size_t bytes = std::size_t{16} << 20U;
        return std::to_string(std::max<std::size_t>(bytes / std::max<std::size_t>(message.size(), 256), 1));
    }
    static void add_to_history(Pipeline& commands, std::string_view stream, std::string_view message) {
        commands.command(
            {"XADD", stream, "NOMKSTREAM", "MAXLEN", "~", history_length(message), "*", "m", message});
    }
    /// Adds what tells others of changes, behind the commands that make them.
    /// @param keep  whether it can be kept: it is one step with the changes, or all is repeated until it is done
    void add_messages(Pipeline& commands, std::span<const Announcer::Message> messages, bool keep) const {
        for (const Announcer::Message& message : messages)
            commands.command({"PUBLISH", message.channel, message.text});
        for (const Announcer::Message& message : messages) {
            if (message.stream.empty()) continue;
            if (!keep || !keeps_history()) {
                commands.command({"DEL", message.stream});
            } else if (message.parts.empty()) {
                add_to_history(commands, message.stream, message.text);
            } else {
                for (const std::string& part : message.parts) add_to_history(commands, message.stream, part);
            }
        }
    }
    /// Understands the `i`-th answer to so many messages. @return whether what they are about has to be tried again
    bool learn_of_messages(std::size_t messages, std::size_t i, const Reply& reply) noexcept {
        return i < messages ? learn_silence(reply) : learn_no_history(reply);
    }
    /// @return whether the command was refused before anything was done
    bool learn_no_history(const Reply& reply) noexcept {
        if (!reply.is_error() || reply.is_error("EXECABORT") || !keeps_history()) return false;
        const bool refused = reply.is_error("NOPERM") || reply.is_error("ERR unknown command");
        // Before version 6.2 NOMKSTREAM is taken for what is to follow it.
        if (!refused && !reply.is_error("ERR syntax") && !reply.is_error("ERR wrong number") &&
            !reply.is_error("ERR Invalid stream ID"))
            return false;
        no_history_.store(true, std::memory_order_relaxed);
        report("changes are not kept for caches that are away: " + reply.text);
        return refused;
    }

    /// Adds what erases a record. @param trace  a tombstone, unless empty; must outlive the pipeline if it is long
    void add_erase(Pipeline& commands, std::string_view name, std::string_view trace) const {
        if (trace.empty())
            commands.command({erase_command(), name});
        else
            commands.command({"SET", name, trace, "PX", trace_lifetime});
    }
    /// Whether an answer to that says that it is done.
    [[nodiscard]] static bool is_erased(const Reply& reply) noexcept {
        return reply.kind == Reply::Kind::integer || reply.is_status("OK");
    }

    /// What `epoch_script` is called with.
    /// @param too_low  a new epoch is above this  @param token, tags  what was seen  @param field  of a tag, that changes
    [[nodiscard]] std::vector<std::string> epoch_arguments(std::string_view name_space, std::uint64_t too_low,
                                                           std::string_view what, std::string_view token,
                                                           std::uint64_t tags, std::string_view field) const {
        using Kind = Invalidation::Kind;
        std::vector<std::string> all{std::to_string(too_low), std::to_string(random_stamp()),
                                     std::string(what),       std::string(token),
                                     std::to_string(tags),    std::string(field)};
        if (!announcer.on()) {
            all.emplace_back();
            return all;
        }
        all.push_back(announcer.channel(name_space));
        all.push_back(announcer.stream(name_space));
        all.push_back(
            field.empty()
                ? std::string()
                : announcer.message(field[0] == 'e' ? Kind::tag_erased : Kind::tag_expired, field.substr(2)));
        all.push_back(announcer.message(Kind::cleared, std::span<const std::string_view>()));
        return all;
    }

    /// Whether the server does not do several commands as one step: then messages go behind what they are about, and are lost
    /// with a connection that breaks in between and a process that ends then.
    [[nodiscard]] bool lacks_transactions() const noexcept {
        return no_transactions_.load(std::memory_order_relaxed);
    }
    void learn_no_transactions(const std::string& answer) {
        if (!no_transactions_.exchange(true, std::memory_order_relaxed))
            report("MULTI is of no use here, so changes and the messages about them are not one step: " +
                   answer);
    }

    /// Understands the server's answer to a script. @return whether it lets us run none
    bool learn_no_scripts(const Reply& reply) noexcept {
        if (reply.is_error("NOSCRIPT")) return false;
        const bool refused =
            (reply.is_error("NOPERM") || reply.is_error("ERR unknown command")) &&
            (reply.text.find("eval") != std::string::npos || reply.text.find("EVAL") != std::string::npos);
        if (no_scripts_.exchange(refused, std::memory_order_relaxed) != refused && refused)
            report("scripts are of no use here: " + reply.text);
        return refused;
    }
    /// What the last script was answered.
    [[nodiscard]] bool lacks_scripts() const noexcept { return no_scripts_.load(std::memory_order_relaxed); }

    /// @return whether what was to be announced has to be tried again without that
    bool learn_silence(const Reply& reply) noexcept {
        if (!announcer.learn(reply)) return false;
        report("PUBLISH is not permitted, so other processes are not told of changes: " + reply.text);
        return true;
    }

    /// @return whether an erase has to be tried again with the other command
    bool learn_erase_command(const Reply& reply) noexcept {
        if (!reply.is_error("ERR unknown command")) return false;
        return !no_unlink.exchange(true, std::memory_order_relaxed);
    }

  private:
    mutable Mutex moving_;
    std::string run_;
    std::atomic<std::uint64_t> moves_{0};
    std::atomic<bool> no_transactions_{false};
    std::atomic<bool> no_history_{false};
    std::atomic<bool> no_scripts_{false};
};

}  // namespace smartcache::inline v0::detail
