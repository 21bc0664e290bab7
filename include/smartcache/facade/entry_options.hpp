#pragma once

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/tier_id.hpp>
#include <smartcache/record/record.hpp>

namespace smartcache::inline v0 {

/// A set of tiers: `TierSet::memory | TierSet::disk`.
enum class TierSet : std::uint8_t { none = 0, memory = 1, redis = 2, disk = 4, other = 8, all = 15 };

[[nodiscard]] constexpr TierSet operator|(TierSet a, TierSet b) noexcept {
    return static_cast<TierSet>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}

[[nodiscard]] constexpr bool contains(TierSet set, TierId tier) noexcept {
    const auto has = [set](TierSet one) {
        return (static_cast<unsigned>(set) & static_cast<unsigned>(one)) != 0;
    };
    switch (tier) {
        case TierId::memory:
            return has(TierSet::memory);
        case TierId::redis:
            return has(TierSet::redis);
        case TierId::disk:
            return has(TierSet::disk);
        case TierId::other:
            return has(TierSet::other);
        case TierId::none:
            return false;
    }
    return false;
}

/// How much a lifetime is shortened at random, so that entries stored together do not expire together: a
/// length of time, or a fraction of the lifetime (0 to 1).
class Jitter {
  public:
    Jitter() = default;
    template <class Rep, class Period>
    Jitter(std::chrono::duration<Rep, Period> most)  // implicit: {.jitter = 30s}
        : most_(saturating_duration(most)) {}
    Jitter(double fraction) : fraction_(fraction) {}  // implicit: {.jitter = 0.1}

    /// @param random  any 64 bits
    /// @return a lifetime in (lifetime - jitter, lifetime]; for ever stays for ever
    [[nodiscard]] Duration apply(Duration lifetime, std::uint64_t random) const noexcept {
        if (lifetime == Duration::max() || lifetime <= Duration::zero()) return lifetime;
        const double share = static_cast<double>(random >> 11U) * 0x1.0p-53;  // [0, 1)
        double most = static_cast<double>(most_.count());
        if (fraction_ > 0) most = fraction_ * static_cast<double>(lifetime.count());
        const auto off = static_cast<std::int64_t>(share * most);
        return off <= 0 ? lifetime : Duration(std::max<std::int64_t>(1, lifetime.count() - off));
    }

    /// Whether it is as made by default; without a branch.
    [[nodiscard]] bool zero() const noexcept {
        return (static_cast<std::uint64_t>(most_.count()) | std::bit_cast<std::uint64_t>(fraction_)) == 0;
    }
    [[nodiscard]] bool none() const noexcept { return most_ <= Duration::zero() && fraction_ <= 0; }
    [[nodiscard]] bool valid() const noexcept {
        return most_ >= Duration::zero() && fraction_ >= 0 && fraction_ <= 1;
    }

  private:
    Duration most_{0};
    double fraction_ = 0;
};

/// As long as a tag may be.
inline constexpr std::size_t max_tag_size = std::size_t{64} << 10U;

/// What one call may say about the entry that it stores. Copied at the call.
///
/// A lifetime of zero means "do not keep"; absent means the tier's default; `Duration::max()` means for ever.
struct EntryOptions {
    /// Lifetime in every tier.
    std::optional<Duration> ttl{};
    /// Lifetime in one tier; beats `ttl` there.
    std::optional<Duration> memory_ttl{};
    std::optional<Duration> redis_ttl{};
    std::optional<Duration> disk_ttl{};
    /// Time-to-idle in L1.
    std::optional<Duration> idle{};
    /// Shortens the lifetime at random.
    Jitter jitter{};
    /// How long after its expiry the value may still be served, when loading a new one fails.
    Duration grace{0};
    /// Lifetime of a remembered absence (a loader that returned nullopt). Absent: absences are not
    /// remembered.
    std::optional<Duration> negative_ttl{};
    /// Share of the lifetime (0 to 1) after which a hit of `get_or_compute` refreshes the value, one at a time: in the background
    /// if its loader is `owned` (that of a `cached` function is), else in the thread of one caller. A refresh that fails is
    /// tried again after `retry_after`, or a quarter of the remaining lifetime if that is longer. 0: never.
    double refresh_ahead = 0;
    /// The same, at a random time before expiry, earlier the longer the load took: XFetch's beta (Vattani et al., "Optimal
    /// Probabilistic Cache Stampede Prevention", VLDB 2015), 1 as a rule. 0: never.
    double early_beta = 0;
    /// When the load has taken so long (0: at once), a stale value is served if there is one within its grace and the call has a
    /// `grace` of its own; the load goes on in the background. Only for loaders that are `owned`, and needs
    /// `background_threads`: without any the load is left for `run_maintenance` if a stale value can be served, else it runs in
    /// the calling thread and no timeout applies.
    std::optional<Duration> soft_timeout{};
    /// When the load has taken so long, the call ends with a stale value as above, or with `LoadTimeout`; the load goes on.
    std::optional<Duration> hard_timeout{};
    /// Names under which many entries can be erased (`erase_tag`) or made stale (`expire_tag`) at once; at most
    /// `max_tags`. Atomic changes of a value keep its tags unless they name others.
    std::vector<std::string> tags{};
    /// Cost of the entry for `memory.capacity_bytes`, in bytes; absent: size of key, value and overhead, with what
    /// the value owns as far as that is known (`OwnedBytes`), and a share of its tags.
    std::optional<std::size_t> weight{};
    /// Tiers asked, and tiers written. A tier that is not written forgets its older value.
    TierSet read = TierSet::all;
    TierSet write = TierSet::all;
    /// One load at a time across all processes that share the Redis tier (not in `get_or_compute_many`): the others wait and
    /// take its value. For at most `hard_timeout`, or 10 s, never more than a minute: so long a process that dies while it
    /// loads holds up the others, and one that loads longer is not alone any more, and stores nothing over their values.
    bool distributed_lock = false;
    /// After a load has failed and a stale value was served: how long that one is served before the next attempt; 0: everybody
    /// tries again at once.
    Duration retry_after{0};
};

namespace detail {
/// For calls that say nothing: made once, for it is large.
[[nodiscard]] inline const EntryOptions& default_entry_options() {
    static const EntryOptions options;
    return options;
}
}  // namespace detail

/// What one lookup may say.
struct ReadOptions {
    /// Tiers asked.
    TierSet tiers = TierSet::all;
    /// Give out a value that has expired but is within its grace; `Lookup::stale()` tells.
    bool allow_stale = false;
};

}  // namespace smartcache::inline v0
