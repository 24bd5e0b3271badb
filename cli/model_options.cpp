#include "cli/model_options.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>

#include "format/error.h"
#include "runtime/cpu/cpu_backend.h"
#include "runtime/gpu/gpu_backend.h"

namespace ingot::cli {

void add_device_options(Command& command, DeviceOptions& options) {
    command.add_option("--threads", options.n_threads, "Threads; one per physical core if not given")
        ->check(in_range(1, 1024))
        ->type_name("N");
    command
        .add_option("--device", options.device,
                    "auto, cpu, cuda, cuda:1, metal, or emulator: a GPU in software")
        ->check([](const std::string& name) {
            const bool known = name == "auto" || name == "cpu" || runtime::gpu::is_device_name(name);
            return known ? std::string() : "there is no device '" + name + "'";
        })
        ->type_name("NAME");
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
    const std::string device = options.device == "auto" ? runtime::gpu::best_device() : options.device;
    if (device != "cpu") return std::make_unique<runtime::GpuBackend>(runtime::gpu::open_device(device));
    return std::make_unique<runtime::CpuBackend>(options.n_threads);
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
