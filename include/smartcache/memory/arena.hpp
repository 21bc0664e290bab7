#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>
#include <string_view>
#include <utility>

#include <smartcache/core/counters.hpp>
#include <smartcache/core/features.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/core/singletons.hpp>
#include <smartcache/core/thread_index.hpp>

// AddressSanitizer and ThreadSanitizer watch malloc; an arena of our own would hide the entries from them.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SMARTCACHE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SMARTCACHE_SANITIZED 1
#endif
#endif

#if SMARTCACHE_HAS_JEMALLOC && !defined(SMARTCACHE_SANITIZED)
#define SMARTCACHE_USE_JEMALLOC 1
#include <jemalloc/jemalloc.h>
// Weak: a program that includes us without linking jemalloc gets null pointers here, and malloc instead.
extern "C" {
[[gnu::weak]] void* mallocx(std::size_t, int) noexcept;
[[gnu::weak]] void sdallocx(void*, std::size_t, int) noexcept;
[[gnu::weak]] int mallctl(const char*, void*, std::size_t*, void*, std::size_t) noexcept;
}
#else
#define SMARTCACHE_USE_JEMALLOC 0
#endif

namespace smartcache::inline v0::detail {

/// Where the entries of one cache live: a jemalloc arena of its own, or plain malloc.
///
/// An arena without a thread cache takes jemalloc's locks for every block and is slower than plain malloc, so
/// explicit thread caches stand before it: one each for the first threads, which so need no lock, and a few that
/// the others share, each under a lock. They belong to this arena alone, for one that serves two would mix their
/// blocks (R30).
///
/// A pinned entry may outlive the cache, and destroying an arena under it would crash (R30), so the arena
/// goes with its last block; or, if that block is given back in the very moment in which the cache lets go, when
/// another arena is let go of.
///
/// Thread safety: any thread.
class Arena {
  public:
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    /// @param jemalloc  use it when the program has it; otherwise, or when arena ids have run out, malloc
    [[nodiscard]] static Arena* create([[maybe_unused]] bool jemalloc) {
#if SMARTCACHE_USE_JEMALLOC
        if (jemalloc && &::mallocx != nullptr && &::sdallocx != nullptr && &::mallctl != nullptr) {
            unsigned index = 0;
            std::size_t size = sizeof(index);
            if (::mallctl("arenas.create", &index, &size, nullptr, 0) == 0) {
                if (index < by_index_.size()) {
                    auto* const arena = new Arena(index);
                    // relaxed: who asks for it has a block of it, and so everything that came before.
                    by_index_[index].store(arena, std::memory_order_relaxed);
                    return arena;
                }
                destroy_arena(index);
            }
        }
#endif
        return &plain();
    }

    /// By which a block finds its arena in two bytes; constant as long as the arena lives.
    [[nodiscard]] std::uint16_t number() const noexcept {
        return static_cast<std::uint16_t>(index_);
    }
    [[nodiscard]] static Arena& by_number(std::uint16_t number) noexcept {
        if (number == static_cast<std::uint16_t>(no_arena)) return plain();
        return *by_index_[number].load(std::memory_order_relaxed);
    }

    /// The cache lets go, and allocates no more; blocks that are still in use keep the arena alive.
    void release() noexcept {
        // In a child the threads with stripes of their own may be in the middle of using them for ever (R33).
        if (index_ == no_arena || process_.forked()) return;
        Orphans& orphans = Orphans::instance();
        const std::lock_guard lock(orphans.mutex);
        next_orphan_ = std::exchange(orphans.first, this);
        orphaned_.store(true, std::memory_order_relaxed);
        orphans.collect();
    }

    /// Throws: std::bad_alloc.
    [[nodiscard]] void* allocate(std::size_t size, std::size_t alignment) {
        void* block = nullptr;
#if SMARTCACHE_USE_JEMALLOC
        if (index_ != no_arena) {
            Stripe& stripe = own_stripe();
            const std::unique_lock lock = guard(stripe);
            block = stripe.returned.take(size, alignment);
            if (block == nullptr)
                block = ::mallocx(size, MALLOCX_ARENA(index_) | cache_of(stripe) | MALLOCX_ALIGN(alignment));
            if (block != nullptr) stripe.count(1);
        } else
#endif
            block = ::operator new(size, std::align_val_t(alignment), std::nothrow);
        if (block == nullptr) throw std::bad_alloc();
        return block;
    }

    void deallocate(void* block, [[maybe_unused]] std::size_t size, std::size_t alignment) noexcept {
#if SMARTCACHE_USE_JEMALLOC
        if (index_ != no_arena) {
            // Asked before the block is counted off: then the arena may go at any time.
            if (orphaned_.load(std::memory_order_relaxed)) [[unlikely]] {
                Orphans& orphans = Orphans::instance();
                const std::lock_guard lock(orphans.mutex);
                give_back(block, size, alignment);
                orphans.collect();
            } else {
                give_back(block, size, alignment);
            }
            return;
        }
#endif
        ::operator delete(block, std::align_val_t(alignment));  // clang 14 declares no sized form
    }

    [[nodiscard]] std::string_view name() const noexcept {
        return index_ == no_arena ? "malloc" : "jemalloc";
    }

  private:
    static constexpr unsigned no_arena = ~0U;
    static constexpr std::size_t own_stripes = 16;    // of the threads with the lowest numbers
    static constexpr std::size_t shared_stripes = 4;  // of all others
    static_assert(own_stripes <= exclusive_threads);

    /// The blocks given back last, by size class, chained through themselves: a replaced entry's block is the next
    /// one's, for a tenth of what jemalloc takes for the two calls with an arena and a cache.
    class Returned {
      public:
        /// nullptr: none of this size.
        [[nodiscard]] void* take(std::size_t size, std::size_t alignment) noexcept {
            if (size > largest || alignment > granule) return nullptr;
            Shelf& shelf = shelves_[class_of(size)];
            void* const block = shelf.first;
            if (block == nullptr) return nullptr;
            std::memcpy(&shelf.first, block, sizeof(shelf.first));
            --shelf.count;
            return block;
        }
        /// @return false when there is no room for it
        [[nodiscard]] bool keep(void* block, std::size_t size, std::size_t alignment) noexcept {
            if (size > largest || alignment > granule) return false;
            Shelf& shelf = shelves_[class_of(size)];
            if (shelf.count == room) return false;
            std::memcpy(block, &shelf.first, sizeof(shelf.first));
            shelf.first = block;
            ++shelf.count;
            return true;
        }

      private:
        static constexpr std::size_t granule = 16;
        static constexpr std::size_t largest = 1024;
        static constexpr std::uint32_t room = 8;  // so 60 KB a thread at most
        struct Shelf {
            void* first = nullptr;
            std::uint32_t count = 0;
        };

        /// jemalloc's classes: eight in steps of 16 bytes, then four for each doubling.
        [[nodiscard]] static std::size_t class_of(std::size_t size) noexcept {
            const std::size_t last = size - 1;
            if (size <= 8 * granule) return last / granule;
            const auto width = static_cast<std::size_t>(std::bit_width(last));  // 8, 9, 10
            return 8 + (width - 8) * 4 + (last >> (width - 3)) - 4;
        }
        std::array<Shelf, 8 + 3 * 4> shelves_{};
    };

    struct alignas(cache_line) Stripe {
        Mutex mutex;                          // of a shared one
        std::atomic<std::int64_t> blocks{0};  // allocated less given back here; may be negative
        unsigned cache = 0;
        bool has_cache = false;
        bool asked = false;
        Returned returned;

        /// release: whoever destroys the arena because no block is left has seen the end of all of them.
        void count(std::int64_t more) noexcept {
            blocks.store(blocks.load(std::memory_order_relaxed) + more, std::memory_order_release);
        }
    };

