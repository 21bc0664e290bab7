#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace smartcache::inline v0::detail {

/// Until when what is worth trying for a key is not to be tried (again). A hint: a fixed number of words, each for one key, which
/// it tells from others by 24 bits of its hash.
///
/// Thread safety: all of it; no locks. O(1).
class Pauses {
  public:
    static constexpr std::int64_t longest = (std::int64_t{1} << 40U) - 1;

    /// `now + length`, in ms, where a length for ever ends as late as a pause can.
    [[nodiscard]] static std::int64_t after(std::int64_t now, std::int64_t length) noexcept {
        return length < longest - now ? now + length : longest;
    }

    /// @param now  ms on the monotonic clock, as `until`
    [[nodiscard]] bool paused(std::uint64_t hash, std::int64_t now) const noexcept {
        // relaxed: a word stands for itself, nothing else is published by it.
        for (std::size_t i = 0; i < ways; ++i) {
            const std::uint64_t word = words_[first_of(hash) + i].load(std::memory_order_relaxed);
            if (same_key(word, hash)) return now < until_of(word);
        }
        return false;
    }

    /// Pauses a key until somebody says until when. @return false when somebody has done so already: of many callers one goes
    /// on; also when there is no room for the key
    [[nodiscard]] bool begin(std::uint64_t hash, std::int64_t now) noexcept {
        std::atomic<std::uint64_t>& word = word_for(hash);
        std::uint64_t old = word.load(std::memory_order_relaxed);
        if (now < until_of(old)) return false;
        return word.compare_exchange_strong(old, pack(hash, longest), std::memory_order_relaxed);
    }

    /// Takes another key's word if there is no free one.
    void pause(std::uint64_t hash, std::int64_t until) noexcept {
        word_for(hash).store(pack(hash, until), std::memory_order_relaxed);
    }

    /// Ends the pause of a key, if it has one.
    void end(std::uint64_t hash) noexcept {
        for (std::size_t i = 0; i < ways; ++i) {
            std::atomic<std::uint64_t>& word = words_[first_of(hash) + i];
            if (same_key(word.load(std::memory_order_relaxed), hash))
                word.store(0, std::memory_order_relaxed);
        }
    }

  private:
    static constexpr std::size_t ways = 4;
    static constexpr std::size_t word_count = 1024;
    static constexpr unsigned time_bits = 40;

    [[nodiscard]] static std::uint64_t pack(std::uint64_t hash, std::int64_t until) noexcept {
        const auto time = static_cast<std::uint64_t>(std::clamp<std::int64_t>(until, 0, longest));
        return hash >> time_bits << time_bits | time;
    }
    [[nodiscard]] static std::int64_t until_of(std::uint64_t word) noexcept {
        return static_cast<std::int64_t>(word & static_cast<std::uint64_t>(longest));
    }
    [[nodiscard]] static bool same_key(std::uint64_t word, std::uint64_t hash) noexcept {
        return word >> time_bits == hash >> time_bits;
    }
    [[nodiscard]] static std::size_t first_of(std::uint64_t hash) noexcept {
        return hash % (word_count / ways) * ways;
    }
    /// The key's word, or the one whose pause ends first.
    [[nodiscard]] std::atomic<std::uint64_t>& word_for(std::uint64_t hash) noexcept {
        std::atomic<std::uint64_t>* best = nullptr;
        std::int64_t ends = 0;
        for (std::size_t i = 0; i < ways; ++i) {
            std::atomic<std::uint64_t>& each = words_[first_of(hash) + i];
            const std::uint64_t word = each.load(std::memory_order_relaxed);
            if (same_key(word, hash)) return each;
            if (best == nullptr || until_of(word) < ends) {
                best = &each;
                ends = until_of(word);
            }
        }
        return *best;
    }

    std::array<std::atomic<std::uint64_t>, word_count> words_{};
};

/// Ends a pause of a key's refreshes that `Pauses::begin` began: at one time or, if it has `failed`, at another, once this has
/// ended.
class PauseUntil {
  public:
    PauseUntil(Pauses& pauses, std::uint64_t hash, std::int64_t time, std::int64_t after_failure) noexcept
        : pauses_(&pauses), hash_(hash), time_(time), after_failure_(after_failure) {}
    PauseUntil(PauseUntil&& other) noexcept
        : pauses_(std::exchange(other.pauses_, nullptr)),
          hash_(other.hash_),
          time_(other.time_),
          after_failure_(other.after_failure_) {}
    PauseUntil& operator=(PauseUntil&&) = delete;
    void failed() noexcept { time_ = after_failure_; }
    ~PauseUntil() {
        if (pauses_ != nullptr) pauses_->pause(hash_, time_);
    }

  private:
    Pauses* pauses_;
    std::uint64_t hash_;
    std::int64_t time_;
    std::int64_t after_failure_;
};

}  // namespace smartcache::inline v0::detail
