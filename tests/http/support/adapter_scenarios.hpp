#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <smartcache/http/middleware.hpp>

#include "http/support/adapter_server.hpp"
#include "support/catch.hpp"

// What every adapter must do, whatever its framework: scenarios over real loopback HTTP, with a client that adds
// nothing of its own. Time is a fake clock's.
namespace smartcache_test {

namespace scenarios {

using namespace std::chrono_literals;

inline void made_once(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    const std::string binary("\0\xFF\r\n binary", 11);
    http::Response made = page(binary);
    made.headers.add("X-Twice", "1");
    made.headers.add("X-Twice", "2");
    server->serve(made);
    Browser browser(*server);
    for (int i = 0; i < 4; ++i) {
        const RawMessage r = browser.get("/page?x=1");
        CHECK(r.status() == 200);
        CHECK(r.body == binary);
        CHECK(r.field("X-Cache") == (i == 0 ? "MISS" : "HIT"));
        CHECK(r.field("Content-Type") == "application/octet-stream");
        CHECK(r.field("Content-Length") == "11");
        for (const char* once :
             {"\r\nContent-Type:", "\r\nContent-Length:", "\r\nCache-Status:", "\r\nDate:"})
            CHECK(count_of(r, once) == 1);
        CHECK(count_of(r, "\r\nX-Twice: ") == 2);
        CHECK(r.head.find("X-Twice: 1") < r.head.find("X-Twice: 2"));
        CHECK(r.field("Age") == (i == 0 ? "" : std::to_string(10 * i)));
        server->clock.advance(10s);
    }
    CHECK(server->calls == 1);
    CHECK(browser.get("/page?x=2").field("X-Cache") == "MISS");
    CHECK(browser.get("/page?x=%31").field("X-Cache") == "HIT");
    server->clock.advance(60s);
    CHECK(browser.get("/page?x=1").field("X-Cache") == "MISS");
}

inline void conditions_and_head(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    server->serve(page_with_etag("0123456789"));
    Browser browser(*server);
    CHECK(browser.get("/page").body == "0123456789");
    const RawMessage not_modified = browser.get("/page", "If-None-Match: \"1\"\r\n");
    CHECK(not_modified.status() == 304);
    CHECK(not_modified.field("ETag") == "\"1\"");
    const RawMessage modified = browser.get("/page", "If-None-Match: \"2\"\r\n");
    CHECK(modified.status() == 200);
    CHECK(modified.body == "0123456789");
    const RawMessage head = browser.ask("HEAD", "/page");
    CHECK(head.status() == 200);
    CHECK(head.field("Content-Length") == "10");
    CHECK(head.field("X-Cache") == "HIT");
    CHECK(browser.get("/page").body == "0123456789");
    CHECK(server->calls == 1);
}

inline void head_that_misses(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    server->serve([](const http::Request& request) {
        Made made{page(request.method == "HEAD" ? "" : "0123456789"), {}};
        made.response.headers.add("X-Method", request.method);
        return made;
    });
    Browser browser(*server);
    const RawMessage head = browser.ask("HEAD", "/page");
    CHECK(head.status() == 200);
    CHECK(head.field("X-Cache") == "MISS");
    CHECK(head.field("X-Method") == "HEAD");
    CHECK(browser.get("/page").body == "0123456789");  // what answers a HEAD does not answer a GET
    CHECK(server->calls == 2);
}

inline void ranges(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    server->serve(page_with_etag("0123456789"));
    Browser browser(*server);
    CHECK(browser.get("/page").body == "0123456789");
    const RawMessage part = browser.get("/page", "Range: bytes=2-4\r\n");
    CHECK(part.status() == 206);
    CHECK(part.body == "234");
    CHECK(part.field("X-Cache") == "HIT");
    const RawMessage held = browser.get("/page", "Range: bytes=2-4\r\nIf-Range: \"1\"\r\n");
    CHECK(held.status() == 206);
    CHECK(held.body == "234");
    CHECK(count_of(held, "\r\nContent-Range:") == 1);
    const RawMessage changed = browser.get("/page", "Range: bytes=2-4\r\nIf-Range: \"2\"\r\n");
    CHECK(changed.status() == 200);
    CHECK(changed.body == "0123456789");
    const RawMessage cut_short = browser.get("/page", "Range: bytes=7-99\r\n");
    CHECK(cut_short.status() == 206);
    CHECK(cut_short.field("Content-Range") == "bytes 7-9/10");
    CHECK(cut_short.body == "789");
    const RawMessage last = browser.get("/page", "Range: bytes=-2\r\n");
    CHECK(last.status() == 206);
    CHECK(last.body == "89");
    const RawMessage beyond = browser.get("/page", "Range: bytes=10-\r\n");
    CHECK(beyond.status() == 416);
    CHECK(beyond.field("Content-Range") == "bytes */10");
    CHECK(beyond.body.empty());
    CHECK(browser.get("/page").body == "0123456789");
    CHECK(server->calls == 1);
}

/// What a range is cut out of need not be in the store.
inline void ranges_that_miss(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    server->serve(page("0123456789"));
    Browser browser(*server);
    const RawMessage missed = browser.get("/page", "Range: bytes=2-4\r\n");
    // A server need not know ranges; the answer is right in itself all the same.
    CHECK(missed.body == (missed.status() == 206 ? "234" : "0123456789"));
    CHECK((missed.status() == 206 || missed.status() == 200));
    CHECK(missed.field("Content-Length") == std::to_string(missed.body.size()));
    const RawMessage beyond = browser.get("/page", "Range: bytes=10-\r\n");
    CHECK(beyond.status() == 416);
    CHECK(browser.get("/page").body == "0123456789");
    CHECK(server->calls == 1);
}

inline void vary(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    server->serve([](const http::Request& request) {
        Made made{page("in " + std::string(request.headers.value("Accept-Language"))), {}};
        made.response.headers.add("Vary", "Accept-Language");
        return made;
    });
    Browser browser(*server);
    for (const char* cached : {"MISS", "HIT"})
        for (const std::string language : {"de", "en"}) {
            const RawMessage r = browser.get("/page", "Accept-Language: " + language + "\r\n");
            CHECK(r.body == "in " + language);
            CHECK(r.field("X-Cache") == cached);
        }
    CHECK(server->calls == 2);
}

inline void post_invalidates(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    server->serve([](const http::Request& request) {
        return Made{page(request.method + " " + request.body.str()), {}};
    });
    Browser browser(*server);
    CHECK(browser.get("/page").body == "GET ");
    CHECK(browser.get("/page").field("X-Cache") == "HIT");
    const std::string content = "content \xC3\xA4 of a form";
    CHECK(browser.ask("POST", "/page", "Content-Type: text/plain\r\n", content).body == "POST " + content);
    CHECK(browser.get("/page").field("X-Cache") == "MISS");
}

inline void responses_without_content(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    server->serve([](const http::Request& request) {
        return Made{{request.path == "/page/none" ? 204 : 200, {{"Cache-Control", "max-age=60"}}, {}}, {}};
    });
    Browser browser(*server);
    for (int i = 0; i < 2; ++i) {
        const RawMessage none = browser.get("/page/none");
        CHECK(none.status() == 204);
        CHECK(none.body.empty());
        CHECK(none.field("Content-Length").empty());
        const RawMessage empty = browser.get("/page/empty");
        CHECK(empty.status() == 200);
        CHECK(empty.field("Content-Length") == "0");
    }
    CHECK(server->calls == 2);
}

inline void validation(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    server->serve([&](const http::Request& request) {
        http::Response made = page_with_etag("body");
        if (request.headers.get("If-None-Match") == "\"1\"") {
            made.status = 304;
            made.body = {};
        }
        return Made{std::move(made), {}};
    });
    Browser browser(*server);
    CHECK(browser.get("/page").body == "body");
    server->clock.advance(60s);
    const RawMessage validated = browser.get("/page");
    CHECK(validated.status() == 200);
    CHECK(validated.body == "body");
    CHECK(validated.field("X-Cache") == (adapter.validates ? "REVALIDATED" : "MISS"));
    CHECK(browser.get("/page").field("X-Cache") == "HIT");
    CHECK(server->calls == 2);
}

inline void stale_if_error(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    server->serve(page("good", "max-age=10, stale-if-error=100"));
    Browser browser(*server);
    CHECK(browser.get("/page").body == "good");
    server->clock.advance(50s);
    server->serve([](const http::Request&) -> Made { throw std::runtime_error("broken"); });
    const RawMessage stale = browser.get("/page");
    CHECK(stale.status() == 200);
    CHECK(stale.body == "good");
    CHECK(stale.field("X-Cache") == "STALE");
    server->clock.advance(60s);
    CHECK(browser.get("/page").status() == 500);
}

inline void stale_without_content(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    server->serve([](const http::Request& request) {
        http::Response made =
            page(request.path == "/page/full" ? "good" : "", "max-age=10, stale-if-error=100");
        if (request.path == "/page/none") made.status = 204;
        return Made{std::move(made), {}};
    });
    Browser browser(*server);
    CHECK(browser.get("/page").status() == 200);
    CHECK(browser.get("/page/none").status() == 204);
    CHECK(browser.get("/page/full").status() == 200);
    server->clock.advance(50s);
    server->serve([](const http::Request&) {
        const auto left = std::make_shared<int>(1);
        Made made{page({}, "no-store"), [left] { return std::string((*left)-- > 0 ? "failure" : ""); }};
        made.response.status = 503;
        return made;
    });
    const RawMessage empty = browser.get("/page");
    CHECK(empty.status() == 200);
    CHECK(empty.field("X-Cache") == "STALE");
    CHECK(empty.field("Content-Length") == "0");
    CHECK(empty.field("Transfer-Encoding").empty());
    CHECK(empty.body.empty());
    const RawMessage none = browser.get("/page/none");
    CHECK(none.status() == 204);
    CHECK(none.field("X-Cache") == "STALE");
    CHECK(none.field("Content-Length").empty());
    CHECK(none.field("Transfer-Encoding").empty());
    const RawMessage head = browser.ask("HEAD", "/page/full");
    CHECK(head.status() == 200);
    CHECK(head.field("X-Cache") == "STALE");
    CHECK(head.field("Content-Length") == "4");
    const RawMessage full = browser.get("/page/full", "Connection: close\r\n");
    CHECK(full.body == "good");  // the connection is in step
    CHECK(full.field("Connection") == "close");
    CHECK(server->calls == 7);
}

inline void streams_pass_by(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    server->serve([](const http::Request&) {
        auto pieces =
            std::make_shared<std::vector<std::string>>(std::vector<std::string>{"", "med", "strea"});
        return Made{page({}), [pieces] {
                        std::string piece = std::move(pieces->back());
                        if (!piece.empty()) pieces->pop_back();
                        return piece;
                    }};
    });
    Browser browser(*server);
    for (int i = 0; i < 2; ++i) {
        const RawMessage r = browser.get("/page");
        CHECK(r.field("Transfer-Encoding") == "chunked");
        CHECK(r.field("Content-Length").empty());
        CHECK(r.body == "streamed");
        CHECK(r.field("X-Cache") == "MISS");
    }
    CHECK(server->calls == 2);
    CHECK(server->web.counters().reason(http::Reason::streamed) == 2);
    CHECK(server->cache.contents().empty());
}

inline void stream_that_breaks_off(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    server->serve([](const http::Request&) {
        auto sent = std::make_shared<int>(0);
        return Made{page({}), [sent] {
                        if (++*sent == 3) throw std::runtime_error("broken");
                        return std::string("part");
                    }};
    });
    {
        Browser browser(*server);
        browser.send("GET", "/page");
        const std::string all = browser.socket().read_all();  // the server hangs up
        CHECK(all.find("part") != std::string::npos);
        CHECK(all.find("\r\n0\r\n") == std::string::npos);
    }
    CHECK(server->cache.contents().empty());
    server->serve(page("whole"));
    CHECK(Browser(*server).get("/page").body == "whole");
}

inline void client_that_goes_away(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    std::weak_ptr<int> streaming;
    std::mutex mutex;
    server->serve([&](const http::Request&) {
        auto alive = std::make_shared<int>();
        const std::lock_guard lock(mutex);
        streaming = alive;
        return Made{page({}), [alive] { return std::string(1U << 16U, 'x'); }};  // without end
    });
    {
        Browser browser(*server);
        browser.send("GET", "/page");
        CHECK(browser.socket().read_exactly(1U << 20U).size() == 1U << 20U);
    }
    CHECK(eventually([&] {
        const std::lock_guard lock(mutex);
        return streaming.expired();
    }));
    CHECK(server->cache.contents().empty());
    server->serve(page("whole"));
    Browser browser(*server);
    const RawMessage next = browser.get("/page");
    CHECK(next.field("X-Cache") == "MISS");
    CHECK(next.body == "whole");
    // Nor does half a request matter to anybody.
    const int calls = server->calls;
    std::vector<const char*> halves{"Content-Length: 100\r\n\r\nhalf",
                                    "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
                                    "Transfer-Encoding: chunked\r\n\r\n64\r\nhalf"};
    if (adapter.ends_chunks) halves.push_back("Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n");
    for (const char* const half : halves) {
        Browser gone(*server);
        gone.socket().send(std::string("POST /page HTTP/1.1\r\nHost: a.example\r\n") + half);
        gone.socket().end_sending();
        (void)gone.socket().read_all();  // until the server hangs up
        CHECK(server->calls == calls);
    }
    CHECK(browser.get("/page").field("X-Cache") == "HIT");
}

inline void too_large(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    server->cache.max_bytes = 100'000;
    const std::string large(3'000'000, 'x');
    server->serve(page(large));
    Browser browser(*server);
    for (int i = 0; i < 2; ++i) {
        const RawMessage r = browser.get("/page");
        CHECK(r.body.size() == large.size());
        CHECK(r.body == large);
        CHECK(r.field("X-Cache") == "MISS");
    }
    CHECK(server->calls == 2);
    CHECK(server->web.counters().reason(http::Reason::refused) == 2);
    server->serve(page(large.substr(0, 90'000)));
    CHECK(browser.get("/page").field("X-Cache") == "MISS");
    CHECK(browser.get("/page").body == large.substr(0, 90'000));
    CHECK(server->calls == 3);
}

inline void users_apart(const Adapter& adapter) {
    http::MiddlewareOptions options = Site::plain();
    options.default_ttl = 60s;  // the tempting case: the application says nothing
    const auto server = adapter.start(options);
    server->serve([](const http::Request& request) {
        const std::string who =
            "for " + request.headers.combined("Cookie") + request.headers.combined("Authorization");
        http::Response made = page(who);
        made.headers.remove("Cache-Control");
        if (request.path == "/page/private") made.headers.set("Cache-Control", "private, max-age=60");
        if (request.path == "/page/cookie") made.headers.set("Set-Cookie", "session=" + who);
        made.status = request.path == "/page/status" ? 299 : 200;
        return Made{std::move(made), {}};
    });
    Browser browser(*server);
    for (const std::string path : {"/page", "/page/private", "/page/cookie", "/page/status"})
        for (const std::string field : {"Cookie", "Authorization"})
            for (int i = 0; i < 2; ++i)
                for (const std::string user : {"ann", "bob"}) {
                    const RawMessage r = browser.get(path, field + ": " + user + "\r\n");
                    CHECK(r.status() == (path == "/page/status" ? 299 : 200));
                    CHECK(r.body == "for " + user);
                    CHECK(r.field("Set-Cookie") == (path == "/page/cookie" ? "session=for " + user : ""));
                }
    CHECK(server->calls == 32);
}

inline void misses_collapse(const Adapter& adapter) {
    constexpr int clients = 6;
    std::atomic<int> begun{0};
    http::MiddlewareOptions options = Site::plain();
    options.on_request = [&](const http::Request&) {
        ++begun;
        return http::RequestVerdict::proceed();
    };
    const auto server = adapter.start(options);
    std::atomic<bool> all_came{false};
    server->serve([&](const http::Request&) {
        all_came = eventually([&] { return begun == clients; });
        return Made{page("once"), {}};
    });
    std::vector<Browser> browsers;
    for (int i = 0; i < clients; ++i) browsers.emplace_back(*server);
    for (Browser& browser : browsers) browser.send("GET", "/page");
    for (Browser& browser : browsers) CHECK(browser.read().body == "once");
    CHECK(all_came);
    CHECK(server->calls == 1);
    CHECK(server->web.counters().cache_hits == clients - 1);
}

inline void closes_when_asked(const Adapter& adapter) {
    const auto server = adapter.start(Site::plain());
    server->serve(page("page"));
    for (int i = 0; i < 2; ++i) {
        Browser browser(*server);
        const RawMessage r = browser.get("/page", "Connection: close\r\n");
        CHECK(r.field("Connection") == "close");
        CHECK(r.body == "page");
        CHECK(browser.socket().read_all().empty());
    }
    CHECK(server->calls == 1);
}

}  // namespace scenarios

/// Runs every scenario, each as a section of the calling test.
inline void run_adapter_scenarios(const Adapter& adapter) {
    using namespace scenarios;
    SECTION("a page is made once, then served from the store") {
        made_once(adapter);
    }
    SECTION("conditions and HEAD are answered from the store") {
        conditions_and_head(adapter);
    }
    SECTION("a HEAD that misses goes to the application") {
        head_that_misses(adapter);
    }
    SECTION("ranges are cut out of what is stored") {
        ranges(adapter);
    }
    SECTION("a range that misses leaves the whole in the store") {
        ranges_that_miss(adapter);
    }
    SECTION("variants are kept apart") {
        vary(adapter);
    }
    SECTION("a POST reaches the application with its body and invalidates") {
        post_invalidates(adapter);
    }
    SECTION("responses without content leave the connection in step") {
        responses_without_content(adapter);
    }
    SECTION("what has expired is validated where the application can") {
        validation(adapter);
    }
    SECTION("stale responses answer for an application that fails") {
        stale_if_error(adapter);
    }
    SECTION("a stale response without content is sent without that of the origin that fails") {
        stale_without_content(adapter);
    }
    SECTION("streamed responses pass by the cache, whole") {
        streams_pass_by(adapter);
    }
    SECTION("a stream that breaks off is seen to, and not stored") {
        stream_that_breaks_off(adapter);
    }
    SECTION("a client that goes away leaves nothing behind") {
        client_that_goes_away(adapter);
    }
    SECTION("a body over the limit is passed on, not stored") {
        too_large(adapter);
    }
    SECTION("no user sees what was made for another") {
        users_apart(adapter);
    }
    SECTION("misses that come together are one call of the application") {
        misses_collapse(adapter);
    }
    SECTION("the connection ends where the client asks for it") {
        closes_when_asked(adapter);
    }
}

}  // namespace smartcache_test
