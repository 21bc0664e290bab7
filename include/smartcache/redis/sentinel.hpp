#pragma once

// Which of several Redis servers is the master, by what Sentinels say (redis+sentinel://, rediss+sentinel://).
//
// Each new connection asks anew, one sentinel after the other, beginning with the one that was right last
// time. A sentinel can lag behind, lie, or be cut off together with a master that the others have replaced:
// its answer is only where to look. (Over TLS the certificate there must be for the name or address that the answer
// gives, unless the options name another.) The server there has to call itself a master (ROLE), or the next sentinel
// is asked. A turn, the question and what comes of the answer, takes at most half of the time that is left
// for opening the connection, the last one all of it.
//
// When a connection breaks, or the server says that it cannot serve (it is read-only now, or loading), or
// stays silent until the breaker opens, all connections to it are given up, see Pool::leave_server. A sentinel
// that demotes a master makes it hang up on its clients, so connections do not outlive that either.
//
// Another master, or the same one after a restart, may lack what the old one had acknowledged last:
// replication is asynchronous. What is unacknowledged is settled there as after any new connection, what this
// process changed last is erased there (see recent_changes.hpp), and an epoch that has fallen back is raised
// (see epochs.hpp). What remains is what no process is left to tell, and what happens while two servers both
// take themselves for the master: `min-replicas-to-write` keeps the one that is cut off from taking writes.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/redis/connection.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/pipeline.hpp>
#include <smartcache/redis/reply.hpp>
#include <smartcache/redis/slots.hpp>
#include <smartcache/redis/url.hpp>

namespace smartcache::inline v0::detail {

/// Reads the answer to SENTINEL get-master-addr-by-name.
/// @return false when it is no address
[[nodiscard]] inline bool take_master(const Reply& reply, RedisUrl::Host& master) {
    if (reply.kind != Reply::Kind::array || reply.elements.size() != 2 || !reply.elements[0].is_text() ||
        !reply.elements[1].is_text())
        return false;
    std::optional<RedisUrl::Host> host = host_of_answer(reply.elements[0].text, reply.elements[1].text);
    if (!host) return false;
    master = std::move(*host);
    return true;
}

/// Asks the sentinels of one tier. Each question has a connection of its own, so that silence on one holds up
/// nobody else.
///
/// Thread safety: any thread.
class MasterFinder final : public ServerFinder {
  public:
    /// @param servers  how the tier connects, `tls` included; the URL names sentinels
    explicit MasterFinder(const ConnectionSettings& servers) : name_(servers.url.service) {
        for (const RedisUrl::Host& host : servers.url.hosts) {
            ConnectionSettings sentinel;
            sentinel.url.hosts = {host};
            sentinel.url.user = servers.url.sentinel_user;
            sentinel.url.password = servers.url.sentinel_password;
            sentinel.connect_timeout = servers.connect_timeout;
            sentinel.max_reply = longest_answer;
            sentinel.threads = servers.threads;
            sentinel.tls = servers.tls;
            sentinels_.push_back(std::move(sentinel));
        }
    }

    [[nodiscard]] std::unique_ptr<ServerFinder::Search> search() const override {
        return std::make_unique<Search>(*this);
    }

  private:
    class Search final : public ServerFinder::Search {
      public:
        explicit Search(const MasterFinder& finder)
            // relaxed: where to begin is a guess.
            : finder_(finder),
              current_(finder.first_.load(std::memory_order_relaxed)),
              left_(finder.sentinels_.size()) {
            question_.command({"SENTINEL", "get-master-addr-by-name", finder.name_});
        }

        [[nodiscard]] Failure ask(Deadline deadline, RedisUrl::Host& server) override {
            Failure failure = try_to_ask(deadline, server);
            if (failure) failure.text = "asking for the master " + finder_.name_ + ": " + failure.text;
            return failure;
        }
        [[nodiscard]] std::size_t left() const noexcept override { return left_; }
        void skip() override {
            std::size_t first = current_;
            current_ = (current_ + 1) % finder_.sentinels_.size();
            finder_.first_.compare_exchange_strong(first, current_, std::memory_order_relaxed);
            --left_;
            connection_.reset();
        }
        void succeeded() noexcept override { finder_.first_.store(current_, std::memory_order_relaxed); }

      private:
        Failure try_to_ask(Deadline deadline, RedisUrl::Host& server) {
            const ConnectionSettings& sentinel = finder_.sentinels_[current_];
            if (!connection_) {
                connection_ = std::make_unique<Connection>(sentinel);
                progress_ = {};
            }
            if (!connection_->ready())
                if (Failure failure = connection_->open(deadline)) return failure;
            bool named = false;
            Failure failure = connection_->execute(
                question_, deadline, [&](std::size_t, Reply& reply) { named = take_master(reply, server); },
                progress_);
            if (failure.kind == Failure::Kind::timeout) failure.kind = Failure::Kind::connecting;
            if (failure.kind == Failure::Kind::connecting) return failure;
            connection_.reset();
            if (!failure && !named)
                failure = {Failure::Kind::not_ready, 0,
                           "the sentinel at " + sentinel.url.endpoint() + " knows no such address"};
            return failure;
        }

        const MasterFinder& finder_;
        std::size_t current_;
        std::size_t left_;
        Pipeline question_;
        std::unique_ptr<Connection> connection_;  // to the sentinel that is being asked
        Connection::Progress progress_;
    };

    static constexpr std::size_t longest_answer = 64 * 1024;  // INFO's, at log-in, is some KiB

    const std::string name_;
    std::vector<ConnectionSettings> sentinels_;
    mutable std::atomic<std::size_t> first_{0};
};

}  // namespace smartcache::inline v0::detail
