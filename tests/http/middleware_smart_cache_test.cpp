// The middleware over the real cache: tiers, pins, restarts.
#include <smartcache/http/middleware.hpp>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#include <smartcache/http.hpp>
#include <smartcache/testing.hpp>

#include "http/support/site.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/map_tier.hpp"
#if SMARTCACHE_HAS_REDIS
#include "support/redis_server.hpp"
#endif

namespace middleware_smart_cache_test {

using namespace smartcache;
using namespace std::chrono_literals;
using http::Request;
using http::Response;
using smartcache_test::MapTier;
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

/// The middleware over a cache over a map.
struct OverMap {
    FakeClock clock;
    MapTier* below = nullptr;  ///< the cache's
    SmartCache<BytesCodec> cache{{.clock = &clock}, lower_tiers()};
    http::Middleware<SmartCache<BytesCodec>> web{cache, plain()};

  private:
    std::vector<std::unique_ptr<Tier>> lower_tiers() {
        auto owned = std::make_unique<MapTier>(TierId::other, &clock);
        below = owned.get();
        std::vector<std::unique_ptr<Tier>> tiers;
        tiers.push_back(std::move(owned));
        return tiers;
    }
};

}  // namespace

static_assert(http::ResponseCache<SmartCache<BytesCodec>>);

TEST_CASE("over SmartCache: a tag of a rule purges all that the rule has stored, variants too",
          "[http][smart_cache][tags]") {
    FakeClock clock;
    SmartCache<BytesCodec> cache{{.clock = &clock}};
    http::MiddlewareOptions options = plain();
    options.rules = {{.pattern = "/a*", .tags = {"a", "letters"}}, {.pattern = "/b", .tags = {"letters"}}};
    http::Middleware web{cache, options};
    const auto app = [](const Request&) {
        return Response{200, {{"Cache-Control", "max-age=60"}, {"Vary", "Accept-Language"}}, "x"};
    };
    const auto state = [&](const char* path, const char* language) {
        return std::string(
            web.handle(get(path, {{"Accept-Language", language}}), app).headers.get("X-Cache").value_or(""));
    };
    const auto all = [&] {
        return state("/a1", "en") + ' ' + state("/a1", "de") + ' ' + state("/a2", "en") + ' ' +
               state("/b", "en");
    };
    CHECK(all() == "MISS MISS MISS MISS");
    CHECK(all() == "HIT HIT HIT HIT");
    web.purge_tag("a");
    CHECK(all() == "MISS MISS MISS HIT");
    web.purge_tag("letters");
    CHECK(all() == "MISS MISS MISS MISS");
}

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

TEST_CASE("over SmartCache: begin with an executor answers from memory at once and leaves the rest to it",
          "[http][smart_cache]") {
    struct Later final : Executor {
        bool submit(Task task) override {
            tasks.push_back(std::move(task));
            return true;
        }
        void run() {
            for (Task& task : std::exchange(tasks, {})) task();
        }
        std::vector<Task> tasks;
    };
    FakeClock clock;
    auto below = std::make_unique<MapTier>(TierId::disk, &clock);
    MapTier& disk = *below;
    std::vector<std::unique_ptr<Tier>> tiers;
    tiers.push_back(std::move(below));
    SmartCache<BytesCodec> cache{{.clock = &clock}, std::move(tiers)};
    http::MiddlewareOptions options = plain();
    options.purge = [](const Request&) { return true; };
    http::Middleware web{cache, options};
    const auto app = [](const Request&) {
        return Response{200, {{"Cache-Control", "max-age=60"}, {"Vary", "A"}}, "page"};
    };
    Later executor;
    std::vector<http::Transaction> ready;
    const auto ask = [&](Request request) {
        const auto before = disk.round_trips.load();
        web.begin(std::move(request), executor, [&](http::Transaction t) { ready.push_back(std::move(t)); });
        CHECK(disk.round_trips == before);  // this thread asks no tier below memory
    };

    ask(get("/a"));
    CHECK(ready.empty());
    executor.run();
    REQUIRE(ready.size() == 1);
    (void)ready[0].finish(app(ready[0].request()));

    ready.clear();
    ask(get("/a"));
    REQUIRE(ready.size() == 1);
    CHECK(ready[0].response().headers.get("Cache-Status") == "SmartCache; hit; ttl=60; detail=memory");
    CHECK(executor.tasks.empty());

    cache.clear_memory();
    ready.clear();
    ask(get("/a"));
    CHECK(ready.empty());
    executor.run();
    REQUIRE(ready.size() == 1);
    CHECK(ready[0].response().headers.get("Cache-Status") == "SmartCache; hit; ttl=60; detail=disk");

    ready.clear();
    ask(Site::request("PURGE", "/a"));
    CHECK(ready.empty());
    executor.run();
    REQUIRE(ready.size() == 1);
    CHECK(ready[0].response().status == 200);
    ready.clear();
    ask(get("/a"));
    executor.run();
    CHECK_FALSE(ready.at(0).answered());
}

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

TEST_CASE("over SmartCache: a soft purge holds in a tier that does not answer meanwhile",
          "[http][smart_cache][purge]") {
    const bool in_memory = GENERATE(false, true);
    const bool varies = GENERATE(false, true);
    OverMap world;
    const auto state = [&] {
        const Response r = world.web.handle(get("/a"), [&](const Request&) {
            http::Headers fields{{"Cache-Control", "max-age=60"}, {"ETag", "\"1\""}};
            if (varies) fields.add("Vary", "X");
            return Response{200, std::move(fields), "x"};
        });
        return std::string(r.headers.value("X-Cache"));
    };
    CHECK(state() == "MISS");
    CHECK(state() == "HIT");
    if (!in_memory) world.cache.clear_memory();
    world.below->unavailable = true;
    CHECK(world.web.purge("http://a.example/a", http::Purge::soft) == in_memory);
    world.below->unavailable = false;
    world.cache.clear_memory();
    CHECK(state() == "MISS");
    CHECK(state() == "HIT");
}

TEST_CASE("over SmartCache: what a soft purge made stale is not fresh because looking for it takes time",
          "[http][smart_cache][purge]") {
    OverMap world;
    const auto state = [&] {
        const Response r = world.web.handle(get("/a"), [](const Request&) {
            return Response{200, {{"Cache-Control", "max-age=60"}, {"ETag", "\"1\""}}, "x"};
        });
        return std::string(r.headers.value("X-Cache"));
    };
    CHECK(state() == "MISS");
    CHECK(world.web.purge("http://a.example/a", http::Purge::soft));
    world.cache.clear_memory();
    world.below->before_look = [&] { world.clock.advance(1ms); };
    CHECK(state() == "MISS");
}

#if SMARTCACHE_HAS_REDIS
TEST_CASE("over SmartCache: a soft purge reaches Redis, now or when it answers again",
          "[http][smart_cache][purge][redis]") {
    smartcache::test::RedisServer server;
    SmartCache<BytesCodec> cache{
        {.redis = {
             .enabled = true, .url = server.url(), .connect_timeout = 30s, .timeout = 1s, .lease = 30s}}};
    http::Middleware web{cache, plain()};
    const auto state = [&] {
        const Response r = web.handle(get("/a"), [](const Request& forwarded) {
            const bool known = forwarded.headers.has("If-None-Match");
            return Response{
                known ? 304 : 200, {{"Cache-Control", "max-age=600"}, {"ETag", "\"1\""}}, known ? "" : "x"};
        });
        return std::string(r.headers.value("X-Cache"));
    };
    const auto purge = [&] { return web.purge("http://a.example/a", http::Purge::soft); };
    CHECK(state() == "MISS");
    CHECK(purge());
    cache.clear_memory();
    CHECK(state() == "REVALIDATED");
    cache.clear_memory();
    CHECK(state() == "HIT");
    for (const bool in_memory : {true, false}) {
        if (!in_memory) cache.clear_memory();
        server.pause();
        CHECK(purge() == in_memory);
        server.resume();
        CHECK(smartcache_test::eventually([&] { return cache.health_check().ok(); }));
        cache.clear_memory();
        CHECK(state() == "MISS");
        // Until Redis has acknowledged the erase it has nothing to say of the key, and nothing is stored over that (R11).
        CHECK(smartcache_test::eventually([&] { return state() == "HIT"; }));
    }
}
#endif

TEST_CASE("over SmartCache: the index of variants lives as long as what it lists",
          "[http][smart_cache][vary]") {
    FakeClock clock;
    SmartCache<BytesCodec> cache{{.clock = &clock}};
    http::Middleware web{cache, plain()};
    const auto state = [&](const char* path, const char* x, const char* age, bool varies = true) {
        const Response r = web.handle(
            get(path, {{"X", x}, {"Cache-Control", "min-fresh=1"}}), [&](const Request& forwarded) {
                http::Headers fields{{"Cache-Control", std::string("max-age=") + age}, {"ETag", "\"1\""}};
                if (varies) fields.add("Vary", "X");
                if (forwarded.headers.has("If-None-Match")) return Response{304, std::move(fields), {}};
                return Response{200, std::move(fields), "x"};
            });
        return std::string(r.headers.value("X-Cache"));
    };
    const char* const long_time = "8640000";
    for (const char* path : {"/purged", "/joined"}) CHECK(state(path, "1", long_time) == "MISS");
    CHECK(web.purge("http://a.example/purged", http::Purge::soft));
    CHECK(state("/joined", "2", "60") == "MISS");
    // What did not vary when it was stored is listed too.
    CHECK(state("/moved", "1", long_time, false) == "MISS");
    (void)web.handle(get("/moved", {{"X", "2"}, {"Cache-Control", "no-cache"}}), [](const Request&) {
        return Response{200, {{"Cache-Control", "max-age=60"}, {"Vary", "X"}}, "y"};
    });
    clock.advance(50 * 24h);  // beyond keep_stale
    CHECK(state("/purged", "1", "60") == "REVALIDATED");
    CHECK(state("/joined", "1", "60") == "HIT");
    CHECK(state("/moved", "3", "60") == "HIT");
}

// Each time that another variant was stored the index used to get twice what it had left.
TEST_CASE("over SmartCache: variants that take turns do not make their index last for ever",
          "[http][smart_cache][vary]") {
    FakeClock clock;
    SmartCache<BytesCodec> cache{{.clock = &clock}};
    http::Middleware web{cache, plain()};
    for (int i = 0; i < 40; ++i) {
        clock.advance(11s);
        const Response r = web.handle(get("/a", {{"X", i % 2 == 0 ? "1" : "2"}}), [](const Request&) {
            return Response{200, {{"Cache-Control", "max-age=10"}, {"Vary", "X"}}, "x"};
        });
        REQUIRE(r.headers.value("X-Cache") == "MISS");
    }
    const std::string index = web.keys().primary(get("/a"));
    CHECK(cache.exists(index));
    clock.advance(50 * 24h);
    CHECK_FALSE(cache.exists(index));
}

}  // namespace middleware_smart_cache_test
