#pragma once

#include <sys/socket.h>

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "http_peer.hpp"
#include "http_soak_site.hpp"

namespace bench {

/// The origin of http_soak.cpp: a thread for each connection. Its unreliable resources fail one time in five, and all of it is
/// away now and then; `Events` hears of it first.
class SoakOrigin {
  public:
    explicit SoakOrigin(Events& events) : events_(events) { open(0); }
    SoakOrigin(const SoakOrigin&) = delete;
    SoakOrigin& operator=(const SoakOrigin&) = delete;
    ~SoakOrigin() { close(); }

    [[nodiscard]] int port() const { return port_; }
    [[nodiscard]] std::size_t requests() const { return requests_; }

    /// Hangs up on everybody and refuses connections for a while.
    void go_away(std::chrono::milliseconds time) {
        events_.outage_begins();
        close();
        std::this_thread::sleep_for(time);
        open(port_);
        events_.outage_ends();
    }

  private:
    void open(int port) {
        listener_ = Peer::listen(port);
        port_ = listener_.port();
        acceptor_ = std::thread([this] {
            for (;;) {
                Peer peer = listener_.accept();
                if (!peer.open()) return;
                const std::lock_guard lock(mutex_);
                if (closing_) return;
                connections_.insert(peer.fd());
                std::thread([this, peer = std::move(peer)]() mutable { serve(std::move(peer)); }).detach();
            }
        });
    }
    void close() {
        {
            const std::lock_guard lock(mutex_);
            closing_ = true;
            for (const int fd : connections_) (void)::shutdown(fd, SHUT_RDWR);
        }
        (void)::shutdown(listener_.fd(), SHUT_RDWR);
        acceptor_.join();
        listener_.close();
        std::unique_lock lock(mutex_);
        left_.wait(lock, [this] { return connections_.empty(); });
        closing_ = false;
    }

    void serve(Peer peer) {
        std::mt19937_64 random(next_seed_++);
        while (answer(peer, random)) {
        }
        const std::lock_guard lock(mutex_);
        connections_.erase(peer.fd());
        peer.close();
        left_.notify_all();
    }

    /// @return whether the connection goes on
    bool answer(Peer& peer, std::mt19937_64& random) {
        const auto request = peer.head();
        if (!request) return false;
        ++requests_;
        std::string body;
        if (const auto size = request->number("content-length"))
            if (!peer.content(static_cast<std::size_t>(*size), body)) return false;
        const std::size_t end_of_method = request->first.find(' ');
        const std::string_view method = std::string_view(request->first).substr(0, end_of_method);
        Resource resource{0};
        const char* const number = request->first.c_str() + end_of_method + 4;  // behind " /k/"
        (void)std::from_chars(number, request->first.c_str() + request->first.size(), resource.number);
        const std::uint64_t die = resource.fails() ? random() % 30 : 30;
        if (die < 5) {  // slow, no failure
            std::this_thread::sleep_for(std::chrono::milliseconds(50 * die));
        } else if (die < 11) {
            events_.failed(resource);
            if (die < 7)
                return peer.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 6\r\n\r\nfailed");
            if (die == 7) return false;
            if (die == 8) {
                (void)peer.send("good morning\r\n\r\n");
                return false;
            }
        }
        return respond(peer, *request, method, resource, die == 9 || die == 10);
    }

    bool respond(Peer& peer, const Head& request, std::string_view method, Resource resource, bool cut) {
        const std::int64_t version = resource.version_at(now_ms());
        std::string head = "Version: " + std::to_string(version) + "\r\n";
        if (method == "POST") {
            return peer.send("HTTP/1.1 200 OK\r\n" + head +
                             "Content-Length: " + (cut ? "5\r\n\r\nok" : "2\r\n\r\nok")) &&
                   !cut;
        }
        head += "Cache-Control: " + resource.cache_control() + "\r\nCache-Tag: t" +
                std::to_string(resource.tag()) + "\r\n";
        if (resource.has_etag()) head += "ETag: " + resource.etag(version) + "\r\n";
        const std::string_view variant_field = resource.variant_field();
        if (!variant_field.empty()) head.append("Vary: ").append(variant_field).append("\r\n");
        std::array<char, 64> date{};
        const std::time_t seconds = std::time(nullptr);
        std::tm parts{};
        (void)std::strftime(date.data(), date.size(), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n",
                            ::gmtime_r(&seconds, &parts));
        head += date.data();
        if (resource.has_etag() && request.get("if-none-match") == resource.etag(version))
            return peer.send("HTTP/1.1 304 Not Modified\r\n" + head + "\r\n");

        std::string content = resource.content(
            version, variant_field.empty() ? std::string_view() : request.get(variant_field));
        if (resource.kind() == Kind::chunked) {
            head += "Transfer-Encoding: chunked\r\n\r\n";
            std::array<char, 24> size{};
            (void)std::snprintf(size.data(), size.size(), "%zx\r\n", content.size());
            content = size.data() + content + "\r\n0\r\n\r\n";
        } else {
            head += "Content-Length: " + std::to_string(content.size()) + "\r\n\r\n";
        }
        if (method == "HEAD") return peer.send("HTTP/1.1 200 OK\r\n" + head);
        if (cut) content.resize(content.size() / 2);
        return peer.send("HTTP/1.1 200 OK\r\n" + head) && peer.send(content) && !cut;
    }

    Events& events_;
    Peer listener_;
    int port_ = 0;
    std::thread acceptor_;
    std::atomic<std::size_t> requests_ = 0;
    std::atomic<std::uint64_t> next_seed_ = 1;
    std::mutex mutex_;
    std::condition_variable left_;
    std::set<int> connections_;
    bool closing_ = false;
};

}  // namespace bench
