#include <smartcache/facade/smart_cache.hpp>

#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/testing.hpp>

#include "facade/support/cache_over_maps.hpp"
#include "support/catch.hpp"
#include "support/map_tier.hpp"

namespace smart_cache_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::MapTier;

namespace {

using Three = smartcache_test::CacheOverMaps;  // memory, and maps that stand for Redis and disk

struct Unencodable {
    int number = 0;
    friend void to_json(nlohmann::json&, const Unencodable& value) { throw value.number; }
    friend void from_json(const nlohmann::json&, Unencodable& value) { throw value.number; }
};

}  // namespace

TEST_CASE("a set value is found in memory first", "[facade]") {
    Three three;
    REQUIRE(three.cache->set("k", 7));
    const auto hit = three.cache->get<int>("k");
    REQUIRE(hit);
    CHECK(*hit == 7);
    CHECK(hit.tier() == sc::TierId::memory);
    CHECK(three.redis->holds("0::k"));
    CHECK(three.disk->holds("0::k"));
}

TEST_CASE("a hit below memory is promoted into every tier above before the call returns",
          "[facade][promotion]") {
    Three three;
    three.cache->set("k", std::string("value"));
    three.cache->clear_memory();
    (void)three.redis->remove("0::k");
    CHECK(three.cache->get<std::string>("k").tier() == sc::TierId::disk);
    CHECK(three.redis->holds("0::k"));
    CHECK(three.cache->get<std::string>("k").tier() == sc::TierId::memory);
    three.cache->clear_memory();
    CHECK(three.cache->get<std::string>("k").tier() == sc::TierId::redis);
}

TEST_CASE("tiers that the call excludes are neither asked nor filled", "[facade]") {
    Three three;
    three.cache->set("k", 1, {.write = sc::TierSet::disk});
    CHECK_FALSE(three.redis->holds("0::k"));
    CHECK_FALSE(three.cache->get<int>("k", {.tiers = sc::TierSet::memory | sc::TierSet::redis}));
    CHECK(three.cache->get<int>("k", {.tiers = sc::TierSet::disk}).tier() == sc::TierId::disk);
    CHECK(three.cache->get<int>("k").tier() == sc::TierId::disk);
}

TEST_CASE("a set that leaves a tier out erases the older value there", "[facade][R3]") {
    Three three;
    three.cache->set("k", 1);
    three.cache->set("k", 2, {.write = sc::TierSet::memory});
    CHECK_FALSE(three.redis->holds("0::k"));
    CHECK_FALSE(three.disk->holds("0::k"));
    three.cache->clear_memory();
    CHECK_FALSE(three.cache->get<int>("k"));
}

TEST_CASE("a value that the codec cannot encode stays in memory and is counted", "[facade][R3]") {
    Three three;
    three.cache->set("k", 1.5);
    REQUIRE(three.cache->set("k", std::numeric_limits<double>::quiet_NaN()));
    CHECK(three.cache->stats().encode_errors == 1);
    CHECK(three.cache->get<double>("k").tier() == sc::TierId::memory);
    CHECK_FALSE(three.redis->holds("0::k"));
}

TEST_CASE("whatever an encoder throws, the value stays in memory and is counted", "[facade][R3]") {
    // What is no std::exception used to leave `set` and `get`, and nothing was stored.
    Three three;
    three.cache->set("k", 1);
    REQUIRE(three.cache->set("k", Unencodable{7}));
    CHECK(three.cache->stats().encode_errors == 1);
    CHECK(three.cache->get<Unencodable>("k")->number == 7);
    CHECK_FALSE(three.redis->holds("0::k"));
    CHECK_FALSE(three.cache->get<int>("k"));
    CHECK(three.cache->get_or_compute("l", [] { return Unencodable{8}; })->number == 8);
}

TEST_CASE("erase removes the key from every tier and says whether it was there", "[facade]") {
    Three three;
    three.cache->set("k", 1);
    CHECK(three.cache->erase("k"));
    CHECK_FALSE(three.cache->get<int>("k"));
    CHECK_FALSE(three.redis->holds("0::k"));
    CHECK_FALSE(three.disk->holds("0::k"));
    CHECK_FALSE(three.cache->erase("k"));
    three.cache->set("k", 1, {.write = sc::TierSet::disk});
    CHECK(three.cache->erase("k"));
}

TEST_CASE("exists sees every tier, promotes nothing and counts nothing", "[facade]") {
    Three three;
    three.cache->set("k", 1, {.write = sc::TierSet::disk});
    three.cache->reset_stats();
    CHECK(three.cache->exists("k"));
    CHECK_FALSE(three.cache->exists("other"));
    CHECK(three.cache->stats().total_requests == 0);
    CHECK(three.cache->get<int>("k").tier() == sc::TierId::disk);
}

TEST_CASE("try_get asks memory alone, and counts what it finds", "[facade]") {
    Three three;
    three.cache->set("k", 1);
    three.cache->set("below", 2, {.write = sc::TierSet::disk});
    three.cache->reset_stats();
    const auto reads = three.redis->round_trips + three.disk->round_trips;
    CHECK(three.cache->try_get<int>("k").value_or(0) == 1);
    CHECK_FALSE(three.cache->try_get<int>("below"));
    CHECK_FALSE(three.cache->try_get<int>("nowhere"));
    CHECK_FALSE(three.cache->try_get<std::string>("k"));
    CHECK(three.redis->round_trips + three.disk->round_trips == reads);
    CHECK(three.cache->stats().hits == 1);
    CHECK(three.cache->stats().misses == 0);
    three.clock.advance(365 * 24h);
    CHECK_FALSE(three.cache->try_get<int>("k"));
}

TEST_CASE("peek promotes nothing and counts nothing", "[facade]") {
    Three three;
    three.cache->set("k", 1, {.write = sc::TierSet::disk});
    three.cache->reset_stats();
    CHECK(*three.cache->peek<int>("k") == 1);
    CHECK(three.cache->peek<int>("k").tier() == sc::TierId::disk);
    CHECK(three.cache->stats().total_requests == 0);
}

TEST_CASE("clear empties every tier of this namespace alone and resets the statistics", "[facade]") {
    sc::FakeClock clock;
    auto owned = std::make_unique<MapTier>(sc::TierId::other, &clock);
    MapTier& tier = *owned;
    std::vector<std::unique_ptr<sc::Tier>> tiers;
    tiers.push_back(std::move(owned));
    sc::SmartCache<> cache({.key_prefix = "mine", .clock = &clock}, std::move(tiers));
    cache.set("k", 1);
    CHECK(tier.holds("4:mine:k"));
    sc::RecordView foreign;
    foreign.key = "6:theirs:k";
    foreign.created = clock.wall();
    REQUIRE(tier.write(foreign, {}) == sc::TierStatus::ok);
    (void)cache.get<int>("k");
    cache.clear();
    CHECK(cache.stats().total_requests == 0);
    CHECK_FALSE(cache.get<int>("k"));
    CHECK(tier.holds("6:theirs:k"));
    CHECK_FALSE(tier.holds("4:mine:k"));
}

TEST_CASE("empty keys and empty values are values like any other", "[facade]") {
    Three three;
    REQUIRE(three.cache->set("", ""));
    const auto hit = three.cache->get<std::string>("");
    REQUIRE(hit);
    CHECK(hit->empty());
    three.cache->clear_memory();
    CHECK(three.cache->get<std::string>("").tier() == sc::TierId::redis);
}

TEST_CASE("keys may hold any bytes", "[facade]") {
    Three three;
    const std::string a("a\0b", 3);
    const std::string b("a\0c", 3);
    three.cache->set(a, 1);
    three.cache->set(b, 2);
    three.cache->clear_memory();
    CHECK(*three.cache->get<int>(a) == 1);
    CHECK(*three.cache->get<int>(b) == 2);
}

