#include <smartcache/redis/sentinel.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/redis/redis_tier.hpp>

#include "redis/support/hostile_server.hpp"
#include "redis/support/sentinel_set.hpp"
#include "redis/support/tier_world.hpp"
#include "support/catch.hpp"

namespace sentinel_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using namespace smartcache::test;
using sc::TierStatus;
using sc::detail::Reply;
using Command = HostileServer::Command;
using Peer = HostileServer::Peer;

namespace {

const std::string k = sc::physical_key("app", "k");

bool has_clients(RedisServer& server) {
    return ask(server, {"CLIENT", "LIST"}).text.find("name=smartcache") != std::string::npos;
}
bool holds(RedisServer& server, const std::string& key) {
    return is_value(server.command({"GET", redis_name(key)}));
}
std::vector<std::string> follow(const RedisServer& master) {
    return {"REPLICAOF", "127.0.0.1", std::to_string(master.port())};
}

/// An answer that names a server.
std::string address(std::uint16_t port) {
    const std::string text = std::to_string(port);
    return "*2\r\n$9\r\n127.0.0.1\r\n$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}

/// A sentinel that answers what the test says, or nothing.
class FakeSentinel {
  public:
    explicit FakeSentinel(std::string answer) : answer_(std::move(answer)) {}
    explicit FakeSentinel(const RedisServer& master) : FakeSentinel(address(master.port())) {}

    void say(std::string answer) {
        const std::lock_guard lock(mutex_);
        answer_ = std::move(answer);
    }
    void name(const RedisServer& master) { say(address(master.port())); }
    [[nodiscard]] std::string host() const { return "127.0.0.1:" + std::to_string(server_.port()); }
    [[nodiscard]] int asked() const noexcept { return server_.connections(); }

  private:
    std::string answer() {
        const std::lock_guard lock(mutex_);
        return answer_;
    }

    std::mutex mutex_;
    std::string answer_;
    HostileServer server_{[this](Peer& peer, const Command&) {
        const std::string text = answer();
        peer.send(text);
        if (text.empty()) peer.wait_until_gone();
        return !text.empty();
    }};
};

std::string url_of(const std::vector<const FakeSentinel*>& sentinels, const std::string& query = {}) {
    std::string hosts;
    for (const FakeSentinel* const each : sentinels) hosts += (hosts.empty() ? "" : ",") + each->host();
    return "redis+sentinel://" + hosts + "/mymaster" + query;
}

/// Expects failures, and wants to go on soon after them.
sc::RedisOptions hasty(const std::string& url) {
    return {.url = url,
            .connect_timeout = ample,
            .timeout = ample,
            .breaker = {.failures = 1'000'000, .open_for = 10ms}};
}

/// What a server that is there answers in the end, where a busy one may miss a deadline.
ReadResult read_in_the_end(sc::Tier& tier, const std::string& key) {
    ReadResult result;
    REQUIRE(eventually([&] {
        result = read(tier, key);
        return result.status != TierStatus::unavailable;
    }));
    return result;
}

Reply text(std::string value) {
    Reply reply;
    reply.kind = Reply::Kind::text;
    reply.text = std::move(value);
    return reply;
}

}  // namespace

TEST_CASE("only a host and a port are a sentinel's answer", "[redis][sentinel]") {
    const auto taken = [](std::vector<Reply> elements) {
        Reply reply;
        reply.kind = Reply::Kind::array;
        reply.elements = std::move(elements);
        sc::RedisUrl::Host host;
        return sc::detail::take_master(reply, host) ? host.endpoint() : "none";
    };
    CHECK(taken({text("10.0.0.1"), text("6379")}) == "10.0.0.1:6379");
    CHECK(taken({text("::1"), text("1")}) == "[::1]:1");
    CHECK(taken({text("redis-1.example.org"), text("65535")}) == "redis-1.example.org:65535");
    for (const char* const port : {"", "0", "65536", "-1", "+1", "1 ", "x"})
        CHECK(taken({text("h"), text(port)}) == "none");
    for (const std::string& name :
         {std::string(), std::string("a b"), std::string("a\n"), std::string("a\0", 2),
          std::string("/run/redis.sock"), std::string(256, 'a')})
        CHECK(taken({text(name), text("1")}) == "none");
    CHECK(taken({text("h")}) == "none");
    CHECK(taken({text("h"), text("1"), text("1")}) == "none");
    CHECK(taken({text("h"), Reply{}}) == "none");
    sc::RedisUrl::Host host;
    CHECK_FALSE(sc::detail::take_master(Reply{}, host));
    CHECK_FALSE(sc::detail::take_master(text("h"), host));
}

TEST_CASE("the sentinels' master is used, with its log-in and theirs", "[redis][sentinel]") {
    RedisServer master({.password = "master's"});
    std::mutex mutex;
    std::vector<Command> said;
    const HostileServer sentinel([&](Peer& peer, const Command& command) {
        const std::lock_guard lock(mutex);
        said.push_back(command);
        peer.send(command[0] == "AUTH" ? "+OK\r\n" : address(master.port()));
        return true;
    });
    sc::RedisTier tier(patient("redis+sentinel://:master's@127.0.0.1:" + std::to_string(sentinel.port()) +
                               "/my%20master/2?sentinel_user=u&sentinel_password=p%2F"));
    REQUIRE(put(tier, k, "v") == TierStatus::ok);
    CHECK(read(tier, k).value == "v");
    CHECK(tier.probe().ok);
    CHECK(master.command({"EXISTS", redis_name(k)}, 2).integer == 1);
    const std::lock_guard lock(mutex);
    CHECK(said ==
          std::vector<Command>{{"AUTH", "u", "p/"}, {"SENTINEL", "get-master-addr-by-name", "my master"}});
    CHECK(sentinel.connections() == 1);
}

TEST_CASE("a sentinel that lies is survived, and asked last from then on", "[redis][sentinel][faults]") {
    RedisServer master;
    RedisServer replica({.arguments = {"--replicaof", "127.0.0.1", std::to_string(master.port())}});
    const HostileServer silent(
        [](Peer& peer, const Command&) {
            peer.wait_until_gone();
            return false;
        },
        false);
    const HostileServer rude([](Peer&, const Command&) { return false; });
    std::uint16_t nobody = 0;
    {
        const HostileServer gone([](Peer&, const Command&) { return false; });
        nobody = gone.port();
    }
    for (const std::string& lie :
         {address(replica.port()), address(nobody), address(silent.port()), address(rude.port()),
          std::string("banana\r\n"), std::string("*-1\r\n"), std::string("$-1\r\n"),
          std::string("*2\r\n:1\r\n:2\r\n"), std::string("*2\r\n$1\r\nh\r\n$1\r\n0\r\n"),
          std::string("*2147483647\r\n"), std::string("+OK\r\n+OK\r\n"), std::string("-IDONTKNOW\r\n"),
          std::string("-NOAUTH Authentication required.\r\n"), std::string()}) {
        INFO(lie);
        FakeSentinel liar(lie);
        FakeSentinel honest(master);
        sc::RedisOptions options = hasty(url_of({&liar, &honest}));
        options.connect_timeout = 4s;  // half of it for the liar, when it is silent
        options.timeout = 4s;
        sc::RedisTier tier(options);
        CHECK(put(tier, k, "v") == TierStatus::ok);
        CHECK(liar.asked() == 1);
        CHECK(honest.asked() == 1);
        (void)master.command({"CLIENT", "KILL", "TYPE", "normal"});
        CHECK(eventually([&] { return put(tier, k, "w") == TierStatus::ok; }));
        CHECK(liar.asked() == 1);
    }
    CHECK_FALSE(has_clients(replica));
}

TEST_CASE("sentinels of no use cost each call its deadline at most", "[redis][sentinel][faults]") {
    RedisServer master;
    for (const std::string& lie : {std::string("*-1\r\n"), std::string()}) {
        INFO(lie);
        FakeSentinel one(lie);
        FakeSentinel two(lie);
        sc::RedisOptions options = hasty(url_of({&one, &two}));
        options.connect_timeout = 60ms;
        options.timeout = 30ms;
        CHECK_THROWS_AS(sc::RedisTier(options), sc::TierUnavailable);
        sc::RedisTier tier(options, {}, sc::defer_connect);
        for (int i = 0; i < 20; ++i) {
            const auto started = std::chrono::steady_clock::now();
            CHECK(put(tier, k, "v") == TierStatus::unavailable);
            CHECK(std::chrono::steady_clock::now() - started < ample);  // the margin is for the machine
        }
        CHECK_FALSE(read(tier, k).value);
        CHECK(tier.stats().errors + tier.stats().timeouts >= 1);  // while backing off nobody asks
        const sc::TierHealth health = tier.probe();
        CHECK_FALSE(health.ok);
        CHECK(health.detail.find("mymaster") != std::string::npos);
        two.name(master);
        CHECK(eventually([&] { return put(tier, k, "v") == TierStatus::ok; }));
    }
}

TEST_CASE("dead sentinels trip the breaker, and their return closes it",
          "[redis][sentinel][faults][breaker]") {
    RedisServer master;
    FakeSentinel sentinel("*-1\r\n");
    sc::RedisOptions options = hasty(url_of({&sentinel}));
    options.breaker.failures = 2;
    ToldStates states;
    sc::RedisTier tier(options, {.on_state = states.listener()}, sc::defer_connect);
    CHECK(eventually([&] {
        (void)read(tier, k);
        return tier.stats().breaker == sc::BreakerState::open;
    }));
    CHECK(states.all() == down);
    sentinel.name(master);
    SECTION("asked by a caller") {
        CHECK(eventually([&] { return put(tier, k, "v") == TierStatus::ok; }));
    }
    SECTION("asked by nobody") {
        CHECK(eventually([&] {
            (void)tier.run_maintenance();
            return states.all() != down;
        }));
    }
    CHECK(states.all() == down_and_up);
    CHECK(tier.stats().breaker == sc::BreakerState::closed);
}

// What the old master had acknowledged and the replica had not heard of is what a failover loses.
TEST_CASE("nothing that was replaced, erased or cleared before a failover is served after it",
          "[redis][sentinel][r14][epochs]") {
    RedisServer first({.arguments = {"--repl-diskless-sync-delay", "0"}});
    RedisServer second({.arguments = {"--replicaof", "127.0.0.1", std::to_string(first.port()),
                                      "--repl-diskless-sync-delay", "0"}});
    FakeSentinel sentinel(first);
    sc::RedisOptions options = hasty(url_of({&sentinel}));
    options.timeout = 200ms;
    sc::RedisTier tier(options);
    const std::string erased = sc::physical_key("app", "erased");
    const std::string ended = sc::physical_key("app", "ended");
    const std::string unanswered = sc::physical_key("app", "unanswered");
    const std::string untouched = sc::physical_key("app", "untouched");
    const std::string cleared = sc::physical_key("other", "cleared");
    const std::vector<std::string> keys{k, erased, ended, unanswered, untouched, cleared};
    sc::RedisTier other_process(hasty(url_of({&sentinel})));
    for (const std::string& key : keys) REQUIRE(put(other_process, key, "old") == TierStatus::ok);
    REQUIRE(eventually([&] {
        return std::all_of(keys.begin(), keys.end(),
                           [&](const std::string& key) { return holds(second, key); });
    }));
    sc::RedisTier patient_tier(hasty(url_of({&sentinel})));
    REQUIRE(read(patient_tier, untouched).value == "old");
    REQUIRE(read(patient_tier, cleared).value == "old");

    REQUIRE(second.command({"REPLICAOF", "NO", "ONE"}).text == "OK");  // and lags from now on
    const std::uint64_t stamp = read(patient_tier, ended).stamp;
    REQUIRE(patient_tier.write(OwnedRecord(k, "new").record) == TierStatus::ok);
    REQUIRE(patient_tier.remove(erased) == TierStatus::ok);
    REQUIRE(patient_tier.end(ended, stamp) == TierStatus::ok);
    REQUIRE(patient_tier.clear("other") == TierStatus::ok);
    first.pause();
    REQUIRE(put(tier, unanswered, "new") == TierStatus::unavailable);
    sentinel.name(second);
    first.kill();

    std::atomic<int> old_values{0};
    const auto answers = [&](sc::RedisTier& each, const std::string& key) {
        const ReadResult result = read(each, key);
        if (result.value == "old") ++old_values;
        return result.status == TierStatus::miss;
    };
    // Several at once: whoever comes second to the new master must not believe it before the first has told it.
    std::vector<std::thread> threads;
    for (const std::string& key : {k, erased, ended, cleared})
        threads.emplace_back([&, key] {
            (void)eventually([&] {
                (void)answers(patient_tier, key);
                return put(patient_tier, sc::physical_key("third", key), "v") == TierStatus::ok;
            });
            if (!answers(patient_tier, key)) ++old_values;
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(eventually([&] { return answers(tier, unanswered) && tier.flush(ample); }));
    CHECK(old_values == 0);
    CHECK(read(patient_tier, untouched).value == "old");
    for (const std::string& key : {k, erased, ended, unanswered}) CHECK_FALSE(holds(second, key));
    CHECK(put(patient_tier, cleared, "new") == TierStatus::ok);
    CHECK(read(patient_tier, cleared).value == "new");
}

// It used to be told when its process had something else to ask there.
TEST_CASE("a new master is told of what was erased on the old one, though nobody asks for it",
          "[redis][sentinel][r14]") {
    RedisServer first({.arguments = {"--repl-diskless-sync-delay", "0"}});
    RedisServer second({.arguments = {"--replicaof", "127.0.0.1", std::to_string(first.port()),
                                      "--repl-diskless-sync-delay", "0"}});
    FakeSentinel sentinel(first);
    sc::RedisTier tier(hasty(url_of({&sentinel})));
    REQUIRE(put(tier, k, "old") == TierStatus::ok);
    REQUIRE(eventually([&] { return holds(second, k); }));
    REQUIRE(second.command({"REPLICAOF", "NO", "ONE"}).text == "OK");  // and lags from now on
    REQUIRE(tier.remove(k) == TierStatus::ok);
    const bool maintained = GENERATE(false, true);
    const auto idle = [&] { maintained ? (void)tier.run_maintenance() : tier.tend(); };
    idle();
    CHECK(sentinel.asked() == 1);  // the old one still answers
    sentinel.name(second);
    first.kill();
    CHECK(eventually([&] {
        idle();
        return !holds(second, k);
    }));
}

TEST_CASE("a master that was demoted is left, by all connections", "[redis][sentinel][faults]") {
    RedisServer first;
    RedisServer second;
    FakeSentinel sentinel(first);
    sc::RedisTier tier(hasty(url_of({&sentinel})));
    REQUIRE(put(tier, k, "old") == TierStatus::ok);
    REQUIRE(tier.clear("app") == TierStatus::ok);
    REQUIRE(put(tier, k, "old") == TierStatus::ok);

    sentinel.name(second);
    REQUIRE(first.command(follow(second)).text == "OK");
    CHECK(put(tier, k, "new") == TierStatus::unavailable);
    CHECK(eventually([&] { return tier.flush(ample); }));
    CHECK(eventually([&] { return !has_clients(first); }));
    CHECK(read(tier, k).status == TierStatus::miss);
    CHECK(put(tier, k, "new") == TierStatus::ok);
    CHECK(holds(second, k));

    // The same by a script, which is how a clear speaks.
    sentinel.name(first);
    REQUIRE(first.command({"REPLICAOF", "NO", "ONE"}).text == "OK");
    REQUIRE(second.command(follow(first)).text == "OK");
    CHECK(tier.clear("app") == TierStatus::unavailable);
    CHECK(eventually([&] { return put(tier, k, "newer") == TierStatus::ok; }));
    CHECK(eventually([&] { return !has_clients(second); }));
}

TEST_CASE("a master that stands still is left when the breaker opens", "[redis][sentinel][faults][breaker]") {
    RedisServer first;
    RedisServer second;
    FakeSentinel sentinel(first);
    sc::RedisOptions options = hasty(url_of({&sentinel}));
    options.timeout = 100ms;
    options.breaker.failures = 2;
    sc::RedisTier tier(options);
    REQUIRE(eventually([&] { return put(tier, k, "v") == TierStatus::ok; }));
    first.pause();
    sentinel.name(second);
    CHECK(eventually([&] { return put(tier, k, "v") == TierStatus::ok; }));
    CHECK(holds(second, k));
}

TEST_CASE("a failover is a few misses, and a master that comes back later is left alone",
          "[redis][sentinel][faults]") {
    SentinelSet set;
    REQUIRE(eventually([&] { return set.complete(); }));
    sc::RedisOptions options{.url = set.url(), .connect_timeout = 500ms, .timeout = 250ms};
    options.breaker = {.failures = 5, .open_for = 100ms};
    ToldStates states;
    sc::RedisTier tier(options, {.on_state = states.listener()}, sc::defer_connect);
    const std::string cleared = sc::physical_key("other", "cleared");
    const std::string before = sc::physical_key("app", "before");
    const auto written = [&](const std::string& key) {
        return eventually([&] { return put(tier, key, "v") == TierStatus::ok; });
    };
    REQUIRE(written(before));
    REQUIRE(written(cleared));
    REQUIRE(eventually([&] { return tier.clear("other") == TierStatus::ok; }));
    CHECK(has_clients(set.first));
    CHECK_FALSE(has_clients(set.second));

    // Readers and writers go on all the while. None may see what was cleared.
    std::atomic<bool> done{false};
    std::atomic<int> resurrected{0};
    std::thread reader([&] {
        while (!done) {
            if (read(tier, cleared).value) ++resurrected;
            std::this_thread::sleep_for(1ms);
        }
    });
    const auto killed = std::chrono::steady_clock::now();
    set.first.kill();
    int failed = 0;
    const bool back = eventually([&] {
        if (put(tier, k, "v") == TierStatus::ok) return true;
        ++failed;
        return false;
    });
    const auto away =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - killed);
    INFO("no answer for " << away.count() << " ms, " << failed << " calls");
    CHECK(back);
    CHECK(read_in_the_end(tier, k).value == "v");
    CHECK(role(set.second) == "master");
    CHECK(eventually([&] { return tier.clear("app") == TierStatus::ok; }));
    CHECK(read_in_the_end(tier, k).status == TierStatus::miss);

    set.first.start();  // as the master that it was, and empty, until the sentinels find it
    int strayed = 0;
    CHECK(eventually([&] {
        const std::string now = role(set.first);
        (void)tier.clear("app");
        (void)put(tier, k, "w");
        if (has_clients(set.first)) ++strayed;
        return now == "slave";
    }));
    CHECK(strayed == 0);
    CHECK(eventually([&] { return put(tier, k, "x") == TierStatus::ok; }));
    CHECK(read_in_the_end(tier, k).value == "x");
    done = true;
    reader.join();
    CHECK(resurrected == 0);
    CHECK(read_in_the_end(tier, cleared).status == TierStatus::miss);
    const std::vector<bool> told = states.all();
    for (std::size_t i = 0; i < told.size(); ++i) CHECK(told[i] == (i % 2 == 1));
    CHECK((told.empty() || told.back()));
}

}  // namespace sentinel_test
