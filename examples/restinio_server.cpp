// The HTTP cache inside a RESTinio server: what is in memory is answered by the event loop, everything else by a pool, in which
// the application may block.

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <restinio/http_server_run.hpp>
#include <restinio/settings.hpp>
#include <restinio/traits.hpp>

#include <smartcache/http.hpp>
#include <smartcache/http/adapters/restinio.hpp>

namespace sc = smartcache;
namespace http = smartcache::http;
namespace net = restinio::asio_ns;
using namespace std::chrono_literals;

namespace {

/// An application: pages that take their time, and a report that is made while it is sent.
http::restinio::Streamed answer(const http::Request& request) {
    std::this_thread::sleep_for(20ms);
    if (request.path != "/report") return {{200, {}, "page " + request.path}, {}};
    return {{200, {}, "report:"},
            [line = 0]() mutable { return http::Body(++line <= 3 ? " line " + std::to_string(line) : ""); }};
}

std::string ask(unsigned short port, const std::string& method, const std::string& path) {
    net::io_context io;
    net::ip::tcp::socket socket(io);
    socket.connect({net::ip::address_v4::loopback(), port});
    net::write(socket, net::buffer(method + ' ' + path +
                                   " HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"));
    std::string response;
    net::error_code end;
    net::read(socket, net::dynamic_buffer(response), end);
    return response;
}

std::string_view between(std::string_view text, std::string_view from, std::string_view to) {
    const std::size_t at = text.find(from);
    if (at == std::string_view::npos) return {};
    text.remove_prefix(at + from.size());
    return text.substr(0, text.find(to));
}

}  // namespace

int main() {
    http::Middleware web{sc::Config{}, http::api_cache(5min)};
    net::io_context io;
    sc::ThreadPool pool{4};  // ends before the loop's io_context, and after the server
    unsigned short port = 0;
    auto server = restinio::run_async(
        restinio::external_io_context(io),
        restinio::server_settings_t<>{}
            .address("127.0.0.1")
            .port(0)
            .acceptor_post_bind_hook([&](auto& acceptor) { port = acceptor.local_endpoint().port(); })
            .request_handler(http::restinio::handler(web, pool, answer)),
        1);

    const std::pair<const char*, const char*> requests[] = {
        {"GET", "/a"}, {"GET", "/a"}, {"HEAD", "/a"}, {"GET", "/report"}};
    for (const auto& [method, path] : requests) {
        const std::string response = ask(port, method, path);
        const std::string_view outcome = between(response, "X-Cache: ", "\r\n");
        const bool chunked = response.find("chunked") != std::string::npos;
        std::printf("%s %s: %s, %s%s\n", method, path, response.substr(9, 3).c_str(),
                    std::string(outcome).c_str(), chunked ? ", in chunks" : "");
    }
}

// Expected output:
// GET /a: 200, MISS
// GET /a: 200, HIT
// HEAD /a: 200, HIT
// GET /report: 200, MISS, in chunks
