# CUDA, where it is wanted and can be had: one source, compiled by nvcc. Sets INGOT_CUDA_OBJECT, INGOT_CUDA_INCLUDE
# and INGOT_CUDA_LIBRARIES, or leaves them empty. Never an error.
set(INGOT_CUDA AUTO CACHE STRING "Build for NVIDIA GPUs: ON, OFF, or AUTO: where this machine has one")
set_property(CACHE INGOT_CUDA PROPERTY STRINGS AUTO ON OFF)
set(INGOT_CUDA_ARCHITECTURES "" CACHE STRING
    "Such as 75;90a; if empty, that of the GPU that is present, else all from 75 to 90a and PTX")
set(INGOT_CUDA_OBJECT)
set(INGOT_CUDA_INCLUDE)
set(INGOT_CUDA_LIBRARIES)

set(has_gpu FALSE)
if(EXISTS /dev/nvidia0)
    set(has_gpu TRUE)
endif()
if(INGOT_CUDA STREQUAL "OFF" OR (INGOT_CUDA STREQUAL "AUTO" AND NOT has_gpu))
    return()
endif()

find_program(INGOT_NVCC nvcc HINTS $ENV{CUDA_PATH}/bin $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
if(NOT INGOT_NVCC)
    message(STATUS "CUDA is left out: nvcc was not found")
    return()
endif()
get_filename_component(cuda_root ${INGOT_NVCC} REALPATH)
get_filename_component(cuda_root ${cuda_root}/../.. ABSOLUTE)
find_library(INGOT_CUDART cudart_static HINTS ${cuda_root}/lib64 ${cuda_root}/targets/x86_64-linux/lib
             ${cuda_root}/targets/sbsa-linux/lib)
if(NOT INGOT_CUDART)
    message(STATUS "CUDA is left out: libcudart_static.a was not found beside ${INGOT_NVCC}")
    return()
endif()

set(codes)
if(INGOT_CUDA_ARCHITECTURES)
    foreach(architecture ${INGOT_CUDA_ARCHITECTURES})
        list(APPEND codes -gencode=arch=compute_${architecture},code=sm_${architecture})
    endforeach()
elseif(has_gpu)
    # "native" would leave out what only sm_90a has.
    execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader OUTPUT_VARIABLE capabilities ERROR_QUIET)
    string(REGEX MATCHALL "[0-9]+\\.[0-9]" capabilities "${capabilities}")
    list(REMOVE_DUPLICATES capabilities)
    foreach(capability ${capabilities})
        string(REPLACE "." "" architecture ${capability})
        if(architecture EQUAL 90)
            set(architecture 90a)
        endif()
        list(APPEND codes -gencode=arch=compute_${architecture},code=sm_${architecture})
    endforeach()
    if(NOT codes)
        set(codes -arch=native)
    endif()
else()
    foreach(architecture 75 80 86 89 90a)
        list(APPEND codes -gencode=arch=compute_${architecture},code=sm_${architecture})
    endforeach()
    list(APPEND codes -gencode=arch=compute_90,code=compute_90)  # PTX, for what comes after
endif()

# No multiply is fused that the kernels don't ask for: results are the emulator's.
set(INGOT_CUDA_OBJECT ${PROJECT_BINARY_DIR}/runtime/cuda_kernels.o)
add_custom_command(
    OUTPUT ${INGOT_CUDA_OBJECT}
    COMMAND ${INGOT_NVCC} -std=c++20 -O3 -fmad=false --threads=0 ${codes} -ccbin ${CMAKE_CXX_COMPILER} -I${PROJECT_SOURCE_DIR}
            -Xcompiler=-Wall,-Wextra -MD -MF ${INGOT_CUDA_OBJECT}.d
            -c ${PROJECT_SOURCE_DIR}/runtime/cuda/kernels.cu -o ${INGOT_CUDA_OBJECT}
    DEPENDS ${PROJECT_SOURCE_DIR}/runtime/cuda/kernels.cu
    DEPFILE ${INGOT_CUDA_OBJECT}.d
    COMMENT "Compiling the kernels for NVIDIA GPUs"
    VERBATIM)
set(INGOT_CUDA_INCLUDE ${cuda_root}/include)
set(INGOT_CUDA_LIBRARIES ${INGOT_CUDART} ${CMAKE_DL_LIBS} rt)
