#include "cli/model_options.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>

#include "cli/console.h"
#include "cli/conversion.h"
#include "format/error.h"
#include "format/gguf_model.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/gpu/gpu_backend.h"

namespace ingot::cli {
namespace {

// "cuda:0,cuda:1" -> the two
std::vector<std::string> device_names(const std::string& text) {
    std::vector<std::string> names;
    for (size_t at = 0; at <= text.size();) {
        const size_t end = std::min(text.find(',', at), text.size());
        names.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return names;
}

}  // namespace

std::string device_of(const DeviceOptions& options) {
    return options.device == "auto" ? runtime::gpu::best_device() : options.device;
}

void add_device_options(Command& command, DeviceOptions& options) {
    command.add_option("--threads", options.n_threads, "Threads; one per physical core if not given")
        ->check(in_range(1, 1024))
        ->type_name("N");
    command
        .add_option("--device", options.device,
                    "auto, cpu, cuda, cuda:1, metal, or emulator: a GPU in software; several: cuda:0,cuda:1")
        ->check([](const std::string& names) {
            if (names == "auto" || names == "cpu") return std::string();
            for (const std::string& name : device_names(names)) {
                if (!runtime::gpu::is_device_name(name)) return "there is no device '" + name + "'";
            }
            return std::string();
        })
        ->type_name("NAME");
    add_placement_options(command, options.placement);
}

void add_cache_option(Command& command, runtime::CacheType& type) {
    static const std::map<std::string, runtime::CacheType> kTypes = {{"f16", runtime::CacheType::F16},
                                                                     {"f32", runtime::CacheType::F32},
                                                                     {"bf16", runtime::CacheType::BF16},
                                                                     {"q8_0", runtime::CacheType::Q8_0}};
    const auto set = [&type](const std::string& name) { type = kTypes.at(name); };
    command.add_option("--kv-type", set, "How keys and values are kept: f16, bf16, q8_0 or f32 (f16)")
        ->check(one_of({"f16", "bf16", "q8_0", "f32"}))
        ->type_name("TYPE");
}

void add_load_options(Command& command, runtime::LoadOptions& options) {
    static const std::map<std::string, runtime::LoadMode> kModes = {{"map", runtime::LoadMode::Map},
                                                                    {"read", runtime::LoadMode::Read},
                                                                    {"direct", runtime::LoadMode::Direct}};
    const auto set = [&options](const std::string& name) { options.mode = kModes.at(name); };
    command
        .add_option("--load", set,
                    "map the file (the default), read it into memory, or direct: past the system's cache")
        ->check(one_of({"map", "read", "direct"}))
        ->type_name("HOW");
    command.add_flag("--lock", options.lock, "Keep the weights in memory");
}

std::unique_ptr<runtime::Backend> open_device(const DeviceOptions& options) {
    const std::string device = device_of(options);
    if (device == "cpu") return std::make_unique<runtime::CpuBackend>(options.n_threads);
    if (device_names(device).size() > 1) fail("--device {}: this command takes one device", device);
    return std::make_unique<runtime::GpuBackend>(runtime::gpu::open_device(device));
}

void add_placement_options(Command& command, PlacementArguments& arguments) {
    command
        .add_option("--gpu-layers", arguments.n_gpu_layers,
                    "Only the last N layers on the GPU, the rest on the CPU")
        ->check(in_range(0, INT32_MAX))
        ->type_name("N");
    command
        .add_option("--device-memory", arguments.device_memory,
                    "As many layers on the GPU as fit in this: 6GiB; or one size for each of several GPUs")
        ->delimiter(',')
        ->one_value_each_time()
        ->type_name("SIZE,...");
    command
        .add_option("--tensor-placement", arguments.rules,
                    "Tensors in whose name RE is found go to DEV: cpu, gpu, gpu:1; the first rule decides")
        ->one_value_each_time()
        ->type_name("RE=DEV");
}

runtime::PlacementOptions placement_options(const PlacementArguments& arguments, size_t n_gpus) {
    runtime::PlacementOptions options;
    options.n_gpu_layers = arguments.n_gpu_layers;
    options.device_memory.assign(n_gpus, runtime::PlacementOptions::kNoLimit);
    const auto& sizes = arguments.device_memory;
    if (sizes.size() > 1 && sizes.size() != n_gpus) {
        fail("--device-memory names {} sizes for {}: give one, which is each GPU's, or one for each",
             sizes.size(), plural(n_gpus, "GPU"));
    }
    for (size_t i = 0; i < n_gpus && !sizes.empty(); ++i)
        options.device_memory[i] = parse_size(sizes[sizes.size() == 1 ? 0 : i]);
    for (const std::string& rule : arguments.rules)
        options.rules.push_back(runtime::parse_placement_rule(rule));
    return options;
}

std::unique_ptr<runtime::Backend> open_device(const DeviceOptions& options, const std::string& path,
                                              runtime::RunShape run, int64_t n_default) {
    const std::string device = device_of(options);
    if (device == "cpu") {
        if (options.placement.is_empty()) return open_device(options);
        fail("--gpu-layers, --device-memory and --tensor-placement are about a GPU; there is none{}",
             options.device == "cpu" ? " with --device cpu" : " (--device emulator is one in software)");
    }
    std::vector<std::unique_ptr<runtime::gpu::Device>> gpus;
    for (const std::string& name : device_names(device)) gpus.push_back(runtime::gpu::open_device(name));
    runtime::PlacementOptions placement = placement_options(options.placement, gpus.size());
    uint64_t free_bytes = 0;
    for (size_t i = 0; i < gpus.size(); ++i) {
        free_bytes += gpus[i]->properties().free_bytes;
        placement.device_memory[i] = std::min(placement.device_memory[i], gpus[i]->properties().free_bytes);
    }
    const runtime::Planner planner(std::make_shared<GgufModel>(path));
    run.n_context = context_of(planner.hyperparameters(), run.n_context, n_default);
    const runtime::PlacementPlan plan = planner.plan(placement, run);
    const int64_t n_wanted = std::min(options.placement.n_gpu_layers, planner.hyperparameters().n_layers);
    if (options.placement.device_memory.empty() && plan.placement.n_gpu_layers() < n_wanted) {
        runtime::PlacementOptions unlimited = placement;
        std::ranges::fill(unlimited.device_memory, runtime::PlacementOptions::kNoLimit);
        const uint64_t wanted = planner.plan(unlimited, run).devices[runtime::Placement::kGpu].sum.total();
        fail("{}: {} of {} layers take {} bytes of {}, which has {} free; --gpu-layers {} fits", path,
             n_wanted, planner.hyperparameters().n_layers, grouped(wanted), device, grouped(free_bytes),
             plan.placement.n_gpu_layers());
    }
    if (plan.devices[runtime::Placement::kCpu].read_bytes > 0) {
        fmt::print(stderr, "ingot: {} {} on {}, the rest on the CPU\n",
                   Painter(stderr)(Tone::Warning, "note:"), plan.text(), device);
    }
    std::vector<std::unique_ptr<runtime::Backend>> devices;
    devices.push_back(std::make_unique<runtime::CpuBackend>(options.n_threads));
    for (auto& gpu : gpus) devices.push_back(std::make_unique<runtime::GpuBackend>(std::move(gpu)));
    return std::make_unique<runtime::PlacedBackend>(std::move(devices), plan.placement.place());
}

int64_t context_of(const runtime::Hyperparameters& model, int64_t n_asked, int64_t n_default) {
    return n_asked > 0 ? n_asked : std::min(model.n_context, n_default);
}

std::string read_text(const std::string& path) {
    const bool is_stdin = path == "-";
    const std::string shown = is_stdin ? "standard input" : path;
    FILE* file = is_stdin ? stdin : std::fopen(path.c_str(), "rb");
    if (file == nullptr) fail("{}: cannot be opened: {}", shown, std::strerror(errno));
    std::string text;
    char buffer[1 << 16];
    while (const size_t n = std::fread(buffer, 1, sizeof buffer, file)) text.append(buffer, n);
    const bool failed = std::ferror(file) != 0;
    const int reason = errno;
    if (!is_stdin) std::fclose(file);
    if (failed) fail("{}: cannot be read: {}", shown, std::strerror(reason));
    return text;
}

std::string tokens_per_second(double n_tokens, double seconds) {
    return n_tokens > 0 && seconds > 0 ? fmt::format("{:.1f} tokens/s", n_tokens / seconds) : "–";
}

}  // namespace ingot::cli
