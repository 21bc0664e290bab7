// The cpp-httplib adapter over real loopback HTTP; time is a fake clock's.
#include <smartcache/http/adapters/httplib.hpp>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "http/support/adapter_scenarios.hpp"
#include "support/catch.hpp"

using namespace smartcache;
using smartcache_test::AdapterServer;
using smartcache_test::Browser;
using smartcache_test::Made;
using smartcache_test::RawMessage;
using smartcache_test::Site;

namespace {

enum class Way { wrap, mount };

class Server final : public AdapterServer {
  public:
    explicit Server(Way way, http::MiddlewareOptions options = Site::plain())
        : AdapterServer(std::move(options)) {
        const httplib::Server::Handler app = [this](const httplib::Request& request,
                                                    httplib::Response& response) {
            answer(make(http::detail::httplib_adapter::to_request(request, false)), response);
        };
        const httplib::Server::Handler use = way == Way::wrap ? http::wrap(web, app) : app;
        server_.Get("/page.*", use);
        server_.Post("/page.*", use);
        if (way == Way::mount) http::mount(web, server_);
        server_.set_keep_alive_max_count(1000);
        server_.set_keep_alive_timeout(
            60);  // else a client that is kept waiting by a busy machine is hung up on
        port_ = server_.bind_to_any_port("127.0.0.1");
        thread_ = std::thread([this] { server_.listen_after_bind(); });
        while (!server_.is_running()) std::this_thread::yield();
    }
    ~Server() override {
        server_.stop();
        thread_.join();
    }
    int port() const override { return port_; }

  private:
    static void answer(Made made, httplib::Response& to) {
        to.status = made.response.status;
        const std::string type(made.response.headers.value("Content-Type"));
        for (const auto [name, value] : made.response.headers)
            if (name != "Content-Type") to.headers.emplace(std::string(name), std::string(value));
        if (made.next) {
            to.set_chunked_content_provider(
                type, [next = std::move(made.next)](std::size_t, httplib::DataSink& sink) {
                    std::string piece;
                    try {
                        piece = next();
                    } catch (const std::exception&) {
                        return false;
                    }
                    if (piece.empty()) {
                        sink.done();
                        return true;
                    }
                    return sink.write(piece.data(), piece.size());
                });
        } else if (!type.empty()) {
            to.set_content(made.response.body.str(), type.c_str());
        }
    }

    httplib::Server server_;
    int port_ = 0;
    std::thread thread_;
};

/// Some versions after 0.11 and before 0.41 take content in chunks without the empty line at its end.
bool ends_chunks() {
    const std::string_view version = CPPHTTPLIB_VERSION;
    const int minor = version.starts_with("0.") ? std::atoi(version.data() + 2) : 99;
    return minor <= 11 || minor >= 41;
}

std::unique_ptr<AdapterServer> start_wrapped(http::MiddlewareOptions options) {
    return std::make_unique<Server>(Way::wrap, std::move(options));
}
std::unique_ptr<AdapterServer> start_mounted(http::MiddlewareOptions options) {
    return std::make_unique<Server>(Way::mount, std::move(options));
}

}  // namespace

TEST_CASE("httplib: a wrapped handler does what every adapter must", "[http][httplib]") {
    smartcache_test::run_adapter_scenarios({.start = start_wrapped, .ends_chunks = ends_chunks()});
}

TEST_CASE("httplib: a mounted cache does what every adapter must", "[http][httplib]") {
    smartcache_test::run_adapter_scenarios(
        {.start = start_mounted, .validates = false, .ends_chunks = ends_chunks()});
}

TEST_CASE("httplib: what the server compresses is not served to who cannot read it, nor compressed twice",
          "[http][httplib]") {
    for (const Way way : {Way::wrap, Way::mount}) {
        CAPTURE(static_cast<int>(way));
        Server server(way);
        const std::string text(2000, 'x');
        http::Response made = smartcache_test::page(text);
        made.headers.set("Content-Type", "text/plain");
        server.serve(made);
        Browser browser(server);
        const RawMessage first = browser.get("/page", "Accept-Encoding: gzip\r\n");
        const RawMessage second = browser.get("/page", "Accept-Encoding: gzip\r\n");
        CHECK(second.field("X-Cache") == "HIT");
        CHECK(second.field("Content-Encoding") == first.field("Content-Encoding"));
        CHECK(second.body == first.body);
        const RawMessage plain = browser.get("/page", "Accept-Encoding: identity\r\n");
        CHECK(plain.body == text);
        CHECK(plain.field("Content-Encoding").empty());
    }
}

