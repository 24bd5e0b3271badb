#pragma once
// Activations in 8 bits, made by the kernel that computes them or by one of its own.
#include "arguments.h"

namespace ingot {
namespace runtime {
namespace gpu {

/// Elements 8 * lane … of 256.
struct Eight {
    float x[8];
};

/// Those of a row (n) from `first` on, zeros behind its end; n is a multiple of 32.
template <typename Rows>
FUNCTION Eight take_eight(Thread me, Rows row, int first, int n) {
    Eight eight;
    const int i = first + 8 * int(me.lane());
    for (int j = 0; j < 8; ++j) eight.x[j] = i < n ? float(row[i + j]) : 0.0f;
    return eight;
}

/// A warp rounds the 256 elements from `first` on of the row that begins at element `row`: to nearest, ties
/// to even, as the CPU does.
FUNCTION void quantize_part(Thread me, ARGUMENTS(QuantizedRows) to, Eight eight, int64_t row, int first,
                            int n) {
    const int i = first + 8 * int(me.lane());
    float largest = 0.0f;
    for (int j = 0; j < 8; ++j) largest = fmax(largest, fabs(eight.x[j]));
    for (uint32_t mask = 1; mask < uint32_t(to.n_shared) / 8; mask *= 2)
        largest = fmax(largest, me.shuffle_xor(largest, mask));
    const bool zero = largest < 1e-30f;
    const float factor = zero ? 0.0f : 127.0f / largest;
    int sum = 0;
    uint32_t words[2];
    for (int w = 0; w < 2; ++w) {
        words[w] = 0;
        for (int j = 0; j < 4; ++j) {
            const int quant = int(rint(eight.x[4 * w + j] * factor));
            sum += quant;
            words[w] |= (uint32_t(quant) & 0xffu) << (8 * j);
        }
    }
    const int pair_sum = sum + me.shuffle_xor(sum, 1);
    if (i >= n) return;
    store<uint32_t>(to.quants + row + i, words[0]);
    store<uint32_t>(to.quants + row + i + 4, words[1]);
    if (i % 16 == 0) to.sums[(row + i) / 16] = float(pair_sum);
    if (i % 32 == 0) to.scales[(row + i) / 32] = zero ? 0.0f : largest / 127.0f;
}

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot
