#include <algorithm>
#include <cmath>
#include <cstddef>
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
#include "format/half.h"
#include "tests/runtime/kernels.h"

namespace kernel_tests {

using namespace ingot;

std::vector<size_t> half_offsets(TensorType type) {
    switch (type) {
        case TensorType::Q4_0:
            return {offsetof(BlockQ4_0, d)};
        case TensorType::Q4_1:
            return {offsetof(BlockQ4_1, d), offsetof(BlockQ4_1, min)};
        case TensorType::Q5_0:
            return {offsetof(BlockQ5_0, d)};
        case TensorType::Q5_1:
            return {offsetof(BlockQ5_1, d), offsetof(BlockQ5_1, min)};
        case TensorType::Q8_0:
            return {offsetof(BlockQ8_0, d)};
        case TensorType::Q2_K:
            return {offsetof(BlockQ2_K, d), offsetof(BlockQ2_K, dmin)};
        case TensorType::Q3_K:
            return {offsetof(BlockQ3_K, d)};
        case TensorType::Q4_K:
            return {offsetof(BlockQ4_K, d), offsetof(BlockQ4_K, dmin)};
        case TensorType::Q5_K:
            return {offsetof(BlockQ5_K, d), offsetof(BlockQ5_K, dmin)};
        case TensorType::Q6_K:
            return {offsetof(BlockQ6_K, d)};
        case TensorType::IQ4_NL:
            return {offsetof(BlockIQ4_NL, d)};
        case TensorType::IQ4_XS:
            return {offsetof(BlockIQ4_XS, d)};
        default:
            return {};
    }
}

std::vector<TensorType> layouts() {
    std::vector<TensorType> types;
    for (const auto& matmul : runtime::cpu::scalar_kernels().matmuls) types.push_back(matmul.type);
    return types;
}

int64_t block_elements(TensorType type) {
    return info(type).block_elements;
}

std::vector<uint8_t> random_rows(TensorType type, int64_t n_rows, int64_t n_in, Values values,
                                 uint32_t seed) {
    const size_t block_bytes = info(type).block_bytes;
    const size_t n_blocks = size_t(n_rows * n_in / block_elements(type));
    std::vector<uint8_t> bytes(n_blocks * block_bytes);
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    if (values == Values::Zero) return bytes;
    if (!info(type).quantized) {
        for (size_t i = 0; i < n_blocks; ++i) {
            float x = values == Values::Largest ? 65504.0f : normal(random);
            if (values == Values::Negative) x = -std::fabs(x);
            const uint16_t half = type == TensorType::F16 ? float_to_half(x) : float_to_bf16(x);
            if (type == TensorType::F32)
                std::memcpy(&bytes[4 * i], &x, 4);
            else
                std::memcpy(&bytes[2 * i], &half, 2);
        }
        return bytes;
    }
    for (auto& byte : bytes) byte = values == Values::Largest ? 0xff : uint8_t(random());
    for (size_t b = 0; b < n_blocks; ++b) {
        for (const size_t offset : half_offsets(type)) {
            float x = values == Values::Largest ? 65504.0f : 0.01f * normal(random);
            if (values == Values::Negative) x = -std::fabs(x);
            const uint16_t half = float_to_half(x);
            std::memcpy(&bytes[b * block_bytes + offset], &half, sizeof half);
        }
    }
    return bytes;
}

std::vector<float> random_floats(size_t n, uint32_t seed, float offset) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> x(n);
    for (auto& value : x) value = normal(random) * (random() % 100 == 0 ? 20.0f : 1.0f) + offset;
    return x;
}

std::vector<uint8_t> make_activations(const Kernels& kernels, ActivationForm form,
                                      const std::vector<float>& x, int64_t n_in) {
    const size_t row_bytes = runtime::cpu::activation_bytes(form, n_in);
    const size_t n_tokens = x.size() / size_t(n_in);
    std::vector<uint8_t> rows(n_tokens * row_bytes);
    for (size_t t = 0; t < n_tokens; ++t) {
        const float* from = x.data() + t * size_t(n_in);
        uint8_t* to = rows.data() + t * row_bytes;
        switch (form) {
            case ActivationForm::F32:
                std::memcpy(to, from, row_bytes);
                break;
            case ActivationForm::Q8_0:
                kernels.quantize_q8_0(from, to, n_in);
                break;
            case ActivationForm::Q8_K:
                kernels.quantize_q8_k(from, to, n_in);
                break;
        }
    }
    return rows;
}

namespace {

// (n_tokens, n_rows) by a function with activations in the form that it wants.
std::vector<float> run(const Kernels::Matmul& matmul, ingot::runtime::cpu::MatmulFunction function,
                       const std::vector<uint8_t>& weights, int64_t n_rows, int64_t n_in,
                       const std::vector<uint8_t>& activations, size_t activation_stride, int64_t n_tokens) {
    constexpr float kUntouched = -12345.0f;
    const int64_t stride = n_rows + 3;
    std::vector<float> padded(size_t(n_tokens * stride), kUntouched);
    function({.weights = weights.data(),
              .weight_stride = row_bytes(matmul.type, uint64_t(n_in)),
              .n_rows = n_rows,
              .n_in = n_in,
              .activations = activations.data(),
              .activation_stride = activation_stride,
              .n_tokens = n_tokens,
              .output = padded.data(),
              .output_stride = stride});
    std::vector<float> output;
    for (int64_t t = 0; t < n_tokens; ++t) {
        const auto begin = padded.begin() + t * stride;
        output.insert(output.end(), begin, begin + n_rows);
        // Nothing beyond the rows may be written. NaN fails every comparison of the caller.
        if (std::any_of(begin + n_rows, begin + stride, [](float y) { return y != kUntouched; })) {
            output.back() = NAN;
        }
    }
    return output;
}

}  // namespace

std::vector<float> multiply(const Kernels::Matmul& matmul, const std::vector<uint8_t>& weights,
                            int64_t n_rows, int64_t n_in, const std::vector<uint8_t>& activations,
                            int64_t n_tokens) {
    return run(matmul, matmul.function, weights, n_rows, n_in, activations,
               ingot::runtime::cpu::activation_bytes(matmul.form, n_in), n_tokens);
}

std::vector<float> multiply_tiles(const Kernels& kernels, const Kernels::Matmul& matmul, Way way,
                                  const std::vector<uint8_t>& weights, int64_t n_rows, int64_t n_in,
                                  const std::vector<uint8_t>& activations, int64_t n_tokens) {
    const auto& tiling = kernels.tiling(matmul.form, way);
    const size_t row_size = activations.size() / size_t(n_tokens);
    const size_t tile_size = tiling.bytes(n_in);
    const int64_t n_tiles = (n_tokens + tiling.n_tokens - 1) / tiling.n_tokens;
    std::vector<uint8_t> tiles(size_t(n_tiles) * tile_size);
    for (int64_t tile = 0; tile < n_tiles; ++tile) {
        const int64_t first = tile * tiling.n_tokens;
        tiling.pack(activations.data() + size_t(first) * row_size, row_size,
                    std::min(tiling.n_tokens, n_tokens - first), n_in,
                    tiles.data() + size_t(tile) * tile_size);
    }
    return run(matmul, matmul.function_of(way), weights, n_rows, n_in, tiles, tile_size, n_tokens);
}

double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        difference += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
        norm += double(b[i]) * b[i];
    }
    return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

}  // namespace kernel_tests
