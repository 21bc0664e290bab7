#pragma once

// The record: one envelope for every value that leaves the process, the same in Redis and on disk.
//
// Grammar (little endian; `varint` is LEB128 in its shortest form; a field in [ ] is present when its flag is
// set):
//
//     record   = magic version flags codec stamp created [schema] [seq] [lifetime] [grace] [cost] [copies]
//                [tags] [tag-seq] key-size key raw-size [stored-size] payload checksum
//     magic    = 'S' 'C'
//     version  = u8, 1
//     flags    = u16, see RecordFlag; unknown bits are an error
//     codec    = u8, the codec's id; 0 for text and bytes
//     stamp    = u64 at offset 6: the record version, random, compared for equality only
//     created  = varint, milliseconds since the Unix epoch
//     schema   = varint, `Config::schema_version` when not 0
//     seq      = varint, the namespace's epoch that the writer had seen (R18)
//     lifetime = varint, milliseconds from created to expiry; absent: for ever
//     grace    = varint, milliseconds from expiry to the end of its use as a stale value
//     cost     = varint, microseconds that the load took
//     copies   = memory-ttl redis-ttl idle weight: varints, the value + 1, or 0 where absent; not all absent
//     tags     = varint count, then count * (varint size, bytes)
//     tag-seq  = varint, only with tags: what the writer had seen of the tier's tags (R18)
//     key      = the full physical key, namespace included (R25)
//     raw-size = varint, size of the value before compression
//     stored-size = varint, size of the payload when compressed
//     checksum = u64, XXH3 over everything before it, seeded by the store (0 in Redis)
//
// Example, the text "v" under the physical key "0::k", created at 1 ms, with a lifetime of 2 ms, stamp 7:
//
//     53 43 01 48 00 00  07 00 00 00 00 00 00 00  01 02  04 30 3a 3a 6b  01 76  <8 bytes of checksum>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <string_view>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/clock.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/record/varint.hpp>

namespace smartcache::inline v0 {

/// How the payload is to be read. Persistent: never renumber.
enum class ValueKind : std::uint8_t {
    coded = 0,  ///< by the codec whose id the record names
    text = 1,   ///< characters, as they are
    bytes = 2,  ///< bytes, as they are
};

/// Why bytes are not a record.
enum class RecordError {
    none,
    truncated,        ///< ends inside a field
    bad_magic,        ///< not a record at all
    unknown_version,  ///< written by a later format
    unknown_flags,    ///< flags that this format does not have, or that exclude each other
    bad_field,        ///< a number that is not in its range
    trailing_bytes,   ///< longer than its own sizes say
    too_large,        ///< key or value beyond the configured limits
    bad_checksum,     ///< bytes were changed
};

[[nodiscard]] constexpr std::string_view to_string(RecordError error) noexcept {
    switch (error) {
        case RecordError::none:
            return "none";
        case RecordError::truncated:
            return "truncated";
        case RecordError::bad_magic:
            return "bad magic";
        case RecordError::unknown_version:
            return "unknown version";
        case RecordError::unknown_flags:
            return "unknown flags";
        case RecordError::bad_field:
            return "bad field";
        case RecordError::trailing_bytes:
            return "trailing bytes";
        case RecordError::too_large:
            return "too large";
        case RecordError::bad_checksum:
            return "bad checksum";
    }
    return "?";
}

/// The tags of a record: either their encoded bytes, or nothing. Iterates over `std::string_view`.
class TagList {
  public:
    TagList() = default;
    /// @param encoded  count * (varint size, bytes), already checked or produced by `encode_tags`
    TagList(std::uint64_t count, ByteView encoded) noexcept : count_(count), encoded_(encoded) {}

    class iterator {
      public:
        using iterator_category = std::forward_iterator_tag;
        using value_type = std::string_view;
        using difference_type = std::ptrdiff_t;
        using pointer = void;
        using reference = std::string_view;

        iterator() = default;
        iterator(std::uint64_t left, ByteView rest) noexcept : left_(left), rest_(rest) { read(); }
        std::string_view operator*() const noexcept { return current_; }
        iterator& operator++() noexcept {
            --left_;
            read();
            return *this;
        }
        iterator operator++(int) noexcept {
            iterator before = *this;
            ++*this;
            return before;
        }
        friend bool operator==(const iterator& a, const iterator& b) noexcept { return a.left_ == b.left_; }

      private:
        void read() noexcept {
            if (left_ == 0) return;
            detail::ByteReader reader(rest_);
            current_ = reader.text(reader.varint());
            rest_ = rest_.last(reader.remaining());
        }
        std::uint64_t left_ = 0;
        ByteView rest_;
        std::string_view current_;
    };

    [[nodiscard]] iterator begin() const noexcept { return {count_, encoded_}; }
    [[nodiscard]] iterator end() const noexcept { return {}; }
    [[nodiscard]] std::uint64_t size() const noexcept { return count_; }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    [[nodiscard]] ByteView encoded() const noexcept { return encoded_; }

  private:
    std::uint64_t count_ = 0;
    ByteView encoded_;
};

/// How whoever stored a value wants its copies kept in the tiers above the one that it is read from. Absent: as
/// the tier is configured.
struct CopyOptions {
    std::optional<Duration> memory_ttl;   ///< longest stay in L1; 0: not there
    std::optional<Duration> redis_ttl;    ///< longest stay in Redis; 0: not there
    std::optional<Duration> idle;         ///< time-to-idle in L1
    std::optional<std::uint64_t> weight;  ///< cost in L1

    friend bool operator==(const CopyOptions&, const CopyOptions&) = default;
};

/// A record whose key, tags and payload are views of bytes that somebody else owns.
///
/// To write: fill it in and call `encode_record`. To read: `parse_record` gives one over the parsed bytes.
struct RecordView {
    std::string_view key;        ///< physical key, see `physical_key`
    ByteView payload;            ///< as stored: compressed when `compressed`
    std::uint64_t raw_size = 0;  ///< size of the value before compression; = payload.size() if not compressed
    ValueKind kind = ValueKind::coded;
    std::uint8_t codec = 0;
    bool compressed = false;
    bool tombstone = false;  ///< a remembered erase; no payload
    bool negative = false;   ///< a remembered absence; no payload
    std::uint32_t schema = 0;
    std::uint64_t stamp = 0;  ///< record version
    std::uint64_t created_seq = 0;
    WallTime created{};
    WallTime expires = WallTime::max();  ///< fresh until then
    WallTime stale_until{};              ///< may be served stale until then; before `expires`: no grace
    std::chrono::microseconds load_cost{0};
    CopyOptions copies;
    TagList tags;
    /// As `tag_seq` of a record that is to be written: whatever it is by then. For values that are not made before.
    static constexpr std::uint64_t tags_of_now = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t tag_seq =
        0;  ///< with `tags`: what the tier's `tag_seq` was when the value began to be made (R18)

