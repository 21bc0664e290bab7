#include <stdexcept>
#include <string>
#include <type_traits>

#include <smartcache/core/error.hpp>

#include "support/catch.hpp"

namespace sc = smartcache;

namespace {

/// What a handler of `Caught` sees of a thrown `error`.
template <class Caught, class E>
std::string caught_as(const E& error) {
    try {
        throw error;
    } catch (const Caught& caught) {
        return caught.what();
    }
}

}  // namespace

TEST_CASE("a refused configuration names every field, its value and what is allowed", "[error]") {
    const sc::ConfigError error(
        {{"memory.capacity", "0", "1 or more"}, {"redis.port", "70000", "1 to 65535"}});
    CHECK(error.what() ==
          std::string("smartcache: configuration refused: memory.capacity = 0 (allowed: 1 or more); "
                      "redis.port = 70000 (allowed: 1 to 65535)"));
    REQUIRE(error.problems().size() == 2);
    CHECK(error.problems()[1].field == "redis.port");
    CHECK(error.problems()[1].value == "70000");
    CHECK(error.problems()[1].allowed == "1 to 65535");

    const sc::ConfigError one("ttl", "-1", "positive");
    CHECK(one.what() == std::string("smartcache: configuration refused: ttl = -1 (allowed: positive)"));
    CHECK(one.problems().size() == 1);
}

TEST_CASE("every error is caught as the library's and as the standard's, with one message", "[error]") {
    const sc::ConfigError config("a", "b", "c");
    CHECK(caught_as<sc::Error>(config) == config.what());
    CHECK(caught_as<std::invalid_argument>(config) == config.what());
    CHECK(caught_as<std::exception>(config) == config.what());

    const sc::TierUnavailable unavailable("redis is away");
    CHECK(caught_as<sc::Error>(unavailable) == "redis is away");
    CHECK(caught_as<std::runtime_error>(unavailable) == "redis is away");

    const sc::LoadTimeout timeout("user:1");
    CHECK(caught_as<sc::Error>(timeout) == "smartcache: the load of \"user:1\" passed its deadline");
    CHECK(caught_as<std::runtime_error>(timeout) == timeout.what());
    STATIC_REQUIRE_FALSE(std::is_base_of_v<std::exception, sc::Error>);
}
