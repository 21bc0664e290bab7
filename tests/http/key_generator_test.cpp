#include <smartcache/http/key_generator.hpp>

#include <string>

#include "support/catch.hpp"

namespace key_generator_test {

using namespace smartcache::http;

namespace {
Request get(std::string path, std::string query = {}, Headers headers = {}) {
    Request r;
    r.scheme = "https";
    r.host = "Example.com:443";
    r.path = std::move(path);
    r.query = std::move(query);
    r.headers = std::move(headers);
    return r;
}
}  // namespace

TEST_CASE("the primary key has scheme, host, method class, path and canonical query (D14)", "[http][key]") {
    const KeyGenerator keys{{.ignore_query_params = {"_"}}};
    CHECK(keys(get("/a/b.c", "z=1&_=7&b=2")) == "http 3:GET 5:https 11:example.com 6:/a/b.c 7:b=2&z=1");
    CHECK(keys(get("/%7eme")) == keys(get("/~me")));
    Request other = get("/a");
    other.host = "other.com";
    CHECK(keys(other) != keys(get("/a")));
    other = get("/a");
    other.scheme = "http";
    CHECK(keys(other) != keys(get("/a")));
    other = get("/a");
    other.method = "HEAD";
    CHECK(keys(other) == keys(get("/a")));
    CHECK(keys(get("/A")) != keys(get("/a")));
    CHECK(keys.primary(Url{"https", "example.com", "/a", ""}) == keys(get("/a")));
}

TEST_CASE("headers and cookies select variants; absent is not empty", "[http][key]") {
    const KeyGenerator keys{{.headers = {"Accept"}, .cookies = {"Lang"}}};
    const auto key = [&](Headers h) { return keys(get("/", "", std::move(h))); };
    CHECK(key({{"Accept", "a, b"}}) == key({{"accept", "A ,b"}}));
    CHECK(key({{"Accept", "a"}}) != key({}));
    CHECK(key({{"Accept", ""}}) != key({}));
    CHECK(key({{"Cookie", "x=1; Lang=de"}}) == key({{"Cookie", "Lang=de; y=2"}}));
    CHECK(key({{"Cookie", "Lang=de"}}) != key({{"Cookie", "Lang=en"}}));
    CHECK(key({{"Cookie", "lang=de"}}) == key({}));  // cookie names are case-sensitive
    CHECK(key({{"Cookie", "Lang="}}) != key({}));
    // Which of several counts, and what is a cookie, is the application's to say: all that may matter is in the key.
    CHECK(key({{"Cookie", "Lang=de; Lang=en"}}) != key({{"Cookie", "Lang=de"}}));
    CHECK(key({{"Cookie", "Lang=de; Lang=en"}}) != key({{"Cookie", "Lang=en; Lang=de"}}));
    CHECK(key({{"Cookie", "Lang=de"}, {"Cookie", "Lang=en"}}) == key({{"Cookie", "Lang=de; x=1; Lang=en"}}));
    CHECK(key({{"Cookie", "Lang =de"}}) != key({}));
    CHECK(key({{"Cookie", "Lang"}}) != key({}));
    CHECK(key({{"Cookie", "Lang"}}) != key({{"Cookie", "Lang="}}));
    CHECK(key({}).find("accept=-") != std::string::npos);
}

TEST_CASE("whether a key tells all cookies of a request apart", "[http][key]") {
    const FieldNames one{"cookie:Lang"};
    CHECK(KeyGenerator::covers_cookies({}, {}));
    CHECK_FALSE(KeyGenerator::covers_cookies({}, {{"Cookie", "Lang=de"}}));
    CHECK(KeyGenerator::covers_cookies({"accept", "cookie"}, {{"Cookie", "Lang=de; id=1"}}));
    CHECK(KeyGenerator::covers_cookies(one, {{"Cookie", "Lang=de; Lang=en;"}}));
    CHECK_FALSE(KeyGenerator::covers_cookies(one, {{"Cookie", "Lang=de; id=1"}}));
    CHECK_FALSE(KeyGenerator::covers_cookies(one, {{"Cookie", "Lang=de"}, {"Cookie", "id=1"}}));
    CHECK_FALSE(KeyGenerator::covers_cookies(one, {{"Cookie", "lang=de"}}));
    CHECK_FALSE(KeyGenerator::covers_cookies(one, {{"Cookie", "token"}}));
}

TEST_CASE("credentials are in keys by their SHA-256 only", "[http][key]") {
    const std::string key =
        KeyGenerator::variant("p", get("/", "", {{"Authorization", "Bearer secret"}, {"Cookie", "s=secret"}}),
                              {"authorization", "cookie"});
    CHECK(key.find("secret") == std::string::npos);
    CHECK(key != KeyGenerator::variant(
                     "p", get("/", "", {{"Authorization", "Bearer other"}, {"Cookie", "s=secret"}}),
                     {"authorization", "cookie"}));
}

TEST_CASE("a custom generator replaces the primary key", "[http][key]") {
    const KeyGenerator keys{
        {.custom = [](const Request& r) { return "user:" + r.headers.combined("X-User"); }}};
    CHECK(keys(get("/a", "", {{"X-User", "7"}})) == "custom 6:user:7");
    // Whoever has a say in it cannot spell the variant of another key.
    const KeyGenerator as_is{{.custom = [](const Request& r) { return r.path + r.query; }}};
    const std::string variant = KeyGenerator::variant(as_is.primary(get("/a")), get("/a"), {"x"});
    const std::string plain = KeyGenerator::variant("/a", get("/a"), {"x"});
    CHECK(as_is.primary(get("/a", plain.substr(2))) != variant);
    CHECK(as_is.primary(get(variant)) != variant);
    const KeyGenerator none{{.custom = [](const Request&) { return std::string{}; }}};
    CHECK(none.primary(get("/a")).empty());
}

}  // namespace key_generator_test
