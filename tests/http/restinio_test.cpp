// The RESTinio adapter over real loopback HTTP; time is a fake clock's.
#include <smartcache/http/adapters/restinio.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <restinio/http_server_run.hpp>
#include <restinio/settings.hpp>
#include <restinio/traits.hpp>

#include "http/support/adapter_scenarios.hpp"
#include "http/support/reply_scenarios.hpp"
#include "support/catch.hpp"
#include "support/map_tier.hpp"

namespace restinio_test {

namespace rest = ::restinio;

using namespace smartcache;
using namespace std::chrono_literals;
using smartcache_test::AdapterServer;
using smartcache_test::Browser;
using smartcache_test::Made;
using smartcache_test::page;
using smartcache_test::RawMessage;
using smartcache_test::RawSocket;
using smartcache_test::Site;

namespace cached = smartcache::http::restinio;

cached::Streamed streamed(Made made) {
    if (!made.next) return {std::move(made.response), {}};
    return {std::move(made.response), [next = std::move(made.next)] { return http::Body(next()); }};
}

struct Shape {
    std::size_t threads = 1;
    std::size_t pipelined = 1;
};

/// A server whose requests go to `handler`. The io_context is for the test to keep longer than its pools.
class Running {
  public:
    Running(rest::asio_ns::io_context& io, Shape shape, rest::default_request_handler_t handler)
        : server_(rest::run_async(
              rest::external_io_context(io),
              rest::server_settings_t<>{}
                  .address("127.0.0.1")
                  .port(0)
                  .acceptor_post_bind_hook([this](rest::asio_ns::ip::tcp::acceptor& acceptor) {
                      port_ = acceptor.local_endpoint().port();
                  })
                  .max_pipelined_requests(shape.pipelined)
                  .read_next_http_message_timelimit(10min)
                  .handle_request_timeout(10min)
                  .write_http_response_timelimit(10min)
                  .request_handler(std::move(handler)),
              shape.threads)) {}
    [[nodiscard]] int port() const { return port_; }

  private:
    std::atomic<int> port_{0};
    rest::running_server_handle_t<rest::default_traits_t> server_;
};

enum class Origin { blocking, replying };

class Server final : public AdapterServer {
  public:
    explicit Server(Origin origin = Origin::blocking, http::MiddlewareOptions options = Site::plain(),
                    Shape shape = {})
        : AdapterServer(std::move(options)), server_(io_, shape, handler(origin)) {}
    int port() const override { return server_.port(); }

  private:
    rest::default_request_handler_t handler(Origin origin) {
        if (origin == Origin::blocking)
            return cached::handler(web, pool_, [this](const http::Request& r) { return streamed(make(r)); });
        return cached::handler(web, pool_, [this](const http::Request& r, cached::Reply reply) {
            reply_later(r, std::move(reply));
        });
    }
    void reply_later(const http::Request& request, cached::Reply reply) {
        const bool accepted = applications_.submit([this, request, reply] {
            try {
                reply(streamed(make(request)));
            } catch (...) {
                reply.fail(std::current_exception());
            }
        });
        if (!accepted) throw std::runtime_error("too many requests");
    }

    rest::asio_ns::io_context io_;
    ThreadPool pool_{1};
    ThreadPool applications_{2};
    Running server_;
};

/// A connection that keeps what it is given to write, and writes it when the test says so.
class Written final : public rest::impl::connection_base_t {
  public:
    Written() : connection_base_t(1) {}

    void write_response_parts(rest::request_id_t, rest::response_output_flags_t flags,
                              rest::write_group_t group) override {
        const std::lock_guard lock(mutex_);
        for (const rest::writable_item_t& item : group.items())
            text_.append(static_cast<const char*>(item.buf().data()), item.buf().size());
        completed_ = flags.m_response_parts == rest::response_parts_attr_t::final_parts;
        closed_ = flags.m_response_connection == rest::response_connection_attr_t::connection_close;
        pending_.push_back(std::move(group));
    }
    void check_timeout(std::shared_ptr<rest::tcp_connection_ctx_base_t>&) override {}

