#include <smartcache/http/semantics/cache_status.hpp>

#include "support/catch.hpp"

namespace cache_status_test {

using namespace smartcache::http;
using namespace std::chrono_literals;

TEST_CASE("RFC 9211 section 2: members of Cache-Status", "[http][cache_status]") {
    CacheStatus hit;
    hit.hit = true;
    hit.ttl = 1'500ms;
    CHECK(format_cache_status("SmartCache", hit) == "SmartCache; hit; ttl=1");
    hit.ttl = -500ms;
    CHECK(format_cache_status("SmartCache", hit) == "SmartCache; hit; ttl=-1");

    CacheStatus miss;
    miss.fwd = CacheStatus::Forward::uri_miss;
    miss.fwd_status = 304;
    miss.stored = true;
    miss.collapsed = true;
    miss.detail = "no_store";
    CHECK(format_cache_status("c", miss) ==
          "c; fwd=uri-miss; fwd-status=304; stored; collapsed; detail=no_store");
    // RFC 8941 section 3.3: what is no token is a string
    CHECK(format_cache_status("My \"cache\"", {}) == "\"My \\\"cache\\\"\"");
    CHECK(format_cache_status("1st", {}) == "\"1st\"");
}

}  // namespace cache_status_test
