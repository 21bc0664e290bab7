#include <smartcache/http/semantics/conditional.hpp>

#include <initializer_list>
#include <string>

#include "support/catch.hpp"

namespace conditional_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;

namespace {
const WallTime now{1'000'000'000s};
const std::string t0 = format_date(now);
const std::string before = format_date(now - 10s);
const std::string later = format_date(now + 10s);
}  // namespace

TEST_CASE("RFC 9110 section 13.2.2, RFC 9111 section 4.3.2: when the answer is 304", "[http][conditional]") {
    struct Case {
        const char* what;
        Headers request;
        Headers stored;
        bool not_modified;
    };
    const Headers tagged{{"ETag", "\"a\""}, {"Last-Modified", t0}};
    for (const Case& c : std::initializer_list<Case>{
             {"no condition", {}, tagged, false},
             {"the same tag", {{"If-None-Match", "\"a\""}}, tagged, true},
             {"one of a list, weakly", {{"If-None-Match", "\"x\", W/\"a\""}}, tagged, true},
             {"on another line", {{"If-None-Match", "\"x\""}, {"if-none-match", "\"a\""}}, tagged, true},
             {"a comma in a tag", {{"If-None-Match", "\"x,\"a\""}}, {{"ETag", "\"x,\""}}, false},
             {"a backslash in a tag", {{"If-None-Match", "\"x\\\", \"a\""}}, tagged, true},
             {"that tag", {{"If-None-Match", "\"x\\\", \"a\""}}, {{"ETag", "\"x\\\""}}, true},
             {"an empty member", {{"If-None-Match", ", ,\"a\""}}, tagged, true},
             {"another tag", {{"If-None-Match", "\"A\""}}, tagged, false},
             {"any", {{"If-None-Match", "*"}}, {}, true},
             {"weak stored", {{"If-None-Match", "\"a\""}}, {{"ETag", "W/\"a\""}}, true},
             {"lower-case w is no weak tag", {{"If-None-Match", "w/\"a\""}}, tagged, false},
             {"unquoted is another tag", {{"If-None-Match", "a"}}, tagged, false},
             {"the tag decides alone",
              {{"If-None-Match", "\"b\""}, {"If-Modified-Since", later}},
              tagged,
              false},
             {"no stored tag", {{"If-None-Match", "\"a\""}}, {{"Last-Modified", t0}}, false},
             {"same date", {{"If-Modified-Since", t0}}, tagged, true},
             {"later date", {{"If-Modified-Since", later}}, tagged, true},
             {"earlier date", {{"If-Modified-Since", before}}, tagged, false},
             {"no date", {{"If-Modified-Since", "yesterday"}}, tagged, false},
             {"two dates", {{"If-Modified-Since", t0}, {"If-Modified-Since", later}}, tagged, false},
             {"Date for Last-Modified", {{"If-Modified-Since", t0}}, {{"Date", t0}}, true},
             {"Date is later", {{"If-Modified-Since", before}}, {{"Date", t0}}, false},
             {"arrival for both", {{"If-Modified-Since", t0}}, {}, true},
             {"arrival is later", {{"If-Modified-Since", before}}, {}, false},
         }) {
        CAPTURE(c.what);
        CHECK(not_modified(c.request, c.stored, 200, now, now) == c.not_modified);
    }
    // RFC 9110 section 13.2.1: conditions are for what would be a success
    CHECK_FALSE(not_modified({{"If-None-Match", "\"a\""}}, tagged, 404, now, now));
}

TEST_CASE("RFC 9110 section 8.8.3.2: strong and weak comparison", "[http][conditional]") {
    struct Case {
        const char* a;
        const char* b;
        bool strong;
        bool weak;
    };
    for (const Case& c : std::initializer_list<Case>{{"W/\"1\"", "W/\"1\"", false, true},
                                                     {"W/\"1\"", "W/\"2\"", false, false},
                                                     {"W/\"1\"", "\"1\"", false, true},
                                                     {"\"1\"", "\"1\"", true, true}}) {
        CHECK(parse_entity_tag(c.a).matches_strongly(parse_entity_tag(c.b)) == c.strong);
        CHECK(parse_entity_tag(c.a).matches_weakly(parse_entity_tag(c.b)) == c.weak);
    }
}

TEST_CASE("RFC 9111 section 4.3.1: a validation carries the stored validators instead of the client's",
          "[http][conditional]") {
    Headers request{{"If-None-Match", "\"client\""}, {"If-Range", "\"x\""}, {"Accept", "*/*"}};
    CHECK(make_conditional(request, {{"ETag", "W/\"stored\""}, {"Last-Modified", t0}}));
    CHECK(request.wire() ==
          "Accept: */*\r\nIf-None-Match: W/\"stored\"\r\nIf-Modified-Since: " + t0 + "\r\n");
    Headers untouched{{"If-None-Match", "\"client\""}};
    CHECK_FALSE(make_conditional(untouched, {{"Content-Type", "x"}}));
    CHECK(untouched.size() == 1);
}

TEST_CASE("RFC 9111 section 3.2: a 304 replaces fields, but not Content-Length", "[http][conditional]") {
    Headers stored{{"Content-Length", "10"},
                   {"Cache-Control", "max-age=1"},
                   {"X-Old", "kept"},
                   {"X", "1"},
                   {"X", "2"},
                   {"Age", "9"}};
    freshen(stored, {{"Content-Length", "0"}, {"cache-control", "max-age=2"}, {"X", "3"}, {"X-New", "n"}});
    CHECK(stored.wire() ==
          "Content-Length: 10\r\nX-Old: kept\r\ncache-control: max-age=2\r\nX: 3\r\nX-New: n\r\n");
}

TEST_CASE("RFC 9111 section 3.2: only of a stored part Content-Range stays as it is", "[http][conditional]") {
    const Headers update{{"Content-Range", "bytes 0-0/9"}};
    Headers part{{"Content-Range", "bytes 2-4/9"}};
    freshen(part, update, true);
    CHECK(part.combined("Content-Range") == "bytes 2-4/9");
    Headers whole{{"Content-Range", "means nothing here"}};
    freshen(whole, update);
    CHECK(whole.combined("Content-Range") == "bytes 0-0/9");
}

TEST_CASE("RFC 9111 section 4.3.4: a 304 speaks only of the response its validator names",
          "[http][conditional]") {
    const Headers strong{{"ETag", "\"a\""}, {"Last-Modified", t0}};
    CHECK(selects({}, strong));
    CHECK(selects({{"ETag", "\"a\""}}, strong));
    CHECK_FALSE(selects({{"ETag", "\"b\""}}, strong));
    CHECK(selects({{"ETag", "W/\"a\""}}, {{"ETag", "W/\"a\""}}));
    CHECK_FALSE(selects({{"ETag", "\"a\""}}, {{"Last-Modified", t0}}));
    CHECK(selects({{"Last-Modified", t0}}, strong));
    CHECK_FALSE(selects({{"Last-Modified", later}}, strong));
}

TEST_CASE("RFC 9110 section 15.4.5: what a 304 carries", "[http][conditional]") {
    const Response r = make_not_modified({{"ETag", "\"a\""},
                                          {"Date", t0},
                                          {"Cache-Control", "max-age=1"},
                                          {"Vary", "x"},
                                          {"Content-Location", "/l"},
                                          {"Expires", "0"},
                                          {"Content-Type", "t"},
                                          {"Content-Length", "3"},
                                          {"Content-Encoding", "gzip"},
                                          {"Last-Modified", t0}});
    CHECK(r.status == 304);
    CHECK(r.body.empty());
    for (const char* kept : {"ETag", "Date", "Cache-Control", "Vary", "Content-Location", "Expires"})
        CHECK(r.headers.has(kept));
    CHECK(r.headers.size() == 6);
    CHECK(make_not_modified({{"Last-Modified", t0}}).headers.has("Last-Modified"));
}

}  // namespace conditional_test
