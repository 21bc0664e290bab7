// Values that are made outside of the cache: `begin_fill`, `commit_fill`.

#include <smartcache/facade/smart_cache.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/map_tier.hpp"
#include "support/redis_server.hpp"

namespace filling_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using sc::FillResult;
using smartcache_test::MapTier;

namespace {

template <class Cache>
int at(Cache& cache, std::string_view key) {
    return cache.template get<int>(key).value_or(0);
}
template <class Cache>
std::string text_at(Cache& cache, std::string_view key) {
    return cache.template get<std::string>(key).value_or("");
}

/// A cache over a tier that others share, too.
struct Shared {
    std::vector<std::unique_ptr<sc::Tier>> tier() {
        auto one = std::make_unique<MapTier>(sc::TierId::other, &clock);
        below = one.get();
        std::vector<std::unique_ptr<sc::Tier>> tiers;
        tiers.push_back(std::move(one));
        return tiers;
    }
    sc::FakeClock clock;
    MapTier* below = nullptr;
    sc::SmartCache<> cache{{.clock = &clock}, tier()};
};

}  // namespace

TEST_CASE("a fill is stored, in every tier, if nothing has come between", "[facade][fill]") {
    Shared shared;
    sc::SmartCache<>& cache = shared.cache;
    sc::Fill fill = cache.begin_fill("k");
    CHECK(fill);
    CHECK(fill.key() == "k");
    CHECK(cache.commit_fill(std::move(fill), 7, {.ttl = 1s}) == FillResult::stored);
    CHECK(at(cache, "k") == 7);
    cache.clear_memory();
    CHECK(at(cache, "k") == 7);
    shared.clock.advance(1s);
    CHECK_FALSE(cache.get<int>("k"));
    (void)cache.begin_fill("dropped");
    CHECK_FALSE(cache.exists("dropped"));
}

TEST_CASE("a fill that was overtaken is stored nowhere", "[facade][fill][R1]") {
    Shared shared;
    sc::SmartCache<> alone;
    const bool below = GENERATE(false, true);
    sc::SmartCache<>& cache = below ? shared.cache : alone;
    REQUIRE(cache.set("old", 1, {.ttl = 1h}));
    const auto overtakes = [&](std::string_view key, const std::function<void()>& change,
                               const sc::EntryOptions& options = {.ttl = 1h}) {
        sc::Fill fill = cache.begin_fill(key);
        change();
        const FillResult result = cache.commit_fill(std::move(fill), 2, options);
        CHECK((at(cache, key) == 2) == (result == FillResult::stored));
        CHECK(result != FillResult::rejected);
        return result == FillResult::overtaken;
    };
    CHECK(overtakes("k", [&] { REQUIRE(cache.set("k", 3)); }));
    CHECK(at(cache, "k") == 3);
    CHECK(overtakes("k", [&] { CHECK(cache.erase("k")); }));
    CHECK(overtakes("k", [&] { CHECK_FALSE(cache.erase("k")); }));
    CHECK(overtakes("k", [&] { cache.clear(); }));
    CHECK(overtakes("k", [&] {
        sc::Fill other = cache.begin_fill("k");
        CHECK(cache.commit_fill(std::move(other), 4) == FillResult::stored);
    }));
    CHECK(overtakes("tagged", [&] { cache.erase_tag("t"); }, {.ttl = 1h, .tags = {"t"}}));
    CHECK(overtakes("tagged", [&] { cache.expire_tag("t"); }, {.ttl = 1h, .tags = {"s", "t"}}));
    CHECK_FALSE(overtakes("tagged", [&] { cache.erase_tag("other"); }, {.ttl = 1h, .tags = {"t"}}));
    CHECK_FALSE(overtakes("neighbour", [&] { cache.erase("another"); }));
}

