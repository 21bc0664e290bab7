// What a hit costs a server, whatever else the machine does: instructions outside the kernel, allocations, system calls.
//
//     build/release/bench/http_cost [--requests 1000] [--connections 1] build/release/examples/caching_proxy build/release/bench/http_bare
//
// Starts an origin, and each server of `http_proxy.sh` but nginx and varnish, twice under each of valgrind's callgrind, valgrind's dhat
// and strace. Asks it for 1 KiB, as `wrk` does, a hundred times to warm up; then stops the one, and asks the other `--requests` times
// more. What the second took more than the first, divided by the requests, is what is printed. With several connections each is sent
// a request before the first answer is read. Needs valgrind and strace.

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "http_peer.hpp"

namespace {

using bench::Peer;

/// Answers each request with 1 KiB, one connection at a time, as long as the program runs.
class Origin {
  public:
    Origin() : listener_(Peer::listen(0)) {
        std::thread([this] {
            for (Peer peer = listener_.accept(); peer.open(); peer = listener_.accept())
                while (peer.head())
                    if (!peer.send(answer)) break;
        }).detach();
    }
    [[nodiscard]] int port() const { return listener_.port(); }

  private:
    // The fields of nginx, which is the origin of http_proxy.sh.
    const std::string answer =
        "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 30 Nov 2026 20:00:00 GMT\r\nContent-Type: "
        "application/octet-stream\r\nContent-Length: 1024\r\nLast-Modified: Mon, 30 Nov 2026 19:00:00 "
        "GMT\r\nConnection: keep-alive\r\nETag: \"6565a1b0-400\"\r\nCache-Control: "
        "max-age=1000000000\r\nAccept-Ranges: bytes\r\n\r\n" +
        std::string(1024, 'x');
    Peer listener_;
};

using Words = std::vector<std::string>;

/// A tool and the number that it writes into a file at the end.
struct Tool {
    const char* counts;
    Words command;  ///< "@" is the file
    std::uint64_t (*read)(const std::string& report);
};

std::uint64_t number_behind(const std::string& text, std::string_view label) {
    const std::size_t at = text.find(label);
    if (at == std::string::npos) throw std::runtime_error("not in the tool's report: " + std::string(label));
    std::uint64_t value = 0;
    bool begun = false;
    for (std::size_t i = at + label.size(); i < text.size(); ++i) {
        if (text[i] >= '0' && text[i] <= '9') {
            value = value * 10 + static_cast<std::uint64_t>(text[i] - '0');
            begun = true;
        } else if (begun && text[i] != ',') {
            break;
        }
    }
    return value;
}

const Tool tools[] = {
    {"instructions",
     {"valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-file=@"},
     [](const std::string& report) { return number_behind(report, "Collected :"); }},
    {"allocations",
     {"valgrind", "--tool=dhat", "--dhat-out-file=/dev/null", "--log-file=@"},
     [](const std::string& report) { return number_behind(report, "bytes in"); }},
    // The last line: "100.00 0.010 7 1234 56 total", after the seconds the microseconds of a call, then calls.
    {"system calls", {"strace", "-f", "-c", "-U", "name,calls", "-o", "@"}, [](const std::string& report) {
         return number_behind(report, "\ntotal");
     }}};

class Server {
  public:
    Server(const Words& command, int port) : port_(port) {
        std::vector<char*> argv;
        Words words = command;
        for (std::string& word : words) argv.push_back(word.data());
        argv.push_back(nullptr);
        posix_spawnattr_t attributes;
        (void)::posix_spawnattr_init(&attributes);
        // A group of its own: strace leaves signals to what it traces.
        (void)::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
        const int error = ::posix_spawnp(&pid_, argv[0], nullptr, &attributes, argv.data(), environ);
        (void)::posix_spawnattr_destroy(&attributes);
        if (error != 0) throw std::runtime_error("cannot start " + command.front());
        for (int tries = 0; !Peer::connect(port_).open(); ++tries) {
            if (tries == 3000 || ::waitpid(pid_, nullptr, WNOHANG) != 0)
                throw std::runtime_error(command.front() + ": the server does not answer");
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server() {
        (void)::kill(-pid_, SIGTERM);
        while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
        }
    }

    void ask(std::size_t requests, std::size_t connections) const {
        const std::string request =
            "GET /1k HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port_) + "\r\n\r\n";
        std::vector<Peer> peers;
        for (std::size_t i = 0; i < connections; ++i) peers.push_back(Peer::connect(port_));
        for (std::size_t done = 0; done < requests; done += connections) {
            for (const Peer& peer : peers) (void)peer.send(request);
            for (Peer& peer : peers) {
                const auto answer = bench::read_answer(peer, "GET");
                if (!answer || answer->status != 200 || answer->body.size() != 1024)
                    throw std::runtime_error("not the answer");
            }
        }
    }

  private:
    int port_;
    pid_t pid_ = -1;
};

struct Settings {
    std::size_t requests = 1000, connections = 1;
    std::string proxy, bare;
};

std::string read_file(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

/// @param server  "{port}" is where it shall listen
double cost(const Settings& settings, const Tool& tool, const Words& server) {
    char file[] = "/tmp/smartcache-bench-XXXXXX";
    ::close(::mkstemp(file));
    std::uint64_t counts[2] = {};
    for (const std::size_t more : {std::size_t{0}, settings.requests}) {
        const int port = Peer::listen(0).port();  // free now
        Words command = tool.command;
        for (std::string& word : command)
            if (const auto at = word.find('@'); at != std::string::npos) word.replace(at, 1, file);
        for (std::string word : server) {
            if (const auto at = word.find("{port}"); at != std::string::npos)
                word.replace(at, 6, std::to_string(port));
            command.push_back(std::move(word));
        }
        {
            const Server started(command, port);
            started.ask(100 + more, settings.connections);
        }
        counts[more != 0] = tool.read(read_file(file));
    }
    (void)::unlink(file);
    return (static_cast<double>(counts[1]) - static_cast<double>(counts[0])) /
           static_cast<double>(settings.requests);
}

void run(const Settings& settings) {
    static Origin origin;  // its thread outlives this call
    const std::vector<std::pair<const char*, Words>> servers = {
        {"caching_proxy",
         {settings.proxy, "--threads", "1", "--listen", "127.0.0.1:{port}", "--origin",
          "127.0.0.1:" + std::to_string(origin.port())}},
        {"beast", {settings.bare, "beast", "{port}"}},
        {"httplib", {settings.bare, "httplib", "{port}"}},
        {"httplib-wrap", {settings.bare, "httplib-wrap", "{port}"}},
        {"httplib-mount", {settings.bare, "httplib-mount", "{port}"}}};
    std::printf("| a hit of |");
    for (const Tool& tool : tools) std::printf(" %s |", tool.counts);
    std::printf("\n|---|---|---|---|\n");
    for (const auto& [name, server] : servers) {
        std::printf("| %s |", name);
        for (const Tool& tool : tools)
            std::printf(tool.counts == std::string_view("instructions") ? " %.0f |" : " %.1f |",
                        cost(settings, tool, server));
        std::printf("\n");
        (void)std::fflush(stdout);
    }
}

}  // namespace

int main(int argc, char** argv) {
    Settings settings;
    for (int i = 1; i < argc; ++i) {
        const std::string_view name = argv[i];
        const auto number = [&] { return static_cast<std::size_t>(i + 1 < argc ? std::atol(argv[++i]) : 0); };
        if (name == "--requests")
            settings.requests = number();
        else if (name == "--connections")
            settings.connections = number();
        else
            (settings.proxy.empty() ? settings.proxy : settings.bare) = name;
    }
    if (settings.bare.empty() || settings.requests == 0 || settings.connections == 0) {
        std::fputs("http_cost [--requests 1000] [--connections 1] caching_proxy http_bare\n", stderr);
        return 2;
    }
    try {
        run(settings);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "http_cost: %s\n", error.what());
        return 2;
    }
}
