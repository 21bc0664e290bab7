#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

namespace smartcache::inline v0::detail {

// The members of an aggregate, without macros and without names: how many there are is found by trying
// initialisers, and structured bindings take them apart.

inline constexpr std::size_t max_aggregate_size = 16;

/// Stands for a value of any type, unevaluated. Not for the aggregate itself: that would be a copy.
template <class Aggregate>
struct AnyMember {
    template <class T>
    requires(!std::is_same_v<std::remove_cvref_t<T>, Aggregate>) operator T() const;
};

template <class T, std::size_t... I>
[[nodiscard]] consteval bool initialisable(std::index_sequence<I...> /*unused*/) {
    return requires {
        T{(static_cast<void>(I), AnyMember<T>{})...};
    };
}

template <class T, std::size_t N = max_aggregate_size + 1>
[[nodiscard]] consteval std::size_t count_members() {
    if constexpr (initialisable<T>(std::make_index_sequence<N>()))
        return N;
    else if constexpr (N == 0)
        return 0;
    else
        return count_members<T, N - 1>();
}

template <class T>
inline constexpr std::size_t aggregate_size = count_members<T>();

/// Calls `visit(member...)` with references to the members.
template <class T, class Visit>
constexpr decltype(auto) with_members(T& value, Visit&& visit) {
    constexpr std::size_t size = aggregate_size<std::remove_const_t<T>>;
    if constexpr (size == 0) {
        return visit();
    } else if constexpr (size == 1) {
        auto& [m1] = value;
        return visit(m1);
    } else if constexpr (size == 2) {
        auto& [m1, m2] = value;
        return visit(m1, m2);
    } else if constexpr (size == 3) {
        auto& [m1, m2, m3] = value;
        return visit(m1, m2, m3);
    } else if constexpr (size == 4) {
        auto& [m1, m2, m3, m4] = value;
        return visit(m1, m2, m3, m4);
    } else if constexpr (size == 5) {
        auto& [m1, m2, m3, m4, m5] = value;
        return visit(m1, m2, m3, m4, m5);
    } else if constexpr (size == 6) {
        auto& [m1, m2, m3, m4, m5, m6] = value;
        return visit(m1, m2, m3, m4, m5, m6);
    } else if constexpr (size == 7) {
        auto& [m1, m2, m3, m4, m5, m6, m7] = value;
        return visit(m1, m2, m3, m4, m5, m6, m7);
    } else if constexpr (size == 8) {
        auto& [m1, m2, m3, m4, m5, m6, m7, m8] = value;
        return visit(m1, m2, m3, m4, m5, m6, m7, m8);
    } else if constexpr (size == 9) {
        auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9] = value;
        return visit(m1, m2, m3, m4, m5, m6, m7, m8, m9);
    } else if constexpr (size == 10) {
        auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10] = value;
        return visit(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10);
    } else if constexpr (size == 11) {
        auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11] = value;
        return visit(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11);
    } else if constexpr (size == 12) {
        auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12] = value;
        return visit(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12);
    } else if constexpr (size == 13) {
        auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13] = value;
        return visit(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13);
    } else if constexpr (size == 14) {
        auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14] = value;
        return visit(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14);
    } else if constexpr (size == 15) {
        auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15] = value;
        return visit(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15);
    } else if constexpr (size == 16) {
        auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15, m16] = value;
        return visit(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15, m16);
    }
}

template <class T>
struct aggregate_members {
    using type = decltype(with_members(std::declval<T&>(), [](auto&... members) {
        return std::type_identity<std::tuple<std::remove_cvref_t<decltype(members)>...>>{};
    }));
};

/// The members' types.
template <class T>
using aggregate_tuple = typename aggregate_members<T>::type::type;

}  // namespace smartcache::inline v0::detail
