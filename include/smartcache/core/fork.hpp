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
