// Several caches, each as if in a process of its own, over one redis-server: what one changes the others forget.

#include <smartcache/facade/monitor.hpp>
#include <smartcache/facade/smart_cache.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/fork.hpp"
#include "support/redis_server.hpp"
#include "support/temp_dir.hpp"

namespace coherence_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using sc::test::RedisServer;
using smartcache_test::eventually;
using smartcache_test::TempDir;

namespace {

constexpr auto ample = 30s;

sc::Config config_for(const std::string& url) {
    return {.redis = {.enabled = true, .url = url, .connect_timeout = ample, .timeout = ample, .lease = 30s}};
}
sc::Config config_for(const std::string& url, const TempDir& dir) {
    sc::Config config = config_for(url);
    config.disk = {.enabled = true, .path = dir / "store"};
    return config;
}

template <class Cache>
bool in_memory(Cache& cache, std::string_view key) {
    return static_cast<bool>(cache.template try_get<int>(key));
}
template <class Cache>
bool hears(const Cache& cache) {
    return cache.stats().redis.coherence.hears;
}

/// Time stands still. A thread's next look at it, or at the calendar, is a moment in which something may happen.
class Interrupted final : public sc::Clock {
  public:
    inline static thread_local std::function<void()> by;
    inline static thread_local std::function<void()> at_calendar_by;

    [[nodiscard]] sc::MonotonicTime now() const noexcept override {
        if (const std::function<void()> now_by = std::exchange(by, nullptr)) now_by();
        return time_.now();
    }
    [[nodiscard]] sc::WallTime wall() const noexcept override {
        if (const std::function<void()> now_by = std::exchange(at_calendar_by, nullptr)) now_by();
        return time_.wall();
    }

  private:
    sc::FakeClock time_;
};

}  // namespace

TEST_CASE("what one cache changes others drop from memory", "[coherence][r9]") {
    RedisServer server;
    sc::Config config = config_for(server.url());
    config.key_prefix = GENERATE(std::string(), std::string("app"));
    config.redis.coherence =
        GENERATE(sc::Coherence::automatic, sc::Coherence::publish, sc::Coherence::tracking);
    sc::SmartCache<> one(config);
    sc::SmartCache<> two(config);
    REQUIRE(hears(one));
    REQUIRE(hears(two));
    const auto known_to_two = [&](int value) {
        REQUIRE(one.set("k", value, {.tags = {"t"}}));
        REQUIRE(eventually([&] {
            const auto found = two.get<int>("k");
            return found && *found == value && in_memory(two, "k");
        }));
    };
    known_to_two(1);
    REQUIRE(one.set("k", 2));
    CHECK(eventually([&] { return two.get<int>("k").value_or(-1) == 2; }));

    known_to_two(3);
    REQUIRE(one.erase("k"));
    CHECK(eventually([&] { return !two.get<int>("k"); }));

    known_to_two(4);
    CHECK(one.set_many({std::pair<std::string_view, int>{"k", 5}, {"other", 6}}) == 2);
    CHECK(eventually([&] { return two.get<int>("k").value_or(-1) == 5; }));

    known_to_two(7);
    CHECK(one.erase_many({"other", "k"}) == 2);
    CHECK(eventually([&] { return !two.get<int>("k"); }));

    known_to_two(8);
    CHECK(one.increment("k", 2) == 10);
    CHECK(eventually([&] { return two.get<int>("k").value_or(-1) == 10; }));

    known_to_two(11);
    CHECK(one.take<int>("k").value_or(-1) == 11);
    CHECK(eventually([&] { return !two.get<int>("k"); }));

    known_to_two(12);
    CHECK(one.touch("k", 1min));
    CHECK(eventually([&] {
        const auto found = two.get<int>("k");
        return found && found.ttl() <= 2min;  // each estimates the server's clock
    }));

    known_to_two(13);
    CHECK(one.expire("k"));
    CHECK(eventually([&] { return !two.get<int>("k"); }));

    known_to_two(14);
    one.erase_tag("t");
    CHECK(eventually([&] { return !two.get<int>("k"); }));

    known_to_two(15);
    one.expire_tag("t");
    CHECK(eventually([&] { return !two.get<int>("k"); }));

    known_to_two(16);
    one.clear();
    CHECK(eventually([&] { return !two.get<int>("k"); }));
    CHECK(two.stats().foreign_changes >= 11);
    CHECK(two.stats().redis.coherence.unreadable == 0);
    CHECK(two.stats().redis.coherence.gaps == 1);
}

TEST_CASE("a change and the message about it are one step of the server", "[coherence][r9]") {
    RedisServer server;
    sc::SmartCache<> cache(config_for(server.url()));
    REQUIRE(cache.set("k", 0));
    const auto calls = [&](const std::string& command) {
        const std::string text = server.command({"INFO", "commandstats"}).text;
        const std::string name = "cmdstat_" + command + ":calls=";
        const std::size_t at = text.find(name);
        return at == std::string::npos ? 0 : std::stoi(text.substr(at + name.size()));
    };
    const auto is_one_step = [&](const auto& change) {
        const int steps = calls("exec");
        const int messages = calls("publish");
        change();
        CHECK(calls("exec") == steps + 1);
        CHECK(calls("publish") == messages + 1);
    };
    is_one_step([&] { REQUIRE(cache.set("k", 1)); });
    is_one_step([&] { REQUIRE(cache.set_many<int>({{"k", 2}, {"l", 2}}) == 2); });
    is_one_step([&] { REQUIRE(cache.erase("k")); });
}

TEST_CASE("a cache does not drop what it has changed itself, nor what others change elsewhere",
          "[coherence]") {
    RedisServer server;
    sc::Config config = config_for(server.url());
    sc::SmartCache<> one(config);
    sc::SmartCache<> two(config);
    config.key_prefix = "neighbour";
    sc::SmartCache<> neighbour(config);
    config.key_prefix = "";
    config.redis.url = server.url(1);
    sc::SmartCache<> other_db(config);
    REQUIRE(one.set("mine", 1));
    REQUIRE(neighbour.set("mine", 2));
    REQUIRE(other_db.set("mine", 3));
    REQUIRE(two.set("marker", 1));
    // Messages come in order: when that of the marker is here, so are all before it.
    REQUIRE(eventually([&] { return one.stats().foreign_changes == 1; }));
    CHECK(in_memory(one, "mine"));
    REQUIRE(eventually([&] { return one.stats().redis.coherence.latency.count >= 1; }));  // its own came back
    CHECK(sc::to_json(one.stats()).find(R"("coherence":{"hears":true,"messages":)") != std::string::npos);
    CHECK(sc::prometheus_text(one).find("smartcache_coherence_hears 1\n") != std::string::npos);
    CHECK(in_memory(neighbour, "mine"));
    CHECK(neighbour.stats().foreign_changes == 0);
    CHECK(other_db.stats().foreign_changes == 0);
}

TEST_CASE("writers that do not use this library count with tracking", "[coherence]") {
    RedisServer server;
    sc::Config config = config_for(server.url());
    config.redis.coherence = sc::Coherence::tracking;
    sc::SmartCache<> cache(config);
    REQUIRE(cache.set("k", 1));
    REQUIRE(eventually([&] { return cache.get<int>("k") && in_memory(cache, "k"); }));
    REQUIRE(server.command({"DEL", "sc:0::k"}).integer == 1);
    CHECK(eventually([&] { return !cache.get<int>("k"); }));
    REQUIRE(cache.set("k", 2));
    REQUIRE(eventually([&] { return cache.get<int>("k") && in_memory(cache, "k"); }));
    REQUIRE(server.command({"FLUSHALL"}).text == "OK");
    CHECK(eventually([&] { return !cache.get<int>("k"); }));
}

TEST_CASE("what others change is dropped from the disk as well", "[coherence][disk]") {
    RedisServer server;
    const TempDir dir;
    sc::SmartCache<> one(config_for(server.url()));
    sc::SmartCache<> two(config_for(server.url(), dir));
    const auto on_disk = [&] {
        two.clear_memory();
        return static_cast<bool>(two.get<int>("k", {.tiers = sc::TierSet::disk}));
    };
    REQUIRE(two.set("k", 1, {.tags = {"t"}}));
    REQUIRE(on_disk());
    REQUIRE(one.erase("k"));
    CHECK(eventually([&] { return !on_disk(); }));
    const auto set_on_disk = [&](int value) {  // unless a message is still on its way to it
        return eventually([&] { return two.set("k", value, {.tags = {"t"}}) && on_disk(); });
    };
    REQUIRE(set_on_disk(2));
    one.erase_tag("t");
    CHECK(eventually([&] { return !on_disk(); }));
    REQUIRE(set_on_disk(3));
    one.clear();
    CHECK(eventually([&] { return !on_disk(); }));
}

TEST_CASE("what was on the disk before a gap counts only as the version that Redis has",
          "[coherence][disk][r12]") {
    RedisServer server;
    const TempDir dir;
    sc::SmartCache<> one(config_for(server.url()));
    {
        sc::SmartCache<> two(config_for(server.url(), dir));
        REQUIRE(two.set("erased", 1));
        REQUIRE(two.set("changed", 1));
        REQUIRE(two.set("same", 1));
        REQUIRE(two.set("evicted", 1));
    }
    // While nobody hears it.
    REQUIRE(one.erase("erased"));
    REQUIRE(one.set("changed", 2));
    REQUIRE(server.command({"DEL", "sc:0::evicted"}).integer == 1);
    (void)server.command({"DEL", "sc:{invalidations}:0:0:"});  // what was told meanwhile
    sc::SmartCache<> two(config_for(server.url(), dir));
    CHECK_FALSE(two.get<int>("erased"));
    CHECK(two.get<int>("changed").value_or(-1) == 2);
    CHECK(two.get<int>("same").value_or(-1) == 1);
    CHECK_FALSE(two.get<int>("evicted"));  // it might have been erased, longer ago than a trace stays
    CHECK_FALSE(two.exists("evicted"));
    CHECK(two.explain("evicted").reason.find("unheard") != std::string::npos);
    CHECK_FALSE(one.get<int>("evicted"));
    // From now on it hears what happens, so what Redis evicts the disk may answer.
    REQUIRE(two.set("kept", 1));
    two.clear_memory();
    REQUIRE(server.command({"DEL", "sc:0::kept"}).integer == 1);
    CHECK(two.get<int>("kept").tier() == sc::TierId::disk);
}

TEST_CASE("a cache that hears nothing says so, and afterwards trusts nothing from before",
          "[coherence][r12][r13]") {
    RedisServer server;
    sc::SmartCache<> one(config_for(server.url()));
    sc::Config config = config_for(server.url());
    config.redis.lease = 2s;
    config.redis.timeout = 100ms;
    config.redis.lease_lost = GENERATE(sc::LeaseLost::serve_stale, sc::LeaseLost::distrust);
    const bool distrusts = config.redis.lease_lost == sc::LeaseLost::distrust;
    sc::SmartCache<> two(config);
    REQUIRE(one.set("k", 1));
    REQUIRE(eventually([&] { return two.stats().foreign_changes == 1; }));
    const auto gaps = [&] { return two.stats().redis.coherence.gaps; };
    // Again, should a busy machine keep its thread from hearing for longer than the lease just then.
    REQUIRE(eventually([&] {
        const std::uint64_t before = gaps();
        if (!hears(two) || !two.get<int>("k") || !in_memory(two, "k")) return false;
        server.pause();  // connections stay open, nothing passes: no error tells
        CHECK(eventually([&] { return !hears(two); }));
        if (gaps() == before) return true;
        server.resume();
        return false;
    }));
    const std::uint64_t heard_before = gaps();
    CHECK(eventually([&] { return in_memory(two, "k") != distrusts; }));
    CHECK_FALSE(two.health_check().ok());
    (void)two.set("meanwhile", 2);
    CHECK(in_memory(two, "meanwhile") != distrusts);

    server.resume();
    CHECK(eventually([&] { return hears(two); }));
    CHECK(eventually([&] { return !in_memory(two, "k"); }));
    CHECK(gaps() > heard_before);
    CHECK(one.stats().redis.coherence.gaps == 1);  // its lease is longer
    REQUIRE(one.erase("k"));
    CHECK(eventually([&] { return !two.get<int>("k"); }));
}

TEST_CASE("a restart of Redis is a gap", "[coherence][r12][r14]") {
    RedisServer server;
    sc::SmartCache<> cache(config_for(server.url()));
    REQUIRE(cache.set("k", 1));
    server.kill();
    CHECK(eventually([&] { return !hears(cache); }));
    CHECK(in_memory(cache, "k"));  // better than nothing
    server.start();
    CHECK(eventually([&] { return hears(cache); }));
    CHECK(eventually([&] { return !in_memory(cache, "k"); }));
    CHECK_FALSE(cache.get<int>("k"));
}

TEST_CASE("a fill that has seen less than what was erased since comes in nowhere", "[coherence][r1][r7]") {
    RedisServer server;
    sc::SmartCache<> one(config_for(server.url()));
    sc::SmartCache<> two(config_for(server.url()));
    SECTION("nothing, then a set and an erase") {
        const auto loaded = two.get_or_compute("k", [&] {
            REQUIRE(one.set("k", 2));
            REQUIRE(one.erase("k"));
            return 1;
        });
        CHECK(*loaded == 1);
    }
    SECTION("nothing, then an erase of nothing") {
        const auto loaded = two.get_or_compute("k", [&] {
            CHECK_FALSE(one.erase("k"));
            return 1;
        });
        CHECK(*loaded == 1);
    }
    SECTION("nothing, then something that has ended since") {
        const auto loaded = two.get_or_compute("k", [&] {
            REQUIRE(one.set("k", 2, {.ttl = 1ms}));
            REQUIRE(eventually([&] { return !one.exists("k"); }));
            return 1;
        });
        CHECK(*loaded == 1);
    }
    SECTION("an erase, then another one") {
        REQUIRE(one.set("k", 1));
        REQUIRE(one.erase("k"));
        const auto loaded = two.get_or_compute("k", [&] {
            CHECK_FALSE(one.erase("k"));
            return 1;
        });
        CHECK(*loaded == 1);
    }
    SECTION("nothing, then a clear") {
        (void)two.get<int>("k");  // has seen the epoch
        const auto loaded = two.get_or_compute("k", [&] {
            one.clear();
            (void)two.get<int>("other");  // knows the new one
            return 1;
        });
        CHECK(*loaded == 1);
    }
    CHECK(eventually([&] { return !in_memory(two, "k"); }));
    CHECK_FALSE(two.get<int>("k"));
    CHECK_FALSE(one.get<int>("k"));
    // What is loaded after that comes in.
    CHECK(eventually([&] {  // unless a message is still on its way to it
        (void)two.get_or_compute("k", [] { return 3; });
        return one.get<int>("k").value_or(-1) == 3;
    }));
}

// What its loader had read from the database before an erase used to replace that erase.
TEST_CASE("a value that others replace before it gets into memory stays out of it", "[coherence][r8]") {
    RedisServer server;
    Interrupted clock;
    sc::Config config = config_for(server.url());
    config.clock = &clock;
    sc::SmartCache<> one(config);
    sc::SmartCache<> other(config);
    const bool many = GENERATE(false, true);
    // Redis has the value by then, and the message about the other one passes before memory has it.
    bool overtaken = false;
    Interrupted::by = [&] {
        overtaken = other.set("k", 2) && eventually([&] { return one.stats().foreign_changes == 1; });
    };
    if (many)
        (void)one.set_many({std::pair<std::string_view, int>{"k", 1}});
    else
        (void)one.set("k", 1);
    CHECK(overtaken);
    CHECK_FALSE(in_memory(one, "k"));
    CHECK(*one.get<int>("k") == 2);
}

// Memory refuses what a message has overtaken, whatever the message is about. It used to let those in that had begun after that
// and had read what was there before.
TEST_CASE("what was read before a change, and after a message that is late, stays out of memory",
          "[coherence][r1][r8]") {
    RedisServer server;
    Interrupted clock;
    sc::Config config = config_for(server.url());
    config.clock = &clock;
    config.redis.coherence = sc::Coherence::publish;
    sc::SmartCache<> other(config);
    config.background_threads = 0;  // it hears when it is told to
    sc::SmartCache<> one(config);
    REQUIRE(eventually([&] {
        (void)one.run_maintenance();
        return hears(one);
    }));
    const std::uint64_t before = one.stats().foreign_changes;
    REQUIRE(other.set("k", 1));
    std::thread reader;
    bool late = false;
    const auto meanwhile = [&] {
        late = eventually([&] {
            (void)one.run_maintenance();
            return one.stats().foreign_changes > before;
        });
        reader = std::thread([&] { (void)one.get<int>("k"); });
        late = eventually([&] { return one.stats().redis.hits >= 1; }) && late;
    };
    SECTION("a set") {
        Interrupted::at_calendar_by = meanwhile;
        CHECK(one.set("k", 2));
    }
    SECTION("a set of many") {
        Interrupted::at_calendar_by = meanwhile;
        CHECK(one.set_many({std::pair<std::string_view, int>{"k", 2}}) == 1);
    }
    reader.join();
    CHECK(late);
    CHECK(one.get<int>("k").value_or(0) == 2);
}

// It used to be told as overtaken, and with tracking that was what each fill could be by its own echo.
TEST_CASE("a fill that Redis has taken is stored, whatever is heard before memory has it",
          "[coherence][fill][r8]") {
    RedisServer server;
    Interrupted clock;
    sc::Config config = config_for(server.url());
    config.clock = &clock;
    const bool echo = GENERATE(false, true);
    config.redis.coherence = echo ? sc::Coherence::tracking : sc::Coherence::publish;
    sc::SmartCache<> one(config);
    sc::SmartCache<> other(config);
    REQUIRE(hears(one));
    sc::Fill fill = one.begin_fill("k");
    bool heard = false;
    Interrupted::by = [&] {
        heard = (echo || other.set("k", 2)) && eventually([&] { return one.stats().foreign_changes >= 1; });
    };
    CHECK(one.commit_fill(std::move(fill), 1) == sc::FillResult::stored);
    CHECK(heard);
    CHECK_FALSE(in_memory(one, "k"));
    CHECK(one.get<int>("k").value_or(0) == (echo ? 1 : 2));
}

