// Real processes over one redis-server, a Redis Cluster, or what sentinels watch. Servers and processes are stopped, killed and
// started again meanwhile.
//
// SMARTCACHE_STRESS_SECONDS in the environment makes each last longer than the 6 s that it takes otherwise, and print what it
// has checked.

#include <smartcache/facade/smart_cache.hpp>

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <new>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <smartcache/codec/json.hpp>

#include "redis/support/redis_cluster.hpp"
#include "redis/support/sentinel_set.hpp"
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
constexpr sc::Duration lease = 5s;
/// What it may take until a change that was acknowledged is known to a process that hears, or knows that it does not: the
/// lease, and as much again for a machine that has other things to do than to run the thread that looks at it.
constexpr std::int64_t longest_stale = 2 * lease / 1ms;

/// In memory that all processes share.
struct Shared {
    enum Phase : int { running, settling, checking };
    static constexpr std::int64_t remembered = 1 << 16;  // changes of each key
    struct Key {
        std::atomic<std::int64_t> truth{0};  // what loaders read: it only grows
        // One more than the process that changes it: truths are set in their order.
        std::atomic<int> changing{0};
        // A bit for each thread that has changed it and does not know yet that Redis has that.
        std::atomic<unsigned> untold{0};
        std::array<std::atomic<std::int64_t>, remembered> told{};  // by truth: when, 0: not known
    };
    struct Process {
        std::atomic<std::int64_t> operations{0};
        std::atomic<std::int64_t> changes{0};
        std::atomic<std::int64_t> hits{0};
        std::atomic<std::int64_t> stale{0};   // of the hits, those that somebody was just changing
        std::atomic<std::int64_t> oldest{0};  // ms for which one of them had been out of date
        std::atomic<std::int64_t> late{
            0};  // changes whose outcome was not known came true after those of others
        std::atomic<std::int64_t> restarts{0};
        std::atomic<std::int64_t> wrong{0};
    };
    std::atomic<int> phase{running};
    std::atomic<int> waiting{0};               // processes that are done with a phase
    std::atomic<std::int64_t> whole_since{0};  // ms; since then no server has lost what it had acknowledged
    std::array<Key, keys> key{};
    std::array<Process, processes> process{};

    static Shared* create() {
        void* const memory =
            ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        return new (memory) Shared();
    }
};

std::int64_t now_ms() {
    return Steady::now().time_since_epoch() / 1ms;
}
std::string name_of(int key) {
    return "key:" + std::to_string(key);
}
std::string tag_of(int key) {
    return "tag:" + std::to_string(key);
}

/// One thread of one process.
class Hammer {
  public:
    Hammer(sc::SmartCache<>& cache, Shared& shared, int process, int thread)
        : cache_(cache),
          shared_(shared),
          self_(shared.process[static_cast<std::size_t>(process)]),
          process_(process),
          bit_(1U << static_cast<unsigned>(process * threads + thread)) {}

    void run(std::uint64_t random) {
        while (shared_.phase.load() == Shared::running) {
            random = random * 6364136223846793005U + 1442695040888963407U;
            const int key = static_cast<int>((random >> 33U) % keys);
            const std::uint64_t what = (random >> 50U) % 100;
            ++self_.operations;
            if (what < 6) {
                change(key, random);
            } else if (what == 6 && (random >> 20U) % 1024 == 0) {
                cache_.clear_memory();
            } else if (what < 40) {
                if (const auto found = load(key); !found || *found > of(key).truth.load())
                    wrong("loads what nobody has set", key, found, of(key).truth);
            } else {
                look(key);
            }
        }
    }

    /// What who has died may not have told, and what servers that took over may have lost since: nobody else knows it.
    /// @param all  such servers there are
    static void make_up(sc::SmartCache<>& cache, Shared& shared, int process, bool all) {
        const unsigned bits = ((1U << threads) - 1U) << static_cast<unsigned>(process * threads);
        for (int key = 0; key < keys; ++key)
            if (all || (shared.key[static_cast<std::size_t>(key)].untold & bits) != 0)
                (void)cache.erase(name_of(key));
        // Where Redis does not answer yet: until it has.
        if (!eventually([&] { return cache.flush(1s); }))
            ++shared.process[static_cast<std::size_t>(process)].wrong;
        for (Shared::Key& key : shared.key) {
            key.untold &= ~bits;
            int mine = process + 1;
            key.changing.compare_exchange_strong(mine, 0);
        }
    }

  private:
    [[nodiscard]] Shared::Key& of(int key) { return shared_.key[static_cast<std::size_t>(key)]; }
    [[nodiscard]] static sc::EntryOptions options(int key) { return {.ttl = 1h, .tags = {tag_of(key)}}; }
    [[nodiscard]] std::optional<std::int64_t> load(int key) {
        const auto found = cache_.get_or_compute(
            name_of(key), [&] { return of(key).truth.load(); }, options(key));
        return found ? std::optional(*found) : std::nullopt;
    }

