// The Boost.Beast adapter over real loopback HTTP: blocking, and in an event loop of one thread.
#include <smartcache/http/adapters/beast.hpp>

#include <chrono>
#include <exception>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include "http/support/adapter_scenarios.hpp"
#include "http/support/reply_scenarios.hpp"
#include "support/catch.hpp"
#include "support/map_tier.hpp"

using namespace smartcache;
using namespace std::chrono_literals;
using boost::asio::ip::tcp;
using smartcache_test::AdapterServer;
using smartcache_test::Browser;
using smartcache_test::Made;
using smartcache_test::MapTier;
using smartcache_test::page;
using smartcache_test::RawMessage;
using smartcache_test::Site;

namespace bhttp = boost::beast::http;
namespace cached = smartcache::http::beast;

namespace {

const tcp::endpoint any_port(boost::asio::ip::address_v4::loopback(), 0);

cached::Streamed streamed(Made made) {
    if (!made.next) return {std::move(made.response), {}};
    return {std::move(made.response), [next = std::move(made.next)] { return http::Body(next()); }};
}

cached::Message server_error(const cached::Client& client) {
    return cached::to_message({500, {}, {}}, client);
}

/// A thread for each connection.
class BlockingServer final : public AdapterServer {
  public:
    explicit BlockingServer(http::MiddlewareOptions options) : AdapterServer(std::move(options)) {
        acceptor_thread_ = std::thread([this] { accept_all(); });
    }
    ~BlockingServer() override {
        (void)::shutdown(acceptor_.native_handle(), SHUT_RDWR);
        acceptor_thread_.join();
        {
            const std::lock_guard lock(mutex_);
            for (const int fd : open_) (void)::shutdown(fd, SHUT_RDWR);
        }
        for (std::thread& t : threads_) t.join();
    }
    int port() const override { return acceptor_.local_endpoint().port(); }

  private:
    void accept_all() {
        for (;;) {
            boost::beast::error_code ec;
            tcp::socket socket = acceptor_.accept(ec);
            if (ec) return;
            const std::lock_guard lock(mutex_);
            open_.insert(socket.native_handle());
            threads_.emplace_back([this, s = std::move(socket)]() mutable { serve_all(s); });
        }
    }
    void serve_all(tcp::socket& socket) {
        boost::beast::flat_buffer buffer;
        while (serve_one(socket, buffer)) {
        }
        const std::lock_guard lock(mutex_);
        open_.erase(socket.native_handle());
        socket.close();
    }
    bool serve_one(tcp::socket& socket, boost::beast::flat_buffer& buffer) {
        boost::beast::error_code ec;
        bhttp::request<cached::PinnedBody> request;
        bhttp::read(socket, buffer, request, ec);
        if (ec) return false;
        const cached::Client client = cached::Client::of(request);
        cached::Message response;
        try {
            response = cached::handle(web, std::move(request),
                                      [this](const http::Request& r) { return streamed(make(r)); });
        } catch (const std::exception&) {
            response = server_error(client);
        }
        bhttp::write(socket, response, ec);
        return !ec && !response.need_eof();
    }

    boost::asio::io_context io_;
    tcp::acceptor acceptor_{io_, any_port};
    std::mutex mutex_;
    std::set<int> open_;
    std::vector<std::thread> threads_;
    std::thread acceptor_thread_;
};

/// One thread for all connections, over any cache. `answer` is called with each request and a completion.
class Loop {
  public:
    using Request = bhttp::request<bhttp::string_body>;
    using Completion = std::function<void(std::exception_ptr, cached::Message)>;
    using Answer = std::function<void(Request, Completion)>;

    explicit Loop(Answer answer) : answer_(std::move(answer)) {
        accept();
        thread_ = std::thread([this] { io_.run(); });
    }
    /// Ends when the last call has completed: each must.
    ~Loop() {
        boost::asio::post(io_, [this] {
            acceptor_.close();
            for (const auto& weak : sessions_)
                if (const auto session = weak.lock()) session->close();
        });
        thread_.join();
    }
    int port() const { return acceptor_.local_endpoint().port(); }
    boost::asio::io_context::executor_type executor() { return io_.get_executor(); }
    std::thread::id thread() const { return thread_.get_id(); }

  private:
    class Session : public std::enable_shared_from_this<Session> {
      public:
        Session(tcp::socket socket, Loop& loop) : socket_(std::move(socket)), loop_(&loop) {}
        void read() {
            request_ = {};
            bhttp::async_read(socket_, buffer_, request_,
                              [self = shared_from_this()](boost::beast::error_code ec, std::size_t) {
                                  if (!ec) self->ask();
                              });
        }
        void close() {
            boost::beast::error_code ec;
            socket_.close(ec);
        }

