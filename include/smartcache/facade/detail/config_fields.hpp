#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include <smartcache/facade/config.hpp>

namespace smartcache::inline v0::detail {

/// Calls `visit("memory.capacity", config.memory.capacity)` and so on for every field that text can express,
/// in the order of declaration. The one list behind `from_json`, `from_env` and `to_json`.
template <class ConfigType, class Visit>
void for_each_field(ConfigType& config, Visit&& visit) {
    visit("memory.enabled", config.memory.enabled);
    visit("memory.capacity", config.memory.capacity);
    visit("memory.capacity_bytes", config.memory.capacity_bytes);
    visit("memory.bucket_count", config.memory.bucket_count);
    visit("memory.shards", config.memory.shards);
    visit("memory.ttl", config.memory.ttl);
    visit("memory.idle", config.memory.idle);
    visit("memory.policy", config.memory.policy);
    visit("memory.objective", config.memory.objective);
    visit("memory.compression", config.memory.compression);
    visit("memory.jemalloc", config.memory.jemalloc);
    visit("redis.enabled", config.redis.enabled);
    visit("redis.url", config.redis.url);
    visit("redis.ttl", config.redis.ttl);
    visit("redis.max_connections", config.redis.max_connections);
    visit("redis.connect_timeout", config.redis.connect_timeout);
    visit("redis.timeout", config.redis.timeout);
    visit("redis.breaker.failures", config.redis.breaker.failures);
    visit("redis.breaker.open_for", config.redis.breaker.open_for);
    visit("redis.coherence", config.redis.coherence);
    visit("redis.write", config.redis.write);
    visit("redis.tls.ca_file", config.redis.tls.ca_file);
    visit("redis.tls.cert_file", config.redis.tls.cert_file);
    visit("redis.tls.key_file", config.redis.tls.key_file);
    visit("redis.tls.server_name", config.redis.tls.server_name);
    visit("redis.tls.verify", config.redis.tls.verify);
    visit("redis.integrity_key", config.redis.integrity_key);
    visit("redis.lease", config.redis.lease);
    visit("redis.lease_lost", config.redis.lease_lost);
    visit("disk.enabled", config.disk.enabled);
    visit("disk.path", config.disk.path);
    visit("disk.ttl", config.disk.ttl);
    visit("disk.max_size", config.disk.max_size);
    visit("disk.durability", config.disk.durability);
    visit("disk.write", config.disk.write);
    visit("disk.queue_size", config.disk.queue_size);
    visit("disk.on_full", config.disk.on_full);
    visit("disk.block_timeout", config.disk.block_timeout);
    visit("disk.max_write_rate", config.disk.max_write_rate);
    visit("disk.fill", config.disk.fill);
    visit("disk.admission", config.disk.admission);
    visit("disk.io", config.disk.io);
    visit("disk.on_other_format", config.disk.on_other_format);
    visit("max_value_size", config.max_value_size);
    visit("max_key_size", config.max_key_size);
    visit("compression.enabled", config.compression.enabled);
    visit("compression.threshold", config.compression.threshold);
    visit("stats.enabled", config.stats.enabled);
    visit("stats.interval", config.stats.interval);
    visit("stats.alert_below", config.stats.alert_below);
    visit("auto_expire_interval", config.auto_expire_interval);
    visit("background_threads", config.background_threads);
    visit("key_prefix", config.key_prefix);
    visit("schema_version", config.schema_version);
    visit("tier_required", config.tier_required);
}

/// The spellings of each choice.
template <class Choice>
inline constexpr auto choice_names = nullptr;
template <>
inline constexpr std::array<std::pair<EvictionPolicy, std::string_view>, 5> choice_names<EvictionPolicy> =
    eviction_policy_names;
template <>
inline constexpr std::array<std::pair<HitObjective, std::string_view>, 2> choice_names<HitObjective> =
    hit_objective_names;
template <>
inline constexpr std::array<std::pair<LeaseLost, std::string_view>, 2> choice_names<LeaseLost>{
    {{LeaseLost::serve_stale, "serve_stale"}, {LeaseLost::distrust, "distrust"}}};
template <>
inline constexpr std::array<std::pair<Coherence, std::string_view>, 4> choice_names<Coherence>{
    {{Coherence::off, "off"},
     {Coherence::automatic, "automatic"},
     {Coherence::publish, "publish"},
     {Coherence::tracking, "tracking"}}};
template <>
inline constexpr std::array<std::pair<WriteMode, std::string_view>, 2> choice_names<WriteMode>{
    {{WriteMode::through, "through"}, {WriteMode::behind, "behind"}}};
template <>
inline constexpr std::array<std::pair<Durability, std::string_view>, 3> choice_names<Durability>{
    {{Durability::none, "none"},
     {Durability::process_crash, "process_crash"},
     {Durability::power_loss, "power_loss"}}};
template <>
inline constexpr std::array<std::pair<DiskFill, std::string_view>, 2> choice_names<DiskFill>{
    {{DiskFill::on_set, "on_set"}, {DiskFill::on_evict, "on_evict"}}};
template <>
inline constexpr std::array<std::pair<DiskIo, std::string_view>, 2> choice_names<DiskIo>{
    {{DiskIo::mmap, "mmap"}, {DiskIo::pread, "pread"}}};
template <>
inline constexpr std::array<std::pair<DiskOverflow, std::string_view>, 2> choice_names<DiskOverflow>{
    {{DiskOverflow::drop, "drop"}, {DiskOverflow::block, "block"}}};
template <>
inline constexpr std::array<std::pair<DiskAdmission, std::string_view>, 2> choice_names<DiskAdmission>{
    {{DiskAdmission::always, "always"}, {DiskAdmission::second_sight, "second_sight"}}};
template <>
inline constexpr std::array<std::pair<DiskMismatch, std::string_view>, 2> choice_names<DiskMismatch>{
    {{DiskMismatch::refuse, "refuse"}, {DiskMismatch::start_empty, "start_empty"}}};

}  // namespace smartcache::inline v0::detail
