#include "converters/quantize/feedback/product.h"

#include <algorithm>
#include <cstring>

#include "converters/quantize/fit/lanes.h"

namespace ingot::converters::feedback {
namespace {

using fit::Lanes, fit::WideLanes;

constexpr Index kDepth = 256;  // rows that are summed in registers before the sums go to memory
constexpr Index kMostLeft = 8, kMostRight = 32;

/// Columns [first, first + n) of some rows, next to each other, with zeros up to `width`.
INGOT_INLINE void pack(Columns source, Index first_row, Index n_rows, Index first, Index n, Index width,
                       float* packed) {
    for (Index r = 0; r < n_rows; ++r, packed += width) {
        std::memcpy(packed, source.data + (first_row + r) * source.stride + first, size_t(n) * sizeof(float));
        std::memset(packed + n, 0, size_t(width - n) * sizeof(float));
    }
}

/// A tile of kLeft × kVectors vectors stays in registers while the rows go by: the outer product of each
/// row's kLeft and kRight columns is added to it.
template <class V, int kLeft, int kVectors>
INGOT_INLINE void add_outer_products(const float* left, Index left_stride, const float* right, Index n_rows,
                                     float* tile) {
    constexpr int kLanes = int(sizeof(V) / sizeof(float)), kRight = kVectors * kLanes;
    V sums[kLeft][kVectors] = {};
    for (Index r = 0; r < n_rows; ++r, left += left_stride, right += kRight) {
        V values[kVectors];
        for (int v = 0; v < kVectors; ++v) values[v] = fit::load<V>(right + v * kLanes);
        for (int k = 0; k < kLeft; ++k)
            for (int v = 0; v < kVectors; ++v) sums[k][v] += (left[k] - V{}) * values[v];  // minus zero
    }
    for (int k = 0; k < kLeft; ++k)
        for (int v = 0; v < kVectors; ++v) fit::store(tile + k * kRight + v * kLanes, sums[k][v]);
}

template <class V, int kLeft, int kVectors>
INGOT_INLINE void add_product_in_tiles(Columns left, Columns right, Index n_rows, float* sums,
                                       Index sums_stride) {
    constexpr Index kRight = kVectors * Index(sizeof(V) / sizeof(float));
    static_assert(kLeft <= kMostLeft && kRight <= kMostRight);
    alignas(64) float left_panel[kDepth * kLeft], right_panel[kDepth * kRight], tile[kLeft * kRight];
    for (Index row = 0; row < n_rows; row += kDepth) {
        const Index depth = std::min(kDepth, n_rows - row);
        for (Index j = 0; j < right.n; j += kRight) {
            const Index width = std::min(kRight, right.n - j);
            pack(right, row, depth, j, width, kRight, right_panel);
            for (Index i = 0; i < left.n; i += kLeft) {
                const Index height = std::min<Index>(kLeft, left.n - i);
                const bool is_whole = height == kLeft;
                if (!is_whole) pack(left, row, depth, i, height, kLeft, left_panel);
                add_outer_products<V, kLeft, kVectors>(
                    is_whole ? left.data + row * left.stride + i : left_panel, is_whole ? left.stride : kLeft,
                    right_panel, depth, tile);
                for (Index k = 0; k < height; ++k)
                    for (Index c = 0; c < width; ++c)
                        sums[(i + k) * sums_stride + j + c] += tile[k * kRight + c];
            }
        }
    }
}

// Sizes of tiles: as many accumulators as the instruction set has registers for. SSE has sixteen of four
// floats, NEON twice as many.
void add_product_baseline(Columns left, Columns right, Index n_rows, float* sums, Index sums_stride) {
#if defined(__x86_64__)
    constexpr int kLeft = 4;
#else
    constexpr int kLeft = 8;
#endif
    add_product_in_tiles<Lanes, kLeft, 1>(left, right, n_rows, sums, sums_stride);
}

#if defined(__x86_64__)

[[gnu::target("avx2")]] void add_product_avx2(Columns left, Columns right, Index n_rows, float* sums,
                                              Index sums_stride) {
    add_product_in_tiles<Lanes, 4, 2>(left, right, n_rows, sums, sums_stride);
}

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]] void add_product_avx512(Columns left, Columns right,
                                                                              Index n_rows, float* sums,
                                                                              Index sums_stride) {
    add_product_in_tiles<WideLanes, 8, 2>(left, right, n_rows, sums, sums_stride);
}

#endif

}  // namespace

void add_product(Columns left, Columns right, Index n_rows, float* sums, Index sums_stride,
                 [[maybe_unused]] fit::Isa isa) {
#if defined(__x86_64__)
    if (isa == fit::Isa::Avx512) return add_product_avx512(left, right, n_rows, sums, sums_stride);
    if (isa == fit::Isa::Avx2) return add_product_avx2(left, right, n_rows, sums, sums_stride);
#endif
    add_product_baseline(left, right, n_rows, sums, sums_stride);
}

}  // namespace ingot::converters::feedback
