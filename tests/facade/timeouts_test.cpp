#include <smartcache/facade/smart_cache.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/core/error.hpp>
#include <smartcache/facade/cached.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/map_tier.hpp"

namespace timeouts_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::MapTier;

namespace {

/// A loader that goes on when the test says so. Loads may begin when the gate is gone: none waits for those that are queued.
class Gate {
  public:
    [[nodiscard]] auto load(int value) {
        return sc::owned([value, begun = begun_, opened = opened_] {
            ++*begun;
            opened.wait();
            return value;
        });
    }
    void open() { opening_.set_value(); }
    void wait_until_begun() const {
        while (*begun_ == 0) std::this_thread::yield();
    }
    [[nodiscard]] int begun() const noexcept { return *begun_; }

  private:
    std::promise<void> opening_;
    std::shared_future<void> opened_ = opening_.get_future().share();
    std::shared_ptr<std::atomic<int>> begun_ = std::make_shared<std::atomic<int>>(0);
};

/// Waits until a load is asked to stop.
void wait_for_stop(const std::stop_token& token) {
    std::promise<void> stopped;
    const std::stop_callback callback(token, [&stopped] { stopped.set_value(); });
    stopped.get_future().wait();
}

/// Waits for what a load in the background stores.
void wait_for(sc::SmartCache<>& cache, std::string_view key, int value) {
    while (cache.peek<int>(key).value_or(0) != value) std::this_thread::yield();
}

}  // namespace

TEST_CASE("timeouts are refused for a loader that must not outlive the call", "[facade][timeouts]") {
    sc::SmartCache<> cache;
    cache.set("k", 1);
    for (const sc::EntryOptions& options :
         {sc::EntryOptions{.soft_timeout = 1s}, sc::EntryOptions{.hard_timeout = 1s}}) {
        CHECK_THROWS_AS(cache.get_or_compute(
                            "k", [] { return 2; }, options),
                        std::logic_error);
        CHECK(*cache.get_or_compute("k", sc::owned([] { return 2; }), options) == 1);
        CHECK(*cache.refresh(
                  "r", [] { return 3; }, options) == 3);  // runs here, to its end
        CHECK(cache.warm(
                  {"w"}, [](std::string_view) { return 4; }, options) == 1);
        CHECK(cache.erase("w"));
    }
}

TEST_CASE("options that make no sense are refused", "[facade][timeouts][refresh][options]") {
    sc::SmartCache<> cache;
    const auto load = sc::owned([] { return 1; });
    const double nan = std::numeric_limits<double>::quiet_NaN();
    for (const sc::EntryOptions& options :
         {sc::EntryOptions{.refresh_ahead = -0.1}, sc::EntryOptions{.refresh_ahead = 1},
          sc::EntryOptions{.refresh_ahead = nan}, sc::EntryOptions{.early_beta = -1},
          sc::EntryOptions{.early_beta = 1001}, sc::EntryOptions{.early_beta = nan},
          sc::EntryOptions{.soft_timeout = -1ms}, sc::EntryOptions{.hard_timeout = -1ms},
          sc::EntryOptions{.retry_after = -1ms}})
        CHECK_THROWS_AS(cache.get_or_compute("k", load, options), sc::ConfigError);
    CHECK_FALSE(cache.exists("k"));
}

TEST_CASE("a stale value is served after the soft timeout, and the load goes on", "[facade][timeouts]") {
    sc::FakeClock clock;
    Gate gate;
    sc::SmartCache<> cache{{.clock = &clock}};
    const sc::EntryOptions options{.ttl = 1min, .grace = 1h, .soft_timeout = 0ms};
    cache.set("k", 1, options);
    clock.advance(2min);
    for (int i = 0; i < 3; ++i) {
        const auto old = cache.get_or_compute("k", gate.load(2), options);
        CHECK(*old == 1);
        CHECK(old.stale());
        CHECK(old.tier() == sc::TierId::memory);
    }
    gate.open();
    wait_for(cache, "k", 2);
    CHECK(gate.begun() == 1);
    CHECK_FALSE(cache.get_or_compute("k", gate.load(3), options).stale());
    const sc::Stats stats = cache.stats();
    CHECK(stats.stale_served == 3);
    CHECK(stats.loads == 1);
    CHECK(stats.hits == 4);
    CHECK(stats.misses == 0);
}

