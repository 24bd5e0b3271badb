# Sources with raised flags must not define weak symbols: the linker keeps one copy of an inline function for
# the whole program, and that copy may then hold instructions which the processor at hand does not have.
#   cmake -DOBJECTS="a.o|b.o" -DNM=nm [-DLEAST=10] -P isa_symbols.cmake
if(NOT DEFINED LEAST)
    set(LEAST 10)  # objects that there are at least
endif()
string(REPLACE "|" ";" OBJECTS "${OBJECTS}")
set(wrong "")
set(n_checked 0)
foreach(object ${OBJECTS})
    if(NOT object MATCHES "/cpu/(avx2|avxvnni|avx512|amx|neon|i8mm)/[^/]*$")
        continue()
    endif()
    math(EXPR n_checked "${n_checked} + 1")
    execute_process(COMMAND ${NM} -C --defined-only ${object}
                    OUTPUT_VARIABLE symbols RESULT_VARIABLE result ERROR_VARIABLE error)
    if(NOT result EQUAL 0)
        message(FATAL_ERROR "${NM} ${object}: ${error}")
    endif()
    # Data references of the exception tables hold no code.
    string(REGEX MATCHALL "[0-9a-f]+ [WVu] [^\n]*" weak "${symbols}")
    list(FILTER weak EXCLUDE REGEX " DW\\.ref\\.")
    foreach(symbol ${weak})
        string(APPEND wrong "\n  ${object}: ${symbol}")
    endforeach()
endforeach()
if(n_checked LESS LEAST)
    message(FATAL_ERROR "only ${n_checked} objects of instruction sets found: this check is looking in the wrong place")
endif()
if(wrong)
    message(FATAL_ERROR "weak definitions compiled with raised flags:${wrong}")
endif()
message(STATUS "${n_checked} objects define no weak symbol")
