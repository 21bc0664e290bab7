#include <smartcache/http/options.hpp>

#include <string>

#include "support/catch.hpp"

namespace options_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;

TEST_CASE("defaults are the documented ones", "[http][options]") {
    const MiddlewareOptions o;
    CHECK(o.default_ttl == 1h);
    CHECK(o.cache_methods == std::vector<std::string>{"GET", "HEAD"});
    CHECK(o.cache_status_codes == std::vector<int>{200, 301, 302, 404});
    CHECK(o.ignore_query_params == std::vector<std::string>{"_", "timestamp", "cache_buster"});
    CHECK(o.cache_headers == std::vector<std::string>{"accept", "accept-encoding", "accept-language"});
    CHECK_FALSE(o.cache_private);
    CHECK_FALSE(o.cache_authenticated);
    CHECK_FALSE(o.generate_etags);
    CHECK(o.debug_headers);
    CHECK(o.cache_name == "SmartCache");
    CHECK(o.set_cookie == SetCookie::refuse_unless_public);
    o.validate();
}

TEST_CASE("the factories give options to change, by hand or by a callable", "[http][options]") {
    const MiddlewareOptions api = api_cache();
    CHECK(api.default_ttl == 300s);
    CHECK(api.cache_status_codes == std::vector<int>{200, 404});
    CHECK(api.cache_headers == std::vector<std::string>{"accept", "accept-encoding"});
    CHECK(api_cache(5s).default_ttl == 5s);

    const MiddlewareOptions files = static_cache();
    CHECK(files.default_ttl == 24h);
    CHECK(files.include_paths.size() == 5);
    CHECK(files.cache_authenticated);
    // D18: its own include_paths can be replaced
    const MiddlewareOptions mine = static_cache(1h, [](MiddlewareOptions& o) { o.include_paths = {"/x"}; });
    CHECK(mine.default_ttl == 1h);
    CHECK(mine.include_paths == std::vector<std::string>{"/x"});
    CHECK(static_cache([](auto& o) { o.cache_private = true; }).cache_private);

    const MiddlewareOptions pages = page_cache();
    CHECK(pages.default_ttl == 1h);
    CHECK(pages.cache_methods == std::vector<std::string>{"GET"});
    CHECK(pages.cache_status_codes == std::vector<int>{200});
    CHECK(pages.cache_vary_headers == std::vector<std::string>{"accept-language"});
    for (const MiddlewareOptions& o : {api, files, pages, mine}) o.validate();
}

TEST_CASE("one ConfigError names every wrong option, its value and what is allowed", "[http][options]") {
    MiddlewareOptions o;
    o.default_ttl = -1s;
    o.cache_methods = {"GET", "POST"};
    o.cache_status_codes = {200, 206, 99};
    o.cache_headers = {"bad name"};
    o.exclude_paths = {"admin"};
    o.rules = {{.pattern = "", .ttl = -5ms}};
    o.collapse_timeout = -1ms;
    o.targeted_fields = {"CDN Cache-Control"};
    o.tag_fields = {"Cache Tag"};
    o.purge_depth = 17;
    o.purge_many = [](const Request&) { return true; };  // and who may purge at all, nobody said
    try {
        o.validate();
        FAIL("accepted");
    } catch (const ConfigError& error) {
        CHECK(error.problems().size() == 13);
        const std::string text = error.what();
        for (const char* part : {"default_ttl", "-1000 ms", "\"POST\"", "GET, HEAD", "206", "99",
                                 "\"bad name\"", "\"admin\"", "rules[0].pattern", "rules[0].ttl",
                                 "collapse_timeout", "targeted_fields = \"CDN Cache-Control\"",
                                 "tag_fields = \"Cache Tag\"", "purge_depth = 17", "purge_many"}) {
            CAPTURE(part);
            CHECK(text.find(part) != std::string::npos);
        }
    }
}

TEST_CASE("on_response may return nothing or a verdict", "[http][options]") {
    MiddlewareOptions o;
    CHECK_FALSE(static_cast<bool>(o.on_response));
    o.on_response = [](const Request&, Response& r) { r.status = 201; };
    Response response;
    CHECK(o.on_response({}, response));
    CHECK(response.status == 201);
    o.on_response = [](const Request&, const Response& r) { return r.status < 500; };
    response.status = 503;
    CHECK_FALSE(o.on_response({}, response));
}

}  // namespace options_test
