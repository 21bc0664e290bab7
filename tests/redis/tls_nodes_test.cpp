// Clusters and sentinels over TLS.

#include <smartcache/redis/cluster.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "redis/support/cluster_world.hpp"
#include "redis/support/hostile_server.hpp"
#include "redis/support/sentinel_set.hpp"
#include "redis/support/tls_world.hpp"
#include "support/catch.hpp"

namespace tls_nodes_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using namespace smartcache::test;
using namespace smartcache::test::cluster;
using sc::TierStatus;
using Command = HostileServer::Command;
using Peer = HostileServer::Peer;

namespace {

bool has_clients(RedisServer& server) {
    return ask(server, {"CLIENT", "LIST"}).text.find("name=smartcache") != std::string::npos;
}

/// Where a server should be: takes connections, answers nothing, and notes what it is told without TLS.
class Eavesdropper {
  public:
    [[nodiscard]] std::uint16_t port() const noexcept { return server_.port(); }
    [[nodiscard]] int connections() const noexcept { return server_.connections(); }
    [[nodiscard]] std::size_t heard() {
        const std::lock_guard lock(mutex_);
        return heard_;
    }

  private:
    std::mutex mutex_;
    std::size_t heard_ = 0;
    HostileServer server_{[this](Peer&, const Command&) {
                              const std::lock_guard lock(mutex_);
                              ++heard_;
                              return true;
                          },
                          false};
};

/// Expects silence, and wants to go on soon after it.
sc::RedisOptions impatient(sc::RedisOptions options) {
    options.connect_timeout = 500ms;
    options.timeout = 500ms;
    options.breaker = {.failures = 1'000'000};
    return options;
}

}  // namespace

TEST_CASE("a cluster over TLS does all that it does without, and its redirections are followed over TLS",
          "[redis][cluster][tls]") {
    TlsWorld world;
    const Certificate ours = world.authority.issue("client", "");
    RedisCluster cluster({.password = "hunter2", .tls = true, .arguments = [&](std::size_t) {
                              return world.arguments(world.good, true);
                          }});
    sc::RedisOptions options = world.client(cluster.url());
    options.tls.cert_file = ours.cert_file;
    options.tls.key_file = ours.key_file;
    sc::RedisTier tier(options);
    sc::RedisTier other(options);
    const std::vector<std::string> keys = many_keys();
    CHECK(put_all(tier, keys, "v") == keys.size());
    CHECK(count_of(other, keys, "v") == keys.size());
    for (std::size_t i = 0; i < cluster.size(); ++i) CHECK(has_clients(cluster.server(i)));

    const std::string key = key_at(cluster, 0);
    const std::size_t slot = cluster_slot(key);
    cluster.begin_move(slot, 0, 1);
    cluster.move_keys(slot, 0, 1);
    CHECK(read(other, key).value == "v");  // ASK
    cluster.end_move(slot, 0, 1);
    CHECK(read(other, key).value == "v");  // MOVED
    CHECK(put(tier, key, "w") == TierStatus::ok);
    CHECK(cluster.holds(1, cluster_name(key)));
    CHECK(tier.clear("app") == TierStatus::ok);
    CHECK(read(tier, key).status == TierStatus::miss);
    CHECK(tier.probe().ok);
    CHECK(tier.stats().errors + other.stats().errors == 0);

    // The name that is expected is expected of every node.
    options.tls.server_name = "localhost";
    sc::RedisTier named(options);
    CHECK(put_all(named, keys, "n") == keys.size());
    options.tls.server_name = "elsewhere.example";
    mentions(refusal(options), "it is not for \"elsewhere.example\"");
    // And so is our certificate by every node.
    mentions(refusal(world.client(cluster.url())), "the server refuses");
}

TEST_CASE("nodes whose certificates are refused fail, and the others go on",
          "[redis][cluster][tls][faults]") {
    TlsWorld world;
    const std::string both = (world.directory / "both.pem").string();  // among themselves they are trusted
    std::ofstream(both) << std::ifstream(world.authority.file()).rdbuf()
                        << std::ifstream(world.stranger.file()).rdbuf();
    const std::array<Certificate, 3> certificates{world.good,
                                                  world.authority.issue("misplaced", "IP:127.0.0.9"),
                                                  world.stranger.issue("foreign", "IP:127.0.0.1")};
    RedisCluster cluster({.tls = true, .arguments = [&](std::size_t i) {
                              std::vector<std::string> arguments = world.arguments(certificates[i]);
                              arguments.insert(arguments.end(), {"--tls-ca-cert-file", both});
                              return arguments;
                          }});
    sc::RedisOptions options = world.client(cluster.url());
    for (const std::size_t refused : {1U, 2U}) {
        options.breaker = {.failures = 1'000'000};
        sc::RedisTier tier(options);
        const std::string key = key_at(cluster, refused);
        REQUIRE(put(tier, key_at(cluster, 0), "v") == TierStatus::ok);
        CHECK(eventually([&] {  // a try that comes too early after another is none
            CHECK(put(tier, key, "v") == TierStatus::unavailable);
            return tier.stats().errors > 0;
        }));
        CHECK(read(tier, key_at(cluster, 0)).value == "v");
        const std::string why = tier.probe().detail;
        mentions(why, "it is not for \"127.0.0.1\"");
        mentions(why, "neither redis.tls.ca_file nor");

        options.breaker = {.failures = 2, .open_for = 1h};
        sc::RedisTier broken(options);
        CHECK(eventually([&] {
            CHECK(put(broken, key, "v") == TierStatus::unavailable);
            return broken.stats().breaker == sc::BreakerState::open;
        }));
        CHECK(read(broken, key_at(cluster, 0)).value == "v");
        CHECK_FALSE(has_clients(cluster.server(refused)));
    }

    // Whom they send us to for the map is looked at as closely.
    options.url = "rediss+cluster://127.0.0.1:" + std::to_string(cluster.server(2).port());
    mentions(refusal(options), "neither redis.tls.ca_file nor");
    options.tls.verify = false;
    CHECK(refusal(options) == "connected");
}

