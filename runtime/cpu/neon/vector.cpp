// Norms, sums and roundings.
#include "runtime/cpu/neon/neon.h"

namespace ingot::runtime::cpu::neon {
namespace {

// As scalar/vector.cpp has it; the float operations are the same.
constexpr float kSmallest = 1e-30f;

// Rounds 16 * V floats to quants * scale; returns scale, and the sum of each 16 quants.
template <int V>
static float quantize(const float* x, int8_t* quants, int (&sums)[V]) {
    float32x4_t largest = vdupq_n_f32(0);
    for (int i = 0; i < 16 * V; i += 4) largest = vmaxq_f32(largest, vabsq_f32(vld1q_f32(x + i)));
    const float maximum = vmaxvq_f32(largest);
    const bool zero = maximum < kSmallest;
    const float factor = zero ? 0.0f : 127.0f / maximum;
    for (int v = 0; v < V; ++v) {
        int16x4_t words[4];
        for (int i = 0; i < 4; ++i) {
            words[i] = vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 16 * v + 4 * i), factor)));
        }
        const int16x8_t low = vcombine_s16(words[0], words[1]), high = vcombine_s16(words[2], words[3]);
        vst1q_s8(quants + 16 * v, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
        sums[v] = vaddlvq_s16(vaddq_s16(low, high));
    }
    return zero ? 0.0f : maximum / 127.0f;
}

// sum + v²
INGOT_INLINE float64x2_t add_squares(float64x2_t sum, float64x2_t v) {
    return vfmaq_f64(sum, v, v);
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
void rms_norm(const float* x, const float* weight, float epsilon, float* y, int64_t size) {
    float64x2_t sum = vdupq_n_f64(0);
    for_each_4(size, [&](int64_t i, int64_t n) {
        const float32x4_t v = load_floats(x + i, n);
        sum = add_squares(add_squares(sum, vcvt_f64_f32(vget_low_f32(v))), vcvt_high_f64_f32(v));
    });
    const double mean = vaddvq_f64(sum) / double(size);
    const float factor = float(1 / __builtin_sqrt(mean + double(epsilon)));
    for_each_4(size, [&](int64_t i, int64_t n) {
        const float32x4_t scaled = vmulq_n_f32(load_floats(x + i, n), factor);
        store_floats(y + i, vmulq_f32(scaled, load_floats(weight + i, n)), n);
    });
}

// The variance is taken about the mean; both are accumulated in double.
void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, float* y,
                int64_t size) {
    float64x2_t sum = vdupq_n_f64(0);
    for_each_4(size, [&](int64_t i, int64_t n) {
        const float32x4_t v = load_floats(x + i, n);
        sum = vaddq_f64(sum, vaddq_f64(vcvt_f64_f32(vget_low_f32(v)), vcvt_high_f64_f32(v)));
    });
    const double mean = vaddvq_f64(sum) / double(size);
    const float64x2_t means = vdupq_n_f64(mean);
    float64x2_t squares = vdupq_n_f64(0);
    for (int64_t i = 0; i + 4 <= size; i += 4) {
        const float32x4_t v = vld1q_f32(x + i);
        squares = add_squares(squares, vsubq_f64(vcvt_f64_f32(vget_low_f32(v)), means));
        squares = add_squares(squares, vsubq_f64(vcvt_high_f64_f32(v), means));
    }
    double variance = vaddvq_f64(squares);
    for (int64_t i = size / 4 * 4; i < size; ++i) variance += (double(x[i]) - mean) * (double(x[i]) - mean);
    const float factor = float(1 / __builtin_sqrt(variance / double(size) + double(epsilon)));
    const float32x4_t center = vdupq_n_f32(float(mean));
    for_each_4(size, [&](int64_t i, int64_t n) {
        const float32x4_t scaled = vmulq_n_f32(vsubq_f32(load_floats(x + i, n), center), factor);
        const float32x4_t normed = vmulq_f32(scaled, load_floats(weight + i, n));
        store_floats(y + i, bias ? vaddq_f32(normed, load_floats(bias + i, n)) : normed, n);
    });
}

void add(const float* x, float* y, int64_t size) {
    for_each_4(size, [&](int64_t i, int64_t n) {
        store_floats(y + i, vaddq_f32(load_floats(y + i, n), load_floats(x + i, n)), n);
    });
}

void to_half(const float* x, uint16_t* y, int64_t size) {
    for_each_4(size, [&](int64_t i, int64_t n) {
        const uint64_t halves = vget_lane_u64(vreinterpret_u64_f16(vcvt_f16_f32(load_floats(x + i, n))), 0);
        __builtin_memcpy(y + i, &halves, size_t(n) * sizeof(uint16_t));
    });
}

}  // namespace ingot::runtime::cpu::neon
