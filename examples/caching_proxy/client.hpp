#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <smartcache/core/executor.hpp>
#include <smartcache/http.hpp>
#include <smartcache/smartcache.hpp>

#include "origin.hpp"
#include "stream.hpp"
#include "wire.hpp"

namespace proxy {

constexpr std::size_t max_request_body = 256 << 20U;  // requests are collected before they are forwarded

using Web = http::Middleware<sc::SmartCache<sc::BytesCodec>>;

/// What all clients share.
struct Site {
    Web& web;
    Origin& origin;
    /// Refreshes what was served stale. As many threads as for other requests: an origin that trickles has one for itself.
    sc::Executor& workers;
    std::size_t max_stored;
    sc::Duration client_timeout;
};

/// How many clients there are.
class Census {
  public:
    void enter() {
        const std::lock_guard lock(mutex_);
        ++count_;
    }
    void leave() {
        const std::lock_guard lock(mutex_);
        --count_;
        left_.notify_all();  // under the lock: who waits for the last one may destroy us right after
    }
    [[nodiscard]] std::size_t count() {
        const std::lock_guard lock(mutex_);
        return count_;
    }
    /// @return whether nobody is left
    bool wait_until_empty(sc::Duration at_most) {
        std::unique_lock lock(mutex_);
        return left_.wait_for(lock, at_most, [this] { return count_ == 0; });
    }

  private:
    std::mutex mutex_;
    std::condition_variable left_;
    std::size_t count_ = 0;
};

/// A request without its content, and how long that is.
struct Asked {
    http::Request request;
    Framing framing;
    Head head;  ///< what it was made of; both are read into the room that the last one has left
};

/// A client's connection. Belongs to one thread at a time: to an event loop, which calls what does not wait, or to
/// a worker for one request.
class Client {
  public:
    Client(Stream stream, Site site, Census& census)
        : client_(std::move(stream)), site_(site), census_(census) {
        census_.enter();
    }
    ~Client() {
        client_ = Stream();  // who leaves has closed its socket
        census_.leave();
    }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    // What does not wait.

    [[nodiscard]] Stream& stream() { return client_; }
    /// Whether the connection is to go on after this response.
    [[nodiscard]] bool keep_alive() const { return keep_alive_; }
    /// The next request. @return false where its head is not whole yet. @throws ConnectionError
    [[nodiscard]] bool next_request(Asked& asked) {
        answering_ = false;
        if (!take_head(client_, searched_, asked.head)) return false;
        read_request(asked);
        answering_ = asked.framing.empty();
        return true;
    }
    /// Makes this what `flush` sends.
    void prepare(http::Response response) {
        const bool none = has_no_content(method_, response.status);
        if (!none) {
            const std::string size = std::to_string(response.body.size());
            if (response.headers.get("Content-Length") != size) response.headers.set("Content-Length", size);
        } else if (response.status == 204 || response.status < 200) {
            response.headers.remove("Content-Length");  // RFC 9110 section 8.6
        }
        write_head(response);
        body_ = none ? http::Body{} : std::move(response.body);
        head_left_ = head_;
        body_left_ = body_.view();
    }
    /// The same for a request that cannot be understood, and the connection ends with it.
    void refuse(const ConnectionError& error) {
        keep_alive_ = false;
        method_ = "GET";
        prepare(plain(error.status, error.what()));
    }
    /// How much of that is not sent yet.
    [[nodiscard]] std::size_t unsent() const { return head_left_.size() + body_left_.size(); }
    /// @return whether all that was prepared is sent
    bool flush() {
        if (!client_.send_some(head_left_, body_left_)) return false;
        body_ = {};
        return true;
    }
    /// stale-while-revalidate: the client has its answer, the origin is asked behind.
    void refresh(http::Transaction transaction) const {
        auto shared = std::make_shared<http::Transaction>(std::move(transaction));
        (void)site_.workers.submit([shared, &origin = site_.origin, most = site_.max_stored] {
            try {
                Origin::Exchange exchange(origin, shared->request(), {});
                std::string body;
                for (std::string_view piece = exchange.next_piece(); !piece.empty();
                     piece = exchange.next_piece()) {
                    body += piece;
                    if (body.size() > most) return;
                }
                exchange.response.body = std::move(body);
                (void)shared->finish(std::move(exchange.response));
            } catch (const ConnectionError&) {  // what is stored stays as stale as it was
            }
        });
    }

    // What blocks.

