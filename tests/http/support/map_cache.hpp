#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include <smartcache/core/clock.hpp>
#include <smartcache/facade/entry_options.hpp>

namespace smartcache_test {

/// The least that `http::ResponseCache` asks for: a map of shared strings with lifetimes. Used where a test
/// wants to see or break what the middleware stores.
class MapCache {
  public:
    struct Stats {
        std::size_t size = 0;
    };
    struct Health {
        bool memory = true;
    };

    /// A hit: keeps the bytes alive after erase and clear.
    template <class View>
    class Pin {
      public:
        Pin() = default;
        explicit Pin(std::shared_ptr<const std::string> bytes) : bytes_(std::move(bytes)) {
            if (bytes_) view_ = View(*bytes_);
        }
        explicit operator bool() const { return bytes_ != nullptr; }
        const View& operator*() const { return view_; }

      private:
        std::shared_ptr<const std::string> bytes_;
        View view_;
    };

    explicit MapCache(const smartcache::Clock& clock) : clock_(&clock) {}

    template <class View>
    Pin<View> get(std::string_view key) {
        const std::lock_guard lock(mutex_);
        const auto found = entries_.find(key);
        if (found == entries_.end() || found->second.end <= clock_->now()) return Pin<View>();
        return Pin<View>(found->second.bytes);
    }
    bool set(std::string_view key, std::string_view bytes, const smartcache::EntryOptions& options) {
        const std::lock_guard lock(mutex_);
        if (refuse_sets || bytes.size() > max_bytes) return false;
        const auto end =
            smartcache::saturating_add(clock_->now(), options.ttl.value_or(smartcache::Duration::max()));
        entries_.insert_or_assign(std::string(key), Entry{std::make_shared<const std::string>(bytes), end});
        return true;
    }
    bool erase(std::string_view key) {
        const std::lock_guard lock(mutex_);
        const auto found = entries_.find(key);
        if (found == entries_.end()) return false;
        entries_.erase(found);
        return true;
    }
    void clear() {
        const std::lock_guard lock(mutex_);
        entries_.clear();
    }
    Stats stats() const {
        const std::lock_guard lock(mutex_);
        return {entries_.size()};
    }
    Health health_check() { return {}; }
    const smartcache::Clock& clock() const { return *clock_; }

    /// Every stored key and its bytes.
    std::map<std::string, std::string> contents() const {
        const std::lock_guard lock(mutex_);
        std::map<std::string, std::string> copy;
        for (const auto& [key, entry] : entries_) copy.emplace(key, *entry.bytes);
        return copy;
    }

    bool refuse_sets = false;
    std::size_t max_bytes = std::size_t{1} << 40U;  ///< of one record

  private:
    struct Entry {
        std::shared_ptr<const std::string> bytes;
        smartcache::MonotonicTime end;
    };
    const smartcache::Clock* clock_;
    mutable std::mutex mutex_;
    std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace smartcache_test
