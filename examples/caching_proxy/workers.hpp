#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include <smartcache/core/executor.hpp>

namespace proxy {

namespace sc = smartcache;

/// Threads for what blocks. One starts when there is a task that no idle one can take, up to a bound, and ends when it
/// has been idle for a while. Its queue has no bound: a client is in it once at most.
class Workers final : public sc::Executor {
  public:
    explicit Workers(std::size_t max_threads) : max_threads_(max_threads) {}
    /// Drops what has not started, and waits for what has.
    ~Workers() override {
        timer_.stop();
        std::deque<Task> dropped;  // destroyed outside the lock: what tasks own may call submit
        std::unique_lock lock(mutex_);
        stopping_ = true;
        dropped.swap(queue_);
        lock.unlock();
        dropped.clear();
        lock.lock();
        wake_.notify_all();
        ended_.wait(lock, [this] { return threads_ == 0; });
    }

    /// @return false when the system has no thread for it
    [[nodiscard]] bool submit(Task task) override {
        const std::lock_guard lock(mutex_);
        if (stopping_) return false;
        if (queue_.size() >= idle_ && threads_ < max_threads_) start_thread();
        if (threads_ == 0) return false;
        queue_.push_back(std::move(task));
        wake_.notify_one();
        return true;
    }
    [[nodiscard]] bool submit_after(sc::Duration delay, Task task) override {
        return timer_.submit_after(delay, [this, task = std::move(task)] {
            if (!submit(task)) task();
        });
    }

  private:
    static constexpr auto idle_time = std::chrono::seconds(2);

    // With the lock.
    void start_thread() {
        try {
            std::thread([this] { run(); }).detach();
            ++threads_;
            ++idle_;                          // on its way to the queue
        } catch (const std::system_error&) {  // those that are there do it
        }
    }

    void run() {
        std::unique_lock lock(mutex_);
        while (wake_.wait_for(lock, idle_time, [this] { return stopping_ || !queue_.empty(); })) {
            if (stopping_) break;
            Task task = std::move(queue_.front());
            queue_.pop_front();
            --idle_;
            lock.unlock();
            try {
                task();
            } catch (...) {  // memory ran out; whoever the task was for goes with it
            }
            task = nullptr;
            lock.lock();
            ++idle_;
        }
        --idle_;
        --threads_;
        ended_.notify_all();  // under the lock: the destructor may end right after
    }

    const std::size_t max_threads_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable ended_;
    std::deque<Task> queue_;
    std::size_t threads_ = 0;
    std::size_t idle_ = 0;  // threads that will look at the queue next
    bool stopping_ = false;
    sc::ThreadPool timer_{1};
};

}  // namespace proxy
