#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace smartcache::test {

/// Something that listens where a Redis should be, and does what the test says.
///
/// It understands commands and logs clients in as Redis does; what it answers to anything else is the test's:
///
///     HostileServer server([](HostileServer::Peer& peer, const Command& command) { peer.send("garbage");
///     return true; });
///
/// Each connection has a thread of its own. The destructor hangs up and joins them.
class HostileServer {
  public:
    using Command = std::vector<std::string>;

    /// One client.
    class Peer {
      public:
        void send(std::string_view bytes) {
            while (!bytes.empty()) {
                const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
                if (sent <= 0) return;
                bytes.remove_prefix(static_cast<std::size_t>(sent));
            }
        }
        /// One byte every few milliseconds, for as long as somebody listens.
        void drip(std::string_view bytes) {
            for (const char byte : bytes) {
                if (gone(3)) return;
                send({&byte, 1});
            }
        }
        /// Waits until the client has hung up or the server ends.
        void wait_until_gone() {
            while (!gone(-1)) {
            }
        }

      private:
        friend class HostileServer;
        explicit Peer(int fd) : fd_(fd) {}
        bool gone(int milliseconds) {
            pollfd request{fd_, POLLIN | POLLRDHUP, 0};
            if (::poll(&request, 1, milliseconds) <= 0) return false;
            char waste[4096];
            return ::recv(fd_, waste, sizeof waste, MSG_DONTWAIT) <= 0;
        }
        int fd_;
    };

    /// @return whether to go on with this client
    using Handler = std::function<bool(Peer&, const Command&)>;

    explicit HostileServer(Handler handler, bool logs_in = true)
        : handler_(std::move(handler)),
          logs_in_(logs_in),
          listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        if (::bind(listener_, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
            ::listen(listener_, 64) != 0 ||
            ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
            throw std::runtime_error("no port for the hostile server");
        port_ = ntohs(address.sin_port);
        acceptor_ = std::thread([this] { accept_all(); });
    }
    ~HostileServer() {
        ending_ = true;
        ::shutdown(listener_, SHUT_RDWR);
        acceptor_.join();
        {
            const std::lock_guard lock(mutex_);
            for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
        }
        for (std::thread& thread : threads_) thread.join();
        for (const int fd : open_) ::close(fd);
        ::close(listener_);
    }
    HostileServer(const HostileServer&) = delete;
    HostileServer& operator=(const HostileServer&) = delete;

    [[nodiscard]] std::string url() const { return "redis://127.0.0.1:" + std::to_string(port_); }
    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    [[nodiscard]] int connections() const noexcept { return connections_; }

    /// What Redis answers while a client logs in, or nothing for any other command.
    static std::string greeting(const Command& command) {
        if (command.size() > 1 && command[0] == "CLIENT" && command[1] == "SETNAME") return "+OK\r\n";
        if (command.size() > 1 && command[0] == "CLIENT" && command[1] == "ID") return ":7\r\n";
        if (command[0] == "INFO") return "$14\r\nrun_id:abcd1\r\n\r\n";
        if (command[0] == "TIME") return "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n";
        return {};
    }

  private:
    void accept_all() {
        while (!ending_) {
            const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0) continue;
            const int yes = 1;  // small answers must not wait for each other
            (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            ++connections_;
            const std::lock_guard lock(mutex_);
            open_.push_back(fd);
            threads_.emplace_back([this, fd] {
                serve(fd);
                ::shutdown(fd, SHUT_RDWR);
            });
        }
    }

    void serve(int fd) {
        Peer peer(fd);
        std::string in;
        for (;;) {
            Command command;
            while (take(in, command)) {
                const std::string answer = logs_in_ ? greeting(command) : std::string();
                if (!answer.empty()) {
                    peer.send(answer);
                } else if (!handler_(peer, command)) {
                    return;
                }
            }
            char part[16384];
            const ssize_t got = ::recv(fd, part, sizeof part, 0);
            if (got <= 0) return;
            in.append(part, static_cast<std::size_t>(got));
        }
    }

    /// Takes a whole command off the front.
    static bool take(std::string& in, Command& command) {
        std::size_t at = 0;
        const auto number = [&](char kind, std::size_t& value) {
            const std::size_t end = in.find("\r\n", at);
            if (end == std::string::npos || in[at] != kind) return false;
            value = std::stoul(in.substr(at + 1, end - at - 1));
            at = end + 2;
            return true;
        };
        command.clear();
        std::size_t count = 0;
        if (!number('*', count)) return false;
        for (std::size_t i = 0; i < count; ++i) {
            std::size_t size = 0;
            if (at >= in.size() || !number('$', size) || in.size() < at + size + 2) return false;
            command.push_back(in.substr(at, size));
            at += size + 2;
        }
        in.erase(0, at);
        return !command.empty();
    }

    const Handler handler_;
    const bool logs_in_;
    const int listener_;
    std::uint16_t port_ = 0;
    std::atomic<bool> ending_{false};
    std::atomic<int> connections_{0};
    std::mutex mutex_;
    std::vector<int> open_;
    std::vector<std::thread> threads_;
    std::thread acceptor_;
};

}  // namespace smartcache::test
