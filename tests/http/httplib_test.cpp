// The cpp-httplib adapter over real loopback HTTP; time is a fake clock's.
#include <smartcache/http/adapters/httplib.hpp>

#include <atomic>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

#include "http/support/site.hpp"
#include "support/catch.hpp"

using namespace smartcache;
using namespace std::chrono_literals;
using smartcache_test::MapCache;
using smartcache_test::Site;

namespace {

enum class Way { wrap, mount };

/// A server whose /page is cached one way or the other.
class Server {
  public:
    using Handler = httplib::Server::Handler;

    explicit Server(Way way, http::MiddlewareOptions options = Site::plain())
        : web(cache, std::move(options)) {
        const Handler page = [this](const httplib::Request& request, httplib::Response& response) {
            ++calls;
            handler(request, response);
        };
        const Handler use = way == Way::wrap ? http::wrap(web, page) : page;
        server_.Get("/page.*", use);
        server_.Post("/page.*", use);
        if (way == Way::mount) http::mount(web, server_);
        port_ = server_.bind_to_any_port("127.0.0.1");
        thread_ = std::thread([this] { server_.listen_after_bind(); });
        while (!server_.is_running()) std::this_thread::yield();
    }
    ~Server() {
        server_.stop();
        thread_.join();
    }

    httplib::Client client() const {
        httplib::Client c("127.0.0.1", port_);
        c.set_keep_alive(true);
        c.set_decompress(false);
        return c;
    }

    FakeClock clock;
    MapCache cache{clock};
    http::Middleware<MapCache> web;
    Handler handler;
    std::atomic<int> calls{0};

  private:
    httplib::Server server_;
    int port_ = 0;
    std::thread thread_;
};

void answers(httplib::Response& response, const std::string& body, const char* control = "max-age=60") {
    response.set_header("Cache-Control", control);
    response.set_content(body, "application/octet-stream");
}

}  // namespace

TEST_CASE("httplib: a page is made once, then served from the store", "[http][httplib]") {
    for (const Way way : {Way::wrap, Way::mount}) {
        CAPTURE(static_cast<int>(way));
        Server server(way);
        const std::string binary("\0\xFF\r\n binary", 11);
        server.handler = [&](const httplib::Request&, httplib::Response& r) {
            answers(r, binary);
            r.headers.emplace("X-Twice", "1");
            r.headers.emplace("X-Twice", "2");
        };
        auto client = server.client();
        for (int i = 0; i < 4; ++i) {
            const auto r = client.Get("/page?x=1");
            REQUIRE(r);
            CHECK(r->status == 200);
            CHECK(r->body == binary);
            CHECK(r->get_header_value("X-Cache") == (i == 0 ? "MISS" : "HIT"));
            CHECK(r->get_header_value("Content-Type") == "application/octet-stream");
            CHECK(r->get_header_value_count("Content-Type") == 1);
            CHECK(r->get_header_value("Content-Length") == "11");
            CHECK(r->get_header_value_count("Content-Length") == 1);
            CHECK(r->get_header_value_count("X-Twice") == 2);
            CHECK(r->get_header_value_count("Cache-Status") == 1);
            CHECK(r->get_header_value("Age") == (i == 0 ? "" : std::to_string(10 * i)));
            server.clock.advance(10s);
        }
        CHECK(server.calls == 1);
        CHECK(client.Get("/page?x=2")->get_header_value("X-Cache") == "MISS");
        CHECK(client.Get("/page?x=%31")->get_header_value("X-Cache") == "HIT");
        server.clock.advance(60s);
        CHECK(client.Get("/page?x=1")->get_header_value("X-Cache") == "MISS");
    }
}

TEST_CASE("httplib: conditions, ranges and HEAD are answered from the store", "[http][httplib]") {
    for (const Way way : {Way::wrap, Way::mount}) {
        CAPTURE(static_cast<int>(way));
        Server server(way);
        server.handler = [](const httplib::Request&, httplib::Response& r) {
            answers(r, "0123456789");
            r.set_header("ETag", "\"1\"");
        };
        auto client = server.client();
        REQUIRE(client.Get("/page"));
        const auto not_modified = client.Get("/page", httplib::Headers{{"If-None-Match", "\"1\""}});
        REQUIRE(not_modified);
        CHECK(not_modified->status == 304);
        CHECK(not_modified->body.empty());
        const auto part = client.Get("/page", httplib::Headers{{"Range", "bytes=2-4"}});
        REQUIRE(part);
        CHECK(part->status == 206);
        CHECK(part->body == "234");
        CHECK(part->get_header_value("X-Cache") == "HIT");
        const auto held =
            client.Get("/page", httplib::Headers{{"Range", "bytes=2-4"}, {"If-Range", "\"1\""}});
        REQUIRE(held);
        CHECK(held->status == 206);
        CHECK(held->body == "234");
        CHECK(held->get_header_value_count("Content-Range") == 1);
        const auto changed =
            client.Get("/page", httplib::Headers{{"Range", "bytes=2-4"}, {"If-Range", "\"2\""}});
        REQUIRE(changed);
        CHECK(changed->status == 200);
        CHECK(changed->body == "0123456789");
        const auto head = client.Head("/page");
        REQUIRE(head);
        CHECK(head->status == 200);
        CHECK(head->get_header_value("Content-Length") == "10");
        CHECK(head->get_header_value("X-Cache") == "HIT");
        CHECK(client.Get("/page")->body == "0123456789");
        CHECK(server.calls == 1);
    }
}

