#pragma once

#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

#include <smartcache/core/fork.hpp>
#include <smartcache/core/mutex.hpp>

namespace smartcache::inline v0::detail {

/// Tells an owner when a tier, or a part of it, is not asked any more, and when all of it is asked again.
///
/// Breakers open and close in many threads at once, and in a cluster nodes go with theirs still open. So it is not the changes
/// that are told, but what a look at the whole gives after each of them: first that it fails, then by turns, and what was told
/// last is how it is. One call at a time, in the thread of one of those who had something to tell, outside all locks.
///
/// Thread safety: any thread.
class TierState {
  public:
    /// @param tell  what the owner wants to be called; may be empty
    /// @param works  whether all breakers are closed
    TierState(std::function<void(bool up)> tell, std::function<bool()> works)
        : tell_(std::move(tell)), works_(std::move(works)) {}

    /// Something has changed.
    void look() {
        if (!tell_) return;
        std::unique_lock lock(mutex_);
        changed_ = true;
        if (teller_ && !teller_->forked()) return;  // and looks again
        teller_.emplace();
        while (std::exchange(changed_, false)) {
            lock.unlock();
            try {
                const bool up = works_();
                if (std::exchange(up_, up) != up) tell_(up);
            } catch (const std::exception&) {  // no memory to look: the next change is looked at
            }
            lock.lock();
        }
        teller_.reset();
    }

  private:
    const std::function<void(bool up)> tell_;
    const std::function<bool()> works_;
    Mutex mutex_;
    bool changed_ = false;               // since the last look
    std::optional<ProcessMark> teller_;  // somebody of that process tells (R33)
    bool up_ = true;                     // of the thread that tells
};

}  // namespace smartcache::inline v0::detail
