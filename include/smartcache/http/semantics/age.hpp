#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string_view>

#include <smartcache/core/clock.hpp>
#include <smartcache/http/cache_control.hpp>
#include <smartcache/http/date.hpp>
#include <smartcache/http/headers.hpp>

namespace smartcache::inline v0::http {

/// The Age a response came with (RFC 9111 section 5.1): the first member of the first line; anything that is
/// not a number is ignored, larger ones than 2^31 saturate.
[[nodiscard]] inline Seconds age_value(const Headers& headers) {
    const auto line = headers.get("Age");
    if (!line) return Seconds::zero();
    const std::string_view member = detail::trim(line->substr(0, line->find(',')));
    return parse_delta_seconds(member).value_or(Seconds::zero());
}

/// When the origin made the response (RFC 9110 section 6.6.1); nullopt without a Date that can be read.
[[nodiscard]] inline std::optional<WallTime> date_value(const Headers& headers, WallTime now) {
    const auto line = headers.get("Date");
    return line ? parse_date(*line, now) : std::nullopt;
}

/// How old a response was when it arrived (RFC 9111 section 4.2.3: corrected_initial_age).
///
/// @param request_time   when the request that it answers was sent
/// @param response_time  when it arrived
[[nodiscard]] inline Duration initial_age(const Headers& headers, WallTime request_time,
                                          WallTime response_time) {
    // apparent_age = max(0, response_time - date_value). HTTP dates have whole seconds: so has the
    // comparison.
    const auto now = std::chrono::floor<std::chrono::seconds>(response_time);
    const WallTime date = date_value(headers, response_time).value_or(now);
    const Duration apparent = std::max<Duration>(Duration::zero(), now - date);
    // corrected_age_value = age_value + response_delay
    const Duration delay = std::max<Duration>(Duration::zero(), response_time - request_time);
    return std::max(apparent, Duration(age_value(headers)) + delay);
}

}  // namespace smartcache::inline v0::http
