#include <smartcache/redis/cluster.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "redis/support/cluster_world.hpp"
#include "redis/support/hostile_server.hpp"
#include "support/catch.hpp"

namespace cluster_faults_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using namespace smartcache::test;
using namespace smartcache::test::cluster;
using sc::TierStatus;
using Command = HostileServer::Command;
using Peer = HostileServer::Peer;

namespace {

std::string bulk(const std::string& text) {
    return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}
std::string range(int first, int last, const std::string& host, std::uint16_t port) {
    return "*3\r\n:" + std::to_string(first) + "\r\n:" + std::to_string(last) + "\r\n*2\r\n" + bulk(host) +
           ":" + std::to_string(port) + "\r\n";
}
bool takes_cluster_for_failed(RedisCluster& cluster, std::size_t i) {
    return cluster.command(i, {"CLUSTER", "INFO"}).text.find("cluster_state:fail") != std::string::npos;
}
/// How many commands a server has answered with that error.
long long error_count(RedisServer& server, const std::string& code) {
    const std::string text = server.command({"INFO", "errorstats"}).text;
    const std::string field = "errorstat_" + code + ":count=";
    const std::size_t at = text.find(field);
    return at == std::string::npos ? 0 : std::stoll(text.substr(at + field.size()));
}
std::string url_of(const HostileServer& server) {
    return "redis+cluster://127.0.0.1:" + std::to_string(server.port());
}

}  // namespace

TEST_CASE("a dead master leaves the others alone", "[redis][cluster][faults][breaker]") {
    RedisCluster& cluster = three();
    const std::size_t silent = GENERATE(0U, 1U, 2U);
    const std::size_t other_one = (silent + 1) % 3;
    sc::RedisOptions options = patient(cluster.url());
    options.timeout = 1s;  // which each call about the silent one costs
    options.connect_timeout = 1s;
    options.breaker = {.failures = 2, .open_for = 50ms};
    sc::RedisTier tier(options);
    const std::string dead = key_at(cluster, silent);
    const std::string alive = key_at(cluster, other_one);
    REQUIRE(put(tier, dead, "v") == TierStatus::ok);
    REQUIRE(put(tier, alive, "v") == TierStatus::ok);
    cluster.server(silent).pause();
    for (int i = 0; i < 20; ++i) {
        const auto started = std::chrono::steady_clock::now();
        std::vector<std::string> found;
        const std::array<std::string_view, 2> keys{dead, alive};
        tier.read_many(keys,
                       [&](std::size_t, const sc::RecordView& record) { found.emplace_back(record.key); });
        CHECK(found == std::vector<std::string>{alive});
        CHECK(std::chrono::steady_clock::now() - started < ample);  // the margin is for the machine
    }
    CHECK(tier.stats().breaker != sc::BreakerState::closed);
    const sc::TierHealth health = tier.probe();
    CHECK_FALSE(health.ok);
    CHECK(health.detail.find(std::to_string(cluster.server(silent).port())) != std::string::npos);
    CHECK(health.detail.find(std::to_string(cluster.server(other_one).port())) == std::string::npos);
    // What one half does not acknowledge is not cleared for this process, either way.
    CHECK(tier.clear("app") == TierStatus::unavailable);
    CHECK(read(tier, alive).status == TierStatus::miss);
    CHECK(put(tier, alive, "w") == TierStatus::ok);
    CHECK(read(tier, alive).value == "w");
    CHECK(put(tier, dead, "w") == TierStatus::unavailable);
    cluster.server(silent).resume();
    CHECK(eventually([&] { return tier.flush(ample) && tier.probe().ok; }));
    sc::RedisTier other(patient(cluster.url()));
    CHECK(read(other, dead).status == TierStatus::miss);
    CHECK(read(tier, dead).status == TierStatus::miss);
    CHECK(eventually([&] { return put(tier, dead, "x") == TierStatus::ok; }));
    CHECK(read(other, dead).value == "x");
}

