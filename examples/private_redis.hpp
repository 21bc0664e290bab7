#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>

#include <smartcache/core/features.hpp>

/// A redis-server of this process alone, on a unix socket; absent where none is installed, and in a build without hiredis.
/// It ends with this object, or with the thread that made it. Make it before anything that has threads.
class PrivateRedis {
  public:
    /// @param dir  where its socket will be
    explicit PrivateRedis(const std::filesystem::path& dir)
        : socket_((dir / ("redis-" + std::to_string(::getpid()))).string()) {
        if (SMARTCACHE_HAS_REDIS == 0) return;
        child_ = ::fork();
        if (child_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGTERM);
            ::execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket_.c_str(), "--save",
                     "", "--appendonly", "no", "--logfile", "/dev/null", static_cast<char*>(nullptr));
            ::_exit(127);
        }
        while (child_ > 0 && !running_ && ::waitpid(child_, nullptr, WNOHANG) == 0) {
            running_ = accepts();
            if (!running_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }
    PrivateRedis(const PrivateRedis&) = delete;
    PrivateRedis& operator=(const PrivateRedis&) = delete;
    ~PrivateRedis() {
        if (!running_) return;
        ::kill(child_, SIGTERM);
        ::waitpid(child_, nullptr, 0);
    }
    [[nodiscard]] bool running() const { return running_; }
    [[nodiscard]] std::string url() const { return "unix://" + socket_ + "?db=0"; }

  private:
    /// The socket is there a moment before the server listens to it.
    [[nodiscard]] bool accepts() const {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, socket_.c_str(), sizeof address.sun_path - 1);
        const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const bool connected =
            ::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
        ::close(socket);
        return connected;
    }

    std::string socket_;
    pid_t child_ = -1;
    bool running_ = false;
};
