#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include <smartcache/core/hash.hpp>

#include "support/catch.hpp"

namespace sc = smartcache;

namespace {

/// `size` bytes of a fixed pattern: long enough for the paths of XXH3 beyond 240 bytes.
std::string pattern(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(static_cast<unsigned char>(i * 7U));
    return text;
}

}  // namespace

// Persistent: records on disk and in Redis carry these. Values from libxxhash 0.8 itself.
TEST_CASE("stable_hash is XXH3 with 64 bits, for ever", "[hash]") {
    const auto hash = [](std::string_view text, std::uint64_t seed) {
        return sc::stable_hash(sc::as_byte_view(text), seed);
    };
    CHECK(hash("", 0) == 0x2d06800538d394c2);
    CHECK(hash("a", 0) == 0xe6c632b61e964e1f);
    CHECK(hash("user:1", 0) == 0x3b577afd7fed9501);
    CHECK(hash(pattern(300), 0) == 0xe2558afb5598da2a);
    CHECK(hash(pattern(1000), 0) == 0x10ad30264426c830);
    CHECK(hash("", 42) == 0xb029411ff43d84d2);
    CHECK(hash("a", 42) == 0x4c437dd47f0716f4);
    CHECK(hash("user:1", 42) == 0xc73e760edc3786b8);
    CHECK(hash(pattern(300), 42) == 0x41fb42209471987b);
    CHECK(hash(pattern(1000), 42) == 0x715c5bbc12530d92);
}

TEST_CASE("digest128 is XXH3 with 128 bits, for ever", "[hash]") {
    const auto hex = [](std::string_view text) { return sc::digest128(sc::as_byte_view(text)).hex(); };
    CHECK(hex("") == "99aa06d3014798d86001c324468d497f");
    CHECK(hex("a") == "a96faf705af16834e6c632b61e964e1f");
    CHECK(hex("user:1") == "b3ce4d642bd86c75568dc3fbb5023b0c");
    CHECK(hex(pattern(300)) == "366a6c90343f6288e2558afb5598da2a");
    CHECK(hex(pattern(1000)) == "abee229cdadad76d10ad30264426c830");
    CHECK(sc::Digest128{1, 0xf}.hex() == "0000000000000001000000000000000f");
    CHECK(sc::Digest128{1, 2} == sc::Digest128{1, 2});
    CHECK_FALSE(sc::Digest128{1, 2} == sc::Digest128{2, 1});
}

TEST_CASE("hashes of keys depend on the seed, and are equal for equal keys in one process", "[hash]") {
    CHECK(sc::KeyHash{1}("user:1") != sc::KeyHash{2}("user:1"));
    CHECK(sc::KeyHash{}("user:1") == sc::KeyHash{}(std::string("user:1")));
    CHECK(sc::KeyHash{42}("user:1") == 0xc73e760edc3786b8);
    CHECK(sc::process_seed() == sc::process_seed());
}

TEST_CASE("random stamps do not repeat", "[hash]") {
    std::set<std::uint64_t> stamps;
    for (int i = 0; i < 1000; ++i) stamps.insert(sc::random_stamp());
    CHECK(stamps.size() == 1000);
}
