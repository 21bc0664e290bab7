// The main job in one program: a slow HTTP service, cached in memory, in Redis (where a redis-server is
// installed) and on disk.
//
//     quickstart                    fetch every file of this directory four times; print who answered how fast
//     quickstart --root DIR         the same for another directory
//     quickstart --serve [PORT]     keep serving on 127.0.0.1 for a browser or curl
//
// The first and the second pass fill and use memory. The third comes after memory was cleared: the next tier
// answers. The fourth comes after a restart of the process, and of its Redis: the disk answers.

#include <httplib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/http.hpp>
#include <smartcache/http/adapters/httplib.hpp>
#include <smartcache/smartcache.hpp>

#include "private_redis.hpp"

namespace sc = smartcache;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr auto service_time = 50ms;
constexpr std::array<const char*, 4> passes{"first", "again", "memory cleared", "restarted"};

/// The service: reads a file, slowly.
httplib::Server::Handler slow_files(fs::path root) {
    return [root = std::move(root)](const httplib::Request& request, httplib::Response& response) {
        std::this_thread::sleep_for(service_time);
        const fs::path file = root / fs::path(request.path).relative_path();
        std::ifstream in(file, std::ios::binary);
        if (request.path.find("..") != std::string::npos || !fs::is_regular_file(file) || !in) {
            response.status = 404;
            response.set_content("no such file\n", "text/plain");
            return;
        }
        response.set_header("Cache-Control", "max-age=3600");
        response.set_content(std::string(std::istreambuf_iterator<char>(in), {}), "text/plain");
    };
}

/// The service with the cache in front of it, on a free port.
class CachedService {
  public:
    CachedService(const fs::path& root, const sc::Config& config, int port = 0)
        : cache_(config), web_(cache_, sc::http::MiddlewareOptions{}) {
        server_.set_tcp_nodelay(true);
        server_.Get(".*", sc::http::wrap(web_, slow_files(root)));
        port_ = port == 0 ? server_.bind_to_any_port("127.0.0.1")
                          : (server_.bind_to_port("127.0.0.1", port) ? port : -1);
        if (port_ <= 0) throw std::runtime_error("cannot listen on 127.0.0.1:" + std::to_string(port));
        thread_ = std::thread([this] { server_.listen_after_bind(); });
        while (!server_.is_running()) std::this_thread::yield();
    }
    CachedService(const CachedService&) = delete;
    CachedService& operator=(const CachedService&) = delete;
    ~CachedService() {
        server_.stop();
        thread_.join();
    }
    [[nodiscard]] int port() const { return port_; }
    [[nodiscard]] sc::SmartCache<>& cache() { return cache_; }
    void wait() { thread_.join(); }

  private:
    sc::SmartCache<> cache_;
    sc::http::Middleware<sc::SmartCache<>> web_;
    httplib::Server server_;
    int port_ = 0;
    std::thread thread_;
};

struct Answer {
    int status = 0;
    std::string tier;
    double ms = 0;
};
using Row = std::array<Answer, passes.size()>;

/// Who answered, as the response itself says (RFC 9211).
std::string tier_of(const httplib::Response& response) {
    const std::string status = response.get_header_value("Cache-Status");
    if (status.find("; hit") == std::string::npos) return "origin";
    const std::size_t detail = status.find("detail=");
    if (detail == std::string::npos) return "cache";
    const std::size_t start = detail + 7;
    return status.substr(start, status.find_first_of("; ,", start) - start);
}

std::vector<std::string> files_below(const fs::path& root) {
    std::vector<std::string> files;
    for (auto entry = fs::recursive_directory_iterator(root); entry != fs::recursive_directory_iterator();
         ++entry) {
        const std::string name = entry->path().filename().string();
        if (entry->is_directory() && (name == "build" || name == ".git")) entry.disable_recursion_pending();
        if (entry->is_regular_file() && entry->file_size() < (1U << 20U))
            files.push_back("/" + fs::relative(entry->path(), root).generic_string());
    }
    std::sort(files.begin(), files.end());
    return files;
}

void fetch_all(int port, const std::vector<std::string>& files, std::size_t pass, std::ostream& out) {
    httplib::Client client("127.0.0.1", port);
    client.set_keep_alive(true);
    client.set_tcp_nodelay(true);
    // The same site in every process, whatever its port: the host is part of each key.
    client.set_default_headers({{"Host", "files.example"}});
    (void)client.Get("/");  // opens the connection; no file
    for (const std::string& file : files) {
        const auto start = std::chrono::steady_clock::now();
        const httplib::Result result = client.Get(file);
        const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
        if (!result) throw std::runtime_error("no answer for " + file);
        out << pass << ' ' << result->status << ' ' << tier_of(*result) << ' ' << took.count() << ' ' << file
            << '\n';
    }
}

