#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/tier_id.hpp>
#include <smartcache/facade/value_entry.hpp>
#include <smartcache/facade/value_traits.hpp>

namespace smartcache::inline v0 {

class LoadContext;

/// The result of a lookup: optional-like, move-only. On a hit it pins the value where it lies: nothing was
/// copied, and it stays valid past erase, eviction, clear and the destruction of the cache.
///
///     if (auto hit = cache.get<User>("user:123")) greet(hit->name);
///     std::string text = cache.get<std::string_view>("page").value_or("nothing");   // always an owning
///     value
///
/// Thread safety: one thread at a time. `*` and `->` of an empty one are undefined, as for `std::optional`.
template <class T>
class Lookup {
    // Flat values that own are copied out; views point into the entry; objects are read where they lie.
    static constexpr bool in_place = !detail::is_flat<T>;

  public:
    using value_type = T;

    Lookup() = default;
    Lookup(Lookup&& other) noexcept
        : entry_(std::move(other.entry_)),
          value_(std::exchange(other.value_, {})),
          time_(other.time_),
          tier_(std::exchange(other.tier_, TierId::none)),
          stale_(other.stale_) {}
    Lookup& operator=(Lookup&& other) noexcept {
        if (this == &other) return *this;
        entry_ = std::move(other.entry_);
        value_ = std::exchange(other.value_, {});
        time_ = other.time_;
        tier_ = std::exchange(other.tier_, TierId::none);
        stale_ = other.stale_;
        return *this;
    }
    Lookup(const Lookup&) = delete;
    Lookup& operator=(const Lookup&) = delete;
    ~Lookup() = default;

    [[nodiscard]] bool has_value() const noexcept { return static_cast<bool>(value_); }
    [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }

    [[nodiscard]] const T& operator*() const& noexcept { return *value_; }
    /// On an rvalue: a copy (a view as its owning type), so that nothing dangles.
    [[nodiscard]] detail::owning_t<T> operator*() const&& requires std::copy_constructible<T> {
        return detail::to_owning(*value_);
    }
    [[nodiscard]] const T* operator->() const noexcept { return &*value_; }
    /// @throws std::bad_optional_access on a miss
    [[nodiscard]] const T& value() const& {
        if (!value_) throw std::bad_optional_access();
        return *value_;
    }
    [[nodiscard]] detail::owning_t<T> value() const&& requires std::copy_constructible<T> {
        if (!value_) throw std::bad_optional_access();
        return detail::to_owning(*value_);
    }
    /// The value or `other`; always owning.
    template <class U = detail::owning_t<T>>
    requires std::copy_constructible<T>
    [[nodiscard]] detail::owning_t<T> value_or(U&& other) const {
        if (value_) return detail::to_owning(*value_);
        return static_cast<detail::owning_t<T>>(std::forward<U>(other));
    }

    /// The tier that answered; `none` on a miss and for a value that was just loaded.
    [[nodiscard]] TierId tier() const noexcept { return tier_; }
    /// Whether the value had expired when it was given out (within its grace).
    [[nodiscard]] bool stale() const noexcept { return stale_; }
    /// Time since the value was stored, to the second for one with a lifetime of more than 24 days; 0 on a miss.
    [[nodiscard]] Duration age() const noexcept {
        return entry_ ? Duration(std::max<std::int64_t>(0, now() - entry_->created())) : Duration::zero();
    }
    /// What remains of its lifetime: 0 on a miss or when expired, `Duration::max()` for ever, and for a value that was just
    /// loaded and is not kept in memory.
    [[nodiscard]] Duration ttl() const noexcept {
        if (!entry_) return Duration::zero();
        const std::int64_t end = entry_->fresh_until();
        if (end == detail::EntryBase::never) return Duration::max();
        return Duration(end > now() ? end - now() : 0);
    }

  private:
    template <class>
    friend class SmartCache;
    friend class LoadContext;

    // The value as such, not as an optional: one that is copied is written in parts and read as a whole, for which
    // processors wait as long as for half of a hit.
    template <class V>
    Lookup(detail::ValueRef&& entry, V&& value, TimeSource time, TierId tier, bool stale)
        : entry_(std::move(entry)), value_(std::forward<V>(value)), time_(time), tier_(tier), stale_(stale) {}

    [[nodiscard]] std::int64_t now() const noexcept { return time_.now().time_since_epoch().count(); }

    detail::ValueRef entry_;
    std::conditional_t<in_place, const T*, std::optional<T>> value_{};
    TimeSource time_;
    TierId tier_ = TierId::none;
    bool stale_ = false;
};

}  // namespace smartcache::inline v0
