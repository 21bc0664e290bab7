#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include <smartcache/facade/function_name.hpp>
#include <smartcache/facade/key_encoding.hpp>

#include "support/catch.hpp"

namespace sc = smartcache;
using namespace std::literals;

namespace app {

enum class Colour : std::uint8_t { red = 1, blue = 2 };
enum Plain { zero, one };

struct User {
    int id = 0;
    std::string name;
};
std::tuple<int, std::string> to_key(const User& user) {
    return {user.id, user.name};
}

struct Admin : User {
    int level = 0;
};

struct Point {
    int x = 0;
    int y = 0;
    friend std::pair<int, int> to_key(const Point& point) { return {point.x, point.y}; }
};

struct Money {
    long cents = 0;
};
long to_key(Money money) {
    return money.cents;
}

struct Price : Money {
    int currency = 0;
};

template <class T>
struct Box {
    T value{};
};
template <class T>
T to_key(const Box<T>& box) {
    return box.value;
}

enum class Unit { metre, yard };
std::string to_key(Unit unit) {
    return unit == Unit::metre ? "m" : "yd";
}

struct Log {};

int area(int, int) {
    return 0;
}
unsigned wide(unsigned, unsigned long, const std::string&, std::string_view, char* const*) {
    return 0;
}
std::vector<std::string> quiet(std::optional<const User*>) noexcept {
    return {};
}
template <class T>
T twice(T value) {
    return value;
}
template <unsigned N>
int number() {
    return 0;
}
template <class T>
struct Repository {
    int find(T) { return 0; }
    int count(int) const noexcept { return 0; }
    static int open(T) { return 0; }
};
int callback(int (*)(int), std::function<int(int, std::string)>, int (&)[3], std::array<int, 3>) {
    return 0;
}
int overloaded(int) {
    return 0;
}
int overloaded(const std::string&) {
    return 0;
}

static int hidden(int) {
    return 0;
}

}  // namespace app

namespace {

int unnamed(int) {
    return 0;
}
struct Local {
    int method() { return 0; }
};
}  // namespace

static int file_local(int) {
    return 0;
}
int global() {
    return 0;
}
int takes_local(Local) {
    return 0;
}

template <>
inline constexpr bool smartcache::ignored_in_key<app::Log> = true;

