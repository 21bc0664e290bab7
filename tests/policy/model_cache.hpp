#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <vector>

#include <smartcache/policy/make_policy.hpp>

namespace policy_test {

namespace policy = smartcache::policy;
using smartcache::EvictionPolicy;

inline constexpr EvictionPolicy all_policies[] = {EvictionPolicy::adaptive, EvictionPolicy::lru,
                                                  EvictionPolicy::s3_fifo, EvictionPolicy::sieve,
                                                  EvictionPolicy::w_tinylfu};

inline std::uint64_t hash_of(std::uint64_t key) {
    std::uint64_t x = key + 0x9E3779B97F4A7C15U;
    x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
    return x ^ (x >> 31U);
}

/// The smallest cache over a Policy: what a shard of L1 does with one, without values, locks and time.
class ModelCache {
  public:
    struct Entry : policy::Node {
        std::uint64_t key = 0;
    };

    ModelCache(std::unique_ptr<policy::Policy> policy, std::uint64_t capacity)
        : policy_(std::move(policy)), capacity_(capacity) {}
    /// Bound by a number of entries as well.
    void most_entries(std::size_t entries) { most_entries_ = entries; }

    ModelCache(EvictionPolicy which, std::uint64_t capacity, std::uint64_t seed = 1)
        : ModelCache(policy::make_policy(which, capacity, seed), capacity) {}

    [[nodiscard]] policy::Policy& policy() { return *policy_; }
    [[nodiscard]] std::size_t size() const { return entries_.size(); }
    [[nodiscard]] std::uint64_t weight() const { return weight_; }
    [[nodiscard]] bool contains(std::uint64_t key) const { return entries_.contains(key); }
    [[nodiscard]] const std::vector<std::uint64_t>& evicted() const { return evicted_; }

    /// Whether hits are reported beside the mark; off, the policy lives on marks alone.
    void report_hits(bool report) { report_ = report; }

    bool get(std::uint64_t key) {
        const auto found = entries_.find(key);
        if (found == entries_.end()) return false;
        policy::mark_hit(*found->second);
        if (report_ && policy_->wants_hit(found->second->hash)) policy_->hit(*found->second);
        return true;
    }

    void put(std::uint64_t key, std::uint32_t weight = 1) {
        auto fresh = std::make_unique<Entry>();
        fresh->key = key;
        fresh->hash = hash_of(key);
        fresh->weight = weight;
        const auto found = entries_.find(key);
        if (found != entries_.end()) {
            policy_->replace(*found->second, *fresh);
            if (found->second->queue != 0) throw std::logic_error("the replaced node is still linked");
            weight_ -= found->second->weight;
            found->second = std::move(fresh);
        } else {
            policy_->insert(*fresh);
            entries_.emplace(key, std::move(fresh));
        }
        weight_ += weight;
        make_room();
    }

    /// "get; on a miss, put". Returns whether it was a hit.
    bool request(std::uint64_t key, std::uint32_t weight = 1) {
        if (get(key)) return true;
        put(key, weight);
        return false;
    }

    bool erase(std::uint64_t key) {
        const auto found = entries_.find(key);
        if (found == entries_.end()) return false;
        policy_->erase(*found->second);
        weight_ -= found->second->weight;
        entries_.erase(found);
        return true;
    }

    void resize(std::uint64_t capacity) {
        capacity_ = capacity;
        policy_->set_capacity(capacity);
        make_room();
    }

    /// One victim, whether there is room or not. False when there was none.
    bool evict_one() {
        policy::Node* node = policy_->evict();
        if (node == nullptr) return false;
        auto* entry = static_cast<Entry*>(node);
        const auto found = entries_.find(entry->key);
        if (found == entries_.end() || found->second.get() != entry)
            throw std::logic_error("evicted twice, or a stranger");
        if (entry->queue != 0) throw std::logic_error("the victim is still linked");
        evicted_.push_back(entry->key);
        weight_ -= entry->weight;
        entries_.erase(found);
        return true;
    }

  private:
    void make_room() {
        while (weight_ > capacity_ || entries_.size() > most_entries_) {
            if (!evict_one()) throw std::logic_error("over the bound, but no victim");
        }
    }

    std::unordered_map<std::uint64_t, std::unique_ptr<Entry>> entries_;
    std::unique_ptr<policy::Policy> policy_;
    std::uint64_t capacity_;
    std::uint64_t weight_ = 0;
    std::size_t most_entries_ = ~std::size_t{0};
    std::vector<std::uint64_t> evicted_;
    bool report_ = true;
};

/// Keys 0..n-1 with probability proportional to 1 / (rank + 1)^s; which key has which rank is not the key's
/// number.
class Zipf {
  public:
    Zipf(std::size_t keys, double exponent, std::uint64_t seed) : random_(seed), cumulative_(keys) {
        double sum = 0;
        for (std::size_t i = 0; i < keys; ++i) {
            sum += 1.0 / std::pow(static_cast<double>(i + 1), exponent);
            cumulative_[i] = sum;
        }
    }
    std::uint64_t operator()() {
        const double at = static_cast<double>(random_() >> 11U) * 0x1p-53 * cumulative_.back();
        return static_cast<std::uint64_t>(std::lower_bound(cumulative_.begin(), cumulative_.end(), at) -
                                          cumulative_.begin());
    }

  private:
    std::mt19937_64 random_;
    std::vector<double> cumulative_;
};

/// Share of hits in the last `counted` of `requests` requests drawn from `next`.
template <class Next>
double hit_ratio(ModelCache& cache, std::size_t requests, std::size_t counted, Next&& next) {
    std::size_t hits = 0;
    for (std::size_t i = 0; i < requests; ++i) {
        const bool hit = cache.request(next(i));
        if (hit && i >= requests - counted) ++hits;
    }
    return static_cast<double>(hits) / static_cast<double>(counted);
}

}  // namespace policy_test
