#include <smartcache/http/rules.hpp>

#include <chrono>
#include <initializer_list>
#include <string>

#include "support/catch.hpp"

namespace rules_test {

using namespace smartcache::http;
using namespace std::chrono_literals;

TEST_CASE("patterns with a star are globs, others are the path itself", "[http][rules]") {
    struct Case {
        const char* pattern;
        const char* path;
        bool match;
    };
    for (const Case& c :
         std::initializer_list<Case>{{"/a", "/a", true},
                                     {"/a", "/a/b", false},
                                     {"/api/*", "/api/", true},
                                     {"/api/*", "/api/x/y", true},
                                     {"/api/*", "/api", false},
                                     {"*.css", "/static/x.css", true},
                                     {"*.css", "/x.css.map", false},
                                     {"/a/*/c", "/a/b/c", true},
                                     {"/a/*/c", "/a/b/b/c", true},
                                     {"/a/*/c", "/a/c", false},
                                     {"*", "", true},
                                     {"/?*", "/", false},
                                     {"/?*", "/x", true},
                                     {"/[a-c]x*", "/bx1", true},
                                     {"/[a-c]x*", "/dx1", false},
                                     {"/[!a-c]x*", "/dx1", true},
                                     {"/[ab]", "/a", false},
                                     {"/[ab]", "/[ab]", true},
                                     {"/[]x]*", "/]", true},
                                     {"/[x*", "/[xy", true},
                                     {"/[x*", "/x", false},
                                     {"/?", "/?", true},
                                     {"/?", "/a", false},
                                     {"/a*b*c*d", "/aXbXbXcXd", true},
                                     {"/a**", "/a", true},
                                     {"/*a*a*a*a*a*a*a*b", "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false}}) {
        CAPTURE(c.pattern, c.path);
        CHECK(matches_glob(c.pattern, c.path) == c.match);
    }
    CHECK(matches_path("/admin", "/admin/x"));    // include and exclude: prefixes
    CHECK(matches_path("/admin/*", "/admin/x"));  // and globs (D17)
    CHECK_FALSE(matches_path("/admin/*", "/other"));
}

TEST_CASE("an exact rule wins, then the first that matches", "[http][rules]") {
    const Rules rules{{.pattern = "/api/*", .ttl = 1s},
                      {.pattern = "/api/users/*", .ttl = 2s},
                      {.pattern = "/api/users/me", .ttl = 3s}};
    CHECK(rules.match("/api/users/me")->ttl == 3s);
    CHECK(rules.match("/api/users/7")->ttl == 1s);
    CHECK(rules.match("/other") == nullptr);
    CHECK(Rules{}.match("/") == nullptr);
}

TEST_CASE("spellings of a path do not get around a rule", "[http][rules]") {
    for (const char* path : {"/admin/x", "/%61dmin/x", "/x/../admin/x", "/./admin/x", "/x/%2e%2E/admin/x"}) {
        CAPTURE(path);
        CHECK(rule_path(path) == "/admin/x");
    }
    CHECK(rule_path("/a%2Fb") == "/a%2Fb");  // an encoded slash is no slash
    for (const char* path : {"/admin/x", "//admin/x", "/admin%2fx", "/admin//%2F/x", "/x//../admin/x",
                             "%2fadmin/x", "/%2e%2fadmin/x"}) {
        CAPTURE(path);
        CHECK(merged_rule_path(path) == "/admin/x");
    }
}

}  // namespace rules_test
