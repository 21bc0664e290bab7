#pragma once

#include <chrono>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include <smartcache/core/clock.hpp>
#include <smartcache/http/cache_control.hpp>
#include <smartcache/http/date.hpp>
#include <smartcache/http/headers.hpp>
#include <smartcache/http/message.hpp>
#include <smartcache/http/semantics/age.hpp>

namespace smartcache::inline v0::http {

/// An entity tag (RFC 9110 section 8.8.3), quotes included: two views of the field's text.
struct EntityTag {
    std::string_view opaque;  ///< `"abc"`
    bool weak = false;

    /// RFC 9110 section 8.8.3.2. Weak comparison ignores the W/, strong comparison wants neither side weak.
    [[nodiscard]] bool matches_weakly(const EntityTag& other) const noexcept {
        return opaque == other.opaque;
    }
    [[nodiscard]] bool matches_strongly(const EntityTag& other) const noexcept {
        return !weak && !other.weak && opaque == other.opaque;
    }
};

/// Reads an entity tag. One without quotes is not valid, but is sent by some origins: it is taken as it
/// stands, and matches only a tag that lacks them too.
[[nodiscard]] inline EntityTag parse_entity_tag(std::string_view text) noexcept {
    text = detail::trim(text);
    const bool weak = text.starts_with("W/");  // case-sensitive (section 8.8.3)
    return {weak ? text.substr(2) : text, weak};
}

namespace detail {

/// Calls `visit(member)` for each member of the lists of entity tags under `name`. Those are no quoted strings: a backslash
/// in one is a character like any other (RFC 9110 section 8.8.3).
template <class Visit>
void for_each_entity_tag(const Headers& headers, std::string_view name, Visit&& visit) {
    headers.for_each(name, [&](std::string_view list) {
        for (std::size_t start = 0; start <= list.size();) {
            std::size_t end = start;
            for (bool quoted = false; end < list.size() && (quoted || list[end] != ','); ++end)
                if (list[end] == '"') quoted = !quoted;
            const std::string_view member = trim(list.substr(start, end - start));
            if (!member.empty()) visit(member);
            start = end + 1;
        }
    });
}

}  // namespace detail

/// Does the request carry a condition of its own? (RFC 9110 section 13.1)
[[nodiscard]] inline bool is_conditional(const Headers& request) noexcept {
    for (const std::string_view name :
         {"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range"})
        if (request.has(name)) return true;
    return false;
}

/// Is a 304 the right answer, given the stored response that would be sent otherwise? (RFC 9110
/// section 13.2.2, RFC 9111 section 4.3.2) If-None-Match is compared weakly and, if present, alone decides.
[[nodiscard]] inline bool not_modified(const Headers& request, const Headers& stored, int status,
                                       WallTime stored_at, WallTime now) {
    if (status != 200 && status != 206)
        return false;  // RFC 9110 section 13.2.1: conditions apply to what would be a success
    if (request.has("If-None-Match")) {
        const auto tag = stored.get("ETag");
        bool matched = false;
        detail::for_each_entity_tag(request, "If-None-Match", [&](std::string_view member) {
            matched = matched || member == "*" ||
                      (tag && parse_entity_tag(member).matches_weakly(parse_entity_tag(*tag)));
        });
        return matched;
    }
    if (request.count("If-Modified-Since") != 1) return false;
    const auto since = parse_date(request.value("If-Modified-Since"), now);
    if (!since) return false;  // RFC 9110 section 13.1.3: ignored when it is not one valid date
    // RFC 9111 section 4.3.2: Last-Modified, else Date, else when it was received.
    const auto modified_text = stored.get("Last-Modified");
    const auto modified = modified_text ? parse_date(*modified_text, now) : date_value(stored, now);
    return modified.value_or(std::chrono::floor<std::chrono::seconds>(stored_at)) <= *since;
}

/// Removes every condition and range from a request that the cache will answer from what comes back.
inline void remove_conditions(Headers& request) {
    for (const std::string_view name :
         {"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range", "Range"})
        request.remove(name);
}

/// Makes a request that asks whether `stored` is still right (RFC 9111 section 4.3.1). Those of the client's own
/// conditions that the cache answers go; If-Match and If-Unmodified-Since are the origin's (section 4.3.2).
/// @return false when `stored` has no validator; then the request is unchanged
inline bool make_conditional(Headers& request, const Headers& stored) {
    const auto tag = stored.get("ETag");
    const auto modified = stored.get("Last-Modified");
    if (!tag && !modified) return false;
    for (const std::string_view name : {"If-None-Match", "If-Modified-Since", "If-Range", "Range"})
        request.remove(name);
    if (tag) request.add("If-None-Match", *tag);
    if (modified) request.add("If-Modified-Since", *modified);
    return true;
}

/// Does this 304 speak of the stored response? (RFC 9111 section 4.3.4) Its strong validator must be the
/// stored one, a weak one must match weakly; one without validators answers the only condition that was
/// asked.
[[nodiscard]] inline bool selects(const Headers& not_modified, const Headers& stored) {
    if (const auto tag = not_modified.get("ETag")) {
        const auto own = stored.get("ETag");
        if (!own) return false;
        const EntityTag theirs = parse_entity_tag(*tag);
        const EntityTag ours = parse_entity_tag(*own);
        return theirs.weak || ours.weak ? theirs.matches_weakly(ours) : theirs.matches_strongly(ours);
    }
    const auto modified = not_modified.get("Last-Modified");
    return !modified || modified == stored.get("Last-Modified");
}

/// Puts the fields of a 304 (or of a HEAD response) over the stored ones (RFC 9111 section 3.2).
/// Content-Length is left alone, as the section says. `update` must have gone through `remove_unstorable`.
///
/// @param part  what is stored is a 206, whose Content-Range says what is stored and is left alone too
inline void freshen(Headers& stored, const Headers& update, bool part = false) {
    const auto kept = [part](std::string_view name) {
        return detail::equal_ignoring_case(name, "Content-Length") ||
               (part && detail::equal_ignoring_case(name, "Content-Range"));
    };
    stored.remove_if([&](std::string_view name, std::string_view) {
        // An Age that the update does not repeat would make the freshened response old again.
        return !kept(name) && (update.has(name) || detail::equal_ignoring_case(name, "Age"));
    });
    for (const auto [name, value] : update)
        if (!kept(name)) stored.add(name, value);
}

/// The 304 that stands for a stored response (RFC 9110 section 15.4.5): what describes the representation is
/// left out, but for what the client needs to update its copy.
[[nodiscard]] inline Response make_not_modified(Headers headers) {
    const bool tagged = headers.has("ETag");
    headers.remove_if([tagged](std::string_view name, std::string_view) {
        using detail::equal_ignoring_case;
        if (equal_ignoring_case(name, "Last-Modified")) return tagged;
        for (const std::string_view known :
             {"Content-Length", "Content-Type", "Content-Encoding", "Content-Language", "Content-Range"})
            if (equal_ignoring_case(name, known)) return true;
        return false;
    });
    return {304, std::move(headers), {}};
}

}  // namespace smartcache::inline v0::http
