#include <chrono>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include <smartcache/core/counters.hpp>

#include "support/catch.hpp"

namespace sc = smartcache;
using namespace std::chrono_literals;

namespace {
enum class Event { hit, miss, count_ };
}

TEST_CASE("events are counted apart, and reset to zero", "[counters]") {
    sc::Counters<Event> counters;
    counters.add(Event::hit);
    counters.add(Event::hit, 4);
    counters.add(Event::miss);
    CHECK(counters.sum(Event::hit) == 5);
    CHECK(counters.sum(Event::miss) == 1);
    counters.reset();
    CHECK(counters.sum(Event::hit) == 0);
    CHECK(counters.sum(Event::miss) == 0);
}

TEST_CASE("no addition of any thread is lost", "[counters]") {
    sc::Counters<Event> counters;
    std::vector<std::thread> threads;
    for (int t = 0; t < 20; ++t)  // more threads than stripes
        threads.emplace_back([&counters] {
            for (int i = 0; i < 1000; ++i) counters.add(Event::miss);
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(counters.sum(Event::miss) == 20'000);
    CHECK(counters.sum(Event::hit) == 0);
}

TEST_CASE("an empty histogram summarises to zero", "[histogram]") {
    sc::LatencyHistogram histogram;
    CHECK(histogram.summary().count == 0);
    CHECK(histogram.summary().p99 == 0ns);
    histogram.record(5us);
    histogram.reset();
    CHECK(histogram.summary().count == 0);
    CHECK(histogram.summary().max == 0ns);
}

TEST_CASE("a percentile is at most 12.5 % above the recorded latency, and never below it", "[histogram]") {
    std::mt19937_64 random(7);
    std::vector<std::int64_t> values{0, 1, 7, 8, 9, 15, 16, 17, 999, 1'000'000};
    for (unsigned bit = 4; bit < 46; ++bit)
        for (const int step : {-1, 0, 1}) values.push_back((std::int64_t{1} << bit) + step);
    for (int i = 0; i < 2000; ++i)
        values.push_back(static_cast<std::int64_t>(random() >> (18 + random() % 46)));

    for (const std::int64_t value : values) {
        sc::LatencyHistogram histogram;
        histogram.record(std::chrono::nanoseconds(value));
        histogram.record(std::chrono::nanoseconds(value));
        // The largest of all, so that the median is not simply the maximum.
        histogram.record(std::chrono::nanoseconds(std::int64_t{1} << 46));
        const sc::Latency summary = histogram.summary();
        INFO(value);
        REQUIRE(summary.count == 3);
        REQUIRE(summary.p50.count() >= value);
        REQUIRE(static_cast<double>(summary.p50.count() - value) <= 0.125 * static_cast<double>(value));
        REQUIRE(summary.max.count() == std::int64_t{1} << 46);
    }
}

TEST_CASE("percentiles of a known distribution", "[histogram]") {
    sc::LatencyHistogram histogram;
    for (int i = 1; i <= 1000; ++i) histogram.record(std::chrono::microseconds(i));
    const sc::Latency summary = histogram.summary();
    CHECK(summary.count == 1000);
    CHECK(summary.p50 >= 500us);
    CHECK(summary.p50 <= 563us);
    CHECK(summary.p99 >= 990us);
    CHECK(summary.p99 <= 1000us);
    CHECK(summary.max == 1000us);
}

TEST_CASE("latencies out of range are counted at the ends", "[histogram]") {
    sc::LatencyHistogram histogram;
    histogram.record(-5ns);
    CHECK(histogram.summary().count == 1);
    CHECK(histogram.summary().p99 == 0ns);
    histogram.record(std::chrono::nanoseconds::max());
    CHECK(histogram.summary().count == 2);
    CHECK(histogram.summary().max == std::chrono::nanoseconds::max());
    CHECK(histogram.summary().p50 == 0ns);
}
