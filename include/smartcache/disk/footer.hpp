#pragma once

// The footer of a sealed segment: what the index needs of each frame, in the frames' order, so that opening a store
// reads about ten bytes per record instead of all of it. It is also a second copy of all kills: with it, no damage to
// a sealed segment's frames can bring back what they have killed.
//
//     footer  = *entry trailer
//     entry   = flags[1] hash[8] [size] [sequence] [name-space] [dead-at]
//     size       = varint, of the frame in units of 4 bytes; absent: as the record's before
//     sequence   = zigzag varint, distance from the entry's before + 1; absent: 0
//     name-space = index[1], in the list of namespaces met so far, or 64, then hash[8], which joins the list while that
//                  has less than 64 members; absent: as the record's before
//     dead-at    = zigzag varint, distance from the record's before, see Location::dead_at; absent: 0
//     flags   = kind (two bits), then a bit for the presence of each optional field; the first record's are all present
//     trailer = "SMCF" entries-size[4] records[4] clears[4] check[8] = 24
//
// `check` is XXH3 of everything before it, seeded by the generation. Tombstones and clears have neither size,
// name-space nor dead-at. The file ends behind the trailer.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include <smartcache/disk/format.hpp>
#include <smartcache/record/varint.hpp>

namespace smartcache::inline v0::detail {

inline constexpr std::size_t footer_trailer_size = 24;
inline constexpr std::size_t footer_entry_max = 1 + 8 + 5 + 10 + 9 + 6;

/// What the index needs to know of a frame.
struct FrameEntry {
    FrameKind kind = FrameKind::none;
    std::uint64_t hash = 0;
    std::uint64_t sequence = 0;
    std::uint64_t offset = 0;      ///< in the segment
    std::uint64_t size = 0;        ///< with header and padding
    std::uint64_t name_space = 0;  ///< records only
    std::uint32_t dead_at = 0;     ///< records only
};

/// The state that both sides of the encoding keep from entry to entry.
struct FooterState {
    static constexpr std::size_t listed = 64;
    static constexpr unsigned has_size = 4, has_sequence = 8, has_name_space = 16, has_dead_at = 32;

    explicit FooterState(std::uint64_t first_sequence) noexcept : next_sequence(first_sequence) {}

    std::uint64_t next_sequence;
    std::uint64_t size = 0;
    std::uint64_t name_space = 0;
    std::uint32_t dead_at = 0;
    std::array<std::uint64_t, listed> names{};
    std::size_t name_count = 0;

    void join(std::uint64_t name) noexcept {
        if (name_count < listed) names[name_count++] = name;
    }
};

/// Collects a segment's footer while the segment grows. Thread safety: none.
class FooterWriter {
  public:
    explicit FooterWriter(const SegmentHeader& segment) noexcept : state_(segment.first_sequence) {}

    /// Bytes of the footer, if `more` entries of the largest size came yet.
    [[nodiscard]] std::uint64_t size(std::uint64_t more = 0) const noexcept {
        return entries_.size() + more * footer_entry_max + footer_trailer_size;
    }
    /// Behind the last frame: a footer is valid only for a segment that ends there. 0: for none.
    [[nodiscard]] std::uint64_t end() const noexcept { return end_; }

    /// Something in the segment cannot be told by a footer.
    void spoil() noexcept {
        spoilt_ = true;
        end_ = 0;
    }

    /// Makes the next `add` succeed. @throws std::bad_alloc
    void prepare() {
        if (entries_.capacity() - entries_.size() < footer_entry_max)
            entries_.reserve(std::max<std::size_t>(2 * entries_.capacity(), 4096));
    }

    void add(const FrameEntry& entry) noexcept {
        std::byte* const flags = grow(1);
        unsigned present = static_cast<unsigned>(entry.kind);
        store_le(grow(8), entry.hash);
        const bool record = entry.kind == FrameKind::record;
        if (record && entry.size != state_.size) {
            present |= FooterState::has_size;
            put(entry.size / frame_alignment);
            state_.size = entry.size;
        }
        if (entry.sequence != state_.next_sequence) {
            present |= FooterState::has_sequence;
            put(zigzag(entry.sequence - state_.next_sequence));
        }
        state_.next_sequence = entry.sequence + 1;
        if (record && (entry.name_space != state_.name_space || records_ == 0)) {
            present |= FooterState::has_name_space;
            put_name(entry.name_space);
        }
        if (record && entry.dead_at != state_.dead_at) {
            present |= FooterState::has_dead_at;
            put(zigzag(
                static_cast<std::uint64_t>(std::int64_t{entry.dead_at} - std::int64_t{state_.dead_at})));
            state_.dead_at = entry.dead_at;
        }
        *flags = static_cast<std::byte>(present);
        records_ += record ? 1 : 0;
        clears_ += entry.kind == FrameKind::clear ? 1 : 0;
        end_ = spoilt_ ? 0 : entry.offset + entry.size;
    }

    /// The whole footer. @throws std::bad_alloc
    [[nodiscard]] ByteView finish(std::uint64_t generation) {
        const std::size_t entries = entries_.size();
        entries_.resize(entries + footer_trailer_size);
        std::byte* const to = entries_.data() + entries;
        std::memcpy(to, "SMCF", 4);
        store_le(to + 4, static_cast<std::uint32_t>(entries));
        store_le(to + 8, records_);
        store_le(to + 12, clears_);
        store_le(to + 16, stable_hash(ByteView(entries_).first(entries + 16), generation));
        return entries_;
    }

