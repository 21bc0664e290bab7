// The middleware over the real cache: tiers, pins, restarts.
#include <smartcache/http/middleware.hpp>

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include <smartcache/http.hpp>
#include <smartcache/testing.hpp>

#include "http/support/site.hpp"
#include "support/catch.hpp"

using namespace smartcache;
using namespace std::chrono_literals;
using http::Request;
using http::Response;
using smartcache_test::Site;

namespace {

http::MiddlewareOptions plain() {
    return Site::plain();
}
Request get(std::string path, http::Headers headers = {}) {
    return Site::request("GET", std::move(path), std::move(headers));
}

struct Directory {
    Directory() {
        std::string name = (std::filesystem::temp_directory_path() / "smartcache-http-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
        path = std::filesystem::path(name) / "cache";
        parent = name;
    }
    ~Directory() { std::filesystem::remove_all(parent); }
    std::filesystem::path path, parent;
};

}  // namespace

static_assert(http::ResponseCache<SmartCache<BytesCodec>>);

TEST_CASE("over SmartCache: miss, hit, validation and expiry on the fake clock", "[http][smart_cache]") {
    FakeClock clock;
    SmartCache<BytesCodec> cache{{.clock = &clock}};
    http::Middleware web{cache, plain()};
    int calls = 0;
    const auto app = [&](const Request& r) {
        ++calls;
        if (r.headers.has("If-None-Match"))
            return Response{304, {{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}}, {}};
        return Response{
            200, {{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}}, std::string("bin\0ary", 7)};
    };
    CHECK(web.handle(get("/a"), app).headers.get("X-Cache") == "MISS");
    clock.advance(9'999ms);
    const Response hit = web.handle(get("/a"), app);
    CHECK(hit.headers.get("X-Cache") == "HIT");
    CHECK(hit.body == std::string("bin\0ary", 7));
    clock.advance(1ms);
    CHECK(web.handle(get("/a"), app).headers.get("X-Cache") == "REVALIDATED");
    clock.advance(11s + 24h);  // beyond keep_stale: forgotten
    CHECK(web.handle(get("/a"), app).headers.get("X-Cache") == "MISS");
    CHECK(calls == 3);
    const auto report = web.stats();
    CHECK(report.cache_stats.total_requests > 0);
    CHECK(report.cache_health.ok());
}

TEST_CASE("over SmartCache: a served body outlives clear and the cache itself", "[http][smart_cache]") {
    std::optional<Response> kept;
    {
        SmartCache<BytesCodec> cache;
        http::Middleware web{cache, plain()};
        const std::string large(100'000, 'x');
        const auto app = [&](const Request&) {
            return Response{200, {{"Cache-Control", "max-age=10"}}, large};
        };
        (void)web.handle(get("/a"), app);
        kept = web.handle(get("/a"), app);
        CHECK(kept->headers.get("X-Cache") == "HIT");
        web.clear_cache();
        CHECK(web.handle(get("/a"), app).headers.get("X-Cache") == "MISS");
    }
    CHECK(kept->body == std::string(100'000, 'x'));
}

TEST_CASE("over SmartCache: variants, invalidation and purge", "[http][smart_cache]") {
    FakeClock clock;
    SmartCache<BytesCodec> cache{{.clock = &clock}};
    http::Middleware web{cache, http::api_cache(5min)};
    const auto app = [](const Request& r) { return Response{200, {{"Vary", "X"}}, r.headers.combined("X")}; };
    const auto body = [&](const char* x) { return web.handle(get("/a", {{"X", x}}), app); };
    for (int round = 0; round < 2; ++round)
        for (const char* x : {"1", "2"}) CHECK(body(x).body == x);
    CHECK(body("1").headers.get("X-Cache") == "HIT");
    (void)web.handle(Site::request("POST", "/a"), app);
    CHECK(body("1").headers.get("X-Cache") == "MISS");
    CHECK(body("2").headers.get("X-Cache") == "MISS");
    CHECK(web.purge("http://a.example/a"));
    CHECK(body("2").headers.get("X-Cache") == "MISS");
}

TEST_CASE("over SmartCache: a response that is too large passes through", "[http][smart_cache]") {
    SmartCache<BytesCodec> cache{{.max_value_size = 1000}};
    http::Middleware web{cache, plain()};
    const std::string large(2000, 'x');
    for (int i = 0; i < 2; ++i) {
        const Response r = web.handle(get("/a"), [&](const Request&) {
            return Response{200, {{"Cache-Control", "max-age=10"}}, large};
        });
        CHECK(r.body == large);
        CHECK(r.headers.get("X-Cache") == "MISS");
    }
    CHECK(web.counters().reason(http::Reason::refused) == 2);
}

TEST_CASE("a middleware may own its cache", "[http][smart_cache]") {
    http::Middleware web{Config{.memory = {.capacity = 100}}, http::page_cache()};
    const auto app = [](const Request&) { return Response{200, {}, "page"}; };
    CHECK(web.handle(get("/"), app).headers.get("X-Cache") == "MISS");
    CHECK(web.handle(get("/"), app).headers.get("X-Cache") == "HIT");
    CHECK(web.cache().stats().size > 0);
}

#if SMARTCACHE_HAS_DISK
TEST_CASE("over SmartCache with a disk tier: responses survive a restart, and purges do too",
          "[http][smart_cache][disk]") {
    const Directory directory;
    FakeClock clock;
    const Config config{.disk = {.enabled = true, .path = directory.path}, .clock = &clock};
    int calls = 0;
    const auto app = [&](const Request& r) {
        ++calls;
        return Response{200, {{"Cache-Control", "max-age=1000"}, {"Vary", "X"}}, "body of " + r.path};
    };
    {
        SmartCache<BytesCodec> cache{config};
        http::Middleware web{cache, plain()};
        for (const char* path : {"/a", "/b"}) (void)web.handle(get(path), app);
        CHECK(web.purge("http://a.example/b"));
        CHECK(cache.flush());
    }
    clock.advance(100s);
    SmartCache<BytesCodec> cache{config};
    http::Middleware web{cache, plain()};
    const Response r = web.handle(get("/a"), app);
    CHECK(r.headers.get("X-Cache") == "HIT");
    CHECK(r.headers.get("Age") == "100");
    CHECK(r.body == "body of /a");
    CHECK(calls == 2);
    CHECK(web.handle(get("/b"), app).headers.get("X-Cache") == "MISS");
}
#endif

TEST_CASE("over SmartCache: threads with hits, misses and invalidations keep their bodies apart",
          "[http][smart_cache][threads]") {
    SmartCache<BytesCodec> cache{{.memory = {.capacity = 64}}};
    http::Middleware web{cache, plain()};
    std::atomic<int> wrong{0};
    std::vector<std::thread> pool;
    for (int t = 0; t < 4; ++t)
        pool.emplace_back([&, t] {
            unsigned seed = static_cast<unsigned>(t) + 1;
            std::vector<Response> kept;
            for (int i = 0; i < 4000; ++i) {
                seed = seed * 1664525U + 1013904223U;
                const std::string path = "/" + std::to_string((seed >> 20U) % 200);
                if ((seed >> 12U) % 16 == 0) {
                    (void)web.handle(Site::request("POST", path), [](const Request&) {
                        return Response{204, {}, {}};
                    });
                    continue;
                }
                Response r = web.handle(get(path), [](const Request& q) {
                    return Response{200,
                                    {{"Cache-Control", "max-age=60"}, {"X-Path", q.path}},
                                    std::string(500, 'x') + q.path};
                });
                if (r.body.view().substr(500) != path || r.headers.get("X-Path") != path) ++wrong;
                if (i % 50 == 0) kept.push_back(std::move(r));
            }
            for (const Response& r : kept)
                if (r.body.view().substr(500) != r.headers.get("X-Path")) ++wrong;
        });
    for (std::thread& t : pool) t.join();
    CHECK(wrong == 0);
}
