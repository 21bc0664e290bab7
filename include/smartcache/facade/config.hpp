#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/log.hpp>
#include <smartcache/disk/options.hpp>
#include <smartcache/facade/events.hpp>
#include <smartcache/memory/options.hpp>
#include <smartcache/record/compression.hpp>
#include <smartcache/redis/options.hpp>

namespace smartcache::inline v0 {

/// What is counted, and how often rates are computed.
struct StatsOptions {
    /// Off costs nothing on the hit path; `stats()` then shows sizes only.
    bool enabled = true;
    /// Over how long `ops_per_second` and `recent_hit_ratio` look back.
    Duration interval = std::chrono::seconds(60);
    /// A hit ratio below this over one interval (with a hundred requests or more) is logged as a warning and told to the
    /// listener, and so is its recovery. 0: never.
    double alert_below = 0;
};

/// The configuration of a cache: a plain aggregate, every field with a default.
///
///     sc::Config config{.memory = {.capacity = 50'000, .ttl = 5min},
///                       .disk = {.enabled = true, .path = "/var/cache/app"}};
///
/// Constructors check it with `validate()` before any side effect.
struct Config {
    MemoryOptions memory{};
    RedisOptions redis{};
    DiskOptions disk{};
    /// Largest value in any tier, before and after decompression, in bytes. Larger ones are refused and
    /// counted.
    std::size_t max_value_size = std::size_t{100} * 1024 * 1024;
    /// Longest key, in bytes. Longer ones are refused and counted.
    std::size_t max_key_size = std::size_t{64} * 1024;
    /// LZ4 for the tiers below L1.
    CompressionOptions compression{};
    StatsOptions stats{};
    /// How often expired entries are swept in the background; 0: only by `run_maintenance()`.
    Duration auto_expire_interval = std::chrono::seconds(300);
    /// Threads for background work; 0: nothing runs by itself, `run_maintenance()` does it.
    std::size_t background_threads = 2;
    /// Namespace of all keys; `clear()` is confined to it. Any bytes.
    std::string key_prefix{};
    /// Part of every record; records of another version are misses. Raise it when the meaning of values
    /// changes.
    std::uint32_t schema_version = 0;
    /// true: a tier that cannot start is a ConfigError instead of a degraded start.
    bool tier_required = false;
    /// Receives the library's messages, rate-limited.
    Logger logger{};
    /// Governs lifetimes and ages; not owned; nullptr is the system's clock.
    const Clock* clock = nullptr;
    /// Is told what happens (events.hpp).
    EventListener listener{};

    /// @throws ConfigError naming every wrong field, its value and what is allowed. No side effects.
    void validate() const;

    /// Reads a JSON object shaped like this struct: `{"memory": {"capacity": 50000, "ttl": "5min"}}`. A
    /// number is milliseconds where a length of time is wanted, text is "500ms", "10s", "10min", "1h" or
    /// "7d".
    /// @throws ConfigError for bad JSON, unknown keys, wrong types and impossible values (all of them), and
    /// when this
    ///         build has no JSON
    [[nodiscard]] static Config from_json(std::string_view text);
    /// The same for a parsed `nlohmann::json` object, and for nothing else: a literal is always text.
    template <class Json>
    requires requires(const Json& json) {
        { json.dump() } -> std::convertible_to<std::string>;
        json.is_object();
    }
    [[nodiscard]] static Config from_json(const Json& json) {
        return from_json(std::string_view(json.dump()));
    }

    /// Reads `<prefix>MEMORY_CAPACITY`, `<prefix>REDIS_URL`, ... from the environment; what is not there
    /// keeps its default.
    /// @throws ConfigError as from_json; variables with the prefix that name no field are refused too
    [[nodiscard]] static Config from_env(std::string_view prefix = "SMARTCACHE_");

    /// Everything but logger, clock and listener, as JSON text that `from_json` reads back.
    /// @throws ConfigError for a text that JSON cannot hold: a `key_prefix` or path that is not UTF-8
    [[nodiscard]] std::string to_json() const;

    /// 50 000 entries in memory, nothing else, no compression.
    [[nodiscard]] static Config high_performance();
    /// 50 000 entries in memory for 10 minutes.
    [[nodiscard]] static Config memory_only();
    /// 5 000 entries in memory, values up to 10 MB, compressed; the rest in Redis and on disk.
    [[nodiscard]] static Config memory_optimized(std::string url, std::filesystem::path path);
    /// 5 000 entries in memory for 5 minutes, a day on disk.
    [[nodiscard]] static Config persistent(std::filesystem::path path);
    /// 10 000 entries in memory for 3 minutes, half an hour in Redis (20 connections), a day on disk.
    [[nodiscard]] static Config distributed(std::string url, std::filesystem::path path);
    /// 10 000 entries in memory for 5 minutes, half an hour in Redis, a day on disk, swept every minute.
    [[nodiscard]] static Config production(std::string url, std::filesystem::path path);
    /// Memory bound of `bytes` for values of about `average_value` bytes. @param bytes  at least 1
    [[nodiscard]] static Config fit(std::size_t bytes, std::size_t average_value);
};

}  // namespace smartcache::inline v0

#include <smartcache/facade/impl/config.hpp>  // IWYU pragma: export
