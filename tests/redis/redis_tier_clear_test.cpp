#include <smartcache/redis/redis_tier.hpp>

#include <atomic>
#include <chrono>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "redis/support/tier_world.hpp"
#include "support/catch.hpp"

namespace redis_tier_clear_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using namespace smartcache::test;
using sc::TierStatus;
using sc::WriteCondition;

namespace {

const std::string k = sc::physical_key("app", "k");
const std::string hash = sc::detail::epoch_key("app");

long long epoch_in(RedisServer& server) {
    return std::stoll(server.command({"HGET", hash, "clear"}).text);
}

}  // namespace

TEST_CASE("a clear costs the same however much there is, and deletes nothing", "[redis][tier][clear]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.url()));
    REQUIRE(tier.clear("app") == TierStatus::ok);  // the server knows the script from now on
    const auto commands_of_a_clear = [&] {
        const long long before = server.info_number("total_commands_processed");
        CHECK(tier.clear("app") == TierStatus::ok);
        return server.info_number("total_commands_processed") - before;
    };
    const long long empty = commands_of_a_clear();
    OwnedRecords many;
    for (int i = 0; i < 1000; ++i) many.add(sc::physical_key("app", std::to_string(i)), "v");
    REQUIRE(tier.write_many(many.records) == std::vector<TierStatus>(1000, TierStatus::ok));
    CHECK(server.command({"DBSIZE"}).integer == 1001);  // and the epochs
    CHECK(commands_of_a_clear() == empty);
    CHECK(server.command({"DBSIZE"}).integer == 1001);  // Redis drops them when they expire
    int found = 0;
    for (const std::string_view key : many.keys)
        if (tier.contains(key) != TierStatus::miss) ++found;
    CHECK(found == 0);
    const std::string commands = server.command({"INFO", "commandstats"}).text;
    for (const char* forbidden : {"cmdstat_flush", "cmdstat_scan", "cmdstat_keys", "cmdstat_unlink"})
        CHECK(commands.find(forbidden) == std::string::npos);

    // What was cleared is no reason to refuse a fill, which never overwrites what is alive.
    CHECK(fill(tier, many[0].key, "new") == TierStatus::ok);
    CHECK(read(tier, many[0].key).value == "new");
    CHECK(server.command({"DBSIZE"}).integer == 1001);
}

TEST_CASE("a clear ends at its namespace: neighbours and foreign keys stay", "[redis][tier][clear][r25]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.url()));
    sc::RedisTier elsewhere(patient(server.url(1)));
    // Pairs that a join without lengths would confuse with ("a", ...).
    const std::vector<std::pair<std::string, std::string>> neighbours{
        {"", "a:k"}, {"a:", "k"}, {"ab", "k"}, {"A", "k"}, {"a\r\nFLUSHALL", "k"}, {"*", "k"}, {"1:a", "k"}};
    for (const auto& [space, key] : neighbours)
        REQUIRE(put(tier, sc::physical_key(space, key), space) == TierStatus::ok);
    REQUIRE(put(elsewhere, sc::physical_key("a", "k"), "elsewhere") == TierStatus::ok);
    for (const char* foreign : {"k", "1:a:k", "sc:", "sc:a", "sc:1:a", "sc:{epochs}", "sc:{epochs}:a"})
        REQUIRE(server.command({"SET", foreign, foreign}).text == "OK");
    for (const char* key : {"k", ":k", ""})
        REQUIRE(put(tier, sc::physical_key("a", key), "cleared") == TierStatus::ok);
    const long long keys = server.command({"DBSIZE"}).integer;

    REQUIRE(tier.clear("a") == TierStatus::ok);
    for (const char* key : {"k", ":k", ""})
        CHECK(read(tier, sc::physical_key("a", key)).status == TierStatus::miss);
    for (const auto& [space, key] : neighbours) {
        INFO(space);
        CHECK(read(tier, sc::physical_key(space, key)).value == space);
    }
    for (const char* foreign : {"k", "1:a:k", "sc:", "sc:a", "sc:1:a", "sc:{epochs}", "sc:{epochs}:a"})
        CHECK(server.command({"GET", foreign}).text == foreign);
    CHECK(read(elsewhere, sc::physical_key("a", "k")).value == "elsewhere");
    CHECK(server.command({"DBSIZE"}).integer == keys);
}

