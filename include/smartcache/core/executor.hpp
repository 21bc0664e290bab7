#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/core/fork.hpp>

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

  protected:
    Executor() = default;
    Executor(const Executor&) = delete;
    Executor& operator=(const Executor&) = delete;
};

/// Runs every task at once in the thread that submits it. For tests and for `background_threads = 0`.
class InlineExecutor final : public Executor {
  public:
    [[nodiscard]] bool submit(Task task) override {
        task();
        return true;
    }
};

/// A fixed number of threads with a bounded queue (I5).
///
/// Exceptions of tasks are swallowed: whoever submits work that can fail reports the failure from inside it.
/// The destructor drops what has not started, and waits for what has. In a child after fork(2), which has none of the
/// threads, it takes no tasks.
class ThreadPool final : public Executor {
  public:
    explicit ThreadPool(std::size_t threads, std::size_t max_queued = 4096) : max_queued_(max_queued) {
        mine_->threads.reserve(threads);
        try {
            for (std::size_t i = 0; i < threads; ++i) mine_->threads.emplace_back([this] { run(); });
        } catch (...) {  // the system has no more threads: those that started must end first
            stop();
            throw;
        }
    }

    ~ThreadPool() override {
        if (!mine_.forked()) stop();
    }

    [[nodiscard]] bool submit(Task task) override {
        if (mine_.forked()) return false;
        {
            const std::lock_guard lock(mine_->mutex);
            if (mine_->stopping || mine_->queue.size() >= max_queued_ || mine_->threads.empty()) return false;
            mine_->queue.push_back(std::move(task));
        }
        mine_->wake.notify_one();
        return true;
    }

  private:
    struct Work {
        std::mutex mutex;
        std::condition_variable wake;
        std::deque<Task> queue;
        bool stopping = false;
        std::vector<std::thread> threads;
    };

    void stop() noexcept {
        std::deque<Task> dropped;  // destroyed outside the lock: what tasks own may call submit
        {
            const std::lock_guard lock(mine_->mutex);
            mine_->stopping = true;
            dropped.swap(mine_->queue);
        }
        mine_->wake.notify_all();
        dropped.clear();
        for (std::thread& thread : mine_->threads) thread.join();
    }

    void run() {
        Work& work = *mine_;
        std::unique_lock lock(work.mutex);
        for (;;) {
            work.wake.wait(lock, [&work] { return work.stopping || !work.queue.empty(); });
            if (work.stopping) return;
            Task task = std::move(work.queue.front());
            work.queue.pop_front();
            lock.unlock();
            try {
                task();
            } catch (...) {
            }
            task = nullptr;  // what the task owns is destroyed outside the lock
            lock.lock();
        }
    }

    const std::size_t max_queued_;
    detail::ProcessOwned<Work> mine_;
};

}  // namespace smartcache::inline v0
