// Attention of a block of tokens; see runtime/cpu/attention_block.h.
#include "runtime/cpu/attention_block.h"

#include "runtime/cpu/avx512/cached.h"
#include "runtime/cpu/avx512/exp.h"
#include "runtime/cpu/avx512/panel.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

struct Vector {
    using Floats = __m512;
    static constexpr int64_t kLanes = 16;
    static constexpr int kRows = 6, kVectors = 4;  // 24 sums, 4 vectors of keys and a query are 29 registers

    INGOT_INLINE __m512 all(float x) { return _mm512_set1_ps(x); }
    INGOT_INLINE __m512 load(const float* from) { return _mm512_loadu_ps(from); }
    INGOT_INLINE void store(float* to, __m512 v) { _mm512_storeu_ps(to, v); }
    INGOT_INLINE void store_some(float* to, __m512 v, int64_t n) { _mm512_mask_storeu_ps(to, lanes(n), v); }
    INGOT_INLINE __m512 add(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
    INGOT_INLINE __m512 subtract(__m512 a, __m512 b) { return _mm512_sub_ps(a, b); }
    INGOT_INLINE __m512 multiply(__m512 a, __m512 b) { return _mm512_mul_ps(a, b); }
    INGOT_INLINE __m512 divide(__m512 a, __m512 b) { return _mm512_div_ps(a, b); }
    INGOT_INLINE __m512 larger(__m512 a, __m512 b) { return _mm512_max_ps(a, b); }
    INGOT_INLINE __m512 multiply_add(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
    INGOT_INLINE float largest(__m512 v) { return _mm512_reduce_max_ps(v); }
    INGOT_INLINE float sum(__m512 v) { return _mm512_reduce_add_ps(v); }
    INGOT_INLINE __m512 steps() {
        return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    }
    INGOT_INLINE __m512 within(__m512 v, int64_t begin, int64_t end, float otherwise) {
        const __mmask16 below_end = end <= 0 ? __mmask16(0) : lanes(end);
        const __mmask16 below_begin = begin <= 0 ? __mmask16(0) : lanes(begin);
        return _mm512_mask_mov_ps(all(otherwise), __mmask16(below_end & ~below_begin), v);
    }
    INGOT_INLINE __m512 exp2(__m512 v) {
        return avx512::exp2(_mm512_cmp_ps_mask(v, all(kLeastExponent), _CMP_NLT_UQ), v);
    }
    INGOT_INLINE __m512 capped(__m512 v, float cap) { return avx512::capped(v, cap); }
    INGOT_INLINE void transpose(__m512 (&rows)[16]) { avx512::transpose(rows); }

    using F16 = CachedF16;
    using F32 = CachedF32;
    using BF16 = CachedBF16;
    using Q8_0 = CachedQ8_0;
};

}  // namespace

size_t attention_block_scratch(int64_t n_rows, int64_t key_dim, int64_t value_dim) {
    return BlockAttention<Vector>::scratch_floats(n_rows, key_dim, value_dim);
}
void attention_block(const AttentionBlockArguments& a) {
    BlockAttention<Vector>::attend(a);
}

}  // namespace ingot::runtime::cpu::avx512