TEST_CASE("a cluster that takes itself for failed is not asked for a while, and asked again when it works",
          "[redis][cluster][faults][breaker]") {
    RedisCluster& cluster = three();
    const std::string key = key_at(cluster, 0);
    const std::string other = key_at(cluster, 0, 1);
    sc::RedisOptions options = hasty(cluster.url());
    options.breaker = {.failures = 3, .open_for = 1h};
    sc::RedisTier tier(options);
    options.breaker.open_for = 50ms;
    sc::RedisTier recovering(options);
    for (sc::RedisTier* const each : {&tier, &recovering}) REQUIRE(put(*each, key, "v") == TierStatus::ok);
    cluster.server(1).kill();
    cluster.server(2).kill();
    RedisCluster::until("the last master notices that it is alone",
                        [&] { return takes_cluster_for_failed(cluster, 0); });
    const auto refused = [&] { return error_count(cluster.server(0), "CLUSTERDOWN"); };
    for (sc::RedisTier* const each : {&tier, &recovering}) {
        // PING is answered all the while, and must neither count as a success nor be all that a health check asks.
        const sc::TierHealth health = each->probe();
        CHECK_FALSE(health.ok);
        CHECK(health.detail.find("The cluster is down") != std::string::npos);
        CHECK(eventually([&] {
            CHECK(read(*each, key).status == TierStatus::unavailable);
            return each->stats().breaker != sc::BreakerState::closed;
        }));
        CHECK_FALSE(each->probe().ok);
        CHECK(each->stats().breaker != sc::BreakerState::closed);
    }
    const long long before = refused();
    for (int i = 0; i < 100; ++i) {
        CHECK(read(tier, key).status == TierStatus::unavailable);
        CHECK(put(tier, other, "v") == TierStatus::unavailable);
    }
    CHECK(refused() == before);
    CHECK(tier.stats().breaker == sc::BreakerState::open);
    // What could not be written is to be erased, which the cluster refuses as well: no reason to take it for well.
    CHECK(put(recovering, other, "v") == TierStatus::unavailable);
    for (int i = 0; i < 20; ++i) CHECK_FALSE(recovering.flush(ample));
    CHECK(recovering.stats().breaker != sc::BreakerState::closed);

    cluster.server(1).start();
    cluster.server(2).start();
    CHECK(eventually([&] {  // what could not be written before is erased first
        return recovering.flush(ample) && put(recovering, key, "w") == TierStatus::ok &&
               read(recovering, key).value == "w";
    }));
    CHECK(recovering.stats().breaker == sc::BreakerState::closed);
    CHECK(eventually([&] { return tier.probe().ok; }));
    CHECK(tier.stats().breaker == sc::BreakerState::closed);
}

// It used to be told for each master, and not at all when the one that failed served nothing any more.
TEST_CASE("several masters that fail are told of once, and the last one's return without a call for it",
          "[redis][cluster][faults][breaker]") {
    RedisCluster& cluster = three();
    sc::RedisOptions options = hasty(cluster.url());
    options.breaker = {.failures = 1, .open_for = 10ms};
    ToldStates states;
    sc::RedisTier tier(options, {.on_state = states.listener()});
    for (std::size_t i = 0; i < 3; ++i) REQUIRE(put(tier, key_at(cluster, i), "v") == TierStatus::ok);
    CHECK(states.all().empty());
    cluster.server(1).kill();
    cluster.server(2).kill();
    RedisCluster::until("the last master notices that it is alone",
                        [&] { return takes_cluster_for_failed(cluster, 0); });
    for (int round = 0; round < 3; ++round)
        for (std::size_t i = 0; i < 3; ++i)
            CHECK(read(tier, key_at(cluster, i)).status == TierStatus::unavailable);
    CHECK(states.all() == down);
    cluster.server(1).start();
    CHECK(eventually([&] { return read(tier, key_at(cluster, 1)).status != TierStatus::unavailable; }));
    CHECK(states.all() == down);
    cluster.server(2).start();
    CHECK(eventually([&] {
        (void)tier.run_maintenance();
        return states.all() != down;
    }));
    CHECK(states.all() == down_and_up);
    CHECK(tier.stats().breaker == sc::BreakerState::closed);
}

