// The oracle: W (n_rows, n_in) · x (n_tokens, n_in) → y (n_tokens, n_rows), one element after the other.
//
// Dot products of quants are exact integers. A block's contribution (two factors from the weights' block, one
// from the activations') is computed and added up in double, from the first block to the last, and rounded to
// float once: what an implementation in float differs by is that implementation's own rounding.
#include <cstring>

#include "format/blocks/iq4_nl.h"
#include "format/blocks/iq4_xs.h"
#include "format/blocks/q2_k.h"
#include "format/blocks/q3_k.h"
#include "format/blocks/q4_0.h"
#include "format/blocks/q4_1.h"
#include "format/blocks/q4_k.h"
#include "format/blocks/q5_0.h"
#include "format/blocks/q5_1.h"
#include "format/blocks/q5_k.h"
#include "format/blocks/q6_k.h"
#include "format/blocks/q8_0.h"
#include "runtime/cpu/scalar/scalar.h"

namespace ingot::runtime::cpu::scalar {
namespace {

// y[token][row] = dot(row's weights, token's activations)
template <typename Dot>
void for_each_output(const MatmulArguments& arguments, const Dot& dot) {
    const int64_t n_streams = arguments.spacing != 0 ? kStreams : 1;
    for (int64_t i = 0; i < n_streams * arguments.n_rows; ++i) {
        const int64_t row = i / arguments.n_rows * arguments.spacing + i % arguments.n_rows;
        const void* weights =
            static_cast<const char*>(arguments.weights) + size_t(row) * arguments.weight_stride;
        for (int64_t token = 0; token < arguments.n_tokens; ++token) {
            const void* activations =
                static_cast<const char*>(arguments.activations) + size_t(token) * arguments.activation_stride;
            arguments.output[token * arguments.output_stride + row] =
                float(dot(weights, activations, arguments.n_in));
        }
    }
}

// ── Plain weights ───────────────────────────────────────────────────────────────────────────────────────

template <typename Element, float (*to_float)(Element)>
double dot_plain(const void* weights, const void* activations, int64_t n) {
    const auto* w = static_cast<const char*>(weights);  // a mapped file aligns tensors, not always rows
    const auto* x = static_cast<const float*>(activations);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
        Element element;
        std::memcpy(&element, w + size_t(i) * sizeof element, sizeof element);
        sum += double(to_float(element)) * double(x[i]);
    }
    return sum;
}

float same(float x) {
    return x;
}

// ── Blocks of 32 with activations in form Q8_0 ──────────────────────────────────────────────────────────

// A block of 32 weights taken apart: w[i] = scale * quants[i] + min.
struct Parts32 {
    float scale;
    float min;
    int quants[32];
};

void take_apart(const BlockQ4_0& block, Parts32& parts) {
    parts.scale = half_to_float(block.d);
    for (int j = 0; j < 16; ++j) {
        parts.quants[j] = (block.quants[j] & 0xf) - 8;
        parts.quants[j + 16] = (block.quants[j] >> 4) - 8;
    }
}

void take_apart(const BlockQ4_1& block, Parts32& parts) {
    parts.scale = half_to_float(block.d);
    parts.min = half_to_float(block.min);
    for (int j = 0; j < 16; ++j) {
        parts.quants[j] = block.quants[j] & 0xf;
        parts.quants[j + 16] = block.quants[j] >> 4;
    }
}

// Bit 4 of element i, at its place.
int high_bit(const uint8_t high_bits[4], int i) {
    return ((high_bits[i / 8] >> (i % 8)) & 1) << 4;
}

void take_apart(const BlockQ5_0& block, Parts32& parts) {
    parts.scale = half_to_float(block.d);
    for (int j = 0; j < 16; ++j) {
        parts.quants[j] = ((block.quants[j] & 0xf) | high_bit(block.high_bits, j)) - 16;
        parts.quants[j + 16] = ((block.quants[j] >> 4) | high_bit(block.high_bits, j + 16)) - 16;
    }
}

void take_apart(const BlockQ5_1& block, Parts32& parts) {
    parts.scale = half_to_float(block.d);
    parts.min = half_to_float(block.min);
    for (int j = 0; j < 16; ++j) {
        parts.quants[j] = (block.quants[j] & 0xf) | high_bit(block.high_bits, j);
        parts.quants[j + 16] = (block.quants[j] >> 4) | high_bit(block.high_bits, j + 16);
    }
}

void take_apart(const BlockQ8_0& block, Parts32& parts) {
    parts.scale = half_to_float(block.d);
    for (int i = 0; i < 32; ++i) parts.quants[i] = block.quants[i];
}

void take_apart(const BlockIQ4_NL& block, Parts32& parts) {
    parts.scale = half_to_float(block.d);
    for (int j = 0; j < 16; ++j) {
        parts.quants[j] = kIq4Values[block.quants[j] & 0xf];
        parts.quants[j + 16] = kIq4Values[block.quants[j] >> 4];
    }
}

double dot(const Parts32& parts, const ActivationRow32& x, int64_t block) {
    int sum = 0;
    for (int i = 0; i < 32; ++i) sum += parts.quants[i] * x.quants[32 * block + i];
    return double(parts.scale) * double(x.scales[block]) * sum + double(parts.min) * double(x.sums[block]);
}

template <typename Block>
double dot_blocks_32(const void* weights, const void* activations, int64_t n) {
    const auto* blocks = static_cast<const Block*>(weights);
    const ActivationRow32 x = activation_row_32(activations, n);
    double sum = 0;
    for (int64_t b = 0; b < n / 32; ++b) {
        Parts32 parts{};
        take_apart(blocks[b], parts);
        sum += dot(parts, x, b);
    }
    return sum;
}

// A super-block of IQ4_XS is 8 blocks of 32, each with a scale of its own and no minimum.
double dot_iq4_xs(const void* weights, const void* activations, int64_t n) {
    const auto* blocks = static_cast<const BlockIQ4_XS*>(weights);
    const ActivationRow32 x = activation_row_32(activations, n);
    double sum = 0;
    for (int64_t b = 0; b < n / 256; ++b) {
        int8_t scales[8];
        unpack_scales(blocks[b], scales);
        for (int s = 0; s < 8; ++s) {
            Parts32 parts{.scale = half_to_float(blocks[b].d) * float(scales[s]), .min = 0, .quants = {}};
            for (int j = 0; j < 16; ++j) {
                parts.quants[j] = kIq4Values[blocks[b].quants[16 * s + j] & 0xf];
                parts.quants[j + 16] = kIq4Values[blocks[b].quants[16 * s + j] >> 4];
            }
            sum += dot(parts, x, 8 * b + s);
        }
    }
    return sum;
}

// ── Super-blocks of 256 with activations in form Q8_K ───────────────────────────────────────────────────

// 256 weights taken apart: w[i] = scale * scales[i / 16] * quants[i] - min * mins[i / 16].
struct Parts256 {
    float scale;
    float min;
    int scales[16];
    int mins[16];
    int quants[256];
};

void take_apart(const BlockQ2_K& block, Parts256& parts) {
    parts.scale = half_to_float(block.d);
    parts.min = half_to_float(block.dmin);
    for (int s = 0; s < 16; ++s) {
        parts.scales[s] = block.scales[s] & 0xf;
        parts.mins[s] = block.scales[s] >> 4;
    }
    for (int i = 0; i < 256; ++i) {
        parts.quants[i] = (block.quants[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3;
    }
}

void take_apart(const BlockQ3_K& block, Parts256& parts) {
    parts.scale = half_to_float(block.d);
    int8_t scales[16];
    unpack_scales(block.scales, scales);
    for (int s = 0; s < 16; ++s) parts.scales[s] = scales[s];
    for (int i = 0; i < 256; ++i) {
        const int low = (block.quants[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3;
        const int high = (block.high_bits[i % 32] >> (i / 32)) & 1;
        parts.quants[i] = (low | (high << 2)) - 4;
    }
}

// The scales and minimums that Q4_K and Q5_K have in common: one pair for each 32 elements.
template <typename Block>
void take_scales_apart(const Block& block, Parts256& parts) {
    parts.scale = half_to_float(block.d);
    parts.min = half_to_float(block.dmin);
    uint8_t scales[8], mins[8];
    unpack_scales(block.scales, scales, mins);
    for (int s = 0; s < 16; ++s) {
        parts.scales[s] = scales[s / 2];
        parts.mins[s] = mins[s / 2];
    }
}

void take_apart(const BlockQ4_K& block, Parts256& parts) {
    take_scales_apart(block, parts);
    for (int i = 0; i < 256; ++i) {
        parts.quants[i] = (block.quants[32 * (i / 64) + i % 32] >> (4 * (i / 32 % 2))) & 0xf;
    }
}

void take_apart(const BlockQ5_K& block, Parts256& parts) {
    take_scales_apart(block, parts);
    for (int i = 0; i < 256; ++i) {
        const int low = (block.quants[32 * (i / 64) + i % 32] >> (4 * (i / 32 % 2))) & 0xf;
        const int high = (block.high_bits[i % 32] >> (i / 32)) & 1;
        parts.quants[i] = low | (high << 4);
    }
}

void take_apart(const BlockQ6_K& block, Parts256& parts) {
    parts.scale = half_to_float(block.d);
    for (int s = 0; s < 16; ++s) parts.scales[s] = block.scales[s];
    for (int i = 0; i < 256; ++i) {
        const int low = (block.quants[64 * (i / 128) + i % 64] >> (4 * (i / 64 % 2))) & 0xf;
        const int high = (block.high_bits[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3;
        parts.quants[i] = (low | (high << 4)) - 32;
    }
}

template <typename Block>
double dot_blocks_256(const void* weights, const void* activations, int64_t n) {
    const auto* blocks = static_cast<const Block*>(weights);
    const auto* x = static_cast<const ActivationBlock256*>(activations);
    double sum = 0;
    for (int64_t b = 0; b < n / 256; ++b) {
        Parts256 parts{};
        take_apart(blocks[b], parts);
        int products = 0;  // below 2^28: 256 * 63 * 127 * 128
        int minimums = 0;
        for (int i = 0; i < 256; ++i) products += parts.scales[i / 16] * parts.quants[i] * x[b].quants[i];
        for (int s = 0; s < 16; ++s) minimums += parts.mins[s] * x[b].sums[s];
        sum += double(x[b].scale) * (double(parts.scale) * products - double(parts.min) * minimums);
    }
    return sum;
}

}  // namespace

void matmul_f32(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_plain<float, same>);
}
void matmul_f16(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_plain<uint16_t, half_to_float>);
}
void matmul_bf16(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_plain<uint16_t, bf16_to_float>);
}
void matmul_q4_0(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_blocks_32<BlockQ4_0>);
}
void matmul_q4_1(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_blocks_32<BlockQ4_1>);
}
void matmul_q5_0(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_blocks_32<BlockQ5_0>);
}
void matmul_q5_1(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_blocks_32<BlockQ5_1>);
}
void matmul_q8_0(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_blocks_32<BlockQ8_0>);
}
void matmul_iq4_nl(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_blocks_32<BlockIQ4_NL>);
}
void matmul_iq4_xs(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_iq4_xs);
}
void matmul_q2_k(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_blocks_256<BlockQ2_K>);
}
void matmul_q3_k(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_blocks_256<BlockQ3_K>);
}
void matmul_q4_k(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_blocks_256<BlockQ4_K>);
}
void matmul_q5_k(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_blocks_256<BlockQ5_K>);
}
void matmul_q6_k(const MatmulArguments& arguments) {
    for_each_output(arguments, dot_blocks_256<BlockQ6_K>);
}

}  // namespace ingot::runtime::cpu::scalar