TEST_CASE("a fill takes the place of what it has seen, and tells what that is", "[facade][fill][R7]") {
    Shared shared;
    sc::SmartCache<>& cache = shared.cache;
    REQUIRE(cache.set("k", std::string("old"), {.ttl = 1s, .grace = 1h}));
    shared.clock.advance(2s);
    sc::Fill fill;
    const auto there = cache.begin_fill<std::string>("k", fill);
    REQUIRE(there);
    CHECK(*there == "old");
    CHECK(there.stale());
    sc::Fill same = cache.begin_fill("k");
    CHECK(same.seen() == fill.seen());
    CHECK(cache.commit_fill(std::move(fill), std::string("new")) == FillResult::stored);
    CHECK(text_at(cache, "k") == "new");
    CHECK(cache.begin_fill("k").seen() != same.seen());
    CHECK(cache.commit_fill(std::move(same), std::string("late")) == FillResult::overtaken);
    CHECK(text_at(cache, "k") == "new");
    // Memory has the say where no other tier answers.
    shared.below->unavailable = true;
    CHECK(cache.begin_fill<std::string>("k", fill).value_or("") == "new");
    CHECK_FALSE(cache.begin_fill<std::string>("none", fill));
    CHECK(fill.tags_there().empty());

    sc::SmartCache<> alone;
    REQUIRE(alone.set("k", 1, {.tags = {"a", "b"}}));
    sc::Fill tagged;
    CHECK(alone.begin_fill<int>("k", tagged).value_or(0) == 1);
    CHECK(tagged.tags_there() == std::vector<std::string>{"a", "b"});
}

TEST_CASE("a fill over anything has only missed no tag", "[facade][fill]") {
    Shared shared;
    sc::SmartCache<>& cache = shared.cache;
    const sc::TagSnapshot before = cache.tags_now();
    REQUIRE(cache.set("k", 1));
    cache.erase_tag("t");
    CHECK(cache.commit_fill(cache.begin_overwrite("k"), 2, {.tags = {"t"}}) == FillResult::stored);
    CHECK(at(cache, "k") == 2);
    sc::Fill older = cache.begin_overwrite("k");
    CHECK(cache.commit_fill(std::move(older.since(before)), 3, {.tags = {"t"}}) == FillResult::overtaken);
    CHECK(at(cache, "k") == 2);
    sc::Fill oldest = cache.begin_overwrite("k");
    CHECK(cache.commit_fill(std::move(oldest.since({})), 4, {.tags = {"t"}}) == FillResult::overtaken);
}

TEST_CASE("what no tier keeps is rejected, and options are looked at", "[facade][fill][limits]") {
    sc::SmartCache<> cache{{.max_value_size = 64, .max_key_size = 8}};
    CHECK(cache.commit_fill(cache.begin_fill("a long key"), 1) == FillResult::rejected);
    CHECK(cache.commit_fill(cache.begin_fill("k"), std::string(65, 'x')) == FillResult::rejected);
    CHECK(cache.commit_fill(cache.begin_fill("k"), 1, {.ttl = 0s}) == FillResult::rejected);
    CHECK_THROWS_AS(cache.commit_fill(cache.begin_fill("k"), 1, {.grace = -1s}), sc::ConfigError);
    CHECK_THROWS_AS(cache.commit_fill(sc::Fill(), 1), std::logic_error);
    sc::Fill none;
    CHECK(none.since(cache.tags_now()).key().empty());
    CHECK(none.tags_there().empty());
    CHECK(none.seen() == 0);
}

TEST_CASE("a fill is overtaken by what another process does", "[facade][fill][coherence][R7]") {
    sc::test::RedisServer server;
    const sc::Config config{
        .redis = {
            .enabled = true, .url = server.url(), .connect_timeout = 30s, .timeout = 30s, .lease = 30s}};
    sc::SmartCache<> here(config);
    sc::SmartCache<> there(config);
    const auto fill_during = [&](const std::function<void()>& change) {
        sc::Fill fill = here.begin_fill("k");
        change();
        return here.commit_fill(std::move(fill), 2, {.tags = {"t"}});
    };
    CHECK(fill_during([] {}) == FillResult::stored);
    CHECK(at(there, "k") == 2);
    CHECK(fill_during([&] { CHECK(there.erase("k")); }) == FillResult::overtaken);
    CHECK(smartcache_test::eventually([&] { return !here.get<int>("k"); }));
    CHECK(fill_during([&] { CHECK_FALSE(there.erase("k")); }) == FillResult::overtaken);
    CHECK(fill_during([&] { REQUIRE(there.set("k", 3)); }) == FillResult::overtaken);
    CHECK(smartcache_test::eventually([&] { return at(here, "k") == 3; }));
    REQUIRE(there.erase("k"));
    CHECK(fill_during([&] { there.clear(); }) == FillResult::overtaken);
    (void)fill_during(
        [&] { there.erase_tag("t"); });  // nobody has it, whatever this process had heard by then
    CHECK(smartcache_test::eventually([&] { return !here.get<int>("k"); }));
    CHECK_FALSE(there.get<int>("k"));
}

}  // namespace filling_test
