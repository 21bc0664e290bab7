#pragma once

#include <atomic>
#include <cstdint>

namespace smartcache::inline v0::policy {

/// What a policy knows of one entry; the entry derives from it. Its place in the policy's queues lies elsewhere
/// (`NodeLinks`), so that moving a neighbour does not write to the entry.
///
/// Everything but `mark` belongs to whoever holds the shard's lock.
struct Node {
    std::uint64_t hash = 0;    ///< full 64-bit hash of the key; set before `insert`, constant afterwards
    std::uint32_t weight = 1;  ///< cost in the unit of the capacity; constant while the policy holds the node
    std::uint32_t link = 0;    ///< where `NodeLinks` keeps its neighbours, while a queue holds it
    std::atomic<std::uint8_t> mark{0};  ///< hits since the policy last looked, saturating at `max_mark`
    std::uint8_t queue = 0;             ///< which queue of its policy holds the node; 0: none
};

/// Marks count to three: two bits, as in S3-FIFO. A hot entry reaches it after three hits and is not written
/// again.
inline constexpr std::uint8_t max_mark = 3;

/// What a reader does on a hit; it needs no lock. Writes only while that changes something, so a hot entry's
/// line stays shared between cores. Two readers at once may count as one: marks are hints.
inline void mark_hit(Node& node) noexcept {
    // relaxed: the mark publishes nothing, and losing an increment only makes an entry look a little colder.
    const std::uint8_t mark = node.mark.load(std::memory_order_relaxed);
    if (mark < max_mark) node.mark.store(static_cast<std::uint8_t>(mark + 1), std::memory_order_relaxed);
}

}  // namespace smartcache::inline v0::policy
