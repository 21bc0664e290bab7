#include <smartcache/redis/slots.hpp>

#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"

namespace slots_test {

namespace sc = smartcache;
using namespace sc::detail;
using Host = sc::RedisUrl::Host;
using Kind = Redirection::Kind;

namespace {

Reply text(std::string value) {
    Reply reply;
    reply.kind = Reply::Kind::text;
    reply.text = std::move(value);
    return reply;
}
Reply number(std::int64_t value) {
    Reply reply;
    reply.kind = Reply::Kind::integer;
    reply.integer = value;
    return reply;
}
Reply array(std::vector<Reply> elements) {
    Reply reply;
    reply.kind = Reply::Kind::array;
    reply.elements = std::move(elements);
    return reply;
}
Reply error(std::string value) {
    Reply reply;
    reply.kind = Reply::Kind::error;
    reply.text = std::move(value);
    return reply;
}
const Host asked{"asked", 7000};

std::string taken(Reply range) {
    const std::vector<SlotRange> ranges = take_slots(array({std::move(range)}), asked);
    if (ranges.empty()) return "none";
    return std::to_string(ranges[0].first) + "-" + std::to_string(ranges[0].last) + " " +
           ranges[0].master.endpoint();
}

}  // namespace

// Redis Cluster specification, "Appendix A", and "Hash tags".
TEST_CASE("slots are those of the specification", "[redis][cluster]") {
    static_assert(crc16("123456789") == 0x31C3);
    CHECK(crc16("") == 0);
    CHECK(hash_slot("foo") == 12182);
    CHECK(hash_slot("{user1000}.following") == hash_slot("user1000"));
    CHECK(hash_slot("{user1000}.following") == hash_slot("{user1000}.followers"));
    CHECK(hash_slot("foo{}{bar}") == crc16("foo{}{bar}") % hash_slots);
    CHECK(hash_slot("foo{{bar}}zap") == hash_slot("{bar"));
    CHECK(hash_slot("foo{bar}{zap}") == hash_slot("bar"));
    CHECK(hash_slot("foo{bar") == crc16("foo{bar") % hash_slots);
    CHECK(hash_slot("}foo{") == crc16("}foo{") % hash_slots);
}

TEST_CASE("each partition has a tag of its own, in its own stretch of slots", "[redis][cluster]") {
    const std::vector<std::string> tags = partition_tags();
    REQUIRE(tags.size() == cluster_partitions);
    CHECK(std::set<std::string>(tags.begin(), tags.end()).size() == tags.size());
    for (std::size_t i = 0; i < tags.size(); ++i) CHECK(hash_slot(tags[i]) / 64 == i);
    // Persistent: records that lie in clusters are found by these.
    CHECK(tags[0] == "p267");
    CHECK(tags[1] == "p68");
    CHECK(tags[255] == "p237");
    CHECK(partition_of("3:app:user:1") == 73);
    std::string all;
    for (const std::string& tag : tags) all += tag + " ";
    CHECK(crc16(all) == 0x8EE4);
}

TEST_CASE("only ranges of slots with an address are taken from CLUSTER SLOTS", "[redis][cluster]") {
    const Reply node = array({text("10.0.0.1"), number(7001), text("id"), array({})});
    CHECK(taken(array({number(0), number(5460), node, array({text("replica"), number(1)})})) ==
          "0-5460 10.0.0.1:7001");
    CHECK(taken(array({number(1), number(1), array({text("::1"), number(65535)})})) == "1-1 [::1]:65535");
    // Who does not know its own name is where it was asked.
    CHECK(taken(array({number(0), number(1), array({text(""), number(7001)})})) == "0-1 asked:7001");
    CHECK(taken(array({number(0), number(1), array({Reply{}, number(7001)})})) == "0-1 asked:7001");
    for (const auto& [first, last] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {-1, 5}, {0, 16384}, {5, 4}, {0, std::numeric_limits<std::int64_t>::max()}})
        CHECK(taken(array({number(first), number(last), node})) == "none");
    for (const std::int64_t port :
         {std::int64_t{0}, std::int64_t{-1}, std::int64_t{65536}, std::numeric_limits<std::int64_t>::max()})
        CHECK(taken(array({number(0), number(1), array({text("h"), number(port)})})) == "none");
    for (const std::string& name : {std::string("?"), std::string("a b"), std::string("/run/redis.sock"),
                                    std::string("a\0", 2), std::string(256, 'a')})
        CHECK(taken(array({number(0), number(1), array({text(name), number(1)})})) == "none");
    CHECK(taken(array({number(0), number(1)})) == "none");
    CHECK(taken(array({text("0"), number(1), node})) == "none");
    CHECK(taken(array({number(0), number(1), text("h")})) == "none");
    CHECK(taken(array({number(0), number(1), array({number(1), number(1)})})) == "none");
    CHECK(taken(text("x")) == "none");
    CHECK(take_slots(error("ERR This instance has cluster support disabled"), asked).empty());
}

TEST_CASE("who serves a slot is found among ranges", "[redis][cluster]") {
    const std::vector<SlotRange> ranges{{0, 9, {"a", 1}}, {20, 20, {"b", 2}}, {5, 6, {"c", 3}}};
    CHECK(range_of(ranges, 0)->master == Host{"a", 1});
    CHECK(range_of(ranges, 9)->master == Host{"a", 1});
    CHECK(range_of(ranges, 6)->master == Host{"c", 3});  // who was named last
    CHECK(range_of(ranges, 20)->master == Host{"b", 2});
    CHECK(range_of(ranges, 10) == nullptr);
    CHECK(range_of({}, 0) == nullptr);
}

TEST_CASE("redirections name where to go, or nothing", "[redis][cluster]") {
    const auto of = [](const std::string& answer) { return redirection_of(error(answer), asked); };
    CHECK(of("MOVED 3999 127.0.0.1:6381") == Redirection{Kind::moved, {"127.0.0.1", 6381}});
    CHECK(of("ASK 3999 redis-1.example.org:6381") == Redirection{Kind::ask, {"redis-1.example.org", 6381}});
    CHECK(of("MOVED 3999 ::1:6381") == Redirection{Kind::moved, {"::1", 6381}});
    CHECK(of("MOVED 3999 :6381") == Redirection{Kind::moved, {"asked", 6381}});
    CHECK(of("TRYAGAIN Multiple keys request during rehashing of slot") == Redirection{Kind::try_again, {}});
    CHECK(of("CLUSTERDOWN The cluster is down") == Redirection{Kind::down, {}});
    CHECK(of("CLUSTERDOWN Hash slot not served") == Redirection{Kind::unserved, {}});
    CHECK(of("CLUSTERDOWN The cluster is down and only accepts read commands") ==
          Redirection{Kind::unserved, {}});
    for (const char* const nowhere : {"MOVED ", "MOVED 1", "MOVED 1 h", "MOVED 1 h:0", "MOVED 1 h:65536",
                                      "MOVED 1 h:x", "MOVED 1 h: 1", "ASK 1 ?:6381", "ASK h:1 h"})
        CHECK(of(nowhere) == Redirection{});
    CHECK_FALSE(of("ERR unknown command"));
    CHECK_FALSE(of("MOVEDX"));
    CHECK_FALSE(redirection_of(text("MOVED 3999 127.0.0.1:6381"), asked));
}

}  // namespace slots_test
