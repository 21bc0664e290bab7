// Tags that the origin gives, and every way of purging, over the real cache.
#include <smartcache/http/middleware.hpp>

#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#include <smartcache/http.hpp>
#include <smartcache/testing.hpp>

#include "http/support/site.hpp"
#include "support/catch.hpp"

using namespace smartcache;
using namespace std::chrono_literals;

namespace middleware_purge_test {

using http::Headers;
using http::MiddlewareOptions;
using http::Purge;
using http::Reason;
using http::Request;
using http::Response;

MiddlewareOptions plain() {
    return smartcache_test::Site::plain();
}

struct Directory {
    Directory() {
        std::string name = (std::filesystem::temp_directory_path() / "smartcache-purge-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
        parent = name;
    }
    ~Directory() { std::filesystem::remove_all(parent); }
    std::filesystem::path parent;
};

/// A middleware over a SmartCache, in front of an origin that answers with its count and the fields it is given.
struct Site {
    explicit Site(MiddlewareOptions options = plain(), bool below = false)
        : cache({.disk = {.enabled = below, .path = directory.parent / "cache"}, .clock = &clock}),
          web(cache, std::move(options)) {}

    Response send(Request request) {
        return web.handle(request, [this](const Request& forwarded) {
            seen.push_back(forwarded);
            if (meanwhile) meanwhile();
            if (down) throw std::runtime_error("the origin is down");
            if (unchanged && forwarded.headers.has("If-None-Match")) return Response{304, fields, {}};
            return Response{status, fields, std::to_string(seen.size())};
        });
    }
    Response get(std::string path, Headers headers = {}) {
        return send(smartcache_test::Site::request("GET", std::move(path), std::move(headers)));
    }
    /// HIT, MISS, ...
    std::string state(std::string path, Headers headers = {}) {
        return std::string(get(std::move(path), std::move(headers)).headers.value("X-Cache"));
    }
    Response purge(std::string path, Headers headers = {}) {
        return send(smartcache_test::Site::request("PURGE", std::move(path), std::move(headers)));
    }

