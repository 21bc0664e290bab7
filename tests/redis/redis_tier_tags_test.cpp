#include <smartcache/redis/redis_tier.hpp>

#include <memory>
#include <string>
#include <vector>

#include "redis/support/tier_world.hpp"
#include "support/catch.hpp"

namespace redis_tier_tags_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using namespace smartcache::test;
using sc::TierStatus;

namespace {

/// A record with tags, of the namespace "app".
struct Tagged : OwnedRecord {
    sc::ByteSink names;
    Tagged(sc::RedisTier& tier, const std::string& name, const std::vector<std::string>& tags,
           sc::Duration grace = 0ms)
        : OwnedRecord(sc::physical_key("app", name), "v") {
        sc::encode_tags(tags, names);
        record.tags = sc::TagList(tags.size(), names.view());
        record.tag_seq = tier.tag_seq("app");
        record.stale_until = record.expires + grace;
    }
};

struct World {
    RedisServer server;
    sc::RedisTier tier{patient(server.url())};
    sc::RedisTier other{patient(server.url())};  // of another process
};

}  // namespace

TEST_CASE("erased tags end their records for every process", "[redis][tags][r18]") {
    World world;
    Tagged a(world.tier, "a", {"t", "u"});
    Tagged b(world.tier, "b", {"u"});
    OwnedRecord plain(sc::physical_key("app", "plain"), "v");
    REQUIRE(world.tier.write(a.record) == TierStatus::ok);
    REQUIRE(world.tier.write(b.record) == TierStatus::ok);
    REQUIRE(world.tier.write(plain.record) == TierStatus::ok);
    CHECK(read(world.other, a.key).status == TierStatus::ok);

    REQUIRE(world.other.erase_tag("app", "t") == TierStatus::ok);
    for (sc::RedisTier* const each : {&world.tier, &world.other}) {
        CHECK(read(*each, a.key).status == TierStatus::miss);
        CHECK(each->contains(a.key) == TierStatus::miss);
        CHECK(read(*each, b.key).status == TierStatus::ok);
        CHECK(read(*each, plain.key).status == TierStatus::ok);
    }
    std::vector<std::string_view> keys{a.key, b.key, plain.key};
    std::vector<std::size_t> found;
    world.tier.read_many(keys, [&](std::size_t i, const sc::RecordView& record) {
        if (!record.tombstone) found.push_back(i);
    });
    CHECK(found == std::vector<std::size_t>{1, 2});

    // Another namespace has tags of its own; a new value is not concerned by what was before it.
    REQUIRE(world.tier.erase_tag("", "u") == TierStatus::ok);
    CHECK(read(world.tier, b.key).status == TierStatus::ok);
    Tagged again(world.tier, "a", {"t", "u"});
    REQUIRE(world.tier.write(again.record) == TierStatus::ok);
    CHECK(read(world.other, a.key).status == TierStatus::ok);
    // A fill replaces what nobody may have any more.
    REQUIRE(world.other.erase_tag("app", "u") == TierStatus::ok);
    Tagged fill(world.other, "a", {"t"});
    CHECK(world.other.write(fill.record, sc::WriteCondition::if_absent()) == TierStatus::refused);
    const std::uint64_t seen = read(world.other, a.key).stamp;
    CHECK(world.other.write(fill.record, sc::WriteCondition::if_stamp(seen)) == TierStatus::ok);
    CHECK(read(world.tier, a.key).status == TierStatus::ok);
}

