// Attention of a block of tokens; see runtime/cpu/attention_block.h.
#include "runtime/cpu/attention_block.h"

#include "format/blocks/q8_0.h"
#include "runtime/cpu/avx2/avx2.h"
#include "runtime/cpu/avx2/exp.h"
#include "runtime/cpu/avx2/layouts_plain.h"
#include "runtime/cpu/avx2/panel.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

// Elements of a layout of floats.
template <typename Layout>
struct Cached {
    INGOT_INLINE __m256 load(const void* from, int64_t i, int64_t n) {
        const auto* bytes = static_cast<const uint8_t*>(from);
        return n >= 8 ? Layout::load(bytes, i) : Layout::load(bytes, i, n);
    }
};

struct Vector {
    using Floats = __m256;
    static constexpr int64_t kLanes = 8;
    static constexpr int kRows = 6, kVectors = 2;  // 12 sums, 2 vectors of keys and a query: 15 registers

    INGOT_INLINE __m256 all(float x) { return _mm256_set1_ps(x); }
    INGOT_INLINE __m256 load(const float* from) { return _mm256_loadu_ps(from); }
    INGOT_INLINE void store(float* to, __m256 v) { _mm256_storeu_ps(to, v); }
    INGOT_INLINE void store_some(float* to, __m256 v, int64_t n) {
        _mm256_maskstore_ps(to, lanes(n < 8 ? n : 8), v);
    }
    INGOT_INLINE __m256 add(__m256 a, __m256 b) { return _mm256_add_ps(a, b); }
    INGOT_INLINE __m256 subtract(__m256 a, __m256 b) { return _mm256_sub_ps(a, b); }
    INGOT_INLINE __m256 multiply(__m256 a, __m256 b) { return _mm256_mul_ps(a, b); }
    INGOT_INLINE __m256 divide(__m256 a, __m256 b) { return _mm256_div_ps(a, b); }
    INGOT_INLINE __m256 larger(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
    INGOT_INLINE __m256 multiply_add(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
    INGOT_INLINE float largest(__m256 v) {
        __m128 most = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        most = _mm_max_ps(most, _mm_movehl_ps(most, most));
        return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
    }
    INGOT_INLINE float sum(__m256 v) { return add_lanes(v); }
    INGOT_INLINE __m256 steps() { return _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7); }
    INGOT_INLINE __m256 within(__m256 v, int64_t begin, int64_t end, float otherwise) {
        const auto below = [](int64_t n) { return lanes(n < 0 ? 0 : n > 8 ? 8 : n); };
        const __m256i inside = _mm256_andnot_si256(below(begin), below(end));
        return _mm256_blendv_ps(all(otherwise), v, _mm256_castsi256_ps(inside));
    }
    INGOT_INLINE __m256 exp2(__m256 v) {
        const __m256 least = all(kLeastExponent);
        const __m256 counts = _mm256_cmp_ps(v, least, _CMP_NLT_UQ);
        return _mm256_and_ps(avx2::exp2(_mm256_max_ps(least, v)), counts);  // what is not a number stays so
    }
    INGOT_INLINE __m256 capped(__m256 v, float cap) { return avx2::capped(v, cap); }
    INGOT_INLINE void transpose(__m256 (&rows)[8]) { avx2::transpose(rows); }

    using F16 = Cached<avx2::F16>;
    using F32 = Cached<avx2::F32>;
    using BF16 = Cached<avx2::BF16>;
    struct Q8_0 {  // heads are whole blocks
        INGOT_INLINE __m256 load(const void* from, int64_t i, int64_t) {
            const BlockQ8_0& block = static_cast<const BlockQ8_0*>(from)[i / 32];
            const auto* quants = reinterpret_cast<const __m128i*>(block.quants + i % 32);
            return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(quants))),
                                 all(_cvtsh_ss(block.d)));
        }
    };
};

}  // namespace

size_t attention_block_scratch(int64_t n_rows, int64_t key_dim, int64_t value_dim) {
    return BlockAttention<Vector>::scratch_floats(n_rows, key_dim, value_dim);
}
void attention_block(const AttentionBlockArguments& a) {
    BlockAttention<Vector>::attend(a);
}

}  // namespace ingot::runtime::cpu::avx2
