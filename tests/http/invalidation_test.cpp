#include <smartcache/http/semantics/invalidation.hpp>

#include <initializer_list>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace invalidation_test {

using namespace smartcache::http;

namespace {
std::string text(const Url& url) {
    return url.scheme + "://" + url.host + url.path + (url.query.empty() ? "" : "?" + url.query);
}

std::vector<std::string> hit_by(const char* method, int status, Headers headers) {
    Request request;
    request.method = method;
    request.scheme = "http";
    request.host = "a.example";
    request.path = "/dir/item";
    request.query = "q=1";
    std::vector<std::string> urls;
    for (const Url& url : invalidated_by(request, Response{status, std::move(headers), {}}))
        urls.push_back(text(url));
    return urls;
}
}  // namespace

TEST_CASE("RFC 9111 section 4.4: successes of unsafe and unknown methods invalidate their target",
          "[http][invalidation]") {
    const std::vector<std::string> target{"http://a.example/dir/item?q=1"};
    for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "get"}) {
        CAPTURE(method);
        for (const int status : {200, 201, 204, 299, 301, 303}) CHECK(hit_by(method, status, {}) == target);
        for (const int status : {400, 404, 500, 100}) CHECK(hit_by(method, status, {}).empty());
    }
    for (const char* method : {"GET", "HEAD", "OPTIONS", "TRACE"}) CHECK(hit_by(method, 200, {}).empty());
}

TEST_CASE("RFC 9111 section 4.4: Location and Content-Location of the same origin only",
          "[http][invalidation]") {
    const auto second = [](const char* location) {
        const auto urls = hit_by("POST", 200, {{"Location", location}});
        return urls.size() == 2 ? urls[1] : std::string{};
    };
    CHECK(second("/other") == "http://a.example/other");
    CHECK(second("other?x=2#frag") == "http://a.example/dir/other?x=2");
    CHECK(second("../up") == "http://a.example/up");
    CHECK(second("?q=2") == "http://a.example/dir/item?q=2");
    CHECK(second("http://A.example:80/x") == "http://A.example:80/x");
    CHECK(second("//a.example/y") == "http://a.example/y");
    CHECK(second("http://b.example/other").empty());
    CHECK(second("https://a.example/other").empty());
    CHECK(second("http://a.example:8080/other").empty());
    CHECK(second("//b.example/other").empty());
    CHECK(second("mailto:x@a.example").empty());
    CHECK(second("").empty());
    CHECK(hit_by("PUT", 201, {{"Content-Location", "/c"}, {"Location", "/l"}}).size() == 3);
}

TEST_CASE("RFC 3986 section 5.4: references resolve as in its examples", "[http][url]") {
    const Url base{"http", "a", "/b/c/d;p", "q"};
    struct Case {
        const char* reference;
        const char* result;
    };
    for (const Case& c : std::initializer_list<Case>{{"g", "http://a/b/c/g"},
                                                     {"./g", "http://a/b/c/g"},
                                                     {"g/", "http://a/b/c/g/"},
                                                     {"/g", "http://a/g"},
                                                     {"//g", "http://g/"},
                                                     {"?y", "http://a/b/c/d;p?y"},
                                                     {"g?y", "http://a/b/c/g?y"},
                                                     {"#s", "http://a/b/c/d;p?q"},
                                                     {"g#s", "http://a/b/c/g"},
                                                     {";x", "http://a/b/c/;x"},
                                                     {"", "http://a/b/c/d;p?q"},
                                                     {".", "http://a/b/c/"},
                                                     {"./", "http://a/b/c/"},
                                                     {"..", "http://a/b/"},
                                                     {"../", "http://a/b/"},
                                                     {"../g", "http://a/b/g"},
                                                     {"../..", "http://a/"},
                                                     {"../../g", "http://a/g"},
                                                     {"../../../g", "http://a/g"},
                                                     {"/./g", "http://a/g"},
                                                     {"/../g", "http://a/g"},
                                                     {"g.", "http://a/b/c/g."},
                                                     {"..g", "http://a/b/c/..g"},
                                                     {"./../g", "http://a/b/g"},
                                                     {"g/./h", "http://a/b/c/g/h"},
                                                     {"g/../h", "http://a/b/c/h"},
                                                     {"g?y/../x", "http://a/b/c/g?y/../x"}}) {
        CAPTURE(c.reference);
        const auto url = resolve(base, c.reference);
        REQUIRE(url);
        CHECK(text(*url) == c.result);
    }
}

TEST_CASE("URLs given by operators are absolute, or a path", "[http][url]") {
    CHECK(text(*parse_url("https://U:p@Host:8443/p?q#f")) == "https://Host:8443/p?q");
    CHECK(text(*parse_url("HTTP://h")) == "http://h/");
    CHECK(text(*parse_url("http://h?q=1")) == "http://h/?q=1");
    CHECK(text(*parse_url("/p?q")) == "http:///p?q");
    for (const char* bad : {"", "p", "http:/x", "http://", "//h/x", "mailto:x"}) CHECK_FALSE(parse_url(bad));
    CHECK(normalised_host("http", "H.Example:80") == "h.example");
    CHECK(normalised_host("https", "h:80") == "h:80");
    CHECK(normalised_host("https", "h:443") == "h");
}

}  // namespace invalidation_test
