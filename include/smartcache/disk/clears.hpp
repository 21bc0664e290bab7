#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <unordered_map>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/record/key.hpp>

namespace smartcache::inline v0::detail {

/// The hash under which a namespace is cleared. Keys that `physical_key` did not make share one that nobody
/// clears.
[[nodiscard]] inline std::uint64_t namespace_hash(std::string_view physical, std::uint64_t token) noexcept {
    const auto parts = split_physical_key(physical);
    return parts ? stable_hash(as_byte_view(parts->name_space), token) : ~token;
}

/// Up to which sequence each namespace has been cleared. Almost always empty: an entry stays only while a
/// segment may hold older records of the namespace.
///
/// Thread safety: any thread.
class ClearedNamespaces {
  public:
    [[nodiscard]] bool empty() const noexcept { return count_.load(std::memory_order_acquire) == 0; }

    /// Records of the namespace with a lower sequence are dead; 0: none are.
    [[nodiscard]] std::uint64_t before(std::uint64_t name_space_hash) const {
        if (empty()) return 0;
        const std::shared_lock lock(mutex_);
        const auto found = sequences_.find(name_space_hash);
        return found == sequences_.end() ? 0 : found->second;
    }

    void set(std::uint64_t name_space_hash, std::uint64_t sequence) {
        const std::unique_lock lock(mutex_);
        std::uint64_t& known = sequences_[name_space_hash];
        if (known < sequence) known = sequence;
        // release: a read that begins after `clear` has returned sees the entry.
        count_.store(sequences_.size(), std::memory_order_release);
    }

    /// No record has a sequence below `lowest` any more: clears up to there have nothing left to do.
    void forget_below(std::uint64_t lowest) {
        if (empty()) return;
        const std::unique_lock lock(mutex_);
        std::erase_if(sequences_, [lowest](const auto& entry) { return entry.second <= lowest; });
        count_.store(sequences_.size(), std::memory_order_release);
    }

  private:
    mutable std::shared_mutex mutex_;
    std::unordered_map<std::uint64_t, std::uint64_t> sequences_;
    std::atomic<std::size_t> count_{0};
};

}  // namespace smartcache::inline v0::detail
