#pragma once

// Which types BinaryCodec takes, and the hash of their structure. Persistent: the hash stands before every
// value.
//
// The structure is spelt as text and hashed by FNV-1a: bool b; characters c with size; integers u and i with
// size; floating point f with size; std::byte y; enumerations e and the underlying type; string s; optional
// ?; pair, tuple and struct ( members ); array and C array [n: element ]; sequences [ element ]; sets {
// element }, with + where equal ones are kept; maps { key : value } likewise; variant | alternatives );
// durations d period and count; time points t. An aggregate that contains itself is spelt ^ and how many
// aggregates further out.

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <smartcache/codec/detail/fields.hpp>
#include <smartcache/core/std_types.hpp>

namespace smartcache::inline v0::detail {

template <class... T>
struct TypeList {};

/// The types of the members of an aggregate, as `TypeList`.
template <class T>
using field_types = decltype(visit_fields<count_fields<T>()>(std::declval<T&>(), [](auto&... field) {
    return TypeList<std::remove_reference_t<decltype(field)>...>{};
}));

template <class T>
inline constexpr bool is_character =
    std::same_as<T, char> || std::same_as<T, char8_t> || std::same_as<T, char16_t> ||
    std::same_as<T, char32_t> || std::same_as<T, wchar_t>;

template <class T>
inline constexpr bool is_portable_float = std::is_floating_point_v<T>&& std::numeric_limits<T>::is_iec559 &&
                                          (sizeof(T) == 4 || sizeof(T) == 8);

template <class T, class... Outer>
constexpr bool binary_encodable();

/// As an element of something: it must be there before it can be read into.
template <class T, class... Outer>
constexpr bool binary_element() {
    if constexpr (std::is_array_v<T>)
        return binary_element<std::remove_extent_t<T>, Outer...>();
    else if constexpr ((std::same_as<T, Outer> || ...))
        return true;
    else
        return binary_encodable<T, Outer...>() && std::default_initializable<T> && std::movable<T>;
}

/// @tparam Outer  the aggregates that `T` is a part of, innermost first
template <class T, class... Outer>
constexpr bool binary_encodable() {
    constexpr StdShape shape = std_shape<T>;
    if constexpr (!std::same_as<T, std::remove_cv_t<T>> || refers_elsewhere<T>) {
        return false;
    } else if constexpr (std::is_integral_v<T> || is_portable_float<T> || std::is_enum_v<T> ||
                         shape == StdShape::string) {
        return true;
    } else if constexpr (shape == StdShape::tuple) {
        return []<std::size_t... I>(std::index_sequence<I...>) {
            return (binary_element<std::tuple_element_t<I, T>, Outer...>() && ...);
        }
        (std::make_index_sequence<std::tuple_size_v<T>>{});
    } else if constexpr (shape == StdShape::variant) {
        return []<std::size_t... I>(std::index_sequence<I...>) {
            return (binary_element<std::variant_alternative_t<I, T>, Outer...>() && ...);
        }
        (std::make_index_sequence<std::variant_size_v<T>>{});
    } else if constexpr (shape == StdShape::map) {
        return binary_element<typename T::key_type, Outer...>() &&
               binary_element<typename T::mapped_type, Outer...>();
    } else if constexpr (shape == StdShape::array || shape == StdShape::sequence || shape == StdShape::set ||
                         shape == StdShape::optional) {
        return binary_element<typename T::value_type, Outer...>();
    } else if constexpr (shape == StdShape::duration) {
        return binary_element<typename T::rep, Outer...>();
    } else if constexpr (shape == StdShape::time_point) {
        // Other clocks start anew with the machine or the process.
        return std::same_as<typename T::clock, std::chrono::system_clock> &&
               binary_element<typename T::rep, Outer...>();
    } else if constexpr (Fields<T>) {
        return []<class... Field>(TypeList<Field...>) {
            return (binary_element<Field, T, Outer...>() && ...);
        }(field_types<T>{});
    } else {
        return false;
    }
}

template <class T>
concept BinaryEncodable = binary_encodable<T>();

class ShapeHash {
  public:
    constexpr void add(char token) { hash_ = (hash_ ^ static_cast<unsigned char>(token)) * 0x100000001B3U; }
    constexpr void add(char token, std::uint64_t number) {
        add(token);
        do add(static_cast<char>('0' + number % 10));
        while ((number /= 10) != 0);
        add(';');
    }
    [[nodiscard]] constexpr std::uint64_t value() const { return hash_; }

