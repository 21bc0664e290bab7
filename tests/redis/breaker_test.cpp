#include <smartcache/redis/breaker.hpp>

#include <chrono>

#include "support/catch.hpp"
#include "support/fork.hpp"

namespace breaker_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using sc::Breaker;
using Pass = Breaker::Pass;
using Result = Breaker::Result;
using State = sc::BreakerState;

namespace {

struct World {
    Breaker breaker{{.failures = 3, .open_for = 5s}};
    Breaker::TimePoint now{};

    Pass go(Result result) {
        const Pass pass = breaker.enter(now);
        (void)breaker.leave(pass, result, now);
        return pass;
    }
    void open() {
        for (int i = 0; i < 3; ++i) (void)go(Result::failure);
        REQUIRE(breaker.state() == State::open);
    }
};

}  // namespace

TEST_CASE("the breaker opens after so many failures in a row and not before", "[redis][breaker]") {
    World world;
    CHECK(world.go(Result::failure) == Pass::normal);
    CHECK(world.go(Result::failure) == Pass::normal);
    CHECK(world.go(Result::success) == Pass::normal);
    CHECK(world.go(Result::failure) == Pass::normal);
    CHECK(world.go(Result::neutral) == Pass::normal);
    CHECK(world.go(Result::failure) == Pass::normal);
    CHECK(world.breaker.state() == State::closed);
    const Pass pass = world.breaker.enter(world.now);
    CHECK(world.breaker.leave(pass, Result::failure, world.now));
    CHECK(world.breaker.state() == State::open);
    CHECK(world.go(Result::success) == Pass::refused);
}

TEST_CASE("after its time one probe at a time is let through, and its success closes the breaker",
          "[redis][breaker]") {
    World world;
    world.open();
    world.now += 5s - 1ms;
    CHECK(world.breaker.enter(world.now) == Pass::refused);
    world.now += 1ms;
    const Pass probe = world.breaker.enter(world.now);
    CHECK(probe == Pass::probe);
    CHECK(world.breaker.state() == State::half_open);
    CHECK(world.breaker.enter(world.now) == Pass::refused);
    CHECK(world.breaker.leave(probe, Result::success, world.now));
    CHECK(world.breaker.state() == State::closed);
    // It counts from nothing again.
    (void)world.go(Result::failure);
    (void)world.go(Result::failure);
    CHECK(world.breaker.state() == State::closed);
}

TEST_CASE("a probe that fails opens the breaker for its whole time again", "[redis][breaker]") {
    World world;
    world.open();
    world.now += 5s;
    CHECK(world.go(Result::failure) == Pass::probe);
    CHECK(world.breaker.state() == State::open);
    world.now += 4999ms;
    CHECK(world.breaker.enter(world.now) == Pass::refused);
    world.now += 1ms;
    CHECK(world.go(Result::success) == Pass::probe);
    CHECK(world.breaker.state() == State::closed);
}

TEST_CASE("a probe that learned nothing leaves the next one to the next caller", "[redis][breaker]") {
    World world;
    world.open();
    world.now += 5s;
    CHECK(world.go(Result::neutral) == Pass::probe);
    CHECK(world.go(Result::success) == Pass::probe);
    CHECK(world.breaker.state() == State::closed);
}

TEST_CASE("what began before the breaker opened decides nothing afterwards", "[redis][breaker]") {
    World world;
    const Pass early = world.breaker.enter(world.now);
    world.open();
    CHECK_FALSE(world.breaker.leave(early, Result::success, world.now));
    CHECK(world.breaker.state() == State::open);
}

TEST_CASE("a server found well by other means closes the breaker", "[redis][breaker]") {
    World world;
    CHECK_FALSE(world.breaker.recovered());
    world.open();
    CHECK(world.breaker.recovered());
    CHECK(world.go(Result::success) == Pass::normal);
}

TEST_CASE("who has nothing else to do probes every 100 ms, and keeps the others from it",
          "[redis][breaker]") {
    World world;
    const auto probe = [&](Result result) {
        const Pass pass = world.breaker.enter_to_probe(world.now);
        (void)world.breaker.leave(pass, result, world.now);
        return pass;
    };
    CHECK(probe(Result::failure) == Pass::refused);  // it is closed
    world.open();
    CHECK(probe(Result::failure) == Pass::refused);
    world.now += 100ms - 1ns;
    CHECK(probe(Result::failure) == Pass::refused);
    world.now += 1ns;
    CHECK(probe(Result::failure) == Pass::probe);
    for (int i = 0; i < 100; ++i) {
        CHECK(world.go(Result::failure) == Pass::refused);
        CHECK(probe(Result::failure) == Pass::refused);
        world.now += 100ms;
        CHECK(probe(i % 2 == 0 ? Result::neutral : Result::failure) == Pass::probe);
    }
    world.now += 4s;
    const Pass pass = world.breaker.enter_to_probe(world.now);
    CHECK(pass == Pass::probe);
    CHECK(world.breaker.enter_to_probe(world.now) == Pass::refused);
    CHECK(world.breaker.leave(pass, Result::success, world.now));
    CHECK(world.go(Result::success) == Pass::normal);
}

TEST_CASE("a child process does not wait for its parent's probe", "[redis][breaker][fork][r33]") {
    World world;
    world.open();
    world.now += 100ms;
    REQUIRE(world.breaker.enter_to_probe(world.now) == Pass::probe);
    world.now += 1h;
    CHECK(world.go(Result::success) == Pass::refused);
    CHECK(smartcache_test::in_child([&] { return world.go(Result::success) == Pass::probe; }));
}

TEST_CASE("a breaker that stays open for ever does not overflow", "[redis][breaker]") {
    Breaker breaker({.failures = 1, .open_for = sc::Duration::max()});
    const auto now = std::chrono::steady_clock::now();
    (void)breaker.leave(breaker.enter(now), Result::failure, now);
    CHECK(breaker.enter(now + 24h) == Pass::refused);
}

}  // namespace breaker_test