    /// The footer is written: its memory is needed no longer.
    void release() noexcept { std::vector<std::byte>().swap(entries_); }

  private:
    [[nodiscard]] static std::uint64_t zigzag(std::uint64_t distance) noexcept {
        return (distance << 1U) ^ (0 - (distance >> 63U));
    }
    std::byte* grow(std::size_t bytes) noexcept {  // within what `prepare` has reserved
        entries_.resize(entries_.size() + bytes);
        return entries_.data() + entries_.size() - bytes;
    }
    void put(std::uint64_t value) noexcept {
        for (; value >= 0x80; value >>= 7U) *grow(1) = static_cast<std::byte>(value | 0x80U);
        *grow(1) = static_cast<std::byte>(value);
    }
    void put_name(std::uint64_t name) noexcept {
        state_.name_space = name;
        const auto end = state_.names.begin() + static_cast<std::ptrdiff_t>(state_.name_count);
        const auto found = std::find(state_.names.begin(), end, name);
        if (found != end) {
            *grow(1) = static_cast<std::byte>(found - state_.names.begin());
            return;
        }
        *grow(1) = static_cast<std::byte>(FooterState::listed);
        store_le(grow(8), name);
        state_.join(name);
    }

    FooterState state_;
    std::vector<std::byte> entries_;
    std::uint32_t records_ = 0;
    std::uint32_t clears_ = 0;
    std::uint64_t end_ = segment_header_size;
    bool spoilt_ = false;
};

struct FooterTrailer {
    std::uint32_t entries_size = 0;
    std::uint32_t records = 0;
    std::uint32_t clears = 0;

    [[nodiscard]] std::uint64_t footer_size() const noexcept {
        return std::uint64_t{entries_size} + footer_trailer_size;
    }
};

/// @param bytes  the last `footer_trailer_size` of a file. @return nullopt when they end no footer; what is in it may
///               still be damaged
[[nodiscard]] inline std::optional<FooterTrailer> parse_footer_trailer(ByteView bytes) noexcept {
    if (bytes.size() != footer_trailer_size || as_text_view(bytes.first(4)) != "SMCF") return std::nullopt;
    return FooterTrailer{load_le<std::uint32_t>(bytes.data() + 4), load_le<std::uint32_t>(bytes.data() + 8),
                         load_le<std::uint32_t>(bytes.data() + 12)};
}

/// Whether `footer` is whole and unchanged.
[[nodiscard]] inline bool footer_intact(ByteView footer, std::uint64_t generation) noexcept {
    if (footer.size() < footer_trailer_size) return false;
    const auto trailer = parse_footer_trailer(footer.last(footer_trailer_size));
    return trailer && trailer->footer_size() == footer.size() &&
           load_le<std::uint64_t>(footer.data() + footer.size() - 8) ==
               stable_hash(footer.first(footer.size() - 8), generation);
}

/// Visits the frames that an intact footer tells of: `visit(const FrameEntry&)`.
/// @param frames_end  where the footer begins in its file
/// @return false: the footer contradicts itself or the file, which no writer has made so
template <class Visit>
[[nodiscard]] bool read_footer(ByteView footer, const SegmentHeader& segment, std::uint64_t frames_end,
                               Visit visit) {
    const auto unzigzag = [](std::uint64_t value) { return (value >> 1U) ^ (0 - (value & 1U)); };
    FooterState state(segment.first_sequence);
    ByteReader reader(footer.first(footer.size() - footer_trailer_size));
    std::uint64_t offset = segment_header_size;
    while (reader.remaining() != 0) {
        FrameEntry entry;
        const auto flags = static_cast<unsigned>(reader.fixed<std::uint8_t>());
        entry.kind = static_cast<FrameKind>(flags & 3U);
        entry.hash = reader.fixed<std::uint64_t>();
        if ((flags & FooterState::has_size) != 0) state.size = reader.varint() * frame_alignment;
        if ((flags & FooterState::has_sequence) != 0) state.next_sequence += unzigzag(reader.varint());
        entry.sequence = state.next_sequence++;
        if ((flags & FooterState::has_name_space) != 0) {
            const auto index = reader.fixed<std::uint8_t>();
            if (index >= state.name_count && index != FooterState::listed) return false;
            if (index == FooterState::listed) {
                state.name_space = reader.fixed<std::uint64_t>();
                state.join(state.name_space);
            } else {
                state.name_space = state.names[index];
            }
        }
        if ((flags & FooterState::has_dead_at) != 0)
            state.dead_at += static_cast<std::uint32_t>(unzigzag(reader.varint()));
        const bool record = entry.kind == FrameKind::record;
        entry.offset = offset;
        entry.size = record ? state.size : kill_frame_size;
        if (record) {
            entry.name_space = state.name_space;
            entry.dead_at = state.dead_at;
        }
        if (!reader.ok() || entry.kind == FrameKind::none || entry.size < record_header_size ||
            entry.size > frames_end - offset)
            return false;
        offset += entry.size;
        visit(entry);
    }
    return offset == frames_end;
}

}  // namespace smartcache::inline v0::detail
