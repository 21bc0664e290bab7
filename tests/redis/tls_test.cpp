#include <smartcache/redis/tls.hpp>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/redis/redis_tier.hpp>

#include "redis/support/cutting_proxy.hpp"
#include "redis/support/sigpipe_counter.hpp"
#include "redis/support/tier_world.hpp"
#include "redis/support/tls_world.hpp"
#include "support/catch.hpp"

namespace sc = smartcache;
using namespace std::chrono_literals;
using namespace smartcache::test;
using sc::TierStatus;

namespace {

const std::string k = sc::physical_key("app", "k");

/// Which field a ConfigError names.
std::string refused_field(const sc::RedisOptions& options) {
    try {
        const sc::RedisTier tier(options, {}, sc::defer_connect);
    } catch (const sc::ConfigError& error) {
        return error.problems().at(0).field;
    }
    return "none";
}

}  // namespace

TEST_CASE("over TLS the tier does all that it does without", "[redis][tls]") {
    TlsWorld world;
    RedisServer::Options with_password = world.server(world.good);
    with_password.password = "hunter2";
    RedisServer server(with_password);
    sc::RedisTier tier(world.client(server.url(3)));

    const OwnedRecord one(k, "one");
    CHECK(tier.write(one.record) == TierStatus::ok);
    CHECK(read(tier, k).value == "one");
    CHECK(server.command({"EXISTS", redis_name(k)}, 3).integer == 1);
    CHECK(tier.change_lifetime(k, one.record.stamp, sc::WallTime::max(), {}) == TierStatus::ok);
    CHECK(read(tier, k).expires == sc::WallTime::max());
    CHECK(tier.write(one.record, sc::WriteCondition::if_absent()) == TierStatus::refused);
    CHECK(tier.remove(k) == TierStatus::ok);
    CHECK(read(tier, k).status == TierStatus::miss);
    CHECK(tier.clear("app") == TierStatus::ok);
    CHECK(tier.probe().ok);
    CHECK(tier.stats().errors == 0);
    CHECK(server.info_number("total_connections_received") <= 4);  // the tier has one, the questions three
}

TEST_CASE("values of any size pass through TLS in both directions, alone and in batches", "[redis][tls]") {
    TlsWorld world;
    RedisServer server(world.server(world.good));
    sc::RedisTier tier(world.client(server.url()));
    OwnedRecords many;
    const std::vector<std::size_t> sizes{0,      1,      4095,   4096,      16'383,
                                         16'384, 16'385, 65'536, 1'000'000, 9'000'000};
    for (std::size_t i = 0; i < 300; ++i) {
        const std::size_t size = i < sizes.size() ? sizes[i] : i;
        std::string value(size, static_cast<char>('a' + i % 26));
        many.add(sc::physical_key("app", std::to_string(i)), std::move(value));
    }
    for (const TierStatus status : tier.write_many(many.records)) CHECK(status == TierStatus::ok);
    CHECK(intact(tier, many) == many.size());
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        CHECK(tier.write(many[i].record) == TierStatus::ok);
        CHECK((read(tier, many[i].key).value == many[i].value));
    }
    for (const TierStatus status : tier.remove_many(many.keys)) CHECK(status == TierStatus::ok);
    CHECK(tier.stats().errors == 0);
}

TEST_CASE("a certificate must come from who is trusted, be in date, and be the server's", "[redis][tls]") {
    TlsWorld world;
    SECTION("by name, and by address") {
        RedisServer server(world.server(world.good));
        const std::string port = std::to_string(server.port());
        CHECK(refusal(world.client("rediss://localhost:" + port)) == "connected");
        CHECK(refusal(world.client("rediss://127.0.0.1:" + port)) == "connected");
    }
    SECTION("from somebody else") {
        RedisServer server(world.server(world.good));
        sc::RedisOptions options = world.client(server.url());
        options.tls.ca_file = world.stranger.file();
        const std::string why = refusal(options);
        mentions(why, "self-signed certificate in certificate chain");  // Redis sends its authority's, too
        mentions(why, "redis.tls.ca_file");
        mentions(why, "CN=authority");
        mentions(why, "127.0.0.1:" + std::to_string(server.port()));
        options.tls.ca_file.clear();  // the system does not know our authority either
        mentions(refusal(options), "self-signed certificate in certificate chain");
        options.tls.verify = false;
        CHECK(refusal(options) == "connected");
    }
    SECTION("out of date, and not yet in date") {
        RedisServer late(world.server(world.authority.issue("late", "IP:127.0.0.1", -2000h, -1h)));
        mentions(refusal(world.client(late.url())), "certificate has expired on ");
        RedisServer early(world.server(world.authority.issue("early", "IP:127.0.0.1", 24h, 48h)));
        mentions(refusal(world.client(early.url())), "certificate is not yet valid until ");
    }
    SECTION("of another host") {
        RedisServer server(world.server(world.authority.issue("other", "DNS:*.other.example,IP:127.0.0.9")));
        const std::string port = std::to_string(server.port());
        mentions(refusal(world.client("rediss://127.0.0.1:" + port)), "it is not for \"127.0.0.1\"");
        mentions(refusal(world.client("rediss://localhost:" + port)), "it is not for \"localhost\"");
        sc::RedisOptions options = world.client("rediss://localhost:" + port);
        options.tls.server_name = "cache.other.example";
        CHECK(refusal(options) == "connected");
        options.tls.server_name = "127.0.0.9";
        CHECK(refusal(options) == "connected");
        options.tls.server_name = "a.b.other.example";  // a wildcard stands for one label
        mentions(refusal(options), "it is not for \"a.b.other.example\"");
        options.tls.verify = false;
        CHECK(refusal(options) == "connected");
    }
    SECTION("whose common name alone fits: names stand in the extension (RFC 9525 section 2)") {
        RedisServer server(world.server(world.authority.issue("localhost", "DNS:elsewhere")));
        mentions(refusal(world.client("rediss://localhost:" + std::to_string(server.port()))), "not for");
    }
}

