// Real processes over one redis-server, or a Redis Cluster, that is stopped, killed and started again meanwhile.
//
// SMARTCACHE_STRESS_SECONDS in the environment makes each last longer than the 6 s that it takes otherwise.

#include <smartcache/facade/smart_cache.hpp>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <smartcache/codec/json.hpp>

#include "redis/support/redis_cluster.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/redis_server.hpp"
#include "support/temp_dir.hpp"

namespace processes_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using Steady = std::chrono::steady_clock;
using smartcache_test::eventually;

namespace {

constexpr int processes = 4;
constexpr int keys = 12;
constexpr int threads = 2;

/// In memory that all processes share.
struct Shared {
    enum Phase : int { running, settling, checking };
    std::atomic<int> phase{running};
    std::atomic<int> waiting{0};                          // processes that are done with a phase
    std::array<std::atomic<std::int64_t>, keys> truth{};  // what loaders read: it only grows
    std::array<std::atomic<std::int64_t>, processes> operations{};
    std::array<std::atomic<std::int64_t>, processes> hits{};
    std::array<std::atomic<std::int64_t>, processes> wrong{};

    static Shared* create() {
        void* const memory =
            ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        return new (memory) Shared();
    }
};

std::string name_of(int key) {
    return "key:" + std::to_string(key);
}
std::string tag_of(int key) {
    return "tag:" + std::to_string(key);
}

/// Raises the truth and erases after that, or looks, or loads. Whoever finds more than the truth, or after an erase of his own
/// less than he knew, has found something wrong.
void hammer(sc::SmartCache<>& cache, Shared& shared, int process, std::uint64_t random) {
    const auto self = static_cast<std::size_t>(process);
    while (shared.phase.load() == Shared::running) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        const int key = static_cast<int>((random >> 33U) % keys);
        std::atomic<std::int64_t>& truth = shared.truth[static_cast<std::size_t>(key)];
        const std::string name = name_of(key);
        ++shared.operations[self];
        const std::uint64_t what = (random >> 50U) % 100;
        const auto load = [&] {
            return cache.get_or_compute(name, [&] { return truth.load(); },
                                        {.ttl = 1h, .tags = {tag_of(key)}});
        };
        if (what < 4) {
            const std::int64_t now = ++truth;
            if (what == 0)
                cache.erase_tag(tag_of(key));
            else if (what == 1 && (random >> 20U) % 256 == 0)
                cache.clear();
            else
                (void)cache.erase(name);
            // Read your writes: whatever this process finds from now on was loaded after the erase.
            if (const auto found = load(); !found || *found < now) ++shared.wrong[self];
        } else if (what == 4 && (random >> 20U) % 1024 == 0) {
            cache.clear_memory();
        } else if (what < 40) {
            if (const auto found = load(); !found || *found > truth.load()) ++shared.wrong[self];
        } else if (const auto found = cache.get<std::int64_t>(name)) {
            ++shared.hits[self];
            if (*found > truth.load()) ++shared.wrong[self];
        }
    }
}

/// @return 0 when all was right
int run_process(const std::string& url, const std::filesystem::path& disk, Shared& shared, int process) {
    sc::Config config{.redis = {.enabled = true,
                                .url = url,
                                .connect_timeout = 1s,
                                .timeout = 200ms,
                                .breaker = {.failures = 5, .open_for = 50ms},
                                .lease = 5s}};
    if (process == 0) config.disk = {.enabled = true, .path = disk};
    sc::SmartCache<> cache(config);
    {
        std::vector<std::thread> running;
        for (int t = 0; t < threads; ++t)
            running.emplace_back([&, t] {
                hammer(cache, shared, process,
                       static_cast<std::uint64_t>(process * threads + t) * 7919U + 1U);
            });
        for (std::thread& thread : running) thread.join();
    }
    // What could not be told while Redis was away is told now.
    if (!eventually([&] {
            return cache.health_check().redis && cache.flush(1s) && cache.stats().redis.coherence.hears;
        }))
        return 2;
    ++shared.waiting;
    if (!eventually([&] { return shared.phase.load() == Shared::checking; })) return 3;
    // And heard, sooner or later: in the end nobody has, anywhere, what is older than the last erase.
    for (int key = 0; key < keys; ++key) {
        const auto right = [&] {
            const auto found = cache.get<std::int64_t>(name_of(key));
            return !found || *found == shared.truth[static_cast<std::size_t>(key)].load();
        };
        if (!eventually(right)) return 4;
        cache.clear_memory();
        if (!right()) return 5;
    }
    return shared.wrong[static_cast<std::size_t>(process)].load() == 0 ? 0 : 6;
}

