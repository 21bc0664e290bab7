#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/core/singletons.hpp>

// Requests that are on their way to the origin. Two jobs:
//  - Collapsed forwarding: of several requests that miss the same variant one leads, the others wait. Nothing
//  is handed
//    from one to the other: who wakes up looks into the store again and takes only what its own request may
//    reuse (R23).
//  - Fences: an invalidation moves the resource's generation; whoever asked the origin before it may not
//  store what it
//    got (R1), and those who come after it do not wait for an older leader (R2).
// In a child of fork(2) nothing is on its way (R33), but for the requests of its one thread: those store nothing and wake nobody.
namespace smartcache::inline v0::http::detail {

class Flights {
  public:
    /// How a leader ended.
    enum class Ending {
        stored,      ///< look again
        not_shared,  ///< what came is for its own client only: everybody goes alone
        abandoned,   ///< no response; somebody else should lead
    };
    using Wake = std::function<void(Ending)>;

  private:
    struct Lead {
        std::string variant;
        std::thread::id thread;
        std::vector<Wake> waiters;
    };
    struct Flight {
        std::mutex mutex;  // also orders changes of the resource's records in this process
        std::uint64_t generation = 0;
        std::vector<Lead> leads;
        /// Versions of the primary record that this process alone has replaced, one by the next, and what is there since.
        std::vector<std::uint64_t> replaced;
        std::uint64_t present = 0;
        std::size_t users = 0;  // guarded by the shard's mutex
    };
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const noexcept {
            return static_cast<std::size_t>(KeyHash{}(text));
        }
    };
    struct Shard {
        std::mutex mutex;
        std::unordered_map<std::string, std::shared_ptr<Flight>, Hash, std::equal_to<>> flights;
    };
    using Shards = std::array<Shard, 16>;
    static constexpr std::size_t max_replaced = 32;  // who is on its way for longer has been overtaken

  public:
    /// A request's part in a flight. Leaving it, and ending its lead, is the destructor's work.
    class Ticket {
      public:
        Ticket() = default;
        Ticket(Ticket&& other) noexcept { swap(other); }
        Ticket& operator=(Ticket&& other) noexcept {
            Ticket(std::move(other)).swap(*this);
            return *this;
        }
        ~Ticket() {
            if (flight_ == nullptr) return;
            end(Ending::abandoned);
            if (!process_.forked()) leave(*shards_, key_, flight_);
        }

        [[nodiscard]] explicit operator bool() const noexcept { return flight_ != nullptr; }
        [[nodiscard]] bool leads() const noexcept { return leads_; }

        /// Calls `change()` while nobody else in this process changes the resource's records; not at all, and
        /// false, when the resource was invalidated since this ticket was taken.
        template <class Change>
        bool unless_invalidated(Change&& change) {
            if (process_.forked()) return false;
            const std::lock_guard lock(flight_->mutex);
            if (flight_->generation != generation_) return false;
            change();
            return true;
        }

        /// Inside `unless_invalidated`. @return the version that the primary record must have now, if nobody but this
        /// flight has changed it since it had `version`
        [[nodiscard]] std::uint64_t follow(std::uint64_t version) const {
            const auto& replaced = flight_->replaced;
            return std::find(replaced.begin(), replaced.end(), version) == replaced.end() ? version
                                                                                          : flight_->present;
        }
        /// Inside `unless_invalidated`: a version of the primary record, which nobody else has changed, was replaced.
        void replace(std::uint64_t version, std::uint64_t by) {
            auto& replaced = flight_->replaced;
            if (version != flight_->present) replaced.clear();
            if (replaced.size() == max_replaced) replaced.erase(replaced.begin());
            replaced.push_back(version);
            flight_->present = by;
        }

        /// As if the ticket were taken now.
        void renew() {
            if (process_.forked()) return;
            const std::lock_guard lock(flight_->mutex);
            generation_ = flight_->generation;
        }

        /// Whether the resource was not invalidated since this ticket was taken.
        [[nodiscard]] bool valid() const {
            if (process_.forked()) return false;
            const std::lock_guard lock(flight_->mutex);
            return flight_->generation == generation_;
        }

        /// Ends the lead, if this is the leader, and wakes those who wait.
        void end(Ending ending) noexcept {
            if (!leads_) return;
            leads_ = false;
            if (process_.forked()) return;
            std::vector<Wake> waiters;
            {
                const std::lock_guard lock(flight_->mutex);
                // After an invalidation the lead is gone already, or is somebody else's.
                if (flight_->generation == generation_) waiters = take_lead(*flight_, variant_);
            }
            wake_all(waiters, ending);
        }

      private:
        friend class Flights;
        void swap(Ticket& other) noexcept {
            std::swap(shards_, other.shards_);
            std::swap(flight_, other.flight_);
            std::swap(key_, other.key_);
            std::swap(variant_, other.variant_);
            std::swap(generation_, other.generation_);
            std::swap(leads_, other.leads_);
            std::swap(process_, other.process_);
        }

        // Kept alive: an executor may drop what waits in it, and so a ticket, after these flights have ended.
        std::shared_ptr<Shards> shards_;
        std::shared_ptr<Flight> flight_;
        std::string key_;
        std::string variant_;
        std::uint64_t generation_ = 0;
        bool leads_ = false;
        smartcache::detail::ProcessMark process_;
    };

    enum class Role { leader, waiter, alone };

    /// Changes with every invalidation, behind its erasing. Who has looked at the store without a ticket, and finds the
    /// same number after `join`, has seen nothing that was invalidated before that.
    [[nodiscard]] std::uint64_t invalidations() const noexcept {
        return invalidations_.load(std::memory_order_acquire);
    }

    /// Enters the flight of `key`, without a part in its collapsing. Fences everything that follows.
    [[nodiscard]] Ticket join(std::string_view key) {
        Ticket ticket;
        ticket.shards_ = shards_.get();
        ticket.key_ = key;
        Shard& shard = shard_of(*ticket.shards_, key);
        {
            const std::lock_guard lock(shard.mutex);
            auto& flight = shard.flights[ticket.key_];
            if (flight == nullptr) flight = std::make_shared<Flight>();
            ++flight->users;
            ticket.flight_ = flight;
        }
        const std::lock_guard lock(ticket.flight_->mutex);
        ticket.generation_ = ticket.flight_->generation;
        return ticket;
    }

    /// Takes the lead of a variant, or waits for who has it: then `make_wake()` gives what is called at its
    /// end, from the leader's thread. `alone`: neither is allowed or possible. `blocking`: waiting means that
    /// this thread sleeps. Who leads must look at the store again: the ticket is valid from here on, and as old as it was
    /// for everybody else.
    template <class MakeWake>
    [[nodiscard]] Role take_part(Ticket& ticket, std::string variant, bool may_lead, bool may_wait,
                                 bool blocking, MakeWake&& make_wake) {
        if (ticket.process_.forked()) return Role::alone;
        const std::lock_guard lock(ticket.flight_->mutex);
        for (Lead& lead : ticket.flight_->leads) {
            if (lead.variant != variant) continue;
            // The leader's own thread asks again (a handler that calls the cache): waiting would be for ever
            // (R32).
            if (!may_wait || (blocking && lead.thread == std::this_thread::get_id())) return Role::alone;
            lead.waiters.push_back(make_wake());
            return Role::waiter;
        }
        if (!may_lead) return Role::alone;
        ticket.generation_ = ticket.flight_->generation;  // of which the lead is
        ticket.flight_->leads.push_back({variant, std::this_thread::get_id(), {}});
        ticket.variant_ = std::move(variant);
        ticket.leads_ = true;
        return Role::leader;
    }

    /// Moves the fence of `key` and calls `erase()` behind it, while nobody else in this process changes the resource's
    /// records. `own`: the ticket of whoever invalidates, which stays valid if it was; what it stores is newer than what
    /// it erased.
    template <class Erase>
    void invalidate(std::string_view key, Erase&& erase, Ticket* own = nullptr) {
        const Ticket here = join(key);
        Flight& flight = *here.flight_;
        std::vector<Lead> leads;
        {
            const std::lock_guard lock(flight.mutex);
            const bool keep =
                own != nullptr && own->flight_ == here.flight_ && own->generation_ == flight.generation;
            ++flight.generation;
            flight.replaced.clear();
            if (keep) own->generation_ = flight.generation;
            leads.swap(flight.leads);  // R2: nobody joins them any more
            erase();
            invalidations_.fetch_add(1, std::memory_order_release);
        }
        for (const Lead& lead : leads) wake_all(lead.waiters, Ending::abandoned);
    }

