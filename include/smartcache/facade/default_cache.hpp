#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include <smartcache/codec/json.hpp>
#include <smartcache/core/error.hpp>
#include <smartcache/facade/smart_cache.hpp>

namespace smartcache::inline v0 {

namespace detail {

struct DefaultCache {
    std::mutex mutex;
    std::shared_ptr<SmartCache<>> cache;
    std::string config;
    const Clock* clock = nullptr;

    [[nodiscard]] static DefaultCache& instance() {
        static DefaultCache state;
        return state;
    }
};

}  // namespace detail

/// Configures the process-wide cache, before or instead of its first use.
/// @return the cache
/// @throws ConfigError when it exists already with another configuration (by `to_json()` or clock), or is
/// impossible
inline std::shared_ptr<SmartCache<>> set_default_cache(Config config) {
    detail::DefaultCache& state = detail::DefaultCache::instance();
    std::string text = config.to_json();
    const Clock* const clock = config.clock;
    const std::lock_guard lock(state.mutex);
    if (state.cache) {
        if (text != state.config || clock != state.clock)
            throw ConfigError(
                "default_cache", text,
                "the configuration it has already (" + state.config + "), or reset_default_cache() first");
        return state.cache;
    }
    state.cache = std::make_shared<SmartCache<>>(std::move(config));
    state.config = std::move(text);
    state.clock = clock;
    return state.cache;
}

/// The process-wide cache, created with the default configuration if nobody has set one.
/// Thread safety: any thread. Hold the pointer for as long as you use the cache.
[[nodiscard]] inline std::shared_ptr<SmartCache<>> default_cache() {
    detail::DefaultCache& state = detail::DefaultCache::instance();
    const std::lock_guard lock(state.mutex);
    if (!state.cache) {
        Config config;
        std::string text = config.to_json();
        state.cache = std::make_shared<SmartCache<>>(std::move(config));
        state.config = std::move(text);
        state.clock = nullptr;
    }
    return state.cache;
}

/// Clears the process-wide cache and lets go of it; the next use makes a new one.
inline void reset_default_cache() {
    detail::DefaultCache& state = detail::DefaultCache::instance();
    std::shared_ptr<SmartCache<>> old;
    {
        const std::lock_guard lock(state.mutex);
        old = std::exchange(state.cache, nullptr);
        state.config.clear();
        state.clock = nullptr;
    }
    if (old) old->clear();
}

}  // namespace smartcache::inline v0
