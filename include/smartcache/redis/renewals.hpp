#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/record/record.hpp>

namespace smartcache::inline v0::detail {

/// Which records without an end are to be kept on.
///
/// In Redis they have an end all the same, or what `clear`, or a change of a tag, has ended would stay there for good (R19): 30
/// days after they were written. One that has half of that behind it and is read gets 30 days more, once in each quarter of that
/// time: so what is read every two weeks stays.
///
/// Bounded: what does not fit is left to the next who reads it.
///
/// Thread safety: any thread.
class Renewals {
  public:
    static constexpr Duration length = std::chrono::hours(24 * 30);
    static constexpr std::string_view lifetime = "2592000000";  // the same in milliseconds

    /// That a record without an end was read.
    void note(const RecordView& record, WallTime now) {
        const Duration age = now - record.created;
        if (age < length / 2) return;
        const std::uint64_t quarter = record.stamp + static_cast<std::uint64_t>(age / (length / 4));
        const std::lock_guard lock(mutex_);
        std::uint64_t& last = last_[record.stamp % last_.size()];
        if (last == quarter || due_.size() >= most) return;
        due_.emplace_back(record.key);
        last = quarter;
    }
    /// The keys of those whose time has come.
    [[nodiscard]] std::vector<std::string> take() {
        const std::lock_guard lock(mutex_);
        return std::exchange(due_, {});
    }
    /// Again later.
    void put_back(std::string key) {
        const std::lock_guard lock(mutex_);
        if (due_.size() < most) due_.push_back(std::move(key));
    }

  private:
    static constexpr std::size_t most = 512;

    Mutex mutex_;
    std::vector<std::string> due_;
    std::array<std::uint64_t, 1024> last_{};  // by stamps: the quarter in which it was noted
};

}  // namespace smartcache::inline v0::detail
