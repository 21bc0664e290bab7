#include <smartcache/http/semantics/reuse.hpp>

#include <initializer_list>

#include "support/catch.hpp"

namespace reuse_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;

namespace {
const WallTime arrival{1'000'000'000s};

StoredMeta stored(Duration lifetime, int flags = 0) {
    StoredMeta meta;
    meta.response_time = arrival;
    meta.lifetime = lifetime;
    meta.flags = static_cast<std::uint16_t>(flags);
    return meta;
}
}  // namespace

TEST_CASE("RFC 9111 section 4.2: fresh while the lifetime is greater than the age", "[http][reuse]") {
    StoredMeta meta = stored(10s);
    CHECK(meta.fresh(arrival + 9'999ms));
    CHECK_FALSE(meta.fresh(arrival + 10s));
    meta.initial_age = 4s;
    CHECK(meta.age(arrival + 3s) == 7s);
    CHECK_FALSE(meta.fresh(arrival + 6s));
    CHECK(meta.age(arrival - 1h) == 4s);  // a clock set back does not make it younger than on arrival
    CHECK_FALSE(stored(0s).fresh(arrival));
}

TEST_CASE("RFC 9111 section 5.2.1: what a request asks for decides about reuse", "[http][reuse]") {
    struct Case {
        const char* request;
        Duration lifetime;
        int flags;
        Duration age;
        Reuse expected;
    };
    using M = StoredMeta;
    for (const Case& c : std::initializer_list<Case>{
             {"", 10s, 0, 5s, Reuse::fresh},
             {"", 10s, 0, 15s, Reuse::validate},
             {"no-cache", 10s, 0, 5s, Reuse::validate},  // 5.2.1.4
             {"max-age=5", 10s, 0, 5s, Reuse::fresh},    // 5.2.1.1
             {"max-age=4", 10s, 0, 5s, Reuse::validate},
             {"max-age=0", 10s, 0, 0s, Reuse::validate},
             {"max-age=x", 10s, 0, 5s, Reuse::validate},
             {"min-fresh=5", 10s, 0, 5s, Reuse::fresh},  // 5.2.1.3
             {"min-fresh=6", 10s, 0, 5s, Reuse::validate},
             {"min-fresh=0", 10s, 0, 15s, Reuse::validate},
             {"max-stale", 10s, 0, 1000s, Reuse::stale},  // 5.2.1.2
             {"max-stale=5", 10s, 0, 15s, Reuse::stale},
             {"max-stale=4", 10s, 0, 15s, Reuse::validate},
             {"max-stale=x", 10s, 0, 15s, Reuse::validate},
             {"max-stale", 10s, M::never_stale, 15s, Reuse::validate},  // 5.2.2.2
             {"max-stale", 10s, M::always_validate, 5s, Reuse::validate},
             {"max-stale=100, max-age=12", 10s, 0, 15s, Reuse::validate},
             {"max-stale=100, max-age=20", 10s, 0, 15s, Reuse::stale},
             {"", 10s, M::always_validate, 5s, Reuse::validate},  // 5.2.2.4
             {"", 10s, M::never_stale, 5s, Reuse::fresh},
         }) {
        CAPTURE(c.request, c.age.count(), c.flags);
        CHECK(may_reuse(stored(c.lifetime, c.flags), CacheControl::parse(c.request), arrival + c.age) ==
              c.expected);
    }
}

TEST_CASE("RFC 5861 section 3: within stale-while-revalidate it is served and refreshed behind",
          "[http][reuse]") {
    StoredMeta meta = stored(10s);
    meta.stale_while_revalidate = 5s;
    CHECK(may_reuse(meta, {}, arrival + 9s) == Reuse::fresh);
    CHECK(may_reuse(meta, {}, arrival + 10s) == Reuse::background);
    CHECK(may_reuse(meta, {}, arrival + 14'999ms) == Reuse::background);
    CHECK(may_reuse(meta, {}, arrival + 15s) == Reuse::validate);
    meta.flags = StoredMeta::never_stale;
    CHECK(may_reuse(meta, {}, arrival + 12s) == Reuse::validate);
}

TEST_CASE("RFC 5861 section 4: within stale-if-error it answers for a failing origin", "[http][reuse]") {
    StoredMeta meta = stored(10s);
    const CacheControl nothing;
    CHECK_FALSE(may_serve_on_error(meta, nothing, arrival + 10s));
    meta.stale_if_error = 5s;
    CHECK(may_serve_on_error(meta, nothing, arrival + 14s));
    CHECK_FALSE(may_serve_on_error(meta, nothing, arrival + 15s));
    CHECK(may_serve_on_error(meta, CacheControl::parse("stale-if-error=100"), arrival + 100s));
    CHECK_FALSE(may_serve_on_error(meta, CacheControl::parse("no-cache"), arrival + 11s));
    for (const int flag : {StoredMeta::never_stale, StoredMeta::always_validate}) {
        meta.flags = static_cast<std::uint16_t>(flag);
        CHECK_FALSE(may_serve_on_error(meta, nothing, arrival + 11s));
    }
}

TEST_CASE("a stored error does not stand in for another one", "[http][reuse]") {
    // A stale 503 used to be served, with its old text and Age, in place of the 503 that the origin had just
    // sent.
    StoredMeta meta = stored(10s);
    meta.stale_if_error = 1h;
    for (const int status : {200, 404, 410, 501}) {
        meta.status = static_cast<std::uint16_t>(status);
        CHECK(may_serve_on_error(meta, {}, arrival + 14s));
    }
    for (const int status : {500, 502, 503, 504}) {
        meta.status = static_cast<std::uint16_t>(status);
        CHECK_FALSE(may_serve_on_error(meta, {}, arrival + 14s));
    }
}

TEST_CASE("RFC 9111 section 5.4: Pragma speaks only without Cache-Control", "[http][reuse]") {
    CHECK(request_control(Headers{{"Pragma", "No-Cache"}}).no_cache.whole);
    CHECK_FALSE(request_control(Headers{{"Pragma", "no-cache"}, {"Cache-Control", "max-age=5"}}).no_cache);
    CHECK_FALSE(request_control(Headers{{"Pragma", "other"}}).no_cache);
}

}  // namespace reuse_test
