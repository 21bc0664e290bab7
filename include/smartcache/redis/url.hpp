#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <smartcache/core/canonical_key.hpp>

namespace smartcache::inline v0 {

/// Where Redis is and how to log in, as `RedisOptions::url` says it.
///
///     redis://[user[:password]@]host[:port][/db]
///     unix://[user[:password]@]/path/to/socket[?db=0]
///     redis+sentinel://[user[:password]@]host[:port],host[:port]/name[/db][?sentinel_user=...&sentinel_password=...]
///     redis+cluster://[user[:password]@]host[:port],host[:port]
///     rediss://...  rediss+sentinel://...  rediss+cluster://...     the same over TLS, to every server and sentinel
///
/// Users, passwords, path and master's name are percent-decoded; IPv6 addresses stand in brackets. With
/// sentinels, the hosts are theirs, user and password are for the master, and those in the query for them. Of a
/// cluster the hosts are some of its nodes, and user and password are for all of them.
struct RedisUrl {
    enum class Scheme { tcp, unix_socket, sentinel, cluster };
    struct Host {
        std::string name;  ///< without brackets
        std::uint16_t port = 6379;
        /// As in a URL.
        [[nodiscard]] std::string endpoint() const {
            const bool brackets = name.find(':') != std::string::npos;
            return (brackets ? "[" + name + "]" : name) + ":" + std::to_string(port);
        }
        friend bool operator==(const Host&, const Host&) = default;
    };

    Scheme scheme = Scheme::tcp;
    bool tls = false;         ///< over TLS
    std::vector<Host> hosts;  ///< one, or several for sentinel and cluster; none for a unix socket
    std::string path;         ///< of the unix socket
    std::string service;      ///< the sentinels' name for the master
    std::string user;
    std::optional<std::string> password;
    unsigned db = 0;
    std::string sentinel_user;
    std::optional<std::string> sentinel_password;

    /// Host and port, the socket's path, or the master's name and its sentinels: for messages. Never holds the
    /// password.
    [[nodiscard]] std::string endpoint() const {
        if (scheme == Scheme::unix_socket) return "unix socket " + path;
        std::string text;
        for (const Host& host : hosts) {
            if (!text.empty()) text += ',';
            text += host.endpoint();
        }
        if (scheme == Scheme::sentinel) return "the master " + service + " of the sentinels " + text;
        return scheme == Scheme::cluster ? "the cluster of " + text : text;
    }
};

/// The URL as it may be shown: log-in, query and whatever else could be a misplaced password replaced by
/// `***`.
[[nodiscard]] inline std::string redacted_redis_url(std::string_view url) {
    std::string text;
    const std::size_t scheme_end = url.find("://");
    const std::size_t at = url.rfind('@');
    std::size_t rest = 0;
    if (scheme_end != std::string_view::npos && (at == std::string_view::npos || scheme_end < at)) {
        rest = scheme_end + 3;
        text = url.substr(0, rest);
    }
    if (at != std::string_view::npos) {
        rest = at + 1;
        text += "***@";
    }
    std::string_view tail = url.substr(rest);
    const std::size_t query = tail.find_first_of("?#");
    if (query != std::string_view::npos) tail = tail.substr(0, query);
    // "redis://:secret" or "redis://user:secret", whose author forgot the host: what should be a port is not
    // a number.
    const std::size_t authority_end = std::min(tail.find('/'), tail.size());
    const std::size_t colon = tail.substr(0, authority_end).rfind(':');
    const std::string_view port = colon == std::string_view::npos
                                      ? std::string_view()
                                      : tail.substr(colon + 1, authority_end - colon - 1);
    const bool number = std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
    if ((number && colon != 0) || (!tail.empty() && tail.front() == '[')) {
        text += tail;
    } else {
        text.append(tail.substr(0, colon)).append(":***").append(tail.substr(authority_end));
    }
    if (query != std::string_view::npos) text += "?***";
    return text;
}

namespace detail {

class RedisUrlParser {
  public:
    explicit RedisUrlParser(std::string_view text) : rest_(text) {}

    /// @return nullopt when it is not a URL of ours; `problem()` says which part is wrong and what it should
    /// be
    [[nodiscard]] std::optional<RedisUrl> parse() {
        if (parse_scheme() && parse_log_in() && parse_place()) return std::move(url_);
        return std::nullopt;
    }
    [[nodiscard]] const std::string& problem() const noexcept { return problem_; }

  private:
    using Scheme = RedisUrl::Scheme;

    bool wrong(std::string_view part, std::string_view allowed) {
        problem_.assign(part).append(": ").append(allowed);
        return false;
    }

    bool parse_scheme() {
        const std::size_t end = rest_.find("://");
        constexpr std::string_view schemes =
            "redis://, rediss://, unix://, redis+sentinel://, rediss+sentinel://, redis+cluster:// or "
            "rediss+cluster://";
        if (end == std::string_view::npos) return wrong("scheme", schemes);
        std::string name(rest_.substr(0, end));
        for (char& c : name) c = ascii_lower(c);
        constexpr std::string_view secure = "rediss";
        url_.tls = name.compare(0, secure.size(), secure) == 0;
        if (url_.tls) name.erase(secure.size() - 1, 1);
        if (name == "redis") {
            url_.scheme = Scheme::tcp;
        } else if (name == "unix") {
            url_.scheme = Scheme::unix_socket;
        } else if (name == "redis+sentinel") {
            url_.scheme = Scheme::sentinel;
        } else if (name == "redis+cluster") {
            url_.scheme = Scheme::cluster;
        } else {
            return wrong("scheme", schemes);
        }
        rest_ = rest_.substr(end + 3);
        return true;
    }

    /// RFC 3986 section 2.1.
    static std::optional<std::string> decode(std::string_view text) {
        std::string result;
        for (std::size_t i = 0; i < text.size(); ++i) {
            if (text[i] != '%') {
                result += text[i];
                continue;
            }
            if (i + 2 >= text.size()) return std::nullopt;
            const int high = hex_value(text[i + 1]);
            const int low = hex_value(text[i + 2]);
            if (high < 0 || low < 0) return std::nullopt;
            result += static_cast<char>(high * 16 + low);
            i += 2;
        }
        return result;
    }

    bool parse_log_in() {
        const std::size_t end = rest_.find_first_of("/?#");
        const std::size_t at = rest_.substr(0, end).rfind('@');
        if (at == std::string_view::npos) {
            // An unencoded '/' in the password would otherwise be blamed on the port or the path.
            if (url_.scheme != Scheme::unix_socket && rest_.find('@') != std::string_view::npos)
                return wrong("user or password", "'/', '?', '#' and '@' percent-encoded");
            return true;
        }
        const std::string_view log_in = rest_.substr(0, at);
        rest_ = rest_.substr(at + 1);
        const std::size_t colon = log_in.find(':');
        std::optional<std::string> user = decode(log_in.substr(0, colon));
        if (!user) return wrong("user", "every '%' followed by two hexadecimal digits");
        url_.user = std::move(*user);
        if (colon != std::string_view::npos) {
            url_.password = decode(log_in.substr(colon + 1));
            if (!url_.password) return wrong("password", "every '%' followed by two hexadecimal digits");
        } else if (!url_.user.empty()) {
            url_.password.emplace();  // a user that needs none still has to log in
        }
        return true;
    }

    bool parse_place() {
        if (rest_.find('#') != std::string_view::npos) return wrong("fragment", "none");
        const std::size_t question = rest_.find('?');
        const std::string_view query =
            question == std::string_view::npos ? std::string_view() : rest_.substr(question + 1);
        if (url_.scheme == Scheme::unix_socket)
            return parse_path(rest_.substr(0, question)) && parse_query(query);
        if (url_.scheme == Scheme::sentinel) {
            if (!parse_sentinel_query(query)) return false;
            rest_ = rest_.substr(0, question);
        } else if (question != std::string_view::npos) {
            return wrong("query", "none; the database follows the host: /0");
        }

        const std::size_t slash = rest_.find('/');
        const bool has_path = slash != std::string_view::npos;
        std::string_view path = has_path ? rest_.substr(slash + 1) : std::string_view();
        if (!parse_hosts(rest_.substr(0, slash))) return false;
        if (url_.scheme == Scheme::sentinel) {
            const std::size_t end = path.find('/');
            const std::optional<std::string> name = decode(path.substr(0, end));
            if (!name || name->empty())
                return wrong("sentinel name", "the master's name behind the hosts: /mymaster");
            url_.service = *name;
            path = end == std::string_view::npos ? std::string_view() : path.substr(end + 1);
        }
        if (!parse_db(path)) return false;
        if (url_.scheme == Scheme::cluster && url_.db != 0)
            return wrong("database", "0: a cluster has no other");
        return true;
    }

