#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <smartcache/core/clock.hpp>
#include <smartcache/http/detail/text.hpp>
#include <smartcache/http/headers.hpp>
#include <smartcache/http/message.hpp>
#include <smartcache/http/semantics/age.hpp>
#include <smartcache/http/semantics/conditional.hpp>
#include <smartcache/http/semantics/range.hpp>

// Parts: what a stored 206 may answer, and how two become one (RFC 9111 sections 3.3 and 3.4).
namespace smartcache::inline v0::http {

/// The largest representation that is completed from a stored part, and the most that parts grow to: both halves are in
/// memory at once, and written anew.
inline constexpr std::size_t max_completed_bytes = std::size_t{4} << 20U;

/// Which bytes of how many a 206 holds (RFC 9110 section 14.4).
struct ContentRange {
    ByteRange range;
    std::uint64_t size = 0;  ///< of the whole representation

    [[nodiscard]] bool whole() const noexcept { return range.size() == size; }
};

/// Reads a Content-Range.
/// @return nullopt for another unit, an unknown size, or a range that does not lie within it
[[nodiscard]] inline std::optional<ContentRange> parse_content_range(std::string_view text) {
    const std::size_t space = text.find(' ');
    const std::size_t dash = text.find('-');
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos || dash == std::string_view::npos || space > dash || dash > slash ||
        !detail::equal_ignoring_case(text.substr(0, space), "bytes"))
        return std::nullopt;
    const auto first = detail::parse_digits(text.substr(space + 1, dash - space - 1), INT64_MAX);
    const auto last = detail::parse_digits(text.substr(dash + 1, slash - dash - 1), INT64_MAX);
    const auto size = detail::parse_digits(text.substr(slash + 1), INT64_MAX);
    if (!first || !last || !size || *first > *last || *last >= *size) return std::nullopt;
    return ContentRange{{static_cast<std::uint64_t>(*first), static_cast<std::uint64_t>(*last)},
                        static_cast<std::uint64_t>(*size)};
}

/// The bytes that a 206 with these fields and this many bytes of content holds; nullopt where the two
/// disagree, as they do in a multipart response.
[[nodiscard]] inline std::optional<ContentRange> part_of(const Headers& headers, std::uint64_t content) {
    if (headers.count("Content-Range") != 1) return std::nullopt;
    const auto held = parse_content_range(headers.value("Content-Range"));
    return held && held->range.size() == content ? held : std::nullopt;
}

/// The bytes of a stored part that answer a request: it asks for one range, and all of that is there (RFC
/// 9111 section 3.3). @return nullopt when the part cannot answer
[[nodiscard]] inline std::optional<ByteRange> wanted_of(const Request& request, const Headers& stored,
                                                        std::uint64_t content, WallTime now) {
    const auto wanted = request.headers.get("Range");
    if (!wanted || request.method != "GET") return std::nullopt;
    const auto held = part_of(stored, content);
    if (!held || !if_range_holds(request.headers, stored, now)) return std::nullopt;
    const auto ranges = parse_range(*wanted, held->size);
    if (!ranges || ranges->size() != 1) return std::nullopt;
    const ByteRange range = ranges->front();
    if (range.first < held->range.first || range.last > held->range.last) return std::nullopt;
    return range;
}

/// Cuts `range`, which `wanted_of` gave, from a stored part; the body is shared.
[[nodiscard]] inline Response cut_part(Response part, const ByteRange& range) {
    const auto held = part_of(part.headers, part.body.size());
    if (!held) return part;
    part.headers.set("Content-Range", detail::content_range(range, held->size));
    part.headers.set("Content-Length", std::to_string(range.size()));
    part.body = part.body.slice(static_cast<std::size_t>(range.first - held->range.first),
                                static_cast<std::size_t>(range.size()));
    return part;
}

