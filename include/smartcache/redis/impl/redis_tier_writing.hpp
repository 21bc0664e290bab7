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
    std::string lifetime;  ///< in ms

    void add_set(detail::Pipeline& commands, std::string_view name, bool if_absent) const {
        const std::array<std::string_view, 6> words{"SET", name,     as_text_view(bytes.view()),
                                                    "PX",  lifetime, "NX"};
        commands.command(std::span(words).first(if_absent ? 6 : 5));
    }
};

/// How the commands of one round trip tell other processes what they change, in one step with that, if it may be (R9).
///
/// A server that is alone does all of them in one step, with a message for each namespace behind them. In a cluster a step has
/// one key: while a slot is on its way its keys are at both ends, and no step with keys of both can be done at either, nor does
/// a record's step include epochs (R16). So each key has a message of its own there; of a batch a partition has few keys anyway.
///
/// Where there are no steps the message goes behind the change: at once at a server that is alone, in a cluster on a trip of
/// its own (`tell_apart`), since the change may have been sent on to another node.
class RedisTier::Telling {
  public:
    /// @param as_one  whether it may be one step
    Telling(detail::RedisClient& client, std::span<const std::string_view> keys, bool as_one)
        : common_(client.common()), in_cluster_(client.partitions() > 1) {
        const detail::Announcer& announcer = common_.announcer;
        if (!announcer.on()) return;
        atomic_ = as_one && !common_.lacks_transactions();
        if (!in_cluster_) {
            messages_ = announcer.about(keys);
            return;
        }
        for (const std::string_view key : keys) messages_.push_back(announcer.about_one(key));
    }

    /// How many commands a key has that needs so many for itself.
    [[nodiscard]] std::size_t with(std::size_t own) const noexcept { return own + (by_key() ? 1 : 0); }
    /// Behind the commands of a key.
    void add(detail::Pipeline& commands, std::size_t key) const {
        if (by_key()) publish(commands, key);
    }
    /// Behind all commands of a leg. @param own, keys  how many those of its keys are, see `with`
    void complete(detail::Leg& leg, detail::Pipeline& commands, std::size_t own, std::size_t keys) const {
        if (by_key()) leg.steps = {with(own), keys};
        if (in_cluster_ || messages_.empty()) return;
        common_.add_messages(commands, messages_, atomic_);
        if (atomic_) leg.steps = {commands.commands(), 1};
    }
    /// Takes the answer to what `add` has added.
    void take(const detail::Reply& reply) { refused_ = common_.learn_silence(reply) || refused_; }
    /// The same of `complete`.
    void take(std::size_t i, const detail::Reply& reply) {
        refused_ = common_.learn_of_messages(messages_.size(), i, reply) || refused_;
    }
    /// Whether what was not done has to be tried again: without messages, or not as one step.
    [[nodiscard]] bool refused() const noexcept {
        return refused_ || (atomic_ && common_.lacks_transactions());
    }

    [[nodiscard]] bool apart() const noexcept { return in_cluster_ && !atomic_ && !messages_.empty(); }
    void publish(detail::Pipeline& commands, std::size_t key) const {
        commands.command({"PUBLISH", messages_[key].channel, messages_[key].text});
    }

  private:
    [[nodiscard]] bool by_key() const noexcept { return in_cluster_ && atomic_; }

