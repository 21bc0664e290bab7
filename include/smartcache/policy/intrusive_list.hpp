#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

#include <smartcache/policy/node.hpp>

namespace smartcache::inline v0::policy {

/// Doubly linked list through `Node::prev` and `Node::next` that knows its length and the sum of its weights.
///
/// New nodes enter at the front, victims leave at the back. Owns nothing. Every operation is O(1) and
/// noexcept. Thread safety: none, the shard's lock protects it.
class IntrusiveList {
  public:
    /// `id` is what `Node::queue` says of a node that is in this list; not 0.
    explicit constexpr IntrusiveList(std::uint8_t id) noexcept : id_(id) { assert(id != 0); }
    IntrusiveList(const IntrusiveList&) = delete;
    IntrusiveList& operator=(const IntrusiveList&) = delete;

    [[nodiscard]] bool empty() const noexcept { return front_ == nullptr; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::uint64_t weight() const noexcept { return weight_; }
    [[nodiscard]] Node* front() const noexcept { return front_; }
    [[nodiscard]] Node* back() const noexcept { return back_; }
    [[nodiscard]] bool contains(const Node& node) const noexcept { return node.queue == id_; }

    void push_front(Node& node) noexcept {
        assert(node.queue == 0);
        node.prev = nullptr;
        node.next = front_;
        (front_ != nullptr ? front_->prev : back_) = &node;
        front_ = &node;
        enter(node);
    }

    void push_back(Node& node) noexcept {
        assert(node.queue == 0);
        node.next = nullptr;
        node.prev = back_;
        (back_ != nullptr ? back_->next : front_) = &node;
        back_ = &node;
        enter(node);
    }

    void erase(Node& node) noexcept {
        assert(contains(node));
        (node.prev != nullptr ? node.prev->next : front_) = node.next;
        (node.next != nullptr ? node.next->prev : back_) = node.prev;
        node.prev = node.next = nullptr;
        node.queue = 0;
        --size_;
        weight_ -= node.weight;
    }

    void move_to_front(Node& node) noexcept {
        if (front_ == &node) return;
        erase(node);
        push_front(node);
    }

    /// `fresh` takes the place of `old`, which is in no list afterwards.
    void replace(Node& old, Node& fresh) noexcept {
        assert(contains(old) && fresh.queue == 0);
        fresh.prev = old.prev;
        fresh.next = old.next;
        (fresh.prev != nullptr ? fresh.prev->next : front_) = &fresh;
        (fresh.next != nullptr ? fresh.next->prev : back_) = &fresh;
        fresh.queue = id_;
        weight_ += fresh.weight;
        weight_ -= old.weight;
        old.prev = old.next = nullptr;
        old.queue = 0;
    }

  private:
    void enter(Node& node) noexcept {
        node.queue = id_;
        ++size_;
        weight_ += node.weight;
    }

    Node* front_ = nullptr;
    Node* back_ = nullptr;
    std::size_t size_ = 0;
    std::uint64_t weight_ = 0;
    std::uint8_t id_;
};

}  // namespace smartcache::inline v0::policy
