#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace smartcache::inline v0::detail {

/// Which connection of which server run, as the server names it (R10). A client id alone does not do: after a
/// restart the server counts from 1 again, and the id may be a stranger's.
struct ConnectionIdentity {
    std::uint64_t client_id = 0;  ///< 0: the server would not tell
    std::string run_id{};         ///< empty: the server would not tell

    [[nodiscard]] bool known() const noexcept { return client_id != 0 && !run_id.empty(); }
    friend auto operator<=>(const ConnectionIdentity&, const ConnectionIdentity&) = default;
};

}  // namespace smartcache::inline v0::detail
