#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/core/bytes.hpp>

#include "support/catch.hpp"

namespace sc = smartcache;
using namespace std::literals;

TEST_CASE("text and bytes are views of the same memory", "[bytes]") {
    const std::string text("a\0b\xff", 4);
    const sc::ByteView bytes = sc::as_byte_view(text);
    REQUIRE(bytes.size() == 4);
    CHECK(bytes[3] == std::byte{0xff});
    CHECK(sc::as_text_view(bytes) == text);
    CHECK(sc::as_text_view(bytes).data() == text.data());
    CHECK(sc::as_byte_view("").empty());
    CHECK(sc::as_text_view({}).empty());
}

TEST_CASE("a sink keeps what is appended, in order", "[bytes]") {
    sc::ByteSink sink;
    CHECK(sink.empty());
    sink.reserve(100);
    sink.append("ab");
    sink.append(std::byte{'c'});
    sink.append(sc::as_byte_view("de"));
    sink.append(""sv);
    CHECK(sc::as_text_view(sink.view()) == "abcde");
    CHECK(sink.size() == 5);
    sink.truncate(2);
    CHECK(sc::as_text_view(sink.view()) == "ab");
    sink.clear();
    CHECK(sink.empty());
}

TEST_CASE("extending a sink gives zeroed room behind what is there", "[bytes]") {
    sc::ByteSink sink;
    sink.append("ab");
    std::byte* const room = sink.extend(3);
    CHECK(room == sink.data() + 2);
    CHECK(sc::as_text_view(sink.view()) == "ab\0\0\0"sv);
    room[1] = std::byte{'x'};
    CHECK(sc::as_text_view(sink.view()) == "ab\0x\0"sv);
}

TEST_CASE("taking the bytes leaves an empty sink that can be used again", "[bytes]") {
    sc::ByteSink sink;
    sink.append("ab");
    const std::vector<std::byte> bytes = sink.take();
    CHECK(sc::as_text_view(bytes) == "ab");
    CHECK(sink.empty());
    sink.append("c");
    CHECK(sc::as_text_view(sink.view()) == "c");
}

TEST_CASE("equal_text compares every character at every length", "[bytes]") {
    std::string one;
    for (std::size_t size = 0; size <= 100; ++size) {
        INFO("size " << size);
        std::string other = one;
        REQUIRE(sc::equal_text(one, other));
        for (std::size_t i = 0; i < size; ++i) {
            other[i] = static_cast<char>(other[i] ^ 1);
            REQUIRE_FALSE(sc::equal_text(one, other));
            other[i] = one[i];
        }
        one += static_cast<char>('a' + size % 26);
        REQUIRE_FALSE(sc::equal_text(one, other));
        REQUIRE_FALSE(sc::equal_text(other, one));
    }
}
