#include <smartcache/redis/connection.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "redis/support/hostile_server.hpp"
#include "support/catch.hpp"
#include "support/redis_server.hpp"

namespace connection_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using sc::detail::Connection;
using sc::detail::ConnectionSettings;
using sc::detail::Deadline;
using sc::detail::Failure;
using sc::detail::Pipeline;
using sc::detail::Reply;
using sc::test::HostileServer;
using sc::test::RedisServer;

namespace {

ConnectionSettings settings_for(const std::string& url, sc::Duration connect_timeout = 5s) {
    std::string problem;
    std::optional<sc::RedisUrl> parsed = sc::parse_redis_url(url, problem);
    INFO(problem);
    REQUIRE(parsed);
    return {*parsed, connect_timeout, 1 << 20, true};
}

struct Asked {
    Failure failure;
    std::vector<Reply> replies;
    Connection::Progress progress;
};

Asked ask(Connection& connection, const Pipeline& commands, sc::Duration timeout = 5s) {
    Asked asked;
    asked.failure = connection.execute(
        commands, Deadline::in(timeout),
        [&](std::size_t, Reply& reply) { asked.replies.push_back(std::move(reply)); }, asked.progress);
    return asked;
}

Pipeline one(std::initializer_list<std::string_view> words) {
    Pipeline pipeline;
    pipeline.command(words);
    return pipeline;
}

Failure open(Connection& connection) {
    return connection.open(Deadline::in(5s));
}

}  // namespace

TEST_CASE("a connection over TCP and over a unix socket logs in and asks", "[redis][connection]") {
    RedisServer server;
    for (const std::string& url :
         {server.url(3), server.unix_url(3), "redis://localhost:" + std::to_string(server.port()) + "/3"}) {
        const ConnectionSettings settings = settings_for(url);
        Connection connection(settings);
        INFO(url);
        REQUIRE_FALSE(open(connection));
        CHECK(connection.ready());
        CHECK(connection.identity().known());
        CHECK(connection.time_at_log_in());
        Pipeline commands;
        commands.command({"SET", "k", "v"});
        commands.command({"GET", "k"});
        commands.command({"CLIENT", "GETNAME"});
        const Asked asked = ask(connection, commands);
        REQUIRE_FALSE(asked.failure);
        REQUIRE(asked.replies.size() == 3);
        CHECK(asked.replies[0].is_status("OK"));
        CHECK(asked.replies[1].text == "v");
        CHECK(asked.replies[2].text == "smartcache");
        CHECK(connection.quiet());
    }
    CHECK(server.command({"GET", "k"}, 3).text == "v");
    CHECK(server.command({"GET", "k"}, 0).kind == sc::test::RedisAnswer::Kind::nil);
}

TEST_CASE("values of many megabytes go and come back", "[redis][connection]") {
    RedisServer server;
    ConnectionSettings settings = settings_for(server.url());
    settings.max_reply = std::size_t{64} << 20U;
    Connection connection(settings);
    REQUIRE_FALSE(open(connection));
    std::string value(std::size_t{20} << 20U, '\0');
    for (std::size_t i = 0; i < value.size(); ++i) value[i] = static_cast<char>(i * 31 + (i >> 11U));
    Pipeline commands;
    commands.command({"SET", "big", value});
    commands.command({"GET", "big"});
    const Asked asked = ask(connection, commands, 60s);
    REQUIRE_FALSE(asked.failure);
    CHECK((asked.replies[1].text == value));
}

TEST_CASE("an answer beyond the limit ends the connection before it is read to its end",
          "[redis][connection]") {
    RedisServer server;
    const ConnectionSettings settings = settings_for(server.url());
    Connection connection(settings);
    REQUIRE_FALSE(open(connection));
    const std::string value(std::size_t{20} << 20U, 'x');
    (void)server.command({"SET", "big", value});
    CHECK(ask(connection, one({"GET", "big"})).failure.kind == Failure::Kind::too_long);
}

