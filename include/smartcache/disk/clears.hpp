#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/record/key.hpp>
#include <smartcache/record/record.hpp>

namespace smartcache::inline v0::detail {

/// The hash under which a namespace is cleared. Keys that `physical_key` did not make share one that nobody
/// clears.
[[nodiscard]] inline std::uint64_t namespace_hash(std::string_view physical, std::uint64_t token) noexcept {
    const auto parts = split_physical_key(physical);
    return parts ? stable_hash(as_byte_view(parts->name_space), token) : ~token;
}

/// The hashes under which a namespace's records with one tag end (persistent).
struct TagHashes {
    std::uint64_t erased;
    std::uint64_t expired;
};
[[nodiscard]] inline TagHashes tag_hashes(std::string_view name_space, std::string_view tag,
                                          std::uint64_t token) {
    const std::uint64_t hash = stable_hash(as_byte_view(physical_key(name_space, tag)), token + 1);
    return {hash, ~hash};
}

/// The hash under which all of a namespace's records with tags end: for when there are too many to remember each.
[[nodiscard]] inline std::uint64_t tagged_hash(std::string_view name_space, std::uint64_t token) noexcept {
    return stable_hash(as_byte_view(name_space), token + 2);
}

/// All hashes under which a record with tags can end, appended to `hashes`; none for others.
inline void append_tag_hashes(const RecordView& record, std::uint64_t token,
                              std::vector<std::uint64_t>& hashes) {
    if (record.tags.empty()) return;
    const std::string_view name_space = namespace_of(record.key);
    hashes.push_back(tagged_hash(name_space, token));
    for (const std::string_view tag : record.tags) {
        const TagHashes ends = tag_hashes(name_space, tag, token);
        hashes.insert(hashes.end(), {ends.erased, ends.expired});
    }
}

/// Up to which sequence each group of records has ended: those of a namespace, by a clear, or those with a tag. Almost
/// always empty: an entry stays only while a segment may hold older records.
///
/// Thread safety: any thread.
class EndedGroups {
  public:
    [[nodiscard]] bool empty() const noexcept { return count_.load(std::memory_order_acquire) == 0; }
    [[nodiscard]] std::size_t size() const noexcept { return count_.load(std::memory_order_acquire); }

    /// Records of the group with a lower sequence are dead; 0: none are.
    [[nodiscard]] std::uint64_t before(std::uint64_t group) const {
        if (empty()) return 0;
        const std::shared_lock lock(mutex_);
        const auto found = sequences_.find(group);
        return found == sequences_.end() ? 0 : found->second;
    }

    void set(std::uint64_t group, std::uint64_t sequence) {
        const std::unique_lock lock(mutex_);
        std::uint64_t& known = sequences_[group];
        if (known < sequence) known = sequence;
        // release: a read that begins after the end was called sees the entry.
        count_.store(sequences_.size(), std::memory_order_release);
    }

    /// No record has a sequence below `lowest` any more: ends up to there have nothing left to do.
    void forget_below(std::uint64_t lowest) {
        if (empty()) return;
        const std::unique_lock lock(mutex_);
        for (const auto& [group, sequence] : sequences_)
            if (sequence <= lowest && sequence > forgotten_.load(std::memory_order_relaxed))
                // seq_cst, before the entry goes: whoever misses the entry sees that something was forgotten.
                forgotten_.store(sequence);
        std::erase_if(sequences_, [lowest](const auto& entry) { return entry.second <= lowest; });
        count_.store(sequences_.size(), std::memory_order_release);
    }
    /// The highest sequence that was forgotten.
    [[nodiscard]] std::uint64_t forgotten() const noexcept { return forgotten_.load(); }

  private:
    mutable std::shared_mutex mutex_;
    std::unordered_map<std::uint64_t, std::uint64_t> sequences_;
    std::atomic<std::size_t> count_{0};
    std::atomic<std::uint64_t> forgotten_{0};
};

}  // namespace smartcache::inline v0::detail