    /// May neither be served fresh nor stale any more. A time before `created` means that a clock was wrong:
    /// dead (R26).
    [[nodiscard]] bool dead_at(WallTime now) const noexcept {
        return now >= std::max(expires, stale_until) || now < created;
    }
    [[nodiscard]] bool fresh_at(WallTime now) const noexcept { return now < expires && now >= created; }
    /// From now on only of use as a stale value, if it has a grace: until that ends.
    void make_stale() noexcept {
        if (stale_until <= expires) stale_until = created;
        expires = std::min(expires, created);
    }
};

/// What parsing gives: a record, or the reason why there is none.
struct ParsedRecord {
    RecordError error = RecordError::none;
    RecordView record;
    [[nodiscard]] explicit operator bool() const noexcept { return error == RecordError::none; }
};

/// As many tags as a value may have.
inline constexpr std::size_t max_tags = 1024;

/// Bounds on what a parser accepts.
struct RecordLimits {
    std::uint64_t max_key_size = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t max_value_size = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t max_tags = smartcache::max_tags;
};

namespace detail {

inline constexpr std::size_t record_checksum_size = 8;
inline constexpr std::size_t record_stamp_offset = 6;
/// The longest length of time that is written, in ms (or us): far beyond any date, far below overflow.
inline constexpr std::uint64_t max_record_length = std::uint64_t{1} << 53U;

/// Persistent: never renumber.
struct RecordFlag {
    static constexpr std::uint16_t compressed = 1U << 0U;
    static constexpr std::uint16_t tombstone = 1U << 1U;
    static constexpr std::uint16_t negative = 1U << 2U;
    static constexpr std::uint16_t kind_shift = 3;  // two bits
    static constexpr std::uint16_t kind_mask = 3U << kind_shift;
    static constexpr std::uint16_t schema = 1U << 5U;
    static constexpr std::uint16_t lifetime = 1U << 6U;
    static constexpr std::uint16_t grace = 1U << 7U;
    static constexpr std::uint16_t seq = 1U << 8U;
    static constexpr std::uint16_t cost = 1U << 9U;
    static constexpr std::uint16_t tags = 1U << 10U;
    static constexpr std::uint16_t copies = 1U << 11U;
    static constexpr std::uint16_t tag_seq = 1U << 12U;
    static constexpr std::uint16_t known = (1U << 13U) - 1U;
};

/// An optional length or size of a record's `copies`: its value + 1, or 0.
[[nodiscard]] inline std::uint64_t encoded_copy_option(const std::optional<Duration>& length) noexcept {
    if (!length) return 0;
    return std::min(static_cast<std::uint64_t>(std::max(length->count(), Duration::rep{0})),
                    max_record_length - 1) +
           1;
}
[[nodiscard]] inline std::uint64_t encoded_copy_option(const std::optional<std::uint64_t>& size) noexcept {
    return size ? std::min(*size, max_record_length - 1) + 1 : 0;
}

[[nodiscard]] inline std::uint64_t length_between(WallTime from, WallTime to) noexcept {
    if (to <= from) return 0;
    // Unsigned: the difference of two signed times may not fit their type.
    return std::min(static_cast<std::uint64_t>(to.time_since_epoch().count()) -
                        static_cast<std::uint64_t>(from.time_since_epoch().count()),
                    max_record_length);
}

}  // namespace detail

/// When a record expires that is to do so at `expires`. If that is never and it has a grace, it is the latest time that a
/// record can say: there has to be an end for the grace to begin at, for when the record is made stale.
[[nodiscard]] inline WallTime end_before_grace(WallTime from, WallTime expires, Duration grace) noexcept {
    constexpr Duration longest(static_cast<std::int64_t>(detail::max_record_length));
    return expires == WallTime::max() && grace > Duration::zero() ? saturating_add(from, longest) : expires;
}
/// Whether it is fresh for ever, with a grace or without.
[[nodiscard]] inline bool lives_for_ever(const RecordView& record) noexcept {
    return detail::length_between(record.created, record.expires) >= detail::max_record_length / 2;
}

/// Appends the tags' encoding to `out`, for `RecordView::tags` over `out`'s bytes.
template <class Tags>
void encode_tags(const Tags& tags, ByteSink& out) {
    for (const auto& tag : tags) {
        const std::string_view text(tag);
        detail::put_varint(out, text.size());
        out.append(text);
    }
}

/// Appends `record` to `out`.
/// @param seed  of the checksum; the reader must use the same
/// Throws: `std::bad_alloc`. Complexity: O(size).
inline void encode_record(const RecordView& record, ByteSink& out, std::uint64_t seed = 0) {
    using detail::RecordFlag;
    const std::size_t start = out.size();
    const bool expires = record.expires != WallTime::max();
    const std::uint64_t grace = expires && record.stale_until > record.expires
                                    ? detail::length_between(record.expires, record.stale_until)
                                    : 0;
    std::uint16_t flags = 0;
    const auto set_flag = [&flags](bool condition, std::uint16_t flag) {
        if (condition) flags = static_cast<std::uint16_t>(flags | flag);
    };
    set_flag(record.compressed, RecordFlag::compressed);
    set_flag(record.tombstone, RecordFlag::tombstone);
    set_flag(record.negative, RecordFlag::negative);
    flags =
        static_cast<std::uint16_t>(flags | (static_cast<unsigned>(record.kind) << RecordFlag::kind_shift));
    set_flag(record.schema != 0, RecordFlag::schema);
    set_flag(expires, RecordFlag::lifetime);
    set_flag(grace != 0, RecordFlag::grace);
    set_flag(record.created_seq != 0, RecordFlag::seq);
    set_flag(record.load_cost.count() > 0, RecordFlag::cost);
    set_flag(record.copies != CopyOptions{}, RecordFlag::copies);
    set_flag(!record.tags.empty(), RecordFlag::tags);
    set_flag(!record.tags.empty() && record.tag_seq != 0, RecordFlag::tag_seq);

    out.reserve(start + 64 + record.key.size() + record.payload.size() + record.tags.encoded().size());
    out.append("SC");
    out.append(std::byte{1});
    detail::put_fixed(out, flags);
    out.append(static_cast<std::byte>(record.codec));
    detail::put_fixed(out, record.stamp);
    detail::put_varint(out, detail::length_between(WallTime{}, record.created));
    if (record.schema != 0) detail::put_varint(out, record.schema);
    if (record.created_seq != 0) detail::put_varint(out, record.created_seq);
    if (expires) detail::put_varint(out, detail::length_between(record.created, record.expires));
    if (grace != 0) detail::put_varint(out, grace);
    if (record.load_cost.count() > 0)
        detail::put_varint(
            out, std::min(static_cast<std::uint64_t>(record.load_cost.count()), detail::max_record_length));
    if (record.copies != CopyOptions{}) {
        detail::put_varint(out, detail::encoded_copy_option(record.copies.memory_ttl));
        detail::put_varint(out, detail::encoded_copy_option(record.copies.redis_ttl));
        detail::put_varint(out, detail::encoded_copy_option(record.copies.idle));
        detail::put_varint(out, detail::encoded_copy_option(record.copies.weight));
    }
    if (!record.tags.empty()) {
        detail::put_varint(out, record.tags.size());
        out.append(record.tags.encoded());
        if (record.tag_seq != 0) detail::put_varint(out, record.tag_seq);
    }
    detail::put_varint(out, record.key.size());
    out.append(record.key);
    detail::put_varint(out, record.raw_size);
    if (record.compressed) detail::put_varint(out, record.payload.size());
    out.append(record.payload);
    detail::put_fixed(out, stable_hash(out.view().subspan(start), seed));
}

/// Reads a record that fills `bytes` exactly. Total: any bytes give a record or a reason, nothing is
/// allocated. The views of the result point into `bytes`. Complexity: O(size), for the checksum.
[[nodiscard]] inline ParsedRecord parse_record(ByteView bytes, const RecordLimits& limits = {},
                                               std::uint64_t seed = 0) noexcept {
    using detail::RecordFlag;
    const auto fail = [](RecordError error) { return ParsedRecord{error, {}}; };
    constexpr std::uint64_t max_millis = detail::max_record_length;

    if (bytes.size() < 2) return fail(RecordError::truncated);
    if (as_text_view(bytes.first(2)) != "SC") return fail(RecordError::bad_magic);
    if (bytes.size() < 3) return fail(RecordError::truncated);
    if (bytes[2] != std::byte{1}) return fail(RecordError::unknown_version);
    if (bytes.size() < detail::record_stamp_offset + 8 + detail::record_checksum_size)
        return fail(RecordError::truncated);

    detail::ByteReader reader(bytes.subspan(3, bytes.size() - 3 - detail::record_checksum_size));
    ParsedRecord parsed;
    RecordView& record = parsed.record;
    const auto flags = reader.fixed<std::uint16_t>();
    const auto has = [flags](std::uint16_t flag) { return (flags & flag) != 0; };
    const unsigned kind = (flags & RecordFlag::kind_mask) >> RecordFlag::kind_shift;
    record.compressed = has(RecordFlag::compressed);
    record.tombstone = has(RecordFlag::tombstone);
    record.negative = has(RecordFlag::negative);
    const int states = int{record.compressed} + int{record.tombstone} + int{record.negative};
    if ((flags & ~unsigned{RecordFlag::known}) != 0 || kind > 2 || states > 1 ||
        (has(RecordFlag::grace) && !has(RecordFlag::lifetime)))
        return fail(RecordError::unknown_flags);
    record.kind = static_cast<ValueKind>(kind);
    record.codec = reader.fixed<std::uint8_t>();
    record.stamp = reader.fixed<std::uint64_t>();

    const std::uint64_t created = reader.varint();
    const std::uint64_t schema = has(RecordFlag::schema) ? reader.varint() : 0;
    record.created_seq = has(RecordFlag::seq) ? reader.varint() : 0;
    const std::uint64_t lifetime = has(RecordFlag::lifetime) ? reader.varint() : 0;
    const std::uint64_t grace = has(RecordFlag::grace) ? reader.varint() : 0;
    const std::uint64_t cost = has(RecordFlag::cost) ? reader.varint() : 0;
    if (!reader.ok()) return fail(RecordError::truncated);
    if (created > max_millis || lifetime > max_millis || grace > max_millis || cost > max_millis ||
        schema > std::numeric_limits<std::uint32_t>::max())
        return fail(RecordError::bad_field);
    record.schema = static_cast<std::uint32_t>(schema);
    record.created = WallTime(Duration(static_cast<std::int64_t>(created)));
    if (has(RecordFlag::lifetime)) {
        record.expires = record.created + Duration(static_cast<std::int64_t>(lifetime));
        record.stale_until = record.expires + Duration(static_cast<std::int64_t>(grace));
    }
    record.load_cost = std::chrono::microseconds(static_cast<std::int64_t>(cost));

    if (has(RecordFlag::copies)) {
        std::uint64_t largest = 0;
        const auto next = [&reader, &largest] {
            const std::uint64_t encoded = reader.varint();
            largest = std::max(largest, encoded);
            return encoded == 0 ? std::nullopt : std::optional(encoded - 1);
        };
        const auto next_length = [&next]() -> std::optional<Duration> {
            const std::optional<std::uint64_t> millis = next();
            if (!millis || *millis > max_millis) return std::nullopt;
            return Duration(static_cast<std::int64_t>(*millis));
        };
        record.copies.memory_ttl = next_length();
        record.copies.redis_ttl = next_length();
        record.copies.idle = next_length();
        record.copies.weight = next();
        if (!reader.ok()) return fail(RecordError::truncated);
        if (largest == 0 || largest > max_millis) return fail(RecordError::bad_field);
    }

    if (has(RecordFlag::tags)) {
        const std::uint64_t count = reader.varint();
        const std::size_t before = reader.remaining();
        if (reader.ok() && count > limits.max_tags) return fail(RecordError::too_large);
        if (count > before) return fail(RecordError::truncated);  // each tag takes at least its size byte
        const std::size_t start = bytes.size() - detail::record_checksum_size - before;
        for (std::uint64_t i = 0; i < count && reader.ok(); ++i) (void)reader.bytes(reader.varint());
        record.tags = TagList(count, bytes.subspan(start, before - reader.remaining()));
    }
    if (has(RecordFlag::tag_seq)) {
        record.tag_seq = reader.varint();
        if (reader.ok() && (record.tag_seq == 0 || record.tags.empty())) return fail(RecordError::bad_field);
    }

    const std::uint64_t key_size = reader.varint();
    if (reader.ok() && key_size > limits.max_key_size) return fail(RecordError::too_large);
    record.key = reader.text(key_size);
    record.raw_size = reader.varint();
    const std::uint64_t stored_size = record.compressed ? reader.varint() : record.raw_size;
    if (!reader.ok()) return fail(RecordError::truncated);
    if (record.raw_size > limits.max_value_size || stored_size > limits.max_value_size)
        return fail(RecordError::too_large);
    if ((record.tombstone || record.negative) && record.raw_size != 0) return fail(RecordError::bad_field);
    if (stored_size > reader.remaining()) return fail(RecordError::truncated);
    record.payload = reader.bytes(stored_size);
    if (reader.remaining() != 0) return fail(RecordError::trailing_bytes);

    const ByteView body = bytes.first(bytes.size() - detail::record_checksum_size);
    detail::ByteReader tail(bytes.last(detail::record_checksum_size));
    if (tail.fixed<std::uint64_t>() != stable_hash(body, seed)) return fail(RecordError::bad_checksum);
    return parsed;
}

}  // namespace smartcache::inline v0
