#include <smartcache/redis/pipeline.hpp>

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"

namespace pipeline_test {

using smartcache::detail::Pipeline;

namespace {

/// What would be sent, `step` bytes at a time and with room for `room` stretches.
std::string sent(const Pipeline& pipeline, std::size_t step, std::size_t room) {
    std::string all;
    std::vector<iovec> parts(room);
    while (all.size() < pipeline.bytes()) {
        const std::size_t count = pipeline.gather(all.size(), parts);
        REQUIRE(count > 0);
        std::size_t left = step;
        for (std::size_t i = 0; i < count && left > 0; ++i) {
            const std::size_t size = std::min(left, parts[i].iov_len);
            all.append(static_cast<const char*>(parts[i].iov_base), size);
            left -= size;
        }
    }
    return all;
}

std::string bulk(const std::string& text) {
    return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}

}  // namespace

TEST_CASE("commands become arrays of bulk strings", "[redis][pipeline]") {
    Pipeline pipeline;
    pipeline.command({"GET", "k"});
    pipeline.command({"SET", std::string_view("a\0b", 3), ""});
    CHECK(pipeline.commands() == 2);
    const std::string expected =
        "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*3\r\n$3\r\nSET\r\n" + bulk(std::string("a\0b", 3)) + bulk("");
    CHECK(pipeline.bytes() == expected.size());
    CHECK(sent(pipeline, 1000, 8) == expected);
    pipeline.clear();
    CHECK(pipeline.empty());
    CHECK(pipeline.bytes() == 0);
}

TEST_CASE("large arguments leave from where they lie, wherever the sending is cut", "[redis][pipeline]") {
    const std::string big(5000, 'x');
    const std::string bigger(9000, 'y');
    Pipeline pipeline;
    pipeline.command({"SET", "a", big, "PX", "5"});
    pipeline.command({"SET", bigger, big});
    pipeline.command({"GET", "b"});
    const std::string expected = "*5\r\n" + bulk("SET") + bulk("a") + bulk(big) + bulk("PX") + bulk("5") +
                                 "*3\r\n" + bulk("SET") + bulk(bigger) + bulk(big) + "*2\r\n" + bulk("GET") +
                                 bulk("b");
    for (const std::size_t step : {1U, 7U, 4096U, 100000U})
        for (const std::size_t room : {1U, 2U, 64U}) CHECK((sent(pipeline, step, room) == expected));

    std::array<iovec, 8> parts{};
    REQUIRE(pipeline.gather(0, parts) == 7);
    CHECK(parts[1].iov_base == big.data());
    CHECK(parts[3].iov_base == bigger.data());
}

TEST_CASE("commands of one pipeline can go into another, all or some", "[redis][pipeline]") {
    const std::string big(5000, 'b');
    const std::string lines = "$3\r\n*1\r\n";  // what looks like protocol is not
    const std::vector<std::vector<std::string>> all{
        {"GET", "k"}, {"SET", "k", big, "PX", "1"}, {"", lines}, {big, big}, {"END"}};
    const std::vector<std::string> first{"FIRST", big};
    const auto add = [](Pipeline& pipeline, const std::vector<std::string>& words) {
        pipeline.command(std::vector<std::string_view>(words.begin(), words.end()));
    };
    for (unsigned chosen = 0; chosen < 1U << all.size(); ++chosen) {
        Pipeline whole;
        for (const auto& words : all) add(whole, words);
        Pipeline expected;
        Pipeline some;
        add(expected, first);
        add(some, first);
        for (std::size_t i = 0; i < all.size(); ++i)
            if ((chosen >> i & 1U) != 0) add(expected, all[i]);
        some.append_if(whole, [&](std::size_t i) { return (chosen >> i & 1U) != 0; });
        REQUIRE(some.commands() == expected.commands());
        REQUIRE(some.bytes() == expected.bytes());
        REQUIRE(sent(some, 100'000, 64) == sent(expected, 100'000, 64));
        for (const auto& words : all) add(expected, words);
        some.append(whole);
        REQUIRE(some.commands() == expected.commands());
        REQUIRE(sent(some, 1000, 3) == sent(expected, 1000, 3));
    }
}

}  // namespace pipeline_test
