// Conversations through the middleware, each about one rule of RFC 9111, RFC 5861 or RFC 9110.
#include <smartcache/http/middleware.hpp>

#include <functional>
#include <initializer_list>
#include <string>
#include <utility>

#include "http/support/site.hpp"
#include "support/catch.hpp"

namespace middleware_rfc_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;
using smartcache_test::Site;

namespace {
/// Calls back once between finding and answering.
struct Hooked : smartcache_test::MapCache {
    using MapCache::MapCache;
    template <class View>
    Pin<View> get(std::string_view key) {
        Pin<View> found = MapCache::get<View>(key);
        if (const auto hook = std::exchange(behind_get, nullptr)) hook();
        return found;
    }
    std::function<void()> behind_get;
};
}  // namespace

TEST_CASE("RFC 9111 section 4.2.3: an Age that a response comes with counts", "[http][rfc]") {
    Site site;
    site.counts({{"Cache-Control", "max-age=60"}, {"Age", "50"}});
    site.get("/a");
    site.clock.advance(9s);
    const Response hit = site.get("/a");
    CHECK(hit.headers.get_all("Age") == std::vector<std::string_view>{"59"});
    site.clock.advance(1s);
    CHECK(site.get("/a").body == "2");
}

TEST_CASE("RFC 9110 section 6.6.1: Date is added where there is none, and never rewritten", "[http][rfc]") {
    Site site;
    const std::string old = site.date(-1h);
    site.answers({{"Cache-Control", "max-age=10000"}, {"Date", old}});
    CHECK(site.get("/a").headers.get_all("Date") == std::vector<std::string_view>{old});
    CHECK(site.get("/a").headers.get_all("Date") == std::vector<std::string_view>{old});
    site.answers({{"Cache-Control", "max-age=10000"}});
    const std::string now = site.date();
    CHECK(site.get("/b").headers.get("Date") == now);
    site.clock.advance(5s);
    CHECK(site.get("/b").headers.get("Date") == now);
    CHECK(site.get("/a").headers.get("Age") == "3605");
}

TEST_CASE("RFC 9111 section 4.1: Vary selects, several variants are kept, the most recent is used",
          "[http][rfc][vary]") {
    Site site;
    site.origin = [&](const Request& r) {
        return Response{200,
                        {{"Cache-Control", "max-age=60"}, {"Vary", "Accept-Language"}},
                        r.headers.combined("Accept-Language")};
    };
    const auto get = [&](const char* language) { return site.get("/a", {{"Accept-Language", language}}); };
    CHECK(get("de").body == "de");
    CHECK(get("en").body == "en");  // D19
    CHECK(get("en").headers.get("X-Cache") == "HIT");
    CHECK(get("de").headers.get("X-Cache") == "HIT");
    CHECK(get("de").body == "de");
    CHECK(site.get("/a").body.empty());  // absent is a variant of its own
    CHECK(site.seen.size() == 3);
    CHECK(get("fr").headers.get("Cache-Status") == "SmartCache; fwd=vary-miss; ttl=60; stored");
}

TEST_CASE("RFC 9111 section 4.1: a Vary that changes over time keeps both worlds apart",
          "[http][rfc][vary]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=60"}}, "plain");
    CHECK(site.get("/a").body == "plain");
    site.clock.advance(1s);
    // A forced reload brings a response that varies: it is preferred where it matches ...
    site.answers({{"Cache-Control", "max-age=60"}, {"Vary", "X"}}, "for x");
    CHECK(site.get("/a", {{"X", "1"}, {"Cache-Control", "no-cache"}}).body == "for x");
    CHECK(site.get("/a", {{"X", "1"}}).body == "for x");
    // ... and the one without Vary still answers everybody else.
    CHECK(site.get("/a", {{"X", "2"}}).body == "plain");
    CHECK(site.seen.size() == 2);
    site.clock.advance(1s);
    site.answers({{"Cache-Control", "max-age=60"}, {"Vary", "Y"}}, "for y");
    CHECK(site.get("/a", {{"X", "1"}, {"Y", "1"}, {"Cache-Control", "no-cache"}}).body == "for y");
    CHECK(site.get("/a", {{"X", "1"}, {"Y", "1"}}).body == "for y");  // the more recent of two that match
    CHECK(site.get("/a", {{"X", "1"}, {"Y", "2"}}).body == "for x");
    CHECK(site.seen.size() == 3);
}

