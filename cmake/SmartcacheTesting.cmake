# How tests are declared.

find_package(Catch2 QUIET)
if(NOT TARGET Catch2::Catch2)
  message(FATAL_ERROR "The tests need Catch2, version 2.13 or 3. Debian and Ubuntu: apt-get install catch2. "
                      "Without tests: -DSMARTCACHE_BUILD_TESTS=OFF")
endif()

# A redis-server that cmake/bootstrap.sh made available without installing a service lies here.
set(SMARTCACHE_TOOLS_DIR "${PROJECT_SOURCE_DIR}/build/tools")

add_library(smartcache_test_main STATIC "${PROJECT_SOURCE_DIR}/tests/support/main.cpp")
target_include_directories(smartcache_test_main PUBLIC "${PROJECT_SOURCE_DIR}/tests")
target_link_libraries(smartcache_test_main PUBLIC Catch2::Catch2)
target_compile_features(smartcache_test_main PUBLIC cxx_std_20)

# smartcache_missing_targets(<result-var> <target>...): those that do not exist.
function(smartcache_missing_targets result)
  set(missing "")
  foreach(target IN LISTS ARGN)
    if(NOT TARGET ${target})
      list(APPEND missing ${target})
    endif()
  endforeach()
  set(${result} "${missing}" PARENT_SCOPE)
endfunction()

# smartcache_precompile(<target> <header>...): parsed once for all sources of the target, which saves a third of the time or
# more. That each header includes what it needs is for tests/structure to say, which compiles them one by one.
function(smartcache_precompile target)
  target_precompile_headers(${target} PRIVATE ${ARGN})
  # What ccache asks for to see through precompiled headers.
  target_compile_options(${target} PRIVATE "$<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>"
                                           "$<$<CXX_COMPILER_ID:Clang>:SHELL:-Xclang -fno-pch-timestamp>")
endfunction()

# smartcache_add_tests(<name> SOURCES a_test.cpp... [LINK target...] [PRECOMPILE header...] [LABELS label...]
#                      [TIMEOUT seconds] [TOGETHER n] [OPTIMIZED])
#
# One executable, linked to smartcache::smartcache, LINK and Catch2's main; one ctest per source file, named <folder>/<file>.
# PRECOMPILE: what most of the sources include, beside Catch2.
# TOGETHER: so many sources are compiled as one, so that what they share of the library is; each keeps its names in a namespace.
# OPTIMIZED: -O1 also where nothing else is optimised, for tests that compute more than they wait: one that lets each system
# call of the disk store fail takes a sixth of the time, its compilation a third more.
# Skipped with a note in the summary when a LINK target does not exist here. The default TIMEOUT leaves room for sanitizers.
function(smartcache_add_tests name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "OPTIMIZED" "TIMEOUT;TOGETHER" "SOURCES;LINK;PRECOMPILE;LABELS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "smartcache_add_tests(${name} SOURCES file... [LINK ...] [PRECOMPILE ...] [LABELS ...] [TIMEOUT n] "
                        "[TOGETHER n] [OPTIMIZED])")
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 600)
  endif()
  cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME folder)
  foreach(source IN LISTS arg_SOURCES)
    set_property(GLOBAL APPEND PROPERTY SMARTCACHE_LISTED_TESTS "${CMAKE_CURRENT_SOURCE_DIR}/${source}")
  endforeach()

  smartcache_missing_targets(missing ${arg_LINK})
  if(missing)
    list(JOIN missing ", " missing)
    smartcache_skipped("tests ${name}: no ${missing}")
    return()
  endif()

  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE smartcache_test_main smartcache_warnings smartcache::smartcache ${arg_LINK})
  smartcache_precompile(${name} "${PROJECT_SOURCE_DIR}/tests/support/catch.hpp" ${arg_PRECOMPILE})
  if(arg_OPTIMIZED)
    target_compile_options(${name} PRIVATE "$<$<CONFIG:Debug>:-O1>")
  endif()
  if(arg_TOGETHER)
    set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${arg_TOGETHER})
  endif()

  # A file whose tests are not found must fail. Version 3 does so by itself.
  set(warn "")
  if(Catch2_VERSION VERSION_LESS 3)
    set(warn --warn NoTests)
  endif()
  foreach(source IN LISTS arg_SOURCES)
    cmake_path(GET source STEM LAST_ONLY stem)
    add_test(NAME ${folder}/${stem} COMMAND ${name} --filenames-as-tags ${warn} "[#${stem}]")
    set_tests_properties(${folder}/${stem} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${folder};${arg_LABELS}"
                         ENVIRONMENT_MODIFICATION "PATH=path_list_append:${SMARTCACHE_TOOLS_DIR}")
  endforeach()
