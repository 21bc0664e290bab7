#include <smartcache/facade/default_cache.hpp>

#include <atomic>
#include <chrono>
#include <memory>

#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"

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

TEST_CASE("the default cache may be reset by whom it tells of something, in whatever thread of its own",
          "[facade][default]") {
    sc::reset_default_cache();
    // What expires is found by the thread that sweeps, which would wait for itself.
    const auto told = std::make_shared<std::atomic<bool>>(false);
    sc::set_default_cache({.auto_expire_interval = std::chrono::milliseconds(1),
                           .listener =
                               [told](const sc::Event& event) {
                                   if (event.kind == sc::EventKind::removed && !told->exchange(true))
                                       sc::reset_default_cache();
                               }})
        ->set("k", 1, std::chrono::milliseconds(1));
    CHECK(smartcache_test::eventually([&] { return told.use_count() == 1; }));  // the cache has ended
    CHECK(told->load());
    CHECK(sc::default_cache()->config().auto_expire_interval == std::chrono::seconds(300));
    sc::reset_default_cache();
}

}  // namespace default_cache_test
