#include <chrono>
#include <limits>

#include <smartcache/core/clock.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"

namespace sc = smartcache;
using namespace std::chrono_literals;

TEST_CASE("a fake clock stands still until it is moved, and moves both times together", "[clock]") {
    sc::FakeClock clock;
    const sc::MonotonicTime now = clock.now();
    const sc::WallTime wall = clock.wall();
    CHECK(wall == sc::WallTime(1'000'000'000s));
    CHECK(clock.now() == now);
    clock.advance(1500ms);
    CHECK(clock.now() - now == 1500ms);
    CHECK(clock.wall() - wall == 1500ms);
}

TEST_CASE("a fake clock never goes back", "[clock]") {
    sc::FakeClock clock;
    const sc::MonotonicTime now = clock.now();
    clock.advance(-1h);
    clock.advance(0ms);
    CHECK(clock.now() == now);
    CHECK(clock.wall() == sc::WallTime(1'000'000'000s));
}

TEST_CASE("setting the wall clock leaves monotonic time alone", "[clock]") {
    sc::FakeClock clock;
    clock.advance(1s);
    const sc::MonotonicTime now = clock.now();
    clock.set_wall(sc::WallTime(5s));
    CHECK(clock.wall() == sc::WallTime(5s));
    CHECK(clock.now() == now);
    clock.advance(1s);
    CHECK(clock.wall() == sc::WallTime(6s));
    CHECK(clock.now() - now == 1s);
}

TEST_CASE("a fake clock starts when it is told to", "[clock]") {
    const sc::FakeClock clock(sc::WallTime(42ms));
    CHECK(clock.wall() == sc::WallTime(42ms));
    CHECK(clock.now() == sc::FakeClock().now());
}

TEST_CASE("a time source is the system's clock or the injected one", "[clock]") {
    sc::FakeClock fake;
    const sc::TimeSource injected(&fake);
    CHECK(injected.injected() == &fake);
    CHECK(&injected.clock() == &fake);
    CHECK(injected.now() == fake.now());
    CHECK(injected.wall() == fake.wall());

    const sc::TimeSource system;
    CHECK(system.injected() == nullptr);
    CHECK(&system.clock() == &sc::SystemClock::instance());
    const sc::MonotonicTime before = sc::MonotonicClock::now();
    const sc::MonotonicTime now = system.now();
    CHECK(before <= now);
    CHECK(now <= sc::MonotonicClock::now());
    CHECK(system.wall() > sc::WallTime(1'000'000'000s));
}

TEST_CASE("adding to a time never overflows: for ever stays for ever", "[clock]") {
    const sc::WallTime start(1000s);
    CHECK(sc::saturating_add(start, 5ms) == sc::WallTime(1'000'005ms));
    CHECK(sc::saturating_add(start, -5ms) == sc::WallTime(999'995ms));
    CHECK(sc::saturating_add(start, sc::Duration::max()) == sc::WallTime::max());
    CHECK(sc::saturating_add(start, sc::WallTime::max() - start) == sc::WallTime::max());
    CHECK(sc::saturating_add(start, sc::WallTime::max() - start - 1ms) == sc::WallTime::max() - 1ms);
    CHECK(sc::saturating_add(sc::WallTime::max(), 0ms) == sc::WallTime::max());
    CHECK(sc::saturating_add(sc::WallTime(-5ms), sc::Duration::max()) == sc::WallTime::max());
    CHECK(sc::saturating_add(sc::WallTime(-5ms), sc::Duration::max() - 1ms) == sc::WallTime::max() - 6ms);
}

TEST_CASE("any length of time has a place among ours", "[clock]") {
    using Seconds = std::chrono::duration<double>;
    CHECK(sc::saturating_duration(1500us) == 1ms);
    CHECK(sc::saturating_duration(Seconds(-0.5)) == -500ms);
    CHECK(sc::saturating_duration(std::chrono::hours::max()) == sc::Duration::max());
    CHECK(sc::saturating_duration(std::chrono::hours::min()) == sc::Duration::min());
    CHECK(sc::saturating_duration(sc::Duration::max()) == sc::Duration::max());
    CHECK(sc::saturating_duration(sc::Duration::min()) == sc::Duration::min());
    CHECK(sc::saturating_duration(Seconds(1e300)) == sc::Duration::max());
    CHECK(sc::saturating_duration(Seconds(-1e300)) == sc::Duration::min());
    CHECK(sc::saturating_duration(Seconds(std::numeric_limits<double>::quiet_NaN())) == sc::Duration::min());
}

TEST_CASE("what remains of for ever is for ever", "[clock]") {
    const sc::MonotonicTime now(10s);
    CHECK(sc::remaining(sc::MonotonicTime::max(), now) == sc::Duration::max());
    CHECK(sc::remaining(sc::MonotonicTime(12s), now) == 2s);
    CHECK(sc::remaining(sc::MonotonicTime(9s), now) == -1s);
}
