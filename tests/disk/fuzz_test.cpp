// Stores damaged at random. The same target runs under libFuzzer: fuzz_segment.cpp.
// SMARTCACHE_FUZZ_RUNS=100000 in the environment makes a longer run of it.

#include <cstdint>
#include <string>
#include <vector>

#include "disk/fuzz_segment.hpp"
#include "support/catch.hpp"

namespace fuzz_test {

using namespace smartcache_test;

namespace {

std::string in_hex(const Bytes& bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const std::byte byte : bytes) {
        text.push_back(digits[std::to_integer<std::size_t>(byte >> 4U)]);
        text.push_back(digits[std::to_integer<std::size_t>(byte & std::byte{15})]);
    }
    return text;
}

}  // namespace

TEST_CASE("a store with any damage opens, and gives what was stored under a key or nothing", "[disk][fuzz]") {
    SegmentFuzz fuzz;
    REQUIRE(fuzz.run({}) == "");
    Dice dice(3);
    const std::uint64_t runs = from_environment("SMARTCACHE_FUZZ_RUNS", 2000);
    for (std::uint64_t run = 0; run < runs; ++run) {
        Bytes script(2 + dice.below(dice.one_in(3) ? 120 : 14));
        for (std::byte& byte : script) byte = static_cast<std::byte>(dice.next());
        const std::string wrong = fuzz.run(script);
        INFO("run " << run << ", script " << in_hex(script));
        REQUIRE(wrong == "");
    }
    CHECK(fuzz.hits > 10 * runs);  // there was something to compare
}

TEST_CASE("each kind of damage to each file alone is survived", "[disk][fuzz]") {
    SegmentFuzz fuzz;
    for (unsigned kind = 0; kind < 12; ++kind) {
        for (unsigned file = 0; file < 8; ++file) {
            for (unsigned place = 0; place < 4; ++place) {
                Bytes script;
                for (const unsigned byte :
                     {place, kind, file, 0U, place * 17, place * 90, 1U + place, 255U, 255U, 7U})
                    script.push_back(static_cast<std::byte>(byte));
                const std::string wrong = fuzz.run(script);
                INFO("script " << in_hex(script));
                REQUIRE(wrong == "");
            }
        }
    }
}

}  // namespace fuzz_test
