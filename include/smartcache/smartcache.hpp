#pragma once

// Everything this build has: the facade, `cached<>`, the tiers and the codecs. The HTTP cache is
// `<smartcache/http.hpp>`.

#include <smartcache/codec/binary.hpp>
#include <smartcache/codec/bytes.hpp>
#include <smartcache/codec/codec.hpp>
#include <smartcache/core/error.hpp>
#include <smartcache/core/executor.hpp>
#include <smartcache/core/features.hpp>
#include <smartcache/facade/cached.hpp>
#include <smartcache/facade/config.hpp>
#include <smartcache/facade/monitor.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/fwd.hpp>
#include <smartcache/memory/memory_cache.hpp>
#include <smartcache/record/tier.hpp>
#include <smartcache/version.hpp>

#if SMARTCACHE_HAS_JSON
#include <smartcache/codec/cbor.hpp>
#include <smartcache/codec/json.hpp>
#include <smartcache/codec/msgpack.hpp>
#include <smartcache/facade/default_cache.hpp>
#endif
// Tiers to be used by themselves; a program with SMARTCACHE_SEPARATE_TIERS includes them where it does.
#if !(defined(SMARTCACHE_SEPARATE_TIERS) && SMARTCACHE_SEPARATE_TIERS)
#if SMARTCACHE_HAS_REDIS
#include <smartcache/redis/redis_tier.hpp>
#endif
#if SMARTCACHE_HAS_DISK
#include <smartcache/disk/disk_tier.hpp>
#endif
#endif
