#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <set>
#include <string_view>
#include <utility>

#include <smartcache/redis/client.hpp>
#include <smartcache/redis/sentinel.hpp>

namespace smartcache::inline v0::detail {

inline ConnectionSettings RedisClient::settings_of(const RedisOptions& options, const TierContext& context,
                                                   RedisUrl url, std::size_t max_reply) {
    // What is added to a time must not overflow.
    const Duration connect_timeout = std::min<Duration>(options.connect_timeout, std::chrono::hours(24));
    ConnectionSettings settings{std::move(url), connect_timeout, max_reply, context.background};
    settings.max_elements = 2048;  // EXEC's answer: two for each key of a batch, and some more
    if (settings.url.tls) settings.tls = make_tls_context(options.tls);
    if (settings.url.scheme == RedisUrl::Scheme::sentinel)
        settings.finder = std::make_shared<MasterFinder>(settings);
    return settings;
}

inline RedisClient::RedisClient(const RedisOptions& options, const TierContext& context, RedisUrl url,
                                std::size_t max_reply)
    : connect_timeout_(options.connect_timeout),
      settings_(settings_of(options, context, std::move(url), max_reply)),
      common_(context, options.coherence != Coherence::off, settings_.url.db,
              settings_.url.scheme == RedisUrl::Scheme::cluster,
              [this] { return servers_->breaker() == BreakerState::closed; }) {
    ConnectionSettings settings = settings_;
    if (settings.url.scheme != RedisUrl::Scheme::cluster) {
        partitions_.push_back(std::make_unique<Partition>(common_));
        servers_ = std::make_unique<OneServer>(std::move(settings), options, common_, *partitions_.front());
        return;
    }
    for (const std::string& tag : partition_tags())
        partitions_.push_back(std::make_unique<Partition>(common_, partitions_.size(), tag, learnt_tags_));
    auto cluster = std::make_unique<Cluster>(std::move(settings), options, common_, partitions_);
    cluster_ = cluster.get();
    servers_ = std::move(cluster);
}

inline Trip RedisClient::ask(Partition& partition, const Pipeline& commands, Deadline deadline,
                             OnReply on_reply) {
    std::array<Leg, 1> legs{Leg{&partition, &commands}};
    ask(legs, deadline, [&](std::size_t, std::size_t i, Reply& reply) { on_reply(i, reply); });
    return std::move(legs.front().trip);
}

inline void RedisClient::eval(const RedisScript& script, std::span<Call> calls, Deadline deadline) {
    std::vector<Call*> open;
    for (Call& call : calls) open.push_back(&call);
    for (const bool by_name : {true, false}) {
        std::vector<Pipeline> commands(open.size());
        std::vector<Leg> legs;
        for (std::size_t i = 0; i < open.size(); ++i) {
            const std::vector<std::string_view> arguments(open[i]->arguments.begin(),
                                                          open[i]->arguments.end());
            add_script(commands[i], script, by_name, open[i]->key, arguments);
            legs.push_back({open[i]->partition, &commands[i]});
        }
        ask(legs, deadline,
            [&](std::size_t leg, std::size_t, Reply& reply) { open[leg]->answer = std::move(reply); });
        std::vector<Call*> unknown;
        for (std::size_t i = 0; i < open.size(); ++i) {
            open[i]->trip = std::move(legs[i].trip);
            if (open[i]->trip.failure) continue;
            (void)common_.learn_no_scripts(open[i]->answer);
            if (open[i]->answer.is_error("NOSCRIPT")) unknown.push_back(open[i]);
        }
        open = std::move(unknown);
        if (open.empty()) return;
    }
}

inline Trip RedisClient::eval(const RedisScript& script, Partition& partition, std::string_view key,
                              std::initializer_list<std::string_view> arguments, Deadline deadline,
                              Reply& answer) {
    Trip trip;
    for (const bool by_name : {true, false}) {
        Pipeline commands;
        add_script(commands, script, by_name, key, arguments);
        trip =
            ask(partition, commands, deadline, [&](std::size_t, Reply& reply) { answer = std::move(reply); });
        if (trip.failure) break;
        (void)common_.learn_no_scripts(answer);
        if (!answer.is_error("NOSCRIPT")) break;
    }
    return trip;
}

// --- Unacknowledged writes
// -------------------------------------------------------------------------------------------

inline bool RedisClient::settled() const noexcept {
    return std::all_of(partitions_.begin(), partitions_.end(),
                       [](const auto& each) { return each->unacknowledged.empty(); });
}

inline void RedisClient::settle_now(Deadline deadline) {
    std::vector<Partition*> open;
    for (const auto& each : partitions_)
        if (!each->unacknowledged.empty()) open.push_back(each.get());
    settle(open, deadline);
}

inline void RedisClient::settle_for(std::span<const std::string_view> keys, Deadline deadline) {
    std::vector<Partition*> open;
    for (const std::string_view key : keys)
        if (distrusts(key) && std::find(open.begin(), open.end(), &partition(key)) == open.end())
            open.push_back(&partition(key));
    if (!open.empty()) settle(open, leaving_time(deadline));
}

inline void RedisClient::settle(std::span<Partition* const> partitions, Deadline deadline) {
    const Pipeline nothing;
    std::vector<Leg> legs;
    for (Partition* const each : partitions) legs.push_back({each, &nothing});
    ask(legs, deadline, [](std::size_t, std::size_t, Reply&) {});
}

inline void RedisClient::keep_intents(Intents& intents, std::string_view name_space) {
    Intents::Kept kept = intents.take();
    for (const std::string& text : kept.all) {
        const std::optional<UntoldIntent> intent = UntoldIntent::parse(text);
        if (!intent)
            kept.incomplete = true;
        else if (intent->is_namespace)
            distrust_namespace(intent->name);
        else if (intent->zombie.run_id.empty())
            distrust(intent->name);
        else
            partition(intent->name).unacknowledged.add(intent->name, intent->zombie);
    }
    std::set<std::string_view> spaces;
    if (kept.incomplete) {
        // What is missing may be of any namespace for which the directory was used.
        spaces.insert(name_space);
        for (const std::string& text : kept.all)
            if (const auto intent = UntoldIntent::parse(text))
                spaces.insert(intent->is_namespace ? intent->name : namespace_of(intent->name));
        for (const std::string_view space : spaces) distrust_namespace(space);
    }
    if (!settled())
        common_.log(LogLevel::info,
                    "smartcache: an earlier process has left erases that Redis is to be told of");
    // They are kept already, so the place for others is told only now.
    common_.untold.begin(intents,
                         [this] { report("an erase that Redis was not told of is not kept on the disk"); });
    // Who finds what is missing here after this process must know of them, too.
    for (const std::string_view space : spaces)
        (void)common_.untold.add({.is_namespace = true, .name = space});
}

/// Sees whether partitions are still at the servers that have acknowledged what was changed lately. Where one is not, the trip
/// erases that at the new one: who has nothing to ask must not leave it to others to find the old values there (R14).
inline void RedisClient::visit_changed(Deadline deadline) {
    std::vector<Partition*> open;
    for (const auto& each : partitions_)
        if (each->changes.pending()) open.push_back(each.get());
    std::vector<Pipeline> commands(open.size());
    std::vector<Leg> legs;
    for (std::size_t i = 0; i < open.size(); ++i) {
        // A node of a cluster answers for a key only if it serves that.
        commands[i].command({"GETRANGE", open[i]->record_name({}), "0", "0"});
        legs.push_back({open[i], &commands[i]});
    }
    if (!legs.empty()) ask(legs, deadline, [](std::size_t, std::size_t, Reply&) {});
}

// --- Epochs
// ----------------------------------------------------------------------------------------------------------

inline RedisClient::Call RedisClient::epoch_call(Partition& partition, std::string_view name_space,
                                                 std::string_view what, const Epochs::Seen& seen,
                                                 std::string_view field) const {
    return {&partition, partition.epoch_name(name_space),
            common_.epoch_arguments(name_space, seen.too_low, what, seen.token, seen.tags, field)};
}

inline void RedisClient::understand(std::span<Space* const> spaces, Deadline deadline) {
    std::vector<Call> calls;
    std::vector<Space*> lost;
    for (Space* const space : spaces) {
        if (space->untold) {
            space->epoch = space->partition->epochs.known(space->name);
            continue;
        }
        const Epochs::Seen seen = space->partition->epochs.observe(space->name, space->answer);
        space->epoch = seen.epoch;
        if (seen.epoch) continue;
        calls.push_back(epoch_call(*space->partition, space->name, "keep", seen, {}));
        lost.push_back(space);
    }
    if (calls.empty()) return;
    eval(epoch_script, calls, deadline);
    bool cleared = false;
    for (std::size_t i = 0; i < calls.size(); ++i) {
        if (calls[i].trip.failure || !common_.learn_no_scripts(calls[i].answer)) continue;
        lost[i]->partition->unacknowledged.add_namespace(lost[i]->name);
        cleared = true;
    }
    if (cleared) settle_now(deadline);
    for (std::size_t i = 0; i < calls.size(); ++i) {
        lost[i]->failure = calls[i].trip.failure;
        if (calls[i].trip.failure) continue;
        if (common_.learn_no_scripts(calls[i].answer)) {
            lost[i]->epoch = lost[i]->partition->epochs.known(lost[i]->name);
            continue;
        }
        if (calls[i].answer.is_error())
            report("the namespace's epoch could not be made: " + calls[i].answer.text);
        lost[i]->epoch = lost[i]->partition->take_new_epoch(lost[i]->name, calls[i].answer);
        lost[i]->remade = !lost[i]->answer && lost[i]->epoch;
    }
}

inline void RedisClient::epochs_for_writing(std::span<Space* const> spaces, Deadline deadline) {
    std::vector<Space*> open;
    for (Space* const space : spaces) {
        space->epoch = space->partition->epochs.known(space->name);
        if (!space->epoch) open.push_back(space);
    }
    if (open.empty()) return;
    std::vector<Pipeline> commands(open.size());
    std::vector<Leg> legs;
    for (std::size_t i = 0; i < open.size(); ++i) {
        open[i]->ask_epoch(commands[i]);
        legs.push_back({open[i]->partition, &commands[i]});
    }
    deadline = leaving_time(deadline);
    ask(legs, deadline,
        [&](std::size_t leg, std::size_t, Reply& reply) { open[leg]->answer = take_epoch(reply); });
    std::vector<Space*> answered;
    for (std::size_t i = 0; i < open.size(); ++i) {
        open[i]->failure = legs[i].trip.failure;
        if (!legs[i].trip.failure) answered.push_back(open[i]);
    }
    understand(answered, deadline);
}

inline bool RedisClient::clear(std::string_view name_space, Deadline deadline) {
    std::vector<Call> calls;
    std::vector<std::uint64_t> before;
    for (const auto& each : partitions_) {
        before.push_back(each->unacknowledged.now());
        calls.push_back(
            epoch_call(*each, name_space, "clear", {std::nullopt, each->epochs.highest(name_space)}, {}));
    }
    eval(epoch_script, calls, deadline);
    bool all = true;
    for (std::size_t i = 0; i < calls.size(); ++i) {
        Call& call = calls[i];
        if (!call.trip.failure && call.partition->take_new_epoch(name_space, call.answer)) {
            call.partition->unacknowledged.cleared(name_space, before[i]);
            continue;
        }
        if (!call.trip.failure) report("a clear was refused: " + call.answer.text);
        call.partition->unacknowledged.add_namespace(name_space);
        all = false;
    }
    return all || cleared_without_scripts(name_space, deadline);
}

/// Where the server lets us run no script, what is unacknowledged is settled without.
inline bool RedisClient::cleared_without_scripts(std::string_view name_space, Deadline deadline) {
    if (!common_.lacks_scripts()) return false;
    settle_now(deadline);
    const std::string any = physical_key(name_space, {});
    return std::none_of(partitions_.begin(), partitions_.end(),
                        [&](const auto& each) { return each->unacknowledged.distrusts(any); });
}

// --- Tags
// ------------------------------------------------------------------------------------------------------------

inline std::uint64_t RedisClient::tag_seq(std::string_view name_space) const {
    if (partitions_.size() == 1) return partitions_.front()->epochs.tags(name_space).count;
    const std::lock_guard lock(learning_);
    // acquire: pairs with the count's change in Epochs::observe.
    return known_everywhere_.contains(name_space) ? learnt_tags_.load(std::memory_order_acquire) : 0;
}

inline std::uint64_t RedisClient::tags_seen(std::string_view key, std::uint64_t tag_seq) const {
    const Epochs& epochs = partition(key).epochs;
    const std::string_view name_space = namespace_of(key);
    if (partitions_.size() > 1) return tag_seq == 0 ? 0 : epochs.tags_at(name_space, tag_seq);
    return tag_seq == RecordView::tags_of_now ? epochs.tags(name_space).count : tag_seq;
}

inline void RedisClient::learn(std::string_view name_space, Deadline deadline) {
    if (partitions_.size() == 1) return;
    {
        const std::lock_guard lock(learning_);
        const auto now = Deadline::Clock::now();
        if (known_everywhere_.contains(name_space) || now < learn_again_) return;
        learn_again_ = now + std::chrono::seconds(1);
    }
    std::vector<Space> spaces;
    std::vector<Space*> unknown;
    spaces.reserve(partitions_.size());
    for (const auto& each : partitions_) {
        if (each->epochs.knows(name_space)) continue;
        spaces.push_back({each.get(), name_space});
        unknown.push_back(&spaces.back());
    }
    epochs_for_writing(unknown, deadline);
    const bool all =
        std::all_of(spaces.begin(), spaces.end(), [](const Space& space) { return space.epoch.has_value(); });
    const std::lock_guard lock(learning_);
    if (!all) return;
    learn_again_ = {};
    constexpr std::size_t most_namespaces = 1024;
    if (known_everywhere_.size() >= most_namespaces) known_everywhere_.clear();
    known_everywhere_.emplace(name_space);
}

inline bool RedisClient::change_tag(std::string_view name_space, const std::string& field,
                                    Deadline deadline) {
    std::vector<Call> calls;
    for (const auto& each : partitions_)
        calls.push_back(epoch_call(*each, name_space, "tag", each->epochs.last(name_space), field));
    eval(epoch_script, calls, deadline);
    bool all = true;
    for (Call& call : calls) {
        if (!call.trip.failure && call.partition->take_new_epoch(name_space, call.answer)) {
            call.partition->changes.note_namespace(name_space, call.trip.server);
            continue;
        }
        if (!call.trip.failure) report("a change of a tag was refused: " + call.answer.text);
        // Which records have it, nobody here knows: until the namespace is cleared instead, it answers nothing (R11).
        call.partition->unacknowledged.add_namespace(name_space);
        all = false;
    }
    return all || cleared_without_scripts(name_space, deadline);
}

inline TierHealth RedisClient::probe(Deadline deadline) {
    TierHealth health = servers_->probe(deadline);
    if (!health.ok) return health;
    // A script that finds nothing to do tells whether there are any.
    Partition& partition = *partitions_.front();
    Reply answer;
    (void)eval(unlock_script, partition, partition.lock_name({}), {std::string_view()}, deadline, answer);
    if (!settled()) health.detail += "; erases are still to be acknowledged";
    if (common_.lacks_scripts())
        health.detail +=
            "; scripts (EVALSHA, EVAL) are not permitted: there is no update, increment, set_if_absent, take "
            "or touch, nothing is loaded over what was erased less than a minute ago, locks last their time, "
            "and a change of a tag ends the whole namespace";
    return health;
}

}  // namespace smartcache::inline v0::detail
