# hiredis::hiredis on every version: 1.x has a package config with that target, 0.14 has one that defines variables only.
# Headers are included as <hiredis/hiredis.h>.
include(FindPackageHandleStandardArgs)
if(NOT TARGET hiredis::hiredis)
  find_package(hiredis QUIET CONFIG NAMES hiredis)
endif()
if(TARGET hiredis::hiredis)
  set(hiredis_LIBRARY hiredis::hiredis)
  find_package_handle_standard_args(hiredis REQUIRED_VARS hiredis_LIBRARY)
  return()
endif()

find_path(hiredis_INCLUDE_DIR hiredis/hiredis.h)
find_library(hiredis_LIBRARY NAMES hiredis)
mark_as_advanced(hiredis_INCLUDE_DIR hiredis_LIBRARY)
find_package_handle_standard_args(hiredis REQUIRED_VARS hiredis_LIBRARY hiredis_INCLUDE_DIR)
if(hiredis_FOUND)
  add_library(hiredis::hiredis UNKNOWN IMPORTED)
  set_target_properties(hiredis::hiredis PROPERTIES IMPORTED_LOCATION "${hiredis_LIBRARY}"
                        INTERFACE_INCLUDE_DIRECTORIES "${hiredis_INCLUDE_DIR}")
endif()
