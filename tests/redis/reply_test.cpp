#include <smartcache/redis/reply.hpp>

#include <random>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace reply_test {

using smartcache::detail::Reply;
using smartcache::detail::ReplyReader;
using Next = ReplyReader::Next;

namespace {

void feed(ReplyReader& reader, const std::string& bytes) {
    REQUIRE(reader.feed(bytes));
}

}  // namespace

TEST_CASE("every kind of answer is read", "[redis][reply]") {
    ReplyReader reader;
    feed(reader, "+OK\r\n-ERR no\r\n:-42\r\n$3\r\na\0b\r\n$-1\r\n*3\r\n:1\r\n$1\r\nx\r\n*1\r\n+y\r\n*-1\r\n");
    // The literal above ends at its NUL; the rest is fed apart.
    REQUIRE(reader.next() == Next::reply);
    CHECK(reader.reply().is_status("OK"));
    REQUIRE(reader.next() == Next::reply);
    CHECK(reader.reply().is_error("ERR"));
    CHECK_FALSE(reader.reply().is_error("WRONGTYPE"));
    REQUIRE(reader.next() == Next::reply);
    CHECK(reader.reply().is_integer(-42));
    CHECK(reader.next() == Next::incomplete);
    CHECK(reader.unparsed() > 0);
    feed(reader, std::string("\0b\r\n", 4) + "$-1\r\n*3\r\n:1\r\n$1\r\nx\r\n*1\r\n+y\r\n*-1\r\n");
    REQUIRE(reader.next() == Next::reply);
    CHECK(reader.reply().is_text());
    CHECK(reader.reply().text == std::string("a\0b", 3));
    REQUIRE(reader.next() == Next::reply);
    CHECK(reader.reply().kind == Reply::Kind::nil);
    REQUIRE(reader.next() == Next::reply);
    REQUIRE(reader.reply().elements.size() == 3);
    CHECK(reader.reply().elements[0].is_integer(1));
    CHECK(reader.reply().elements[1].text == "x");
    REQUIRE(reader.reply().elements[2].elements.size() == 1);
    CHECK(reader.reply().elements[2].elements[0].is_status("y"));
    REQUIRE(reader.next() == Next::reply);
    CHECK(reader.reply().kind == Reply::Kind::nil);
    CHECK(reader.reply().elements.empty());
    CHECK(reader.next() == Next::incomplete);
    CHECK(reader.unparsed() == 0);
}

TEST_CASE("nothing of an answer is left in the next ones", "[redis][reply]") {
    // The memory of arrays is used again.
    ReplyReader reader;
    feed(reader, "*3\r\n$5\r\nhello\r\n:7\r\n*2\r\n+a\r\n+b\r\n");
    REQUIRE(reader.next() == Next::reply);
    REQUIRE(reader.reply().elements.size() == 3);

    feed(reader, "$1\r\nx\r\n");
    REQUIRE(reader.next() == Next::reply);
    CHECK(reader.reply().is_text());
    CHECK(reader.reply().elements.empty());

    feed(reader, "*4\r\n$-1\r\n*0\r\n$2\r\nhi\r\n:1\r\n");
    REQUIRE(reader.next() == Next::reply);
    CHECK(reader.reply().text.empty());
    REQUIRE(reader.reply().elements.size() == 4);
    const std::vector<Reply>& elements = reader.reply().elements;
    CHECK(elements[0].kind == Reply::Kind::nil);
    CHECK(elements[0].text.empty());
    CHECK(elements[1].kind == Reply::Kind::array);
    CHECK(elements[1].elements.empty());
    CHECK(elements[1].integer == 0);
    CHECK(elements[2].text == "hi");
    CHECK(elements[2].elements.empty());
    CHECK(elements[3].is_integer(1));
    CHECK(elements[3].text.empty());

    feed(reader, "*1\r\n$-1\r\n-ERR no\r\n");
    REQUIRE(reader.next() == Next::reply);
    REQUIRE(reader.reply().elements.size() == 1);
    CHECK(reader.reply().elements[0].text.empty());
    REQUIRE(reader.next() == Next::reply);
    CHECK(reader.reply().is_error("ERR no"));
    CHECK(reader.reply().elements.empty());
}

TEST_CASE("answers may arrive in any pieces", "[redis][reply]") {
    const std::string stream = "*2\r\n$5\r\nhello\r\n:7\r\n+fine\r\n";
    ReplyReader reader;
    int answers = 0;
    for (const char byte : stream) {
        feed(reader, std::string(1, byte));
        while (reader.next() == Next::reply) ++answers;
    }
    CHECK(answers == 2);
    CHECK(reader.reply().is_status("fine"));
}

TEST_CASE("an array that claims more than we ever ask for is refused before anything is allocated",
          "[redis][reply]") {
    for (const char* lie : {"*2147483647\r\n", "*65\r\n", "*1\r\n*1000000\r\n", "*-5\r\n"}) {
        ReplyReader reader;
        feed(reader, lie);
        INFO(lie);
        CHECK(reader.next() == Next::broken);
        CHECK(reader.next() == Next::broken);
    }
}

TEST_CASE("a bulk string that claims terabytes waits for them without allocating", "[redis][reply]") {
    ReplyReader reader;
    feed(reader, "$9999999999999\r\nabc");
    CHECK(reader.next() != Next::reply);
    CHECK(reader.unparsed() < 100);
}

TEST_CASE("any bytes give answers or an end, never a crash", "[redis][reply][fuzz]") {
    std::mt19937 random(12345);
    const std::string alphabet = "+-:$*\r\n0123456789abc%~|#,_(>=!";
    for (int round = 0; round < 20000; ++round) {
        ReplyReader reader;
        std::string bytes;
        for (auto i = random() % 60; i > 0; --i) {
            const bool line = random() % 6 == 0;
            bytes += line ? std::string("\r\n") : std::string(1, alphabet[random() % alphabet.size()]);
        }
        feed(reader, bytes);
        int answers = 0;
        while (reader.next() == Next::reply && answers < 100) ++answers;
        REQUIRE(answers < 100);
    }
}

TEST_CASE("long arrays have to be expected, and are short inside all the same", "[redis][reply]") {
    ReplyReader reader;
    reader.expect_arrays_of(1000, 64);
    std::string thousand = "*1000\r\n";
    for (int i = 0; i < 1000; ++i) thousand += "*1\r\n:1\r\n";
    feed(reader, thousand + "*1001\r\n");
    REQUIRE(reader.next() == Next::reply);
    CHECK(reader.reply().elements.size() == 1000);
    CHECK(reader.next() == Next::broken);
    ReplyReader nested;
    nested.expect_arrays_of(1000, 64);
    feed(nested, "*1\r\n*65\r\n");
    CHECK(nested.next() == Next::broken);
    // Nor are many short ones a way around that.
    ReplyReader many;
    std::string lie = "*64\r\n";
    for (int i = 0; i < 64; ++i) {
        lie += "*64\r\n";
        for (int j = 0; j < 64; ++j) {
            lie += "*64\r\n";
            for (int k = 0; k < 64; ++k) {
                lie += "*64\r\n";
                for (int l = 0; l < 64; ++l) lie += "$-1\r\n";
            }
        }
    }
    feed(many, lie);
    CHECK(many.next() == Next::broken);
}

}  // namespace reply_test
