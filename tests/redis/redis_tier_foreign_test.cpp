#include <smartcache/redis/redis_tier.hpp>

#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "redis/support/tier_world.hpp"
#include "support/catch.hpp"

namespace redis_tier_foreign_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using namespace smartcache::test;
using sc::TierStatus;
using sc::WriteCondition;

namespace {

const std::string k = sc::physical_key("app", "k");
const std::string neighbour = sc::physical_key("app", "neighbour");

/// A server with a tier, and a record next to the key that the test is about. What happens to `k` must never
/// show there.
struct World {
    RedisServer server;
    sc::TierContext context;
    sc::RedisTier tier;
    OwnedRecord next_door{neighbour, "unharmed"};

    explicit World(sc::RecordLimits limits = sc::TierContext{}.limits)
        : context{.limits = limits}, tier(patient(server.unix_url()), context) {
        REQUIRE(tier.write(next_door.record) == TierStatus::ok);
    }

    void put_foreign(const std::string& bytes) {
        REQUIRE(server.command({"SET", redis_name(k), bytes}).text == "OK");
    }
    [[nodiscard]] bool exists(const std::string& key) {
        return is_value(server.command({"GET", redis_name(key)}));
    }
    /// The bytes of a good record of `key`, with the epoch that is valid now.
    [[nodiscard]] std::string record_of(const std::string& key, const std::string& value) {
        const OwnedRecord owned(key, value);
        REQUIRE(tier.write(owned.record) == TierStatus::ok);
        return server.command({"GET", redis_name(key)}).text;
    }
    /// What is under `k` now is a miss, counted once, and gone afterwards.
    void check_refused() {
        const std::uint64_t before = tier.stats().corrupt;
        CHECK(read(tier, k).status == TierStatus::miss);
        CHECK(tier.stats().corrupt == before + 1);
        CHECK_FALSE(exists(k));
    }
    void check_neighbour() {
        CHECK(read(tier, neighbour).value == "unharmed");
        CHECK(tier.stats().errors == 0);
    }
};

/// Fields in the order of the format, with a checksum that holds: only their contents can give them away.
class Forgery {
  public:
    Forgery(std::uint16_t flags, std::uint64_t epoch) {
        bytes_.append("SC");
        bytes_.append(std::byte{1});
        sc::detail::put_fixed(bytes_, static_cast<std::uint16_t>(flags | sc::detail::RecordFlag::seq));
        bytes_.append(std::byte{0});
        sc::detail::put_fixed(bytes_, std::uint64_t{7});
        number(1);  // created
        number(epoch);
    }
    Forgery& number(std::uint64_t value) {
        sc::detail::put_varint(bytes_, value);
        return *this;
    }
    Forgery& text(std::string_view value) {
        bytes_.append(value);
        return *this;
    }
    [[nodiscard]] std::string sealed() const {
        sc::ByteSink copy = bytes_;
        sc::detail::put_fixed(copy, sc::stable_hash(bytes_.view()));
        return std::string(sc::as_text_view(copy.view()));
    }

  private:
    sc::ByteSink bytes_;
};

/// Where tiers look at the clock something else may happen first, once.
class Interruption final : public sc::Clock {
  public:
    [[nodiscard]] sc::MonotonicTime now() const noexcept override { return {}; }
    [[nodiscard]] sc::WallTime wall() const noexcept override {
        if (const std::function<void()> what = std::exchange(what_, nullptr)) what();
        return sc::WallTime(1000h);
    }
    void next(std::function<void()> what) { what_ = std::move(what); }

  private:
    mutable std::function<void()> what_;
};

}  // namespace

TEST_CASE("other programs' strings are a miss, counted and dropped, and no obstacle",
          "[redis][tier][foreign]") {
    World world;
    for (const std::string& bytes :
         {std::string("hello"), std::string("42"), std::string("S"), std::string("SC"), std::string("SC\1"),
          std::string("SC\2 of a later format"), std::string(R"({"key": "app:k"})"), std::string(1, '\0'),
          std::string(100'000, '\xff'), "SC\1" + std::string(100'000, '\0')}) {
        INFO(bytes.substr(0, 20) << ", " << bytes.size() << " bytes");
        world.put_foreign(bytes);
        world.check_refused();

        const std::uint64_t before = world.tier.stats().corrupt;
        world.put_foreign(bytes);
        CHECK(world.tier.contains(k) == TierStatus::miss);
        CHECK(world.tier.stats().corrupt == before + 1);
        world.put_foreign(bytes);
        CHECK(world.tier.change_lifetime(k, 7, sc::WallTime::max(), {}) == TierStatus::refused);
        world.put_foreign(bytes);
        CHECK(world.tier.remove(k) == TierStatus::miss);
        CHECK_FALSE(world.exists(k));

        // It was a miss, so a fill that comes of it must get in.
        const OwnedRecord filled(k, "filled");
        world.put_foreign(bytes);
        CHECK(world.tier.write(filled.record, WriteCondition::if_stamp(7)) == TierStatus::refused);
        CHECK(world.tier.write(filled.record, WriteCondition::if_absent()) == TierStatus::ok);
        CHECK(read(world.tier, k).value == "filled");
    }
    world.check_neighbour();
}

TEST_CASE("an empty string is nothing, and no obstacle", "[redis][tier][foreign]") {
    World world;
    world.put_foreign("");
    CHECK(read(world.tier, k).status == TierStatus::miss);
    const OwnedRecord filled(k, "filled");
    CHECK(world.tier.write(filled.record, WriteCondition::if_absent()) == TierStatus::ok);
    CHECK(read(world.tier, k).value == "filled");
    world.check_neighbour();
}

TEST_CASE("lists, hashes, sets, sorted sets and streams are a miss, and no obstacle",
          "[redis][tier][foreign]") {
    World world;
    const std::string name = redis_name(k);
    const std::vector<std::vector<std::string>> others{{"RPUSH", name, "SC\1"},
                                                       {"HSET", name, "clear", "1", "token", "t"},
                                                       {"SADD", name, "member"},
                                                       {"ZADD", name, "1", "member"},
                                                       {"XADD", name, "*", "field", "value"}};
    const auto put = [&](const std::vector<std::string>& command) {
        (void)world.server.command({"DEL", name});
        REQUIRE(world.server.command(command).kind != RedisAnswer::Kind::error);
    };
    for (const std::vector<std::string>& command : others) {
        INFO(command[0]);
        put(command);
        world.check_refused();
        put(command);
        CHECK(world.tier.contains(k) == TierStatus::miss);
        put(command);
        CHECK(world.tier.change_lifetime(k, 7, sc::WallTime::max(), {}) == TierStatus::refused);
        put(command);
        CHECK(world.tier.remove(k) == TierStatus::miss);
        CHECK_FALSE(world.exists(k));

        const OwnedRecord owned(k, "value");
        put(command);
        CHECK(world.tier.write(owned.record, WriteCondition::if_stamp(7)) == TierStatus::refused);
        CHECK(world.tier.write(owned.record, WriteCondition::if_absent()) == TierStatus::ok);
        CHECK(read(world.tier, k).value == "value");
        put(command);
        CHECK(world.tier.write(owned.record) == TierStatus::ok);
        CHECK(read(world.tier, k).value == "value");
    }
    world.check_neighbour();
}

TEST_CASE("a record that lost its end, or got a longer one, is refused at every length",
          "[redis][tier][foreign]") {
    World world;
    const std::string whole = world.record_of(k, "a value");
    for (std::size_t size = 1; size < whole.size(); ++size) {
        INFO(size << " of " << whole.size() << " bytes");
        world.put_foreign(whole.substr(0, size));
        world.check_refused();
    }
    for (const std::string& more : {std::string(1, '\0'), std::string("x"), whole}) {
        world.put_foreign(whole + more);
        world.check_refused();
    }
    world.put_foreign(whole);
    CHECK(read(world.tier, k).value == "a value");
    world.check_neighbour();
}

