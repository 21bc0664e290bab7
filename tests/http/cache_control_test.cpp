#include <smartcache/http/cache_control.hpp>

#include <string>
#include <vector>

#include "support/catch.hpp"

namespace cache_control_test {

using namespace smartcache::http;

TEST_CASE("RFC 9111 section 5.2: directives are read in any case, with tokens or quoted strings",
          "[http][cache_control]") {
    const CacheControl c =
        CacheControl::parse("MAX-AGE=60, s-MaxAge=\"120\" ,no-store,, Public , unknown=\"a, no-cache\"");
    CHECK(c.max_age.value == Seconds(60));
    CHECK(c.s_maxage.value == Seconds(120));
    CHECK(c.no_store);
    CHECK(c.public_);
    CHECK_FALSE(c.no_cache);  // inside another directive's string
    CHECK(c.present);
}

TEST_CASE("a number of seconds is digits and nothing else", "[http][cache_control]") {
    struct Case {
        const char* text;
        bool valid;
        std::int64_t seconds;
    };
    const std::int64_t most = std::int64_t{1} << 31;
    for (const Case& c : std::initializer_list<Case>{{"max-age=0", true, 0},
                                                     {"max-age=3600", true, 3600},
                                                     {"max-age=007", true, 7},
                                                     {"max-age=\"60\"", true, 60},
                                                     {"max-age=2147483647", true, most - 1},
                                                     // section 1.2.2: larger values are 2^31
                                                     {"max-age=2147483649", true, most},
                                                     {"max-age=99999999999999999999999", true, most},
                                                     // section 4.2.1: invalid ones are stale
                                                     {"max-age", false, 0},
                                                     {"max-age=", false, 0},
                                                     {"max-age=-1", false, 0},
                                                     {"max-age=+1", false, 0},
                                                     {"max-age=1.5", false, 0},
                                                     {"max-age=60s", false, 0},
                                                     {"max-age='60'", false, 0},
                                                     {"max-age=1e3", false, 0},
                                                     {"max-age=0x10", false, 0},
                                                     {"max-age= 60", false, 0},
                                                     {"max-age =60", false, 0},
                                                     {"max-age=\"6", true, 6}}) {
        CAPTURE(c.text);
        const CacheControl control = CacheControl::parse(c.text);
        CHECK(control.max_age.present);
        CHECK(control.max_age.value.has_value() == c.valid);
        CHECK(control.max_age.seconds() == Seconds(c.seconds));
    }
    CHECK_FALSE(CacheControl::parse("x-max-age=60").max_age.present);
    CHECK_FALSE(CacheControl::parse("max-age2=60").max_age.present);
}

TEST_CASE("of repeated directives the first counts (RFC 9111 section 4.2.1)", "[http][cache_control]") {
    Headers h{{"Cache-Control", "max-age=1"}, {"Expires", "0"}, {"cache-control", "max-age=100, no-cache"}};
    const CacheControl c = CacheControl::parse(h);
    CHECK(c.max_age.value == Seconds(1));
    CHECK(c.no_cache.whole);
    CHECK_FALSE(CacheControl::parse("max-age=x, max-age=100").max_age.value);
}

TEST_CASE("no-cache and private may name fields (RFC 9111 sections 5.2.2.4 and 5.2.2.7)",
          "[http][cache_control]") {
    const CacheControl c = CacheControl::parse("private=\"Set-Cookie, X-User\", no-cache=foo");
    CHECK_FALSE(c.private_.whole);
    CHECK(c.private_.fields == std::vector<std::string>{"set-cookie", "x-user"});
    CHECK(c.no_cache.fields == std::vector<std::string>{"foo"});
    CHECK_FALSE(c.no_cache.whole);

    CHECK(CacheControl::parse("private").private_.whole);
    CHECK(CacheControl::parse("private=\"\"").private_.whole);
    CHECK(CacheControl::parse("private=\"a\", private").private_.whole);
    CHECK_FALSE(CacheControl::parse("max-age=1").private_);
    // An unterminated string swallows the rest: nothing permissive may come out of it.
    CHECK_FALSE(CacheControl::parse("private=\"a, public, max-age=9").public_);
}

TEST_CASE("an unterminated string hides nothing that forbids (RFC 9110 section 5.6.4)",
          "[http][cache_control]") {
    CHECK(CacheControl::parse("max-age=60, foo=\"bar, no-store").no_store);
    CHECK(CacheControl::parse("max-age=60, foo=\"bar\\\", no-store").no_store);
    CHECK(CacheControl::parse("foo=\"bar, NO-CACHE ,x").no_cache.whole);
    CHECK(CacheControl::parse("foo=\"bar, no-cache=\"a").no_cache.fields.empty());
    CHECK(CacheControl::parse("foo=\"bar,private").private_.whole);
    CHECK(CacheControl::parse("private=\"a, b").private_.whole);
    CHECK(CacheControl::parse(Headers{{"Cache-Control", "foo=\"bar, no-store"}}).no_store);
    // A line of its own is not the end of another's string.
    CHECK(CacheControl::parse(Headers{{"Cache-Control", "foo=\"bar"}, {"Cache-Control", "max-age=5"}})
              .max_age.seconds() == Seconds(5));
    const CacheControl rest = CacheControl::parse("foo=\"bar, public, max-age=9, must-revalidate");
    CHECK_FALSE(rest.public_);
    CHECK_FALSE(rest.max_age);
    CHECK_FALSE(CacheControl::parse("foo=\"bar, no-store\", max-age=60").no_store);
}

TEST_CASE("max-stale without an argument means any staleness (RFC 9111 section 5.2.1.2)",
          "[http][cache_control]") {
    CHECK(CacheControl::parse("max-stale").max_stale.present);
    CHECK_FALSE(CacheControl::parse("max-stale").max_stale.value);
    CHECK(CacheControl::parse("max-stale=10").max_stale.value == Seconds(10));
    CHECK(CacheControl::parse("max-stale=x").max_stale.value == Seconds(0));
}

TEST_CASE("extensions are read: RFC 5861 and RFC 8246", "[http][cache_control]") {
    const CacheControl c =
        CacheControl::parse("stale-while-revalidate=30, stale-if-error=\"600\", immutable, must-understand");
    CHECK(c.stale_while_revalidate.seconds() == Seconds(30));
    CHECK(c.stale_if_error.seconds() == Seconds(600));
    CHECK(c.immutable);
    CHECK(c.must_understand);
}

}  // namespace cache_control_test
