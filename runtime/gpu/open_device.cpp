#include <charconv>

#include "format/error.h"
#include "runtime/gpu/device.h"
#include "runtime/gpu/devices.h"
#include "runtime/gpu/emulator/emulator.h"

namespace ingot::runtime::gpu {
namespace {

// "cuda" -> 0, "cuda:3" -> 3, anything else -> -1
int cuda_index(const std::string& name) {
    if (name == "cuda") return 0;
    if (!name.starts_with("cuda:")) return -1;
    int index = -1;
    const char* const end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data() + 5, end, index);
    return error == std::errc() && rest == end ? index : -1;
}

}  // namespace

bool is_device_name(const std::string& name) {
    return name == "emulator" || name == "metal" || cuda_index(name) >= 0;
}

std::string best_device() {
    if (n_cuda_devices() > 0) return "cuda";
    if (n_metal_devices() > 0) return "metal";
    return "cpu";
}

std::unique_ptr<Device> open_device(const std::string& name) {
    if (name == "emulator") return std::make_unique<EmulatorDevice>();
    if (name == "metal") return open_metal_device();
    if (cuda_index(name) >= 0) return open_cuda_device(cuda_index(name));
    fail("there is no device '{}'; expected cuda, cuda:1, metal or emulator", name);
}

}  // namespace ingot::runtime::gpu
