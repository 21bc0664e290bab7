#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/clock.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/facade/entry_options.hpp>
#include <smartcache/facade/value_entry.hpp>
#include <smartcache/record/record.hpp>

namespace smartcache::inline v0::detail {

/// How far tags had got before a value began to be made, in L1 and in each lower tier (tags.hpp).
struct TagsSeen {
    std::uint64_t here = 0;
    std::vector<std::uint64_t> below;
};

/// A value on its way into the tiers: built before any lock is taken, because codecs and constructors are
/// callers' code.
struct PreparedValue {
    ValueRef entry;     // for L1, and for the caller
    RecordView record;  // for the lower tiers; its payload lies in `entry`, `encoded` or `packed`
    ByteSink encoded;
    ByteSink packed;
    ByteSink tag_names;                   // what `record.tags` is a view of
    std::vector<std::uint64_t> tag_seqs;  // `record.tag_seq` for each lower tier
    std::optional<CopyOptions> copies;    // what the record says of copies, if not what the call says
    bool goes_below = false;              // false: memory only, or the codec failed
    bool too_large = false;
    std::optional<std::uint64_t> random;  // one draw for the jitter of all tiers

    [[nodiscard]] Duration jittered(Duration lifetime, const Jitter& jitter) {
        if (jitter.none()) return lifetime;
        if (!random) random = random_stamp();
        return jitter.apply(lifetime, *random);
    }
};

}  // namespace smartcache::inline v0::detail
