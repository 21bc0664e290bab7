// A caching reverse proxy: everything SmartCache knows about HTTP in front of any HTTP/1.1 origin.
//
//     caching_proxy --listen 127.0.0.1:8080 --origin 127.0.0.1:8000 [--config file.json]
//
// The file: {"cache": {...Config...}, "http": {...MiddlewareOptions...}, "proxy": {"connect_timeout",
// "origin_timeout", "trust_forwarded", "shutdown_timeout", "purge_key"}}. Without one: 10 000 responses in memory,
// lifetimes as RFC 9111 says, stale responses for a day where the origin cannot be reached.
//
// One thread per client connection and blocking sockets: simple, and quick for hundreds of connections. What
// the cache may store is collected before it is sent; everything else is streamed. A request that the origin
// may have seen is never sent twice. 502: the origin refused, hung up or talked nonsense; 504: it did not
// answer in time.

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <smartcache/core/executor.hpp>
#include <smartcache/http.hpp>
#include <smartcache/http/options_json.hpp>

namespace sc = smartcache;
namespace http = smartcache::http;
using namespace std::chrono_literals;
using SteadyTime = std::chrono::steady_clock::time_point;

namespace {

constexpr std::size_t max_head = 64 * 1024;           // request or status line with all fields
constexpr std::size_t max_request_body = 256 << 20U;  // requests are collected before they are forwarded
constexpr std::size_t max_connections = 1000;
constexpr auto client_idle = 60s;  // between two requests of a client, and between two of its packets
constexpr auto origin_idle = 4s;   // origins commonly hang up after five seconds

/// Set when requests have had their time to end: every wait ends with it.
std::atomic<bool> aborting{false};

/// The other side hung up, stalled or broke the protocol.
struct ConnectionError : std::runtime_error {
    enum Kind { closed, late, broken } kind;
    ConnectionError(Kind k, const std::string& what) : std::runtime_error(what), kind(k) {}
};

// --- sockets
// -------------------------------------------------------------------------------------------------------------

/// A connected socket with what was read from it and not yet used. Every operation ends by `deadline`.
class Stream {
  public:
    explicit Stream(int fd = -1) : fd_(fd) {}
    Stream(Stream&& other) noexcept
        : deadline(other.deadline),
          fd_(std::exchange(other.fd_, -1)),
          buffer_(std::move(other.buffer_)),
          at_(other.at_) {}
    Stream& operator=(Stream&& other) noexcept {
        std::swap(fd_, other.fd_);
        std::swap(buffer_, other.buffer_);
        std::swap(at_, other.at_);
        std::swap(deadline, other.deadline);
        return *this;
    }
    ~Stream() {
        if (fd_ >= 0) ::close(fd_);
    }

    SteadyTime deadline{};

    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] std::string_view buffered() const { return std::string_view(buffer_).substr(at_); }
    void consume(std::size_t n) {
        at_ += n;
        if (at_ == buffer_.size()) {
            buffer_.clear();
            at_ = 0;
        }
    }

