#include <smartcache/memory/store.hpp>

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <smartcache/testing.hpp>

#include "support/catch.hpp"

namespace store_test {

namespace sc = smartcache;
using namespace std::chrono_literals;

namespace {

std::uint64_t hash_of(std::uint64_t key) {
    return sc::KeyHash{}({reinterpret_cast<const char*>(&key), sizeof(key)});
}

/// The least an entry can be: a number under a number.
struct Item : sc::detail::EntryBase {
    std::uint64_t key = 0;
    int value = 0;
    static inline int alive = 0;

    static void destroy(Item* item) noexcept {
        sc::detail::Arena* const home = &item->home();
        item->~Item();
        --alive;
        home->deallocate(item, sizeof(Item), alignof(Item));
    }
};

using Store = sc::detail::Store<Item>;

Store::Ref make(Store& store, std::uint64_t key, int value,
                std::int64_t dead_at = sc::detail::EntryBase::never) {
    auto* const item = ::new (store.arena().allocate(sizeof(Item), alignof(Item))) Item();
    ++Item::alive;
    item->settle(store.arena(), sizeof(Item), alignof(Item), false);
    item->hash = hash_of(key);
    item->key = key;
    item->value = value;
    item->dead_at.store(dead_at);
    return Store::Ref::adopt(item);
}

struct IfAbsent {
    static bool accept(const Item* present) { return present == nullptr; }
    static void done() {}
};

auto is(std::uint64_t key) {
    return [key](const Item& item) { return item.key == key; };
}

}  // namespace

TEST_CASE("the store agrees with a map under random operations, and leaks nothing",
          "[memory][store][model]") {
    for (const unsigned seed : {1U, 2U, 3U}) {
        std::mt19937 random(seed);
        sc::FakeClock clock;
        std::map<std::uint64_t, std::pair<int, std::int64_t>> model;
        {
            Store store({.capacity = 100'000, .shards = 4, .policy = sc::EvictionPolicy::lru},
                        sc::TimeSource(&clock));
            for (int step = 0; step < 20'000; ++step) {
                const std::uint64_t key = random() % 500;
                const std::uint64_t hash = hash_of(key);
                const std::int64_t now = store.now_ms();
                const auto known = model.find(key);
                const bool live = known != model.end() && now < known->second.second;
                switch (random() % 6) {
                    case 0:
                    case 1: {
                        const std::int64_t dead = random() % 3 == 0
                                                      ? sc::detail::EntryBase::never
                                                      : now + static_cast<std::int64_t>(random() % 50);
                        REQUIRE(store.insert(make(store, key, step, dead), is(key)));
                        model[key] = {step, dead};
                        break;
                    }
                    case 2: {
                        const bool put = store.insert(make(store, key, step), is(key), IfAbsent{});
                        REQUIRE(put == !live);
                        if (put) model[key] = {step, sc::detail::EntryBase::never};
                        break;
                    }
                    case 3: {
                        REQUIRE(store.erase(hash, is(key)) == live);
                        model.erase(key);
                        break;
                    }
                    case 4: {
                        const Store::Ref found = store.find(hash, is(key));
                        REQUIRE(static_cast<bool>(found) == live);
                        if (live) REQUIRE(found->value == known->second.first);
                        break;
                    }
                    default:
                        clock.advance(std::chrono::milliseconds(random() % 3));
                        if (random() % 100 == 0) (void)store.sweep();
                        if (random() % 1000 == 0) {
                            (void)store.clear();
                            model.clear();
                        }
                }
            }
            (void)store.sweep();
            std::size_t live = 0;
            for (const auto& [key, value] : model) live += store.now_ms() < value.second ? 1U : 0U;
            CHECK(store.usage().entries == live);
            CHECK(store.usage().bytes == live * sizeof(Item));
            CHECK(Item::alive == static_cast<int>(live));
        }
        CHECK(Item::alive == 0);
    }
}

TEST_CASE("the bound on entries holds after every insert, for every policy and shard count",
          "[memory][store]") {
    for (const auto policy :
         {sc::EvictionPolicy::adaptive, sc::EvictionPolicy::lru, sc::EvictionPolicy::s3_fifo,
          sc::EvictionPolicy::sieve, sc::EvictionPolicy::w_tinylfu})
        for (const std::size_t shards : {1U, 4U})
            for (const std::size_t capacity : {1U, 3U, 100U}) {
                Store store({.capacity = capacity, .shards = shards, .policy = policy}, sc::TimeSource());
                for (std::uint64_t key = 0; key < 1000; ++key) {
                    (void)store.insert(make(store, key, 0), is(key));
                    REQUIRE(store.usage().entries <= capacity);
                }
                CHECK(store.usage().entries == capacity);
            }
}

TEST_CASE("removals are reported with their cause, each entry once", "[memory][store]") {
    sc::FakeClock clock;
    std::map<sc::RemovalCause, int> causes;
    {
        Store store({.capacity = 3, .shards = 1, .policy = sc::EvictionPolicy::lru}, sc::TimeSource(&clock),
                    [&](Item&, sc::RemovalCause cause) { ++causes[cause]; });
        (void)store.insert(make(store, 1, 0), is(1));
        (void)store.insert(make(store, 1, 1), is(1));
        (void)store.insert(make(store, 2, 0, store.now_ms() + 5), is(2));
        clock.advance(5ms);
        CHECK_FALSE(store.find(hash_of(2), is(2)));
        CHECK(store.erase(hash_of(1), is(1)));
        for (std::uint64_t key = 10; key < 15; ++key) (void)store.insert(make(store, key, 0), is(key));
        CHECK(store.clear() == 3);
    }
    CHECK(causes[sc::RemovalCause::replaced] == 1);
    CHECK(causes[sc::RemovalCause::expired] == 1);
    CHECK(causes[sc::RemovalCause::erased] == 1);
    CHECK(causes[sc::RemovalCause::evicted] == 2);
    CHECK(causes[sc::RemovalCause::cleared] == 3);
    CHECK(Item::alive == 0);
}

TEST_CASE("the table grows with its entries and shrinks when they are gone", "[memory][store]") {
    Store store({.capacity = 200'000, .bucket_count = 16, .shards = 1, .policy = sc::EvictionPolicy::lru},
                sc::TimeSource());
    CHECK(store.buckets() == 16);
    for (std::uint64_t key = 0; key < 100'000; ++key) (void)store.insert(make(store, key, 0), is(key));
    CHECK(store.buckets() * sc::detail::Table::words_per_bucket >= 100'000);
    for (std::uint64_t key = 0; key < 100'000; ++key) REQUIRE(store.find(hash_of(key), is(key)));
    for (std::uint64_t key = 100; key < 100'000; ++key) (void)store.erase(hash_of(key), is(key));
    (void)store.sweep();
    CHECK(store.buckets() == 64);  // the smallest of the arrays it has had that leaves room
    for (std::uint64_t key = 0; key < 100; ++key) CHECK(store.find(hash_of(key), is(key)));
}

TEST_CASE("two keys with one hash are two entries", "[memory][store][I1]") {
    Store store({.capacity = 10, .shards = 1}, sc::TimeSource());
    Store::Ref a = make(store, 1, 10);
    Store::Ref b = make(store, 2, 20);
    a->hash = b->hash = 77;
    (void)store.insert(std::move(a), is(1));
    (void)store.insert(std::move(b), is(2));
    CHECK(store.find(77, is(1))->value == 10);
    CHECK(store.find(77, is(2))->value == 20);
    CHECK(store.erase(77, is(1)));
    CHECK(store.find(77, is(2))->value == 20);
}

TEST_CASE("an entry of a shard's whole weight and more never stays", "[memory][store][weight]") {
    Store store({.capacity = 100, .capacity_bytes = 1000, .shards = 1, .policy = sc::EvictionPolicy::lru},
                sc::TimeSource());
    for (std::uint64_t key = 0; key < 5; ++key) {
        Store::Ref item = make(store, key, 0);
        item->weight = 100;
        (void)store.insert(std::move(item), is(key));
    }
    Store::Ref heavy = make(store, 99, 0);
    heavy->weight = 1001;
    (void)store.insert(std::move(heavy), is(99));
    CHECK_FALSE(store.find(hash_of(99), is(99)));
    CHECK(store.usage().entries == 5);
}

TEST_CASE("a table that was left gives its memory back and can be filled again", "[memory][store][table]") {
    using sc::detail::Table;
    const auto entries = [](Item& item, std::uint64_t key) -> sc::detail::EntryBase& {
        item.key = key;
        item.hash = hash_of(key);
        return item;
    };
    std::vector<Item> items(5000);
    Table table(2048);
    const std::size_t full = table.memory_bytes();
    for (int round = 0; round < 2; ++round) {
        for (std::uint64_t key = 0; key < items.size(); ++key)
            table.insert(&entries(items[static_cast<std::size_t>(key)], key));
        table.make_open();
        CHECK(table.memory_bytes() == full);
        std::size_t found = 0;
        for (const Item& item : items)
            if (table.locate(item.hash, [&](const sc::detail::EntryBase& other) { return &other == &item; }))
                ++found;
        CHECK(found == items.size());
        table.close();
        table.for_each([](const Table::Place&) { FAIL("a closed table is empty"); });
        CHECK((table.at(7).control.load() & Table::open) == 0);
#if defined(__linux__)
        CHECK(table.memory_bytes() < full / 100);
#endif
    }
}

TEST_CASE("buckets that overflow again and again lose nobody", "[memory][store][table]") {
    // More entries of one home bucket than its count of those who passed it can tell.
    using sc::detail::Table;
    std::vector<Item> items(200);
    Table table(64);
    for (std::size_t i = 0; i < items.size(); ++i) {
        items[i].hash = (static_cast<std::uint64_t>(i) << 56U) | 0x1234U;
        table.insert(&items[i]);
    }
    table.make_open();
    const auto place = [&](const Item& item) {
        return table.locate(item.hash, [&](const sc::detail::EntryBase& other) { return &other == &item; });
    };
    for (std::size_t i = 0; i < items.size(); i += 2) table.erase(place(items[i]));
    for (std::size_t i = 0; i < items.size(); ++i) CHECK(static_cast<bool>(place(items[i])) == (i % 2 == 1));
    for (std::size_t i = 0; i < items.size(); i += 2) table.insert(&items[i]);
    for (const Item& item : items) CHECK(place(item));
}

}  // namespace store_test
