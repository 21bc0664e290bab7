#pragma once

#include <smartcache/redis/partition.hpp>

namespace smartcache::inline v0::detail {

inline Failure Partition::settle(const Connection& connection, std::uint64_t server, Deadline deadline,
                                 Execute execute) {
    // acquire: pairs with the release below; who sees the server settled sees its keys erased.
    const auto new_server = [&] { return server > settled_server_.load(std::memory_order_acquire); };
    if (unacknowledged.empty() && !new_server()) return {};
    // One thread at a time; the others go on, since reads of what is unacknowledged answer nothing until it
    // is done. What such a thread writes meanwhile may be erased by this: a loss, never an old value.
    std::unique_lock lock(settling_, std::try_to_lock);
    // But a read that began when nothing was unacknowledged would believe a new server.
    while (!lock.owns_lock() && new_server()) {
        if (deadline.passed())
            return {
                Failure::Kind::busy, 0,
                "Redis at " + connection.server().endpoint() + ": erases on the new master are under way"};
        ::poll(nullptr, 0, 1);
        static_cast<void>(lock.try_lock());
    }
    if (!lock.owns_lock()) return {};
    if (!new_server() && Deadline::Clock::now() < settle_again_) return {};
    if (Failure failure = settle_all(connection, server, execute)) return failure;
    if (new_server()) settled_server_.store(server, std::memory_order_release);
    return {};
}

inline Failure Partition::settle_all(const Connection& connection, std::uint64_t server, Execute execute) {
    for (;;) {
        constexpr std::size_t most_keys = 512;
        const Unacknowledged::Batch batch = unacknowledged.next(most_keys);
        if (batch.empty()) return {};
        bool stuck = false;
        if (Failure failure = settle_batch(connection, server, batch, execute, stuck)) return failure;
        if (changes.replaced(server))
            return {};  // what has been erased here the new one has to erase as well
        if (!stuck) continue;
        // The server answers and refuses (read-only, not permitted, its slot is being moved): asking with every
        // command would help nobody.
        settle_again_ = Deadline::Clock::now() + std::chrono::milliseconds(100);
        return {};
    }
}

inline Failure Partition::settle_batch(const Connection& connection, std::uint64_t server,
                                       const Unacknowledged::Batch& batch, Execute execute, bool& stuck) {
    Pipeline commands;
    bool killable = true;
    for (const ConnectionIdentity& zombie : batch.zombies) {
        if (connection.identity().run_id.empty()) killable = false;
        // It died with its server; or that is the master no longer, and what it still applies gets lost.
        if (zombie.run_id != connection.identity().run_id) continue;
        commands.command({"CLIENT", "KILL", "ID", std::to_string(zombie.client_id)});
    }
    const std::size_t kills = commands.commands();
    std::vector<std::string> names;
    std::vector<std::string> traces;
    for (const std::string& key : batch.keys) {
        names.push_back(record_name(key));
        traces.push_back(common_.tombstone && !no_room_ ? common_.tombstone(key) : std::string());
    }
    for (std::size_t i = 0; i < names.size(); ++i) common_.add_erase(commands, names[i], traces[i]);
    const std::vector<Announcer::Message> messages = common_.announcer.about(batch.keys);
    common_.add_messages(commands, messages, !no_room_);
    bool again = false;
    Failure moved;
    Failure failure = execute(commands, [&](std::size_t i, Reply& reply) {
        if (!reply.is_error()) return;
        if (i >= kills + traces.size()) {
            (void)common_.learn_of_messages(messages.size(), i - kills - traces.size(), reply);
        } else if (i < kills) {
            killable = false;
        } else if (reply.is_error("MOVED ")) {
            moved = {Failure::Kind::redirected, 0, reply.text};
        } else if (common_.learn_erase_command(reply) || (reply.is_error("OOM") && !no_room_)) {
            again = true;
            no_room_ = reply.is_error("OOM");
        } else if (!again) {
            stuck = true;
            common_.report("an erase was refused: " + reply.text);
        }
    });
    if (failure) return failure;
    if (moved) return moved;
    if (!killable) {
        common_.report(
            "CLIENT KILL is not permitted: after a write without an answer the namespace is cleared instead");
        unacknowledged.cannot_kill(batch);
        return {};
    }
    if (again || stuck) return {};
    no_room_ = false;
    // These erases are changes like any other: the next server may not have heard of them either (R14). Before they count
    // as acknowledged, so that a server that comes in between is told of them again. (A new epoch that another one has not
    // heard of is noticed there, see epochs.hpp.)
    for (const std::string& key : batch.keys) changes.note(key, server);
    unacknowledged.acknowledged(batch);
    return clear_batch(batch, execute, stuck);
}

inline Failure Partition::clear_batch(const Unacknowledged::Batch& batch, Execute execute, bool& stuck) {
    const std::size_t count = batch.namespaces.size();
    std::vector<std::string> keys;
    std::vector<std::vector<std::string>> arguments;
    for (const std::string& name_space : batch.namespaces) {
        keys.push_back(epoch_name(name_space));
        arguments.push_back(
            common_.epoch_arguments(name_space, epochs.highest(name_space), "clear", {}, 0, {}));
    }
    std::vector<Reply> answers(count);
    for (const bool by_name : {true, false}) {
        Pipeline scripts;
        std::vector<std::size_t> asked;
        for (std::size_t i = 0; i < count; ++i) {
            if (!by_name && !answers[i].is_error("NOSCRIPT")) continue;
            const std::vector<std::string_view> words(arguments[i].begin(), arguments[i].end());
            add_script(scripts, epoch_script, by_name, keys[i], std::span(words));
            asked.push_back(i);
        }
        if (asked.empty()) break;
        if (Failure failure =
                execute(scripts, [&](std::size_t i, Reply& reply) { answers[asked[i]] = std::move(reply); }))
            return failure;
    }
    for (std::size_t i = 0; i < count; ++i) {
        if (!common_.learn_no_scripts(answers[i])) continue;
        if (Failure failure = clear_without_script(keys[i], arguments[i], epochs.highest(batch.namespaces[i]),
                                                   execute, answers[i]))
            return failure;
    }
    for (std::size_t i = 0; i < count; ++i) {
        if (answers[i].is_error("MOVED ")) return {Failure::Kind::redirected, 0, std::move(answers[i].text)};
        if (take_new_epoch(batch.namespaces[i], answers[i])) {
            unacknowledged.cleared(batch.namespaces[i], batch.ticket);
        } else {
            stuck = true;
            common_.report("a new epoch was refused: " + answers[i].text);
        }
    }
    return {};
}

/// As `epoch_script` does it, by commands that are right whatever is there: what is missing is made of the server's time, and HINCRBY
/// gives an epoch that nobody has had (R17). Where that turns out to be of no use it is made anew. Tags keep their fields, which
/// say nothing of later records; none is raised, as that takes two commands, between which somebody else may raise it.
/// @param arguments  the script's  @param answer  as the script's, or why it was refused
inline Failure Partition::clear_without_script(std::string_view key,
                                               const std::vector<std::string>& arguments,
                                               std::uint64_t too_low, Execute execute, Reply& answer) {
    std::uint64_t now = 0;
    Pipeline question;
    question.command({"TIME"});
    if (Failure failure = execute(question, [&](std::size_t, Reply& reply) {
            if (const std::optional<std::int64_t> time = milliseconds_of(reply))
                now = (static_cast<std::uint64_t>(*time) + 1) * 1000;
            else
                answer = std::move(reply);
        }))
        return failure;
    if (now == 0) return {};
    const std::string made = std::to_string(std::max(now, too_low));
    std::uint64_t more = 1;
    bool anew = false;
    for (int attempt = 0; attempt < 3; ++attempt) {
        Pipeline commands;
        if (anew) commands.command({"DEL", key});
        for (const std::string_view field : {"clear", "tags", "floor"})
            commands.command({"HSETNX", key, field, made});
        commands.command({"HSETNX", key, "token", arguments[1]});
        const std::size_t raised = commands.commands();
        const std::string by = std::to_string(more);
        commands.command({"HINCRBY", key, "clear", by});
        commands.command({"HMGET", key, "clear", "token", "tags", "floor"});
        const bool tells = arguments.size() > 9;
        if (tells) commands.command({"PUBLISH", arguments[6], arguments[9]});
        if (tells && !arguments[7].empty()) commands.command({"DEL", arguments[7]});
        Reply epoch;
        if (Failure failure = execute(commands, [&](std::size_t i, Reply& reply) {
                if (i == raised) epoch = std::move(reply);
                if (i == raised + 1) answer = std::move(reply);
                if (i > raised + 1) (void)common_.learn_silence(reply);
            }))
            return failure;
        if (epoch.kind == Reply::Kind::integer) {
            Reply copy = answer;
            const auto reached = static_cast<std::uint64_t>(epoch.integer);
            if (!take_epoch(copy)) {
                anew = true;
            } else if (reached > too_low) {
                return {};
            } else {
                more = too_low + 1 - reached;
            }
        } else if (epoch.is_error("WRONGTYPE") ||
                   (epoch.is_error("ERR ") && !epoch.is_error("ERR unknown command"))) {
            anew = true;  // that is no epoch
        } else {
            answer = std::move(epoch);
            return {};
        }
    }
    return {};
}

}  // namespace smartcache::inline v0::detail
