#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/tier_id.hpp>

namespace smartcache::inline v0 {

/// What `SmartCache::explain` found out about one key: who would answer a lookup, or why nobody would.
struct Explanation {
    /// What a tier has under the key.
    enum class State {
        live,          ///< a value
        negative,      ///< a remembered absence
        stale,         ///< expired, within its grace: for `allow_stale`, and for when a load fails
        other_schema,  ///< stored under another `Config::schema_version`: a miss
        unreadable,    ///< larger than `max_value_size`, or packed in a way that this build cannot undo
        other_codec,   ///< written by another codec: reads as nothing
        absent,        ///< nothing that may be given out: never stored, evicted, erased, or expired and gone
        unavailable,   ///< the tier does not answer: deadline, circuit breaker
        not_started,   ///< the tier is configured, and could not start
        distrusted,  ///< on this process' disk; others may have changed it unheard, or have ended it in Redis: a miss
    };

    struct TierEntry {
        TierId tier = TierId::none;
        State state = State::absent;
        Duration age{0};  ///< since it was stored
        Duration ttl{0};  ///< what remains of its lifetime; `Duration::max()`: for ever
        std::size_t bytes =
            0;  ///< of the value as it is kept there; in memory with its key and all that it takes
        std::string detail{};             ///< more, for an operator
        std::vector<std::string> tags{};  ///< that it was stored with
    };

    std::string key;
    bool hit = false;  ///< whether `get` would find a value, if it is read as the type it was stored as
    TierId answers = TierId::none;   ///< the tier that would answer
    std::string reason{};            ///< one sentence
    std::vector<TierEntry> tiers{};  ///< from the top down

    /// All of it for a person: the reason, and a line for each tier.
    [[nodiscard]] std::string text() const;
};

[[nodiscard]] constexpr std::string_view to_string(Explanation::State state) noexcept {
    switch (state) {
        case Explanation::State::live:
            return "live";
        case Explanation::State::negative:
            return "absence remembered";
        case Explanation::State::stale:
            return "stale";
        case Explanation::State::distrusted:
            return "not to be trusted";
        case Explanation::State::other_schema:
            return "of another schema_version";
        case Explanation::State::unreadable:
            return "unreadable";
        case Explanation::State::other_codec:
            return "of another codec";
        case Explanation::State::absent:
            return "nothing";
        case Explanation::State::unavailable:
            return "no answer";
        case Explanation::State::not_started:
            return "not started";
    }
    return "?";
}

inline std::string Explanation::text() const {
    const auto length = [](Duration time) {
        return time == Duration::max() ? std::string("for ever") : std::to_string(time.count()) + " ms";
    };
    std::string all = "\"" + key + "\": " + reason + "\n";
    for (const TierEntry& entry : tiers) {
        all += "  " + std::string(to_string(entry.tier)) + ": " + std::string(to_string(entry.state));
        if (entry.state != State::absent && entry.state != State::unavailable &&
            entry.state != State::not_started)
            all += ", age " + length(entry.age) + ", ttl " + length(entry.ttl) + ", " +
                   std::to_string(entry.bytes) + " bytes";
        if (!entry.tags.empty()) {
            all += ", tags";
            for (const std::string& tag : entry.tags) all += " \"" + tag + "\"";
        }
        if (!entry.detail.empty()) all += " (" + entry.detail + ")";
        all += "\n";
    }
    return all;
}

}  // namespace smartcache::inline v0
