#pragma once

// Values to and from nlohmann's documents, strictly. Shared by JsonCodec, MsgPackCodec and CborCodec.
//
// nlohmann_json converts numbers as `static_cast` does: 300 becomes the uint8_t 44 and true the int 1. So
// numbers, strings and the standard's containers are converted here, recursively, and only where neither
// value nor kind changes; the documents are those that nlohmann_json itself would make. All other types go
// through their own `to_json` and `from_json`; what those do inside is theirs to decide.
//
// `std::optional`: nullopt is null, a value is itself. A value that is null itself must not be mistaken for
// nullopt, so null is written as [null], [null] as [[null]] and so on, for the types that can be null at all.
// This maps documents to documents without a collision: only the chain null, [null], [[null]], ... moves, one
// step along.

#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <smartcache/codec/detail/json_document.hpp>
#include <smartcache/core/std_types.hpp>

namespace smartcache::inline v0::detail {

using Json = nlohmann::json;

template <class T>
concept NlohmannWrites = requires(Json& json, const T& value) {
    nlohmann::adl_serializer<T>::to_json(json, value);
};

template <class T>
concept NlohmannReads = requires(const Json& json) {
    { nlohmann::adl_serializer<T>::from_json(json) } -> std::same_as<T>;
}
|| (std::default_initializable<T> &&
    requires(const Json& json, T& value) { nlohmann::adl_serializer<T>::from_json(json, value); });

/// A container's element type, for containers that only nlohmann knows.
template <class T>
inline constexpr bool holds_views = false;
template <class T>
requires requires {
    typename T::value_type;
}
inline constexpr bool holds_views<T> = refers_elsewhere<typename T::value_type>;

template <class T>
inline constexpr bool is_object_key = std_shape<T> == StdShape::string;

/// Whether values of type `T` can be written to a document and read back.
template <class T>
constexpr bool json_convertible() {
    constexpr StdShape shape = std_shape<T>;
    if constexpr (!std::same_as<T, std::remove_cv_t<T>> || refers_elsewhere<T>) {
        return false;
    } else if constexpr (std::same_as<T, Json> || std::is_arithmetic_v<T> || shape == StdShape::string) {
        return true;
    } else if constexpr (shape == StdShape::tuple) {
        return []<std::size_t... I>(std::index_sequence<I...>) {
            return (json_convertible<std::remove_const_t<std::tuple_element_t<I, T>>>() && ...);
        }
        (std::make_index_sequence<std::tuple_size_v<T>>{});
    } else if constexpr (shape == StdShape::map) {
        return json_convertible<typename T::key_type>() && json_convertible<typename T::mapped_type>();
    } else if constexpr (shape == StdShape::array || shape == StdShape::sequence || shape == StdShape::set ||
                         shape == StdShape::optional) {
        return json_convertible<typename T::value_type>();
    } else {
        return NlohmannWrites<T> && NlohmannReads<T> && std::movable<T> && !holds_views<T>;
    }
}

template <class T>
concept JsonConvertible = json_convertible<T>();

/// Byte vectors, which MessagePack and CBOR have a kind of their own for.
template <class T>
inline constexpr bool is_byte_vector = false;
template <class A>
inline constexpr bool is_byte_vector<std::vector<std::byte, A>> = true;
template <class A>
inline constexpr bool is_byte_vector<std::vector<unsigned char, A>> = true;

/// Types whose document may be null. For user types nobody can know.
template <class T>
inline constexpr bool may_be_null =
    !std::is_arithmetic_v<T> && (std_shape<T> == StdShape::none || std_shape<T> == StdShape::optional ||
                                 std_shape<T> == StdShape::variant);

/// null, [null], [[null]], ...
[[nodiscard]] inline bool is_null_chain(const Json& json) noexcept {
    const Json* at = &json;
    while (at->is_array() && at->size() == 1) at = &at->front();
    return at->is_null();
}

/// Whether the integer `magnitude` has no more significant bits than a floating-point type of `digits`.
[[nodiscard]] constexpr bool exact_in_digits(std::uint64_t magnitude, int digits) noexcept {
    return magnitude == 0 ||
           static_cast<int>(std::bit_width(magnitude)) - std::countr_zero(magnitude) <= digits;
}

template <class T>
[[nodiscard]] std::optional<T> read_integer(const Json& json) noexcept {
    using Limits = std::numeric_limits<T>;
    if (json.is_number_unsigned()) {
        const auto value = *json.get_ptr<const Json::number_unsigned_t*>();
        if (value > static_cast<std::uint64_t>(Limits::max())) return std::nullopt;
        return static_cast<T>(value);
    }
    if (json.is_number_integer()) {
        const auto value = *json.get_ptr<const Json::number_integer_t*>();
        if constexpr (std::is_signed_v<T>) {
            if (value < static_cast<std::int64_t>(Limits::min()) ||
                value > static_cast<std::int64_t>(Limits::max()))
                return std::nullopt;
        } else {
            if (value < 0 || static_cast<std::uint64_t>(value) > static_cast<std::uint64_t>(Limits::max()))
                return std::nullopt;
        }
        return static_cast<T>(value);
    }
    return std::nullopt;
}

template <class T>
[[nodiscard]] std::optional<T> read_floating(const Json& json) noexcept {
    using Limits = std::numeric_limits<T>;
    if (json.is_number_unsigned()) {
        const auto value = *json.get_ptr<const Json::number_unsigned_t*>();
        if (!exact_in_digits(value, Limits::digits)) return std::nullopt;
        return static_cast<T>(value);
    }
    if (json.is_number_integer()) {
        const auto value = *json.get_ptr<const Json::number_integer_t*>();
        const auto bits = static_cast<std::uint64_t>(value);
        if (!exact_in_digits(value < 0 ? ~bits + 1 : bits, Limits::digits)) return std::nullopt;
        return static_cast<T>(value);
    }
    if (json.is_number_float()) {
        const double value = *json.get_ptr<const Json::number_float_t*>();
        if constexpr (Limits::digits < std::numeric_limits<double>::digits) {
            if (std::isfinite(value) && std::abs(value) > static_cast<double>(Limits::max()))
                return std::nullopt;
            const T narrow = static_cast<T>(value);
            if (!std::isnan(value) && static_cast<double>(narrow) != value) return std::nullopt;
            return narrow;
        } else {
            return static_cast<T>(value);
        }
    }
    return std::nullopt;
}

/// Reads what `adl_serializer` handles. Exceptions of user code mean "not mine".
template <class T>
[[nodiscard]] std::optional<T> read_by_nlohmann(const Json& json) {
    try {
        std::optional<T> value(std::in_place, json.template get<T>());
        if constexpr (std::is_enum_v<T>) {
            // The library casts whatever number there is, and named enumerators fall back to the first:
            // writing the result again shows whether it is what was stored.
            Json again;
            nlohmann::adl_serializer<T>::to_json(again, *value);
            if (again != json || again.is_number_float() != json.is_number_float()) return std::nullopt;
        }
        return value;
    } catch (const std::bad_alloc&) {
        throw;
    } catch (...) {
        return std::nullopt;
    }
}

template <class T>
[[nodiscard]] std::optional<T> read_json(const Json& json);

template <class T>
[[nodiscard]] std::optional<T> read_json_optional(const Json& json) {
    using Inner = typename T::value_type;
    if (json.is_null()) return std::optional<T>(std::in_place, std::nullopt);
    const bool escaped = may_be_null<Inner> && is_null_chain(json);
    std::optional<Inner> inner = read_json<Inner>(escaped ? json.front() : json);
    if (!inner) return std::nullopt;
    return std::optional<T>(std::in_place, std::move(*inner));
}

template <class T>
[[nodiscard]] std::optional<T> read_json_tuple(const Json& json) {
    if (!json.is_array() || json.size() != std::tuple_size_v<T>) return std::nullopt;
    return [&]<std::size_t... I>(std::index_sequence<I...>)->std::optional<T> {
        std::tuple<std::optional<std::remove_const_t<std::tuple_element_t<I, T>>>...> parts;
        const auto read_part = [&](auto index) {
            auto& part = std::get<index()>(parts);
            part = read_json<typename std::remove_reference_t<decltype(part)>::value_type>(json[index()]);
            return part.has_value();
        };
        if (!(read_part(std::integral_constant<std::size_t, I>{}) && ...)) return std::nullopt;
        if constexpr (std_shape<T> == StdShape::array)
            return T{{std::move(*std::get<I>(parts))...}};
        else
            return std::optional<T>(std::in_place, std::move(*std::get<I>(parts))...);
    }
    (std::make_index_sequence<std::tuple_size_v<T>>{});
}

template <class T>
[[nodiscard]] std::optional<T> read_json_sequence(const Json& json) {
    using Element = typename T::value_type;
    std::optional<T> result(std::in_place);
    if constexpr (is_byte_vector<T>) {
        if (json.is_binary()) {
            const Json::binary_t& bytes = json.get_binary();
            result->reserve(bytes.size());
            for (const std::uint8_t byte : bytes) result->push_back(static_cast<Element>(byte));
            return result;
        }
    }
    if (!json.is_array()) return std::nullopt;
    if constexpr (is_forward_list<T>) {
        for (auto each = json.rbegin(); each != json.rend(); ++each) {
            std::optional<Element> element = read_json<Element>(*each);
            if (!element) return std::nullopt;
            result->push_front(std::move(*element));
        }
    } else {
        for (const Json& each : json) {
            std::optional<Element> element = read_json<Element>(each);
            if (!element) return std::nullopt;
            result->push_back(std::move(*element));
        }
    }
    return result;
}

template <class T>
[[nodiscard]] std::optional<T> read_json_set(const Json& json) {
    if (!json.is_array()) return std::nullopt;
    std::optional<T> result(std::in_place);
    for (const Json& each : json) {
        auto element = read_json<typename T::value_type>(each);
        if (!element || !insert_new(*result, std::move(*element))) return std::nullopt;
    }
    return result;
}

template <class T>
[[nodiscard]] std::optional<T> read_json_map(const Json& json) {
    using Key = typename T::key_type;
    using Mapped = typename T::mapped_type;
    std::optional<T> result(std::in_place);
    if constexpr (is_object_key<Key> && !keeps_equal_keys<T>) {
        if (!json.is_object()) return std::nullopt;
        for (const auto& [name, each] : json.get_ref<const Json::object_t&>()) {
            auto mapped = read_json<Mapped>(each);
            if (!mapped || !insert_new(*result, Key(name.data(), name.size()), std::move(*mapped)))
                return std::nullopt;
        }
    } else {
        if (!json.is_array()) return std::nullopt;
        for (const Json& each : json) {
            auto pair = read_json_tuple<std::pair<Key, Mapped>>(each);
            if (!pair || !insert_new(*result, std::move(pair->first), std::move(pair->second)))
                return std::nullopt;
        }
    }
    return result;
}

/// The document as a `T`; nullopt when it is not one, or would change in value or kind.
template <class T>
std::optional<T> read_json(const Json& json) {
    constexpr StdShape shape = std_shape<T>;
    if constexpr (std::same_as<T, Json>) {
        return std::optional<Json>(std::in_place, json);
    } else if constexpr (std::same_as<T, bool>) {
        if (!json.is_boolean()) return std::nullopt;
        return *json.get_ptr<const Json::boolean_t*>();
    } else if constexpr (std::is_integral_v<T>) {
        return read_integer<T>(json);
    } else if constexpr (std::is_floating_point_v<T>) {
        return read_floating<T>(json);
    } else if constexpr (shape == StdShape::string) {
        if (!json.is_string()) return std::nullopt;
        const std::string& text = json.get_ref<const std::string&>();
        return std::optional<T>(std::in_place, text.data(), text.size());
    } else if constexpr (shape == StdShape::optional) {
        return read_json_optional<T>(json);
    } else if constexpr (shape == StdShape::tuple || shape == StdShape::array) {
        return read_json_tuple<T>(json);
    } else if constexpr (shape == StdShape::sequence) {
        return read_json_sequence<T>(json);
    } else if constexpr (shape == StdShape::set) {
        return read_json_set<T>(json);
    } else if constexpr (shape == StdShape::map) {
        return read_json_map<T>(json);
    } else {
        return read_by_nlohmann<T>(json);
    }
}

template <bool NativeBytes, class T>
[[nodiscard]] Json write_json(const T& value);

template <bool NativeBytes, class T>
[[nodiscard]] Json write_json_sequence(const T& value) {
    if constexpr (NativeBytes && is_byte_vector<T>) {
        std::vector<std::uint8_t> bytes;
        bytes.reserve(value.size());
        for (const auto byte : value) bytes.push_back(static_cast<std::uint8_t>(byte));
        return Json::binary(std::move(bytes));
    } else {
        Json result = Json::array();
        for (const auto& each : value)
            result.push_back(write_json<NativeBytes, typename T::value_type>(each));
        return result;
    }
}

template <bool NativeBytes, class T>
[[nodiscard]] Json write_json_map(const T& value) {
    using Key = typename T::key_type;
    using Mapped = typename T::mapped_type;
    if constexpr (is_object_key<Key> && !keeps_equal_keys<T>) {
        Json result = Json::object();
        for (const auto& [key, mapped] : value)
            result.emplace(std::string(key.data(), key.size()), write_json<NativeBytes, Mapped>(mapped));
        return result;
    } else {
        Json result = Json::array();
        for (const auto& [key, mapped] : value)
            result.push_back(
                Json::array({write_json<NativeBytes, Key>(key), write_json<NativeBytes, Mapped>(mapped)}));
        return result;
    }
}

/// The document of `value`.
/// @tparam NativeBytes  byte vectors become binary values instead of arrays of numbers
/// Throws: what user code throws; `std::invalid_argument` for a long double that no double equals.
template <bool NativeBytes, class T>
Json write_json(const T& value) {
    constexpr StdShape shape = std_shape<T>;
    if constexpr (std::same_as<T, Json>) {
        check_document(
            value, {.max_binary_subtype = std::numeric_limits<int>::max()});  // copying recurses: depth first
        return value;
    } else if constexpr (std::same_as<T, bool>) {
        return Json(value);
    } else if constexpr (std::is_integral_v<T>) {
        if constexpr (std::is_signed_v<T>)
            return Json(static_cast<Json::number_integer_t>(value));
        else
            return Json(static_cast<Json::number_unsigned_t>(value));
    } else if constexpr (std::is_floating_point_v<T>) {
        const auto number = static_cast<double>(value);
        if constexpr (std::numeric_limits<T>::digits > std::numeric_limits<double>::digits) {
            if (!std::isnan(value) && static_cast<T>(number) != value)
                throw std::invalid_argument("smartcache: a long double that is no double cannot be encoded");
        }
        return Json(number);
    } else if constexpr (shape == StdShape::string) {
        return Json(std::string(value.data(), value.size()));
    } else if constexpr (shape == StdShape::optional) {
        using Inner = typename T::value_type;
        if (!value) return Json(nullptr);
        Json inner = write_json<NativeBytes, Inner>(*value);
        if (may_be_null<Inner> && is_null_chain(inner)) {
            Json wrapped = Json::array();
            wrapped.push_back(std::move(inner));
            return wrapped;
        }
        return inner;
    } else if constexpr (shape == StdShape::tuple || shape == StdShape::array) {
        Json result = Json::array();
        for_each_index<T>([&](auto index) {
            using Element = std::remove_const_t<std::tuple_element_t<index(), T>>;
            result.push_back(write_json<NativeBytes, Element>(std::get<index()>(value)));
            return true;
        });
        return result;
    } else if constexpr (shape == StdShape::sequence || shape == StdShape::set) {
        return write_json_sequence<NativeBytes>(value);
    } else if constexpr (shape == StdShape::map) {
        return write_json_map<NativeBytes>(value);
    } else {
        Json result;
        nlohmann::adl_serializer<T>::to_json(result, value);
        return result;
    }
}

}  // namespace smartcache::inline v0::detail