TEST_CASE("what a TLS cluster or sentinel names is never spoken to in plain text",
          "[redis][cluster][sentinel][tls][faults]") {
    TlsWorld world;
    Eavesdropper plain;
    const std::string host = "127.0.0.1:" + std::to_string(plain.port());
    SECTION("a node of a cluster") {
        RedisCluster cluster({.password = "hunter2", .tls = true, .arguments = [&](std::size_t i) {
                                  std::vector<std::string> arguments = world.arguments(world.good);
                                  if (i == 2)
                                      arguments.insert(arguments.end(), {"--cluster-announce-tls-port",
                                                                         std::to_string(plain.port())});
                                  return arguments;
                              }});
        sc::RedisTier tier(impatient(world.client(cluster.url())), {}, sc::defer_connect);
        REQUIRE(eventually([&] { return put(tier, key_at(cluster, 0), "v") == TierStatus::ok; }));
        CHECK(eventually([&] {
            CHECK(put(tier, key_at(cluster, 2), "v") == TierStatus::unavailable);
            return tier.stats().errors + tier.stats().timeouts > 0 && plain.connections() > 0;
        }));
        CHECK_FALSE(tier.probe().ok);
        CHECK(plain.heard() == 0);
    }
    SECTION("the only node that the URL names") {
        sc::RedisTier tier(impatient(world.client("rediss+cluster://:hunter2@" + host)), {},
                           sc::defer_connect);
        CHECK(put(tier, key_of(1), "v") == TierStatus::unavailable);
        CHECK(plain.connections() > 0);
        CHECK(plain.heard() == 0);
    }
    SECTION("a sentinel") {
        sc::RedisTier tier(
            impatient(world.client("rediss+sentinel://:hunter2@" + host + "/m?sentinel_password=hunter2")),
            {}, sc::defer_connect);
        CHECK(put(tier, key_of(1), "v") == TierStatus::unavailable);
        CHECK(plain.connections() > 0);
        CHECK(plain.heard() == 0);
    }
    SECTION("the sentinels' master") {
        RedisServer::Options options = world.server(world.good);
        options.arguments.insert(options.arguments.end(), {"--sentinel", "--tls-replication", "yes"});
        options.config = "sentinel monitor m 127.0.0.1 " + std::to_string(plain.port()) + " 1\n";
        RedisServer sentinel(options);
        REQUIRE(eventually([&] { return plain.connections() > 0; }));  // the sentinel's
        const int before = plain.connections();
        sc::RedisTier tier(impatient(world.client("rediss+sentinel://:hunter2@127.0.0.1:" +
                                                  std::to_string(sentinel.port()) + "/m")),
                           {}, sc::defer_connect);
        CHECK(eventually([&] {
            CHECK(put(tier, key_of(1), "v") == TierStatus::unavailable);
            return plain.connections() > before;
        }));
        CHECK(plain.heard() == 0);
    }
}

TEST_CASE("sentinels and their master are spoken to over TLS, before and after a failover",
          "[redis][sentinel][tls][faults]") {
    TlsWorld world;
    RedisServer::Options common = world.server(world.good);
    common.arguments.insert(common.arguments.end(), {"--tls-replication", "yes"});
    SentinelSet set(common);
    REQUIRE(eventually([&] { return set.complete(); }));
    sc::RedisOptions options = world.client(set.url());
    options.timeout = 250ms;
    options.connect_timeout = 5s;
    options.breaker = {.failures = 5, .open_for = 100ms};
    sc::RedisTier tier(options, {.name_space = "app", .on_invalidation = [](const sc::Invalidation&) {}},
                       sc::defer_connect);
    const std::string key = key_of(1);
    const auto answers = [&](const std::string& value) {
        return eventually([&] { return put(tier, key, value) == TierStatus::ok; }) &&
               eventually([&] { return read(tier, key).value == value; });
    };
    tier.begin_to_listen(false, {});
    CHECK(eventually([&] { return tier.stats().coherence.hears; }));
    CHECK(answers("before"));
    CHECK(has_clients(set.first));

    sc::RedisOptions stranger = options;
    stranger.tls.ca_file = world.stranger.file();
    mentions(refusal(stranger), "neither redis.tls.ca_file nor");

    set.first.kill();
    CHECK(answers("after"));
    CHECK(role(set.second) == "master");
    CHECK(has_clients(set.second));
    CHECK(eventually([&] { return tier.stats().coherence.hears && tier.probe().ok; }));
}

}  // namespace tls_nodes_test
