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
//
// Tags work alike. The hash counts the changes of tags, "tags", in the same way, and has a field for each tag that was ever
// erased ("e:<tag>") or expired ("x:<tag>") since the last clear: the count at that change. A record with tags carries the
// count that its writer had seen before it began to make the value (R18), so it is valid if and only if that is not below
// the count of one of its tags, nor below "floor", which is raised when there are too many fields. The count is read with
// the epoch; the fields of a record's tags are asked for only if something has changed since the record was written, and
// what this process has learnt of them stays good until the count moves on. They are lost with the epoch only.
//
// Where nobody may run scripts a clear is a HINCRBY, with what is missing made before (Partition::clear_without_script), and so is
// whatever else the script would do: a lost hash that is made anew, and a change of a tag, which clears the namespace then.
//
// A writer that lags behind writes the old epoch and notices from the answer to the very same round trip (see
// RedisTier::write): a caller's write is repeated with the new epoch, a fill is not valid then, as it should
// be.

#include <atomic>
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
#include <utility>

#include <smartcache/core/mutex.hpp>

namespace smartcache::inline v0::detail {

/// What a namespace's hash holds.
struct EpochFields {
    std::uint64_t clear = 0;
    std::string token;
    std::uint64_t tags = 0;   ///< how often tags have changed
    std::uint64_t floor = 0;  ///< records with tags from before this change of a tag are invalid
};

/// When a tag was last changed, as the namespace counts.
struct TagFields {
    std::uint64_t erased = 0;
    std::uint64_t expired = 0;
};

/// The name of a namespace's hash. Records live under "sc:<digits>:...", so the two never meet.
[[nodiscard]] inline std::string epoch_key(std::string_view name_space) {
    std::string name = "sc:{epochs}:";
    const std::string size = std::to_string(name_space.size());
    name.reserve(name.size() + size.size() + 1 + name_space.size());
    name += size;
    name += ':';
    name += name_space;
    return name;
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

/// The number of changes of tags, or the count at which a tag was changed; 0 for anything else.
[[nodiscard]] inline std::uint64_t parse_tag_count(std::string_view text) noexcept {
    return parse_epoch(text).value_or(0);
}

/// What this process has seen of the namespaces' epochs.
///
/// Thread safety: any thread. One short lock per round trip.
class Epochs {
  public:
    Epochs() = default;
    /// @param learnt  goes up with each change of tags that is learnt, here and by others that share it: what `tags_at` is
    /// asked for
    explicit Epochs(std::atomic<std::uint64_t>& learnt) : learnt_(&learnt) {}

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

    /// How often tags have changed, and the floor, as last seen; 0, 0 if never.
    struct Tags {
        std::uint64_t count = 0;
        std::uint64_t floor = 0;
    };
    [[nodiscard]] Tags tags(std::string_view name_space) const {
        const std::lock_guard lock(mutex_);
        const auto found = seen_.find(name_space);
        return found == seen_.end() ? Tags{} : Tags{found->second.tags, found->second.floor};
    }

    /// How often tags had changed as far as was known when the shared number was `when`; 0 when that is forgotten, or nothing
    /// was known.
    [[nodiscard]] std::uint64_t tags_at(std::string_view name_space, std::uint64_t when) const {
        const std::lock_guard lock(mutex_);
        const auto found = seen_.find(name_space);
        if (found == seen_.end()) return 0;
        const Known& seen = found->second;
        return when >= seen.learnt_at ? seen.tags : when >= seen.learnt_before ? seen.tags_before : 0;
    }
    /// Whether an epoch was seen.
    [[nodiscard]] bool knows(std::string_view name_space) const {
        const std::lock_guard lock(mutex_);
        return seen_.contains(name_space);
    }

    /// What is known of a tag, if nothing can have changed it since: at that count of changes.
    [[nodiscard]] std::optional<TagFields> tag(std::string_view name_space, std::string_view tag,
                                               std::uint64_t count) const {
        const std::lock_guard lock(mutex_);
        const auto found = seen_.find(name_space);
        if (found == seen_.end() || found->second.known_at != count) return std::nullopt;
        const auto known = found->second.known_tags.find(tag);
        return known == found->second.known_tags.end() ? std::nullopt : std::optional(known->second);
    }
    /// Keeps what the server said of a tag, when the count was `count` before and after.
    void learn_tag(std::string_view name_space, std::string_view tag, std::uint64_t count, TagFields fields) {
        const std::lock_guard lock(mutex_);
        const auto found = seen_.find(name_space);
        if (found == seen_.end() || found->second.tags != count) return;
        Known& seen = found->second;
        if (seen.known_at != count || seen.known_tags.size() >= most_tags) seen.known_tags.clear();
        seen.known_at = count;
        seen.known_tags.insert_or_assign(std::string(tag), fields);
    }

    /// What an answer means: the namespace's epoch, or that a new one has to be made because the hash was
    /// lost.
    struct Seen {
        std::optional<std::uint64_t> epoch;
        std::uint64_t too_low = 0;  ///< a new epoch has to be above this, unless it comes
        std::string token{};        ///< with this token, under which that one was seen,
        std::uint64_t tags = 0;     ///< and not fewer changes of tags
    };

    /// What was last seen, as a new answer is measured by it.
    [[nodiscard]] Seen last(std::string_view name_space) const {
        const std::lock_guard lock(mutex_);
        const auto found = seen_.find(name_space);
        if (found == seen_.end()) return {std::nullopt, 0};
        return {std::nullopt, found->second.clear, found->second.token, found->second.tags};
    }

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
            return {std::nullopt, found->second.clear, found->second.token, found->second.tags};
        }
        if (found == seen_.end()) {
            // Forgets floors, which guard against clocks that were set back and against nothing else.
            if (seen_.size() >= most_namespaces) seen_.clear();
            found = seen_.emplace(std::string(name_space), Known{}).first;
        }
        Known& seen = found->second;
        if (fields->clear > seen.clear ||
            (fields->clear == seen.clear && fields->token == seen.token && fields->tags >= seen.tags)) {
            if (learnt_ != nullptr && (seen.learnt_at == 0 || fields->tags != seen.tags)) {
                seen.tags_before = seen.tags;
                // acq_rel: who reads the number, or a later one, comes after what the server said.
                seen.learnt_before =
                    std::exchange(seen.learnt_at, learnt_->fetch_add(1, std::memory_order_acq_rel) + 1);
            }
            static_cast<EpochFields&>(seen) = *fields;
            seen.doubted = false;
            return {seen.clear, 0};
        }
        // Lower than before under the same token: an answer that another one has overtaken, and asking again
        // settles it; or the server came back with an old snapshot. Under another token: made by somebody who
        // had not seen ours.
        return {std::nullopt, seen.clear, seen.token, seen.tags};
    }

  private:
    struct Known : EpochFields {
        bool doubted = false;  // the last answer was that there is no hash
        std::map<std::string, TagFields, std::less<>> known_tags;
        std::uint64_t known_at = 0;  // the count of changes then
        // With a shared number: what that was when `tags` was learnt, and the count before, and when that was.
        std::uint64_t learnt_at = 0;
        std::uint64_t tags_before = 0;
        std::uint64_t learnt_before = 0;
    };

    static constexpr std::size_t most_namespaces = 1024;
    static constexpr std::size_t most_tags = 4096;
    std::atomic<std::uint64_t>* const learnt_ = nullptr;
    mutable Mutex mutex_;
    std::map<std::string, Known, std::less<>> seen_;
};

}  // namespace smartcache::inline v0::detail
