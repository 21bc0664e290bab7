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

TEST_CASE("a lead that pays a change of mode may not pay one that grows the window", "[policy][selector]") {
    // Every key is asked for twice, 40 newcomers apart, and never again: the more window, the more hits.
    const auto changes = [](policy::Mode from, policy::Mode to, double window_growth) {
        const std::array<Mode, 2> pair{{from, to}};
        policy::SelectorOptions options;
        options.window_growth = window_growth;
        policy::ModeSelector selector(pair, 0, 100, 100, options);
        for (std::uint64_t next = 1000; next < 20'000; ++next) {
            if (selector.request(hash_of(next), 1, false)) return true;
            if (selector.request(hash_of(next - 40), 1, false)) return true;
        }
        return false;
    };
    CHECK(changes(modes[1], modes[0], 0));
    CHECK_FALSE(changes(modes[1], modes[0], 1000));
    // Shrinking it is free: a loop of 130 keys, which a window keeps nothing of.
    policy::SelectorOptions dear;
    dear.window_growth = 1000;
    policy::ModeSelector shrinks(modes, 0, 100, 100, dear);
    CHECK(turns_until_change(shrinks, 100, 130, 0.0) != 0);
}

TEST_CASE(
    "by weight the selector prefers the mode that hits more bytes, by number the one that hits more often",
    "[policy][selector]") {
    // A few heavy keys, each more popular than any of many light ones: the first mode gives them up, the second
    // goes by popularity alone.
    constexpr std::array<Mode, 2> pair{{
        {.gate = Mode::Gate::filter, .window = 0.1, .power = 2},
        {.gate = Mode::Gate::filter, .window = 0.1, .power = 0},
    }};
    const auto chosen = [&](bool by_weight, std::size_t first) {
        policy::SelectorOptions options;
        options.by_weight = by_weight;
        policy::ModeSelector selector(pair, first, 400, 10'000, options);
        std::mt19937 random(7);
        for (int i = 0; i < 200'000; ++i) {
            const bool heavy = random() % 5 == 0;
            const std::uint64_t key = heavy ? 1000 + random() % 16 : random() % 300;
            (void)selector.request(hash_of(key), heavy ? 2500 : 30, true);
        }
        return selector.chosen_index();
    };
    for (const std::size_t first : {0U, 1U}) {
        CHECK(chosen(false, first) == 0);
        CHECK(chosen(true, first) == 1);
    }
}
