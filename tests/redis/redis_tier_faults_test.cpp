#include <smartcache/redis/redis_tier.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "redis/support/hostile_server.hpp"
#include "redis/support/tier_world.hpp"
#include "support/catch.hpp"

namespace redis_tier_faults_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using namespace smartcache::test;
using sc::TierStatus;
using sc::WriteCondition;

namespace {

const std::string k = sc::physical_key("app", "k");
const std::string neighbour = sc::physical_key("app", "neighbour");
const std::string elsewhere = sc::physical_key("other", "k");
const std::string hash = sc::detail::epoch_key("app");

/// Calls that are expected to time out do so soon; what else the tier is asked must bear being asked again.
/// @param timeout  longer where a call must get as far as sending something before it times out
sc::RedisOptions impatient(const std::string& url, sc::Duration timeout = 50ms) {
    return {.url = url, .connect_timeout = ample, .timeout = timeout, .breaker = {.failures = 1'000'000}};
}

/// A server that comes back with everything it had.
RedisServer::Options persistent() {
    return {.arguments = {"--appendonly", "yes", "--appendfsync", "always"}};
}

/// Every call that there is, each with keys of its own. @return how many gave what only a server can know
int calls_answered(sc::Tier& tier, const std::string& prefix) {
    const auto key = [&](const char* name) { return sc::physical_key("app", prefix + name); };
    const std::string a = key("a");
    const std::string b = key("b");
    const std::vector<std::string_view> keys{a, b};
    const OwnedRecord one(key("c"), "v");
    const OwnedRecord two(key("d"), "v");
    const std::vector<sc::RecordView> records{one.record, two.record};
    int answered = 0;
    const auto note = [&](TierStatus status) { answered += status == TierStatus::ok ? 1 : 0; };
    note(read(tier, key("e")).status);
    tier.read_many(keys,
                   [&](std::size_t, const sc::RecordView& record) { answered += record.tombstone ? 0 : 1; });
    note(tier.contains(key("f")));
    note(put(tier, key("g"), "v"));
    note(put(tier, key("h"), "v", WriteCondition::if_absent()));
    note(put(tier, key("i"), "v", WriteCondition::if_stamp(7)));
    for (const TierStatus status : tier.write_many(records)) note(status);
    note(tier.remove(key("j")));
    for (const TierStatus status : tier.remove_many(keys)) note(status);
    note(tier.change_lifetime(key("k"), 7, sc::WallTime::max(), {}));
    return answered;
}
/// What a server answers who is a cluster alone, and the sentinel that names itself; empty to everything else.
std::string where_it_is(const HostileServer::Command& command, std::uint16_t port) {
    const std::string number = std::to_string(port);
    const std::string name = "*2\r\n$9\r\n127.0.0.1\r\n";
    if (command[0] == "CLUSTER") return "*1\r\n*3\r\n:0\r\n:16383\r\n" + name + ":" + number + "\r\n";
    if (command[0] == "SENTINEL")
        return name + "$" + std::to_string(number.size()) + "\r\n" + number + "\r\n";
    return command[0] == "ROLE" ? "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n" : "";
}
std::string url_by(const std::string& scheme, const HostileServer& server) {
    return scheme + "://127.0.0.1:" + std::to_string(server.port()) +
           (scheme == "redis+sentinel" ? "/mymaster" : "");
}
constexpr int trips = 10;  // of `calls_answered`: what it asks the server for

}  // namespace

TEST_CASE("a dead server is a status and a counter, not an exception", "[redis][tier][faults]") {
    RedisServer server;
    for (const std::string& url : {server.url(), server.unix_url()}) {
        sc::RedisTier tier(patient(url));
        REQUIRE(tier.set("k", "v"));
        REQUIRE(tier.clear("app") == TierStatus::ok);
        server.kill();
        CHECK(calls_answered(tier, "dead") == 0);
        CHECK(read(tier, k).status == TierStatus::unavailable);
        CHECK(tier.contains(k) == TierStatus::unavailable);
        CHECK(tier.remove(k) == TierStatus::unavailable);
        CHECK(tier.clear("app") == TierStatus::unavailable);
        CHECK_FALSE(tier.get("k"));
        CHECK_FALSE(tier.set("k", "w"));
        CHECK_FALSE(tier.flush(1ms));
        CHECK(tier.run_maintenance() == 0);
        const sc::TierHealth health = tier.probe();
        CHECK_FALSE(health.ok);
        CHECK_FALSE(health.detail.empty());
        CHECK(tier.stats().errors >= 1);
        CHECK(tier.stats().timeouts == 0);
        server.start();
        CHECK(eventually([&] { return tier.set("k", "again"); }));
        CHECK(tier.get("k"));
    }
}

TEST_CASE("who has all the time there is waits for a server that is slow to let it listen",
          "[redis][tier][coherence]") {
    HostileServer server([](HostileServer::Peer& peer, const HostileServer::Command& command) {
        if (command[0] == "SUBSCRIBE")
            peer.drip("*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
        else
            peer.send("*2\r\n$4\r\npong\r\n$0\r\n\r\n");
        return true;
    });
    sc::RedisOptions options = patient(server.url());
    options.connect_timeout = sc::Duration::max();
    options.lease = 30s;
    sc::RedisTier tier(options, {.name_space = "app", .on_invalidation = [](const sc::Invalidation&) {}});
    tier.begin_to_listen(false, {});
    CHECK(tier.stats().coherence.hears);
    CHECK(server.connections() == 2);  // the tier's own, and the one that listens
}

/// Everything that a tier tells of a server: what its constructor throws, its log, and its health.
std::vector<std::string> told_of(const sc::RedisOptions& options) {
    std::mutex mutex;
    std::vector<std::string> told;
    const auto tell = [&](std::string_view text) {
        const std::lock_guard lock(mutex);
        told.emplace_back(text);
    };
    const sc::TierContext context{
        .logger = [&](sc::LogLevel, std::string_view text) { tell(text); },
        .name_space = "app",
        .on_invalidation = [](const sc::Invalidation&) {},
    };
    try {
        sc::RedisTier tier(options, context);
    } catch (const sc::TierUnavailable& error) {
        tell(error.what());
    }
    {
        sc::RedisTier tier(options, context, sc::defer_connect);
        tier.begin_to_listen(false, {});
        (void)put(tier, k, "a value");
        tell(tier.probe().detail);
    }
    return told;
}

TEST_CASE("nothing that is told of a server holds the password, or what it repeats of a command",
          "[redis][tier][log]") {
    RedisServer server({.arguments = {"--rename-command", "AUTH", "", "--rename-command", "SET", ""}});
    std::string url = server.url();
    for (const std::string& text : told_of(impatient(url, ample)))
        CHECK(text.find("a value") == std::string::npos);
    url.insert(url.find("//") + 2, ":hunter2@");
    const std::vector<std::string> told = told_of(impatient(url, ample));
    CHECK(told.size() >= 2);
    for (const std::string& text : told) CHECK(text.find("hunter") == std::string::npos);
    HostileServer proxy([](HostileServer::Peer& peer, const HostileServer::Command& command) {
        peer.send("-ERR " + command.back() + " is no password\r\n");
        return true;
    });
    url = proxy.url();
    url.insert(url.find("//") + 2, ":hunter2@");
    for (const std::string& text : told_of(impatient(url, ample)))
        CHECK(text.find("hunter") == std::string::npos);
}

TEST_CASE("whatever a server says, what is told of it is one line of a bounded length",
          "[redis][tier][log]") {
    const std::string much(100'000, 'x');
    const std::string bulk = "a\nb" + much;
    const std::string answer =
        GENERATE_REF("-ERR \t" + much + "\r\n", "$" + std::to_string(bulk.size()) + "\r\n" + bulk + "\r\n");
    HostileServer server([&](HostileServer::Peer& peer, const HostileServer::Command&) {
        peer.send(answer);
        return true;
    });
    sc::RedisOptions options = impatient(server.url(), ample);
    options.connect_timeout = 50ms;  // it is not let in to listen
    const std::vector<std::string> told = told_of(options);
    CHECK_FALSE(told.empty());
    for (const std::string& text : told) {
        CHECK(text.size() < 5'000);
        CHECK(text.find_first_of("\n\t") == std::string::npos);
    }
}

/// A server that runs a script when it is asked for `at` for the first time, and cannot serve then.
class BusyOnce {
  public:
    explicit BusyOnce(std::string at) : at_(std::move(at)) {}

    bool operator()(HostileServer::Peer& peer, const HostileServer::Command& command) {
        const std::lock_guard lock(mutex_);
        if (command[0] == "MULTI") ++multis;
        if (command[0] == at_ && !std::exchange(was_busy_, true)) {
            peer.send("-BUSY Redis is busy running a script.\r\n");
        } else if (command[0] == "EXEC") {
            peer.send("-EXECABORT Transaction discarded because of previous errors.\r\n");
        } else if (command[0] == "MULTI") {
            peer.send("+OK\r\n");
        } else if (command[0] == "HMGET") {
            peer.send("*4\r\n$16\r\n1700000000000000\r\n$1\r\nt\r\n$1\r\n0\r\n$1\r\n0\r\n");
        } else {
            peer.send("+OK\r\n");
        }
        return true;
    }
    std::atomic<int> multis{0};

  private:
    const std::string at_;
    std::mutex mutex_;
    bool was_busy_ = false;
};

TEST_CASE("a server that is busy does steps afterwards, over connections whose transaction has ended",
          "[redis][tier][faults][r9]") {
    const std::string at = GENERATE("MULTI", "EXEC");
    BusyOnce busy(at);
    HostileServer server(std::ref(busy));
    sc::RedisTier tier(impatient(server.url(), ample), {}, sc::defer_connect);
    CHECK(put(tier, k, "v") == TierStatus::unavailable);
    CHECK(settles(tier));
    (void)put(tier, k, "v");
    CHECK(server.connections() == (at == "EXEC" ? 2 : 1));
    CHECK(busy.multis == 2);
}

TEST_CASE("a history without an end is a hole", "[redis][tier][coherence][r12]") {
    // Whatever it is asked for, it gives the same message, as often as it may.
    const std::string message = "of whatever kind";
    const std::string entry =
        "*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nm\r\n$" + std::to_string(message.size()) + "\r\n" + message + "\r\n";
    HostileServer server([&](HostileServer::Peer& peer, const HostileServer::Command& command) {
        if (command[0] == "SUBSCRIBE") {
            peer.send("*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
        } else if (command[0] == "XRANGE") {
            std::string answer = "*512\r\n";
            for (int i = 0; i < 512; ++i) answer += entry;
            peer.send(answer);
        } else {
            peer.send("-ERR no\r\n");
        }
        return true;
    });
    sc::RedisOptions options = patient(server.url());
    options.coherence = sc::Coherence::publish;
    options.lease = 30s;
    std::vector<sc::Invalidation::Kind> told;
    sc::RedisTier tier(options,
                       {.background = false,
                        .name_space = "app",
                        .on_invalidation = [&](const sc::Invalidation& what) { told.push_back(what.kind); }},
                       sc::defer_connect);
    tier.begin_to_listen(true, "1-1 " + std::to_string(sc::stable_hash(sc::as_byte_view(message))));
    REQUIRE_FALSE(told.empty());
    CHECK(told.back() == sc::Invalidation::Kind::heard);
    CHECK(tier.stats().coherence.resumed == 0);
}

TEST_CASE("a change that was made before the server stopped serving is not one that was not made",
          "[redis][tier][r10]") {
    std::atomic<int> epochs{0};
    HostileServer server([&](HostileServer::Peer& peer, const HostileServer::Command& command) {
        if (command[0] == "HMGET" && ++epochs == 1)
            peer.send("*4\r\n$16\r\n1700000000000000\r\n$1\r\nt\r\n$1\r\n0\r\n$1\r\n0\r\n");
        else if (command[0] == "EVALSHA")
            peer.send(":1\r\n");
        else
            peer.send("-MASTERDOWN Link with MASTER is down\r\n");
        return true;
    });
    sc::RedisTier tier(impatient(server.url(), ample), {}, sc::defer_connect);
    WriteCondition seen = WriteCondition::if_stamp(7);
    seen.change = true;
    CHECK(put(tier, k, "v", seen) == TierStatus::unavailable);
    CHECK_FALSE(tier.flush(0ms));  // to be erased before anybody believes what is there
}

TEST_CASE("while the breaker is open the server hears nothing, and a probe ends that",
          "[redis][tier][faults][breaker]") {
    RedisServer server(persistent());
    sc::RedisOptions options = patient(server.url());
    options.breaker = {.failures = 1, .open_for = 24h};
    sc::RedisTier tier(options);
    REQUIRE(put(tier, k, "old") == TierStatus::ok);
    server.kill();
    CHECK(read(tier, neighbour).status == TierStatus::unavailable);
    CHECK(tier.stats().breaker == sc::BreakerState::open);
    const std::uint64_t errors = tier.stats().errors;
    const std::uint64_t misses = tier.stats().misses;
    CHECK(tier.turns_away());
    CHECK(read(tier, neighbour).status == TierStatus::unavailable);
    CHECK(tier.stats().misses == misses + 2);
    server.start();
    const long long connections = server.info_number("total_connections_received");
    for (int i = 0; i < 20; ++i) CHECK(calls_answered(tier, std::to_string(i)) == 0);
    CHECK(put(tier, k, "new") == TierStatus::unavailable);
    CHECK(server.info_number("total_connections_received") == connections + 1);  // this question's own
    CHECK(tier.stats().errors == errors);  // who was not asked has not failed
    CHECK(tier.stats().timeouts == 0);

    CHECK(eventually([&] { return tier.probe().ok; }));
    CHECK(tier.stats().breaker == sc::BreakerState::closed);
    CHECK_FALSE(tier.turns_away());
    CHECK(read(tier, k).status == TierStatus::miss);  // R3: a write that the breaker stopped counts too
    CHECK(put(tier, k, "new") == TierStatus::ok);
    CHECK(read(tier, k).value == "new");
}

TEST_CASE("a server that stands still costs each call its timeout", "[redis][tier][faults]") {
    RedisServer server;
    for (const std::string& url : {server.url(), server.unix_url()}) {
        sc::RedisTier tier(impatient(url));
        REQUIRE(eventually([&] { return tier.clear("app") == TierStatus::ok; }));
        tier.reset_stats();
        server.pause();
        const auto started = std::chrono::steady_clock::now();
        CHECK(calls_answered(tier, "paused") == 0);
        CHECK(tier.clear("app") == TierStatus::unavailable);
        CHECK_FALSE(tier.probe().ok);
        CHECK_FALSE(tier.flush(24h));
        // A dozen timeouts of 50 ms; the margin is for the machine.
        CHECK(std::chrono::steady_clock::now() - started < ample);
        CHECK(tier.stats().timeouts == trips);
        server.resume();
        CHECK(settles(tier));
        CHECK(eventually([&] { return put(tier, k, "v") == TierStatus::ok; }));
    }
}

TEST_CASE("a write without an answer leaves neither the old value nor itself behind",
          "[redis][tier][faults][r10][r11]") {
    RedisServer server;
    sc::RedisTier other_process(patient(server.url()));
    sc::RedisTier tier(impatient(server.url(), 1s));
    REQUIRE(put(other_process, k, "old") == TierStatus::ok);
    REQUIRE(put(other_process, neighbour, "unharmed") == TierStatus::ok);
    REQUIRE(eventually([&] { return read(tier, k).value == "old"; }));
    server.pause();
    CHECK(put(tier, k, "new") == TierStatus::unavailable);  // lies in the server's socket
    CHECK_FALSE(read(tier, k).value);
    server.resume();
    int served = 0;
    CHECK(eventually([&] {
        served += read(tier, k).value ? 1 : 0;
        return tier.flush(ample);
    }));
    CHECK(served == 0);
    CHECK_FALSE(is_value(server.command({"GET", redis_name(k)})));
    CHECK(read(other_process, k).status == TierStatus::miss);
    CHECK(read(other_process, neighbour).value == "unharmed");
}

TEST_CASE("before anything else the next connection closes the one that was not answered",
          "[redis][tier][faults][r10]") {
    std::mutex mutex;
    std::map<std::thread::id, std::vector<std::string>> said;  // each connection has a thread of its own
    std::atomic<bool> unanswered{false};
    HostileServer server([&](HostileServer::Peer& peer, const HostileServer::Command& command) {
        std::string line;
        for (const std::string& word : command) line += (line.empty() ? "" : " ") + word.substr(0, 20);
        {
            const std::lock_guard lock(mutex);
            said[std::this_thread::get_id()].push_back(line);
        }
        if (command[0] == "SET" && !unanswered.exchange(true)) {
            peer.wait_until_gone();
            return false;
        }
        peer.send(command[0] == "HMGET" ? "*4\r\n$16\r\n1700000000000000\r\n$1\r\nt\r\n$1\r\n0\r\n$1\r\n0\r\n"
                  : command[0] == "GETRANGE" ? "$0\r\n\r\n"
                                             : ":1\r\n");
        return true;
    });
    sc::RedisTier tier(impatient(server.url(), 1s));
    REQUIRE(eventually([&] { return read(tier, neighbour).status == TierStatus::miss; }));
    CHECK(put(tier, k, "v") == TierStatus::unavailable);
    CHECK(eventually([&] { return read(tier, neighbour).status == TierStatus::miss; }));
    const std::lock_guard lock(mutex);
    const auto next = std::find_if(said.begin(), said.end(),
                                   [](const auto& each) { return each.second[0] == "CLIENT KILL ID 7"; });
    REQUIRE(next != said.end());
    REQUIRE(next->second.size() >= 2);
    CHECK(next->second[1].substr(0, 17) == "SET sc:3:app:k SC");
}

TEST_CASE("where connections may not be closed an unanswered write costs its namespace",
          "[redis][tier][faults][r10]") {
    RedisServer server;
    (void)server.command({"ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all", "-client|kill"});
    sc::RedisTier tier(impatient("redis://u:pw@127.0.0.1:" + std::to_string(server.port()), 1s));
    for (const std::string& key : {k, neighbour, elsewhere})
        REQUIRE(eventually([&] { return put(tier, key, "old") == TierStatus::ok; }));
    const long long epoch = std::stoll(server.command({"HGET", hash, "clear"}).text);
    REQUIRE(settles(tier));
    server.pause();
    CHECK(put(tier, k, "new") == TierStatus::unavailable);
    server.resume();
    CHECK(settles(tier));
    CHECK(std::stoll(server.command({"HGET", hash, "clear"}).text) > epoch);
    CHECK(eventually([&] { return read(tier, k).status == TierStatus::miss; }));
    CHECK(eventually([&] { return read(tier, neighbour).status == TierStatus::miss; }));
    CHECK(eventually([&] { return read(tier, elsewhere).value == "old"; }));
}

TEST_CASE("what could not be written or erased is not believed when the server comes back with it",
          "[redis][tier][faults][r3][r11]") {
    RedisServer server(persistent());
    sc::RedisTier tier(patient(server.unix_url()));
    OwnedRecords old;
    for (int i = 0; i < 8; ++i) old.add(sc::physical_key("app", std::to_string(i)), "old");
    for (const sc::RecordView& record : old.records) REQUIRE(tier.write(record) == TierStatus::ok);
    REQUIRE(put(tier, neighbour, "unharmed") == TierStatus::ok);
    server.kill();
    const auto key = [&](std::size_t i) { return old.keys[i]; };
    CHECK(put(tier, old[0].key, "new") == TierStatus::unavailable);
    CHECK(tier.remove(key(1)) == TierStatus::unavailable);
    const std::vector<sc::RecordView> records{old[2].record, old[3].record};
    CHECK(tier.write_many(records) == std::vector<TierStatus>(2, TierStatus::unavailable));
    const std::vector<std::string_view> keys{key(4), key(5)};
    CHECK(tier.remove_many(keys) == std::vector<TierStatus>(2, TierStatus::unavailable));
    // Made stale: whoever did that must not find it fresh again.
    CHECK(tier.change_lifetime(key(6), old[6].record.stamp, sc::WallTime{}, {}) == TierStatus::unavailable);
    // A fill that did not come in changes nothing: what is there is as good as it was.
    CHECK(put(tier, old[7].key, "fill", WriteCondition::if_absent()) == TierStatus::untouched);
    server.start();
    for (std::size_t i = 0; i < 8; ++i) REQUIRE(server.command({"EXISTS", redis_name(key(i))}).integer == 1);
    for (std::size_t i = 0; i < 7; ++i) {
        INFO(i);
        CHECK(read(tier, key(i)).status == TierStatus::miss);
        CHECK(tier.contains(key(i)) == TierStatus::miss);
    }
    CHECK(settles(tier));
    CHECK(eventually([&] { return read(tier, key(7)).value == "old"; }));
    CHECK(read(tier, neighbour).value == "unharmed");
    for (std::size_t i = 0; i < 7; ++i) {
        INFO(i);
        CHECK_FALSE(is_value(server.command({"GET", redis_name(key(i))})));
        const ReadResult trace = read(tier, key(i));
        CHECK(trace.status == TierStatus::miss);
        CHECK(put(tier, old[i].key, "filled", WriteCondition::if_absent()) == TierStatus::refused);  // R7
        CHECK(put(tier, old[i].key, "filled", WriteCondition::if_stamp(trace.stamp)) == TierStatus::ok);
        CHECK(read(tier, key(i)).value == "filled");
    }
}

TEST_CASE("where a user may not say MULTI, or not EXEC, changes arrive all the same",
          "[redis][tier][faults][r9]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.url()));
    sc::RedisTier other(patient(server.url()));
    const std::string key = sc::physical_key("app", "k");
    REQUIRE(put(other, key, "old") == TierStatus::ok);
    (void)server.command({"ACL", "SETUSER", "default", GENERATE("-multi", "-exec")});
    CHECK(put(tier, key, "new") == TierStatus::ok);
    CHECK(read(other, key).value == "new");
    CHECK(tier.remove(key) == TierStatus::ok);
    CHECK(read(other, key).status == TierStatus::miss);
}

// What is long is sent from where it lies.
TEST_CASE("an erase that was refused is repeated, however long the key is",
          "[redis][tier][faults][r3][r11]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.url()));
    sc::RedisTier other(patient(server.url()));
    const std::string key = sc::physical_key("app", std::string(GENERATE(10U, 4096U, 60'000U), 'k'));
    REQUIRE(put(other, key, "v") == TierStatus::ok);
    const long long keys = server.command({"DBSIZE"}).integer;
    (void)server.command({"ACL", "SETUSER", "default", "-set", "-unlink", "-del"});
    REQUIRE(tier.remove(key) == TierStatus::unavailable);
    (void)server.command({"ACL", "SETUSER", "default", "+@all"});
    CHECK(settles(tier));
    CHECK(read(other, key).status == TierStatus::miss);
    CHECK(server.command({"DBSIZE"}).integer <= keys);
}

TEST_CASE("an erase that has returned holds through deaths of the server, for every thread",
          "[redis][tier][faults][r11][threads]") {
    RedisServer server(persistent());
    sc::RedisOptions options = patient(server.unix_url());
    options.breaker.failures = 1'000'000;  // or the threads would see little of the server
    sc::RedisTier tier(options);
    constexpr std::size_t threads = 3;
    constexpr std::size_t keys_each = 40;
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < threads * keys_each; ++i) {
        keys.push_back(sc::physical_key("app", std::to_string(i)));
        REQUIRE(put(tier, keys.back(), "old") == TierStatus::ok);
    }
    std::atomic<std::size_t> erased{0};
    std::atomic<int> came_back{0};
    std::vector<std::thread> running;
    for (std::size_t t = 0; t < threads; ++t)
        running.emplace_back([&, t] {
            for (std::size_t i = t * keys_each; i < (t + 1) * keys_each; ++i) {
                (void)tier.remove(keys[i]);
                ++erased;
                for (std::size_t j = t * keys_each; j <= i; ++j)
                    if (read(tier, keys[j]).value) ++came_back;
            }
        });
    for (const std::size_t progress : {20U, 60U, 90U}) {
        while (erased < progress) std::this_thread::yield();
        server.kill();
        server.start();
    }
    for (std::thread& thread : running) thread.join();
    CHECK(came_back == 0);
    CHECK(settles(tier));
    for (const std::string& key : keys) CHECK_FALSE(is_value(server.command({"GET", redis_name(key)})));
}

TEST_CASE("a batch of which the server refuses a half is right about each half",
          "[redis][tier][faults][batch][r3]") {
    RedisServer server;
    const auto allow = [&](const std::vector<std::string>& patterns) {
        std::vector<std::string> command{"ACL", "SETUSER", "u", "on", ">pw", "+@all", "resetkeys"};
        command.insert(command.end(), patterns.begin(), patterns.end());
        REQUIRE(server.command(command).text == "OK");
    };
    const auto allow_half = [&] { allow({"~sc:{epochs}:*", "~sc:*good*"}); };
    allow({"~*"});
    sc::RedisTier tier(patient("redis://u:pw@127.0.0.1:" + std::to_string(server.port())));
    OwnedRecords ten;
    for (int i = 0; i < 10; ++i)
        ten.add(sc::physical_key("app", (i % 2 == 0 ? "good" : "bad") + std::to_string(i)), "v");
    const std::vector<TierStatus> all(10, TierStatus::ok);
    std::vector<TierStatus> half;
    for (int i = 0; i < 10; ++i) half.push_back(i % 2 == 0 ? TierStatus::ok : TierStatus::unavailable);
    const auto found = [&] {
        std::string which(10, '-');
        tier.read_many(ten.keys, [&](std::size_t i, const sc::RecordView& record) {
            if (!record.tombstone) which[i] = '+';
        });
        return which;
    };
    REQUIRE(tier.write_many(ten.records) == all);

    allow_half();
    CHECK(found() == "+-+-+-+-+-");
    CHECK(tier.stats().errors == 5);
    allow({"~*"});
    CHECK(found() == "++++++++++");  // a read that failed says nothing about the value

    allow_half();
    CHECK(tier.write_many(ten.records) == half);
    allow({"~*"});
    CHECK(found() == "+-+-+-+-+-");
    CHECK(settles(tier));
    for (std::size_t i = 0; i < 10; ++i)
        CHECK(is_value(server.command({"GET", redis_name(ten.keys[i])})) == (i % 2 == 0));

    REQUIRE(tier.write_many(ten.records) == all);
    allow_half();
    CHECK(tier.remove_many(ten.keys) == half);
    allow({"~*"});
    CHECK(found() == "----------");
    CHECK(settles(tier));
    for (const std::string_view each : ten.keys)
        CHECK_FALSE(is_value(server.command({"GET", redis_name(each)})));
}

TEST_CASE("many threads of a tier never have more connections than its options allow",
          "[redis][tier][faults][threads]") {
    RedisServer server;
    const long long before = server.info_number("total_connections_received");
    sc::RedisOptions options = patient(server.unix_url());
    options.max_connections = 2;
    sc::RedisTier tier(options);
    std::atomic<int> right{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 40; ++i) {
                const std::string key = sc::physical_key("app", std::to_string(t));
                const std::string value = std::to_string(1000 * t + i);
                if (put(tier, key, value) == TierStatus::ok && read(tier, key).value == value) ++right;
            }
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(right == 320);
    // None was ever closed, so all that were opened were open together. The question itself takes one.
    CHECK(server.info_number("total_connections_received") - before - 1 <= 2);
}

TEST_CASE("a connection killed while idle is replaced unseen", "[redis][tier][faults]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.unix_url()));
    REQUIRE(put(tier, k, "v") == TierStatus::ok);
    const auto kill = [&] { REQUIRE(server.command({"CLIENT", "KILL", "TYPE", "normal"}).integer == 1); };
    kill();
    CHECK(read(tier, k).value == "v");
    kill();
    CHECK(tier.contains(k) == TierStatus::ok);
    kill();
    CHECK(put(tier, k, "w") == TierStatus::ok);
    kill();
    CHECK(tier.clear("other") == TierStatus::ok);
    kill();
    CHECK(tier.remove(k) == TierStatus::ok);
    CHECK(tier.stats().errors == 0);
}

TEST_CASE("a connection killed under a write makes it fail, and the old value is not believed",
          "[redis][tier][faults][r10]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.unix_url()));
    REQUIRE(put(tier, k, "old") == TierStatus::ok);
    // The server takes writes and leaves them lying, while it goes on with everything else.
    REQUIRE(server.command({"CLIENT", "PAUSE", "3600000", "WRITE"}).text == "OK");
    TierStatus status = TierStatus::ok;
    std::thread writer([&] { status = put(tier, k, "new"); });
    const bool lies_there = eventually([&] {
        return server.command({"CLIENT", "LIST"}).text.find("flags=xb") != std::string::npos;  // in EXEC
    });
    (void)server.command({"CLIENT", "KILL", "TYPE", "normal"});
    writer.join();
    (void)server.command({"CLIENT", "UNPAUSE"});
    CHECK(lies_there);
    CHECK(status == TierStatus::unavailable);
    CHECK(read(tier, k).status == TierStatus::miss);
    CHECK_FALSE(is_value(server.command({"GET", redis_name(k)})));
    CHECK(put(tier, k, "newer") == TierStatus::ok);
    CHECK(read(tier, k).value == "newer");
}

TEST_CASE("whatever a hostile server answers is neither a value nor a success",
          "[redis][tier][faults][hostile]") {
    const std::string scheme = GENERATE("redis", "redis+cluster", "redis+sentinel");
    const std::vector<std::string> answers{
        "",  // hangs up
        "garbage\r\n",
        "-ERR no\r\n",
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-NOSCRIPT never heard of it\r\n",
        "-READONLY You can't write against a read only replica.\r\n",
        "+OK\r\n",
        "+OK\r\n+OK\r\n+OK\r\n",
        ":1\r\n",
        ":-9223372036854775808\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "$5\r\nhello\r\n",
        "*4\r\n$16\r\n1700000000000000\r\n$1\r\nt\r\n$1\r\n0\r\n$1\r\n0\r\n",
        "*2\r\n$-1\r\n$-1\r\n",
        "*2147483647\r\n",
    };
    for (const std::string& answer : answers) {
        INFO(answer);
        std::uint16_t port = 0;
        HostileServer server([&](HostileServer::Peer& peer, const HostileServer::Command& command) {
            const std::string found = where_it_is(command, port);
            peer.send(found.empty() ? answer : found);
            return !found.empty() || !answer.empty();
        });
        port = server.port();
        sc::RedisOptions options = patient(url_by(scheme, server));
        options.breaker.failures = 1'000'000;
        sc::RedisTier tier(options);
        CHECK(calls_answered(tier, "hostile") == 0);
        (void)tier.clear("app");
        CHECK_FALSE(tier.probe().ok);
        CHECK(tier.stats().hits == 0);
        CHECK(tier.stats().sets == 0);
        CHECK(tier.stats().timeouts == 0);  // each of these is understood, and needs no waiting
    }
}

TEST_CASE("an answer that never ends is left at the deadline, however much of it came",
          "[redis][tier][faults][hostile]") {
    const std::string scheme = GENERATE("redis", "redis+cluster", "redis+sentinel");
    for (const std::string& beginning :
         {std::string("$100\r\nSC\1 and no more"), std::string("$9223372036854775807\r\nSC"),
          std::string("*2\r\n$1\r\n1\r\n"), "$100000\r\n" + std::string(100'000, 'x')}) {
        INFO(beginning.substr(0, 30));
        std::uint16_t port = 0;
        HostileServer server([&](HostileServer::Peer& peer, const HostileServer::Command& command) {
            if (const std::string found = where_it_is(command, port); !found.empty()) {
                peer.send(found);
                return true;
            }
            peer.drip(beginning);  // of the longest alone for five minutes
            peer.wait_until_gone();
            return false;
        });
        port = server.port();
        sc::RedisTier tier(impatient(url_by(scheme, server)));
        const auto started = std::chrono::steady_clock::now();
        CHECK(read(tier, k).status == TierStatus::unavailable);
        CHECK(put(tier, k, "v") == TierStatus::unavailable);
        CHECK(tier.remove(neighbour) == TierStatus::unavailable);
        CHECK(tier.stats().timeouts == 3);
        CHECK(std::chrono::steady_clock::now() - started < ample);
    }
}

}  // namespace redis_tier_faults_test