// What is long is sent from where it lies.
TEST_CASE("a tag with a long name ends as one with a short one", "[redis][tags][r18]") {
    World world;
    const std::string tag(GENERATE(4093U, 4094U, 60'000U), 't');
    Tagged a(world.tier, "a", {tag});
    Tagged b(world.tier, "b", {"another", tag + "u"});
    REQUIRE(world.tier.write(a.record) == TierStatus::ok);
    REQUIRE(world.tier.write(b.record) == TierStatus::ok);
    REQUIRE(world.other.erase_tag("app", tag) == TierStatus::ok);
    for (sc::RedisTier* const each : {&world.tier, &world.other}) {
        CHECK(read(*each, a.key).status == TierStatus::miss);
        CHECK(read(*each, b.key).status == TierStatus::ok);
    }
}

TEST_CASE("a record that was on its way while its tag was erased is invalid when it arrives",
          "[redis][tags][r18]") {
    World world;
    REQUIRE(world.tier.erase_tag("app", "x") == TierStatus::ok);  // it knows the count from now on
    Tagged late(world.tier, "k", {"t"});
    REQUIRE(world.other.erase_tag("app", "t") == TierStatus::ok);
    (void)world.tier.write(late.record);
    CHECK(read(world.tier, late.key).status == TierStatus::miss);
    CHECK(read(world.other, late.key).status == TierStatus::miss);
}

TEST_CASE("expired tags leave the grace", "[redis][tags]") {
    World world;
    Tagged kept(world.tier, "kept", {"t"}, 1h);
    Tagged none(world.tier, "none", {"t"});
    REQUIRE(world.tier.write(kept.record) == TierStatus::ok);
    REQUIRE(world.tier.write(none.record) == TierStatus::ok);
    REQUIRE(world.other.expire_tag("app", "t") == TierStatus::ok);
    const ReadResult stale = read(world.tier, kept.key);
    CHECK(stale.status == TierStatus::ok);
    CHECK(stale.expires <= sc::SystemClock::instance().wall());
    CHECK(world.tier.contains(kept.key) == TierStatus::miss);
    CHECK(read(world.tier, none.key).status == TierStatus::miss);
}

TEST_CASE("the fields of tags are asked for once between two changes", "[redis][tags]") {
    World world;
    Tagged a(world.tier, "a", {"t", "u"});
    REQUIRE(world.tier.write(a.record) == TierStatus::ok);
    const auto trips = [&] {
        const long long before = world.server.info_number("total_commands_processed");
        CHECK(read(world.tier, a.key).status == TierStatus::ok);
        return world.server.info_number("total_commands_processed") - before;
    };
    (void)trips();
    const long long usual = trips();
    REQUIRE(world.other.erase_tag("app", "w") == TierStatus::ok);
    CHECK(trips() == usual + 2);  // one for each tag
    CHECK(trips() == usual);
    REQUIRE(world.other.erase_tag("app", "w") == TierStatus::ok);
    CHECK(trips() == usual + 2);
    REQUIRE(world.other.erase_tag("app", "u") == TierStatus::ok);
    CHECK(read(world.tier, a.key).status == TierStatus::miss);
}

TEST_CASE("an old snapshot of the server brings no erased record back", "[redis][tags][r17]") {
    World world;
    Tagged a(world.tier, "a", {"t"});
    REQUIRE(world.tier.write(a.record) == TierStatus::ok);
    REQUIRE(world.tier.erase_tag("app", "w") == TierStatus::ok);
    const std::string hash = smartcache::detail::epoch_key("app");
    const std::string dump = world.server.command({"DUMP", hash}).text;
    REQUIRE(world.tier.erase_tag("app", "t") == TierStatus::ok);
    REQUIRE(world.server.command({"RESTORE", hash, "0", dump, "REPLACE"}).text == "OK");
    CHECK(read(world.tier, a.key).status == TierStatus::miss);
    CHECK(read(world.other, a.key).status == TierStatus::miss);

    SECTION("nor does a lost hash") {
        (void)world.server.command({"DEL", hash});
        CHECK(read(world.other, a.key).status == TierStatus::miss);
    }
}

TEST_CASE("a tag that could not be erased makes the namespace answer nothing", "[redis][tags][r11]") {
    World world;
    Tagged a(world.tier, "a", {"t"});
    REQUIRE(world.tier.write(a.record) == TierStatus::ok);
    (void)world.server.command({"ACL", "SETUSER", "default", "-@scripting", "-hincrby"});
    CHECK(world.tier.erase_tag("app", "t") == TierStatus::unavailable);
    CHECK(read(world.tier, a.key).status == TierStatus::miss);
    CHECK_FALSE(world.tier.flush(1s));
    (void)world.server.command({"ACL", "SETUSER", "default", "+@all"});
    CHECK(settles(world.tier));
    CHECK(read(world.tier, a.key).status == TierStatus::miss);
    CHECK(read(world.other, a.key).status == TierStatus::miss);
}

TEST_CASE("a changed lifetime keeps tags and what was seen of them", "[redis][tags][r4]") {
    World world;
    Tagged a(world.tier, "a", {"t"});
    REQUIRE(world.tier.write(a.record) == TierStatus::ok);
    const sc::WallTime later = sc::SystemClock::instance().wall() + 2h;
    CHECK(world.tier.change_lifetime(a.key, a.record.stamp, later, later) == TierStatus::ok);
    CHECK(read(world.tier, a.key).status == TierStatus::ok);
    REQUIRE(world.other.erase_tag("app", "t") == TierStatus::ok);
    CHECK(read(world.tier, a.key).status == TierStatus::miss);
    CHECK(world.tier.change_lifetime(a.key, a.record.stamp, later, later) == TierStatus::refused);
}

}  // namespace redis_tier_tags_test
