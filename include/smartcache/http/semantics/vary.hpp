#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/http/detail/text.hpp>
#include <smartcache/http/headers.hpp>

namespace smartcache::inline v0::http {

/// Names of request fields that select a variant: lower case, sorted, each once.
using FieldNames = std::vector<std::string>;

namespace detail {
inline void add_sorted(FieldNames& names, std::string name) {
    const auto place = std::lower_bound(names.begin(), names.end(), name);
    if (place == names.end() || *place != name) names.insert(place, std::move(name));
}
}  // namespace detail

/// Adds a name in any case; keeps the order and the uniqueness.
inline void add_field_name(FieldNames& names, std::string_view name) {
    detail::add_sorted(names, detail::to_lower(name));
}

/// The fields that a response's Vary nominates, from all its lines (RFC 9110 section 12.5.5). "*" is in it as
/// it is.
[[nodiscard]] inline FieldNames vary_names(const Headers& response) {
    FieldNames names;
    response.for_each_member("Vary", [&](std::string_view member) { add_field_name(names, member); });
    return names;
}

namespace detail {

/// `q=1.0` and no q mean the same (RFC 9110 section 12.4.2), as do `q=0.50` and `q=0.5`.
[[nodiscard]] inline std::string canonical_weight(std::string_view text) {
    while (text.find('.') != std::string_view::npos && (text.back() == '0' || text.back() == '.')) {
        const bool dot = text.back() == '.';
        text.remove_suffix(1);
        if (dot) break;
    }
    return std::string(text);
}

/// One member of Accept, Accept-Charset, Accept-Encoding or Accept-Language: without white space, weight in one
/// spelling, and in lower case but for the values of parameters, whose case may matter (RFC 9110 section 8.3.1).
[[nodiscard]] inline std::string canonical_preference(std::string_view member) {
    // Quoted parameters may hold anything that matters: such a member is left alone.
    if (member.find('"') != std::string_view::npos) return std::string(member);
    std::string result;
    bool first = true;
    for (std::size_t start = 0; start <= member.size();) {
        const std::size_t end = std::min(member.find(';', start), member.size());
        const std::string_view part = trim(member.substr(start, end - start));
        const std::size_t name_size = first ? part.size() : std::min(part.find('='), part.size());
        const std::string name = to_lower(part.substr(0, name_size));
        const std::string_view value = part.substr(name_size);  // with its "="
        start = end + 1;
        if (!first && name == "q" && !value.empty()) {
            const std::string weight = canonical_weight(value.substr(1));
            if (weight != "1") result.append(";q=").append(weight);
        } else if (!part.empty()) {
            if (!first) result += ';';
            result.append(name).append(name == "charset" ? to_lower(value) : std::string(value));
        }
        first = false;
    }
    return result;
}

}  // namespace detail

/// The value of one selecting field in the form in which two requests are compared (RFC 9111 section 4.1):
/// lines combined, white space around members gone; for the fields of content negotiation also weight spelling, case
/// where it means nothing, and order (RFC 9110 section 12.5). That stays as it is in Accept and Accept-Language: many
/// applications take the first of equals, and section 12.5.4 lets them.
[[nodiscard]] inline std::string normalised_field(const Headers& request, std::string_view name) {
    using detail::equal_ignoring_case;
    const bool unordered =
        equal_ignoring_case(name, "Accept-Encoding") || equal_ignoring_case(name, "Accept-Charset");
    const bool negotiation =
        unordered || equal_ignoring_case(name, "Accept") || equal_ignoring_case(name, "Accept-Language");
    std::vector<std::string> members;
    request.for_each_member(name, [&](std::string_view member) {
        members.push_back(negotiation ? detail::canonical_preference(member) : std::string(member));
    });
    if (unordered) {
        std::sort(members.begin(), members.end());
        members.erase(std::unique(members.begin(), members.end()), members.end());
    }
    std::string value;
    for (const std::string& member : members) {
        if (!value.empty()) value += ',';
        value += member;
    }
    return value;
}

}  // namespace smartcache::inline v0::http
