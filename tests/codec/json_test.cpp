#include <smartcache/codec/json.hpp>

#include <array>
#include <cmath>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <limits>
#include <list>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <smartcache/codec/cbor.hpp>
#include <smartcache/codec/msgpack.hpp>

#include "support/catch.hpp"

namespace sc = smartcache;
using nlohmann::json;

namespace json_types {

struct User {
    std::string name;
    int age = 0;
    friend bool operator==(const User&, const User&) = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(User, name, age)

enum class Level : std::uint8_t { low, high };
enum class Colour { red, green };
NLOHMANN_JSON_SERIALIZE_ENUM(Colour, {{Colour::red, "red"}, {Colour::green, "green"}})

struct Nothing {  // its document is null
    friend bool operator==(const Nothing&, const Nothing&) = default;
};
void to_json(json& tree, const Nothing& /*nothing*/) {
    tree = nullptr;
}
void from_json(const json& tree, Nothing& /*nothing*/) {
    if (!tree.is_null()) throw std::runtime_error("not nothing");
}

struct NoConversion {
    int value = 0;
};

}  // namespace json_types

namespace {

template <class T>
std::optional<T> read(std::string_view text) {
    return sc::JsonCodec{}.decode<T>(sc::as_byte_view(text));
}

template <class Codec, class T>
std::vector<std::byte> bytes_of(const T& value) {
    sc::ByteSink out;
    Codec{}.encode(value, out);
    return out.take();
}

template <class T>
std::string text_of(const T& value) {
    return std::string(sc::as_text_view(bytes_of<sc::JsonCodec>(value)));
}

template <class Codec, class T>
bool survives(const T& value) {
    const std::optional<T> back = Codec{}.template decode<T>(bytes_of<Codec>(value));
    return back.has_value() && *back == value;  // not `back == value`: T may be an optional itself
}
template <class T>
bool survives_all(const T& value) {
    return survives<sc::JsonCodec>(value) && survives<sc::MsgPackCodec>(value) &&
           survives<sc::CborCodec>(value);
}

/// `depth` arrays around nothing.
json nested(std::size_t depth) {
    json tree = json::array();
    for (std::size_t i = 1; i < depth; ++i) {
        json outer = json::array();
        outer.push_back(std::move(tree));
        tree = std::move(outer);
    }
    return tree;
}

}  // namespace

TEMPLATE_TEST_CASE("values come back as they were, at the limits too", "[codec][json]", sc::JsonCodec,
                   sc::MsgPackCodec, sc::CborCodec) {
    using C = TestType;
    CHECK(survives<C>(std::numeric_limits<std::int64_t>::min()));
    CHECK(survives<C>(std::numeric_limits<std::uint64_t>::max()));
    CHECK(survives<C>(std::numeric_limits<double>::denorm_min()));
    CHECK(survives<C>(std::numeric_limits<double>::max()));
    CHECK(survives<C>(0.1F));
    CHECK(std::signbit(C{}.template decode<double>(bytes_of<C>(-0.0)).value()));
    CHECK(survives<C>('x'));
    CHECK(survives<C>(true));
    CHECK(survives<C>(std::string("gr\xC3\xBC\xC3\x9F\0!", 8)));
    CHECK(survives<C>(json_types::User{"Ann", 30}));
    CHECK(survives<C>(json_types::Level::high));
    CHECK(survives<C>(json_types::Colour::green));
    CHECK(survives<C>(std::vector<bool>{true, false}));
    CHECK(survives<C>(std::vector<std::byte>{std::byte{0}, std::byte{255}}));
    CHECK(survives<C>(std::forward_list<int>{1, 2, 3}));
    CHECK(survives<C>(std::deque<std::set<int>>{{1, 2}, {}}));
    CHECK(survives<C>(std::multimap<std::string, int>{{"a", 1}, {"a", 2}}));
    CHECK(survives<C>(std::map<int, json_types::User>{{1, {"B", 2}}}));
    CHECK(survives<C>(std::unordered_map<std::string, std::vector<double>>{{"x", {1.5, 2}}}));
    CHECK(survives<C>(std::tuple<int, std::string, std::optional<double>>{1, "a", std::nullopt}));
    CHECK(survives<C>(std::array<std::pair<int, bool>, 2>{{{1, true}, {2, false}}}));
    CHECK(survives<C>(std::filesystem::path("/a/b")));
    CHECK(survives<C>(json{{"a", {1, 2.5, nullptr, "x"}}}));
}

TEMPLATE_TEST_CASE("an optional is told apart from nothing, whatever is in it", "[codec][json][optional]",
                   sc::JsonCodec, sc::MsgPackCodec, sc::CborCodec) {
    using C = TestType;
    using Twice = std::optional<std::optional<int>>;
    using Thrice = std::optional<Twice>;
    CHECK(survives<C>(std::optional<int>{}));
    CHECK(survives<C>(std::optional<int>{0}));
    CHECK(survives<C>(Twice{}));
    CHECK(survives<C>(Twice{std::in_place, std::nullopt}));
    CHECK(survives<C>(Twice{5}));
    CHECK(survives<C>(Thrice{std::in_place, std::nullopt}));
    CHECK(survives<C>(Thrice{std::in_place, std::in_place, std::nullopt}));
    CHECK(survives<C>(std::optional<json_types::Nothing>{json_types::Nothing{}}));
    CHECK(survives<C>(std::optional<json_types::Nothing>{}));
    CHECK(survives<C>(std::vector<std::optional<int>>{1, std::nullopt}));
    CHECK(survives<C>(std::optional<std::vector<std::optional<int>>>{{std::nullopt}}));
    for (const json& inner : {json(), json(5), json::array({nullptr}), json::array({json::array({nullptr})}),
                              json::array(), json::array({1})}) {
        const std::optional<json> value(std::in_place, inner);
        const auto back = C{}.template decode<std::optional<json>>(bytes_of<C>(value));
        REQUIRE(back);
        REQUIRE(back->has_value());
        CHECK(**back == inner);
    }
}

TEST_CASE("an optional is its value or null in JSON, so that both types read each other",
          "[codec][json][optional]") {
    CHECK(text_of(std::optional<int>{5}) == "5");
    CHECK(text_of(std::optional<int>{}) == "null");
    CHECK(read<std::optional<int>>("5") == std::optional<int>(5));
    CHECK_FALSE(read<int>("null"));
    CHECK_FALSE(read<std::optional<int>>("\"x\""));
    CHECK(**read<std::optional<json>>("5") == 5);
}

TEST_CASE("a number reads only as a type that holds its value and is of its kind", "[codec][json][strict]") {
    CHECK_FALSE(read<std::uint8_t>("300"));
    CHECK(read<std::uint8_t>("255") == 255);
    CHECK_FALSE(read<std::int8_t>("128"));
    CHECK(read<std::int8_t>("-128") == -128);
    CHECK_FALSE(read<std::int8_t>("-129"));
    CHECK_FALSE(read<unsigned>("-1"));
    CHECK_FALSE(read<std::int64_t>("9223372036854775808"));
    CHECK_FALSE(read<std::uint64_t>("18446744073709551616"));
    CHECK_FALSE(read<int>("2.7"));
    CHECK_FALSE(read<int>("3.0"));
    CHECK_FALSE(read<int>("true"));
    CHECK_FALSE(read<int>("\"5\""));
    CHECK_FALSE(read<int>("null"));
    CHECK_FALSE(read<bool>("5"));
    CHECK_FALSE(read<bool>("1"));
    CHECK_FALSE(read<double>("true"));
    CHECK_FALSE(read<std::string>("300"));
    CHECK(read<long>("300") == 300);
    CHECK(read<double>("5") == 5.0);
    CHECK(read<double>("9007199254740992") == 9007199254740992.0);
    CHECK_FALSE(read<double>("9007199254740993"));
    CHECK_FALSE(read<double>("-9007199254740993"));
    CHECK_FALSE(read<double>("18446744073709551615"));
    CHECK(read<double>("-9223372036854775808") == -9223372036854775808.0);
    CHECK(read<float>("0.5") == 0.5F);
    CHECK_FALSE(read<float>("0.1"));
    CHECK_FALSE(read<float>("1e300"));
    CHECK_FALSE(read<float>("16777217"));
}

TEST_CASE("strictness goes into containers, and no element is dropped or added", "[codec][json][strict]") {
    CHECK_FALSE(read<std::vector<std::uint8_t>>("[1,300]"));
    CHECK_FALSE(read<std::list<int>>("[2.7]"));
    CHECK_FALSE(read<std::deque<int>>("[true]"));
    CHECK_FALSE(read<std::set<int>>("[1,1]"));
    CHECK_FALSE(read<std::map<std::string, std::uint8_t>>("{\"a\":300}"));
    CHECK_FALSE(read<std::map<int, std::uint8_t>>("[[1,300]]"));
    CHECK_FALSE(read<std::map<int, int>>("[[1,2],[1,3]]"));
    CHECK_FALSE(read<std::array<int, 2>>("[1,2,3]"));
    CHECK_FALSE(read<std::array<int, 2>>("[1]"));
    CHECK_FALSE(read<std::pair<int, int>>("[1,2,3]"));
    CHECK_FALSE(read<std::tuple<int, std::vector<std::optional<bool>>>>("[1,[null,1]]"));
    CHECK_FALSE(read<std::vector<int>>("{}"));
    CHECK_FALSE(read<std::map<std::string, int>>("[]"));
    CHECK_FALSE(read<std::vector<json_types::User>>(R"([{"name":"A"}])"));
}

TEST_CASE("an enumeration reads only from what it is written as", "[codec][json][strict]") {
    CHECK(read<json_types::Level>("1") == json_types::Level::high);
    CHECK_FALSE(read<json_types::Level>("300"));
    CHECK_FALSE(read<json_types::Level>("1.5"));
    CHECK_FALSE(read<json_types::Level>("1.0"));
    CHECK_FALSE(read<json_types::Level>("true"));
    CHECK_FALSE(read<json_types::Level>("\"high\""));
    CHECK(read<json_types::Colour>("\"green\"") == json_types::Colour::green);
    CHECK_FALSE(read<json_types::Colour>("\"blue\""));
}

TEST_CASE("a user type is not taken without its conversions, and what they throw means: not mine",
          "[codec][json]") {
    STATIC_REQUIRE_FALSE(sc::CodecFor<sc::JsonCodec, json_types::NoConversion>);
    STATIC_REQUIRE_FALSE(sc::CodecFor<sc::JsonCodec, std::vector<json_types::NoConversion>>);
    STATIC_REQUIRE_FALSE(sc::CodecFor<sc::JsonCodec, std::variant<int, bool>>);
    STATIC_REQUIRE(sc::CodecFor<sc::JsonCodec, json_types::User>);
    CHECK_FALSE(read<json_types::User>("5"));
    CHECK_FALSE(read<json_types::Nothing>("5"));
}

TEST_CASE("what JSON cannot say is refused, not changed", "[codec][json]") {
    CHECK_THROWS_AS(text_of(std::nan("")), std::invalid_argument);
    CHECK_THROWS_AS(text_of(std::numeric_limits<double>::infinity()), std::invalid_argument);
    CHECK_THROWS_AS(text_of(json{{"a", {std::nan("")}}}), std::invalid_argument);
    CHECK_THROWS_AS(text_of(std::string("\xFF")), json::type_error);
    CHECK_THROWS_AS(text_of(json::binary({1, 2})), std::invalid_argument);
    CHECK_THROWS_AS(text_of(json(json::value_t::discarded)), std::invalid_argument);
    CHECK_THROWS_AS(text_of(1.0L + std::numeric_limits<long double>::epsilon()), std::invalid_argument);
    CHECK(survives<sc::JsonCodec>(0.5L));
}

TEST_CASE("the binary formats say NaN, infinity and bytes, and refuse the subtypes they would lose",
          "[codec][json]") {
    CHECK(std::isnan(sc::CborCodec{}.decode<double>(bytes_of<sc::CborCodec>(std::nan(""))).value()));
    CHECK(std::isnan(sc::MsgPackCodec{}.decode<float>(bytes_of<sc::MsgPackCodec>(std::nanf(""))).value()));
    CHECK(survives<sc::CborCodec>(-std::numeric_limits<double>::infinity()));
    CHECK(survives<sc::MsgPackCodec>(std::numeric_limits<double>::infinity()));
    CHECK(survives<sc::CborCodec>(json::binary({1, 2})));
    CHECK(survives<sc::MsgPackCodec>(json::binary({1, 2}, 7)));
    CHECK_THROWS_AS(bytes_of<sc::MsgPackCodec>(json::binary({1}, 200)), std::invalid_argument);
    CHECK_THROWS_AS(bytes_of<sc::CborCodec>(json::binary({1}, 7)), std::invalid_argument);
    // 100 bytes as a binary value, not as 100 numbers
    CHECK(bytes_of<sc::CborCodec>(std::vector<std::byte>(100, std::byte{200})).size() == 102);
}

TEST_CASE("nesting is bounded in both directions, and everything that encodes decodes",
          "[codec][json][hostile]") {
    CHECK(survives_all(nested(256)));
    CHECK_THROWS_AS(text_of(nested(257)), std::length_error);
    CHECK_THROWS_AS(text_of(nested(200'000)), std::length_error);
    std::vector<json> list;
    list.push_back(nested(200'000));
    CHECK_THROWS_AS(bytes_of<sc::MsgPackCodec>(list), std::length_error);
    CHECK_FALSE(read<json>(std::string(1'000'000, '[')));
    CHECK_FALSE(read<json>(std::string(300, '[') + std::string(300, ']')));
    const std::string msgpack(1'000'000, '\x91');
    CHECK_FALSE(sc::MsgPackCodec{}.decode<json>(sc::as_byte_view(msgpack)));
    const std::string cbor(1'000'000, '\x81');
    CHECK_FALSE(sc::CborCodec{}.decode<json>(sc::as_byte_view(cbor)));
}

TEST_CASE("sizes that are merely claimed cost nothing", "[codec][json][hostile]") {
    using namespace std::string_view_literals;
    for (const auto claim : {"\xdd\xff\xff\xff\xff"sv, "\xdf\xff\xff\xff\xff"sv, "\xdb\xff\xff\xff\xff"sv,
                             "\xc6\xff\xff\xff\xff"sv})
        CHECK_FALSE(sc::MsgPackCodec{}.decode<json>(sc::as_byte_view(claim)));
    for (const auto claim :
         {"\x9b\xff\xff\xff\xff\xff\xff\xff\xff"sv, "\xbb\xff\xff\xff\xff\xff\xff\xff\xff"sv,
          "\x7b\x7f\xff\xff\xff\xff\xff\xff\xff"sv, "\x5b\x7f\xff\xff\xff\xff\xff\xff\xff"sv})
        CHECK_FALSE(sc::CborCodec{}.decode<json>(sc::as_byte_view(claim)));
}

TEST_CASE("bytes that are no whole document are nothing", "[codec][json][hostile]") {
    for (const std::string_view text :
         {"", " ", "5 5", "5,", "{", "[1,]", "{\"a\":1,\"a\":2}", "1e999", "nul", "//c\n5"})
        CHECK_FALSE(read<json>(text));
    std::vector<std::byte> longer = bytes_of<sc::CborCodec>(5);
    longer.push_back(std::byte{0});
    CHECK_FALSE(sc::CborCodec{}.decode<int>(longer));
}

TEST_CASE("random and mutated bytes never throw, and what they decode to encodes and decodes again",
          "[codec][json][hostile]") {
    std::mt19937 random(20'240'607);  // the seed
    const json sample = {{"a", {1, -2, 2.5, true, nullptr, "text"}}, {"b", {{"c", std::string(40, 'x')}}}};
    const auto attack = [&](auto codec, std::vector<std::byte> bytes) {
        const std::optional<json> tree = codec.template decode<json>(bytes);
        (void)codec.template decode<std::map<std::string, std::vector<std::optional<int>>>>(bytes);
        (void)codec.template decode<json_types::User>(bytes);
        if (!tree) return true;
        sc::ByteSink out;
        try {
            codec.encode(*tree, out);
        } catch (const std::exception&) {
            return true;  // text that is not UTF-8 where the format must have it, a subtype
        }
        // Through bytes: NaN is unequal to itself.
        const auto again = codec.template decode<json>(out.view());
        return again.has_value() && again->dump(-1, ' ', false, json::error_handler_t::replace) ==
                                        tree->dump(-1, ' ', false, json::error_handler_t::replace);
    };
    bool held = true;
    const auto run = [&](auto codec) {
        const std::vector<std::byte> good = bytes_of<decltype(codec)>(sample);
        for (int i = 0; i < 4'000; ++i) {
            std::vector<std::byte> bytes = good;
            for (auto k = random() % 4 + 1; k > 0; --k)
                bytes[random() % bytes.size()] = static_cast<std::byte>(random());
            if (random() % 4 == 0) bytes.resize(random() % bytes.size());
            held = attack(codec, bytes) && held;
            bytes.resize(random() % 32);
            for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
            held = attack(codec, bytes) && held;
        }
    };
    run(sc::JsonCodec{});
    run(sc::MsgPackCodec{});
    run(sc::CborCodec{});
    CHECK(held);
}
