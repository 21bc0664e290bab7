#pragma once

// RedisTier: writes, erases, changes of lifetime.

#include <algorithm>
#include <numeric>
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
    const Duration ahead = server_ahead(now);
    RecordView copy = record;
    copy.created_seq = epoch;
    copy.created += ahead;
    const WallTime end = std::max(record.expires, record.stale_until);
    Encoded encoded;
    encoded.lifetime = "0";
    if (record.expires != WallTime::max()) {
        copy.expires += ahead;
        copy.stale_until = end > record.expires ? saturating_add(end, ahead) : WallTime{};
        const auto left = static_cast<std::uint64_t>(std::max<std::int64_t>((end - now).count(), 1));
        encoded.lifetime = std::to_string(std::min(left, detail::max_record_length));
    }
    encode_record(copy, encoded.bytes);
    if (integrity_) integrity_->sign(copy.key, encoded.bytes);
    return encoded;
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
    Names names(keys);
    const auto give_up = [&](const detail::RedisClient::Trip& trip) {
        for (const std::string_view key : keys) client_.distrust(key, trip);
        (void)failed(trip.failure);
        return std::vector<std::size_t>();
    };
    for (Names::Space& space : names.spaces()) {
        detail::RedisClient::Trip trip;
        space.epoch = client_.epoch_for_writing(space.name, deadline, trip.failure);
        if (!space.epoch) return give_up(trip);
    }

    std::vector<Encoded> encoded;
    encoded.reserve(chosen.size());
    detail::Pipeline commands;
    for (std::size_t i = 0; i < chosen.size(); ++i) {
        encoded.push_back(encode(records[chosen[i]], *names.space_of(i).epoch));
        encoded.back().add_set(commands, names.name(i), false);
    }
    names.add_epochs(commands);

    std::vector<bool> stored(chosen.size(), false);
    const detail::RedisClient::Trip trip =
        client_.ask(commands, deadline, [&](std::size_t i, detail::Reply& reply) {
            if (i >= chosen.size()) return names.take_epoch(i - chosen.size(), reply);
            stored[i] = reply.is_status("OK");
            if (!stored[i]) (void)failed(reply);
        });
    if (trip.failure) return give_up(trip);

    std::vector<std::optional<std::uint64_t>> now;
    for (const Names::Space& space : names.spaces())
        now.push_back(client_.epoch_after(space.name, space.answer, deadline));
    std::vector<std::size_t> again;
    for (std::size_t i = 0; i < chosen.size(); ++i) {
        const Names::Space& space = names.space_of(i);
        const auto index = static_cast<std::size_t>(&space - names.spaces().data());
        if (!stored[i]) {
            client_.unacknowledged().add(
                keys[i]);  // refused, out of memory for one: the older value is still there
        } else if (now[index] == space.epoch) {
            statuses[chosen[i]] = TierStatus::ok;
            counters_.add(Event::sets);
        } else {
            again.push_back(chosen[i]);
        }
    }
    return again;
}

/// Fills: only over what L2 answered when the value was missed (R7).
inline TierStatus RedisTier::fill(const RecordView& record, WriteCondition condition) {
    if (!storable(record)) return TierStatus::rejected;
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
            return fill_once(record, WriteCondition::if_stamp(there.record.stamp), until, outdated);
        case Verdict::absent:  // or an empty string, which GETRANGE does not tell from nothing
        case Verdict::corrupt:
            drop(record.key, there, until);
            return fill_once(record, condition, until, outdated);
        case Verdict::live:
        case Verdict::unknown:
            break;
    }
    return status;
}

/// @param outdated  set when the namespace was cleared since the value was asked for: then it is valid
/// nowhere
inline TierStatus RedisTier::fill_once(const RecordView& record, WriteCondition condition,
                                       detail::Deadline deadline, bool& outdated) {
    Names names({&record.key, 1});
    Names::Space& space = names.space_of(0);
    detail::Failure failure;
    space.epoch = client_.epoch_for_writing(space.name, deadline, failure);
    if (!space.epoch) {
        (void)failed(failure);
        return TierStatus::untouched;
    }
    if (condition.seq != 0 && condition.seq != *space.epoch) {  // what was seen has been cleared since
        outdated = true;
        return TierStatus::refused;
    }
    const Encoded encoded = encode(record, *space.epoch);

    ByteSink stamp;  // as it stands in the record
    detail::put_fixed(stamp, condition.stamp);
    detail::Reply answer;
    for (const bool by_name : {true, false}) {
        detail::Pipeline commands;
        if (condition.kind == WriteCondition::Kind::if_absent)
            encoded.add_set(commands, names.name(0), true);
        else
            detail::RedisClient::add_script(
                commands, detail::replace_script, by_name, names.name(0),
                {as_text_view(stamp.view()), as_text_view(encoded.bytes.view()), encoded.lifetime});
        names.add_epochs(commands);
        const detail::RedisClient::Trip trip =
            client_.ask(commands, deadline, [&](std::size_t i, detail::Reply& reply) {
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
        if (!answer.is_error("NOSCRIPT")) break;
    }
    if (answer.is_error()) {
        (void)failed(answer);
        return TierStatus::untouched;
    }
    if (!answer.is_status("OK") && !answer.is_integer(1)) return TierStatus::refused;
    if (client_.epoch_after(space.name, space.answer, deadline) != space.epoch) {
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
            client_.unacknowledged().add(key);
    });
    return status;
}

inline TierStatus RedisTier::end(std::string_view key, std::uint64_t stamp) {
    TierStatus status = TierStatus::unavailable;
    guarded({&key, 1}, [&] { status = end_once(key, stamp, deadline()); });
    return status;
}

/// Deletes the record of that version: of several who end the same one, one succeeds.
inline TierStatus RedisTier::end_once(std::string_view key, std::uint64_t stamp, detail::Deadline deadline) {
    const Names names({&key, 1});
    ByteSink version;  // as it stands in the record
    detail::put_fixed(version, stamp);
    detail::Reply answer;
    const detail::RedisClient::Trip trip =
        client_.eval(detail::end_script, names.name(0), {as_text_view(version.view())}, deadline, answer);
    if (trip.failure) {
        if (trip.sent) client_.distrust(key, trip);
        const TierStatus status = failed(trip.failure);
        return trip.sent ? status : TierStatus::untouched;
    }
    if (answer.is_error()) {
        (void)failed(answer);
        return TierStatus::untouched;
    }
    return answer.is_integer(1) ? TierStatus::ok : TierStatus::refused;
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
    Names names(keys);
    std::vector<std::string> heads(keys.size());
    std::vector<bool> erased(keys.size(), false);
    const std::string last = std::to_string(detail::RecordHead::max_size - 1);
    bool again = true;
    while (std::exchange(again, false)) {
        detail::Pipeline commands;
        for (std::size_t i = 0; i < keys.size(); ++i) {
            commands.command({"GETRANGE", names.name(i), "0", last});
            commands.command({client_.erase_command(), names.name(i)});
        }
        names.add_epochs(commands);
        const auto on_reply = [&](std::size_t i, detail::Reply& reply) {
            if (i >= 2 * keys.size()) return names.take_epoch(i - 2 * keys.size(), reply);
            if (i % 2 == 0) {
                if (reply.is_text()) heads[i / 2] = std::move(reply.text);
                return;
            }
            erased[i / 2] = reply.kind == detail::Reply::Kind::integer;
            if (erased[i / 2] || again) return;
            again = client_.learn_erase_command(reply);
            if (!again) (void)failed(reply);
        };
        const detail::RedisClient::Trip trip = client_.ask(commands, until, on_reply);
        if (!trip.failure) continue;
        for (std::size_t i = 0; i < keys.size(); ++i)
            if (!erased[i]) client_.distrust(keys[i], trip);
        (void)failed(trip.failure);
        return;
    }

    for (Names::Space& space : names.spaces())
        space.epoch = client_.epoch_after(space.name, space.answer, until);
    const WallTime now = wall();
    for (std::size_t i = 0; i < keys.size(); ++i) {
        if (!erased[i]) {
            client_.unacknowledged().add(keys[i]);
            continue;
        }
        std::optional<detail::RecordHead> head = detail::RecordHead::parse(as_byte_view(heads[i]));
        bool live = head && !head->record.tombstone && names.space_of(i).epoch == head->record.created_seq;
        if (live) {
            to_our_time(head->record, now);
            live = !head->record.dead_at(now);
        }
        statuses[i] = live ? TierStatus::ok : TierStatus::miss;
    }
}

}  // namespace smartcache::inline v0
