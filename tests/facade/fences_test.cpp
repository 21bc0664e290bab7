#include <smartcache/facade/detail/fences.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <latch>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/facade/smart_cache.hpp>

#include "facade/support/cache_over_maps.hpp"
#include "support/catch.hpp"
#include "support/fork.hpp"

namespace fences_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::CacheOverMaps;

namespace {

struct World : CacheOverMaps {
    /// @param below  a tier below L1, or none: writes then are ordered by L1's own lock
    explicit World(bool below = true) : CacheOverMaps(below ? sc::TierSet::disk : sc::TierSet::none) {}
};

/// Reading its bytes is a moment in which something may happen.
struct Watched {
    inline static std::function<void()> read;
    int number = 0;
};
void to_json(nlohmann::json& json, const Watched& value) {
    json = value.number;
}
void from_json(const nlohmann::json& json, Watched& value) {
    value.number = json.get<int>();
    if (const auto then = std::exchange(Watched::read, nullptr)) then();
}

/// Runs when it is called for the first time.
template <class Body>
std::function<void()> once(Body body) {
    return [body, done = false]() mutable {
        if (!std::exchange(done, true)) body();
    };
}

/// The ways in which a key can change while a fill of it is under way.
const std::vector<std::pair<std::string, std::function<void(sc::SmartCache<>&)>>>& interruptions() {
    static const std::vector<std::pair<std::string, std::function<void(sc::SmartCache<>&)>>> list{
        {"set", [](sc::SmartCache<>& cache) { cache.set("k", 2); }},
        {"set_many",
         [](sc::SmartCache<>& cache) {
             cache.set_many<int>({{"k", 2}});
         }},
        {"erase", [](sc::SmartCache<>& cache) { cache.erase("k"); }},
        {"erase_many", [](sc::SmartCache<>& cache) { cache.erase_many({"k"}); }},
        {"clear", [](sc::SmartCache<>& cache) { cache.clear(); }},
        {"set that is not kept", [](sc::SmartCache<>& cache) { cache.set("k", 2, {.ttl = 0ms}); }},
    };
    return list;
}

}  // namespace

TEST_CASE("a load that began before a change is returned to its caller and stored nowhere",
          "[facade][fence][R1]") {
    const bool below = GENERATE(true, false);
    for (const auto& interruption : interruptions()) {
        INFO(interruption.first << (below ? ", with a tier below" : ", memory alone"));
        World world(below);
        const auto loaded = world.cache->get_or_compute("k", [&] {
            interruption.second(*world.cache);
            return 1;
        });
        CHECK(*loaded == 1);
        const auto after = world.cache->get<int>("k");
        CHECK((!after || *after == 2));
        CHECK(world.cache->peek<int>("k").value_or(2) == 2);
    }
}

TEST_CASE("a promotion that began before a change is stored nowhere", "[facade][fence][R1]") {
    for (const auto& interruption : interruptions()) {
        INFO(interruption.first);
        World world;
        world.cache->set("k", 1, {.write = sc::TierSet::disk});
        world.disk->after_read = once([&] { interruption.second(*world.cache); });
        CHECK(*world.cache->get<int>("k") == 1);
        world.disk->after_read = nullptr;
        const auto after = world.cache->get<int>("k");
        CHECK((!after || *after == 2));
    }
}

TEST_CASE("a promotion that read what a fill has replaced since is stored nowhere", "[facade][fence][R1]") {
    World world;
    world.cache->set("k", 1, {.write = sc::TierSet::disk});
    world.disk->after_read = once([&] { CHECK(*world.cache->refresh("k", [] { return 2; }) == 2); });
    CHECK(*world.cache->get<int>("k") == 1);
    world.disk->after_read = nullptr;
    CHECK(*world.cache->get<int>("k") == 2);
}

TEST_CASE("a batch's promotions are fenced one by one", "[facade][fence][R1]") {
    World world;
    world.cache->set("k", 1, {.write = sc::TierSet::disk});
    world.cache->set("other", 5, {.write = sc::TierSet::disk});
    world.disk->after_read = once([&] { world.cache->erase("k"); });
    const auto both = world.cache->get_many<int>({"k", "other"});
    CHECK(*both[0] == 1);
    CHECK(*both[1] == 5);
    CHECK_FALSE(world.cache->get<int>("k"));
    CHECK(world.cache->get<int>("other").tier() == sc::TierId::memory);
}

