#pragma once
// The CPU's arithmetic, once per instruction set. The scalar table is the oracle: the others are tested
// against it. Everything here is plain data and function pointers, so that sources compiled with raised flags
// share nothing else with the rest.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "format/tensor_type.h"
#include "runtime/activation.h"
#include "runtime/cache_type.h"

namespace ingot::runtime::cpu {

/// In which form a weight layout wants its activations. A row of n activations in any form is opaque to all
/// but the kernels: fill it with the form's quantize_* function (the whole row at once) into
/// activation_bytes(form, n) bytes.
enum class ActivationForm : uint8_t {
    F32,   // float weights: the floats themselves
    Q8_0,  // 8-bit integers with a scale for each 32: x[i] ≈ scales[i / 32] * quants[i]; see ActivationRow32
    Q8_K,  // 8-bit integers with a scale for each 256: see ActivationBlock256
};

inline constexpr size_t kActivationForms = 3;

/// Bytes of a row of n activations (a whole number of the form's blocks).
size_t activation_bytes(ActivationForm form, int64_t n);

/// The parts of a row in form Q8_0, which lie behind each other so that the scales of 16 blocks are one load:
/// int8_t quants[n], float scales[n / 32], float sums[n / 32], where sums[b] = scales[b] * Σ quants of block
/// b.
struct ActivationRow32 {
    const int8_t* quants;
    const float* scales;
    const float* sums;
};
[[maybe_unused]] static inline ActivationRow32 activation_row_32(const void* row, int64_t n) {
    const auto* quants = static_cast<const int8_t*>(row);
    const auto* scales = reinterpret_cast<const float*>(quants + n);
    return {quants, scales, scales + n / 32};
}

/// 256 activations as 8-bit integers with one scale, and the sums of each 16 of them. A row is an array of
/// these.
struct ActivationBlock256 {
    float scale;
    int8_t quants[256];
    int16_t sums[16];
};
static_assert(sizeof(ActivationBlock256) == 292);

/// Memory is read fastest in a few streams at once, far apart: as many of its pages are busy (measured: four
/// read almost twice as fast as one).
inline constexpr int kStreams = 4;

/// y (n_tokens, n_rows of it) = W (n_rows, n_in) · x (n_tokens, n_in), for rows that one thread owns.
struct MatmulArguments {
    const void* weights;   // first of the rows, in the file's layout
    size_t weight_stride;  // bytes from row to row
    int64_t n_rows;
    /// With one token: 0, or the rows are these of each of kStreams streams, which lie so many rows apart.
    int64_t spacing = 0;
    int64_t n_in;              // a whole number of the layout's blocks
    const void* activations;   // (n_tokens, n_in) rows in the layout's ActivationForm
    size_t activation_stride;  // bytes from token to token
    int64_t n_tokens;
    float* output;          // element (token, row) is output[token * output_stride + row]
    int64_t output_stride;  // floats
};
using MatmulFunction = void (*)(const MatmulArguments&);

/// How a product is computed, which depends on the tokens that there are.
enum class Way : uint8_t {
    Rows,    // each row with each token
    Panels,  // panels of rows with tiles of tokens; the same integers as by rows
    Matrix,  // by the processor's own matrix registers, with numbers of another precision
};
inline constexpr size_t kWays = 3;

/// For products with many tokens a table may want activations in tiles: `n_tokens` rows, interleaved. The
/// `activations` of MatmulArguments are then tiles, and `activation_stride` the bytes from tile to tile.
struct Tiling {
    int64_t n_tokens = 0;                     // of a tile; 0: the table has no such products
    int64_t least_tokens = 0;                 // from this many tokens on tiles are worth while
    size_t (*bytes)(int64_t n_in) = nullptr;  // of a tile
    /// Packs a tile from n ≤ n_tokens rows, which lie `stride` bytes apart.
    void (*pack)(const void* rows, size_t stride, int64_t n, int64_t n_in, void* tile) = nullptr;
};

/// Attention of one token over one KV head, for the query heads that share it (grouped queries).
struct AttentionArguments {
    const float* queries;  // (n_queries, key_dim), already rotated
    int64_t n_queries;
    const void* keys;    // F16, or floats if float_cache: position p's begin at element p * key_stride
    const void* values;  // likewise, at p * value_stride
    bool float_cache;
    int64_t key_stride, value_stride;  // elements
    int64_t n_positions;               // positions seen: 0 … n_positions-1, the last is the token's own
    int64_t key_dim, value_dim;
    float scale;          // usually 1/sqrt(key_dim)
    float soft_cap;       // 0: none; else scores become soft_cap * tanh(score / soft_cap)
    const float* slopes;  // null, or (n_queries): slope * (distance to the last position) is taken away
    const float* sinks;   // null, or (n_queries): the score of one more position, whose values are zero
    float* scores;        // scratch (n_queries, n_positions)
    float* output;        // (n_queries, value_dim)
    // Null, or (n_queries): the logarithm of the sum of exp(score), the sink's too.
    float* log_sums = nullptr;
};

/// Attention of a block of tokens over one KV head, for the query heads that share it. A row is a token's
/// query of one head: n_tokens * n_heads of them.
struct AttentionBlockArguments {
    const float* queries;  // token t's of head h at t * query_stride + h * key_dim, already rotated
    int64_t query_stride;  // floats
    int64_t n_tokens, n_heads;
    const int64_t *begins, *ends;  // (n_tokens): token t sees positions begins[t] … ends[t]-1, its own last
    const void *keys, *values;     // of position 0, as in AttentionArguments, in any type
    CacheType cache;
    int64_t key_stride, value_stride;  // elements
    int64_t key_dim, value_dim;
    float scale;
    float soft_cap;         // 0: none
    const float* slopes;    // null, or (n_heads)
    const float* sinks;     // null, or (n_heads)
    float* scratch;         // as many floats as scratch_floats() says
    float* output;          // token t's of head h at t * output_stride + h * value_dim
    int64_t output_stride;  // floats
};

/// How a table computes attention of blocks.
struct AttentionBlockKernel {
    void (*function)(const AttentionBlockArguments&) = nullptr;  // null: not at all
    size_t (*scratch_floats)(int64_t n_rows, int64_t key_dim, int64_t value_dim) = nullptr;
    int64_t n_rows = 96;     // of a block at best: their queries and outputs fit into the caches
    int64_t least_rows = 0;  // in all
};

struct Kernels {
    std::string_view name;  // "scalar", "avx2", "avxvnni", "avx512", "amx", "neon", "i8mm"
    bool (*supported)();    // by this processor and operating system

    struct Matmul {
        TensorType type;
        ActivationForm form;
        MatmulFunction function;
        MatmulFunction panels = nullptr;  // with activations in tiles, or none
        MatmulFunction matrix = nullptr;  // with activations in matrix tiles, or none
        MatmulFunction function_of(Way way) const {
            return way == Way::Matrix ? matrix : way == Way::Panels ? panels : function;
        }
    };
    std::span<const Matmul> matmuls;  // one per layout that this table has

    Tiling tiles[kActivationForms] = {};         // by form, from rows in that form
    Tiling matrix_tiles[kActivationForms] = {};  // by form, from rows of floats
    /// Of panels or matrices.
    const Tiling& tiling(ActivationForm form, Way way) const {
        return (way == Way::Matrix ? matrix_tiles : tiles)[size_t(form)];
    }
    Way way_of(const Matmul& matmul, int64_t n_tokens) const {
        const auto pays = [&](Way way) { return n_tokens >= tiling(matmul.form, way).least_tokens; };
        if (matmul.matrix != nullptr && pays(Way::Matrix)) return Way::Matrix;
        return matmul.panels != nullptr && pays(Way::Panels) ? Way::Panels : Way::Rows;
    }
    // x (n) -> one row of activations in that form, aligned to 4 bytes; n a multiple of the block.
    void (*quantize_q8_0)(const float* x, void* row, int64_t n);
    void (*quantize_q8_k)(const float* x, void* row, int64_t n);
    // y = x / sqrt(mean(x²) + epsilon) * weight, each (n)
    void (*rms_norm)(const float* x, const float* weight, float epsilon, float* y, int64_t n);
    // y = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias, each (n); bias may be null
    void (*layer_norm)(const float* x, const float* weight, const float* bias, float epsilon, float* y,
                       int64_t n);
    // y = activation(gate) * up, each (n); up may be null, y may be gate
    void (*activate)(Activation activation, const float* gate, const float* up, float* y, int64_t n);
    void (*soft_cap)(float* x, float cap, int64_t n);         // x = cap * tanh(x / cap)
    void (*add)(const float* x, float* y, int64_t n);         // y += x
    void (*to_half)(const float* x, uint16_t* y, int64_t n);  // round to nearest even
    void (*attention)(const AttentionArguments&);
    AttentionBlockKernel attention_block = {};
    AttentionBlockKernel attention_of_few = {};  // where the other wants more rows
};

const Kernels& scalar_kernels();
/// Best first; tables whose instruction set was not compiled in are absent.
std::span<const Kernels* const> all_kernels();
/// The best table that this machine supports, or the one of that name. Throws Error naming what is supported
/// when there is none of the name, or the machine cannot run it.
const Kernels& choose_kernels(std::string_view forced);
/// choose_kernels() as the environment asks: INGOT_ISA=scalar|avx2|avxvnni|avx512|amx|neon|i8mm forces one.
/// Throws Error naming what is supported when the forced one is not. Decided at the first call.
const Kernels& kernels();
/// The table's entry for a layout, or the scalar one where the table has none; null when no kernel knows it.
const Kernels::Matmul* find_matmul(const Kernels& kernels, TensorType type);

}  // namespace ingot::runtime::cpu
