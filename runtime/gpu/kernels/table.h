#pragma once
// The kernel table: every kernel by name. Devices and the back end make their tables from these lists.
#include <cstdint>

// Layouts of quantized weights (layouts.h).
#define INGOT_INTEGER_LAYOUTS(X) /* that meet activations in 8 bits */ \
    X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_NL) X(IQ4_XS)
#define INGOT_BLOCK_LAYOUTS(X) INGOT_INTEGER_LAYOUTS(X) X(MXFP4)
// Layouts whose elements are numbers.
#define INGOT_PLAIN_LAYOUTS(X) X(F32) X(F16) X(BF16)
#define INGOT_LAYOUTS(X) INGOT_PLAIN_LAYOUTS(X) INGOT_BLOCK_LAYOUTS(X)
// Those with products of warpgroups.
#define INGOT_WARPGROUP_LAYOUTS(X) X(F16) X(BF16) INGOT_BLOCK_LAYOUTS(X)

// Types of caches, for each of which there is attention with 1, 4 and 8 heads at once.
#define INGOT_CACHE_TYPES(X) X(F16) X(F32) X(BF16) X(Q8_0)
#define INGOT_ATTENTION_KERNELS(X, type)      \
    X(attention_1_##type, AttentionArguments) \
    X(attention_4_##type, AttentionArguments) \
    X(attention_8_##type, AttentionArguments)

// … and of many tokens, with heads of up to so many elements
#define INGOT_PROMPT_KERNELS(X, type)                  \
    X(prompt_attention_64_##type, AttentionArguments)  \
    X(prompt_attention_128_##type, AttentionArguments) \
    X(prompt_attention_256_##type, AttentionArguments) \
    X(prompt_attention_640_##type, AttentionArguments)

// X(name, its arguments in arguments.h)
#define INGOT_COMMON_KERNELS(X)                 \
    X(quantize, QuantizeArguments)              \
    X(split_rows, SplitArguments)               \
    X(norm, NormArguments)                      \
    X(activate, ActivateArguments)              \
    X(activate_rows, ActivateRowsArguments)     \
    X(map, MapArguments)                        \
    X(add, AddArguments)                        \
    X(scale_rows, ScaleRowsArguments)           \
    X(copy_rows, CopyRowsArguments)             \
    X(copy_columns, CopyColumnsArguments)       \
    X(rope, RopeArguments)                      \
    X(write_cache, WriteCacheArguments)         \
    X(write_cache_q8_0, WriteCacheArguments)    \
    INGOT_ATTENTION_KERNELS(X, F16)             \
    INGOT_ATTENTION_KERNELS(X, F32)             \
    INGOT_ATTENTION_KERNELS(X, BF16)            \
    INGOT_ATTENTION_KERNELS(X, Q8_0)            \
    INGOT_PROMPT_KERNELS(X, F16)                \
    INGOT_PROMPT_KERNELS(X, F32)                \
    INGOT_PROMPT_KERNELS(X, BF16)               \
    INGOT_PROMPT_KERNELS(X, Q8_0)               \
    X(merge_attention, MergeAttentionArguments) \
    X(choose_largest, LargestArguments)         \
    X(convolve, ConvolveArguments)              \
    X(delta_net, DeltaNetArguments)             \
    X(route, RouteArguments)                    \
    X(count_slots, SortSlotsArguments)          \
    X(sort_slots, SortSlotsArguments)           \
    X(combine, CombineArguments)

namespace ingot::runtime::gpu {

// clang-format off
#define INGOT_ENTRY(name, Arguments) name,
#define INGOT_LAYOUT_ENTRIES(layout) embed_##layout, matvec_##layout, matmul_##layout, tile_##layout, wide_##layout,
#define INGOT_WARPGROUP_ENTRIES(layout) warpgroup_##layout, wide_warpgroup_##layout,
enum class Kernel : uint16_t {
    INGOT_COMMON_KERNELS(INGOT_ENTRY) INGOT_LAYOUTS(INGOT_LAYOUT_ENTRIES)
    INGOT_WARPGROUP_LAYOUTS(INGOT_WARPGROUP_ENTRIES)  // the last: Metal doesn't have them
};
#undef INGOT_ENTRY
#undef INGOT_LAYOUT_ENTRIES
#undef INGOT_WARPGROUP_ENTRIES
// clang-format on

inline constexpr uint32_t kLanes = 32;  // threads of a warp

}  // namespace ingot::runtime::gpu
