#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

// Characters and words of HTTP: RFC 9110 section 5.6. ASCII only, never the locale.
namespace smartcache::inline v0::http::detail {

[[nodiscard]] constexpr char lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

[[nodiscard]] constexpr bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

[[nodiscard]] constexpr bool is_space(char c) noexcept {
    return c == ' ' || c == '\t';
}

/// RFC 9110 section 5.6.2: tchar.
[[nodiscard]] constexpr bool is_token_char(char c) noexcept {
    if (is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z')) return true;
    return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

inline constexpr std::array<bool, 256> token_chars = [] {
    std::array<bool, 256> table{};
    for (std::size_t i = 0; i < table.size(); ++i) table[i] = is_token_char(static_cast<char>(i));
    return table;
}();

[[nodiscard]] constexpr bool is_token(std::string_view text) noexcept {
    if (text.empty()) return false;
    for (const char c : text)
        if (!token_chars[static_cast<unsigned char>(c)]) return false;
    return true;
}

/// The first CR, LF or NUL at or behind `from`, or the size: what no value may hold (RFC 9110 section 5.5).
[[nodiscard]] inline std::size_t find_break(std::string_view text, std::size_t from) noexcept {
    while (from < text.size()) {
        if (text.size() - from >= sizeof(std::uint64_t)) {
            // Eight bytes at a time, as long as each is greater than CR.
            constexpr std::uint64_t each = 0x0101010101010101;
            std::uint64_t bytes = 0;
            std::memcpy(&bytes, text.data() + from, sizeof bytes);
            const std::uint64_t small = (bytes - each * ('\r' + 1)) & ~bytes & each * 0x80;
            if (small == 0) {
                from += sizeof bytes;
                continue;
            }
            // The lowest bit belongs to the first of them: what is borrowed goes to those behind it.
            if constexpr (std::endian::native == std::endian::little)
                from += static_cast<std::size_t>(std::countr_zero(small)) / 8;
        }
        for (const std::size_t end = std::min(from + sizeof(std::uint64_t), text.size()); from < end; ++from)
            if (text[from] == '\r' || text[from] == '\n' || text[from] == '\0') return from;
    }
    return text.size();
}

[[nodiscard]] constexpr bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (a[i] != b[i] && lower(a[i]) != lower(b[i])) return false;
    return true;
}

[[nodiscard]] inline std::string to_lower(std::string_view text) {
    std::string result(text);
    for (char& c : result) c = lower(c);
    return result;
}

/// Without the optional white space (RFC 9110 section 5.6.3) at both ends.
[[nodiscard]] constexpr std::string_view trim(std::string_view text) noexcept {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
}

/// A run of digits as a number that stops growing at `limit`; nullopt for anything else, the empty text
/// included.
[[nodiscard]] constexpr std::optional<std::int64_t> parse_digits(std::string_view text,
                                                                 std::int64_t limit) noexcept {
    if (text.empty()) return std::nullopt;
    std::int64_t value = 0;
    for (const char c : text) {
        if (!is_digit(c)) return std::nullopt;
        value = value > limit / 10 ? limit : value * 10 + (c - '0');
        if (value > limit) value = limit;
    }
    return value;
}

/// Where a top-level comma ends the member that starts at `from`: commas inside quoted strings do not count
/// (RFC 9110 section 5.6.4). An unterminated string reaches to the end.
[[nodiscard]] constexpr std::size_t member_end(std::string_view text, std::size_t from) noexcept {
    bool quoted = false;
    for (std::size_t i = from; i < text.size(); ++i) {
        const char c = text[i];
        if (quoted && c == '\\') {
            ++i;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (c == ',' && !quoted) {
            return i;
        }
    }
    return text.size();
}

/// Whether a quoted string in a list is not terminated.
[[nodiscard]] constexpr bool ends_in_quotes(std::string_view list) noexcept {
    bool quoted = false;
    for (std::size_t i = 0; i < list.size(); ++i) {
        if (quoted && list[i] == '\\') {
            ++i;
        } else if (list[i] == '"') {
            quoted = !quoted;
        }
    }
    return quoted;
}

/// Calls `visit(member)` for each non-empty member of a comma-separated list (RFC 9110 section 5.6.1.2),
/// trimmed.
template <class Visit>
constexpr void for_each_member(std::string_view list, Visit&& visit) {
    for (std::size_t start = 0; start <= list.size();) {
        const std::size_t end = member_end(list, start);
        const std::string_view member = trim(list.substr(start, end - start));
        if (!member.empty()) visit(member);
        start = end + 1;
    }
}

/// What a quoted string says (RFC 9110 section 5.6.4), or the text itself when it is not quoted.
[[nodiscard]] inline std::string unquote(std::string_view text) {
    if (text.empty() || text.front() != '"') return std::string(text);
    text.remove_prefix(1);
    std::string result;
    for (std::size_t i = 0; i < text.size() && text[i] != '"'; ++i) {
        if (text[i] == '\\' && i + 1 < text.size()) ++i;
        result += text[i];
    }
    return result;
}

}  // namespace smartcache::inline v0::http::detail