TEST_CASE("a slot that nobody serves is no reason not to ask for the others",
          "[redis][cluster][faults][breaker]") {
    RedisCluster& cluster = three();
    sc::RedisOptions options = patient(cluster.url());
    options.breaker = {.failures = 1, .open_for = 1h};
    sc::RedisTier tier(options);
    const std::string lost = key_at(cluster, 0);
    const std::string slot = std::to_string(cluster_slot(lost));
    std::string kept;  // at the same master
    for (std::size_t i = 1; kept.empty() || cluster_slot(kept) == cluster_slot(lost); ++i)
        kept = key_at(cluster, 0, i);
    REQUIRE(put(tier, kept, "v") == TierStatus::ok);
    const long long before = error_count(cluster.server(0), "CLUSTERDOWN");
    cluster.must(0, {"CLUSTER", "DELSLOTS", slot});
    for (int i = 0; i < 10; ++i) {
        CHECK(read(tier, lost).status == TierStatus::unavailable);
        CHECK(read(tier, kept).value == "v");
    }
    CHECK(error_count(cluster.server(0), "CLUSTERDOWN") > before);
    CHECK(tier.stats().breaker == sc::BreakerState::closed);
    cluster.must(0, {"CLUSTER", "ADDSLOTS", slot});
    CHECK(eventually([&] { return put(tier, lost, "v") == TierStatus::ok; }));
}

TEST_CASE("a node that takes its cluster for failed has failed when it was asked as often as it may be",
          "[redis][cluster][faults][breaker]") {
    std::atomic<int> left{0};  // refusals
    std::uint16_t port = 0;
    const HostileServer server([&](Peer& peer, const Command& command) {
        if (command[0] == "CLUSTER")
            peer.send("*1\r\n" + range(0, 16383, "", port));
        else if (command[0] == "PING")
            peer.send("+PONG\r\n");
        else if (left-- > 0)
            peer.send("-CLUSTERDOWN The cluster is down\r\n");
        else if (command[0] == "SET")
            peer.send("+OK\r\n");
        else
            peer.send("*4\r\n$1\r\n5\r\n$1\r\nt\r\n$1\r\n0\r\n$1\r\n0\r\n");
        return true;
    });
    port = server.port();
    sc::RedisOptions options = patient(url_of(server));
    options.breaker = {.failures = 1, .open_for = 1h};
    options.coherence = sc::Coherence::off;  // each command by itself
    sc::RedisTier tier(options);
    left = 2;  // the namespace's epoch is asked for first, and alone
    CHECK(put(tier, key_of(1), "v") == TierStatus::ok);
    CHECK(tier.stats().breaker == sc::BreakerState::closed);
    left = 3;
    CHECK(put(tier, sc::physical_key("other", "k"), "v") == TierStatus::unavailable);
    CHECK(tier.stats().breaker == sc::BreakerState::open);
    CHECK(left == 0);
    CHECK(tier.probe().ok);
    CHECK(tier.stats().breaker == sc::BreakerState::closed);
}

// What cannot be erased is not tried again with every command: then a trip may have nothing to say.
TEST_CASE("a trip on which nothing was said does not close the breaker",
          "[redis][cluster][faults][breaker]") {
    std::atomic<int> refused{0};
    std::uint16_t port = 0;
    const HostileServer server([&](Peer& peer, const Command& command) {
        if (command[0] == "CLUSTER") {
            peer.send("*1\r\n" + range(0, 16383, "", port));
        } else {
            ++refused;
            peer.send("-CLUSTERDOWN The cluster is down\r\n");
        }
        return true;
    });
    port = server.port();
    sc::RedisOptions options = patient(url_of(server));
    options.breaker = {.failures = 1, .open_for = 1ms};
    ToldStates states;
    sc::RedisTier tier(options, {.on_state = states.listener()});
    CHECK(put(tier, key_of(1), "v") == TierStatus::unavailable);
    CHECK(eventually([&] {
        CHECK_FALSE(read(tier, key_of(1)).value);
        return refused > 30;
    }));
    CHECK(states.all() == down);
}

TEST_CASE("who waits for a silent master keeps nobody from the others", "[redis][cluster][faults]") {
    RedisCluster& cluster = three();
    const std::size_t silent = GENERATE(0U, 1U, 2U);
    sc::RedisOptions options = hasty(cluster.url());
    options.max_connections = 1;
    options.timeout = 3s;
    sc::RedisTier tier(options);
    const std::string dead = key_at(cluster, silent);
    const std::string alive = key_at(cluster, (silent + 1) % 3);
    REQUIRE(eventually([&] { return put(tier, dead, "v") == TierStatus::ok; }));
    REQUIRE(eventually([&] { return put(tier, alive, "v") == TierStatus::ok; }));
    cluster.server(silent).pause();
    std::atomic<bool> done{false};
    std::thread batches([&] {
        while (!done) (void)count_of(tier, {dead, alive}, "v");
    });
    int failed = 0;
    for (int i = 0; i < 50; ++i)
        if (read(tier, alive).value != "v") ++failed;
    done = true;
    batches.join();
    cluster.server(silent).resume();
    CHECK(failed == 0);
}

TEST_CASE("what a silent master has not acknowledged does not hold up the others",
          "[redis][cluster][faults][r11]") {
    RedisCluster& cluster = three();
    sc::RedisOptions options = hasty(cluster.url());
    options.timeout = 2s;
    sc::RedisTier tier(options);
    const std::string dead = key_at(cluster, 0);
    const std::string alive = key_at(cluster, 1);
    REQUIRE(eventually([&] { return put(tier, dead, "v") == TierStatus::ok; }));
    REQUIRE(eventually([&] { return put(tier, alive, "v") == TierStatus::ok; }));
    REQUIRE(eventually([&] { return count_of(tier, {dead, alive}, "v") == 2; }));
    cluster.server(0).pause();
    CHECK(tier.remove(dead) == TierStatus::unavailable);
    for (int i = 0; i < 3; ++i) CHECK(count_of(tier, {dead, alive}, "v") == 1);
    cluster.server(0).resume();
    CHECK(eventually([&] { return tier.flush(ample); }));
    CHECK(read(tier, dead).status == TierStatus::miss);
}

TEST_CASE("many batches with few connections do not wait for each other in a circle", "[redis][cluster]") {
    RedisCluster& cluster = three();
    sc::RedisOptions options = patient(cluster.url());
    options.max_connections = 1;
    sc::RedisTier tier(options);
    constexpr std::size_t threads = 4;
    std::array<std::size_t, threads> failed{};
    std::vector<std::thread> running;
    for (std::size_t t = 0; t < threads; ++t)
        running.emplace_back([&, t] {
            std::vector<std::string> keys;
            for (std::size_t i = 0; i < 30; ++i) keys.push_back(key_of(t % 2 == 0 ? i : 29 - i));
            for (int i = 0; i < 50; ++i) {
                failed[t] += keys.size() - put_all(tier, keys, "v");
                failed[t] += keys.size() - count_of(tier, keys, "v");
            }
        });
    for (std::thread& thread : running) thread.join();
    for (std::size_t t = 0; t < threads; ++t) CHECK(failed[t] == 0);
}

TEST_CASE("a write without an answer is not applied after the erase that stands for it",
          "[redis][cluster][r10]") {
    RedisCluster& cluster = three();
    sc::RedisOptions options = hasty(cluster.url());
    options.timeout = 2s;
    sc::RedisTier tier(options);
    const std::string k = key_at(cluster, 1);
    REQUIRE(eventually([&] { return put(tier, k, "old") == TierStatus::ok; }));
    REQUIRE(eventually([&] { return read(tier, k).value == "old"; }));
    cluster.server(1).pause();
    CHECK(put(tier, k, "zombie") == TierStatus::unavailable);
    CHECK(read(tier, k).status == TierStatus::miss);
    CHECK(put(tier, key_at(cluster, 2), "elsewhere") == TierStatus::ok);
    cluster.server(1).resume();
    CHECK(eventually([&] { return tier.flush(ample); }));
    sc::RedisTier other(patient(cluster.url()));
    CHECK(read(other, k).status == TierStatus::miss);
}

TEST_CASE("a cluster with a password", "[redis][cluster]") {
    RedisCluster cluster({.masters = 2, .password = "hunter2"});
    sc::RedisTier tier(patient(cluster.url()));
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < 50; ++i) keys.push_back(key_of(i));
    CHECK(put_all(tier, keys, "v") == keys.size());
    CHECK(count_of(tier, keys, "v") == keys.size());
    std::string wrong = cluster.url();
    wrong.replace(wrong.find("hunter2"), 7, "hunter3");
    try {
        sc::RedisTier refused(patient(wrong));
        FAIL("logged in");
    } catch (const sc::TierUnavailable& problem) {
        CHECK(std::string(problem.what()).find("hunter") == std::string::npos);
        CHECK(std::string(problem.what()).find("log-in refused") != std::string::npos);
    }
}

TEST_CASE("a server that is no cluster says so", "[redis][cluster]") {
    RedisServer server;
    try {
        sc::RedisTier tier(patient("redis+cluster://127.0.0.1:" + std::to_string(server.port())));
        FAIL("a cluster of one");
    } catch (const sc::TierUnavailable& problem) {
        CHECK(std::string(problem.what()).find("cluster support disabled") != std::string::npos);
    }
}

