#include <smartcache/http/detail/middleware_tag_fences.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/fork.hpp"

namespace tag_fences_test {

using smartcache::http::detail::TagFences;

TEST_CASE("what was seen before a purge ended is fenced out, what comes later is not", "[http][tags]") {
    TagFences fences;
    const auto nothing = [] {};
    const std::uint64_t before = fences.now();
    std::uint64_t during = 0;
    fences.purge(
        "a",
        [&] {
            CHECK(fences.purged({"b", "a"}, fences.now()));
        },
        [&] {
            during = fences.now();
            CHECK(fences.purged({"a"}, during));
            CHECK_FALSE(fences.purged({"b"}, before));
        });
    CHECK(fences.purged({"a"}, before));
    CHECK(fences.purged({"b", "a"}, during));
    CHECK_FALSE(fences.purged({"a"}, fences.now()));
    CHECK_FALSE(fences.purged({"b"}, before));
    CHECK_FALSE(fences.purged({}, before));
    const std::uint64_t after = fences.now();
    fences.purge("b", nothing, nothing);
    CHECK_FALSE(fences.purged({"a"}, after));
    fences.purge("a", nothing, nothing);
    CHECK(fences.purged({"a"}, after));
    CHECK_THROWS(fences.purge("c", nothing, [] { throw 1; }));
    CHECK_FALSE(fences.purged({"c"}, fences.now()));
}

TEST_CASE("looking tags up remembers none of them", "[http][tags]") {
    TagFences fences;
    for (int i = 0; i < 100; ++i) CHECK_FALSE(fences.purged({"tag " + std::to_string(i)}, fences.now()));
    CHECK(fences.size() == 0);
}

TEST_CASE("purges of tags that nobody has take a bounded place, and the last are told apart",
          "[http][tags]") {
    TagFences fences;
    const auto nothing = [] {};
    const std::uint64_t before = fences.now();
    const auto purge = [&](int first, int last) {
        for (int i = first; i < last; ++i) fences.purge("tag " + std::to_string(i), nothing, nothing);
    };
    purge(0, 20000);
    const std::uint64_t lately = fences.now();
    purge(20000, 22000);
    CHECK(fences.size() <= TagFences::max_remembered);
    CHECK(fences.purged({"any"}, before));  // nobody knows any more
    CHECK_FALSE(fences.purged({"any", "tag 19999"}, lately));
    CHECK(fences.purged({"tag 20000"}, lately));
    CHECK(fences.purged({"tag 21999"}, lately));
}

TEST_CASE("what another thread was purging has been purged, as far as a child knows",
          "[http][tags][fork][R33]") {
    TagFences fences;
    fences.purge(
        "a", [] {},
        [&] {  // as if by another thread: the child does not get to the end of it
            CHECK(smartcache_test::in_child([&] {
                const std::uint64_t before = fences.now();
                const bool purged = fences.purged({"a"}, before);
                fences.purge(
                    "b", [] {}, [] {});
                return purged && !fences.purged({"a"}, fences.now());
            }));
            CHECK(fences.purged({"a"}, fences.now()));
        });
    CHECK_FALSE(fences.purged({"a"}, fences.now()));
}

}  // namespace tag_fences_test