TEST_CASE("oversized keys and values are refused and counted, and the old value is gone",
          "[facade][limits]") {
    Three three({.max_value_size = 100, .max_key_size = 10});
    CHECK_FALSE(three.cache->set("12345678901", 1));
    CHECK_FALSE(three.cache->get<int>("12345678901"));
    CHECK(three.cache->stats().rejected == 2);
    REQUIRE(three.cache->set("k", std::string(100, 'x')));
    CHECK_FALSE(three.cache->set("k", std::string(101, 'x')));
    CHECK(three.cache->stats().rejected == 3);
    CHECK_FALSE(three.cache->get<std::string>("k"));
    three.cache->set("v", std::vector<int>{1});
    CHECK_FALSE(three.cache->set("v", std::vector<int>(100, 7)));
    CHECK_FALSE(three.cache->exists("v"));
}

TEST_CASE("flush gives no tier less than no time, nor more than a day", "[facade][flush]") {
    Three three;
    // The last but one is so far back that the clock would overflow, to years from now.
    for (const sc::Duration timeout :
         {sc::Duration(-1), sc::Duration::min(), sc::Duration(-13'835'058'055'283), sc::Duration::max()})
        CHECK(three.cache->flush(timeout));
    CHECK(std::vector<sc::Duration>(three.redis->flushes.begin(), three.redis->flushes.begin() + 3) ==
          std::vector<sc::Duration>(3, 0ms));
    CHECK(three.redis->flushes.back() <= 24h);
    CHECK(three.redis->flushes.back() > 0ms);
}

TEST_CASE("a damaged record is a miss", "[facade][I1]") {
    Three three;
    three.cache->set("k", std::string("value"), {.write = sc::TierSet::disk});
    three.disk->bytes("0::k").back() ^= std::byte{1};
    CHECK_FALSE(three.cache->get<std::string>("k"));
}

TEST_CASE("records of another schema version are misses", "[facade][I1]") {
    sc::FakeClock clock;
    auto owned = std::make_unique<MapTier>(sc::TierId::other, &clock);
    std::vector<std::byte> bytes;
    {
        std::vector<std::unique_ptr<sc::Tier>> tiers;
        auto* const tier = owned.get();
        tiers.push_back(std::move(owned));
        sc::SmartCache<> one({.schema_version = 1, .clock = &clock}, std::move(tiers));
        one.set("k", 1);
        bytes = tier->bytes("0::k");
    }
    const auto with_version = [&](std::uint32_t version) {
        auto tier = std::make_unique<MapTier>(sc::TierId::other, &clock);
        REQUIRE(tier->write(sc::parse_record(bytes).record, {}) == sc::TierStatus::ok);
        std::vector<std::unique_ptr<sc::Tier>> tiers;
        tiers.push_back(std::move(tier));
        sc::SmartCache<> cache({.schema_version = version, .clock = &clock}, std::move(tiers));
        return static_cast<bool>(cache.get<int>("k"));
    };
    CHECK(with_version(1));
    CHECK_FALSE(with_version(2));
}

TEST_CASE("a pinned value stays as it was through set, erase, eviction, clear and the cache's end",
          "[facade][pin][R6]") {
    sc::Lookup<std::vector<std::string>> hit;
    sc::Lookup<std::string_view> text;
    {
        sc::SmartCache<> cache;
        cache.set("k", std::vector<std::string>{"one", std::string(100, 'x')});
        cache.set("t", std::string(100, 'y'));
        hit = cache.get<std::vector<std::string>>("k");
        text = cache.get<std::string_view>("t");
        cache.set("k", std::vector<std::string>{"two", std::string(100, 'z')});
        cache.set("t", std::string(100, 'z'));
        cache.erase("k");
        cache.clear();
        cache.resize(1);
    }
    REQUIRE(hit);
    CHECK(hit->at(1) == std::string(100, 'x'));
    CHECK(*text == std::string(100, 'y'));
}

TEST_CASE("with no tier at all every operation is a no-op", "[facade]") {
    sc::SmartCache<> cache{{.memory = {.enabled = false}}};
    CHECK_FALSE(cache.set("k", 1));
    CHECK_FALSE(cache.get<int>("k"));
    CHECK_FALSE(cache.erase("k"));
    CHECK(*cache.get_or_compute("k", [] { return 3; }) == 3);
    CHECK(cache.health_check().ok());
}

