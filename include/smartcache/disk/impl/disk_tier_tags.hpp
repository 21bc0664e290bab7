#pragma once

// The tags of DiskTier (disk/disk_tier.hpp): what has become of a record's, and their ends.

#include <smartcache/disk/disk_tier.hpp>

namespace smartcache::inline v0 {

/// What has become of the record's tags since it was written: erased ones end it, expired ones make it stale.
inline void DiskTier::judge_tags(const Seen& seen, Examined& examined) const {
    const detail::EndedGroups& ended = log_.ended_tags();
    const std::uint64_t sequence = examined.frame.header.sequence;
    const std::string_view name_space = detail::namespace_of(examined.record.key);
    const auto since = [&](std::uint64_t group) { return sequence < ended.before(group); };
    if (!ended.empty()) {
        const std::uint64_t token = directory_.token();
        bool erased = since(detail::tagged_hash(name_space, token));
        bool expired = false;
        for (const std::string_view tag : examined.record.tags) {
            const detail::TagHashes ends = detail::tag_hashes(name_space, tag, token);
            erased = erased || since(ends.erased);
            expired = expired || since(ends.expired);
        }
        if (erased) examined.verdict = Verdict::cleared;
        if (expired) {
            examined.record.make_stale();
            examined.stale_by_tag = true;
        }
    }
    // What was ended is remembered only as long as a segment holds older records; this one is still readable.
    if (ended.forgotten() != seen.forgotten_tags) examined.verdict = Verdict::again;
}

inline std::uint64_t DiskTier::tag_seq(std::string_view /*name_space*/) noexcept {
    return own_log_.forked() ? 0 : log_.next_sequence();
}

inline TierStatus DiskTier::end_tagged(std::string_view name_space, std::string_view tag,
                                       std::uint64_t detail::TagHashes::*how) {
    // Of so many that remembering each would cost more than their records are worth, all go.
    constexpr std::size_t most = std::size_t{1} << 16U;
    return guarded({}, false, [&] {
        const std::uint64_t token = directory_.token();
        const std::uint64_t group = log_.ended_tags().size() < most
                                        ? detail::tag_hashes(name_space, tag, token).*how
                                        : detail::tagged_hash(name_space, token);
        const bool lasting = log_.end_tagged(group);
        if (through_ || log_.settings.sync || !lasting) log_.write_now();
        if (lasting || !log_.broken()) return TierStatus::ok;
        // With `sync` it may be on the disk or not, as with `remove`.
        return !log_.settings.sync && log_.invalidate() ? TierStatus::ok : TierStatus::unavailable;
    });
}

inline TierStatus DiskTier::erase_tag(std::string_view name_space, std::string_view tag) {
    return end_tagged(name_space, tag, &detail::TagHashes::erased);
}

inline TierStatus DiskTier::expire_tag(std::string_view name_space, std::string_view tag) {
    return end_tagged(name_space, tag, &detail::TagHashes::expired);
}

}  // namespace smartcache::inline v0
