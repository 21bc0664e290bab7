#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/log.hpp>
#include <smartcache/record/compression.hpp>
#include <smartcache/record/invalidation.hpp>
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
    /// Told when the tier (or a node of it) is no longer asked because it failed too often, and when it is asked again, by turns:
    /// of several nodes that fail the first, and the last to be asked again. One call at a time, from any thread, also while its
    /// owner waits for an answer; must not throw.
    std::function<void(bool up)> on_state{};
    /// Whether the owner wants the tier's `intents`, if it has some.
    bool keeps_intents = false;
    /// The namespace whose changes by others the owner wants to hear.
    std::string name_space{};
    /// Told of them, if set and the tier can know, from `Tier::begin_to_listen` on; one call at a time, in that function or
    /// from a thread of the tier's. What it throws makes the tier begin to listen anew.
    std::function<void(const Invalidation&)> on_invalidation{};
};

}  // namespace smartcache::inline v0
