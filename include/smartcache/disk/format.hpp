#pragma once

// The disk store's bytes. Everything is little endian; a number in brackets is a size in bytes.
//
//     directory  = LOCK MANIFEST KILLS [INTENTS] *segment each a file; a segment is named NNNNNNNN.seg after its id
//     LOCK       = the owner's process id as text, held with flock; never removed
//     MANIFEST   = "SMCDISK\n" version[4] size[4] token[8] check[8]
//     KILLS      = 2730 * (kill or anything else)         a ring, see journal.hpp
//     INTENTS    = what a tier below could not tell       64 KiB, see intents.hpp
//     kill       = sequence[8] hash[8] kind[4] check[4]   seeded by the token
//     segment    = segment-header *frame [footer]         sealed; without the footer: anything may follow the frames
//     segment-header = "SMCS" version[4] id[8] generation[8] first-sequence[8] reserved[24] check[8] = 64
//     frame      = header record padding                  padding: zeros up to a multiple of 4
//     header     = length-and-kind[4] sequence[4] [hash[8]] check[4]     = 12 for records, which have no hash, else 20
//     footer     = what the index needs of each frame, so that opening need not read them: see footer.hpp
//
// - `token`: random, drawn when the store is created. Seeds the hashes of keys and the checks of segment headers, so
//   that a file of another store is not taken for one of ours.
// - `generation`: random, drawn when the segment is created. Seeds the checks of its frames and footer and the
//   checksums of its records, so that intact old frames behind the tail of a recycled file are not taken for new ones
//   (R20).
// - `length-and-kind`: the upper two bits are the kind, the others the record's length.
//     kind 1, record:    the record of record.hpp
//     kind 2, tombstone: length 0; kills records of that hash with a lower sequence
//     kind 3, clear:     length 0; hash = XXH3(namespace, token); kills the namespace's records with a lower sequence;
//                        or the hash of a tag, of all tags of a namespace (clears.hpp): those of its records
//   A record kills like a tombstone of its key's hash, XXH3(physical key, token).
// - `check`: XXH3 of the bytes before it in the same structure, the lower half of it where it has 4 bytes.
// - `sequence`: one counter for the whole store; recovery orders by it (R20). In a frame it is the signed distance from
//   the segment's first-sequence: what is carried or moved into a segment may be older than the segment.
//
// Example: a tombstone with sequence 258 for the hash 0x1122334455667788 in a segment of generation 1 whose first
// sequence is 256:
//
//     00 00 00 80  02 00 00 00  88 77 66 55 44 33 22 11  a8 76 1c 5f
//
// Persistent: a change of anything here is a new `disk_format_version`.

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/record/record.hpp>

namespace smartcache::inline v0::detail {

inline constexpr std::uint32_t disk_format_version = 2;

inline constexpr std::string_view lock_name = "LOCK";
inline constexpr std::string_view manifest_name = "MANIFEST";
inline constexpr std::string_view new_manifest_name = "MANIFEST.new";
inline constexpr std::string_view kills_name = "KILLS";
inline constexpr std::string_view intents_name = "INTENTS";
inline constexpr std::string_view probe_name = "PROBE";

inline constexpr std::size_t manifest_size = 32;
inline constexpr std::size_t segment_header_size = 64;
inline constexpr std::size_t record_header_size = 12;
inline constexpr std::size_t kill_frame_size = 20;
inline constexpr std::size_t kill_entry_size = 24;
inline constexpr std::size_t frame_alignment = 4;
inline constexpr std::uint32_t max_frame_body = (std::uint32_t{1} << 30U) - 1;
inline constexpr std::size_t kill_slots = 2730;  // 64 KiB

template <class T>
void store_le(std::byte* to, T value) noexcept {
    for (std::size_t i = 0; i < sizeof(T); ++i)
        to[i] = static_cast<std::byte>((static_cast<std::uint64_t>(value) >> (8U * i)) & 0xFFU);
}

template <class T>
[[nodiscard]] T load_le(const std::byte* from) noexcept {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) value |= static_cast<std::uint64_t>(from[i]) << (8U * i);
    return static_cast<T>(value);
}

[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) noexcept {
    return (value + unit - 1) / unit * unit;
}

/// Persistent: never renumber.
enum class FrameKind : std::uint8_t { none = 0, record = 1, tombstone = 2, clear = 3 };

struct FrameHeader {
    FrameKind kind = FrameKind::none;
    std::uint32_t length = 0;  ///< of the record, without padding
    std::uint64_t sequence = 0;
    std::uint64_t hash = 0;  ///< not in the bytes of a record, which has its key
    friend bool operator==(const FrameHeader&, const FrameHeader&) = default;
};

/// With header and padding. @param record  0 for kills
[[nodiscard]] constexpr std::uint64_t frame_size(FrameKind kind, std::uint64_t record) noexcept {
    return kind == FrameKind::record ? round_up(record_header_size + record, frame_alignment)
                                     : kill_frame_size;
}

struct SegmentHeader {
    std::uint64_t id = 0;
    std::uint64_t generation = 0;
    std::uint64_t first_sequence = 0;  ///< the counter when the segment was begun
};

/// Whether a frame of a segment that begins with `first` can name `sequence`.
[[nodiscard]] constexpr bool sequence_fits(std::uint64_t sequence, std::uint64_t first) noexcept {
    const auto distance = static_cast<std::int64_t>(sequence - first);
    return distance >= std::numeric_limits<std::int32_t>::min() &&
           distance <= std::numeric_limits<std::int32_t>::max();
}

[[nodiscard]] inline std::uint32_t short_check(ByteView bytes, std::uint64_t seed) noexcept {
    return static_cast<std::uint32_t>(stable_hash(bytes, seed));
}

/// Writes `record_header_size` or `kill_frame_size` bytes. @param header  its sequence must fit (`sequence_fits`)
inline void put_frame_header(std::byte* to, const FrameHeader& header,
                             const SegmentHeader& segment) noexcept {
    store_le<std::uint32_t>(to, header.length | (static_cast<std::uint32_t>(header.kind) << 30U));
    store_le<std::uint32_t>(to + 4, static_cast<std::uint32_t>(header.sequence - segment.first_sequence));
    std::size_t end = 8;
    if (header.kind != FrameKind::record) {
        store_le<std::uint64_t>(to + 8, header.hash);
        end = 16;
    }
    store_le<std::uint32_t>(to + end, short_check({to, end}, segment.generation));
}

/// @param bytes  from the frame's first on, as many as there are
[[nodiscard]] inline std::optional<FrameHeader> parse_frame_header(ByteView bytes,
                                                                   const SegmentHeader& segment) noexcept {
    if (bytes.size() < record_header_size) return std::nullopt;
    const auto word = load_le<std::uint32_t>(bytes.data());
    FrameHeader header;
    header.kind = static_cast<FrameKind>(word >> 30U);
    header.length = word & max_frame_body;
    const bool record = header.kind == FrameKind::record;
    if (header.kind == FrameKind::none || (!record && (header.length != 0 || bytes.size() < kill_frame_size)))
        return std::nullopt;
    const std::size_t end = record ? 8 : 16;
    if (load_le<std::uint32_t>(bytes.data() + end) != short_check(bytes.first(end), segment.generation))
        return std::nullopt;
    if (!record) header.hash = load_le<std::uint64_t>(bytes.data() + 8);
    const auto distance = static_cast<std::int32_t>(load_le<std::uint32_t>(bytes.data() + 4));
    header.sequence = segment.first_sequence + static_cast<std::uint64_t>(std::int64_t{distance});
    return header;
}

using KillBytes = std::array<std::byte, kill_entry_size>;

[[nodiscard]] inline KillBytes encode_kill(const FrameHeader& kill, std::uint64_t token) noexcept {
    KillBytes bytes{};
    store_le(bytes.data(), kill.sequence);
    store_le(bytes.data() + 8, kill.hash);
    store_le(bytes.data() + 16, static_cast<std::uint32_t>(kill.kind));
    store_le(bytes.data() + 20, short_check(ByteView(bytes).first(20), token));
    return bytes;
}

/// @param bytes  `kill_entry_size` of them
[[nodiscard]] inline std::optional<FrameHeader> parse_kill(ByteView bytes, std::uint64_t token) noexcept {
    const auto kind = load_le<std::uint32_t>(bytes.data() + 16);
    if (kind != static_cast<std::uint32_t>(FrameKind::tombstone) &&
        kind != static_cast<std::uint32_t>(FrameKind::clear))
        return std::nullopt;
    if (load_le<std::uint32_t>(bytes.data() + 20) != short_check(bytes.first(20), token)) return std::nullopt;
    return FrameHeader{static_cast<FrameKind>(kind), 0, load_le<std::uint64_t>(bytes.data()),
                       load_le<std::uint64_t>(bytes.data() + 8)};
}

