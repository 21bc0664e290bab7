#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace smartcache::inline v0 {

/// What eviction maximises when entries have unequal weights.
enum class HitObjective : std::uint8_t {
    objects,  ///< requests that hit: what spares lookups and round trips; light entries are kept longer
    bytes,    ///< weight of the requests that hit: what spares bandwidth; weight matters little
};

namespace detail {
inline constexpr std::array<std::pair<HitObjective, std::string_view>, 2> hit_objective_names{{
    {HitObjective::objects, "objects"},
    {HitObjective::bytes, "bytes"},
}};
}  // namespace detail

/// The enumerator's own name; "unknown" for a value that is none of them.
[[nodiscard]] constexpr std::string_view to_string(HitObjective objective) noexcept {
    for (const auto& [value, name] : detail::hit_objective_names) {
        if (value == objective) return name;
    }
    return "unknown";
}

/// The objective of that exact name, or nullopt.
[[nodiscard]] constexpr std::optional<HitObjective> parse_hit_objective(std::string_view text) noexcept {
    for (const auto& [value, name] : detail::hit_objective_names) {
        if (name == text) return value;
    }
    return std::nullopt;
}

}  // namespace smartcache::inline v0
