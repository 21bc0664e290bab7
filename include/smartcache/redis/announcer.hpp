#pragma once

// Messages between processes that share a namespace on one server: who changes something there says so (R9).
//
// They go through publish/subscribe, on a channel for each database and namespace, in the same transaction (MULTI) as the
// change, or out of the script that makes it: whoever gets one and then asks the server gets what the change has left, and a
// change that is in the server has been told, whatever became of who made it.
//
//     message = "SCi1" sender sent kind *(size name)
//     sender  = u64, random, of the cache that has made the change: it does not listen to itself
//     sent    = u64, when, by a clock of the sender's own, who measures by it how long messages take; none of its messages has
//               that of another one, so sender and sent tell messages apart
//     kind    = u8, see Invalidation
//     size    = varint
//     name    = a key without its namespace, or a tag; none of "cleared"
//
// In a cluster each master's part is told by itself: who makes a change publishes it at the master that serves the key, in the
// same step. That master tells its own subscribers at once, as a server that is alone does, and all others over the cluster's
// bus, which may lose it: so whoever wants to hear everything listens at every master (cluster_listener.hpp). The channel's name
// has a hash tag, which means nothing to publish/subscribe; the history of a server that is alone is a stream of the same
// name, and in a cluster there is none, for it would be in another slot than what it tells of.
//
// A message makes its readers forget, and nothing else. So one that is forged, or cannot be read, costs misses.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/core/function_ref.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/record/invalidation.hpp>
#include <smartcache/record/key.hpp>
#include <smartcache/record/varint.hpp>
#include <smartcache/redis/reply.hpp>

namespace smartcache::inline v0::detail {

/// Where the messages about a namespace go.
[[nodiscard]] inline std::string invalidation_channel(unsigned db, std::string_view name_space) {
    std::string channel =
        "sc:{invalidations}:" + std::to_string(db) + ":" + std::to_string(name_space.size());
    channel += ':';
    channel += name_space;
    return channel;
}

/// Makes the messages of one tier. Thread safety: any thread.
class Announcer {
  public:
    /// @param on  whether others are told at all
    /// @param keeps  whether what they are told is kept, too
    Announcer(bool on, unsigned db, bool keeps = true) : on_(on), keeps_(keeps), db_(db) {}

    /// Whether changes are to be announced: wanted, and not forbidden by the server.
    [[nodiscard]] bool on() const noexcept { return on_ && !forbidden(); }
    /// Whether the server has refused a message less than a minute ago: rights change.
    // relaxed: a number of its own.
    [[nodiscard]] bool forbidden() const noexcept {
        const std::uint64_t until = forbidden_until_.load(std::memory_order_relaxed);
        return until != 0 && clock() < until;
    }
    [[nodiscard]] std::string channel(std::string_view name_space) const {
        return invalidation_channel(db_, name_space);
    }
    /// The history of that; empty: none.
    [[nodiscard]] std::string stream(std::string_view name_space) const {
        return keeps_ ? channel(name_space) : std::string();
    }

    [[nodiscard]] std::string message(Invalidation::Kind kind,
                                      std::span<const std::string_view> names) const {
        ByteSink out;
        out.append(as_byte_view(magic));
        put_fixed(out, sender());
        put_fixed(out, moment());
        put_fixed(out, static_cast<std::uint8_t>(kind));
        for (const std::string_view name : names) {
            put_varint(out, name.size());
            out.append(as_byte_view(name));
        }
        return std::string(as_text_view(out.view()));
    }
    [[nodiscard]] std::string message(Invalidation::Kind kind, std::string_view name) const {
        return message(kind, std::span(&name, 1));
    }

    /// What is to be published, and kept (history.hpp).
    struct Message {
        std::string channel;
        std::string stream;  ///< empty: it is not kept
        std::string text;
        std::vector<std::string> parts;  ///< the same in several, where it is long
    };
    /// That keys have changed: a message for each of their namespaces, none where nothing is to be announced.
    /// @param keys  physical ones
    template <class Keys>
    [[nodiscard]] std::vector<Message> about(const Keys& keys) const {
        std::vector<Message> messages;
        if (!on()) return messages;
        std::map<std::string_view, std::vector<std::string_view>> by_namespace;
        for (const auto& key : keys)
            if (const auto parts = split_physical_key(key))
                by_namespace[parts->name_space].push_back(parts->key);
        for (const auto& [name_space, names] : by_namespace)
            messages.push_back({channel(name_space), stream(name_space),
                                message(Invalidation::Kind::key, names), in_parts(names)});
        return messages;
    }
    /// The same of one key; all empty where nothing is to be announced. One that is in no namespace has a message about nothing.
    [[nodiscard]] Message about_one(std::string_view key) const {
        if (!on()) return {};
        const auto parts = split_physical_key(key);
        if (!parts)
            return {
                channel({}), {}, message(Invalidation::Kind::key, std::span<const std::string_view>()), {}};
        return {channel(parts->name_space),
                stream(parts->name_space),
                message(Invalidation::Kind::key, parts->key),
                {}};
    }

