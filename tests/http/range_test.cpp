#include <smartcache/http/semantics/range.hpp>

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"

namespace range_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;

namespace {
const WallTime now{1'000'000'000s};
using Ranges = std::optional<std::vector<ByteRange>>;

Response ask(const char* range, Headers more = {}, Headers stored = {}) {
    Request request;
    request.headers = std::move(more);
    request.headers.add("Range", range);
    stored.add("Content-Type", "text/plain");
    return apply_range(request, Response{200, std::move(stored), "0123456789"}, now);
}

std::string boundary_of(const Response& parts) {
    constexpr std::string_view type = "multipart/byteranges; boundary=";
    const std::string_view text = parts.headers.value("Content-Type");
    REQUIRE(text.starts_with(type));
    return std::string(text.substr(type.size()));
}
}  // namespace

TEST_CASE("RFC 9110 section 14.1.2: byte ranges", "[http][range]") {
    struct Case {
        const char* text;
        Ranges ranges;
    };
    for (const Case& c : std::initializer_list<Case>{
             {"bytes=0-0", {{{0, 0}}}},
             {"bytes=2-4", {{{2, 4}}}},
             {"Bytes=2-4", {{{2, 4}}}},
             {"bytes=7-", {{{7, 9}}}},
             {"bytes=-3", {{{7, 9}}}},
             {"bytes=-99", {{{0, 9}}}},
             {"bytes=5-99999999999999999999999", {{{5, 9}}}},
             {"bytes= 0-1 , 3-4", {{{0, 1}, {3, 4}}}},
             {"bytes=0-1,,3-4", {{{0, 1}, {3, 4}}}},
             {"bytes=10-", std::vector<ByteRange>{}},  // valid, nothing there
             {"bytes=-0", std::vector<ByteRange>{}},
             {"bytes=99-100, 2-2", {{{2, 2}}}},
             {"bytes=4-2", {}},
             {"bytes=", {}},
             {"bytes", {}},
             {"bytes=-", {}},
             {"bytes=a-b", {}},
             {"bytes=1", {}},
             {"bytes=1-2x", {}},
             {"bytes=1--2", {}},
             {"bytes=0-1, x", {}},
             {"lines=0-1", {}},
             {"0-1", {}},
         }) {
        CAPTURE(c.text);
        CHECK(parse_range(c.text, 10) == c.ranges);
    }
    std::string many = "bytes=0-0";
    for (int i = 0; i < 16; ++i) many += ",0-0";
    CHECK_FALSE(parse_range(many, 10));
    CHECK(parse_range("bytes=0-", 0) == Ranges(std::vector<ByteRange>{}));
}

TEST_CASE("RFC 9110 sections 14.2 and 14.4: one part, several parts, none", "[http][range]") {
    const Response part = ask("bytes=2-4");
    CHECK(part.status == 206);
    CHECK(part.body == "234");
    CHECK(part.headers.get("Content-Range") == "bytes 2-4/10");
    CHECK(part.headers.get("Content-Length") == "3");

    const Response parts = ask("bytes=0-1, -2");
    CHECK(parts.status == 206);
    const std::string boundary = boundary_of(parts);
    CHECK(parts.body == "\r\n--" + boundary +
                            "\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n--" +
                            boundary +
                            "\r\nContent-Type: text/plain\r\nContent-Range: bytes 8-9/10\r\n\r\n89\r\n--" +
                            boundary + "--\r\n");
    CHECK(parts.headers.get("Content-Length") == std::to_string(parts.body.size()));

    const Response none = ask("bytes=10-");
    CHECK(none.status == 416);
    CHECK(none.body.empty());
    CHECK(none.headers.get("Content-Range") == "bytes */10");

    CHECK(ask("bytes=x").status == 200);
    CHECK(ask("bytes=0-8, 1-9").status == 200);  // overlapping: more than the whole
    Request head;
    head.method = "HEAD";
    head.headers = {{"Range", "bytes=0-0"}};
    CHECK(apply_range(head, Response{200, {}, "x"}, now).status ==
          200);  // section 14.2: only defined for GET
    Request get;
    get.headers = {{"Range", "bytes=0-0"}};
    CHECK(apply_range(get, Response{404, {}, "x"}, now).status == 404);
}

TEST_CASE("RFC 2046 section 5.1.1: the boundary is one that no content can be prepared for",
          "[http][range]") {
    Request request;
    request.headers = {{"Range", "bytes=0-1, -2"}};
    const Response first = apply_range(request, Response{200, {}, "0123456789"}, now);
    const std::string boundary = boundary_of(first);
    CHECK(http::detail::is_token(boundary));
    CHECK(boundary.size() <= 70);
    // Drawn anew each time: what content holds says nothing about the next one.
    const Response next = apply_range(request, Response{200, {}, "0123456789"}, now);
    CHECK(boundary_of(next) != boundary);
}

TEST_CASE("RFC 9110 section 13.1.5: If-Range wants the same strong validator, else the whole is sent",
          "[http][range]") {
    const std::string old = format_date(now - 1h);
    const Headers stored{{"ETag", "\"1\""}, {"Last-Modified", old}, {"Date", format_date(now)}};
    struct Case {
        std::string value;
        int status;
    };
    for (const Case& c : std::initializer_list<Case>{{"\"1\"", 206},
                                                     {"\"2\"", 200},
                                                     {"W/\"1\"", 200},
                                                     {old, 206},
                                                     {format_date(now - 2h), 200},
                                                     {format_date(now), 200},
                                                     {"nonsense", 200}}) {
        CAPTURE(c.value);
        CHECK(ask("bytes=0-0", {{"If-Range", c.value}}, stored).status == c.status);
    }
    CHECK(ask("bytes=0-0", {{"If-Range", "W/\"1\""}}, {{"ETag", "W/\"1\""}}).status == 200);
    // Changed in the second it was made: a weak date.
    CHECK(ask("bytes=0-0", {{"If-Range", old}}, {{"Last-Modified", old}, {"Date", old}}).status == 200);
}

}  // namespace range_test
