#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/http/cache_control.hpp>
#include <smartcache/http/detail/text.hpp>
#include <smartcache/http/headers.hpp>

namespace smartcache::inline v0::http {

namespace detail {

/// Reads a Dictionary Structured Field (RFC 9651 section 4.2.2) as cache directives. Strict: the first
/// departure from the grammar fails the whole.
class TargetedScanner {
  public:
    explicit TargetedScanner(std::string_view text) noexcept : rest_(text) {}

    /// @return nullopt when the text is no dictionary, or an empty one
    [[nodiscard]] std::optional<CacheControl> dictionary() {
        skip_spaces();
        if (rest_.empty()) return std::nullopt;
        for (;;) {
            if (!member()) return std::nullopt;
            skip_white();
            if (rest_.empty()) break;
            if (!eat(',')) return std::nullopt;
            skip_white();
            if (rest_.empty()) return std::nullopt;  // a comma at the end
        }
        CacheControl control;
        control.present = true;
        control.targeted = true;
        for (const Member& m : members_) control.directive(m.key + m.argument);
        return control;
    }

  private:
    struct Member {
        std::string key;
        std::string argument;  ///< with its "=", as Cache-Control would write it; empty for true
        bool on = true;
    };

    [[nodiscard]] bool at(char c) const noexcept { return !rest_.empty() && rest_.front() == c; }
    bool eat(char c) noexcept {
        if (!at(c)) return false;
        rest_.remove_prefix(1);
        return true;
    }
    void skip_spaces() noexcept {
        while (eat(' ')) {
        }
    }
    void skip_white() noexcept {
        while (eat(' ') || eat('\t')) {
        }
    }
    template <class Wanted>
    std::string_view take_while(Wanted&& wanted) noexcept {
        std::size_t n = 0;
        while (n < rest_.size() && wanted(rest_[n])) ++n;
        const std::string_view taken = rest_.substr(0, n);
        rest_.remove_prefix(n);
        return taken;
    }
    [[nodiscard]] static bool is_lower(char c) noexcept { return c >= 'a' && c <= 'z'; }
    [[nodiscard]] static bool is_alpha(char c) noexcept { return is_lower(lower(c)); }

    // Section 4.2.3.3: lower case only, so `Max-Age=60` is an error and not a lifetime.
    [[nodiscard]] std::string_view key() noexcept {
        if (rest_.empty() || (!is_lower(rest_.front()) && rest_.front() != '*')) return {};
        return take_while([](char c) {
            return is_lower(c) || is_digit(c) || c == '_' || c == '-' || c == '.' || c == '*';
        });
    }

    bool member() {
        Member next;
        next.key = key();
        if (next.key.empty()) return false;
        if (eat('=')) {
            const bool good = at('(') ? inner_list(next.argument) : item(next);
            if (!good) return false;
        }
        if (!parameters()) return false;
        // Section 4.2.2: of repeated keys the last counts.
        std::size_t i = 0;
        while (i < members_.size() && members_[i].key != next.key) ++i;
        if (i < members_.size()) members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(i));
        if (next.on) members_.push_back(std::move(next));
        return true;
    }

    // RFC 9213 section 2.1: parameters mean nothing here, but must be well-formed.
    bool parameters() {
        while (eat(';')) {
            skip_spaces();
            if (key().empty()) return false;
            Member ignored;
            if (eat('=') && !item(ignored)) return false;
        }
        return true;
    }

    // Field names, as in `no-cache=("set-cookie" "x")`.
    bool inner_list(std::string& argument) {
        (void)eat('(');
        std::string names;
        for (;;) {
            skip_spaces();
            if (eat(')')) break;
            Member name;
            if (!item(name) || !parameters()) return false;
            if (!at(' ') && !at(')')) return false;
            names.append(names.empty() ? "" : ",").append(unquote(std::string_view(name.argument).substr(1)));
        }
        argument = "=\" " + names + '"';  // the space: see string()
        return true;
    }

    // A bare item (section 4.2.3.1). A type that no directive takes becomes an argument that none can read.
    bool item(Member& into) {
        if (rest_.empty()) return false;
        const char c = rest_.front();
        if (c == '-' || is_digit(c)) return number(into.argument);
        if (c == '"') return string(into.argument);
        if (is_alpha(c) || c == '*') {
            const auto in_token = [](char t) {
                return token_chars[static_cast<unsigned char>(t)] || t == ':' || t == '/';
            };
            into.argument = "=" + std::string(take_while(in_token));
            return true;
        }
        if (eat('?')) {
            into.on = at('1');
            return eat('1') || eat('0');
        }
        if (eat(':')) {
            (void)take_while(
                [](char b) { return is_alpha(b) || is_digit(b) || b == '+' || b == '/' || b == '='; });
            into.argument = "=:";
            return eat(':');
        }
        if (eat('@')) {
            into.argument = "=@";
            std::string date;
            return number(date) && date.find('.') == std::string::npos;
        }
        return false;
    }

    bool number(std::string& argument) {
        argument = "=";
        if (eat('-')) argument += '-';
        const std::string_view whole = take_while(is_digit);
        if (whole.empty() || whole.size() > 15) return false;
        argument += whole;
        if (!eat('.')) return true;
        const std::string_view fraction = take_while(is_digit);
        argument.append(".").append(fraction);
        return whole.size() <= 12 && !fraction.empty() && fraction.size() <= 3;
    }

    // Kept in quotes, with a space that lists of names do not mind and numbers do: `max-age="60"` has the
    // wrong type.
    bool string(std::string& argument) {
        (void)eat('"');
        std::string text;
        while (!rest_.empty()) {
            const char c = rest_.front();
            rest_.remove_prefix(1);
            if (c == '"') {
                argument = "=\" " + text + '"';
                return true;
            }
            if (c < ' ' || c > '~') return false;
            if (c == '\\') {
                if (!at('"') && !at('\\')) return false;
                text += '\\';
                text += rest_.front();
                rest_.remove_prefix(1);
            } else {
                text += c;
            }
        }
        return false;
    }

    std::string_view rest_;
    std::vector<Member> members_;
};

}  // namespace detail

/// The directives that decide about a response: those of the first targeted field that is valid and not
/// empty, else Cache-Control's (RFC 9213 section 2.2). A targeted field with an error anywhere is ignored as
/// a whole.
///
/// @param target_list  names of targeted fields, most specific first
[[nodiscard]] inline CacheControl response_control(const Headers& headers,
                                                   const std::vector<std::string>& target_list) {
    for (const std::string& name : target_list) {
        if (!headers.has(name)) continue;
        if (auto control = detail::TargetedScanner(headers.combined(name)).dictionary()) return *control;
    }
    return CacheControl::parse(headers);
}

}  // namespace smartcache::inline v0::http
