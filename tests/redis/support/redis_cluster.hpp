#pragma once

#include <poll.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/redis/slots.hpp>

#include "support/redis_server.hpp"

namespace smartcache::test {

/// A Redis Cluster of real servers: some masters, which share the slots evenly, and a replica for each of the first ones.
///
///     RedisCluster cluster;                        // three masters, no replicas
///     RedisTier tier({.url = cluster.url()});
///     cluster.move(slot, 0, 1);                    // by hand, as redis-cli does
///
/// Thread safety: one thread at a time.
class RedisCluster {
  public:
    struct Options {
        std::size_t masters = 3;
        std::size_t replicas = 0;
        std::string password{};
        bool tls = false;  ///< to all ports
        std::function<std::vector<std::string>(std::size_t)>
            arguments{};  ///< further options of the i-th server
    };

    RedisCluster() : RedisCluster(Options{}) {}
    explicit RedisCluster(Options options) : options_(std::move(options)) {
        for (std::size_t i = 0; i < options_.masters + options_.replicas; ++i) start_server();
        for (std::size_t i = 0; i < options_.masters; ++i) {
            std::vector<std::string> command{"CLUSTER", "ADDSLOTS"};
            for (std::size_t slot = 0; slot < detail::hash_slots; ++slot)
                if (slot * options_.masters / detail::hash_slots == i)
                    command.push_back(std::to_string(slot));
            must(i, command);
            must(i, {"CLUSTER", "SET-CONFIG-EPOCH", std::to_string(i + 1)});
        }
        for (std::size_t i = 1; i < servers_.size(); ++i)
            must(i, {"CLUSTER", "MEET", "127.0.0.1", std::to_string(servers_[0]->port())});
        until("all know each other", [&] {
            for (std::size_t i = 0; i < servers_.size(); ++i)
                if (!says(i, "cluster_known_nodes:" + std::to_string(servers_.size()))) return false;
            return whole();
        });
        for (std::size_t i = 0; i < options_.replicas; ++i)
            until("a replica takes its part", [&] {
                return command(options_.masters + i, {"CLUSTER", "REPLICATE", id(i)}).text == "OK";
            });
        until("replicas follow", [&] {
            for (std::size_t i = 0; i < options_.replicas; ++i)
                if (command(options_.masters + i, {"INFO", "replication"})
                        .text.find("master_link_status:up") == std::string::npos)
                    return false;
            for (std::size_t i = 0; i < servers_.size(); ++i)
                if (slaves_seen_by(i) != options_.replicas) return false;
            return true;
        });
    }

    /// redis+cluster://..., or rediss+cluster://..., with all nodes.
    [[nodiscard]] std::string url() const {
        std::string hosts;
        for (const auto& each : servers_)
            hosts += (hosts.empty() ? "127.0.0.1:" : ",127.0.0.1:") + std::to_string(each->port());
        return std::string(options_.tls ? "rediss" : "redis") + "+cluster://" +
               (options_.password.empty() ? "" : ":" + options_.password + "@") + hosts;
    }
    /// Masters first, then their replicas in the same order.
    [[nodiscard]] RedisServer& server(std::size_t i) { return *servers_[i]; }
    [[nodiscard]] std::size_t size() const noexcept { return servers_.size(); }
    RedisAnswer command(std::size_t i, const std::vector<std::string>& arguments) {
        return servers_[i]->command(arguments);
    }
    /// Whether all of them take part.
    [[nodiscard]] bool whole() {
        for (std::size_t i = 0; i < servers_.size(); ++i) {
            const std::string nodes = command(i, {"CLUSTER", "NODES"}).text;
            if (!says(i, "cluster_state:ok") || nodes.find("fail") != std::string::npos ||
                nodes.find("handshake") != std::string::npos)
                return false;
        }
        return true;
    }
    /// What a server must not refuse.
    void must(std::size_t i, const std::vector<std::string>& arguments) {
        const RedisAnswer answer = command(i, arguments);
        if (answer.text != "OK") throw std::runtime_error(arguments[1] + ": " + answer.text);
    }
    [[nodiscard]] std::string id(std::size_t i) { return command(i, {"CLUSTER", "MYID"}).text; }

    /// Another server joins, which serves nothing yet. @return which one it is
    std::size_t add_master() {
        start_server();
        const std::size_t added = servers_.size() - 1;
        must(added, {"CLUSTER", "MEET", "127.0.0.1", std::to_string(servers_[0]->port())});
        until("the new one is known to all", [&] {
            for (std::size_t i = 0; i < servers_.size(); ++i)
                if (!says(i, "cluster_known_nodes:" + std::to_string(servers_.size()))) return false;
            return whole();
        });
        return added;
    }

    /// The master of the beginning that a slot belonged to then.
    [[nodiscard]] std::size_t first_master(std::size_t slot) const {
        return slot * options_.masters / detail::hash_slots;
    }

