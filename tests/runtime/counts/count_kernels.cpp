// The products whose instructions counts.cmake counts. Under callgrind the counts of each are one dump; on
// its own the program prints, in the same order, the name of each and the number of its products (weights
// times tokens).
#include <valgrind/callgrind.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "runtime/cpu/kernels.h"

using namespace ingot;
using namespace ingot::runtime::cpu;

namespace {

constexpr TensorType kTypes[] = {TensorType::Q4_0, TensorType::Q4_K, TensorType::Q6_K, TensorType::Q8_0,
                                 TensorType::F16};
constexpr int64_t kRows = 64, kInputs = 2048;

// Any bits will do: none of these instructions is skipped because of a value.
std::vector<uint8_t> some_bytes(size_t n) {
    std::vector<uint8_t> bytes(n);
    uint32_t state = 1;
    for (uint8_t& byte : bytes) byte = uint8_t((state = state * 1664525 + 1013904223) >> 24) & 0x3f;
    return bytes;
}

void count(const char* what, const Kernels::Matmul& matmul, bool in_panels, int64_t n_tokens) {
    const Tiling& tiling = kernels().tiling(matmul.form, Way::Panels);
    const size_t row_size = activation_bytes(matmul.form, kInputs);
    const auto weights = some_bytes(size_t(kRows) * row_bytes(matmul.type, kInputs));
    std::vector<uint8_t> activations = some_bytes(size_t(n_tokens) * row_size);
    size_t stride = row_size;
    if (in_panels) {
        stride = tiling.bytes(kInputs);
        const int64_t n_tiles = (n_tokens + tiling.n_tokens - 1) / tiling.n_tokens;
        std::vector<uint8_t> tiles(size_t(n_tiles) * stride);
        for (int64_t tile = 0; tile < n_tiles; ++tile) {
            const int64_t first = tile * tiling.n_tokens;
            tiling.pack(activations.data() + size_t(first) * row_size, row_size,
                        std::min(tiling.n_tokens, n_tokens - first), kInputs,
                        tiles.data() + size_t(tile) * stride);
        }
        activations = std::move(tiles);
    }
    std::vector<float> output(size_t(kRows * n_tokens));
    const MatmulArguments arguments{.weights = weights.data(),
                                    .weight_stride = row_bytes(matmul.type, kInputs),
                                    .n_rows = kRows,
                                    .n_in = kInputs,
                                    .activations = activations.data(),
                                    .activation_stride = stride,
                                    .n_tokens = n_tokens,
                                    .output = output.data(),
                                    .output_stride = kRows};
    const MatmulFunction function = in_panels ? matmul.panels : matmul.function;
    const std::string label = std::string(what) + " " + std::string(name(matmul.type));
    std::printf("%s %lld\n", label.c_str(), static_cast<long long>(kRows * kInputs * n_tokens));
    CALLGRIND_ZERO_STATS;
    function(arguments);
    CALLGRIND_DUMP_STATS_AT(label.c_str());
}

}  // namespace

int main() {
    for (const TensorType type : kTypes) {
        const Kernels::Matmul& matmul = *find_matmul(kernels(), type);
        count("decode", matmul, false, 1);
        count("prefill", matmul, matmul.panels != nullptr, 96);
    }
}
