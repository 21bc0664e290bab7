// Two HTTP caches, each as if in a process of its own, over one redis-server: what one purges while the other fetches it.

#include <smartcache/http/middleware.hpp>

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include <smartcache/http.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/redis_server.hpp"

namespace http_purge_test {

namespace sc = smartcache;
namespace http = smartcache::http;
using namespace std::chrono_literals;
using http::Headers;
using http::Purge;
using http::Request;
using http::Response;
using sc::test::RedisServer;
using smartcache_test::eventually;

namespace {

Request request(std::string method, std::string path, Headers headers = {}) {
    Request made;
    made.method = std::move(method);
    made.scheme = "https";
    made.host = "shop.example";
    made.path = std::move(path);
    made.headers = std::move(headers);
    return made;
}

/// One process: its cache, its middleware, and an origin that may be kept waiting.
struct Process {
    Process(const RedisServer& server, sc::FakeClock& clock)
        : cache({.redis = {.enabled = true,
                           .url = server.url(),
                           .connect_timeout = 30s,
                           .timeout = 30s,
                           .lease = 30s},
                 .clock = &clock}),
          web(cache, options()) {}

    static http::MiddlewareOptions options() {
        http::MiddlewareOptions made;
        made.default_ttl = sc::Duration::zero();
        made.purge_depth = 1;
        return made;
    }

    Response get(std::string_view language, const std::function<Response(const Request&)>& origin) {
        return web.handle(request("GET", "/a/b", {{"Accept-Language", language}}), origin);
    }

    sc::SmartCache<sc::BytesCodec> cache;
    http::Middleware<sc::SmartCache<sc::BytesCodec>> web;
};

struct World {
    Response version(std::string_view number) const {
        Headers fields{{"Cache-Control", "max-age=60, stale-if-error=600"},
                       {"ETag", '"' + std::string(number) + '"'},
                       {"Cache-Tag", "t"}};
        if (varies) fields.add("Vary", "Accept-Language");
        return {200, fields, std::string(number)};
    }
    /// Returns when `a` has heard of what `b` has done.
    void settle() {
        REQUIRE(a.cache.set("told", std::string_view("0")));
        REQUIRE(b.cache.set("told", std::string_view("1")));
        REQUIRE(eventually([&] { return !a.cache.try_get<std::string_view>("told"); }));
    }

    RedisServer server;
    sc::FakeClock clock;
    bool varies = false;
    Process a{server, clock};
    Process b{server, clock};
};

enum class How { url, url_softly, tag, tag_softly, prefix, post };

void purge(Process& by, How how) {
    switch (how) {
        case How::url:
            (void)by.web.purge("https://shop.example/a/b");
            break;
        case How::url_softly:
            (void)by.web.purge("https://shop.example/a/b", Purge::soft);
            break;
        case How::tag:
            by.web.purge_tag("t");
            break;
        case How::tag_softly:
            by.web.purge_tag("t", Purge::soft);
            break;
        case How::prefix:
            REQUIRE(by.web.purge_prefix("https://shop.example/a/"));
            break;
        case How::post:
            (void)by.web.handle(request("POST", "/a/b"), [](const Request&) {
                return Response{204, {}, {}};
            });
            break;
    }
}

}  // namespace

TEST_CASE("what another process purges while it is fetched is not stored", "[http][purge][coherence][r7]") {
    World world;
    world.varies = GENERATE(false, true);
    const How how = GENERATE(How::url, How::url_softly, How::tag, How::tag_softly, How::prefix, How::post);
    // What is there before: nothing; what is stale, and the origin then vouches for it, or sends another one; with Vary the
    // other language.
    const std::string before = GENERATE("nothing", "stale, 304", "stale, 200", "other");
    CAPTURE(world.varies, static_cast<int>(how), before);
    const auto first = [&](const Request&) { return world.version("1"); };
    if (before != "nothing") {
        (void)world.a.get(before == "other" ? "de" : "en", first);
        (void)world.b.get(before == "other" ? "de" : "en", first);
        if (before != "other" || !world.varies) world.clock.advance(61s);
    }
    bool asked = false;
    const Response fetched = world.a.get("en", [&](const Request& forwarded) {
        asked = true;
        purge(world.b, how);
        if (before == "stale, 304" && forwarded.headers.has("If-None-Match"))
            return Response{304, world.version("1").headers, {}};
        return world.version("1");
    });
    REQUIRE(asked);
    CHECK(fetched.body == "1");  // who asked before the purge may have what was there then
    world.settle();
    for (Process* const each : {&world.a, &world.b}) {
        const Response after = each->get("en", [&](const Request&) { return world.version("2"); });
        CHECK(after.body == "2");
    }
    // What is fetched afterwards is kept.
    const auto unreachable = [](const Request&) -> Response { throw std::runtime_error("asked"); };
    for (Process* const each : {&world.a, &world.b})
        CHECK(each->get("en", unreachable).headers.value("X-Cache") == "HIT");
}

TEST_CASE("what another process has purged does not stand in for an origin that fails",
          "[http][purge][coherence][r5]") {
    World world;
    world.varies = GENERATE(false, true);
    const How how = GENERATE(How::url, How::tag, How::prefix, How::post);
    const auto first = [&](const Request&) { return world.version("1"); };
    (void)world.a.get("en", first);
    world.clock.advance(61s);
    const auto fails = [&](const Request&) -> Response {
        purge(world.b, how);
        world.settle();
        throw std::runtime_error("the origin is down");
    };
    CHECK_THROWS(world.a.get("en", fails));
    CHECK_THROWS(world.b.get("en", fails));
}

TEST_CASE("a purge that Redis does not hear of is told as such, and repeated", "[http][purge][R11]") {
    RedisServer server;
    sc::SmartCache<sc::BytesCodec> cache{{.redis = {.enabled = true, .url = server.url(), .timeout = 200ms}}};
    http::MiddlewareOptions options = Process::options();
    options.purge = [](const Request&) { return true; };
    options.purge_many = options.purge;
    http::Middleware web{cache, options};
    const auto origin = [](const Request&) {
        return Response{200, {{"Cache-Control", "max-age=600"}, {"Cache-Tag", "t"}}, "x"};
    };
    const auto send = [&](std::string path, Headers headers = {}) {
        return web.handle(request("PURGE", std::move(path), std::move(headers)), origin).status;
    };
    CHECK(send("/a/b") == 404);
    (void)web.handle(request("GET", "/a/b"), origin);
    CHECK(send("/a/b") == 200);
    CHECK(send("/", {{"Cache-Tag", "t"}}) == 200);
    CHECK(web.purge_tag("t"));
    CHECK(web.counters().purges_untold == 0);
    (void)web.handle(request("GET", "/a/b"), origin);
    server.pause();
    CHECK(send("/a/b") == 202);
    CHECK(send("/", {{"Cache-Tag", "t"}}) == 202);
    CHECK(send("/a/*") == 202);
    CHECK_FALSE(web.purge_tag("t", Purge::soft));
    (void)web.purge("https://shop.example/a/b");
    CHECK(web.counters().purges_untold == 5);
    server.resume();
    CHECK(eventually([&] { return web.purge_tag("t"); }));
    CHECK(web.handle(request("GET", "/a/b"), origin).headers.value("X-Cache") == "MISS");
}

TEST_CASE("processes that fetch different variants of one resource at once all store theirs",
          "[http][coherence]") {
    World world;
    world.varies = true;
    const auto origin = [&](const Request&) { return world.version("1"); };
    (void)world.a.get("de", origin);
    (void)world.a.get("en", [&](const Request& forwarded) {
        (void)world.b.get("fr", origin);
        (void)world.b.get("es", origin);
        return origin(forwarded);
    });
    const auto unreachable = [](const Request&) -> Response { throw std::runtime_error("asked"); };
    for (const std::string_view language : {"de", "en", "fr", "es"})
        for (Process* const each : {&world.a, &world.b})
            CHECK(each->get(language, unreachable).headers.value("X-Cache") == "HIT");
}

}  // namespace http_purge_test
