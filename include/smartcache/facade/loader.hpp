#pragma once

#include <concepts>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <smartcache/facade/entry_options.hpp>
#include <smartcache/facade/value_traits.hpp>

namespace smartcache::inline v0 {

/// What a loader may see and say: take it as `T load(sc::LoadContext&)`. Valid during the call.
class LoadContext {
  public:
    LoadContext(std::string_view key, const EntryOptions& defaults) : options(defaults), key_(key) {}

    /// The key that is being loaded.
    [[nodiscard]] std::string_view key() const noexcept { return key_; }
    /// Gives the value to those who wait, and stores it nowhere.
    void skip_store() noexcept { store_ = false; }
    [[nodiscard]] bool stores() const noexcept { return store_; }

    /// How the value will be stored; starts as what the caller asked for, and the loader may change it.
    EntryOptions options;

  private:
    std::string_view key_;
    bool store_ = true;
};

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

template <class F>
decltype(auto) run_loader(F& load, LoadContext& context) {
    if constexpr (PlainLoader<F>)
        return std::invoke(load);
    else
        return std::invoke(load, context);
}

}  // namespace detail

/// The type a loader's values are stored as: without `std::optional` and `MemoryOnly`, views as their owning
/// type.
template <class F>
using loaded_t = typename detail::stored<typename detail::strip_memory_only<typename detail::strip_optional<
    typename detail::loader_result<std::remove_cvref_t<F>>::type>::type>::type>::type;

}  // namespace smartcache::inline v0
