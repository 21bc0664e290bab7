#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include <smartcache/codec/codec.hpp>
#include <smartcache/core/bytes.hpp>
#include <smartcache/core/clock.hpp>
#include <smartcache/core/owned_bytes.hpp>
#include <smartcache/facade/detail/tags.hpp>
#include <smartcache/facade/value_traits.hpp>
#include <smartcache/memory/entry.hpp>
#include <smartcache/record/record.hpp>

namespace smartcache::inline v0::detail {

/// What L1 must know of the type of a value that it keeps as an object.
struct ValueOps {
    const std::type_info* type;
    void (*destroy)(void* value) noexcept;
    /// Appends the value's bytes by the cache's codec; null for values that stay in memory.
    void (*encode)(const void* codec, const void* value, ByteSink& out);
};

template <class Codec, class T, bool Encodable>
inline constexpr ValueOps value_ops{
    &typeid(T), [](void* value) noexcept { static_cast<T*>(value)->~T(); },
    [] {
        if constexpr (Encodable)
            return +[](const void* codec, const void* value, ByteSink& out) {
                static_cast<const Codec*>(codec)->encode(*static_cast<const T*>(value), out);
            };
        else
            return static_cast<void (*)(const void*, const void*, ByteSink&)>(nullptr);
    }()};

/// A length of time in 32 bits: to the millisecond up to 24 days, to the second up to 68 years, which stand for
/// everything beyond.
class ShortLength {
  public:
    enum class Round : std::uint8_t { down, up };

    [[nodiscard]] static constexpr std::uint32_t pack(std::int64_t millis, Round round) noexcept {
        if (millis <= 0) return 0;
        if (millis < std::int64_t{in_seconds}) return static_cast<std::uint32_t>(millis);
        const std::int64_t seconds = millis / 1000 + (round == Round::up && millis % 1000 != 0 ? 1 : 0);
        return in_seconds | static_cast<std::uint32_t>(std::min<std::int64_t>(seconds, in_seconds - 1));
    }
    [[nodiscard]] static constexpr std::int64_t millis(std::uint32_t packed) noexcept {
        if (packed < in_seconds) return packed;
        return std::int64_t{packed & ~in_seconds} * 1000;
    }

  private:
    static constexpr std::uint32_t in_seconds = std::uint32_t{1} << 31U;
};

/// What an entry has besides key and value.
struct EntryExtras {
    EntryExtras(bool has_idle_time = false, std::size_t tag_count = 0)  // implicit: most have no tags
        : idles(has_idle_time), tags(static_cast<std::uint16_t>(tag_count)) {}
    bool idles;
    std::uint16_t tags;
};

/// An entry of the facade's L1: header of one cache line, then the key's characters, then the value in place, then its
/// tags, in one allocation.
///
/// The value is either an object of any type (`ops` says which), or flat text or bytes, or a remembered
/// absence.
struct ValueEntry : EntryBase {
    /// How the value lies there.
    enum class Form : std::uint8_t {
        object,
        text,
        bytes,
        packed_text,  ///< as LZ4 block, behind four bytes with its size before that
        packed_bytes,
        negative,
    };

    Form form = Form::negative;
    std::uint8_t alignment_log2 : 6 =
        default_alignment_log2;  // of the block, and of the value unless it is flat
    bool tagged : 1 = false;     // has a `Tail`
    std::uint32_t key_size = 0;
    std::uint32_t value_size = 0;   // bytes in place
    const ValueOps* ops = nullptr;  // of an object
    // Times: `dead_at`, and back from there by their lengths. For an entry that never expires `dead_at` is
    // `out_of_reach` and the time of its creation.
    std::atomic<std::uint32_t> lifetime{0};  // ShortLength
    std::uint32_t grace = 0;                 // ShortLength

    static constexpr std::size_t alignment = alignof(std::max_align_t);