TEST_CASE("httplib: of a stream with a length one range is cut", "[http][httplib]") {
    for (const bool mounted : {false, true}) {
        CAPTURE(mounted);
        httplib::Server server;
        FakeClock clock;
        smartcache_test::MapCache cache{clock};
        http::Middleware web{cache, Site::plain()};
        const httplib::Server::Handler app = [](const httplib::Request&, httplib::Response& response) {
            response.set_header("ETag", "\"1\"");
            response.set_content_provider(
                10, "text/plain", [](std::size_t offset, std::size_t length, httplib::DataSink& sink) {
                    const std::string all = "0123456789";
                    return sink.write(all.data() + offset, length);
                });
        };
        server.Get("/stream", mounted ? app : http::wrap(web, app));
        if (mounted) http::mount(web, server);
        const int port = server.bind_to_any_port("127.0.0.1");
        std::thread thread([&] { server.listen_after_bind(); });
        while (!server.is_running()) std::this_thread::yield();
        {
            Browser browser(port);
            const RawMessage whole = browser.get("/stream");
            CHECK(whole.status() == 200);
            CHECK(whole.body == "0123456789");
            const RawMessage part = browser.get("/stream", "Range: bytes=7-99\r\n");
            CHECK(part.status() == 206);
            CHECK(part.body == "789");
            CHECK(part.field("Content-Range") == "bytes 7-9/10");
            CHECK(smartcache_test::count_of(part, "\r\nContent-Length:") == 1);
            const RawMessage beyond = browser.get("/stream", "Range: bytes=10-\r\n");
            CHECK(beyond.status() == 416);
            CHECK(beyond.body.empty());
            CHECK(beyond.field("Content-Range") == "bytes */10");
            CHECK(browser.get("/stream", "Range: bytes=7-\r\nIf-Range: \"2\"\r\n").status() == 200);
            CHECK(browser.get("/stream").body == "0123456789");
        }
        server.stop();
        thread.join();
    }
}

TEST_CASE("httplib: unknown paths are the server's", "[http][httplib]") {
    for (const Way way : {Way::wrap, Way::mount}) {
        CAPTURE(static_cast<int>(way));
        Server server(way);
        CHECK(Browser(server).get("/nowhere").status() == 404);
    }
}

TEST_CASE("httplib: a part of a file that the server itself serves", "[http][httplib]") {
    const std::filesystem::path directory =
        std::filesystem::temp_directory_path() / ("smartcache-httplib-" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory);
    std::ofstream(directory / "a.txt") << "0123456789";
    Site site;
    http::Middleware web{site.cache, Site::plain()};
    httplib::Server server;
    REQUIRE(server.set_mount_point("/f", directory.string()));
    http::mount(web, server);
    const int port = server.bind_to_any_port("127.0.0.1");
    std::thread thread([&] { server.listen_after_bind(); });
    while (!server.is_running()) std::this_thread::yield();
    {
        Browser browser(port);
        for (int i = 0; i < 2; ++i) {
            const RawMessage part = browser.get("/f/a.txt", "Range: bytes=2-4\r\n");
            CHECK(part.status() == 206);
            CHECK(part.body == "234");
            CHECK(part.field("Content-Range") == "bytes 2-4/10");
        }
        CHECK(browser.get("/f/a.txt").body == "0123456789");
    }
    server.stop();
    thread.join();
    std::filesystem::remove_all(directory);
}

TEST_CASE("httplib: a target that looks like an authority is split like any other", "[http][httplib]") {
    httplib::Request request;
    request.target = "//foo?x=1";
    const http::Request seen = http::detail::httplib_adapter::to_request(request, false);
    CHECK(seen.path == "//foo");
    CHECK(seen.query == "x=1");
}
