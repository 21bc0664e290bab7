#include <smartcache/redis/partition.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include <smartcache/record/key.hpp>
#include <smartcache/redis/pipeline.hpp>

#include "support/catch.hpp"

namespace partition_test {

using namespace std::chrono_literals;
using smartcache::physical_key;
using namespace smartcache::detail;

namespace {

const std::string key = physical_key("app", "k");

/// A partition that settles with servers which acknowledge everything.
struct Settling {
    /// @param meanwhile  called when a server has run the commands
    void settle(std::uint64_t server, const std::function<void()>& meanwhile = {}) {
        const auto execute = [&](const Pipeline& commands, Connection::OnReply on_reply) -> Failure {
            ++trips;
            Reply reply;
            reply.kind = Reply::Kind::integer;
            reply.integer = 1;
            for (std::size_t i = 0; i < commands.commands(); ++i) on_reply(i, reply);
            if (meanwhile) meanwhile();
            return {};
        };
        CHECK_FALSE(partition.settle(connection, server, Deadline::in(1s), execute));
    }
    [[nodiscard]] bool distrusted() const { return partition.unacknowledged.distrusts(key); }

    RedisCommon common{{}, false, 0, false, {}};
    Partition partition{common};
    ConnectionSettings settings;
    Connection connection{settings};
    int trips = 0;
};

}  // namespace

TEST_CASE("what was erased late on one server is erased on the next one, too", "[redis][r14]") {
    Settling world;
    world.partition.changes.follow(1);
    world.partition.unacknowledged.add(key);  // a write that failed
    world.settle(1);
    CHECK_FALSE(world.distrusted());
    CHECK(world.trips == 1);
    world.partition.changes.follow(2);  // which has not heard of that, and may have the value from before
    CHECK(world.distrusted());
    world.settle(2);
    CHECK_FALSE(world.distrusted());
    world.partition.changes.follow(3);
    CHECK(world.distrusted());
}

TEST_CASE("an erase on a server that is replaced meanwhile does not count", "[redis][r14]") {
    Settling world;
    world.partition.changes.follow(1);
    world.partition.unacknowledged.add(key);
    world.settle(1, [&] { world.partition.changes.follow(2); });
    CHECK(world.trips == 1);
    CHECK(world.distrusted());
    world.settle(2);
    CHECK_FALSE(world.distrusted());
}

}  // namespace partition_test
