#include <atomic>
#include <chrono>
#include <exception>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include <smartcache/core/executor.hpp>

#include "support/catch.hpp"

namespace sc = smartcache;

namespace {

/// Keeps one thread of a pool busy until it is released.
struct Blocker {
    std::promise<void> started;
    std::promise<void> released;

    [[nodiscard]] bool occupy(sc::Executor& executor) {
        const bool accepted = executor.submit([this] {
            started.set_value();
            released.get_future().wait();
        });
        if (accepted) started.get_future().wait();
        return accepted;
    }
    void release() { released.set_value(); }
};

}  // namespace

TEST_CASE("the inline executor has run the task when submit returns", "[executor]") {
    sc::InlineExecutor executor;
    std::thread::id ran;
    CHECK(executor.submit([&ran] { ran = std::this_thread::get_id(); }));
    CHECK(ran == std::this_thread::get_id());
}

TEST_CASE("a deferred task runs when it is told to, and what it submits runs the next time", "[executor]") {
    sc::DeferredExecutor executor(2);
    std::vector<int> ran;
    REQUIRE(executor.submit([&] {
        ran.push_back(1);
        CHECK(executor.submit([&] { ran.push_back(3); }));
        throw std::runtime_error("lost");
    }));
    REQUIRE(executor.submit([&] { ran.push_back(2); }));
    CHECK_FALSE(executor.submit([&] { ran.push_back(-1); }));
    CHECK(ran.empty());
    CHECK(executor.run() == 2);
    CHECK(ran == std::vector{1, 2});
    CHECK(executor.run() == 1);
    CHECK(ran == std::vector{1, 2, 3});
    CHECK(executor.run() == 0);
}

TEST_CASE("a pool has as many threads as are needed at once, up to its bound", "[executor]") {
    // What its tasks use outlives the pool, which waits for them.
    std::promise<std::thread::id> first;
    std::promise<std::thread::id> queued;
    std::promise<void> started;
    Blocker blockers[3];
    sc::ThreadPool pool(3);
    REQUIRE(pool.submit([&] { first.set_value(std::this_thread::get_id()); }));
    const std::thread::id only = first.get_future().get();
    // Idle by the time the next task comes, or not: a second thread starts only if it is not.
    for (Blocker& each : blockers) REQUIRE(each.occupy(pool));
    CHECK_FALSE(pool.start([] {}));
    REQUIRE(pool.submit([&] { queued.set_value(std::this_thread::get_id()); }));
    for (Blocker& each : blockers) each.release();
    CHECK(queued.get_future().get() != std::this_thread::get_id());
    CHECK(only != std::this_thread::get_id());
    while (!pool.start([&] { started.set_value(); })) std::this_thread::yield();
    started.get_future().wait();
}

TEST_CASE("a pool that was stopped takes nothing more, and may be stopped again", "[executor]") {
    std::promise<void> ran;
    sc::ThreadPool pool(1);
    REQUIRE(pool.submit([&] { ran.set_value(); }));
    ran.get_future().wait();
    pool.stop();
    CHECK_FALSE(pool.submit([] {}));
    pool.stop();
}

TEST_CASE("a pool runs every accepted task once, in other threads", "[executor]") {
    std::atomic<int> runs{0};
    std::promise<void> all;
    std::atomic<bool> own_thread{false};
    const std::thread::id caller = std::this_thread::get_id();
    sc::ThreadPool pool(2);
    for (int i = 0; i < 100; ++i)
        REQUIRE(pool.submit([&] {
            if (std::this_thread::get_id() == caller) own_thread = true;
            if (++runs == 100) all.set_value();
        }));
    all.get_future().wait();
    CHECK(runs == 100);
    CHECK_FALSE(own_thread);
}

TEST_CASE("a pool refuses work beyond its queue, and takes it again once there is room", "[executor]") {
    std::promise<void> done, again;
    Blocker blocker;
    sc::ThreadPool pool(1, 1);
    REQUIRE(blocker.occupy(pool));
    CHECK(pool.submit([&done] { done.set_value(); }));
    bool ran_refused = false;
    CHECK_FALSE(pool.submit([&ran_refused] { ran_refused = true; }));
    blocker.release();
    done.get_future().wait();
    CHECK(pool.submit([&again] { again.set_value(); }));
    again.get_future().wait();
    CHECK_FALSE(ran_refused);
}

TEST_CASE("a pool without threads accepts nothing", "[executor]") {
    sc::ThreadPool pool(0);
    CHECK_FALSE(pool.submit([] {}));
}

TEST_CASE("an executor has no timer unless it says so", "[executor]") {
    sc::InlineExecutor executor;
    CHECK_FALSE(executor.submit_after(sc::Duration(0), [] {}));
}

