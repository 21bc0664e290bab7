// The program examples/caching_proxy from outside: raw bytes on both sides. CACHING_PROXY is its path.
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "http/support/raw_http.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX leaves the declaration to us

using smartcache_test::RawMessage;
using smartcache_test::RawOrigin;
using smartcache_test::RawSocket;
using smartcache_test::read_message;

namespace {

/// The proxy as a child process on a port of the system's choice.
class Proxy {
  public:
    explicit Proxy(int origin_port, const std::string& config = {},
                   const std::vector<std::string>& options = {}) {
        int ends[2];
        if (::pipe(ends) != 0) throw std::runtime_error("pipe");
        const std::string origin = "127.0.0.1:" + std::to_string(origin_port);
        std::vector<std::string> arguments{CACHING_PROXY, "--listen", "127.0.0.1:0", "--origin", origin};
        if (!config.empty()) {
            char name[] = "/tmp/smartcache-proxy-XXXXXX";
            const int fd = ::mkstemp(name);
            if (fd < 0 || ::write(fd, config.data(), config.size()) != static_cast<ssize_t>(config.size()))
                throw std::runtime_error("config");
            ::close(fd);
            config_ = name;
            arguments.insert(arguments.end(), {"--config", config_});
        }
        arguments.insert(arguments.end(), options.begin(), options.end());
        std::vector<char*> argv;
        for (std::string& a : arguments) argv.push_back(a.data());
        argv.push_back(nullptr);
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
        posix_spawn_file_actions_addclose(&actions, ends[0]);
        const int error = ::posix_spawn(&pid_, CACHING_PROXY, &actions, nullptr, argv.data(), environ);
        posix_spawn_file_actions_destroy(&actions);
        ::close(ends[1]);
        output_ = ::fdopen(ends[0], "r");
        if (error != 0) throw std::runtime_error("cannot start the proxy");
        char line[512] = "";
        while (port_ == 0 && std::fgets(line, sizeof line, output_) != nullptr)
            if (std::sscanf(line, "caching_proxy: 127.0.0.1:%d ->", &port_) != 1) first_lines_ += line;
    }
    ~Proxy() {
        if (pid_ > 0) stop();
        std::fclose(output_);
        if (!config_.empty()) std::filesystem::remove(config_);
    }
    /// Asks it to end. @return its exit code
    int stop(int signal = SIGTERM) {
        tell(signal);
        return wait();
    }
    void tell(int signal) const { (void)::kill(pid_, signal); }
    int wait() {
        int status = 0;
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    /// How many threads it has now.
    [[nodiscard]] int threads() const {
        std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
        for (std::string line; std::getline(status, line);)
            if (line.starts_with("Threads:")) return std::stoi(line.substr(8));
        throw std::runtime_error("status");
    }
    [[nodiscard]] std::ptrdiff_t descriptors() const {
        return std::distance(std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/fd"),
                             {});
    }
    [[nodiscard]] RawSocket connect() const { return RawSocket::connect(port_); }
    [[nodiscard]] const std::string& first_lines() const { return first_lines_; }
    /// What it says until it ends.
    std::string last_lines() {
        std::string lines;
        for (char line[512]; std::fgets(line, sizeof line, output_) != nullptr;) lines += line;
        return lines;
    }

    RawMessage send(const std::string& request) const {
        RawSocket socket = connect();
        socket.send(request);
        return read_message(socket, !request.starts_with("HEAD "));
    }
    RawMessage get(const std::string& path, const std::string& fields = {}) const {
        return send("GET " + path + " HTTP/1.1\r\nHost: t\r\n" + fields + "\r\n");
    }

  private:
    pid_t pid_ = -1;
    int port_ = 0;
    std::FILE* output_ = nullptr;
    std::string config_;
    std::string first_lines_;
};

std::string response(const std::string& fields, const std::string& body = "body",
                     const std::string& status = "200 OK") {
    return "HTTP/1.1 " + status + "\r\n" + fields + "Content-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
}

/// Waits until the peer hangs up. @return whether it did so without another byte
bool hung_up(const RawSocket& socket) {
    char byte = 0;
    return ::recv(socket.fd(), &byte, 1, 0) == 0;
}

/// A client for which the system keeps little, so that a response of megabytes is not taken before it is read.
RawSocket connect_lazily(const Proxy& proxy) {
    RawSocket socket = proxy.connect();
    const int bytes = 64 * 1024;
    (void)::setsockopt(socket.fd(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    return socket;
}

/// An origin that answers /slow when it is let, and everything else at once; all of it may be stored.
class SlowOrigin {
  public:
    SlowOrigin() {
        origin_.answers([this](const RawMessage& request) {
            if (request.head.starts_with("GET /slow")) {
                if (!asked_.exchange(true)) asked_promise_.set_value();
                let_.wait();
            }
            return response("Cache-Control: max-age=60\r\n",
                            request.head.substr(4, request.head.find(' ', 4) - 4));
        });
    }
    ~SlowOrigin() { let(); }
    void wait_until_asked() { asked_promise_.get_future().wait(); }
    void let() {
        if (!has_let_) let_promise_.set_value();
        has_let_ = true;
    }
    [[nodiscard]] int port() const { return origin_.port(); }
    std::vector<RawMessage> seen() { return origin_.seen(); }

  private:
    std::promise<void> let_promise_;
    std::shared_future<void> let_ = let_promise_.get_future().share();
    std::promise<void> asked_promise_;
    std::atomic<bool> asked_{false};
    bool has_let_ = false;
    RawOrigin origin_;
};

const std::vector<std::string> one_loop{"--threads", "1"};
const std::string get_a = "GET /a HTTP/1.1\r\nHost: t\r\n\r\n";

}  // namespace

TEST_CASE("proxy: miss, hit, HEAD and conditional from the store, over one kept connection", "[proxy]") {
    RawOrigin origin;
    Proxy proxy(origin.port());
    origin.answers(response("Cache-Control: max-age=60\r\nETag: \"1\"\r\nX-Two: a\r\nX-Two: b\r\n"));
    RawSocket client = proxy.connect();
    for (int i = 0; i < 3; ++i) {
        client.send("GET /a HTTP/1.1\r\nHost: t\r\n\r\n");
        const RawMessage r = read_message(client);
        CHECK(r.status() == 200);
        CHECK(r.body == "body");
        CHECK(r.field("X-Cache") == (i == 0 ? "MISS" : "HIT"));
        CHECK(r.head.find("X-Two: a\r\nX-Two: b\r\n") != std::string::npos);
    }
    client.send("HEAD /a HTTP/1.1\r\nHost: t\r\n\r\n");
    const RawMessage head = read_message(client, false);
    CHECK(head.field("Content-Length") == "4");
    client.send("GET /a HTTP/1.1\r\nHost: t\r\nIf-None-Match: \"1\"\r\n\r\n");
    CHECK(read_message(client).status() == 304);
    // Pipelined.
    client.send("GET /a HTTP/1.1\r\nHost: t\r\n\r\nGET /a HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    CHECK(read_message(client).status() == 200);
    const RawMessage last = read_message(client);
    CHECK(last.status() == 200);
    CHECK(last.field("Connection") == "close");
    CHECK(client.read_all().empty());
    CHECK(origin.seen().size() == 1);
    CHECK(proxy.stop() == 0);
}

TEST_CASE("proxy: any status, any method, any body goes through", "[proxy]") {
    RawOrigin origin;
    Proxy proxy(origin.port());
    for (const char* status :
         {"200 OK", "201 Created", "299 Odd", "404 Not Found", "499 Odd", "503 Down", "599 Odd", "999 X"}) {
        CAPTURE(status);
        origin.answers(response("", "b", status));
        CHECK(proxy.get("/s", "Cache-Control: no-store\r\n")
                  .head.starts_with(std::string("HTTP/1.1 ").append(status, 3)));
    }
    origin.answers(response("", ""));
    origin.seen();
    const std::string content("binary\0\r\n\r\n", 11);
    for (const char* method : {"POST", "PUT", "PATCH", "DELETE", "PROPFIND", "M-SEARCH", "x"}) {
        CAPTURE(method);
        CHECK(proxy
                  .send(std::string(method) + " /m?q=%20 HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\n" +
                        content)
                  .status() == 200);
        const auto seen = origin.seen();
        REQUIRE(seen.size() == 1);
        CHECK(seen[0].head.starts_with(std::string(method) + " /m?q=%20 HTTP/1.1\r\n"));
        CHECK(seen[0].body == content);
        CHECK(seen[0].field("Host") == "t");
        CHECK(seen[0].field("Via") == "1.1 smartcache");
    }
    // A chunked request body reaches the origin whole.
    CHECK(proxy
              .send("POST /c HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: "
                    "chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n")
              .status() == 200);
    CHECK(origin.seen().at(0).body == "abcde");
}

TEST_CASE("proxy: chunked, close-delimited and empty responses are stored and served whole", "[proxy]") {
    RawOrigin origin;
    Proxy proxy(origin.port());
    const std::string fresh = "Cache-Control: max-age=60\r\n";
    struct Case {
        const char* path;
        std::string bytes;
        std::string body;
    };
    const Case cases[] = {
        {"/chunked",
         "HTTP/1.1 200 OK\r\n" + fresh +
             "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n3;e=1\r\n!!!\r\n0\r\nX-T: 1\r\n\r\n",
         "body!!!"},
        {"/close", "HTTP/1.1 200 OK\r\n" + fresh + "Connection: close\r\n\r\nuntil the end", "until the end"},
        {"/http10", "HTTP/1.0 200 OK\r\n" + fresh + "Connection: close\r\n\r\nold", "old"},
        {"/empty", response(fresh, ""), ""},
    };
    for (const Case& c : cases) {
        CAPTURE(c.path);
        origin.answers(c.bytes);
        const RawMessage miss = proxy.get(c.path);
        const RawMessage hit = proxy.get(c.path);
        CHECK(miss.body == c.body);
        CHECK(hit.body == c.body);
        CHECK(hit.field("X-Cache") == "HIT");
        CHECK(hit.field("Content-Length") == std::to_string(c.body.size()));
        CHECK(hit.field("Transfer-Encoding").empty());
        CHECK(hit.field("X-T").empty());
    }
}

TEST_CASE("proxy: what may not be stored is streamed as it comes", "[proxy]") {
    RawOrigin origin;
    Proxy proxy(origin.port(), R"({"proxy": {"shutdown_timeout": 50}})");
    // The origin never ends this response: a proxy that collects it first would never send anything.
    origin.answers(
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    RawSocket client = proxy.connect();
    client.send("GET /stream HTTP/1.1\r\nHost: t\r\n\r\n");
    const std::string head = client.read_until("\r\n\r\n");
    CHECK(head.find("Transfer-Encoding: chunked") != std::string::npos);
    CHECK(client.read_until("first") == "5\r\nfirst");
    CHECK(proxy.stop() == 0);  // what hangs is cut off when its time is over
}

TEST_CASE("proxy: responses that are cut off are not stored, and cut off for the client too", "[proxy]") {
    RawOrigin origin;
    Proxy proxy(origin.port());
    for (const char* bytes : {"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nConnection: "
                              "close\r\nContent-Length: 100\r\n\r\nshort",
                              "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nConnection: "
                              "close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"}) {
        origin.answers(std::string(bytes));
        CHECK(proxy.get("/a").status() == 502);
    }
    origin.answers(response("Cache-Control: max-age=60\r\n"));
    CHECK(proxy.get("/a").field("X-Cache") == "MISS");
    // The client's connection goes on, and what was collected is not the beginning of its next response.
    RawSocket kept = proxy.connect();
    origin.answers(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nConnection: close\r\nContent-Length: "
        "100\r\n\r\nshort");
    kept.send("GET /c HTTP/1.1\r\nHost: t\r\n\r\n");
    CHECK(read_message(kept).status() == 502);
    origin.answers(response("Cache-Control: max-age=60\r\n", "whole"));
    kept.send("GET /c HTTP/1.1\r\nHost: t\r\n\r\n");
    CHECK(read_message(kept).body == "whole");
    // Streamed: the client's message must not look complete.
    origin.answers(
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: "
        "100\r\n\r\nshort");
    RawSocket client = proxy.connect();
    client.send("GET /b HTTP/1.1\r\nHost: t\r\n\r\n");
    CHECK(client.read_all().ends_with("short"));
}

TEST_CASE("proxy: bytes beyond the content are dropped with their connection", "[proxy]") {
    RawOrigin origin;
    Proxy proxy(origin.port());
    origin.answers(response("Cache-Control: no-store\r\n") +
                   "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
    CHECK(proxy.get("/a").body == "body");
    origin.answers(response("Cache-Control: no-store\r\n", "second"));
    CHECK(proxy.get("/b").body == "second");
    CHECK(origin.connections() == 2);
}

TEST_CASE("proxy: an origin that is not there, hangs up or talks nonsense is 502, one that is silent 504",
          "[proxy]") {
    int dead_port = 0;
    {
        RawOrigin origin;
        dead_port = origin.port();
        Proxy proxy(origin.port(), R"({"proxy": {"origin_timeout": 200}})");
        origin.answers("");
        CHECK(proxy.get("/a").status() == 502);
        CHECK(origin.seen().size() == 1);  // what the origin has seen is not sent again
        for (const char* nonsense :
             {"garbage\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/2 200 OK\r\n\r\n",
              "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
              "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab", "HTTP/1.1 200 OK\r\nbad line\r\n\r\n",
              "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
              "HTTP/1.1 200 OK\r\nCache-Control: max-age=1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"}) {
            CAPTURE(nonsense);
            origin.answers(std::string(nonsense));
            CHECK(proxy.get("/a").status() == 502);
        }
        origin.answers("HTTP/1.1 200");  // and then nothing
        CHECK(proxy.get("/a").status() == 504);
    }
    Proxy proxy(dead_port);
    CHECK(proxy.get("/a").status() == 502);
}

TEST_CASE("proxy: an unreachable origin is stood in for by what is stored, unless that forbids it",
          "[proxy]") {
    RawOrigin origin;
    Proxy proxy(origin.port());
    origin.answers(response("Cache-Control: max-age=1\r\nAge: 1\r\nETag: \"1\"\r\n"));
    CHECK(proxy.get("/stale").status() == 200);
    origin.answers(response("Cache-Control: max-age=1, must-revalidate\r\nAge: 1\r\nETag: \"1\"\r\n"));
    CHECK(proxy.get("/strict").status() == 200);
    origin.answers("");
    const RawMessage stale = proxy.get("/stale");
    CHECK(stale.status() == 200);
    CHECK(stale.body == "body");
    CHECK(stale.field("X-Cache") == "STALE");
    CHECK(proxy.get("/strict").status() == 504);  // RFC 9111 section 5.2.2.2
    CHECK(proxy.get("/other").status() == 502);
}

TEST_CASE("proxy: validation with the origin, invalidation by POST", "[proxy]") {
    RawOrigin origin;
    Proxy proxy(origin.port());
    origin.answers(response("Cache-Control: max-age=1\r\nAge: 1\r\nETag: \"1\"\r\n"));
    CHECK(proxy.get("/a").body == "body");
    origin.answers("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nCache-Control: max-age=60\r\n\r\n");
    origin.seen();
    const RawMessage validated = proxy.get("/a");
    CHECK(validated.status() == 200);
    CHECK(validated.body == "body");
    CHECK(origin.seen().at(0).field("If-None-Match") == "\"1\"");
    CHECK(proxy.get("/a").field("X-Cache") == "HIT");
    origin.answers(response("", ""));
    CHECK(proxy.send("POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n").status() == 200);
    origin.answers(response("Cache-Control: max-age=60\r\n", "new"));
    CHECK(proxy.get("/a").body == "new");
}

TEST_CASE("proxy: a stored part is completed, also where the rest is too long to be stored", "[proxy]") {
    RawOrigin origin;
    Proxy proxy(origin.port(), R"({"cache": {"max_value_size": 2000}})");
    const std::string whole = std::string(500, 'a') + std::string(3000, 'b');
    const std::string fields = "Cache-Control: max-age=60\r\nETag: \"1\"\r\nContent-Range: bytes ";
    const std::string first =
        response(fields + "0-499/3500\r\n", whole.substr(0, 500), "206 Partial Content");
    const std::string rest = response(fields + "500-3499/3500\r\n", whole.substr(500), "206 Partial Content");
    const auto ask_for_first = [&](const char* path) {
        origin.answers(first);
        CHECK(proxy.get(path, "Range: bytes=0-499\r\n").status() == 206);
        CHECK(proxy.get(path, "Range: bytes=10-19\r\n").body == whole.substr(10, 10));
        CHECK(origin.seen().size() == 1);
    };
    ask_for_first("/a");
    origin.answers(rest);
    const RawMessage completed = proxy.get("/a");
    CHECK(completed.status() == 200);
    CHECK(completed.body == whole);
    CHECK(completed.field("Content-Range").empty());
    const auto seen = origin.seen();
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].field("Range") == "bytes=500-");
    CHECK(seen[0].field("If-Range") == "\"1\"");
    // A rest without end is not collected without end.
    ask_for_first("/b");
    origin.answers("HTTP/1.1 206 Partial Content\r\n" + fields +
                   "500-3499/3500\r\nConnection: close\r\n\r\n" + std::string(5 << 20, 'c'));
    CHECK(proxy.get("/b").status() == 502);
}

TEST_CASE("proxy: 100 goes to those who know it only", "[proxy]") {
    // RFC 9110 section 10.1.1: an HTTP/1.0 client would take it for its answer.
    RawOrigin origin;
    Proxy proxy(origin.port());
    origin.answers(response("Cache-Control: no-store\r\n"));
    const std::string rest = "Host: t\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nin";
    CHECK(proxy.send("POST / HTTP/1.1\r\n" + rest).status() == 100);
    CHECK(proxy.send("POST / HTTP/1.0\r\n" + rest).status() == 200);
}

TEST_CASE("proxy: stale-while-revalidate answers at once and refreshes behind", "[proxy]") {
    RawOrigin origin;
    Proxy proxy(origin.port());
    origin.answers(response("Cache-Control: max-age=1, stale-while-revalidate=100\r\nAge: 2\r\n", "old"));
    CHECK(proxy.get("/a").body == "old");
    origin.answers(response("Cache-Control: max-age=60\r\n", "new"));
    const RawMessage stale = proxy.get("/a");
    CHECK(stale.body == "old");
    CHECK(stale.field("X-Cache") == "STALE");
    CHECK(smartcache_test::eventually([&] { return proxy.get("/a").body == "new"; }));
}

TEST_CASE("proxy: an origin that is slow to refresh some responses holds no other refresh up", "[proxy]") {
    // What used to happen: two refreshes that took long kept all others waiting.
    constexpr int slow = 8;
    std::promise<void> end;
    const std::shared_future<void> ended = end.get_future().share();
    std::atomic<int> waiting{0};
    std::atomic<bool> refreshing{false};
    RawOrigin origin;
    origin.answers([&](const RawMessage& request) {
        if (!refreshing)
            return response("Cache-Control: max-age=1, stale-while-revalidate=1000\r\nAge: 2\r\n", "old");
        if (request.head.starts_with("GET /slow")) {
            ++waiting;
            ended.wait();
        }
        return response("Cache-Control: max-age=60\r\n", "new");
    });
    Proxy proxy(origin.port());
    const auto slow_path = [](int i) { return "/slow" + std::to_string(i); };
    CHECK(proxy.get("/a").body == "old");
    for (int i = 0; i < slow; ++i) CHECK(proxy.get(slow_path(i)).body == "old");
    refreshing = true;
    for (int i = 0; i < slow; ++i) CHECK(proxy.get(slow_path(i)).field("X-Cache") == "STALE");
    CHECK(smartcache_test::eventually([&] { return waiting == slow; }));
    CHECK(smartcache_test::eventually([&] { return proxy.get("/a").body == "new"; }));
    end.set_value();
    CHECK(proxy.stop() == 0);
}

TEST_CASE("proxy: informational responses are passed on to HTTP/1.1 clients", "[proxy]") {
    RawOrigin origin;
    Proxy proxy(origin.port());
    origin.answers("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" +
                   response("Cache-Control: max-age=60\r\n"));
    RawSocket client = proxy.connect();
    client.send("GET /a HTTP/1.1\r\nHost: t\r\n\r\n");
    CHECK(read_message(client, false).head == "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    CHECK(read_message(client).body == "body");
    CHECK(proxy.send("GET /a HTTP/1.0\r\nHost: t\r\n\r\n").field("X-Cache") == "HIT");
    // Expect: 100-continue is answered by the proxy.
    client.send("POST /p HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    CHECK(client.read_until("\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc");
    CHECK(read_message(client, false).status() == 103);
    CHECK(read_message(client).status() == 200);
}

TEST_CASE("proxy: malformed and smuggling requests are refused with 400 and the connection closed",
          "[proxy]") {
    RawOrigin origin;
    origin.answers(response(""));
    Proxy proxy(origin.port());
    for (const char* request :
         {"GARBAGE\r\n\r\n",
          "GET / HTTP/3.0\r\nHost: t\r\n\r\n",
          "GET / HTTP/1.1\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
          "GET nonsense HTTP/1.1\r\nHost: t\r\n\r\n",
          "G(T / HTTP/1.1\r\nHost: t\r\n\r\n",
          "GET / HTTP/1.1\r\nHost : t\r\n\r\n",
          "GET /a\nX:b HTTP/1.1\r\nHost: t\r\n\r\n",
          "GET /a\rX:b HTTP/1.1\r\nHost: t\r\n\r\n",
          "GET /a\tb HTTP/1.1\r\nHost: t\r\n\r\n",
          "GET /a\x7f HTTP/1.1\r\nHost: t\r\n\r\n",
          "GET http://t/\n HTTP/1.1\r\nHost: t\r\n\r\n",
          "GET / HTTP/1.x\r\nHost: t\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
          "GET http://t/ HTTP/1.1\r\nHost: a\\b\r\n\r\n",
          "GET http://a\"b/ HTTP/1.1\r\nHost: t\r\n\r\n",
          "CONNECT t:80 HTTP/1.1\r\nHost: t\r\n\r\n",
          "CONNECT / HTTP/1.1\r\nHost: t\r\n\r\n",
          "CONNECT http://t/ HTTP/1.1\r\nHost: t\r\n\r\n",
          "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3;\nx\r\nabc\r\n0\r\n\r\n",
          "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\nY: 2\r\n\r\n",
          "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: t\r\nA: 1\r\n folded\r\n\r\n",
          "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
          "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: x\r\n\r\n",
          "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
          "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
        CAPTURE(request);
        RawSocket client = proxy.connect();
        client.send(request);
        CHECK(client.read_all().starts_with("HTTP/1.1 400 "));
    }
    RawSocket client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: t\r\nX: " + std::string(100'000, 'x'));
    CHECK(client.read_all().starts_with("HTTP/1.1 400 "));
    RawSocket longer = proxy.connect();
    longer.send("GET /" + std::string(100'000, 'x'));
    CHECK(longer.read_all().starts_with("HTTP/1.1 414 "));
    CHECK(origin.seen().empty());
}

TEST_CASE("RFC 9112 sections 2.3 and 3.2: what is unusual and not malformed goes through", "[proxy]") {
    RawOrigin origin;
    origin.answers(response("", ""));
    Proxy proxy(origin.port());
    CHECK(proxy.send("GET /v HTTP/1.2\r\nHost: t\r\n\r\n").head.starts_with("HTTP/1.1 200 "));
    for (const char* host : {"a_b.c:80", "[::1]:80", "a%20b", "T", ""})
        CHECK(proxy.send("GET /h HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n").status() == 200);
    origin.seen();
    // Section 3.2.4: the origin itself, not what is at its root.
    struct Case {
        const char* asked;
        const char* forwarded;
    };
    for (const Case& c :
         {Case{"*", "*"}, Case{"http://t", "*"}, Case{"http://t/", "/"}, Case{"http://t?q", "/?q"}}) {
        CAPTURE(c.asked);
        CHECK(proxy.send("OPTIONS " + std::string(c.asked) + " HTTP/1.1\r\nHost: t\r\n\r\n").status() == 200);
        CHECK(origin.seen().at(0).head.starts_with("OPTIONS " + std::string(c.forwarded) + " HTTP/1.1\r\n"));
    }
}

TEST_CASE("RFC 9110 section 7.6.2: Max-Forwards counts down for OPTIONS and TRACE, and ends here",
          "[proxy]") {
    RawOrigin origin;
    origin.answers(response("", ""));
    Proxy proxy(origin.port());
    const auto ask = [&](const char* method, const std::string& limit) {
        return proxy.send(std::string(method) +
                          " /a HTTP/1.1\r\nHost: t\r\nCookie: secret\r\nMax-Forwards: " + limit + "\r\n\r\n");
    };
    for (const char* method : {"OPTIONS", "TRACE"}) {
        CAPTURE(method);
        CHECK(ask(method, "2").status() == 200);
        CHECK(origin.seen().at(0).field("Max-Forwards") == "1");
        CHECK(ask(method, "99999999999").status() == 200);
        CHECK(origin.seen().at(0).field("Max-Forwards") == "2147483646");
        CHECK(ask(method, "soon").status() == 200);
        CHECK(origin.seen().at(0).field("Max-Forwards") == "soon");
    }
    CHECK(ask("OPTIONS", "0").status() == 200);
    const RawMessage trace = ask("TRACE", "0");
    CHECK(trace.status() == 501);
    CHECK(trace.body.find("secret") == std::string::npos);
    CHECK(origin.seen().empty());
    CHECK(ask("GET", "0").status() == 200);
    CHECK(origin.seen().at(0).field("Max-Forwards") == "0");
}

TEST_CASE("RFC 9112 section 9.5: an origin that hangs up before it has all of the content is listened to",
          "[proxy]") {
    RawOrigin origin;
    origin.leaves_content();
    origin.answers(response("Connection: close\r\n", "too much", "413 Content Too Large"));
    Proxy proxy(origin.port());
    const std::string content(std::size_t{16} << 20U, 'x');
    const RawMessage r =
        proxy.send("PUT /a HTTP/1.1\r\nHost: t\r\nContent-Length: " + std::to_string(content.size()) +
                   "\r\n\r\n" + content);
    CHECK(r.status() == 413);
    CHECK(r.body == "too much");
    origin.answers("");
    CHECK(proxy.send("PUT /a HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody").status() == 502);
}

TEST_CASE("proxy: what an origin writes loosely is put right on its way", "[proxy]") {
    RawOrigin origin;
    Proxy proxy(origin.port());
    // RFC 9112 section 5.1: a proxy takes the white space before the colon out.
    origin.answers("HTTP/1.1 200 OK\r\nX-A : b\r\nX-B \t :c\r\nContent-Length : 4\r\n\r\nbody");
    const RawMessage spaced = proxy.get("/s");
    CHECK(spaced.field("X-A") == "b");
    CHECK(spaced.field("X-B") == "c");
    CHECK(spaced.body == "body");
    for (const char* folded : {"X-A: b\r\n c\r\n", " X-A: b\r\n", " : b\r\n"}) {
        origin.answers(response(folded));
        CHECK(proxy.get("/f").status() == 502);
    }
    // RFC 9110 section 8.6: one Content-Length, however often it was said; stored and streamed.
    for (const std::string control : {"max-age=60", "no-store"}) {
        for (const char* lengths : {"4\r\nContent-Length: 4", "4, 4", "004"}) {
            CAPTURE(control, lengths);
            origin.answers("HTTP/1.1 200 OK\r\nCache-Control: " + control + "\r\nContent-Length: " + lengths +
                           "\r\n\r\nbody");
            const RawMessage r = proxy.get("/l");
            CHECK(r.field("Content-Length") == "4");
            CHECK(r.head.find("Content-Length") == r.head.rfind("Content-Length"));
            CHECK(r.body == "body");
            proxy.send("DELETE /l HTTP/1.1\r\nHost: t\r\n\r\n");
        }
    }
}

TEST_CASE("proxy: what a client says about hosts and addresses does not reach the origin unkeyed",
          "[proxy]") {
    RawOrigin origin;
    Proxy proxy(origin.port());
    origin.answers(response("Cache-Control: max-age=60\r\n"));
    proxy.get("/a",
              "X-Forwarded-Host: evil\r\nX-Original-URL: /admin\r\nForwarded: host=evil\r\nConnection: "
              "X-Y\r\nX-Y: 1\r\nX-Z: 2\r\n");
    const std::string head = origin.seen().at(0).head;
    for (const char* name : {"X-Forwarded-Host", "X-Original-URL", "Forwarded", "X-Y", "Connection"})
        CHECK(head.find(std::string("\r\n") + name + ":") == std::string::npos);
    CHECK(head.find("\r\nX-Z: 2\r\n") != std::string::npos);
    // The host is part of the key; the absolute form's wins (RFC 9112 section 3.2.2).
    origin.answers(response("Cache-Control: max-age=60\r\n", "other"));
    CHECK(proxy.send("GET http://other/a HTTP/1.1\r\nHost: t\r\n\r\n").body == "other");
    CHECK(proxy.get("/a").body == "body");
}

TEST_CASE("proxy: configuration by file, and one message for everything that is wrong in it", "[proxy]") {
    RawOrigin origin;
    origin.answers(response("Set-Cookie: a=1\r\nCache-Control: max-age=60\r\n"));
    {
        Proxy proxy(
            origin.port(),
            R"({"http": {"set_cookie": "strip", "cache_name": "edge", "rules": [{"pattern": "/live*", "bypass": true}]},
                                       "cache": {"memory": {"capacity": 100}}})");
        proxy.get("/a");
        const RawMessage hit = proxy.get("/a");
        CHECK(hit.field("X-Cache") == "HIT");
        CHECK(hit.field("Set-Cookie").empty());
        CHECK(hit.field("Cache-Status").starts_with("edge; hit"));
        CHECK(proxy.get("/live/x").field("X-Cache") == "BYPASS");
    }
    Proxy wrong(origin.port(), R"({"http": {"default_ttl": "soon", "colour": "red"}})");
    CHECK(wrong.wait() == 2);
    CHECK(wrong.first_lines().find("default_ttl") != std::string::npos);
    CHECK(wrong.first_lines().find("colour") != std::string::npos);
}

TEST_CASE("proxy: PURGE by URL, tag and path for who has the key, and nobody without one", "[proxy]") {
    RawOrigin origin;
    origin.answers(response("Cache-Control: max-age=60\r\nSurrogate-Key: t\r\n"));
    {
        Proxy closed(origin.port());
        CHECK(closed.get("/a/b").field("X-Cache") == "MISS");
        (void)closed.send("PURGE /a/b HTTP/1.1\r\nHost: t\r\nPurge-Key: \r\nxkey: t\r\n\r\n");
        CHECK(origin.seen().back().head.starts_with("PURGE /a/b "));  // the origin's business
    }
    Proxy proxy(origin.port(), R"({"proxy": {"purge_key": "s3cret"}, "http": {"purge_depth": 1}})");
    const auto purge = [&](const std::string& target, const std::string& fields) {
        return proxy.send("PURGE " + target + " HTTP/1.1\r\nHost: t\r\n" + fields + "\r\n").status();
    };
    const std::string key = "Purge-Key: s3cret\r\n";
    CHECK(proxy.get("/a/b").field("X-Cache") == "MISS");
    CHECK(purge("/a/b", "") == 403);
    CHECK(purge("/a/b", "Purge-Key: s3cres\r\n") == 403);
    CHECK(purge("/", "Surrogate-Key: t\r\n") == 403);
    CHECK(proxy.get("/a/b").field("X-Cache") == "HIT");
    for (const auto& [target, fields] :
         {std::pair<std::string, std::string>{"/a/b", ""}, {"/", "Surrogate-Key: t\r\n"}, {"/a/*", ""}}) {
        CAPTURE(target);
        CHECK(purge(target, key + fields) == 200);
        CHECK(proxy.get("/a/b").field("X-Cache") == "MISS");
        CHECK(proxy.get("/a/b").field("X-Cache") == "HIT");
    }
}

TEST_CASE("proxy: it ends cleanly on SIGTERM and SIGINT, idle clients or not", "[proxy]") {
    for (const int signal : {SIGTERM, SIGINT}) {
        RawOrigin origin;
        origin.answers(response("Cache-Control: max-age=60\r\n"));
        Proxy proxy(origin.port());
        RawSocket idle = proxy.connect();
        RawSocket used = proxy.connect();
        used.send("GET /a HTTP/1.1\r\nHost: t\r\n\r\n");
        CHECK(read_message(used).status() == 200);
        CHECK(proxy.stop(signal) == 0);
        CHECK(used.read_all().empty());
    }
}

TEST_CASE("proxy: connections that are idle cost no thread, nor do those that wait for the same response",
          "[proxy]") {
    SlowOrigin origin;
    Proxy proxy(origin.port(), R"({"http": {"collapse_timeout": 600000}})", one_loop);
    CHECK(proxy.get("/a").field("X-Cache") == "MISS");
    std::deque<RawSocket> clients;
    for (int i = 0; i < 300; ++i) clients.push_back(proxy.connect());
    const auto all_are_served = [&] {
        for (RawSocket& client : clients) client.send(get_a);
        for (RawSocket& client : clients) REQUIRE(read_message(client).field("X-Cache") == "HIT");
    };
    all_are_served();
    CHECK(proxy.threads() < 20);
    for (RawSocket& client : clients) client.send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n");
    origin.wait_until_asked();
    CHECK(proxy.get("/a").field("X-Cache") == "HIT");
    // A burst may start as many threads as there are requests, which end when they have been idle for a while. What waits
    // is 300 requests, and the thread that asks the origin.
    CHECK(smartcache_test::eventually([&] { return proxy.threads() < 20; }));
    origin.let();
    for (RawSocket& client : clients) REQUIRE(read_message(client).body == "/slow");
    CHECK(origin.seen().size() == 2);
    all_are_served();
    CHECK(proxy.stop() == 0);
}

TEST_CASE("proxy: pipelined requests are answered in order, whoever answers them", "[proxy]") {
    SlowOrigin origin;
    Proxy proxy(origin.port(), {}, one_loop);
    CHECK(proxy.get("/a").status() == 200);
    RawSocket client = proxy.connect();
    std::string requests;
    for (int i = 0; i < 10; ++i) {
        const std::string n = std::to_string(i);
        requests += get_a;
        requests += "GET /miss" + n + " HTTP/1.1\r\nHost: t\r\n\r\n";
        requests += get_a;
        requests += "PUT /put" + n + " HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc";
        requests += "HEAD /a HTTP/1.1\r\nHost: t\r\n\r\n\r\n";
    }
    client.send(requests + "BAD\r\n\r\n" + get_a);
    for (int i = 0; i < 10; ++i) {
        CAPTURE(i);
        const std::string n = std::to_string(i);
        CHECK(read_message(client).body == "/a");
        const RawMessage miss = read_message(client);
        CHECK(miss.body == "/miss" + n);
        CHECK(miss.field("X-Cache") == "MISS");
        CHECK(read_message(client).field("X-Cache") == "HIT");
        CHECK(read_message(client).body == "/put" + n);
        CHECK(read_message(client, false).field("X-Cache") == "HIT");
    }
    CHECK(read_message(client).status() == 400);
    CHECK(hung_up(client));  // what follows nonsense is not looked at
}

TEST_CASE("proxy: neither a slow origin nor a client that does not read holds the others up", "[proxy]") {
    SlowOrigin slow;
    Proxy proxy(slow.port(), {}, one_loop);
    CHECK(proxy.get("/a").status() == 200);
    RawSocket waiting = proxy.connect();
    waiting.send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n" + get_a);
    slow.wait_until_asked();
    RawSocket other = proxy.connect();
    for (int i = 0; i < 10; ++i) {
        other.send(get_a);
        CHECK(read_message(other).field("X-Cache") == "HIT");
    }
    slow.let();
    CHECK(read_message(waiting).body == "/slow");
    CHECK(read_message(waiting).body == "/a");

    RawOrigin origin;
    std::string large(12 << 20, 'x');
    for (std::size_t i = 0; i < large.size(); i += 1000) large[i] = static_cast<char>('a' + i / 1000 % 26);
    origin.answers([&](const RawMessage& request) {
        return response("Cache-Control: max-age=60\r\n",
                        request.head.starts_with("GET /large") ? large : std::string("small"));
    });
    Proxy second(origin.port(), R"({"cache": {"max_value_size": 50000000}})", one_loop);
    for (const char* x_cache : {"MISS", "HIT"}) {
        CAPTURE(x_cache);
        (void)second.get("/a");
        RawSocket lazy = connect_lazily(second);
        lazy.send("GET /large HTTP/1.1\r\nHost: t\r\n\r\n" + get_a);
        const RawMessage head = read_message(lazy, false);
        CHECK(head.field("X-Cache") == x_cache);
        RawSocket quick = second.connect();
        for (int i = 0; i < 10; ++i) {
            quick.send(get_a);
            CHECK(read_message(quick).body == "small");
        }
        CHECK(lazy.read_exactly(large.size()) == large);
        CHECK(read_message(lazy).body == "small");
        // One that leaves in the middle.
        RawSocket gone = connect_lazily(second);
        gone.send("GET /large HTTP/1.1\r\nHost: t\r\n\r\n");
        CHECK(read_message(gone, false).status() == 200);
    }
    CHECK(second.get("/a").body == "small");
    CHECK(second.stop() == 0);
}

TEST_CASE("proxy: who takes too long over a request or a response is hung up on", "[proxy]") {
    RawOrigin origin;
    const std::string large(12 << 20, 'x');
    origin.answers(response("Cache-Control: max-age=60\r\n", large));
    Proxy proxy(origin.port(), R"({"cache": {"max_value_size": 50000000}, "proxy": {"client_timeout": 100}})",
                one_loop);
    for (const char* x_cache : {"MISS", "HIT"}) {
        CAPTURE(x_cache);
        RawSocket lazy = connect_lazily(proxy);
        lazy.send(get_a);
        const RawMessage head = read_message(lazy, false);
        CAPTURE(head.head);
        CHECK(head.field("X-Cache") == x_cache);
        const auto open = proxy.descriptors();
        while (proxy.descriptors() >= open) std::this_thread::yield();
        CHECK(lazy.read_all().size() < large.size());  // what the system had taken
    }
    CHECK(origin.seen().size() == 1);
    RawSocket silent = proxy.connect();
    RawSocket half = proxy.connect();
    half.send("GET /a HTTP/1.1\r\nHo");
    RawSocket content = proxy.connect();
    content.send("PUT /a HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\na");
    for (const RawSocket* socket : {&silent, &half, &content}) CHECK(hung_up(*socket));
    CHECK(origin.seen().empty());
    CHECK(proxy.stop() == 0);
}

TEST_CASE("proxy: idle connections end with it at once, a request under way is still answered", "[proxy]") {
    SlowOrigin origin;
    Proxy proxy(origin.port());
    std::deque<RawSocket> idle;
    for (int i = 0; i < 20; ++i) idle.push_back(proxy.connect());
    for (RawSocket& client : idle) client.send(get_a);
    for (RawSocket& client : idle) CHECK(read_message(client).status() == 200);
    idle.push_back(proxy.connect());
    idle.back().send("GET /half HTTP/1.1\r\n");
    std::deque<RawSocket> busy;
    for (int i = 0; i < 3; ++i) {
        busy.push_back(proxy.connect());
        busy.back().send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n" + get_a);
    }
    origin.wait_until_asked();
    proxy.tell(SIGTERM);
    for (const RawSocket& client : idle) CHECK(hung_up(client));
    origin.let();
    CHECK(read_message(busy.front()).body == "/slow");
    CHECK(busy.front().read_all().empty());  // no further request is begun
    CHECK(proxy.wait() == 0);
}

TEST_CASE("proxy: statistics count each request once, and what is refused never", "[proxy]") {
    SlowOrigin origin;
    Proxy proxy(origin.port());
    for (int i = 0; i < 3; ++i) CHECK(proxy.get("/a").status() == 200);
    CHECK(proxy.get("/b").status() == 200);
    CHECK(proxy.send("PUT /c HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx").status() == 200);
    CHECK(proxy.send("DELETE /d HTTP/1.1\r\nHost: t\r\n\r\n").status() == 200);
    CHECK(proxy.send("BAD\r\n\r\n").status() == 400);
    proxy.tell(SIGTERM);
    CHECK(proxy.last_lines() == "caching_proxy: 6 requests, 2 hits, 2 misses, 2 skipped\n");
}

TEST_CASE("proxy: statistics have a port of their own", "[proxy]") {
    const SlowOrigin origin;  // its answers are the paths
    const Proxy proxy(origin.port(), R"({"proxy": {"admin": "127.0.0.1:0"}})");
    int port = 0;
    REQUIRE(std::sscanf(proxy.first_lines().c_str(), "caching_proxy: admin at 127.0.0.1:%d", &port) == 1);
    const auto ask = [&](const std::string& line) {
        RawSocket socket = RawSocket::connect(port);
        socket.send(line + " HTTP/1.1\r\nHost: t\r\n\r\n");
        return read_message(socket, !line.starts_with("HEAD "));
    };
    (void)proxy.get("/a");
    (void)proxy.get("/a");
    const RawMessage stats = ask("GET /__smartcache/stats");
    CHECK(stats.status() == 200);
    CHECK(stats.body.find("\"requests\":2,\"hits\":1,\"misses\":1") != std::string::npos);
    CHECK(stats.body.find("\"cache\":{") != std::string::npos);
    const RawMessage metrics = ask("GET /metrics?x");
    CHECK(metrics.body.find("\nsmartcache_http_requests_total 2\n") != std::string::npos);
    CHECK(metrics.body.find("\nsmartcache_http_events_total{event=\"hits\"} 1\n") != std::string::npos);
    CHECK(metrics.body.find("\nsmartcache_hits_total ") != std::string::npos);
    CHECK(ask("HEAD /metrics").status() == 200);
    CHECK(ask("GET /other").status() == 404);
    CHECK(ask("POST /metrics").status() == 405);
    // The clients' port knows nothing of it, and who stalls the one holds up neither.
    CHECK(proxy.get("/metrics").body == "/metrics");
    const RawSocket silent = RawSocket::connect(port);
    CHECK(proxy.get("/a").body == "/a");
    CHECK(ask("GET /metrics").status() == 200);
}

TEST_CASE("proxy: options that make no sense are refused", "[proxy]") {
    RawOrigin origin;
    for (const char* threads : {"0", "-1", "two", "1x", "", "100000"}) {
        CAPTURE(threads);
        Proxy proxy(origin.port(), {}, {"--threads", threads});
        CHECK(proxy.wait() == 2);
        CHECK(proxy.first_lines().find("--threads") != std::string::npos);
    }
}
