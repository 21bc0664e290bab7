#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include <smartcache/core/mutex.hpp>
#include <smartcache/redis/unacknowledged.hpp>

namespace smartcache::inline v0::detail {

/// What this process had a server acknowledge lately, in case that is replaced by one that has not heard of it
/// (R14): a replica that becomes the master lacks what it had not received yet, and may still hold the values
/// from before. So what was changed in the last 30 s is erased on a new server before that is believed: in those before this
/// process was last told anything by the old one, for how long that was the master afterwards nobody here knows.
///
/// Bounded: if there are too many keys, their namespaces stand for them, and get a new epoch. Servers are
/// numbered, the newest has the highest number; 0: there is only one, and nothing is noted.
///
/// Thread safety: any thread.
class RecentChanges {
  public:
    using Clock = std::chrono::steady_clock;
    struct Limits {
        std::size_t keys = 4096;
        std::size_t key_bytes = std::size_t{4} << 20U;
    };
    explicit RecentChanges(Unacknowledged& lost) : RecentChanges(lost, Limits{}) {}
    RecentChanges(Unacknowledged& lost, Limits limits) : lost_(lost), limits_(limits) {}

    /// `server` has acknowledged a change of `key`.
    void note(std::string_view key, std::uint64_t server, Clock::time_point now = Clock::now()) noexcept {
        if (server == 0) return;
        const std::lock_guard lock(mutex_);
        if (server < server_) return lost_.add(key);  // by one that has been replaced meanwhile
        changed_ = seen_ = now;
        try {
            note_locked(key, now);
        } catch (const std::bad_alloc&) {
            lost_.add(key);
        }
    }

    /// `server` has acknowledged a change that concerns more keys than can be named.
    void note_namespace(std::string_view name_space, std::uint64_t server,
                        Clock::time_point now = Clock::now()) noexcept {
        if (server == 0) return;
        const std::lock_guard lock(mutex_);
        if (server < server_) return lost_.add_namespace(name_space);
        changed_ = seen_ = now;
        try {
            namespaces_.insert_or_assign(std::string(name_space), now);
        } catch (const std::bad_alloc&) {
            lost_.add_namespace(name_space);
        }
    }

    /// `server` has answered.
    void seen(std::uint64_t server, Clock::time_point now = Clock::now()) noexcept {
        if (server == 0) return;
        const std::lock_guard lock(mutex_);
        if (server == server_) seen_ = now;
    }

    /// A connection goes to `server`. If that is a new one, what was changed lately is unacknowledged again.
    void follow(std::uint64_t server) noexcept {
        if (server == 0) return;
        const std::lock_guard lock(mutex_);
        if (server <= server_) return;
        server_ = server;
        for (const auto& [name_space, at] : namespaces_)
            if (recent(at, seen_)) lost_.add_namespace(name_space);
        for (const auto& [key, at] : keys_)
            if (recent(at, seen_)) lost_.add(key);
        namespaces_.clear();
        forget_keys();
        changed_ = {};
    }

    /// Whether a new server would have to be told of something, and the old one has not been heard of just now.
    [[nodiscard]] bool pending(Clock::time_point now = Clock::now()) const noexcept {
        constexpr std::chrono::milliseconds just_now{500};
        const std::lock_guard lock(mutex_);
        return changed_ != Clock::time_point{} && recent(changed_, seen_) && now - seen_ >= just_now;
    }

    /// Whether connections go to a newer one by now.
    [[nodiscard]] bool replaced(std::uint64_t server) const {
        const std::lock_guard lock(mutex_);
        return server != 0 && server < server_;
    }

    [[nodiscard]] std::size_t keys() const {
        const std::lock_guard lock(mutex_);
        return keys_.size();
    }

  private:
    using Times = std::map<std::string, Clock::time_point, std::less<>>;

    static bool recent(Clock::time_point at, Clock::time_point now) noexcept {
        return now - at <= std::chrono::seconds(30);
    }
    void note_locked(std::string_view key, Clock::time_point now) {
        const std::string_view name_space = namespace_of(key);
        if (const auto found = namespaces_.find(name_space); found != namespaces_.end()) {
            if (recent(found->second, now)) {
                found->second = now;
                return;
            }
            namespaces_.erase(found);
        }
        if (const auto found = keys_.find(key); found != keys_.end()) {
            found->second = now;
            return;
        }
        if (full(key)) make_room(now);
        if (full(key)) {
            namespaces_.insert_or_assign(std::string(name_space), now);
            return;
        }
        keys_.emplace(std::string(key), now);
        key_bytes_ += key.size();
    }
    [[nodiscard]] bool full(std::string_view key) const noexcept {
        return keys_.size() >= limits_.keys || key_bytes_ + key.size() > limits_.key_bytes;
    }
    /// Forgets what is old; if that is too little to be worth it, namespaces stand for all keys.
    void make_room(Clock::time_point now) {
        for (auto at = keys_.begin(); at != keys_.end();) {
            if (recent(at->second, now)) {
                ++at;
                continue;
            }
            key_bytes_ -= at->first.size();
            at = keys_.erase(at);
        }
        if (keys_.size() <= limits_.keys / 2 && key_bytes_ <= limits_.key_bytes / 2) return;
        for (const auto& [key, at] : keys_) namespaces_.insert_or_assign(std::string(namespace_of(key)), now);
        forget_keys();
    }
    void forget_keys() noexcept {
        keys_.clear();
        key_bytes_ = 0;
    }

    Unacknowledged& lost_;
    const Limits limits_;
    mutable Mutex mutex_;
    Times keys_;
    Times namespaces_;
    std::size_t key_bytes_ = 0;
    std::uint64_t server_ = 0;
    Clock::time_point changed_{};  // last
    Clock::time_point seen_{};
};

}  // namespace smartcache::inline v0::detail
