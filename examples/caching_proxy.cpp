// A caching reverse proxy: everything SmartCache knows about HTTP in front of any HTTP/1.1 origin.
//
//     caching_proxy --listen 127.0.0.1:8080 --origin 127.0.0.1:8000 [--config file.json] [--threads 4]
//
// The file: {"cache": {...Config...}, "http": {...MiddlewareOptions...}, "proxy": {"connect_timeout",
// "origin_timeout", "client_timeout", "trust_forwarded", "shutdown_timeout", "purge_key", "admin"}}. Without one: 10 000
// responses in memory, lifetimes as RFC 9111 says, stale responses for a day where the origin cannot be reached.
//
// Half of it waits for nothing, the other half may block. Event loops (`--threads`, one per core unless told
// otherwise) read requests, and answer at once what memory has a fresh response for: idle connections and clients
// that are slow to take their response cost no thread. Every other request goes to a worker thread with its
// connection, through code that simply blocks, and the connection comes back for the next one; requests that wait
// for the same response of the origin share one. In caching_proxy/: sockets (stream.hpp), HTTP/1.1 on the wire
// (wire.hpp), the origin (origin.hpp), one client (client.hpp), the two halves (loop.hpp, workers.hpp), what
// holds them together (server.hpp), and the port for those who run it (admin.hpp).
//
// What the cache may store is collected before it is sent; everything else is streamed. A request that the origin
// may have seen is never sent twice. 502: the origin refused, hung up or talked nonsense; 504: it did not answer in
// time.

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <smartcache/http.hpp>
#include <smartcache/http/options_json.hpp>
#include <smartcache/smartcache.hpp>

#include "caching_proxy/admin.hpp"
#include "caching_proxy/client.hpp"
#include "caching_proxy/origin.hpp"
#include "caching_proxy/server.hpp"
#include "caching_proxy/stream.hpp"

namespace sc = smartcache;
namespace http = smartcache::http;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t max_clients = 10'000;
constexpr std::size_t max_workers = 1000;

/// Takes as many descriptors as the system gives. @return how many clients there may be: some are left to the origin
/// and to files
std::size_t room_for_clients() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 500;
    limit.rlim_cur = limit.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &limit);
    (void)::getrlimit(RLIMIT_NOFILE, &limit);
    return std::clamp<std::size_t>(limit.rlim_cur / 2, 1, max_clients);
}

/// Takes as long for any key of the same length, so that nobody can guess it piece by piece.
bool same_key(std::string_view given, std::string_view key) {
    if (given.size() != key.size()) return false;
    unsigned differences = 0;
    for (std::size_t i = 0; i < key.size(); ++i)
        differences |=
            static_cast<unsigned>(static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(key[i]));
    return differences == 0;
}

int stop_pipe[2] = {-1, -1};
extern "C" void on_signal(int) {
    const int saved = errno;
    (void)!::write(stop_pipe[1], "x", 1);
    errno = saved;
}

struct Options {
    proxy::Endpoint listen{"127.0.0.1", "8080"};
    proxy::Endpoint origin{"127.0.0.1", "8000"};
    std::size_t threads = std::max(1U, std::thread::hardware_concurrency());
    sc::Config cache;
    http::MiddlewareOptions web;
    proxy::ProxyOptions proxy;
};