endfunction()

# smartcache_add_compile_fail(<name> SOURCE file.cpp MESSAGE regex [LINK target...])
#
# Two tests: <name> passes only if compiling the file fails and the compiler's output matches MESSAGE; <name>_control compiles
# the same file with -DCONTROL, where it leaves the mistake out, and must succeed. The second shows that the first can fail.
function(smartcache_add_compile_fail name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "SOURCE;MESSAGE" "LINK")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCE OR NOT arg_MESSAGE)
    message(FATAL_ERROR "smartcache_add_compile_fail(${name} SOURCE file.cpp MESSAGE regex [LINK ...])")
  endif()
  cmake_path(ABSOLUTE_PATH arg_SOURCE)
  set_property(GLOBAL APPEND PROPERTY SMARTCACHE_LISTED_TESTS "${arg_SOURCE}")
  smartcache_missing_targets(missing ${arg_LINK})
  if(missing)
    list(JOIN missing ", " missing)
    smartcache_skipped("test ${name}: no ${missing}")
    return()
  endif()

  # An interface library collects the flags that a target with these links would compile with.
  add_library(${name}_flags INTERFACE)
  target_link_libraries(${name}_flags INTERFACE smartcache::smartcache ${arg_LINK})
  set(flags_file "${CMAKE_CURRENT_BINARY_DIR}/${name}.flags.cmake")
  file(GENERATE OUTPUT "${flags_file}" CONTENT
"set(includes \"$<TARGET_PROPERTY:${name}_flags,INTERFACE_INCLUDE_DIRECTORIES>;${PROJECT_SOURCE_DIR}/tests\")
set(definitions \"$<TARGET_PROPERTY:${name}_flags,INTERFACE_COMPILE_DEFINITIONS>\")
set(options \"$<TARGET_PROPERTY:${name}_flags,INTERFACE_COMPILE_OPTIONS>\")
")
  separate_arguments(flags UNIX_COMMAND "${CMAKE_CXX_FLAGS} ${CMAKE_CXX20_STANDARD_COMPILE_OPTION}")
  list(JOIN flags " " flags)
  foreach(variant IN ITEMS "" _control)
    add_test(NAME compile_fail/${name}${variant}
             COMMAND "${CMAKE_COMMAND}" "-DCOMPILER=${CMAKE_CXX_COMPILER}" "-DFLAGS=${flags}" "-DFLAGS_FILE=${flags_file}"
                     "-DIMPLICIT_INCLUDES=${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES}" "-DSOURCE=${arg_SOURCE}"
                     "-DMESSAGE=${arg_MESSAGE}" "-DVARIANT=${variant}"
                     -P "${PROJECT_SOURCE_DIR}/cmake/CompileFail.cmake")
    set_tests_properties(compile_fail/${name}${variant} PROPERTIES TIMEOUT 600 LABELS "compile_fail;structure")
  endforeach()
endfunction()

# Called once, after all folders: every *_test.cpp and every compile_fail/*.cpp must have been named by a list.
function(smartcache_check_test_lists)
  get_property(listed GLOBAL PROPERTY SMARTCACHE_LISTED_TESTS)
  file(GLOB_RECURSE present CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/*_test.cpp")
  file(GLOB compile_fail CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/compile_fail/*.cpp")
  list(APPEND present ${compile_fail})
  list(REMOVE_ITEM present ${listed})
  foreach(file IN LISTS present)
    # A folder still without a list is named in the summary; with one, the file was forgotten.
    cmake_path(GET file PARENT_PATH folder)
    if(EXISTS "${folder}/CMakeLists.txt")
      message(SEND_ERROR "${file} is named by no smartcache_add_tests or smartcache_add_compile_fail and would never run")
    else()
      smartcache_skipped("${file}: its folder has no CMakeLists.txt")
    endif()
  endforeach()
endfunction()

# The preset `coverage`: lines of the library that the tests have run.
if(CMAKE_CXX_FLAGS MATCHES "--coverage")
  find_program(GCOVR gcovr)
  mark_as_advanced(GCOVR)
  if(GCOVR)
    add_custom_target(coverage_report VERBATIM
                      COMMAND "${GCOVR}" --root "${PROJECT_SOURCE_DIR}" --filter "${PROJECT_SOURCE_DIR}/include/"
                              --exclude-throw-branches "${PROJECT_BINARY_DIR}")
  else()
    smartcache_skipped("target coverage_report: gcovr not found (Debian: gcovr)")
  endif()
endif()
