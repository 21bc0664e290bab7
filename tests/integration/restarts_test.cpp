// A process with a disk that is killed and starts again, while another one changes what lies there (R12).
//
// SMARTCACHE_STRESS_SECONDS in the environment makes it last longer than the few seconds that it takes otherwise.

#include <smartcache/facade/smart_cache.hpp>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <string>
#include <thread>

#include <smartcache/codec/json.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/redis_server.hpp"
#include "support/temp_dir.hpp"

namespace restarts_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::eventually;
using Steady = std::chrono::steady_clock;

namespace {

constexpr std::size_t keys = 64;

/// In memory that all processes share.
struct Shared {
    std::array<std::atomic<std::int64_t>, keys> truth{};  // grows, by whom the key belongs to
    std::array<std::atomic<bool>, keys> unfinished{};     // its owner is about to tell
    std::atomic<int> begun{0};                            // lives of the process with the disk
    std::atomic<bool> changing{false};                    // what the other one is to do
    std::atomic<bool> quiet{false};                       // and whether it does not
    std::atomic<bool> over{false};
    std::atomic<std::int64_t> from_disk{0}, wrong{0}, resumed{0};

    static Shared* create() {
        void* const memory =
            ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        return new (memory) Shared();
    }
};

std::string name_of(std::size_t key) {
    return "key:" + std::to_string(key);
}

sc::Config config_for(const std::string& url) {
    return {.redis = {.enabled = true, .url = url, .connect_timeout = 30s, .timeout = 30s, .lease = 30s}};
}

class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::size_t below(std::size_t limit) {
        state_ = state_ * 6364136223846793005U + 1442695040888963407U;
        return static_cast<std::size_t>(state_ >> 33U) % limit;
    }

  private:
    std::uint64_t state_;
};

/// Looks at a key, loads it, or changes one of its own.
/// @param own  0: the even keys, 1: the odd ones
void step(sc::SmartCache<>& cache, Shared& shared, Random& random, std::size_t own) {
    std::size_t key = random.below(keys);
    const std::size_t what = random.below(10);
    if (what < 7) {
        (void)cache.get_or_compute(name_of(key), [&] { return shared.truth[key].load(); },
                                   {.ttl = 1h, .tags = {name_of(key)}});
        return;
    }
    key = key % (keys / 2) / 2 * 2 + own;  // the others never change, and so are good for ever
    shared.unfinished[key] = true;
    const std::int64_t now = ++shared.truth[key];
    if (what == 7)
        (void)cache.set(name_of(key), now, {.ttl = 1h, .tags = {name_of(key)}});
    else if (what == 8)
        (void)cache.erase(name_of(key));
    else
        cache.erase_tag(name_of(key));
    shared.unfinished[key] = false;
}

/// At first nobody else is at work, and Redis has nothing: what it has must be the truth.
void live_with_disk(const std::string& url, const std::filesystem::path& path, Shared& shared,
                    Random random) {
    sc::Config config = config_for(url);
    config.disk = {.enabled = true, .path = path};
    sc::SmartCache<> cache(config);
    for (std::size_t key = 0; key < keys; ++key)
        if (const auto found = cache.get<std::int64_t>(name_of(key))) {
            if (found.tier() == sc::TierId::disk) ++shared.from_disk;
            if (*found != shared.truth[key].load()) ++shared.wrong;
        }
    shared.resumed += static_cast<std::int64_t>(cache.stats().redis.coherence.resumed);
    ++shared.begun;
    for (;;) step(cache, shared, random, 0);
}

void live_without(const std::string& url, Shared& shared) {
    sc::SmartCache<> cache(config_for(url));
    Random random(1);
    while (!shared.over) {
        if (shared.changing) {
            shared.quiet = false;
            step(cache, shared, random, 1);
        } else if (!shared.quiet) {
            // What the other one had not told yet when it was killed.
            for (std::size_t key = 0; key < keys; ++key)
                if (shared.unfinished[key].exchange(false)) (void)cache.erase(name_of(key));
            shared.quiet = true;
        } else {
            std::this_thread::yield();
        }
    }
}

template <class Life>
pid_t process(Life life) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        try {
            life();
        } catch (...) {
        }
        ::_exit(1);
    }
    return child;
}
void kill_and_wait(pid_t child) {
    ::kill(child, SIGKILL);
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
}

}  // namespace

TEST_CASE("a process that is killed at any moment finds nothing on its disk that others have changed since",
          "[coherence][disk][processes][stress][r12]") {
    sc::test::RedisServer server;
    const smartcache_test::TempDir dir;
    Shared& shared = *Shared::create();
    const pid_t other = process([&] { live_without(server.url(), shared); });
    Random random(7);
    const char* const longer = std::getenv("SMARTCACHE_STRESS_SECONDS");
    const auto end = Steady::now() + std::chrono::seconds(longer != nullptr ? std::atoi(longer) : 0);
    for (int life = 0; life < 8 || Steady::now() < end; ++life) {
        const pid_t child = process([&] {
            live_with_disk(server.url(), dir / "store", shared, Random(static_cast<std::uint64_t>(life)));
        });
        const bool begins = eventually([&] { return shared.begun > life; });
        shared.changing = true;
        // As long as it takes a position to be written, more or less.
        std::this_thread::sleep_for(std::chrono::milliseconds(random.below(1500)));
        kill_and_wait(child);
        if (random.below(2) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(random.below(50)));
        shared.changing = false;
        const bool rests = eventually([&] { return shared.quiet.load(); });
        for (std::size_t key = 0; key < keys; ++key) (void)server.command({"DEL", "sc:0::" + name_of(key)});
        CHECK(begins);
        CHECK(rests);
        if (!begins || !rests) break;
    }
    shared.over = true;
    kill_and_wait(other);
    INFO(shared.from_disk << " values from the disk, " << shared.resumed << " lives that went on");
    CHECK(shared.wrong == 0);
    CHECK(shared.from_disk > 0);
    CHECK(shared.resumed > 0);
    ::munmap(&shared, sizeof(Shared));
}

}  // namespace restarts_test
