#pragma once

// Cluster: the map of slots, health.

#include <smartcache/redis/cluster.hpp>

namespace smartcache::inline v0::detail {

inline Cluster::Cluster(ConnectionSettings settings, const RedisOptions& options, RedisCommon& common,
                        std::span<const std::unique_ptr<Partition>> partitions)
    : settings_([&] {
          settings.numbers = std::make_shared<std::atomic<std::uint64_t>>(0);
          return std::move(settings);
      }()),
      options_(options),
      common_(common),
      partitions_(partitions),
      owners_(partitions.size()),
      map_breaker_(options.breaker),
      topology_(std::make_unique<Topology>(settings_)) {}

/// Asks for the map of slots, unless somebody else has just done that. Who has a map does not wait for others.
inline Failure Cluster::refresh(Deadline deadline, bool& asked) {
    std::unique_lock lock(refreshing_, std::try_to_lock);
    while (!lock.owns_lock()) {
        if (mapped_) return {};
        if (deadline.passed())
            return {Failure::Kind::busy, 0, settings_.url.endpoint() + ": still being asked for its slots"};
        ::poll(nullptr, 0, 1);
        static_cast<void>(lock.try_lock());
    }
    const auto now = Deadline::Clock::now();
    if (now < refresh_again_) {
        if (mapped_) return {};
        return {Failure::Kind::backing_off, 0,
                settings_.url.endpoint() + ": no node said who serves which slots"};
    }
    if (asker_.forked()) {  // a thread of the parent may have been in the middle of it (R33)
        asker_ = ProcessMark();
        (void)topology_.release();
        topology_ = std::make_unique<Topology>(settings_);
    }
    std::vector<RedisUrl::Host> known;
    for (const NodePointer& node : masters()) known.push_back(node->host());
    RedisUrl::Host best;
    RedisUrl::Host avoid;
    {
        const std::lock_guard map_lock(mutex_);
        best = std::exchange(moved_to_, {});
        avoid = suspect_;
    }
    doubtful_ = false;
    asked = true;
    std::vector<SlotRange> ranges;
    Failure failure = topology_->ask(best, known, avoid, deadline, ranges);
    if (failure) doubtful_ = true;
    if (failure.kind == Failure::Kind::connecting) return failure;
    refresh_again_ = Deadline::Clock::now() + std::chrono::milliseconds(100);
    if (failure) {
        common_.report(failure.message());
        return failure;
    }
    take_map(ranges);
    lock.unlock();
    common_.state.look();  // a node whose breaker is open may serve nothing any more
    return {};
}

/// On behalf of a call, or of housekeeping: that asks also while no call may.
inline Failure Cluster::refresh_if_doubtful(Deadline deadline, bool background) {
    if (!doubtful_) return {};
    const bool closed = map_breaker_.state() == BreakerState::closed;
    Passage passage(map_breaker_, background && !closed);
    if (passage.refused()) return {Failure::Kind::breaker_open, 0, "the circuit breaker is open"};
    const auto now = Deadline::Clock::now();
    bool asked = false;
    const Failure failure =
        refresh(mapped_ ? earlier(deadline, Deadline(now + (deadline.at() - now) / 2)) : deadline, asked);
    // Who only waited for the answer to somebody else's question has not learnt more than he has.
    if (asked) passage.finish(failure, false, common_, [this] { return name(); });
    return failure;
}

inline void Cluster::take_map(const std::vector<SlotRange>& ranges) {
    std::vector<const SlotRange*> found(partitions_.size());
    for (std::size_t i = 0; i < found.size(); ++i) found[i] = range_of(ranges, partitions_[i]->slot());
    std::map<std::string, NodePointer> left;  // ends, with its connections, after the lock
    const std::lock_guard lock(mutex_);
    left.swap(nodes_);
    for (std::size_t i = 0; i < found.size(); ++i) {
        owners_[i].reset();
        if (found[i] == nullptr) continue;
        const std::string name = found[i]->master.endpoint();
        if (const auto kept = left.find(name); kept != left.end()) nodes_.insert(left.extract(kept));
        owners_[i] = node_at(found[i]->master);
    }
    mapped_ = true;
    // release: pairs with the acquire of who looks at the map next.
    version_.fetch_add(1, std::memory_order_release);
}

inline void Cluster::learn(const std::vector<SlotRange>& ranges) {
    {
        const std::lock_guard lock(mutex_);
        bool same = mapped_;
        for (std::size_t i = 0; i < owners_.size() && same; ++i) {
            const SlotRange* const range = range_of(ranges, partitions_[i]->slot());
            same = range == nullptr ? owners_[i] == nullptr
                                    : owners_[i] != nullptr && owners_[i]->host() == range->master;
        }
        if (same) return;
    }
    take_map(ranges);
    note_answer();
    common_.state.look();
}

/// Who answered was not asked on behalf of a call.
inline void Cluster::note_answer() {
    if (map_breaker_.recovered()) common_.breaker_changed(true, name() + " answers again");
}

inline auto Cluster::serving() const -> Serving {
    Serving now{.all = true};
    const std::lock_guard lock(mutex_);
    const Node* last = nullptr;  // most neighbours are at the same one
    for (const NodePointer& owner : owners_) {
        now.all = now.all && owner != nullptr;
        if (owner == nullptr || owner.get() == last) continue;
        last = owner.get();
        if (std::find(now.masters.begin(), now.masters.end(), owner->host()) == now.masters.end())
            now.masters.push_back(owner->host());
    }
    return now;
}

inline auto Cluster::owner(const Partition& partition) const -> NodePointer {
    const std::lock_guard lock(mutex_);
    return owners_[partition.number()];
}

inline auto Cluster::node_at(const RedisUrl::Host& host) -> NodePointer {
    std::string name = host.endpoint();
    if (const auto found = nodes_.find(name); found != nodes_.end()) return found->second;
    if (nodes_.size() >= most_nodes) return nullptr;
    ConnectionSettings settings = settings_;
    settings.url.hosts = {host};
    settings.url.scheme = RedisUrl::Scheme::tcp;
    auto node = std::make_shared<Node>(std::move(settings), options_, common_);
    nodes_.emplace(std::move(name), node);
    return node;
}

/// Those that serve a partition.
inline auto Cluster::masters() const -> std::vector<NodePointer> {
    const std::lock_guard lock(mutex_);
    std::vector<NodePointer> all;
    for (const NodePointer& node : owners_)
        if (node && std::find(all.begin(), all.end(), node) == all.end()) all.push_back(node);
    return all;
}

/// The number of a partition that the node serves, or did a moment ago.
inline std::size_t Cluster::first_of(const Node& node) const {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(owners_.begin(), owners_.end(),
                                    [&](const NodePointer& owner) { return owner.get() == &node; });
    return found == owners_.end() ? 0 : static_cast<std::size_t>(found - owners_.begin());
}

inline TierHealth Cluster::probe(Deadline deadline) {
    if (doubtful_) {
        bool asked = false;
        const Failure failure = refresh(deadline, asked);
        if (failure && !mapped_) return {false, failure.message()};
        if (!failure && asked) note_answer();
    }
    const std::vector<NodePointer> all = masters();
    std::string problems;
    std::size_t left = all.size();
    for (const NodePointer& node : all) {
        const auto now = Deadline::Clock::now();
        const auto share = (deadline.at() - now) / static_cast<std::int64_t>(left--);
        const TierHealth health =
            node->probe(earlier(deadline, Deadline(now + share)), *partitions_[first_of(*node)]);
        if (!health.ok) problems += (problems.empty() ? "" : "; ") + health.detail;
    }
    {
        const std::lock_guard lock(mutex_);
        if (std::find(owners_.begin(), owners_.end(), nullptr) != owners_.end())
            problems += (problems.empty() ? "" : "; ") + settings_.url.endpoint() +
                        ": nobody serves some of the slots";
    }
    if (problems.empty()) return {true, "ok: " + std::to_string(all.size()) + " masters answered PING"};
    doubtful_ = true;
    return {false, std::move(problems)};
}

inline void Cluster::maintain(Deadline deadline) {
    (void)refresh_if_doubtful(deadline, true);
    const std::vector<NodePointer> all = masters();
    std::size_t left = all.size();
    for (const NodePointer& node : all) {
        const auto now = Deadline::Clock::now();
        const auto share = (deadline.at() - now) / static_cast<std::int64_t>(left--);
        node->maintain(Deadline(now + share), *partitions_[first_of(*node)]);
    }
}

inline BreakerState Cluster::breaker() const {
    // The map's breaker counts, too: when all has been told to be well, nobody but callers asks any more.
    BreakerState worst = map_breaker_.state();
    for (const NodePointer& node : masters()) {
        const BreakerState state = node->breaker();
        if (state == BreakerState::open || worst == BreakerState::closed) worst = state;
    }
    return worst;
}

}  // namespace smartcache::inline v0::detail
