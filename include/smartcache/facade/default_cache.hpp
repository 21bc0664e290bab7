#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <smartcache/codec/json.hpp>
#include <smartcache/core/error.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/core/own_thread.hpp>
#include <smartcache/core/singletons.hpp>
#include <smartcache/facade/smart_cache.hpp>

namespace smartcache::inline v0 {

namespace detail {

struct DefaultCache {
    ProcessMutex making;  // held while a cache is made, before `mutex`
    Mutex mutex;
    std::shared_ptr<SmartCache<>> cache;
    std::string config;
    const Clock* clock = nullptr;

    /// Not ended with the process: a thread of the cache may still ask for it then. The cache is.
    [[nodiscard]] static DefaultCache& instance() {
        struct AtExit {
            ~AtExit() { (void)state().take(); }
        };
        const ForkGate::Inside inside;  // else a child may wait for who was making it (R33)
        static const AtExit at_exit;
        return state();
    }

    /// Lets go of the cache.
    [[nodiscard]] std::shared_ptr<SmartCache<>> take() {
        const std::lock_guard not_made(making);
        const std::lock_guard lock(mutex);
        config.clear();
        clock = nullptr;
        return std::exchange(cache, nullptr);
    }

    [[nodiscard]] std::shared_ptr<SmartCache<>> known() {
        const std::lock_guard lock(mutex);
        return cache;
    }

    /// The caller holds `making`.
    std::shared_ptr<SmartCache<>> make(Config from, std::string text) {
        const Clock* const its = from.clock;
        std::shared_ptr<SmartCache<>> made(new SmartCache<>(std::move(from)), &end);
        const std::lock_guard lock(mutex);
        cache = made;
        config = std::move(text);
        clock = its;
        return made;
    }

  private:
    [[nodiscard]] static DefaultCache& state() {
        static constinit Eternal<DefaultCache> leaked;
        return leaked.get();
    }

    /// A thread of the cache that lets go of it last cannot wait for itself: another one ends it.
    static void end(SmartCache<>* last) noexcept {
        if (!OwnThread::here()) {
            delete last;
            return;
        }
        try {
            std::thread([last] { delete last; }).detach();
        } catch (const std::system_error&) {  // no thread: it stays
        }
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
    const std::lock_guard not_made_meanwhile(state.making);
    if (std::shared_ptr<SmartCache<>> known = state.known()) {  // as it is until `making` is free
        if (text != state.config || config.clock != state.clock)
            throw ConfigError("default_cache", detail::without_secrets(std::move(config)).to_json(),
                              "the configuration it has already (" +
                                  detail::without_secrets(known->config()).to_json() +
                                  "), or reset_default_cache() first");
        return known;
    }
    return state.make(std::move(config), std::move(text));
}

/// The process-wide cache, created with the default configuration if nobody has set one.
/// Thread safety: any thread. Hold the pointer for as long as you use the cache.
[[nodiscard]] inline std::shared_ptr<SmartCache<>> default_cache() {
    detail::DefaultCache& state = detail::DefaultCache::instance();
    if (std::shared_ptr<SmartCache<>> known = state.known()) return known;
    const std::lock_guard not_made_meanwhile(state.making);
    if (std::shared_ptr<SmartCache<>> known = state.known()) return known;
    Config config;
    std::string text = config.to_json();
    return state.make(std::move(config), std::move(text));
}

/// Clears the process-wide cache and lets go of it; the next use makes a new one.
inline void reset_default_cache() {
    if (const std::shared_ptr<SmartCache<>> old = detail::DefaultCache::instance().take()) old->clear();
}

}  // namespace smartcache::inline v0
