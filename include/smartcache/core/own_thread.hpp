#pragma once

namespace smartcache::inline v0::detail {

/// Whether this thread is one that the library has started, for whatever object: who ends that object in it would wait for
/// itself.
class OwnThread {
  public:
    [[nodiscard]] static bool here() noexcept { return state(); }
    /// Said by each of them first.
    static void begin() noexcept { state() = true; }

  private:
    [[nodiscard]] static bool& state() noexcept {
        thread_local bool own = false;
        return own;
    }
};

}  // namespace smartcache::inline v0::detail
