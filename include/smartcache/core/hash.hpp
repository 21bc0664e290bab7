#pragma once

#ifndef XXH_INLINE_ALL
#define XXH_INLINE_ALL  // the header alone: nothing to link
#endif
#include <xxhash.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/fork.hpp>

// XXH3 from libxxhash's header. Two uses with opposite needs:
//  - `KeyHash` is seeded per process, so that nobody outside can choose keys that collide in L1 (hash
//  flooding);
//    it never leaves the process.
//  - `stable_hash` and `digest128` are the same in every process and on every machine; they may be used only
//  where
//    the full key stands beside them, because XXH3 is not collision resistant (R25).
#if XXH_VERSION_NUMBER < 800
#error "SmartCache needs xxHash 0.8 or newer (Debian: libxxhash-dev)"
#endif

namespace smartcache::inline v0 {

/// A seed that differs from process to process, but for children of fork(2), which have their parent's tables.
[[nodiscard]] inline std::uint64_t process_seed() {
    // No static object of this function: a child would wait for ever for a thread of its parent that was making it (R33).
    static constinit std::atomic<std::uint64_t> seed{0};
    // relaxed: a number, nothing is published by it.
    std::uint64_t known = seed.load(std::memory_order_relaxed);
    if (known != 0) [[likely]]
        return known;
    std::random_device device;
    const std::uint64_t high = device();
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    const std::uint64_t fresh = (((high << 32) ^ device()) + static_cast<std::uint64_t>(now)) | 1U;
    return seed.compare_exchange_strong(known, fresh, std::memory_order_relaxed) ? fresh : known;
}

/// Seeded hash of a key for tables in memory. O(length); not the same in another process.
struct KeyHash {
    std::uint64_t seed = process_seed();
    // Flat: left alone, compilers split it in two, and a call costs as much as a third of the hash of a short key.
    [[nodiscard, gnu::flatten]] std::uint64_t operator()(std::string_view key) const noexcept {
        return XXH3_64bits_withSeed(key.data(), key.size(), seed);
    }
};

/// The same on every machine, for ever (persistent: checksums and indexes on disk are built on it).
[[nodiscard]] inline std::uint64_t stable_hash(ByteView bytes, std::uint64_t seed = 0) noexcept {
    return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

/// 128 stable bits.
struct Digest128 {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    friend bool operator==(const Digest128&, const Digest128&) = default;

    /// 32 lower-case hexadecimal digits.
    [[nodiscard]] std::string hex() const {
        constexpr std::string_view digits = "0123456789abcdef";
        std::string text(32, '0');
        for (unsigned i = 0; i < 16; ++i) {
            text[i] = digits[(high >> (60U - 4U * i)) & 0xFU];
            text[16 + i] = digits[(low >> (60U - 4U * i)) & 0xFU];
        }
        return text;
    }
};

[[nodiscard]] inline Digest128 digest128(ByteView bytes) noexcept {
    const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
    return {hash.high64, hash.low64};
}

/// A random number for record versions and tokens: compared for equality only, not a secret.
/// Thread safety: any thread. About 2 ns.
[[nodiscard]] inline std::uint64_t random_stamp() {
    struct Source {
        detail::ProcessMark mark;
        std::mt19937_64 engine{[] {
            std::random_device device;
            return (std::uint64_t{device()} << 32) ^ device();
        }()};
    };
    thread_local Source source;
    if (source.mark.forked()) source = Source();  // else parent and child would draw the same ones (R33)
    return source.engine();
}

}  // namespace smartcache::inline v0
