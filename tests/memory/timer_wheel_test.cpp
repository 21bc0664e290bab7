#include <smartcache/memory/timer_wheel.hpp>

#include <cstdint>
#include <map>
#include <random>
#include <vector>

#include "support/catch.hpp"

namespace timer_wheel_test {

using smartcache::detail::TimerWheel;

namespace {

/// When each timer rang, by a wheel that is advanced to `now`.
std::map<std::uint32_t, int> rung(TimerWheel& wheel, std::int64_t now) {
    std::map<std::uint32_t, int> numbers;
    wheel.advance(now, [&](std::uint32_t number) {
        ++numbers[number];
        return TimerWheel::never;
    });
    return numbers;
}

}  // namespace

TEST_CASE("timers ring once, at their time, up to years ahead", "[memory][timer]") {
    TimerWheel wheel;
    CHECK(wheel.quiet(TimerWheel::never - 1));
    const std::vector<std::int64_t> times{105,       140,         2'047,         2'048,         70'000,
                                          4'000'000, 300'000'000, 9'000'000'000, 50'000'000'000};
    for (std::uint32_t i = 0; i < times.size(); ++i) wheel.schedule(i, times[i]);
    for (std::uint32_t i = 0; i < times.size(); ++i) {
        CAPTURE(times[i]);
        CHECK(rung(wheel, times[i] - 33).empty());
        CHECK_FALSE(wheel.quiet(times[i]));
        CHECK(rung(wheel, times[i]).contains(i));
        CHECK(rung(wheel, times[i]).empty());
    }
    CHECK(wheel.quiet(TimerWheel::never - 1));
}

TEST_CASE("a wheel is as good at any time of the clock", "[memory][timer]") {
    static constexpr std::int64_t since_1970 = 1'760'000'000'000;
    const std::int64_t start = GENERATE(std::int64_t{0}, since_1970, -since_1970, 20 * since_1970);
    TimerWheel wheel(start);
    for (std::uint32_t i = 0; i < 1000; ++i) wheel.schedule(i, start + 10 + std::int64_t{i} * 1000);
    CHECK(rung(wheel, start + 10).size() == 1);
    for (std::uint32_t i = 1; i < 1000; ++i)
        CHECK(rung(wheel, start + 10 + std::int64_t{i} * 1000).size() == 1);
    wheel.schedule(7, TimerWheel::never);
    CHECK(rung(wheel, start + 9'000'000'000).empty());
}

TEST_CASE("of two times the earlier counts; a later one is looked up when the timer rings",
          "[memory][timer]") {
    TimerWheel wheel;
    wheel.schedule(7, 10'000);
    wheel.schedule(7, 1'000'000);
    wheel.schedule(7, 500);
    CHECK(rung(wheel, 400).empty());
    int rings = 0;
    wheel.advance(500, [&](std::uint32_t number) {
        CHECK(number == 7);
        ++rings;
        return std::int64_t{20'000};
    });
    CHECK(rings == 1);
    CHECK(rung(wheel, 19'900).empty());
    CHECK(rung(wheel, 20'000).size() == 1);
}

TEST_CASE("a timer that is put off within the present moment does not keep the wheel turning",
          "[memory][timer]") {
    TimerWheel wheel;
    wheel.schedule(1, 1'000);
    for (std::int64_t now = 992; now < 1'000; ++now) {
        int rings = 0;
        wheel.advance(now, [&](std::uint32_t) {
            ++rings;
            return std::int64_t{1'000};
        });
        CHECK(rings == 1);
    }
    CHECK(rung(wheel, 1'000).size() == 1);
}

TEST_CASE("the wheel agrees with a sorted map", "[memory][timer][model]") {
    for (const unsigned seed : {1U, 2U, 3U}) {
        std::mt19937_64 random(seed);
        TimerWheel wheel;
        std::map<std::uint32_t, std::int64_t> times;
        std::int64_t now = static_cast<std::int64_t>(random() % 1'000'000'000);
        for (int step = 0; step < 20'000; ++step) {
            const auto ahead = static_cast<std::int64_t>(random() >> (30 + random() % 34));
            if (random() % 4 != 0) {
                const auto number = static_cast<std::uint32_t>(random() % 500);
                wheel.schedule(number, now + ahead);
                const auto found = times.find(number);
                if (found == times.end())
                    times.emplace(number, now + ahead);
                else
                    found->second = std::min(found->second, now + ahead);
                continue;
            }
            now += ahead % 100'000;
            std::map<std::uint32_t, std::int64_t> left = times;
            wheel.advance(now, [&](std::uint32_t number) {
                const auto found = left.find(number);
                REQUIRE(found != left.end());
                REQUIRE(found->second < now + 32);
                if (found->second > now) return found->second;  // a little early: not yet
                left.erase(found);
                return TimerWheel::never;
            });
            for (const auto& each : left) REQUIRE(each.second > now);
            times = left;
            if (!times.empty()) {
                std::int64_t first = TimerWheel::never;
                for (const auto& each : times) first = std::min(first, each.second);
                REQUIRE_FALSE(wheel.quiet(first));
            }
        }
        wheel.clear();
        CHECK(wheel.memory_bytes() == 0);
        CHECK(rung(wheel, TimerWheel::never / 2).empty());
    }
}

}  // namespace timer_wheel_test