TEST_CASE("a pool runs a delayed task when its time has come, not before", "[executor]") {
    using Clock = std::chrono::steady_clock;
    for (const sc::Duration delay : {sc::Duration(-5), sc::Duration(0), sc::Duration(1), sc::Duration(20)}) {
        std::promise<Clock::time_point> ran;
        sc::ThreadPool pool(1);
        const auto before = Clock::now();
        REQUIRE(pool.submit_after(delay, [&ran] { ran.set_value(Clock::now()); }));
        CHECK(ran.get_future().get() - before >= delay);
    }
}

TEST_CASE("a delayed task does not hold up others, nor do they hold it up while a thread is free",
          "[executor]") {
    for (int round = 0; round < 20; ++round) {
        std::promise<void> soon, delayed;
        Blocker blocker;
        sc::ThreadPool pool(2);
        REQUIRE(pool.submit_after(std::chrono::hours(1), [] { std::terminate(); }));
        REQUIRE(pool.submit_after(std::chrono::milliseconds(2), [&delayed] { delayed.set_value(); }));
        REQUIRE(blocker.occupy(pool));  // whichever thread that is, the other one sees to the delayed task
        delayed.get_future().wait();
        REQUIRE(pool.submit([&soon] { soon.set_value(); }));
        soon.get_future().wait();
        blocker.release();
    }
}

TEST_CASE("delayed tasks are bounded by themselves, and dropped with the pool", "[executor]") {
    const auto owned = std::make_shared<int>(1);
    bool ran = false;
    {
        Blocker blocker;
        sc::ThreadPool pool(1, 1, 2);
        REQUIRE(blocker.occupy(pool));
        CHECK(pool.submit([] {}));
        CHECK_FALSE(pool.submit([] {}));
        CHECK(pool.submit_after(std::chrono::hours(1), [&ran, owned] { ran = true; }));
        CHECK(pool.submit_after(sc::Duration::max(), [&ran, owned] { ran = true; }));
        CHECK_FALSE(pool.submit_after(sc::Duration(0), [&ran] { ran = true; }));
        CHECK(owned.use_count() == 3);
        blocker.release();
    }
    CHECK(owned.use_count() == 1);
    CHECK_FALSE(ran);
    CHECK_FALSE(sc::ThreadPool(0).submit_after(sc::Duration(0), [] {}));
}

TEST_CASE("a task that throws does not stop its thread", "[executor]") {
    std::promise<int> next;
    sc::ThreadPool pool(1);
    REQUIRE(pool.submit([] { throw std::runtime_error("lost"); }));
    REQUIRE(pool.submit([&next] { next.set_value(1); }));
    CHECK(next.get_future().get() == 1);
}

TEST_CASE("a task may submit another one", "[executor]") {
    std::promise<bool> inner;
    sc::ThreadPool pool(1);
    REQUIRE(pool.submit([&] {
        if (!pool.submit([&inner] { inner.set_value(true); })) inner.set_value(false);
    }));
    CHECK(inner.get_future().get());
}

TEST_CASE("destroying a pool drops what has not started and waits for what has", "[executor]") {
    bool dropped_ran = false;
    std::atomic<bool> finished{false};
    auto owned = std::make_shared<int>(1);
    const std::weak_ptr<int> watch = owned;
    auto started = std::make_shared<std::promise<void>>();
    std::promise<void> queued_gone;
    std::thread helper;
    {
        auto pool = std::make_unique<sc::ThreadPool>(1);
        REQUIRE(pool->submit([&finished, started, &queued_gone] {
            started->set_value();
            queued_gone.get_future().wait();
            finished = true;
        }));
        started->get_future().wait();
        // Destroyed by the pool's destructor, while the first task still runs: that lets the first one go on.
        struct Signal {
            std::promise<void>* gone;
            ~Signal() { gone->set_value(); }
        };
        auto signal = std::shared_ptr<Signal>(new Signal{&queued_gone});
        REQUIRE(pool->submit(
            [&dropped_ran, signal = std::move(signal), kept = std::move(owned)] { dropped_ran = true; }));
        CHECK_FALSE(watch.expired());
    }
    CHECK(finished);
    CHECK_FALSE(dropped_ran);
    CHECK(watch.expired());
}

TEST_CASE("what a dropped task owns may use the pool while it is destroyed", "[executor]") {
    struct Owned {
        sc::Executor* pool;
        std::promise<bool>* accepted;
        ~Owned() {
            accepted->set_value(pool->submit([] {}));
        }
    };
    std::promise<bool> accepted;
    std::future<bool> answer = accepted.get_future();
    std::promise<void> started;
    std::promise<void> released;
    {
        sc::ThreadPool pool(1);
        // Busy until the pool is being destroyed: the answer comes from the dropped task's destructor.
        REQUIRE(pool.submit([&] {
            started.set_value();
            released.get_future().wait();
        }));
        started.get_future().wait();
        struct Release {
            std::promise<void>* released;
            ~Release() { released->set_value(); }
        };
        auto release = std::shared_ptr<Release>(new Release{&released});
        auto owned = std::shared_ptr<Owned>(new Owned{&pool, &accepted});
        REQUIRE(pool.submit([release = std::move(release), owned = std::move(owned)] {}));
    }
    CHECK_FALSE(answer.get());
}
