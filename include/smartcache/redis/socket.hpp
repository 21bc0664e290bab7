#pragma once

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include <smartcache/core/fork.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/resolve.hpp>

namespace smartcache::inline v0::detail {

/// A stream socket that never blocks unasked, never raises SIGPIPE and is not inherited by programs that this one
/// starts. Waiting is explicit and has a deadline.
class Socket {
  public:
    Socket() = default;
    Socket(Socket&& other) noexcept
        : fd_(std::exchange(other.fd_, -1)), waits_(std::exchange(other.waits_, false)) {}
    Socket& operator=(Socket&& other) noexcept {
        if (this != &other) {
            close();
            fd_ = std::exchange(other.fd_, -1);
            waits_ = std::exchange(other.waits_, false);
        }
        return *this;
    }
    ~Socket() { close(); }

    [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }
    [[nodiscard]] int fd() const noexcept { return fd_; }
    void close() noexcept {
        if (fd_ >= 0) ::close(fd_);
        fd_ = -1;
        waits_ = false;
    }

    enum class Connect { done, in_progress, failed };
    /// Starts connecting. On `failed`, errno says why; on `in_progress` wait until writable, then
    /// `connect_error()`.
    [[nodiscard]] Connect start_connect(const SocketAddress& address) noexcept {
        close();
        fd_ = ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd_ < 0) return Connect::failed;
        if (address.family() != AF_UNIX) {
            const int on = 1;
            ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            ::setsockopt(fd_, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        }
        int result = 0;
        do {
            result = ::connect(fd_, address.get(), address.size);
        } while (result != 0 && errno == EINTR);
        if (result == 0) return Connect::done;
        if (errno == EINPROGRESS) return Connect::in_progress;
        const int reason = errno;
        close();
        errno = reason;
        return Connect::failed;
    }
    /// How a connect that was in progress ended: 0 or an errno.
    [[nodiscard]] int connect_error() const noexcept {
        int error = 0;
        socklen_t size = sizeof error;
        if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
        return error;
    }

    /// Once it is connected: from now on `receive` can wait.
    void let_wait() noexcept {
        const timeval shortest{0, 1};  // which the kernel makes one of its ticks, or two
        const int flags = ::fcntl(fd_, F_GETFL);
        waits_ = flags >= 0 && ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &shortest, sizeof shortest) == 0 &&
                 ::fcntl(fd_, F_SETFL, flags & ~O_NONBLOCK) == 0;
    }
    /// Whether `receive` may wait, which then ends well before the deadline.
    [[nodiscard]] bool may_wait(Deadline deadline) const noexcept {
        return waits_ && deadline.at() - Deadline::Clock::now() > 4 * tick();
    }

    /// Sends as much as fits. @return bytes taken, 0 when the socket is full, -1 with errno
    [[nodiscard]] ssize_t send(std::span<iovec> parts) noexcept {
        msghdr message{};
        message.msg_iov = parts.data();
        message.msg_iovlen = parts.size();
        for (;;) {
            const ssize_t sent = ::sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent >= 0) return sent;
            if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
            if (errno != EINTR) return -1;
        }
    }

    enum class Received { some, nothing, closed, failed };
    /// Takes what has arrived. On `failed`, errno says why.
    /// @param waits  for something to arrive, a few milliseconds at most (see `may_wait`)
    [[nodiscard]] Received receive(std::span<char> buffer, std::size_t& count, bool waits = false) noexcept {
        for (;;) {
            const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), waits ? 0 : MSG_DONTWAIT);
            if (got > 0) {
                count = static_cast<std::size_t>(got);
                return Received::some;
            }
            if (got == 0) return Received::closed;
            if (errno == EAGAIN || errno == EWOULDBLOCK) return Received::nothing;
            if (errno != EINTR) return Received::failed;
            if (waits) return Received::nothing;  // again and again, that might be longer than it may wait
        }
    }

    /// Waits for `events` (POLLIN, POLLOUT). @return what happened, 0 when the deadline passed
    [[nodiscard]] short wait(short events, Deadline deadline) const noexcept {
        pollfd request{fd_, events, 0};
        for (;;) {
            const int ready = ::poll(&request, 1, deadline.poll_timeout());
            if (ready > 0) return request.revents;
            if (ready == 0 && deadline.passed()) return 0;
            if (ready < 0 && errno != EINTR && errno != EAGAIN) return POLLERR;
        }
    }

    /// Whether nothing has arrived and nobody has hung up: the only healthy state of an idle connection.
    [[nodiscard]] bool quiet() const noexcept {
        pollfd request{fd_, POLLIN, 0};
        return fd_ >= 0 && ::poll(&request, 1, 0) == 0;
    }

  private:
    /// Of the kernel's clock for waits like that of `receive`.
    [[nodiscard]] static std::chrono::nanoseconds tick() noexcept {
        const ForkGate::Inside inside;  // else a child may wait for who was making it (R33)
        static const std::chrono::nanoseconds length = [] {
            timespec resolution{};
            const bool known = ::clock_getres(CLOCK_MONOTONIC_COARSE, &resolution) == 0;
            return known ? std::chrono::seconds(resolution.tv_sec) +
                               std::chrono::nanoseconds(resolution.tv_nsec)
                         : std::chrono::nanoseconds(std::chrono::milliseconds(10));
        }();
        return length;
    }

    int fd_ = -1;
    bool waits_ = false;
};

}  // namespace smartcache::inline v0::detail