    [[nodiscard]] std::string_view key() const noexcept {
        return {reinterpret_cast<const char*>(this + 1), key_size};
    }
    [[nodiscard]] void* value() noexcept { return reinterpret_cast<std::byte*>(this) + value_offset(); }
    [[nodiscard]] const void* value() const noexcept {
        return reinterpret_cast<const std::byte*>(this) + value_offset();
    }
    [[nodiscard]] bool negative() const noexcept { return form == Form::negative; }
    [[nodiscard]] bool object() const noexcept { return form == Form::object; }
    [[nodiscard]] bool packed() const noexcept {
        return form == Form::packed_text || form == Form::packed_bytes;
    }
    /// Text or bytes as they are.
    [[nodiscard]] bool plain() const noexcept { return form == Form::text || form == Form::bytes; }
    [[nodiscard]] ValueKind kind() const noexcept {
        switch (form) {
            case Form::text:
            case Form::packed_text:
                return ValueKind::text;
            case Form::bytes:
            case Form::packed_bytes:
                return ValueKind::bytes;
            case Form::object:
            case Form::negative:
                break;
        }
        return ValueKind::coded;
    }
    /// Of a `plain` value.
    [[nodiscard]] ByteView plain_bytes() const noexcept {
        return {reinterpret_cast<const std::byte*>(this + 1) + key_size, value_size};
    }
    /// Of a plain value: all of it; of a packed one: its LZ4 block.
    [[nodiscard]] ByteView stored_bytes() const noexcept {
        const ByteView all{static_cast<const std::byte*>(value()), value_size};
        return packed() ? all.subspan(sizeof(std::uint32_t)) : all;
    }
    /// Size of a text or of bytes, before packing.
    [[nodiscard]] std::uint32_t raw_size() const noexcept {
        if (!packed()) return value_size;
        std::uint32_t size = 0;
        std::memcpy(&size, value(), sizeof(size));
        return size;
    }
    /// The value alone: in place, and what it owns elsewhere.
    [[nodiscard]] std::size_t value_bytes() const noexcept {
        const std::size_t block = block_bytes(size(), std::size_t{1} << alignment_log2, idles);
        return value_size + (bytes - block - (tagged ? tail().shares : 0));
    }
    template <class T>
    [[nodiscard, gnu::always_inline]] const T* as() const noexcept {
        if (ops == nullptr) return nullptr;
        // By address first; two shared libraries may hold two objects for one type (R29).
        if (ops->type != &typeid(T) && !same_type(*ops->type, typeid(T))) [[unlikely]]
            return nullptr;
        return std::launder(static_cast<const T*>(value()));
    }

    /// What changes of its tags have made of it (tags.hpp).
    enum class TagState : std::uint8_t { fresh, stale, ended };
    [[nodiscard, gnu::noinline]] TagState tag_state() const noexcept {
        const Tail& seen = tail();
        TagState state = TagState::fresh;
        for (const Tag* const each : seen.tags()) {
            const Tag& tag = *each;
            // acquire: see tags.hpp.
            if (tag.erased.load(std::memory_order_acquire) > seen.sequence) return TagState::ended;
            if (tag.expired.load(std::memory_order_acquire) > seen.sequence) state = TagState::stale;
        }
        return state;
    }
    [[nodiscard]] bool tags_changed() const noexcept { return tagged && tag_state() != TagState::fresh; }
    [[nodiscard]] bool ended_by_tag() const noexcept { return tagged && tag_state() == TagState::ended; }
    /// Of an entry with tags: the sequence that was seen before it began to be made.
    [[nodiscard]] std::uint64_t tag_sequence() const noexcept { return tail().sequence; }
    [[nodiscard]] std::span<Tag* const> tags() const noexcept {
        return tagged ? tail().tags() : std::span<Tag* const>();
    }
    /// Sets the tags of an entry that nobody else knows yet. @param names  as many as it was made for
    template <class Names>
    void set_tags(TagTable& table, std::uint64_t sequence, const Names& names) {
        if (!tagged) return;
        Tail& own = tail();
        own.sequence = sequence;
        std::size_t i = 0;
        for (const auto& name : names) {
            if (i == own.count) break;
            Tag* const tag = own.tags()[i++] = table.get(name);
            own.shares += static_cast<std::uint32_t>(tag->share());
        }
        add_bytes(own.shares);
    }
    /// The same tags, of another entry.
    void copy_tags(const ValueEntry& from) noexcept {
        if (!tagged) return;
        Tail& own = tail();
        own.sequence = from.tag_sequence();
        for (std::size_t i = 0; i < own.count; ++i) {
            own.tags()[i] = from.tags()[i];
            own.tags()[i]->add_reference();
        }
        own.shares = from.tail().shares;
        add_bytes(own.shares);
    }