/// Whether the bytes are those of a record that was encoded under `seed`, whatever its limits.
[[nodiscard]] inline bool record_unchanged(ByteView record, std::uint64_t seed) noexcept {
    if (record.size() < record_checksum_size) return false;
    const std::size_t body = record.size() - record_checksum_size;
    return load_le<std::uint64_t>(record.data() + body) == stable_hash(record.first(body), seed);
}

/// Gives a record that was encoded under another seed the checksum of `seed`. The checksum is a record's last
/// field.
inline void reseed_record(std::span<std::byte> record, std::uint64_t seed) noexcept {
    const std::size_t body = record.size() - record_checksum_size;
    store_le(record.data() + body, stable_hash(record.first(body), seed));
}

inline void put_segment_header(std::byte* to, const SegmentHeader& header, std::uint64_t token) noexcept {
    std::memset(to, 0, segment_header_size);
    std::memcpy(to, "SMCS", 4);
    store_le<std::uint32_t>(to + 4, disk_format_version);
    store_le(to + 8, header.id);
    store_le(to + 16, header.generation);
    store_le(to + 24, header.first_sequence);
    store_le(to + 56, stable_hash({to, 56}, token));
}

[[nodiscard]] inline std::optional<SegmentHeader> parse_segment_header(ByteView bytes,
                                                                       std::uint64_t token) noexcept {
    if (bytes.size() < segment_header_size) return std::nullopt;
    const std::byte* const from = bytes.data();
    if (as_text_view(bytes.first(4)) != "SMCS" || load_le<std::uint32_t>(from + 4) != disk_format_version ||
        load_le<std::uint64_t>(from + 56) != stable_hash(bytes.first(56), token))
        return std::nullopt;
    return SegmentHeader{load_le<std::uint64_t>(from + 8), load_le<std::uint64_t>(from + 16),
                         load_le<std::uint64_t>(from + 24)};
}

struct Manifest {
    std::uint32_t version = disk_format_version;
    std::uint64_t token = 0;
};

using ManifestBytes = std::array<std::byte, manifest_size>;

[[nodiscard]] inline ManifestBytes encode_manifest(const Manifest& manifest) noexcept {
    ManifestBytes bytes{};
    std::memcpy(bytes.data(), "SMCDISK\n", 8);
    store_le(bytes.data() + 8, manifest.version);
    store_le<std::uint32_t>(bytes.data() + 12, manifest_size);
    store_le(bytes.data() + 16, manifest.token);
    store_le(bytes.data() + 24, stable_hash(ByteView(bytes).first(24)));
    return bytes;
}

/// Reads a manifest of any version: magic, version, size and a check at the end are in all of them.
/// @return nullopt when the bytes are no manifest or damaged; `token` is set for our own version only
[[nodiscard]] inline std::optional<Manifest> parse_manifest(ByteView bytes) noexcept {
    if (bytes.size() < manifest_size || as_text_view(bytes.first(8)) != "SMCDISK\n") return std::nullopt;
    const auto size = load_le<std::uint32_t>(bytes.data() + 12);
    if (size != bytes.size() ||
        load_le<std::uint64_t>(bytes.data() + size - 8) != stable_hash(bytes.first(size - 8)))
        return std::nullopt;
    Manifest manifest;
    manifest.version = load_le<std::uint32_t>(bytes.data() + 8);
    if (manifest.version == disk_format_version) manifest.token = load_le<std::uint64_t>(bytes.data() + 16);
    return manifest;
}

/// Looks for the one flipped bit that makes `bytes` valid again, and flips it back. With it no single flipped
/// bit can lose a tombstone, and with it bring an erased value back.
/// @param valid  called on the changed bytes, up to eight times for each byte
template <class Valid>
[[nodiscard]] bool repair_one_bit(std::span<std::byte> bytes, Valid valid) {
    for (std::byte& byte : bytes) {
        for (unsigned bit = 0; bit < 8; ++bit) {
            byte ^= static_cast<std::byte>(1U << bit);
            if (valid()) return true;
            byte ^= static_cast<std::byte>(1U << bit);
        }
    }
    return false;
}

[[nodiscard]] inline std::string segment_name(std::uint64_t id) {
    std::string digits = std::to_string(id);
    if (digits.size() < 8) digits.insert(0, 8 - digits.size(), '0');
    return digits + ".seg";
}

/// @return nullopt when `name` is not what `segment_name` makes
[[nodiscard]] inline std::optional<std::uint64_t> segment_id(std::string_view name) {
    std::uint64_t id = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (error != std::errc{} || segment_name(id) != name) return std::nullopt;
    return id;
}

}  // namespace smartcache::inline v0::detail
