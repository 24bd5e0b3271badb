#pragma once
// What the panels of quantized weights share. A step is 4 inputs: VPDPBUSD multiplies 4 bytes of each of 16
// rows with 4 bytes of one token, broadcast, and adds the products to 16 sums of 32 bits. The activation is
// its unsigned operand, as x + 128, the weight its signed one:
//     Σ w x  =  Σ w (x + 128)  +  start,   start = -128 Σ w,
// where `start` is known when the panel is made.
#include "runtime/cpu/avx512/panel.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

constexpr int kInt8PanelInputs = 512;  // 16 KiB: what fits into the first-level cache beside a tile

/// -128 times the sums of the signed bytes of n steps.
INGOT_INLINE __m512i start_of(const __m512i* steps, int n) {
    __m512i sum = _mm512_setzero_si512();
    for (int i = 0; i < n; ++i) sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), steps[i]);
    return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sum, 7));
}

/// 64 signed bytes of each of a tile's tokens, which lie `stride` bytes apart -> 16 steps of u = x + 128. A
/// tile that is not full repeats its last token. With n_steps < 16 only so many are there.
INGOT_INLINE void pack_steps(const int8_t* first, size_t stride, int64_t n_tokens, int n_steps,
                             uint8_t (*to)[kTileTokens][4]) {
    __m512i x[16];
    for (int64_t t = 0; t < 16; ++t) {
        const int8_t* bytes = first + size_t(t < n_tokens ? t : n_tokens - 1) * stride;
        x[t] = _mm512_xor_si512(_mm512_maskz_loadu_epi32(lanes(n_steps), bytes), _mm512_set1_epi8(-128));
    }
    transpose(x);
    for (int step = 0; step < n_steps; ++step) {
        _mm512_mask_storeu_epi32(to[step], lanes(kTileTokens), x[step]);
    }
}

/// Four bytes, or one float, in all lanes.
INGOT_INLINE __m512i spread(const void* four_bytes) {
    int32_t value;
    __builtin_memcpy(&value, four_bytes, sizeof value);
    return _mm512_set1_epi32(value);
}

/// sums += the products of four unsigned and four signed bytes. In assembler, because the compiler keeps
/// copying the sums around when it is free to choose the registers.
INGOT_INLINE void add_products(__m512i& sums, __m512i unsigned_bytes, __m512i signed_bytes) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(unsigned_bytes), "v"(signed_bytes));
}

/// sums += the products of two and two signed numbers of 16 bits.
INGOT_INLINE void add_pair_products(__m512i& sums, __m512i a, __m512i b) {
    asm("vpdpwssd %2, %1, %0" : "+v"(sums) : "v"(a), "v"(b));
}

/// Keeps what is in memory there: the registers are for the integer sums.
INGOT_INLINE void leave_in_memory(const void* floats) {
    asm volatile("" : : "r"(floats) : "memory");
}

/// Adds `n_steps` steps of a panel and a tile to integer sums.
template <int n_steps>
INGOT_INLINE void multiply_steps(const __m512i* const (&weights)[kPanelVectors],
                                 const uint8_t (*x)[kTileTokens][4],
                                 __m512i (&sums)[kPanelVectors][kTileTokens]) {
#pragma GCC unroll 8
    for (int step = 0; step < n_steps; ++step) {
        const __m512i first = weights[0][step], second = weights[1][step];
        for (int t = 0; t < kTileTokens; ++t) {
            const __m512i activations = spread(x[step][t]);
            add_products(sums[0][t], activations, first);
            add_products(sums[1][t], activations, second);
        }
    }
}

}  // namespace
}  // namespace ingot::runtime::cpu::avx512
