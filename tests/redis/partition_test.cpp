#include <smartcache/redis/partition.hpp>

#include <sys/uio.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include <smartcache/record/key.hpp>
#include <smartcache/redis/pipeline.hpp>

#include "support/catch.hpp"
#include "support/redis_server.hpp"

namespace partition_test {

using namespace std::chrono_literals;
using smartcache::physical_key;
using namespace smartcache::detail;
using smartcache::test::RedisServer;

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

    RedisCommon common{{.name_space = "app"}, false, 0, false, {}};
    Partition partition{common};
    ConnectionSettings settings;
    Connection connection{settings};
    int trips = 0;
};

std::string sent(const Pipeline& commands) {
    std::array<iovec, 64> parts{};
    std::string all;
    for (const iovec& part : std::span(parts).first(commands.gather(0, parts)))
        all.append(static_cast<const char*>(part.iov_base), part.iov_len);
    return all;
}

}  // namespace

TEST_CASE("a server that takes NOMKSTREAM for an id keeps no history", "[redis][r12]") {
    RedisServer server;
    Settling settling;
    REQUIRE(settling.common.keeps_history());
    Reply reply;
    reply.kind = Reply::Kind::error;
    // As one before version 6.2 answers, which does not know the word either.
    const smartcache::test::RedisAnswer answer =
        server.command({"XADD", "stream", "UNKNOWN", "MAXLEN", "~", "9", "*", "m", "message"});
    REQUIRE(answer.kind == smartcache::test::RedisAnswer::Kind::error);
    reply.text = answer.text;
    CHECK_FALSE(settling.common.learn_no_history(reply));
    CHECK_FALSE(settling.common.keeps_history());
}

TEST_CASE("every namespace is asked for its own epoch", "[redis][epochs]") {
    Settling world;
    for (const std::string& space : {std::string("app"), std::string("other"), std::string()}) {
        Pipeline commands;
        std::string name;
        commands.command({"GET", "k"});
        world.partition.ask_epoch(commands, space, name);
        Pipeline expected;
        expected.command({"GET", "k"});
        expected.command({"HMGET", epoch_key(space), "clear", "token", "tags", "floor"});
        CHECK(commands.commands() == 2);
        CHECK(sent(commands) == sent(expected));
    }
}

TEST_CASE("a question for an epoch that was prepared lives as long as its partition", "[redis][epochs]") {
    // A name that long is referred to, not copied.
    const std::string space(5000, 'n');
    RedisCommon common{{.name_space = space}, false, 0, false, {}};
    std::atomic<std::uint64_t> learnt = 0;
    const Partition alone(common);
    const Partition of_cluster(common, 3, "tag", learnt);
    for (const Partition* const partition : {&alone, &of_cluster}) {
        Pipeline commands;
        std::string name;
        partition->ask_epoch(commands, space, name);
        CHECK(name.empty());
        Pipeline expected;
        const std::string hash = partition->epoch_name(space);
        expected.command({"HMGET", hash, "clear", "token", "tags", "floor"});
        CHECK(sent(commands) == sent(expected));
    }
}

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