TEST_CASE("without a stale value the soft timeout waits on, the hard one gives up", "[facade][timeouts]") {
    Gate gate;
    sc::SmartCache<> cache;
    bool named = false;
    const bool soft_too = GENERATE(false, true);
    sc::EntryOptions options{.grace = 1h, .hard_timeout = 2ms};
    if (soft_too) options.soft_timeout = 1ms;
    try {
        (void)cache.get_or_compute("the key", gate.load(1), options);
    } catch (const sc::LoadTimeout& error) {
        named = std::string_view(error.what()).find("the key") != std::string_view::npos;
    }
    CHECK(named);
    CHECK_THROWS_AS(cache.get_or_compute("the key", gate.load(2), {.hard_timeout = 0ms}), sc::LoadTimeout);
    gate.open();
    CHECK(*cache.get_or_compute("the key", gate.load(3), {.soft_timeout = 0ms}) == 1);
    CHECK(gate.begun() == 1);
    CHECK(cache.stats().loads == 1);
}

TEST_CASE("the hard timeout serves a stale value, too", "[facade][timeouts]") {
    sc::FakeClock clock;
    Gate gate;
    sc::SmartCache<> cache{{.clock = &clock}};
    cache.set("k", 1, {.ttl = 1min, .grace = 1h});
    clock.advance(2min);
    CHECK(*cache.get_or_compute("k", gate.load(2), {.grace = 1h, .hard_timeout = 1ms}) == 1);
    // A call without grace wants none.
    CHECK_THROWS_AS(cache.get_or_compute("k", gate.load(2), {.hard_timeout = 1ms}), sc::LoadTimeout);
    gate.open();
    wait_for(cache, "k", 2);
}

TEST_CASE("what is set during a load is served when that times out", "[facade][timeouts]") {
    bool in_time = false;
    // Again and more patiently, where the machine was too busy to set it before the time was over.
    for (sc::Duration patience = 100ms; !in_time; patience *= 2) {
        REQUIRE(patience < 5min);
        Gate gate;
        sc::SmartCache<> cache;
        const auto started = std::chrono::steady_clock::now();
        auto result = std::async(std::launch::async, [&]() -> std::optional<int> {
            try {
                return *cache.get_or_compute("k", gate.load(2), {.grace = 1h, .hard_timeout = patience});
            } catch (const sc::LoadTimeout&) {
                return std::nullopt;
            }
        });
        gate.wait_until_begun();
        cache.set("k", 1);
        in_time = std::chrono::steady_clock::now() < started + patience;
        const std::optional<int> served = result.get();
        if (in_time) CHECK(served == 1);
        gate.open();
    }
}

TEST_CASE("what was erased is not served after a timeout", "[facade][timeouts][R5]") {
    sc::FakeClock clock;
    Gate gate;
    sc::SmartCache<> cache{{.clock = &clock}};
    const sc::EntryOptions options{.ttl = 1min, .grace = 1h, .hard_timeout = 10min, .tags = {"t"}};
    cache.set("k", 1, options);
    clock.advance(2min);
    const bool by_tag = GENERATE(false, true);
    auto result =
        std::async(std::launch::async, [&] { return *cache.get_or_compute("k", gate.load(2), options); });
    gate.wait_until_begun();
    if (by_tag)
        cache.erase_tag("t");
    else
        (void)cache.erase("k");
    sc::EntryOptions hasty = options;
    hasty.hard_timeout = 0ms;
    Gate another;
    CHECK_THROWS_AS(cache.get_or_compute("k", another.load(3), hasty), sc::LoadTimeout);
    gate.open();
    CHECK(result.get() == 2);  // it began before the erase: whoever waited gets it, nobody else
    another.open();
    CHECK(*cache.get_or_compute("k", sc::owned([] { return 3; }), options) == 3);
}

TEST_CASE("a loader's exception, its absence and its value reach those who wait in time",
          "[facade][timeouts]") {
    sc::SmartCache<> cache;
    const sc::EntryOptions options{.negative_ttl = 1min, .hard_timeout = 10min};
    CHECK_THROWS_AS(
        cache.get_or_compute("e", sc::owned([]() -> int { throw std::out_of_range("x"); }), options),
        std::out_of_range);
    CHECK_FALSE(cache.get_or_compute("a", sc::owned([]() -> std::optional<int> { return {}; }), options));
    CHECK(*cache.get_or_compute("v", sc::owned([] { return std::string("v"); }), options) == "v");
    const sc::Stats stats = cache.stats();
    CHECK(stats.misses == 3);
    CHECK(stats.loads == 3);
    CHECK(stats.load_failures == 1);
    CHECK(stats.coalesced == 0);
}

