#include <smartcache/codec/binary.hpp>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <deque>
#include <forward_list>
#include <list>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "support/catch.hpp"

namespace sc = smartcache;

namespace binary_types {

struct Point {
    std::int32_t x = 0;
    double y = 0;
    friend bool operator==(const Point&, const Point&) = default;
};
struct Record {
    std::uint8_t id = 0;  // padding follows
    std::uint64_t count = 0;
    char name[4] = {};
    float grid[2][2] = {};
    Point point;
    std::vector<Point> more;
    bool flag = false;
};
struct Tree {
    int value = 0;
    std::vector<Tree> children;
    friend bool operator==(const Tree&, const Tree&) = default;
};
struct Empty {
    friend bool operator==(const Empty&, const Empty&) = default;
};
enum class Level : std::int16_t { low = -1, high = 1 };

struct Base {
    int a = 0;
};
struct Derived : Base {
    int b = 0;
};
struct WithPointer {
    int* pointer = nullptr;
};
struct WithView {
    std::string_view view;
};
struct WithReference {
    int& reference;
};
struct WithConst {
    const int value = 0;
};
class Closed {
  public:
    [[nodiscard]] int value() const { return value_; }

  private:
    int value_ = 0;
};

}  // namespace binary_types

namespace {

const sc::BinaryCodec codec;

template <class T>
constexpr bool taken = sc::CodecFor<sc::BinaryCodec, T>;

template <class T>
std::vector<std::byte> bytes_of(const T& value) {
    sc::ByteSink out;
    codec.encode(value, out);
    return out.take();
}

template <class T>
std::string hex(const T& value) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const std::byte byte : bytes_of(value)) {
        text += digits[static_cast<unsigned>(byte) >> 4U];
        text += digits[static_cast<unsigned>(byte) & 15U];
    }
    return text;
}

template <class T>
bool survives(const T& value) {
    const std::optional<T> back = codec.decode<T>(bytes_of(value));
    return back.has_value() && *back == value;
}

}  // namespace

TEST_CASE("values come back as they were", "[codec][binary]") {
    CHECK(survives(-7));
    CHECK(survives(std::numeric_limits<std::uint64_t>::max()));
    CHECK(std::signbit(codec.decode<double>(bytes_of(-0.0)).value()));
    CHECK(std::isnan(codec.decode<double>(bytes_of(std::nan(""))).value()));
    CHECK(survives(binary_types::Level::low));
    CHECK(survives(std::string("a\0b", 3)));
    CHECK(survives(std::u16string(u"gr\u00FC\u00DF")));
    CHECK(survives(std::vector<bool>{true, false, true}));
    CHECK(survives(std::vector<std::byte>{std::byte{0}, std::byte{255}}));
    CHECK(survives(std::vector<std::optional<binary_types::Point>>{binary_types::Point{1, 2}, std::nullopt}));
    CHECK(survives(std::map<std::string, std::set<int>>{{"a", {1, 2}}, {"b", {}}}));
    CHECK(survives(std::multimap<int, int>{{1, 1}, {1, 2}}));
    CHECK(survives(std::unordered_map<int, std::string>{{1, "a"}, {2, "b"}}));
    CHECK(survives(std::unordered_multiset<int>{1, 1}));
    CHECK(survives(std::forward_list<int>{1, 2, 3}));
    CHECK(survives(std::deque<std::list<int>>{{1}, {2, 3}}));
    CHECK(survives(std::tuple<int, std::string, binary_types::Empty>{1, "x", {}}));
    CHECK(survives(std::variant<int, std::string>("text")));
    CHECK(survives(std::array<std::string, 2>{"a", "b"}));
    CHECK(survives(std::chrono::milliseconds(-5)));
    CHECK(survives(std::chrono::system_clock::time_point(std::chrono::hours(5))));
    CHECK(survives(std::vector<binary_types::Empty>(1000)));
    CHECK(survives(std::array<int, 0>{}));
    CHECK(survives(binary_types::Tree{1, {{2, {}}, {3, {{4, {}}}}}}));
}

TEST_CASE("a struct is its members: padding, arrays and nested structs included", "[codec][binary]") {
    binary_types::Record record{7, 8, {'a', 'b'}, {{1, 2}, {3, 4}}, {5, 6}, {{1, 1}}, true};
    const auto back = codec.decode<binary_types::Record>(bytes_of(record));
    REQUIRE(back);
    CHECK(back->id == 7);
    CHECK(back->count == 8);
    CHECK(std::string(back->name) == "ab");
    CHECK(back->grid[1][0] == 3);
    CHECK(back->point == record.point);
    CHECK(back->more == record.more);
    CHECK(back->flag);
}

TEST_CASE("types that would dangle, or whose inside nobody can see, are not taken",
          "[codec][binary][concept]") {
    STATIC_REQUIRE(taken<binary_types::Record>);
    STATIC_REQUIRE(taken<binary_types::Tree>);
    STATIC_REQUIRE(taken<std::monostate>);
    STATIC_REQUIRE_FALSE(taken<binary_types::WithPointer>);
    STATIC_REQUIRE_FALSE(taken<binary_types::WithView>);
    STATIC_REQUIRE_FALSE(taken<binary_types::WithReference>);
    STATIC_REQUIRE_FALSE(taken<binary_types::WithConst>);
    STATIC_REQUIRE_FALSE(taken<binary_types::Derived>);
    STATIC_REQUIRE_FALSE(taken<binary_types::Closed>);
    STATIC_REQUIRE_FALSE(taken<long double>);
    STATIC_REQUIRE_FALSE(taken<std::chrono::steady_clock::time_point>);
    STATIC_REQUIRE_FALSE(taken<std::optional<binary_types::WithPointer>>);
}

TEST_CASE("the bytes are pinned, shape hash first", "[codec][binary][persistent]") {
    CHECK(hex(std::int32_t{5}) == "b1fd2c2b19b2da2a05000000");
    CHECK(hex(true) == "a5f101864cdf63af01");
    CHECK(hex('x') == "865e6f0d193c86f678");
    CHECK(hex(1.0F) == "e47d78ff18496ddd0000803f");
    CHECK(hex(binary_types::Level::low) == "c0b86c4460271e65ffff");
    CHECK(hex(std::string("hi")) == "220b02864cee63af026869");
    CHECK(hex(std::optional<std::uint8_t>{7}) == "316915c624c6f0f20107");
    CHECK(hex(binary_types::Point{1, 2}) == "89ca77adc3a4ea80010000000000000000000040");
    CHECK(hex(std::tuple<std::int32_t, double>{1, 2}) == "89ca77adc3a4ea80010000000000000000000040");
    CHECK(hex(std::array<std::uint8_t, 2>{1, 2}) == "1c18a90747adb4950102");
    CHECK(hex(std::vector<std::uint16_t>{1, 2}) == "7df408ae6361cd070201000200");
    CHECK(hex(std::vector<std::byte>{std::byte{7}}) == "ecc889211a1631dd0107");
    CHECK(hex(std::set<std::uint8_t>{1}) == "b044cc2dfd1abb2e0101");
    CHECK(hex(std::multiset<std::uint8_t>{1}) == "31926edb00e2954d0101");
    CHECK(hex(std::map<std::string, std::uint8_t>{{"a", 1}}) == "113f1009c0ac15be01016101");
    CHECK(hex(std::variant<bool, std::uint8_t>(std::uint8_t{9})) == "85a81185ec14bdab0109");
    CHECK(hex(std::chrono::duration<std::int64_t, std::milli>(1)) == "0694dc3e2ca8fa260100000000000000");
    CHECK(hex(binary_types::Empty{}) == "5a66a6b4071fe10700");
    CHECK(hex(std::vector<binary_types::Empty>(2)) == "10b2f90b6666e0ba020000");
    CHECK(hex(binary_types::Tree{1, {{2, {}}}}) == "5508720f45e085fb01000000010200000000");
}

TEST_CASE("bytes read only as a type of the same structure", "[codec][binary][strict]") {
    CHECK_FALSE(codec.decode<std::uint32_t>(bytes_of(5)));
    CHECK_FALSE(codec.decode<std::int64_t>(bytes_of(5)));
    CHECK_FALSE(codec.decode<float>(bytes_of(5)));
    CHECK_FALSE(codec.decode<bool>(bytes_of(std::uint8_t{1})));
    CHECK_FALSE(codec.decode<std::uint32_t>(bytes_of(char32_t{5})));
    CHECK_FALSE(codec.decode<std::optional<int>>(bytes_of(5)));
    CHECK_FALSE(codec.decode<std::set<int>>(bytes_of(std::vector<int>{1})));
    CHECK_FALSE(codec.decode<std::vector<std::pair<int, int>>>(bytes_of(std::map<int, int>{{1, 1}})));
    CHECK_FALSE(codec.decode<std::chrono::seconds>(bytes_of(std::chrono::milliseconds(1))));
    CHECK_FALSE(codec.decode<std::string>(bytes_of(std::vector<char>{'a'})));
    CHECK(codec.decode<std::list<int>>(bytes_of(std::vector<int>{1, 2})) == std::list<int>{1, 2});
    CHECK(codec.decode<std::tuple<std::int32_t, double>>(bytes_of(binary_types::Point{1, 2})) ==
          std::tuple{1, 2.0});
}

TEST_CASE("bytes that no encoder writes are refused", "[codec][binary][hostile]") {
    auto flag = bytes_of(true);
    flag.back() = std::byte{2};
    CHECK_FALSE(codec.decode<bool>(flag));
    auto optional = bytes_of(std::optional<int>{});
    optional.back() = std::byte{2};
    CHECK_FALSE(codec.decode<std::optional<int>>(optional));
    auto either = bytes_of(std::variant<bool, bool>(std::in_place_index<0>, true));
    either[8] = std::byte{2};
    CHECK_FALSE(codec.decode<std::variant<bool, bool>>(either));
    auto set = bytes_of(std::set<std::uint8_t>{1, 2});
    set.back() = std::byte{1};
    CHECK_FALSE(codec.decode<std::set<std::uint8_t>>(set));
    auto longer = bytes_of(5);
    longer.push_back(std::byte{0});
    CHECK_FALSE(codec.decode<int>(longer));
    CHECK_FALSE(codec.decode<int>({}));
}

TEST_CASE("every truncation is refused", "[codec][binary][hostile]") {
    const auto bytes = bytes_of(binary_types::Record{1, 2, {'x'}, {}, {}, {{1, 2}, {3, 4}}, true});
    for (std::size_t size = 0; size < bytes.size(); ++size)
        CHECK_FALSE(codec.decode<binary_types::Record>(sc::ByteView(bytes).first(size)));
}

TEST_CASE("a claimed size is believed only as far as there are bytes", "[codec][binary][hostile]") {
    const auto lie = [](const auto& empty) {
        auto bytes = bytes_of(empty);
        bytes.pop_back();  // its size, 0
        for (const int byte : {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F})
            bytes.push_back(static_cast<std::byte>(byte));
        return bytes;
    };
    CHECK_FALSE(codec.decode<std::string>(lie(std::string())));
    CHECK_FALSE(codec.decode<std::vector<double>>(lie(std::vector<double>())));
    CHECK_FALSE(codec.decode<std::vector<binary_types::Empty>>(lie(std::vector<binary_types::Empty>())));
    CHECK_FALSE(codec.decode<std::map<int, int>>(lie(std::map<int, int>())));
}

TEST_CASE("structs that contain themselves nest up to a bound, in both directions",
          "[codec][binary][hostile]") {
    const auto chain = [](int length) {
        binary_types::Tree tree;
        for (int i = 1; i < length; ++i) {
            binary_types::Tree outer;
            outer.children.push_back(std::move(tree));
            tree = std::move(outer);
        }
        return tree;
    };
    CHECK(survives(chain(256)));
    CHECK_THROWS_AS(bytes_of(chain(257)), std::length_error);
    auto bytes = bytes_of(binary_types::Tree{});
    bytes.resize(8);
    for (int i = 0; i < 100'000; ++i)  // value 0, one child, ...
        for (const int byte : {0, 0, 0, 0, 1}) bytes.push_back(static_cast<std::byte>(byte));
    CHECK_FALSE(codec.decode<binary_types::Tree>(bytes));
}

TEST_CASE("mutated bytes never misbehave, and what they decode to encodes to the same bytes",
          "[codec][binary][hostile]") {
    using Value =
        std::tuple<std::map<std::string, std::optional<std::vector<std::uint16_t>>>, std::vector<std::string>,
                   std::variant<bool, binary_types::Tree>, std::deque<binary_types::Point>>;
    const Value sample{{{"a", {{1, 2}}}, {"b", {}}}, {"x", "yy"}, binary_types::Tree{1, {{2, {}}}}, {{1, 2}}};
    const auto good = bytes_of(sample);
    std::mt19937 random(42);  // the seed
    int decoded = 0;
    bool same = true;
    for (int i = 0; i < 50'000; ++i) {
        auto bytes = good;
        for (auto k = random() % 3 + 1; k > 0; --k)
            bytes[8 + random() % (bytes.size() - 8)] = static_cast<std::byte>(random());
        const auto value = codec.decode<Value>(bytes);
        if (!value) continue;
        ++decoded;
        same = same &&
               (bytes_of(*value) == bytes || std::get<0>(*value).size() > 1);  // keys may have changed order
    }
    CHECK(decoded > 100);
    CHECK(same);
}
