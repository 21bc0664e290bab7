#pragma once

// SmartCache: lookups, from the top down, and promotion.

#include <algorithm>
#include <array>
#include <deque>
#include <iterator>
#include <limits>
#include <new>
#include <optional>
#include <ranges>

#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/record/compression.hpp>

namespace smartcache::inline v0 {

template <class Codec>
auto SmartCache<Codec>::find_memory(std::string_view key, std::uint64_t hash, bool allow_stale,
                                    bool touch) const -> Found {
    if (!memory_) return {};
    std::int64_t now = 0;  // read by `find`, if the entry can die
    Ref entry = memory_->find(hash, KeyIs{key}, touch, now);
    if (!entry) return {};
    bool is_stale = stale(*entry, now);
    if (entry->tagged) {
        const auto state = entry->tag_state();
        if (state == Entry::TagState::ended || (state == Entry::TagState::stale && entry->grace == 0)) {
            drop_ended(key, hash);
            return {};
        }
        is_stale = is_stale || state == Entry::TagState::stale;
    }
    if (is_stale && !allow_stale) return {};
    return {std::move(entry), TierId::memory, is_stale};
}

/// Takes an entry out of L1 that a change of its tags has ended.
template <class Codec>
void SmartCache<Codec>::drop_ended(std::string_view key, std::uint64_t hash) const {
    (void)memory_->take_if(hash, KeyIs{key}, [](Entry& entry) {
        return entry.tags_changed() && (entry.ended_by_tag() || entry.grace == 0);
    });
}

template <class Codec>
detail::TagsSeen SmartCache<Codec>::see_tags() const {
    detail::TagsSeen seen;
    seen.below.reserve(lower_.size());
    for (const LowerTier& lower : lower_) seen.below.push_back(lower.tier->tag_seq(config_.key_prefix));
    seen.here = tags_.sequence();
    return seen;
}

template <class Codec>
bool SmartCache<Codec>::usable(const RecordView& record, WallTime now, bool allow_stale) const noexcept {
    if (record.schema != config_.schema_version || record.tombstone || record.dead_at(now)) return false;
    return allow_stale || record.fresh_at(now);
}

/// What the clock of this process says of a record's times (I2: what remains of them).
template <class Codec>
void SmartCache<Codec>::date_entry(Entry& entry, const RecordView& record, WallTime wall) const noexcept {
    const MonotonicTime now = time_.now();
    const Duration left = lives_for_ever(record) ? Duration::max() : Duration(record.expires - wall);
    const Duration grace = record.stale_until > record.expires ? remaining(record.stale_until, record.expires)
                                                               : Duration::zero();
    entry.set_times((now - (wall - record.created)).time_since_epoch().count(),
                    saturating_add(now, left).time_since_epoch().count(), grace.count());
    if (entry.idles) {
        const Duration idle = record.copies.idle.value_or(config_.memory.idle.value_or(Duration::zero()));
        entry.set_idle(idle.count(), now.time_since_epoch().count());
    }
}

/// The record's value as an entry of L1, or nothing when it cannot be read as T.
template <class Codec>
template <class T>
auto SmartCache<Codec>::decode_record(std::string_view key, const RecordView& record,
                                      detail::EntryExtras extras) const -> Ref {
    if (record.negative) return Entry::create_negative(arena(), key, extras);
    if (record.raw_size > live_.max_value_size() || !unpackable(record)) {
        count(Event::corrupt);
        return {};
    }
    const auto size = static_cast<std::size_t>(record.raw_size);
    if (record.kind != ValueKind::coded) {
        Ref entry = Entry::create_flat(arena(), key, record.kind, size, extras);
        if (unpack_payload(record, static_cast<std::byte*>(entry->value()))) return entry;
        count(Event::corrupt);
        return {};
    }
    using Owned = detail::owning_t<T>;
    if constexpr (CodecFor<Codec, Owned>) {
        if (record.codec != static_cast<std::uint8_t>(Codec::id)) {
            count(Event::type_mismatches);
            return {};
        }
        ByteView payload = record.payload;
        std::vector<std::byte> raw;
        if (record.compressed) {
            raw.resize(size);
            if (!unpack_payload(record, raw.data())) {
                count(Event::corrupt);
                return {};
            }
            payload = raw;
        }
        if (std::optional<Owned> value = decode<Owned>(payload)) {
            if constexpr (detail::is_flat<Owned>)
                return flat_entry(key, detail::is_text<Owned> ? ValueKind::text : ValueKind::bytes,
                                  detail::flat_bytes(*value), extras);
            else
                return Entry::template create_object<Codec, Owned, true>(arena(), key, std::move(*value),
                                                                         extras);
        }
    }
    count(Event::type_mismatches);
    return {};
}

/// What a decoder throws stays inside, as with encoders: such bytes are not T's.
template <class Codec>
template <class T>
std::optional<T> SmartCache<Codec>::decode(ByteView bytes) const {
    try {
        return codec_.template decode<T>(bytes);
    } catch (const std::bad_alloc&) {
        throw;
    } catch (...) {
        return std::nullopt;
    }
}

template <class Codec>
auto SmartCache<Codec>::flat_entry(std::string_view key, ValueKind kind, ByteView bytes,
                                   detail::EntryExtras extras) const -> Ref {
    Ref entry = Entry::create_flat(arena(), key, kind, bytes.size(), extras);
    if (!bytes.empty()) std::memcpy(entry->value(), bytes.data(), bytes.size());
    return entry;
}

/// Asks the lower tiers in order, up to the first that has the value.
template <class Codec>
template <class T>
auto SmartCache<Codec>::find_lower(std::string_view key, const ReadOptions& options, bool counted,
                                   bool idles) const -> LowerFound {
    LowerFound result;
    result.tags.here = tags_.sequence();
    const std::string physical = physical_key(config_.key_prefix, key);
    for (std::size_t i = 0; i < lower_.size(); ++i) {
        if (i > 0) result.tags.below.push_back(lower_[i - 1].tier->tag_seq(config_.key_prefix));
        result.seen.push_back(WriteCondition::if_absent());
        if (!contains(options.tiers, lower_[i].id)) continue;
        Tier& tier = *lower_[i].tier;
        const auto found = [&](const RecordView& record) {
            result.seen.back() = WriteCondition::of(record);
            accept<T>(key, record, i, options.allow_stale, idles, result);
        };
        const TierStatus status = counted ? tier.read(physical, found) : tier.peek(physical, found);
        if (status == TierStatus::unavailable && !lower_[i].own) result.silent = true;
        if (result.found.entry) break;
    }
    return result;
}

template <class Codec>
template <class T>
void SmartCache<Codec>::accept(std::string_view key, const RecordView& record, std::size_t index,
                               bool allow_stale, bool idles, LowerFound& result) const {
    const WallTime now =
        time_.wall();  // not from before the tier was asked: what came in since would look unborn
    if (!usable(record, now, allow_stale)) return;
    if (record.tags.size() > max_tags || !trusts(lower_[index], record, result.seen, result.goes_up)) return;
    Ref entry = decode_record<T>(
        key, record,
        {idles || record.copies.idle || config_.memory.idle, static_cast<std::size_t>(record.tags.size())});
    if (!entry) return;
    entry->set_tags(tags_, result.tags.here, record.tags);
    entry->load_cost = detail::ShortCost::pack(record.load_cost) & 63U;
    date_entry(*entry, record, now);
    result.found = {std::move(entry), lower_[index].id, !record.fresh_at(now)};
    result.index = index;
    // A value that the codec wrote and that is read as plain text or bytes is not what was stored: not for
    // L1.
    result.promotable = record.kind != ValueKind::coded || record.negative || !detail::is_flat<T>;
    result.copies = record.copies;
    if (index > 0) encode_record(record, result.record);  // for the lower tiers above this one
}

/// Copies what was found into the tiers above, unless the key was changed meanwhile (R1, R4).
/// @param into  which of them  @param own  what this call asks of the copies; the shorter lifetime holds
template <class Codec>
void SmartCache<Codec>::promote(std::string_view key, std::uint64_t hash, LowerFound& result,
                                const detail::Ticket& ticket, TierSet into, const CopyOptions& own) const {
    if (result.found.stale) return;
    const auto longest = [](const std::optional<Duration>& mine, const std::optional<Duration>& writers,
                            Duration fallback) {
        return std::min(mine.value_or(Duration::max()), writers ? *writers
                                                        : mine  ? Duration::max()
                                                                : fallback);
    };
    const Unlocked later;
    const auto order = fences_.order(hash);
    if (fences_.outdated(ticket) || result.found.entry->tags_changed()) return;
    if (result.index > 0 && result.goes_up) {
        const ParsedRecord parsed = parse_record(result.record.view());
        const WallTime now = time_.wall();
        for (std::size_t i = 0; parsed && i < result.index; ++i) {
            RecordView copy = parsed.record;
            if (!contains(into, lower_[i].id)) continue;
            if (!copy.tags.empty() && !lower_[i].tier->keeps_tags()) continue;
            // What the record has seen of a tier that other processes change tags in, nobody knows: there it is valid only as
            // long as no tag of it was ever changed.
            copy.tag_seq = lower_[i].id == TierId::disk ? result.tags.below[i] : 0;
            const Duration stays = live_.ttl(lower_[i].id);
            const Duration most =
                lower_[i].id == TierId::redis ? longest(own.redis_ttl, copy.copies.redis_ttl, stays) : stays;
            if (most <= Duration::zero()) continue;
            const WallTime cap = saturating_add(now, most);
            if (cap < copy.expires) {
                copy.expires = cap;
                copy.stale_until = {};
            }
            // R7: a fill never overwrites; where the tier has something newer, nobody above it keeps ours.
            if (write_below(lower_[i], copy, hash, result.seen[i], &ticket) == TierStatus::refused) return;
        }
    }
    const Duration stay = longest(own.memory_ttl, result.copies.memory_ttl, live_.ttl(TierId::memory));
    if (!memory_ || !contains(into, TierId::memory) || !result.promotable || stay <= Duration::zero() ||
        !own_copies_.usable())
        return;
    Entry& entry = *result.found.entry;
    // I2: what remains, capped by the longest stay in L1; a copy that ends there has no grace.
    const std::int64_t end = saturating_add(time_.now(), stay).time_since_epoch().count();
    if (end < entry.fresh_until()) entry.set_times(entry.created(), end, 0);
    if (own.idle && entry.idles) entry.set_idle(own.idle->count(), now_ms());
    entry.demotes = evicts_below_;
    const std::optional<std::size_t> weight = own.weight ? own.weight : result.copies.weight;
    if (!memory_->fits(weight_of(entry, weight))) return;
    if (insert_memory(key, hash, Ref::share(&entry), weight, {fences_, key, hash, &ticket, false})) {
        count(Event::promotions);
        tell({.kind = EventKind::promoted, .key = key, .tier = result.found.tier});
    }
}

template <class Codec>
auto SmartCache<Codec>::unpacked(const Entry& entry) const -> Ref {
    Ref copy = Entry::create_flat(arena(), entry.key(), entry.kind(), entry.raw_size(), false);
    RecordView packed;
    packed.compressed = true;
    packed.raw_size = entry.raw_size();
    packed.payload = entry.stored_bytes();
    if (!unpack_payload(packed, static_cast<std::byte*>(copy->value()))) return {};
    copy->copy_times(entry);
    return copy;
}

/// The value under another type than it is kept as, through the codec; nothing when that would change it.
template <class Codec>
template <class T>
auto SmartCache<Codec>::convert(const Entry& entry) const -> Ref {
    using Owned = detail::owning_t<T>;
    if constexpr (CodecFor<Codec, Owned>) {
        ByteSink bytes;
        try {
            if (!entry.object()) {
                // Text reads as the codec's own type for anything (a JSON string), and as nothing else.
                if constexpr (std::same_as<T, default_type> && CodecFor<Codec, std::string>) {
                    if (entry.kind() != ValueKind::text) return {};
                    if (entry.packed()) {
                        const Ref whole = unpacked(entry);
                        if (!whole) return {};
                        codec_.encode(std::string(as_text_view(whole->stored_bytes())), bytes);
                    } else {
                        codec_.encode(std::string(as_text_view(entry.stored_bytes())), bytes);
                    }
                } else {
                    return {};
                }
            } else {
                if (entry.ops == nullptr || entry.ops->encode == nullptr) return {};
                entry.ops->encode(&codec_, entry.value(), bytes);
            }
        } catch (const std::bad_alloc&) {
            throw;
        } catch (...) {  // the type's own code may throw anything
            count(Event::encode_errors);
            return {};
        }
        std::optional<Owned> value = decode<Owned>(bytes.view());
        if (!value) return {};
        Ref converted;
        if constexpr (detail::is_flat<Owned>)
            converted = flat_entry(entry.key(), detail::is_text<Owned> ? ValueKind::text : ValueKind::bytes,
                                   detail::flat_bytes(*value), false);
        else
            converted = Entry::template create_object<Codec, Owned, true>(arena(), entry.key(),
                                                                          std::move(*value), false);
        converted->copy_times(entry);
        return converted;
    } else {
        return {};
    }
}

template <class Codec>
template <class T>
Lookup<T> SmartCache<Codec>::present(Found found) const {
    if (!found.entry || found.entry->negative()) return {};
    if constexpr (detail::is_flat<T>) {
        Ref flat = found.entry->plain()    ? std::move(found.entry)
                   : found.entry->packed() ? unpacked(*found.entry)
                                           : convert<T>(*found.entry);
        if (!flat) return {};
        std::optional<T> value = detail::from_flat<T>(flat->stored_bytes());
        return Lookup<T>(std::move(flat), std::move(value), time_, found.tier, found.stale);
    } else {
        const T* value = found.entry->template as<T>();
        if (value == nullptr) {
            found.entry = convert<T>(*found.entry);
            if (found.entry) value = found.entry->template as<T>();
        }
        if (value == nullptr) return {};
        return Lookup<T>(std::move(found.entry), value, time_, found.tier, found.stale);
    }
}

/// Ends a lookup: counts its one outcome.
template <class Codec>
template <class T>
Lookup<T> SmartCache<Codec>::answer(std::string_view key, Found found) const {
    const TierId tier = found.tier;
    const bool stale = found.stale;
    const bool there = found.entry && !found.entry->negative();
    Lookup<T> result = present<T>(std::move(found));
    if (result) {
        count_hit(key, tier, stale);
    } else {
        if (there) count(Event::type_mismatches);
        count_miss(key);
    }
    return result;
}

// What a hit in L1 takes is inlined into one function, and everything else kept out of it: calls between them
// cost as much as the lookup itself.

/// A live entry of L1 read where it lies; empty when it takes more to read it as T.
template <class Codec>
template <class T>
inline auto SmartCache<Codec>::in_place(const Entry& entry) {
    if constexpr (detail::is_flat<T>)
        return entry.plain() ? detail::from_flat<T>(entry.plain_bytes()) : std::nullopt;
    else
        return entry.template as<T>();
}

/// Ends a lookup with what `in_place` gave. Made where the caller wants it: moving one costs as much as finding it.
template <class Codec>
template <class T, class V>
inline Lookup<T> SmartCache<Codec>::memory_hit(std::string_view key, Ref& entry, V& value) const {
    count(Event::memory_hits);
    if (listener_) [[unlikely]]
        tell_memory_hit(key);
    if constexpr (detail::is_flat<T>)
        return Lookup<T>(std::move(entry), *std::move(value), time_, TierId::memory, false);
    else
        return Lookup<T>(std::move(entry), value, time_, TierId::memory, false);
}

template <class Codec>
template <class T>
Lookup<T> SmartCache<Codec>::get(std::string_view key, const ReadOptions& options) {
    const std::uint64_t hash = hash_of(key);
    if (memory_ && contains(options.tiers, TierId::memory)) [[likely]] {
        std::int64_t now = 0;
        Ref entry = memory_->find(hash, KeyIs{key}, true, now);
        if (entry && !stale(*entry, now) && !entry->tags_changed()) [[likely]] {
            if (auto value = in_place<T>(*entry)) [[likely]]
                return memory_hit<T>(key, entry, value);
            return answer<T>(key, {std::move(entry), TierId::memory, false});
        }
        if (entry && entry->tagged) drop_ended(key, hash);
    }
    return get_below<T>(key, hash, options);
}

template <class Codec>
template <class T>
Lookup<T> SmartCache<Codec>::try_get(std::string_view key) {
    Lookup<T> result = present<T>(find_memory(key, hash_of(key), false));
    if (result) count_hit(key, TierId::memory, false);
    return result;
}

template <class Codec>
template <class T>
Lookup<T> SmartCache<Codec>::get_below(std::string_view key, std::uint64_t hash, const ReadOptions& options) {
    if (key.size() > config_.max_key_size) {
        count(Event::rejected);
        return answer<T>(key, {});
    }
    if constexpr (readable_below<T>) {
        // While Redis is not asked, what there is without it must not cost more than without it.
        const auto turned_away = [&] {
            return lower_.size() == 1 && contains(options.tiers, lower_.front().id) &&
                   lower_.front().tier->turns_away();
        };
        if (!lower_.empty() && !turned_away()) {
            std::optional<detail::FillTicket> ticket;
            if (promotes()) ticket.emplace(fences_, key, hash);
            LowerFound result = find_lower<T>(key, {.tiers = options.tiers});
            if (result.found.entry && ticket && contains(options.tiers, TierId::memory))
                promote(key, hash, result, **ticket);
            if (result.found.entry || !options.allow_stale) return answer<T>(key, std::move(result.found));
        }
    }
    return answer<T>(key, options.allow_stale ? find_stale<T>(key, hash, options.tiers) : Found{});
}

/// What has expired but is within its grace: for when nothing fresh was found.
template <class Codec>
template <class T>
auto SmartCache<Codec>::find_stale(std::string_view key, std::uint64_t hash, TierSet tiers) const -> Found {
    if (contains(tiers, TierId::memory)) {
        Found found = find_memory(key, hash, true, false);
        if (found.entry) return found;
    }
    if constexpr (readable_below<T>)
        return find_lower<T>(key, {.tiers = tiers, .allow_stale = true}, false).found;
    else
        return {};
}

template <class Codec>
template <class T>
Lookup<T> SmartCache<Codec>::peek(std::string_view key) const {
    if (key.size() > config_.max_key_size) return {};
    const std::uint64_t hash = hash_of(key);
    Found found = find_memory(key, hash, false, false);
    if constexpr (readable_below<T>) {
        if (!found.entry) found = find_lower<T>(key, {}, false).found;
    }
    if (!found.entry) found = find_stale<T>(key, hash, TierSet::all);
    return present<T>(std::move(found));
}

template <class Codec>
bool SmartCache<Codec>::exists(std::string_view key) const {
    if (key.size() > config_.max_key_size) return false;
    if (const Found found = find_memory(key, hash_of(key), false, false); found.entry)
        return !found.entry->negative();
    if (lower_.empty()) return false;
    const std::string physical = physical_key(config_.key_prefix, key);
    // The first tier that answers decides, as in `get`.
    std::vector<WriteCondition> seen;
    for (const LowerTier& lower : lower_) {
        bool answered = false;
        bool negative = false;
        WriteCondition here = WriteCondition::if_absent();
        (void)lower.tier->peek(physical, [&](const RecordView& record) {
            bool goes_up = true;
            here = WriteCondition::of(record);
            answered = usable(record, time_.wall(), false) && trusts(lower, record, seen, goes_up);
            negative = record.negative;
        });
        seen.push_back(here);
        if (answered) return !negative;
    }
    return false;
}

/// Asks the lower tiers for many keys, each tier for those that none above it has.
template <class Codec>
template <class T>
void SmartCache<Codec>::find_lower_many(std::vector<Wanted>& wanted, TierSet tiers, bool idles) const {
    for (std::size_t i = 0; i < lower_.size(); ++i) {
        const bool asks = contains(tiers, lower_[i].id);
        std::vector<std::size_t> open;
        std::vector<std::string_view> asked;
        for (std::size_t w = 0; w < wanted.size(); ++w) {
            LowerFound& result = wanted[w].result;
            if (result.found.entry) continue;
            if (i > 0) result.tags.below.push_back(lower_[i - 1].tier->tag_seq(config_.key_prefix));
            result.seen.push_back(WriteCondition::if_absent());
            if (!asks) continue;
            open.push_back(w);
            asked.push_back(wanted[w].physical);
        }
        if (asked.empty()) continue;
        lower_[i].tier->read_many(asked, [&](std::size_t index, const RecordView& record) {
            Wanted& one = wanted[open[index]];
            one.result.seen.back() = WriteCondition::of(record);
            accept<T>(one.key(), record, i, false, idles, one.result);
        });
    }
}

template <class Codec>
template <class T, class Keys>
std::vector<Lookup<T>> SmartCache<Codec>::get_many(Keys&& keys) {
    std::vector<Lookup<T>> results;
    std::vector<Wanted> wanted;
    if constexpr (std::ranges::sized_range<Keys>)
        results.reserve(static_cast<std::size_t>(std::ranges::size(keys)));
    std::array<std::uint64_t, 16> fetched{};  // L1's memory for the next keys is fetched at once
    std::size_t ahead = 0;
    for (auto at = std::begin(keys); at != std::end(keys); ++at) {
        if constexpr (std::ranges::forward_range<Keys>) {
            if (memory_ && ahead == 0) {
                for (auto next = at; next != std::end(keys) && ahead < fetched.size(); ++next)
                    fetched[ahead++] = hash_of(std::string_view(*next));
                memory_->prefetch({fetched.data(), ahead});
            }
            if (ahead > 0) --ahead;
        }
        auto&& each = *at;  // may be a temporary that has to last
        const std::string_view key(each);
        if (key.size() > config_.max_key_size) {
            count(Event::rejected);
            results.push_back(answer<T>(key, {}));
            continue;
        }
        const std::uint64_t hash = hash_of(key);
        Found found = find_memory(key, hash, false);
        if (found.entry || lower_.empty() || !readable_below<T>) {
            results.push_back(answer<T>(key, std::move(found)));
        } else {
            if constexpr (std::ranges::sized_range<Keys>)
                if (wanted.empty())
                    wanted.reserve(std::min<std::size_t>(results.capacity() - results.size(), 512));
            wanted.push_back(want(key, hash, results.size()));
            results.emplace_back();
        }
    }
    if constexpr (readable_below<T>) {
        std::deque<detail::FillTicket> tickets;  // a deque: tickets stay where they are
        if (promotes())
            for (const Wanted& one : wanted) tickets.emplace_back(fences_, one.key(), one.hash);
        find_lower_many<T>(wanted, TierSet::all, false);
        for (std::size_t w = 0; w < wanted.size(); ++w) {
            Wanted& one = wanted[w];
            if (one.result.found.entry && !tickets.empty())
                promote(one.key(), one.hash, one.result, *tickets[w]);
            results[one.at] = answer<T>(one.key(), std::move(one.result.found));
        }
    }
    return results;
}

}  // namespace smartcache::inline v0
