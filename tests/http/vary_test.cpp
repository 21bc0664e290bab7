#include <smartcache/http/semantics/vary.hpp>

#include <initializer_list>

#include "support/catch.hpp"

namespace vary_test {

using namespace smartcache::http;

TEST_CASE("Vary is read from all lines, in any case, each name once", "[http][vary]") {
    CHECK(vary_names({{"Vary", "Accept-Encoding , accept"}, {"vary", "ACCEPT"}, {"Vary", ""}}) ==
          FieldNames{"accept", "accept-encoding"});
    CHECK(vary_names({}).empty());
}

TEST_CASE("RFC 9111 section 4.1: requests that differ only in form select the same variant", "[http][vary]") {
    struct Case {
        const char* name;
        Headers a;
        Headers b;
        bool same;
    };
    for (const Case& c : std::initializer_list<Case>{
             {"Foo", {{"Foo", "1, 2"}}, {{"foo", "1 ,2"}}, true},            // white space
             {"Foo", {{"Foo", "1"}, {"Foo", "2"}}, {{"Foo", "1,2"}}, true},  // several lines
             {"Foo", {{"Foo", "1, 2"}}, {{"Foo", "2, 1"}}, false},  // order matters in an unknown field
             {"Foo", {{"Foo", "a"}}, {{"Foo", "A"}}, false},
             {"Foo", {{"Foo", "\"a, b\""}}, {{"Foo", "\"a,b\""}}, false},
             {"Accept-Encoding", {{"Accept-Encoding", "gzip, br"}}, {{"Accept-Encoding", "BR,gzip"}}, true},
             {"Accept-Encoding", {{"Accept-Encoding", "gzip;q=1.0"}}, {{"Accept-Encoding", "gzip"}}, true},
             {"Accept-Encoding",
              {{"Accept-Encoding", "gzip; q=0.50"}},
              {{"Accept-Encoding", "gzip;q=0.5"}},
              true},
             {"Accept-Encoding", {{"Accept-Encoding", "gzip;q=0"}}, {{"Accept-Encoding", "gzip"}}, false},
             {"Accept-Language",
              {{"Accept-Language", "en-US, de;q=0.5"}},
              {{"Accept-Language", "en-us,de; Q=0.50"}},
              true},
             // The first of equals is what many applications send.
             {"Accept-Language", {{"Accept-Language", "de, en"}}, {{"Accept-Language", "en, de"}}, false},
             {"Accept", {{"Accept", "text/html, text/plain"}}, {{"Accept", "text/plain, text/html"}}, false},
             {"Accept-Charset", {{"Accept-Charset", "a, b"}}, {{"Accept-Charset", "B, A"}}, true},
             {"Accept", {{"Accept", "Text/HTML; Level=1"}}, {{"Accept", "text/html;level=1"}}, true},
             {"Accept", {{"Accept", "text/html;v=A"}}, {{"Accept", "text/html;v=a"}}, false},
             {"Accept",
              {{"Accept", "text/html;charset=UTF-8"}},
              {{"Accept", "text/html;charset=utf-8"}},
              true},
             {"Accept", {{"Accept", "text/html;q=1;x=A"}}, {{"Accept", "text/html;Q=1.0;x=A"}}, true},
             {"Accept", {{"Accept", "text/html;level=1"}}, {{"Accept", "text/html"}}, false},
             {"Accept", {{"Accept", "text/html;p=\"A\""}}, {{"Accept", "text/html;p=\"a\""}}, false},
         }) {
        CAPTURE(c.a.wire(), c.b.wire());
        CHECK((normalised_field(c.a, c.name) == normalised_field(c.b, c.name)) == c.same);
    }
}

}  // namespace vary_test
