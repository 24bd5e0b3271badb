// ingot plan: the bytes that a model takes on GPUs and on the CPU, before it is loaded.
#include <algorithm>
#include <memory>
#include <unordered_map>

#include "cli/conversion.h"
#include "cli/model_options.h"
#include "cli/plan_report.h"
#include "converters/quantize/header_types.h"
#include "format/error.h"
#include "runtime/cpu/machine_limits.h"
#include "runtime/kv_cache.h"

namespace ingot::cli {
namespace {

constexpr size_t kMeasuredBytes = size_t(256) << 20;  // larger than caches

struct Options {
    std::string file;
    int64_t n_context = 0, n_parallel = 1;
    runtime::CacheType cache_type = runtime::CacheType::F16;
    std::string bandwidth, cpu_bandwidth;
    int n_threads = 0;
    bool json = false, every_layer = false;
    PlacementArguments placement;
};

/// From most bits to fewest.
constexpr const char* kTypes[] = {"F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K"};

// "900GB/s" -> bytes
double parse_bandwidth(std::string text) {
    if (text.ends_with("/s")) text.resize(text.size() - 2);
    return double(parse_size(text));
}

double measured_cpu_bandwidth(int n_threads) {
    const std::vector<std::byte> bytes(kMeasuredBytes, std::byte{1});
    runtime::cpu::MachineLimits limits(n_threads, bytes);
    double best = 0;
    for (int i = 0; i < 3; ++i) best = std::max(best, limits.measure().read_bytes);
    return best;
}

void add_caches(const runtime::Hyperparameters& model, PlanReport& report) {
    constexpr int64_t kLeast = 2048;
    std::vector<int64_t> contexts{report.plan.run.n_context};
    for (int64_t n = kLeast; n <= model.n_context; n *= 4) contexts.push_back(n);
    contexts.push_back(model.n_context);
    std::ranges::sort(contexts);
    contexts.erase(std::ranges::unique(contexts).begin(), contexts.end());
    using Type = runtime::CacheType;
    const bool has_blocks = runtime::KvCache::fits_type(model, Type::Q8_0);
    for (const int64_t n : contexts) {
        for (const Type type : {Type::F32, Type::F16, Type::Q8_0}) {
            if (type == Type::Q8_0 && !has_blocks) continue;
            report.caches.push_back({n, type, runtime::KvCache::size_bytes(model, n, type)});
        }
    }
}

runtime::Placement all_on_gpu(int64_t n_layers) {
    return runtime::Placement::on(runtime::Placement::kGpu, n_layers, n_layers, n_layers);
}

// The model in other types: what each takes, and how much of it fits.
void add_types(std::shared_ptr<const GgufModel> file, const runtime::PlacementOptions& placement,
               PlanReport& report) {
    for (const char* name : kTypes) {
        std::unordered_map<std::string_view, TensorType> types;
        const auto chosen = converters::choose_types(*converters::find_recipe(name), file->header());
        for (size_t i = 0; i < chosen.size(); ++i) types[file->header().tensors()[i].name] = chosen[i];
        const runtime::Planner planner(file, [&](std::string_view tensor, TensorType own) {
            const auto found = types.find(tensor);
            return found != types.end() ? found->second : own;
        });
        const auto fitting = planner.plan(placement, report.plan.run);
        const auto all = planner.count(all_on_gpu(planner.hyperparameters().n_layers), 1, report.plan.run);
        PlanReport::TypeSize size{.name = name, .n_gpu_layers = fitting.placement.n_gpu_layers()};
        for (const auto& device : fitting.devices) size.weights += device.sum.weights;
        size.gpu_bytes = all.devices[runtime::Placement::kGpu].sum.total();
        size.fits = fitting.devices[runtime::Placement::kCpu].read_bytes == 0;
        report.types.push_back(std::move(size));
    }
}

void run_plan(const Options& options) {
    const auto file = std::make_shared<GgufModel>(options.file);
    const runtime::Planner planner(file);
    const size_t n_gpus = std::max<size_t>(1, options.placement.device_memory.size());
    const runtime::PlacementOptions placement = placement_options(options.placement, n_gpus);
    const runtime::RunShape run{.n_context = context_of(planner.hyperparameters(), options.n_context),
                                .cache_type = options.cache_type,
                                .n_sequences = options.n_parallel,
                                .n_logits = 1};
    PlanReport report;
    report.file = options.file;
    report.plan = planner.plan(placement, run);
    report.device_memory = placement.device_memory;
    report.is_limited = !options.placement.device_memory.empty();
    add_caches(planner.hyperparameters(), report);
    if (report.is_limited) {
        report.longest_context = planner.longest_context(report.plan.placement, placement.device_memory, run);
        // Several GPUs share the layers as the plan says: another context might share them otherwise.
        if (n_gpus == 1)
            report.longest_context_of_all = planner.longest_context(
                all_on_gpu(planner.hyperparameters().n_layers), placement.device_memory, run);
        else
            report.longest_context_of_all = report.longest_context;
        if (options.placement.rules.empty()) add_types(file, placement, report);
    }
    for (size_t i = 0; i < report.plan.devices.size(); ++i) {
        const std::string& named = i == runtime::Placement::kCpu ? options.cpu_bandwidth : options.bandwidth;
        auto& bandwidth = report.bandwidths.emplace_back();
        if (report.plan.devices[i].read_bytes == 0) continue;
        if (!named.empty()) bandwidth = {parse_bandwidth(named), false};
        const bool measure = named.empty() && i == runtime::Placement::kCpu;
        if (measure) bandwidth = {measured_cpu_bandwidth(options.n_threads), true};
    }
    print_out(options.json ? plan_json(report) : plan_text(report, options.every_layer));
}

}  // namespace

void add_plan(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command = program.add_command("plan", "How many bytes a model takes on a GPU and on the CPU");
    command->add_option("FILE", options->file, "GGUF file, any shard, a packed file, or a URL")
        ->required()
        ->type_name("");
    command->add_option("--context", options->n_context, "Tokens of prompt and text; the model's, up to 4096")
        ->check(in_range(1, INT32_MAX))
        ->type_name("N");
    command->add_option("--parallel", options->n_parallel, "Sequences at once (1)")
        ->check(in_range(1, 1024))
        ->type_name("N");
    add_cache_option(*command, options->cache_type);
    add_placement_options(*command, options->placement);
    command->add_option("--bandwidth", options->bandwidth, "What the GPU reads from its memory: 900GB/s")
        ->type_name("RATE");
    command
        ->add_option("--cpu-bandwidth", options->cpu_bandwidth, "The same of the CPU, which is measured else")
        ->type_name("RATE");
    command
        ->add_option("--threads", options->n_threads,
                     "Threads that measure; one per physical core if not given")
        ->check(in_range(1, 1024))
        ->type_name("N");
    command->add_flag("--layers", options->every_layer, "Every layer in a row of its own");
    command->add_flag("--json", options->json, "As JSON, in the form that README describes");
    command->footer(
        "The code that allocates counts: what `ingot run` takes with the same options is the same to the "
        "byte.\n"
        "Weights on the CPU are those of the mapped file.\n\n"
        "Examples:\n"
        "  ingot plan model.gguf --device-memory 6GiB --context 8192\n"
        "  ingot plan model.gguf --gpu-layers 20 --tensor-placement '_exps=cpu'\n"
        "  ingot plan https://example.org/model.gguf --device-memory 24GiB --bandwidth 1008GB/s");
    command->callback([options] { run_plan(*options); });
}

}  // namespace ingot::cli