TEST_CASE("user and password are sent, and a wrong one is refused with the server's words",
          "[redis][connection]") {
    RedisServer server({.password = "hunter2"});
    (void)server.command({"ACL", "SETUSER", "app", "on", ">p@ss", "~*", "+@all"});
    const std::string at = "@127.0.0.1:" + std::to_string(server.port());
    for (const std::string log_in : {":hunter2", "default:hunter2", "app:p%40ss"}) {
        const ConnectionSettings settings = settings_for("redis://" + log_in + at);
        Connection connection(settings);
        INFO(log_in);
        CHECK_FALSE(open(connection));
    }
    for (const std::string log_in : {":hunter3", "app:hunter2", "nobody:x"}) {
        const ConnectionSettings settings = settings_for("redis://" + log_in + at);
        Connection connection(settings);
        const Failure failure = open(connection);
        CHECK(failure.kind == Failure::Kind::log_in);
        CHECK(failure.message().find("WRONGPASS") != std::string::npos);
        CHECK(failure.message().find("hunter") == std::string::npos);
    }
    const ConnectionSettings settings = settings_for("redis://127.0.0.1:" + std::to_string(server.port()));
    Connection connection(settings);
    const Failure failure = open(connection);
    CHECK(failure.kind == Failure::Kind::log_in);
    CHECK(failure.message().find("NOAUTH") != std::string::npos);
}

TEST_CASE("a database that does not exist is refused", "[redis][connection]") {
    RedisServer server;
    const ConnectionSettings settings = settings_for(server.url(99));
    Connection connection(settings);
    CHECK(open(connection).kind == Failure::Kind::log_in);
}

TEST_CASE("a server without room says so", "[redis][connection]") {
    RedisServer server({.arguments = {"--maxclients", "1"}});
    const ConnectionSettings settings = settings_for(server.url());
    Connection first(settings);
    REQUIRE_FALSE(open(first));
    Connection second(settings);
    CHECK(open(second));
    CHECK_FALSE(second.ready());
}

TEST_CASE("nobody listens: host, port and errno's text are named", "[redis][connection]") {
    std::string url;
    std::string port;
    {
        const HostileServer gone([](HostileServer::Peer&, const HostileServer::Command&) { return false; });
        url = gone.url();
        port = std::to_string(gone.port());
    }
    const ConnectionSettings settings = settings_for(url);
    Connection connection(settings);
    const Failure failure = open(connection);
    CHECK(failure.kind == Failure::Kind::connect);
    CHECK(failure.message().find("127.0.0.1:" + port) != std::string::npos);
    CHECK(failure.message().find("Connection refused") != std::string::npos);

    const ConnectionSettings no_socket = settings_for("unix:///nowhere/redis.sock");
    Connection over_unix(no_socket);
    const Failure other = open(over_unix);
    CHECK(other.message().find("/nowhere/redis.sock") != std::string::npos);
    CHECK(other.message().find("No such file") != std::string::npos);
}

TEST_CASE("a name without an address is a failed connect, within the deadline", "[redis][connection]") {
    const ConnectionSettings settings = settings_for("redis://no-such-host.invalid", 2s);
    Connection connection(settings);
    const Failure failure = open(connection);
    CHECK(failure);
    CHECK_FALSE(connection.ready());
}

TEST_CASE("opening a connection to a server that does not answer goes on where the last caller stopped",
          "[redis][connection]") {
    RedisServer server;
    const ConnectionSettings settings = settings_for(server.url(), 60s);
    Connection connection(settings);
    const long long before = server.info_number("total_connections_received");
    server.pause();
    CHECK(connection.open(Deadline::in(20ms)).kind == Failure::Kind::connecting);
    CHECK(connection.open(Deadline::in(0ms)).kind == Failure::Kind::connecting);
    server.resume();
    CHECK_FALSE(connection.open(Deadline::in(30s)));
    CHECK_FALSE(ask(connection, one({"PING"})).failure);
    // The half-done log-in was not started again.
    CHECK(server.info_number("total_connections_received") == before + 2);  // this one, and the one that asks
}

TEST_CASE("waiting for a connection ends with connect_timeout, however many callers it took",
          "[redis][connection]") {
    RedisServer server;
    const ConnectionSettings settings = settings_for(server.url(), 60ms);
    Connection connection(settings);
    server.pause();
    Failure failure;
    int calls = 0;
    do {
        failure = connection.open(Deadline::in(10ms));
    } while (failure.kind == Failure::Kind::connecting && ++calls < 1000);
    CHECK(failure.kind == Failure::Kind::timeout);
    CHECK(calls < 1000);
    CHECK(failure.blames_server());
}

TEST_CASE("a hostile server costs at most the deadline", "[redis][connection][hostile]") {
    using Peer = HostileServer::Peer;
    using Command = HostileServer::Command;
    struct Case {
        const char* name;
        HostileServer::Handler handler;
        Failure::Kind expected;
    };
    const std::vector<Case> cases{
        {"never answers",
         [](Peer& peer, const Command&) {
             peer.wait_until_gone();
             return false;
         },
         Failure::Kind::timeout},
        {"drips",
         [](Peer& peer, const Command&) {
             peer.drip("$1000000\r\n" + std::string(1000000, 'x'));
             return false;
         },
         Failure::Kind::timeout},
        {"drips digits",
         [](Peer& peer, const Command&) {
             peer.drip(":" + std::string(1000000, '1'));
             return false;
         },
         Failure::Kind::timeout},
        {"garbage",
         [](Peer& peer, const Command&) {
             peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
             return true;
         },
         Failure::Kind::protocol},
        {"a long array",
         [](Peer& peer, const Command&) {
             peer.send("*2147483647\r\n");
             return true;
         },
         Failure::Kind::protocol},
        {"a line without end",
         [](Peer& peer, const Command&) {
             peer.send("+" + std::string(std::size_t{3} << 20U, 'x'));
             return true;
         },
         Failure::Kind::too_long},
        {"a bulk beyond the limit",
         [](Peer& peer, const Command&) {
             peer.send("$999999999\r\n" + std::string(std::size_t{3} << 20U, 'x'));
             return true;
         },
         Failure::Kind::too_long},
        {"two answers for one command",
         [](Peer& peer, const Command&) {
             peer.send("+OK\r\n+OK\r\n");
             return true;
         },
         Failure::Kind::protocol},
        {"closes at once", [](Peer&, const Command&) { return false; }, Failure::Kind::io},
        {"closes inside an answer",
         [](Peer& peer, const Command&) {
             peer.send("$100\r\nhalf");
             return false;
         },
         Failure::Kind::io},
    };
    for (const Case& each : cases) {
        HostileServer server(each.handler);
        const ConnectionSettings settings = settings_for(server.url());
        Connection connection(settings);
        INFO(each.name);
        REQUIRE_FALSE(open(connection));
        const bool waits = each.expected == Failure::Kind::timeout;
        const auto started = std::chrono::steady_clock::now();
        const Asked asked = ask(connection, one({"GET", "k"}), waits ? 50ms : 30s);
        CHECK(asked.failure.kind == each.expected);
        if (waits) CHECK(std::chrono::steady_clock::now() - started < 10s);  // generous: it returned at all
    }
}

TEST_CASE("a server that is hostile from the start fails the log-in within its time",
          "[redis][connection][hostile]") {
    using Peer = HostileServer::Peer;
    using Command = HostileServer::Command;
    const std::vector<HostileServer::Handler> handlers{[](Peer& peer, const Command&) {
                                                           peer.wait_until_gone();
                                                           return false;
                                                       },
                                                       [](Peer& peer, const Command&) {
                                                           peer.drip(std::string(100000, '+'));
                                                           return false;
                                                       },
                                                       [](Peer& peer, const Command&) {
                                                           peer.send("SSH-2.0-OpenSSH\r\n");
                                                           return true;
                                                       },
                                                       [](Peer&, const Command&) { return false; },
                                                       [](Peer& peer, const Command&) {
                                                           peer.send("*1000000000\r\n");
                                                           return true;
                                                       }};
    for (const HostileServer::Handler& handler : handlers) {
        HostileServer server(handler, false);
        const ConnectionSettings settings = settings_for(server.url(), 50ms);
        Connection connection(settings);
        const Failure failure = connection.open(Deadline::in(30s));
        CHECK(failure.blames_server());
        CHECK_FALSE(connection.ready());
    }
}

TEST_CASE("writing to a server that has gone raises no signal", "[redis][connection]") {
    RedisServer server;
    for (const std::string& url : {server.url(), server.unix_url()}) {
        const ConnectionSettings settings = settings_for(url);
        Connection connection(settings);
        REQUIRE_FALSE(open(connection));
        server.kill();
        CHECK_FALSE(connection.quiet());
        const std::string value(std::size_t{1} << 20U, 'x');
        for (int i = 0; i < 3; ++i)
            CHECK(ask(connection, one({"SET", "k", value})).failure);  // SIGPIPE would end the test
        server.start();
    }
}

TEST_CASE("how much was sent is known", "[redis][connection]") {
    RedisServer server;
    const ConnectionSettings settings = settings_for(server.url());
    Connection connection(settings);
    REQUIRE_FALSE(open(connection));
    server.pause();
    const Asked asked = ask(connection, one({"SET", "k", "v"}), 500ms);
    CHECK(asked.failure.kind == Failure::Kind::timeout);
    CHECK(asked.progress.sent > 0);
    CHECK(asked.progress.answered == 0);
}

}  // namespace connection_test
