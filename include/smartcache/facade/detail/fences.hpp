#pragma once

// Fences: how a value that was read or loaded before a write is kept from being stored after it (R1, R2).
//
// Whoever is about to fill the cache (a promotion, a load) takes a ticket *before* it asks anybody. Every
// write, erase, clear and change of lifetime marks the tickets of its key. A fill stores only when its ticket
// is still unmarked, and checks that under the key's order lock, under which writes also do their work:
//
//     write: lock order(key) -> change every tier -> mark tickets of key -> unlock
//     fill:  take ticket -> read below or load -> lock order(key) -> if unmarked, store -> unlock
//
// A ticket taken before the marking is marked, so that fill stores nothing. One taken after it reads below
// only what the write has left there. So no fill can put back what a returned write has replaced. Marks are
// per ticket, not per stripe: a hot neighbour does not starve a fill. They have degrees (`Mark`): a load outlives a change of
// its key's lifetime, and one whose key is made stale may still be answered by the old value.
//
// Most writes meet no fill at all, and then do without the lock of the tickets: they read how many there are by
// a read-modify-write. Either it comes before a ticket's own one on that counter, and then that fill reads what
// the write has left (the two synchronise); or after it, and then the write sees that there is one.
//
// Locks: `order` is held across the tiers' I/O, `tickets` only for list work and always taken last. Who
// changes all keys closes the stripes, one after the other, and holds none of them. Callers' code (codecs,
// loaders, destructors of values) runs under neither.
//
// In a child of fork(2) no order is held, no stripe closed and no fill under way (R33), but for what its own thread had begun
// before: that counts as marked, and stores nothing.

#include <algorithm>
#include <array>
#include <atomic>
#include <bitset>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include <smartcache/core/counters.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/core/singletons.hpp>
#include <smartcache/core/tier_id.hpp>
#include <smartcache/facade/value_entry.hpp>

namespace smartcache::inline v0::detail {

/// Under ThreadSanitizer: keeps an exception that several threads hold. Their references are counted in libstdc++.so, out of the
/// sanitizer's sight, to which the end of the last one looks like a race with what the others have read.
inline void keep_for_sanitizer([[maybe_unused]] const std::exception_ptr& error) {
#if defined(__SANITIZE_THREAD__)
    static std::mutex mutex;
    static std::vector<std::exception_ptr> kept;
    const std::lock_guard lock(mutex);
    kept.push_back(error);
#endif
}

/// What has happened to a key since a fill of it took its ticket: the most of it.
enum class Mark : std::uint8_t {
    none,
    lifetime,  ///< another one: copies of what was found have the old one; a load brings its own
    expired,   ///< made stale, and so is what is being loaded; the old value may be served for its grace
    ended,     ///< written, erased
};

/// A fill in progress.
struct Ticket {
    std::string_view key;
    std::uint64_t hash = 0;
    Mark mark = Mark::none;  // under the stripe's `tickets` lock
    bool is_flight = false;
    ProcessMark process{};
    Ticket* prev = nullptr;
    Ticket* next = nullptr;
};

/// One running load of one key, shared by everybody who wants it.
struct Flight : Ticket, std::enable_shared_from_this<Flight> {
    Flight(std::string_view wanted, std::uint64_t key_hash, std::thread::id led_by)
        : name(wanted), leader(led_by) {
        key = name;
        hash = key_hash;
        is_flight = true;
    }

    struct Outcome {
        ValueRef value{};  // empty: the loader found nothing, or failed
        TierId tier = TierId::none;
        bool stale = false;
        std::exception_ptr error{};
    };

    /// Ends the flight; the first outcome counts. relaxed: who reads the outcome has seen `done` under the lock.
    void complete(Outcome outcome) {
        if (outcome.error) keep_for_sanitizer(outcome.error);
        {
            const std::lock_guard lock(mutex);
            if (done.load(std::memory_order_relaxed)) return;
            result = std::move(outcome);
            done.store(true, std::memory_order_relaxed);
        }
        ended.notify_all();
    }

    /// Offers the load to whoever begins it. Once, before anybody else could.
    void offer(std::function<void()> load) {
        const std::lock_guard lock(mutex);
        offered_ = std::move(load);
    }
    /// Runs the load that was offered, in this thread. @return false when it has begun already
    bool begin() {
        const std::function<void()> load = take_offer();
        if (!load) return false;
        leader.store(std::this_thread::get_id(), std::memory_order_relaxed);
        load();
        return true;
    }
    /// Whether somebody has begun to load.
    [[nodiscard]] bool begun() const noexcept {
        return leader.load(std::memory_order_relaxed) != std::thread::id();
    }
    /// Takes the offer back. @return false when the load has begun already
    [[nodiscard]] bool withdraw() { return static_cast<bool>(take_offer()); }

    /// Waits for that, at most until a time. @return whether it has ended
    bool wait(const std::optional<std::chrono::steady_clock::time_point>& end) {
        std::unique_lock lock(mutex);
        while (!done.load(std::memory_order_relaxed)) {
            if (!end)
                ended.wait(lock);
            else if (ended.wait_until(lock, *end) == std::cv_status::timeout)
                return done.load(std::memory_order_relaxed);
        }
        return true;
    }

    const std::string name;
    // Nobody until the load begins, if it is another thread's. relaxed: see WaitGraph.
    std::atomic<std::thread::id> leader;
    Mutex mutex;
    Condition ended;
    std::atomic<bool> done{false};  // set under the lock
    Outcome result;                 // constant once it is done

  private:
    [[nodiscard]] std::function<void()> take_offer() {
        const std::lock_guard lock(mutex);
        return std::exchange(offered_, nullptr);
    }
    std::function<void()> offered_;
};

class Fences {
    static constexpr std::size_t stripe_count = 256;

  public:
    using Order = std::unique_lock<ProcessMutex>;
    /// Several keys, or all of them; the order in which it is released does not matter.
    class Orders {
      public:
        Orders() = default;
        Orders(Orders&& other) noexcept
            : all_(std::move(other.all_)),
              keys_(std::move(other.keys_)),
              closed_(std::exchange(other.closed_, nullptr)) {}
        Orders& operator=(Orders&&) = delete;
        ~Orders() {
            if (closed_ != nullptr) closed_->set_closed(false);
        }

      private:
        friend class Fences;
        Order all_;
        std::vector<Order> keys_;
        Fences* closed_ = nullptr;
    };

    /// Orders everything that changes this key.
    [[nodiscard]] Order order(std::uint64_t hash) {
        Stripe& stripe = stripes_[index_of(hash)];
        for (;;) {
            Order lock(stripe.order);
            if (!stripe.closed()) [[likely]]
                return lock;
            lock.unlock();
            wait_until_open();
        }
    }

    /// The locks are taken in one global order, so that two batches cannot deadlock. Of many keys it is those of all:
    /// ThreadSanitizer gives up on a thread that holds 64.
    [[nodiscard]] Orders order_many(const std::vector<std::uint64_t>& hashes) {
        constexpr std::size_t few = 16;
        std::set<std::size_t> indexes;
        for (const std::uint64_t hash : hashes) indexes.insert(index_of(hash));
        if (indexes.size() > few) return order_all();
        Orders locks;
        locks.keys_.reserve(indexes.size());
        for (auto at = indexes.begin(); at != indexes.end();) {
            Stripe& stripe = stripes_[*at];
            locks.keys_.emplace_back(stripe.order);
            if (stripe.closed()) [[unlikely]] {
                locks.keys_.clear();  // whoever closes them may be waiting for one of these
                wait_until_open();
                at = indexes.begin();
            } else {
                ++at;
            }
        }
        return locks;
    }

    [[nodiscard]] Orders order_all() {
        Orders locks;
        locks.all_ = Order(all_);
        set_closed(true);
        locks.closed_ = this;
        return locks;
    }

    /// Waits, over several calls and without holding anybody up, until every change that was under way at the first of them has
    /// ended.
    class Passage {
      public:
        /// @return whether that is so now
        [[nodiscard]] bool passed(Fences& fences) {
            if (!all_) all_ = free(fences.all_);
            for (std::size_t i = 0; all_ && i < stripe_count; ++i)
                if (!stripes_[i]) stripes_[i] = free(fences.stripes_[i].order);
            return all_ && stripes_.all();
        }

      private:
        static bool free(ProcessMutex& mutex) { return Order(mutex, std::try_to_lock).owns_lock(); }
        bool all_ = false;
        std::bitset<stripe_count> stripes_;
    };

    void enter(Ticket& ticket) {
        Stripe& stripe = stripes_[index_of(ticket.hash)];
        const std::lock_guard lock(stripe.tickets);
        stripe.forget_parent();
        link(stripe, ticket);
    }

    void leave(Ticket& ticket) noexcept {
        Stripe& stripe = stripes_[index_of(ticket.hash)];
        const std::lock_guard lock(stripe.tickets);
        if (ticket.process.forked()) return;
        (ticket.prev != nullptr ? ticket.prev->next : stripe.head) = ticket.next;
        if (ticket.next != nullptr) ticket.next->prev = ticket.prev;
        stripe.count.fetch_sub(1, std::memory_order_relaxed);
    }

    /// Whether a fill is to be stored nowhere.
    [[nodiscard]] bool marked(const Ticket& ticket) {
        return mark_of(ticket) >= (ticket.is_flight ? Mark::expired : Mark::lifetime);
    }
    /// Whether what it has found, instead of loading, is to be copied nowhere.
    [[nodiscard]] bool outdated(const Ticket& ticket) { return mark_of(ticket) != Mark::none; }
    /// Whether what was there when it began must not be served any more, not even for its grace (R5).
    [[nodiscard]] bool ended(const Ticket& ticket) { return mark_of(ticket) == Mark::ended; }

    /// Marks the fills of `key`. The caller holds the key's order lock, or tells of a change that others have made
    /// already (own_copies.hpp).
    void mark(std::string_view key, std::uint64_t hash, Mark mark = Mark::ended) {
        Stripe& stripe = stripes_[index_of(hash)];
        if (stripe.empty()) return;
        const std::lock_guard lock(stripe.tickets);
        stripe.forget_parent();
        for (Ticket* ticket = stripe.head; ticket != nullptr; ticket = ticket->next)
            if (ticket->hash == hash && ticket->key == key) ticket->mark = std::max(ticket->mark, mark);
    }

    /// Marks every fill. The caller holds all order locks, or tells of what others have done.
    void mark_all() {
        for (Stripe& stripe : stripes_) {
            const std::lock_guard lock(stripe.tickets);
            stripe.forget_parent();
            for (Ticket* ticket = stripe.head; ticket != nullptr; ticket = ticket->next)
                ticket->mark = Mark::ended;
        }
    }

    struct Joined {
        std::shared_ptr<Flight> flight;
        bool leads = false;
    };

    /// The running load of `key`, or a new one that the caller leads: it must `complete` it and then `leave`.
    /// A marked flight is never joined (R2).
    /// @param elsewhere  another thread will lead it, which says so when it begins
    [[nodiscard]] Joined join(std::string_view key, std::uint64_t hash, bool elsewhere = false) {
        auto fresh =
            std::make_shared<Flight>(key, hash, elsewhere ? std::thread::id() : std::this_thread::get_id());
        Stripe& stripe = stripes_[index_of(hash)];
        const std::lock_guard lock(stripe.tickets);
        stripe.forget_parent();
        for (Ticket* ticket = stripe.head; ticket != nullptr; ticket = ticket->next)
            if (ticket->is_flight && ticket->mark < Mark::expired && ticket->hash == hash &&
                ticket->key == key)
                return {static_cast<Flight*>(ticket)->shared_from_this(), false};
        link(stripe, *fresh);
        return {std::move(fresh), true};
    }

  private:
    struct alignas(cache_line) Stripe {
        ProcessMutex order;
        std::uint32_t closed_in =
            0;  // under `order`: 0, or one more than the fork count of who changes all keys
        std::atomic<std::uint32_t> count{0};  // of tickets
        ProcessMark process{};                // whose tickets they are
        Mutex tickets;
        Ticket* head = nullptr;

        [[nodiscard]] bool closed() const noexcept { return closed_in == ForkGate::forks() + 1; }
        /// With the lock of the tickets. They are in the memory of threads that a child does not have.
        void forget_parent() noexcept {
            if (!process.forked()) [[likely]]
                return;
            process = ProcessMark();
            head = nullptr;
            count.store(0, std::memory_order_relaxed);
        }

        /// Whether no fill is under way that may have read what the caller has just changed. A read-modify-write,
        /// as argued at the head of this file.
        [[nodiscard]] bool empty() noexcept { return count.fetch_add(0, std::memory_order_acq_rel) == 0; }
    };

    static std::size_t index_of(std::uint64_t hash) noexcept { return (hash >> 40U) % stripe_count; }

    [[nodiscard]] Mark mark_of(const Ticket& ticket) {
        const std::lock_guard lock(stripes_[index_of(ticket.hash)].tickets);
        return ticket.process.forked() ? Mark::ended : ticket.mark;
    }

    static void link(Stripe& stripe, Ticket& ticket) noexcept {
        ticket.prev = nullptr;
        ticket.next = stripe.head;
        if (stripe.head != nullptr) stripe.head->prev = &ticket;
        stripe.head = &ticket;
        stripe.count.fetch_add(1, std::memory_order_acq_rel);
    }

    void set_closed(bool closed) noexcept {
        for (Stripe& stripe : stripes_) {
            const std::lock_guard lock(stripe.order);
            stripe.closed_in = closed ? ForkGate::forks() + 1 : 0;
        }
    }
    void wait_until_open() { const std::lock_guard lock(all_); }

    ProcessMutex all_;  // held by who changes all keys, and before any `order`
    std::array<Stripe, stripe_count> stripes_;
};

/// Takes a ticket for as long as it lives.
class FillTicket {
  public:
    FillTicket(Fences& fences, std::string_view key, std::uint64_t hash) : fences_(fences) {
        ticket_.key = key;
        ticket_.hash = hash;
        fences_.enter(ticket_);
    }
    FillTicket(const FillTicket&) = delete;
    FillTicket& operator=(const FillTicket&) = delete;
    ~FillTicket() { fences_.leave(ticket_); }

    [[nodiscard]] Ticket& operator*() noexcept { return ticket_; }

  private:
    Fences& fences_;
    Ticket ticket_;
};

/// Who waits for which flight, over all caches of the process: so that loads which wait for each other in a
/// circle are found before they hang (R32). Touched only by those who are about to wait for a load.
///
/// A flight's leader is read relaxed: of a circle, each leader has said that it is one before it came here, under the lock.
class WaitGraph {
  public:
    enum class Verdict { may_wait, own_key, circle };

    [[nodiscard]] static WaitGraph& instance() {
        static constinit Eternal<WaitGraph> graph;
        return graph.get();
    }

    /// Registers that this thread waits for `flight`, unless that would never end.
    [[nodiscard]] Verdict begin(const Flight& flight) {
        const std::thread::id self = std::this_thread::get_id();
        if (leader_of(flight) == self) return Verdict::own_key;
        const std::lock_guard lock(mutex_);
        if (process_.forked()) {  // those who waited are not here, and others have got their numbers
            process_ = ProcessMark();
            waits_.clear();
        }
        for (const Flight* target = &flight;;) {
            if (target->done.load(std::memory_order_relaxed)) break;  // nobody waits for that any more
            const auto next = waits_.find(leader_of(*target));
            if (next == waits_.end()) break;
            target = next->second;
            if (leader_of(*target) == self) return Verdict::circle;
        }
        waits_[self] = &flight;
        return Verdict::may_wait;
    }

    /// Ends that.
    class Waiting {
      public:
        explicit Waiting(WaitGraph& graph) noexcept : graph_(graph) {}
        Waiting(const Waiting&) = delete;
        Waiting& operator=(const Waiting&) = delete;
        ~Waiting() {
            const std::lock_guard lock(graph_.mutex_);
            graph_.waits_.erase(std::this_thread::get_id());
        }

      private:
        WaitGraph& graph_;
    };

    /// How many threads wait for a load now.
    [[nodiscard]] std::size_t waiting() {
        const std::lock_guard lock(mutex_);
        return waits_.size();
    }

  private:
    [[nodiscard]] static std::thread::id leader_of(const Flight& flight) noexcept {
        return flight.leader.load(std::memory_order_relaxed);
    }

    Mutex mutex_;
    ProcessMark process_;
    std::unordered_map<std::thread::id, const Flight*> waits_;
};

}  // namespace smartcache::inline v0::detail
