#include <smartcache/facade/smart_cache.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <smartcache/testing.hpp>

#include "facade/support/cache_over_maps.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/fork.hpp"
#include "support/redis_server.hpp"
#include "support/temp_dir.hpp"

namespace tags_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::CacheOverMaps;
using smartcache_test::TempDir;

namespace {

/// Redis with deadlines and a lease that the busiest machine keeps.
sc::RedisOptions patient(const smartcache::test::RedisServer& server) {
    return {.enabled = true, .url = server.url(), .connect_timeout = 30s, .timeout = 30s, .lease = 30s};
}

}  // namespace

TEST_CASE("erase_tag ends the values with the tag, and no others", "[tags]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    cache.set("ann", 1, {.tags = {"users", "staff"}});
    cache.set("bob", "text", {.tags = {"users"}});
    cache.set("tea", 3, {.tags = {"goods"}});
    cache.set("plain", 4);

    cache.erase_tag("users");
    CHECK_FALSE(cache.get<int>("ann"));
    CHECK_FALSE(cache.exists("bob"));
    CHECK_FALSE(cache.peek<std::string>("bob"));
    CHECK_FALSE(cache.get<std::string>("bob", {.allow_stale = true}));
    CHECK(*cache.get<int>("tea") == 3);
    CHECK(*cache.get<int>("plain") == 4);

    // What is stored afterwards is not concerned.
    CHECK(cache.set("ann", 5, {.tags = {"users", "staff"}}));
    CHECK(*cache.get<int>("ann") == 5);
    cache.erase_tag("nobody has it");
    CHECK(*cache.get<int>("ann") == 5);
    cache.erase_tag("staff");
    CHECK_FALSE(cache.get<int>("ann"));
    CHECK_FALSE(cache.erase("ann"));
    CHECK(cache.stats().size == 2);  // an ended one is dropped when it is looked at
}

TEST_CASE("what lives for ever is stale once its tag is", "[tags][grace]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    const sc::EntryOptions options{.ttl = sc::Duration::max(), .grace = 1h, .tags = {"t"}};
    cache.set("k", 1, options);
    cache.expire_tag("t");
    CHECK_FALSE(cache.get<int>("k"));
    CHECK(*cache.get_or_compute(
              "k", []() -> int { throw std::runtime_error("origin"); }, options) == 1);
}

TEST_CASE("expire_tag makes the values stale until their grace ends", "[tags]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    cache.set("kept", 1, {.ttl = 10min, .grace = 5min, .tags = {"t"}});
    cache.set("none", 2, {.ttl = 10min, .tags = {"t"}});
    cache.expire_tag("t");
    CHECK_FALSE(cache.get<int>("kept"));
    CHECK_FALSE(cache.exists("kept"));
    CHECK_FALSE(cache.touch("kept", 1h));
    const auto stale = cache.get<int>("kept", {.allow_stale = true});
    CHECK(*stale == 1);
    CHECK(stale.stale());
    CHECK_FALSE(cache.get<int>("none", {.allow_stale = true}));

    // A failing load falls back to it.
    const auto saved =
        cache.get_or_compute("kept", []() -> int { throw std::runtime_error("down"); }, {.grace = 5min});
    CHECK(*saved == 1);
    CHECK(saved.stale());

    cache.erase_tag("t");
    CHECK_FALSE(cache.get<int>("kept", {.allow_stale = true}));
    CHECK_THROWS_AS(
        cache.get_or_compute("kept", []() -> int { throw std::runtime_error("down"); }, {.grace = 5min}),
        std::runtime_error);
}

TEST_CASE("a value that was on its way while its tag was erased is dead when it arrives (R1, R18)",
          "[tags]") {
    sc::SmartCache<> cache;
    SECTION("loaded with tags from the call") {
        const auto loaded = cache.get_or_compute("k",
                                                 [&] {
                                                     cache.erase_tag("t");
                                                     return 1;
                                                 },
                                                 {.tags = {"t"}});
        CHECK(*loaded == 1);
    }
    SECTION("loaded with tags from the loader") {
        const auto loaded = cache.get_or_compute("k", [&](sc::LoadContext& context) {
            cache.erase_tag("t");
            context.options.tags = {"t"};
            return 1;
        });
        CHECK(*loaded == 1);
    }
    SECTION("refreshed") {
        (void)cache.refresh("k",
                            [&] {
                                cache.erase_tag("t");
                                return 1;
                            },
                            {.tags = {"t"}});
    }
    SECTION("updated") {
        cache.set("k", 0, {.tags = {"t"}});
        (void)cache.update<int>("k", [&](std::optional<int> old) {
            if (old) cache.erase_tag("t");
            return old ? std::optional(1) : std::nullopt;
        });
    }
    CHECK_FALSE(cache.get<int>("k"));
}

