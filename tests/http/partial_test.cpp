#include <smartcache/http/semantics/partial.hpp>

#include <string>
#include <string_view>

#include "http/support/site.hpp"
#include "support/catch.hpp"

namespace partial_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;
using smartcache_test::Site;

namespace {
const WallTime now{1'000'000'000s};
const std::string digits = "0123456789";

/// Bytes [first, last] of ten digits.
Response part(std::size_t first, std::size_t last, Headers headers = {{"ETag", "\"1\""}}) {
    headers.add("Content-Range", "bytes " + std::to_string(first) + "-" + std::to_string(last) + "/10");
    return {206, std::move(headers), digits.substr(first, last - first + 1)};
}

/// A site whose origin has ten digits, and cuts ranges out of them as it is asked.
struct Digits : Site {
    Digits() {
        origin = [this](const Request& request) {
            Response whole{200, {{"Cache-Control", "max-age=60"}, {"Date", date()}}, content};
            whole.headers.add("ETag", tag);
            if (request.headers.value("If-None-Match") == tag) return Response{304, whole.headers, {}};
            return apply_range(request, std::move(whole), clock.wall());
        };
    }
    Response range(std::string_view wanted, Headers more = {}) {
        more.add("Range", wanted);
        return get("/a", std::move(more));
    }
    std::string tag = "\"1\"";
    std::string content = digits;
};
}  // namespace

TEST_CASE("RFC 9110 section 14.4: a Content-Range is read only where it can be relied upon",
          "[http][partial]") {
    const auto good = parse_content_range("bytes 2-4/10");
    REQUIRE(good);
    CHECK(good->range == ByteRange{2, 4});
    CHECK(good->size == 10);
    CHECK_FALSE(good->whole());
    CHECK(parse_content_range("BYTES 0-9/10")->whole());
    for (const char* bad : {"", "bytes", "bytes 2-4/*", "bytes */10", "bytes 4-2/10", "bytes 2-10/10",
                            "lines 2-4/10", "bytes=2-4/10", "bytes 2-4", "bytes -4/10", "bytes 2-/10",
                            "bytes 2-4/", "2-4/10", "bytes 2 -4/10", "bytes 0-0/0", "bytes 2/4-10"}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_content_range(bad));
    }
    CHECK(part_of({{"Content-Range", "bytes 2-4/10"}}, 3));
    CHECK_FALSE(part_of({{"Content-Range", "bytes 2-4/10"}}, 4));
    CHECK_FALSE(part_of({{"Content-Range", "bytes 2-4/10"}, {"Content-Range", "bytes 2-4/10"}}, 3));
    CHECK_FALSE(part_of({}, 3));
}

TEST_CASE("RFC 9111 section 3.3: a part answers only ranges that lie wholly within it", "[http][partial]") {
    const Response stored = part(4, 8);
    const auto wanted = [&](const char* range, Headers more = {}) {
        Request request;
        request.headers = std::move(more);
        request.headers.add("Range", range);
        return wanted_of(request, stored.headers, stored.body.size(), now);
    };
    CHECK(wanted("bytes=4-8") == ByteRange{4, 8});
    CHECK(wanted("bytes=6-7") == ByteRange{6, 7});
    for (const char* outside : {"bytes=3-8", "bytes=4-9", "bytes=4-", "bytes=-2", "bytes=0-1",
                                "bytes=4-5,7-8", "bytes=20-", "lines=4-8", "bytes=x"}) {
        CAPTURE(outside);
        CHECK_FALSE(wanted(outside));
    }
    CHECK(wanted("bytes=5-6", {{"If-Range", "\"1\""}}));
    CHECK_FALSE(wanted("bytes=5-6", {{"If-Range", "\"2\""}}));
    const Response cut = cut_part(stored, {6, 7});
    CHECK(cut.body == "67");
    CHECK(cut.headers.get("Content-Range") == "bytes 6-7/10");
    CHECK(cut.headers.get("Content-Length") == "2");
    CHECK(cut.body.view().data() == stored.body.view().data() + 2);  // not copied
}

TEST_CASE("RFC 9111 section 3.4: only parts with one strong validator that touch are combined",
          "[http][partial]") {
    const auto both = [](const Response& a, const Response& b, bool proven = false) {
        return combine(a.headers, a.body.view(), b, proven, now);
    };
    CHECK(both(part(0, 4), part(5, 9))->status == 200);
    CHECK(both(part(0, 4), part(5, 9))->body == digits);
    CHECK_FALSE(both(part(0, 4), part(5, 9))->headers.has("Content-Range"));
    CHECK(both(part(0, 4), part(5, 9))->headers.get("Content-Length") == "10");
    CHECK(both(part(5, 9), part(0, 4))->body == digits);
    CHECK(both(part(0, 6), part(3, 9))->body == digits);
    CHECK(both(part(3, 9), part(0, 6))->body == digits);
    CHECK(both(part(2, 3), part(0, 9))->body == digits);
    const auto middle = both(part(2, 7), part(4, 5));
    CHECK(middle->status == 206);
    CHECK(middle->body == "234567");
    CHECK(middle->headers.get("Content-Range") == "bytes 2-7/10");
    CHECK_FALSE(both(part(0, 3), part(5, 9)));

    // Section 4.3.4: strong comparison.
    CHECK_FALSE(both(part(0, 4), part(5, 9, {{"ETag", "\"2\""}})));
    CHECK_FALSE(both(part(0, 4, {{"ETag", "W/\"1\""}}), part(5, 9, {{"ETag", "W/\"1\""}})));
    CHECK_FALSE(both(part(0, 4, {}), part(5, 9, {})));
    CHECK_FALSE(both(part(0, 4), part(5, 9, {})));
    CHECK(both(part(0, 4), part(5, 9, {}), true));  // RFC 9110 section 15.3.7: If-Range need not be repeated
    CHECK_FALSE(both(part(0, 4), part(5, 9, {{"ETag", "\"2\""}}), true));
    const std::string date = format_date(now), old = format_date(now - 60s), young = format_date(now - 59s);
    CHECK(both(part(0, 4, {{"Date", date}, {"Last-Modified", old}}),
               part(5, 9, {{"Date", date}, {"Last-Modified", old}})));
    CHECK_FALSE(both(part(0, 4, {{"Date", date}, {"Last-Modified", young}}),
                     part(5, 9, {{"Date", date}, {"Last-Modified", young}})));
    Response other_size = part(5, 9);
    other_size.headers.set("Content-Range", "bytes 5-9/11");
    CHECK_FALSE(both(part(0, 4), other_size));
    // RFC 9110 section 15.3.7.3: the newer fields win.
    CHECK(both(part(0, 4, {{"ETag", "\"1\""}, {"A", "old"}, {"B", "old"}}),
               part(5, 9, {{"ETag", "\"1\""}, {"A", "new"}}))
              ->headers.combined("A") == "new");
}

TEST_CASE("a part is stored and answers later ranges", "[http][rfc][partial]") {
    Digits site;
    CHECK(site.range("bytes=-6").headers.get("Cache-Status") == "SmartCache; fwd=uri-miss; ttl=60; stored");
    for (const char* wanted : {"bytes=-6", "bytes=4-", "bytes=4-9", "bytes=4-100"}) {
        CAPTURE(wanted);
        const Response r = site.range(wanted);
        CHECK(r.status == 206);
        CHECK(r.body == "456789");
        CHECK(r.headers.get("Content-Range") == "bytes 4-9/10");
        CHECK(r.headers.get("X-Cache") == "HIT");
    }
    CHECK(site.range("bytes=6-8").body == "678");
    CHECK(site.range("bytes=6-8", {{"If-None-Match", "\"1\""}}).status == 304);
    CHECK(site.seen.size() == 1);
    // It is neither the whole nor the head of one.
    site.send(Site::request("HEAD", "/a"));
    CHECK(site.seen.back().method == "HEAD");
    CHECK(site.range("bytes=6-8").headers.get("X-Cache") == "HIT");
    // Stale: validated as what it is.
    site.clock.advance(60s);
    const Response r = site.range("bytes=6-8");
    CHECK(r.headers.get("X-Cache") == "REVALIDATED");
    CHECK(r.body == "678");
    CHECK(site.seen.back().headers.get("If-None-Match") == "\"1\"");
    CHECK(site.seen.back().headers.get("Range") == "bytes=6-8");
    CHECK(site.range("bytes=4-9").headers.get("X-Cache") == "HIT");
    // Changed: the new part replaces it.
    site.clock.advance(60s);
    site.tag = "\"2\"";
    site.content = "abcdefghij";
    CHECK(site.range("bytes=6-8").body == "ghi");
    CHECK(site.range("bytes=7-7").body == "h");
    CHECK(site.range("bytes=4-9").body == "efghij");
    CHECK(site.seen.back().headers.get("Range") == "bytes=4-9");
}