    /// Reads more into the buffer. @return false at the end of the stream
    bool fill() {
        if (at_ > 0) {
            buffer_.erase(0, at_);
            at_ = 0;
        }
        const std::size_t have = buffer_.size();
        buffer_.resize(have + 16 * 1024);
        for (;;) {
            const ssize_t n = ::recv(fd_, buffer_.data() + have, buffer_.size() - have, MSG_DONTWAIT);
            if (n >= 0) {
                buffer_.resize(have + static_cast<std::size_t>(n));
                return n > 0;
            }
            if (errno == EINTR) continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                buffer_.resize(have);
                throw ConnectionError(ConnectionError::closed, std::strerror(errno));
            }
            try {
                wait_for(POLLIN);
            } catch (...) {
                buffer_.resize(have);
                throw;
            }
        }
    }

    void send(std::string_view head, std::string_view body = {}) {
        std::array<iovec, 2> parts{
            {{const_cast<char*>(head.data()), head.size()}, {const_cast<char*>(body.data()), body.size()}}};
        msghdr message{};
        message.msg_iov = parts.data();
        message.msg_iovlen = parts.size();
        std::size_t left = head.size() + body.size();
        while (left > 0) {
            const ssize_t n = ::sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n < 0) {
                if (errno == EINTR) continue;
                if (errno != EAGAIN && errno != EWOULDBLOCK)
                    throw ConnectionError(ConnectionError::closed, std::strerror(errno));
                wait_for(POLLOUT);
                continue;
            }
            auto sent = static_cast<std::size_t>(n);
            left -= sent;
            for (iovec& part : parts) {
                const std::size_t taken = std::min(sent, part.iov_len);
                part.iov_base = static_cast<char*>(part.iov_base) + taken;
                part.iov_len -= taken;
                sent -= taken;
            }
        }
    }

    /// Whether an idle connection is still there and has nothing to say.
    [[nodiscard]] bool usable() const {
        char byte = 0;
        return buffered().empty() && ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
               (errno == EAGAIN || errno == EWOULDBLOCK);
    }

    void wait_for(short events) const {
        for (;;) {
            const auto left =
                std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
            if (left <= 0ms || aborting) throw ConnectionError(ConnectionError::late, "timed out");
            pollfd wanted{fd_, events, 0};
            const int n = ::poll(&wanted, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 200)));
            if (n > 0) return;
            if (n < 0 && errno != EINTR) throw ConnectionError(ConnectionError::closed, std::strerror(errno));
        }
    }

  private:
    int fd_;
    std::string buffer_;
    std::size_t at_ = 0;
};

struct Endpoint {
    std::string host;
    std::string port;
    [[nodiscard]] std::string text() const { return host + ":" + port; }
};

Endpoint parse_endpoint(const std::string& text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == text.size())
        throw std::invalid_argument("\"" + text + "\" is not host:port");
    std::string host = text.substr(0, colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
    return {host, text.substr(colon + 1)};
}

struct Addresses {
    explicit Addresses(const Endpoint& endpoint, bool passive) {
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        hints.ai_flags = passive ? AI_PASSIVE : 0;
        const int error = ::getaddrinfo(endpoint.host.c_str(), endpoint.port.c_str(), &hints, &list);
        if (error != 0)
            throw ConnectionError(ConnectionError::closed, endpoint.text() + ": " + ::gai_strerror(error));
    }
    ~Addresses() { ::freeaddrinfo(list); }
    Addresses(const Addresses&) = delete;
    Addresses& operator=(const Addresses&) = delete;
    addrinfo* list = nullptr;
};

void set_option(int fd, int level, int name) {
    const int on = 1;
    (void)::setsockopt(fd, level, name, &on, sizeof on);
}

Stream connect_to(const Endpoint& endpoint, sc::Duration timeout) {
    const Addresses addresses(endpoint, false);
    const SteadyTime deadline = std::chrono::steady_clock::now() + timeout;
    std::string last_error = "no address";
    for (const addrinfo* a = addresses.list; a != nullptr; a = a->ai_next) {
        Stream stream(::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol));
        if (stream.fd() < 0) continue;
        stream.deadline = deadline;
        if (::connect(stream.fd(), a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS) {
            last_error = std::strerror(errno);
            continue;
        }
        stream.wait_for(POLLOUT);
        int error = 0;
        socklen_t size = sizeof error;
        (void)::getsockopt(stream.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
        if (error == 0) {
            set_option(stream.fd(), IPPROTO_TCP, TCP_NODELAY);
            return stream;
        }
        last_error = std::strerror(error);
    }
    throw ConnectionError(ConnectionError::closed, endpoint.text() + ": " + last_error);
}

// --- HTTP/1.1 on the wire (RFC 9112)
// ---------------------------------------------------------------------------------------

/// A start line split at its spaces, and the fields.
struct Head {
    std::string first, second, third;
    http::Headers headers;
};

/// Takes a head off the stream. @return nullopt at the end of the stream before its first byte
std::optional<Head> read_head(Stream& in) {
    std::size_t searched = 0;
    for (;;) {
        // Section 2.2: empty lines before a message are skipped.
        while (in.buffered().starts_with("\r\n")) in.consume(2);
        const std::string_view text = in.buffered();
        const std::size_t end = text.find("\r\n\r\n", searched > 3 ? searched - 3 : 0);
        if (end != std::string_view::npos) {
            Head head;
            std::string_view block = text.substr(0, end + 2);
            const std::size_t line_end = block.find("\r\n");
            const std::string_view line = block.substr(0, line_end);
            const std::size_t a = line.find(' ');
            const std::size_t b = a == std::string_view::npos ? a : line.find(' ', a + 1);
            if (a == std::string_view::npos) throw ConnectionError(ConnectionError::broken, "start line");
            head.first = line.substr(0, a);
            head.second = line.substr(a + 1, b == std::string_view::npos ? b : b - a - 1);
            if (b != std::string_view::npos) head.third = line.substr(b + 1);
            block.remove_prefix(line_end + 2);
            while (!block.empty()) {
                const std::size_t eol = block.find("\r\n");
                const std::string_view field = block.substr(0, eol);
                const std::size_t colon = field.find(':');
                // Sections 5.1 and 5.2: white space before the colon and folded lines are attacks more often
                // than not.
                if (colon == std::string_view::npos ||
                    !head.headers.add(field.substr(0, colon), field.substr(colon + 1)))
                    throw ConnectionError(ConnectionError::broken, "field line");
                block.remove_prefix(eol + 2);
            }
            in.consume(end + 4);
            return head;
        }
        searched = text.size();
        if (searched > max_head) throw ConnectionError(ConnectionError::broken, "head too large");
        if (!in.fill()) {
            if (in.buffered().empty()) return std::nullopt;
            throw ConnectionError(ConnectionError::closed, "hung up inside a head");
        }
    }
}

/// How long the content of a message is (section 6.3).
struct Framing {
    enum Kind { length, chunked, until_close } kind = length;
    std::uint64_t size = 0;
};

Framing framing_of(const http::Headers& headers, bool response) {
    const bool has_length = headers.has("Content-Length");
    if (headers.has("Transfer-Encoding")) {
        // Section 6.1: with both a request is an attempt to smuggle; another coding than chunked alone is not
        // for us.
        if (!http::detail::equal_ignoring_case(headers.combined("Transfer-Encoding"), "chunked") ||
            (has_length && !response))
            throw ConnectionError(ConnectionError::broken, "Transfer-Encoding");
        return {Framing::chunked, 0};
    }
    if (!has_length) return {response ? Framing::until_close : Framing::length, 0};
    std::optional<std::int64_t> size;
    bool ok = true;
    headers.for_each_member("Content-Length", [&](std::string_view member) {
        const auto value = http::detail::parse_digits(member, INT64_MAX);
        ok = ok && value && (!size || *size == *value);
        size = value;
    });
    if (!ok || !size) throw ConnectionError(ConnectionError::broken, "Content-Length");
    return {Framing::length, static_cast<std::uint64_t>(*size)};
}

/// The content of a message, piece by piece.
class Content {
  public:
    Content(Stream& in, Framing framing) : in_(in), framing_(framing), left_(framing.size) {
        done_ = framing.kind == Framing::length && left_ == 0;
    }
    [[nodiscard]] bool done() const { return done_; }

    /// The next piece; empty only at the end. Valid until the next call.
    std::string_view next() {
        in_.consume(std::exchange(taken_, 0));
        if (framing_.kind == Framing::chunked && !done_ && left_ == 0) start_chunk();
        if (done_) return {};
        while (in_.buffered().empty()) {
            if (in_.fill()) continue;
            if (framing_.kind != Framing::until_close)
                throw ConnectionError(ConnectionError::closed, "content cut off");
            done_ = true;
            return {};
        }
        std::string_view piece = in_.buffered();
        if (framing_.kind != Framing::until_close) {
            piece = piece.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left_, piece.size())));
            left_ -= piece.size();
            if (left_ == 0 && framing_.kind == Framing::length) done_ = true;
        }
        taken_ = piece.size();
        if (framing_.kind == Framing::chunked && left_ == 0) chunk_ended_ = true;
        return piece;
    }
    /// Gives back what `next` lent last.
    void finish() { in_.consume(std::exchange(taken_, 0)); }

  private:
    std::string line() {
        for (;;) {
            const std::string_view text = in_.buffered();
            const std::size_t end = text.find("\r\n");
            if (end != std::string_view::npos) {
                std::string result(text.substr(0, end));
                in_.consume(end + 2);
                return result;
            }
            if (text.size() > max_head) throw ConnectionError(ConnectionError::broken, "chunk line");
            if (!in_.fill()) throw ConnectionError(ConnectionError::closed, "content cut off");
        }
    }
    void start_chunk() {
        if (std::exchange(chunk_ended_, false) && !line().empty())
            throw ConnectionError(ConnectionError::broken, "chunk end");
        const std::string text = line();
        const std::string_view digits = http::detail::trim(std::string_view(text).substr(0, text.find(';')));
        if (digits.empty() || digits.size() > 15)
            throw ConnectionError(ConnectionError::broken, "chunk size");
        for (const char c : digits) {
            const int value = sc::detail::hex_value(c);
            if (value < 0) throw ConnectionError(ConnectionError::broken, "chunk size");
            left_ = left_ * 16 + static_cast<std::uint64_t>(value);
        }
        if (left_ > 0) return;
        done_ = true;
        while (!line().empty()) {  // trailers are dropped (RFC 9110 section 6.5.1)
        }
    }

    Stream& in_;
    Framing framing_;
    std::uint64_t left_;
    std::size_t taken_ = 0;
    bool chunk_ended_ = false;
    bool done_ = false;
};

