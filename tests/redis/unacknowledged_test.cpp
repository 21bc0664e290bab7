#include <smartcache/redis/unacknowledged.hpp>

#include <string>

#include "support/catch.hpp"

#include <smartcache/record/key.hpp>

namespace unacknowledged_test {

using smartcache::physical_key;
using smartcache::detail::ConnectionIdentity;
using smartcache::detail::Unacknowledged;

namespace {

const std::string k1 = physical_key("app", "1");
const std::string k2 = physical_key("app", "2");
const std::string other = physical_key("other", "1");
const ConnectionIdentity connection{5, "run"};

}  // namespace

TEST_CASE("a key is distrusted until its erase is acknowledged", "[redis][r11]") {
    Unacknowledged set;
    CHECK(set.empty());
    CHECK_FALSE(set.distrusts(k1));
    set.add(k1);
    CHECK_FALSE(set.empty());
    CHECK(set.distrusts(k1));
    CHECK_FALSE(set.distrusts(k2));
    const Unacknowledged::Batch batch = set.next(10);
    CHECK(batch.keys == std::vector<std::string>{k1});
    CHECK(batch.zombies.empty());
    set.acknowledged(batch);
    CHECK(set.empty());
    CHECK_FALSE(set.distrusts(k1));
}

TEST_CASE("what fails again while its erase is under way stays", "[redis][r11]") {
    Unacknowledged set;
    set.add(k1);
    set.add(k2);
    const Unacknowledged::Batch batch = set.next(10);
    set.add(k1);
    set.acknowledged(batch);
    CHECK(set.distrusts(k1));
    CHECK_FALSE(set.distrusts(k2));
}

TEST_CASE("an unanswered write names the connection that has to be closed first", "[redis][r10]") {
    Unacknowledged set;
    set.add(k1, connection);
    set.add(k2, connection);
    const Unacknowledged::Batch batch = set.next(1);
    CHECK(batch.keys.size() == 1);
    CHECK(batch.zombies == std::vector<ConnectionIdentity>{connection});
    set.acknowledged(batch);
    CHECK(set.next(10).zombies.empty());
    CHECK(set.keys() == 1);
}

TEST_CASE("an unanswered write over a connection without a name costs its namespace", "[redis][r10]") {
    for (const ConnectionIdentity& unknown :
         {ConnectionIdentity{}, ConnectionIdentity{0, "run"}, ConnectionIdentity{5, ""}}) {
        Unacknowledged set;
        set.add(k1, unknown);
        CHECK(set.distrusts(k1));
        CHECK(set.distrusts(k2));
        CHECK_FALSE(set.distrusts(other));
        CHECK(set.next(10).keys.empty());
        CHECK(set.next(10).namespaces == std::vector<std::string>{"app"});
        set.cleared("app", set.now());
        CHECK(set.empty());
    }
}

TEST_CASE("zombies that cannot be killed cost the namespaces of all keys", "[redis][r10]") {
    Unacknowledged set;
    set.add(k1, connection);
    set.cannot_kill(set.next(10));
    CHECK(set.keys() == 0);
    CHECK(set.distrusts(k2));
    CHECK(set.next(10).zombies.empty());
    CHECK(set.next(10).namespaces == std::vector<std::string>{"app"});
}

TEST_CASE("what overflows makes its namespace distrusted, and nothing is forgotten", "[redis][r11]") {
    Unacknowledged set(Unacknowledged::Limits{.keys = 1, .key_bytes = 1000, .namespaces = 4, .zombies = 4});
    set.add(k1);
    set.add(k2);
    CHECK(set.keys() == 0);
    CHECK(set.distrusts(k1));
    CHECK(set.distrusts(physical_key("app", "never seen")));
    CHECK_FALSE(set.distrusts(other));

    Unacknowledged bytes(
        Unacknowledged::Limits{.keys = 100, .key_bytes = k1.size(), .namespaces = 4, .zombies = 4});
    bytes.add(k1);
    bytes.add(k2);
    CHECK(bytes.keys() == 0);
    CHECK(bytes.distrusts(k1));

    Unacknowledged spaces(
        Unacknowledged::Limits{.keys = 1, .key_bytes = 1000, .namespaces = 1, .zombies = 4});
    spaces.add_namespace("a");
    spaces.add_namespace("b");
    CHECK(spaces.distrusts(k1));  // for ever: nobody knows what it would take
    spaces.cleared("a", spaces.now());
    CHECK(spaces.distrusts(k1));
}

TEST_CASE("a new epoch settles what failed before it was asked for, and nothing later", "[redis][r11]") {
    Unacknowledged set;
    set.add(k1);
    set.add(other);
    const std::uint64_t before = set.now();
    set.add(k2);
    set.cleared("app", before);
    CHECK_FALSE(set.distrusts(k1));
    CHECK(set.distrusts(k2));
    CHECK(set.distrusts(other));

    set.add_namespace("app");
    const std::uint64_t asked = set.now();
    set.add(k1);  // in a namespace that is distrusted as a whole, by a write after the question
    set.cleared("app", asked);
    CHECK(set.distrusts(k1));
}

}  // namespace unacknowledged_test