      private:
        void ask() {
            const cached::Client client = cached::Client::of(request_);
            loop_->answer_(std::move(request_), [self = shared_from_this(), client](
                                                    std::exception_ptr failure, cached::Message message) {
                if (failure) message = server_error(client);
                self->write(std::move(message));
            });
        }
        void write(cached::Message message) {
            response_.emplace(std::move(message));
            bhttp::async_write(socket_, *response_,
                               [self = shared_from_this()](boost::beast::error_code ec, std::size_t) {
                                   if (ec || self->response_->need_eof()) return self->close();
                                   self->response_.reset();
                                   self->read();
                               });
        }

        tcp::socket socket_;
        Loop* loop_;
        boost::beast::flat_buffer buffer_;
        Request request_;
        std::optional<cached::Message> response_;
    };

    void accept() {
        acceptor_.async_accept([this](boost::beast::error_code ec, tcp::socket socket) {
            if (ec) return;
            const auto session = std::make_shared<Session>(std::move(socket), *this);
            sessions_.push_back(session);
            session->read();
            accept();
        });
    }

    Answer answer_;
    boost::asio::io_context io_{1};
    tcp::acceptor acceptor_{io_, any_port};
    std::list<std::weak_ptr<Session>> sessions_;
    std::thread thread_;
};

enum class Origin { blocking, replying };

/// An event loop whose application runs in the cache's pool, or in threads of its own.
class AsyncServer final : public AdapterServer {
  public:
    AsyncServer(Origin origin, http::MiddlewareOptions options) : AdapterServer(std::move(options)) {
        loop_.emplace([this, origin](Loop::Request request, Loop::Completion done) {
            if (origin == Origin::blocking)
                cached::async_handle(
                    web, std::move(request), pool_, loop_->executor(),
                    [this](const http::Request& r) { return streamed(make(r)); }, std::move(done));
            else
                cached::async_handle(
                    web, std::move(request), pool_, loop_->executor(),
                    [this](const http::Request& r, cached::Reply reply) { reply_later(r, std::move(reply)); },
                    std::move(done));
        });
    }
    ~AsyncServer() override { loop_.reset(); }
    int port() const override { return loop_->port(); }

  private:
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

    ThreadPool pool_{1};
    ThreadPool applications_{2};
    std::optional<Loop> loop_;
};

/// A gate that a test opens for those who wait at it.
class Gate {
  public:
    void open() { promise_.set_value(); }
    void wait() { opened_.wait_for(smartcache_test::very_long); }

  private:
    std::promise<void> promise_;
    std::shared_future<void> opened_{promise_.get_future()};
};

std::string text_of(const cached::Message& message) {
    std::ostringstream out;
    out << bhttp::response<cached::PinnedBody, cached::Fields>(message);
    return out.str();
}

}  // namespace

TEST_CASE("beast: blocking sessions do what every adapter must", "[http][beast]") {
    smartcache_test::run_adapter_scenarios({[](http::MiddlewareOptions options) {
        return std::make_unique<BlockingServer>(std::move(options));
    }});
}

TEST_CASE("beast: an event loop of one thread does what every adapter must", "[http][beast]") {
    smartcache_test::run_adapter_scenarios({[](http::MiddlewareOptions options) {
        return std::make_unique<AsyncServer>(Origin::replying, std::move(options));
    }});
}

TEST_CASE("beast: so does one whose application blocks in the pool", "[http][beast]") {
    smartcache_test::run_adapter_scenarios({[](http::MiddlewareOptions options) {
        return std::make_unique<AsyncServer>(Origin::blocking, std::move(options));
    }});
}