    /// The same for every key there is.
    template <class Erase>
    void invalidate_all(Erase&& erase) {
        std::vector<Lead> leads;
        // Twice, because no lock is held from the one to the other.
        invalidations_.fetch_add(1, std::memory_order_release);
        for (Shard& shard : *shards_.get()) {
            const std::lock_guard lock(shard.mutex);
            for (auto& [key, flight] : shard.flights) {
                const std::lock_guard flight_lock(flight->mutex);
                ++flight->generation;
                flight->replaced.clear();
                for (Lead& lead : flight->leads) leads.push_back(std::move(lead));
                flight->leads.clear();
            }
        }
        erase();
        invalidations_.fetch_add(1, std::memory_order_release);
        for (const Lead& lead : leads) wake_all(lead.waiters, Ending::abandoned);
    }

  private:
    /// Runs in whatever thread ends a lead, destructors included.
    static void wake_all(const std::vector<Wake>& waiters, Ending ending) noexcept {
        for (const Wake& wake : waiters) {
            try {
                wake(ending);
            } catch (...) {  // nobody here can answer for it, and the others wait still
            }
        }
    }

    static std::vector<Wake> take_lead(Flight& flight, const std::string& variant) noexcept {
        for (std::size_t i = 0; i < flight.leads.size(); ++i) {
            if (flight.leads[i].variant != variant) continue;
            std::vector<Wake> waiters = std::move(flight.leads[i].waiters);
            flight.leads.erase(flight.leads.begin() + static_cast<std::ptrdiff_t>(i));
            return waiters;
        }
        return {};
    }

    static void leave(Shards& shards, const std::string& key,
                      const std::shared_ptr<Flight>& flight) noexcept {
        Shard& shard = shard_of(shards, key);
        const std::lock_guard lock(shard.mutex);
        if (--flight->users == 0) shard.flights.erase(key);
    }

    [[nodiscard]] static Shard& shard_of(Shards& shards, std::string_view key) noexcept {
        return shards[static_cast<std::size_t>(KeyHash{}(key) >> 32U) % shards.size()];
    }

    smartcache::detail::PerProcess<Shards> shards_;
    std::atomic<std::uint64_t> invalidations_{0};
};

/// Remembers for a while which variants turned out not to be shared, so that requests for them do not wait
/// for one another. Bounded and forgetful: a slot holds one variant, and mistaking one for another only costs
/// a collapse.
///
/// Thread safety: any thread, lock-free.
class UncacheableMemory {
  public:
    void remember(std::string_view variant, MonotonicTime now) noexcept {
        slot(variant).store(pack(variant, seconds(now) + lifetime_s), std::memory_order_relaxed);
    }
    void forget(std::string_view variant) noexcept { slot(variant).store(0, std::memory_order_relaxed); }
    [[nodiscard]] bool knows(std::string_view variant, MonotonicTime now) noexcept {
        // relaxed: a hint; nothing is published through it.
        const std::uint64_t value = slot(variant).load(std::memory_order_relaxed);
        return value >> 32U == KeyHash{}(variant) >> 32U && (value & 0xFFFFFFFFU) > seconds(now);
    }

  private:
    static constexpr std::uint64_t lifetime_s = 10;
    static std::uint64_t seconds(MonotonicTime now) noexcept {
        return static_cast<std::uint64_t>(
                   std::chrono::floor<std::chrono::seconds>(now.time_since_epoch()).count()) &
               0x7FFFFFFFU;
    }
    static std::uint64_t pack(std::string_view variant, std::uint64_t until) noexcept {
        return (KeyHash{}(variant) >> 32U) << 32U | until;
    }
    std::atomic<std::uint64_t>& slot(std::string_view variant) noexcept {
        return slots_[static_cast<std::size_t>(KeyHash{}(variant)) % slots_.size()];
    }
    std::array<std::atomic<std::uint64_t>, 2048> slots_{};
};

/// What a waiting thread sleeps on.
class Latch {
  public:
    void open(Flights::Ending ending) {
        {
            const std::lock_guard lock(mutex_);
            ending_ = ending;
        }
        opened_.notify_all();
    }
    /// @return nullopt when `timeout` passed first
    std::optional<Flights::Ending> wait(Duration timeout) {
        std::unique_lock lock(mutex_);
        opened_.wait_for(lock, timeout, [this] { return ending_.has_value(); });
        return ending_;
    }

  private:
    std::mutex mutex_;
    std::condition_variable opened_;
    std::optional<Flights::Ending> ending_;
};

}  // namespace smartcache::inline v0::http::detail
