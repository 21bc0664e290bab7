#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// The text of keys made from requests. Two rules make it safe: every part is framed by its length, so that no
// byte in a part can pass for a delimiter, and nothing is shortened to a hash, so that two requests with one
// key are one request (R25). It is the same in every process, on every machine.
//
//     generate_key("GET", "/api/users", "page=1", {{"Accept", "text/html"}})
//     == "3:GET 10:/api/users 6:page=1 6:accept=9:text/html"
namespace smartcache::inline v0 {

/// Builds a key of framed parts. The order of calls is part of the key.
class KeyText {
  public:
    KeyText() = default;
    explicit KeyText(std::string prefix) : text_(std::move(prefix)) {}

    KeyText& part(std::string_view value) {
        frame(value, text_.empty() ? std::string_view{} : std::string_view(" "));
        return *this;
    }
    /// A named part; `-` instead of a frame says that it is absent, which is not the same as empty.
    KeyText& named(std::string_view name, const std::string_view* value) {
        part(name);
        if (value != nullptr) {
            frame(*value, "=");
        } else {
            text_ += "=-";
        }
        return *this;
    }
    KeyText& reserve(std::size_t bytes) {
        text_.reserve(bytes);
        return *this;
    }
    [[nodiscard]] const std::string& text() const& noexcept { return text_; }
    [[nodiscard]] std::string text() && noexcept { return std::move(text_); }

  private:
    void frame(std::string_view value, std::string_view before) {
        std::array<char, 24> head;
        char* at = std::copy(before.begin(), before.end(), head.data());
        at = std::to_chars(at, head.data() + head.size(), value.size()).ptr;
        *at++ = ':';
        text_.append(head.data(), static_cast<std::size_t>(at - head.data())).append(value);
    }

    std::string text_;
};

namespace detail {

[[nodiscard]] constexpr int hex_value(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/// RFC 3986 section 2.3.
[[nodiscard]] constexpr bool is_unreserved(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

[[nodiscard]] constexpr char ascii_lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace detail

/// The same text with one spelling per percent-encoded byte (RFC 3986 section 6.2.2): unreserved characters
/// decoded, other triplets in upper case. What is reserved stays encoded, so that the meaning does not
/// change.
[[nodiscard]] inline std::string normalise_percent_encoding(std::string_view text) {
    if (text.find('%') == std::string_view::npos) return std::string(text);
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string result;
    result.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        const int high = text[i] == '%' && i + 2 < text.size() ? detail::hex_value(text[i + 1]) : -1;
        const int low = high >= 0 ? detail::hex_value(text[i + 2]) : -1;
        if (low < 0) {
            result += text[i];
            continue;
        }
        const auto value = static_cast<unsigned>(high * 16 + low);
        if (detail::is_unreserved(static_cast<char>(value))) {
            result += static_cast<char>(value);
        } else {
            result += '%';
            result += digits[value >> 4U];
            result += digits[value & 15U];
        }
        i += 2;
    }
    return result;
}

/// A query in the form in which two are compared: parameters sorted by name, those of one name in their
/// order, blank values kept, percent-encoding in one spelling, the parameters named in `ignored` left out.
///
/// Never decodes what separates: `a=1%26b=2` and `a=1&b=2` stay different. `ignored`: any range of names; a parameter
/// with a ';' in it is never left out.
template <class Names = std::initializer_list<std::string_view>>
[[nodiscard]] std::string canonical_query(std::string_view query, const Names& ignored = {}) {
    struct Parameter {
        std::string text;
        std::size_t name_size;
        [[nodiscard]] std::string_view name() const { return std::string_view(text).substr(0, name_size); }
    };
    std::vector<Parameter> parameters;
    for (std::size_t start = 0; start < query.size();) {
        const std::size_t end = std::min(query.find('&', start), query.size());
        Parameter parameter{normalise_percent_encoding(query.substr(start, end - start)), 0};
        start = end + 1;
        if (parameter.text.empty()) continue;
        parameter.name_size = std::min(parameter.text.find('='), parameter.text.size());
        // Some applications take ';' for a separator: another parameter could hide behind an ignored one.
        const bool single = parameter.text.find(';') == std::string::npos;
        const bool drop =
            single && std::any_of(std::begin(ignored), std::end(ignored), [&](const auto& name) {
                return std::string_view(name) == parameter.name();
            });
        if (!drop) parameters.push_back(std::move(parameter));
    }
    std::stable_sort(parameters.begin(), parameters.end(),
                     [](const Parameter& a, const Parameter& b) { return a.name() < b.name(); });
    std::string result;
    result.reserve(query.size());
    for (const Parameter& parameter : parameters) {
        if (!result.empty()) result += '&';
        result += parameter.text;
    }
    return result;
}

/// GET and HEAD ask for the same thing and share a key.
[[nodiscard]] constexpr std::string_view method_class(std::string_view method) noexcept {
    return method == "HEAD" ? std::string_view("GET") : method;
}

/// The key of a request: method class, path, canonical query, then the headers by name (in lower case; those
/// of one name in their order). Readable, and without collisions: see the top of this file.
///
/// `headers`: any range of pairs of things that convert to `std::string_view`.
template <class HeaderRange = std::initializer_list<std::pair<std::string_view, std::string_view>>>
[[nodiscard]] std::string canonical_key(std::string_view method, std::string_view path,
                                        std::string_view query = {}, const HeaderRange& headers = {}) {
    KeyText key;
    key.part(method_class(method)).part(normalise_percent_encoding(path)).part(canonical_query(query));
    std::vector<std::pair<std::string, std::string_view>> sorted;
    for (const auto& [name, value] : headers) {
        std::string lower{std::string_view(name)};
        for (char& c : lower) c = detail::ascii_lower(c);
        sorted.emplace_back(std::move(lower), std::string_view(value));
    }
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [name, value] : sorted) key.named(name, &value);
    return std::move(key).text();
}

}  // namespace smartcache::inline v0
