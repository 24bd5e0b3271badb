#pragma once
// Tiles of blocks by activations in 8 bits: exact integer products of runs, scaled and added as floats.
#include "tiles.h"

namespace ingot {
namespace runtime {
namespace gpu {

/// Runs of a step that have one scale are multiplied together.
template <typename Layout>
struct RunsOf {
    enum : int {
        kScales = int(Layout::kShared) == int(kNothing) ? kStepRuns : kStepRuns / 2,
        kOther = int(Layout::kShared) == int(kRunsOfUnit) ? 1 : 2,  // from a run to that which it shares with
    };
    /// The first run that has scale i, and the scale that run r of unit u has; both units' lie beside each
    /// other in the group's memory.
    FUNCTION static int place(int i) { return int(Layout::kShared) == int(kNothing) ? i % 2 * 2 + i / 2 : i; }
    FUNCTION static int run(int i) { return int(Layout::kShared) == int(kRunsOfUnit) ? 2 * i : i; }
    FUNCTION static int scale(int u, int r) {
        return int(Layout::kShared) == int(kRunsOfUnit) ? u
               : int(Layout::kShared) == int(kNothing)  ? 2 * u + r
                                                        : r;
    }
};

// From one scale's rows, or tokens, to the next one's: lanes that write several find them in different banks.
enum : int { kScaleStride = int(kTileRows) + 16, kMoreTokens = 8 };

template <int n_tokens>
struct TileShared {
    GROUP_ARRAY(uint32_t, weights, int(kTileRows) * int(kStepWords));       // (row, run, word)
    GROUP_ARRAY(uint32_t, x, (2 * n_tokens * kStepWords));                  // (step % 2, token, run, word)
    GROUP_ARRAY(float, scales, int(kStepRuns) * int(kScaleStride));         // (scale, row)
    GROUP_ARRAY(float, mins, int(kStepRuns) * int(kScaleStride));           // likewise
    GROUP_ARRAY(float, x_scales, (kStepUnits * (n_tokens + kMoreTokens)));  // (unit, token)
    GROUP_ARRAY(float, x_sums,
                (kStepRuns * (n_tokens + kMoreTokens)));  // (scale, token): of what meets its mins
};
struct TileMemory {
    GROUP(uint32_t) weights;
    GROUP(uint32_t) x;
    GROUP(float) scales;
    GROUP(float) mins;
    GROUP(float) x_scales;
    GROUP(float) x_sums;
};

template <typename Layout, typename Size>
struct BlockTile {
    enum : int {
        kColumns = Size::kColumns,
        kTokens = Size::kTokens,
        kTokenStride = kTokens + kMoreTokens,
        kScales = RunsOf<Layout>::kScales,
        kIsShared = int(Layout::kShared) != int(kNothing),
    };
    /// What a thread fetches of a step: a unit of weights, and what goes with a run of kColumns tokens.
    struct Step {
        Raw raw;
        float scales[kColumns];
        float sums[kColumns];
    };
    struct Sums {
        float of[kRowBlocks][kColumns][4];
    };
    struct Rows {
        int of[kColumns];
    };

    /// Units first and first + 1, and the runs that they meet, which go to the group's memory as they come.
    /// Behind the last unit, that one again, by activations of zero.
    FUNCTION static void fetch(ARGUMENTS(TileArguments) a, Thread me, int first, Row row,
                               LOCAL(const Rows) x_rows, LOCAL(const TileMemory) tile, LOCAL(Step) step) {
        const int last = a.n / 32 - 1;
        const int unit = min(first + int(me.index) % kStepUnits, last);
        step.raw = Layout::fetch(row, unit / Layout::kUnits, unit % Layout::kUnits);
        const int run = int(me.index) % kStepRuns, x_unit = min(first + run / 2, last);
        const int element =
            x_unit / Layout::kUnits * Layout::kElements + Layout::run(x_unit % Layout::kUnits, run % 2);
        for (int c = 0; c < kColumns; ++c) {
            const int64_t at = int64_t(x_rows.of[c]) * a.n;
            const int token = int(me.index) / kStepRuns + kTokens / kColumns * c;
            begin_copy(x_words(tile, first) + step_word(token, run), a.quants + (at + element));
            step.scales[c] = first + run / 2 <= last ? float(a.scales[at / 32 + x_unit]) : 0.0f;
            step.sums[c] = Layout::kHasMin ? float(a.sums[(at + element) / 16]) : 0.0f;
        }
    }
    FUNCTION static GROUP(uint32_t) x_words(LOCAL(const TileMemory) tile, int first) {
        return tile.x + first / kStepUnits % 2 * kTokens * kStepWords;
    }

