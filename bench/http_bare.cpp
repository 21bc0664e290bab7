// What http_proxy.sh compares hits with: servers that have nothing to look up.
//
//     build/release/bench/http_bare beast|httplib|httplib-wrap|httplib-mount port
//
// beast: asynchronous Boost.Beast, one loop; reads each request and sends the same bytes, 1 KiB of content with the fields that such a
// response has. httplib: cpp-httplib with a handler that returns 1 KiB; -wrap and -mount: the same through the cache, both ways in.

#include <httplib.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/read.hpp>

#include <smartcache/codec/bytes.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/http/adapters/httplib.hpp>
#include <smartcache/http/middleware.hpp>

namespace {

namespace beast = boost::beast;
using Tcp = boost::asio::ip::tcp;
using ErrorCode = boost::system::error_code;

const std::string content(1024, 'x');
const std::string fixed =
    "HTTP/1.1 200 OK\r\nServer: bare\r\nContent-Type: application/octet-stream\r\nCache-Control: "
    "max-age=3600\r\n"
    "Content-Length: 1024\r\n\r\n" +
    content;

class Session : public std::enable_shared_from_this<Session> {
  public:
    explicit Session(Tcp::socket socket) : stream_(std::move(socket)) {}
    void read() {
        request_ = {};
        beast::http::async_read(stream_, buffer_, request_,
                                [self = shared_from_this()](ErrorCode error, std::size_t) {
                                    if (!error) self->write();
                                });
    }

  private:
    void write() {
        boost::asio::async_write(stream_, boost::asio::buffer(fixed),
                                 [self = shared_from_this()](ErrorCode error, std::size_t) {
                                     if (!error && self->request_.keep_alive()) self->read();
                                 });
    }

    beast::tcp_stream stream_;
    beast::flat_buffer buffer_;
    beast::http::request<beast::http::empty_body> request_;
};

void accept(Tcp::acceptor& acceptor) {
    acceptor.async_accept([&acceptor](ErrorCode error, Tcp::socket socket) {
        if (!error) {
            socket.set_option(Tcp::no_delay(true));
            std::make_shared<Session>(std::move(socket))->read();
        }
        accept(acceptor);
    });
}

void serve_beast(int port) {
    boost::asio::io_context loop(1);
    Tcp::acceptor acceptor(loop,
                           {boost::asio::ip::address_v4::loopback(), static_cast<unsigned short>(port)});
    accept(acceptor);
    loop.run();
}

int serve_httplib(std::string_view how, int port) {
    smartcache::SmartCache<smartcache::BytesCodec> cache;
    smartcache::http::Middleware web(cache, smartcache::http::api_cache(std::chrono::hours(1)));
    httplib::Server server;
    // It has a thread for each connection, and hangs up after five requests unless told otherwise.
    server.new_task_queue = [] { return new httplib::ThreadPool(64); };
    server.set_keep_alive_max_count(std::numeric_limits<int>::max());
    server.set_tcp_nodelay(true);
    const httplib::Server::Handler handler = [](const httplib::Request&, httplib::Response& response) {
        response.set_header("Cache-Control", "max-age=3600");
        response.set_content(content, "application/octet-stream");
    };
    if (how == "httplib-mount") smartcache::http::mount(web, server);
    server.Get("/1k", how == "httplib-wrap" ? smartcache::http::wrap(web, handler) : handler);
    return server.listen("127.0.0.1", port) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view how = argc == 3 ? argv[1] : "";
    if (how != "beast" && how != "httplib" && how != "httplib-wrap" && how != "httplib-mount") {
        std::fputs("http_bare beast|httplib|httplib-wrap|httplib-mount port\n", stderr);
        return 2;
    }
    const int port = std::atoi(argv[2]);
    if (how != "beast") return serve_httplib(how, port);
    serve_beast(port);
    return 0;
}
