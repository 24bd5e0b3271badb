#include <vector>

#include "format/error.h"
#include "runtime/gpu/device.h"
#include "runtime/gpu/emulator/emulator.h"

namespace ingot::runtime::gpu {

bool is_device_name(const std::string& name) {
    return name == "emulator";
}

std::unique_ptr<Device> open_device(const std::string& name) {
    if (name == "emulator") return std::make_unique<EmulatorDevice>();
    fail("there is no device '{}'; there is: emulator", name);
}

}  // namespace ingot::runtime::gpu
