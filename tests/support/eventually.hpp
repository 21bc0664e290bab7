#pragma once

#include <chrono>
#include <thread>

namespace smartcache_test {

/// So long that it passes only where something hangs, however slow or busy the machine.
inline constexpr std::chrono::seconds very_long{120};

/// Asks again and again, for what must come about sooner or later. @return whether it has
template <class Condition>
[[nodiscard]] bool eventually(Condition&& condition) {
    const auto limit = std::chrono::steady_clock::now() + very_long;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > limit) return false;
        // Between two looks those may run who bring it about; a machine with few cores is all theirs then.
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

}  // namespace smartcache_test