    /// Understands the server's answer to a message. @return whether it was refused
    bool learn(const Reply& reply) noexcept {
        if (!reply.is_error("NOPERM") && !reply.is_error("ERR unknown command")) return false;
        constexpr std::uint64_t minute = 60'000'000'000;
        forbidden_until_.store(clock() + minute, std::memory_order_relaxed);
        return true;
    }

    enum class Read { done, own, unreadable };
    /// Takes a message apart. @param took  for one of our own: since it was made
    Read read(std::string_view message, FunctionRef<void(const Invalidation&)> told,
              std::chrono::nanoseconds& took) const {
        if (message.substr(0, magic.size()) != magic) return Read::unreadable;
        ByteReader reader(as_byte_view(message.substr(magic.size())));
        const auto sender = reader.fixed<std::uint64_t>();
        const auto sent = reader.fixed<std::uint64_t>();
        const auto kind = reader.fixed<std::uint8_t>();
        if (!reader.ok() || kind < 1 || kind > 4) return Read::unreadable;
        if (sender == this->sender()) {
            took = std::chrono::nanoseconds(static_cast<std::int64_t>(clock() - sent));
            return Read::own;
        }
        const auto what = static_cast<Invalidation::Kind>(kind);
        if (what == Invalidation::Kind::cleared) {
            told({what});
            return Read::done;
        }
        while (reader.remaining() > 0) {
            const std::uint64_t size = reader.varint();
            const std::string_view name = reader.text(size);
            if (!reader.ok()) return Read::unreadable;
            told({what, name});
        }
        return Read::done;
    }

  private:
    /// What is kept is bounded by how many there are, so none should be much longer than most.
    [[nodiscard]] std::vector<std::string> in_parts(std::span<const std::string_view> names) const {
        constexpr std::size_t long_part = 512;
        std::vector<std::string> parts;
        std::size_t bytes = 0;
        std::size_t first = 0;
        for (std::size_t i = 0; i < names.size(); ++i) {
            if (i > first && bytes + names[i].size() > long_part) {
                parts.push_back(message(Invalidation::Kind::key, names.subspan(first, i - first)));
                first = i;
                bytes = 0;
            }
            bytes += names[i].size();
        }
        if (first > 0) parts.push_back(message(Invalidation::Kind::key, names.subspan(first)));
        return parts;
    }

    /// Another one in each child of a fork(2): it is somebody else (R33).
    [[nodiscard]] std::uint64_t sender() const noexcept {
        if (!process_.forked()) [[likely]]
            return sender_;
        const auto child = static_cast<std::uint64_t>(::getpid());
        return sender_ ^ (child * 0x9e3779b97f4a7c15U);
    }
    [[nodiscard]] static std::uint64_t clock() noexcept {
        return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() /
                                          std::chrono::nanoseconds(1));
    }

    /// The time, a little later where that has been said already.
    // relaxed: a number of its own.
    [[nodiscard]] std::uint64_t moment() const noexcept {
        const std::uint64_t now = clock();
        std::uint64_t last = last_.load(std::memory_order_relaxed);
        for (;;) {
            const std::uint64_t next = std::max(now, last + 1);
            if (last_.compare_exchange_weak(last, next, std::memory_order_relaxed)) return next;
        }
    }

    static constexpr std::string_view magic = "SCi1";
    const bool on_;
    const bool keeps_;
    const unsigned db_;
    const std::uint64_t sender_ = random_stamp();
    const ProcessMark process_{};
    mutable std::atomic<std::uint64_t> last_{0};
    std::atomic<std::uint64_t> forbidden_until_{0};
};

}  // namespace smartcache::inline v0::detail