TEST_CASE("RFC 9111 section 4.3: a stale response is validated, a 304 makes it fresh",
          "[http][rfc][validation]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=10"},
                  {"ETag", "\"1\""},
                  {"Last-Modified", site.date(-1h)},
                  {"X", "old"}});
    site.get("/a");
    site.clock.advance(10s);
    site.answers(
        {{"Cache-Control", "max-age=20"}, {"ETag", "\"1\""}, {"X", "new"}, {"Content-Length", "999"}}, "",
        304);
    const Response r = site.get("/a");
    CHECK(site.seen.back().headers.get("If-None-Match") == "\"1\"");
    CHECK(site.seen.back().headers.has("If-Modified-Since"));
    CHECK(r.status == 200);
    CHECK(r.body == "body");
    CHECK(r.headers.get("X") == "new");
    CHECK(r.headers.get("X-Cache") == "REVALIDATED");
    CHECK_FALSE(r.headers.has("Content-Length"));
    CHECK(r.headers.get("Cache-Status") == "SmartCache; fwd=stale; fwd-status=304; ttl=20; stored");
    site.clock.advance(19s);
    const Response hit = site.get("/a");
    CHECK(hit.headers.get("X-Cache") == "HIT");
    CHECK(hit.headers.get("X") == "new");
    CHECK(hit.headers.get("Age") == "19");
    CHECK(site.seen.size() == 2);
    CHECK(site.web.counters().revalidated == 1);
}

TEST_CASE("RFC 9111 section 4.3.3: a 200 to a validation replaces what was stored",
          "[http][rfc][validation]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}}, "one");
    site.get("/a");
    site.clock.advance(10s);
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"2\""}}, "two");
    CHECK(site.get("/a").body == "two");
    CHECK(site.get("/a").body == "two");
    CHECK(site.seen.size() == 2);
}

TEST_CASE("RFC 9111 section 4.3.4: a 304 for another version vouches for nothing and ends the stored one",
          "[http][rfc][validation]") {
    struct Case {
        const char* control;
        Headers request;
        int status;
    };
    for (const Case& c : std::initializer_list<Case>{
             {"max-age=10", {}, 502},
             {"max-age=10", {{"If-None-Match", "\"1\""}}, 502},
             {"max-age=10", {{"If-None-Match", "\"2\""}}, 304},  // the client has that version
             {"max-age=10", {{"If-Modified-Since", "Sun, 06 Nov 2094 08:49:37 GMT"}}, 502},
             {"max-age=10, stale-if-error=60", {}, 200},
             {"max-age=10, stale-if-error=60, must-revalidate", {}, 502},
         }) {
        CAPTURE(c.control, c.request.wire());
        Site site;
        site.answers({{"Cache-Control", c.control}, {"ETag", "\"1\""}, {"X", "old"}});
        site.get("/a");
        site.clock.advance(10s);
        site.answers({{"Cache-Control", "max-age=99"}, {"ETag", "\"2\""}, {"X", "new"}}, "", 304);
        const Response r = site.get("/a", c.request);
        CHECK(r.status == c.status);
        CHECK(r.headers.value("X", "-") == (c.status == 200 ? "old" : c.status == 304 ? "new" : "-"));
        CHECK(r.headers.value("X-Cache") == (c.status == 200 ? "STALE" : "MISS"));
        CHECK(site.web.counters().revalidated == 0);
        site.answers({{"Cache-Control", "max-age=10"}}, "afresh");
        CHECK(site.get("/a").body == "afresh");
        CHECK_FALSE(site.seen.back().headers.has("If-None-Match"));
    }
}

TEST_CASE("RFC 9111 section 5.1: a validation through another cache leaves one Age",
          "[http][rfc][validation]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}});
    site.get("/a");
    site.clock.advance(20s);
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}, {"Age", "3"}}, "", 304);
    CHECK(site.get("/a").headers.combined("Age") == "3");
    site.clock.advance(2s);
    const Response hit = site.get("/a");
    CHECK(hit.headers.value("X-Cache") == "HIT");
    CHECK(hit.headers.combined("Age") == "5");
}

TEST_CASE("a 304 may forbid to keep what it validates", "[http][rfc][validation]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}});
    site.get("/a");
    site.clock.advance(10s);
    site.answers({{"Cache-Control", "no-store"}, {"ETag", "\"1\""}}, "", 304);
    CHECK(site.get("/a").body == "body");
    CHECK(site.cache.stats().size == 0);
}

TEST_CASE("a cookie in a 304 goes to the client that asked, and to nobody else",
          "[http][rfc][validation][privacy]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}});
    site.get("/a");
    site.clock.advance(10s);
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}, {"Set-Cookie", "id=ann"}}, "", 304);
    CHECK(site.get("/a").headers.get("Set-Cookie") == "id=ann");
    const Response other = site.get("/a");
    CHECK(other.headers.get("X-Cache") == "HIT");
    CHECK_FALSE(other.headers.has("Set-Cookie"));
}

TEST_CASE("RFC 9111 section 5.2.2.7: a field that a 304 calls private goes to the client that asked alone",
          "[http][rfc][validation][privacy]") {
    for (const char* names : {"private=\"x-user\"", "no-cache=\"x-user\""}) {
        Site site;
        const std::string control = "max-age=10, " + std::string(names);
        site.answers({{"Cache-Control", control}, {"ETag", "\"1\""}, {"X-User", "ann"}});
        CHECK(site.get("/a").headers.get("X-User") == "ann");
        site.clock.advance(10s);
        site.answers({{"Cache-Control", control}, {"ETag", "\"1\""}, {"X-User", "bob"}}, "", 304);
        const Response asked = site.get("/a");
        CHECK(asked.body == "body");
        CHECK(asked.headers.combined("X-User") == "bob");
        const Response other = site.get("/a");
        CHECK(other.headers.get("X-Cache") == "HIT");
        CHECK_FALSE(other.headers.has("X-User"));
    }
}

TEST_CASE("RFC 9111 section 3.2: a field that a 304 makes private takes the place of the stored one",
          "[http][rfc][validation][privacy]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}, {"X-User", "anybody"}});
    site.get("/a");
    site.clock.advance(10s);
    site.answers({{"Cache-Control", "max-age=10, private=\"x-user\""}, {"ETag", "\"1\""}, {"X-User", "bob"}},
                 "", 304);
    CHECK(site.get("/a").headers.combined("X-User") == "bob");
    CHECK_FALSE(site.get("/a").headers.has("X-User"));
}

TEST_CASE("the client's own conditions are answered from the store, also after a validation",
          "[http][rfc][validation]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}, {"Content-Type", "t"}});
    site.get("/a");
    const Headers mine{{"If-None-Match", "\"1\""}};
    const Response r = site.get("/a", mine);
    CHECK(r.status == 304);
    CHECK(r.headers.get("ETag") == "\"1\"");
    CHECK_FALSE(r.headers.has("Content-Type"));
    CHECK(site.seen.size() == 1);
    site.clock.advance(10s);
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}}, "", 304);
    CHECK(site.get("/a", mine).status == 304);
    site.clock.advance(10s);
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"2\""}}, "two");
    CHECK(site.get("/a", {{"If-None-Match", "\"2\""}}).status == 304);  // the client has it already
    CHECK(site.get("/a").body == "two");
    site.clock.advance(10s);
    CHECK(site.get("/a", mine).status == 200);
}

TEST_CASE("RFC 9111 section 4.3.2: If-Match is the origin's to judge", "[http][rfc][validation]") {
    Site site;
    site.origin = [](const Request& r) {
        const Headers headers{{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}};
        if (r.headers.value("If-Match", "\"1\"") != "\"1\"") return Response{412, {}, {}};
        if (r.headers.value("If-None-Match") == "\"1\"") return Response{304, headers, {}};
        return Response{200, headers, "body"};
    };
    CHECK(site.get("/a").status == 200);
    site.clock.advance(11s);
    CHECK(site.get("/a", {{"If-Match", "\"0\""}}).status == 412);
    CHECK(site.get("/a", {{"If-Match", "\"1\""}}).headers.value("X-Cache") == "REVALIDATED");
    CHECK(site.get("/a").body == "body");
}

TEST_CASE("without anything stored the client's condition and its 304 pass through",
          "[http][rfc][validation]") {
    Site site;
    site.answers({{"ETag", "\"1\""}}, "", 304);
    const Response r = site.get("/a", {{"If-None-Match", "\"1\""}});
    CHECK(r.status == 304);
    CHECK(site.seen.back().headers.get("If-None-Match") == "\"1\"");
    CHECK(site.cache.stats().size == 0);
}

TEST_CASE("RFC 9111 section 5.2.1.4: a request's no-cache validates what is fresh", "[http][rfc][request]") {
    for (const Headers& reload : {Headers{{"Cache-Control", "no-cache"}}, Headers{{"Pragma", "no-cache"}},
                                  Headers{{"Cache-Control", "max-age=0"}}}) {
        Site site;
        site.counts({{"Cache-Control", "max-age=60"}, {"ETag", "\"1\""}});
        site.get("/a");
        CHECK(site.get("/a", reload).body == "2");
        CHECK(site.seen.back().headers.get("If-None-Match") == "\"1\"");
        CHECK(site.get("/a").body == "2");
    }
}

TEST_CASE("what a request says is advice: obey_client_reload", "[http][rfc][request]") {
    for (const bool obey : {true, false}) {
        CAPTURE(obey);
        MiddlewareOptions options = Site::plain();
        options.obey_client_reload = obey;
        Site site(options);
        site.answers({{"Cache-Control", "max-age=60"}, {"ETag", "\"1\""}});
        site.get("/a");
        std::size_t asked = 1;
        for (const Headers& reload : {Headers{{"Cache-Control", "no-cache"}}, Headers{{"Pragma", "no-cache"}},
                                      Headers{{"Cache-Control", "max-age=0"}}}) {
            CHECK(site.get("/a", reload).body == "body");
            CHECK(site.seen.size() == (asked += obey ? 1 : 0));
        }
        site.clock.advance(5s);  // an age of its own choice stays the client's right
        site.get("/a", {{"Cache-Control", "max-age=4"}});
        CHECK(site.seen.size() == asked + 1);
        site.clock.advance(60s);
        site.get("/a", {{"Cache-Control", "no-cache"}});
        CHECK(site.seen.size() == asked + 2);
    }
}

