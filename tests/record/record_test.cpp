#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/record/record.hpp>

#include "hex.hpp"
#include "support/catch.hpp"

namespace sc = smartcache;
using namespace std::chrono_literals;
using record_test::hex;
using record_test::sealed;
using record_test::to_hex;
using sc::RecordError;

namespace {

/// A record and the bytes it stands for. The checksums are from libxxhash's own functions over the
/// hexadecimal text.
struct Golden {
    std::string name;
    std::string bytes;
    sc::RecordView record;
    std::uint64_t seed = 0;
};

/// What the views of the golden records point to.
struct GoldenSet {
    sc::ByteSink tags;
    std::vector<std::byte> two_bytes = hex("00 ff");
    std::vector<std::byte> three_bytes = hex("01 02 03");
    std::vector<Golden> all;

    GoldenSet() {
        sc::encode_tags(std::vector<std::string_view>{"a", "bc"}, tags);

        sc::RecordView text;
        text.key = "0::k";
        text.payload = sc::as_byte_view("v");
        text.raw_size = 1;
        text.kind = sc::ValueKind::text;
        text.stamp = 7;
        text.created = sc::WallTime(1ms);
        text.expires = sc::WallTime(3ms);
        text.stale_until = text.expires;
        all.push_back({"the example in the header",
                       "53 43 01 48 00 00 07 00 00 00 00 00 00 00 01 02 04 30 3a 3a 6b 01 76"
                       "73 00 9b 97 d5 1e d0 e7",
                       text});

        sc::RecordView full;
        full.key = "3:app:k";
        full.payload = two_bytes;
        full.raw_size = 2;
        full.codec = 3;
        full.schema = 300;
        full.stamp = 0x0102030405060708;
        full.created_seq = 5;
        full.created = sc::WallTime(1'000'000ms);
        full.expires = full.created + 1000ms;
        full.stale_until = full.expires + 500ms;
        full.load_cost = 70'000us;
        full.copies = {.memory_ttl = 200ms, .redis_ttl = 0ms, .idle = std::nullopt, .weight = 1000};
        full.tags = sc::TagList(2, tags.view());
        all.push_back({"every optional field",
                       "53 43 01 e0 0f 03 08 07 06 05 04 03 02 01 c0 84 3d ac 02 05 e8 07 f4 03 f0 a2 04"
                       "c9 01 01 00 e9 07"
                       "02 01 61 02 62 63 07 33 3a 61 70 70 3a 6b 02 00 ff"
                       "49 f4 3a 97 e9 8e 29 cf",
                       full});

        sc::RecordView tagged;
        tagged.key = "0::t";
        tagged.kind = sc::ValueKind::text;
        tagged.stamp = 3;
        tagged.tags = sc::TagList(2, tags.view());
        tagged.tag_seq = 300;
        all.push_back(
            {"tags with the sequence that was seen",
             "53 43 01 08 14 00 03 00 00 00 00 00 00 00 00 02 01 61 02 62 63 ac 02 04 30 3a 3a 74 00"
             "b1 14 5c c8 e8 1d 04 9e",
             tagged});

        sc::RecordView tombstone;
        tombstone.key = "0::k";
        tombstone.tombstone = true;
        all.push_back({"a tombstone, for ever, with a seed",
                       "53 43 01 02 00 00 00 00 00 00 00 00 00 00 00 04 30 3a 3a 6b 00"
                       "c6 01 a7 1c 77 9f af a4",
                       tombstone, 42});

        sc::RecordView negative;
        negative.key = "0::n";
        negative.negative = true;
        negative.stamp = 1;
        negative.created = sc::WallTime(5ms);
        negative.expires = negative.created + 60'000ms;
        negative.stale_until = negative.expires;
        all.push_back({"a negative entry",
                       "53 43 01 44 00 00 01 00 00 00 00 00 00 00 05 e0 d4 03 04 30 3a 3a 6e 00"
                       "4e 19 03 21 dc 2f 42 f8",
                       negative});

        sc::RecordView compressed;
        compressed.key = "0::z";
        compressed.kind = sc::ValueKind::bytes;
        compressed.compressed = true;
        compressed.raw_size = 300;
        compressed.payload = three_bytes;
        compressed.stamp = 2;
        compressed.created = sc::WallTime(1ms);
        all.push_back({"compressed bytes",
                       "53 43 01 11 00 00 02 00 00 00 00 00 00 00 01 04 30 3a 3a 7a ac 02 03 01 02 03"
                       "55 b8 aa b7 6f 73 e8 82",
                       compressed});
    }
    GoldenSet(const GoldenSet&) = delete;
    GoldenSet& operator=(const GoldenSet&) = delete;
};

/// Everything a record says, as text: equal text, equal records.
std::string described(const sc::RecordView& record) {
    std::string text = std::string(record.key) + '|' + to_hex(record.payload) + '|';
    for (const std::uint64_t number :
         {record.raw_size, static_cast<std::uint64_t>(record.kind), std::uint64_t{record.codec},
          std::uint64_t{record.compressed}, std::uint64_t{record.tombstone}, std::uint64_t{record.negative},
          std::uint64_t{record.schema}, record.stamp, record.created_seq, record.tag_seq,
          static_cast<std::uint64_t>(record.created.time_since_epoch().count()),
          static_cast<std::uint64_t>(record.expires.time_since_epoch().count()),
          static_cast<std::uint64_t>(record.stale_until.time_since_epoch().count()),
          static_cast<std::uint64_t>(record.load_cost.count())})
        text += std::to_string(number) + ',';
    const sc::CopyOptions& copies = record.copies;
    for (const auto& length : {copies.memory_ttl, copies.redis_ttl, copies.idle})
        text += length ? std::to_string(length->count()) + ',' : "none,";
    text += copies.weight ? std::to_string(*copies.weight) : "none";
    for (const std::string_view tag : record.tags)
        text += '|' + std::to_string(tag.size()) + ':' + std::string(tag);
    return text;
}

std::vector<std::byte> encoded(const sc::RecordView& record, std::uint64_t seed = 0) {
    sc::ByteSink out;
    sc::encode_record(record, out, seed);
    return out.take();
}

}  // namespace

TEST_CASE("records have their documented bytes, in both directions", "[record][golden]") {
    const GoldenSet golden;
    for (const Golden& one : golden.all) {
        INFO(one.name);
        const std::vector<std::byte> bytes = hex(one.bytes);
        CHECK(to_hex(encoded(one.record, one.seed)) == to_hex(bytes));
        const sc::ParsedRecord parsed = sc::parse_record(bytes, {}, one.seed);
        REQUIRE(sc::to_string(parsed.error) == "none");
        CHECK(described(parsed.record) == described(one.record));
    }
}

TEST_CASE("a record is appended to what the sink holds already", "[record]") {
    const GoldenSet golden;
    sc::ByteSink out;
    out.append("before");
    sc::encode_record(golden.all[0].record, out);
    CHECK(to_hex(out.view().subspan(6)) == to_hex(hex(golden.all[0].bytes)));
}

TEST_CASE("no truncated record is a record", "[record]") {
    const GoldenSet golden;
    for (const Golden& one : golden.all) {
        const std::vector<std::byte> bytes = hex(one.bytes);
        for (std::size_t size = 0; size < bytes.size(); ++size) {
            INFO(one.name << " cut to " << size);
            REQUIRE_FALSE(sc::parse_record(sc::ByteView(bytes).first(size), {}, one.seed));
            // Nor is it one when the writer of the cut bytes knows the checksum.
            if (size >= 8) {
                std::vector<std::byte> body(bytes.begin(),
                                            bytes.begin() + static_cast<std::ptrdiff_t>(size) - 8);
                REQUIRE_FALSE(sc::parse_record(sealed(std::move(body), one.seed), {}, one.seed));
            }
        }
    }
}

TEST_CASE("no record with a flipped bit is a record", "[record]") {
    const GoldenSet golden;
    for (const Golden& one : golden.all) {
        std::vector<std::byte> bytes = hex(one.bytes);
        for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
            const auto mask = static_cast<std::byte>(1U << (bit % 8));
            bytes[bit / 8] ^= mask;
            INFO(one.name << ", bit " << bit);
            REQUIRE_FALSE(sc::parse_record(bytes, {}, one.seed));
            bytes[bit / 8] ^= mask;
        }
        REQUIRE(sc::parse_record(bytes, {}, one.seed));
    }
}

TEST_CASE("bytes behind a record are an error, even with a right checksum", "[record]") {
    const GoldenSet golden;
    for (const Golden& one : golden.all) {
        INFO(one.name);
        std::vector<std::byte> bytes = hex(one.bytes);
        std::vector<std::byte> body(bytes.begin(), bytes.end() - 8);
        bytes.push_back(std::byte{0});
        CHECK_FALSE(sc::parse_record(bytes, {}, one.seed));
        body.push_back(std::byte{0});
        CHECK(sc::parse_record(sealed(std::move(body), one.seed), {}, one.seed).error ==
              RecordError::trailing_bytes);
    }
}

TEST_CASE("each kind of damage has its name", "[record]") {
    const auto error_of = [](std::string_view body, const sc::RecordLimits& limits = {}) {
        return sc::parse_record(sealed(body), limits).error;
    };
    const std::string stamp = " 00 0100000000000000 ";  // and the codec before it
    const std::string end = " 04 303a3a6b 01 76";
    CHECK(error_of("53 43 01 08 00" + stamp + "00" + end) == RecordError::none);
    CHECK(sc::parse_record({}).error == RecordError::truncated);
    CHECK(error_of("53 42 01 08 00" + stamp + "00" + end) == RecordError::bad_magic);
    CHECK(error_of("53 43 02 08 00" + stamp + "00" + end) == RecordError::unknown_version);
    CHECK(error_of("53 43 01 08 20" + stamp + "00" + end) == RecordError::unknown_flags);
    CHECK(error_of("53 43 01 08 80" + stamp + "00" + end) == RecordError::unknown_flags);
    CHECK(error_of("53 43 01 18 00" + stamp + "00" + end) == RecordError::unknown_flags);  // kind 3
    CHECK(error_of("53 43 01 06 00" + stamp + "00 04 303a3a6b 00") ==
          RecordError::unknown_flags);  // two states
    CHECK(error_of("53 43 01 03 00" + stamp + "00 04 303a3a6b 00 00") == RecordError::unknown_flags);
    CHECK(error_of("53 43 01 88 00" + stamp + "00 05" + end) == RecordError::unknown_flags);  // grace alone
    CHECK(error_of("53 43 01 02 00" + stamp + "00" + end) == RecordError::bad_field);  // tombstone with value
    CHECK(error_of("53 43 01 04 00" + stamp + "00" + end) == RecordError::bad_field);  // absence with value
    CHECK(error_of("53 43 01 28 00" + stamp + "00 8080808010" + end) ==
          RecordError::bad_field);                           // schema of 33 bits
    const std::string beyond = " 81 80 80 80 80 80 80 10 ";  // 2^53 + 1
    CHECK(error_of("53 43 01 08 00" + stamp + beyond + end) == RecordError::bad_field);
    CHECK(error_of("53 43 01 48 00" + stamp + "00" + beyond + end) == RecordError::bad_field);
    CHECK(error_of("53 43 01 c8 00" + stamp + "00 01" + beyond + end) == RecordError::bad_field);
    CHECK(error_of("53 43 01 08 02" + stamp + "00" + beyond + end) == RecordError::bad_field);
    CHECK(error_of("53 43 01 08 08" + stamp + "00 00 00 00 00" + end) ==
          RecordError::bad_field);  // no copies
    CHECK(error_of("53 43 01 08 08" + stamp + "00 01 01 01" + beyond + end) == RecordError::bad_field);
    CHECK(error_of("53 43 01 08 08" + stamp + "00" + beyond + "01 01 01" + end) == RecordError::bad_field);
    CHECK(error_of("53 43 01 08 00" + stamp + "80 00" + end) ==
          RecordError::truncated);  // not the shortest form

    const std::vector<std::byte> good = sealed("53 43 01 08 00" + stamp + "00" + end);
    CHECK(sc::parse_record(good, {}, 1).error == RecordError::bad_checksum);
    CHECK(sc::parse_record(good, {.max_key_size = 3}).error == RecordError::too_large);
    CHECK(sc::parse_record(good, {.max_key_size = 4, .max_value_size = 1}).error == RecordError::none);
    CHECK(sc::parse_record(good, {.max_value_size = 0}).error == RecordError::too_large);
    CHECK(error_of("53 43 01 11 00" + stamp + "00 04 303a3a6b ac02 03 010203", {.max_value_size = 299}) ==
          RecordError::too_large);
}