TEST_CASE("without memory the lower tiers still answer", "[facade]") {
    Three three({.memory = {.enabled = false}});
    three.cache->set("k", std::string("v"));
    const auto hit = three.cache->get<std::string_view>("k");
    REQUIRE(hit);
    CHECK(*hit == "v");
    CHECK(hit.tier() == sc::TierId::redis);
}

TEST_CASE("generate_key is readable, GET and HEAD share it, and no delimiter trick makes two requests one",
          "[facade][keys]") {
    const sc::SmartCache<> cache;
    const std::string key = cache.generate_key("GET", "/api/users", "page=1");
    CHECK(key.find("GET") != std::string::npos);
    CHECK(key.find("/api/users") != std::string::npos);
    CHECK(key.find("page=1") != std::string::npos);
    CHECK(key == cache.generate_key("HEAD", "/api/users", "page=1"));
    CHECK(cache.generate_key("GET", "/a", "b=1&a=2") == cache.generate_key("GET", "/a", "a=2&b=1"));
    CHECK(cache.generate_key("GET", "/a", "a=1%26b=2") != cache.generate_key("GET", "/a", "a=1&b=2"));
    CHECK(cache.generate_key("GET", "/a", "", {{"Accept", "x"}}) ==
          cache.generate_key("GET", "/a", "", {{"accept", "x"}}));
    CHECK(cache.generate_key("GET", "/a", "", {{"accept", "x"}}) != cache.generate_key("GET", "/a"));
    const std::vector<std::pair<std::string, std::string>> headers{{"accept", "x"}};
    CHECK(cache.generate_key("GET", "/a", "", headers) ==
          cache.generate_key("GET", "/a", "", {{"accept", "x"}}));
}

namespace {

/// Cleans up after itself, as sessions and handles do.
struct ErasesOthers {
    sc::SmartCache<>* cache;
    explicit ErasesOthers(sc::SmartCache<>& home) : cache(&home) {}
    ErasesOthers(ErasesOthers&& other) noexcept : cache(std::exchange(other.cache, nullptr)) {}
    ErasesOthers& operator=(ErasesOthers&&) = delete;
    ~ErasesOthers() {
        if (cache == nullptr) return;
        // More keys than there are order locks: among them is the one that the caller below holds.
        for (int i = 0; i < 2000; ++i) (void)cache->erase("other " + std::to_string(i));
        cache->clear_memory();
    }
};

}  // namespace

// Values used to be destroyed under the lock that orders the writes of their key.
TEST_CASE("a value's destructor may call the cache", "[facade]") {
    sc::SmartCache<> cache;
    cache.set("replaced", sc::memory_only(ErasesOthers(cache)));
    cache.set("replaced", 1);
    cache.set("erased", sc::memory_only(ErasesOthers(cache)));
    CHECK(cache.erase("erased"));
    cache.set("one of many", sc::memory_only(ErasesOthers(cache)));
    CHECK(cache.erase_many({"one of many", "absent"}) == 1);
    cache.set("cleared", sc::memory_only(ErasesOthers(cache)));
    cache.clear();
    CHECK(cache.stats().size == 0);
}

TEST_CASE("exists means a value that get would give, in every tier", "[facade][negative]") {
    Three three;
    CHECK_FALSE(
        three.cache->get_or_compute("absent", [] { return std::optional<int>(); }, {.negative_ttl = 1h}));
    CHECK_FALSE(three.cache->exists("absent"));
    three.cache->clear_memory();
    REQUIRE(three.disk->holds("0::absent"));
    CHECK_FALSE(three.cache->exists("absent"));

    three.cache->set("k", 1);
    three.cache->clear_memory();
    CHECK(three.cache->exists("k"));
    std::vector<std::unique_ptr<sc::Tier>> tiers;
    tiers.push_back(std::make_unique<MapTier>(sc::TierId::disk, &three.clock));
    const std::vector<std::byte> stored = three.disk->bytes("0::k");
    (void)tiers[0]->write(sc::parse_record(stored).record);
    const sc::SmartCache<> newer{{.schema_version = 1, .clock = &three.clock}, std::move(tiers)};
    CHECK_FALSE(newer.exists("k"));
}

