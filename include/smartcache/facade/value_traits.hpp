#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <smartcache/core/bytes.hpp>
#include <smartcache/record/record.hpp>

namespace smartcache::inline v0 {

/// A value that stays in L1 and needs no codec; it may be move-only. Made by `memory_only`.
template <class T>
struct MemoryOnly {
    T value;
};

/// Marks a value as one for L1 only: `cache.set("conn", sc::memory_only(std::move(connection)))`.
template <class T>
[[nodiscard]] MemoryOnly<std::decay_t<T>> memory_only(T&& value) {
    return {std::forward<T>(value)};
}

namespace detail {

template <class T>
inline constexpr bool is_memory_only = false;
template <class T>
inline constexpr bool is_memory_only<MemoryOnly<T>> = true;

template <class T>
struct strip_memory_only {
    using type = T;
};
template <class T>
struct strip_memory_only<MemoryOnly<T>> {
    using type = T;
};

template <class T>
concept ByteLike = std::same_as<std::remove_const_t<T>, std::byte> || std::same_as < std::remove_const_t<T>,
unsigned char > || std::same_as<std::remove_const_t<T>, char>;

/// How a type is kept: flat as text or bytes, or as an object.
enum class Shape { object, text_owner, text_view, c_string, byte_vector, byte_array, byte_span };

template <class T>
inline constexpr Shape shape_of = Shape::object;
template <class A>
inline constexpr Shape shape_of<std::basic_string<char, std::char_traits<char>, A>> = Shape::text_owner;
template <>
inline constexpr Shape shape_of<std::string_view> = Shape::text_view;
template <>
inline constexpr Shape shape_of<const char*> = Shape::c_string;
template <>
inline constexpr Shape shape_of<char*> = Shape::c_string;
template <ByteLike B, class A>
inline constexpr Shape shape_of<std::vector<B, A>> = Shape::byte_vector;
template <ByteLike B, std::size_t N>
inline constexpr Shape shape_of<std::array<B, N>> = Shape::byte_array;
template <ByteLike B, std::size_t N>
inline constexpr Shape shape_of<std::span<B, N>> = Shape::byte_span;

template <class T>
inline constexpr bool is_flat = shape_of<T> != Shape::object;
template <class T>
inline constexpr bool is_view =
    shape_of<T> == Shape::text_view || shape_of<T> == Shape::c_string || shape_of<T> == Shape::byte_span;
template <class T>
inline constexpr bool is_text =
    shape_of<T> == Shape::text_owner || shape_of<T> == Shape::text_view || shape_of<T> == Shape::c_string;

/// The characters or bytes of a flat value.
template <class T>
[[nodiscard]] ByteView flat_bytes(const T& value) noexcept {
    if constexpr (shape_of<T> == Shape::c_string)
        return as_byte_view(value == nullptr ? std::string_view() : std::string_view(value));
    else
        return std::as_bytes(std::span(value.data(), value.size()));
}

/// The same for an array of characters: a C string that ends with the array where no zero ends it before.
template <std::size_t N>
[[nodiscard]] ByteView flat_bytes(const char (&array)[N]) noexcept {
    const char* const end = std::find(array, array + N, '\0');
    return as_byte_view(std::string_view(array, static_cast<std::size_t>(end - array)));
}

/// A flat value of type T made of `bytes`; views point into them. nullopt when an array has another length.
template <class T>
[[nodiscard]] std::optional<T> from_flat(ByteView bytes) {
    constexpr Shape shape = shape_of<T>;
    static_assert(shape != Shape::object && shape != Shape::c_string,
                  "smartcache: a value cannot be read as a char pointer; read it as std::string_view");
    if constexpr (shape == Shape::text_view) {
        return as_text_view(bytes);
    } else if constexpr (shape == Shape::text_owner) {
        return T(as_text_view(bytes));
    } else if constexpr (shape == Shape::byte_vector) {
        using B = typename T::value_type;
        const B* const first = reinterpret_cast<const B*>(bytes.data());
        return T(first, first + bytes.size());
    } else if constexpr (shape == Shape::byte_array) {
        T array{};
        if (bytes.size() != array.size()) return std::nullopt;
        if (!bytes.empty()) std::memcpy(array.data(), bytes.data(), bytes.size());
        return array;
    } else {
        static_assert(std::is_const_v<typename T::element_type>,
                      "smartcache: values are immutable; read bytes as std::span<const std::byte>");
        using B = typename T::element_type;
        if constexpr (T::extent != std::dynamic_extent)
            if (bytes.size() != T::extent) return std::nullopt;
        return T(reinterpret_cast<const B*>(bytes.data()), bytes.size());
    }
}

/// Owning counterpart of a view; any other type itself.
template <class T>
struct owning {
    using type = T;
};
template <>
struct owning<std::string_view> {
    using type = std::string;
};
template <class B, std::size_t N>
struct owning<std::span<B, N>> {
    using type = std::vector<std::remove_const_t<B>>;
};
template <class T>
using owning_t = typename owning<T>::type;

template <class T>
[[nodiscard]] owning_t<T> to_owning(const T& value) {
    if constexpr (std::same_as<owning_t<T>, T>)
        return value;
    else
        return owning_t<T>(value.begin(), value.end());
}

}  // namespace detail
}  // namespace smartcache::inline v0
