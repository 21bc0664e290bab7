#pragma once

#include <cstddef>
#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <smartcache/codec/bytes.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/memory/memory_cache.hpp>

#if SMARTCACHE_BENCH_HAS_ABSL
#include <absl/container/flat_hash_map.h>
#include <absl/strings/string_view.h>
#endif
#if SMARTCACHE_BENCH_HAS_TBB
#define TBB_PREVIEW_CONCURRENT_LRU_CACHE 1
#include <tbb/concurrent_lru_cache.h>
#endif
#if SMARTCACHE_BENCH_HAS_LEVELDB
#include <leveldb/cache.h>
#endif
#if SMARTCACHE_BENCH_HAS_ROCKSDB
#include <rocksdb/cache.h>
#endif

// The caches that are compared, behind one shape: `get` copies a value of `value_size` out and says whether it was
// there, `contains` says only that, `set` stores a copy, `get_many` copies values out side by side and says how many
// there were. Each does what a user of that library would write.
namespace bench {

inline constexpr std::size_t value_size = 100;
inline constexpr const char* unlocked_map = "absl flat_hash_map, unlocked";

template <class Hits>
std::size_t copy_out(const Hits& hits, char* out) {
    std::size_t found = 0;
    for (const auto& hit : hits) {
        if (hit) {
            std::memcpy(out, hit->data(), value_size);
            ++found;
        }
        out += value_size;
    }
    return found;
}

/// SmartCache's stand-alone L1.
class Memory {
  public:
    static constexpr const char* name = "MemoryCache";
    static constexpr bool has_set = true;
    explicit Memory(std::size_t capacity) : cache_({.capacity = capacity}) {}
    bool get(std::string_view key, char* out) {
        return cache_.visit(key,
                            [out](const std::string& value) { std::memcpy(out, value.data(), value_size); });
    }
    std::size_t get_many(std::span<const std::string_view> keys, char* out) {
        return copy_out(cache_.get_many(keys), out);
    }
    bool contains(std::string_view key) { return cache_.contains(key); }
    void set(std::string_view key, std::string_view value) { cache_.set(key, std::string(value)); }

  private:
    smartcache::MemoryCache<std::string, std::string> cache_;
};

/// The whole facade with memory alone, its pinned lookup included.
class Facade {
  public:
    static constexpr const char* name = "SmartCache";
    static constexpr bool has_set = true;
    explicit Facade(std::size_t capacity) : cache_({.memory = {.capacity = capacity}}) {}
    bool get(std::string_view key, char* out) {
        const auto hit = cache_.get<std::string_view>(key);
        if (hit) std::memcpy(out, hit->data(), value_size);
        return static_cast<bool>(hit);
    }
    std::size_t get_many(std::span<const std::string_view> keys, char* out) {
        return copy_out(cache_.get_many<std::string_view>(keys), out);
    }
    bool contains(std::string_view key) { return cache_.exists(key); }
    void set(std::string_view key, std::string_view value) { cache_.set(key, value); }

  private:
    smartcache::SmartCache<smartcache::BytesCodec> cache_;
};

#if SMARTCACHE_BENCH_HAS_ABSL
/// No cache: what a hit could cost without threads, order and bounds. One thread only.
class AbslMap {
  public:
    static constexpr const char* name = unlocked_map;
    explicit AbslMap(std::size_t /*capacity*/) {
    }  // grows as it is filled: no more buckets than its keys need
    bool get(std::string_view key, char* out) {
        const auto found = map_.find(view(key));
        if (found == map_.end()) return false;
        std::memcpy(out, found->second.data(), value_size);
        return true;
    }
    void set(std::string_view key, std::string_view value) { map_.insert_or_assign(view(key), value); }

  private:
    /// Packages built as C++14 have a view of their own, and take no other for a std::string's key.
    static absl::string_view view(std::string_view key) { return {key.data(), key.size()}; }
    absl::flat_hash_map<std::string, std::string> map_;
};
#endif

/// What one writes in ten minutes: a list, a map and a mutex.
class MutexLru {
  public:
    static constexpr const char* name = "mutex LRU";
    static constexpr bool has_set = true;
    explicit MutexLru(std::size_t capacity) : capacity_(capacity) { map_.reserve(capacity); }
    bool get(std::string_view key, char* out) {
        const std::lock_guard lock(mutex_);
        const auto found = map_.find(key);
        if (found == map_.end()) return false;
        order_.splice(order_.begin(), order_, found->second);
        std::memcpy(out, found->second->second.data(), value_size);
        return true;
    }
    bool contains(std::string_view key) {
        const std::lock_guard lock(mutex_);
        return map_.contains(key);
    }
    void set(std::string_view key, std::string_view value) {
        const std::lock_guard lock(mutex_);
        const auto found = map_.find(key);
        if (found != map_.end()) {
            found->second->second = value;
            order_.splice(order_.begin(), order_, found->second);
            return;
        }
        if (map_.size() == capacity_) {
            map_.erase(order_.back().first);
            order_.pop_back();
        }
        order_.emplace_front(key, value);
        map_.emplace(order_.front().first, order_.begin());
    }

  private:
    using Order = std::list<std::pair<std::string, std::string>>;
    std::size_t capacity_;
    std::mutex mutex_;
    Order order_;
    std::unordered_map<std::string_view, Order::iterator> map_;
};

#if SMARTCACHE_BENCH_HAS_TBB
/// Read-through only: it makes the value itself when it is missing, and cannot be set.
class Tbb {
  public:
    static constexpr const char* name = "TBB concurrent_lru_cache";
    static constexpr bool has_set = false;
    explicit Tbb(std::size_t capacity) : cache_(&make, capacity) {}
    bool get(std::string_view key, char* out) {
        made_ = false;
        auto handle = cache_[std::string(key)];
        std::memcpy(out, handle.value().data(), value_size);
        return !made_;
    }
    void set(std::string_view key, std::string_view /*value*/) { (void)cache_[std::string(key)]; }

  private:
    static std::string make(std::string /*key*/) {
        made_ = true;
        return std::string(value_size, 'v');
    }
    static inline thread_local bool made_ = false;
    tbb::concurrent_lru_cache<std::string, std::string, std::string (*)(std::string)> cache_;
};
#endif

#if SMARTCACHE_BENCH_HAS_LEVELDB
class LevelDb {
  public:
    static constexpr const char* name = "LevelDB LRU";
    static constexpr bool has_set = true;
    explicit LevelDb(std::size_t capacity) : cache_(leveldb::NewLRUCache(capacity)) {}
    bool get(std::string_view key, char* out) {
        leveldb::Cache::Handle* const handle = cache_->Lookup(slice(key));
        if (handle == nullptr) return false;
        std::memcpy(out, cache_->Value(handle), value_size);
        cache_->Release(handle);
        return true;
    }
    bool contains(std::string_view key) {
        leveldb::Cache::Handle* const handle = cache_->Lookup(slice(key));
        if (handle != nullptr) cache_->Release(handle);
        return handle != nullptr;
    }
    void set(std::string_view key, std::string_view value) {
        auto copy = std::make_unique<char[]>(value.size());
        std::memcpy(copy.get(), value.data(), value.size());
        cache_->Release(cache_->Insert(slice(key), copy.release(), 1, [](const leveldb::Slice&, void* old) {
            delete[] static_cast<char*>(old);
        }));
    }

  private:
    static leveldb::Slice slice(std::string_view key) { return {key.data(), key.size()}; }
    std::unique_ptr<leveldb::Cache> cache_;
};
#endif

#if SMARTCACHE_BENCH_HAS_ROCKSDB
/// @tparam Clock  HyperClockCache, whose keys are 16 bytes (a digest of ours); else the sharded LRU
template <bool Clock>
class RocksDb {
  public:
    static constexpr const char* name = Clock ? "RocksDB HyperClockCache" : "RocksDB LRU";
    static constexpr bool has_set = true;
    explicit RocksDb(std::size_t capacity) {
        // Capacity counts entries, as everywhere here; by default RocksDB would charge its own metadata to
        // it.
        if constexpr (Clock) {
            rocksdb::HyperClockCacheOptions options(capacity, 1);
            options.metadata_charge_policy = rocksdb::kDontChargeCacheMetadata;
            cache_ = options.MakeSharedCache();
        } else {
            rocksdb::LRUCacheOptions options;
            options.capacity = capacity;
            options.metadata_charge_policy = rocksdb::kDontChargeCacheMetadata;
            cache_ = rocksdb::NewLRUCache(options);
        }
    }
    bool get(std::string_view key, char* out) {
        const smartcache::Digest128 digest = digest_of(key);
        rocksdb::Cache::Handle* const handle = cache_->Lookup(slice(key, digest));
        if (handle == nullptr) return false;
        std::memcpy(out, cache_->Value(handle), value_size);
        cache_->Release(handle);
        return true;
    }
    bool contains(std::string_view key) {
        const smartcache::Digest128 digest = digest_of(key);
        rocksdb::Cache::Handle* const handle = cache_->Lookup(slice(key, digest));
        if (handle != nullptr) cache_->Release(handle);
        return handle != nullptr;
    }
    void set(std::string_view key, std::string_view value) {
        auto copy = std::make_unique<char[]>(value.size());
        std::memcpy(copy.get(), value.data(), value.size());
        const smartcache::Digest128 digest = digest_of(key);
        if (cache_->Insert(slice(key, digest), copy.get(), 1, &drop).ok()) (void)copy.release();
    }

  private:
    static void drop(const rocksdb::Slice& /*key*/, void* old) { delete[] static_cast<char*>(old); }
    static smartcache::Digest128 digest_of(std::string_view key) {
        return Clock ? smartcache::digest128(smartcache::as_byte_view(key)) : smartcache::Digest128{};
    }
    static rocksdb::Slice slice(std::string_view key, const smartcache::Digest128& digest) {
        return Clock ? rocksdb::Slice(reinterpret_cast<const char*>(&digest), sizeof(digest))
                     : rocksdb::Slice(key.data(), key.size());
    }
    std::shared_ptr<rocksdb::Cache> cache_;
};
#endif

}  // namespace bench