    /// All in ms on the monotonic clock. `fresh_until` is `never` for a value that does not expire.
    void set_times(std::int64_t created, std::int64_t fresh_until, std::int64_t grace_length) noexcept {
        grace = ShortLength::pack(grace_length, ShortLength::Round::up);
        move_times(created, fresh_until);
    }
    /// The same for an entry that others may be reading: its grace stays.
    void move_times(std::int64_t created, std::int64_t fresh_until) noexcept {
        if (fresh_until == never) {
            dead_at.store(out_of_reach + std::clamp<std::int64_t>(created, 0, out_of_reach - 1),
                          std::memory_order_relaxed);
            return;
        }
        const std::int64_t fresh = std::min(fresh_until, out_of_reach / 2);
        lifetime.store(ShortLength::pack(fresh - created, ShortLength::Round::down),
                       std::memory_order_relaxed);
        dead_at.store(fresh + ShortLength::millis(grace), std::memory_order_relaxed);
    }
    /// From then on, until it is dead, the value is stale.
    [[nodiscard]] std::int64_t fresh_until() const noexcept {
        const std::int64_t end = dead_at.load(std::memory_order_relaxed);
        return end >= out_of_reach ? never : end - ShortLength::millis(grace);
    }
    [[nodiscard]] std::int64_t created() const noexcept {
        const std::int64_t end = dead_at.load(std::memory_order_relaxed);
        if (end >= out_of_reach) return end - out_of_reach;
        return end - ShortLength::millis(grace) -
               ShortLength::millis(lifetime.load(std::memory_order_relaxed));
    }
    [[nodiscard]] bool fresh(std::int64_t now) const noexcept { return now < fresh_until(); }
    void copy_times(const ValueEntry& from) noexcept {
        grace = from.grace;
        lifetime.store(from.lifetime.load(std::memory_order_relaxed), std::memory_order_relaxed);
        dead_at.store(from.dead_at.load(std::memory_order_relaxed), std::memory_order_relaxed);
    }

    /// Flat text or bytes; the caller fills `value_size` bytes at `value()`.
    [[nodiscard]] static EntryRef<ValueEntry> create_flat(Arena& arena, std::string_view key, ValueKind kind,
                                                          std::size_t size, EntryExtras extras) {
        EntryRef<ValueEntry> entry = allocate(arena, key, size, 0, extras);
        entry->form = kind == ValueKind::text ? Form::text : Form::bytes;
        return entry;
    }

    /// The same packed: `block` is the LZ4 block of a value of `raw_size` bytes.
    [[nodiscard]] static EntryRef<ValueEntry> create_packed(Arena& arena, std::string_view key,
                                                            ValueKind kind, std::uint32_t raw_size,
                                                            ByteView block, EntryExtras extras) {
        EntryRef<ValueEntry> entry = allocate(arena, key, sizeof(raw_size) + block.size(), 0, extras);
        entry->form = kind == ValueKind::text ? Form::packed_text : Form::packed_bytes;
        auto* const at = static_cast<std::byte*>(entry->value());
        std::memcpy(at, &raw_size, sizeof(raw_size));
        if (!block.empty()) std::memcpy(at + sizeof(raw_size), block.data(), block.size());
        return entry;
    }

    /// A remembered absence.
    [[nodiscard]] static EntryRef<ValueEntry> create_negative(Arena& arena, std::string_view key,
                                                              EntryExtras extras) {
        return allocate(arena, key, 0, 0, extras);
    }

    /// An object, built in place from `value`.
    template <class Codec, class T, bool Encodable, class V>
    [[nodiscard]] static EntryRef<ValueEntry> create_object(Arena& arena, std::string_view key, V&& value,
                                                            EntryExtras extras) {
        EntryRef<ValueEntry> entry = allocate(arena, key, sizeof(T), alignof(T), extras);
        const std::size_t offset = offset_of(key.size(), true, std::size_t{1} << entry->alignment_log2);
        try {
            ::new (reinterpret_cast<std::byte*>(entry.get()) + offset) T(std::forward<V>(value));
        } catch (...) {
            release(entry.release(), end_of(offset + sizeof(T), extras.tags));
            throw;
        }
        entry->form = Form::object;
        entry->ops = &value_ops<Codec, T, Encodable>;
        entry->add_bytes(owned_bytes(*static_cast<const T*>(entry->value())));
        return entry;
    }

