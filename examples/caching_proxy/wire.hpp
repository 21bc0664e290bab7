#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <smartcache/http.hpp>

#include "stream.hpp"

// HTTP/1.1 on the wire (RFC 9112).
namespace proxy {

namespace http = smartcache::http;

constexpr std::size_t max_head = 64 * 1024;  // request or status line with all fields

/// A start line split at its spaces, and the fields.
struct Head {
    std::string first, second, third;
    http::Headers headers;
};

/// Takes a head off what was read. @param searched  how much of that holds no end of a head, as this found before
/// @param head  what it is put into, in the room that this has
/// @return false where the head is not whole yet
inline bool take_head(Stream& in, std::size_t& searched, Head& head) {
    // Section 2.2: empty lines before a message are skipped.
    while (in.buffered().starts_with("\r\n")) in.consume(2);
    const std::string_view text = in.buffered();
    const std::size_t end = text.find("\r\n\r\n", searched > 3 ? searched - 3 : 0);
    if (end == std::string_view::npos) {
        searched = text.size();
        if (searched > max_head)  // section 3: 414 is for request targets
            throw ConnectionError(ConnectionError::broken, "head too large",
                                  text.find("\r\n") == std::string_view::npos ? 414 : 400);
        return false;
    }
    std::string_view block = text.substr(0, end + 2);
    const std::size_t line_end = block.find("\r\n");
    const std::string_view line = block.substr(0, line_end);
    const std::size_t a = line.find(' ');
    const std::size_t b = a == std::string_view::npos ? a : line.find(' ', a + 1);
    // Section 2.2: CR or LF alone ends no line here, but does at others: passed on, what follows would be another line.
    if (a == std::string_view::npos || http::detail::find_break(line, 0) != line.size())
        throw ConnectionError(ConnectionError::broken, "start line");
    const bool response = line.starts_with("HTTP/");
    head.first = line.substr(0, a);
    head.second = line.substr(a + 1, b == std::string_view::npos ? b : b - a - 1);
    head.third = b == std::string_view::npos ? std::string_view{} : line.substr(b + 1);
    block.remove_prefix(line_end + 2);
    if (head.headers.assign_wire(block)) block = {};
    head.headers.reserve(block.size());
    while (!block.empty()) {  // not as most write it
        const std::size_t eol = block.find("\r\n");
        const std::string_view field = block.substr(0, eol);
        const std::size_t colon = field.find(':');
        std::string_view name = field.substr(0, colon);
        // Sections 5.1 and 5.2: white space before the colon and folded lines are attacks more often
        // than not. From an origin the former is taken out.
        while (response && !name.empty() && http::detail::is_space(name.back())) name.remove_suffix(1);
        if (colon == std::string_view::npos || !head.headers.add(name, field.substr(colon + 1)))
            throw ConnectionError(ConnectionError::broken, "field line");
        block.remove_prefix(eol + 2);
    }
    in.consume(end + 4);
    searched = 0;
    return true;
}

/// The same, waiting for it. @return nullopt at the end of the stream before its first byte
inline std::optional<Head> read_head(Stream& in) {
    Head head;
    for (std::size_t searched = 0;;) {
        if (take_head(in, searched, head)) return head;
        if (in.fill()) continue;
        if (in.buffered().empty()) return std::nullopt;
        throw ConnectionError(ConnectionError::closed, "hung up inside a head");
    }
}

/// How long the content of a message is (section 6.3).
struct Framing {
    enum Kind { length, chunked, until_close } kind = length;
    std::uint64_t size = 0;
    [[nodiscard]] bool empty() const { return kind == length && size == 0; }
};

inline Framing framing_of(const http::Headers& headers, bool response) {
    const bool has_length = headers.has("Content-Length");
    if (headers.has("Transfer-Encoding")) {
        // Section 6.1: with both a request is an attempt to smuggle; another coding than chunked alone is not
        // for us.
        if (!http::detail::equal_ignoring_case(headers.combined("Transfer-Encoding"), "chunked") ||
            (has_length && !response))
            throw ConnectionError(ConnectionError::broken, "Transfer-Encoding");
        return {Framing::chunked, 0};
    }
    if (!has_length) return {response ? Framing::until_close : Framing::length, 0};
    std::optional<std::int64_t> size;
    bool ok = true;
    headers.for_each_member("Content-Length", [&](std::string_view member) {
        const auto value = http::detail::parse_digits(member, INT64_MAX);
        ok = ok && value && (!size || *size == *value);
        size = value;
    });
    if (!ok || !size) throw ConnectionError(ConnectionError::broken, "Content-Length");
    return {Framing::length, static_cast<std::uint64_t>(*size)};
}

/// The content of a message, piece by piece.
class Content {
  public:
    Content(Stream& in, Framing framing) : in_(in), framing_(framing), left_(framing.size) {
        done_ = framing.kind == Framing::length && left_ == 0;
    }
    [[nodiscard]] bool done() const { return done_; }