namespace key_encoding_test {

namespace {

template <class T>
std::string key(const T& value) {
    std::string out;
    sc::encode_key_arg(out, value);
    return out;
}

template <class... T>
std::string keys(const T&... values) {
    std::string out;
    (sc::encode_key_arg(out, values), ...);
    return out;
}

}  // namespace

TEST_CASE("every rule of the key encoding has the documented text", "[key]") {
    CHECK(key(true) == "b1");
    CHECK(key(-7) == "i4:-7;");
    CHECK(key(std::numeric_limits<std::int64_t>::min()) == "i8:-9223372036854775808;");
    CHECK(key(std::numeric_limits<std::uint64_t>::max()) == "u8:18446744073709551615;");
    CHECK(key(static_cast<signed char>(-1)) == "i1:-1;");
    CHECK(key(static_cast<unsigned char>(255)) == "u1:255;");
    CHECK(key('A') == "c:65;");
    CHECK(key('\xff') == "c:255;");
    CHECK(key(L'A') == "w:65;");
    CHECK(key(u8'A') == "c8:65;");
    CHECK(key(u'A') == "c16:65;");
    CHECK(key(U'A') == "c32:65;");
    CHECK(key(1.0F) == "f4:3f800000;");
    CHECK(key(-0.0) == "f8:8000000000000000;");
    CHECK(key(app::Colour::blue) == "eu1:2;");
    CHECK(key("hello"s) == "t5:hello");
    CHECK(key(std::vector<std::byte>{std::byte{'a'}, std::byte{0}}) == "y2:a\0"s);
    CHECK(key(std::filesystem::path("/a/b")) == "P4:/a/b");
    CHECK(key(std::optional<int>()) == "o-");
    CHECK(key(std::optional<int>(1)) == "o+i4:1;");
    CHECK(key(std::variant<int, std::string>("a")) == "v1:t1:a");
    CHECK(key(std::monostate{}) == "m");
    CHECK(key(std::pair(1, "a"s)) == "pi4:1;t1:a");
    CHECK(key(std::tuple(true, 'A')) == "T2:b1c:65;");
    CHECK(key(std::tuple<>()) == "T0:");
    CHECK(key(std::vector<int>{1, 2}) == "[2:i4:1;i4:2;");
    CHECK(key(std::vector<bool>{true, false}) == "[2:b1b0");
    CHECK(key(std::unordered_set<int>{2, 1, 3}) == "{3:i4:1;i4:2;i4:3;");
    CHECK(key(5ms) == "d1/1000:i8:5;");
    CHECK(key(std::chrono::sys_seconds(5s)) == "@d1/1:i8:5;");
    CHECK(key(app::User{7, "ada"}) == "kT2:i4:7;t3:ada");
    CHECK(key(app::Point{1, 2}) == "kpi4:1;i4:2;");
    CHECK(key(app::Box<int>{3}) == "ki4:3;");
    CHECK(key(app::Unit::yard) == "kt2:yd");
    CHECK(sc::call_key_start("geo:", "area") == "4:geo: 4:area ");
    CHECK(sc::ignored_in_key<app::Log>);
    CHECK_FALSE(sc::ignored_in_key<int>);
}

TEST_CASE("all kinds of text, and all sequences, share a rule", "[key]") {
    const char* const pointer = "ab";
    char array[] = "ab";
    CHECK(key("ab"s) == key("ab"sv));
    CHECK(key("ab"s) == key(pointer));
    CHECK(key("ab"s) == key(array));
    CHECK(key("ab"s) == key("ab"));
    CHECK(key("a\0b"s) == "t3:a\0b"s);
    CHECK(key(static_cast<const char*>(nullptr)) != key(""s));

    const std::vector<int> numbers{1, 2};
    CHECK(key(numbers) == key(std::list<int>{1, 2}));
    CHECK(key(numbers) == key(std::deque<int>{1, 2}));
    CHECK(key(numbers) == key(std::array{1, 2}));
    CHECK(key(numbers) == key(std::set<int>{2, 1}));
    CHECK(key(numbers) == key(std::span<const int>(numbers)));
    const std::array<unsigned char, 2> bytes{'a', 'b'};
    CHECK(key(bytes) == "y2:ab");
    CHECK(key(std::span(bytes)) == "y2:ab");
    CHECK(key(std::map<int, bool>{{1, true}}) == "[1:pi4:1;b1");
}

TEST_CASE("reals are told apart bit by bit", "[key]") {
    CHECK(key(0.0) != key(-0.0));
    CHECK(key(0.1) != key(std::nextafter(0.1, 1.0)));
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(key(nan) == key(nan));
    CHECK(key(nan) != key(std::bit_cast<double>(std::bit_cast<std::uint64_t>(nan) + 1)));
    CHECK(key(1.0F) != key(1.0));
    CHECK(key(1.0L) == key(1.0L));
    CHECK(key(1.0L) != key(std::nextafter(1.0L, 2.0L)));
    CHECK(key(0.0L) != key(-0.0L));
}

TEST_CASE("arguments cannot shift into one another", "[key]") {
    CHECK(keys("ab"s, "c"s) != keys("a"s, "bc"s));
    CHECK(keys("a"s, ""s) != keys(""s, "a"s));
    CHECK(keys("a"s) != keys("a"s, ""s));
    CHECK(keys("t1:a"s) != keys("a"s));
    CHECK(keys("a;t1:b"s) != keys("a"s, "b"s));
    CHECK(keys(1, 23) != keys(12, 3));
    using Texts = std::vector<std::string>;
    CHECK(key(Texts{}) != key(Texts{""}));
    CHECK(key(Texts{"a", "b"}) != key(Texts{"ab"}));
    CHECK(keys(Texts{"a"}, Texts{"b"}) != keys(Texts{"a", "b"}, Texts{}));
    using Nested = std::vector<Texts>;
    CHECK(key(Nested{{"a"}, {"b"}}) != key(Nested{{"a", "b"}}));
    CHECK(key(Nested{{}}) != key(Nested{}));
    CHECK(key(Nested{{}, {""}}) != key(Nested{{""}, {}}));
    using Maybe = std::optional<std::optional<std::string>>;
    CHECK(key(Maybe{}) != key(Maybe{std::optional<std::string>{}}));
    CHECK(key(Maybe{std::optional<std::string>{}}) != key(Maybe{std::optional<std::string>{""}}));
    CHECK(key(std::variant<int, long>(1)) != key(std::variant<int, long>(1L)));
    CHECK(key(std::variant<int, int>(std::in_place_index<0>, 1)) !=
          key(std::variant<int, int>(std::in_place_index<1>, 1)));
    CHECK(key(app::User{1, "a"}) != key(std::tuple(1, "a"s)));
    CHECK(sc::call_key_start("a", "bc") != sc::call_key_start("ab", "c"));
    CHECK(sc::call_key_start("", "1:a ") != sc::call_key_start("1:a ", ""));
}

TEST_CASE("types of equal value are told apart where the type is part of the value", "[key]") {
    const std::set<std::string> all{key(1),
                                    key(1U),
                                    key(1L),
                                    key(short{1}),
                                    key(true),
                                    key('\1'),
                                    key(1.0),
                                    key(app::one),
                                    key("1"),
                                    key(1ms),
                                    key(1s),
                                    key(u'\1'),
                                    key(1.0F),
                                    key(std::optional(1)),
                                    key(std::vector{1}),
                                    key(std::tuple(1))};
    CHECK(all.size() == 16);
}

TEST_CASE("the order in an unordered container does not matter", "[key]") {
    std::unordered_set<std::string> few(1);
    std::unordered_set<std::string> many(1000);
    std::unordered_multimap<std::string, int> up;
    std::unordered_multimap<std::string, int> down;
    for (int i = 0; i < 50; ++i) {
        few.insert(std::to_string(i));
        many.insert(std::to_string(49 - i));
        up.emplace(std::to_string(i % 7), i);
        down.emplace(std::to_string((49 - i) % 7), 49 - i);
    }
    CHECK(key(few) == key(many));
    CHECK(key(up) == key(down));
    CHECK(key(few) != key(up));
    many.erase("7");
    CHECK(key(few) != key(many));
    CHECK(key(std::unordered_multiset<int>{1, 1}) != key(std::unordered_multiset<int>{1}));
}

TEST_CASE("a to_key of a base class is not taken for the derived one's", "[key]") {
    CHECK(sc::detail::HasOwnToKey<app::User>);
    CHECK(sc::detail::HasOwnToKey<app::Point>);
    CHECK(sc::detail::HasOwnToKey<app::Money>);
    CHECK(sc::detail::HasOwnToKey<app::Box<int>>);
    CHECK(sc::detail::HasOwnToKey<app::Unit>);
    CHECK(sc::detail::HasToKey<app::Admin>);
    CHECK_FALSE(sc::detail::HasOwnToKey<app::Admin>);
    CHECK(sc::detail::HasToKey<app::Price>);
    CHECK_FALSE(sc::detail::HasOwnToKey<app::Price>);
    CHECK_FALSE(sc::detail::HasToKey<app::Log>);
}

TEST_CASE("different values never have encodings of which one is a prefix of the other", "[key][property]") {
    using Value = std::tuple<std::string, std::optional<std::vector<std::string>>, std::map<std::string, int>,
                             std::variant<std::string, std::vector<bool>>, std::unordered_set<std::string>>;
    std::mt19937 random(20240607);
    const auto below = [&random](unsigned n) { return static_cast<unsigned>(random() % n); };
    // Few letters, all of them delimiters of the encoding, so that ambiguities would show soon.
    const auto text = [&] {
        constexpr std::string_view letters = "t1:;[o";
        std::string result(below(4), ' ');
        for (char& c : result) c = letters[below(static_cast<unsigned>(letters.size()))];
        return result;
    };
    const auto value = [&] {
        Value result;
        std::get<0>(result) = text();
        if (below(2) != 0) {
            auto& list = std::get<1>(result).emplace();
            for (unsigned n = below(3); n > 0; --n) list.push_back(text());
        }
        for (unsigned n = below(3); n > 0; --n) std::get<2>(result)[text()] = static_cast<int>(below(3)) - 1;
        if (below(2) != 0) {
            std::get<3>(result) = text();
        } else {
            std::get<3>(result) = std::vector<bool>(below(3), below(2) != 0);
        }
        for (unsigned n = below(3); n > 0; --n) std::get<4>(result).insert(text());
        return result;
    };
    std::map<std::string, Value> seen;
    for (int i = 0; i < 20'000; ++i) {
        const Value made = value();
        const auto [at, fresh] = seen.emplace(key(made), made);
        REQUIRE(at->second == made);
    }
    REQUIRE(seen.size() > 10'000);
    for (auto at = seen.begin(), next = std::next(at); next != seen.end(); at = next++)
        REQUIRE_FALSE(next->first.starts_with(at->first));
}

TEST_CASE("a function's name is its qualified name and its signature, equal on every compiler", "[name]") {
    CHECK(sc::function_name<&app::area>() == "app::area: int(*)(int,int)");
    CHECK(sc::function_name<&app::wide>() ==
          "app::wide: unsigned int(*)(unsigned int,unsigned long,std::string "
          "const&,std::string_view,char*const*)");
    CHECK(sc::function_name<&app::quiet>() ==
          "app::quiet: std::vector<std::string,std::allocator<std::string>>(*)(std::optional<app::User "
          "const*>)noexcept");
    CHECK(sc::function_name<&app::twice<int>>() == "int app::twice<int>(int): int(*)(int)");
    CHECK(sc::function_name<&app::twice<std::string>>() ==
          "std::string app::twice<std::string>(std::string): std::string(*)(std::string)");
    CHECK(sc::function_name<&app::number<5>>() == "int app::number<5u>(): int(*)()");
    CHECK(sc::function_name<&app::Repository<std::string>::find>() ==
          "app::Repository<std::string>::find: int(app::Repository<std::string>::*)(std::string)");
    CHECK(sc::function_name<&app::Repository<int>::count>() ==
          "app::Repository<int>::count(int)const: int(app::Repository<int>::*)(int)const noexcept");
    CHECK(sc::function_name<&app::Repository<int>::open>() == "app::Repository<int>::open: int(*)(int)");
    CHECK(sc::function_name<&app::callback>() ==
          "app::callback: "
          "int(*)(int(*)(int),std::function<int(int,std::string)>,int(&)[3],std::array<int,3ul>)");
    CHECK(sc::function_name<&global>() == "global(): int(*)()");
    CHECK(sc::function_name<&unnamed>() == "(anonymous namespace)::unnamed: int(*)(int)");
}

TEST_CASE("overloads and instances of a template have names of their own", "[name]") {
    CHECK(sc::function_name<static_cast<int (*)(int)>(&app::overloaded)>() !=
          sc::function_name<static_cast<int (*)(const std::string&)>(&app::overloaded)>());
    CHECK(sc::function_name<&app::number<5>>() != sc::function_name<&app::number<6>>());
}

TEST_CASE("the inline namespaces of libraries leave no trace in a name", "[name]") {
    CHECK(
        sc::detail::normalise_type_text("f(std::__1::vector<int> const&, std::chrono::_V2::system_clock)") ==
        "f(std::vector<int> const&,std::chrono::system_clock)");
    CHECK(sc::detail::normalise_type_text("smartcache::v0::Lookup<unsigned  int> noexcept const") ==
          "smartcache::Lookup<unsigned int> const noexcept");
}

TEST_CASE("a function of internal linkage needs a key_prefix", "[name]") {
    CHECK_THROWS_AS(sc::detail::require_name<&unnamed>(""), sc::ConfigError);
    CHECK_THROWS_AS(sc::detail::require_name<&Local::method>(""), sc::ConfigError);
    CHECK_THROWS_AS(sc::detail::require_name<&takes_local>(""), sc::ConfigError);
    CHECK_THROWS_AS(sc::detail::require_name<&file_local>(""), sc::ConfigError);
    CHECK_THROWS_AS(sc::detail::require_name<&app::hidden>(""), sc::ConfigError);
    CHECK_NOTHROW(sc::detail::require_name<&unnamed>("mine"));
    CHECK_NOTHROW(sc::detail::require_name<&file_local>("mine"));
    CHECK_NOTHROW(sc::detail::require_name<&app::area>(""));
    CHECK_NOTHROW(sc::detail::require_name<&global>(""));
    CHECK_NOTHROW(sc::detail::require_name<&app::number<5>>(""));
    CHECK_NOTHROW(sc::detail::require_name<&app::Repository<int>::open>(""));
    try {
        sc::detail::require_name<&unnamed>("");
    } catch (const sc::ConfigError& error) {
        REQUIRE(error.problems().size() == 1);
        CHECK(error.problems()[0].field == "key_prefix");
        CHECK(error.problems()[0].allowed.find("unnamed") != std::string::npos);
    }
}

}  // namespace key_encoding_test
