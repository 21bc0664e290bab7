#include <smartcache/http/semantics/targeted.hpp>

#include "http/support/site.hpp"
#include "support/catch.hpp"

namespace targeted_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;
using smartcache_test::Site;

namespace {
const std::vector<std::string> cdn{"CDN-Cache-Control"};

CacheControl control_of(std::string_view field) {
    return response_control({{"Cache-Control", "max-age=7"}, {"CDN-Cache-Control", field}}, cdn);
}
}  // namespace

TEST_CASE("RFC 9213 section 2.1: a targeted field is a dictionary, or nothing at all", "[http][targeted]") {
    for (const char* valid :
         {"max-age=60", "max-age=60, foobar", "foobar;a=1;b, max-age=60;x=\"y\"", " max-age=60 ",
          "max-age=5, max-age=60", "max-age=60 ,\ta=?0,b=:aGk=:,c=@5,d=(x \"y\";p 1.5 ),e=*t/:x"}) {
        CAPTURE(valid);
        CHECK(control_of(valid).targeted);
        CHECK(control_of(valid).max_age.seconds() == 60s);
    }
    // "If a targeted field in a given response is empty, or a parsing error is encountered, that field MUST
    // be ignored".
    for (const char* invalid : {"",
                                " ",
                                "Max-Age=60",
                                "MAX-AGE=60",
                                "max-age =60",
                                "max-age= 60",
                                "max-age=60,",
                                ",max-age=60",
                                "max-age=60 no-store",
                                "max-age=60; ",
                                "&&&",
                                "max-age=60, a=",
                                "a=\"x",
                                "a=(x",
                                "a=(x\"y\")",
                                "a=1.",
                                "a=1.2345",
                                "a=1234567890123456",
                                "a=-",
                                "a=?2",
                                "a=:x",
                                "a=@1.5",
                                "a=\"\\x\"",
                                "a=\"\x7f\"",
                                "a;B"}) {
        CAPTURE(invalid);
        CHECK_FALSE(control_of(invalid).targeted);
        CHECK(control_of(invalid).max_age.seconds() == 7s);
    }
}

TEST_CASE("RFC 9213 section 2.1: directives of a wrong type never lengthen a lifetime", "[http][targeted]") {
    for (const char* wrong :
         {"max-age=\"60\"", "max-age=6.5", "max-age=-60", "max-age", "max-age=x", "max-age=(60)"}) {
        CAPTURE(wrong);
        CHECK(control_of(wrong).targeted);
        CHECK(control_of(wrong).max_age.seconds() == 0s);
    }
    CHECK(control_of("no-store=?0, a").no_store == false);
    CHECK(control_of("no-store").no_store);
    CHECK(control_of("private;x=1").private_.whole);
    CHECK(control_of("no-cache=(\"set-cookie\" foo)").no_cache.fields ==
          std::vector<std::string>{"set-cookie", "foo"});
    CHECK(control_of("no-cache=\"a, B\"").no_cache.fields == std::vector<std::string>{"a", "b"});
}

TEST_CASE("RFC 9213 section 2.2: the first valid field of the target list decides, without Expires",
          "[http][targeted]") {
    const std::vector<std::string> list{"Mine-Cache-Control", "CDN-Cache-Control"};
    const Headers both{{"CDN-Cache-Control", "max-age=1"}, {"Mine-Cache-Control", "max-age=2"}};
    CHECK(response_control(both, list).max_age.seconds() == 2s);
    CHECK(response_control(both, cdn).max_age.seconds() == 1s);
    CHECK_FALSE(response_control(both, {}).present);
    const Headers lines{{"CDN-Cache-Control", "max-age=9"}, {"CDN-Cache-Control", "public"}};
    CHECK(response_control(lines, cdn).public_);
    CHECK(response_control(lines, cdn).max_age.seconds() == 9s);

    Site site;
    site.counts({{"CDN-Cache-Control", "public"}, {"Expires", site.date(1h)}}, 299);
    site.get("/expires");
    CHECK(site.get("/expires").body == "2");
    site.counts({{"CDN-Cache-Control", "max-age=10"}, {"Cache-Control", "no-store"}, {"Expires", "0"}});
    site.get("/long");
    site.clock.advance(9s);
    CHECK(site.get("/long").headers.get("X-Cache") == "HIT");
    site.clock.advance(1s);
    CHECK(site.get("/long").headers.get("X-Cache") == "MISS");
    site.counts({{"CDN-Cache-Control", "no-store"}, {"Cache-Control", "max-age=10"}});
    site.get("/never");
    CHECK(site.get("/never").headers.get("Cache-Status") == "SmartCache; fwd=uri-miss; detail=no_store");
}

}  // namespace targeted_test
