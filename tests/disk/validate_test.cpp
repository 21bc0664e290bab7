#include <smartcache/disk/validate.hpp>

#include "support/catch.hpp"

#include <filesystem>

#include <smartcache/disk/disk_tier.hpp>

#include "support/temp_dir.hpp"

namespace validate_test {

namespace sc = smartcache;

namespace {

std::vector<sc::ConfigProblem> problems_of(const sc::DiskOptions& options) {
    std::vector<sc::ConfigProblem> problems;
    sc::validate(options, problems);
    return problems;
}

}  // namespace

TEST_CASE("the default disk options are valid", "[disk][validate]") {
    CHECK(problems_of({}).empty());
}

TEST_CASE("all wrong disk options are named at once, with what was given", "[disk][validate]") {
    sc::DiskOptions options;
    options.path = "";
    options.ttl = sc::Duration(0);
    options.max_size = (1U << 20U) - 1;
    options.durability = static_cast<sc::Durability>(9);
    options.write = static_cast<sc::WriteMode>(-1);
    options.queue_size = 65535;
    options.block_timeout = sc::Duration(-1);
    options.on_full = static_cast<sc::DiskOverflow>(2);
    options.admission = static_cast<sc::DiskAdmission>(2);
    options.on_other_format = static_cast<sc::DiskMismatch>(2);
    const auto problems = problems_of(options);
    REQUIRE(problems.size() == 10);
    CHECK(problems[0].field == "disk.path");
    CHECK(problems[1].field == "disk.ttl");
    CHECK(problems[1].value == "0ms");
    CHECK(problems[2].field == "disk.max_size");
    CHECK(problems[2].value == "1048575");
    CHECK(problems[3].field == "disk.queue_size");
    CHECK(problems[4].field == "disk.block_timeout");
    CHECK(problems[4].value == "-1ms");
    CHECK(problems[5].field == "disk.durability");
    CHECK(problems[5].value == "9");
    CHECK(problems[6].field == "disk.write");
    CHECK(problems[7].field == "disk.on_full");
    CHECK(problems[8].field == "disk.admission");
    CHECK(problems[9].field == "disk.on_other_format");
}

TEST_CASE("the root directory is no path for a cache", "[disk][validate]") {
    sc::DiskOptions options;
    options.path = "/";
    CHECK(problems_of(options).size() == 1);
    options.path = "/tmp/..";
    CHECK(problems_of(options).size() == 1);
}

TEST_CASE("a tier with wrong options throws before it touches the disk", "[disk][validate]") {
    const smartcache_test::TempDir dir;
    sc::DiskOptions options;
    options.path = dir / "store";
    options.max_size = 4096;
    CHECK_THROWS_AS(sc::DiskTier(options), sc::ConfigError);
    CHECK_FALSE(std::filesystem::exists(dir / "store"));
}

}  // namespace validate_test
