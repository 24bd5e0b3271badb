// In the place of device.cu where CUDA is left out.
#include "format/error.h"
#include "runtime/gpu/devices.h"

namespace ingot::runtime::gpu {

int n_cuda_devices() {
    return 0;
}

std::unique_ptr<Device> open_cuda_device(int) {
    fail("this program was built without CUDA; build it where nvcc is installed, with -DINGOT_CUDA=ON");
}

}  // namespace ingot::runtime::gpu
