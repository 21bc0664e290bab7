# httplib::httplib on every version of cpp-httplib: a package config with that target where there is one; else pkg-config
# (Debian's 0.11: a shared library to link, and definitions that must be those it was built with); else the bare header.
include(FindPackageHandleStandardArgs)
if(NOT TARGET httplib::httplib)
  find_package(httplib QUIET CONFIG NAMES httplib)
endif()
if(TARGET httplib::httplib)
  set(httplib_INCLUDE_DIR httplib::httplib)
  find_package_handle_standard_args(httplib REQUIRED_VARS httplib_INCLUDE_DIR)
  return()
endif()

find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(PC_httplib QUIET cpp-httplib)
endif()
find_path(httplib_INCLUDE_DIR httplib.h HINTS ${PC_httplib_INCLUDE_DIRS})
find_library(httplib_LIBRARY NAMES cpp-httplib HINTS ${PC_httplib_LIBRARY_DIRS})
mark_as_advanced(httplib_INCLUDE_DIR httplib_LIBRARY)
set(httplib_needs httplib_INCLUDE_DIR)
if(httplib_LIBRARY AND NOT PC_httplib_FOUND)
  # Guessing the definitions would break the one-definition rule without a word.
  set(httplib_NOT_FOUND_MESSAGE "cpp-httplib is built as a library here: pkg-config is needed to read how")
  list(APPEND httplib_needs PC_httplib_FOUND)
endif()
find_package_handle_standard_args(httplib REQUIRED_VARS ${httplib_needs} VERSION_VAR PC_httplib_VERSION
                                  REASON_FAILURE_MESSAGE "${httplib_NOT_FOUND_MESSAGE}")
if(httplib_FOUND)
  find_package(Threads QUIET)
  add_library(httplib::httplib INTERFACE IMPORTED)
  set_target_properties(httplib::httplib PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${httplib_INCLUDE_DIR}"
                        INTERFACE_COMPILE_OPTIONS "${PC_httplib_CFLAGS_OTHER}"
                        INTERFACE_LINK_LIBRARIES "Threads::Threads")
  if(httplib_LIBRARY)
    set_property(TARGET httplib::httplib APPEND PROPERTY INTERFACE_LINK_LIBRARIES "${httplib_LIBRARY}")
  endif()
endif()
