#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace smartcache::inline v0::detail {

/// How often the line of processes that ends in this one was forked, since the library was loaded. Counts fork(2), not
/// clone(2) by hand.
class ForkCount {
  public:
    // relaxed: it changes only where there is one thread, in the child before fork(2) returns.
    [[nodiscard]] static std::uint32_t now() noexcept { return count_.load(std::memory_order_relaxed); }

  private:
    static void in_child() noexcept { count_.fetch_add(1, std::memory_order_relaxed); }

    static inline std::atomic<std::uint32_t> count_{0};
    static inline const int registered_ = ::pthread_atfork(nullptr, nullptr, &in_child);
};

/// Tells the process in which it was made from its children (R33).
class ProcessMark {
  public:
    [[nodiscard]] bool forked() const noexcept { return ForkCount::now() != made_; }

  private:
    std::uint32_t made_ = ForkCount::now();
};

/// A lock for `std::unique_lock` with `std::try_to_lock` that a child of fork(2) finds open, also when a thread that it does
/// not have was holding it. What it protects may then be half changed.
class ProcessTryLock {
  public:
    [[nodiscard]] bool try_lock() noexcept {
        std::uint64_t holder = holder_.load(std::memory_order_relaxed);
        const std::uint64_t own = std::uint64_t{ForkCount::now()} + 1;
        // acquire: sees what the last holder of this process has changed.
        return holder != own && holder_.compare_exchange_strong(holder, own, std::memory_order_acquire,
                                                                std::memory_order_relaxed);
    }
    void unlock() noexcept { holder_.store(0, std::memory_order_release); }

  private:
    std::atomic<std::uint64_t> holder_{0};  // 0: nobody; else one more than that process' fork count
};

/// A T that belongs to the process in which it was made: with threads that a child does not have, and locks and files
/// that it must not touch. In a child it is left as it is, because destructors would wait there for ever.
template <class T>
class ProcessOwned {
  public:
    template <class... Arguments>
    explicit ProcessOwned(Arguments&&... arguments)
        : object_(std::make_unique<T>(std::forward<Arguments>(arguments)...)) {}
    ProcessOwned(const ProcessOwned&) = delete;
    ProcessOwned& operator=(const ProcessOwned&) = delete;
    ~ProcessOwned() {
        if (forked()) (void)object_.release();
    }

    [[nodiscard]] bool forked() const noexcept { return mark_.forked(); }
    [[nodiscard]] T& operator*() const noexcept { return *object_; }
    [[nodiscard]] T* operator->() const noexcept { return object_.get(); }

  private:
    ProcessMark mark_;
    std::unique_ptr<T> object_;
};

}  // namespace smartcache::inline v0::detail
