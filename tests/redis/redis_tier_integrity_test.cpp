#include <smartcache/redis/redis_tier.hpp>

#include <chrono>
#include <string>
#include <vector>

#include "redis/support/tier_world.hpp"
#include "support/catch.hpp"

namespace redis_tier_integrity_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using namespace smartcache::test;
using sc::TierStatus;
using sc::WriteCondition;

namespace {

const std::string k = sc::physical_key("app", "k");
const std::string other_key = sc::physical_key("app", "other");

sc::RedisOptions with_secret(const std::string& url, const std::string& secret) {
    sc::RedisOptions options = patient(url);
    options.integrity_key = secret;
    return options;
}

/// A server, a tier that signs, and one that knows nothing of the secret.
struct World {
    RedisServer server;
    sc::RedisTier tier{with_secret(server.unix_url(), "a secret of 20 bytes")};
    sc::RedisTier stranger{patient(server.unix_url())};

    [[nodiscard]] std::string stored(const std::string& key) {
        return server.command({"GET", redis_name(key)}).text;
    }
    void put(const std::string& key, const std::string& bytes) {
        REQUIRE(server.command({"SET", redis_name(key), bytes}).text == "OK");
    }
    /// What is under `key` is a miss for `reader`, counted once, gone afterwards, and no obstacle.
    void check_refused(sc::RedisTier& reader, const std::string& key) {
        const std::uint64_t before = reader.stats().corrupt;
        CHECK(read(reader, key).status == TierStatus::miss);
        CHECK(reader.stats().corrupt == before + 1);
        CHECK(server.command({"EXISTS", redis_name(key)}).integer == 0);
        const OwnedRecord filled(key, "filled");
        CHECK(reader.write(filled.record, WriteCondition::if_absent()) == TierStatus::ok);
        CHECK(read(reader, key).value == "filled");
    }
};

}  // namespace

TEST_CASE("a tier with an integrity key does all that it does without", "[redis][tier][integrity]") {
    World world;
    sc::RedisTier& tier = world.tier;
    const OwnedRecord one(k, "one");
    CHECK(tier.write(one.record) == TierStatus::ok);
    CHECK(read(tier, k).value == "one");
    CHECK(tier.contains(k) == TierStatus::ok);

    const OwnedRecord two(k, "two");
    CHECK(tier.write(two.record, WriteCondition::if_absent()) == TierStatus::refused);
    CHECK(tier.write(two.record, WriteCondition::if_stamp(two.record.stamp)) == TierStatus::refused);
    CHECK(tier.write(two.record, WriteCondition::if_stamp(one.record.stamp)) == TierStatus::ok);
    CHECK(read(tier, k).value == "two");

    CHECK(tier.change_lifetime(k, two.record.stamp, sc::WallTime::max(), {}) == TierStatus::ok);
    CHECK(read(tier, k).value == "two");
    CHECK(read(tier, k).expires == sc::WallTime::max());
    CHECK(tier.remove(k) == TierStatus::ok);
    CHECK(tier.remove(k) == TierStatus::miss);

    OwnedRecords many;
    for (std::size_t i = 0; i < 600; ++i)
        many.add(sc::physical_key("app", std::to_string(i)), std::string(i * 9, 'v'));
    for (const TierStatus status : tier.write_many(many.records)) CHECK(status == TierStatus::ok);
    CHECK(intact(tier, many) == many.size());
    for (const TierStatus status : tier.remove_many(many.keys)) CHECK(status == TierStatus::ok);

    REQUIRE(tier.write(one.record) == TierStatus::ok);
    CHECK(tier.clear("app") == TierStatus::ok);
    CHECK(read(tier, k).status == TierStatus::miss);
    CHECK(tier.write(one.record, WriteCondition::if_stamp(read(tier, k).stamp)) ==
          TierStatus::ok);  // over what was cleared
    CHECK(read(tier, k).value == "one");
    CHECK(tier.stats().corrupt == 0);
    CHECK(tier.stats().errors == 0);
}

TEST_CASE("two tiers with the same secret read each other's records", "[redis][tier][integrity]") {
    World world;
    sc::RedisTier friendly(with_secret(world.server.url(), "a secret of 20 bytes"));
    const OwnedRecord one(k, "one");
    REQUIRE(world.tier.write(one.record) == TierStatus::ok);
    CHECK(read(friendly, k).value == "one");
    CHECK(friendly.stats().corrupt == 0);
}

