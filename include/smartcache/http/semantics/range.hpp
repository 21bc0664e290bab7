#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/core/hash.hpp>
#include <smartcache/http/date.hpp>
#include <smartcache/http/detail/text.hpp>
#include <smartcache/http/message.hpp>
#include <smartcache/http/semantics/conditional.hpp>

namespace smartcache::inline v0::http {

/// Bytes [first, last] of a representation, both inside it.
struct ByteRange {
    std::uint64_t first = 0;
    std::uint64_t last = 0;

    [[nodiscard]] std::uint64_t size() const noexcept { return last - first + 1; }
    friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

/// Reads a Range field (RFC 9110 section 14.1.2) for a representation of `size` bytes.
///
/// @return nullopt: it is to be ignored (another unit, not valid, or so many ranges that it looks like an
/// attack, see
///         section 14.2); an empty list: it is valid, and nothing of it can be satisfied (416)
[[nodiscard]] inline std::optional<std::vector<ByteRange>> parse_range(std::string_view text,
                                                                       std::uint64_t size) {
    constexpr std::size_t most = 16;
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos ||
        !detail::equal_ignoring_case(detail::trim(text.substr(0, equals)), "bytes"))
        return std::nullopt;
    std::vector<ByteRange> ranges;
    std::size_t members = 0;
    bool valid = true;
    detail::for_each_member(text.substr(equals + 1), [&](std::string_view member) {
        ++members;
        const std::size_t dash = member.find('-');
        if (dash == std::string_view::npos) return void(valid = false);
        const auto first = detail::parse_digits(member.substr(0, dash), INT64_MAX);
        const auto last = detail::parse_digits(member.substr(dash + 1), INT64_MAX);
        if (dash == 0) {  // the last n bytes
            if (!last) return void(valid = false);
            const auto n = std::min(static_cast<std::uint64_t>(*last), size);
            if (n > 0) ranges.push_back({size - n, size - 1});
            return;
        }
        if (!first || (!last && dash + 1 != member.size()) || (last && *last < *first))
            return void(valid = false);
        const auto start = static_cast<std::uint64_t>(*first);
        if (start < size)
            ranges.push_back(
                {start, last ? std::min(static_cast<std::uint64_t>(*last), size - 1) : size - 1});
    });
    if (!valid || members == 0 || members > most) return std::nullopt;
    return ranges;
}

/// Whether If-Range lets the Range stand (RFC 9110 section 13.1.5): the strong validator it names is the
/// stored one.
[[nodiscard]] inline bool if_range_holds(const Headers& request, const Headers& stored, WallTime now) {
    const auto wanted = request.get("If-Range");
    if (!wanted) return true;
    if (wanted->starts_with('"') || wanted->starts_with("W/")) {
        const auto tag = stored.get("ETag");
        return tag && parse_entity_tag(*wanted).matches_strongly(parse_entity_tag(*tag));
    }
    // Section 8.8.2.2: a date is a strong validator only if it is well before the response was made.
    const auto modified_text = stored.get("Last-Modified");
    const auto modified = modified_text ? parse_date(*modified_text, now) : std::nullopt;
    const auto date = date_value(stored, now);
    return modified && date && *wanted == *modified_text && *date - *modified >= std::chrono::seconds(60);
}

namespace detail {

[[nodiscard]] inline std::string content_range(const ByteRange& range, std::uint64_t size) {
    return "bytes " + std::to_string(range.first) + "-" + std::to_string(range.last) + "/" +
           std::to_string(size);
}

/// Several parts as multipart/byteranges (RFC 9110 section 14.6).
[[nodiscard]] inline Response multipart(Response whole, const std::vector<ByteRange>& ranges) {
    const std::string_view bytes = whole.body.view();
    // No part may contain the boundary (RFC 2046 section 5.1.1): nobody can have written 128 bits not yet drawn.
    const std::string boundary =
        "smartcache_" + std::to_string(random_stamp()) + "_" + std::to_string(random_stamp());
    const std::string type(whole.headers.value("Content-Type"));
    std::string body;
    for (const ByteRange& range : ranges) {
        body.append("\r\n--").append(boundary).append("\r\n");
        if (!type.empty()) body.append("Content-Type: ").append(type).append("\r\n");
        body.append("Content-Range: ").append(content_range(range, bytes.size())).append("\r\n\r\n");
        body.append(
            bytes.substr(static_cast<std::size_t>(range.first), static_cast<std::size_t>(range.size())));
    }
    body.append("\r\n--").append(boundary).append("--\r\n");
    whole.status = 206;
    whole.headers.set("Content-Type", "multipart/byteranges; boundary=" + boundary);
    whole.headers.set("Content-Length", std::to_string(body.size()));
    whole.body = std::move(body);
    return whole;
}

}  // namespace detail

/// The part of a complete 200 response that a GET asks for with Range and If-Range: 206, 416, or the whole
/// where the range does not apply (RFC 9110 section 14.2). A single part shares the body's bytes.
[[nodiscard]] inline Response apply_range(const Request& request, Response whole, WallTime now) {
    const auto wanted = request.headers.get("Range");
    if (!wanted || request.method != "GET" || whole.status != 200) return whole;
    if (!if_range_holds(request.headers, whole.headers, now)) return whole;
    const std::uint64_t size = whole.body.size();
    const auto ranges = parse_range(*wanted, size);
    if (!ranges) return whole;
    if (ranges->empty()) {
        whole.headers.remove_if([](std::string_view name, std::string_view) {
            for (const std::string_view about :
                 {"Content-Type", "Content-Encoding", "Content-Language", "Content-Length"})
                if (detail::equal_ignoring_case(name, about)) return true;
            return false;
        });
        whole.headers.add("Content-Range", "bytes */" + std::to_string(size));
        whole.headers.add("Content-Length", "0");
        return {416, std::move(whole.headers), {}};
    }
    std::uint64_t total = 0;
    for (const ByteRange& range : *ranges) total += range.size();
    if (total > size && ranges->size() > 1) return whole;  // overlapping: the whole is less
    if (ranges->size() > 1) return detail::multipart(std::move(whole), *ranges);
    const ByteRange range = ranges->front();
    whole.status = 206;
    whole.headers.set("Content-Range", detail::content_range(range, size));
    whole.headers.set("Content-Length", std::to_string(range.size()));
    whole.body =
        whole.body.slice(static_cast<std::size_t>(range.first), static_cast<std::size_t>(range.size()));
    return whole;
}

}  // namespace smartcache::inline v0::http
