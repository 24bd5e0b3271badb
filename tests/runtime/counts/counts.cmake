# Instructions of the CPU kernels for each product of a weight and an activation, counted by callgrind and compared
# with counts.txt: a change that makes a kernel longer by more than 5 % fails, and so does one that makes it shorter
# and leaves the table as it was. Counts are the same on every machine; they depend on the compiler, so that the test
# is there for GCC 12 only (tests/CMakeLists.txt).
#
# These are the AVX2 kernels, because valgrind (3.19) knows nothing of AVX-512: INGOT_ISA=avx2.
#
# After a change that is meant:
#     cmake --build build --target count_kernels
#     cmake -DUPDATE=ON -DVALGRIND=valgrind -DPROGRAM=build/tests/count_kernels -DFOLDER=build/tests/counts
#           -DTABLE=tests/runtime/counts/counts.txt -P tests/runtime/counts/counts.cmake
file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})
execute_process(COMMAND ${CMAKE_COMMAND} -E env INGOT_ISA=avx2 ${VALGRIND} --tool=callgrind
                        --callgrind-out-file=${FOLDER}/counts ${PROGRAM}
                OUTPUT_VARIABLE products ERROR_VARIABLE errors RESULT_VARIABLE result)
if(NOT result EQUAL 0)
    message(FATAL_ERROR "${VALGRIND} ${PROGRAM}: ${result}\n${errors}")
endif()

# Thousandths as a decimal fraction.
function(decimal thousandths to)
    math(EXPR whole "${thousandths} / 1000")
    math(EXPR rest "${thousandths} % 1000 + 1000")
    string(SUBSTRING ${rest} 1 3 rest)
    set(${to} "${whole}.${rest}" PARENT_SCOPE)
endfunction()

if(NOT UPDATE)
    file(STRINGS ${TABLE} expected REGEX "^[a-z]")
endif()
string(REGEX MATCHALL "[^\n]+" products "${products}")
set(table "# Instructions for each product of a weight and an activation: AVX2, GCC 12. See counts.cmake.\n")
set(report "")
set(wrong FALSE)
set(i 0)
foreach(line ${products})
    string(REGEX MATCH "^([a-z]+ [A-Z0-9_]+) ([0-9]+)$" matched "${line}")
    set(name "${CMAKE_MATCH_1}")
    set(n_products "${CMAKE_MATCH_2}")
    math(EXPR i "${i} + 1")
    file(STRINGS ${FOLDER}/counts.${i} trigger REGEX "^desc: Trigger: ")
    if(NOT trigger MATCHES "Client Request: ${name}$")
        message(FATAL_ERROR "${FOLDER}/counts.${i}: expected the counts of '${name}', found '${trigger}'")
    endif()
    file(STRINGS ${FOLDER}/counts.${i} total REGEX "^(totals|summary): ")
    string(REGEX REPLACE "^[a-z]+: ([0-9]+).*" "\\1" total "${total}")
    math(EXPR count "(${total} * 1000 + ${n_products} / 2) / ${n_products}")
    decimal(${count} text)
    string(APPEND table "${name} ${text}\n")
    if(UPDATE)
        continue()
    endif()
    list(POP_FRONT expected row)
    if(NOT row MATCHES "^${name} ([0-9]+)\\.([0-9][0-9][0-9])$")
        message(FATAL_ERROR "${TABLE}: expected a row of '${name}', found '${row}'")
    endif()
    math(EXPR before "${CMAKE_MATCH_1} * 1000 + 1${CMAKE_MATCH_2} - 1000")
    math(EXPR least "${before} * 95")
    math(EXPR most "${before} * 105")
    math(EXPR hundredfold "${count} * 100")
    set(verdict "")
    if(hundredfold LESS least OR hundredfold GREATER most)
        set(verdict "   more than 5 % away")
        set(wrong TRUE)
    endif()
    decimal(${before} before)
    string(APPEND report "  ${name}: ${text}, in the table ${before}${verdict}\n")
endforeach()
if(i EQUAL 0)
    message(FATAL_ERROR "${PROGRAM} counted nothing")
endif()
if(UPDATE)
    file(WRITE ${TABLE} "${table}")
    message(STATUS "wrote ${TABLE}\n${table}")
elseif(wrong)
    message(FATAL_ERROR "Instructions for each product:\n${report}If this is meant, see the first lines of counts.cmake.")
else()
    message(STATUS "Instructions for each product:\n${report}")
endif()