TEST_CASE("claims of huge sizes are refused, whatever the checksum says", "[record]") {
    const std::string stamp = " 00 0100000000000000 ";
    for (const std::string huge :
         {"ffffffffffffffffff01", "80808080808080808001", "ffffffff0f", "8080808010", "7f"})
        for (const std::string& body : {
                 "53 43 01 08 00" + stamp + "00" + huge + "303a3a6b 01 76",           // key
                 "53 43 01 08 00" + stamp + "00 04 303a3a6b" + huge + "76",           // value
                 "53 43 01 09 00" + stamp + "00 04 303a3a6b 01" + huge + "76",        // stored value
                 "53 43 01 08 04" + stamp + "00" + huge + "01 61 04 303a3a6b 01 76",  // number of tags
                 "53 43 01 08 04" + stamp + "00 01" + huge + "61 04 303a3a6b 01 76",  // a tag
             }) {
            INFO(body);
            CHECK_FALSE(sc::parse_record(sealed(body)));
        }
}

TEST_CASE("tags are kept in order, empty ones and any bytes included", "[record]") {
    const std::vector<std::string> tags{"", std::string("a\0b", 3), std::string(300, 'x'), "", "\xff"};
    sc::ByteSink tag_bytes;
    sc::encode_tags(tags, tag_bytes);
    sc::RecordView record;
    record.key = "0::k";
    record.tags = sc::TagList(tags.size(), tag_bytes.view());
    const std::vector<std::byte> bytes = encoded(record);
    const sc::ParsedRecord parsed = sc::parse_record(bytes);
    REQUIRE(parsed);
    CHECK(parsed.record.tags.size() == 5);
    CHECK_FALSE(parsed.record.tags.empty());
    CHECK(std::vector<std::string>(parsed.record.tags.begin(), parsed.record.tags.end()) == tags);
    CHECK(to_hex(parsed.record.tags.encoded()) == to_hex(tag_bytes.view()));
    CHECK(sc::TagList().empty());
    CHECK(sc::TagList().begin() == sc::TagList().end());
}

TEST_CASE("a tag list may be as long as the bytes allow, not longer", "[record]") {
    // Two claimed tags, of which the second would have to be taken from the key.
    const std::string body = "53 43 01 08 04 00 0100000000000000 00 02 01 61 20 303a3a6b 01 76";
    CHECK(sc::parse_record(sealed(body)).error == RecordError::truncated);
}

TEST_CASE("a record is fresh until it expires, stale until its grace ends, then dead", "[record]") {
    sc::RecordView record;
    record.created = sc::WallTime(100ms);
    CHECK(record.fresh_at(sc::WallTime(100ms)));
    CHECK(record.fresh_at(sc::WallTime::max() - 1ms));
    record.expires = sc::WallTime(200ms);
    CHECK(record.fresh_at(sc::WallTime(199ms)));
    CHECK_FALSE(record.fresh_at(sc::WallTime(200ms)));
    CHECK(record.dead_at(sc::WallTime(200ms)));
    record.stale_until = sc::WallTime(300ms);
    CHECK_FALSE(record.fresh_at(sc::WallTime(200ms)));
    CHECK_FALSE(record.dead_at(sc::WallTime(299ms)));
    CHECK(record.dead_at(sc::WallTime(300ms)));
    // Written "in the future": somebody's clock is wrong.
    CHECK(record.dead_at(sc::WallTime(99ms)));
    CHECK_FALSE(record.fresh_at(sc::WallTime(99ms)));
}

TEST_CASE("what the format cannot hold is clamped when it is written, never refused when it is read",
          "[record]") {
    constexpr auto longest = static_cast<std::int64_t>(sc::detail::max_record_length);
    sc::RecordView record;
    record.key = "0::k";
    record.created = sc::WallTime(-5ms);
    record.expires = sc::WallTime::max() - 1ms;
    record.stale_until = sc::WallTime::max();
    record.load_cost = std::chrono::microseconds::max();
    const std::vector<std::byte> bytes = encoded(record);
    const sc::ParsedRecord parsed = sc::parse_record(bytes);
    REQUIRE(sc::to_string(parsed.error) == "none");
    CHECK(parsed.record.created == sc::WallTime(0ms));
    CHECK(parsed.record.expires == sc::WallTime(sc::Duration(longest)));
    CHECK(parsed.record.load_cost == std::chrono::microseconds(longest));
    record.load_cost = -1us;
    CHECK(sc::parse_record(encoded(record)).record.load_cost == 0us);
}

TEST_CASE("every record that is written is read back", "[record][property]") {
    std::mt19937_64 random(20240607);
    const auto below = [&random](std::uint64_t n) { return random() % n; };
    const auto text = [&](std::uint64_t longest) {
        std::string result(static_cast<std::size_t>(below(longest + 1)), ' ');
        for (char& c : result) c = static_cast<char>(static_cast<unsigned char>(below(256)));
        return result;
    };
    const auto length = [&] { return sc::Duration(static_cast<std::int64_t>(random() >> (12 + below(50)))); };
    for (int i = 0; i < 5000; ++i) {
        const std::string key = text(200);
        const std::string payload = text(300);
        std::vector<std::string> tags(static_cast<std::size_t>(below(4)));
        for (std::string& tag : tags) tag = text(20);
        sc::ByteSink tag_bytes;
        sc::encode_tags(tags, tag_bytes);
        const std::uint64_t seed = below(3);

        sc::RecordView record;
        record.key = key;
        record.kind = static_cast<sc::ValueKind>(below(3));
        record.codec = static_cast<std::uint8_t>(below(256));
        record.stamp = random();
        const std::uint64_t state = below(6);
        record.tombstone = state == 0;
        record.negative = state == 1;
        record.compressed = state == 2;
        if (state > 1) record.payload = sc::as_byte_view(payload);
        record.raw_size = record.compressed ? random() >> below(64) : record.payload.size();
        if (below(2) != 0) record.schema = static_cast<std::uint32_t>(random() >> (32 + below(32)));
        if (below(2) != 0) record.created_seq = random() >> below(64);
        record.created = sc::WallTime(length());
        if (below(2) != 0) {
            record.expires = record.created + length();
            record.stale_until = record.expires + (below(2) != 0 ? length() : 0ms);
        }
        record.load_cost = std::chrono::microseconds(length().count());
        if (below(2) != 0) record.copies.memory_ttl = length() / 2;
        if (below(2) != 0) record.copies.redis_ttl = length() / 2;
        if (below(2) != 0) record.copies.idle = length() / 2;
        if (below(2) != 0) record.copies.weight = random() >> (12 + below(52));
        record.tags = sc::TagList(tags.size(), tag_bytes.view());
        if (!tags.empty() && below(2) == 0) record.tag_seq = below(1'000'000) + 1;

        const std::vector<std::byte> bytes = encoded(record, seed);
        const sc::ParsedRecord parsed = sc::parse_record(bytes, {}, seed);
        REQUIRE(sc::to_string(parsed.error) == "none");
        REQUIRE(described(parsed.record) == described(record));
        REQUIRE(encoded(parsed.record, seed) == bytes);
    }
}

TEST_CASE("random bytes never crash the parser; what it takes is canonical", "[record][fuzz]") {
    std::mt19937_64 random(99);
    const GoldenSet golden;
    int taken = 0;
    for (int i = 0; i < 60'000; ++i) {
        // Half of them noise behind a plausible start, half a damaged body; all with a right checksum, so
        // that the checks behind it are what is tried.
        std::vector<std::byte> body;
        if (i % 2 == 0) {
            body = hex("53 43 01");
            body.resize(3 + random() % 60);
            for (std::size_t at = 3; at < body.size(); ++at)
                body[at] = static_cast<std::byte>(random() >> (random() % 8));
            if (body.size() > 4) body[4] &= std::byte{15};
        } else {
            body = hex(golden.all[random() % golden.all.size()].bytes);
            body.resize(body.size() - 8);
            for (std::uint64_t changes = 1 + random() % 3; changes > 0; --changes)
                body[random() % body.size()] = static_cast<std::byte>(random() % 256);
        }
        const std::vector<std::byte> bytes = sealed(std::move(body));
        const sc::ParsedRecord parsed = sc::parse_record(bytes);
        if (!parsed) continue;
        ++taken;
        REQUIRE(parsed.record.key.size() + parsed.record.payload.size() +
                    parsed.record.tags.encoded().size() <
                bytes.size());
        std::uint64_t tags = 0;
        for (const std::string_view tag : parsed.record.tags) {
            ++tags;
            REQUIRE(tag.size() < bytes.size());
        }
        REQUIRE(tags == parsed.record.tags.size());
        // Writing it again gives a record that says the same.
        const std::vector<std::byte> again = encoded(parsed.record);
        const sc::ParsedRecord second = sc::parse_record(again);
        REQUIRE(second);
        REQUIRE(described(second.record) == described(parsed.record));
    }
    CHECK(taken > 100);
}

TEST_CASE("every reason has a name of its own", "[record]") {
    std::vector<std::string_view> names;
    for (int i = 0; i <= static_cast<int>(RecordError::bad_checksum); ++i)
        names.push_back(sc::to_string(static_cast<RecordError>(i)));
    std::sort(names.begin(), names.end());
    CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
    CHECK(names.front() != "?");
}
