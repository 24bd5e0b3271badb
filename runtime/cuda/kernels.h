#pragma once
#include <cstddef>

namespace ingot::runtime::gpu {

/// A kernel as nvcc made it; `function` is what cudaLaunchKernel wants.
struct CudaKernel {
    const char* name;
    const void* function;
    size_t argument_bytes;
    size_t group_bytes = 0;  // of memory that a group asks for when it is launched
};
/// In the order of the enumeration Kernel.
const CudaKernel* cuda_kernels();
size_t n_cuda_kernels();

}  // namespace ingot::runtime::gpu