TEST_CASE("beast: requests keep target, order, repeats and body on the way in and out", "[http][beast]") {
    bhttp::request<bhttp::string_body> from{bhttp::verb::post, "/a%20b?x=1&y", 11, "content"};
    from.set(bhttp::field::host, "a.example:8080");
    from.insert("X-Twice", "1");
    from.insert("X-Other", "o");
    from.insert("X-Twice", "2");
    const http::Request request = cached::to_request(from, "https");
    CHECK(request.method == "POST");
    CHECK(request.scheme == "https");
    CHECK(request.host == "a.example:8080");
    CHECK(request.path == "/a%20b");
    CHECK(request.query == "x=1&y");
    CHECK(request.body == "content");
    CHECK(request.headers.combined("x-twice") == "1, 2");
    CHECK(from.body() == "content");

    const auto back = cached::to_beast<bhttp::string_body>(request);
    CHECK(back.method() == bhttp::verb::post);
    CHECK(back.target() == "/a%20b?x=1&y");
    CHECK(back.body() == "content");
    CHECK(back.count("X-Twice") == 2);
    CHECK(cached::to_request(back).headers.combined("X-Twice") == "1, 2");

    from.target("http://B.example/c?d");
    const http::Request absolute = cached::to_request(std::move(from));
    CHECK(absolute.host == "B.example");
    CHECK(absolute.headers.get("Host") == "B.example");
    CHECK(absolute.headers.count("Host") == 1);
    CHECK(absolute.path == "/c");
    CHECK(absolute.query == "d");

    bhttp::request<bhttp::empty_body> options{bhttp::verb::options, "*", 11};
    CHECK(cached::to_request(options).path == "*");
    bhttp::request<bhttp::empty_body> unknown;
    unknown.method_string("BREW");
    unknown.target("/pot");
    CHECK(cached::to_request(unknown).method == "BREW");
    CHECK(cached::to_beast(cached::to_request(unknown)).method_string() == "BREW");
}

TEST_CASE("beast: a message says exactly what its response says", "[http][beast]") {
    const http::Response response{200, {{"B", "1"}, {"A", "2"}, {"B", "3"}}, "body"};
    CHECK(text_of(cached::to_message(response, {})) ==
          "HTTP/1.1 200 OK\r\nB: 1\r\nA: 2\r\nB: 3\r\nContent-Length: 4\r\n\r\nbody");
    CHECK(
        text_of(cached::to_message(response, {.version = 10, .keep_alive = true})) ==
        "HTTP/1.0 200 OK\r\nB: 1\r\nA: 2\r\nB: 3\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\nbody");
    CHECK(text_of(cached::to_message(response, {.keep_alive = false, .head = true})) ==
          "HTTP/1.1 200 OK\r\nB: 1\r\nA: 2\r\nB: 3\r\nContent-Length: 4\r\nConnection: close\r\n\r\n");
    CHECK(text_of(cached::to_message({204, {{"Content-Length", "0"}}, "no"}, {})) ==
          "HTTP/1.1 204 No Content\r\n\r\n");
    CHECK(text_of(cached::to_message({304, {{"Content-Length", "9"}}, "no"}, {})) ==
          "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n");
    CHECK(text_of(cached::to_message({299, {{"Content-Length", "7"}}, "four"}, {})) ==
          "HTTP/1.1 299 \r\nContent-Length: 4\r\n\r\nfour");

    const http::Response back = cached::to_response(cached::to_message(response, {}));
    CHECK(back.status == 200);
    CHECK(back.headers.wire() == "B: 1\r\nA: 2\r\nB: 3\r\nContent-Length: 4\r\n");
    CHECK(back.body == "body");
    bhttp::response<bhttp::string_body> plain{bhttp::status::not_found, 11, "gone"};
    plain.set("X", "1");
    CHECK(cached::to_response(plain).status == 404);
    CHECK(cached::to_response(std::move(plain)).body == "gone");

    bhttp::request<cached::PinnedBody, cached::Fields> request;
    request.method(bhttp::verb::get);
    request.target("/a");
    request.headers().add("Host", "b");
    std::ostringstream out;
    out << request;
    CHECK(out.str() == "GET /a HTTP/1.1\r\nHost: b\r\n\r\n");
}

