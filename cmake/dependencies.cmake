# Each library is taken where it is installed; otherwise a pinned release is fetched and built with us.
# -DINGOT_FETCH_DEPENDENCIES=ON fetches all of them, whatever is installed.
option(INGOT_FETCH_DEPENDENCIES "Use the pinned releases even where a library is installed" OFF)
include(FetchContent)
set(FETCHCONTENT_QUIET ON)
find_package(Threads REQUIRED)

# ingot_fetch(name repository commit [SOURCE_SUBDIR folder]): the folder is the one that holds its CMakeLists.txt.
function(ingot_fetch name repository commit)
    message(STATUS "${name}: fetching ${repository} at ${commit}")
    if(NOT DEFINED BUILD_SHARED_LIBS)
        set(BUILD_SHARED_LIBS OFF)
    endif()
    set(BUILD_TESTING OFF)
    set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)  # the plain variables set here and by callers override their options
    set(CMAKE_WARN_DEPRECATED OFF)
    FetchContent_Declare(${name} GIT_REPOSITORY ${repository} GIT_TAG ${commit} ${ARGN})
    FetchContent_GetProperties(${name})
    if(NOT ${name}_POPULATED)
        FetchContent_MakeAvailable(${name})
    endif()
endfunction()

# ingot_find(package): find_package, unless everything is to be fetched. Sets <package>_FOUND.
macro(ingot_find package)
    if(NOT INGOT_FETCH_DEPENDENCIES)
        find_package(${package} QUIET)
    endif()
endmacro()

ingot_find(fmt)
if(NOT fmt_FOUND)
    ingot_fetch(fmt https://github.com/fmtlib/fmt.git a33701196adfad74917046096bf5a2aa0ab0bb50)  # 9.1.0
endif()

ingot_find(CLI11)
if(NOT CLI11_FOUND)
    ingot_fetch(CLI11 https://github.com/CLIUtils/CLI11.git 291c58789c031208f08f4f261a858b5b7083e8e2)  # 2.3.2
endif()

ingot_find(simdjson)
if(NOT simdjson_FOUND)
    ingot_fetch(simdjson https://github.com/simdjson/simdjson.git 88bf5cb6d95324751fc916475c77a53ffba0f1a8)  # 3.6.4
endif()

ingot_find(TBB)
if(NOT TBB_FOUND)
    set(TBB_TEST OFF)
    set(TBB_STRICT OFF)
    set(TBBMALLOC_BUILD OFF)
    set(BUILD_SHARED_LIBS ON)  # a static oneTBB is not supported by its authors
    ingot_fetch(TBB https://github.com/oneapi-src/oneTBB.git c9497714821c3d443ee44c732609eb6850195ffb)  # 2021.8.0
    unset(BUILD_SHARED_LIBS)
endif()

ingot_find(Eigen3)
if(NOT Eigen3_FOUND)
    ingot_fetch(eigen https://gitlab.com/libeigen/eigen.git 3147391d946bb4b6c68edd901f2add6ac1f31f8c  # 3.4.0
                SOURCE_SUBDIR none)  # headers only: its own CMakeLists.txt has nothing for us
    add_library(Eigen3::Eigen INTERFACE IMPORTED GLOBAL)
    target_include_directories(Eigen3::Eigen INTERFACE ${eigen_SOURCE_DIR})
endif()

# The next ones are installed without CMake packages.
include(cmake/installed.cmake)

ingot_installed(ingot_xxhash xxhash.h xxhash)
if(NOT TARGET ingot_xxhash)
    set(XXHASH_BUILD_XXHSUM OFF)
    ingot_fetch(xxhash https://github.com/Cyan4973/xxHash.git bbb27a5efb85b92a0486cf361a8635715a53f6ba  # 0.8.2
                SOURCE_SUBDIR cmake_unofficial)
    add_library(ingot_xxhash INTERFACE)
    target_link_libraries(ingot_xxhash INTERFACE xxhash)
endif()

ingot_installed(ingot_pcre2 pcre2.h pcre2-8 PCRE2 10.40)  # the first with \p{sc:Han}: a script without its extensions
if(NOT TARGET ingot_pcre2)
    set(PCRE2_SUPPORT_JIT ON)
    set(PCRE2_BUILD_PCRE2GREP OFF)
    set(PCRE2_BUILD_TESTS OFF)
    ingot_fetch(pcre2 https://github.com/PCRE2Project/pcre2.git 52c08847921a324c804cabf2814549f50bce1265)  # 10.42
    add_library(ingot_pcre2 INTERFACE)
    target_link_libraries(ingot_pcre2 INTERFACE pcre2-8-static)
    target_include_directories(ingot_pcre2 INTERFACE ${pcre2_BINARY_DIR})
endif()

ingot_installed(ingot_utf8proc utf8proc.h utf8proc)
if(NOT TARGET ingot_utf8proc)
    ingot_fetch(utf8proc https://github.com/JuliaStrings/utf8proc.git 1cb28a66ca79a0845e99433fd1056257456cef8b)  # 2.8.0
    add_library(ingot_utf8proc INTERFACE)
    target_link_libraries(ingot_utf8proc INTERFACE utf8proc)
endif()

ingot_installed(ingot_zstd zstd.h zstd)
if(NOT TARGET ingot_zstd)
    set(ZSTD_BUILD_PROGRAMS OFF)
    set(ZSTD_BUILD_SHARED OFF)
    set(ZSTD_BUILD_TESTS OFF)
    ingot_fetch(zstd https://github.com/facebook/zstd.git 945f27758c0fd67b636103a38dbf050266c6b90a  # 1.5.4
                SOURCE_SUBDIR build/cmake)
    add_library(ingot_zstd INTERFACE)
    target_link_libraries(ingot_zstd INTERFACE libzstd_static)
    target_include_directories(ingot_zstd INTERFACE ${zstd_SOURCE_DIR}/lib)
endif()

# Optional: where one is missing, a source takes its place that says how to get it.
find_package(OpenSSL QUIET COMPONENTS Crypto)  # SHA-1 and SHA-256
if(NOT OpenSSL_FOUND)
    message(STATUS "OpenSSL: not found; `ingot hash` has no SHA")
endif()

find_package(CURL 7.85 QUIET)
if(NOT CURL_FOUND)
    message(STATUS "libcurl 7.85: not found; files cannot be read from URLs")
endif()

if(INGOT_BUILD_TESTS)
    ingot_find(Catch2)  # 2.13 and 3 both work, see tests/catch.h
    if(NOT Catch2_FOUND)
        ingot_fetch(Catch2 https://github.com/catchorg/Catch2.git 6e79e682b726f524310d55dec8ddac4e9c52fb5f)  # 3.4.0
    endif()
endif()
