#pragma once

#include <concepts>
#include <functional>
#include <optional>
#include <ranges>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/function_ref.hpp>
#include <smartcache/core/tier_id.hpp>
#include <smartcache/facade/entry_options.hpp>
#include <smartcache/facade/lookup.hpp>
#include <smartcache/facade/value_entry.hpp>
#include <smartcache/facade/value_traits.hpp>

namespace smartcache::inline v0 {

namespace detail {

/// What was stored under a key that is being loaded, looked for when somebody asks.
struct OldValue {
    ValueRef entry;  // an object of the type that is loaded, or plain text or bytes; empty: nothing
    TierId tier = TierId::none;
    bool stale = false;
    std::vector<std::string> tags;
};

}  // namespace detail

/// What a loader may see and say: take it as `T load(sc::LoadContext&)`. Valid during the call, in the thread of the call.
class LoadContext {
  public:
    using FindOld = detail::FunctionRef<detail::OldValue()>;

    LoadContext(std::string_view key, const EntryOptions& defaults, FindOld find_old, TimeSource time,
                std::stop_token stop)
        : options(defaults), key_(key), find_old_(find_old), time_(time), stop_(std::move(stop)) {}

    /// The key that is being loaded.
    [[nodiscard]] std::string_view key() const noexcept { return key_; }

    /// The value that is to be replaced: one that is within its grace, or that is refreshed ahead of its time. Empty when there is
    /// none, or none of type T: the type that is loaded, or any type of text or bytes if it is one.
    /// The first call looks for it in all tiers.
    template <class T>
    [[nodiscard]] Lookup<T> stale() {
        const detail::OldValue& old = old_value();
        if (!old.entry) return {};
        auto pin = detail::ValueRef::share(old.entry.get());
        if constexpr (detail::is_flat<T>) {
            if (!pin->plain()) return {};
            std::optional<T> value = detail::from_flat<T>(pin->plain_bytes());
            return Lookup<T>(std::move(pin), std::move(value), time_, old.tier, old.stale);
        } else {
            const T* const value = pin->template as<T>();
            if (value == nullptr) return {};
            return Lookup<T>(std::move(pin), value, time_, old.tier, old.stale);
        }
    }
    /// The tags that it was stored with.
    [[nodiscard]] const std::vector<std::string>& stale_tags() { return old_value().tags; }

    /// The value that is to be replaced is still right ("not modified"): whatever the loader returns is ignored, also an
    /// absence, and that value gets another lifetime by `options`, and its tags if they name none. One that cannot be copied
    /// (`MemoryOnly`) is given to those who wait, and stays as it is.
    /// @return false when there is none; then what the loader returns counts
    bool keep_stale() {
        keep_ = static_cast<bool>(old_value().entry);
        return keep_;
    }
    [[nodiscard]] bool keeps_stale() const noexcept { return keep_; }

    /// Gives the value to those who wait, and stores it nowhere.
    void skip_store() noexcept { store_ = false; }
    [[nodiscard]] bool stores() const noexcept { return store_; }

    /// Says when the cache is about to end, which waits for the load: who loads for long stops then.
    [[nodiscard]] std::stop_token stop_token() const noexcept { return stop_; }

    /// How the value will be stored; starts as what the caller asked for, and the loader may change it.
    EntryOptions options;

  private:
    const detail::OldValue& old_value() {
        if (!old_) old_ = find_old_();
        return *old_;
    }

    std::string_view key_;
    FindOld find_old_;
    std::optional<detail::OldValue> old_;
    TimeSource time_;
    std::stop_token stop_;
    bool keep_ = false;
    bool store_ = true;
};

/// A loader that may outlive the call it is passed to; made by `owned`.
template <class F>
class Owned {
    static_assert(std::copy_constructible<F>,
                  "smartcache: an owned loader is copied when it goes on in the background; keep what it "
                  "cannot copy in a "
                  "std::shared_ptr");

  public:
    explicit Owned(F function) : function_(std::move(function)) {}

