// Changes that depend on what is there: update, increment, set_if_absent, take.

#include <smartcache/facade/smart_cache.hpp>

#include <atomic>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/testing.hpp>

#include "facade/support/cache_over_maps.hpp"
#include "support/catch.hpp"
#include "support/map_tier.hpp"

namespace atomics_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::CacheOverMaps;
using smartcache_test::MapTier;

namespace {

/// A cache over a shared tier, over a disk, over both, or over nothing.
struct World : CacheOverMaps {
    using CacheOverMaps::CacheOverMaps;

    /// What another process does to the shared tier.
    void write_elsewhere(std::string_view key, std::int64_t value) {
        const std::string at = physical(key);
        sc::ByteSink payload;
        sc::JsonCodec{}.encode(value, payload);
        sc::RecordView record;
        record.key = at;
        record.kind = sc::ValueKind::coded;
        record.codec = static_cast<std::uint8_t>(sc::JsonCodec::id);
        record.payload = payload.view();
        record.raw_size = record.payload.size();
        record.stamp = sc::random_stamp();
        record.created = clock.wall();
        REQUIRE(redis->write(record, {}) == sc::TierStatus::ok);
    }
};

/// Memory fills the disk with what it evicts, which is soon.
const sc::Config small_above_the_disk{.memory = {.capacity = 8, .shards = 1},
                                      .disk = {.fill = sc::DiskFill::on_evict}};

std::unique_ptr<World> any_world() {
    return std::make_unique<World>(GENERATE(sc::TierSet::none, sc::TierSet::redis, sc::TierSet::disk,
                                            sc::TierSet::redis | sc::TierSet::disk));
}

}  // namespace

TEST_CASE("update changes what is there, creates what is not, and erases", "[facade][atomics]") {
    const auto world = any_world();
    sc::SmartCache<>& cache = *world->cache;
    const auto add_one = [](std::optional<int> old) { return std::optional(old.value_or(0) + 1); };
    CHECK(cache.update<int>("k", add_one));
    CHECK(*cache.get<int>("k") == 1);
    CHECK(cache.update<int>("k", add_one));
    CHECK(*cache.get<int>("k") == 2);
    cache.clear_memory();
    if (world->redis != nullptr || world->disk != nullptr) CHECK(*cache.get<int>("k") == 2);
    CHECK(cache.update<int>("k", [](std::optional<int>) { return std::optional<int>(); }));
    CHECK_FALSE(cache.exists("k"));
    CHECK_FALSE(cache.peek<int>("k"));
    CHECK(cache.update<std::string>("text", [](std::optional<std::string> old) {
        return old.value_or("a") + "b";  // a plain T will do
    }));
    CHECK(*cache.get<std::string>("text") == "ab");
}

TEST_CASE("update starts over when the key changes while it computes", "[facade][atomics]") {
    const auto world = any_world();
    sc::SmartCache<>& cache = *world->cache;
    using Interruption = std::pair<const char*, std::function<void()>>;
    std::vector<Interruption> interruptions{
        {"set", [&] { cache.set("k", 10); }},
        {"erase", [&] { cache.erase("k"); }},
        {"clear", [&] { cache.clear(); }},
        {"touch", [&] { cache.touch("k", 50min); }},
        {"set_many",
         [&] {
             cache.set_many<int>({{"k", 10}});
         }},
        {"update", [&] { cache.update<int>("k", [](std::optional<int>) { return 10; }); }},
    };
    if (world->redis != nullptr)
        interruptions.emplace_back("another process", [&] { world->write_elsewhere("k", 10); });
    for (const auto& [name, interrupt] : interruptions) {
        INFO(name);
        cache.set("k", 1, {.ttl = 10min});
        int calls = 0;
        CHECK(cache.update<int>("k", [&, &run = interrupt](std::optional<int> old) {
            if (++calls == 1) run();
            return old.value_or(100) + 1;
        }));
        CHECK(calls == 2);
        const int before = std::string(name) == "touch"                                   ? 1
                           : std::string(name) == "erase" || std::string(name) == "clear" ? 100
                                                                                          : 10;
        CHECK(*cache.get<int>("k") == before + 1);
        if (std::string(name) == "touch") CHECK(cache.get<int>("k").ttl() == 50min);
    }
}

TEST_CASE("an eviction is no reason to start over", "[facade][atomics]") {
    World world(sc::TierSet::none);
    world.cache->set("k", 1);
    int calls = 0;
    CHECK(world.cache->update<int>("k", [&](std::optional<int> old) {
        ++calls;
        world.cache->clear_memory();
        return old.value_or(100) + 1;
    }));
    CHECK(calls == 1);
    CHECK(*world.cache->get<int>("k") == 2);
}

TEST_CASE("what update throws leaves everything as it was", "[facade][atomics]") {
    const auto world = any_world();
    world->cache->set("k", 1);
    CHECK_THROWS_AS(
        world->cache->update<int>(
            "k", [](std::optional<int>) -> std::optional<int> { throw std::runtime_error("no"); }),
        std::runtime_error);
    CHECK(*world->cache->get<int>("k") == 1);
}

TEST_CASE("a changed value keeps what remains of its lifetime unless it is given another",
          "[facade][atomics][ttl]") {
    const auto world = any_world();
    sc::SmartCache<>& cache = *world->cache;
    const auto same = [](std::optional<int> old) { return old; };
    REQUIRE(cache.set("k", 1, {.ttl = 10min, .grace = 1min}));
    world->clock.advance(4min);
    CHECK(cache.update<int>("k", same));
    CHECK(cache.get<int>("k").ttl() == 6min);
    CHECK(cache.increment("k") == 2);
    CHECK(cache.increment("k", 1, {.ttl = 1h}) == 3);  // the lifetime is for a new one
    CHECK(cache.get<int>("k").ttl() == 6min);
    cache.clear_memory();
    if (world->redis != nullptr || world->disk != nullptr) CHECK(cache.get<int>("k").ttl() == 6min);
    if (world->redis != nullptr || world->disk != nullptr) {
        world->clock.advance(6min);
        CHECK_FALSE(cache.get<int>("k"));
        CHECK(*cache.get<int>("k", {.allow_stale = true}) == 3);  // its grace as well
        CHECK(cache.increment("k", 1, {.ttl = 1h}) == 1);         // and an expired one is none
        CHECK(cache.get<int>("k").ttl() == 1h);
    }
    REQUIRE(cache.set("k", 5));
    CHECK(cache.update<int>("k", same, {.ttl = 2h}));
    CHECK(cache.get<int>("k").ttl() == 2h);
}

TEST_CASE("increment counts, over types that are the same number, and within bounds", "[facade][atomics]") {
    const auto world = any_world();
    sc::SmartCache<>& cache = *world->cache;
    CHECK(cache.increment("n") == 1);
    CHECK(cache.increment("n", 41) == 42);
    CHECK(cache.increment("n", -2) == 40);
    CHECK(*cache.get<int>("n") == 40);
    REQUIRE(cache.set("short", std::int16_t{7}));
    CHECK(cache.increment("short") == 8);

    REQUIRE(cache.set("text", "7"));
    CHECK_FALSE(cache.increment("text"));
    CHECK(*cache.get<std::string>("text") == "7");
    REQUIRE(cache.set("half", 0.5));
    CHECK_FALSE(cache.increment("half"));
    CHECK(*cache.get<double>("half") == 0.5);

    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    REQUIRE(cache.set("most", most));
    CHECK_FALSE(cache.increment("most"));
    CHECK(cache.get<std::int64_t>("most").value() == most);
    CHECK(cache.increment("most", std::numeric_limits<std::int64_t>::min()) == -1);
    CHECK_FALSE(cache.increment("none", 1, {.ttl = 0ms}));
    CHECK_FALSE(cache.exists("none"));
}

TEST_CASE("set_if_absent stores once", "[facade][atomics]") {
    const auto world = any_world();
    sc::SmartCache<>& cache = *world->cache;
    CHECK(cache.set_if_absent("k", 1, {.ttl = 1h}));
    CHECK_FALSE(cache.set_if_absent("k", 2));
    CHECK(*cache.get<int>("k") == 1);
    cache.clear_memory();
    if (world->redis != nullptr || world->disk != nullptr) CHECK_FALSE(cache.set_if_absent("k", 2));
    world->clock.advance(1h);
    CHECK(cache.set_if_absent("k", 3));
    CHECK(*cache.get<int>("k") == 3);
    // Whatever its type is.
    CHECK(cache.set_if_absent("object", sc::memory_only(std::make_shared<int>(1))));
    CHECK_FALSE(cache.set_if_absent("object", sc::memory_only(std::make_shared<int>(2))));
    CHECK(**cache.get<std::shared_ptr<int>>("object") == 1);
    CHECK(**cache.take<std::shared_ptr<int>>("object") == 1);
    CHECK_FALSE(cache.exists("object"));
    CHECK(cache.stats().type_mismatches == 0);
    // An absence that was remembered is none.
    CHECK_FALSE(cache.get_or_compute("nothing", [] { return std::optional<int>(); }, {.negative_ttl = 1h}));
    CHECK(cache.set_if_absent("nothing", 4));
    CHECK(*cache.get<int>("nothing") == 4);
}

