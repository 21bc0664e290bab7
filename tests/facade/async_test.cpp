#include <smartcache/facade/async.hpp>

#include <atomic>
#include <cstddef>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__cpp_impl_coroutine)
#include <coroutine>
#endif

#include <smartcache/codec/json.hpp>
#include <smartcache/facade/cached.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/map_tier.hpp"

namespace async_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::MapTier;

namespace {

/// What a lookup with a callback has come to, and where.
template <class T>
struct Outcome {
    std::exception_ptr error;
    sc::Lookup<T> value;
    std::thread::id thread;
};

template <class T, class Operation>
Outcome<T> outcome_of(Operation operation) {
    std::promise<Outcome<T>> promise;
    std::future<Outcome<T>> future = promise.get_future();
    std::move(operation).then(
        [promise = std::move(promise)](std::exception_ptr error, sc::Lookup<T> value) mutable {
            promise.set_value({std::move(error), std::move(value), std::this_thread::get_id()});
        });
    return future.get();
}

template <class Function>
concept HasAsync = requires(const Function& function, int& n) {
    function.async(n);
};

}  // namespace

TEST_CASE("what memory has is there at once, for a callback", "[facade][async]") {
    sc::SmartCache<> cache;
    cache.set("k", 1);
    auto operation = cache.async_get<int>("k");
    CHECK(operation.await_ready());
    CHECK(operation.await_resume().tier() == sc::TierId::memory);
    const auto outcome = outcome_of<int>(cache.async_get_or_compute("k", [] { return 2; }));
    CHECK(*outcome.value == 1);
    CHECK(outcome.thread == std::this_thread::get_id());
    CHECK(cache.stats().hits == 2);
    CHECK(cache.stats().misses == 0);
}

TEST_CASE("anything else runs on a thread of the cache", "[facade][async]") {
    std::vector<std::unique_ptr<sc::Tier>> tiers;
    tiers.push_back(std::make_unique<MapTier>(sc::TierId::disk));
    sc::SmartCache<> cache({}, std::move(tiers));
    cache.set("below", 5);
    cache.clear_memory();
    const std::thread::id here = std::this_thread::get_id();
    {
        const auto outcome = outcome_of<int>(cache.async_get<int>("below"));
        CHECK(*outcome.value == 5);
        CHECK(outcome.value.tier() == sc::TierId::disk);
        CHECK(outcome.thread != here);
    }
    CHECK_FALSE(outcome_of<int>(cache.async_get<int>("nothing")).value);
    std::thread::id loaded_in;
    const auto load = [&loaded_in] {
        loaded_in = std::this_thread::get_id();
        return std::string("made");
    };
    CHECK(*outcome_of<std::string>(cache.async_get_or_compute("k", load, {.ttl = 1min})).value == "made");
    CHECK(loaded_in != here);
    CHECK(cache.get<std::string>("k").ttl() <= 1min);
    const auto failed =
        outcome_of<int>(cache.async_get_or_compute("e", []() -> int { throw std::out_of_range("origin"); }));
    CHECK_FALSE(failed.value);
    CHECK_THROWS_AS(std::rethrow_exception(failed.error), std::out_of_range);
    CHECK_THROWS_AS(cache.async_get_or_compute("k", load, {.early_beta = -1}), sc::ConfigError);
}

TEST_CASE("it goes on where it was told to", "[facade][async]") {
    sc::SmartCache<> cache;
    sc::DeferredExecutor executor;
    std::atomic<bool> done{false};
    cache.async_get<int>("k", sc::resume_on(executor))
        .then([&](const std::exception_ptr&, const sc::Lookup<int>&) { done = true; });
    while (executor.run() == 0) std::this_thread::yield();
    CHECK(done);
    // An executor that takes nothing: in the thread that has the result.
    sc::ThreadPool full(0);
    CHECK(outcome_of<int>(cache.async_get<int>("k", sc::resume_on(full))).thread !=
          std::this_thread::get_id());
    // One that throws is no reason never to go on.
    const auto broken = [](const auto&) { throw std::runtime_error("no room"); };
    CHECK_FALSE(outcome_of<int>(cache.async_get<int>("k", broken)).value);
}

TEST_CASE("a callback is called once, whatever it throws", "[facade][async]") {
    std::atomic<int> calls{0};
    {
        sc::SmartCache<> cache;
        cache.async_get<int>("k").then([&](const std::exception_ptr&, const sc::Lookup<int>&) {
            ++calls;
            throw std::runtime_error("mine");
        });
        while (calls == 0) std::this_thread::yield();
    }
    CHECK(calls == 1);
}

