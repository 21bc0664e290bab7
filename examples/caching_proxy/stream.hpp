#pragma once

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <smartcache/core/clock.hpp>

// Sockets.
namespace proxy {

namespace sc = smartcache;
using namespace std::chrono_literals;
using SteadyTime = std::chrono::steady_clock::time_point;

/// Set when requests have had their time to end: every wait ends with it.
inline std::atomic<bool> aborting{false};

/// The other side hung up, stalled or broke the protocol.
struct ConnectionError : std::runtime_error {
    enum Kind { closed, late, broken } kind;
    int status;  ///< for the client whose request is broken
    ConnectionError(Kind k, const std::string& what, int s = 400)
        : std::runtime_error(what), kind(k), status(s) {}
};

/// A connected socket with what was read from it and not yet used. `receive` and `send_some` never wait; every other
/// operation ends by `deadline`.
class Stream {
  public:
    explicit Stream(int fd = -1) : fd_(fd) {}
    Stream(Stream&& other) noexcept
        : deadline(other.deadline),
          fd_(std::exchange(other.fd_, -1)),
          buffer_(std::move(other.buffer_)),
          at_(other.at_) {}
    Stream& operator=(Stream&& other) noexcept {
        std::swap(fd_, other.fd_);
        std::swap(buffer_, other.buffer_);
        std::swap(at_, other.at_);
        std::swap(deadline, other.deadline);
        return *this;
    }
    ~Stream() {
        if (fd_ >= 0) ::close(fd_);
    }

    SteadyTime deadline{};

    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] std::string_view buffered() const { return std::string_view(buffer_).substr(at_); }
    void consume(std::size_t n) {
        at_ += n;
        if (at_ == buffer_.size()) {
            buffer_.clear();
            at_ = 0;
        }
    }

    enum class Received { more, nothing, end };
    /// Reads what is there into the buffer.
    Received receive() {
        if (at_ > 0) {
            buffer_.erase(0, at_);
            at_ = 0;
        }
        std::array<char, 16 * 1024> piece;  // an idle connection keeps no room for what may come
        for (;;) {
            const ssize_t n = ::recv(fd_, piece.data(), piece.size(), MSG_DONTWAIT);
            if (n > 0) {
                buffer_.append(piece.data(), static_cast<std::size_t>(n));
                return Received::more;
            }
            if (n == 0) return Received::end;
            if (errno == EAGAIN || errno == EWOULDBLOCK) return Received::nothing;
            if (errno != EINTR) throw ConnectionError(ConnectionError::closed, std::strerror(errno));
        }
    }
    /// Reads more into the buffer. @return false at the end of the stream
    bool fill() {
        for (;;) {
            const Received received = receive();
            if (received != Received::nothing) return received == Received::more;
            wait_for(POLLIN);
        }
    }

    /// Sends what the socket takes at once, and cuts it off `head` and `body`. @return whether nothing is left
    bool send_some(std::string_view& head, std::string_view& body) {
        while (!head.empty() || !body.empty()) {
            std::array<iovec, 2> parts{{{const_cast<char*>(head.data()), head.size()},
                                        {const_cast<char*>(body.data()), body.size()}}};
            msghdr message{};
            message.msg_iov = parts.data();
            message.msg_iovlen = parts.size();
            const ssize_t n = ::sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n < 0) {
                if (errno == EINTR) continue;
                if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
                throw ConnectionError(ConnectionError::closed, std::strerror(errno));
            }
            const auto sent = static_cast<std::size_t>(n);
            const std::size_t of_head = std::min(sent, head.size());
            head.remove_prefix(of_head);
            body.remove_prefix(sent - of_head);
        }
        return true;
    }
    void send(std::string_view head, std::string_view body = {}) {
        while (!send_some(head, body)) wait_for(POLLOUT);
    }

    /// Whether an idle connection is still there and has nothing to say.
    [[nodiscard]] bool usable() const {
        char byte = 0;
        return buffered().empty() && ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
               (errno == EAGAIN || errno == EWOULDBLOCK);
    }

    void wait_for(short events) const {
        for (;;) {
            const auto left =
                std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
            if (left <= 0ms || aborting) throw ConnectionError(ConnectionError::late, "timed out");
            pollfd wanted{fd_, events, 0};
            const int n = ::poll(&wanted, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 200)));
            if (n > 0) return;
            if (n < 0 && errno != EINTR) throw ConnectionError(ConnectionError::closed, std::strerror(errno));
        }
    }

  private:
    int fd_;
    std::string buffer_;
    std::size_t at_ = 0;
};

struct Endpoint {
    std::string host;
    std::string port;
    [[nodiscard]] std::string text() const { return host + ":" + port; }
};

inline Endpoint parse_endpoint(const std::string& text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == text.size())
        throw std::invalid_argument("\"" + text + "\" is not host:port");
    std::string host = text.substr(0, colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
    return {host, text.substr(colon + 1)};
}

struct Addresses {
    explicit Addresses(const Endpoint& endpoint, bool passive) {
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        hints.ai_flags = passive ? AI_PASSIVE : 0;
        const int error = ::getaddrinfo(endpoint.host.c_str(), endpoint.port.c_str(), &hints, &list);
        if (error != 0)
            throw ConnectionError(ConnectionError::closed, endpoint.text() + ": " + ::gai_strerror(error));
    }
    ~Addresses() { ::freeaddrinfo(list); }
    Addresses(const Addresses&) = delete;
    Addresses& operator=(const Addresses&) = delete;
    addrinfo* list = nullptr;
};

inline void set_option(int fd, int level, int name) {
    const int on = 1;
    (void)::setsockopt(fd, level, name, &on, sizeof on);
}

/// A socket that takes connections without waiting for them.
inline Stream listen_at(const Endpoint& endpoint) {
    const Addresses addresses(endpoint, true);
    const addrinfo& a = *addresses.list;
    Stream listener(::socket(a.ai_family, a.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a.ai_protocol));
    set_option(listener.fd(), SOL_SOCKET, SO_REUSEADDR);
    if (listener.fd() < 0 || ::bind(listener.fd(), a.ai_addr, a.ai_addrlen) != 0 ||
        ::listen(listener.fd(), 1024) != 0)
        throw std::runtime_error(endpoint.text() + ": " + std::strerror(errno));
    return listener;
}

/// Where it listens: the system's choice where port 0 was asked for.
inline int port_of(const Stream& listener) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    (void)::getsockname(listener.fd(), reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                               : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

inline Stream connect_to(const Endpoint& endpoint, sc::Duration timeout) {
    const Addresses addresses(endpoint, false);
    const SteadyTime deadline = std::chrono::steady_clock::now() + timeout;
    std::string last_error = "no address";
    for (const addrinfo* a = addresses.list; a != nullptr; a = a->ai_next) {
        Stream stream(::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol));
        if (stream.fd() < 0) continue;
        stream.deadline = deadline;
        if (::connect(stream.fd(), a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS) {
            last_error = std::strerror(errno);
            continue;
        }
        stream.wait_for(POLLOUT);
        int error = 0;
        socklen_t size = sizeof error;
        (void)::getsockopt(stream.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
        if (error == 0) {
            set_option(stream.fd(), IPPROTO_TCP, TCP_NODELAY);
            return stream;
        }
        last_error = std::strerror(error);
    }
    throw ConnectionError(ConnectionError::closed, endpoint.text() + ": " + last_error);
}

}  // namespace proxy