    /// Writes all, and what that leads to.
    void write(const rest::asio_ns::error_code& error = {}) {
        for (;;) {
            std::vector<rest::write_group_t> groups;
            {
                const std::lock_guard lock(mutex_);
                groups.swap(pending_);
            }
            if (groups.empty()) return;
            for (rest::write_group_t& group : groups) group.invoke_after_write_notificator_if_exists(error);
        }
    }
    [[nodiscard]] const std::vector<rest::write_group_t>& pending() const { return pending_; }
    [[nodiscard]] const std::string& text() const { return text_; }
    [[nodiscard]] bool completed() const { return completed_; }
    [[nodiscard]] bool closed() const { return closed_; }

  private:
    std::mutex mutex_;
    std::vector<rest::write_group_t> pending_;
    std::string text_;
    bool completed_ = false;
    bool closed_ = false;
};

rest::request_handle_t request_to(const std::shared_ptr<Written>& connection, std::string target = "/a",
                                  rest::http_method_id_t method = rest::http_method_get()) {
    rest::http_request_header_t header(method, std::move(target));
    header.should_keep_alive(true);
    rest::no_extra_data_factory_t factory;
    return std::make_shared<rest::request_t>(1, std::move(header), std::string(), connection,
                                             rest::endpoint_t(), factory);
}

TEST_CASE("restinio: an application that blocks in the pool does what every adapter must",
          "[http][restinio]") {
    smartcache_test::run_adapter_scenarios({[](http::MiddlewareOptions options) {
        return std::make_unique<Server>(Origin::blocking, std::move(options));
    }});
}

TEST_CASE("restinio: so does one that replies, behind three threads and pipelines", "[http][restinio]") {
    smartcache_test::run_adapter_scenarios({[](http::MiddlewareOptions options) {
        return std::make_unique<Server>(Origin::replying, std::move(options), Shape{3, 4});
    }});
}

TEST_CASE("restinio: hits in memory are answered while the disk, the pool and the application stand still",
          "[http][restinio]") {
    auto below = std::make_unique<smartcache_test::MapTier>(TierId::disk);
    smartcache_test::MapTier& disk = *below;
    std::vector<std::unique_ptr<Tier>> tiers;
    tiers.push_back(std::move(below));
    SmartCache<BytesCodec> cache{{}, std::move(tiers)};
    http::Middleware web{cache, Site::plain()};
    std::promise<void> gate;
    const std::shared_future<void> opened(gate.get_future());
    std::atomic<bool> stuck{false};
    std::atomic<int> in_loop{0};
    std::atomic<std::thread::id> loop{};
    rest::asio_ns::io_context io;
    ThreadPool pool(1);
    Running server(io, {},
                   [&, handler = cached::handler(web, pool, [](const http::Request&, cached::Reply reply) {
                           reply(page("made"));
                       })](const rest::request_handle_t& request) {
                       loop = std::this_thread::get_id();
                       return handler(request);
                   });
    Browser one(server.port());
    CHECK(one.get("/hot").field("X-Cache") == "MISS");

    disk.before_look = [&] {
        if (std::this_thread::get_id() == loop.load()) ++in_loop;
        stuck = true;
        opened.wait_for(smartcache_test::very_long);
    };
    Browser two(server.port());
    two.send("GET", "/cold");
    REQUIRE(smartcache_test::eventually([&] { return stuck.load(); }));
    for (int i = 0; i < 3; ++i) {
        const RawMessage hit = one.get("/hot");
        CHECK(hit.field("X-Cache") == "HIT");
        CHECK(hit.body == "made");
    }
    gate.set_value();
    CHECK(two.read().body == "made");
    CHECK(in_loop == 0);
}

TEST_CASE("restinio: the pieces of a stream are not made by the event loop", "[http][restinio]") {
    Site site;
    std::atomic<std::thread::id> loop{};
    std::atomic<int> in_loop{0};
    rest::asio_ns::io_context io;
    ThreadPool pool(1);
    Running server(io, {}, [&, handler = cached::handler(site.web, pool, [&](const http::Request&) {
                                   return cached::Streamed{page("first "), [&, left = 2]() mutable {
                                                               if (std::this_thread::get_id() == loop.load())
                                                                   ++in_loop;
                                                               return http::Body(left-- > 0 ? "next " : "");
                                                           }};
                               })](const rest::request_handle_t& request) {
        loop = std::this_thread::get_id();
        return handler(request);
    });
    CHECK(Browser(server.port()).get("/a").body == "first next next ");
    CHECK(in_loop == 0);
}

// RESTinio reads the next request when a handler answers at once, and began anew when that answer was written.
TEST_CASE("restinio: a pipelined request of which half has come when a hit is answered is answered as well",
          "[http][restinio]") {
    for (const std::size_t pipelined : {std::size_t{1}, std::size_t{3}}) {
        CAPTURE(pipelined);
        Server server(Origin::blocking, Site::plain(), {1, pipelined});
        server.serve([](const http::Request& request) { return Made{page(request.path), {}}; });
        Browser browser(server);
        CHECK(browser.get("/a").body == "/a");
        CHECK(browser.get("/b").body == "/b");
        browser.socket().send("GET /a HTTP/1.1\r\nHost: a.example\r\n\r\nGET /b HTTP/1.1\r\nHost: a.ex");
        CHECK(browser.read().body == "/a");
        browser.socket().send("ample\r\n\r\nGET /a HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
        CHECK(browser.read().body == "/b");
        const RawMessage last = browser.read();
        CHECK(last.body == "/a");
        CHECK(last.field("Connection") == "close");
        CHECK(browser.socket().read_all().empty());
        CHECK(server.calls == 2);
    }
}

TEST_CASE("restinio: a request to upgrade is answered once, and the connection closed", "[http][restinio]") {
    for (const std::size_t pipelined : {std::size_t{1}, std::size_t{3}}) {
        CAPTURE(pipelined);
        Server server(Origin::blocking, Site::plain(), {1, pipelined});
        server.serve(page("page"));
        for (const char* fields : {"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
                                   "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"}) {
            Browser browser(server);
            const RawMessage r = browser.get("/page", fields);
            CHECK(r.status() == 200);
            CHECK(r.body == "page");
            CHECK(r.field("Connection") == "close");
            CHECK(browser.socket().read_all().empty());
        }
        CHECK(server.calls == 1);
    }
}

TEST_CASE(
    "restinio: methods are passed on, of those that RESTinio does not know none reaches the application",
    "[http][restinio]") {
    Server server;
    server.serve([](const http::Request& request) { return Made{page(request.method, "no-store"), {}}; });
    for (const char* method : {"GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "M-SEARCH"})
        CHECK(Browser(server).ask(method, "/page").body == method);
    const int calls = server.calls;
    const RawMessage source = Browser(server).ask("SOURCE", "/page");  // the parser's, not RESTinio's
    CHECK(source.status() == 501);
    Browser unknown(server);
    unknown.send("BREW", "/page");
    CHECK(unknown.socket().read_all().empty());
    CHECK(server.calls == calls);
}

TEST_CASE("restinio: content in chunks comes whole, what is coded otherwise does not come",
          "[http][restinio]") {
    Server server;
    server.serve([](const http::Request& request) { return Made{page(request.body.str(), "no-store"), {}}; });
    const auto send = [](Browser& browser, const std::string& fields, const std::string& content) {
        browser.socket().send("POST /page HTTP/1.1\r\nHost: a.example\r\n" + fields + "\r\n" + content);
    };
    Browser browser(server);
    const auto ask = [&](const std::string& content) {
        send(browser, "Transfer-Encoding: chunked\r\n", content);
        return browser.read().body;
    };
    CHECK(ask("4\r\nin c\r\nA ; x=\"y\"\r\nhunks \xFF\r\n \r\n0\r\n\r\n") == "in chunks \xFF\r\n ");
    CHECK(ask("0\r\nX-One: 1\r\nX-Two: 2\r\n\r\n").empty());
    const std::string large(100'000, 'x');
    CHECK(ask("186A0\r\n" + large + "\r\n0\r\n\r\n") == large);
    CHECK(server.calls == 3);
    send(browser, "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n");
    CHECK(browser.read().status() == 501);
    for (const char* fields :
         {"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "Transfer-Encoding: gzip\r\n"}) {
        Browser refused(server);
        send(refused, fields, "0\r\n\r\n");
        CHECK_FALSE(refused.socket().read_all().starts_with("HTTP/1.1 2"));
    }
    CHECK(server.calls == 3);
}

TEST_CASE("restinio: HTTP/1.0 gets a stream until the end, and keep-alive when it asks for it",
          "[http][restinio]") {
    Server server;
    server.serve([](const http::Request&) {
        return Made{page({}), [left = 2]() mutable { return std::string(left-- > 0 ? "ab" : ""); }};
    });
    {
        Browser browser(server);
        browser.socket().send("GET /stream HTTP/1.0\r\nHost: a.example\r\n\r\n");
        const std::string all = browser.socket().read_all();
        CHECK(all.ends_with("\r\n\r\nabab"));
        CHECK(all.find("Transfer-Encoding") == std::string::npos);
    }
    server.serve(page("page"));
    Browser browser(server);
    for (int i = 0; i < 2; ++i) {
        browser.socket().send("GET /page HTTP/1.0\r\nHost: a.example\r\nConnection: Keep-Alive\r\n\r\n");
        const RawMessage r = browser.read();
        CHECK(r.field("Connection") == "keep-alive");
        CHECK(r.body == "page");
    }
}

TEST_CASE("restinio: the host of a target in absolute form counts", "[http][restinio]") {
    Server server;
    server.serve([](const http::Request& request) {
        return Made{
            page(request.host + ' ' + request.path + ' ' + std::string(request.headers.value("Host"))), {}};
    });
    CHECK(Browser(server).get("http://b.example/x").body == "b.example /x b.example");
}

TEST_CASE("restinio: a hit is written from the bytes in the cache, head and body at once",
          "[http][restinio]") {
    Site site;
    InlineExecutor pool;
    const auto app = [](const http::Request&) { return page("0123456789"); };
    const auto ask = [&] {
        auto connection = std::make_shared<Written>();
        CHECK(cached::handle(site.web, request_to(connection), pool, app) == rest::request_accepted());
        return connection;
    };
    ask()->write();
    const auto hit = ask();
    REQUIRE(hit->pending().size() == 1);
    const auto pinned = site.cache.get<std::string_view>(
        site.web.keys().primary(cached::to_request(request_to(std::make_shared<Written>()))));
    REQUIRE(pinned);
    const rest::asio_ns::const_buffer body = hit->pending()[0].items().back().buf();
    const char* const bytes = static_cast<const char*>(body.data());
    CHECK(std::string_view(bytes, body.size()) == "0123456789");
    CHECK(bytes >= (*pinned).data());
    CHECK(bytes + body.size() <= (*pinned).data() + (*pinned).size());
    CHECK(hit->text().starts_with("HTTP/1.1 200 OK\r\n"));
    CHECK_FALSE(hit->completed());
    hit->write();
    CHECK(hit->completed());
    CHECK_FALSE(hit->closed());
}

TEST_CASE("restinio: a request is read from where RESTinio has it, and answered once", "[http][restinio]") {
    Site site;
    InlineExecutor pool;
    rest::http_request_header_t header(rest::http_method_post(), "/a%20b?x=1&y");
    header.add_field("Host", "a.example");
    header.add_field("X-Twice", "1");
    header.add_field("X-Other", "o");
    header.add_field("X-Twice", "2");
    rest::no_extra_data_factory_t factory;
    const auto from = std::make_shared<rest::request_t>(
        1, std::move(header), "content of a form", std::make_shared<Written>(), rest::endpoint_t(), factory);
    const http::Request request = cached::to_request(from, "https");
    CHECK(request.method == "POST");
    CHECK(request.scheme == "https");
    CHECK(request.host == "a.example");
    CHECK(request.path == "/a%20b");
    CHECK(request.query == "x=1&y");
    CHECK(request.headers.wire() == "Host: a.example\r\nX-Twice: 1\r\nX-Other: o\r\nX-Twice: 2\r\n");
    CHECK(request.body.view().data() == from->body().data());
    const auto app = [](const http::Request&) { return page("made"); };
    (void)cached::handle(site.web, from, pool, app);
    CHECK_THROWS_AS(cached::handle(site.web, from, pool, app), rest::exception_t);
}

TEST_CASE("restinio: a stream that gives more or less than its head says breaks the connection off",
          "[http][restinio]") {
    Site site;
    InlineExecutor pool;
    for (const std::string promised : {"3", "4", "5"}) {
        CAPTURE(promised);
        const auto connection = std::make_shared<Written>();
        (void)cached::handle(site.web, request_to(connection), pool, [&](const http::Request&) {
            return cached::Streamed{{200, {{"Content-Length", promised}}, {}},
                                    [left = 2]() mutable { return http::Body(left-- > 0 ? "ab" : ""); }};
        });
        connection->write();
        CHECK(connection->completed());
        CHECK(connection->closed() == (promised != "4"));
        CHECK(connection->text().ends_with(promised == "3" ? "\r\n\r\nab" : "\r\n\r\nabab"));
    }
    // Of HEAD the stream is not touched.
    const auto connection = std::make_shared<Written>();
    (void)cached::handle(
        site.web, request_to(connection, "/a", rest::http_method_head()), pool, [](const http::Request&) {
            return cached::Streamed{{200, {{"Content-Length", "4"}}, {}}, []() -> http::Body { throw 1; }};
        });
    connection->write();
    CHECK(connection->text().ends_with("\r\n\r\n"));
    CHECK(connection->text().find("\r\nContent-Length: 4\r\n") != std::string::npos);
    CHECK_FALSE(connection->closed());
}

TEST_CASE("restinio: what cannot be written lets the stream go", "[http][restinio]") {
    Site site;
    InlineExecutor pool;
    std::weak_ptr<int> streaming;
    const auto ask = [&] {
        const auto connection = std::make_shared<Written>();
        (void)cached::handle(site.web, request_to(connection), pool, [&](const http::Request&) {
            auto alive = std::make_shared<int>();
            streaming = alive;
            return cached::Streamed{page({}), [alive] { return http::Body("more"); }};
        });
        CHECK_FALSE(streaming.expired());
        return connection;
    };
    ask()->write(rest::asio_ns::error_code(1, rest::restinio_err_category()));
    CHECK(streaming.expired());
    (void)ask();  // the loop ended before it was written
    CHECK(streaming.expired());
}

TEST_CASE("restinio: a request is answered exactly once, whatever becomes of the reply", "[http][restinio]") {
    Site site;
    const auto ask = [&](Executor& pool, auto app) {
        const auto connection = std::make_shared<Written>();
        (void)cached::handle(site.web, request_to(connection), pool, app);
        connection->write();
        CHECK(connection->completed());
        CHECK(connection->text().find("HTTP/1.1", 1) == std::string::npos);
        const std::string status = connection->text().substr(9, 4);
        return (status == "200 " ? "" : status) +
               connection->text().substr(connection->text().find("\r\n\r\n") + 4);
    };
    const std::string failed = "500 the application failed\n";
    smartcache_test::check_replies<cached::Reply>(site, ask, failed, failed);

    // A stale one is sent first, and refreshed afterwards.
    using http::Request;
    InlineExecutor here;
    site.clock.advance(1h);
    CHECK(ask(here, [](const Request&) { return page("old", "max-age=10, stale-while-revalidate=100"); }) ==
          "old");
    site.clock.advance(50s);
    const auto refresh = [](const Request&) { return page("new"); };
    CHECK(ask(here, refresh) == "old");
    CHECK(ask(here, refresh) == "new");
}

}  // namespace restinio_test
