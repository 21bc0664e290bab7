#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <iterator>
#include <limits>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include <smartcache/core/std_types.hpp>

// The text of arguments in keys of cached functions.
//
//     value    = bool | integer | char | real | enum | text | bytes | ...   first character: which of them
//     bool     = "b0" | "b1"
//     integer  = ("i" | "u") size ":" decimal ";"                            i4:-7;
//     char     = ("c" | "w" | "c8" | "c16" | "c32") ":" code ";"             c:65;
//     real     = "f" size ":" bits, in hexadecimal ";"                       f4:3f800000;
//     enum     = "e" value of the underlying type
//     text     = "t" size ":" characters | "n"  (a null const char*)         t5:hello
//     bytes    = "y" size ":" bytes
//     path     = "P" size ":" characters
//     optional = "o-" | "o+" value
//     variant  = "v" index ":" value
//     nothing  = "m"  (std::monostate)
//     pair     = "p" value value
//     tuple    = "T" count ":" values
//     sequence = "[" count ":" values, in their order                        [2:i4:1;i4:2;
//     unsorted = "{" count ":" values, in the order of their encodings
//     duration = "d" num "/" den ":" value of count()                        d1/1000:i8:5;
//     instant  = "@" duration
//     to_key   = "k" value of to_key(argument)
//
// Injective: the first character names the rule, and every rule says where it ends (a fixed length, a closing
// ";" that cannot occur in a number, a count or a size in front), so by induction over nesting no encoding is
// a prefix of another one. Hence a list of arguments has one reading, and that reading gives back every value
// of the types at hand: numbers in full, reals by their bits, text by its bytes. Nothing is hashed or
// shortened. Types that hold the same values share a rule (std::vector and std::list of int): what the
// function takes is part of its name, not of its arguments.
namespace smartcache::inline v0 {

/// Specialise as true to leave arguments of type T (without cv and reference) out of keys: loggers, stop
/// tokens, handles, whatever does not change the result.
template <class T>
inline constexpr bool ignored_in_key = false;

/// Appends the encoding of `value` to a key; equal text means equal values.
///
/// Takes: arithmetic types (bit by bit: -0.0 is not 0.0), enumerations, text (std::string, std::string_view,
/// const char*), bytes (vector, span or array of std::byte or unsigned char), std::optional, pair, tuple,
/// variant, the standard containers, paths, durations, time points; and every type with a function
/// `to_key(const T&)` in its namespace whose result is one of these. Anything else is a compile error.
/// The same on every compiler and in every process, as long as the types have the same sizes.
/// Throws: `std::bad_alloc`, and what `to_key` throws.
template <class T>
void encode_key_arg(std::string& out, const T& value);

namespace detail {

void append_number(auto& out, auto number, int base = 10) {
    std::array<char, 24> text;
    const char* const end = std::to_chars(text.data(), text.data() + text.size(), number, base).ptr;
    out.append(text.data(), static_cast<std::size_t>(end - text.data()));
}

void append_framed(auto& out, std::string_view text) {
    append_number(out, text.size());
    out += ':';
    out += text;
}

void append_hex(auto& out, std::uint64_t bits, unsigned digits) {
    while (digits-- > 0) out += "0123456789abcdef"[(bits >> (4U * digits)) & 0xFU];
}

/// `out` is a std::string or a `KeyText`.
template <class T>
void encode_argument(auto& out, const T& value);

enum class KeyShape { none, text, pair, tuple, optional, variant, sequence, unsorted, duration, instant };

/// As the standard's shapes have it; what keys tell apart more finely is specialised below.
template <class T>
[[nodiscard]] constexpr KeyShape common_key_shape() {
    constexpr bool hashed = requires {
        typename T::hasher;
    };
    switch (std_shape<T>) {
        case StdShape::string:
            return KeyShape::text;
        case StdShape::optional:
            return KeyShape::optional;
        case StdShape::tuple:
            return KeyShape::tuple;
        case StdShape::array:
        case StdShape::sequence:
            return KeyShape::sequence;
        case StdShape::set:
        case StdShape::map:
            return hashed ? KeyShape::unsorted : KeyShape::sequence;
        case StdShape::variant:
            return KeyShape::variant;
        case StdShape::duration:
            return KeyShape::duration;
        case StdShape::time_point:
            return KeyShape::instant;
        case StdShape::none:
            break;
    }
    return KeyShape::none;
}

template <class T>
inline constexpr KeyShape key_shape = common_key_shape<T>();
template <class Traits, class A>
inline constexpr KeyShape key_shape<std::basic_string<char, Traits, A>> = KeyShape::text;
template <class Traits>
inline constexpr KeyShape key_shape<std::basic_string_view<char, Traits>> = KeyShape::text;
template <class A, class B>
inline constexpr KeyShape key_shape<std::pair<A, B>> = KeyShape::pair;
template <class T, std::size_t N>
inline constexpr KeyShape key_shape<std::span<T, N>> = KeyShape::sequence;
template <class C, class Traits>
requires(!std::same_as<C, char>) inline constexpr KeyShape key_shape<std::basic_string_view<C, Traits>> =
    KeyShape::sequence;

/// These convert to T and to nothing else: they find out whether a `to_key` is meant for T itself. Two,
/// because g++ takes only the second one for a parameter by value.
template <class T>
struct ExactlyReference {
    template <std::same_as<T> U>
    operator const U&() const;  // NOLINT(google-explicit-constructor)
};
template <class T>
struct ExactlyValue {
    template <std::same_as<T> U>
    operator U() const;  // NOLINT(google-explicit-constructor)
};
template <class T>
inline constexpr bool is_class_template = false;
template <template <class...> class Template, class... A>
inline constexpr bool is_class_template<Template<A...>> = true;

template <class T>
concept HasToKey = (std::is_class_v<T> || std::is_union_v<T> || std::is_enum_v<T>)&&requires(const T& value) {
    to_key(value);
};
/// A `to_key` of a base class, or of what T converts to, would leave out what makes T differ.
template <class T>
concept HasOwnToKey = HasToKey<T> &&(
    std::is_enum_v<T> || is_class_template<T> || requires(ExactlyReference<T> value) { to_key(value); } ||
    requires(ExactlyValue<T> value) { to_key(value); });

template <class T>
concept KeyByteSequence = key_shape<T>
== KeyShape::sequence&& requires(const T& value) {
    { value.data() } -> std::convertible_to<const void*>;
    requires std::same_as<typename T::value_type, std::byte> ||
        std::same_as<typename T::value_type, unsigned char>;
};

template <class T>
inline constexpr bool unencodable = false;

template <class T>
void encode_character(auto& out, T value) {
    if constexpr (std::same_as<T, char>) {
        out += "c:";
        append_number(out, static_cast<unsigned>(static_cast<unsigned char>(value)));
    } else {
        out += std::same_as<T, wchar_t>    ? "w:"
               : std::same_as<T, char8_t>  ? "c8:"
               : std::same_as<T, char16_t> ? "c16:"
                                           : "c32:";
        append_number(out, static_cast<std::uint32_t>(value));
    }
    out += ';';
}

template <std::floating_point T>
void encode_real(auto& out, T value) {
    // The x87 format has 80 bits and padding behind them, which is not part of the value.
    constexpr std::size_t size = std::numeric_limits<T>::digits == 64 ? 10 : sizeof(T);
    static_assert(std::endian::native == std::endian::little || std::endian::native == std::endian::big);
    std::array<unsigned char, sizeof(T)> bytes;
    std::memcpy(bytes.data(), &value, sizeof(T));
    out += 'f';
    append_number(out, size);
    out += ':';
    for (std::size_t i = 0; i < size; ++i)
        append_hex(out, bytes[std::endian::native == std::endian::little ? size - 1 - i : i], 2);
    out += ';';
}

template <class T>
void encode_arithmetic(auto& out, T value) {
    if constexpr (std::same_as<T, bool>) {
        out += value ? "b1" : "b0";
    } else if constexpr (std::same_as<T, char> || std::same_as<T, wchar_t> || std::same_as<T, char8_t> ||
                         std::same_as<T, char16_t> || std::same_as<T, char32_t>) {
        encode_character(out, value);
    } else if constexpr (std::floating_point<T>) {
        encode_real(out, value);
    } else {
        // The commonest argument: made apart and appended at once, which takes a third of the time.
        static_assert(sizeof(T) < 10);
        std::array<char, 28> text{std::signed_integral<T> ? 'i' : 'u', static_cast<char>('0' + sizeof(T)),
                                  ':'};
        char* const end = std::to_chars(text.data() + 3, text.data() + text.size() - 1, value).ptr;
        *end = ';';
        const auto size = static_cast<std::size_t>(end + 1 - text.data());
        if constexpr (requires { out.append_start(text, size); })
            out.append_start(text, size);
        else
            out.append(text.data(), size);
    }
}

template <class T>
void encode_elements(auto& out, const T& values) {
    // The elements of std::vector<bool> are not bools: what is encoded is always a value_type.
    using Element = std::remove_cv_t<typename T::value_type>;
    out += key_shape<T> == KeyShape::unsorted ? '{' : '[';
    append_number(out, static_cast<std::size_t>(std::distance(values.begin(), values.end())));
    out += ':';
    if constexpr (key_shape<T> == KeyShape::unsorted) {
        std::vector<std::string> encoded;
        encoded.reserve(values.size());
        for (const auto& value : values) encode_argument<Element>(encoded.emplace_back(), value);
        std::sort(encoded.begin(), encoded.end());
        for (const std::string& element : encoded) out += element;
    } else {
        for (auto&& value : values) encode_argument<Element>(out, value);
    }
}

/// The rules that a type's shape chooses.
template <class T>
void encode_shape(auto& out, const T& value) {
    constexpr KeyShape shape = key_shape<T>;
    if constexpr (shape == KeyShape::text) {
        out += 't';
        append_framed(out, std::string_view(value.data(), value.size()));
    } else if constexpr (shape == KeyShape::pair) {
        out += 'p';
        encode_argument<std::remove_cvref_t<decltype(value.first)>>(out, value.first);
        encode_argument<std::remove_cvref_t<decltype(value.second)>>(out, value.second);
    } else if constexpr (shape == KeyShape::tuple) {
        out += 'T';
        append_number(out, std::tuple_size_v<T>);
        out += ':';
        std::apply(
            [&out](const auto&... parts) {
                (encode_argument<std::remove_cvref_t<decltype(parts)>>(out, parts), ...);
            },
            value);
    } else if constexpr (shape == KeyShape::optional) {
        out += value ? "o+" : "o-";
        if (value) encode_argument<std::remove_cv_t<typename T::value_type>>(out, *value);
    } else if constexpr (shape == KeyShape::variant) {
        out += 'v';
        append_number(out, value.index());
        out += ':';
        std::visit(
            [&out](const auto& held) { encode_argument<std::remove_cvref_t<decltype(held)>>(out, held); },
            value);
    } else if constexpr (shape == KeyShape::duration) {
        out += 'd';
        append_number(out, T::period::num);
        out += '/';
        append_number(out, T::period::den);
        out += ':';
        encode_argument<typename T::rep>(out, value.count());
    } else if constexpr (shape == KeyShape::instant) {
        out += '@';
        encode_shape(out, value.time_since_epoch());
    } else {
        encode_elements(out, value);
    }
}

template <class T>
void encode_argument(auto& out, const T& value) {
    if constexpr (std::is_arithmetic_v<T>) {
        encode_arithmetic(out, value);
    } else if constexpr (std::same_as<std::decay_t<T>, const char*> || std::same_as<std::decay_t<T>, char*>) {
        const char* const text = value;
        if (text == nullptr) {
            out += 'n';
        } else {
            out += 't';
            append_framed(out, text);
        }
    } else if constexpr (KeyByteSequence<T>) {
        out += 'y';
        append_framed(out, {reinterpret_cast<const char*>(value.data()), value.size()});
    } else if constexpr (std::same_as<T, std::filesystem::path>) {
        out += 'P';
        append_framed(out, value.string());
    } else if constexpr (std::same_as<T, std::monostate>) {
        out += 'm';
    } else if constexpr (key_shape<T> != KeyShape::none) {
        encode_shape(out, value);
    } else if constexpr (HasOwnToKey<T>) {
        out += 'k';
        auto&& key = to_key(value);
        encode_argument<std::remove_cvref_t<decltype(key)>>(out, key);
    } else if constexpr (std::is_enum_v<T>) {
        out += 'e';
        encode_arithmetic(out, static_cast<std::underlying_type_t<T>>(value));
    } else if constexpr (HasToKey<T>) {
        static_assert(
            unencodable<T>,
            "smartcache: the only to_key() for this argument's type takes another type (a base class or a "
            "conversion), and would leave out what makes two arguments differ. Write to_key(const T&) for "
            "the type itself");
    } else if constexpr (std::is_pointer_v<T> || std::is_member_pointer_v<T> || std::is_array_v<T> ||
                         std::is_null_pointer_v<T>) {
        static_assert(
            unencodable<T>,
            "smartcache: a pointer cannot be part of a key: its address is not the value it points to, and "
            "another object may have it later. Pass the value, or set ignored_in_key for the pointer type");
    } else {
        static_assert(
            unencodable<T>,
            "smartcache: this argument's type cannot be part of a key. Write a function to_key(const T&) in "
            "the namespace of T whose result identifies the value (a number, text, a tuple of those), or set "
            "ignored_in_key<T> to leave the argument out");
    }
}

}  // namespace detail

template <class T>
void encode_key_arg(std::string& out, const T& value) {
    detail::encode_argument<T>(out, value);
}

/// The start of every key of a cached function: prefix and name, each framed by its length.
[[nodiscard]] inline std::string call_key_start(std::string_view prefix, std::string_view name) {
    std::string text;
    text.reserve(prefix.size() + name.size() + 24);
    detail::append_framed(text, prefix);
    text += ' ';
    detail::append_framed(text, name);
    text += ' ';
    return text;
}

}  // namespace smartcache::inline v0
