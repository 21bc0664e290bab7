#include <smartcache/facade/default_cache.hpp>

#include <smartcache/testing.hpp>

#include "support/catch.hpp"

namespace default_cache_test {

namespace sc = smartcache;

TEST_CASE("the default cache is one for the process, until it is reset", "[facade][default]") {
    sc::reset_default_cache();
    const auto first = sc::default_cache();
    first->set("k", 1);
    CHECK(sc::default_cache() == first);
    sc::reset_default_cache();
    CHECK_FALSE(first->exists("k"));
    CHECK(sc::default_cache() != first);
    sc::reset_default_cache();
}

TEST_CASE("a second, different configuration is an error; the same one is not", "[facade][default]") {
    sc::reset_default_cache();
    sc::FakeClock clock;
    const auto cache = sc::set_default_cache({.memory = {.capacity = 5}});
    CHECK(sc::set_default_cache({.memory = {.capacity = 5}}) == cache);
    CHECK(sc::default_cache() == cache);
    CHECK_THROWS_AS(sc::set_default_cache({.memory = {.capacity = 6}}), sc::ConfigError);
    CHECK_THROWS_AS(sc::set_default_cache({.memory = {.capacity = 5}, .clock = &clock}), sc::ConfigError);
    sc::reset_default_cache();
    // Both are shown, without what nobody should read in a log.
    const auto with_secrets = [](const std::string& secret) {
        return sc::Config{.redis = {.url = "redis://:" + secret + "@localhost", .integrity_key = secret}};
    };
    CHECK_NOTHROW(sc::set_default_cache(with_secrets("hunter1")));
    CHECK_NOTHROW(sc::set_default_cache(with_secrets("hunter1")));
    CHECK_THROWS_WITH(sc::set_default_cache(with_secrets("hunter2")),
                      !Catch::Matchers::Contains("hunter") && Catch::Matchers::Contains("localhost"));
    sc::reset_default_cache();
    CHECK_NOTHROW(sc::set_default_cache({.memory = {.capacity = 6}}));
    sc::reset_default_cache();
}

}  // namespace default_cache_test
