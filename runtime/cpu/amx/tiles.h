#pragma once
// The tile registers. Everything here is static: see runtime/cpu/tiles.h.
#include <immintrin.h>

#include "runtime/cpu/amx/amx.h"

namespace ingot::runtime::cpu::amx {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kTileRowBytes = 64;
constexpr int64_t kTileBytes = kTileRows * kTileRowBytes;
constexpr int64_t kStepInputs = 32;  // of a tile of BF16

/// While one lives, this thread's eight tile registers are whole ones. Afterwards they are empty, so that
/// switching to another thread need not save them.
class TileRegisters {
  public:
    TileRegisters() {
        struct {
            uint8_t palette = 1, start_row = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {};
            uint8_t rows[16] = {};
        } shape;
        static_assert(sizeof shape == 64);
        for (int i = 0; i < 8; ++i) shape.row_bytes[i] = kTileRowBytes, shape.rows[i] = kTileRows;
        asm volatile("ldtilecfg %0" : : "m"(shape));
    }
    ~TileRegisters() { asm volatile("tilerelease"); }
    TileRegisters(const TileRegisters&) = delete;
    TileRegisters& operator=(const TileRegisters&) = delete;
};

// In assembler: the intrinsics of GCC 12 do not say that they read and write memory.

/// Fills a register from 16 rows that lie `stride` bytes apart.
template <int tile>
INGOT_INLINE void load_tile(const void* rows, int64_t stride = kTileRowBytes) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(rows), "r"(stride), "i"(tile) : "memory");
}
template <int tile>
INGOT_INLINE void store_tile(void* rows, int64_t stride = kTileRowBytes) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(rows), "r"(stride), "i"(tile) : "memory");
}
template <int tile>
INGOT_INLINE void clear_tile() {
    asm volatile("tilezero %%tmm%c0" : : "i"(tile));
}

/// sums (16, 16) of F32 += a (16, 32) of BF16 · b, where row i of b has inputs 2i and 2i + 1 of 16 outputs.
template <int sums, int a, int b>
INGOT_INLINE void add_products() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sums), "i"(a), "i"(b));
}

/// 32 floats, rounded to nearest even.
INGOT_INLINE __m512i to_bf16(__m512 first, __m512 second) {
    return (__m512i)_mm512_cvtne2ps_pbh(second, first);
}
/// The 16 floats that the lower or the upper half of 32 BF16 stand for.
template <bool upper>
INGOT_INLINE __m512 to_floats(__m512i bf16) {
    const __m256i half = upper ? _mm512_extracti64x4_epi64(bf16, 1) : _mm512_castsi512_si256(bf16);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/// 32 floats as sums of BF16, each of which holds what the ones before leave over.
template <int n_terms>
INGOT_INLINE void split(__m512 first, __m512 second, __m512i (&terms)[n_terms]) {
    for (__m512i& term : terms) {
        term = to_bf16(first, second);
        first = _mm512_sub_ps(first, to_floats<false>(term));
        second = _mm512_sub_ps(second, to_floats<true>(term));
    }
}

/// Two floats of each lane, by their bits, rounded to BF16: the first in the lower half.
INGOT_INLINE __m512i pair_of_bf16(__m512i first, __m512i second) {
    const __m512i half = _mm512_set1_epi32(0x8000);
    const __m512i low = _mm512_srli_epi32(_mm512_add_epi32(first, half), 16);
    constexpr int kChoose = 0xca;  // where the first has ones, the second; else the third
    return _mm512_ternarylogic_epi32(_mm512_set1_epi32(int(0xffff0000)), _mm512_add_epi32(second, half), low,
                                     kChoose);
}

}  // namespace
}  // namespace ingot::runtime::cpu::amx