TEST_CASE("a hit below is a hit for those who have a deadline", "[facade][timeouts]") {
    std::vector<std::unique_ptr<sc::Tier>> tiers;
    tiers.push_back(std::make_unique<MapTier>(sc::TierId::disk));
    sc::SmartCache<> cache({}, std::move(tiers));
    cache.set("k", 1);
    cache.clear_memory();
    CHECK(cache.get_or_compute("k", sc::owned([] { return 2; }), {.hard_timeout = 10min}).tier() ==
          sc::TierId::disk);
    CHECK(cache.stats().hits == 1);
    CHECK(cache.stats().disk.hits == 0);  // the tier's own count is the tier's
    CHECK(cache.stats().misses == 0);
}

TEST_CASE("loads with deadlines may ask for others with deadlines, at any depth", "[facade][timeouts][R32]") {
    sc::SmartCache<> cache;
    std::function<int(int)> depth = [&](int n) -> int {
        if (n == 0) return 0;
        return 1 + *cache.get_or_compute(std::to_string(n), sc::owned([&depth, n] { return depth(n - 1); }),
                                         {.soft_timeout = 0ms});
    };
    CHECK(depth(200) == 200);  // more than there are threads
}

TEST_CASE("loads elsewhere that wait for each other in a circle are found", "[facade][timeouts][R32]") {
    sc::SmartCache<> cache;
    const sc::EntryOptions options{.soft_timeout = 0ms};
    const auto own =
        sc::owned([&] { return *cache.get_or_compute("own", sc::owned([] { return 1; }), options); });
    CHECK_THROWS_AS(cache.get_or_compute("own", own, options), std::logic_error);
    // a -> b elsewhere -> a, which this thread leads.
    const auto a = [&] {
        return *cache.get_or_compute(
            "b", sc::owned([&] { return *cache.get_or_compute("a", [] { return 1; }); }), options);
    };
    // Whichever thread finds the circle loads alone: the other one "a" with its own loader, or this one "b", which then asks for
    // what this thread is loading. Neither hangs.
    for (int i = 0; i < 50; ++i) {
        int value = 1;
        try {
            value = *cache.get_or_compute("a", a);
        } catch (const std::logic_error&) {
        }
        CHECK(value == 1);
        cache.clear();
    }
}

TEST_CASE("many hung loads delay nobody beyond the deadline", "[facade][timeouts]") {
    Gate gate;
    sc::SmartCache<> cache;
    int timeouts = 0;
    for (int i = 0; i < 100; ++i) {
        try {
            (void)cache.get_or_compute("k" + std::to_string(i), gate.load(i), {.hard_timeout = 0ms});
        } catch (const sc::LoadTimeout&) {
            ++timeouts;
        }
    }
    CHECK(timeouts == 100);
    gate.open();
    CHECK(*cache.get_or_compute("k99", sc::owned([] { return -1; }), {.hard_timeout = 10min}) == 99);
}

TEST_CASE("a cache that ends asks loads to stop, and waits for them", "[facade][timeouts]") {
    std::atomic<bool> stopped{false};
    std::atomic<bool> begun{false};
    {
        sc::SmartCache<> cache;
        const auto load = sc::owned([&](sc::LoadContext& context) {
            begun = true;
            wait_for_stop(context.stop_token());
            stopped = true;
            return 1;
        });
        CHECK_THROWS_AS(cache.get_or_compute("k", load, {.hard_timeout = 0ms}), sc::LoadTimeout);
        while (!begun) std::this_thread::yield();
        CHECK_FALSE(stopped);
    }
    CHECK(stopped);
}

