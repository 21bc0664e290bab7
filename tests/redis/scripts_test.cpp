#include <smartcache/redis/scripts.hpp>

#include <string>

#include "support/catch.hpp"
#include "support/redis_server.hpp"

namespace scripts_test {

using smartcache::detail::RedisScript;
using smartcache::test::RedisAnswer;
using smartcache::test::RedisServer;

namespace {

struct World {
    RedisServer server;
    RedisAnswer run(const RedisScript& script, std::vector<std::string> arguments) {
        std::vector<std::string> words{"EVAL", std::string(script.text), "1"};
        words.insert(words.end(), arguments.begin(), arguments.end());
        return server.command(words);
    }
};

}  // namespace

TEST_CASE("the server knows each script by the name we call it", "[redis][scripts]") {
    RedisServer server;
    using namespace smartcache::detail;
    for (const RedisScript& script : {replace_script, end_script, drop_script, epoch_script, unlock_script})
        CHECK(server.command({"SCRIPT", "LOAD", std::string(script.text)}).text == script.sha1);
}

TEST_CASE("a record is replaced only under its version", "[redis][scripts][r7]") {
    World world;
    using smartcache::detail::replace_script;
    CHECK(world.run(replace_script, {"k", "12345678", "new", "1000"}).integer == 0);
    (void)world.server.command({"SET", "k", "SC\x01???12345678 and so on", "PX", "100000"});
    CHECK(world.run(replace_script, {"k", "12345670", "new", "1000"}).integer == 0);
    CHECK(world.run(replace_script, {"k", "12345678", "new", "5000000"}).integer == 1);
    CHECK(world.server.command({"GET", "k"}).text == "new");
    CHECK(world.server.command({"PTTL", "k"}).integer > 4000000);
    (void)world.server.command({"RPUSH", "list", "x"});
    CHECK(world.run(replace_script, {"list", "12345678", "new", "1000"}).integer == 0);
}

TEST_CASE("only what was seen is dropped", "[redis][scripts]") {
    World world;
    using smartcache::detail::drop_script;
    (void)world.server.command({"SET", "k", "foreign bytes"});
    CHECK(world.run(drop_script, {"k"}).integer == 0);  // was no string when it was seen
    CHECK(world.run(drop_script, {"k", "other"}).integer == 0);
    CHECK(world.run(drop_script, {"k", "foreign"}).integer == 0);  // longer by now
    CHECK(world.run(drop_script, {"k", "foreign bytes"}).integer == 1);
    CHECK(world.run(drop_script, {"k", "foreign bytes"}).integer == 0);
    (void)world.server.command({"SET", "k", std::string(100, 'x')});
    CHECK(world.run(drop_script, {"k", std::string(64, 'x')}).integer == 1);
    (void)world.server.command({"RPUSH", "k", "x"});
    CHECK(world.run(drop_script, {"k", "foreign"}).integer == 0);
    CHECK(world.run(drop_script, {"k"}).integer == 1);
}

TEST_CASE("epochs only grow, start at the server's time, and survive any damage", "[redis][scripts][r17]") {
    World world;
    using smartcache::detail::epoch_script;
    const auto epoch = [&](const std::string& low, const std::string& mode, const std::string& token = "t",
                           const std::string& seen = "") {
        const RedisAnswer answer = world.run(epoch_script, {"e", low, token, mode, seen, "0", ""});
        REQUIRE(answer.elements.size() == 4);
        return std::pair(std::stoll(answer.elements[0].text), answer.elements[1].text);
    };
    const long long now = std::stoll(world.server.command({"TIME"}).elements[0].text) * 1'000'000;
    const auto [first, token] = epoch("0", "keep", "one");
    CHECK(first >= now);
    CHECK(token == "one");
    CHECK(epoch("0", "keep", "two") == std::pair(first, std::string("one")));
    CHECK(epoch(std::to_string(first), "keep", "two", "one") == std::pair(first, std::string("one")));
    const long long third = epoch(std::to_string(first), "keep", "two", "another").first;
    CHECK(third > first);
    const long long second = epoch("0", "clear", "two").first;
    CHECK(second > third);
    CHECK(second > first);
    CHECK(epoch("0", "clear").first > second);

    const std::string far = "8000000000000000";
    CHECK(epoch(far, "keep", "three") == std::pair(8000000000000001LL, std::string("one")));
    CHECK(epoch("0", "clear").first == 8000000000000002LL);

    for (const char* damage : {"", "x", "nan", "1e300", "-5", "99999999999999999999", "9999999999999999"}) {
        (void)world.server.command({"HSET", "e", "clear", damage});
        const auto [again, fresh] = epoch("5", "keep", std::string("after ") + damage);
        CHECK(again >= now);
        CHECK(again < 9007199254740992);
        CHECK(fresh == std::string("after ") + damage);
    }
    (void)world.server.command({"DEL", "e"});
    (void)world.server.command({"RPUSH", "e", "foreign"});
    CHECK(epoch("0", "keep", "new").second == "new");
}

TEST_CASE("changes of tags are counted, kept for each tag, and lost with the epoch only",
          "[redis][scripts][r18]") {
    World world;
    using smartcache::detail::epoch_script;
    struct Epoch {
        long long clear;
        std::string token;
        long long tags;
        long long floor;
    };
    const auto run = [&](const std::string& low, const std::string& what, const std::string& seen,
                         const std::string& tags, const std::string& field) {
        const RedisAnswer answer = world.run(epoch_script, {"e", low, "new", what, seen, tags, field});
        REQUIRE(answer.elements.size() == 4);
        return Epoch{std::stoll(answer.elements[0].text), answer.elements[1].text,
                     std::stoll(answer.elements[2].text), std::stoll(answer.elements[3].text)};
    };
    const auto field = [&](const std::string& name) {
        return world.server.command({"HGET", "e", name}).text;
    };
    const Epoch first = run("0", "keep", "", "0", "");
    CHECK(first.tags == 0);
    const std::string clear = std::to_string(first.clear);
    const Epoch second = run(clear, "tag", "new", "0", "e:t");
    CHECK(second.clear == first.clear);
    CHECK(second.tags >= first.clear);
    CHECK(field("e:t") == std::to_string(second.tags));
    const Epoch third = run(clear, "tag", "new", "0", "x:t");
    CHECK(third.tags > second.tags);
    CHECK(field("e:t") == std::to_string(second.tags));
    CHECK(run(clear, "keep", "new", std::to_string(third.tags), "").clear == first.clear);

    SECTION("an old snapshot") {
        const Epoch raised = run(clear, "keep", "new", std::to_string(third.tags + 1), "");
        CHECK(raised.clear > first.clear);
        CHECK(field("e:t").empty());
    }
    SECTION("damaged counts") {
        const std::string which = GENERATE("tags", "floor");
        const std::string damage = GENERATE("", "x", "9999999999999999", "9007199254740001", "-1");
        (void)world.server.command({"HSET", "e", which, damage});
        const Epoch raised = run(clear, "keep", "new", "0", "");
        CHECK(raised.clear > first.clear);
        CHECK(field("e:t").empty());
    }
    SECTION("a lost count") {
        (void)world.server.command({"HDEL", "e", "tags"});
        CHECK(run(clear, "keep", "new", "0", "").clear > first.clear);
    }
    SECTION("a clear") {
        CHECK(run(clear, "clear", "", "0", "").clear > first.clear);
        CHECK(field("e:t").empty());
        CHECK(field("token") == "new");
    }
    SECTION("a lost hash: everything from before has ended") {
        (void)world.server.command({"DEL", "e"});
        const Epoch raised = run(clear, "tag", "new", "0", "e:t");
        CHECK(raised.clear > first.clear);
    }
    SECTION("too many tags") {
        for (int i = 0; i < 66'000; i += 1000) {
            std::vector<std::string> words{"HSET", "e"};
            for (int j = i; j < i + 1000; ++j) {
                words.push_back("e:" + std::to_string(j));
                words.push_back("1");
            }
            (void)world.server.command(words);
        }
        const Epoch raised = run(clear, "tag", "new", "0", "e:u");
        CHECK(raised.clear == first.clear);
        CHECK(raised.floor == raised.tags);
        CHECK(world.server.command({"HLEN", "e"}).integer == 4);
    }
}

}  // namespace scripts_test
