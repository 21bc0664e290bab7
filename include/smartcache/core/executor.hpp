#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

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
/// The destructor drops what has not started, and waits for what has.
class ThreadPool final : public Executor {
  public:
    explicit ThreadPool(std::size_t threads, std::size_t max_queued = 4096) : max_queued_(max_queued) {
        threads_.reserve(threads);
        try {
            for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
        } catch (...) {  // the system has no more threads: those that started must end first
            stop();
            throw;
        }
    }

    ~ThreadPool() override { stop(); }

    [[nodiscard]] bool submit(Task task) override {
        {
            const std::lock_guard lock(mutex_);
            if (stopping_ || queue_.size() >= max_queued_ || threads_.empty()) return false;
            queue_.push_back(std::move(task));
        }
        wake_.notify_one();
        return true;
    }

  private:
    void stop() noexcept {
        std::deque<Task> dropped;  // destroyed outside the lock: what tasks own may call submit
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
            dropped.swap(queue_);
        }
        wake_.notify_all();
        dropped.clear();
        for (std::thread& thread : threads_) thread.join();
    }

    void run() {
        std::unique_lock lock(mutex_);
        for (;;) {
            wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
            if (stopping_) return;
            Task task = std::move(queue_.front());
            queue_.pop_front();
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
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Task> queue_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace smartcache::inline v0
