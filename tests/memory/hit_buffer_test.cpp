#include <smartcache/memory/hit_buffer.hpp>

#include <vector>

#include "support/catch.hpp"

namespace hit_buffer_test {

using smartcache::detail::HitBuffer;

TEST_CASE("what finds room in a hit buffer is passed on in order, the rest is dropped", "[memory][hits]") {
    HitBuffer buffer;
    CHECK(buffer.empty());
    for (std::uint64_t hash = 1; hash <= HitBuffer::room; ++hash) CHECK(buffer.push(hash));
    CHECK_FALSE(buffer.push(1000));
    std::vector<std::uint64_t> taken;
    buffer.drain([&](std::uint64_t hash) { taken.push_back(hash); });
    REQUIRE(taken.size() == HitBuffer::room);
    CHECK(taken.front() == 1);
    CHECK(taken.back() == HitBuffer::room);
    CHECK(buffer.empty());
    CHECK(buffer.push(1));
}

TEST_CASE("each write pays for one bufferful, and only so many are saved up", "[memory][hits]") {
    HitBuffer buffer;
    CHECK_FALSE(buffer.paid());
    buffer.spend();  // nothing there: stays nothing
    CHECK_FALSE(buffer.paid());
    buffer.pay();
    buffer.pay();
    buffer.spend();
    CHECK(buffer.paid());
    buffer.spend();
    CHECK_FALSE(buffer.paid());
    for (std::uint32_t i = 0; i < 10 * HitBuffer::most_paid; ++i) buffer.pay();
    for (std::uint32_t i = 0; i < HitBuffer::most_paid; ++i) {
        CHECK(buffer.paid());
        buffer.spend();
    }
    CHECK_FALSE(buffer.paid());
}

}  // namespace hit_buffer_test
