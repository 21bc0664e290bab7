#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <smartcache/http/detail/text.hpp>

namespace smartcache::inline v0::http {

/// The parts of a URI that select a cached response; nothing is decoded (RFC 3986 section 3, RFC 9110
/// section 4.2).
struct Url {
    std::string scheme;
    std::string host;  ///< with the port, if one is given; user information removed
    std::string path = "/";
    std::string query;

    friend bool operator==(const Url&, const Url&) = default;
};

/// Host and port as they are compared: lower case, the scheme's default port left out (RFC 9110
/// section 4.2.3).
[[nodiscard]] inline std::string normalised_host(std::string_view scheme, std::string_view host) {
    std::string result = detail::to_lower(host);
    const std::string_view port = detail::equal_ignoring_case(scheme, "https") ? ":443" : ":80";
    if (result.ends_with(port)) result.erase(result.size() - port.size());
    if (result.ends_with(':')) result.pop_back();
    return result;
}

/// RFC 9110 section 4.3.1: same scheme, host and port.
[[nodiscard]] inline bool same_origin(const Url& a, const Url& b) {
    return detail::equal_ignoring_case(a.scheme, b.scheme) &&
           normalised_host(a.scheme, a.host) == normalised_host(b.scheme, b.host);
}

namespace detail {

/// RFC 3986 section 5.2.4.
[[nodiscard]] inline std::string remove_dot_segments(std::string_view path) {
    std::string result;
    for (std::size_t start = 0; start < path.size();) {
        // One segment with its leading slash.
        std::size_t end = path.find('/', start + 1);
        if (end == std::string_view::npos) end = path.size();
        const std::string_view segment = path.substr(start, end - start);
        const bool last = end == path.size();
        start = end;
        if (segment == "/..") {
            const std::size_t slash = result.rfind('/');
            result.erase(slash == std::string::npos ? 0 : slash);
            if (last) result += '/';
        } else if (segment == "/.") {
            if (last) result += '/';
        } else {
            result += segment;
        }
    }
    return result;
}

inline void split_target(std::string_view target, Url& url) {
    target = target.substr(0, target.find('#'));
    const std::size_t question = target.find('?');
    url.path = target.substr(0, question);
    url.query = question == std::string_view::npos ? std::string_view{} : target.substr(question + 1);
    if (url.path.empty()) url.path = "/";
}

/// The length of a scheme with its colon, 0 without one (RFC 3986 section 3.1).
[[nodiscard]] inline std::size_t scheme_size(std::string_view text) noexcept {
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = lower(text[i]);
        if (c == ':') return i == 0 ? 0 : i + 1;
        if (!(c >= 'a' && c <= 'z') && (i == 0 || (!is_digit(c) && c != '+' && c != '-' && c != '.')))
            return 0;
    }
    return 0;
}

}  // namespace detail

/// Resolves a URI reference (RFC 3986 section 5.2), as Location and Content-Location hold.
/// @return nullopt for schemes without an authority (mailto:, data:)
[[nodiscard]] inline std::optional<Url> resolve(const Url& base, std::string_view reference) {
    reference = detail::trim(reference);
    Url url{base.scheme, base.host, base.path, base.query};
    if (const std::size_t scheme = detail::scheme_size(reference); scheme != 0) {
        url.scheme = detail::to_lower(reference.substr(0, scheme - 1));
        reference.remove_prefix(scheme);
        if (!reference.starts_with("//")) return std::nullopt;
    }
    if (reference.starts_with("//")) {
        reference.remove_prefix(2);
        const std::size_t end = reference.find_first_of("/?#");
        std::string_view authority = reference.substr(0, end);
        if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos)
            authority.remove_prefix(at + 1);
        url.host = authority;
        detail::split_target(end == std::string_view::npos ? std::string_view{} : reference.substr(end), url);
    } else if (reference.starts_with('/')) {
        detail::split_target(reference, url);
    } else if (const std::string_view bare = reference.substr(0, reference.find('#')); bare.empty()) {
        return url;
    } else if (bare.starts_with('?')) {
        url.query = bare.substr(1);
        return url;
    } else {
        const std::string merged = base.path.substr(0, base.path.rfind('/') + 1) + std::string(bare);
        detail::split_target(merged.starts_with('/') ? merged : "/" + merged, url);
    }
    url.path = detail::remove_dot_segments(url.path);
    if (url.path.empty()) url.path = "/";
    return url;
}

/// Reads "https://host/path?query" or "/path?query"; of the latter, scheme is "http" and host empty.
/// @return nullopt for anything else
[[nodiscard]] inline std::optional<Url> parse_url(std::string_view text) {
    text = detail::trim(text);
    Url url{"http", "", "/", ""};
    if (text.starts_with('/') && !text.starts_with("//")) {
        detail::split_target(text, url);  // as in a request line: dots are left to the origin
        return url;
    }
    const std::size_t scheme = detail::scheme_size(text);
    if (scheme == 0 || text.substr(scheme, 2) != "//") return std::nullopt;
    url.scheme = detail::to_lower(text.substr(0, scheme - 1));
    text.remove_prefix(scheme + 2);
    const std::size_t end = text.find_first_of("/?#");
    std::string_view authority = text.substr(0, end);
    if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos)
        authority.remove_prefix(at + 1);
    if (authority.empty()) return std::nullopt;
    url.host = authority;
    detail::split_target(end == std::string_view::npos ? std::string_view{} : text.substr(end), url);
    return url;
}

}  // namespace smartcache::inline v0::http
