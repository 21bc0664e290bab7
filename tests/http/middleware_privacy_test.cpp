// Two users with credentials never see each other's responses.
#include <smartcache/http/middleware.hpp>

#include <initializer_list>
#include <string>
#include <vector>

#include "http/support/site.hpp"
#include "support/catch.hpp"

namespace middleware_privacy_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;
using smartcache_test::Site;

namespace {
/// An application that greets its user by name, and says `control` about who may keep that.
void greets(Site& site, Headers headers) {
    site.origin = [headers](const Request& r) {
        const std::string who = r.headers.combined("Authorization") + r.headers.combined("Cookie");
        return Response{200, headers, "hello " + who};
    };
}
}  // namespace

TEST_CASE("whatever the options, nobody sees what was made for another's credentials", "[http][privacy]") {
    std::vector<MiddlewareOptions> all;
    for (const bool cache_private : {false, true})
        for (const bool authenticated : {false, true})
            for (const SetCookie set_cookie : {SetCookie::refuse_unless_public, SetCookie::strip})
                for (MiddlewareOptions options :
                     {MiddlewareOptions{}, api_cache(), page_cache(), Site::plain()}) {
                    options.cache_private = cache_private;
                    options.cache_authenticated = authenticated;
                    options.set_cookie = set_cookie;
                    all.push_back(options);
                }
    // What an origin that serves users says, from nothing to everything but "public".
    const std::vector<Headers> origins{
        {},
        {{"Cache-Control", "private, max-age=60"}},
        {{"Cache-Control", "no-store"}},
        {{"Cache-Control", "no-cache"}, {"ETag", "\"same\""}},
        {{"Set-Cookie", "s=1"}, {"Cache-Control", "private"}},
        {{"Vary", "Cookie, Authorization"}, {"Cache-Control", "max-age=60"}},
        {{"Cache-Control", "private=\"x\", private"}, {"Expires", "Fri, 31 Dec 2094 00:00:00 GMT"}},
    };
    const std::vector<Headers> users{{{"Authorization", "Bearer ann"}},
                                     {{"Authorization", "Bearer bob"}},
                                     {{"Cookie", "id=ann"}},
                                     {{"Cookie", "id=bob"}},
                                     {{"Authorization", "Bearer ann"}, {"Cookie", "id=bob"}}};
    for (const MiddlewareOptions& options : all)
        for (const Headers& said : origins) {
            // no-cache with one ETag for all would be the origin's own mistake for cookies; with
            // Authorization it is ours.
            const bool one_tag = said.has("ETag");
            CAPTURE(said.wire(), options.cache_private, options.cache_authenticated);
            Site site(options);
            greets(site, said);
            for (int round = 0; round < 3; ++round)
                for (const Headers& user : users) {
                    if (one_tag && user.has("Cookie")) continue;
                    const std::string own =
                        "hello " + user.combined("Authorization") + user.combined("Cookie");
                    REQUIRE(site.get("/home", user).body == own);
                    site.clock.advance(7s);
                }
        }
}

TEST_CASE("users who may be told apart are served from the store, each their own", "[http][privacy]") {
    MiddlewareOptions options = Site::plain();
    options.cache_private = true;
    options.cache_authenticated = true;
    Site site(options);
    greets(site, {{"Cache-Control", "private, max-age=60"}});
    for (int round = 0; round < 2; ++round)
        for (const char* user : {"ann", "bob"})
            CHECK(site.get("/home", {{"Authorization", user}}).body == std::string("hello ") + user);
    CHECK(site.seen.size() == 2);
    for (const auto& [key, bytes] : site.cache.contents()) {
        CHECK(key.find("ann") == std::string::npos);  // credentials do not stand in keys
        CHECK(key.find("bob") == std::string::npos);
    }
}

TEST_CASE("a private response without credentials to tell its user by is for one client only",
          "[http][privacy]") {
    for (const SetCookie set_cookie : {SetCookie::refuse_unless_public, SetCookie::strip, SetCookie::rfc}) {
        MiddlewareOptions options = Site::plain();
        options.cache_private = true;
        options.set_cookie = set_cookie;
        Site site(options);
        site.counts({{"Cache-Control", "private, max-age=60"}, {"Set-Cookie", "session=new"}});
        CHECK(site.get("/login").body == "1");
        CHECK(site.get("/login").body == "2");
        CHECK(site.web.counters().reason(Reason::private_) == 2);
        CHECK(site.cache.stats().size == 0);
    }
}

TEST_CASE("what is public is shared with everybody, credentials or not", "[http][privacy]") {
    Site site;
    site.counts({{"Cache-Control", "public, max-age=60"}});
    CHECK(site.get("/logo", {{"Authorization", "ann"}}).body == "1");
    CHECK(site.get("/logo", {{"Authorization", "bob"}}).body == "1");
    CHECK(site.get("/logo", {{"Cookie", "id=1"}}).body == "1");
    CHECK(site.get("/logo").body == "1");
}