TEST_CASE("httplib: a POST reaches the handler with its body and invalidates", "[http][httplib]") {
    for (const Way way : {Way::wrap, Way::mount}) {
        CAPTURE(static_cast<int>(way));
        Server server(way);
        server.handler = [](const httplib::Request& request, httplib::Response& r) {
            answers(r, request.method + " " + request.body);
        };
        auto client = server.client();
        CHECK(client.Get("/page")->body == "GET ");
        CHECK(client.Get("/page")->get_header_value("X-Cache") == "HIT");
        CHECK(client.Post("/page", "content", "text/plain")->body == "POST content");
        CHECK(client.Get("/page")->get_header_value("X-Cache") == "MISS");
    }
}

TEST_CASE("httplib: a handler may answer a validation with 304", "[http][httplib]") {
    Server server(Way::wrap);
    server.handler = [](const httplib::Request& request, httplib::Response& r) {
        r.set_header("ETag", "\"1\"");
        if (request.get_header_value("If-None-Match") == "\"1\"") {
            r.set_header("Cache-Control", "max-age=60");
            r.status = 304;
            return;
        }
        answers(r, "body");
    };
    auto client = server.client();
    REQUIRE(client.Get("/page"));
    server.clock.advance(60s);
    const auto validated = client.Get("/page");
    REQUIRE(validated);
    CHECK(validated->status == 200);
    CHECK(validated->body == "body");
    CHECK(validated->get_header_value("X-Cache") == "REVALIDATED");
    CHECK(client.Get("/page")->get_header_value("X-Cache") == "HIT");
    CHECK(server.calls == 2);
}

TEST_CASE("httplib: stale responses answer for a handler that fails", "[http][httplib]") {
    for (const Way way : {Way::wrap, Way::mount}) {
        CAPTURE(static_cast<int>(way));
        Server server(way);
        server.handler = [](const httplib::Request&, httplib::Response& r) {
            answers(r, "good", "max-age=10, stale-if-error=100");
        };
        auto client = server.client();
        REQUIRE(client.Get("/page"));
        server.clock.advance(50s);
        server.handler = [](const httplib::Request&, httplib::Response&) {
            throw std::runtime_error("broken");
        };
        const auto stale = client.Get("/page");
        REQUIRE(stale);
        CHECK(stale->status == 200);
        CHECK(stale->body == "good");
        CHECK(stale->get_header_value("X-Cache") == "STALE");
        server.clock.advance(60s);
        const auto broken = client.Get("/page");
        REQUIRE(broken);
        CHECK(broken->status == 500);
    }
}

TEST_CASE("httplib: streamed responses pass by the cache, whole", "[http][httplib]") {
    for (const Way way : {Way::wrap, Way::mount}) {
        CAPTURE(static_cast<int>(way));
        Server server(way);
        server.handler = [](const httplib::Request&, httplib::Response& r) {
            r.set_header("Cache-Control", "max-age=60");
            r.set_chunked_content_provider("text/plain", [](std::size_t, httplib::DataSink& sink) {
                sink.write("streamed", 8);
                sink.done();
                return true;
            });
        };
        auto client = server.client();
        for (int i = 0; i < 2; ++i) {
            const auto r = client.Get("/page");
            REQUIRE(r);
            CHECK(r->body == "streamed");
            CHECK(r->get_header_value("X-Cache") == "MISS");
        }
        CHECK(server.calls == 2);
        CHECK(server.web.counters().reason(http::Reason::streamed) == 2);
    }
}

TEST_CASE("httplib: what the server compresses is not served to who cannot read it, nor compressed twice",
          "[http][httplib]") {
    for (const Way way : {Way::wrap, Way::mount}) {
        CAPTURE(static_cast<int>(way));
        Server server(way);
        const std::string text(2000, 'x');
        server.handler = [&](const httplib::Request&, httplib::Response& r) {
            r.set_header("Cache-Control", "max-age=60");
            r.set_content(text, "text/plain");
        };
        auto client = server.client();
        const httplib::Headers gzip{{"Accept-Encoding", "gzip"}};
        const auto first = client.Get("/page", gzip);
        const auto second = client.Get("/page", gzip);
        REQUIRE(second);
        CHECK(second->get_header_value("X-Cache") == "HIT");
        CHECK(second->get_header_value("Content-Encoding") == first->get_header_value("Content-Encoding"));
        CHECK(second->body == first->body);
        const auto plain = client.Get("/page", httplib::Headers{{"Accept-Encoding", "identity"}});
        REQUIRE(plain);
        CHECK(plain->body == text);
        CHECK_FALSE(plain->has_header("Content-Encoding"));
    }
}

TEST_CASE("httplib: status, unknown paths and private pages are the application's", "[http][httplib]") {
    for (const Way way : {Way::wrap, Way::mount}) {
        CAPTURE(static_cast<int>(way));
        Server server(way);
        server.handler = [](const httplib::Request& request, httplib::Response& r) {
            answers(r, "hello " + request.get_header_value("Cookie"), "private, max-age=60");
            r.status = 299;
        };
        auto client = server.client();
        for (const char* user : {"ann", "bob"}) {
            const auto r = client.Get("/page", httplib::Headers{{"Cookie", user}});
            REQUIRE(r);
            CHECK(r->status == 299);
            CHECK(r->body == std::string("hello ") + user);
        }
        CHECK(client.Get("/nowhere")->status == 404);
    }
}
