#include <smartcache/redis/node.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "redis/support/cluster_world.hpp"
#include "redis/support/hostile_server.hpp"
#include "support/catch.hpp"

namespace node_test {

namespace sc = smartcache;
using namespace smartcache::test;
using namespace smartcache::test::cluster;
using sc::TierStatus;
using Command = HostileServer::Command;
using Words = std::vector<std::string>;

namespace {

/// A node of a cluster that says it has all slots, and refuses what the test says: at once, or as a part of a transaction.
class ScriptedNode {
  public:
    /// @return an error, or nothing
    using Refusal = std::function<std::string(const Command&)>;

    explicit ScriptedNode(Refusal refusal = {}) : refusal_(std::move(refusal)) {
        server_ = std::make_unique<HostileServer>([this](HostileServer::Peer& peer, const Command& command) {
            peer.send(answer(peer, command));
            return true;
        });
    }

    [[nodiscard]] std::string url() const { return "redis+cluster://" + address(); }
    [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(server_->port()); }
    /// What has been said that belongs to changes: commands, and a record's key behind SET.
    [[nodiscard]] Words said() const {
        const std::lock_guard lock(mutex_);
        return said_;
    }
    [[nodiscard]] bool has_said(const std::string& word) const {
        const Words all = said();
        return std::find(all.begin(), all.end(), word) != all.end();
    }

  private:
    struct Transaction {
        bool open = false;
        bool aborted = false;
        std::vector<std::string> answers{};
    };

    std::string answer(HostileServer::Peer& peer, const Command& command) {
        const std::lock_guard lock(mutex_);
        if (command[0] == "CLUSTER") {
            const std::string port = std::to_string(server_->port());
            return "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:" + port + "\r\n";
        }
        if (command[0] == "SET")
            said_.push_back("SET " + command[1].substr(command[1].rfind(':') + 1));
        else if (command[0] != "HMGET" && command[0] != "GETRANGE")
            said_.push_back(command[0]);
        Transaction& transaction = transactions_[&peer];
        const std::string refusal = refusal_ ? refusal_(command) : std::string();
        if (command[0] == "EXEC") {
            const Transaction done = std::exchange(transaction, {});
            if (!refusal.empty()) return "-" + refusal + "\r\n";
            if (!done.open) return "-ERR EXEC without MULTI\r\n";
            if (done.aborted) return "-EXECABORT Transaction discarded because of previous errors.\r\n";
            std::string all = "*" + std::to_string(done.answers.size()) + "\r\n";
            for (const std::string& each : done.answers) all += each;
            return all;
        }
        if (!refusal.empty()) {
            transaction.aborted = true;
            return "-" + refusal + "\r\n";
        }
        if (command[0] == "MULTI") {
            transaction = {.open = true};
            return "+OK\r\n";
        }
        if (!transaction.open) return run(command);
        transaction.answers.push_back(run(command));
        return "+QUEUED\r\n";
    }
    static std::string run(const Command& command) {
        if (command[0] == "HMGET") return "*4\r\n$1\r\n5\r\n$1\r\nt\r\n$1\r\n0\r\n$1\r\n0\r\n";
        if (command[0] == "GETRANGE") return "$0\r\n\r\n";
        return command[0] == "PUBLISH" ? ":0\r\n" : "+OK\r\n";
    }

