#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace smartcache::inline v0 {

/// A view of bytes that somebody else owns.
using ByteView = std::span<const std::byte>;

[[nodiscard]] inline ByteView as_byte_view(std::string_view text) noexcept {
    return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

[[nodiscard]] inline std::string_view as_text_view(ByteView bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// `a == b`, inline: for keys, which are short and nearly always equal when they are compared.
[[nodiscard, gnu::always_inline]] inline bool equal_text(std::string_view a, std::string_view b) noexcept {
    const std::size_t size = a.size();
    if (size != b.size()) return false;
    const char* const x = a.data();
    const char* const y = b.data();
    const auto differ = [x, y](std::size_t at) {
        std::uint64_t mine = 0;
        std::uint64_t other = 0;
        std::memcpy(&mine, x + at, sizeof(mine));
        std::memcpy(&other, y + at, sizeof(other));
        return mine ^ other;
    };
    // Words that overlap, and no loop: which lengths there are is foreseen better than how often one goes round.
    if (size - 16 <= 16) return (differ(0) | differ(8) | differ(size - 16) | differ(size - 8)) == 0;
    if (size - 8 <= 8) return (differ(0) | differ(size - 8)) == 0;
    if (size - 32 <= 32) {
        const std::uint64_t first = differ(0) | differ(8) | differ(16) | differ(24);
        return (first | differ(size - 32) | differ(size - 24) | differ(size - 16) | differ(size - 8)) == 0;
    }
    return a == b;
}

/// Where encoders put bytes: a growing buffer that only ever appends.
///
///     ByteSink out;
///     codec.encode(value, out);
///     store(out.view());
///
/// Thread safety: one thread at a time. Throws: `std::bad_alloc` when it cannot grow.
class ByteSink {
  public:
    ByteSink() = default;

    void append(ByteView bytes) { buffer_.insert(buffer_.end(), bytes.begin(), bytes.end()); }
    void append(std::string_view text) { append(as_byte_view(text)); }
    void append(std::byte byte) { buffer_.push_back(byte); }

    /// Appends `count` zero bytes and returns where they start; valid until the next append.
    [[nodiscard]] std::byte* extend(std::size_t count) {
        const std::size_t start = buffer_.size();
        buffer_.resize(start + count);
        return buffer_.data() + start;
    }

    /// Drops everything behind the first `size` bytes; `size` must not exceed `size()`.
    void truncate(std::size_t size) { buffer_.resize(size); }

    void reserve(std::size_t capacity) { buffer_.reserve(capacity); }
    void clear() noexcept { buffer_.clear(); }

    [[nodiscard]] std::size_t size() const noexcept { return buffer_.size(); }
    [[nodiscard]] bool empty() const noexcept { return buffer_.empty(); }
    [[nodiscard]] ByteView view() const noexcept { return buffer_; }
    [[nodiscard]] std::byte* data() noexcept { return buffer_.data(); }

    /// Hands the bytes over; the sink is empty afterwards.
    [[nodiscard]] std::vector<std::byte> take() noexcept { return std::exchange(buffer_, {}); }

  private:
    std::vector<std::byte> buffer_;
};

}  // namespace smartcache::inline v0
