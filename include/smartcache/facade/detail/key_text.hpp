#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

namespace smartcache::inline v0::detail {

/// A key under construction: on the stack while it is short, so that it costs no allocation.
class KeyText {
  public:
    KeyText() noexcept {}  // leaves the characters as they are
    KeyText(const KeyText&) = delete;
    KeyText& operator=(const KeyText&) = delete;

    KeyText& append(const char* text, std::size_t size) {
        if (size > here_.size() - size_) [[unlikely]]
            return append_elsewhere(text, size);
        std::memcpy(here_.data() + size_, text, size);
        size_ += size;
        return *this;
    }
    /// The first `size` characters of the array. All are copied where there is room, in a length that the compiler knows.
    template <std::size_t N>
    KeyText& append_start(const std::array<char, N>& text, std::size_t size) {
        if (N > here_.size() - size_) [[unlikely]]
            return append(text.data(), size);
        std::memcpy(here_.data() + size_, text.data(), N);
        size_ += size;
        return *this;
    }
    KeyText& operator+=(std::string_view text) { return append(text.data(), text.size()); }
    KeyText& operator+=(char character) { return append(&character, 1); }

    [[nodiscard]] std::string_view view() const noexcept {
        return elsewhere_.empty() ? std::string_view(here_.data(), size_) : elsewhere_;
    }

  private:
    [[gnu::noinline]] KeyText& append_elsewhere(const char* text, std::size_t size) {
        if (elsewhere_.empty()) elsewhere_.assign(here_.data(), size_);
        elsewhere_.append(text, size);
        size_ = here_.size();  // whatever follows goes there too
        return *this;
    }

    std::array<char, 512> here_;
    std::size_t size_ = 0;
    std::string elsewhere_;
};

}  // namespace smartcache::inline v0::detail
