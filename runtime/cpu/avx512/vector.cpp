// Norms, sums and roundings.
#include "runtime/cpu/avx512/avx512.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

// As scalar/vector.cpp has it; the float operations are the same.
constexpr float kSmallest = 1e-30f;

// Rounds 16 * V floats to quants * scale; returns scale, and the sum of each 16 quants.
template <int V>
static float quantize(const float* x, int8_t* quants, int (&sums)[V]) {
    __m512 largest = _mm512_setzero_ps();
    for (int v = 0; v < V; ++v) largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(x + 16 * v)));
    const float maximum = _mm512_reduce_max_ps(largest);
    const bool zero = maximum < kSmallest;
    const __m512 factor = _mm512_set1_ps(zero ? 0.0f : 127.0f / maximum);
    for (int v = 0; v < V; ++v) {
        const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16 * v), factor));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(quants + 16 * v), _mm512_cvtepi32_epi8(rounded));
        sums[v] = _mm512_reduce_add_epi32(rounded);
    }
    return zero ? 0.0f : maximum / 127.0f;
}

}  // namespace

void quantize_q8_0(const float* x, void* row, int64_t n) {
    auto* const quants = static_cast<int8_t*>(row);
    auto* const scales = reinterpret_cast<float*>(quants + n);
    float* const sums = scales + n / 32;
    for (int64_t b = 0; b < n / 32; ++b) {
        int halves[2];
        scales[b] = quantize<2>(x + 32 * b, quants + 32 * b, halves);
        sums[b] = scales[b] * float(halves[0] + halves[1]);
    }
}

void quantize_q8_k(const float* x, void* row, int64_t n) {
    auto* const blocks = static_cast<ActivationBlock256*>(row);
    for (int64_t b = 0; b < n / 256; ++b) {
        int sums[16];
        blocks[b].scale = quantize<16>(x + 256 * b, blocks[b].quants, sums);
        for (int s = 0; s < 16; ++s) blocks[b].sums[s] = int16_t(sums[s]);
    }
}

// The mean is accumulated in double.
void rms_norm(const float* x, const float* weight, float epsilon, float* y, int64_t n) {
    __m512d sum_low = _mm512_setzero_pd();
    __m512d sum_high = _mm512_setzero_pd();
    for (int64_t i = 0; i < n; i += 16) {
        const __m512 v = _mm512_maskz_loadu_ps(lanes(n - i), x + i);
        const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
        const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
        sum_low = _mm512_fmadd_pd(low, low, sum_low);
        sum_high = _mm512_fmadd_pd(high, high, sum_high);
    }
    const double mean = _mm512_reduce_add_pd(_mm512_add_pd(sum_low, sum_high)) / double(n);
    const double root = _mm_cvtsd_f64(_mm_sqrt_pd(_mm_set_sd(mean + double(epsilon))));
    const __m512 factor = _mm512_set1_ps(float(1 / root));
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), factor);
        _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(scaled, _mm512_maskz_loadu_ps(mask, weight + i)));
    }
}

// The variance is taken about the mean; both are accumulated in double.
void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, float* y, int64_t n) {
    __m512d sum = _mm512_setzero_pd();
    for (int64_t i = 0; i < n; i += 16) {
        const __m512 v = _mm512_maskz_loadu_ps(lanes(n - i), x + i);
        sum = _mm512_add_pd(sum, _mm512_cvtps_pd(_mm512_castps512_ps256(v)));
        sum = _mm512_add_pd(sum, _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)));
    }
    const double mean = _mm512_reduce_add_pd(sum) / double(n);
    const __m512d means = _mm512_set1_pd(mean);
    __m512d squares = _mm512_setzero_pd();
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        const __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        const __m512d low =
            _mm512_maskz_sub_pd(__mmask8(mask), _mm512_cvtps_pd(_mm512_castps512_ps256(v)), means);
        const __m512d high =
            _mm512_maskz_sub_pd(__mmask8(mask >> 8), _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)), means);
        squares = _mm512_fmadd_pd(high, high, _mm512_fmadd_pd(low, low, squares));
    }
    const double variance = _mm512_reduce_add_pd(squares) / double(n);
    const double root = _mm_cvtsd_f64(_mm_sqrt_pd(_mm_set_sd(variance + double(epsilon))));
    const __m512 factor = _mm512_set1_ps(float(1 / root));
    const __m512 center = _mm512_set1_ps(float(mean));
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        const __m512 scaled =
            _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), center), factor);
        const __m512 normed = _mm512_mul_ps(scaled, _mm512_maskz_loadu_ps(mask, weight + i));
        _mm512_mask_storeu_ps(y + i, mask,
                              bias ? _mm512_add_ps(normed, _mm512_maskz_loadu_ps(mask, bias + i)) : normed);
    }
}

void add(const float* x, float* y, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        const __m512 sum =
            _mm512_add_ps(_mm512_maskz_loadu_ps(mask, y + i), _mm512_maskz_loadu_ps(mask, x + i));
        _mm512_mask_storeu_ps(y + i, mask, sum);
    }
}

void to_half(const float* x, uint16_t* y, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        const __m256i halves = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(mask, x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm256_mask_storeu_epi16(y + i, mask, halves);
    }
}

}  // namespace ingot::runtime::cpu::avx512
