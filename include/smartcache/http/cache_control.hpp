#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/http/detail/text.hpp>
#include <smartcache/http/headers.hpp>

namespace smartcache::inline v0::http {

/// A number of seconds as HTTP carries it.
using Seconds = std::chrono::duration<std::int64_t>;

/// The greatest number of seconds that is told apart: RFC 9111 section 1.2.2 asks for 2^31 where a value is
/// larger.
inline constexpr Seconds max_delta_seconds{std::int64_t{1} << 31};

/// Reads delta-seconds (RFC 9111 section 1.2.2): digits only, larger values saturate; nullopt for anything
/// else.
[[nodiscard]] constexpr std::optional<Seconds> parse_delta_seconds(std::string_view text) noexcept {
    const auto value = detail::parse_digits(text, max_delta_seconds.count());
    return value ? std::optional(Seconds(*value)) : std::nullopt;
}

/// A directive that carries a number of seconds.
///
/// Of repeated directives the first counts, and a value that is not a number makes the directive invalid:
/// both as RFC 9111 section 4.2.1 recommends. An invalid lifetime means "stale", which is why it is told from
/// an absent one.
struct SecondsDirective {
    bool present = false;
    std::optional<Seconds> value;  ///< nullopt in a present directive: invalid, or without an argument

    [[nodiscard]] explicit operator bool() const noexcept { return present; }
    /// The value; an invalid one is zero.
    [[nodiscard]] Seconds seconds() const noexcept { return value.value_or(Seconds::zero()); }
};

/// A directive that stands alone, or limits itself to named header fields: `no-cache`,
/// `no-cache="set-cookie"`.
struct FieldsDirective {
    bool whole = false;               ///< without an argument (or an empty one): it means the message
    std::vector<std::string> fields;  ///< lower case

    [[nodiscard]] explicit operator bool() const noexcept { return whole || !fields.empty(); }
};

/// The Cache-Control field of a request or a response (RFC 9111 section 5.2), and what extends it: RFC 5861
/// (stale-while-revalidate, stale-if-error), RFC 8246 (immutable).
///
/// Directive names match in any case; arguments may be tokens or quoted strings; unknown directives are
/// ignored. Never fails: what cannot be read is left out, or counts as invalid where leaving it out would be
/// less strict.
struct CacheControl {
    SecondsDirective max_age;
    SecondsDirective s_maxage;
    SecondsDirective min_fresh;
    SecondsDirective max_stale;  ///< present without a value: any staleness (section 5.2.1.2)
    SecondsDirective stale_while_revalidate;
    SecondsDirective stale_if_error;
    FieldsDirective no_cache;
    FieldsDirective private_;
    bool present = false;   ///< there was a field at all, even one that says nothing known
    bool targeted = false;  ///< it comes from a targeted field: Expires is ignored too (RFC 9213 section 2.2)
    bool no_store = false;
    bool no_transform = false;
    bool only_if_cached = false;
    bool must_revalidate = false;
    bool proxy_revalidate = false;
    bool must_understand = false;
    bool public_ = false;
    bool immutable = false;

    /// Reads every line of the field `name` as one list.
    [[nodiscard]] static CacheControl parse(const Headers& headers, std::string_view name = "Cache-Control");
    [[nodiscard]] static CacheControl parse(std::string_view value);

    /// Takes in one directive; of repeated ones that carry seconds the first counts.
    void directive(std::string_view member);

  private:
    void line(std::string_view value);
    static void read_seconds(SecondsDirective& into, std::string_view argument);
    static void read_fields(FieldsDirective& into, std::string_view argument);
};

inline void CacheControl::read_seconds(SecondsDirective& into, std::string_view argument) {
    if (into.present) return;
    into.present = true;
    into.value =
        parse_delta_seconds(argument.starts_with('"') ? detail::unquote(argument) : std::string(argument));
}

inline void CacheControl::read_fields(FieldsDirective& into, std::string_view argument) {
    const std::size_t before = into.fields.size();
    detail::for_each_member(detail::unquote(argument),
                            [&](std::string_view name) { into.fields.push_back(detail::to_lower(name)); });
    if (into.fields.size() == before) into.whole = true;
}

inline void CacheControl::directive(std::string_view member) {
    const std::size_t equals = member.find('=');
    // White space around "=" is not allowed. Reading `max-age =60` as a lifetime that is invalid keeps to the
    // safe side.
    const std::string_view name = detail::trim(member.substr(0, equals));
    const std::string_view argument =
        equals == std::string_view::npos ? std::string_view{} : member.substr(equals + 1);
    const bool spaced = name.size() != member.substr(0, equals).size();
    const auto is = [name](std::string_view known) { return detail::equal_ignoring_case(name, known); };
    const auto seconds = [&](SecondsDirective& into) { read_seconds(into, spaced ? " " : argument); };

    if (is("max-age")) return seconds(max_age);
    if (is("s-maxage")) return seconds(s_maxage);
    if (is("min-fresh")) return seconds(min_fresh);
    if (is("max-stale")) {
        seconds(max_stale);
        // Only the directive without any argument means "any staleness"; one that cannot be read grants none.
        if (equals != std::string_view::npos && !max_stale.value) max_stale.value = Seconds::zero();
        return;
    }
    if (is("stale-while-revalidate")) return seconds(stale_while_revalidate);
    if (is("stale-if-error")) return seconds(stale_if_error);
    if (is("no-cache")) return read_fields(no_cache, argument);
    if (is("private")) return read_fields(private_, argument);
    if (is("no-store")) no_store = true;
    if (is("no-transform")) no_transform = true;
    if (is("only-if-cached")) only_if_cached = true;
    if (is("must-revalidate")) must_revalidate = true;
    if (is("proxy-revalidate")) proxy_revalidate = true;
    if (is("must-understand")) must_understand = true;
    if (is("public")) public_ = true;
    if (is("immutable")) immutable = true;
}

inline void CacheControl::line(std::string_view value) {
    present = true;
    detail::for_each_member(value, [this](std::string_view member) { directive(member); });
    if (!detail::ends_in_quotes(value)) return;
    // A quote that nothing ends has swallowed the rest of the line. What forbids in it holds all the same, the rest
    // does not.
    for (std::size_t start = 0; start <= value.size();) {
        const std::size_t end = std::min(value.find(',', start), value.size());
        std::string_view name = value.substr(start, end - start);
        start = end + 1;
        name = detail::trim(name.substr(0, name.find_first_of("=\"")));
        no_store = no_store || detail::equal_ignoring_case(name, "no-store");
        no_cache.whole = no_cache.whole || detail::equal_ignoring_case(name, "no-cache");
        private_.whole = private_.whole || detail::equal_ignoring_case(name, "private");
    }
}

inline CacheControl CacheControl::parse(const Headers& headers, std::string_view name) {
    CacheControl result;
    headers.for_each(name, [&](std::string_view value) { result.line(value); });
    return result;
}

inline CacheControl CacheControl::parse(std::string_view value) {
    CacheControl result;
    result.line(value);
    return result;
}

}  // namespace smartcache::inline v0::http
