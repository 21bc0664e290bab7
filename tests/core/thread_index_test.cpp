#include <smartcache/core/thread_index.hpp>

#include <atomic>
#include <latch>
#include <set>
#include <thread>
#include <vector>

#include "support/catch.hpp"

using smartcache::detail::exclusive_threads;
using smartcache::detail::thread_index;

TEST_CASE("threads that live at once have different numbers, and the last one is shared", "[core][thread]") {
    constexpr std::size_t count = exclusive_threads + 8;
    std::vector<std::size_t> indexes(count);
    std::latch all_there(count);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < count; ++i)
        threads.emplace_back([&, i] {
            indexes[i] = thread_index();
            all_there.arrive_and_wait();  // nobody ends before everybody has a number
        });
    for (std::thread& thread : threads) thread.join();
    std::multiset<std::size_t> seen(indexes.begin(), indexes.end());
    for (std::size_t i = 0; i < exclusive_threads; ++i) CHECK(seen.count(i) <= 1);
    CHECK(seen.count(exclusive_threads) >= 8);
    CHECK(*seen.rbegin() == exclusive_threads);
}

TEST_CASE("a number is kept while the thread lives and given to another one afterwards", "[core][thread]") {
    std::set<std::size_t> seen;
    for (int i = 0; i < 200; ++i)
        std::thread([&seen] {
            const std::size_t mine = thread_index();
            if (thread_index() == mine) seen.insert(mine);
        }).join();
    CHECK(seen.size() == 1);
    CHECK(*seen.begin() < exclusive_threads);
}

// A thread-local object that outlives the holder of the number used to read a destroyed object.
TEST_CASE("a thread that is ending still has a number, the shared one", "[core][thread]") {
    static std::atomic<std::size_t> late;
    late = 0;
    std::thread([] {
        struct Late {
            ~Late() { late = thread_index(); }
        };
        thread_local const Late object;  // constructed before the number is taken, destroyed after it is back
        (void)&object;
        (void)thread_index();
    }).join();
    CHECK(late == exclusive_threads);
}