TEST_CASE("RFC 9111 section 3.3: a request for the whole completes a stored part", "[http][rfc][partial]") {
    for (const char* first : {"bytes=0-4", "bytes=5-9"}) {
        CAPTURE(first);
        Digits site;
        site.range(first);
        const Response whole = site.get("/a");
        CHECK(whole.status == 200);
        CHECK(whole.body == digits);
        CHECK_FALSE(whole.headers.has("Content-Range"));
        CHECK(whole.headers.get("Cache-Status") == "SmartCache; fwd=partial; ttl=60; stored");
        CHECK(site.seen.back().headers.get("Range") == (first[6] == '0' ? "bytes=5-" : "bytes=0-4"));
        CHECK(site.seen.back().headers.get("If-Range") == "\"1\"");
        CHECK(site.get("/a").headers.get("X-Cache") == "HIT");
        CHECK(site.get("/a").body == digits);
    }
    SECTION("what has changed comes whole") {
        Digits site;
        site.range("bytes=0-4");
        site.tag = "\"2\"";
        site.content = "abcdefghij";
        CHECK(site.get("/a").body == "abcdefghij");
        CHECK(site.get("/a").headers.get("X-Cache") == "HIT");
    }
    SECTION("a part from the middle, or without a strong validator, is not completed") {
        Digits site;
        site.range("bytes=3-4");
        CHECK(site.get("/a").body == digits);
        CHECK_FALSE(site.seen.back().headers.has("Range"));
        Digits weak;
        weak.tag = "W/\"1\"";
        weak.range("bytes=0-4");
        CHECK(weak.get("/a").body == digits);
        CHECK_FALSE(weak.seen.back().headers.has("Range"));
    }
    SECTION("an origin that contradicts itself gets no mixture through") {
        Digits site;
        site.range("bytes=0-4");
        site.answers({{"ETag", "\"2\""}, {"Content-Range", "bytes 5-9/10"}}, "fghij", 206);
        CHECK(site.get("/a").status == 502);
        site.answers({{"Cache-Control", "max-age=60"}}, "right");
        CHECK(site.get("/a").body == "right");
    }
    SECTION("an error passes through, and the part stays") {
        Digits site;
        site.range("bytes=0-4");
        const auto right = site.origin;
        site.answers({}, "", 503);
        CHECK(site.get("/a").status == 503);
        site.down = true;
        CHECK_THROWS(site.get("/a"));
        site.down = false;
        site.origin = right;
        CHECK(site.range("bytes=1-2").headers.get("X-Cache") == "HIT");
    }
}

TEST_CASE("RFC 9111 section 3.4: parts that clients ask for grow together", "[http][rfc][partial]") {
    Digits site;
    site.range("bytes=0-2");
    CHECK(site.range("bytes=3-6").body == "3456");
    CHECK(site.range("bytes=1-5").body == "12345");
    CHECK(site.seen.size() == 2);
    CHECK(site.range("bytes=7-9").body == "789");
    CHECK(site.get("/a").body == digits);
    CHECK(site.get("/a").headers.get("X-Cache") == "HIT");
    CHECK(site.seen.size() == 3);
    // Another version starts anew.
    Digits other;
    other.range("bytes=0-4");
    other.tag = "\"2\"";
    other.content = "abcdefghij";
    CHECK(other.range("bytes=5-9").body == "fghij");
    CHECK(other.get("/a").body == "abcdefghij");
}