TEST_CASE("take gives a value to one caller", "[facade][atomics]") {
    const auto world = any_world();
    sc::SmartCache<>& cache = *world->cache;
    REQUIRE(cache.set("k", std::string("once"), {.grace = 1h}));
    const auto wrong = cache.take<int>("k");
    CHECK_FALSE(wrong);
    const auto taken = cache.take<std::string>("k");
    REQUIRE(taken);
    CHECK(*taken == "once");
    CHECK_FALSE(cache.take<std::string>("k"));
    CHECK_FALSE(cache.exists("k"));
    CHECK_FALSE(cache.get<std::string>("k", {.allow_stale = true}));
}

TEST_CASE("a fill that began before an atomic change does not bring the old value back",
          "[facade][atomics][R1]") {
    World world;
    sc::SmartCache<>& cache = *world.cache;
    REQUIRE(cache.set("k", 1));
    cache.clear_memory();
    world.redis->after_read = [&] {
        world.redis->after_read = nullptr;
        REQUIRE(cache.increment("k") == 2);
    };
    (void)cache.get<int>("k");
    CHECK(*cache.get<int>("k") == 2);
}

TEST_CASE("while the shared tier does not answer only update goes on, in this process",
          "[facade][atomics][R10]") {
    World world;
    sc::SmartCache<>& cache = *world.cache;
    REQUIRE(cache.set("k", 1));
    world.redis->unavailable = true;
    CHECK_FALSE(cache.increment("k"));
    CHECK_FALSE(cache.increment("new"));
    CHECK_FALSE(cache.set_if_absent("new", 1));
    CHECK_FALSE(cache.take<int>("k"));
    CHECK(*cache.get<int>("k") == 1);
    CHECK(cache.update<int>("k", [](std::optional<int> old) { return old.value_or(0) + 1; }));
    CHECK(*cache.get<int>("k") == 2);
}

TEST_CASE("what the shared tier does not have is not there, whatever copies there are", "[facade][atomics]") {
    World world;
    sc::SmartCache<>& cache = *world.cache;
    const auto erase_elsewhere = [&] {
        REQUIRE(world.redis->remove(world.physical("k")) == sc::TierStatus::ok);
    };
    REQUIRE(cache.set("k", 5));
    erase_elsewhere();
    CHECK(cache.increment("k") == 1);
    erase_elsewhere();
    CHECK_FALSE(cache.take<int>("k"));
    REQUIRE(cache.set("k", 5));
    erase_elsewhere();
    CHECK(cache.set_if_absent("k", 6));
    CHECK(*cache.get<int>("k") == 6);
}

TEST_CASE("a change whose outcome is unknown is reported, and nobody serves either value",
          "[facade][atomics][R10]") {
    World world;
    sc::SmartCache<>& cache = *world.cache;
    const auto lose_answer = [&] { world.redis->unavailable = true; };
    REQUIRE(cache.set("k", 1));
    world.redis->before_write = lose_answer;
    CHECK_FALSE(cache.increment("k"));
    CHECK_FALSE(cache.get<int>("k"));
    world.redis->unavailable = false;
    world.redis->before_write = nullptr;
    CHECK_FALSE(cache.get<int>("k"));
}

TEST_CASE("a value that the shared tier does not keep is counted where it is kept", "[facade][atomics]") {
    World world;
    CHECK(world.cache->increment("k", 1, {.redis_ttl = 0ms}) == 1);
    CHECK(world.cache->increment("k", 1, {.redis_ttl = 0ms}) == 2);
}

TEST_CASE("a lifetime of 0 makes no new counter, and counts what is there with everybody",
          "[facade][atomics][R7]") {
    World world;
    sc::SmartCache<>& cache = *world.cache;
    REQUIRE(cache.set("k", 1, {.ttl = 10min}));
    world.redis->before_write = [&] {
        world.redis->before_write = nullptr;
        world.write_elsewhere("k", 10);
    };
    CHECK(cache.increment("k", 1, {.ttl = 0ms}) == 11);
    CHECK(*cache.get<int>("k") == 11);
    CHECK_FALSE(cache.increment("none", 1, {.ttl = 0ms}));
    CHECK_FALSE(cache.exists("none"));
    world.redis->unavailable = true;
    CHECK_FALSE(cache.increment("k", 1, {.ttl = 0ms}));  // R10
}

TEST_CASE("an update that is kept nowhere ends only what it has seen", "[facade][atomics][R7]") {
    World world;
    sc::SmartCache<>& cache = *world.cache;
    REQUIRE(cache.set("k", 1));
    std::vector<int> seen;
    const auto look = [&](std::optional<int> old) {
        seen.push_back(old.value_or(0));
        if (seen.size() == 1) world.write_elsewhere("k", 10);
        return old;
    };
    CHECK_FALSE(cache.update<int>("k", look, {.ttl = 0ms}));
    CHECK(seen == std::vector<int>{1, 10});
    CHECK_FALSE(cache.exists("k"));
}

TEST_CASE("a counter that one tier alone is to keep stays there", "[facade][atomics]") {
    World world;
    const sc::EntryOptions options{.ttl = 0ms, .memory_ttl = 1h};
    for (const int sum : {1, 2, 3}) CHECK(world.cache->increment("k", 1, options) == sum);
    CHECK(world.cache->get<int>("k").ttl() == 1h);
    world.cache->clear_memory();
    CHECK_FALSE(world.cache->exists("k"));
}

TEST_CASE("a change takes nothing from a lifetime and adds nothing to it", "[facade][atomics][ttl]") {
    World world;
    REQUIRE(world.cache->set("k", 1, {.ttl = 10s}));
    world.redis->before_write = [&] { world.clock.advance(1s); };
    world.redis->before_look = [&] { world.clock.advance(1s); };
    CHECK(world.cache->increment("k") == 2);  // two seconds
    CHECK(world.cache->get<int>("k").ttl() == 8s);
    world.cache->clear_memory();
    CHECK(world.cache->get<int>("k").ttl() == 7s);
}

