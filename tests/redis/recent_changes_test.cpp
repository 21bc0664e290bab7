#include <smartcache/redis/recent_changes.hpp>

#include <chrono>
#include <cstdint>
#include <string>

#include <smartcache/record/key.hpp>

#include "support/catch.hpp"

namespace recent_changes_test {

using namespace std::chrono_literals;
using smartcache::physical_key;
using smartcache::detail::RecentChanges;
using smartcache::detail::Unacknowledged;

namespace {

const std::string k1 = physical_key("app", "1");
const std::string k2 = physical_key("app", "2");
const std::string k3 = physical_key("app", "3");
const std::string other = physical_key("other", "1");
const RecentChanges::Clock::time_point start{1000h};

/// What servers have acknowledged, each at so long after `start`, and what of it is distrusted now.
struct World {
    using Duration = RecentChanges::Clock::duration;

    /// @param server  the one that connections go to first
    explicit World(std::uint64_t server, RecentChanges::Limits limits = {}) : changes(lost, limits) {
        follow(server);
    }
    void follow(std::uint64_t server) { changes.follow(server); }
    void seen(std::uint64_t server, Duration later) { changes.seen(server, start + later); }
    void note(const std::string& key, std::uint64_t server, Duration later = 0s) {
        changes.note(key, server, start + later);
    }
    void note_namespace(const char* name_space, std::uint64_t server, Duration later = 0s) {
        changes.note_namespace(name_space, server, start + later);
    }
    [[nodiscard]] bool pending(Duration later) const { return changes.pending(start + later); }
    [[nodiscard]] bool distrusts(const std::string& key) const { return lost.distrusts(key); }

    Unacknowledged lost;
    RecentChanges changes;
};

}  // namespace

TEST_CASE("a new server is told of what the ones before acknowledged in the last 30 s",
          "[redis][sentinel][r14]") {
    World world(1);
    world.note(k1, 1);
    world.note(k2, 1, 1ms);
    world.note(k3, 1);
    world.note(k3, 1, 20s);
    world.follow(1);
    CHECK(world.lost.empty());
    world.seen(1, 30s + 1ms);
    world.follow(2);
    CHECK_FALSE(world.distrusts(k1));
    CHECK(world.distrusts(k2));
    CHECK(world.distrusts(k3));
    CHECK_FALSE(world.distrusts(other));
    CHECK(world.changes.keys() == 0);
}

// A process that says nothing for a while learns late that there is another one.
TEST_CASE("the last 30 s are those before the old server was last heard of", "[redis][sentinel][r14]") {
    World world(1);
    CHECK_FALSE(world.pending(1h));
    world.note(k1, 1);
    world.note(k2, 1, 20s);
    CHECK_FALSE(world.pending(20s + 499ms));  // it was there just now
    CHECK(world.pending(20s + 500ms));
    world.seen(1, 40s);
    world.seen(0, 90s);
    world.seen(2, 90s);  // not known yet
    CHECK(world.pending(90s));
    world.follow(2);
    CHECK_FALSE(world.distrusts(k1));
    CHECK(world.distrusts(k2));
    CHECK_FALSE(world.pending(1h));

    world.note_namespace("other", 2, 100s);
    CHECK(world.pending(101s));
    world.seen(2, 130s);
    CHECK(world.pending(1h));
    world.seen(2, 131s);
    CHECK_FALSE(world.pending(1h));
}

TEST_CASE("what a server acknowledges after it was replaced is unacknowledged at once",
          "[redis][sentinel][r14]") {
    World world(2);
    world.note(k1, 1);
    CHECK(world.distrusts(k1));
    world.follow(1);  // a connection that was opened long ago
    world.note(k2, 2);
    CHECK_FALSE(world.distrusts(k2));
}

TEST_CASE("a change that concerns more than one key costs its namespace on a new server",
          "[redis][sentinel][r14][tags]") {
    World world(2);
    world.note_namespace("app", 2);
    world.follow(3);
    CHECK(world.distrusts(k1));
    CHECK_FALSE(world.distrusts(other));
    world.note_namespace("other", 2, 1s);  // by one that has been replaced meanwhile
    CHECK(world.distrusts(other));

    World old(1);
    old.note_namespace("app", 1);
    old.note_namespace("app", 0);
    old.seen(1, 31s);
    old.follow(2);
    CHECK(old.lost.empty());
}

TEST_CASE("the only server there is costs nothing", "[redis][sentinel][r14]") {
    World world(0);
    world.note(k1, 0);
    world.follow(0);
    CHECK(world.changes.keys() == 0);
    CHECK(world.lost.empty());
}

TEST_CASE("of too many keys the old ones are forgotten, or namespaces stand for all",
          "[redis][sentinel][r14]") {
    for (const RecentChanges::Limits limits :
         {RecentChanges::Limits{.keys = 2, .key_bytes = 1000},
          RecentChanges::Limits{.keys = 1000, .key_bytes = k1.size() * 2}}) {
        World world(1, limits);
        world.note(k1, 1);
        world.note(k2, 1);
        world.note(k1, 1, 31s);  // known already: no more room is needed
        CHECK(world.changes.keys() == 2);
        world.note(k3, 1, 31s);
        CHECK(world.changes.keys() == 2);

        world.note(other, 1, 32s);
        CHECK(world.changes.keys() <= 1);
        world.note(k2, 1, 33s);
        CHECK(world.changes.keys() <= 1);
        world.follow(2);
        CHECK(world.lost.next(10).namespaces.front() == "app");
        CHECK(world.distrusts(other));
        CHECK(world.distrusts(physical_key("app", "never seen")));
    }
}

TEST_CASE("a namespace that stood for its keys long ago does not stand for new ones",
          "[redis][sentinel][r14]") {
    World world(1, {.keys = 1, .key_bytes = 1000});
    world.note(k1, 1);
    world.note(k2, 1);
    world.note(k3, 1, 31s);
    world.follow(2);
    CHECK(world.distrusts(k3));
    CHECK_FALSE(world.distrusts(k1));
}

TEST_CASE("a key that fits nowhere is remembered by its namespace", "[redis][sentinel][r14]") {
    World world(1, {.keys = 10, .key_bytes = 3});
    world.note(k1, 1);
    CHECK(world.changes.keys() == 0);
    world.follow(2);
    CHECK(world.distrusts(k1));
}

}  // namespace recent_changes_test
