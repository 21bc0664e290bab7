#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include <smartcache/core/fork.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/redis/connection.hpp>
#include <smartcache/redis/failure.hpp>

namespace smartcache::inline v0::detail {

/// At most `max_connections` connections to one server, opened when they are needed. Where the server has to be
/// found first (`ConnectionSettings::finder`), all of them go to the one that was found last.
///
/// A caller who finds none free waits within its deadline. Idle ones are looked at before they are handed
/// out. After a failed connect nobody tries again for a while that doubles from 10 ms to 1 s, with jitter, so
/// that many processes do not come back at the same moment. After fork(2) the child forgets the parent's
/// connections (R33).
///
/// Thread safety: any thread.
class Pool {
  public:
    Pool(const ConnectionSettings& settings, std::size_t max_connections)
        : settings_(settings), max_connections_(max_connections) {}
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

  private:
    /// When a connection was begun: what belongs to another process' pool, or to a server that was left, does
    /// not come back into this one.
    struct Origin {
        std::uint64_t generation = 0;  ///< of processes
        std::uint64_t era = 0;         ///< ends when a server is left, or another one is found
        std::uint64_t server = 0;
    };

  public:
    /// A connection in use. Dropped (closed) when the lease ends, unless it was given back.
    class Lease {
      public:
        Lease() = default;
        Lease(Lease&& other) noexcept { swap(other); }
        Lease& operator=(Lease&& other) noexcept {
            Lease gone(std::move(other));
            swap(gone);
            return *this;
        }
        ~Lease() {
            if (connection_) pool_->drop(std::move(connection_), origin_);
        }
        [[nodiscard]] explicit operator bool() const noexcept { return connection_ != nullptr; }
        [[nodiscard]] Connection& operator*() const noexcept { return *connection_; }
        [[nodiscard]] Connection* operator->() const noexcept { return connection_.get(); }
        /// Which of the servers found one after the other it goes to, from 1 on; a restarted one is another. 0: they
        /// are not told apart.
        [[nodiscard]] std::uint64_t server() const noexcept { return origin_.server; }
        /// For the next caller. Only after everything sent was answered.
        void give_back() noexcept { pool_->take_back(std::move(connection_), origin_); }

      private:
        friend class Pool;
        Lease(Pool* pool, std::unique_ptr<Connection> connection, Origin origin) noexcept
            : pool_(pool), connection_(std::move(connection)), origin_(origin) {}
        void swap(Lease& other) noexcept {
            std::swap(pool_, other.pool_);
            std::swap(connection_, other.connection_);
            std::swap(origin_, other.origin_);
        }
        Pool* pool_ = nullptr;
        std::unique_ptr<Connection> connection_;
        Origin origin_;
    };

    /// Hands out a connection that is ready.
    [[nodiscard]] Failure acquire(Deadline deadline, Lease& lease) {
        std::unique_lock lock(mutex_);
        for (;;) {
            forget_parent();
            Lease candidate;
            if (!idle_.empty()) {
                candidate = Lease(this, std::move(idle_.back()), now_);
                idle_.pop_back();
            } else if (open_ < max_connections_) {
                if (Deadline::Clock::now() < retry_at_) return {Failure::Kind::backing_off, 0, last_problem_};
                auto connection = std::make_unique<Connection>(settings_);
                ++open_;
                candidate = Lease(this, std::move(connection), now_);
            } else {
                // A system-clock wait would jump with it; this one is on the steady clock.
                if (freed_.wait_until(lock, deadline.at()) == std::cv_status::timeout && deadline.passed())
                    return {Failure::Kind::busy, 0,
                            "Redis at " + settings_.url.endpoint() + ": all " +
                                std::to_string(max_connections_) + " connections are in use"};
                continue;
            }
            lock.unlock();
            bool usable = true;
            if (candidate->ready())
                usable = candidate->quiet();  // not closed by the server, which speaks only when asked
            else if (Failure failure = open(candidate, deadline, usable))
                return failure;
            if (usable) {
                lease = std::move(candidate);
                return {};
            }
            candidate = Lease();
            lock.lock();
        }
    }

    /// Gives up all connections to the server that `lease` goes to, if that is found by searching: those in
    /// use when they come back. The next ones search anew.
    void leave_server(const Lease& lease) {
        if (!settings_.finder) return;
        std::deque<std::unique_ptr<Connection>> left;
        const std::lock_guard lock(mutex_);
        if (lease.origin_.generation == now_.generation && lease.origin_.era == now_.era) begin_era(left);
    }