    detail::RedisCommon& common_;
    const bool in_cluster_;
    bool atomic_ = false;
    bool refused_ = false;
    std::vector<detail::Announcer::Message> messages_;
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
    encoded.lifetime = detail::Renewals::lifetime;
    if (record.expires != WallTime::max()) {
        copy.expires += ahead;
        copy.stale_until = end > record.expires ? saturating_add(end, ahead) : WallTime{};
        // Kept as a trace for a while, though it may have ended (R7).
        const std::int64_t least = coherent() ? Duration(detail::RedisCommon::trace_length).count() : 1;
        const auto left = static_cast<std::uint64_t>(std::max<std::int64_t>((end - now).count(), least));
        if (!lives_for_ever(record))
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
    // So is a change of a tag, of which the first answer tells; what changes later may come after our write.
    constexpr int attempts = 3;
    const detail::Deadline until = deadline();
    for (int attempt = 0; attempt < attempts && !open.empty(); ++attempt)
        open = store_once(records, open, statuses, until, attempt == 0);
}

/// One round trip. @param first  whether tags count, too
/// @return those that have to be written again, with a newer epoch, or count of changes of tags
inline std::vector<std::size_t> RedisTier::store_once(std::span<const RecordView> records,
                                                      std::span<const std::size_t> chosen,
                                                      std::span<TierStatus> statuses,
                                                      detail::Deadline deadline, bool first) {
    std::vector<std::string_view> keys;
    std::vector<std::optional<std::uint64_t>> tags_of_now(chosen.size());  // as they are written
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
    Telling telling(client_, keys, true);
    const std::size_t each = telling.with(1);
    for (std::size_t part = 0; part < parts.size(); ++part) {
        Names& names = parts[part];
        for (std::size_t i = 0; i < names.size(); ++i) {
            RecordView record = records[chosen[names.at(i)]];
            if (!record.tags.empty()) {
                const bool now = record.tag_seq == RecordView::tags_of_now;
                record.tag_seq = client_.tags_seen(record.key, record.tag_seq);
                if (now && first) tags_of_now[names.at(i)] = record.tag_seq;
            }
            encoded.push_back(encode(record, *names.space_of(i).epoch));
            encoded.back().add_set(commands[part], names.name(i), false);
            telling.add(commands[part], names.at(i));
        }
        names.add_epochs(commands[part]);
        legs.push_back({&names.partition(), &commands[part]});
        telling.complete(legs.back(), commands[part], 1, names.size());
    }

    std::vector<bool> stored(chosen.size(), false);
    std::vector<std::string> refusals(chosen.size());
    client_.ask(legs, deadline, [&](std::size_t part, std::size_t i, detail::Reply& reply) {
        Names& names = parts[part];
        const std::size_t of_keys = each * names.size();
        if (i >= of_keys + names.spaces().size())
            return telling.take(i - of_keys - names.spaces().size(), reply);
        if (i >= of_keys) return names.take_epoch(i - of_keys, reply);
        if (i % each != 0) return telling.take(reply);
        const std::size_t at = names.at(i / each);
        stored[at] = reply.is_status("OK");
        if (!stored[at]) refusals[at] = std::move(reply.text);
    });
    if (telling.apart()) tell_apart(telling, keys, parts, stored, deadline);
    const bool silenced = telling.refused();
    std::vector<std::size_t> again;
    std::vector<std::string_view> left;
    std::vector<Names::Space*> answered = Names::spaces_of(parts, legs);
    std::vector<std::optional<std::uint64_t>> used;
    for (const Names::Space* const space : answered) used.push_back(space->epoch);
    client_.understand(answered, deadline);
    const auto tags_moved = [&](std::size_t at) {
        return tags_of_now[at] && client_.tags_seen(keys[at], RecordView::tags_of_now) != *tags_of_now[at];
    };
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
                left.push_back(keys[at]);
            } else if (space.epoch == used_here[&space - names.spaces().data()] && !tags_moved(at)) {
                statuses[chosen[at]] = TierStatus::ok;
                counters_.add(Event::sets);
            } else {
                again.push_back(chosen[at]);
            }
        }
    }
    if (failure) (void)failed(failure);
    // A server that answers can be told at once, so that others do not go on with the older value, either.
    client_.settle_for(left, deadline);
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
    const detail::Announcer::Message message = client_.common().announcer.about_one(record.key);
    detail::Reply answer;
    for (const bool by_name : {true, false}) {
        detail::Pipeline commands;
        const bool absent = condition.kind == WriteCondition::Kind::if_absent;
        if (absent && !condition.change)
            encoded.add_set(commands, names.name(0), true);
        else
            detail::add_script(
                commands, detail::replace_script, by_name, names.name(0),
                {absent ? std::string_view() : as_text_view(stamp.view()), as_text_view(encoded.bytes.view()),
                 encoded.lifetime, message.channel, message.stream, message.text});
        names.add_epochs(commands);
        const detail::Trip trip =
            client_.ask(names.partition(), commands, deadline, [&](std::size_t i, detail::Reply& reply) {
                if (i == 0)
                    answer = std::move(reply);
                else
                    names.take_epoch(i - 1, reply);
            });
        const bool done = answer.is_status("OK") || answer.is_integer(1);
        if (trip.failure) {
            // What was never sent cannot arrive late, and what is there is as good as it was. (A server may stop serving between
            // two commands, too.)
            const bool touched = trip.sent || done;
            if (touched) client_.distrust(record.key, trip);
            const TierStatus status = failed(trip.failure);
            return touched ? status : TierStatus::untouched;
        }
        if (done) client_.changed(record.key, trip);
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
        if ((status == TierStatus::unavailable || status == TierStatus::untouched) && expires <= wall()) {
            client_.distrust(key);
            if (status == TierStatus::untouched) client_.settle_for({&key, 1}, until);
        }
    });
    return status;
}

