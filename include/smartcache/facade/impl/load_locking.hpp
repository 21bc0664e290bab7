#pragma once

// SmartCache: one load at a time among all processes (`EntryOptions::distributed_lock`).

#include <chrono>
#include <thread>

#include <smartcache/facade/smart_cache.hpp>

namespace smartcache::inline v0 {

/// How long a process may load alone. Within what a trace of an erase covers (R7).
template <class Codec>
Duration SmartCache<Codec>::lock_length(const EntryOptions& options) noexcept {
    constexpr Duration usual = std::chrono::seconds(10);
    constexpr Duration longest = std::chrono::seconds(60);
    return std::clamp<Duration>(options.hard_timeout.value_or(usual), Duration(1), longest);
}

/// Waits until this process is the one to load, or somebody else's value is there: by asking, since who holds the lock may
/// die. Not longer than the lock's length, and not for a tier that does not answer.
/// @param good  whether a value that is found is an answer  @param seen  what a fill will depend on
/// @return what others have stored meanwhile
template <class Codec>
template <class T, class Good>
auto SmartCache<Codec>::lock_load(detail::LoadLock& lock, std::string_view key, std::uint64_t hash,
                                  const EntryOptions& options, const detail::Ticket& ticket,
                                  bool in_background, std::vector<WriteCondition>& seen, Good good) -> Found {
    using Steady = std::chrono::steady_clock;
    const auto until = Steady::now() + lock.length();
    Duration pause{2};
    for (;;) {
        const TierStatus status = lock.take();
        const bool overtaken =
            fences_.marked(ticket);  // perhaps by the very value that is waited for: before the look
        // Then: whoever had the lock before may have stored what it has loaded.
        LowerFound below = find_lower<T>(key, {.tiers = options.read}, false, options.idle.has_value());
        if (below.found && good(below.found)) {
            promote(key, hash, below, ticket, options.write, copy_options(options));
            return std::move(below.found);
        }
        seen = std::move(below.seen);
        if (status != TierStatus::refused) return {};
        if (in_background)  // somebody else refreshes it
            if (Found old = find_memory(key, hash, false); old) return old;
        if (overtaken || Steady::now() >= until || workers_.stop_token().stop_requested()) return {};
        std::this_thread::sleep_for(pause);
        pause = std::min<Duration>(2 * pause, std::chrono::milliseconds(50));
    }
}

}  // namespace smartcache::inline v0
