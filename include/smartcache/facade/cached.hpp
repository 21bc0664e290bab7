#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <smartcache/core/features.hpp>
#include <smartcache/facade/cached_options.hpp>
#include <smartcache/facade/function_name.hpp>
#include <smartcache/facade/key_encoding.hpp>
#include <smartcache/facade/smart_cache.hpp>

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
          function_(std::move(function)),
          options_(options.entry_options()),
          key_start_(call_key_start(options.key_prefix, name)) {}

    /// The cached result, or that of running the function now.
    result_type operator()(Args... args) const {
        auto&& cache = source_();
        const std::string text = key_of(args...);
        return detail::unwrap<result_type>(cache->get_or_compute(
            text, [&]() -> R { return run(static_cast<Args&&>(args)...); }, options_));
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
            text, [&]() -> R { return run(static_cast<Args&&>(args)...); }, options_));
    }

    /// The key for these arguments, as the cache's own functions take it.
    [[nodiscard]] std::string key(const std::remove_reference_t<Args>&... args) const {
        return key_of(args...);
    }

    /// Runs the function, past the cache.
    R uncached(Args... args) const { return run(static_cast<Args&&>(args)...); }

  private:
    [[nodiscard]] std::string key_of(const std::remove_reference_t<Args>&... args) const {
        std::string text = key_start_;
        (append_argument<std::remove_cvref_t<Args>>(text, args), ...);
        return text;
    }

    template <class T>
    static void append_argument(std::string& text, const T& argument) {
        if constexpr (!ignored_in_key<T>) encode_key_arg(text, argument);
    }

    template <class... A>
    R run(A&&... args) const {
        return std::invoke(function_, std::forward<A>(args)...);
    }

    Source source_;
    F function_;
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
template <class Codec, class F>
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
