// Which writes are stored when not all can be, or should be.

#include <smartcache/disk/admission.hpp>

#include <atomic>
#include <string>
#include <thread>

#include "disk/fixture.hpp"
#include "support/catch.hpp"

namespace admission_test {

using namespace smartcache_test;
using sc::TierStatus;

namespace {

/// Writes that hang until they are let go.
class HangingIo final : public sc::detail::Io {
  public:
    std::atomic<bool> hang{false};
    ssize_t pwrite(int file, const void* from, std::size_t size, std::uint64_t offset) override {
        while (hang) std::this_thread::yield();
        return Io::pwrite(file, from, size, offset);
    }
};

}  // namespace

TEST_CASE("with second_sight a key is stored when it is offered or looked up in vain a second time",
          "[disk][admission]") {
    DiskFixture disk;
    disk.options.admission = sc::DiskAdmission::second_sight;
    disk.open();

    SECTION("offered twice") {
        CHECK(disk.set("k", "first") == TierStatus::rejected);
        CHECK_FALSE(disk.get("k"));
        CHECK(disk.set("k", "second") == TierStatus::ok);
        CHECK(disk.get("k") == "second");
        CHECK(disk.tier->stats().rejected == 1);
    }
    SECTION("looked up twice, as a cache in front of something slow does") {
        CHECK_FALSE(disk.get("k"));
        CHECK(disk.set("k", "first") == TierStatus::rejected);
        CHECK_FALSE(disk.get("k"));
        CHECK(disk.set("k", "second") == TierStatus::ok);
    }
    SECTION("looked up only: the second time it is wanted") {
        CHECK_FALSE(disk.get("k"));
        CHECK_FALSE(disk.get("k"));
        CHECK(disk.set("k", "value") == TierStatus::ok);
    }
    SECTION("what is stored is overwritten, and after an erase begins anew") {
        (void)disk.set("k", "first");
        (void)disk.set("k", "second");
        CHECK(disk.set("k", "third") == TierStatus::ok);
        CHECK(disk.get("k") == "third");
        disk.erase("k");
        CHECK(disk.set("k", "fourth") == TierStatus::rejected);
    }
    SECTION("peek and contains are no sights") {
        for (int i = 0; i < 3; ++i) CHECK_FALSE(disk.contains("k"));
        CHECK(disk.set("k", "value") == TierStatus::rejected);
    }
}

TEST_CASE("keys that come once stay off the disk, and sights are forgotten in time", "[disk][admission]") {
    DiskFixture disk;
    disk.options.admission = sc::DiskAdmission::second_sight;
    disk.open();
    (void)disk.set("early", "value");
    int stored = 0;
    for (int i = 0; i < 50'000; ++i) {
        const std::string key = "once" + std::to_string(i);
        (void)disk.get(key);
        stored += disk.set(key, "value") == TierStatus::ok;
    }
    CHECK(stored < 50);  // a fingerprint of 16 bits may be taken for another
    CHECK(disk.set("early", "value") == TierStatus::rejected);
}

TEST_CASE("max_write_rate bounds the bytes per second, with a second's worth at once", "[disk][admission]") {
    DiskFixture disk;
    disk.options.max_write_rate = 100'000;
    disk.open();
    const auto stored_of = [&](int count) {
        int stored = 0;
        for (int i = 0; i < count; ++i) {
            const std::string key = "k" + std::to_string(i);
            stored += disk.set(key, value_of(key, 1, 900)) == TierStatus::ok;
        }
        REQUIRE(disk.tier->flush(60s));  // the queue refuses nothing here
        return stored;
    };
    const int first = stored_of(1000);
    CHECK(first >= 90);
    CHECK(first <= 111);
    CHECK(stored_of(100) == 0);
    CHECK_FALSE(disk.get("k50"));  // R3: the old value of a rejected write is gone
    disk.clock.advance(500ms);
    const int second = stored_of(1000);
    CHECK(second >= first / 2 - 2);
    CHECK(second <= first / 2 + 2);
    disk.clock.advance(1h);
    CHECK(stored_of(1000) == first);
    disk.clock.advance(1s);
    CHECK(disk.set("large", value_of("large", 1, 200'000)) == TierStatus::ok);  // on credit
    disk.clock.advance(1s);
    CHECK(disk.set("k", "value") == TierStatus::rejected);
    disk.clock.advance(2s);
    CHECK(disk.set("k", "value") == TierStatus::ok);
}

TEST_CASE("with block a write waits for room in the queue", "[disk][admission]") {
    DiskFixture disk;
    disk.options.max_size = 16U << 20U;
    disk.options.queue_size = 64U << 10U;
    disk.options.on_full = sc::DiskOverflow::block;
    disk.options.block_timeout = 1min;
    disk.open();
    for (int i = 0; i < 2000; ++i) {
        const std::string key = "k" + std::to_string(i);
        REQUIRE(disk.set(key, value_of(key, 1, 2000)) == TierStatus::ok);
    }
    CHECK(disk.tier->stats().rejected == 0);
    for (int i = 0; i < 2000; ++i) {
        const std::string key = "k" + std::to_string(i);
        REQUIRE(disk.get(key) == value_of(key, 1, 2000));
    }
}

TEST_CASE("a blocked write may wait for ever", "[disk][admission]") {
    // Its deadline used to overflow, and it did not wait at all.
    HangingIo io;
    DiskFixture disk;
    disk.options.max_size = 16U << 20U;
    disk.options.queue_size = 64U << 10U;
    disk.options.on_full = sc::DiskOverflow::block;
    disk.options.block_timeout = sc::Duration::max();
    disk.tuning.io = &io;
    disk.open();
    io.hang = true;
    constexpr int count = 100;  // more than there is room for
    std::atomic<int> stored{0};
    std::atomic<bool> ended{false};
    std::thread writer([&] {
        for (int i = 0; i < count; ++i)
            if (disk.set("k" + std::to_string(i), value_of("k", 1, 2000)) == TierStatus::ok) ++stored;
        ended = true;
    });
    while (!ended && disk.tier->stats().queued_bytes < (60U << 10U)) std::this_thread::yield();
    io.hang = false;
    writer.join();
    CHECK(stored == count);
    disk.close();
}

TEST_CASE("a blocked write gives up at its timeout, and the old value does not come back",
          "[disk][admission][R3]") {
    HangingIo io;
    DiskFixture disk;
    disk.options.max_size = 16U << 20U;
    disk.options.queue_size = 64U << 10U;
    disk.options.on_full = sc::DiskOverflow::block;
    disk.options.block_timeout = 1ms;
    disk.tuning.io = &io;
    disk.open();
    REQUIRE(disk.set("k", "old") == TierStatus::ok);
    REQUIRE(disk.tier->flush(60s));
    io.hang = true;
    int stored = 0;
    while (disk.set("f" + std::to_string(stored), value_of("f", 1, 2000)) == TierStatus::ok) ++stored;
    CHECK(stored > 0);
    CHECK(disk.set("k", value_of("k", 2, 2000)) == TierStatus::rejected);
    CHECK_FALSE(disk.get("k"));
    io.hang = false;
    REQUIRE(disk.tier->flush(60s));
    CHECK_FALSE(disk.get("k"));
    disk.close();
}

}  // namespace admission_test
