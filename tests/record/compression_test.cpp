#include <cstddef>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <smartcache/record/compression.hpp>

#include "hex.hpp"
#include "support/catch.hpp"

namespace sc = smartcache;
using record_test::hex;

namespace {

sc::RecordView record_of(sc::ByteView value) {
    sc::RecordView record;
    record.key = "0::k";
    record.payload = value;
    record.raw_size = value.size();
    record.kind = sc::ValueKind::bytes;
    return record;
}

std::string unpacked(const sc::RecordView& record) {
    std::string text(static_cast<std::size_t>(record.raw_size), '?');
    if (!sc::unpack_payload(record, reinterpret_cast<std::byte*>(text.data()))) return "(refused)";
    return text;
}

/// `random_bytes` that LZ4 cannot shrink, then `zeros` that it can.
std::string mixed(std::size_t random_bytes, std::size_t zeros) {
    std::mt19937 random(5);
    std::string text(random_bytes + zeros, '\0');
    for (std::size_t i = 0; i < random_bytes; ++i)
        text[i] = static_cast<char>(static_cast<unsigned char>(random()));
    return text;
}

}  // namespace

TEST_CASE("what is compressed comes back as it was", "[compression][property]") {
    std::mt19937 random(6);
    for (int i = 0; i < 300; ++i) {
        const std::string value = mixed(random() % 2000, 1000 + random() % 4000);
        sc::RecordView record = record_of(sc::as_byte_view(value));
        sc::ByteSink scratch;
        const bool compressed = sc::compress_payload(record, {}, scratch);
        REQUIRE(record.compressed == compressed);
        REQUIRE(record.raw_size == value.size());
        REQUIRE(sc::unpackable(record));
        REQUIRE(unpacked(record) == value);
    }
}

TEST_CASE("compression must save at least one eighth", "[compression]") {
    sc::ByteSink scratch;
    for (std::size_t zeros = 0; zeros <= 4096; zeros += 16) {
        const std::string value = mixed(4096 - zeros, zeros);
        sc::RecordView record = record_of(sc::as_byte_view(value));
        const bool compressed = sc::compress_payload(record, {}, scratch);
        INFO(zeros);
        if (compressed) {
            REQUIRE(record.payload.size() <= 4096 - 512);
            REQUIRE(record.payload.data() == scratch.view().data());
        } else {
            REQUIRE(record.payload.data() == sc::as_byte_view(value).data());
            REQUIRE(record.payload.size() == 4096);
        }
        // A match costs a few bytes itself: far from the border on either side the answer is known.
        if (zeros < 512) REQUIRE_FALSE(compressed);
        if (zeros >= 640) REQUIRE(compressed);
    }
}

TEST_CASE("short values, values that are compressed already, and switched-off compression are left alone",
          "[compression]") {
    sc::ByteSink scratch;
    const std::string value(1024, 'a');
    sc::RecordView record = record_of(sc::as_byte_view(value));
    CHECK_FALSE(sc::compress_payload(record, {.enabled = false}, scratch));
    CHECK_FALSE(sc::compress_payload(record, {.threshold = 1025}, scratch));
    CHECK_FALSE(record.compressed);
    REQUIRE(sc::compress_payload(record, {.threshold = 1024}, scratch));
    const sc::ByteView once = record.payload;
    CHECK_FALSE(sc::compress_payload(record, {.threshold = 0}, scratch));
    CHECK(record.payload.data() == once.data());
    CHECK(record.raw_size == 1024);

    sc::RecordView empty = record_of({});
    CHECK_FALSE(sc::compress_payload(empty, {.threshold = 0}, scratch));
    CHECK(unpacked(empty).empty());
}

TEST_CASE("a bomb is refused before anything is allocated for it", "[compression]") {
    const std::vector<std::byte> payload = hex("10 61 00 00 00 00 00 00 00 00");
    sc::RecordView record = record_of(payload);
    record.compressed = true;
    record.raw_size = 255 * 10;
    CHECK(sc::unpackable(record));
    record.raw_size = 255 * 11;
    CHECK_FALSE(sc::unpackable(record));
    record.raw_size = std::numeric_limits<std::uint64_t>::max();
    CHECK_FALSE(sc::unpackable(record));
    CHECK_FALSE(sc::unpack_payload(record, nullptr));
    record.raw_size = static_cast<std::uint64_t>(std::numeric_limits<int>::max()) + 1;
    CHECK_FALSE(sc::unpackable(record));
    record.payload = {};
    record.raw_size = 0;
    CHECK_FALSE(sc::unpackable(record));
    CHECK_FALSE(
        sc::detail::plausible_lz4_size(static_cast<std::uint64_t>(std::numeric_limits<int>::max()) + 1,
                                       std::numeric_limits<std::uint64_t>::max()));
}

TEST_CASE("a payload that is cut or gives another size than it claims is refused", "[compression]") {
    const std::string value(5000, 'a');
    sc::RecordView record = record_of(sc::as_byte_view(value));
    sc::ByteSink scratch;
    REQUIRE(sc::compress_payload(record, {}, scratch));
    REQUIRE(unpacked(record) == value);
    for (std::size_t size = 0; size < record.payload.size(); ++size) {
        sc::RecordView cut = record;
        cut.payload = record.payload.first(size);
        REQUIRE(unpacked(cut) == "(refused)");
    }
    sc::RecordView lying = record;
    lying.raw_size = 4999;
    CHECK(unpacked(lying) == "(refused)");
    lying.raw_size = 5001;
    CHECK(unpacked(lying) == "(refused)");
}

TEST_CASE("random payloads never write past the destination", "[compression][fuzz]") {
    std::mt19937 random(8);
    int accepted = 0;
    for (int i = 0; i < 50'000; ++i) {
        std::vector<std::byte> payload(1 + random() % 12);
        for (std::byte& byte : payload) byte = static_cast<std::byte>(random() % (i % 2 == 0 ? 256 : 32));
        sc::RecordView record = record_of(payload);
        record.compressed = true;
        record.raw_size = random() % 16;
        std::vector<std::byte> destination(static_cast<std::size_t>(record.raw_size) + 8, std::byte{0xee});
        if (sc::unpackable(record) && sc::unpack_payload(record, destination.data())) ++accepted;
        for (std::size_t at = static_cast<std::size_t>(record.raw_size); at < destination.size(); ++at)
            REQUIRE(destination[at] == std::byte{0xee});
    }
    CHECK(accepted > 0);  // otherwise the loop has tried nothing but refusals
}
