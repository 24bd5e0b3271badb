#pragma once
// Products for many tokens, as of a prompt: a group of four warps computes a tile of 64 rows of weights by 32
// tokens (tile_*) or 128 (wide_*). It takes a step of the rows at a time into its memory, decoded once for
// all tokens, and fetches the bytes of the next step while it multiplies. Here is what all tiles share; the
// kernels are in tiles_blocks.h, tiles_halves.h and tiles_floats.h.
#include "arguments.h"
#include "layouts.h"
#include "matmul.h"

namespace ingot {
namespace runtime {
namespace gpu {

enum : int {
    kTileWarps = kTileThreads / 32,
    kStepWords = 16,              // of a row in a step: 64 bytes, four chunks of 16
    kStepUnits = 2,               // of 32 weights
    kStepRuns = 2 * kStepUnits,   // of 16 weights
    kRowBlocks = kTileRows / 16,  // products that a warp has below each other, and …
    kStepFloats = 32,             // elements of a row of numbers in a step
};
static_assert(int(kTileRows) * int(kStepUnits) == int(kTileThreads), "a thread decodes a unit of weights");

/// The first word of a chunk of a row. Each two rows have their chunks in an order of their own, so that
/// lanes find them in 32 banks: those of a product, which read a chunk of eight rows, and eight lanes that
/// write two rows, or chunks 0 and 2, or 1 and 3, of four rows.
FUNCTION int step_word(int row, int chunk) {
    return row * kStepWords + 4 * (chunk ^ (row / 2 % 4));
}
/// The same of a lane of a product, which has rows lane / 4, and words lane % 4, behind row 0.
FUNCTION int lane_word(Thread me, int chunk) {
    return (step_word(int(me.lane()) / 4, 0) + int(me.lane()) % 4) ^ (4 * chunk);
}

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

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot
