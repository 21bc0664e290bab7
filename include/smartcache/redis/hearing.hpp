#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <smartcache/core/counters.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/core/own_thread.hpp>
#include <smartcache/core/stats.hpp>
#include <smartcache/record/invalidation.hpp>
#include <smartcache/redis/failure.hpp>

namespace smartcache::inline v0::detail {

/// What listens to other processes' changes for a tier: at a server (listener.hpp), or at all masters of a cluster
/// (cluster_listener.hpp).
///
/// Thread safety: any thread, but `step` and `begin` one at a time. Changes are told by the thread that steps.
class Hearing {
  public:
    Hearing() = default;
    Hearing(const Hearing&) = delete;
    Hearing& operator=(const Hearing&) = delete;
    virtual ~Hearing() = default;

    /// Tells positions, too, where there is a history. Before anything else. @param known  the last one that was told before
    virtual void keep_positions(std::string /*known*/) {}
    /// Does what is to be done, and waits for more until `wake` or until `waker` is readable.
    /// @param waker  a descriptor; -1: none
    virtual void step(Deadline wake, int waker) = 0;
    /// The same until it hears, or has failed to, or the deadline passes.
    void begin(Deadline deadline) {
        const std::uint64_t before = failures();
        while (!hears() && failures() == before && !deadline.passed()) step(deadline, -1);
    }

    // acquire: pairs with the release when it changes; who sees that it hears comes after its owner was told so.
    // In a child of fork(2) there is no thread that would listen.
    [[nodiscard]] bool hears() const noexcept {
        return hears_.load(std::memory_order_acquire) && !process_.forked();
    }
    /// Why it does not hear; empty when it does.
    [[nodiscard]] std::string problem() const {
        const std::lock_guard lock(problem_mutex_);
        return problem_;
    }

  protected:
    /// How often it has failed; of the thread that steps.
    [[nodiscard]] virtual std::uint64_t failures() const noexcept = 0;
    /// @return whether it did before
    bool set_hears(bool hears) noexcept { return hears_.exchange(hears, std::memory_order_acq_rel); }
    void set_problem(std::string text) {
        const std::lock_guard lock(problem_mutex_);
        problem_ = one_line(std::move(text));
    }

  private:
    const ProcessMark process_{};
    std::atomic<bool> hears_{false};
    mutable Mutex problem_mutex_;
    std::string problem_{"not connected yet"};
};

/// How much a tier has heard. Thread safety: any thread.
class HearingCounters {
  public:
    // relaxed: numbers of their own.
    void add_message(bool readable) noexcept {
        messages_.fetch_add(1, std::memory_order_relaxed);
        if (!readable) unreadable_.fetch_add(1, std::memory_order_relaxed);
    }
    void add_own(std::chrono::nanoseconds took) noexcept { latency_.record(took); }
    /// What is told to the tier's owner.
    void add(Invalidation::Kind kind) noexcept {
        if (kind == Invalidation::Kind::heard) gaps_.fetch_add(1, std::memory_order_relaxed);
        if (kind == Invalidation::Kind::resumed) resumed_.fetch_add(1, std::memory_order_relaxed);
    }
    [[nodiscard]] CoherenceStats stats(bool hears) const {
        CoherenceStats stats;
        stats.on = true;
        stats.hears = hears;
        stats.messages = messages_.load(std::memory_order_relaxed);
        stats.unreadable = unreadable_.load(std::memory_order_relaxed);
        stats.gaps = gaps_.load(std::memory_order_relaxed);
        stats.resumed = resumed_.load(std::memory_order_relaxed);
        stats.latency = latency_.summary();
        return stats;
    }
    void reset() noexcept {
        messages_.store(0, std::memory_order_relaxed);
        unreadable_.store(0, std::memory_order_relaxed);
        gaps_.store(0, std::memory_order_relaxed);
        resumed_.store(0, std::memory_order_relaxed);
        latency_.reset();
    }

  private:
    std::atomic<std::uint64_t> messages_{0};
    std::atomic<std::uint64_t> unreadable_{0};
    std::atomic<std::uint64_t> gaps_{0};
    std::atomic<std::uint64_t> resumed_{0};
    LatencyHistogram latency_;
};

/// A thread that steps what hears, for as long as it lives.
class ListeningThread {
  public:
    explicit ListeningThread(Hearing& hearing)
        : hearing_(hearing), waker_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        thread_ = std::thread([this] {
            OwnThread::begin();
            while (!stopping_.load(std::memory_order_acquire))
                hearing_.step(Deadline::in(std::chrono::seconds(60)), waker_);
        });
    }
    ListeningThread(const ListeningThread&) = delete;
    ListeningThread& operator=(const ListeningThread&) = delete;
    ~ListeningThread() {
        stopping_.store(true, std::memory_order_release);
        const std::uint64_t one = 1;
        while (::write(waker_, &one, sizeof one) < 0 && errno == EINTR) {
        }
        thread_.join();
        if (waker_ >= 0) ::close(waker_);
    }

  private:
    Hearing& hearing_;
    const int waker_;
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

}  // namespace smartcache::inline v0::detail
