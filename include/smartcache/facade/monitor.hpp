#pragma once

#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <smartcache/core/tier_id.hpp>
#include <smartcache/facade/stats.hpp>

namespace smartcache::inline v0 {

namespace detail {

[[nodiscard]] inline std::string number_text(double value) {
    if (!std::isfinite(value)) return "0";
    std::array<char, 32> buffer{};
    const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    return error == std::errc{} ? std::string(buffer.data(), end) : "0";
}

/// A JSON object in the making; names and values are ours, nothing needs escaping.
class JsonObject {
  public:
    template <class T>
    JsonObject& number(std::string_view name, T value) {
        if constexpr (std::is_floating_point_v<T>)
            return raw(name, number_text(value));
        else
            return raw(name, std::to_string(value));
    }
    JsonObject& text(std::string_view name, std::string_view value) {
        return raw(name, '"' + std::string(value) + '"');
    }
    JsonObject& boolean(std::string_view name, bool value) { return raw(name, value ? "true" : "false"); }
    JsonObject& raw(std::string_view name, const std::string& value) {
        if (!text_.empty()) text_ += ',';
        text_ += '"';
        text_ += name;
        text_ += "\":";
        text_ += value;
        return *this;
    }
    [[nodiscard]] std::string close() const { return '{' + text_ + '}'; }

  private:
    std::string text_;
};

[[nodiscard]] inline std::string tier_to_json(const TierStats& tier) {
    JsonObject json;
    json.number("hits", tier.hits).number("misses", tier.misses).number("sets", tier.sets);
    json.number("errors", tier.errors).number("timeouts", tier.timeouts).number("corrupt", tier.corrupt);
    json.number("rejected", tier.rejected).number("evictions", tier.evictions);
    json.number("expirations", tier.expirations).number("entries", tier.entries).number("bytes", tier.bytes);
    JsonObject latency;
    latency.number("count", tier.latency.count).number("p50_ns", tier.latency.p50.count());
    latency.number("p99_ns", tier.latency.p99.count()).number("max_ns", tier.latency.max.count());
    if (tier.index_bytes != 0) json.number("index_bytes", tier.index_bytes);
    if (tier.queued_bytes != 0) json.number("queued_bytes", tier.queued_bytes);
    if (tier.write_amplification > 0) json.number("write_amplification", tier.write_amplification);
    json.raw("latency", latency.close()).text("breaker", to_string(tier.breaker));
    if (!tier.allocator.empty()) json.text("allocator", tier.allocator);
    if (tier.coherence.on) {
        const CoherenceStats& heard = tier.coherence;
        JsonObject coherence;
        coherence.raw("hears", heard.hears ? "true" : "false").number("messages", heard.messages);
        coherence.number("unreadable", heard.unreadable)
            .number("gaps", heard.gaps)
            .number("resumed", heard.resumed)
            .number("positions", heard.positions);
        coherence.number("own_messages", heard.latency.count).number("p50_ns", heard.latency.p50.count());
        coherence.number("p99_ns", heard.latency.p99.count()).number("max_ns", heard.latency.max.count());
        json.raw("coherence", coherence.close());
    }
    return json.close();
}

}  // namespace detail

/// The statistics as one line of JSON, with the members' own names.
[[nodiscard]] inline std::string to_json(const Stats& stats) {
    detail::JsonObject json;
    json.number("hits", stats.hits)
        .number("misses", stats.misses)
        .number("total_requests", stats.total_requests);
    json.number("hit_ratio", stats.hit_ratio).number("evictions", stats.evictions);
    json.number("expirations", stats.expirations).number("invalidations", stats.invalidations);
    json.number("foreign_changes", stats.foreign_changes);
    json.number("rejected", stats.rejected)
        .number("loads", stats.loads)
        .number("load_failures", stats.load_failures);
    json.number("coalesced", stats.coalesced).number("stale_served", stats.stale_served);
    json.number("promotions", stats.promotions).number("demotions", stats.demotions);
    json.number("type_mismatches", stats.type_mismatches).number("encode_errors", stats.encode_errors);
    json.number("corrupt", stats.corrupt)
        .number("memory_usage", stats.memory_usage)
        .number("size", stats.size);
    json.number("capacity", stats.capacity).number("ops_per_second", stats.ops_per_second);
    json.number("recent_hit_ratio", stats.recent_hit_ratio).number("hit_ratio_trend", stats.hit_ratio_trend);
    json.number("compression_ratio", stats.compression_ratio).number("uptime_ms", stats.uptime.count());
    json.raw("memory", detail::tier_to_json(stats.memory)).raw("redis", detail::tier_to_json(stats.redis));
    json.raw("disk", detail::tier_to_json(stats.disk));
    return json.close();
}

namespace detail {

/// Prometheus text exposition format 0.0.4: each family once, its HELP and TYPE first.
class PrometheusText {
  public:
    PrometheusText& family(std::string_view name, std::string_view type, std::string_view help) {
        name_ = name;
        text_.append("# HELP ").append(name).append(" ").append(help).append("\n");
        text_.append("# TYPE ").append(name).append(" ").append(type).append("\n");
        return *this;
    }
    template <class T>
    PrometheusText& sample(std::string_view labels, T value) {
        text_.append(name_);
        if (!labels.empty()) text_.append("{").append(labels).append("}");
        text_.append(" ");
        if constexpr (std::is_floating_point_v<T>)
            text_.append(number_text(value));
        else
            text_.append(std::to_string(value));
        text_.append("\n");
        return *this;
    }
    [[nodiscard]] std::string take() { return std::move(text_); }

  private:
    std::string text_;
    std::string name_;
};

}  // namespace detail

/// The statistics in Prometheus' text exposition format. Reads counters only: cheap enough to be scraped.
template <class Cache>
[[nodiscard]] std::string prometheus_text(const Cache& cache) {
    const Stats stats = cache.stats();
    detail::PrometheusText out;
    const auto counter = [&out](std::string_view name, std::string_view help, std::uint64_t value) {
        out.family(name, "counter", help).sample("", value);
    };
    const std::array<std::pair<const char*, const TierStats*>, 3> tiers{{{"tier=\"memory\"", &stats.memory},
                                                                         {"tier=\"redis\"", &stats.redis},
                                                                         {"tier=\"disk\"", &stats.disk}}};
    const auto per_tier = [&](std::string_view name, std::string_view type, std::string_view help,
                              auto member) {
        out.family(name, type, help);
        for (const auto& [label, tier] : tiers) out.sample(label, tier->*member);
    };

    counter("smartcache_hits_total", "Lookups that found a live value.", stats.hits);
    counter("smartcache_misses_total", "Lookups that found none.", stats.misses);
    counter("smartcache_evictions_total", "L1 entries removed for capacity.", stats.evictions);
    counter("smartcache_expirations_total", "L1 entries removed because their time was over.",
            stats.expirations);
    counter("smartcache_invalidations_total", "Keys erased by request.", stats.invalidations);
    counter("smartcache_foreign_changes_total", "Changes by other processes.", stats.foreign_changes);
    counter("smartcache_rejected_total", "Keys or values refused because of a limit.", stats.rejected);
    counter("smartcache_loads_total", "Loaders run.", stats.loads);
    counter("smartcache_load_failures_total", "Loaders that failed.", stats.load_failures);
    counter("smartcache_coalesced_total", "Callers that waited for another's load.", stats.coalesced);
    counter("smartcache_stale_served_total", "Values given out within their grace.", stats.stale_served);
    counter("smartcache_promotions_total", "Values copied into L1 from below.", stats.promotions);
    counter("smartcache_demotions_total", "Entries copied below by eviction.", stats.demotions);
    counter("smartcache_type_mismatches_total", "Values of another type than asked for.",
            stats.type_mismatches);
    counter("smartcache_encode_errors_total", "Values that could not be encoded.", stats.encode_errors);
    counter("smartcache_corrupt_total", "Stored bytes that were damaged.", stats.corrupt);
    out.family("smartcache_memory_bytes", "gauge", "Bytes of the entries in L1.")
        .sample("", stats.memory_usage);
    out.family("smartcache_entries", "gauge", "Entries in L1.").sample("", stats.size);
    out.family("smartcache_capacity_entries", "gauge", "Bound on the entries in L1.")
        .sample("", stats.capacity);
    out.family("smartcache_requests_per_second", "gauge", "Rate of lookups.")
        .sample("", stats.ops_per_second);
    out.family("smartcache_recent_hit_ratio", "gauge", "Hits per lookup in the last interval.")
        .sample("", stats.recent_hit_ratio);
    out.family("smartcache_compression_ratio", "gauge", "Bytes before and after compression.")
        .sample("", stats.compression_ratio);
    out.family("smartcache_uptime_seconds", "gauge", "Time since the cache started.")
        .sample("", static_cast<double>(stats.uptime.count()) / 1000.0);
    per_tier("smartcache_tier_hits_total", "counter", "Hits by tier.", &TierStats::hits);
    per_tier("smartcache_tier_misses_total", "counter", "Misses by tier.", &TierStats::misses);
    per_tier("smartcache_tier_sets_total", "counter", "Values stored by tier.", &TierStats::sets);
    per_tier("smartcache_tier_errors_total", "counter", "Failed operations by tier.", &TierStats::errors);
    per_tier("smartcache_tier_timeouts_total", "counter", "Operations past their deadline by tier.",
             &TierStats::timeouts);
    per_tier("smartcache_tier_bytes", "gauge", "Bytes in use by tier; for Redis, bytes sent.",
             &TierStats::bytes);
    if (const CoherenceStats& heard = stats.redis.coherence; heard.on) {
        out.family("smartcache_coherence_hears", "gauge", "Whether other processes' changes are heard.")
            .sample("", heard.hears ? 1 : 0);
        counter("smartcache_coherence_messages_total", "Messages of other processes.", heard.messages);
        counter("smartcache_coherence_unreadable_total", "Of those, such that nobody can read.",
                heard.unreadable);
        counter("smartcache_coherence_gaps_total",
                "How often what was in memory was dropped to begin to hear.", heard.gaps);
        counter("smartcache_coherence_resumed_total", "How often what was missed was told instead.",
                heard.resumed);
        counter("smartcache_coherence_positions_total",
                "How often it was written to the disk how far was heard.", heard.positions);
        out.family("smartcache_coherence_latency_seconds", "gauge", "From a change of ours to hearing of it.")
            .sample("quantile=\"0.5\"", static_cast<double>(heard.latency.p50.count()) * 1e-9)
            .sample("quantile=\"0.99\"", static_cast<double>(heard.latency.p99.count()) * 1e-9);
    }
    out.family("smartcache_tier_latency_seconds", "gauge", "Latency of reads by tier, L1 hits excluded.");
    for (const auto& [label, tier] : tiers) {
        const auto seconds = [](std::chrono::nanoseconds time) {
            return static_cast<double>(time.count()) * 1e-9;
        };
        out.sample(std::string(label) + ",quantile=\"0.5\"", seconds(tier->latency.p50));
        out.sample(std::string(label) + ",quantile=\"0.99\"", seconds(tier->latency.p99));
    }
    return out.take();
}

/// A short report for people and dashboards. Refers to what it watches: a cache, or a middleware (whose cache
/// it takes).
///
///     sc::Monitor monitor{cache};
///     log(monitor.report());              // {"uptime_seconds":12.5,"hit_ratio":0.93, ...}
///
/// Thread safety: as the cache's. `report` probes the tiers (`health_check`).
template <class Watched>
class Monitor {
  public:
    explicit Monitor(Watched& watched) noexcept : watched_(watched) {}