Options read_options(int argc, char** argv) {
    Options options;
    // A cache in front of an origin that it knows nothing about: RFC 9111, and the response's Vary decides.
    options.web.cache_headers.clear();
    options.web.cache_status_codes = {200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501};
    options.web.ignore_query_params.clear();
    options.web.grace = 24h;
    for (int i = 1; i < argc; i += 2) {
        const std::string_view name = argv[i];
        if (name != "--listen" && name != "--origin" && name != "--config" && name != "--threads")
            throw std::invalid_argument("unknown option " + std::string(name));
        if (i + 1 == argc) throw std::invalid_argument(std::string(name) + " wants a value");
        const std::string value = argv[i + 1];
        if (name == "--listen") {
            options.listen = proxy::parse_endpoint(value);
        } else if (name == "--origin") {
            options.origin = proxy::parse_endpoint(value);
        } else if (name == "--threads") {
            const auto [end, error] =
                std::from_chars(value.data(), value.data() + value.size(), options.threads);
            if (error != std::errc{} || end != value.data() + value.size() || options.threads < 1 ||
                options.threads > 1024)
                throw std::invalid_argument("--threads wants 1 to 1024");
        } else {
            std::ifstream file(value);
            if (!file) throw std::invalid_argument("cannot read " + value);
            const std::string text{std::istreambuf_iterator<char>(file), {}};
            const auto json = nlohmann::json::parse(text, nullptr, false);
            if (!json.is_object()) throw std::invalid_argument(value + " is not a JSON object");
            for (const auto& [key, part] : json.items()) {
                if (key == "cache") {
                    options.cache = sc::Config::from_json(part.dump());
                } else if (key == "http") {
                    options.web = http::options_from_json(part.dump(), options.web);
                } else if (key == "proxy") {
                    std::vector<sc::ConfigProblem> problems;
                    {
                        http::detail::JsonFields in(part, "proxy.", problems);
                        in.read("connect_timeout", options.proxy.connect_timeout);
                        in.read("origin_timeout", options.proxy.origin_timeout);
                        in.read("client_timeout", options.proxy.client_timeout);
                        in.read("trust_forwarded", options.proxy.trust_forwarded);
                        in.read("shutdown_timeout", options.proxy.shutdown_timeout);
                        in.read("purge_key", options.proxy.purge_key);
                        in.read("admin", options.proxy.admin);
                    }
                    if (!problems.empty()) throw sc::ConfigError(std::move(problems));
                } else {
                    throw sc::ConfigError(key, part.dump(), "cache, http, proxy");
                }
            }
        }
    }
    return options;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && (std::string_view(argv[1]) == "--help" || std::string_view(argv[1]) == "-h")) {
        std::puts(
            "caching_proxy [--listen host:port] [--origin host:port] [--config file.json] [--threads n]\n"
            "A caching reverse proxy; without options from 127.0.0.1:8080 to 127.0.0.1:8000.\n"
            "threads: event loops; one per core unless told otherwise.\n"
            "The file: {\"cache\": {...}, \"http\": {...}, \"proxy\": {...}}; the README lists the fields.");
        return 0;
    }
    try {
        Options options = read_options(argc, argv);
        options.cache.logger = [](sc::LogLevel level, std::string_view line) {
            const std::string text(line);
            if (level >= sc::LogLevel::warning) std::fprintf(stderr, "caching_proxy: %s\n", text.c_str());
        };
        if (::pipe(stop_pipe) != 0) throw std::runtime_error("pipe");
        struct sigaction action {};
        action.sa_handler = on_signal;
        for (const int signal : {SIGINT, SIGTERM}) (void)::sigaction(signal, &action, nullptr);

        sc::SmartCache<sc::BytesCodec> cache(options.cache);
        if (!options.proxy.purge_key.empty()) {
            options.web.purge = [key = options.proxy.purge_key](const http::Request& request) {
                return same_key(request.headers.value("Purge-Key"), key);
            };
            options.web.purge_many = options.web.purge;
        }
        // RFC 9110 section 7.6.2: we are the last to get it. TRACE would tell what others on the way have added.
        options.web.on_request = [](const http::Request& request) -> http::RequestVerdict {
            if (proxy::forwards_left(request) != 0) return http::RequestVerdict::proceed();
            if (request.method == "TRACE") return proxy::plain(501, "no TRACE here");
            return http::Response{200, {{"Content-Length", "0"}}, {}};
        };
        proxy::Web web(cache, options.web);
        proxy::Origin origin(options.origin, options.proxy);
        proxy::Server server({options.listen, options.threads, room_for_clients(), max_workers},
                             options.proxy, web, origin, options.cache.max_value_size);
        std::optional<proxy::Admin> admin;
        if (!options.proxy.admin.empty()) {
            const auto pages = [&](std::string_view path) -> std::optional<proxy::Admin::Page> {
                if (path == "/__smartcache/stats")
                    return proxy::Admin::Page{"application/json",
                                              "{\"http\":" + http::to_json(web.counters()) +
                                                  ",\"cache\":" + sc::to_json(cache.stats()) + "}\n"};
                if (path == "/metrics")
                    return proxy::Admin::Page{
                        "text/plain; version=0.0.4",
                        sc::prometheus_text(cache) + http::prometheus_text(web.counters())};
                return std::nullopt;
            };
            const proxy::Endpoint at = proxy::parse_endpoint(options.proxy.admin);
            admin.emplace(at, pages);
            std::fprintf(stderr, "caching_proxy: admin at %s:%d\n", at.host.c_str(), admin->port());
        }
        std::fprintf(stderr, "caching_proxy: %s:%d -> %s\n", options.listen.host.c_str(), server.port(),
                     options.origin.text().c_str());
        server.run(stop_pipe[0]);
        const http::MiddlewareStats stats = web.counters();
        std::fprintf(stderr, "caching_proxy: %llu requests, %llu hits, %llu misses, %llu skipped\n",
                     static_cast<unsigned long long>(stats.total_requests),
                     static_cast<unsigned long long>(stats.cache_hits),
                     static_cast<unsigned long long>(stats.cache_misses),
                     static_cast<unsigned long long>(stats.cache_skips));
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "caching_proxy: %s\n", error.what());
        return 2;
    }
}