TEST_CASE("erase tells of a remembered absence, with lower tiers and without", "[facade][negative]") {
    const auto absent = [] { return std::optional<int>(); };
    Three three;
    sc::SmartCache<> alone;
    for (sc::SmartCache<>* cache : {three.cache.get(), &alone}) {
        (void)cache->get_or_compute("k", absent, {.negative_ttl = 1h});
        CHECK(cache->erase("k"));
        CHECK_FALSE(cache->erase("k"));
    }
}

TEST_CASE("looking without serving leaves the statistics of the tiers alone", "[facade][stats]") {
    Three three;
    three.cache->set("k", 1, {.write = sc::TierSet::disk});
    const std::uint64_t before = three.redis->counted_reads + three.disk->counted_reads;
    CHECK(three.cache->exists("k"));
    CHECK_FALSE(three.cache->exists("none"));
    CHECK(three.cache->peek<int>("k"));
    CHECK_FALSE(three.cache->peek<int>("none"));
    CHECK(three.cache->touch("k", 1h));
    CHECK(three.cache->expire("k"));
    CHECK(three.redis->counted_reads + three.disk->counted_reads == before);
    CHECK(three.cache->stats().total_requests == 0);
}

TEST_CASE("objects weigh what they own", "[facade][limits]") {
    sc::SmartCache<> cache{{.memory = {.capacity_bytes = 1'000'000}, .max_value_size = 100'000}};
    CHECK(cache.set("numbers", std::vector<int>(20'000)));
    CHECK(cache.stats().memory.bytes >= 80'000);
    CHECK_FALSE(cache.set("numbers", std::vector<int>(30'000)));
    CHECK_FALSE(cache.exists("numbers"));
    CHECK_FALSE(cache.set("names", sc::memory_only(std::vector<std::string>(10, std::string(20'000, 'x')))));
    CHECK_FALSE(cache.set("document", nlohmann::json{{"text", std::string(200'000, 'x')}}));
    CHECK(cache.stats().rejected == 3);

    std::vector<std::unique_ptr<sc::Tier>> tiers;
    tiers.push_back(std::make_unique<MapTier>(sc::TierId::disk));
    sc::SmartCache<> tiered{{.memory = {.capacity_bytes = 1'000'000}}, std::move(tiers)};
    tiered.set("numbers", std::vector<int>(20'000));
    tiered.clear_memory();
    REQUIRE(tiered.get<std::vector<int>>("numbers").tier() == sc::TierId::disk);
    CHECK(tiered.stats().memory.bytes >= 80'000);
}

// An object's tags, idle time and place behind its key used to count as bytes of its value.
TEST_CASE("how large a value is does not depend on what else there is to its entry", "[facade][limits]") {
    sc::SmartCache<> cache{{.max_value_size = sizeof(std::vector<int>) + 100 * sizeof(int)}};
    const sc::EntryOptions rich{.idle = 1h, .tags = {"t", "u"}};
    const std::vector<int> fits(100);
    const std::vector<int> large(101);
    for (const char* key : {"k", "a key of seventeen"}) {
        for (const sc::EntryOptions& options : {sc::EntryOptions{}, rich}) {
            CHECK(cache.set(key, fits, options));
            CHECK(cache.set(key, sc::memory_only(fits), options));
            CHECK_FALSE(cache.set(key, large, options));
            CHECK_FALSE(cache.set(key, sc::memory_only(large), options));
        }
    }
}

TEST_CASE("a value that memory cannot hold is refused and counted, and leaves nothing older",
          "[facade][limits]") {
    sc::SmartCache<> cache{{.memory = {.capacity = 10, .capacity_bytes = 2000}}};
    CHECK(cache.set("k", std::string(100, 'x')));
    CHECK_FALSE(cache.set("k", std::string(10'000, 'x')));
    CHECK_FALSE(cache.get<std::string>("k"));
    CHECK(cache.stats().rejected == 1);
}

}  // namespace smart_cache_test
