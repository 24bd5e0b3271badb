#pragma once
// The dialect in CUDA C++.
#include <cuda_fp16.h>

#include <cmath>
#include <cstdint>

#define FUNCTION __device__ __forceinline__
#define GLOBAL(T) T*
#define GROUP(T) T*
#define GROUP_ARRAY(T, name, n) alignas(16) T name[n]
#define LOCAL(T) T&
#define ARGUMENTS(T) const T&
// Not const, or the compiler writes its elements into the instructions, of which each has room for one.
#define TABLE(T, name, n) __constant__ static T name[n]
#define UNROLLED _Pragma("unroll")
#define KERNEL_WITH(bounds, name, Arguments)                           \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me);      \
    __global__ void bounds name(const __grid_constant__ Arguments a) { \
        const Thread me = Thread::begin();                             \
        me.wait_for_last_launch();                                     \
        name##_body(a, me);                                            \
    }                                                                  \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me)
#define GROUP_KERNEL_WITH(bounds, name, Arguments, Shared)                        \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me, Shared& shared); \
    __global__ void bounds name(const __grid_constant__ Arguments a) {            \
        __shared__ Shared shared;                                                 \
        const Thread me = Thread::begin();                                        \
        me.wait_for_last_launch();                                                \
        name##_body(a, me, shared);                                               \
    }                                                                             \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me, Shared& shared)
#define KERNEL(name, Arguments) KERNEL_WITH(__launch_bounds__(kMaxThreads), name, Arguments)
#define GROUP_KERNEL(name, Arguments, Shared) \
    GROUP_KERNEL_WITH(__launch_bounds__(kMaxThreads), name, Arguments, Shared)
#define BOUNDED_KERNEL(name, Arguments, n_threads, n_groups) \
    KERNEL_WITH(__launch_bounds__(n_threads, n_groups), name, Arguments)
#define EARLY_KERNEL(name, Arguments, n_threads, n_groups)                                             \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me);                                      \
    __global__ void __launch_bounds__(n_threads, n_groups) name(const __grid_constant__ Arguments a) { \
        name##_body(a, Thread::begin());                                                               \
    }                                                                                                  \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me)
#define BOUNDED_GROUP_KERNEL(name, Arguments, Shared, n_threads, n_groups) \
    GROUP_KERNEL_WITH(__launch_bounds__(n_threads, n_groups), name, Arguments, Shared)

namespace ingot::runtime::gpu {

/// Once all groups of this launch have begun, those of the next may take the places that they leave: where
/// the host has launched it so (device.cpp).
FUNCTION void let_next_launch_begin() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}
FUNCTION void wait_for_last_launch() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

FUNCTION constexpr bool has_bf16_products() {
#if __CUDA_ARCH__ >= 800
    return true;
#else
    return false;
#endif
}

struct Product {
    int32_t of[4];
};
struct ProductSums {
    float of[4];
};

struct Thread {
    uint32_t x, y, z;
    uint32_t index, n_threads;

    static __device__ __forceinline__ Thread begin() {
        let_next_launch_begin();
        return {blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, blockDim.x};
    }
    FUNCTION uint32_t lane() const { return index % 32; }
    FUNCTION uint32_t warp() const { return index / 32; }
    FUNCTION uint32_t n_warps() const { return n_threads / 32; }

    FUNCTION void wait_for_last_launch() const { gpu::wait_for_last_launch(); }
    FUNCTION void barrier() const { __syncthreads(); }
    FUNCTION void end_copies() const {
#if __CUDA_ARCH__ >= 800
        asm volatile("cp.async.wait_all;" ::: "memory");
#endif
    }
    template <typename T>
    FUNCTION T shuffle(T value, uint32_t from) const {
        return __shfl_sync(0xffffffffu, value, int(from));
    }
    template <typename T>
    FUNCTION T shuffle_xor(T value, uint32_t mask) const {
        return __shfl_xor_sync(0xffffffffu, value, int(mask));
    }
    FUNCTION float lane_sum(float value) const {
        for (uint32_t mask = 16; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
        return value;
    }
    /// On the tensor cores.
    FUNCTION void add_product(uint32_t a0, uint32_t a1, uint32_t b, Product& d) const {
#if __CUDA_ARCH__ >= 800
        asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
            : "+r"(d.of[0]), "+r"(d.of[1]), "+r"(d.of[2]), "+r"(d.of[3])
            : "r"(a0), "r"(a1), "r"(b));
#else
        asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"
            : "+r"(d.of[0]), "+r"(d.of[1])
            : "r"(a0), "r"(b));
        asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"
            : "+r"(d.of[2]), "+r"(d.of[3])
            : "r"(a1), "r"(b));
#endif
    }
    FUNCTION void add_product_f16(uint4 a, uint2 b, ProductSums& sums) const {
        float(&s)[4] = sums.of;
#if __CUDA_ARCH__ >= 800
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
            "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
            : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
#else
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
            : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
            : "r"(a.x), "r"(a.y), "r"(b.x));
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
            : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
            : "r"(a.z), "r"(a.w), "r"(b.y));
#endif
    }
    FUNCTION void add_product_bf16(uint4 a, uint2 b, ProductSums& sums) const {
        float(&s)[4] = sums.of;
#if __CUDA_ARCH__ >= 800
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
            "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
            : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
#else  // which has none for it
        const uint32_t row = lane() / 4 * 4, column = lane() % 4 * 8;  // the first of the four lanes with it
        for (uint32_t i = 0; i < 4; ++i) {
            const uint32_t as[4] = {shuffle(a.x, row + i), shuffle(a.z, row + i),  // of a row
                                    shuffle(a.y, row + i), shuffle(a.w, row + i)};
            const uint32_t bs[4] = {shuffle(b.x, column + i), shuffle(b.y, column + i),
                                    shuffle(b.x, column + 4 + i), shuffle(b.y, column + 4 + i)};
            for (int j = 0; j < 8; ++j) {
                const uint32_t x = as[j / 4 * 2 + j % 2], y = bs[j / 2 % 2 * 2 + j % 2];
                s[j / 2] = fmaf(__uint_as_float(x << 16), __uint_as_float(y << 16), s[j / 2]);
                s[j / 2] = fmaf(__uint_as_float(x & 0xffff0000u), __uint_as_float(y & 0xffff0000u), s[j / 2]);
            }
        }
#endif
    }
    FUNCTION uint4 rows_of(const uint32_t* words, int at) const {
        uint4 of;
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(of.x), "=r"(of.y), "=r"(of.z), "=r"(of.w)
                     : "r"(uint32_t(__cvta_generic_to_shared(words + at)))
                     : "memory");
        return of;
    }
    FUNCTION uint4 columns_of(const uint32_t* words, int at) const {
        uint4 of;
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(of.x), "=r"(of.y), "=r"(of.z), "=r"(of.w)
                     : "r"(uint32_t(__cvta_generic_to_shared(words + at)))
                     : "memory");
        return of;
    }
    FUNCTION float lane_max(float value) const {
        for (uint32_t mask = 16; mask > 0; mask /= 2) value = fmaxf(value, shuffle_xor(value, mask));
        return value;
    }
};

template <typename T, typename Element>
FUNCTION T load(const Element* bytes) {
    return *reinterpret_cast<const T*>(bytes);
}

template <typename T>
FUNCTION T load_once(const uint8_t* bytes) {
    static_assert(sizeof(T) == 16);
    uint4 words;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
                 : "l"(__cvta_generic_to_global(bytes)));
    return words;
}

template <typename T, typename Element>
FUNCTION void store(Element* bytes, T value) {
    *reinterpret_cast<T*>(bytes) = value;
}

FUNCTION void store_four(uint32_t* words, uint4 value) {
    *reinterpret_cast<uint4*>(words) = value;
}
FUNCTION uint32_t halves_of(float low, float high) {
    const __half2 halves = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&halves);
}
FUNCTION void begin_copy(uint32_t* words, const uint8_t* bytes) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(uint32_t(__cvta_generic_to_shared(words))),
                 "l"(__cvta_generic_to_global(bytes))
                 : "memory");
#else
    *reinterpret_cast<uint4*>(words) = *reinterpret_cast<const uint4*>(bytes);
#endif
}

FUNCTION void prefetch_line(const uint8_t* bytes) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(bytes)));
}

FUNCTION void under_way() {
    asm volatile("" ::: "memory");
}

// __byte_perm() without its mask: the uppermost bits of the selectors, in the lower half of the word, are 0.
FUNCTION uint32_t choose_bytes(uint32_t x, uint32_t y, uint32_t selectors) {
    uint32_t bytes;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(bytes) : "r"(x), "r"(y), "r"(selectors));
    return bytes;
}
// A nibble is a selector: three of its bits select a byte of eight, the fourth says of which eight. An
// instruction takes the four in the lower half of a word.
FUNCTION uint32_t look_up_four(uint4 table, uint32_t selectors, uint32_t halves) {
    const uint32_t low = choose_bytes(table.x, table.y, selectors);
    const uint32_t high = choose_bytes(table.z, table.w, selectors);
    return choose_bytes(low, high, halves);
}
FUNCTION uint2 look_up(uint4 table, uint32_t word) {
    const uint32_t selectors = word & 0x77777777u;
    const uint32_t halves = ((word & 0x88888888u) >> 1) | 0x32103210u;
    const uint32_t first = look_up_four(table, selectors, halves);
    const uint32_t rest = look_up_four(table, selectors >> 16, halves >> 16);
    return uint2{choose_bytes(first, rest, 0x6420), choose_bytes(first, rest, 0x7531)};
}
FUNCTION uint32_t rotated(uint32_t word, int n) {
    return __funnelshift_r(word, word, uint32_t(n));
}

FUNCTION float half_to_float(uint16_t half) {
    return __half2float(__ushort_as_half(half));
}
FUNCTION uint16_t float_to_half(float value) {
    return __half_as_ushort(__float2half_rn(value));
}
FUNCTION float float_of(uint32_t bits) {
    return __uint_as_float(bits);
}
FUNCTION uint32_t bits_of(float value) {
    return __float_as_uint(value);
}
FUNCTION int dot4(uint32_t a, uint32_t b, int sum) {
    return __dp4a(int(a), int(b), sum);
}

}  // namespace ingot::runtime::gpu
