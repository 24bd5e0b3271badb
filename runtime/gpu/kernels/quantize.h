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

/// Elements i … i + 3 of a row of n, zeros behind its end. Wide rows begin at multiples of 16 bytes, and n is
/// one of 4.
struct Four {
    float x[4];
};
FUNCTION Four take_four(GLOBAL(const float) row, int i, int n, int is_wide) {
    Four four;
    if (is_wide != 0 && i < n) {
        const uint4 words = load<uint4>(row + i);
        four.x[0] = float_of(words.x);
        four.x[1] = float_of(words.y);
        four.x[2] = float_of(words.z);
        four.x[3] = float_of(words.w);
    } else {
        for (int j = 0; j < 4; ++j) four.x[j] = i + j < n ? float(row[i + j]) : 0.0f;
    }
    return four;
}
FUNCTION void put_four(GLOBAL(float) row, int i, int n, int is_wide, Four four) {
    if (is_wide != 0 && i < n) {
        store<uint4>(row + i,
                     uint4{bits_of(four.x[0]), bits_of(four.x[1]), bits_of(four.x[2]), bits_of(four.x[3])});
    } else {
        for (int j = 0; j < 4; ++j) {
            if (i + j < n) row[i + j] = four.x[j];
        }
    }
}

/// Those of a row from `first` on.
FUNCTION Eight take_eight(Thread me, GLOBAL(const float) row, int first, int n, int is_wide) {
    Eight eight;
    for (int half = 0; half < 2; ++half) {
        const Four four = take_four(row, first + 8 * int(me.lane()) + 4 * half, n, is_wide);
        for (int j = 0; j < 4; ++j) eight.x[4 * half + j] = four.x[j];
    }
    return eight;
}
FUNCTION void put_eight(Thread me, GLOBAL(float) row, int first, int n, int is_wide, Eight eight) {
    for (int half = 0; half < 2; ++half) {
        const Four four = {
            {eight.x[4 * half], eight.x[4 * half + 1], eight.x[4 * half + 2], eight.x[4 * half + 3]}};
        put_four(row, first + 8 * int(me.lane()) + 4 * half, n, is_wide, four);
    }
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
    store<uint2>(to.quants + row + i, uint2{words[0], words[1]});
    if (i % 16 == 0) to.sums[(row + i) / 16] = float(pair_sum);
    if (i % 32 == 0) to.scales[(row + i) / 32] = zero ? 0.0f : largest / 127.0f;
}

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot
