#pragma once

#include <smartcache/redis/client.hpp>

namespace smartcache::inline v0::detail {

/// One command's way through the breaker, left exactly once.
class RedisClient::Passage {
  public:
    explicit Passage(RedisClient& client)
        : client_(client), pass_(client.breaker_.enter(Deadline::Clock::now())) {}
    Passage(const Passage&) = delete;
    Passage& operator=(const Passage&) = delete;
    ~Passage() { client_.breaker_.leave(pass_, result_, Deadline::Clock::now()); }

    [[nodiscard]] bool refused() const noexcept { return pass_ == Breaker::Pass::refused; }
    void finish(const Failure& failure) {
        result_ = !failure                  ? Breaker::Result::success
                  : failure.blames_server() ? Breaker::Result::failure
                                            : Breaker::Result::neutral;
        const bool changed = client_.breaker_.leave(pass_, result_, Deadline::Clock::now());
        pass_ = Breaker::Pass::refused;  // left
        if (!changed) return;
        if (failure)
            client_.log_.always(LogLevel::warning,
                                "smartcache: Redis is not asked for a while: " + failure.message());
        else
            client_.log_.always(LogLevel::info, "smartcache: Redis at " + client_.settings_.url.endpoint() +
                                                    " answers again");
    }

  private:
    RedisClient& client_;
    Breaker::Pass pass_;
    Breaker::Result result_ = Breaker::Result::neutral;
};

inline ConnectionSettings RedisClient::settings_of(const RedisOptions& options, const TierContext& context,
                                                   RedisUrl url, std::size_t max_reply) {
    ConnectionSettings settings{std::move(url), options.connect_timeout, max_reply, context.background};
    if (settings.url.scheme == RedisUrl::Scheme::tls) settings.tls = make_tls_context(options.tls);
    return settings;
}

inline RedisClient::RedisClient(const RedisOptions& options, const TierContext& context, RedisUrl url,
                                std::size_t max_reply)
    : settings_(settings_of(options, context, std::move(url), max_reply)),
      log_(context.logger),
      breaker_(options.breaker),
      pool_(settings_, options.max_connections) {}

inline Failure RedisClient::connect() {
    Pool::Lease lease;
    Failure failure = pool_.acquire(Deadline::in(settings_.connect_timeout), lease);
    if (failure) return failure;
    if (lease->time_at_log_in()) server_clock_.observe(*lease->time_at_log_in());
    lease.give_back();
    return {};
}

/// Answers of a server that is there and of no use: starting, stuck in a script, cut off from its master, or
/// closed to us.
inline bool RedisClient::cannot_serve(const Reply& reply) noexcept {
    if (!reply.is_error()) return false;
    for (const std::string_view code : {"LOADING", "BUSY ", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH"})
        if (reply.is_error(code)) return true;
    return false;
}

inline Failure RedisClient::execute(Connection& connection, const Pipeline& commands, Deadline deadline,
                                    OnReply on_reply, std::size_t& sent) {
    Connection::Progress progress;
    Failure refusal;
    Failure failure = connection.execute(
        commands, deadline,
        [&](std::size_t i, Reply& reply) {
            if (cannot_serve(reply) && !refusal)
                refusal = {Failure::Kind::not_ready, 0,
                           "Redis at " + settings_.url.endpoint() + " cannot serve: " + reply.text};
            on_reply(i, reply);
        },
        progress);
    bytes_sent_.fetch_add(progress.sent, std::memory_order_relaxed);
    sent = progress.sent;
    return failure ? failure : refusal;
}

inline RedisClient::Trip RedisClient::ask(const Pipeline& commands, Deadline deadline, OnReply on_reply) {
    Trip trip;
    Passage passage(*this);
    if (passage.refused()) {
        trip.failure = {Failure::Kind::breaker_open, 0, "the circuit breaker is open"};
        return trip;
    }
    Pool::Lease lease;
    trip.failure = pool_.acquire(deadline, lease);
    if (!trip.failure) {
        if (lease->time_at_log_in()) server_clock_.observe(*lease->time_at_log_in());
        trip.failure = settle(*lease, deadline);
    }
    if (!trip.failure) {
        trip.connection = lease->identity();
        std::size_t sent = 0;
        trip.failure = execute(*lease, commands, deadline, on_reply, sent);
        const bool answered = !trip.failure || trip.failure.kind == Failure::Kind::not_ready;
        trip.sent = sent != 0 && !answered;
        if (answered) lease.give_back();
    }
    passage.finish(trip.failure);
    if (trip.failure && trip.failure.kind != Failure::Kind::backing_off) report(trip.failure.message());
    return trip;
}

template <class Ask>
Failure RedisClient::eval_with(Ask ask, const RedisScript& script, std::string_view key,
                               std::initializer_list<std::string_view> arguments, Reply& answer) {
    for (const bool by_name : {true, false}) {
        Pipeline commands;
        add_script(commands, script, by_name, key, arguments);
        if (Failure failure = ask(commands, [&](std::size_t, Reply& reply) { answer = std::move(reply); }))
            return failure;
        if (!answer.is_error("NOSCRIPT"))
            break;  // it was not run; sending the text runs it and makes it known
    }
    return {};
}

inline RedisClient::Trip RedisClient::eval(const RedisScript& script, std::string_view key,
                                           std::initializer_list<std::string_view> arguments,
                                           Deadline deadline, Reply& answer) {
    Trip trip;
    (void)eval_with(
        [&](const Pipeline& commands, OnReply on_reply) {
            trip = ask(commands, deadline, on_reply);
            return trip.failure;
        },
        script, key, arguments, answer);
    return trip;
}

inline void RedisClient::add_script(Pipeline& commands, const RedisScript& script, bool by_name,
                                    std::string_view key, std::initializer_list<std::string_view> arguments) {
    std::vector<std::string_view> words{by_name ? "EVALSHA" : "EVAL", by_name ? script.sha1 : script.text,
                                        "1", key};
    words.insert(words.end(), arguments.begin(), arguments.end());
    commands.command(words);
}

// --- Unacknowledged writes
// -------------------------------------------------------------------------------------------

/// Erases what is unacknowledged, before anything else is said on a connection that works.
inline Failure RedisClient::settle(Connection& connection, Deadline deadline) {
    if (unacknowledged_.empty()) return {};
    // One thread at a time; the others go on, since reads of what is unacknowledged answer nothing until it
    // is done. What such a thread writes meanwhile may be erased by this: a loss, never an old value.
    const std::unique_lock lock(settling_, std::try_to_lock);
    if (!lock.owns_lock() || Deadline::Clock::now() < settle_again_) return {};
    for (;;) {
        constexpr std::size_t most_keys = 512;
        const Unacknowledged::Batch batch = unacknowledged_.next(most_keys);
        if (batch.empty()) return {};
        bool stuck = false;
        if (Failure failure = settle_batch(connection, batch, deadline, stuck)) return failure;
        if (!stuck) continue;
        // The server answers and refuses (read-only, not permitted): asking with every command would help
        // nobody.
        settle_again_ = Deadline::Clock::now() + std::chrono::milliseconds(100);
        return {};
    }
}

inline Failure RedisClient::settle_batch(Connection& connection, const Unacknowledged::Batch& batch,
                                         Deadline deadline, bool& stuck) {
    Pipeline commands;
    bool killable = true;
    for (const ConnectionIdentity& zombie : batch.zombies) {
        if (connection.identity().run_id.empty()) killable = false;
        if (zombie.run_id != connection.identity().run_id) continue;  // it died with its server
        commands.command({"CLIENT", "KILL", "ID", std::to_string(zombie.client_id)});
    }
    const std::size_t kills = commands.commands();
    const std::string_view erase = erase_command();
    for (const std::string& key : batch.keys) commands.command({erase, "sc:" + key});
    bool again = false;
    std::size_t sent = 0;
    Failure failure = execute(
        connection, commands, deadline,
        [&](std::size_t i, Reply& reply) {
            if (!reply.is_error()) return;
            if (i < kills) {
                killable = false;
            } else if (learn_erase_command(reply)) {
                again = true;
            } else if (!again) {
                stuck = true;
                report("an erase was refused: " + reply.text);
            }
        },
        sent);
    if (failure) return failure;
    if (!killable) {
        report(
            "CLIENT KILL is not permitted: after a write without an answer the namespace is cleared instead");
        unacknowledged_.cannot_kill(batch);
        return {};
    }
    if (again || stuck) return {};
    unacknowledged_.acknowledged(batch);
    for (const std::string& name_space : batch.namespaces) {
        Reply answer;
        failure = eval_with(
            [&](const Pipeline& script, OnReply on_reply) {
                return execute(connection, script, deadline, on_reply, sent);
            },
            epoch_script, epoch_key(name_space),
            {std::to_string(epochs_.highest(name_space)), std::to_string(random_stamp()), "clear"}, answer);
        if (failure) return failure;
        if (take_new_epoch(name_space, answer)) {
            unacknowledged_.cleared(name_space, batch.ticket);
        } else {
            stuck = true;
            report("a new epoch was refused: " + answer.text);
        }
    }
    return {};
}

// --- Epochs
// ----------------------------------------------------------------------------------------------------------

inline std::optional<EpochFields> RedisClient::take_epoch(Reply& reply) {
    if (reply.kind != Reply::Kind::array || reply.elements.size() != 2 || !reply.elements[0].is_text() ||
        !reply.elements[1].is_text() || reply.elements[1].text.empty())
        return std::nullopt;
    const std::optional<std::uint64_t> clear = parse_epoch(reply.elements[0].text);
    if (!clear) return std::nullopt;
    return EpochFields{*clear, std::move(reply.elements[1].text)};
}

inline std::optional<std::uint64_t> RedisClient::take_new_epoch(std::string_view name_space, Reply& answer) {
    const std::optional<EpochFields> fields = take_epoch(answer);
    if (!fields) return std::nullopt;
    const Epochs::Seen seen = epochs_.observe(name_space, fields);
    // Another thread may have seen a newer one meanwhile: it counts, ours is history.
    return seen.epoch ? seen.epoch : epochs_.known(name_space);
}

inline std::optional<std::uint64_t> RedisClient::epoch_after(std::string_view name_space,
                                                             const std::optional<EpochFields>& answer,
                                                             Deadline deadline) {
    const Epochs::Seen seen = epochs_.observe(name_space, answer);
    if (seen.epoch) return seen.epoch;
    Reply reply;
    const Trip trip = eval(epoch_script, epoch_key(name_space),
                           {std::to_string(seen.too_low), std::to_string(random_stamp()), "keep", seen.token},
                           deadline, reply);
    if (trip.failure) return std::nullopt;
    if (reply.is_error()) report("the namespace's epoch could not be made: " + reply.text);
    return take_new_epoch(name_space, reply);
}

inline std::optional<std::uint64_t> RedisClient::epoch_for_writing(std::string_view name_space,
                                                                   Deadline deadline, Failure& failure) {
    if (const std::optional<std::uint64_t> known = epochs_.known(name_space)) return known;
    Pipeline commands;
    const std::string key = epoch_key(name_space);
    add_epoch(commands, key);
    std::optional<EpochFields> fields;
    failure = ask(commands, deadline, [&](std::size_t, Reply& reply) { fields = take_epoch(reply); }).failure;
    if (failure) return std::nullopt;
    return epoch_after(name_space, fields, deadline);
}

inline bool RedisClient::clear(std::string_view name_space, Deadline deadline) {
    const std::uint64_t before = unacknowledged_.now();
    Reply reply;
    const Trip trip =
        eval(epoch_script, epoch_key(name_space),
             {std::to_string(epochs_.highest(name_space)), std::to_string(random_stamp()), "clear"}, deadline,
             reply);
    if (!trip.failure && take_new_epoch(name_space, reply)) {
        unacknowledged_.cleared(name_space, before);
        return true;
    }
    if (!trip.failure) report("a clear was refused: " + reply.text);
    unacknowledged_.add_namespace(name_space);
    return false;
}

// --- Health
// ----------------------------------------------------------------------------------------------------------

inline TierHealth RedisClient::probe(Deadline deadline) {
    const auto started = Deadline::Clock::now();
    Pool::Lease lease;
    Failure failure = pool_.acquire(deadline, lease);
    if (!failure) failure = settle(*lease, deadline);
    if (!failure) {
        Pipeline commands;
        commands.command({"PING"});
        std::size_t sent = 0;
        Failure answer;
        failure = execute(
            *lease, commands, deadline,
            [&](std::size_t, Reply& reply) {
                if (!reply.is_status("PONG"))
                    answer = {Failure::Kind::protocol, 0,
                              "Redis at " + settings_.url.endpoint() + " answered PING with " + reply.text};
            },
            sent);
        if (!failure) failure = answer;
    }
    if (failure) return {false, failure.message()};
    lease.give_back();
    if (breaker_.recovered())
        log_.always(LogLevel::info, "smartcache: Redis at " + settings_.url.endpoint() + " answers again");
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Deadline::Clock::now() - started);
    std::string detail = "ok: Redis at " + settings_.url.endpoint() + " answered PING in " +
                         std::to_string(took.count()) + " us";
    if (!unacknowledged_.empty()) detail += "; erases are still to be acknowledged";
    return {true, std::move(detail)};
}

inline void RedisClient::maintain(Deadline deadline) {
    pool_.drop_broken();
    if (!unacknowledged_.empty()) settle_now(deadline);
}

}  // namespace smartcache::inline v0::detail
