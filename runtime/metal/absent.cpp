// In the place of device.mm on systems other than Apple's.
#include "format/error.h"
#include "runtime/gpu/devices.h"

namespace ingot::runtime::gpu {

int n_metal_devices() {
    return 0;
}

std::unique_ptr<Device> open_metal_device() {
    fail("this program was built without Metal; build it on macOS, where Metal is part of the system");
}

}  // namespace ingot::runtime::gpu
