#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/core/log.hpp>

#include "support/catch.hpp"

namespace sc = smartcache;

TEST_CASE("a burst of messages is one message, and the first of them", "[log]") {
    std::vector<std::string> seen;
    sc::detail::RateLimitedLog log([&seen](sc::LogLevel level, std::string_view text) {
        seen.emplace_back(sc::to_string(level)).append(text);
    });
    for (int i = 0; i < 100; ++i) log(sc::LogLevel::warning, " " + std::to_string(i));
    // On a machine that stands still for seconds more may pass; never all of them.
    REQUIRE_FALSE(seen.empty());
    CHECK(seen.front() == "warning 0");
    CHECK(seen.size() < 100);
}

TEST_CASE("rare messages are never held back", "[log]") {
    int seen = 0;
    sc::detail::RateLimitedLog log([&seen](sc::LogLevel, std::string_view) { ++seen; });
    log(sc::LogLevel::error, "a");
    log.always(sc::LogLevel::error, "b");
    log.always(sc::LogLevel::error, "c");
    CHECK(seen == 3);
}

TEST_CASE("a logger that throws, and none at all, are harmless", "[log]") {
    int calls = 0;
    sc::detail::RateLimitedLog broken([&calls](sc::LogLevel, std::string_view) {
        ++calls;
        throw std::runtime_error("disk full");
    });
    CHECK_NOTHROW(broken(sc::LogLevel::info, "a"));
    CHECK_NOTHROW(broken.always(sc::LogLevel::info, "b"));
    CHECK(calls == 2);
    CHECK(broken);

    sc::detail::RateLimitedLog none;
    CHECK_FALSE(none);
    CHECK_NOTHROW(none(sc::LogLevel::info, "a"));
    CHECK_NOTHROW(none.always(sc::LogLevel::info, "a"));
}

TEST_CASE("levels have names", "[log]") {
    CHECK(sc::to_string(sc::LogLevel::debug) == "debug");
    CHECK(sc::to_string(sc::LogLevel::info) == "info");
    CHECK(sc::to_string(sc::LogLevel::warning) == "warning");
    CHECK(sc::to_string(sc::LogLevel::error) == "error");
}
