#pragma once
// Products for many tokens, as of a prompt: a group computes a tile of 64 rows of weights by 64 tokens. A
// step decodes a piece of the tile's weights once, into the group's memory, for all of its tokens.
#include "arguments.h"
#include "layouts.h"
#include "matmul.h"

namespace ingot {
namespace runtime {
namespace gpu {

enum : int {
    kTileUnits = 4,                    // of each row in a step
    kTileStride = 8 * kTileUnits + 4,  // words from row to row: eight rows' words are in 32 banks
    kTileWords = int(kTile) * kTileStride,
    kTileFactors = int(kTile) * 2 * kTileUnits,  // of runs: scales and so on
    kTileColumns = kTile / 2 / 8,                // products of 8 tokens that a warp has side by side
    kFloatStep = 32,                             // elements of each row in a step …
    kFloatStride = kFloatStep + 1,               // … and from row to row
    kFloatTile = int(kTile) * kFloatStride,
    kFloatThreads = 16,                  // threads along each side of a tile, which have 4 rows and 4 tokens
    kFloatEach = kTile / kFloatThreads,  // of a thread
};
static_assert(int(kTile) * int(kTileUnits) == int(kTileThreads), "a thread takes a unit of weights");
static_assert(kFloatThreads * kFloatThreads == int(kTileThreads), "a thread has a square of the tile");

// ── Blocks by activations in 8 bits: exact integer products of runs of 16, scaled and added as floats ────

struct TileShared {
    GROUP_ARRAY(uint32_t, weights, kTileWords);  // (row, unit, 8 words)
    GROUP_ARRAY(uint32_t, x, kTileWords);        // (token, unit, 8 words)
    GROUP_ARRAY(float, scales, kTileFactors);    // (unit, run, row)
    GROUP_ARRAY(float, mins, kTileFactors);      // likewise
    GROUP_ARRAY(float, x_scales, kTileFactors);  // (unit, run, token)
    GROUP_ARRAY(float, x_sums, kTileFactors);    // likewise
};

struct TileMemory {
    GROUP(uint32_t) weights;
    GROUP(uint32_t) x;
    GROUP(float) scales;
    GROUP(float) mins;
    GROUP(float) x_scales;
    GROUP(float) x_sums;
};

/// Units first … of the tile's rows, zeros behind the matrix's end.
template <typename Layout>
FUNCTION void take_tile_weights(ARGUMENTS(MatmulArguments) a, Thread me, int first, GROUP(uint32_t) words,
                                GROUP(float) scales, GROUP(float) mins) {
    const int row = int(me.index) / kTileUnits, u = int(me.index) % kTileUnits;
    const int64_t matrix_row = int64_t(me.x) * kTile + row;
    Unit unit;
    for (int i = 0; i < 8; ++i) unit.q[i] = 0;
    set_scales(0.0f, 0.0f, unit);
    if (matrix_row < a.n_out && first + u < a.n / 32) {
        const Row bytes = {a.weights + matrix_row * a.row_bytes, a.n / Layout::kElements};
        unit = Layout::take(bytes, (first + u) / Layout::kUnits, (first + u) % Layout::kUnits);
    }
    for (int i = 0; i < 8; ++i) words[row * kTileStride + 8 * u + i] = unit.q[i];
    for (int r = 0; r < 2; ++r) {
        scales[(2 * u + r) * kTile + row] = unit.scale[r];
        mins[(2 * u + r) * kTile + row] = unit.min[r];
    }
}

/// The same of the tile's tokens.
template <typename Layout>
FUNCTION void take_tile_tokens(ARGUMENTS(MatmulArguments) a, Thread me, int first, GROUP(uint32_t) words,
                               GROUP(float) scales, GROUP(float) sums) {
    for (int i = int(me.index); i < kTileFactors; i += kTileThreads) {
        const int token = i / (2 * kTileUnits), u = i / 2 % kTileUnits, r = i % 2;
        const int64_t x_row = int64_t(me.y) * kTile + token;
        const int unit = first + u;
        uint4 quants = {0, 0, 0, 0};
        float scale = 0.0f, sum = 0.0f;
        if (x_row < a.n_tokens && unit < a.n / 32) {
            const int element =
                unit / Layout::kUnits * Layout::kElements + Layout::run(unit % Layout::kUnits, r);
            const int64_t at = x_row * a.n + element;
            quants = load<uint4>(a.quants + at);
            scale = a.scales[at / 32];
            if (Layout::kHasMin) sum = a.sums[at / 16];
        }
        for (int w = 0; w < 4; ++w) words[token * kTileStride + 8 * u + 4 * r + w] = word_of(quants, w);
        scales[(2 * u + r) * kTile + token] = scale;
        sums[(2 * u + r) * kTile + token] = sum;
    }
}

/// A run of 16 of the tile's rows by its tokens: a warp has 16 rows and 32 tokens. sums.of[c][i] is element i
/// of the product (see Thread::product()) by tokens 8c … 8c + 7 of these; `row` is the lane's first.
struct TileSums {
    float of[kTileColumns][4];
};
template <typename Layout>
FUNCTION void add_run(Thread me, LOCAL(const TileMemory) tile, int run, int row, int warp_token,
                      LOCAL(TileSums) sums) {
    const int word = 4 * run + int(me.lane() % 4), factor = run * kTile;
    const uint32_t w0 = tile.weights[row * kTileStride + word];
    const uint32_t w1 = tile.weights[(row + 8) * kTileStride + word];
    const float scale0 = tile.scales[factor + row], scale1 = tile.scales[factor + row + 8];
    const float min0 = tile.mins[factor + row], min1 = tile.mins[factor + row + 8];
    for (int c = 0; c < kTileColumns; ++c) {
        const int eight = warp_token + 8 * c;
        const uint32_t x = tile.x[(eight + int(me.lane() / 4)) * kTileStride + word];
        const Product dot = me.product(w0, w1, x);
        for (int i = 0; i < 4; ++i) {
            const int token = factor + eight + 2 * int(me.lane() % 4) + i % 2;
            float part = (i < 2 ? scale0 : scale1) * float(dot.of[i]);
            if (Layout::kHasMin) part -= (i < 2 ? min0 : min1) * tile.x_sums[token];
            sums.of[c][i] = fma(float(tile.x_scales[token]), part, sums.of[c][i]);
        }
    }
}

template <typename Layout>
FUNCTION void tile_of_blocks(ARGUMENTS(MatmulArguments) a, Thread me, LOCAL(const TileMemory) tile) {
    TileSums sums;
    for (int c = 0; c < kTileColumns; ++c) {
        for (int i = 0; i < 4; ++i) sums.of[c][i] = 0.0f;
    }
    const int row = 16 * int(me.warp() % 4) + int(me.lane() / 4);
    const int warp_token = kTile / 2 * int(me.warp() / 4);
    for (int first = 0; first < a.n / 32; first += kTileUnits) {
        me.barrier();  // the step before has been read
        take_tile_weights<Layout>(a, me, first, tile.weights, tile.scales, tile.mins);
        take_tile_tokens<Layout>(a, me, first, tile.x, tile.x_scales, tile.x_sums);
        me.barrier();
        for (int run = 0; run < 2 * kTileUnits; ++run) add_run<Layout>(me, tile, run, row, warp_token, sums);
    }
    for (int c = 0; c < kTileColumns; ++c) {
        for (int i = 0; i < 4; ++i) {
            const int64_t out = int64_t(me.x) * kTile + row + 8 * (i / 2);
            const int64_t token = int64_t(me.y) * kTile + warp_token + 8 * c + 2 * int(me.lane() % 4) + i % 2;
            if (out < a.n_out && token < a.n_tokens)
                a.y[token * a.n_out + out] = a.bias ? sums.of[c][i] + a.bias[out] : sums.of[c][i];
        }
    }
}

#define TILE_OF_BLOCKS(layout)                                                    \
    GROUP_KERNEL(tile_##layout, MatmulArguments, TileShared) {                    \
        const TileMemory tile = {shared.weights, shared.x,        shared.scales,  \
                                 shared.mins,    shared.x_scales, shared.x_sums}; \
        tile_of_blocks<layout>(a, me, tile);                                      \
    }

// ── Numbers, and blocks that want floats ────────────────────────────────────────────────────────────────

struct FloatTileShared {
    GROUP_ARRAY(float, weights, kFloatTile);  // (row, element)
    GROUP_ARRAY(float, x, kFloatTile);        // (token, element)
};

/// Elements first … of the tile's rows, of a layout of numbers. Those of blocks: a step is a unit, whose runs
/// are neighbours.
struct Numbers {
    template <typename Layout>
    FUNCTION static void take(ARGUMENTS(MatmulArguments) a, Thread me, int first, GROUP(float) weights) {
        for (int i = int(me.index); i < int(kTile) * kFloatStep; i += kTileThreads) {
            const int row = i / kFloatStep, element = first + i % kFloatStep;
            const int64_t matrix_row = int64_t(me.x) * kTile + row;
            const bool inside = matrix_row < a.n_out && element < a.n;
            weights[row * kFloatStride + i % kFloatStep] =
                inside ? number_at<Layout>(a.weights + matrix_row * a.row_bytes, element) : 0.0f;
        }
    }
};
struct Blocks {
    template <typename Layout>
    FUNCTION static void take(ARGUMENTS(MatmulArguments) a, Thread me, int first, GROUP(float) weights) {
        const int row = int(me.index);
        if (row >= kTile) return;
        const int64_t matrix_row = int64_t(me.x) * kTile + row;
        Unit unit;
        for (int i = 0; i < 8; ++i) unit.q[i] = 0;
        set_scales(0.0f, 0.0f, unit);
        if (matrix_row < a.n_out) {
            const Row bytes = {a.weights + matrix_row * a.row_bytes, a.n / Layout::kElements};
            unit = Layout::take(bytes, first / 32, 0);
        }
        for (int i = 0; i < 32; ++i) weights[row * kFloatStride + i] = weight_of(unit, i / 16, i % 16);
    }
};

FUNCTION void take_float_tokens(ARGUMENTS(MatmulArguments) a, Thread me, int first, GROUP(float) x) {
    for (int i = int(me.index); i < int(kTile) * kFloatStep; i += kTileThreads) {
        const int token = i / kFloatStep, element = first + i % kFloatStep;
        const int64_t x_row = int64_t(me.y) * kTile + token;
        const bool inside = x_row < a.n_tokens && element < a.n;
        x[token * kFloatStride + i % kFloatStep] = inside ? float(a.x[x_row * a.n + element]) : 0.0f;
    }
}

/// A thread has kFloatEach rows by kFloatEach tokens, kFloatThreads apart.
template <typename Layout, typename Form>
FUNCTION void tile_of_floats(ARGUMENTS(MatmulArguments) a, Thread me, GROUP(float) weights, GROUP(float) x) {
    float sums[kFloatEach][kFloatEach];  // row, token
    for (int i = 0; i < kFloatEach; ++i) {
        for (int j = 0; j < kFloatEach; ++j) sums[i][j] = 0.0f;
    }
    const int row = int(me.index) / kFloatThreads, token = int(me.index) % kFloatThreads;
    for (int first = 0; first < a.n; first += kFloatStep) {
        me.barrier();  // the step before has been read
        Form::template take<Layout>(a, me, first, weights);
        take_float_tokens(a, me, first, x);
        me.barrier();
        for (int k = 0; k < kFloatStep; ++k) {
            float of_tokens[kFloatEach];
            for (int j = 0; j < kFloatEach; ++j)
                of_tokens[j] = x[(token + kFloatThreads * j) * kFloatStride + k];
            for (int i = 0; i < kFloatEach; ++i) {
                const float weight = weights[(row + kFloatThreads * i) * kFloatStride + k];
                for (int j = 0; j < kFloatEach; ++j) sums[i][j] = fma(weight, of_tokens[j], sums[i][j]);
            }
        }
    }
    for (int i = 0; i < kFloatEach; ++i) {
        for (int j = 0; j < kFloatEach; ++j) {
            const int64_t out = int64_t(me.x) * kTile + row + kFloatThreads * i;
            const int64_t column = int64_t(me.y) * kTile + token + kFloatThreads * j;
            if (out < a.n_out && column < a.n_tokens)
                a.y[column * a.n_out + out] = a.bias ? sums[i][j] + a.bias[out] : sums[i][j];
        }
    }
}

#define TILE_OF_FLOATS(layout, Form)                                           \
    GROUP_KERNEL(tile_##layout, MatmulArguments, FloatTileShared) {            \
        tile_of_floats<layout, Form>(a, me, shared.weights + 0, shared.x + 0); \
    }

INGOT_INTEGER_LAYOUTS(TILE_OF_BLOCKS)
TILE_OF_FLOATS(F32, Numbers)
TILE_OF_FLOATS(F16, Numbers)
TILE_OF_FLOATS(BF16, Numbers)
TILE_OF_FLOATS(MXFP4, Blocks)
#undef TILE_OF_BLOCKS
#undef TILE_OF_FLOATS

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot
