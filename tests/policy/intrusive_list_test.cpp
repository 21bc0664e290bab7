#include <smartcache/policy/intrusive_list.hpp>

#include <deque>
#include <random>
#include <vector>

#include "support/catch.hpp"

namespace policy = smartcache::policy;

namespace {
std::vector<const policy::Node*> forwards(const policy::IntrusiveList& list) {
    std::vector<const policy::Node*> nodes;
    for (const policy::Node* node = list.front(); node != nullptr; node = node->next) nodes.push_back(node);
    return nodes;
}
std::vector<const policy::Node*> backwards(const policy::IntrusiveList& list) {
    std::vector<const policy::Node*> nodes;
    for (const policy::Node* node = list.back(); node != nullptr; node = node->prev)
        nodes.insert(nodes.begin(), node);
    return nodes;
}
}  // namespace

TEST_CASE("a list agrees with a deque under random pushes, erases, moves and replacements",
          "[policy][list]") {
    std::mt19937 random(7);
    policy::IntrusiveList list{3};
    std::deque<const policy::Node*> expected;
    std::vector<policy::Node> nodes(40);
    for (std::size_t i = 0; i < nodes.size(); ++i) nodes[i].weight = static_cast<std::uint32_t>(i);
    for (int step = 0; step < 5000; ++step) {
        policy::Node& node = nodes[random() % nodes.size()];
        if (node.queue == 0) {
            if (random() % 2 == 0) {
                list.push_front(node);
                expected.push_front(&node);
            } else {
                list.push_back(node);
                expected.push_back(&node);
            }
        } else {
            const auto at = std::find(expected.begin(), expected.end(), &node);
            switch (random() % 3) {
                case 0:
                    list.erase(node);
                    expected.erase(at);
                    break;
                case 1:
                    list.move_to_front(node);
                    expected.erase(at);
                    expected.push_front(&node);
                    break;
                default:
                    for (policy::Node& other : nodes) {
                        if (other.queue != 0) continue;
                        list.replace(node, other);
                        *at = &other;
                        break;
                    }
            }
        }
        const std::vector<const policy::Node*> order(expected.begin(), expected.end());
        std::uint64_t weight = 0;
        for (const policy::Node* entry : order) weight += entry->weight;
        REQUIRE(forwards(list) == order);
        REQUIRE(backwards(list) == order);
        REQUIRE(list.size() == order.size());
        REQUIRE(list.weight() == weight);
        REQUIRE(list.empty() == order.empty());
    }
}

TEST_CASE("a node knows the list it is in, and none after it left", "[policy][list]") {
    policy::IntrusiveList one{1};
    policy::IntrusiveList two{2};
    policy::Node node;
    one.push_front(node);
    CHECK(one.contains(node));
    CHECK_FALSE(two.contains(node));
    one.erase(node);
    two.push_back(node);
    CHECK(two.contains(node));
    two.erase(node);
    CHECK(int{node.queue} == 0);
    CHECK(node.prev == nullptr);
    CHECK(node.next == nullptr);
}
