// The bound on disk space, and what goes to keep it.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <exception>
#include <string>
#include <thread>

#include <smartcache/disk/disk_tier.hpp>

#include "disk/fixture.hpp"
#include "support/catch.hpp"

namespace bound_test {

using namespace smartcache_test;
using sc::TierStatus;

namespace {

/// Writes and erases of all sizes, from nothing to a third of the smallest store.
void churn_once(DiskFixture& disk, Dice& dice) {
    const std::string key = "k" + std::to_string(dice.below(400));
    if (dice.one_in(10)) {
        (void)disk.erase(key);
    } else {
        const std::size_t size = dice.one_in(97) ? 200'000 + dice.below(150'000) : dice.below(4000);
        (void)disk.set(key, value_of(key, 1, size));
    }
}

/// Looks at the disk usage all the time, in a thread of its own.
class Sampler {
  public:
    explicit Sampler(const std::filesystem::path& path) : path_(path), thread_([this] { run(); }) {}
    ~Sampler() { stop(); }
    Sampler(const Sampler&) = delete;
    Sampler& operator=(const Sampler&) = delete;

    void stop() {
        stopping_ = true;
        if (thread_.joinable()) thread_.join();
    }
    std::atomic<std::uint64_t> samples{0};
    std::atomic<std::uint64_t> most{0};

  private:
    void run() {
        while (!stopping_) {
            const auto used = steady_disk_usage(path_);
            if (!used) continue;
            ++samples;
            most = std::max<std::uint64_t>(most, *used);
        }
    }
    const std::filesystem::path path_;
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

}  // namespace

TEST_CASE("the files never take more than max_size during a churn of all sizes", "[disk][bound]") {
    DiskFixture disk;
    disk.options.write = GENERATE(sc::WriteMode::behind, sc::WriteMode::through);
    disk.options.max_size = GENERATE(1U << 20U, (3U << 20U) + 12345U);
    disk.open();
    std::uint64_t random = 1;
    std::uint64_t most = 0;
    std::uint64_t written = 0;
    for (int i = 0; i < 3000; ++i) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        const std::uint64_t dice = random >> 33U;
        const std::string key = "k" + std::to_string(dice % 400);
        const std::size_t size = dice % 97 == 0 ? 200'000 + dice % 200'000 : dice % 4000;
        if (dice % 10 == 0)
            (void)disk.erase(key);
        else if (disk.set(key, value_of(key, 1, size)) == TierStatus::ok)
            written += size;
        if (i == 1500) disk.reopen();
        if (i % 20 == 0)
            REQUIRE(disk.tier->flush(60s));  // else a slow machine would reject more than it stores
        most = std::max(most, disk_usage(disk.options.path));
        REQUIRE(most <= disk.options.max_size);
        REQUIRE(disk.tier->stats().bytes <= disk.options.max_size);
    }
    CHECK(written > 3 * disk.options.max_size);   // segments did turn over
    CHECK(most > disk.options.max_size * 3 / 4);  // and the space is used
    REQUIRE(disk.tier->flush(60s));
    CHECK(disk.tier->stats().evictions > 0);
    for (int i = 0; i < 400; ++i) {
        const std::string key = "k" + std::to_string(i);
        if (const auto value = disk.get(key)) CHECK(version_in(key, *value) == 1);
    }
    CHECK(disk.tier->stats().corrupt == 0);
}

