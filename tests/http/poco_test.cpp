// The Poco adapter over real loopback HTTP; time is a fake clock's.
#include <smartcache/http/adapters/poco.hpp>

#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <Poco/Net/HTTPServer.h>
#include <Poco/Net/HTTPServerParams.h>
#include <Poco/Net/ServerSocket.h>
#include <Poco/Net/SocketAddress.h>
#include <Poco/ThreadPool.h>

#include "http/support/adapter_scenarios.hpp"
#include "support/catch.hpp"

namespace poco_test {

using namespace smartcache;
using smartcache_test::AdapterServer;
using smartcache_test::Browser;
using smartcache_test::Made;
using smartcache_test::RawMessage;
using smartcache_test::Site;

class Server final : public AdapterServer {
  public:
    explicit Server(http::MiddlewareOptions options = Site::plain(),
                    std::size_t max_body = http::poco::default_max_body)
        : AdapterServer(std::move(options)),
          socket_(Poco::Net::SocketAddress("127.0.0.1", 0)),
          server_(http::poco::handlers(
                      web,
                      [this](const http::Request& request) {
                          Made made = make(request);
                          http::poco::Streamed streamed{std::move(made.response), {}};
                          if (made.next)
                              streamed.next = [next = std::move(made.next)] { return http::Body(next()); };
                          return streamed;
                      },
                      max_body),
                  threads_, socket_, new Poco::Net::HTTPServerParams) {
        server_.start();
    }
    ~Server() override {
        server_.stopAll(true);
        threads_.joinAll();
    }
    int port() const override { return socket_.address().port(); }

  private:
    Poco::ThreadPool threads_{4, 64};
    Poco::Net::ServerSocket socket_;
    Poco::Net::HTTPServer server_;
};

TEST_CASE("poco: does what every adapter must", "[http][poco]") {
    smartcache_test::run_adapter_scenarios(
        {[](http::MiddlewareOptions options) { return std::make_unique<Server>(std::move(options)); }});
}

TEST_CASE("poco: a request with too much content is refused, however it comes", "[http][poco]") {
    Server server(Site::plain(), 10);
    server.serve(smartcache_test::page("page"));
    CHECK(Browser(server).ask("POST", "/page", "", "0123456789").status() == 200);
    CHECK(Browser(server).ask("POST", "/page", "", "0123456789a").status() == 413);
    Browser chunked(server);
    chunked.socket().send(
        "POST /page HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: "
        "chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n");
    CHECK(chunked.read().status() == 413);
    CHECK(server.calls == 1);
}

TEST_CASE("poco: content in chunks comes whole, and what follows it is the next request", "[http][poco]") {
    Server server;
    server.serve([](const http::Request& request) {
        return Made{smartcache_test::page(request.body.str(), "no-store"), {}};
    });
    Browser browser(server);
    const auto ask = [&](const std::string& fields, const std::string& content) {
        browser.socket().send("POST /page HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n" +
                              fields + "\r\n" + content);
        return browser.read();
    };
    CHECK(ask("", "4\r\nin c\r\nA ; x=\"y\"\r\nhunks \xFF\r\n \r\n0\r\n\r\n").body == "in chunks \xFF\r\n ");
    CHECK(ask("", "0\r\nX-One: 1\r\nX-Two: 2\r\n\r\n").body.empty());
    const std::string large(100'000, 'x');
    CHECK(ask("", "186A0\r\n" + large + "\r\n0\r\n\r\n").body == large);
    CHECK(server.calls == 3);
    const RawMessage both = ask("Content-Length: 3\r\n", "1\r\nx\r\n0\r\n\r\n");
    CHECK(both.body == "x");
    CHECK(both.field("Connection") == "close");
    CHECK(browser.socket().read_all().empty());
}

TEST_CASE("poco: what is no content in chunks is no request", "[http][poco]") {
    Server server;
    server.serve(smartcache_test::page("page"));
    const auto ask = [&](const std::string& coding, const std::string& content) {
        Browser browser(server);
        browser.socket().send("POST /page HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: " + coding +
                              "\r\n\r\n" + content);
        return browser.socket().read_all();
    };
    for (const char* content : {"x\r\n\r\n", "-1\r\n\r\n", "1 \nx\r\n0\r\n\r\n", "1\r\nxy\r\n0\r\n\r\n",
                                "\r\n", "1x\r\nx\r\n0\r\n\r\n"}) {
        CAPTURE(content);
        CHECK(ask("chunked", content).empty());
    }
    CHECK(ask("chunked", "1;" + std::string(5000, 'x')).empty());
    CHECK(ask("chunked", "FFFFFFFFFFFFFFFF\r\n").starts_with("HTTP/1.1 413"));
    CHECK(ask("chunked", "10000000000000000\r\n").empty());
    CHECK(ask("gzip, chunked", "0\r\n\r\n").starts_with("HTTP/1.1 501"));
    CHECK(server.calls == 0);
}

TEST_CASE("poco: content of more than 2 GiB has its length", "[http][poco]") {
    constexpr std::size_t size = (std::size_t{1} << 31U) + 5;
    // Nothing but pages of zeros that nobody has written.
    void* const zeros = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(zeros != MAP_FAILED);
    const std::shared_ptr<const void> owner(zeros, [](void* at) { (void)::munmap(at, size); });
    Server server;
    server.serve(smartcache_test::page(
        http::Body::pinned(owner, std::string_view(static_cast<const char*>(zeros), size)), "no-store"));
    Browser browser(server);
    browser.send("GET", "/page");
    CHECK(browser.read(true).field("Content-Length") == "2147483653");
    CHECK(browser.socket().read_exactly(1000) == std::string(1000, '\0'));
}

TEST_CASE("poco: the host of a target in absolute form counts", "[http][poco]") {
    Server server;
    server.serve([](const http::Request& request) {
        return Made{smartcache_test::page(request.host + ' ' + request.path + ' ' +
                                          std::string(request.headers.value("Host"))),
                    {}};
    });
    CHECK(Browser(server).get("http://b.example/x").body == "b.example /x b.example");
}

}  // namespace poco_test
