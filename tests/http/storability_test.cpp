#include <smartcache/http/semantics/storability.hpp>

#include <initializer_list>
#include <optional>
#include <string>

#include "support/catch.hpp"

namespace storability_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;

namespace {
const WallTime now{1'000'000'000s};

StoreDecision judge(const Headers& response, const Headers& request = {}, int status = 200,
                    StorePolicy policy = {}) {
    Request r;
    r.headers = request;
    return may_store(r, Response{status, response, "body"}, CacheControl::parse(response), now, now, policy);
}
}  // namespace

TEST_CASE("RFC 9111 section 3: what a shared cache stores, by response directive", "[http][storability]") {
    struct Case {
        const char* control;
        Reason refused;
    };
    for (const Case& c : std::initializer_list<Case>{
             {"max-age=60", Reason::none},
             {"s-maxage=60", Reason::none},
             {"no-store, max-age=60", Reason::no_store},
             {"No-Store", Reason::no_store},
             {"private, max-age=60", Reason::private_},
             {"private=\"x-user\", max-age=60", Reason::none},
             {"max-age=60, no-cache", Reason::no_cache},  // no validator: it could never be reused
             {"max-age=60, no-cache=\"x\"", Reason::none},
             {"max-age=0", Reason::expired},
             {"max-age=-1", Reason::expired},
             {"max-age=0, stale-if-error=60", Reason::none},  // of use when the origin fails
             {"max-age=0, stale-if-error=60, must-revalidate", Reason::expired},
             {"", Reason::no_freshness},
             {"public", Reason::no_freshness},         // no default_ttl in this policy
             {"unprivate, max-age=60", Reason::none},  // D22: no substring search
             {"max-age=60, x=\"no-store\"", Reason::none},
             {"no-store, must-understand, max-age=60", Reason::none},  // 5.2.2.3, 200 is understood
         }) {
        CAPTURE(c.control);
        CHECK(judge(Headers{{"Cache-Control", c.control}}).refused == c.refused);
    }
    CHECK(judge(Headers{{"Cache-Control", "no-cache"}, {"ETag", "\"1\""}}).refused == Reason::none);
    CHECK(judge(Headers{{"Cache-Control", "no-cache"}, {"ETag", "\"1\""}}, {}, 500).refused ==
          Reason::no_freshness);
    CHECK(judge(Headers{{"Cache-Control", "no-cache, public"}, {"ETag", "\"1\""}}, {}, 500).refused ==
          Reason::none);
    CHECK(judge(Headers{{"Cache-Control", "no-cache, max-age=1"}, {"ETag", "\"1\""}}, {}, 500).refused ==
          Reason::none);
    CHECK(judge(Headers{{"Cache-Control", "max-age=0"}, {"Last-Modified", format_date(now)}}).refused ==
          Reason::none);
    CHECK(judge(Headers{{"Expires", "0"}}).refused == Reason::expired);
}

TEST_CASE("explicit freshness holds for any final status, 206 and 304 excepted", "[http][storability]") {
    const Headers fresh{{"Cache-Control", "max-age=60"}};
    for (const int status : {200, 201, 204, 299, 301, 302, 400, 404, 499, 500, 503, 599, 999})
        CHECK(judge(fresh, {}, status).refused == Reason::none);
    for (const int status : {206, 304}) CHECK(judge(fresh, {}, status).refused == Reason::partial);
    for (const int status : {0, 100, 199}) CHECK(judge(fresh, {}, status).refused == Reason::status);
    // RFC 9111 section 5.2.2.3
    const Headers strict{{"Cache-Control", "max-age=60, must-understand"}};
    CHECK(judge(strict, {}, 200).refused == Reason::none);
    CHECK(judge(strict, {}, 299).refused == Reason::status);
}

TEST_CASE("default_ttl speaks only where the origin is silent and nothing forbids it",
          "[http][storability]") {
    StorePolicy policy;
    policy.default_ttl = 1h;
    const auto lifetime = [&](const Headers& h) { return judge(h, {}, 200, policy).meta.lifetime; };
    CHECK(lifetime({}) == 1h);
    CHECK(lifetime({{"Cache-Control", "max-age=5"}}) == 5s);
    CHECK(lifetime({{"Cache-Control", "max-age=0"}, {"ETag", "\"1\""}}) == 0s);  // D15
    CHECK(lifetime({{"Expires", "0"}, {"ETag", "\"1\""}}) == 0s);
    CHECK(lifetime({{"Cache-Control", "no-cache"}, {"ETag", "\"1\""}}) == 0s);
    CHECK(judge({{"Cache-Control", "no-store"}}, {}, 200, policy).refused == Reason::no_store);
    CHECK(judge({}, {}, 200, policy).meta.is(StoredMeta::from_default_ttl));
    // An old way to say no-cache, where there is no new one.
    CHECK(judge({{"Pragma", "x, No-Cache"}}, {}, 200, policy).refused == Reason::no_cache);
    CHECK(judge({{"Pragma", "no-cache"}, {"ETag", "\"1\""}}, {}, 200, policy).refused == Reason::no_cache);
    CHECK(judge({{"Pragma", "no-cache"}, {"Cache-Control", "public"}}, {}, 200, policy).refused ==
          Reason::none);
    CHECK(judge({{"Pragma", "no-cache"}, {"Cache-Control", "max-age=5"}}, {}, 200, policy).refused ==
          Reason::none);
    policy.default_ttl.reset();
    CHECK(judge({}, {}, 200, policy).refused == Reason::no_freshness);
}

TEST_CASE("force_ttl beats freshness, never a prohibition", "[http][storability]") {
    StorePolicy policy;
    policy.force_ttl = 5min;
    CHECK(judge({{"Cache-Control", "max-age=1, no-cache"}}, {}, 200, policy).meta.lifetime == 5min);
    CHECK(judge({{"Cache-Control", "no-store"}}, {}, 200, policy).refused == Reason::no_store);
    CHECK(judge({{"Cache-Control", "private"}}, {}, 200, policy).refused == Reason::private_);
}

TEST_CASE("RFC 9111 section 3.5: a response to Authorization is stored only if it says so",
          "[http][storability]") {
    const Headers authorized{{"Authorization", "Basic YTpi"}};
    struct Case {
        const char* control;
        Reason refused;
    };
    for (const Case& c : std::initializer_list<Case>{{"max-age=60", Reason::authorization},
                                                     {"max-age=60, public", Reason::none},
                                                     {"s-maxage=60", Reason::none},
                                                     {"max-age=60, must-revalidate", Reason::none},
                                                     {"max-age=60, proxy-revalidate", Reason::authorization},
                                                     {"private, max-age=60", Reason::private_}}) {
        CAPTURE(c.control);
        CHECK(judge(Headers{{"Cache-Control", c.control}}, authorized).refused == c.refused);
    }
    StorePolicy policy;
    policy.cache_authenticated = true;
    CHECK(judge({{"Cache-Control", "max-age=60"}}, authorized, 200, policy).per_user);
    CHECK_FALSE(judge({{"Cache-Control", "max-age=60, public"}}, authorized, 200, policy).per_user);
    policy.cache_private = true;
    const Headers personal{{"Cache-Control", "max-age=60, private"}};
    CHECK(judge(personal, authorized, 200, policy).per_user);
    CHECK(judge(personal, {{"Cookie", "id=1"}}, 200, policy).per_user);
    // Nothing would tell an anonymous client from the next one.
    CHECK(judge(personal, {}, 200, policy).refused == Reason::private_);
}

TEST_CASE("a response that sets a cookie is refused unless public, or as the option says",
          "[http][storability]") {
    const Headers cookie{{"Cache-Control", "max-age=60"}, {"Set-Cookie", "id=1"}};
    const Headers public_cookie{{"Cache-Control", "max-age=60, public"}, {"Set-Cookie", "id=1"}};
    CHECK(judge(cookie).refused == Reason::set_cookie);
    CHECK(judge(public_cookie).refused == Reason::none);
    StorePolicy policy;
    policy.set_cookie = SetCookie::rfc;
    CHECK(judge(cookie, {}, 200, policy).refused == Reason::none);
    CHECK_FALSE(judge(cookie, {}, 200, policy).strip_cookie);
    policy.set_cookie = SetCookie::strip;
    CHECK(judge(cookie, {}, 200, policy).strip_cookie);
    // That the key names the user is no leave to replay the cookie.
    policy.set_cookie = SetCookie::refuse_unless_public;
    policy.cache_private = true;
    CHECK(judge({{"Cache-Control", "max-age=60, private"}, {"Set-Cookie", "id=1"}}, {{"Cookie", "a=b"}}, 200,
                policy)
              .refused == Reason::set_cookie);
}

TEST_CASE("nothing is guessed for a request with a cookie, unless cookies are in the key",
          "[http][storability]") {
    const Headers cookie{{"Cookie", "id=1"}};
    StorePolicy policy;
    policy.default_ttl = 1h;
    CHECK(judge({}, cookie, 200, policy).refused == Reason::cookie);
    CHECK(judge({{"Cache-Control", "max-age=5"}}, cookie, 200, policy).refused == Reason::none);
    CHECK(judge({{"Cache-Control", "public"}}, cookie, 200, policy).refused == Reason::none);
    policy.cookie_in_key = true;
    CHECK(judge({}, cookie, 200, policy).refused == Reason::none);
}

TEST_CASE("only complete responses are stored", "[http][storability]") {
    const auto with_length = [](const char* length) {
        return judge({{"Cache-Control", "max-age=60"}, {"Content-Length", length}}).refused;
    };
    CHECK(with_length("4") == Reason::none);
    CHECK(with_length("4, 4") == Reason::none);
    CHECK(with_length("5") == Reason::incomplete);
    CHECK(with_length("3") == Reason::incomplete);
    CHECK(with_length("4, 5") == Reason::incomplete);
    CHECK(with_length("x") == Reason::incomplete);
}

TEST_CASE("Vary: * anywhere is never stored", "[http][storability]") {
    CHECK(judge({{"Cache-Control", "max-age=60"}, {"Vary", "*"}}).refused == Reason::vary);
    CHECK(judge({{"Cache-Control", "max-age=60"}, {"Vary", "Accept, *"}}).refused == Reason::vary);
    CHECK(judge({{"Cache-Control", "max-age=60"}, {"Vary", "Accept"}, {"vary", "foo ,*"}}).refused ==
          Reason::vary);
    CHECK(judge({{"Cache-Control", "max-age=60"}, {"Vary", "Accept"}}).refused == Reason::none);
}

TEST_CASE("RFC 9111 section 3.1: fields of one hop or one user are taken out before storing",
          "[http][storability]") {
    Headers h{{"Connection", "X-Hop, close"},
              {"X-Hop", "1"},
              {"Keep-Alive", "timeout=5"},
              {"Transfer-Encoding", "chunked"},
              {"TE", "trailers"},
              {"Upgrade", "h2c"},
              {"Trailer", "X-T"},
              {"Proxy-Connection", "keep-alive"},
              {"Proxy-Authenticate", "Basic"},
              {"X-User", "ann"},
              {"X-Token", "t"},
              {"Set-Cookie", "a=1"},
              {"Content-Type", "text/plain"},
              {"X-Unknown", "kept"}};
    remove_unstorable(h, CacheControl::parse("private=\"X-User\", no-cache=\"x-token\""), true);
    CHECK(h.wire() == "Content-Type: text/plain\r\nX-Unknown: kept\r\n");
}

TEST_CASE("RFC 9110 section 7.6.1: Connection cannot make a field of everybody one of this hop",
          "[http][storability]") {
    for (const char* name : {"Host", "Content-Length", "content-type", "Cache-Control", "CDN-Cache-Control",
                             "VARY", "Date", "Expires", "Pragma", "Age", "ETag", "Last-Modified", "Location",
                             "Authorization", "WWW-Authenticate", "Cookie", "Set-Cookie"}) {
        CAPTURE(name);
        Headers h{{"Connection", "close, X-Hop"}, {"connection", name}, {name, "kept"}, {"X-Hop", "1"}};
        remove_hop_by_hop(h);
        CHECK(h.wire() == std::string(name) + ": kept\r\n");
    }
    // Their names are no prefixes or parts of others.
    Headers h{{"Connection", "X-Host, Contents, Cache-Control-X"},
              {"x-host", "1"},
              {"contents", "2"},
              {"cache-control-x", "3"}};
    remove_hop_by_hop(h);
    CHECK(h.empty());
}

TEST_CASE("a Connection field names as many fields as it likes", "[http][storability]") {
    std::string names;
    Headers h;
    for (int i = 0; i < 20'000; ++i) {
        const std::string number = std::to_string(i);
        names += "a" + number + ",";
        h.add("b" + number, "");
    }
    h.add("Connection", names + "b0");
    remove_hop_by_hop(h);
    CHECK(h.size() == 19'999);
}

}  // namespace storability_test
