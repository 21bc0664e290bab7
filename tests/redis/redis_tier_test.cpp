#include <smartcache/redis/redis_tier.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <smartcache/testing.hpp>

#include "redis/support/tier_world.hpp"
#include "support/catch.hpp"

namespace redis_tier_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using namespace smartcache::test;
using sc::TierStatus;
using sc::WriteCondition;

namespace {

const std::string k = sc::physical_key("app", "k");
constexpr long long days = 24LL * 3600 * 1000;  // as Redis counts

std::string text_of(const std::optional<std::vector<std::byte>>& bytes) {
    return bytes ? std::string(sc::as_text_view(*bytes)) : "(none)";
}

}  // namespace

TEST_CASE("a tier used alone stores, reads, erases and clears, over TCP and a unix socket", "[redis][tier]") {
    RedisServer server;
    for (const std::string& url : {server.url(1), server.unix_url(2)}) {
        sc::RedisTier tier(patient(url));
        CHECK(tier.id() == sc::TierId::redis);
        CHECK_FALSE(tier.get("k"));
        CHECK(tier.set("k", "value", 1h));
        CHECK(text_of(tier.get("k")) == "value");
        CHECK(tier.exists("k"));
        CHECK(tier.set("k", std::string_view("a\0b", 3)));
        CHECK(text_of(tier.get("k")) == std::string("a\0b", 3));
        CHECK(tier.erase("k"));
        CHECK_FALSE(tier.erase("k"));
        CHECK_FALSE(tier.exists("k"));
        CHECK(tier.set("", ""));
        CHECK(text_of(tier.get("")).empty());
        CHECK(tier.clear());
        CHECK_FALSE(tier.get(""));
        CHECK(tier.set("k", "value", 1h));
        CHECK_FALSE(tier.set("k", "value", 0ms));
        CHECK_FALSE(tier.get("k"));
    }
    CHECK(server.command({"DBSIZE"}, 0).integer == 0);
}

TEST_CASE("two tiers see each other's values", "[redis][tier]") {
    RedisServer server;
    sc::RedisTier one(patient(server.url()));
    sc::RedisTier two(patient(server.unix_url()));
    REQUIRE(one.set("k", std::string(100000, 'x'), 1h));
    CHECK(text_of(two.get("k")) == std::string(100000, 'x'));
    REQUIRE(two.erase("k"));
    CHECK_FALSE(one.get("k"));
}

TEST_CASE("all of a record comes back", "[redis][tier]") {
    RedisServer server;
    sc::FakeClock clock;
    sc::RedisTier tier(patient(server.url()), {.time = sc::TimeSource(&clock)});
    sc::ByteSink tags;
    encode_tags(std::vector<std::string>{"red", "blue"}, tags);
    OwnedRecord owned(k, "value", 1h, clock.wall());
    owned.record.kind = sc::ValueKind::coded;
    owned.record.codec = 7;
    owned.record.schema = 9;
    owned.record.stale_until = owned.record.expires + 30min;
    owned.record.load_cost = 1234us;
    owned.record.tags = sc::TagList(2, tags.view());
    REQUIRE(tier.write(owned.record) == TierStatus::ok);
    int calls = 0;
    CHECK(tier.read(k, [&](const sc::RecordView& record) {
        ++calls;
        CHECK(record.key == k);
        CHECK(sc::as_text_view(record.payload) == "value");
        CHECK(record.kind == sc::ValueKind::coded);
        CHECK(record.codec == 7);
        CHECK(record.schema == 9);
        CHECK(record.stamp == owned.record.stamp);
        CHECK(record.created == owned.record.created);
        CHECK(record.expires == owned.record.expires);
        CHECK(record.stale_until == owned.record.stale_until);
        CHECK(record.load_cost == 1234us);
        CHECK(std::vector<std::string>(record.tags.begin(), record.tags.end()) ==
              std::vector<std::string>{"red", "blue"});
    }) == TierStatus::ok);
    CHECK(calls == 1);
}

