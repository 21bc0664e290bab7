#include <smartcache/core/owned_bytes.hpp>

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <smartcache/codec/json.hpp>

#include "support/catch.hpp"

namespace sc = smartcache;

namespace {

struct Report {
    std::vector<double> rows;
};

struct Opaque {
    std::string text;
};

}  // namespace

template <>
struct smartcache::OwnedBytes<Report> {
    static std::size_t of(const Report& report) { return smartcache::owned_bytes(report.rows); }
};

TEST_CASE("owned bytes are those outside the value itself", "[codec][owned]") {
    const std::string text(1000, 'x');
    CHECK(sc::owned_bytes(5) == 0);
    CHECK(sc::owned_bytes(std::string("short")) == 0);
    CHECK(sc::owned_bytes(text) == text.capacity() + 1);
    CHECK(sc::owned_bytes(std::vector<int>(100)) == 400);
    CHECK(sc::owned_bytes(std::vector<std::string>(3, text)) >= 3 * (sizeof(std::string) + 1000));
    CHECK(sc::owned_bytes(std::array<std::string, 2>{text, text}) == 2 * (text.capacity() + 1));
    CHECK(sc::owned_bytes(std::optional<std::string>()) == 0);
    CHECK(sc::owned_bytes(std::optional(text)) >= 1000);
    CHECK(sc::owned_bytes(std::pair(text, 1)) >= 1000);
    CHECK(sc::owned_bytes(std::tuple(text, text, 1)) >= 2000);
    CHECK(sc::owned_bytes(std::variant<int, std::string>(text)) >= 1000);
    CHECK(sc::owned_bytes(std::map<int, std::string>{{1, text}, {2, text}}) >=
          2 * (sizeof(std::pair<const int, std::string>) + 1000));
    CHECK(sc::owned_bytes(std::list<int>(10)) >= 10 * 3 * sizeof(void*));
    CHECK(sc::owned_bytes(std::vector<std::vector<char>>{std::vector<char>(100), std::vector<char>(200)}) ==
          2 * sizeof(std::vector<char>) + 300);
    CHECK(sc::owned_bytes(std::vector<bool>(800)) >= 100);
}

TEST_CASE("JSON documents are counted to the leaves", "[codec][owned][json]") {
    CHECK(sc::owned_bytes(nlohmann::json(5)) == 0);
    const std::string text(1000, 'x');
    CHECK(sc::owned_bytes(nlohmann::json(text)) >= 1000);
    CHECK(sc::owned_bytes(nlohmann::json{{"a", {text, text}}, {"b", {{"c", text}}}}) >= 3000);
    CHECK(sc::owned_bytes(nlohmann::json::binary(std::vector<std::uint8_t>(500))) >= 500);
}

TEST_CASE("a type of one's own says what it owns", "[codec][owned]") {
    CHECK(sc::owned_bytes(Report{std::vector<double>(10)}) == 80);
    CHECK(sc::owned_bytes(std::vector<Report>{Report{std::vector<double>(10)}}) == sizeof(Report) + 80);
    CHECK(sc::owned_bytes(Opaque{std::string(1000, 'x')}) == 0);
}
