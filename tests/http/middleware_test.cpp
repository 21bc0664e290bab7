#include <smartcache/http/middleware.hpp>

#include <cstddef>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <smartcache/http/monitor.hpp>

#include "http/support/site.hpp"
#include "support/catch.hpp"

namespace middleware_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;
using smartcache_test::MapCache;
using smartcache_test::Site;

static_assert(ResponseCache<MapCache>, "the minimal archetype is enough");

namespace {
void check_sums(const MiddlewareStats& s) {
    CHECK(s.cache_hits + s.cache_misses + s.cache_skips == s.total_requests);
}
}  // namespace

TEST_CASE("a stored response is served with its headers, its age and no copy of its body",
          "[http][middleware]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=60"},
                  {"Content-Type", "application/octet-stream"},
                  {"X", "1"},
                  {"X", "2"}},
                 std::string("\0\xFF binary", 9));
    const Response miss = site.get("/a");
    CHECK(miss.headers.get("X-Cache") == "MISS");
    CHECK(miss.headers.get("X-Cache-TTL") == "60");
    CHECK(miss.headers.get("Cache-Status") == "SmartCache; fwd=uri-miss; ttl=60; stored");
    CHECK_FALSE(miss.headers.has("Age"));

    site.clock.advance(10s);
    Response hit = site.get("/a");
    CHECK(site.seen.size() == 1);
    CHECK(hit.status == 200);
    CHECK(hit.headers.get_all("X") == std::vector<std::string_view>{"1", "2"});
    CHECK(hit.headers.get("Age") == "10");
    CHECK(hit.headers.get("X-Cache") == "HIT");
    CHECK(hit.headers.get("X-Cache-Time") == "10");
    CHECK(hit.headers.get("Cache-Status") == "SmartCache; hit; ttl=50");
    CHECK(hit.body == std::string("\0\xFF binary", 9));
    CHECK(site.get("/a").body.view().data() == hit.body.view().data());  // the same bytes in the store
    site.web.clear_cache();
    CHECK(hit.body.size() == 9);  // pinned
}

TEST_CASE("the gates: each refusal has its own counter and leaves the response alone",
          "[http][middleware][gates]") {
    struct Case {
        const char* what;
        Request request;
        Reason reason;
    };
    MiddlewareOptions options = Site::plain();
    options.include_paths = {"/api", "/static/*"};
    options.exclude_paths = {"/api/admin/*"};
    options.rules = {{.pattern = "/api/live", .bypass = true},
                     {.pattern = "/api/head/*", .methods = {{"HEAD"}}}};
    Request with_body = Site::request("GET", "/api/x");
    with_body.body = "content";
    const Case cases[] = {
        {"S93 method", Site::request("OPTIONS", "/api/x"), Reason::method},
        {"rule's methods", Site::request("GET", "/api/head/x"), Reason::method},
        {"S94 not included", Site::request("GET", "/other"), Reason::not_included},
        {"S95 excluded (D17)", Site::request("GET", "/api/admin/x"), Reason::excluded},
        {"excluded in disguise", Site::request("GET", "/api/y/../%61dmin/x"), Reason::excluded},
        {"excluded behind two slashes", Site::request("GET", "/api//admin/x"), Reason::excluded},
        {"excluded behind an encoded slash", Site::request("GET", "/api/admin%2fx"), Reason::excluded},
        {"out of what is included", Site::request("GET", "/api//../other"), Reason::not_included},
        {"a bypass behind two slashes", Site::request("GET", "/api//live"), Reason::bypass},
        {"S96 authorization", Site::request("GET", "/api/x", {{"Authorization", "Basic x"}}),
         Reason::authorization},
        {"S97 no-store", Site::request("GET", "/api/x", {{"Cache-Control", "NO-STORE"}}),
         Reason::request_no_store},
        {"a GET with content", with_body, Reason::request_body},
        {"a rule's bypass", Site::request("GET", "/api/live"), Reason::bypass},
    };
    for (const Case& c : cases) {
        CAPTURE(c.what);
        Site site(options);
        site.counts({{"Cache-Control", "max-age=60"}});
        CHECK(site.send(c.request).body == "1");
        CHECK(site.send(c.request).body == "2");
        const auto stats = site.web.stats();
        CHECK(stats.cache_skips == 2);
        CHECK(stats.reason(c.reason) == 2);
        CHECK(stats.total_requests == 2);
        CHECK(site.cache.stats().size == 0);
        check_sums(stats);
    }
}

TEST_CASE("statistics have one outcome per request and the documented report", "[http][middleware][stats]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=60"}});
    site.get("/a");                             // miss
    site.get("/a");                             // hit
    site.get("/a");                             // hit
    site.send(Site::request("OPTIONS", "/a"));  // skip
    const auto report = site.web.stats();
    CHECK(report.middleware_stats.cache_hits == 2);
    CHECK(report.middleware_stats.cache_misses == 1);
    CHECK(report.middleware_stats.cache_sets == 1);
    CHECK(report.middleware_stats.cache_skips == 1);
    CHECK(report.middleware_stats.total_requests == 4);
    CHECK(report.cache_hits == 2);
    CHECK(report.overall_hit_ratio == Approx(0.5));
    CHECK(report.cacheable_hit_ratio == Approx(2.0 / 3));
    CHECK(report.cache_stats.size == 1);
    CHECK(report.cache_health.memory);

    site.web.clear_cache();
    CHECK(site.web.stats().total_requests == 0);
    CHECK(site.cache.stats().size == 0);
    site.get("/a");
    CHECK(site.seen.size() == 3);
}

TEST_CASE("counters as JSON and for Prometheus", "[http][middleware][stats]") {
    MiddlewareStats stats;
    CHECK(to_json(stats).find("\"reasons\":{}") != std::string::npos);
    stats.total_requests = 3;
    stats.cache_hits = 1;
    stats.cache_skips = 2;
    stats.reasons[static_cast<std::size_t>(Reason::no_store)] = 2;
    CHECK(to_json(stats) ==
          "{\"requests\":3,\"hits\":1,\"misses\":0,\"stores\":0,\"skips\":2,\"revalidated\":0,"
          "\"stale_served\":0,\"collapsed\":0,\"not_modified\":0,\"invalidations\":0,\"purges\":0,\"purges_"
          "untold\":0,"
          "\"reasons\":{\"no_store\":2}}");
    const std::string text = prometheus_text(stats);
    CHECK(text.find("# TYPE smartcache_http_requests_total counter\nsmartcache_http_requests_total 3\n") !=
          std::string::npos);
    CHECK(text.find("\nsmartcache_http_reasons_total{reason=\"no_store\"} 2\n") != std::string::npos);
    CHECK(text.find("\nsmartcache_http_events_total{event=\"skips\"} 2\n") != std::string::npos);
}

TEST_CASE("a corrupt record is dropped, counted as one miss and fetched again (D23, S106)",
          "[http][middleware]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=60"}});
    site.get("/a");
    const std::string key = site.cache.contents().begin()->first;
    site.cache.set(key, "rubbish", {});
    CHECK(site.get("/a").headers.get("X-Cache") == "MISS");
    CHECK(site.get("/a").headers.get("X-Cache") == "HIT");
    const auto stats = site.web.counters();
    CHECK(stats.cache_misses == 2);
    CHECK(stats.cache_hits == 1);
    check_sums(stats);
}

TEST_CASE("a cache that refuses never fails a request (S108)", "[http][middleware]") {
    Site site;
    site.cache.refuse_sets = true;
    site.counts({{"Cache-Control", "max-age=60"}});
    CHECK(site.get("/a").body == "1");
    CHECK(site.get("/a").body == "2");
    CHECK(site.web.counters().reason(Reason::refused) == 2);
    CHECK(site.web.counters().cache_sets == 0);
}

TEST_CASE("what the handler throws passes through and stores nothing", "[http][middleware]") {
    Site site;
    site.down = true;
    CHECK_THROWS_AS(site.get("/a"), std::runtime_error);
    site.down = false;
    site.answers({{"Cache-Control", "max-age=60"}});
    CHECK(site.get("/a").status == 200);
    CHECK(site.web.counters().reason(Reason::abandoned) == 1);
    check_sums(site.web.counters());
}

TEST_CASE("default_ttl is for silent responses of the listed statuses", "[http][middleware]") {
    MiddlewareOptions options = Site::plain();
    options.default_ttl = 10s;
    options.cache_status_codes = {200, 404};
    Site site(options);
    for (const int status : {200, 404}) {
        site.counts({}, status);
        const std::string path = "/" + std::to_string(status);
        site.get(path);
        CHECK(site.get(path).headers.get("X-Cache") == "HIT");
        site.clock.advance(10s);
        CHECK(site.get(path).headers.get("X-Cache") == "MISS");
    }
    site.counts({}, 301);
    site.get("/301");
    CHECK(site.get("/301").headers.get("X-Cache") == "MISS");
    CHECK(site.web.counters().reason(Reason::no_freshness) == 2);
    // Explicit freshness holds for every status (SPEC: "follows the RFC for any final status").
    site.counts({{"Cache-Control", "max-age=5"}}, 503);
    site.get("/503");
    CHECK(site.get("/503").headers.get("X-Cache") == "HIT");
}

TEST_CASE("the sample rules act: ttl, methods, statuses, vary (S126, D16)", "[http][middleware][rules]") {
    MiddlewareOptions options;
    options.rules = {
        {.pattern = "/api/users/*", .ttl = 300s, .methods = {{"GET"}}, .status_codes = {{200, 404}}},
        {.pattern = "/api/posts/*", .ttl = 600s, .vary_headers = {"X-Tenant"}},
        {.pattern = "/api/analytics/*", .force_ttl = 900s},
        {.pattern = "/static/*", .ttl = 86400s, .status_codes = {{200, 301, 302, 404}}}};
    Site site(options);
    const auto ttl = [&](const char* path, Headers headers = {}, int status = 200) {
        site.answers(std::move(headers), "b", status);
        return std::string(site.get(path).headers.value("X-Cache-TTL"));
    };
    CHECK(ttl("/api/users/1") == "300");
    CHECK(ttl("/api/users/2", {}, 404) == "300");
    CHECK(ttl("/api/users/3", {{"Cache-Control", "max-age=5"}}) == "5");
    CHECK(ttl("/api/users/4", {{"Cache-Control", "max-age=5"}}, 301)
              .empty());  // not one of the rule's statuses
    CHECK(ttl("/api/analytics/1", {{"Cache-Control", "max-age=5"}}) == "900");
    CHECK(ttl("/api/analytics/2", {{"Cache-Control", "no-store"}}).empty());
    CHECK(ttl("/static/x", {}, 302) == "86400");
    CHECK(ttl("/elsewhere") == "3600");
    CHECK(site.send(Site::request("HEAD", "/api/users/1")).headers.get("X-Cache") == "BYPASS");

    site.counts({});
    const auto body = [&](const char* tenant) {
        return site.get("/api/posts/1", {{"X-Tenant", tenant}}).body;
    };
    const Body first = body("a");
    CHECK_FALSE(body("b") == first);
    CHECK(body("a") == first);
}

TEST_CASE("hooks: on_request continues, bypasses or answers; on_response changes or vetoes",
          "[http][middleware][hooks]") {
    MiddlewareOptions options = Site::plain();
    std::vector<std::string> lines;
    options.on_request = [](const Request& r) -> RequestVerdict {
        if (r.headers.has("Bypass-Cache")) return RequestVerdict::bypass();
        if (r.path == "/teapot") return Response{418, {}, "short and stout"};
        return RequestVerdict::proceed();
    };
    options.on_response = [](const Request&, Response& r) {
        r.headers.set("X-Seen", "yes");
        return r.status < 500;
    };
    options.log = [&lines](LogLevel, std::string_view line) { lines.emplace_back(line); };
    Site site(options);
    site.counts({{"Cache-Control", "max-age=60"}});
    CHECK(site.get("/teapot").status == 418);
    CHECK(site.seen.empty());
    CHECK(site.get("/a").headers.get("X-Seen") == "yes");
    CHECK(site.get("/a").headers.get("X-Seen") == "yes");
    CHECK(site.seen.size() == 1);
    CHECK(site.get("/a", {{"Bypass-Cache", "1"}}).headers.get("X-Cache") == "BYPASS");
    CHECK(site.seen.size() == 2);
    site.counts({{"Cache-Control", "max-age=60"}}, 500);
    site.get("/b");
    CHECK(site.get("/b").headers.get("X-Cache") == "MISS");
    CHECK(lines.at(0) == "MISS GET a.example/a");
    CHECK(lines.at(1) == "HIT GET a.example/a");
    check_sums(site.web.counters());
}

TEST_CASE("keys: ignored parameters, method class, host and scheme, custom generator",
          "[http][middleware][keys]") {
    Site site;
    site.counts({{"Cache-Control", "max-age=60"}});
    CHECK(site.get("/a?x=1&_=7").body == "1");
    CHECK(site.get("/a?_=8&x=1").body == "1");
    CHECK(site.seen.back().query == "x=1&_=7");  // forwarded as it came
    CHECK(site.get("/a?x=1%26y=2").body == "2");
    CHECK(site.get("/a?x=1&y=2").body == "3");  // D13
    Request other = Site::request("GET", "/a?x=1");
    other.host = "b.example";
    CHECK(site.send(other).body == "4");  // D14
    other.scheme = "https";
    CHECK(site.send(other).body == "5");

    MiddlewareOptions options = Site::plain();
    options.custom_key_generator = [](const Request& r) -> std::string {
        if (r.path == "/throws") throw std::runtime_error("no key");
        return r.path == "/none" ? "" : "user:" + r.headers.combined("X-User");
    };
    Site custom(options);
    custom.counts({{"Cache-Control", "max-age=60"}});
    CHECK(custom.get("/a", {{"X-User", "1"}}).body == "1");
    CHECK(custom.get("/b", {{"X-User", "1"}}).body == "1");
    CHECK(custom.get("/a", {{"X-User", "2"}}).body == "2");
    custom.get("/none");
    custom.get("/throws");
    CHECK(custom.web.counters().reason(Reason::key) == 2);
    CHECK(custom.cache.contents().count("custom 6:user:1") == 1);
}

TEST_CASE("purge forgets a resource with all its variants", "[http][middleware][purge]") {
    Site site;
    site.counts({{"Cache-Control", "max-age=60"}, {"Vary", "Accept"}});
    site.get("/a", {{"Accept", "x"}});
    site.get("/a", {{"Accept", "y"}});
    CHECK(site.get("/a", {{"Accept", "x"}}).body == "1");
    CHECK(site.web.purge("http://A.example:80/a"));
    CHECK_FALSE(site.web.purge("http://a.example/a"));
    CHECK_FALSE(site.web.purge("nonsense"));
    CHECK(site.get("/a", {{"Accept", "x"}}).body == "3");
    CHECK(site.get("/a", {{"Accept", "y"}}).body == "4");
    CHECK(site.web.counters().purges == 1);
}

TEST_CASE("PURGE requests are forwarded unless a guard lets them in", "[http][middleware][purge]") {
    Site site;
    site.counts({{"Cache-Control", "max-age=60"}});
    site.get("/a");
    CHECK(site.send(Site::request("PURGE", "/a")).body == "2");

    MiddlewareOptions options = Site::plain();
    options.purge = [](const Request& r) { return r.headers.get("X-Key") == "s3cret"; };
    Site guarded(options);
    guarded.counts({{"Cache-Control", "max-age=60"}});
    guarded.get("/a");
    CHECK(guarded.send(Site::request("PURGE", "/a")).status == 403);
    CHECK(guarded.get("/a").body == "1");
    CHECK(guarded.send(Site::request("PURGE", "/a", {{"X-Key", "s3cret"}})).status == 200);
    CHECK(guarded.send(Site::request("PURGE", "/a", {{"X-Key", "s3cret"}})).status == 404);
    CHECK(guarded.get("/a").body == "2");
}

TEST_CASE("the two halves work like handle; without a transaction nothing is touched (S107)",
          "[http][middleware][halves]") {
    Site site;
    const auto exchange = [&](Request request, Response made) {
        if (auto answered = site.web.process_request(request)) return std::move(*answered);
        site.seen.push_back(request);
        site.web.process_response(request, made);
        CHECK(request.state == nullptr);
        return made;
    };
    const Response fresh{200, {{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}}, "body"};
    CHECK(exchange(Site::request("GET", "/a"), fresh).headers.get("X-Cache") == "MISS");
    CHECK(exchange(Site::request("GET", "/a"), fresh).headers.get("X-Cache") == "HIT");
    site.clock.advance(10s);
    const Response validated = exchange(Site::request("GET", "/a"), Response{304, {{"ETag", "\"1\""}}, {}});
    CHECK(site.seen.back().headers.get("If-None-Match") == "\"1\"");
    CHECK(validated.status == 200);
    CHECK(validated.body == "body");

    Request untouched = Site::request("GET", "/never-processed");
    Response response{200, {{"X", "1"}}, "b"};
    site.web.process_response(untouched, response);
    CHECK(response.headers.wire() == "X: 1\r\n");
}

TEST_CASE("warm_cache fetches what is missing through the given origin (S113)", "[http][middleware][warm]") {
    Site site;
    std::vector<std::string> fetched;
    const auto origin = [&](const Request& r) {
        fetched.push_back(r.host + r.path);
        if (r.path == "/down") throw std::runtime_error("down");
        return Response{200, {{"Cache-Control", r.path == "/private" ? "private" : "max-age=60"}}, "b"};
    };
    const std::vector<std::string> urls{"http://a.example/1",    "http://a.example/private",
                                        "http://a.example/down", "junk",
                                        "http://a.example/2",    "http://a.example/1"};
    CHECK(site.web.warm_cache(urls, origin) == 3);
    CHECK(fetched ==
          std::vector<std::string>{"a.example/1", "a.example/private", "a.example/down", "a.example/2"});
    CHECK(site.get("/1").headers.get("X-Cache") == "HIT");
}

TEST_CASE("generate_etags gives silent representations a strong validator", "[http][middleware][etag]") {
    MiddlewareOptions options = Site::plain();
    options.generate_etags = true;
    Site site(options);
    site.answers({{"Cache-Control", "max-age=60"}}, "content");
    const std::string tag(site.get("/a").headers.value("ETag"));
    CHECK(tag.size() == 34);
    const Response r = site.get("/a", {{"If-None-Match", tag}});
    CHECK(r.status == 304);
    CHECK(r.body.empty());
    CHECK(site.get("/a", {{"If-None-Match", "\"other\""}}).status == 200);
    CHECK(site.web.counters().not_modified == 1);
    site.answers({{"Cache-Control", "max-age=60"}, {"ETag", "\"own\""}}, "content");
    CHECK(site.get("/b").headers.get("ETag") == "\"own\"");
}

TEST_CASE("debug headers and Cache-Status can be switched off", "[http][middleware]") {
    MiddlewareOptions options = Site::plain();
    options.debug_headers = false;
    options.cache_name.clear();
    Site site(options);
    site.answers({{"Cache-Control", "max-age=60"}});
    for (int i = 0; i < 2; ++i) {
        const Response r = site.get("/a");
        for (const char* name : {"X-Cache", "X-Cache-Time", "X-Cache-TTL", "Cache-Status"})
            CHECK_FALSE(r.headers.has(name));
    }
}

TEST_CASE("tags are for caches that have them; with others they are refused, not ignored",
          "[http][middleware]") {
    FakeClock clock;
    MiddlewareOptions options = Site::plain();
    options.rules = {{.pattern = "/a*", .tags = {"t"}}};
    MapCache untagged(clock);
    CHECK_THROWS_AS((Middleware<MapCache>(untagged, options)), ConfigError);

    struct TaggedCache : MapCache {
        using MapCache::MapCache;
        bool set(std::string_view key, std::string_view bytes, const EntryOptions& entry) {
            if (!entry.tags.empty()) tagged.emplace(entry.tags.front(), key);
            return MapCache::set(key, bytes, entry);
        }
        void erase_tag(std::string_view tag) {
            for (const auto& [name, key] : tagged)
                if (name == tag) erase(key);
        }
        std::multimap<std::string, std::string> tagged;
    };
    TaggedCache cache(clock);
    Middleware web(cache, options);
    const auto app = [](const Request&) { return Response{200, {{"Cache-Control", "max-age=60"}}, "b"}; };
    for (const char* path : {"/a", "/b"}) (void)web.handle(Site::request("GET", path), app);
    web.purge_tag("t");
    CHECK(web.handle(Site::request("GET", "/a"), app).headers.get("X-Cache") == "MISS");
    CHECK(web.handle(Site::request("GET", "/b"), app).headers.get("X-Cache") == "HIT");
}

TEST_CASE("impossible options are refused before anything is touched", "[http][middleware]") {
    FakeClock clock;
    MapCache cache(clock);
    MiddlewareOptions options;
    options.grace = -1s;
    CHECK_THROWS_AS((Middleware<MapCache>(cache, options)), ConfigError);
}

}  // namespace middleware_test
