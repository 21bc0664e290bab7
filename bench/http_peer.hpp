#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

// Both neighbours of a proxy, on loopback: what its clients and its origin say and hear. Of its own, for what is judged must not
// be read by the code that is judged.
namespace bench {

/// Milliseconds of a clock that client and origin share.
[[nodiscard]] inline std::int64_t now_ms() {
    using namespace std::chrono;
    return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

/// The head of a message.
struct Head {
    std::string first;
    std::vector<std::pair<std::string, std::string>> fields;  ///< names in lower case

    [[nodiscard]] std::string_view get(std::string_view name) const {
        for (const auto& [known, value] : fields)
            if (known == name) return value;
        return {};
    }
    [[nodiscard]] std::optional<std::int64_t> number(std::string_view name) const {
        const std::string_view text = get(name);
        std::int64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
        return value;
    }
};

/// A connection with what was read from it and not yet used. Nothing throws: what is missing is false or absent.
class Peer {
  public:
    explicit Peer(int fd = -1) : fd_(fd) {}
    Peer(Peer&& other) noexcept : fd_(std::exchange(other.fd_, -1)), buffer_(std::move(other.buffer_)) {}
    Peer& operator=(Peer&& other) noexcept {
        std::swap(fd_, other.fd_);
        std::swap(buffer_, other.buffer_);
        return *this;
    }
    ~Peer() {
        if (fd_ >= 0) ::close(fd_);
    }

    [[nodiscard]] static sockaddr_in loopback(int port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return address;
    }
    /// @return one that is not open, where nobody listens
    [[nodiscard]] static Peer connect(int port) {
        Peer peer(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const sockaddr_in address = loopback(port);
        if (::connect(peer.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
            return Peer();
        peer.prepare();
        return peer;
    }
    /// @param port  0: the system's choice
    [[nodiscard]] static Peer listen(int port) {
        Peer peer(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const int on = 1;
        (void)::setsockopt(peer.fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        const sockaddr_in address = loopback(port);
        if (::bind(peer.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
            ::listen(peer.fd_, 1024) != 0)
            throw std::runtime_error("cannot listen at port " + std::to_string(port));
        return peer;
    }
    [[nodiscard]] int port() const {
        sockaddr_in address{};
        socklen_t size = sizeof address;
        (void)::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
        return ntohs(address.sin_port);
    }
    [[nodiscard]] Peer accept() const {
        Peer peer(::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC));
        peer.prepare();
        return peer;
    }

    [[nodiscard]] bool open() const { return fd_ >= 0; }
    [[nodiscard]] int fd() const { return fd_; }
    void close() { *this = Peer(); }

    bool send(std::string_view bytes) const {
        while (!bytes.empty()) {
            const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return false;
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
        return true;
    }
    [[nodiscard]] std::optional<std::string> line() {
        std::size_t end = 0;
        for (std::size_t searched = 0; (end = buffer_.find("\r\n", searched)) == std::string::npos;) {
            searched = buffer_.empty() ? 0 : buffer_.size() - 1;
            if (!fill()) return std::nullopt;
        }
        std::string text = buffer_.substr(0, end);
        buffer_.erase(0, end + 2);
        return text;
    }
    [[nodiscard]] std::optional<Head> head() {
        std::optional<std::string> text = line();
        if (!text) return std::nullopt;
        Head head{std::move(*text), {}};
        while ((text = line()) && !text->empty()) {
            const std::size_t colon = std::min(text->find(':'), text->size());
            std::string name = text->substr(0, colon);
            for (char& c : name)
                if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
            const std::size_t value = text->find_first_not_of(": ", colon);
            head.fields.emplace_back(std::move(name), value == std::string::npos ? "" : text->substr(value));
        }
        if (!text) return std::nullopt;
        return head;
    }
    /// Appends `size` bytes. @return false at the end of the stream, with what there was
    bool content(std::size_t size, std::string& to) {
        while (size > 0) {
            if (buffer_.empty() && !fill()) return false;
            const std::size_t n = std::min(size, buffer_.size());
            to.append(buffer_, 0, n);
            buffer_.erase(0, n);
            size -= n;
        }
        return true;
    }
    bool chunks(std::string& to) {
        for (;;) {
            const auto text = line();
            std::size_t size = 0;
            if (!text ||
                std::from_chars(text->data(), text->data() + text->size(), size, 16).ec != std::errc{})
                return false;
            if (size > 0 && !content(size, to)) return false;
            const auto end = line();
            if (!end || !end->empty()) return false;
            if (size == 0) return true;
        }
    }

  private:
    void prepare() const {
        const int on = 1;
        (void)::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        const timeval patience{30, 0};  // what takes longer never comes
        (void)::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    bool fill() {
        std::array<char, 64 * 1024> piece;
        for (;;) {
            const ssize_t n = ::recv(fd_, piece.data(), piece.size(), 0);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return false;
            buffer_.append(piece.data(), static_cast<std::size_t>(n));
            return true;
        }
    }

    int fd_;
    std::string buffer_;
};

struct Answer {
    int status = 0;
    Head head;
    std::string body;
    bool whole = false;  ///< with all that the head promises
};

/// @param method  that of the request it answers
/// @return nothing where the other side hung up before the end of the head
[[nodiscard]] inline std::optional<Answer> read_answer(Peer& from, std::string_view method) {
    Answer answer;
    do {
        auto head = from.head();
        if (!head || head->first.size() < 12) return std::nullopt;
        answer.status = std::atoi(head->first.c_str() + 9);
        answer.head = std::move(*head);
    } while (answer.status < 200);
    if (method == "HEAD" || answer.status == 204 || answer.status == 304) {
        answer.whole = true;
    } else if (answer.head.get("transfer-encoding") == "chunked") {
        answer.whole = from.chunks(answer.body);
    } else if (const auto size = answer.head.number("content-length")) {
        answer.whole = from.content(static_cast<std::size_t>(*size), answer.body);
    }
    return answer;
}

/// examples/caching_proxy as a child, with a configuration and all else it writes in a directory that ends with it.
class ProxyProcess {
  public:
    /// @param config  "@" stands for the directory
    ProxyProcess(const std::string& program, int origin_port, std::string config) {
        for (std::size_t at = 0; (at = config.find('@', at)) != std::string::npos;)
            config.replace(at, 1, directory_.path);
        std::ofstream(directory_.path + "/config.json") << config;
        port_ = Peer::listen(0).port();  // free now
        std::vector<std::string> arguments{program,
                                           "--listen",
                                           "127.0.0.1:" + std::to_string(port_),
                                           "--origin",
                                           "127.0.0.1:" + std::to_string(origin_port),
                                           "--config",
                                           directory_.path + "/config.json"};
        std::vector<char*> argv;
        for (std::string& a : arguments) argv.push_back(a.data());
        argv.push_back(nullptr);
        const int error = ::posix_spawn(&pid_, program.c_str(), nullptr, nullptr, argv.data(), environ);
        if (error != 0) throw std::runtime_error("cannot start " + program);
        for (int tries = 0; !Peer::connect(port_).open(); ++tries) {
            if (tries == 1000) (void)stop();
            if (!alive()) throw std::runtime_error(program + " does not answer");
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    }
    ProxyProcess(const ProxyProcess&) = delete;
    ProxyProcess& operator=(const ProxyProcess&) = delete;
    ~ProxyProcess() {
        if (alive()) (void)stop();
    }

    [[nodiscard]] int port() const { return port_; }
    [[nodiscard]] bool alive() {
        if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) != 0) pid_ = -1;
        return pid_ > 0;
    }
    /// @return whether it ended as it should
    bool stop() {
        int status = 0;
        (void)::kill(pid_, SIGTERM);
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        pid_ = -1;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    /// Of /proc/<pid>/status, such as "VmRSS:" (KiB) and "Threads:".
    [[nodiscard]] long status(std::string_view name) const {
        std::ifstream file("/proc/" + std::to_string(pid_) + "/status");
        for (std::string line; std::getline(file, line);)
            if (line.starts_with(name)) return std::atol(line.c_str() + name.size());
        return 0;
    }
    [[nodiscard]] std::ptrdiff_t descriptors() const {
        return std::distance(std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/fd"),
                             {});
    }

  private:
    struct Directory {
        Directory() {
            char name[] = "/tmp/smartcache-bench-XXXXXX";
            if (::mkdtemp(name) == nullptr) throw std::runtime_error("no temporary directory");
            path = name;
        }
        Directory(const Directory&) = delete;
        Directory& operator=(const Directory&) = delete;
        ~Directory() {
            std::error_code ignored;
            std::filesystem::remove_all(path, ignored);
        }
        std::string path;
    };

    Directory directory_;
    int port_ = 0;
    pid_t pid_ = -1;
};

}  // namespace bench
