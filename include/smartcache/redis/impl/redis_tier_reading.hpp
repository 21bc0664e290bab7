#pragma once

// RedisTier: reads.

#include <algorithm>
#include <chrono>
#include <deque>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include <smartcache/redis/redis_tier.hpp>

namespace smartcache::inline v0 {

inline TierStatus RedisTier::read(std::string_view key, Found found) {
    const auto started = std::chrono::steady_clock::now();
    if (client_.refuses(key, started)) {  // which must not cost more than a miss without Redis
        counters_.add(Event::misses);
        return client_.distrusts(key) ? TierStatus::miss : TierStatus::unavailable;
    }
    Fetched fetched;
    guarded({}, [&] {
        if (const detail::Failure failure = look({&key, 1}, {&fetched, 1}, deadline())) (void)failed(failure);
    });
    const TierStatus status = count_read(fetched);
    keep_on(fetched);
    latency_.record(std::chrono::steady_clock::now() - started);
    if (fetched.told()) found(fetched.record);  // no connection, no lock is held
    return status;
}

inline void RedisTier::read_many(std::span<const std::string_view> keys, FoundAt found) {
    bool reachable = true;
    const auto size_of = [&](std::size_t i) { return keys[i].size() + 64; };
    in_chunks(keys.size(), size_of, [&](std::size_t first, std::size_t count) {
        std::vector<Fetched> fetched;
        const auto started = std::chrono::steady_clock::now();
        guarded({}, [&] {
            fetched.resize(count);
            if (!reachable) return;  // one deadline is enough to learn that
            if (const detail::Failure failure = look(keys.subspan(first, count), fetched, deadline()))
                (void)failed(failure);
            reachable = std::any_of(fetched.begin(), fetched.end(),
                                    [](const Fetched& each) { return each.verdict != Verdict::unknown; });
        });
        if (reachable) latency_.record(std::chrono::steady_clock::now() - started);
        for (std::size_t i = 0; i < fetched.size(); ++i) {
            (void)count_read(fetched[i]);
            keep_on(fetched[i]);
            if (fetched[i].told()) found(first + i, fetched[i].record);
        }
        return true;
    });
}

inline TierStatus RedisTier::peek(std::string_view key, Found found) {
    const TierStatus status = look_at(key, found);
    // Whoever peeks may decide by the answer, and that a key is distrusted is none of the server's.
    return status == TierStatus::miss && client_.distrusts(key) ? TierStatus::unavailable : status;
}

inline TierStatus RedisTier::look_at(std::string_view key, Found found) {
    Fetched fetched;
    guarded({}, [&] {
        if (const detail::Failure failure = look({&key, 1}, {&fetched, 1}, deadline())) (void)failed(failure);
    });
    if (fetched.verdict == Verdict::unknown) return TierStatus::unavailable;
    if (fetched.told()) found(fetched.record);  // no connection, no lock is held
    return fetched.verdict == Verdict::live ? TierStatus::ok : TierStatus::miss;
}

inline TierStatus RedisTier::contains(std::string_view key) {
    // The whole record is read: `contains` must not promise what `read` then finds damaged.
    bool there = false;
    const TierStatus status = look_at(key, [&](const RecordView& record) {
        there = record.fresh_at(wall()) && !record.negative && !record.tombstone;
    });
    return status == TierStatus::ok && !there ? TierStatus::miss : status;
}

inline TierStatus RedisTier::count_read(const Fetched& fetched) noexcept {
    counters_.add(fetched.verdict == Verdict::live ? Event::hits : Event::misses);
    if (fetched.verdict == Verdict::live) return TierStatus::ok;
    return fetched.verdict == Verdict::unknown ? TierStatus::unavailable : TierStatus::miss;
}

/// What is read and has no end of its own is to stay (R19).
inline void RedisTier::keep_on(const Fetched& fetched) noexcept {
    if (fetched.verdict != Verdict::live || !lives_for_ever(fetched.record)) return;
    guarded({}, [&] { renewals_.note(fetched.record, wall()); });
}

/// Fetches those keys whose record in Redis may be believed, and tidies up what is no record.
inline detail::Failure RedisTier::look(std::span<const std::string_view> keys, std::span<Fetched> results,
                                       detail::Deadline deadline) {
    const auto distrusted = [&](std::string_view key) { return client_.distrusts(key); };
    client_.settle_for(keys, deadline);
    if (keys.size() == 1) {
        results[0].distrust();
        if (distrusted(keys[0])) return {};
        Fetched* const wanted = &results[0];
        detail::Failure failure = fetch(keys, {&wanted, 1}, deadline);
        if (distrusted(keys[0])) wanted->distrust();
        if (wanted->verdict == Verdict::corrupt) drop(keys[0], *wanted, deadline);
        return failure;
    }
    std::vector<std::string_view> trusted;
    std::vector<Fetched*> wanted;
    trusted.reserve(keys.size());
    wanted.reserve(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
        // R11: while it is unacknowledged, Redis has nothing to say about it
        results[i].distrust();
        if (distrusted(keys[i])) continue;
        trusted.push_back(keys[i]);
        wanted.push_back(&results[i]);
    }
    if (trusted.empty()) return {};
    detail::Failure failure = fetch(trusted, wanted, deadline);
    // The trip may have led to another server than those before, where more is unacknowledged.
    for (std::size_t i = 0; i < trusted.size(); ++i)
        if (distrusted(trusted[i])) wanted[i]->distrust();
    for (std::size_t i = 0; i < trusted.size(); ++i)
        if (wanted[i]->verdict == Verdict::corrupt) drop(trusted[i], *wanted[i], deadline);
    return failure;
}

/// One round trip: the values, and behind them the epochs by which they are judged.
///
/// GETRANGE, so that a foreign value of any size costs at most what a record of ours may. A server takes four times as long for
/// a hundred of those as for one MGET, so several are asked for at once until that turns out to be of no use: because of such a
/// value, or of rights. What is no string is nothing then, and found out by whoever wants to put something there. In a
/// cluster MGET would be refused (TRYAGAIN) while keys move, of which each can be had where it is.
/// @return why some are unknown
inline detail::Failure RedisTier::fetch(std::span<const std::string_view> keys,
                                        std::span<Fetched* const> results, detail::Deadline deadline) {
    for (Fetched* const each : results) each->verdict = Verdict::unknown;
    std::vector<Names> parts = names_of(keys);
    std::vector<detail::Pipeline> commands(parts.size());
    std::vector<detail::Leg> legs;
    legs.reserve(parts.size());
    const bool at_once = keys.size() > 1 && parts.size() == 1 && client_.cluster() == nullptr &&
                         !one_by_one_.load(std::memory_order_relaxed);
    bool refused = false;
    for (std::size_t part = 0; part < parts.size(); ++part) {
        Names& names = parts[part];
        constexpr std::size_t around = 64;  // a name, or a question for an epoch
        commands[part].expect(names.bytes() + around * names.size() + 3 * around);
        if (at_once) names.add_all(commands[part], "MGET");
        for (std::size_t i = 0; i < names.size() && !at_once; ++i)
            commands[part].command({"GETRANGE", names.name(i), "0", last_byte_});
        names.add_epochs(commands[part]);
        if (context_.time.injected() == nullptr && names.partition().clock.due())
            commands[part].command({"TIME"});
        legs.push_back({&names.partition(), &commands[part]});
    }

    const auto sent = std::chrono::steady_clock::now();
    client_.ask(legs, deadline, [&](std::size_t part, std::size_t i, detail::Reply& reply) {
        Names& names = parts[part];
        if (at_once && i == 0) {
            refused = reply.is_error("NOPERM") || reply.is_error("ERR unknown command");
            if (reply.is_error() && !refused) (void)failed(reply);
            for (std::size_t k = 0; k < names.size() && reply.elements.size() == names.size(); ++k)
                take_value(reply.elements[k], *results[names.at(k)]);
            return;
        }
        const std::size_t values = at_once ? 1 : names.size();
        if (i < values) return take_value(reply, *results[names.at(i)]);
        if (i < values + names.spaces().size()) return names.take_epoch(i - values, reply);
        if (const std::optional<std::int64_t> server = detail::milliseconds_of(reply))
            names.partition().clock.observe(
                detail::ServerTime::between(*server, sent, std::chrono::steady_clock::now()));
    });
    if (at_once && (refused || legs[0].trip.failure.kind == detail::Failure::Kind::too_long)) {
        one_by_one_.store(true, std::memory_order_relaxed);
        return fetch(keys, results, deadline);
    }
    client_.understand(Names::spaces_of(parts, legs), deadline);
    detail::Failure failure;
    for (std::size_t part = 0; part < parts.size(); ++part) {
        Names& names = parts[part];
        if (legs[part].trip.failure && !failure) failure = legs[part].trip.failure;
        // Not from before the server was asked: what came in since would look unborn.
        const WallTime wall_now = wall();
        const Moment now{wall_now, server_ahead(names.partition(), wall_now)};
        for (std::size_t i = 0; i < names.size(); ++i) {
            Fetched& fetched = *results[names.at(i)];
            if (legs[part].trip.failure)
                fetched.verdict = Verdict::unknown;
            else
                judge(keys[names.at(i)], names.space_of(i), now, fetched);
        }
    }
    judge_tags(keys, results, deadline);
    for (Names& names : parts)
        for (const Names::Space& space : names.spaces()) client_.learn(space.name, deadline);
    return failure;
}

/// What has become of the tags of the records since those were written; where something has changed since then and this
/// process has not learnt what, another round trip.
inline void RedisTier::judge_tags(std::span<const std::string_view> keys, std::span<Fetched* const> results,
                                  detail::Deadline deadline) {
    struct Question {
        std::string_view name_space;
        std::string_view tag;
        std::uint64_t count;
        std::uint64_t epoch;
        std::optional<detail::TagFields> fields;
    };
    struct Part {
        detail::Pipeline commands;
        std::deque<std::string> words;  // of the commands, which only refer to long ones
        std::vector<std::size_t> questions;
        [[nodiscard]] std::string_view keep(std::string word) { return words.emplace_back(std::move(word)); }
    };
    std::vector<Question> asked;
    std::vector<std::pair<std::size_t, std::size_t>> open;  // a result, and the first question about it
    std::map<detail::Partition*, Part> parts;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        Fetched& fetched = *results[i];
        if (fetched.verdict != Verdict::live || fetched.record.tags.empty()) continue;
        const std::string_view name_space = detail::namespace_of(keys[i]);
        detail::Partition& partition = client_.partition(keys[i]);
        const detail::Epochs::Tags now = partition.epochs.tags(name_space);
        if (fetched.record.tag_seq < now.floor) fetched.end();
        if (fetched.verdict == Verdict::dead || fetched.record.tag_seq >= now.count) continue;
        open.emplace_back(i, asked.size());
        for (const std::string_view tag : fetched.record.tags) {
            asked.push_back({name_space, tag, now.count, fetched.record.created_seq,
                             partition.epochs.tag(name_space, tag, now.count)});
            if (asked.back().fields) continue;
            Part& part = parts[&partition];
            part.questions.push_back(asked.size() - 1);
            part.commands.command({"HMGET", part.keep(partition.epoch_name(name_space)),
                                   part.keep("e:" + std::string(tag)), part.keep("x:" + std::string(tag)),
                                   "tags", "floor", "clear"});
        }
    }
    if (open.empty()) return;
    std::vector<detail::Leg> legs;
    std::vector<const Part*> part_of;
    for (const auto& [partition, part] : parts) {
        legs.push_back({partition, &part.commands});
        part_of.push_back(&part);
    }
    if (!legs.empty())
        client_.ask(legs, deadline, [&](std::size_t leg, std::size_t i, detail::Reply& reply) {
            Question& question = asked[part_of[leg]->questions[i]];
            if (reply.kind != detail::Reply::Kind::array || reply.elements.size() != 5) return;
            const auto number = [&reply](std::size_t field) {
                return reply.elements[field].is_text() ? detail::parse_tag_count(reply.elements[field].text)
                                                       : 0;
            };
            // Cleared since the record was read, or lost: then its tag's fields are gone, and say nothing of it.
            if (number(4) != question.epoch || number(2) < question.count) {
                question.fields = {std::numeric_limits<std::uint64_t>::max(), 0};
                return;
            }
            question.fields = {std::max(number(0), number(3)), number(1)};
            // The same as before the records were read, so nothing has changed in between.
            if (number(2) == question.count)
                legs[leg].partition->epochs.learn_tag(question.name_space, question.tag, question.count,
                                                      *question.fields);
        });
    const auto failure = std::find_if(
        legs.begin(), legs.end(), [](const detail::Leg& leg) { return static_cast<bool>(leg.trip.failure); });
    if (failure != legs.end()) (void)failed(failure->trip.failure);
    const WallTime now = wall();
    for (const auto& [index, first] : open) {
        Fetched& fetched = *results[index];
        bool expired = false;
        for (std::size_t i = 0; i < fetched.record.tags.size(); ++i) {
            const std::optional<detail::TagFields>& fields = asked[first + i].fields;
            if (!fields) {
                fetched.verdict = Verdict::unknown;
            } else {
                if (fields->erased > fetched.record.tag_seq) fetched.end();
                expired = expired || fields->expired > fetched.record.tag_seq;
            }
        }
        if (expired) fetched.record.make_stale();
        if (expired && fetched.verdict == Verdict::live && fetched.record.dead_at(now)) fetched.end();
    }
}