TEST_CASE("the largest value that the limits allow is signed, stored and read", "[redis][tier][integrity]") {
    RedisServer server;
    const sc::TierContext context{.limits = {.max_key_size = 100, .max_value_size = 50'000}};
    sc::RedisTier tier(with_secret(server.url(), "secret"), context);
    const OwnedRecord largest(k, std::string(50'000, 'v'));
    CHECK(tier.write(largest.record) == TierStatus::ok);
    CHECK((read(tier, k).value == largest.value));
    const OwnedRecord larger(k, std::string(50'001, 'v'));
    CHECK(tier.write(larger.record) == TierStatus::rejected);
}

TEST_CASE("a record without a signature is a miss, counted as corrupt and dropped",
          "[redis][tier][integrity]") {
    World world;
    const OwnedRecord forged(k, "forged");
    REQUIRE(world.stranger.write(forged.record) == TierStatus::ok);
    REQUIRE(read(world.stranger, k).value == "forged");  // perfect, but for the signature
    world.check_refused(world.tier, k);

    REQUIRE(world.stranger.write(forged.record) == TierStatus::ok);
    CHECK(world.tier.contains(k) == TierStatus::miss);
    REQUIRE(world.stranger.write(forged.record) == TierStatus::ok);
    CHECK(world.tier.change_lifetime(k, forged.record.stamp, sc::WallTime::max(), {}) == TierStatus::refused);
    REQUIRE(world.stranger.write(forged.record) == TierStatus::ok);
    std::size_t found = 0;
    const std::vector<std::string_view> keys{k, other_key};
    world.tier.read_many(
        keys, [&](std::size_t, const sc::RecordView& record) { found += record.tombstone ? 0U : 1U; });
    CHECK(found == 0);
    // A fill that comes of the miss gets in, although something is there.
    REQUIRE(world.stranger.write(forged.record) == TierStatus::ok);
    const OwnedRecord filled(k, "filled");
    CHECK(world.tier.write(filled.record, WriteCondition::if_absent()) == TierStatus::ok);
    CHECK(read(world.tier, k).value == "filled");
}

TEST_CASE("a signed record that was altered, cut or prolonged is refused", "[redis][tier][integrity]") {
    World world;
    const OwnedRecord one(k, "one");
    REQUIRE(world.tier.write(one.record) == TierStatus::ok);
    const std::string good = world.stored(k);
    for (std::size_t i = 0; i < good.size(); ++i) {
        INFO("byte " << i << " of " << good.size());
        std::string altered = good;
        altered[i] = static_cast<char>(altered[i] ^ 1);
        world.put(k, altered);
        CHECK(read(world.tier, k).status == TierStatus::miss);
        world.put(k, good.substr(0, i));
        CHECK(read(world.tier, k).status == TierStatus::miss);
    }
    CHECK(world.tier.stats().corrupt == 2 * good.size() - 1);  // an empty string is nothing
    world.put(k, good + std::string(1, '\0'));
    world.check_refused(world.tier, k);
    world.put(k, good.substr(0, good.size() -
                                    32));  // the signature cut off: what a tier without a secret would write
    world.check_refused(world.tier, k);
    world.put(k, good);
    CHECK(read(world.tier, k).value == "one");
}

TEST_CASE("a signed record counts under its own key only", "[redis][tier][integrity]") {
    World world;
    const OwnedRecord one(k, "one");
    REQUIRE(world.tier.write(one.record) == TierStatus::ok);
    world.put(other_key, world.stored(k));
    world.check_refused(world.tier, other_key);
    CHECK(read(world.tier, k).value == "one");
}

TEST_CASE("tiers with different secrets, or with and without, are strangers to each other",
          "[redis][tier][integrity]") {
    World world;
    const OwnedRecord one(k, "one");
    REQUIRE(world.tier.write(one.record) == TierStatus::ok);
    const std::string good = world.stored(k);
    world.check_refused(world.stranger, k);  // to who cannot check it, it is no record

    sc::RedisTier other(with_secret(world.server.url(), "another secret"));
    world.put(k, good);
    world.check_refused(other, k);
    world.check_refused(world.tier, k);
}

TEST_CASE("what a key's signature does not prevent: an older record of it put back",
          "[redis][tier][integrity]") {
    World world;
    const OwnedRecord older(k, "older");
    const OwnedRecord newer(k, "newer");
    REQUIRE(world.tier.write(older.record) == TierStatus::ok);
    const std::string kept = world.stored(k);
    REQUIRE(world.tier.write(newer.record) == TierStatus::ok);
    world.put(k, kept);
    CHECK(read(world.tier, k).value == "older");
    CHECK(world.tier.clear("app") == TierStatus::ok);
    world.put(k, kept);  // it carries the epoch it was written in; but the epoch stands in Redis, too
    CHECK(read(world.tier, k).status == TierStatus::miss);
}

}  // namespace redis_tier_integrity_test
