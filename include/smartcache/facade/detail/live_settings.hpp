#pragma once

#include <atomic>
#include <cstddef>
#include <string>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/error.hpp>
#include <smartcache/core/tier_id.hpp>
#include <smartcache/facade/config.hpp>
#include <smartcache/facade/detail/config_fields.hpp>
#include <smartcache/record/compression.hpp>

namespace smartcache::inline v0::detail {

/// The part of a configuration that may change while its cache runs.
///
/// Thread safety: all. relaxed everywhere: each is a number of its own, and a call that runs meanwhile may use either.
class LiveSettings {
  public:
    explicit LiveSettings(const Config& config) noexcept { take(config); }

    void take(const Config& config) noexcept {
        memory_ttl_.store(config.memory.ttl.count(), std::memory_order_relaxed);
        redis_ttl_.store(config.redis.ttl.count(), std::memory_order_relaxed);
        disk_ttl_.store(config.disk.ttl.count(), std::memory_order_relaxed);
        max_value_size_.store(config.max_value_size, std::memory_order_relaxed);
        compresses_.store(config.compression.enabled, std::memory_order_relaxed);
        threshold_.store(config.compression.threshold, std::memory_order_relaxed);
    }
    void give(Config& config) const noexcept {
        config.memory.ttl = ttl(TierId::memory);
        config.redis.ttl = ttl(TierId::redis);
        config.disk.ttl = ttl(TierId::disk);
        config.max_value_size = max_value_size();
        config.compression = compression();
    }

    /// How long a tier keeps what is stored without a lifetime.
    [[nodiscard]] Duration ttl(TierId tier) const noexcept {
        switch (tier) {
            case TierId::memory:
                return Duration(memory_ttl_.load(std::memory_order_relaxed));
            case TierId::redis:
                return Duration(redis_ttl_.load(std::memory_order_relaxed));
            case TierId::disk:
                return Duration(disk_ttl_.load(std::memory_order_relaxed));
            case TierId::none:
            case TierId::other:
                break;
        }
        return Duration::max();
    }
    [[nodiscard]] std::size_t max_value_size() const noexcept {
        return max_value_size_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] CompressionOptions compression() const noexcept {
        return {compresses_.load(std::memory_order_relaxed), threshold_.load(std::memory_order_relaxed)};
    }

  private:
    std::atomic<Duration::rep> memory_ttl_{0};
    std::atomic<Duration::rep> redis_ttl_{0};
    std::atomic<Duration::rep> disk_ttl_{0};
    std::atomic<std::size_t> max_value_size_{0};
    std::atomic<bool> compresses_{false};
    std::atomic<std::size_t> threshold_{0};
};

/// Appends a problem for each field in which `wanted` differs from what a cache was started with and that cannot change while it
/// runs.
inline void refuse_fixed_changes(const Config& started, const Config& wanted,
                                 std::vector<ConfigProblem>& problems) {
    Config rest = wanted;
    LiveSettings(started).give(rest);
    rest.memory.capacity = started.memory.capacity;
    std::vector<const void*> fields;
    for_each_field(started, [&fields](const std::string&, const auto& field) { fields.push_back(&field); });
    std::size_t i = 0;
    for_each_field(rest, [&]<class Field>(const std::string& name, const Field& field) {
        if (!(field == *static_cast<const Field*>(fields[i++])))
            problems.push_back({name, "another value", "what the cache was started with"});
    });
    if (wanted.max_value_size > started.max_value_size)
        problems.push_back({"max_value_size", std::to_string(wanted.max_value_size),
                            "at most what the cache was started with"});
}

}  // namespace smartcache::inline v0::detail
