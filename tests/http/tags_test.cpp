#include <smartcache/http/semantics/tags.hpp>

#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace smartcache::http;

namespace tags_test {

using Texts = std::vector<std::string>;

Texts tags(const Headers& headers, const Texts& fields = {"Cache-Tag", "Surrogate-Key", "xkey"}) {
    Texts found;
    for_each_tag(headers, fields, [&](std::string_view tag) { found.emplace_back(tag); });
    return found;
}

Texts path_tags(std::string path, std::size_t depth) {
    Texts found;
    const Url url{"https", "A.example:443", std::move(path), ""};
    for_each_path_tag(url, depth, [&](std::string_view tag) {
        const std::string root = path_tag({"https", "a.example", "/", ""});
        CHECK(tag.starts_with(root));
        found.emplace_back(tag.substr(root.size()));
    });
    return found;
}

TEST_CASE("tags are separated as the field's own caches separate them", "[http][tags]") {
    CHECK(tags({{"Cache-Tag", "a,b , c d,,\t"}}) == Texts{"a", "b", "c d"});
    CHECK(tags({{"Surrogate-Key", "a  b,c\td "}}) == Texts{"a", "b,c", "d"});
    CHECK(tags({{"xkey", "a, b c,d"}}) == Texts{"a", "b", "c", "d"});
    CHECK(tags({{"X-Tags", "a b,c"}}, {"x-tags"}) == Texts{"a b", "c"});
}

TEST_CASE("tags of every line of a field count, quotes and case are part of them", "[http][tags]") {
    CHECK(tags({{"cache-tag", "a"}, {"X", "x"}, {"CACHE-TAG", "\"b,A\""}}) == Texts{"a", "\"b", "A\""});
    CHECK(tags({{"Cache-Tag", " , "}, {"xkey", ""}}).empty());
    CHECK(tags({{"Cache-Tag", "a"}}, {}).empty());
}

TEST_CASE("a path lies below each of its folders, up to the depth that is asked for", "[http][tags]") {
    CHECK(path_tags("/a/b/c", 0) == Texts{""});
    CHECK(path_tags("/a/b/c", 2) == Texts{"", "/a", "/a/b"});
    CHECK(path_tags("/a/b/c", 9) == Texts{"", "/a", "/a/b", "/a/b/c"});
    CHECK(path_tags("/", 9) == Texts{""});
    CHECK(path_tags("/a/", 9) == Texts{"", "/a"});
}

TEST_CASE("all spellings of a path that an origin may take for one have its tags", "[http][tags]") {
    for (const char* spelling : {"/a/b", "//a///b/", "/a/x/../b", "/%61/b", "/a%2Fb", "/a/./b"}) {
        INFO(spelling);
        CHECK(path_tags(spelling, 9) == Texts{"", "/a", "/a/b"});
        CHECK(path_tag({"https", "h", spelling, "q"}) == path_tag({"HTTPS", "H:443", "/a/b/", ""}));
    }
    CHECK(path_tag({"https", "h", "/a/b", ""}) != path_tag({"https", "h", "/a/bc", ""}));
    CHECK(path_tag({"https", "h", "/a", ""}) != path_tag({"http", "h", "/a", ""}));
    CHECK(path_tag({"https", "h", "/a", ""}) != path_tag({"https", "g", "/a", ""}));
}

TEST_CASE("no field can name the tag of a path", "[http][tags]") {
    const std::string tag = path_tag({"http", "h", "/a", ""});
    for (const char* field : {"Cache-Tag", "Surrogate-Key", "xkey"})
        for (const std::string& found : tags({{field, tag}})) CHECK(found != tag);
}

}  // namespace tags_test
