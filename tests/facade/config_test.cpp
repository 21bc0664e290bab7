#include <smartcache/facade/config.hpp>

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "support/catch.hpp"

namespace config_test {

namespace sc = smartcache;
using namespace std::chrono_literals;

namespace {

std::vector<std::string> fields_refused(const std::string& json) {
    std::vector<std::string> fields;
    try {
        (void)sc::Config::from_json(json);
    } catch (const sc::ConfigError& error) {
        for (const sc::ConfigProblem& problem : error.problems()) {
            CHECK_FALSE(problem.allowed.empty());
            CHECK(std::string(error.what()).find(problem.field) != std::string::npos);
            fields.push_back(problem.field);
        }
    }
    return fields;
}

class Environment {
  public:
    Environment(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
    ~Environment() { ::unsetenv(name_); }
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

  private:
    const char* name_;
};

}  // namespace

TEST_CASE("the defaults are those of the documentation", "[config]") {
    const sc::Config config;
    CHECK_NOTHROW(config.validate());
    CHECK(config.memory.capacity == 10'000);
    CHECK(config.memory.ttl == 1h);
    CHECK_FALSE(config.memory.capacity_bytes);
    CHECK(config.memory.policy == sc::EvictionPolicy::adaptive);
    CHECK(config.memory.objective == sc::HitObjective::objects);
    CHECK_FALSE(config.redis.enabled);
    CHECK(config.redis.url == "redis://localhost:6379/0");
    CHECK(config.redis.ttl == 24h);
    CHECK(config.redis.max_connections == 10);
    CHECK(config.redis.connect_timeout == 500ms);
    CHECK(config.redis.timeout == 100ms);
    CHECK(config.redis.breaker.failures == 5);
    CHECK_FALSE(config.disk.enabled);
    CHECK(config.disk.path == "/tmp/smartcache");
    CHECK(config.disk.ttl == 24h * 7);
    CHECK(config.disk.max_size == std::uint64_t{1} << 30U);
    CHECK(config.max_value_size == 100U * 1024 * 1024);
    CHECK(config.max_key_size == 64U * 1024);
    CHECK(config.compression.enabled);
    CHECK(config.compression.threshold == 1024);
    CHECK(config.stats.interval == 60s);
    CHECK(config.auto_expire_interval == 300s);
    CHECK(config.background_threads == 2);
    CHECK_FALSE(config.tier_required);
}

TEST_CASE("what to_json writes, from_json reads back", "[config]") {
    sc::Config config = sc::Config::production("redis://h:1/2", "/var/cache/x \"y\"");
    config.memory.capacity_bytes = 1 << 20;
    config.memory.idle = 90s;
    config.memory.policy = sc::EvictionPolicy::sieve;
    config.memory.objective = sc::HitObjective::bytes;
    config.disk.ttl = sc::Duration::max();
    config.key_prefix = "line\nbreak";
    const std::string text = config.to_json();
    CHECK(nlohmann::json::accept(text));
    const sc::Config copy = sc::Config::from_json(text);
    CHECK(copy.to_json() == text);
    CHECK(copy.memory.objective == sc::HitObjective::bytes);
    CHECK(copy.disk.ttl == sc::Duration::max());
    CHECK(copy.disk.path == "/var/cache/x \"y\"");
    CHECK(sc::Config::from_json(nlohmann::json::parse(text)).to_json() == text);
}

TEST_CASE("lengths of time are numbers of milliseconds or text with a unit", "[config]") {
    const auto ttl = [](const std::string& value) {
        return sc::Config::from_json("{\"memory\":{\"ttl\":" + value + "}}").memory.ttl;
    };
    CHECK(ttl("1500") == 1500ms);
    CHECK(ttl("\"500ms\"") == 500ms);
    CHECK(ttl("\"10s\"") == 10s);
    CHECK(ttl("\"10min\"") == 10min);
    CHECK(ttl("\"1h\"") == 1h);
    CHECK(ttl("\"7d\"") == 24h * 7);
    CHECK(ttl("\"forever\"") == sc::Duration::max());
    for (const char* bad :
         {"\"10\"", "\"10 s\"", "\"s\"", "\"1w\"", "1.5", "true", "null", "\"99999999999999999d\""})
        CHECK(fields_refused(std::string("{\"memory\":{\"ttl\":") + bad + "}}") ==
              std::vector<std::string>{"memory.ttl"});
}

TEST_CASE("one error names every wrong field, its value and what is allowed", "[config]") {
    CHECK(fields_refused(R"({"memory":{"capacity":0,"policy":"best","typo":1},"redis":{"url":"http://x"},
                             "max_key_size":"big","auto_expire_interval":-1})") ==
          std::vector<std::string>{"memory.policy", "max_key_size", "memory.typo", "memory.capacity",
                                   "redis.url", "auto_expire_interval"});
    try {
        (void)sc::Config::from_json(R"({"memory":{"capacity":-5}})");
        FAIL("accepted");
    } catch (const sc::ConfigError& error) {
        CHECK(error.problems().at(0).value == "-5");
    }
}

TEST_CASE("bad JSON is a ConfigError", "[config]") {
    for (const char* bad : {"", "{", "[]", "5", "{\"memory\":5}", "{\"memory\":{\"enabled\":1}}",
                            "{\"memory\":{\"shards\":1.0}}", "{\"redis\":{\"breaker\":{\"open_for\":[]}}}"})
        CHECK_THROWS_AS(sc::Config::from_json(std::string_view(bad)), sc::ConfigError);
}

TEST_CASE("deeply nested JSON is refused, not followed", "[config]") {
    for (const int depth : {4, 1000, 300'000}) {
        std::string deep;
        for (int i = 0; i < depth; ++i) deep += "{\"memory\":";
        deep += "1" + std::string(static_cast<std::size_t>(depth), '}');
        CHECK_THROWS_AS(sc::Config::from_json(deep), sc::ConfigError);
        CHECK_THROWS_AS(
            sc::Config::from_json("{\"memory\":" + std::string(static_cast<std::size_t>(depth), '[')),
            sc::ConfigError);
    }
}

TEST_CASE("each field is given once, by its place", "[config]") {
    CHECK(fields_refused(R"({"memory":{"capacity":1,"capacity":2},"typo":1})") ==
          std::vector<std::string>{"memory.capacity", "typo"});
    CHECK(fields_refused(R"({"memroy":{}, "memory":{"capacity":{}}, "redis":{"breaker":{"x":{}}}, "":{}})") ==
          std::vector<std::string>{"memory.capacity", "", "memroy", "redis.breaker.x"});
    CHECK_NOTHROW(sc::Config::from_json(R"({"memory":{},"redis":{"breaker":{}}})"));
    CHECK(fields_refused(R"({"memory":{},"memory":{"capacity":2}})") == std::vector<std::string>{"memory"});
    CHECK(fields_refused(R"({"memory.capacity":2})") == std::vector<std::string>{"\"memory.capacity\""});
    CHECK_NOTHROW(sc::Config::from_json(R"({"memory":{"enabled":true},"disk":{"enabled":false}})"));
    try {
        (void)sc::Config::from_json(R"({"redis":{"breaker":5}})");
        FAIL("accepted");
    } catch (const sc::ConfigError& error) {
        CHECK(error.problems().at(0).allowed == "an object");
    }
}

TEST_CASE("a text that is not UTF-8 cannot be written as JSON, and the error names it", "[config]") {
    for (const char* good :
         {"", "plain", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"}) {
        sc::Config config;
        config.key_prefix = good;
        CHECK(sc::Config::from_json(config.to_json()).key_prefix == good);
    }
    for (const char* bad : {"\x80", "\xc3", "\xc0\x80", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                            "\xf4\x90\x80\x80", "\xff", "ok\xe2\x82"}) {
        sc::Config config;
        config.key_prefix = bad;
        CHECK_THROWS_WITH(config.to_json(), smartcache_test::has_text("key_prefix"));
        sc::Config paths;
        paths.disk.path = bad;
        CHECK_THROWS_WITH(paths.to_json(), smartcache_test::has_text("disk.path"));
    }
}

TEST_CASE("an impossible value from the environment is reported by its variable", "[config]") {
    const Environment zero("SCTEST_MEMORY_CAPACITY", "0");
    CHECK_THROWS_WITH(sc::Config::from_env("SCTEST_"),
                      smartcache_test::has_text("SCTEST_MEMORY_CAPACITY = 0"));
}

TEST_CASE("fit takes any sizes", "[config]") {
    constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
    for (const std::size_t value : {std::size_t{0}, most, most - 159, most - 160, most - 161})
        for (const std::size_t bytes : {std::size_t{1}, std::size_t{1000}, most})
            CHECK_NOTHROW(sc::Config::fit(bytes, value).validate());
}

TEST_CASE("the environment sets fields by their names in capitals", "[config]") {
    const Environment capacity("SCTEST_MEMORY_CAPACITY", "77");
    const Environment breaker("SCTEST_REDIS_BREAKER_OPEN_FOR", "2s");
    const Environment shards("SCTEST_MEMORY_SHARDS", "4");
    const Environment flag("SCTEST_TIER_REQUIRED", "true");
    const sc::Config config = sc::Config::from_env("SCTEST_");
    CHECK(config.memory.capacity == 77);
    CHECK(config.redis.breaker.open_for == 2s);
    CHECK(config.memory.shards == std::optional<std::size_t>(4));
    CHECK(config.tier_required);
    CHECK(config.memory.ttl == 1h);
}

TEST_CASE("a fraction is read from JSON and from the environment, and written so that it reads the same",
          "[config]") {
    const Environment alert("SCTEST_STATS_ALERT_BELOW", "0.85");
    CHECK(sc::Config::from_env("SCTEST_").stats.alert_below == 0.85);
    CHECK(sc::Config::from_json(R"({"stats": {"alert_below": 0.1}})").stats.alert_below == 0.1);
    CHECK(sc::Config::from_json(R"({"stats": {"alert_below": 1}})").stats.alert_below == 1);
    for (const double value : {0.0, 0.1, 1.0 / 3, 1.0}) {
        const sc::Config config{.stats = {.alert_below = value}};
        CHECK(sc::Config::from_json(std::string_view(config.to_json())).stats.alert_below == value);
    }
    for (const char* const wrong : {"1.5", "-0.1", "\"much\"", "true"})
        CHECK_THROWS_WITH(sc::Config::from_json(std::string(R"({"stats": {"alert_below": )") + wrong + "}}"),
                          smartcache_test::has_text("stats.alert_below"));
    CHECK_THROWS_AS((sc::Config{.stats = {.alert_below = std::nan("")}}.validate()), sc::ConfigError);
}

TEST_CASE("a variable that names no field, or a value that does not fit, is refused", "[config]") {
    {
        const Environment typo("SCTEST_MEMORY_CAPACTIY", "77");
        CHECK_THROWS_WITH(sc::Config::from_env("SCTEST_"),
                          smartcache_test::has_text("SCTEST_MEMORY_CAPACTIY"));
    }
    const Environment bad("SCTEST_MEMORY_CAPACITY", "7x");
    CHECK_THROWS_AS(sc::Config::from_env("SCTEST_"), sc::ConfigError);
}

TEST_CASE("no message about a configuration holds a secret", "[config]") {
    for (const char* text :
         {R"({"redis": {"url": "redis://:hunter2@host"},})", R"({"redis": {"password": "hunter2"}})",
          R"({"redis": {"integrityKey": "hunter2"}})", R"({"redis": {"integrity_key": ["hunter2"]}})",
          R"({"redis": {"url": "redis://:hunter2@host:x"}})"})
        CHECK_THROWS_WITH(sc::Config::from_json(text), !Catch::Matchers::Contains("hunter2"));
    CHECK_THROWS_WITH(sc::Config::from_json(R"({"memory": {"capactiy": 77}})"),
                      Catch::Matchers::Contains("memory.capactiy = 77"));
    for (const char* name : {"SCTEST_REDIS_PASSWORD", "SCTEST_REDIS_URI"}) {
        const Environment secret(name, "hunter2");
        CHECK_THROWS_WITH(sc::Config::from_env("SCTEST_"),
                          !Catch::Matchers::Contains("hunter2") && Catch::Matchers::Contains(name));
    }
}

TEST_CASE("contradictions are refused", "[config]") {
    CHECK_THROWS_AS((sc::Config{.redis = {.enabled = true, .write = sc::WriteMode::behind}}.validate()),
                    sc::ConfigError);
    CHECK_THROWS_AS((sc::Config{.memory = {.capacity_bytes = 0}}.validate()), sc::ConfigError);
    CHECK_THROWS_AS((sc::Config{.memory = {.ttl = 0ms}}.validate()), sc::ConfigError);
    CHECK_THROWS_AS((sc::Config{.memory = {.objective = static_cast<sc::HitObjective>(9)}}.validate()),
                    sc::ConfigError);
    CHECK_THROWS_AS((sc::Config{.disk = {.max_size = 1}}.validate()), sc::ConfigError);
    CHECK_THROWS_AS((sc::Config{.max_value_size = 0}.validate()), sc::ConfigError);
}

TEST_CASE("presets are valid and are what they say", "[config]") {
    CHECK(sc::Config::high_performance().memory.capacity == 50'000);
    CHECK(sc::Config::high_performance().memory.bucket_count == 12'500);
    CHECK_FALSE(sc::Config::high_performance().compression.enabled);
    CHECK(sc::Config::memory_only().memory.ttl == 10min);
    CHECK(sc::Config::memory_optimized("redis://h", "/p").max_value_size == 10U * 1024 * 1024);
    CHECK(sc::Config::persistent("/p").disk.ttl == 24h);
    CHECK(sc::Config::distributed("redis://h", "/p").redis.max_connections == 20);
    CHECK(sc::Config::production("redis://h", "/p").auto_expire_interval == 60s);
    const sc::Config fit = sc::Config::fit(64U << 20U, 1000);
    CHECK(fit.memory.capacity_bytes == std::optional<std::size_t>(64U << 20U));
    CHECK(fit.memory.capacity > 50'000);
    CHECK(fit.memory.capacity < 67'200);
    for (const sc::Config& config : {sc::Config::high_performance(), sc::Config::memory_only(),
                                     sc::Config::memory_optimized("redis://h", "/p"),
                                     sc::Config::persistent("/p"), sc::Config::distributed("redis://h", "/p"),
                                     sc::Config::production("redis://h", "/p"), sc::Config::fit(1, 1)})
        CHECK_NOTHROW(config.validate());
}

}  // namespace config_test
