#include <smartcache/facade/smart_cache.hpp>

#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/map_tier.hpp"

namespace loading_many_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::MapTier;
using Keys = std::span<const std::string_view>;

namespace {

/// Answers with the lengths of the keys, and remembers what it was asked.
struct Lengths {
    std::vector<std::vector<std::string>> calls;
    std::vector<int> operator()(Keys keys) {
        calls.emplace_back(keys.begin(), keys.end());
        std::vector<int> lengths;
        for (const std::string_view key : keys) lengths.push_back(static_cast<int>(key.size()));
        return lengths;
    }
};

struct World {
    explicit World(sc::Config config = {}) {
        config.clock = &clock;
        config.background_threads = 0;
        auto owned = std::make_unique<MapTier>(sc::TierId::disk, &clock);
        below = owned.get();
        std::vector<std::unique_ptr<sc::Tier>> tiers;
        tiers.push_back(std::move(owned));
        cache = std::make_unique<sc::SmartCache<>>(config, std::move(tiers));
    }
    sc::FakeClock clock;
    MapTier* below = nullptr;
    std::unique_ptr<sc::SmartCache<>> cache;
};

std::vector<int> values(const std::vector<sc::Lookup<int>>& lookups) {
    std::vector<int> out;
    for (const sc::Lookup<int>& each : lookups) out.push_back(each.value_or(-1));
    return out;
}

}  // namespace

TEST_CASE("one call of the loader for all that is missing, in the order of the keys", "[facade][many]") {
    World world;
    Lengths load;
    world.cache->set("ccc", 30);
    world.cache->set("below", 50);
    world.cache->clear_memory();
    world.cache->set("ccc", 30);
    const std::uint64_t trips = world.below->round_trips;
    const auto found =
        world.cache->get_or_compute_many({"a", "ccc", "bb", "below", "a"}, load, {.ttl = 1min});
    CHECK(values(found) == std::vector{1, 30, 2, 50, 1});
    CHECK(load.calls == std::vector<std::vector<std::string>>{{"a", "bb"}});
    CHECK(found[0].tier() == sc::TierId::none);
    CHECK(found[1].tier() == sc::TierId::memory);
    CHECK(found[3].tier() == sc::TierId::disk);
    CHECK(world.below->round_trips - trips == 1 + 2);  // one for all, one for each that is stored
    const sc::Stats stats = world.cache->stats();
    CHECK(stats.hits == 2);
    CHECK(stats.misses == 3);
    CHECK(stats.loads == 1);
    CHECK(stats.coalesced == 0);
    CHECK(values(world.cache->get_or_compute_many({"a", "bb"}, load)) == std::vector{1, 2});
    CHECK(load.calls.size() == 1);
    CHECK(world.cache->get<int>("bb").ttl() == 1min);
    world.cache->clear_memory();
    CHECK(world.cache->get<int>("a").tier() == sc::TierId::disk);
}

TEST_CASE("absences are remembered for their own time", "[facade][many][negative]") {
    World world;
    int calls = 0;
    const auto load = [&calls](Keys keys) {
        ++calls;
        std::vector<std::optional<int>> out;
        for (const std::string_view key : keys)
            out.push_back(key == "none" ? std::nullopt : std::optional<int>(1));
        return out;
    };
    const sc::EntryOptions options{.negative_ttl = 1min};
    CHECK(values(world.cache->get_or_compute_many({"some", "none"}, load, options)) == std::vector{1, -1});
    CHECK(values(world.cache->get_or_compute_many({"some", "none"}, load, options)) == std::vector{1, -1});
    CHECK(calls == 1);
    world.clock.advance(1min);
    CHECK(values(world.cache->get_or_compute_many({"some", "none"}, load)) == std::vector{1, -1});
    CHECK(values(world.cache->get_or_compute_many({"some", "none"}, load)) == std::vector{1, -1});
    CHECK(calls == 3);
}

TEST_CASE("a loader of many keys may return a map", "[facade][many]") {
    World world;
    const auto ordered = [](Keys) { return std::map<std::string, std::string>{{"b", "B"}, {"x", "?"}}; };
    const auto found = world.cache->get_or_compute_many({"a", "b"}, ordered);
    CHECK_FALSE(found[0]);
    CHECK(*found[1] == "B");
    CHECK_FALSE(world.cache->exists("x"));
    const auto hashed = [](Keys keys) {
        std::unordered_map<std::string_view, std::optional<int>> out;
        for (const std::string_view key : keys)
            out.emplace(key, key == "n" ? std::nullopt : std::optional(7));
        return out;
    };
    CHECK(values(world.cache->get_or_compute_many({"m", "n"}, hashed)) == std::vector{7, -1});
}

