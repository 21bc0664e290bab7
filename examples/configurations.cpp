// The same work on memory alone, with a disk, with Redis, and with both: who answers when memory is empty, after a restart and
// when Redis is gone, and how long one answer takes in the median.
//
// It starts a redis-server of its own; where none is installed, the first two are all there is to see.

#include <stdlib.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <smartcache/smartcache.hpp>

#include "private_redis.hpp"

namespace sc = smartcache;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t count = 1000;

std::vector<std::string> keys() {
    std::vector<std::string> all(count);
    for (std::size_t i = 0; i < count; ++i) all[i] = "report:" + std::to_string(i);
    return all;
}

/// Asks for every key. Prints who answered.
void ask(sc::SmartCache<>& cache, const char* when) {
    std::array<std::size_t, 5> answered{};
    std::vector<double> times;
    for (const std::string& key : keys()) {
        const auto start = std::chrono::steady_clock::now();
        const auto hit = cache.get<std::string_view>(key);
        times.push_back(
            std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
        ++answered[static_cast<std::size_t>(hit.tier())];
    }
    std::nth_element(times.begin(), times.begin() + count / 2, times.end());
    std::printf("  %-14s", when);
    for (const sc::TierId tier : {sc::TierId::memory, sc::TierId::redis, sc::TierId::disk, sc::TierId::none})
        std::printf(" %4zu %s", answered[static_cast<std::size_t>(tier)],
                    tier == sc::TierId::none ? "misses" : std::string(to_string(tier)).c_str());
    std::printf("   %.1f us\n", times[count / 2]);
}

/// @param redis  that the configuration speaks of, if it does
void work(const char* name, const sc::Config& config, std::optional<PrivateRedis>& redis) {
    std::printf("%s\n", name);
    {
        sc::SmartCache<> cache(config);
        std::vector<std::pair<std::string, std::string>> reports;
        for (const std::string& key : keys()) reports.emplace_back(key, std::string(1000, 'x'));
        cache.set_many(reports);
        ask(cache, "at once");
        cache.clear_memory();
        ask(cache, "memory empty");
    }
    sc::SmartCache<> cache(config);
    ask(cache, "restarted");
    if (!config.redis.enabled) return;
    redis.reset();
    cache.clear_memory();
    ask(cache, "Redis gone");
}

void compare(const fs::path& dir) {
    std::optional<PrivateRedis> redis;
    work("memory_only", sc::Config::memory_only(), redis);
    work("persistent: memory and disk", sc::Config::persistent(dir / "persistent"), redis);

    for (const bool with_disk : {false, true}) {
        redis.emplace(dir);
        if (!redis->running()) throw std::runtime_error("no redis-server, or a build without hiredis");
        sc::Config config = sc::Config::distributed(redis->url(), dir / "distributed");
        config.disk.enabled = with_disk;
        config.redis.coherence =
            sc::Coherence::off;  // nobody else writes here, so the disk is as good as Redis
        config.redis.connect_timeout = config.redis.timeout =
            10s;  // a busy machine does not change who answers
        work(with_disk ? "distributed: all three" : "memory and Redis", config, redis);
    }
}

}  // namespace

int main() {
    std::string dir = (fs::temp_directory_path() / "smartcache-XXXXXX").string();
    if (::mkdtemp(dir.data()) == nullptr) return 1;
    int status = 0;
    try {
        compare(dir);
    } catch (const std::exception& error) {  // a ConfigError says which field, and what is allowed
        std::fprintf(stderr, "configurations: %s\n", error.what());
        status = 1;
    }
    std::error_code ignored;
    fs::remove_all(dir, ignored);
    return status;
}

// Expected output:
// memory_only
//   at once        1000 memory    0 redis    0 disk    0 misses   ... us
//   memory empty      0 memory    0 redis    0 disk 1000 misses   ... us
//   restarted         0 memory    0 redis    0 disk 1000 misses   ... us
// persistent: memory and disk
//   at once        1000 memory    0 redis    0 disk    0 misses   ... us
//   memory empty      0 memory    0 redis 1000 disk    0 misses   ... us
//   restarted         0 memory    0 redis 1000 disk    0 misses   ... us
// memory and Redis
//   at once        1000 memory    0 redis    0 disk    0 misses   ... us
//   memory empty      0 memory 1000 redis    0 disk    0 misses   ... us
//   restarted         0 memory 1000 redis    0 disk    0 misses   ... us
//   Redis gone        0 memory    0 redis    0 disk 1000 misses   ... us
// distributed: all three
//   at once        1000 memory    0 redis    0 disk    0 misses   ... us
//   memory empty      0 memory 1000 redis    0 disk    0 misses   ... us
//   restarted         0 memory 1000 redis    0 disk    0 misses   ... us
//   Redis gone        0 memory    0 redis 1000 disk    0 misses   ... us
