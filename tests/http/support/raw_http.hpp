#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <list>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace smartcache_test {

/// A socket that sends and reads bytes, and nothing cleverer.
class RawSocket {
  public:
    explicit RawSocket(int fd) : fd_(fd) { set_timeout(); }
    static RawSocket connect(int port) {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
            ::close(fd);
            throw std::runtime_error("connect");
        }
        return RawSocket(fd);
    }
    RawSocket(RawSocket&& other) noexcept
        : fd_(std::exchange(other.fd_, -1)), buffer_(std::move(other.buffer_)) {}
    RawSocket& operator=(RawSocket&&) = delete;
    ~RawSocket() {
        if (fd_ >= 0) ::close(fd_);
    }

    [[nodiscard]] int fd() const { return fd_; }
    void send(std::string_view bytes) const {
        while (!bytes.empty()) {
            const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n <= 0) return;
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
    }
    /// Nothing more is sent; what the peer still sends can be read.
    void end_sending() const { (void)::shutdown(fd_, SHUT_WR); }
    /// Up to and including `end`; what there is when the peer hangs up or is silent for long.
    std::string read_until(std::string_view end) {
        std::size_t at = 0;
        while ((at = buffer_.find(end)) == std::string::npos)
            if (!fill()) return std::exchange(buffer_, {});
        std::string result = buffer_.substr(0, at + end.size());
        buffer_.erase(0, at + end.size());
        return result;
    }
    std::string read_exactly(std::size_t size) {
        while (buffer_.size() < size)
            if (!fill()) return std::exchange(buffer_, {});
        std::string result = buffer_.substr(0, size);
        buffer_.erase(0, size);
        return result;
    }
    std::string read_all() {
        while (fill()) {
        }
        return std::exchange(buffer_, {});
    }

  private:
    void set_timeout() const {
        const timeval timeout{60, 0};  // only a broken test waits for it
        (void)::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    }
    bool fill() {
        char bytes[4096];
        const ssize_t n = ::recv(fd_, bytes, sizeof bytes, 0);
        if (n > 0) buffer_.append(bytes, static_cast<std::size_t>(n));
        return n > 0;
    }
    int fd_;
    std::string buffer_;
};

/// One message as it came: the head with its empty line, and the content by Content-Length or in chunks (kept
/// as sent).
struct RawMessage {
    std::string head;
    std::string body;

    [[nodiscard]] int status() const { return head.size() > 12 ? std::stoi(head.substr(9, 3)) : 0; }
    /// The first value of a field, whose name is looked for in this very spelling or all lower-case.
    [[nodiscard]] std::string field(const std::string& name) const {
        std::size_t at = head.find("\r\n" + name + ":");
        if (at == std::string::npos) {
            std::string lower = name;
            for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
            at = head.find("\r\n" + lower + ":");
        }
        if (at == std::string::npos) return {};
        const std::size_t start = head.find_first_not_of(" ", head.find(':', at) + 1);
        return head.substr(start, head.find("\r\n", start) - start);
    }
};

/// Reads the content that the head announces.
inline void read_content(RawSocket& socket, RawMessage& message) {
    if (message.field("Transfer-Encoding") == "chunked") {
        for (;;) {
            const std::string line = socket.read_until("\r\n");
            const std::size_t size = line.empty() ? 0 : std::stoul(line, nullptr, 16);
            const std::string chunk = socket.read_exactly(size + 2);
            if (size == 0 || chunk.size() < size + 2) return;
            message.body += chunk.substr(0, size);
        }
    }
    const std::string length = message.field("Content-Length");
    if (!length.empty()) message.body = socket.read_exactly(std::stoul(length));
}

inline RawMessage read_message(RawSocket& socket, bool body = true) {
    RawMessage message;
    message.head = socket.read_until("\r\n\r\n");
    if (body) read_content(socket, message);
    return message;
}

/// An origin on loopback that answers each request with the bytes its script gives, whatever they are.
/// The script runs in the connection's thread. After a response that says "Connection: close", or an empty
/// one, it hangs up.
class RawOrigin {
  public:
    using Script = std::function<std::string(const RawMessage&)>;

    RawOrigin() {
        listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        if (::bind(listener_, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
            ::listen(listener_, 64) != 0)
            throw std::runtime_error("listen");
        (void)::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
        port_ = ntohs(address.sin_port);
        acceptor_ = std::thread([this] { accept_all(); });
    }
    ~RawOrigin() {
        stopping_ = true;
        (void)::shutdown(listener_, SHUT_RDWR);
        acceptor_.join();
        {
            const std::lock_guard lock(mutex_);
            for (const int fd : open_) (void)::shutdown(fd, SHUT_RDWR);
        }
        for (std::thread& t : threads_) t.join();
        ::close(listener_);
    }

    [[nodiscard]] int port() const { return port_; }
    void answers(Script script) {
        const std::lock_guard lock(mutex_);
        script_ = std::move(script);
    }
    void answers(std::string bytes) {
        answers([bytes = std::move(bytes)](const RawMessage&) { return bytes; });
    }
    /// From now on it answers without reading the content of requests.
    void leaves_content() { leaves_content_ = true; }
    /// What it was sent since the last call.
    std::vector<RawMessage> seen() {
        const std::lock_guard lock(mutex_);
        return std::exchange(seen_, {});
    }
    [[nodiscard]] int connections() const { return connections_; }

  private:
    void accept_all() {
        while (!stopping_) {
            const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0) return;
            ++connections_;
            const std::lock_guard lock(mutex_);
            open_.push_back(fd);
            threads_.emplace_back([this, fd] { serve(fd); });
        }
    }
    void serve(int fd) {
        {
            RawSocket socket(::dup(fd));
            while (!stopping_) {
                const RawMessage request = read_message(socket, !leaves_content_);
                if (request.head.empty()) break;
                Script script;
                {
                    const std::lock_guard lock(mutex_);
                    seen_.push_back(request);
                    script = script_;
                }
                const std::string response = script(request);
                socket.send(response);
                if (response.empty() || response.find("Connection: close") != std::string::npos) break;
            }
        }
        const std::lock_guard lock(mutex_);
        open_.remove(fd);
        (void)::shutdown(fd, SHUT_RDWR);
        ::close(fd);
    }

    int listener_ = -1;
    int port_ = 0;
    std::atomic<bool> stopping_{false};
    std::atomic<bool> leaves_content_{false};
    std::atomic<int> connections_{0};
    std::thread acceptor_;
    std::mutex mutex_;
    std::list<int> open_;
    std::vector<std::thread> threads_;
    std::vector<RawMessage> seen_;
    Script script_ = [](const RawMessage&) { return std::string(); };
};

}  // namespace smartcache_test
