#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <smartcache/core/features.hpp>
#include <smartcache/core/std_types.hpp>
#include <smartcache/facade/cached_options.hpp>
#include <smartcache/facade/detail/key_text.hpp>
#include <smartcache/facade/function_name.hpp>
#include <smartcache/facade/key_encoding.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/facade/value_traits.hpp>

#if SMARTCACHE_HAS_JSON
#include <smartcache/facade/default_cache.hpp>
#endif

namespace smartcache::inline v0 {

namespace detail {

/// Result and parameters of a callable. A member function's object is its first parameter.
template <class F>
struct signature : signature<decltype(&F::operator())> {
    using function = typename signature<decltype(&F::operator())>::call_operator;
};
#define SMARTCACHE_SIGNATURE(NOEXCEPT)                \
    template <class R, class... A>                    \
    struct signature<R (*)(A...) NOEXCEPT> {          \
        using function = R(A...);                     \
    };                                                \
    template <class R, class C, class... A>           \
    struct signature<R (C::*)(A...) NOEXCEPT> {       \
        using function = R(C&, A...);                 \
        using call_operator = R(A...);                \
    };                                                \
    template <class R, class C, class... A>           \
    struct signature<R (C::*)(A...) const NOEXCEPT> { \
        using function = R(const C&, A...);           \
        using call_operator = R(A...);                \
    };
SMARTCACHE_SIGNATURE()
SMARTCACHE_SIGNATURE(noexcept)
#undef SMARTCACHE_SIGNATURE

template <class F>
using signature_t = typename signature<std::decay_t<F>>::function;

/// What a cached function returns for a function that returns R.
template <class R>
struct cached_result {
    static_assert(!std::is_void_v<R>, "smartcache: a function without a result cannot be cached");
    static_assert(
        !std::is_reference_v<R>,
        "smartcache: a function that returns a reference cannot be cached: the cache keeps values, and the "
        "reference would be to another object on every hit. Return by value");
    using type = typename stored<R>::type;
};
template <class R>
struct cached_result<std::optional<R>> {
    using type = std::optional<typename stored<R>::type>;
};
template <class R>
struct cached_result<MemoryOnly<R>> {
    using type = Lookup<R>;
};

/// Whether a type refers to something else, or holds what does, as far as its template arguments tell.
template <class T>
inline constexpr bool may_dangle = refers_elsewhere<T>;
template <class T, std::size_t N>
inline constexpr bool may_dangle<std::array<T, N>> = may_dangle<T>;
template <template <class...> class C, class... T>
inline constexpr bool may_dangle<C<T...>> = refers_elsewhere<C<T...>> || (may_dangle<T> || ...);

/// How an argument is kept for longer than the call it came with: views of text as the text.
template <class Parameter>
using kept_t = typename stored<std::remove_cvref_t<Parameter>>::type;

template <class Parameter>
[[nodiscard]] kept_t<Parameter> keep_argument(const std::remove_cvref_t<Parameter>& argument) {
    if constexpr (shape_of<std::remove_cvref_t<Parameter>> == Shape::c_string)
        return kept_t<Parameter>(as_text_view(flat_bytes(argument)));
    else if constexpr (is_view<std::remove_cvref_t<Parameter>>)
        return to_owning(argument);
    else
        return argument;
}

/// A kept argument as the function takes it.
template <class Parameter>
[[nodiscard]] decltype(auto) as_argument(const kept_t<Parameter>& kept) {
    using Plain = std::remove_cvref_t<Parameter>;
    if constexpr (shape_of<Plain> == Shape::c_string)
        return kept.c_str();
    else if constexpr (std::is_rvalue_reference_v<Parameter>)
        return Plain(kept);
    else
        return (kept);
}

/// Whether an argument can be kept. A class that hides a view inside is its author's to know of.
template <class Parameter>
concept CanKeep = std::copy_constructible<kept_t<Parameter>> && !may_dangle<kept_t<Parameter>> &&
                  requires(const kept_t<Parameter>& kept) {
    { as_argument<Parameter>(kept) } -> std::convertible_to<Parameter>;
};

template <class Result, class T>
[[nodiscard]] Result unwrap(Lookup<T> lookup) {
    if constexpr (std::same_as<Result, Lookup<T>>) {
        return lookup;
    } else if constexpr (is_optional<Result>) {
        if (!lookup) return std::nullopt;
        return Result(*std::as_const(lookup));
    } else {
        return lookup.value();
    }
}

/// The cache a cached function uses: one by reference, or whatever is the default one at the call.
template <class Codec>
struct BoundCache {
    SmartCache<Codec>* cache;
    [[nodiscard]] SmartCache<Codec>* operator()() const noexcept { return cache; }
};
#if SMARTCACHE_HAS_JSON
struct CurrentDefaultCache {
    [[nodiscard]] std::shared_ptr<SmartCache<>> operator()() const { return default_cache(); }
};
#endif

}  // namespace detail

/// A function whose results are cached; made by `cached`. Called like the function itself; results come by
/// value.
///
/// Keys: prefix, the function's name, then every argument *after conversion to the parameter's type* (default
/// arguments of the function do not exist here: a call names all of them). Types in `ignored_in_key` are left
/// out.
///
/// The function may go on in the background after a call has returned (`refresh_ahead`, `early_beta`, `soft_timeout`,
/// `hard_timeout`), with copies of its arguments and of what it captures; text views are kept as text. What it captures by
/// reference must then outlive the cache. Where a parameter cannot be kept (a reference that is not const, a pointer, a
/// container of views, a type that cannot be copied) it runs in callers' threads alone, and calls with timeouts throw
/// `std::logic_error`.
///
/// Thread safety: any thread, if the function itself may be called from any thread. Concurrent calls with
/// equal arguments share one run. Exceptions of the function pass through, nothing is stored.
template <class Source, class F, class Signature>
class Cached;

template <class Source, class F, class R, class... Args>
class Cached<Source, F, R(Args...)> {
  public:
    using result_type = typename detail::cached_result<R>::type;

