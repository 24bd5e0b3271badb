#pragma once
// Tiles of numbers of 16 bits, by activations in two parts of 16 bits each.
#include "tiles.h"

namespace ingot {
namespace runtime {
namespace gpu {

template <int n_tokens>
struct HalvesShared {
    GROUP_ARRAY(uint32_t, weights, int(kTileRows) * int(kStepWords));  // (row, element)
    GROUP_ARRAY(uint32_t, high, (n_tokens * kStepWords));              // (token, element)
    GROUP_ARRAY(uint32_t, low, (n_tokens * kStepWords));               // likewise
};
struct HalvesMemory {
    GROUP(uint32_t) weights;
    GROUP(uint32_t) high;
    GROUP(uint32_t) low;
};

/// Half of a row's weights of a step, two chunks of eight numbers of 16 bits each.
struct SixteenNumbers {
    uint4 of[2];
};
template <typename Layout>
struct NumbersOf {
    FUNCTION static SixteenNumbers fetch(ARGUMENTS(TileArguments) a, GLOBAL(const uint8_t) row, int first,
                                         int half) {
        SixteenNumbers numbers;
        for (int i = 0; i < 2; ++i) {
            const int element = first + 8 * chunk(half, i);
            numbers.of[i] = uint4{0, 0, 0, 0};
            if (element < a.n) numbers.of[i] = load_once<uint4>(row + 2 * int64_t(element));
        }
        return numbers;
    }
    FUNCTION static SixteenNumbers decode(LOCAL(const SixteenNumbers) numbers, int) { return numbers; }
    /// The chunk of the step that is number i of a half's, so that both halves' are neighbours in memory; and
    /// where a chunk then has to lie in the group's.
    FUNCTION static int chunk(int half, int i) { return 2 * i + half; }
    FUNCTION static int place(int chunk) { return chunk % 2 * 2 + chunk / 2; }
};
/// 4-bit floats by powers of two are bfloat16s.
template <>
struct NumbersOf<MXFP4> {
    FUNCTION static int chunk(int half, int i) { return 2 * half + i; }
    FUNCTION static int place(int chunk) { return chunk; }
    FUNCTION static Raw fetch(ARGUMENTS(TileArguments) a, GLOBAL(const uint8_t) row, int first, int) {
        return MXFP4::fetch(Row{row, a.n / 32}, first / 32, 0);
    }
    FUNCTION static SixteenNumbers decode(LOCAL(const Raw) raw, int half) {
        const Unit unit = MXFP4::decode(raw, 0);
        uint32_t words[8];
        for (int i = 0; i < 8; ++i) {
            const uint32_t quants = (half == 0 ? unit.q[i / 2] : unit.q[4 + i / 2]) >> (16 * (i % 2));
            const float low = unit.scale[0] * float(int8_t(byte_of(quants, 0)));
            const float high = unit.scale[0] * float(int8_t(byte_of(quants, 1)));
            words[i] = (bits_of(low) >> 16) | (bits_of(high) & 0xffff0000u);
        }
        return {
            {uint4{words[0], words[1], words[2], words[3]}, uint4{words[4], words[5], words[6], words[7]}}};
    }
};

FUNCTION void add_product_of(LOCAL(const F16), Thread me, uint4 w, uint2 x, LOCAL(ProductSums) sums) {
    me.add_product_f16(w, x, sums);
}
template <typename Layout>
FUNCTION void add_product_of(LOCAL(const Layout), Thread me, uint4 w, uint2 x, LOCAL(ProductSums) sums) {
    me.add_product_bf16(w, x, sums);
}

template <typename Layout, typename Size>
struct HalvesTile {
    enum : int { kColumns = Size::kColumns, kTokens = Size::kTokens };
    struct Rows {
        int of[kColumns];
    };
    struct Inputs {
        uint4 high[kColumns], low[kColumns];
    };
    struct Sums {
        ProductSums of[kRowBlocks][kColumns];
    };

