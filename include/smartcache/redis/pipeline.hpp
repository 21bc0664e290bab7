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
        // Room for all of it at once: most arguments are so short that asking for room takes longer than copying them.
        std::size_t most = longest_number;
        for (const std::string_view argument : arguments)
            most += longest_number + 2 + (argument.size() < referred_from ? argument.size() : 0);
        const std::size_t begin = text_.size();
        text_.resize(begin + most);
        char* at = number(text_.data() + begin, '*', arguments.size());
        for (const std::string_view argument : arguments) {
            at = number(at, '$', argument.size());
            if (argument.size() < referred_from) {
                at = std::copy(argument.begin(), argument.end(), at);
            } else {
                pieces_.push_back({static_cast<std::size_t>(at - text_.data()), argument});
                referred_bytes_ += argument.size();
            }
            at = end_line(at);
        }
        text_.resize(static_cast<std::size_t>(at - text_.data()));
        ++commands_;
    }

    /// Before commands are added. @param bytes  that they may have
    void expect(std::size_t bytes) { text_.reserve(text_.size() + bytes); }

    /// Adds all commands of another one.
    void append(const Pipeline& other) {
        append(other, 0, other.text_.size(), 0, other.pieces_.size());
        commands_ += other.commands_;
    }
    /// Adds the commands whose turn `wanted(i)` says it is. Takes time for every command of the other one.
    template <class Wanted>
    void append_if(const Pipeline& other, Wanted wanted) {
        std::size_t at = 0;
        std::size_t piece = 0;
        for (std::size_t i = 0; i < other.commands_; ++i) {
            const std::size_t begin = at;
            const std::size_t first_piece = piece;
            for (std::size_t left = other.take_number(at); left != 0; --left) {
                const std::size_t size = other.take_number(at);
                if (size < referred_from)
                    at += size;
                else
                    ++piece;
                at += 2;
            }
            if (!wanted(i)) continue;
            append(other, begin, at, first_piece, piece);
            ++commands_;
        }
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
    static constexpr std::size_t longest_number = 24;  // 20 digits, and what stands around them

    void append(const Pipeline& other, std::size_t begin, std::size_t end, std::size_t first_piece,
                std::size_t last_piece) {
        const std::size_t offset = text_.size();
        for (std::size_t i = first_piece; i < last_piece; ++i) {
            const Piece& piece = other.pieces_[i];
            pieces_.push_back({piece.at - begin + offset, piece.bytes});
            referred_bytes_ += piece.bytes.size();
        }
        text_.append(other.text_, begin, end - begin);
    }
    /// Reads what `number` wrote, and goes behind it.
    [[nodiscard]] std::size_t take_number(std::size_t& at) const noexcept {
        std::size_t value = 0;
        const char* const end = text_.data() + text_.size();
        at = static_cast<std::size_t>(std::from_chars(text_.data() + at + 1, end, value).ptr - text_.data()) +
             2;
        return value;
    }
    /// At most `longest_number` bytes. @return where it ends
    static char* number(char* at, char kind, std::size_t value) noexcept {
        *at++ = kind;
        if (value < 10)
            *at++ = static_cast<char>('0' + value);
        else
            at = std::to_chars(at, at + longest_number, value).ptr;
        return end_line(at);
    }
    static char* end_line(char* at) noexcept {
        *at++ = '\r';
        *at++ = '\n';
        return at;
    }

    std::string text_;
    std::vector<Piece> pieces_;
    std::size_t referred_bytes_ = 0;
    std::size_t commands_ = 0;
};

}  // namespace smartcache::inline v0::detail
