#pragma once

// What this build has. CMake's components define SMARTCACHE_WITH_<PART>=1, and SMARTCACHE_CONFIGURED says
// that CMake has decided; without CMake, `__has_include` decides. SMARTCACHE_NO_<PART> switches a part off in
// any case. Every translation unit of a program must see the same answers (one-definition rule).
//
// Nothing else in the library tests for a third-party header.

#if defined(SMARTCACHE_NO_REDIS)
#define SMARTCACHE_HAS_REDIS 0
#elif defined(SMARTCACHE_WITH_REDIS)
#define SMARTCACHE_HAS_REDIS 1
#elif !defined(SMARTCACHE_CONFIGURED) && __has_include(<hiredis/hiredis.h>)
#define SMARTCACHE_HAS_REDIS 1
#else
#define SMARTCACHE_HAS_REDIS 0
#endif

#if defined(SMARTCACHE_NO_DISK)
#define SMARTCACHE_HAS_DISK 0
#elif defined(SMARTCACHE_WITH_DISK)
#define SMARTCACHE_HAS_DISK 1
#elif !defined(SMARTCACHE_CONFIGURED)
#define SMARTCACHE_HAS_DISK 1
#else
#define SMARTCACHE_HAS_DISK 0
#endif

#if defined(SMARTCACHE_NO_JSON)
#define SMARTCACHE_HAS_JSON 0
#elif defined(SMARTCACHE_WITH_JSON)
#define SMARTCACHE_HAS_JSON 1
#elif !defined(SMARTCACHE_CONFIGURED) && __has_include(<nlohmann/json.hpp>)
#define SMARTCACHE_HAS_JSON 1
#else
#define SMARTCACHE_HAS_JSON 0
#endif

#if defined(SMARTCACHE_NO_LZ4)
#define SMARTCACHE_HAS_LZ4 0
#elif defined(SMARTCACHE_WITH_LZ4)
#define SMARTCACHE_HAS_LZ4 1
#elif !defined(SMARTCACHE_CONFIGURED) && __has_include(<lz4.h>)
#define SMARTCACHE_HAS_LZ4 1
#else
#define SMARTCACHE_HAS_LZ4 0
#endif

#if defined(SMARTCACHE_NO_JEMALLOC)
#define SMARTCACHE_HAS_JEMALLOC 0
#elif defined(SMARTCACHE_WITH_JEMALLOC)
#define SMARTCACHE_HAS_JEMALLOC 1
#elif !defined(SMARTCACHE_CONFIGURED) && __has_include(<jemalloc/jemalloc.h>)
#define SMARTCACHE_HAS_JEMALLOC 1
#else
#define SMARTCACHE_HAS_JEMALLOC 0
#endif

#if defined(SMARTCACHE_NO_TLS)
#define SMARTCACHE_HAS_TLS 0
#elif defined(SMARTCACHE_WITH_TLS)
#define SMARTCACHE_HAS_TLS 1
#elif !defined(SMARTCACHE_CONFIGURED) && __has_include(<openssl/ssl.h>)
#define SMARTCACHE_HAS_TLS 1
#else
#define SMARTCACHE_HAS_TLS 0
#endif
