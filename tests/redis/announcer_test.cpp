#include <smartcache/redis/announcer.hpp>

#include <chrono>
#include <cstddef>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "redis/support/hostile_server.hpp"
#include "redis/support/tier_world.hpp"
#include "support/catch.hpp"

namespace announcer_test {

namespace sc = smartcache;
using namespace smartcache::test;
using sc::Invalidation;
using sc::detail::Announcer;
using Kind = Invalidation::Kind;

namespace {

struct Heard {
    Announcer::Read result = Announcer::Read::unreadable;
    std::vector<std::string> names;
    std::chrono::nanoseconds took{-1};
};
Heard hear(const Announcer& listener, std::string_view message) {
    Heard heard;
    heard.result = listener.read(
        message,
        [&](const Invalidation& what) {
            heard.names.push_back(std::to_string(static_cast<int>(what.kind)) + ":" + std::string(what.name));
        },
        heard.took);
    return heard;
}

}  // namespace

TEST_CASE("a message says what has changed, to everybody but its sender", "[redis][announcer][r9][r25]") {
    const Announcer one(true, 0);
    const Announcer two(true, 0);
    const std::vector<std::string_view> names{"a", "", std::string_view("b\0\r\n", 4)};
    const std::string message = one.message(Kind::key, names);
    const Heard heard = hear(two, message);
    CHECK(heard.result == Announcer::Read::done);
    CHECK(heard.names == std::vector<std::string>{"1:a", "1:", std::string("1:b\0\r\n", 6)});
    const Heard own = hear(one, message);
    CHECK(own.result == Announcer::Read::own);
    CHECK(own.names.empty());
    CHECK(own.took.count() >= 0);
    CHECK(hear(two, one.message(Kind::tag_erased, "t")).names == std::vector<std::string>{"2:t"});
    CHECK(hear(two, one.message(Kind::tag_expired, "t")).names == std::vector<std::string>{"3:t"});
    CHECK(hear(two, one.message(Kind::cleared, std::vector<std::string_view>{})).names ==
          std::vector<std::string>{"4:"});
    // Cut anywhere, it is no message, or one about fewer names.
    for (std::size_t size = 0; size < message.size(); ++size) {
        const Heard cut = hear(two, std::string_view(message).substr(0, size));
        CHECK((cut.result == Announcer::Read::unreadable || cut.names.size() < 3));
    }
}

TEST_CASE("keys are announced on their namespace's channel", "[redis][announcer][r25]") {
    const Announcer announcer(true, 3);
    const std::vector<std::string> keys{sc::physical_key("app", "k"), sc::physical_key("", "k"),
                                        sc::physical_key("app", "l")};
    const std::vector<Announcer::Message> messages = announcer.about(keys);
    REQUIRE(messages.size() == 2);
    CHECK(messages[0].channel == "sc:{invalidations}:3:0:");
    CHECK(messages[1].channel == "sc:{invalidations}:3:3:app");
    const Announcer other(true, 3);
    CHECK(hear(other, messages[1].text).names == std::vector<std::string>{"1:k", "1:l"});
    CHECK(Announcer(false, 3).about(keys).empty());
}

TEST_CASE("no two messages of a process are the same, whoever makes them at the same moment",
          "[redis][announcer][r16]") {
    const Announcer announcer(true, 0);
    constexpr std::size_t each = 2000;
    std::vector<std::vector<std::string>> made(4);
    std::vector<std::thread> threads;
    for (auto& mine : made)
        threads.emplace_back([&announcer, &mine] {
            for (std::size_t i = 0; i < each; ++i) mine.push_back(announcer.message(Kind::key, "k"));
        });
    for (std::thread& thread : threads) thread.join();
    std::set<std::string> all;
    for (const auto& mine : made) all.insert(mine.begin(), mine.end());
    CHECK(all.size() == made.size() * each);
}

TEST_CASE("in a cluster nothing is kept, and each key has a message", "[redis][announcer][r16]") {
    const Announcer announcer(true, 0, false);
    const Announcer other(true, 0);
    const std::string key = sc::physical_key("app", "k");
    const Announcer::Message message = announcer.about_one(key);
    CHECK(message.channel == "sc:{invalidations}:0:3:app");
    CHECK(message.stream.empty());
    CHECK(hear(other, message.text).names == std::vector<std::string>{"1:k"});
    CHECK(announcer.about(std::vector<std::string>{key})[0].stream.empty());
    CHECK(other.about_one(key).stream == message.channel);
    const Announcer::Message foreign = announcer.about_one("no physical key");
    CHECK(foreign.channel == "sc:{invalidations}:0:0:");
    CHECK(hear(other, foreign.text).names.empty());
    CHECK(Announcer(false, 0).about_one(key).channel.empty());
}

TEST_CASE("of a message about many keys short parts are kept", "[redis][announcer][r12]") {
    const Announcer one(true, 0);
    const Announcer two(true, 0);
    std::vector<std::string> keys;
    for (int i = 0; i < 100; ++i)
        keys.push_back(sc::physical_key("", std::string(49, 'k') + std::to_string(i)));
    keys.push_back(sc::physical_key("", std::string(2000, 'l')));
    const std::vector<Announcer::Message> messages = one.about(keys);
    REQUIRE(messages.size() == 1);
    std::vector<std::string> heard;
    for (const std::string& part : messages[0].parts) {
        const std::vector<std::string> names = hear(two, part).names;
        CHECK((part.size() < 600 || names.size() == 1));
        heard.insert(heard.end(), names.begin(), names.end());
    }
    CHECK(heard == hear(two, messages[0].text).names);
    CHECK(heard.size() == keys.size());
    CHECK(one.about(std::vector<std::string>{keys.back()})[0].parts.empty());
}

TEST_CASE("a change and its message are one step", "[redis][announcer][r9]") {
    std::mutex mutex;
    std::vector<std::string> said;
    HostileServer server([&](HostileServer::Peer& peer, const HostileServer::Command& command) {
        const std::lock_guard lock(mutex);
        said.push_back(command[0]);
        if (command[0] == "MULTI")
            peer.send("+OK\r\n");
        else if (command[0] == "EXEC")
            peer.send(
                "*4\r\n+OK\r\n*4\r\n$16\r\n1700000000000000\r\n$1\r\nt\r\n$1\r\n0\r\n$1\r\n0\r\n:0\r\n$-"
                "1\r\n");
        else if (command[0] == "HMGET" && (said.size() < 2 || said[said.size() - 2] != "SET"))
            peer.send("*4\r\n$16\r\n1700000000000000\r\n$1\r\nt\r\n$1\r\n0\r\n$1\r\n0\r\n");
        else
            peer.send("+QUEUED\r\n");
        return true;
    });
    sc::RedisTier tier(patient(server.url()));
    CHECK(put(tier, sc::physical_key("app", "k"), "v") == sc::TierStatus::ok);
    const std::lock_guard lock(mutex);
    REQUIRE(said.size() >= 6);
    CHECK(std::vector<std::string>(said.end() - 6, said.end()) ==
          std::vector<std::string>{"MULTI", "SET", "HMGET", "PUBLISH", "XADD", "EXEC"});
}

}  // namespace announcer_test
