cmake_minimum_required(VERSION 3.25)

# cmake -DPROGRAM=<program> -DSOURCE=<its source> [-DOPTIONAL=ON] -P RunExample.cmake
#
# Runs the program and compares its output with the comment that closes the source:
#     // Expected output:
#     // first line
#     // took ... ms
# `...` in a line stands for any text of that line, a line of only `...` for any number of lines. OPTIONAL: without such a
# comment, running to the end with status 0 is enough.
file(READ "${SOURCE}" source)
string(FIND "${source}" "// Expected output:\n" start)
execute_process(COMMAND "${PROGRAM}" RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE errors)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${PROGRAM}: ${status}\n${output}\n${errors}")
endif()
if(start EQUAL -1)
  if(OPTIONAL)
    return()
  endif()
  message(FATAL_ERROR "${SOURCE} does not close with '// Expected output:'")
endif()

string(SUBSTRING "${source}" ${start} -1 expected)
string(REGEX REPLACE "^// Expected output:\n" "" expected "${expected}")
string(REGEX REPLACE "(^|\n)//( |)" "\\1" expected "${expected}")
string(REGEX REPLACE "[ \n]+$" "" expected "${expected}")
string(REGEX REPLACE "[ \n]+$" "" output "${output}")
string(REGEX REPLACE "([][.*+?^$(){}|\\\\])" "\\\\\\1" pattern "${expected}")
string(REPLACE "\\{" "[{]" pattern "${pattern}")
string(REPLACE "\\}" "[}]" pattern "${pattern}")
string(REGEX REPLACE "(^|\n)\\\\\\.\\\\\\.\\\\\\.(\n|$)" "\\1.*\\2" pattern "${pattern}")
string(REPLACE "\\.\\.\\." "[^\n]*" pattern "${pattern}")
if(NOT output MATCHES "^${pattern}$")
  message(FATAL_ERROR "${PROGRAM} printed\n${output}\n--- but its source promises\n${expected}")
endif()