TEST_CASE("RFC 9111 section 5.2.1.7: only-if-cached is answered from the store or with 504",
          "[http][rfc][request]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=10"}});
    const Headers only{{"Cache-Control", "only-if-cached"}};
    CHECK(site.get("/a", only).status == 504);
    CHECK(site.seen.empty());
    site.get("/a");
    CHECK(site.get("/a", only).status == 200);
    site.clock.advance(10s);
    CHECK(site.get("/a", only).status == 504);
}

TEST_CASE("RFC 9111 section 5.2.1.7: only-if-cached holds where the cache does not answer, too",
          "[http][rfc][request]") {
    MiddlewareOptions options = Site::plain();
    options.exclude_paths = {"/private"};
    options.rules = {{.pattern = "/past/*", .bypass = true}};
    Site site(options);
    site.answers({{"Cache-Control", "max-age=10"}});
    const Headers only{{"Cache-Control", "only-if-cached"}};
    CHECK(site.send(Site::request("POST", "/a", only)).status == 504);
    CHECK(site.get("/private", only).status == 504);
    CHECK(site.get("/a", {{"Cache-Control", "only-if-cached, no-store"}}).status == 504);
    CHECK(site.seen.empty());
    CHECK(site.web.counters().cache_skips == 3);
    CHECK(site.web.counters().total_requests == 3);
    CHECK(site.web.counters().reason(Reason::method) == 1);
    CHECK(site.get("/past/b", only).status == 200);  // there is no cache for these
}

TEST_CASE("RFC 9111 section 5.2.1.2: max-stale accepts a stale response", "[http][rfc][request]") {
    Site site;
    site.counts({{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}});
    site.get("/a");
    site.clock.advance(15s);
    const Response r = site.get("/a", {{"Cache-Control", "max-stale=10"}});
    CHECK(r.body == "1");
    CHECK(r.headers.get("X-Cache") == "STALE");
    CHECK(r.headers.get("Cache-Status") == "SmartCache; hit; ttl=-5");
    CHECK(site.get("/a", {{"Cache-Control", "max-stale=4"}}).body == "2");
}

TEST_CASE("RFC 9111 section 4.4: an unsafe method's success invalidates the target and its locations (D30)",
          "[http][rfc][invalidation]") {
    for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "UNKNOWN"}) {
        CAPTURE(method);
        Site site;
        site.counts({{"Cache-Control", "max-age=60"}});
        site.get("/a");
        site.get("/b");
        site.get("/c");
        site.answers({{"Location", "/b"}, {"Content-Location", "http://other.example/c"}}, "", 201);
        CHECK(site.send(Site::request(method, "/a")).status == 201);
        site.counts({{"Cache-Control", "max-age=60"}});
        CHECK(site.get("/a").headers.get("X-Cache") == "MISS");
        CHECK(site.get("/b").headers.get("X-Cache") == "MISS");
        CHECK(site.get("/c").headers.get("X-Cache") == "HIT");
        CHECK(site.web.counters().invalidations == 2);
    }
    Site site;
    site.counts({{"Cache-Control", "max-age=60"}});
    site.get("/a");
    site.answers({}, "", 500);
    site.send(Site::request("POST", "/a"));
    site.send(Site::request("OPTIONS", "/a"));
    CHECK(site.get("/a").headers.get("X-Cache") == "HIT");
}

TEST_CASE("RFC 9111 section 4.4: an unsafe method invalidates under keys of the application's own",
          "[http][rfc][invalidation]") {
    MiddlewareOptions options = Site::plain();
    options.custom_key_generator = [](const Request& r) {
        return r.method + r.headers.combined("X-Tenant") + "|" + r.headers.combined("Content-Type") + r.path;
    };
    Site site(options);
    const Headers ann{{"X-Tenant", "ann"}};
    const Headers bob{{"X-Tenant", "bob"}};
    site.counts({{"Cache-Control", "max-age=60"}});
    for (const Headers& tenant : {ann, bob})
        for (const char* path : {"/a", "/b"}) site.get(path, tenant);
    site.answers({{"Location", "/b"}}, "", 201);
    Request put = Site::request("PUT", "/a", {{"X-Tenant", "ann"}, {"Content-Type", "text/plain"}});
    put.body = "new";
    site.send(put);
    CHECK(site.web.counters().invalidations == 2);
    site.counts({{"Cache-Control", "max-age=60"}});
    for (const char* path : {"/a", "/b"}) {
        CHECK(site.get(path, ann).headers.value("X-Cache") == "MISS");
        CHECK(site.get(path, bob).headers.value("X-Cache") == "HIT");
    }
}