/// One server.
class Alone {
  public:
    [[nodiscard]] std::string url() const { return server_.url(); }
    void fault(int round) {
        if (round % 3 == 0) {
            server_.pause();
            std::this_thread::sleep_for(300ms);  // calls time out
            server_.resume();
        } else if (round % 3 == 1) {
            server_.kill();
            server_.start();
        } else {
            (void)server_.command({"CLIENT", "KILL", "TYPE", round % 2 == 0 ? "pubsub" : "normal"});
        }
    }
    static void heal() {}
    static constexpr int kinds = 3;

  private:
    sc::test::RedisServer server_;
};

/// Three masters with a replica each.
class InCluster {
  public:
    [[nodiscard]] std::string url() const { return cluster_.url(); }
    void fault(int round) {
        const std::size_t any = static_cast<std::size_t>(round) % cluster_.size();
        switch (round % kinds) {
            case 0: {  // with a connection to its replica that lags behind
                sc::test::RedisServer& server = cluster_.server(owner_of(round));
                server.pause();
                std::this_thread::sleep_for(300ms);  // calls time out
                server.resume();
                return;
            }
            case 1:
                for (std::size_t i = 0; i < cluster_.size(); ++i)
                    (void)cluster_.command(i,
                                           {"CLIENT", "KILL", "TYPE", round % 2 == 0 ? "pubsub" : "normal"});
                return;
            case 2:
                return move_slot(round);
            case 3: {  // a replica takes over, and lacks what had not come to it
                sc::test::RedisServer& server = cluster_.server(owner_of(round));
                server.kill();
                cluster_.until("a replica takes over", [&] { return owner(round).has_value(); });
                server.start();
                return heal();
            }
            default:  // without its data, before anybody takes over
                cluster_.server(any).kill();
                cluster_.server(any).start();
                return heal();
        }
    }
    void heal() {
        cluster_.until("all are back", [&] { return cluster_.whole(); });
    }
    static constexpr int kinds = 5;

  private:
    /// Who serves one of the keys, of the servers that run.
    std::optional<std::size_t> owner(int key) {
        const std::string name = sc::test::cluster_name(sc::physical_key("", name_of(key % keys)));
        for (std::size_t i = 0; i < cluster_.size(); ++i) {
            if (cluster_.server(i).pid() <= 0) continue;
            if (cluster_.command(i, {"EXISTS", name}).kind != sc::test::RedisAnswer::Kind::error) return i;
        }
        return std::nullopt;
    }
    std::size_t owner_of(int key) {
        std::optional<std::size_t> found;
        cluster_.until("somebody serves a key", [&] { return (found = owner(key)).has_value(); });
        return *found;
    }
    /// Of a key to the master of another one.
    void move_slot(int round) {
        const std::size_t slot = sc::test::cluster_slot(sc::physical_key("", name_of(round % keys)));
        const std::size_t from = owner_of(round);
        for (int other = 1; other < keys; ++other)
            if (const std::size_t to = owner_of(round + other); to != from)
                return cluster_.move(slot, from, to);
    }

    sc::test::RedisCluster cluster_{{.masters = 3, .replicas = 3}};
};

template <class World>
void run() {
    World world;
    const smartcache_test::TempDir dir;
    Shared* const shared = Shared::create();
    std::vector<pid_t> children;
    for (int process = 0; process < processes; ++process) {
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            int result = 1;
            try {
                result = run_process(world.url(), dir / "store", *shared, process);
            } catch (...) {
            }
            ::_exit(result);
        }
        children.push_back(child);
    }
    const char* const longer = std::getenv("SMARTCACHE_STRESS_SECONDS");
    const auto end = Steady::now() + std::chrono::seconds(longer != nullptr ? std::atoi(longer) : 6);
    for (int round = 0; Steady::now() < end || round < World::kinds; ++round) {
        std::this_thread::sleep_for(700ms);  // of work, between faults
        world.fault(round);
    }
    world.heal();
    std::this_thread::sleep_for(1500ms);  // for breakers to close, and copies to be made
    shared->phase = Shared::settling;
    CHECK(eventually([&] { return shared->waiting.load() == processes; }));
    shared->phase = Shared::checking;
    for (int process = 0; process < processes; ++process) {
        int status = 0;
        while (::waitpid(children[static_cast<std::size_t>(process)], &status, 0) < 0 && errno == EINTR) {
        }
        INFO(process << " did " << shared->operations[static_cast<std::size_t>(process)] << " operations, "
                     << shared->hits[static_cast<std::size_t>(process)] << " of them hits, "
                     << shared->wrong[static_cast<std::size_t>(process)] << " of them wrong");
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0);
    }
    ::munmap(shared, sizeof(Shared));
}

}  // namespace

TEST_CASE("processes over a Redis that stands still, dies and comes back: nothing erased comes back for good",
          "[coherence][processes][stress]") {
    run<Alone>();
}

TEST_CASE(
    "processes over a Redis Cluster whose masters stand still, die and are replaced: nothing erased comes "
    "back for good",
    "[coherence][cluster][processes][stress]") {
    run<InCluster>();
}

}  // namespace processes_test
