#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include <smartcache/core/bytes.hpp>

namespace smartcache::inline v0::detail {

/// Appends `value` in 7-bit groups, least significant first (LEB128). 1 to 10 bytes.
inline void put_varint(ByteSink& out, std::uint64_t value) {
    while (value >= 0x80) {
        out.append(static_cast<std::byte>(value | 0x80U));
        value >>= 7U;
    }
    out.append(static_cast<std::byte>(value));
}

template <class T>
void put_fixed(ByteSink& out, T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i)
        out.append(static_cast<std::byte>((static_cast<std::uint64_t>(value) >> (8U * i)) & 0xFFU));
}

/// Reads little-endian fields from foreign bytes. Once a read has failed, all later ones fail: check `ok()`
/// at the end or at every value that decides something.
class ByteReader {
  public:
    explicit ByteReader(ByteView bytes) noexcept : rest_(bytes) {}

    [[nodiscard]] std::uint64_t varint() noexcept {
        if (!rest_.empty() && rest_.front() < std::byte{0x80}) {  // most of them
            const auto value = static_cast<std::uint64_t>(rest_.front());
            rest_ = rest_.subspan(1);
            return value;
        }
        // By pointers: shortening `rest_` byte by byte takes three times as long.
        const std::byte* at = rest_.data();
        const std::byte* const end = at + rest_.size();
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            if (at == end) return fail();
            const auto byte = static_cast<std::uint64_t>(*at++);
            if (shift == 63 && byte > 1) return fail();  // does not fit 64 bits
            if (byte == 0 && shift != 0) return fail();  // only the shortest form is canonical
            value |= (byte & 0x7FU) << shift;
            if (byte < 0x80) {
                rest_ = ByteView(at, end);
                return value;
            }
        }
        return fail();
    }

    template <class T>
    [[nodiscard]] T fixed() noexcept {
        if (rest_.size() < sizeof(T)) return static_cast<T>(fail());
        std::uint64_t value = 0;
        if constexpr (std::endian::native == std::endian::little)
            std::memcpy(&value, rest_.data(), sizeof(T));
        else
            for (std::size_t i = 0; i < sizeof(T); ++i)
                value |= static_cast<std::uint64_t>(rest_[i]) << (8U * i);
        rest_ = rest_.subspan(sizeof(T));
        return static_cast<T>(value);
    }

    [[nodiscard]] ByteView bytes(std::uint64_t count) noexcept {
        if (count > rest_.size()) {
            (void)fail();
            return {};
        }
        const ByteView result = rest_.first(static_cast<std::size_t>(count));
        rest_ = rest_.subspan(static_cast<std::size_t>(count));
        return result;
    }

    [[nodiscard]] std::string_view text(std::uint64_t count) noexcept { return as_text_view(bytes(count)); }
    [[nodiscard]] std::size_t remaining() const noexcept { return rest_.size(); }
    [[nodiscard]] bool ok() const noexcept { return ok_; }

  private:
    std::uint64_t fail() noexcept {
        ok_ = false;
        rest_ = {};
        return 0;
    }

    ByteView rest_;
    bool ok_ = true;
};

}  // namespace smartcache::inline v0::detail
