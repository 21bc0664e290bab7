# What the components are and what each needs: written once, used by our own build and by the installed package.

set(SMARTCACHE_COMPONENTS redis disk json lz4 jemalloc tls http)

# smartcache_component(<component> <package-var> <target-var> <debian-var>): the CMake package, its target and the Debian
# package that brings it. Empty for a component without a dependency.
function(smartcache_component component package target debian)
  set(redis hiredis hiredis::hiredis libhiredis-dev)
  set(json nlohmann_json nlohmann_json::nlohmann_json nlohmann-json3-dev)
  set(lz4 LZ4 LZ4::lz4 liblz4-dev)
  set(jemalloc jemalloc jemalloc::jemalloc libjemalloc-dev)
  set(tls OpenSSL OpenSSL::SSL libssl-dev)
  set(row "${${component}}")
  if(component IN_LIST SMARTCACHE_COMPONENTS AND row)
    list(GET row 0 p)
    list(GET row 1 t)
    list(GET row 2 d)
  endif()
  set(${package} "${p}" PARENT_SCOPE)
  set(${target} "${t}" PARENT_SCOPE)
  set(${debian} "${d}" PARENT_SCOPE)
endfunction()

# smartcache_find_dependency(<component> [GLOBAL]): looks for what the component needs; success = its target exists.
# A macro: find_package's variables belong to the caller's scope. The target is looked for first, because a project may
# bring its own.
macro(smartcache_find_dependency component)
  smartcache_component(${component} _smartcache_package _smartcache_target _smartcache_debian)
  if(_smartcache_target AND NOT TARGET ${_smartcache_target})
    find_package(${_smartcache_package} QUIET ${ARGN})
  endif()
endmacro()
