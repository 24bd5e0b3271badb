#pragma once
#include <cstdlib>
#include <string>

/// The device that the tests of the GPU back end run on: the emulator, or what INGOT_TEST_DEVICE names
/// (cuda).
inline std::string tested_device() {
    const char* const name = std::getenv("INGOT_TEST_DEVICE");
    return name != nullptr ? name : "emulator";
}