TEST_CASE("without threads it runs in the thread that asks", "[facade][async]") {
    sc::SmartCache<> cache{{.background_threads = 0}};
    const auto outcome = outcome_of<int>(cache.async_get_or_compute("k", [] { return 3; }));
    CHECK(*outcome.value == 3);
    CHECK(outcome.thread == std::this_thread::get_id());
}

TEST_CASE("a hit that is due for a refresh does not run the loader in the thread that asks",
          "[facade][async]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    cache.set("k", 1, 10s);
    clock.advance(9s);
    std::thread::id loaded_in;
    const auto outcome = outcome_of<int>(cache.async_get_or_compute("k",
                                                                    [&loaded_in] {
                                                                        loaded_in =
                                                                            std::this_thread::get_id();
                                                                        return 2;
                                                                    },
                                                                    {.ttl = 10s, .refresh_ahead = 0.5}));
    CHECK(*outcome.value == 2);
    CHECK(loaded_in != std::this_thread::get_id());
    CHECK(outcome_of<int>(cache.async_get_or_compute("k", [] { return 3; }, {.refresh_ahead = 0.5})).thread ==
          std::this_thread::get_id());
}

TEST_CASE("a cached function may be called for a future", "[facade][async][cached]") {
    sc::SmartCache<> cache;
    std::promise<void> opening;
    const std::shared_future<void> opened = opening.get_future().share();
    const auto join =
        sc::cached(cache, "join", [opened](std::string_view a, const char* b) -> std::optional<std::string> {
            opened.wait();
            if (a.empty()) return std::nullopt;
            if (a == "throw") throw std::out_of_range("a");
            return std::string(a) + b;
        });
    std::vector<std::future<std::optional<std::string>>> futures;
    for (const char* const a : {"x", "", "throw"}) futures.push_back(join.async(std::string(a), "y"));
    opening.set_value();
    CHECK(futures[0].get() == "xy");
    CHECK(futures[1].get() == std::nullopt);
    CHECK_THROWS_AS(futures[2].get(), std::out_of_range);
    CHECK(join.async("x", "y").wait_for(0s) == std::future_status::ready);
    const auto changes = sc::cached<int(int&)>(cache, "changes", [](int& n) { return n; });
    static_assert(!HasAsync<decltype(changes)>);
}

#if defined(__cpp_impl_coroutine)

namespace {

/// The simplest coroutine: begins at once, and tells a promise how it ended.
struct Task {
    struct promise_type {
        std::promise<int> result;
        Task get_return_object() { return {result.get_future()}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_value(int value) { result.set_value(value); }
        void unhandled_exception() { result.set_exception(std::current_exception()); }
    };
    std::future<int> result;
};

Task add(sc::SmartCache<>& cache, sc::Executor& executor, std::thread::id& resumed_in) {
    const auto a = co_await cache.async_get<int>("a");
    const auto b = co_await cache.async_get_or_compute(
        "b", [] { return 20; }, {}, sc::resume_on(executor));
    resumed_in = std::this_thread::get_id();
    co_return a.value_or(-1) + *b;
}

Task fail(sc::SmartCache<>& cache) {
    const auto value =
        co_await cache.async_get_or_compute("e", []() -> int { throw std::out_of_range("origin"); });
    co_return *value;
}

Task many(sc::SmartCache<>& cache, int n) {
    int sum = 0;
    for (int i = 0; i < n; ++i) {
        const std::string key = std::to_string(i % 50);
        sum += *co_await cache.async_get_or_compute(key, [i] { return i % 50; });
    }
    co_return sum;
}

}  // namespace

TEST_CASE("a coroutine awaits a lookup and goes on in its executor", "[facade][async][coroutines]") {
    sc::SmartCache<> cache;
    cache.set("a", 1);
    sc::DeferredExecutor executor;
    std::thread::id resumed_in;
    Task task = add(cache, executor, resumed_in);
    while (executor.run() == 0) std::this_thread::yield();
    CHECK(task.result.get() == 21);
    CHECK(resumed_in == std::this_thread::get_id());
    // All of it is in memory by now: nobody else is asked.
    CHECK(add(cache, executor, resumed_in).result.wait_for(0s) == std::future_status::ready);
    CHECK_THROWS_AS(fail(cache).result.get(), std::out_of_range);
}

TEST_CASE("many coroutines await at once", "[facade][async][coroutines][threads]") {
    sc::SmartCache<> cache{{.memory = {.capacity = 20}}};
    std::vector<Task> tasks;
    for (int i = 0; i < 20; ++i) tasks.push_back(many(cache, 100));
    for (Task& task : tasks) CHECK(task.result.get() == 2 * 49 * 50 / 2);
}

#endif

}  // namespace async_test
