#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "stream.hpp"
#include "wire.hpp"

namespace proxy {

/// A port for those who run the proxy, apart from the clients'. One request at a time, each with a connection and a few
/// seconds of its own: who holds it up holds up nobody else.
class Admin {
  public:
    struct Page {
        std::string type;
        std::string text;
    };
    /// @param pages  what is at a path, if anything is; called in a thread of this object's
    Admin(const Endpoint& listen, std::function<std::optional<Page>(std::string_view path)> pages)
        : pages_(std::move(pages)),
          listener_(listen_at(listen)),
          stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
          thread_([this] { run(); }) {}
    Admin(const Admin&) = delete;
    Admin& operator=(const Admin&) = delete;
    ~Admin() {
        const std::uint64_t one = 1;
        (void)!::write(stop_, &one, sizeof one);
        thread_.join();
        ::close(stop_);
    }

    [[nodiscard]] int port() const { return port_of(listener_); }

  private:
    void run() {
        for (;;) {
            std::array<pollfd, 2> wanted{{{listener_.fd(), POLLIN, 0}, {stop_, POLLIN, 0}}};
            if (::poll(wanted.data(), wanted.size(), -1) < 0 && errno != EINTR) return;
            if (wanted[1].revents != 0) return;
            const int fd = ::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0) {
                if (errno == EMFILE || errno == ENFILE) std::this_thread::sleep_for(10ms);
                continue;
            }
            Stream client(fd);
            client.deadline = std::chrono::steady_clock::now() + 2s;
            try {
                answer(client);
            } catch (const std::exception& error) {
                std::fprintf(stderr, "caching_proxy: admin: %s\n", error.what());
            }
        }
    }

    void answer(Stream& client) const {
        const std::optional<Head> head = read_head(client);
        if (!head) return;
        const bool known = head->first == "GET" || head->first == "HEAD";
        const std::optional<Page> page =
            known ? pages_(std::string_view(head->second).substr(0, head->second.find('?'))) : std::nullopt;
        const Page shown = page.value_or(Page{"text/plain", known ? "nothing here\n" : "GET only\n"});
        const std::string_view status = page ? "200 OK" : known ? "404 Not Found" : "405 Method Not Allowed";
        std::string text = "HTTP/1.1 ";
        text.append(status).append("\r\nContent-Type: ").append(shown.type);
        text.append("\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: ");
        text.append(std::to_string(shown.text.size())).append("\r\n\r\n");
        client.send(text, head->first == "HEAD" ? std::string_view() : std::string_view(shown.text));
    }

    const std::function<std::optional<Page>(std::string_view path)> pages_;
    const Stream listener_;
    const int stop_;
    std::thread thread_;
};

}  // namespace proxy