TEST_CASE("a value that memory evicts while it is being changed does not come back without weight",
          "[facade][atomics][weight]") {
    // When the second answer is asked for after it was armed, which is the exact one about an entry that has been found and seems
    // to end, others come in between.
    class InBetween final : public sc::Clock {
      public:
        sc::FakeClock clock;
        mutable std::function<void()> others;
        mutable int answers = 0;
        sc::MonotonicTime now() const noexcept override {
            if (answers == 0) return clock.now();
            if (--answers == 1) return clock.now() + 2h;
            std::exchange(others, {})();
            return clock.now();
        }
        sc::WallTime wall() const noexcept override { return clock.wall(); }
    } time;
    sc::SmartCache<> cache({.memory = {.capacity_bytes = 4'000, .shards = 1, .ttl = 1h}, .clock = &time});
    const std::string text(2'500, 'x');
    cache.set("k", text);
    time.others = [&] {
        for (int i = 0; cache.exists("k"); ++i) cache.set("other" + std::to_string(i), text);
    };
    time.answers = 2;
    CHECK(cache.update<std::string>("k", [](std::optional<std::string> old) { return old; }));
    REQUIRE_FALSE(time.others);
    cache.set("more", text);
    CHECK(cache.stats().memory.bytes <= 4'000);
}

TEST_CASE("a changed value keeps the weight, the idle time and the copies that its writer gave",
          "[facade][atomics]") {
    World below(sc::TierSet::redis);
    REQUIRE(below.cache->set("k", 1, {.ttl = 1h, .memory_ttl = 5min}));
    REQUIRE(below.cache->set("plain", 1, {.ttl = 1h}));
    CHECK(below.cache->increment("k") == 2);
    CHECK(below.cache->increment("plain") == 2);
    CHECK(sc::parse_record(below.redis->bytes(below.physical("k"))).record.copies.memory_ttl == 5min);
    CHECK_FALSE(sc::parse_record(below.redis->bytes(below.physical("plain"))).record.copies.memory_ttl);

    sc::FakeClock clock;
    sc::SmartCache<> heavy{{.memory = {.capacity_bytes = 400'000, .shards = 1}, .clock = &clock}};
    REQUIRE(heavy.set("k", 1, {.weight = 250'000}));
    CHECK(heavy.increment("k") == 2);
    REQUIRE(heavy.set("other", 1, {.weight = 250'000}));
    CHECK(heavy.exists("k") != heavy.exists("other"));

    sc::SmartCache<> idle{{.clock = &clock}};
    REQUIRE(idle.set("k", 1, {.ttl = 1h, .idle = 10s}));
    clock.advance(9s);
    CHECK(idle.increment("k") == 2);
    clock.advance(9s);
    CHECK_FALSE(idle.set_if_absent("k", 1));  // which is no use of the value
    clock.advance(1s);
    CHECK_FALSE(idle.exists("k"));
}

TEST_CASE("a value on its way from memory to the disk is waited for", "[facade][atomics][demotion]") {
    World world(sc::TierSet::disk, small_above_the_disk);
    sc::SmartCache<>& cache = *world.cache;
    MapTier* const disk = world.disk;
    const std::string physical = world.physical("k");
    std::atomic<bool> demoting{false};
    std::future<std::optional<std::int64_t>> sum;
    disk->before_contains = [&](std::string_view key) {
        if (key != physical || demoting.exchange(true)) return;
        // It is in no tier now. The count either waits, which shows in its looks, or is wrong already.
        const std::uint64_t looks = disk->round_trips;
        sum = std::async(std::launch::async, [&] { return cache.increment("k"); });
        while (disk->round_trips < looks + 50 && sum.wait_for(0s) != std::future_status::ready)
            std::this_thread::yield();
    };
    REQUIRE(cache.set("k", 5));
    for (int i = 0; i < 10'000 && !demoting; ++i) cache.set("other " + std::to_string(i), i);
    REQUIRE(demoting);
    CHECK(sum.get() == 6);
}

TEST_CASE("a change is not held up by what the disk has and nobody may read", "[facade][atomics][demotion]") {
    World world(sc::TierSet::disk, small_above_the_disk);
    sc::SmartCache<>& cache = *world.cache;
    const std::string physical = world.physical("k");
    REQUIRE(cache.set("k", 5));
    for (int i = 0; i < 10'000 && !world.disk->holds(physical); ++i)
        cache.set("other " + std::to_string(i), i);
    REQUIRE(smartcache_test::rewrite(*world.disk, physical, [](sc::RecordView& record) {
                record.schema = 7;
            }) == sc::TierStatus::ok);
    CHECK(cache.increment("k") == 1);
    CHECK(*cache.get<int>("k") == 1);
}

TEST_CASE("a change brings no value into a tier that is not to keep it", "[facade][atomics][ttl]") {
    World world(sc::TierSet::redis | sc::TierSet::disk);
    sc::SmartCache<>& cache = *world.cache;
    const sc::EntryOptions options{.redis_ttl = 0ms};
    REQUIRE(cache.set("k", 1, options));
    CHECK(cache.increment("k", 1, options) == 2);
    CHECK_FALSE(world.redis->holds(world.physical("k")));
    CHECK(world.disk->holds(world.physical("k")));
    CHECK(cache.update<int>("k", [](std::optional<int> old) { return old.value_or(0) + 1; },
                            {.redis_ttl = 0ms, .disk_ttl = 0ms}));
    CHECK_FALSE(world.redis->holds(world.physical("k")));
    CHECK_FALSE(world.disk->holds(world.physical("k")));
    CHECK(*cache.get<int>("k") == 3);
}

TEST_CASE("a change that does not read the disk is not held up by what the disk has",
          "[facade][atomics][demotion]") {
    World world(sc::TierSet::disk, small_above_the_disk);
    sc::SmartCache<>& cache = *world.cache;
    MapTier* const disk = world.disk;
    const std::string physical = world.physical("k");
    REQUIRE(cache.set("k", 5));
    for (int i = 0; i < 10'000 && disk->contains(physical) != sc::TierStatus::ok; ++i)
        cache.set("other " + std::to_string(i), i);
    REQUIRE(disk->contains(physical) == sc::TierStatus::ok);
    CHECK(cache.increment("k", 1, {.read = sc::TierSet::memory}) == 1);
    CHECK(*cache.get<int>("k") == 1);
}

TEST_CASE("threads that change one key lose no change", "[facade][atomics][stress]") {
    const auto world = any_world();
    sc::SmartCache<>& cache = *world->cache;
    constexpr int threads = 4;
    constexpr int rounds = 200;
    std::atomic<int> wins{0};
    std::atomic<int> takes{0};
    std::vector<std::thread> workers;
    for (int t = 0; t < threads; ++t)
        workers.emplace_back([&] {
            for (int i = 0; i < rounds; ++i) {
                (void)cache.increment("count");
                (void)cache.update<int>("sum", [](std::optional<int> old) { return old.value_or(0) + 1; });
                if (cache.set_if_absent("token", i)) ++wins;
                if (cache.take<int>("token")) ++takes;
            }
        });
    for (std::thread& worker : workers) worker.join();
    CHECK(*cache.get<std::int64_t>("count") == threads * rounds);
    CHECK(*cache.get<int>("sum") == threads * rounds);
    CHECK(wins == takes + (cache.exists("token") ? 1 : 0));
}

}  // namespace atomics_test
