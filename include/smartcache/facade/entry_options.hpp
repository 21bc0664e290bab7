#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/tier_id.hpp>

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
        : most_(std::chrono::duration_cast<Duration>(most)) {}
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

    [[nodiscard]] bool none() const noexcept { return most_ <= Duration::zero() && fraction_ <= 0; }
    [[nodiscard]] bool valid() const noexcept {
        return most_ >= Duration::zero() && fraction_ >= 0 && fraction_ <= 1;
    }

  private:
    Duration most_{0};
    double fraction_ = 0;
};

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
    /// Share of the lifetime after which a hit refreshes the value in the background; 0: never.
    double refresh_ahead = 0;
    /// XFetch's beta: refresh early with a chance that grows towards expiry; 0: never.
    double early_beta = 0;
    /// Serve stale after the load has taken so long, and let it go on in the background.
    std::optional<Duration> soft_timeout{};
    /// Give up waiting for the load after so long, with `LoadTimeout`.
    std::optional<Duration> hard_timeout{};
    /// Names under which many entries can be erased at once.
    std::vector<std::string> tags{};
    /// Cost of the entry for `memory.capacity_bytes`, in bytes; absent: size of key, value and overhead, with what
    /// the value owns as far as that is known (`OwnedBytes`).
    std::optional<std::size_t> weight{};
    /// Tiers asked, and tiers written. A tier that is not written forgets its older value.
    TierSet read = TierSet::all;
    TierSet write = TierSet::all;
    /// One load across all processes that share the Redis tier.
    bool distributed_lock = false;
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
