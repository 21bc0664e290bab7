#pragma once

// Where keys live in a Redis Cluster (Redis Cluster specification, "Key distribution model").
//
// A key's slot is CRC16 of its hash tag, or of the whole key, modulo 16384, and each master serves some slots. A script
// may only touch keys of one slot, and a record is judged by its namespace's epochs, so both carry the same hash tag
// (R16): a record belongs to one of 256 partitions by its physical key, and everything of a partition has its tag:
//
//     record  sc:{p12}:3:app:user:1          epochs of the namespace "app" in that partition  sc:{p12}:epochs:3:app
//
// Partitions, tags and names are persistent: never change them.

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <smartcache/redis/reply.hpp>
#include <smartcache/redis/url.hpp>

namespace smartcache::inline v0::detail {

inline constexpr std::size_t hash_slots = 16384;
inline constexpr std::size_t cluster_partitions = 256;

/// CRC16-CCITT (XMODEM): polynomial 0x1021, begins with 0, nothing reflected.
[[nodiscard]] constexpr std::uint16_t crc16(std::string_view bytes) noexcept {
    constexpr auto table = [] {
        std::array<std::uint16_t, 256> all{};
        for (std::size_t i = 0; i < all.size(); ++i) {
            std::size_t value = i << 8U;
            for (int bit = 0; bit < 8; ++bit)
                value = (value & 0x8000U) != 0 ? (value << 1U) ^ 0x1021U : value << 1U;
            all[i] = static_cast<std::uint16_t>(value);
        }
        return all;
    }();
    std::uint16_t crc = 0;
    for (const char c : bytes) {
        const auto index = static_cast<std::size_t>((crc >> 8U) ^ static_cast<unsigned char>(c));
        crc = static_cast<std::uint16_t>((crc << 8U) ^ table[index]);
    }
    return crc;
}

/// The slot of a key: only what is between the first '{' and the first '}' behind it counts, if that is anything.
[[nodiscard]] constexpr std::uint16_t hash_slot(std::string_view key) noexcept {
    const std::size_t open = key.find('{');
    if (open != std::string_view::npos) {
        const std::size_t close = key.find('}', open + 1);
        if (close != std::string_view::npos && close != open + 1)
            key = key.substr(open + 1, close - open - 1);
    }
    return static_cast<std::uint16_t>(crc16(key) % hash_slots);
}

/// The partition of a record with that physical key.
[[nodiscard]] constexpr std::size_t partition_of(std::string_view physical) noexcept {
    return crc16(physical) % cluster_partitions;
}

/// Each partition's hash tag: "p" and the lowest number whose slot lies in the partition's stretch of 64 slots, so that
/// masters that serve equally many neighbouring slots get equally many partitions.
[[nodiscard]] inline std::vector<std::string> partition_tags() {
    constexpr std::size_t stretch = hash_slots / cluster_partitions;
    std::vector<std::string> tags(cluster_partitions);
    std::size_t found = 0;
    for (std::size_t number = 0; found < tags.size(); ++number) {
        std::string tag = "p" + std::to_string(number);
        std::string& place = tags[hash_slot(tag) / stretch];
        if (!place.empty()) continue;
        place = std::move(tag);
        ++found;
    }
    return tags;
}

/// An address in a server's answer, which may be a lie.
/// @return nullopt when it is none
[[nodiscard]] inline std::optional<RedisUrl::Host> host_of_answer(std::string_view name, std::uint64_t port) {
    constexpr std::size_t longest_name = 255;  // RFC 1035 section 2.3.4
    const bool plausible =
        !name.empty() && name.size() <= longest_name &&
        std::all_of(name.begin(), name.end(), [](char c) { return is_unreserved(c) || c == ':'; });
    if (!plausible || port == 0 || port > 65535) return std::nullopt;
    return RedisUrl::Host{std::string(name), static_cast<std::uint16_t>(port)};
}
/// The same with the port in decimal.
[[nodiscard]] inline std::optional<RedisUrl::Host> host_of_answer(std::string_view name,
                                                                  std::string_view port) {
    std::uint16_t number = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc{} || end != port.data() + port.size()) return std::nullopt;
    return host_of_answer(name, std::uint64_t{number});
}

/// Slots that one master serves, both ends included.
struct SlotRange {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
    RedisUrl::Host master;
};