inline void RedisTier::take_value(detail::Reply& reply, Fetched& fetched) {
    if (reply.is_text() && !reply.text.empty()) {
        fetched.verdict = Verdict::live;  // until it is judged
        fetched.bytes = std::move(reply.text);
    } else if (reply.is_error("WRONGTYPE")) {
        fetched.verdict = Verdict::corrupt;
        fetched.is_string = false;
    } else if (reply.is_error()) {
        fetched.verdict = Verdict::unknown;
        (void)failed(reply);
    } else {
        fetched.verdict = Verdict::absent;
    }
}

inline void RedisTier::judge(std::string_view key, const detail::RedisClient::Space& space, Moment now,
                             Fetched& fetched) {
    const std::optional<std::uint64_t>& epoch = space.epoch;
    if (fetched.verdict == Verdict::corrupt) counters_.add(Event::corrupt);
    if (fetched.verdict == Verdict::absent && epoch) fetched.record = nothing_since(*epoch, space.remade);
    if (fetched.verdict != Verdict::live) return;
    std::optional<ByteView> bytes = as_byte_view(fetched.bytes);
    if (integrity_) bytes = integrity_->verified(key, *bytes);
    const ParsedRecord parsed =
        bytes ? parse_record(*bytes, context_.limits) : ParsedRecord{RecordError::bad_checksum, {}};
    if (!parsed || parsed.record.key != key) {
        counters_.add(Event::corrupt);
        fetched.verdict = Verdict::corrupt;
        return;
    }
    fetched.record = parsed.record;
    if (!epoch) {
        fetched.verdict = Verdict::unknown;
        return;
    }
    to_our_time(fetched.record, now);
    if (fetched.record.tombstone) {
        fetched.verdict = Verdict::trace;
    } else if (fetched.record.created_seq != *epoch) {
        fetched.end();
    } else if (fetched.record.dead_at(now.wall)) {
        counters_.add(Event::expirations);
        fetched.verdict = Verdict::trace;
        fetched.record.tombstone = true;
    }
    // What a fill depends on is the epoch in which it was seen, whatever its writer knew.
    if (fetched.record.tombstone) fetched.record.created_seq = *epoch;
}

