// The bound on disk space, and what goes to keep it.

#include <atomic>
#include <string>
#include <thread>

#include <smartcache/disk/disk_tier.hpp>

#include "disk/fixture.hpp"
#include "support/catch.hpp"

using namespace smartcache_test;
using sc::TierStatus;

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
            REQUIRE(disk.tier->flush(10s));  // else a slow machine would reject more than it stores
        most = std::max(most, disk_usage(disk.options.path));
        REQUIRE(most <= disk.options.max_size);
        REQUIRE(disk.tier->stats().bytes <= disk.options.max_size);
    }
    CHECK(written > 3 * disk.options.max_size);   // segments did turn over
    CHECK(most > disk.options.max_size * 3 / 4);  // and the space is used
    REQUIRE(disk.tier->flush(10s));
    CHECK(disk.tier->stats().evictions > 0);
    for (int i = 0; i < 400; ++i) {
        const std::string key = "k" + std::to_string(i);
        if (const auto value = disk.get(key)) CHECK(version_in(key, *value) == 1);
    }
    CHECK(disk.tier->stats().corrupt == 0);
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
