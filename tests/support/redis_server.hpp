#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace smartcache::test {

/// What the server answered to `RedisServer::command`.
struct RedisAnswer {
    enum class Kind { nil, text, integer, error, array };
    Kind kind = Kind::nil;
    std::string text;  ///< of text and errors; integers in decimal
    long long integer = 0;
    std::vector<RedisAnswer> elements;
};

/// A private redis-server: an empty directory of its own, a free port on loopback and a unix socket, nothing
/// on disk.
///
///     RedisServer server;                          // answers when the constructor returns
///     RedisTier tier({.url = server.url()});
///     server.pause();                              // SIGSTOP; resume() continues it
///     server.kill(); server.start();               // kill -9, then an empty server on the same port and
///     socket
///
/// The destructor ends it in whatever state it is, and it dies with the thread that started it (so start it
/// in the test's own thread). Without a redis-server in the PATH the constructor throws, and the test fails
/// with that message. Thread safety: one thread at a time.
class RedisServer {
  public:
    struct Options {
        std::string password{};                ///< requirepass
        std::vector<std::string> arguments{};  ///< further options: {"--maxmemory", "1mb"}
        bool tls = false;                      ///< the port speaks TLS; `arguments` name its certificates
        std::string config{};                  ///< text of a file that it may rewrite: sentinels need one
    };

    RedisServer() : RedisServer(Options{}) {}
    explicit RedisServer(Options options) : options_(std::move(options)) {
        std::string pattern = (std::filesystem::temp_directory_path() / "smartcache-redis-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp: " + error_text(errno));
        directory_ = pattern;
        if (!options_.config.empty()) std::ofstream(config_path()) << options_.config;
        try {
            start();
        } catch (...) {
            remove_directory();
            give_up_port();
            throw;
        }
    }
    ~RedisServer() {
        kill();
        remove_directory();
        give_up_port();
    }
    RedisServer(const RedisServer&) = delete;
    RedisServer& operator=(const RedisServer&) = delete;

    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    [[nodiscard]] std::string socket_path() const { return (directory_ / "redis.sock").string(); }
    [[nodiscard]] const std::filesystem::path& directory() const noexcept { return directory_; }
    [[nodiscard]] pid_t pid() const noexcept { return pid_; }

    /// redis://..., or rediss://..., with the password when there is one.
    [[nodiscard]] std::string url(int db = 0) const {
        return (options_.tls ? "rediss://" : "redis://") + credentials() +
               "127.0.0.1:" + std::to_string(port_) + "/" + std::to_string(db);
    }
    /// unix://..., the same server over its socket.
    [[nodiscard]] std::string unix_url(int db = 0) const {
        return "unix://" + credentials() + socket_path() + "?db=" + std::to_string(db);
    }

    /// Starts the server if it is not running: the same port and socket, no data. Returns when it answers.
    void start() {
        if (pid_ > 0) return;
        constexpr int attempts = 10;  // a node of a cluster needs a second port, which may be taken
        for (int attempt = 1;; ++attempt) {
            if (port_ == 0) take_port();
            spawn();
            if (answers()) return;
            const std::string log = read_log();
            reap();
            if (attempt == attempts || log.find("Address already in use") == std::string::npos)
                throw std::runtime_error("redis-server did not start:\n" + log);
            if (!started_) give_up_port();
        }
    }
    /// SIGTERM, and waits until it has ended.
    void stop() { end(SIGTERM); }
    /// SIGKILL, and waits until it has ended.
    void kill() { end(SIGKILL); }

    /// SIGSTOP, and waits until it stands still: connections stay open, nothing is answered.
    void pause() {
        ::kill(pid_, SIGSTOP);
        int status = 0;
        while (::waitpid(pid_, &status, WUNTRACED) < 0 && errno == EINTR) {
        }
    }
    void resume() { ::kill(pid_, SIGCONT); }

    /// Sends one command over the unix socket, on a connection of its own, and returns the answer. An error
    /// answer is returned like any other; throws when the server does not answer within 30 seconds.
    RedisAnswer command(const std::vector<std::string>& arguments, int db = 0) {
        Client client(*this);
        if (!options_.password.empty()) (void)client.ask({"AUTH", options_.password});
        if (db != 0) (void)client.ask({"SELECT", std::to_string(db)});
        return client.ask(arguments);
    }

