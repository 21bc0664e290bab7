#include <smartcache/redis/validate.hpp>

#include <string>
#include <vector>

#include <smartcache/redis/tls.hpp>

#include "support/catch.hpp"

namespace validate_test {

namespace sc = smartcache;

namespace {

std::vector<sc::ConfigProblem> problems_of(const sc::RedisOptions& options) {
    std::vector<sc::ConfigProblem> problems;
    validate(options, true, problems);
    return problems;
}

std::vector<std::string> fields_of(const sc::RedisOptions& options) {
    std::vector<std::string> fields;
    for (const sc::ConfigProblem& problem : problems_of(options)) fields.push_back(problem.field);
    return fields;
}

using Fields = std::vector<std::string>;

}  // namespace

TEST_CASE("the defaults are valid", "[redis][config]") {
    CHECK(fields_of({}) == Fields{});
    CHECK(fields_of({.url = "unix:///run/redis.sock?db=3"}) == Fields{});
    CHECK(fields_of({.url = "redis+sentinel://h1,h2/m"}) == Fields{});
    CHECK(fields_of({.coherence = sc::Coherence::off}) == Fields{});
    CHECK(fields_of({.integrity_key = "a secret"}) == Fields{});
}

TEST_CASE("all problems are reported, in the order of the fields", "[redis][config]") {
    sc::RedisOptions options{.url = "redis://h:x", .ttl = sc::Duration(0), .max_connections = 0};
    options.connect_timeout = options.timeout = sc::Duration(-1);
    options.breaker = {.failures = 0, .open_for = sc::Duration(0)};
    options.coherence = static_cast<sc::Coherence>(9);
    options.lease = sc::Duration(0);
    options.lease_lost = static_cast<sc::LeaseLost>(9);
    options.tls.cert_file = "cert.pem";
    options.tls.server_name = std::string(256, 'n');
    options.integrity_key = "secret";
    CHECK(fields_of(options) == Fields{"redis.url", "redis.ttl", "redis.max_connections",
                                       "redis.connect_timeout", "redis.timeout", "redis.breaker.failures",
                                       "redis.breaker.open_for", "redis.coherence", "redis.lease",
                                       "redis.lease_lost", "redis.tls.server_name", "redis.tls.key_file"});
    for (const sc::ConfigProblem& problem : problems_of(options))
        CHECK((problem.value + problem.allowed).find("secret") == std::string::npos);
}

TEST_CASE("what this version cannot do is refused by name, and the password stays hidden",
          "[redis][config]") {
    const std::vector<sc::ConfigProblem> problems =
        problems_of({.url = "redis+cluster://u:hunter2@h", .coherence = sc::Coherence::tracking});
    REQUIRE(problems.size() == 1);
    CHECK(problems[0].field == "redis.coherence");
    CHECK(problems[0].allowed.find("not supported by this version") != std::string::npos);
    CHECK(problems[0].value.find("hunter2") == std::string::npos);
    CHECK(problems_of({.url = "redis+cluster://u:hunter2@h1,h2:7000/0"}).empty());
    CHECK(problems_of({.url = "redis+cluster://u:hunter2@h", .coherence = sc::Coherence::publish}).empty());
    CHECK(fields_of({.url = "redis+cluster://u:hunter2@h/1"}) == Fields{"redis.url"});
}

TEST_CASE("certificates for a connection that is not encrypted are refused", "[redis][config][tls]") {
    for (const char* url : {"redis://u:hunter2@h", "unix:///run/redis.sock", "redis+sentinel://u:hunter2@h/m",
                            "redis+cluster://u:hunter2@h"}) {
        sc::RedisOptions options{.url = url};
        options.tls.ca_file = "ca.pem";
        const std::vector<sc::ConfigProblem> problems = problems_of(options);
        REQUIRE(problems.size() == 1);
        CHECK(problems[0].field == "redis.tls");
        CHECK(problems[0].value.find("hunter2") == std::string::npos);
        options.tls = {.verify = false};
        CHECK(fields_of(options) == Fields{"redis.tls"});
    }
}

TEST_CASE("a build without TLS says so, and what it takes", "[redis][config]") {
    for (const char* url :
         {"rediss://u:hunter2@h", "rediss+sentinel://u:hunter2@h/m", "rediss+cluster://u:hunter2@h"}) {
        const std::vector<sc::ConfigProblem> problems = problems_of({.url = url});
        REQUIRE(problems.size() == 1);
        CHECK(problems[0].field == "redis.url");
        CHECK(problems[0].allowed.find("this build has no TLS") != std::string::npos);
        CHECK(problems[0].allowed.find("smartcache::tls") != std::string::npos);
        CHECK(problems[0].value.find("hunter2") == std::string::npos);
    }
    CHECK_THROWS_AS(sc::detail::make_tls_context({}), sc::ConfigError);
}

TEST_CASE("write-behind contradicts coherence", "[redis][config][r15]") {
    const std::vector<sc::ConfigProblem> problems = problems_of({.write = sc::WriteMode::behind});
    REQUIRE(problems.size() == 1);
    CHECK(problems[0].field == "redis.write");
    CHECK(problems[0].value.find("redis.coherence") != std::string::npos);
    CHECK(fields_of({.coherence = sc::Coherence::off, .write = sc::WriteMode::behind}) ==
          Fields{"redis.write"});
}

TEST_CASE("a tier that is switched off may ask for what this version cannot do, but not for nonsense",
          "[redis][config]") {
    std::vector<sc::ConfigProblem> problems;
    validate({.url = "rediss://h", .coherence = sc::Coherence::tracking, .integrity_key = "k"}, problems);
    CHECK(problems.empty());
    validate({.enabled = true, .url = "rediss://h"}, problems);
    CHECK(problems.size() == 1);
    validate({.url = "http://h"}, problems);
    CHECK(problems.size() == 2);
}

}  // namespace validate_test
