#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/http/middleware.hpp>
#include <smartcache/testing.hpp>

#include "http/support/map_cache.hpp"

namespace smartcache_test {

namespace http = smartcache::http;

/// A middleware on a fake clock in front of an origin that the test scripts.
struct Site {
    explicit Site(http::MiddlewareOptions options = plain()) : web(cache, std::move(options)) {}

    /// No selecting headers, no default lifetime: RFC 9111 alone.
    static http::MiddlewareOptions plain() {
        http::MiddlewareOptions options;
        options.default_ttl = smartcache::Duration::zero();
        options.cache_headers.clear();
        return options;
    }

    static http::Request request(std::string method, std::string path, http::Headers headers = {}) {
        http::Request r;
        r.method = std::move(method);
        r.host = "a.example";
        const std::size_t question = path.find('?');
        r.path = path.substr(0, question);
        if (question != std::string::npos) r.query = path.substr(question + 1);
        r.headers = std::move(headers);
        return r;
    }

    http::Response send(http::Request r) {
        return web.handle(r, [this](const http::Request& forwarded) {
            seen.push_back(forwarded);
            if (down) throw std::runtime_error("the origin is down");
            return origin(forwarded);
        });
    }
    http::Response get(std::string path, http::Headers headers = {}) {
        return send(request("GET", std::move(path), std::move(headers)));
    }

    /// What the origin answers from now on.
    void answers(http::Headers headers, http::Body body = "body", int status = 200) {
        origin = [=](const http::Request& r) {
            return http::Response{status, headers, r.method == "HEAD" ? http::Body() : body};
        };
    }
    /// Answers `count` with its body "1", "2", ...: shows which response was reused.
    void counts(http::Headers headers, int status = 200) {
        origin = [this, headers, status](const http::Request&) {
            return http::Response{status, headers, std::to_string(seen.size())};
        };
    }
    std::string date(smartcache::Duration offset = {}) const {
        return http::format_date(clock.wall() + offset);
    }

    smartcache::FakeClock clock;
    MapCache cache{clock};
    http::Middleware<MapCache> web;
    std::function<http::Response(const http::Request&)> origin;
    std::vector<http::Request> seen;
    bool down = false;
};

}  // namespace smartcache_test
