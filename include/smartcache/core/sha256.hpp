#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace smartcache::inline v0::detail {

/// SHA-256 (FIPS 180-4), for what XXH3 does not give: nobody can go back from the digest, and nobody can find
/// a second text with the same one. Some 5 us per KiB.
///
/// Credentials that tell users apart become part of keys, and keys are written to Redis and disk and shown to
/// operators, so they are shortened by it (R25). Records in Redis are signed with it (see
/// redis/integrity.hpp).
///
/// A copy goes on from where the original was. Thread safety: as a value.
class Sha256 {
  public:
    using Digest = std::array<std::byte, 32>;
    static constexpr std::size_t block_size = 64;

    /// Appends to what is hashed.
    void update(std::string_view text) noexcept {
        if (text.empty()) return;
        const std::size_t filled = size_ % block_size;
        size_ += text.size();
        if (filled != 0) {
            const std::size_t missing = std::min(block_size - filled, text.size());
            std::memcpy(partial_.data() + filled, text.data(), missing);
            text.remove_prefix(missing);
            if (filled + missing < block_size) return;
            block(partial_.data());
        }
        while (text.size() >= block_size) {
            block(reinterpret_cast<const unsigned char*>(text.data()));
            text.remove_prefix(block_size);
        }
        if (!text.empty()) std::memcpy(partial_.data(), text.data(), text.size());
    }

    /// The digest of all that was appended. The object is of no use afterwards.
    [[nodiscard]] Digest finish() noexcept {
        const std::uint64_t bits = size_ * 8;
        const std::size_t filled = size_ % block_size;
        std::array<unsigned char, 2 * block_size> tail{};
        std::memcpy(tail.data(), partial_.data(), filled);
        tail[filled] = 0x80;
        const std::size_t size = filled < block_size - 8 ? block_size : 2 * block_size;
        for (std::size_t i = 0; i < 8; ++i) tail[size - 1 - i] = static_cast<unsigned char>(bits >> (8 * i));
        for (std::size_t i = 0; i < size; i += block_size) block(tail.data() + i);

        Digest digest{};
        for (std::size_t i = 0; i < digest.size(); ++i)
            digest[i] = static_cast<std::byte>(state_[i / 4] >> (24 - 8 * (i % 4)));
        return digest;
    }

    /// 64 lower-case hexadecimal digits.
    [[nodiscard]] static std::string hex(std::string_view text) {
        Sha256 hash;
        hash.update(text);
        constexpr std::string_view digits = "0123456789abcdef";
        std::string result;
        result.reserve(64);
        for (const std::byte byte : hash.finish()) {
            result += digits[std::to_integer<std::size_t>(byte >> 4U)];
            result += digits[std::to_integer<std::size_t>(byte & std::byte{15})];
        }
        return result;
    }

  private:
    void block(const unsigned char* bytes) noexcept {
        static constexpr std::array<std::uint32_t, 64> k{
            0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
            0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
            0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
            0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
            0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
            0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
            0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
            0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
        std::array<std::uint32_t, 64> w{};
        for (std::size_t i = 0; i < 16; ++i)
            w[i] = std::uint32_t{bytes[4 * i]} << 24 | std::uint32_t{bytes[4 * i + 1]} << 16 |
                   std::uint32_t{bytes[4 * i + 2]} << 8 | std::uint32_t{bytes[4 * i + 3]};
        for (std::size_t i = 16; i < 64; ++i) {
            const std::uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
            const std::uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
            w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
        auto [a, b, c, d, e, f, g, h] = state_;
        for (std::size_t i = 0; i < 64; ++i) {
            const std::uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
            const std::uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + k[i] + w[i];
            const std::uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
            const std::uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
            h = g;
            g = f;
            f = e;
            e = d + t1;
            d = c;
            c = b;
            b = a;
            a = t1 + t2;
        }
        const std::array<std::uint32_t, 8> sum{a, b, c, d, e, f, g, h};
        for (std::size_t i = 0; i < 8; ++i) state_[i] += sum[i];
    }

    std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::uint64_t size_ = 0;
    std::array<unsigned char, block_size> partial_{};  // of the last, incomplete block
};

}  // namespace smartcache::inline v0::detail