TEST_CASE("the files never take more than max_size while maintenance, clears and restarts go on as well",
          "[disk][bound][threads]") {
    DiskFixture disk;
    disk.options.write = GENERATE(sc::WriteMode::behind, sc::WriteMode::through);
    disk.tuning.retry = sc::Duration(1);
    disk.name_space = "mine";
    std::uint64_t evictions = 0;
    std::uint64_t most = 0;
    Dice dice(5);
    // Lower at each restart but the third, so that what is there must go at once.
    for (const std::uint64_t size : {3U << 20U, 2U << 20U, 5U << 19U, 1U << 20U}) {
        disk.options.max_size = size;
        disk.open();
        REQUIRE(disk_usage(disk.options.path) <= size);
        Sampler sampler(disk.options.path);
        std::atomic<bool> stop{false};
        std::thread keeper([&] {
            const std::string other = sc::physical_key("other", "k");
            sc::RecordView record;
            record.key = other;
            record.created = disk.clock.wall();
            record.expires = record.created + 1h;
            for (int turn = 1; !stop; ++turn) {
                (void)disk.tier->run_maintenance();
                (void)disk.tier->write(record);
                if (turn % 8 == 0) (void)disk.tier->clear("other");
                if (turn % 64 == 0) (void)disk.tier->clear("mine");
                (void)disk.tier->probe();
            }
        });
        for (int i = 0; i < 1200; ++i) {
            churn_once(disk, dice);
            if (dice.one_in(8)) (void)disk.get("k" + std::to_string(dice.below(400)));
            if (i % 20 == 0) (void)disk.tier->flush(60s);  // else a slow machine rejects more than it stores
        }
        stop = true;
        keeper.join();
        // Once more without clears, so that the store does fill up.
        for (int i = 0; i < 1200; ++i) {
            churn_once(disk, dice);
            if (i % 20 == 0) (void)disk.tier->flush(60s);
        }
        while (sampler.samples == 0) std::this_thread::yield();
        sampler.stop();
        REQUIRE(sampler.most <= size);
        // The sampler may not have got to run much: a last look when the store is full.
        most = std::max({most, sampler.most * 100 / size, disk_usage(disk.options.path) * 100 / size});
        REQUIRE(disk.tier->stats().bytes <= size);
        CHECK(disk.tier->stats().corrupt == 0);
        evictions += disk.tier->stats().evictions;
        disk.close();
        REQUIRE(disk_usage(disk.options.path) <= size);
    }
    CHECK(evictions > 1000);  // segments did turn over
    CHECK(most > 75);         // and the space is used
}

TEST_CASE("neither what a killed process leaves nor what the next one makes of it takes more than max_size",
          "[disk][bound][crash]") {
    DiskFixture disk;
    disk.options.write = GENERATE(sc::WriteMode::behind, sc::WriteMode::through);
    Dice dice(6);
    std::uint64_t most = 0;
    for (unsigned round = 0; round < 12; ++round) {
        // A killed process leaves its reserved blocks behind; the next one may have less to spend.
        disk.options.max_size = std::uint64_t{1 + round * 2 % 3} << 20U;
        int ready[2];
        REQUIRE(::pipe(ready) == 0);
        const pid_t child = ::fork();  // this process has no other threads
        REQUIRE(child >= 0);
        if (child == 0) {
            try {
                disk.open();
                for (int i = 0;; ++i) {
                    churn_once(disk, dice);
                    if (i % 20 == 0) (void)disk.tier->flush(60s);
                    if (i == 800 && ::write(ready[1], "", 1) != 1) ::_exit(1);
                }
            } catch (const std::exception&) {
                ::_exit(2);
            }
        }
        (void)::close(ready[1]);
        char byte = 0;
        CHECK(::read(ready[0], &byte, 1) == 1);
        (void)::close(ready[0]);
        for (std::size_t moment = dice.below(20'000); moment > 0; --moment) std::this_thread::yield();
        ::kill(child, SIGKILL);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        REQUIRE(WIFSIGNALED(status));
        REQUIRE(disk_usage(disk.options.path) <= disk.options.max_size);
        most = std::max(most, disk_usage(disk.options.path) * 100 / disk.options.max_size);
        if (round % 2 == 0) disk.options.max_size = 1U << 20U;
        INFO("round " << round);
        disk.open();
        REQUIRE(disk_usage(disk.options.path) <= disk.options.max_size);
        for (int i = 0; i < 60; ++i) {
            churn_once(disk, dice);
            REQUIRE(disk_usage(disk.options.path) <= disk.options.max_size);
        }
        CHECK(disk.tier->stats().corrupt == 0);
        disk.close();
    }
    CHECK(most > 75);
}

TEST_CASE("the oldest records go first and are counted as evicted", "[disk][bound]") {
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.open();
    int count = 0;
    while (disk.tier->stats().evictions == 0) {
        disk.set("k" + std::to_string(count), value_of("k", 1, 2000));
        REQUIRE(++count < 2000);
    }
    const auto evicted = disk.tier->stats().evictions;
    CHECK(evicted < 40);  // a segment's worth
    CHECK(disk.tier->stats().entries + evicted == static_cast<std::uint64_t>(count));
    int first_kept = 0;
    while (first_kept < count && !disk.get("k" + std::to_string(first_kept))) ++first_kept;
    CHECK(static_cast<std::uint64_t>(first_kept) == evicted);
    for (int i = first_kept; i < count; ++i) REQUIRE(disk.get("k" + std::to_string(i)));
}

TEST_CASE("a bound that was lowered between runs drops the oldest before anything else", "[disk][bound]") {
    DiskFixture disk;
    disk.options.max_size = 4U << 20U;
    disk.options.write = sc::WriteMode::through;
    disk.open();
    for (int i = 0; i < 1500; ++i) disk.set("k" + std::to_string(i), value_of("k", 1, 2000));
    CHECK(disk_usage(disk.options.path) > 2U << 20U);
    disk.close();
    disk.options.max_size = 1U << 20U;
    disk.open();
    CHECK(disk_usage(disk.options.path) <= disk.options.max_size);
    CHECK(disk.tier->stats().entries > 100);
    CHECK_FALSE(disk.get("k0"));
    CHECK(disk.get("k1499"));
    for (int i = 0; i < 300; ++i) {
        disk.set("n" + std::to_string(i), value_of("n", 1, 2000));
        REQUIRE(disk_usage(disk.options.path) <= disk.options.max_size);
    }
}

TEST_CASE("footers that opening adds to segments without one are no reason to take more than max_size",
          "[disk][bound]") {
    class NoFooters final : public sc::detail::Io {
      public:
        bool heals = false;
        ssize_t pwrite(int file, const void* from, std::size_t size, std::uint64_t offset) override {
            const sc::ByteView bytes(static_cast<const std::byte*>(from), size);
            const std::size_t tail = std::min(size, sc::detail::footer_trailer_size);
            if (heals || !sc::detail::parse_footer_trailer(bytes.last(tail)))
                return Io::pwrite(file, from, size, offset);
            errno = EIO;
            return -1;
        }
    } io;
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.options.max_size = GENERATE(1U, 4U) << 20U;
    disk.tuning.io = &io;
    disk.open();
    for (int i = 0; disk.tier->stats().evictions == 0; ++i) disk.set("k" + std::to_string(i), "0123456789");
    CHECK(steady_disk_usage(disk.options.path).value() <= disk.options.max_size);
    disk.close();
    io.heals = true;
    disk.open();
    CHECK(steady_disk_usage(disk.options.path).value() <= disk.options.max_size);
    CHECK(disk.tier->stats().bytes <= disk.options.max_size);
    for (int i = 0; i < 1000; ++i) disk.set("new" + std::to_string(i), "0123456789");
    disk.reopen();
    CHECK(steady_disk_usage(disk.options.path).value() <= disk.options.max_size);
    CHECK(disk.get("new0") == "0123456789");
}

TEST_CASE("a segment that a reader still holds counts until he lets go", "[disk][bound][R22]") {
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.open();
    disk.set("held", value_of("held", 1, 2000));
    const std::string first = disk.segments().at(0).string();
    bool intact = false;
    std::uint64_t counted = 0;
    std::thread reader;
    std::atomic<bool> inside{false};
    std::atomic<bool> leave{false};
    reader = std::thread([&] {
        // peek: a record that was read would be moved on instead of going with its segment.
        (void)disk.tier->peek(sc::physical_key("", "held"), [&](const sc::RecordView& record) {
            inside = true;
            while (!leave) std::this_thread::yield();
            intact = version_in("held", std::string(sc::as_text_view(record.payload))) == 1;
        });
    });
    while (!inside) std::this_thread::yield();
    for (int i = 0; i < 1000 && std::filesystem::exists(first); ++i)
        disk.set("k" + std::to_string(i), value_of("k", 1, 2000));
    CHECK_FALSE(std::filesystem::exists(first));
    counted = disk.tier->stats().bytes;
    CHECK(disk_usage(disk.options.path) < counted);  // the unlinked file is not there, but counted
    CHECK(counted <= disk.options.max_size);
    leave = true;
    reader.join();
    CHECK(intact);
    CHECK_FALSE(disk.get("held"));
}

TEST_CASE("an erased key stays erased through any number of evictions and restarts", "[disk][bound][R20]") {
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.open();
    for (int round = 0; round < 60; ++round) {
        const std::string key = "k" + std::to_string(round);
        disk.set(key, "old");
        for (int i = 0; i < 30; ++i) disk.set("f" + std::to_string(i), value_of("f", 1, 1500));
        disk.erase(key);
        if (round % 5 == 0) disk.reopen();
        for (int earlier = 0; earlier <= round; ++earlier)
            REQUIRE_FALSE(disk.get("k" + std::to_string(earlier)));
    }
    CHECK(disk.segments().front().filename() != "00000001.seg");  // so segments did turn over
}

TEST_CASE("maintenance that has to write the queue costs no more of the store than the queue needs",
          "[disk][maintenance][bound]") {
    DiskFixture disk(TempDir::On::memory);
    disk.tuning.window = 1h;  // the writer leaves what is queued where it is
    disk.open();
    // The first segment lives on by one record; the second is dead, and what it killed in the first must be carried.
    const auto fill = [&](const std::string& name, int count) {
        for (int i = 0; i < count; ++i)
            REQUIRE(disk.set(name + std::to_string(i), value_of(name, 1, 2000)) == TierStatus::ok);
        REQUIRE(disk.tier->flush(60s));
    };
    fill("alive", 1);
    fill("dead", 30);
    fill("dead", 31);
    for (int i = 0; i < 31; ++i) disk.erase("dead" + std::to_string(i));
    REQUIRE(disk.tier->flush(60s));
    int count = 0;
    while (disk.tier->stats().bytes + 70'000 < disk.options.max_size)
        fill("new" + std::to_string(count++) + "-", 1);
    REQUIRE(disk.tier->stats().evictions == 0);
    const std::uint64_t before = disk.tier->stats().entries;
    REQUIRE(before > 300);
    for (int i = 0; i < 40; ++i)
        REQUIRE(disk.set("more" + std::to_string(i), value_of("more", 1, 2000)) == TierStatus::ok);
    (void)disk.tier->run_maintenance();
    CHECK(disk.tier->stats().errors == 0);
    CHECK(disk.tier->stats().entries > before - 100);
    CHECK(disk.set("after", "value") == TierStatus::ok);
}

TEST_CASE("a record whose new lifetime needs the room of the old one takes no other's", "[disk][bound]") {
    DiskFixture disk(TempDir::On::memory);
    disk.options.write = GENERATE(sc::WriteMode::through, sc::WriteMode::behind);
    disk.open();
    REQUIRE(disk.set("first", value_of("first", 1, 400'000)) == TierStatus::ok);
    const std::uint64_t version = disk.stamp;
    REQUIRE(disk.set("other", value_of("other", 1, 400'000)) == TierStatus::ok);
    const sc::WallTime end = disk.clock.wall() + 2h;
    REQUIRE(disk.tier->change_lifetime(sc::physical_key("", "first"), version, end, end) == TierStatus::ok);
    CHECK((disk.get("first") == value_of("first", 1, 400'000)));
    CHECK((disk.get("other") == value_of("other", 1, 400'000)));
}

}  // namespace bound_test
