#pragma once

// How `clear()` forgets a whole namespace in O(1), on a server where nothing may be scanned or flushed.
//
// Each namespace has an epoch, a number in the hash "sc:{epochs}:<namespace>", and every record carries in
// `created_seq` the epoch its writer had seen. `clear` raises the epoch; a record is valid if and only if its
// number is the namespace's epoch. (R18 asks for created_seq >= epoch; a number above the epoch that was read
// after the record cannot have come from this hash, see below, so only equality is left.) The epoch is read
// in the same round trip as the records, behind them: what had been cleared before a read began is never
// returned, and knowledge is never stale.
//
// Epochs never repeat (R17): new = max(old + 1, the server's time in us), by script. What if the hash itself
// is lost, by eviction or by hand? All fields go together, so the loss shows: nothing is there, or the random
// token is another one.
//   - Nothing there: whoever notices creates the hash anew, with a number above the server's time and above every
//     epoch this process has seen. The lost epochs were at most the time at which they were made, so the new
//     number is above them: every record from before the loss is invalid, the cleared ones and, as the price, the
//     others too.
//   - Another token: somebody else has done that. If their number is not above what this process had seen, it is
//     raised.
//   - The same token and a lower number: an old snapshot was restored. It is raised above what we had seen.
//   - The server's clock had been set back before the loss, and the process that made the hash anew had not seen
//     the old epochs: the new number may be below the old ones. Records with a higher number than the epoch are
//     invalid too, hence equality above; only hitting an old number to the microsecond would bring a record
//     back.
// A writer that lags behind writes the old epoch and notices from the answer to the very same round trip (see
// RedisTier::write): a caller's write is repeated with the new epoch, a fill is not valid then, as it should
// be.

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace smartcache::inline v0::detail {

/// What a namespace's hash holds.
struct EpochFields {
    std::uint64_t clear = 0;
    std::string token;
};

/// The name of a namespace's hash. Records live under "sc:<digits>:...", so the two never meet.
[[nodiscard]] inline std::string epoch_key(std::string_view name_space) {
    return "sc:{epochs}:" + std::to_string(name_space.size()) + ":" + std::string(name_space);
}

/// @return nullopt for anything but the decimal digits of an epoch
[[nodiscard]] inline std::optional<std::uint64_t> parse_epoch(std::string_view text) noexcept {
    // What the server's script takes for an epoch too: close above it doubles end to count, and a number that
    // cannot be raised would be no epoch.
    constexpr std::uint64_t highest = 9'007'199'254'740'000;
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size() || number == 0 || number > highest)
        return std::nullopt;
    return number;
}

/// What this process has seen of the namespaces' epochs.
///
/// Thread safety: any thread. One short lock per round trip.
class Epochs {
  public:
    /// The epoch to write into records now.
    [[nodiscard]] std::optional<std::uint64_t> known(std::string_view name_space) const {
        const std::lock_guard lock(mutex_);
        const auto found = seen_.find(name_space);
        if (found == seen_.end() || found->second.doubted) return std::nullopt;
        return found->second.clear;
    }

    /// The highest epoch ever seen; 0 if none.
    [[nodiscard]] std::uint64_t highest(std::string_view name_space) const {
        const std::lock_guard lock(mutex_);
        const auto found = seen_.find(name_space);
        return found == seen_.end() ? 0 : found->second.clear;
    }

    /// What an answer means: the namespace's epoch, or that a new one has to be made because the hash was
    /// lost.
    struct Seen {
        std::optional<std::uint64_t> epoch;
        std::uint64_t too_low = 0;  ///< a new epoch has to be above this, unless it comes
        std::string token{};        ///< with this token, under which that one was seen
    };

    /// Takes in what the server answered.
    /// @param fields  nullopt: the hash is missing or damaged
    Seen observe(std::string_view name_space, const std::optional<EpochFields>& fields) {
        const std::lock_guard lock(mutex_);
        auto found = seen_.find(name_space);
        if (!fields || fields->token.empty()) {
            if (found == seen_.end()) return {std::nullopt, 0};
            // Lost, or an answer from before the hash was first made, overtaken by later ones: the next one
            // tells. A hash made after a loss has another token.
            found->second.doubted = true;
            return {std::nullopt, found->second.clear, found->second.token};
        }
        if (found == seen_.end()) {
            // Forgets floors, which guard against clocks that were set back and against nothing else.
            if (seen_.size() >= most_namespaces) seen_.clear();
            found = seen_.emplace(std::string(name_space), Known{}).first;
        }
        Known& seen = found->second;
        if (fields->clear > seen.clear || (fields->clear == seen.clear && fields->token == seen.token)) {
            seen = {*fields, false};
            return {seen.clear, 0};
        }
        // Lower than before under the same token: an answer that another one has overtaken, and asking again
        // settles it; or the server came back with an old snapshot. Under another token: made by somebody who
        // had not seen ours.
        return {std::nullopt, seen.clear, seen.token};
    }

  private:
    struct Known : EpochFields {
        bool doubted = false;  // the last answer was that there is no hash
    };

    static constexpr std::size_t most_namespaces = 1024;
    mutable std::mutex mutex_;
    std::map<std::string, Known, std::less<>> seen_;
};

}  // namespace smartcache::inline v0::detail
