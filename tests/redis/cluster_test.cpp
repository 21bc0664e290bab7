#include <smartcache/redis/cluster.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "redis/support/cluster_world.hpp"
#include "support/catch.hpp"

namespace cluster_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using namespace smartcache::test;
using namespace smartcache::test::cluster;
using sc::TierStatus;

TEST_CASE("a cluster keeps what it is given, over all partitions", "[redis][cluster]") {
    RedisCluster& cluster = three();
    sc::RedisTier tier(patient(cluster.url()));
    sc::RedisTier other(patient(cluster.url()));  // of another process
    const std::vector<std::string> keys = many_keys();
    std::set<std::size_t> partitions;
    for (const std::string& key : keys) partitions.insert(sc::detail::partition_of(key));
    REQUIRE(partitions.size() == sc::detail::cluster_partitions);
    for (std::size_t i = 0; i < 64; ++i) {
        const long long slot = cluster.command(0, {"CLUSTER", "KEYSLOT", cluster_name(keys[i])}).integer;
        CHECK(slot == static_cast<long long>(cluster_slot(keys[i])));
    }

    for (std::size_t i = 0; i < 300; ++i) REQUIRE(put(tier, keys[i], "one") == TierStatus::ok);
    for (std::size_t i = 0; i < 300; ++i) CHECK(read(other, keys[i]).value == "one");
    CHECK(cluster.holds(cluster.first_master(cluster_slot(keys[0])), cluster_name(keys[0])));
    CHECK(put_all(tier, keys, "v") == many);
    CHECK(count_of(other, keys, "v") == many);
    CHECK(other.contains(keys[1]) == TierStatus::ok);
    CHECK(other.remove(keys[1]) == TierStatus::ok);
    CHECK(tier.contains(keys[1]) == TierStatus::miss);
    CHECK(tier.remove(keys[1]) == TierStatus::miss);

    const std::vector<std::string> half(keys.begin(), keys.begin() + many / 2);
    const std::vector<TierStatus> erased = tier.remove_many(views_of(half));
    CHECK(std::count(erased.begin(), erased.end(), TierStatus::ok) == static_cast<int>(half.size()) - 1);
    CHECK(count_of(other, keys, "v") == many - half.size());

    REQUIRE(other.clear("app") == TierStatus::ok);
    CHECK(count_of(tier, keys, "v") == 0);
    CHECK(count_of(other, keys, "v") == 0);
    CHECK(put_all(tier, keys, "w") == many);
    CHECK(count_of(other, keys, "w") == many);
    const sc::TierHealth health = tier.probe();
    CHECK(health.ok);
    CHECK(health.detail == "ok: 3 masters answered PING");
    CHECK(tier.stats().errors + tier.stats().timeouts == 0);
}

TEST_CASE("scripts run where their key is", "[redis][cluster][r7]") {
    RedisCluster& cluster = three();
    sc::RedisTier tier(patient(cluster.url()));
    sc::RedisTier other(patient(cluster.url()));
    for (std::size_t i = 0; i < 300; ++i) {
        const std::string key = key_of(i);
        const OwnedRecord first(key, "first");
        const OwnedRecord second(key, "second");
        const OwnedRecord third(key, "third");
        REQUIRE(tier.write(first.record, sc::WriteCondition::if_absent()) == TierStatus::ok);
        CHECK(other.write(second.record, sc::WriteCondition::if_absent()) == TierStatus::refused);
        CHECK(other.write(second.record, sc::WriteCondition::if_stamp(first.record.stamp)) == TierStatus::ok);
        CHECK(tier.write(third.record, sc::WriteCondition::if_stamp(first.record.stamp)) ==
              TierStatus::refused);
        const sc::WallTime later = sc::SystemClock::instance().wall() + 2h;
        CHECK(tier.change_lifetime(key, second.record.stamp, later, later) == TierStatus::ok);
        CHECK(tier.end(key, first.record.stamp) == TierStatus::refused);
        CHECK(tier.end(key, second.record.stamp) == TierStatus::ok);
        CHECK(other.end(key, second.record.stamp) == TierStatus::refused);
    }
    // What is no record is tidied up there, too.
    const std::string key = key_of(7);
    const std::size_t master = cluster.first_master(cluster_slot(key));
    REQUIRE(cluster.command(master, {"SET", cluster_name(key), "no record"}).text == "OK");
    CHECK(read(tier, key).status == TierStatus::miss);
    CHECK_FALSE(cluster.holds(master, cluster_name(key)));
}

TEST_CASE("tags end their records in every partition", "[redis][cluster][tags][r18]") {
    RedisCluster& cluster = three();
    sc::RedisTier tier(patient(cluster.url()));
    sc::RedisTier other(patient(cluster.url()));
    CHECK(tier.tag_seq("app") == 0);  // nothing is known yet
    REQUIRE(other.erase_tag("app", "old") == TierStatus::ok);
    CHECK(read(tier, key_of(0)).status == TierStatus::miss);
    CHECK(tier.tag_seq("app") != 0);

    std::vector<std::string> keys;
    for (std::size_t i = 0; i < 400; ++i) keys.push_back(key_of(i));
    for (const std::string& key : keys)
        REQUIRE(tier.write(Tagged(tier, key, {"t", "old"}).record) == TierStatus::ok);
    CHECK(count_of(tier, keys, "tagged") == keys.size());
    CHECK(count_of(other, keys, "tagged") == keys.size());
    REQUIRE(other.erase_tag("app", "u") == TierStatus::ok);
    CHECK(count_of(tier, keys, "tagged") == keys.size());
    REQUIRE(other.erase_tag("app", "t") == TierStatus::ok);
    CHECK(count_of(tier, keys, "tagged") == 0);
    CHECK(count_of(other, keys, "tagged") == 0);

    // A value that was being made while its tag was erased, whatever this process learns meanwhile of which partition.
    for (std::size_t i = 0; i < keys.size(); i += 2) (void)read(tier, keys[i]);
    std::vector<std::unique_ptr<Tagged>> late;
    for (const std::string& key : keys)
        late.push_back(std::make_unique<Tagged>(tier, key, std::vector<std::string>{"t"}));
    REQUIRE(other.erase_tag("app", "t") == TierStatus::ok);
    for (std::size_t i = 0; i < keys.size(); i += 3) (void)read(tier, keys[i]);
    for (const auto& each : late) (void)tier.write(each->record);
    CHECK(count_of(tier, keys, "tagged") == 0);
    CHECK(count_of(other, keys, "tagged") == 0);

    // As it is when all has been seen.
    for (const std::string& key : keys) {
        const auto seen = sc::WriteCondition::if_stamp(read(tier, key).stamp);  // what the erase has ended
        REQUIRE(tier.write(Tagged(tier, key, {"t"}).record, seen) == TierStatus::ok);
    }
    CHECK(count_of(other, keys, "tagged") == keys.size());
    REQUIRE(tier.expire_tag("app", "t") == TierStatus::ok);
    CHECK(count_of(other, keys, "tagged") == 0);
}

TEST_CASE("namespaces on one cluster do not touch each other, nor what is not ours", "[redis][cluster]") {
    RedisCluster& cluster = three();
    sc::RedisTier tier(patient(cluster.url()));
    std::vector<std::string> mine;
    std::vector<std::string> theirs;
    for (int i = 0; i < 300; ++i) {
        mine.push_back(sc::physical_key("app", std::to_string(i)));
        theirs.push_back(sc::physical_key("other", std::to_string(i)));
    }
    REQUIRE(put_all(tier, mine, "m") == mine.size());
    REQUIRE(put_all(tier, theirs, "t") == theirs.size());
    const std::size_t foo = cluster.first_master(sc::detail::hash_slot("foo"));
    REQUIRE(cluster.command(foo, {"SET", "foo", "bar"}).text == "OK");
    REQUIRE(tier.erase_tag("app", "x") == TierStatus::ok);
    REQUIRE(tier.clear("app") == TierStatus::ok);
    CHECK(count_of(tier, mine, "m") == 0);
    CHECK(count_of(tier, theirs, "t") == theirs.size());
    CHECK(cluster.command(foo, {"GET", "foo"}).text == "bar");
}

