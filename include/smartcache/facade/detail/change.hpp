#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/facade/detail/lower_tier.hpp>
#include <smartcache/facade/detail/prepared_value.hpp>
#include <smartcache/facade/entry_options.hpp>
#include <smartcache/facade/lookup.hpp>
#include <smartcache/record/record.hpp>
#include <smartcache/record/tier.hpp>

namespace smartcache::inline v0::detail {

/// What a change that depends on what is there starts from, and what must be the same when it ends.
struct ChangeBase {
    bool decided = false;               // a lower tier had something live: no other is asked
    bool there = false;                 // a value, of whatever type
    bool unreachable = false;           // the shared tier did not answer
    const LowerTier* shared = nullptr;  // the shared tier, if it answered
    WriteCondition condition;           // what it had
    CopyOptions copies;
    std::vector<std::string> tags;
    TagsSeen seen;  // before looking
};
/// The same with the value.
template <class T>
struct TypedChangeBase : ChangeBase {
    std::conditional_t<std::is_void_v<T>, std::monostate, Lookup<T>> value{};
};
/// How it ended.
enum class Change {
    done,
    not_kept,  // nothing is stored, or nothing was to be done
    conflict,  // somebody was faster
    unknown,   // the shared tier did not say
};
/// How the new value is to be kept.
struct ChangePlan {
    EntryOptions options;
    std::optional<std::int64_t> ends{};         // in ms of the monotonic clock, instead of a lifetime
    Duration most_in_memory = Duration::max();  // with `ends`
    std::optional<CopyOptions> copies{};        // of the old value's writer
};
/// What a tier's failure makes of a change.
[[nodiscard]] inline Change failed_change(TierStatus status) noexcept {
    return status == TierStatus::unavailable ? Change::unknown
           : status == TierStatus::untouched ? Change::not_kept
                                             : Change::conflict;
}

}  // namespace smartcache::inline v0::detail
