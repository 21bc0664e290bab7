#include <smartcache/redis/tier_state.hpp>

#include <atomic>
#include <cstddef>
#include <new>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/fork.hpp"

namespace tier_state_test {

namespace sc = smartcache;
using sc::detail::TierState;

TEST_CASE("what is told goes by turns, and only when it is something else", "[redis][breaker]") {
    bool works = true;
    std::vector<bool> told;
    TierState state([&](bool up) { told.push_back(up); }, [&] { return works; });
    state.look();
    CHECK(told.empty());
    works = false;
    state.look();
    state.look();
    CHECK(told == std::vector<bool>{false});
    works = true;
    state.look();
    state.look();
    CHECK(told == std::vector<bool>{false, true});
    TierState nobody({}, [&] { return works = false; });
    nobody.look();
    CHECK(works);
}

TEST_CASE("what changes while it is told is told after it", "[redis][breaker]") {
    bool works = false;
    std::vector<bool> told;
    TierState* self = nullptr;
    TierState state(
        [&](bool up) {
            works = true;
            self->look();
            told.push_back(up);
        },
        [&] { return works; });
    self = &state;
    state.look();
    CHECK(told == std::vector<bool>{false, true});
}

TEST_CASE("a look that fails is made up for by the next one", "[redis][breaker]") {
    bool fails = true;
    std::vector<bool> told;
    TierState state([&](bool up) { told.push_back(up); },
                    [&] {
                        if (fails) throw std::bad_alloc();
                        return false;
                    });
    state.look();
    CHECK(told.empty());
    fails = false;
    state.look();
    CHECK(told == std::vector<bool>{false});
}

// Else nobody would be told in a child any more.
TEST_CASE("a child does not leave it to a thread of its parent to tell", "[redis][breaker][fork][R33]") {
    bool works = true;
    int told = 0;
    bool in_child_too = false;
    TierState state(
        [&](bool) {
            ++told;
            if (told == 1)
                in_child_too = smartcache_test::in_child([&] {
                    works = true;
                    state.look();
                    return told == 2;
                });
        },
        [&] { return works; });
    works = false;
    state.look();
    CHECK(told == 1);
    CHECK(in_child_too);
}

TEST_CASE("whatever many threads do, it is told by turns, and in the end as it is",
          "[redis][breaker][threads]") {
    std::atomic<bool> works{true};
    std::vector<bool> told;  // not locked: one call at a time
    TierState state([&](bool up) { told.push_back(up); }, [&] { return works.load(); });
    for (int round = 0; round < 200; ++round) {
        std::vector<std::thread> threads;
        for (int t = 0; t < 4; ++t)
            threads.emplace_back([&, t] {
                for (int i = 0; i < 50; ++i) {
                    works = (i + t) % 2 == 0;
                    state.look();
                }
            });
        for (std::thread& thread : threads) thread.join();
        const bool last = told.empty() || told.back();
        if (last != works) FAIL("not told");
    }
    std::size_t twice = 0;
    for (std::size_t i = 0; i < told.size(); ++i) twice += told[i] != (i % 2 == 1) ? 1U : 0U;
    CHECK(twice == 0);
}

}  // namespace tier_state_test
