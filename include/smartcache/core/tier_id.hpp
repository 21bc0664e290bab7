#pragma once

#include <string_view>

namespace smartcache::inline v0 {

/// Where a value came from. `other` is a lower tier that the user brought.
enum class TierId { none, memory, redis, disk, other };

[[nodiscard]] constexpr std::string_view to_string(TierId tier) noexcept {
    switch (tier) {
        case TierId::none:
            return "none";
        case TierId::memory:
            return "memory";
        case TierId::redis:
            return "redis";
        case TierId::disk:
            return "disk";
        case TierId::other:
            return "other";
    }
    return "?";
}

}  // namespace smartcache::inline v0
