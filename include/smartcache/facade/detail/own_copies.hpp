#pragma once

// Copies that only this process has, in L1 and on its disk, of values that other processes can change in a tier they share.
//
// They are good as long as the tier tells what the others change (`Tier::tells_changes`). Each such message marks the
// fills and writes of its key that are under way, as a change of our own would (fences.hpp), and drops the copies. Two
// things are different:
//
//   - It comes without the key's order, which may be held across the network. So a write of our own takes a ticket too:
//     between the server's answer to it and its copy's arrival in L1 another process' write and the message about that
//     may have passed. Then the copy is not made.
//   - The disk has no look at tickets of its own, as L1 has. So who writes to it looks at its ticket under a gate, and the
//     message passes the same gate: { look at the ticket; write } and { remove; mark } exclude each other.
//
// What is on the disk outlives the process, and times in which nothing was heard (R12). Each record there carries the
// number of the period in which it was written: a random one, another one each time that the cache begins to hear without
// having been told what it missed. A record of another period does not count, unless, if the options want that, nothing is
// heard anyway (R13). How far the cache has heard (`Invalidation::Kind::position`) lies on the disk too, with the period, so
// that another process can go on from there. It gets there when every change that was under way has reached all tiers:
// else a process that dies in one would leave an older value on its disk than the one that the shared tier has told of. What
// is written there later is newer, and what others change later is told later.
//
// Such a record goes up into the shared tier only if that has nothing under the key, not even the trace of an erase, and has not
// been cleared since: the epoch of the key's part of it is the one that was known when copies were last made, or has been another one for so long that
// the message of a clear would be here (a tier that was flushed has a new epoch, too).

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <smartcache/core/counters.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/facade/detail/fences.hpp>

namespace smartcache::inline v0::detail {

/// Thread safety: any thread; `on` and `distrusts` are set before there are others.
class OwnCopies {
  public:
    using Gate = std::unique_lock<ProcessMutex>;

    bool on = false;         ///< whether there is a tier that tells
    bool distrusts = false;  ///< while nothing is heard, copies are not used either
    /// Whether the cache is complete: before that it has no copies to drop.
    std::atomic<bool> open{false};

    // acquire and release: who sees a change comes after what was done before it.
    // In a child of fork(2) nobody listens (R33).
    [[nodiscard]] bool heard() const noexcept {
        return heard_.load(std::memory_order_acquire) && !process_.forked();
    }
    void set_heard(bool heard) noexcept { heard_.store(heard, std::memory_order_release); }
    /// Whether copies may be used and made now.
    [[nodiscard]] bool usable() const noexcept { return !on || !distrusts || heard(); }

    [[nodiscard]] std::uint64_t period() const noexcept { return period_.load(std::memory_order_acquire); }
    void begin_period() noexcept { go_on_with(random_period()); }
    void go_on_with(std::uint64_t period) noexcept { period_.store(period, std::memory_order_release); }

    /// Of the thread that tells, but for `there`.
    struct Position {
        std::string next;                        ///< to be kept
        std::optional<Fences::Passage> passage;  ///< of the changes that were under way when it was told
        std::string kept;
        std::atomic<bool> there{false};  ///< a record that no caller has stored
    };
    Position position;

    /// Of the shared tier (`Tier::parts`); before there are other threads.
    void set_parts(std::size_t parts) { epochs_.resize(std::max(parts, epochs_.size())); }
    /// Copies are made while that part of the shared tier is in this epoch; 0: not known.
    void note_epoch(std::size_t part, std::uint64_t epoch) {
        const std::lock_guard lock(epoch_mutex_);
        if (part < epochs_.size() && epochs_[part].epoch == 0) epochs_[part].epoch = epoch;
    }
    /// After a clear that was heard, or made, here.
    void forget_epochs() {
        const std::lock_guard lock(epoch_mutex_);
        std::fill(epochs_.begin(), epochs_.end(), Epoch{});
    }
    /// Whether nothing has cleared that part of the shared tier unheard, if it is in this epoch now.
    /// @param remade  it was found without one, which is what no clear leaves
    [[nodiscard]] bool follows(std::size_t part, std::uint64_t epoch, bool remade) {
        constexpr std::chrono::seconds longest_message{2};
        const std::lock_guard lock(epoch_mutex_);
        if (part >= epochs_.size()) return false;
        Epoch& known = epochs_[part];
        if (epoch == 0 || epoch < known.epoch) return false;
        if (remade) known.epoch = epoch;
        if (epoch == known.epoch) return true;
        const auto now = std::chrono::steady_clock::now();
        if (epoch != known.next) {
            known.next = epoch;
            known.next_since = now;
        } else if (now - known.next_since > longest_message) {
            known.epoch = epoch;
            return true;
        }
        return false;
    }

    [[nodiscard]] Gate gate(std::uint64_t hash) { return Gate(gates_[(hash >> 32U) % gates_.size()].mutex); }
    /// In one order, so that two of them cannot wait for each other.
    [[nodiscard]] std::vector<Gate> all_gates() {
        std::vector<Gate> all;
        all.reserve(gates_.size());
        for (One& one : gates_) all.emplace_back(one.mutex);
        return all;
    }

  private:
    static std::uint64_t random_period() noexcept { return random_stamp() | 1U; }
    struct alignas(cache_line) One {
        ProcessMutex mutex;  // held across what the disk does
    };

    const ProcessMark process_{};
    std::atomic<bool> heard_{false};
    std::atomic<std::uint64_t> period_{random_period()};
    std::array<One, 32> gates_;
    Mutex epoch_mutex_;
    struct Epoch {
        std::uint64_t epoch = 0;
        std::uint64_t next = 0;  // seen since then
        std::chrono::steady_clock::time_point next_since{};
    };
    std::vector<Epoch> epochs_;  // of each part
};

}  // namespace smartcache::inline v0::detail
