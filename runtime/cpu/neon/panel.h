#pragma once
// The panels of quantized weights, for dot products (SDOT) and for products of 2 × 8 matrices (SMMLA) alike;
// see runtime/cpu/panels.h. `Products` says which: a step is Products::kInputs inputs, of 8 rows in a panel
// and of 4 tokens in a tile; each instruction takes a vector of rows and a vector of tokens and adds to 4 of
// the 32 sums.
#include "runtime/cpu/neon/layouts_256.h"
#include "runtime/cpu/neon/layouts_32.h"
#include "runtime/cpu/panels.h"

namespace ingot::runtime::cpu::neon {
namespace {

constexpr int kPanelRows = 8;
constexpr int64_t kInt8PanelInputs = 512;  // 4 KiB of weights

/// SDOT: 4 inputs of 4 rows with 4 inputs of one token.
struct DotProducts {
    static constexpr int kInputs = 4, kRowVectors = 2, kTokenVectors = 4;
    static constexpr int row_of(int v, int lane) { return 4 * v + lane; }
    static constexpr int token_of(int v, int) { return v; }
    using Sums = int32x4_t[kRowVectors][kTokenVectors];

    INGOT_INLINE void multiply(const int8_t* weights, const int8_t* x, Sums& sums) {
        const int8x16_t tokens = vld1q_s8(x);
        for (int v = 0; v < kRowVectors; ++v) {
            const int8x16_t rows = vld1q_s8(weights + 16 * v);
            sums[v][0] = vdotq_laneq_s32(sums[v][0], rows, tokens, 0);
            sums[v][1] = vdotq_laneq_s32(sums[v][1], rows, tokens, 1);
            sums[v][2] = vdotq_laneq_s32(sums[v][2], rows, tokens, 2);
            sums[v][3] = vdotq_laneq_s32(sums[v][3], rows, tokens, 3);
        }
    }
};

#if defined(__ARM_FEATURE_MATMUL_INT8)
/// SMMLA: 8 inputs of 2 rows with 8 inputs of 2 tokens.
struct MatrixProducts {
    static constexpr int kInputs = 8, kRowVectors = 4, kTokenVectors = 2;
    static constexpr int row_of(int v, int lane) { return 2 * v + lane / 2; }
    static constexpr int token_of(int v, int lane) { return 2 * v + lane % 2; }
    using Sums = int32x4_t[kRowVectors][kTokenVectors];

    INGOT_INLINE void multiply(const int8_t* weights, const int8_t* x, Sums& sums) {
        const int8x16_t tokens[2] = {vld1q_s8(x), vld1q_s8(x + 16)};
        for (int v = 0; v < kRowVectors; ++v) {
            const int8x16_t rows = vld1q_s8(weights + 16 * v);
            for (int t = 0; t < kTokenVectors; ++t) sums[v][t] = vmmlaq_s32(sums[v][t], rows, tokens[t]);
        }
    }
};
#endif

/// Values of the rows of a panel, each in the lanes of its sums.
template <typename Products, typename Vector>
struct ByRow {
    Vector of[Products::kRowVectors];
};
template <typename Products, typename Vector, typename Value>
INGOT_INLINE void spread_rows(const Value (&rows)[kPanelRows], ByRow<Products, Vector>& to) {
    for (int v = 0; v < Products::kRowVectors; ++v) {
        for (int lane = 0; lane < 4; ++lane) to.of[v][lane] = rows[Products::row_of(v, lane)];
    }
}
/// The same of the tokens of a tile.
template <typename Products, typename Vector>
struct ByToken {
    Vector of[Products::kTokenVectors];
};
template <typename Products, typename Vector, typename Value>
INGOT_INLINE void spread_tokens(const Value (&tokens)[kTileTokens], ByToken<Products, Vector>& to) {
    for (int v = 0; v < Products::kTokenVectors; ++v) {
        for (int lane = 0; lane < 4; ++lane) to.of[v][lane] = tokens[Products::token_of(v, lane)];
    }
}

/// Sums of the outputs of a panel's rows and the tokens of a tile.
template <typename Products>
struct TileSums {
    float32x4_t of[Products::kRowVectors][Products::kTokenVectors];
};

/// step(row vector, token vector) for all sums of a tile.
template <typename Products, typename Step>
INGOT_INLINE void for_each_sum(const Step& step) {
#pragma GCC unroll 4
    for (int v = 0; v < Products::kRowVectors; ++v) {
#pragma GCC unroll 4
        for (int t = 0; t < Products::kTokenVectors; ++t) step(v, t);
    }
}

/// n_inputs of all rows of a panel, or of all tokens of a tile: [step][row or token][input].
template <typename Products, int n_inputs, int n_rows>
struct Steps {
    static constexpr int kSteps = n_inputs / Products::kInputs;
    alignas(16) int8_t of[kSteps][n_rows][Products::kInputs];

