#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <ios>
#include <istream>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <Poco/Exception.h>
#include <Poco/Net/HTTPServerRequest.h>
#include <Poco/Net/HTTPServerRequestImpl.h>
#include <Poco/Net/HTTPServerSession.h>
#include <Poco/Net/HTTPSession.h>

#include <smartcache/http/message.hpp>

// The content of a request to Poco's server.
namespace smartcache::inline v0::http::poco::detail {

enum class BodyState {
    whole,
    too_long,
    broken,  ///< it cannot be read to its end: no request
    unknown_coding,
};

/// The bytes of a connection, out of the buffer from which Poco reads the next request: its own streams are friends of
/// the session, this has the right of a derived class.
class SessionBytes : private Poco::Net::HTTPSession {
  public:
    /// @return a negative number at the end of the connection
    [[nodiscard]] static int next(Poco::Net::HTTPSession& session) { return (session.*&SessionBytes::get)(); }
    /// @return how many bytes came; 0 at the end of the connection
    [[nodiscard]] static std::size_t some(Poco::Net::HTTPSession& session, char* to, std::size_t most) {
        const int n = (session.*&SessionBytes::read)(to, static_cast<std::streamsize>(most));
        return n > 0 ? static_cast<std::size_t>(n) : 0;
    }
};

/// Reads content in chunks (RFC 9112 section 7.1). Poco's own stream ends where the connection does as if all had
/// come, and leaves a trailer of more than one line for the next request.
///
/// Throws: Poco's exceptions where the connection fails.
class ChunkReader {
  public:
    explicit ChunkReader(Poco::Net::HTTPSession& session) noexcept : session_(&session) {}

    [[nodiscard]] BodyState read(std::string& body, std::size_t max_body) {
        for (;;) {
            const auto size = chunk_size();
            if (!size) return BodyState::broken;
            if (*size == 0) return skip_trailer() ? BodyState::whole : BodyState::broken;
            if (*size > max_body - body.size()) return BodyState::too_long;
            if (!append(body, static_cast<std::size_t>(*size)) || line() != "") return BodyState::broken;
        }
    }

  private:
    static constexpr std::size_t max_line = 4096;
    static constexpr std::size_t max_trailer_lines = 64;

    /// @return a line without its CRLF; nullopt: there is none
    [[nodiscard]] std::optional<std::string> line() {
        std::string text;
        for (int c = SessionBytes::next(*session_); c >= 0; c = SessionBytes::next(*session_)) {
            text += static_cast<char>(c);
            if (text.ends_with("\r\n")) return text.substr(0, text.size() - 2);
            if (text.size() >= max_line) break;
        }
        return std::nullopt;
    }

    [[nodiscard]] std::optional<std::uint64_t> chunk_size() {
        const auto text = line();
        if (!text) return std::nullopt;
        std::uint64_t size = 0;
        const char* const end = text->data() + text->size();
        const auto [rest, error] = std::from_chars(text->data(), end, size, 16);
        const bool extended = rest != end && (*rest == ';' || *rest == ' ' || *rest == '\t');
        if (error != std::errc() || (rest != end && !extended)) return std::nullopt;
        return size;
    }

    [[nodiscard]] bool append(std::string& body, std::size_t size) {
        char buffer[8192];
        while (size > 0) {
            const std::size_t n = SessionBytes::some(*session_, buffer, std::min(size, sizeof buffer));
            if (n == 0) return false;
            body.append(buffer, n);
            size -= n;
        }
        return true;
    }

    [[nodiscard]] bool skip_trailer() {
        for (std::size_t i = 0; i < max_trailer_lines; ++i) {
            const auto field = line();
            if (!field) return false;
            if (field->empty()) return true;
        }
        return false;
    }

    Poco::Net::HTTPSession* session_;
};

[[nodiscard]] inline BodyState read_sized(Poco::Net::HTTPServerRequest& from, std::string& body,
                                          std::size_t max_body) {
    const auto length = static_cast<std::uint64_t>(from.getContentLength64());
    if (length > max_body) return BodyState::too_long;
    char buffer[8192];
    while (from.stream().read(buffer, sizeof buffer), from.stream().gcount() > 0)
        body.append(buffer, static_cast<std::size_t>(from.stream().gcount()));
    return from.stream().bad() || body.size() != length ? BodyState::broken : BodyState::whole;
}

[[nodiscard]] inline BodyState read_body(Poco::Net::HTTPServerRequest& from, Request& request,
                                         std::size_t max_body) {
    std::string body;
    BodyState state = BodyState::whole;
    try {
        if (from.getChunkedTransferEncoding()) {
            auto* const own = dynamic_cast<Poco::Net::HTTPServerRequestImpl*>(&from);
            if (own == nullptr) return BodyState::unknown_coding;  // not from Poco's server
            state = ChunkReader(own->session()).read(body, max_body);
        } else if (from.has("Transfer-Encoding")) {
            return BodyState::unknown_coding;
        } else if (from.hasContentLength()) {
            state = read_sized(from, body, max_body);
        }
    } catch (const Poco::Exception&) {
        return BodyState::broken;
    }
    request.body = std::move(body);
    return state;
}

}  // namespace smartcache::inline v0::http::poco::detail
