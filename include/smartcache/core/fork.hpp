#pragma once

// fork(2) while other threads are inside the library (R33).
//
// A child has the memory of its parent and of the threads the forking one alone. What another thread was in the middle of
// stays half done for ever: locks that it held, and what was being changed under them. So there are four kinds of things:
//
//   - What is changed under a lock for a moment is under a `Mutex` (mutex.hpp). Who holds one is inside the gate below, and
//     fork(2) waits until nobody is, so that a child finds all of them open and what they protect whole. Inside nobody waits
//     for what another thread does outside: no `ProcessMutex`, no condition, no caller's code, no server; so all come out. (A
//     note of what Redis was not told is written to the disk there, see redis/untold.hpp: fork(2) waits for that.)
//   - What puts others' work in order, and is held as long as the work takes, is a `ProcessMutex` (mutex.hpp). Fork(2) does
//     not wait for it; a child finds it open. It protects no memory, or what is a single word.
//   - What a thread has promised to do, and others wait for (flights, tickets, a connection that is out), carries a
//     `ProcessMark`, by which a child knows that nobody will do it.
//   - What has threads or files of its own (executors, the disk, what listens) is `ProcessOwned`, or marked, and left alone
//     in a child, with locks of whatever kind.
//
// A hit in L1 takes no lock and passes no gate. A thread that is inside already, and forks from there or takes one more lock,
// is not waited for and does not wait: others may be waiting for what it holds. (From there a handler of signals may fork, in
// order to exec. In the child of such a fork locks that other threads held are never open.)

#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include <smartcache/core/thread_index.hpp>

namespace smartcache::inline v0::detail {

struct alignas(64) ForkGatePlace {
    std::atomic<int> inside{0};
};

/// Where threads are while they change what a child of fork(2) has to find whole: fork(2) waits until all others are out, and
/// lets nobody in meanwhile. See the head of this file. Counts forks, too: not clone(2) by hand.
class ForkGate {
  public:
    ForkGate() = delete;

    /// How often the line of processes that ends in this one was forked, since the library was loaded.
    // relaxed: it changes only where there is one thread, in the child before fork(2) returns.
    [[nodiscard]] static std::uint32_t forks() noexcept { return forks_.load(std::memory_order_relaxed); }

    static void enter() noexcept {
        if (depth_++ == 0) arrive();
    }
    static void leave() noexcept {
        if (--depth_ == 0) add(thread_index(), -1, std::memory_order_release);
    }

    /// Inside for as long as it lives.
    class Inside {
      public:
        Inside() noexcept { enter(); }
        Inside(const Inside&) = delete;
        Inside& operator=(const Inside&) = delete;
        ~Inside() { leave(); }
    };

  private:
    /// Either the one who forks sees that this thread is inside, or this thread sees that the gate is closed: each writes
    /// first and looks then. What keeps the two in that order here is a barrier that the one who forks has all threads run,
    /// or, on a system without membarrier(2), seq_cst.
    static void arrive() noexcept {
        const std::size_t place = thread_index();
        for (;;) {
            bool closed = false;
            if (has_barrier_) [[likely]] {
                add(place, 1, std::memory_order_relaxed);
                std::atomic_signal_fence(std::memory_order_seq_cst);
                closed = closed_.load(std::memory_order_relaxed);
            } else {
                add(place, 1, std::memory_order_seq_cst);
                closed = closed_.load(std::memory_order_seq_cst);
            }
            if (!closed) [[likely]]
                return;
            add(place, -1, std::memory_order_release);
            const std::lock_guard until_it_has_forked(forking_);
        }
    }
    static void add(std::size_t place, int more, std::memory_order order) noexcept {
        std::atomic<int>& inside = places_[place].inside;
        if (place < exclusive_threads)
            inside.store(inside.load(std::memory_order_relaxed) + more, order);
        else
            inside.fetch_add(more, order);
    }

    static bool barrier(int command) noexcept { return ::syscall(SYS_membarrier, command, 0, 0) == 0; }

    static void before() noexcept {
        const std::size_t mine = thread_index();  // now, because nobody gets one until it has forked
        if (depth_ == 0) {
            forking_.lock();
            closed_.store(true, std::memory_order_seq_cst);
            // Forbidden since (a sandbox): then by waiting for longer than a processor keeps what it has written to itself.
            if (has_barrier_ && !barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED))
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
            for (std::size_t i = 0; i < places_.size(); ++i)
                // Its own is 1 in a handler of a signal that came on the way in or out.
                if (i != mine || mine == exclusive_threads) wait_until_empty(places_[i]);
        }
        ThreadIndexes::instance().lock();
        ++depth_;  // other libraries' handlers may use a cache
    }
    static void wait_until_empty(const ForkGatePlace& place) noexcept {
        // acquire, at least: pairs with the release in `leave`.
        for (int looks = 0; place.inside.load(std::memory_order_seq_cst) != 0; ++looks)
            if (looks < 100)
                std::this_thread::yield();
            else  // for one with a lower priority
                std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    static void in_parent() noexcept {
        --depth_;
        ThreadIndexes::instance().unlock();
        if (depth_ != 0) return;
        closed_.store(false, std::memory_order_relaxed);
        forking_.unlock();
    }
    static void in_child() noexcept {
        forks_.fetch_add(1, std::memory_order_relaxed);
        (void)barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
        // Threads that are not here any more were inside for the moment in which they saw that it is closed, if no longer: a fork
        // of this process would wait for them.
        const std::size_t mine = thread_index();
        for (std::size_t i = 0; i < places_.size(); ++i)
            if (i != mine) places_[i].inside.store(0, std::memory_order_relaxed);
        const bool from_inside = depth_ > 1;
        if (mine == exclusive_threads)
            places_[mine].inside.store(from_inside ? 1 : 0, std::memory_order_relaxed);
        if (from_inside) {  // another thread may have closed it
            closed_.store(false, std::memory_order_relaxed);
            std::construct_at(&forking_);
        }
        in_parent();  // by the very thread that has closed it
    }

    static inline constinit std::atomic<std::uint32_t> forks_{0};
    static inline constinit std::atomic<bool> closed_{false};
    static inline constinit std::mutex forking_;  // held as long as it is closed
    static inline constinit thread_local std::size_t depth_ = 0;
    static inline constinit std::array<ForkGatePlace, exclusive_threads + 1> places_{};
    static inline const bool has_barrier_ = barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    static inline const int registered_ = ::pthread_atfork(&before, &in_parent, &in_child);
};

/// Tells the process in which it was made from its children (R33).
class ProcessMark {
  public:
    [[nodiscard]] bool forked() const noexcept { return ForkGate::forks() != made_; }

  private:
    std::uint32_t made_ = ForkGate::forks();
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