    FUNCTION static void keep(Thread me, int first, LOCAL(const Step) step, LOCAL(const TileMemory) tile) {
        const int row = int(me.index) / kStepUnits, u = int(me.index) % kStepUnits;
        const Unit unit = decode_all<Layout>(step.raw, (first + u) % Layout::kUnits);
        store_four(tile.weights + step_word(row, 2 * u), uint4{unit.q[0], unit.q[1], unit.q[2], unit.q[3]});
        store_four(tile.weights + step_word(row, 2 * u + 1),
                   uint4{unit.q[4], unit.q[5], unit.q[6], unit.q[7]});
        for (int r = 0; r < 2; ++r) {
            const int scale = RunsOf<Layout>::scale(u, r);
            if (int(Layout::kShared) == int(kRunsOfUnit) ? r == 1 : scale == r && u == 1) continue;
            const int at = RunsOf<Layout>::place(scale) * kScaleStride + row;
            tile.scales[at] = unit.scale[r];
            if (Layout::kHasMin) tile.mins[at] = unit.min[r];
        }
        const int run = int(me.index) % kStepRuns;
        for (int c = 0; c < kColumns; ++c) {
            const int token = int(me.index) / kStepRuns + kTokens / kColumns * c;
            if (run % 2 == 0) tile.x_scales[run / 2 * kTokenStride + token] = step.scales[c];
            if (!Layout::kHasMin) continue;
            float sum = step.sums[c];
            if (kIsShared) sum += me.shuffle_xor(sum, RunsOf<Layout>::kOther);
            const int scale = RunsOf<Layout>::scale(run / 2, run % 2);
            if (RunsOf<Layout>::run(scale) == run) tile.x_sums[scale * kTokenStride + token] = sum;
        }
    }

    /// Runs with scale i of the tile's rows by the warp's tokens. Integers begin as the bits of 1.5 * 2^23:
    /// as floats, they are then this and the product, which is below 2^22.
    FUNCTION static void add(Thread me, LOCAL(const TileMemory) tile, GROUP(uint32_t) tile_x, int i,
                             LOCAL(Sums) sums) {
        const int lane_row = int(me.lane()) / 4, t = int(me.lane()) % 4;
        const int first = 8 * kColumns * int(me.warp());  // token
        const int word = lane_word(me, RunsOf<Layout>::run(i));
        const int other = lane_word(me, RunsOf<Layout>::run(i) + RunsOf<Layout>::kOther);
        const int unit = RunsOf<Layout>::run(i) / 2;
        uint32_t x[kColumns][2];
        float scales[kColumns][2], x_sums[kColumns][2];
        for (int c = 0; c < kColumns; ++c) {
            const int rows = (first + 8 * c) * kStepWords;
            x[c][0] = tile_x[rows + word];
            if (kIsShared) x[c][1] = tile_x[rows + other];
            for (int j = 0; j < 2; ++j) {
                const int token = first + 8 * c + 2 * t + j;
                scales[c][j] = tile.x_scales[unit * kTokenStride + token];
                if (Layout::kHasMin) x_sums[c][j] = tile.x_sums[i * kTokenStride + token];
            }
        }
        for (int m = 0; m < kRowBlocks; ++m) {
            const int row = 16 * m + lane_row;
            uint32_t w[2][2];
            float row_scales[2], mins[2];
            for (int half = 0; half < 2; ++half) {
                const int rows = (16 * m + 8 * half) * kStepWords;
                w[half][0] = tile.weights[rows + word];
                if (kIsShared) w[half][1] = tile.weights[rows + other];
                const int at = RunsOf<Layout>::place(i) * kScaleStride + row + 8 * half;
                row_scales[half] = tile.scales[at];
                if (Layout::kHasMin) mins[half] = tile.mins[at];
            }
            for (int c = 0; c < kColumns; ++c) {
                Product dot = {{0x4b400000, 0x4b400000, 0x4b400000, 0x4b400000}};
                me.add_product(w[0][0], w[1][0], x[c][0], dot);
                if (kIsShared) me.add_product(w[0][1], w[1][1], x[c][1], dot);
                for (int j = 0; j < 4; ++j) {
                    float part = row_scales[j / 2] * (float_of(uint32_t(dot.of[j])) - 12582912.0f);
                    if (Layout::kHasMin) part = fma(-mins[j / 2], x_sums[c][j % 2], part);
                    sums.of[m][c][j] = fma(scales[c][j % 2], part, sums.of[m][c][j]);
                }
            }
        }
    }

