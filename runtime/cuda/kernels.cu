// The kernels, compiled for NVIDIA GPUs. The only source that nvcc sees.
#include "runtime/cuda/kernels.h"

#include "runtime/gpu/kernels/all.h"

namespace ingot::runtime::gpu {
namespace {

// clang-format off
#define INGOT_ENTRY(name, Arguments) {#name, reinterpret_cast<const void*>(&name), sizeof(Arguments)},
#define INGOT_LAYOUT_ENTRIES(layout)                                                                                \
    {"embed_" #layout, reinterpret_cast<const void*>(&embed_##layout), sizeof(EmbedArguments)},                     \
    {"matvec_" #layout, reinterpret_cast<const void*>(&matvec_##layout), sizeof(MatvecArguments)},                  \
    {"matmul_" #layout, reinterpret_cast<const void*>(&matmul_##layout), sizeof(MatmulArguments)},                  \
    {"tile_" #layout, reinterpret_cast<const void*>(&tile_##layout), sizeof(TileArguments)},                        \
    {"wide_" #layout, reinterpret_cast<const void*>(&wide_##layout), sizeof(TileArguments)},
#define INGOT_WARPGROUP_ENTRY(name)                                                                                 \
    {#name, reinterpret_cast<const void*>(&name), sizeof(TileArguments), sizeof(name##_shared)},
#define INGOT_WARPGROUP_ENTRIES(layout)                                                                             \
    INGOT_WARPGROUP_ENTRY(warpgroup_##layout) INGOT_WARPGROUP_ENTRY(wide_warpgroup_##layout)
const CudaKernel kKernels[] = {INGOT_COMMON_KERNELS(INGOT_ENTRY) INGOT_LAYOUTS(INGOT_LAYOUT_ENTRIES)
                               INGOT_WARPGROUP_LAYOUTS(INGOT_WARPGROUP_ENTRIES)};
#undef INGOT_ENTRY
#undef INGOT_LAYOUT_ENTRIES
#undef INGOT_WARPGROUP_ENTRY
#undef INGOT_WARPGROUP_ENTRIES
// clang-format on

}  // namespace

const CudaKernel* cuda_kernels() {
    return kKernels;
}
size_t n_cuda_kernels() {
    return sizeof kKernels / sizeof *kKernels;
}

}  // namespace ingot::runtime::gpu