TEST_CASE("lifetimes are the clock's, and Redis drops what is of no use", "[redis][tier][time]") {
    RedisServer server;
    sc::FakeClock clock;
    sc::RedisTier tier(patient(server.url()), {.time = sc::TimeSource(&clock)});
    OwnedRecord owned(k, "v", 10min, clock.wall());
    owned.record.stale_until = owned.record.expires + 20min;
    REQUIRE(tier.write(owned.record) == TierStatus::ok);
    const long long kept = server.command({"PTTL", redis_name(k)}).integer;
    CHECK(kept <= 30 * 60'000);
    CHECK(kept > 29 * 60'000);

    clock.advance(10min - 1ms);
    CHECK(tier.contains(k) == TierStatus::ok);
    clock.advance(1ms);
    CHECK(tier.contains(k) == TierStatus::miss);  // stale, but within its grace
    CHECK(read(tier, k).status == TierStatus::ok);
    clock.advance(20min);
    CHECK(read(tier, k).status == TierStatus::miss);
    CHECK(tier.stats().expirations == 1);
    CHECK(tier.remove(k) == TierStatus::miss);

    REQUIRE(tier.set("for ever", "v"));
    CHECK(server.command({"PTTL", redis_name(sc::physical_key("", "for ever"))}).integer > 29 * days);
    clock.advance(24h * 10000);
    CHECK(tier.exists("for ever"));
}

TEST_CASE("what has no end has one in Redis, which those who read it put off", "[redis][tier][time][r19]") {
    RedisServer server({.arguments = {"--appendonly", "yes", "--appendfsync", "always"}});
    sc::FakeClock clock;
    sc::RedisOptions options = patient(server.url());
    options.timeout = 1s;
    sc::RedisTier tier(options, {.time = sc::TimeSource(&clock)});
    const auto left = [&](std::string_view key) {
        return server.command({"PTTL", redis_name(sc::physical_key("", key))}).integer;
    };
    const auto expect_soon = [&](std::string_view key) {
        (void)server.command({"PEXPIRE", redis_name(sc::physical_key("", key)), "100000000"});
    };
    const auto put_off = [&](std::string_view key) {
        (void)tier.run_maintenance();
        return left(key) > 29 * days;
    };
    const auto is_put_off_when_read = [&](std::string_view key) {
        expect_soon(key);
        REQUIRE(tier.get(key));
        return put_off(key);
    };
    OwnedRecord with_grace(sc::physical_key("", "with a grace"), "v", 1h, clock.wall());
    with_grace.record.expires = sc::end_before_grace(clock.wall(), sc::WallTime::max(), 1h);
    with_grace.record.stale_until = with_grace.record.expires + 1h;
    REQUIRE(tier.write(with_grace.record) == TierStatus::ok);
    REQUIRE(tier.set("k", "v"));
    REQUIRE(tier.set("ends", "v", 24h * 365));
    for (const char* const key : {"k", "with a grace"}) {
        CHECK(left(key) > 29 * days);
        CHECK(left(key) <= 30 * days);
    }
    CHECK(left("ends") > 364 * days);

    clock.advance(24h * 15 - 1ms);
    CHECK_FALSE(is_put_off_when_read("k"));
    clock.advance(1ms);
    CHECK_FALSE(put_off("k"));  // nobody reads it
    for (const char* const key : {"k", "with a grace"}) {
        CHECK(is_put_off_when_read(key));
        CHECK_FALSE(is_put_off_when_read(key));  // once is enough for a while
    }
    CHECK_FALSE(is_put_off_when_read("ends"));
    clock.advance(24h * 8);
    const std::string physical = sc::physical_key("", "k");
    expect_soon("k");
    const std::string_view key = physical;
    tier.read_many({&key, 1}, [](std::size_t, const sc::RecordView&) {});
    server.kill();
    (void)tier.run_maintenance();
    server.start();
    CHECK(eventually([&] { return put_off("k"); }));  // what could not be told is told later

    clock.advance(24h * 8);
    expect_soon("k");
    REQUIRE(tier.clear());
    CHECK_FALSE(tier.get("k"));
    CHECK_FALSE(put_off("k"));
}

TEST_CASE("a record from the future is dead", "[redis][tier][r26]") {
    RedisServer server;
    sc::FakeClock clock;
    sc::RedisTier tier(patient(server.url()), {.time = sc::TimeSource(&clock)});
    OwnedRecord owned(k, "v", 10min, clock.wall());
    REQUIRE(tier.write(owned.record) == TierStatus::ok);
    clock.set_wall(clock.wall() - 1ms);
    CHECK(read(tier, k).status == TierStatus::miss);
}

TEST_CASE("records carry the server's time: the wall clock of this process does not show in them",
          "[redis][tier][r26]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.url()));
    // As from a process whose clock is two hours behind: it means "now", and so says the record in Redis only
    // if its times were translated. Ours is right, so here the translation must be the identity, to the
    // clock's precision.
    OwnedRecord owned(k, "v", 1h);
    REQUIRE(tier.write(owned.record) == TierStatus::ok);
    const std::string bytes = server.command({"GET", redis_name(k)}).text;
    const sc::ParsedRecord parsed = sc::parse_record(sc::as_byte_view(bytes));
    REQUIRE(parsed);
    const long long server_ms = std::stoll(server.command({"TIME"}).elements[0].text) * 1000;
    CHECK(std::abs(parsed.record.created.time_since_epoch().count() - server_ms) < 60'000);
    const ReadResult back = read(tier, k);
    CHECK(back.expires == owned.record.expires);
    CHECK(back.created <= owned.record.created);
}

TEST_CASE("conditions: absent, a version, or nothing", "[redis][tier][r7]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.url()));
    OwnedRecord one(k, "one");
    OwnedRecord two(k, "two");
    OwnedRecord three(k, "three");
    CHECK(tier.write(one.record, WriteCondition::if_stamp(one.record.stamp)) == TierStatus::refused);
    CHECK(tier.write(one.record, WriteCondition::if_absent()) == TierStatus::ok);
    CHECK(tier.write(two.record, WriteCondition::if_absent()) == TierStatus::refused);
    CHECK(tier.write(two.record, WriteCondition::if_stamp(two.record.stamp)) == TierStatus::refused);
    CHECK(read(tier, k).value == "one");
    CHECK(tier.write(two.record, WriteCondition::if_stamp(one.record.stamp)) == TierStatus::ok);
    CHECK(read(tier, k).value == "two");
    CHECK(tier.write(three.record) == TierStatus::ok);
    CHECK(tier.write(one.record, WriteCondition::if_stamp(two.record.stamp)) == TierStatus::refused);
    CHECK(read(tier, k).value == "three");
}

TEST_CASE("of many fills at once exactly one is stored", "[redis][tier][r7]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.url()));
    for (int round = 0; round < 20; ++round) {
        const std::string key = sc::physical_key("app", std::to_string(round));
        std::atomic<int> stored{0};
        std::atomic<int> refused{0};
        std::vector<std::thread> threads;
        for (int t = 0; t < 6; ++t)
            threads.emplace_back([&, t] {
                const OwnedRecord owned(key, std::to_string(t));
                const TierStatus status = tier.write(owned.record, WriteCondition::if_absent());
                if (status == TierStatus::ok) ++stored;
                if (status == TierStatus::refused) ++refused;
            });
        for (std::thread& thread : threads) thread.join();
        CHECK(stored == 1);
        CHECK(refused == 5);
    }
}

TEST_CASE("conditions survive a server that has forgotten the scripts", "[redis][tier][r7]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.url()));
    OwnedRecord one(k, "one");
    OwnedRecord two(k, "two");
    REQUIRE(tier.write(one.record) == TierStatus::ok);
    (void)server.command({"SCRIPT", "FLUSH"});
    CHECK(tier.write(two.record, WriteCondition::if_stamp(one.record.stamp)) == TierStatus::ok);
    CHECK(read(tier, k).value == "two");
    (void)server.command({"SCRIPT", "FLUSH"});
    CHECK(tier.clear("app") == TierStatus::ok);
    CHECK(read(tier, k).status == TierStatus::miss);
}

TEST_CASE("a lifetime changes under its version only, and the value stays", "[redis][tier][r4]") {
    RedisServer server;
    sc::FakeClock clock;
    sc::RedisTier tier(patient(server.url()), {.time = sc::TimeSource(&clock)});
    OwnedRecord owned(k, "value", 10min, clock.wall());
    const std::uint64_t stamp = owned.record.stamp;
    CHECK(tier.change_lifetime(k, stamp, clock.wall() + 1h, {}) == TierStatus::refused);
    REQUIRE(tier.write(owned.record) == TierStatus::ok);
    CHECK(tier.change_lifetime(k, stamp + 1, clock.wall() + 1h, {}) == TierStatus::refused);
    CHECK(read(tier, k).expires == owned.record.expires);
    CHECK(tier.change_lifetime(k, stamp, clock.wall() + 1h, clock.wall() + 2h) == TierStatus::ok);
    const ReadResult changed = read(tier, k);
    CHECK(changed.value == "value");
    CHECK(changed.stamp == stamp);
    CHECK(changed.created == owned.record.created);
    CHECK(changed.expires == clock.wall() + 1h);
    CHECK(changed.stale_until == clock.wall() + 2h);
    CHECK(server.command({"PTTL", redis_name(k)}).integer > 7'000'000);
    CHECK(tier.change_lifetime(k, stamp, sc::WallTime::max(), {}) == TierStatus::ok);
    CHECK(server.command({"PTTL", redis_name(k)}).integer > 29 * days);
    CHECK(tier.change_lifetime(k, stamp, clock.wall(), clock.wall()) == TierStatus::ok);
    CHECK(read(tier, k).status == TierStatus::miss);
}

TEST_CASE("batches give what single calls give", "[redis][tier][batch]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.url()));
    OwnedRecords many;
    for (std::size_t i = 0; i < 1500; ++i)
        many.add(sc::physical_key(i % 2 == 0 ? "a" : "b", std::to_string(i)), std::string(i * 3, 'x'));
    CHECK(tier.write_many(many.records) == std::vector<TierStatus>(1500, TierStatus::ok));
    const std::string none = sc::physical_key("a", "none");
    std::vector<std::string_view> keys = many.keys;
    keys.insert(keys.begin() + 700, none);
    std::vector<std::string> found(keys.size(), "(none)");
    tier.read_many(keys, [&](std::size_t i, const sc::RecordView& record) {
        if (!record.tombstone) found[i] = sc::as_text_view(record.payload);
    });
    for (std::size_t i = 0; i < keys.size(); ++i)
        CHECK((found[i] == (i == 700 ? "(none)" : many[i < 700 ? i : i - 1].value)));
    CHECK(tier.stats().hits == 1500);
    CHECK(tier.stats().misses == 1);
    CHECK(tier.stats().sets == 1500);
    const std::vector<TierStatus> removed = tier.remove_many(keys);
    CHECK(std::count(removed.begin(), removed.end(), TierStatus::ok) == 1500);
    CHECK(removed[700] == TierStatus::miss);
    for (const std::string_view key : {keys[0], keys[1], keys[1500]}) {
        CHECK(read(tier, key).status == TierStatus::miss);
        const long long kept =
            server.command({"PTTL", redis_name(key)}).integer;  // a trace, for a while (R7)
        CHECK(kept > 0);
        CHECK(kept <= 60'000);
    }
    tier.read_many({}, [](std::size_t, const sc::RecordView&) { FAIL("found what was not asked for"); });
    CHECK(tier.write_many({}).empty());
    CHECK(tier.remove_many({}).empty());
}

TEST_CASE("a batch is one round trip", "[redis][tier][batch]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.unix_url()));
    OwnedRecords many;
    for (int i = 0; i < 50; ++i) many.add(sc::physical_key("app", std::to_string(i)), "v");
    const std::vector<sc::RecordView>& records = many.records;
    const std::vector<std::string_view>& keys = many.keys;
    (void)tier.write(records[0]);  // opens the connection and the namespace
    // What the server reads from its sockets, counted by itself; `cost` of nothing is that of asking.
    const auto cost = [&](auto&& body) {
        const long long before = server.info_number("total_reads_processed");
        body();
        return server.info_number("total_reads_processed") - before;
    };
    const long long asking = cost([] {});
    const auto found = [](std::size_t, const sc::RecordView&) {};
    CHECK(cost([&] { (void)tier.write_many(records); }) == asking + 1);
    CHECK(cost([&] { tier.read_many(keys, found); }) == asking + 1);
    CHECK(cost([&] { (void)tier.remove_many(keys); }) == asking + 1);
    CHECK(cost([&] { (void)read(tier, keys[0]); }) == asking + 1);
    CHECK(cost([&] { (void)tier.write(records[0]); }) == asking + 1);
    const OwnedRecord fresh(sc::physical_key("app", "fresh"), "v");
    CHECK(cost([&] { (void)tier.write(fresh.record, WriteCondition::if_absent()); }) == asking + 1);
    CHECK(cost([&] { (void)tier.contains(keys[0]); }) == asking + 1);
    CHECK(cost([&] { (void)tier.remove(keys[0]); }) == asking + 1);
    CHECK(cost([&] { (void)tier.clear("app"); }) == asking + 1);
}

TEST_CASE("who may not use MGET reads batches all the same", "[redis][tier][batch]") {
    RedisServer server;
    (void)server.command({"ACL", "SETUSER", "default", "-mget"});
    sc::RedisTier tier(patient(server.unix_url()));
    OwnedRecords many;
    for (int i = 0; i < 10; ++i) many.add(sc::physical_key("app", std::to_string(i)), std::to_string(i));
    REQUIRE(tier.write_many(many.records) == std::vector<TierStatus>(10, TierStatus::ok));
    CHECK(intact(tier, many) == 10);
    CHECK(tier.stats().errors == 0);
    const std::string gone = redis_name(many.keys[3]);
    (void)server.command({"DEL", gone});
    (void)server.command({"RPUSH", gone, "x"});
    CHECK(intact(tier, many) == 9);
    CHECK(tier.stats().corrupt == 1);
}

TEST_CASE("what exceeds the limits is refused, counted, and leaves nothing older behind",
          "[redis][tier][r3]") {
    RedisServer server;
    sc::TierContext context;
    context.limits = {.max_key_size = 100, .max_value_size = 1000};
    sc::RedisTier tier(patient(server.url()), context);
    OwnedRecord fits(k, std::string(1000, 'x'));
    OwnedRecord large(k, std::string(1001, 'y'));
    OwnedRecord long_key(sc::physical_key("app", std::string(100, 'k')), "v");
    REQUIRE(tier.write(fits.record) == TierStatus::ok);
    CHECK(tier.write(large.record, WriteCondition::if_stamp(fits.record.stamp)) == TierStatus::rejected);
    CHECK(read(tier, k).status == TierStatus::ok);
    CHECK(tier.write(large.record) == TierStatus::rejected);
    CHECK(read(tier, k).status == TierStatus::miss);
    CHECK(tier.write(long_key.record) == TierStatus::rejected);
    CHECK(tier.stats().rejected == 3);

    REQUIRE(tier.write(fits.record) == TierStatus::ok);
    OwnedRecord dead(k, "dead", 0ms);
    CHECK(tier.write(dead.record) == TierStatus::rejected);
    CHECK(read(tier, k).status == TierStatus::miss);
    OwnedRecord other(sc::physical_key("app", "other"), "v");
    const std::vector<sc::RecordView> mixed{large.record, other.record, long_key.record};
    REQUIRE(tier.write(fits.record) == TierStatus::ok);
    CHECK(tier.write_many(mixed) ==
          std::vector<TierStatus>{TierStatus::rejected, TierStatus::ok, TierStatus::rejected});
    CHECK(read(tier, k).status == TierStatus::miss);
}

TEST_CASE("hits, misses, sets, bytes and latencies are counted; contains counts none of them",
          "[redis][tier][stats]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.url()));
    OwnedRecord owned(k, "v");
    CHECK(read(tier, k).status == TierStatus::miss);
    REQUIRE(tier.write(owned.record) == TierStatus::ok);
    CHECK(read(tier, k).status == TierStatus::ok);
    CHECK(tier.contains(k) == TierStatus::ok);
    CHECK(tier.contains(sc::physical_key("app", "none")) == TierStatus::miss);
    const sc::TierStats stats = tier.stats();
    CHECK(stats.hits == 1);
    CHECK(stats.misses == 1);
    CHECK(stats.sets == 1);
    CHECK(stats.errors == 0);
    CHECK(stats.timeouts == 0);
    CHECK(stats.bytes > 0);
    CHECK(stats.latency.count == 2);
    CHECK(stats.latency.max > 0ns);
    CHECK(stats.breaker == sc::BreakerState::closed);
    tier.reset_stats();
    CHECK(tier.stats().hits == 0);
    CHECK(tier.stats().bytes == 0);
    CHECK(tier.stats().latency.count == 0);
}

TEST_CASE("negative records and tombstones are read, and are not a value that exists", "[redis][tier]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.url()));
    OwnedRecord negative(k, "");
    negative.record.negative = true;
    REQUIRE(tier.write(negative.record) == TierStatus::ok);
    bool seen = false;
    CHECK(tier.read(k, [&](const sc::RecordView& record) { seen = record.negative; }) == TierStatus::ok);
    CHECK(seen);
    CHECK(tier.contains(k) == TierStatus::miss);
}

TEST_CASE("what a caller's function throws passes through, and the tier works on", "[redis][tier]") {
    RedisServer server;
    sc::RedisOptions options = patient(server.url());
    options.max_connections = 1;
    sc::RedisTier tier(options);
    OwnedRecord owned(k, "v");
    REQUIRE(tier.write(owned.record) == TierStatus::ok);
    CHECK_THROWS_AS(tier.read(k, [](const sc::RecordView&) { throw std::length_error("mine"); }),
                    std::length_error);
    CHECK(read(tier, k).value == "v");
}

TEST_CASE("a server without UNLINK is told to DEL", "[redis][tier]") {
    RedisServer server({.arguments = {"--rename-command", "UNLINK", ""}});
    sc::RedisOptions options = patient(server.url());
    options.coherence = sc::Coherence::off;
    sc::RedisTier tier(options);
    OwnedRecord owned(k, "v");
    REQUIRE(tier.write(owned.record) == TierStatus::ok);
    CHECK(tier.remove(k) == TierStatus::ok);
    CHECK(server.command({"EXISTS", redis_name(k)}).integer == 0);
    CHECK(tier.remove(k) == TierStatus::miss);
    CHECK(tier.stats().errors == 0);
}

TEST_CASE("impossible options are a ConfigError before anything else", "[redis][tier][config]") {
    CHECK_THROWS_AS(sc::RedisTier({.url = "redis://h:x"}), sc::ConfigError);
    CHECK_THROWS_AS(sc::RedisTier({.url = "rediss://127.0.0.1:1"}), sc::ConfigError);
    CHECK_THROWS_AS(
        sc::RedisTier({.url = "redis://127.0.0.1:1", .max_connections = 0}, {}, sc::defer_connect),
        sc::ConfigError);
}

TEST_CASE("a log-in that is refused is TierUnavailable with the server's words", "[redis][tier]") {
    RedisServer server({.password = "hunter2"});
    CHECK_NOTHROW(sc::RedisTier(patient(server.url())));
    try {
        sc::RedisTier tier(patient("redis://:hunter3@127.0.0.1:" + std::to_string(server.port())));
        FAIL("connected");
    } catch (const sc::TierUnavailable& error) {
        CHECK(std::string(error.what()).find("WRONGPASS") != std::string::npos);
        CHECK(std::string(error.what()).find("hunter") == std::string::npos);
    }
}

}  // namespace redis_tier_test