    Cached(Source source, std::string_view name, F function, CachedOptions options)
        : source_(std::move(source)),
          function_(std::make_shared<const F>(std::move(function))),
          options_(options.entry_options()),
          key_start_(call_key_start(options.key_prefix, name)) {}

    /// The cached result, or that of running the function now.
    result_type operator()(Args... args) const {
        auto&& cache = source_();
        detail::KeyText text;
        write_key(text, args...);
        return detail::unwrap<result_type>(
            cache->get_or_compute(text.view(), Call{function_, {static_cast<Args&&>(args)...}}, options_));
    }

    /// The cached result, or that of running the function on a thread of the cache, with copies of the arguments. What is in
    /// memory is there at once. The future gets the function's exceptions; `.share()` it if several wait.
    [[nodiscard]] std::future<result_type> async(Args... args) const requires(detail::CanKeep<Args>&&...) {
        auto&& cache = source_();
        const std::string text = key_of(args...);
        std::promise<result_type> promise;
        std::future<result_type> future = promise.get_future();
        cache
            ->async_get_or_compute(text, Owned(Call{function_, {static_cast<Args&&>(args)...}}.hand_over()),
                                   options_)
            .then([promise = std::move(promise)](const std::exception_ptr& error, auto result) mutable {
                try {
                    if (error) std::rethrow_exception(error);
                    promise.set_value(detail::unwrap<result_type>(std::move(result)));
                } catch (...) {
                    promise.set_exception(std::current_exception());
                }
            });
        return future;
    }

    /// Forgets the result for these arguments. @return whether there was one
    bool invalidate(const std::remove_reference_t<Args>&... args) const {
        return source_()->erase(key_of(args...));
    }

    /// Runs the function now and replaces the cached result.
    result_type refresh(Args... args) const {
        auto&& cache = source_();
        const std::string text = key_of(args...);
        return detail::unwrap<result_type>(cache->refresh(
            text, [&]() -> R { return uncached(static_cast<Args&&>(args)...); }, options_));
    }

    /// The key for these arguments, as the cache's own functions take it.
    [[nodiscard]] std::string key(const std::remove_reference_t<Args>&... args) const {
        return key_of(args...);
    }

    /// Runs the function, past the cache.
    R uncached(Args... args) const { return std::invoke(*function_, static_cast<Args&&>(args)...); }

  private:
    using Kept = std::tuple<detail::kept_t<Args>...>;

    /// A call with arguments of its own.
    struct KeptCall {
        std::shared_ptr<const F> function;
        Kept args;

        R operator()() { return run(std::index_sequence_for<Args...>()); }
        template <std::size_t... I>
        R run(std::index_sequence<I...>) {
            return std::invoke(*function, detail::as_argument<Args>(std::get<I>(args))...);
        }
    };

    /// A call as a loader, with the caller's arguments.
    struct Call {
        const std::shared_ptr<const F>& function;
        std::tuple<Args&&...> args;