TEST_CASE("a refresh stores nothing over what others have changed since it began",
          "[coherence][refresh][r7]") {
    RedisServer server;
    sc::SmartCache<> one(config_for(server.url()));
    sc::Config config = config_for(server.url());
    config.background_threads = 0;  // it does not hear of that meanwhile
    sc::SmartCache<> two(config);
    int left = 0;
    SECTION("nothing, then an erase of nothing") {
        CHECK(*two.refresh("k", [&] {
            CHECK_FALSE(one.erase("k"));
            return 1;
        }) == 1);
    }
    SECTION("a value, then an erase") {
        REQUIRE(one.set("k", 3));
        CHECK(*two.refresh("k", [&] {
            REQUIRE(one.erase("k"));
            return 1;
        }) == 1);
    }
    SECTION("a value, then another one") {
        left = 2;
        REQUIRE(one.set("k", 3));
        CHECK(*two.refresh("k", [&] {
            REQUIRE(one.set("k", 2));
            return 1;
        }) == 1);
    }
    CHECK(one.get<int>("k").value_or(0) == left);
    CHECK(two.get<int>("k").value_or(0) == left);
    REQUIRE(two.refresh("k", [] { return 4; }));
    CHECK(eventually([&] { return one.get<int>("k").value_or(0) == 4; }));
}

// It used to go up from there, as what has come after the clear.
TEST_CASE("a load for the disk alone stores nothing after a clear by others", "[coherence][disk][r7]") {
    RedisServer server;
    const TempDir dir;
    sc::SmartCache<> one(config_for(server.url()));
    sc::Config config = config_for(server.url(), dir);
    config.background_threads = 0;
    config.redis.coherence = sc::Coherence::publish;
    sc::SmartCache<> two(config);
    (void)two.erase("k");
    (void)two.get_or_compute("k",
                             [&] {
                                 one.clear();
                                 return 1;
                             },
                             {.write = sc::TierSet::disk});
    CHECK_FALSE(two.get<int>("k"));
    CHECK_FALSE(one.get<int>("k"));
}

TEST_CASE("the disk puts nothing back that a clear by others has ended, where Redis was left out on purpose",
          "[coherence][disk][r12]") {
    RedisServer server;
    const TempDir dir;
    sc::SmartCache<> one(config_for(server.url()));
    sc::Config config = config_for(server.url(), dir);
    config.background_threads = 0;  // it does not hear of it before it looks
    config.redis.coherence = sc::Coherence::publish;
    sc::SmartCache<> two(config);
    (void)two.set("k", 1, {.write = sc::TierSet::disk});
    one.clear();
    (void)two.get<int>("k");
    CHECK_FALSE(one.get<int>("k"));
}

// Nobody was told of them.
TEST_CASE("atomic changes of what Redis has lost end what others have of it", "[coherence][atomics]") {
    RedisServer server;
    sc::SmartCache<> one(config_for(server.url()));
    sc::SmartCache<> two(config_for(server.url()));
    REQUIRE(two.set("k", 1));
    REQUIRE(two.set("marker", 1));
    REQUIRE(server.command({"DEL", "sc:0::k"}).integer == 1);
    SECTION("increment") {
        CHECK(one.increment("k", 2) == 2);
    }
    SECTION("set_if_absent") {
        CHECK(one.set_if_absent("k", 2));
    }
    SECTION("update") {
        CHECK(one.update<int>("k", [](std::optional<int>) { return 2; }));
    }
    SECTION("an update that erases") {
        CHECK(one.update<int>("k", [](std::optional<int>) { return std::optional<int>(); }));
        CHECK(server.command({"EXISTS", "sc:0::k"}).integer == 1);  // a trace, for fills under way
    }
    SECTION("an update whose value Redis is not to keep") {
        CHECK(one.update<int>("k", [](std::optional<int>) { return 2; }, {.redis_ttl = 0ms}));
    }
    // Messages come in order: when that of the marker is here, so are all before it.
    REQUIRE(one.set("marker", 2));
    REQUIRE(eventually([&] { return !in_memory(two, "marker"); }));
    CHECK(two.get<int>("k").value_or(0) != 1);
    CHECK(two.get<int>("k").value_or(2) == 2);
}

// An update that erases, of nothing, holds as little against others' values as any other.
TEST_CASE("an update that finds nothing erases nothing that comes meanwhile", "[coherence][atomics]") {
    RedisServer server;
    sc::SmartCache<> one(config_for(server.url()));
    sc::SmartCache<> two(config_for(server.url()));
    std::vector<int> seen;
    CHECK(one.update<int>("k", [&](std::optional<int> old) -> std::optional<int> {
        seen.push_back(old.value_or(0));
        if (seen.size() > 1) return *old + 1;
        REQUIRE(two.set("k", 1));
        return std::nullopt;
    }));
    // Once more if the message of that change has come only after the second look.
    REQUIRE(seen.size() >= 2);
    CHECK(seen[0] == 0);
    CHECK(std::all_of(seen.begin() + 1, seen.end(), [](int old) { return old == 1; }));
    CHECK(two.get<int>("k", {.tiers = sc::TierSet::redis}).value_or(0) == 2);
}

TEST_CASE("what is stored after an erase of its tag by others is there for everybody",
          "[coherence][tags][r18]") {
    RedisServer server;
    const sc::Config config = config_for(server.url());
    sc::SmartCache<> one(config);
    sc::SmartCache<> two(config);
    sc::SmartCache<> three(config);
    REQUIRE(one.set("k", 1, {.tags = {"t"}}));
    one.expire_tag("other");  // it knows how often tags have changed, and that is out of date from now on
    const auto erased_by_other = [&] {
        const std::uint64_t before = one.stats().foreign_changes;
        two.erase_tag("t");
        REQUIRE(eventually([&] { return one.stats().foreign_changes > before; }));
        REQUIRE(!in_memory(one, "k"));
    };
    const auto there = [&](int value) {
        INFO(value);
        three.clear_memory();
        CHECK(three.get<int>("k").value_or(-1) == value);
        CHECK(one.get<int>("k", {.tiers = sc::TierSet::redis}).value_or(-1) == value);
    };
    const sc::EntryOptions tagged{.tags = {"t"}};

    erased_by_other();
    REQUIRE(one.set("k", 2, tagged));
    there(2);
    erased_by_other();
    REQUIRE(one.set_many({std::pair<std::string_view, int>{"k", 3}, {"more", 3}}, tagged) == 2);
    there(3);
    erased_by_other();
    REQUIRE(one.update<int>(
        "k", [](std::optional<int> old) { return old.value_or(3) + 1; }, tagged));
    there(4);
    erased_by_other();
    REQUIRE(one.set_if_absent("k", 5, tagged));
    there(5);
    erased_by_other();
    REQUIRE(one.increment("k", 6, tagged) == 6);
    there(6);
    erased_by_other();
    CHECK(one.get_or_compute(
                 "k", [] { return 7; }, tagged)
              .value_or(-1) == 7);
    there(7);
}

