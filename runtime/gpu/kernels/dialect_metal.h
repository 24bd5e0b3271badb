#pragma once
// The dialect in the Metal Shading Language. Pointers inside of arguments need Metal 3 (2022 and later).
#include <metal_stdlib>

using namespace metal;

#define FUNCTION inline
#define GLOBAL(T) device T*
#define GROUP(T) threadgroup T*
#define GROUP_ARRAY(T, name, n) T name[n]
#define LOCAL(T) thread T&
#define ARGUMENTS(T) constant T&
#define TABLE(T, name, n) constant T name[n]
#define PLACE_IN_GRID                                                                             \
    uint3 group [[threadgroup_position_in_grid]], uint3 place [[thread_position_in_threadgroup]], \
        uint3 size [[threads_per_threadgroup]]
#define KERNEL(name, Arguments)                                                                 \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me);                               \
    [[host_name(#name)]] kernel void name(constant Arguments& a [[buffer(0)]], PLACE_IN_GRID) { \
        name##_body(a, Thread{group.x, group.y, group.z, place.x, size.x});                     \
    }                                                                                           \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me)
#define GROUP_KERNEL(name, Arguments, Shared)                                                   \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me, threadgroup Shared& shared);   \
    [[host_name(#name)]] kernel void name(constant Arguments& a [[buffer(0)]], PLACE_IN_GRID) { \
        threadgroup Shared shared;                                                              \
        name##_body(a, Thread{group.x, group.y, group.z, place.x, size.x}, shared);             \
    }                                                                                           \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me, threadgroup Shared& shared)

namespace ingot {
namespace runtime {
namespace gpu {

struct Thread {
    uint32_t x, y, z;
    uint32_t thread_, n_threads;
};

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot
