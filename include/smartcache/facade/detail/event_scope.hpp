#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/facade/events.hpp>

namespace smartcache::inline v0::detail {

/// While one exists, events of this thread wait, of whatever cache; its end tells them.
///
/// For who holds locks: made before they lock and so ended after they unlock, it keeps listeners out of those locks.
class EventScope {
  public:
    /// Who passes events on to a listener. May end while events wait for it: they are lost then.
    class Teller {
      public:
        virtual void tell(const Event& event) const noexcept = 0;

      protected:
        ~Teller() = default;
    };

    EventScope() noexcept : outer_(std::exchange(current_, this)) {}
    EventScope(const EventScope&) = delete;
    EventScope& operator=(const EventScope&) = delete;
    ~EventScope() {
        current_ = outer_;
        for (Waiting& each : waiting_) {
            each.event.key = each.key;
            if (outer_ != nullptr)
                outer_->add(each.teller, each.event);
            else
                each.teller->tell(each.event);
        }
    }

    /// Tells an event, now or when it may be told.
    static void tell(const std::shared_ptr<const Teller>& teller, const Event& event) noexcept {
        if (current_ == nullptr)
            teller->tell(event);
        else
            current_->add(teller, event);
    }

  private:
    struct Waiting {
        std::shared_ptr<const Teller> teller;
        Event event;
        std::string key;
    };

    void add(const std::shared_ptr<const Teller>& teller, const Event& event) noexcept {
        try {
            waiting_.push_back({teller, event, std::string(event.key)});
        } catch (...) {  // no memory to wait with: better lost than told under a lock
        }
    }

    static inline constinit thread_local EventScope* current_ = nullptr;
    EventScope* outer_;
    std::vector<Waiting> waiting_;
};

}  // namespace smartcache::inline v0::detail
