#include <smartcache/codec/codec.hpp>

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <smartcache/codec/binary.hpp>
#include <smartcache/codec/bytes.hpp>
#include <smartcache/codec/cbor.hpp>
#include <smartcache/codec/json.hpp>
#include <smartcache/codec/msgpack.hpp>

#include "support/catch.hpp"

namespace sc = smartcache;

namespace {

/// The least that the concept asks for.
struct MinimalCodec {
    static constexpr std::uint8_t id = 128;
    using default_type = int;
    template <std::same_as<int> T>
    void encode(const T& value, sc::ByteSink& out) const {
        out.append(static_cast<std::byte>(value));
    }
    template <std::same_as<int> T>
    [[nodiscard]] std::optional<T> decode(sc::ByteView bytes) const {
        if (bytes.size() != 1) return std::nullopt;
        return static_cast<int>(bytes[0]);
    }
};

template <class T>
constexpr bool no_codec_takes =
    !sc::CodecFor<sc::JsonCodec, T> && !sc::CodecFor<sc::MsgPackCodec, T> &&
    !sc::CodecFor<sc::CborCodec, T> && !sc::CodecFor<sc::BinaryCodec, T> && !sc::CodecFor<sc::BytesCodec, T>;
template <class T>
constexpr bool every_codec_takes = sc::CodecFor<sc::JsonCodec, T>&& sc::CodecFor<sc::MsgPackCodec, T>&&
    sc::CodecFor<sc::CborCodec, T>&& sc::CodecFor<sc::BinaryCodec, T>&& sc::CodecFor<sc::BytesCodec, T>;

template <class Codec>
std::vector<std::byte> raw(std::string_view text) {
    sc::ByteSink out;
    Codec{}.encode(std::string(text), out);
    return out.take();
}

}  // namespace

TEST_CASE("a minimal codec of a user models the concept, and for its own types only", "[codec][concept]") {
    STATIC_REQUIRE(sc::CodecFor<MinimalCodec, int>);
    STATIC_REQUIRE_FALSE(sc::CodecFor<MinimalCodec, long>);
    sc::ByteSink out;
    MinimalCodec{}.encode(7, out);
    CHECK(MinimalCodec{}.decode<int>(out.view()) == 7);
}

TEST_CASE("no codec takes what refers to something else, alone or inside", "[codec][concept]") {
    STATIC_REQUIRE(no_codec_takes<std::string_view>);
    STATIC_REQUIRE(no_codec_takes<std::span<const std::byte>>);
    STATIC_REQUIRE(no_codec_takes<const char*>);
    STATIC_REQUIRE(no_codec_takes<char[4]>);
    STATIC_REQUIRE(no_codec_takes<int*>);
    STATIC_REQUIRE(no_codec_takes<std::unique_ptr<int>>);
    STATIC_REQUIRE(no_codec_takes<std::reference_wrapper<int>>);
    STATIC_REQUIRE(no_codec_takes<std::vector<std::string_view>>);
    STATIC_REQUIRE(no_codec_takes<std::tuple<int, const char*>>);
    STATIC_REQUIRE(no_codec_takes<std::optional<std::string_view>>);
    STATIC_REQUIRE(no_codec_takes<const int>);
    STATIC_REQUIRE(no_codec_takes<int&>);
}

TEST_CASE("every codec takes text and bytes as values, any bytes where the format can say them", "[codec]") {
    STATIC_REQUIRE(every_codec_takes<std::string>);
    STATIC_REQUIRE(every_codec_takes<std::vector<std::byte>>);
    STATIC_REQUIRE(every_codec_takes<std::vector<unsigned char>>);
    const std::string any("\0\xFF\x80 x", 5);
    CHECK(sc::MsgPackCodec{}.decode<std::string>(raw<sc::MsgPackCodec>(any)) == any);
    CHECK(sc::CborCodec{}.decode<std::string>(raw<sc::CborCodec>(any)) == any);
    CHECK(sc::BinaryCodec{}.decode<std::string>(raw<sc::BinaryCodec>(any)) == any);
    CHECK(sc::BytesCodec{}.decode<std::string>(raw<sc::BytesCodec>(any)) == any);
    CHECK_THROWS(raw<sc::JsonCodec>(any));
}

TEST_CASE("codec ids are those that stand in records", "[codec][persistent]") {
    CHECK(static_cast<int>(sc::JsonCodec::id) == 1);
    CHECK(static_cast<int>(sc::MsgPackCodec::id) == 2);
    CHECK(static_cast<int>(sc::CborCodec::id) == 3);
    CHECK(static_cast<int>(sc::BinaryCodec::id) == 4);
    CHECK(static_cast<int>(sc::BytesCodec::id) == 5);
}

TEST_CASE("BytesCodec keeps bytes as they are and reads an array of its own length only", "[codec][bytes]") {
    using Four = std::array<char, 4>;
    CHECK(raw<sc::BytesCodec>("abcd").size() == 4);
    CHECK(sc::BytesCodec{}.decode<Four>(raw<sc::BytesCodec>("abcd")) == Four{'a', 'b', 'c', 'd'});
    CHECK_FALSE(sc::BytesCodec{}.decode<Four>(raw<sc::BytesCodec>("abc")));
    CHECK(sc::BytesCodec{}.decode<std::string>({}) == "");
    STATIC_REQUIRE_FALSE(sc::CodecFor<sc::BytesCodec, int>);
    STATIC_REQUIRE_FALSE(sc::CodecFor<sc::BytesCodec, std::vector<int>>);
}
