#include <smartcache/core/canonical_key.hpp>

#include <initializer_list>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"

namespace canonical_key_test {

using namespace smartcache;

TEST_CASE("a request's key is readable and the same for GET and HEAD", "[key]") {
    const std::string key = canonical_key("GET", "/api/users", "page=1", {{"Accept", "text/html"}});
    CHECK(key == "3:GET 10:/api/users 6:page=1 6:accept=9:text/html");
    CHECK(canonical_key("HEAD", "/api/users", "page=1", {{"Accept", "text/html"}}) == key);
    CHECK(canonical_key("POST", "/") == "4:POST 1:/ 0:");
    CHECK(canonical_key("GET", "/a", "",
                        std::vector<std::pair<std::string, std::string>>{{"B", "2"}, {"A", "1"}}) ==
          "3:GET 2:/a 0: 1:a=1:1 1:b=1:2");
}

TEST_CASE("requests that differ never share a key, whatever delimiters they contain", "[key]") {
    std::set<std::string> keys;
    std::size_t made = 0;
    const auto add = [&](std::string key) {
        ++made;
        keys.insert(std::move(key));
    };
    add(canonical_key("GET", "/a", "b=1"));
    add(canonical_key("GET", "/a 3:b=1", ""));
    add(canonical_key("GET", "/a?b=1", ""));
    add(canonical_key("GET /a", "", "b=1"));
    add(canonical_key("GET", "/ab", "=1"));
    add(canonical_key("GET", "/a", "", {{"b", "1"}}));
    add(canonical_key("GET", "/a", "", {{"b=1", ""}}));
    add(canonical_key("GET", "/a", "", {{"b", "1 1:c=1:2"}}));
    add(canonical_key("GET", "/a", "", {{"b", "1"}, {"c", "2"}}));
    add(canonical_key("GET", "/a", "", {{"b", "12"}, {"c", ""}}));
    add(canonical_key("GET", "/a", "", {{"b", "1"}, {"b", "2"}}));
    add(canonical_key("GET", "/a", "", {{"b", "2"}, {"b", "1"}}));
    add(canonical_key("GET", "/a", "", {{"b", "1, 2"}}));
    CHECK(keys.size() == made);
    // Order of names and their case mean nothing.
    CHECK(canonical_key("GET", "/", "", {{"C", "2"}, {"b", "1"}}) ==
          canonical_key("GET", "/", "", {{"B", "1"}, {"c", "2"}}));
}

TEST_CASE("a canonical query keeps its meaning", "[key][query]") {
    struct Case {
        const char* query;
        const char* canonical;
    };
    for (const Case& c : std::initializer_list<Case>{
             {"", ""},
             {"b=2&a=1", "a=1&b=2"},
             {"a=2&b=&a=1", "a=2&a=1&b="},  // values of one name keep their order
             {"a", "a"},
             {"a=", "a="},  // blank values are kept, and are not absent ones
             {"&&a=1&", "a=1"},
             {"a=1%26b=2", "a=1%26b=2"},  // D13
             {"a%3d1=2", "a%3D1=2"},
             {"%61=%7e%2d", "a=~-"},  // unreserved characters have one spelling
             {"a=%2f%2F", "a=%2F%2F"},
             {"a=+&b=%20", "a=+&b=%20"},
             {"a=%zz&b=%4", "a=%zz&b=%4"},
             {"_=123&x=1&timestamp=9", "x=1"},
             {"%5F=1", ""},
             {"_x=1", "_x=1"},
             {"id=1&_=x;id=2", "_=x;id=2&id=1"},  // to some applications a parameter of its own
             {"_=x%3Bid=2", ""},
             {"a=b=c", "a=b=c"},
             {"=1&=0", "=1&=0"},
         }) {
        CAPTURE(c.query);
        CHECK(canonical_query(c.query, {"_", "timestamp"}) == c.canonical);
    }
    CHECK(canonical_query("a=1%26b=2") != canonical_query("a=1&b=2"));
    CHECK(canonical_query("_=1") == "_=1");
}

}  // namespace canonical_key_test
