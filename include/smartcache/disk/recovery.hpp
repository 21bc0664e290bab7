#pragma once

// Opening a store: all segments are scanned in the order of their ids, and the index is built from what is
// intact.
//
// For each key the frame with the highest sequence decides (R20); a record that has expired or is damaged
// still kills the older ones. A scan that meets bytes which are no frame looks for the next one that is:
// nothing intact behind them is lost, and if there is something, the middle of the log was damaged and is
// counted; else it is the tail that a crash has torn, which is normal. Last, the journal's kills are applied;
// those that the log does not know are written into it before the store serves anything.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <smartcache/core/error.hpp>
#include <smartcache/disk/log.hpp>
#include <smartcache/record/key.hpp>

namespace smartcache::inline v0::detail {

/// The hash under which a namespace is cleared. Keys that `physical_key` did not make share one that nobody
/// clears.
[[nodiscard]] inline std::uint64_t namespace_hash(std::string_view physical, std::uint64_t token) noexcept {
    const auto parts = split_physical_key(physical);
    return parts ? stable_hash(as_byte_view(parts->name_space), token) : ~token;
}

class DiskRecovery {
  public:
    explicit DiskRecovery(DiskLog& log) : log_(log), now_(log.time.wall()) {}

    /// @throws ConfigError when the directory cannot be worked with
    void run() {
        std::vector<FrameHeader> journal;
        require(log_.journal.open(log_.directory, log_.settings.map, journal), kills_name);
        std::vector<std::uint64_t> ids;
        require(log_.directory.list_segments(ids), "the directory");
        keep_bound(ids);
        for (const std::uint64_t id : ids) open_segment(id, id == ids.back());
        const std::vector<FrameHeader> missing = apply(journal);
        log_.begin(ids.empty() ? 1 : ids.back() + 1, highest_sequence_ + 1, std::move(last_), last_used_);
        log_.restore(missing);
    }

  private:
    void require(int error, std::string_view what) const {
        if (error != 0) throw ConfigError("disk.path", std::string(what), "accessible: " + errno_text(error));
    }

    /// The bound may have been lowered between runs: the oldest go before anything else happens.
    void keep_bound(std::vector<std::uint64_t>& ids) const {
        std::vector<std::uint64_t> sizes;
        std::uint64_t total = log_.settings.segment_size;  // for the segment that will be begun
        for (const std::uint64_t id : ids) {
            const File file = log_.directory.open_file(segment_name(id), O_RDONLY);
            struct stat status {};
            if (file) (void)log_.io.status(file.get(), &status);
            sizes.push_back(std::max(round_up(static_cast<std::uint64_t>(status.st_size), 4096),
                                     static_cast<std::uint64_t>(status.st_blocks) * 512));
            total += sizes.back();
        }
        std::size_t dropped = 0;
        for (; dropped < ids.size() && total > log_.settings.budget; ++dropped) {
            require(log_.directory.unlink(segment_name(ids[dropped])), segment_name(ids[dropped]));
            total -= sizes[dropped];
        }
        ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(dropped));
    }

    /// A file that is none of ours, or of which nothing can be read.
    void discard(std::uint64_t id, const char* why) const {
        if (why != nullptr) {
            log_.reporter.count(DiskEvent::corrupt);
            log_.reporter.say(LogLevel::warning, why, segment_name(id));
        }
        require(log_.directory.unlink(segment_name(id)), segment_name(id));
    }

