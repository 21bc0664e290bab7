#include <smartcache/memory/hazard.hpp>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace hazard_test {

using smartcache::detail::HazardDomain;
using smartcache::detail::HazardSlot;

namespace {

struct Thing {
    static inline std::atomic<int> alive{0};
    Thing() { ++alive; }
    ~Thing() { --alive; }
    Thing(const Thing&) = delete;
    Thing& operator=(const Thing&) = delete;
    alignas(16) int value = 42;
    static void drop(void* thing) noexcept { delete static_cast<Thing*>(thing); }
};

HazardDomain& domain() {
    return HazardDomain::process();
}

HazardSlot* pin(const void* thing) {
    HazardSlot* const slot = domain().free_slot();
    if (slot != nullptr) slot->store(reinterpret_cast<std::uintptr_t>(thing));
    return slot;
}

}  // namespace

TEST_CASE("what nobody protects is freed at once", "[memory][hazard]") {
    domain().retire(new Thing, &Thing::drop);
    CHECK(Thing::alive == 0);
}

TEST_CASE("what is protected is freed when its last slot is cleared, and not before",
          "[memory][hazard][R27]") {
    auto* const thing = new Thing;
    HazardSlot* const one = pin(thing);
    HazardSlot* const two = pin(thing);
    REQUIRE(one != nullptr);
    REQUIRE(two != nullptr);
    CHECK(one != two);
    domain().retire(thing, &Thing::drop);
    CHECK(Thing::alive == 1);
    CHECK(thing->value == 42);
    HazardDomain::clear(*one);
    CHECK(Thing::alive == 1);
    HazardDomain::clear(*two);
    CHECK(Thing::alive == 0);
    CHECK(domain().waiting() == 0);
}

TEST_CASE("another thread may clear a slot, also after its owner has ended", "[memory][hazard][R27]") {
    auto* const thing = new Thing;
    HazardSlot* slot = nullptr;
    std::thread([&] { slot = pin(thing); }).join();
    REQUIRE(slot != nullptr);
    domain().retire(thing, &Thing::drop);
    CHECK(Thing::alive == 1);
    // A new thread takes the block over and finds the slot occupied.
    std::thread([&] {
        Thing other;
        HazardSlot* const mine = pin(&other);
        if (mine != nullptr && mine != slot) HazardDomain::clear(*mine);
    }).join();
    CHECK(Thing::alive == 1);
    HazardDomain::clear(*slot);
    CHECK(Thing::alive == 0);
}

TEST_CASE("a thread has a bounded number of slots, all different, and gets them back", "[memory][hazard]") {
    Thing thing;
    for (int round = 0; round < 3; ++round) {
        std::set<HazardSlot*> slots;
        while (HazardSlot* const slot = pin(&thing)) {
            REQUIRE(slots.insert(slot).second);
            REQUIRE(slots.size() <= HazardDomain::slots_per_thread);
        }
        CHECK(slots.size() == HazardDomain::slots_per_thread);
        for (HazardSlot* const slot : slots) HazardDomain::clear(*slot);
    }
}

TEST_CASE("a batch frees what is free and keeps what is pinned", "[memory][hazard]") {
    std::vector<Thing*> things;
    for (int i = 0; i < 100; ++i) things.push_back(new Thing);
    HazardSlot* const slot = pin(things[50]);
    domain().retire_all(things, &Thing::drop);
    CHECK(things.empty());
    CHECK(Thing::alive == 1);
    HazardDomain::clear(*slot);
    CHECK(Thing::alive == 0);
}

// The protocol at the head of hazard.hpp, on one word that is replaced all the time: a reader that has protected
// what it read never sees it destroyed.
TEST_CASE("a protected object is never freed under its reader", "[memory][hazard][stress]") {
    constexpr int writes = 20'000;
    std::atomic<Thing*> word{new Thing};
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> readers;
    for (int r = 0; r < 3; ++r)
        readers.emplace_back([&] {
            while (!stop.load(std::memory_order_relaxed)) {
                HazardSlot* const slot = domain().free_slot();
                Thing* seen = word.load(std::memory_order_acquire);
                for (;;) {
                    slot->store(reinterpret_cast<std::uintptr_t>(seen), std::memory_order_seq_cst);
                    Thing* const again = word.load(std::memory_order_seq_cst);
                    if (again == seen) break;
                    seen = again;
                }
                if (seen->value != 42) ++wrong;
                HazardDomain::clear(*slot);
            }
        });
    for (int i = 0; i < writes; ++i) {
        auto* const fresh = new Thing;
        Thing* const old = word.load(std::memory_order_relaxed);
        word.store(fresh, std::memory_order_seq_cst);
        domain().retire(old, &Thing::drop);
    }
    stop = true;
    for (std::thread& reader : readers) reader.join();
    domain().retire(word.load(), &Thing::drop);
    domain().sweep();
    CHECK(wrong == 0);
    CHECK(Thing::alive == 0);
}

}  // namespace hazard_test
