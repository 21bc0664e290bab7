#pragma once

// SmartCache: lookups for coroutines and callbacks.

#include <smartcache/facade/smart_cache.hpp>

namespace smartcache::inline v0 {

template <class Codec>
template <class T, class On>
auto SmartCache<Codec>::async_get(std::string_view key, On on, const ReadOptions& options) {
    struct Get {
        SmartCache* cache;
        std::string key;
        ReadOptions options;
        Lookup<T> operator()() { return cache->template get<T>(key, options); }
    };
    using Result = AsyncLookup<T, Get, On>;
    if (contains(options.tiers, TierId::memory))
        if (Lookup<T> hit = try_get<T>(key)) return Result(std::move(hit), std::move(on));
    return Result(workers_, Get{this, std::string(key), options}, std::move(on));
}

template <class Codec>
template <class F, class On>
auto SmartCache<Codec>::async_get_or_compute(std::string_view key, F load, const EntryOptions& options,
                                             On on) {
    using T = loaded_t<F>;
    struct GetOrCompute {
        SmartCache* cache;
        std::string key;
        F load;
        EntryOptions options;
        Lookup<T> operator()() { return cache->get_or_compute(key, load, options); }
    };
    using Result = AsyncLookup<T, GetOrCompute, On>;
    check(options);
    if (contains(options.read, TierId::memory)) {
        Lookup<T> hit = present<T>(find_memory(key, hash_of(key), false));
        // One that is due for a refresh may have to run the loader.
        if (hit &&
            !(refreshes_early(options) && detail::EarlyRefresh(options).wants(*hit.entry_, now_ms()))) {
            count_hit(key, TierId::memory, false);
            return Result(std::move(hit), std::move(on));
        }
    }
    return Result(workers_, GetOrCompute{this, std::string(key), std::move(load), options}, std::move(on));
}

}  // namespace smartcache::inline v0
