#include <smartcache/disk/validate.hpp>

#include "support/catch.hpp"

#include <filesystem>

#include <smartcache/disk/disk_tier.hpp>

#include "support/temp_dir.hpp"

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
    const auto problems = problems_of(options);
    REQUIRE(problems.size() == 5);
    CHECK(problems[0].field == "disk.path");
    CHECK(problems[1].field == "disk.ttl");
    CHECK(problems[1].value == "0ms");
    CHECK(problems[2].field == "disk.max_size");
    CHECK(problems[2].value == "1048575");
    CHECK(problems[3].field == "disk.durability");
    CHECK(problems[3].value == "9");
    CHECK(problems[4].field == "disk.write");
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