    INGOT_INLINE void pack(Steps& steps, int row, const int8_t* from) {
        for (int step = 0; step < kSteps; ++step) {
            __builtin_memcpy(steps.of[step][row], from + step * Products::kInputs, Products::kInputs);
        }
    }
};

/// sums = the products of n_inputs inputs.
template <typename Products, int n_inputs>
INGOT_INLINE void multiply_steps(const int8_t* weights, const int8_t* x, typename Products::Sums& sums) {
    for_each_sum<Products>([&](int v, int t) { sums[v][t] = vdupq_n_s32(0); });
#pragma GCC unroll 8
    for (int step = 0; step < n_inputs / Products::kInputs; ++step) {
        Products::multiply(weights + step * kPanelRows * Products::kInputs,
                           x + step * kTileTokens * Products::kInputs, sums);
    }
}

template <typename Products>
INGOT_INLINE void store_tile(const MatmulArguments& m, int64_t row, int64_t token,
                             const TileSums<Products>& sums) {
    for (int v = 0; v < Products::kRowVectors; ++v) {
        for (int t = 0; t < Products::kTokenVectors; ++t) {
            float lanes[4];
            vst1q_f32(lanes, sums.of[v][t]);
            for (int lane = 0; lane < 4; ++lane) {
                const int64_t to_row = row + Products::row_of(v, lane);
                const int64_t to_token = token + Products::token_of(t, lane);
                if (to_row >= m.n_rows || to_token >= m.n_tokens) continue;
                m.output[to_token * m.output_stride + to_row] = lanes[lane];
            }
        }
    }
}

// ── Layouts whose scales each cover 32 elements ─────────────────────────────────────────────────────────

/// One block of the rows: w = scale * q + offset.
template <typename Products>
struct PanelBlock32 {
    Steps<Products, 32, kPanelRows> quants;
    ByRow<Products, float32x4_t> scale, offset;
};

/// One block of a tile's tokens: x ≈ scale * quants, sum = scale * Σ quants.
template <typename Products>
struct TileBlock32 {
    Steps<Products, 32, kTileTokens> quants;
    ByToken<Products, float32x4_t> scale, sum;
};

template <typename Products, typename Layout>
struct Panel32 {
    using Sums = TileSums<Products>;
    static constexpr int64_t kRows = kPanelRows, kTokens = kTileTokens, kInputs = kInt8PanelInputs;
    PanelBlock32<Products> blocks[kInputs / 32];

