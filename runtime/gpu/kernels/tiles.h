#pragma once
// Products for many tokens, as of a prompt: a group of four warps computes a tile of 64 rows of weights by 32
// tokens (tile_*) or 128 (wide_*). It takes a step of the rows at a time into its memory, decoded once for
// all tokens, and fetches the bytes of the next step while it multiplies.
#include "arguments.h"
#include "layouts.h"
#include "matmul.h"

namespace ingot {
namespace runtime {
namespace gpu {

enum : int {
    kTileWarps = kTileThreads / 32,
    kStepWords = 16,                   // of a row in a step: 64 bytes
    kStepStride = kStepWords + 4,      // from row to row: what the lanes of a product read is in 32 banks
    kStepUnits = 2,                    // of 32 weights
    kStepRuns = 2 * kStepUnits,        // of 16 weights
    kRowBlocks = kTileRows / 16,       // products that a warp has below each other, and …
    kStepFloats = 32,                  // elements of a row of floats in a step …
    kFloatStride = kStepFloats + 1,    // … and from row to row
    kFloatRows = 16,                   // threads along the rows of a tile of floats …
    kFloatTokens = kTileThreads / 16,  // … and along its tokens
};
static_assert(int(kTileRows) * int(kStepUnits) == int(kTileThreads), "a thread decodes a unit of weights");

/// Which tokens a group has. With experts, a tile's tokens are slots of one expert.
struct TilePlace {
    int row;             // the tile's first
    int first;           // token, or place in the list of slots
    int64_t matrix_row;  // of row 0, in the weights of all experts
};
/// False: there is nothing to do.
template <typename Size>
FUNCTION bool find_tile(ARGUMENTS(TileArguments) a, Thread me, LOCAL(TilePlace) place) {
    const int expert = a.experts ? int(a.experts[me.y]) : 0;
    place.row = int(me.x) * kTileRows;
    place.first = int(me.y) * Size::kTokens;
    place.matrix_row = int64_t(expert) * a.n_out;
    return expert >= 0;
}
/// The row of y that token i of the tile has, or -1.
FUNCTION int tile_token(ARGUMENTS(TileArguments) a, LOCAL(const TilePlace) place, int i) {
    const int at = place.first + i;
    if (a.slots) return a.slots[at];
    return at < a.n_tokens ? at : -1;
}
/// The row of x that it has; any, where there is no such token.
FUNCTION int tile_x_row(ARGUMENTS(TileArguments) a, LOCAL(const TilePlace) place, int i) {
    return max(tile_token(a, place, i), 0) / a.n_slots;
}
/// Row i of the tile's weights; the last one, where there is no such row.
FUNCTION GLOBAL(const uint8_t) tile_weights(ARGUMENTS(TileArguments) a, LOCAL(const TilePlace) place, int i) {
    return a.weights + (place.matrix_row + min(place.row + i, a.n_out - 1)) * a.row_bytes;
}
FUNCTION void write_tile(ARGUMENTS(TileArguments) a, LOCAL(const TilePlace) place, int row, int token,
                         float sum) {
    const int out = place.row + row;
    if (out >= a.n_out || token < 0) return;
    a.y[int64_t(token) * a.n_out + out] = a.bias ? sum + a.bias[place.matrix_row + out] : sum;
}

/// Tokens of a tile: each warp has products of eight, kColumns of them beside each other.
template <int n_columns>
struct TileSize {
    enum : int { kColumns = n_columns, kTokens = 8 * n_columns * kTileWarps };
};

// ── Blocks by activations in 8 bits: exact integer products of runs, scaled and added as floats ──────────

/// Runs of a step that have one scale are multiplied together.
template <typename Layout>
struct RunsOf {
    enum : int {
        kScales = int(Layout::kShared) == int(kNothing) ? kStepRuns : kStepRuns / 2,
        kOther = int(Layout::kShared) == int(kRunsOfUnit) ? 1 : 2,  // from a run to that which it shares with
    };
    /// The first run that has scale i, and the scale that run r of unit u has.
    FUNCTION static int run(int i) { return int(Layout::kShared) == int(kRunsOfUnit) ? 2 * i : i; }
    FUNCTION static int scale(int u, int r) {
        return int(Layout::kShared) == int(kRunsOfUnit) ? u
               : int(Layout::kShared) == int(kNothing)  ? 2 * u + r
                                                        : r;
    }
};

template <int n_tokens>
struct TileShared {
    GROUP_ARRAY(uint32_t, weights, int(kTileRows) * int(kStepStride));  // (row, run, word)
    GROUP_ARRAY(uint32_t, x, (2 * n_tokens * kStepStride));             // (step % 2, token, run, word)
    GROUP_ARRAY(float, scales, int(kStepRuns) * int(kTileRows));        // (scale, row)
    GROUP_ARRAY(float, mins, int(kStepRuns) * int(kTileRows));          // likewise
    GROUP_ARRAY(float, x_scales, (kStepUnits * n_tokens));              // (unit, token)
    GROUP_ARRAY(float, x_sums, (kStepRuns * n_tokens));  // (scale, token): of what meets its mins
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
            begin_copy(x_words(tile, first) + (token * kStepStride + 4 * run), a.quants + (at + element));
            step.scales[c] = first + run / 2 <= last ? float(a.scales[at / 32 + x_unit]) : 0.0f;
            step.sums[c] = Layout::kHasMin ? float(a.sums[(at + element) / 16]) : 0.0f;
        }
    }
    FUNCTION static GROUP(uint32_t) x_words(LOCAL(const TileMemory) tile, int first) {
        return tile.x + first / kStepUnits % 2 * kTokens * kStepStride;
    }