    Directory directory;
    FakeClock clock;
    SmartCache<BytesCodec> cache;
    http::Middleware<SmartCache<BytesCodec>> web;
    Headers fields{{"Cache-Control", "max-age=60"}};
    int status = 200;
    bool unchanged = false, down = false;
    std::function<void()> meanwhile;  ///< while a request is on its way
    std::vector<Request> seen;
};

TEST_CASE("what is purged on the way does not stand in for an origin that fails", "[http][purge][stale]") {
    const bool by_tag = GENERATE(false, true);
    const bool throws = GENERATE(false, true);
    Site site;
    site.fields = {{"Cache-Control", "max-age=1, stale-if-error=600"}, {"Cache-Tag", "t"}, {"ETag", "\"1\""}};
    REQUIRE(site.state("/x") == "MISS");
    site.clock.advance(2s);
    site.down = throws;
    if (!throws) site.status = 503;
    CHECK(site.get("/x").body.view() == "1");  // nobody has purged it
    site.meanwhile = [&] {
        CHECK((by_tag ? site.web.purge_tag("t"), true : site.web.purge("http://a.example/x")));
    };
    if (throws)
        CHECK_THROWS_AS(site.get("/x"), std::runtime_error);
    else
        CHECK(site.get("/x").status == 503);
}

TEST_CASE("the origin's tags purge what has them, and nothing else", "[http][tags][purge]") {
    const bool below = GENERATE(false, SMARTCACHE_HAS_DISK != 0);
    const auto after_purging = [below](const char* tag) {
        Site site(plain(), below);
        const auto fill = [&](const char* path, const char* field, const char* tags) {
            site.fields = {{"Cache-Control", "max-age=60"}, {field, tags}};
            CHECK(site.state(path) == "MISS");
            CHECK(site.state(path) == "HIT");
        };
        fill("/a", "Cache-Tag", "one, two");
        fill("/b", "Surrogate-Key", "two three");
        fill("/c", "xkey", "three");
        site.web.purge_tag(tag);
        CHECK(site.web.counters().purges == 1);
        if (below) site.cache.clear_memory();
        std::string all;
        for (const char* path : {"/a", "/b", "/c"}) all += site.state(path) + ' ';
        return all;
    };
    CHECK(after_purging("four") == "HIT HIT HIT ");
    CHECK(after_purging("on") == "HIT HIT HIT ");
    CHECK(after_purging("one") == "MISS HIT HIT ");
    CHECK(after_purging("two") == "MISS MISS HIT ");
    CHECK(after_purging("three") == "HIT MISS MISS ");
}

TEST_CASE("the origin's tags and the rule's come together", "[http][tags][purge]") {
    MiddlewareOptions options = plain();
    options.rules = {{.pattern = "/a*", .tags = {"rule", "both"}}};
    Site site(options);
    site.fields.add("Cache-Tag", "origin,both,both");
    for (const char* tag : {"rule", "both", "origin"}) {
        (void)site.get("/a");
        CHECK(site.state("/a") == "HIT");
        site.web.purge_tag(tag);
        CHECK(site.state("/a") == "MISS");
    }
}

TEST_CASE("each variant has its own tags, and those of its first response keep them", "[http][tags][purge]") {
    Site site;
    const auto fill = [&](const char* language, const char* tags, bool varies) {
        site.fields = {{"Cache-Control", "max-age=60"}, {"Cache-Tag", tags}};
        if (varies) site.fields.add("Vary", "Accept-Language");
        (void)site.get("/a", {{"Accept-Language", language}});
    };
    fill("en", "page,en", true);
    fill("de", "page,de", true);
    const auto states = [&] {
        return site.state("/a", {{"Accept-Language", "en"}}) + ' ' +
               site.state("/a", {{"Accept-Language", "de"}});
    };
    CHECK(states() == "HIT HIT");
    site.web.purge_tag("de");
    CHECK(site.state("/a", {{"Accept-Language", "en"}}) == "HIT");
    fill("de", "page,de", true);
    CHECK(states() == "HIT HIT");
    site.web.purge_tag("page");
    CHECK(states() == "MISS MISS");

    // What lies under the resource's own key moves when a response varies; its tags move with it.
    Site moving;
    moving.fields = {{"Cache-Control", "max-age=60"}, {"Cache-Tag", "old"}};
    (void)moving.get("/a");
    moving.fields = {{"Cache-Control", "max-age=60"}, {"Cache-Tag", "new"}, {"Vary", "X"}};
    (void)moving.get("/a", {{"X", "1"}, {"Cache-Control", "no-cache"}});
    CHECK(moving.get("/a").body == "1");
    CHECK(moving.get("/a").headers.value("X-Cache") == "HIT");
    moving.web.purge_tag("old");
    CHECK(moving.get("/a").body == "3");
    CHECK(moving.get("/a", {{"X", "1"}}).body == "2");
}

TEST_CASE("a 304 changes the tags where it names some, and keeps them where it does not",
          "[http][tags][purge]") {
    Site site;
    site.unchanged = true;
    site.fields = {{"Cache-Control", "max-age=60"}, {"ETag", "\"1\""}, {"Cache-Tag", "first"}};
    (void)site.get("/a");
    site.clock.advance(61s);
    site.fields = {{"Cache-Control", "max-age=60"}, {"ETag", "\"1\""}};
    CHECK(site.state("/a") == "REVALIDATED");
    site.web.purge_tag("first");
    CHECK(site.state("/a") == "MISS");

    site.fields.set("Cache-Tag", "second");
    (void)site.web.purge("http://a.example/a");
    (void)site.get("/a");
    site.clock.advance(61s);
    site.fields.set("Cache-Tag", "third");
    CHECK(site.state("/a") == "REVALIDATED");
    site.web.purge_tag("second");
    CHECK(site.state("/a") == "HIT");
    site.web.purge_tag("third");
    CHECK(site.state("/a") == "MISS");
}

TEST_CASE("a response whose tags cannot be kept is not stored", "[http][tags][purge]") {
    Site site;
    const auto stored = [&](const std::string& tags, const char* control = "max-age=60") {
        site.fields = {{"Cache-Control", control}, {"Surrogate-Key", tags}};
        const std::string path = "/" + std::to_string(site.seen.size());
        (void)site.get(path);
        return site.state(path) == "HIT";
    };
    std::string many;
    for (int i = 0; i < 1024; ++i) many += "t" + std::to_string(i) + " ";
    CHECK(stored(many));
    CHECK(stored(many + "t0"));
    CHECK_FALSE(stored(many + "t1024"));
    CHECK(stored(std::string(64 * 1024, 't')));
    CHECK_FALSE(stored(std::string(64 * 1024 + 1, 't')));
    // The fields are not to be stored: a later 304 would make a response without its tags of it.
    CHECK_FALSE(stored("a", "max-age=60, private=\"Surrogate-Key\""));
    CHECK_FALSE(stored("a", "max-age=60, no-cache=\"surrogate-key\""));
    CHECK(site.web.counters().reason(Reason::tags) == 8);
}

TEST_CASE("tag fields are sent on unless they are to be hidden; others name no tags", "[http][tags]") {
    MiddlewareOptions options = plain();
    options.tag_fields = {"X-Tags"};
    options.exclude_paths = {"/no"};
    const auto sent = [&](bool hidden) {
        options.hide_tags = hidden;
        Site site(options);
        site.fields = {
            {"Cache-Control", "max-age=60"}, {"ETag", "\"1\""}, {"X-Tags", "a,b"}, {"Cache-Tag", "c"}};
        std::size_t count = 0;
        for (const Headers& headers :
             {Headers{}, Headers{}, Headers{{"If-None-Match", "\"1\""}}, Headers{{"Range", "bytes=0-0"}}}) {
            const Response r = site.get("/a", headers);
            CHECK(r.headers.value("Cache-Tag") == "c");
            count += r.headers.count("X-Tags");
        }
        count += site.get("/no").headers.count("X-Tags");
        site.web.purge_tag("c");
        CHECK(site.state("/a") == "HIT");
        site.web.purge_tag("b");
        CHECK(site.state("/a") == "MISS");
        return count;
    };
    CHECK(sent(false) == 5);
    CHECK(sent(true) == 0);
}

TEST_CASE("what was on its way while one of its tags was purged is not stored, and nothing else suffers",
          "[http][tags][purge]") {
    const Purge how = GENERATE(Purge::hard, Purge::soft);
    MiddlewareOptions options = plain();
    options.purge_depth = 3;
    Site site(options);
    site.fields.add("Cache-Tag", "a");
    site.meanwhile = [&] { site.web.purge_tag("b", how); };
    (void)site.get("/a");
    CHECK(site.state("/a") == "HIT");

    site.meanwhile = [&] { site.web.purge_tag("a", how); };
    const Response purged = site.get("/b");
    CHECK(purged.headers.value("Cache-Status").find("detail=invalidated") != std::string::npos);
    site.meanwhile = nullptr;
    CHECK(site.state("/b") == "MISS");
    CHECK(site.state("/b") == "HIT");

    site.meanwhile = [&] { CHECK(site.web.purge_prefix("http://a.example/x/", how)); };
    (void)site.get("/x/1");
    (void)site.get("/y/1");
    site.meanwhile = nullptr;
    CHECK(site.state("/x/1") == "MISS");
    CHECK(site.state("/y/1") == "HIT");
}

TEST_CASE("after a purge nobody gets what was made before it, whoever fetches at the same time",
          "[http][tags][purge][threads]") {
    MiddlewareOptions options = plain();
    options.purge_depth = 1;
    SmartCache<BytesCodec> cache;
    http::Middleware web{cache, options};
    std::atomic<int> made{0};
    std::atomic<int> purged{0};  // nothing older than this may be served any more
    std::atomic<int> wrong{0};
    const auto origin = [&made](const Request& request) {
        const int version = made.load();
        for (int i = 0; i < 20; ++i) std::this_thread::yield();  // so that purges come in between
        Headers fields{{"Cache-Control", "max-age=60"},
                       {"ETag", '"' + std::to_string(version) + '"'},
                       {"Cache-Tag", "t"}};
        if (request.path == "/x/varies") fields.add("Vary", "A");
        return Response{200, std::move(fields), std::to_string(version)};
    };
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 3000; ++i) {
                const int least = purged.load();
                const Response r =
                    web.handle(smartcache_test::Site::request("GET", i % 2 == 0 ? "/x/plain" : "/x/varies",
                                                              {{"A", std::to_string((i + t) % 3)}}),
                               origin);
                if (std::stoi(r.body.str()) < least) ++wrong;
            }
        });
    for (int i = 0; i < 600; ++i) {
        const int version = ++made;
        const Purge how = i % 2 == 0 ? Purge::hard : Purge::soft;
        if (i % 3 == 0) web.purge_tag("t", how);
        if (i % 3 == 1) (void)web.purge_prefix("http://a.example/x", how);
        if (i % 3 == 2)
            for (const char* path : {"/x/plain", "/x/varies"})
                (void)web.purge(std::string("http://a.example") + path, how);
        purged = version;
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
}

TEST_CASE("a purge of a tag waits for what is being stored", "[http][tags][purge][threads]") {
    struct Tagged : smartcache_test::MapCache {
        using MapCache::MapCache;
        bool set(std::string_view key, std::string_view bytes, const EntryOptions& entry) {
            if (storing) storing();
            order += "set ";
            return MapCache::set(key, bytes, entry);
        }
        void erase_tag(std::string_view) { order += "erase "; }
        std::function<void()> storing;
        std::string order;
    };
    FakeClock clock;
    Tagged cache(clock);
    http::Middleware web(cache, plain());
    std::thread purger;
    cache.storing = [&] {
        purger = std::thread([&] { web.purge_tag("t"); });
        for (int i = 0; i < 1000; ++i) std::this_thread::yield();  // it may come as far as it can
    };
    (void)web.handle(smartcache_test::Site::request("GET", "/a"), [](const Request&) {
        return Response{200, {{"Cache-Control", "max-age=60"}, {"Cache-Tag", "t"}}, "x"};
    });
    purger.join();
    CHECK(cache.order == "set erase ");
}

TEST_CASE("an update does not bring back what was purged while it was on its way", "[http][tags][purge]") {
    Site site;
    site.unchanged = true;
    site.fields = {{"Cache-Control", "max-age=60"}, {"ETag", "\"1\""}, {"Cache-Tag", "a"}};
    (void)site.get("/a");
    site.clock.advance(61s);
    site.fields.set("Cache-Tag", "b");  // of the new tag alone nothing was purged
    site.meanwhile = [&] { site.web.purge_tag("a"); };
    (void)site.get("/a");
    site.meanwhile = nullptr;
    CHECK(site.state("/a") == "MISS");
}

TEST_CASE("parts are not joined to one whose tag was purged meanwhile", "[http][tags][purge]") {
    Site site;
    const auto part = [](const char* range, const char* tag, const char* body) {
        return Response{206,
                        {{"Cache-Control", "max-age=60"},
                         {"ETag", "\"1\""},
                         {"Content-Range", std::string("bytes ") + range + "/4"},
                         {"Cache-Tag", tag}},
                        body};
    };
    for (const bool purged : {false, true}) {
        const std::string path = purged ? "/purged" : "/kept";
        http::Transaction first =
            site.web.begin(smartcache_test::Site::request("GET", path, {{"Range", "bytes=0-1"}}));
        (void)first.finish(part("0-1", "a", "ab"));
        http::Transaction rest = site.web.begin(smartcache_test::Site::request("GET", path));
        REQUIRE(rest.completing());
        if (purged) site.web.purge_tag("a");
        CHECK(rest.finish(part("2-3", "b", "cd")).body == "abcd");
        CHECK(site.state(path) == (purged ? "MISS" : "HIT"));
    }
}

TEST_CASE("a purge of its tag leaves a variant collapsible", "[http][tags][purge][collapse]") {
    Site site;
    site.fields.add("Cache-Tag", "a");
    auto leader = std::make_optional(site.web.begin(smartcache_test::Site::request("GET", "/a")));
    InlineExecutor executor;
    std::vector<http::Transaction> ready;
    const auto ask = [&] {
        site.web.begin(smartcache_test::Site::request("GET", "/a"), executor,
                       [&](http::Transaction t) { ready.push_back(std::move(t)); });
    };
    ask();
    ask();
    CHECK(ready.empty());
    site.web.purge_tag("a");
    CHECK(ready.empty());  // nobody knows yet that the response will have this tag
    (void)leader->finish(Response{200, site.fields, "old"});
    REQUIRE(ready.size() == 1);  // one leads, the other waits again
    CHECK_FALSE(ready[0].answered());
    http::Transaction second = std::move(ready[0]);
    (void)second.finish(Response{200, site.fields, "new"});
    REQUIRE(ready.size() == 2);
    REQUIRE(ready[1].answered());
    CHECK(ready[1].response().body == "new");
}

TEST_CASE("what a soft purge makes stale is validated", "[http][purge]") {
    const bool below = GENERATE(false, SMARTCACHE_HAS_DISK != 0);
    const bool by_tag = GENERATE(false, true);
    Site site(plain(), below);
    site.unchanged = true;
    site.fields = {{"Cache-Control", "max-age=60"}, {"ETag", "\"1\""}, {"Cache-Tag", "t"}};
    (void)site.get("/a");
    site.clock.advance(10s);
    if (by_tag)
        site.web.purge_tag("t", Purge::soft);
    else
        CHECK(site.web.purge("http://a.example/a", Purge::soft));
    if (below) site.cache.clear_memory();
    const Response r = site.get("/a");
    CHECK(r.headers.value("X-Cache") == "REVALIDATED");
    CHECK(r.body == "1");
    CHECK(site.seen.back().headers.value("If-None-Match") == "\"1\"");
    CHECK(site.state("/a") == "HIT");
    site.clock.advance(59s);
    CHECK(site.state("/a") == "HIT");
    site.clock.advance(1s);
    CHECK(site.state("/a") == "REVALIDATED");
}

TEST_CASE("what a soft purge makes stale is served where that is allowed", "[http][purge]") {
    const bool by_tag = GENERATE(false, true);
    Site site;
    const auto soft = [&] {
        if (by_tag)
            site.web.purge_tag("t", Purge::soft);
        else
            CHECK(site.web.purge("http://a.example/a", Purge::soft));
    };
    site.fields = {{"Cache-Control", "max-age=60, stale-if-error=30"}, {"Cache-Tag", "t"}};
    (void)site.get("/a");
    soft();
    site.down = true;
    const Response stale = site.get("/a");
    CHECK(stale.headers.value("X-Cache") == "STALE");
    CHECK(stale.body == "1");
    site.down = false;
    CHECK(site.state("/a") == "MISS");

    site.fields = {{"Cache-Control", "max-age=60, stale-while-revalidate=30"}, {"Cache-Tag", "t"}};
    (void)site.web.purge("http://a.example/a");
    const std::string body = site.get("/a").body.str();
    soft();
    http::Transaction served =
        site.web.begin(smartcache_test::Site::request("GET", "/a"), http::Refresh::after_answer);
    REQUIRE(served.answered());
    CHECK(served.response().body == body);
    CHECK(served.response().headers.value("X-Cache") == "STALE");
    REQUIRE(served.wants_refresh());
    (void)served.finish(Response{200, site.fields, "fresh"});
    const Response hit = site.get("/a");
    CHECK(hit.headers.value("X-Cache") == "HIT");
    CHECK(hit.body == "fresh");

    site.fields = {{"Cache-Control", "max-age=60"}, {"Cache-Tag", "t"}};  // of no use once it is stale
    (void)site.web.purge("http://a.example/a");
    (void)site.get("/a");
    soft();
    site.down = true;
    CHECK_THROWS(site.get("/a"));
}

TEST_CASE("a soft purge makes every variant stale, and each is fresh again by itself", "[http][purge]") {
    const bool below = GENERATE(false, SMARTCACHE_HAS_DISK != 0);
    Site site(plain(), below);
    site.unchanged = true;
    site.fields = {{"Cache-Control", "max-age=60"}, {"ETag", "\"1\""}, {"Vary", "X"}};
    const auto state = [&](const char* x) {
        if (below) site.cache.clear_memory();
        return site.state("/a", {{"X", x}});
    };
    for (const char* x : {"1", "2", "3"}) CHECK(state(x) == "MISS");
    CHECK(site.web.purge("http://a.example/a", Purge::soft));
    CHECK(state("1") == "REVALIDATED");
    CHECK(state("1") == "HIT");
    CHECK(state("2") == "REVALIDATED");
    CHECK(site.web.purge("http://a.example/a", Purge::soft));
    CHECK(state("1") == "REVALIDATED");
    CHECK(state("3") == "REVALIDATED");  // stale since the first purge
    site.unchanged = false;
    CHECK(state("2") == "MISS");  // replaced, not validated
    CHECK(state("2") == "HIT");
    CHECK(site.web.purge("http://a.example/a"));
    for (const char* x : {"1", "2", "3"}) CHECK(state(x) == "MISS");
}