TEST_CASE("another process' clear is seen by the next call of every kind", "[redis][tier][clear][r18]") {
    RedisServer server;
    sc::RedisTier one(patient(server.url()));
    sc::RedisTier two(patient(server.unix_url()));
    const OwnedRecord old(k, "old");
    const std::vector<std::string_view> keys{k, k};
    // `two` knows the epoch each time, so only asking again can tell it.
    const auto cleared_behind_its_back = [&] {
        REQUIRE(one.write(old.record) == TierStatus::ok);
        REQUIRE(read(two, k).value == "old");
        REQUIRE(one.clear("app") == TierStatus::ok);
    };
    cleared_behind_its_back();
    CHECK(read(two, k).status == TierStatus::miss);
    cleared_behind_its_back();
    CHECK(two.contains(k) == TierStatus::miss);
    cleared_behind_its_back();
    two.read_many(keys, [](std::size_t, const sc::RecordView& record) { CHECK(record.tombstone); });
    cleared_behind_its_back();
    CHECK(two.change_lifetime(k, old.record.stamp, sc::WallTime::max(), {}) == TierStatus::refused);
    CHECK(read(two, k).status == TierStatus::miss);
    cleared_behind_its_back();
    CHECK(two.remove(k) == TierStatus::miss);
    cleared_behind_its_back();
    CHECK(put(two, k, "new") == TierStatus::ok);
    CHECK(read(one, k).value == "new");
    CHECK(two.stats().corrupt == 0);
}

TEST_CASE("what was written under the old epoch and arrives after the clear is not served",
          "[redis][tier][clear][r10]") {
    RedisServer server;
    sc::RedisTier one(patient(server.url()));
    sc::RedisTier two(patient(server.url()));
    REQUIRE(put(two, k, "late") == TierStatus::ok);
    const std::string late = server.command({"GET", redis_name(k)}).text;
    REQUIRE(one.clear("app") == TierStatus::ok);
    (void)server.command({"SET", redis_name(k), late});
    for (sc::RedisTier* tier : {&one, &two}) {
        CHECK(read(*tier, k).status == TierStatus::miss);
        CHECK(tier->contains(k) == TierStatus::miss);
        CHECK(tier->stats().corrupt == 0);  // it is whole, and nobody's any more
    }
    // However often the namespace is cleared, the number does not come round again.
    for (int i = 0; i < 50; ++i) {
        REQUIRE(one.clear("app") == TierStatus::ok);
        CHECK(read(two, k).status == TierStatus::miss);
    }
}

TEST_CASE("a lagging writer's fill is refused after a clear, its set is written anew",
          "[redis][tier][clear][r7][r19]") {
    RedisServer server;
    sc::RedisTier one(patient(server.url()));
    sc::RedisTier two(patient(server.url()));
    REQUIRE(put(two, sc::physical_key("app", "other"), "v") == TierStatus::ok);
    REQUIRE(one.clear("app") == TierStatus::ok);
    // The fill's value was loaded before the clear, for all that `two` can tell.
    CHECK(put(two, k, "loaded before", WriteCondition::if_absent()) == TierStatus::refused);
    CHECK(read(one, k).status == TierStatus::miss);
    CHECK(read(two, k).status == TierStatus::miss);
    CHECK(fill(two, k, "loaded after") == TierStatus::ok);
    CHECK(read(one, k).value == "loaded after");

    REQUIRE(one.clear("app") == TierStatus::ok);
    CHECK(put(two, k, "set") == TierStatus::ok);
    CHECK(read(one, k).value == "set");
    CHECK(read(two, k).value == "set");
}

