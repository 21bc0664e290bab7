#include <smartcache/redis/url.hpp>

#include <optional>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace url_test {

namespace sc = smartcache;
using Scheme = sc::RedisUrl::Scheme;

namespace {

sc::RedisUrl parsed(const std::string& text) {
    std::string problem;
    const std::optional<sc::RedisUrl> url = sc::parse_redis_url(text, problem);
    INFO(text << ": " << problem);
    REQUIRE(url);
    return *url;
}

/// The part that is wrong.
std::string wrong_part(const std::string& text) {
    std::string problem;
    const bool accepted = sc::parse_redis_url(text, problem).has_value();
    return accepted ? "accepted" : problem.substr(0, problem.find(':'));
}

}  // namespace

TEST_CASE("a URL names host, port, database and log-in", "[redis][url]") {
    const sc::RedisUrl plain = parsed("redis://localhost");
    CHECK(plain.scheme == Scheme::tcp);
    CHECK_FALSE(plain.tls);
    CHECK(plain.hosts == std::vector<sc::RedisUrl::Host>{{"localhost", 6379}});
    CHECK(plain.db == 0);
    CHECK_FALSE(plain.password);

    const sc::RedisUrl full = parsed("redis://app:s3cret@cache.example.org:7000/12");
    CHECK(full.hosts == std::vector<sc::RedisUrl::Host>{{"cache.example.org", 7000}});
    CHECK(full.user == "app");
    CHECK(full.password == std::optional<std::string>("s3cret"));
    CHECK(full.db == 12);
    CHECK(full.endpoint() == "cache.example.org:7000");

    CHECK(parsed("REDIS://h/").db == 0);
    CHECK(parsed("rediss://h").scheme == Scheme::tcp);
    CHECK(parsed("rediss://h").tls);
    CHECK(parsed("redis://:pw@h").password == std::optional<std::string>("pw"));
    CHECK(parsed("redis://:pw@h").user.empty());
    CHECK(parsed("redis://user@h").password == std::optional<std::string>(""));
    CHECK_FALSE(parsed("redis://@h").password);
}

TEST_CASE("log-in and path are percent-decoded", "[redis][url]") {
    const sc::RedisUrl url = parsed("redis://a%40b:p%2Fq%3a%25@h");
    CHECK(url.user == "a@b");
    CHECK(url.password == std::optional<std::string>("p/q:%"));
    CHECK(parsed("unix:///run/my%20redis.sock").path == "/run/my redis.sock");
}

TEST_CASE("IPv6 addresses stand in brackets", "[redis][url]") {
    const sc::RedisUrl url = parsed("redis://u:p@[::1]:7000/3");
    CHECK(url.hosts == std::vector<sc::RedisUrl::Host>{{"::1", 7000}});
    CHECK(url.endpoint() == "[::1]:7000");
    CHECK(parsed("redis://[2001:db8::5]").hosts.front().port == 6379);
    CHECK(wrong_part("redis://::1") == "host");
    CHECK(wrong_part("redis://[::1") == "host");
    CHECK(wrong_part("redis://[localhost]") == "host");
    CHECK(wrong_part("redis://[::1]x") == "port");
}

TEST_CASE("unix sockets have a path and a database", "[redis][url]") {
    const sc::RedisUrl url = parsed("unix:///run/redis.sock?db=4");
    CHECK(url.scheme == Scheme::unix_socket);
    CHECK(url.path == "/run/redis.sock");
    CHECK(url.db == 4);
    CHECK(url.endpoint() == "unix socket /run/redis.sock");
    CHECK(parsed("unix://:pw@/run/redis.sock").password == std::optional<std::string>("pw"));
    CHECK(parsed("unix:///a@b").path == "/a@b");
    CHECK(wrong_part("unix://relative") == "path");
    CHECK(wrong_part("unix:///") == "path");
    CHECK(wrong_part("unix:///a%00b") == "path");
    CHECK(wrong_part("unix:///" + std::string(107, 'x')) == "path");
    CHECK(wrong_part("unix:///a?database=1") == "query");
    CHECK(wrong_part("unix:///a?db=-1") == "database");
}

TEST_CASE("sentinel and cluster have several hosts", "[redis][url]") {
    const sc::RedisUrl sentinel = parsed("redis+sentinel://h1,h2:1/mymaster/2");
    CHECK(sentinel.scheme == Scheme::sentinel);
    CHECK(sentinel.hosts == std::vector<sc::RedisUrl::Host>{{"h1", 26379}, {"h2", 1}});
    CHECK(sentinel.service == "mymaster");
    CHECK(sentinel.db == 2);
    const sc::RedisUrl cluster = parsed("redis+cluster://u:p@h1:7000,[::1]:7001,h3");
    CHECK(cluster.scheme == Scheme::cluster);
    CHECK(cluster.hosts == std::vector<sc::RedisUrl::Host>{{"h1", 7000}, {"::1", 7001}, {"h3", 6379}});
    CHECK(wrong_part("redis+sentinel://h1,h2") == "sentinel name");
    CHECK(wrong_part("redis+cluster://h1/1") == "database");
    CHECK(wrong_part("redis+cluster://h1,,h2") == "host");
    CHECK(wrong_part("redis://h1,h2") == "host");
}

