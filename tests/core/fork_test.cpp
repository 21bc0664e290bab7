#include <smartcache/core/fork.hpp>

#include <atomic>
#include <memory>
#include <thread>

#include <smartcache/core/executor.hpp>

#include "support/catch.hpp"
#include "support/fork.hpp"

namespace sc = smartcache;
using smartcache_test::in_child;

TEST_CASE("a mark tells the process in which it was made from its children", "[core][fork][R33]") {
    const sc::detail::ProcessMark mark;
    CHECK_FALSE(mark.forked());
    CHECK(in_child([&] {
        const sc::detail::ProcessMark own;
        return mark.forked() && !own.forked() && in_child([&] { return mark.forked() && own.forked(); });
    }));
    CHECK_FALSE(mark.forked());
}

TEST_CASE("what belongs to a process is destroyed there and left alone in its children",
          "[core][fork][R33]") {
    struct Flag {
        explicit Flag(bool& at) : gone(at) {}
        ~Flag() { gone = true; }
        bool& gone;
    };
    bool gone = false;
    auto owned = std::make_unique<sc::detail::ProcessOwned<Flag>>(gone);
    CHECK(in_child([&] {
        owned.reset();
        return !gone;
    }));
    owned.reset();
    CHECK(gone);
}

TEST_CASE("a thread pool takes no tasks in a child, and does not hang there", "[core][fork][R33]") {
    auto pool = std::make_unique<sc::ThreadPool>(2);
    CHECK(in_child([&] {
        const bool taken = pool->submit([] {});
        pool.reset();
        return !taken;
    }));
    std::atomic<bool> ran{false};
    REQUIRE(pool->submit([&] { ran = true; }));
    while (!ran) std::this_thread::yield();
}
