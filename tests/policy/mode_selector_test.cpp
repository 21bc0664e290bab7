#include <smartcache/policy/mode_selector.hpp>

#include <array>

#include "model_cache.hpp"
#include "support/catch.hpp"

namespace policy = smartcache::policy;
using policy::Mode;
using policy_test::hash_of;

namespace {
// On a loop larger than the cache the first keeps its share and the second, all window, nothing.
constexpr std::array<Mode, 2> modes{{
    {.gate = Mode::Gate::filter, .window = 0.95},
    {.gate = Mode::Gate::filter, .window = 0.05},
}};

std::size_t turns_until_change(policy::ModeSelector& selector, std::size_t turns, std::uint64_t loop,
                               double own_hits) {
    double owed = 0;
    for (std::size_t i = 0; i < turns * 100; ++i) {
        owed += own_hits;
        const bool hit = owed >= 1;
        if (hit) owed -= 1;
        if (selector.request(hash_of(i % loop), 1, hit)) return i / 100 + 1;
    }
    return 0;
}
}  // namespace

TEST_CASE("the selector changes to the mode whose shadow hits more", "[policy][selector]") {
    policy::ModeSelector selector(modes, 0, 100, 100, {});
    CHECK(turns_until_change(selector, 200, 130, 0.0) != 0);
    CHECK(selector.chosen() == modes[1]);
}

TEST_CASE("the selector stays where nothing is to be gained", "[policy][selector]") {
    policy::ModeSelector selector(modes, 1, 100, 100, {});
    CHECK(turns_until_change(selector, 200, 130, 0.6) == 0);
    policy::ModeSelector fits(modes, 0, 100, 100, {});
    CHECK(turns_until_change(fits, 200, 50, 1.0) == 0);
}

TEST_CASE("a mode that does worse in the cache than in its shadow is doubted and left",
          "[policy][selector]") {
    // Two modes that see the same in their shadows as long as the loop fits a window.
    constexpr std::array<Mode, 2> twins{{
        {.gate = Mode::Gate::filter, .window = 0.05},
        {.gate = Mode::Gate::filter, .window = 0.06},
    }};
    policy::ModeSelector faithful(twins, 0, 100, 100, {});
    CHECK(turns_until_change(faithful, 50, 90, 1.0) == 0);
    policy::ModeSelector doubted(twins, 0, 100, 100, {});
    CHECK(turns_until_change(doubted, 50, 90, 0.0) != 0);
    CHECK(doubted.chosen() == twins[1]);
}

TEST_CASE("the selector follows a change of the traffic", "[policy][selector]") {
    policy::ModeSelector selector(modes, 0, 100, 100, {});
    REQUIRE(turns_until_change(selector, 200, 130, 0.0) != 0);
    // Now every key is asked for twice, half a cache apart, and never again.
    std::uint64_t next = 1'000'000;
    bool changed = false;
    for (std::size_t i = 0; i < 30'000 && !changed; ++i) {
        changed = selector.request(hash_of(next), 1, false);
        if (!changed) changed = selector.request(hash_of(next - 40), 1, false);
        ++next;
    }
    CHECK(changed);
    CHECK(selector.chosen() == modes[0]);
}

TEST_CASE("a lead that pays a change of rules may not pay one that moves the window", "[policy][selector]") {
    // A loop over 130 keys by a cache of 100: the more window, the less of it is kept.
    constexpr std::array<Mode, 2> wide_and_narrow{{
        {.gate = Mode::Gate::filter, .window = 0.50},
        {.gate = Mode::Gate::filter, .window = 0.05},
    }};
    policy::SelectorOptions free_move;
    free_move.window_move = 0;
    policy::SelectorOptions dear_move;
    dear_move.window_move = 3;
    policy::ModeSelector moves(wide_and_narrow, 0, 100, 100, free_move);
    CHECK(turns_until_change(moves, 100, 130, 0.0) != 0);
    policy::ModeSelector stays(wide_and_narrow, 0, 100, 100, dear_move);
    CHECK(turns_until_change(stays, 100, 130, 0.0) == 0);
}
