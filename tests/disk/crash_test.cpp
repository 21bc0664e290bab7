// A child process works on a store, is killed at a random point, and the store is compared with what it had
// done. 240 kills by default; SMARTCACHE_CRASH_ROUNDS=1000 in the environment makes it 1000 for each of the eight ways.

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include <smartcache/disk/disk_tier.hpp>

#include "disk/fixture.hpp"
#include "support/catch.hpp"

namespace crash_test {

using namespace smartcache_test;
using sc::TierStatus;

namespace {

constexpr std::size_t key_count = 64;

/// What the child has told, in memory that outlives it. Every change of a key draws a number; the numbers of one key
/// grow. For each key: the number of the last write that was begun, and the oldest that may still be seen: every call
/// that has returned moves it. The same for its lifetime, which is changed without the value.
struct Told {
    std::atomic<std::uint64_t> calls{0};
    std::atomic<std::uint64_t> next_version{1};
    std::array<std::atomic<std::uint64_t>, key_count> begun{};
    std::array<std::atomic<std::uint64_t>, key_count> oldest{};
    std::array<std::atomic<std::uint64_t>, key_count> oldest_lifetime{};
    std::array<std::atomic<bool>, key_count> must_be_there{};  // has left the queue
    std::atomic<std::uint64_t> hits{0};
    std::atomic<std::uint64_t> evictions{0};
    std::atomic<std::uint64_t> clears{0};
};

class SharedTold {
  public:
    SharedTold()
        : told_(new (::mmap(nullptr, sizeof(Told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))
                    Told) {}
    ~SharedTold() { ::munmap(told_, sizeof(Told)); }
    SharedTold(const SharedTold&) = delete;
    SharedTold& operator=(const SharedTold&) = delete;
    Told* operator->() const { return told_; }
    Told& operator*() const { return *told_; }

  private:
    Told* told_;
};

struct Way {
    bool turnover = false;  // far more is written than fits; else nothing may be evicted
    bool behind = false;
    sc::DiskIo io = sc::DiskIo::mmap;
};

struct CrashFixture : DiskFixture {
    explicit CrashFixture(const Way& wanted) : way(wanted) {
        options.write = way.behind ? sc::WriteMode::behind : sc::WriteMode::through;
        options.io = way.io;
        if (!way.turnover) options.max_size = 4U << 20U;
        tuning.window = sc::Duration(way.behind && way.io == sc::DiskIo::mmap ? 3 : 0);
        tuning.chunk_bytes = 16'384;
        base = clock.wall();
    }

    /// Even and odd keys are in namespaces of their own, so that a clear of one must leave the other.
    static std::string space_of(std::size_t i) { return i % 2 == 0 ? "" : "odd"; }
    static std::string name_of(std::size_t i) { return "key" + std::to_string(i); }
    static std::string key_of(std::size_t i) { return sc::physical_key(space_of(i), name_of(i)); }
    /// A lifetime that tells which change it comes from.
    [[nodiscard]] sc::WallTime end_of(std::uint64_t version) const {
        return base + 1h + sc::Duration(static_cast<std::int64_t>(version));
    }
    [[nodiscard]] sc::RecordView record_of(const std::string& key, const std::string& value,
                                           std::uint64_t version) const {
        sc::RecordView view;
        view.key = key;
        view.payload = sc::as_byte_view(value);
        view.raw_size = value.size();
        view.kind = sc::ValueKind::text;
        view.stamp = version;
        view.created = base;
        view.expires = view.stale_until = end_of(version);
        return view;
    }

    const Way way;
    sc::WallTime base{};
};

/// The child's side. Leaves with a number of its own where the tier does what it must not.
class Worker {
  public:
    Worker(CrashFixture& disk, Told& told, std::uint64_t seed) : disk_(disk), told_(told), dice_(seed) {}

    [[noreturn]] void run(bool maintenance_beside) {
        disk_.open();
        std::thread maintenance;
        if (maintenance_beside)
            maintenance = std::thread([this] {
                for (;;) (void)disk_.tier->run_maintenance();
            });
        for (;;) {
            step();
            ++told_.calls;
        }
    }

  private:
    static void must(bool holds, int otherwise) {
        if (!holds) ::_exit(otherwise);
    }

