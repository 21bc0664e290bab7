#include <smartcache/policy/modal_queues.hpp>

#include <memory>
#include <set>

#include "model_cache.hpp"
#include "support/catch.hpp"

namespace policy = smartcache::policy;
using policy::Mode;
using policy_test::hash_of;

namespace {
/// Keys 0..n-1, fixed mode.
class Bed {
  public:
    Bed(std::uint64_t capacity, Mode mode, std::size_t keys)
        : capacity_(capacity), queues_(capacity, mode, links_), nodes_(keys) {
        links_.reserve(keys);
        for (std::size_t i = 0; i < keys; ++i) nodes_[i].hash = hash_of(i);
    }
    bool request(std::size_t key, std::uint32_t weight = 1) {
        policy::Node& node = nodes_[key];
        if (node.queue != 0) {
            policy::mark_hit(node);
            return true;
        }
        node.weight = weight;
        queues_.prepare(node);
        node.mark.store(0);
        queues_.insert(node);
        while (queues_.weight() > capacity_) REQUIRE(queues_.evict() != nullptr);
        return false;
    }
    [[nodiscard]] bool contains(std::size_t key) const { return nodes_[key].queue != 0; }
    policy::ModalQueues& queues() { return queues_; }
    policy::Node& node(std::size_t key) { return nodes_[key]; }

  private:
    std::uint64_t capacity_;
    policy::NodeLinks links_;
    policy::ModalQueues queues_;
    std::vector<policy::Node> nodes_;
};

constexpr Mode ghost_late{.gate = Mode::Gate::ghost, .window = 0.2, .promote_at = 1, .late = true};
constexpr Mode ghost_twice{.gate = Mode::Gate::ghost, .window = 0.1, .promote_at = 2, .late = false};
constexpr Mode filter_small{.gate = Mode::Gate::filter, .window = 0.05};
}  // namespace

TEST_CASE("hits soon after the insert open no ghost gate that wants late ones", "[policy][modal]") {
    Bed bed(100, ghost_late, 2000);
    for (std::size_t key = 0; key < 100; ++key) bed.request(key);
    for (std::size_t key = 100; key < 300; ++key) bed.request(key);
    bed.request(500);  // hit at once, and then no more
    bed.request(500);
    for (std::size_t key = 1000; key < 1200; ++key) bed.request(key);
    CHECK_FALSE(bed.contains(500));
}

TEST_CASE("a hit in the older half of the window opens the gate", "[policy][modal]") {
    Bed bed(100, ghost_late, 2000);
    // The main queue fills from the ghosts, so that the window has its own size and no more.
    for (std::size_t key = 0; key < 150; ++key) bed.request(key);
    for (std::size_t key = 0; key < 80; ++key) bed.request(key);
    REQUIRE(bed.queues().window_weight() <= 60);
    const auto window = static_cast<std::size_t>(bed.queues().window_weight());
    bed.request(500);
    for (std::size_t key = 1000; key < 1000 + window - 2; ++key) bed.request(key);
    REQUIRE(bed.request(500));
    for (std::size_t key = 1200; key < 1200 + window + 5; ++key) bed.request(key);
    CHECK(bed.contains(500));
}

TEST_CASE("what comes back from the ghost goes to the main queue and survives newcomers", "[policy][modal]") {
    Bed bed(100, ghost_twice, 5000);
    for (std::size_t key = 0; key < 101; ++key) bed.request(key);
    REQUIRE_FALSE(bed.contains(0));
    bed.request(0);
    for (std::size_t key = 1000; key < 2000; ++key) bed.request(key);
    CHECK(bed.contains(0));
}

TEST_CASE("the filter refuses what is not asked for more often than main's victim", "[policy][modal]") {
    Bed bed(100, filter_small, 5000);
    for (int round = 0; round < 3; ++round) {
        for (std::size_t key = 0; key < 100; ++key) bed.request(key);
    }
    for (std::size_t key = 1000; key < 1500; ++key) bed.request(key);
    std::size_t kept = 0;
    for (std::size_t key = 0; key < 100; ++key) kept += bed.contains(key) ? 1U : 0U;
    CHECK(kept >= 90);
}

TEST_CASE("who is evicted next is known where nobody has hits", "[policy][modal]") {
    const Mode mode = GENERATE(ghost_late, filter_small);
    Bed bed(100, mode, 2000);
    for (std::size_t key = 0; key < 100; ++key) bed.request(key);
    std::size_t right = 0;
    for (std::size_t key = 100; key < 400; ++key) {
        const policy::Node* const next = bed.queues().next();
        REQUIRE(next != nullptr);
        bed.request(key);
        right += next->queue == 0 ? 1U : 0U;
    }
    CHECK(right >= 240);  // the sketch takes some for others
}