    FUNCTION static void compute(ARGUMENTS(TileArguments) a, Thread me, LOCAL(const TileMemory) tile) {
        TilePlace place;
        if (!find_tile<Size>(a, me, place)) return;
        const Row row = {tile_weights(a, place, int(me.index) / kStepUnits), a.n / Layout::kElements};
        Rows x_rows;
        for (int c = 0; c < kColumns; ++c)
            x_rows.of[c] = tile_x_row(a, place, int(me.index) / kStepRuns + kTokens / kColumns * c);
        Sums sums;
        for (int m = 0; m < kRowBlocks; ++m) {
            for (int c = 0; c < kColumns; ++c) {
                for (int j = 0; j < 4; ++j) sums.of[m][c][j] = 0.0f;
            }
        }
        Step step;
        fetch(a, me, 0, row, x_rows, tile, step);
        for (int first = 0; first < a.n / 32; first += kStepUnits) {
            keep(me, first, step, tile);
            me.end_copies();
            me.barrier();
            if (first + kStepUnits < a.n / 32) fetch(a, me, first + kStepUnits, row, x_rows, tile, step);
            for (int i = 0; i < kScales; ++i) add(me, tile, x_words(tile, first), i, sums);
            me.barrier();  // the step has been read
        }
        for (int c = 0; c < kColumns; ++c) {
            for (int j = 0; j < 2; ++j) {
                const int i = 8 * (kColumns * int(me.warp()) + c) + 2 * int(me.lane() % 4) + j;
                const int token = tile_token(a, place, i);
                for (int m = 0; m < kRowBlocks; ++m) {
                    const int r = 16 * m + int(me.lane() / 4);
                    write_tile(a, place, r, token, sums.of[m][c][j]);
                    write_tile(a, place, r + 8, token, sums.of[m][c][2 + j]);
                }
            }
        }
    }
};

#define TILE_OF_BLOCKS(name, layout, Size, n_groups)                                              \
    BOUNDED_GROUP_KERNEL(name##_##layout, TileArguments, TileShared<Size::kTokens>, kTileThreads, \
                         n_groups) {                                                              \
        const TileMemory tile = {shared.weights + 0, shared.x + 0,        shared.scales + 0,      \
                                 shared.mins + 0,    shared.x_scales + 0, shared.x_sums + 0};     \
        BlockTile<layout, Size>::compute(a, me, tile);                                            \
    }
#define TILES_OF_BLOCKS(layout) \
    TILE_OF_BLOCKS(tile, layout, TileSize<1>, 4) TILE_OF_BLOCKS(wide, layout, TileSize<4>, 3)
INGOT_INTEGER_LAYOUTS(TILES_OF_BLOCKS)
#undef TILE_OF_BLOCKS
#undef TILES_OF_BLOCKS

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot
