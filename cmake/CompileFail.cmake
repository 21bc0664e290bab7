cmake_minimum_required(VERSION 3.25)

# Run by the tests of smartcache_add_compile_fail: compiles SOURCE and judges by VARIANT ("" must fail with MESSAGE in the
# output, "_control" must compile).
include("${FLAGS_FILE}")
list(REMOVE_DUPLICATES includes)
list(REMOVE_ITEM includes "" ${IMPLICIT_INCLUDES})
list(REMOVE_DUPLICATES definitions)
list(TRANSFORM includes PREPEND -I)
list(TRANSFORM definitions PREPEND -D)
separate_arguments(FLAGS UNIX_COMMAND "${FLAGS}")
if(VARIANT STREQUAL "_control")
  list(APPEND definitions -DCONTROL)
endif()
execute_process(COMMAND "${COMPILER}" ${FLAGS} ${options} ${definitions} ${includes} -fsyntax-only "${SOURCE}"
                RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)

if(VARIANT STREQUAL "_control")
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "the control variant should compile:\n${output}")
  endif()
elseif(status EQUAL 0)
  message(FATAL_ERROR "${SOURCE} compiles, but must not")
elseif(NOT output MATCHES "${MESSAGE}")
  message(FATAL_ERROR "the compiler refuses, but its message does not match '${MESSAGE}':\n${output}")
endif()
