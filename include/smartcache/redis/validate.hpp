#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/core/error.hpp>
#include <smartcache/core/features.hpp>
#include <smartcache/redis/options.hpp>
#include <smartcache/redis/url.hpp>

namespace smartcache::inline v0 {

/// Appends what is impossible in `options` to `problems`, in the order of the fields. Touches no network.
///
/// What this version cannot do is refused here by name, if the tier is to be used: tracking in a cluster, and write-behind.
/// @param used  a `RedisTier` that is used alone does not look at `enabled`
inline void validate(const RedisOptions& options, bool used, std::vector<ConfigProblem>& problems) {
    const auto refuse = [&problems](const char* field, std::string value, std::string allowed) {
        problems.push_back({field, std::move(value), std::move(allowed)});
    };
    const auto positive = [&refuse](const char* field, Duration length) {
        if (length <= Duration::zero()) refuse(field, std::to_string(length.count()) + "ms", "more than 0ms");
    };

    std::string problem;
    const std::optional<RedisUrl> url = parse_redis_url(options.url, problem);
    if (!url) {
        refuse("redis.url", redacted_redis_url(options.url), std::move(problem));
    } else if (used && url->tls && SMARTCACHE_HAS_TLS == 0) {
        refuse("redis.url", redacted_redis_url(options.url),
               "scheme: redis://, unix://, redis+sentinel:// or redis+cluster://; this build has no TLS: "
               "install libssl-dev and link smartcache::tls");
    }
    positive("redis.ttl", options.ttl);
    if (options.max_connections == 0 || options.max_connections > 10'000)
        refuse("redis.max_connections", std::to_string(options.max_connections), "1 to 10000");
    positive("redis.connect_timeout", options.connect_timeout);
    positive("redis.timeout", options.timeout);
    if (options.breaker.failures == 0) refuse("redis.breaker.failures", "0", "at least 1");
    positive("redis.breaker.open_for", options.breaker.open_for);

    const int coherence = static_cast<int>(options.coherence);
    const int write = static_cast<int>(options.write);
    if (coherence < 0 || coherence > static_cast<int>(Coherence::tracking))
        refuse("redis.coherence", std::to_string(coherence), "off, automatic, publish or tracking");
    // Each partition's prefix would have to be told to every master, which looks through all of them with each write.
    if (used && url && url->scheme == RedisUrl::Scheme::cluster && options.coherence == Coherence::tracking)
        refuse("redis.coherence", "tracking",
               "off, automatic or publish: tracking in a cluster is not supported by this version");
    if (options.lease < std::chrono::milliseconds(10) || options.lease > std::chrono::minutes(10))
        refuse("redis.lease", std::to_string(options.lease.count()) + "ms", "10ms to 10min");
    if (options.lease_lost != LeaseLost::serve_stale && options.lease_lost != LeaseLost::distrust)
        refuse("redis.lease_lost", std::to_string(static_cast<int>(options.lease_lost)),
               "serve_stale or distrust");
    if (write < 0 || write > static_cast<int>(WriteMode::behind))
        refuse("redis.write", std::to_string(write), "through");
    if (used && options.write == WriteMode::behind && options.coherence != Coherence::off)
        refuse("redis.write", "behind, with redis.coherence not off",
               "through, or redis.coherence = off (R15)");
    else if (used && options.write == WriteMode::behind)
        refuse("redis.write", "behind", "through: behind is not supported by this version");
    // Whoever names certificates believes that the connection is encrypted.
    if (url && !url->tls && options.tls != TlsOptions{})
        refuse("redis.tls", "set, with redis.url = " + redacted_redis_url(options.url),
               "redis.url = rediss://..., rediss+sentinel://... or rediss+cluster://..., or no redis.tls "
               "options");
    constexpr std::size_t longest_name = 255;  // RFC 1035 section 2.3.4
    if (options.tls.server_name.size() > longest_name)
        refuse("redis.tls.server_name", std::to_string(options.tls.server_name.size()) + " bytes",
               "at most 255 bytes");
    if (options.tls.cert_file.empty() != options.tls.key_file.empty())
        refuse(options.tls.cert_file.empty() ? "redis.tls.cert_file" : "redis.tls.key_file", "\"\"",
               "both redis.tls.cert_file and redis.tls.key_file, or neither");
}

/// The same for a configuration, which may leave the tier switched off.
inline void validate(const RedisOptions& options, std::vector<ConfigProblem>& problems) {
    validate(options, options.enabled, problems);
}

}  // namespace smartcache::inline v0
