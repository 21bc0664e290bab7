#pragma once

#include <cstdint>
#include <string_view>

namespace smartcache::inline v0 {

/// What a tier that others share tells its owner of what they have done there.
struct Invalidation {
    enum class Kind : std::uint8_t {
        key = 1,          ///< `name` was written or erased
        tag_erased = 2,   ///< the tag `name`
        tag_expired = 3,  ///< the tag `name`
        cleared = 4,      ///< the whole namespace
        heard =
            5,     ///< from now on changes are told; whatever is from before may have changed meanwhile (R12)
        lost = 6,  ///< changes are not told any more (R13)
        resumed = 7,  ///< as `heard`, but everything since the position that was known has been told as well
        position =
            8,  ///< all that was changed up to here has been told; `name` is for `Tier::begin_to_listen`
    };
    Kind kind = Kind::key;
    std::string_view name{};  ///< valid during the call
};

}  // namespace smartcache::inline v0