TEST_CASE("modes may change at any moment and no entry is lost", "[policy][modal]") {
    const Mode modes[] = {ghost_late, ghost_twice, filter_small, {.gate = Mode::Gate::filter, .window = 0.9}};
    Bed bed(64, modes[0], 400);
    policy_test::Zipf keys(400, 0.7, 3);
    std::mt19937 random(5);
    for (int i = 0; i < 20'000; ++i) {
        if (i % 97 == 0) bed.queues().set_mode(modes[random() % 4]);
        const std::size_t key = keys();
        if (random() % 20 == 0 && bed.contains(key)) {
            bed.queues().erase(bed.node(key));
        } else {
            bed.request(key);
        }
        std::size_t linked = 0;
        if (i % 50 == 0) {
            for (std::size_t k = 0; k < 400; ++k) linked += bed.contains(k) ? 1U : 0U;
            REQUIRE(bed.queues().size() == linked);
            REQUIRE(bed.queues().weight() == linked);
        }
    }
}

TEST_CASE("where weights matter, of equally popular entries the heavy ones leave", "[policy][modal]") {
    for (const std::uint8_t power : {std::uint8_t{2}, std::uint8_t{4}}) {
        CAPTURE(power);
        Bed bed(10'000, {.gate = Mode::Gate::filter, .window = 0.1, .power = power}, 5000);
        const auto weight = [](std::size_t key) { return key % 2 == 0 ? 10U : 190U; };
        std::mt19937 random(3);
        for (int i = 0; i < 50'000; ++i) {
            const std::size_t key = random() % 200;  // 20 000 of weight, the light half 1000
            bed.request(key, weight(key));
        }
        std::size_t light = 0;
        for (std::size_t key = 0; key < 200; key += 2) light += bed.contains(key) ? 1U : 0U;
        CHECK(light >= 90);
    }
}

TEST_CASE("where weights matter, frequency still outweighs a small difference of them", "[policy][modal]") {
    Bed bed(1000, {.gate = Mode::Gate::filter, .window = 0.1, .power = 2}, 5000);
    std::mt19937 random(3);
    for (int i = 0; i < 50'000; ++i) {
        const std::size_t hot = random() % 20;  // 400 of weight
        bed.request(hot, 20);
        bed.request(100 + random() % 4000, 10);
    }
    std::size_t kept = 0;
    for (std::size_t key = 0; key < 20; ++key) kept += bed.contains(key) ? 1U : 0U;
    CHECK(kept >= 19);
}

TEST_CASE("entries of little worth leave although they were looked at before", "[policy][modal]") {
    // Light ones that nobody asks for any more must not fill the end of the main queue for ever.
    Bed bed(1000, {.gate = Mode::Gate::filter, .window = 0.1, .power = 2}, 40'000);
    for (std::size_t key = 0; key < 900; ++key) bed.request(key, 1);
    std::mt19937 random(3);
    for (int i = 0; i < 100'000; ++i) bed.request(1000 + random() % 150, 10);
    std::size_t old = 0;
    for (std::size_t key = 0; key < 900; ++key) old += bed.contains(key) ? 1U : 0U;
    CHECK(old < 100);
}

TEST_CASE("what is worth much at the main queue's end gets out of the way of what is not",
          "[policy][modal]") {
    Bed bed(1000, {.gate = Mode::Gate::filter, .window = 0.1, .power = 2}, 2000);
    for (std::size_t key = 0; key < 20; ++key) {
        for (int i = 0; i < 10; ++i) bed.request(key, 10);
        // A hit counts when the mark is taken off: have the sketch know of all ten.
        bed.queues().erase(bed.node(key));
        for (int i = 0; i < 10; ++i) {
            bed.request(key, 10);
            if (i < 9) bed.queues().erase(bed.node(key));
        }
    }
    for (std::size_t key = 100; key < 180; ++key) bed.request(key, 10);  // asked for once
    for (int round = 0; round < 3; ++round) {
        for (std::size_t key = 1000; key < 1060; ++key) bed.request(key, 10);
    }
    std::size_t hot = 0;
    for (std::size_t key = 0; key < 20; ++key) hot += bed.contains(key) ? 1U : 0U;
    CHECK(hot >= 18);
    std::size_t newer = 0;
    for (std::size_t key = 1000; key < 1060; ++key) newer += bed.contains(key) ? 1U : 0U;
    CHECK(newer >= 40);
}

TEST_CASE("for bytes more of the heavy entries stay that are more popular than the light ones",
          "[policy][modal]") {
    // Light ones of 10 and heavy ones of 80, each of these some three times as popular; there is room for either.
    const auto heavy_kept = [](std::uint8_t power) {
        Bed bed(10'000, {.gate = Mode::Gate::filter, .window = 0.1, .power = power}, 2000);
        std::mt19937 random(11);
        for (int i = 0; i < 100'000; ++i) {
            const bool heavy = random() % 4 == 0;
            bed.request(heavy ? 1000 + random() % 120 : random() % 1000, heavy ? 80 : 10);
        }
        std::size_t kept = 0;
        for (std::size_t key = 1000; key < 1120; ++key) kept += bed.contains(key) ? 1U : 0U;
        return kept;
    };
    CHECK(heavy_kept(2) < 20);
    CHECK(heavy_kept(4) > 27);
}
