// Many threads on one tier, with an oracle.

#include <array>
#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <smartcache/disk/disk_tier.hpp>

#include "disk/fixture.hpp"
#include "support/catch.hpp"

namespace threads_test {

using namespace smartcache_test;
using sc::TierStatus;
using sc::WriteCondition;

namespace {

constexpr std::size_t key_count = 96;
constexpr std::size_t writers = 3;

/// For each key, which one writer owns: the oldest version that a read which begins now may return. Versions
/// only grow.
struct Oracle {
    std::array<std::atomic<std::uint64_t>, key_count> oldest{};
    std::atomic<std::uint64_t> newest{0};
    std::mutex mutex;
    std::string wrong;

    void blame(const std::string& what) {
        const std::lock_guard lock(mutex);
        if (wrong.empty()) wrong = what;
    }
};

struct Run : DiskFixture {
    Oracle oracle;
    std::atomic<std::uint64_t> hits{0};

    sc::RecordView record_of(const std::string& key, const std::string& value, std::uint64_t version) const {
        sc::RecordView view;
        view.key = key;
        view.payload = sc::as_byte_view(value);
        view.raw_size = value.size();
        view.stamp = version;
        view.created = clock.wall();
        view.expires = view.created + 1h;
        return view;
    }

    void read_one(std::size_t i) {
        const std::string name = "k" + std::to_string(i);
        const std::uint64_t oldest = oracle.oldest[i];
        (void)tier->read(sc::physical_key("", name), [&](const sc::RecordView& found) {
            ++hits;
            const std::string text(sc::as_text_view(found.payload));
            const auto version = version_in(name, text);
            if (!version)
                oracle.blame(name + " is damaged: " + text.substr(0, 30));
            else if (*version < oldest)
                oracle.blame(name + " is old: " + text.substr(0, 30));
            else if (*version > oracle.newest)
                oracle.blame(name + " is from nowhere");
        });
    }