TEST_CASE("a server that asks for a certificate gets ours, and without says what it misses", "[redis][tls]") {
    TlsWorld world;
    const Certificate ours = world.authority.issue("client", "");
    const Certificate foreign = world.stranger.issue("client", "");
    for (const char* protocols : {"TLSv1.2", "TLSv1.3"}) {
        INFO(protocols);
        RedisServer::Options asking = world.server(world.good, true);
        asking.arguments.insert(asking.arguments.end(), {"--tls-protocols", protocols});
        RedisServer server(asking);
        sc::RedisOptions options = world.client(server.url());
        for (int i = 0; i < 10; ++i) {  // whether the refusal or the hang-up is seen first is a race
            const std::string why = refusal(options);
            mentions(why, "the server refuses");
            mentions(why, "no redis.tls.cert_file");
        }
        options.tls.ca_file = world.stranger.file();
        options.tls.verify = false;  // nor is a certificate blamed that was not to be looked at
        mentions(refusal(options), "the server refuses");
        options = world.client(server.url());
        options.tls.cert_file = ours.cert_file;
        options.tls.key_file = ours.key_file;
        sc::RedisTier tier(options);
        CHECK(tier.set("k", "v"));
        CHECK(tier.get("k"));
        options.tls.cert_file = foreign.cert_file;
        options.tls.key_file = foreign.key_file;
        mentions(refusal(options), "the server refuses");
    }
}

TEST_CASE("older protocols than TLS 1.2 are refused", "[redis][tls]") {
    TlsWorld world;
    RedisServer::Options old = world.server(world.good);
    old.arguments.insert(old.arguments.end(),
                         {"--tls-protocols", "TLSv1.1", "--tls-ciphers", "ALL:@SECLEVEL=0"});
    RedisServer server(old);
    CHECK(mentions(refusal(world.client(server.url())), "protocol version"));
}

TEST_CASE("files that are of no use are a ConfigError naming the option", "[redis][tls][config]") {
    TlsWorld world;
    const Certificate ours = world.authority.issue("client", "");
    const Certificate other = world.authority.issue("other", "");
    const std::string garbage = (world.directory / "garbage").string();
    std::ofstream(garbage) << "-----BEGIN CERTIFICATE-----\nnonsense\n";
    const auto with = [&](const std::string& ca, const std::string& cert, const std::string& key) {
        sc::RedisOptions options{.url = "rediss://127.0.0.1:1"};
        options.tls.ca_file = ca;
        options.tls.cert_file = cert;
        options.tls.key_file = key;
        return refused_field(options);
    };
    const std::string ca = world.authority.file();
    CHECK(with(ca, ours.cert_file, ours.key_file) == "none");
    CHECK(with("/nowhere/ca.pem", "", "") == "redis.tls.ca_file");
    CHECK(with(garbage, "", "") == "redis.tls.ca_file");
    CHECK(with(ca, "/nowhere/cert.pem", ours.key_file) == "redis.tls.cert_file");
    CHECK(with(ca, ours.key_file, ours.key_file) == "redis.tls.cert_file");
    CHECK(with(ca, ours.cert_file, garbage) == "redis.tls.key_file");
    CHECK(with(ca, ours.cert_file, other.key_file) == "redis.tls.key_file");

    // A key with a password must not make a library ask for it on the terminal.
    const std::string locked = (world.directory / "locked").string();
    std::ofstream(locked) << "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
                             "DEK-Info: AES-128-CBC,00000000000000000000000000000000\n\nAAAA\n"
                             "-----END RSA PRIVATE KEY-----\n";
    CHECK(with(ca, ours.cert_file, locked) == "redis.tls.key_file");
    // Not even looked for: the connection would not be encrypted.
    sc::RedisOptions plain{.url = "redis://127.0.0.1:1"};
    plain.tls.ca_file = "/nowhere/ca.pem";
    CHECK(refused_field(plain) == "redis.tls");
}

