#pragma once

// Bodies of DiskTier (disk/disk_tier.hpp).

#include <smartcache/disk/disk_tier.hpp>

namespace smartcache::inline v0 {

namespace detail {

/// Bytes of the directory that are not segments: MANIFEST, MANIFEST.new, LOCK, PROBE, KILLS; and INTENTS, where that is.
inline constexpr std::uint64_t disk_fixed_bytes = 4 * 4096 + round_up(KillJournal::file_size, 4096);

}  // namespace detail

inline DiskOptions DiskTier::checked(DiskOptions options) {
    std::vector<ConfigProblem> problems;
    validate(options, problems);
    if (!problems.empty()) throw ConfigError(std::move(problems));
    return options;
}

inline detail::DiskLogSettings DiskTier::layout(const DiskOptions& options, const TierContext& context,
                                                const detail::DiskTuning& tuning, std::uint64_t fixed_bytes) {
    constexpr std::uint64_t smallest = std::uint64_t{64} << 10U;
    constexpr std::uint64_t largest = std::uint64_t{64} << 20U;  // what an index slot can address
    detail::DiskLogSettings settings;
    settings.budget = options.max_size - fixed_bytes - 4096;  // the directory itself
    settings.segment_size = std::clamp(options.max_size / 64 / 4096 * 4096, smallest, largest);
    settings.queue_bytes = std::min({options.queue_size, tuning.queue_bytes, settings.budget / 4});
    settings.chunk_bytes = static_cast<std::size_t>(
        std::min({std::uint64_t{tuning.chunk_bytes}, settings.segment_size, settings.queue_bytes / 2}));
    settings.hash_mask = tuning.hash_mask;
    settings.window = tuning.window;
    settings.retry = tuning.retry;
    settings.map = options.io == DiskIo::mmap;
    settings.durable_kills = options.durability != Durability::none;
    settings.sync = options.durability == Durability::power_loss;
    settings.bounded = options.write == WriteMode::behind && context.background;
    return settings;
}

inline DiskTier::DiskTier(DiskOptions options, TierContext context, const detail::DiskTuning& tuning)
    : options_(checked(std::move(options))),
      context_(std::move(context)),
      io_(tuning.io != nullptr ? *tuning.io : detail::Io::system()),
      reporter_(context_.logger),
      directory_(io_, options_.path, options_.on_other_format),
      fixed_bytes_(detail::disk_fixed_bytes +
                   (context_.keeps_intents || directory_.has_intents() ? detail::DiskIntents::file_size : 0)),
      own_log_(io_, directory_, index_, reporter_, context_.time,
               layout(options_, context_, tuning, fixed_bytes_)),
      log_(*own_log_),
      gate_(options_, context_.time),
      through_(!log_.settings.bounded) {
    if (!directory_.reset_reason().empty())
        reporter_.say(LogLevel::warning, "starting empty", directory_.reset_reason());
    detail::DiskRecovery(log_).run();
    if (context_.keeps_intents)
        intents_.emplace(io_, directory_, options_.durability == Durability::power_loss);
    reporter_.deliver();
    if (through_) return;
    try {
        log_.start();
    } catch (const std::system_error& error) {
        throw ConfigError("background_threads", "1",
                          std::string("0: no thread could be started: ") + error.what());
    }
}

inline DiskTier::~DiskTier() {
    if (!own_log_.forked()) log_.close(std::chrono::seconds(5));
}

// ---------------------------------------------------------------------------------------------------------------------
// Looking

/// @param wanted  whoever asks would like to find it again later
inline DiskTier::Seen DiskTier::look(std::string_view key, std::uint64_t hash, bool wanted) {
    detail::IndexShard& shard = index_.shard(hash);
    Seen seen;
    seen.clears = log_.clears();
    // Before looking: a clear is forgotten once no segment holds what it killed, but what is found here stays readable.
    if (!log_.cleared().empty())
        seen.cleared = log_.cleared().before(detail::namespace_hash(key, directory_.token()));
    seen.forgotten_tags = log_.ended_tags().forgotten();
    const std::lock_guard lock(shard.mutex);
    const std::uint64_t tag = detail::DiskIndex::tag(hash);
    seen.location = wanted ? shard.find_and_mark(tag) : shard.find(tag);
    if (seen.location) seen.segment = log_.segment(seen.location->slot);
    return seen;
}

/// With the shard's lock: the index knows still, or again, what it knew then. The pinned segment rules out
/// that another one has got the same slot meanwhile.
inline bool DiskTier::unchanged(const detail::IndexShard& shard, std::uint64_t tag, const Seen& seen) const {
    const auto known = shard.find(tag);
    if (!known || !seen.location) return !known && !seen.location;
    return known->same_place(*seen.location) && log_.segment(known->slot) == seen.segment;
}

inline DiskTier::Examined DiskTier::examine(const Seen& seen, std::string_view key, WallTime now) const {
    using Outcome = detail::FrameRead::Outcome;
    Examined result;
    if (!seen.location) return result;
    if (seen.location->surely_dead(now)) {
        result.verdict = Verdict::expired;
        return result;
    }
    result.frame = seen.segment->read(seen.location->offset);
    if (result.frame.outcome != Outcome::ok) {
        if (result.frame.outcome == Outcome::damaged) result.verdict = Verdict::damaged;
        if (result.frame.outcome == Outcome::failed) result.verdict = Verdict::failed;
        return result;
    }
    const ParsedRecord parsed = parse_record(result.frame.body, context_.limits, seen.segment->generation());
    if (!parsed || result.frame.header.kind != detail::FrameKind::record) {
        // If a flipped bit does not only make it look so.
        const bool intact = parsed.error == RecordError::too_large &&
                            detail::record_unchanged(result.frame.body, seen.segment->generation());
        result.verdict = intact ? Verdict::too_large : Verdict::damaged;
        return result;
    }
    result.record = parsed.record;
    const detail::EndedGroups& cleared = log_.cleared();
    if (parsed.record.key != key)
        result.verdict = Verdict::foreign;
    else if (result.frame.header.sequence < seen.cleared ||
             (!cleared.empty() &&
              result.frame.header.sequence < cleared.before(detail::namespace_hash(key, directory_.token()))))
        result.verdict = Verdict::cleared;
    else if (now < parsed.record.created)
        result.verdict = Verdict::early;  // a clock was wrong (R26); it may be right again later
    else
        result.verdict = parsed.record.dead_at(now) ? Verdict::expired : Verdict::live;
    if (result.verdict == Verdict::live && !result.record.tags.empty()) {
        judge_tags(seen, result);
        if (result.verdict == Verdict::live && result.record.dead_at(now)) result.verdict = Verdict::expired;
    }
    return result;
}

/// With the shard's lock.
inline void DiskTier::unlist(detail::IndexShard& shard, std::uint64_t tag,
                             const detail::Location& known) noexcept {
    log_.segment(known.slot)->unlisted();
    shard.erase(tag);
}

/// Takes a record that is not worth keeping out of the index, unless there is another by now.
inline void DiskTier::forget(std::uint64_t hash, const Seen& seen, Verdict why) {
    detail::IndexShard& shard = index_.shard(hash);
    const std::uint64_t tag = detail::DiskIndex::tag(hash);
    const std::lock_guard lock(shard.mutex);
    if (!unchanged(shard, tag, seen) || !seen.location) return;
    if (why == Verdict::damaged || why == Verdict::too_large) {
        // Its frame may be too damaged to kill what it replaced, or it would be found again when the store is opened with
        // other limits, whatever has become of its key meanwhile. A full journal: then that is left to the next reader.
        detail::DiskLog::Placed placed;
        if (log_.append_tombstone(hash, placed) != Appended::done) return;
    }
    unlist(shard, tag, *seen.location);
    if (why == Verdict::expired) reporter_.count(detail::DiskEvent::expirations);
}

inline DiskTier::Examined DiskTier::look_closely(std::string_view key, std::uint64_t hash, bool wanted,
                                                 Seen& seen) {
    for (;;) {
        seen = look(key, hash, wanted);
        if (seen.location) seen.segment->prefetch(seen.location->offset);
        Examined examined =
            examine(seen, key, wall());  // the time after looking: what is there was written before
        if (examined.verdict != Verdict::again) return examined;
    }
}

inline DiskTier::Examined DiskTier::find(std::string_view key, std::uint64_t hash, bool wanted) {
    Seen seen;
    Examined examined = look_closely(key, hash, wanted, seen);
    switch (examined.verdict) {
        case Verdict::damaged:
            reporter_.count(detail::DiskEvent::corrupt);
            reporter_.say(LogLevel::warning, "a damaged record was dropped");
            forget(hash, seen, examined.verdict);
            break;
        case Verdict::expired:
        case Verdict::too_large:
        case Verdict::cleared:
            forget(hash, seen, examined.verdict);
            break;
        case Verdict::failed:
            reporter_.failed("reading a segment", examined.frame.error);
            break;
        default:
            break;
    }
    return examined;
}

template <class Body>
TierStatus DiskTier::guarded(std::string_view key, bool writing, Body body) noexcept {
    TierStatus status = TierStatus::unavailable;
    if (own_log_.forked()) return status;
    try {
        status = body();
    } catch (...) {  // no memory, or a callback that throws
        reporter_.count(detail::DiskEvent::errors);
        if (writing) {  // R3: the old value must not be given again
            detail::IndexShard& shard = index_.shard(log_.hash_of(key));
            const std::uint64_t tag = detail::DiskIndex::tag(log_.hash_of(key));
            const std::lock_guard lock(shard.mutex);
            try {
                detail::DiskLog::Placed placed;
                (void)log_.append_tombstone(log_.hash_of(key), placed);
            } catch (...) {
            }
            if (const auto known = shard.find(tag)) unlist(shard, tag, *known);
        }
    }
    reporter_.deliver();
    return status;
}

inline TierStatus DiskTier::read(std::string_view key, Found found) {
    const auto start = std::chrono::steady_clock::now();
    const std::uint64_t hash = log_.hash_of(key);
    const TierStatus status = guarded(key, false, [&] {
        const TierStatus given = give(key, hash, found, true);
        if (given == TierStatus::miss) gate_.missed(hash);
        return given;
    });
    reporter_.count(status == TierStatus::ok ? detail::DiskEvent::hits : detail::DiskEvent::misses);
    latency_.record(std::chrono::steady_clock::now() - start);
    return status;
}

inline TierStatus DiskTier::peek(std::string_view key, Found found) {
    return guarded(key, false, [&] { return give(key, log_.hash_of(key), found, false); });
}

inline TierStatus DiskTier::give(std::string_view key, std::uint64_t hash, Found found, bool wanted) {
    const Examined examined = find(key, hash, wanted);
    if (examined.verdict == Verdict::live) found(examined.record);
    if (examined.verdict == Verdict::failed) return TierStatus::unavailable;
    return examined.verdict == Verdict::live ? TierStatus::ok : TierStatus::miss;
}

inline TierStatus DiskTier::contains(std::string_view key) {
    bool there = false;
    const TierStatus status =
        peek(key, [&](const RecordView& record) { there = record.fresh_at(wall()) && !record.negative; });
    return status == TierStatus::ok && !there ? TierStatus::miss : status;
}

// ---------------------------------------------------------------------------------------------------------------------
// Changing

/// One attempt with the locks held. @return also `stale`: what the caller has looked at is no longer there
inline DiskTier::Appended DiskTier::append(const RecordView& record, std::uint64_t hash, const Seen* expected,
                                           Attempt& attempt, Aftermath& after) {
    constexpr std::size_t kept = std::size_t{1} << 20U;
    thread_local ByteSink reused;
    ByteSink single;  // a giant's memory is not kept
    ByteSink& scratch = record.payload.size() < kept ? reused : single;
    const std::uint64_t seed = log_.generation();
    detail::DiskLog::Appendix what;
    what.hash = hash;
    std::vector<std::uint64_t> tags;
    scratch.clear();
    if (attempt.storable) {
        encode_record(record, scratch, seed);
        attempt.storable = scratch.size() <= log_.settings.largest_record();
        what.name_space = detail::namespace_hash(record.key, directory_.token());
        what.dead_at = detail::Location::coarse(std::max(record.expires, record.stale_until));
        if (expected != nullptr) what.clears = expected->clears;
        if (record.tag_seq != 0) {
            detail::append_tag_hashes(record, directory_.token(), tags);
            what.tags = tags;
            what.tag_seq = record.tag_seq;
        }
    }
    // Too large to wait in the queue: written in this call, so that the queue's bound means something.
    what.urgent = attempt.storable && detail::frame_size(detail::FrameKind::record, scratch.size()) >
                                          log_.settings.queue_bytes / 2;
    after.write = what.urgent;

    detail::IndexShard& shard = index_.shard(hash);
    const std::uint64_t tag = detail::DiskIndex::tag(hash);
    std::unique_lock lock(shard.mutex);
    if (expected != nullptr && !unchanged(shard, tag, *expected)) return Appended::stale;
    const auto known = shard.find(tag);
    detail::DiskLog::Placed placed;
    Appended appended = Appended::queue_full;
    if (attempt.storable && !attempt.admitted)
        attempt.storable = attempt.admitted = gate_.admits(hash, known.has_value(), scratch.size());
    if (attempt.storable) {
        shard.prepare();
        const std::span<std::byte> bytes(scratch.data(), scratch.size());
        what.replaces = known.has_value();
        appended = log_.append_record(what, bytes, seed, placed);
        if (appended == Appended::queue_full && options_.on_full == DiskOverflow::block) {
            const auto now = std::chrono::steady_clock::now();
            if (!attempt.deadline)  // a length near max() would overflow the clock
                attempt.deadline =
                    now + std::min<Duration>(options_.block_timeout, std::chrono::hours(24 * 365));
            if (now < *attempt.deadline) {
                lock.unlock();
                const auto left = std::chrono::ceil<Duration>(*attempt.deadline - now);
                (void)log_.wait_for_queue(scratch.size(), left);
                return append(record, hash, expected, attempt, after);
            }
        }
    }
    if (appended == Appended::stale) return appended;
    if (appended == Appended::queue_full && attempt.keeps) return appended;
    if (appended == Appended::done) {
        if (known) log_.segment(known->slot)->unlisted();
        shard.put(tag, placed.location);
        placed.segment->listed();
        if (through_ || after.write) {
            after.segment = log_.segment(placed.location.slot);
            after.end = placed.end;
        }
    } else if (appended != Appended::journal_full && known) {  // R3: the old value goes all the same
        if (log_.append_tombstone(hash, placed) == Appended::journal_full) return Appended::journal_full;
        unlist(shard, tag, *known);
    }
    after.killed = known.has_value();
    after.durable = placed.durable;
    return appended;
}

/// @param expected  store only if the index still knows this; nullptr: always
/// @return nullopt when it knows something else
inline std::optional<TierStatus> DiskTier::store(const RecordView& record, const Seen* expected,
                                                 Aftermath& after, Attempt attempt) {
    if (through_ && log_.broken()) log_.write_now();  // the chance to recover, where no thread does it
    const RecordLimits& limits = context_.limits;
    const bool fits = record.key.size() <= limits.max_key_size &&
                      record.payload.size() <= limits.max_value_size &&
                      record.raw_size <= limits.max_value_size;
    const bool ended = wall() >= std::max(record.expires, record.stale_until);  // which is no rejection
    attempt.storable = fits && !ended;
    const std::uint64_t hash = log_.hash_of(record.key);
    for (;;) {
        const Appended appended = append(record, hash, expected, attempt, after);
        switch (appended) {
            case Appended::stale:
                return std::nullopt;
            case Appended::done:
                return TierStatus::ok;
            case Appended::ended:
                return TierStatus::refused;
            case Appended::unavailable:
                return TierStatus::unavailable;
            case Appended::queue_full:
                if (!ended) reporter_.count(detail::DiskEvent::rejected);
                return TierStatus::rejected;
            case Appended::journal_full:
                break;
        }
        if (log_.make_journal_room()) continue;
        detail::IndexShard& shard = index_.shard(hash);
        const std::lock_guard lock(shard.mutex);
        const std::uint64_t tag = detail::DiskIndex::tag(hash);
        if (const auto known = shard.find(tag)) unlist(shard, tag, *known);
        return TierStatus::unavailable;
    }
}

inline TierStatus DiskTier::store_when(const RecordView& record, WriteCondition condition, Aftermath& after) {
    using Kind = WriteCondition::Kind;
    if (condition.kind == Kind::always) return *store(record, nullptr, after, {});
    for (;;) {
        Seen seen;
        const Examined examined = look_closely(record.key, log_.hash_of(record.key), false, seen);
        const bool there = examined.verdict == Verdict::live;
        if (examined.verdict == Verdict::failed) return TierStatus::unavailable;
        if (condition.kind == Kind::if_absent ? there : !there || examined.record.stamp != condition.stamp)
            return TierStatus::refused;
        if (const auto status = store(record, &seen, after, {})) return *status;
    }
}

/// Without locks: what could not be done under them.
inline TierStatus DiskTier::finish(TierStatus status, const Aftermath& after) {
    const bool must_sync = after.killed && log_.settings.sync;
    if (through_ || after.write || must_sync || !after.durable) log_.write_now();
    if (must_sync && log_.broken()) return TierStatus::unavailable;  // whether the kill lasts, nobody knows
    if (!after.durable && log_.broken() && !log_.invalidate()) return TierStatus::unavailable;
    if (status == TierStatus::ok && after.segment && after.segment->written() < after.end)
        return TierStatus::unavailable;
    return status;
}

inline TierStatus DiskTier::write(const RecordView& record, WriteCondition condition) {
    const TierStatus status = guarded(record.key, condition.kind == WriteCondition::Kind::always, [&] {
        Aftermath after;
        const TierStatus stored = store_when(record, condition, after);
        return finish(stored, after);
    });
    if (status == TierStatus::ok) reporter_.count(detail::DiskEvent::sets);
    return status;
}

inline std::vector<TierStatus> DiskTier::write_many(std::span<const RecordView> records) {
    std::vector<TierStatus> result(records.size(), TierStatus::unavailable);
    std::vector<Aftermath> after(records.size());
    for (std::size_t i = 0; i < records.size(); ++i)
        result[i] = guarded(records[i].key, true, [&] { return store_when(records[i], {}, after[i]); });
    for (std::size_t i = 0; i < records.size(); ++i) {  // the first one writes them all
        result[i] = guarded(records[i].key, true, [&] { return finish(result[i], after[i]); });
        if (result[i] == TierStatus::ok) reporter_.count(detail::DiskEvent::sets);
    }
    return result;
}

inline TierStatus DiskTier::remove(std::string_view key) {
    return guarded(key, true, [&] {
        if (through_ && log_.broken()) log_.write_now();
        const std::uint64_t hash = log_.hash_of(key);
        const std::uint64_t tag = detail::DiskIndex::tag(hash);
        detail::IndexShard& shard = index_.shard(hash);
        for (bool done = false;;) {
            Seen seen;
            const Verdict verdict = look_closely(key, hash, false, seen).verdict;
            if (!seen.location || verdict == Verdict::foreign)
                return log_.stranded() ? TierStatus::unavailable : TierStatus::miss;
            detail::DiskLog::Placed placed;
            {
                const std::lock_guard lock(shard.mutex);
                if (!unchanged(shard, tag, seen)) continue;
                if (log_.append_tombstone(hash, placed) == Appended::done) {
                    unlist(shard, tag, *seen.location);
                    done = true;
                }
            }
            if (done) {
                // Whoever holds a segment keeps its space taken, and the write that follows may need it.
                seen = {};
                Aftermath after;
                after.killed = true;
                after.durable = placed.durable;
                return finish(verdict == Verdict::live ? TierStatus::ok : TierStatus::miss, after);
            }
            if (log_.make_journal_room()) continue;
            const std::lock_guard lock(shard.mutex);
            if (unchanged(shard, tag, seen)) unlist(shard, tag, *seen.location);
            return TierStatus::unavailable;  // it will not be given again, unless the store is opened anew
        }
    });
}

inline TierStatus DiskTier::change_lifetime(std::string_view key, std::uint64_t stamp, WallTime expires,
                                            WallTime stale_until) {
    return guarded(key, false, [&] {
        for (;;) {
            Seen seen;
            Examined examined = look_closely(key, log_.hash_of(key), false, seen);
            if (examined.verdict == Verdict::failed) return TierStatus::unavailable;
            // Written anew it would be younger than the change of its tag, and fresh again.
            if (examined.verdict != Verdict::live || examined.record.stamp != stamp || examined.stale_by_tag)
                return TierStatus::refused;
            RecordView record = examined.record;
            record.expires = expires;
            record.stale_until = stale_until;
            record.tag_seq = 0;  // that none of its tags has ended since the look is asked apart
            Aftermath after;
            Attempt attempt;
            attempt.admitted = true;  // it is stored already
            attempt.keeps = expires >= examined.record.expires && stale_until >= examined.record.stale_until;
            const auto status = store(record, &seen, after, attempt);
            if (!status) continue;
            examined = {};  // as in `remove`
            seen = {};
            const bool ended = wall() >= std::max(expires, stale_until);  // a lifetime of nothing is an end
            return finish(ended && *status == TierStatus::rejected ? TierStatus::ok : *status, after);
        }
    });
}

inline TierStatus DiskTier::clear(std::string_view name_space) {
    return guarded({}, false, [&] {
        const bool lasting = log_.clear(stable_hash(as_byte_view(name_space), directory_.token()));
        if (through_ || log_.settings.sync || !lasting) log_.write_now();
        return lasting || !log_.broken() ? TierStatus::ok : TierStatus::unavailable;
    });
}

inline bool DiskTier::flush(Duration timeout) {
    if (own_log_.forked()) return false;
    const bool done = log_.flush(timeout);
    reporter_.deliver();
    return done;
}

// ---------------------------------------------------------------------------------------------------------------------
// Housekeeping

inline std::size_t DiskTier::run_maintenance() {
    std::size_t removed = 0;
    (void)guarded({}, false, [&] {
        if (through_) log_.write_now();
        const WallTime now = wall();
        removed = index_.erase_if([&](const detail::Location& location) {
            if (!location.surely_dead(now)) return false;
            log_.segment(location.slot)->unlisted();
            return true;
        });
        reporter_.count(detail::DiskEvent::expirations, removed);
        if (!log_.cleared().empty()) removed += sweep_cleared();
        log_.drop_dead_segments();
        return TierStatus::ok;
    });
    return removed;
}

/// After a clear that could not drop everything: looks at each record once, none of them under a lock.
inline std::size_t DiskTier::sweep_cleared() {
    std::size_t removed = 0;
    for (detail::IndexShard& shard : index_.shards()) {
        std::vector<std::pair<std::uint64_t, Seen>> known;
        {
            const std::lock_guard lock(shard.mutex);
            known.reserve(shard.size());
            shard.for_each([&](std::uint64_t tag, const detail::Location& location) {
                known.emplace_back(tag, Seen{0, 0, location, log_.segment(location.slot)});
            });
        }
        for (const auto& [tag, seen] : known) {
            const detail::FrameRead frame = seen.segment->read(seen.location->offset);
            if (frame.outcome != detail::FrameRead::Outcome::ok) continue;
            const ParsedRecord parsed = parse_record(frame.body, context_.limits, seen.segment->generation());
            if (!parsed) continue;
            const std::uint64_t space = detail::namespace_hash(parsed.record.key, directory_.token());
            if (frame.header.sequence >= log_.cleared().before(space)) continue;
            const std::lock_guard lock(shard.mutex);
            if (!unchanged(shard, tag, seen)) continue;
            unlist(shard, tag, *seen.location);
            ++removed;
        }
    }
    return removed;
}

/// @return what went wrong, or nothing
inline std::string DiskTier::probe_once() {
    const auto failed = [](const char* what, int error) {
        return std::string(what) + ": " + detail::errno_text(error);
    };
    const std::lock_guard lock(probe_mutex_);
    const detail::File file = directory_.open_file(detail::probe_name, O_RDWR | O_CREAT | O_TRUNC);
    if (!file) return failed("open", errno);
    std::array<std::byte, 16> sent{};
    detail::store_le(sent.data(), random_stamp());
    std::array<std::byte, 16> received{};
    std::size_t got = 0;
    const int written = detail::write_fully(io_, file.get(), sent, 0);
    const int read = written != 0 ? 0 : detail::read_fully(io_, file.get(), received, 0, got);
    const int unlinked = directory_.unlink(detail::probe_name);
    if (written != 0) return failed("write", written);
    if (read != 0) return failed("read", read);
    if (unlinked != 0) return failed("unlink", unlinked);
    return got == sent.size() && sent == received ? "" : "other bytes came back than were written";
}

inline TierHealth DiskTier::probe() {
    try {
        const std::string path = options_.path.string();
        if (own_log_.forked()) return {false, path + ": it belongs to the parent process"};
        const std::string problem = probe_once();
        if (!problem.empty()) return {false, path + ": " + problem};
        if (log_.broken()) return {false, path + ": writing has failed and is tried again every second"};
        return {true, path + ": a file was written, read and removed"};
    } catch (...) {
        return {};
    }
}

inline TierStats DiskTier::stats() const {
    using detail::DiskEvent;
    TierStats stats;
    stats.hits = reporter_.sum(DiskEvent::hits);
    stats.misses = reporter_.sum(DiskEvent::misses);
    stats.sets = reporter_.sum(DiskEvent::sets);
    stats.errors = reporter_.sum(DiskEvent::errors);
    stats.corrupt = reporter_.sum(DiskEvent::corrupt);
    stats.rejected = reporter_.sum(DiskEvent::rejected);
    stats.evictions = reporter_.sum(DiskEvent::evictions);
    stats.expirations = reporter_.sum(DiskEvent::expirations);
    stats.latency = latency_.summary();
    if (own_log_.forked()) return stats;
    stats.entries = index_.size();
    stats.index_bytes = index_.bytes();
    stats.queued_bytes = log_.queued_bytes();
    if (const std::uint64_t appended = log_.appended_bytes(); appended != 0)
        stats.write_amplification = static_cast<double>(log_.written_bytes()) / static_cast<double>(appended);
    stats.bytes = log_.space.used() + fixed_bytes_ - 2 * 4096;  // two of those files are there for moments
    return stats;
}

inline void DiskTier::reset_stats() {
    reporter_.reset();
    latency_.reset();
}

}  // namespace smartcache::inline v0
