#include <smartcache/http/flights.hpp>

#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/core/executor.hpp>
#include <smartcache/http/detail/middleware_waits.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/fork.hpp"

namespace flights_test {

using namespace smartcache;
using namespace smartcache::http::detail;
using namespace std::chrono_literals;
using Ending = Flights::Ending;
using Role = Flights::Role;

namespace {
struct Woken {
    std::vector<Ending> endings;
    auto maker() {
        return [this] { return Flights::Wake([this](Ending e) { endings.push_back(e); }); };
    }
};
const auto no_wake = [] { return Flights::Wake([](Ending) {}); };
}  // namespace

TEST_CASE("the first leads, the next wait and learn how it ended", "[http][flights]") {
    Flights flights;
    Woken woken;
    auto leader = flights.join("k");
    auto waiter = flights.join("k");
    CHECK(flights.take_part(leader, "v", true, true, false, no_wake) == Role::leader);
    CHECK(flights.take_part(waiter, "v", true, true, false, woken.maker()) == Role::waiter);
    CHECK(woken.endings.empty());
    leader.end(Ending::stored);
    CHECK(woken.endings == std::vector<Ending>{Ending::stored});
    CHECK(flights.take_part(waiter, "v", true, true, false, no_wake) == Role::leader);
}

TEST_CASE("variants of one resource have leaders of their own", "[http][flights]") {
    Flights flights;
    auto a = flights.join("k");
    auto b = flights.join("k");
    CHECK(flights.take_part(a, "v1", true, true, false, no_wake) == Role::leader);
    CHECK(flights.take_part(b, "v2", true, true, false, no_wake) == Role::leader);
}

TEST_CASE("a destroyed leader abandons its flight and wakes the waiters", "[http][flights]") {
    Flights flights;
    Woken woken;
    auto waiter = flights.join("k");
    {
        auto leader = flights.join("k");
        CHECK(flights.take_part(leader, "v", true, true, false, no_wake) == Role::leader);
        CHECK(flights.take_part(waiter, "v", true, true, false, woken.maker()) == Role::waiter);
    }
    CHECK(woken.endings == std::vector<Ending>{Ending::abandoned});
}

TEST_CASE("R1: only the leader's ticket is renewed by its part", "[http][flights]") {
    Flights flights;
    const auto before = flights.invalidations();
    auto alone = flights.join("k");
    auto waiter = flights.join("k");
    auto leader = flights.join("k");
    CHECK(flights.invalidations() == before);
    flights.invalidate("k", [] {});
    CHECK(flights.invalidations() != before);
    CHECK(flights.take_part(alone, "v", false, true, false, no_wake) == Role::alone);
    CHECK_FALSE(alone.valid());
    CHECK(flights.take_part(leader, "v", true, true, false, no_wake) == Role::leader);
    CHECK(leader.valid());
    CHECK(flights.take_part(waiter, "v", true, true, false, no_wake) == Role::waiter);
    CHECK_FALSE(waiter.valid());
    waiter.renew();
    CHECK(waiter.valid());
}

TEST_CASE("a waiter that throws takes nobody with it", "[http][flights]") {
    const auto throws = [] { return Flights::Wake([](Ending) { throw std::runtime_error("done"); }); };
    const int how = GENERATE(0, 1, 2, 3);
    Flights flights;
    Woken woken;
    auto first = flights.join("k");
    auto second = flights.join("k");
    {
        auto leader = flights.join("k");
        CHECK(flights.take_part(leader, "v", true, true, false, no_wake) == Role::leader);
        CHECK(flights.take_part(first, "v", true, true, false, throws) == Role::waiter);
        CHECK(flights.take_part(second, "v", true, true, false, woken.maker()) == Role::waiter);
        if (how == 1) leader.end(Ending::stored);
        if (how == 2) flights.invalidate("k", [] {});
        if (how == 3) flights.invalidate_all([] {});
    }
    CHECK(woken.endings == std::vector<Ending>{how == 1 ? Ending::stored : Ending::abandoned});
}

TEST_CASE("who may neither lead nor wait goes alone; so does the leader's own thread", "[http][flights]") {
    Flights flights;
    auto leader = flights.join("k");
    auto other = flights.join("k");
    CHECK(flights.take_part(other, "v", false, true, true, no_wake) == Role::alone);
    CHECK(flights.take_part(leader, "v", true, true, true, no_wake) == Role::leader);
    CHECK(flights.take_part(other, "v", true, false, false, no_wake) == Role::alone);
    CHECK(flights.take_part(other, "v", true, true, true, no_wake) == Role::alone);  // R32
    std::optional<Role> elsewhere;
    std::thread([&] { elsewhere = flights.take_part(other, "v", true, true, true, no_wake); }).join();
    CHECK(elsewhere == Role::waiter);
}

TEST_CASE("an invalidation fences what is on its way and detaches its leader (R1, R2)", "[http][flights]") {
    Flights flights;
    Woken woken;
    auto old = flights.join("k");
    auto waiter = flights.join("k");
    CHECK(flights.take_part(old, "v", true, true, false, no_wake) == Role::leader);
    CHECK(flights.take_part(waiter, "v", true, true, false, woken.maker()) == Role::waiter);
    bool erased = false;
    flights.invalidate("k", [&] { erased = true; });
    CHECK(erased);
    CHECK(woken.endings == std::vector<Ending>{Ending::abandoned});
    bool stored = false;
    CHECK_FALSE(old.unless_invalidated([&] { stored = true; }));
    CHECK_FALSE(stored);

    // Who comes later leads anew, and the old leader's end does not take that lead away.
    auto young = flights.join("k");
    CHECK(flights.take_part(young, "v", true, true, false, no_wake) == Role::leader);
    old.end(Ending::stored);
    auto next = flights.join("k");
    CHECK(flights.take_part(next, "v", true, true, false, no_wake) == Role::waiter);
    CHECK(young.unless_invalidated([&] { stored = true; }));
    CHECK(stored);

    flights.invalidate("other", [] {});
    CHECK(young.unless_invalidated([] {}));
    flights.invalidate_all([] {});
    CHECK_FALSE(young.unless_invalidated([] {}));
}

TEST_CASE("what a flight alone has replaced is followed to what is there now", "[http][flights]") {
    Flights flights;
    Flights::Ticket a = flights.join("k");
    Flights::Ticket b = flights.join("k");
    const auto replace = [](Flights::Ticket& ticket, std::uint64_t version, std::uint64_t by) {
        return ticket.unless_invalidated([&] { ticket.replace(version, by); });
    };
    CHECK(b.follow(1) == 1);
    CHECK(replace(a, 1, 2));
    CHECK(replace(b, 2, 3));
    CHECK(a.follow(1) == 3);
    CHECK(a.follow(2) == 3);
    CHECK(a.follow(3) == 3);
    CHECK(replace(a, 7, 8));  // somebody else has changed it before
    CHECK(b.follow(1) == 1);
    CHECK(b.follow(7) == 8);
    for (std::uint64_t i = 8; i < 100; ++i) CHECK(replace(a, i, i + 1));
    CHECK(b.follow(7) == 7);  // too long ago
    CHECK(b.follow(99) == 100);
    flights.invalidate("k", [] {});
    CHECK(flights.join("k").follow(99) == 99);
}

// A child used to wait for the request of a thread that it does not have.
TEST_CASE("in a child no request of its parent is on its way", "[http][flights][fork][R33]") {
    Flights flights;
    std::latch there(2);
    std::latch end(1);
    std::thread other([&] {
        auto leader = flights.join("k");
        (void)flights.take_part(leader, "v", true, true, false, no_wake);
        (void)leader.unless_invalidated([&] {
            there.arrive_and_wait();
            end.wait();
        });
    });
    there.arrive_and_wait();
    Woken woken;
    auto own = std::make_unique<Flights::Ticket>(flights.join("another"));
    auto waiter = flights.join("another");
    CHECK(flights.take_part(*own, "v", true, true, false, no_wake) == Role::leader);
    CHECK(flights.take_part(waiter, "v", true, true, false, woken.maker()) == Role::waiter);
    CHECK(smartcache_test::in_child([&] {
        auto ticket = flights.join("k");
        bool good = flights.take_part(ticket, "v", true, true, false, no_wake) == Role::leader;
        good = good && ticket.valid() && ticket.unless_invalidated([] {});
        flights.invalidate_all([] {});
        good = good && !ticket.valid();
        // What its own thread had begun stores nothing and wakes nobody.
        good = good && !own->valid() && !own->unless_invalidated([] {});
        good = good && flights.take_part(*own, "v", true, true, false, no_wake) == Role::alone;
        own.reset();
        return good && woken.endings.empty();
    }));
    own.reset();
    CHECK(woken.endings == std::vector<Ending>{Ending::abandoned});
    end.count_down();
    other.join();
}

// Its parent's timers do not go off there.
TEST_CASE("in a child a wait gets a timer of its own", "[http][flights][fork][R33]") {
    struct Timers final : Executor {
        [[nodiscard]] bool submit(Task) override { return false; }
        [[nodiscard]] bool submit_after(Duration, Task task) override {
            tasks.push_back(std::move(task));
            return true;
        }
        std::vector<Task> tasks;
    } timers;
    Waits waits;
    const auto wait_for = [&](int& given_up) {
        auto wait =
            std::make_shared<Wait>([&given_up](std::optional<Ending> ending) { given_up += ending ? 0 : 1; });
        waits.add(wait, timers, 0ms);
        return wait;
    };
    int parents = 0;
    const auto first = wait_for(parents);
    REQUIRE(timers.tasks.size() == 1);
    CHECK(smartcache_test::in_child([&] {
        int own = 0;
        const auto second = wait_for(own);
        if (timers.tasks.size() != 2) return false;
        timers.tasks.back()();
        return own == 1;
    }));
    timers.tasks.back()();
    CHECK(parents == 1);
}

TEST_CASE("what turned out not to be shared is remembered for ten seconds", "[http][flights]") {
    FakeClock clock;
    UncacheableMemory memory;
    CHECK_FALSE(memory.knows("v", clock.now()));
    memory.remember("v", clock.now());
    CHECK(memory.knows("v", clock.now()));
    clock.advance(9s);
    CHECK(memory.knows("v", clock.now()));
    clock.advance(1s);
    CHECK_FALSE(memory.knows("v", clock.now()));
    memory.remember("v", clock.now());
    memory.forget("v");
    CHECK_FALSE(memory.knows("v", clock.now()));
}

}  // namespace flights_test