std::string_view reason_phrase(int status) {
    switch (status) {
        case 200:
            return "OK";
        case 201:
            return "Created";
        case 204:
            return "No Content";
        case 206:
            return "Partial Content";
        case 301:
            return "Moved Permanently";
        case 302:
            return "Found";
        case 304:
            return "Not Modified";
        case 400:
            return "Bad Request";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 500:
            return "Internal Server Error";
        case 502:
            return "Bad Gateway";
        case 503:
            return "Service Unavailable";
        case 504:
            return "Gateway Timeout";
        default:
            return "";
    }
}

[[nodiscard]] bool has_no_content(std::string_view method, int status) {
    return method == "HEAD" || status < 200 || status == 204 || status == 304;
}

http::Response plain(int status, std::string_view text) {
    return {status, {{"Content-Type", "text/plain"}}, std::string(text) + "\n"};
}

// --- the origin
// --------------------------------------------------------------------------------------------------------------

struct ProxyOptions {
    sc::Duration connect_timeout = 5s;
    sc::Duration origin_timeout = 60s;  ///< for the head, then for each piece of content
    /// Pass on what clients say in X-Forwarded-* and the like. An origin that builds pages from them would
    /// let any client decide what all others get from the cache: only behind a proxy of your own that sets
    /// them.
    bool trust_forwarded = false;
    sc::Duration shutdown_timeout = 10s;  ///< for requests that are being served when a signal comes
    /// PURGE requests with this in a field Purge-Key purge: a URL, tags, what lies below a path. Empty: none does.
    std::string purge_key{};
};

/// Takes as long for any key of the same length, so that nobody can guess it piece by piece.
bool same_key(std::string_view given, std::string_view key) {
    if (given.size() != key.size()) return false;
    unsigned differences = 0;
    for (std::size_t i = 0; i < key.size(); ++i)
        differences |=
            static_cast<unsigned>(static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(key[i]));
    return differences == 0;
}

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
            origin.send_request(stream_, request);
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
            bool close = !http11_;
            response.headers.for_each_member("Connection", [&](std::string_view option) {
                if (http::detail::equal_ignoring_case(option, "close")) close = true;
            });
            reusable_ = !close && framing_.kind != Framing::until_close;
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

// --- a client's connection
// --------------------------------------------------------------------------------------------------

using Web = http::Middleware<sc::SmartCache<sc::BytesCodec>>;