TEST_CASE("a promotion does not bring back the lifetime that touch has cut", "[facade][fence][R4]") {
    World world;
    world.cache->set("k", 1, {.ttl = 1h, .write = sc::TierSet::disk});
    world.disk->after_read = once([&] { world.cache->touch("k", 1s); });
    CHECK(world.cache->get<int>("k"));
    world.disk->after_read = nullptr;
    world.clock.advance(1s);
    CHECK_FALSE(world.cache->get<int>("k"));
}

TEST_CASE("a load that finds a value below does not bring back the lifetime that it had",
          "[facade][fence][R4]") {
    const std::vector<std::pair<std::string, std::function<void(sc::SmartCache<>&)>>> changes{
        {"touch", [](sc::SmartCache<>& cache) { CHECK(cache.touch("k", 1s)); }},
        {"expire", [](sc::SmartCache<>& cache) { CHECK(cache.expire("k")); }}};
    for (const bool many : {false, true})
        for (const auto& change : changes) {
            INFO(change.first << (many ? ", of many" : ""));
            World world;
            world.cache->set("k", 1, {.ttl = 1h, .grace = 1h, .write = sc::TierSet::disk});
            world.disk->after_read = once([&] { change.second(*world.cache); });
            if (many)
                CHECK(*world.cache
                           ->get_or_compute_many({"k"},
                                                 [](std::span<const std::string_view> keys) {
                                                     return std::vector<int>(keys.size(), 2);
                                                 })
                           .front() == 1);
            else
                CHECK(*world.cache->get_or_compute("k", [] { return 2; }) == 1);
            world.disk->after_read = nullptr;
            world.clock.advance(1s);
            CHECK_FALSE(world.cache->get<int>("k"));
        }
}

TEST_CASE("what is being loaded while its key is made stale is for those who wait, and not kept",
          "[facade][fence][R2]") {
    const bool below = GENERATE(true, false);
    World world(below);
    sc::SmartCache<>& cache = *world.cache;
    const sc::EntryOptions options{.ttl = 1h, .grace = 1h};
    const auto load = [&](int value) {
        return *cache.get_or_compute(
            "k",
            [&] {
                (void)cache.expire("k");
                if (value ==
                    1)  // who comes now does not join: that would be a load which asks for its own key
                    CHECK(*cache.get_or_compute(
                              "k", [] { return 5; }, options) == 5);
                return value;
            },
            options);
    };
    CHECK(load(1) == 1);
    CHECK(*cache.get<int>("k") == 5);
    CHECK(cache.expire("k"));
    CHECK(load(2) == 2);
    CHECK_FALSE(cache.get<int>("k"));
}

TEST_CASE("a load that fails is answered by the value that was made stale meanwhile", "[facade][fence][R5]") {
    World world(GENERATE(true, false));
    const sc::EntryOptions options{.ttl = 1h, .grace = 1h};
    world.cache->set("k", 1, options);
    CHECK(world.cache->expire("k"));
    const auto old = world.cache->get_or_compute(
        "k",
        [&]() -> int {
            (void)world.cache->expire("k");
            throw std::runtime_error("origin");
        },
        options);
    CHECK(*old == 1);
    CHECK(old.stale());
}

TEST_CASE("callers that come after an erase never join the load that began before it",
          "[facade][fence][R2][threads]") {
    sc::SmartCache<> cache;
    std::promise<void> started;
    std::promise<void> release;
    auto old_load = std::async(std::launch::async, [&] {
        return *cache.get_or_compute("k", [&] {
            started.set_value();
            release.get_future().wait();
            return 1;
        });
    });
    started.get_future().wait();
    cache.erase("k");
    CHECK(*cache.get_or_compute("k", [] { return 2; }) == 2);  // would hang here if it joined
    release.set_value();
    CHECK(old_load.get() == 1);
    CHECK(*cache.get<int>("k") == 2);
}

TEST_CASE("an erase during a load kills the grace copy too", "[facade][fence][R5]") {
    World world;
    const sc::EntryOptions options{.ttl = 1min, .grace = 1h};
    world.cache->set("k", 1, options);
    world.clock.advance(2min);
    CHECK_THROWS_AS(world.cache->get_or_compute(
                        "k",
                        [&]() -> int {
                            world.cache->erase("k");
                            throw std::runtime_error("origin");
                        },
                        options),
                    std::runtime_error);
}

