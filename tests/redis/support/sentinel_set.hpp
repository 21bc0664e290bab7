#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/redis_server.hpp"

namespace smartcache::test {

/// Sentinels close all connections of a server whose part they change, the one that asks among them: it asks again.
inline RedisAnswer ask(RedisServer& server, const std::vector<std::string>& arguments) {
    for (int closed = 0;; ++closed) {
        try {
            return server.command(arguments);
        } catch (const std::runtime_error&) {
            if (closed == 10) throw;
        }
    }
}
inline std::string role(RedisServer& server) {
    return ask(server, {"ROLE"}).elements.at(0).text;
}

/// A master, its replica, and three sentinels of whom two can replace the one by the other.
class SentinelSet {
  public:
    SentinelSet() : SentinelSet(RedisServer::Options{}) {}
    /// @param common  of all five
    explicit SentinelSet(const RedisServer::Options& common)
        : first(with(common, {"--repl-diskless-sync-delay", "0"})),
          second(with(common, {"--replicaof", "127.0.0.1", std::to_string(first.port()),
                               "--repl-diskless-sync-delay", "0"})) {
        for (std::unique_ptr<RedisServer>& each : sentinels_) {
            RedisServer::Options options = with(common, {"--sentinel"});
            options.config = "sentinel monitor mymaster 127.0.0.1 " + std::to_string(first.port()) +
                             " 2\nsentinel down-after-milliseconds mymaster 1500\n"
                             "sentinel failover-timeout mymaster 2000\n";
            each = std::make_unique<RedisServer>(std::move(options));
            // From version 7 on they can be made to hurry; older ones take some seconds more.
            for (const char* const period : {"INFO-PERIOD", "PUBLISH-PERIOD", "PING-PERIOD", "ASK-PERIOD"})
                (void)each->command({"SENTINEL", "DEBUG", period, "100"});
        }
    }

    /// Whether all know each other, and the replica follows its master.
    [[nodiscard]] bool complete() {
        return std::all_of(sentinels_.begin(), sentinels_.end(), [](const auto& sentinel) {
            const RedisAnswer quorum = sentinel->command({"SENTINEL", "CKQUORUM", "mymaster"});
            const RedisAnswer replicas = sentinel->command({"SENTINEL", "REPLICAS", "mymaster"});
            if (quorum.text.find("OK 3 usable") != 0 || replicas.elements.size() != 1) return false;
            const std::vector<RedisAnswer>& fields = replicas.elements[0].elements;
            for (std::size_t i = 0; i + 1 < fields.size(); i += 2)
                if (fields[i].text == "master-link-status") return fields[i + 1].text == "ok";
            return false;
        });
    }
    /// Who it is, as the first sentinel knows it.
    [[nodiscard]] RedisServer& master() {
        const RedisAnswer address =
            sentinels_[0]->command({"SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"});
        return address.elements.at(1).text == std::to_string(first.port()) ? first : second;
    }
    [[nodiscard]] std::string url() const {
        std::string hosts;
        for (const auto& each : sentinels_)
            hosts += (hosts.empty() ? "127.0.0.1:" : ",127.0.0.1:") + std::to_string(each->port());
        const std::string server = first.url();
        return server.substr(0, server.find(':')) + "+sentinel://" + hosts + "/mymaster/1";
    }

    RedisServer first;
    RedisServer second;

  private:
    static RedisServer::Options with(RedisServer::Options options, const std::vector<std::string>& more) {
        options.arguments.insert(options.arguments.end(), more.begin(), more.end());
        return options;
    }

    std::array<std::unique_ptr<RedisServer>, 3> sentinels_;
};

}  // namespace smartcache::test
