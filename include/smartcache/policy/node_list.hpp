#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <smartcache/policy/node.hpp>

namespace smartcache::inline v0::policy {

/// The neighbours of the nodes of one policy's lists, apart from the entries: an insert, a replacement or an
/// eviction then writes to links of 16 bytes that lie close together, and not to two other entries.
///
/// Thread safety: none, the shard's lock protects it. Cost: 16 bytes for each node at the most there were at
/// once, in blocks that never move.
class NodeLinks {
  public:
    static constexpr std::uint32_t none = ~std::uint32_t{0};

    struct Link {
        Node* node = nullptr;  // read through `node_of`
        std::uint32_t newer = none;
        std::uint32_t older = none;
    };

    NodeLinks() = default;
    NodeLinks(const NodeLinks&) = delete;
    NodeLinks& operator=(const NodeLinks&) = delete;

    /// Makes room for so many nodes at once. Throws: std::bad_alloc; then nothing has changed.
    void reserve(std::size_t nodes) {
        while (blocks_.size() * block_size < nodes) {
            blocks_.reserve(blocks_.size() + 1);
            blocks_.push_back(std::make_unique<Link[]>(block_size));
        }
    }

    /// A link of its own for the node; there must be room. @return its number, which `node.link` says from now on
    std::uint32_t take(Node& node) noexcept {
        settle();
        std::uint32_t number = free_;
        if (number != none) {
            free_ = (*this)[number].older;
        } else {
            number = fresh_++;
            assert(number < blocks_.size() * block_size);
        }
        ++used_;
        node.link = number;
        (*this)[number].node = &node;
        return number;
    }

    /// Gives back the memory of links that nobody has taken, all but a little, when no link is taken.
    void trim() noexcept {
        if (used_ != 0) return;
        free_ = none;
        fresh_ = 0;
        if (blocks_.size() > 1) blocks_.resize(1);
    }

    void give(std::uint32_t number) noexcept {
        settle();
        --used_;
        (*this)[number].node = nullptr;
        (*this)[number].older = free_;
        free_ = number;
    }

    [[nodiscard]] Link& operator[](std::uint32_t number) noexcept {
        return blocks_[number / block_size][number % block_size];
    }
    [[nodiscard]] const Link& operator[](std::uint32_t number) const noexcept {
        return blocks_[number / block_size][number % block_size];
    }

    /// A link's node gives its place to another one.
    ///
    /// Written when next a node is asked for, or when eight wait: the link is seldom in the processor's caches, and whoever
    /// replaced an entry would wait for it before he could unlock.
    void hand_over(std::uint32_t number, Node& fresh) noexcept {
        __builtin_prefetch(&(*this)[number], 1);
        if (heirs_ == waiting_.size()) settle();
        waiting_[heirs_++] = {number, &fresh};
    }

    [[nodiscard, gnu::always_inline]] Node* node_of(std::uint32_t number) noexcept {
        settle();
        return (*this)[number].node;
    }

    /// Who has taken this link now; nullptr: nobody.
    [[nodiscard]] Node* holder(std::uint32_t number) noexcept {
        return number < fresh_ ? node_of(number) : nullptr;
    }

    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return blocks_.size() * block_size * sizeof(Link);
    }

  private:
    static constexpr std::uint32_t block_size = 128;

    struct Heir {
        std::uint32_t number;
        Node* node;
    };

    void settle() noexcept {
        if (heirs_ != 0) settle_all();
    }
    // In their order: of two for one link the later one holds.
    [[gnu::noinline]] void settle_all() noexcept {
        for (std::size_t i = 0; i < heirs_; ++i) (*this)[waiting_[i].number].node = waiting_[i].node;
        heirs_ = 0;
    }

    std::vector<std::unique_ptr<Link[]>> blocks_;
    std::array<Heir, 8> waiting_{};
    std::size_t heirs_ = 0;
    std::uint32_t free_ = none;  // chained through `older`
    std::uint32_t fresh_ = 0;    // never taken from here on
    std::size_t used_ = 0;
};

/// Doubly linked list of nodes that knows its length and the sum of its weights.
///
/// New nodes enter at the front, victims leave at the back. Owns nothing; several lists share one `NodeLinks`,
/// in which there must be room. Every operation is O(1) and noexcept. Thread safety: none, the shard's lock
/// protects it.
class NodeList {
  public:
    /// `id` is what `Node::queue` says of a node that is in this list; not 0.
    NodeList(std::uint8_t id, NodeLinks& links) noexcept : links_(links), id_(id) { assert(id != 0); }
    NodeList(const NodeList&) = delete;
    NodeList& operator=(const NodeList&) = delete;

    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::uint64_t weight() const noexcept { return weight_; }
    [[nodiscard]] Node* front() const noexcept { return node_at(front_); }
    [[nodiscard]] Node* back() const noexcept { return node_at(back_); }
    [[nodiscard]] Node* newer(const Node& node) const noexcept { return node_at(links_[node.link].newer); }
    [[nodiscard]] Node* older(const Node& node) const noexcept { return node_at(links_[node.link].older); }
    [[nodiscard]] bool contains(const Node& node) const noexcept { return node.queue == id_; }

    void push_front(Node& node) noexcept {
        assert(node.queue == 0);
        link_front(links_.take(node));
        node.queue = id_;
        ++size_;
        weight_ += node.weight;
    }

    void erase(Node& node) noexcept {
        assert(contains(node));
        unlink(node.link);
        links_.give(node.link);
        node.queue = 0;
        --size_;
        weight_ -= node.weight;
    }

    void move_to_front(Node& node) noexcept {
        assert(contains(node));
        if (front_ == node.link) return;
        unlink(node.link);
        link_front(node.link);
    }

    /// Moves a node of this list to the front of another one.
    void move_to(NodeList& other, Node& node) noexcept {
        assert(contains(node));
        unlink(node.link);
        --size_;
        weight_ -= node.weight;
        other.link_front(node.link);
        node.queue = other.id_;
        ++other.size_;
        other.weight_ += node.weight;
    }

    /// `fresh` takes the place of `old`, which is in no list afterwards.
    void replace(Node& old, Node& fresh) noexcept {
        assert(contains(old) && fresh.queue == 0);
        fresh.link = old.link;
        fresh.queue = id_;
        links_.hand_over(old.link, fresh);
        weight_ += fresh.weight;
        weight_ -= old.weight;
        old.queue = 0;
    }

  private:
    [[nodiscard]] Node* node_at(std::uint32_t number) const noexcept {
        return number == NodeLinks::none ? nullptr : links_.node_of(number);
    }

    void link_front(std::uint32_t number) noexcept {
        NodeLinks::Link& link = links_[number];
        link.newer = NodeLinks::none;
        link.older = front_;
        (front_ != NodeLinks::none ? links_[front_].newer : back_) = number;
        front_ = number;
    }

    void unlink(std::uint32_t number) noexcept {
        const NodeLinks::Link& link = links_[number];
        (link.newer != NodeLinks::none ? links_[link.newer].older : front_) = link.older;
        (link.older != NodeLinks::none ? links_[link.older].newer : back_) = link.newer;
    }

    NodeLinks& links_;
    std::uint32_t front_ = NodeLinks::none;
    std::uint32_t back_ = NodeLinks::none;
    std::size_t size_ = 0;
    std::uint64_t weight_ = 0;
    std::uint8_t id_;
};

}  // namespace smartcache::inline v0::policy