TEST_CASE("R1: what was on its way when its resource was invalidated is not stored",
          "[http][rfc][invalidation]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=60"}}, "before");
    Transaction slow = site.web.begin(Site::request("GET", "/a"));
    REQUIRE_FALSE(slow.answered());
    site.answers({}, "", 204);
    site.send(Site::request("PUT", "/a"));
    CHECK(slow.finish(Response{200, {{"Cache-Control", "max-age=60"}}, "before"}).body == "before");
    CHECK(site.web.counters().reason(Reason::invalidated) == 1);
    site.answers({{"Cache-Control", "max-age=60"}}, "after");
    CHECK(site.get("/a").body == "after");
}

TEST_CASE("R1: what is purged just behind the look at it stands in for nothing",
          "[http][rfc][invalidation]") {
    const bool clear = GENERATE(false, true);
    // One that may lead, and one that may not.
    for (const Headers& headers : {Headers{}, Headers{{"Range", "bytes=0-0"}}}) {
        FakeClock clock;
        Hooked cache(clock);
        Middleware web(cache, Site::plain());
        const Request request = Site::request("GET", "/a", headers);
        const auto app = [](const Request&) {
            return Response{
                200, {{"Cache-Control", "max-age=10, stale-if-error=600"}, {"ETag", "\"1\""}}, "old"};
        };
        const auto fails = [](const Request&) { return Response{503, {}, ""}; };
        (void)web.handle(Site::request("GET", "/a"), app);
        clock.advance(20s);
        CHECK(web.handle(request, fails).status != 503);
        cache.behind_get = [&] {
            if (clear)
                web.clear_cache();
            else
                CHECK(web.purge("http://a.example/a"));
        };
        CHECK(web.handle(request, fails).status == 503);
    }
}

TEST_CASE("RFC 9110 section 9.3.3: a POST's response that says so answers later GETs", "[http][rfc][post]") {
    const Headers good{{"Cache-Control", "max-age=60"}, {"Content-Location", "/a?q"}};
    Site site;
    site.answers(good, "posted");
    Request post = Site::request("POST", "/a?q", {{"Content-Type", "text/plain"}, {"Content-Length", "2"}});
    post.body = "in";
    CHECK(site.send(post).headers.get("Cache-Status") == "SmartCache; fwd=method; ttl=60; stored");
    const Response hit = site.get("/a?q");
    CHECK(hit.body == "posted");
    CHECK(hit.headers.get("X-Cache") == "HIT");
    site.send(post);  // a POST is never answered from the store
    CHECK(site.seen.size() == 2);
    site.send(Site::request("PUT", "/a?q"));
    CHECK(site.get("/a?q").headers.get("X-Cache") == "MISS");

    const auto stored = [](const Headers& headers, int status = 200) {
        Site other;
        other.answers(headers, "posted", status);
        other.send(Site::request("POST", "/a?q"));
        return other.get("/a?q").headers.get("X-Cache") == "HIT";
    };
    CHECK(stored(good));
    CHECK(stored({{"Cache-Control", "max-age=60"}, {"Content-Location", "http://A.example:80/a?q"}}));
    CHECK_FALSE(stored(good, 201));
    CHECK_FALSE(stored({{"Cache-Control", "max-age=60"}}));
    CHECK_FALSE(stored({{"Cache-Control", "max-age=60"}, {"Content-Location", "/a"}}));
    CHECK_FALSE(stored({{"Cache-Control", "max-age=60"}, {"Content-Location", "http://b.example/a?q"}}));
    CHECK_FALSE(stored({{"Cache-Control", "public"}, {"Content-Location", "/a?q"}}));
    CHECK_FALSE(stored({{"Cache-Control", "max-age=60, private"}, {"Content-Location", "/a?q"}}));
    CHECK_FALSE(stored(
        {{"Cache-Control", "max-age=60"}, {"Content-Location", "/a?q"}, {"Content-Location", "/a?q"}}));
}

TEST_CASE("RFC 9111 section 4.1: a POST's response that its own content selected answers no GET",
          "[http][rfc][post]") {
    const Headers json{{"Content-Type", "application/json"}, {"Accept", "text/plain"}};
    const auto stored = [&](const char* vary, const Headers& headers) {
        Site site;
        const Headers said{{"Cache-Control", "max-age=60"}, {"Content-Location", "/a"}, {"Vary", vary}};
        Transaction post = site.web.begin(Site::request("POST", "/a", headers));
        const bool wanted = post.wants_body(Response{200, said, {}});
        (void)post.finish(Response{200, said, "posted"});
        site.answers({});
        CHECK(wanted == (site.cache.stats().size > 0));
        return site.get("/a", {{"Accept", "text/plain"}}).headers.value("X-Cache") == "HIT";
    };
    CHECK(stored("Accept", json));
    CHECK_FALSE(stored("Content-Type", json));
    CHECK_FALSE(stored("Accept, content-type", json));
    CHECK(stored("Content-Type", {{"Accept", "text/plain"}}));  // it has none of its own
}

