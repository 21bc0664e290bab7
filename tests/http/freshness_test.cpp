#include <smartcache/http/semantics/freshness.hpp>

#include <initializer_list>
#include <string>

#include "support/catch.hpp"

namespace freshness_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;

TEST_CASE("RFC 9111 section 4.2.1: s-maxage, then max-age, then Expires minus Date", "[http][freshness]") {
    const WallTime now{1'000'000'000s};
    const std::string date = format_date(now - 10s);
    const std::string soon = format_date(now + 50s);
    struct Case {
        const char* what;
        Headers headers;
        FreshnessSource source;
        Duration lifetime;
    };
    using S = FreshnessSource;
    for (const Case& c : std::initializer_list<Case>{
             {"nothing", {{"Last-Modified", date}}, S::none, 0s},
             {"s-maxage wins",
              {{"Cache-Control", "max-age=1, s-maxage=5"}, {"Expires", soon}},
              S::s_maxage,
              5s},
             {"max-age wins over Expires",
              {{"Cache-Control", "max-age=7"}, {"Expires", soon}},
              S::max_age,
              7s},
             {"max-age=0 is stale, not silent (D15)",
              {{"Cache-Control", "max-age=0"}, {"Expires", soon}},
              S::max_age,
              0s},
             {"an invalid s-maxage is stale", {{"Cache-Control", "s-maxage=x, max-age=7"}}, S::s_maxage, 0s},
             {"Expires counts from Date", {{"Expires", soon}, {"Date", date}}, S::expires, 60s},
             {"without Date from arrival", {{"Expires", soon}}, S::expires, 50s},
             {"Expires in the past", {{"Expires", date}}, S::expires, 0s},
             {"Expires: 0 (section 5.3)", {{"Expires", "0"}}, S::expires, 0s},
             {"Expires: -1", {{"Expires", "-1"}}, S::expires, 0s},
             {"empty Expires", {{"Expires", ""}}, S::expires, 0s},
             {"another zone", {{"Expires", "Sun, 09 Sep 2091 01:46:40 EST"}}, S::expires, 0s},
             {"the first of two lines", {{"Expires", "0"}, {"Expires", soon}}, S::expires, 0s},
         }) {
        CAPTURE(c.what);
        const Freshness f = explicit_freshness(CacheControl::parse(c.headers), c.headers, now);
        CHECK(f.source == c.source);
        CHECK(f.lifetime == c.lifetime);
    }
}

TEST_CASE("RFC 9110 section 15.1: the statuses for which a lifetime may be guessed", "[http][freshness]") {
    for (const int status : {200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
        CHECK(heuristically_cacheable(status));
    for (const int status : {201, 202, 302, 303, 304, 307, 400, 401, 403, 500, 502, 503, 504, 599, 299})
        CHECK_FALSE(heuristically_cacheable(status));
}

}  // namespace freshness_test
