#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <smartcache/record/varint.hpp>

#include "hex.hpp"
#include "support/catch.hpp"

namespace sc = smartcache;
using record_test::hex;
using record_test::to_hex;
using sc::detail::ByteReader;

TEST_CASE("varints have their documented bytes and read back", "[varint]") {
    const std::vector<std::pair<std::uint64_t, std::string>> golden{
        {0, "00"},          {1, "01"},
        {127, "7f"},        {128, "8001"},
        {300, "ac02"},      {16'383, "ff7f"},
        {16'384, "808001"}, {std::numeric_limits<std::uint64_t>::max(), "ffffffffffffffffff01"}};
    for (const auto& [value, bytes] : golden) {
        sc::ByteSink out;
        sc::detail::put_varint(out, value);
        CHECK(to_hex(out.view()) == bytes);
        ByteReader reader(out.view());
        CHECK(reader.varint() == value);
        CHECK(reader.ok());
        CHECK(reader.remaining() == 0);
    }
}

TEST_CASE("every value that is written is read back, and no shorter piece of it is", "[varint][property]") {
    std::mt19937_64 random(3);
    for (int i = 0; i < 5000; ++i) {
        const std::uint64_t value = random() >> (random() % 64);
        sc::ByteSink out;
        sc::detail::put_varint(out, value);
        ByteReader reader(out.view());
        REQUIRE(reader.varint() == value);
        REQUIRE(reader.ok());
        for (std::size_t size = 0; size < out.size(); ++size) {
            ByteReader cut(out.view().first(size));
            (void)cut.varint();
            REQUIRE_FALSE(cut.ok());
        }
    }
}

TEST_CASE("only the shortest form of a varint is accepted, and only 64 bits", "[varint]") {
    for (const char* const wrong : {"8000", "ff00", "80808000", "ffffffffffffffffff02",
                                    "ffffffffffffffffff7f", "ffffffffffffffffffff01", "80", ""}) {
        const std::vector<std::byte> bytes = hex(wrong);
        ByteReader reader(bytes);
        INFO(wrong);
        CHECK(reader.varint() == 0);
        CHECK_FALSE(reader.ok());
    }
}

TEST_CASE("fixed numbers are little endian", "[varint]") {
    sc::ByteSink out;
    sc::detail::put_fixed(out, std::uint16_t{0x0102});
    sc::detail::put_fixed(out, std::uint64_t{0x0102030405060708});
    CHECK(to_hex(out.view()) == "02010807060504030201");
    ByteReader reader(out.view());
    CHECK(reader.fixed<std::uint16_t>() == 0x0102);
    CHECK(reader.fixed<std::uint64_t>() == 0x0102030405060708);
    CHECK(reader.ok());
    CHECK(reader.fixed<std::uint8_t>() == 0);
    CHECK_FALSE(reader.ok());
}

TEST_CASE("a reader that has failed stays failed", "[varint]") {
    const std::vector<std::byte> bytes = hex("01 02 03");
    ByteReader reader(bytes);
    CHECK(reader.bytes(4).empty());
    CHECK_FALSE(reader.ok());
    CHECK(reader.remaining() == 0);
    CHECK(reader.varint() == 0);
    CHECK(reader.text(0).empty());
    CHECK_FALSE(reader.ok());
}