TEST_CASE("R1: a POST's response that another request has overtaken is not stored",
          "[http][rfc][post][invalidation]") {
    const Headers good{{"Cache-Control", "max-age=60"}, {"Content-Location", "/a"}};
    Site site;
    Transaction slow = site.web.begin(Site::request("POST", "/a"));
    REQUIRE_FALSE(slow.answered());
    site.answers({}, "", 204);
    site.send(Site::request("PUT", "/a"));
    CHECK(slow.wants_body(Response{200, good, {}}));
    CHECK(slow.finish(Response{200, good, "before"}).body == "before");
    site.answers(good, "after");
    CHECK(site.get("/a").body == "after");
}

TEST_CASE("R24: a validation does not overwrite what was stored meanwhile", "[http][rfc][invalidation]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}}, "one");
    site.get("/a");
    site.clock.advance(10s);
    Transaction slow = site.web.begin(Site::request("GET", "/a"));
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"2\""}}, "two");
    site.get("/a", {{"Cache-Control", "no-cache"}});
    CHECK(slow.finish(Response{304, {{"ETag", "\"1\""}, {"Cache-Control", "max-age=99"}}, {}}).body == "one");
    CHECK(site.get("/a").body == "two");
}

TEST_CASE("RFC 9110 section 9.3.2: HEAD is answered from a stored GET, and stores nothing itself",
          "[http][rfc][head]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=60"}}, "12345");
    CHECK(site.send(Site::request("HEAD", "/a")).headers.get("X-Cache") == "MISS");
    CHECK(site.cache.stats().size == 0);
    site.get("/a");
    const Response r = site.send(Site::request("HEAD", "/a"));
    CHECK(r.headers.get("X-Cache") == "HIT");
    CHECK(r.headers.get("Content-Length") == "5");
    CHECK(r.body.empty());
}

TEST_CASE("RFC 9111 section 4.3.5: a HEAD response updates the stored response it agrees with, else ends it",
          "[http][rfc][head]") {
    const Headers reload{{"Cache-Control", "no-cache"}};
    Site site;
    site.answers({{"Cache-Control", "max-age=60"}, {"ETag", "\"1\""}, {"X", "old"}}, "12345");
    site.get("/a");
    site.answers({{"Cache-Control", "max-age=90"}, {"ETag", "\"1\""}, {"X", "new"}, {"Content-Length", "5"}},
                 "12345");
    site.send(Site::request("HEAD", "/a", reload));
    const Response r = site.get("/a");
    CHECK(r.headers.get("X-Cache") == "HIT");
    CHECK(r.headers.get("X") == "new");
    CHECK(r.body == "12345");
    site.answers({{"Cache-Control", "max-age=60"}, {"ETag", "\"2\""}}, "12345");
    site.send(Site::request("HEAD", "/a", reload));
    CHECK(site.get("/a").headers.get("X-Cache") == "MISS");
}

TEST_CASE("RFC 9111 section 4.3.5: a HEAD response makes nothing fresh that it does not name",
          "[http][rfc][head]") {
    const std::string before = "Sun, 06 Nov 1994 08:49:37 GMT";
    struct Case {
        const char* what;
        Headers stored;
        Headers head;
        const char* head_body;
        const char* outcome;  // of a GET that takes what is stale: updated, as it was, or gone
    };
    for (const Case& c : std::initializer_list<Case>{
             {"nothing to tell by", {}, {}, "", "STALE"},
             {"a condition, and no validator", {{"ETag", "\"1\""}}, {}, "", "MISS"},
             {"a condition, and only a length", {{"ETag", "\"1\""}}, {{"Content-Length", "5"}}, "", "MISS"},
             {"the same tag", {{"ETag", "\"1\""}}, {{"ETag", "\"1\""}}, "", "HIT"},
             {"the same date", {{"Last-Modified", before}}, {{"Last-Modified", before}}, "", "HIT"},
             {"a tag where there was none", {}, {{"ETag", "\"1\""}}, "", "MISS"},
             {"the same length", {}, {{"Content-Length", "5"}}, "", "HIT"},
             {"another length", {}, {{"Content-Length", "6"}}, "", "MISS"},
             {"the same content", {}, {}, "12345", "HIT"},
             {"other content", {}, {}, "54321", "MISS"},
             {"other content of the same length", {}, {{"Content-Length", "5"}}, "54321", "MISS"},
         }) {
        CAPTURE(c.what);
        Site site;
        Headers stored = c.stored;
        stored.add("Cache-Control", "max-age=10, stale-while-revalidate=600");
        site.answers(stored, "12345");
        site.get("/a");
        site.clock.advance(15s);
        Headers head = c.head;
        head.add("Cache-Control", "max-age=10, stale-while-revalidate=600");
        site.origin = [&](const Request&) { return Response{200, head, c.head_body}; };
        site.send(Site::request("HEAD", "/a"));
        CHECK(site.get("/a", {{"Cache-Control", "max-stale"}}).headers.value("X-Cache") == c.outcome);
    }
}