TEST_CASE("beast: a stream is sent by its length, in chunks, or until the end", "[http][beast]") {
    const auto pieces = [] { return [left = 2]() mutable { return http::Body(left-- > 0 ? "ab" : ""); }; };
    const http::Response known{200, {{"Content-Length", "4"}}, {}};
    CHECK(text_of(cached::to_message(known, {}, pieces())) ==
          "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabab");
    const http::Response unknown{200, {}, "first "};
    CHECK(text_of(cached::to_message(unknown, {}, pieces())) ==
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst "
          "\r\n2\r\nab\r\n2\r\nab\r\n0\r\n\r\n");
    const cached::Message old = cached::to_message(unknown, {.version = 10, .keep_alive = true}, pieces());
    CHECK(text_of(old) == "HTTP/1.0 200 OK\r\n\r\nfirst abab");
    CHECK(old.need_eof());
    // Of HEAD the stream is not touched.
    CHECK(text_of(cached::to_message(known, {.head = true}, []() -> http::Body { throw 1; })) ==
          "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    // Less or more than was promised must not pass for the whole.
    for (const char* promised : {"3", "5"}) {
        auto message = cached::to_message({200, {{"Content-Length", promised}}, {}}, {}, pieces());
        bhttp::serializer<false, cached::PinnedBody, cached::Fields> serializer(message);
        boost::beast::error_code ec;
        while (!ec && !serializer.is_done())
            serializer.next(ec, [&](boost::beast::error_code&, const auto& buffers) {
                serializer.consume(boost::beast::buffer_bytes(buffers));
            });
        CHECK(ec == boost::asio::error::connection_aborted);
    }
}

TEST_CASE("beast: a stream may begin in its head, and is let go where something else is served",
          "[http][beast]") {
    Site site;
    bhttp::request<bhttp::empty_body> request{bhttp::verb::get, "/a", 11};
    const auto stream = [&](int status) {
        return cached::Streamed{{status, {}, "first "},
                                [left = 1]() mutable { return http::Body(left-- > 0 ? "then" : ""); }};
    };
    const std::string sent =
        text_of(cached::handle(site.web, request, [&](const http::Request&) { return stream(200); }));
    CHECK(sent.ends_with("\r\n\r\n6\r\nfirst \r\n4\r\nthen\r\n0\r\n\r\n"));
    (void)cached::handle(site.web, request,
                         [](const http::Request&) { return page("good", "max-age=10, stale-if-error=100"); });
    site.clock.advance(50s);
    const std::string stale =
        text_of(cached::handle(site.web, request, [&](const http::Request&) { return stream(503); }));
    CHECK(stale.ends_with("\r\n\r\ngood"));
    CHECK(stale.find("Transfer-Encoding") == std::string::npos);
}

TEST_CASE("beast: a hit is sent from the bytes in the cache, head and body in one write", "[http][beast]") {
    Site site;
    bhttp::request<bhttp::empty_body> request{bhttp::verb::get, "/a", 11};
    const auto app = [](const http::Request&) { return page("0123456789"); };
    (void)cached::handle(site.web, request, app);
    cached::Message hit = cached::handle(site.web, request, app);
    const std::string_view body = hit.body().bytes.view();
    const auto pinned =
        site.cache.get<std::string_view>(site.web.keys().primary(cached::to_request(request)));
    REQUIRE(pinned);
    CHECK(body.data() >= (*pinned).data());
    CHECK(body.data() + body.size() <= (*pinned).data() + (*pinned).size());
    CHECK(hit.headers().get("Content-Length") == "10");
    // What Beast is given to write at once.
    bhttp::serializer<false, cached::PinnedBody, cached::Fields> serializer(hit);
    boost::beast::error_code ec;
    int writes = 0;
    bool same_bytes = false;
    while (!ec && !serializer.is_done())
        serializer.next(ec, [&](boost::beast::error_code&, const auto& buffers) {
            ++writes;
            for (const boost::asio::const_buffer piece : boost::beast::buffers_range_ref(buffers))
                same_bytes = same_bytes || piece.data() == body.data();
            serializer.consume(boost::beast::buffer_bytes(buffers));
        });
    CHECK(writes == 1);
    CHECK(same_bytes);
}

TEST_CASE("beast: ranges that cannot be are refused, responses without content say no length",
          "[http][beast]") {
    BlockingServer server(Site::plain());
    server.serve(page("0123456789"));
    Browser browser(server);
    CHECK(browser.get("/page").status() == 200);
    CHECK(browser.get("/page", "Range: bytes=20-\r\n").status() == 416);
    server.serve(http::Response{204, {}, {}});
    CHECK(browser.get("/other").field("Content-Length").empty());
    CHECK(browser.get("/page").body == "0123456789");
}

TEST_CASE("beast: hits in memory are answered while the disk, the pool and the application stand still",
          "[http][beast]") {
    auto below = std::make_unique<MapTier>(TierId::disk);
    MapTier& disk = *below;
    std::vector<std::unique_ptr<Tier>> tiers;
    tiers.push_back(std::move(below));
    SmartCache<BytesCodec> cache{{}, std::move(tiers)};
    http::Middleware web{cache, Site::plain()};
    Gate gate;
    std::atomic<bool> stuck{false};
    std::atomic<int> in_loop{0};
    std::thread::id loop_thread;
    ThreadPool pool(1);
    std::optional<Loop> loop;
    loop.emplace([&](Loop::Request request, Loop::Completion done) {
        cached::async_handle(
            web, std::move(request), pool, loop->executor(),
            [](const http::Request&, cached::Reply reply) { reply(page("made")); }, std::move(done));
    });
    loop_thread = loop->thread();
    const auto connect = [&] { return smartcache_test::RawSocket::connect(loop->port()); };
    const auto ask = [](smartcache_test::RawSocket& socket, const char* path) {
        socket.send(std::string("GET ") + path + " HTTP/1.1\r\nHost: a.example\r\n\r\n");
    };
    auto one = connect();
    ask(one, "/hot");
    CHECK(smartcache_test::read_message(one).field("X-Cache") == "MISS");

    disk.before_look = [&] {
        if (std::this_thread::get_id() == loop_thread) ++in_loop;
        stuck = true;
        gate.wait();
    };
    auto two = connect();
    ask(two, "/cold");
    REQUIRE(smartcache_test::eventually([&] { return stuck.load(); }));
    for (int i = 0; i < 3; ++i) {
        ask(one, "/hot");
        const RawMessage hit = smartcache_test::read_message(one);
        CHECK(hit.field("X-Cache") == "HIT");
        CHECK(hit.body == "made");
    }
    gate.open();
    CHECK(smartcache_test::read_message(two).body == "made");
    CHECK(in_loop == 0);
    loop.reset();
}

TEST_CASE("beast: async_handle completes exactly once, whatever becomes of the reply", "[http][beast]") {
    Site site;
    bhttp::request<bhttp::string_body> request{bhttp::verb::get, "/a", 11};
    const auto ask = [&](Executor& pool, auto app) {
        boost::asio::io_context io;
        int completions = 0;
        std::string result;
        cached::async_handle(site.web, request, pool, io.get_executor(), app,
                             [&](std::exception_ptr failure, cached::Message message) {
                                 ++completions;
                                 result = message.body().bytes.str();
                                 try {
                                     if (failure) std::rethrow_exception(failure);
                                 } catch (const std::exception& e) {
                                     result = e.what();
                                 }
                             });
        io.run();
        CHECK(completions == 1);
        return result;
    };
    const std::string aborted = boost::system::system_error(boost::asio::error::make_error_code(
                                                                boost::asio::error::operation_aborted))
                                    .what();
    smartcache_test::check_replies<cached::Reply>(site, ask, aborted, "thrown");
}

TEST_CASE("beast: the next one that waits asks when an application drops its reply", "[http][beast]") {
    Site site;
    bhttp::request<bhttp::string_body> request{bhttp::verb::get, "/a", 11};
    boost::asio::io_context io;
    InlineExecutor pool;
    std::vector<cached::Reply> replies;
    std::vector<std::string> results;
    for (int i = 0; i < 3; ++i)
        cached::async_handle(
            site.web, request, pool, io.get_executor(),
            [&](const http::Request&, cached::Reply reply) { replies.push_back(std::move(reply)); },
            [&](std::exception_ptr failure, const cached::Message& message) {
                results.push_back(failure ? "failed" : message.body().bytes.str());
            });
    io.poll();
    REQUIRE(replies.size() == 1);
    replies.clear();  // its client went away
    io.poll();
    REQUIRE(replies.size() == 1);
    replies[0](page("shared"));
    io.run();  // nothing is left under way
    CHECK(results == std::vector<std::string>{"failed", "shared", "shared"});
}

TEST_CASE("beast: a stale response is sent first and refreshed afterwards", "[http][beast]") {
    Site site;
    bhttp::request<bhttp::string_body> request{bhttp::verb::get, "/a", 11};
    boost::asio::io_context io;
    InlineExecutor pool;
    int calls = 0;
    const auto ask = [&] {
        auto result = cached::async_handle(
            site.web, request, pool, io.get_executor(),
            [&](const http::Request&) {
                return page(std::to_string(++calls), "max-age=10, stale-while-revalidate=100");
            },
            boost::asio::use_future);
        io.restart();
        io.run();
        return result.get().body().bytes.str();
    };
    CHECK(ask() == "1");
    site.clock.advance(20s);
    CHECK(ask() == "1");
    CHECK(calls == 2);
    CHECK(ask() == "2");
}

TEST_CASE("beast: a hit completes inside the call in a thread of the executor, else it is posted",
          "[http][beast]") {
    Site site;
    bhttp::request<bhttp::string_body> request{bhttp::verb::get, "/a", 11};
    const auto app = [](const http::Request&) { return page("made"); };
    (void)cached::handle(site.web, request, app);
    boost::asio::io_context io;
    ThreadPool pool(1);
    bool completed = false;
    const auto ask = [&] {
        completed = false;
        cached::async_handle(site.web, request, pool, io.get_executor(), app,
                             [&](std::exception_ptr, const cached::Message&) { completed = true; });
        return completed;
    };
    CHECK_FALSE(ask());
    io.run();
    CHECK(completed);
    io.restart();
    bool inside = false;
    boost::asio::post(io, [&] { inside = ask(); });
    io.run();
    CHECK(inside);
}
