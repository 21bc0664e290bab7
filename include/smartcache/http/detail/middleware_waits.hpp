#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/executor.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/core/singletons.hpp>
#include <smartcache/http/flights.hpp>

// Waits for another request that hold no thread.
namespace smartcache::inline v0::http::detail {

/// What is to be done at the end of a wait: once, whoever ends it first.
class Wait {
  public:
    using Then = std::function<void(std::optional<Flights::Ending>)>;

    /// @param then  gets how the leader ended; nullopt: the wait was given up
    explicit Wait(Then then) : then_(std::move(then)) {}

  private:
    friend class Waits;
    using Time = std::chrono::steady_clock::time_point;
    struct Place {
        Time end;
        std::weak_ptr<Wait> wait;
    };

    /// Ends the wait. @return what is to be done; empty: it has ended before
    [[nodiscard]] Then take() {
        if (ended_.exchange(true)) return nullptr;
        return std::exchange(then_, nullptr);  // whoever else keeps this object keeps only that
    }

    std::atomic<bool> ended_{false};
    Then then_;
    std::list<Place>* line_ = nullptr;  // with the lock of `Waits`: where it stands, until it ends
    std::list<Place>::iterator place_{};
};

/// Gives up waits that take too long. All of them may take the same time, so they stand in line, and one timer of an
/// executor, for the first in line, is enough. Who ends leaves the line: of ended waits nothing is kept.
///
/// Thread safety: any thread. May end before the timer does.
class Waits {
    using Time = Wait::Time;
    struct Line {
        std::list<Wait::Place> waits;
        std::weak_ptr<const int> timer;  // of the task that an executor has; it may have dropped it
    };
    struct State {
        smartcache::detail::Mutex mutex;
        std::map<Executor*, Line> lines;
    };

  public:
    /// `wait` ends after `limit` of real time, if the executor has a timer.
    void add(const std::shared_ptr<Wait>& wait, Executor& executor, Duration limit) {
        const std::shared_ptr<State>& state = state_.get();
        Timer timer;
        {
            const std::lock_guard lock(state->mutex);
            if (wait->ended_) return;
            const Time now = std::chrono::steady_clock::now();
            const bool for_ever = limit > std::chrono::duration_cast<Duration>(Time::max() - now);
            Line& line = state->lines[&executor];
            wait->place_ = line.waits.insert(line.waits.end(), {for_ever ? Time::max() : now + limit, wait});
            wait->line_ = &line.waits;
            if (line.timer.expired()) timer = timer_for(line, now);
        }
        start(state, executor, std::move(timer));
    }

    void end(Wait& wait, Flights::Ending ending) {
        const Wait::Then then = wait.take();  // before it leaves the line: who is about to enter it sees that
        {
            const std::lock_guard lock(state_.get()->mutex);
            leave(wait);
        }
        if (then) then(ending);
    }

  private:
    struct Timer {
        Time end{};
        Duration left{};
        std::shared_ptr<const int> alive;
    };

    // With the lock.
    static void leave(Wait& wait) {
        if (wait.line_ != nullptr) wait.line_->erase(wait.place_);
        wait.line_ = nullptr;
    }
    [[nodiscard]] static Timer timer_for(Line& line, Time now) {
        const Time end = line.waits.front().end;
        const auto left = std::chrono::ceil<Duration>(std::max(end, now) - now);
        Timer timer{end, left, std::make_shared<const int>(0)};
        line.timer = timer.alive;
        return timer;
    }

    /// Without the lock: what executors do with tasks is theirs.
    static void start(const std::shared_ptr<State>& state, Executor& executor, Timer timer) {
        if (timer.alive == nullptr) return;
        const auto fire = [weak = std::weak_ptr(state), &executor, timer] {
            if (const auto still = weak.lock()) give_up(still, executor, timer.end);
        };
        (void)executor.submit_after(timer.left, fire);
    }

    static void give_up(const std::shared_ptr<State>& state, Executor& executor, Time timer_end) {
        const Time now = std::chrono::steady_clock::now();
        std::vector<std::shared_ptr<Wait>> late;
        Timer next;
        {
            const std::lock_guard lock(state->mutex);
            const auto at = state->lines.find(&executor);
            if (at == state->lines.end()) return;
            Line& line = at->second;
            while (!line.waits.empty() && line.waits.front().end <= std::max(now, timer_end)) {
                if (auto wait = line.waits.front().wait.lock()) {
                    wait->line_ = nullptr;
                    late.push_back(std::move(wait));
                }
                line.waits.pop_front();
            }
            if (line.waits.empty())
                state->lines.erase(at);
            else
                next = timer_for(line, now);
        }
        start(state, executor, std::move(next));
        for (const std::shared_ptr<Wait>& wait : late)
            if (const Wait::Then then = wait->take()) then(std::nullopt);
    }

    smartcache::detail::PerProcess<State> state_;  // no timer of a parent goes off in a child (R33)
};

}  // namespace smartcache::inline v0::http::detail
