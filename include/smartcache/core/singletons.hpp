#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include <smartcache/core/fork.hpp>
#include <smartcache/core/mutex.hpp>

// Objects of which there is one in a process, with no thread that anybody would have to wait for in a child of fork(2).

namespace smartcache::inline v0::detail {

/// A T that is made at its first use and never ends: it may be wanted after static destructors have begun. Unlike a static
/// object of a function it makes nobody wait: in a child for a thread that was making it.
template <class T>
class Eternal {
  public:
    [[nodiscard]] T& get() noexcept {
        // acquire and release: who finds it sees it made.
        T* known = made_.load(std::memory_order_acquire);
        if (known != nullptr) [[likely]]
            return *known;
        auto* const fresh = new T;
        if (made_.compare_exchange_strong(known, fresh, std::memory_order_acq_rel, std::memory_order_acquire))
            return *fresh;
        delete fresh;
        return *known;
    }

  private:
    std::atomic<T*> made_{nullptr};
};

/// A T of which each process has its own: a child of fork(2) makes another one when it first asks, and leaves its parent's
/// as it is, whatever the parent's threads were doing with it.
template <class T>
class PerProcess {
  public:
    [[nodiscard]] const std::shared_ptr<T>& get() {
        // acquire: pairs with the release below; who finds it renewed sees the new one.
        if (made_in_.load(std::memory_order_acquire) != ForkGate::forks()) [[unlikely]]
            renew();
        return object_;
    }

  private:
    void renew() {
        const std::lock_guard lock(mutex_);
        if (made_in_.load(std::memory_order_relaxed) == ForkGate::forks()) return;
        auto fresh = std::make_shared<T>();
        auto never_ends = std::make_unique<std::shared_ptr<T>>(object_);
        (void)never_ends.release();
        object_ = std::move(fresh);
        made_in_.store(ForkGate::forks(), std::memory_order_release);
    }

    Mutex mutex_;
    std::atomic<std::uint32_t> made_in_{ForkGate::forks()};
    std::shared_ptr<T> object_ = std::make_shared<T>();
};

}  // namespace smartcache::inline v0::detail
