#include <smartcache/http/headers.hpp>

#include <string>
#include <utility>
#include <vector>

#include <smartcache/http/message.hpp>

#include "support/catch.hpp"

namespace headers_test {

using namespace smartcache::http;

TEST_CASE("names compare without regard to case, order and repeats are kept", "[http][headers]") {
    Headers h{{"Content-Type", "text/plain"}, {"Set-Cookie", "a=1"}, {"X", ""}};
    h.add("set-cookie", "b=2");
    CHECK(h.get("CONTENT-TYPE") == "text/plain");
    CHECK(h.get_all("Set-Cookie") == std::vector<std::string_view>{"a=1", "b=2"});
    CHECK(h.get("X") == "");
    CHECK_FALSE(h.get("Y"));
    CHECK(h.value("Y", "none") == "none");
    CHECK(h.count("SET-COOKIE") == 2);

    std::vector<std::string> names;
    for (const auto [name, value] : h) names.emplace_back(name);
    CHECK(names == std::vector<std::string>{"Content-Type", "Set-Cookie", "X", "set-cookie"});
}

TEST_CASE("RFC 9110 section 5.3: lines of one name combine into one list", "[http][headers]") {
    const Headers h{{"Vary", "Accept"}, {"Other", "x"}, {"vary", "Origin, Cookie"}};
    CHECK(h.combined("Vary") == "Accept, Origin, Cookie");
    CHECK(h.combined("None").empty());
    std::vector<std::string> members;
    h.for_each_member("Vary", [&](std::string_view m) { members.emplace_back(m); });
    CHECK(members == std::vector<std::string>{"Accept", "Origin", "Cookie"});
}

TEST_CASE("set replaces in the place of the first, remove takes all", "[http][headers]") {
    Headers h{{"A", "1"}, {"B", "2"}, {"a", "3"}, {"C", "4"}};
    CHECK(h.set("A", "9"));
    CHECK(h.wire() == "A: 9\r\nB: 2\r\nC: 4\r\n");
    CHECK(h.set("D", "5"));
    CHECK(h.wire() == "A: 9\r\nB: 2\r\nC: 4\r\nD: 5\r\n");
    CHECK(h.remove("b") == 1);
    CHECK(h.remove("b") == 0);
    CHECK(h.wire() == "A: 9\r\nC: 4\r\nD: 5\r\n");
}

TEST_CASE("views of the headers themselves may be given back to them", "[http][headers]") {
    Headers h{{"A", "a value long enough not to be kept in place by any string"}};
    for (int i = 0; i < 50; ++i) h.add("B", *h.get("A"));
    CHECK(h.get_all("B").back() == h.get("A"));
    h.set("A", *h.get("B"));
    CHECK(h.get("A") == "a value long enough not to be kept in place by any string");
    const auto name = (*h.begin()).name;
    CHECK(h.remove(name) == 1);
    Headers repeated{{"A-Name-Long-Enough-Not-To-Be-Kept-In-Place", "1"}};
    for (int i = 0; i < 50; ++i) REQUIRE(repeated.add((*repeated.begin()).name, "2"));
    CHECK(repeated.count("A-Name-Long-Enough-Not-To-Be-Kept-In-Place") == 51);
}

TEST_CASE("nothing that could split a message gets in (RFC 9110 section 5.5)", "[http][headers]") {
    Headers h;
    CHECK(h.add("X", std::string("a\r\nSet-Cookie: stolen=1\0b", 25)));
    CHECK(h.get("X") == "a  Set-Cookie: stolen=1 b");
    for (const char* name : {"", "A B", "A:", "A\r\n", "\xC3\xA4"}) CHECK_FALSE(h.add(name, "v"));
    CHECK_FALSE(h.set("bad name", "v"));
    CHECK(h.size() == 1);
    CHECK(h.add("Trimmed", " \t v \t"));
    CHECK(h.get("Trimmed") == "v");
}

TEST_CASE("the wire form reads back, and so does anything else, without what is no field",
          "[http][headers]") {
    const Headers h{{"A", "1"}, {"B", ""}, {"A", "2, 3"}};
    const Headers back = Headers::from_wire(h.wire());
    CHECK(back.wire() == h.wire());
    CHECK(back.get_all("A") == h.get_all("A"));

    const std::pair<const char*, const char*> cases[] = {
        {"A:1\r\n", "A: 1\r\n"},
        {"A: 1", "A: 1\r\n"},
        {"A :1\r\nB: 2\r\n", "B: 2\r\n"},
        {"no colon\r\nB: 2\r\n", "B: 2\r\n"},
        {"A: 1\nB: 2\r\n", "A: 1 B: 2\r\n"},
        {"A: 1\rx\r\n", "A: 1 x\r\n"},
        {"A:  spaced  \r\n", "A: spaced\r\n"},
        {"\r\n\r\n", ""},
        {":\r\n", ""},
        {"\r", ""},
    };
    for (const auto& [block, wire] : cases) {
        CAPTURE(block);
        CHECK(Headers::from_wire(block).wire() == wire);
    }
}

TEST_CASE("a block in wire form replaces what was there, any other leaves nothing", "[http][headers]") {
    const std::string_view wire =
        "A: 1\r\nEmpty: \r\nLong-Name: a value of more than eight bytes\tand a tab\r\n";
    Headers h{{"Before", "this"}};
    CHECK(h.assign_wire(wire));
    CHECK(h.wire() == wire);
    CHECK(h.size() == 3);
    CHECK(h.get("Empty") == "");
    CHECK(h.get("long-name") == "a value of more than eight bytes\tand a tab");
    CHECK(h.assign_wire(""));
    CHECK(h.empty());
    for (const std::string_view other :
         {"A:1\r\n", "A:  1\r\n", "A: 1 \r\n", "A:  \r\n", "A: 1\n", "A: 1\r", "A: 1", "A: ", "A:", "A",
          ": 1\r\n", "A : 1\r\n", "A: 1\r\n\r\n", "A: 1\r\nB\r\n", " A: 1\r\n", "A: 1\nB: 2\r\n",
          "A: 1\rB: 2\r\n", "\r\n"}) {
        h.add("Before", "this");
        CHECK_FALSE(h.assign_wire(other));
        CHECK(h.empty());
        CHECK(h.wire().empty());
    }
}

TEST_CASE("CR, LF and NUL are found wherever they are, and no other byte is taken for one",
          "[http][headers]") {
    for (const std::size_t size : {1U, 7U, 8U, 9U, 17U}) {
        for (int byte = 0; byte < 256; ++byte) {
            const char c = static_cast<char>(byte);
            const bool breaks = c == '\r' || c == '\n' || c == '\0';
            for (std::size_t at = 0; at < size; ++at) {
                // Its neighbours are the bytes that a sum could carry from or to.
                for (const char around : {'x', '\x01', '\x0e', '\x7f', '\x80', '\xff'}) {
                    std::string text(size, around);
                    text[at] = c;
                    REQUIRE(detail::find_break(text, 0) == (breaks ? at : size));
                    Headers h;
                    REQUIRE(h.add("A", "<" + text + ">"));
                    if (breaks) text[at] = ' ';
                    REQUIRE(h.wire() == "A: <" + text + ">\r\n");
                }
            }
        }
    }
    CHECK(detail::find_break("a\rb\rc", 2) == 3);
    CHECK(detail::find_break("abc", 5) == 3);
}

TEST_CASE("a body owns its bytes or shares those of an owner", "[http][body]") {
    Body body = "hello";
    CHECK(body == "hello");
    CHECK(body == std::string("hello"));
    const Body copy = body;
    CHECK(copy.view().data() == body.view().data());
    body = std::string("other");
    CHECK(copy == "hello");
    CHECK_FALSE(body == copy);

    auto owner = std::make_shared<const std::string>("0123456789");
    const std::weak_ptr<const std::string> watch = owner;
    Body part = Body::pinned(owner, *owner).slice(2, 3);
    owner.reset();
    CHECK(part == "234");
    CHECK(part.slice(2, 99) == "4");
    CHECK(part.slice(3, 1).empty());
    CHECK_FALSE(watch.expired());
    part = Body();
    CHECK(watch.expired());
}

}  // namespace headers_test
