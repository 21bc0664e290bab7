#include <smartcache/redis/pool.hpp>

#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "redis/support/hostile_server.hpp"
#include "support/catch.hpp"
#include "support/redis_server.hpp"

namespace pool_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using sc::detail::Connection;
using sc::detail::ConnectionSettings;
using sc::detail::Deadline;
using sc::detail::Failure;
using sc::detail::Pipeline;
using sc::detail::Pool;
using sc::detail::Reply;
using sc::test::HostileServer;
using sc::test::RedisServer;

namespace {

ConnectionSettings settings_for(const std::string& url, sc::Duration connect_timeout = 5s) {
    std::string problem;
    return {*sc::parse_redis_url(url, problem), connect_timeout, 1 << 20, true};
}

Failure acquire(Pool& pool, Pool::Lease& lease, sc::Duration timeout = 30s) {
    return pool.acquire(Deadline::in(timeout), lease);
}

std::string ping(Connection& connection) {
    Pipeline commands;
    commands.command({"PING"});
    Connection::Progress progress;
    std::string answer;
    const Failure failure = connection.execute(
        commands, Deadline::in(30s), [&](std::size_t, Reply& reply) { answer = reply.text; }, progress);
    return failure ? failure.message() : answer;
}

std::ptrdiff_t descriptors() {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                         std::filesystem::directory_iterator());
}

}  // namespace

TEST_CASE("connections are opened when needed and used again", "[redis][pool]") {
    RedisServer server;
    const ConnectionSettings settings = settings_for(server.url());
    Pool pool(settings, 3);
    CHECK(pool.open_connections() == 0);
    for (int i = 0; i < 10; ++i) {
        Pool::Lease lease;
        REQUIRE_FALSE(acquire(pool, lease));
        CHECK(ping(*lease) == "PONG");
        lease.give_back();
    }
    CHECK(pool.open_connections() == 1);
    Pool::Lease one;
    Pool::Lease two;
    REQUIRE_FALSE(acquire(pool, one));
    REQUIRE_FALSE(acquire(pool, two));
    CHECK(pool.open_connections() == 2);
}

TEST_CASE("there are never more than allowed: who comes late waits until its deadline", "[redis][pool]") {
    RedisServer server;
    const ConnectionSettings settings = settings_for(server.url());
    Pool pool(settings, 1);
    Pool::Lease held;
    REQUIRE_FALSE(acquire(pool, held));
    Pool::Lease late;
    const Failure failure = acquire(pool, late, 10ms);
    CHECK(failure.kind == Failure::Kind::busy);
    CHECK(failure.timed_out());
    CHECK_FALSE(failure.blames_server());

    std::atomic<bool> got{false};
    std::thread waiter([&] {
        Pool::Lease lease;
        got = !acquire(pool, lease);
    });
    held.give_back();
    waiter.join();
    CHECK(got);
    CHECK(pool.open_connections() <= 1);
}

TEST_CASE("a lease that was not given back closes its connection", "[redis][pool]") {
    RedisServer server;
    const ConnectionSettings settings = settings_for(server.url());
    Pool pool(settings, 1);
    for (int i = 0; i < 3; ++i) {
        Pool::Lease lease;
        REQUIRE_FALSE(acquire(pool, lease));
    }
    CHECK(pool.open_connections() == 0);
}

TEST_CASE("idle connections that the server closed are replaced unseen", "[redis][pool]") {
    RedisServer server;
    const ConnectionSettings settings = settings_for(server.url());
    Pool pool(settings, 2);
    {
        Pool::Lease lease;
        REQUIRE_FALSE(acquire(pool, lease));
        lease.give_back();
    }
    server.kill();
    server.start();
    Pool::Lease lease;
    REQUIRE_FALSE(acquire(pool, lease));
    CHECK(ping(*lease) == "PONG");
    lease.give_back();
    server.kill();
    pool.drop_broken();
    CHECK(pool.open_connections() == 0);
}

TEST_CASE("an idle connection that speaks without being asked is dropped", "[redis][pool]") {
    std::atomic<bool> spoke{false};
    HostileServer server([&](HostileServer::Peer& peer, const HostileServer::Command& command) {
        peer.send("+PONG\r\n");
        if (command[0] == "PING") return true;
        peer.send("+surprise\r\n");
        spoke = true;
        return true;
    });
    const ConnectionSettings settings = settings_for(server.url());
    Pool pool(settings, 2);
    Pool::Lease lease;
    REQUIRE_FALSE(acquire(pool, lease));
    CHECK(ping(*lease) == "PONG");
    Pipeline
        two;  // the second answer may come with the first or after it; either way the connection is of no use
    two.command({"ODD"});
    Connection::Progress progress;
    const Failure failure = lease->execute(
        two, Deadline::in(30s), [](std::size_t, Reply&) {}, progress);
    while (!spoke) std::this_thread::yield();
    if (!failure) {
        while (lease->quiet()) std::this_thread::yield();
        lease.give_back();
    }
    lease = Pool::Lease();
    REQUIRE_FALSE(acquire(pool, lease));
    CHECK(ping(*lease) == "PONG");
    CHECK(server.connections() == 2);
}

