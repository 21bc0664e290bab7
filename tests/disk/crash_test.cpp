// A child process works on a store, is killed at a random point, and the store is compared with what it had
// done.

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include <smartcache/disk/disk_tier.hpp>

#include "disk/fixture.hpp"
#include "support/catch.hpp"

using namespace smartcache_test;
using sc::TierStatus;

namespace {

constexpr std::size_t key_count = 64;

/// What the child has told, in memory that outlives it. For each key the version that a call has begun to
/// store, and the oldest that may still be seen: every call that has returned moves it (an erase to one more
/// than the version).
struct Told {
    std::atomic<std::uint64_t> calls{0};
    std::atomic<std::uint64_t> next_version{1};
    std::array<std::atomic<std::uint64_t>, key_count> begun{};
    std::array<std::atomic<std::uint64_t>, key_count> oldest{};
    std::array<std::atomic<bool>, key_count> must_be_there{};  // has left the queue
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

std::string key_of(std::size_t i) {
    return "key" + std::to_string(i);
}

[[noreturn]] void work(DiskFixture& disk, Told& told, std::uint64_t seed, bool clears) {
    disk.open();
    const bool through = disk.options.write == sc::WriteMode::through;
    std::array<bool, key_count> stored{};
    std::uint64_t random = seed;
    for (;;) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        const std::uint64_t dice = random >> 33U;
        const std::size_t i = dice % key_count;
        const std::string key = key_of(i);
        if (clears && dice % 499 == 0) {
            const std::uint64_t version = told.next_version++;
            if (disk.tier->clear("") != TierStatus::ok) ::_exit(3);
            for (auto& oldest : told.oldest) oldest = version;
            stored = {};
        } else if (dice % 5 == 0) {
            const std::uint64_t version = told.next_version++;
            told.must_be_there[i] = stored[i] = false;
            if (disk.erase(key) == TierStatus::unavailable) ::_exit(4);
            told.oldest[i] = version;  // versions are given out in order: whatever is younger is fine
        } else {
            const std::uint64_t version = told.next_version++;
            told.must_be_there[i] = stored[i] = false;
            told.begun[i] = version;
            const TierStatus status =
                disk.set(key, value_of(key, version, dice % 11 == 0 ? 9000 : dice % 700));
            told.oldest[i] = version;  // also when it was rejected: the older one must be gone
            stored[i] = status == TierStatus::ok;
        }
        if (through || dice % 29 == 0) {  // what has left the queue survives
            if (!through && !disk.tier->flush(10s)) ::_exit(5);
            for (std::size_t k = 0; k < key_count; ++k)
                if (std::exchange(stored[k], false)) told.must_be_there[k] = true;
        }
        ++told.calls;
    }
}

}  // namespace

TEST_CASE("after kill -9 at any moment nothing erased or overwritten comes back, and all else is intact",
          "[disk][crash][R21]") {
    DiskFixture disk;
    const int way = GENERATE(0, 1, 2);
    disk.options.write = way == 0 ? sc::WriteMode::through : sc::WriteMode::behind;
    disk.options.io = way == 2 ? sc::DiskIo::pread : sc::DiskIo::mmap;
    disk.tuning.window = sc::Duration(way == 1 ? 3 : 0);
    disk.tuning.chunk_bytes = 16'384;
    const char* const wanted = std::getenv("SMARTCACHE_CRASH_ROUNDS");
    const int rounds = wanted != nullptr ? std::atoi(wanted) : 25;
    const SharedTold told;
    std::uint64_t random = 99 + static_cast<std::uint64_t>(way);
    std::size_t seen = 0;
    for (int round = 0; round < rounds; ++round) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        const std::uint64_t until = told->calls + 20 + (random >> 33U) % (round % 3 == 0 ? 100 : 3000);
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) work(disk, *told, random, round % 4 == 3);
        int status = 0;
        while (told->calls < until && ::waitpid(child, &status, WNOHANG) == 0) std::this_thread::yield();
        ::kill(child, SIGKILL);
        (void)::waitpid(child, &status, 0);
        REQUIRE(WIFSIGNALED(status));

        disk.open();
        std::string wrong;
        for (std::size_t i = 0; i < key_count; ++i) {
            const std::string key = key_of(i);
            const auto value = disk.get(key);
            if (!value) {
                // Few and small keys over a megabyte: overwritten long before they could be evicted.
                if (told->must_be_there[i] && round % 4 != 3) wrong = key + " was lost";
                // The next child must not be measured by what this one lost.
                told->must_be_there[i] = false;
                continue;
            }
            ++seen;
            const auto version = version_in(key, *value);
            if (!version)
                wrong = key + " is damaged: " + value->substr(0, 30);
            else if (*version < told->oldest[i])
                wrong = key + " came back: " + value->substr(0, 30);
            else if (*version > told->begun[i])
                wrong = key + " was never written: " + value->substr(0, 30);
        }
        CHECK(disk.tier->stats().corrupt == 0);
        CHECK(disk_usage(disk.options.path) <= disk.options.max_size);
        disk.close();
        INFO("round " << round << " of way " << way);
        REQUIRE(wrong == "");
    }
    CHECK(seen > static_cast<std::size_t>(rounds));  // the comparison did compare something
}
