#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <smartcache/core/fork.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/core/mutex.hpp>

namespace smartcache::inline v0::http::detail {

/// Keeps out of the store what was on its way while one of its tags was purged (R1), and nothing else: which tags a
/// response has is known only when it arrives.
///
/// Only purges are remembered, by the hashes of their tags, and of those the newest: a request that is on its way for
/// longer than some two thousand purges counts as purged, and so would one whose tag has the hash of another.
///
/// Thread safety: any thread.
class TagFences {
  public:
    /// What a request that begins now has seen.
    [[nodiscard]] std::uint64_t now() const noexcept {
        // acquire: who sees that a purge has ended finds nothing in the store that it ended
        return sequence_.load(std::memory_order_acquire);
    }

    /// Whether any of `tags` was purged after `seen`, or is being purged.
    [[nodiscard]] bool purged(const std::vector<std::string>& tags, std::uint64_t seen) {
        if (tags.empty()) return false;
        const std::lock_guard lock(mutex_);
        forget_parent();
        return std::any_of(tags.begin(), tags.end(), [&](const std::string& tag) {
            const auto found = purges_.find(KeyHash{}(tag));
            return (found == purges_.end() ? forgotten_ : found->second) > seen;
        });
    }

    /// Calls `settle()`, which waits for those who found the tag not purged and are storing, then `change()`, which
    /// ends what is stored. From before the one until after the other nobody stores anything with this tag.
    template <class Settle, class Change>
    void purge(std::string_view tag, Settle&& settle, Change&& change) {
        const std::lock_guard lock(purging_);
        struct UnderWay {
            UnderWay(TagFences& owner, std::uint64_t name) : fences(owner), hash(name) { fences.begin(hash); }
            ~UnderWay() { fences.end(hash); }
            TagFences& fences;
            const std::uint64_t hash;
        } const under_way(*this, KeyHash{}(tag));
        settle();
        change();
    }

    /// Purges that are remembered.
    [[nodiscard]] std::size_t size() const {
        const std::lock_guard lock(mutex_);
        return purges_.size();
    }

    static constexpr std::size_t max_remembered = 4096;

  private:
    static constexpr std::uint64_t being_purged = std::numeric_limits<std::uint64_t>::max();

    void begin(std::uint64_t tag) {
        const std::lock_guard lock(mutex_);
        forget_parent();
        if (purges_.size() >= max_remembered) forget_older_half();
        purges_[tag] = being_purged;
    }
    void end(std::uint64_t tag) noexcept {
        const std::lock_guard lock(mutex_);
        const std::uint64_t now =
            sequence_.load(std::memory_order_relaxed) + 1;  // changed with the lock only
        purges_.find(tag)->second = now;
        sequence_.store(now, std::memory_order_release);
    }
    /// With the lock. What others were purging when this process was forked counts as purged just now (R33).
    void forget_parent() {
        if (!process_.forked()) return;
        process_ = {};
        const std::uint64_t now = sequence_.load(std::memory_order_relaxed) + 1;
        for (auto& [tag, at] : purges_)
            if (at == being_purged) at = now;
        sequence_.store(now, std::memory_order_release);
    }
    void forget_older_half() {
        const std::uint64_t now = sequence_.load(std::memory_order_relaxed);
        const std::uint64_t oldest = now - std::min<std::uint64_t>(now, max_remembered / 2);
        std::erase_if(purges_, [oldest](const auto& purge) { return purge.second <= oldest; });
        forgotten_ = oldest;
    }

    std::atomic<std::uint64_t> sequence_{0};
    mutable smartcache::detail::Mutex mutex_;
    std::unordered_map<std::uint64_t, std::uint64_t> purges_;  // hashes of tags: at which sequence
    std::uint64_t forgotten_ = 0;
    smartcache::detail::ProcessMark process_;
    smartcache::detail::ProcessMutex purging_;  // one at a time
};

}  // namespace smartcache::inline v0::http::detail
