#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/core/hash.hpp>
#include <smartcache/facade/detail/fences.hpp>
#include <smartcache/facade/detail/prepared_value.hpp>
#include <smartcache/record/tier.hpp>

namespace smartcache::inline v0 {

/// How far the tags of a cache had got at some time (`SmartCache::tags_now`): what is made from then on, and stored later,
/// ends with a tag that is erased in between, in whatever process.
class TagSnapshot {
  public:
    /// Before anything: a value with tags that counts from here is not kept where one of them was ever changed.
    TagSnapshot() = default;

  private:
    template <class>
    friend class SmartCache;
    explicit TagSnapshot(detail::TagsSeen seen) : seen_(std::move(seen)) {}
    detail::TagsSeen seen_;
};

/// How `SmartCache::commit_fill` ended.
enum class FillResult : std::uint8_t {
    stored,  ///< at least one tier has the value
    overtaken,  ///< the key, or one of the value's tags, was changed since the fill began: the value is stored nowhere
    rejected,  ///< too large, without a lifetime, or no tier takes it
};

/// A value on its way into a cache, from before it is made (`SmartCache::begin_fill`): remembers what was there, so that the
/// value is not stored over what has come since. Dropped without a commit it leaves nothing behind.
///
/// Thread safety: one thread at a time, not always the same one. Must not outlive its cache.
class Fill {
  public:
    /// None, as is one that was moved from: has no key, no tags, and is not to be committed.
    Fill() = default;

    [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }
    [[nodiscard]] std::string_view key() const noexcept {
        return state_ ? std::string_view(state_->key) : std::string_view();
    }

    /// As if the value had begun to be made when `tags` was taken.
    Fill& since(const TagSnapshot& tags) {
        if (state_) state_->tags = tags;
        return *this;
    }

    /// The tags of the value that is to be replaced.
    [[nodiscard]] std::vector<std::string> tags_there() const {
        return state_ ? state_->tags_there : std::vector<std::string>();
    }

    /// A number that is the same for fills of one key which have seen the same there. Only what came into a lower tier and
    /// what was erased there shows in it.
    [[nodiscard]] std::uint64_t seen() const {
        if (!state_) return 0;
        std::string bytes;
        for (const WriteCondition& each : state_->seen)
            for (const std::uint64_t part : {static_cast<std::uint64_t>(each.kind), each.stamp, each.seq})
                bytes.append(std::to_string(part)).append(1, ' ');
        return KeyHash{}(bytes);
    }

  private:
    template <class>
    friend class SmartCache;
    struct State {
        State(detail::Fences& fences, std::string_view name, std::uint64_t key_hash)
            : key(name), hash(key_hash), ticket(fences, key, hash) {}
        const std::string key;
        const std::uint64_t hash;
        detail::FillTicket ticket;
        TagSnapshot tags;
        std::vector<WriteCondition> seen;  // of each lower tier
        std::vector<std::string> tags_there;
    };
    Fill(detail::Fences& fences, std::string_view key, std::uint64_t hash)
        : state_(std::make_unique<State>(fences, key, hash)) {}

    std::unique_ptr<State> state_;
};

}  // namespace smartcache::inline v0