    /// The slot is on its way: both ends know it, nothing has moved yet.
    void begin_move(std::size_t slot, std::size_t from, std::size_t to) {
        must(to, {"CLUSTER", "SETSLOT", std::to_string(slot), "IMPORTING", id(from)});
        must(from, {"CLUSTER", "SETSLOT", std::to_string(slot), "MIGRATING", id(to)});
    }
    /// Moves the keys that are there, at most so many.
    void move_keys(std::size_t slot, std::size_t from, std::size_t to, std::size_t most = 1000) {
        const RedisAnswer keys =
            command(from, {"CLUSTER", "GETKEYSINSLOT", std::to_string(slot), std::to_string(most)});
        for (const RedisAnswer& key : keys.elements) {
            std::vector<std::string> words{"MIGRATE", "127.0.0.1", std::to_string(servers_[to]->port()),
                                           key.text,  "0",         "30000"};
            if (!options_.password.empty()) words.insert(words.end(), {"AUTH", options_.password});
            const RedisAnswer answer = command(from, words);
            if (answer.text != "OK" && answer.text != "NOKEY")
                throw std::runtime_error("MIGRATE: " + answer.text);
        }
    }
    void end_move(std::size_t slot, std::size_t from, std::size_t to) {
        const std::string owner = id(to);
        must(to, {"CLUSTER", "SETSLOT", std::to_string(slot), "NODE", owner});
        // Who has given away his last slot, and knows that already, is a replica by now.
        const std::string left =
            command(from, {"CLUSTER", "SETSLOT", std::to_string(slot), "NODE", owner}).text;
        if (left != "OK" && left.find("only with masters") == std::string::npos)
            throw std::runtime_error("SETSLOT: " + left);
        // Who has not heard of the new owner's claim yet would not outbid it when the slot comes back to him, and lose it again.
        until("all know the new owner's claim", [&] {
            for (std::size_t i = 0; i < servers_.size(); ++i)
                if (servers_[i]->pid() > 0 && config_epoch(i, owner) != config_epoch(to, owner)) return false;
            return true;
        });
    }
    void move(std::size_t slot, std::size_t from, std::size_t to) {
        begin_move(slot, from, to);
        for (int left = 1; left != 0;) {
            move_keys(slot, from, to);
            left =
                static_cast<int>(command(from, {"CLUSTER", "COUNTKEYSINSLOT", std::to_string(slot)}).integer);
        }
        end_move(slot, from, to);
    }

    /// Whether any of the servers that run holds the key itself.
    [[nodiscard]] bool holds(std::size_t i, const std::string& name) {
        const RedisAnswer keys =
            command(i, {"CLUSTER", "GETKEYSINSLOT", std::to_string(detail::hash_slot(name)), "100000"});
        for (const RedisAnswer& key : keys.elements)
            if (key.text == name) return true;
        return false;
    }

    template <class Condition>
    static void until(const char* what, Condition condition) {
        const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(120);
        while (!condition()) {
            if (std::chrono::steady_clock::now() > limit)
                throw std::runtime_error(std::string("the cluster does not get there: ") + what);
            ::poll(nullptr, 0, 5);
        }
    }

  private:
    void start_server() {
        // The cluster's bus is 10000 ports higher, and there it may be too high, or taken.
        constexpr int attempts = 20;
        for (int attempt = 1;; ++attempt) {
            RedisServer::Options options{
                .password = options_.password,
                .arguments = {"--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
                              "--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor",
                              "0", "--repl-diskless-sync-delay", "0"},
                .tls = options_.tls};
            if (options_.tls)
                options.arguments.insert(options.arguments.end(),
                                         {"--tls-cluster", "yes", "--tls-replication", "yes"});
            if (options_.arguments) {
                const std::vector<std::string> more = options_.arguments(servers_.size());
                options.arguments.insert(options.arguments.end(), more.begin(), more.end());
            }
            if (!options_.password.empty())
                options.arguments.insert(options.arguments.end(), {"--masterauth", options_.password});
            try {
                servers_.push_back(std::make_unique<RedisServer>(std::move(options)));
                return;
            } catch (const std::runtime_error&) {
                if (attempt == attempts) throw;
            }
        }
    }
    [[nodiscard]] bool says(std::size_t i, const std::string& fact) {
        return command(i, {"CLUSTER", "INFO"}).text.find(fact + "\r\n") != std::string::npos;
    }
    /// Of a node, as another one knows it.
    [[nodiscard]] std::string config_epoch(std::size_t seen_by, const std::string& node) {
        std::istringstream lines(command(seen_by, {"CLUSTER", "NODES"}).text);
        for (std::string line; std::getline(lines, line);) {
            std::istringstream fields(line);
            std::string field;
            if (!(fields >> field) || field != node) continue;
            for (int i = 0; i < 6; ++i) fields >> field;
            return field;
        }
        return {};
    }
    [[nodiscard]] std::size_t slaves_seen_by(std::size_t i) {
        const std::string nodes = command(i, {"CLUSTER", "NODES"}).text;
        std::size_t count = 0;
        for (std::size_t at = nodes.find("slave"); at != std::string::npos; at = nodes.find("slave", at + 1))
            ++count;
        return count;
    }

    Options options_;
    std::vector<std::unique_ptr<RedisServer>> servers_;
};

/// The name of a physical key's record in a cluster.
[[nodiscard]] inline std::string cluster_name(std::string_view physical) {
    static const std::vector<std::string> tags = detail::partition_tags();
    return "sc:{" + tags[detail::partition_of(physical)] + "}:" + std::string(physical);
}
[[nodiscard]] inline std::size_t cluster_slot(std::string_view physical) {
    return detail::hash_slot(cluster_name(physical));
}

}  // namespace smartcache::test
