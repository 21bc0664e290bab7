// How to put the HTTP cache in front of any server: three steps per request, here over bare sockets.
//
//   1. Tell it about the request: method, host, path, query, fields, content. Nothing is decoded.
//   2. begin(): it has the answer, or says what to forward, perhaps with conditions of its own.
//   3. finish() with what the application says, or fail() where it says nothing. What comes back is sent.
//
// A transaction that is dropped instead is abandoned, and wakes whoever waits for it. An event loop calls
// begin(request, executor, callback), which never blocks, and finish() in a thread that may block.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <string>
#include <thread>

#include <smartcache/http.hpp>

namespace http = smartcache::http;
using namespace std::chrono_literals;

// --- the adapter: from here ---

std::optional<http::Request> read_request(const std::string& text) {
    const std::size_t method_end = text.find(' '), target_end = text.find(' ', method_end + 1);
    const std::size_t line_end = text.find("\r\n");
    if (target_end == std::string::npos || line_end < target_end) return std::nullopt;
    http::Request request;
    request.method = text.substr(0, method_end);
    const std::string target = text.substr(method_end + 1, target_end - method_end - 1);
    const std::size_t question = target.find('?');
    request.path = target.substr(0, question);
    if (question != std::string::npos) request.query = target.substr(question + 1);
    request.headers = http::Headers::from_wire(std::string_view(text).substr(line_end + 2));
    request.host = request.headers.value("Host");
    return request;  // a real server reads Content-Length bytes into request.body as well
}

void send_response(int socket, const http::Response& response, bool head) {
    std::string text = "HTTP/1.1 " + std::to_string(response.status) + " \r\n";
    text += response.headers.wire();  // ends each field with CRLF
    if (!response.headers.has("Content-Length") && response.status != 304)
        text += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
    text += "Connection: close\r\n\r\n";
    for (std::string_view bytes : {std::string_view(text), head ? std::string_view() : response.body.view()})
        while (!bytes.empty()) {
            const ssize_t n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n <= 0) return;
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
}

template <class Web, class App>
http::Response answer(Web& web, const http::Request& request, App&& app) {
    http::Transaction transaction = web.begin(request);
    if (transaction.answered()) return transaction.take_response();
    std::optional<http::Response> made;
    try {
        made = app(transaction.request());
    } catch (...) {  // a stale response, where one may be served
        return transaction.fail().value_or(http::Response{500, {}, {}});
    }
    return transaction.finish(std::move(*made));  // stores, merges, invalidates
}

// --- to here ---

std::string ask(in_port_t port, const std::string& head) {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = port;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::string response;
    char bytes[4096];
    if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
        (void)::send(socket, head.data(), head.size(), MSG_NOSIGNAL);
        for (ssize_t n = 0; (n = ::recv(socket, bytes, sizeof bytes, 0)) > 0;)
            response.append(bytes, static_cast<std::size_t>(n));
    }
    ::close(socket);
    return response;
}

int main() {
    http::Middleware web{smartcache::Config{}, http::api_cache(5min)};
    int calls = 0;
    const auto app = [&](const http::Request& request) {
        return http::Response{
            200, {{"ETag", "\"1\""}}, "page " + request.path + ", call " + std::to_string(++calls)};
    };

    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
        ::listen(listener, 8) != 0)
        return 1;
    (void)::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    std::thread server([&] {
        for (int i = 0; i < 3; ++i) {
            const int client = ::accept(listener, nullptr, nullptr);
            char bytes[4096];
            std::string text;
            while (text.find("\r\n\r\n") == std::string::npos) {
                const ssize_t n = ::recv(client, bytes, sizeof bytes, 0);
                if (n <= 0) break;
                text.append(bytes, static_cast<std::size_t>(n));
            }
            if (const auto request = read_request(text))
                send_response(client, answer(web, *request, app), request->method == "HEAD");
            ::close(client);
        }
    });
    for (const char* conditions : {"", "", "If-None-Match: \"1\"\r\n"}) {
        const std::string response =
            ask(address.sin_port,
                std::string("GET /report HTTP/1.1\r\nHost: a.example\r\n") + conditions + "\r\n");
        const std::size_t outcome = response.find("X-Cache: ");
        std::printf("%s | %s | %s\n", response.substr(9, 3).c_str(),
                    response.substr(outcome, response.find('\r', outcome) - outcome).c_str(),
                    response.substr(response.find("\r\n\r\n") + 4).c_str());
    }
    server.join();
    ::close(listener);
}

// Expected output:
// 200 | X-Cache: MISS | page /report, call 1
// 200 | X-Cache: HIT | page /report, call 1
// 304 | X-Cache: HIT |
