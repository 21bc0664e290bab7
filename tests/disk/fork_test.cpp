// A child process has the tier's memory and files, but none of its threads (R33).

#include <smartcache/disk/disk_tier.hpp>

#include <string>

#include "disk/fixture.hpp"
#include "support/catch.hpp"
#include "support/fork.hpp"

namespace fork_test {

using namespace smartcache_test;
using sc::TierStatus;

TEST_CASE("in a child the store is off, and what the child does never reaches the parent's",
          "[disk][fork][R33]") {
    DiskFixture disk;
    disk.options.write = GENERATE(sc::WriteMode::behind, sc::WriteMode::through);
    disk.open();
    const std::string value = value_of("k", 1, 1000);
    REQUIRE(disk.set("k", value) == TierStatus::ok);
    REQUIRE(disk.tier->flush(60s));
    REQUIRE(disk.set("queued", value) == TierStatus::ok);
    CHECK(in_child([&] {
        sc::DiskTier& tier = *disk.tier;
        bool good = !disk.get("k") && disk.status == TierStatus::unavailable;
        good = good && disk.set("k", "the child's") == TierStatus::unavailable;
        good = good && tier.remove("k") == TierStatus::unavailable;
        good = good && tier.clear("") == TierStatus::unavailable;
        good = good && !tier.flush(0ms) && tier.run_maintenance() == 0 && !tier.probe().ok;
        (void)tier.stats();
        disk.tier.reset();
        return good;
    }));
    CHECK(disk.get("k") == value);
    CHECK(disk.tier->probe().ok);
    REQUIRE(disk.set("more", value) == TierStatus::ok);
    disk.reopen();
    CHECK(disk.get("k") == value);
    CHECK(disk.get("queued") == value);
    CHECK(disk.get("more") == value);
    CHECK(disk.tier->stats().corrupt == 0);
}

}  // namespace fork_test