inline TierStatus RedisTier::end(std::string_view key, std::uint64_t stamp) {
    TierStatus status = TierStatus::unavailable;
    guarded({&key, 1}, [&] { status = end_once(key, stamp, deadline()); });
    return status;
}

inline TierStatus RedisTier::end_lost(std::string_view key) {
    if (!coherent()) return TierStatus::ok;
    TierStatus status = TierStatus::unavailable;
    guarded({&key, 1}, [&] { status = end_once(key, std::nullopt, deadline()); });
    return status;
}

/// Ends the record of that version: of several who end the same one, one succeeds.
/// @param stamp  nullopt: nothing is there
inline TierStatus RedisTier::end_once(std::string_view key, std::optional<std::uint64_t> stamp,
                                      detail::Deadline deadline) {
    detail::Partition& partition = client_.partition(key);
    ByteSink version;  // as it stands in the record
    if (stamp) detail::put_fixed(version, *stamp);
    const std::string trace = coherent() ? tombstone(key, Trace::own) : std::string();
    const Duration lifetime = detail::RedisCommon::trace_length;
    const detail::Announcer::Message message = client_.common().announcer.about_one(key);
    detail::Reply answer;
    const detail::Trip trip =
        client_.eval(detail::end_script, partition, partition.record_name(key),
                     {as_text_view(version.view()), trace, std::to_string(lifetime.count()), message.channel,
                      message.stream, message.text},
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

/// Tells of changes that are done. Who cannot be told this way is told when the key is erased (R11).
inline void RedisTier::tell_apart(const Telling& telling, std::span<const std::string_view> keys,
                                  std::span<const Names> parts, const std::vector<bool>& changed,
                                  detail::Deadline deadline) {
    std::vector<detail::Pipeline> commands(parts.size());
    std::vector<detail::Leg> legs;
    std::vector<std::size_t> part_of;
    for (std::size_t part = 0; part < parts.size(); ++part) {
        const Names& names = parts[part];
        for (std::size_t i = 0; i < names.size(); ++i)
            if (changed[names.at(i)]) telling.publish(commands[part], names.at(i));
        if (commands[part].empty()) continue;
        legs.push_back({&names.partition(), &commands[part]});
        part_of.push_back(part);
    }
    client_.ask(legs, deadline, [&](std::size_t, std::size_t, detail::Reply& reply) {
        (void)client_.common().learn_silence(reply);
    });
    for (std::size_t leg = 0; leg < legs.size(); ++leg) {
        if (!legs[leg].trip.failure) continue;
        const Names& names = parts[part_of[leg]];
        for (std::size_t i = 0; i < names.size(); ++i)
            if (changed[names.at(i)]) client_.distrust(keys[names.at(i)]);
    }
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
        // A server that is full refuses whatever is queued, the erase too, but not an erase by itself.
        Telling telling(client_, keys, traces == coherent());
        const std::size_t each = telling.with(2);
        for (std::size_t part = 0; part < parts.size(); ++part) {
            Names& names = parts[part];
            for (std::size_t i = 0; i < names.size(); ++i) {
                commands[part].command({"GETRANGE", names.name(i), "0", last});
                client_.common().add_erase(commands[part], names.name(i), tombstones[names.at(i)]);
                telling.add(commands[part], names.at(i));
            }
            names.add_epochs(commands[part]);
            legs[part] = {&names.partition(), &commands[part]};
            telling.complete(legs[part], commands[part], 2, names.size());
        }
        client_.ask(legs, until, [&](std::size_t part, std::size_t i, detail::Reply& reply) {
            Names& names = parts[part];
            const std::size_t of_keys = each * names.size();
            if (i >= of_keys + names.spaces().size())
                return telling.take(i - of_keys - names.spaces().size(), reply);
            if (i >= of_keys) return names.take_epoch(i - of_keys, reply);
            const std::size_t at = names.at(i / each);
            if (i % each == 0) {
                if (reply.is_text() && !erased[at]) heads[at] = std::move(reply.text);
                return;
            }
            if (i % each == 2) return telling.take(reply);
            erased[at] = detail::RedisCommon::is_erased(reply);
            if (erased[at] || again) return;
            const bool no_room = traces && reply.is_error("OOM");
            if (no_room) traces = false;
            again = no_room || client_.common().learn_erase_command(reply);
            if (!again) refusals[at] = std::move(reply.text);
        });
        if (telling.apart()) tell_apart(telling, keys, parts, erased, until);
        again = again || telling.refused();
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
    to_our_time(head->record, {now, server_ahead(key, now)});
    return !head->record.dead_at(now);
}

}  // namespace smartcache::inline v0
