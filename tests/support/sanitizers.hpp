#pragma once

// Whether this is a build in which everything takes ten times as long. g++ says so by macros, clang by features.

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SMARTCACHE_TEST_TSAN 1
#elif __has_feature(address_sanitizer)
#define SMARTCACHE_TEST_ASAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define SMARTCACHE_TEST_TSAN 1
#elif defined(__SANITIZE_ADDRESS__)
#define SMARTCACHE_TEST_ASAN 1
#endif

namespace smartcache_test {

#if defined(SMARTCACHE_TEST_TSAN)
inline constexpr bool under_thread_sanitizer = true;
#else
inline constexpr bool under_thread_sanitizer = false;
#endif
#if defined(SMARTCACHE_TEST_ASAN)
inline constexpr bool under_address_sanitizer = true;
#else
inline constexpr bool under_address_sanitizer = false;
#endif

}  // namespace smartcache_test
