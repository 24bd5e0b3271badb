#pragma once
#include <cstddef>

namespace ingot::runtime::gpu {

/// A kernel as nvcc made it; `function` is what cudaLaunchKernel wants.
struct CudaKernel {
    const char* name;
    const void* function;
    size_t argument_bytes;
};
/// In the order of the enumeration Kernel.
const CudaKernel* cuda_kernels();

}  // namespace ingot::runtime::gpu