    bool parse_path(std::string_view text) {
        const std::optional<std::string> path = decode(text);
        if (!path) return wrong("path", "every '%' followed by two hexadecimal digits");
        constexpr std::size_t longest = 107;  // sockaddr_un::sun_path with its terminator
        if (path->size() < 2 || path->front() != '/' || path->find('\0') != std::string::npos ||
            path->size() > longest)
            return wrong("path", "an absolute path of at most 107 bytes: unix:///run/redis.sock");
        url_.path = *path;
        return true;
    }

    bool parse_query(std::string_view query) {
        if (query.empty()) return true;
        if (query.substr(0, 3) != "db=") return wrong("query", "db=<number> alone");
        return parse_db(query.substr(3));
    }

    bool parse_sentinel_query(std::string_view query) {
        std::optional<std::string> user;
        while (!query.empty()) {
            const std::string_view pair = query.substr(0, query.find('&'));
            query = query.substr(std::min(pair.size() + 1, query.size()));
            const std::size_t equals = std::min(pair.find('='), pair.size());
            const std::string_view name = pair.substr(0, equals);
            std::optional<std::string>& field = name == "sentinel_user" ? user : url_.sentinel_password;
            if ((name != "sentinel_user" && name != "sentinel_password") || equals == pair.size() || field)
                return wrong("query", "sentinel_user=... and sentinel_password=..., each at most once");
            field = decode(pair.substr(equals + 1));
            if (!field) return wrong(name, "every '%' followed by two hexadecimal digits");
        }
        if (user) url_.sentinel_user = std::move(*user);
        if (!url_.sentinel_user.empty() && !url_.sentinel_password) url_.sentinel_password.emplace();
        return true;
    }

    bool parse_db(std::string_view text) {
        if (text.empty()) return true;
        constexpr unsigned most = 2'147'483'647;
        if (!parse_number(text, url_.db) || url_.db > most) return wrong("database", "a number, 0 or more");
        return true;
    }

    bool parse_hosts(std::string_view text) {
        const bool many = url_.scheme == Scheme::sentinel || url_.scheme == Scheme::cluster;
        for (;;) {
            const std::size_t comma = text.find(',');
            if (comma != std::string_view::npos && !many) return wrong("host", "one host for this scheme");
            if (!parse_host(text.substr(0, comma))) return false;
            if (comma == std::string_view::npos) return true;
            text = text.substr(comma + 1);
        }
    }

    bool parse_host(std::string_view text) {
        RedisUrl::Host host{{}, static_cast<std::uint16_t>(url_.scheme == Scheme::sentinel ? 26379 : 6379)};
        std::size_t end = 0;
        if (!text.empty() && text.front() == '[') {
            end = text.find(']');
            const std::string_view name = text.substr(1, end == std::string_view::npos ? end : end - 1);
            const bool plausible =
                name.find(':') != std::string_view::npos && std::all_of(name.begin(), name.end(), [](char c) {
                    return hex_value(c) >= 0 || c == ':' || c == '.';
                });
            if (end == std::string_view::npos || !plausible)
                return wrong("host", "an IPv6 address in brackets: [::1]");
            host.name = name;
            ++end;
        } else {
            end = std::min(text.find(':'), text.size());
            host.name = text.substr(0, end);
            const bool plausible = std::all_of(host.name.begin(), host.name.end(),
                                               [](char c) { return is_unreserved(c) && c != '~'; });
            if (host.name.empty() || host.name.size() > 253 || !plausible)
                return wrong("host", "a name, an IPv4 address, or an IPv6 address in brackets");
        }
        if (end < text.size()) {
            unsigned port = 0;
            if (text[end] != ':' || !parse_number(text.substr(end + 1), port) || port == 0 || port > 65535)
                return wrong("port", "a number from 1 to 65535");
            host.port = static_cast<std::uint16_t>(port);
        }
        url_.hosts.push_back(std::move(host));
        return true;
    }

    static bool parse_number(std::string_view text, unsigned& number) {
        const char* const end = text.data() + text.size();
        const auto [next, error] = std::from_chars(text.data(), end, number);
        return error == std::errc{} && next == end && !text.empty();
    }

    std::string_view rest_;
    RedisUrl url_;
    std::string problem_;
};

}  // namespace detail

/// Parses a URL of the grammar above.
/// @param problem  receives the wrong part and what is allowed there, without any part of the log-in
/// @return nullopt when it is not such a URL
[[nodiscard]] inline std::optional<RedisUrl> parse_redis_url(std::string_view text, std::string& problem) {
    detail::RedisUrlParser parser(text);
    std::optional<RedisUrl> url = parser.parse();
    problem = parser.problem();
    return url;
}

}  // namespace smartcache::inline v0
