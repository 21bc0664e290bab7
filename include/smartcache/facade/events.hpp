#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <string_view>

#include <smartcache/core/tier_id.hpp>
#include <smartcache/memory/entry.hpp>

namespace smartcache::inline v0 {

/// Something that happened in a cache.
enum class EventKind : std::uint8_t {
    hit,            ///< a lookup was answered; `tier` says by which tier, or `none` by a load of its own
    stale_hit,      ///< the same with a value that had expired, within its grace
    miss,           ///< a lookup was not
    set,            ///< a caller's value was stored
    removed,        ///< an entry left L1; `cause` says why
    promoted,       ///< a value was copied into L1 from `tier`
    demoted,        ///< an entry that L1 evicted was copied to `tier`
    loaded,         ///< a loader has returned, after `took`
    load_failed,    ///< a loader has thrown `error`, after `took`
    tier_down,      ///< `tier` is not asked any more, because it failed too often
    tier_up,        ///< it is asked again
    hit_ratio_low,  ///< `ratio`, of the last `stats.interval`, is below `stats.alert_below`
    hit_ratio_recovered,  ///< it is not any more
};

struct Event {
    EventKind kind = EventKind::hit;
    std::string_view key{};  ///< valid during the call; empty where no key is concerned
    TierId tier = TierId::none;
    RemovalCause cause = RemovalCause::erased;
    std::chrono::microseconds took{0};
    std::exception_ptr error{};
    double ratio = 0;
};

/// Is told what happens in a cache (`Config::listener`), in the thread in which it happens and before the call that caused it
/// returns, but outside all locks: it may use the cache. What it throws is caught and counted (`Stats::listener_errors`). Must
/// be callable from any thread, several at once. What ends with the cache is not told. The hits of a cache with a listener cost what the listener costs.
using EventListener = std::function<void(const Event&)>;

}  // namespace smartcache::inline v0