    /// Ends the wait after a failed connect: the next caller tries.
    void try_again() {
        const std::lock_guard lock(mutex_);
        retry_at_ = {};
    }

    /// Closes idle connections that the server has closed, or that speak without being asked.
    void drop_broken() {
        std::deque<std::unique_ptr<Connection>> broken;
        const std::lock_guard lock(mutex_);
        forget_parent();
        for (auto at = idle_.begin(); at != idle_.end();) {
            if ((*at)->quiet()) {
                ++at;
                continue;
            }
            broken.push_back(std::move(*at));
            at = idle_.erase(at);
            --open_;
        }
    }

    [[nodiscard]] std::size_t open_connections() const {
        const std::lock_guard lock(mutex_);
        return open_;
    }

  private:
    /// @param usable  whether an open connection goes where all should go now
    Failure open(Lease& candidate, Deadline deadline, bool& usable) {
        Failure failure = candidate->open(deadline);
        if (!failure) {
            std::deque<std::unique_ptr<Connection>> left;
            const std::lock_guard lock(mutex_);
            failed_in_a_row_ = 0;
            retry_at_ = {};
            usable = !(settings_.finder || settings_.numbers) || joins(candidate, left);
        } else if (failure.kind == Failure::Kind::connecting) {
            candidate.give_back();
        } else {
            candidate = Lease();
            const std::lock_guard lock(mutex_);
            back_off(failure);
        }
        return failure;
    }

    /// Under the lock, like `begin_era`.
    bool joins(Lease& candidate, std::deque<std::unique_ptr<Connection>>& left) {
        if (candidate.origin_.era != now_.era) return false;  // what its search found has been left since
        std::string server = candidate->identity().run_id + "@" + candidate->server().endpoint();
        if (server != server_) {
            if (!std::exchange(server_, std::move(server)).empty()) begin_era(left);
            // relaxed: a number, nothing is published by it.
            now_.server = settings_.numbers ? settings_.numbers->fetch_add(1, std::memory_order_relaxed) + 1
                                            : now_.server + 1;
        }
        candidate.origin_ = now_;
        return true;
    }
    /// @param left  receives what is to be closed
    void begin_era(std::deque<std::unique_ptr<Connection>>& left) {
        ++now_.era;
        left.swap(idle_);
        open_ -= left.size();
        freed_.notify_all();
    }

    void back_off(const Failure& failure) {
        constexpr std::chrono::microseconds first{10'000};
        constexpr std::chrono::microseconds longest{1'000'000};
        const auto delay = std::min(longest, first * (std::int64_t{1} << std::min(failed_in_a_row_, 10U)));
        const auto jitter =
            static_cast<std::int64_t>(random_stamp() % static_cast<std::uint64_t>(delay.count() / 2));
        ++failed_in_a_row_;
        retry_at_ = Deadline::Clock::now() + delay - std::chrono::microseconds(jitter);
        last_problem_ = failure.message();
    }

    void take_back(std::unique_ptr<Connection> connection, Origin origin) noexcept {
        try {
            const std::lock_guard lock(mutex_);
            if (origin.generation == now_.generation && origin.era == now_.era) {
                // The one used last is used next: the others grow old and show that fewer would do.
                // Unfinished ones wait behind all that are ready.
                if (connection->ready())
                    idle_.push_back(std::move(connection));
                else
                    idle_.push_front(std::move(connection));
                freed_.notify_one();
                return;
            }
        } catch (...) {  // no memory for the queue's next block: closed instead of kept
        }
        drop(std::move(connection), origin);
    }
    void drop(std::unique_ptr<Connection> connection, Origin origin) noexcept {
        connection.reset();
        const std::lock_guard lock(mutex_);
        if (origin.generation != now_.generation) return;
        --open_;
        freed_.notify_one();
    }

    /// In a child process: descriptors are closed here without a word to the server; the parent's stay as
    /// they are.
    void forget_parent() {
        if (!owner_.forked()) return;
        owner_ = ProcessMark();
        ++now_.generation;
        open_ = 0;
        idle_.clear();
    }

    const ConnectionSettings& settings_;
    const std::size_t max_connections_;
    mutable Mutex mutex_;
    Condition freed_;
    std::deque<std::unique_ptr<Connection>> idle_;  // ready ones at the back
    std::size_t open_ = 0;                          // idle and in use
    Origin now_;
    std::string server_;  // which one was found last, and which run of it
    ProcessMark owner_;
    unsigned failed_in_a_row_ = 0;
    Deadline::Clock::time_point retry_at_{};
    std::string last_problem_;
};

}  // namespace smartcache::inline v0::detail
