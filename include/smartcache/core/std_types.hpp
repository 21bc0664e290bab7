#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <deque>
#include <forward_list>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <ranges>
#include <set>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace smartcache::inline v0::detail {

/// Which of the standard's shapes a type has. Only the standard's own templates are recognised: a type that
/// merely looks like a container may hold more than its elements.
enum class StdShape {
    none,
    string,  ///< std::string with any allocator
    optional,
    tuple,  ///< pair, tuple
    array,
    sequence,  ///< vector, list, deque, forward_list
    set,
    map,
    variant,
    duration,
    time_point,
};

template <class T>
inline constexpr StdShape std_shape = StdShape::none;
template <class A>
inline constexpr StdShape std_shape<std::basic_string<char, std::char_traits<char>, A>> = StdShape::string;
template <class C, class R, class A>
inline constexpr StdShape std_shape<std::basic_string<C, R, A>> = StdShape::sequence;  // of wide characters
template <class T>
inline constexpr StdShape std_shape<std::optional<T>> = StdShape::optional;
template <class A, class B>
inline constexpr StdShape std_shape<std::pair<A, B>> = StdShape::tuple;
template <class... T>
inline constexpr StdShape std_shape<std::tuple<T...>> = StdShape::tuple;
template <class T, std::size_t N>
inline constexpr StdShape std_shape<std::array<T, N>> = StdShape::array;
template <class T, class A>
inline constexpr StdShape std_shape<std::vector<T, A>> = StdShape::sequence;
template <class T, class A>
inline constexpr StdShape std_shape<std::list<T, A>> = StdShape::sequence;
template <class T, class A>
inline constexpr StdShape std_shape<std::deque<T, A>> = StdShape::sequence;
template <class T, class A>
inline constexpr StdShape std_shape<std::forward_list<T, A>> = StdShape::sequence;
template <class T, class C, class A>
inline constexpr StdShape std_shape<std::set<T, C, A>> = StdShape::set;
template <class T, class C, class A>
inline constexpr StdShape std_shape<std::multiset<T, C, A>> = StdShape::set;
template <class T, class H, class E, class A>
inline constexpr StdShape std_shape<std::unordered_set<T, H, E, A>> = StdShape::set;
template <class T, class H, class E, class A>
inline constexpr StdShape std_shape<std::unordered_multiset<T, H, E, A>> = StdShape::set;
template <class K, class T, class C, class A>
inline constexpr StdShape std_shape<std::map<K, T, C, A>> = StdShape::map;
template <class K, class T, class C, class A>
inline constexpr StdShape std_shape<std::multimap<K, T, C, A>> = StdShape::map;
template <class K, class T, class H, class E, class A>
inline constexpr StdShape std_shape<std::unordered_map<K, T, H, E, A>> = StdShape::map;
template <class K, class T, class H, class E, class A>
inline constexpr StdShape std_shape<std::unordered_multimap<K, T, H, E, A>> = StdShape::map;
template <class... T>
inline constexpr StdShape std_shape<std::variant<T...>> = StdShape::variant;
template <class R, class P>
inline constexpr StdShape std_shape<std::chrono::duration<R, P>> = StdShape::duration;
template <class C, class D>
inline constexpr StdShape std_shape<std::chrono::time_point<C, D>> = StdShape::time_point;

/// Whether a set or map keeps equal keys apart: several elements, rather than one.
template <class T>
inline constexpr bool keeps_equal_keys = false;
template <class T, class C, class A>
inline constexpr bool keeps_equal_keys<std::multiset<T, C, A>> = true;
template <class T, class H, class E, class A>
inline constexpr bool keeps_equal_keys<std::unordered_multiset<T, H, E, A>> = true;
template <class K, class T, class C, class A>
inline constexpr bool keeps_equal_keys<std::multimap<K, T, C, A>> = true;
template <class K, class T, class H, class E, class A>
inline constexpr bool keeps_equal_keys<std::unordered_multimap<K, T, H, E, A>> = true;

template <class T>
inline constexpr bool is_forward_list = false;
template <class T, class A>
inline constexpr bool is_forward_list<std::forward_list<T, A>> = true;

/// Adds to a set or map. @return false for a key that was there already: to drop it would change the value
template <class T, class... Element>
[[nodiscard]] bool insert_new(T& container, Element&&... element) {
    if constexpr (keeps_equal_keys<T>) {
        container.emplace(std::forward<Element>(element)...);
        return true;
    } else {
        return container.emplace(std::forward<Element>(element)...).second;
    }
}

/// A type that refers to something it does not own; as a value it would dangle.
template <class T>
inline constexpr bool refers_elsewhere = std::is_pointer_v<T> || std::is_member_pointer_v<T> ||
                                         std::is_reference_v<T> || std::is_array_v<T> || std::ranges::view<T>;
template <class T>
inline constexpr bool refers_elsewhere<std::reference_wrapper<T>> = true;

/// Calls `visit` with every index below the size of the tuple or array, as a constant, until one call gives
/// false.
template <class T, class F>
constexpr bool for_each_index(F&& visit) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
        return (visit(std::integral_constant<std::size_t, I>{}) && ...);
    }
    (std::make_index_sequence<std::tuple_size_v<T>>{});
}

}  // namespace smartcache::inline v0::detail
