#pragma once

#include <chrono>
#include <cstddef>
#include <string>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/write_mode.hpp>

namespace smartcache::inline v0 {

/// Whether and how other processes' L1 and L3 are told of writes.
enum class Coherence {
    off,        ///< trust lifetimes alone
    automatic,  ///< the best that server and configuration allow: `publish`, but who has no threads does not listen
    publish,   ///< publish/subscribe messages of this library
    tracking,  ///< server-assisted client tracking: sees foreign writers too; not in a cluster
};

/// What is served from L1 and L3 while this process does not hear what others change (R13).
enum class LeaseLost {
    serve_stale,  ///< what is there, until its lifetime ends
    distrust,     ///< nothing: only what Redis answers
};

/// After `failures` failed commands in a row the tier, in a cluster the node, is asked by no caller until a probe succeeds: the
/// PING that maintenance says every 100 ms (a cache's background thread, or `run_maintenance`), or, when the last failure is
/// `open_for` ago, a caller's command. A node that answers that its cluster is down has failed, one that does not serve a single
/// slot has not. A cluster of which no node says who serves what has such a breaker, too.
struct BreakerOptions {
    std::size_t failures = 5;
    Duration open_for = std::chrono::seconds(5);
};

/// For `rediss://`, `rediss+sentinel://` and `rediss+cluster://`: TLS 1.2 or newer, in a build that links `smartcache::tls`, to
/// every server and sentinel with the same options. The files are in PEM format and are read once, by the tier's
/// constructor, which throws a ConfigError when one is of no use. Set with another scheme they are a ConfigError.
///
/// Nodes of a cluster, and sentinels, name ports that speak TLS when they are told to: `tls-cluster yes`,
/// `tls-replication yes`. A port that does not speak it is not spoken to.
struct TlsOptions {
    /// Certificates that the server's must descend from. Empty: the system's trust store.
    std::string ca_file{};
    /// Our certificate, and what leads from it to its root, for servers that ask for one. Empty: none.
    std::string cert_file{};
    /// The key of `cert_file`, without a password.
    std::string key_file{};
    /// Name or address that the certificate of every server and sentinel must carry; empty: the URL's host, and of a server
    /// that others name (a cluster's node, the sentinels' master) the name or address that they give.
    std::string server_name{};
    /// Off accepts any certificate: for tests only.
    bool verify = true;

    bool operator==(const TlsOptions&) const = default;
};

/// L2, the tier in Redis.
struct RedisOptions {
    bool enabled = false;
    /// redis://[user[:password]@]host[:port][/db], unix:///path?db=0,
    /// redis+sentinel://h1[:port],h2/master-name[/db] (see RedisUrl for all parts),
    /// redis+cluster://[user[:password]@]h1[:port],h2 (some of a Redis Cluster's nodes);
    /// over TLS: rediss://, rediss+sentinel://, rediss+cluster://
    std::string url = "redis://localhost:6379/0";
    /// Lifetime in L2 of entries stored without one.
    Duration ttl = std::chrono::hours(24);
    /// Most connections at a time, in a cluster to each master. Callers beyond that wait within their deadline. Another one
    /// listens (`coherence`); in a cluster that is one for each master, and one more that asks it who serves what.
    std::size_t max_connections = 10;
    /// Deadline for opening a connection, log-in included.
    Duration connect_timeout = std::chrono::milliseconds(500);
    /// Deadline for a whole command, waiting for a connection included.
    Duration timeout = std::chrono::milliseconds(100);
    BreakerOptions breaker{};
    Coherence coherence = Coherence::automatic;
    /// `behind` returns before Redis has answered; only with `Coherence::off`.
    WriteMode write = WriteMode::through;
    TlsOptions tls{};
    /// Secret for an HMAC-SHA-256 over every record and its key: who can write to Redis and does not know it
    /// cannot make up or alter records. What does not carry the right one is a miss, is counted as corrupt
    /// and deleted, so all processes that share records need the same secret: with different ones, or with
    /// and without, they delete each other's. Take 16 random bytes or more. Empty: none.
    ///
    /// It hides nothing, and cannot keep others from deleting records, or from putting an older record of the
    /// same key back that has not expired yet, even one from before a `clear`. Costs 32 bytes per record, and
    /// some 5 us per KiB on each read and write.
    std::string integrity_key{};
    /// How long a connection that says nothing is believed to bring the messages of other processes: the time after which a
    /// cache that does not get them knows so. It asks for a sign of life three times as often, in a cluster each master; and twice
    /// as often one of them for the map of slots, which is believed no longer than that either.
    Duration lease = std::chrono::seconds(1);
    LeaseLost lease_lost = LeaseLost::serve_stale;
};

}  // namespace smartcache::inline v0
