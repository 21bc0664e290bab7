#pragma once

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/core/canonical_key.hpp>
#include <smartcache/core/clock.hpp>
#include <smartcache/http/url.hpp>

namespace smartcache::inline v0::http {

/// What holds for the paths that match a pattern. What is not set is left to the middleware's options.
struct Rule {
    std::string pattern;                                ///< see `matches_pattern`
    std::optional<Duration> ttl{};                      ///< lifetime where the response says nothing
    std::optional<Duration> force_ttl{};                ///< lifetime whatever the response says
    std::optional<std::vector<std::string>> methods{};  ///< instead of `cache_methods`
    std::optional<std::vector<int>> status_codes{};  ///< no other status is stored, explicit freshness or not
    std::vector<std::string> vary_headers{};         ///< request fields that select a variant, in addition
    std::vector<std::string> tags{};                 ///< for `purge_tag`
    std::optional<Duration> grace{};                 ///< instead of the options' `grace`
    bool bypass = false;                             ///< neither answered from the store nor stored
};

/// Does a path match a pattern? Patterns with a "*" are globs: `*` any run of characters, slashes included,
/// `?` one character, `[a-c]` and `[!a-c]` one of a set; so "/api/*" is a prefix. A pattern without "*" is
/// the path itself.
[[nodiscard]] inline bool matches_glob(std::string_view pattern, std::string_view path) noexcept;

namespace detail {

/// Matches `[...]` at the start of `pattern`; sets `size` to its length. A "[" that is never closed is
/// itself.
[[nodiscard]] inline bool matches_set(std::string_view pattern, char c, std::size_t& size) noexcept {
    std::size_t i = 1;
    const bool negated = i < pattern.size() && pattern[i] == '!';
    if (negated) ++i;
    const std::size_t first = i;
    const std::size_t close = pattern.find(']', first + 1);  // "]" right behind the "[" is a member
    if (close == std::string_view::npos) {
        size = 1;
        return c == '[';
    }
    bool found = false;
    for (; i < close; ++i) {
        if (i + 2 < close && pattern[i + 1] == '-') {
            found = found || (pattern[i] <= c && c <= pattern[i + 2]);
            i += 2;
        } else {
            found = found || pattern[i] == c;
        }
    }
    size = close + 1;
    return found != negated;
}

}  // namespace detail

// Linear in practice: only the last "*" is ever tried again.
inline bool matches_glob(std::string_view pattern, std::string_view path) noexcept {
    if (pattern.find('*') == std::string_view::npos) return pattern == path;
    std::size_t p = 0;
    std::size_t s = 0;
    std::size_t star = std::string_view::npos;
    std::size_t star_at = 0;
    while (s < path.size()) {
        std::size_t size = 1;
        if (p < pattern.size() && pattern[p] == '*') {
            star = ++p;
            star_at = s;
            continue;
        }
        const bool one =
            p < pattern.size() &&
            (pattern[p] == '?' || (pattern[p] == '[' ? detail::matches_set(pattern.substr(p), path[s], size)
                                                     : pattern[p] == path[s]));
        if (one) {
            p += size;
            ++s;
        } else if (star != std::string_view::npos) {
            p = star;
            s = ++star_at;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
}

/// As `include_paths` and `exclude_paths` match: globs where there is a "*", else prefixes.
[[nodiscard]] inline bool matches_path(std::string_view pattern, std::string_view path) noexcept {
    return pattern.find('*') == std::string_view::npos ? path.starts_with(pattern)
                                                       : matches_glob(pattern, path);
}

/// Rules by path. An exact pattern wins over every other; among the others the first that matches wins.
///
///     Rules rules{{.pattern = "/api/users/*", .ttl = 5min, .status_codes = {{200, 404}}},
///                 {.pattern = "/static/*", .ttl = 24h}};
class Rules {
  public:
    Rules() = default;
    Rules(std::initializer_list<Rule> rules) : rules_(rules) {}
    explicit Rules(std::vector<Rule> rules) : rules_(std::move(rules)) {}

    /// @return nullptr when no rule matches; else valid while this object is unchanged
    [[nodiscard]] const Rule* match(std::string_view path) const noexcept {
        for (const Rule& rule : rules_)
            if (rule.pattern == path) return &rule;
        for (const Rule& rule : rules_)
            if (matches_glob(rule.pattern, path)) return &rule;
        return nullptr;
    }

    void add(Rule rule) { rules_.push_back(std::move(rule)); }
    [[nodiscard]] std::size_t size() const noexcept { return rules_.size(); }
    [[nodiscard]] bool empty() const noexcept { return rules_.empty(); }
    [[nodiscard]] auto begin() const noexcept { return rules_.begin(); }
    [[nodiscard]] auto end() const noexcept { return rules_.end(); }

  private:
    std::vector<Rule> rules_;
};

/// The path as rules see it: percent-encoding in one spelling and dot segments removed, so that "/x/../admin"
/// and "/%61dmin" do not get around a rule for "/admin".
[[nodiscard]] inline std::string rule_path(std::string_view path) {
    return detail::remove_dot_segments(normalise_percent_encoding(path));
}

/// The path as an origin may see it that takes "%2F" for a slash and several slashes for one. What must not be
/// cached is looked for here too, so that "//admin" and "/admin%2Fx" do not get around a rule either.
[[nodiscard]] inline std::string merged_rule_path(std::string_view path) {
    const std::string spelt = normalise_percent_encoding(path);
    path = spelt;
    std::string merged;
    merged.reserve(path.size());
    for (std::size_t i = 0; i < path.size(); ++i) {
        const bool encoded = path.substr(i, 3) == "%2F";
        const char c = encoded ? '/' : path[i];
        if (encoded) i += 2;
        if (c != '/' || merged.empty() || merged.back() != '/') merged += c;
    }
    return detail::remove_dot_segments(merged);
}

}  // namespace smartcache::inline v0::http
