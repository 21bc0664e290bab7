#include <smartcache/disk/footer.hpp>

#include <random>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace footer_test {

using namespace smartcache::detail;
using smartcache::ByteView;

namespace {

constexpr SegmentHeader segment{7, 5, 256};

bool equal(const FrameEntry& a, const FrameEntry& b) {
    return a.kind == b.kind && a.hash == b.hash && a.sequence == b.sequence && a.offset == b.offset &&
           a.size == b.size && a.name_space == b.name_space && a.dead_at == b.dead_at;
}

std::vector<std::byte> footer_of(const std::vector<FrameEntry>& entries) {
    FooterWriter writer(segment);
    for (const FrameEntry& entry : entries) {
        writer.prepare();
        const std::uint64_t before = writer.size(1);
        writer.add(entry);
        REQUIRE(writer.size() <= before);  // room was made for it
        REQUIRE(writer.end() == entry.offset + entry.size);
    }
    const std::uint64_t size = writer.size();
    const ByteView bytes = writer.finish(segment.generation);
    REQUIRE(bytes.size() == size);
    return {bytes.begin(), bytes.end()};
}

/// Frames one behind the other, of all kinds, with everything that can differ between neighbours.
std::vector<FrameEntry> random_entries(std::uint64_t seed, std::size_t count, std::size_t names) {
    std::mt19937_64 random(seed);
    std::vector<FrameEntry> entries;
    std::uint64_t offset = segment_header_size;
    for (std::size_t i = 0; i < count; ++i) {
        FrameEntry entry;
        const auto dice = random() % 10;
        entry.kind = dice == 0 ? FrameKind::clear : dice == 1 ? FrameKind::tombstone : FrameKind::record;
        entry.hash = random();
        entry.sequence = dice == 2 ? random() % 1000 : 1000 + i;
        entry.offset = offset;
        entry.size = kill_frame_size;
        if (entry.kind == FrameKind::record) {
            entry.size = frame_size(FrameKind::record, dice == 3 ? random() % 1'000'000 : 100);
            entry.name_space = (random() % names) * 0x9E3779B97F4A7C15U;
            entry.dead_at =
                dice == 4 ? 0xFFFFFFFF : static_cast<std::uint32_t>(random() % (dice == 5 ? 0xFFFFFFFF : 3));
        }
        offset += entry.size;
        entries.push_back(entry);
    }
    return entries;
}

}  // namespace

TEST_CASE("a footer tells of every frame what was put in, in order", "[disk][footer]") {
    const auto seed = GENERATE(1U, 2U, 3U);
    const std::size_t names = GENERATE(1U, 3U, 64U, 65U, 300U);
    const std::vector<FrameEntry> entries = random_entries(seed, 3000, names);
    const auto bytes = footer_of(entries);
    REQUIRE(footer_intact(bytes, segment.generation));
    std::vector<FrameEntry> read;
    const std::uint64_t end = entries.back().offset + entries.back().size;
    REQUIRE(read_footer(bytes, segment, end, [&](const FrameEntry& entry) { read.push_back(entry); }));
    REQUIRE(read.size() == entries.size());
    bool same = true;
    for (std::size_t i = 0; i < entries.size(); ++i) same = same && equal(entries[i], read[i]);
    CHECK(same);
    CHECK_FALSE(read_footer(bytes, segment, end + 4, [](const FrameEntry&) {}));  // of another file
    CHECK_FALSE(footer_intact(bytes, segment.generation + 1));
}

TEST_CASE("records like each other cost nine bytes of footer", "[disk][footer]") {
    std::vector<FrameEntry> entries;
    for (std::uint64_t i = 0; i < 1000; ++i)
        entries.push_back({FrameKind::record, i * 0x9E3779B97F4A7C15U, 256 + i, segment_header_size + i * 200,
                           200, 17, 99});
    CHECK(footer_of(entries).size() <= 9 * 1000 + 32 + footer_trailer_size);
}

TEST_CASE("any flipped bit and any cut of a footer is noticed", "[disk][footer]") {
    const auto bytes = footer_of(random_entries(4, 20, 3));
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
        auto damaged = bytes;
        damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        REQUIRE_FALSE(footer_intact(damaged, segment.generation));
    }
    for (std::size_t size = 0; size < bytes.size(); ++size)
        REQUIRE_FALSE(footer_intact(ByteView(bytes).last(size), segment.generation));
}

TEST_CASE("bytes that carry a right check but make no sense are refused, not believed", "[disk][footer]") {
    std::mt19937_64 random(5);
    const std::vector<FrameEntry> entries = random_entries(6, 20, 3);
    const std::uint64_t end = entries.back().offset + entries.back().size;
    const auto bytes = footer_of(entries);
    for (int i = 0; i < 20'000; ++i) {
        auto damaged = bytes;
        for (int j = 0; j < 3; ++j)
            damaged[random() % (bytes.size() - footer_trailer_size)] = static_cast<std::byte>(random());
        std::uint64_t last = segment_header_size;
        const bool read = read_footer(damaged, segment, end, [&](const FrameEntry& entry) {
            REQUIRE(entry.offset == last);
            REQUIRE(entry.size >= record_header_size);
            last = entry.offset + entry.size;
            REQUIRE(last <= end);
        });
        if (read) REQUIRE(last == end);
    }
}

TEST_CASE("a spoilt footer ends nowhere", "[disk][footer]") {
    FooterWriter writer(segment);
    CHECK(writer.end() == segment_header_size);
    writer.spoil();
    CHECK(writer.end() == 0);
    writer.prepare();
    writer.add({FrameKind::tombstone, 1, 256, segment_header_size, kill_frame_size, 0, 0});
    CHECK(writer.end() == 0);
}

}  // namespace footer_test
