#pragma once
// What the matrices of quantized weights share: unsigned bytes u become scale * u + offset, in BF16.
#include "runtime/cpu/amx/matrix.h"

namespace ingot::runtime::cpu::amx {
namespace {

constexpr int64_t kGroupInputs = 16;

/// Of a group of inputs of 16 rows.
struct Factors {
    __m512 scale, offset;
};

INGOT_INLINE __m512i weight_bits(__m512i u, const Factors& factors) {
    return _mm512_castps_si512(_mm512_fmadd_ps(factors.scale, _mm512_cvtepi32_ps(u), factors.offset));
}

/// 64 bytes u of 16 rows, the factors of their four groups -> the tiles of two steps, or of the first alone.
INGOT_INLINE void dequantize(__m512i (&rows)[kTileRows], const Factors (&factors)[4], int n_steps,
                             std::byte* const (&tiles)[2]) {
    avx512::transpose(rows);  // vector i has inputs 4i … 4i + 3
    const __m512i byte = _mm512_set1_epi32(0xff);
    for (int i = 0; i < 8 * n_steps; ++i) {
        const Factors& f = factors[4 * i / kGroupInputs];
        const __m512i u[4] = {
            _mm512_and_si512(rows[i], byte), _mm512_and_si512(_mm512_srli_epi32(rows[i], 8), byte),
            _mm512_and_si512(_mm512_srli_epi32(rows[i], 16), byte), _mm512_srli_epi32(rows[i], 24)};
        std::byte* const to = tiles[i / 8] + i % 8 * 2 * kTileRowBytes;
        _mm512_store_si512(to, pair_of_bf16(weight_bits(u[0], f), weight_bits(u[1], f)));
        _mm512_store_si512(to + kTileRowBytes, pair_of_bf16(weight_bits(u[2], f), weight_bits(u[3], f)));
    }
}

}  // namespace
}  // namespace ingot::runtime::cpu::amx