TEST_CASE("what an anonymous visitor got by default_ttl is not shown to who sends a cookie",
          "[http][privacy]") {
    Site site(api_cache());
    greets(site, {});
    CHECK(site.get("/home").body == "hello ");
    CHECK(site.get("/home").headers.get("X-Cache") == "HIT");
    CHECK(site.get("/home", {{"Cookie", "id=ann"}}).body == "hello id=ann");
    CHECK(site.get("/home").body == "hello ");
    CHECK(site.web.counters().reason(Reason::cookie) == 1);
    CHECK(site.web.counters().cache_skips == 1);
}

TEST_CASE("one cookie in the key says nothing about the others", "[http][privacy]") {
    MiddlewareOptions options = Site::plain();
    options.default_ttl = 60s;
    options.cache_cookies = {"lang"};
    Site site(options);
    greets(site, {});
    const auto get = [&](Headers headers) { return site.get("/home", std::move(headers)); };
    CHECK(get({{"Cookie", "lang=en; session=ann"}}).body == "hello lang=en; session=ann");
    CHECK(get({{"Cookie", "lang=en; session=bob"}}).body == "hello lang=en; session=bob");
    // Who sends that one alone, or none, shares; nobody else is shown it.
    CHECK(get({{"Cookie", "lang=en"}}).body == "hello lang=en");
    CHECK(get({{"Cookie", "lang=en"}}).headers.value("X-Cache") == "HIT");
    CHECK(get({{"Cookie", "lang=en; session=ann"}}).body == "hello lang=en; session=ann");
    CHECK(get({}).body == "hello ");
    CHECK(get({}).headers.value("X-Cache") == "HIT");
    CHECK(get({{"Cookie", "session=ann"}}).body == "hello session=ann");
    CHECK(site.web.counters().reason(Reason::cookie) == 4);
}

TEST_CASE("default_ttl does not know which cookies a key of the application's own tells apart",
          "[http][privacy]") {
    MiddlewareOptions options = Site::plain();
    options.default_ttl = 60s;
    options.custom_key_generator = [](const Request& r) { return r.path; };
    Site site(options);
    greets(site, {});
    CHECK(site.get("/home", {{"Cookie", "session=ann"}}).body == "hello session=ann");
    CHECK(site.get("/home", {{"Cookie", "session=bob"}}).body == "hello session=bob");
}

TEST_CASE("what an anonymous visitor got is not shown to who sends credentials, unless it says so",
          "[http][privacy]") {
    Site site;
    greets(site, {{"Cache-Control", "max-age=60"}});
    CHECK(site.get("/home").body == "hello ");
    CHECK(site.get("/home", {{"Authorization", "ann"}}).body == "hello ann");
    CHECK(site.get("/home").headers.get("X-Cache") == "HIT");
    CHECK(site.get("/home").body == "hello ");
}

TEST_CASE("a field that a client hides from the origin does not select what others get", "[http][privacy]") {
    Site site;
    site.origin = [](const Request& r) {
        return Response{200,
                        {{"Cache-Control", "max-age=60"}, {"Vary", "Accept-Language"}},
                        "in " + r.headers.combined("Accept-Language")};
    };
    const Headers hidden{{"Accept-Language", "de"}, {"Connection", "close, accept-language"}};
    CHECK(site.get("/a", hidden).body == "in ");
    CHECK(site.get("/a", {{"Accept-Language", "de"}}).body == "in de");
    CHECK(site.get("/a", hidden).body == "in de");
    CHECK(site.web.counters().reason(Reason::vary) == 1);  // it may have what is stored
    // Fields of the connection alone hide nothing.
    CHECK(site.get("/a", {{"Accept-Language", "de"},
                          {"Connection", "keep-alive, Upgrade, HTTP2-Settings, TE"},
                          {"Keep-Alive", "5"},
                          {"Upgrade", "h2c"},
                          {"HTTP2-Settings", "AAM"},
                          {"TE", "trailers"}})
              .headers.value("X-Cache") == "HIT");
}

TEST_CASE("a field that a client hides from the origin does not go into a key of the application's own",
          "[http][privacy]") {
    MiddlewareOptions options = Site::plain();
    options.custom_key_generator = [](const Request& r) { return r.path + r.headers.combined("X-Theme"); };
    Site site(options);
    site.origin = [](const Request& r) {
        return Response{200, {{"Cache-Control", "max-age=60"}}, "with " + r.headers.combined("X-Theme")};
    };
    CHECK(site.get("/a", {{"X-Theme", "dark"}, {"Connection", "X-Theme"}}).body == "with ");
    CHECK(site.get("/a", {{"X-Theme", "dark"}}).body == "with dark");
    CHECK(site.web.counters().reason(Reason::key) == 1);
}

TEST_CASE("Connection hides neither who asks, nor whom, nor what an answer forbids", "[http][privacy]") {
    MiddlewareOptions options = Site::plain();
    options.cache_cookies = {"theme"};
    Site site(options);
    site.origin = [](const Request& r) {
        return Response{200,
                        {{"Cache-Control", "max-age=60"}},
                        r.headers.combined("Host") + " " + r.headers.combined("Cookie")};
    };
    CHECK(site.get("/a", {{"Host", "a.example"}, {"Cookie", "theme=dark"}, {"Connection", "Cookie, Host"}})
              .body == "a.example theme=dark");
    CHECK(site.get("/a", {{"Host", "a.example"}, {"Cookie", "theme=dark"}}).headers.value("X-Cache") ==
          "HIT");

    site.counts(
        {{"Cache-Control", "no-store"}, {"Expires", site.date(1h)}, {"Connection", "close, cache-control"}});
    site.get("/b");
    CHECK(site.get("/b").headers.value("X-Cache") == "MISS");
    site.counts({{"Cache-Control", "max-age=60"}, {"Vary", "X"}, {"Connection", "vary"}});
    site.get("/c", {{"X", "1"}});
    CHECK(site.get("/c", {{"X", "2"}}).headers.value("X-Cache") == "MISS");
}

TEST_CASE("a cookie that a response sets is never replayed by default (D20)", "[http][privacy]") {
    struct Case {
        SetCookie option;
        const char* control;
        bool stored;
        bool replayed;
    };
    for (const Case& c :
         std::initializer_list<Case>{{SetCookie::refuse_unless_public, "max-age=60", false, true},
                                     {SetCookie::refuse_unless_public, "max-age=60, public", true, true},
                                     {SetCookie::strip, "max-age=60", true, false},
                                     {SetCookie::rfc, "max-age=60", true, true}}) {
        MiddlewareOptions options = Site::plain();
        options.set_cookie = c.option;
        Site site(options);
        site.answers({{"Cache-Control", c.control}, {"Set-Cookie", "id=ann"}});
        CHECK(site.get("/a").headers.has("Set-Cookie"));  // the client that caused it gets it
        const Response second = site.get("/a");
        CHECK((second.headers.get("X-Cache") == "HIT") == c.stored);
        CHECK(second.headers.has("Set-Cookie") == c.replayed);
    }
}

TEST_CASE("fields that private= and no-cache= name are for the first client only", "[http][privacy]") {
    Site site;
    site.answers({{"Cache-Control", "max-age=60, private=\"X-User\", no-cache=\"X-Token\""},
                  {"X-User", "ann"},
                  {"X-Token", "t"}});
    CHECK(site.get("/a").headers.get("X-User") == "ann");
    const Response hit = site.get("/a");
    CHECK(hit.headers.get("X-Cache") == "HIT");
    CHECK_FALSE(hit.headers.has("X-User"));
    CHECK_FALSE(hit.headers.has("X-Token"));
}

TEST_CASE("what a 304 calls private reaches the client that asked, but not as the length of what it gets",
          "[http][privacy]") {
    Site site;
    site.origin = [](const Request& request) {
        if (request.headers.has("If-None-Match"))
            return Response{
                304,
                {{"Cache-Control", "max-age=60, private=\"X-User, Content-Length, Content-Range\""},
                 {"ETag", "\"1\""},
                 {"X-User", "bob"},
                 {"Content-Length", "7777"},
                 {"Content-Range", "bytes 0-1/2"}},
                {}};
        return Response{200, {{"Cache-Control", "max-age=60"}, {"ETag", "\"1\""}}, "whole"};
    };
    (void)site.get("/a");
    site.clock.advance(std::chrono::seconds(61));
    const Response second = site.get("/a");
    CHECK(second.headers.get("X-Cache") == "REVALIDATED");
    CHECK(second.headers.get("X-User") == "bob");
    CHECK(second.headers.get("Content-Length").value_or("5") == "5");
    CHECK_FALSE(second.headers.has("Content-Range"));
    CHECK(second.body == "whole");
    CHECK_FALSE(site.get("/a").headers.has("X-User"));
}

TEST_CASE("records of another configuration do not select across what must tell users apart now",
          "[http][privacy]") {
    FakeClock clock;
    smartcache_test::MapCache cache(clock);
    const auto app = [](const Request& r) {
        return Response{200, {{"Cache-Control", "max-age=60"}}, r.headers.combined("X-Tenant")};
    };
    Middleware before(cache, Site::plain());
    MiddlewareOptions options = Site::plain();
    options.cache_headers = {"X-Tenant"};
    Middleware after(cache, options);
    const Request a = Site::request("GET", "/", {{"X-Tenant", "a"}});
    const Request b = Site::request("GET", "/", {{"X-Tenant", "b"}});
    CHECK(before.handle(a, app).body == "a");
    CHECK(after.handle(b, app).body == "b");
    CHECK(after.handle(a, app).body == "a");
    CHECK(after.handle(b, app).headers.get("X-Cache") == "HIT");
}

}  // namespace middleware_privacy_test