TEST_CASE("no bit of a record can change without being noticed", "[redis][tier][foreign]") {
    World world;
    const std::string whole = world.record_of(k, "v");
    for (std::size_t i = 0; i < whole.size(); ++i)
        for (unsigned bit = 0; bit < 8; ++bit) {
            INFO("byte " << i << ", bit " << bit);
            std::string damaged = whole;
            damaged[i] = static_cast<char>(static_cast<unsigned char>(damaged[i]) ^ (1U << bit));
            world.put_foreign(damaged);
            world.check_refused();
        }
    world.check_neighbour();
}

TEST_CASE("a record under another key than its own is refused", "[redis][tier][foreign][r25]") {
    World world;
    const std::vector<std::string> owners{neighbour, sc::physical_key("other", "k"),
                                          sc::physical_key("", "k"), sc::physical_key("app", "k "),
                                          sc::physical_key("ap", "p:k")};
    for (const std::string& owner : owners) {
        INFO(owner);
        const std::string theirs = world.record_of(owner, "theirs");
        world.put_foreign(theirs);
        world.check_refused();
        world.put_foreign(theirs);
        CHECK(world.tier.contains(k) == TierStatus::miss);
        const OwnedRecord filled(k, "mine");
        world.put_foreign(theirs);
        CHECK(world.tier.write(filled.record, WriteCondition::if_absent()) == TierStatus::ok);
        CHECK(read(world.tier, k).value == "mine");
        CHECK(read(world.tier, owner).value == "theirs");
    }
}

TEST_CASE("sizes that lie are refused, under a checksum that holds too", "[redis][tier][foreign]") {
    using Flag = sc::detail::RecordFlag;
    World world({.max_key_size = 100, .max_value_size = 1000});
    const std::uint64_t epoch =
        std::stoull(world.server.command({"HGET", sc::detail::epoch_key("app"), "clear"}).text);
    const auto forge = [&](unsigned flags = 1U << Flag::kind_shift) {
        return Forgery(static_cast<std::uint16_t>(flags), epoch);
    };
    // The counterpart: without a lie it is served, so a lie is what the others are refused for.
    world.put_foreign(forge().number(k.size()).text(k).number(5).text("value").sealed());
    REQUIRE(read(world.tier, k).value == "value");
    world.put_foreign(forge().number(k.size()).text(k).number(1000).text(std::string(1000, 'x')).sealed());
    REQUIRE(read(world.tier, k).status == TierStatus::ok);

    for (const std::uint64_t huge :
         {std::uint64_t{1001}, std::uint64_t{1} << 31U, std::uint64_t{1} << 32U, std::uint64_t{1} << 40U,
          (std::uint64_t{1} << 63U) - 1, ~std::uint64_t{0} - 8, ~std::uint64_t{0}}) {
        INFO(huge);
        // The value, the compressed value, what it unpacks to, the key, the number of tags, a tag.
        world.put_foreign(forge().number(k.size()).text(k).number(huge).text("value").sealed());
        world.check_refused();
        world.put_foreign(
            forge(Flag::compressed).number(k.size()).text(k).number(5).number(huge).text("value").sealed());
        world.check_refused();
        world.put_foreign(
            forge(Flag::compressed).number(k.size()).text(k).number(huge).number(5).text("value").sealed());
        world.check_refused();
        world.put_foreign(forge().number(huge).text(k).number(5).text("value").sealed());
        world.check_refused();
        world.put_foreign(
            forge(Flag::tags).number(huge).number(k.size()).text(k).number(5).text("value").sealed());
        world.check_refused();
        world.put_foreign(forge(Flag::tags).number(1).number(huge).text(k).number(5).text("value").sealed());
        world.check_refused();
    }
    // Really longer than allowed.
    world.put_foreign(forge().number(k.size()).text(k).number(1001).text(std::string(1001, 'x')).sealed());
    world.check_refused();
    world.check_neighbour();
}

