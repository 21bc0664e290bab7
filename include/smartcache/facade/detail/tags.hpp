#pragma once

// Tags: names under which many entries end, or turn stale, at once, in O(1) (R18).
//
// A counter, the sequence, moves with each change of a tag, and a tag notes at which sequence it was last erased and
// last expired. Whoever makes an entry notes the sequence *before* it begins (before a value is loaded, before a tier
// is asked); the entry is good as long as none of its tags was changed after that. So a value that was under way while
// its tag was erased is dead when it arrives, and nobody has to know in time which tags it would have. Nothing is
// counted per entry, and an entry without tags is not looked at.
//
// A change that has to be made in other places as well `begin`s here and `end`s when it is made everywhere. In between the
// tag counts as changed for every entry, those that are just being made included: what they are made of may be from before
// the change where it was found, and nobody may carry it to where the change has been made already.
//
// Memory order: `end` raises the sequence and then stores it in the tag, both before it returns; a lookup that begins
// after that sees the tag's number (release and acquire), or that of a later change. An entry that is made after that
// has noted the raised sequence.
//
// Memory: each entry that has a tag counts a share of it in its weight. What no entry has any more stays in the table
// until that has twice the bytes of what entries have, and at least 128 KiB.
//
// A tag lives while an entry, or the table, has a reference to it. The table lets go of those that no entry has, and
// notes up to which sequence it has forgotten: a tag that it makes anew counts as erased at that, which hurts only
// entries that began to be made before.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <smartcache/core/counters.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/core/owned_bytes.hpp>

namespace smartcache::inline v0::detail {

enum class TagChange : std::uint8_t { erase, expire };

/// One tag. Ends with its last reference, which may be that of an entry that has outlived its cache.
class Tag {
  public:
    explicit Tag(std::string_view text) : name(text) {}

    const std::string name;
    std::atomic<std::uint64_t> erased{0};   ///< entries from before this sequence are dead
    std::atomic<std::uint64_t> expired{0};  ///< entries from before this sequence are stale

    void add_reference() noexcept {
        references_.fetch_add(1, std::memory_order_relaxed);  // made from another one only
    }
    static void drop_reference(Tag* tag) noexcept {
        // acq_rel: whoever ends it comes after all who used it.
        if (tag->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete tag;
    }
    /// With its place in the table.
    [[nodiscard]] std::size_t bytes() const noexcept {
        constexpr std::size_t place = 7 * sizeof(void*);  // key, pointer, links, hash, bucket
        return sizeof(*this) + owned_bytes(name) + place;
    }
    /// What an entry that has just got it counts for it in its weight, so that all that have it count for about its bytes.
    /// One of the others may be what the entry replaces: that must not make it cheaper.
    [[nodiscard]] std::size_t share() const noexcept {
        // relaxed: entries come and go meanwhile anyway. Two references are the table's and the entry's own.
        const std::uint32_t others =
            std::max<std::uint32_t>(references_.load(std::memory_order_relaxed), 3) - 2;
        return bytes() / others;
    }
    /// Whether the table alone knows it. With the table's lock, under which alone others get to know it.
    [[nodiscard]] bool unused() const noexcept { return references_.load(std::memory_order_acquire) == 1; }

  private:
    std::atomic<std::uint32_t> references_{1};
};

/// Thread safety: any thread. `get` and `end` take a lock that others of other tags rarely want.
class TagTable {
  public:
    TagTable() = default;
    TagTable(const TagTable&) = delete;
    TagTable& operator=(const TagTable&) = delete;
    ~TagTable() {
        for (Shard& shard : shards_)
            for (const auto& [name, tag] : shard.tags) Tag::drop_reference(tag);
    }

    /// What an entry that begins to be made now has seen.
    [[nodiscard]] std::uint64_t sequence() const noexcept {
        return sequence_.load(std::memory_order_acquire);
    }

    /// @return the tag of that name, with a reference for the caller
    [[nodiscard]] Tag* get(std::string_view name) {
        Shard& shard = shard_of(name);
        const std::lock_guard lock(shard.mutex);
        Tag& tag = find(shard, name);
        tag.add_reference();
        return &tag;
    }

    /// To be followed by `end`; one thread at a time.
    void begin(std::string_view name, TagChange how) {
        Shard& shard = shard_of(name);
        const std::lock_guard lock(shard.mutex);
        Tag& tag = find(shard, name);
        (how == TagChange::erase ? tag.erased : tag.expired).store(changing, std::memory_order_release);
    }
    void end(std::string_view name, TagChange how) {
        Shard& shard = shard_of(name);
        const std::lock_guard lock(shard.mutex);
        Tag& tag = find(shard, name);
        const std::uint64_t now = sequence_.fetch_add(1, std::memory_order_acq_rel) + 1;
        (how == TagChange::erase ? tag.erased : tag.expired).store(now, std::memory_order_release);
    }

    /// A change that has been made everywhere else already. One of the same tag that is under way ends later.
    void change(std::string_view name, TagChange how) {
        Shard& shard = shard_of(name);
        const std::lock_guard lock(shard.mutex);
        Tag& tag = find(shard, name);
        std::atomic<std::uint64_t>& field = how == TagChange::erase ? tag.erased : tag.expired;
        if (field.load(std::memory_order_relaxed) == changing) return;
        field.store(sequence_.fetch_add(1, std::memory_order_acq_rel) + 1, std::memory_order_release);
    }

    /// Tags that are known now.
    [[nodiscard]] std::size_t size() const {
        std::size_t total = 0;
        for (const Shard& shard : shards_) {
            const std::lock_guard lock(shard.mutex);
            total += shard.tags.size();
        }
        return total;
    }

  private:
    static constexpr std::uint64_t changing = std::numeric_limits<std::uint64_t>::max();

    static constexpr std::size_t least_to_tidy = std::size_t{8} << 10U;  // bytes

    struct alignas(cache_line) Shard {
        mutable Mutex mutex;
        std::unordered_map<std::string_view, Tag*> tags;  // the keys are views of the tags' names
        std::size_t bytes = 0;
        std::size_t tidy_at = least_to_tidy;
        std::uint64_t forgotten = 0;
        ProcessMark process{};
    };

    [[nodiscard]] Shard& shard_of(std::string_view name) noexcept {
        return shards_[std::hash<std::string_view>{}(name) % shards_.size()];
    }

    Tag& find(Shard& shard, std::string_view name) {
        if (shard.process.forked()) [[unlikely]]
            forget_parent(shard);
        if (const auto found = shard.tags.find(name); found != shard.tags.end()) return *found->second;
        if (shard.bytes >= shard.tidy_at) tidy(shard);
        auto* const tag = new Tag(name);
        tag->erased.store(shard.forgotten, std::memory_order_relaxed);  // published by the lock
        try {
            shard.tags.emplace(tag->name, tag);
        } catch (...) {
            Tag::drop_reference(tag);
            throw;
        }
        shard.bytes += tag->bytes();
        return *tag;
    }

    /// What others were changing when this process was forked counts as changed just now (R33).
    void forget_parent(Shard& shard) noexcept {
        shard.process = ProcessMark();
        for (const auto& [name, tag] : shard.tags)
            for (std::atomic<std::uint64_t>* const field : {&tag->erased, &tag->expired})
                if (field->load(std::memory_order_relaxed) == changing)
                    field->store(sequence_.fetch_add(1, std::memory_order_acq_rel) + 1,
                                 std::memory_order_release);
    }

    static void tidy(Shard& shard) noexcept {
        std::erase_if(shard.tags, [&shard](const auto& each) {
            Tag* const tag = each.second;
            if (!tag->unused() || tag->erased.load(std::memory_order_relaxed) == changing ||
                tag->expired.load(std::memory_order_relaxed) == changing)
                return false;
            shard.forgotten = std::max({shard.forgotten, tag->erased.load(std::memory_order_relaxed),
                                        tag->expired.load(std::memory_order_relaxed)});
            shard.bytes -= tag->bytes();
            Tag::drop_reference(tag);
            return true;
        });
        shard.tidy_at = std::max(least_to_tidy, 2 * shard.bytes);
    }

    std::atomic<std::uint64_t> sequence_{1};
    std::array<Shard, 16> shards_;
};

}  // namespace smartcache::inline v0::detail
