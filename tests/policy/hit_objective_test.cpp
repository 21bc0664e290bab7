#include <smartcache/policy/hit_objective.hpp>

#include <string>

#include "support/catch.hpp"

using smartcache::HitObjective;
using smartcache::parse_hit_objective;
using smartcache::to_string;

TEST_CASE("every objective is found by its own name", "[policy]") {
    for (const HitObjective objective : {HitObjective::objects, HitObjective::bytes})
        CHECK(parse_hit_objective(to_string(objective)) == objective);
    CHECK(std::string(to_string(HitObjective::objects)) == "objects");
    CHECK(std::string(to_string(HitObjective::bytes)) == "bytes");
}

TEST_CASE("nothing else is an objective", "[policy]") {
    for (const char* text : {"", "Objects", "byte", "bytes "}) CHECK_FALSE(parse_hit_objective(text));
    CHECK(std::string(to_string(static_cast<HitObjective>(77))) == "unknown");
}
