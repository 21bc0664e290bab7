#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/core/own_thread.hpp>

namespace smartcache::inline v0 {

/// Runs work in the background.
///
/// Model must: run each accepted task once, or drop it when told to stop; be callable from any thread, tasks
/// included.
class Executor {
  public:
    using Task = std::function<void()>;

    virtual ~Executor() = default;
    /// @return false when the task was not accepted (stopped, or the queue is full); then it never runs.
    [[nodiscard]] virtual bool submit(Task task) = 0;
    /// Runs the task once `delay` has passed in real time, or later. @return false when it was not accepted, as this
    /// executor does with all: it has no timer
    [[nodiscard]] virtual bool submit_after([[maybe_unused]] Duration delay, [[maybe_unused]] Task task) {
        return false;
    }

  protected:
    Executor() = default;
    Executor(const Executor&) = delete;
    Executor& operator=(const Executor&) = delete;
};

/// Runs every task at once in the thread that submits it. For tests.
class InlineExecutor final : public Executor {
  public:
    [[nodiscard]] bool submit(Task task) override {
        task();
        return true;
    }
};

/// Keeps tasks until they are run by hand, in the order in which they came. For `background_threads = 0`, and for tests that
/// go step by step. What is still there at the end is dropped.
class DeferredExecutor final : public Executor {
  public:
    explicit DeferredExecutor(std::size_t max_queued = 4096) : max_queued_(max_queued) {}

    [[nodiscard]] bool submit(Task task) override {
        const std::lock_guard lock(mutex_);
        if (queue_.size() >= max_queued_) return false;
        queue_.push_back(std::move(task));
        return true;
    }

    /// Runs what is there now, not what that submits. Exceptions of tasks are swallowed. @return how many ran
    std::size_t run() {
        std::deque<Task> tasks;
        {
            const std::lock_guard lock(mutex_);
            tasks.swap(queue_);
        }
        for (Task& task : tasks) {
            try {
                task();
            } catch (...) {
            }
        }
        return tasks.size();
    }

  private:
    const std::size_t max_queued_;
    detail::Mutex mutex_;
    std::deque<Task> queue_;
};

/// A bounded number of threads with a bounded queue (I5). A thread starts when there is a task that no idle one can take,
/// and ends with the pool. Delayed tasks wait beside the queue, for which there is a bound of its own, and go into it when
/// their time has come, however full it is then.
///
/// Exceptions of tasks are swallowed: whoever submits work that can fail reports the failure from inside it.
/// The destructor drops what has not started, and waits for what has. In a child after fork(2), which has none of the
/// threads, it takes no tasks.
class ThreadPool final : public Executor {
  public:
    explicit ThreadPool(std::size_t threads, std::size_t max_queued = 4096, std::size_t max_delayed = 65536)
        : max_threads_(threads), max_queued_(max_queued), max_delayed_(max_delayed) {}

    ~ThreadPool() override { stop(); }

    /// Drops what has not started, waits for what has, and takes nothing more. Not from a task.
    void stop() noexcept {
        if (mine_.forked()) return;
        std::deque<Task> dropped;  // destroyed outside the lock: what tasks own may call submit
        std::multimap<Time, Task> dropped_delayed;
        {
            const std::lock_guard lock(mine_->mutex);
            mine_->stopping = true;
            dropped.swap(mine_->queue);
            dropped_delayed.swap(mine_->delayed);
        }
        mine_->wake.notify_all();
        dropped.clear();
        dropped_delayed.clear();
        for (std::thread& thread : mine_->threads) thread.join();
        mine_->threads.clear();
    }

    [[nodiscard]] bool submit(Task task) override { return submit(std::move(task), max_queued_); }
    /// The same, only if a thread begins with it at once.
    [[nodiscard]] bool start(Task task) { return submit(std::move(task), 0); }

    [[nodiscard]] bool submit_after(Duration delay, Task task) override {
        if (mine_.forked()) return false;
        Work& work = *mine_;
        {
            const Time now = std::chrono::steady_clock::now();
            const bool for_ever = delay > std::chrono::duration_cast<Duration>(Time::max() - now);
            const std::lock_guard lock(work.mutex);
            if (work.stopping || work.delayed.size() >= max_delayed_ || !has_threads(work, 1)) return false;
            work.delayed.emplace(for_ever ? Time::max() : now + delay, std::move(task));
        }
        work.wake.notify_one();
        return true;
    }

  private:
    using Time = std::chrono::steady_clock::time_point;
    struct Work {
        std::mutex mutex;
        std::condition_variable wake;
        std::deque<Task> queue;
        std::multimap<Time, Task> delayed;
        std::size_t idle = 0;  // threads that will look at the queue next
        bool stopping = false;
        std::vector<std::thread> threads;
    };

    /// @param max_waiting  tasks that no thread is free for, this one included
    [[nodiscard]] bool submit(Task task, std::size_t max_waiting) {
        if (mine_.forked()) return false;
        Work& work = *mine_;
        {
            const std::lock_guard lock(work.mutex);
            if (work.stopping || !has_threads(work, 1)) return false;
            if (work.queue.size() >= max_waiting + work.idle) return false;
            work.queue.push_back(std::move(task));
        }
        work.wake.notify_one();
        return true;
    }

    /// Starts a thread if there are more tasks than idle threads, counting `more` that are about to come; delayed ones want one
    /// that waits for them. With the lock. @return whether there is any thread
    [[nodiscard]] bool has_threads(Work& work, std::size_t more) {
        const std::size_t tasks = work.queue.size() + (work.delayed.empty() ? 0 : 1) + more;
        if (work.idle < tasks && work.threads.size() < max_threads_) {
            try {
                work.threads.emplace_back([this] { run(); });
                ++work.idle;  // on its way to the queue
            } catch (
                const std::system_error&) {  // the system has no more threads: those that are there do it
            }
        }
        return !work.threads.empty();
    }

    void run() {
        detail::OwnThread::begin();
        Work& work = *mine_;
        std::unique_lock lock(work.mutex);
        for (;;) {
            for (queue_due(work); !work.stopping && work.queue.empty(); queue_due(work)) {
                if (work.delayed.empty()) {
                    work.wake.wait(lock);
                } else {
                    const Time next = work.delayed.begin()->first;  // it may be gone while this thread waits
                    work.wake.wait_until(lock, next);
                }
            }
            if (work.stopping) return;
            Task task = std::move(work.queue.front());
            work.queue.pop_front();
            --work.idle;
            // Whoever waited for the next delayed task may be this thread: another one takes that over.
            if (!work.queue.empty() || !work.delayed.empty()) {
                (void)has_threads(work, 0);
                work.wake.notify_one();
            }
            lock.unlock();
            try {
                task();
            } catch (...) {
            }
            task = nullptr;  // what the task owns is destroyed outside the lock
            lock.lock();
            ++work.idle;
        }
    }

    /// Puts the delayed tasks whose time has come into the queue. With the lock.
    static void queue_due(Work& work) {
        if (work.delayed.empty()) return;
        const Time now = std::chrono::steady_clock::now();
        while (!work.delayed.empty() && work.delayed.begin()->first <= now) {
            work.queue.push_back(std::move(work.delayed.begin()->second));
            work.delayed.erase(work.delayed.begin());
        }
    }

    const std::size_t max_threads_;
    const std::size_t max_queued_;
    const std::size_t max_delayed_;
    detail::ProcessOwned<Work> mine_;
};

}  // namespace smartcache::inline v0