        R operator()() { return run(std::index_sequence_for<Args...>()); }
        template <std::size_t... I>
        R run(std::index_sequence<I...>) {
            return std::invoke(*function, static_cast<Args&&>(std::get<I>(args))...);
        }

        [[nodiscard]] KeptCall hand_over() const requires(detail::CanKeep<Args>&&...) {
            return keep(std::index_sequence_for<Args...>());
        }
        template <std::size_t... I>
        [[nodiscard]] KeptCall keep(std::index_sequence<I...>) const {
            return {function, Kept(detail::keep_argument<Args>(std::get<I>(args))...)};
        }
    };

    [[nodiscard]] std::string key_of(const std::remove_reference_t<Args>&... args) const {
        std::string text;
        write_key(text, args...);
        return text;
    }
    void write_key(auto& text, const std::remove_reference_t<Args>&... args) const {
        text += key_start_;
        (append_argument<std::remove_cvref_t<Args>>(text, args), ...);
    }

    template <class T>
    static void append_argument(auto& text, const T& argument) {
        if constexpr (!ignored_in_key<T>) detail::encode_argument<T>(text, argument);
    }

    Source source_;
    std::shared_ptr<const F> function_;
    EntryOptions options_;
    std::string key_start_;
};

/// Caches the results of a function: `auto area = sc::cached<&expensive_area>(cache, {.ttl = 1h});`
///
/// The function names itself in the keys, with its full signature; equal on every compiler. Functions with
/// internal linkage (static, or in an unnamed namespace) may share a name across files: give those a
/// `key_prefix`. Overloads: choose one by a cast. The cache must outlive the result.
/// @throws ConfigError for a function of an unnamed namespace without a `key_prefix`
template <auto Function, class Codec>
[[nodiscard]] auto cached(SmartCache<Codec>& cache, CachedOptions options = {}) {
    using F = decltype(Function);
    detail::require_name<Function>(options.key_prefix);
    return Cached<detail::BoundCache<Codec>, F, detail::signature_t<F>>({&cache}, function_name<Function>(),
                                                                        Function, std::move(options));
}

/// Caches the results of any callable under a name of your choice:
/// `auto find = sc::cached(cache, "find_user", [&](int id) { return db.find(id); }, {.ttl = 1min});`
///
/// The name must be unique among the callables whose results share the cache (and its lower tiers).
// A signature, as below, is no codec, and no compiler is to look into a SmartCache of it.
template <class Codec, class F>
requires std::is_class_v<Codec>
[[nodiscard]] auto cached(SmartCache<Codec>& cache, std::string_view name, F&& function,
                          CachedOptions options = {}) {
    return Cached<detail::BoundCache<Codec>, std::decay_t<F>, detail::signature_t<F>>(
        {&cache}, name, std::forward<F>(function), std::move(options));
}

/// The same for generic callables, whose signature must be said: `sc::cached<int(int, int)>(cache, "add",
/// add_anything)`.
template <class Signature, class Codec, class F>
requires std::is_function_v<Signature>
[[nodiscard]] auto cached(SmartCache<Codec>& cache, std::string_view name, F&& function,
                          CachedOptions options = {}) {
    return Cached<detail::BoundCache<Codec>, std::decay_t<F>, Signature>(
        {&cache}, name, std::forward<F>(function), std::move(options));
}

#if SMARTCACHE_HAS_JSON
/// As above, over the default cache, which is looked up at every call.
template <auto Function>
[[nodiscard]] auto cached(CachedOptions options = {}) {
    using F = decltype(Function);
    detail::require_name<Function>(options.key_prefix);
    return Cached<detail::CurrentDefaultCache, F, detail::signature_t<F>>({}, function_name<Function>(),
                                                                          Function, std::move(options));
}

template <class F>
[[nodiscard]] auto cached(std::string_view name, F&& function, CachedOptions options = {}) {
    return Cached<detail::CurrentDefaultCache, std::decay_t<F>, detail::signature_t<F>>(
        {}, name, std::forward<F>(function), std::move(options));
}

template <class Signature, class F>
requires std::is_function_v<Signature>
[[nodiscard]] auto cached(std::string_view name, F&& function, CachedOptions options = {}) {
    return Cached<detail::CurrentDefaultCache, std::decay_t<F>, Signature>(
        {}, name, std::forward<F>(function), std::move(options));
}
#endif

}  // namespace smartcache::inline v0
