#pragma once

// Opening a store: the index is built from the segments' footers, in the order of the segments' ids. A segment without
// an intact footer, which after a crash is the one that was being written, is scanned frame by frame.
//
// For each key the frame with the highest sequence decides (R20); a record that has expired or is damaged still kills
// the older ones. A clear may stand before records that it kills (they were moved), so all clears are collected first.
// Then the journal's kills are applied; those that the log does not know are written into it before the store serves
// anything. Last, what has expired is forgotten: not before, because the clock may be wrong (R26), and of a kill whose
// record looks dead already, that the log does not know it, too, must be seen.
//
// Damage. A scan that meets bytes which are no frame looks for the next one that is. If there is none, it is the tail
// that a crash has torn, which is normal. Else the middle was damaged, and a kill may be lost: what is older than the
// damage could come back, so it is dropped. So it is when a whole segment cannot be read. Errors that say nothing about
// the bytes (no descriptors, no memory) end the attempt and leave the store as it was.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <smartcache/core/error.hpp>
#include <smartcache/disk/clears.hpp>
#include <smartcache/disk/footer.hpp>
#include <smartcache/disk/log.hpp>
#include <smartcache/record/record.hpp>

namespace smartcache::inline v0::detail {

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
        collect_clears(journal);
        make_index();
        const std::vector<FrameHeader> missing = apply(journal);
        forget_expired();
        // Which records have a tag, the index does not know: they are judged when they are read.
        for (const auto& [group, clear] : cleared_)
            if (!log_.knows_namespace(group) && lowest_sequence() < clear.anywhere)
                log_.know_end(group, clear.anywhere);
        log_.begin(ids.empty() ? 1 : ids.back() + 1, highest_sequence_ + 1, std::move(last_));
        log_.restore(missing);
    }

  private:
    void require(int error, std::string_view what) const {
        if (error != 0) throw ConfigError("disk.path", std::string(what), "accessible: " + errno_text(error));
    }

    /// The bound may have been lowered between runs: the oldest go before anything else happens.
    void keep_bound(std::vector<std::uint64_t>& ids) {
        std::vector<std::uint64_t> sizes;
        std::uint64_t total = log_.settings.segment_size;  // for the segment that will be begun
        for (const std::uint64_t id : ids) {
            const File file = log_.directory.open_file(segment_name(id), O_RDONLY);
            struct stat status {};
            if (file) (void)log_.io.status(file.get(), &status);
            sizes.push_back(taken_by(status));
            total += sizes.back();
        }
        std::size_t dropped = 0;
        for (; dropped < ids.size() && total > log_.settings.budget; ++dropped) {
            require(log_.directory.unlink(segment_name(ids[dropped])), segment_name(ids[dropped]));
            total -= sizes[dropped];
        }
        ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(dropped));
        to_spare_ = log_.settings.budget - std::min(total, log_.settings.budget);
    }
    [[nodiscard]] static std::uint64_t taken_by(const struct stat& status) noexcept {
        return std::max(round_up(static_cast<std::uint64_t>(status.st_size), 4096),
                        static_cast<std::uint64_t>(status.st_blocks) * 512);
    }

    struct Opened {
        std::shared_ptr<Segment> segment;
        std::uint32_t records = 0;       // of the footer
        std::uint32_t clears = 0;        // of the footer
        std::vector<FrameEntry> frames;  // of a segment without one
    };

    /// A kill may be lost: what is older cannot be trusted any more.
    void distrust_older() {
        for (const Opened& older : opened_) {
            (void)older;
            require(log_.drop_oldest(), "the oldest segment");
        }
        opened_.clear();
    }

    /// A file that is none of ours, or of which nothing can be read.
    void discard(std::uint64_t id, const char* why) {
        if (why != nullptr) {
            log_.reporter.count(DiskEvent::corrupt);
            log_.reporter.say(LogLevel::warning, why,
                              segment_name(id) + "; it is dropped, with all older ones");
            distrust_older();
        }
        require(log_.directory.unlink(segment_name(id)), segment_name(id));
    }

    void open_segment(std::uint64_t id, bool last) {
        File file = log_.directory.open_file(segment_name(id), O_RDWR);
        const int error = file ? 0 : errno;
        if (error != 0 && error != ELOOP && error != EISDIR && error != ENOENT)
            require(error, segment_name(id));
        struct stat status {};
        if (file && log_.io.status(file.get(), &status) != 0) require(errno, segment_name(id));
        if (!file || !S_ISREG(status.st_mode) || status.st_uid != ::geteuid())
            return discard(id, "a segment is no file of ours");
        std::array<std::byte, segment_header_size> bytes{};
        std::size_t got = 0;
        if (!readable(read_fully(log_.io, file.get(), bytes, 0, got), id))
            return discard(id, "a segment cannot be read");
        // The last one: a crash while it was created. An empty one: its creation failed, and removing it too.
        if (got < bytes.size()) return discard(id, last || got == 0 ? nullptr : "a segment was cut short");
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
        adopt(std::move(file), *header, status, last && intact);
    }

    /// Whether the bytes are there. @throws ConfigError when the error says nothing about them
    [[nodiscard]] bool readable(int error, std::uint64_t id) const {
        if (error == 0) return true;
        log_.reporter.failed("reading a segment", error);
        if (error != EIO) require(error, segment_name(id));
        return false;
    }

    void adopt(File file, const SegmentHeader& header, const struct stat& status, bool may_continue) {
        const auto size = static_cast<std::uint64_t>(status.st_size);
        std::vector<std::byte> bytes;
        const std::optional<FooterTrailer> trailer = find_footer(file, header, size, bytes);
        Scan scan;
        scan.end = trailer ? size - trailer->footer_size() : segment_header_size;
        if (!trailer) {
            bytes.resize(static_cast<std::size_t>(size));
            std::size_t got = 0;
            if (!readable(read_fully(log_.io, file.get(), bytes, 0, got), header.id))
                return discard(header.id, "a segment cannot be read");
            scan_frames(header, ByteView(bytes).first(got), scan);
        }
        if (scan.hole) {
            log_.reporter.say(LogLevel::warning, "a segment is damaged, what is older is dropped",
                              segment_name(header.id));
            distrust_older();
        }
        bool continued = may_continue && scan.end <= log_.settings.segment_size / 2;
        if (continued && trailer)
            (void)read_footer(bytes, header, scan.end,
                              [&](const FrameEntry& entry) { scan.frames.push_back(entry); });
        // Before anything maps it, and before the first write: no footer ends a segment that goes on (R20).
        continued = continued && log_.io.truncate(file.get(), scan.end) == 0;

        FooterWriter footer(header);
        if (scan.spoilt) footer.spoil();
        for (const FrameEntry& entry : scan.frames) {
            footer.prepare();
            footer.add(entry);
        }
        const bool finished = trailer && !continued;
        if (!finished && !continued &&
            !may_take(round_up(scan.end + footer.size(), 4096), taken_by(status))) {
            footer.spoil();
            footer.release();
        }
        const std::uint64_t footer_room = footer.end() == 0 ? 0 : footer.size();
        std::uint64_t capacity = finished ? size : round_up(scan.end + footer_room, 4096);
        if (continued) capacity = std::max(capacity, log_.settings.segment_size);
        std::shared_ptr<Segment> segment = log_.adopt(header, capacity);
        if (!segment) {
            require(log_.drop_oldest(), "the oldest segment");
            opened_.erase(opened_.begin());
            segment = log_.adopt(header, capacity);
        }
        segment->footer = std::move(footer);
        const std::uint64_t taken = std::max(round_up(size, 4096), capacity);
        log_.space.take(taken);
        const int descriptor = file.get();
        segment->attach(std::move(file), taken, log_.settings.map);
        segment->advance(scan.end);
        if (continued) {
            (void)log_.io.allocate(descriptor, capacity);
            last_ = segment;
        } else if (finished) {
            // A crash between the footer and the cut behind it.
            if (static_cast<std::uint64_t>(status.st_blocks) * 512 > taken)
                (void)log_.io.truncate(descriptor, size);
            segment->sealed(trailer->footer_size());
        } else if (const int error = segment->seal(finished_footer(*segment), log_.settings.sync)) {
            log_.reporter.failed("ftruncate", error);
        }
        if (!continued) segment->footer.release();
        opened_.push_back({segment, finished ? trailer->records : 0, finished ? trailer->clears : 0,
                           std::move(scan.frames)});
    }

    /// Whether a file may take so much from now on, with the footer that it gets, where it took `before`.
    [[nodiscard]] bool may_take(std::uint64_t bytes, std::uint64_t before) noexcept {
        const std::uint64_t more = bytes - std::min(bytes, before);
        if (more > to_spare_) return false;
        to_spare_ -= more;
        return true;
    }

    [[nodiscard]] static ByteView finished_footer(Segment& segment) {
        return segment.footer.end() == segment.written() ? segment.footer.finish(segment.generation())
                                                         : ByteView();
    }

    /// @param footer  gets its bytes
    [[nodiscard]] std::optional<FooterTrailer> find_footer(const File& file, const SegmentHeader& header,
                                                           std::uint64_t size,
                                                           std::vector<std::byte>& footer) const {
        if (size < segment_header_size + footer_trailer_size) return std::nullopt;
        std::array<std::byte, footer_trailer_size> bytes{};
        std::size_t got = 0;
        if (read_fully(log_.io, file.get(), bytes, size - bytes.size(), got) != 0) return std::nullopt;
        const auto trailer = parse_footer_trailer(ByteView(bytes).first(got));
        if (!trailer || trailer->footer_size() > size - segment_header_size) return std::nullopt;
        footer.resize(static_cast<std::size_t>(trailer->footer_size()));
        const std::uint64_t end = size - footer.size();
        if (read_fully(log_.io, file.get(), footer, end, got) != 0 || got < footer.size() ||
            !footer_intact(footer, header.generation) ||
            !read_footer(footer, header, end, [](const FrameEntry&) {}))
            return std::nullopt;
        return trailer;
    }

    struct Scan {
        std::vector<FrameEntry> frames;
        std::uint64_t end = segment_header_size;  ///< behind the last intact frame, its padding included
        bool hole = false;                        ///< a kill may be lost; `frames` are those behind
        bool spoilt = false;                      ///< a footer could not tell of this segment
    };

    void scan_frames(const SegmentHeader& segment, ByteView content, Scan& scan) const {
        std::uint64_t at = scan.end;
        while (at + record_header_size <= content.size()) {
            auto header = parse_frame_header(content.subspan(at), segment);
            const bool repaired = !header && repair(content.subspan(at), segment, header);
            if (!header) {
                at = next_frame(content, at, segment);
                if (at < content.size()) lose_kill(scan);
                continue;
            }
            const std::uint64_t room = content.size() - at - record_header_size;
            if (header->kind == FrameKind::record && header->length > room)
                break;  // torn; what it would have replaced is in the journal
            FrameEntry entry;
            entry.kind = header->kind;
            entry.hash = header->hash;
            entry.sequence = header->sequence;
            entry.offset = at;
            entry.size = frame_size(header->kind, header->length);
            at += entry.size;
            scan.end = at;
            if (entry.kind == FrameKind::record &&
                !read_head(content.subspan(entry.offset + record_header_size, header->length), segment,
                           entry)) {
                lose_kill(scan);  // of which key it is can no longer be told
                continue;
            }
            if (repaired) {
                log_.reporter.count(DiskEvent::corrupt);
                scan.spoilt =
                    true;  // in the file its header is damaged still: nobody can read it, but it kills
                if (entry.kind == FrameKind::record) entry.kind = FrameKind::tombstone;
            }
            scan.frames.push_back(entry);
        }
    }

    void lose_kill(Scan& scan) const {
        log_.reporter.count(DiskEvent::corrupt);
        scan.hole = scan.spoilt = true;
        scan.frames.clear();
    }

    /// @return false: the record is damaged
    bool read_head(ByteView body, const SegmentHeader& segment, FrameEntry& entry) const {
        const ParsedRecord parsed = parse_record(body, {}, segment.generation);
        if (!parsed) return false;
        entry.hash = log_.hash_of(parsed.record.key);
        entry.name_space = namespace_hash(parsed.record.key, log_.directory.token());
        entry.dead_at = Location::coarse(std::max(parsed.record.expires, parsed.record.stale_until));
        return true;
    }

    static bool repair(ByteView bytes, const SegmentHeader& segment, std::optional<FrameHeader>& header) {
        std::array<std::byte, kill_frame_size> copy{};
        const std::size_t size = std::min(copy.size(), bytes.size());
        std::memcpy(copy.data(), bytes.data(), size);
        const auto parse = [&] { return parse_frame_header(ByteView(copy).first(size), segment); };
        if (!repair_one_bit(std::span(copy).first(size), [&] { return parse().has_value(); })) return false;
        header = parse();
        if (header->length <= bytes.size() - record_header_size) return true;
        header.reset();
        return false;
    }

    static std::uint64_t next_frame(ByteView content, std::uint64_t at, const SegmentHeader& segment) {
        for (at += frame_alignment; at + record_header_size <= content.size(); at += frame_alignment)
            if (parse_frame_header(content.subspan(at), segment)) return at;
        return content.size();
    }

    /// All frames of a segment, in their order.
    template <class Visit>
    void visit_frames(const Opened& opened, Visit visit) const {
        if (opened.segment->footer_size() == 0)
            for (const FrameEntry& entry : opened.frames) visit(entry);
        else if (!opened.segment->for_each_frame(visit))
            require(EIO, segment_name(opened.segment->id()));  // it could be read a moment ago
    }

    void collect_clears(const std::vector<FrameHeader>& journal) {
        for (const Opened& opened : opened_) {
            if (opened.clears == 0 && opened.frames.empty()) continue;
            visit_frames(opened, [&](const FrameEntry& entry) {
                if (entry.kind == FrameKind::clear) raise(cleared_[entry.hash].in_log, entry.sequence);
            });
        }
        for (const FrameHeader& kill : journal) {
            raise(highest_sequence_, kill.sequence);
            if (kill.kind == FrameKind::clear) raise(cleared_[kill.hash].anywhere, kill.sequence);
        }
        for (auto& [name_space, clear] : cleared_) raise(clear.anywhere, clear.in_log);
    }

    void make_index() {
        std::size_t records = 0;
        for (const Opened& opened : opened_) records += opened.records + opened.frames.size();
        const std::size_t share = records / DiskIndex::shard_count;
        for (IndexShard& shard : log_.index.shards()) shard.reserve(share + share / 16);
        for (Opened& opened : opened_) load(opened);
    }

    void forget_expired() {
        if (expired_)
            (void)log_.index.erase_if([this](const Location& location) {
                if (!location.surely_dead(now_)) return false;
                log_.segment(location.slot)->unlisted();
                return true;
            });
        for (IndexShard& shard : log_.index.shards()) shard.fit();
    }

    void load(Opened& opened) {
        Segment& segment = *opened.segment;
        // In small batches: fetching the slots of one hides behind the work on another.
        constexpr std::size_t batch = 32;
        std::vector<FrameEntry> entries;
        entries.reserve(batch);
        const auto put_batch = [&] {
            for (const FrameEntry& entry : entries) put(segment, entry);
            entries.clear();
        };
        visit_frames(opened, [&](const FrameEntry& entry) {
            segment.note(entry);
            log_.index.shard(entry.hash).prefetch(DiskIndex::tag(entry.hash));
            entries.push_back(entry);
            if (entries.size() == batch) put_batch();
        });
        put_batch();
        opened.frames = {};
    }

    void put(Segment& segment, const FrameEntry& entry) {
        const bool newest =
            entry.sequence > newest_loaded_;  // the usual case needs no look at the older record
        raise(newest_loaded_, entry.sequence);
        raise(highest_sequence_, entry.sequence);
        if (entry.kind == FrameKind::clear) return;
        IndexShard& shard = log_.index.shard(entry.hash);
        const std::uint64_t tag = DiskIndex::tag(entry.hash);
        if (const auto known = shard.find(tag)) {
            const std::uint64_t sequence = newest ? 0 : sequence_at(*known);
            if (sequence > entry.sequence) return;
            if (sequence == entry.sequence && entry.kind != FrameKind::record)
                return;  // a damaged copy of it
            log_.segment(known->slot)->unlisted();
            shard.erase(tag);
        }
        if (entry.kind != FrameKind::record || entry.offset >= Location::offset_limit) return;
        const Location here{segment.slot(), static_cast<std::uint32_t>(entry.offset), entry.dead_at};
        if (cleared(entry)) return;
        expired_ = expired_ || here.surely_dead(now_);
        shard.prepare();
        shard.put(tag, here);
        segment.listed();
        if (entry.name_space == last_namespace_) return;
        last_namespace_ = entry.name_space;
        log_.know_namespace(entry.name_space);
    }

    [[nodiscard]] bool cleared(const FrameEntry& entry) {
        if (cleared_.empty()) return false;
        const auto found = cleared_.find(entry.name_space);
        if (found == cleared_.end() || found->second.anywhere <= entry.sequence) return false;
        if (found->second.in_log <= entry.sequence) found->second.needed = true;
        return true;
    }

    [[nodiscard]] std::uint64_t sequence_at(const Location& location) const {
        const FrameRead frame = log_.segment(location.slot)->read(location.offset);
        if (frame.outcome == FrameRead::Outcome::ok) return frame.header.sequence;
        log_.reporter.count(DiskEvent::corrupt);
        return 0;
    }

    /// @return the kills that had something to kill, in the journal's order: the log does not know them
    std::vector<FrameHeader> apply(const std::vector<FrameHeader>& journal) {
        std::vector<FrameHeader> missing;
        for (const FrameHeader& kill : journal) {
            if (kill.kind == FrameKind::clear) {
                const Cleared& clear = cleared_[kill.hash];
                const bool of_tag = !log_.knows_namespace(kill.hash) && clear.in_log < kill.sequence &&
                                    lowest_sequence() < kill.sequence;
                if ((clear.needed || of_tag) && clear.anywhere == kill.sequence) missing.push_back(kill);
                continue;
            }
            IndexShard& shard = log_.index.shard(kill.hash);
            const auto known = shard.find(DiskIndex::tag(kill.hash));
            if (!known || sequence_at(*known) >= kill.sequence) continue;
            log_.segment(known->slot)->unlisted();
            shard.erase(DiskIndex::tag(kill.hash));
            missing.push_back(kill);
        }
        return missing;
    }

    /// Of any frame in the log.
    [[nodiscard]] std::uint64_t lowest_sequence() const noexcept {
        std::uint64_t lowest = std::numeric_limits<std::uint64_t>::max();
        for (const Opened& opened : opened_) lowest = std::min(lowest, opened.segment->lowest_sequence);
        return lowest;
    }

    static void raise(std::uint64_t& value, std::uint64_t to) noexcept { value = std::max(value, to); }

    struct Cleared {
        std::uint64_t in_log = 0;    // by a sequence that stands in the log
        std::uint64_t anywhere = 0;  // or in the journal
        bool needed = false;         // the journal's had something to kill
    };

    DiskLog& log_;
    const WallTime now_;
    std::uint64_t highest_sequence_ = 0;
    std::uint64_t newest_loaded_ = 0;
    bool expired_ = false;        // whether the index holds what has
    std::uint64_t to_spare_ = 0;  // bytes by which the files may grow
    std::vector<Opened> opened_;
    std::unordered_map<std::uint64_t, Cleared> cleared_;  // by namespace
    std::uint64_t last_namespace_ = 0;
    std::shared_ptr<Segment> last_;
};

}  // namespace smartcache::inline v0::detail
