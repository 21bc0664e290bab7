#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/core/tier_id.hpp>
#include <smartcache/facade/detail/event_scope.hpp>
#include <smartcache/facade/detail/fences.hpp>
#include <smartcache/facade/detail/prepared_value.hpp>
#include <smartcache/facade/value_entry.hpp>
#include <smartcache/memory/store.hpp>
#include <smartcache/record/record.hpp>
#include <smartcache/record/tier.hpp>

namespace smartcache::inline v0::detail {

/// What a search found: an entry (in L1, or fresh from below), or nothing.
struct Found {
    ValueRef entry;
    TierId tier = TierId::none;
    bool stale = false;
    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(entry); }
};

/// Whether an entry is that of a key.
struct KeyIs {
    std::string_view key;
    [[nodiscard, gnu::always_inline]] bool operator()(const ValueEntry& entry) const noexcept {
        return equal_text(entry.key(), key);
    }
};

/// Ties a change of L1 to the fills of its key: asked and told under the lock of the shard (R1).
struct FenceTerms {
    Fences& fences;
    std::string_view key;
    std::uint64_t hash;
    const Ticket* ticket;  // of the fill that this is; null: a caller's write
    bool marks = true;     // promotions under way have read what was there before
    [[nodiscard]] bool accept(const ValueEntry* /*present*/) const {
        return ticket == nullptr || !fences.marked(*ticket);
    }
    void done() const {
        if (marks) fences.mark(key, hash);
    }
};

/// What locks keep from callers' code waits for its end: made before a lock is taken. Events are told first: what values do
/// when they end is told at once.
struct Unlocked {
    Store<ValueEntry>::Later values;
    EventScope events;
};

/// What a search below L1 found, and what promoting it takes.
struct LowerFound {
    Found found;
    std::size_t index = 0;
    bool promotable = false;
    bool silent = false;  // a tier that others share did not answer
    bool goes_up = true;  // into the tiers above; else into L1 at most
    CopyOptions copies;
    TagsSeen tags;                     // of each tier, before the next one was asked
    ByteSink record;                   // the record itself, when lower tiers above want it
    std::vector<WriteCondition> seen;  // what each tier that was asked answered: a fill depends on it (R7)
};

/// One of many keys that are looked for below L1.
struct Wanted {
    std::string physical;
    std::size_t key_size;
    std::uint64_t hash;
    std::size_t at;
    LowerFound result;
    [[nodiscard]] std::string_view key() const noexcept {
        return std::string_view(physical).substr(physical.size() - key_size);
    }
};

}  // namespace smartcache::inline v0::detail
