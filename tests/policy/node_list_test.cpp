#include <smartcache/policy/node_list.hpp>

#include <deque>
#include <random>
#include <vector>

#include "support/catch.hpp"

namespace policy = smartcache::policy;

namespace {
std::vector<const policy::Node*> forwards(const policy::NodeList& list) {
    std::vector<const policy::Node*> nodes;
    for (const policy::Node* node = list.front(); node != nullptr; node = list.older(*node))
        nodes.push_back(node);
    return nodes;
}
std::vector<const policy::Node*> backwards(const policy::NodeList& list) {
    std::vector<const policy::Node*> nodes;
    for (const policy::Node* node = list.back(); node != nullptr; node = list.newer(*node))
        nodes.insert(nodes.begin(), node);
    return nodes;
}
}  // namespace

TEST_CASE("a list agrees with a deque under random pushes, erases, moves and replacements",
          "[policy][list]") {
    std::mt19937 random(7);
    policy::NodeLinks links;
    links.reserve(40);
    policy::NodeList list{3, links};
    policy::NodeList other_list{4, links};
    std::deque<const policy::Node*> expected;
    std::vector<policy::Node> nodes(40);
    for (std::size_t i = 0; i < nodes.size(); ++i) nodes[i].weight = static_cast<std::uint32_t>(i);
    for (int step = 0; step < 40000; ++step) {
        policy::Node& node = nodes[random() % nodes.size()];
        if (node.queue == 0) {
            if (random() % 2 == 0) {
                list.push_front(node);
            } else {
                other_list.push_front(node);
                other_list.move_to(list, node);
            }
            expected.push_front(&node);
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
        if (random() % 8 != 0) continue;  // several changes between two looks
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

TEST_CASE("however many nodes are replaced before anybody looks, the last one of each link is found",
          "[policy][list]") {
    policy::NodeLinks links;
    links.reserve(8);
    policy::NodeList list{1, links};
    std::vector<policy::Node> nodes(108);
    std::vector<policy::Node*> present;
    for (std::size_t i = 0; i < 8; ++i) {
        list.push_front(nodes[i]);
        present.push_back(&nodes[i]);
    }
    for (std::size_t i = 8; i < nodes.size(); ++i) {
        const std::size_t which = (i * i) % 5;  // some links again and again
        list.replace(*present[which], nodes[i]);
        present[which] = &nodes[i];
        // The one that went may be freed and used for something else at once.
        if (i % 13 == 0)
            for (const policy::Node* each : present) REQUIRE(links.holder(each->link) == each);
    }
    CHECK(list.size() == 8);
    for (policy::Node* each : present) {
        CHECK(links.holder(each->link) == each);
        const std::uint32_t number = each->link;
        list.erase(*each);
        CHECK(links.holder(number) == nullptr);
    }
}

TEST_CASE("a node that leaves right after it has replaced another one holds no link", "[policy][list]") {
    policy::NodeLinks links;
    links.reserve(1);
    policy::NodeList list{1, links};
    policy::Node old;
    policy::Node fresh;
    list.push_front(old);
    const std::uint32_t number = old.link;
    list.replace(old, fresh);
    list.erase(fresh);
    CHECK(links.holder(number) == nullptr);
}

TEST_CASE("a node knows the list it is in, and none after it left", "[policy][list]") {
    policy::NodeLinks links;
    links.reserve(1);
    policy::NodeList one{1, links};
    policy::NodeList two{2, links};
    policy::Node node;
    one.push_front(node);
    CHECK(one.contains(node));
    CHECK_FALSE(two.contains(node));
    one.move_to(two, node);
    CHECK_FALSE(one.contains(node));
    CHECK(two.contains(node));
    CHECK(one.empty());
    two.erase(node);
    CHECK(int{node.queue} == 0);
    CHECK(two.empty());
}

TEST_CASE("links are used again, stay where they are, and are given back on request", "[policy][list]") {
    policy::NodeLinks links;
    CHECK(links.memory_bytes() == 0);
    policy::NodeList list{1, links};
    std::vector<policy::Node> nodes(3000);
    std::size_t most = 0;
    for (int round = 0; round < 3; ++round) {
        for (policy::Node& node : nodes) {
            links.reserve(list.size() + 1);
            list.push_front(node);
        }
        if (most == 0) most = links.memory_bytes();
        CHECK(links.memory_bytes() == most);
        CHECK(most >= nodes.size() * sizeof(policy::NodeLinks::Link));
        CHECK(most <= nodes.size() * 20);
        for (std::size_t i = 0; i < nodes.size(); i += 2) list.erase(nodes[i]);
        for (std::size_t i = 0; i < nodes.size(); i += 2) list.push_front(nodes[i]);
        CHECK(links.memory_bytes() == most);
        CHECK(list.back() == &nodes[1]);
        links.trim();
        CHECK(links.memory_bytes() == most);
        for (policy::Node& node : nodes) list.erase(node);
        CHECK(links.memory_bytes() == most);
        links.trim();
        CHECK(links.memory_bytes() < most / 4);
    }
}
