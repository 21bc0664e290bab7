#include <smartcache/memory/memory_cache.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/testing.hpp>

#include "support/catch.hpp"

namespace memory_cache_test {

/// A key that may not be compared when it is armed.
struct Touchy {
    int id = 0;
    static inline bool armed = false;
    friend bool operator==(const Touchy& a, const Touchy& b) {
        if (armed) throw std::runtime_error("comparison");
        return a.id == b.id;
    }
};

}  // namespace memory_cache_test

template <>
struct std::hash<memory_cache_test::Touchy> {
    std::size_t operator()(const memory_cache_test::Touchy& key) const noexcept {
        return static_cast<std::size_t>(key.id);
    }
};

namespace memory_cache_test {

namespace sc = smartcache;
using namespace std::chrono_literals;

TEST_CASE("a value is found under its key until it is erased", "[memory]") {
    sc::MemoryCache<std::string, std::string> cache;
    CHECK(cache.set("k", "value"));
    REQUIRE(cache.get("k"));
    CHECK(*cache.get(std::string_view("k")) == "value");
    CHECK(cache.contains("k"));
    CHECK_FALSE(cache.get("other"));
    CHECK(cache.erase("k"));
    CHECK_FALSE(cache.erase("k"));
    CHECK_FALSE(cache.contains("k"));
    const sc::TierStats stats = cache.stats();
    CHECK(stats.hits == 2);
    CHECK(stats.misses == 1);
    CHECK(stats.sets == 1);
}

TEST_CASE("keys may be text, integers, enums, or anything hashable", "[memory]") {
    enum class Color { red, green };
    sc::MemoryCache<std::uint64_t, int> integers;
    integers.set(7, 1);
    CHECK(*integers.get(7) == 1);
    CHECK_FALSE(integers.get(8));
    sc::MemoryCache<Color, int> enums;
    enums.set(Color::green, 2);
    CHECK(*enums.get(Color::green) == 2);
    sc::MemoryCache<std::shared_ptr<int>, int> pointers;
    const auto key = std::make_shared<int>(0);
    pointers.set(key, 3);
    CHECK(*pointers.get(key) == 3);
}

TEST_CASE("keys differ by every byte, zero bytes included", "[memory]") {
    sc::MemoryCache<std::string, int> cache;
    cache.set(std::string_view("a\0b", 3), 1);
    cache.set(std::string_view("a\0c", 3), 2);
    cache.set("a", 3);
    cache.set("", 4);
    CHECK(*cache.get(std::string_view("a\0b", 3)) == 1);
    CHECK(*cache.get(std::string_view("a\0c", 3)) == 2);
    CHECK(*cache.get("a") == 3);
    CHECK(*cache.get("") == 4);
}

TEST_CASE("move-only values are kept and pinned", "[memory]") {
    sc::MemoryCache<std::string, std::unique_ptr<int>> cache;
    cache.set("k", std::make_unique<int>(5));
    const auto pin = cache.get("k");
    cache.clear();
    CHECK(**pin == 5);
    CHECK(cache.size() == 0);
}

TEST_CASE("visit neither copies nor moves the value", "[memory]") {
    struct Counted {
        int value = 0;
        int* copies = nullptr;
        Counted(int v, int* c) : value(v), copies(c) {}
        Counted(const Counted& other) : value(other.value), copies(other.copies) { ++*copies; }
        Counted(Counted&& other) noexcept : value(other.value), copies(other.copies) {}
    };
    int copies = 0;
    sc::MemoryCache<int, Counted> cache;
    cache.set(1, Counted(9, &copies));
    int seen = 0;
    CHECK(cache.visit(1, [&](const Counted& counted) { seen = counted.value; }));
    CHECK_FALSE(cache.visit(2, [&](const Counted&) { seen = -1; }));
    CHECK(seen == 9);
    CHECK(copies == 0);
}

TEST_CASE("entries expire at their own lifetime, at the cache's, or never", "[memory][ttl]") {
    sc::FakeClock clock;
    sc::MemoryCache<std::string, int> cache({.ttl = 10s}, {.clock = &clock});
    cache.set("default", 1);
    cache.set("own", 2, 20s);
    cache.set("forever", 3, sc::Duration::max());
    CHECK_FALSE(cache.set("zero", 4, 0s));
    clock.advance(10s);
    CHECK_FALSE(cache.get("default"));
    CHECK(cache.get("own"));
    clock.advance(10s);
    CHECK_FALSE(cache.contains("own"));
    clock.advance(24h * 3650);
    CHECK(cache.get("forever"));
    CHECK_FALSE(cache.contains("zero"));
    CHECK(cache.stats().expirations == 2);
}

TEST_CASE("a lifetime of zero erases the old value", "[memory][ttl]") {
    sc::MemoryCache<std::string, int> cache;
    cache.set("k", 1);
    CHECK_FALSE(cache.set("k", 2, 0s));
    CHECK_FALSE(cache.contains("k"));
}

TEST_CASE("idle time is renewed by reads alone", "[memory][idle]") {
    sc::FakeClock clock;
    sc::MemoryCache<std::string, int> cache({.idle = 5s}, {.clock = &clock});
    cache.set("k", 1);
    clock.advance(4s);
    CHECK(cache.get("k"));
    clock.advance(4s);
    CHECK(cache.contains("k"));  // does not count as a read
    clock.advance(1s);
    CHECK_FALSE(cache.get("k"));
}

TEST_CASE("what has expired goes before anything alive", "[memory][ttl][eviction]") {
    for (const sc::EvictionPolicy policy :
         {sc::EvictionPolicy::adaptive, sc::EvictionPolicy::lru, sc::EvictionPolicy::s3_fifo,
          sc::EvictionPolicy::sieve, sc::EvictionPolicy::w_tinylfu}) {
        CAPTURE(sc::to_string(policy));
        sc::FakeClock clock;
        std::map<sc::RemovalCause, int> causes;
        sc::MemoryCache<int, int> cache(
            {.capacity = 1000, .shards = 1, .policy = policy},
            {.on_removal = [&](int, int, sc::RemovalCause cause) { ++causes[cause]; }, .clock = &clock});
        std::mt19937 random(3);
        for (int i = 0; i < 1000; ++i)
            cache.set(i, i, i % 2 == 0 ? std::chrono::milliseconds(1000 + random() % 1000) : 1h);
        for (int i = 0; i < 1000; i += 2) (void)cache.get(i);  // asked for, and yet first to go
        clock.advance(2s);
        for (int i = 1000; i < 1500; ++i) cache.set(i, i, 1h);
        CHECK(causes[sc::RemovalCause::expired] == 500);
        CHECK(causes[sc::RemovalCause::evicted] == 0);
        for (int i = 1; i < 1000; i += 2) CHECK(cache.contains(i));
        cache.set(1500, 1500, 1h);
        CHECK(causes[sc::RemovalCause::evicted] == 1);
    }
}

TEST_CASE("a sweep removes what is dead, by lifetime or for idleness, and nothing else",
          "[memory][ttl][idle]") {
    sc::FakeClock clock;
    sc::MemoryCache<int, int> cache({.capacity = 10'000, .idle = 10s}, {.clock = &clock});
    for (int i = 0; i < 3000; ++i) cache.set(i, i, i % 3 == 0 ? 5s : i % 3 == 1 ? 1h : sc::Duration::max());
    clock.advance(5s);
    CHECK(cache.run_maintenance() == 1000);
    for (int i = 0; i < 3000; ++i)
        if (i % 3 != 0 && i % 2 == 0) CHECK(cache.get(i));
    clock.advance(5s);
    CHECK(cache.run_maintenance() == 1000);  // the odd ones, not asked for since
    CHECK(cache.size() == 1000);
    for (int i = 0; i < 3000; ++i) cache.set(i, i, 1s);  // sooner than what was planned for these keys
    clock.advance(1s);
    CHECK(cache.run_maintenance() == 3000);
}

TEST_CASE("the bound on bytes holds, by size or by the weigher's word", "[memory][weight]") {
    sc::MemoryCache<int, std::string> sized({.capacity = 1000, .capacity_bytes = 20'000, .shards = 1});
    for (int i = 0; i < 1000; ++i) {
        sized.set(i, "x");
        REQUIRE(sized.stats().bytes <= 20'000);
    }
    CHECK(sized.size() > 20);
    sc::MemoryCache<int, std::string> weighed(
        {.capacity = 1000, .capacity_bytes = 10'000, .shards = 1, .policy = sc::EvictionPolicy::lru},
        {.weigher = [](int, const std::string& value) { return value.size(); }});
    for (int i = 0; i < 100; ++i) weighed.set(i, std::string(1000, 'x'));
    CHECK(weighed.size() == 10);
}

TEST_CASE("resize takes effect at once", "[memory]") {
    sc::MemoryCache<int, int> cache({.capacity = 100, .shards = 1});
    for (int i = 0; i < 100; ++i) cache.set(i, i);
    cache.resize(10);
    CHECK(cache.size() == 10);
    cache.resize(50);
    for (int i = 0; i < 100; ++i) cache.set(1000 + i, i);
    CHECK(cache.size() == 50);
    CHECK_THROWS_AS(cache.resize(0), sc::ConfigError);
}

TEST_CASE("no key lies in a shard without room", "[memory]") {
    sc::MemoryCache<int, int> cache({.capacity = 3, .shards = 16});
    for (int i = 0; i < 100; ++i) {
        cache.set(i, i);
        CHECK(cache.contains(i));
        CHECK(cache.size() <= 3);
    }
}

TEST_CASE("the removal listener gets key, value and cause, outside locks", "[memory][listener]") {
    std::vector<std::pair<std::string, sc::RemovalCause>> heard;
    sc::MemoryCache<std::string, int>* self = nullptr;
    sc::MemoryCache<std::string, int> cache(
        {.capacity = 2, .shards = 1, .policy = sc::EvictionPolicy::lru},
        {.on_removal = [&](std::string_view key, const int&, sc::RemovalCause cause) {
            heard.emplace_back(key, cause);
            (void)self->contains(key);  // would deadlock under a lock
        }});
    self = &cache;
    cache.set("a", 1);
    cache.set("a", 2);
    cache.set("b", 1);
    cache.set("c", 1);
    cache.erase("c");
    using Heard = std::pair<std::string, sc::RemovalCause>;
    CHECK(heard == std::vector<Heard>{{"a", sc::RemovalCause::replaced},
                                      {"a", sc::RemovalCause::evicted},
                                      {"c", sc::RemovalCause::erased}});
    cache.clear();
    CHECK(heard.back() == Heard{"b", sc::RemovalCause::cleared});
}

TEST_CASE("a listener that throws breaks nothing", "[memory][listener]") {
    sc::MemoryCache<int, int> cache({.capacity = 1, .shards = 1},
                                    {.on_removal = [](const int&, const int&, sc::RemovalCause) {
                                        throw std::runtime_error("listener");
                                    }});
    cache.set(1, 1);
    CHECK_NOTHROW(cache.set(2, 2));
    CHECK(cache.size() == 1);
}

TEST_CASE("a copy that throws leaves the old value", "[memory]") {
    struct Bomb {
        bool armed = false;
        explicit Bomb(bool a) : armed(a) {}
        Bomb(const Bomb& other) : armed(other.armed) {
            if (armed) throw std::runtime_error("copy");
        }
    };
    sc::MemoryCache<int, Bomb> cache;
    cache.set(1, Bomb(false));
    const Bomb armed(true);
    CHECK_THROWS_AS(cache.set(1, armed), std::runtime_error);
    CHECK_FALSE(cache.get(1)->armed);
    CHECK(cache.size() == 1);
}

TEST_CASE("a comparison that throws changes nothing and keeps nothing", "[memory]") {
    sc::MemoryCache<Touchy, std::shared_ptr<int>> cache;
    const auto value = std::make_shared<int>(1);
    cache.set(Touchy{1}, value);
    Touchy::armed = true;
    CHECK_THROWS_AS(cache.get(Touchy{1}), std::runtime_error);
    CHECK_THROWS_AS(cache.contains(Touchy{1}), std::runtime_error);
    CHECK_THROWS_AS(cache.set(Touchy{1}, std::make_shared<int>(2)), std::runtime_error);
    CHECK_THROWS_AS(cache.erase(Touchy{1}), std::runtime_error);
    Touchy::armed = false;
    CHECK(**cache.get(Touchy{1}) == 1);
    CHECK(cache.size() == 1);
    CHECK(cache.erase(Touchy{1}));
    CHECK(value.use_count() == 1);  // nothing pins it
}

TEST_CASE("impossible options are refused, all of them at once", "[memory][config]") {
    try {
        sc::MemoryCache<int, int> cache({.capacity = 0, .shards = 0, .ttl = 0s});
        FAIL("accepted");
    } catch (const sc::ConfigError& error) {
        CHECK(error.problems().size() == 3);
    }
}

TEST_CASE("threads that read, write, erase and resize never see a foreign or torn value",
          "[memory][stress]") {
    // Oracle: a value repeats its key; a torn or foreign one would not. Bounds are checked all the while.
    struct Value {
        std::uint64_t key;
        std::string text;
    };
    for (const auto policy :
         {sc::EvictionPolicy::adaptive, sc::EvictionPolicy::lru, sc::EvictionPolicy::w_tinylfu}) {
        sc::MemoryCache<std::uint64_t, Value> cache({.capacity = 64, .shards = 2, .policy = policy});
        std::atomic<int> wrong{0};
        std::atomic<std::uint64_t> over{0};
        std::vector<std::thread> pool;
        for (unsigned t = 0; t < 6; ++t)
            pool.emplace_back([&, t] {
                std::vector<sc::Pinned<std::uint64_t, Value>> held;
                for (std::uint64_t i = 0; i < 4000; ++i) {
                    const std::uint64_t key = (i * 7 + t * 13) % 200;
                    if (i % 3 == 0) cache.set(key, Value{key, std::to_string(key)});
                    if (i % 11 == 0) cache.erase(key);
                    if (i % 501 == 0) cache.resize(t % 2 == 0 ? 16 : 64);
                    if (i % 1999 == 0) cache.clear();
                    if (auto pin = cache.get(key)) {
                        if (pin->key != key || pin->text != std::to_string(key)) wrong.fetch_add(1);
                        if (held.size() < 8) held.push_back(std::move(pin));
                    }
                    if (cache.size() > 64) over.fetch_add(1);
                }
                for (const auto& pin : held)
                    if (pin->text != std::to_string(pin->key)) wrong.fetch_add(1);
            });
        for (std::thread& thread : pool) thread.join();
        CHECK(wrong.load() == 0);
        CHECK(over.load() == 0);
    }
}

// The hash seed differs from process to process, and so do the samples by which `adaptive` chooses. It used to
// hear of at most 60 hits of a long run of them, but of all the misses that followed: about one cache of four
// then chose a mode that keeps less than three quarters of the loop.
TEST_CASE("a loop a tenth larger than the cache is kept whatever the seed", "[memory][adaptive]") {
    for (std::size_t capacity = 600; capacity <= 1000; capacity += 100) {
        CAPTURE(capacity);
        sc::MemoryCache<std::uint64_t, int> cache({.capacity = capacity, .shards = 1});
        const std::size_t loop = capacity + capacity / 10;
        std::size_t hits = 0;
        for (std::size_t i = 0; i < 300 * loop; ++i) {
            const auto hit = static_cast<bool>(cache.get(i % loop));
            if (!hit) cache.set(i % loop, 1);
            if (hit && i >= 200 * loop) ++hits;
        }
        CHECK(static_cast<double>(hits) / static_cast<double>(100 * loop) > 0.77);
    }
}

TEST_CASE("where entries are what runs out, room in bytes does not mislead the policy",
          "[memory][adaptive]") {
    for (const auto policy : {sc::EvictionPolicy::adaptive, sc::EvictionPolicy::w_tinylfu}) {
        CAPTURE(sc::to_string(policy));
        sc::MemoryCache<std::uint64_t, std::string> cache(
            {.capacity = 1000, .capacity_bytes = std::size_t{1} << 30U, .shards = 1, .policy = policy});
        constexpr std::size_t loop = 1100;
        std::size_t hits = 0;
        for (std::size_t i = 0; i < 300 * loop; ++i) {
            const auto hit = static_cast<bool>(cache.get(i % loop));
            if (!hit) cache.set(i % loop, "v");
            if (hit && i >= 200 * loop) ++hits;
        }
        CHECK(static_cast<double>(hits) / static_cast<double>(100 * loop) > 0.7);
    }
}

TEST_CASE("where entries are what runs out, one heavier than all others together can get in",
          "[memory][adaptive]") {
    for (const auto policy : {sc::EvictionPolicy::adaptive, sc::EvictionPolicy::w_tinylfu}) {
        CAPTURE(sc::to_string(policy));
        sc::MemoryCache<std::uint64_t, std::string> cache(
            {.capacity = 1000, .capacity_bytes = std::size_t{1} << 30U, .shards = 1, .policy = policy});
        for (std::uint64_t key = 0; key < 3000; ++key) cache.set(key, "v");
        const std::string heavy(10'000'000, 'v');
        for (int i = 0; i < 50; ++i)
            if (!cache.get(3000)) cache.set(3000, heavy);
        CHECK(cache.get(3000));
    }
}

}  // namespace memory_cache_test
