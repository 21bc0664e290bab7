#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <cstdint>
#include <ctime>
#include <mutex>

#include <smartcache/core/fork.hpp>

// Locks that a child of fork(2) finds open, whoever held them in the parent. Which one is for what stands at the head of fork.hpp.

namespace smartcache::inline v0::detail {

/// What threads sleep on: futex(2), within one process.
class Futex {
  public:
    Futex() = delete;
    using Word = std::atomic<std::uint32_t>;
    static_assert(sizeof(Word) == 4 && Word::is_always_lock_free);

    /// Until it is woken, or `end`, or for no reason; not at all when the word is not `seen`.
    static void wait(Word& word, std::uint32_t seen, const timespec* end = nullptr) noexcept {
        (void)::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, seen, end, nullptr,
                        FUTEX_BITSET_MATCH_ANY);
    }
    static void wake(Word& word, int threads) noexcept {
        (void)::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, threads, nullptr, nullptr, 0);
    }
};

/// For what is changed in a moment: fork(2) waits for whoever holds it, and what it protects is whole in a child. Who holds it
/// waits for nothing but others of its kind.
class Mutex {
  public:
    constexpr Mutex() noexcept = default;
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;

    void lock() {
        ForkGate::enter();
        mutex_.lock();
    }
    [[nodiscard]] bool try_lock() {
        ForkGate::enter();
        if (mutex_.try_lock()) return true;
        ForkGate::leave();
        return false;
    }
    void unlock() {
        mutex_.unlock();
        ForkGate::leave();
    }

  private:
    std::mutex mutex_;
};

/// What threads wait for under a `Mutex`, and under that one only. Whoever waited in a parent is not there in its child, where
/// `std::condition_variable` would wait for him.
class Condition {
  public:
    using Time = std::chrono::steady_clock::time_point;

    void wait(std::unique_lock<Mutex>& lock) { sleep(lock, nullptr); }
    std::cv_status wait_until(std::unique_lock<Mutex>& lock, Time end) {
        using namespace std::chrono;
        const auto since_boot = end.time_since_epoch();  // CLOCK_MONOTONIC's, as futex(2) wants it
        const auto whole = floor<seconds>(since_boot);
        const timespec at{static_cast<std::time_t>(whole.count()),
                          static_cast<long>(nanoseconds(since_boot - whole).count())};
        sleep(lock, &at);
        return steady_clock::now() < end ? std::cv_status::no_timeout : std::cv_status::timeout;
    }

    // Whoever has something to tell has changed it under the lock.
    void notify_one() noexcept { notify(1); }
    void notify_all() noexcept { notify(INT_MAX); }

  private:
    void sleep(std::unique_lock<Mutex>& lock, const timespec* end) {
        // relaxed: the lock orders both with what is waited for.
        sleepers_.fetch_add(1, std::memory_order_relaxed);
        const std::uint32_t seen = told_.load(std::memory_order_relaxed);
        lock.unlock();
        Futex::wait(told_, seen, end);
        lock.lock();
        sleepers_.fetch_sub(1, std::memory_order_relaxed);
    }
    void notify(int threads) noexcept {
        if (sleepers_.load(std::memory_order_relaxed) == 0) return;
        told_.fetch_add(1, std::memory_order_relaxed);
        Futex::wake(told_, threads);
    }

    Futex::Word told_{0};
    std::atomic<std::uint32_t> sleepers_{0};  // in a child too many, which costs a call of the kernel
};

/// For order among what takes long: fork(2) does not wait for it, and a child finds it open. What is changed under it may then
/// be half changed, so it protects no memory but single words.
class ProcessMutex {
  public:
    constexpr ProcessMutex() noexcept = default;
    ProcessMutex(const ProcessMutex&) = delete;
    ProcessMutex& operator=(const ProcessMutex&) = delete;

    [[nodiscard]] bool try_lock() noexcept {
        std::uint32_t holder = holder_.load(std::memory_order_relaxed);
        return (holder | awaited) != (own() | awaited) && take(holder, own());
    }
    void lock() noexcept {
        if (try_lock()) [[likely]]
            return;
        for (;;) {
            std::uint32_t holder = holder_.load(std::memory_order_relaxed);
            if ((holder | awaited) != (own() | awaited)) {
                // Others may be asleep, too: the one who holds it wakes the next.
                if (take(holder, own() | awaited)) return;
            } else if (holder == (own() | awaited) ||
                       holder_.compare_exchange_weak(holder, own() | awaited, std::memory_order_relaxed)) {
                Futex::wait(holder_, own() | awaited);
            }
        }
    }
    void unlock() noexcept {
        if ((holder_.exchange(0, std::memory_order_release) & awaited) != 0) Futex::wake(holder_, 1);
    }

  private:
    static constexpr std::uint32_t awaited = 1;
    static std::uint32_t own() noexcept { return (ForkGate::forks() + 1) << 1U; }
    bool take(std::uint32_t seen, std::uint32_t holder) noexcept {
        // acquire: sees what the last holder of this process has changed.
        return holder_.compare_exchange_strong(seen, holder, std::memory_order_acquire,
                                               std::memory_order_relaxed);
    }

    Futex::Word holder_{
        0};  // 0: nobody; else twice one more than that process' fork count, and whether somebody waits
};

}  // namespace smartcache::inline v0::detail
