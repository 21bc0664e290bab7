#pragma once

#include <cxxabi.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>

#include <smartcache/core/error.hpp>
#include <smartcache/core/fork.hpp>

// The name of a function, from the function alone. `__PRETTY_FUNCTION__` cannot serve: clang 14 leaves the
// template arguments out (f<5> and f<6> would share their keys), and every compiler has its own spelling. The
// mangled name of a type that has the function as its argument holds everything and is fixed by the Itanium
// C++ ABI.
namespace smartcache::inline v0 {

namespace detail {

template <auto F>
struct FunctionTag {};
template <class T>
struct SignatureTag {};

inline void replace_all(std::string& text, std::string_view from, std::string_view to) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
}

[[nodiscard]] constexpr bool is_word(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$';
}

/// `text` with one spelling: spaces only between words, and without the inline namespaces of the standard
/// libraries and of this one, which say nothing about the function.
[[nodiscard]] inline std::string normalise_type_text(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    const auto separates = [&result](char next) {
        return !result.empty() && (is_word(result.back()) || result.back() == '>') && is_word(next);
    };
    for (std::size_t i = 0; i < text.size(); ++i)
        if (text[i] != ' ' || (i + 1 < text.size() && separates(text[i + 1]))) result += text[i];
    for (const std::string_view name_space : {"__cxx11", "__1", "_V2"})
        replace_all(result, "::" + std::string(name_space) + "::", "::");
    replace_all(result, "[abi:cxx11]", "");
    replace_all(result, "smartcache::v0::", "smartcache::");
    replace_all(result, "std::basic_string<char,std::char_traits<char>,std::allocator<char>>", "std::string");
    replace_all(result, "std::basic_string_view<char,std::char_traits<char>>", "std::string_view");
    replace_all(result, "noexcept const", "const noexcept");
    replace_all(result, "decltype(nullptr)", "std::nullptr_t");
    return result;
}

/// What stands between the outermost angle brackets of a type's name; the mangled name when there is no
/// other.
[[nodiscard]] inline std::string template_argument(const std::type_info& type) {
    const std::unique_ptr<char, decltype(&std::free)> text(
        abi::__cxa_demangle(type.name(), nullptr, nullptr, nullptr), &std::free);
    if (text == nullptr) return type.name();
    const std::string whole = normalise_type_text(text.get());
    const std::size_t open = whole.find('<');
    if (open == std::string::npos || whole.back() != '>') return type.name();
    return whole.substr(open + 1, whole.size() - open - 2);
}

template <auto F>
[[nodiscard]] std::string make_function_name() {
    static_assert(
        std::is_member_function_pointer_v<decltype(F)> ||
            (std::is_pointer_v<decltype(F)> && std::is_function_v<std::remove_pointer_t<decltype(F)>>),
        "smartcache: cached<&f> takes the address of a function; lambdas and other function objects have "
        "no name of their own: give one, as in cached(cache, \"name\", f)");
    std::string name = template_argument(typeid(FunctionTag<F>));
    if (name.starts_with('&')) name.erase(0, 1);
    if (name.starts_with('(') && name.ends_with(')') && !name.starts_with("(anonymous"))
        name = name.substr(1, name.size() - 2);
    return name + ": " + template_argument(typeid(SignatureTag<decltype(F)>));
}

/// Whether a mangled `FunctionTag<&f>` says that another file may have another function of this name: f, or
/// a type in its name, is in an unnamed namespace, or f is static at namespace scope (`L` before its name).
[[nodiscard]] inline bool has_internal_linkage(std::string_view mangled) noexcept {
    if (mangled.find("_GLOBAL__N_") != std::string_view::npos) return true;
    constexpr std::string_view address = "XadL_Z";
    const std::size_t found = mangled.find(address);
    if (found == std::string_view::npos) return false;
    std::string_view rest = mangled.substr(found + address.size());
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    if (rest.starts_with('N')) rest.remove_prefix(1);
    while (!rest.empty()) {
        if (rest.front() == 'L') return rest.size() > 1 && digit(rest[1]);
        if (!digit(rest.front())) return false;
        std::size_t length = 0;
        for (; !rest.empty() && digit(rest.front()); rest.remove_prefix(1))
            length = length * 10 + static_cast<std::size_t>(rest.front() - '0');
        if (length > rest.size()) return false;
        rest.remove_prefix(length);
    }
    return false;
}

/// @throws ConfigError when F has internal linkage and `key_prefix` is empty
template <auto F>
void require_name(std::string_view key_prefix);

}  // namespace detail

/// Qualified name, template arguments and full signature of the function F, the same text on g++ and clang:
/// `function_name<&app::area>() == "app::area: int(*)(int,int)"`.
///
/// Overloads and instances of a template differ. For functions of internal linkage it is unique within one
/// file only. Thread safety: any thread. The text lives as long as the program.
template <auto F>
[[nodiscard]] std::string_view function_name() {
    const detail::ForkGate::Inside inside;  // else a child may wait for who was making it (R33)
    static const std::string name = detail::make_function_name<F>();
    return name;
}

template <auto F>
void detail::require_name(std::string_view key_prefix) {
    if (key_prefix.empty() && has_internal_linkage(typeid(FunctionTag<F>).name()))
        throw ConfigError("key_prefix", "\"\"",
                          "a text that is unique in the program, because " + std::string(function_name<F>()) +
                              " has internal linkage: another file may have another function of that name");
}

}  // namespace smartcache::inline v0