    /// Arenas whose caches have let go.
    struct Orphans {
        Mutex mutex;
        Arena* first = nullptr;

        [[nodiscard]] static Orphans& instance() noexcept {
            static constinit Eternal<Orphans> orphans;  // blocks may be given back after static destructors
            return orphans.get();
        }
        /// Destroys those without blocks. The caller holds the mutex.
        void collect() noexcept {
            for (Arena** at = &first; *at != nullptr;) {
                if ((*at)->has_blocks()) {
                    at = &(*at)->next_orphan_;
                    continue;
                }
                Arena* const empty = *at;
                *at = empty->next_orphan_;
                delete empty;
            }
        }
    };

    friend class Eternal<Arena>;
    explicit Arena(unsigned index = no_arena) noexcept : index_(index) {}

    ~Arena() {
#if SMARTCACHE_USE_JEMALLOC
        for (Stripe& stripe : stripes_) {
            // A thread that gave its last block back may still be on its way out of the lock.
            const std::unique_lock lock = guard(stripe);
            if (stripe.has_cache)
                (void)::mallctl("tcache.destroy", nullptr, nullptr, &stripe.cache, sizeof(stripe.cache));
        }
        destroy_arena(index_);
#endif
    }

    /// Of an orphan: its blocks only become fewer, so a sum of 0 is no moment's error.
    [[nodiscard]] bool has_blocks() const noexcept {
        std::int64_t blocks = 0;
        for (const Stripe& stripe : stripes_) blocks += stripe.blocks.load(std::memory_order_acquire);
        return blocks != 0;
    }

    [[nodiscard]] static Arena& plain() noexcept {
        static constinit Eternal<Arena> arena;  // holds nothing, is never destroyed
        return arena.get();
    }

#if SMARTCACHE_USE_JEMALLOC
    [[nodiscard]] Stripe& own_stripe() noexcept {
        const std::size_t index = thread_index();
        return stripes_[index < own_stripes ? index : own_stripes + index % shared_stripes];
    }
    /// Excludes the others who use this stripe, where there may be any.
    [[nodiscard]] std::unique_lock<Mutex> guard(Stripe& stripe) noexcept {
        return &stripe < &stripes_[own_stripes] ? std::unique_lock<Mutex>() : std::unique_lock(stripe.mutex);
    }
    void give_back(void* block, std::size_t size, std::size_t alignment) noexcept {
        Stripe& stripe = own_stripe();
        const std::unique_lock lock = guard(stripe);
        if (!stripe.returned.keep(block, size, alignment))
            ::sdallocx(block, size, cache_of(stripe) | MALLOCX_ALIGN(alignment));
        stripe.count(-1);
    }

    static void destroy_arena(unsigned index) noexcept {
        char name[32];
        std::snprintf(name, sizeof(name), "arena.%u.destroy", index);
        (void)::mallctl(name, nullptr, nullptr, nullptr, 0);
    }

    /// The stripe's thread cache as a flag. jemalloc has some 4000; without one it goes slower.
    [[nodiscard]] static int cache_of(Stripe& stripe) noexcept {
        if (!stripe.asked) {
            stripe.asked = true;
            std::size_t size = sizeof(stripe.cache);
            stripe.has_cache = ::mallctl("tcache.create", &stripe.cache, &size, nullptr, 0) == 0;
        }
        return stripe.has_cache ? MALLOCX_TCACHE(stripe.cache) : MALLOCX_TCACHE_NONE;
    }
#endif

    static inline constinit std::array<std::atomic<Arena*>, 4096> by_index_{};  // jemalloc has no more

    const unsigned index_;
    const ProcessMark process_{};
    std::array<Stripe, own_stripes + shared_stripes> stripes_;
    std::atomic<bool> orphaned_{false};
    Arena* next_orphan_ = nullptr;
};

}  // namespace smartcache::inline v0::detail
