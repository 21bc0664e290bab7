#include <atomic>
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
    std::promise<void> done;
    Blocker blocker;
    sc::ThreadPool pool(1, 1);
    REQUIRE(blocker.occupy(pool));
    CHECK(pool.submit([&done] { done.set_value(); }));
    bool ran_refused = false;
    CHECK_FALSE(pool.submit([&ran_refused] { ran_refused = true; }));
    blocker.release();
    done.get_future().wait();
    std::promise<void> again;
    CHECK(pool.submit([&again] { again.set_value(); }));
    again.get_future().wait();
    CHECK_FALSE(ran_refused);
}

TEST_CASE("a pool without threads accepts nothing", "[executor]") {
    sc::ThreadPool pool(0);
    CHECK_FALSE(pool.submit([] {}));
}

TEST_CASE("a task that throws does not stop its thread", "[executor]") {
    sc::ThreadPool pool(1);
    REQUIRE(pool.submit([] { throw std::runtime_error("lost"); }));
    std::promise<int> next;
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