TEST_CASE("a cache ends although loads wait for loads that have not begun", "[facade][timeouts]") {
    std::atomic<int> ended{0};
    {
        Gate gate;
        auto cache = std::make_unique<sc::SmartCache<>>();
        for (int i = 0; i < 100; ++i) try {
                (void)cache->get_or_compute(
                    "outer" + std::to_string(i), sc::owned([&, i](sc::LoadContext& context) {
                        wait_for_stop(context.stop_token());
                        ++ended;
                        return *cache->get_or_compute("outer" + std::to_string(i + 1),
                                                      sc::owned([] { return 1; }), {.soft_timeout = 0ms});
                    }),
                    {.hard_timeout = 0ms});
            } catch (const sc::LoadTimeout&) {
            }
        while (cache->stats().loads < 64) std::this_thread::yield();
        // Not `reset`: the loads go on using it until the end.
        sc::SmartCache<>* const ending = cache.get();
        delete ending;
        (void)cache.release();
    }
    CHECK(ended >= 64);  // what has not begun is dropped, or done by who waits for it
}

TEST_CASE("without threads a stale value is served and the load is left for maintenance",
          "[facade][timeouts]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.background_threads = 0, .clock = &clock}};
    const sc::EntryOptions options{.ttl = 1min, .grace = 1h, .soft_timeout = 1h, .hard_timeout = 2h};
    int loads = 0;
    const auto load = sc::owned([&loads] { return ++loads; });
    CHECK(*cache.get_or_compute("k", load, options) == 1);  // nothing to serve: here and now
    clock.advance(2min);
    CHECK(*cache.get_or_compute("k", load, options) == 1);
    CHECK(cache.get_or_compute("k", load, options).stale());
    CHECK(loads == 1);
    (void)cache.run_maintenance();
    CHECK(loads == 2);
    const auto fresh = cache.get_or_compute("k", load, options);
    CHECK(*fresh == 2);
    CHECK_FALSE(fresh.stale());
}

TEST_CASE("a load that waits for maintenance keeps nobody waiting", "[facade][timeouts]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.background_threads = 0, .clock = &clock}};
    const sc::EntryOptions options{.ttl = 1min, .grace = 1h, .soft_timeout = 0ms};
    cache.set("k", 1, options);
    clock.advance(2min);
    CHECK(*cache.get_or_compute("k", sc::owned([] { return 2; }), options) == 1);
    (void)cache.erase("k");
    CHECK(*cache.get_or_compute("k", sc::owned([] { return 3; }), options) == 3);
    (void)cache.run_maintenance();
    CHECK(*cache.get<int>("k") == 3);
}

TEST_CASE("after a failure a stale value is served without another try for a while",
          "[facade][timeouts][grace]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.background_threads = 0, .clock = &clock}};
    const sc::EntryOptions options{.ttl = 1min, .grace = 1h, .retry_after = 10s};
    cache.set("k", 1, options);
    clock.advance(2min);
    int tries = 0;
    bool works = false;
    const auto ask = [&] {
        return *cache.get_or_compute(
            "k",
            [&] {
                ++tries;
                if (!works) throw std::runtime_error("origin");
                return 2;
            },
            options);
    };
    CHECK(ask() == 1);
    CHECK(ask() == 1);
    CHECK(tries == 1);
    clock.advance(10s - 1ms);
    CHECK(ask() == 1);
    CHECK(tries == 1);
    works = true;
    clock.advance(1ms);
    CHECK(ask() == 2);
    CHECK(tries == 2);
    // What has no stale value is always tried.
    works = false;
    (void)cache.erase("k");
    CHECK_THROWS_AS(ask(), std::runtime_error);
    CHECK_THROWS_AS(ask(), std::runtime_error);
    CHECK(tries == 4);
}

TEST_CASE("after a failure a stale value may be served without another try to its end",
          "[facade][timeouts][grace]") {
    // The end of the pause used to overflow, and every call tried.
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.background_threads = 0, .clock = &clock}};
    const sc::EntryOptions options{.ttl = 1min, .grace = 1h, .retry_after = sc::Duration::max()};
    int tries = 0;
    const auto fails = [&]() -> int {
        ++tries;
        throw std::runtime_error("origin");
    };
    const auto all_fail = [&](std::span<const std::string_view> keys) {
        return std::vector<int>(keys.size(), fails());
    };
    cache.set("k", 1, options);
    cache.set("many", 2, options);
    clock.advance(2min);
    for (int i = 0; i < 3; ++i) {
        CHECK(*cache.get_or_compute("k", fails, options) == 1);
        CHECK(*cache.get_or_compute_many({"many"}, all_fail, options).front() == 2);
    }
    CHECK(tries == 2);
    clock.advance(1h);
    CHECK_THROWS_AS(cache.get_or_compute("k", fails, options), std::runtime_error);
}