    /// The number behind `field:` in INFO, e.g. "total_commands_processed".
    long long info_number(const std::string& field) {
        const std::string text = command({"INFO", "all"}).text;
        const std::size_t at = text.find("\n" + field + ":");
        if (at == std::string::npos) throw std::runtime_error("INFO has no " + field);
        return std::stoll(text.substr(at + field.size() + 2));
    }

  private:
    /// A blocking client that needs no library, with a generous limit so that a broken test fails instead of
    /// hanging.
    class Client {
      public:
        explicit Client(const RedisServer& server) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
            const std::string path = server.socket_path();
            sockaddr_un address{};
            address.sun_family = AF_UNIX;
            if (fd_ < 0 || path.size() >= sizeof(address.sun_path))
                throw std::runtime_error("socket: " + path);
            std::memcpy(address.sun_path, path.data(), path.size());
            timeval limit{};
            limit.tv_sec = 30;
            ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
            if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
                const int reason = errno;
                ::close(fd_);
                throw std::runtime_error(path + ": " + error_text(reason));
            }
        }
        ~Client() { ::close(fd_); }
        Client(const Client&) = delete;
        Client& operator=(const Client&) = delete;

        RedisAnswer ask(const std::vector<std::string>& arguments) {
            std::string out = "*" + std::to_string(arguments.size()) + "\r\n";
            for (const std::string& argument : arguments)
                out += "$" + std::to_string(argument.size()) + "\r\n" + argument + "\r\n";
            for (std::size_t sent = 0; sent < out.size();) {
                const ssize_t n = ::send(fd_, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
                if (n < 0 && errno == EINTR) continue;
                if (n < 0) throw std::runtime_error("send: " + error_text(errno));
                sent += static_cast<std::size_t>(n);
            }
            return read_answer();
        }

      private:
        void more() {
            char part[16384];
            const ssize_t n = ::recv(fd_, part, sizeof part, 0);
            if (n < 0 && errno == EINTR) return;  // a process that was stopped for a while goes on
            if (n <= 0) throw std::runtime_error(n == 0 ? "the server closed" : "recv: " + error_text(errno));
            in_.append(part, static_cast<std::size_t>(n));
        }
        std::string line() {
            for (;;) {
                const std::size_t end = in_.find("\r\n", at_);
                if (end != std::string::npos) {
                    std::string text = in_.substr(at_, end - at_);
                    at_ = end + 2;
                    return text;
                }
                more();
            }
        }
        RedisAnswer read_answer() {
            using Kind = RedisAnswer::Kind;
            const std::string head = line();
            const std::string rest = head.substr(1);
            RedisAnswer answer;
            switch (head.front()) {
                case '+':
                    answer.kind = Kind::text;
                    answer.text = rest;
                    break;
                case '-':
                    answer.kind = Kind::error;
                    answer.text = rest;
                    break;
                case ':':
                    answer.kind = Kind::integer;
                    answer.text = rest;
                    answer.integer = std::stoll(rest);
                    break;
                case '$':
                    if (rest == "-1") break;
                    answer.kind = Kind::text;
                    while (in_.size() - at_ < std::stoul(rest) + 2) more();
                    answer.text = in_.substr(at_, std::stoul(rest));
                    at_ += answer.text.size() + 2;
                    break;
                case '*':
                    if (rest == "-1") break;
                    answer.kind = Kind::array;
                    for (int left = std::stoi(rest); left > 0; --left)
                        answer.elements.push_back(read_answer());
                    break;
                default:
                    throw std::runtime_error("not RESP: " + head);
            }
            return answer;
        }

        int fd_;
        std::string in_;
        std::size_t at_ = 0;
    };

    static std::string error_text(int error) { return std::strerror(error); }

    [[nodiscard]] std::string credentials() const {
        return options_.password.empty() ? std::string() : ":" + options_.password + "@";
    }

    [[nodiscard]] std::string config_path() const { return (directory_ / "redis.conf").string(); }

    /// A socket that is bound and does not listen keeps the port for the server also while that is dead: nobody else is
    /// given it, be it for a server or for a connection. redis-server itself asks for SO_REUSEADDR, and so gets it.
    void take_port() {
        port_holder_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        const int yes = 1;  // only afterwards: else two of these sockets might be given the same port
        if (::bind(port_holder_, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
            ::getsockname(port_holder_, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
            ::setsockopt(port_holder_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0)
            throw std::runtime_error("no free port on loopback");
        port_ = ntohs(address.sin_port);
    }
    void give_up_port() noexcept {
        if (port_holder_ >= 0) ::close(port_holder_);
        port_holder_ = -1;
        port_ = 0;
    }

    void spawn() {
        std::vector<std::string> words{"redis-server",
                                       "--bind",
                                       "127.0.0.1",
                                       "--port",
                                       options_.tls ? "0" : std::to_string(port_),
                                       "--unixsocket",
                                       socket_path(),
                                       "--dir",
                                       directory_.string(),
                                       "--save",
                                       "",
                                       "--appendonly",
                                       "no",
                                       "--daemonize",
                                       "no"};
        if (!options_.config.empty()) words.insert(words.begin() + 1, config_path());
        if (!options_.password.empty()) words.insert(words.end(), {"--requirepass", options_.password});
        if (options_.tls) words.insert(words.end(), {"--tls-port", std::to_string(port_)});
        words.insert(words.end(), options_.arguments.begin(), options_.arguments.end());
        std::vector<char*> argv;
        for (std::string& word : words) argv.push_back(word.data());
        argv.push_back(nullptr);
        const std::string log = (directory_ / "log").string();

        int report[2];  // closed by a successful exec, else brings the reason
        if (::pipe2(report, O_CLOEXEC) != 0) throw std::runtime_error("pipe2: " + error_text(errno));
        const pid_t parent = ::getpid();
        const pid_t child = ::fork();
        if (child == 0) {  // only async-signal-safe calls until exec
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (::getppid() != parent) ::_exit(127);
            const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
            const int in = ::open("/dev/null", O_RDONLY);
            ::dup2(in, 0);
            ::dup2(out, 1);
            ::dup2(out, 2);
            ::execvp(argv[0], argv.data());
            const int reason = errno;
            [[maybe_unused]] const ssize_t written = ::write(report[1], &reason, sizeof reason);
            ::_exit(127);
        }
        ::close(report[1]);
        int reason = 0;
        const bool failed = child > 0 && ::read(report[0], &reason, sizeof reason) == sizeof reason;
        ::close(report[0]);
        if (child < 0) throw std::runtime_error("fork: " + error_text(errno));
        pid_ = child;
        if (failed) {
            reap();
            throw std::runtime_error("this test needs redis-server, which could not be run (" +
                                     error_text(reason) +
                                     "). Debian and Ubuntu: apt-get install redis-server");
        }
    }

    /// Waits until the server answers. @return false when it ended instead
    bool answers() {
        const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        for (;;) {
            try {
                const RedisAnswer answer = command({"PING"});
                if (answer.text == "PONG") {
                    started_ = true;
                    return true;
                }
            } catch (const std::runtime_error&) {  // not yet
            }
            if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
                pid_ = -1;
                return false;
            }
            if (std::chrono::steady_clock::now() > limit) return false;
            ::poll(nullptr, 0, 2);
        }
    }

    void end(int signal) {
        if (pid_ <= 0) return;
        ::kill(pid_, signal);
        ::kill(pid_, SIGCONT);  // a stopped process does not see SIGTERM
        wait();
    }
    void reap() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        wait();
    }
    void wait() {
        while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
        }
        pid_ = -1;
        std::error_code ignored;
        std::filesystem::remove(socket_path(), ignored);  // what SIGKILL leaves behind
    }

    [[nodiscard]] std::string read_log() const {
        std::ostringstream text;
        text << std::ifstream(directory_ / "log").rdbuf();
        return text.str();
    }
    void remove_directory() noexcept {
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }

    Options options_;
    std::filesystem::path directory_;
    std::uint16_t port_ = 0;
    int port_holder_ = -1;
    pid_t pid_ = -1;
    bool started_ = false;
};

}  // namespace smartcache::test