TEST_CASE("who comes after a tag was erased does not share a load from before (R2)", "[tags][threads]") {
    sc::SmartCache<> cache;
    std::atomic<bool> loading{false};
    std::atomic<bool> go_on{false};
    int of_first = 0;  // Catch2 takes no assertions of several threads at a time
    int of_second = 0;
    std::thread first([&] {
        of_first = *cache.get_or_compute("k", [&](sc::LoadContext& context) {
            context.options.tags = {"t"};
            loading = true;
            while (!go_on) std::this_thread::yield();
            return 1;
        });
    });
    while (!loading) std::this_thread::yield();
    cache.erase_tag("t");
    std::thread second([&] { of_second = *cache.get_or_compute("k", [] { return 2; }, {.tags = {"t"}}); });
    // It waits for the first load, whose tags nobody knows yet.
    while (sc::detail::WaitGraph::instance().waiting() == 0) std::this_thread::yield();
    go_on = true;
    first.join();
    second.join();
    CHECK(of_first == 1);
    CHECK(of_second == 2);
    CHECK(*cache.get<int>("k") == 2);
}

TEST_CASE("atomic changes keep the tags", "[tags]") {
    sc::SmartCache<> cache;
    cache.set("n", 1, {.tags = {"t"}});
    CHECK(cache.increment("n") == 2);
    CHECK(cache.update<int>("n", [](std::optional<int> old) { return *old + 1; }));
    CHECK(cache.update<int>("n", [](std::optional<int> old) { return *old + 1; }, {.ttl = 1h}));
    CHECK(cache.explain("n").tiers.front().tags == std::vector<std::string>{"t"});
    cache.erase_tag("t");
    CHECK_FALSE(cache.get<int>("n"));
    CHECK(cache.increment("n", 1, {.tags = {"other"}}) == 1);
    cache.erase_tag("t");
    CHECK(*cache.get<int>("n") == 1);
    cache.erase_tag("other");
    CHECK(cache.set_if_absent("n", 9));
}