    [[nodiscard]] std::string report() const {
        auto& source = cache();
        const Stats stats = source.stats();
        const Health health = source.health_check();
        detail::JsonObject tiers;
        tiers.boolean("memory", health.memory).boolean("redis", health.redis).boolean("disk", health.disk);
        detail::JsonObject json;
        json.number("uptime_seconds", static_cast<double>(stats.uptime.count()) / 1000.0);
        json.number("hit_ratio", stats.hit_ratio).number("total_requests", stats.total_requests);
        json.number("cache_hits", stats.hits).number("cache_misses", stats.misses);
        json.number("requests_per_second", stats.ops_per_second);
        json.number("recent_hit_ratio", stats.recent_hit_ratio);
        json.number("hit_ratio_trend", stats.hit_ratio_trend);
        json.number("memory_usage_mb", static_cast<double>(stats.memory_usage) / (1024.0 * 1024.0));
        json.raw("cache_health", tiers.close());
        return json.close();
    }

    [[nodiscard]] std::string prometheus() const { return prometheus_text(cache()); }

  private:
    [[nodiscard]] auto& cache() const {
        if constexpr (requires { watched_.cache(); })
            return watched_.cache();
        else
            return watched_;
    }

    Watched& watched_;
};

}  // namespace smartcache::inline v0
