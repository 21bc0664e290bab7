#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/record/tier.hpp>

namespace smartcache_test {

using namespace smartcache;  // NOLINT: a test double speaks the library's own words

/// A lower tier over a map: small, strict about the contract of Tier, and with hooks by which a test stops a
/// cache in the middle of an operation or makes the tier fail.
class MapTier final : public Tier {
  public:
    explicit MapTier(TierId id = TierId::other, const Clock* clock = nullptr) : id_(id), time_(clock) {}

    std::function<void()>
        before_look{};  ///< called before the tier looks a key up for a cache, outside the lock
    std::function<void()>
        after_read{};  ///< called when a read is done, outside the lock, before the cache goes on
    std::function<void(std::string_view key)> before_contains{};
    std::function<void()> before_write{};   ///< called before a write is done, outside the lock
    std::function<TierStatus()> on_lock{};  ///< whether a lock is given to who asks for it
    std::atomic<bool> unavailable{false};   ///< every operation fails
    std::atomic<bool> full{false};          ///< there is no room for what is written
    std::atomic<std::uint64_t> round_trips{0};
    std::atomic<std::uint64_t> tended{0};
    std::atomic<std::uint64_t> counted_reads{0};  ///< lookups that change the statistics of a tier
    std::vector<Duration> flushes{};              ///< how long each was given

    [[nodiscard]] TierId id() const noexcept override { return id_; }
    void tend() override { ++tended; }
    bool flush(Duration timeout) override {
        flushes.push_back(timeout);
        return true;
    }

    TierStatus read(std::string_view key, Found found) override {
        ++counted_reads;
        const TierStatus status = peek(key, found);
        if (after_read) after_read();
        return status;
    }

    TierStatus peek(std::string_view key, Found found) override {
        ++round_trips;
        if (before_look) before_look();
        return look(key, [&](const RecordView& record) { found(record); });
    }

    void read_many(std::span<const std::string_view> keys, FoundAt found) override {
        ++round_trips;
        ++counted_reads;
        if (before_look) before_look();
        for (std::size_t i = 0; i < keys.size(); ++i)
            (void)look(keys[i], [&](const RecordView& record) { found(i, record); });
        if (after_read) after_read();
    }

    TierStatus write(const RecordView& record, WriteCondition condition) override {
        ++round_trips;
        if (before_write) before_write();
        return store(record, condition);
    }

    std::vector<TierStatus> write_many(std::span<const RecordView> records) override {
        ++round_trips;
        std::vector<TierStatus> result;
        for (const RecordView& record : records) result.push_back(store(record, {}));
        return result;
    }

    TierStatus remove(std::string_view key) override {
        ++round_trips;
        return forget(key);
    }

    std::vector<TierStatus> remove_many(std::span<const std::string_view> keys) override {
        ++round_trips;
        std::vector<TierStatus> result;
        for (const std::string_view key : keys) result.push_back(forget(key));
        return result;
    }

    [[nodiscard]] TierStatus contains(std::string_view key) override {
        if (before_contains) before_contains(key);
        bool fresh = false;
        const TierStatus status =
            look(key, [&](const RecordView& record) { fresh = record.fresh_at(wall()) && !record.negative; });
        return status == TierStatus::ok && !fresh ? TierStatus::miss : status;
    }

    TierStatus change_lifetime(std::string_view key, std::uint64_t stamp, WallTime expires,
                               WallTime stale_until) override {
        const std::lock_guard lock(mutex_);
        if (unavailable) return TierStatus::unavailable;
        const auto found = records_.find(std::string(key));
        if (found == records_.end()) return TierStatus::refused;
        const std::vector<std::byte> old = found->second;
        RecordView record = parse_record(old).record;
        if (record.stamp != stamp) return TierStatus::refused;
        record.expires = expires;
        record.stale_until = stale_until;
        put(record);
        return TierStatus::ok;
    }

    TierStatus clear(std::string_view name_space) override {
        const std::lock_guard lock(mutex_);
        if (unavailable) return TierStatus::unavailable;
        std::erase_if(records_, [&](const auto& each) {
            return split_physical_key(each.first)->name_space == name_space;
        });
        return TierStatus::ok;
    }

    [[nodiscard]] TierStatus try_lock(std::string_view /*key*/, std::uint64_t /*token*/,
                                      Duration /*length*/) override {
        return on_lock ? on_lock() : TierStatus::ok;
    }

    [[nodiscard]] TierHealth probe() override {
        return {!unavailable, unavailable ? "the test says no" : "a map"};
    }
    [[nodiscard]] TierStats stats() const override { return {}; }
    void reset_stats() override {}

    [[nodiscard]] std::size_t size() const {
        const std::lock_guard lock(mutex_);
        return records_.size();
    }

    /// The bytes under a physical key, for tests that damage or inspect them.
    [[nodiscard]] std::vector<std::byte>& bytes(const std::string& key) { return records_.at(key); }
    [[nodiscard]] bool holds(const std::string& key) const {
        const std::lock_guard lock(mutex_);
        return records_.contains(key);
    }

  private:
    [[nodiscard]] WallTime wall() const noexcept override { return time_.wall(); }

    template <class F>
    TierStatus look(std::string_view key, F found) {
        std::vector<std::byte> copy;
        {
            const std::lock_guard lock(mutex_);
            if (unavailable) return TierStatus::unavailable;
            const auto at = records_.find(std::string(key));
            if (at == records_.end()) return TierStatus::miss;
            copy = at->second;
        }
        const ParsedRecord parsed = parse_record(copy);
        if (!parsed || parsed.record.key != key || parsed.record.dead_at(wall())) return TierStatus::miss;
        found(parsed.record);
        return TierStatus::ok;
    }

    TierStatus store(const RecordView& record, WriteCondition condition) {
        const std::lock_guard lock(mutex_);
        const auto at = records_.find(std::string(record.key));
        if (unavailable) {
            if (at != records_.end()) records_.erase(at);  // R3: what was there must not come back
            return TierStatus::unavailable;
        }
        const bool there = at != records_.end() && !parse_record(at->second).record.dead_at(wall());
        if (condition.kind == WriteCondition::Kind::if_absent && there) return TierStatus::refused;
        if (condition.kind == WriteCondition::Kind::if_stamp &&
            (!there || parse_record(at->second).record.stamp != condition.stamp))
            return TierStatus::refused;
        if (full) {
            if (condition.kind == WriteCondition::Kind::always && there) records_.erase(at);  // R3
            return TierStatus::rejected;
        }
        put(record);
        return TierStatus::ok;
    }

    TierStatus forget(std::string_view key) {
        const std::lock_guard lock(mutex_);
        const bool there = records_.erase(std::string(key)) != 0;
        if (unavailable) return TierStatus::unavailable;
        return there ? TierStatus::ok : TierStatus::miss;
    }

    void put(const RecordView& record) {
        ByteSink out;
        encode_record(record, out);
        records_[std::string(record.key)] = out.take();
    }

    const TierId id_;
    const TimeSource time_;
    mutable std::mutex mutex_;
    std::map<std::string, std::vector<std::byte>> records_;
};

}  // namespace smartcache_test
