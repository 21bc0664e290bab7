#pragma once

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <new>
#include <string_view>

#include <smartcache/core/features.hpp>

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
/// A pinned entry may outlive the cache, and destroying an arena under it would crash (R30), so the arena
/// dies with its last block: the cache holds one reference, each block another.
///
/// Thread safety: any thread. The reference count is one atomic addition per allocation, none on a hit.
class Arena {
  public:
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    /// @param jemalloc  use it when the program has it; otherwise, or when arena ids have run out, malloc
    [[nodiscard]] static Arena* create(bool jemalloc) { return new Arena(jemalloc); }

    /// The cache lets go; blocks that are still in use keep the arena alive.
    void release() noexcept {
        // acq_rel: whoever destroys the arena must see every use of the blocks that others gave back.
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

    /// Throws: std::bad_alloc.
    [[nodiscard]] void* allocate(std::size_t size, std::size_t alignment) {
        void* block = nullptr;
#if SMARTCACHE_USE_JEMALLOC
        if (index_ != no_arena)
            block = ::mallocx(size, MALLOCX_ARENA(index_) | MALLOCX_TCACHE_NONE | MALLOCX_ALIGN(alignment));
        else
#endif
            block = ::operator new(size, std::align_val_t(alignment), std::nothrow);
        if (block == nullptr) throw std::bad_alloc();
        references_.fetch_add(1, std::memory_order_relaxed);
        return block;
    }

    void deallocate(void* block, [[maybe_unused]] std::size_t size, std::size_t alignment) noexcept {
#if SMARTCACHE_USE_JEMALLOC
        if (index_ != no_arena)
            ::sdallocx(block, size, MALLOCX_TCACHE_NONE | MALLOCX_ALIGN(alignment));
        else
#endif
            ::operator delete(block, std::align_val_t(alignment));  // clang 14 declares no sized form
        release();
    }

    [[nodiscard]] std::string_view name() const noexcept {
        return index_ == no_arena ? "malloc" : "jemalloc";
    }

  private:
    static constexpr unsigned no_arena = ~0U;

    explicit Arena([[maybe_unused]] bool jemalloc) noexcept {
#if SMARTCACHE_USE_JEMALLOC
        if (!jemalloc || &::mallocx == nullptr || &::sdallocx == nullptr || &::mallctl == nullptr) return;
        unsigned index = 0;
        std::size_t size = sizeof(index);
        if (::mallctl("arenas.create", &index, &size, nullptr, 0) == 0) index_ = index;
#endif
    }

    ~Arena() {
#if SMARTCACHE_USE_JEMALLOC
        if (index_ == no_arena) return;
        char name[32];
        std::snprintf(name, sizeof(name), "arena.%u.destroy", index_);
        (void)::mallctl(name, nullptr, nullptr, nullptr, 0);
#endif
    }

    std::atomic<std::size_t> references_{1};
    unsigned index_ = no_arena;
};

}  // namespace smartcache::inline v0::detail
