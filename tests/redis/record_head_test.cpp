#include <smartcache/redis/record_head.hpp>

#include <algorithm>
#include <random>

#include "support/catch.hpp"

namespace record_head_test {

namespace sc = smartcache;
using sc::detail::RecordHead;

namespace {

sc::RecordView any_record(std::mt19937_64& random) {
    const auto millis = [&](std::uint64_t most) {
        return sc::Duration(static_cast<std::int64_t>(random() % most));
    };
    sc::RecordView record;
    record.key = "0::some key";
    record.codec = static_cast<std::uint8_t>(random());
    record.schema = random() % 2 == 0 ? 0 : static_cast<std::uint32_t>(random());
    record.stamp = random();
    record.created_seq = random() % 2 == 0 ? 0 : random();
    record.created = sc::WallTime(millis(std::uint64_t{1} << (1 + random() % 52)));
    if (random() % 3 != 0) {
        record.expires = record.created + millis(std::uint64_t{1} << (1 + random() % 50));
        if (random() % 2 == 0)
            record.stale_until = record.expires + millis(std::uint64_t{1} << (1 + random() % 50));
    }
    record.load_cost = std::chrono::microseconds(random() % 1000);
    (random() % 2 == 0 ? record.negative : record.tombstone) = random() % 2 == 0;
    return record;
}

}  // namespace

TEST_CASE("the head says what the whole record says", "[redis][record]") {
    std::mt19937_64 random(7);
    for (int round = 0; round < 2000; ++round) {
        sc::ByteSink bytes;
        encode_record(any_record(random), bytes);
        const sc::ParsedRecord whole = sc::parse_record(bytes.view());
        REQUIRE(whole);
        const auto head = RecordHead::parse(bytes.view().first(std::min(RecordHead::max_size, bytes.size())));
        REQUIRE(head);
        CHECK(head->record.stamp == whole.record.stamp);
        CHECK(head->record.created_seq == whole.record.created_seq);
        CHECK(head->record.created == whole.record.created);
        CHECK(head->record.expires == whole.record.expires);
        CHECK(head->record.stale_until == whole.record.stale_until);
        CHECK(head->record.negative == whole.record.negative);
        CHECK(head->record.tombstone == whole.record.tombstone);
        CHECK(head->record.schema == whole.record.schema);
    }
}

TEST_CASE("foreign and cut bytes have no head", "[redis][record]") {
    std::mt19937_64 random(8);
    sc::ByteSink bytes;
    encode_record(any_record(random), bytes);
    for (std::size_t size = 0; size < 15; ++size) CHECK_FALSE(RecordHead::parse(bytes.view().first(size)));
    CHECK_FALSE(
        RecordHead::parse(sc::as_byte_view("a value of another program, long enough to be a record")));
    CHECK_FALSE(
        RecordHead::parse(sc::as_byte_view("SC\x02 a later version of the format, long enough to be one")));
}

}  // namespace record_head_test
