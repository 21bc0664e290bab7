// L1 under concurrency, with oracles that would notice a lost entry, an old value, a torn one, or one that ends
// too early or never.

#include <smartcache/memory/memory_cache.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace concurrent_test {

namespace sc = smartcache;

namespace {

/// Knows how many of its kind live, and whether it has been destroyed.
struct Watched {
    static inline std::atomic<int> alive{0};
    std::uint64_t key;
    std::uint64_t check;
    explicit Watched(std::uint64_t number) : key(number), check(~number) { ++alive; }
    Watched(Watched&& other) noexcept : key(other.key), check(other.check) { ++alive; }
    ~Watched() {
        check = 0;
        --alive;
    }
    Watched& operator=(Watched&&) = delete;
    [[nodiscard]] bool intact() const { return check == ~key; }
};

}  // namespace

TEST_CASE("a key that is never removed is found by every lookup while its table grows and shrinks",
          "[memory][stress][R28]") {
    sc::MemoryCache<std::uint64_t, std::uint64_t> cache(
        {.capacity = 100'000, .bucket_count = 4, .shards = 1, .policy = sc::EvictionPolicy::lru});
    constexpr std::uint64_t kept = 50;
    for (std::uint64_t key = 0; key < kept; ++key) cache.set(key, key);
    std::atomic<bool> stop{false};
    std::atomic<int> missed{0};
    std::vector<std::thread> readers;
    for (int r = 0; r < 3; ++r)
        readers.emplace_back([&] {
            while (!stop.load(std::memory_order_relaxed))
                for (std::uint64_t key = 0; key < kept; ++key)
                    if (!cache.visit(key, [](std::uint64_t) {})) ++missed;
        });
    for (int round = 0; round < 6; ++round) {
        for (std::uint64_t key = 1000; key < 6000; ++key) cache.set(key, key);
        for (std::uint64_t key = 1000; key < 6000; ++key) cache.erase(key);
        (void)cache.run_maintenance();  // shrinks
    }
    stop = true;
    for (std::thread& reader : readers) reader.join();
    CHECK(missed == 0);
    CHECK(cache.size() == kept);
}

TEST_CASE("no lookup that begins after a set has returned sees an older value", "[memory][stress][I3]") {
    constexpr std::size_t keys = 16;
    sc::MemoryCache<std::uint64_t, std::uint64_t> cache({.capacity = 1000, .shards = 1});
    std::array<std::atomic<std::uint64_t>, keys> written{};  // versions whose set has returned
    std::atomic<bool> stop{false};
    std::atomic<int> old{0};
    std::vector<std::thread> pool;
    for (std::size_t w = 0; w < 2; ++w)
        pool.emplace_back([&, w] {  // each writes its own half of the keys
            for (std::uint64_t version = 1; version <= 4000; ++version)
                for (std::size_t key = w; key < keys; key += 2) {
                    cache.set(key, version);
                    written[key].store(version, std::memory_order_release);
                }
            stop = true;
        });
    for (int r = 0; r < 3; ++r)
        pool.emplace_back([&] {
            while (!stop.load(std::memory_order_relaxed))
                for (std::size_t key = 0; key < keys; ++key) {
                    const std::uint64_t least = written[key].load(std::memory_order_acquire);
                    std::uint64_t seen = 0;
                    if (!cache.visit(key, [&](std::uint64_t version) { seen = version; })) seen = 0;
                    if (seen < least) ++old;
                }
        });
    for (std::thread& thread : pool) thread.join();
    CHECK(old == 0);
}

TEST_CASE("pinned values stay intact, and every value ends exactly once", "[memory][stress][R27]") {
    {
        std::optional<sc::MemoryCache<std::uint64_t, Watched>> cache;
        cache.emplace(sc::MemoryOptions{.capacity = 32, .shards = 2});
        std::atomic<int> broken{0};
        std::vector<std::thread> pool;
        for (unsigned t = 0; t < 5; ++t)
            pool.emplace_back([&, t] {
                std::vector<sc::Pinned<std::uint64_t, Watched>> held;
                for (std::uint64_t i = 0; i < 5000; ++i) {
                    const std::uint64_t key = (i * 31 + t * 17) % 100;
                    cache->set(key, Watched(key));
                    if (auto pin = cache->get((key + i) % 100)) {
                        if (!pin->intact()) ++broken;
                        held.push_back(std::move(pin));
                    }
                    // More than a thread has hazard slots: some are counted references.
                    if (held.size() == 150) {
                        for (const auto& pin : held)
                            if (!pin->intact()) ++broken;
                        held.clear();
                    }
                }
            });
        for (std::thread& thread : pool) thread.join();
        CHECK(broken == 0);

        std::vector<sc::Pinned<std::uint64_t, Watched>> last;
        for (std::uint64_t key = 0; key < 100; ++key)
            if (auto pin = cache->get(key)) last.push_back(std::move(pin));
        REQUIRE(last.size() >= 20);
        cache.reset();
        CHECK(Watched::alive == static_cast<int>(last.size()));
        for (const auto& pin : last) CHECK(pin->intact());
        // Another thread lets go of them.
        std::thread([&last] { last.clear(); }).join();
    }
    CHECK(Watched::alive == 0);
}

TEST_CASE("an erased value ends at once, or with its last pin", "[memory]") {
    sc::MemoryCache<std::uint64_t, Watched> cache({.capacity = 8});
    cache.set(1, Watched(1));
    cache.erase(1);
    CHECK(Watched::alive == 0);
    cache.set(2, Watched(2));
    auto pin = cache.get(2);
    cache.erase(2);
    CHECK(Watched::alive == 1);
    CHECK(pin->intact());
    pin = {};
    CHECK(Watched::alive == 0);
}

TEST_CASE("a batch gives what single lookups give, in order", "[memory][batch]") {
    sc::MemoryCache<std::string, std::string> cache({.capacity = 1000});
    std::vector<std::string> keys;
    for (int i = 0; i < 100; ++i) {
        keys.push_back("key " + std::to_string(i));
        if (i % 3 != 0) cache.set(keys.back(), "value " + std::to_string(i));
    }
    const auto found = cache.get_many(keys);
    REQUIRE(found.size() == keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
        REQUIRE(found[i].has_value() == (i % 3 != 0));
        if (found[i]) CHECK(*found[i] == "value " + std::to_string(i));
    }
    CHECK(cache.stats().hits == 66);
    CHECK(cache.stats().misses == 34);
}

// What a batch reads ahead may be gone when it looks at it; arithmetic with the null pointer that is left was undefined.
TEST_CASE("a batch finds keys that come and go as they were set, or not at all", "[memory][batch][stress]") {
    sc::MemoryCache<std::uint64_t, std::uint64_t> cache({.capacity = 1000, .shards = 1});
    std::vector<std::uint64_t> keys;
    for (std::uint64_t key = 0; key < 16; ++key) keys.push_back(key);
    std::atomic<bool> stop{false};
    std::thread writer([&] {
        while (!stop) {
            for (const std::uint64_t key : keys) cache.set(key, 3 * key);
            for (const std::uint64_t key : keys) cache.erase(key);
        }
    });
    int wrong = 0;
    for (int round = 0; round < 5000; ++round) {
        const auto found = cache.get_many(keys);
        for (const std::uint64_t key : keys)
            if (found[key] && *found[key] != 3 * key) ++wrong;
    }
    stop = true;
    writer.join();
    CHECK(wrong == 0);
}

TEST_CASE("LRU hears of its hits without a lock and keeps what was read", "[memory][policy]") {
    sc::MemoryCache<std::uint64_t, int> cache(
        {.capacity = 100, .shards = 1, .policy = sc::EvictionPolicy::lru});
    for (std::uint64_t key = 0; key < 100; ++key) cache.set(key, 1);
    for (std::uint64_t key = 0; key < 50; ++key) CHECK(cache.contains(key));  // no access
    for (std::uint64_t key = 50; key < 100; ++key) CHECK(cache.get(key));
    for (std::uint64_t key = 0; key < 50; ++key) CHECK(cache.get(key));
    for (std::uint64_t key = 200; key < 250; ++key) cache.set(key, 1);
    for (std::uint64_t key = 0; key < 50; ++key) CHECK(cache.contains(key));
    for (std::uint64_t key = 50; key < 100; ++key) CHECK_FALSE(cache.contains(key));
}

}  // namespace concurrent_test
