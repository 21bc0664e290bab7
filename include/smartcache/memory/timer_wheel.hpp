#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

namespace smartcache::inline v0::detail {

/// When the entries of one shard expire: a hierarchical timing wheel (George Varghese, Tony Lauck, "Hashed and
/// Hierarchical Timing Wheels", SOSP 1987, scheme 7).
///
/// Six wheels of 64 slots, the first of 32 ms each, every further one 64 times coarser. A timer lies in the wheel
/// of the highest digit (base 64) in which its time differs from the present one, and moves inwards when the
/// present reaches its slot. Timers are known by small numbers, which their owner may give to another entry
/// without telling: a timer that rings is an occasion to look, and `advance` asks what to do next. So a lifetime
/// that is only ever prolonged, by writing the entry again, costs a comparison here.
///
/// Thread safety: none, the shard's lock protects it. Cost: 12 bytes per timer; schedule O(1), advance O(1)
/// amortised per timer that rings, each of which has moved inwards at most five times.
class TimerWheel {
  public:
    static constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();

    /// @param now  what the clock shows: no timer rings before
    explicit TimerWheel(std::int64_t now = 0) noexcept : origin_(now) {}

    /// Rings at `when` (ms) or earlier. Without memory for it, never: whoever reads the entry still sees that it is
    /// dead.
    void schedule(std::uint32_t number, std::int64_t when) noexcept {
        try {
            while (number >= timers_.size() * block_size) {
                timers_.reserve(timers_.size() + 1);
                timers_.push_back(std::make_unique<Timer[]>(block_size));
            }
        } catch (...) {
            return;
        }
        Timer& timer = at(number);
        const std::uint32_t tick = tick_of(when);
        if (timer.tick != none) {
            if (timer.tick <= tick) return;
            unlink(number);
        }
        timer.tick = tick;
        link(number);
        next_ = std::min(next_, when);
    }

    /// Brings what `schedule` of this number writes nearer to the processor.
    void prefetch(std::uint32_t number) const noexcept {
        const std::size_t block = number / block_size;
        if (block < timers_.size()) __builtin_prefetch(&timers_[block][number % block_size], 1);
    }

    /// Whether nothing rings by then.
    [[nodiscard]] bool quiet(std::int64_t now) const noexcept { return now < next_; }

    /// Calls `ring(number)` for every timer whose time has come, and for some up to 32 ms before. It returns when
    /// the timer is to ring again, or `never`.
    template <class Ring>
    void advance(std::int64_t now, Ring ring) noexcept {
        const std::uint32_t present = tick_of(now);
        for (;;) {
            const Slot slot = first();
            if (slot.level == levels || slot.start > present) break;
            elapsed_ = std::max(elapsed_, slot.start);
            std::uint32_t number = detach(slot);
            while (number != none) {
                Timer& timer = at(number);
                const std::uint32_t next = timer.next;
                if (slot.level != 0) {
                    link(number);
                } else {
                    timer.tick = none;
                    if (const std::int64_t again = ring(number); again != never) schedule(number, again);
                }
                number = next;
            }
            // What is left in the present slot comes later within it.
            if (slot.level == 0 && slot.start == present) break;
        }
        elapsed_ = std::max(elapsed_, present);
        const Slot slot = first();
        next_ = slot.level == levels ? never : std::max(now + 1, start_of(slot));
    }

    /// Forgets all timers and gives their memory back.
    void clear() noexcept {
        decltype(timers_)().swap(timers_);
        heads_.fill(none);
        filled_.fill(0);
        next_ = never;
    }

    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return timers_.size() * block_size * sizeof(Timer);
    }

  private:
    static constexpr std::uint32_t none = ~std::uint32_t{0};
    static constexpr std::uint32_t block_size = 128;
    static constexpr std::int64_t tick_length = 32;
    static constexpr unsigned digit = 6;
    static constexpr unsigned slots = 1U << digit;
    static constexpr unsigned levels = 6;

    struct Timer {
        std::uint32_t next = none;
        std::uint32_t prev = none;
        std::uint32_t tick = none;
    };
    struct Slot {
        unsigned level = levels;
        std::uint32_t index = 0;
        std::uint32_t start = 0;
    };

    // Four years and a half from the origin, not from the clock's, which may be as far away; what is later rings then, and
    // again.
    [[nodiscard]] std::uint32_t tick_of(std::int64_t when) const noexcept {
        if (when <= origin_) return 0;
        // Unsigned: the difference may not fit the signed type.
        const std::uint64_t since = static_cast<std::uint64_t>(when) - static_cast<std::uint64_t>(origin_);
        return static_cast<std::uint32_t>(std::min<std::uint64_t>(since / tick_length, none - 1));
    }
    [[nodiscard]] std::int64_t start_of(const Slot& slot) const noexcept {
        return origin_ + std::int64_t{slot.start} * tick_length;
    }
    [[nodiscard]] Timer& at(std::uint32_t number) noexcept {
        return timers_[number / block_size][number % block_size];
    }
    [[nodiscard]] std::uint32_t& head(const Slot& slot) noexcept {
        return heads_[slot.level * slots + slot.index];
    }

    [[nodiscard]] Slot slot_of(std::uint32_t tick) const noexcept {
        const std::uint32_t later = std::max(tick, elapsed_);
        const auto differs = static_cast<unsigned>(std::bit_width(later ^ elapsed_));
        const unsigned level = differs == 0 ? 0 : (differs - 1) / digit;
        return {level, (later >> (digit * level)) & (slots - 1), 0};
    }

    void link(std::uint32_t number) noexcept {
        Timer& timer = at(number);
        const Slot slot = slot_of(timer.tick);
        std::uint32_t& first = head(slot);
        timer.prev = none;
        timer.next = first;
        if (first != none) at(first).prev = number;
        first = number;
        filled_[slot.level] |= std::uint64_t{1} << slot.index;
    }

    // Its slot is the one it was put into: between two advances the present does not move.
    void unlink(std::uint32_t number) noexcept {
        const Timer& timer = at(number);
        if (timer.next != none) at(timer.next).prev = timer.prev;
        if (timer.prev != none) {
            at(timer.prev).next = timer.next;
            return;
        }
        const Slot slot = slot_of(timer.tick);
        head(slot) = timer.next;
        if (timer.next == none) filled_[slot.level] &= ~(std::uint64_t{1} << slot.index);
    }

    // The slot that comes first: in the innermost wheel that has any, for wheels further out begin later.
    [[nodiscard]] Slot first() const noexcept {
        for (unsigned level = 0; level < levels; ++level) {
            if (filled_[level] == 0) continue;
            const auto index = static_cast<std::uint32_t>(std::countr_zero(filled_[level]));
            const unsigned shift = digit * level;
            const std::uint64_t above = std::uint64_t{elapsed_} >> (shift + digit) << (shift + digit);
            return {level, index, static_cast<std::uint32_t>(above | std::uint64_t{index} << shift)};
        }
        return {};
    }

    [[nodiscard]] std::uint32_t detach(const Slot& slot) noexcept {
        filled_[slot.level] &= ~(std::uint64_t{1} << slot.index);
        return std::exchange(head(slot), none);
    }

    std::int64_t origin_;
    std::vector<std::unique_ptr<Timer[]>> timers_;
    std::array<std::uint32_t, std::size_t{levels}* slots> heads_ = [] {
        std::array<std::uint32_t, std::size_t{levels} * slots> empty{};
        empty.fill(none);
        return empty;
    }();
    std::array<std::uint64_t, levels> filled_{};
    std::uint32_t elapsed_ = 0;
    std::int64_t next_ = never;  // nothing rings before
};

}  // namespace smartcache::inline v0::detail