/// The passes that one process makes; what it saw goes to a file, for the table.
void run_process(bool restarted, const fs::path& root, const fs::path& dir) {
    const PrivateRedis redis(dir);
    const sc::Config config{
        // No other process writes there, so what is on disk is as good after a restart as before.
        .redis = {.enabled = redis.running(),
                  .url = redis.running() ? redis.url() : "redis://localhost",
                  .coherence = sc::Coherence::off},
        .disk = {.enabled = true, .path = dir / "store"}};
    CachedService service(root, config);
    const std::vector<std::string> files = files_below(root);
    std::ofstream out(dir / "answers", std::ios::app);
    if (restarted) {
        fetch_all(service.port(), files, 3, out);
    } else {
        fetch_all(service.port(), files, 0, out);
        fetch_all(service.port(), files, 1, out);
        service.cache().clear_memory();
        fetch_all(service.port(), files, 2, out);
        if (!service.cache().flush()) throw std::runtime_error("the disk is too slow");
    }
    std::ofstream(dir / (restarted ? "stats2" : "stats1")) << sc::to_json(service.cache().stats());
}

/// Runs this program again, as a process of its own.
void run_self(const char* program, const char* phase, const fs::path& root, const fs::path& dir) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::execl(program, program, phase, root.c_str(), dir.c_str(), static_cast<char*>(nullptr));
        ::_exit(127);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        throw std::runtime_error(std::string(phase) + " failed");
}

void print_report(const fs::path& dir) {
    std::map<std::string, Row> rows;
    std::ifstream in(dir / "answers");
    Answer answer;
    std::size_t pass = 0;
    for (std::string file; in >> pass >> answer.status >> answer.tier >> answer.ms >> file;)
        rows[file].at(pass) = answer;

    std::size_t width = 0;
    for (const auto& [file, row] : rows) width = std::max(width, file.size());
    std::printf("%-*s %6s", static_cast<int>(width) + 4, "request", "status");
    for (const char* name : passes) std::printf("  %20s", name);
    std::printf("\n");
    std::map<std::string, std::vector<double>> by_tier;
    for (const auto& [file, row] : rows) {
        std::printf("GET %-*s %6d", static_cast<int>(width), file.c_str(), row[0].status);
        for (const Answer& each : row) {
            std::printf("  %-7s %9.3f ms", each.tier.c_str(), each.ms);
            by_tier[each.tier].push_back(each.ms);
        }
        std::printf("\n");
    }

    const auto median = [](std::vector<double>& values) {
        std::sort(values.begin(), values.end());
        return values[values.size() / 2];
    };
    const double origin = by_tier.contains("origin") ? median(by_tier["origin"]) : 0;
    std::printf("\n%-10s %10s %12s %10s\n", "answered by", "requests", "median", "speed-up");
    for (auto& [tier, values] : by_tier) {
        const double middle = median(values);
        std::printf("%-10s %11zu %9.3f ms %9.0fx\n", tier.c_str(), values.size(), middle, origin / middle);
    }
    for (const char* name : {"stats1", "stats2"}) {
        std::ifstream file(dir / name);
        std::printf("\nstatistics of the %s process:\n%s\n", name[5] == '1' ? "first" : "restarted",
                    std::string(std::istreambuf_iterator<char>(file), {}).c_str());
    }
}

int serve(const fs::path& root, int port) {
    const fs::path store =
        fs::temp_directory_path() / ("smartcache-quickstart-" + std::to_string(::getuid()));
    CachedService service(root, {.disk = {.enabled = true, .path = store}}, port);
    std::printf(
        "serving %s on http://127.0.0.1:%d/ (try: curl -i http://127.0.0.1:%d/README.md); Ctrl-C stops\n",
        root.c_str(), service.port(), service.port());
    std::fflush(stdout);
    service.wait();
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const std::vector<std::string> args(argv + 1, argv + argc);
        if (args.size() == 3 && (args[0] == "--first" || args[0] == "--restarted")) {
            run_process(args[0] == "--restarted", args[1], args[2]);
            return 0;
        }
        fs::path root = fs::current_path();
        int port = -1;
        for (std::size_t i = 0; i < args.size(); ++i) {
            if (args[i] == "--root" && i + 1 < args.size()) {
                root = fs::absolute(args[++i]);
            } else if (args[i] == "--serve") {
                port = i + 1 < args.size() && args[i + 1][0] != '-' ? std::stoi(args[++i]) : 8080;
            } else {
                std::fprintf(stderr, "usage: quickstart [--root DIR] [--serve [PORT]]\n");
                return 2;
            }
        }
        if (port >= 0) return serve(root, port);

        std::string pattern = (fs::temp_directory_path() / "smartcache-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
        const fs::path dir = pattern;
        const std::string self = fs::read_symlink("/proc/self/exe").string();
        std::printf("Every file of %s, through a service that takes %lld ms, four times ...\n", root.c_str(),
                    static_cast<long long>(service_time.count()));
        std::fflush(stdout);
        run_self(self.c_str(), "--first", root, dir);
        run_self(self.c_str(), "--restarted", root, dir);
        print_report(dir);
        fs::remove_all(dir);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "quickstart: %s\n", error.what());
        return 1;
    }
}
