#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace smartcache::inline v0 {

/// Where a tier keeps what it could not tell the storage that it shares with others, for the process that comes after this
/// one (R11). What an intent says is the tier's own business.
///
/// Model must: never throw; have kept what `add` was given when that returns true, whenever this process ends; lose nothing
/// of it without saying so in `Kept::incomplete`.
///
/// Thread safety: any thread, after `take`.
class Intents {
  public:
    struct Kept {
        std::vector<std::string> all;  ///< in the order in which they were added
        bool incomplete = false;       ///< there were more than it has room for, or they are damaged
    };

    Intents() = default;
    Intents(const Intents&) = delete;
    Intents& operator=(const Intents&) = delete;
    virtual ~Intents() = default;

    /// What earlier processes have left, which stays until `forget`. Called once, before anything else.
    [[nodiscard]] virtual Kept take() noexcept = 0;
    /// @param instead  is kept where there is no room for the intent, and then stands for all those with the same one
    /// @return false: it cannot be kept
    virtual bool add(std::string_view intent, std::string_view instead) noexcept = 0;
    /// All has been told.
    virtual void forget() noexcept = 0;
};

}  // namespace smartcache::inline v0
