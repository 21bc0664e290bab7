#include <smartcache/http/stored_response.hpp>

#include <cstdint>
#include <random>
#include <string>

#include "support/catch.hpp"

namespace stored_response_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;

namespace {
StoredResponse sample() {
    StoredResponse r;
    r.token = 0x1122334455667788;
    r.stamp = 42;
    r.meta.response_time = WallTime(1'000'000'000'123ms);
    r.meta.date = WallTime(999'999'999s);
    r.meta.initial_age = 5s;
    r.meta.lifetime = 60s;
    r.meta.stale_while_revalidate = 7s;
    r.meta.stale_if_error = 8s;
    r.meta.flags = StoredMeta::has_validator | StoredMeta::shared_with_users;
    r.meta.status = 404;
    r.head = "A: 1\r\nA: 2\r\n";
    r.body = std::string_view("bin\0ary", 7);
    return r;
}

std::string hex(std::string_view bytes) {
    std::string text;
    for (const char c : bytes) {
        constexpr char digits[] = "0123456789abcdef";
        text += digits[static_cast<unsigned char>(c) >> 4U];
        text += digits[static_cast<unsigned char>(c) & 15U];
    }
    return text;
}
}  // namespace

TEST_CASE("a response record reads back as it was written, binary body and repeated fields included",
          "[http][record]") {
    const std::string bytes = write_record(sample());
    const ParsedStored parsed = parse_stored(bytes);
    REQUIRE(parsed.response);
    CHECK_FALSE(parsed.index);
    const StoredResponse& r = *parsed.response;
    CHECK(r.token == sample().token);
    CHECK(r.stamp == 42);
    CHECK(r.meta.response_time == sample().meta.response_time);
    CHECK(r.meta.date == sample().meta.date);
    CHECK(r.meta.initial_age == 5s);
    CHECK(r.meta.lifetime == 60s);
    CHECK(r.meta.stale_while_revalidate == 7s);
    CHECK(r.meta.stale_if_error == 8s);
    CHECK(r.meta.flags == sample().meta.flags);
    CHECK(r.meta.status == 404);
    CHECK(r.head == sample().head);
    CHECK(r.body == sample().body);
    CHECK(r.body.data() >= bytes.data());  // a view, not a copy
}

TEST_CASE("an index record reads back as it was written", "[http][record]") {
    const VariantIndex index{7, {{"accept", "cookie:Lang"}, {}, {"origin"}}};
    const ParsedStored parsed = parse_stored(write_record(index));
    REQUIRE(parsed.index);
    CHECK(parsed.index->token == 7);
    CHECK(parsed.index->entries == index.entries);
}

TEST_CASE("an index keeps the tokens of stale variants, the newest eight", "[http][record]") {
    VariantIndex index{1, {{"a"}}};
    for (std::uint64_t token = 2; token <= 4; ++token) index.soften(token);
    ParsedStored parsed = parse_stored(write_record(index));
    REQUIRE(parsed.index);
    CHECK(parsed.index->token == 4);
    for (const std::uint64_t old : {1U, 2U, 3U}) CHECK(parsed.index->stale(old));
    CHECK_FALSE(parsed.index->stale(4));
    CHECK_FALSE(parsed.index->stale(5));

    for (std::uint64_t token = 5; token <= 20; ++token) index.soften(token);
    parsed = parse_stored(write_record(index));
    REQUIRE(parsed.index);
    CHECK(parsed.index->stale_tokens.size() == 8);
    CHECK(parsed.index->stale(12));
    CHECK_FALSE(parsed.index->stale(11));
    CHECK_FALSE(parse_stored(write_record(index) + std::string(8, 'x')).index);
    CHECK_FALSE(parse_stored(write_record(VariantIndex{7, {}, {0}})).index);  // 0 is no variant's token
}

TEST_CASE("the formats are pinned: these bytes are on somebody's disk", "[http][record][golden]") {
    CHECK(hex(write_record(sample())) ==
          "5343480101000000"  // magic, version, kind
          "8877665544332211"
          "2a00000000000000"  // token, stamp
          "7b10a5d4e8000000"
          "180ca5d4e8000000"  // response_time, date
          "8813000000000000"
          "60ea000000000000"
          "581b000000000000"
          "401f000000000000"
          "1400"
          "9401"
          "0c000000"
          "0700000000000000"  // flags, status, sizes
          "413a20310d0a413a20320d0a"
          "62696e00617279");
    CHECK(hex(write_record(VariantIndex{7, {{"a", "b"}, {}}})) ==
          "5343480102000000"
          "0700000000000000"
          "0200"
          "0300"
          "612c62"
          "0000");
    CHECK(hex(write_record(VariantIndex{7, {{}}, {6, 5}})) ==
          "5343480102000000"
          "0700000000000000"
          "0100"
          "0000"
          "0600000000000000"
          "0500000000000000");
}

TEST_CASE("a part has a kind of its own: who does not know parts must not send one as the whole",
          "[http][record][golden]") {
    StoredResponse part = sample();
    part.meta.status = 206;
    std::string bytes = write_record(part);
    CHECK(hex(bytes.substr(0, 8)) == "5343480103000000");
    REQUIRE(parse_stored(bytes).response);
    CHECK(parse_stored(bytes).response->meta.status == 206);
    bytes[4] = 1;
    CHECK_FALSE(parse_stored(bytes).response);
    std::string whole = write_record(sample());
    whole[4] = 3;
    CHECK_FALSE(parse_stored(whole).response);
}

TEST_CASE("any other bytes are no record, and never misbehave", "[http][record][fuzz]") {
    const std::string good = write_record(sample());
    for (std::size_t cut = 0; cut < good.size(); ++cut) {
        const ParsedStored parsed = parse_stored(good.substr(0, cut));
        REQUIRE_FALSE(parsed.response);
        REQUIRE_FALSE(parsed.index);
    }
    CHECK_FALSE(parse_stored(good + "x").response);
    std::string other_version = good;
    other_version[3] = 2;
    CHECK_FALSE(parse_stored(other_version).response);
    std::string negative = good;
    negative[47] = '\x80';  // initial_age
    CHECK_FALSE(parse_stored(negative).response);

    std::mt19937_64 random(1);
    const std::string index = write_record(VariantIndex{7, {{"a", "b"}, {}, {"c"}}});
    std::size_t survived = 0;
    for (int i = 0; i < 20'000; ++i) {
        std::string bytes = i % 2 == 0 ? good : index;
        for (std::uint64_t flips = random() % 4 + 1; flips > 0; --flips)
            bytes[random() % bytes.size()] = static_cast<char>(random());
        if (random() % 4 == 0) bytes.resize(random() % (bytes.size() + 1));
        const ParsedStored parsed = parse_stored(bytes);
        if (!parsed.response && !parsed.index) continue;
        ++survived;
        if (parsed.response) {
            // Whatever came in, sums of its times stay in range and its fields can be read.
            (void)parsed.response->meta.useful_for(WallTime(1'000'000'000s));
            (void)Headers::from_wire(parsed.response->head);
        } else {
            REQUIRE(parsed.index->entries.size() <= 16);
        }
    }
    CHECK(survived > 0);
}

}  // namespace stored_response_test