TEST_CASE("the disk puts nothing back into Redis that others have ended", "[coherence][disk][r7][r12]") {
    RedisServer server;
    const TempDir dir;
    sc::SmartCache<> one(config_for(server.url()));
    sc::Config config = config_for(server.url(), dir);
    config.background_threads = 0;  // hears when it is maintained: what lies in between is on its way
    config.redis.coherence = sc::Coherence::publish;
    auto two = std::make_unique<sc::SmartCache<>>(config);
    REQUIRE(two->set("k", 1, {.grace = 1h}));
    two->clear_memory();
    SECTION("by a clear") {
        one.clear();
    }
    SECTION("by an erase") {
        REQUIRE(one.erase("k"));
    }
    SECTION("by a clear, when it had lost the value") {
        REQUIRE(server.command({"DEL", "sc:0::k"}).integer == 1);
        one.clear();
    }
    SECTION("by an expiry") {
        REQUIRE(one.expire("k"));
    }
    SECTION("by an expiry while it was away") {
        two.reset();
        REQUIRE(one.expire("k"));
        two = std::make_unique<sc::SmartCache<>>(config);
        CHECK_FALSE(two->get<int>("k"));
    }
    (void)two->get<int>("k");  // from its disk, unless it can tell that it is not good any more
    CHECK_FALSE(one.get<int>("k"));
    CHECK(eventually([&] {
        (void)two->run_maintenance();
        return !two->get<int>("k");
    }));
    CHECK_FALSE(one.get<int>("k"));
}

TEST_CASE("what Redis has lost, and nobody has ended, the disk brings back", "[coherence][disk][promotion]") {
    RedisServer server;
    const TempDir dir;
    sc::SmartCache<> one(config_for(server.url()));
    sc::SmartCache<> two(config_for(server.url(), dir));
    REQUIRE(two.set("k", 1, {.ttl = 1h}));
    two.clear_memory();
    SECTION("a key") {
        REQUIRE(server.command({"DEL", "sc:0::k"}).integer == 1);
    }
    SECTION("everything") {
        REQUIRE(server.command({"FLUSHALL"}).text == "OK");
    }
    SECTION("because it was excluded") {
        REQUIRE(two.set("k", 1, {.ttl = 1h, .write = sc::TierSet::disk}));
        CHECK_FALSE(one.get<int>("k"));
    }
    CHECK(two.get<int>("k").tier() == sc::TierId::disk);
    CHECK(in_memory(two, "k"));
    const auto found = one.get<int>("k");
    REQUIRE(found);
    CHECK(*found == 1);
    CHECK(found.ttl() <= 1h + 1min);  // both estimate the server's clock
}

TEST_CASE("what was erased before a clear can be filled, counted and set anew", "[coherence][r7]") {
    RedisServer server;
    sc::SmartCache<> one(config_for(server.url()));
    sc::SmartCache<> two(config_for(server.url()));
    REQUIRE(one.set("k", 1));
    REQUIRE(one.erase("k"));
    two.clear();
    REQUIRE(eventually([&] { return one.stats().foreign_changes == 1; }));  // else it comes while one loads
    int loads = 0;
    for (int i = 0; i < 3; ++i) CHECK(*one.get_or_compute("k", [&] { return ++loads; }) == 1);
    CHECK(loads == 1);
    REQUIRE(one.set("counter", 1));
    REQUIRE(one.erase("counter"));
    two.clear();
    REQUIRE(eventually([&] { return one.stats().foreign_changes == 2; }));
    CHECK(one.increment("counter") == 1);
}

TEST_CASE("what others have cleared is changed as if it were not there, by who has heard nothing of that",
          "[coherence][atomics][r19]") {
    RedisServer server;
    sc::Config config = config_for(server.url());
    config.redis.coherence = sc::Coherence::off;
    sc::SmartCache<> one(config);
    sc::SmartCache<> two(config);
    REQUIRE(one.increment("n", 5) == 5);
    REQUIRE(one.set("k", 5));
    two.clear();
    CHECK(server.command({"EXISTS", "sc:0::n", "sc:0::k"}).integer == 2);  // under the same names as ever
    CHECK(one.increment("n") == 1);
    CHECK(one.update<int>("k", [](std::optional<int> old) { return old.value_or(100) + 1; }));
    CHECK(two.increment("n") == 2);
    CHECK(*two.get<int>("k") == 101);
}

TEST_CASE("of a key that is set twice at once the last value counts everywhere", "[coherence][batch]") {
    RedisServer server;
    sc::SmartCache<> cache(config_for(server.url()));
    (void)cache.set_many({std::pair<std::string_view, int>{"k", 1}, {"k", 2}});
    CHECK(cache.get<int>("k").value_or(-1) == 2);
    cache.clear_memory();
    CHECK(cache.get<int>("k").value_or(-1) == 2);
}

TEST_CASE("an erase gets through to a server that is full", "[coherence][r3]") {
    RedisServer server;
    sc::SmartCache<> one(config_for(server.url()));
    sc::SmartCache<> two(config_for(server.url()));
    REQUIRE(one.set("k", 1));
    REQUIRE(eventually([&] { return two.get<int>("k") && in_memory(two, "k"); }));
    REQUIRE(server.command({"CONFIG", "SET", "maxmemory", "1"}).text == "OK");
    CHECK(one.erase("k"));
    CHECK(server.command({"EXISTS", "sc:0::k"}).integer == 0);
    CHECK(eventually([&] { return !two.get<int>("k"); }));
}

