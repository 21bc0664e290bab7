#include <smartcache/http/date.hpp>

#include <chrono>

#include "support/catch.hpp"

namespace date_test {

using namespace smartcache;
using namespace smartcache::http;

namespace {
WallTime at(int y, unsigned m, unsigned d, int h, int min, int s) {
    using namespace std::chrono;
    return sys_days(year(y) / month(m) / day(d)) + hours(h) + minutes(min) + seconds(s);
}
const WallTime now = at(2024, 5, 1, 0, 0, 0);
}  // namespace

TEST_CASE("RFC 9110 section 5.6.7: all three date formats say the same", "[http][date]") {
    const WallTime expected = at(1994, 11, 6, 8, 49, 37);
    for (const char* text :
         {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
          // RFC 9111 section 4.2: a cache matches the names in any case
          "sun, 06 nov 1994 08:49:37 gmt", "SUNDAY, 06-NOV-94 08:49:37 GMT"}) {
        CAPTURE(text);
        CHECK(parse_date(text, now) == expected);
    }
    CHECK(parse_date("Thu Nov 16 08:49:37 1994", now) == at(1994, 11, 16, 8, 49, 37));
    CHECK(parse_date("Sat, 31 Dec 2016 23:59:60 GMT", now) == at(2017, 1, 1, 0, 0, 0));  // a leap second
    CHECK(parse_date("Thu, 29 Feb 2024 00:00:00 GMT", now) == at(2024, 2, 29, 0, 0, 0));
    CHECK(parse_date("Mon, 01 Jan 0001 00:00:00 GMT", now) == at(1, 1, 1, 0, 0, 0));
    CHECK(parse_date("Fri, 31 Dec 9999 23:59:59 GMT", now) == at(9999, 12, 31, 23, 59, 59));
}

TEST_CASE("RFC 9110 section 5.6.7: a year more than 50 years ahead is in the past", "[http][date]") {
    CHECK(parse_date("Sunday, 06-Nov-74 08:49:37 GMT", now) == at(2074, 11, 6, 8, 49, 37));
    CHECK(parse_date("Sunday, 06-Nov-75 08:49:37 GMT", now) == at(1975, 11, 6, 8, 49, 37));
    CHECK(parse_date("Sunday, 06-Nov-00 08:49:37 GMT", now) == at(2000, 11, 6, 8, 49, 37));
    CHECK(parse_date("Sunday, 06-Nov-30 08:49:37 GMT", at(1999, 1, 1, 0, 0, 0)) ==
          at(1930, 11, 6, 8, 49, 37));
}

TEST_CASE("everything that departs from the grammar is no date", "[http][date]") {
    for (const char* text : {"",
                             "0",
                             "-1",
                             "now",
                             "Sun",
                             "Sun,",
                             ",",
                             "Sun, 06 Nov 1994",
                             "Sun, 06 Nov 1994 08:49:37",
                             "Sun, 06 Nov 1994 08:49:37 UTC",
                             "Sun, 06 Nov 1994 08:49:37 EST",
                             "Sun, 06 Nov 1994 08:49:37 +0000",
                             "Sun, 06 Nov 1994 08:49:37 GMT ",
                             " Sun, 06 Nov 1994 08:49:37 GMT",
                             "Sun,  06 Nov 1994 08:49:37 GMT",
                             "Sun, 6 Nov 1994 08:49:37 GMT",
                             "Sun, 06 Nov 94 08:49:37 GMT",
                             "Sun, 06-Nov-1994 08:49:37 GMT",
                             "Sunday, 06 Nov 1994 08:49:37 GMT",
                             "Sunday, 06-Nov-1994 08:49:37 GMT",
                             "Sun, 06 November 1994 08:49:37 GMT",
                             "Xxx, 06 Nov 1994 08:49:37 GMT",
                             "Sun, 06 Xxx 1994 08:49:37 GMT",
                             "Sun, 31 Feb 1994 08:49:37 GMT",
                             "Sun, 00 Nov 1994 08:49:37 GMT",
                             "Sun, 32 Nov 1994 08:49:37 GMT",
                             "Sun, 06 Nov 1994 24:00:00 GMT",
                             "Sun, 06 Nov 1994 08:60:00 GMT",
                             "Sun, 06 Nov 1994 08:49:61 GMT",
                             "Sun, 06 Nov 1994 8:49:37 GMT",
                             "Sun, 06 Nov 1994 08:49 GMT",
                             "Sun, 06 Nov 1994 08.49.37 GMT",
                             "Sun Nov 6 08:49:37 1994",
                             "Sun Nov 06 08:49:37 94",
                             "Sun Nov  6 08:49:37 1994 GMT",
                             "1994-11-06T08:49:37Z",
                             "784111777",
                             "Sun, 06 Nov 1994 08:49:37 GMT; foo",
                             "\"Sun, 06 Nov 1994 08:49:37 GMT\"",
                             "Wed, 29 Feb 2023 00:00:00 GMT"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_date(text, now));
    }
}

TEST_CASE("dates are written as IMF-fixdate and read back", "[http][date]") {
    CHECK(format_date(at(1994, 11, 6, 8, 49, 37)) == "Sun, 06 Nov 1994 08:49:37 GMT");
    CHECK(format_date(at(1994, 11, 6, 8, 49, 37) + std::chrono::milliseconds(999)) ==
          "Sun, 06 Nov 1994 08:49:37 GMT");
    CHECK(format_date(WallTime{}) == "Thu, 01 Jan 1970 00:00:00 GMT");
    for (WallTime t = at(1969, 12, 1, 23, 59, 59); t < at(1972, 12, 31, 0, 0, 0); t += std::chrono::hours(37))
        REQUIRE(parse_date(format_date(t), now) == t);
}

}  // namespace date_test