    void step() {
        const std::size_t i = dice_.below(key_count);
        const std::size_t kind = dice_.below(100);
        if (kind < 40)
            write(i);
        else if (kind < 55)
            remove(i);
        else if (kind < 62)
            change_lifetime(i);
        else if (kind < 96)
            read(i);
        else if (kind < 98)
            (void)disk_.tier->run_maintenance();
        else if (dice_.one_in(5))
            clear();
        if (!disk_.way.behind || dice_.one_in(30)) {  // what has left the queue survives
            must(!disk_.way.behind || disk_.tier->flush(60s), 5);
            for (std::size_t k = 0; k < key_count; ++k)
                if (std::exchange(stored_[k], false)) told_.must_be_there[k] = true;
        }
        if (dice_.one_in(16)) told_.evictions = disk_.tier->stats().evictions;
    }

    std::uint64_t begin(std::size_t i) {
        told_.must_be_there[i] = stored_[i] = false;
        return told_.next_version++;
    }
    void write(std::size_t i) {
        const std::uint64_t version = begin(i);
        told_.begun[i] = version;
        std::size_t size = dice_.one_in(11) ? 9000 : dice_.below(700);
        if (disk_.way.turnover) size = dice_.one_in(40) ? 100'000 : dice_.below(30'000);
        const std::string key = CrashFixture::key_of(i);
        const TierStatus status = disk_.tier->write(
            disk_.record_of(key, value_of(CrashFixture::name_of(i), version, size), version));
        must(status == TierStatus::ok || status == TierStatus::rejected, 6);
        // Also when it was rejected: the older one must be gone.
        current_[i] = status == TierStatus::ok ? version : 0;
        told_.oldest[i] = told_.oldest_lifetime[i] = version;
        stored_[i] = status == TierStatus::ok;
    }
    void remove(std::size_t i) {
        const std::uint64_t version = begin(i);
        must(disk_.tier->remove(CrashFixture::key_of(i)) != TierStatus::unavailable, 4);
        current_[i] = 0;
        told_.oldest[i] = version;  // numbers are drawn in order: whatever is younger is fine
    }
    void change_lifetime(std::size_t i) {
        if (current_[i] == 0) return;
        const std::uint64_t version = begin(i);
        const sc::WallTime end = disk_.end_of(version);
        const TierStatus status = disk_.tier->change_lifetime(CrashFixture::key_of(i), current_[i], end, end);
        must(status != TierStatus::unavailable, 7);
        if (status == TierStatus::refused && !disk_.way.turnover && !disk_.way.behind)
            ::_exit(8);  // it was lost
        // Ends only move away: where a later one is rejected, the record keeps its own.
        if (status == TierStatus::ok) {
            told_.oldest_lifetime[i] = version;
            stored_[i] = true;
        }
    }
    void read(std::size_t i) {
        (void)disk_.tier->read(CrashFixture::key_of(i), [&](const sc::RecordView& found) {
            ++told_.hits;
            // What a child before this one has left is compared by the parent.
            if (told_.oldest[i] != 0) must(found.stamp >= told_.oldest[i], 9);
            if (current_[i] != 0) must(found.stamp == current_[i], 10);
        });
    }
    void clear() {
        const std::size_t first = dice_.below(2);
        const std::uint64_t version = told_.next_version++;
        for (std::size_t k = first; k < key_count; k += 2) told_.must_be_there[k] = stored_[k] = false;
        must(disk_.tier->clear(CrashFixture::space_of(first)) == TierStatus::ok, 3);
        for (std::size_t k = first; k < key_count; k += 2) {
            current_[k] = 0;
            told_.oldest[k] = version;
        }
        ++told_.clears;
    }

