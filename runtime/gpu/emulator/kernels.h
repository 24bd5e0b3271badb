#pragma once
#include <span>

#include "format/error.h"
#include "runtime/gpu/emulator/group.h"

namespace ingot::runtime::gpu::emulator {

struct EmulatedKernel {
    const char* name;
    size_t argument_bytes;
    Group::Body body;
};
/// In the order of the enumeration Kernel.
std::span<const EmulatedKernel> kernels();

}  // namespace ingot::runtime::gpu::emulator