    const Refusal refusal_;
    mutable std::mutex mutex_;
    Words said_;
    std::map<HostileServer::Peer*, Transaction> transactions_;
    std::unique_ptr<HostileServer> server_;
};

const Words step_of_a{"MULTI", "SET a", "PUBLISH", "EXEC"};
const Words helping_with_a{"ASKING", "MULTI", "SET a", "PUBLISH", "EXEC"};

/// Keys "a", and another one of its partition.
std::string a() {
    return sc::physical_key("app", "a");
}
std::string neighbour_of_a() {
    for (int i = 0;; ++i) {
        const std::string name = "n" + std::to_string(i);
        if (sc::detail::partition_of(sc::physical_key("app", name)) == sc::detail::partition_of(a()))
            return name;
    }
}

}  // namespace

TEST_CASE("a change and its message go elsewhere together, and nothing of them is done twice",
          "[redis][cluster][node][r9]") {
    const ScriptedNode elsewhere;
    const std::string at_what = GENERATE("SET", "EXEC");
    const std::string code = GENERATE("ASK", "MOVED");
    INFO(at_what << " " << code);
    const ScriptedNode first([&](const Command& command) {
        return command[0] == at_what ? code + " 1 " + elsewhere.address() : std::string();
    });
    sc::RedisTier tier(patient(first.url()));
    CHECK(put(tier, a(), "v") == TierStatus::ok);
    CHECK(first.said() == step_of_a);
    CHECK(elsewhere.said() == (code == "ASK" ? helping_with_a : step_of_a));
    CHECK(tier.stats().errors == 0);

    // An erase in the same way; where a slot has come to, what was changed lately is erased before.
    CHECK(tier.remove(a()) == TierStatus::miss);
    const Words all = elsewhere.said();
    const auto step = static_cast<std::ptrdiff_t>(code == "ASK" ? helping_with_a.size() : step_of_a.size());
    CHECK(Words(all.end() - step, all.end()) == (code == "ASK" ? helping_with_a : step_of_a));
}

TEST_CASE("of the steps of one partition only those that are sent elsewhere go there",
          "[redis][cluster][node][r9]") {
    const std::string other = neighbour_of_a();
    const ScriptedNode elsewhere;
    const ScriptedNode first([&](const Command& command) {
        const bool is_a = command[0] == "SET" && command[1].ends_with(":a");
        return is_a ? "ASK 1 " + elsewhere.address() : std::string();
    });
    sc::RedisTier tier(patient(first.url()));
    const std::string neighbour = sc::physical_key("app", other);
    CHECK(put_all(tier, {neighbour, a()}, "v") == 2);
    CHECK(first.said() ==
          Words{"MULTI", "SET " + other, "PUBLISH", "EXEC", "MULTI", "SET a", "PUBLISH", "EXEC"});
    CHECK(elsewhere.said() == helping_with_a);
}

TEST_CASE("a step that a node cannot do now is tried there again as a whole", "[redis][cluster][node][r9]") {
    int left = 2;
    const std::string answer = GENERATE("TRYAGAIN Multiple keys request during rehashing of slot",
                                        "CLUSTERDOWN Hash slot not served");
    const ScriptedNode node(
        [&](const Command& command) { return command[0] == "SET" && left-- > 0 ? answer : std::string(); });
    sc::RedisTier tier(patient(node.url()));
    CHECK(put(tier, a(), "v") == TierStatus::ok);
    Words three = step_of_a;
    for (int i = 0; i < 2; ++i) three.insert(three.end(), step_of_a.begin(), step_of_a.end());
    CHECK(node.said() == three);
}

TEST_CASE("where there are no steps in a cluster a message comes behind what was sent elsewhere",
          "[redis][cluster][node][r9]") {
    const ScriptedNode elsewhere(
        [](const Command& command) { return command[0] == "MULTI" ? "NOPERM" : std::string(); });
    const ScriptedNode first([&](const Command& command) {
        if (command[0] == "MULTI") return std::string("NOPERM no permissions");
        return command[0] == "SET" ? "MOVED 1 " + elsewhere.address() : std::string();
    });
    sc::RedisTier tier(patient(first.url()));
    CHECK(put(tier, a(), "v") == TierStatus::ok);
    REQUIRE(elsewhere.has_said("PUBLISH"));
    const Words all = elsewhere.said();
    CHECK(all.back() == "PUBLISH");
    CHECK(std::find(all.begin(), all.end(), "SET a") < std::find(all.begin(), all.end(), "PUBLISH"));
}

TEST_CASE("a user who may not publish in a cluster changes records all the same", "[redis][cluster][node]") {
    const ScriptedNode node(
        [](const Command& command) { return command[0] == "PUBLISH" ? "NOPERM" : std::string(); });
    sc::RedisTier tier(patient(node.url()));
    CHECK(put(tier, a(), "v") == TierStatus::ok);
    CHECK(node.said() == Words{"MULTI", "SET a", "PUBLISH", "EXEC", "SET a"});
}

TEST_CASE("commands beside a step are taken for themselves", "[redis][node]") {
    using sc::detail::Steps;
    const Steps none;
    CHECK_FALSE(none.begin_at(0));
    CHECK_FALSE(none.end_with(0));
    const Steps two{.size = 3, .count = 2};
    CHECK(two.commands() == 6);
    std::string shape;
    for (std::size_t i = 0; i < 8; ++i) {
        if (two.begin_at(i)) shape += '(';
        shape += static_cast<char>('0' + i);
        if (two.end_with(i)) shape += ')';
    }
    CHECK(shape == "(012)(345)67");
}

}  // namespace node_test
