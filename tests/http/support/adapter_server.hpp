#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <smartcache/http/middleware.hpp>
#include <smartcache/testing.hpp>

#include "http/support/map_cache.hpp"
#include "http/support/raw_http.hpp"
#include "http/support/site.hpp"
#include "support/eventually.hpp"

// A server behind an adapter, whose application a test scripts, and a client with one connection.
namespace smartcache_test {

/// What the application of a scenario makes: a response, or its head and pieces of content up to an empty one.
/// `next` throws where the content breaks off.
struct Made {
    http::Response response{};
    std::function<std::string()> next{};
};

/// A server behind an adapter. The adapter's test derives from it, starts it, and has the framework's handlers
/// call `make`. Whatever the path, the request goes to the application.
class AdapterServer {
  public:
    using App = std::function<Made(const http::Request&)>;

    explicit AdapterServer(http::MiddlewareOptions options = Site::plain())
        : web(cache, std::move(options)) {}
    virtual ~AdapterServer() = default;
    AdapterServer(const AdapterServer&) = delete;
    AdapterServer& operator=(const AdapterServer&) = delete;

    [[nodiscard]] virtual int port() const = 0;

    /// The application from now on.
    void serve(App app) {
        const std::lock_guard lock(mutex_);
        app_ = std::move(app);
    }
    void serve(http::Response response) {
        serve([response = std::move(response)](const http::Request& request) {
            Made made{response, {}};
            if (request.method == "HEAD") made.response.body = {};
            return made;
        });
    }
    [[nodiscard]] Made make(const http::Request& request) {
        ++calls;
        App app;
        {
            const std::lock_guard lock(mutex_);
            app = app_;
        }
        return app(request);
    }

    smartcache::FakeClock clock;
    MapCache cache{clock};
    http::Middleware<MapCache> web;
    std::atomic<int> calls{0};

  private:
    std::mutex mutex_;
    App app_;
};

struct Adapter {
    std::function<std::unique_ptr<AdapterServer>(http::MiddlewareOptions)> start;
    bool validates = true;  ///< the application sees the cache's conditions
    bool ends_chunks =
        true;  ///< the framework takes no content in chunks for whole without its last, empty line
};

/// A client with one connection, which must stay in step through all that is asked over it.
class Browser {
  public:
    explicit Browser(int port) : socket_(RawSocket::connect(port)) {}
    explicit Browser(const AdapterServer& server) : Browser(server.port()) {}

    void send(std::string_view method, std::string_view target, std::string_view fields = {},
              std::string_view body = {}) const {
        std::string text;
        text.append(method)
            .append(" ")
            .append(target)
            .append(" HTTP/1.1\r\nHost: a.example\r\n")
            .append(fields);
        if (!body.empty()) text.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
        socket_.send(text.append("\r\n").append(body));
    }
    RawMessage read(bool head = false) {
        RawMessage message = read_message(socket_, false);
        if (!head && message.status() != 304 && message.status() != 204) read_content(socket_, message);
        return message;
    }
    RawMessage ask(std::string_view method, std::string_view target, std::string_view fields = {},
                   std::string_view body = {}) {
        send(method, target, fields, body);
        return read(method == "HEAD");
    }
    RawMessage get(std::string_view target, std::string_view fields = {}) {
        return ask("GET", target, fields);
    }
    RawSocket& socket() { return socket_; }

  private:
    RawSocket socket_;
};

inline std::size_t count_of(const RawMessage& message, std::string_view line_start) {
    std::size_t n = 0;
    for (std::size_t at = 0; (at = message.head.find(line_start, at)) != std::string::npos; ++at) ++n;
    return n;
}

inline http::Response page(http::Body body, std::string_view control = "max-age=60") {
    return {200, {{"Cache-Control", control}, {"Content-Type", "application/octet-stream"}}, std::move(body)};
}

inline http::Response page_with_etag(http::Body body) {
    http::Response made = page(std::move(body));
    made.headers.add("ETag", "\"1\"");
    return made;
}

}  // namespace smartcache_test
