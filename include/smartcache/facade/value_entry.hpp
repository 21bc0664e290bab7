#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include <smartcache/codec/codec.hpp>
#include <smartcache/core/bytes.hpp>
#include <smartcache/core/clock.hpp>
#include <smartcache/core/owned_bytes.hpp>
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

/// An entry of the facade's L1: header of one cache line, then the key's characters, then the value in place, in
/// one allocation.
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
    std::uint8_t alignment_log2 = default_alignment_log2;  // of the block, and of the value unless it is flat
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
    template <class T>
    [[nodiscard]] const T* as() const noexcept {
        // Types are compared by address first; two shared libraries may hold two objects for one type (R29).
        if (ops == nullptr || (ops->type != &typeid(T) && *ops->type != typeid(T))) return nullptr;
        return std::launder(static_cast<const T*>(value()));
    }

    /// All in ms on the monotonic clock. `fresh_until` is `never` for a value that does not expire.
    void set_times(std::int64_t created, std::int64_t fresh_until, std::int64_t grace_length) noexcept {
        grace = fresh_until == never ? 0 : ShortLength::pack(grace_length, ShortLength::Round::up);
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
                                                          std::size_t size, bool idles) {
        EntryRef<ValueEntry> entry = allocate(arena, key, size, 0, idles);
        entry->form = kind == ValueKind::text ? Form::text : Form::bytes;
        return entry;
    }

    /// The same packed: `block` is the LZ4 block of a value of `raw_size` bytes.
    [[nodiscard]] static EntryRef<ValueEntry> create_packed(Arena& arena, std::string_view key,
                                                            ValueKind kind, std::uint32_t raw_size,
                                                            ByteView block, bool idles) {
        EntryRef<ValueEntry> entry = allocate(arena, key, sizeof(raw_size) + block.size(), 0, idles);
        entry->form = kind == ValueKind::text ? Form::packed_text : Form::packed_bytes;
        auto* const at = static_cast<std::byte*>(entry->value());
        std::memcpy(at, &raw_size, sizeof(raw_size));
        if (!block.empty()) std::memcpy(at + sizeof(raw_size), block.data(), block.size());
        return entry;
    }

    /// A remembered absence.
    [[nodiscard]] static EntryRef<ValueEntry> create_negative(Arena& arena, std::string_view key,
                                                              bool idles) {
        return allocate(arena, key, 0, 0, idles);
    }

    /// An object, built in place from `value`.
    template <class Codec, class T, bool Encodable, class V>
    [[nodiscard]] static EntryRef<ValueEntry> create_object(Arena& arena, std::string_view key, V&& value,
                                                            bool idles) {
        EntryRef<ValueEntry> entry = allocate(arena, key, sizeof(T), alignof(T), idles);
        const std::size_t offset = offset_of(key.size(), true, std::size_t{1} << entry->alignment_log2);
        try {
            ::new (reinterpret_cast<std::byte*>(entry.get()) + offset) T(std::forward<V>(value));
        } catch (...) {
            release(entry.release(), offset + sizeof(T));
            throw;
        }
        entry->form = Form::object;
        entry->ops = &value_ops<Codec, T, Encodable>;
        entry->add_bytes(owned_bytes(*static_cast<const T*>(entry->value())));
        return entry;
    }

    static void destroy(ValueEntry* entry) noexcept {
        const std::size_t size = entry->value_offset() + entry->value_size;
        if (entry->ops != nullptr) entry->ops->destroy(entry->value());
        release(entry, size);
    }

  private:
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

    /// @param object  the value's alignment, or 0 for flat values
    [[nodiscard]] static EntryRef<ValueEntry> allocate(Arena& arena, std::string_view key,
                                                       std::size_t value_bytes, std::size_t object,
                                                       bool idles) {
        const std::size_t align = object > alignment ? object : alignment;
        const std::size_t size = offset_of(key.size(), object != 0, align) + value_bytes;
        if (size > 0xFFFFFFFFU) throw std::bad_alloc();
        auto* const entry = ::new (allocate_block(arena, size, align, idles)) ValueEntry();
        entry->settle(arena, size, align, idles);
        entry->alignment_log2 = static_cast<std::uint8_t>(std::countr_zero(align));
        entry->value_size = static_cast<std::uint32_t>(value_bytes);
        entry->key_size = static_cast<std::uint32_t>(key.size());
        if (!key.empty()) std::memcpy(static_cast<void*>(entry + 1), key.data(), key.size());
        return EntryRef<ValueEntry>::adopt(entry);
    }
};

static_assert(sizeof(void*) != 8 || sizeof(ValueEntry) == cache_line, "what a hit reads first is one line");

using ValueRef = EntryRef<ValueEntry>;

}  // namespace smartcache::inline v0::detail