TEST_CASE("a waiter with grace is served stale though the leader's call had none",
          "[facade][timeouts][grace][threads]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    cache.set("k", 1, {.ttl = 1min, .grace = 1h});
    clock.advance(2min);
    std::promise<void> release;
    auto leader = std::async(std::launch::async, [&]() -> bool {
        try {
            (void)cache.get_or_compute("k", [&]() -> int {
                release.get_future().wait();
                throw std::runtime_error("origin");
            });
        } catch (const std::runtime_error&) {
            return true;
        }
        return false;
    });
    while (cache.stats().loads == 0) std::this_thread::yield();
    auto waiter = std::async(std::launch::async,
                             [&] { return *cache.get_or_compute("k", [] { return 2; }, {.grace = 1h}); });
    while (sc::detail::WaitGraph::instance().waiting() == 0) std::this_thread::yield();
    release.set_value();
    CHECK(leader.get());
    CHECK(waiter.get() == 1);
}

TEST_CASE("who has waited for a load of another kind keeps the deadline for its own",
          "[facade][timeouts][types][threads]") {
    // The second load used to run in the thread that waited, however long it took.
    for (const bool absent : {false, true}) {
        std::promise<void> opening;
        const auto opened = opening.get_future().share();
        std::atomic<bool> ran_here{false};
        std::atomic<bool> timed_out{false};
        std::thread waiter;
        sc::SmartCache<> cache;
        const auto wait = [&] {
            const auto load = sc::owned([&ran_here, opened, here = std::this_thread::get_id()] {
                if (std::this_thread::get_id() == here)
                    ran_here = true;
                else
                    opened.wait();
                return 1;
            });
            try {
                (void)cache.get_or_compute("k", load, {.hard_timeout = 100ms});
            } catch (const sc::LoadTimeout&) {
                timed_out = true;
            }
        };
        const auto first = cache.get_or_compute("k", [&]() -> std::optional<std::string> {
            waiter = std::thread(wait);
            while (sc::detail::WaitGraph::instance().waiting() == 0) std::this_thread::yield();
            return absent ? std::nullopt : std::optional("text");
        });
        CHECK(first.has_value() != absent);
        waiter.join();
        CHECK_FALSE(ran_here);
        CHECK(timed_out);
        CHECK(cache.stats().misses == 2);
        opening.set_value();
    }
}

TEST_CASE("what lies below under another type is no answer for a loader", "[facade][load][types]") {
    std::vector<std::unique_ptr<sc::Tier>> tiers;
    tiers.push_back(std::make_unique<MapTier>(sc::TierId::disk));
    sc::SmartCache<> cache({}, std::move(tiers));
    cache.set("k", "text");
    cache.clear_memory();
    CHECK(*cache.get_or_compute("k", [] { return 42; }) == 42);
    cache.clear_memory();
    CHECK(*cache.get<int>("k") == 42);
    CHECK(cache.stats().type_mismatches >= 1);
}

TEST_CASE("loads that wait for one that is queued behind them do it themselves", "[facade][timeouts][R32]") {
    sc::SmartCache<> cache;
    constexpr int threads = 64;  // all that a cache has for loads with a deadline
    std::atomic<int> begun{0};
    std::promise<void> opening;
    const std::shared_future<void> opened = opening.get_future().share();
    for (int i = 0; i < threads; ++i)
        CHECK_THROWS_AS(cache.get_or_compute("x" + std::to_string(i), sc::owned([&, opened] {
                                                 ++begun;
                                                 opened.wait();
                                                 return *cache.get_or_compute("y", [] { return -1; });
                                             }),
                                             {.hard_timeout = 0ms}),
                        sc::LoadTimeout);
    while (begun < threads) std::this_thread::yield();
    CHECK_THROWS_AS(cache.get_or_compute("y", sc::owned([] { return 7; }), {.hard_timeout = 0ms}),
                    sc::LoadTimeout);
    opening.set_value();
    for (int i = 0; i < threads; ++i) wait_for(cache, "x" + std::to_string(i), 7);
    CHECK(*cache.get<int>("y") == 7);
}

TEST_CASE("a value may use the cache when it ends, also when its successor is not kept", "[facade][locks]") {
    sc::SmartCache<> cache;
    struct Eraser {
        sc::SmartCache<>* cache = nullptr;
        explicit Eraser(sc::SmartCache<>* its) : cache(its) {}
        Eraser(Eraser&& other) noexcept : cache(std::exchange(other.cache, nullptr)) {}
        Eraser& operator=(Eraser&&) = delete;
        ~Eraser() {
            if (cache != nullptr) (void)cache->erase("k");
        }
    };
    cache.set("k", sc::memory_only(Eraser(&cache)));
    CHECK_FALSE(cache.set("k", 1, {.ttl = 0s}));
    CHECK_FALSE(cache.exists("k"));
}

TEST_CASE("many who wait for a load that fails after an expire_tag see one failure",
          "[facade][timeouts][grace]") {
    sc::SmartCache<> cache;
    const sc::EntryOptions options{.ttl = 1h, .grace = 1h, .tags = {"t"}};
    cache.set("k", 1, options);
    cache.expire_tag("t");
    std::atomic<int> loads{0};
    std::promise<void> opening;
    const std::shared_future<void> opened = opening.get_future().share();
    std::atomic<int> served{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            const auto value = cache.get_or_compute(
                "k",
                [&]() -> int {
                    ++loads;
                    opened.wait();
                    throw std::runtime_error("origin");
                },
                options);
            if (*value == 1 && value.stale()) ++served;
        });
    while (sc::detail::WaitGraph::instance().waiting() < 3) std::this_thread::yield();
    opening.set_value();
    for (std::thread& thread : threads) thread.join();
    CHECK(loads == 1);
    CHECK(served == 4);
    const sc::Stats stats = cache.stats();
    CHECK(stats.stale_served == 4);
    CHECK(stats.hits == 4);
    CHECK(stats.misses == 0);
    CHECK(stats.coalesced == 3);
}

TEST_CASE("a key that is too long is loaded within its deadline, and not for itself",
          "[facade][timeouts][limits]") {
    sc::SmartCache<> cache{{.max_key_size = 4}};
    Gate gate;
    CHECK_THROWS_AS(cache.get_or_compute("long key", gate.load(1), {.hard_timeout = 1ms}), sc::LoadTimeout);
    gate.open();
    std::function<int()> load = [&] { return *cache.get_or_compute("another long key", load); };
    CHECK_THROWS_AS(load(), std::logic_error);
}

TEST_CASE("without threads, what is fresh below is taken as ever", "[facade][timeouts]") {
    std::vector<std::unique_ptr<sc::Tier>> tiers;
    auto owned = std::make_unique<MapTier>(sc::TierId::disk);
    MapTier& below = *owned;
    tiers.push_back(std::move(owned));
    sc::SmartCache<> cache({.background_threads = 0}, std::move(tiers));
    const sc::EntryOptions options{.grace = 1h, .soft_timeout = 0ms};
    cache.set("k", 1, options);
    cache.clear_memory();
    const auto load = sc::owned([] { return 2; });
    CHECK(cache.get_or_compute("k", load, options).tier() == sc::TierId::disk);
    const std::uint64_t trips = below.round_trips;
    CHECK(cache.get_or_compute("k", load, options).tier() == sc::TierId::memory);
    CHECK(below.round_trips == trips);
}

TEST_CASE("a cached function has timeouts like any loader that is owned", "[facade][timeouts][cached]") {
    sc::SmartCache<> cache;
    std::promise<void> opening;
    const std::shared_future<void> opened = opening.get_future().share();
    const auto slow = sc::cached(cache, "slow",
                                 [opened](int n) {
                                     opened.wait();
                                     return n;
                                 },
                                 {.hard_timeout = 1ms});
    CHECK_THROWS_AS(slow(5), sc::LoadTimeout);
    opening.set_value();
    wait_for(cache, slow.key(5), 5);
    CHECK(slow(5) == 5);
    // A reference that may be written to cannot be handed over.
    const auto counts =
        sc::cached<int(int&)>(cache, "counts", [](int& n) { return ++n; }, {.hard_timeout = 1min});
    int n = 1;
    CHECK_THROWS_AS(counts(n), std::logic_error);
    CHECK(n == 1);
}

