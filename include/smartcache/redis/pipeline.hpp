#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace smartcache::inline v0::detail {

/// Commands in Redis' protocol (RESP arrays of bulk strings), to be sent in one go.
///
/// Small arguments are copied; from 4 KiB on they are only referred to and leave the process from where they
/// lie, so every argument must live until the pipeline was executed.
///
/// hiredis' own formatter would allocate each command anew and copy every value into it.
class Pipeline {
  public:
    void command(std::initializer_list<std::string_view> arguments) {
        command(std::span<const std::string_view>(arguments.begin(), arguments.size()));
    }
    void command(std::span<const std::string_view> arguments) {
        number('*', arguments.size());
        for (const std::string_view argument : arguments) {
            number('$', argument.size());
            if (argument.size() < referred_from) {
                text_ += argument;
            } else {
                pieces_.push_back({text_.size(), argument});
                referred_bytes_ += argument.size();
            }
            text_ += "\r\n";
        }
        ++commands_;
    }

    [[nodiscard]] std::size_t commands() const noexcept { return commands_; }
    [[nodiscard]] bool empty() const noexcept { return commands_ == 0; }
    [[nodiscard]] std::size_t bytes() const noexcept { return text_.size() + referred_bytes_; }
    void clear() noexcept {
        text_.clear();
        pieces_.clear();
        referred_bytes_ = commands_ = 0;
    }

    /// The next pieces to send, from byte `offset` of the whole. @return how many entries of `parts` were
    /// filled
    [[nodiscard]] std::size_t gather(std::size_t offset, std::span<iovec> parts) const noexcept {
        std::size_t filled = 0;
        std::size_t start = 0;   // of the current stretch, in the whole
        std::size_t copied = 0;  // bytes of `text_` passed
        const auto add = [&](std::string_view stretch) {
            if (!stretch.empty() && offset < start + stretch.size() && filled < parts.size()) {
                const std::size_t skip = offset > start ? offset - start : 0;
                parts[filled].iov_base = const_cast<char*>(stretch.data() + skip);
                parts[filled].iov_len = stretch.size() - skip;
                ++filled;
            }
            start += stretch.size();
        };
        const std::string_view text(text_);
        for (const Piece& piece : pieces_) {
            add(text.substr(copied, piece.at - copied));
            add(piece.bytes);
            copied = piece.at;
            if (filled == parts.size()) return filled;
        }
        add(text.substr(copied));
        return filled;
    }

  private:
    /// An argument that lies elsewhere and belongs before byte `at` of `text_`.
    struct Piece {
        std::size_t at;
        std::string_view bytes;
    };
    static constexpr std::size_t referred_from = 4096;

    void number(char kind, std::size_t value) {
        std::array<char, 24> digits{};
        const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
        static_cast<void>(error);  // 20 digits always fit
        text_ += kind;
        text_.append(digits.data(), end);
        text_ += "\r\n";
    }

    std::string text_;
    std::vector<Piece> pieces_;
    std::size_t referred_bytes_ = 0;
    std::size_t commands_ = 0;
};

}  // namespace smartcache::inline v0::detail
