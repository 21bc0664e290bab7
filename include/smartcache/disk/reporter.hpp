#pragma once

#include <mutex>
#include <string>
#include <utility>

#include <smartcache/core/counters.hpp>
#include <smartcache/core/log.hpp>
#include <smartcache/disk/io.hpp>

namespace smartcache::inline v0::detail {

enum class DiskEvent { hits, misses, sets, errors, corrupt, rejected, evictions, expirations, count_ };

/// What the disk store counts, and what it has to say. Messages arise under locks and are delivered without
/// (a logger may call back). Thread safety: any thread.
class DiskReporter {
  public:
    explicit DiskReporter(Logger logger) : log_(std::move(logger)) {}

    void count(DiskEvent event, std::uint64_t amount = 1) noexcept { counters_.add(event, amount); }
    [[nodiscard]] std::uint64_t sum(DiskEvent event) const noexcept { return counters_.sum(event); }
    void reset() noexcept { counters_.reset(); }

    /// Counts an error and keeps the first message until `deliver`.
    void failed(const char* what, const std::string& why) noexcept {
        count(DiskEvent::errors);
        say(LogLevel::warning, what, why);
    }

    /// The same, with the system's reason.
    void failed(const char* what, int error) noexcept {
        std::string reason;
        try {
            reason = errno_text(error);
        } catch (...) {  // then without
        }
        failed(what, reason);
    }

    void say(LogLevel level, const char* what, const std::string& detail = {}) noexcept {
        if (!log_) return;
        try {
            const std::lock_guard lock(mutex_);
            if (!message_.empty()) return;
            message_ = std::string("smartcache: disk: ") + what + (detail.empty() ? "" : ": " + detail);
            level_ = level;
        } catch (...) {  // no memory for a message
        }
    }

    /// Call without locks.
    void deliver() noexcept {
        if (!log_) return;
        std::string message;
        LogLevel level{};
        {
            const std::lock_guard lock(mutex_);
            if (message_.empty()) return;
            message.swap(message_);
            level = level_;
        }
        log_(level, message);
    }

  private:
    Counters<DiskEvent> counters_;
    RateLimitedLog log_;
    std::mutex mutex_;
    std::string message_;
    LogLevel level_ = LogLevel::warning;
};

}  // namespace smartcache::inline v0::detail
