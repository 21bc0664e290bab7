#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include <smartcache/core/bytes.hpp>
#include <smartcache/record/record.hpp>
#include <smartcache/record/varint.hpp>

namespace smartcache::inline v0::detail {

/// What the first bytes of a record say about the rest: enough to tell whether it is alive, without its
/// value. Unlike `parse_record` this cannot check the checksum; good for answering "was something there", not
/// for serving anything.
struct RecordHead {
    RecordView record;  ///< without key, tags and payload

    /// As many bytes as any head takes: 14 fixed ones and five numbers.
    static constexpr std::size_t max_size = 64;

    /// @param bytes  the first `max_size` bytes of what may be a record, or all of them
    [[nodiscard]] static std::optional<RecordHead> parse(ByteView bytes) noexcept {
        if (bytes.size() < 3 || as_text_view(bytes.first(2)) != "SC" || bytes[2] != std::byte{1})
            return std::nullopt;
        ByteReader reader(bytes.subspan(3));
        const auto flags = reader.fixed<std::uint16_t>();
        const auto has = [flags](std::uint16_t flag) { return (flags & flag) != 0; };
        RecordHead head;
        RecordView& record = head.record;
        record.codec = reader.fixed<std::uint8_t>();
        record.stamp = reader.fixed<std::uint64_t>();
        record.tombstone = has(RecordFlag::tombstone);
        record.negative = has(RecordFlag::negative);
        const std::uint64_t created = reader.varint();
        const std::uint64_t schema = has(RecordFlag::schema) ? reader.varint() : 0;
        record.created_seq = has(RecordFlag::seq) ? reader.varint() : 0;
        const std::uint64_t lifetime = has(RecordFlag::lifetime) ? reader.varint() : 0;
        const std::uint64_t grace = has(RecordFlag::grace) ? reader.varint() : 0;
        if (!reader.ok() || (flags & ~unsigned{RecordFlag::known}) != 0 || created > max_record_length ||
            lifetime > max_record_length || grace > max_record_length)
            return std::nullopt;
        record.schema = static_cast<std::uint32_t>(schema);
        record.created = WallTime(Duration(static_cast<std::int64_t>(created)));
        if (has(RecordFlag::lifetime)) {
            record.expires = record.created + Duration(static_cast<std::int64_t>(lifetime));
            record.stale_until = record.expires + Duration(static_cast<std::int64_t>(grace));
        }
        return head;
    }
};

}  // namespace smartcache::inline v0::detail
