// Two processes over one Redis: what one stores the other finds, what one changes or erases leaves the other's memory,
// and of the two only one loads.
//
// The first process starts a redis-server of its own and, as the second process, this program once more. It tells that
// one by a pipe what to do, one line at a time, and prints what both of them see.

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include <smartcache/smartcache.hpp>

#include "private_redis.hpp"

namespace sc = smartcache;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

/// Messages take microseconds, but nobody promises when: whoever wants to know waits until it is so.
void wait_until(const std::function<bool()>& so, const char* what) {
    for (const auto end = std::chrono::steady_clock::now() + 30s; !so(); std::this_thread::sleep_for(1ms))
        if (std::chrono::steady_clock::now() > end)
            throw std::runtime_error(std::string("waited for ") + what);
}

/// What each of the two processes is: a cache of its own over the Redis of both.
class Process {
  public:
    /// The deadlines are long, so that a busy machine does not change what is printed.
    explicit Process(const std::string& url)
        : cache_({.redis = {
                      .enabled = true, .url = url, .connect_timeout = 10s, .timeout = 10s, .lease = 30s}}) {
        wait_until([this] { return cache_.stats().redis.coherence.hears; }, "hearing the other process");
    }

    /// One line: "set KEY VALUE", "set KEY VALUE TAG", "get KEY", "erase KEY", "erase_tag TAG",
    /// "load KEY" or "count KEY".
    std::string run(const std::string& line) {
        char word[4][64] = {};
        (void)std::sscanf(line.c_str(), "%63s %63s %63s %63s", word[0], word[1], word[2], word[3]);
        const std::string_view command = word[0], key = word[1], value = word[2], tag = word[3];
        if (command == "set") {
            sc::EntryOptions options{.ttl = 1h};
            if (!tag.empty()) options.tags = {std::string(tag)};
            return cache_.set(key, value, options) ? "stored" : "not stored";
        }
        if (command == "erase") return cache_.erase(key) ? "erased" : "nothing to erase";
        if (command == "erase_tag") return cache_.erase_tag(key) ? "erased" : "not acknowledged";
        if (command == "load") return load(key);
        if (command == "count") return std::to_string(cache_.get<int>(key).value_or(0));
        const auto hit = cache_.get<std::string>(key);
        return hit ? *hit + " from " + std::string(to_string(hit.tier())) : "nothing";
    }

  private:
    /// Both come here at the same time. Whoever loads does so until the other one wants the value, too.
    std::string load(std::string_view key) {
        (void)cache_.increment("asking");
        const auto slow = [this] {
            (void)cache_.increment("loads");
            wait_until([this] { return cache_.get<int>("asking").value_or(0) == 2; },
                       "the other process to ask");
            return std::string("a report");
        };
        return *cache_.get_or_compute(key, slow, {.ttl = 1h, .distributed_lock = true});
    }

    sc::SmartCache<> cache_;
};

/// The other process, at the other end of a pair of sockets.
class OtherProcess {
  public:
    OtherProcess(const std::string& program, const std::string& url) {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
            throw std::runtime_error("no sockets");
        process_ = ::fork();
        if (process_ == 0) {
            ::dup2(ends[1], STDIN_FILENO);
            ::execl(program.c_str(), program.c_str(), "--other", url.c_str(), static_cast<char*>(nullptr));
            ::_exit(127);
        }
        ::close(ends[1]);
        lines_ = ::fdopen(ends[0], "r+");
        if (receive() != "ready") throw std::runtime_error("the other process did not start");
    }
    OtherProcess(const OtherProcess&) = delete;
    OtherProcess& operator=(const OtherProcess&) = delete;
    ~OtherProcess() {
        ::fclose(lines_);  // which ends it
        ::waitpid(process_, nullptr, 0);
    }

    void send(const std::string& line) {
        std::fprintf(lines_, "%s\n", line.c_str());
        std::fflush(lines_);
    }
    std::string receive() {
        char line[256] = {};
        if (std::fgets(line, sizeof line, lines_) == nullptr)
            throw std::runtime_error("the other process has ended");
        line[std::strcspn(line, "\n")] = '\0';
        return line;
    }
    std::string run(const std::string& line) {
        send(line);
        return receive();
    }

