#pragma once

#include <bitset>
#include <cstddef>
#include <mutex>
#include <type_traits>

// A small number that no other live thread has: by it a thread finds memory that it alone writes, so that
// counting costs a plain addition instead of a locked one. Numbers are handed out lowest first and given back
// when the thread ends; whoever gets one next sees all that its predecessor wrote (the mutex orders them).

namespace smartcache::inline v0::detail {

/// Threads with an index below this have it for themselves; all others share this very number.
inline constexpr std::size_t exclusive_threads = 64;

class ThreadIndexes {
  public:
    [[nodiscard]] static ThreadIndexes& instance() noexcept;

    /// Nobody gets a number or gives one back until `unlock`: for fork(2). (The numbers of threads that a child does not have
    /// stay taken there: what those wrote to may be half written.)
    void lock() noexcept { mutex_.lock(); }
    void unlock() noexcept { mutex_.unlock(); }

    [[nodiscard]] std::size_t acquire() noexcept {
        const std::lock_guard lock(mutex_);
        for (std::size_t i = 0; i < exclusive_threads; ++i)
            if (!taken_[i]) {
                taken_[i] = true;
                return i;
            }
        return exclusive_threads;
    }

    void release(std::size_t index) noexcept {
        if (index == exclusive_threads) return;
        const std::lock_guard lock(mutex_);
        taken_[index] = false;
    }

  private:
    std::mutex mutex_;
    std::bitset<exclusive_threads> taken_;
};

// Trivially destructible: threads may end after static destructors have begun.
inline constinit ThreadIndexes thread_indexes;
static_assert(std::is_trivially_destructible_v<ThreadIndexes>);

inline ThreadIndexes& ThreadIndexes::instance() noexcept {
    return thread_indexes;
}

/// 0: not asked yet; otherwise the index + 1. Constant-initialised and trivial, so reading it is one
/// instruction.
inline constinit thread_local std::size_t thread_index_plus_one = 0;

[[gnu::noinline, gnu::cold]] inline std::size_t assign_thread_index() noexcept {
    struct Holder {
        std::size_t index = ThreadIndexes::instance().acquire();
        Holder() = default;
        Holder(const Holder&) = delete;
        Holder& operator=(const Holder&) = delete;
        ~Holder() {
            // Destructors of other thread-local objects may still count: they share from now on.
            thread_index_plus_one = exclusive_threads + 1;
            ThreadIndexes::instance().release(index);
        }
    };
    thread_local const Holder holder;
    thread_index_plus_one = holder.index + 1;
    return holder.index;
}

/// This thread's number: below `exclusive_threads` no other live thread has it, `exclusive_threads` is shared.
[[nodiscard]] inline std::size_t thread_index() noexcept {
    const std::size_t known = thread_index_plus_one;
    return known != 0 ? known - 1 : assign_thread_index();
}

}  // namespace smartcache::inline v0::detail