/// Who serves the slot by what ranges say; nullptr: nobody.
[[nodiscard]] inline const SlotRange* range_of(const std::vector<SlotRange>& ranges,
                                               std::uint16_t slot) noexcept {
    const auto found = std::find_if(ranges.rbegin(), ranges.rend(), [slot](const SlotRange& range) {
        return range.first <= slot && slot <= range.last;
    });
    return found == ranges.rend() ? nullptr : &*found;
}

/// Reads the answer to CLUSTER SLOTS. What is no range, or names no address, is left out.
/// @param asked  who answered: a node that does not know its own address leaves the name empty
[[nodiscard]] inline std::vector<SlotRange> take_slots(const Reply& reply, const RedisUrl::Host& asked) {
    std::vector<SlotRange> ranges;
    if (reply.kind != Reply::Kind::array) return ranges;
    const auto is_slot = [](const Reply& number) {
        return number.kind == Reply::Kind::integer && number.integer >= 0 &&
               number.integer < static_cast<std::int64_t>(hash_slots);
    };
    for (const Reply& range : reply.elements) {
        if (range.elements.size() < 3 || !is_slot(range.elements[0]) || !is_slot(range.elements[1]) ||
            range.elements[0].integer > range.elements[1].integer)
            continue;
        const std::vector<Reply>& master = range.elements[2].elements;  // replicas stand behind it
        if (master.size() < 2 || master[1].kind != Reply::Kind::integer || master[1].integer <= 0) continue;
        const bool itself =
            master[0].kind == Reply::Kind::nil || (master[0].is_text() && master[0].text.empty());
        if (!itself && !master[0].is_text()) continue;
        std::optional<RedisUrl::Host> host = host_of_answer(itself ? asked.name : master[0].text,
                                                            static_cast<std::uint64_t>(master[1].integer));
        if (host)
            ranges.push_back({static_cast<std::uint16_t>(range.elements[0].integer),
                              static_cast<std::uint16_t>(range.elements[1].integer), std::move(*host)});
    }
    return ranges;
}

/// What an answer says when the command was not run where it was sent.
struct Redirection {
    enum class Kind {
        moved,      ///< the slot is another node's
        ask,        ///< this key may be at another node, this once
        try_again,  ///< the slot is just being moved
        unserved,   ///< nobody serves the slot, or nobody writes to it now
        down,       ///< the node takes the whole cluster for failed, and serves nothing
        nowhere,    ///< a redirection that names no address
    };
    Kind kind = Kind::nowhere;
    RedisUrl::Host host{};  ///< for `moved` and `ask`
    friend bool operator==(const Redirection&, const Redirection&) = default;
};

/// Whether a node says that it serves nothing because the cluster does not work: too few masters are left, or too few slots
/// for one that wants all. The same code stands before what is said of a single slot, and of writes by a node that still
/// answers reads; only the words tell them apart.
[[nodiscard]] inline bool is_down(const Reply& reply) noexcept {
    return reply.is_error() && reply.text == "CLUSTERDOWN The cluster is down";
}

/// @param asked  who answered
/// @return nullopt for every other answer
[[nodiscard]] inline std::optional<Redirection> redirection_of(const Reply& reply,
                                                               const RedisUrl::Host& asked) {
    using Kind = Redirection::Kind;
    if (!reply.is_error()) return std::nullopt;
    if (reply.is_error("TRYAGAIN")) return Redirection{Kind::try_again, {}};
    if (is_down(reply)) return Redirection{Kind::down, {}};
    if (reply.is_error("CLUSTERDOWN")) return Redirection{Kind::unserved, {}};
    const bool moved = reply.is_error("MOVED ");
    if (!moved && !reply.is_error("ASK ")) return std::nullopt;
    // MOVED 3999 127.0.0.1:6381; an IPv6 address has colons itself; without a name it is who was asked.
    const std::string_view text = reply.text;
    const std::size_t space = text.rfind(' ');
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos || colon <= space) return Redirection{};
    const std::string_view name = text.substr(space + 1, colon - space - 1);
    std::optional<RedisUrl::Host> host =
        host_of_answer(name.empty() ? std::string_view(asked.name) : name, text.substr(colon + 1));
    if (!host) return Redirection{};
    return Redirection{moved ? Kind::moved : Kind::ask, std::move(*host)};
}

}  // namespace smartcache::inline v0::detail