    /// Serves one request, the head of which was taken, but for what is to be flushed then. @return whether the
    /// connection is still of use
    bool serve(Asked asked) {
        return work([&] {
            read_content(asked);
            answering_ = true;
            respond(site_.web.begin(asked.request, http::Refresh::after_answer));
        });
    }
    /// The same for one that the cache has been asked about.
    bool serve(http::Transaction transaction) {
        return work([&] { respond(std::move(transaction)); });
    }

  private:
    template <class F>
    bool work(F&& f) {
        try {
            f();
            (void)flush();  // most clients take it all at once
        } catch (const ConnectionError& error) {
            forget_unsent();
            keep_alive_ = false;
            if (error.kind == ConnectionError::broken && !answering_) refuse(error);
        } catch (const std::exception& error) {
            std::fprintf(stderr, "caching_proxy: %s\n", error.what());
            return false;
        }
        return true;
    }

    void forget_unsent() {
        head_left_ = body_left_ = {};
        body_ = {};
    }

    void respond(http::Transaction transaction) {
        if (!transaction.answered()) return forward(std::move(transaction));
        prepare(transaction.take_response());
        if (transaction.wants_refresh()) refresh(std::move(transaction));
    }

    void read_request(Asked& asked) {
        auto& [request, framing, head] = asked;
        const std::string_view version = head.third;
        // RFC 9112 section 2.3: a later minor version is read as the last one known.
        if (!http::detail::is_token(head.first) || version.size() != 8 || !version.starts_with("HTTP/1.") ||
            !http::detail::is_digit(version.back()) || head.second.empty())
            throw ConnectionError(ConnectionError::broken, "request line");
        http11_ = version != "HTTP/1.0";
        keep_alive_ = http11_;
        head.headers.for_each_member("Connection", [this](std::string_view option) {
            if (http::detail::equal_ignoring_case(option, "close")) keep_alive_ = false;
            if (http::detail::equal_ignoring_case(option, "keep-alive") && !http11_) keep_alive_ = true;
        });
        // RFC 9112 section 3.2: exactly one Host in HTTP/1.1.
        if (const std::size_t hosts = head.headers.count("Host"); hosts > 1 || (http11_ && hosts == 0))
            throw ConnectionError(ConnectionError::broken, "Host");

        request.method = head.first;
        request.scheme = "http";
        request.host = head.headers.value("Host");
        request.query.clear();
        request.body = {};
        std::swap(request.headers, head.headers);
        const std::string_view target = head.second;
        // Section 3: some origins take other white space for the end of the target. CONNECT has none of these forms.
        const bool readable =
            request.method != "CONNECT" && std::none_of(target.begin(), target.end(), [](char c) {
                return static_cast<unsigned char>(c) <= ' ' || c == '\x7f';
            });
        if (!readable) throw ConnectionError(ConnectionError::broken, "request target");
        if (target.front() == '/') {
            const std::size_t question = target.find('?');
            request.path = target.substr(0, question);
            if (question != std::string_view::npos) request.query = target.substr(question + 1);
        } else if (const auto url =
                       http::parse_url(target)) {  // absolute-form: its host counts (section 3.2.2)
            request.host = url->host;
            request.path = url->path;
            request.query = url->query;
            // Section 3.2.4: an OPTIONS without a path is about the origin as a whole.
            if (request.method == "OPTIONS" &&
                target.find_first_of("/?#", target.find("//") + 2) == std::string_view::npos)
                request.path = "*";
        } else if (target == "*" && request.method == "OPTIONS") {
            request.path = "*";
        } else {
            throw ConnectionError(ConnectionError::broken, "request target");
        }

        if (!is_host(request.headers.value("Host")) || !is_host(request.host))
            throw ConnectionError(ConnectionError::broken, "Host");

        method_ = request.method;
        // Section 6.1: who speaks HTTP/1.0 knows no codings, so one of the senders is mistaken about the content.
        if (!http11_ && request.headers.has("Transfer-Encoding"))
            throw ConnectionError(ConnectionError::broken, "Transfer-Encoding");
        framing = framing_of(request.headers, false);
        if (framing.size > max_request_body)
            throw ConnectionError(ConnectionError::broken, "content too large");
    }

    void read_content(Asked& asked) {
        http::Request& request = asked.request;
        const Framing framing = asked.framing;
        if (framing.empty()) return;
        if (http11_ && http::detail::equal_ignoring_case(request.headers.value("Expect"), "100-continue"))
            client_.send("HTTP/1.1 100 Continue\r\n\r\n");
        std::string body;
        Content content(client_, framing);
        for (std::string_view piece = content.next(); !piece.empty(); piece = content.next()) {
            client_.deadline = std::chrono::steady_clock::now() + site_.client_timeout;
            if (body.size() + piece.size() > max_request_body)
                throw ConnectionError(ConnectionError::broken, "content too large");
            body += piece;
        }
        content.finish();
        request.body = std::move(body);
    }

    /// Asks the origin, and sends what comes of it.
    void forward(http::Transaction transaction) {
        std::optional<Origin::Exchange> exchange;
        std::optional<http::Response> result;
        try {
            exchange.emplace(site_.origin, transaction.request(), [this](const Head& interim) {
                // RFC 9110 section 15.2: 1xx is passed on, to those who know it; 100 we send ourselves.
                if (!http11_ || interim.second == "100") return;
                http::Headers headers = interim.headers;
                http::remove_hop_by_hop(headers);
                client_.send("HTTP/1.1 " + interim.second + " " + interim.third + "\r\n" +
                             std::string(headers.wire()) + "\r\n");
            });
            collect(*exchange, transaction, result);
        } catch (const ConnectionError& error) {
            collected_.clear();
            const bool late = error.kind == ConnectionError::late || transaction.has_stored();
            result = transaction.fail();
            if (!result) result = plain(late ? 504 : 502, std::string("origin: ") + error.what());
        }
        // From here on the client has begun to get its response: what fails now ends its connection.
        if (!result) return stream(*exchange, std::move(transaction));
        exchange.reset();  // its connection goes back before the client gets its answer
        prepare(std::move(*result));
    }

    /// Finishes with the content, if the cache wants it and it is not too long; else leaves `result` empty.
    void collect(Origin::Exchange& exchange, http::Transaction& transaction,
                 std::optional<http::Response>& result) {
        const Framing& framing = exchange.framing();
        const bool empty = framing.kind == Framing::length && framing.size == 0;
        // The rest of a stored part cannot be passed on alone.
        const std::size_t most = transaction.completing() && exchange.response.status == 206
                                     ? std::max(site_.max_stored, http::max_completed_bytes)
                                     : site_.max_stored;
        if (!empty && (framing.size > most || !transaction.wants_body(exchange.response))) return;
        for (std::string_view piece = exchange.next_piece(); !piece.empty(); piece = exchange.next_piece()) {
            collected_ += piece;
            if (collected_.size() > most) return;
        }
        exchange.response.body = std::exchange(collected_, {});
        result = transaction.finish(std::move(exchange.response));
    }

    void stream(Origin::Exchange& exchange, http::Transaction transaction) {
        std::string begun = std::exchange(collected_, {});
        http::Response head = transaction.finish_streamed(std::move(exchange.response));
        if (transaction.replaced() || head.status == 304) return prepare(std::move(head));
        const bool known = exchange.framing().kind == Framing::length;
        const bool chunked = !known && http11_;
        if (!known && !http11_) keep_alive_ = false;
        if (!known) head.headers.remove("Content-Length");
        head.headers.remove("Transfer-Encoding");
        if (chunked) head.headers.add("Transfer-Encoding", "chunked");
        write_head(head);
        client_.send(head_);
        const auto pass_on = [&](std::string_view piece) {
            client_.deadline = std::chrono::steady_clock::now() + site_.client_timeout;
            if (!chunked) return client_.send(piece);
            char size[20];
            std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
            client_.send(size, piece);
            client_.send("\r\n");
        };
        if (!begun.empty()) pass_on(begun);
        // A response that is cut off here is cut off for the client too: the exception closes its connection.
        for (std::string_view piece = exchange.next_piece(); !piece.empty(); piece = exchange.next_piece())
            pass_on(piece);
        if (chunked) client_.send("0\r\n\r\n");
    }

    /// Puts it in the place of the last one, which has been sent.
    void write_head(const http::Response& response) {
        using namespace std::string_view_literals;
        head_.assign("HTTP/1.1 "sv)
            .append(std::to_string(response.status))
            .append(" "sv)
            .append(reason_phrase(response.status))
            .append("\r\n"sv)
            .append(response.headers.wire());
        if (!keep_alive_) {
            head_ += "Connection: close\r\n"sv;
        } else if (!http11_) {
            head_ += "Connection: keep-alive\r\n"sv;
        }
        head_ += "\r\n"sv;
    }

    Stream client_;
    Site site_;
    Census& census_;
    std::size_t searched_ = 0;
    std::string method_;
    std::string collected_;
    std::string head_;
    http::Body body_;
    std::string_view head_left_, body_left_;  // of those two
    bool http11_ = true;
    bool keep_alive_ = true;
    bool answering_ = false;
};

}  // namespace proxy
