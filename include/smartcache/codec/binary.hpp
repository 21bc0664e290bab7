#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ratio>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <smartcache/codec/codec.hpp>
#include <smartcache/codec/detail/aggregate.hpp>
#include <smartcache/core/bytes.hpp>
#include <smartcache/record/varint.hpp>

namespace smartcache::inline v0 {

// Format of BinaryCodec: u32 shape, then the value.
//
//     shape       = 32-bit FNV-1a of the type's signature; bytes of another shape are not read
//     number      = little endian, of its own width; bool is 0 or 1; an enum is its underlying number
//     text, bytes = varint size, then the bytes
//     sequence    = varint count, then the elements (vectors, lists, sets, maps of pairs)
//     pair, tuple, array, aggregate = the parts in order; one zero byte when there are none
//     optional    = 0, or 1 and the value
//     duration    = its count; a time point is the duration since its epoch
//
// Signature: u1 i4 f8 b ... for numbers, e(..) enum, s text, [..] sequence, (..) pair, tuple and aggregate,
// a<n>(..) array,
// ?(..) optional, d<num>/<den>(..) duration, t(..) time point. So `int` and `long` of one width are one
// shape, and a struct is known by its members' types, not by its name. Persistent: never change.

namespace detail {

template <class T>
struct BinaryTraits;  // undefined: the type is not supported

template <class T>
concept BinaryEncodable = requires {
    BinaryTraits<T>::signature();
};

template <class T>
void binary_put(const T& value, ByteSink& out) {
    BinaryTraits<T>::put(value, out);
}
template <class T>
[[nodiscard]] bool binary_get(ByteReader& in, T& value) {
    return BinaryTraits<T>::get(in, value) && in.ok();
}

template <class T>
requires(std::is_arithmetic_v<T> && sizeof(T) <= 8) struct BinaryTraits<T> {
    using Bits = std::conditional_t<
        sizeof(T) == 1, std::uint8_t,
        std::conditional_t<sizeof(T) == 2, std::uint16_t,
                           std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>>;

    static std::string signature() {
        const char kind = std::same_as<T, bool>         ? 'b'
                          : std::is_floating_point_v<T> ? 'f'
                          : std::is_signed_v<T>         ? 'i'
                                                        : 'u';
        return std::string(1, kind) + std::to_string(sizeof(T));
    }
    static void put(const T& value, ByteSink& out) { put_fixed(out, std::bit_cast<Bits>(value)); }
    static bool get(ByteReader& in, T& value) {
        const auto bits = in.fixed<Bits>();
        if constexpr (std::same_as<T, bool>) {
            value = bits != 0;
            return bits <= 1;
        } else {
            value = std::bit_cast<T>(bits);
            return true;
        }
    }
};

template <class T>
requires std::is_enum_v<T>
struct BinaryTraits<T> {
    using Number = std::underlying_type_t<T>;
    static std::string signature() { return "e(" + BinaryTraits<Number>::signature() + ")"; }
    static void put(const T& value, ByteSink& out) { binary_put(static_cast<Number>(value), out); }
    static bool get(ByteReader& in, T& value) {
        Number number{};
        if (!binary_get(in, number)) return false;
        value = static_cast<T>(number);
        return true;
    }
};

template <>
struct BinaryTraits<std::string> {
    static std::string signature() { return "s"; }
    static void put(const std::string& value, ByteSink& out) {
        put_varint(out, value.size());
        out.append(value);
    }
    static bool get(ByteReader& in, std::string& value) {
        value = in.text(in.varint());
        return true;
    }
};

/// Containers with a range of elements and a way to add one at the end (or wherever their order wants it).
template <class T>
concept BinarySequence =
    !std::same_as<T, std::string> && requires(T container, typename T::value_type element) {
    container.begin();
    container.end();
    container.size();
    container.clear();
    container.insert(container.end(), std::move(element));
};

template <class T>
struct sequence_element {
    using type = T;
};
template <class K, class V>
struct sequence_element<std::pair<const K, V>> {
    using type = std::pair<K, V>;
};

template <BinarySequence T>
requires BinaryEncodable<typename sequence_element<typename T::value_type>::type>
struct BinaryTraits<T> {
    using Element = typename sequence_element<typename T::value_type>::type;
    static std::string signature() { return "[" + BinaryTraits<Element>::signature() + "]"; }
    static void put(const T& value, ByteSink& out) {
        put_varint(out, value.size());
        for (const auto& element : value) {
            if constexpr (std::same_as<Element, typename T::value_type>) {
                const Element& plain = element;
                binary_put(plain, out);
            } else {
                binary_put(element.first, out);
                binary_put(element.second, out);
            }
        }
    }
    static bool get(ByteReader& in, T& value) {
        const std::uint64_t count = in.varint();
        if (count > in.remaining())
            return false;  // every element takes a byte at least: nothing is built on a claim
        value.clear();
        for (std::uint64_t i = 0; i < count; ++i) {
            Element element{};
            if (!binary_get(in, element)) return false;
            value.insert(value.end(), std::move(element));
        }
        return value.size() == count;  // a set or map with equal keys was not written by us
    }
};

template <class Tuple>
struct BinaryParts {
    static std::string signature() {
        return [&]<class... T>(std::type_identity<std::tuple<T...>>) {
            return "(" + (std::string() + ... + BinaryTraits<std::remove_cvref_t<T>>::signature()) + ")";
        }(std::type_identity<Tuple>{});
    }
    template <class... T>
    static void put(ByteSink& out, const T&... parts) {
        if constexpr (sizeof...(T) == 0)
            out.append(std::byte{0});
        else
            (binary_put(parts, out), ...);
    }
    template <class... T>
    static bool get(ByteReader& in, T&... parts) {
        if constexpr (sizeof...(T) == 0)
            return in.fixed<std::uint8_t>() == 0;
        else
            return (binary_get(in, parts) && ...);
    }
};

template <class... T>
requires(BinaryEncodable<T>&&...) struct BinaryTraits<std::tuple<T...>> : BinaryParts<std::tuple<T...>> {
    static void put(const std::tuple<T...>& value, ByteSink& out) {
        std::apply([&](const T&... parts) { BinaryParts<std::tuple<T...>>::put(out, parts...); }, value);
    }
    static bool get(ByteReader& in, std::tuple<T...>& value) {
        return std::apply([&](T&... parts) { return BinaryParts<std::tuple<T...>>::get(in, parts...); },
                          value);
    }
};

template <class A, class B>
requires(BinaryEncodable<A>&& BinaryEncodable<B>) struct BinaryTraits<std::pair<A, B>>
    : BinaryParts<std::tuple<A, B>> {
    static void put(const std::pair<A, B>& value, ByteSink& out) {
        BinaryParts<std::tuple<A, B>>::put(out, value.first, value.second);
    }
    static bool get(ByteReader& in, std::pair<A, B>& value) {
        return BinaryParts<std::tuple<A, B>>::get(in, value.first, value.second);
    }
};

template <BinaryEncodable T, std::size_t N>
struct BinaryTraits<std::array<T, N>> {
    static std::string signature() {
        return "a" + std::to_string(N) + "(" + BinaryTraits<T>::signature() + ")";
    }
    static void put(const std::array<T, N>& value, ByteSink& out) {
        if constexpr (N == 0) out.append(std::byte{0});
        for (const T& element : value) binary_put(element, out);
    }
    static bool get(ByteReader& in, std::array<T, N>& value) {
        if constexpr (N == 0) return in.fixed<std::uint8_t>() == 0;
        for (T& element : value)
            if (!binary_get(in, element)) return false;
        return true;
    }
};

template <BinaryEncodable T>
struct BinaryTraits<std::optional<T>> {
    static std::string signature() { return "?(" + BinaryTraits<T>::signature() + ")"; }
    static void put(const std::optional<T>& value, ByteSink& out) {
        out.append(static_cast<std::byte>(value.has_value()));
        if (value) binary_put(*value, out);
    }
    static bool get(ByteReader& in, std::optional<T>& value) {
        const auto engaged = in.fixed<std::uint8_t>();
        if (engaged == 0) {
            value.reset();
            return true;
        }
        return engaged == 1 && binary_get(in, value.emplace());
    }
};

template <BinaryEncodable Rep, class Period>
struct BinaryTraits<std::chrono::duration<Rep, Period>> {
    static std::string signature() {
        return "d" + std::to_string(Period::num) + "/" + std::to_string(Period::den) + "(" +
               BinaryTraits<Rep>::signature() + ")";
    }
    static void put(const std::chrono::duration<Rep, Period>& value, ByteSink& out) {
        binary_put(value.count(), out);
    }
    static bool get(ByteReader& in, std::chrono::duration<Rep, Period>& value) {
        Rep count{};
        if (!binary_get(in, count)) return false;
        value = std::chrono::duration<Rep, Period>(count);
        return true;
    }
};

template <class Clock, BinaryEncodable Length>
struct BinaryTraits<std::chrono::time_point<Clock, Length>> {
    static std::string signature() { return "t(" + BinaryTraits<Length>::signature() + ")"; }
    static void put(const std::chrono::time_point<Clock, Length>& value, ByteSink& out) {
        binary_put(value.time_since_epoch(), out);
    }
    static bool get(ByteReader& in, std::chrono::time_point<Clock, Length>& value) {
        Length since{};
        if (!binary_get(in, since)) return false;
        value = std::chrono::time_point<Clock, Length>(since);
        return true;
    }
};

template <class T>
concept BinaryAggregate = std::is_aggregate_v<T> && std::is_class_v<T> && !BinarySequence<T> &&
                          std::is_default_constructible_v<T> && (aggregate_size<T> <= max_aggregate_size);

template <class T>
inline constexpr bool is_std_array = false;
template <class T, std::size_t N>
inline constexpr bool is_std_array<std::array<T, N>> = true;

template <class Tuple>
inline constexpr bool all_encodable = false;
template <class... T>
inline constexpr bool all_encodable<std::tuple<T...>> = (BinaryEncodable<T> && ...);

template <BinaryAggregate T>
requires(!is_std_array<T> && all_encodable<aggregate_tuple<T>>) struct BinaryTraits<T>
    : BinaryParts<aggregate_tuple<T>> {
    static void put(const T& value, ByteSink& out) {
        with_members(value,
                     [&](const auto&... parts) { BinaryParts<aggregate_tuple<T>>::put(out, parts...); });
    }
    static bool get(ByteReader& in, T& value) {
        return with_members(
            value, [&](auto&... parts) { return BinaryParts<aggregate_tuple<T>>::get(in, parts...); });
    }
};

template <BinaryEncodable T>
[[nodiscard]] std::uint32_t binary_shape() {
    static const std::uint32_t shape = [] {
        std::uint32_t hash = 2166136261U;
        for (const char c : BinaryTraits<T>::signature())
            hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
        return hash;
    }();
    return shape;
}

}  // namespace detail

/// Compact bytes, the same on every machine: numbers, enums, text, pairs, tuples, arrays, optionals,
/// durations, standard containers, and aggregates (plain structs) of up to 16 of those. No library, no names,
/// no tolerance: a value read as another shape of type is nullopt. C arrays and base classes are not
/// supported inside structs; use `std::array`.
class BinaryCodec {
  public:
    static constexpr CodecId id = CodecId::binary;
    using default_type = std::string;

    template <detail::BinaryEncodable T>
    void encode(const T& value, ByteSink& out) const {
        detail::put_fixed(out, detail::binary_shape<T>());
        detail::binary_put(value, out);
    }

    template <detail::BinaryEncodable T>
    requires std::default_initializable<T>
    [[nodiscard]] std::optional<T> decode(ByteView bytes) const {
        detail::ByteReader in(bytes);
        if (in.fixed<std::uint32_t>() != detail::binary_shape<T>() || !in.ok()) return std::nullopt;
        std::optional<T> value(std::in_place);
        if (!detail::binary_get(in, *value) || in.remaining() != 0) return std::nullopt;
        return value;
    }
};

static_assert(CodecFor<BinaryCodec, std::vector<std::pair<std::string, std::optional<int>>>>);
static_assert(!CodecFor<BinaryCodec, std::string_view> && !CodecFor<BinaryCodec, int*>);

}  // namespace smartcache::inline v0