TEST_CASE("tags hold for packed, negative and batched entries, and for views of what was got before",
          "[tags]") {
    sc::SmartCache<> cache{{.memory = {.compression = true}}};
    cache.set("big", std::string(100'000, 'x'), {.tags = {"t"}});
    (void)cache.get_or_compute("none", []() -> std::optional<int> { return std::nullopt; },
                               {.negative_ttl = 1h, .tags = {"t"}});
    CHECK(cache.set_many<int>({{"a", 1}, {"b", 2}}, {.tags = {"t", "u"}}) == 2);
    CHECK(cache.get_many<int>({"a", "b"})[1]);
    const auto before = cache.get<int>("a");
    cache.erase_tag("t");
    CHECK_FALSE(cache.get<std::string>("big"));
    int loads = 0;
    (void)cache.get_or_compute("none", [&]() -> std::optional<int> {
        ++loads;
        return 1;
    });
    CHECK(loads == 1);
    for (const auto& each : cache.get_many<int>({"a", "b"})) CHECK_FALSE(each);
    CHECK(*before == 1);
}

TEST_CASE("tags are checked", "[tags]") {
    sc::SmartCache<> cache;
    CHECK_THROWS_AS(cache.set("k", 1, {.tags = {""}}), sc::ConfigError);
    CHECK_THROWS_AS(cache.set("k", 1, {.tags = std::vector<std::string>(sc::max_tags + 1, "t")}),
                    sc::ConfigError);
    CHECK_THROWS_AS(cache.set("k", 1, {.tags = {std::string(sc::max_tag_size + 1, 't')}}), sc::ConfigError);
    CHECK(cache.set("k", 1, {.tags = std::vector<std::string>(sc::max_tags, "t")}));
    cache.erase_tag("");
    CHECK(*cache.get<int>("k") == 1);
    cache.erase_tag("t");
    CHECK_FALSE(cache.get<int>("k"));
}

TEST_CASE("a tier that knows no tags gets no values with tags", "[tags]") {
    CacheOverMaps world(sc::TierSet::disk);
    world.cache->set("k", 1);
    CHECK(world.disk->size() == 1);
    world.cache->set("k", 2, {.tags = {"t"}});  // R3: nor does it keep the older one
    CHECK(world.disk->size() == 0);
    CHECK(*world.cache->get<int>("k") == 2);
}

TEST_CASE("tags on disk", "[tags][disk]") {
    const TempDir dir;
    const sc::Config config{.memory = {.enabled = false}, .disk = {.enabled = true, .path = dir.path()}};
    auto cache = std::make_unique<sc::SmartCache<>>(config);
    const auto reopen = [&] {
        cache.reset();
        cache = std::make_unique<sc::SmartCache<>>(config);
    };
    cache->set("a", 1, {.tags = {"t", "u"}});
    cache->set("b", 2, {.tags = {"u"}});
    cache->set("c", 3, {.grace = 24h, .tags = {"v"}});

    SECTION("erased") {
        cache->erase_tag("t");
        CHECK_FALSE(cache->get<int>("a"));
        CHECK(*cache->get<int>("b") == 2);
        reopen();
        CHECK_FALSE(cache->get<int>("a"));
        CHECK(*cache->get<int>("b") == 2);
        cache->set("a", 4, {.tags = {"t"}});
        reopen();
        CHECK(*cache->get<int>("a") == 4);
        CHECK(cache->explain("a").tiers.back().tags == std::vector<std::string>{"t"});
    }
    SECTION("erased while the record waits in the queue of another process") {
        reopen();
        cache->erase_tag("u");
        reopen();
        CHECK_FALSE(cache->get<int>("a"));
        CHECK_FALSE(cache->get<int>("b"));
    }
    SECTION("expired") {
        cache->expire_tag("v");
        cache->expire_tag("t");
        for (int i = 0; i < 2; ++i) {
            CHECK_FALSE(cache->get<int>("a", {.allow_stale = true}));
            CHECK_FALSE(cache->get<int>("c"));
            const auto stale = cache->get<int>("c", {.allow_stale = true});
            CHECK(*stale == 3);
            CHECK(stale.stale());
            reopen();
        }
    }
    SECTION("a load from before an erase is not stored") {
        (void)cache->get_or_compute("d", [&](sc::LoadContext& context) {
            cache->erase_tag("t");
            context.options.tags = {"t"};
            return 1;
        });
        CHECK_FALSE(cache->get<int>("d"));
        reopen();
        CHECK_FALSE(cache->get<int>("d"));
    }
    SECTION("another namespace") {
        reopen();
        cache.reset();
        sc::Config other = config;
        other.key_prefix = "other";
        sc::SmartCache<>(other).erase_tag("t");
        cache = std::make_unique<sc::SmartCache<>>(config);
        CHECK(*cache->get<int>("a") == 1);
    }
}

TEST_CASE("tags through Redis, for a process that has just begun", "[tags][redis]") {
    smartcache::test::RedisServer server;
    const sc::Config config{.memory = {.enabled = false}, .redis = patient(server)};
    auto cache = std::make_unique<sc::SmartCache<>>(config);
    sc::SmartCache<> other(config);
    const auto restart = [&] { cache = std::make_unique<sc::SmartCache<>>(config); };
    other.erase_tag("t");  // makes the namespace's hash
    other.erase_tag("t");  // is noted in it
    // A message on its way may end a load.
    REQUIRE(smartcache_test::eventually([&] { return cache->stats().foreign_changes >= 2; }));
    SECTION("a set counts from now") {
        CHECK(cache->set("k", 1, {.tags = {"t"}}));
        CHECK(other.get<int>("k").value_or(-1) == 1);
    }
    SECTION("a load counts from when it began") {
        (void)cache->get_or_compute("k", [] { return 1; }, {.tags = {"t"}});
        CHECK(other.get<int>("k").value_or(-1) == 1);
        (void)cache->get_or_compute("l",
                                    [&] {
                                        other.erase_tag("t");
                                        return 1;
                                    },
                                    {.tags = {"t"}});
        CHECK_FALSE(other.get<int>("l"));
        CHECK_FALSE(other.get<int>("k"));
    }
    SECTION("an increment does not lose the count") {
        CHECK(other.increment("n", 5, {.tags = {"t"}}) == 5);
        restart();
        CHECK(cache->increment("n") == 6);
        restart();
        CHECK(cache->increment("n") == 7);
        CHECK(other.get<int>("n").value_or(-1) == 7);
        other.erase_tag("t");
        CHECK_FALSE(cache->get<int>("n"));
    }
    SECTION("expired") {
        CHECK(cache->set("k", 1, {.grace = 1h, .tags = {"u"}}));
        other.expire_tag("u");
        CHECK_FALSE(cache->get<int>("k"));
        CHECK(cache->get<int>("k", {.allow_stale = true}).stale());
    }
}

TEST_CASE("a process with an older copy on its disk does not bring it back into Redis",
          "[tags][redis][disk]") {
    smartcache::test::RedisServer server;
    const TempDir dir;
    const auto config = [&](const char* path) {
        return sc::Config{.memory = {.enabled = false},
                          .redis = patient(server),
                          .disk = {.enabled = true, .path = dir.path() / path}};
    };
    sc::SmartCache<> one(config("one"));
    sc::SmartCache<> two(config("two"));
    CHECK(two.set("k", 1, {.tags = {"t"}}));
    one.erase_tag("t");
    (void)two.get<int>("k");  // its disk has not heard of that, and says so
    CHECK_FALSE(one.get<int>("k"));
    CHECK(two.set("k", 2, {.tags = {"t"}}));
    CHECK(one.get<int>("k").value_or(-1) == 2);
}

TEST_CASE("nothing is carried past a change of a tag that is under way", "[tags]") {
    sc::detail::TagTable table;
    sc::detail::Tag* const tag = table.get("t");
    table.begin("t", sc::detail::TagChange::erase);
    const std::uint64_t meanwhile = table.sequence();
    CHECK(tag->erased > meanwhile);  // whatever begins now
    for (int i = 0; i < 10'000; ++i) table.end(std::to_string(i), sc::detail::TagChange::erase);
    CHECK(tag->erased > table.sequence());
    table.end("t", sc::detail::TagChange::erase);
    CHECK(tag->erased > meanwhile);
    CHECK(tag->erased == table.sequence());
    sc::detail::Tag::drop_reference(tag);
}

TEST_CASE("an entry without tags that comes from below has no room for any", "[tags]") {
    // Under the address sanitizer: sizes at which nothing behind the entry would be its own.
    for (std::size_t size = 1; size < 70; ++size) {
        CacheOverMaps world(sc::TierSet::disk, {.memory = {.jemalloc = false}});
        world.cache->set("k", std::string(size, 'x'));
        world.cache->clear_memory();
        CHECK(world.cache->get<std::string>("k")->size() == size);
    }
}

TEST_CASE("tags travel with promotions and demotions", "[tags][disk]") {
    const TempDir dir;
    const sc::Config demoting{.memory = {.capacity = 1},
                              .disk = {.enabled = true, .path = dir.path(), .fill = sc::DiskFill::on_evict}};
    SECTION("promoted") {
        sc::SmartCache<> cache{{.disk = {.enabled = true, .path = dir.path()}}};
        cache.set("k", 1, {.tags = {"t"}});
        cache.clear_memory();
        CHECK(cache.get<int>("k").tier() == sc::TierId::disk);
        CHECK(cache.get<int>("k").tier() == sc::TierId::memory);
        cache.erase_tag("t");
        CHECK_FALSE(cache.get<int>("k"));
    }
    SECTION("demoted") {
        sc::SmartCache<> cache{demoting};
        cache.set("a", 1, {.tags = {"t"}});
        cache.set("b", 2);
        cache.set("c", 3);
        const std::string evicted = cache.get<int>("a").tier() == sc::TierId::disk ? "a" : "";
        CHECK(evicted == "a");
        cache.erase_tag("t");
        CHECK_FALSE(cache.get<int>("a"));
    }
    SECTION("not demoted after it was erased") {
        sc::SmartCache<> cache{demoting};
        cache.set("a", 1, {.tags = {"t"}});
        cache.erase_tag("t");
        for (int i = 0; i < 20; ++i) cache.set("other" + std::to_string(i), i);
        CHECK_FALSE(cache.get<int>("a"));
        CHECK(cache.explain("a").tiers.back().state == sc::Explanation::State::absent);
    }
}

TEST_CASE("tags weigh on the entries that have them", "[tags][limits]") {
    const auto name = [](int i) { return std::to_string(i) + std::string(1000, 't'); };
    const auto key = [](int i) { return "k" + std::to_string(i); };
    SECTION("each its own") {
        sc::SmartCache<> cache{{.memory = {.capacity_bytes = 1'000'000}}};
        for (int i = 0; i < 2000; ++i) cache.set(key(i), i, {.tags = {name(i)}});
        CHECK(cache.stats().size < 1000);
        CHECK(cache.stats().size > 500);
        CHECK(cache.stats().memory_usage <= 1'000'000);
    }
    SECTION("one that is replaced") {
        sc::SmartCache<> cache;
        cache.set("k", 1, {.tags = {name(1)}});
        const auto once = cache.stats().memory_usage;
        CHECK(once > 1000);
        for (int i = 0; i < 10; ++i) cache.set("k", i, {.tags = {name(1)}});
        CHECK(cache.stats().memory_usage == once);
        cache.erase("k");
        CHECK(cache.stats().memory_usage == 0);
    }
    SECTION("shared by many") {
        const auto usage = [&](const std::string& tag, int rounds) {
            sc::SmartCache<> cache;
            for (int i = 0; i < rounds * 500; ++i) cache.set(key(i % 500), i, {.tags = {tag}});
            return cache.stats().memory_usage;
        };
        for (const int rounds : {1, 3}) {
            const auto long_name = usage(name(1), rounds) - usage("t", rounds);
            CHECK(long_name >= 1000);
            CHECK(long_name < 10'000);
        }
    }
    SECTION("packed") {
        sc::SmartCache<> cache{{.memory = {.compression = true}}};
        cache.set("k", std::string(100'000, 'x'), {.tags = {name(1)}});
        const auto packed = cache.stats().memory_usage;
        CHECK(packed > 1000);
        cache.set("k", std::string(100'000, 'x'));
        CHECK(packed > cache.stats().memory_usage + 1000);
    }
    SECTION("too heavy") {
        sc::SmartCache<> cache{{.memory = {.capacity_bytes = 10'000}}};
        CHECK(cache.set("k", 1));
        CHECK_FALSE(cache.set("k", 1, {.tags = {std::string(20'000, 't')}}));
        CHECK_FALSE(cache.exists("k"));
        CHECK(cache.stats().rejected == 1);
    }
}

TEST_CASE("tags that no entry has are forgotten", "[tags]") {
    sc::detail::TagTable table;
    sc::detail::Tag* const used = table.get("used");
    const std::uint64_t before = table.sequence();
    for (int i = 0; i < 100'000; ++i) table.end(std::to_string(i), sc::detail::TagChange::erase);
    CHECK(table.size() < 10'000);
    for (int i = 0; i < 1000; ++i)
        table.end(std::to_string(i) + std::string(10'000, 't'), sc::detail::TagChange::erase);
    CHECK(table.size() < 100);  // large ones sooner
    // An entry that was begun before the erase of a tag that is forgotten by now.
    sc::detail::Tag* const again = table.get("5");
    CHECK(again->erased > before);
    CHECK(again->erased <= table.sequence());
    CHECK(used->erased == 0);
    sc::detail::Tag::drop_reference(used);
    sc::detail::Tag::drop_reference(again);
}

TEST_CASE("a change of a tag that another thread was making has been made, as far as a child knows",
          "[tags][fork][R33]") {
    sc::detail::TagTable tags;
    sc::detail::Tag* const tag = tags.get("t");
    tags.begin("t", sc::detail::TagChange::erase);
    CHECK(smartcache_test::in_child([&] {
        const std::uint64_t before = tags.sequence();
        sc::detail::Tag::drop_reference(tags.get("t"));
        return tag->erased > before && tag->erased == tags.sequence();
    }));
    tags.end("t", sc::detail::TagChange::erase);
    CHECK(tag->erased == tags.sequence());
    sc::detail::Tag::drop_reference(tag);
}

TEST_CASE("erased tags among threads: nobody sees what was erased before", "[tags][threads]") {
    const TempDir dir;
    sc::SmartCache<> cache{{.memory = {.capacity = 64}, .disk = {.enabled = true, .path = dir.path()}}};
    constexpr int keys = 16;
    // The source: what a load finds. Raised before the tag is erased, as a service would write its database.
    std::atomic<int> source{0};
    std::atomic<int> erased{0};
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> readers;
    for (int r = 0; r < 3; ++r)
        readers.emplace_back([&, r] {
            for (int i = r; !stop; ++i) {
                const int least = erased;
                const auto value = cache.get_or_compute("k" + std::to_string(i % keys),
                                                        [&] { return source.load(); }, {.tags = {"t"}});
                if (*value < least) ++wrong;
                if (i % 7 == 0) cache.clear_memory();
            }
        });
    for (int i = 1; i <= 300; ++i) {
        source = i;
        cache.erase_tag("t");
        erased = i;
        std::this_thread::yield();
    }
    stop = true;
    for (std::thread& reader : readers) reader.join();
    CHECK(wrong == 0);
}

}  // namespace tags_test
