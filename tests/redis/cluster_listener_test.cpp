#include <smartcache/redis/cluster_listener.hpp>

#include <string>

#include "support/catch.hpp"

namespace cluster_listener_test {

using smartcache::detail::RecentMessages;

TEST_CASE("a message is new once, for as long as its other ways take", "[redis][cluster][r16]") {
    RecentMessages recent;
    CHECK(recent.add("first"));
    CHECK_FALSE(recent.add("first"));
    CHECK(recent.add(""));
    CHECK_FALSE(recent.add(""));
    for (int i = 0; i < 4000; ++i) CHECK(recent.add(std::to_string(i)));
    CHECK_FALSE(recent.add("first"));
    for (int i = 4000; i < 9000; ++i) CHECK(recent.add(std::to_string(i)));
    CHECK(recent.add("first"));  // forgotten, which costs nothing but a miss
    CHECK_FALSE(recent.add("8999"));
}

}  // namespace cluster_listener_test