TEST_CASE("parts that would grow too large are not written anew: the larger one is kept",
          "[http][rfc][partial]") {
    Digits site;
    site.content = std::string(max_completed_bytes + 10, 'x');
    const std::string most = std::to_string(max_completed_bytes - 3);
    site.range("bytes=0-" + most);
    const auto before = site.cache.contents();
    CHECK(site.range("bytes=" + most + "-" + std::to_string(max_completed_bytes + 1)).body == "xxxxx");
    CHECK(site.cache.contents() == before);
    CHECK(site.range("bytes=7-8").headers.get("X-Cache") == "HIT");
    CHECK(site.web.counters().reason(Reason::partial) == 1);
    // Up to the limit they do grow.
    site.range("bytes=" + most + "-" + std::to_string(max_completed_bytes - 1));
    CHECK(site.range("bytes=1-" + std::to_string(max_completed_bytes - 1)).headers.get("X-Cache") == "HIT");
    // What is larger, or of another version, replaces what is there.
    site.range("bytes=5-");
    CHECK(site.range("bytes=9-" + std::to_string(max_completed_bytes + 9)).headers.get("X-Cache") == "HIT");
    site.tag = "\"2\"";
    site.clock.advance(60s);
    CHECK(site.range("bytes=0-1").body == "xx");
    CHECK(site.range("bytes=0-1").headers.get("X-Cache") == "HIT");
}

TEST_CASE("RFC 9111 section 3.4: a part that holds every byte is stored as the whole",
          "[http][rfc][partial]") {
    CHECK_FALSE(as_whole(part(0, 8)));
    CHECK_FALSE(as_whole(Response{200, part(0, 9).headers, digits}));
    Digits site;
    site.tag = "W/\"1\"";  // no validator is needed: nothing is combined
    const Response all = site.range("bytes=0-");
    CHECK(all.status == 206);
    CHECK(all.headers.get("Content-Range") == "bytes 0-9/10");
    const Response whole = site.get("/a");
    CHECK(whole.status == 200);
    CHECK(whole.body == digits);
    CHECK(whole.headers.get("X-Cache") == "HIT");
    CHECK_FALSE(whole.headers.has("Content-Range"));
    CHECK(site.range("bytes=2-3").body == "23");
    CHECK(site.send(Site::request("HEAD", "/a")).headers.get("Content-Length") == "10");
    CHECK(site.seen.size() == 1);
}

TEST_CASE("a part never replaces a complete response, nor is one kept that says too little",
          "[http][rfc][partial]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=1, stale-if-error=600"}}, digits);
    site.get("/a");
    site.clock.advance(2s);
    site.answers({{"Cache-Control", "max-age=60"}, {"Content-Range", "bytes 0-1/10"}}, "01", 206);
    site.get("/a", {{"Range", "bytes=0-1"}});
    site.answers({}, "", 503);
    CHECK(site.get("/a").body == digits);

    for (const char* range : {"bytes 0-1/*", "bytes 0-2/10", ""}) {
        CAPTURE(range);
        site.answers({{"Cache-Control", "max-age=60"}, {"Content-Range", range}}, "01", 206);
        site.get("/b", {{"Range", "bytes=0-1"}});
        CHECK(site.get("/b", {{"Range", "bytes=0-1"}}).headers.get("X-Cache") == "MISS");
    }
    // Nobody asked for a part.
    site.answers({{"Cache-Control", "max-age=60"}, {"Content-Range", "bytes 0-1/10"}}, "01", 206);
    site.get("/c");
    CHECK(site.get("/c", {{"Range", "bytes=0-1"}}).headers.get("X-Cache") == "MISS");
    for (const char* control : {"no-store", "private, max-age=60"}) {
        CAPTURE(control);
        site.answers({{"Cache-Control", control}, {"Content-Range", "bytes 0-1/10"}}, "01", 206);
        site.get("/d", {{"Range", "bytes=0-1"}});
        CHECK(site.get("/d", {{"Range", "bytes=0-1"}}).headers.get("X-Cache") == "MISS");
    }
}

}  // namespace partial_test
