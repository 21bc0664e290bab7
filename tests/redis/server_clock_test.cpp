#include <smartcache/redis/server_clock.hpp>

#include <chrono>

#include "support/catch.hpp"

namespace server_clock_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using sc::detail::ServerClock;

TEST_CASE("the server's time follows our steady clock, whatever happens to our wall clock", "[redis][time]") {
    ServerClock clock;
    const ServerClock::Steady::time_point start{100s};
    const sc::WallTime wall{5000s};
    CHECK(clock.ahead(wall, start) == 0ms);
    clock.observe({6'000'000, start});
    CHECK(clock.ahead(wall, start) == 1000s);
    CHECK(clock.ahead(wall + 10s, start + 10s) == 1000s);
    CHECK(clock.ahead(wall + 3610s, start + 10s) == -2600s);  // somebody set our clock an hour forward
}

TEST_CASE("differences of milliseconds do not move what was said before", "[redis][time]") {
    ServerClock clock;
    const ServerClock::Steady::time_point start{100s};
    const sc::WallTime wall{5000s};
    clock.observe({6'000'000, start});
    CHECK(clock.ahead(wall, start) == 1000s);
    CHECK(clock.ahead(wall + 1ms, start) == 1000s);
    clock.observe({6'001'015, start + 1s});
    CHECK(clock.ahead(wall + 1s, start + 1s) == 1000s);
    clock.observe({6'002'021, start + 2s});
    CHECK(clock.ahead(wall + 2s, start + 2s) == 1000s + 21ms);
    clock.observe({9'000'000, start + 1s});  // an older reading that comes late
    CHECK(clock.ahead(wall + 2s, start + 2s) == 1000s + 21ms);
}

TEST_CASE("the clock is read again every half minute, by one caller", "[redis][time]") {
    ServerClock clock;
    const ServerClock::Steady::time_point start{100s};
    CHECK_FALSE(clock.due(start));  // the log-in has just read it
    CHECK_FALSE(clock.due(start + 29s));
    CHECK(clock.due(start + 30s));
    CHECK_FALSE(clock.due(start + 30s));
    CHECK(clock.due(start + 61s));
}

// An answer to the log-in may lie there for seconds before the next caller reads it.
TEST_CASE("a reading that took long replaces no surer one, and is followed by another one soon",
          "[redis][time]") {
    ServerClock clock;
    const ServerClock::Steady::time_point start{100s};
    const sc::WallTime wall{5000s};
    const auto read = [&](ServerClock::Steady::duration asked, ServerClock::Steady::duration answered) {
        clock.observe(sc::detail::ServerTime::between(
            6'000'000 + std::chrono::duration_cast<sc::Duration>(asked).count(), start + asked,
            start + answered));
        return clock.ahead(wall + std::chrono::duration_cast<sc::Duration>(answered), start + answered);
    };
    CHECK(read(0s, 6s) == 997s);  // better than nothing
    CHECK_FALSE(clock.due(start + 3s + 999ms));
    CHECK(clock.due(start + 4s));
    CHECK(read(7s, 7s + 2ms) == 999s + 999ms);
    CHECK(read(8s, 14s) == 999s + 999ms);
    CHECK(read(20s, 20s + 60ms) == 999s + 999ms);
    CHECK(read(3600s, 3600s + 60ms) == 999s + 970ms);  // they may have drifted apart by more
    CHECK(clock.due(start + 3602s));
}

TEST_CASE("another server's time counts at once, however old", "[redis][time]") {
    ServerClock clock;
    const sc::WallTime wall{5000s};
    clock.observe({6'000'000, ServerClock::Steady::time_point{100s}});
    clock.forget();
    clock.observe({7'000'000, ServerClock::Steady::time_point{50s}});
    CHECK(clock.ahead(wall, ServerClock::Steady::time_point{50s}) == 2000s);
    // That may be from when a connection was made: the next one who comes asks for the time.
    const ServerClock::Steady::time_point now{200s};
    clock.forget(now);
    CHECK(clock.due(now));
    CHECK_FALSE(clock.due(now));
}

}  // namespace server_clock_test
