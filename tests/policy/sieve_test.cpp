#include <smartcache/policy/sieve.hpp>

#include <list>

#include "model_cache.hpp"
#include "support/catch.hpp"

using namespace policy_test;

namespace {
/// Algorithm 1 of the paper, letter by letter.
class PaperSieve {
  public:
    explicit PaperSieve(std::size_t capacity) : capacity_(capacity) {}

    bool request(std::uint64_t key) {
        const auto found =
            std::find_if(queue_.begin(), queue_.end(), [key](const Item& x) { return x.key == key; });
        if (found != queue_.end()) {
            found->visited = true;
            return true;
        }
        if (queue_.size() == capacity_) evict();
        queue_.push_front({key, false});
        return false;
    }

  private:
    struct Item {
        std::uint64_t key;
        bool visited;
    };
    void evict() {
        auto at = hand_ == queue_.end() ? std::prev(queue_.end()) : hand_;
        while (at->visited) {
            at->visited = false;
            at = at == queue_.begin() ? std::prev(queue_.end()) : std::prev(at);
        }
        hand_ = at == queue_.begin() ? queue_.end() : std::prev(at);
        queue_.erase(at);
    }
    std::size_t capacity_;
    std::list<Item> queue_;
    std::list<Item>::iterator hand_ = queue_.end();
};
}  // namespace

TEST_CASE("sieve hits and misses exactly as the paper's algorithm", "[policy][sieve]") {
    for (const std::size_t capacity : {1U, 2U, 3U, 40U}) {
        CAPTURE(capacity);
        ModelCache cache(EvictionPolicy::sieve, capacity);
        PaperSieve paper(capacity);
        Zipf keys(200, 0.9, 5);
        for (int i = 0; i < 20'000; ++i) {
            const std::uint64_t key = keys();
            REQUIRE(cache.request(key) == paper.request(key));
        }
    }
}

TEST_CASE("sieve keeps what was visited in place and goes on from where its hand stopped",
          "[policy][sieve]") {
    ModelCache cache(EvictionPolicy::sieve, 7);
    for (std::uint64_t key = 1; key <= 7; ++key) cache.put(key);
    for (std::uint64_t key : {1U, 2U, 7U}) cache.get(key);
    cache.put(8);  // the hand passes 1 and 2, takes 3
    cache.get(4);
    cache.put(9);   // passes 4, takes 5
    cache.put(10);  // takes 6
    cache.put(11);  // passes 7, takes 8
    CHECK(cache.evicted() == std::vector<std::uint64_t>{3, 5, 6, 8});
    CHECK(cache.contains(1));
}

TEST_CASE("sieve needs no reported hits", "[policy][sieve]") {
    ModelCache told(EvictionPolicy::sieve, 50);
    ModelCache untold(EvictionPolicy::sieve, 50);
    untold.report_hits(false);
    Zipf keys(300, 0.9, 3);
    for (int i = 0; i < 5000; ++i) {
        const std::uint64_t key = keys();
        REQUIRE(told.request(key) == untold.request(key));
    }
}