    /// The loader, for somebody else to keep.
    [[nodiscard]] F hand_over() const { return function_; }

    template <class... Context>
    requires std::invocable<F&, Context...>
    decltype(auto) operator()(Context&&... context) {
        return std::invoke(function_, std::forward<Context>(context)...);
    }

    template <class... Context>
    requires std::invocable<const F&, Context...>
    decltype(auto) operator()(Context&&... context) const {
        return std::invoke(function_, std::forward<Context>(context)...);
    }

  private:
    F function_;
};

/// Says that a loader owns all that it uses, so that it may go on in the background after the call has returned (R31):
/// `cache.get_or_compute(key, sc::owned([id, db] { return db->find(id); }), {.refresh_ahead = 0.8})`.
/// What it captures by reference must outlive the cache.
template <class F>
[[nodiscard]] Owned<std::decay_t<F>> owned(F&& load) {
    return Owned<std::decay_t<F>>(std::forward<F>(load));
}

namespace detail {

template <class F>
concept PlainLoader = std::invocable<F&>;
template <class F>
concept ContextLoader = !PlainLoader<F> && std::invocable<F&, LoadContext&>;

template <class F>
struct loader_result {
    static_assert(PlainLoader<F> || ContextLoader<F>,
                  "smartcache: a loader is callable as T() or T(sc::LoadContext&); T may be std::optional");
};
template <PlainLoader F>
struct loader_result<F> {
    using type = std::remove_cvref_t<std::invoke_result_t<F&>>;
};
template <ContextLoader F>
struct loader_result<F> {
    using type = std::remove_cvref_t<std::invoke_result_t<F&, LoadContext&>>;
};

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

/// Whether the loader may say that there is nothing.
template <class F>
inline constexpr bool may_be_absent = is_optional<typename loader_result<std::remove_cvref_t<F>>::type>;

template <class T>
struct strip_optional {
    using type = T;
};
template <class T>
struct strip_optional<std::optional<T>> {
    using type = T;
};

template <class T>
struct stored {  // char pointers and views own nothing: their characters are stored
    using type = owning_t<T>;
};
template <>
struct stored<const char*> {
    using type = std::string;
};
template <>
struct stored<char*> {
    using type = std::string;
};

/// A loader that can be handed over to another thread.
template <class F>
concept OwnedLoader = requires(std::remove_cvref_t<F>& load) {
    load.hand_over();
};

template <class F>
decltype(auto) run_loader(F& load, LoadContext& context) {
    if constexpr (PlainLoader<F>)
        return std::invoke(load);
    else
        return std::invoke(load, context);
}

/// What a loader of many keys returns for one of them.
template <class R>
struct bulk_element {
    using type = std::ranges::range_value_t<R>;
};
template <class R>
requires requires {
    typename R::mapped_type;
}
struct bulk_element<R> {
    using type = std::conditional_t<is_optional<typename R::mapped_type>, typename R::mapped_type,
                                    std::optional<typename R::mapped_type>>;
};

/// A loader of many keys.
template <class F>
concept BulkLoader = std::invocable<F&, std::span<const std::string_view>>;

template <BulkLoader F>
struct bulk_loader {
    using result = std::remove_cvref_t<std::invoke_result_t<F&, std::span<const std::string_view>>>;
    using element = typename bulk_element<result>::type;
};

}  // namespace detail

/// The type a loader's values are stored as: without `std::optional` and `MemoryOnly`, views as their owning
/// type.
template <class F>
using loaded_t = typename detail::stored<typename detail::strip_memory_only<typename detail::strip_optional<
    typename detail::loader_result<std::remove_cvref_t<F>>::type>::type>::type>::type;

namespace detail {

/// The type that the values of a loader of many keys are stored as.
template <BulkLoader F>
using bulk_loaded_t = typename stored<typename strip_memory_only<
    typename strip_optional<typename bulk_loader<std::remove_reference_t<F>>::element>::type>::type>::type;

}  // namespace detail

}  // namespace smartcache::inline v0
