#pragma once

// Allocations that fail when a test wants it: the global operator new of the whole test program. For one of its files only, and
// not with the thread sanitizer, whose runtime for clang defines it, too.

#include <cstddef>
#include <cstdlib>
#include <new>

namespace smartcache_test {

/// Fails the n-th allocation from now on of this thread; -1: none.
inline thread_local int allocations_until_failure = -1;

[[nodiscard]] inline bool allocation_fails_now() noexcept {
    return allocations_until_failure >= 0 && allocations_until_failure-- == 0;
}
[[nodiscard]] inline void* allocate_or_null(std::size_t size) noexcept {
    return allocation_fails_now() ? nullptr : std::malloc(size == 0 ? 1 : size);
}
[[nodiscard]] inline void* allocate_or_null(std::size_t size, std::align_val_t alignment) noexcept {
    const auto to = static_cast<std::size_t>(alignment);
    return allocation_fails_now() ? nullptr : std::aligned_alloc(to, (size + to - 1) / to * to);
}

}  // namespace smartcache_test

// Not inlined: g++ would take malloc and delete for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) {
    if (void* const memory = smartcache_test::allocate_or_null(size)) return memory;
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
    if (void* const memory = smartcache_test::allocate_or_null(size, alignment)) return memory;
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
    return smartcache_test::allocate_or_null(size);
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment,
                                     const std::nothrow_t& /*tag*/) noexcept {
    return smartcache_test::allocate_or_null(size, alignment);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}
