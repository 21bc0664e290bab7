#pragma once

// SmartCache: writes, erases, changes of lifetime.

#include <algorithm>
#include <limits>
#include <memory>
#include <string_view>
#include <unordered_set>

#include <smartcache/core/hash.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/record/compression.hpp>

namespace smartcache::inline v0 {

/// Builds everything that storing `value` takes; no lock is held.
template <class Codec>
template <class T>
detail::PreparedValue SmartCache<Codec>::prepare(std::string_view key, T&& value, const EntryOptions& options,
                                                 const detail::TagsSeen& seen) const {
    using Value = std::decay_t<T>;
    detail::PreparedValue prepared;
    if constexpr (detail::is_memory_only<Value>) {
        using Inner = typename detail::strip_memory_only<Value>::type;
        if constexpr (detail::is_flat<Inner>) {
            prepared.entry = flat_entry(key, detail::is_text<Inner> ? ValueKind::text : ValueKind::bytes,
                                        detail::flat_bytes(value.value), extras(options));
            prepared.too_large = prepared.entry->value_size > live_.max_value_size();
        } else {
            prepared.entry = Entry::template create_object<Codec, Inner, false>(
                arena(), key, std::forward<T>(value).value, extras(options));
            prepared.too_large = prepared.entry->value_bytes() > live_.max_value_size();
        }
    } else if constexpr (detail::is_flat<Value>) {
        const ByteView bytes = detail::flat_bytes(value);
        prepared.entry = flat_entry(key, detail::is_text<Value> ? ValueKind::text : ValueKind::bytes, bytes,
                                    extras(options));
        prepared.record.kind = prepared.entry->kind();
        prepared.record.payload = prepared.entry->stored_bytes();
        prepared.too_large = bytes.size() > live_.max_value_size();
        prepared.goes_below = true;
    } else {
        static_assert(
            CodecFor<Codec, Value>,
            "smartcache: the cache's codec cannot encode this type. JsonCodec needs to_json/from_json for it "
            "(nlohmann_json), BinaryCodec a type it lists; or store it as sc::memory_only(value), or bring a "
            "codec that models CodecFor<Codec, T>");
        prepared.goes_below = evicts_below_ && !writes_below_;  // encoded when it goes
        if (writes_below_) {
            try {
                codec_.encode(value, prepared.encoded);
                prepared.goes_below = true;
            } catch (const std::bad_alloc&) {
                throw;
            } catch (const std::exception& error) {
                count(Event::encode_errors);
                log_(LogLevel::warning,
                     std::string("smartcache: a value could not be encoded: ") + error.what());
            } catch (...) {  // the type's own code may throw anything
                count(Event::encode_errors);
                log_(LogLevel::warning, "smartcache: a value could not be encoded");
            }
        }
        prepared.entry = Entry::template create_object<Codec, Value, true>(
            arena(), key, std::forward<T>(value), extras(options));
        prepared.record.kind = ValueKind::coded;
        prepared.record.codec = static_cast<std::uint8_t>(Codec::id);
        prepared.record.payload = prepared.encoded.view();
        prepared.too_large =
            std::max(prepared.encoded.size(), prepared.entry->value_bytes()) > live_.max_value_size();
    }
    finish_record(prepared, options, seen);
    return prepared;
}

template <class Codec>
detail::PreparedValue SmartCache<Codec>::prepare_negative(std::string_view key, const EntryOptions& options,
                                                          const detail::TagsSeen& seen) const {
    detail::PreparedValue prepared;
    prepared.entry = Entry::create_negative(arena(), key, extras(options));
    prepared.record.negative = true;
    prepared.goes_below = true;
    finish_record(prepared, options, seen);
    return prepared;
}

template <class Codec>
void SmartCache<Codec>::finish_record(detail::PreparedValue& value, const EntryOptions& options,
                                      const detail::TagsSeen& seen) const {
    RecordView& record = value.record;
    if (!options.tags.empty()) {
        value.entry->set_tags(tags_, seen.here, options.tags);
        encode_tags(options.tags, value.tag_names);
        record.tags = TagList(options.tags.size(), value.tag_names.view());
        value.tag_seqs = seen.below;
    }
    record.schema = config_.schema_version;
    if (writes_below_) record.stamp = random_stamp();
    record.raw_size = record.payload.size();
    if (writes_below_ && value.goes_below && !value.too_large) {
        (void)compress_payload(record, live_.compression(), value.packed);
        count(Event::raw_bytes, record.raw_size);
        count(Event::packed_bytes, record.payload.size());
    }
}

template <class Codec>
bool SmartCache<Codec>::date_record(const LowerTier& lower, detail::PreparedValue& value, WallTime now,
                                    const EntryOptions& options) const {
    if (lower.on_evict || !value.goes_below || value.too_large || !contains(options.write, lower.id))
        return false;
    const Duration wanted = value.record.negative ? *options.negative_ttl : lifetime_in(lower.id, options);
    if (wanted <= Duration::zero()) return false;
    if (!value.record.tags.empty()) {
        if (!lower.tier->keeps_tags()) return false;
        value.record.tag_seq = value.tag_seqs[static_cast<std::size_t>(&lower - lower_.data())];
    }
    value.record.created = now;
    value.record.expires =
        end_before_grace(now, saturating_add(now, value.jittered(wanted, options.jitter)), options.grace);
    value.record.stale_until = saturating_add(value.record.expires, options.grace);
    if (!value.record.negative) value.record.copies = value.copies ? *value.copies : copy_options(options);
    return true;
}

/// Stores in L1, which takes the value's entry, or makes sure that nothing older stays there (R3); then marks the
/// fills of the key. Both are one step to fills, whose last look at their ticket is under the same lock, so without
/// lower tiers a caller's write needs no order.
/// @param ticket  of a fill, which stores only if it is unmarked (R1)
/// @param ordered  whether the caller holds the key's order
template <class Codec>
auto SmartCache<Codec>::put_memory(std::string_view key, std::uint64_t hash, detail::PreparedValue& value,
                                   const EntryOptions& options, const detail::Ticket* ticket, bool ordered)
    -> Kept {
    const Duration wanted =
        value.record.negative ? *options.negative_ttl : lifetime_in(TierId::memory, options);
    const MonotonicTime now = time_.now();
    Entry& entry = *value.entry;
    entry.set_times(now.time_since_epoch().count(), Entry::never, 0);
    const bool wanted_here = memory_ && !value.too_large && contains(options.write, TierId::memory) &&
                             wanted > Duration::zero() && own_copies_.usable();
    if (wanted_here) {
        const MonotonicTime expires = saturating_add(now, value.jittered(wanted, options.jitter));
        entry.set_times(now.time_since_epoch().count(), expires.time_since_epoch().count(),
                        options.grace.count());
        if (entry.idles)
            entry.set_idle(options.idle.value_or(config_.memory.idle.value_or(Duration::zero())).count(),
                           now.time_since_epoch().count());
        entry.demotes = evicts_below_ && value.goes_below && contains(options.write, TierId::disk);
    }
    if (!wanted_here || !memory_->fits(weight_of(entry, options.weight))) {
        if (wanted_here) count(Event::rejected);
        const Unlocked later;
        const auto order = ordered ? detail::Fences::Order() : fences_.order(hash);
        (void)end_memory(key, hash);
        // What is too heavy for L1 is as if evicted at once.
        return wanted_here && entry.demotes && demote(entry, hash, options.weight, ticket) ? Kept::yes
                                                                                           : Kept::no;
    }
    if (!insert_memory(key, hash, packed_for_memory(std::move(value.entry)), options.weight,
                       {fences_, key, hash, ticket}))
        return Kept::refused;
    count(Event::memory_sets);
    return Kept::yes;
}

/// The same value LZ4-compressed, where the options ask for that and it pays; else the entry itself.
template <class Codec>
auto SmartCache<Codec>::packed_for_memory(Ref entry) const -> Ref {
    if (!config_.memory.compression || !entry->plain()) return entry;
    RecordView record;
    record.payload = entry->stored_bytes();
    record.raw_size = record.payload.size();
    ByteSink scratch;
    if (!compress_payload(record, {.enabled = true, .threshold = live_.compression().threshold}, scratch))
        return entry;
    Ref packed = Entry::create_packed(arena(), entry->key(), entry->kind(), entry->raw_size(), record.payload,
                                      {entry->idles, entry->tags().size()});
    packed->copy_tags(*entry);
    if (entry->idles) packed->set_idle(entry->idle_length(), entry->created());
    packed->demotes = entry->demotes;
    packed->load_cost = entry->load_cost;
    packed->copy_times(*entry);
    return packed;
}

template <class Codec>
bool SmartCache<Codec>::insert_memory(std::string_view key, std::uint64_t hash, Ref entry,
                                      std::optional<std::size_t> weight, const FenceTerms& terms) const {
    entry->hash = hash;
    entry->weight = memory_->by_bytes() ? weight_of(*entry, weight) : 1;
    return memory_->insert(std::move(entry), KeyIs{key}, terms);
}

template <class Codec>
bool SmartCache<Codec>::forget_memory(std::string_view key, std::uint64_t hash) const {
    bool value_was_there = false;
    if (!memory_) return false;
    const std::int64_t now = now_ms();
    (void)memory_->take_if(hash, KeyIs{key}, [&](Entry& entry) {
        value_was_there = !entry.dead(now) && !entry.ended_by_tag();
        return true;
    });
    return value_was_there;
}

/// With the key's order: L1 has nothing, and nothing comes in that began before. What is under way has read what has ended:
/// also what has begun after a message had marked all that was under way then.
template <class Codec>
bool SmartCache<Codec>::end_memory(std::string_view key, std::uint64_t hash) {
    const bool value_was_there = forget_memory(key, hash);
    fences_.mark(key, hash);
    return value_was_there;
}

/// The same for all that is this process' own: a write that ends by an exception, for want of memory, may have reached some
/// tiers, and the others would go on with the older value (R3).
template <class Codec>
void SmartCache<Codec>::end_own_copies(std::string_view key, std::uint64_t hash, std::string_view physical) {
    if (lower_.empty()) return;  // then it has reached none
    for (LowerTier& lower : lower_)
        if (lower.own) (void)lower.tier->remove(physical);
    (void)end_memory(key, hash);
}

/// A caller's write: unconditional, in every tier, or in none of them the old value (R3).
template <class Codec>
bool SmartCache<Codec>::commit(std::string_view key, std::uint64_t hash, detail::PreparedValue& value,
                               const EntryOptions& options) {
    if (lower_.empty()) return put_memory(key, hash, value, options, nullptr, false) == Kept::yes;
    bool stored = false;
    const std::string physical = physical_key(config_.key_prefix, key);
    value.record.key = physical;
    const Unlocked later;  // values end when the order is released
    const auto order = fences_.order(hash);
    const detail::OnException no_memory([&] { end_own_copies(key, hash, physical); });
    WriteTicket ticket(*this, key, hash);
    const WallTime now = time_.wall();
    for (LowerTier& lower : lower_) {
        if (date_record(lower, value, now, options))
            stored = write_below(lower, value.record, hash, {}, ticket.get()) == TierStatus::ok || stored;
        else
            (void)lower.tier->remove(physical);
    }
    const Kept kept = put_memory(key, hash, value, options, ticket.get(), true);
    // Somebody else has written since: neither this value nor an older one (R3).
    if (kept == Kept::refused) (void)end_memory(key, hash);
    return kept == Kept::yes || stored;
}

/// A fill: only while nobody has written the key since the ticket was taken, and only over what was seen then
/// (R1, R7).
template <class Codec>
FillResult SmartCache<Codec>::commit_fill(std::string_view key, std::uint64_t hash,
                                          detail::PreparedValue& value, const EntryOptions& options,
                                          const detail::Ticket& ticket,
                                          const std::vector<WriteCondition>* seen) {
    const std::string physical = lower_.empty() ? std::string() : physical_key(config_.key_prefix, key);
    value.record.key = physical;
    const Unlocked later;  // values end when the order is released
    const auto order = fences_.order(hash);
    if (fences_.marked(ticket)) return FillResult::overtaken;
    const detail::OnException no_memory([&] { end_own_copies(key, hash, physical); });
    bool stored = false;
    bool shared = false;  // in a tier that others share
    const WallTime now = lower_.empty() ? WallTime{} : time_.wall();
    for (std::size_t i = 0; i < lower_.size(); ++i) {
        if (!date_record(lower_[i], value, now, options)) {
            end_older_below(i, physical, now, seen);
            // It cannot refuse what it is not offered, but may have told that it was cleared since the load began.
            const std::uint64_t began = seen != nullptr && i < seen->size() ? (*seen)[i].seq : 0;
            const std::uint64_t epoch = lower_[i].tier->epoch(physical);
            if (began != 0 && epoch != 0 && began != epoch) return FillResult::overtaken;
            continue;
        }
        const WriteCondition condition =
            seen != nullptr && i < seen->size() ? (*seen)[i] : WriteCondition::if_absent();
        const TierStatus status = write_below(lower_[i], value.record, hash, condition, &ticket);
        if (status == TierStatus::refused) {
            // Of what has ended meanwhile, by its tag, that which it has replaced above must not stay here.
            if (stored && lower_[i].own) (void)lower_[i].tier->remove(physical);
            if (stored) (void)end_memory(key, hash);
            return FillResult::overtaken;
        }
        // What does not land here leaves nothing older behind the newer value that others may have taken (R3).
        if (status != TierStatus::ok && lower_[i].own) (void)lower_[i].tier->remove(physical);
        if (status == TierStatus::rejected && !lower_[i].own) end_older_below(i, physical, now, seen);
        stored = status == TierStatus::ok || stored;
        shared = (status == TierStatus::ok && !lower_[i].own) || shared;
    }
    const Kept kept = put_memory(key, hash, value, options, &ticket, true);
    // What a shared tier has taken was not overtaken there. A change that is heard of now came behind it, or is this one
    // (`Coherence::tracking`): there is only no copy of it here.
    if (kept == Kept::refused && !shared) return FillResult::overtaken;
    if (kept == Kept::refused) (void)end_memory(key, hash);
    return kept == Kept::yes || stored ? FillResult::stored : FillResult::rejected;
}

/// Ends the value that a tier had before a load whose result it does not keep: only the one that was seen (R7).
template <class Codec>
void SmartCache<Codec>::end_older_below(std::size_t index, std::string_view physical, WallTime now,
                                        const std::vector<WriteCondition>* seen) {
    if (seen == nullptr || index >= seen->size()) return;
    const WriteCondition& condition = (*seen)[index];
    Tier& tier = *lower_[index].tier;
    if (condition.kind == WriteCondition::Kind::always) (void)tier.remove(physical);
    if (condition.kind == WriteCondition::Kind::if_stamp)
        (void)tier.change_lifetime(physical, condition.stamp, now, now);
}

/// A loader says that there is no value: none that is older outlives that, not even as a grace copy. Only what
/// was seen before the load ends (R7), and nothing when the key was written meanwhile (R1).
template <class Codec>
void SmartCache<Codec>::end_older(std::string_view key, std::uint64_t hash, const detail::Ticket& ticket,
                                  const std::vector<WriteCondition>& seen) {
    const std::string physical = lower_.empty() ? std::string() : physical_key(config_.key_prefix, key);
    const Unlocked later;  // values end when the order is released
    const auto order = fences_.order(hash);
    if (fences_.marked(ticket)) return;
    const WallTime now = time_.wall();
    for (std::size_t i = 0; i < lower_.size(); ++i) end_older_below(i, physical, now, &seen);
    (void)end_memory(key, hash);
}

template <class Codec>
template <class T>
bool SmartCache<Codec>::set(std::string_view key, T&& value, const EntryOptions& options) {
    check(options);
    if (key.size() > config_.max_key_size) {
        count(Event::rejected);
        return false;
    }
    // What is there already is fetched while the value is built.
    const std::uint64_t hash = hash_of(key);
    if (memory_) memory_->prefetch_bucket(hash);
    detail::PreparedValue prepared = prepare(key, std::forward<T>(value), options, see_tags(options));
    if (memory_) memory_->prefetch_entry(hash);
    if (prepared.too_large) count(Event::rejected);
    const bool stored = commit(key, hash, prepared, options);
    if (stored && listener_) tell({.kind = EventKind::set, .key = key});
    return stored;
}

template <class Codec>
template <class Pairs>
std::size_t SmartCache<Codec>::set_many(Pairs&& pairs, const EntryOptions& options) {
    check(options);
    struct One {
        std::string physical;
        std::size_t key_size;
        std::uint64_t hash;
        detail::PreparedValue value;
        bool stored = false;
        bool last = true;
        std::unique_ptr<WriteTicket> ticket{};
        [[nodiscard]] std::string_view key() const noexcept {
            return std::string_view(physical).substr(physical.size() - key_size);
        }
    };
    std::vector<One> all;
    std::vector<std::uint64_t> hashes;
    const detail::TagsSeen seen = see_tags(options);
    for (auto&& [each, value] : pairs) {
        const std::string_view key(each);
        if (key.size() > config_.max_key_size) {
            count(Event::rejected);
            continue;
        }
        all.push_back({physical_key(config_.key_prefix, key), key.size(), hash_of(key),
                       prepare(key, value, options, seen)});
        if (all.back().value.too_large) count(Event::rejected);
        hashes.push_back(all.back().hash);
    }
    const Unlocked later;  // values end when the order is released
    const auto order = fences_.order_many(hashes);
    const detail::OnException no_memory([&] {
        for (const One& one : all) end_own_copies(one.key(), one.hash, one.physical);
    });
    for (One& one : all) one.ticket = std::make_unique<WriteTicket>(*this, one.key(), one.hash);
    const WallTime now = time_.wall();
    for (LowerTier& lower : lower_) {
        std::vector<RecordView> records;
        std::vector<One*> written;
        std::vector<std::string_view> removed;
        for (One& one : all) {
            one.value.record.key = one.physical;
            if (date_record(lower, one.value, now, options)) {
                records.push_back(one.value.record);
                written.push_back(&one);
            } else {
                removed.push_back(one.physical);
            }
        }
        if (!removed.empty()) (void)lower.tier->remove_many(removed);
        if (records.empty()) continue;
        if (own_copies_.on && lower.own) {
            for (std::size_t i = 0; i < written.size(); ++i)
                if (write_below(lower, records[i], written[i]->hash, {}, written[i]->ticket->get()) ==
                    TierStatus::ok)
                    written[i]->stored = true;
            continue;
        }
        const std::vector<TierStatus> statuses = lower.tier->write_many(records);
        for (std::size_t i = 0; i < written.size() && i < statuses.size(); ++i)
            if (statuses[i] == TierStatus::ok) written[i]->stored = true;
    }
    std::size_t stored = 0;
    std::unordered_set<std::string_view> later_ones;  // of a key that is there twice the last one counts
    for (auto one = all.rbegin(); one != all.rend(); ++one) one->last = later_ones.insert(one->key()).second;
    for (One& one : all) {
        if (!one.last && own_copies_.on) {
            stored += one.stored ? 1U : 0U;
            continue;
        }
        const Kept kept = put_memory(one.key(), one.hash, one.value, options, one.ticket->get(), true);
        if (kept == Kept::refused) (void)end_memory(one.key(), one.hash);
        if (kept == Kept::yes || one.stored) {
            ++stored;
            tell({.kind = EventKind::set, .key = one.key()});
        }
    }
    return stored;
}

template <class Codec>
bool SmartCache<Codec>::erase(std::string_view key) {
    if (key.size() > config_.max_key_size) return false;
    const std::uint64_t hash = hash_of(key);
    count(Event::invalidations);
    const Unlocked later;  // values end when the order is released
    const auto order = fences_.order(hash);
    bool was_there = false;
    if (!lower_.empty()) {
        const std::string physical = physical_key(config_.key_prefix, key);
        for (LowerTier& lower : lower_)
            was_there = lower.tier->remove(physical) == TierStatus::ok || was_there;
    }
    return end_memory(key, hash) || was_there;
}

template <class Codec>
template <class Keys>
std::size_t SmartCache<Codec>::erase_many(Keys&& keys) {
    std::vector<std::string> physical;
    std::vector<std::uint64_t> hashes;
    for (auto&& each : keys) {
        const std::string_view key(each);
        if (key.size() > config_.max_key_size) continue;
        physical.push_back(physical_key(config_.key_prefix, key));
        hashes.push_back(hash_of(key));
    }
    if (physical.empty()) return 0;
    count(Event::invalidations, physical.size());
    const Unlocked later;  // values end when the order is released
    const auto order = fences_.order_many(hashes);
    std::vector<bool> was_there(physical.size());
    const std::vector<std::string_view> asked(physical.begin(), physical.end());
    for (LowerTier& lower : lower_) {
        const std::vector<TierStatus> statuses = lower.tier->remove_many(asked);
        for (std::size_t i = 0; i < statuses.size() && i < was_there.size(); ++i)
            if (statuses[i] == TierStatus::ok) was_there[i] = true;
    }
    const std::size_t framing = physical_key(config_.key_prefix, {}).size();
    for (std::size_t i = 0; i < physical.size(); ++i) {
        const std::string_view key = std::string_view(physical[i]).substr(framing);
        if (end_memory(key, hashes[i])) was_there[i] = true;
    }
    return static_cast<std::size_t>(std::count(was_there.begin(), was_there.end(), true));
}

template <class Codec>
void SmartCache<Codec>::clear_memory() {
    if (memory_) (void)memory_->clear();
}

/// Begun in L1 before the lower tiers change and ended after them: what is read below meanwhile, and what is in L1, goes
/// nowhere.
template <class Codec>
bool SmartCache<Codec>::change_tag(std::string_view tag, detail::TagChange how) {
    if (tag.empty() || tag.size() > max_tag_size) return true;  // nothing has it
    count(Event::invalidations);
    const Unlocked later;  // events are told when the lock is released
    const std::lock_guard lock(tag_changes_);
    tags_.begin(tag, how);
    bool told = true;
    for (LowerTier& lower : lower_) {
        const TierStatus status = how == detail::TagChange::erase
                                      ? lower.tier->erase_tag(config_.key_prefix, tag)
                                      : lower.tier->expire_tag(config_.key_prefix, tag);
        told = status == TierStatus::ok && told;
    }
    tags_.end(tag, how);
    return told;
}

template <class Codec>
bool SmartCache<Codec>::erase_tag(std::string_view tag) {
    return change_tag(tag, detail::TagChange::erase);
}

template <class Codec>
bool SmartCache<Codec>::expire_tag(std::string_view tag) {
    return change_tag(tag, detail::TagChange::expire);
}

template <class Codec>
void SmartCache<Codec>::clear() {
    {
        const Unlocked later;  // values end when the order is released
        const auto order = fences_.order_all();
        for (LowerTier& lower : lower_) (void)lower.tier->clear(config_.key_prefix);
        if (memory_) (void)memory_->clear();
        fences_.mark_all();
        own_copies_.forget_epochs();
    }
    reset_stats();
}

/// @return refused: somebody else has changed it since it was looked at
template <class Codec>
TierStatus SmartCache<Codec>::change_lifetime_below(const LowerTier& lower, std::string_view physical,
                                                    std::optional<Duration> ttl, bool& changed) {
    std::uint64_t stamp = 0;
    Duration grace{0};
    bool there = false;
    WriteCondition::Kind seen = WriteCondition::Kind::if_absent;
    TierStatus status = lower.tier->peek(physical, [&](const RecordView& record) {
        seen = WriteCondition::of(record).kind;
        there = usable(record, time_.wall(), false) && !record.negative;
        stamp = record.stamp;
        if (record.stale_until > record.expires) grace = remaining(record.stale_until, record.expires);
    });
    // Who makes a value stale means that it must not be served fresh any more: not by others which still have what a tier has
    // lost, nor whatever one that does not answer missed.
    if (status == TierStatus::miss && seen == WriteCondition::Kind::if_absent && !ttl)
        status = lower.tier->end_lost(physical);
    const bool missed = status == TierStatus::unavailable || status == TierStatus::untouched;
    if (missed && !ttl) (void)lower.tier->remove(physical);
    if (!there) return status;
    const WallTime now = time_.wall();
    const WallTime expires =
        end_before_grace(now, saturating_add(now, ttl.value_or(Duration::zero())), grace);
    status = lower.tier->change_lifetime(physical, stamp, expires, saturating_add(expires, grace));
    changed = changed || status == TierStatus::ok;
    return status;
}

/// @param ttl  nullopt: expired now, kept for its grace
template <class Codec>
bool SmartCache<Codec>::change_lifetime(std::string_view key, std::optional<Duration> ttl) {
    if (key.size() > config_.max_key_size) return false;
    const std::uint64_t hash = hash_of(key);
    const Unlocked later;  // values end when the order is released
    const auto order = fences_.order(hash);
    bool changed = false;
    if (memory_) {
        const std::int64_t now = now_ms();
        const std::int64_t end =
            saturating_add(time_.now(), ttl.value_or(Duration::zero())).time_since_epoch().count();
        (void)memory_->change_times(hash, KeyIs{key}, [&](Entry& entry) {
            if (entry.negative() || !entry.fresh(now) || entry.tags_changed()) return;
            entry.move_times(entry.created(), end);
            changed = true;
        });
    }
    if (!lower_.empty()) {
        const std::string physical = physical_key(config_.key_prefix, key);
        for (LowerTier& lower : lower_) {
            TierStatus status = TierStatus::refused;
            // Who makes a value stale means also the one that somebody has written meanwhile.
            for (int attempt = ttl ? 2 : 0; attempt < 3 && status == TierStatus::refused; ++attempt)
                status = change_lifetime_below(lower, physical, ttl, changed);
        }
    }
    fences_.mark(key, hash, ttl ? detail::Mark::lifetime : detail::Mark::expired);
    return changed;
}

template <class Codec>
bool SmartCache<Codec>::touch(std::string_view key, Duration ttl) {
    if (ttl <= Duration::zero()) return erase(key);
    return change_lifetime(key, ttl);
}

template <class Codec>
bool SmartCache<Codec>::expire(std::string_view key) {
    return change_lifetime(key, std::nullopt);
}

}  // namespace smartcache::inline v0
