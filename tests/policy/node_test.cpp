#include <smartcache/policy/node.hpp>

#include "support/catch.hpp"

namespace policy = smartcache::policy;

static_assert(sizeof(policy::Node) <= 24, "every entry of L1 carries one");

TEST_CASE("marks count hits and saturate at three", "[policy]") {
    policy::Node node;
    for (int expected : {1, 2, 3, 3, 3}) {
        policy::mark_hit(node);
        CHECK(int{node.mark.load()} == expected);
    }
}