TEST_CASE("values that stay in memory and cannot be copied may be loaded together", "[facade][many]") {
    World world;
    const auto load = [](Keys keys) {
        std::vector<sc::MemoryOnly<std::unique_ptr<int>>> out;
        for (const std::string_view key : keys)
            out.push_back(sc::memory_only(std::make_unique<int>(static_cast<int>(key.size()))));
        return out;
    };
    const auto found = world.cache->get_or_compute_many({"a", "bb"}, load);
    CHECK(**found[1] == 2);
    CHECK(**world.cache->get<std::unique_ptr<int>>("a") == 1);
}

TEST_CASE("a failure reaches the caller, unless all can be served stale", "[facade][many][grace]") {
    World world;
    const auto fail = [](Keys) -> std::vector<int> { throw std::out_of_range("origin"); };
    const sc::EntryOptions options{.ttl = 1min, .grace = 1h};
    CHECK_THROWS_AS(world.cache->get_or_compute_many({"a", "b"}, fail, options), std::out_of_range);
    world.cache->set("a", 1, options);
    world.clock.advance(2min);
    CHECK_THROWS_AS(world.cache->get_or_compute_many({"a", "b"}, fail, options), std::out_of_range);
    world.cache->set("b", 2, options);
    const auto found = world.cache->get_or_compute_many({"a", "b"}, fail, options);
    CHECK(values(found) == std::vector{1, 2});
    CHECK(found[0].stale());
    CHECK_FALSE(found[1].stale());
    // Nobody waits for what has failed.
    Lengths load;
    CHECK(values(world.cache->get_or_compute_many({"a", "c"}, load)) == std::vector{1, 1});
    const auto short_answer = [](Keys) { return std::vector<int>{1}; };
    CHECK_THROWS_AS(world.cache->get_or_compute_many({"x", "y"}, short_answer), std::logic_error);
    CHECK_THROWS_AS(world.cache->get_or_compute_many({"x"}, load, {.hard_timeout = 1s}), std::logic_error);
    CHECK_THROWS_AS(world.cache->get_or_compute_many({"x"}, load, {.early_beta = -1}), sc::ConfigError);
    CHECK_FALSE(world.cache->exists("x"));
}

TEST_CASE("a view that a loader of many keys returns is not emptied", "[facade][many]") {
    World world;
    std::vector<std::string> table{std::string(50, 'a'), std::string(50, 'b')};
    const auto load = [&table](Keys) { return std::span<std::string>(table); };
    CHECK(*world.cache->get_or_compute_many({"a", "b"}, load)[1] == table[1]);
    CHECK(table[0] == std::string(50, 'a'));
}

TEST_CASE("many keys are not tried again for a while after a failure", "[facade][many][grace]") {
    World world;
    const sc::EntryOptions options{.ttl = 1min, .grace = 1h, .retry_after = 10s};
    CHECK(world.cache->set_many<int>({{"a", 1}, {"b", 2}}, options) == 2);
    world.clock.advance(2min);
    int tries = 0;
    const auto fail = [&tries](Keys) -> std::vector<int> {
        ++tries;
        throw std::runtime_error("origin");
    };
    for (int i = 0; i < 3; ++i)
        CHECK(values(world.cache->get_or_compute_many({"a", "b"}, fail, options)) == std::vector{1, 2});
    CHECK(tries == 1);
    world.clock.advance(10s);
    (void)world.cache->get_or_compute_many({"a", "b"}, fail, options);
    CHECK(tries == 2);
}

TEST_CASE("many keys that could be loaded are tried at once when they are due", "[facade][many][grace]") {
    World world;
    const sc::EntryOptions options{.ttl = 1s, .grace = 1h, .retry_after = 10min};
    const auto fail = [](Keys) -> std::vector<int> { throw std::runtime_error("origin"); };
    const auto two = [](Keys) { return std::vector{2}; };
    world.cache->set("a", 1, options);
    world.clock.advance(1s);
    CHECK(values(world.cache->get_or_compute_many({"a"}, fail, options)) == std::vector{1});
    CHECK(world.cache->erase("a"));
    CHECK(values(world.cache->get_or_compute_many({"a"}, two, options)) == std::vector{2});
    world.clock.advance(1s);
    CHECK(*world.cache->get_or_compute(
              "a", [] { return 3; }, options) == 3);
}

