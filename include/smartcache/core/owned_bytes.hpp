#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <smartcache/core/std_types.hpp>

namespace smartcache::inline v0 {

/// How many bytes a value owns outside itself, by which `memory.capacity_bytes` and `max_value_size` weigh live
/// objects. Known for the standard's strings, containers, pairs, tuples, optionals and variants, and for
/// `nlohmann::json`; 0 for any other type.
///
/// Specialise it for a type of your own, or give `EntryOptions::weight`:
///
///     template <>
///     struct smartcache::OwnedBytes<Report> {
///         static std::size_t of(const Report& report) { return smartcache::owned_bytes(report.rows); }
///     };
///
/// `of` may estimate, must not throw, and runs once per `set`. Complexity here: O(elements), O(1) for
/// containers of trivial elements that lie side by side.
template <class T>
struct OwnedBytes;

/// The bytes that `value` owns outside itself.
template <class T>
[[nodiscard]] std::size_t owned_bytes(const T& value) {
    return OwnedBytes<T>::of(value);
}

template <class T>
struct OwnedBytes {
    [[nodiscard]] static std::size_t of([[maybe_unused]] const T& value) {
        using detail::StdShape;
        constexpr StdShape shape = detail::std_shape<T>;
        if constexpr (std::is_trivially_copyable_v<T>) {
            return 0;
        } else if constexpr (shape == StdShape::string) {
            const auto* const inside = reinterpret_cast<const char*>(&value);
            const bool in_place = value.data() >= inside && value.data() < inside + sizeof(value);
            return in_place ? 0 : value.capacity() + 1;
        } else if constexpr (shape == StdShape::optional) {
            return value ? owned_bytes(*value) : 0;
        } else if constexpr (shape == StdShape::tuple) {
            return std::apply([](const auto&... each) { return (std::size_t{0} + ... + owned_bytes(each)); },
                              value);
        } else if constexpr (shape == StdShape::variant) {
            return value.valueless_by_exception()
                       ? 0
                       : std::visit([](const auto& held) { return owned_bytes(held); }, value);
        } else if constexpr (shape == StdShape::array || shape == StdShape::sequence ||
                             shape == StdShape::set || shape == StdShape::map) {
            using Element = typename T::value_type;
            std::size_t bytes = 0;
            if constexpr (requires { value.capacity(); }) {
                if constexpr (std::is_same_v<Element, bool>)
                    bytes = value.capacity() / 8;
                else
                    bytes = value.capacity() * sizeof(Element);
                if constexpr (std::is_trivially_copyable_v<Element>) return bytes;
            }
            constexpr bool in_place = shape == StdShape::array;
            constexpr std::size_t node = 4 * sizeof(void*);  // links, colour or hash, the allocator's own
            for (const auto& element : value) {
                if constexpr (!in_place && !requires { value.capacity(); }) bytes += sizeof(Element) + node;
                bytes += owned_bytes(element);
            }
            return bytes;
        } else {
            return 0;
        }
    }
};

}  // namespace smartcache::inline v0