TEST_CASE("a server that is full takes clears and changes of tags, and tells others", "[coherence][r17]") {
    RedisServer server;
    sc::SmartCache<> one(config_for(server.url()));
    sc::SmartCache<> two(config_for(server.url()));
    REQUIRE(one.set("k", 1, {.tags = {"t"}}));
    REQUIRE(eventually([&] { return two.get<int>("k") && in_memory(two, "k"); }));
    const bool lost = GENERATE(false, true);
    if (lost) REQUIRE(server.command({"DEL", sc::detail::epoch_key("")}).integer == 1);
    REQUIRE(server.command({"CONFIG", "SET", "maxmemory", "1"}).text == "OK");
    SECTION("a clear") {
        one.clear();
    }
    SECTION("the end of a tag") {
        one.erase_tag("t");
    }
    SECTION("what a tag makes stale") {
        one.expire_tag("t");
    }
    CHECK(one.health_check().detail(sc::TierId::redis).find("to be acknowledged") == std::string::npos);
    CHECK(eventually([&] { return !in_memory(two, "k"); }));
    CHECK_FALSE(two.get<int>("k"));
    CHECK_FALSE(one.get<int>("k"));
    REQUIRE(server.command({"CONFIG", "SET", "maxmemory", "0"}).text == "OK");
    CHECK_FALSE(two.get<int>("k"));
    REQUIRE(one.set("k", 2, {.tags = {"t"}}));
    CHECK(eventually([&] { return two.get<int>("k").value_or(-1) == 2; }));
}

TEST_CASE("what a full server does not take leaves nobody an older value", "[coherence][r3]") {
    RedisServer server;
    sc::Config config = config_for(server.url());
    config.background_threads = 0;  // nobody makes up for it later
    sc::SmartCache<> one(config);
    sc::SmartCache<> two(config_for(server.url()));
    REQUIRE(one.set_many({std::pair<std::string_view, int>{"k", 1}, {"other", 1}}, {.grace = 1h}) == 2);
    REQUIRE(eventually([&] { return two.get<int>("k") && in_memory(two, "k"); }));
    REQUIRE(server.command({"CONFIG", "SET", "maxmemory", "1"}).text == "OK");
    SECTION("of a set") {
        (void)one.set("k", 2);
        CHECK(one.get<int>("k").value_or(-1) == 2);
    }
    SECTION("of several") {
        (void)one.set_many({std::pair<std::string_view, int>{"k", 2}, {"other", 2}});
        CHECK(server.command({"EXISTS", "sc:0::other"}).integer == 0);
    }
    SECTION("of what is stale from now on") {
        (void)one.expire("k");
    }
    CHECK(server.command({"EXISTS", "sc:0::k"}).integer == 0);
    CHECK(eventually([&] { return !in_memory(two, "k"); }));
    CHECK_FALSE(two.get<int>("k"));
}

TEST_CASE("a change that a full server refuses has not happened, for anybody", "[coherence][atomics][r10]") {
    RedisServer server;
    sc::SmartCache<> one(config_for(server.url()));
    sc::SmartCache<> two(config_for(server.url()));
    REQUIRE(one.set("k", 1));
    REQUIRE(eventually([&] { return two.get<int>("k") && in_memory(two, "k"); }));
    REQUIRE(server.command({"CONFIG", "SET", "maxmemory", "1"}).text == "OK");
    CHECK_FALSE(one.increment("k"));
    CHECK_FALSE(one.update<int>("k", [](std::optional<int> old) { return old.value_or(0) + 1; }));
    CHECK_FALSE(one.set_if_absent("new", 1));
    for (sc::SmartCache<>* const each : {&one, &two}) {
        CHECK(each->get<int>("k").value_or(-1) == 1);
        CHECK_FALSE(each->get<int>("new"));
    }
    int loads = 0;
    CHECK(*one.get_or_compute("loaded", [&] { return ++loads; }, {.distributed_lock = true}) == 1);
    CHECK(loads == 1);
    SECTION("but one that ends the value has") {
        CHECK(two.take<int>("k").value_or(-1) == 1);
    }
    SECTION("nor is an update that erases refused") {
        CHECK(two.update<int>("k", [](std::optional<int>) { return std::optional<int>(); }));
    }
    CHECK(eventually([&] { return !in_memory(one, "k"); }));
    CHECK_FALSE(one.get<int>("k"));
    CHECK_FALSE(two.get<int>("k"));
}

TEST_CASE("of a key that the server has lost others do not take for fresh what one has made stale",
          "[coherence][r4]") {
    RedisServer server;
    const TempDir dir;
    sc::SmartCache<> one(config_for(server.url()));
    sc::SmartCache<> two(config_for(server.url(), dir));
    REQUIRE(one.set("k", 1, {.grace = 1h}));
    REQUIRE(eventually([&] { return two.get<int>("k") && in_memory(two, "k"); }));
    REQUIRE(server.command({"DEL", "sc:0::k"}).integer ==
            1);  // as Redis does when it needs room: nobody is told
    SECTION("where it has a copy itself") {
        CHECK(one.expire("k"));
    }
    SECTION("where it has none") {
        one.clear_memory();
        CHECK_FALSE(one.expire("k"));
    }
    CHECK(eventually([&] { return !in_memory(two, "k"); }));
    CHECK_FALSE(two.get<int>("k"));
}

TEST_CASE("what a load was to replace is nowhere when its tag has ended meanwhile", "[coherence][tags][r2]") {
    RedisServer server;
    const TempDir dir;
    sc::Config config = config_for(server.url(), dir);
    config.disk.write = sc::WriteMode::through;
    sc::SmartCache<> cache(config);
    REQUIRE(cache.set("k", 1));
    const auto load = [&]() -> std::optional<int> {
        cache.erase_tag("t");
        return std::nullopt;
    };
    CHECK_FALSE(cache.refresh("k", load, {.negative_ttl = 1h, .tags = {"t"}}));
    CHECK_FALSE(cache.get<int>("k", {.tiers = sc::TierSet::redis}));
    CHECK_FALSE(in_memory(cache, "k"));
    CHECK_FALSE(cache.get<int>("k"));
}

TEST_CASE("a server that has no MULTI is used without", "[coherence][r9]") {
    RedisServer server({.arguments = {"--rename-command", "MULTI", ""}});
    sc::SmartCache<> one(config_for(server.url()));
    sc::SmartCache<> two(config_for(server.url()));
    for (int i = 0; i < 3; ++i) {
        REQUIRE(one.set("k", i));
        one.clear_memory();
        CHECK(one.get<int>("k").tier() == sc::TierId::redis);
        CHECK(eventually([&] { return two.get<int>("k").value_or(-1) == i; }));
    }
    CHECK(one.erase("k"));
    CHECK(eventually([&] { return !two.get<int>("k"); }));
}