TEST_CASE("after a failed connect nobody tries again at once", "[redis][pool]") {
    std::uint16_t port = 0;
    {
        const HostileServer gone([](HostileServer::Peer&, const HostileServer::Command&) { return false; });
        port = gone.port();
    }
    const ConnectionSettings settings = settings_for("redis://127.0.0.1:" + std::to_string(port));
    Pool pool(settings, 4);
    int tried = 0;
    int held_off = 0;
    const auto until = std::chrono::steady_clock::now() + 300ms;
    std::string problem;
    while (std::chrono::steady_clock::now() < until) {
        Pool::Lease lease;
        const Failure failure = acquire(pool, lease);
        if (failure.kind == Failure::Kind::connect) ++tried;
        if (failure.kind == Failure::Kind::backing_off) {
            ++held_off;
            problem = failure.message();
        }
    }
    // 10, 20, 40, ... ms, each shortened by at most half: in 300 ms at most 7 attempts, and at least one.
    CHECK(tried >= 1);
    CHECK(tried <= 7);
    CHECK(held_off >= 1);
    CHECK(problem.find("Connection refused") != std::string::npos);
    CHECK(pool.open_connections() == 0);

    // Who is there to find out whether the server is back does not wait for that.
    for (int i = 0; i < 20; ++i) {
        pool.try_again();
        Pool::Lease lease;
        CHECK(acquire(pool, lease).kind == Failure::Kind::connect);
    }
}

TEST_CASE("a connection that is still being opened is finished by a later caller", "[redis][pool]") {
    RedisServer server;
    const ConnectionSettings settings = settings_for(server.url(), 60s);
    Pool pool(settings, 1);
    server.pause();
    Pool::Lease lease;
    CHECK(acquire(pool, lease, 10ms).kind == Failure::Kind::connecting);
    CHECK(acquire(pool, lease, 10ms).kind == Failure::Kind::connecting);
    CHECK(pool.open_connections() == 1);
    server.resume();
    REQUIRE_FALSE(acquire(pool, lease));
    CHECK(ping(*lease) == "PONG");
}

TEST_CASE("many threads share few connections, and no descriptor is left", "[redis][pool]") {
    RedisServer server;
    const std::ptrdiff_t before = descriptors();
    {
        const ConnectionSettings settings = settings_for(server.unix_url());
        Pool pool(settings, 3);
        std::atomic<int> answered{0};
        std::atomic<int> too_many{0};
        std::vector<std::thread> threads;
        for (int t = 0; t < 8; ++t)
            threads.emplace_back([&] {
                for (int i = 0; i < 200; ++i) {
                    Pool::Lease lease;
                    if (acquire(pool, lease)) continue;
                    if (ping(*lease) == "PONG") ++answered;
                    if (pool.open_connections() > 3) ++too_many;
                    if (i % 7 != 0) lease.give_back();
                }
            });
        for (std::thread& thread : threads) thread.join();
        CHECK(answered == 1600);
        CHECK(too_many == 0);
    }
    CHECK(descriptors() == before);
}

TEST_CASE("a child process opens connections of its own and leaves the parent's alone",
          "[redis][pool][fork]") {
    RedisServer server;
    const ConnectionSettings settings = settings_for(server.url());
    Pool pool(settings, 2);
    std::uint64_t parents_id = 0;
    {
        Pool::Lease lease;
        REQUIRE_FALSE(acquire(pool, lease));
        parents_id = lease->identity().client_id;
        lease.give_back();
    }
    const pid_t child = ::fork();
    if (child == 0) {
        int verdict = 1;
        {
            Pool::Lease lease;
            if (!acquire(pool, lease) && lease->identity().client_id != parents_id && ping(*lease) == "PONG")
                verdict = 0;
        }
        ::_exit(verdict);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    Pool::Lease lease;
    REQUIRE_FALSE(acquire(pool, lease));
    CHECK(lease->identity().client_id == parents_id);
    CHECK(ping(*lease) == "PONG");
}

}  // namespace pool_test
