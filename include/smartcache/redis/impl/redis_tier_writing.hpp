#pragma once

// RedisTier: writes, erases, changes of lifetime.

#include <algorithm>
#include <array>
#include <utility>

#include <smartcache/record/varint.hpp>
#include <smartcache/redis/redis_tier.hpp>

namespace smartcache::inline v0 {

/// A record as it goes to Redis, in the server's time, and how long Redis keeps it.
struct RedisTier::Encoded {
    ByteSink bytes;
    std::string lifetime;  ///< in ms; "0": for ever

    void add_set(detail::Pipeline& commands, std::string_view name, bool if_absent) const {
        std::array<std::string_view, 6> words{"SET", name, as_text_view(bytes.view())};
        std::size_t count = 3;
        if (lifetime != "0") {
            words[count++] = "PX";
            words[count++] = lifetime;
        }
        if (if_absent) words[count++] = "NX";
        commands.command(std::span(words).first(count));
    }
};

/// @param epoch  goes into `created_seq`, whatever was there
inline RedisTier::Encoded RedisTier::encode(const RecordView& record, std::uint64_t epoch) {
    const WallTime now = wall();
    const Duration ahead = server_ahead(record.key, now);
    RecordView copy = record;
    copy.created_seq = epoch;
    copy.created += ahead;
    const WallTime end = std::max(record.expires, record.stale_until);
    Encoded encoded;
    encoded.lifetime = "0";
    if (record.expires != WallTime::max()) {
        copy.expires += ahead;
        copy.stale_until = end > record.expires ? saturating_add(end, ahead) : WallTime{};
        // Kept as a trace for a while, though it may have ended (R7).
        const std::int64_t least = coherent() ? Duration(detail::RedisCommon::trace_length).count() : 1;
        const auto left = static_cast<std::uint64_t>(std::max<std::int64_t>((end - now).count(), least));
        encoded.lifetime = std::to_string(std::min(left, detail::max_record_length));
    }
    encode_record(copy, encoded.bytes);
    if (integrity_) integrity_->sign(copy.key, encoded.bytes);
    return encoded;
}

/// What says that a key was erased, for fills that began before (R7).
inline std::string RedisTier::tombstone(std::string_view key, Trace trace) {
    RecordView record;
    record.key = key;
    record.tombstone = true;
    // By its upper half we know it again.
    record.stamp = own_stamps_ << 32U | (random_stamp() >> 32U & ~1U) | (trace == Trace::own ? 1U : 0U);
    record.created = wall();
    record.expires = saturating_add(record.created, Duration(detail::RedisCommon::trace_length));
    const detail::Epochs& epochs = client_.partition(key).epochs;
    return std::string(as_text_view(encode(record, epochs.highest(detail::namespace_of(key))).bytes.view()));
}

/// Whether the limits allow it; counted when not. What is dead already is not stored either.
inline bool RedisTier::storable(const RecordView& record) noexcept {
    const RecordLimits& limits = context_.limits;
    constexpr std::size_t head = 128 + detail::IntegrityKey::mac_size;
    const bool fits =
        record.key.size() <= limits.max_key_size && record.raw_size <= limits.max_value_size &&
        record.payload.size() <= limits.max_value_size &&
        head + record.key.size() + record.payload.size() + record.tags.encoded().size() <= max_record_;
    if (!fits) counters_.add(Event::rejected);
    return fits && std::max(record.expires, record.stale_until) > wall();
}

inline TierStatus RedisTier::write(const RecordView& record, WriteCondition condition) {
    TierStatus status = TierStatus::unavailable;
    if (condition.kind == WriteCondition::Kind::always)
        guarded({&record.key, 1}, [&] { store({&record, 1}, {&status, 1}); });
    else
        guarded({&record.key, 1}, [&] { status = fill(record, condition); });
    return status;
}

inline std::vector<TierStatus> RedisTier::write_many(std::span<const RecordView> records) {
    std::vector<TierStatus> statuses(records.size(), TierStatus::unavailable);
    const auto size_of = [&](std::size_t i) {
        return records[i].key.size() + records[i].payload.size() + records[i].tags.encoded().size() + 128;
    };
    in_chunks(records.size(), size_of, [&](std::size_t first, std::size_t count) {
        std::vector<std::string_view> keys;
        for (const RecordView& record : records.subspan(first, count)) keys.push_back(record.key);
        guarded(keys,
                [&] { store(records.subspan(first, count), std::span(statuses).subspan(first, count)); });
        return true;
    });
    return statuses;
}

/// Callers' writes: unconditional. Where one does not end in `ok`, the older value is erased or distrusted
/// (R3).
inline void RedisTier::store(std::span<const RecordView> records, std::span<TierStatus> statuses) {
    std::vector<std::size_t> open;
    std::vector<std::size_t> refused;
    for (std::size_t i = 0; i < records.size(); ++i) (storable(records[i]) ? open : refused).push_back(i);
    if (!refused.empty()) {
        std::vector<std::string_view> keys;
        for (const std::size_t i : refused) keys.push_back(records[i].key);
        std::vector<TierStatus> erased(keys.size(), TierStatus::unavailable);
        erase_all(keys, erased);
        for (const std::size_t i : refused) statuses[i] = TierStatus::rejected;
    }
    // A clear by another process between our knowledge and our write makes the record invalid as it arrives.
    // We are still inside the caller's `set`, so writing again, after the clear, is a legal order of the two.
    constexpr int attempts = 3;
    const detail::Deadline until = deadline();
    for (int attempt = 0; attempt < attempts && !open.empty(); ++attempt)
        open = store_once(records, open, statuses, until);
}

/// One round trip. @return those that have to be written again, with a newer epoch
inline std::vector<std::size_t> RedisTier::store_once(std::span<const RecordView> records,
                                                      std::span<const std::size_t> chosen,
                                                      std::span<TierStatus> statuses,
                                                      detail::Deadline deadline) {
    std::vector<std::string_view> keys;
    for (const std::size_t i : chosen) {
        keys.push_back(records[i].key);
        statuses[i] = TierStatus::unavailable;
    }
    std::vector<Names> parts = names_of(keys);
    detail::Failure failure;
    const auto give_up = [&](const Names& names, const detail::Trip& trip) {
        for (std::size_t i = 0; i < names.size(); ++i) client_.distrust(keys[names.at(i)], trip);
        if (!failure) failure = trip.failure;
    };
    std::vector<Names::Space*> spaces;
    for (Names& names : parts)
        for (Names::Space& space : names.spaces()) spaces.push_back(&space);
    client_.epochs_for_writing(spaces, deadline);
    std::erase_if(parts, [&](Names& names) {
        for (const Names::Space& space : names.spaces()) {
            if (space.epoch) continue;
            give_up(names, {space.failure});
            return true;
        }
        return false;
    });

    std::vector<Encoded> encoded;  // in the order of the keys of all parts
    encoded.reserve(chosen.size());
    std::vector<detail::Pipeline> commands(parts.size());
    std::vector<detail::Leg> legs;
    for (std::size_t part = 0; part < parts.size(); ++part) {
        Names& names = parts[part];
        for (std::size_t i = 0; i < names.size(); ++i) {
            RecordView record = records[chosen[names.at(i)]];
            if (!record.tags.empty()) record.tag_seq = client_.tags_seen(record.key, record.tag_seq);
            encoded.push_back(encode(record, *names.space_of(i).epoch));
            encoded.back().add_set(commands[part], names.name(i), false);
        }
        names.add_epochs(commands[part]);
        legs.push_back({&names.partition(), &commands[part]});
    }
    const std::vector<detail::Announcer::Message> messages = announce(keys, commands, legs, true);

    bool silenced = false;  // to be written again without a message, or not as one step
    std::vector<bool> stored(chosen.size(), false);
    std::vector<std::string> refusals(chosen.size());
    client_.ask(legs, deadline, [&](std::size_t part, std::size_t i, detail::Reply& reply) {
        Names& names = parts[part];
        const std::size_t first = names.size() + names.spaces().size();
        if (i >= first) {
            silenced = client_.common().learn_of_messages(messages.size(), i - first, reply) || silenced;
            return;
        }
        if (i >= names.size()) return names.take_epoch(i - names.size(), reply);
        stored[names.at(i)] = reply.is_status("OK");
        if (!stored[names.at(i)]) refusals[names.at(i)] = std::move(reply.text);
    });

    silenced = silenced || (!legs.empty() && legs.front().atomic && client_.common().lacks_transactions());
    std::vector<std::size_t> again;
    std::vector<Names::Space*> answered = Names::spaces_of(parts, legs);
    std::vector<std::optional<std::uint64_t>> used;
    for (const Names::Space* const space : answered) used.push_back(space->epoch);
    client_.understand(answered, deadline);
    auto next = used.begin();
    for (std::size_t part = 0; part < parts.size(); ++part) {
        Names& names = parts[part];
        const detail::Trip& trip = legs[part].trip;
        if (trip.failure) {
            give_up(names, trip);
            continue;
        }
        const auto used_here = std::exchange(next, next + static_cast<std::ptrdiff_t>(names.spaces().size()));
        for (std::size_t i = 0; i < names.size(); ++i) {
            const std::size_t at = names.at(i);
            const Names::Space& space = names.space_of(i);
            if (stored[at]) client_.changed(keys[at], trip);
            if (!stored[at] && silenced) {
                again.push_back(chosen[at]);
            } else if (!stored[at]) {
                refused(refusals[at]);
                client_.distrust(keys[at]);  // out of memory, for one: the older value is still there
            } else if (space.epoch == used_here[&space - names.spaces().data()]) {
                statuses[chosen[at]] = TierStatus::ok;
                counters_.add(Event::sets);
            } else {
                again.push_back(chosen[at]);
            }
        }
    }
    if (failure) (void)failed(failure);
    return again;
}

/// Fills: only over what L2 answered when the value was missed (R7).
inline TierStatus RedisTier::fill(const RecordView& value, WriteCondition condition) {
    if (!storable(value)) return TierStatus::rejected;
    RecordView record = value;
    if (!record.tags.empty()) record.tag_seq = client_.tags_seen(record.key, record.tag_seq);
    const detail::Deadline until = deadline();
    bool outdated = false;
    const TierStatus status = fill_once(record, condition, until, outdated);
    if (status != TierStatus::refused || outdated || condition.kind == WriteCondition::Kind::if_stamp)
        return status;

    // Something is there. If nobody may have it any more (cleared, expired, no record at all) it was a miss,
    // and is no reason to refuse; it is replaced, unless it changes meanwhile.
    Fetched there;
    Fetched* const wanted = &there;
    if (fetch({&record.key, 1}, {&wanted, 1}, until)) return status;
    switch (there.verdict) {
        case Verdict::dead:
            if (coherent()) break;  // as with a trace
            return fill_once(record, WriteCondition::if_stamp(there.record.stamp, condition.seq), until,
                             outdated);
        case Verdict::absent:  // or an empty string, which GETRANGE does not tell from nothing
        case Verdict::corrupt:
            drop(record.key, there, until);
            return fill_once(record, condition, until, outdated);
        case Verdict::live:
        case Verdict::trace:  // a fill that had seen it would say so
        case Verdict::unknown:
            break;
    }
    return status;
}

/// @param outdated  set when the namespace was cleared since the value was asked for: then it is valid
/// nowhere
inline TierStatus RedisTier::fill_once(const RecordView& record, WriteCondition condition,
                                       detail::Deadline deadline, bool& outdated) {
    Names names(client_.partition(record.key), record.key);
    Names::Space& space = names.space_of(0);
    const std::array<Names::Space*, 1> only{&space};
    client_.epochs_for_writing(only, deadline);
    if (!space.epoch) {
        (void)failed(space.failure);
        return TierStatus::untouched;
    }
    const std::uint64_t epoch = *space.epoch;
    if (condition.seq != 0 && condition.seq != epoch) {  // what was seen has been cleared since
        outdated = true;
        return TierStatus::refused;
    }
    const Encoded encoded = encode(record, epoch);

    ByteSink stamp;  // as it stands in the record
    detail::put_fixed(stamp, condition.stamp);
    const detail::Announcer::Message message = announcement(record.key);
    detail::Reply answer;
    for (const bool by_name : {true, false}) {
        detail::Pipeline commands;
        if (condition.kind == WriteCondition::Kind::if_absent)
            encoded.add_set(commands, names.name(0), true);
        else
            detail::add_script(commands, detail::replace_script, by_name, names.name(0),
                               {as_text_view(stamp.view()), as_text_view(encoded.bytes.view()),
                                encoded.lifetime, message.channel, message.text});
        names.add_epochs(commands);
        const detail::Trip trip =
            client_.ask(names.partition(), commands, deadline, [&](std::size_t i, detail::Reply& reply) {
                if (i == 0)
                    answer = std::move(reply);
                else
                    names.take_epoch(i - 1, reply);
            });
        if (trip.failure) {
            // What was never sent cannot arrive late, and what is there is as good as it was.
            if (trip.sent) client_.distrust(record.key, trip);
            const TierStatus status = failed(trip.failure);
            return trip.sent ? status : TierStatus::untouched;
        }
        if (answer.is_status("OK") || answer.is_integer(1)) client_.changed(record.key, trip);
        if (!answer.is_error("NOSCRIPT")) break;
    }
    if (answer.is_error()) {
        (void)failed(answer);
        return TierStatus::untouched;
    }
    if (!answer.is_status("OK") && !answer.is_integer(1)) return TierStatus::refused;
    client_.understand(only, deadline);
    if (space.epoch != epoch) {
        outdated = true;
        return TierStatus::refused;
    }
    counters_.add(Event::sets);
    return TierStatus::ok;
}

inline TierStatus RedisTier::change_lifetime(std::string_view key, std::uint64_t stamp, WallTime expires,
                                             WallTime stale_until) {
    TierStatus status = TierStatus::unavailable;
    guarded({&key, 1}, [&] {
        // The expiry stands inside the checksummed record, so the record is fetched and written back under
        // its version.
        const detail::Deadline until = deadline();
        Fetched fetched;
        if (const detail::Failure failure = look({&key, 1}, {&fetched, 1}, until)) {
            status = failed(failure);
        } else if (fetched.verdict != Verdict::unknown) {
            status = TierStatus::refused;
            if (fetched.verdict == Verdict::live && fetched.record.stamp == stamp) {
                fetched.record.expires = expires;
                fetched.record.stale_until = stale_until;
                bool outdated = false;
                status = std::max(expires, stale_until) <= wall()
                             ? end_once(key, stamp, until)
                             : fill_once(fetched.record,
                                         WriteCondition::if_stamp(stamp, fetched.record.created_seq), until,
                                         outdated);
            }
        }
        // Who makes a value stale means that it must not be served fresh any more, whatever the server
        // missed.
        if ((status == TierStatus::unavailable || status == TierStatus::untouched) && expires <= wall())
            client_.distrust(key);
    });
    return status;
}

inline TierStatus RedisTier::end(std::string_view key, std::uint64_t stamp) {
    TierStatus status = TierStatus::unavailable;
    guarded({&key, 1}, [&] { status = end_once(key, stamp, deadline()); });
    return status;
}

/// Ends the record of that version: of several who end the same one, one succeeds.
inline TierStatus RedisTier::end_once(std::string_view key, std::uint64_t stamp, detail::Deadline deadline) {
    detail::Partition& partition = client_.partition(key);
    ByteSink version;  // as it stands in the record
    detail::put_fixed(version, stamp);
    const std::string trace = coherent() ? tombstone(key, Trace::own) : std::string();
    const Duration lifetime = detail::RedisCommon::trace_length;
    const detail::Announcer::Message message = announcement(key);
    detail::Reply answer;
    const detail::Trip trip = client_.eval(detail::end_script, partition, partition.record_name(key),
                                           {as_text_view(version.view()), trace,
                                            std::to_string(lifetime.count()), message.channel, message.text},
                                           deadline, answer);
    if (trip.failure) {
        if (trip.sent) client_.distrust(key, trip);
        const TierStatus status = failed(trip.failure);
        return trip.sent ? status : TierStatus::untouched;
    }
    if (answer.is_error()) {
        (void)failed(answer);
        return TierStatus::untouched;
    }
    if (!answer.is_integer(1)) return TierStatus::refused;
    client_.changed(key, trip);
    return TierStatus::ok;
}

/// Adds to the pipelines that change keys what tells other processes so, and makes each one step (R9), if it may be.
/// @return what must outlive them
inline std::vector<detail::Announcer::Message> RedisTier::announce(std::span<const std::string_view> keys,
                                                                   std::span<detail::Pipeline> commands,
                                                                   std::span<detail::Leg> legs, bool as_one) {
    std::vector<detail::Announcer::Message> messages = client_.common().announcer.about(keys);
    if (messages.empty() || legs.size() != 1) return messages;
    legs.front().atomic = as_one && !client_.common().lacks_transactions();
    client_.common().add_messages(commands.front(), messages, legs.front().atomic);
    return messages;
}

/// The same for a script. Both are empty where nobody is told.
inline detail::Announcer::Message RedisTier::announcement(std::string_view key) {
    std::vector<detail::Announcer::Message> messages = client_.common().announcer.about(std::span(&key, 1));
    return messages.empty() ? detail::Announcer::Message{} : std::move(messages.front());
}

inline TierStatus RedisTier::remove(std::string_view key) {
    TierStatus status = TierStatus::unavailable;
    guarded({&key, 1}, [&] { erase_all({&key, 1}, {&status, 1}); });
    return status;
}

inline std::vector<TierStatus> RedisTier::remove_many(std::span<const std::string_view> keys) {
    std::vector<TierStatus> statuses(keys.size(), TierStatus::unavailable);
    const auto size_of = [&](std::size_t i) { return 2 * keys[i].size() + 128; };
    in_chunks(keys.size(), size_of, [&](std::size_t first, std::size_t count) {
        const std::span<const std::string_view> chunk = keys.subspan(first, count);
        guarded(chunk, [&] { erase_all(chunk, std::span(statuses).subspan(first, count)); });
        return true;
    });
    return statuses;
}

/// One round trip: the head of what is there, by which to answer whether it was alive, and its end.
inline void RedisTier::erase_all(std::span<const std::string_view> keys, std::span<TierStatus> statuses) {
    const detail::Deadline until = deadline();
    std::vector<Names> parts = names_of(keys);
    std::vector<std::string> heads(keys.size());
    std::vector<bool> erased(keys.size(), false);
    std::vector<std::string> refusals(keys.size());
    std::vector<detail::Leg> legs(parts.size());
    const std::string last = std::to_string(detail::RecordHead::max_size - 1);
    bool again = true;
    bool traces = coherent();
    while (std::exchange(again, false)) {
        std::vector<detail::Pipeline> commands(parts.size());
        std::vector<std::string> tombstones;
        for (const std::string_view key : keys)
            tombstones.push_back(traces ? tombstone(key, Trace::own) : std::string());
        for (std::size_t part = 0; part < parts.size(); ++part) {
            const Names& names = parts[part];
            for (std::size_t i = 0; i < names.size(); ++i) {
                commands[part].command({"GETRANGE", names.name(i), "0", last});
                client_.common().add_erase(commands[part], names.name(i), tombstones[names.at(i)]);
            }
            names.add_epochs(commands[part]);
            legs[part] = {&names.partition(), &commands[part]};
        }
        // A server that is full refuses whatever is queued, the erase too, but not an erase by itself.
        const std::vector<detail::Announcer::Message> messages =
            announce(keys, commands, legs, traces == coherent());
        client_.ask(legs, until, [&](std::size_t part, std::size_t i, detail::Reply& reply) {
            Names& names = parts[part];
            const std::size_t first = 2 * names.size() + names.spaces().size();
            if (i >= first) {
                again = client_.common().learn_of_messages(messages.size(), i - first, reply) || again;
                return;
            }
            if (i >= 2 * names.size()) return names.take_epoch(i - 2 * names.size(), reply);
            const std::size_t at = names.at(i / 2);
            if (i % 2 == 0) {
                if (reply.is_text()) heads[at] = std::move(reply.text);
                return;
            }
            erased[at] = detail::RedisCommon::is_erased(reply);
            if (erased[at] || again) return;
            const bool no_room = traces && reply.is_error("OOM");
            if (no_room) traces = false;
            again = no_room || client_.common().learn_erase_command(reply);
            if (!again) refusals[at] = std::move(reply.text);
        });
        again = again || (legs.front().atomic && client_.common().lacks_transactions());
    }

    client_.understand(Names::spaces_of(parts, legs), until);
    const WallTime now = wall();
    detail::Failure failure;
    for (std::size_t part = 0; part < parts.size(); ++part) {
        Names& names = parts[part];
        const detail::Trip& trip = legs[part].trip;
        if (trip.failure && !failure) failure = trip.failure;
        for (std::size_t i = 0; i < names.size(); ++i) {
            const std::size_t at = names.at(i);
            if (erased[at]) client_.changed(keys[at], trip);
            if (!erased[at]) {
                if (!refusals[at].empty()) refused(refusals[at]);
                client_.distrust(keys[at], trip);
            } else if (!trip.failure) {
                statuses[at] = was_live(keys[at], heads[at], names.space_of(i).epoch, now) ? TierStatus::ok
                                                                                           : TierStatus::miss;
            }
        }
    }
    if (failure) (void)failed(failure);
}

inline TierStatus RedisTier::try_lock(std::string_view key, std::uint64_t token, Duration length) {
    TierStatus status = TierStatus::unavailable;
    guarded({}, [&] {
        detail::Partition& partition = client_.partition(key);
        const std::string name = partition.lock_name(key);
        const std::string text = std::to_string(token);
        const std::string lifetime = std::to_string(length.count());
        detail::Pipeline commands;
        commands.command({"SET", name, text, "PX", lifetime, "NX"});
        const detail::Trip trip =
            client_.ask(partition, commands, deadline(), [&](std::size_t, detail::Reply& reply) {
                if (reply.is_status("OK"))
                    status = TierStatus::ok;
                else if (reply.kind == detail::Reply::Kind::nil)
                    status = TierStatus::refused;
                else
                    status = failed(reply);
            });
        if (trip.failure) status = failed(trip.failure);
    });
    return status;
}

inline void RedisTier::unlock(std::string_view key, std::uint64_t token) {
    guarded({}, [&] {
        detail::Partition& partition = client_.partition(key);
        detail::Reply answer;
        const detail::Trip trip = client_.eval(detail::unlock_script, partition, partition.lock_name(key),
                                               {std::to_string(token)}, deadline(), answer);
        if (trip.failure) (void)failed(trip.failure);  // it ends by itself
    });
}

/// Whether somebody could have had what began with `bytes`.
inline bool RedisTier::was_live(std::string_view key, std::string_view bytes,
                                std::optional<std::uint64_t> epoch, WallTime now) noexcept {
    std::optional<detail::RecordHead> head = detail::RecordHead::parse(as_byte_view(bytes));
    if (!head || head->record.tombstone || epoch != head->record.created_seq) return false;
    to_our_time(key, head->record, now);
    return !head->record.dead_at(now);
}

}  // namespace smartcache::inline v0