/// The validator that If-Range may carry (RFC 9110 section 13.1.5): a strong ETag, or a Last-Modified that is
/// strong because it is well before Date (section 8.8.2.2).
[[nodiscard]] inline std::optional<std::string_view> strong_validator(const Headers& headers, WallTime now) {
    if (const auto tag = headers.get("ETag"))
        return tag->starts_with('"') ? tag : std::optional<std::string_view>{};
    const auto text = headers.get("Last-Modified");
    const auto modified = text ? parse_date(*text, now) : std::nullopt;
    const auto date = date_value(headers, now);
    return modified && date && *date - *modified >= std::chrono::seconds(60)
               ? text
               : std::optional<std::string_view>{};
}

/// What has to be asked for to make a part whole; nullopt when that is not one range.
[[nodiscard]] inline std::optional<ByteRange> missing_of(const ContentRange& held) noexcept {
    if (held.whole() || held.size == 0) return std::nullopt;
    if (held.range.first == 0) return ByteRange{held.range.last + 1, held.size - 1};
    if (held.range.last == held.size - 1) return ByteRange{0, held.range.first - 1};
    return std::nullopt;
}

/// The 200 that a part stands for when it holds every byte, as the answer to `bytes=0-` does (RFC 9111
/// section 3.4); nullopt when something is missing.
[[nodiscard]] inline std::optional<Response> as_whole(const Response& part) {
    const auto held = part_of(part.headers, part.body.size());
    if (part.status != 206 || !held || !held->whole()) return std::nullopt;
    Response whole{200, part.headers, part.body};
    whole.headers.remove("Content-Range");
    return whole;
}

/// Which bytes a stored part of `content` bytes and a 206 that has just come hold together; nullopt where they may not be
/// combined (RFC 9111 section 3.4, RFC 9110 section 15.3.7.3): both must carry the same strong validator, and touch or
/// overlap.
///
/// @param proven  the 206 answers an If-Range with the stored validator, and need not repeat it
[[nodiscard]] inline std::optional<ContentRange> together(const Headers& stored, std::uint64_t content,
                                                          const Response& part, bool proven, WallTime now) {
    const auto old_part = part_of(stored, content);
    const auto new_part = part_of(part.headers, part.body.size());
    const auto own = strong_validator(stored, now);
    if (!old_part || !new_part || !own || old_part->size != new_part->size) return std::nullopt;
    if (own != strong_validator(part.headers, now) && !(proven && selects(part.headers, stored)))
        return std::nullopt;
    if (new_part->range.first > old_part->range.last + 1 || old_part->range.first > new_part->range.last + 1)
        return std::nullopt;
    return ContentRange{{std::min(old_part->range.first, new_part->range.first),
                         std::max(old_part->range.last, new_part->range.last)},
                        new_part->size};
}

/// Puts a stored part and a 206 that has just come together.
///
/// @param proven  as for `together`
/// @return a 200 when nothing is missing any more, else a 206; nullopt when they may not be combined
[[nodiscard]] inline std::optional<Response> combine(const Headers& stored, std::string_view content,
                                                     const Response& part, bool proven, WallTime now) {
    const auto both = together(stored, content.size(), part, proven, now);
    const auto old_part = part_of(stored, content.size());
    const auto new_part = part_of(part.headers, part.body.size());
    if (!both || !old_part || !new_part) return std::nullopt;

    const std::string_view fresh = part.body.view();
    // The new bytes in the middle, what the old part has before and behind them around it.
    std::string body;
    body.reserve(static_cast<std::size_t>(both->range.size()));
    if (old_part->range.first < new_part->range.first)
        body += content.substr(0, static_cast<std::size_t>(new_part->range.first - old_part->range.first));
    body += fresh;
    if (old_part->range.last > new_part->range.last)
        body += content.substr(static_cast<std::size_t>(new_part->range.last + 1 - old_part->range.first));

    Response result{206, stored, {}};
    freshen(result.headers, part.headers, true);
    result.headers.set("Content-Length", std::to_string(body.size()));
    if (both->whole()) {
        result.status = 200;
        result.headers.remove("Content-Range");
    } else {
        result.headers.set("Content-Range", detail::content_range(both->range, both->size));
    }
    result.body = std::move(body);
    return result;
}

}  // namespace smartcache::inline v0::http