TEST_CASE("lies about slots are survived within the deadline", "[redis][cluster][faults]") {
    const HostileServer silent(
        [](Peer& peer, const Command&) {
            peer.wait_until_gone();
            return false;
        },
        false);
    std::string nested;
    for (int i = 0; i < 2000; ++i) nested += "*64\r\n";
    std::string long_array = "*16384\r\n";
    for (int i = 0; i < 16384; ++i) long_array += range(i, i, "127.0.0.1", silent.port());
    for (const std::string& lie :
         {std::string("banana\r\n"), std::string("*-1\r\n"), std::string("*0\r\n"), std::string("$-1\r\n"),
          std::string("*2147483647\r\n"), std::string("*16385\r\n"), nested, long_array,
          std::string("+OK\r\n+OK\r\n"), std::string("-MOVED 1 127.0.0.1:1\r\n"),
          "*1\r\n" + range(0, 16384, "127.0.0.1", 1), "*1\r\n" + range(0, 16383, "127.0.0.1", 1),
          "*1\r\n" + range(0, 16383, "127.0.0.1", silent.port()),
          "*1\r\n" + range(0, 16383, "no such name.", 1), std::string(), "drip" + long_array}) {
        INFO(lie.substr(0, 60));
        const HostileServer liar([&](Peer& peer, const Command&) {
            if (lie.substr(0, 4) == "drip")
                peer.drip(std::string_view(lie).substr(4));
            else
                peer.send(lie);
            if (lie.empty()) peer.wait_until_gone();
            return !lie.empty();
        });
        sc::RedisOptions options = hasty(url_of(liar));
        options.connect_timeout = 60ms;
        options.timeout = 30ms;
        sc::RedisTier tier(options, {}, sc::defer_connect);
        for (int i = 0; i < 10; ++i) {
            const auto started = std::chrono::steady_clock::now();
            CHECK(put(tier, key_of(1), "v") == TierStatus::unavailable);
            CHECK_FALSE(read(tier, key_of(2)).value);
            CHECK(std::chrono::steady_clock::now() - started < ample);  // the margin is for the machine
        }
        CHECK_FALSE(tier.probe().ok);
        CHECK(tier.clear("app") == TierStatus::unavailable);
    }
}

// Each call used to try all that the URL names, for its whole deadline.
TEST_CASE(
    "before the first map a cluster that does not answer is not asked for a while, and asked again in the "
    "background",
    "[redis][cluster][faults][breaker]") {
    enum class Way { refuses, hangs_up, silent };
    const Way way = GENERATE(Way::refuses, Way::hangs_up, Way::silent);
    std::atomic<bool> works{false};
    std::atomic<int> asked{0};
    std::uint16_t port = 0;
    const HostileServer server(
        [&](Peer& peer, const Command& command) {
            if (!works) {
                ++asked;
                if (way == Way::refuses) peer.send("-ERR This instance has cluster support disabled\r\n");
                if (way == Way::silent) peer.wait_until_gone();
                return way == Way::refuses;
            }
            if (const std::string answer = HostileServer::greeting(command); !answer.empty())
                peer.send(answer);
            else if (command[0] == "CLUSTER")
                peer.send("*1\r\n" + range(0, 16383, "", port));
            else if (command[0] == "PING")
                peer.send("+PONG\r\n");
            else if (command[0] == "HMGET")
                peer.send("*4\r\n$1\r\n5\r\n$1\r\nt\r\n$1\r\n0\r\n$1\r\n0\r\n");
            else
                peer.send("$0\r\n\r\n");
            return true;
        },
        way == Way::refuses);
    port = server.port();
    sc::RedisOptions options = patient(url_of(server));
    options.breaker = {.failures = 2, .open_for = 24h};
    options.coherence = sc::Coherence::off;
    if (way == Way::silent) options.timeout = options.connect_timeout = 20ms;
    ToldStates states;
    sc::RedisTier tier(options, {.on_state = states.listener()}, sc::defer_connect);
    CHECK(eventually([&] {
        CHECK(read(tier, key_of(1)).status == TierStatus::unavailable);
        return tier.stats().breaker == sc::BreakerState::open;
    }));
    CHECK(states.all() == down);
    const int before = asked;
    const std::uint64_t timeouts = tier.stats().timeouts;
    const std::uint64_t errors = tier.stats().errors;
    for (std::size_t i = 0; i < 100; ++i) {
        CHECK(read(tier, key_of(i)).status == TierStatus::unavailable);
        CHECK(put(tier, key_of(i), "v") == TierStatus::unavailable);
    }
    CHECK(asked == before);
    CHECK(tier.stats().timeouts == timeouts);
    CHECK(tier.stats().errors == errors);  // who was not asked has not failed
    CHECK(eventually([&] {
        (void)tier.run_maintenance();
        return asked > before;
    }));
    CHECK(tier.stats().breaker != sc::BreakerState::closed);
    works = true;
    CHECK(eventually([&] {
        (void)tier.run_maintenance();
        return states.all() != down;
    }));
    CHECK(states.all() == down_and_up);
    CHECK(tier.stats().breaker == sc::BreakerState::closed);
    CHECK(read(tier, sc::physical_key("other", "k")).status == TierStatus::miss);
}

