// Norms, sums and roundings.
#include "runtime/cpu/avx2/avx2.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

// As scalar/vector.cpp has it; the float operations are the same.
constexpr float kSmallest = 1e-30f;

INGOT_INLINE int add_integers(__m256i v) {
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}

// Rounds 16 * V floats to quants * scale; returns scale, and the sum of each 16 quants.
template <int V>
static float quantize(const float* x, int8_t* quants, int (&sums)[V]) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 largest = _mm256_setzero_ps();
    for (int i = 0; i < 16 * V; i += 8) {
        largest = _mm256_max_ps(largest, _mm256_and_ps(_mm256_loadu_ps(x + i), magnitude));
    }
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps(largest, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    const float maximum = _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
    const bool zero = maximum < kSmallest;
    const __m256 factor = _mm256_set1_ps(zero ? 0.0f : 127.0f / maximum);
    for (int v = 0; v < V; ++v) {
        const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16 * v), factor));
        const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16 * v + 8), factor));
        // Packing works within 128-bit lanes: [low 0-3, high 0-3 | low 4-7, high 4-7].
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
        const __m128i bytes =
            _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(quants + 16 * v), bytes);
        sums[v] = add_integers(_mm256_add_epi32(low, high));
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
    __m256d sum = _mm256_setzero_pd();
    for_each_8(n, [&](const auto& memory, int64_t i) {
        const __m256 v = memory.load(x + i);
        const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
        const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
        sum = _mm256_fmadd_pd(high, high, _mm256_fmadd_pd(low, low, sum));
    });
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(sum), _mm256_extractf128_pd(sum, 1));
    const double mean = _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two))) / double(n);
    const double root = _mm_cvtsd_f64(_mm_sqrt_pd(_mm_set_sd(mean + double(epsilon))));
    const __m256 factor = _mm256_set1_ps(float(1 / root));
    for_each_8(n, [&](const auto& memory, int64_t i) {
        memory.store(y + i,
                     _mm256_mul_ps(_mm256_mul_ps(memory.load(x + i), factor), memory.load(weight + i)));
    });
}

// The variance is taken about the mean; both are accumulated in double.
void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, float* y, int64_t n) {
    const auto add_lanes_of = [](__m256d v) {
        const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
        return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
    };
    __m256d sum = _mm256_setzero_pd();
    for_each_8(n, [&](const auto& memory, int64_t i) {
        const __m256 v = memory.load(x + i);
        sum = _mm256_add_pd(sum, _mm256_cvtps_pd(_mm256_castps256_ps128(v)));
        sum = _mm256_add_pd(sum, _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
    });
    const double mean = add_lanes_of(sum) / double(n);
    const __m256d means = _mm256_set1_pd(mean);
    __m256d squares = _mm256_setzero_pd();
    for (int64_t i = 0; i + 8 <= n; i += 8) {
        const __m256 v = _mm256_loadu_ps(x + i);
        const __m256d low = _mm256_sub_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(v)), means);
        const __m256d high = _mm256_sub_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)), means);
        squares = _mm256_fmadd_pd(high, high, _mm256_fmadd_pd(low, low, squares));
    }
    double variance = add_lanes_of(squares);
    for (int64_t i = n / 8 * 8; i < n; ++i) variance += (double(x[i]) - mean) * (double(x[i]) - mean);
    const double root = _mm_cvtsd_f64(_mm_sqrt_pd(_mm_set_sd(variance / double(n) + double(epsilon))));
    const __m256 factor = _mm256_set1_ps(float(1 / root));
    const __m256 center = _mm256_set1_ps(float(mean));
    for_each_8(n, [&](const auto& memory, int64_t i) {
        const __m256 scaled = _mm256_mul_ps(_mm256_sub_ps(memory.load(x + i), center), factor);
        const __m256 normed = _mm256_mul_ps(scaled, memory.load(weight + i));
        memory.store(y + i, bias ? _mm256_add_ps(normed, memory.load(bias + i)) : normed);
    });
}

void add(const float* x, float* y, int64_t n) {
    for_each_8(n, [&](const auto& memory, int64_t i) {
        memory.store(y + i, _mm256_add_ps(memory.load(y + i), memory.load(x + i)));
    });
}

void to_half(const float* x, uint16_t* y, int64_t n) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i), halves);
    }
    if (i == n) return;
    alignas(16) uint16_t rest[8];
    const __m128i halves = _mm256_cvtps_ph(Partial{lanes(n - i)}.load(x + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_store_si128(reinterpret_cast<__m128i*>(rest), halves);
    for (int64_t j = i; j < n; ++j) y[j] = rest[j - i];
}

}  // namespace ingot::runtime::cpu::avx2
