# Each library is taken where it is installed; otherwise a pinned release is fetched.
include(FetchContent)
find_package(PkgConfig QUIET)
find_package(Threads REQUIRED)

# ingot_fetch(name git-repository commit  # release)
function(ingot_fetch name repository commit)
    message(STATUS "${name} is not installed: fetching ${repository} at ${commit}")
    FetchContent_Declare(${name} GIT_REPOSITORY ${repository} GIT_TAG ${commit})
    FetchContent_MakeAvailable(${name})
endfunction()

find_package(fmt QUIET)
if(NOT fmt_FOUND)
    ingot_fetch(fmt https://github.com/fmtlib/fmt.git 9.1.0)
endif()

find_package(CLI11 QUIET)
if(NOT CLI11_FOUND)
    ingot_fetch(CLI11 https://github.com/CLIUtils/CLI11.git v2.3.2)
endif()

find_package(simdjson QUIET)
if(NOT simdjson_FOUND)
    ingot_fetch(simdjson https://github.com/simdjson/simdjson.git v3.0.1)
endif()

find_package(TBB QUIET)
if(NOT TBB_FOUND)
    set(TBB_TEST OFF)
    ingot_fetch(TBB https://github.com/oneapi-src/oneTBB.git v2021.8.0)
endif()

# The three below ship pkg-config files (or none at all) rather than CMake packages.
# ingot_installed(target header library): an imported target when both are found.
function(ingot_installed target header library)
    string(MAKE_C_IDENTIFIER ${library} id)
    find_path(${id}_INCLUDE_DIR ${header})
    find_library(${id}_LIBRARY ${library})
    mark_as_advanced(${id}_INCLUDE_DIR ${id}_LIBRARY)
    if(${id}_INCLUDE_DIR AND ${id}_LIBRARY)
        add_library(${target} UNKNOWN IMPORTED GLOBAL)
        set_target_properties(${target} PROPERTIES IMPORTED_LOCATION ${${id}_LIBRARY}
                              INTERFACE_INCLUDE_DIRECTORIES ${${id}_INCLUDE_DIR})
    endif()
endfunction()

ingot_installed(ingot_xxhash xxhash.h xxhash)
if(NOT TARGET ingot_xxhash)
    FetchContent_Declare(xxhash GIT_REPOSITORY https://github.com/Cyan4973/xxHash.git GIT_TAG v0.8.1
                         SOURCE_SUBDIR cmake_unofficial)
    FetchContent_MakeAvailable(xxhash)
    add_library(ingot_xxhash INTERFACE)
    target_link_libraries(ingot_xxhash INTERFACE xxhash)
endif()

ingot_installed(ingot_pcre2 pcre2.h pcre2-8)
if(NOT TARGET ingot_pcre2)
    set(PCRE2_SUPPORT_JIT ON)
    ingot_fetch(pcre2 https://github.com/PCRE2Project/pcre2.git pcre2-10.42)
    add_library(ingot_pcre2 INTERFACE)
    target_link_libraries(ingot_pcre2 INTERFACE pcre2-8-static)
endif()

ingot_installed(ingot_utf8proc utf8proc.h utf8proc)
if(NOT TARGET ingot_utf8proc)
    ingot_fetch(utf8proc https://github.com/JuliaStrings/utf8proc.git v2.8.0)
    add_library(ingot_utf8proc INTERFACE)
    target_link_libraries(ingot_utf8proc INTERFACE utf8proc)
endif()

if(INGOT_BUILD_TESTS)
    find_package(Catch2 QUIET)  # 2.13 and 3 both work, see tests/catch.h
    if(NOT Catch2_FOUND)
        ingot_fetch(Catch2 https://github.com/catchorg/Catch2.git v3.4.0)
    endif()
endif()
