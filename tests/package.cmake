# Installs ingot::format, builds examples/list_tensors against it, and runs that on a converted model.
# cmake -DROOT=… -DBUILD=… -DINGOT=… -DFOLDER=… -P package.cmake
function(run what)
    execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE err)
    if(NOT code EQUAL 0)
        message(FATAL_ERROR "${what}: exit code ${code}\n${out}${err}")
    endif()
    set(out "${out}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${FOLDER})
run("install" ${CMAKE_COMMAND} --install ${BUILD} --component format --prefix ${FOLDER}/prefix)
run("configure" ${CMAKE_COMMAND} -S ${ROOT}/examples/list_tensors -B ${FOLDER}/build -G Ninja -DCMAKE_PREFIX_PATH=${FOLDER}/prefix
    -DCMAKE_CXX_COMPILER=${COMPILER})
run("build" ${CMAKE_COMMAND} --build ${FOLDER}/build)
run("convert" ${INGOT} convert ${ROOT}/tests/data/tolstoy-5m -t Q4_0 -o ${FOLDER}/model.gguf)
run("list" ${FOLDER}/build/list_tensors ${FOLDER}/model.gguf)
string(REGEX MATCHALL "[^\n]+ bytes, the first of them [0-9a-f][0-9a-f]\n" lines "${out}")
list(LENGTH lines n_lines)
if(NOT n_lines EQUAL 56 OR NOT out MATCHES "^Tolstoy 5M\n" OR NOT out MATCHES "blk.5.ffn_down.weight +Q4_0")
    message(FATAL_ERROR "list_tensors prints ${n_lines} lines, not 56:\n${out}")
endif()
