#pragma once

#include <chrono>
#include <cstddef>
#include <optional>

#include <smartcache/core/clock.hpp>
#include <smartcache/policy/eviction_policy.hpp>
#include <smartcache/policy/hit_objective.hpp>

namespace smartcache::inline v0 {

/// L1, the tier in memory.
struct MemoryOptions {
    /// L1 on. Off: every lookup asks the lower tiers.
    bool enabled = true;
    /// Most entries that L1 holds, over all shards. At least 1; raising it costs memory only.
    std::size_t capacity = 10'000;
    /// Additional bound on the sum of entry weights (key + value + overhead), in bytes. nullopt: entries
    /// alone are counted. An entry heavier than a shard's part of it is refused.
    std::optional<std::size_t> capacity_bytes{};
    /// Initial hash buckets, at most one per entry; 0 = from capacity. The table still grows and shrinks as
    /// needed.
    std::size_t bucket_count = 0;
    /// Independently locked shards, rounded up to a power of two, and no more than entries. nullopt: from hardware threads and
    /// capacity. Most users should leave this alone: too many shards of a small cache hurt the hit ratio.
    std::optional<std::size_t> shards{};
    /// Lifetime in L1 of entries stored without one.
    Duration ttl = std::chrono::hours(1);
    /// Time-to-idle: an entry not read for so long expires. nullopt: reads do not matter.
    std::optional<Duration> idle{};
    /// Who goes when L1 is full. `adaptive` watches the workload and is the best choice unless you have
    /// measured.
    EvictionPolicy policy = EvictionPolicy::adaptive;
    /// What eviction maximises when entries have weights: the hits, or the bytes that they return. Matters to
    /// `adaptive` with `capacity_bytes` only. `bytes` spares bandwidth and costs hits (bench/README.md).
    HitObjective objective = HitObjective::objects;
    /// Keep byte values above `compression.threshold` LZ4-compressed in L1 too: less memory, slower hits.
    bool compression = false;
    /// Entries live in jemalloc arenas of this cache; without the library they come from malloc
    /// (`stats().memory.allocator` says which).
    bool jemalloc = true;
};

}  // namespace smartcache::inline v0
