#pragma once

#include <smartcache/policy/policy.hpp>

namespace smartcache::inline v0::policy {

/// Least recently used. One list in order of the last known access; the victim is its end.
///
/// The order is that of the reported hits: with buffers that lose some under load it is nearly, not exactly,
/// LRU.
class Lru final : public Policy {
  public:
    explicit Lru(std::uint64_t capacity) noexcept : Policy(capacity, every_hit) {}

  private:
    void link(Node& node) noexcept override { list_.push_front(node); }
    void unlink(Node& node) noexcept override { list_.erase(node); }
    void touch(Node& node) noexcept override { list_.move_to_front(node); }

    void exchange(Node& old, Node& fresh) noexcept override {
        list_.replace(old, fresh);
        list_.move_to_front(fresh);
    }

    Node* choose() noexcept override {
        Node* victim = list_.back();
        if (victim != nullptr) list_.erase(*victim);
        return victim;
    }

    NodeList list_{1, links()};
};

}  // namespace smartcache::inline v0::policy
