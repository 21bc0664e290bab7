#pragma once

#include <atomic>
#include <bit>
#include <chrono>
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

/// An entry of the facade's L1: header, then the key's characters, then the value in place, in one
/// allocation. What every hit reads comes first.
///
/// The value is either an object of any type (`ops` says which), or flat text or bytes, or a remembered
/// absence.
struct ValueEntry : EntryBase {
    const ValueOps* ops = nullptr;                 // null: flat or negative
    std::atomic<std::int64_t> fresh_until{never};  // ms, monotonic; from then until dead_at it is stale
    std::uint32_t key_size = 0;
    std::uint32_t value_size = 0;  // bytes in place
    std::uint32_t raw_size = 0;    // flat: size of the value; differs from value_size when compressed
    ValueKind kind = ValueKind::coded;
    bool negative = false;
    bool compressed = false;
    std::uint8_t alignment_log2 = default_alignment_log2;  // of the block, and of the value unless it is flat
    std::int64_t created = 0;                              // ms, monotonic
    std::uint64_t stamp = 0;                               // record version, the same in every tier
    std::uint32_t load_cost_us = 0;

    static constexpr std::size_t alignment = alignof(std::max_align_t);

    [[nodiscard]] std::string_view key() const noexcept {
        return {reinterpret_cast<const char*>(this + 1), key_size};
    }
    [[nodiscard]] void* value() noexcept { return reinterpret_cast<std::byte*>(this) + value_offset(); }
    [[nodiscard]] const void* value() const noexcept {
        return reinterpret_cast<const std::byte*>(this) + value_offset();
    }
    [[nodiscard]] bool flat() const noexcept { return ops == nullptr && !negative; }
    [[nodiscard]] ByteView stored_bytes() const noexcept {
        return {static_cast<const std::byte*>(value()), value_size};
    }
    template <class T>
    [[nodiscard]] const T* as() const noexcept {
        // Types are compared by address first; two shared libraries may hold two objects for one type (R29).
        if (ops == nullptr || (ops->type != &typeid(T) && *ops->type != typeid(T))) return nullptr;
        return std::launder(static_cast<const T*>(value()));
    }
    [[nodiscard]] bool fresh(std::int64_t now) const noexcept {
        return now < fresh_until.load(std::memory_order_relaxed);
    }

    /// Flat text or bytes; the caller fills `value_size` bytes at `value()`.
    [[nodiscard]] static EntryRef<ValueEntry> create_flat(Arena& arena, std::string_view key, ValueKind kind,
                                                          std::size_t size) {
        EntryRef<ValueEntry> entry = allocate(arena, key, size, 0);
        entry->kind = kind;
        entry->raw_size = static_cast<std::uint32_t>(size);
        return entry;
    }

    /// A remembered absence.
    [[nodiscard]] static EntryRef<ValueEntry> create_negative(Arena& arena, std::string_view key) {
        EntryRef<ValueEntry> entry = allocate(arena, key, 0, 0);
        entry->negative = true;
        return entry;
    }

    /// An object, built in place from `value`.
    template <class Codec, class T, bool Encodable, class V>
    [[nodiscard]] static EntryRef<ValueEntry> create_object(Arena& arena, std::string_view key, V&& value) {
        EntryRef<ValueEntry> entry = allocate(arena, key, sizeof(T), alignof(T));
        const std::size_t offset = offset_of(key.size(), true, std::size_t{1} << entry->alignment_log2);
        try {
            ::new (reinterpret_cast<std::byte*>(entry.get()) + offset) T(std::forward<V>(value));
        } catch (...) {
            release(entry.release(), offset + sizeof(T));
            throw;
        }
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
        Arena* const home = entry->arena;
        const std::size_t align = std::size_t{1} << entry->alignment_log2;
        entry->~ValueEntry();
        home->deallocate(entry, size, align);
    }

    /// Flat values follow the key; objects stand at the next multiple of the block's alignment.
    [[nodiscard]] static std::size_t offset_of(std::size_t key_bytes, bool object,
                                               std::size_t align) noexcept {
        const std::size_t end = sizeof(ValueEntry) + key_bytes;
        return object ? (end + align - 1) / align * align : end;
    }
    [[nodiscard]] std::size_t value_offset() const noexcept {
        return offset_of(key_size, ops != nullptr, std::size_t{1} << alignment_log2);
    }

    /// @param object  the value's alignment, or 0 for flat values
    [[nodiscard]] static EntryRef<ValueEntry> allocate(Arena& arena, std::string_view key,
                                                       std::size_t value_bytes, std::size_t object) {
        const std::size_t align = object > alignment ? object : alignment;
        const std::size_t size = offset_of(key.size(), object != 0, align) + value_bytes;
        if (size > 0xFFFFFFFFU) throw std::bad_alloc();
        void* const block = arena.allocate(size, align);
        auto* const entry = ::new (block) ValueEntry();
        entry->arena = &arena;
        entry->add_bytes(size);
        entry->alignment_log2 = static_cast<std::uint8_t>(std::countr_zero(align));
        entry->value_size = static_cast<std::uint32_t>(value_bytes);
        entry->key_size = static_cast<std::uint32_t>(key.size());
        if (!key.empty()) std::memcpy(static_cast<void*>(entry + 1), key.data(), key.size());
        return EntryRef<ValueEntry>::adopt(entry);
    }
};

using ValueRef = EntryRef<ValueEntry>;

}  // namespace smartcache::inline v0::detail
