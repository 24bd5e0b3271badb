# What every target of this tree is compiled with.
add_library(ingot_options INTERFACE)
add_library(ingot::options ALIAS ingot_options)
target_include_directories(ingot_options INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
target_compile_features(ingot_options INTERFACE cxx_std_20)
target_compile_options(ingot_options INTERFACE
                       $<BUILD_INTERFACE:-Wall;-Wextra;-Wshadow;-Wnon-virtual-dtor;-Wno-psabi>
                       # Results must not depend on whether the compiler found a multiply to fuse:
                       # kernels ask for fused multiply-adds by name where they want them.
                       $<BUILD_INTERFACE:-ffp-contract=off>)
if(INGOT_SANITIZE)
    # Null pointers are AddressSanitizer's to find, and checks of dynamic types a third of the compiler's time.
    target_compile_options(ingot_options INTERFACE -fsanitize=address,undefined -fno-sanitize=null,vptr
                           -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(ingot_options INTERFACE -fsanitize=address,undefined)
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
    # What it has to be told about precompiled headers, or it leaves everything that uses them to the compiler.
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime
        ${CCACHE_PROGRAM})
    add_compile_options($<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endif()

# A library per folder: every source below it that no other target owns.
#   ingot_library(format)  ->  target ingot_format, alias ingot::format
function(ingot_library name)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
    add_library(ingot_${name} STATIC ${sources})
    add_library(ingot::${name} ALIAS ingot_${name})
    target_link_libraries(ingot_${name} PUBLIC ingot::options fmt::fmt)
    if(INGOT_PRECOMPILE)
        target_precompile_headers(ingot_${name} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/precompiled.h)
    endif()
endfunction()