  private:
    pid_t process_ = -1;
    std::FILE* lines_ = nullptr;
};

int be_the_other(const char* url) {
    Process mine(url);
    std::FILE* const lines = ::fdopen(STDIN_FILENO, "r+");
    std::fprintf(lines, "ready\n");
    std::fflush(lines);
    for (char line[256]; std::fgets(line, sizeof line, lines) != nullptr; std::fflush(lines))
        std::fprintf(lines, "%s\n", mine.run(line).c_str());
    return 0;
}

void show(const fs::path& dir) {
    const PrivateRedis redis(dir);
    if (!redis.running()) throw std::runtime_error("this needs redis-server, and a build with hiredis");
    OtherProcess other(fs::read_symlink("/proc/self/exe").string(), redis.url());
    Process mine(redis.url());
    const auto here = [&](const std::string& line) {
        std::printf("A  %-34s %s\n", line.c_str(), mine.run(line).c_str());
    };
    const auto there = [&](const std::string& line) {
        std::printf("B  %-34s %s\n", line.c_str(), other.run(line).c_str());
    };
    // Asks B until it says so: at once in most cases. What it has just read from Redis leaves its memory once more if the
    // message about it comes late.
    const auto soon_there = [&](const std::string& line, const std::string& answer) {
        wait_until([&] { return other.run(line) == answer; }, line.c_str());
        std::printf("B  %-34s %s, soon\n", line.c_str(), answer.c_str());
    };

    std::printf("- B finds what A stores, and has it in memory from then on\n");
    here("set city Oslo");
    there("get city");
    soon_there("get city", "Oslo from memory");
    std::printf("- A's new value takes the place of the one in B's memory, and an erase ends it\n");
    here("set city Bergen");
    soon_there("get city", "Bergen from memory");
    here("erase city");
    soon_there("get city", "nothing");
    std::printf("- a tag that A erases ends what B stored with it, in Redis and in both memories\n");
    there("set user:7:name Ann user:7");
    there("set user:7:mail ann@example user:7");
    here("get user:7:name");
    here("erase_tag user:7");
    here("get user:7:name");
    soon_there("get user:7:name", "nothing");
    soon_there("get user:7:mail", "nothing");
    std::printf("- both want the same report at the same time: one loads it, the other waits for it\n");
    other.send("load report");
    here("load report");
    std::printf("B  %-34s %s\n", "load report", other.receive().c_str());
    here("count loads");
}

}  // namespace

int main(int argc, char** argv) {
    try {
        if (argc == 3 && std::string_view(argv[1]) == "--other") return be_the_other(argv[2]);
        std::string dir = (fs::temp_directory_path() / "smartcache-XXXXXX").string();
        if (::mkdtemp(dir.data()) == nullptr) throw std::runtime_error("no temporary directory");
        struct Remove {
            const std::string& dir;
            ~Remove() {
                std::error_code ignored;
                fs::remove_all(dir, ignored);
            }
        } const remove{dir};
        show(dir);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "two_processes: %s\n", error.what());
        return 1;
    }
}

// Expected output:
// - B finds what A stores, and has it in memory from then on
// A  set city Oslo                      stored
// B  get city                           Oslo from redis
// B  get city                           Oslo from memory, soon
// - A's new value takes the place of the one in B's memory, and an erase ends it
// A  set city Bergen                    stored
// B  get city                           Bergen from memory, soon
// A  erase city                         erased
// B  get city                           nothing, soon
// - a tag that A erases ends what B stored with it, in Redis and in both memories
// B  set user:7:name Ann user:7         stored
// B  set user:7:mail ann@example user:7 stored
// A  get user:7:name                    Ann from redis
// A  erase_tag user:7                   erased
// A  get user:7:name                    nothing
// B  get user:7:name                    nothing, soon
// B  get user:7:mail                    nothing, soon
// - both want the same report at the same time: one loads it, the other waits for it
// A  load report                        a report
// B  load report                        a report
// A  count loads                        1