TEST_CASE("redirections without end are left within the deadline", "[redis][cluster][faults]") {
    std::atomic<int> answered{0};
    std::uint16_t port = 0;
    for (const std::string& redirection :
         {std::string("MOVED 1 127.0.0.1:"), std::string("ASK 1 127.0.0.1:"), std::string("MOVED 1 :"),
          std::string("TRYAGAIN "), std::string("CLUSTERDOWN "), std::string("MOVED 1 ?:")}) {
        INFO(redirection);
        answered = 0;
        std::unique_ptr<HostileServer> server;
        server = std::make_unique<HostileServer>([&](Peer& peer, const Command& command) {
            if (command[0] == "CLUSTER") {
                peer.send("*1\r\n" + range(0, 16383, "", port));
            } else if (command[0] == "ASKING") {
                peer.send("+OK\r\n");
            } else {
                ++answered;
                peer.send("-" + redirection + std::to_string(port) + "\r\n");
            }
            return true;
        });
        port = server->port();
        sc::RedisOptions options = hasty(url_of(*server));
        sc::RedisTier tier(options);
        CHECK(put(tier, key_of(1), "v") == TierStatus::unavailable);
        CHECK(answered <= 6);
        CHECK(tier.clear("app") == TierStatus::unavailable);
        CHECK(read(tier, key_of(1)).status ==
              TierStatus::miss);  // it cannot be erased, so it is not believed
    }
}

TEST_CASE("a command that was run is not sent again when the one behind it is redirected",
          "[redis][cluster][r10]") {
    std::atomic<int> stored{0};
    std::uint16_t port = 0;
    std::uint16_t other_port = 0;
    const auto epochs = "*4\r\n$1\r\n5\r\n$1\r\nt\r\n$1\r\n0\r\n$1\r\n0\r\n";
    const auto answer = [&](Peer& peer, const Command& command, bool here) {
        if (command[0] == "CLUSTER")
            peer.send("*1\r\n" + range(0, 16383, "", port));
        else if (command[0] == "SET" && ++stored != 0)
            peer.send("+OK\r\n");
        else if (here && stored != 0)
            peer.send("-MOVED 1 127.0.0.1:" + std::to_string(other_port) + "\r\n");
        else
            peer.send(epochs);
        return true;
    };
    const HostileServer first(
        [&](Peer& peer, const Command& command) { return answer(peer, command, true); });
    const HostileServer second(
        [&](Peer& peer, const Command& command) { return answer(peer, command, false); });
    port = first.port();
    other_port = second.port();
    sc::RedisTier tier(patient(url_of(first)));
    const OwnedRecord fill(key_of(1), "v");
    CHECK(tier.write(fill.record, sc::WriteCondition::if_absent()) == TierStatus::ok);
    CHECK(stored == 1);
}

TEST_CASE("redirections to ever new places are bounded", "[redis][cluster][faults]") {
    std::atomic<std::uint16_t> next{1};
    std::uint16_t port = 0;
    const HostileServer server([&](Peer& peer, const Command& command) {
        if (command[0] == "CLUSTER")
            peer.send("*1\r\n" + range(0, 16383, "", port));
        else
            peer.send("-MOVED 1 127.0.0.1:" + std::to_string(next++ % 1000 + 1) + "\r\n");
        return true;
    });
    port = server.port();
    sc::RedisOptions options = hasty(url_of(server));
    options.connect_timeout = options.timeout = 100ms;
    sc::RedisTier tier(options, {}, sc::defer_connect);
    for (std::size_t i = 0; i < 200; ++i) CHECK_FALSE(read(tier, key_of(i)).value);
}

