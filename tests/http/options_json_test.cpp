#include <smartcache/http/options_json.hpp>

#include <string>

#include "support/catch.hpp"

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;

TEST_CASE("options are read from JSON over a base; what is not said stays", "[http][options][json]") {
    MiddlewareOptions base;
    base.grace = 7s;
    const MiddlewareOptions o = options_from_json(R"({
        "default_ttl": "5min", "cache_headers": [], "cache_status_codes": [200], "set_cookie": "strip", "keep_stale": 1500,
        "cache_private": true, "obey_client_reload": false, "cache_name": "edge",
        "targeted_fields": ["Edge-Cache-Control", "CDN-Cache-Control"],
        "tag_fields": ["X-Tags"], "hide_tags": true, "purge_depth": 2,
        "rules": [{"pattern": "/s/*", "ttl": "1d", "methods": ["GET"], "status_codes": [200, 404], "bypass": false},
                  {"pattern": "/x", "force_ttl": 10}]})",
                                                  base);
    CHECK(o.default_ttl == 5min);
    CHECK(o.cache_headers.empty());
    CHECK(o.cache_status_codes == std::vector<int>{200});
    CHECK(o.set_cookie == SetCookie::strip);
    CHECK(o.keep_stale == 1500ms);
    CHECK(o.cache_private);
    CHECK_FALSE(o.obey_client_reload);
    CHECK(o.cache_name == "edge");
    CHECK(o.targeted_fields == std::vector<std::string>{"Edge-Cache-Control", "CDN-Cache-Control"});
    CHECK(o.tag_fields == std::vector<std::string>{"X-Tags"});
    CHECK(o.hide_tags);
    CHECK(o.purge_depth == 2);
    CHECK(o.grace == 7s);
    CHECK(o.rules.size() == 2);
    CHECK(o.rules.match("/s/a")->ttl == 24h);
    CHECK(o.rules.match("/s/a")->status_codes == std::vector<int>{200, 404});
    CHECK(o.rules.match("/x")->force_ttl == 10ms);
    CHECK_FALSE(o.rules.match("/x")->ttl);
}

TEST_CASE("one ConfigError names every unknown key and wrong value", "[http][options][json]") {
    const auto problems = [](const char* text) -> std::string {
        try {
            (void)options_from_json(text);
            return {};
        } catch (const ConfigError& error) {
            return error.what();
        }
    };
    const std::string all =
        problems(R"({"default_ttl": "soon", "colour": 1, "cache_headers": "accept", "cache_private": 1,
        "set_cookie": "never", "cache_status_codes": ["200"], "rules": [{"patern": "/x"}, 5], "grace": 1.5, "purge_depth": -1})");
    for (const char* part : {"default_ttl = \"soon\"", "colour = 1", "cache_headers", "cache_private = 1",
                             "set_cookie = \"never\"", "cache_status_codes", "rules[0].patern", "rules[1]",
                             "grace = 1.5", "purge_depth = -1"}) {
        CAPTURE(part);
        CHECK(all.find(part) != std::string::npos);
    }
    CHECK_FALSE(problems("not json").empty());
    CHECK_FALSE(problems("[]").empty());
    CHECK(problems("{}").empty());
    CHECK_FALSE(problems(R"({"cache_methods": ["POST"]})").empty());  // what validate() refuses
}