TEST_CASE("what does not unpack to the size it claims gives no value", "[redis][tier][foreign][bomb]") {
    World world;
    const std::string plain = sc::physical_key("", "k");  // `get` speaks of the empty namespace
    REQUIRE(world.tier.set("k", std::string(100'000, 'x')));
    const std::string whole = world.server.command({"GET", redis_name(plain)}).text;
    const sc::ParsedRecord parsed = sc::parse_record(sc::as_byte_view(whole));
    REQUIRE(parsed);
    REQUIRE(parsed.record.compressed);
    for (const std::uint64_t claim : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{99'999},
                                      std::uint64_t{100'001}, std::uint64_t{100} << 20U}) {
        INFO(claim);
        sc::RecordView lie = parsed.record;
        lie.raw_size = claim;
        sc::ByteSink out;
        encode_record(lie, out);
        (void)world.server.command({"SET", redis_name(plain), std::string(sc::as_text_view(out.view()))});
        CHECK_FALSE(world.tier.get("k"));
    }
    (void)world.server.command({"SET", redis_name(plain), whole});
    CHECK(world.tier.get("k")->size() == 100'000);
}

TEST_CASE("a foreign value costs no more to fetch than a record may", "[redis][tier][foreign]") {
    World world({.max_key_size = 100, .max_value_size = 1000});
    constexpr long long megabyte = 1 << 20;
    (void)world.server.command({"SETRANGE", redis_name(k), std::to_string(64 * megabyte), "x"});
    const long long before = world.server.info_number("total_net_output_bytes");
    CHECK(read(world.tier, k).status == TierStatus::miss);
    CHECK(world.server.info_number("total_net_output_bytes") - before < 2 * megabyte);
    CHECK(world.tier.stats().corrupt == 1);
    CHECK_FALSE(world.exists(k));
    world.check_neighbour();
}

TEST_CASE("a foreign value that is too long for a batch costs one question more, and no value",
          "[redis][tier][foreign][batch]") {
    World world({.max_key_size = 100, .max_value_size = 1000});
    OwnedRecords many;
    for (int i = 0; i < 10; ++i) many.add(sc::physical_key("app", std::to_string(i)), std::to_string(i));
    REQUIRE(world.tier.write_many(many.records) == std::vector<TierStatus>(10, TierStatus::ok));
    (void)world.server.command({"SETRANGE", redis_name(many.keys[4]), "1000000", "x"});
    CHECK(intact(world.tier, many) == 9);
    CHECK(world.tier.stats().corrupt == 1);
    CHECK_FALSE(world.exists(many[4].key));
    CHECK(intact(world.tier, many) == 9);
    world.check_neighbour();
}

TEST_CASE("random bytes are never a value", "[redis][tier][foreign][fuzz]") {
    World world;
    const std::string whole = world.record_of(k, "value");
    for (const unsigned seed : {1U, 2U, 3U}) {
        std::mt19937_64 random(seed);
        for (int round = 0; round < 150; ++round) {
            // Some pure noise, some noise behind a beginning that is right.
            const std::size_t right = round % 3 == 0 ? 0 : random() % whole.size();
            std::string bytes = whole.substr(0, right);
            for (std::size_t more = 1 + random() % 200; more > 0; --more)
                bytes.push_back(static_cast<char>(random()));
            INFO("seed " << seed << ", round " << round);
            world.put_foreign(bytes);
            world.check_refused();
        }
    }
    world.check_neighbour();
}

TEST_CASE("what was found corrupt is dropped only while nothing newer is there",
          "[redis][tier][foreign][race]") {
    RedisServer server;
    Interruption clock;
    const sc::TierContext context{.time = sc::TimeSource(&clock)};
    sc::RedisTier tier(patient(server.unix_url()), context);
    sc::RedisTier somebody(patient(server.unix_url()), context);
    const OwnedRecord good(neighbour, "unharmed", 1h, clock.wall());
    const OwnedRecord newer(k, "newer", 1h, clock.wall());
    REQUIRE(tier.write(newer.record) == TierStatus::ok);
    const std::string record = server.command({"GET", redis_name(k)}).text;
    REQUIRE(tier.write(good.record) == TierStatus::ok);
    const std::vector<std::string_view> keys{neighbour, k};
    // Beginnings of the very record that arrives are the hardest to tell from it.
    for (const std::string& corrupt : {std::string("foreign"), std::string("S"), record.substr(0, 3),
                                       record.substr(0, 14), record.substr(0, record.size() - 1)}) {
        INFO(corrupt.size() << " bytes");
        (void)server.command({"SET", redis_name(k), corrupt});
        // The tier has both answers, looks at the clock to judge the first, and drops the second afterwards.
        TierStatus written = TierStatus::unavailable;
        clock.next([&] { written = somebody.write(newer.record); });
        std::string found;
        tier.read_many(
            keys, [&](std::size_t, const sc::RecordView& each) { found += sc::as_text_view(each.payload); });
        CHECK(found == "unharmed");
        CHECK(written == TierStatus::ok);
        CHECK(read(somebody, k).value == "newer");
    }
    (void)server.command({"DEL", redis_name(k)});
    (void)server.command({"RPUSH", redis_name(k), "x"});
    clock.next([&] { (void)somebody.write(newer.record); });
    tier.read_many(keys, [](std::size_t, const sc::RecordView&) {});
    CHECK(read(somebody, k).value == "newer");
}

TEST_CASE("foreign values in a batch take nothing from the good ones", "[redis][tier][foreign][batch]") {
    World world;
    OwnedRecords many;
    for (int i = 0; i < 40; ++i) many.add(sc::physical_key("app", std::to_string(i)), std::to_string(i));
    const auto spoil = [&] {
        REQUIRE(world.tier.write_many(many.records) == std::vector<TierStatus>(40, TierStatus::ok));
        for (std::size_t i = 0; i < 40; i += 4) {
            const std::string name = redis_name(many.keys[i]);
            if (i % 16 == 0) (void)world.server.command({"SET", name, "foreign"});
            if (i % 16 == 4) (void)world.server.command({"SETRANGE", name, "20", "?!?!?!"});
            if (i % 16 == 8) (void)world.server.command({"COPY", redis_name(neighbour), name, "REPLACE"});
            if (i % 16 == 12) (void)world.server.command({"DEL", name});
            if (i % 16 == 12) (void)world.server.command({"RPUSH", name, "x"});
        }
    };
    spoil();
    std::vector<std::string> found(40);
    world.tier.read_many(many.keys, [&](std::size_t i, const sc::RecordView& record) {
        found[i] += sc::as_text_view(record.payload);
    });
    for (std::size_t i = 0; i < 40; ++i) CHECK(found[i] == (i % 4 == 0 ? "" : many[i].value));
    // What is no string is not told from nothing when many are asked for, but by who puts something there.
    CHECK(world.tier.stats().corrupt == 8);
    CHECK(world.tier.stats().hits == 30);
    for (std::size_t i = 12; i < 40; i += 16)
        CHECK(put(world.tier, many[i].key, "filled", WriteCondition::if_absent()) == TierStatus::ok);
    CHECK(world.tier.stats().corrupt == 10);
    for (std::size_t i = 0; i < 40; ++i) CHECK(world.exists(many[i].key) == (i % 4 != 0 || i % 16 == 12));

    spoil();
    const std::vector<TierStatus> removed = world.tier.remove_many(many.keys);
    // An erase looks at heads only: a copied record is a live one by its head.
    for (std::size_t i = 0; i < 40; ++i)
        if (i % 16 != 8 && i % 16 != 4) CHECK(removed[i] == (i % 4 == 0 ? TierStatus::miss : TierStatus::ok));
    for (std::size_t i = 0; i < 40; ++i) CHECK_FALSE(world.exists(many[i].key));
    world.check_neighbour();
}

}  // namespace redis_tier_foreign_test