    /// Raises the truth and sets it, or erases what was there.
    void change(int key, std::uint64_t random) {
        Shared::Key& shared = of(key);
        if (int nobody = 0; !shared.changing.compare_exchange_strong(nobody, process_ + 1)) return;
        ++self_.changes;
        const unsigned others = shared.untold.fetch_or(bit_) & ~bit_;
        told(key, shared.truth.load() + 1) = 0;
        const std::int64_t now = ++shared.truth;
        switch ((random >> 20U) % 8) {
            case 0:
                cache_.erase_tag(tag_of(key));
                break;
            case 1:
                if ((random >> 24U) % 64 == 0) {
                    cache_.clear();
                    break;
                }
                [[fallthrough]];
            case 2:
            case 3:
                (void)cache_.erase(name_of(key));
                break;
            default:
                (void)cache_.set(name_of(key), now, options(key));
        }
        // Read your writes: whatever this process finds from now on was set or loaded after that. Unless somebody has sent a
        // server that stood still what it gets to only now, and has not reconnected yet, which ends that (R10).
        if (const auto found = load(key); found && *found < now && others != 0)
            ++self_.late;
        else if (!found || *found < now)
            wrong("finds what it has ended itself", key, found, now);
        if (cache_.flush(0ms)) {  // does not wait
            told(key, now) = now_ms();
            for (Shared::Key& each : shared_.key) each.untold &= ~bit_;
        }
        shared.changing = 0;
    }

    void look(int key) {
        const std::int64_t before = now_ms();
        const std::int64_t whole = shared_.whole_since.load();
        const auto found = cache_.get<std::int64_t>(name_of(key));
        if (!found) return;
        ++self_.hits;
        const std::int64_t truth = of(key).truth.load();
        if (*found > truth) wrong("finds what nobody has set", key, *found, truth);
        // The first that has ended it. Those that are too long ago to be remembered make no difference.
        std::int64_t ended = std::max(*found + 1, truth - Shared::remembered / 2);
        while (ended <= truth && told(key, ended) == 0) ++ended;
        if (ended > truth || told(key, ended) >= before) return;
        ++self_.stale;
        const std::int64_t late = before - std::max(told(key, ended).load(), whole);
        if (late > self_.oldest) self_.oldest = late;
        if (late > longest_stale && shared_.whole_since.load() == whole)
            wrong("finds what has ended long ago", key, *found, truth);
    }
    [[nodiscard]] std::atomic<std::int64_t>& told(int key, std::int64_t truth) {
        return of(key).told[static_cast<std::size_t>(truth % Shared::remembered)];
    }

    void wrong(const char* what, int key, std::optional<std::int64_t> found, std::int64_t truth) {
        ++self_.wrong;
        std::ostringstream line;
        line << "process " << process_ << " " << what << ": key " << key << " has "
             << (found ? std::to_string(*found) : "nothing") << " and should have " << truth << ", "
             << now_ms() - shared_.whole_since << " ms after the last fault\n";
        std::cerr << line.str();
    }

    sc::SmartCache<>& cache_;
    Shared& shared_;
    Shared::Process& self_;
    int process_;
    unsigned bit_;
};

