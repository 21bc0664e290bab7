#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <string_view>
#include <utility>

namespace smartcache::inline v0 {

enum class LogLevel { debug, info, warning, error };

/// Where messages go. Called from any thread, never under a lock of the library. Exceptions in it are
/// swallowed.
using Logger = std::function<void(LogLevel, std::string_view)>;

[[nodiscard]] constexpr std::string_view to_string(LogLevel level) noexcept {
    switch (level) {
        case LogLevel::debug:
            return "debug";
        case LogLevel::info:
            return "info";
        case LogLevel::warning:
            return "warning";
        case LogLevel::error:
            return "error";
    }
    return "?";
}

namespace detail {

/// Passes at most one message a second on, so that a dead server does not fill a log. One per kind of
/// message.
class RateLimitedLog {
  public:
    RateLimitedLog() = default;
    explicit RateLimitedLog(Logger logger) : logger_(std::move(logger)) {}

    void operator()(LogLevel level, std::string_view message) noexcept {
        if (!logger_) return;
        using namespace std::chrono;
        const std::int64_t now = duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
        std::int64_t last = last_ms_.load(std::memory_order_relaxed);
        // relaxed: the exchange alone decides who logs; nothing else is published by it.
        if (last != never && now - last < 1000) return;
        if (!last_ms_.compare_exchange_strong(last, now, std::memory_order_relaxed)) return;
        try {
            logger_(level, message);
        } catch (...) {  // a broken logger must not break the cache
        }
    }

    /// For messages that are rare by nature (a tier that went down): never held back.
    void always(LogLevel level, std::string_view message) const noexcept {
        if (!logger_) return;
        try {
            logger_(level, message);
        } catch (...) {
        }
    }

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(logger_); }

  private:
    static constexpr std::int64_t never = std::numeric_limits<std::int64_t>::min();
    Logger logger_;
    std::atomic<std::int64_t> last_ms_{never};
};

}  // namespace detail
}  // namespace smartcache::inline v0