TEST_CASE("a grace copy that is erased while it is looked at is not served", "[facade][fence][R5]") {
    World world;
    const sc::EntryOptions options{.ttl = 1min, .grace = 1h, .write = sc::TierSet::disk};
    world.cache->set("k", Watched{1}, options);
    world.clock.advance(2min);
    CHECK_THROWS_AS(world.cache->get_or_compute(
                        "k",
                        [&]() -> Watched {
                            Watched::read = [&] { CHECK(world.cache->erase("k")); };
                            throw std::runtime_error("origin");
                        },
                        options),
                    std::runtime_error);
}

TEST_CASE("a fill does not overwrite what somebody else has put below meanwhile", "[facade][fence][R7]") {
    World world;
    const auto loaded = world.cache->get_or_compute("k", [&] {
        sc::RecordView foreign;  // another process, which knows nothing of our fences
        foreign.key = "0::k";
        foreign.payload = sc::as_byte_view("9");
        foreign.raw_size = 1;
        foreign.codec = static_cast<std::uint8_t>(sc::JsonCodec::id);
        foreign.stamp = 99;
        foreign.created = world.clock.wall();
        REQUIRE(world.disk->write(foreign, {}) == sc::TierStatus::ok);
        return 1;
    });
    CHECK(*loaded == 1);
    CHECK(*world.cache->get<int>("k") == 9);
}

TEST_CASE("when a tier cannot be written, its older value does not come back", "[facade][fence][R3]") {
    World world;
    world.cache->set("k", 1);
    world.disk->unavailable = true;
    CHECK(world.cache->set("k", 2));
    world.cache->erase("k");
    world.disk->unavailable = false;
    CHECK_FALSE(world.cache->get<int>("k"));
}

TEST_CASE("marks reach the tickets of their key and no others", "[facade][fence]") {
    sc::detail::Fences fences;
    sc::detail::FillTicket mine(fences, "a", 1);
    sc::detail::FillTicket same_stripe(fences, "b", 1);
    const auto order = fences.order(1);
    fences.mark("a", 1);
    CHECK(fences.marked(*mine));
    CHECK_FALSE(fences.marked(*same_stripe));
}

TEST_CASE("who changes all keys, many of them, or one excludes the others", "[facade][fence][stress]") {
    sc::detail::Fences fences;
    const std::vector<std::uint64_t> some{1, std::uint64_t{1} << 40U, std::uint64_t{3} << 40U};
    std::vector<std::uint64_t> most;
    for (std::uint64_t i = 0; i < 100; ++i) most.push_back(i << 40U);
    int changes = 0;  // of the key with hash 1: a data race unless all exclude each other
    std::vector<std::thread> threads;
    const auto run = [&](auto lock) {
        threads.emplace_back([&changes, lock] {
            for (int i = 0; i < 2000; ++i) {
                const auto order = lock();
                ++changes;
            }
        });
    };
    for (int i = 0; i < 2; ++i) {
        run([&] { return fences.order(1); });
        run([&] { return fences.order_many(some); });
    }
    run([&] { return fences.order_many(most); });
    run([&] { return fences.order_all(); });
    for (std::thread& thread : threads) thread.join();
    CHECK(changes == 6 * 2000);
}

TEST_CASE("a passage ends when all changes from before it have, and waits for no later ones",
          "[facade][fence][R12]") {
    sc::detail::Fences fences;
    constexpr std::uint64_t one = std::uint64_t{1} << 40U;
    constexpr std::uint64_t two = std::uint64_t{2} << 40U;
    const auto passed = [&](sc::detail::Fences::Passage& passage) {
        return std::async(std::launch::async, [&] { return passage.passed(fences); }).get();
    };
    sc::detail::Fences::Passage passage;
    {
        const auto first = fences.order(one);
        CHECK_FALSE(passed(passage));
    }
    const auto later = fences.order(two);
    CHECK(passed(passage));
    sc::detail::Fences::Passage of_all;
    CHECK_FALSE(passed(of_all));
}

TEST_CASE("a passage waits for who changes all keys", "[facade][fence][R12]") {
    sc::detail::Fences fences;
    sc::detail::Fences::Passage passage;
    {
        const auto all = fences.order_all();
        CHECK_FALSE(std::async(std::launch::async, [&] { return passage.passed(fences); }).get());
    }
    CHECK(passage.passed(fences));
}