/// @param again  it takes the place of one that was killed
/// @return 0 when all was right
int run_process(const std::string& url, const std::filesystem::path& disk, Shared& shared, int process,
                bool loses, bool again) {
    sc::Config config{.redis = {.enabled = true,
                                .url = url,
                                .connect_timeout = 1s,
                                .timeout = 200ms,
                                .breaker = {.failures = 5, .open_for = 50ms},
                                .lease = lease,
                                // How old something may be while it does not hear is limited only so.
                                .lease_lost = sc::LeaseLost::distrust}};
    if (process == 0) config.disk = {.enabled = true, .path = disk};
    sc::SmartCache<> cache(config);
    if (again) Hammer::make_up(cache, shared, process, loses);
    {
        std::vector<std::thread> running;
        for (int t = 0; t < threads; ++t)
            running.emplace_back([&, t] {
                Hammer(cache, shared, process, t)
                    .run(static_cast<std::uint64_t>(process * threads + t) * 7919U + 1U);
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
    // And heard, sooner or later: in the end nobody has, anywhere, what is older than the last change.
    for (int key = 0; key < keys; ++key) {
        const auto right = [&] {
            const auto found = cache.get<std::int64_t>(name_of(key));
            return !found || *found == shared.key[static_cast<std::size_t>(key)].truth.load();
        };
        if (!eventually(right)) return 4;
        cache.clear_memory();
        if (!right()) return 5;
    }
    return shared.process[static_cast<std::size_t>(process)].wrong.load() == 0 ? 0 : 6;
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
    static constexpr bool loses = false;

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
    static constexpr bool loses = true;

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

/// A master and its replica, watched by three sentinels.
class WithSentinels {
  public:
    WithSentinels() { heal(); }
    [[nodiscard]] std::string url() const { return set_.url(); }
    void fault(int round) {
        sc::test::RedisServer& master = set_.master();
        switch (round % kinds) {
            case 0:
                master.pause();
                std::this_thread::sleep_for(300ms);  // calls time out
                master.resume();
                return;
            case 1:
                for (const char* const kind : {"pubsub", "normal"})
                    (void)sc::test::ask(master, {"CLIENT", "KILL", "TYPE", kind});
                return;
            case 2:  // the replica takes over, and lacks what had not come to it
                master.kill();
                replaced(master);
                master.start();
                return heal();
            case 3:  // the same, and the old one does not know that it was replaced when it goes on
                master.pause();
                replaced(master);
                master.resume();
                return heal();
            default:  // without its data, before anybody takes over
                master.kill();
                master.start();
                return heal();
        }
    }
    void heal() {
        REQUIRE(eventually(
            [&] { return set_.complete() && sc::test::role(set_.first) != sc::test::role(set_.second); }));
    }
    static constexpr int kinds = 5;
    static constexpr bool loses = true;

  private:
    void replaced(const sc::test::RedisServer& master) {
        REQUIRE(eventually(
            [&] { return &set_.master() != &master && sc::test::role(set_.master()) == "master"; }));
    }

    sc::test::SentinelSet set_;
};

/// @return its id
template <class World>
pid_t start_process(const World& world, const smartcache_test::TempDir& dir, Shared& shared, int process,
                    bool again) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child != 0) return child;
    int result = 1;
    try {
        result = run_process(world.url(), dir / "store", shared, process, World::loses, again);
    } catch (...) {
    }
    ::_exit(result);
}

int wait_for(pid_t child) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

template <class World>
void run(const char* name) {
    World world;
    const smartcache_test::TempDir dir;
    Shared* const shared = Shared::create();
    std::vector<pid_t> children;
    for (int process = 0; process < processes; ++process)
        children.push_back(start_process(world, dir, *shared, process, false));
    const char* const longer = std::getenv("SMARTCACHE_STRESS_SECONDS");
    const auto end = Steady::now() + std::chrono::seconds(longer != nullptr ? std::atoi(longer) : 6);
    int round = 0;
    for (; Steady::now() < end || round < World::kinds; ++round) {
        std::this_thread::sleep_for(700ms);  // of work, between faults
        world.fault(round);
        shared->whole_since = now_ms();
        std::this_thread::sleep_for(100ms);  // what is in the sockets of a server that went on is done
        pid_t& child = children[static_cast<std::size_t>(round) % processes];
        if (round % 3 == 0) {
            ::kill(child, SIGKILL);
            (void)wait_for(child);
            const int process = round % processes;
            child = start_process(world, dir, *shared, process, true);
            ++shared->process[static_cast<std::size_t>(process)].restarts;
        } else if (round % 3 == 1) {
            ::kill(child, SIGSTOP);
            std::this_thread::sleep_for(300ms);  // and others go on
            ::kill(child, SIGCONT);
        }
    }
    world.heal();
    std::this_thread::sleep_for(1500ms);  // for breakers to close, and copies to be made
    shared->phase = Shared::settling;
    CHECK(eventually([&] { return shared->waiting.load() == processes; }));
    shared->phase = Shared::checking;
    for (int process = 0; process < processes; ++process) {
        const int status = wait_for(children[static_cast<std::size_t>(process)]);
        const Shared::Process& each = shared->process[static_cast<std::size_t>(process)];
        std::ostringstream did;
        did << name << ", " << round << " faults: process " << process << " was killed " << each.restarts
            << " times and did " << each.operations << " operations, " << each.changes << " changes and "
            << each.hits << " hits among them; " << each.stale << " hits had ended already, the oldest for "
            << each.oldest << " ms; " << each.late << " changes were overtaken, " << each.wrong
            << " were wrong";
        INFO(did.str());
        if (longer != nullptr) std::cout << did.str() << std::endl;
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0);
    }
    ::munmap(shared, sizeof(Shared));
}

}  // namespace

// Catch indents a name's further lines behind its colon, which must not be far to the right.
TEST_CASE(
    "processes over one Redis: while it stands still, dies and comes back, nothing that was changed comes "
    "back",
    "[coherence][processes][stress]") {
    run<Alone>("one server");
}

TEST_CASE(
    "processes over a cluster: while masters stand still, die and are replaced, nothing that was changed "
    "comes back",
    "[coherence][cluster][processes][stress]") {
    run<InCluster>("cluster");
}

TEST_CASE("processes over sentinels: while they replace the master, nothing that was changed comes back",
          "[coherence][sentinel][processes][stress]") {
    run<WithSentinels>("sentinels");
}

}  // namespace processes_test
