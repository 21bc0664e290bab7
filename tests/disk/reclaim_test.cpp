// Which records make room, and what is saved from a segment that goes.

#include <smartcache/disk/log.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "disk/fixture.hpp"
#include "support/catch.hpp"

namespace reclaim_test {

using namespace smartcache_test;
using sc::TierStatus;

namespace {

std::string numbered(const char* name, int number) {
    return name + std::to_string(number);
}

/// A store of 1 MiB: some fifteen segments of 64 KiB.
struct Churn : DiskFixture {
    Churn() : DiskFixture(TempDir::On::memory) {
        options.write = sc::WriteMode::through;
        context.background = false;
        open();
    }

    /// Writes `bytes` of new records that nobody reads.
    void fill(std::uint64_t bytes, sc::Duration ttl = 1h) {
        for (std::uint64_t done = 0; done < bytes; done += 1500)
            REQUIRE(set(numbered("fill", fillers++), value_of("fill", 1, 1400), ttl) == TierStatus::ok);
    }
    int there(const char* name, int count) {
        int found = 0;
        for (int i = 0; i < count; ++i) found += contains(numbered(name, i));
        return found;
    }

    int fillers = 0;
};

constexpr std::uint64_t mib = 1U << 20U;

}  // namespace

TEST_CASE("records that are read outlive any number of turnovers, others of their age do not",
          "[disk][reclaim]") {
    Churn disk;
    disk.options.io = GENERATE(sc::DiskIo::mmap, sc::DiskIo::pread);
    disk.reopen();
    for (int i = 0; i < 40; ++i) {
        disk.set(numbered("hot", i), value_of("hot", 3, 700));
        disk.set(numbered("cold", i), value_of("cold", 3, 700));
    }
    for (int round = 0; round < 40; ++round) {
        disk.fill(mib / 4);
        for (int i = 0; i < 40; ++i) REQUIRE(disk.get(numbered("hot", i)) == value_of("hot", 3, 700));
    }
    CHECK(disk.there("cold", 40) == 0);
    const double amplification = disk.tier->stats().write_amplification;
    CHECK(amplification > 1.0);
    CHECK(amplification <= 1.35);
    CHECK(disk_usage(disk.options.path) <= disk.options.max_size);
    disk.reopen();
    for (int i = 0; i < 40; ++i) CHECK(disk.get(numbered("hot", i)) == value_of("hot", 3, 700));
}

TEST_CASE("only reads count as such: peek and contains save nothing", "[disk][reclaim]") {
    Churn disk;
    disk.set("peeked", "value");
    disk.set("asked", "value");
    for (int round = 0; round < 12; ++round) {
        disk.fill(mib / 8);
        (void)disk.tier->peek(sc::physical_key("", "peeked"), [](const sc::RecordView&) {});
        (void)disk.contains("asked");
    }
    CHECK_FALSE(disk.contains("peeked"));
    CHECK_FALSE(disk.contains("asked"));
}

TEST_CASE("when everything is read, the write amplification keeps its bound and the store its size",
          "[disk][reclaim]") {
    Churn disk;
    for (int i = 0; i < 6000; ++i) {
        const std::string key = numbered("k", i);
        REQUIRE(disk.set(key, value_of(key, 1, 900)) == TierStatus::ok);
        REQUIRE(disk.get(key) == value_of(key, 1, 900));
        if (i % 500 == 0) REQUIRE(disk_usage(disk.options.path) <= disk.options.max_size);
    }
    CHECK(disk.tier->stats().write_amplification <= 1.35);
    CHECK(disk.tier->stats().evictions > 4000);
}

TEST_CASE("of segments in which little is alive the living records are saved without being read",
          "[disk][reclaim]") {
    Churn disk;
    int stable = 0;
    for (int i = 0; i < 6000; ++i) {
        const std::string key = numbered("churn", i % 20);
        REQUIRE(disk.set(key, value_of(key, static_cast<std::uint64_t>(i), 1400)) == TierStatus::ok);
        if (i % 100 == 0) REQUIRE(disk.set(numbered("stable", stable++), "value") == TierStatus::ok);
    }
    CHECK(disk.there("stable", stable) == stable);
    CHECK(disk.there("churn", 20) == 20);
    CHECK(disk.tier->stats().evictions == 0);
    CHECK(disk.tier->stats().write_amplification <= 1.35);
    disk.reopen();
    CHECK(disk.there("stable", stable) == stable);
    for (int i = 5980; i < 6000; ++i) {
        const std::string key = numbered("churn", i % 20);
        CHECK(disk.get(key) == value_of(key, static_cast<std::uint64_t>(i), 1400));
    }
}

TEST_CASE("what has expired makes room before anything that lives", "[disk][reclaim]") {
    Churn disk;
    for (int i = 0; i < 200; ++i) disk.set(numbered("old", i), value_of("old", 1, 1400));
    disk.fill(mib / 2, 1min);
    disk.clock.advance(2min);
    disk.fill(mib / 3);
    CHECK(disk.there("old", 200) == 200);
    CHECK(disk.tier->stats().evictions == 0);
    CHECK(disk.tier->stats().expirations > 0);
}

TEST_CASE("an erase outlives the segment that holds it", "[disk][reclaim][R20]") {
    Churn disk;
    const bool by_clear = GENERATE(false, true);
    disk.name_space = "gone";
    for (int i = 0; i < 40; ++i) disk.set(numbered("k", i), value_of("k", 1, 1400));
    disk.name_space = "";
    disk.fill(70'000, 1min);
    disk.name_space = "gone";
    if (by_clear) {
        REQUIRE(disk.tier->clear("gone") == TierStatus::ok);
    } else {
        for (int i = 0; i < 40; ++i) REQUIRE(disk.erase(numbered("k", i)) == TierStatus::ok);
    }
    disk.name_space = "";
    disk.fill(300'000, 1min);
    const auto before = disk.segments();
    disk.clock.advance(2min);
    disk.fill(mib * 2 / 3);  // reclaims the expired segments, the one with the erases among them
    if (GENERATE(false, true)) (void)disk.tier->run_maintenance();
    const auto after = disk.segments();
    CHECK(std::find(after.begin(), after.end(), before.at(3)) == after.end());
    disk.close();
    std::filesystem::remove(disk.options.path / "KILLS");  // the segments must do without
    disk.open();
    disk.name_space = "gone";
    CHECK(disk.there("k", 40) == 0);
}

TEST_CASE("an overwrite outlives the segment that holds it, also when what it wrote has expired",
          "[disk][reclaim][R20]") {
    Churn disk;
    disk.set("k", "old", 10h);
    for (int i = 0; disk.segments().size() < 2; ++i)
        disk.set(numbered("stays", i), value_of("stays", 1, 200), 10h);
    disk.set("k", "new", 10s);
    const std::string second = disk.segments().at(1).string();
    disk.clock.advance(11s);
    for (int i = 0; i < 12'000;
         ++i) {  // more kills than the journal remembers, and segments that are mostly dead
        disk.set(numbered("churn", i % 20), value_of("churn", 1, 100), 10h);
        if (i >= 400 && i % 100 == 0) disk.set(numbered("stable", i), "value", 10h);
    }
    REQUIRE(disk.segments().at(0).filename() == "00000001.seg");  // it has the old value still
    REQUIRE_FALSE(std::filesystem::exists(second));
    CHECK_FALSE(disk.get("k"));
    disk.reopen();
    CHECK_FALSE(disk.get("k"));
    CHECK(disk.contains("stable400"));
}

TEST_CASE("one record that cannot be moved does not keep others from it", "[disk][reclaim]") {
    Churn disk;
    disk.set("broken", value_of("broken", 1, 700));
    for (int i = 0; i < 10; ++i) disk.set(numbered("hot", i), value_of("hot", 1, 700));
    REQUIRE(disk.get("broken"));
    for (int i = 0; i < 10; ++i) REQUIRE(disk.get(numbered("hot", i)));
    const std::string first = disk.segments().at(0).string();
    const int file = ::open(first.c_str(), O_WRONLY | O_CLOEXEC);
    REQUIRE(file >= 0);
    REQUIRE(::pwrite(file, "damage", 6, 400) == 6);
    ::close(file);
    for (int i = 0; std::filesystem::exists(first) && i < 1000; ++i) disk.fill(1500);
    CHECK(disk.there("hot", 10) == 10);
    CHECK_FALSE(disk.get("broken"));
}

TEST_CASE("the write rate does not keep a stored record from a longer life", "[disk][reclaim][R4]") {
    DiskFixture disk;
    disk.options.max_write_rate = 1000;
    disk.open();
    REQUIRE(disk.set("k", value_of("k", 1, 900), 1min) == TierStatus::ok);
    REQUIRE(disk.get("k"));
    const std::string key = sc::physical_key("", "k");
    const auto later = disk.clock.wall() + 1h;
    CHECK(disk.tier->change_lifetime(key, disk.found_stamp, later, later) == TierStatus::ok);
    disk.clock.advance(30min);
    CHECK(disk.get("k") == value_of("k", 1, 900));
}

TEST_CASE("a damaged record is not made valid by moving it", "[disk][reclaim]") {
    Churn disk;
    disk.set("hot", value_of("hot", 1, 700));
    REQUIRE(disk.get("hot"));
    const std::string first = disk.segments().at(0).string();
    const int file = ::open(first.c_str(), O_WRONLY | O_CLOEXEC);
    REQUIRE(file >= 0);
    REQUIRE(::pwrite(file, "damage", 6, 400) == 6);
    ::close(file);
    disk.fill(3 * mib);
    CHECK_FALSE(std::filesystem::exists(first));
    CHECK_FALSE(disk.get("hot"));
    disk.reopen();
    CHECK_FALSE(disk.get("hot"));
}

TEST_CASE("the index's memory, the queue and the write amplification are in the statistics",
          "[disk][reclaim][stats]") {
    DiskFixture disk;
    disk.options.max_size = 64 * mib;
    disk.tuning.window = 10min;  // nothing is written unless flush asks for it
    disk.open();
    CHECK(disk.tier->stats().write_amplification == 0);
    for (int i = 0; i < 5000; ++i) disk.set(numbered("k", i), value_of("k", 1, 100));
    const auto queued = disk.tier->stats();
    CHECK(queued.queued_bytes > 0);
    CHECK(queued.index_bytes <= 24 * 5000 + 64 * 16 * 16);
    CHECK(queued.index_bytes >= 16 * 5000);
    REQUIRE(disk.tier->flush(60s));
    const auto written = disk.tier->stats();
    CHECK(written.queued_bytes == 0);
    CHECK(written.write_amplification >= 1.0);
    CHECK(written.write_amplification < 1.01);
}

TEST_CASE("a journal that fills up again and again on a healthy disk costs nothing but the writing",
          "[disk][reclaim][R21]") {
    DiskFixture disk;
    disk.options.max_size = 64 * mib;
    disk.tuning.window = 10min;
    disk.open();
    for (int i = 0; i < 500; ++i) disk.set(numbered("keep", i), "value");
    std::vector<std::thread> threads;
    std::atomic<int> refused{0};
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&disk, &refused, t] {
            const std::string key = sc::physical_key("", numbered("own", t));
            for (int i = 0; i < 10'000; ++i) {
                sc::RecordView record;
                record.key = key;
                record.payload = sc::as_byte_view("value");
                record.raw_size = 5;
                record.kind = sc::ValueKind::text;
                record.created = disk.clock.wall();
                if (disk.tier->write(record) != TierStatus::ok) ++refused;
            }
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(refused == 0);
    CHECK(disk.tier->stats().errors == 0);
    int kept = 0;
    for (int i = 0; i < 500; ++i) kept += disk.contains(numbered("keep", i));
    CHECK(kept == 500);
}

}  // namespace reclaim_test
