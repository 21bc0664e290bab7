#include <smartcache/core/mutex.hpp>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/fork.hpp"
#include "support/sanitizers.hpp"

namespace mutex_test {

using namespace std::chrono_literals;
using smartcache::detail::Condition;
using smartcache::detail::Mutex;
using smartcache::detail::ProcessMutex;
using smartcache_test::in_child;

namespace {

/// What many threads make of a number under a lock.
template <class Lock>
int count_under(Lock& lock) {
    constexpr int each = 20'000;
    int number = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            for (int turn = 0; turn < each; ++turn) {
                if (turn % 3 == 0) {
                    const std::unique_lock tried(lock, std::try_to_lock);
                    if (tried) {
                        ++number;
                        continue;
                    }
                }
                const std::lock_guard held(lock);
                ++number;
            }
        });
    for (std::thread& thread : threads) thread.join();
    return number - 4 * each;
}

}  // namespace

TEST_CASE("locks exclude", "[core][mutex]") {
    Mutex mutex;
    CHECK(count_under(mutex) == 0);
    ProcessMutex process_mutex;
    CHECK(count_under(process_mutex) == 0);
}

TEST_CASE("what is changed under a mutex is whole in a child, and the mutex is open there",
          "[core][mutex][fork][R33]") {
    if (smartcache_test::under_thread_sanitizer) return;
    constexpr int forks = smartcache_test::under_address_sanitizer ? 30 : 300;
    // More threads than there are numbers for: some share one.
    constexpr std::size_t count = smartcache::detail::exclusive_threads + 4;
    struct Pair {
        Mutex mutex;
        Mutex inner;
        std::atomic<int> a{0};
        std::atomic<int> b{0};
    };
    std::vector<Pair> pairs(count);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (Pair& pair : pairs)
        threads.emplace_back([&] {
            while (!stop) {
                const std::lock_guard lock(pair.mutex);
                ++pair.a;
                const std::lock_guard inner(pair.inner);
                ++pair.b;
            }
        });
    int ended_well = 0;
    while (ended_well < forks && in_child([&] {
               bool whole = true;
               for (Pair& pair : pairs) {
                   const std::lock_guard lock(pair.mutex);
                   const std::lock_guard inner(pair.inner);
                   whole = whole && pair.a == pair.b;
               }
               return whole && in_child([] { return true; });  // which waits for nobody of the first parent
           }))
        ++ended_well;
    stop = true;
    for (std::thread& thread : threads) thread.join();
    CHECK(ended_well == forks);
}

TEST_CASE("who holds a mutex may fork", "[core][mutex][fork][R33]") {
    if (smartcache_test::under_thread_sanitizer) return;  // it wants no threads in a child
    Mutex mutex;
    const std::lock_guard lock(mutex);
    CHECK(in_child([&] {
        Mutex another;
        const std::lock_guard own(another);
        bool free = true;
        std::thread other([&] { free = mutex.try_lock(); });
        other.join();
        return !free;
    }));
}

TEST_CASE("who holds a mutex may fork while others wait for it, or for a fork of their own",
          "[core][mutex][fork][R33]") {
    if (smartcache_test::under_thread_sanitizer) return;
    Mutex mutex;
    Mutex others;
    std::atomic<int> there{0};
    std::vector<std::thread> threads;
    bool forked_well = false;
    int ended_well = 0;
    {
        const std::lock_guard lock(mutex);
        threads.emplace_back([&] {
            const std::lock_guard inside(others);
            ++there;
            const std::lock_guard held_by_who_forks(mutex);
        });
        while (there != 1) std::this_thread::yield();  // before the other one closes the gate
        threads.emplace_back([&] {
            ++there;
            forked_well = in_child([] { return true; });
        });
        while (there != 2) std::this_thread::yield();
        for (int turn = 0; turn < 20; ++turn)
            if (in_child([] { return in_child([] { return true; }); })) ++ended_well;
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(ended_well == 20);
    CHECK(forked_well);
    CHECK(in_child([&] { return mutex.try_lock() && others.try_lock(); }));
}

TEST_CASE("two threads may fork at once", "[core][mutex][fork][R33]") {
    if (smartcache_test::under_thread_sanitizer) return;
    Mutex mutex;
    std::atomic<int> ended_well{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i)
        threads.emplace_back([&] {
            for (int turn = 0; turn < 50; ++turn) {
                { const std::lock_guard lock(mutex); }
                if (in_child([&] { return mutex.try_lock(); })) ++ended_well;
            }
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(ended_well == 100);
}

TEST_CASE(
    "who waits for a condition is told, in a child as well, where nobody waits who waited in the parent",
    "[core][mutex][fork][R33]") {
    Mutex mutex;
    Condition changed;
    bool told = false;
    int waiting = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i)
        threads.emplace_back([&] {
            std::unique_lock lock(mutex);
            ++waiting;
            while (!told) changed.wait(lock);
        });
    const auto tell = [&] {
        {
            const std::lock_guard lock(mutex);
            told = true;
        }
        changed.notify_all();
    };
    for (int seen = 0; seen < 3; std::this_thread::yield()) {
        const std::lock_guard lock(mutex);
        seen = waiting;
    }
    if (!smartcache_test::under_thread_sanitizer)
        CHECK(in_child([&] {
            changed.notify_one();
            changed.notify_all();
            std::thread own([&] {
                std::unique_lock lock(mutex);
                while (!told) changed.wait(lock);
            });
            tell();
            own.join();
            return true;
        }));
    tell();
    for (std::thread& thread : threads) thread.join();
    std::unique_lock lock(mutex);
    CHECK(changed.wait_until(lock, std::chrono::steady_clock::now() - 1s) == std::cv_status::timeout);
    const auto end = std::chrono::steady_clock::now() + 3ms;
    while (changed.wait_until(lock, end) != std::cv_status::timeout) {
    }
    CHECK(std::chrono::steady_clock::now() >= end);
}

TEST_CASE("a lock for order is open in a child, for one of its threads at a time",
          "[core][mutex][fork][R33]") {
    ProcessMutex mutex;
    const std::lock_guard held(mutex);
    CHECK_FALSE(mutex.try_lock());
    CHECK(in_child([&] { return smartcache_test::under_thread_sanitizer || count_under(mutex) == 0; }));
    CHECK_FALSE(mutex.try_lock());
}

}  // namespace mutex_test