TEST_CASE("what does not speak TLS is told from what does", "[redis][tls]") {
    TlsWorld world;
    // A server that is full says so at once, and in plain text.
    RedisServer plain({.arguments = {"--maxclients", "1"}});
    std::unique_ptr<sc::RedisTier> only_client;
    while (!only_client) {
        try {
            only_client = std::make_unique<sc::RedisTier>(patient(plain.url()));
        } catch (const sc::TierUnavailable&) {  // the fixture's own client has not been forgotten yet
        }
    }
    mentions(refusal(world.client("rediss://127.0.0.1:" + std::to_string(plain.port()))),
             "does not speak TLS");
}

TEST_CASE("a server that dies at any byte of the conversation, over TLS, is a failed call and no signal",
          "[redis][tls][faults][r34]") {
    TlsWorld world;
    RedisServer server(world.server(world.good));
    const SigpipeCounter signals;
    const std::string value(200'000, 'v');
    const OwnedRecord owned(k, value);

    // What the whole conversation takes, to cut it everywhere.
    std::size_t from_server = 0;
    std::size_t from_client = 0;
    const auto converse = [&](const CuttingProxy::Cut& cut) {
        CuttingProxy proxy(server.port(), cut);
        sc::RedisOptions options = world.client("rediss://127.0.0.1:" + std::to_string(proxy.port()));
        options.timeout = cut.then == CuttingProxy::Then::stall ? 30ms : ample;
        options.max_connections = 1;
        options.breaker = {.failures = 1'000'000};
        int answered = 0;
        {
            sc::RedisTier tier(options, {}, sc::defer_connect);
            for (int call = 0; call < 3; ++call) {
                const auto started = std::chrono::steady_clock::now();
                const TierStatus status = call == 1 ? tier.write(owned.record) : read(tier, k).status;
                const auto took = std::chrono::steady_clock::now() - started;
                CHECK(took < ample);
                answered += status != TierStatus::unavailable ? 1 : 0;
            }
        }
        from_server = proxy.passed_from_server();
        from_client = proxy.passed_from_client();
        return answered;
    };
    const std::size_t never = CuttingProxy::Cut{}.from_server;
    REQUIRE(converse({}) == 3);
    const std::size_t answers = from_server;
    const std::size_t questions = from_client;
    REQUIRE(answers > value.size());
    REQUIRE(questions > value.size());

    const auto points = [](std::size_t all) {
        std::vector<std::size_t> chosen;
        for (std::size_t at = 0; at < 6000; at += 97) chosen.push_back(at);  // handshake and log-in
        for (std::size_t at = 6000; at < all - 1; at += all / 16) chosen.push_back(at);
        return chosen;
    };
    using Then = CuttingProxy::Then;
    for (const Then then : {Then::reset, Then::close, Then::stall}) {
        int failed = 0;
        int tried = 0;
        for (const std::size_t at : points(answers)) {
            if (then == Then::stall && at % 5 != 0) continue;  // each of them costs its timeout
            ++tried;
            failed += converse({at, never, then}) < 3 ? 1 : 0;
        }
        for (const std::size_t at : points(questions)) {
            if (then == Then::stall && at % 5 != 0) continue;
            ++tried;
            failed += converse({never, at, then}) < 3 ? 1 : 0;
        }
        CHECK(tried > 20);
        CHECK(failed == tried);
    }
    CHECK(SigpipeCounter::count() == 0);
    CHECK(server.command({"PING"}).text == "PONG");
}

TEST_CASE("a killed server is noticed over TLS as without, and is asked again when it is back",
          "[redis][tls][faults][r34]") {
    TlsWorld world;
    RedisServer server(world.server(world.good));
    const SigpipeCounter signals;
    sc::RedisOptions options = world.client(server.url());
    options.breaker = {.failures = 1'000'000};
    sc::RedisTier tier(options);
    REQUIRE(tier.set("k", "v"));
    server.kill();
    for (int i = 0; i < 20; ++i) {
        CHECK_FALSE(tier.get("k"));
        CHECK_FALSE(tier.set("k", std::string(100'000, 'v')));
    }
    server.start();
    CHECK(eventually([&] { return tier.set("k", "again"); }));
    CHECK(tier.get("k"));
    CHECK(SigpipeCounter::count() == 0);
}

TEST_CASE("a server that drips costs its timeout over TLS, at whatever byte it begins",
          "[redis][tls][faults]") {
    TlsWorld world;
    RedisServer server(world.server(world.good));
    const OwnedRecord owned(k, std::string(200'000, 'v'));
    sc::RedisTier direct(world.client(server.url()));
    REQUIRE(direct.write(owned.record) == TierStatus::ok);
    for (const std::size_t at : {0U, 3U, 500U, 1000U, 30'000U}) {
        CuttingProxy::Cut cut;
        cut.from_server = at;
        cut.then = CuttingProxy::Then::drip;
        CuttingProxy proxy(server.port(), cut);
        sc::RedisOptions options = world.client("rediss://127.0.0.1:" + std::to_string(proxy.port()));
        options.timeout = 60ms;
        sc::RedisTier tier(options, {}, sc::defer_connect);
        const auto started = std::chrono::steady_clock::now();
        CHECK(read(tier, k).status == TierStatus::unavailable);
        const auto took = std::chrono::steady_clock::now() - started;
        CHECK(took >= 60ms);
        CHECK(took < ample);  // and not as long as all that drips would take; the margin is for the machine
        CHECK(tier.stats().timeouts == 1);
    }
}

TEST_CASE("a server that stands still costs its timeout over TLS, during the handshake, too",
          "[redis][tls][faults]") {
    TlsWorld world;
    RedisServer server(world.server(world.good));
    sc::RedisOptions options = world.client(server.url());
    options.timeout = 50ms;
    options.breaker = {.failures = 1'000'000};
    sc::RedisTier connected(options);
    sc::RedisTier fresh(options, {}, sc::defer_connect);
    server.pause();
    for (sc::RedisTier* const tier : {&connected, &fresh}) {
        const auto started = std::chrono::steady_clock::now();
        CHECK(read(*tier, k).status == TierStatus::unavailable);
        const auto took = std::chrono::steady_clock::now() - started;
        CHECK(took >= 50ms);
        CHECK(took < ample);
        CHECK(tier->stats().timeouts == 1);
    }
    server.resume();
    // The handshake goes on where it was.
    CHECK(eventually([&] { return read(fresh, k).status == TierStatus::miss; }));
}

TEST_CASE("many threads share few TLS connections, and no descriptor is left", "[redis][tls]") {
    TlsWorld world;
    RedisServer server(world.server(world.good));
    const auto descriptors = [] {
        return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                             std::filesystem::directory_iterator());
    };
    const std::ptrdiff_t before = descriptors();
    {
        sc::RedisOptions options = world.client(server.url());
        options.max_connections = 3;
        sc::RedisTier tier(options);
        std::atomic<int> right{0};
        std::vector<std::thread> threads;
        for (int t = 0; t < 8; ++t)
            threads.emplace_back([&, t] {
                const std::string value = std::to_string(t) + std::string(20'000, 'v');
                const OwnedRecord owned(sc::physical_key("app", std::to_string(t)), value);
                for (int i = 0; i < 30; ++i)
                    if (tier.write(owned.record) == TierStatus::ok && read(tier, owned.key).value == value)
                        ++right;
            });
        for (std::thread& thread : threads) thread.join();
        CHECK(right == 240);
        CHECK(descriptors() <= before + 3);
        CHECK(tier.stats().errors == 0);
    }
    CHECK(descriptors() == before);
}

TEST_CASE("a TLS connection that the server closed while it was idle is replaced unseen", "[redis][tls]") {
    TlsWorld world;
    RedisServer server(world.server(world.good));
    sc::RedisTier tier(world.client(server.url()));
    for (int i = 0; i < 3; ++i) {
        REQUIRE(tier.set("k", "v"));
        server.kill();
        server.start();
        CHECK(read(tier, k).status == TierStatus::miss);
    }
    CHECK(tier.stats().errors == 0);
}

TEST_CASE("a child process says nothing on its parent's TLS connections", "[redis][tls][fork]") {
    TlsWorld world;
    RedisServer server(world.server(world.good));
    sc::RedisTier tier(world.client(server.url()));
    const OwnedRecord owned(k, "v");
    REQUIRE(tier.write(owned.record) == TierStatus::ok);
    const long long connections = server.info_number("total_connections_received");
    const pid_t child = ::fork();
    if (child == 0) ::_exit(read(tier, k).value == "v" ? 0 : 1);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    CHECK(read(tier, k).value == "v");
    CHECK(tier.stats().errors == 0);
    CHECK(server.info_number("total_connections_received") ==
          connections + 2);  // the child's, this question's
}
