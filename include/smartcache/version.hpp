#pragma once

// The one place where the version is written; CMake reads it from here.
#define SMARTCACHE_VERSION_MAJOR 0
#define SMARTCACHE_VERSION_MINOR 1
#define SMARTCACHE_VERSION_PATCH 0

// Everything lives in `namespace smartcache::inline v0`. The inline namespace is the ABI version: two
// libraries of one program built with incompatible SmartCaches do not share symbols (R29).
