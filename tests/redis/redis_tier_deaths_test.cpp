#include <smartcache/redis/redis_tier.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "redis/support/cutting_proxy.hpp"
#include "redis/support/sigpipe_counter.hpp"
#include "redis/support/tier_world.hpp"
#include "redis/support/tls_world.hpp"
#include "support/catch.hpp"

namespace redis_tier_deaths_test {

namespace sc = smartcache;
using namespace smartcache::test;
using namespace std::chrono_literals;
using sc::TierStatus;

namespace {

/// Every call that there is. @return how many of them were answered
int converse(sc::RedisTier& tier) {
    const auto key = [](const char* name) { return sc::physical_key("app", name); };
    const std::string a = key("a");
    const std::string b = key("b");
    const std::vector<std::string_view> keys{a, b};
    const OwnedRecord one(a, "v");
    const OwnedRecord two(b, std::string(2000, 'v'));
    const std::vector<sc::RecordView> records{one.record, two.record};
    int answered = 0;
    const auto note = [&](TierStatus status) {
        const bool failed = status == TierStatus::unavailable || status == TierStatus::untouched;
        answered += failed ? 0 : 1;
    };
    note(read(tier, key("none")).status);
    for (const TierStatus status : tier.write_many(records)) note(status);
    tier.read_many(keys, [](std::size_t, const sc::RecordView&) {});
    note(tier.peek(a, [](const sc::RecordView&) {}));
    note(tier.contains(b));
    note(put(tier, key("c"), "v"));
    note(put(tier, key("d"), "v", sc::WriteCondition::if_absent()));
    note(put(tier, a, "w", sc::WriteCondition::if_stamp(one.record.stamp)));
    note(tier.change_lifetime(b, two.record.stamp, two.record.expires, two.record.stale_until));
    note(tier.end(b, two.record.stamp));
    note(tier.try_lock(key("c"), 7, std::chrono::seconds(1)));
    tier.unlock(key("c"), 7);
    note(tier.erase_tag("app", "t"));
    note(tier.expire_tag("app", "t"));
    note(tier.remove(key("c")));
    for (const TierStatus status : tier.remove_many(keys)) note(status);
    note(tier.clear("app"));
    (void)tier.flush(ample);
    (void)tier.run_maintenance();
    (void)tier.probe();
    return answered;
}
constexpr int calls = 17;

enum class Way { tcp, unix_socket, tls };

}  // namespace

TEST_CASE("a server that dies at any byte of any call is a failed call, and no signal",
          "[redis][tier][faults]") {
    const Way way = GENERATE(Way::tcp, Way::unix_socket, Way::tls);
    INFO("way " << static_cast<int>(way));
    std::optional<TlsWorld> world;
    if (way == Way::tls) world.emplace();
    RedisServer server(world ? world->server(world->good) : RedisServer::Options{});
    const std::string own_path = (server.directory() / "proxy.sock").string();
    const SigpipeCounter signals;

    std::size_t from_server = 0;
    std::size_t from_client = 0;
    const auto answered = [&](const CuttingProxy::Cut& cut) {
        const auto proxy = way == Way::unix_socket
                               ? std::make_unique<CuttingProxy>(server.socket_path(), own_path, cut)
                               : std::make_unique<CuttingProxy>(server.port(), cut);
        const std::string at = "127.0.0.1:" + std::to_string(proxy->port());
        sc::RedisOptions options = way == Way::unix_socket ? patient("unix://" + own_path)
                                   : way == Way::tls       ? world->client("rediss://" + at)
                                                           : patient("redis://" + at);
        options.max_connections = 1;
        options.breaker = {.failures = 1'000'000};
        sc::RedisTier tier(options, {}, sc::defer_connect);
        const int count = converse(tier);
        from_server = proxy->passed_from_server();
        from_client = proxy->passed_from_client();
        return count;
    };
    const std::size_t never = CuttingProxy::Cut{}.from_server;
    REQUIRE(answered({}) == calls);
    const std::size_t answers = from_server;
    const std::size_t questions = from_client;
    const std::size_t step = way == Way::tls ? 211 : 47;
    for (const auto then : {CuttingProxy::Then::reset, CuttingProxy::Then::close}) {
        INFO("then " << static_cast<int>(then));
        std::size_t unscathed = 0;
        for (std::size_t at = 0; at < answers; at += step)
            unscathed += answered({at, never, then}) == calls ? 1U : 0U;
        for (std::size_t at = 0; at < questions; at += step)
            unscathed += answered({never, at, then}) == calls ? 1U : 0U;
        // Behind the last call only housekeeping is cut.
        CHECK(unscathed < (answers + questions) / step / 4);
    }
    CHECK(SigpipeCounter::count() == 0);
    CHECK(server.command({"PING"}).text == "PONG");
}

TEST_CASE("neither threads nor descriptors are left of a tier, whatever became of its server",
          "[redis][tier][faults]") {
    const std::string url = GENERATE("redis", "unix");
    RedisServer server;
    const auto held = [] {
        std::array<std::ptrdiff_t, 2> counts{};
        for (const char* const kind : {"fd", "task"})
            counts[kind[0] == 'f' ? 0 : 1] =
                std::distance(std::filesystem::directory_iterator(std::string("/proc/self/") + kind),
                              std::filesystem::directory_iterator());
        return counts;
    };
    const auto before = held();
    enum class Fate { lives, dies, stands_still };
    for (const Fate fate : {Fate::lives, Fate::dies, Fate::stands_still}) {
        sc::RedisOptions options = patient(url == "unix" ? server.unix_url() : server.url());
        options.timeout = options.connect_timeout = 50ms;
        sc::RedisTier tier(options, {.name_space = "app", .on_invalidation = [](const sc::Invalidation&) {}},
                           sc::defer_connect);
        tier.begin_to_listen(false, {});
        (void)converse(tier);
        if (fate == Fate::dies) server.kill();
        if (fate == Fate::stands_still) server.pause();
        (void)converse(tier);
        CHECK(held() != before);
        if (fate == Fate::stands_still) server.resume();
        server.start();
    }
    CHECK(eventually([&] { return held() == before; }));
}

TEST_CASE("no call searches the server's keys, or empties it", "[redis][tier]") {
    RedisServer server;
    sc::RedisTier tier(patient(server.unix_url()));
    REQUIRE(converse(tier) == calls);
    const std::string counted = server.command({"INFO", "commandstats"}).text;
    REQUIRE(counted.find("cmdstat_set:") != std::string::npos);
    for (const char* const command : {"scan", "hscan", "keys", "randomkey", "flushdb", "flushall", "hgetall",
                                      "hkeys", "dbsize", "swapdb"}) {
        INFO(command);
        CHECK(counted.find("cmdstat_" + std::string(command) + ":") == std::string::npos);
    }
}

}  // namespace redis_tier_deaths_test
