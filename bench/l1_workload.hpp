#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "l1_rivals.hpp"

// What the caches are filled with and asked for, made before anything is measured.
namespace bench {

inline constexpr std::size_t hot_keys = 1'000;
inline constexpr std::size_t many_keys = 100'000;
inline constexpr std::size_t zipf_keys = 1'000'000;
inline constexpr std::size_t zipf_capacity = 100'000;
/// Of a measurement, unless its keys are few.
inline constexpr std::size_t sequence_length = std::size_t{1} << 18U;

/// The keys of a measurement in the order in which they are asked for, side by side in memory: fetching the next
/// one must not cost more than asking a cache for it.
class Sequence {
  public:
    template <class Next>
    Sequence(std::size_t length, Next next) : text_(length * key_size) {
        char key[key_size + 1];
        for (std::size_t i = 0; i < length; ++i) {
            write(key, next());
            std::memcpy(&text_[i * key_size], key, key_size);
        }
    }
    [[nodiscard]] std::size_t size() const noexcept { return text_.size() / key_size; }
    [[nodiscard]] std::string_view operator[](std::size_t index) const noexcept {
        return {&text_[index * key_size], key_size};
    }
    [[nodiscard]] static std::string key(std::size_t number) {
        char key[key_size + 1];
        write(key, number);
        return {key, key_size};
    }

  private:
    static constexpr std::size_t key_size = 24;
    static void write(char (&key)[key_size + 1], std::size_t number) {
        std::snprintf(key, sizeof(key), "key:%020zu", number);
    }
    std::vector<char> text_;
};

inline Sequence uniform(std::size_t range, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_int_distribution<std::size_t> pick(0, range - 1);
    // Few keys: a sequence that leaves the processor's caches to them.
    return {std::min(sequence_length, 4 * range), [&] { return pick(random); }};
}

/// Zipf with exponent 0.99 over all keys, in an order that is not the keys' own.
inline Sequence make_zipf(unsigned seed) {
    static const std::vector<double> sums = [] {
        std::vector<double> list(zipf_keys);
        double sum = 0;
        for (std::size_t i = 0; i < zipf_keys; ++i)
            list[i] = sum += std::pow(static_cast<double>(i + 1), -0.99);
        return list;
    }();
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> pick(0, sums.back());
    return {sequence_length * 8, [&] {
                const auto rank = static_cast<std::uint64_t>(
                    std::lower_bound(sums.begin(), sums.end(), pick(random)) - sums.begin());
                return static_cast<std::size_t>(rank * 2654435761U % zipf_keys);
            }};
}

/// One sequence for each of two threads, made once: making one takes longer than a measurement.
inline const Sequence& zipf(int thread) {
    static const std::array<Sequence, 2> made{make_zipf(1), make_zipf(2)};
    return made[static_cast<std::size_t>(thread) % made.size()];
}

inline const Sequence& uniform_for(std::size_t range, int thread) {
    static std::map<std::pair<std::size_t, int>, Sequence> made;
    static std::mutex mutex;
    const std::lock_guard lock(mutex);
    const auto found = made.find({range, thread});
    if (found != made.end()) return found->second;
    return made.emplace(std::pair(range, thread), uniform(range, static_cast<unsigned>(thread + 1)))
        .first->second;
}

inline const std::string value(value_size, 'v');

template <class Cache>
std::unique_ptr<Cache> filled(std::size_t capacity, std::size_t keys) {
    auto cache = std::make_unique<Cache>(capacity);
    for (std::size_t i = 0; i < keys; ++i) cache->set(Sequence::key(i), value);
    return cache;
}

/// A figure of something else than hits must not be printed as theirs.
inline void require(bool holds, const char* cache, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "%s: %s\n", cache, what);
    std::abort();
}

}  // namespace bench
