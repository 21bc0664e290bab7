#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/http.hpp>

#include "stream.hpp"
#include "wire.hpp"

namespace proxy {

constexpr auto origin_idle = 4s;  // origins commonly hang up after five seconds

struct ProxyOptions {
    sc::Duration connect_timeout = 5s;
    sc::Duration origin_timeout = 60s;  ///< for the head, then for each piece of content
    /// Pass on what clients say in X-Forwarded-* and the like. An origin that builds pages from them would
    /// let any client decide what all others get from the cache: only behind a proxy of your own that sets
    /// them.
    bool trust_forwarded = false;
    /// Between two requests of a client, for the head of one, and between two pieces of content that it sends or takes.
    sc::Duration client_timeout = 60s;
    sc::Duration shutdown_timeout = 10s;  ///< for requests that are being served when a signal comes
    /// PURGE requests with this in a field Purge-Key purge: a URL, tags, what lies below a path. Empty: none does.
    std::string purge_key{};
    /// host:port for those who run it: /__smartcache/stats (JSON) and /metrics (Prometheus). Empty: none. Whoever reaches it may
    /// read them.
    std::string admin{};
};

class Origin {
  public:
    Origin(Endpoint endpoint, ProxyOptions options) : endpoint_(std::move(endpoint)), options_(options) {}

    /// One exchange with the origin: the request is sent, the head of the final response is read, content
    /// follows.
    class Exchange {
      public:
        Exchange(Origin& origin, const http::Request& request,
                 const std::function<void(const Head&)>& interim)
            : origin_(origin), stream_(origin.take()) {
            renew_deadline();
            bool sent = true;
            try {
                origin.send_request(stream_, request);
            } catch (const ConnectionError& error) {
                // RFC 9112 section 9.5: who does not want all of the content may have said so before it hung up.
                if (error.kind != ConnectionError::closed) throw;
                sent = false;
            }
            for (;;) {
                renew_deadline();
                auto head = read_head(stream_);
                if (!head) throw ConnectionError(ConnectionError::closed, "hung up without an answer");
                const auto status = http::detail::parse_digits(head->second, 999);
                if (!head->first.starts_with("HTTP/1.") || head->second.size() != 3 || !status ||
                    *status < 100)
                    throw ConnectionError(ConnectionError::broken, "status line");
                response.status = static_cast<int>(*status);
                if (response.status < 200 && response.status != 101) {
                    if (interim) interim(*head);
                    continue;
                }
                if (response.status < 200)
                    throw ConnectionError(ConnectionError::broken, "101 without an upgrade");
                response.headers = std::move(head->headers);
                http11_ = head->first != "HTTP/1.0";
                break;
            }
            const bool none = has_no_content(request.method, response.status);
            framing_ = none ? Framing{} : framing_of(response.headers, true);
            // RFC 9110 section 8.6: a length that is said several times is passed on once.
            if (!none && framing_.kind == Framing::length &&
                response.headers.combined("Content-Length") != std::to_string(framing_.size))
                response.headers.set("Content-Length", std::to_string(framing_.size));
            bool close = !http11_;
            response.headers.for_each_member("Connection", [&](std::string_view option) {
                if (http::detail::equal_ignoring_case(option, "close")) close = true;
            });
            reusable_ = sent && !close && framing_.kind != Framing::until_close;
            content_.emplace(stream_, framing_);
        }
        ~Exchange() {
            // Bytes beyond the content belong to nobody: `usable` finds them, and the connection is dropped.
            if (content_ && content_->done() && reusable_) {
                content_->finish();
                origin_.give_back(std::move(stream_));
            }
        }
        Exchange(const Exchange&) = delete;
        Exchange& operator=(const Exchange&) = delete;

        http::Response response;

        [[nodiscard]] const Framing& framing() const { return framing_; }
        std::string_view next_piece() {
            renew_deadline();
            return content_->next();
        }

      private:
        void renew_deadline() {
            stream_.deadline = std::chrono::steady_clock::now() + origin_.options_.origin_timeout;
        }

        Origin& origin_;
        Stream stream_;
        Framing framing_;
        std::optional<Content> content_;
        bool http11_ = true;
        bool reusable_ = false;
    };

    [[nodiscard]] const Endpoint& endpoint() const { return endpoint_; }

  private:
    struct Idle {
        Stream stream;
        SteadyTime since;
    };

    Stream take() {
        const auto now = std::chrono::steady_clock::now();
        {
            const std::lock_guard lock(mutex_);
            while (!idle_.empty()) {
                Idle idle = std::move(idle_.back());
                idle_.pop_back();
                if (now - idle.since < origin_idle && idle.stream.usable()) return std::move(idle.stream);
            }
        }
        return connect_to(endpoint_, options_.connect_timeout);
    }
    void give_back(Stream stream) {
        if (!stream.usable()) return;
        const std::lock_guard lock(mutex_);
        if (idle_.size() < 64) idle_.push_back({std::move(stream), std::chrono::steady_clock::now()});
    }

    void send_request(Stream& stream, const http::Request& request) const {
        http::Headers headers = request.headers;
        headers.remove_if([this](std::string_view name, std::string_view) {
            using http::detail::equal_ignoring_case;
            for (const std::string_view own : {"Content-Length", "Expect"})
                if (equal_ignoring_case(name, own)) return true;
            if (options_.trust_forwarded) return false;
            for (const std::string_view said :
                 {"Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Scheme",
                  "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Host", "X-Original-URL",
                  "X-Rewrite-URL", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"})
                if (equal_ignoring_case(name, said)) return true;
            return false;
        });
        if (const auto left = forwards_left(request); left && *left > 0)
            headers.set("Max-Forwards", std::to_string(*left - 1));
        headers.set("Host", request.host.empty() ? endpoint_.text() : request.host);
        headers.add("Via", "1.1 smartcache");  // RFC 9110 section 7.6.3
        const bool has_content = !request.body.empty();
        if (has_content || request.method == "POST" || request.method == "PUT" || request.method == "PATCH")
            headers.add("Content-Length", std::to_string(request.body.size()));
        std::string head = request.method + " " + request.path;
        if (!request.query.empty()) head += "?" + request.query;
        head.append(" HTTP/1.1\r\n").append(headers.wire()).append("\r\n");
        stream.send(head, request.body.view());
    }

    Endpoint endpoint_;
    ProxyOptions options_;
    std::mutex mutex_;
    std::vector<Idle> idle_;
};

}  // namespace proxy