// A child used to wait for ever for threads that it does not have.
TEST_CASE("in a child nothing is in order, closed or under way that another thread began",
          "[facade][fence][fork][R33]") {
    sc::detail::Fences fences;
    const bool all = GENERATE(false, true);
    std::latch there(2);
    std::latch end(1);
    std::thread other([&] {
        const sc::detail::FillTicket ticket(fences, "k", 7);
        const auto joined = fences.join("k", 7);
        const auto orders = all ? fences.order_all() : fences.order_many({7, 8});
        there.arrive_and_wait();
        end.wait();
        fences.leave(*joined.flight);
    });
    there.arrive_and_wait();
    sc::detail::FillTicket own(fences, "k", 7);
    CHECK_FALSE(fences.marked(*own));
    CHECK(smartcache_test::in_child([&] {
        { const auto orders = fences.order_all(); }
        { const auto orders = fences.order_many({7, 8}); }
        const auto order = fences.order(7);
        const auto flight = fences.join("k", 7);
        sc::detail::FillTicket ticket(fences, "k", 7);
        bool good = flight.leads && fences.marked(*own) && !fences.marked(*ticket);
        fences.mark("k", 7);
        const auto next = fences.join("k", 7);
        good = good && fences.marked(*ticket) && next.leads && !fences.marked(*next.flight);
        fences.leave(*next.flight);
        fences.leave(*flight.flight);
        return good;
    }));
    end.count_down();
    other.join();
}

TEST_CASE("under load from many threads no erased or overwritten value is ever seen again",
          "[facade][stress][I3]") {
    // Oracle: values of a key only grow. A writer publishes the floor after its set returned; a reader that
    // saw the floor before it began must not get anything older, from memory, from below, or from a load that
    // began earlier.
    const bool below = GENERATE(true, false);
    CAPTURE(below);
    World world(below);
    constexpr int keys = 4;
    constexpr int rounds = 3000;
    std::vector<std::atomic<int>> floor(keys);
    std::vector<std::atomic<int>> origin(keys);
    std::atomic<int> violations{0};
    std::atomic<bool> stop{false};
    std::vector<std::thread> readers;
    for (int r = 0; r < 3; ++r)
        readers.emplace_back([&, r] {
            for (int i = 0; !stop.load(); ++i) {
                const int key = (i + r) % keys;
                const int least = floor[static_cast<std::size_t>(key)].load();
                const std::string name = "k" + std::to_string(key);
                if (i % 3 == 0) {
                    const auto hit = world.cache->get<int>(name);
                    if (hit && *hit < least) violations.fetch_add(1);
                } else {
                    const auto value = world.cache->get_or_compute(
                        name, [&] { return origin[static_cast<std::size_t>(key)].load(); });
                    if (*value < least) violations.fetch_add(1);
                }
            }
        });
    for (int i = 1; i <= rounds; ++i) {
        const int key = i % keys;
        const std::string name = "k" + std::to_string(key);
        origin[static_cast<std::size_t>(key)].store(i);
        if (i % 500 == 0)
            world.cache->clear();
        else if ((i / keys) % 2 == 0)
            world.cache->set(name, i);
        else
            world.cache->erase(name);
        floor[static_cast<std::size_t>(key)].store(i);
        if (i % 64 == 0) world.cache->resize(i % 128 == 0 ? 1 : 1000);
    }
    stop.store(true);
    for (std::thread& reader : readers) reader.join();
    CHECK(violations.load() == 0);
}

TEST_CASE("R3: what a load replaces does not outlive its value in a tier that has no room for that",
          "[facade][fences][R3]") {
    for (const bool redis_is_full : {true, false}) {
        CAPTURE(redis_is_full);
        CacheOverMaps world;
        smartcache_test::MapTier& full = redis_is_full ? *world.redis : *world.disk;
        smartcache_test::MapTier& other = redis_is_full ? *world.disk : *world.redis;
        REQUIRE(world.cache->set("k", 1));
        full.full = true;
        CHECK(*world.cache->refresh("k", [] { return 2; }) == 2);
        CHECK(*world.cache->get<int>("k") == 2);
        world.cache->clear_memory();
        (void)other.remove(world.physical("k"));  // evicted
        CHECK_FALSE(world.cache->get<int>("k"));
    }
}

}  // namespace fences_test