TEST_CASE("sentinels and clusters over TLS are named like a server over TLS", "[redis][url]") {
    const sc::RedisUrl sentinel = parsed("rediss+sentinel://:pw@h1,h2:1/m/2?sentinel_password=p");
    CHECK(sentinel.scheme == Scheme::sentinel);
    CHECK(sentinel.tls);
    CHECK(sentinel.hosts == std::vector<sc::RedisUrl::Host>{{"h1", 26379}, {"h2", 1}});
    CHECK(sentinel.service == "m");
    const sc::RedisUrl cluster = parsed("Rediss+Cluster://h1:7000,h2");
    CHECK(cluster.scheme == Scheme::cluster);
    CHECK(cluster.tls);
    CHECK_FALSE(parsed("redis+sentinel://h/m").tls);
    CHECK_FALSE(parsed("redis+cluster://h").tls);
    for (const char* text : {"redisss://h", "rediss+unix://h", "rediss+://h", "unixs:///run/redis.sock",
                             "rediss+sentinels://h/m", "redis+rediss://h"})
        CHECK(wrong_part(text) == "scheme");
}

TEST_CASE("sentinels have a log-in of their own", "[redis][url]") {
    const sc::RedisUrl plain = parsed("redis+sentinel://app:pw@h1/my%20master");
    CHECK(plain.service == "my master");
    CHECK(plain.db == 0);
    CHECK(plain.user == "app");
    CHECK(plain.sentinel_user.empty());
    CHECK_FALSE(plain.sentinel_password);
    CHECK(plain.endpoint() == "the master my master of the sentinels h1:26379");

    const sc::RedisUrl both = parsed("redis+sentinel://h1/m/3?sentinel_user=a%26b&sentinel_password=%3d");
    CHECK(both.db == 3);
    CHECK_FALSE(both.password);
    CHECK(both.sentinel_user == "a&b");
    CHECK(both.sentinel_password == std::optional<std::string>("="));
    CHECK(parsed("redis+sentinel://h1/m?sentinel_password=p").sentinel_user.empty());
    CHECK(parsed("redis+sentinel://h1/m?sentinel_user=u").sentinel_password ==
          std::optional<std::string>(""));
    CHECK(parsed("redis+sentinel://h1/m?").service == "m");
    for (const char* query : {"db=1", "sentinel_user", "sentinel_user=a&sentinel_user=b", "&", "=",
                              "sentinel_password=a&b", "sentinel_password=a&&"})
        CHECK(wrong_part("redis+sentinel://h1/m?" + std::string(query)) == "query");
    CHECK(wrong_part("redis+sentinel://h1/m?sentinel_user=%") == "sentinel_user");
    CHECK(wrong_part("redis+sentinel://h1/m?sentinel_password=%zz") == "sentinel_password");
}

TEST_CASE("what is wrong with sentinels is named", "[redis][url]") {
    CHECK(wrong_part("redis+sentinel://") == "host");
    CHECK(wrong_part("redis+sentinel:///m") == "host");
    CHECK(wrong_part("redis+sentinel://h1,/m") == "host");
    CHECK(wrong_part("redis+sentinel://h1,h2:x/m") == "port");
    CHECK(wrong_part("redis+sentinel://h1/") == "sentinel name");
    CHECK(wrong_part("redis+sentinel://h1/%zz") == "sentinel name");
    CHECK(wrong_part("redis+sentinel://h1/m/x") == "database");
    CHECK(wrong_part("redis+sentinel://h1/m/0/1") == "database");
    CHECK(wrong_part("redis+sentinel://h1/m#x") == "fragment");
}

TEST_CASE("what is wrong is named", "[redis][url]") {
    for (const char* text : {"", "localhost", "http://h", "redis:/h", "://h", "user:secret@h"})
        CHECK(wrong_part(text) == "scheme");
    for (const char* text :
         {"redis://", "redis:///1", "redis://a b", "redis://:6379", "redis://u:p@", "redis://h%41"})
        CHECK(wrong_part(text) == "host");
    for (const char* text :
         {"redis://h:", "redis://h:x", "redis://h:0", "redis://h:65536", "redis://h:1:2", "redis://h:-1"})
        CHECK(wrong_part(text) == "port");
    for (const char* text :
         {"redis://h/x", "redis://h/-1", "redis://h/1/2", "redis://h/99999999999", "redis://h/ 1"})
        CHECK(wrong_part(text) == "database");
    CHECK(wrong_part("redis://u%zz@h") == "user");
    CHECK(wrong_part("redis://u:%2@h") == "password");
    CHECK(wrong_part("redis://h?db=1") == "query");
    CHECK(wrong_part("redis://h#x") == "fragment");
    CHECK(wrong_part("redis://u:pa/ss@h") == "user or password");
}

TEST_CASE("neither the URL as shown nor the problem holds the password", "[redis][url]") {
    for (const std::string text :
         {"redis://u:hunter2@h:99999", "redis://u:hunter2@h", "redis://u:hun/hunter2@h", "u:hunter2@h",
          "redis://:hunter2", "redis://h?password=hunter2", "redis://u:hunter2%z@h",
          "unix://x:hunter2@relative", "unix:///p?pass=hunter2", "redis+cluster://u:hunter2@h1,h2/3",
          "redis+sentinel://h1,h2/m?sentinel_password=hunter2", "redis+sentinel://h/m?sentinel_user=hunter2%",
          "redis+sentinel://u:hunter2@h1:1,h2/m?sentinel_password=hunter2&hunter2", "http://u:hunter2@h",
          "redis://u:hunter2@@h/x", "redis://h:1#hunter2"}) {
        std::string problem;
        (void)sc::parse_redis_url(text, problem);
        INFO(text);
        CHECK(sc::redacted_redis_url(text).find("hunter2") == std::string::npos);
        CHECK(problem.find("hunter2") == std::string::npos);
    }
    CHECK(sc::redacted_redis_url("redis://u:p@h:1/2") == "redis://***@h:1/2");
    CHECK(sc::redacted_redis_url("redis://[::1]:1/2") == "redis://[::1]:1/2");
}

}  // namespace url_test
