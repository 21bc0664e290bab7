#include <smartcache/disk/disk_tier.hpp>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "disk/fixture.hpp"
#include "support/catch.hpp"

namespace disk_tier_test {

using namespace smartcache_test;
using sc::TierStatus;
using sc::WriteCondition;

namespace {

/// Every way of writing and reading that the options offer.
struct Ways : DiskFixture {
    Ways() {
        options.write = GENERATE(sc::WriteMode::behind, sc::WriteMode::through);
        options.io = GENERATE(sc::DiskIo::mmap, sc::DiskIo::pread);
        open();
    }
};

/// A disk that takes its time: writes of the log wait while `stuck`.
struct StuckIo final : sc::detail::Io {
    ssize_t pwrite(int file, const void* from, std::size_t size, std::uint64_t offset) override {
        while (stuck) std::this_thread::yield();
        return Io::pwrite(file, from, size, offset);
    }
    std::atomic<bool> stuck{false};
};

/// A clock whose next reading takes so long that something happens meanwhile.
struct SlowClock final : sc::Clock {
    [[nodiscard]] sc::MonotonicTime now() const noexcept override { return clock.now(); }
    [[nodiscard]] sc::WallTime wall() const noexcept override {
        const sc::WallTime read = clock.wall();
        if (const auto call = std::exchange(meanwhile, {})) call();
        return read;
    }
    sc::FakeClock clock;
    mutable std::function<void()> meanwhile{};
};

/// A queue that is never written unless somebody asks for it.
struct Queued : DiskFixture {
    Queued() { tuning.window = 24h; }
};

}  // namespace

TEST_CASE("what was written is read back, whole and with its metadata", "[disk][tier]") {
    Ways disk;
    for (const std::size_t size : {0U, 1U, 100U, 4095U, 4096U, 5000U, 70'000U, 300'000U}) {
        const std::string value = value_of("k", size, size);
        REQUIRE(disk.set("k" + std::to_string(size), value) == TierStatus::ok);
        CHECK(disk.get("k" + std::to_string(size)) == value);
        CHECK(disk.found_stamp == disk.stamp);
    }
    REQUIRE(disk.tier->flush(60s));
    CHECK(disk.get("k4096") == value_of("k", 4096, 4096));
    CHECK_FALSE(disk.get("nothing"));
    CHECK(disk.status == TierStatus::miss);
}

TEST_CASE("a record that is replaced while its key is read is found, the old one or the new",
          "[disk][tier][R26]") {
    SlowClock clock;
    const TempDir dir;
    sc::DiskTier tier({.path = dir / "store"}, {.time = sc::TimeSource(&clock)});
    REQUIRE(tier.set("k", sc::as_byte_view("old"), 1h));
    clock.meanwhile = [&] {
        clock.clock.advance(1ms);
        REQUIRE(tier.set("k", sc::as_byte_view("new"), 1h));
    };
    CHECK(tier.get("k"));
    CHECK_FALSE(clock.meanwhile);
}

TEST_CASE("all fields of a record survive the disk", "[disk][tier]") {
    Ways disk;
    sc::ByteSink tags;
    sc::encode_tags(std::vector<std::string>{"red", "blue"}, tags);
    sc::RecordView record = disk.record("2:ns:k", "");
    record.negative = true;
    record.schema = 3;
    record.codec = 9;
    record.kind = sc::ValueKind::coded;
    record.created_seq = 77;
    record.load_cost = std::chrono::microseconds(1234);
    record.stale_until = record.expires + 5min;
    record.tags = sc::TagList(2, tags.view());
    REQUIRE(disk.tier->write(record) == TierStatus::ok);
    REQUIRE(disk.tier->flush(60s));
    bool called = false;
    REQUIRE(disk.tier->read("2:ns:k", [&](const sc::RecordView& found) {
        called = true;
        CHECK(found.negative);
        CHECK(found.schema == 3);
        CHECK(found.codec == 9);
        CHECK(found.created_seq == 77);
        CHECK(found.load_cost.count() == 1234);
        CHECK(found.created == record.created);
        CHECK(found.expires == record.expires);
        CHECK(found.stale_until == record.stale_until);
        CHECK(std::vector<std::string>(found.tags.begin(), found.tags.end()) ==
              std::vector<std::string>{"red", "blue"});
    }) == TierStatus::ok);
    CHECK(called);
}

TEST_CASE("queued writes, overwrites and erases are visible at once", "[disk][tier][R3]") {
    Queued disk;
    disk.open();
    disk.set("k", "one");
    CHECK(disk.get("k") == "one");
    disk.set("k", "two");
    CHECK(disk.get("k") == "two");
    CHECK(disk.erase("k") == TierStatus::ok);
    CHECK_FALSE(disk.get("k"));
    CHECK(disk.erase("k") == TierStatus::miss);
    CHECK(disk.segments().empty());  // really queued: nothing is on disk yet
    CHECK(disk.tier->flush(60s));
    CHECK(disk.segments().size() == 1);
}

TEST_CASE("flush gives up after its time-out", "[disk][tier]") {
    StuckIo io;
    DiskFixture disk;
    disk.tuning.io = &io;
    disk.open();
    io.stuck = true;
    disk.set("k", "v");
    CHECK_FALSE(disk.tier->flush(sc::Duration(1)));
    // So far back that the clock would overflow, and wait for years.
    CHECK_FALSE(disk.tier->flush(sc::Duration(-13'835'058'055'283)));
    CHECK_FALSE(disk.tier->flush(sc::Duration::min()));
    io.stuck = false;
    CHECK(disk.tier->flush(60s));
}

TEST_CASE("values and erases persist across instances", "[disk][tier]") {
    Ways disk;
    disk.set("kept", "value");
    disk.set("erased", "value");
    disk.set("overwritten", "old");
    disk.reopen();
    CHECK(disk.get("kept") == "value");
    disk.erase("erased");
    disk.set("overwritten", "new");
    disk.reopen();
    CHECK(disk.get("kept") == "value");
    CHECK_FALSE(disk.get("erased"));
    CHECK(disk.get("overwritten") == "new");
    CHECK(disk.tier->stats().entries == 2);
    CHECK(disk.tier->stats().corrupt == 0);
}

TEST_CASE("many restarts continue in one segment instead of filling the directory with small ones",
          "[disk][tier]") {
    DiskFixture disk;
    for (int i = 0; i < 20; ++i) {
        disk.open();
        disk.set("k" + std::to_string(i), "v");
        disk.close();
    }
    CHECK(disk.segments().size() == 1);
    disk.open();
    for (int i = 0; i < 20; ++i) CHECK(disk.get("k" + std::to_string(i)) == "v");
}

TEST_CASE("a record expires exactly at its time, also after a restart, and is counted as expired",
          "[disk][tier]") {
    DiskFixture disk;
    disk.open();
    disk.set("k", "v", 10s);
    disk.clock.advance(6s);
    disk.reopen();
    disk.clock.advance(sc::Duration(3'999));
    CHECK(disk.get("k") == "v");
    CHECK(disk.contains("k"));
    disk.clock.advance(sc::Duration(1));
    CHECK_FALSE(disk.contains("k"));
    CHECK_FALSE(disk.get("k"));
    const sc::TierStats stats = disk.tier->stats();
    CHECK(stats.expirations == 1);
    CHECK(stats.evictions == 0);
    CHECK(stats.entries == 0);
}

TEST_CASE("an expired record within its grace is given out, but is not fresh", "[disk][tier]") {
    DiskFixture disk;
    disk.open();
    const std::string key = sc::physical_key("", "k");
    sc::RecordView record = disk.record(key, "v", 10s);
    record.stale_until = record.expires + 20s;
    REQUIRE(disk.tier->write(record) == TierStatus::ok);
    disk.clock.advance(29s);
    CHECK_FALSE(disk.contains("k"));
    CHECK(disk.get("k") == "v");
    disk.clock.advance(1s);
    CHECK_FALSE(disk.get("k"));
}

TEST_CASE("a record from the future is a miss until its time has come", "[disk][tier][R26]") {
    DiskFixture disk;
    disk.open();
    const sc::WallTime start = disk.clock.wall();
    disk.set("k", "v");
    disk.clock.set_wall(start - 1min);
    CHECK_FALSE(disk.get("k"));
    CHECK_FALSE(disk.contains("k"));
    disk.reopen();
    CHECK_FALSE(disk.get("k"));
    disk.clock.set_wall(start);
    CHECK(disk.get("k") == "v");
}

TEST_CASE("conditions hold against what is there, pending or written", "[disk][tier][R7]") {
    Ways disk;
    CHECK(disk.set("k", "first", 1h, WriteCondition::if_absent()) == TierStatus::ok);
    const std::uint64_t first = disk.stamp;
    CHECK(disk.set("k", "second", 1h, WriteCondition::if_absent()) == TierStatus::refused);
    CHECK(disk.get("k") == "first");
    REQUIRE(disk.tier->flush(60s));
    CHECK(disk.set("k", "third", 1h, WriteCondition::if_stamp(first + 100)) == TierStatus::refused);
    CHECK(disk.get("k") == "first");
    CHECK(disk.set("k", "fourth", 1h, WriteCondition::if_stamp(first)) == TierStatus::ok);
    CHECK(disk.get("k") == "fourth");
    CHECK(disk.set("other", "v", 1h, WriteCondition::if_stamp(first)) == TierStatus::refused);
    CHECK_FALSE(disk.get("other"));
    disk.erase("k");
    CHECK(disk.set("k", "fifth", 1h, WriteCondition::if_absent()) == TierStatus::ok);
    disk.clock.advance(1h);
    CHECK(disk.set("k", "sixth", 1h, WriteCondition::if_absent()) == TierStatus::ok);
    CHECK(disk.get("k") == "sixth");
}

TEST_CASE("of many threads that fill the same absent keys, exactly one each succeeds", "[disk][tier][R7]") {
    DiskFixture disk;
    disk.open();
    std::atomic<int> stored{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 200; ++i) {
                const std::string key = sc::physical_key("", std::to_string(i));
                sc::RecordView record;
                const std::string value = std::to_string(t);
                record.key = key;
                record.payload = sc::as_byte_view(value);
                record.raw_size = value.size();
                record.created = disk.clock.wall();
                if (disk.tier->write(record, WriteCondition::if_absent()) == TierStatus::ok) ++stored;
            }
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(stored == 200);
}

TEST_CASE("change_lifetime moves the end of the version it saw and nothing else", "[disk][tier][R4]") {
    Ways disk;
    disk.set("k", "v", 10s);
    const std::string key = sc::physical_key("", "k");
    const std::uint64_t stamp = disk.stamp;
    const sc::WallTime later = disk.clock.wall() + 60s;
    CHECK(disk.tier->change_lifetime(key, stamp + 1, later, later) == TierStatus::refused);
    CHECK(disk.tier->change_lifetime(sc::physical_key("", "x"), stamp, later, later) == TierStatus::refused);
    CHECK(disk.tier->change_lifetime(key, stamp, later, later) == TierStatus::ok);
    disk.reopen();
    disk.clock.advance(59s);
    CHECK(disk.get("k") == "v");
    CHECK(disk.found_stamp == stamp);
    CHECK(disk.tier->change_lifetime(key, stamp, disk.clock.wall(), disk.clock.wall()) == TierStatus::ok);
    CHECK_FALSE(disk.get("k"));
}

TEST_CASE("keys that collide in all bits of the hash never give a foreign value", "[disk][tier][R25]") {
    DiskFixture disk;
    disk.tuning.hash_mask = 0;
    disk.open();
    disk.set("a", "of a");
    CHECK_FALSE(disk.get("b"));
    CHECK_FALSE(disk.contains("b"));
    CHECK(disk.erase("b") == TierStatus::miss);
    CHECK(disk.get("a") == "of a");
    CHECK(disk.set("b", "of b", 1h, WriteCondition::if_absent()) == TierStatus::ok);
    CHECK(disk.get("b") == "of b");
    CHECK_FALSE(disk.get("a"));  // gave way: a miss, not a foreign value
    disk.reopen();
    CHECK(disk.get("b") == "of b");
    CHECK_FALSE(disk.get("a"));
    CHECK(disk.tier->stats().corrupt == 0);
}

TEST_CASE("namespaces with the same keys are apart", "[disk][tier][R25]") {
    DiskFixture disk;
    disk.open();
    disk.set("k", "plain");
    disk.name_space = "ns";
    CHECK_FALSE(disk.get("k"));
    disk.set("k", "of ns");
    disk.name_space = "";
    CHECK(disk.get("k") == "plain");
}

TEST_CASE("clearing the only namespace frees the space at once and lasts", "[disk][tier][clear]") {
    Ways disk;
    disk.name_space = "app";
    for (int i = 0; i < 500; ++i) disk.set(std::to_string(i), value_of("k", 1, 500));
    REQUIRE(disk.tier->flush(60s));
    REQUIRE(disk.segments().size() > 2);
    disk.set("pending", "v");
    CHECK(disk.tier->clear("app") == TierStatus::ok);
    CHECK(disk.tier->stats().entries == 0);
    CHECK(disk.segments().empty());
    CHECK(disk.tier->stats().evictions == 0);
    CHECK_FALSE(disk.get("7"));
    CHECK_FALSE(disk.get("pending"));
    disk.set("after", "v");
    CHECK(disk.get("after") == "v");
    disk.reopen();
    CHECK(disk.tier->stats().entries == 1);
    CHECK(disk.get("after") == "v");
}

TEST_CASE("clearing one of two namespaces leaves the other, also after a restart", "[disk][tier][clear]") {
    Ways disk;
    for (const char* name : {"one", "two"}) {
        disk.name_space = name;
        for (int i = 0; i < 50; ++i) disk.set(std::to_string(i), name);
    }
    CHECK(disk.tier->clear("one") == TierStatus::ok);
    disk.name_space = "one";
    CHECK_FALSE(disk.get("7"));
    CHECK_FALSE(disk.contains("8"));
    CHECK(disk.set("9", "again", 1h, WriteCondition::if_absent()) == TierStatus::ok);
    disk.name_space = "two";
    CHECK(disk.get("7") == "two");
    if (GENERATE(false, true)) {
        disk.tier->run_maintenance();
        CHECK(disk.tier->stats().entries == 51);
    }
    disk.reopen();
    CHECK(disk.tier->stats().entries == 51);
    CHECK(disk.get("7") == "two");
    disk.name_space = "one";
    CHECK_FALSE(disk.get("7"));
    CHECK(disk.get("9") == "again");
}

TEST_CASE("clearing a namespace that holds nothing does nothing", "[disk][tier][clear]") {
    DiskFixture disk;
    disk.open();
    CHECK(disk.tier->clear("app") == TierStatus::ok);
    disk.set("k", "v");
    CHECK(disk.tier->clear("app") == TierStatus::ok);
    CHECK(disk.get("k") == "v");
}

TEST_CASE("a record beyond the limits is rejected, and the old value is gone for good", "[disk][tier][R3]") {
    Ways disk;
    disk.context.limits = {.max_key_size = 20, .max_value_size = 1000};
    disk.reopen();
    disk.set("k", "old");
    CHECK(disk.set("k", std::string(1001, 'x')) == TierStatus::rejected);
    CHECK_FALSE(disk.get("k"));
    CHECK(disk.set(std::string(30, 'k'), "v") == TierStatus::rejected);
    CHECK(disk.tier->stats().rejected == 2);
    disk.reopen();
    CHECK_FALSE(disk.get("k"));
}

TEST_CASE("a record that no segment can hold is rejected, the largest that fits is stored", "[disk][tier]") {
    DiskFixture disk;
    disk.open();
    CHECK(disk.set("k", std::string(600'000, 'x')) == TierStatus::rejected);
    const std::string large = value_of("k", 1, 440'000);
    CHECK(disk.set("k", large) == TierStatus::ok);
    CHECK(disk.get("k") == large);
    CHECK(disk_usage(disk.options.path) <= disk.options.max_size);
    disk.reopen();
    CHECK(disk.get("k") == large);
}

TEST_CASE("a full queue rejects and counts, and the old value does not come back", "[disk][tier][R3][R21]") {
    StuckIo io;
    DiskFixture disk;
    disk.tuning.io = &io;
    disk.tuning.queue_bytes = 8192;
    disk.open();
    disk.set("k", "old");
    disk.reopen();
    io.stuck = true;
    CHECK(disk.get("k") == "old");
    int stored = 0;
    TierStatus last = TierStatus::ok;
    for (int i = 0; i < 1000 && last == TierStatus::ok; ++i, ++stored)
        last = disk.set("f" + std::to_string(i), "filler");
    REQUIRE(last == TierStatus::rejected);
    CHECK(stored > 20);
    CHECK(disk.set("k", "new") == TierStatus::rejected);
    CHECK_FALSE(disk.get("k"));
    CHECK(disk.erase("f1") == TierStatus::ok);  // erases are never refused
    CHECK(disk.tier->stats().rejected == 2);
    io.stuck = false;
    REQUIRE(disk.tier->flush(60s));
    CHECK(disk.set("k", "newer") == TierStatus::ok);
    disk.reopen();
    CHECK(disk.get("k") == "newer");
    CHECK_FALSE(disk.get("f1"));
    CHECK(disk.get("f2") == "filler");
}

TEST_CASE(
    "where there is no room in the queue a longer lifetime is not given and a shorter one ends the record",
    "[disk][tier][R3]") {
    StuckIo io;
    DiskFixture disk;
    disk.tuning.io = &io;
    disk.tuning.queue_bytes = 8192;
    disk.open();
    REQUIRE(disk.set("k", "value") == TierStatus::ok);
    disk.reopen();
    const std::string key = sc::physical_key(disk.name_space, "k");
    std::uint64_t stamp = 0;
    REQUIRE(disk.tier->peek(key, [&](const sc::RecordView& found) { stamp = found.stamp; }) ==
            TierStatus::ok);
    io.stuck = true;
    for (int i = 0; disk.set("f" + std::to_string(i), "filler") == TierStatus::ok; ++i) REQUIRE(i < 1000);
    const auto last = [&](sc::Duration ttl) {
        const sc::WallTime end = disk.clock.wall() + ttl;
        return disk.tier->change_lifetime(key, stamp, end, end);
    };
    CHECK(last(2h) == TierStatus::rejected);
    CHECK(disk.get("k") == "value");
    CHECK(last(30min) == TierStatus::rejected);
    CHECK_FALSE(disk.get("k"));
    io.stuck = false;
    disk.reopen();
    CHECK_FALSE(disk.get("k"));
    disk.close();
}

TEST_CASE("more erases than the journal has entries write the log in between", "[disk][tier][R21]") {
    Queued disk;
    disk.options.max_size = 8U << 20U;
    disk.open();
    for (int i = 0; i < 6000; ++i) REQUIRE(disk.set(std::to_string(i), "v") == TierStatus::ok);
    int erased = 0;
    for (int i = 0; i < 6000; ++i) erased += disk.erase(std::to_string(i)) == TierStatus::ok;
    CHECK(erased == 6000);
    disk.reopen();
    CHECK(disk.tier->stats().entries == 0);
}

TEST_CASE("write_many and read_many answer for each key", "[disk][tier]") {
    Ways disk;
    const std::vector<std::string> keys{sc::physical_key("", "a"), sc::physical_key("", "b"),
                                        std::string(100'000, 'k')};
    std::vector<sc::RecordView> records;
    for (const std::string& key : keys) records.push_back(disk.record(key, "value"));
    CHECK(disk.tier->write_many(records) ==
          std::vector<TierStatus>{TierStatus::ok, TierStatus::ok, TierStatus::rejected});
    const std::vector<std::string_view> wanted{keys[0], "0::none", keys[1]};
    std::vector<std::size_t> found;
    disk.tier->read_many(wanted, [&](std::size_t i, const sc::RecordView&) { found.push_back(i); });
    CHECK(found == std::vector<std::size_t>{0, 2});
    CHECK(disk.tier->remove_many(wanted) ==
          std::vector<TierStatus>{TierStatus::ok, TierStatus::miss, TierStatus::ok});
}

TEST_CASE("used alone, the tier stores plain bytes, compressed where that pays", "[disk][tier]") {
    DiskFixture disk;
    disk.open();
    const std::string value(50'000, 'x');
    CHECK(disk.tier->set("k", value, 10s));
    const auto bytes = disk.tier->get("k");
    REQUIRE(bytes);
    CHECK(sc::as_text_view(*bytes) == value);
    CHECK(disk.tier->exists("k"));
#if SMARTCACHE_HAS_LZ4
    REQUIRE(disk.tier->flush(60s));
    CHECK(std::filesystem::file_size(disk.segments().at(0)) < 5'000);
#endif
    CHECK_FALSE(disk.tier->set("k", value, sc::Duration(0)));
    CHECK_FALSE(disk.tier->exists("k"));
    CHECK(disk.tier->set("k", "text"));
    CHECK(disk.tier->erase("k"));
    CHECK_FALSE(disk.tier->erase("k"));
    CHECK(disk.tier->clear());
    disk.clock.advance(10s);
    CHECK_FALSE(disk.tier->get("k"));
}

TEST_CASE("statistics count hits, misses, sets, entries, bytes and latency", "[disk][tier][stats]") {
    Ways disk;
    disk.set("a", "v");
    disk.set("b", "v");
    disk.get("a");
    disk.get("none");
    disk.contains("a");
    sc::TierStats stats = disk.tier->stats();
    CHECK(stats.sets == 2);
    CHECK(stats.hits == 1);
    CHECK(stats.misses == 1);
    CHECK(stats.entries == 2);
    CHECK(stats.latency.count == 2);
    REQUIRE(disk.tier->flush(60s));
    CHECK(disk.tier->stats().bytes >= disk_usage(disk.options.path));
    CHECK(disk.tier->stats().bytes <= disk.options.max_size);
    disk.tier->reset_stats();
    stats = disk.tier->stats();
    CHECK(stats.hits + stats.misses + stats.sets + stats.latency.count == 0);
    CHECK(stats.entries == 2);
}

TEST_CASE("the probe really writes: it fails when the directory is gone", "[disk][tier]") {
    DiskFixture disk;
    disk.open();
    const sc::TierHealth healthy = disk.tier->probe();
    CHECK(healthy.ok);
    CHECK(healthy.detail.find(disk.options.path.string()) != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(disk.options.path / "PROBE"));
    std::filesystem::remove_all(disk.options.path);
    const sc::TierHealth sick = disk.tier->probe();
    CHECK_FALSE(sick.ok);
    CHECK(sick.detail.find("No such file") != std::string::npos);
}

TEST_CASE("maintenance removes the expired and drops segments in which nothing lives", "[disk][tier]") {
    Ways disk;
    const auto fill = [&](const char* prefix, sc::Duration ttl) {
        for (int i = 0; i < 200; ++i) disk.set(prefix + std::to_string(i), value_of("k", 1, 1000), ttl);
        REQUIRE(disk.tier->flush(60s));
    };
    fill("old", 1h);
    fill("short", 1min);
    fill("new", 1h);
    const std::size_t before = disk.segments().size();
    CHECK(disk.tier->run_maintenance() == 0);
    CHECK(disk.segments().size() == before);
    disk.clock.advance(2min);
    CHECK(disk.tier->run_maintenance() == 200);
    CHECK(disk.segments().size() < before);
    const sc::TierStats stats = disk.tier->stats();
    CHECK(stats.expirations == 200);
    CHECK(stats.evictions == 0);
    CHECK(stats.entries == 400);
    disk.reopen();
    CHECK(disk.tier->stats().entries == 400);
    CHECK(disk.get("old0"));
    CHECK(disk.get("new199"));
}

TEST_CASE("dropping a dead segment in the middle carries its kills: nothing older comes back",
          "[disk][tier][R20]") {
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.open();
    // First segment: long-lived first versions, and something that keeps it alive.
    for (int i = 0; i < 20; ++i) disk.set("k" + std::to_string(i), "first", 24h);
    disk.set("erased", "first", 24h);
    disk.set("keeper", value_of("keeper", 1, 60'000), 24h);
    // Second: short-lived second versions and a tombstone; then fill it up.
    for (int i = 0; i < 20; ++i) disk.set("k" + std::to_string(i), value_of("second", 1, 1000), 1min);
    disk.erase("erased");
    disk.set("filler", value_of("filler", 1, 40'000), 1min);
    disk.set("last", value_of("last", 1, 30'000), 24h);
    disk.set("active", value_of("active", 1, 40'000), 24h);
    const auto before = disk.segments();
    disk.clock.advance(2min);
    CHECK(disk.tier->run_maintenance() == 21);
    REQUIRE(disk.segments().size() < before.size());
    CHECK(std::filesystem::exists(before[0]));
    CHECK_FALSE(std::filesystem::exists(before[1]));
    disk.reopen();
    CHECK(disk.get("keeper"));
    for (int i = 0; i < 20; ++i) CHECK_FALSE(disk.get("k" + std::to_string(i)));
    CHECK_FALSE(disk.get("erased"));
}

TEST_CASE("without background threads nothing starts one and calls do the work", "[disk][tier]") {
    DiskFixture disk;
    disk.context.background = false;
    disk.open();
    disk.set("k", "v");
    CHECK(disk.segments().size() == 1);  // written in the call
    CHECK(disk.tier->flush(sc::Duration(0)));
}

TEST_CASE("a callback that throws does not get out and leaves the tier usable", "[disk][tier]") {
    DiskFixture disk;
    disk.open();
    disk.set("k", "v");
    CHECK(disk.tier->read(sc::physical_key("", "k"), [](const sc::RecordView&) { throw 1; }) ==
          TierStatus::unavailable);
    CHECK(disk.get("k") == "v");
}

TEST_CASE("a record that is ended was not rejected", "[disk][tier]") {
    DiskFixture disk;
    disk.open();
    REQUIRE(disk.set("k", "v") == TierStatus::ok);
    const std::string physical = sc::physical_key(disk.name_space, "k");
    CHECK(disk.tier->end(physical, disk.stamp + 1) == TierStatus::refused);
    CHECK(disk.tier->end(physical, disk.stamp) == TierStatus::ok);
    CHECK(disk.tier->end(physical, disk.stamp) == TierStatus::refused);
    CHECK_FALSE(disk.get("k"));
    CHECK(disk.tier->stats().rejected == 0);
}

}  // namespace disk_tier_test