TEST_CASE("a server that does not let us track is not asked all the time", "[coherence]") {
    RedisServer server;
    (void)server.command({"ACL", "SETUSER", "u", "on", ">pw", "~*", "&*", "+@all", "-client|tracking"});
    sc::Config config = config_for("redis://u:pw@127.0.0.1:" + std::to_string(server.port()));
    config.redis.coherence = sc::Coherence::tracking;
    sc::SmartCache<> cache(config);
    REQUIRE(cache.set("k", 1));
    CHECK_FALSE(hears(cache));
    CHECK(in_memory(cache, "k"));
    CHECK(cache.stats().redis.coherence.gaps == 0);
    CHECK(cache.health_check().detail(sc::TierId::redis).find("does not let us listen") != std::string::npos);
}

TEST_CASE("what the child of a fork changes its parent hears, and the child knows that it hears nothing",
          "[coherence][fork][r33]") {
    RedisServer server;
    sc::SmartCache<> cache(config_for(server.url()));
    REQUIRE(cache.set("k", 1));
    CHECK(smartcache_test::in_child(
        [&] { return !hears(cache) && cache.set("k", 2) && cache.get<int>("k").value_or(-1) == 2; }));
    CHECK(eventually([&] { return cache.get<int>("k").value_or(-1) == 2; }));
    CHECK(hears(cache));
    std::set<std::uint64_t> stamps{sc::random_stamp()};
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    for (int child = 0; child < 2; ++child)
        REQUIRE(smartcache_test::in_child([&] {
            const std::uint64_t stamp = sc::random_stamp();
            return ::write(ends[1], &stamp, sizeof stamp) == sizeof stamp;
        }));
    for (int child = 0; child < 2; ++child) {
        std::uint64_t stamp = 0;
        REQUIRE(::read(ends[0], &stamp, sizeof stamp) == sizeof stamp);
        stamps.insert(stamp);
    }
    stamps.insert(sc::random_stamp());
    CHECK(stamps.size() == 4);
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_CASE("what expired while Redis did not answer is not fresh there afterwards", "[coherence][r4][r11]") {
    RedisServer server;
    sc::Config config = config_for(server.url());
    config.redis.timeout = 100ms;
    sc::SmartCache<> cache(config);
    REQUIRE(cache.set("k", 1, {.grace = 1h}));
    server.pause();
    (void)cache.expire("k");
    server.resume();
    cache.clear_memory();
    bool fresh = false;
    CHECK(eventually([&] {
        fresh = fresh || cache.get<int>("k");
        return cache.flush(1s);
    }));
    CHECK_FALSE(fresh);
    CHECK_FALSE(cache.get<int>("k"));
}

TEST_CASE("messages that nobody can read make a cache forget, and no harm", "[coherence][r25]") {
    RedisServer server;
    sc::SmartCache<> cache(config_for(server.url()));
    const std::string channel = sc::detail::invalidation_channel(0, "");
    for (const std::string& message :
         {std::string(), std::string("x"), std::string("SCi1"), "SCi1" + std::string(16, 'x') + "\x09",
          "SCi1" + std::string(16, 'x') + "\x01\x05k",
          "SCi1" + std::string(16, 'x') + "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
          std::string(1'000'000, 'x')}) {
        INFO(message.substr(0, 30));
        REQUIRE(cache.set("k", 1));
        const std::uint64_t before = cache.stats().redis.coherence.unreadable;
        REQUIRE(server.command({"PUBLISH", channel, message}).integer == 1);
        CHECK(eventually([&] { return cache.stats().redis.coherence.unreadable == before + 1; }));
        CHECK(eventually([&] { return !in_memory(cache, "k"); }));
        CHECK(cache.get<int>("k").tier() == sc::TierId::redis);
    }
    CHECK(cache.stats().redis.coherence.gaps == 1);
}

TEST_CASE("a user who may not publish or subscribe is told what is lost", "[coherence]") {
    RedisServer server;
    (void)server.command({"ACL", "SETUSER", "mute", "on", ">pw", "~*", "+@all", "resetchannels"});
    sc::Config config = config_for("redis://mute:pw@127.0.0.1:" + std::to_string(server.port()));
    sc::SmartCache<> cache(config);
    CHECK_FALSE(hears(cache));
    CHECK(cache.set("k", 1));
    CHECK(cache.erase("k"));
    CHECK(cache.set("k", 2));
    CHECK(cache.get<int>("k").value_or(-1) == 2);
    const sc::Health health = cache.health_check();
    CHECK(health.redis);
    const std::string detail = health.detail(sc::TierId::redis);
    CHECK(detail.find("changes by other processes are not heard") != std::string::npos);
    CHECK(detail.find("PUBLISH is not permitted") != std::string::npos);
}

TEST_CASE("a user who may run no scripts is told so, and what it clears and erases ends for all",
          "[coherence][r17]") {
    RedisServer server;
    (void)server.command({"ACL", "SETUSER", "plain", "on", ">pw", "~*", "&*", "+@all", "-@scripting"});
    const std::string plain = "redis://plain:pw@127.0.0.1:" + std::to_string(server.port());
    const std::string epochs = sc::detail::epoch_key("");
    sc::SmartCache<> one(config_for(plain));
    const bool both = GENERATE(false, true);
    sc::SmartCache<> two(config_for(both ? plain : server.url()));
    const auto says_so = [](sc::SmartCache<>& cache) {
        return cache.health_check().detail(sc::TierId::redis).find("scripts (EVALSHA, EVAL)") !=
               std::string::npos;
    };
    CHECK(says_so(one));
    CHECK(says_so(two) == both);
    CHECK(one.health_check().redis);
    const auto known_to_two = [&](int value) {
        REQUIRE(one.set("k", value, {.grace = 1h, .tags = {"t"}}));
        REQUIRE(eventually([&] {
            const auto found = two.get<int>("k");
            return found && *found == value && in_memory(two, "k");
        }));
    };
    const auto ended = [&] {
        CHECK(eventually([&] { return !in_memory(two, "k"); }));
        CHECK_FALSE(two.get<int>("k"));
        CHECK_FALSE(one.get<int>("k"));
        sc::SmartCache<> three(config_for(server.url()));
        CHECK_FALSE(three.get<int>("k"));
    };
    known_to_two(1);
    one.clear();
    ended();
    known_to_two(2);
    one.erase_tag("t");
    ended();
    known_to_two(3);
    one.expire_tag("t");
    ended();
    known_to_two(4);
    (void)one.expire("k");
    ended();
    CHECK_FALSE(one.increment("k"));

    SECTION("when the epochs are lost") {
        known_to_two(5);
        REQUIRE(server.command({"DEL", epochs}).integer == 1);
        one.clear();
        ended();
    }
    SECTION("when they are no epochs") {
        known_to_two(6);
        (void)server.command({"HSET", epochs, "clear", "much"});
        one.clear();
        ended();
        known_to_two(7);
        (void)server.command({"SET", epochs, "no hash"});
        one.clear();
        ended();
    }
    SECTION("when old ones are restored") {
        known_to_two(8);
        const std::string dump = server.command({"DUMP", epochs}).text;
        one.clear();
        ended();
        REQUIRE(server.command({"RESTORE", epochs, "0", dump, "REPLACE"}).text == "OK");
        one.clear();
        ended();
    }
    known_to_two(9);
    CHECK(one.health_check().detail(sc::TierId::redis).find("to be acknowledged") == std::string::npos);
    (void)server.command({"ACL", "SETUSER", "plain", "+@scripting"});
    CHECK_FALSE(says_so(one));
    CHECK(one.increment("count") == 1);
}

TEST_CASE("without background threads a cache listens when it is maintained", "[coherence]") {
    RedisServer server;
    sc::Config config = config_for(server.url());
    sc::SmartCache<> one(config);
    config.background_threads = 0;
    config.redis.coherence = sc::Coherence::publish;
    sc::SmartCache<> two(config);
    REQUIRE(two.set("k", 1));
    REQUIRE(one.erase("k"));
    CHECK(in_memory(two, "k"));
    CHECK(eventually([&] {
        (void)two.run_maintenance();
        return !in_memory(two, "k");
    }));
}

TEST_CASE("many caches and threads: nothing erased comes back, and in the end all agree",
          "[coherence][stress]") {
    RedisServer server;
    const TempDir dir;
    constexpr int caches = 3;
    constexpr int keys = 8;
    std::vector<std::unique_ptr<sc::SmartCache<>>> all;
    for (int i = 0; i < caches; ++i) {
        sc::Config config = config_for(server.unix_url());
        if (i == 0) config.disk = {.enabled = true, .path = dir / "store"};
        all.push_back(std::make_unique<sc::SmartCache<>>(config));
    }
    // The truth that loaders read: for each key a number that only grows. Who has raised it sets or erases afterwards.
    std::vector<std::atomic<int>> truth(keys);
    const auto name = [](int key) { return "k" + std::to_string(key); };
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int t = 0; t < 2 * caches; ++t)
        threads.emplace_back([&, t] {
            sc::SmartCache<>& cache = *all[static_cast<std::size_t>(t % caches)];
            std::uint64_t random = static_cast<std::uint64_t>(t) * 7919 + 1;
            for (int round = 0; round < 400; ++round) {
                random = random * 6364136223846793005U + 1442695040888963407U;
                const int key = static_cast<int>(random >> 33U) % keys;
                std::atomic<int>& real = truth[static_cast<std::size_t>(key)];
                switch ((random >> 50U) % 8) {
                    case 0:
                        ++real;
                        (void)cache.erase(name(key));
                        break;
                    case 1:
                        ++real;
                        if (round % 50 == 0)
                            cache.clear();
                        else
                            cache.erase_tag(name(key));
                        break;
                    case 2:
                        cache.clear_memory();
                        break;
                    default: {
                        const auto found = cache.get_or_compute(name(key), [&] { return real.load(); },
                                                                {.tags = {name(key)}});
                        if (*found > real.load()) ++wrong;
                    }
                }
            }
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    // Everybody who raised a number has erased after that: in the end nobody has an older one.
    for (int key = 0; key < keys; ++key)
        for (const auto& cache : all)
            CHECK(eventually([&] {
                const auto found = cache->get<int>(name(key));
                return !found || *found == truth[static_cast<std::size_t>(key)].load();
            }));
    for (int key = 0; key < keys; ++key)
        for (const auto& cache : all) {
            cache->clear_memory();
            const auto found = cache->get<int>(name(key));
            CHECK((!found || *found == truth[static_cast<std::size_t>(key)].load()));
        }
}

// For ThreadSanitizer: what is told to a listener meanwhile.
TEST_CASE("a cache that is listened to may end while others change what it has",
          "[coherence][events][threads]") {
    RedisServer server;
    sc::SmartCache<> other(config_for(server.url()));
    std::atomic<bool> ended{false};
    std::thread changes([&] {
        while (!ended) other.set("k", 1);
    });
    for (int i = 0; i < 20; ++i) {
        std::atomic<int> removed{0};
        sc::Config config = config_for(server.url());
        config.listener = [&](const sc::Event& event) {
            if (event.kind == sc::EventKind::removed) ++removed;
        };
        sc::SmartCache<> cache(config);
        CHECK(eventually([&] {
            (void)cache.get<int>("k");
            return removed > 2;
        }));
    }
    ended = true;
    changes.join();
}

TEST_CASE("a listener that is told of another process's change may use the cache to its end",
          "[coherence][events][threads]") {
    RedisServer server;
    sc::SmartCache<> other(config_for(server.url()));
    std::promise<void> told;
    std::promise<void> ending;
    std::atomic<sc::SmartCache<>*> used{nullptr};
    std::atomic<int> found{0};
    sc::Config config = config_for(server.url());
    config.listener = [&, first = true](const sc::Event& event) mutable {
        if (event.kind != sc::EventKind::removed || event.key != "k" || !std::exchange(first, false)) return;
        told.set_value();
        ending.get_future().wait();
        for (int i = 0; i < 500; ++i) found += used.load()->exists("other") ? 1 : 0;
    };
    auto cache = std::make_unique<sc::SmartCache<>>(config);
    used = cache.get();
    other.set("other", 1);
    CHECK(cache->set("k", 1));
    other.set("k", 2);
    told.get_future().wait();
    std::promise<void> begun;
    const auto load = [&](sc::LoadContext& context) {  // ends when the cache begins to
        begun.set_value();
        while (!context.stop_token().stop_requested()) std::this_thread::yield();
        ending.set_value();
        return 1;
    };
    CHECK_THROWS_AS(cache->get_or_compute("l", sc::owned(load), {.hard_timeout = 0ms}), sc::LoadTimeout);
    begun.get_future().wait();
    cache.reset();
    CHECK(found == 500);
}

}  // namespace coherence_test
