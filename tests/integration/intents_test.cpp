// What Redis could not be told outlives the process, where that has a disk (R11).

#include <smartcache/facade/smart_cache.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/redis_server.hpp"
#include "support/temp_dir.hpp"

namespace intents_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using sc::test::RedisServer;
using smartcache_test::eventually;
using smartcache_test::TempDir;

namespace {

constexpr auto ample = 30s;

sc::Config config_for(const RedisServer& server) {
    sc::Config config;
    config.key_prefix = "app";
    config.redis = {.enabled = true,
                    .url = server.url(),
                    .connect_timeout = ample,
                    .timeout = ample,
                    .breaker = {.failures = 1'000'000}};
    return config;
}
sc::Config config_for(const RedisServer& server, const TempDir& dir) {
    sc::Config config = config_for(server);
    config.disk = {.enabled = true, .path = dir / "store"};
    return config;
}
/// Reads go on, but nothing is changed any more.
void refuse_changes(RedisServer& server) {
    REQUIRE(server
                .command(
                    {"ACL", "SETUSER", "default", "-set", "-unlink", "-del", "-eval", "-evalsha", "-hincrby"})
                .text == "OK");
}
void allow_changes(RedisServer& server) {
    REQUIRE(server.command({"ACL", "SETUSER", "default", "+@all"}).text == "OK");
}

/// `body` in a process of its own that then is killed, or just ends. Made before this one has threads, for the thread sanitizer
/// lets its child begin none otherwise; it waits for `run`.
class AnotherProcess {
  public:
    template <class Body>
    AnotherProcess(bool killed, Body body) : killed_(killed) {
        std::array<int, 2> ends{};
        REQUIRE(::pipe(ends.data()) == 0);
        child_ = ::fork();
        REQUIRE(child_ >= 0);
        if (child_ == 0) {
            ::close(ends[1]);
            ::alarm(120);
            char go = 0;
            if (::read(ends[0], &go, 1) == 1)
                body([&] {
                    if (killed) ::kill(::getpid(), SIGKILL);
                });
            ::_exit(0);
        }
        ::close(ends[0]);
        begin_ = ends[1];
    }
    AnotherProcess(const AnotherProcess&) = delete;
    AnotherProcess& operator=(const AnotherProcess&) = delete;
    ~AnotherProcess() {
        ::close(begin_);
        if (!ended_) (void)::waitpid(child_, nullptr, 0);
    }
    /// From its beginning to its end.
    void run() {
        REQUIRE(::write(begin_, "g", 1) == 1);
        int status = 0;
        REQUIRE(::waitpid(child_, &status, 0) == child_);
        ended_ = true;
        CHECK(WIFSIGNALED(status) == killed_);
        CHECK((killed_ || WEXITSTATUS(status) == 0));
    }

  private:
    const bool killed_;
    pid_t child_ = -1;
    int begin_ = -1;
    bool ended_ = false;
};

}  // namespace

TEST_CASE("what a process could not erase in Redis the next one erases, and does not find there before",
          "[coherence][disk][r3][r11]") {
    RedisServer server;
    const TempDir dir;
    AnotherProcess process(GENERATE(true, false), [&](const auto& die) {
        sc::SmartCache<> one(config_for(server, dir));
        (void)one.erase("erased");
        (void)one.set("replaced", 2, {.write = sc::TierSet::memory | sc::TierSet::redis});
        die();
    });
    sc::SmartCache<> other(config_for(server));
    for (const char* const key : {"erased", "replaced", "kept"}) REQUIRE(other.set(key, 1, {.tags = {"t"}}));
    refuse_changes(server);
    process.run();
    auto next = std::make_unique<sc::SmartCache<>>(config_for(server, dir));
    for (int i = 0; i < 2; ++i) {
        CHECK_FALSE(next->get<int>("erased"));
        CHECK_FALSE(next->get<int>("replaced"));
    }
    CHECK(next->get<int>("kept").value_or(0) == 1);
    CHECK(other.get<int>("erased").value_or(0) == 1);  // nobody could tell it
    SECTION("in time") {
        allow_changes(server);
        CHECK(eventually([&] { return next->flush(ample); }));
    }
    SECTION("by the one after it") {
        next.reset();
        allow_changes(server);
        next = std::make_unique<sc::SmartCache<>>(config_for(server, dir));
        CHECK_FALSE(next->get<int>("erased"));
        CHECK(eventually([&] { return next->flush(ample); }));
    }
    CHECK(eventually([&] { return !other.get<int>("erased") && !other.get<int>("replaced"); }));
    CHECK(other.get<int>("kept").value_or(0) == 1);

    // That was all: what others write now the one after it finds.
    REQUIRE(other.set("erased", 3));
    next.reset();
    next = std::make_unique<sc::SmartCache<>>(config_for(server, dir));
    CHECK(next->get<int>("erased").value_or(0) == 3);
}

