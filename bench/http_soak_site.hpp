#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>

#include "http_peer.hpp"

// The site of http_soak.cpp: which resources there are, what each of their versions looks like, and what has happened to them.
// Origin and clients know it alike, so that a client can tell of every byte whether it should have got it.
namespace bench {

constexpr std::int64_t slack_ms =
    2000;  ///< Date counts whole seconds; who waits for another's request gets its answer
constexpr std::int64_t grace_ms = 5000;  ///< the proxy's `grace`
constexpr std::size_t tag_count = 64;

[[nodiscard]] inline std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31U);
}

enum class Kind { plain, etag, behind, strict, vary, no_store, user, unreliable, unreliable_etag, chunked };

/// A resource. Its version is the time when it was made, in whole steps of `step`.
struct Resource {
    std::uint64_t number;

    [[nodiscard]] Kind kind() const { return static_cast<Kind>(number % 10); }
    /// Not all: those without also have no Content-Length, for by an answer to HEAD with the length of a stored one and no ETag a
    /// cache would believe that to be the same (RFC 9111 section 4.3.5).
    [[nodiscard]] bool has_etag() const { return kind() != Kind::chunked; }
    /// Whether a version lasts, so that 304 is an answer.
    [[nodiscard]] bool lasts() const { return kind() == Kind::etag || kind() == Kind::unreliable_etag; }
    [[nodiscard]] bool fails() const { return kind() == Kind::unreliable || kind() == Kind::unreliable_etag; }
    /// Whether an answer may be for one request only.
    [[nodiscard]] bool never_reused() const { return kind() == Kind::no_store || kind() == Kind::user; }
    [[nodiscard]] bool stale_on_error() const { return kind() != Kind::strict && !never_reused(); }
    [[nodiscard]] std::size_t tag() const { return (number / 10) % tag_count; }
    [[nodiscard]] std::int64_t fresh_s() const { return 1 + static_cast<std::int64_t>(mix(number) % 5); }
    [[nodiscard]] std::int64_t step() const { return lasts() ? 4000 : 1; }
    [[nodiscard]] std::int64_t version_at(std::int64_t ms) const { return ms - ms % step(); }
    /// How old a version may be, beside failures of the origin.
    [[nodiscard]] std::int64_t reused_ms() const {
        return never_reused() ? 0 : (fresh_s() + (kind() == Kind::behind ? 5 : 0)) * 1000 + slack_ms;
    }
    [[nodiscard]] std::string etag(std::int64_t version) const {
        return '"' + std::to_string(number) + '-' + std::to_string(version) + '"';
    }
    [[nodiscard]] std::string cache_control() const {
        if (kind() == Kind::no_store) return "no-store";
        std::string text = "max-age=" + std::to_string(fresh_s());
        if (kind() == Kind::user) text += ", private";
        if (kind() == Kind::strict) text += ", must-revalidate";
        if (kind() == Kind::behind) text += ", stale-while-revalidate=5";
        if (kind() == Kind::unreliable_etag) text += ", stale-if-error=5";
        return text;
    }
    /// The request field that the content depends on.
    [[nodiscard]] std::string_view variant_field() const {
        if (kind() == Kind::vary) return "accept-language";
        if (kind() == Kind::user) return "authorization";
        return {};
    }

    /// 100 bytes to 300 KiB, as many of each magnitude.
    [[nodiscard]] std::string content(std::int64_t version, std::string_view variant) const {
        std::uint64_t seed = mix(number * 0x9e3779b97f4a7c15U + static_cast<std::uint64_t>(version));
        for (const char c : variant) seed = mix(seed + static_cast<unsigned char>(c));
        const std::size_t least = std::size_t{100} << (seed % 12);
        std::string text(least + (seed >> 8U) % (least / 2), '\0');
        for (std::size_t at = 0; at < text.size(); at += sizeof(std::uint64_t)) {
            const std::uint64_t word = mix(seed + at);
            std::memcpy(text.data() + at, &word, std::min(sizeof word, text.size() - at));
        }
        return text;
    }
};

/// Raises it to at least `value`.
inline void raise(std::atomic<std::int64_t>& to, std::int64_t value) {
    for (std::int64_t old = to; old < value && !to.compare_exchange_weak(old, value);) {
    }
}

/// What has happened, by the clock of `now_ms`.
class Events {
  public:
    void failed(Resource r) { raise(failed_[r.number % slots], now_ms()); }
    void outage_begins() {
        outage_begun_ = now_ms();
        outage_ended_ = std::numeric_limits<std::int64_t>::max();
    }
    void outage_ends() { outage_ended_ = now_ms(); }
    /// Whether the origin failed a request that was answered between these times, or one that it may have waited for.
    [[nodiscard]] bool excused(Resource r, std::int64_t begun, std::int64_t ended) const {
        return failed_[r.number % slots] >= begun - slack_ms ||
               (outage_begun_ <= ended && outage_ended_ >= begun - slack_ms);
    }
    /// Nothing made before `ms` may be served from now on.
    void invalidated(Resource r, std::int64_t ms) { raise(floor_[r.number % slots], ms); }
    void tag_purged(std::size_t tag, std::int64_t ms) { raise(tag_floor_[tag], ms); }
    [[nodiscard]] std::int64_t floor(Resource r) const {
        return std::max(floor_[r.number % slots].load(), tag_floor_[r.tag()].load());
    }

  private:
    static constexpr std::size_t slots = 1U << 17U;  // more than there are resources in hours

    std::array<std::atomic<std::int64_t>, slots> failed_{};
    std::array<std::atomic<std::int64_t>, slots> floor_{};
    std::array<std::atomic<std::int64_t>, tag_count> tag_floor_{};
    std::atomic<std::int64_t> outage_begun_{std::numeric_limits<std::int64_t>::min() / 2};
    std::atomic<std::int64_t> outage_ended_{std::numeric_limits<std::int64_t>::min() / 2};
};

}  // namespace bench
