#pragma once
// Quants, counted from 0 and in order of elements, into the bits of each block. SPEC.md has the diagrams.
#include "converters/quantize/fit/lanes.h"
#include "format/blocks/iq4_nl.h"
#include "format/blocks/iq4_xs.h"
#include "format/blocks/mxfp4.h"
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
#include "format/blocks/tq1_0.h"
#include "format/blocks/tq2_0.h"

namespace ingot::converters::fit {

/// Low nibbles of a block of 32: elements j and j + 16 share byte j.
INGOT_INLINE void pack_nibbles(const uint8_t codes[32], uint8_t bytes[16]) {
    for (int j = 0; j < 16; ++j) bytes[j] = uint8_t((codes[j] & 0xf) | (codes[j + 16] << 4));
}

/// Bit 4 of each of 32 quants: bit b of byte k belongs to element 8k + b.
INGOT_INLINE void pack_fifth_bits(const uint8_t codes[32], uint8_t bytes[4]) {
    for (int k = 0; k < 4; ++k) {
        int bits = 0;
        for (int b = 0; b < 8; ++b) bits |= ((codes[8 * k + b] >> 4) & 1) << b;
        bytes[k] = uint8_t(bits);
    }
}

INGOT_INLINE void pack_codes(const uint8_t codes[32], BlockQ4_0& block) {
    pack_nibbles(codes, block.quants);
}
INGOT_INLINE void pack_codes(const uint8_t codes[32], BlockQ4_1& block) {
    pack_nibbles(codes, block.quants);
}
INGOT_INLINE void pack_codes(const uint8_t codes[32], BlockIQ4_NL& block) {
    pack_nibbles(codes, block.quants);
}
INGOT_INLINE void pack_codes(const uint8_t codes[32], BlockMXFP4& block) {
    pack_nibbles(codes, block.floats);
}

INGOT_INLINE void pack_codes(const uint8_t codes[32], BlockQ5_0& block) {
    pack_nibbles(codes, block.quants);
    pack_fifth_bits(codes, block.high_bits);
}

INGOT_INLINE void pack_codes(const uint8_t codes[32], BlockQ5_1& block) {
    pack_nibbles(codes, block.quants);
    pack_fifth_bits(codes, block.high_bits);
}

/// Q8_0 stores its level itself; codes count from -127.
INGOT_INLINE void pack_codes(const uint8_t codes[32], BlockQ8_0& block) {
    for (int i = 0; i < 32; ++i) block.quants[i] = int8_t(int(codes[i]) - 127);
}

/// Two bits each: elements that lie 32 apart share a byte.
INGOT_INLINE void pack_pairs_of_bits(const uint8_t codes[256], uint8_t bytes[64]) {
    for (int h = 0; h < 2; ++h)
        for (int l = 0; l < 32; ++l) {
            const uint8_t* q = codes + 128 * h + l;
            bytes[32 * h + l] = uint8_t(q[0] | q[32] << 2 | q[64] << 4 | q[96] << 6);
        }
}

INGOT_INLINE void pack_codes(const uint8_t codes[256], BlockQ2_K& block) {
    pack_pairs_of_bits(codes, block.quants);
}

INGOT_INLINE void pack_codes(const uint8_t codes[256], BlockQ3_K& block) {
    for (int h = 0; h < 2; ++h)
        for (int l = 0; l < 32; ++l) {
            const uint8_t* u = codes + 128 * h + l;
            block.quants[32 * h + l] =
                uint8_t((u[0] & 3) | (u[32] & 3) << 2 | (u[64] & 3) << 4 | (u[96] & 3) << 6);
        }
    for (int l = 0; l < 32; ++l) {
        int bits = 0;
        for (int b = 0; b < 8; ++b) bits |= (codes[32 * b + l] >> 2) << b;
        block.high_bits[l] = uint8_t(bits);
    }
}

/// Low nibbles of Q4_K and Q5_K: elements l and l + 32 of each 64 share a byte.
INGOT_INLINE void pack_chunks_of_64(const uint8_t codes[256], uint8_t bytes[128]) {
    for (int c = 0; c < 4; ++c)
        for (int l = 0; l < 32; ++l)
            bytes[32 * c + l] = uint8_t((codes[64 * c + l] & 0xf) | (codes[64 * c + 32 + l] << 4));
}

INGOT_INLINE void pack_codes(const uint8_t codes[256], BlockQ4_K& block) {
    pack_chunks_of_64(codes, block.quants);
}

INGOT_INLINE void pack_codes(const uint8_t codes[256], BlockQ5_K& block) {
    pack_chunks_of_64(codes, block.quants);
    for (int l = 0; l < 32; ++l) {
        int bits = 0;
        for (int b = 0; b < 8; ++b) bits |= (codes[32 * b + l] >> 4) << b;
        block.high_bits[l] = uint8_t(bits);
    }
}

INGOT_INLINE void pack_codes(const uint8_t codes[256], BlockQ6_K& block) {
    for (int h = 0; h < 2; ++h) {
        const uint8_t* u = codes + 128 * h;
        for (int l = 0; l < 64; ++l) block.quants[64 * h + l] = uint8_t((u[l] & 0xf) | (u[l + 64] << 4));
        for (int l = 0; l < 32; ++l)
            block.high_bits[32 * h + l] =
                uint8_t((u[l] >> 4) | (u[l + 32] >> 4) << 2 | (u[l + 64] >> 4) << 4 | (u[l + 96] >> 4) << 6);
    }
}

INGOT_INLINE void pack_codes(const uint8_t codes[256], BlockIQ4_XS& block) {
    for (int s = 0; s < 8; ++s) pack_nibbles(codes + 32 * s, block.quants + 16 * s);
}

/// `n_digits` ternary digits that lie `stride` apart, as a fraction of 256 rounded up (see tq1_0.h).
INGOT_INLINE uint8_t packed_digits(const uint8_t* digits, int stride, int n_digits) {
    int value = 0;
    for (int n = 0; n < 5; ++n) value = 3 * value + (n < n_digits ? digits[stride * n] : 0);
    return uint8_t((256 * value + 242) / 243);
}

INGOT_INLINE void pack_codes(const uint8_t codes[256], BlockTQ1_0& block) {
    for (int m = 0; m < 32; ++m) block.fives[m] = packed_digits(codes + m, 32, 5);
    for (int m = 0; m < 16; ++m) block.fives[32 + m] = packed_digits(codes + 160 + m, 16, 5);
    for (int m = 0; m < 4; ++m) block.fours[m] = packed_digits(codes + 240 + m, 4, 4);
}

INGOT_INLINE void pack_codes(const uint8_t codes[256], BlockTQ2_0& block) {
    pack_pairs_of_bits(codes, block.quants);
}

}  // namespace ingot::converters::fit