    /// The next piece; empty only at the end. Valid until the next call.
    std::string_view next() {
        in_.consume(std::exchange(taken_, 0));
        if (framing_.kind == Framing::chunked && !done_ && left_ == 0) start_chunk();
        if (done_) return {};
        while (in_.buffered().empty()) {
            if (in_.fill()) continue;
            if (framing_.kind != Framing::until_close)
                throw ConnectionError(ConnectionError::closed, "content cut off");
            done_ = true;
            return {};
        }
        std::string_view piece = in_.buffered();
        if (framing_.kind != Framing::until_close) {
            piece = piece.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left_, piece.size())));
            left_ -= piece.size();
            if (left_ == 0 && framing_.kind == Framing::length) done_ = true;
        }
        taken_ = piece.size();
        if (framing_.kind == Framing::chunked && left_ == 0) chunk_ended_ = true;
        return piece;
    }
    /// Gives back what `next` lent last.
    void finish() { in_.consume(std::exchange(taken_, 0)); }

  private:
    std::string line() {
        for (;;) {
            const std::string_view text = in_.buffered();
            const std::size_t end = text.find("\r\n");
            if (end != std::string_view::npos) {
                std::string result(text.substr(0, end));
                if (http::detail::find_break(result, 0) != result.size())  // section 2.2, as in start lines
                    throw ConnectionError(ConnectionError::broken, "chunk line");
                in_.consume(end + 2);
                return result;
            }
            if (text.size() > max_head) throw ConnectionError(ConnectionError::broken, "chunk line");
            if (!in_.fill()) throw ConnectionError(ConnectionError::closed, "content cut off");
        }
    }
    void start_chunk() {
        if (std::exchange(chunk_ended_, false) && !line().empty())
            throw ConnectionError(ConnectionError::broken, "chunk end");
        const std::string text = line();
        const std::string_view digits = http::detail::trim(std::string_view(text).substr(0, text.find(';')));
        if (digits.empty() || digits.size() > 15)
            throw ConnectionError(ConnectionError::broken, "chunk size");
        for (const char c : digits) {
            const int value = sc::detail::hex_value(c);
            if (value < 0) throw ConnectionError(ConnectionError::broken, "chunk size");
            left_ = left_ * 16 + static_cast<std::uint64_t>(value);
        }
        if (left_ > 0) return;
        done_ = true;
        while (!line().empty()) {  // trailers are dropped (RFC 9110 section 6.5.1)
        }
    }

    Stream& in_;
    Framing framing_;
    std::uint64_t left_;
    std::size_t taken_ = 0;
    bool chunk_ended_ = false;
    bool done_ = false;
};

/// How often a request may still be passed on (RFC 9110 section 7.6.2); nullopt: as often as it takes.
inline std::optional<std::int64_t> forwards_left(const http::Request& request) {
    if (request.method != "OPTIONS" && request.method != "TRACE") return std::nullopt;
    const auto limit = request.headers.get("Max-Forwards");
    return limit ? http::detail::parse_digits(*limit, INT32_MAX) : std::nullopt;
}

/// Whether a text can be what Host says (RFC 9112 section 3.2): of the characters that RFC 3986 section 3.2 has for a host
/// and its port.
inline bool is_host(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) {
        const char l = http::detail::lower(c);
        return (l >= 'a' && l <= 'z') || http::detail::is_digit(c) ||
               std::string_view("-._~%!$&'()*+,;=:[]").find(c) != std::string_view::npos;
    });
}

inline std::string_view reason_phrase(int status) {
    switch (status) {
        case 200:
            return "OK";
        case 201:
            return "Created";
        case 204:
            return "No Content";
        case 206:
            return "Partial Content";
        case 301:
            return "Moved Permanently";
        case 302:
            return "Found";
        case 304:
            return "Not Modified";
        case 400:
            return "Bad Request";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 500:
            return "Internal Server Error";
        case 502:
            return "Bad Gateway";
        case 503:
            return "Service Unavailable";
        case 504:
            return "Gateway Timeout";
        default:
            return "";
    }
}

[[nodiscard]] inline bool has_no_content(std::string_view method, int status) {
    return method == "HEAD" || status < 200 || status == 204 || status == 304;
}

inline http::Response plain(int status, std::string_view text) {
    return {status, {{"Content-Type", "text/plain"}}, std::string(text) + "\n"};
}

}  // namespace proxy