    void write_some(std::size_t writer, int operations) {
        std::uint64_t random = 17 * (writer + 1);
        for (int n = 0; n < operations; ++n) {
            random = random * 6364136223846793005U + 1442695040888963407U;
            const std::uint64_t dice = random >> 33U;
            const std::size_t i = dice % (key_count / writers) * writers + writer;
            const std::string name = "k" + std::to_string(i);
            const std::string key = sc::physical_key("", name);
            const std::uint64_t version = ++oracle.newest;
            const std::size_t size = dice % 41 == 0 ? 20'000 : dice % 600;
            const std::string value = value_of(name, version, size);
            const sc::RecordView record = record_of(key, value, version);
            switch (dice % 7) {
                case 0:
                    if (tier->remove(key) == TierStatus::unavailable) oracle.blame("remove failed");
                    break;
                case 1: {
                    const bool refused =
                        tier->write(record, WriteCondition::if_absent()) == TierStatus::refused;
                    if (refused) continue;  // the old one stays: nothing to expect
                    break;
                }
                case 2: {
                    std::uint64_t seen = 0;
                    (void)tier->read(key, [&](const sc::RecordView& found) { seen = found.stamp; });
                    const sc::WallTime end = clock.wall() + 2h;
                    if (seen != 0 && tier->change_lifetime(key, seen, end, end) == TierStatus::unavailable)
                        oracle.blame("change_lifetime failed");
                    continue;
                }
                default: {
                    const TierStatus result = tier->write(record);
                    if (result == TierStatus::unavailable) oracle.blame("write failed");
                    if (result == TierStatus::rejected)
                        (void)tier->flush(60s);  // else there is soon nothing to hit
                    break;
                }
            }
            oracle.oldest[i] = version;
            read_one(i);
        }
    }
};

}  // namespace

TEST_CASE("under load from many threads every read gives a version that was current while it ran",
          "[disk][threads]") {
    Run run;
    run.options.write = GENERATE(sc::WriteMode::behind, sc::WriteMode::through);
    run.options.io = GENERATE(sc::DiskIo::mmap, sc::DiskIo::pread);
    run.tuning.chunk_bytes = 8192;
    run.tuning.window = sc::Duration(0);
    run.open();
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (std::size_t writer = 0; writer < writers; ++writer)
        threads.emplace_back([&run, writer] { run.write_some(writer, 4000); });
    std::vector<std::thread> others;
    for (int reader = 0; reader < 2; ++reader)
        others.emplace_back([&run, &stop, reader] {
            for (std::size_t i = static_cast<std::size_t>(reader); !stop; i = (i + 7) % key_count)
                run.read_one(i);
        });
    others.emplace_back([&run, &stop] {
        while (!stop) {
            (void)run.tier->run_maintenance();
            (void)run.tier->stats();
            (void)run.tier->probe();
            (void)run.tier->flush(sc::Duration(1));
            if (disk_usage(run.options.path) > run.options.max_size) run.oracle.blame("bound");
        }
    });
    for (std::thread& thread : threads) thread.join();
    stop = true;
    for (std::thread& thread : others) thread.join();
    CHECK(run.oracle.wrong == "");
    CHECK(run.hits > 5000);
    CHECK(run.tier->stats().corrupt == 0);
    run.reopen();
    for (std::size_t i = 0; i < key_count; ++i) run.read_one(i);
    CHECK(run.oracle.wrong == "");
}

TEST_CASE("a clear among concurrent writers leaves nothing that was written before it",
          "[disk][threads][clear]") {
    Run run;
    run.tuning.chunk_bytes = 8192;
    run.options.max_size = 64U << 20U;  // enough for all of it: the bystander must not be evicted
    run.open();
    const bool alone = GENERATE(true, false);
    if (!alone) {
        run.name_space = "other";
        REQUIRE(run.set("bystander", "v") == TierStatus::ok);
    }
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (std::size_t writer = 0; writer < writers; ++writer)
        threads.emplace_back([&run, &stop, writer] {
            while (!stop) run.write_some(writer, 20);
        });
    for (int round = 0; round < 60; ++round) {
        const std::uint64_t before = run.oracle.newest;
        std::array<std::uint64_t, key_count> written{};
        for (std::size_t i = 0; i < key_count; ++i) written[i] = run.oracle.oldest[i];
        if (run.tier->clear(std::string_view("")) != TierStatus::ok) run.oracle.blame("clear failed");
        // What had been completely written before the clear began must be gone now.
        for (std::size_t i = 0; i < key_count; ++i) {
            const std::string name = "k" + std::to_string(i);
            (void)run.tier->read(sc::physical_key("", name), [&](const sc::RecordView& found) {
                const auto version = version_in(name, std::string(sc::as_text_view(found.payload)));
                if (version && *version <= written[i] && *version <= before)
                    run.oracle.blame(name + " outlived a clear");
            });
        }
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
    CHECK(run.oracle.wrong == "");
    if (!alone) CHECK(run.get("bystander") == "v");
}

TEST_CASE("a read that is under way while a clear is carried out to its end gives nothing that was cleared",
          "[disk][threads][clear]") {
    /// The next read hangs until it is let go.
    class HangingIo final : public sc::detail::Io {
      public:
        std::atomic<bool> armed{false};
        std::atomic<bool> hangs{false};
        std::atomic<bool> go{false};
        ssize_t pread(int file, void* to, std::size_t size, std::uint64_t offset) override {
            if (armed.exchange(false)) {
                hangs = true;
                while (!go) std::this_thread::yield();
            }
            return Io::pread(file, to, size, offset);
        }
    } io;
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.options.io = sc::DiskIo::pread;
    disk.tuning.io = &io;
    disk.open();
    disk.name_space = "other";
    REQUIRE(disk.set("k", "other") == TierStatus::ok);
    disk.name_space = "cleared";
    REQUIRE(disk.set("k", "cleared") == TierStatus::ok);
    REQUIRE(disk.set("filler", value_of("filler", 1, 60'000)) == TierStatus::ok);
    REQUIRE(disk.tier->clear("cleared") == TierStatus::ok);
    disk.name_space = "other";
    REQUIRE(disk.set("k", value_of("k", 1, 30'000)) ==
            TierStatus::ok);  // in the next segment, all of it after the clear
    const std::string first = disk.segments().at(0).string();

    io.armed = true;
    bool found = false;
    std::thread reader([&] {
        const std::string key = sc::physical_key("cleared", "k");
        (void)disk.tier->read(key, [&](const sc::RecordView&) { found = true; });
    });
    while (!io.hangs) std::this_thread::yield();
    (void)disk.tier->run_maintenance();
    CHECK_FALSE(std::filesystem::exists(first));
    io.go = true;
    reader.join();
    CHECK_FALSE(found);
    disk.close();
}

TEST_CASE("a queue that never empties keeps nobody else waiting", "[disk][threads]") {
    /// Each write brings more to be written than it has taken away.
    class FeedingIo final : public sc::detail::Io {
      public:
        std::function<void()> feed;
        std::atomic<bool> feeding{false};
        ssize_t pwrite(int file, const void* from, std::size_t size, std::uint64_t offset) override {
            if (feeding) feed();
            return Io::pwrite(file, from, size, offset);
        }
    } io;
    DiskFixture disk;
    disk.options.max_size = 8U << 20U;
    disk.tuning.io = &io;
    disk.tuning.chunk_bytes = 4096;
    disk.tuning.window = sc::Duration(0);
    disk.open();
    disk.name_space = "other";
    REQUIRE(disk.set("k", "other") == TierStatus::ok);
    disk.name_space = "cleared";
    REQUIRE(disk.set("k", "cleared") == TierStatus::ok);
    std::atomic<int> fed{0};
    // Its own pointer: the writer may feed once more while `close` puts the fixture's to null.
    io.feed = [&fed, &disk, tier = disk.tier.get()] {
        for (int i = 0; i < 3; ++i) {
            const std::string key = sc::physical_key("other", "f" + std::to_string(fed++));
            const std::string value = value_of("f", 1, 2000);
            sc::RecordView record;
            record.key = key;
            record.payload = sc::as_byte_view(value);
            record.raw_size = value.size();
            record.kind = sc::ValueKind::text;
            record.created = disk.clock.wall();
            (void)tier->write(record);
        }
    };
    io.feeding = true;
    REQUIRE(disk.set("more", "cleared") == TierStatus::ok);
    while (fed < 300) std::this_thread::yield();
    CHECK(disk.tier->clear("cleared") == TierStatus::ok);
    CHECK(io.feeding);
    io.feeding = false;
    CHECK_FALSE(disk.get("k"));
    disk.name_space = "other";
    CHECK(disk.get("k") == "other");
    disk.close();
}

}  // namespace threads_test