class Connection {
  public:
    Connection(Stream stream, Web& web, Origin& origin, sc::Executor& background, std::size_t max_stored)
        : client_(std::move(stream)),
          web_(web),
          origin_(origin),
          background_(background),
          max_stored_(max_stored) {}

    /// Serves requests until either side has enough. @param stopping  no further request is read once it is
    /// set
    void run(const std::atomic<bool>& stopping) {
        try {
            do {
                client_.deadline = std::chrono::steady_clock::now() + client_idle;
            } while (serve_one() && !stopping);
        } catch (const ConnectionError& error) {
            if (error.kind == ConnectionError::broken && !answering_) try_to_send(plain(400, error.what()));
        }
        // What the client still sends must not turn our last answer into a reset: say goodbye and read a
        // little.
        (void)::shutdown(client_.fd(), SHUT_WR);
        client_.deadline = std::chrono::steady_clock::now() + 1s;
        try {
            for (int i = 0; i < 16 && !stopping && client_.fill(); ++i)
                client_.consume(client_.buffered().size());
        } catch (const ConnectionError&) {
        }
    }

  private:
    bool serve_one() {
        answering_ = false;
        std::optional<Head> head = read_head(client_);
        if (!head) return false;
        http::Request request = read_request(*head);
        answering_ = true;

        http::Transaction transaction = web_.begin(request, http::Refresh::after_answer);
        if (transaction.answered()) {
            send_response(request.method, transaction.take_response());
            if (transaction.wants_refresh()) refresh(std::move(transaction));
        } else {
            forward(request.method, std::move(transaction));
        }
        return keep_alive_;
    }

    http::Request read_request(const Head& head) {
        if (!http::detail::is_token(head.first) || (head.third != "HTTP/1.1" && head.third != "HTTP/1.0") ||
            head.second.empty())
            throw ConnectionError(ConnectionError::broken, "request line");
        http11_ = head.third == "HTTP/1.1";
        keep_alive_ = http11_;
        head.headers.for_each_member("Connection", [this](std::string_view option) {
            if (http::detail::equal_ignoring_case(option, "close")) keep_alive_ = false;
            if (http::detail::equal_ignoring_case(option, "keep-alive") && !http11_) keep_alive_ = true;
        });
        // RFC 9112 section 3.2: exactly one Host in HTTP/1.1.
        if (head.headers.count("Host") > 1 || (http11_ && !head.headers.has("Host")))
            throw ConnectionError(ConnectionError::broken, "Host");

        http::Request request;
        request.method = head.first;
        request.host = head.headers.value("Host");
        request.headers = head.headers;
        if (head.second.front() == '/') {
            const std::size_t question = head.second.find('?');
            request.path = head.second.substr(0, question);
            if (question != std::string::npos) request.query = head.second.substr(question + 1);
        } else if (const auto url =
                       http::parse_url(head.second)) {  // absolute-form: its host counts (section 3.2.2)
            request.host = url->host;
            request.path = url->path;
            request.query = url->query;
        } else if (head.second == "*" && request.method == "OPTIONS") {
            request.path = "*";
        } else {
            throw ConnectionError(ConnectionError::broken, "request target");
        }

        const Framing framing = framing_of(request.headers, false);
        if (framing.kind == Framing::length && framing.size == 0) return request;
        if (framing.size > max_request_body)
            throw ConnectionError(ConnectionError::broken, "content too large");
        if (http11_ && http::detail::equal_ignoring_case(request.headers.value("Expect"), "100-continue"))
            client_.send("HTTP/1.1 100 Continue\r\n\r\n");
        std::string body;
        Content content(client_, framing);
        for (std::string_view piece = content.next(); !piece.empty(); piece = content.next()) {
            client_.deadline = std::chrono::steady_clock::now() + client_idle;
            if (body.size() + piece.size() > max_request_body)
                throw ConnectionError(ConnectionError::broken, "content too large");
            body += piece;
        }
        content.finish();
        request.body = std::move(body);
        return request;
    }