    void open_segment(std::uint64_t id, bool last) {
        File file = log_.directory.open_file(segment_name(id), O_RDWR);
        struct stat status {};
        if (!file || log_.io.status(file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
            status.st_uid != ::geteuid())
            return discard(id, "a segment is no file of ours");
        const auto size = static_cast<std::uint64_t>(status.st_size);
        std::array<std::byte, segment_header_size> bytes{};
        std::size_t got = 0;
        if (read_fully(log_.io, file.get(), bytes, 0, got) != 0)
            return discard(id, "a segment cannot be read");
        if (got < bytes.size()) return discard(id, nullptr);  // a crash while it was created
        bool intact = true;
        auto header = parse_segment_header(bytes, log_.directory.token());
        if (!header) {
            intact = false;
            const auto parse = [&] { return parse_segment_header(bytes, log_.directory.token()); };
            if (!repair_one_bit(bytes, [&] { return parse().has_value(); }))
                return discard(id, "a segment's header is damaged");
            log_.reporter.count(DiskEvent::corrupt);
            header = parse();
        }
        if (header->id != id) return discard(id, "a segment was renamed");
        highest_sequence_ = std::max(highest_sequence_, header->first_sequence - 1);

        const bool continued = last && intact && size <= log_.settings.segment_size / 2;
        const std::uint64_t capacity = continued ? log_.settings.segment_size : size;
        std::shared_ptr<Segment> segment = log_.adopt(*header, capacity);
        if (!segment) {
            require(log_.drop_oldest(), "the oldest segment");
            segment = log_.adopt(*header, capacity);
        }
        const std::uint64_t taken = round_up(size, 4096);
        log_.space.take(taken);
        segment->attach(std::move(file), taken, log_.settings.map);
        segment->advance(size);
        const std::uint64_t used = scan_file(*segment, size);
        segment->advance(used);
        if (!continued || log_.io.truncate(segment->descriptor(), used) != 0) {
            const bool trimmed = used == size && static_cast<std::uint64_t>(status.st_blocks) * 512 <= taken;
            if (const int error = segment->seal(trimmed))
                log_.reporter.failed("ftruncate", errno_text(error));
            return;
        }
        segment->take_more(capacity - taken);
        (void)log_.io.allocate(segment->descriptor(), capacity);
        last_ = std::move(segment);
        last_used_ = used;
    }

    /// @return the offset behind the last intact frame, its padding included
    std::uint64_t scan_file(Segment& segment, std::uint64_t size) {
        void* const address = log_.settings.map ? log_.io.map(segment.descriptor(), size, false) : MAP_FAILED;
        if (address != MAP_FAILED) {
            const std::uint64_t used = scan(segment, {static_cast<const std::byte*>(address), size});
            (void)log_.io.unmap(address, size);
            return used;
        }
        std::vector<std::byte> content(size);
        std::size_t got = 0;
        if (const int error = read_fully(log_.io, segment.descriptor(), content, 0, got))
            log_.reporter.failed("reading a segment", errno_text(error));
        return scan(segment, ByteView(content).first(got));
    }

    std::uint64_t scan(Segment& segment, ByteView content) {
        std::uint64_t used = segment_header_size;
        std::uint64_t at = used;
        while (at + frame_header_size <= content.size()) {
            auto header = parse_frame_header(content.data() + at, segment.generation());
            const bool repaired = !header && repair(content.subspan(at), segment.generation(), header);
            if (!header) {
                at = next_frame(content, at, segment.generation());
                if (at < content.size()) log_.reporter.count(DiskEvent::corrupt);
                continue;
            }
            const ByteView rest = content.subspan(at + frame_header_size);
            if (header->length > rest.size()) break;  // torn; what it would have replaced is in the journal
            apply_frame(segment, at, *header, rest.first(header->length), repaired);
            at += frame_size(header->length);
            used = at;
        }
        return used;
    }

    static bool repair(ByteView bytes, std::uint64_t seed, std::optional<FrameHeader>& header) {
        FrameHeaderBytes copy;
        std::memcpy(copy.data(), bytes.data(), copy.size());
        if (!repair_one_bit(copy, [&] { return parse_frame_header(copy.data(), seed).has_value(); }))
            return false;
        header = parse_frame_header(copy.data(), seed);
        return header->length <= bytes.size() - frame_header_size;
    }

    static std::uint64_t next_frame(ByteView content, std::uint64_t at, std::uint64_t seed) {
        for (at += frame_alignment; at + frame_header_size <= content.size(); at += frame_alignment)
            if (parse_frame_header(content.data() + at, seed)) return at;
        return content.size();
    }

    void note(Segment& segment, const FrameHeader& header) {
        highest_sequence_ = std::max(highest_sequence_, header.sequence);
        segment.lowest_sequence = std::min(segment.lowest_sequence, header.sequence);
    }

    /// @param repaired  the header in the file is damaged: a record behind it cannot be read, but it kills
    void apply_frame(Segment& segment, std::uint64_t at, const FrameHeader& header, ByteView body,
                     bool repaired) {
        note(segment, header);
        if (repaired) log_.reporter.count(DiskEvent::corrupt);
        if (header.kind == FrameKind::tombstone) {
            (void)kill(header.hash, header.sequence);
            return;
        }
        if (header.kind == FrameKind::clear) {
            (void)clear(header.hash, header.sequence);
            return;
        }
        const ParsedRecord parsed = parse_record(body, {}, segment.generation());
        if (!parsed && !repaired) log_.reporter.count(DiskEvent::corrupt);
        (void)kill(header.hash, header.sequence);
        if (!parsed || repaired) return;
        const RecordView& record = parsed.record;
        const WallTime end = std::max(record.expires, record.stale_until);
        const std::uint64_t name_space = namespace_hash(record.key, log_.directory.token());
        if (now_ >= end || known_newer(header) || cleared_[name_space] > header.sequence) return;
        IndexShard& shard = log_.index.shard(header.hash);
        shard.prepare();
        shard.put(DiskIndex::tag(header.hash),
                  {segment.slot(), static_cast<std::uint32_t>(at), Location::coarse(end)});
        segment.live.fetch_add(1, std::memory_order_relaxed);
        log_.know_namespace(name_space);
    }

    [[nodiscard]] std::uint64_t sequence_at(const Location& location) const {
        const FrameRead frame = log_.segment(location.slot)->read(location.offset);
        return frame.outcome == FrameRead::Outcome::ok ? frame.header.sequence : 0;
    }

    [[nodiscard]] bool known_newer(const FrameHeader& header) {
        const auto known = log_.index.shard(header.hash).find(DiskIndex::tag(header.hash));
        return known && sequence_at(*known) > header.sequence;
    }

    /// @return whether there was something to kill
    bool kill(std::uint64_t hash, std::uint64_t sequence) {
        IndexShard& shard = log_.index.shard(hash);
        const auto known = shard.find(DiskIndex::tag(hash));
        if (!known || sequence_at(*known) >= sequence) return false;
        log_.segment(known->slot)->live.fetch_sub(1, std::memory_order_relaxed);
        return shard.erase(DiskIndex::tag(hash));
    }

    bool clear(std::uint64_t name_space, std::uint64_t sequence) {
        if (cleared_[name_space] >= sequence) return false;
        cleared_[name_space] = sequence;
        const std::size_t removed = log_.index.erase_if([&](const Location& location) {
            Segment& segment = *log_.segment(location.slot);
            const FrameRead frame = segment.read(location.offset);
            if (frame.outcome == FrameRead::Outcome::ok) {
                if (frame.header.sequence >= sequence) return false;
                const ParsedRecord parsed = parse_record(frame.body, {}, segment.generation());
                if (parsed && namespace_hash(parsed.record.key, log_.directory.token()) != name_space)
                    return false;
            }
            segment.live.fetch_sub(1, std::memory_order_relaxed);
            return true;
        });
        return removed != 0;
    }

    /// @return the kills that had something to kill, in the journal's order: the log does not know them
    std::vector<FrameHeader> apply(const std::vector<FrameHeader>& journal) {
        std::vector<FrameHeader> missing;
        for (const FrameHeader& entry : journal) {
            highest_sequence_ = std::max(highest_sequence_, entry.sequence);
            const bool killed = entry.kind == FrameKind::clear ? clear(entry.hash, entry.sequence)
                                                               : kill(entry.hash, entry.sequence);
            if (killed) missing.push_back(entry);
        }
        return missing;
    }

    DiskLog& log_;
    const WallTime now_;
    std::uint64_t highest_sequence_ = 0;
    std::unordered_map<std::uint64_t, std::uint64_t> cleared_;  // namespace to sequence
    std::shared_ptr<Segment> last_;
    std::uint64_t last_used_ = 0;
};

}  // namespace smartcache::inline v0::detail