    CrashFixture& disk_;
    Told& told_;
    Dice dice_;
    std::array<bool, key_count> stored_{};
    std::array<std::uint64_t, key_count> current_{};  // 0: none, or unknown
};

/// Compares what is in the store with what was told. @return what is wrong
std::string compare(CrashFixture& disk, Told& told, std::size_t& seen) {
    std::string wrong;
    for (std::size_t i = 0; i < key_count; ++i) {
        const std::string name = CrashFixture::name_of(i);
        std::string value;
        sc::WallTime end{};
        const TierStatus status = disk.tier->read(CrashFixture::key_of(i), [&](const sc::RecordView& found) {
            value = std::string(sc::as_text_view(found.payload));
            end = found.expires;
        });
        if (status != TierStatus::ok) {
            if (told.must_be_there[i] && !disk.way.turnover) wrong = name + " was lost";
            // The next child must not be measured by what this one lost.
            told.must_be_there[i] = false;
            continue;
        }
        ++seen;
        const auto version = version_in(name, value);
        if (!version)
            wrong = name + " is damaged: " + value.substr(0, 30);
        else if (*version < told.oldest[i])
            wrong = name + " came back: " + value.substr(0, 30);
        else if (*version > told.begun[i])
            wrong = name + " was never written: " + value.substr(0, 30);
        else if (end < disk.end_of(told.oldest_lifetime[i]))
            wrong = name + " has its old lifetime again";
    }
    return wrong;
}

/// Waits for the child's `calls`, or until it is no longer there, and a moment more that the calls do not know of.
void await(pid_t child, const Told& told, std::uint64_t calls, std::chrono::microseconds more) {
    siginfo_t info{};
    for (unsigned turn = 1; told.calls < calls && info.si_pid == 0; ++turn) {
        if (turn % 256 == 0)
            (void)::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT);
        std::this_thread::yield();
    }
    const auto until = std::chrono::steady_clock::now() + more;
    while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
}

}  // namespace

TEST_CASE("after kill -9 at any moment nothing erased or overwritten comes back, and all else is intact",
          "[disk][crash][R21]") {
    Way way;
    way.turnover = GENERATE(false, true);
    way.behind = GENERATE(false, true);
    way.io = GENERATE(sc::DiskIo::mmap, sc::DiskIo::pread);
    CrashFixture disk(way);
    const std::uint64_t rounds = from_environment("SMARTCACHE_CRASH_ROUNDS", 30);
    const SharedTold told;
    Dice dice(99 + (way.turnover ? 4U : 0U) + (way.behind ? 2U : 0U) + static_cast<unsigned>(way.io));
    std::size_t seen = 0;
    std::uint64_t evictions = 0;
    for (std::uint64_t round = 0; round < rounds; ++round) {
        const bool while_opening = round % 8 == 7;  // killed while it looks at what the one before has left
        const std::uint64_t calls = while_opening ? 0
                                                  : told->calls + 20 +
                                                        dice.below(round % 3 == 0 ? 100
                                                                   : way.turnover ? 1200
                                                                                  : 3000);
        const auto more = std::chrono::microseconds(dice.below(while_opening ? 4000 : 300));
        const std::uint64_t seed = dice.next();
        told->evictions = 0;
        const pid_t child = ::fork();  // this process has no other threads
        REQUIRE(child >= 0);
        if (child == 0) {
            try {
                Worker(disk, *told, seed).run(round % 5 == 4);
            } catch (const std::exception& error) {  // must not get into the test's own loop
                (void)std::fprintf(stderr, "%s\n", error.what());
                ::_exit(2);
            }
        }
        await(child, *told, calls, more);
        ::kill(child, SIGKILL);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        INFO("round " << round << (way.turnover ? ", turnover" : "")
                      << (way.behind ? ", behind" : ", through") << ", io " << static_cast<int>(way.io));
        INFO("the child's own exit status " << (WIFEXITED(status) ? WEXITSTATUS(status) : 0));
        REQUIRE(WIFSIGNALED(status));
        REQUIRE(disk_usage(disk.options.path) <= disk.options.max_size);

        disk.open();
        CHECK(disk_usage(disk.options.path) <= disk.options.max_size);
        const std::string wrong = compare(disk, *told, seen);
        CHECK(disk.tier->stats().corrupt == 0);
        CHECK(disk_usage(disk.options.path) <= disk.options.max_size);
        evictions += told->evictions;
        disk.close();
        REQUIRE(wrong == "");
    }
    // The comparison did compare something.
    CAPTURE(rounds, seen, evictions, told->hits.load(), told->clears.load(), told->calls.load());
    CHECK(seen > rounds);
    CHECK(told->hits > 10 * rounds);
    CHECK(told->clears > rounds);
    CHECK((evictions > 10 * rounds) == way.turnover);
}

}  // namespace crash_test
