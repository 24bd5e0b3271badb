#pragma once
#include <memory>

#include "runtime/gpu/device.h"

namespace ingot::runtime::gpu {

/// Devices of a kind, 0 where the program was built without it or the machine has no driver.
int n_cuda_devices();
int n_metal_devices();

/// Throw Error saying what is missing and how to get it.
std::unique_ptr<Device> open_cuda_device(int index);
std::unique_ptr<Device> open_metal_device();

}  // namespace ingot::runtime::gpu
