#pragma once

#include <cstdint>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/log.hpp>
#include <smartcache/record/compression.hpp>
#include <smartcache/record/record.hpp>

namespace smartcache::inline v0 {

/// What a lower tier is given by whoever owns it; the defaults serve a tier that is used alone.
struct TierContext {
    RecordLimits limits{.max_key_size = 64 * 1024 + 512, .max_value_size = 100 * 1024 * 1024};
    TimeSource time{};
    Logger logger{};
    CompressionOptions compression{};
    /// Whether the tier may start threads of its own; without them `run_maintenance` and `flush` do the work.
    bool background = true;
};

}  // namespace smartcache::inline v0
