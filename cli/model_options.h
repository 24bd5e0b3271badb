#pragma once
// What the commands that run a model share: choosing the device, reading the prompt or text.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "runtime/backend.h"
#include "runtime/placement.h"
#include "runtime/weight_memory.h"

namespace ingot::cli {

/// Where tensors go, as the user wrote it.
struct PlacementArguments {
    int64_t n_gpu_layers = -1;
    std::vector<std::string> device_memory;
    std::vector<std::string> rules;

    bool is_empty() const { return n_gpu_layers < 0 && device_memory.empty() && rules.empty(); }
};

struct DeviceOptions {
    std::string device = "auto";
    int n_threads = 0;  // 0: one per physical core
    PlacementArguments placement;
};

/// Adds --load and --lock.
void add_load_options(Command& command, runtime::LoadOptions& options);

/// Adds --kv-type.
void add_cache_option(Command& command, runtime::CacheType& type);

/// Adds --threads, --device, and where tensors go: see add_placement_options().
void add_device_options(Command& command, DeviceOptions& options);
/// The device, for what has no shape that is known before.
std::unique_ptr<runtime::Backend> open_device(const DeviceOptions& options);
/// What "auto" means here: the name of a GPU, or "cpu".
std::string device_of(const DeviceOptions& options);

/// Adds --gpu-layers, --device-memory and --tensor-placement.
void add_placement_options(Command& command, PlacementArguments& arguments);
/// For n_gpus GPUs; where no memory was named, they have no limit.
runtime::PlacementOptions placement_options(const PlacementArguments& arguments, size_t n_gpus);
/// The context that a run takes: the model's, at most n_default, if none was asked for (0).
constexpr int64_t kDefaultContext = 4096;  // positions
int64_t context_of(const runtime::Hyperparameters& model, int64_t n_asked,
                   int64_t n_default = kDefaultContext);

/// The device; or the CPU and GPUs together, with as much of the model in `path` on the GPUs as was asked for
/// or as fits, for a run of this shape, whose context may be 0: see context_of(). Says on standard error when
/// that is not all.
std::unique_ptr<runtime::Backend> open_device(const DeviceOptions& options, const std::string& path,
                                              runtime::RunShape run, int64_t n_default = kDefaultContext);

/// A whole file, or standard input for "-". Throws Error naming it.
std::string read_text(const std::string& path);

/// "123.4 tokens/s", or a dash when no time was measured.
std::string tokens_per_second(double n_tokens, double seconds);

}  // namespace ingot::cli