TEST_CASE("a tier is told to work again when a replica has taken over from the master that failed",
          "[redis][cluster][faults][breaker]") {
    RedisCluster cluster({.masters = 3, .replicas = 1});
    sc::RedisOptions options = hasty(cluster.url());
    options.breaker = {.failures = 1, .open_for = 1h};
    ToldStates states;
    sc::RedisTier tier(options, {.on_state = states.listener()});
    const std::string key = key_at(cluster, 0);
    REQUIRE(put(tier, key, "v") == TierStatus::ok);
    cluster.server(0).kill();
    CHECK(eventually([&] {
        (void)read(tier, key);
        return !states.all().empty();
    }));
    CHECK(states.all() == down);
    CHECK(eventually([&] { return put(tier, key, "w") == TierStatus::ok; }));
    CHECK(states.all() == down_and_up);
    CHECK(tier.stats().breaker == sc::BreakerState::closed);
}

TEST_CASE("a failover costs some misses, and brings nothing back", "[redis][cluster][faults][r14]") {
    RedisCluster cluster({.masters = 3, .replicas = 3});
    sc::RedisOptions options{.url = cluster.url(), .connect_timeout = 500ms, .timeout = 250ms};
    options.breaker = {.failures = 5, .open_for = 100ms};
    sc::RedisTier tier(options, {}, sc::defer_connect);
    const std::string cleared = sc::physical_key("other", "cleared");
    const std::string erased = key_at(cluster, 0, 1);
    const std::string written = key_at(cluster, 0, 2);
    const std::string elsewhere = key_at(cluster, 1);
    for (const std::string& key : {cleared, erased, written, elsewhere})
        REQUIRE(eventually([&] { return put(tier, key, "old") == TierStatus::ok; }));
    REQUIRE(eventually([&] { return tier.clear("other") == TierStatus::ok; }));
    REQUIRE(eventually([&] { return tier.remove(erased) != TierStatus::unavailable; }));

    // Readers go on all the while. None may see what was cleared or erased, and the other masters answer.
    std::atomic<bool> done{false};
    std::atomic<int> resurrected{0};
    std::atomic<int> elsewhere_failed{0};
    std::thread reader([&] {
        while (!done) {
            if (read(tier, cleared).value || read(tier, erased).value) ++resurrected;
            if (read(tier, elsewhere).status == TierStatus::unavailable) ++elsewhere_failed;
            std::this_thread::sleep_for(1ms);
        }
    });
    const auto killed = std::chrono::steady_clock::now();
    cluster.server(0).kill();
    int failed = 0;
    const bool back = eventually([&] {
        if (put(tier, written, "new") == TierStatus::ok) return true;
        ++failed;
        return false;
    });
    const auto away =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - killed);
    // Some seconds, of which the cluster takes 2 to believe it; nothing elsewhere.
    INFO("no answer for " << away.count() << " ms, " << failed << " calls; elsewhere " << elsewhere_failed
                          << " failed");
    CHECK(back);
    const auto read_in_the_end = [&](const std::string& key) {
        ReadResult result;
        CHECK(eventually([&] {
            result = read(tier, key);
            return result.status != TierStatus::unavailable;
        }));
        return result;
    };
    CHECK(read_in_the_end(written).value == "new");
    CHECK(cluster.holds(3, cluster_name(written)));
    CHECK(eventually([&] { return tier.clear("app") == TierStatus::ok; }));
    CHECK(read_in_the_end(written).status == TierStatus::miss);

    cluster.server(0).start();  // and becomes a replica
    CHECK(eventually([&] {
        (void)put(tier, written, "newer");
        return cluster.command(0, {"ROLE"}).elements.at(0).text == "slave";
    }));
    CHECK(eventually([&] { return put(tier, written, "newest") == TierStatus::ok; }));
    CHECK(read_in_the_end(written).value == "newest");
    done = true;
    reader.join();
    CHECK(resurrected == 0);
    CHECK(read_in_the_end(cleared).status == TierStatus::miss);
    CHECK(read_in_the_end(erased).status == TierStatus::miss);
    CHECK(eventually([&] { return tier.probe().ok; }));
}

}  // namespace cluster_faults_test
