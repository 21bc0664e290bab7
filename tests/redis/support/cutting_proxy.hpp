#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>

#include <smartcache/redis/resolve.hpp>

namespace smartcache::test {

/// Passes bytes on between clients, one at a time, and a server, over loopback or a unix socket each, until it was told to stop: it is
/// what a server looks like that dies, or stands still, in the middle of whatever it was saying or hearing.
class CuttingProxy {
  public:
    enum class Then {
        reset,  ///< both sides' connections break
        close,  ///< the client's ends in order
        drip,   ///< the server's bytes go on, one every few milliseconds
        stall,  ///< the connection stays, and nothing passes any more
    };
    struct Cut {
        std::size_t from_server =
            std::numeric_limits<std::size_t>::max();  ///< after that many bytes to the client
        std::size_t from_client = std::numeric_limits<std::size_t>::max();
        Then then = Then::reset;
    };

    CuttingProxy(std::uint16_t server_port, Cut cut) : server_(loopback(server_port)), cut_(cut) {
        begin(loopback(0));
        sockaddr_in address{};
        socklen_t size = sizeof address;
        (void)::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
        port_ = ntohs(address.sin_port);
    }
    /// @param path  of its own socket, which is made
    CuttingProxy(const std::string& server_path, const std::string& path, Cut cut)
        : server_(detail::unix_address(server_path)), cut_(cut) {
        (void)::unlink(path.c_str());
        begin(detail::unix_address(path));
    }
    ~CuttingProxy() {
        ::close(stop_[1]);
        thread_.join();
        ::close(stop_[0]);
        ::close(listener_);
    }
    CuttingProxy(const CuttingProxy&) = delete;
    CuttingProxy& operator=(const CuttingProxy&) = delete;

    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    /// Bytes of all connections so far.
    [[nodiscard]] std::size_t passed_from_server() const noexcept { return from_server_; }
    [[nodiscard]] std::size_t passed_from_client() const noexcept { return from_client_; }

  private:
    static detail::SocketAddress loopback(std::uint16_t port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(port);
        detail::SocketAddress result;
        std::memcpy(&result.storage, &address, sizeof address);
        result.size = sizeof address;
        return result;
    }
    void begin(const detail::SocketAddress& address) {
        listener_ = ::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (::bind(listener_, address.get(), address.size) != 0 || ::listen(listener_, 16) != 0 ||
            ::pipe2(stop_.data(), O_CLOEXEC) != 0)
            throw std::runtime_error("no place for the proxy");
        thread_ = std::thread([this] { serve(); });
    }
    /// Waits for bytes of `a` or `b`. @return false when the proxy ends
    bool wait(int a, int b, bool& a_ready, bool& b_ready) const {
        std::array<pollfd, 3> all{pollfd{stop_[0], 0, 0}, pollfd{a, POLLIN, 0}, pollfd{b, POLLIN, 0}};
        while (::poll(all.data(), all.size(), -1) < 0) {
        }
        a_ready = all[1].revents != 0;
        b_ready = all[2].revents != 0;
        return all[0].revents == 0;
    }
    void serve() {
        bool ready = false;
        bool none = false;
        while (wait(listener_, -1, ready, none)) {
            const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            const int server = ::socket(server_.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
            const int on = 1;  // small pieces must not wait for each other
            ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            ::setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            if (::connect(server, server_.get(), server_.size) == 0)
                relay(client, server);  // a refused one is a dead server's
            ::close(client);
            ::close(server);
        }
    }
    void relay(int client, int server) {
        std::size_t to_client = cut_.from_server;
        std::size_t to_server = cut_.from_client;
        while (to_client != 0 && to_server != 0) {
            bool client_ready = false;
            bool server_ready = false;
            if (!wait(client, server, client_ready, server_ready)) return;
            if (client_ready && !pass(client, server, to_server, from_client_)) return;
            if (server_ready && !pass(server, client, to_client, from_server_)) return;
        }
        if (cut_.then == Then::reset) {
            const linger at_once{1, 0};
            ::setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        } else if (cut_.then == Then::drip) {
            bool client_ready = false;
            bool server_ready = false;
            while (!gone(client, 3) && wait(client, server, client_ready, server_ready)) {
                std::size_t all = std::numeric_limits<std::size_t>::max();
                std::size_t one = 1;
                if (client_ready && !pass(client, server, all, from_client_)) return;
                if (server_ready && !pass(server, client, one, from_server_)) return;
            }
        } else if (cut_.then == Then::stall) {
            // Until the client hangs up. What it sends is heard by nobody; poll(2) tells of the hang-up only.
            while (!gone(client, -1)) {
            }
        }
    }
    /// Waits that long for the client, or the proxy, to end.
    [[nodiscard]] bool gone(int client, int milliseconds) const {
        std::array<pollfd, 2> all{pollfd{stop_[0], 0, 0}, pollfd{client, POLLRDHUP, 0}};
        return ::poll(all.data(), all.size(), milliseconds) > 0;
    }
    static bool pass(int from, int to, std::size_t& left, std::atomic<std::size_t>& passed) {
        std::array<char, 4096> bytes{};
        const ssize_t got = ::recv(from, bytes.data(), std::min(left, bytes.size()), 0);
        if (got <= 0) return false;
        const auto size = static_cast<std::size_t>(got);
        left -= size;
        passed += size;
        for (std::size_t at = 0; at < size;) {
            const ssize_t sent = ::send(to, bytes.data() + at, size - at, MSG_NOSIGNAL);
            if (sent <= 0) return false;
            at += static_cast<std::size_t>(sent);
        }
        return true;
    }

    const detail::SocketAddress server_;
    const Cut cut_;
    int listener_ = -1;
    std::array<int, 2> stop_{-1, -1};
    std::uint16_t port_ = 0;
    std::atomic<std::size_t> from_server_{0};
    std::atomic<std::size_t> from_client_{0};
    std::thread thread_;
};

}  // namespace smartcache::test
