// ingot bench: speed of prompt and generation, of a file or of random weights in a given shape.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <utility>

#include "cli/bench_report.h"
#include "cli/console.h"
#include "cli/model_options.h"
#include "cli/signals.h"
#include "converters/quantize/recipe.h"
#include "format/error.h"
#include "inspect/summary.h"
#include "runtime/benchmark.h"
#include "runtime/synthetic.h"

namespace ingot::cli {
namespace {

constexpr int kInterrupted = 130;

struct Options {
    std::string file;
    std::string shape;
    std::vector<std::string> types = {"Q4_K_M"};
    std::string keep;
    bool force = false;
    std::vector<int64_t> prompts = {512};
    std::vector<int64_t> generations = {128};
    std::vector<int64_t> depths = {0};
    std::vector<int64_t> parallels = {1};
    int64_t n_repetitions = 5;
    std::string format = "table";
    bool json = false;
    bool profile = false;
    runtime::CacheType cache_type = runtime::CacheType::F16;
    DeviceOptions device;
    runtime::LoadOptions load;
};

// --- Random weights ---

/// A file that is removed when the benchmark ends, unless it is to be kept.
struct SyntheticFile {
    std::filesystem::path path;
    bool is_temporary;
    SyntheticFile(std::filesystem::path where, bool temporary)
        : path(std::move(where)), is_temporary(temporary) {}
    ~SyntheticFile() {
        std::error_code ignored;
        if (is_temporary) std::filesystem::remove(path, ignored);
    }
    SyntheticFile(const SyntheticFile&) = delete;
    SyntheticFile& operator=(const SyntheticFile&) = delete;
};

std::unique_ptr<SyntheticFile> make_synthetic(const Options& options, const std::string& type) {
    const runtime::SyntheticShape& shape = *runtime::find_synthetic_shape(options.shape);
    const converters::Recipe& recipe = *converters::find_recipe(type);
    std::vector<TensorPlan> tensors = runtime::synthetic_tensors(shape);

    // The same mixes of types as convert and quantize give.
    const converters::ModelShape model{.architecture = "llama",
                                       .n_layers = shape.n_layers,
                                       .n_heads = shape.n_heads,
                                       .n_kv_heads = shape.n_kv_heads,
                                       .tied_output = shape.tied_output};
    std::vector<converters::TensorShape> tensor_shapes;
    for (const TensorPlan& tensor : tensors) {
        const uint64_t n_rows = tensor.shape.size() > 1 ? tensor.shape[1] : 1;
        tensor_shapes.push_back({tensor.name, uint32_t(tensor.shape.size()), tensor.shape[0], n_rows});
    }
    const std::vector<converters::TypeChoice> types = converters::choose_types(recipe, model, tensor_shapes);
    for (size_t i = 0; i < tensors.size(); ++i) tensors[i].type = types[i].type;

    const std::filesystem::path path =
        options.keep.empty() ? std::filesystem::temp_directory_path() /
                                   fmt::format("ingot-{}-{}-{}.gguf", shape.name, recipe.name, ::getpid())
                             : std::filesystem::path(options.keep);
    auto file = std::make_unique<SyntheticFile>(path, options.keep.empty());
    if (!runtime::write_synthetic(shape, std::move(tensors), recipe.file_type, path, options.force, 1,
                                  &interrupted)) {
        throw Exit{kInterrupted};
    }
    return file;
}

// --- Measuring ---

using Test = runtime::BenchmarkTest;

std::vector<Test> tests_of(const Options& options, const runtime::Model& model) {
    const int64_t n_context = model.hyperparameters().n_context;
    std::vector<Test> tests;
    const auto add = [&](Test::Part part, int64_t n_tokens, int64_t depth, const char* option) {
        const int64_t n_room = std::max<int64_t>(0, n_context - depth);
        if (n_tokens > n_room) {
            fmt::print(stderr, "ingot: {} {} {}{} is cut to the model's context, {}\n",
                       Painter(stderr)(Tone::Warning, "note:"), option, n_tokens,
                       depth > 0 ? fmt::format(" after {}", depth) : "", n_room);
        }
        if (std::min(n_tokens, n_room) > 0)
            for (const int64_t n_sequences : options.parallels)
                tests.push_back({part, std::min(n_tokens, n_room), depth, n_sequences});
    };
    for (const int64_t depth : options.depths) {
        for (const int64_t n : options.prompts) add(Test::Part::Prompt, n, depth, "--prompt");
        for (const int64_t n : options.generations) add(Test::Part::Generate, n, depth, "--generate");
    }
    return tests;
}

// What reading is measured with: the weights behind the embedding, which a token reads one row of. Of a split
// model, those of one file.
std::span<const std::byte> bytes_to_read(const runtime::Model& model) {
    const std::byte *begin = nullptr, *end = nullptr;
    for (const TensorInfo& tensor : model.file().header().tensors()) {
        if (tensor.shard != 0 || tensor.name == "token_embd.weight" || tensor.size_bytes == 0) continue;
        const std::span<const std::byte> bytes = model.tensor_bytes(tensor);
        if (begin == nullptr) begin = end = bytes.data();
        begin = std::min(begin, bytes.data());
        end = std::max(end, bytes.data() + bytes.size());
    }
    return {begin, end};
}

/// As many positions and sequences as the largest of the tests has.
runtime::RunShape shape_of(const Options& options) {
    const int64_t n_tokens =
        std::max(std::ranges::max(options.prompts), std::ranges::max(options.generations));
    return {.n_context = std::ranges::max(options.depths) + n_tokens,
            .cache_type = options.cache_type,
            .n_sequences = std::ranges::max(options.parallels)};
}

/// The only GPU that the model is on; null: it is on several devices. The table of embeddings does not count.
runtime::Backend* only_gpu(runtime::Backend& backend) {
    auto* const placed = dynamic_cast<runtime::PlacedBackend*>(&backend);
    if (placed == nullptr || placed->n_devices() != 2) return nullptr;
    for (const auto& [part, usage] : placed->usage_of_parts(runtime::Placement::kCpu)) {
        if (part != runtime::Model::kBeginning && usage.weights > 0) return nullptr;
    }
    return &placed->device(runtime::Placement::kGpu);
}

BenchReport measure(const Options& options, const std::filesystem::path& path) {
    const std::string device_name = device_of(options.device);
    runtime::RunShape shape = shape_of(options);
    const int64_t n_context =
        std::max<int64_t>(1, std::exchange(shape.n_context, 0));  // the model's, if less
    const auto device = open_device(options.device, path.string(), shape, n_context);
    runtime::ProfiledBackend backend(*device);
    const auto start = std::chrono::steady_clock::now();
    const runtime::Model model(path, backend, options.load);
    BenchReport report;
    report.load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    report.file = path.string();
    report.size_bytes = model.file().size_bytes();
    report.architecture = model.hyperparameters().family->name;
    report.device = backend.description();
    const GgufHeader& header = model.file().header();
    for (const TensorInfo& tensor : header.tensors()) report.n_parameters += tensor.n_elements;
    if (header.find("general.file_type") != nullptr)
        report.type = inspect::file_type_name(header.require_uint("general.file_type"));

    runtime::cpu::MachineLimits limits(options.device.n_threads, bytes_to_read(model));
    runtime::BenchmarkOptions how;
    how.cache_type = options.cache_type;
    how.n_repetitions = options.n_repetitions;
    how.cancel = &interrupted;
    if (device_name != "cpu") how.n_largest = 1;  // the CPU's are where they are wanted
    // What a GPU in software could do at best is of no interest, nor is one's of several devices.
    if (device_name == "cpu") {
        how.limits = [&] { return limits.measure(); };
    } else if (runtime::Backend* const gpu = only_gpu(*device); gpu != nullptr && device_name != "emulator") {
        how.limits = [rate = runtime::streaming_rate(*gpu)] {
            return runtime::cpu::LimitRates{.read_bytes = rate};
        };
    }
    auto results = runtime::run_benchmark(model, backend, tests_of(options, model), how);
    if (!results) throw Exit{kInterrupted};
    report.results = std::move(*results);
    std::vector<runtime::cpu::LimitRates> all;
    for (const runtime::BenchmarkResult& result : report.results)
        all.insert(all.end(), result.limits.begin(), result.limits.end());
    report.limits = runtime::cpu::median_of(all);
    return report;
}

void run_bench(const Options& options) {
    if (options.file.empty() == options.shape.empty()) {
        fail_usage("bench", "give either FILE or --shape");
    }
    if (!options.keep.empty() && options.types.size() > 1) {
        fail_usage("--keep", "names one file: give one --type");
    }
    std::vector<BenchReport> reports;
    if (options.shape.empty()) {
        reports.push_back(measure(options, options.file));
    } else {
        for (const std::string& type : options.types)
            reports.push_back(measure(options, make_synthetic(options, type)->path));
    }
    const std::string format = options.json ? "json" : options.format;
    print_out(format == "json"       ? bench_json(reports, options.profile)
              : format == "csv"      ? bench_csv(reports)
              : format == "markdown" ? bench_markdown(reports, options.profile)
                                     : bench_table(reports, options.profile));
}

}  // namespace

void add_bench(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command = program.add_command("bench", "Measure the speed of prompt and generation");
    command->add_option("FILE", options->file, "GGUF file, or any shard")->type_name("");
    const auto counts = [&](const char* name, std::vector<int64_t>& values, const char* help,
                            int64_t least = 0) {
        command->add_option(name, values, help)
            ->delimiter(',')
            ->one_value_each_time()
            ->check(in_range(least, 1 << 20))
            ->type_name("N,...");
    };
    counts("--prompt", options->prompts, "Tokens of the prompt (512); 0: don't measure it");
    counts("--generate", options->generations, "Tokens to generate (128); 0: don't measure it");
    counts("--depth", options->depths, "Tokens that are in the context before (0)");
    counts("--parallel", options->parallels, "Sequences that this is done with at once (1)", 1);
    command
        ->add_option("--repetitions", options->n_repetitions,
                     "Times that each is measured, after a warm-up (5)")
        ->check(in_range(1, 1 << 20))
        ->type_name("N");

    std::vector<std::string> shapes;
    for (const runtime::SyntheticShape& shape : runtime::synthetic_shapes()) shapes.emplace_back(shape.name);
    command->add_option("--shape", options->shape, "Random weights in this shape instead of FILE")
        ->check(one_of(shapes))
        ->type_name("NAME");
    command->add_option("--type", options->types, "Types or mixes of the random weights (Q4_K_M)")
        ->delimiter(',')
        ->one_value_each_time()
        ->check([](const std::string& name) {
            return converters::find_recipe(name) ? std::string()
                                                 : fmt::format("there is no type \"{}\"", name);
        })
        ->type_name("TYPE,...");
    command->add_option("--keep", options->keep, "Where to write and leave the random file")
        ->type_name("FILE");
    command->add_flag("--force", options->force, "Overwrite the file of --keep");
    command->add_flag("--profile", options->profile, "Show what each kind of work costs");
    command->add_option("--format", options->format, "table, markdown, csv or json")
        ->check(one_of({"table", "markdown", "csv", "json"}))
        ->type_name("NAME");
    command->add_flag("--json", options->json, "The same as --format json");
    add_cache_option(*command, options->cache_type);
    add_load_options(*command, options->load);
    add_device_options(*command, options->device);
    command->footer(
        fmt::format("Shapes: {}\n\n"
                    "Examples:\n"
                    "  ingot bench model.gguf --prompt 128,512 --depth 0,4096 --profile\n"
                    "  ingot bench --shape llama-1.1b --type Q4_0,Q8_0 --format markdown",
                    fmt::join(shapes, ", ")));
    command->callback([options] { run_bench(*options); });
}

}  // namespace ingot::cli