TEST_CASE("a slot that has moved is found, and nothing from before comes back", "[redis][cluster][r14]") {
    RedisCluster& cluster = three();
    sc::RedisTier tier(patient(cluster.url()));
    sc::RedisTier other(patient(cluster.url()));
    const std::string k = key_at(cluster, 0);
    const std::size_t slot = cluster_slot(k);
    REQUIRE(put(tier, k, "v") == TierStatus::ok);
    REQUIRE(read(other, k).value == "v");
    cluster.move(slot, 0, 1);
    CHECK(read(other, k).value == "v");  // which has changed nothing that could be missing there
    CHECK(cluster.holds(1, cluster_name(k)));
    CHECK(other.remove(k) == TierStatus::ok);
    CHECK(read(tier, k).status == TierStatus::miss);
    CHECK(put(tier, k, "w") == TierStatus::ok);
    CHECK(read(other, k).value == "w");
    CHECK(tier.clear("app") == TierStatus::ok);
    CHECK(read(other, k).status == TierStatus::miss);
    CHECK(put(other, k, "x") == TierStatus::ok);

    // A batch of which only a part is redirected.
    const std::vector<std::string> keys = many_keys();
    CHECK(put_all(tier, keys, "b") == many);
    cluster.move(slot, 1, 0);
    CHECK(count_of(other, keys, "b") == many - 1);  // it had changed `k` itself: see below
    CHECK(read(other, k).status == TierStatus::miss);
    CHECK(put_all(other, keys, "c") == many);
    CHECK(tier.stats().errors + other.stats().errors == 0);
}

TEST_CASE("what this process changed lately is erased where a slot comes to", "[redis][cluster][r14]") {
    RedisCluster& cluster = three();
    sc::RedisTier tier(patient(cluster.url()));
    const std::string k = key_at(cluster, 0);
    const std::size_t slot = cluster_slot(k);
    REQUIRE(put(tier, k, "old") == TierStatus::ok);
    const std::string dump = cluster.command(0, {"DUMP", cluster_name(k)}).text;
    REQUIRE(tier.remove(k) == TierStatus::ok);
    // The new owner has not heard of that.
    cluster.begin_move(slot, 0, 1);
    cluster.move_keys(slot, 0, 1);
    cluster.end_move(slot, 0, 1);
    REQUIRE(cluster.command(1, {"RESTORE", cluster_name(k), "0", dump, "REPLACE"}).text == "OK");
    SECTION("when it is asked for") {
        CHECK(read(tier, k).status == TierStatus::miss);
    }
    SECTION("when nobody asks for it") {
        CHECK(eventually([&] {
            tier.tend();
            return !is_value(cluster.command(1, {"GET", cluster_name(k)}));
        }));
    }
    CHECK_FALSE(is_value(cluster.command(1, {"GET", cluster_name(k)})));
    CHECK(put(tier, k, "new") == TierStatus::ok);
    CHECK(read(tier, k).value == "new");
    cluster.move(slot, 1, 0);
}

TEST_CASE("what is unacknowledged is erased where its slot has gone", "[redis][cluster][r11]") {
    RedisCluster& cluster = three();
    sc::RedisTier tier(patient(cluster.url()));
    sc::RedisTier other(patient(cluster.url()));
    const std::string k = key_at(cluster, 0);
    const std::size_t slot = cluster_slot(k);
    REQUIRE(put(other, k, "old") == TierStatus::ok);
    REQUIRE(read(tier, k).value == "old");
    (void)cluster.command(0, {"ACL", "SETUSER", "default", "-set"});
    CHECK(tier.remove(k) == TierStatus::unavailable);
    CHECK(read(tier, k).status == TierStatus::miss);
    cluster.move(slot, 0, 1);
    (void)cluster.command(0, {"ACL", "SETUSER", "default", "+set"});
    REQUIRE(cluster.holds(1, cluster_name(k)));
    CHECK(eventually([&] { return tier.flush(ample); }));
    CHECK_FALSE(is_value(cluster.command(1, {"GET", cluster_name(k)})));
    CHECK(read(tier, k).status == TierStatus::miss);
    cluster.move(slot, 1, 0);
}

TEST_CASE("a slot that is on its way is used at both ends", "[redis][cluster]") {
    RedisCluster& cluster = three();
    sc::RedisTier tier(patient(cluster.url()));
    // Two keys of one partition: one has moved, one has not, a third is new.
    const std::string here = key_at(cluster, 0);
    const std::size_t partition = sc::detail::partition_of(here);
    std::vector<std::string> same;
    for (std::size_t i = 0; same.size() < 4; ++i)
        if (sc::detail::partition_of(key_of(i)) == partition && key_of(i) != here) same.push_back(key_of(i));
    const std::string& there = same[0];
    const std::string& fresh = same[1];
    const std::string big(100'000, 'b');
    const std::size_t slot = cluster_slot(here);
    REQUIRE(put(tier, here, "here") == TierStatus::ok);
    REQUIRE(put(tier, there, "there") == TierStatus::ok);
    cluster.begin_move(slot, 0, 1);
    REQUIRE(cluster
                .command(0, {"MIGRATE", "127.0.0.1", std::to_string(cluster.server(1).port()),
                             cluster_name(there), "0", "30000"})
                .text == "OK");

    SECTION("while the epochs are still where they were") {}
    SECTION("while the epochs have moved already") {
        const std::string hash =
            cluster_name(here).substr(0, cluster_name(here).find('}') + 1) + ":epochs:3:app";
        REQUIRE(cluster
                    .command(0, {"MIGRATE", "127.0.0.1", std::to_string(cluster.server(1).port()), hash, "0",
                                 "30000"})
                    .text == "OK");
        REQUIRE(cluster.holds(1, hash));
    }
    CHECK(read(tier, here).value == "here");
    CHECK(read(tier, there).value == "there");
    CHECK(read(tier, fresh).status == TierStatus::miss);
    CHECK(put(tier, fresh, "fresh") == TierStatus::ok);
    CHECK(cluster.holds(1, cluster_name(fresh)));
    CHECK(put_all(tier, {here, there, fresh, same[2]}, big) == 4);
    CHECK(count_of(tier, {here, there, fresh, same[2]}, big) == 4);
    const OwnedRecord fill(same[3], "fill");
    CHECK(tier.write(fill.record, sc::WriteCondition::if_absent()) == TierStatus::ok);
    CHECK(tier.end(same[3], fill.record.stamp) == TierStatus::ok);
    CHECK(tier.remove(here) == TierStatus::ok);
    CHECK(tier.remove(there) == TierStatus::ok);
    CHECK(read(tier, here).status == TierStatus::miss);
    CHECK(read(tier, there).status == TierStatus::miss);
    CHECK(tier.clear("app") == TierStatus::ok);
    CHECK(read(tier, fresh).status == TierStatus::miss);
    CHECK(put(tier, fresh, "again") == TierStatus::ok);
    CHECK(tier.stats().errors + tier.stats().timeouts == 0);
    cluster.move_keys(slot, 0, 1);
    cluster.end_move(slot, 0, 1);
    sc::RedisTier other(patient(cluster.url()));
    CHECK(read(other, fresh).value == "again");
    CHECK(read(other, there).status == TierStatus::miss);
    cluster.move(slot, 1, 0);
}

TEST_CASE("clears and erased tags hold while their slot is on its way, wherever its epochs are",
          "[redis][cluster][clear][tags][r16][r17]") {
    enum class Epochs { stay, move, are_lost };
    const Epochs epochs = GENERATE(Epochs::stay, Epochs::move, Epochs::are_lost);
    INFO("epochs " << static_cast<int>(epochs));
    RedisCluster& cluster = three();
    sc::RedisTier one(patient(cluster.url()));
    sc::RedisTier two(patient(cluster.url()));
    const std::string here = key_at(cluster, 0);
    std::string there;
    for (std::size_t i = 0; there.empty(); ++i)
        if (sc::detail::partition_of(key_of(i)) == sc::detail::partition_of(here) && key_of(i) != here)
            there = key_of(i);
    const std::size_t slot = cluster_slot(here);
    const std::string name = cluster_name(here);
    const std::string hash = name.substr(0, name.find('}') + 1) + ":epochs:3:app";
    for (const std::string& key : {here, there}) REQUIRE(put(one, key, "old") == TierStatus::ok);
    REQUIRE(read(two, here).value == "old");
    cluster.begin_move(slot, 0, 1);
    const auto migrate = [&](const std::string& what) {
        return cluster.command(
            0, {"MIGRATE", "127.0.0.1", std::to_string(cluster.server(1).port()), what, "0", "30000"});
    };
    REQUIRE(migrate(cluster_name(there)).text == "OK");
    if (epochs == Epochs::move) REQUIRE(migrate(hash).text == "OK");
    if (epochs == Epochs::are_lost) REQUIRE(cluster.command(0, {"DEL", hash}).integer == 1);

    CHECK(one.clear("app") == TierStatus::ok);
    for (sc::RedisTier* const each : {&one, &two})
        for (const std::string& key : {here, there}) CHECK(read(*each, key).status == TierStatus::miss);
    CHECK(put(two, here, "new") == TierStatus::ok);
    CHECK(one.write(Tagged(one, there, {"t"}).record) == TierStatus::ok);
    CHECK(read(one, here).value == "new");
    CHECK(read(two, there).value == "tagged");
    CHECK(two.erase_tag("app", "t") == TierStatus::ok);
    for (sc::RedisTier* const each : {&one, &two}) CHECK(read(*each, there).status == TierStatus::miss);
    CHECK(read(one, here).value == "new");
    CHECK(one.stats().errors + one.stats().timeouts + two.stats().errors + two.stats().timeouts == 0);
    cluster.move_keys(slot, 0, 1);
    cluster.end_move(slot, 0, 1);
    sc::RedisTier late(patient(cluster.url()));
    CHECK(read(late, here).value == "new");
    CHECK(read(late, there).status == TierStatus::miss);
    CHECK(late.clear("app") == TierStatus::ok);
    for (sc::RedisTier* const each : {&one, &two}) CHECK(read(*each, here).status == TierStatus::miss);
    cluster.move(slot, 1, 0);
}

TEST_CASE("slots move while many threads read and write, and nobody notices", "[redis][cluster][r14]") {
    RedisCluster& cluster = three();
    sc::RedisTier tier(patient(cluster.url()));
    constexpr std::size_t threads = 4;
    std::atomic<bool> done{false};
    std::array<std::size_t, threads> failed{};
    std::array<std::size_t, threads> wrong{};
    std::vector<std::thread> running;
    for (std::size_t t = 0; t < threads; ++t)
        running.emplace_back([&, t] {
            // Each thread has keys of its own: what it reads is what it wrote last, or nothing.
            for (std::size_t round = 0; !done; ++round) {
                const std::string key = key_of(t + threads * (round % 100));
                const std::string value = std::to_string(round);
                if (put(tier, key, value) != TierStatus::ok) ++failed[t];
                const ReadResult result = read(tier, key);
                if (result.value && *result.value != value) ++wrong[t];
                if (result.status == TierStatus::unavailable) ++failed[t];
                if (round % 3 != 0) continue;
                if (tier.remove(key) == TierStatus::unavailable) ++failed[t];
                if (read(tier, key).value) ++wrong[t];
            }
        });
    std::vector<std::size_t> slots;
    for (std::size_t i = 0; i < 20; ++i) {
        const std::size_t slot = cluster_slot(key_at(cluster, 0, i));
        if (std::find(slots.begin(), slots.end(), slot) == slots.end()) slots.push_back(slot);
    }
    for (const std::size_t slot : slots) cluster.move(slot, 0, 1);
    for (const std::size_t slot : slots) cluster.move(slot, 1, 2);
    for (const std::size_t slot : slots) cluster.move(slot, 2, 0);
    done = true;
    for (std::thread& thread : running) thread.join();
    for (std::size_t t = 0; t < threads; ++t) {
        CHECK(failed[t] == 0);
        CHECK(wrong[t] == 0);
    }
}

}  // namespace cluster_test