TEST_CASE("RFC 5861 section 4: stale-if-error and grace answer for an origin that fails",
          "[http][rfc][stale]") {
    MiddlewareOptions options = Site::plain();
    options.grace = 30s;
    struct Case {
        const char* control;
        Duration age;
        bool served;
    };
    for (const Case& c : std::initializer_list<Case>{{"max-age=10, stale-if-error=60", 69s, true},
                                                     {"max-age=10, stale-if-error=60", 70s, false},
                                                     {"max-age=10", 39s, true},
                                                     {"max-age=10", 40s, false},
                                                     {"max-age=10, stale-if-error=0", 11s, false},
                                                     {"max-age=10, must-revalidate", 11s, false},
                                                     {"s-maxage=10, stale-if-error=60", 11s, false}}) {
        CAPTURE(c.control, c.age.count());
        Site site(options);
        site.answers({{"Cache-Control", c.control}, {"ETag", "\"1\""}});
        site.get("/a");
        site.clock.advance(c.age);
        site.answers({}, "broken", 503);
        const Response r = site.get("/a");
        CHECK(r.status == (c.served ? 200 : 503));
        if (c.served) CHECK(r.headers.get("X-Cache") == "STALE");
        site.down = true;
        if (c.served) {
            CHECK(site.get("/a").status == 200);
        } else {
            CHECK_THROWS(site.get("/a"));
        }
    }
    Site site(options);
    site.answers({{"Cache-Control", "max-age=10"}});
    site.get("/a");
    site.clock.advance(11s);
    site.answers({}, "gone", 404);
    CHECK(site.get("/a").status == 404);  // an answer, not an error
}

TEST_CASE("RFC 5861 section 3: stale-while-revalidate answers first and refreshes once behind",
          "[http][rfc][stale]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=10, stale-while-revalidate=30"}, {"ETag", "\"1\""}}, "one");
    site.get("/a");
    site.clock.advance(15s);
    const Request request = Site::request("GET", "/a");
    Transaction first = site.web.begin(request, Refresh::after_answer);
    REQUIRE(first.answered());
    CHECK(first.response().body == "one");
    REQUIRE(first.wants_refresh());
    CHECK(first.request().headers.get("If-None-Match") == "\"1\"");
    Transaction second = site.web.begin(request, Refresh::after_answer);
    CHECK(second.answered());
    CHECK_FALSE(second.wants_refresh());
    (void)first.finish(Response{200, {{"Cache-Control", "max-age=10"}}, "two"});
    CHECK(site.get("/a").body == "two");
    const auto stats = site.web.counters();
    CHECK(stats.total_requests == 4);
    CHECK(stats.cache_hits == 3);

    // Who cannot refresh afterwards validates at once.
    site.answers({{"Cache-Control", "max-age=10, stale-while-revalidate=30"}}, "three");
    site.clock.advance(15s);
    CHECK(site.get("/a").body == "three");
}

TEST_CASE("RFC 5861 section 3: a refresh behind asks for what is stored, whatever its client asked for",
          "[http][rfc][stale]") {
    const bool tagged = GENERATE(false, true);
    Headers headers{{"Cache-Control", "max-age=10, stale-while-revalidate=30"}};
    if (tagged) headers.add("ETag", "\"1\"");
    for (Request request :
         {Site::request("GET", "/a", {{"Range", "bytes=1-1"}}), Site::request("HEAD", "/a"),
          Site::request("GET", "/a", {{"If-None-Match", "\"0\""}, {"If-Modified-Since", "0"}}),
          Site::request("GET", "/a", {{"If-Range", "\"1\""}, {"Range", "bytes=1-1"}})}) {
        CAPTURE(tagged, request.method, request.headers.wire());
        Site site;
        site.answers(headers, "one");
        site.get("/a");
        site.clock.advance(15s);
        Transaction refresh = site.web.begin(request, Refresh::after_answer);
        REQUIRE(refresh.wants_refresh());
        CHECK(refresh.request().method == "GET");
        CHECK(refresh.request().headers.wire() == (tagged ? "If-None-Match: \"1\"\r\n" : ""));
        CHECK(refresh.wants_body(Response{200, headers, {}}));
        (void)refresh.finish(Response{200, headers, "two"});
        CHECK(site.get("/a").body == "two");
        CHECK(site.get("/a").headers.value("X-Cache") == "HIT");
    }
}

TEST_CASE("RFC 5861 section 3: of a stored part that part is refreshed", "[http][rfc][stale][partial]") {
    Site site;
    Headers headers{{"Cache-Control", "max-age=10, stale-while-revalidate=30"},
                    {"Content-Range", "bytes 2-5/10"}};
    site.answers(headers, "2345", 206);
    site.get("/a", {{"Range", "bytes=2-5"}});
    site.clock.advance(15s);
    Transaction refresh =
        site.web.begin(Site::request("GET", "/a", {{"Range", "bytes=3-3"}}), Refresh::after_answer);
    REQUIRE(refresh.wants_refresh());
    CHECK(refresh.response().body == "3");
    CHECK(refresh.request().headers.wire() == "Range: bytes=2-5\r\n");
    (void)refresh.finish(Response{206, headers, "cdef"});
    const Response hit = site.get("/a", {{"Range", "bytes=2-5"}});
    CHECK(hit.headers.value("X-Cache") == "HIT");
    CHECK(hit.body == "cdef");
}

TEST_CASE("RFC 9111 section 5.2.2.4: no-cache is stored with a validator and validated each time",
          "[http][rfc]") {
    Site site;
    site.answers({{"Cache-Control", "no-cache"}, {"ETag", "\"1\""}});
    site.get("/a");
    site.answers({{"ETag", "\"1\""}}, "", 304);
    CHECK(site.get("/a").body == "body");
    CHECK(site.get("/a").headers.get("X-Cache") == "REVALIDATED");
    CHECK(site.seen.size() == 3);
}

TEST_CASE("RFC 9110 section 7.6.1: hop-by-hop fields are neither forwarded nor stored (D31)", "[http][rfc]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=60"},
                  {"Connection", "X-Hop"},
                  {"X-Hop", "1"},
                  {"Keep-Alive", "timeout=1"},
                  {"Transfer-Encoding", "chunked"},
                  {"X-End", "2"}});
    for (int i = 0; i < 2; ++i) {
        const Response r =
            site.get("/a", {{"Connection", "X-Mine"}, {"X-Mine", "1"}, {"TE", "trailers"}, {"X-Other", "2"}});
        for (const char* name : {"Connection", "X-Hop", "Keep-Alive", "Transfer-Encoding"})
            CHECK_FALSE(r.headers.has(name));
        CHECK(r.headers.get("X-End") == "2");
    }
    CHECK(site.seen.size() == 1);
    CHECK(site.seen[0].headers.wire() == "X-Other: 2\r\n");
}

TEST_CASE("RFC 9110 section 14: ranges are cut from what is stored", "[http][rfc][range]") {
    Site site;
    const Headers part{{"Range", "bytes=2-4"}};
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}}, "0123456789");
    const Response whole = site.get("/a");
    const Response r = site.get("/a", part);
    CHECK(r.status == 206);
    CHECK(r.body == "234");
    CHECK(r.headers.get("X-Cache") == "HIT");
    CHECK(r.body.view().data() == site.get("/a").body.view().data() + 2);  // not copied
    CHECK(site.get("/a", {{"Range", "bytes=99-"}}).status == 416);
    CHECK(site.get("/a", {{"Range", "bytes=2-4"}, {"If-Range", "\"old\""}}).body.size() == 10);
    CHECK(site.get("/a", {{"Range", "bytes=2-4"}, {"If-None-Match", "\"1\""}}).status == 304);
    CHECK(site.seen.size() == 1);
    // Stale: the origin is asked about the whole, the client still gets its part.
    site.clock.advance(10s);
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}}, "", 304);
    CHECK(site.get("/a", part).body == "234");
    CHECK_FALSE(site.seen.back().headers.has("Range"));
    site.clock.advance(10s);
    site.answers({{"Cache-Control", "max-age=10"}, {"ETag", "\"2\""}}, "abcdefghij");
    CHECK(site.get("/a", part).body == "cde");
    CHECK(site.get("/a").body == "abcdefghij");
    CHECK(site.seen.size() == 3);
}

TEST_CASE("parts of a representation whose size nobody knows pass through, and are not stored",
          "[http][rfc][range]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=60"}, {"Content-Range", "bytes 0-3/*"}}, "body", 206);
    CHECK(site.get("/a", {{"Range", "bytes=0-3"}}).status == 206);
    CHECK(site.seen.back().headers.has("Range"));
    CHECK(site.cache.stats().size == 0);
    CHECK(site.web.counters().reason(Reason::partial) == 1);
    site.answers({{"Cache-Control", "max-age=60"}}, "the whole all the same");
    CHECK(site.get("/a", {{"Range", "bytes=0-3"}}).status == 200);
    CHECK(site.get("/a").headers.get("X-Cache") == "HIT");
}

}  // namespace middleware_rfc_test