    FUNCTION static void keep(Thread me, int first, LOCAL(const Step) step, LOCAL(const TileMemory) tile) {
        const int row = int(me.index) / kStepUnits, u = int(me.index) % kStepUnits;
        const Unit unit = Layout::decode(step.raw, (first + u) % Layout::kUnits);
        GROUP(uint32_t) words = tile.weights + (row * kStepStride + 8 * u);
        store_four(words, uint4{unit.q[0], unit.q[1], unit.q[2], unit.q[3]});
        store_four(words + 4, uint4{unit.q[4], unit.q[5], unit.q[6], unit.q[7]});
        for (int r = 0; r < 2; ++r) {
            const int scale = RunsOf<Layout>::scale(u, r);
            if (int(Layout::kShared) == int(kRunsOfUnit) ? r == 1 : scale == r && u == 1) continue;
            tile.scales[scale * kTileRows + row] = unit.scale[r];
            if (Layout::kHasMin) tile.mins[scale * kTileRows + row] = unit.min[r];
        }
        const int run = int(me.index) % kStepRuns;
        for (int c = 0; c < kColumns; ++c) {
            const int token = int(me.index) / kStepRuns + kTokens / kColumns * c;
            if (run % 2 == 0) tile.x_scales[run / 2 * kTokens + token] = step.scales[c];
            if (!Layout::kHasMin) continue;
            float sum = step.sums[c];
            if (kIsShared) sum += me.shuffle_xor(sum, RunsOf<Layout>::kOther);
            const int scale = RunsOf<Layout>::scale(run / 2, run % 2);
            if (RunsOf<Layout>::run(scale) == run) tile.x_sums[scale * kTokens + token] = sum;
        }
    }

    /// Runs with scale i of the tile's rows by the warp's tokens. Integers begin as the bits of 1.5 * 2^23:
    /// as floats, they are then this and the product, which is below 2^22.
    FUNCTION static void add(Thread me, LOCAL(const TileMemory) tile, GROUP(uint32_t) tile_x, int i,
                             LOCAL(Sums) sums) {
        const int lane_row = int(me.lane()) / 4, t = int(me.lane()) % 4;
        const int first = 8 * kColumns * int(me.warp());  // token
        const int word = 4 * RunsOf<Layout>::run(i) + t, other = word + 4 * RunsOf<Layout>::kOther;
        const int unit = RunsOf<Layout>::run(i) / 2;
        uint32_t x[kColumns][2];
        float scales[kColumns][2], x_sums[kColumns][2];
        for (int c = 0; c < kColumns; ++c) {
            const int row = (first + 8 * c + lane_row) * kStepStride;
            x[c][0] = tile_x[row + word];
            if (kIsShared) x[c][1] = tile_x[row + other];
            for (int j = 0; j < 2; ++j) {
                const int token = first + 8 * c + 2 * t + j;
                scales[c][j] = tile.x_scales[unit * kTokens + token];
                if (Layout::kHasMin) x_sums[c][j] = tile.x_sums[i * kTokens + token];
            }
        }
        for (int m = 0; m < kRowBlocks; ++m) {
            const int row = 16 * m + lane_row;
            uint32_t w[2][2];
            float row_scales[2], mins[2];
            for (int half = 0; half < 2; ++half) {
                const int at = (row + 8 * half) * kStepStride;
                w[half][0] = tile.weights[at + word];
                if (kIsShared) w[half][1] = tile.weights[at + other];
                row_scales[half] = tile.scales[i * kTileRows + row + 8 * half];
                if (Layout::kHasMin) mins[half] = tile.mins[i * kTileRows + row + 8 * half];
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

// ── Numbers of 16 bits, by activations in two parts of 16 bits each ──────────────────────────────────────

template <int n_tokens>
struct HalvesShared {
    GROUP_ARRAY(uint32_t, weights, int(kTileRows) * int(kStepStride));  // (row, element)
    GROUP_ARRAY(uint32_t, high, (n_tokens * kStepStride));              // (token, element)
    GROUP_ARRAY(uint32_t, low, (n_tokens * kStepStride));               // likewise
};
struct HalvesMemory {
    GROUP(uint32_t) weights;
    GROUP(uint32_t) high;
    GROUP(uint32_t) low;
};

/// Half of a row's weights of a step, elements first + 16 * half …, as two times eight numbers of 16 bits.
struct SixteenNumbers {
    uint4 of[2];
};
template <typename Layout>
struct NumbersOf {
    FUNCTION static SixteenNumbers fetch(ARGUMENTS(TileArguments) a, GLOBAL(const uint8_t) row, int first,
                                         int half) {
        SixteenNumbers numbers;
        for (int i = 0; i < 2; ++i) {
            const int element = first + 16 * half + 8 * i;
            numbers.of[i] = uint4{0, 0, 0, 0};
            if (element < a.n) numbers.of[i] = load_once<uint4>(row + 2 * int64_t(element));
        }
        return numbers;
    }
    FUNCTION static SixteenNumbers decode(LOCAL(const SixteenNumbers) numbers, int) { return numbers; }
};
/// 4-bit floats by powers of two are bfloat16s.
template <>
struct NumbersOf<MXFP4> {
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
        const int lane_row = int(me.lane()) / 4, word = 8 * i + int(me.lane()) % 4;
        const int first = 8 * kColumns * int(me.warp());  // token
        uint2 high[kColumns], low[kColumns];
        for (int c = 0; c < kColumns; ++c) {
            const int at = (first + 8 * c + lane_row) * kStepStride + word;
            high[c] = uint2{tile.high[at], tile.high[at + 4]};
            low[c] = uint2{tile.low[at], tile.low[at + 4]};
        }
        for (int m = 0; m < kRowBlocks; ++m) {
            const int at = (16 * m + lane_row) * kStepStride + word, below = at + 8 * kStepStride;
            const uint4 w = {tile.weights[at], tile.weights[below], tile.weights[at + 4],
                             tile.weights[below + 4]};
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
            store_four(tile.weights + (row * kStepStride + 8 * half), decoded.of[0]);
            store_four(tile.weights + (row * kStepStride + 8 * half + 4), decoded.of[1]);
            for (int c = 0; c < kColumns; ++c) {
                const int token = int(me.index) / 4 + kTokens / kColumns * c;
                store_four(tile.high + (token * kStepStride + int(me.index) % 4 * 4), inputs.high[c]);
                store_four(tile.low + (token * kStepStride + int(me.index) % 4 * 4), inputs.low[c]);
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
    for (int i = int(me.index); i < a.n_padded; i += int(me.n_threads)) {
        const float x = i < a.n ? a.x[row + i] / scale : 0.0f;  // exact: a power of two
        const uint16_t high = a.is_f16 != 0 ? float_to_half(x) : float_to_bf16(x);
        const float rest = x - (a.is_f16 != 0 ? half_to_float(high) : float_of(uint32_t(high) << 16));
        const int64_t at = 2 * (int64_t(me.x) * a.n_padded + i);
        store<uint16_t>(a.high + at, high);
        store<uint16_t>(a.low + at, a.is_f16 != 0 ? float_to_half(rest) : float_to_bf16(rest));
    }
}

// ── Floats ──────────────────────────────────────────────────────────────────────────────────────────────

template <int n_tokens>
struct FloatsShared {
    GROUP_ARRAY(float, weights, int(kTileRows) * int(kFloatStride));  // (row, element)
    GROUP_ARRAY(float, x, n_tokens* kFloatStride);                    // (token, element)
};
struct FloatsMemory {
    GROUP(float) weights;
    GROUP(float) x;
};

/// A thread has kRows rows, kFloatRows apart, by kTokensEach tokens, kFloatTokens apart.
template <typename Layout, typename Size>
struct FloatsTile {
    enum : int {
        kRows = int(kTileRows) / int(kFloatRows),
        kTokensEach = int(Size::kTokens) / int(kFloatTokens)
    };

    FUNCTION static void compute(ARGUMENTS(TileArguments) a, Thread me, LOCAL(const FloatsMemory) tile) {
        TilePlace place;
        if (!find_tile<Size>(a, me, place)) return;
        float sums[kRows][kTokensEach];
        for (int i = 0; i < kRows; ++i) {
            for (int j = 0; j < kTokensEach; ++j) sums[i][j] = 0.0f;
        }
        const int row = int(me.index) % kFloatRows, token = int(me.index) / kFloatRows;
        for (int first = 0; first < a.n; first += kStepFloats) {
            me.barrier();  // the step before has been read
            for (int i = int(me.index) / kStepFloats; i < kTileRows;
                 i += int(kTileThreads) / int(kStepFloats)) {
                const int k = int(me.index) % kStepFloats;
                tile.weights[i * kFloatStride + k] =
                    first + k < a.n ? number_at<Layout>(tile_weights(a, place, i), first + k) : 0.0f;
            }
            for (int i = int(me.index) / kStepFloats; i < Size::kTokens;
                 i += int(kTileThreads) / int(kStepFloats)) {
                const int k = int(me.index) % kStepFloats;
                tile.x[i * kFloatStride + k] =
                    first + k < a.n ? float(a.x[int64_t(tile_x_row(a, place, i)) * a.n + first + k]) : 0.0f;
            }
            me.barrier();
            for (int k = 0; k < kStepFloats; ++k) {
                float of_rows[kRows];
                for (int i = 0; i < kRows; ++i)
                    of_rows[i] = tile.weights[(row + kFloatRows * i) * kFloatStride + k];
                for (int j = 0; j < kTokensEach; ++j) {
                    const float x = tile.x[(token + kFloatTokens * j) * kFloatStride + k];
                    for (int i = 0; i < kRows; ++i) sums[i][j] = fma(of_rows[i], x, sums[i][j]);
                }
            }
        }
        for (int j = 0; j < kTokensEach; ++j) {
            const int to = tile_token(a, place, token + kFloatTokens * j);
            for (int i = 0; i < kRows; ++i) write_tile(a, place, row + kFloatRows * i, to, sums[i][j]);
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
#define TILE_OF_HALVES(name, layout, Size, n_groups)                                                \
    BOUNDED_GROUP_KERNEL(name##_##layout, TileArguments, HalvesShared<Size::kTokens>, kTileThreads, \
                         n_groups) {                                                                \
        const HalvesMemory tile = {shared.weights + 0, shared.high + 0, shared.low + 0};            \
        HalvesTile<layout, Size>::compute(a, me, tile);                                             \
    }
#define TILE_OF_FLOATS(name, layout, Size, n_groups)                                                \
    BOUNDED_GROUP_KERNEL(name##_##layout, TileArguments, FloatsShared<Size::kTokens>, kTileThreads, \
                         n_groups) {                                                                \
        const FloatsMemory tile = {shared.weights + 0, shared.x + 0};                               \
        FloatsTile<layout, Size>::compute(a, me, tile);                                             \
    }
#define TILES_OF_BLOCKS(layout) \
    TILE_OF_BLOCKS(tile, layout, TileSize<1>, 4) TILE_OF_BLOCKS(wide, layout, TileSize<4>, 3)
#define TILES_OF_HALVES(layout) \
    TILE_OF_HALVES(tile, layout, TileSize<1>, 4) TILE_OF_HALVES(wide, layout, TileSize<4>, 3)

INGOT_INTEGER_LAYOUTS(TILES_OF_BLOCKS)
TILES_OF_HALVES(F16)
TILES_OF_HALVES(BF16)
TILES_OF_HALVES(MXFP4)
TILE_OF_FLOATS(tile, F32, TileSize<1>, 4)
TILE_OF_FLOATS(wide, F32, TileSize<4>, 3)
#undef TILE_OF_BLOCKS
#undef TILE_OF_HALVES
#undef TILE_OF_FLOATS
#undef TILES_OF_BLOCKS
#undef TILES_OF_HALVES

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot
