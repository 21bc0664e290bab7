#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/core/owned_bytes.hpp>
#include <smartcache/core/stats.hpp>
#include <smartcache/memory/options.hpp>
#include <smartcache/memory/store.hpp>
#include <smartcache/memory/validate.hpp>

namespace smartcache::inline v0 {

namespace detail {

template <class T>
inline constexpr bool is_string_key = std::same_as<T, std::string> || std::same_as<T, std::string_view>;

/// Seeded hash of any hashable key: text and integers directly, the rest through `std::hash`, mixed with the
/// seed.
template <class Key>
[[nodiscard, gnu::always_inline]] inline std::uint64_t hash_of(const KeyHash& hash, const Key& key) {
    if constexpr (is_string_key<Key>) {
        return hash(key);
    } else if constexpr (std::integral<Key> || std::is_enum_v<Key>) {
        return hash({reinterpret_cast<const char*>(&key), sizeof(key)});
    } else {
        const std::size_t plain = std::hash<Key>{}(key);
        return hash({reinterpret_cast<const char*>(&plain), sizeof(plain)});
    }
}

/// Entry of a `MemoryCache`: the value in place; a text key as characters behind it, any other key as an
/// object.
template <class Key, class Value>
struct TypedEntry : EntryBase {
    static constexpr bool text_key = is_string_key<Key>;
    struct TextKey {
        std::uint32_t size = 0;
    };
    using StoredKey = std::conditional_t<text_key, TextKey, Key>;
    using KeyView = std::conditional_t<text_key, std::string_view, const Key&>;

    template <class K, class V>
    TypedEntry(K&& k, V&& v) : stored_key(make_key(std::forward<K>(k))), value(std::forward<V>(v)) {}

    [[nodiscard]] KeyView key() const noexcept {
        if constexpr (text_key)
            return {reinterpret_cast<const char*>(this + 1), stored_key.size};
        else
            return stored_key;
    }

    template <class V>
    [[nodiscard]] static TypedEntry* create(Arena& arena, KeyView key, V&& value, bool idles) {
        const std::size_t size = size_for(key);
        void* const block = allocate_block(arena, size, alignof(TypedEntry), idles);
        try {
            auto* const entry = ::new (block) TypedEntry(key, std::forward<V>(value));
            if constexpr (text_key) std::memcpy(static_cast<void*>(entry + 1), key.data(), key.size());
            entry->settle(arena, size, alignof(TypedEntry), idles);
            entry->add_bytes(owned_bytes(entry->value));
            return entry;
        } catch (...) {
            free_block(arena, block, size, alignof(TypedEntry), idles);
            throw;
        }
    }

    static void destroy(TypedEntry* entry) noexcept {
        Arena& arena = entry->home();
        const std::size_t size = size_for(entry->key());
        const bool idles = entry->idles;
        entry->~TypedEntry();
        free_block(arena, entry, size, alignof(TypedEntry), idles);
    }

    [[no_unique_address]] StoredKey stored_key;
    Value value;

  private:
    [[nodiscard]] static std::size_t size_for([[maybe_unused]] KeyView key) noexcept {
        if constexpr (text_key)
            return sizeof(TypedEntry) + key.size();
        else
            return sizeof(TypedEntry);
    }

    template <class K>
    static StoredKey make_key(K&& key) {
        if constexpr (text_key)
            return TextKey{static_cast<std::uint32_t>(key.size())};
        else
            return StoredKey(std::forward<K>(key));
    }
};

}  // namespace detail

/// A value held in place in L1: optional-like, move-only. The value survives erase, eviction, clear and the
/// death of the cache; holding it for long holds its memory for as long, and nothing else.
template <class Key, class Value>
class Pinned {
  public:
    Pinned() = default;

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(entry_); }
    [[nodiscard]] bool has_value() const noexcept { return static_cast<bool>(entry_); }
    /// Undefined when empty, as for `std::optional`.
    [[nodiscard]] const Value& operator*() const& noexcept { return entry_->value; }
    [[nodiscard]] Value operator*() const&& requires std::copy_constructible<Value> { return entry_->value; }
    [[nodiscard]] const Value* operator->() const noexcept { return &entry_->value; }
    /// @throws std::bad_optional_access when empty
    [[nodiscard]] const Value& value() const& {
        if (!entry_) throw std::bad_optional_access();
        return entry_->value;
    }
    [[nodiscard]] Value value_or(Value other) const requires std::copy_constructible<Value> {
        return entry_ ? entry_->value : std::move(other);
    }

  private:
    template <class, class>
    friend class MemoryCache;
    using Entry = detail::TypedEntry<Key, Value>;
    explicit Pinned(detail::EntryRef<Entry> entry) noexcept : entry_(std::move(entry)) {}

    detail::EntryRef<Entry> entry_;
};

/// What a `MemoryCache` can be given beside its options.
template <class Key, class Value>
struct MemoryCacheHooks {
    using KeyView = typename detail::TypedEntry<Key, Value>::KeyView;
    /// Told of every value that left and why, outside locks, in the thread that removed it.
    std::function<void(KeyView, const Value&, RemovalCause)> on_removal{};
    /// Bytes an entry costs, for `capacity_bytes`; by default the size of its one allocation, without what
    /// the value itself points to.
    std::function<std::size_t(KeyView, const Value&)> weigher{};
    /// Not owned; nullptr is the system's.
    const Clock* clock = nullptr;
};

/// L1 alone: a bounded concurrent map from `Key` to `Value` with eviction, lifetimes and pinned hits.
///
///     sc::MemoryCache<std::string, User> users{{.capacity = 50'000, .ttl = 10min}};
///     users.set("ann", load("ann"));
///     if (auto user = users.get("ann")) greet(user->name);
///     users.visit("ann", [](const User& user) { greet(user.name); });     // neither copied nor pinned
///
/// `Key`: text (`std::string`; looked up by `std::string_view`), integers, enums, or anything with
/// `std::hash` and `==`. `Value`: any movable type. Values are immutable once stored.
///
/// Thread safety: every member from any thread at any time. Throws: construction `ConfigError`; `set` what
/// copying throws; whatever is given a key what its hash and `==` throw, before anything has changed.
template <class Key, class Value>
class MemoryCache {
    using Entry = detail::TypedEntry<Key, Value>;
    using Ref = detail::EntryRef<Entry>;

  public:
    using key_type = Key;
    using mapped_type = Value;
    using KeyView = typename Entry::KeyView;
    using Pin = Pinned<Key, Value>;
    using Hooks = MemoryCacheHooks<Key, Value>;

    explicit MemoryCache(MemoryOptions options = {}, Hooks hooks = {})
        : options_(checked(std::move(options))),
          weigher_(std::move(hooks.weigher)),
          store_(options_, TimeSource(hooks.clock), removal_hook(std::move(hooks.on_removal))) {}

    /// Stores `value`, replacing what was there.
    /// @param ttl  lifetime; zero or less: not kept, and the old value is erased; `Duration::max()`: for ever
    /// @return whether it was stored (a newcomer that admission refused at once counts as an eviction)
    template <class V = Value>
    bool set(KeyView key, V&& value, Duration ttl) {
        if (ttl <= Duration::zero()) {
            erase(key);
            return false;
        }
        const std::uint64_t hash = detail::hash_of<HashedKey>(hash_, key);
        store_.prefetch_bucket(hash);  // what is there already is fetched while the value is built
        Entry* const entry =
            Entry::create(store_.arena(), key, std::forward<V>(value), options_.idle.has_value());
        Ref ref = Ref::adopt(entry);
        store_.prefetch_entry(hash);
        entry->hash = hash;
        entry->weight = weigh(*entry);
        if (ttl != Duration::max() || options_.idle) {
            const MonotonicTime now = store_.time().now();
            entry->dead_at.store(saturating_add(now, ttl).time_since_epoch().count(),
                                 std::memory_order_relaxed);
            if (options_.idle) entry->set_idle(options_.idle->count(), now.time_since_epoch().count());
        }
        counters_.add(Event::sets);
        return store_.insert(std::move(ref), SameKey{key});
    }
    template <class V = Value>
    bool set(KeyView key, V&& value) {
        return set(key, std::forward<V>(value), options_.ttl);
    }

    /// @return the value, pinned; empty on a miss. No copy, no allocation.
    [[nodiscard]] Pin get(KeyView key) {
        Ref ref = lookup(key);
        count_lookup(ref);
        return Pin(std::move(ref));
    }

    /// Calls `fn(const Value&)` on a hit. @return whether it was one
    template <class F>
    bool visit(KeyView key, F&& fn) {
        const Ref ref = lookup(key);
        count_lookup(ref);
        if (!ref) return false;
        std::invoke(std::forward<F>(fn), std::as_const(ref->value));
        return true;
    }

