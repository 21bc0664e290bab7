# cmake -DNM=<nm> -DOBJECTS=<list> -DCONTROL=<object> -P emits_nothing.cmake
#
# Of who only includes a header no code is asked: a class whose first virtual function is not declared inline puts its virtual
# functions, and all that they call, into every object, which took longer than reading the headers. CONTROL uses what the headers
# declare, and shows that this check finds it.

function(vtables object result)
  execute_process(COMMAND "${NM}" -C "${object}" OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "vtable for smartcache::[^\n]*" found "${symbols}")
  set(${result} "${found}" PARENT_SCOPE)
endfunction()

vtables("${CONTROL}" found)
if(NOT found)
  message(FATAL_ERROR "${CONTROL} has no vtable of ours: this check would find none")
endif()
list(LENGTH OBJECTS count)
foreach(object IN LISTS OBJECTS)
  vtables("${object}" found)
  if(found)
    message(SEND_ERROR "${object} has ${found}")
  endif()
endforeach()
message(STATUS "${count} objects emit nothing")
