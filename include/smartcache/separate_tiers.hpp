#pragma once

// With SMARTCACHE_SEPARATE_TIERS=1 for the whole program: include this in one of its source files, by itself. The Redis and the
// disk tier are then compiled there, and no longer in every file that includes the facade. Without it: no effect.

#include <smartcache/facade/impl/make_tiers.hpp>  // IWYU pragma: export