/// That a key had nothing when its namespace's epoch was this one.
inline RecordView RedisTier::nothing_since(std::uint64_t epoch, bool remade) noexcept {
    RecordView nothing;
    nothing.tombstone = true;
    nothing.created_seq = epoch;
    nothing.negative = remade;
    return nothing;
}

/// From the server's time to ours.
inline void RedisTier::to_our_time(RecordView& record, Moment now) const noexcept {
    record.created -= now.ahead;
    if (record.expires != WallTime::max()) {
        record.expires -= now.ahead;
        record.stale_until -= now.ahead;
    }
    // The server's clock is read over a network: a record that seems to be from the next second was written
    // just now, by a process that read it a little differently. One from farther in the future is dead (R26).
    constexpr Duration tolerance = std::chrono::seconds(1);
    const bool estimated = context_.time.injected() == nullptr;
    if (estimated && record.created > now.wall && record.created - now.wall <= tolerance)
        record.created = now.wall;
}

/// Deletes what is not a record of this key, so that fills, which never overwrite, can come in. By comparing,
/// so that a record written meanwhile stays.
inline void RedisTier::drop(std::string_view key, const Fetched& fetched, detail::Deadline deadline) {
    detail::Partition& partition = client_.partition(key);
    const std::string name = partition.record_name(key);
    const std::string_view head = std::string_view(fetched.bytes).substr(0, detail::RecordHead::max_size);
    detail::Reply answer;
    if (fetched.is_string)
        (void)client_.eval(detail::drop_script, partition, name, {head}, deadline, answer);
    else
        (void)client_.eval(detail::drop_script, partition, name, {}, deadline, answer);
}

}  // namespace smartcache::inline v0