    /// One `get` per key, in order. Faster than as many calls when the entries are not in the processor's
    /// caches: the memory of sixteen keys is fetched at once.
    /// `keys`: a forward range of what converts to the key's view.
    template <class Keys>
    [[nodiscard]] std::vector<Pin> get_many(Keys&& keys) {
        std::vector<Pin> result;
        result.reserve(static_cast<std::size_t>(std::distance(std::begin(keys), std::end(keys))));
        std::array<std::uint64_t, batch> hashes{};
        for (auto at = std::begin(keys); at != std::end(keys);) {
            std::size_t count = 0;
            for (auto each = at; each != std::end(keys) && count < batch; ++each)
                hashes[count++] = detail::hash_of<HashedKey>(hash_, KeyView(*each));
            store_.prefetch({hashes.data(), count});
            for (std::size_t i = 0; i < count; ++i, ++at) {
                auto&& each = *at;  // may be a temporary that has to last
                const KeyView key(each);
                Ref ref = store_.find(hashes[i], SameKey{key});
                count_lookup(ref);
                result.push_back(Pin(std::move(ref)));
            }
        }
        return result;
    }

    /// @return whether a live value was there
    bool erase(KeyView key) { return store_.erase(detail::hash_of<HashedKey>(hash_, key), SameKey{key}); }

    /// Whether a live value is there; no access for eviction, no statistics.
    [[nodiscard]] bool contains(KeyView key) const { return static_cast<bool>(lookup(key, false)); }

    /// Removes everything. O(entries).
    void clear() { (void)store_.clear(); }

    /// Entries now, expired ones that nobody has met yet included.
    [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(store_.usage().entries); }

    /// Another bound on the number of entries, at once. @throws ConfigError when it is 0
    void resize(std::size_t capacity) {
        if (capacity == 0) throw ConfigError("memory.capacity", "0", "at least 1");
        store_.resize(capacity);
    }

    /// Removes what has expired. O(expired). @return how many
    std::size_t run_maintenance() { return store_.sweep(); }

    [[nodiscard]] TierStats stats() const {
        TierStats stats;
        stats.hits = counters_.sum(Event::hits);
        stats.misses = counters_.sum(Event::misses);
        stats.sets = counters_.sum(Event::sets);
        stats.evictions = store_.counters().sum(detail::RemovalEvent::evictions);
        stats.expirations = store_.counters().sum(detail::RemovalEvent::expirations);
        const auto usage = store_.usage();
        stats.entries = usage.entries;
        stats.bytes = usage.bytes;
        stats.allocator = store_.arena().name();
        return stats;
    }

    void reset_stats() noexcept {
        counters_.reset();
        store_.reset_counters();
    }

  private:
    enum class Event { hits, misses, sets, count_ };
    static constexpr std::size_t batch = 16;
    using Store = detail::Store<Entry>;
    using HashedKey = std::conditional_t<Entry::text_key, std::string_view, Key>;

    static MemoryOptions checked(MemoryOptions options) {
        std::vector<ConfigProblem> problems;
        validate(options, problems);
        if (!problems.empty()) throw ConfigError(std::move(problems));
        return options;
    }

    static typename Store::RemovalHook removal_hook(
        std::function<void(KeyView, const Value&, RemovalCause)> listener) {
        if (!listener) return {};
        return [heard = std::move(listener)](Entry& entry, RemovalCause cause) {
            heard(entry.key(), entry.value, cause);
        };
    }

    [[nodiscard]] std::uint32_t weigh(const Entry& entry) const {
        if (!store_.by_bytes()) return 1;
        const std::size_t weight = weigher_ ? weigher_(entry.key(), entry.value) : entry.bytes;
        constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max();
        return static_cast<std::uint32_t>(weight < most ? weight : most);
    }

    struct SameKey {
        KeyView key;
        [[nodiscard, gnu::always_inline]] bool operator()(const Entry& entry) const {
            if constexpr (Entry::text_key)
                return equal_text(entry.key(), key);
            else
                return entry.key() == key;
        }
    };

    [[gnu::always_inline]] void count_lookup(const Ref& ref) noexcept {
        if (ref) [[likely]]
            counters_.add(Event::hits);
        else
            counters_.add(Event::misses);
    }

    [[nodiscard, gnu::always_inline]] Ref lookup(KeyView key, bool touch = true) const {
        return store_.find(detail::hash_of<HashedKey>(hash_, key), SameKey{key}, touch);
    }

    KeyHash hash_;
    MemoryOptions options_;
    std::function<std::size_t(KeyView, const Value&)> weigher_;
    mutable Store store_;
    Counters<Event> counters_;
};

}  // namespace smartcache::inline v0