TEST_CASE("what was on its way during a soft purge is not stored", "[http][purge]") {
    Site site;
    (void)site.get("/a");
    site.clock.advance(61s);
    site.meanwhile = [&] { (void)site.web.purge("http://a.example/a", Purge::soft); };
    (void)site.get("/a");
    site.meanwhile = nullptr;
    CHECK(site.state("/a") == "MISS");
    CHECK_FALSE(site.web.purge("http://a.example/b", Purge::soft));
}

TEST_CASE("a prefix ends what lies at or below it, on its own host", "[http][purge]") {
    const bool below = GENERATE(false, SMARTCACHE_HAS_DISK != 0);
    const Purge how = GENERATE(Purge::hard, Purge::soft);
    MiddlewareOptions options = plain();
    options.purge_depth = 2;
    Site site(options, below);
    const std::vector<std::string> paths{"/a",       "/a?q=1",     "/a/",    "/a/b?q=2", "/a/b/c/d",
                                         "/%61/b/e", "/x/../a/b/", "/a/bcd", "/ab",      "/b/a"};
    const auto states = [&] {
        if (below) site.cache.clear_memory();
        std::string all;
        for (const std::string& path : paths) all += site.state(path).substr(0, 1);
        Request other = smartcache_test::Site::request("GET", "/a/b");
        other.host = "other.example";
        return all + std::string(site.send(other).headers.value("X-Cache")).substr(0, 1);
    };
    CHECK(states() == "MMMMMMMMMMM");
    CHECK(states() == "HHHHHHHHHHH");
    CHECK(site.web.purge_prefix("http://A.example/a/b/", how));
    CHECK(states() == "HHHMMMMHHHH");
    CHECK(site.web.purge_prefix("http://a.example/a", how));
    CHECK(states() == "MMMMMMMMHHH");
    CHECK(site.web.purge_prefix("http://a.example", how));
    CHECK(states() == "MMMMMMMMMMH");
    CHECK_FALSE(site.web.purge_prefix("http://a.example/a/b/c", how));
    CHECK_FALSE(site.web.purge_prefix("nonsense", how));
    CHECK(states() == "HHHHHHHHHHH");

    Site without;
    CHECK_FALSE(without.web.purge_prefix("http://a.example/a"));
}

TEST_CASE("PURGE by tag, by prefix and soft", "[http][purge]") {
    MiddlewareOptions options = plain();
    options.purge = [](const Request&) { return true; };
    options.purge_many = [](const Request& r) { return r.headers.has("X-Key"); };
    options.purge_depth = 1;
    Site site(options);
    site.unchanged = true;
    site.fields = {{"Cache-Control", "max-age=60"}, {"ETag", "\"1\""}, {"Surrogate-Key", "s t"}};
    const auto states = [&] { return site.state("/a/1") + ' ' + site.state("/b/1"); };
    CHECK(states() == "MISS MISS");

    CHECK(site.purge("/", {{"Surrogate-Key", "s"}}).status == 403);
    CHECK(site.purge("/a/*").status == 403);
    CHECK(states() == "HIT HIT");
    CHECK(site.purge("/", {{"X-Key", ""}, {"xkey", "x, s"}}).status == 200);
    CHECK(states() == "MISS MISS");
    CHECK(site.purge("/", {{"X-Key", ""}, {"Cache-Tag", "t"}, {"Soft-Purge", "1"}}).status == 200);
    CHECK(states() == "REVALIDATED REVALIDATED");
    CHECK(site.purge("/a/*", {{"X-Key", ""}}).status == 200);
    CHECK(states() == "MISS HIT");
    CHECK(site.purge("/b/*", {{"X-Key", ""}, {"Fastly-Soft-Purge", "1"}}).status == 200);
    CHECK(states() == "HIT REVALIDATED");
    CHECK(site.purge("/a/1", {{"Soft-Purge", "1"}}).status == 200);
    CHECK(states() == "REVALIDATED HIT");
    CHECK(site.purge("/b/1", {{"Soft-Purge", "0"}}).status == 200);
    CHECK(states() == "HIT MISS");
    CHECK(site.purge("/", {{"X-Key", ""}, {"Cache-Tag", " "}}).status == 400);
    CHECK(site.purge("/a/b/*", {{"X-Key", ""}}).status == 400);
    CHECK(states() == "HIT HIT");
}

}  // namespace middleware_purge_test
