#pragma once

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/url.hpp>

namespace smartcache::inline v0::detail {

/// Where a socket can be connected to.
struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t size = 0;
    [[nodiscard]] int family() const noexcept { return storage.ss_family; }
    [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

[[nodiscard]] inline SocketAddress unix_address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof address.sun_path - 1));
    SocketAddress result;
    std::memcpy(&result.storage, &address, sizeof address);
    result.size = sizeof address;
    return result;
}

/// getaddrinfo(3). @return its error code
inline int look_up(const std::string& host, std::uint16_t port, int flags,
                   std::vector<SocketAddress>& found) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags | AI_NUMERICSERV;
    addrinfo* list = nullptr;
    const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
    if (error != 0) return error;
    for (const addrinfo* each = list; each != nullptr; each = each->ai_next) {
        SocketAddress address;
        if (each->ai_addrlen > sizeof address.storage) continue;
        std::memcpy(&address.storage, each->ai_addr, each->ai_addrlen);
        address.size = each->ai_addrlen;
        found.push_back(address);
    }
    ::freeaddrinfo(list);
    return 0;
}

/// Finds the addresses of a host, in the order in which to try them.
///
/// Numbers and "localhost" (RFC 6761 section 6.3: loopback, without asking anybody) are there at once. Other
/// names are looked up by a thread of their own, because getaddrinfo(3) knows no deadline. A lookup that
/// nobody waits for any more ends on its own and touches nothing of its owner's.
class NameLookup {
  public:
    /// @param threads  false: names are looked up in the caller's thread, as long as that takes
    void start(const RedisUrl::Host& host, bool threads) {
        state_ = std::make_shared<State>();
        state_->done = true;
        if (host.name == "localhost") {
            (void)look_up("127.0.0.1", host.port, AI_NUMERICHOST, state_->found);
            (void)look_up("::1", host.port, AI_NUMERICHOST, state_->found);
            return;
        }
        if (look_up(host.name, host.port, AI_NUMERICHOST, state_->found) == 0) return;
        if (!threads) {
            state_->error = look_up(host.name, host.port, AI_ADDRCONFIG, state_->found);
            return;
        }
        state_->done = false;
        std::thread([state = state_, host] {
            std::vector<SocketAddress> addresses;
            const int error = look_up(host.name, host.port, AI_ADDRCONFIG, addresses);
            const std::lock_guard lock(state->mutex);
            state->error = error;
            state->found = std::move(addresses);
            state->done = true;
            state->finished.notify_all();
        }).detach();
    }

    /// @return false when the deadline passed first
    [[nodiscard]] bool wait(Deadline deadline) {
        std::unique_lock lock(state_->mutex);
        return state_->finished.wait_until(lock, deadline.at(), [this] { return state_->done; });
    }

    /// After `wait` has returned true. Empty when there is no address: then `problem` says why.
    [[nodiscard]] std::vector<SocketAddress> take(std::string& problem) {
        const std::shared_ptr<State> state = std::move(state_);
        if (state->found.empty()) problem = ::gai_strerror(state->error != 0 ? state->error : EAI_NONAME);
        return std::move(state->found);
    }

  private:
    struct State {
        std::mutex mutex;
        std::condition_variable finished;
        bool done = false;
        int error = 0;
        std::vector<SocketAddress> found;
    };
    std::shared_ptr<State> state_;
};

}  // namespace smartcache::inline v0::detail
