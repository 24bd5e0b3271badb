// The kernels, compiled for the emulator.
#include "runtime/gpu/emulator/kernels.h"

#include "runtime/gpu/kernels/all.h"

namespace ingot::runtime::gpu::emulator {

void group_array_out_of_bounds(int64_t i, int64_t n) {
    fail("{}: touches element {} of an array of {} in the group's memory", running_group->now().place(), i,
         n);
}

void group_array_not_aligned(int64_t i) {
    fail("{}: touches 16 bytes from element {} of an array in the group's memory on, which is not aligned",
         running_group->now().place(), i);
}

namespace {

template <typename Arguments, void (*kernel)(const Arguments&, Thread)>
constexpr EmulatedKernel entry(const char* name) {
    return {name, sizeof(Arguments),
            [](const void* a, Group& group) { kernel(*static_cast<const Arguments*>(a), Thread(group)); }};
}

// In the order of the enumeration.
// clang-format off
#define INGOT_ENTRY(name, Arguments) entry<Arguments, name>(#name),
#define INGOT_LAYOUT_ENTRIES(layout)                                                                          \
    entry<EmbedArguments, embed_##layout>("embed_" #layout),                                                  \
    entry<MatvecArguments, matvec_##layout>("matvec_" #layout),                                               \
    entry<MatmulArguments, matmul_##layout>("matmul_" #layout),                                               \
    entry<TileArguments, tile_##layout>("tile_" #layout),                                                     \
    entry<TileArguments, wide_##layout>("wide_" #layout),
#define INGOT_WARPGROUP_ENTRIES(layout)                                                                       \
    entry<TileArguments, warpgroup_##layout>("warpgroup_" #layout),                                           \
    entry<TileArguments, wide_warpgroup_##layout>("wide_warpgroup_" #layout),
constexpr EmulatedKernel kKernels[] = {INGOT_COMMON_KERNELS(INGOT_ENTRY) INGOT_LAYOUTS(INGOT_LAYOUT_ENTRIES)
                                       INGOT_WARPGROUP_LAYOUTS(INGOT_WARPGROUP_ENTRIES)};
// clang-format on

}  // namespace

std::span<const EmulatedKernel> kernels() {
    return kKernels;
}

}  // namespace ingot::runtime::gpu::emulator
