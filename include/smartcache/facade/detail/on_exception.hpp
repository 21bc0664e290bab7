#pragma once

#include <exception>
#include <utility>

namespace smartcache::inline v0::detail {

/// Does something when its scope is left by an exception. What it does must not throw.
template <class Do>
class [[nodiscard]] OnException {
  public:
    explicit OnException(Do undo) noexcept : undo_(std::move(undo)) {}
    OnException(const OnException&) = delete;
    OnException& operator=(const OnException&) = delete;
    ~OnException() {
        if (std::uncaught_exceptions() > began_with_) undo_();
    }

  private:
    Do undo_;
    int began_with_ = std::uncaught_exceptions();
};

}  // namespace smartcache::inline v0::detail
