#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <smartcache/core/clock.hpp>

namespace smartcache::inline v0::detail {

/// The point in real time at which an operation gives up, however many system calls it takes.
class Deadline {
  public:
    using Clock = std::chrono::steady_clock;

    /// @param timeout  from now; anything beyond a day is a day
    [[nodiscard]] static Deadline in(Duration timeout) noexcept {
        constexpr Duration longest = std::chrono::hours(24);
        return Deadline(Clock::now() + std::clamp(timeout, Duration::zero(), longest));
    }
    explicit Deadline(Clock::time_point at) noexcept : at_(at) {}

    [[nodiscard]] Clock::time_point at() const noexcept { return at_; }
    [[nodiscard]] bool passed() const noexcept { return Clock::now() >= at_; }
    /// For poll(2): rounded up, so that a wait never ends just before the deadline.
    [[nodiscard]] int poll_timeout() const noexcept {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(at_ - Clock::now()).count();
        return static_cast<int>(std::clamp<std::int64_t>(left, 0, std::numeric_limits<int>::max()));
    }
    [[nodiscard]] friend Deadline earlier(Deadline a, Deadline b) noexcept { return a.at_ < b.at_ ? a : b; }

  private:
    Clock::time_point at_;
};

/// What may hold words of a server's, for an operator: one line that is not too long, and none of a command that is not known, which
/// the server repeats with its arguments: keys, values, or a password.
[[nodiscard]] inline std::string one_line(std::string text) {
    constexpr std::size_t longest = 1024;
    text.resize(std::min(text.find(", with args beginning with"), text.size()));
    if (text.size() > longest) text.replace(longest, std::string::npos, "...");
    for (char& c : text)
        if (const auto code = static_cast<unsigned char>(c); code < 0x20 || code == 0x7f) c = '?';
    return text;
}

/// Why a round trip did not succeed.
struct Failure {
    enum class Kind : std::uint8_t {
        none,
        timeout,      ///< the deadline passed
        connecting,   ///< the deadline passed while a connection was still being opened; the opening goes on
        busy,         ///< the deadline passed while all connections were in use
        connect,      ///< no connection: refused, unreachable, no such name
        backing_off,  ///< a connection failed a moment ago; nothing was tried
        tls,          ///< no secure connection: a certificate was refused, or what answers does not speak TLS
        log_in,       ///< the server refused user, password or database
        io,           ///< the connection broke
        protocol,     ///< what came back is not Redis' protocol
        too_long,     ///< an answer is larger than allowed
        not_ready,    ///< the server answered that it cannot serve now (loading, busy, no master)
        redirected,   ///< what was asked for is at another node of the cluster; the text is the answer
        breaker_open,  ///< not asked: the breaker is open
        local,         ///< this process: out of memory, descriptors, threads
    };
    Kind kind = Kind::none;
    int error = 0;       ///< errno, when one belongs to it
    std::string text{};  ///< what was tried, or what the server said

    [[nodiscard]] explicit operator bool() const noexcept { return kind != Kind::none; }

    /// Whether the deadline was the reason.
    [[nodiscard]] bool timed_out() const noexcept {
        return kind == Kind::timeout || kind == Kind::connecting || kind == Kind::busy;
    }
    /// Whether it tells that the server is not well; a connection that is still being opened, or one that
    /// nobody had free, does not.
    [[nodiscard]] bool blames_server() const noexcept {
        switch (kind) {
            case Kind::none:
            case Kind::connecting:
            case Kind::busy:
            case Kind::backing_off:
            case Kind::redirected:
            case Kind::breaker_open:
            case Kind::local:
                return false;
            default:
                return true;
        }
    }

    /// One line for an operator.
    [[nodiscard]] std::string message() const {
        std::string line = one_line(text);
        if (error != 0)
            line += (line.empty() ? "" : ": ") + std::generic_category().message(error) + " (errno " +
                    std::to_string(error) + ")";
        return line;
    }

    [[nodiscard]] static Failure system(Kind kind, std::string what, int error) {
        return {kind, error, std::move(what)};
    }
};

}  // namespace smartcache::inline v0::detail