TEST_CASE("what is written while many are loaded stays", "[facade][many][R1]") {
    World world;
    const auto load = [&](Keys) {
        world.cache->set("a", 100);
        (void)world.cache->erase("b");
        return std::vector{1, 2, 3};
    };
    CHECK(values(world.cache->get_or_compute_many({"a", "b", "c"}, load)) == std::vector{1, 2, 3});
    CHECK(values(world.cache->get_many<int>({"a", "b", "c"})) == std::vector{100, -1, 3});
    world.cache->clear_memory();
    CHECK(values(world.cache->get_many<int>({"a", "b", "c"})) == std::vector{100, -1, 3});
}

TEST_CASE("a loader of many keys that asks for one of its own gets an error", "[facade][many]") {
    World world;
    const auto load = [&](Keys) {
        return std::vector{*world.cache->get_or_compute("b", [] { return 1; }), 2};
    };
    CHECK_THROWS_AS(world.cache->get_or_compute_many({"a", "b"}, load), std::logic_error);
}

TEST_CASE("keys and tiers that the options leave out", "[facade][many][limits]") {
    World world({.max_key_size = 10});
    Lengths load;
    const std::string longer(20, 'k');
    CHECK(values(world.cache->get_or_compute_many(std::vector<std::string>{longer, "a"}, load)) ==
          std::vector{20, 1});
    CHECK_FALSE(world.cache->exists(longer));
    CHECK(world.cache->stats().rejected == 1);
    // Not read from below, but replaced there.
    world.cache->set("below", 50);
    world.cache->clear_memory();
    CHECK(values(world.cache->get_or_compute_many({"below"}, load, {.read = sc::TierSet::memory})) ==
          std::vector{5});
    world.cache->clear_memory();
    CHECK(*world.cache->get<int>("below") == 5);
    CHECK(world.cache->get_or_compute_many(std::vector<std::string>(), load).empty());
}

TEST_CASE("calls that share keys share loads, and do not wait for each other in a circle",
          "[facade][many][threads][R32]") {
    sc::SmartCache<> cache;
    constexpr int threads = 4;
    constexpr int keys = 50;
    std::vector<std::atomic<int>> loaded(keys);
    std::atomic<int> wrong{0};
    std::vector<std::thread> pool;
    for (int t = 0; t < threads; ++t)
        pool.emplace_back([&, t] {
            std::vector<std::string> wanted;
            for (int i = 0; i < keys; ++i) wanted.push_back(std::to_string(t % 2 == 0 ? i : keys - 1 - i));
            const auto load = [&](Keys asked) {
                std::vector<int> out;
                for (const std::string_view key : asked) {
                    out.push_back(std::stoi(std::string(key)));
                    ++loaded[static_cast<std::size_t>(out.back())];
                }
                return out;
            };
            const auto found = cache.get_or_compute_many(wanted, load);
            for (std::size_t i = 0; i < wanted.size(); ++i)
                if (found[i].value_or(-1) != std::stoi(wanted[i])) ++wrong;
        });
    for (std::thread& thread : pool) thread.join();
    CHECK(wrong == 0);
    for (const std::atomic<int>& each : loaded) CHECK(each == 1);
}

TEST_CASE("who waits for one key of many gets its value", "[facade][many][threads]") {
    sc::SmartCache<> cache;
    std::promise<void> release;
    auto many = std::async(std::launch::async, [&] {
        return values(cache.get_or_compute_many({"a", "b"}, [&](Keys) {
            release.get_future().wait();
            return std::vector{1, 2};
        }));
    });
    while (cache.stats().loads == 0) std::this_thread::yield();
    auto one = std::async(std::launch::async, [&] { return *cache.get_or_compute("b", [] { return -1; }); });
    auto others = std::async(std::launch::async, [&] {
        return values(cache.get_or_compute_many(
            {"c", "b"}, [](Keys asked) { return std::vector<int>(asked.size(), 3); }));
    });
    while (sc::detail::WaitGraph::instance().waiting() < 2) std::this_thread::yield();
    CHECK(*cache.get<int>("c") == 3);  // loaded before its caller began to wait
    release.set_value();
    CHECK(many.get() == std::vector{1, 2});
    CHECK(one.get() == 2);
    CHECK(others.get() == std::vector{3, 2});
    CHECK(cache.stats().coalesced == 2);
}

}  // namespace loading_many_test