TEST_CASE("a loader sees what it replaces, with its tags", "[facade][load][context]") {
    sc::FakeClock clock;
    std::vector<std::unique_ptr<sc::Tier>> tiers;
    tiers.push_back(std::make_unique<MapTier>(sc::TierId::disk, &clock));
    const bool packed = GENERATE(false, true);
    sc::SmartCache<> cache({.memory = {.compression = packed}, .clock = &clock}, std::move(tiers));
    const bool from_below = GENERATE(false, true);
    const std::vector<std::string> tags =  // this tier keeps none
        from_below ? std::vector<std::string>() : std::vector<std::string>{"a", "b"};
    const sc::EntryOptions options{.ttl = 1min, .grace = 1h, .tags = tags};
    const auto grow = [&tags](sc::LoadContext& context) {
        CHECK_FALSE(context.stale<int>());
        const auto old = context.stale<std::string_view>();
        CHECK(context.stale_tags() == (old ? tags : std::vector<std::string>()));
        if (old) {
            CHECK(old.stale());
            CHECK(*context.stale<std::string>() == *old);
        }
        return std::string(old ? *old : "") + std::string(2000, 'x');
    };
    CHECK(cache.get_or_compute("k", grow, options)->size() == 2000);
    clock.advance(2min);
    if (from_below) cache.clear_memory();
    CHECK(cache.get_or_compute("k", grow, options)->size() == 4000);
    clock.advance(2h);  // beyond its grace
    CHECK(cache.get_or_compute("k", grow, options)->size() == 2000);
}

TEST_CASE("a loader may say that the old value is still right", "[facade][load][context]") {
    sc::FakeClock clock;
    std::vector<std::unique_ptr<sc::Tier>> tiers;
    tiers.push_back(std::make_unique<MapTier>(sc::TierId::disk, &clock));
    sc::SmartCache<> cache({.clock = &clock}, std::move(tiers));
    const bool tagged = GENERATE(false, true);
    sc::EntryOptions first{.ttl = 1min, .grace = 1h, .negative_ttl = 1min};
    if (tagged) first.tags = {"t"};
    const sc::EntryOptions later{.ttl = 3min, .grace = 1h, .negative_ttl = 1min};
    const auto unchanged = [](sc::LoadContext& context) -> std::optional<std::vector<int>> {
        if (context.keep_stale()) return std::nullopt;
        return std::vector{1, 2, 3};
    };
    CHECK(cache.get_or_compute("k", unchanged, first)->size() == 3);
    clock.advance(2min);
    const auto kept = cache.get_or_compute("k", unchanged, later);
    REQUIRE(kept);
    CHECK(kept->size() == 3);
    CHECK_FALSE(kept.stale());
    for (const bool from_below : {false, true}) {
        if (from_below && tagged) break;  // this tier keeps none
        if (from_below) cache.clear_memory();
        const auto hit = cache.get<std::vector<int>>("k");
        REQUIRE(hit);
        CHECK(hit.ttl() == 3min);
        CHECK(hit->size() == 3);
    }
    cache.erase_tag("t");
    CHECK(cache.exists("k") == !tagged);
    // A value that is returned all the same does not count.
    CHECK(*cache.refresh("n", [] { return 1; }) == 1);
    CHECK(*cache.refresh("n", [](sc::LoadContext& context) {
        CHECK(context.keep_stale());
        CHECK(*context.stale<int>() == 1);
        CHECK_FALSE(context.stale<int>().stale());
        return 2;
    }) == 1);
    CHECK(*cache.get<int>("n") == 1);
}

TEST_CASE("what was erased meanwhile is not kept", "[facade][load][context][R5]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    const sc::EntryOptions options{.ttl = 1min, .grace = 1h};
    cache.set("k", 1, options);
    clock.advance(2min);
    (void)cache.get_or_compute(
        "k",
        [&](sc::LoadContext& context) {
            CHECK(context.keep_stale());
            CHECK(cache.expire("k") == false);
            (void)cache.erase("k");
            return 2;
        },
        options);
    CHECK_FALSE(cache.exists("k"));
    CHECK_FALSE(cache.peek<int>("k"));
}

TEST_CASE("a value that cannot be copied is kept as it is", "[facade][load][context]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    const sc::EntryOptions options{.ttl = 1min, .grace = 1h};
    const auto load = [](sc::LoadContext& context) {
        (void)context.keep_stale();
        return sc::memory_only(std::make_unique<int>(5));
    };
    CHECK(**cache.get_or_compute("k", load, options) == 5);
    clock.advance(2min);
    CHECK(**cache.get_or_compute("k", load, options) == 5);
    CHECK_FALSE(cache.exists("k"));
}

}  // namespace timeouts_test
