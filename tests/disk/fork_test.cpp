// A child process has the tier's memory and files, but none of its threads (R33).

#include <smartcache/disk/disk_tier.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
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

TEST_CASE("a child keeps neither the store's lock nor the blocks of its segments",
          "[disk][fork][R33][bound]") {
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.open();
    for (int i = 0; i < 500; ++i) (void)disk.set("k" + std::to_string(i), value_of("k", 1, 1000));
    REQUIRE(disk.segments().size() > 5);
    int go[2];
    REQUIRE(::pipe(go) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {  // until the parent closes its end, or dies
        (void)::close(go[1]);
        char byte = 0;
        (void)!::read(go[0], &byte, 1);
        ::_exit(disk.get("k0") ? 1 : 0);
    }
    std::ifstream maps("/proc/" + std::to_string(child) + "/maps");
    REQUIRE(maps);
    for (std::string line; std::getline(maps, line);)
        CHECK(line.find(disk.options.path.string()) == std::string::npos);
    CHECK_NOTHROW(disk.reopen());
    CHECK(disk.get("k499"));
    (void)::close(go[1]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    (void)::close(go[0]);
}

}  // namespace fork_test