    static void destroy(ValueEntry* entry) noexcept {
        const std::size_t size = entry->size();
        for (Tag* const tag : entry->tags())
            if (tag != nullptr) Tag::drop_reference(tag);
        if (entry->ops != nullptr) entry->ops->destroy(entry->value());
        release(entry, size);
    }

  private:
    [[nodiscard, gnu::noinline]] static bool same_type(const std::type_info& a,
                                                       const std::type_info& b) noexcept {
        return a == b;
    }

    static constexpr std::uint8_t default_alignment_log2 = std::countr_zero(alignof(std::max_align_t));

    static void release(ValueEntry* entry, std::size_t size) noexcept {
        Arena& home = entry->home();
        const std::size_t align = std::size_t{1} << entry->alignment_log2;
        const bool idles = entry->idles;
        entry->~ValueEntry();
        free_block(home, entry, size, align, idles);
    }

    /// Flat values follow the key; objects stand at the next multiple of the block's alignment.
    [[nodiscard]] static std::size_t offset_of(std::size_t key_bytes, bool object,
                                               std::size_t align) noexcept {
        const std::size_t end = sizeof(ValueEntry) + key_bytes;
        return object ? (end + align - 1) / align * align : end;
    }
    [[nodiscard]] std::size_t value_offset() const noexcept {
        return offset_of(key_size, form == Form::object, std::size_t{1} << alignment_log2);
    }

    /// Behind the value of an entry with tags: then the pointers.
    struct Tail {
        std::uint64_t sequence;
        std::uint32_t count;
        std::uint32_t shares;  // of the tags' bytes
        [[nodiscard]] std::span<Tag*> tags() noexcept { return {reinterpret_cast<Tag**>(this + 1), count}; }
        [[nodiscard]] std::span<Tag* const> tags() const noexcept {
            return {reinterpret_cast<Tag* const*>(this + 1), count};
        }
    };
    [[nodiscard]] static std::size_t tail_offset(std::size_t value_end) noexcept {
        return (value_end + alignof(Tail) - 1) / alignof(Tail) * alignof(Tail);
    }
    [[nodiscard]] static std::size_t end_of(std::size_t value_end, std::size_t tags) noexcept {
        return tags == 0 ? value_end : tail_offset(value_end) + sizeof(Tail) + tags * sizeof(Tag*);
    }
    [[nodiscard]] std::size_t size() const noexcept {
        return end_of(value_offset() + value_size, tags().size());
    }
    [[nodiscard]] Tail& tail() noexcept {
        return *std::launder(reinterpret_cast<Tail*>(reinterpret_cast<std::byte*>(this) +
                                                     tail_offset(value_offset() + value_size)));
    }
    [[nodiscard]] const Tail& tail() const noexcept { return const_cast<ValueEntry*>(this)->tail(); }

    /// @param object  the value's alignment, or 0 for flat values
    [[nodiscard]] static EntryRef<ValueEntry> allocate(Arena& arena, std::string_view key,
                                                       std::size_t value_bytes, std::size_t object,
                                                       EntryExtras extras) {
        const std::size_t align = object > alignment ? object : alignment;
        const std::size_t value_end = offset_of(key.size(), object != 0, align) + value_bytes;
        const std::size_t size = end_of(value_end, extras.tags);
        if (size > 0xFFFFFFFFU) throw std::bad_alloc();
        auto* const entry = ::new (allocate_block(arena, size, align, extras.idles)) ValueEntry();
        entry->settle(arena, size, align, extras.idles);
        entry->alignment_log2 = static_cast<std::uint8_t>(std::countr_zero(align)) & 63U;
        entry->value_size = static_cast<std::uint32_t>(value_bytes);
        entry->key_size = static_cast<std::uint32_t>(key.size());
        if (!key.empty()) std::memcpy(static_cast<void*>(entry + 1), key.data(), key.size());
        if (extras.tags != 0) {
            entry->tagged = true;
            auto* const own =
                ::new (reinterpret_cast<std::byte*>(entry) + tail_offset(value_end)) Tail{0, extras.tags, 0};
            std::ranges::fill(own->tags(), nullptr);
        }
        return EntryRef<ValueEntry>::adopt(entry);
    }
};

static_assert(sizeof(void*) != 8 || sizeof(ValueEntry) == cache_line, "what a hit reads first is one line");

using ValueRef = EntryRef<ValueEntry>;

}  // namespace smartcache::inline v0::detail
