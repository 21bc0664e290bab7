#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/clock.hpp>
#include <smartcache/core/tier_id.hpp>
#include <smartcache/facade/detail/fences.hpp>
#include <smartcache/record/record.hpp>
#include <smartcache/record/tier.hpp>

namespace smartcache::inline v0::detail {

/// A tier below L1.
struct LowerTier {
    std::unique_ptr<Tier> tier;
    TierId id;
    bool on_evict = false;  // written to by demotion alone
    bool own = false;       // no other process writes to it
};

/// An entry on its way out of L1.
struct Demotion {
    std::unique_ptr<FillTicket> ticket;
    std::optional<std::size_t> weight;  // the writer's own
};
/// An entry as the record that it becomes below.
struct DemotedRecord {
    RecordView record;
    std::string key;
    ByteSink tag_names;
    ByteSink encoded;
    ByteSink packed;
};

/// Why a tier is not there.
struct StartFailure {
    TierId id;
    std::string reason;
};

}  // namespace smartcache::inline v0::detail