    /// Eight elements of each of kColumns tokens.
    FUNCTION static void fetch(ARGUMENTS(TileArguments) a, Thread me, int first, LOCAL(const Rows) x_rows,
                               LOCAL(Inputs) inputs) {
        for (int c = 0; c < kColumns; ++c) {
            const int64_t at = 2 * (int64_t(x_rows.of[c]) * a.n_padded + first + int(me.index) % 4 * 8);
            inputs.high[c] = load<uint4>(a.high + at);
            inputs.low[c] = load<uint4>(a.low + at);
        }
    }

    FUNCTION static void add(Thread me, LOCAL(const HalvesMemory) tile, int i, LOCAL(Sums) sums) {
        const int first = 8 * kColumns * int(me.warp());  // token
        const int x_word = lane_word(me, 2 * i), x_next = lane_word(me, 2 * i + 1);
        const int word = lane_word(me, NumbersOf<Layout>::place(2 * i));
        const int next = lane_word(me, NumbersOf<Layout>::place(2 * i + 1));
        uint2 high[kColumns], low[kColumns];
        for (int c = 0; c < kColumns; ++c) {
            const int rows = (first + 8 * c) * kStepWords;
            high[c] = uint2{tile.high[rows + x_word], tile.high[rows + x_next]};
            low[c] = uint2{tile.low[rows + x_word], tile.low[rows + x_next]};
        }
        for (int m = 0; m < kRowBlocks; ++m) {
            const int rows = 16 * m * kStepWords, below = rows + 8 * kStepWords;
            const uint4 w = {tile.weights[rows + word], tile.weights[below + word], tile.weights[rows + next],
                             tile.weights[below + next]};
            for (int c = 0; c < kColumns; ++c) {
                add_product_of(Layout{}, me, w, high[c], sums.of[m][c]);
                add_product_of(Layout{}, me, w, low[c], sums.of[m][c]);
            }
        }
    }

    FUNCTION static void compute(ARGUMENTS(TileArguments) a, Thread me, LOCAL(const HalvesMemory) tile) {
        TilePlace place;
        if (!find_tile<Size>(a, me, place)) return;
        const int row = int(me.index) / 2, half = int(me.index) % 2;
        GLOBAL(const uint8_t) weights = tile_weights(a, place, row);
        Rows x_rows;
        for (int c = 0; c < kColumns; ++c)
            x_rows.of[c] = tile_x_row(a, place, int(me.index) / 4 + kTokens / kColumns * c);
        Sums sums;
        for (int m = 0; m < kRowBlocks; ++m) {
            for (int c = 0; c < kColumns; ++c) {
                for (int j = 0; j < 4; ++j) sums.of[m][c].of[j] = 0.0f;
            }
        }
        Inputs inputs;
        auto numbers = NumbersOf<Layout>::fetch(a, weights, 0, half);
        fetch(a, me, 0, x_rows, inputs);
        for (int first = 0; first < a.n; first += kStepFloats) {
            const SixteenNumbers decoded = NumbersOf<Layout>::decode(numbers, half);
            for (int i = 0; i < 2; ++i) {
                const int chunk = NumbersOf<Layout>::place(NumbersOf<Layout>::chunk(half, i));
                store_four(tile.weights + step_word(row, chunk), decoded.of[i]);
            }
            for (int c = 0; c < kColumns; ++c) {
                const int token = int(me.index) / 4 + kTokens / kColumns * c;
                store_four(tile.high + step_word(token, int(me.index) % 4), inputs.high[c]);
                store_four(tile.low + step_word(token, int(me.index) % 4), inputs.low[c]);
            }
            me.barrier();
            if (first + kStepFloats < a.n) {
                numbers = NumbersOf<Layout>::fetch(a, weights, first + kStepFloats, half);
                fetch(a, me, first + kStepFloats, x_rows, inputs);
            }
            for (int i = 0; i < 2; ++i) add(me, tile, i, sums);
            me.barrier();  // the step has been read
        }
        for (int c = 0; c < kColumns; ++c) {
            for (int j = 0; j < 2; ++j) {
                const int i = 8 * (kColumns * int(me.warp()) + c) + 2 * int(me.lane() % 4) + j;
                const int token = tile_token(a, place, i);
                const float scale = token >= 0 ? float(a.scales[token / a.n_slots]) : 0.0f;
                for (int m = 0; m < kRowBlocks; ++m) {
                    const int r = 16 * m + int(me.lane() / 4);
                    write_tile(a, place, r, token, scale * sums.of[m][c].of[j]);
                    write_tile(a, place, r + 8, token, scale * sums.of[m][c].of[2 + j]);
                }
            }
        }
    }
};

/// The first of the two elements that lie at a pair's place. By a bit: of 128 elements, the 64 of the runs
/// that have it zero (or one) become four times 16, as the four lanes of a product of warpgroups have them:
/// elements 4j and 4j + 1 of run 0, of run 1 … 3, then elements 4j + 2 and 4j + 3.
FUNCTION int place_in_row(int order, int pair) {
    if (order < 0) return 2 * pair;
    const int run = pair % 4, half = pair / 4 % 2, j = pair / 8 % 4, bit = pair / 32 % 2;
    const int of_eight = ((run >> order) << (order + 1)) | (bit << order) | (run & ((1 << order) - 1));
    return pair / 64 * 128 + 16 * of_eight + 4 * j + 2 * half;
}

struct SplitShared {
    GROUP_ARRAY(float, largest, kMaxThreads / 32);  // of each warp
};

/// A group splits a row into two numbers of 16 bits each: what is nearest to an element, and the rest. Halves
/// are first brought below 2^15 by a power of two: none of them is too large, and what is too small for them
/// is so by 2^-39 of the largest.
GROUP_KERNEL(split_rows, SplitArguments, SplitShared) {
    const int64_t row = int64_t(me.x) * a.n;
    float scale = 1.0f;
    if (a.is_f16 != 0) {
        float largest = 0.0f;
        for (int i = int(me.index); i < a.n; i += int(me.n_threads))
            largest = fmax(largest, fabs(a.x[row + i]));
        largest = me.lane_max(largest);
        if (me.lane() == 0) shared.largest[me.warp()] = largest;
        me.barrier();
        for (int w = 0; w < int(me.n_warps()); ++w) largest = fmax(largest, float(shared.largest[w]));
        const int exponent = min(max(int((bits_of(largest) >> 23) & 0xffu) - 127 - 14, -100), 100);
        scale = float_of(uint32_t(127 + exponent) << 23);
    }
    if (me.index == 0) a.scales[me.x] = scale;
    for (int pair = int(me.index); pair < a.n_padded / 2; pair += int(me.n_threads)) {
        uint32_t high = 0, low = 0;
        for (int j = 0; j < 2; ++j) {
            const int i = place_in_row(a.order, pair) + j;
            const float x = i < a.n ? a.x[row + i] / scale : 0.0f;  // exact: a power of two
            const uint32_t part = a.is_f16 != 0 ? float_to_half(x) : float_to_bf16(x);
            const float rest = x - (a.is_f16 != 0 ? half_to_float(uint16_t(part)) : float_of(part << 16));
            high |= part << (16 * j);
            low |= uint32_t(a.is_f16 != 0 ? float_to_half(rest) : float_to_bf16(rest)) << (16 * j);
        }
        const int64_t at = 2 * int64_t(me.x) * a.n_padded + 4 * pair;
        store<uint32_t>(a.high + at, high);
        if (a.low) store<uint32_t>(a.low + at, low);
    }
}

#define TILE_OF_HALVES(name, layout, Size, n_groups)                                                \
    BOUNDED_GROUP_KERNEL(name##_##layout, TileArguments, HalvesShared<Size::kTokens>, kTileThreads, \
                         n_groups) {                                                                \
        const HalvesMemory tile = {shared.weights + 0, shared.high + 0, shared.low + 0};            \
        HalvesTile<layout, Size>::compute(a, me, tile);                                             \
    }
#define TILES_OF_HALVES(layout) \
    TILE_OF_HALVES(tile, layout, TileSize<1>, 4) TILE_OF_HALVES(wide, layout, TileSize<4>, 3)
TILES_OF_HALVES(F16)
TILES_OF_HALVES(BF16)
TILES_OF_HALVES(MXFP4)
#undef TILE_OF_HALVES
#undef TILES_OF_HALVES

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot
