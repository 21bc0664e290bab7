#include <smartcache/disk/format.hpp>

#include <smartcache/disk/footer.hpp>

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace format_test {

using namespace smartcache::detail;
using smartcache::ByteView;

namespace {

using FrameBytes = std::array<std::byte, kill_frame_size>;

constexpr SegmentHeader segment_of(std::uint64_t generation, std::uint64_t first_sequence = 256) {
    return {7, generation, first_sequence};
}

std::string hex(ByteView bytes) {
    std::string text;
    for (const std::byte byte : bytes) {
        constexpr std::string_view digits = "0123456789abcdef";
        text += digits[std::to_integer<unsigned>(byte) >> 4U];
        text += digits[std::to_integer<unsigned>(byte) & 15U];
    }
    return text;
}

}  // namespace

TEST_CASE("the bytes of a manifest are pinned", "[disk][format][golden]") {
    const ManifestBytes bytes = encode_manifest({.version = 2, .token = 0x0123456789abcdef});
    CHECK(hex(bytes) ==
          "534d434449534b0a"
          "02000000"
          "20000000"
          "efcdab8967452301"
          "2e6979cfefce5be7");
    const auto parsed = parse_manifest(bytes);
    REQUIRE(parsed);
    CHECK(parsed->version == 2);
    CHECK(parsed->token == 0x0123456789abcdef);
}

TEST_CASE("the bytes of a segment header are pinned", "[disk][format][golden]") {
    std::array<std::byte, segment_header_size> bytes{};
    put_segment_header(bytes.data(), {.id = 7, .generation = 0x1111, .first_sequence = 258}, 99);
    CHECK(hex(bytes) ==
          "534d4353"
          "02000000"
          "0700000000000000"
          "1111000000000000"
          "0201000000000000"
          "000000000000000000000000000000000000000000000000"
          "d085e5a5c3929eb2");
    const auto parsed = parse_segment_header(bytes, 99);
    REQUIRE(parsed);
    CHECK(parsed->id == 7);
    CHECK(parsed->generation == 0x1111);
    CHECK(parsed->first_sequence == 258);
    CHECK_FALSE(parse_segment_header(bytes, 98));  // another store's
}

TEST_CASE("the bytes of a frame header are pinned, and are those of the worked example",
          "[disk][format][golden]") {
    FrameBytes bytes{};
    const FrameHeader header{FrameKind::tombstone, 0, 258, 0x1122334455667788};
    put_frame_header(bytes.data(), header, segment_of(1));
    CHECK(hex(bytes) ==
          "00000080"
          "02000000"
          "8877665544332211"
          "a8761c5f");
    CHECK(parse_frame_header(bytes, segment_of(1)) == header);
    CHECK_FALSE(parse_frame_header(bytes, segment_of(2)));  // another generation's
}

TEST_CASE("the bytes of a kill are pinned", "[disk][format][golden]") {
    const FrameHeader kill{FrameKind::clear, 0, 258, 0x1122334455667788};
    const KillBytes bytes = encode_kill(kill, 99);
    CHECK(hex(bytes) ==
          "0201000000000000"
          "8877665544332211"
          "03000000"
          "a317953b");
    CHECK(parse_kill(bytes, 99) == kill);
    CHECK_FALSE(parse_kill(bytes, 98));  // another store's
    CHECK_FALSE(parse_kill(encode_kill({FrameKind::record, 0, 1, 2}, 99), 99));
}

TEST_CASE("a frame names sequences on both sides of its segment's first, as far as 31 bits reach",
          "[disk][format]") {
    const std::uint64_t first = std::uint64_t{1} << 40U;
    const std::uint64_t reach = std::uint64_t{1} << 31U;
    for (const std::uint64_t sequence : {first, first - 1, first + 1, first - reach, first + reach - 1}) {
        REQUIRE(sequence_fits(sequence, first));
        FrameBytes bytes{};
        put_frame_header(bytes.data(), {FrameKind::tombstone, 0, sequence, 5}, segment_of(1, first));
        CHECK(parse_frame_header(bytes, segment_of(1, first))->sequence == sequence);
    }
    CHECK_FALSE(sequence_fits(first + reach, first));
    CHECK_FALSE(sequence_fits(first - reach - 1, first));
}

TEST_CASE("every flipped bit of a header is noticed, and repaired to the header that was written",
          "[disk][format]") {
    const bool record = GENERATE(false, true);
    const FrameHeader header = record ? FrameHeader{FrameKind::record, 4711, 258, 0}
                                      : FrameHeader{FrameKind::clear, 0, 258, 0x1122334455667788};
    FrameBytes written{};
    put_frame_header(written.data(), header, segment_of(5));
    REQUIRE(parse_frame_header(written, segment_of(5)) == header);
    for (std::size_t bit = 0; bit < (record ? record_header_size : kill_frame_size) * 8; ++bit) {
        FrameBytes bytes = written;
        bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        REQUIRE_FALSE(parse_frame_header(bytes, segment_of(5)));
        REQUIRE(repair_one_bit(bytes, [&] { return parse_frame_header(bytes, segment_of(5)).has_value(); }));
        REQUIRE(bytes == written);
    }
}

TEST_CASE("what is no manifest is refused, a manifest of another version is recognised as one",
          "[disk][format]") {
    ManifestBytes bytes = encode_manifest({.version = 3, .token = 1});
    REQUIRE(parse_manifest(bytes));
    CHECK(parse_manifest(bytes)->version == 3);
    CHECK_FALSE(parse_manifest(ByteView(bytes).first(31)));
    CHECK_FALSE(parse_manifest({}));
    bytes[20] ^= std::byte{1};
    CHECK_FALSE(parse_manifest(bytes));
}

TEST_CASE("zeros are no frame: the end of a segment needs no mark", "[disk][format]") {
    const FrameBytes zeros{};
    CHECK_FALSE(parse_frame_header(zeros, segment_of(0)));
}

TEST_CASE("a tombstone or clear with a length is no frame", "[disk][format]") {
    FrameBytes bytes{};
    put_frame_header(bytes.data(), {FrameKind::clear, 4, 1, 2}, segment_of(3));
    CHECK_FALSE(parse_frame_header(bytes, segment_of(3)));
}

TEST_CASE("segment names sort by id as long as they have eight digits, and are read back", "[disk][format]") {
    CHECK(segment_name(1) == "00000001.seg");
    CHECK(segment_name(123456789) == "123456789.seg");
    CHECK(segment_id("00000001.seg") == 1);
    CHECK(segment_id("123456789.seg") == 123456789);
    for (const char* name : {"1.seg", "00000001.segx", "0000000a.seg", ".seg", "-0000001.seg", "LOCK", ""})
        CHECK_FALSE(segment_id(name));
}

TEST_CASE("a reseeded record is the record that would have been encoded under the new seed",
          "[disk][format]") {
    smartcache::RecordView record;
    record.key = "0::k";
    record.payload = smartcache::as_byte_view("value");
    record.raw_size = 5;
    smartcache::ByteSink first;
    smartcache::ByteSink second;
    encode_record(record, first, 1);
    encode_record(record, second, 2);
    REQUIRE(hex(first.view()) != hex(second.view()));
    reseed_record({first.data(), first.size()}, 2);
    CHECK(hex(first.view()) == hex(second.view()));
}

}  // namespace format_test
