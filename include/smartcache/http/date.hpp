#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <smartcache/core/clock.hpp>
#include <smartcache/http/detail/text.hpp>

namespace smartcache::inline v0::http {

/// Reads an HTTP date in any of its three formats (RFC 9110 section 5.6.7):
///
///     Sun, 06 Nov 1994 08:49:37 GMT        IMF-fixdate
///     Sunday, 06-Nov-94 08:49:37 GMT       RFC 850, two digits of year
///     Sun Nov  6 08:49:37 1994             asctime
///
/// Names match in any case and another zone than GMT is invalid (RFC 9111 section 4.2); every other departure
/// from the grammar is invalid too. A two-digit year that would be more than 50 years after `now` is in the
/// past.
/// @return nullopt when the text is not a date. Never throws.
[[nodiscard]] std::optional<WallTime> parse_date(std::string_view text, WallTime now) noexcept;

/// Writes an IMF-fixdate, 29 characters for years 0 to 9999 (RFC 9110 section 5.6.7).
[[nodiscard]] std::string format_date(WallTime time);

namespace detail {

inline constexpr std::array<std::string_view, 12> month_names{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                              "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
inline constexpr std::array<std::string_view, 7> day_names{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
inline constexpr std::array<std::string_view, 7> long_day_names{"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                                "Thursday", "Friday", "Saturday"};

/// Eats a text from the left; after the first mismatch everything fails.
class DateScanner {
  public:
    explicit DateScanner(std::string_view text) noexcept : rest_(text) {}

    void expect(std::string_view literal) noexcept {
        if (!equal_ignoring_case(rest_.substr(0, literal.size()), literal)) return fail();
        rest_.remove_prefix(literal.size());
    }

    /// The index of the name that comes next.
    template <std::size_t N>
    unsigned name(const std::array<std::string_view, N>& names) noexcept {
        for (unsigned i = 0; i < N; ++i) {
            if (!equal_ignoring_case(rest_.substr(0, names[i].size()), names[i])) continue;
            rest_.remove_prefix(names[i].size());
            return i;
        }
        fail();
        return 0;
    }

    /// Exactly `digits` digits, as a number of at most `limit`.
    int number(std::size_t digits, int limit) noexcept {
        const auto value = parse_digits(rest_.substr(0, digits), 9999);
        if (rest_.size() < digits || !value || *value > limit) {
            fail();
            return 0;
        }
        rest_.remove_prefix(digits);
        return static_cast<int>(*value);
    }

    [[nodiscard]] bool next_is(char c) const noexcept { return !rest_.empty() && rest_.front() == c; }
    [[nodiscard]] bool done() const noexcept { return ok_ && rest_.empty(); }

  private:
    void fail() noexcept {
        ok_ = false;
        rest_ = {};
    }
    std::string_view rest_;
    bool ok_ = true;
};

struct DateParts {
    int year = 0;
    unsigned month = 0;  // 0 is January
    int day = 0;
    int hour = 0;
    int minute = 0;
    int second = 0;
};

inline void scan_time(DateScanner& in, DateParts& parts) noexcept {
    parts.hour = in.number(2, 23);
    in.expect(":");
    parts.minute = in.number(2, 59);
    in.expect(":");
    parts.second = in.number(2, 60);  // 60: a leap second (RFC 9110 section 5.6.7)
}

inline std::optional<WallTime> to_time(const DateParts& parts) noexcept {
    const std::chrono::year_month_day date{std::chrono::year(parts.year), std::chrono::month(parts.month + 1),
                                           std::chrono::day(static_cast<unsigned>(parts.day))};
    if (!date.ok()) return std::nullopt;
    return WallTime(std::chrono::sys_days(date).time_since_epoch() + std::chrono::hours(parts.hour) +
                    std::chrono::minutes(parts.minute) + std::chrono::seconds(parts.second));
}

inline int year_of(WallTime time) noexcept {
    return static_cast<int>(std::chrono::year_month_day(std::chrono::floor<std::chrono::days>(time)).year());
}

}  // namespace detail

inline std::optional<WallTime> parse_date(std::string_view text, WallTime now) noexcept {
    detail::DateScanner in(text);
    detail::DateParts parts;
    const std::size_t comma = text.find(',');
    if (comma == std::string_view::npos) {  // asctime-date
        (void)in.name(detail::day_names);
        in.expect(" ");
        parts.month = in.name(detail::month_names);
        in.expect(" ");
        if (in.next_is(' ')) {
            in.expect(" ");
            parts.day = in.number(1, 9);
        } else {
            parts.day = in.number(2, 31);
        }
        in.expect(" ");
        detail::scan_time(in, parts);
        in.expect(" ");
        parts.year = in.number(4, 9999);
        return in.done() ? detail::to_time(parts) : std::nullopt;
    }
    const bool rfc850 = comma > 3;
    if (rfc850) {
        (void)in.name(detail::long_day_names);
    } else {
        (void)in.name(detail::day_names);
    }
    in.expect(", ");
    parts.day = in.number(2, 31);
    in.expect(rfc850 ? "-" : " ");
    parts.month = in.name(detail::month_names);
    in.expect(rfc850 ? "-" : " ");
    if (rfc850) {
        // RFC 9110 section 5.6.7: a year that appears to be more than 50 years ahead is the most recent such
        // year.
        const int century = detail::year_of(now) / 100 * 100;
        parts.year = century + in.number(2, 99);
        if (parts.year > detail::year_of(now) + 50) parts.year -= 100;
    } else {
        parts.year = in.number(4, 9999);
    }
    in.expect(" ");
    detail::scan_time(in, parts);
    in.expect(" GMT");
    return in.done() ? detail::to_time(parts) : std::nullopt;
}

inline std::string format_date(WallTime time) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
    const auto days = std::chrono::floor<std::chrono::days>(seconds);
    const std::chrono::year_month_day date(days);
    const std::chrono::hh_mm_ss clock(seconds - days);

    std::string text;
    text.reserve(29);
    const auto put = [&text](long value, int width) {
        const std::string digits = std::to_string(value);
        text.append(static_cast<std::size_t>(width) > digits.size()
                        ? static_cast<std::size_t>(width) - digits.size()
                        : 0,
                    '0');
        text += digits;
    };
    text.append(detail::day_names[std::chrono::weekday(days).c_encoding()]).append(", ");
    put(static_cast<long>(static_cast<unsigned>(date.day())), 2);
    text.append(" ").append(detail::month_names[static_cast<unsigned>(date.month()) - 1]).append(" ");
    put(static_cast<int>(date.year()), 4);
    text += ' ';
    put(clock.hours().count(), 2);
    text += ':';
    put(clock.minutes().count(), 2);
    text += ':';
    put(clock.seconds().count(), 2);
    return text.append(" GMT");
}

}  // namespace smartcache::inline v0::http