    INGOT_INLINE void unpack(Panel32& panel, const MatmulArguments& m, int64_t row, int64_t input,
                             int64_t n) {
        const int64_t first = input / 32;
        float scales[kInputs / 32][kPanelRows], offsets[kInputs / 32][kPanelRows];
        for (int lane = 0; lane < kPanelRows; ++lane) {
            const uint8_t* const weights = lane_row(m, row + lane);
            for (int64_t b = 0; b < n / 32; b += 4) {
                const int n_blocks = n / 32 - b < 4 ? int(n / 32 - b) : 4;
                float32x4_t scale, offset;
                Layout::factors(weights, first + b, n_blocks, scale, offset);
                for (int i = 0; i < n_blocks; ++i) {
                    scales[b + i][lane] = scale[i];
                    offsets[b + i][lane] = offset[i];
                    const Quants32 quants = Layout::quants(weights, first + b + i);
                    int8_t bytes[32];
                    vst1q_s8(bytes, quants.first);
                    vst1q_s8(bytes + 16, quants.second);
                    panel.blocks[b + i].quants.pack(panel.blocks[b + i].quants, lane, bytes);
                }
            }
        }
        for (int64_t b = 0; b < n / 32; ++b) {
            spread_rows(scales[b], panel.blocks[b].scale);
            if constexpr (Layout::kHasOffset) spread_rows(offsets[b], panel.blocks[b].offset);
        }
    }
    INGOT_INLINE void multiply(const Panel32& panel, const uint8_t* tile, int64_t input, int64_t n,
                               bool is_first, Sums& result) {
        const auto* x = reinterpret_cast<const TileBlock32<Products>*>(tile) + input / 32;
        Sums sums;  // in registers
        for_each_sum<Products>(
            [&](int v, int t) { sums.of[v][t] = is_first ? vdupq_n_f32(0) : result.of[v][t]; });
        for (int64_t b = 0; b < n / 32; ++b) {
            const PanelBlock32<Products>& block = panel.blocks[b];
            typename Products::Sums dots;
            multiply_steps<Products, 32>(block.quants.of[0][0], x[b].quants.of[0][0], dots);
            for_each_sum<Products>([&](int v, int t) {
                const float32x4_t factor = vmulq_f32(block.scale.of[v], x[b].scale.of[t]);
                sums.of[v][t] = vfmaq_f32(sums.of[v][t], vcvtq_f32_s32(dots[v][t]), factor);
                if constexpr (Layout::kHasOffset) {
                    sums.of[v][t] = vfmaq_f32(sums.of[v][t], block.offset.of[v], x[b].sum.of[t]);
                }
            });
        }
        result = sums;
    }
    INGOT_INLINE void store(const MatmulArguments& m, int64_t row, int64_t token, const Sums& sums) {
        store_tile<Products>(m, row, token, sums);
    }
};

template <typename Products>
static void pack_tile_of_32(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile) {
    auto* const blocks = static_cast<TileBlock32<Products>*>(tile);
    ActivationRow32 x[kTileTokens];  // a tile that is not full repeats its last token
    for (int64_t t = 0; t < kTileTokens; ++t) {
        const size_t row = size_t(t < n_tokens ? t : n_tokens - 1);
        x[t] = activation_row_32(static_cast<const uint8_t*>(rows) + row * stride, n_in);
    }
    for (int64_t b = 0; b < n_in / 32; ++b) {
        float scales[kTileTokens], sums[kTileTokens];
        for (int t = 0; t < kTileTokens; ++t) {
            blocks[b].quants.pack(blocks[b].quants, t, x[t].quants + 32 * b);
            scales[t] = x[t].scales[b];
            sums[t] = x[t].sums[b];
        }
        spread_tokens(scales, blocks[b].scale);
        spread_tokens(sums, blocks[b].sum);
    }
}

// ── Super-blocks of 256 elements ────────────────────────────────────────────────────────────────────────

/// One super-block of the rows: w = d * scales[group] * q - dmin * minimums[group].
template <typename Products, typename Layout>
struct PanelBlock256 {
    static constexpr int kGroups = 256 / Layout::kGroup;
    static constexpr int kMinimums = Layout::kHasMin ? kGroups : 1;
    Steps<Products, 256, kPanelRows> quants;
    ByRow<Products, int32x4_t> scales[kGroups], minimums[kMinimums];
    ByRow<Products, float32x4_t> d, dmin;
};

/// One super-block of a tile's tokens: x ≈ scale * quants; the sums of 16 and of 32 quants.
template <typename Products>
struct TileBlock256 {
    Steps<Products, 256, kTileTokens> quants;
    ByToken<Products, int32x4_t> sums_16[16], sums_32[8];
    ByToken<Products, float32x4_t> scale;
};

template <typename Products, typename Layout>
struct Panel256 {
    using Sums = TileSums<Products>;
    static constexpr int64_t kRows = kPanelRows, kTokens = kTileTokens, kInputs = kInt8PanelInputs;
    using PanelBlock = PanelBlock256<Products, Layout>;
    static constexpr int kGroups = PanelBlock::kGroups;
    PanelBlock blocks[kInputs / 256];

    INGOT_INLINE void unpack(Panel256& panel, const MatmulArguments& m, int64_t row, int64_t input,
                             int64_t n) {
        using Block = typename Layout::Block;
        for (int64_t b = 0; b < n / 256; ++b) {
            PanelBlock& block = panel.blocks[b];
            int32_t scales[kGroups][kPanelRows], minimums[kGroups][kPanelRows];
            float d[kPanelRows], dmin[kPanelRows] = {};
            for (int lane = 0; lane < kPanelRows; ++lane) {
                Parts parts;
                Layout::take_apart(reinterpret_cast<const Block*>(lane_row(m, row + lane))[input / 256 + b],
                                   parts);
                int8_t bytes[256];
                for (int k = 0; k < 16; ++k) {
                    vst1q_s8(bytes + 16 * k,
                             vsubq_s8(vreinterpretq_s8_u8(parts.quants[k]), vdupq_n_s8(Layout::kZero)));
                }
                block.quants.pack(block.quants, lane, bytes);
                for (int group = 0; group < kGroups; ++group) {
                    scales[group][lane] = parts.scales[group / 8][group % 8];
                    minimums[group][lane] = parts.minimums[group / 8][group % 8];
                }
                d[lane] = parts.d;
                if constexpr (Layout::kHasMin) dmin[lane] = parts.dmin;
            }
            for (int group = 0; group < kGroups; ++group) spread_rows(scales[group], block.scales[group]);
            spread_rows(d, block.d);
            if constexpr (Layout::kHasMin) {
                for (int group = 0; group < kGroups; ++group)
                    spread_rows(minimums[group], block.minimums[group]);
                spread_rows(dmin, block.dmin);
            }
        }
    }
    INGOT_INLINE void multiply(const Panel256& panel, const uint8_t* tile, int64_t input, int64_t n,
                               bool is_first, Sums& result) {
        const auto* x = reinterpret_cast<const TileBlock256<Products>*>(tile) + input / 256;
        constexpr int kGroupSteps = Layout::kGroup / Products::kInputs;
        if (is_first) {
            for_each_sum<Products>([&](int v, int t) { result.of[v][t] = vdupq_n_f32(0); });
        }
        for (int64_t b = 0; b < n / 256; ++b) {
            const PanelBlock& block = panel.blocks[b];
            typename Products::Sums sums;  // in registers
            for_each_sum<Products>([&](int v, int t) { sums[v][t] = vdupq_n_s32(0); });
            for (int group = 0; group < kGroups; ++group) {
                typename Products::Sums dots;
                multiply_steps<Products, Layout::kGroup>(block.quants.of[group * kGroupSteps][0],
                                                         x[b].quants.of[group * kGroupSteps][0], dots);
                for_each_sum<Products>([&](int v, int t) {
                    sums[v][t] = vmlaq_s32(sums[v][t], dots[v][t], block.scales[group].of[v]);
                });
            }
            for_each_sum<Products>([&](int v, int t) {
                const float32x4_t factor = vmulq_f32(block.d.of[v], x[b].scale.of[t]);
                result.of[v][t] = vfmaq_f32(result.of[v][t], vcvtq_f32_s32(sums[v][t]), factor);
            });
            if constexpr (Layout::kHasMin) {
                const auto* const sums_of_x = Layout::kGroup == 16 ? x[b].sums_16 : x[b].sums_32;
                for_each_sum<Products>([&](int v, int t) { sums[v][t] = vdupq_n_s32(0); });
                for (int group = 0; group < kGroups; ++group) {
                    for_each_sum<Products>([&](int v, int t) {
                        sums[v][t] =
                            vmlaq_s32(sums[v][t], block.minimums[group].of[v], sums_of_x[group].of[t]);
                    });
                }
                for_each_sum<Products>([&](int v, int t) {
                    const float32x4_t factor = vmulq_f32(block.dmin.of[v], x[b].scale.of[t]);
                    result.of[v][t] = vfmsq_f32(result.of[v][t], vcvtq_f32_s32(sums[v][t]), factor);
                });
            }
        }
    }
    INGOT_INLINE void store(const MatmulArguments& m, int64_t row, int64_t token, const Sums& sums) {
        store_tile<Products>(m, row, token, sums);
    }
};

template <typename Products>
static void pack_tile_of_256(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile) {
    auto* const blocks = static_cast<TileBlock256<Products>*>(tile);
    const ActivationBlock256* x[kTileTokens];  // a tile that is not full repeats its last token
    for (int64_t t = 0; t < kTileTokens; ++t) {
        const size_t row = size_t(t < n_tokens ? t : n_tokens - 1);
        x[t] = reinterpret_cast<const ActivationBlock256*>(static_cast<const uint8_t*>(rows) + row * stride);
    }
    for (int64_t b = 0; b < n_in / 256; ++b) {
        float scales[kTileTokens];
        int32_t sums_16[16][kTileTokens], sums_32[8][kTileTokens];
        for (int t = 0; t < kTileTokens; ++t) {
            blocks[b].quants.pack(blocks[b].quants, t, x[t][b].quants);
            scales[t] = x[t][b].scale;
            for (int i = 0; i < 16; ++i) sums_16[i][t] = x[t][b].sums[i];
            for (int i = 0; i < 8; ++i) sums_32[i][t] = x[t][b].sums[2 * i] + x[t][b].sums[2 * i + 1];
        }
        for (int i = 0; i < 16; ++i) spread_tokens(sums_16[i], blocks[b].sums_16[i]);
        for (int i = 0; i < 8; ++i) spread_tokens(sums_32[i], blocks[b].sums_32[i]);
        spread_tokens(scales, blocks[b].scale);
    }
}

}  // namespace
}  // namespace ingot::runtime::cpu::neon
