#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/record/varint.hpp>

namespace record_test {

/// The bytes that `text` spells in hexadecimal digits; spaces are for the reader.
inline std::vector<std::byte> hex(std::string_view text) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::vector<std::byte> bytes;
    int high = -1;
    for (const char c : text) {
        if (c == ' ') continue;
        const int digit = static_cast<int>(digits.find(c));
        if (high >= 0) bytes.push_back(static_cast<std::byte>(high * 16 + digit));
        high = high >= 0 ? -1 : digit;
    }
    return bytes;
}

inline std::string to_hex(smartcache::ByteView bytes) {
    std::string text;
    for (const std::byte byte : bytes) {
        text += "0123456789abcdef"[std::to_integer<unsigned>(byte) >> 4U];
        text += "0123456789abcdef"[std::to_integer<unsigned>(byte) & 15U];
    }
    return text;
}

/// Bytes with a right checksum behind them: what an attacker or another program could write.
inline std::vector<std::byte> sealed(std::vector<std::byte> body, std::uint64_t seed = 0) {
    smartcache::ByteSink out;
    out.append(smartcache::ByteView(body));
    smartcache::detail::put_fixed(out, smartcache::stable_hash(body, seed));
    return out.take();
}
inline std::vector<std::byte> sealed(std::string_view body) {
    return sealed(hex(body));
}

}  // namespace record_test
