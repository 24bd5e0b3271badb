#pragma once
// Tiles of floats, which tensor cores don't have.
#include "tiles.h"

namespace ingot {
namespace runtime {
namespace gpu {

enum : int {
    kFloatStride = kStepFloats + 1,    // from row to row
    kFloatRows = 16,                   // threads along the rows of a tile …
    kFloatTokens = kTileThreads / 16,  // … and along its tokens
};

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

#define TILE_OF_FLOATS(name, layout, Size, n_groups)                                                \
    BOUNDED_GROUP_KERNEL(name##_##layout, TileArguments, FloatsShared<Size::kTokens>, kTileThreads, \
                         n_groups) {                                                                \
        const FloatsMemory tile = {shared.weights + 0, shared.x + 0};                               \
        FloatsTile<layout, Size>::compute(a, me, tile);                                             \
    }
TILE_OF_FLOATS(tile, F32, TileSize<1>, 4)
TILE_OF_FLOATS(wide, F32, TileSize<4>, 3)
#undef TILE_OF_FLOATS

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot
