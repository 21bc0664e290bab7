#pragma once

#include <cstddef>
#include <type_traits>

// The data members of an aggregate, without the aggregate's help.
//
// `T{{}, {}, {}}` compiles as long as there are that many elements to initialise, arrays counting once; so
// the largest such number is the number of members, provided that every one can be initialised from `{}` and
// that there is no base class (which would count as an element, but is no member). Both are checked, so that
// a structured binding with that many names is well-formed. Bit-fields cannot be told apart; they end in the
// compiler's error, as no reference binds to them.

namespace smartcache::inline v0::detail {

struct AnyLvalue {
    template <class U>
    operator U&() const noexcept;  // never defined: only the compiler asks for it
};
struct AnyRvalue {
    template <class U>
    operator U&&() const noexcept;
};

/// Converts to base classes of `T` only.
template <class T>
struct BaseOf {
    template <class U>
    requires(std::is_base_of_v<U, T> && !std::is_same_v<U, T>) operator U() const noexcept;
};

inline constexpr std::size_t not_countable = static_cast<std::size_t>(-1);
inline constexpr std::size_t max_fields = 24;

// clang-format off
template <class T>
constexpr std::size_t count_fields() {
    if constexpr (!requires { T{{}}; })
        return requires { T{AnyLvalue{}}; } || requires { T{AnyRvalue{}}; } ? not_countable : 0;
    else if constexpr (!requires { T{{}, {}}; })
        return requires { T{{}, AnyLvalue{}}; } || requires { T{{}, AnyRvalue{}}; } ? not_countable : 1;
    else if constexpr (!requires { T{{}, {}, {}}; })
        return requires { T{{}, {}, AnyLvalue{}}; } || requires { T{{}, {}, AnyRvalue{}}; } ? not_countable : 2;
    else if constexpr (!requires { T{{}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, AnyRvalue{}}; } ? not_countable : 3;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 4;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 5;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 6;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 7;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 8;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 9;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 10;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 11;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 12;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 13;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 14;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 15;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 16;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 17;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 18;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 19;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 20;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 21;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 22;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 23;
    else if constexpr (!requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; })
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyLvalue{}}; } || requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, AnyRvalue{}}; } ? not_countable : 24;
    else return not_countable;
}

/// Calls `visit` with references to all members, in order. `T` models `Fields`.
template <std::size_t Count, class T, class F>
constexpr decltype(auto) visit_fields([[maybe_unused]] T& value, F&& visit) {
    if constexpr (Count == 0) { return visit(); }
    else if constexpr (Count == 1) { auto& [a] = value; return visit(a); }
    else if constexpr (Count == 2) { auto& [a, b] = value; return visit(a, b); }
    else if constexpr (Count == 3) { auto& [a, b, c] = value; return visit(a, b, c); }
    else if constexpr (Count == 4) { auto& [a, b, c, d] = value; return visit(a, b, c, d); }
    else if constexpr (Count == 5) { auto& [a, b, c, d, e] = value; return visit(a, b, c, d, e); }
    else if constexpr (Count == 6) { auto& [a, b, c, d, e, f] = value; return visit(a, b, c, d, e, f); }
    else if constexpr (Count == 7) { auto& [a, b, c, d, e, f, g] = value; return visit(a, b, c, d, e, f, g); }
    else if constexpr (Count == 8) { auto& [a, b, c, d, e, f, g, h] = value; return visit(a, b, c, d, e, f, g, h); }
    else if constexpr (Count == 9) { auto& [a, b, c, d, e, f, g, h, i] = value; return visit(a, b, c, d, e, f, g, h, i); }
    else if constexpr (Count == 10) { auto& [a, b, c, d, e, f, g, h, i, j] = value; return visit(a, b, c, d, e, f, g, h, i, j); }
    else if constexpr (Count == 11) { auto& [a, b, c, d, e, f, g, h, i, j, k] = value; return visit(a, b, c, d, e, f, g, h, i, j, k); }
    else if constexpr (Count == 12) { auto& [a, b, c, d, e, f, g, h, i, j, k, l] = value; return visit(a, b, c, d, e, f, g, h, i, j, k, l); }
    else if constexpr (Count == 13) { auto& [a, b, c, d, e, f, g, h, i, j, k, l, m] = value; return visit(a, b, c, d, e, f, g, h, i, j, k, l, m); }
    else if constexpr (Count == 14) { auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = value; return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n); }
    else if constexpr (Count == 15) { auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o] = value; return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o); }
    else if constexpr (Count == 16) { auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = value; return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p); }
    else if constexpr (Count == 17) { auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q] = value; return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q); }
    else if constexpr (Count == 18) { auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r] = value; return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r); }
    else if constexpr (Count == 19) { auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s] = value; return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s); }
    else if constexpr (Count == 20) { auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = value; return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t); }
    else if constexpr (Count == 21) { auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u] = value; return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u); }
    else if constexpr (Count == 22) { auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v] = value; return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v); }
    else if constexpr (Count == 23) { auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w] = value; return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w); }
    else if constexpr (Count == 24) { auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x] = value; return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x); }
}
// clang-format on

/// An aggregate whose members can be visited: a plain struct of at most `max_fields` members, none of them a
/// reference or without a default, and no base classes.
template <class T>
concept Fields = std::is_class_v<T> && std::is_aggregate_v<T> && requires {
    T{};
} && !requires {
    T{BaseOf<T>{}};
}
&&count_fields<T>() <= max_fields;

}  // namespace smartcache::inline v0::detail
