#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <smartcache/core/counters.hpp>

namespace smartcache::inline v0::detail {

/// Hits on their way to an eviction policy: readers leave the hash here without a lock, whoever holds the
/// shard's lock passes them on. Lossy: what finds no room is dropped, and a full buffer costs a reader one load
/// of a line that nobody writes.
///
/// A write empties the buffer and pays for one more bufferful, which a reader who finds it full may then pass
/// on. Without that a policy that samples would be misled by a loop a little larger than the cache, in which
/// many hits in a row are followed by many misses in a row: it would hear of all misses and of few hits, and
/// take what it hears for a loop that fits (12 seeds of 40 lost 3 to 7 points of hit ratio on the trace
/// shift_corda_loop that way). Where there are hits only, nothing is paid for and readers do no work.
///
/// The idea of batching hits outside the lock: Xiaoning Ding, Song Jiang, Xiaodong Zhang, "BP-Wrapper", ICDE
/// 2009. Hashes, not addresses, are kept, so an entry may be freed meanwhile.
class HitBuffer {
  public:
    static constexpr std::size_t room = 60;

    static constexpr std::uint32_t most_paid =
        32;  // bufferfuls: a turn of a sample of a thousand keys and more

    /// @return false when it is full
    bool push(std::uint64_t hash) noexcept {
        // relaxed throughout: a hash lost, doubled or seen late is a matter of quality only.
        if (next_.load(std::memory_order_relaxed) >= room) return false;
        const std::uint32_t index = next_.fetch_add(1, std::memory_order_relaxed);
        if (index >= room) return false;
        hashes_[index].store(hash, std::memory_order_relaxed);
        return true;
    }

    [[nodiscard]] bool empty() const noexcept { return next_.load(std::memory_order_relaxed) == 0; }

    /// Calls `take(hash)` for what is there. One caller at a time.
    template <class Take>
    void drain(Take take) noexcept {
        const std::uint32_t filled = next_.load(std::memory_order_relaxed);
        for (std::size_t i = 0; i < filled && i < room; ++i)
            // 0: a reader has its number, but has not written yet; its hit is lost.
            if (const std::uint64_t hash = hashes_[i].exchange(0, std::memory_order_relaxed); hash != 0)
                take(hash);
        next_.store(0, std::memory_order_relaxed);
    }

    /// A write has been made. The lock is held for this and `spend`.
    void pay() noexcept {
        const std::uint32_t paid = paid_.load(std::memory_order_relaxed);
        if (paid < most_paid) paid_.store(paid + 1, std::memory_order_relaxed);
    }

    [[nodiscard]] bool paid() const noexcept { return paid_.load(std::memory_order_relaxed) != 0; }

    /// One bufferful, if it is paid for.
    void spend() noexcept {
        const std::uint32_t paid = paid_.load(std::memory_order_relaxed);
        if (paid != 0) paid_.store(paid - 1, std::memory_order_relaxed);
    }

  private:
    alignas(cache_line) std::atomic<std::uint32_t> next_{0};
    std::atomic<std::uint32_t> paid_{0};  // bufferfuls that readers may pass on
    std::array<std::atomic<std::uint64_t>, room> hashes_{};
};

}  // namespace smartcache::inline v0::detail