TEST_CASE("a clear or a tag that Redis was not told of outlives its process",
          "[coherence][disk][r11][tags]") {
    RedisServer server;
    const TempDir dir;
    const bool clear = GENERATE(true, false);
    AnotherProcess process(true, [&](const auto& die) {
        sc::SmartCache<> one(config_for(server, dir));
        if (clear)
            one.clear();
        else
            one.erase_tag("t");
        die();
    });
    sc::SmartCache<> other(config_for(server));
    REQUIRE(other.set("k", 1, {.tags = {"t"}}));
    refuse_changes(server);
    process.run();
    sc::SmartCache<> next(config_for(server, dir));
    CHECK_FALSE(next.get<int>("k"));
    allow_changes(server);
    CHECK(eventually([&] { return next.flush(ample); }));
    CHECK(eventually([&] { return !other.get<int>("k"); }));
}

TEST_CASE("of more erases than there is room for the namespace ends", "[coherence][disk][r11]") {
    RedisServer server;
    const TempDir dir;
    std::vector<std::string> keys;
    std::vector<std::pair<std::string, int>> pairs;
    for (int i = 0; i < 3000; ++i) {
        keys.push_back("a key with a name that has some length " + std::to_string(i));
        pairs.emplace_back(keys.back(), i);
    }
    AnotherProcess process(true, [&](const auto& die) {
        sc::SmartCache<> one(config_for(server, dir));
        (void)one.erase_many(keys);
        die();
    });
    sc::SmartCache<> other(config_for(server));
    REQUIRE(other.set_many(pairs) == keys.size());
    refuse_changes(server);
    process.run();
    sc::SmartCache<> next(config_for(server, dir));
    std::size_t found = 0;
    for (const auto& each : next.get_many<int>(keys)) found += each ? 1 : 0;
    CHECK(found == 0);
    allow_changes(server);
    CHECK(eventually([&] { return next.flush(ample); }));
    other.clear_memory();
    for (const auto& each : other.get_many<int>(keys)) found += each ? 1 : 0;
    CHECK(found == 0);
    CHECK(next.set("new", 1));
    CHECK(other.get<int>("new").value_or(0) == 1);
}

TEST_CASE("intents that had no room are of every prefix for which the directory was used",
          "[coherence][disk][r11]") {
    RedisServer server;
    const TempDir dir;
    AnotherProcess process(true, [&](const auto& die) {
        sc::SmartCache<> one(config_for(server, dir));
        (void)one.erase_many({"first", std::string(40'000, 'x'), std::string(40'000, 'y'), "k"});
        die();
    });
    sc::SmartCache<> other(config_for(server));
    REQUIRE(other.set("k", 1));
    refuse_changes(server);
    process.run();
    allow_changes(server);
    sc::Config config = config_for(server, dir);
    config.key_prefix = "another";
    sc::SmartCache<> next(config);
    CHECK(eventually([&] { return next.flush(ample); }));
    CHECK(eventually([&] { return !other.get<int>("k"); }));
}

TEST_CASE("where there is no room the prefix of a process with another one outlives it, too",
          "[coherence][disk][r11]") {
    RedisServer server;
    const TempDir dir;
    const auto with_prefix = [](sc::Config config, const char* prefix) {
        config.key_prefix = prefix;
        return config;
    };
    AnotherProcess first(true, [&](const auto& die) {
        sc::SmartCache<> one(config_for(server, dir));
        (void)one.erase_many({"first", std::string(40'000, 'x'), std::string(40'000, 'y'), "k"});
        die();
    });
    AnotherProcess second(true, [&](const auto& die) {
        sc::SmartCache<> one(with_prefix(config_for(server, dir), "another"));
        std::vector<std::string> keys{"k"};
        for (int i = 0; i < 100; ++i) keys.push_back(std::string(1000, 'x') + std::to_string(i));
        (void)one.erase_many(keys);
        (void)one.erase("last");
        die();
    });
    sc::SmartCache<> app(config_for(server));
    sc::SmartCache<> another(with_prefix(config_for(server), "another"));
    REQUIRE(app.set("k", 1));
    REQUIRE(another.set("k", 1));
    REQUIRE(another.set("last", 1));
    refuse_changes(server);
    first.run();
    second.run();
    allow_changes(server);
    sc::SmartCache<> next(with_prefix(config_for(server, dir), "third"));
    CHECK(eventually([&] { return next.flush(ample); }));
    CHECK(eventually([&] { return !app.get<int>("k"); }));
    CHECK(eventually([&] { return !another.get<int>("k") && !another.get<int>("last"); }));
}

// The write lies in the server's socket when its process is killed.
TEST_CASE("a write without an answer does not come back after the next process has erased it",
          "[coherence][disk][r10][r11]") {
    RedisServer server;
    const TempDir dir;
    AnotherProcess process(true, [&](const auto& die) {
        sc::Config config = config_for(server, dir);
        config.redis.connect_timeout = config.redis.timeout = 100ms;
        config.disk.fill = sc::DiskFill::on_evict;
        sc::SmartCache<> one(config);
        (void)eventually([&] { return one.get<int>("k").value_or(0) == 1; });
        server.pause();
        (void)one.set("k", 2);
        (void)one.erase("k");
        die();
    });
    sc::SmartCache<> other(config_for(server));
    REQUIRE(other.set("k", 1));
    process.run();
    server.resume();
    sc::SmartCache<> next(config_for(server, dir));
    CHECK_FALSE(next.get<int>("k"));
    CHECK(eventually([&] { return next.flush(ample); }));
    CHECK(eventually([&] { return !other.get<int>("k"); }));
    CHECK_FALSE(next.get<int>("k"));
}

}  // namespace intents_test
