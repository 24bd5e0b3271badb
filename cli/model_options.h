#pragma once
// What the commands that run a model share: choosing the device, reading the prompt or text.
#include <cstdint>
#include <memory>
#include <string>

#include "cli/command.h"
#include "runtime/backend.h"
#include "runtime/weight_memory.h"

namespace ingot::cli {

struct DeviceOptions {
    std::string device = "auto";
    int n_threads = 0;  // 0: one per physical core
};

/// Adds --load and --lock.
void add_load_options(Command& command, runtime::LoadOptions& options);

/// Adds --kv-type.
void add_cache_option(Command& command, runtime::CacheType& type);

/// Adds --threads and --device.
void add_device_options(Command& command, DeviceOptions& options);
std::unique_ptr<runtime::Backend> open_device(const DeviceOptions& options);

/// A whole file, or standard input for "-". Throws Error naming it.
std::string read_text(const std::string& path);

/// "123.4 tokens/s", or a dash when no time was measured.
std::string tokens_per_second(double n_tokens, double seconds);

}  // namespace ingot::cli
