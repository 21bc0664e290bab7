# smartcache_warnings: the flags our own tests, benchmarks and examples compile with. CMAKE_COMPILE_WARNING_AS_ERROR, set by
# the presets, makes them errors: a newer compiler's new warning must not stop somebody who only builds this.
add_library(smartcache_warnings INTERFACE)
target_compile_options(smartcache_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow)

# Something was left out of the build: shown in the summary.
function(smartcache_skipped what)
  set_property(GLOBAL APPEND PROPERTY SMARTCACHE_SKIPPED "${what}")
endfunction()
