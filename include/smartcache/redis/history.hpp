#pragma once

// What was told in a namespace (announcer.hpp), kept for those that were away (R12).
//
// Beside each message's channel there is a stream of the same name, once somebody wants it: a cache with a disk, whose copies
// outlive the times in which it does not hear. Every change adds its message to it in the step that makes the change, if
// the stream is there (XADD NOMKSTREAM), and Redis keeps the last 65 536 of them, or fewer where they are long. Whoever comes back says up to where it
// has heard everything. Is that message still there, all that came after it are too, for Redis drops the oldest first; is it
// not, be it that there were too many, or that the server lost its data, or is another one, then there is a hole, and nothing
// from before counts.
//
//     position = id " " XXH3 of the message, in decimals
//
// Whoever cannot add its message ends the stream instead: a hole for everybody. In a cluster there is no history.

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <smartcache/core/hash.hpp>
#include <smartcache/record/invalidation.hpp>
#include <smartcache/redis/announcer.hpp>
#include <smartcache/redis/common.hpp>
#include <smartcache/redis/connection.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/pipeline.hpp>
#include <smartcache/redis/reply.hpp>

namespace smartcache::inline v0::detail {

/// Reads a namespace's history, over a connection of its own. Thread safety: one thread at a time.
class History {
  public:
    History(ConnectionSettings settings, std::string stream, RedisCommon& common)
        : settings_(adapted(std::move(settings))), stream_(std::move(stream)), common_(common) {}
    History(const History&) = delete;
    History& operator=(const History&) = delete;

    /// Tells what came after `position`.
    /// @param run  the server that must have it
    /// @return when, if there was no hole: all that was changed before that has been told
    [[nodiscard]] std::optional<Deadline::Clock::time_point> catch_up(
        const std::string& position, const std::string& run,
        const std::function<void(const Invalidation&)>& told);

    /// The newest message's position; makes the stream where there is none. Empty: not known.
    /// @param run  the server to ask
    [[nodiscard]] std::string newest(const std::string& run, Deadline deadline);

  private:
    static constexpr std::size_t at_once = 512;

    static ConnectionSettings adapted(ConnectionSettings settings) {
        settings.max_elements = at_once;
        settings.max_reply = std::size_t{64} << 20U;
        return settings;
    }
    struct Entry {
        std::string id;
        std::string message;
        [[nodiscard]] std::string position() const {
            return id + ' ' + std::to_string(stable_hash(as_byte_view(message)));
        }
    };
    static std::optional<Entry> entry(Reply& reply) {
        if (reply.kind != Reply::Kind::array || reply.elements.size() != 2) return std::nullopt;
        Reply& fields = reply.elements[1];
        if (fields.kind != Reply::Kind::array || fields.elements.size() != 2) return std::nullopt;
        return Entry{std::move(reply.elements[0].text), std::move(fields.elements[1].text)};
    }
    [[nodiscard]] bool connect(const std::string& run, Deadline deadline) {
        if (connection_ && !(connection_->ready() && connection_->quiet())) connection_.reset();
        if (!connection_) connection_ = std::make_unique<Connection>(settings_);
        const Failure failure = connection_->open(deadline);
        if (failure && failure.kind != Failure::Kind::connecting) connection_.reset();
        return !failure && connection_->identity().run_id == run;
    }
    /// @return the last command's answer
    std::optional<Reply> ask(const Pipeline& commands, Deadline deadline) {
        Reply last;
        Connection::Progress progress;
        const auto take = [&](std::size_t, Reply& reply) { last = std::move(reply); };
        if (connection_->execute(commands, deadline, take, progress)) {
            connection_.reset();
            return std::nullopt;
        }
        return last;
    }
    [[nodiscard]] std::string make(Deadline deadline);

    const ConnectionSettings settings_;
    const std::string stream_;
    RedisCommon& common_;
    std::unique_ptr<Connection> connection_;
};

inline std::optional<Deadline::Clock::time_point> History::catch_up(
    const std::string& position, const std::string& run,
    const std::function<void(const Invalidation&)>& told) {
    if (position.empty() || !common_.keeps_history()) return std::nullopt;
    // More than that nobody keeps: a server that goes on and on, or takes its time over each part, must not hold up whoever ends
    // this.
    constexpr std::size_t most = 2 * std::size_t{65'536} / at_once;
    const Deadline until = Deadline::in(10 * settings_.connect_timeout);
    const auto patience = [&] { return earlier(until, Deadline::in(settings_.connect_timeout)); };
    if (!connect(run, patience())) return std::nullopt;
    std::string from = position.substr(0, position.find(' '));
    for (std::size_t part = 0; part < most; ++part) {
        const bool first = part == 0;
        Pipeline commands;
        commands.command({"XRANGE", stream_, from, "+", "COUNT", std::to_string(at_once)});
        const auto asked = Deadline::Clock::now();
        std::optional<Reply> answer = ask(commands, patience());
        if (!answer || answer->kind != Reply::Kind::array) return std::nullopt;
        if (first && answer->elements.empty()) return std::nullopt;
        for (std::size_t i = 0; i < answer->elements.size(); ++i) {
            const std::optional<Entry> told_then = entry(answer->elements[i]);
            if (!told_then) return std::nullopt;
            from = '(' + told_then->id;
            if (first && i == 0) {
                if (told_then->position() != position) return std::nullopt;
                continue;
            }
            std::chrono::nanoseconds took{0};
            if (common_.announcer.read(told_then->message, told, took) == Announcer::Read::unreadable)
                told({Invalidation::Kind::cleared});
        }
        if (answer->elements.size() < at_once) return asked;
    }
    return std::nullopt;
}

inline std::string History::newest(const std::string& run, Deadline deadline) {
    if (!common_.keeps_history() || !connect(run, deadline)) return {};
    Pipeline commands;
    commands.command({"PEXPIRE", stream_, RedisCommon::history_lifetime});
    commands.command({"XREVRANGE", stream_, "+", "-", "COUNT", "1"});
    std::optional<Reply> answer = ask(commands, deadline);
    if (!answer || answer->kind != Reply::Kind::array) return {};
    if (answer->elements.empty()) return make(deadline);
    const std::optional<Entry> last = entry(answer->elements.front());
    return last ? last->position() : std::string();
}

/// A message about nothing begins it. First as everybody does: a server that does not know that has no history. How long it
/// stays is said with the next look.
inline std::string History::make(Deadline deadline) {
    const std::string message =
        common_.announcer.message(Invalidation::Kind::key, std::span<const std::string_view>());
    Pipeline attempt;
    common_.add_to_history(attempt, stream_, message);
    const std::optional<Reply> allowed = ask(attempt, deadline);
    if (!allowed) return {};
    if (allowed->is_error()) {
        (void)common_.learn_no_history(*allowed);
        return {};
    }
    Pipeline commands;
    commands.command(
        {"XADD", stream_, "MAXLEN", "~", RedisCommon::history_length(message), "*", "m", message});
    std::optional<Reply> id = ask(commands, deadline);
    if (!id || !id->is_text()) return {};
    return Entry{std::move(id->text), message}.position();
}

}  // namespace smartcache::inline v0::detail