TEST_CASE("whatever happens to the epochs, nothing older is believed and what is new works",
          "[redis][tier][clear][r17]") {
    using Damage = std::vector<std::vector<std::string>>;
    const std::vector<Damage> damages{
        {{"DEL", hash}},
        {{"HDEL", hash, "token"}},
        {{"HDEL", hash, "clear"}},
        {{"HSET", hash, "token", ""}},
        {{"HSET", hash, "token", "another", "clear", "1"}},
        {{"HSET", hash, "token", "yet another"}},
        {{"HSET", hash, "clear", ""}},
        {{"HSET", hash, "clear", "0"}},
        {{"HSET", hash, "clear", "-1"}},
        {{"HSET", hash, "clear", "1"}},
        {{"HSET", hash, "clear", "x"}},
        {{"HSET", hash, "clear", "1e300"}},
        {{"HSET", hash, "clear", "99999999999999999999999999"}},
        {{"HSET", hash, "clear", std::string(100'000, '9')}},
        {{"HSET", hash, "clear", "9007199254740991"}},
        {{"HSET", hash, "clear", "9007199254740992"}},
        {{"HINCRBY", hash, "clear", "1"}},
        {{"SET", hash, "a string"}},
        {{"DEL", hash}, {"RPUSH", hash, "a", "list"}},
        {{"DEL", hash}, {"HSET", hash, "field", "of somebody else"}},
        {{"COPY", sc::detail::epoch_key("other"), hash, "REPLACE"}},
    };
    RedisServer server;
    sc::RedisTier one(patient(server.url()));
    sc::RedisTier two(patient(server.url()));
    REQUIRE(put(one, sc::physical_key("other", "k"), "neighbour") == TierStatus::ok);
    for (const Damage& damage : damages) {
        std::string told;
        for (const std::string& word : damage.back()) told += word.substr(0, 40) + " ";
        INFO(told);
        REQUIRE(put(one, k, "old") == TierStatus::ok);
        REQUIRE(read(two, k).value == "old");
        const long long before = epoch_in(server);
        for (const std::vector<std::string>& command : damage)
            REQUIRE(server.command(command).kind != RedisAnswer::Kind::error);
        CHECK(read(one, k).status == TierStatus::miss);
        CHECK(read(two, k).status == TierStatus::miss);
        CHECK(fill(two, k, "filled") == TierStatus::ok);
        CHECK(read(one, k).value == "filled");
        CHECK(put(one, k, "new") == TierStatus::ok);
        CHECK(read(two, k).value == "new");
        CHECK(epoch_in(server) > before);
        CHECK(one.clear("app") == TierStatus::ok);
        CHECK(read(two, k).status == TierStatus::miss);
    }
    CHECK(read(two, sc::physical_key("other", "k")).value == "neighbour");
}

TEST_CASE("an epoch that cannot be raised makes a clear fail instead of lie", "[redis][tier][clear][r17]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.url()));
    REQUIRE(put(tier, k, "older") == TierStatus::ok);
    // By hand, the last number that counts as an epoch: the server's time gets there in the year 2255.
    (void)server.command({"HSET", hash, "clear", "9007199254740000"});
    CHECK(read(tier, k).status != TierStatus::ok);
    REQUIRE(put(tier, k, "value") == TierStatus::ok);
    for (int i = 0; i < 3; ++i) {
        const std::string there = server.command({"GET", redis_name(k)}).text;
        CHECK(tier.clear("app") == TierStatus::unavailable);
        (void)server.command({"SET", redis_name(k), there});
        CHECK(read(tier, k).status != TierStatus::ok);
    }
    CHECK(put(tier, sc::physical_key("other", "k"), "neighbour") == TierStatus::ok);
}

TEST_CASE("an old copy of the epochs does not bring back what a living process saw cleared",
          "[redis][tier][clear][r17]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.url()));
    REQUIRE(put(tier, k, "old") == TierStatus::ok);
    (void)server.command({"COPY", hash, "copy of the epochs"});
    REQUIRE(tier.clear("app") == TierStatus::ok);
    const long long cleared = epoch_in(server);
    (void)server.command({"COPY", "copy of the epochs", hash, "REPLACE"});
    REQUIRE(epoch_in(server) < cleared);
    CHECK(read(tier, k).status == TierStatus::miss);
    CHECK(epoch_in(server) > cleared);
    CHECK(put(tier, k, "new") == TierStatus::ok);
    CHECK(read(tier, k).value == "new");
}

TEST_CASE("epochs only rise, whoever clears and whatever is lost", "[redis][tier][clear][r17]") {
    RedisServer server;
    sc::RedisTier one(patient(server.url()));
    sc::RedisTier two(patient(server.url()));
    long long last = 0;
    std::set<std::string> tokens;
    for (int i = 0; i < 60; ++i) {
        REQUIRE((i % 2 == 0 ? one : two).clear("app") == TierStatus::ok);
        CHECK(epoch_in(server) > last);
        last = epoch_in(server);
        if (i < 30 && i % 7 == 0) {
            CHECK(tokens.insert(server.command({"HGET", hash, "token"}).text).second);
            (void)server.command({"DEL", hash});
        }
        // As after a server's clock was set back: from here on the number alone counts.
        if (i == 30) (void)server.command({"HSET", hash, "clear", std::to_string(last += 1'000'000'000'000)});
    }
}

TEST_CASE("a clear that the server did not acknowledge holds on this side until it has",
          "[redis][tier][clear][r11]") {
    RedisServer server({.arguments = {"--appendonly", "yes", "--appendfsync", "always"}});
    const std::string neighbour = sc::physical_key("other", "k");
    sc::RedisTier tier(patient(server.unix_url()));
    REQUIRE(put(tier, k, "old") == TierStatus::ok);
    REQUIRE(put(tier, neighbour, "neighbour") == TierStatus::ok);

    SECTION("because it is dead, and comes back with everything that it had") {
        server.kill();
        CHECK(tier.clear("app") == TierStatus::unavailable);
        CHECK(tier.stats().errors == 1);
        CHECK(read(tier, k).status != TierStatus::ok);
        server.start();
        REQUIRE(server.command({"EXISTS", redis_name(k)}).integer == 1);
        CHECK(read(tier, k).status != TierStatus::ok);
    }
    SECTION("because it refuses") {
        (void)server.command({"ACL", "SETUSER", "default", "-eval", "-evalsha", "-hincrby"});
        CHECK(tier.clear("app") == TierStatus::unavailable);
        for (int i = 0; i < 3; ++i) {
            CHECK(read(tier, k).status == TierStatus::miss);
            CHECK(tier.contains(k) == TierStatus::miss);
            CHECK(read(tier, sc::physical_key("app", "never seen")).status == TierStatus::miss);
            CHECK(read(tier, neighbour).value == "neighbour");
        }
        CHECK_FALSE(tier.flush(ample));
        CHECK(server.command({"EXISTS", redis_name(k)}).integer == 1);
        (void)server.command({"ACL", "SETUSER", "default", "+eval", "+evalsha", "+hincrby"});
    }
    REQUIRE(settles(tier));
    CHECK(read(tier, k).status == TierStatus::miss);
    CHECK(read(tier, neighbour).value == "neighbour");
    sc::RedisTier other_process(patient(server.url()));
    CHECK(read(other_process, k).status == TierStatus::miss);
    CHECK(put(tier, k, "new") == TierStatus::ok);
    CHECK(read(other_process, k).value == "new");
}

TEST_CASE("clears that are made up for take one round trip, however many they are",
          "[redis][tier][clear][r11]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.unix_url()));
    REQUIRE(put(tier, k, "v") == TierStatus::ok);
    REQUIRE(tier.clear("app") == TierStatus::ok);  // the server knows the script
    (void)server.command({"ACL", "SETUSER", "default", "-eval", "-evalsha", "-hincrby"});
    for (int i = 0; i < 50; ++i) CHECK(tier.clear("app" + std::to_string(i)) == TierStatus::unavailable);
    (void)server.command({"ACL", "SETUSER", "default", "+eval", "+evalsha", "+hincrby"});
    const long long before = server.info_number("total_reads_processed");
    const long long asking = server.info_number("total_reads_processed") - before;
    CHECK(eventually([&] { return tier.flush(ample); }));
    CHECK(server.info_number("total_reads_processed") - before == 2 * asking + 1);
    for (int i = 0; i < 50; ++i)
        CHECK(put(tier, sc::physical_key("app" + std::to_string(i), "k"), "v") == TierStatus::ok);
}

TEST_CASE("no reader gets a value from before a clear that had returned when it asked",
          "[redis][tier][clear][threads]") {
    RedisServer server;
    sc::RedisTier writer(patient(server.unix_url()));
    std::atomic<int> cleared{0};  // values up to this one are history
    std::atomic<bool> stop{false};
    std::atomic<int> too_old{0};
    std::vector<std::thread> readers;
    for (int t = 0; t < 3; ++t)
        readers.emplace_back([&] {
            sc::RedisTier reader(patient(server.unix_url()));
            while (!stop) {
                const int history = cleared;
                const ReadResult got = read(reader, k);
                if (got.value && std::stoi(*got.value) <= history) ++too_old;
            }
        });
    int failed = 0;
    for (int i = 1; i <= 300; ++i) {
        if (put(writer, k, std::to_string(i)) != TierStatus::ok) ++failed;
        if (writer.clear("app") != TierStatus::ok) ++failed;
        cleared = i;
    }
    stop = true;
    for (std::thread& reader : readers) reader.join();
    CHECK(failed == 0);
    CHECK(too_old == 0);
}

}  // namespace redis_tier_clear_test