    /// Asks the origin, and sends what comes of it.
    void forward(const std::string& method, http::Transaction transaction) {
        std::optional<Origin::Exchange> exchange;
        std::optional<http::Response> result;
        try {
            exchange.emplace(origin_, transaction.request(), [this](const Head& interim) {
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
        if (!result) return stream(method, *exchange, std::move(transaction));
        exchange.reset();  // its connection goes back before the client gets its answer
        send_response(method, std::move(*result));
    }

    /// Finishes with the content, if the cache wants it and it is not too long; else leaves `result` empty.
    void collect(Origin::Exchange& exchange, http::Transaction& transaction,
                 std::optional<http::Response>& result) {
        const Framing& framing = exchange.framing();
        const bool empty = framing.kind == Framing::length && framing.size == 0;
        // The rest of a stored part cannot be passed on alone.
        const std::size_t most = transaction.completing() && exchange.response.status == 206
                                     ? std::max(max_stored_, http::max_completed_bytes)
                                     : max_stored_;
        if (!empty && (framing.size > most || !transaction.wants_body(exchange.response))) return;
        for (std::string_view piece = exchange.next_piece(); !piece.empty(); piece = exchange.next_piece()) {
            collected_ += piece;
            if (collected_.size() > most) return;
        }
        exchange.response.body = std::exchange(collected_, {});
        result = transaction.finish(std::move(exchange.response));
    }

    void stream(const std::string& method, Origin::Exchange& exchange, http::Transaction transaction) {
        std::string begun = std::exchange(collected_, {});
        http::Response head = transaction.finish_streamed(std::move(exchange.response));
        if (transaction.replaced() || head.status == 304) return send_response(method, std::move(head));
        const bool known = exchange.framing().kind == Framing::length;
        const bool chunked = !known && http11_;
        if (!known && !http11_) keep_alive_ = false;
        if (!known) head.headers.remove("Content-Length");
        head.headers.remove("Transfer-Encoding");
        if (chunked) head.headers.add("Transfer-Encoding", "chunked");
        client_.send(head_text(head), {});
        const auto pass_on = [&](std::string_view piece) {
            client_.deadline = std::chrono::steady_clock::now() + client_idle;
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

    /// stale-while-revalidate: the client has its answer, the origin is asked behind.
    void refresh(http::Transaction transaction) {
        auto shared = std::make_shared<http::Transaction>(std::move(transaction));
        (void)background_.submit([shared, &origin = origin_, most = max_stored_] {
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

    [[nodiscard]] std::string head_text(const http::Response& response) const {
        std::string text = "HTTP/1.1 ";
        text.reserve(128 + response.headers.wire().size());
        text.append(std::to_string(response.status))
            .append(" ")
            .append(reason_phrase(response.status))
            .append("\r\n");
        text.append(response.headers.wire());
        if (!keep_alive_) {
            text += "Connection: close\r\n";
        } else if (!http11_) {
            text += "Connection: keep-alive\r\n";
        }
        return text.append("\r\n");
    }

    void send_response(std::string_view method, http::Response response) {
        client_.deadline = std::chrono::steady_clock::now() + client_idle;
        const bool none = has_no_content(method, response.status);
        if (!none) {
            const std::string size = std::to_string(response.body.size());
            if (response.headers.get("Content-Length") != size) response.headers.set("Content-Length", size);
        } else if (response.status == 204 || response.status < 200) {
            response.headers.remove("Content-Length");  // RFC 9110 section 8.6
        }
        client_.send(head_text(response), none ? std::string_view{} : response.body.view());
    }

    void try_to_send(http::Response response) {
        keep_alive_ = false;
        try {
            send_response("GET", std::move(response));
        } catch (const ConnectionError&) {
        }
    }

    Stream client_;
    Web& web_;
    Origin& origin_;
    sc::Executor& background_;
    std::size_t max_stored_;
    std::string collected_;
    bool http11_ = true;
    bool keep_alive_ = true;
    bool answering_ = false;
};

// --- the server
// -----------------------------------------------------------------------------------------------------------------

int stop_pipe[2] = {-1, -1};
extern "C" void on_signal(int) {
    const int saved = errno;
    (void)!::write(stop_pipe[1], "x", 1);
    errno = saved;
}

class Server {
  public:
    Server(const Endpoint& endpoint, Web& web, Origin& origin, std::size_t max_stored,
           sc::Duration shutdown_timeout)
        : web_(web), origin_(origin), max_stored_(max_stored), shutdown_timeout_(shutdown_timeout) {
        const Addresses addresses(endpoint, true);
        const addrinfo& a = *addresses.list;
        listener_ = ::socket(a.ai_family, a.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a.ai_protocol);
        set_option(listener_, SOL_SOCKET, SO_REUSEADDR);
        if (listener_ < 0 || ::bind(listener_, a.ai_addr, a.ai_addrlen) != 0 ||
            ::listen(listener_, 1024) != 0)
            throw std::runtime_error(endpoint.text() + ": " + std::strerror(errno));
    }
    ~Server() { ::close(listener_); }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    /// The port it listens on: the system's choice where 0 was asked for.
    [[nodiscard]] int port() const {
        sockaddr_storage address{};
        socklen_t size = sizeof address;
        (void)::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
        return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                                   : reinterpret_cast<const sockaddr_in&>(address).sin_port);
    }

    /// Accepts connections until a signal comes; then lets the requests that are being served end.
    void run() {
        while (true) {
            pollfd wanted[2] = {{listener_, POLLIN, 0}, {stop_pipe[0], POLLIN, 0}};
            if (::poll(wanted, 2, -1) < 0 && errno != EINTR) break;
            if (wanted[1].revents != 0) break;
            if (wanted[0].revents == 0) continue;
            const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0) {
                if (errno == EMFILE || errno == ENFILE) std::this_thread::sleep_for(10ms);
                continue;
            }
            start(fd);
        }
        stopping_ = true;
        std::unique_lock lock(mutex_);
        for (const int fd : connections_)
            (void)::shutdown(fd, SHUT_RD);  // idle ones see the end of the stream
        ended_.wait_for(lock, shutdown_timeout_, [this] { return connections_.empty(); });
        aborting = true;
        ended_.wait(lock, [this] { return connections_.empty(); });
    }

  private:
    void start(int fd) {
        set_option(fd, IPPROTO_TCP, TCP_NODELAY);
        std::unique_lock lock(mutex_);
        ended_.wait(lock, [this] { return connections_.size() < max_connections; });
        connections_.insert(fd);
        lock.unlock();
        try {
            std::thread([this, fd] { serve(fd); }).detach();
        } catch (const std::system_error&) {  // no more threads: this client is turned away
            ::close(fd);
            end(fd);
        }
    }
    void serve(int fd) {
        {
            // A descriptor of its own, so that `fd` names this connection until it has left the set.
            Connection connection(Stream(::fcntl(fd, F_DUPFD_CLOEXEC, 3)), web_, origin_, background_,
                                  max_stored_);
            try {
                connection.run(stopping_);
            } catch (const std::exception& error) {
                std::fprintf(stderr, "caching_proxy: %s\n", error.what());
            }
        }
        (void)::shutdown(fd, SHUT_RDWR);
        ::close(fd);
        end(fd);
    }
    void end(int fd) {
        const std::lock_guard lock(mutex_);
        connections_.erase(fd);
        ended_.notify_all();  // under the lock: `run` may destroy us right after
    }

    Web& web_;
    Origin& origin_;
    std::size_t max_stored_;
    sc::Duration shutdown_timeout_;
    int listener_ = -1;
    std::atomic<bool> stopping_{false};
    std::mutex mutex_;
    std::condition_variable ended_;
    std::set<int> connections_;
    sc::ThreadPool background_{2};
};

struct Options {
    Endpoint listen{"127.0.0.1", "8080"};
    Endpoint origin{"127.0.0.1", "8000"};
    sc::Config cache;
    http::MiddlewareOptions web;
    ProxyOptions proxy;
};

Options read_options(int argc, char** argv) {
    Options options;
    // A cache in front of an origin that it knows nothing about: RFC 9111, and the response's Vary decides.
    options.web.cache_headers.clear();
    options.web.cache_status_codes = {200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501};
    options.web.ignore_query_params.clear();
    options.web.grace = 24h;
    for (int i = 1; i < argc; i += 2) {
        const std::string_view name = argv[i];
        if (name != "--listen" && name != "--origin" && name != "--config")
            throw std::invalid_argument("unknown option " + std::string(name));
        if (i + 1 == argc) throw std::invalid_argument(std::string(name) + " wants a value");
        const std::string value = argv[i + 1];
        if (name == "--listen") {
            options.listen = parse_endpoint(value);
        } else if (name == "--origin") {
            options.origin = parse_endpoint(value);
        } else {
            std::ifstream file(value);
            if (!file) throw std::invalid_argument("cannot read " + value);
            const std::string text{std::istreambuf_iterator<char>(file), {}};
            const auto json = nlohmann::json::parse(text, nullptr, false);
            if (!json.is_object()) throw std::invalid_argument(value + " is not a JSON object");
            for (const auto& [key, part] : json.items()) {
                if (key == "cache") {
                    options.cache = sc::Config::from_json(part.dump());
                } else if (key == "http") {
                    options.web = http::options_from_json(part.dump(), options.web);
                } else if (key == "proxy") {
                    std::vector<sc::ConfigProblem> problems;
                    {
                        http::detail::JsonFields in(part, "proxy.", problems);
                        in.read("connect_timeout", options.proxy.connect_timeout);
                        in.read("origin_timeout", options.proxy.origin_timeout);
                        in.read("trust_forwarded", options.proxy.trust_forwarded);
                        in.read("shutdown_timeout", options.proxy.shutdown_timeout);
                        in.read("purge_key", options.proxy.purge_key);
                    }
                    if (!problems.empty()) throw sc::ConfigError(std::move(problems));
                } else {
                    throw sc::ConfigError(key, part.dump(), "cache, http, proxy");
                }
            }
        }
    }
    return options;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && (std::string_view(argv[1]) == "--help" || std::string_view(argv[1]) == "-h")) {
        std::puts(
            "caching_proxy [--listen host:port] [--origin host:port] [--config file.json]\n"
            "A caching reverse proxy; without options from 127.0.0.1:8080 to 127.0.0.1:8000.\n"
            "The file: {\"cache\": {...}, \"http\": {...}, \"proxy\": {...}}; the README lists the fields.");
        return 0;
    }
    try {
        Options options = read_options(argc, argv);
        options.cache.logger = [](sc::LogLevel level, std::string_view line) {
            const std::string text(line);
            if (level >= sc::LogLevel::warning) std::fprintf(stderr, "caching_proxy: %s\n", text.c_str());
        };
        if (::pipe(stop_pipe) != 0) throw std::runtime_error("pipe");
        struct sigaction action {};
        action.sa_handler = on_signal;
        for (const int signal : {SIGINT, SIGTERM}) (void)::sigaction(signal, &action, nullptr);

        sc::SmartCache<sc::BytesCodec> cache(options.cache);
        if (!options.proxy.purge_key.empty()) {
            options.web.purge = [key = options.proxy.purge_key](const http::Request& request) {
                return same_key(request.headers.value("Purge-Key"), key);
            };
            options.web.purge_many = options.web.purge;
        }
        Web web(cache, options.web);
        Origin origin(options.origin, options.proxy);
        Server server(options.listen, web, origin, options.cache.max_value_size,
                      options.proxy.shutdown_timeout);
        std::fprintf(stderr, "caching_proxy: %s:%d -> %s\n", options.listen.host.c_str(), server.port(),
                     options.origin.text().c_str());
        server.run();
        const http::MiddlewareStats stats = web.counters();
        std::fprintf(stderr, "caching_proxy: %llu requests, %llu hits, %llu misses, %llu skipped\n",
                     static_cast<unsigned long long>(stats.total_requests),
                     static_cast<unsigned long long>(stats.cache_hits),
                     static_cast<unsigned long long>(stats.cache_misses),
                     static_cast<unsigned long long>(stats.cache_skips));
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "caching_proxy: %s\n", error.what());
        return 2;
    }
}
