#pragma once
// The dialect in the Metal Shading Language. Pointers inside of arguments need Metal 3 (2022 and later).
#include <metal_stdlib>

#define FUNCTION inline
#define GLOBAL(T) device T*
#define GROUP(T) threadgroup T*
#define GROUP_ARRAY(T, name, n) alignas(16) T name[n]
#define LOCAL(T) thread T&
#define ARGUMENTS(T) constant T&
#define TABLE(T, name, n) constant T name[n]
#define UNROLLED _Pragma("unroll")
#ifndef INGOT_GROUP_VARIABLE
#define INGOT_GROUP_VARIABLE threadgroup
#endif
#define INGOT_PLACE                                      \
    metal::uint3 group [[threadgroup_position_in_grid]], \
        metal::uint3 place [[thread_position_in_threadgroup]], metal::uint3 size [[threads_per_threadgroup]]
#define KERNEL(name, Arguments)                                                                \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me);                              \
    [[host_name(#name)]] kernel void name(ARGUMENTS(Arguments) a [[buffer(0)]], INGOT_PLACE) { \
        name##_body(a, Thread{group.x, group.y, group.z, place.x, size.x});                    \
    }                                                                                          \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me)
#define GROUP_KERNEL(name, Arguments, Members)                                                 \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me, threadgroup Members& shared); \
    [[host_name(#name)]] kernel void name(ARGUMENTS(Arguments) a [[buffer(0)]], INGOT_PLACE) { \
        INGOT_GROUP_VARIABLE Members name##_memory;                                            \
        name##_body(a, Thread{group.x, group.y, group.z, place.x, size.x}, name##_memory);     \
    }                                                                                          \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me, threadgroup Members& shared)
#define BOUNDED_KERNEL(name, Arguments, n_threads, n_groups) KERNEL(name, Arguments)
#define EARLY_KERNEL(name, Arguments, n_threads, n_groups) KERNEL(name, Arguments)
#define BOUNDED_GROUP_KERNEL(name, Arguments, Members, n_threads, n_groups) \
    GROUP_KERNEL(name, Arguments, Members)

namespace ingot {
namespace runtime {
namespace gpu {

using namespace metal;

FUNCTION int dot4(uint32_t a, uint32_t b, int sum) {
    const char4 x = as_type<char4>(a), y = as_type<char4>(b);
    return sum + int(x.x) * int(y.x) + int(x.y) * int(y.y) + int(x.z) * int(y.z) + int(x.w) * int(y.w);
}

struct Product {
    int32_t of[4];
};
struct ProductSums {
    float of[4];
};

/// The number in the low or high half of a word.
struct Halves {
    static FUNCTION float low(uint32_t word) { return float(as_type<half2>(word).x); }
    static FUNCTION float high(uint32_t word) { return float(as_type<half2>(word).y); }
};
struct BrainFloats {
    static FUNCTION float low(uint32_t word) { return as_type<float>(word << 16); }
    static FUNCTION float high(uint32_t word) { return as_type<float>(word & 0xffff0000u); }
};

struct Thread {
    uint32_t x, y, z;
    uint32_t index, n_threads;

    FUNCTION uint32_t lane() const { return index % 32; }
    FUNCTION uint32_t warp() const { return index / 32; }
    FUNCTION uint32_t n_warps() const { return n_threads / 32; }

    FUNCTION void barrier() const { threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device); }
    FUNCTION void end_copies() const {}
    FUNCTION void wait_for_last_launch() const {}  // launches don't overlap
    template <typename T>
    FUNCTION T shuffle(T value, uint32_t from) const {
        return simd_shuffle(value, ushort(from));
    }
    template <typename T>
    FUNCTION T shuffle_xor(T value, uint32_t mask) const {
        return simd_shuffle_xor(value, ushort(mask));
    }
    FUNCTION float lane_sum(float value) const { return simd_sum(value); }
    FUNCTION float lane_max(float value) const { return simd_max(value); }
    FUNCTION void add_product(uint32_t a0, uint32_t a1, uint32_t b, LOCAL(Product) d) const {
        const uint32_t row = lane() / 4 * 4, column = lane() % 4 * 8;  // the first of the four lanes with it
        for (uint32_t i = 0; i < 4; ++i) {
            const uint32_t first = shuffle(a0, row + i), second = shuffle(a1, row + i);
            const uint32_t even = shuffle(b, column + i), odd = shuffle(b, column + 4 + i);
            d.of[0] = dot4(first, even, d.of[0]);
            d.of[1] = dot4(first, odd, d.of[1]);
            d.of[2] = dot4(second, even, d.of[2]);
            d.of[3] = dot4(second, odd, d.of[3]);
        }
    }
    FUNCTION void add_product_f16(uint4 a, uint2 b, LOCAL(ProductSums) sums) const {
        add_product<Halves>(a, b, sums);
    }
    FUNCTION void add_product_bf16(uint4 a, uint2 b, LOCAL(ProductSums) sums) const {
        add_product<BrainFloats>(a, b, sums);
    }

    FUNCTION uint4 rows_of(threadgroup const uint32_t* words, int at) const {
        const uint32_t row = lane() / 4, t = lane() % 4;
        return uint4{words[shuffle(at, row) + t], words[shuffle(at, 8 + row) + t],
                     words[shuffle(at, 16 + row) + t], words[shuffle(at, 24 + row) + t]};
    }
    FUNCTION uint4 columns_of(threadgroup const uint32_t* words, int at) const {
        return uint4{column_of(words, at, 0), column_of(words, at, 8), column_of(words, at, 16),
                     column_of(words, at, 24)};
    }
    FUNCTION uint32_t column_of(threadgroup const uint32_t* words, int at, uint32_t first) const {
        const uint32_t word = lane() / 8, shift = lane() / 4 % 2 * 16, t = lane() % 4;
        const uint32_t even = words[shuffle(at, first + 2 * t) + word];
        const uint32_t odd = words[shuffle(at, first + 2 * t + 1) + word];
        return ((even >> shift) & 0xffffu) | ((odd >> shift) & 0xffffu) << 16;
    }

    template <typename Numbers>
    FUNCTION void add_product(uint4 a, uint2 b, LOCAL(ProductSums) sums) const {
        const uint32_t row = lane() / 4 * 4, column = lane() % 4 * 8;  // the first of the four lanes with it
        for (uint32_t i = 0; i < 4; ++i) {
            const uint32_t as[4] = {shuffle(a.x, row + i), shuffle(a.z, row + i),  // of a row
                                    shuffle(a.y, row + i), shuffle(a.w, row + i)};
            const uint32_t bs[4] = {shuffle(b.x, column + i), shuffle(b.y, column + i),
                                    shuffle(b.x, column + 4 + i), shuffle(b.y, column + 4 + i)};
            for (int j = 0; j < 8; ++j) {
                const uint32_t x = as[j / 4 * 2 + j % 2], y = bs[j / 2 % 2 * 2 + j % 2];
                float sum = sums.of[j / 2];
                sum = fma(Numbers::low(x), Numbers::low(y), sum);
                sums.of[j / 2] = fma(Numbers::high(x), Numbers::high(y), sum);
            }
        }
    }
};

template <typename T, typename Element>
FUNCTION T load(device const Element* bytes) {
    return *reinterpret_cast<device const T*>(bytes);
}
template <typename T>
FUNCTION T load_once(device const uint8_t* bytes) {
    return load<T>(bytes);
}
template <typename T, typename Element>
FUNCTION void store(device Element* bytes, T value) {
    *reinterpret_cast<device T*>(bytes) = value;
}

FUNCTION void store_four(threadgroup uint32_t* words, uint4 value) {
    *reinterpret_cast<threadgroup uint4*>(words) = value;
}
FUNCTION void begin_copy(threadgroup uint32_t* words, device const uint8_t* bytes) {
    store_four(words, load<uint4>(bytes));
}
FUNCTION void under_way() {}
FUNCTION constexpr bool has_bf16_products() {
    return true;  // as much as any other
}
FUNCTION void prefetch_line(GLOBAL(const uint8_t)) {}  // which it has no instruction for

FUNCTION uint2 look_up(uint4 table, uint32_t word) {
    uint2 bytes = {0, 0};
    for (uint32_t shift = 0; shift < 32; shift += 8) {
        const uint32_t low = (word >> shift) & 0xfu, high = (word >> (shift + 4)) & 0xfu;
        bytes.x |= ((table[low / 4] >> (8 * (low % 4))) & 0xffu) << shift;
        bytes.y |= ((table[high / 4] >> (8 * (high % 4))) & 0xffu) << shift;
    }
    return bytes;
}
FUNCTION uint32_t rotated(uint32_t word, int n) {
    return (word >> (n & 31)) | (word << (-n & 31));
}

FUNCTION float half_to_float(uint16_t bits) {
    return float(as_type<half>(bits));
}
FUNCTION uint16_t float_to_half(float value) {
    return as_type<uint16_t>(half(value));
}
FUNCTION uint32_t halves_of(float low, float high) {
    return uint32_t(float_to_half(low)) | uint32_t(float_to_half(high)) << 16;
}
FUNCTION float float_of(uint32_t bits) {
    return as_type<float>(bits);
}
FUNCTION uint32_t bits_of(float value) {
    return as_type<uint32_t>(value);
}

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot
