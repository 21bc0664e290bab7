#pragma once

// RedisTier: reads.

#include <algorithm>
#include <chrono>
#include <utility>

#include <smartcache/redis/redis_tier.hpp>

namespace smartcache::inline v0 {

inline TierStatus RedisTier::read(std::string_view key, Found found) {
    Fetched fetched;
    const auto started = std::chrono::steady_clock::now();
    guarded({}, [&] {
        if (const detail::Failure failure = look({&key, 1}, {&fetched, 1}, deadline())) (void)failed(failure);
    });
    const TierStatus status = count_read(fetched);
    latency_.record(std::chrono::steady_clock::now() - started);
    if (status == TierStatus::ok) found(fetched.record);  // no connection, no lock is held
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
            if (const detail::Failure failure = look(keys.subspan(first, count), fetched, deadline())) {
                (void)failed(failure);
                reachable = false;
            }
        });
        if (reachable) latency_.record(std::chrono::steady_clock::now() - started);
        for (std::size_t i = 0; i < fetched.size(); ++i)
            if (count_read(fetched[i]) == TierStatus::ok) found(first + i, fetched[i].record);
        return true;
    });
}

inline TierStatus RedisTier::peek(std::string_view key, Found found) {
    const TierStatus status = look_at(key, found);
    // Whoever peeks may decide by the answer, and that a key is distrusted is none of the server's.
    return status == TierStatus::miss && client_.unacknowledged().distrusts(key) ? TierStatus::unavailable
                                                                                 : status;
}

inline TierStatus RedisTier::look_at(std::string_view key, Found found) {
    Fetched fetched;
    guarded({}, [&] {
        if (const detail::Failure failure = look({&key, 1}, {&fetched, 1}, deadline())) (void)failed(failure);
    });
    if (fetched.verdict == Verdict::unknown) return TierStatus::unavailable;
    if (fetched.verdict != Verdict::live) return TierStatus::miss;
    found(fetched.record);  // no connection, no lock is held
    return TierStatus::ok;
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

/// Fetches those keys whose record in Redis may be believed, and tidies up what is no record.
inline detail::Failure RedisTier::look(std::span<const std::string_view> keys, std::span<Fetched> results,
                                       detail::Deadline deadline) {
    const detail::Unacknowledged& unacknowledged = client_.unacknowledged();
    const auto distrusted = [&](std::string_view key) { return unacknowledged.distrusts(key); };
    if (!unacknowledged.empty() && std::any_of(keys.begin(), keys.end(), distrusted))
        client_.settle_now(deadline);
    std::vector<std::string_view> trusted;
    std::vector<Fetched*> wanted;
    trusted.reserve(keys.size());
    wanted.reserve(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
        results[i].verdict =
            Verdict::absent;  // R11: while it is unacknowledged, Redis has nothing to say about it
        if (distrusted(keys[i])) continue;
        trusted.push_back(keys[i]);
        wanted.push_back(&results[i]);
    }
    if (trusted.empty()) return {};
    detail::Failure failure = fetch(trusted, wanted, deadline);
    for (std::size_t i = 0; i < trusted.size(); ++i)
        if (wanted[i]->verdict == Verdict::corrupt) drop(trusted[i], *wanted[i], deadline);
    return failure;
}

/// One round trip: the values, and behind them the epochs by which they are judged.
inline detail::Failure RedisTier::fetch(std::span<const std::string_view> keys,
                                        std::span<Fetched* const> results, detail::Deadline deadline) {
    for (Fetched* const each : results) each->verdict = Verdict::unknown;
    Names names(keys);
    detail::Pipeline commands;
    // GETRANGE, so that a foreign value of any size costs at most what a record of ours may.
    const std::string last = std::to_string(max_record_ - 1);
    for (std::size_t i = 0; i < keys.size(); ++i) commands.command({"GETRANGE", names.name(i), "0", last});
    names.add_epochs(commands);
    const bool ask_time = context_.time.injected() == nullptr && client_.server_clock().due();
    if (ask_time) commands.command({"TIME"});

    const auto sent = std::chrono::steady_clock::now();
    const auto on_reply = [&](std::size_t i, detail::Reply& reply) {
        if (i < keys.size()) return take_value(reply, *results[i]);
        if (i < keys.size() + names.spaces().size()) return names.take_epoch(i - keys.size(), reply);
        const auto now = std::chrono::steady_clock::now();
        if (const std::optional<std::int64_t> server = detail::milliseconds_of(reply))
            client_.server_clock().observe({*server, sent + (now - sent) / 2});
    };
    const detail::RedisClient::Trip trip = client_.ask(commands, deadline, on_reply);
    if (trip.failure) {
        for (Fetched* const each : results) each->verdict = Verdict::unknown;
        return trip.failure;
    }
    for (Names::Space& space : names.spaces())
        space.epoch = client_.epoch_after(space.name, space.answer, deadline);
    for (std::size_t i = 0; i < keys.size(); ++i) judge(keys[i], names.space_of(i).epoch, *results[i]);
    return {};
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

inline void RedisTier::judge(std::string_view key, std::optional<std::uint64_t> epoch, Fetched& fetched) {
    if (fetched.verdict == Verdict::corrupt) counters_.add(Event::corrupt);
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
    const WallTime now = wall();
    to_our_time(fetched.record, now);
    if (fetched.record.created_seq != *epoch) {
        fetched.verdict = Verdict::dead;
    } else if (fetched.record.dead_at(now)) {
        counters_.add(Event::expirations);
        fetched.verdict = Verdict::dead;
    }
}

/// From the server's time to ours.
inline void RedisTier::to_our_time(RecordView& record, WallTime now) noexcept {
    const Duration ahead = server_ahead(now);
    record.created -= ahead;
    if (record.expires != WallTime::max()) {
        record.expires -= ahead;
        record.stale_until -= ahead;
    }
    // The server's clock is read over a network: a record that seems to be from the next second was written
    // just now, by a process that read it a little differently. One from farther in the future is dead (R26).
    constexpr Duration tolerance = std::chrono::seconds(1);
    const bool estimated = context_.time.injected() == nullptr;
    if (estimated && record.created > now && record.created - now <= tolerance) record.created = now;
}

/// Deletes what is not a record of this key, so that fills, which never overwrite, can come in. By comparing,
/// so that a record written meanwhile stays.
inline void RedisTier::drop(std::string_view key, const Fetched& fetched, detail::Deadline deadline) {
    const std::string name = "sc:" + std::string(key);
    const std::string_view head = std::string_view(fetched.bytes).substr(0, detail::RecordHead::max_size);
    detail::Reply answer;
    if (fetched.is_string)
        (void)client_.eval(detail::drop_script, name, {head}, deadline, answer);
    else
        (void)client_.eval(detail::drop_script, name, {}, deadline, answer);
}

}  // namespace smartcache::inline v0
