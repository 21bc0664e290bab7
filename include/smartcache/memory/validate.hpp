#pragma once

#include <string>
#include <utility>
#include <vector>

#include <smartcache/core/error.hpp>
#include <smartcache/memory/options.hpp>

namespace smartcache::inline v0 {

/// Appends a problem for each field that is wrong.
inline void validate(const MemoryOptions& options, std::vector<ConfigProblem>& problems) {
    const auto wrong = [&problems](const char* field, std::string value, const char* allowed) {
        problems.push_back({field, std::move(value), allowed});
    };
    if (options.capacity == 0)
        wrong("memory.capacity", "0", "at least 1; memory.enabled = false switches L1 off");
    if (options.capacity_bytes && *options.capacity_bytes == 0)
        wrong("memory.capacity_bytes", "0", "at least 1, or absent");
    if (options.shards && (*options.shards == 0 || *options.shards > 1024))
        wrong("memory.shards", std::to_string(*options.shards), "1 to 1024, or absent");
    if (options.ttl <= Duration::zero())
        wrong("memory.ttl", std::to_string(options.ttl.count()) + "ms", "more than 0");
    if (options.idle && *options.idle <= Duration::zero())
        wrong("memory.idle", std::to_string(options.idle->count()) + "ms", "more than 0, or absent");
    if (to_string(options.policy) == "unknown")
        wrong("memory.policy", std::to_string(static_cast<int>(options.policy)),
              "adaptive, lru, s3_fifo, sieve, w_tinylfu");
    if (to_string(options.objective) == "unknown")
        wrong("memory.objective", std::to_string(static_cast<int>(options.objective)), "objects, bytes");
}

}  // namespace smartcache::inline v0