  private:
    std::uint64_t hash_ = 0xCBF29CE484222325U;
};

template <class T, class... Outer>
constexpr void add_shape(ShapeHash& hash) {
    constexpr StdShape shape = std_shape<T>;
    if constexpr ((std::same_as<T, Outer> || ...)) {
        std::uint64_t distance = 0;
        (void)((std::same_as<T, Outer> || (++distance, false)) || ...);
        hash.add('^', distance);
    } else if constexpr (std::same_as<T, bool>) {
        hash.add('b');
    } else if constexpr (std::same_as<T, std::byte>) {
        hash.add('y');
    } else if constexpr (is_character<T>) {
        hash.add('c', sizeof(T));
    } else if constexpr (std::is_integral_v<T>) {
        hash.add(std::is_signed_v<T> ? 'i' : 'u', sizeof(T));
    } else if constexpr (std::is_floating_point_v<T>) {
        hash.add('f', sizeof(T));
    } else if constexpr (std::is_enum_v<T>) {
        hash.add('e');
        add_shape<std::underlying_type_t<T>, Outer...>(hash);
    } else if constexpr (shape == StdShape::string) {
        hash.add('s');
    } else if constexpr (shape == StdShape::optional) {
        hash.add('?');
        add_shape<typename T::value_type, Outer...>(hash);
    } else if constexpr (shape == StdShape::tuple) {
        hash.add('(');
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            (add_shape<std::tuple_element_t<I, T>, Outer...>(hash), ...);
        }
        (std::make_index_sequence<std::tuple_size_v<T>>{});
        hash.add(')');
    } else if constexpr (shape == StdShape::variant) {
        hash.add('|');
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            (add_shape<std::variant_alternative_t<I, T>, Outer...>(hash), ...);
        }
        (std::make_index_sequence<std::variant_size_v<T>>{});
        hash.add(')');
    } else if constexpr (shape == StdShape::array) {
        hash.add('[', std::tuple_size_v<T>);
        add_shape<typename T::value_type, Outer...>(hash);
    } else if constexpr (std::is_array_v<T>) {
        hash.add('[', std::extent_v<T>);
        add_shape<std::remove_extent_t<T>, Outer...>(hash);
    } else if constexpr (shape == StdShape::sequence) {
        hash.add('[');
        add_shape<typename T::value_type, Outer...>(hash);
        hash.add(']');
    } else if constexpr (shape == StdShape::set) {
        hash.add('{');
        if (keeps_equal_keys<T>) hash.add('+');
        add_shape<typename T::value_type, Outer...>(hash);
        hash.add('}');
    } else if constexpr (shape == StdShape::map) {
        hash.add('{');
        if (keeps_equal_keys<T>) hash.add('+');
        add_shape<typename T::key_type, Outer...>(hash);
        hash.add(':');
        add_shape<typename T::mapped_type, Outer...>(hash);
        hash.add('}');
    } else if constexpr (shape == StdShape::duration) {
        hash.add('d', static_cast<std::uint64_t>(T::period::num));
        hash.add('/', static_cast<std::uint64_t>(T::period::den));
        add_shape<typename T::rep, Outer...>(hash);
    } else if constexpr (shape == StdShape::time_point) {
        hash.add('t');
        add_shape<typename T::duration, Outer...>(hash);
    } else {
        hash.add('(');
        [&]<class... Field>(TypeList<Field...>) {
            (add_shape<Field, T, Outer...>(hash), ...);
        }(field_types<T>{});
        hash.add(')');
    }
}

/// Equal for types of equal structure, on every machine.
template <class T>
inline constexpr std::uint64_t shape_hash = [] {
    ShapeHash hash;
    add_shape<T>(hash);
    return hash.value();
}();

}  // namespace smartcache::inline v0::detail
