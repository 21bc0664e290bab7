#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/core/executor.hpp>

#include "client.hpp"
#include "loop.hpp"
#include "origin.hpp"
#include "stream.hpp"
#include "workers.hpp"

namespace proxy {

struct ServerOptions {
    Endpoint listen;
    std::size_t loops = 1;
    std::size_t max_clients = 1000;
    std::size_t max_workers = 1000;
};

/// Accepts clients and deals them out to the loops in turn.
class Server {
  public:
    Server(ServerOptions options, const ProxyOptions& proxy, Web& web, Origin& origin, std::size_t max_stored)
        : options_(std::move(options)),
          shutdown_timeout_(proxy.shutdown_timeout),
          site_{web, origin, workers_, max_stored, proxy.client_timeout},
          listener_(listen_at(options_.listen)),
          workers_(options_.max_workers) {
        for (std::size_t i = 0; i < options_.loops; ++i)
            loops_.push_back(std::make_unique<Loop>(site_, workers_));
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    /// The port it listens on: the system's choice where 0 was asked for.
    [[nodiscard]] int port() const { return port_of(listener_); }

    /// Accepts clients until `stop` can be read; then lets the requests that are being served end.
    void run(int stop) {
        for (std::size_t next = 0;;) {
            const bool full = census_.count() >= options_.max_clients;
            pollfd wanted[2] = {{full ? -1 : listener_.fd(), POLLIN, 0}, {stop, POLLIN, 0}};
            if (::poll(wanted, 2, full ? 10 : -1) < 0 && errno != EINTR) break;
            if (wanted[1].revents != 0) break;
            if (wanted[0].revents == 0) continue;
            const int fd = ::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0) {
                if (errno == EMFILE || errno == ENFILE) std::this_thread::sleep_for(10ms);
                continue;
            }
            set_option(fd, IPPROTO_TCP, TCP_NODELAY);
            loops_[next++ % loops_.size()]->give(std::make_shared<Client>(Stream(fd), site_, census_));
        }
        enter(Loop::Phase::stopping);
        const bool gone = census_.wait_until_empty(shutdown_timeout_);
        aborting = true;
        enter(Loop::Phase::breaking_off);
        while (!gone && !census_.wait_until_empty(1h)) {
        }
    }

  private:
    void enter(Loop::Phase phase) {
        for (const auto& loop : loops_) loop->enter(phase);
    }

    const ServerOptions options_;
    const sc::Duration shutdown_timeout_;
    const Site site_;
    const Stream listener_;
    Census census_;
    // Each may use those above it until it has ended.
    std::vector<std::unique_ptr<Loop>> loops_;
    Workers workers_;
};

}  // namespace proxy
