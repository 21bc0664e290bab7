#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include <smartcache/core/features.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/options.hpp>
#include <smartcache/redis/socket.hpp>

// TLS for `rediss://` and its like: an interface, so that connections know nothing of the library behind it, and builds
// without one need none of its headers. Plain sockets never pass through it.
namespace smartcache::inline v0::detail {

/// The protected bytes of one connection. Reads and writes its socket itself, through `Socket`, so it never
/// blocks and never raises SIGPIPE (R34). After a failure it is of no use. Used by one thread at a time.
class TlsSession {
  public:
    TlsSession() = default;
    TlsSession(const TlsSession&) = delete;
    TlsSession& operator=(const TlsSession&) = delete;
    virtual ~TlsSession() = default;

    enum class Handshake { done, wants_read, wants_write, failed };
    /// Goes as far as it can without waiting. `done`: the server is who it should be.
    [[nodiscard]] virtual Handshake shake_hands() = 0;

    /// Sends as much as fits. @return bytes taken, 0 when the socket is full, -1 for `problem`. Bytes that
    /// were not taken must be offered again.
    [[nodiscard]] virtual ssize_t send(std::span<const iovec> parts) = 0;

    /// Takes what has arrived; keeps nothing back that `buffer` has no room for, so that poll(2) on the
    /// socket tells whether there is more. @param buffer  at least 16 KiB, the most that one record holds
    [[nodiscard]] virtual Socket::Received receive(std::span<char> buffer, std::size_t& count) = 0;

    /// Why the last call failed; its text without the server's address.
    [[nodiscard]] virtual Failure problem() const = 0;
};

/// What the sessions of a tier have in common. Thread safety: any thread.
class TlsContext {
  public:
    TlsContext() = default;
    TlsContext(const TlsContext&) = delete;
    TlsContext& operator=(const TlsContext&) = delete;
    virtual ~TlsContext() = default;

    /// @param socket  connected; must stay where it is and outlive the session, as this must
    /// @param host    name or address of the server, which its certificate must carry unless the options name
    /// another
    [[nodiscard]] virtual std::unique_ptr<TlsSession> session(Socket& socket,
                                                              const std::string& host) const = 0;
};

/// Reads certificates and key.
/// @throws ConfigError naming the option and what is wrong with the file; naming `redis.url` when this build
/// has no TLS
[[nodiscard]] inline std::shared_ptr<const TlsContext> make_tls_context(const TlsOptions& options);

}  // namespace smartcache::inline v0::detail

#include <smartcache/redis/impl/tls.hpp>  // IWYU pragma: export
