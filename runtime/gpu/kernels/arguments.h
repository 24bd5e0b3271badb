#pragma once
// What the kernels are called with: plain structs of addresses (8 bytes each) and numbers, the same bytes on
// the host and on every device. Shapes have the contiguous dimension last; `y` is what a kernel writes.
#include "dialect.h"

namespace ingot {
namespace runtime {
namespace gpu {

enum : int {
    kMaxThreads = 256,         // of a group
    kMaxKeyDim = 1024,         // elements of a head of queries and keys
    kMaxValueDim = 512,        // … and of values
    kMaxExperts = 1024,        // of a layer
    kMatmulThreads = 128,      // of a group of matvec_* and matmul_*
    kRowsOfWarp = 2,           // of weights, that a warp of matvec_* and matmul_* computes
    kTokensAtOnce = 8,         // columns that matmul_* computes with each weight that it decodes
    kTileRows = 64,            // of weights, that a group of tile_* and wide_* computes …
    kTileTokens = 32,          // … for so many tokens …
    kWideTokens = 128,         // … or so many
    kTileThreads = 128,        // of that group
    kWarpgroupRows = 128,      // of weights, that a group of warpgroup_* and wide_warpgroup_* computes …
    kWidestTokens = 256,       // … for kWideTokens, or so many
    kWarpgroupThreads = 256,   // of that group
    kWarpgroupSpan = 128,      // elements of x whose order they change
    kAttentionWarps = 4,       // of a group
    kMostHeads = 8,            // query heads of a group of attention_*
    kQueryElements = 8 * 576,  // … and the elements of their queries, at most
    kValuesOfPart = 256,       // elements of values that such a group has
    kTileQueries = 64,         // of a group of prompt_attention_*
    kPartedThreads = 256,      // of such a group where its warps share queries …
    kPartedQueries = 32,       // … 32 of them, or of keys and values that are sums …
    kPartedSums = 16,          // … 16
    kPartedKeyDim = 640,       // elements of keys that it can have
    kLargestPart = 1024,       // numbers of which a warp finds the largest …
    kMostLargest = 256,        // … as many at most
    kDeltaThreads = 64,        // of a group
};

/// x as 8-bit integers: x[i] = scales[i / 32] * quants[i], and sums[j] = the sum of quants 16j … 16j + 15.
struct QuantizedRows {
    GLOBAL(uint8_t) quants;  // (n_rows, n) of int8_t, n a multiple of 32; null: nothing is wanted
    GLOBAL(float) scales;    // (n_rows, n / 32)
    GLOBAL(float) sums;      // (n_rows, n / 16)
    int32_t n_shared;        // elements that have one scale: 32 or 256
};
struct QuantizeArguments {
    GLOBAL(const float) x;  // (n_rows, n)
    QuantizedRows to;
    int32_t n;
    int32_t is_wide;  // rows begin at multiples of 16 bytes
};

/// y (n_tokens, n_out) = W (n_out, n) · x (n_tokens, n) + bias
struct MatmulArguments {
    GLOBAL(const uint8_t) weights;  // (n_out, n) rows in planes (layouts.h)
    GLOBAL(const float) x;          // (n_tokens, n); layouts that want floats
    GLOBAL(const uint8_t) quants;   // (n_tokens, n); others: see QuantizedRows
    GLOBAL(const float) scales;     // (n_tokens, n / 32)
    GLOBAL(const float) sums;       // (n_tokens, n / 16)
    GLOBAL(const float) bias;       // (n_out), or null
    GLOBAL(float) y;
    int64_t row_bytes;  // from row to row of the weights
    int32_t n, n_out, n_tokens;
};

/// The same for many tokens. With slots, y (…, n_out) has a row for each, n_slots of them by the same row of
/// x: the tokens of tile i are slots[i * its tokens …], -1 where there is none, by the matrix of expert
/// experts[i], or nothing where that is -1.
struct TileArguments {
    GLOBAL(const uint8_t) weights;
    GLOBAL(const float) x;
    GLOBAL(const uint8_t) quants;
    GLOBAL(const float) scales;  // of quants, or (n_tokens) of high and low
    GLOBAL(const float) sums;
    GLOBAL(const uint8_t) high;     // see SplitArguments
    GLOBAL(const uint8_t) low;      // likewise; null, where one of them is enough
    GLOBAL(const float) bias;       // (n_out), or null; with experts (n_experts, n_out)
    GLOBAL(const int32_t) slots;    // or null
    GLOBAL(const int32_t) experts;  // or null
    GLOBAL(float) y;
    int64_t row_bytes;
    int32_t n, n_padded, n_out, n_tokens, n_slots;
    float weight_factor;  // by which warpgroup_* multiply weights: a power of two, see gpu/planes.h
};

/// Of the elements of a row. A run is 16 in a row; warpgroup_* want of each 128 first the four runs whose
/// number in 0 … 7 has a certain bit zero, then the others, as split_rows says.
enum ElementOrder : int { kAsTheyAre = -1, kByBit0, kByBit1, kByBit2 };

/// x (n_rows, n) = (high + low) * scales, by rows: numbers of 16 bits, F16 or BF16; zeros behind a row's end
struct SplitArguments {
    GLOBAL(const float) x;
    GLOBAL(uint8_t) high;  // (n_rows, n_padded)
    GLOBAL(uint8_t) low;   // likewise, or null
    GLOBAL(float) scales;  // (n_rows), powers of two; 1 for BF16
    int32_t n, n_padded;
    int32_t is_f16;
    int32_t order;  // an ElementOrder
};

/// Slots sorted by expert, for TileArguments: each expert's begin with a tile.
struct SortSlotsArguments {
    GLOBAL(const int32_t) experts;  // (n_slots)
    GLOBAL(int32_t) counts;         // (n_experts): count_slots makes it, sort_slots reads it
    GLOBAL(int32_t) slots;          // (n_tiles * n_tokens), -1 where there is none
    GLOBAL(int32_t) tiles;          // (n_tiles) experts, -1 behind the last
    int32_t n_slots, n_experts, n_tiles;
    int32_t n_tokens;  // of a tile
};

/// Up to three products of one token by matrices in one layout: rows are counted through them. With experts,
/// each slot is such a token: its matrices are those of expert experts[slot], its x the row slot / n_slots.
struct MatvecArguments {
    GLOBAL(const float) x;  // and so on, as in MatmulArguments
    GLOBAL(const uint8_t) quants;
    GLOBAL(const float) scales;
    GLOBAL(const float) sums;
    GLOBAL(const int32_t) experts;  // or null
    struct Part {
        GLOBAL(const uint8_t) weights;
        GLOBAL(const float) bias;  // (n_out), or null; with experts (n_experts, n_out)
        GLOBAL(float) y;           // (slots, n_out)
        int64_t row_bytes;
        int32_t n_out;
    } parts[3];               // those that are absent have no rows
    GLOBAL(float) activated;  // (slots, n_out), if there is an activation: of part 0's y, times part 1's
    int32_t activation;       // an Activation, or -1
    int32_t n;
    int32_t n_slots;  // that share a row of x
};

/// y (n_tokens, n) = rows of the table (n_vocab, n)
struct EmbedArguments {
    GLOBAL(const uint8_t) weights;
    GLOBAL(const int32_t) tokens;
    GLOBAL(float) y;
    int64_t row_bytes;
    int32_t n;
};

/// See runtime's Norm. What is added to x before, and y in 8 bits, are left out where null.
struct NormArguments {
    GLOBAL(const float) x;
    GLOBAL(const float) added;  // (rows, n): x + added is also written to x_sum
    GLOBAL(float) x_sum;
    GLOBAL(const float) weight;  // (n_groups, n)
    GLOBAL(const float) bias;    // likewise, or null
    GLOBAL(float) y;
    QuantizedRows to;  // y's, where that is dense
    int64_t stride;    // elements from row to row of x and y
    int32_t n;
    int32_t n_groups;
    int32_t is_layer;  // else RMS
    int32_t is_wide;   // rows, of everything, begin at multiples of 16 bytes and have such many elements
    float epsilon;
};

struct ActivateArguments {
    GLOBAL(const float) gate;  // (n)
    GLOBAL(const float) up;    // (n), or null
    GLOBAL(float) y;
    int64_t n;
    int32_t activation;  // an Activation
};
/// Rows (n_rows, n) of the same, of which 8-bit integers are made at once.
struct ActivateRowsArguments {
    ActivateArguments of;
    QuantizedRows to;
    int32_t n;
    int32_t is_wide;  // rows begin at multiples of 16 bytes
};
struct MapArguments {
    GLOBAL(float) x;  // (n)
    int64_t n;
    float value;
    int32_t function;  // an Elementwise
};
struct AddArguments {
    GLOBAL(const float) x;  // (n)
    GLOBAL(float) y;
    int64_t n;
};
struct ScaleRowsArguments {
    GLOBAL(const float) x;       // (n_rows / n_repeats, n)
    GLOBAL(const float) scales;  // (n_rows)
    GLOBAL(float) y;             // (n_rows, n)
    int64_t n_all;               // n_rows * n
    int32_t n, n_repeats;
};
struct CopyRowsArguments {
    GLOBAL(const float) x;
    GLOBAL(const int32_t) rows;
    GLOBAL(float) y;  // (n_rows, n)
    int64_t n_all;    // n_rows * n
    int32_t n;
};
struct CopyColumnsArguments {
    GLOBAL(const float) x;
    GLOBAL(float) y;
    int64_t n_all;  // n_rows * n
    int64_t x_stride, x_first, y_stride, y_first;
    int32_t n;
};

/// See runtime's Rope. Queries and keys are turned by one launch, and what goes into the cache is written by
/// it, too: keys by the threads that turned them, and values.
struct RopeArguments {
    struct Part {
        GLOBAL(float) x;                   // (n_tokens, n_heads, head_dim)
        GLOBAL(uint8_t) cache;             // (n_context, n_heads, head_dim), or null
        int32_t n_heads, head_dim, first;  // rotated element of a head
        int32_t n_threads;            // of a head, one each for pairs and for elements that are only written
    } parts[2];                       // one that is absent has no heads
    GLOBAL(const float) values;       // (n_tokens, n_values)
    GLOBAL(uint8_t) value_cache;      // (n_context, n_values)
    GLOBAL(const float) frequencies;  // (n_pairs)
    GLOBAL(const int32_t) positions;  // (n_tokens)
    float magnitude;
    int32_t n_tokens, n_pairs, n_values;
    int32_t interleaved;  // pairs are neighbours, else n_pairs apart
    int32_t cache_type;   // a CacheType, not Q8_0
};

struct WriteCacheArguments {
    GLOBAL(const float) x;  // (n_tokens, n)
    GLOBAL(const int32_t) positions;
    GLOBAL(uint8_t) cache;  // (n_context, n), as the type says
    int64_t n_all;          // n_tokens * n
    int32_t n;
    int32_t type;  // a CacheType
};

/// See runtime's Backend::attention. Of the positions that a token sees a group has one of n_splits parts.
/// With one split the answer is written to y, else the unfinished one to partial.
struct AttentionArguments {
    GLOBAL(const float) q;            // (n_tokens, n_heads, key_dim)
    GLOBAL(const uint8_t) keys;       // position p's at element p * key_stride
    GLOBAL(const uint8_t) values;     // likewise
    GLOBAL(const int32_t) positions;  // (n_tokens)
    GLOBAL(const float) slopes;       // (n_heads), or null
    GLOBAL(const float) sinks;        // (n_heads), or null
    GLOBAL(float) y;                  // (n_tokens, n_heads, value_dim)
    GLOBAL(float) partial;  // (n_tokens, n_heads, n_splits, 2 + value_dim): maximum, sum, Σ weight * value
    QuantizedRows to;       // y's, by attention_* with one split, whose groups then have whole blocks of it
    int64_t key_stride, value_stride;  // elements
    int32_t n_tokens, n_heads, n_kv_heads, key_dim, value_dim;
    int32_t window, chunked;
    int32_t cache_type;  // a CacheType
    int32_t is_wide;     // heads begin at multiples of 8 elements and of 16 bytes, and are such many long;
                         // Q8_0's always do
    int32_t n_splits;
    float scale;
    float soft_cap, one_by_soft_cap;  // 0: there is none
};
struct MergeAttentionArguments {
    GLOBAL(const float) partial;
    GLOBAL(const float) sinks;
    GLOBAL(float) y;
    QuantizedRows to;  // y's
    int32_t n_heads, value_dim, n_splits;
    int32_t n_heads_of_group;
};

/// Of each part of kLargestPart numbers of a row the k largest, in the order that they have in the row.
struct LargestArguments {
    GLOBAL(const float) x;         // (n_rows, n)
    GLOBAL(const int32_t) places;  // likewise: in the row that they are from; null: in this one
    GLOBAL(float) y;               // (n_rows, n_left)
    GLOBAL(int32_t) places_in_y;   // likewise
    int32_t n, k, n_left;
    int32_t is_wide;  // rows of x begin at multiples of 16 bytes, and n is one of 4
};

/// See Backend::convolve. A thread computes one column.
struct ConvolveArguments {
    GLOBAL(const float) x;       // (n_tokens, n)
    GLOBAL(const float) weight;  // (n, n_taps)
    GLOBAL(float) state;         // (n_taps - 1, n)
    GLOBAL(float) y;             // (n_tokens, n)
    int32_t n_tokens, n, n_taps;
    int32_t fresh;
};

/// See Backend::delta_net. A thread has one column of one head's matrix.
struct DeltaNetArguments {
    GLOBAL(const float) q;      // (n_tokens, n_key_heads, key_dim)
    GLOBAL(const float) k;      // likewise
    GLOBAL(const float) v;      // (n_tokens, n_value_heads, value_dim)
    GLOBAL(const float) alpha;  // (n_tokens, n_value_heads)
    GLOBAL(const float) beta;   // likewise
    GLOBAL(const float) decay;  // (n_value_heads)
    GLOBAL(const float) alpha_bias;
    GLOBAL(float) state;  // (n_value_heads, key_dim, value_dim)
    GLOBAL(float) y;      // (n_tokens, n_value_heads, value_dim)
    int32_t n_tokens, n_key_heads, n_value_heads, key_dim, value_dim;
    int32_t tiled, fresh;
    float scale;  // of q
};

/// See runtime's RoutingRule. A warp routes one token.
struct RouteArguments {
    GLOBAL(const float) logits;          // (n_tokens, n_experts)
    GLOBAL(const float) selection_bias;  // (n_experts), or null
    GLOBAL(const float) expert_scales;   // (n_experts), or null
    GLOBAL(int32_t) experts;             // (n_tokens, n_used)
    GLOBAL(float) weights;               // (n_tokens, n_used)
    int32_t n_experts, n_used, n_groups, n_groups_used;
    int32_t gating;          // a Gating
    int32_t sum_of_largest;  // of a group, 1 or 2: its score
    int32_t normalize;
    float scale;
};
struct CombineArguments {
    GLOBAL(const float) x;        // (n_tokens * n_used, n)
    GLOBAL(const float) weights;  // (n_tokens, n_used)
    GLOBAL(float) y;              // (n_tokens, n)
    int64_t n_all;                // n_tokens * n
    int32_t n, n_used;
};

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot
