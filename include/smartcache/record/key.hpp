#pragma once

#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace smartcache::inline v0 {

/// The key under which a value leaves the process: the namespace, framed by its length, then the key (R25).
///
///     physical_key("app", "user:1") == "3:app:user:1"      physical_key("", "user:1") == "0::user:1"
///
/// Different (namespace, key) pairs never give the same text, whatever bytes they hold.
[[nodiscard]] inline std::string physical_key(std::string_view name_space, std::string_view key) {
    std::string text = std::to_string(name_space.size());
    text.reserve(text.size() + 2 + name_space.size() + key.size());
    text += ':';
    text += name_space;
    text += ':';
    text += key;
    return text;
}

/// The two parts of a physical key; views of it.
struct PhysicalKeyParts {
    std::string_view name_space;
    std::string_view key;
};

/// @return nullopt when `physical` was not made by `physical_key`
[[nodiscard]] inline std::optional<PhysicalKeyParts> split_physical_key(std::string_view physical) noexcept {
    std::size_t size = 0;
    const char* const end = physical.data() + physical.size();
    const auto [next, error] = std::from_chars(physical.data(), end, size);
    if (error != std::errc{} || next == end || *next != ':') return std::nullopt;
    const auto digits = static_cast<std::size_t>(next - physical.data());
    if (digits > 1 && physical.front() == '0') return std::nullopt;  // one spelling per number
    const std::string_view rest = physical.substr(digits + 1);
    if (rest.size() <= size || rest[size] != ':') return std::nullopt;
    return PhysicalKeyParts{rest.substr(0, size), rest.substr(size + 1)};
}

namespace detail {
/// The namespace of a physical key; the empty one for anything else.
[[nodiscard]] inline std::string_view namespace_of(std::string_view physical) noexcept {
    const auto parts = split_physical_key(physical);
    return parts ? parts->name_space : std::string_view();
}
}  // namespace detail

}  // namespace smartcache::inline v0
