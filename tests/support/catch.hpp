#pragma once

// Catch2, version 2 or 3, with the names of version 2 that our tests use.

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif
